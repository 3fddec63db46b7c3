"""Attach the target acquisition to an exposure: find it, check that it belongs to the exposure, and stack it."""

import logging
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xta import identity, model, pixels, stacks
from xta.acquisition import checks, pair
from xta.acquisition.find import LogSearch, event_log, open_acquisition, read_records, ta_beside, targ_acqs
from xta.acquisition.targ_acq import TargAcq
from xta.errors import AcquisitionError, ArgumentError, SiafError, WCSError, counted, warn
from xta.geometry import sky
from xta.identity import header
from xta.images import combine
from xta.io.backend import open_exposure
from xta.io.files import Product
from xta.osslog import Centroid

__all__ = ["Acquisition", "attach", "check_identity", "find_acquisition", "forget", "unadjusted"]

logger = logging.getLogger(__name__)

SOLVED = 1 / 3600
"""Largest difference allowed between the pointing of a TA exposure and its header [deg].

Software that solves the pointing again does not change the keywords. The offset then refers to the new solution, and a
check reports it.
"""


@dataclass(frozen=True)
class Acquisition:
    """The acquisition of a visit, read once for any number of exposures.

    It holds the TA exposures in order of time, the event log or the reason why there is none, and the TARG_ACQ
    extensions that were found.
    """

    exposures: tuple[xr.Dataset, ...]
    search: LogSearch
    records: tuple[TargAcq, ...]


def attach(
    ds: xr.Dataset,
    acquisition: Any = None,
    *,
    oss: Any = None,
    targ_acq: Any = None,
    offline: bool = False,
) -> xr.Dataset:
    """Add the target acquisition of its visit to an exposure.

    Parameters
    ----------
    ds : xarray.Dataset
        A science or TA exposure, opened with `xta.open_exposure`.
    acquisition : path, HDUList, xarray.Dataset or sequence of these, optional
        The TA exposures. By default a TA exposure is its own acquisition, and for a science exposure the TA products
        of its visit are found beside its file by VISIT_ID and EXP_TYPE. An `Acquisition` includes log and records.
    oss : path, str, table or OssLog, optional
        Event log of the visit, in any form that `xta.osslog.read` accepts. By default a log of the visit is looked
        for beside the file and in the archive.
    targ_acq : path, HDUList, TargAcq or sequence of these, optional
        TA ``_uncal`` products whose TARG_ACQ extension holds the centroid, used if the log has none. By
        default those beside the file are used.
    offline : bool
        Do not use the network. Otherwise files that are neither beside the exposure nor in the cache are downloaded
        from the archive once and cached.

    Returns
    -------
    xarray.Dataset
        The exposure with ``ta_sci``, ``ta_err``, ``ta_dq`` (ta_exposure, ta_y, ta_x), ``ta_wcs``, ``ta_time`` and
        other coordinates of the TA exposures, and the onboard centroids paired with them. The centroid in use is in
        scalar coordinates: ``oss_x_det``, ``oss_y_det`` (SIAF Det, 1-based), ``oss_x``, ``oss_y`` (0-based TA
        readout), ``oss_time``, ``oss_status``, ``oss_log`` (the raw lines) and ``centroid_source``,
        ``centroid_kind``. The checks that need only log and headers are added, see `xta.acquisition.checks`.

    Raises
    ------
    AcquisitionError
        If no TA exposure is found, or it belongs to another visit, guide star or instrument.
    FileError, ProductError, OssLogError
        If a file cannot be read.
    WCSError
        If a TA exposure has no WCS or one that has already been corrected, or if the WCS of an exposure disagrees
        with its own header (V2_REF, V3_REF, RA_REF, DEC_REF, ROLL_REF).

    Notes
    -----
    A TA block of the log belongs to the last TA exposure of its detector that began before the block, because OSS
    writes it after the exposure ends and before the next one begins. The centroid in use is the last one that
    converged. Any earlier analysis in `ds` is removed first.
    """
    if isinstance(acquisition, Acquisition):
        return stacks.each(ds, lambda part: _attached(part, acquisition), name="attach")
    several = stacks.is_stack(ds)
    given = _opened(acquisition) if several and acquisition is not None else []
    records = read_records(targ_acq) if several and targ_acq is not None else []
    read: dict[tuple[str, ...], Acquisition] = {}

    def attach_one(part: xr.Dataset) -> xr.Dataset:
        visit = str(header(part).get("visit_id"))
        own = (visit, str(header(part).get("filename"))) if identity.is_ta(part) else (visit,)
        if own not in read:
            own_tas = [ta for ta in given if header(ta).get("visit_id") == visit] or acquisition
            own_records = [record for record in records if record.visit_id == visit] if several else targ_acq
            read[own] = find_acquisition(part, own_tas, oss=oss, targ_acq=own_records or None, offline=offline)
        return _attached(part, read[own])

    return stacks.each(ds, attach_one, name="attach")


