"""Correct the star's pixel for what the WCS of a product does not know: the newest geometry, and the filter.

*way*: the vector from TA region to mask in the newest SIAF minus that in the WCS of the product. The maneuver moves the
star by the same angle whatever a product's polynomials say, so the star is where the newest ones put it.

*filter*: the shift between acquisition and exposure that the table expects, minus the shift that their two WCSs
contain already: where the same pixel of the detector is in V2, V3 by both. MIRI products have it or not, as their
reference file was the mask's or a generic one; the coronagraphic pupils of NIRCam have none.

References
----------
pysiaf pull request 328 (NIRCam: geometry derived in F335M, F210M); jwst issue 7299 (MIRI: filter offsets of the masks).
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xta import model
from xta.acquisition import instrument
from xta.acquisition.image import in_use
from xta.acquisition.instrument import FilterShift, FilterShifts
from xta.errors import ArgumentError, SiafError, WCSError
from xta.geometry import siaf, sky, wcs
from xta.identity import header

__all__ = ["CORRECTIONS", "Correction", "chosen", "correct", "filter_shift", "ways"]

WAY_ERROR = 2.0
"""Standard error of the way, one axis [mas]: assumed, for a geometry that was measured from science exposures."""

Pair = tuple[float, float]


@dataclass(frozen=True)
class Correction:
    """What is added to the star's pixel, its standard errors [pixel], and where it comes from."""

    x: float
    y: float
    x_err: float
    y_err: float
    source: str
    known: bool = True
    """False where nothing could be said, so that the correction is zero for want of better."""


@dataclass(frozen=True)
class _Case:
    ds: xr.Dataset
    ta: xr.Dataset
    star: Pair
    centroid: Pair
    filters: FilterShifts


def chosen(corrections: str | Iterable[str]) -> tuple[str, ...]:
    """Check which corrections are asked for: "all", "none", or names of `CORRECTIONS`, in their order."""
    if isinstance(corrections, str):
        names = {"all": set(CORRECTIONS), "none": set()}.get(corrections, {corrections})
    else:
        names = set(corrections)
    if names - CORRECTIONS.keys():
        msg = f"corrections is {corrections!r}; give 'all', 'none', or some of {', '.join(CORRECTIONS)}"
        raise ArgumentError(msg)
    return tuple(name for name in CORRECTIONS if name in names)


def correct(
    ds: xr.Dataset, star: Pair, names: Iterable[str], *, filters: FilterShifts | None = None
) -> dict[str, Correction]:
    """Compute corrections of a star's pixel, by name; of an acquisition by itself there are none.

    Parameters
    ----------
    ds : xarray.Dataset
        With an acquisition and its centroid; its WCS as the file had it is ``wcs_original`` or ``wcs``.
    star : (float, float)
        By the WCS [0-based pixel].
    names : iterable of str
        Of `CORRECTIONS`.
    filters : mapping, optional
        A table of `xta.instrument.read_filter_shifts` in place of that of the package.
    """
    ta = in_use(ds)
    centroid = float(ds["centroid_x"]), float(ds["centroid_y"])
    case = _Case(ds, ta, star, centroid, instrument.filter_shifts() if filters is None else filters)
    return {name: CORRECTIONS[name](case) for name in names}


def _original(ds: xr.Dataset) -> Any:
    return sky.the_wcs(ds, "wcs_original" if "wcs_original" in ds.coords else "wcs")


def _one_detector(case: _Case) -> bool:
    return str(case.ta["ta_detector"].item()) == str(header(case.ds).get("detector"))


def _readouts(ds: xr.Dataset, ta: xr.Dataset) -> tuple[Any, Any]:
    """Find the readouts of acquisition and exposure in the newest SIAF."""
    about = header(ds)
    aperture, subarray, detector = (str(ta[f"ta_{name}"].item()) for name in ("aperture", "subarray", "detector"))
    start = siaf.readout(about["instrument"], aperture, subarray, detector=detector)
    place = about["instrument"], about.get("aperture", ""), about.get("subarray")
    return start, siaf.readout(*place, detector=about.get("detector"))


def ways(ds: xr.Dataset, centroid: Pair, star: Pair) -> tuple[Any, Any]:
    """Measure the way from centroid to star in V2, V3, by the WCS of the file and by the newest SIAF [arcsec].

    On one detector both ends go through the WCS of the exposure, so that the shift between the filters of
    the two exposures, which the SIAF does not have, drops out.
    """
    ta, original = in_use(ds), _original(ds)
    start, end = _readouts(ds, ta)
    pixels, readouts, systems = [centroid, star], [start, end], [wcs.load(ta["ta_wcs"].item()), original]
    if str(ta["ta_detector"].item()) == str(header(ds).get("detector")):
        x, y = siaf.det_to_pixel(end, *siaf.pixel_to_det(start, *centroid))
        pixels[0], readouts[0], systems[0] = (float(x), float(y)), end, original
    by_wcs = [wcs.pixel_to_v(gwcs, *pixel) for gwcs, pixel in zip(systems, pixels, strict=True)]
    by_siaf = [siaf.convert(readout, *pixel, "pixel", "tel") for readout, pixel in zip(readouts, pixels, strict=True)]
    return np.subtract(by_wcs[1], by_wcs[0]), np.subtract(by_siaf[1], by_siaf[0])


