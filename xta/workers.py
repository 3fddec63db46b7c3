"""Work in this process or on the workers of a dask client, so that an interrupt leaves nothing locked or running."""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from xta.errors import ArgumentError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["compute", "interrupts_wait", "mapped"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def mapped(
    function: Callable[[Item], Result], items: Iterable[Item], client: "Client | None" = None
) -> Iterator[Result]:
    """Yield the result of a function for each item, in their order.

    Parameters
    ----------
    function : callable
        Without a client it is called when its result is requested. With one, function and items are pickled.
    items : iterable
    client : distributed.Client, optional
        Its workers do the work. The items of a worker that died are done again by another; dask gives up an item after
        three workers have died with it.

    Yields
    ------
    object

    Raises
    ------
    ArgumentError
        If `client` is not a client.
    """
    if client is None:
        return map(function, items)
    if not hasattr(client, "get_executor"):
        msg = f"client is {client!r}; give a distributed.Client"
        raise ArgumentError(msg)
    return _on_workers(function, items, client)


def _on_workers(function: Callable[[Item], Result], items: Iterable[Item], client: "Client") -> Iterator[Result]:
    import dask

    # The items travel within the tasks: data that were scattered to a worker would be lost with it.
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TB"}):
        futures = [client.submit(function, item, pure=False) for item in items]
    futures.reverse()
    try:
        while futures:
            yield futures[-1].result()
            futures.pop()  # a future holds its result on the worker
    finally:
        client.cancel(futures)  # type: ignore[no-untyped-call]


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Defer interrupts until the block ends.

    Signals are handled between two steps of Python in the main thread. One that is handled inside of a lock of xarray
    leaves it locked forever, and then nothing can close the file.
    """
    if threading.current_thread() is not threading.main_thread():  # which gets no signals
        yield
        return
    waiting: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    ours = {number: handler for number, handler in before.items() if callable(handler)}
    try:
        for number in ours:
            signal.signal(number, lambda number, _frame: waiting.append(number))
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
        if waiting:
            signal.raise_signal(waiting[0])


class _Pool(ThreadPoolExecutor):
    """A pool that knows all of its threads: no interrupt comes between the start of one and its registration."""

    def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
        with interrupts_wait():
            return super().submit(*args, **kwargs)


def compute(task: Any) -> Any:
    """Compute what dask is to write or read; after this function, even if it fails, no thread still works on it.

    dask's own threads go on, and one whose start is interrupted makes the process wait forever when it ends.
    """
    from dask import config, threaded
    from dask.base import get_scheduler
    from dask.system import CPU_COUNT

    if get_scheduler(collections=[task]) is threaded.get:  # type: ignore[no-untyped-call]
        with _Pool(config.get("num_workers", None) or CPU_COUNT) as pool:
            return task.compute(pool=pool)
    return task.compute()
