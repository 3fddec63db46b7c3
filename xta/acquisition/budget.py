r"""How well the star's position is known: the parts of its error, and where each comes from.

The parts are the functions of `PARTS`; each says what its part is.

Each part is a covariance: the errors along x and y, and their correlation. An error of the centroid goes to the
exposure as J C J\ :sup:`T`, where J is the derivative of the star's pixel by that of the centroid; where the two
frames are rotated against each other, independent errors in the one are correlated in the other.

An aberration that makes the center of light another place than the star's is in no part: it is the same for
star and companion in the science exposures. Where a part cannot be measured, the published accuracy of a target
acquisition [2]_ stands in for it.

References
----------
.. [1] JWST User Documentation, "JWST Fine Guide Stability": about 1 mas for fixed targets and up to 6.7 mas for
   moving ones (1 sigma, each axis).
.. [2] JWST User Documentation, "JWST Pointing Accuracy": after a target acquisition 5.5 mas for the near-infrared
   instruments and 14 mas for MIRI (1 sigma, radial).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xta import identity, model
from xta.acquisition import pair
from xta.acquisition.corrections import ways
from xta.acquisition.image import WINDOW, image_centroid, in_use
from xta.errors import SiafError, WCSError, XtaError
from xta.geometry import siaf, sky, wcs
from xta.identity import header

if TYPE_CHECKING:
    pass

__all__ = [
    "GUIDING",
    "GUIDING_MOVING",
    "PARTS",
    "Part",
    "acquisition_accuracy",
    "assign",
    "centroid_noise",
    "coordinates",
]

GUIDING = 1.0
"""Noise of the guider, one axis, one sigma [mas] [1]_."""

GUIDING_MOVING = 6.7
"""The same while a moving target is tracked [mas] [1]_."""

OF_THE_MASK = frozenset({"mask reference"})
"""Parts that are no part of the star's error."""

SMALL_WINDOW = 5  # [pixel]; of the windows that OSS uses the smallest
SMALLEST_WINDOW = 3  # [pixel]; less holds no star
SIGNIFICANT = 2.0  # times the noise; less is what two centroids of one image differ by anyway

Pair = tuple[float, float]


def acquisition_accuracy(instrument: str) -> float:
    """Look up the accuracy of a target acquisition, one axis, one sigma [mas] [2]_.

    Examples
    --------
    >>> round(acquisition_accuracy("NIRCAM"), 2)
    3.89
    """
    return (14.0 if instrument.upper() == "MIRI" else 5.5) / math.sqrt(2)


@dataclass(frozen=True)
class Part:
    """A part of the error along x and y of the exposure [pixel], its source in words, and the correlation of the two.

    Together they are a covariance: ``[[x**2, corr * x * y], [corr * x * y, y**2]]``.
    """

    x: float
    y: float
    source: str
    corr: float = 0.0


@dataclass(frozen=True)
class _Place:
    """Where star and centroid are, and the scales there."""

    ds: xr.Dataset
    ta: xr.Dataset
    """The TA exposure in use."""
    to_science: Any
    """Derivatives of the star's pixel by that of the centroid, shape (2, 2)."""
    scale: float
    """Size of a pixel at the star [arcsec]."""

    @property
    def star(self) -> Pair:
        return float(self.ds["target_x"]), float(self.ds["target_y"])

    @property
    def centroid(self) -> Pair:
        return float(self.ds["centroid_x"]), float(self.ds["centroid_y"])

    @property
    def is_acquisition(self) -> bool:
        """Whether the exposure is the TA exposure itself."""
        named = str(header(self.ds).get("filename", "")) == str(self.ta["ta_filename"].item())
        return named and identity.is_ta(self.ds) and bool(pair.begin(self.ds) == self.ta["ta_time"].values)

    def moved(self, x: float, y: float, source: str) -> Part:
        """Take an error of the centroid, whose axes are independent, to the exposure: J C J^T."""
        covariance = self.to_science @ np.diag(np.square([x, y])) @ self.to_science.T
        x, y = np.sqrt(np.diag(covariance)).tolist()
        return Part(x, y, source, _correlation(x, y, float(covariance[0, 1])))

    def correction(self, name: str) -> "Part | None":
        """Make a part of the errors of a correction; None where it was not made."""
        if "correction" not in self.ds.dims or name not in self.ds["correction"].values:
            return None
        row = self.ds.sel(correction=name)
        x, y, source = (row[f"correction_{key}"].item() for key in ("x_err", "y_err", "source"))
        return Part(x, y, source) if math.isfinite(x + y) else self.unknown(source)

    def same(self, mas: float, source: str) -> Part:
        """Make a part that is the same along all directions [mas]."""
        return Part(mas / (1e3 * self.scale), mas / (1e3 * self.scale), source)

    def unknown(self, reason: str) -> Part:
        """Let the published accuracy of an acquisition stand in."""
        mas = acquisition_accuracy(str(header(self.ds)["instrument"]))
        return self.same(mas, f"{reason}; the published accuracy of a target acquisition, {mas:.1f} mas")


