"""Download several visits and files at the same time, with a low limit."""

import shutil
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from xta.archive import edb, mast
from xta.archive.mast import is_product_name
from xta.archive.policy import Policy, Token
from xta.errors import XtaError
from xta.io.atomic import whole_file
from xta.osslog import normalize_visit

__all__ = ["VisitFiles", "copied", "event_log", "fetch_many", "fetch_visit", "in_parallel"]

T = TypeVar("T")


@dataclass(frozen=True)
class VisitFiles:
    """The files of a visit's acquisition from the archive.

    Parameters
    ----------
    visit : str
        Such as "V01386001001".
    files : tuple of pathlib.Path
        TA products in the cache, in time order.
    log : str or None
        Event log, if it was requested.
    """

    visit: str
    files: tuple[Path, ...]
    log: str | None


GRACE = 2.0
"""Time for threads to clean up after an interrupt [s]."""


def fetch_visit(
    visit: str,
    *,
    instrument: str | None = None,
    kind: str = "cal",
    log: bool = True,
    token: str | Token | None = None,
    progress: bool = False,
    offline: bool = False,
    policy: Policy | None = None,
) -> VisitFiles:
    """Fetch the TA products of a visit, and its event log.

    Parameters
    ----------
    visit, instrument, kind
        As in `xta.archive.mast.ta_products`.
    log : bool
        Fetch the event log as well.
    token, progress, offline, policy
        As in `xta.archive.mast.download`.

    Returns
    -------
    VisitFiles

    Raises
    ------
    AcquisitionError
        If the visit has no target acquisition.
    ArchiveError
        If a file cannot be downloaded.
    """
    products = mast.ta_products(visit, instrument, kind=kind, offline=offline, policy=policy)
    download = partial(mast.download, token=token, progress=progress, offline=offline, policy=policy)
    files = tuple(download(product.filename) for product in products)
    if not log:
        return VisitFiles(normalize_visit(visit), files, None)
    text = event_log(visit, products[0], token=token, progress=progress, offline=offline, policy=policy)
    return VisitFiles(normalize_visit(visit), files, text)


def event_log(visit: str, product: mast.Product, **how: Any) -> str:
    """Fetch the log of a visit, with the times from one of its products; `how` is as for `xta.archive.event_log`."""
    start, end = product.visit_start, product.visit_end
    if start is None or end is None or not start < end:
        start = end = None  # the archive is asked again, for all products of the visit
    return edb.event_log(visit, start=start, end=end, instrument=product.instrument, **how)


def fetch_many(
    items: Iterable[str],
    *,
    instrument: str | None = None,
    kind: str = "cal",
    log: bool = True,
    token: str | Token | None = None,
    progress: bool = False,
    offline: bool = False,
    policy: Policy | None = None,
) -> dict[str, VisitFiles | Path | XtaError]:
    """Fetch several visits and files, a few at a time.

    Parameters
    ----------
    items : iterable of str
        Visit ids and names of products, in any mixture.
    instrument, kind, log, token, offline, policy
        As in `fetch_visit`; ``policy.workers`` is how many at a time.
    progress : bool
        Show a bar on stderr that counts the items.

    Returns
    -------
    dict
        Item -> `VisitFiles` for a visit, path for a product, or the error if the download failed, in the order of
        `items`. A failure does not stop the other downloads.

    Notes
    -----
    An interrupt ends all of them within seconds. Downloads that the archive can resume keep what they have.
    """
    visit = partial(fetch_visit, instrument=instrument, kind=kind, log=log, token=token, offline=offline)
    product = partial(mast.download, token=token, offline=offline)
    calls: dict[str, Callable[..., VisitFiles | Path]] = {
        name: partial(product, name) if is_product_name(name) else partial(visit, name) for name in dict.fromkeys(items)
    }
    return in_parallel(calls, policy or Policy(), unit="item", progress=progress)


def in_parallel(
    calls: Mapping[str, Callable[..., T]], policy: Policy, *, unit: str, progress: bool
) -> dict[str, T | XtaError]:
    """Call functions in threads, and collect what each returns or the `XtaError` that it raises, in their order.

    Each is called with the keyword `policy`, which stops it if this function is interrupted.
    """
    from tqdm import tqdm

    results: dict[str, T | XtaError] = {}
    # The first bar, so that it is above those of files.
    with (
        tqdm(total=len(calls), unit=unit, disable=not progress) as bar,
        closing(_in_threads(calls, policy, policy.stop or threading.Event())) as done,
    ):
        for name, result in done:
            results[name] = result
            bar.update()
    return {name: results[name] for name in calls}


def _in_threads(
    calls: Mapping[str, Callable[..., T]], policy: Policy, stop: threading.Event
) -> Generator[tuple[str, T | XtaError], None, None]:
    """Yield each name with the result of its call. If the work is interrupted, the threads are told to stop.

    Python does not wait for these threads when it exits, since one may hang while it looks up an address.
    """
    todo: SimpleQueue[str] = SimpleQueue()
    done: SimpleQueue[tuple[str, T | BaseException]] = SimpleQueue()
    stoppable = replace(policy, stop=stop)
    for name in calls:
        todo.put(name)

    def work() -> None:
        with suppress(Empty):
            while True:
                name = todo.get_nowait()
                try:
                    stoppable.wait(0)
                    done.put((name, calls[name](policy=stoppable)))
                except BaseException as error:  # noqa: BLE001 - it is raised where the results are taken
                    done.put((name, error))

    workers = min(policy.workers, len(calls))
    threads = [threading.Thread(target=work, daemon=True, name=f"xta-fetch-{k}") for k in range(workers)]
    for thread in threads:
        thread.start()
    try:
        for _ in calls:
            name, result = done.get()
            if isinstance(result, BaseException) and not isinstance(result, XtaError):
                raise result
            yield name, result
    except BaseException:
        stop.set()
        end = time.monotonic() + GRACE
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        raise


def copied(file: Path, folder: Path) -> Path:
    """Copy a cached file to a folder with its mode, so that exclusive data stay private; never leave it incomplete."""
    target = folder / file.name
    with whole_file(target) as temporary:
        shutil.copy(file, temporary)
    return target
