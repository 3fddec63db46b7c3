"""Find the acquisition of an exposure: beside its file, in the cache, in the archive, in this order."""

import logging
import os
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import xarray as xr

from xta import model
from xta.errors import AcquisitionError, ArchiveError, ArgumentError, FileError, ProductError, XtaWarning

if TYPE_CHECKING:
    from xta.acquisition.targ_acq import TargAcq
    from xta.osslog import OssLog

__all__ = ["acquisition_files", "event_log", "find_log", "find_ta", "targ_acqs"]

logger = logging.getLogger(__name__)

Found = TypeVar("Found")


SUFFIXES = ("_cal", "_calints", "_rate", "_rateints")
"""Product kinds in which a TA exposure is looked for, best first."""

LOG_SUFFIXES = (".csv", ".txt")
LOG_NAME = r"(?<![a-z])oss(?![a-km-z])|osslog|ictm_event"
"""What marks an event log in a folder: end of its name, and pattern in it (lower case), besides its visit."""

NO_ANSWER = re.compile(r"none from the archive \((?!ArchiveNotFoundError)")
"""In the reason of `event_log`: the archive could not be asked, so it may have a log all the same."""


def _headers(folder: Path, visit_id: str) -> Iterable[tuple[Path, Any]]:
    """Give the FITS files of a visit in a folder with their primary headers."""
    from astropy.io import fits

    def listed(start: str) -> list[Path]:
        return sorted(path for end in (".fits", ".fits.gz") for path in folder.glob(f"{start}*{end}"))

    for path in listed(f"jw{visit_id}") or listed(""):
        try:
            with path.open("rb") as file, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a header that is cut or odd; opening the file will complain
                header = fits.getheader(file, 0)
        except OSError as error:
            logger.warning("%s is passed over: %s", path, error)
            continue
        if str(header.get("VISIT_ID", "")).strip() == visit_id:
            yield path, header


def find_ta(folder: "str | os.PathLike[str]", visit_id: str, *, kinds: Sequence[str] = SUFFIXES) -> list[Path]:
    """Find the TA products of a visit in a folder.

    Parameters
    ----------
    folder : path
    visit_id : str
        As in the keyword VISIT_ID.
    kinds : sequence of str
        Product suffixes, best first; of each exposure the best one is taken.

    Returns
    -------
    list of pathlib.Path
        Sorted by name; empty if there are none.
    """
    best: dict[str, tuple[int, Path]] = {}
    for path, header in _headers(Path(folder), visit_id):
        if str(header.get("EXP_TYPE", "")).strip() not in model.TACQ_TYPES | model.TACONFIRM_TYPES:
            continue
        exposure, _, kind = path.name.partition(".")[0].rpartition("_")
        if f"_{kind}" in kinds:
            rank = kinds.index(f"_{kind}")
            best[exposure] = min(best.get(exposure, (rank, path)), (rank, path))
    return sorted(path for _, path in best.values())


def find_log(folder: "str | os.PathLike[str]", visit_id: str) -> Path | None:
    """Find the event log of a visit in a folder.

    Parameters
    ----------
    folder : path
        Looked through for .csv and .txt files with "oss", the mnemonic or the visit in their names.
    visit_id : str
        As in the keyword VISIT_ID.

    Returns
    -------
    pathlib.Path or None
        The one that tells most of the visit; of equal ones that with the visit in its name. A log of the
        neighbouring visit, which only mentions this one, is none.
    """
    marks = re.compile(rf"{LOG_NAME}|{visit_id}")
    best: tuple[int, bool] = (1, False)  # a single row is the mention of a neighbour
    found = None
    for path in sorted(Path(folder).iterdir()):
        if path.suffix.lower() not in LOG_SUFFIXES or not marks.search(path.name.lower()):
            continue
        rank = _rows_of_visit(path, visit_id), visit_id in path.name
        if rank[0] > 1 and rank > best:
            best, found = rank, path
    return found


def _rows_of_visit(path: Path, visit_id: str) -> int:
    """Count the rows that a file has of a visit; 0 for one that is no event log."""
    from xta import osslog
    from xta.errors import OssLogError

    try:
        with path.open("rb") as file:
            if not any(f"V{visit_id}".encode() in line for line in file):
                return 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", XtaWarning)  # the log that is chosen will be read again, and warn
            return len(osslog.read(path).select(visit_id))
    except (OSError, OssLogError) as error:
        logger.warning("%s is passed over: %s", path, error)
        return 0


