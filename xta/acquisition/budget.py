r"""Compute how well the star's position is known: the parts of its error, each with its source.

The parts are computed by the functions in `PARTS`; their docstrings describe them.

Each part is a covariance: the errors along x and y, and their correlation. A covariance C of the centroid becomes
J C J\ :sup:`T` in the exposure, where J is the derivative of the star's pixel by that of the centroid. If the two
frames are rotated against each other, independent errors in one are correlated in the other.

Errors that cannot be measured in one visit, such as that of the maneuver to the mask, are taken from the table of
`xta.instrument`, with their source. If a part cannot be measured, the published accuracy of a target acquisition
[1]_ is used instead.

References
----------
.. [1] JWST User Documentation, "JWST Pointing Accuracy": after a target acquisition 5.5 mas for the near-infrared
   instruments and 14 mas for MIRI (1 sigma, radial).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xta import identity, model
from xta.acquisition import centroids, instrument, pair
from xta.acquisition.corrections import Correction, correct
from xta.acquisition.image import in_use
from xta.acquisition.instrument import Tables
from xta.errors import XtaError
from xta.geometry import sky, wcs
from xta.identity import header

__all__ = ["PARTS", "Part", "assign", "by_source", "coordinates"]

OF_THE_MASK = frozenset({"mask reference"})
"""Parts that are listed but do not belong to the star's error."""

ALIKE = 0.98
"""Share of the variance that is taken to be common to all stars measured in the same way, such as by one joint solution
or with one model image."""

Pair = tuple[float, float]


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
    """The places of the star and of the centroid, and the scales there."""

    ds: xr.Dataset
    ta: xr.Dataset
    """The TA exposure in use."""
    to_science: Any
    """Derivatives of the star's pixel by that of the centroid, shape (2, 2)."""
    scale: float
    """Size of a pixel at the star [arcsec]."""
    corrections: Mapping[str, Correction]
    """All corrections that can be applied; those that were applied are the rows ``correction`` of the dataset."""
    tables: Tables

    @property
    def is_acquisition(self) -> bool:
        """True if the exposure is the TA exposure itself."""
        named = str(header(self.ds).get("filename", "")) == model.text(self.ta, "ta_filename")
        return named and identity.is_ta(self.ds) and bool(pair.begin(self.ds) == self.ta.variables["ta_time"].values)

    def moved(self, x: float, y: float, source: str) -> Part:
        """Propagate an error of the centroid, with independent axes, to the exposure: J C J^T."""
        covariance = self.to_science @ np.diag(np.square([x, y])) @ self.to_science.T
        x, y = np.sqrt(np.diag(covariance)).tolist()
        return Part(x, y, source, _correlation(x, y, float(covariance[0, 1])))

    def correction(self, name: str) -> Part:
        """Make the part for a correction: its errors, plus the correction itself if it was not applied."""
        if self.is_acquisition:
            return Part(0.0, 0.0, "the exposure is the acquisition itself")
        made = self.corrections[name]
        if not math.isfinite(made.x_err + made.y_err):
            return self.unknown(made.source)
        if "correction" in self.ds.variables and name in self.ds.variables["correction"].values:
            return Part(made.x_err, made.y_err, made.source)
        x, y = math.hypot(made.x, made.x_err), math.hypot(made.y, made.y_err)
        return Part(x, y, f"not corrected for, {made.x:+.3f}, {made.y:+.3f} px: {made.source}")

    def table(self, quantity: str, factor: float = 1.0) -> Part:
        """Make a part from an accuracy in the table that is an angle."""
        if self.is_acquisition:
            return Part(0.0, 0.0, "the exposure is the acquisition itself")
        accuracy = self.tables.accuracy(quantity, header(self.ds))
        if accuracy is None:
            return self.unknown(f"the table has no {quantity} of this instrument")
        return self.same(factor * accuracy.x, accuracy.source)

    def same(self, mas: float, source: str) -> Part:
        """Make a part that is the same in all directions [mas]."""
        return Part(mas / (1e3 * self.scale), mas / (1e3 * self.scale), source)

    def unknown(self, reason: str) -> Part:
        """Make a part from the published accuracy of an acquisition."""
        mas = instrument.acquisition_accuracy(str(header(self.ds)["instrument"]))
        return self.same(mas, f"{reason}; the published accuracy of a target acquisition, {mas:.1f} mas")


