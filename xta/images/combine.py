"""Combine frames into one image by mean, median or clipped mean, with errors and flags.

`select` chooses the values to use; the other functions combine them. All take frames (n, ...), which are combined
over the first axis, and a mask `used` of the same shape.
"""

import math
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from xta.errors import ArgumentError
from xta.images.dq import DO_NOT_USE

__all__ = ["METHODS", "combine", "combine_error", "combine_flags", "combine_variance", "median_efficiency", "select"]

METHODS = ("mean", "median", "sigma_clip")
"""Ways to combine frames."""

LARGE = 100
"""From this number of values on, the variance of their median is computed from its expansion."""

Array: TypeAlias = NDArray[Any]
Mask: TypeAlias = NDArray[np.bool_]


def select(frames: Array, bad: Mask, *, method: str = "mean", sigma: float = 3.0) -> Mask:
    """Choose the values to use: those that are not bad and, for "sigma_clip", are not clipped.

    Parameters
    ----------
    frames, bad : numpy.ndarray
        The frames (n, ...), and a mask of bad values, which must include all that are not finite.
    method : "mean", "median" or "sigma_clip"
    sigma : float
        Values farther from the median of their pixel than this number of standard deviations are clipped, repeatedly
        until none is left.

    Returns
    -------
    numpy.ndarray
        Boolean mask with the shape of `frames`.

    Raises
    ------
    ArgumentError
        If there is no such method.

    Examples
    --------
    >>> frames = np.array([1.0, 1.1, 0.9, 1.0, 1.2, 1.0, 0.9, 1.1, 1.0, 30.0, 50.0])
    >>> int(select(frames, frames == 50, method="sigma_clip", sigma=2.5).sum())
    9
    """
    if method not in METHODS:
        msg = f"method is {method!r}; give one of {', '.join(METHODS)}"
        raise ArgumentError(msg)
    used = ~np.broadcast_to(bad, frames.shape)
    if method != "sigma_clip" or not used.any():
        return used
    from astropy.stats import sigma_clip

    masked = np.ma.array(np.where(used, frames, 0), mask=~used)
    return np.asarray(~np.ma.getmaskarray(sigma_clip(masked, sigma=sigma, axis=0)))


def combine(frames: Array, used: Mask, *, method: str = "mean") -> Array:
    """Compute the mean of the values used, or for "median" their median; NaN if there is none.

    Examples
    --------
    >>> frames = np.array([[1.0, 5.0], [2.0, 6.0], [np.nan, 70.0]])
    >>> combine(frames, np.isfinite(frames), method="median")
    array([1.5, 6. ])
    """
    number = used.sum(axis=0)
    if method != "median":
        total = np.sum(frames, axis=0, where=used, dtype=float)
        return _typed(total / np.where(number, number, np.nan), frames)
    ordered = np.sort(np.where(used, frames, np.inf), axis=0)  # values that are not used go to the end
    middle = [np.clip((number + k) // 2, 0, len(frames) - 1)[np.newaxis] for k in (-1, 0)]
    below, above = (np.take_along_axis(ordered, k, axis=0)[0].astype(float) for k in middle)
    return _typed(np.where(number, below / 2 + above / 2, np.nan), frames)


def combine_variance(variance: Array, used: Mask, *, method: str = "mean") -> Array:
    """Propagate the variances of independent, normally distributed values to the result of `combine`.

    The variance of a mean of n values is the sum of their variances over n squared. That of a median is larger by the
    factor of `median_efficiency`, which is exact for equal variances. It is NaN if no value is used.
    """
    number = used.sum(axis=0)
    total = np.sum(variance, axis=0, where=used, dtype=float)
    if method == "median":
        factors = np.array([1.0, *(median_efficiency(n) for n in range(1, len(used) + 1))])
        total = total * factors[number]
    return _typed(total / np.where(number, number, np.nan) ** 2, variance)


def combine_error(err: Array, used: Mask, *, method: str = "mean") -> Array:
    """Propagate standard errors as `combine_variance` does variances."""
    variance = combine_variance(err.astype(float) ** 2, used, method=method)
    return _typed(np.sqrt(variance), err)


def combine_flags(flags: Array, used: Mask) -> Array:
    """Combine the flags of the values used by bitwise OR; if none is used, those of all values, and DO_NOT_USE.

    Examples
    --------
    >>> flags = np.array([[4, 1], [1, 3]], dtype=np.uint32)
    >>> combine_flags(flags, (flags & 1) == 0)
    array([4, 3], dtype=uint32)
    """
    bit = np.asarray(DO_NOT_USE, dtype=flags.dtype)
    join: Any = np.bitwise_or.reduce
    of_used, of_all = join(flags, axis=0, where=used), join(flags, axis=0)
    return np.asarray(np.where(used.any(axis=0), of_used & ~bit, of_all | bit))


def _typed(values: Array, like: Array) -> Array:
    return np.asarray(values, dtype=like.dtype if like.dtype.kind == "f" else float)


@lru_cache(maxsize=LARGE)
def median_efficiency(n: int) -> float:
    """Compute the variance of the median of n normal values over that of their mean: 1 for n < 3, pi/2 for many.

    It is computed by quadrature from the distribution of the middle order statistic, or of the mean of the two middle
    ones [1]_. From `LARGE` values on, the first terms of its expansion are used, pi/2 (1 - (4 - pi) / 2n), with 6 - pi
    for even n.

    References
    ----------
    .. [1] H. A. David, H. N. Nagaraja, Order Statistics, 3rd edition (Wiley 2003), sections 2.1 and 2.2.

    Examples
    --------
    >>> [round(median_efficiency(n), 4) for n in (1, 2, 3, 4, 5, 10)]
    [1.0, 1.0, 1.346, 1.1928, 1.4342, 1.3833]
    """
    if n >= LARGE:
        return math.pi / 2 * (1 - (4 - math.pi if n % 2 else 6 - math.pi) / (2 * n))
    from scipy.special import log_ndtr

    u, step = np.linspace(-10, 10, 40_001, retstep=True)
    density = np.exp(-(u**2) / 2) / math.sqrt(2 * math.pi)
    below, above = log_ndtr(u), log_ndtr(-u)
    k = (n - 1) // 2
    if n % 2:
        # k values below the median, k above it.
        scale = math.lgamma(n + 1) - 2 * math.lgamma(k + 1)
        return float(n * step * np.sum(u**2 * density * np.exp(scale + k * (below + above))))
    # k values below the lower middle value u, k above the upper one v > u; the median is (u + v) / 2. The integrals
    # over v start at the upper end.
    scale = (math.lgamma(n + 1) - 2 * math.lgamma(k + 1)) / 2
    tail = density * np.exp(scale + k * above)
    moments = [_from_above(u**power * tail) * step for power in range(3)]
    inner = u**2 * moments[0] + 2 * u * moments[1] + moments[2]
    return float(n * step * np.sum(density * np.exp(scale + k * below) * inner) / 4)


def _from_above(values: Array) -> Array:
    """Integrate samples from each one to the end, in units of their step, by the trapezoidal rule."""
    total = np.cumsum(values[::-1])[::-1]
    return np.asarray(total - (values + values[-1]) / 2)
