"""Work through many visits: here, in processes of this machine, or on the workers of a dask client."""

import logging
import os
import signal
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Executor, Future, as_completed
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from xta.errors import ArgumentError
from xta.surveys.files import VisitFiles

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

    from distributed import Client

__all__ = ["run", "sensible"]

logger = logging.getLogger(__name__)

Row: TypeAlias = dict[str, Any]
Work: TypeAlias = Callable[[VisitFiles], Row]
Done: TypeAlias = tuple[VisitFiles, Row | BaseException]

WORTH_IT = 10
"""Visits for each process, at least: to start one takes as long as to analyse some of them."""


def sensible(visits: int) -> int:
    """Choose a number of processes: one a CPU that this process may use, as long as there is work for it."""
    try:
        cpus = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        cpus = os.cpu_count() or 1
    return max(1, min(cpus, visits // WORTH_IT))


def run(
    work: Work, visits: Sequence[VisitFiles], *, client: "Client | None", workers: int
) -> Generator[Done, None, None]:
    """Give the row of each visit as soon as it is there, or the exception that took its worker.

    Parameters
    ----------
    work : callable
        From files to row; it can be pickled.
    visits : sequence of VisitFiles
    client : distributed.Client, optional
        Its workers do the work, and see the files under the same paths.
    workers : int
        Without a client: 1 works here, more are processes.

    Raises
    ------
    ArgumentError
        If processes cannot start.
    """
    if client is not None:
        executor: Executor = client.get_executor(pure=False)  # type: ignore[no-untyped-call]
        with _cancelled(executor) as pool:
            yield from _completed(pool, work, visits)
    elif workers == 1 or not visits:
        yield from ((files, work(files)) for files in visits)
    else:
        yield from _in_processes(work, visits, workers)


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
                msg = (
                    "worker processes cannot start. In a script, call survey under "
                    'if __name__ == "__main__": (processes import the script), or give workers=1'
                )
                raise ArgumentError(msg)
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
