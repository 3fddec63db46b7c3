"""Open, attach, measure the offset and adjust the WCS in one call, for one exposure or for all of a visit."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from xta import identity
from xta.acquisition.adjust import adjust_wcs
from xta.acquisition.attach import Acquisition, attach, check_identity, find_acquisition
from xta.acquisition.offset import Centroid, compute_offset
from xta.errors import AcquisitionError, ArgumentError, WCSError, warn
from xta.geometry import sky
from xta.identity import header
from xta.io import files as found
from xta.io.backend import open_exposure, rechunk

__all__ = ["analyze", "analyze_each", "analyze_visit", "check_one_visit"]


def analyze(
    calints: Any,
    *,
    acquisition: Any = None,
    oss: Any = None,
    targ_acq: Any = None,
    centroid: Centroid = "auto",
    corrections: str | Iterable[str] = "all",
    offline: bool = False,
    chunks: Any = None,
) -> xr.Dataset:
    """Find the star behind the mask of an exposure.

    Parameters
    ----------
    calints : path, astropy.io.fits.HDUList or xarray.Dataset
        The science (or TA) exposure.
    acquisition, oss, targ_acq, offline : optional
        As in `attach`; by default the files beside the exposure, in the cache or in the archive.
    centroid : "auto", "oss", "converged", "image" or (x, y)
        As in `compute_offset`.
    corrections : "all", "none" or names
        As in `adjust_wcs`.
    chunks : optional
        As in `open_exposure`; a dataset is rechunked.

    Returns
    -------
    xarray.Dataset
        The exposure with its acquisition, the offset, the corrected ``wcs`` and the star's pixel
        ``target_x``, ``target_y``; see `compute_offset` and `adjust_wcs`.

    Raises
    ------
    XtaError
        See the steps for the classes. The message contains what was found and what to do.
    """
    ds = attach(_opened(calints, chunks), acquisition, oss=oss, targ_acq=targ_acq, offline=offline)
    return adjust_wcs(compute_offset(ds, centroid=centroid), corrections=corrections)


def analyze_visit(
    files: "Iterable[Any] | str | os.PathLike[str]",
    *,
    acquisition: Any = None,
    oss: Any = None,
    targ_acq: Any = None,
    centroid: Centroid = "auto",
    corrections: str | Iterable[str] = "all",
    offline: bool = False,
    chunks: Any = None,
) -> dict[str, xr.Dataset]:
    """Find the star in all exposures of a visit from its one acquisition.

    Parameters
    ----------
    files : sequence of path, astropy.io.fits.HDUList or xarray.Dataset; or the path of a folder
        Exposures of one visit, with any filter, detector and channel of one instrument, and any dither. TA exposures
        among them are the acquisition, unless one is given. For a folder, the best product of each exposure is
        opened, as `xta.open_program` does.
    acquisition, oss, targ_acq, offline, centroid, corrections, chunks : optional
        As in `analyze`, for all exposures. What is not given is looked for beside the first exposure and read once.

    Returns
    -------
    dict
        Name of the file -> exposure as `analyze` returns it, in order of time.

    Raises
    ------
    AcquisitionError
        If the exposures belong to several visits or guide stars, or none of them is a science exposure.
    ArgumentError
        If `files` is not a sequence, or two exposures have the same name.
    WCSError
        If no science exposure has an imaging WCS that agrees with its header, or a TA exposure has none.
    XtaError
        For the same reasons as in `analyze`.

    Warns
    -----
    XtaWarning
        If an exposure is left out because it has no imaging WCS, as a spectrum, or one that belongs to another
        exposure.

    Notes
    -----
    The pointing error of a visit is one rotation of the sky. It is applied to the WCS of every exposure. The attitude
    of each WCS includes the dither of its exposure (XOFFSET, YOFFSET).

    Examples
    --------
    >>> visit = xta.analyze_visit(folder.glob("*_calints.fits"))  # doctest: +SKIP
    >>> result = xta.klip([visit[name] for name in visit if "nrcalong" in name])  # doctest: +SKIP
    """
    if isinstance(files, str | os.PathLike) and Path(files).is_dir():
        files = _in_folder(files)
    if isinstance(files, str | bytes | os.PathLike | xr.Dataset) or not isinstance(files, Iterable):
        msg = f"files is {files!r}; give the exposures of a visit as a list, or use xta.analyze for one"
        raise ArgumentError(msg)
    exposures = sorted((_opened(file, chunks) for file in files), key=lambda ds: str(header(ds).get("date_beg", "")))
    science = [ds for ds in exposures if not identity.is_ta(ds)]
    if not science:
        msg = f"there is no science exposure among the {len(exposures)} given; use xta.analyze for TA exposures"
        raise AcquisitionError(msg)
    check_one_visit(exposures)
    if acquisition is None:
        acquisition = [ds for ds in exposures if identity.is_ta(ds)] or None
    acquisition = find_acquisition(science[0], acquisition, oss=oss, targ_acq=targ_acq, offline=offline)
    named: dict[str, xr.Dataset] = {}
    for ds in science:
        name = str(header(ds).get("filename", len(named)))
        if name in named:
            msg = f"{name} was given twice; give each exposure once"
            raise ArgumentError(msg)
        named[name] = ds
    result, left_out = analyze_each(named, acquisition, centroid=centroid, corrections=corrections)
    if not result:
        why = "; ".join(dict.fromkeys(left_out.values()))
        msg = (
            f"none of the {len(science)} science exposures has a WCS to adjust ({why}); analyze the acquisition itself"
        )
        raise WCSError(msg)
    return result


def analyze_each(
    exposures: Mapping[str, xr.Dataset],
    acquisition: Acquisition,
    *,
    centroid: Centroid = "auto",
    corrections: str | Iterable[str] = "all",
) -> tuple[dict[str, xr.Dataset], dict[str, str]]:
    """Analyze the exposures of a visit, and return the results and the reasons why others are left out, by name.

    An exposure whose WCS cannot be used is left out with a warning. If the WCS of the acquisition cannot be used, it
    is an error, since that concerns all exposures.
    """
    result: dict[str, xr.Dataset] = {}
    left_out: dict[str, str] = {}
    for name, ds in exposures.items():
        if why := _foreign(ds):
            left_out[name] = why
            continue
        measured = compute_offset(attach(ds, acquisition), centroid=centroid)
        try:
            result[name] = adjust_wcs(measured, corrections=corrections)
        except WCSError as error:
            left_out[name] = str(error)
    for name, why in left_out.items():
        warn(f"{name} is left out: {why}")
    return result, left_out


def _foreign(ds: xr.Dataset) -> str:
    """Describe how the WCS of an exposure differs from its header; empty if it does not."""
    try:
        sky.check_reference(ds)
    except WCSError as error:
        return str(error)
    return ""


def _in_folder(folder: "str | os.PathLike[str]") -> list[Path]:
    """List the best product of each exposure in a folder; warn about damaged files."""
    products = [product for files in found.find_files(folder).products.values() for product in files.values()]
    for product in products:
        if product.error:
            warn(f"skipped a file: {product.error}")
    return [ranked[0].path for ta in (False, True) for ranked in found.exposures(products, ta=ta)]


def _opened(source: Any, chunks: Any) -> xr.Dataset:
    if isinstance(source, xr.Dataset):
        return rechunk(source, chunks)
    return open_exposure(os.fspath(source) if isinstance(source, os.PathLike) else source, chunks=chunks)


def check_one_visit(exposures: Sequence[xr.Dataset]) -> None:
    """Refuse exposures that cannot all belong to the same acquisition."""
    for ds in exposures:
        check_identity(ds)
    for name, what in (("visit_id", "visits"), ("instrument", "instruments"), ("guide_star", "guide stars")):
        values = {str(header(ds)[name]): str(header(ds).get("filename", "?")) for ds in exposures if name in header(ds)}
        if len(values) > 1:
            pairs = ", ".join(f"{value} ({file})" for value, file in sorted(values.items()))
            msg = f"the exposures belong to several {what} with different pointing errors: {pairs}; give one at a time"
            raise AcquisitionError(msg)
