"""Correct the star's pixel for what the WCS of a product does not include: the newest geometry, and the filter.

*way*: the vector from the TA region to the mask in the newest SIAF, minus that in the WCS of the product. The maneuver
moves the star by the same angle whatever polynomials a product was made with, so the newest ones give its place.

*filter*: the shift between the acquisition and the exposure from the table, minus the shift that their two WCSs
contain already, which is the difference in V2, V3 of one detector pixel. The WCS of a MIRI product contains it if the
reference file was made for the mask, not if it was a generic one; that of a NIRCam coronagraphic pupil never does.

References
----------
pysiaf pull request 328 (NIRCam: geometry derived in F335M, F210M); jwst issue 7299 (MIRI: filter offsets of the masks).
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from xta import model
from xta.acquisition import instrument
from xta.acquisition.image import in_use
from xta.acquisition.instrument import FilterShift, Tables, channel
from xta.errors import ArgumentError, SiafError, WCSError
from xta.geometry import siaf, sky, wcs
from xta.identity import header

__all__ = ["CORRECTIONS", "Correction", "chosen", "correct", "expected"]

Pair = tuple[float, float]


@dataclass(frozen=True)
class Correction:
    """A vector to add to the star's pixel, its standard errors [pixel], and its source."""

    x: float
    y: float
    x_err: float
    y_err: float
    source: str
    known: bool = True
    """False if the correction is zero because it is not known, or if the value in the table is not confirmed."""


@dataclass(frozen=True)
class _Case:
    ds: xr.Dataset
    ta: xr.Dataset
    star: Pair
    centroid: Pair
    tables: Tables

    @property
    def original(self) -> Any:
        return sky.the_wcs(self.ds, "wcs_original" if "wcs_original" in self.ds.coords else "wcs")

    @property
    def acquired(self) -> Any:
        return sky.the_wcs(self.ta, "ta_wcs")

    @property
    def one_detector(self) -> bool:
        return model.text(self.ta, "ta_detector") == str(header(self.ds).get("detector"))

    @cached_property
    def jacobian(self) -> Any:
        """Derivative of V2, V3 by the pixel at the star [arcsec/pixel]: rows V2, V3, columns x, y."""
        x, y = self.star
        v = np.stack(wcs.pixel_to_v(self.original, x + wcs.CROSS[0], y + wcs.CROSS[1]))
        return np.stack([v[:, 1] - v[:, 2], v[:, 3] - v[:, 4]], axis=1)

    def pixel(self, mas: float) -> float:
        """Convert an angle to pixels at the star."""
        return mas / 1e3 / math.sqrt(abs(float(np.linalg.det(self.jacobian))))

    def readouts(self) -> tuple[Any, Any]:
        """Find the readouts of the acquisition and the exposure in the newest SIAF."""
        about = header(self.ds)
        aperture, subarray, detector = (
            model.text(self.ta, f"ta_{each}") for each in ("aperture", "subarray", "detector")
        )
        start = siaf.readout(about["instrument"], aperture, subarray, detector=detector)
        place = about["instrument"], about.get("aperture", ""), about.get("subarray")
        return start, siaf.readout(*place, detector=about.get("detector"))

    def centroid_in_exposure(self) -> Pair:
        """Convert the centroid to the pixels of the exposure, which is on the same detector."""
        start, end = self.readouts()
        x, y = siaf.det_to_pixel(end, *siaf.pixel_to_det(start, *self.centroid))
        return float(x), float(y)


def chosen(corrections: str | Iterable[str]) -> tuple[str, ...]:
    """Return the names of the chosen corrections, in the order of `CORRECTIONS`."""
    if isinstance(corrections, str):
        names = {"all": set(CORRECTIONS), "none": set()}.get(corrections, {corrections})
    else:
        names = set(corrections)
    if names - CORRECTIONS.keys():
        msg = f"corrections is {corrections!r}; give 'all', 'none', or some of {', '.join(CORRECTIONS)}"
        raise ArgumentError(msg)
    return tuple(name for name in CORRECTIONS if name in names)


def correct(ds: xr.Dataset, star: Pair, *, tables: Tables | None = None) -> dict[str, Correction]:
    """Compute all corrections of a star's pixel, by name.

    Parameters
    ----------
    ds : xarray.Dataset
        A science exposure with an acquisition and its centroid. The WCS of its file is ``wcs_original`` or ``wcs``.
    star : (float, float)
        The star by the WCS [0-based pixel].
    tables : Tables, optional
        Tables to use in place of those of the package.
    """
    centroid = model.place(ds, "centroid")
    case = _Case(ds, in_use(ds), star, centroid, tables or instrument.tables())
    return {name: compute(case) for name, compute in CORRECTIONS.items()}


