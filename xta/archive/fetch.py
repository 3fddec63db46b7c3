"""Several visits and files at once, with a small, polite limit."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from xta.archive import edb, mast
from xta.archive.mast import is_product_name
from xta.archive.policy import Policy, Token
from xta.errors import XtaError
from xta.osslog import normalize_visit

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
    products = mast.ta_products(visit, instrument, kind=kind, offline=offline, policy=policy)
    download = partial(mast.download, token=token, progress=progress, offline=offline, policy=policy)
    files = tuple(download(product.filename) for product in products)
    if not log:
        return VisitFiles(normalize_visit(visit), files, None)
    start, end = products[0].visit_start, products[0].visit_end
    if start is None or end is None or not start < end:
        start = end = None  # the archive is asked again, for all products of the visit
    event_log = partial(edb.event_log, token=token, progress=progress, offline=offline, policy=policy)
    text = event_log(visit, start=start, end=end, instrument=products[0].instrument)
    return VisitFiles(normalize_visit(visit), files, text)


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
    from tqdm import tqdm

    visit = partial(fetch_visit, instrument=instrument, kind=kind, log=log, token=token, offline=offline, policy=policy)
    product = partial(mast.download, token=token, offline=offline, policy=policy)
    names = list(dict.fromkeys(items))
    results: dict[str, VisitFiles | Path | XtaError] = {}
    with ThreadPoolExecutor((policy or Policy()).workers, thread_name_prefix="xta-fetch") as pool:
        jobs = {pool.submit(product if is_product_name(name) else visit, name): name for name in names}
        try:
            for job in tqdm(as_completed(jobs), total=len(jobs), unit="item", disable=not progress):
                error = job.exception()
                results[jobs[job]] = error if isinstance(error, XtaError) else job.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return {name: results[name] for name in names}