def assign(
    ds: xr.Dataset, *, tables: Tables | None = None, corrections: Mapping[str, Correction] | None = None
) -> xr.Dataset:
    """Add the error budget to an exposure whose WCS is adjusted.

    The budget contains one standard error along each axis [pixel and mas], ``target_x_err`` and so on, the correlation
    of the two axes, ``target_xy_corr``, and the same for each part along ``error_part`` (the labels are those of
    `PARTS`), with its source. The parts are taken as independent, so their covariances add. The interval of plus and
    minus one error contains the star in 68 % of cases, for each axis separately.

    `tables` replace those of the package. `corrections` are the result of `xta.acquisition.corrections.correct`, if
    it has been computed already.
    """
    ta = in_use(ds)
    tables = tables or instrument.tables()
    star = model.place(ds, "target")
    science = wcs.sky_jacobian(sky.the_wcs(ds), *star)
    acquisition = wcs.sky_jacobian(sky.the_wcs(ta, "ta_wcs"), *model.place(ds, "centroid"))
    # A change of the centroid moves the sky by the TA's Jacobian, and the star by the inverse of the exposure's.
    scale = math.sqrt(abs(float(np.linalg.det(science))))
    if corrections is None:
        dx, dy = (float(ds.variables[f"correction_{axis}"].sum()) if "correction" in ds.dims else 0.0 for axis in "xy")
        corrections = correct(ta, (star[0] - dx, star[1] - dy), tables=tables)
    place = _Place(ds, ta, np.linalg.solve(science, acquisition), scale, corrections, tables)
    return model.with_coords(ds, coordinates({name: part(place) for name, part in PARTS.items()}, scale=scale))


def coordinates(parts: Mapping[str, Part], *, scale: float) -> dict[str, xr.Variable]:
    """Make the coordinates of the parts of the star's error and of their sum.

    Parameters
    ----------
    parts : mapping of str to Part
        They are independent of each other. Those in `OF_THE_MASK` are listed but not added to the sum.
    scale : float
        Size of a pixel at the star [arcsec]; if it is NaN, the errors as angles are NaN, too.

    Returns
    -------
    dict of str to xarray.Variable
        The correlation is 0 for a part without an error, and NaN for a part whose error is not known.
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
    """Compute the correlation of two errors; 0 if one of them is 0, NaN if one is not known."""
    if x == 0 or y == 0:
        return 0.0
    return float(np.clip(covariance / (x * y), -1.0, 1.0))


def _centroid(place: _Place) -> Part:
    """Photon noise of the centroid in use, and its other known errors, see `xta.acquisition.centroids`."""
    kind = identity.centroid_kind(place.ds)
    if kind == "manual":
        return place.unknown("a centroid given by hand has no error")
    name = centroids.NAMES.get(kind, kind)
    try:
        centroid = centroids.measure(place.ta, tables=place.tables)[name]
    except (KeyError, XtaError) as error:
        return place.unknown(f"the centroid cannot be measured again ({error})")
    if not math.isfinite(centroid.x_err + centroid.y_err):
        return place.unknown(centroid.note)
    return place.moved(centroid.x_err, centroid.y_err, centroid.note)


def _way(place: _Place) -> Part:
    """Error of the geometry from the TA region to the mask; plus the whole correction if it is not applied."""
    return place.correction("way")


def _filter(place: _Place) -> Part:
    """Error of the shift between the filters; plus the whole shift if it is not corrected for."""
    return place.correction("filter")


def _maneuver(place: _Place) -> Part:
    """Accuracy of the move from the TA region to the mask, which is in no header."""
    return place.table("maneuver")


def _guiding(place: _Place) -> Part:
    """Noise of the guider in the acquisition and in the exposure."""
    return place.table("guiding", math.sqrt(2))


def _inverse(place: _Place) -> Part:
    """Residual of the closed loop in the TA frame, and convergence of the numerical inverse."""
    residual = model.place(place.ds, "residual")
    x, y = (max(abs(value), wcs.TOLERANCE) for value in residual)
    return place.moved(x, y, "closed loop in the TA frame, round trip of the numerical inverse")


def _mask_reference(place: _Place) -> Part:
    """Errors of the mask's place, not of the star's: the last digit of the SIAF, its scatter and the filter shift."""
    x, y = (model.scalar(place.ds, f"mask_{axis}_err") for axis in "xy")
    return Part(x, y, "last digit of the SIAF, a second determination, and the shift of the filter")


PARTS: dict[str, Callable[[_Place], Part]] = {
    "centroid": _centroid,
    "way": _way,
    "filter": _filter,
    "maneuver": _maneuver,
    "guiding": _guiding,
    "inverse": _inverse,
    "mask reference": _mask_reference,
}
"""Labels of the dimension ``error_part``; all but those in `OF_THE_MASK` add, as covariances, to the star's error."""


