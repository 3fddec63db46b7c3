"""Find the acquisition of an exposure beside its file, in the cache or in the archive, in this order."""

import logging
import operator
import os
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import xarray as xr

from xta.acquisition.targ_acq import TargAcq, read_targ_acq
from xta.errors import (
    AbsentAcquisitionError,
    AcquisitionError,
    ArchiveBusyError,
    ArchiveError,
    ArchiveNotAuthorizedError,
    ArchiveNotFoundError,
    ArchiveTimeoutError,
    ArgumentError,
    FileError,
    OssLogError,
    ProductError,
    XtaWarning,
    warn,
)
from xta.identity import header
from xta.identity import source as path_of
from xta.io.backend import open_exposure
from xta.io.files import LOG_NAME, LOG_SUFFIXES, TA_KINDS, Product, listed, ranked_products, read_product
from xta.io.kept import kept

if TYPE_CHECKING:
    from xta.osslog import OssLog

__all__ = [
    "LogSearch",
    "best_log",
    "event_log",
    "find_ta",
    "open_acquisition",
    "read_log",
    "read_records",
    "read_targ_acqs",
    "ta_beside",
    "targ_acqs",
]

logger = logging.getLogger(__name__)

WHY = {
    AcquisitionError: "it lists none",
    ArchiveNotFoundError: "it has none",
    ArchiveNotAuthorizedError: "the data are exclusive: set MAST_API_TOKEN",
    ArchiveBusyError: "it is busy: try again later",
    ArchiveTimeoutError: "it did not answer: try again later",
}
"""Error of the archive -> why there is no acquisition, in a few words."""

ATTACHED = ("sci", "err", "dq")
"""Images of a TA exposure that are attached to others."""

Result = TypeVar("Result")


def find_ta(folder: Path, visit_id: str) -> list[Product]:
    """Find the TA products of a visit in a folder, of all kinds; warn about files that cannot be read."""
    products = [read_product(path) for path in listed(folder, f"jw{visit_id}") or listed(folder)]
    for product in products:
        if product.error and product.visit_id in {"", visit_id}:
            warn(f"skipped a file: {product.error}")
    return [product for product in products if product.visit_id == visit_id and product.is_ta]


def ta_beside(ds: xr.Dataset) -> list[list[Product]]:
    """Find the TA products of an exposure's visit in each folder beside its file."""
    return [find_ta(folder, header(ds)["visit_id"]) for folder in _folders(ds)]


def _folders(ds: xr.Dataset) -> list[Path]:
    """List the folders to search for a dataset: that of its path and, for a link, that of the file itself."""
    source = path_of(ds)
    if not source:
        return []
    path = Path(source).absolute()
    return list(dict.fromkeys([path.parent, path.resolve().parent]))


def _first(beside: Iterable[Iterable[Product]], kinds: Sequence[str]) -> list[list[Product]]:
    """Rank the products of the first folder that contains some of these kinds."""
    return next((exposures for products in beside if (exposures := ranked_products(products, kinds))), [])


def open_acquisition(ds: xr.Dataset, beside: Iterable[Iterable[Product]], *, offline: bool = False) -> list[xr.Dataset]:
    """Find and open the TA exposures of an exposure's visit, at least one.

    For each, the best product that can be read is opened, from `beside` (the result of `ta_beside`), or from the cache
    and the archive.
    """
    opened = [exposure for group in _first(beside, TA_KINDS) if (exposure := _open_best(group)) is not None]
    if opened:
        return opened
    from xta import archive
    from xta.archive.policy import is_offline

    visit = header(ds)["visit_id"]
    try:
        files = archive.fetch_visit(visit, instrument=header(ds)["instrument"], log=False, offline=offline).files
    except (ArchiveError, AcquisitionError) as error:
        logger.info("no acquisition from the archive: %s", error)
        why = "the network is off" if is_offline(offline) else WHY.get(type(error), "it cannot be reached")
        where = "beside the file" if _folders(ds) else "to be found (the dataset does not contain the path of its file)"
        problem = f"no TA exposure of visit {visit} {where}, and none from the archive ({why})"
        advice = "Put the TA files beside the exposure, or give them: acquisition=[...] in Python, --ta in the shell"
        raise AbsentAcquisitionError(problem, advice) from error
    return [open_exposure(path) for path in files]


def _open_best(group: Iterable[Product]) -> xr.Dataset | None:
    for product in group:
        try:
            exposure, said = _kept_images(product.path)
        except (OSError, FileError, ProductError) as error:
            warn(f"skipped a TA product: {error}")
            continue
        for text in said:
            warn(text)
        return exposure
    return None


def _images(path: Path) -> tuple[xr.Dataset, tuple[str, ...]]:
    """Read the images of a TA exposure that are attached; return its warnings instead of issuing them."""
    exposure, said = _quietly(open_exposure, path)
    with exposure:
        part = exposure.drop_vars([name for name in exposure.data_vars if name not in ATTACHED])
        for variable in part.data_vars.variables.values():
            variable.load().values.flags.writeable = False
    return part, said


_kept_images = kept(_images, number=8)


class LogSearch(NamedTuple):
    """The event log of a visit, cut to the visit, or the reason why there is none.

    `answered` is False if the archive did not answer, so that it may have a log.
    """

    log: "OssLog | None"
    reason: str = ""
    answered: bool = True


