"""Work through many visits: here, in processes of this machine, or on the workers of a dask client."""

import logging
import os
import signal
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Executor, Future, as_completed
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from xta.errors import ArgumentError, warn
from xta.surveys.files import VisitFiles

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

    from distributed import Client

__all__ = ["run"]

logger = logging.getLogger(__name__)

Row: TypeAlias = dict[str, Any]
Work: TypeAlias = Callable[[VisitFiles], Row]
Done: TypeAlias = tuple[VisitFiles, Row | BaseException]

WORTH_IT = 10
"""Visits for each process, at least: to start one takes as long as to analyse some of them."""

GUARD = 'call survey in a script under if __name__ == "__main__": (processes import the script)'


class _CannotStartError(Exception):
    """Not one worker process came up."""


def _sensible(visits: int) -> int:
    """Choose a number of processes: one a CPU that this process may use, as long as there is work for it."""
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
    """Give the row of each visit as soon as it is there, or the exception that took its worker.

    Parameters
    ----------
    work : callable
        From files to row; it can be pickled.
    visits : sequence of VisitFiles
    client : distributed.Client, optional
        Its workers do the work, and see the files under the same paths.
    workers : int or None
        Without a client: 1 works here, more are processes; None chooses.

    Raises
    ------
    ArgumentError
        If the processes that were asked for cannot start.

    Warns
    -----
    XtaWarning
        If none were asked for and processes cannot start, so that all is done here.
    """
    number = workers or _sensible(len(visits))
    if client is not None:
        executor: Executor = client.get_executor(pure=False)  # type: ignore[no-untyped-call]
        with _cancelled(executor) as pool:
            yield from _completed(pool, work, visits)
    elif number == 1 or not visits:
        yield from _here(work, visits)
    else:
        try:
            yield from _in_processes(work, visits, number)
        except _CannotStartError:  # before the first row
            if workers is not None:
                msg = f"worker processes cannot start; {GUARD}, or give workers=1"
                raise ArgumentError(msg) from None
            warn(f"worker processes cannot start, so all visits are analysed in this one; to use more, {GUARD}")
            yield from _here(work, visits)


def _here(work: Work, visits: Iterable[VisitFiles]) -> Iterator[Done]:
    yield from ((files, work(files)) for files in visits)


@contextmanager
def _cancelled(pool: Executor, **how: Any) -> Iterator[Executor]:
    """Wait for the end of a pool when all went well, and cancel what waits when not."""
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, **how)
        raise
    pool.shutdown()


def _completed(pool: Executor, work: Work, visits: Iterable[VisitFiles]) -> Iterator[Done]:
    futures: dict[Future[Row], VisitFiles] = {pool.submit(work, files): files for files in visits}
    for future in as_completed(list(futures)):
        files = futures.pop(future)  # a future holds its row
        try:
            error = future.exception()
        except CancelledError as cancelled:  # the client was closed
            error = cancelled
        yield files, future.result() if error is None else error


def _in_processes(work: Work, visits: Sequence[VisitFiles], workers: int) -> Iterator[Done]:
    """Work in processes. When one dies, the pool goes with it: what it lost is done again, one at a time."""
    from concurrent.futures.process import BrokenProcessPool

    lost: list[VisitFiles] = []
    with _cancelled(_processes(workers), cancel_futures=True) as pool:
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
        with _cancelled(_processes(1), cancel_futures=True) as pool:
            while lost:
                files = lost.pop(0)
                (done,) = _completed(pool, work, [files])
                yield done
                if isinstance(done[1], BrokenProcessPool):
                    break


def _processes(workers: int) -> "ProcessPoolExecutor":
    """Start processes afresh: a fork of one with threads may hang."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    # An interrupt from the keyboard goes to all processes; the one that asked takes care of it.
    quiet = partial(signal.signal, signal.SIGINT, signal.SIG_IGN)
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=quiet)
