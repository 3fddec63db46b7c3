"""Find a model image in an image with holes by masked cross-correlation, to a hundredth of a pixel or better.

The functions take arrays and return numbers. Positions are 0-based pixels, x along columns, y along rows.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xta.errors import ArgumentError, CentroidError
from xta.images.shift import fill_bad

__all__ = ["Match", "match_template", "normalized_correlation"]

Array: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]

OVERLAP = 0.3  # a shift is tried if its overlap is at least this fraction of the largest one
PARAMETERS = 4  # number of parameters in the fit of a model: position, scale and background
MARGIN = 4  # [pixel] left out at the edges of the overlap, where a shifted model rings


@dataclass(frozen=True)
class Match:
    """The position of a model image in an image.

    Attributes
    ----------
    dx, dy : float
        Pixel of the image that corresponds to pixel (0, 0) of the model.
    x_err, y_err : float
        Standard error from the pixel errors, enlarged by the residuals of the model [pixel]; NaN if no pixel errors
        were given.
    correlation : float
        Correlation coefficient over the common pixels, -1 to 1.
    chi2 : float
        Reduced chi-square of the fit of the model; NaN if no pixel errors were given.
    """

    dx: float
    dy: float
    x_err: float
    y_err: float
    correlation: float
    chi2: float


def normalized_correlation(image: Array, good: Mask, model: Array, valid: Mask) -> tuple[Array, Array]:
    """Correlate two masked images (y, x) at every whole-pixel shift; return coefficients and numbers of common pixels.

    A coefficient is NaN if that number is below 30 % of the largest. Element [0, 0] belongs to the shift that puts the
    last pixel of the model on the first of the image. Source: D. Padfield, "Masked object registration in the Fourier
    domain", IEEE Transactions on Image Processing 21, 2706 (2012).
    """
    from scipy import fft

    shape = [int(n + m - 1) for n, m in zip(image.shape, model.shape, strict=True)]
    fast = [fft.next_fast_len(n, real=True) for n in shape]

    def spectrum(array: Array) -> NDArray[np.complex128]:
        return np.asarray(fft.rfft2(array, s=fast))

    def back(product: NDArray[np.complex128]) -> Array:
        return np.asarray(fft.irfft2(product, s=fast))[: shape[0], : shape[1]]

    # A sum over the common pixels, for all shifts at once, is a correlation of one image or mask with the
    # other: six FFTs give number, sums, squares and products. The mean is subtracted first to keep digits.
    f = np.where(good, image - np.mean(image[good]), 0.0)
    g = np.where(valid, model - np.mean(model[valid]), 0.0)[::-1, ::-1]
    mf, mg, f1, g1 = (spectrum(a) for a in (good.astype(float), valid.astype(float)[::-1, ::-1], f, g))
    number = np.maximum(np.rint(back(mf * mg)), 1.0)
    sum_f, sum_g = back(f1 * mg), back(mf * g1)
    covariance = back(f1 * g1) - sum_f * sum_g / number
    var_f = back(spectrum(f**2) * mg) - sum_f**2 / number
    var_g = back(mf * spectrum(g**2)) - sum_g**2 / number
    floor = 1e-12 * max(float(np.max(var_f)) * float(np.max(var_g)), np.finfo(float).tiny)
    usable = (number >= OVERLAP * number.max()) & (var_f * var_g > floor)
    correlation = np.full(number.shape, np.nan)
    correlation[usable] = covariance[usable] / np.sqrt((var_f * var_g)[usable])
    return correlation, number


def match_template(
    image: ArrayLike,
    model: ArrayLike,
    *,
    bad: ArrayLike | None = None,
    err: ArrayLike | None = None,
    upsample: int = 20,
) -> Match:
    """Find a model image in an image.

    Parameters
    ----------
    image : array, shape (ny, nx)
    model : array, shape (my, mx)
        Model with the same pixel scale and orientation, and any size, brightness and background.
    bad : array of bool, shape (ny, nx), optional
        Pixels of `image` to leave out; pixels that are not finite are never used, in either array.
    err : array, shape (ny, nx), optional
        Standard error of each pixel of `image`.
    upsample : int
        Steps per pixel of the fine search.

    Returns
    -------
    Match

    Raises
    ------
    ArgumentError
        If the arrays are not 2-D, differ in shape where they must not, or have nothing to correlate.
    CentroidError
        If the best shift is at the edge of the searched range, or the image does not determine the position.

    Notes
    -----
    First every whole-pixel shift is tried (`normalized_correlation`), then shifts of 1/`upsample` pixel within one
    pixel of the best. There, the coefficient over the common pixels is evaluated exactly for a model shifted by its
    Fourier phase, with all sums computed as products with the Fourier matrix. A paraboloid through the highest value
    and its neighbors gives the maximum. The model must be well sampled; models of JWST at the pixels of NIRCam are,
    beyond 2 (short channel) and 4 micron (long channel).

    References
    ----------
    M. Guizar-Sicairos, S. T. Thurman, J. R. Fienup, "Efficient subpixel image registration algorithms", Optics
    Letters 33, 156 (2008): the matrix products.

    Examples
    --------
    >>> def star(x, y, n):
    ...     j, i = np.mgrid[:n, :n]
    ...     return np.exp(-((i - x) ** 2 + (j - y) ** 2) / 8)
    >>> match = match_template(5 * star(21.3, 17.8, 40) + 2, star(10, 10, 21))
    >>> round(10 + match.dx, 3), round(10 + match.dy, 3)
    (21.3, 17.8)
    """
    image, model = np.asarray(image, dtype=float), np.asarray(model, dtype=float)
    good, valid = _usable(image, bad), _usable(model, None)
    if err is not None and np.shape(err) != image.shape:
        msg = f"the errors have the shape {np.shape(err)}, but the image has {image.shape}; give them the same shape"
        raise ArgumentError(msg)
    if upsample < 1:
        msg = f"upsample is {upsample}; give a whole number of steps per pixel, at least 1"
        raise ArgumentError(msg)
    coarse, _ = normalized_correlation(image, good, model, valid)
    if np.isnan(coarse).all():
        msg = "there is nothing to correlate: the usable pixels of the image or of the model all have the same value"
        raise ArgumentError(msg)
    row, column = np.unravel_index(int(np.nanargmax(coarse)), coarse.shape)
    y0, x0 = int(row) - model.shape[0] + 1, int(column) - model.shape[1] + 1
    box, window, use, reference = _overlap(image, good, model, valid, x0, y0)
    dx, dy, correlation = _fine(window, use, reference, upsample)
    if err is None:
        return Match(x0 + dx, y0 + dy, np.nan, np.nan, correlation, np.nan)
    errors = np.asarray(err, dtype=float)[box]
    x_err, y_err, chi2 = _precision(window, use, reference, errors, dx, dy)
    return Match(x0 + dx, y0 + dy, x_err, y_err, correlation, chi2)


def _usable(array: Array, bad: ArrayLike | None) -> Mask:
    good: Mask = np.isfinite(array)
    mask = ~good if bad is None else np.asarray(bad, dtype=bool)
    if array.ndim != 2 or mask.shape != array.shape:
        msg = f"the image has shape {array.shape} and the mask {mask.shape}; give both the same shape (y, x)"
        raise ArgumentError(msg)
    good &= ~mask
    if not good.any():
        msg = "there is no usable pixel; check whether the image is empty or completely flagged"
        raise ArgumentError(msg)
    return good


def _overlap(
    image: Array, good: Mask, model: Array, valid: Mask, x0: int, y0: int
) -> tuple[tuple[slice, ...], Array, Mask, Array]:
    """Cut image and model to their overlap at a whole-pixel shift: its place, image, pixels to use, filled model."""
    from scipy import ndimage

    corner, size, limit = (y0, x0), model.shape, image.shape
    box = tuple(slice(max(o, 0), o + m) for o, m in zip(corner, size, strict=True))
    of_model = tuple(slice(max(-o, 0), min(m, n - o)) for o, m, n in zip(corner, size, limit, strict=True))
    model, valid, good = model[of_model], valid[of_model], good[box]
    use = np.zeros_like(good)
    inner = tuple(slice(k, n - k) for n in good.shape for k in [min(MARGIN, (n - 1) // 4)])
    use[inner] = good[inner]
    if not valid.all():
        use &= ~ndimage.binary_dilation(~valid, iterations=2)
    return box, image[box], use, fill_bad(model - np.mean(model[valid]), bad=~valid)


def _fine(image: Array, use: Mask, model: Array, upsample: int) -> tuple[float, float, float]:
    """Maximize the coefficient within a pixel: (dx, dy, coefficient)."""
    # The pixels used are the same for all shifts, so only three sums change: of light times model, of the model
    # and of its square. Each is a product with Fourier matrices, computed only near the best whole-pixel shift.
    light = np.where(use, image - np.mean(image[use]), 0.0)
    steps = np.arange(-upsample - 1, upsample + 2) / upsample
    number = float(use.sum())
    if not light.any():
        msg = "there is nothing to correlate: all usable pixels of the image under the model have the same value"
        raise ArgumentError(msg)
    covariance = _correlate(light, model, steps)
    total = _correlate(use.astype(float), model, steps)
    square = _correlate_square(use.astype(float), model, steps)
    values = covariance / np.sqrt((square - total**2 / number) * np.sum(light**2))
    j, i = np.unravel_index(int(np.argmax(values)), values.shape)
    if not (0 < j < steps.size - 1 and 0 < i < steps.size - 1):
        msg = (
            "the correlation has no maximum within a pixel of its best whole-pixel shift; check whether the model "
            "resembles the image"
        )
        raise CentroidError(msg)
    di, dj, top = _paraboloid(values[j - 1 : j + 2, i - 1 : i + 2])
    return float(steps[i] + di / upsample), float(steps[j] + dj / upsample), top


def _kernel(frequency: Array, size: int, steps: Array) -> NDArray[np.complex128]:
    return np.asarray(np.exp(2j * np.pi * np.outer(steps, frequency) / size))


def _correlate(weight: Array, model: Array, steps: Array) -> Array:
    """Sum `weight` times the model, shifted by (steps, steps), over the pixels; result [y, x]."""
    from scipy import fft

    ny, nx = model.shape
    product = fft.fft2(weight) * np.conj(fft.fft2(model)) / model.size
    ky, kx = fft.fftfreq(ny, 1 / ny), fft.fftfreq(nx, 1 / nx)
    return np.asarray((_kernel(ky, ny, steps) @ product @ _kernel(kx, nx, steps).T).real)


def _correlate_square(weight: Array, model: Array, steps: Array) -> Array:
    """Sum `weight` times the square of the shifted model, whose spectrum is twice as wide as the model's."""
    from scipy import fft

    ny, nx = model.shape
    # The square needs twice as fine a sampling for its spectrum: pad the spectrum of the model, square the image, and
    # transform back. The spectrum of the weight, which is defined on whole pixels, is repeated.
    wide = np.zeros((2 * ny, 2 * nx), dtype=complex)
    ky, kx = (fft.fftfreq(n, 1 / n).astype(int) for n in (ny, nx))
    wide[np.ix_(ky, kx)] = 4 * fft.fft2(model)
    squared = fft.fft2(fft.ifft2(wide).real ** 2) / 4
    ky, kx = (fft.fftfreq(2 * n, 1 / (2 * n)).astype(int) for n in (ny, nx))
    product = fft.fft2(weight)[np.ix_(ky, kx)] * np.conj(squared) / model.size
    return np.asarray((_kernel(ky.astype(float), ny, steps) @ product @ _kernel(kx.astype(float), nx, steps).T).real)


