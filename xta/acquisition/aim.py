"""Where the mask of an exposure is, and where the telescope aimed; two places that the SIAF calls one.

*mask*: where the image of the mask is, by the newest SIAF at hand, whatever release a product was made with; shifted
by the filter as the star is, since the mask lies before the filters. Of apertures without a mask it is the reference
point.

*aim*: where a star lands that was centroided and moved without error: the release that was on board moves it from the
reference point of the TA aperture to that of the mask, as an angle; where that is in pixels, the newest SIAF says.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xta import model
from xta.acquisition import instrument, pair
from xta.acquisition.corrections import filter_shift
from xta.acquisition.image import in_use
from xta.acquisition.instrument import FilterShifts
from xta.errors import SiafError
from xta.geometry import siaf
from xta.identity import header

__all__ = ["NOWHERE", "Place", "aim", "mask"]

WHEEL_MOVED = "2022-06-01"
"""Before, the pupil wheel of NIRCam stood elsewhere, and its masks with it: the newest SIAF does not hold."""

CENTERS = {"MIRIM_MASK1065": 73.0, "MIRIM_MASK1140": 27.0, "MIRIM_MASK1550": 11.0}
"""How far a second determination of the center of a four-quadrant mask is from that of the SIAF [mas]."""


@dataclass(frozen=True)
class Place:
    """A place in the readout of an exposure [0-based pixel], its standard errors [pixel], and where it comes from."""

    x: float
    y: float
    x_err: float
    y_err: float
    source: str


NOWHERE = Place(math.nan, math.nan, math.nan, math.nan, "the SIAF does not know the aperture")


def mask(ds: xr.Dataset, *, filters: FilterShifts | None = None, shifted: bool = True) -> Place:
    """Find the mask of an exposure, or the reference point of its aperture where it has none.

    `shifted` by the filter it is where its image is; without, where it has to be compared with a star that is not
    corrected for the filter.

    Raises
    ------
    SiafError
        If the SIAF does not know the aperture.
    """
    about = header(ds)
    if about.get("exp_type") not in model.CORONAGRAPHIC_TYPES:
        x, y = pair.intended_pixel(ds)
        return Place(x, y, 0.0, 0.0, f"reference point of the aperture in {siaf.release(about.get('prd_version'))}")
    moved = str(about["instrument"]).upper() == "NIRCAM" and str(about.get("date_beg", "9")) < WHEEL_MOVED
    release = about.get("prd_version") if moved else None
    ap = siaf.aperture(about["instrument"], about.get("aperture", ""), release)
    x, y = siaf.reference_pixel(ap, _readout(ds))
    source = f"mask in {siaf.release(release)}"
    x_err, y_err = (_digit(value) / math.sqrt(12) for value in (ap.XDetRef, ap.YDetRef))
    second = CENTERS.get(str(about.get("aperture", "")), 0.0) / 2e3 / float(about.get("pixel_scale", math.nan))
    x_err, y_err = math.hypot(x_err, second), math.hypot(y_err, second)
    if not shifted:
        return Place(x, y, x_err, y_err, source)
    table = instrument.filter_shifts() if filters is None else filters
    shift = filter_shift(about, str(about.get("filter", "")), table)
    if shift is None:
        return Place(x, y, x_err, y_err, f"{source}; the shift of {about.get('filter') or 'no filter'} is not known")
    errors = math.hypot(x_err, shift.x_err), math.hypot(y_err, shift.y_err)
    return Place(x + shift.x, y + shift.y, *errors, f"{source}, shifted by the filter")


def aim(ds: xr.Dataset, *, filters: FilterShifts | None = None, shifted: bool = True) -> Place:
    """Find where a star lands behind the mask that was centroided and moved without error; `shifted` as in `mask`.

    The release on board is the one with which the event log closes (``oss_prd``), else that of the product.

    Raises
    ------
    SiafError
        If a SIAF does not know an aperture, or it has no reference point.
    """
    about, ta = header(ds), in_use(ds)
    onboard = about.get("oss_prd") or about.get("prd_version")
    name = str(about["instrument"])
    target, acquired = (siaf.aperture(name, ap, onboard) for ap in (about.get("aperture", ""), _ta_aperture(ta)))
    vector = np.subtract([target.V2Ref, target.V3Ref], [acquired.V2Ref, acquired.V3Ref])
    start = siaf.reference_pixel(acquired, _readout(ds, newest=True, ta=ta))
    v = np.add(siaf.convert(_readout(ds, newest=True, ta=ta), *start, "pixel", "tel"), vector)
    x, y = siaf.det_to_pixel(_readout(ds), *_det(_readout(ds, newest=True), *v))
    table = instrument.filter_shifts() if filters is None else filters
    shifts = [filter_shift(about, band, table) for band in (str(about.get("filter", "")), str(ta["ta_filter"].item()))]
    observed, before = shifts
    source = f"aim of {siaf.release(onboard)} on board, laid on {siaf.release()}"
    if not shifted or observed is None or before is None:
        return Place(float(x), float(y), 0.0, 0.0, source)
    errors = math.hypot(observed.x_err, before.x_err), math.hypot(observed.y_err, before.y_err)
    place = float(x) + observed.x - before.x, float(y) + observed.y - before.y
    return Place(*place, *errors, f"{source}, shifted by the filter")


def _det(newest: Any, v2: float, v3: float) -> tuple[float, float]:
    """Find the detector pixel of V2, V3."""
    x, y = siaf.pixel_to_det(newest, *siaf.tel_to_pixel(newest, v2, v3))
    return float(x), float(y)


def _ta_aperture(ta: xr.Dataset) -> str:
    return str(ta["ta_aperture"].item())


def _readout(ds: xr.Dataset, *, newest: bool = False, ta: xr.Dataset | None = None) -> Any:
    """Find the readout of the exposure or of its acquisition, by the product's own release or the newest one."""
    about = header(ds)
    prd = None if newest else about.get("prd_version")
    if ta is None:
        place, detector = (about.get("aperture", ""), about.get("subarray")), about.get("detector")
    else:
        place, detector = (_ta_aperture(ta), str(ta["ta_subarray"].item())), str(ta["ta_detector"].item())
    return siaf.readout(about["instrument"], *place, prd, detector=detector)


def _digit(value: float | None) -> float:
    """Compute the worth of the last decimal that a number is written with."""
    if value is None:
        msg = "the aperture has no reference point in detector pixels"
        raise SiafError(msg)
    _, _, decimals = f"{value:.4f}".rstrip("0").partition(".")
    return float(10.0 ** -len(decimals))
