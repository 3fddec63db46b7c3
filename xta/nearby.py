"""Find the acquisition of an exposure: beside its file, in the cache, in the archive, in this order."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from xta.errors import AcquisitionError, ArchiveError, FileError, MissingError, ProductError

if TYPE_CHECKING:
    import os

    from xta.osslog import OssLog
    from xta.targacq import TargAcq

__all__ = ["TACONFIRM_TYPES", "TACQ_TYPES", "acquisition_files", "event_log", "find_log", "find_ta", "targ_acqs"]

logger = logging.getLogger(__name__)

TACQ_TYPES = frozenset({"NRC_TACQ", "MIR_TACQ", "NIS_TACQ", "NRS_TACQ", "NRS_WATA", "NRS_MSATA", "NRS_TASLIT"})
TACONFIRM_TYPES = frozenset({"NRC_TACONFIRM", "MIR_TACONFIRM", "NIS_TACONFIRM", "NRS_TACONFIRM", "NRS_CONFIRM"})

SUFFIXES = ("_cal", "_calints", "_rate", "_rateints")
"""Product kinds in which a TA exposure is looked for, best first."""


def _headers(folder: Path, visit_id: str) -> Iterable[tuple[Path, Any]]:
    """Give the FITS files of a visit in a folder with their primary headers."""
    from astropy.io import fits

    named = sorted(folder.glob(f"jw{visit_id}*.fits"))
    for path in named or sorted(folder.glob("*.fits")):
        try:
            header = fits.getheader(path, 0)
        except OSError as error:
            logger.debug("%s is passed over: %s", path, error)
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
        if str(header.get("EXP_TYPE", "")).strip() not in TACQ_TYPES | TACONFIRM_TYPES:
            continue
        exposure, _, kind = path.stem.rpartition("_")
        if f"_{kind}" in kinds:
            rank = kinds.index(f"_{kind}")
            best[exposure] = min(best.get(exposure, (rank, path)), (rank, path))
    return sorted(path for _, path in best.values())


def find_log(folder: "str | os.PathLike[str]", visit_id: str) -> Path | None:
    """Find an event log of a visit in a folder: a .csv or .txt file with "oss", the mnemonic or the visit in its
    name, and the visit in its text.

    Returns
    -------
    pathlib.Path or None
        The first by name.
    """  # noqa: D205
    marks = ("oss", "ictm_event", visit_id)
    for path in sorted(Path(folder).iterdir()):
        name = path.name.lower()
        if path.suffix.lower() in {".csv", ".txt"} and any(mark in name for mark in marks) and path.is_file():
            with path.open("rb") as file:
                if any(f"V{visit_id}".encode() in line for line in file):
                    return path
    return None


def _folder(ds: xr.Dataset) -> Path | None:
    source = ds.encoding.get("source")
    return Path(source).resolve().parent if source else None


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
    MissingError
        If the dataset does not know its file.
    AcquisitionError
        If the visit has no TA product beside the file, in the cache or in the archive.
    """
    visit, folder = ds.attrs["visit_id"], _folder(ds)
    if folder is None:
        msg = "the dataset does not know its file, so its visit cannot be looked for beside it; give acquisition=[...]"
        raise MissingError(msg)
    found = find_ta(folder, visit)
    if found:
        return found
    from xta import archive

    looked = f"beside the file (*{', *'.join(SUFFIXES)}.fits with EXP_TYPE *_TACQ in {folder})"
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

    visit, folder = ds.attrs["visit_id"], _folder(ds)
    if oss is None and folder is not None:
        oss = find_log(folder, visit)
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
    """
    import os

    from astropy.io.fits import HDUList

    from xta.targacq import read_targ_acq

    if targ_acq is not None:
        given = [targ_acq] if isinstance(targ_acq, str | os.PathLike | HDUList) else list(targ_acq)
        return [read_targ_acq(item) for item in given]
    folder, found = _folder(ds), []
    for path in find_ta(folder, ds.attrs["visit_id"], kinds=("_uncal",)) if folder else []:
        try:
            found.append(read_targ_acq(path))
        except (ProductError, FileError) as error:
            logger.info("%s", error)
    return found
