"""Turn recentered exposures north up by their own WCS, for use after another PSF subtraction."""

import numpy as np
import xarray as xr

from xta import model, pixels
from xta.errors import ArgumentError, RecenterError
from xta.geometry import sky, wcs
from xta.psfsub import north
from xta.psfsub.star import errors
from xta.stacks import over_images

__all__ = ["derotate"]

CENTERED = 1e-3  # a star nearer than this to the central pixel is on it [pixel]
LOST = ("mask_", "aim_", "star_", "target_x_err", "target_y_err", "target_xy_corr", "error_part")
"""Beginnings of the names of coordinates in pixels of the detector."""


@over_images
def derotate(ds: xr.Dataset, *, size: int | None = None) -> xr.Dataset:
    """Resample a recentered exposure, or its residuals after a subtraction, to a grid with north up and east left.

    Parameters
    ----------
    ds : xarray.Dataset
        A recentered exposure (`recenter`) with a WCS; ``sci`` may contain residuals. Dask arrays are computed.
    size : int, optional
        Side of the result [pixel], odd. By default the longer side of the input.

    Returns
    -------
    xarray.Dataset
        ``sci``, ``err`` and ``var_*`` on square frames without distortion, with NaN for pixels that are bad or were not
        observed; flags are left out. ``x``, ``y`` are pixel offsets from the star, ``east``, ``north`` are offsets on
        the sky [arcsec]. ``wcs``, ``ra``, ``dec``, ``separation`` and ``position_angle`` are those of the new
        pixels, and ``target_x_err``, ``target_y_err``, ``target_xy_corr`` are the star's errors along the new axes.

    Raises
    ------
    RecenterError
        If the star is not on the central pixel.
    ArgumentError
        If `size` is not an odd number, or arithmetic left pixels that cannot be moved, see `xta.pixels`.
    WCSError
        If there is no WCS.

    Notes
    -----
    Pixels are interpolated once, by a quintic spline from the exposure's own WCS to a tangential grid whose pixels have
    the area of the detector's, as in `xta.klip`. A value is NaN if one of the 2 x 2 pixels around its position is bad.
    Variances are interpolated linearly: the error is that of the pixels around, without the correlation of neighbors
    by the spline.

    Examples
    --------
    >>> residual = cube.assign(sci=cube["sci"] - speckles)  # doctest: +SKIP
    >>> residual.ta.derotate()["sci"].mean("integration")  # doctest: +SKIP
    """
    _check(ds, size)
    ds = pixels.checked(ds)
    width = max(ds.sizes["x"], ds.sizes["y"]) if size is None else size
    scale = north.pixel_scale(ds)
    bad = pixels.bad_pixels(ds).transpose(..., "y", "x")
    names = [name for name in model.IMAGES if name in ds and name != "dq"]
    images = {name: _turned(ds, name, bad, width=width, scale=scale) for name in names}
    gone = [name for name, variable in ds.variables.items() if {"x", "y", "error_part"} & set(variable.dims)]
    gone += [name for name in ds.coords if str(name).startswith(LOST)]
    result = ds.drop_vars(gone).assign(images).assign_coords(north.labels(width, scale))
    star = {axis: float(ds[f"star_{axis}"]) for axis in ("x", "y")}
    values = (
        {"target_x": 0.0, "target_y": 0.0} | {f"star_{axis}": star[axis] for axis in star} | errors([ds], [1.0], scale)
    )
    result = result.assign_coords(model.describe(values))
    center = sky.pixel_to_world(ds, 0.0, 0.0)
    result = sky.assign_polar(sky.assign_wcs(result, wcs.dump(north.north_up(*center, scale))))
    return model.with_history(result, "derotate: north up, east left")


def _check(ds: xr.Dataset, size: int | None) -> None:
    if "star_x" not in ds.coords or max(abs(float(ds[f"target_{axis}"])) for axis in "xy") > CENTERED:
        msg = "the star is not on the central pixel; call ds.ta.recenter(method='fourier') first"
        raise RecenterError(msg)
    if size is not None and not (isinstance(size, int | np.integer) and size > 0 and size % 2):
        msg = f"size is {size!r}; give an odd number of pixels"
        raise ArgumentError(msg)


def _turned(ds: xr.Dataset, name: str, bad: xr.DataArray, *, width: int, scale: float) -> xr.DataArray:
    """Turn the frames of one variable, each with its own bad pixels."""
    image = ds[name].transpose(..., "y", "x")
    values = np.where(np.broadcast_to(bad, image.shape), np.nan, image.values.astype(float))
    frames = (values**2 if name == "err" else values).reshape(-1, *image.shape[-2:])
    order = north.ORDER if name == "sci" else 1
    turned = np.stack(
        [north.derotate(frame[np.newaxis], ds, size=width, scale=scale, order=order)[0] for frame in frames]
    )
    turned = np.sqrt(turned) if name == "err" else turned
    data = turned.reshape(*image.shape[:-2], width, width).astype(image.dtype)
    return xr.DataArray(data, dims=image.dims, attrs=image.attrs)
