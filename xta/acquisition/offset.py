"""Measure the offset between the WCS of a target acquisition and its centroid, the pointing error of the visit."""

import logging
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import xarray as xr

from xta import identity, model
from xta.acquisition import attach, centroids, checks
from xta.acquisition.centroids import StarCentroid
from xta.acquisition.image import in_use
from xta.acquisition.instrument import Tables
from xta.errors import AcquisitionError, ArgumentError, XtaError, warn
from xta.geometry import sky, sphere, wcs
from xta.identity import header
from xta.stacks import each, members_or_one

__all__ = ["acquired_target", "compute_offset", "target_position"]

logger = logging.getLogger(__name__)

Centroid = str | tuple[float, float]

SOURCES = {
    "oss": "OSS event log",
    "converged": "OSS event log, extrapolated to convergence",
    "unbiased": "OSS event log, plus the known bias",
    "image": "TA image",
}
"""Name of a centroid -> its source, in words."""


def compute_offset(ds: xr.Dataset, *, centroid: Centroid = "auto", tables: Tables | None = None) -> xr.Dataset:
    """Compute the position of the target by the TA WCS, minus the position of the star.

    Parameters
    ----------
    ds : xarray.Dataset
        An exposure with an acquisition attached; a TA exposure is attached to itself.
    centroid : "auto", "oss", "converged", "image" or (x, y)
        The star in the TA image. "oss" is the onboard centroid from the event log or the TARG_ACQ extension;
        "converged" is the same, extrapolated to the fixed point of its window; "image" is measured in the TA image;
        (x, y) is a 0-based pixel of the TA readout, given by hand. "auto" uses the one with the smallest error among
        those that are fit for use, see `xta.acquisition.centroids`, and warns if the acquisition failed.
    tables : Tables, optional
        Accuracies of the centroids from `xta.instrument.read_tables`, in place of those of the package.

    Returns
    -------
    xarray.Dataset
        The exposure with the scalar coordinates ``centroid_x/y/ra/dec``, ``ta_target_x/y`` (target by the TA WCS),
        ``ta_inverse_error_x/y`` (analytic minus numerical inverse), ``ta_reference_x/y`` (SIAF) [0-based TA
        pixel]; ``offset_x/y`` [pixel], ``offset_ra/dec`` [arcsec, coordinate differences],
        ``offset_east/north`` [arcsec on the sky], all WCS minus centroid;
        ``centroid_difference_x/y`` [pixel] and ``centroid_difference_sigma_x/y`` [standard errors], the onboard
        centroid minus that of the image;
        ``centroid_source``, in words, and ``centroid_kind``, see `xta.identity.centroid_kind`. The checks of the TA
        image are added, see `xta.acquisition.checks`.

    Raises
    ------
    AcquisitionError
        If nothing is attached, the target has no position, "oss" is given and there is no onboard centroid, or the
        dataset is recentered.
    CentroidError
        If the star cannot be found in the image.
    WCSError
        If the position of the target in the TA image cannot be computed.

    Warns
    -----
    XtaWarning
        If the acquisition failed and "auto" uses the image.

    Notes
    -----
    The pixel of the target comes from the numerical inverse of the TA WCS, not from its analytic one. The
    offset is measured with the WCS of the file, so the step can be repeated; an earlier `adjust_wcs` is undone.
    """
    identity.refuse_combined(ds)
    if not isinstance(centroid, str) and len({header(ds)["visit_id"] for ds in members_or_one(ds)}) > 1:
        msg = f"centroid is {centroid!r}, but the exposures belong to several visits; pass one exposure at a time"
        raise ArgumentError(msg)
    return each(ds, partial(_offset, centroid=centroid, tables=tables), name="compute_offset")


def _offset(ds: xr.Dataset, centroid: Centroid, tables: Tables | None) -> xr.Dataset:
    """Compute the offset of one exposure."""
    if "ta_wcs" not in ds.variables:
        if not identity.is_ta(ds):
            msg = "no target acquisition is attached; call ds.ta.attach() first"
            raise AcquisitionError(msg)
        ds = attach.attach(ds)
    ds = attach.unadjusted(ds)
    ta = in_use(ds)
    target_ra, target_dec = acquired_target(ta)
    try:
        found = centroids.measure(ta, tables=tables)
    except XtaError as error:
        if centroid in {"auto", "image"}:
            raise
        logger.info("the TA image cannot be used: %s", error)
        found = {}
    x, y, source, kind = _centroid(ds, centroid, found)
    ta_wcs = sky.the_wcs(ta, "ta_wcs")
    target_x, target_y, analytic_x, analytic_y = wcs.invert(ta_wcs, target_ra, target_dec)
    ra, dec = (float(value) for value in wcs.pixel_to_world(ta_wcs, x, y))
    east, north = sphere.sky_offset(ra, dec, target_ra, target_dec)
    offset_ra, offset_dec = float(sphere.wrap_degrees(target_ra - ra)) * 3600, (target_dec - dec) * 3600
    values = model.prefixed(
        centroid={"x": x, "y": y, "ra": ra, "dec": dec},
        ta_target={"x": target_x, "y": target_y},
        ta_inverse_error={"x": analytic_x - target_x, "y": analytic_y - target_y},
        ta_reference=dict(zip("xy", model.place(ta, "ta_intended"), strict=True)),
        centroid_difference=_difference(found),
        offset={"x": target_x - x, "y": target_y - y, "ra": offset_ra, "dec": offset_dec, "east": east, "north": north},
    )
    logger.info("visit %s: centroid %.5f, %.5f px of the TA readout (%s)", header(ds)["visit_id"], x, y, source)
    logger.info("target by the TA WCS: %.4f, %.4f px", target_x, target_y)
    logger.info("offset WCS minus centroid: %.4f, %.4f px", values["offset_x"], values["offset_y"])
    logger.info("in RA, Dec (coordinate differences): %.4f, %.4f arcsec", offset_ra, offset_dec)
    logger.info("offset on the sky, east, north: %.4f, %.4f arcsec", east, north)
    result = model.with_coords(ds, model.describe(values))
    result = identity.assign(result, {"centroid_source": source, "centroid_kind": kind})
    result = checks.check_image(result, ta, found)
    return model.with_history(result, f"compute_offset; centroid {x:.6f}, {y:.6f} from {source}")