def assign(ds: xr.Dataset) -> xr.Dataset:
    """Add the error budget to an exposure whose WCS is adjusted.

    One standard error along each axis [pixel and mas], ``target_x_err`` and so on, the correlation of the two axes,
    ``target_xy_corr``, and the same of each part along ``error_part`` (the labels are `PARTS`) with what it was taken
    from. The parts are taken as independent, so their covariances add: the interval of plus and minus one error holds
    the star in 68 % of cases, each axis for itself.
    """
    ta = in_use(ds)
    science = wcs.sky_jacobian(sky.the_wcs(ds), float(ds["target_x"]), float(ds["target_y"]))
    acquisition = wcs.sky_jacobian(wcs.load(ta["ta_wcs"].item()), float(ds["centroid_x"]), float(ds["centroid_y"]))
    # A move of the centroid moves the sky, by the TA's Jacobian, and so the star, by the inverse of the other.
    scale = math.sqrt(abs(float(np.linalg.det(science))))
    place = _Place(ds, ta, np.linalg.solve(science, acquisition), scale)
    return ds.assign_coords(coordinates({name: part(place) for name, part in PARTS.items()}, scale=scale))


def coordinates(parts: Mapping[str, Part], *, scale: float) -> dict[str, xr.Variable]:
    """Make coordinates of parts of the star's error and of their sum.

    Parameters
    ----------
    parts : mapping of str to Part
        Independent of each other. Those of `OF_THE_MASK` are listed, but are no part of the sum.
    scale : float
        Size of a pixel at the star [arcsec]; NaN where it is not known, and so are the errors as angles.

    Returns
    -------
    dict of str to xarray.Variable
        The correlation of a part without an error is 0, that of one whose error is not known is NaN.
    """
    x, y, corr = np.array([(part.x, part.y, part.corr) for part in parts.values()]).T
    corr = np.where(np.isfinite(x + y), np.where(x * y == 0, 0.0, corr), np.nan)
    adds = np.array([name not in OF_THE_MASK for name in parts])
    totals = {axis: float(np.sqrt(np.sum(each[adds] ** 2))) for axis, each in (("x", x), ("y", y))}
    covariance = float(np.sum((corr * x * y)[adds]))
    values: dict[str, Any] = {"error_part": list(parts), "error_part_source": [part.source for part in parts.values()]}
    values |= {"target_xy_corr": _correlation(totals["x"], totals["y"], covariance), "target_xy_corr_part": corr}
    for suffix, factor in (("", 1.0), ("_mas", 1e3 * scale)):
        for axis, each in (("x", x), ("y", y)):
            values[f"target_{axis}_err{suffix}"] = totals[axis] * factor
            values[f"target_{axis}_err_part{suffix}"] = each * factor
    return {
        name: xr.Variable(("error_part",) if np.ndim(value) else (), value, model.attrs(name))
        for name, value in values.items()
    }


def _correlation(x: float, y: float, covariance: float) -> float:
    """Correlation of two errors; 0 where one of them is 0, NaN where one is not known."""
    if x == 0 or y == 0:
        return 0.0
    return float(np.clip(covariance / (x * y), -1.0, 1.0))


def centroid_noise(ds: xr.Dataset, *, onboard_one: bool) -> Pair:
    """Compute the standard error of a centroid by itself, along x and y of the TA readout [pixel].

    Of the onboard one with the window and the last step of the iteration that the log tells of, else of that of the
    image. NaN where the image has no errors.
    """
    if not (onboard_one and header(ds).get("oss_time")):
        star = image_centroid(ds)
        return star.x_err, star.y_err
    facts = pair.logged_facts(ds)
    sides = [int(side) for side in (facts.window_x, facts.window_y) if side >= SMALLEST_WINDOW]
    star = image_centroid(ds, window=min(sides, default=WINDOW))
    dx, dy = (step if math.isfinite(step) else 0.0 for step in (facts.step_x, facts.step_y))
    return math.hypot(star.x_err, dx), math.hypot(star.y_err, dy)


