"""Put the star on the central pixel of a cube, with errors, flags, labels and WCS."""

import math
import os
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xta import identity, model, pixels
from xta.errors import ArgumentError, RecenterError, warn
from xta.estimates.registration import register
from xta.geometry import sky, wcs
from xta.images import dq, shift
from xta.stacks import over_images

__all__ = ["recenter"]

Size = int | tuple[int, int] | None


@over_images
def recenter(
    ds: xr.Dataset,
    *,
    method: str = "fourier",
    size: Size = None,
    fill: float | None = None,
    track: bool | xr.Dataset = False,
) -> xr.Dataset:
    """Shift an exposure so that the star lies on its central pixel.

    Parameters
    ----------
    ds : xarray.Dataset
        An exposure with the star's pixel ``target_x``, ``target_y`` in the labels ``x``, ``y``, from `adjust_wcs` or
        given by hand (`set_star`).
    method : "fourier", "spline", "lanczos" or "integer"
        Interpolation, see `xta.images.shift`. "integer" moves by whole pixels; the star is then up to half a pixel
        from the central one, at ``target_x``, ``target_y``.
    size : int or (int, int), optional
        Width of the result, or its height and width (ny, nx) [pixel], odd. By default that of the input, minus
        one if it is even.
    fill : float, optional
        Value in ``sci`` of pixels that are bad or were not observed; NaN by default. Errors and variances of
        such pixels are NaN.
    track : bool or xarray.Dataset
        Follow the star from integration to integration. True registers each integration with their mean; a table of
        ``ds.ta.register(each="integration")`` is used as it is. Dask arrays are read to compute the track.

    Returns
    -------
    xarray.Dataset
        The exposure, in which ``x``, ``y`` are pixel offsets from the star and ``target_x = target_y = 0``.
        ``star_x``, ``star_y`` are the star's pixel in the original readout. ``separation`` [arcsec] and
        ``position_angle`` [deg, east of north] are computed when used. Dask arrays are not computed yet.

    Raises
    ------
    RecenterError
        If there is no star position, the dataset is recentered already, the labels are not successive pixels
        (a strided or averaged cube), or no pixel of the result would contain data.
    MissingError
        If there is no image, or it was computed from several exposures.
    ArgumentError
        If `method` or `size` does not have the form above, or arithmetic left pixels, errors or flags that cannot be
        moved, see `xta.pixels`.

    Notes
    -----
    Each frame is interpolated once, all in the same way. Pixels that are not finite or flagged DO_NOT_USE are filled
    from their neighbors before the interpolation and masked after it; a bad pixel masks at most the 2 x 2 pixels around
    its new place. ``err`` and ``var_*`` are propagated as variances with the squared weights of the interpolation.
    Flags are combined by bitwise OR, and a pixel that was not observed is DO_NOT_USE. The WCS gets an initial shift.
    """
    if method not in shift.METHODS:
        msg = f"method is {method!r}; give one of {', '.join(shift.METHODS)}"
        raise ArgumentError(msg)
    try:
        fill = None if fill is None else float(fill)
    except (TypeError, ValueError):
        msg = f"fill is {fill!r}; give a number"
        raise ArgumentError(msg) from None
    star = _star(ds)
    if track is not False:
        return _tracked(ds, track, method=method, size=size, fill=fill)
    model.require_pixels(ds["sci"], RecenterError, "call recenter() before this selection")
    ds = pixels.checked(ds)
    position = {axis: star[axis] - float(ds[axis][0]) for axis in ("x", "y")}
    ny, nx = _shape(ds, size)
    whole = {axis: float(round(value)) if method == "integer" else value for axis, value in position.items()}
    options = {"x0": whole["x"], "y0": whole["y"], "shape": (ny, nx), "method": method}
    images = {name: ds[name] for name in model.IMAGES if name in ds}
    bad = pixels.bad_pixels(ds)
    moved = {name: _move(name, image, bad, options, fill) for name, image in images.items()}
    rest = ds.drop_vars(["ra", "dec", *images], errors="ignore")
    others = [name for name, variable in rest.variables.items() if {"x", "y"} & set(variable.dims)]
    lost = sorted(str(name) for name in set(others) & set(rest.data_vars))
    if lost:
        warn(f"recenter moves {', '.join(images)}; it drops {', '.join(lost)}, which is on the original pixels")
    rest = rest.drop_vars(others)
    left = {axis: position[axis] - whole[axis] for axis in ("x", "y")}
    result = rest.assign(moved).assign_coords(_labels(ny, nx))
    coords = result.coords
    result = result[[name for name in ds.data_vars if name in result]].assign_coords(coords)
    result = result.assign_coords(model.describe(_scalars(ds, star, left)))
    result = _assign_wcs(result, ds, {axis: star[axis] - left[axis] for axis in ("x", "y")})
    return model.with_history(result, f"recenter by {method}; star at {star['x']:.6f}, {star['y']:.6f} of the readout")


