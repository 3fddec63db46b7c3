"""Several visits and files at once, with a small, polite limit."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from xta.archive import edb, mast
from xta.archive.checks import is_product_name
from xta.archive.policy import Policy, Token, visit_digits
from xta.errors import XtaError

__all__ = ["VisitFiles", "fetch_many", "fetch_visit"]


@dataclass(frozen=True)
class VisitFiles:
    """What the archive has on the acquisition of a visit.

    Parameters
    ----------
    visit : str
        Such as "V01386001001".
    files : tuple of pathlib.Path
        TA products in the cache, in time order.
    log : str or None
        Event log, if it was asked for.
    """

    visit: str
    files: tuple[Path, ...]
    log: str | None


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
        As of `xta.archive.mast.ta_products`.
    log : bool
        Fetch the event log as well.
    token, progress, offline, policy
        As of `xta.archive.mast.download`.

    Returns
    -------
    VisitFiles

    Raises
    ------
    AcquisitionError
        If the visit has no target acquisition.
    ArchiveError
        If something cannot be had.
    """
    found = mast.ta_products(visit, instrument, kind=kind, offline=offline, policy=policy)
    files = tuple(
        mast.download(product.filename, token=token, progress=progress, offline=offline, policy=policy)
        for product in found
    )
    text = None
    if log:
        start, end = found[0].visit_start, found[0].visit_end
        text = edb.event_log(
            visit,
            start=start if end else None,
            end=end if start else None,
            instrument=found[0].instrument,
            token=token,
            progress=progress,
            offline=offline,
            policy=policy,
        )
    return VisitFiles(f"V{visit_digits(visit)}", files, text)


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
        As of `fetch_visit`; ``policy.workers`` is how many at a time.
    progress : bool
        Show a bar on stderr that counts the items.

    Returns
    -------
    dict
        Item -> `VisitFiles` for a visit, path for a product, or the error if it could not be had: one that
        fails does not take the others with it. In the order of `items`.
    """
    visit = partial(fetch_visit, instrument=instrument, kind=kind, log=log, token=token, offline=offline, policy=policy)
    product = partial(mast.download, token=token, offline=offline, policy=policy)
    names = list(dict.fromkeys(items))
    jobs = {name: partial(product if is_product_name(name) else visit, name) for name in names}
    with ThreadPoolExecutor((policy or Policy()).workers, thread_name_prefix="xta-fetch") as pool:
        futures: dict[Future[VisitFiles | Path | XtaError], str] = {
            pool.submit(_caught, job): name for name, job in jobs.items()
        }
        results = {}
        try:
            for future in _counted(futures, progress):
                results[futures[future]] = future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return {name: results[name] for name in names}


def _caught(job: Callable[[], VisitFiles | Path]) -> VisitFiles | Path | XtaError:
    try:
        return job()
    except XtaError as error:
        return error


def _counted(
    futures: dict[Future[VisitFiles | Path | XtaError], str], progress: bool
) -> Iterable[Future[VisitFiles | Path | XtaError]]:
    done = as_completed(futures)
    if not progress:
        return done
    from tqdm import tqdm

    bar: Iterable[Future[VisitFiles | Path | XtaError]] = tqdm(done, total=len(futures), unit="item")
    return bar
