"""Set a star's position that was found by other means, in place of that from the acquisition."""

import math
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from xta import identity, model, stacks
from xta.acquisition import aim, budget, checks
from xta.errors import ArgumentError, RecenterError, SiafError, WCSError
from xta.geometry import sky, wcs
from xta.identity import header

__all__ = ["set_star"]

BY_HAND = "given by hand"
"""Label of the only part of the error."""

KEPT = frozenset(
    {
        *(
            "mask_x",
            "mask_y",
            "mask_x_err",
            "mask_y_err",
            "aim_x",
            "aim_y",
            "aim_x_err",
            "aim_y_err",
            "wcs_original",
            "adjust_ra",
            "adjust_dec",
            "adjust_roll",
        ),
        *("check", "check_passed", "check_reason"),
    }
)
"""Results of an analysis that do not depend on the position of the star; all others are dropped."""


def set_star(
    ds: xr.Dataset,
    x: ArrayLike,
    y: ArrayLike,
    *,
    x_err: ArrayLike | None = None,
    y_err: ArrayLike | None = None,
    xy_corr: ArrayLike = 0.0,
    source: str,
) -> xr.Dataset:
    """Set the star's position by hand.

    Use it for a star that was found by other means, such as a fit of its speckles or a publication, and for files
    without an acquisition. Recentering, PSF subtraction and everything else then work as after an analysis.

    Parameters
    ----------
    ds : xarray.Dataset
        An exposure, with or without an analysis, but not recentered. For a stack, the numbers below may be sequences
        with one value per exposure.
    x, y : float
        The star in the labels ``x``, ``y`` of the dataset [0-based pixel of the readout]. It may be off the array
        by up to the width of the array.
    x_err, y_err : float, optional
        Standard errors [pixel]; by default, or if NaN, not known.
    xy_corr : float
        Correlation of the two errors, from -1 to 1.
    source : str
        The source of the position, in words.

    Returns
    -------
    xarray.Dataset
        The exposure with ``target_x/y``; the errors ``target_x_err/y_err``, ``target_xy_corr`` with one
        ``error_part``, "given by hand"; ``mask_x/y``, if the SIAF contains it; ``centroid_kind`` "manual" and
        ``centroid_source``. The results of an earlier analysis that depend on the star are dropped: centroid, offset,
        residuals and errors. Checks of the TA image become not tested.

    Raises
    ------
    ArgumentError
        If the position is not finite, or off the array by more than its width; an error is negative or infinite;
        the correlation is not from -1 to 1; or `source` is empty.
    MissingError
        If the dataset has no labels ``x``, ``y``.
    RecenterError
        If the dataset is recentered.

    Notes
    -----
    Neither the WCS nor the target's coordinates change: ``wcs`` stays as it is, adjusted if it was, and
    ``target_ra/dec`` are those of the header. A position on the detector gives the pointing error only if these
    coordinates are right, and for stars with a large proper motion they often are not.
    ``ds.ta.pixel_to_world(x, y)`` is the star by the WCS. Later calls of `compute_offset` and `adjust_wcs`
    replace the position by that from the acquisition.

    Examples
    --------
    >>> ds = xr.Dataset(coords={"x": range(320), "y": range(320)})
    >>> star = set_star(ds, 150.0, 174.0, x_err=0.02, y_err=0.02, source="satellite spots")
    >>> star["target_x"].item(), star["target_y_err"].item(), header(star)["centroid_source"]
    (150.0, 0.02, 'satellite spots')
    """
    parts = stacks.members(ds)
    if parts is not None:
        rows = _rows(len(parts), x, y, x_err, y_err, xy_corr)
        return stacks.each(ds, lambda part: _with_star(part, next(rows), source), name="set_star")
    return _with_star(identity.current(ds), (x, y, x_err, y_err, xy_corr), source)


