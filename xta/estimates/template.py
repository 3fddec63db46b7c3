"""Find the star behind the mask by its own speckles: shift a model image until it fits the science image.

This is the classic alternative to target acquisition. It needs light that leaks around the mask, as on NIRCam, and a
model of the star behind the mask; the position is only as good as the model.
"""

import os
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xta import identity, model, pixels
from xta.errors import ArgumentError, FileError, ProductError, damage
from xta.images import combine
from xta.images.correlation import match_template
from xta.images.dq import DO_NOT_USE
from xta.io.fitsfile import opened
from xta.stacks import tabulated

__all__ = ["estimate_center", "frames", "mean_image", "read_template"]

Floats = NDArray[np.float64]

EXTENSIONS = ("DET_DIST", "DET_SAMP", "SCI")
"""Extensions that may contain a model, best first: those of STPSF at the pixels of the detector, with and without
distortion, then that of a JWST product."""

ATTRS = {
    "x": ("pixel", "star by the model image, 0-based x of the exposure's own readout"),
    "y": ("pixel", "star by the model image, 0-based y of the exposure's own readout"),
    "x_sigma": ("pixel", "standard error of x"),
    "y_sigma": ("pixel", "standard error of y"),
    "correlation": ("1", "correlation coefficient of image and model"),
    "chi2": ("1", "reduced chi-square of the fit of the model"),
}


@tabulated
def estimate_center(
    ds: xr.Dataset, *, template: Any, center: tuple[float, float] | None = None, upsample: int = 20
) -> xr.Dataset:
    """Find the star in a science exposure by masked cross-correlation with a model image.

    Parameters
    ----------
    ds : xarray.Dataset
        A science exposure; its integrations are averaged.
    template : array, path, astropy.io.fits.HDUList or STPSF instrument
        Image of the star behind the mask, at the pixel scale and in the orientation of the exposure; see
        `read_template`. Bad pixels of an array must be NaN, since hot ones would match those of the exposure; those of
        a JWST product are known by its DQ.
    center : (float, float), optional
        Pixel of the star in the model, 0-based x, y [pixel]; by default the middle.
    upsample : int
        Steps per pixel of the fine search, see `xta.images.correlation.match_template`.

    Returns
    -------
    xarray.Dataset
        The scalars ``x``, ``y`` (in the labels of the exposure), ``x_sigma``, ``y_sigma`` [pixel], ``correlation``
        and ``chi2``.

    Raises
    ------
    MissingError
        If the dataset has no images or no labels.
    ArgumentError
        If the model is not an image, or there is nothing to correlate.
    FileError, ProductError
        If the model's file cannot be read or contains no image.
    CentroidError
        If the model fits nowhere.

    Notes
    -----
    DO_NOT_USE and non-finite pixels are left out. On sample visits, with a model of the same telescope, the error is
    1e-5 pixel without noise, and 0.003 to 0.007 pixel (long, short channel) with the 2 nm of wavefront drift of the
    sample visits. On real data the model limits the accuracy; its errors enter the standard error only through the
    residuals of the fit. To use the result:
    ``ds.ta.set_star(star.x, star.y, x_err=star.x_sigma, y_err=star.y_sigma, source="template")``.
    """
    identity.require(ds, "sci", "x", "y", step="xta.open_exposure")
    image_of_star = read_template(template)
    x0, y0 = ((n - 1) / 2 for n in image_of_star.shape[::-1]) if center is None else center
    image, bad, err = mean_image(ds)
    match = match_template(image, image_of_star, bad=bad, err=err, upsample=upsample)
    x, y = match.dx + (float(ds["x"].values[0]) + x0), match.dy + (float(ds["y"].values[0]) + y0)
    values = (x, y, match.x_err, match.y_err, match.correlation, match.chi2)
    return xr.Dataset(
        {
            name: ((), value, {"units": units, "long_name": text})
            for (name, (units, text)), value in zip(ATTRS.items(), values, strict=True)
        }
    )


def read_template(template: Any) -> Floats:
    """Read a model image (y, x) in one of the forms that `estimate_center` accepts; bad pixels become NaN.

    In files and HDULists the first of `EXTENSIONS` is used, or else the first extension with an image. Pixels are bad
    that are not finite, or DO_NOT_USE in the extension DQ of a JWST product. A cube is averaged over its good values.
    """
    from astropy.io import fits

    if hasattr(template, "calc_psf"):
        template = template.calc_psf()
    if isinstance(template, str | os.PathLike):
        try:
            with closing(opened(str(Path(template).absolute()))) as manager:
                return _of_hdus(manager.acquire())
        except (ProductError, ArgumentError):
            raise
        except damage() as error:
            msg = f"the model image {os.fspath(template)} cannot be read ({error}); give a FITS file"
            raise FileError(msg) from error
    if isinstance(template, fits.HDUList):
        return _of_hdus(template)
    return _of_array(template)


def _of_hdus(hdus: Any) -> Floats:
    named = [hdus[name] for name in EXTENSIONS if name in hdus]
    images = [hdu for hdu in (*named, *hdus) if hdu.is_image and hdu.data is not None and hdu.data.ndim >= 2]
    if not images:
        label = hdus.filename() or "the HDUList"
        msg = f"there is no image in {label}, neither in {', '.join(EXTENSIONS)} nor in other extensions"
        raise ProductError(msg)
    data = images[0].data
    if images[0].name == "SCI" and "DQ" in hdus and np.shape(hdus["DQ"].data) == data.shape:
        data = np.where(hdus["DQ"].data & DO_NOT_USE, np.nan, data)
    return _of_array(data)


def _of_array(values: Any) -> Floats:
    try:
        image = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        image = np.empty(0)
    if image.ndim > 2 and image.size:
        stack = image.reshape(-1, *image.shape[-2:])
        used = np.isfinite(stack)
        image = np.where(used.any(axis=0), combine.combine(stack, used), np.nan)
    if image.ndim != 2 or min(image.shape) < 3:
        msg = f"the model is a {type(values).__name__} of shape {np.shape(values)}; give an image (y, x) or its file"
        raise ArgumentError(msg)
    return image


def mean_image(ds: xr.Dataset) -> tuple[Floats, NDArray[np.bool_], Floats | None]:
    """Average the integrations; return image, bad pixels and standard error (None if the dataset has none)."""
    model.require_pixels(ds, ArgumentError, "use the exposure before pixels were dropped", least=3)
    ds = pixels.checked(ds, names=("sci", "err", "dq"))
    used = ~frames(pixels.bad_pixels(ds))
    none = ~used.any(axis=0)
    mean = np.where(none, 0.0, combine.combine(frames(ds["sci"]).astype(float), used))
    if "err" not in ds:
        return mean, none, None
    return mean, none, np.where(none, 0.0, combine.combine_error(frames(ds["err"]).astype(float), used))


def frames(image: xr.DataArray) -> NDArray[Any]:
    """Return the values as frames, shape (n, y, x)."""
    values = image.variable.transpose(..., "y", "x").values
    return values.reshape(-1, *values.shape[-2:])