def _way(case: _Case) -> Correction:
    """Compute the vector from TA region to mask in the newest SIAF, minus that in the WCS of the product."""
    accuracy = case.tables.accuracy("way", header(case.ds))
    error = math.nan if accuracy is None else case.pixel(accuracy.x)
    try:
        start, end = case.readouts()
        pixels, readouts, systems = [case.centroid, case.star], [start, end], [case.acquired, case.original]
        if case.one_detector:
            # Use the WCS of the exposure for both ends, so that the shift between the filters of the two exposures,
            # which is not in the SIAF, cancels.
            pixels[0], readouts[0], systems[0] = case.centroid_in_exposure(), end, case.original
        by_wcs = [wcs.pixel_to_v(gwcs, *pixel) for gwcs, pixel in zip(systems, pixels, strict=True)]
        newest = [siaf.convert(each, *pixel, "pixel", "tel") for each, pixel in zip(readouts, pixels, strict=True)]
    except (SiafError, WCSError) as reason:
        return Correction(0.0, 0.0, math.nan, math.nan, f"the SIAF cannot be compared ({reason})", known=False)
    # The star is where the newest polynomials make the vector as long as the WCS made it.
    change = np.subtract(by_wcs[1], by_wcs[0]) - np.subtract(newest[1], newest[0])
    x, y = np.linalg.solve(case.jacobian, change).tolist()
    source = f"from the TA region to the mask: {siaf.release()} minus the WCS of the product"
    early = instrument.is_early(header(case.ds))
    return Correction(x, y, error, error, f"{source}; NIRCam's pupil wheel moved later" if early else source, not early)


def expected(ds: xr.Dataset, tables: Tables) -> tuple[FilterShift | None, str]:
    """Look up the shift from the filter of the acquisition to that of the exposure, and return it with their names.

    The shift is None if that of either filter is not known. Each is looked up for the optics of its own detector.
    """
    about, ta = header(ds), in_use(ds)
    bands = model.text(ta, "ta_filter"), str(about.get("filter", ""))
    acquired = tables.filter_shift(about, bands[0], channel=channel(model.text(ta, "ta_detector")))
    observed = tables.filter_shift(about, bands[1])
    if acquired is None or observed is None:
        unknown = [band or "no filter" for band, row in zip(bands, (acquired, observed), strict=True) if row is None]
        return None, f"the shift of {' and '.join(unknown)} is not known"
    return observed - acquired, " to ".join(bands)


def _contained(case: _Case) -> Any:
    """Compute the shift from acquisition to exposure in their WCSs [pixel of the exposure]; 0 for two detectors."""
    if not case.one_detector:
        return np.zeros(2)
    same = case.centroid_in_exposure()
    acquired = wcs.pixel_to_v(case.acquired, *case.centroid)
    return np.linalg.solve(case.jacobian, np.subtract(acquired, wcs.pixel_to_v(case.original, *same)))


def _filter(case: _Case) -> Correction:
    """Compute the shift between the two filters in the table, minus the shift that the two WCSs contain."""
    about = header(case.ds)
    if about.get("exp_type") not in model.CORONAGRAPHIC_TYPES:
        return Correction(0.0, 0.0, 0.0, 0.0, "the exposure has no mask; its WCS contains the shifts between filters")
    shift, bands = expected(case.ta, case.tables)
    if shift is None:
        return Correction(
            0.0, 0.0, *case.tables.usual_shift(about), f"{bands}; the error is the rms of other shifts", known=False
        )
    try:
        x, y = _contained(case).tolist()
    except (SiafError, WCSError) as reason:
        source = f"it is not known how much of the filter shift the WCSs contain ({reason})"
        return Correction(0.0, 0.0, math.nan, math.nan, source, known=False)
    source = f"{bands}: {shift.source}; the WCSs contain {x:+.3f}, {y:+.3f} px"
    return Correction(shift.x - x, shift.y - y, shift.x_err, shift.y_err, source, known=shift.confirmed)


CORRECTIONS: dict[str, Callable[[_Case], Correction]] = {"way": _way, "filter": _filter}
"""Label of the dimension ``correction`` -> how it is computed."""
