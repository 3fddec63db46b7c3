"""Inject artificial companions into recentered exposures, to measure the throughput of a PSF subtraction."""

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from xta import model, pixels
from xta.errors import ArgumentError, RecenterError
from xta.images import shift
from xta.psfsub import north
from xta.stacks import over_images

__all__ = ["inject"]


@over_images
def inject(ds: xr.Dataset, *, separation: float, position_angle: float, flux: float, psf: ArrayLike) -> xr.Dataset:
    """Add a point source to every frame of a recentered exposure.

    Parameters
    ----------
    ds : xarray.Dataset
        A recentered exposure with a WCS.
    separation : float
        Separation from the star [arcsec].
    position_angle : float
        Position angle, east of north [deg].
    flux : float
        Factor of `psf`, which is the sum of the source over the pixels [unit of ``sci``] if the PSF sums to 1.
        It is negative to remove a companion.
    psf : array_like
        Image of a point source beside the mask, shape (y, x), both odd, its center on the central pixel.

    Returns
    -------
    xarray.Dataset
        The exposure with the source in ``sci``; ``err``, ``dq`` and NaN do not change.

    Raises
    ------
    RecenterError
        If the exposure is not recentered.
    ArgumentError
        If an argument does not have the form above or the source is outside the frames.

    Notes
    -----
    The PSF is shifted by Fourier interpolation, see `xta.images.shift`, in the orientation of the detector. The
    throughput of a reduction is that of the same reduction with an injection, minus it without, over the flux.

    Examples
    --------
    >>> fake = inject(cube, separation=0.9, position_angle=40, flux=120, psf=psf)  # doctest: +SKIP
    """
    ds = pixels.checked(ds, names=("sci",))
    if "star_x" not in ds.coords:
        msg = "the dataset is not recentered; call ds.ta.recenter() first"
        raise RecenterError(msg)
    image = np.asarray(psf, dtype=float)
    if image.ndim != 2 or not all(n % 2 for n in image.shape) or not np.isfinite(image).all():
        msg = f"psf has shape {image.shape}; give a finite image with odd numbers of rows and columns, centered"
        raise ArgumentError(msg)
    if not np.isfinite([separation, position_angle, flux]).all():
        msg = f"separation {separation}, position_angle {position_angle} and flux {flux} are not all finite"
        raise ArgumentError(msg)
    angle = np.deg2rad(position_angle)
    x, y = north.sky_to_pixel(ds, separation * np.sin(angle), separation * np.cos(angle))
    source = xr.DataArray(flux * _placed(ds, image, float(x), float(y)), dims=("y", "x"))
    sci = (ds["sci"] + source.astype(ds["sci"].dtype)).assign_attrs(ds["sci"].attrs).transpose(*ds["sci"].dims)
    what = f"inject {flux:.6g} at {separation:.4f} arcsec, position angle {position_angle:.3f} deg"
    return model.with_history(ds.assign(sci=sci), what)


def _placed(ds: xr.Dataset, psf: np.ndarray, x: float, y: float) -> np.ndarray:
    """Image of the PSF at the label x, y on the pixels of the exposure."""
    center, shape = {}, {}
    for axis, position, count in (("x", x, psf.shape[1]), ("y", y, psf.shape[0])):
        labels = ds[axis].values
        shape[axis] = labels.size + 1 - labels.size % 2  # resampling wants odd sizes
        if not labels[0] <= position <= labels[-1]:
            msg = f"the source would be at {axis} = {position:.1f}, outside the frames ({labels[0]} to {labels[-1]})"
            raise ArgumentError(msg)
        center[axis] = float(labels[0]) + shape[axis] // 2 - position + count // 2
    moved = shift.resample(psf, x0=center["x"], y0=center["y"], shape=(shape["y"], shape["x"]), fill=0.0)
    return np.asarray(moved[: ds.sizes["y"], : ds.sizes["x"]])