def target_position(ds: xr.Dataset) -> tuple[float, float]:
    """Read the target position of an exposure [deg, ICRS]; raise `AcquisitionError` if it has none."""
    ra, dec = (model.number(header(ds).get(name)) for name in ("target_ra", "target_dec"))
    if not (math.isfinite(ra) and abs(dec) <= 90):
        msg = (
            f"{header(ds).get('filename', 'the exposure')} has no usable target position "
            f"(TARG_RA, TARG_DEC = {header(ds).get('target_ra')}, {header(ds).get('target_dec')}); "
            "set it with ds.assign_coords(target_ra=..., target_dec=...) [deg]"
        )
        raise AcquisitionError(msg)
    return ra, dec


SAME_TARGET = 0.1  # [arcsec] a larger difference between the headers of one visit gives a warning


def acquired_target(ds: xr.Dataset) -> tuple[float, float]:
    """Read the position of the target at its acquisition [deg, ICRS].

    For a fixed target it is the position in the header of the exposure, so that an error of the catalog is the same in
    both images and cancels; for a moving target, that in the header of the TA exposure. Warn if a fixed target has
    two positions.
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


def _difference(found: Mapping[str, StarCentroid]) -> dict[str, float]:
    """Compute the onboard centroid minus that of the image, in pixels and standard errors; NaN if one is missing."""
    nothing = StarCentroid(math.nan, math.nan, math.nan, math.nan, "")
    oss, image = found.get("oss", nothing), found.get("image", nothing)
    x, y = oss.x - image.x, oss.y - image.y
    errors = math.hypot(oss.x_err, image.x_err), math.hypot(oss.y_err, image.y_err)
    return {"x": x, "y": y, "sigma_x": x / errors[0], "sigma_y": y / errors[1]}


def _centroid(ds: xr.Dataset, centroid: Centroid, found: Mapping[str, StarCentroid]) -> tuple[float, float, str, str]:
    """Choose the centroid; return (x, y, source, kind)."""
    if not isinstance(centroid, str):
        return *_by_hand(ds, centroid), "given by hand", "manual"
    if centroid not in {"auto", *SOURCES}:
        msg = f"centroid is {centroid!r}; give 'auto', {', '.join(map(repr, SOURCES))} or a pixel (x, y)"
        raise ArgumentError(msg)
    status = header(ds).get("oss_status", "no event log")
    if centroid == "oss":
        if status != "SUCCESS":
            msg = f"there is no onboard centroid ({status}); attach an event log, or use centroid='image' or (x, y)"
            raise AcquisitionError(msg)
        return float(header(ds)["oss_x"]), float(header(ds)["oss_y"]), *_onboard(ds)
    name = centroids.best(found) if centroid == "auto" else centroid
    if name not in found:
        msg = (
            f"the centroid {name!r} cannot be computed: it needs an onboard centroid with its last step in the event "
            f"log (status: {status}), and a TA image; use centroid='auto'"
        )
        raise AcquisitionError(msg)
    star = found[name]
    if name == "oss":
        return star.x, star.y, *_onboard(ds)
    source = SOURCES[name]
    if name == "image" and status != "SUCCESS":
        source = f"TA image, no onboard centroid ({status})"
        if centroid == "auto":
            warn(
                f"visit {header(ds)['visit_id']}: there is no onboard centroid ({status}); the star was centroided in "
                f"the TA image, at ({star.x:.3f}, {star.y:.3f}) px"
            )
    return star.x, star.y, source, name


def _onboard(ds: xr.Dataset) -> tuple[str, str]:
    """Return the source of the onboard centroid, and its kind; only a log has its time."""
    if header(ds).get("oss_time"):
        return SOURCES["oss"], "oss"
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