def _attached(ds: xr.Dataset, acquisition: Acquisition) -> xr.Dataset:
    """Attach an acquisition that has been read to one exposure."""
    check_identity(ds)
    bare, exposures = forget(ds), acquisition.exposures
    _check_belong(bare, exposures)
    for exposure in (bare, *exposures):
        sky.check_reference(exposure, pointing=SOLVED if identity.is_ta(exposure) else sky.SAME_REFERENCE)
    result = model.with_coords(bare, _stack(exposures))
    tacq = [k for k, ta in enumerate(exposures) if header(ta).get("exp_type") in model.TACQ_TYPES]
    result = identity.assign(result, {"ta_in_use": tacq[-1] if tacq else len(exposures) - 1})
    result = _with_centroid(result, acquisition)
    _check_readouts(exposures)
    files = ", ".join(str(header(ta).get("filename", "?")) for ta in exposures)
    logger.info("attached %s to visit %s: %s", counted(len(exposures), "TA exposure"), header(bare)["visit_id"], files)
    return model.with_history(result, f"attach {files}; centroid: {header(result)['centroid_source']}")


def check_identity(ds: xr.Dataset) -> None:
    """Refuse an exposure whose header does not contain its visit and instrument."""
    identity.refuse_combined(ds)
    for name, keyword in (("visit_id", "VISIT_ID"), ("instrument", "INSTRUME")):
        if name not in header(ds):
            label = header(ds).get("filename", "the exposure")
            msg = f"{label} has no {keyword}; set it with ds.assign_coords({name}=...)"
            raise AcquisitionError(msg)
        if not identity.is_valid(name, header(ds)[name]):
            what = f"{name} of the exposure is {header(ds)[name]!r:.60}, which is not a valid {keyword}"
            msg = f"{what}; set it with ds.assign_coords({name}=...)"
            raise AcquisitionError(msg)


def find_acquisition(
    ds: xr.Dataset, acquisition: Any = None, *, oss: Any = None, targ_acq: Any = None, offline: bool = False
) -> Acquisition:
    """Find and read the acquisition of an exposure's visit, as `attach` does, for use with several exposures."""
    check_identity(ds)
    bare = forget(ds)
    beside = [] if acquisition is not None and targ_acq is not None else ta_beside(bare)
    exposures = sorted(
        _exposures(bare, acquisition, beside, offline),
        key=lambda ta: (header(ta).get("date_beg", ""), header(ta).get("filename", "")),
    )
    records = targ_acqs(bare, targ_acq, beside)
    # If a file beside the exposure has the centroid, the archive is not asked for a log.
    search = event_log(bare, oss, offline=offline or any(record.successful for record in records))
    return Acquisition(tuple(exposures), search, tuple(records))


def _with_centroid(ds: xr.Dataset, acquisition: Acquisition) -> xr.Dataset:
    """Add the onboard centroids from the log, or from a TARG_ACQ extension if the log has none."""
    exposures, log = acquisition.exposures, acquisition.search.log
    blocks: list[list[Centroid]] = [[] for _ in exposures]
    onboard = pair.Onboard(reason=acquisition.search.reason)
    if log is not None:
        visit = header(ds)["visit_id"]
        blocks = pair.pair(exposures, log.centroids(visit), log.exposures(visit))
        onboard = pair.from_log(blocks, log, visit)
    if onboard.record is None:
        onboard = pair.from_targ_acq(exposures, acquisition.records, onboard)
    ds = pair.assign_centroids(ds, exposures, blocks, onboard)
    return checks.check_acquisition(ds, exposures, onboard, acquisition.records)