def by_source(ds: xr.Dataset, *, tables: Tables | None = None) -> dict[str, NDArray[np.float64]] | None:
    """Divide the parts of a star's error by their cause, since exposures have errors in common.

    Parameters
    ----------
    ds : xarray.Dataset
        An exposure with an error budget.
    tables : Tables, optional
        Tables to use in place of those of the package.

    Returns
    -------
    dict of str to array, shape (2, 2), or None
        Source -> root of its covariance along x and y [pixel]. Two exposures with the same source have the same unit
        errors from it. None if the error is not known.

    Notes
    -----
    All exposures of a visit share the error of the maneuver and the noise of the centroid. Half of the variance of
    guiding, that of the acquisition, belongs to the visit, and half to the exposure. The errors of the filter shift
    and of the way, and the bias of a centroid, are common to all visits acquired and observed in the same way.
    """
    if "error_part" not in ds.dims or not math.isfinite(model.scalar(ds, "target_x_err")):
        return None
    about = header(ds)
    name = str(about.get("filename", ""))
    visit = str(about.get("visit_id", name))
    to = f"{about.get('detector')} {about.get('aperture')}"
    ta = in_use(ds) if "ta_wcs" in ds.coords else None
    aperture, band = ("" if ta is None else model.text(ta, f"ta_{each}") for each in ("aperture", "filter"))
    shares: dict[str, dict[str, float]] = {
        "guiding": {f"guiding {visit}": 0.5, f"guiding {name}": 0.5},
        "inverse": {f"inverse {name}": 1.0},
        "maneuver": {f"maneuver {visit}": 1.0},
        "filter": {f"filter {band} {about.get('filter')} {to}": 1.0},
        "way": {f"way {to}": 1.0},
    }
    columns = ("error_part", "target_x_err_part", "target_y_err_part", "target_xy_corr_part")
    errors: dict[str, NDArray[np.float64]] = {}
    for part, x, y, corr in zip(*(ds[each].values for each in columns), strict=True):
        if part in OF_THE_MASK or not x * y > 0:
            continue
        if part == "centroid":
            common = 0.0 if ta is None else _common_centroid(ds, ta, tables or instrument.tables(), float(x) * float(y))
            kind = identity.centroid_kind(ds)
            share = {f"centroid {kind} {aperture}": common, f"centroid {visit}": 1 - common}
        else:
            share = shares.get(str(part), {str(part): ALIKE, f"{part} {name}": 1 - ALIKE})
        root = _root(float(x), float(y), float(corr) if math.isfinite(corr) else 0.0)
        errors |= {source: math.sqrt(variance) * root for source, variance in share.items()}
    return errors or None


def _root(x: float, y: float, corr: float) -> NDArray[np.float64]:
    """Factor the covariance of these errors: return L, where L @ L.T is the covariance."""
    return np.array([[x, 0.0], [corr * y, math.sqrt(max(1 - corr**2, 0.0)) * y]])


def _common_centroid(ds: xr.Dataset, ta: xr.Dataset, tables: Tables, variance: float) -> float:
    """Compute the share of the centroid's variance that all visits have in common, which remains without noise."""
    kind = identity.centroid_kind(ds)
    accuracy = tables.accuracy(f"centroid_{centroids.NAMES.get(kind, kind)}", header(ds))
    if accuracy is None:
        return 0.0
    place = model.place(ds, "centroid")
    star = (0.0, 0.0) if "star_x" in ds.coords else model.place(ds, "target")
    scale = wcs.pixel_scale(sky.the_wcs(ta, "ta_wcs"), *place) / wcs.pixel_scale(sky.the_wcs(ds), *star)
    return min(1.0, accuracy.x * accuracy.y * scale**2 / variance)