def _centroid(place: _Place) -> Part:
    """Photon noise in the window of the centroid; of an onboard one also the last step of its iteration."""
    kind = identity.centroid_kind(place.ds)
    if kind == "manual":
        return place.unknown("a centroid by hand has no error")
    try:
        x, y = centroid_noise(place.ds, onboard_one=kind != "image")
    except XtaError as error:
        return place.unknown(f"the TA image cannot be measured ({error})")
    if not math.isfinite(x + y):
        return place.unknown("the TA image has no errors")
    what = "" if kind == "image" else " and last step of the onboard iteration"
    return place.moved(x, y, f"photon noise of the TA image{what}")


def _image(place: _Place) -> Part:
    """Distance of the centroid in use, or one of a smaller window, from that of the image, if beyond noise."""
    try:
        large, small = image_centroid(place.ds), image_centroid(place.ds, window=SMALL_WINDOW)
    except XtaError as error:
        return place.unknown(f"the TA image cannot be measured ({error})")
    noise = np.nan_to_num([large.x_err, large.y_err])
    far = np.array([place.centroid, (small.x, small.y)]) - (large.x, large.y)
    beyond = np.max(np.abs(far), axis=0)
    x, y = np.where(beyond > SIGNIFICANT * noise, beyond, 0.0).tolist()
    return place.moved(x, y, "centroids of the TA image with windows of 9 and 5 px against the one in use")


def _guiding(place: _Place) -> Part:
    """Noise of the guider in the acquisition and in the exposure."""
    if place.is_acquisition:
        return Part(0.0, 0.0, "the exposure is the acquisition itself")
    moving = str(header(place.ds).get("target_type", "")).upper() == "MOVING"
    noise = GUIDING_MOVING if moving else GUIDING
    return place.same(math.sqrt(2) * noise, f"{noise:g} mas of the guider in each of two exposures")


def _distortion(place: _Place) -> Part:
    """Way from TA region to mask by the product's WCS against the newest SIAF at hand; a lower limit."""
    if place.is_acquisition:
        return Part(0.0, 0.0, "the exposure is the acquisition itself")
    corrected = place.correction("way")
    if corrected is not None:
        return corrected
    if not math.isfinite(float(place.ta["ta_intended_x"])):
        return place.unknown("the readout of the acquisition is not known")
    try:
        by_wcs, by_siaf = ways(place.ds, place.centroid, place.star)
    except (SiafError, WCSError) as error:
        return place.unknown(f"the way to the mask cannot be compared with the SIAF ({error})")
    mas = 1e3 * float(np.hypot(*np.subtract(by_wcs, by_siaf))) / math.sqrt(2)
    source = f"way from TA region to mask by the product's WCS against {siaf.release()}"
    return place.same(mas, f"{source}; a lower limit where both are of one calibration")


def _filter(place: _Place) -> Part:
    """Errors of the shift between the filters, where it was corrected for."""
    corrected = place.correction("filter")
    if corrected is None:
        return Part(0.0, 0.0, "the shift between the filters is not corrected for, and in no part of this error")
    return corrected


def _inverse(place: _Place) -> Part:
    """Residual of the closed loop in the TA frame, and convergence of the numerical inverse."""
    residual = float(place.ds["residual_x"]), float(place.ds["residual_y"])
    x, y = (max(abs(value), wcs.TOLERANCE) for value in residual)
    return place.moved(x, y, "closed loop in the TA frame, round trip of the numerical inverse")


def _mask_reference(place: _Place) -> Part:
    """Errors of the mask's own place, not of the star: last digit of the SIAF, its scatter, shift of the filter."""
    x, y = (model.scalar(place.ds, f"mask_{axis}_err") for axis in "xy")
    return Part(x, y, "last digit of the SIAF, a second determination, and the shift of the filter")


PARTS: dict[str, Callable[[_Place], Part]] = {
    "centroid": _centroid,
    "image": _image,
    "guiding": _guiding,
    "distortion": _distortion,
    "filter": _filter,
    "inverse": _inverse,
    "mask reference": _mask_reference,
}
"""Labels of the dimension ``error_part``; all but those `OF_THE_MASK` add up, as covariances, to the star's error."""
