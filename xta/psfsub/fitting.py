"""Fit a point source to the residuals of a subtraction, and measure the errors of the fit where there is no source."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xta.psfsub.forward import Forward, Source
from xta.psfsub.frames import Exposure
from xta.psfsub.north import Array
from xta.psfsub.reduction import Reduction

__all__ = ["Fit", "covariance", "fit"]

WINDOW = 2.0  # radius of the pixels that are fitted [resolution element]
NEAR = 1.5  # smallest distance from the companion at which noise is measured [resolution element]
PLACES = 20  # largest number of places at which noise is measured
FEW = 3  # smallest number of places for an error
STEPS = 25  # largest number of steps of the fit
CONVERGED = 1e-4  # a step smaller than this is the last one [pixel]

Window = Sequence[NDArray[np.intp]]


@dataclass(frozen=True)
class Fit:
    """A fitted source, and whether its position was fitted or held."""

    source: Source
    free: bool


def fit(reduction: Reduction, forward: Forward, place: tuple[float, float]) -> Fit:
    """Search the source near a place that leaves nothing behind; Gauss-Newton from the best flux there."""
    window = forward.window(*place, WINDOW * reduction.element / reduction.scale)
    pixel = 0.02 * reduction.scale
    now = forward.residual(Source(*place, 0.0), window)
    start = Source(*place, _flux(forward, place, window, now))
    source = start
    for _ in range(STEPS):
        step = np.array([pixel, pixel, 1e-3 * abs(source.flux) or 1.0])
        now = forward.residual(source, window)
        change = [(forward.residual(Source(*(np.array(source) + h)), window) - now) / h.sum() for h in np.diag(step)]
        move = np.linalg.lstsq(np.transpose(change), -now, rcond=None)[0]
        move[:2] *= min(1.0, 0.5 * reduction.element / math.hypot(*move[:2]))
        source = Source(*(np.array(source) + move).tolist())
        if not math.dist(source[:2], place) < reduction.element or not source.flux > 0:
            return Fit(start, free=False)
        if math.hypot(*move[:2]) < CONVERGED * reduction.scale:
            break
    return Fit(source, free=True)


def _flux(forward: Forward, place: tuple[float, float], window: Window, now: Array) -> float:
    """Fit the flux at a place: by its faint image first, and then by what that leaves."""
    flux, step = 0.0, 1e-3 * float(np.max(np.abs(now))) / np.max(forward.light.psf)
    for _ in range(STEPS):
        here = forward.residual(Source(*place, flux), window)
        change = (forward.residual(Source(*place, flux + step), window) - here) / step
        move = -float(change @ here) / float(change @ change)
        flux += move
        if abs(move) < 1e-4 * abs(flux):
            break
    return flux


def _response(reduction: Reduction, forward: Forward, source: Source, window: Window, now: Array) -> Array:
    """Differentiate the clean residual by flux, and by moves outward and to larger angles, shape (3, pixels)."""
    step = 1e-3 * float(np.max(np.abs(now))) / np.max(forward.light.psf)
    pixel = 0.05 * reduction.scale
    outward = np.array(source[:2]) / math.hypot(*source[:2])
    across = np.array([outward[1], -outward[0]])  # position angles grow from north to east

    def faint(move: Array) -> Array:
        east, up = (np.array(source[:2]) + move).tolist()
        return (now - forward.residual(Source(east, up, step), window)) / step

    here = faint(np.zeros(2))
    return np.array([here, *(source.flux * (faint(pixel * axis) - here) / pixel for axis in (outward, across))])


def covariance(reduction: Reduction, clean: Forward, fit: Fit, sources: Sequence[Source]) -> Array:
    """Compute the covariance of flux, and of the place outward and to larger angles [arcsec], shape (3, 3).

    `clean` is the subtraction without any companion.
    """
    width = WINDOW * reduction.element / reduction.scale
    window = clean.window(*fit.source[:2], width)
    size = sum(each.shape[1] for each in window)
    solutions = []
    for place in _elsewhere(fit.source, sources, reduction.element):
        around = clean.window(*place[:2], width)
        if sum(each.shape[1] for each in around) > 0.8 * size:
            now = clean.residual(place._replace(flux=0.0), around)
            response = _response(reduction, clean, place, around, now)[: 3 if fit.free else 1]
            solutions.append(np.linalg.lstsq(response.T, now, rcond=None)[0])
    result = np.full((3, 3), np.nan)
    if len(solutions) < FEW:
        return result
    now = clean.residual(fit.source._replace(flux=0.0), window)
    solve = np.linalg.pinv(_response(reduction, clean, fit.source, window, now)[: 3 if fit.free else 1].T)
    photons = _photons(clean.library.science, window, reduction, fit.source)
    part = slice(None) if fit.free else slice(1)
    result[part, part] = _scatter(np.array(solutions)) + (solve * photons) @ solve.T
    return result


def _scatter(solutions: Array) -> Array:
    """Covariance of n solutions about 0, enlarged by Student's t with n degrees of freedom at one Gaussian sigma."""
    from scipy import special

    n = len(solutions)
    return np.asarray(solutions.T @ solutions / n * special.stdtrit(n, special.ndtr(1.0)) ** 2)


def _elsewhere(source: Source, sources: Sequence[Source], element: float) -> list[Source]:
    """Choose places at the separation of a source, a resolution element apart, and not at any companion."""
    radius, angle = math.hypot(*source[:2]), math.atan2(source.east, source.north)
    count = min(PLACES, int(2 * math.pi * radius / element))
    places = [
        Source(radius * math.sin(angle + turn), radius * math.cos(angle + turn), source.flux)
        for turn in 2 * math.pi * np.arange(1, count) / max(count, 1)
    ]
    return [place for place in places if all(math.dist(place[:2], each[:2]) >= NEAR * element for each in sources)]


def _photons(exposures: Sequence[Exposure], window: Window, reduction: Reduction, source: Source) -> Array:
    """Variance of the pixels of a window by the light of a companion: what is more than that at its separation."""
    extra = []
    for exposure, pixels in zip(exposures, window, strict=True):
        if "err" not in exposure.ds:
            extra.append(np.zeros(pixels.shape[1]))
            continue
        err = exposure.ds["err"].transpose(..., "y", "x").values.astype(float)
        variance = np.nan_to_num(err.reshape(-1, *err.shape[-2:]) ** 2).mean(axis=0)
        ny, nx = variance.shape
        y, x = np.ogrid[-(ny // 2) : ny // 2 + 1, -(nx // 2) : nx // 2 + 1]
        radius = math.hypot(*source[:2]) / reduction.scale
        ring = variance[np.abs(np.hypot(x, y) - radius) < reduction.element / reduction.scale / 2]
        extra.append(np.maximum(variance[tuple(pixels)] - np.median(ring), 0))
    return np.concatenate(extra)
