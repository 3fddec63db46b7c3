"""Compute the positions of the marks in a figure from a dataset."""

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import xarray as xr

from xta import identity
from xta.acquisition.image import in_use
from xta.acquisition.offset import target_position
from xta.errors import AcquisitionError, ArgumentError, WCSError
from xta.geometry import sky, sphere, wcs
from xta.identity import header
from xta.model import scalar

if TYPE_CHECKING:
    from gwcs import WCS

__all__ = ["Point", "acquisition_marks", "exposure_labels", "finite", "is_in_use", "mask_mark", "one_exposure"]
__all__ += ["pixel", "science_marks", "star_and_target", "star_mark", "ta_wcs"]

Point: TypeAlias = tuple[float, float]

OTHERS = {
    "image": "image centroid",
    "manual": "centroid by hand",
    "converged": "OSS centroid, converged",
    "unbiased": "OSS centroid, without bias",
}
"""Kind of a centroid that is not the onboard one itself -> its mark."""

CENTROIDS = (*OTHERS.values(), "OSS centroid")
"""Marks that are a measurement of the star, the one in use first."""


def exposure_labels(ds: xr.Dataset) -> list[int]:
    """List the TA exposures of a dataset by ``ta_exposure``, after any selection."""
    return [int(label) for label in np.atleast_1d(ds["ta_exposure"].values)]


def one_exposure(ds: xr.Dataset, exposure: int | None) -> xr.Dataset:
    """Select the TA exposure in use, or the one given by the user; raise `ArgumentError` if there is no such one."""
    if exposure is not None and exposure not in exposure_labels(ds):
        msg = f"exposure is {exposure!r}; the dataset has TA exposures {', '.join(map(str, exposure_labels(ds)))}"
        raise ArgumentError(msg)
    return in_use(ds, exposure)


def is_in_use(ds: xr.Dataset) -> bool:
    """Return True if a TA exposure, selected by `one_exposure`, is the one in use."""
    return int(ds["ta_exposure"]) == header(ds).get("ta_in_use")


def star_mark(marks: Mapping[str, Point]) -> str | None:
    """Return the mark for the measured star."""
    return next((label for label in CENTROIDS if label in marks), None)


def pixel(ds: xr.Dataset, name: str) -> Point:
    """Read a place; NaN if it is not known."""
    return scalar(ds, f"{name}_x"), scalar(ds, f"{name}_y")


def finite(marks: Mapping[str, Point]) -> dict[str, Point]:
    """Leave out the marks whose place is not known."""
    return {label: place for label, place in marks.items() if np.isfinite(place).all()}


def star_and_target(ds: xr.Dataset) -> tuple[Point, Point]:
    """Read RA, Dec of the star by the TA WCS, and of the target at its acquisition [deg]."""
    star = scalar(ds, "centroid_ra"), scalar(ds, "centroid_dec")
    return star, (star[0] + scalar(ds, "offset_ra") / 3600, star[1] + scalar(ds, "offset_dec") / 3600)


def ta_wcs(ds: xr.Dataset, *, adjusted: bool = False) -> "WCS":
    """Parse the WCS of one TA exposure, of `one_exposure`, or make it with the adjustment of the science WCS."""
    gwcs = wcs.load(ds["ta_wcs"].item())
    star, target = star_and_target(ds)
    return wcs.adjust(gwcs, sphere.rotation_between(*star, *target), copy=False) if adjusted else gwcs


def _centroids(ds: xr.Dataset) -> dict[str, Point]:
    """Find the onboard centroid of one TA exposure, and the one in use if that is different."""
    used = is_in_use(ds)
    if used and "oss_x" in header(ds):
        onboard = float(header(ds)["oss_x"]), float(header(ds)["oss_y"])
    elif int(ds["ta_oss_converged"]) == 0:
        onboard = math.nan, math.nan  # one that did not converge is not a measurement
    else:
        onboard = pixel(ds, "ta_oss")
    marks = {"OSS centroid": onboard}
    label = OTHERS.get(identity.centroid_kind(ds))
    if label and used and "centroid_x" in ds.coords:
        marks[label] = pixel(ds, "centroid")
    return marks


def acquisition_marks(ds: xr.Dataset) -> dict[str, Point]:
    """Compute the marks of a TA exposure, selected by `one_exposure`: label -> (x, y) [0-based pixel of the readout].

    For the exposure in use these are the results of `compute_offset` and `adjust_wcs`. In another exposure, the pixel
    of the target is computed with its own WCS, and with that WCS after the same adjustment.
    """
    marks = {"intended place": pixel(ds, "ta_intended")}
    if is_in_use(ds):
        marks["WCS"] = pixel(ds, "ta_target")
        x, y = np.add(pixel(ds, "centroid"), pixel(ds, "residual"))
        marks["WCS adjusted"] = float(x), float(y)
    elif "centroid_ra" in ds.coords:
        _, target = star_and_target(ds)
        marks["WCS"] = _through(ta_wcs(ds), target)
        if "residual_x" in ds.coords:
            marks["WCS adjusted"] = _through(ta_wcs(ds, adjusted=True), target)
    return finite(marks | _centroids(ds))


def _through(gwcs: "WCS", target: Point) -> Point:
    try:
        x, y = wcs.world_to_pixel(gwcs, *target)
    except WCSError:  # far off the array: there is no pixel to mark
        return math.nan, math.nan
    return float(x), float(y)


def mask_mark(ds: xr.Dataset) -> str:
    """Return the label of ``mask_x``, ``mask_y``, which is the aperture's reference point if there is no mask."""
    return "mask" if identity.behind_mask(ds) else "reference point"


def science_marks(ds: xr.Dataset) -> dict[str, Point]:
    """Compute the marks of a science exposure: label -> (x, y), in its labels [pixel]."""
    marks = {mask_mark(ds): pixel(ds, "mask")}
    original = "wcs_original" if "wcs_original" in ds.coords else "wcs"
    if original in ds.coords:
        target = scalar(ds, "target_ra"), scalar(ds, "target_dec")
        with suppress(AcquisitionError):  # a target without a position has no mark
            target = target if math.isfinite(target[0]) else target_position(ds)
            marks["WCS"] = _through(sky.the_wcs(ds, original), target)
    marks["WCS adjusted" if "wcs_original" in ds.coords else "star"] = pixel(ds, "target")
    return finite(marks)
