"""Measure the shift of an image of a star's speckles relative to another one, with its covariance.

The functions take arrays and return numbers. Positions are 0-based pixels, x along columns, y along rows.

The reference, shifted and scaled, plus a level, is fitted to the image by weighted least squares. The shifted reference
and its slopes are computed by one Fourier transform. Three choices determine the accuracy:

- *Band.* Both images are smoothed by a Gaussian of one pixel. NIRCam samples some filters below Nyquist, and aliased
  light rings through a shifted image: without smoothing, a measured shift in F335M is up to 16 % too small.
- *Weights.* A drift of the wavefront leaves interference as strong as the local brightness, also in the dark pixels
  between speckles. So the variance of a pixel is that of its noise plus a fraction of the square of the smoothed
  brightness, and this fraction is measured from the residuals.
- *Errors.* The noise of smoothed pixels is correlated over the Gaussian, and the residuals of a drift over a speckle;
  the covariance includes both. Part of a drift looks like a shift and leaves no residual; its error is assumed to be
  proportional to the residuals that are left.
"""

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from xta.errors import ArgumentError, CentroidError
from xta.images.correlation import normalized_correlation
from xta.images.shift import fill_bad

__all__ = ["MARGIN", "Frame", "Registration", "register"]

Array: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]
Value = TypeVar("Value", np.bool_, np.float64)

MARGIN = 8
"""Width of the edges of a frame that are not fitted, since the reference fades to zero there [pixel]."""

BAND = 1.0  # [pixel] standard deviation of the Gaussian that smooths both images
REACH = 3.0  # [pixel] distance from a bad pixel over which its filled value has an effect
BRIGHTNESS = 1.5  # [speckle] standard deviation of the Gaussian that smooths the brightness for the weights
LEAST = 6.0  # [speckle] a fit needs at least as many pixels as a square with this side
CORRELATED = 0.35  # [speckle] standard deviation of the Gaussian over which residuals of a drift are correlated
DRIFT_SHIFT = 0.07
"""Error from a drift, in speckles, divided by its residual relative to the brightness.

In sample visits of NIRCam and MIRI with 1 to 8 nm of drift it is 0.05 to 0.09, the same at all drifts and wavelengths.
"""

CLIP = 6.0  # [standard deviation] larger residuals are left out
FREE = 3  # number of first steps in which nothing is left out
SEARCH = 3  # [pixel] range around the start in which the best whole-pixel shift is looked for
STEPS = 40
SETTLED, DONE = 1e-2, 1e-5  # [pixel] size of a step when the fit has settled, and when it is done
LONGEST = 0.5  # [pixel] largest step
MEDIAN_CHI2 = 0.4549  # median of chi-square with one degree of freedom
FAINTEST = 0.9  # largest part of the information of a reference that may be noise


@dataclass(frozen=True, eq=False)
class Frame:
    """An image to register.

    Attributes
    ----------
    image, variance : array, shape (ny, nx)
        Value and variance of each pixel, in the same unit and its square.
    bad : array of bool, shape (ny, nx)
        Bad pixels, which are filled before the smoothing and not fitted.
    """

    image: Array
    variance: Array
    bad: Mask


@dataclass(frozen=True, eq=False)
class Registration:
    """The shift of an image relative to a reference.

    Attributes
    ----------
    dx, dy : float
        Shift of the image relative to the reference, along x and y [pixel].
    covariance : array, shape (2, 2)
        Covariance of dx and dy [pixel**2].
    scale, level : float
        The image is `scale` times the shifted reference plus `level`.
    drift : float
        Residual of the fit beyond the noise, relative to the local brightness.
    number : int
        Number of pixels fitted.
    """

    dx: float
    dy: float
    covariance: Array
    scale: float
    level: float
    drift: float
    number: int


class _Fit(NamedTuple):
    """A linear fit around a shift and a scale."""

    use: Mask
    """Pixels used."""
    design: Array
    """Derivatives of the model there, by x, y, scale and level."""
    weight: Array
    noise: Array
    """Variance of the noise of these pixels."""
    bright: Array
    """Local brightness at these pixels."""
    left: Array
    """Residuals after the fit."""
    inverse: Array
    """Inverse of the normal matrix."""
    move: Array
    """Steps along x, y and scale; level."""
    drift: float