def event_log(ds: xr.Dataset, oss: Any, *, offline: bool = False) -> LogSearch:
    """Read the event log of an exposure's visit: the given one, or else the one that is found.

    A given log, in any form that `osslog.read` accepts, must contain the visit.
    """
    from xta import archive, osslog
    from xta.osslog.text import parse_times

    visit = header(ds)["visit_id"]
    if oss is None:
        log = next(filter(None, (_log_in(folder, visit) for folder in _folders(ds))), None)
        if log is not None:
            return LogSearch(log)
        times: list[Any] = [header(ds).get(name, "") for name in ("visit_start", "visit_end")]
        window: dict[str, Any] = {} if times == ["", ""] else {"start": times[0], "end": times[1]}
        if window and not operator.lt(*parse_times(times)):
            text = " to ".join(map(repr, times))
            return LogSearch(None, f"no event log beside the file, and the header has wrong visit times ({text})")
        try:
            oss = archive.event_log(visit, instrument=header(ds)["instrument"], offline=offline, **window)
        except ArchiveError as error:
            logger.info("no event log: %s", error)
            reason = f"no event log beside the file, and none from the archive ({type(error).__name__})"
            return LogSearch(None, reason, answered=isinstance(error, ArchiveNotFoundError))
    return LogSearch(osslog.read(oss).select(visit))


def _log_in(folder: Path, visit_id: str) -> "OssLog | None":
    """Read the event log of a visit in a folder: files with "oss", the mnemonic or the visit in their names."""
    marks = re.compile(rf"{LOG_NAME}|{visit_id}")
    files = (path for path in sorted(folder.iterdir()) if path.suffix.lower() in LOG_SUFFIXES and path.is_file())
    log, passed_over = best_log((path for path in files if marks.search(path.name.lower())), visit_id)
    for text in passed_over:
        logger.warning(text)
    return log


def read_log(path: Path) -> "tuple[OssLog, tuple[str, ...]]":
    """Read an event log; return its warnings instead of issuing them."""
    from xta import osslog

    return _quietly(osslog.read, path)


def _quietly(function: Callable[[Any], Result], argument: Any) -> tuple[Result, tuple[str, ...]]:
    """Call a function; return its warnings together with its result."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", XtaWarning)
        result = function(argument)
    return result, tuple(str(item.message) for item in caught if issubclass(item.category, XtaWarning))


_kept_log = kept(read_log, number=4)


def best_log(
    paths: Iterable[Path],
    visit_id: str,
    *,
    read: "Callable[[Path], tuple[OssLog, tuple[str, ...]]]" = _kept_log,
) -> "tuple[OssLog | None, list[str]]":
    """Choose the event log with the most rows of a visit, cut to the visit; return also why files were skipped.

    A file that does not mention the visit is not read. Of equal logs, the one with the visit in its name is chosen. A
    log of the neighboring visit, which only mentions this one, does not count. `read` may be another function with a
    cache than that for the logs of single visits.
    """
    best: tuple[int, bool] = (1, False)  # a single row only mentions a neighbor
    result: OssLog | None = None
    warned: Sequence[str] = ()
    passed_over = []
    for path in paths:
        try:
            if not _mentions(path, visit_id):
                continue
            log, said = read(path)
            part, more = _quietly(log.select, visit_id)
        except (OSError, OssLogError) as error:
            passed_over.append(f"skipped the event log {path}: {error}")
            continue
        rank = len(part), visit_id in path.name
        if rank[0] > 1 and rank > best:
            best, result, warned = rank, part, (*said, *more)
    for text in warned:
        warn(text)
    return result, passed_over


def _mentions(path: Path, visit_id: str) -> bool:
    with path.open("rb") as file:
        return any(f"V{visit_id}".encode() in line for line in file)


def targ_acqs(ds: xr.Dataset, targ_acq: Any, beside: Iterable[Iterable[Product]]) -> list[TargAcq]:
    """Read the given TARG_ACQ extensions, or those of the TA ``_uncal`` products beside the file."""
    if targ_acq is None:
        return read_targ_acqs(group[0].path for group in _first(beside, ("_uncal",)))
    records = read_records(targ_acq)
    for record in records:
        if record.visit_id != header(ds)["visit_id"]:
            msg = f"{record.filename} (TARG_ACQ) belongs to visit {record.visit_id}, not {header(ds)['visit_id']}"
            raise AcquisitionError(msg)
    return records


def read_records(targ_acq: Any) -> list[TargAcq]:
    """Read the TARG_ACQ extensions given by the user."""
    from astropy.io.fits import HDUList

    given = [targ_acq] if isinstance(targ_acq, str | os.PathLike | HDUList | TargAcq) else targ_acq
    if not isinstance(given, Iterable):
        msg = f"targ_acq is {targ_acq!r}; give paths or HDULists of TA _uncal products"
        raise ArgumentError(msg)
    return [item if isinstance(item, TargAcq) else read_targ_acq(item) for item in given]


def read_targ_acqs(paths: Iterable[Path]) -> list[TargAcq]:
    """Read the TARG_ACQ extensions of those ``_uncal`` products that have one; warn about damaged files."""
    records = []
    for path in paths:
        try:
            records.append(read_targ_acq(path))
        except ProductError as error:
            logger.info("%s", error)
        except FileError as error:
            warn(f"skipped an _uncal product: {error}")
    return records