def unadjusted(ds: xr.Dataset) -> xr.Dataset:
    """Undo `adjust_wcs` or `set_star`: restore the WCS of the file and drop the star and everything else they added."""
    if "star_x" in ds.coords:
        msg = "the dataset is recentered, so its pixels are not those of the readout; start from the original exposure"
        raise AcquisitionError(msg)
    if "wcs_original" in ds.coords:
        ds = sky.assign_wcs(ds, sky.wcs_text(ds, "wcs_original"))
    return ds.drop_vars([name for name in model.ADJUSTED | model.SOLVED if name in ds.variables])


def forget(ds: xr.Dataset) -> xr.Dataset:
    """Undo an earlier analysis: drop what `attach` and later steps added, and restore the WCS of the file."""
    ds = unadjusted(ds)
    added = [name for name in ds.variables if str(name).startswith("ta_") or name in model.ANALYSIS]
    return identity.forget(ds.drop_vars(added))


def _exposures(
    ds: xr.Dataset, acquisition: Any, beside: Iterable[Iterable[Product]], offline: bool
) -> list[xr.Dataset]:
    if acquisition is None:
        if identity.is_ta(ds):
            return [ds]
        return open_acquisition(ds, beside, offline=offline)
    return _opened(acquisition)


def _opened(acquisition: Any) -> list[xr.Dataset]:
    """Open the TA exposures given by the user."""
    from astropy.io.fits import HDUList

    if isinstance(acquisition, str | os.PathLike | HDUList | xr.Dataset):
        acquisition = [acquisition]
    if not isinstance(acquisition, Iterable) or isinstance(acquisition, Mapping | bytes):
        msg = f"acquisition is {acquisition!r}; give paths, HDULists or datasets of TA exposures"
        raise ArgumentError(msg)
    exposures: list[xr.Dataset] = []
    for item in acquisition:
        exposures += stacks.members_or_one(item) if isinstance(item, xr.Dataset) else [open_exposure(item)]
    # For a TA exposure that was analyzed, use the WCS of its file, as for any other.
    exposures = [unadjusted(ta) if "wcs_original" in ta.variables else ta for ta in exposures]
    if not exposures:
        msg = "acquisition is empty; give at least one TA exposure"
        raise ArgumentError(msg)
    return exposures


def _check_belong(ds: xr.Dataset, exposures: Iterable[xr.Dataset]) -> None:
    """Refuse a TA exposure of another visit, guide star or instrument."""
    for ta in exposures:
        label = header(ta).get("filename", "the TA exposure")
        if not identity.is_ta(ta):
            msg = f"{label} is not a target acquisition: its EXP_TYPE is {header(ta).get('exp_type')!r}, not *_TACQ"
            raise AcquisitionError(msg)
        for name, what in (("visit_id", "visit"), ("instrument", "instrument"), ("guide_star", "guide star")):
            _check_same(ds, ta, name, what)
        for name in ("wcs", "x", "y"):
            if name not in ta.coords:
                msg = f"{label} has no {name}, so its centroid cannot be put on the sky"
                raise WCSError(msg)
        if "corrected_ra" in header(ta) and "corrected_ra" not in header(ds):
            msg = f"the WCS of {label} has already been corrected and has no pointing error; give the original product"
            raise WCSError(msg)
        model.require_pixels(ta, AcquisitionError, f"attach the unmodified TA exposure {label}")


def _check_same(ds: xr.Dataset, ta: xr.Dataset, name: str, what: str) -> None:
    """Compare a value in the headers of the exposure and of a TA exposure."""
    label = header(ta).get("filename", "the TA exposure")
    value, other = header(ds).get(name), header(ta).get(name)
    if other is None and name != "guide_star":
        msg = f"the header of {label} has no {what}, so it is not known whether it belongs to the exposure"
        raise AcquisitionError(msg)
    if (value is None) != (other is None):
        silent = label if other is None else "the exposure"
        warn(f"the header of {silent} has no {what}, so it is not known whether both have the same {what}")
    elif value != other:
        msg = (
            f"{label} belongs to {what} {other}, but the exposure {header(ds).get('filename', '')} to {value}, so "
            f"their pointing errors differ; give a TA exposure of the same {what}"
        )
        raise AcquisitionError(msg)