def register(
    frame: Frame,
    reference: Frame,
    *,
    region: Mask,
    speckle: float,
    start: tuple[float, float] = (0.0, 0.0),
) -> Registration:
    """Fit a shifted and scaled reference to an image.

    Parameters
    ----------
    frame, reference : Frame
        Frames of the same shape, larger by `MARGIN` on all sides than the region to fit.
    region : array of bool, shape (ny, nx)
        Pixels of the image to fit.
    speckle : float
        Size of a speckle, wavelength over diameter [pixel].
    start : (float, float)
        Shift to start from, along x and y [pixel]. The whole-pixel shift that correlates best is looked for within 3
        pixels; the start is kept if it is within a pixel of that.

    Returns
    -------
    Registration

    Raises
    ------
    ArgumentError
        If the shapes differ, or there is no pixel to fit.
    CentroidError
        If the fit does not converge, or the images do not determine a shift.

    Notes
    -----
    Noise of the reference does not bias the shift, because in a smoothed image the noise of a pixel and that of its
    slope are independent. But it adds to the squares of values and slopes; this contribution is subtracted. Residuals
    of more than 6 standard deviations are left out.
    """
    shapes = {each.shape for one in (frame, reference) for each in (one.image, one.variance, one.bad)} | {region.shape}
    if len(shapes) != 1 or min(*shapes.pop(), 4 * MARGIN) < 4 * MARGIN:
        msg = f"the frames have the shapes {frame.image.shape} and {reference.image.shape}; give frames of the same "
        msg += f"shape with sides of at least {4 * MARGIN} pixels"
        raise ArgumentError(msg)
    speckle = float(np.hypot(speckle, BAND))
    frame, reference = _smoothed(frame), _smoothed(reference)
    inner = np.zeros(region.shape, dtype=bool)
    inner[MARGIN:-MARGIN, MARGIN:-MARGIN] = True
    wanted = region & inner & ~frame.bad
    if wanted.sum() < (LEAST * speckle) ** 2:
        msg = f"only {int(wanted.sum())} pixels of the image are usable; widen the region, or leave out less"
        raise ArgumentError(msg)
    return _fitted(frame, reference, wanted, speckle, _start(frame, reference, wanted, start))


def _smoothed(frame: Frame) -> Frame:
    """Fill the bad pixels, smooth, and mark the pixels that a filled value affects."""
    from scipy import ndimage

    image = ndimage.gaussian_filter(fill_bad(frame.image, bad=frame.bad), BAND, mode="nearest")
    # The square of a Gaussian is a narrower Gaussian with the sum 1 / (4 pi sigma^2).
    variance = np.where(frame.bad, 0.0, frame.variance)
    variance = ndimage.gaussian_filter(variance, BAND / np.sqrt(2), mode="nearest") / (4 * np.pi * BAND**2)
    return Frame(image, variance, ndimage.distance_transform_edt(~frame.bad) <= REACH)


def _start(frame: Frame, reference: Frame, wanted: Mask, start: tuple[float, float]) -> tuple[float, float]:
    """Find the whole-pixel shift near a start that correlates best; the start itself if it is within a pixel of it."""
    table, _ = normalized_correlation(frame.image, wanted, reference.image, ~reference.bad)
    ny, nx = reference.image.shape
    x0, y0 = round(start[0]), round(start[1])
    around = np.arange(-SEARCH, SEARCH + 1)
    rows, columns = ny - 1 + y0 + around, nx - 1 + x0 + around
    near = np.nan_to_num(table[np.ix_(rows.clip(0, len(table) - 1), columns.clip(0, table.shape[1] - 1))], nan=-1.0)
    j, i = np.unravel_index(int(np.argmax(near)), near.shape)
    best = float(x0 + around[i]), float(y0 + around[j])
    return start if np.hypot(best[0] - start[0], best[1] - start[1]) <= 1 else best


def _fitted(frame: Frame, reference: Frame, wanted: Mask, speckle: float, start: tuple[float, float]) -> Registration:
    """Take Gauss-Newton steps until the shift converges, with weights that follow the residuals."""
    from scipy import ndimage

    middle = float(np.median(reference.image))
    light = reference.image - middle
    brightness = ndimage.gaussian_filter(np.abs(light), BRIGHTNESS * speckle, mode="nearest")
    spectrum = _spectrum(light)
    (dx, dy), scale, drift, used = start, 1.0, 0.0, wanted
    settled = frozen = False
    for number in range(STEPS):
        fit = _linear(frame, reference, used, spectrum, brightness, (dx, dy), scale, drift)
        step, scale, drift = np.clip(fit.move[:2], -LONGEST, LONGEST), scale + fit.move[2], fit.drift
        if not (np.isfinite(fit.move).all() and scale > 0):
            break
        if number == 0:  # this step updates scale and level only, since the slopes had another brightness
            continue
        dx, dy = dx + float(step[0]), dy + float(step[1])
        size = float(np.hypot(*step))
        if frozen and size < DONE:
            level = fit.move[3] - scale * middle
            return Registration(dx, dy, _covariance(fit, speckle), scale, level, fit.drift, len(fit.left))
        settled = settled or size < SETTLED
        if number >= FREE and not frozen:
            used, frozen = _unclipped(fit, wanted), settled
    msg = "the fit of the reference does not converge; check that both images show the star behind the same mask"
    raise CentroidError(msg)


