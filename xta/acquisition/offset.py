"""Measure how far the WCS of a target acquisition is from its centroid: the pointing error of the visit."""

import logging
import math
from functools import partial
from typing import Any

import xarray as xr

from xta import identity, model
from xta.acquisition import attach, checks
from xta.acquisition.image import image_centroid, in_use
from xta.errors import AcquisitionError, ArgumentError, warn
from xta.geometry import sphere, wcs
from xta.identity import header
from xta.stacks import each, members_or_one

__all__ = ["acquired_target", "compute_offset", "target_position"]

logger = logging.getLogger(__name__)

Centroid = str | tuple[float, float]


def compute_offset(ds: xr.Dataset, *, centroid: Centroid = "auto") -> xr.Dataset:
    """Compute where the TA WCS puts the target, minus where the star was.

    Parameters
    ----------
    ds : xarray.Dataset
        With an acquisition attached; a TA exposure by itself attaches itself.
    centroid : "auto", "oss", "image" or (x, y)
        The star in the TA image: "oss" the onboard centroid of the event log or the TARG_ACQ extension;
        "image" measured here in the TA image; (x, y) a 0-based pixel of the TA readout, by hand. "auto" takes
        the onboard one and falls back to the image, with a warning, where the acquisition failed.

    Returns
    -------
    xarray.Dataset
        With the scalar coordinates ``centroid_x/y/ra/dec``, ``ta_target_x/y`` (target through the TA WCS),
        ``ta_inverse_error_x/y`` (analytic minus numerical inverse), ``ta_reference_x/y`` (SIAF) [0-based TA
        pixel]; ``offset_x/y`` [pixel], ``offset_ra/dec`` [arcsec, coordinate differences],
        ``offset_east/north`` [arcsec on the sky], all WCS minus centroid;
        ``centroid_source``, in words, and ``centroid_kind``, see `xta.identity.centroid_kind`; and the checks that the
        TA image allows, see `xta.acquisition.checks`.

    Raises
    ------
    AcquisitionError
        If nothing is attached, the target has no position, "oss" is asked for and there is none, or the
        dataset is recentered.
    CentroidError
        If the star cannot be found in the image.
    WCSError
        If the target cannot be put on the TA image.

    Warns
    -----
    XtaWarning
        If "auto" falls back to the image.

    Notes
    -----
    The pixel of the target comes from the numerical inverse of the TA WCS, not from its analytic one. The
    offset is measured on the WCS as the file had it, so the step can be repeated; it takes an earlier
    `adjust_wcs` back.
    """
    identity.refuse_combined(ds)
    if not isinstance(centroid, str) and len({header(ds)["visit_id"] for ds in members_or_one(ds)}) > 1:
        msg = f"centroid is {centroid!r}, one pixel for exposures of several visits; give it to one exposure at a time"
        raise ArgumentError(msg)
    return each(ds, partial(_offset, centroid=centroid), name="compute_offset")


def _offset(ds: xr.Dataset, centroid: Centroid) -> xr.Dataset:
    """Compute the offset of one exposure."""
    if "ta_wcs" not in ds.variables:
        if not identity.is_ta(ds):
            msg = "no target acquisition is attached; call ds.ta.attach() first"
            raise AcquisitionError(msg)
        ds = attach.attach(ds)
    ds = attach.unadjusted(ds)
    target_ra, target_dec = acquired_target(ds)
    x, y, source, kind = _centroid(ds, centroid)
    ta = in_use(ds)
    ta_wcs = wcs.load(ta["ta_wcs"].item())
    target_x, target_y = (float(value) for value in wcs.world_to_pixel(ta_wcs, target_ra, target_dec))
    analytic_x, analytic_y = (float(value) for value in wcs.world_to_pixel_analytic(ta_wcs, target_ra, target_dec))
    ra, dec = (float(value) for value in wcs.pixel_to_world(ta_wcs, x, y))
    east, north = sphere.sky_offset(ra, dec, target_ra, target_dec)
    offset_ra, offset_dec = float(sphere.wrap_degrees(target_ra - ra)) * 3600, (target_dec - dec) * 3600
    values = model.prefixed(
        centroid={"x": x, "y": y, "ra": ra, "dec": dec},
        ta_target={"x": target_x, "y": target_y},
        ta_inverse_error={"x": analytic_x - target_x, "y": analytic_y - target_y},
        ta_reference={axis: float(ta[f"ta_intended_{axis}"]) for axis in ("x", "y")},
        offset={"x": target_x - x, "y": target_y - y, "ra": offset_ra, "dec": offset_dec, "east": east, "north": north},
    )
    logger.info("visit %s: centroid %.5f, %.5f px of the TA readout (%s)", header(ds)["visit_id"], x, y, source)
    logger.info("target by the TA WCS: %.4f, %.4f px", target_x, target_y)
    logger.info("offset WCS minus centroid: %.4f, %.4f px", values["offset_x"], values["offset_y"])
    logger.info("in RA, Dec (coordinate differences): %.4f, %.4f arcsec", offset_ra, offset_dec)
    logger.info("offset on the sky, east, north: %.4f, %.4f arcsec", east, north)
    result = identity.assign(
        ds.assign_coords(model.describe(values)), {"centroid_source": source, "centroid_kind": kind}
    )
    result = checks.check_image(result)
    return model.with_history(result, f"compute_offset; centroid {x:.6f}, {y:.6f} from {source}")


