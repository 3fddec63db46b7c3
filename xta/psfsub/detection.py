"""Map the signal to noise of an image of a PSF subtraction, with the statistics of few resolution elements."""

from typing import NamedTuple

import numpy as np
import xarray as xr

from xta import identity
from xta.errors import ArgumentError
from xta.psfsub.north import Array
from xta.psfsub.result import GAUSSIAN

__all__ = ["Rings", "beside", "choose", "rings", "smooth", "snr", "threshold"]

NEAR = 1.5  # pixels closer to a place belong to it [resolution element]
FWHM = 2.3548  # full width at half maximum of a Gaussian over its standard deviation


def choose(ds: xr.Dataset, numbasis: int | None, *names: str) -> tuple[xr.Dataset, int]:
    """Select the image of a number of components, the largest by default; return it and the number.

    MissingError if the dataset is no such image, or one without the variables `names`.
    """
    ds = identity.klip_image(ds, *names)
    given = [int(number) for number in np.atleast_1d(ds["numbasis"].values)]
    number = max(given) if numbasis is None else int(numbasis)
    if number not in given:
        msg = f"numbasis is {numbasis!r}; the dataset has {', '.join(map(str, given))}"
        raise ArgumentError(msg)
    return (ds.sel(numbasis=number) if "numbasis" in ds.dims else ds), number


def smooth(image: Array, element: float) -> Array:
    """Average an image with a Gaussian of the width of the resolution element [pixel], ignoring and keeping NaN."""
    from scipy import ndimage

    good = np.isfinite(image)
    sums = (ndimage.gaussian_filter(np.where(good, part, 0.0), element / FWHM) for part in (image, 1.0))
    value, weight = sums
    return np.where(good, value / np.where(weight > 0, weight, np.nan), np.nan)


class Rings(NamedTuple):
    """Rings around the center of an image, one resolution element wide, half an element apart."""

    middle: Array
    """Radius of the middle [pixel]."""
    mean: Array
    scatter: Array
    """Standard deviation, or what it is by the median absolute deviation."""
    elements: Array
    """Resolution elements that were observed in the ring."""


def rings(image: Array, element: float, *, robust: bool = True) -> Rings:
    """Measure mean and scatter of an image in rings; `element` is the resolution element [pixel].

    If `robust`, by median and median absolute deviation, which a companion does not change.
    """
    ny, nx = image.shape
    y, x = np.ogrid[:ny, :nx]
    radius = np.hypot(x - nx // 2, y - ny // 2)
    middles = np.arange(element / 2, min(ny, nx) / 2, element / 2)
    mean, scatter, count = np.full((3, middles.size), np.nan)
    for k, middle in enumerate(middles):
        inside = image[(np.abs(radius - middle) <= element / 2) & np.isfinite(image)]
        count[k] = inside.size / (np.pi * element**2 / 4)
        if count[k] >= 2 and robust:
            mean[k] = np.median(inside)
            scatter[k] = GAUSSIAN * np.median(np.abs(inside - mean[k]))
        elif count[k] >= 2:
            mean[k], scatter[k] = inside.mean(), inside.std(ddof=1)
    return Rings(middles, mean, scatter, count)


def threshold(count: Array, sigma: float = 5.0) -> Array:
    """Return the signal to noise with the false-alarm probability of `sigma` of a Gaussian, for few elements.

    Student's t with n - 1 degrees of freedom; see the notes of `snr`.
    """
    from scipy import stats

    return np.asarray(stats.t.isf(stats.norm.sf(sigma), np.maximum(count - 1, 0.5)))


def beside(image: Array, x: float, y: float, element: float) -> tuple[float, float]:
    """Measure the signal to noise of a place in a smoothed image by the standard deviation of its ring without it.

    `x`, `y` are offsets from the center [pixel]. Returned are the signal to noise and what a detection of 5 sigma has.
    Speckles scatter wider than their median absolute deviation says, which the map of `snr` goes by.
    """
    ny, nx = image.shape
    rows, columns = np.ogrid[-(ny // 2) : ny - ny // 2, -(nx // 2) : nx - nx // 2]
    apart = np.hypot(columns - x, rows - y)
    ring = np.abs(np.hypot(columns, rows) - np.hypot(x, y)) <= element / 2
    values = image[ring & (apart > NEAR * element) & np.isfinite(image)]
    count = values.size / (np.pi * element**2 / 4)
    if count < 2:
        return np.nan, np.inf
    noise = values.std(ddof=1) * np.sqrt(1 + 1 / count)
    value = image[round(y) + ny // 2, round(x) + nx // 2]
    return float((value - values.mean()) / noise), float(threshold(np.floor(count)))


def snr(ds: xr.Dataset, /, *, numbasis: int | None = None) -> xr.Dataset:
    """Map the signal to noise of an image of a PSF subtraction.

    Parameters
    ----------
    ds : xarray.Dataset
        The result of `xta.klip`.
    numbasis : int, optional
        Number of components; the largest by default.

    Returns
    -------
    xarray.Dataset
        ``snr`` (y, x), and ``snr_threshold`` (y, x), the value of a detection of 5 sigma at that separation.

    Raises
    ------
    MissingError
        If the dataset contains no such image.
    ArgumentError
        If it contains none for `numbasis`.

    Notes
    -----
    The image is averaged with a Gaussian of the resolution element and divided by s sqrt(1 + 1/n), where s is the
    scatter (1.4826 times the median absolute deviation) in a ring one element wide, and n the number of elements in it
    [1]_. Near the star n is small, and the false-alarm probability of 5 sigma of a Gaussian requires a higher value.

    References
    ----------
    .. [1] D. Mawet et al., ApJ 792, 97 (2014).

    Examples
    --------
    >>> image.ta.snr()["snr"].max()  # doctest: +SKIP
    """
    chosen, _ = choose(ds, numbasis)
    element = float(ds.attrs["fwhm"]) / float(ds.attrs["pixel_scale"])
    image = smooth(chosen["klip"].transpose("y", "x").values.astype(float), element)
    middles, _, scatter, count = rings(image, element)
    radius = np.hypot(*np.meshgrid(chosen["east"], chosen["north"])) / float(ds.attrs["pixel_scale"])
    noise, least = (
        np.interp(radius, middles, values, left=np.nan, right=np.nan)
        for values in (scatter * np.sqrt(1 + 1 / np.maximum(count, 1)), threshold(count))
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(noise > 0, image / noise, np.nan)
    kept = chosen.drop_vars([name for name, variable in chosen.variables.items() if "radius" in variable.dims])
    return kept.drop_vars("klip").assign(
        snr=(("y", "x"), ratio, {"units": "1", "long_name": "signal to noise"}),
        snr_threshold=(("y", "x"), least, {"units": "1", "long_name": "signal to noise of a detection of 5 sigma"}),
    )
