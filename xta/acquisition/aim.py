"""Compute where the mask of an exposure is, and where the telescope aimed. The SIAF has one point for both.

*mask*: the place of the mask's image by the newest SIAF available, whatever release the product was made with. The
filter shifts it as it shifts the star, since the mask is in front of the filters. For an aperture without a mask it is
the reference point.

*aim*: the place where a star lands if it was centroided and moved without error. The release on board moves it from
the reference point of the TA aperture to that of the mask, as an angle; the newest SIAF converts the angle to pixels.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import xarray as xr

from xta import model
from xta.acquisition import instrument, pair
from xta.acquisition.corrections import expected
from xta.acquisition.image import in_use
from xta.acquisition.instrument import FilterShift, Tables
from xta.errors import SiafError
from xta.geometry import siaf
from xta.identity import header

__all__ = ["NOWHERE", "Place", "aim", "landing", "mask", "onboard_release"]

CENTERS = {"MIRIM_MASK1065": 73.0, "MIRIM_MASK1140": 27.0, "MIRIM_MASK1550": 11.0}
"""Distance of a second determination of the center of a four-quadrant mask from the center in the SIAF [mas]."""

ONBOARD = {"2022-12-05": "PRDOPSSOC-059", "2024-03-01": "PRDOPSSOC-063"}
"""Day -> newest release that can have been on board before it; logs of 2022-12-04 and 2024-02-29 agree with these."""


@dataclass(frozen=True)
class Place:
    """A place in the readout of an exposure [0-based pixel], its standard errors [pixel], and where it comes from."""

    x: float
    y: float
    x_err: float
    y_err: float
    source: str

    def numbers(self) -> dict[str, float]:
        """Return position and errors by name."""
        return {"x": self.x, "y": self.y, "x_err": self.x_err, "y_err": self.y_err}

    def shifted(self, shift: FilterShift, source: str) -> "Place":
        """Move the place by the shift of a filter."""
        errors = math.hypot(self.x_err, shift.x_err), math.hypot(self.y_err, shift.y_err)
        return Place(self.x + shift.x, self.y + shift.y, *errors, f"{self.source}, {source}")


NOWHERE = Place(math.nan, math.nan, math.nan, math.nan, "the aperture is not in the SIAF")


def mask(ds: xr.Dataset, *, tables: Tables | None = None, shifted: bool = True) -> Place:
    """Find the mask of an exposure, or the reference point of its aperture if it has no mask.

    With `shifted`, the place is that of the mask's image, which the filter shifts. Without, it is comparable with a
    star that is not corrected for the filter.

    Raises
    ------
    SiafError
        If the aperture is not in the SIAF.
    """
    about = header(ds)
    if about.get("exp_type") not in model.CORONAGRAPHIC_TYPES:
        x, y = pair.intended_pixel(ds)
        return Place(x, y, 0.0, 0.0, f"reference point of the aperture in {siaf.release(about.get('prd_version'))}")
    release = about.get("prd_version") if instrument.is_early(about) else None
    ap = siaf.aperture(about["instrument"], about.get("aperture", ""), release)
    x, y = siaf.reference_pixel(ap, _science_readout(about, about.get("prd_version")))
    second = CENTERS.get(str(about.get("aperture", "")), 0.0) / 2e3 / float(about.get("pixel_scale", math.nan))
    x_err, y_err = (math.hypot(_digit(value) / math.sqrt(12), second) for value in (ap.XDetRef, ap.YDetRef))
    place = Place(x, y, x_err, y_err, f"mask in {siaf.release(release)}")
    if not shifted:
        return place
    shift = (tables or instrument.tables()).filter_shift(about, str(about.get("filter", "")))
    if shift is None:
        unknown = f"{place.source}; the shift of {about.get('filter') or 'no filter'} is not known"
        return Place(x, y, x_err, y_err, unknown)
    return place.shifted(shift, "shifted by the filter")


def aim(ds: xr.Dataset, *, tables: Tables | None = None, shifted: bool = True) -> Place:
    """Find where a star lands that was centroided and moved without error; `shifted` has the same meaning as in `mask`.

    Raises
    ------
    SiafError
        If an aperture is not in the SIAF, or has no reference point.
    """
    ta = in_use(ds)
    names = {name: model.text(ta, f"ta_{name}") for name in ("aperture", "subarray", "detector")}
    onboard = onboard_release(header(ds))
    tables = tables or instrument.tables()
    way = tables.accuracy("way", header(ds))
    error = math.nan if way is None else way.x / 1e3 / float(header(ds).get("pixel_scale", math.nan))
    source = f"aim by {onboard} on board, converted to pixels by {siaf.release()}"
    place = Place(*landing(header(ds), names, onboard), error, error, source)
    shift, _ = expected(ta, tables) if shifted else (None, "")
    return place if shift is None else place.shifted(shift, "shifted by the filter")


def onboard_release(about: Mapping[str, Any]) -> str:
    """Return the name of the SIAF release that was on board during an exposure, by its header.

    It is the release with which the event log is consistent (``oss_prd``). Otherwise it is that of the product, or an
    older one if the product's release cannot have been on board yet on the date of the exposure.
    """
    if closed := about.get("oss_prd"):
        return siaf.release(str(closed))
    date = str(about.get("date_beg", "9"))
    latest = [release for day, release in ONBOARD.items() if date < day]
    return min([siaf.release(about.get("prd_version")), *latest])


def landing(about: Mapping[str, Any], ta: Mapping[str, str], onboard: str) -> tuple[float, float]:
    """Compute where a release on board sends a star, by the newest geometry [0-based pixel of the exposure].

    Parameters
    ----------
    about : mapping
        Header of the exposure.
    ta : mapping
        "aperture", "subarray" and "detector" of the acquisition.
    onboard : str
        The release that was on board.
    """
    name = str(about["instrument"])
    target, acquired = (siaf.aperture(name, each, onboard) for each in (about.get("aperture", ""), ta["aperture"]))
    start = siaf.readout(name, ta["aperture"], ta["subarray"], detector=ta["detector"])
    v2, v3 = siaf.convert(start, *siaf.reference_pixel(acquired, start), "pixel", "tel")
    newest = _science_readout(about, None)
    x, y = siaf.tel_to_pixel(newest, v2 + target.V2Ref - acquired.V2Ref, v3 + target.V3Ref - acquired.V3Ref)
    # In the release of the product, the readout may begin at another pixel of the detector.
    x, y = siaf.det_to_pixel(_science_readout(about, about.get("prd_version")), *siaf.pixel_to_det(newest, x, y))
    return float(x), float(y)


def _science_readout(about: Mapping[str, Any], prd: str | None) -> Any:
    place = about["instrument"], about.get("aperture", ""), about.get("subarray")
    return siaf.readout(*place, prd, detector=about.get("detector"))


def _digit(value: float | None) -> float:
    """Compute the value of one unit in the last decimal place of a number."""
    if value is None:
        msg = "the aperture has no reference point in detector pixels"
        raise SiafError(msg)
    _, _, decimals = f"{value:.4f}".rstrip("0").partition(".")
    return float(10.0 ** -len(decimals))