def target_position(ds: xr.Dataset) -> tuple[float, float]:
    """Read the target position of an exposure [deg, ICRS]; an `AcquisitionError` where it has none."""
    ra, dec = (model.number(header(ds).get(name)) for name in ("target_ra", "target_dec"))
    if not (math.isfinite(ra) and abs(dec) <= 90):
        msg = (
            f"{header(ds).get('filename', 'the exposure')} has no usable target position "
            f"(TARG_RA, TARG_DEC = {header(ds).get('target_ra')}, {header(ds).get('target_dec')}); "
            "set it: ds.assign_coords(target_ra=..., target_dec=...) [deg]"
        )
        raise AcquisitionError(msg)
    return ra, dec


SAME_TARGET = 0.1  # [arcsec] beyond this the headers of one visit do not speak of the same place


def acquired_target(ds: xr.Dataset) -> tuple[float, float]:
    """Read the position of the target at its acquisition [deg, ICRS].

    That of the exposure itself, so that an error of the catalog is the same in both images and cancels; of
    a moving target that of the TA exposure's own header. Warns where a fixed target has two positions.
    """
    target, ta = target_position(ds), in_use(ds)
    ra, dec = model.scalar(ta, "ta_target_ra"), model.scalar(ta, "ta_target_dec")
    if not math.isfinite(ra + dec):
        return target
    if str(header(ds).get("target_type", "")).upper() == "MOVING":
        return ra, dec
    apart = math.hypot(*sphere.sky_offset(*target, ra, dec))
    if apart > SAME_TARGET:
        warn(
            f"the target of the exposure and of its acquisition are {apart:.2f} arcsec apart in their headers "
            f"(TARG_RA, TARG_DEC); the position of {header(ds).get('filename', 'the exposure')} is used for both"
        )
    return target


def _centroid(ds: xr.Dataset, centroid: Centroid) -> tuple[float, float, str, str]:
    """Choose the centroid: (x, y, where it comes from, its kind)."""
    if not isinstance(centroid, str):
        return *_by_hand(ds, centroid), "given by hand", "manual"
    if centroid not in {"auto", "oss", "image"}:
        msg = f"centroid is {centroid!r}; give 'auto', 'oss', 'image' or a pixel (x, y)"
        raise ArgumentError(msg)
    status = header(ds).get("oss_status", "no event log")
    if centroid in {"auto", "oss"} and status == "SUCCESS":
        return float(header(ds)["oss_x"]), float(header(ds)["oss_y"]), *_onboard(ds)
    if centroid == "oss":
        msg = f"there is no onboard centroid ({status}); attach an event log, or take centroid='image' or (x, y)"
        raise AcquisitionError(msg)
    star = image_centroid(ds)
    source = "TA image"
    if centroid == "auto":
        source = f"TA image, no onboard centroid ({status})"
        warn(
            f"visit {header(ds)['visit_id']}: there is no onboard centroid ({status}); the star was centroided in the "
            f"TA image, at ({star.x:.3f}, {star.y:.3f}) px"
        )
    return star.x, star.y, source, "image"


def _onboard(ds: xr.Dataset) -> tuple[str, str]:
    """Name the source of the onboard centroid, and its kind; only a log has its time."""
    if header(ds).get("oss_time"):
        return "OSS event log", "oss"
    return str(header(ds)["centroid_source"]) if identity.centroid_kind(ds) == "targ_acq" else "TARG_ACQ", "targ_acq"


def _by_hand(ds: xr.Dataset, centroid: Any) -> tuple[float, float]:
    try:
        x, y = (float(value) for value in centroid)
    except (TypeError, ValueError):
        x = y = math.nan
    if not (math.isfinite(x) and math.isfinite(y)):
        msg = f"centroid is {centroid!r}; a pixel is two finite numbers (x, y) of the TA readout, 0-based"
        raise ArgumentError(msg)
    for value, dim in ((x, "ta_x"), (y, "ta_y")):
        low, high = float(ds[dim].min()), float(ds[dim].max())
        if not low - 0.5 <= value <= high + 0.5:
            msg = f"centroid ({x:g}, {y:g}) is outside the TA image ({dim} {low:g} to {high:g}); it is (x, y), 0-based"
            raise ArgumentError(msg)
    return x, y