def _folders(ds: xr.Dataset) -> list[Path]:
    """Folders beside the file of a dataset: that of its name, and, for a link, that of the file itself."""
    source = ds.encoding.get("source")
    if not source:
        return []
    path = Path(source).absolute()
    return list(dict.fromkeys([path.parent, path.resolve().parent]))


def _beside(ds: xr.Dataset, find: Callable[[Path], Found]) -> Found | None:
    """Look into the folders beside the file of a dataset, until something is found."""
    return next((found for found in map(find, _folders(ds)) if found), None)


def acquisition_files(ds: xr.Dataset, *, offline: bool = False) -> list[Path]:
    """Find the TA products of an exposure's visit.

    Parameters
    ----------
    ds : xarray.Dataset
        Opened from a file, whose folder is looked into first.
    offline : bool
        Do not use the network.

    Returns
    -------
    list of pathlib.Path
        At least one.

    Raises
    ------
    AcquisitionError
        If the visit has no TA product beside the file, in the cache or in the archive.
    """
    visit = ds.attrs["visit_id"]
    found = _beside(ds, lambda folder: find_ta(folder, visit))
    if found:
        return found
    from xta import archive

    places = ", ".join(str(folder) for folder in _folders(ds)) or "no folder, for the dataset does not know its file"
    looked = f"beside the file (*{', *'.join(SUFFIXES)}.fits with EXP_TYPE *_TACQ in {places})"
    try:
        return list(archive.fetch_visit(visit, instrument=ds.attrs["instrument"], log=False, offline=offline).files)
    except (ArchiveError, AcquisitionError) as error:
        msg = (
            f"no TA exposure of visit {visit} {looked}, and none from the archive: {error} "
            "Put the files there, or give their paths (acquisition=[...], --ta)"
        )
        raise AcquisitionError(msg) from error


def event_log(ds: xr.Dataset, oss: Any, *, offline: bool = False) -> "tuple[OssLog | None, str]":
    """Read the event log of an exposure's visit: the one that is given, or the one that is found.

    Parameters
    ----------
    ds : xarray.Dataset
    oss : optional
        Anything that `osslog.read` takes; None to look for it.
    offline : bool
        Do not use the network.

    Returns
    -------
    OssLog or None
        Cut to the visit.
    str
        Why there is none.

    Raises
    ------
    OssLogError, FileError
        If the log that was given cannot be read or does not hold the visit.
    """
    from xta import archive, osslog

    visit = ds.attrs["visit_id"]
    if oss is None:
        oss = _beside(ds, lambda folder: find_log(folder, visit))
    if oss is None:
        try:
            window = {"start": ds.attrs["visit_start"], "end": ds.attrs["visit_end"]}
        except KeyError:
            window = {}
        try:
            oss = archive.event_log(visit, instrument=ds.attrs["instrument"], offline=offline, **window)
        except ArchiveError as error:
            logger.info("no event log: %s", error)
            return None, f"no event log beside the file, and none from the archive ({type(error).__name__})"
    return osslog.read(oss).select(visit), ""


def targ_acqs(ds: xr.Dataset, targ_acq: Any) -> "list[TargAcq]":
    """Read the TARG_ACQ extensions that are given, or those of the TA ``_uncal`` products beside the file.

    Raises
    ------
    FileError, ProductError
        If one that was given cannot be read.
    AcquisitionError
        If one that was given is of another visit.
    """
    from astropy.io.fits import HDUList

    from xta.acquisition.targ_acq import read_targ_acq

    if targ_acq is not None:
        given = [targ_acq] if isinstance(targ_acq, str | os.PathLike | HDUList) else targ_acq
        if not isinstance(given, Iterable):
            msg = f"targ_acq is {targ_acq!r}; give paths or HDULists of TA _uncal products"
            raise ArgumentError(msg)
        records = [read_targ_acq(item) for item in given]
        for record in records:
            if record.visit_id != ds.attrs["visit_id"]:
                msg = f"{record.filename} (TARG_ACQ) belongs to visit {record.visit_id}, not {ds.attrs['visit_id']}"
                raise AcquisitionError(msg)
        return records
    found = []
    for path in _beside(ds, lambda folder: find_ta(folder, ds.attrs["visit_id"], kinds=("_uncal",))) or []:
        try:
            found.append(read_targ_acq(path))
        except (ProductError, FileError) as error:
            logger.info("%s", error)
    return found