def _image(ta: xr.Dataset, name: str) -> Any:
    """Return one image of a TA exposure, (y, x); for a cube, the mean of the integrations in which a pixel is good."""
    image = ta.variables[name].transpose(..., "y", "x")
    values: Any = image.values
    if "integration" not in image.dims:
        return values
    used = ~pixels.bad_pixels(ta).transpose(..., "y", "x").values
    if name == "dq":
        return combine.combine_flags(values, used)
    return combine.combine_error(values, used) if name == "err" else combine.combine(values, used)


def _stack(exposures: Sequence[xr.Dataset]) -> dict[str, xr.Variable]:
    """Stack the TA exposures along ``ta_exposure``, each at its own labels, and describe them."""
    ends = {dim: [ta.variables[dim].values[[0, -1]] for ta in exposures] for dim in ("y", "x")}
    axes = {dim: np.arange(np.min(values), np.max(values) + 1) for dim, values in ends.items()}
    variables = _stack_images(exposures, axes)
    for dim, axis in axes.items():
        variables[f"ta_{dim}"] = xr.Variable((f"ta_{dim}",), axis, model.attrs(f"ta_{dim}"))
    columns: dict[str, Any] = {"exposure": np.arange(len(exposures))}
    for name in ("filename", "aperture", "subarray", "exp_type", "detector", "filter"):
        columns[name] = [str(header(ta).get(name, "")) for ta in exposures]
    columns["time"] = np.array([pair.begin(ta) for ta in exposures], dtype="datetime64[ns]")
    for name in ("target_ra", "target_dec", "guide_star_x", "guide_star_y"):
        columns[name] = [model.number(header(ta).get(name)) for ta in exposures]
    columns["intended_x"], columns["intended_y"] = np.array([_intended(ta) for ta in exposures]).T
    for name, column in columns.items():
        variables[f"ta_{name}"] = xr.Variable(("ta_exposure",), column, model.attrs(f"ta_{name}"))
    texts = [sky.wcs_text(ta) for ta in exposures]
    return variables | {"ta_wcs": model.text_variable("ta_wcs", texts, ("ta_exposure",))}


def _stack_images(exposures: Sequence[xr.Dataset], axes: Mapping[str, Any]) -> dict[str, xr.Variable]:
    """Stack the images that all exposures have; pixels outside a smaller readout are NaN and DO_NOT_USE."""
    shape = (len(exposures), axes["y"].size, axes["x"].size)
    stacked: dict[str, xr.Variable] = {}
    exposures = [pixels.converted(ta, names=("sci", "err", "dq")) if "sci" in ta else ta for ta in exposures]
    for name, fill, dtype in (("sci", np.nan, np.float32), ("err", np.nan, np.float32), ("dq", 1, np.uint32)):
        if not all(name in ta for ta in exposures):
            continue
        data = np.full(shape, fill, dtype=dtype)
        for k, ta in enumerate(exposures):
            rows, columns = (np.searchsorted(axes[dim], ta.variables[dim].values) for dim in ("y", "x"))
            data[k][np.ix_(rows, columns)] = _image(ta, name)
        attrs = exposures[0].variables[name].attrs
        about = attrs | model.attrs(f"ta_{name}") | {"units": attrs.get("units", "1")}
        stacked[f"ta_{name}"] = xr.Variable(("ta_exposure", "ta_y", "ta_x"), data, about)
    if "ta_sci" in stacked:
        stacked["ta_sci"].attrs["ancillary_variables"] = " ".join(name for name in stacked if name != "ta_sci")
    return stacked


def _intended(ta: xr.Dataset) -> tuple[float, float]:
    """Compute the intended position of the star; only acquisitions are dithered, not the confirmation images."""
    a = header(ta)
    number = str(a.get("exposure_number")) if a.get("exp_type") in model.TACQ_TYPES else ""
    try:
        pair.readout(ta)
        return pair.intended_pixel(ta, int(number) if number.isdecimal() else 1)
    except (SiafError, AcquisitionError) as error:  # no reference point, no APERNAME, or not the exposure's array
        logger.info("no intended position for %s: %s", a.get("filename"), error)
        return math.nan, math.nan


def _check_readouts(exposures: Iterable[xr.Dataset]) -> None:
    """Warn if an array does not match its keywords; an onboard centroid in such an array was refused before."""
    for ta in exposures:
        try:
            pair.readout(ta)
        except (SiafError, AcquisitionError) as error:
            warn(f"{error}; the intended position of the star is not known")