def _rows(count: int, *values: Any) -> Iterator[tuple[Any, ...]]:
    """Assign each exposure its own values; a single value is for all."""
    columns = []
    for value in values:
        column = [value] * count if np.ndim(value) == 0 else list(np.asarray(value))
        if len(column) != count:
            msg = f"there are {count} exposures and {len(column)} values; give one per exposure, or one for all"
            raise ArgumentError(msg)
        columns.append(column)
    return zip(*columns, strict=True)


def _with_star(ds: xr.Dataset, numbers: tuple[Any, ...], source: Any) -> xr.Dataset:
    """Set the star of one exposure; `numbers` are its position, errors and correlation."""
    x, y, x_err, y_err, xy_corr = numbers
    if "star_x" in ds.variables:
        msg = "the dataset is recentered, so its labels are offsets from a star; set the star before recenter()"
        raise RecenterError(msg)
    star = _position(ds, x, y)
    part = _part(x_err, y_err, xy_corr, source)
    bare = ds.drop_vars([name for name in ds.variables if name in (model.ANALYSIS | model.SOLVED) - KEPT])
    scale = math.nan
    with suppress(WCSError):  # no WCS: the errors are known as pixels only
        scale = wcs.pixel_scale(sky.the_wcs(bare), star["x"], star["y"])
    values = model.describe(model.prefixed(target=star) | _mask(bare))
    result = bare.assign_coords(values | budget.coordinates({BY_HAND: part}, scale=scale))
    result = identity.assign(result, {"centroid_kind": "manual", "centroid_source": part.source})
    result = checks.check_star(checks.forget_image(result, f"the star was {BY_HAND}"))
    return model.with_history(result, f"set_star; star at {star['x']:.6f}, {star['y']:.6f}; {part.source}")


def _number(value: Any, name: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        msg = f"{name} is {value!r}; give a number"
        raise ArgumentError(msg) from None


def _position(ds: xr.Dataset, x: Any, y: Any) -> dict[str, float]:
    """Check that a position is finite, and no farther off the array than the width of the array."""
    identity.require(ds, "x", "y", step="xta.open_exposure")
    star = {"x": _number(x, "x"), "y": _number(y, "y")}
    for axis, value in star.items():
        low, high = float(ds[axis].min()), float(ds[axis].max())
        width = high - low + 1
        if not low - width <= value <= high + width:
            msg = (
                f"{axis} is {value:g}, but the labels {axis} are {low:g} to {high:g}; give the star's 0-based pixel in "
                "these labels"
            )
            raise ArgumentError(msg)
    return star


def _part(x_err: Any, y_err: Any, xy_corr: Any, source: Any) -> budget.Part:
    """Check the errors and their source."""
    given = {"x_err": x_err, "y_err": y_err}
    errors = {name: math.nan if value is None else _number(value, name) for name, value in given.items()}
    for name, value in errors.items():
        if value < 0 or math.isinf(value):
            msg = f"{name} is {value:g}; a standard error is 0 or more, or NaN where it is not known [pixel]"
            raise ArgumentError(msg)
    corr = _number(xy_corr, "xy_corr")
    if not abs(corr) <= 1:
        msg = f"xy_corr is {corr:g}; a correlation is from -1 to 1"
        raise ArgumentError(msg)
    if not isinstance(source, str) or not source.strip():
        msg = f"source is {source!r}; describe the source of the star's position in words"
        raise ArgumentError(msg)
    return budget.Part(errors["x_err"], errors["y_err"], " ".join(source.split()), corr)


def _mask(ds: xr.Dataset) -> dict[str, float]:
    """Compute the reference point of the mask, unless an analysis did; nothing if WCS or SIAF do not contain it."""
    if "mask_x" in ds.variables or "wcs" not in ds.variables or "instrument" not in header(ds):
        return {}
    try:
        place = aim.mask(ds)
    except SiafError:
        return {}
    return model.prefixed(mask=place.numbers())
