"""Correct the WCS of an exposure for the pointing error of its visit, which gives the star behind the mask."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import xarray as xr

from xta import identity, model
from xta.acquisition import aim, budget, checks
from xta.acquisition.aim import Place
from xta.acquisition.corrections import Correction, chosen, correct
from xta.acquisition.image import in_use
from xta.acquisition.instrument import Tables
from xta.acquisition.offset import acquired_target, target_position
from xta.errors import SiafError, WCSError, warn
from xta.geometry import sky, sphere, wcs
from xta.identity import header
from xta.stacks import over_exposures

__all__ = ["adjust_wcs"]

logger = logging.getLogger(__name__)

CLOSED = 1e-6
"""Largest closed-loop residual in the TA frame [pixel]."""


@over_exposures
def adjust_wcs(ds: xr.Dataset, *, corrections: str | Iterable[str] = "all", tables: Tables | None = None) -> xr.Dataset:
    """Correct the WCS by the measured pointing error.

    Parameters
    ----------
    ds : xarray.Dataset
        A science or TA exposure with an offset (`compute_offset`).
    corrections : "all", "none" or names
        Corrections of the star's pixel beyond the WCS of the product, out of
        `xta.acquisition.corrections.CORRECTIONS`: "way", the newest geometry between the TA region and the mask, and
        "filter", the shift between the filters of the acquisition and the exposure. "none" is the published method. A
        TA exposure itself is never corrected.
    tables : Tables, optional
        Filter shifts and accuracies from `xta.instrument.read_tables`, in place of those of the package.

    Returns
    -------
    xarray.Dataset
        The exposure with the corrected ``wcs``, ``ra``, ``dec`` (``wcs_original`` keeps the WCS of the file) and these
        scalar coordinates: ``target_x/y`` (the star, in the labels ``x``, ``y``), ``target_ra/dec``, ``mask_x/y`` and
        ``aim_x/y`` with errors (see `xta.acquisition.aim`), ``residual_x/y`` (closed loop in the TA frame),
        ``inverse_error_x/y`` (analytic minus numerical inverse) and the change of the attitude,
        ``adjust_ra/dec/roll`` [arcsec]. The error budget is in ``target_x_err/y_err`` [pixel] and its parts, see
        `xta.acquisition.budget`. The checks of the star and of the corrections are added. The corrections that were
        applied are ``correction_x/y``, with errors [pixel] and ``correction_source``, along ``correction``; the
        corrected WCS puts the target on the corrected star.

    Raises
    ------
    MissingError
        If no offset was computed.
    WCSError
        If the exposure has no imaging WCS or one that was corrected already (a file of `to_fits`), if the pixel of
        the target cannot be computed, or if the loop does not close.
    ArgumentError
        If `corrections` does not have this form.

    Notes
    -----
    The pointing error turns the sky of a visit as a rigid body. The rotation used is the smallest one that
    takes the centroid's position, by the TA WCS, to the target. It is applied to the attitude of each WCS,
    whose distortion stays. A turn about the target itself cannot be measured with one star and is left alone.
    The function always starts from the WCS of the file, so calling it twice changes nothing more.
    """
    names = chosen(corrections)
    identity.refuse_combined(ds)
    identity.require(ds, "centroid_ra", "offset_x", "ta_wcs", step="ds.ta.compute_offset()")
    if "corrected_ra" in header(ds):
        name = header(ds).get("filename", "the file")
        msg = f"the WCS of {name} has already been corrected; start from the original product"
        raise WCSError(msg)
    if "star_x" in ds.coords:
        msg = "the dataset is recentered; call adjust_wcs() before recenter()"
        raise WCSError(msg)
    ta = in_use(ds)
    target, acquired = target_position(ds), acquired_target(ta)
    ra, dec = (float(model.required(ds, f"centroid_{name}")) for name in ("ra", "dec"))
    rotation = sphere.rotation_between(ra, dec, *acquired)
    residual = _closed_loop(ta, rotation, acquired)
    text = sky.wcs_text(ds, "wcs_original" if "wcs_original" in ds.coords else "wcs")
    original = wcs.load(text)
    adjusted = wcs.adjust(original, rotation, copy=False)
    x_wcs, y_wcs, x_analytic, y_analytic = wcs.invert(adjusted, *target)
    possible = correct(ta, (x_wcs, y_wcs), tables=tables)
    done = {} if identity.is_ta(ds) else {name: possible[name] for name in names}
    dx, dy = (sum(getattr(each, axis) for each in done.values()) for axis in "xy")
    # Shift the pixels before the WCS: the star, and all else that the instrument images, is at larger pixels.
    adjusted = wcs.shift(adjusted, -dx, -dy, copy=False) if dx or dy else adjusted
    x, y = x_wcs + dx, y_wcs + dy
    place = {"tables": tables, "shifted": "filter" in names}  # as for the star, so that the two can be compared
    mask, aimed = _mask(ds, **place), _aim(ta, **place)
    delta_ra, delta_dec, delta_roll = wcs.adjustment(original, rotation)
    values = model.prefixed(
        target={"x": x, "y": y, "ra": target[0], "dec": target[1]},
        mask=mask.numbers(),
        aim=aimed.numbers(),
        residual=dict(zip("xy", residual, strict=True)),
        inverse_error={"x": x_analytic - x_wcs, "y": y_analytic - y_wcs},
        adjust={"ra": delta_ra * 3600, "dec": delta_dec * 3600, "roll": delta_roll * 3600},
    )
    logger.info("closed loop in the TA frame: %.1e, %.1e px", *residual)
    logger.info("star in the exposure: %.4f, %.4f px (0-based)", x, y)
    before = {name for name, old in ds.variables.items() if {"correction", "error_part"} & set(old.dims)}
    bare = ds.drop_vars(before | {name for name in model.SOLVED if name in ds.variables})
    added = {"wcs_original": model.text_variable("wcs_original", text), **_rows(done), **model.describe(values)}
    result = sky.assign_wcs(model.with_coords(bare, added), wcs.dump_adjusted(adjusted))
    result = checks.check_star(budget.assign(result, tables=tables, corrections=possible), possible)
    said = f"; corrected for {', '.join(done)}" if done else ""
    return model.with_history(result, f"adjust_wcs; star at {x:.6f}, {y:.6f}{said}")


def _rows(done: Mapping[str, Correction]) -> dict[str, xr.Variable]:
    """Make the coordinates of the corrections; there are none if no correction was applied."""
    if not done:
        return {}
    columns: dict[str, list[Any]] = {"correction": list(done)}
    for name in ("x", "y", "x_err", "y_err", "source"):
        columns[f"correction_{name}"] = [getattr(each, name) for each in done.values()]
    return {name: xr.Variable(("correction",), values, model.attrs(name)) for name, values in columns.items()}


def _closed_loop(ta: xr.Dataset, rotation: Any, target: tuple[float, float]) -> tuple[float, float]:
    """Compute the target's pixel by the adjusted TA WCS, minus the centroid; refuse a difference that is not zero."""
    ta_wcs = wcs.adjust(sky.the_wcs(ta, "ta_wcs"), rotation, copy=False)
    x, y = wcs.world_to_pixel(ta_wcs, *target)
    measured = model.place(ta, "centroid")
    residual = float(x) - measured[0], float(y) - measured[1]
    if not all(abs(value) <= CLOSED for value in residual):
        msg = (
            f"the loop does not close: after the adjustment the target is {residual[0]:.1e}, {residual[1]:.1e} px "
            f"from the centroid in the TA frame (allowed {CLOSED:.0e}); attach and compute the offset again"
        )
        raise WCSError(msg)
    return residual


def _mask(ds: xr.Dataset, **place: Any) -> Place:
    """Find the mask; warn if it is not in the SIAF."""
    try:
        return aim.mask(ds, **place)
    except SiafError as error:
        warn(f"{header(ds).get('filename', 'the exposure')}: the reference point of the mask is not known ({error})")
        return aim.NOWHERE


def _aim(ds: xr.Dataset, **place: Any) -> Place:
    """Find where the telescope aimed; a place of NaN if the SIAF does not have the aperture."""
    try:
        return aim.aim(ds, **place)
    except SiafError:
        return aim.NOWHERE
