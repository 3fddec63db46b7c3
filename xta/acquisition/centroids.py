"""Find the star in the TA image in several ways, each with its error, and choose the best of them.

*oss*: the onboard centroid from the event log or from TARG_ACQ. On board, the iteration stops when its last step is
below a threshold, before the window reaches its fixed point.

*converged*: the same, extrapolated to the fixed point. Each step of the iteration is r times the one before, where r
is the fraction by which the center of light in the window follows the window. After a last step d, the remaining
distance is d r / (1 - r). The log contains only the length of d; its direction is that from the brightest pixel, where
the iteration began.

*unbiased*: the onboard centroid plus its mean error in visits whose acquisition was measured on the ground. It exists
for NIRCam coronagraphy, and only if there is no image to measure.

*image*: the centroid measured by this package in the TA image.

The error of each is its noise, plus a part that all visits of a program share, from the table of `xta.instrument`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from xta import model
from xta.acquisition import instrument, pair
from xta.acquisition.image import WINDOW, image_centroid, in_use, pixel_flags
from xta.acquisition.instrument import Tables
from xta.errors import SiafError, XtaError
from xta.geometry import siaf, sky, wcs
from xta.identity import header
from xta.images.centroid import ImageCentroid

__all__ = ["FAR", "FAR_PIXELS", "NAMES", "POINTING", "StarCentroid", "best", "measure"]

NAMES = {"targ_acq": "oss"}
"""Kind of a centroid -> its name in this module, where they differ."""

SMALLEST_WINDOW = 3  # [pixel]; a smaller one does not contain the star
EXTRAPOLATION = 0.5  # error of the extrapolation, as a fraction of its length; assumed

ALMOST = 1.02  # errors whose ratio is smaller count as equal

POINTING = 0.10
"""Accuracy of the pointing before an acquisition, radial, one sigma [arcsec] (JDox, JWST Pointing Accuracy)."""

FAR, FAR_PIXELS = 5.0, 1.0
"""Standard errors and pixels: a centroid that is off by more than both is not that of the star."""

Pair = tuple[float, float]


@dataclass(frozen=True)
class StarCentroid:
    """A centroid in the TA readout [0-based pixel], its standard errors [pixel] and where these come from.

    `unfit` is the reason not to choose the centroid; it is empty if there is none.
    """

    x: float
    y: float
    x_err: float
    y_err: float
    note: str
    unfit: str = ""


def measure(ds: xr.Dataset, *, tables: Tables | None = None) -> dict[str, StarCentroid]:
    """Find the star in the TA image in use in every way that the log and the image allow: name -> centroid.

    Parameters
    ----------
    ds : xarray.Dataset
        An exposure with an acquisition attached.
    tables : Tables, optional
        Tables to use in place of those of the package.

    Raises
    ------
    CentroidError, MissingError
        If there is neither an onboard centroid nor an image that can be measured.
    """
    case = _Case(ds, in_use(ds), header(ds), tables or instrument.tables())
    result: dict[str, StarCentroid] = {}
    onboard = None
    if case.about.get("oss_status") == "SUCCESS":
        onboard = float(case.about["oss_x"]), float(case.about["oss_y"])
        result |= _onboard(case, onboard)
    try:
        star = image_centroid(case.ta)
    except XtaError:
        if onboard is None:
            raise
        bias = case.tables.accuracy("centroid_bias", case.about)
        if bias is not None:
            moved = onboard[0] + bias.x, onboard[1] + bias.y
            result["unbiased"] = case.centroid("unbiased", moved, (0.0, 0.0), f"bias of {bias.x}, {bias.y} px")
    else:
        noise = star.x_err, star.y_err
        image = case.centroid("image", (star.x, star.y), noise, "photon noise of the TA image")
        unfit = pixel_flags(case.ta, star)
        if far := case.far(image, onboard):
            unfit.append(far)
        result["image"] = replace(image, unfit="; ".join(unfit))
    return result


def best(found: Mapping[str, StarCentroid]) -> str:
    """Choose the centroid with the smallest error among those that are fit for use; the first of equal ones."""
    fit = {name: each for name, each in found.items() if not each.unfit} or found
    errors = {name: math.hypot(each.x_err, each.y_err) for name, each in fit.items()}
    return next(name for name, error in errors.items() if error <= ALMOST * min(errors.values()))


@dataclass(frozen=True)
class _Case:
    ds: xr.Dataset
    ta: xr.Dataset
    about: Mapping[str, Any]
    tables: Tables

    def centroid(self, name: str, place: Pair, noise: Pair, note: str) -> StarCentroid:
        """Add the errors in the table to the noise of a centroid."""
        floor = self.tables.accuracy(f"centroid_{name}", self.about)
        if not math.isfinite(sum(noise)):
            mas = instrument.acquisition_accuracy(str(self.about["instrument"]))
            noise = (mas / 1e3 / wcs.pixel_scale(sky.the_wcs(self.ta, "ta_wcs"), *place),) * 2
            note = f"its noise is not known: the published accuracy of a target acquisition, {mas:.1f} mas"
        if floor is None:
            return StarCentroid(*place, *noise, note)
        errors = math.hypot(noise[0], floor.x), math.hypot(noise[1], floor.y)
        return StarCentroid(*place, *errors, f"{note}; {floor.x:g}, {floor.y:g} px: {floor.source}")

    def far(self, image: StarCentroid, onboard: Pair | None) -> str:
        """Describe how far the image centroid is from the onboard one or the intended position; empty if it is near."""
        scale = wcs.pixel_scale(sky.the_wcs(self.ta, "ta_wcs"), image.x, image.y)
        what, place, error = "the intended position", model.place(self.ta, "ta_intended"), POINTING / scale
        if onboard is not None:
            floor = self.tables.accuracy("centroid_oss", self.about)
            what, place, error = "the onboard centroid", onboard, 0.0 if floor is None else math.hypot(floor.x, floor.y)
        apart = math.hypot(image.x - place[0], image.y - place[1])
        limit = max(FAR_PIXELS, FAR * math.hypot(error, image.x_err, image.y_err))
        return f"it is {apart:.2f} px from {what} (allowed {limit:.2f})" if apart > limit else ""


def _onboard(case: _Case, place: Pair) -> dict[str, StarCentroid]:
    """Return the onboard centroid as logged and, if log and image allow, extrapolated to convergence."""
    facts = pair.logged_facts(case.ta)
    sides = [int(side) for side in (facts.window_x, facts.window_y) if side >= SMALLEST_WINDOW]
    try:
        star = image_centroid(case.ta, window=min(sides, default=WINDOW))
    except XtaError:
        return {"oss": case.centroid("oss", place, (math.nan, math.nan), "")}
    noise, what = (star.x_err, star.y_err), "photon noise of the onboard window"
    x, y = _left(case, facts, star)
    if not math.isfinite(x + y):
        return {"oss": case.centroid("oss", place, noise, what)}
    result = {}
    moved = {"oss": (place, 1.0), "converged": ((place[0] + x, place[1] + y), EXTRAPOLATION)}
    for name, (at, share) in moved.items():
        errors = math.hypot(noise[0], share * x), math.hypot(noise[1], share * y)
        note = f"{what}, and {share:g} x the {x:+.3f}, {y:+.3f} px that were left to convergence"
        result[name] = case.centroid(name, at, errors, note)
    return result


def _left(case: _Case, facts: pair.Facts, star: ImageCentroid) -> Pair:
    """Compute the distance from the onboard window to its fixed point, along x and y of the readout [pixel].

    It is NaN if the log or the SIAF does not contain what is needed.
    """
    ta, name = case.ta, str(case.about["instrument"])
    try:
        place = model.text(ta, "ta_aperture"), model.text(ta, "ta_subarray"), case.about.get("prd_version")
        readout = siaf.readout(name, *place, detector=model.text(ta, "ta_detector") or None)
    except SiafError:
        return math.nan, math.nan
    # The log has the length of the last step; its sign is that of the whole way. Pixel axes run along or against Det.
    zero, one = (np.array(siaf.det_to_pixel(readout, each, each)) for each in (0.0, 1.0))
    steps = np.copysign(np.abs([facts.step_x, facts.step_y]), [facts.moved_x, facts.moved_y]) * (one - zero)
    logged = math.isfinite(facts.moved_x + facts.moved_y)
    slopes = np.array([star.x_slope, star.y_slope])
    x, y = (steps * slopes / (1 - slopes)).tolist() if logged else (math.nan, math.nan)
    return x, y
