"""Measure the position of the star in an image, with its error. The functions take arrays and return numbers.

The method is that of the onboard software: subtract a background, find the brightest spot, and compute the center of
light in a small window that moves by fractions of a pixel until it is centered on its own result.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from xta.errors import ArgumentError, CentroidError
from xta.images.shift import fill_bad

__all__ = ["ImageCentroid", "floating_window"]

Array: TypeAlias = NDArray[np.float64]

MAX_ITERATIONS = 100
CONVERGED = 1e-6  # [pixel]
WORST_WINDOW = 0.1  # largest share of flagged pixels in the window; with more, the result depends on the filled values
STEEPEST = 0.9  # largest slope of the centroid against the place of its window; above, the window hardly has the star
SIGNIFICANT = 5.0  # the spot must exceed the noise of its 3 x 3 pixels by this factor


@dataclass(frozen=True)
class ImageCentroid:
    """A centroid measured in an image.

    Attributes
    ----------
    x, y : float
        0-based pixel of the image.
    x_err, y_err : float
        Standard error from the pixel errors [pixel]; NaN if more than a tenth of these are not finite and positive.
    peak : float
        Brightest pixel of the star above the background [image unit].
    background : float
        Median of the region [image unit].
    x_slope, y_slope : float
        Fraction by which the center of light in the window follows the window, 0 to 0.9: each step of the iteration
        is this fraction of the one before.
    x_step, y_step : float
        Last step of the iteration [pixel].
    x_start, y_start : int
        First pixel of the iteration.
    iterations : int
        Number of steps.
    """

    x: float
    y: float
    x_err: float
    y_err: float
    peak: float
    background: float
    x_slope: float = 0.0
    y_slope: float = 0.0
    x_step: float = 0.0
    y_step: float = 0.0
    x_start: int = 0
    y_start: int = 0
    iterations: int = 0


class _Rest(NamedTuple):
    """The final place of a window, its last step and the number of steps."""

    x: float
    y: float
    x_step: float
    y_step: float
    iterations: int


def _brightest_spot(image: Array) -> tuple[int, int, float]:
    """Find the brightest 3 x 3 spot: (x, y, light without its brightest pixel).

    The brightest pixel is left out so that a star, whose neighbors are bright, wins over a hot pixel.
    """
    padded = np.pad(image, 1)
    ny, nx = image.shape
    brightest = np.max([padded[j : j + ny, i : i + nx] for j in range(3) for i in range(3)], axis=0)
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    score = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] - brightest
    y, x = np.unravel_index(int(np.argmax(score)), image.shape)
    return int(x), int(y), float(score[y, x])


def _weights(center: float, width: int, n: int) -> Array:
    """Compute the fraction of each of n pixels that a window covers."""
    edges = np.arange(n + 1) - 0.5
    low, high = center - width / 2, center + width / 2
    return np.diff(np.clip(edges, low, high))


def floating_window(
    image: NDArray[Any],
    *,
    bad: NDArray[np.bool_] | None = None,
    err: NDArray[Any] | None = None,
    window: int = 9,
    region: tuple[slice, slice] | None = None,
    threshold: float = CONVERGED,
) -> ImageCentroid:
    """Centroid the brightest star of an image in a floating window.

    Parameters
    ----------
    image : numpy.ndarray
        Shape (y, x).
    bad : numpy.ndarray of bool, optional
        True for pixels not to use; pixels that are not finite are never used.
    err : numpy.ndarray, optional
        Standard error of each pixel [image unit].
    window : int
        Width of the window [pixel], odd or even. On board it is 5 to 9.
    region : (slice, slice), optional
        Rows and columns to search; the whole image by default.
    threshold : float
        The iteration stops when a step is shorter than this along both axes [pixel]. On board it is 0.01 to 0.2, so
        that the iteration stops before the fixed point.

    Returns
    -------
    ImageCentroid
        The centroid in pixels of `image`, for any region.

    Raises
    ------
    CentroidError
        If there is no good pixel, no star above the noise, or the window does not converge inside the region.
    ArgumentError
        If the shapes do not match.

    Notes
    -----
    The background is the median of the region's good pixels. Bad pixels are filled from their neighbors, so
    that a hole in the window does not bias the result. Sums over the window, with fractional weights at its edges,
    give the center of light; the window moves there; this is repeated until a step is below the threshold. The error
    is that of a weighted mean, sqrt(sum w² (x - x0)² err²) / sum w f, enlarged because the window follows an error of
    the mean.

    Examples
    --------
    >>> y, x = np.mgrid[:32, :32]
    >>> star = 1000 * np.exp(-((x - 15.3) ** 2 + (y - 17.8) ** 2) / 4)
    >>> centroid = floating_window(star)
    >>> round(centroid.x, 2), round(centroid.y, 2)
    (15.3, 17.8)
    """
    image = np.asarray(image, dtype=float)
    if image.ndim != 2 or any(other is not None and np.shape(other) != image.shape for other in (bad, err)):
        msg = f"the image has the shape {image.shape}; give image, mask and errors with the same shape (y, x)"
        raise ArgumentError(msg)
    rows, columns = region or (slice(None), slice(None))
    part = image[rows, columns]
    unusable = ~np.isfinite(part) if bad is None else ~np.isfinite(part) | bad[rows, columns]
    if not part.size or unusable.all():
        msg = f"there is no usable pixel among the {part.size} of the region; check whether the image is flagged"
        raise CentroidError(msg)
    background = float(np.median(part[~unusable]))
    light = fill_bad(part - background, bad=unusable)
    column, row, spot = _brightest_spot(light)
    noise = 1.4826 * float(np.median(np.abs(part[~unusable] - background)))
    if spot <= 0 or spot < SIGNIFICANT * noise * np.sqrt(8):
        msg = (
            f"no star stands out: the brightest spot of the region has {spot:.4g} above a background of "
            f"{background:.4g} with a noise of {noise:.4g} per pixel; give the centroid by hand, centroid=(x, y)"
        )
        raise CentroidError(msg)
    rest = _float(light, column, row, window, threshold)
    x, y = rest.x, rest.y
    wx, wy = _weights(x, window, light.shape[1]), _weights(y, window, light.shape[0])
    if wy @ unusable @ wx > WORST_WINDOW * wy.sum() * wx.sum():
        msg = f"{int(unusable.sum())} pixels are flagged, too many of them in the star; give the centroid by hand"
        raise CentroidError(msg)
    near = light[max(round(y) - 1, 0) : round(y) + 2, max(round(x) - 1, 0) : round(x) + 2]
    errors = None if err is None else np.asarray(err, dtype=float)[rows, columns]
    x_err, y_err = _errors(errors, wx, wy, x, y, float(wy @ light @ wx))
    # The window follows an error of the center of light and gains light on that side, which enlarges the error.
    x_slope, y_slope = _slopes(light, x, y, window)
    y0, x0 = rows.indices(image.shape[0])[0], columns.indices(image.shape[1])[0]
    return ImageCentroid(
        x=x + x0,
        y=y + y0,
        x_err=x_err / (1 - x_slope),
        y_err=y_err / (1 - y_slope),
        peak=float(near.max()),
        background=background,
        x_slope=x_slope,
        y_slope=y_slope,
        x_step=rest.x_step,
        y_step=rest.y_step,
        x_start=column + x0,
        y_start=row + y0,
        iterations=rest.iterations,
    )


def _center_of_light(light: Array, wx: Array, wy: Array) -> tuple[float, float]:
    total = wy @ light @ wx
    x, y = wy @ light @ (wx * np.arange(wx.size)) / total, (wy * np.arange(wy.size)) @ light @ wx / total
    return float(x), float(y)


def _slopes(light: Array, x: float, y: float, window: int) -> tuple[float, float]:
    """Compute the fraction by which the center of light in a window follows the window, along x and along y."""
    # The slope dm/dc of the center of light m(c) in a window at c, between windows half a pixel to either side.
    ny, nx = light.shape
    slopes = []
    for axis, (dx, dy) in enumerate(((0.5, 0.0), (0.0, 0.5))):
        low, high = (
            _center_of_light(light, _weights(x + sign * dx, window, nx), _weights(y + sign * dy, window, ny))[axis]
            for sign in (-1, 1)
        )
        slopes.append(min(max(high - low, 0.0), STEEPEST))
    return slopes[0], slopes[1]


def _float(light: Array, x: float, y: float, window: int, threshold: float) -> _Rest:
    """Move the window from (x, y) until it is centered on its own center of light."""
    # Each round computes the center of light in the window and moves the window there. With fractional weights at the
    # edges of the window the steps converge to zero; with whole pixels it could jump back and forth.
    ny, nx = light.shape
    for iteration in range(1, MAX_ITERATIONS + 1):
        wx, wy = _weights(x, window, nx), _weights(y, window, ny)
        if wy @ light @ wx <= 0:
            break
        new_x, new_y = _center_of_light(light, wx, wy)
        dx, dy = new_x - x, new_y - y
        x, y = new_x, new_y
        if not (-0.5 <= x <= nx - 0.5 and -0.5 <= y <= ny - 0.5):
            break
        if max(abs(dx), abs(dy)) < threshold:
            return _Rest(x, y, dx, dy, iteration)
    msg = (
        f"the centroid window of {window} px did not converge (last at {x:.2f}, {y:.2f} of the region); give the "
        "centroid by hand"
    )
    raise CentroidError(msg)


def _errors(err: Array | None, wx: Array, wy: Array, x: float, y: float, total: float) -> tuple[float, float]:
    """Propagate the errors of the pixels (y, x) to the center of light, whose window has the sum `total`."""
    if err is None:
        return np.nan, np.nan
    # The error of a mean weighted by light: each pixel moves it by its error times its distance. A pixel without an
    # error is given the median of the others in the window.
    usable = np.isfinite(err) & (err > 0)
    inside = np.outer(wy, wx)
    if inside[~usable].sum() > WORST_WINDOW * inside.sum():
        return np.nan, np.nan
    variance = np.where(usable, err, np.median(err[usable & (inside > 0)])) ** 2
    dx, dy = np.arange(wx.size) - x, np.arange(wy.size) - y
    x_err = np.sqrt(wy**2 @ variance @ (wx * dx) ** 2) / total
    y_err = np.sqrt((wy * dy) ** 2 @ variance @ wx**2) / total
    return float(x_err), float(y_err)