def _v_jacobian(gwcs: Any, x: float, y: float) -> Any:
    """Differentiate V2, V3 by the pixel [arcsec/pixel]: rows V2, V3, columns x, y."""
    v = np.stack(wcs.pixel_to_v(gwcs, x + wcs.CROSS[0], y + wcs.CROSS[1]))
    return np.stack([v[:, 1] - v[:, 2], v[:, 3] - v[:, 4]], axis=1)


def _way(case: _Case) -> Correction:
    """Vector from TA region to mask in the newest SIAF minus that in the WCS of the product."""
    jacobian = _v_jacobian(_original(case.ds), *case.star)
    error = WAY_ERROR / 1e3 / math.sqrt(abs(float(np.linalg.det(jacobian))))
    try:
        by_wcs, by_siaf = ways(case.ds, case.centroid, case.star)
    except (SiafError, WCSError) as reason:
        return Correction(0.0, 0.0, math.nan, math.nan, f"the SIAF cannot be compared ({reason})", known=False)
    # The star is where the newest polynomials make the vector as long as the WCS made it.
    x, y = np.linalg.solve(jacobian, by_wcs - by_siaf).tolist()
    return Correction(x, y, error, error, f"from TA region to mask: {siaf.release()} minus the WCS of the product")


def filter_shift(about: Mapping[str, Any], band: str, filters: FilterShifts) -> FilterShift | None:
    """Look up the shift of a filter in the optics of an exposure, by its header; None where it is not known."""
    instrument_name = str(about.get("instrument", "")).upper()
    optics = {"NIRCAM": about.get("channel"), "MIRI": about.get("subarray")}.get(instrument_name)
    return filters.get((instrument_name, str(optics).upper(), band.upper()))


def _contained(case: _Case) -> Any:
    """Shift from acquisition to exposure that their WCSs contain [pixel of the exposure]; none of two detectors."""
    if not _one_detector(case):
        return np.zeros(2)
    start, end = _readouts(case.ds, case.ta)
    x, y = (float(value) for value in siaf.det_to_pixel(end, *siaf.pixel_to_det(start, *case.centroid)))
    gwcs = _original(case.ds)
    acquired = wcs.pixel_to_v(wcs.load(case.ta["ta_wcs"].item()), *case.centroid)
    return np.linalg.solve(_v_jacobian(gwcs, x, y), np.subtract(acquired, wcs.pixel_to_v(gwcs, x, y)))


def _filter(case: _Case) -> Correction:
    """Shift between the two filters by the table, minus the shift that the two WCSs contain."""
    if header(case.ds).get("exp_type") not in model.CORONAGRAPHIC_TYPES:
        return Correction(0.0, 0.0, 0.0, 0.0, "the exposure has no mask: its WCS has the shifts between filters")
    bands = str(case.ta["ta_filter"].item()), str(header(case.ds).get("filter", ""))
    shifts = [filter_shift(header(case.ds), band, case.filters) for band in bands]
    unknown = [band or "no filter" for band, shift in zip(bands, shifts, strict=True) if shift is None]
    acquired, observed = shifts
    if acquired is None or observed is None:
        source = f"the shift of {' and '.join(unknown)} is not known"
        return Correction(0.0, 0.0, math.nan, math.nan, source, known=False)
    try:
        contained = _contained(case)
    except (SiafError, WCSError) as reason:
        source = f"what the WCSs contain of the filter shift is not known ({reason})"
        return Correction(0.0, 0.0, math.nan, math.nan, source, known=False)
    x, y = np.subtract([observed.x - acquired.x, observed.y - acquired.y], contained).tolist()
    x_err, y_err = math.hypot(observed.x_err, acquired.x_err), math.hypot(observed.y_err, acquired.y_err)
    both = f"{bands[0]} to {bands[1]}: {observed.source}; the WCSs contain {contained[0]:+.3f}, {contained[1]:+.3f} px"
    return Correction(x, y, x_err, y_err, both, known=observed.confirmed and acquired.confirmed)


CORRECTIONS: dict[str, Callable[[_Case], Correction]] = {"way": _way, "filter": _filter}
"""Label of the dimension ``correction`` -> how it is computed."""