def _tracked(ds: xr.Dataset, track: bool | xr.Dataset, **options: Any) -> xr.Dataset:
    """Recenter each integration on its own star."""
    table = register(ds, each="integration") if track is True else track
    if not isinstance(table, xr.Dataset) or not {"dx", "dy"} <= set(table.variables):
        msg = "track is not a table of the star; give True, or ds.ta.register(each='integration')"
        raise ArgumentError(msg)
    if "integration" not in ds["sci"].dims or table.sizes.get("integration") != ds.sizes["integration"]:
        msg = f"track has the sizes {dict(table.sizes)}, but sci has {dict(ds['sci'].sizes)}; register this exposure"
        raise ArgumentError(msg)
    parts = []
    for k in range(ds.sizes["integration"]):
        moved = {f"target_{axis}": ds[f"target_{axis}"] + table[f"d{axis}"].values[k] for axis in "xy"}
        parts.append(recenter(ds.isel(integration=[k]).assign_coords(moved), **options))
    images = [name for name in model.IMAGES if name in ds]
    joined = xr.concat([part[images].reset_coords(drop=True) for part in parts], "integration")
    result = recenter(ds.isel(integration=slice(0, 1)), **options).drop_vars(images)
    along = {name: each for name, each in ds.coords.items() if "integration" in each.dims and each.ndim == 1}
    result = result.drop_vars([name for name in along if name in result.variables])
    result = result.assign(joined.variables).assign_coords({name: each.variable for name, each in along.items()})
    jitter = float(np.hypot(table["dx"].std(), table["dy"].std()))
    return model.with_history(result, f"each integration centered on its own star, which moved by {jitter:.4f} px rms")


def _star(ds: xr.Dataset) -> dict[str, float]:
    """Read and check the star's pixel in the labels."""
    identity.require(ds, "sci", "x", "y", step="xta.open_exposure")
    identity.refuse_combined(ds)
    if "star_x" in ds.coords:
        msg = "the dataset is already recentered; recenter the original exposure"
        raise RecenterError(msg)
    if "target_x" not in ds.coords or "target_y" not in ds.coords:
        msg = (
            "the star's pixel is not known; call ds.ta.adjust_wcs() first, or set it with "
            "ds.ta.set_star(x, y, source=...)"
        )
        raise RecenterError(msg)
    star = {}
    for axis in ("x", "y"):
        value = ds[f"target_{axis}"]
        if value.ndim or not math.isfinite(float(value)):
            msg = f"target_{axis} is {value.values!r}; set the star's pixel to one finite number per axis"
            raise RecenterError(msg)
        star[axis] = float(value)
    return star


def _shape(ds: xr.Dataset, size: Size) -> tuple[int, int]:
    if size is None:
        ny, nx = (n - 1 + n % 2 for n in (ds.sizes["y"], ds.sizes["x"]))
        return ny, nx
    try:
        ny, nx = (size, size) if isinstance(size, int | np.integer) else size
    except (TypeError, ValueError):
        ny = nx = 0
    if not all(isinstance(n, int | np.integer) and n > 0 and n % 2 for n in (ny, nx)):
        msg = f"size is {size!r}; give an odd number of pixels, or two: (ny, nx)"
        raise ArgumentError(msg)
    return int(ny), int(nx)


def _move(
    name: str, image: xr.DataArray, bad: xr.DataArray, options: dict[str, Any], fill: float | None
) -> xr.DataArray:
    """Resample one variable, frame by frame, chunk by chunk."""
    lazy = image.chunks is not None
    value = fill if name == "sci" and fill is not None else np.nan
    arrays: tuple[xr.DataArray, ...] = (image,) if name == "dq" else (image, bad)
    if lazy:
        arrays = tuple(array.chunk({"y": -1, "x": -1}) for array in arrays)
    ny, nx = options["shape"]
    moved: xr.DataArray = xr.apply_ufunc(
        partial(_resample_with, name, fill=value, workers=1 if lazy else os.cpu_count() or 1, **options),
        *arrays,
        input_core_dims=[["y", "x"]] * len(arrays),
        output_core_dims=[["y", "x"]],
        exclude_dims={"y", "x"},
        dask="parallelized",
        output_dtypes=[image.dtype],
        dask_gufunc_kwargs={"output_sizes": {"y": ny, "x": nx}},
        keep_attrs=True,
    )
    return moved.transpose(*image.dims)


def _resample_with(name: str, image: Any, bad: Any = None, *, fill: float, workers: int, **options: Any) -> Any:
    """Resample flags, data, a variance, or an error through its variance."""
    if name == "dq":
        return shift.resample_dq(image, outside=dq.DO_NOT_USE, **options)
    options |= {"bad": bad, "fill": fill, "workers": workers}
    if name == "sci":
        return shift.resample(image, **options)
    variance = shift.resample_variance(image**2 if name == "err" else image, **options)
    return np.sqrt(variance) if name == "err" else variance


def _labels(ny: int, nx: int) -> dict[str, Any]:
    return {
        axis: (axis, np.arange(n) - n // 2, {"units": "pixel", "long_name": f"pixel offset from the star in {axis}"})
        for axis, n in (("x", nx), ("y", ny))
    }


def _scalars(ds: xr.Dataset, star: dict[str, float], left: dict[str, float]) -> dict[str, float]:
    """Compute positions in the new labels, and the star's position in the old ones."""
    values = {f"target_{axis}": left[axis] for axis in ("x", "y")}
    values |= {f"star_{axis}": star[axis] for axis in ("x", "y")}
    for name in ("mask", "aim"):
        if f"{name}_x" in ds.coords:
            values |= {f"{name}_{axis}": float(ds[f"{name}_{axis}"]) - star[axis] + left[axis] for axis in ("x", "y")}
    return values


def _assign_wcs(result: xr.Dataset, ds: xr.Dataset, center: dict[str, float]) -> xr.Dataset:
    if "wcs" not in ds.coords:
        return result
    moved = wcs.shift(sky.the_wcs(ds), center["x"], center["y"], copy=False)
    return sky.assign_polar(sky.assign_wcs(result, wcs.dump(moved)))
