"""Process many visits in this process, in other processes of this machine, or on the workers of a dask client."""

import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Executor, Future, as_completed
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeAlias

from xta.errors import ArgumentError, warn
from xta.surveys.files import VisitFiles
from xta.surveys.table import Row

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing.connection import Connection

    from distributed import Client

__all__ = ["run"]

Work: TypeAlias = Callable[[VisitFiles], Row]
Done: TypeAlias = tuple[VisitFiles, Row | BaseException]

WORTH_IT = 10
"""Smallest number of visits per process; starting a process takes as long as analyzing several visits."""

GRACE = 1.0
"""Time for a worker to clean up [s]."""

GUARD = 'call survey in a script under if __name__ == "__main__": (processes import the script)'


class _CannotStartError(Exception):
    """No worker process could start."""


def _sensible(visits: int) -> int:
    """Choose a number of processes: one per CPU that this process may use, if there are enough visits."""
    from multiprocessing import current_process

    if current_process().daemon:  # such as a worker of a pool; it may not start processes
        return 1
    try:
        cpus = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        cpus = os.cpu_count() or 1
    return max(1, min(cpus, visits // WORTH_IT))


def run(
    work: Work, visits: Sequence[VisitFiles], *, client: "Client | None", workers: int | None
) -> Generator[Done, None, None]:
    """Yield the row of each visit as soon as it is finished, or the exception that ended its worker.

    The function `work` must be picklable. If no processes can start, this process does all the work with a warning,
    unless `workers` was given.
    """
    number = workers or _sensible(len(visits))
    alone = ((files, work(files)) for files in visits)
    if client is not None:
        yield from _on_client(client, work, visits)
    elif number == 1 or not visits:
        yield from alone
    else:
        try:
            yield from _in_processes(work, visits, number)
        except _CannotStartError:  # before the first row
            if workers is not None:
                msg = f"worker processes cannot start; {GUARD}, or give workers=1"
                raise ArgumentError(msg) from None
            warn(f"worker processes cannot start, so all visits are analyzed in this one; to use more, {GUARD}")
            yield from alone


def _on_client(client: "Client", work: Work, visits: Iterable[VisitFiles]) -> Iterator[Done]:
    executor = client.get_executor(pure=False)  # type: ignore[no-untyped-call]
    try:
        yield from _completed(executor, work, visits)
    except BaseException:
        executor.shutdown(wait=False)
        raise
    executor.shutdown()


def _completed(pool: Executor, work: Work, visits: Iterable[VisitFiles]) -> Iterator[Done]:
    with _keyboard_waits():
        futures: dict[Future[Row], VisitFiles] = {pool.submit(_unless_stopped, work, files): files for files in visits}
    for future in as_completed(list(futures)):
        files = futures.pop(future)  # a future keeps its row in memory
        try:
            error = future.exception()
        except CancelledError as canceled:  # the client was closed
            error = canceled
        yield files, future.result() if error is None else error


def _in_processes(work: Work, visits: Sequence[VisitFiles], workers: int) -> Iterator[Done]:
    """Work in processes. If one dies, the pool breaks, and the visits that were lost are repeated one at a time."""
    from concurrent.futures.process import BrokenProcessPool

    lost: list[VisitFiles] = []
    with _processes(workers) as pool:
        for files, row in _completed(pool, work, visits):
            if isinstance(row, BrokenProcessPool):
                lost.append(files)
            else:
                yield files, row
    if len(lost) == len(visits):
        with _processes(1) as pool:
            if pool.submit(os.getpid).exception() is not None:
                raise _CannotStartError
    while lost:
        with _processes(1) as pool:
            while lost:
                files = lost.pop(0)
                (done,) = _completed(pool, work, [files])
                yield done
                if isinstance(done[1], BrokenProcessPool):
                    break


@contextmanager
def _keyboard_waits() -> Iterator[None]:
    """Block interrupts while processes are started: those that inherit this start without a word about them."""
    if not hasattr(signal, "pthread_sigmask"):  # not on every system
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _processes(workers: int) -> "Iterator[ProcessPoolExecutor]":
    """Spawn new processes, since a fork of a process with threads may hang.

    They end within seconds if this process fails or is killed, because the pipe that it holds open is then closed.
    """
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    context = get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(theirs,))
    with theirs, ours:
        try:
            yield pool
        except BaseException:
            ours.close()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        pool.shutdown()


_PIPES: "list[Connection]" = []
"""In a worker process: the pipe from the parent, which can be read (at its end) when the parent has stopped."""


def _begin(pipe: "Connection") -> None:
    # An interrupt from the keyboard goes to all processes; the parent handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _PIPES.append(pipe)
    threading.Thread(target=_watch, args=(pipe,), daemon=True).start()
    signal.signal(signal.SIGTERM, _end)


def _end(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def _watch(pipe: "Connection") -> None:
    """End this process when the parent has stopped: by a signal first, or else after `GRACE`."""
    with suppress(OSError):
        pipe.poll(None)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)


def _unless_stopped(work: Work, files: VisitFiles) -> Row:
    if any(pipe.poll() for pipe in _PIPES):  # visits are sent ahead of time
        raise CancelledError
    return work(files)