def _paraboloid(values: Array) -> tuple[float, float, float]:
    """Fit a paraboloid to 3 x 3 values; return (x, y) of its top relative to the middle, and its height."""
    y, x = (axis.ravel() for axis in np.mgrid[-1:2, -1:2])
    design = np.stack([np.ones(9), x, y, x * x, x * y, y * y], axis=1)
    c, cx, cy, cxx, cxy, cyy = np.linalg.lstsq(design, values.ravel(), rcond=None)[0]
    dx, dy = np.linalg.solve([[2 * cxx, cxy], [cxy, 2 * cyy]], [-cx, -cy])
    return float(np.clip(dx, -1, 1)), float(np.clip(dy, -1, 1)), float(c + (cx * dx + cy * dy) / 2)


def _precision(image: Array, use: Mask, model: Array, err: Array, dx: float, dy: float) -> tuple[float, float, float]:
    """Propagate the pixel errors through the fit of position, scale and background: (x_err, y_err, chi2)."""
    from scipy import fft

    ny, nx = model.shape
    phase = np.exp(-2j * np.pi * (fft.fftfreq(ny)[:, None] * dy + fft.fftfreq(nx) * dx))
    shifted = fft.ifft2(fft.fft2(model) * phase).real
    # Near the best shift the model changes linearly with its slopes, so position, scale and background are one linear
    # fit, whose inverse normal matrix contains the variances of the position.
    slope_y, slope_x = np.gradient(shifted)
    use = use & np.isfinite(err) & (err > 0)
    if use.sum() < PARAMETERS:
        msg = f"only {int(use.sum())} pixels of the image under the model have a finite, positive error; leave out err"
        raise CentroidError(msg)
    weight = 1 / err[use]
    linear = np.stack([shifted[use], np.ones(int(use.sum()))], axis=1) * weight[:, None]
    (scale, level), *_ = np.linalg.lstsq(linear, image[use] * weight, rcond=None)
    design = np.concatenate([scale * np.stack([slope_x[use], slope_y[use]], axis=1) * weight[:, None], linear], axis=1)
    try:
        variance = np.diag(np.linalg.inv(design.T @ design))[:2]
    except np.linalg.LinAlgError:
        variance = np.full(2, -1.0)
    if not (variance > 0).all():
        msg = "the image does not determine the position of the model; check whether the star is in the image"
        raise CentroidError(msg)
    chi2 = float(np.mean(((image[use] - scale * shifted[use] - level) * weight) ** 2))
    x_err, y_err = np.sqrt(variance * max(chi2, 1.0))
    return float(x_err), float(y_err), chi2
