"""Find bad pixels that the pipeline did not flag, and mask or repair them."""

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xta import model, pixels
from xta.errors import ArgumentError, counted
from xta.images import dq, shift
from xta.stacks import over_images

__all__ = ["METHODS", "clean"]

METHODS = ("mask", "repair")
"""Ways to treat bad pixels, the default first."""

FEWEST = 5  # smallest number of integrations in which an outlier can be found
SHARP = 2.5  # a pixel is a defect if it stands out this many times more than its nearest neighbors
ROUNDS = 3  # number of searches; later ones find defects beside those found before
GAUSSIAN = 1.4826  # standard deviation of a normal distribution over its median absolute deviation
REACH = 7  # side of the square in which the scatter is measured [pixel]

Array = NDArray[Any]


@over_images
def clean(ds: xr.Dataset, *, sigma: float = 5.0, method: str = "mask") -> xr.Dataset:
    """Find bad pixels by their scatter over the integrations and by their neighbors, and mask or repair them.

    Parameters
    ----------
    ds : xarray.Dataset
        An exposure, before `recenter`. Dask arrays are computed in memory.
    sigma : float
        A pixel that deviates by more is bad [standard deviation].
    method : "mask" or "repair"
        "mask" flags bad pixels, so that later steps leave them out. "repair" fills them, and those that were flagged
        before, from their neighbors and removes DO_NOT_USE.

    Returns
    -------
    xarray.Dataset
        The exposure with OUTLIER (16) in ``dq`` for the new bad pixels, with "mask" also DO_NOT_USE (1), and a line in
        the history.

    Raises
    ------
    MissingError
        If there are no pixels or flags.
    ArgumentError
        If `sigma` is not positive, `method` is not one of those above, or arithmetic left pixels that cannot be read,
        see `xta.pixels`.

    Notes
    -----
    *Over the integrations*, if there are at least 5: a value is bad if it deviates by `sigma` from the median of its
    pixel. The scatter is the median absolute deviation over the integrations or, if that is larger, its median over the
    7 x 7 pixels around, since the scatter of only five integrations may be too small by chance.

    *By neighbors*: a pixel is bad if it deviates by `sigma` from the median of the 7 x 7 pixels around, in units of
    their scatter, and stands out 2.5 times more than any of its 4 neighbors. The image of a point source is less
    sharp: the ratio is 1.7 for a full width at half maximum of 2.3 pixels.

    Bad pixels are filled with `xta.images.shift.fill_bad`. ``err`` and the variances do not change.

    Examples
    --------
    >>> ds.ta.clean().ta.recenter()  # doctest: +SKIP
    """
    if not sigma > 0:
        msg = f"sigma is {sigma}; give a positive number of standard deviations"
        raise ArgumentError(msg)
    if method not in METHODS:
        msg = f"there is no method {method!r}; use one of {', '.join(METHODS)}"
        raise ArgumentError(msg)
    ds = pixels.checked(ds)
    sci = ds["sci"].transpose(..., "y", "x")
    bad = np.broadcast_to(pixels.bad_pixels(ds).transpose(..., "y", "x").values, sci.shape)
    values = np.where(bad, np.nan, sci.values.astype(float)).reshape(-1, *sci.shape[-2:])
    outliers = _in_time(values, sigma)
    outliers |= np.stack([_by_neighbors(frame, sigma) for frame in np.where(outliers, np.nan, values)])
    return _with(ds, sci, outliers, bad.reshape(values.shape), method)


def _with(ds: xr.Dataset, sci: xr.DataArray, outliers: Array, bad: Array, method: str) -> xr.Dataset:
    """Flag the outliers, and fill bad pixels if they are to be repaired."""
    where = xr.DataArray(outliers.reshape(sci.shape), dims=sci.dims)
    flags = ds["dq"] if "dq" in ds else xr.zeros_like(where, dtype=np.uint32)
    flags = flags | where * np.uint32(dq.OUTLIER | dq.DO_NOT_USE)
    what = f"clean: {counted(int(outliers.sum()), 'outlier')}"
    if method == "repair":
        every = outliers | bad
        filled = np.stack([shift.fill_bad(frame, bad=spots) for frame, spots in zip(_cube(sci), every, strict=True)])
        sci = sci.copy(data=filled.reshape(sci.shape).astype(sci.dtype))
        flags = flags & np.uint32(~dq.DO_NOT_USE & 0xFFFFFFFF)
        what += f", {counted(int(every.sum()), 'bad pixel')} filled"
    attrs = ds["dq"].attrs if "dq" in ds else model.attrs("dq")
    flags = flags.transpose(*ds["sci"].dims).astype(np.uint32).assign_attrs(attrs)
    return model.with_history(ds.assign(sci=sci.transpose(*ds["sci"].dims), dq=flags), what)


def _cube(image: xr.DataArray) -> Array:
    return np.asarray(image.values.reshape(-1, *image.shape[-2:]))


def _in_time(values: Array, sigma: float) -> Array:
    """Find the values (n, y, x) that deviate from the median over the integrations; NaN does not count."""
    from scipy import ndimage

    if len(values) < FEWEST:
        return np.zeros(values.shape, dtype=bool)
    lost = np.isnan(values).all(axis=0)
    filled = np.where(lost, 0.0, values)
    away = np.abs(filled - np.nanmedian(filled, axis=0))
    scatter = GAUSSIAN * np.nanmedian(away, axis=0)
    scatter = np.maximum(scatter, ndimage.median_filter(scatter, size=REACH, mode="mirror"))
    return np.asarray((away > sigma * scatter) & np.isfinite(values) & (scatter > 0))


def _by_neighbors(frame: Array, sigma: float) -> Array:
    """Find the pixels of a frame that stand out from their neighbors too sharply to be a source."""
    defects = np.zeros(frame.shape, dtype=bool)
    good = np.isfinite(frame)
    for _ in range(ROUNDS):
        filled = shift.fill_bad(frame, bad=defects)
        new = _sharp(filled, sigma) & good & ~defects
        if not new.any():
            break
        defects |= new
    return defects


def _sharp(frame: Array, sigma: float) -> Array:
    """Find pixels that deviate from the median of those around, and more so than their neighbors."""
    from scipy import ndimage

    level = ndimage.median_filter(frame, size=REACH, mode="mirror")
    away = frame - level
    scatter = GAUSSIAN * ndimage.median_filter(np.abs(away), size=REACH, mode="mirror")
    cross = ndimage.generate_binary_structure(2, 1)
    cross[1, 1] = False
    highest = ndimage.maximum_filter(frame, footprint=cross, mode="mirror") - level
    lowest = level - ndimage.minimum_filter(frame, footprint=cross, mode="mirror")
    sharp = np.where(away > 0, away > SHARP * highest, -away > SHARP * lowest)
    return np.asarray((np.abs(away) > sigma * scatter) & sharp & (scatter > 0))