def _unclipped(fit: _Fit, wanted: Mask) -> Mask:
    """Choose the pixels without unusually large residuals."""
    left = np.abs(fit.left) * np.sqrt(fit.weight)
    used = wanted.copy()
    used[fit.use] = left < CLIP * max(1.0, float(np.sqrt(np.median(left**2) / MEDIAN_CHI2)))
    return used


def _spectrum(light: Array) -> NDArray[np.complex128]:
    """Transform a reference that fades to zero at its edges."""
    from scipy import fft

    windows = []
    for size in light.shape:
        ramp = (np.arange(size) + 0.5) / MARGIN
        windows.append(np.sin(np.pi / 2 * np.clip(np.minimum(ramp, ramp[::-1]), 0, 1)) ** 2)
    return np.asarray(fft.rfft2(light * windows[0][:, None] * windows[1]))


def _linear(
    frame: Frame,
    reference: Frame,
    wanted: Mask,
    spectrum: NDArray[np.complex128],
    brightness: Array,
    shift: tuple[float, float],
    scale: float,
    drift: float,
) -> _Fit:
    """Solve the linear problem of a small step around a shift and a scale, and measure the drift."""
    from scipy import fft

    ny, nx = wanted.shape
    ky, kx = 2j * np.pi * fft.fftfreq(ny)[:, None], 2j * np.pi * fft.rfftfreq(nx)
    moved = spectrum * np.exp(-(kx * shift[0] + ky * shift[1]))
    light, by_x, by_y = (fft.irfft2(each, s=wanted.shape) for each in (moved, -kx * moved, -ky * moved))
    use = wanted & ~_moved(reference.bad, shift, fill=True)
    of_reference = scale**2 * _moved(reference.variance, shift, fill=0.0)[use]
    noise = frame.variance[use] + of_reference
    bright = scale * _moved(brightness, shift, fill=0.0)[use]
    weight = 1 / np.maximum(noise + (drift * bright) ** 2, np.finfo(float).tiny)
    design = np.stack([scale * by_x[use], scale * by_y[use], light[use], np.ones(int(use.sum()))], axis=1)
    residual = frame.image[use] - scale * light[use]
    # Noise of the reference adds to the squares of its values and, by the spectrum of the Gaussian, of its slopes.
    excess = float(weight @ of_reference) * np.array([0.5 / BAND**2, 0.5 / BAND**2, 1 / scale**2, 0.0])
    normal = design.T @ (design * weight[:, None])
    if not (excess < FAINTEST * np.diag(normal)).all():
        msg = "the reference is too faint to measure a shift, with as much noise as light; coadd it, or use another"
        raise CentroidError(msg)
    inverse = np.linalg.pinv(normal - np.diag(excess), hermitian=True)
    move = inverse @ (design.T @ (weight * residual) + scale * excess * [0, 0, 1, 0])
    left = residual - design @ move
    power = np.sum(bright**4 * weight**2)
    beyond = float(np.sum((left**2 - noise) * (weight * bright) ** 2) / power) if power > 0 else 0.0
    return _Fit(use, design, weight, noise, bright, left, inverse, move, float(np.sqrt(max(beyond, 0.0))))


def _moved(values: NDArray[Value], shift: tuple[float, float], *, fill: float | bool) -> NDArray[Value]:
    """Shift an image by whole pixels."""
    from scipy import ndimage

    whole = round(shift[1]), round(shift[0])
    return np.asarray(ndimage.shift(values, whole, order=0, mode="constant", cval=fill, prefilter=False))


def _covariance(fit: _Fit, speckle: float) -> Array:
    """Propagate noise and drift, each correlated between pixels in its own way, to the shift."""
    pulls = (fit.design * fit.weight[:, None]).T
    chi2 = float(np.median(fit.left**2 * fit.weight)) / MEDIAN_CHI2
    # The noise of smoothed pixels is correlated by a Gaussian that is wider by the square root of two; residuals of a
    # drift are correlated by a Gaussian of the size of a speckle.
    parts = [(np.sqrt(fit.noise), np.sqrt(2) * BAND), (fit.drift * fit.bright, np.hypot(CORRELATED * speckle, BAND))]
    total = sum(_correlated(fit.use, pulls * sigma, width) for sigma, width in parts)
    covariance = fit.inverse @ total @ fit.inverse
    return np.asarray(max(chi2, 1.0) * covariance[:2, :2] + (DRIFT_SHIFT * speckle * fit.drift) ** 2 * np.eye(2))


def _correlated(use: Mask, values: Array, width: float) -> Array:
    """Sum the products of rows of values at pixels with those at all others, times their correlation."""
    from scipy import ndimage

    image = np.zeros(use.shape)
    around = []
    for row in values:
        image[use] = row
        around.append(2 * np.pi * width**2 * ndimage.gaussian_filter(image, width, mode="constant")[use])
    return np.asarray(values @ np.array(around).T)
