"""Compute exactly, and only near it, the residuals of a KLIP subtraction after the removal of a point source.

The principal components change with the source, since it is also in other rolls. Residuals depend on the frames only
through their products with each other, and these change by products with the small image of the source. So the
subtraction of frames without a source requires a small eigenvalue problem instead of a new reduction, and gives the
same result. pyKLIP's forward model (``pyklip.fm``) is the first order of this [1]_; a test compares the two.
The first order is not sufficient for bright companions, which become a component in the frames of other rolls.

References
----------
.. [1] L. Pueyo, ApJ 824, 117 (2016).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xta.errors import ArgumentError
from xta.images import shift
from xta.psfsub.components import Library, Section
from xta.psfsub.frames import Exposure, Frames
from xta.psfsub.north import Array

__all__ = ["Forward", "Light", "Source", "without"]


class Source(NamedTuple):
    """A point source: offsets from the star to the east and to the north [arcsec], flux summed over the pixels."""

    east: float
    north: float
    flux: float


@dataclass(frozen=True, eq=False)
class Light:
    """Image of a point source of flux 1, its center on the central pixel, and what the mask lets pass of it.

    ``transmission`` is an image in the orientation of the detector with the star on its central pixel, or None.
    """

    psf: Array
    transmission: Array | None = None

    @classmethod
    def of(cls, psf: ArrayLike, transmission: ArrayLike | None = None) -> "Light":
        """Check the images that a user gives: finite, with odd numbers of rows and columns."""
        images = {"psf": np.asarray(psf, dtype=float)}
        if transmission is not None:
            images["transmission"] = np.asarray(transmission, dtype=float)
        for name, image in images.items():
            if image.ndim != 2 or not all(n % 2 for n in image.shape) or not np.isfinite(image).all():
                msg = f"{name} has shape {image.shape}; give a finite image with odd numbers of rows and columns"
                raise ArgumentError(msg)
        return cls(**images)

    def passed(self, exposure: Exposure, east: float, up: float) -> float:
        """Look up the transmission of the mask at an offset from the star [arcsec]."""
        if self.transmission is None:
            return 1.0
        from scipy import ndimage

        x, y = exposure.find_pixel(east, up)
        place = [[float(y) + self.transmission.shape[0] // 2], [float(x) + self.transmission.shape[1] // 2]]
        return float(ndimage.map_coordinates(self.transmission, place, order=1, mode="nearest")[0])

    def image(self, exposure: Exposure, east: float, up: float) -> tuple[tuple[slice, slice], Array]:
        """Image the source on the pixels of an exposure: the part of the frame that has light, and its pixels."""
        _, ny, nx = exposure.frames.shape
        position = np.array([float(value) for value in exposure.find_pixel(east, up)])
        whole = np.round(position).astype(int)
        half = [n // 2 for n in self.psf.shape]
        left = position - whole
        moved = shift.resample(self.psf, x0=half[1] - left[0], y0=half[0] - left[1], shape=self.psf.shape, fill=0.0)
        first = whole[1] + ny // 2 - half[0], whole[0] + nx // 2 - half[1]
        frame = [
            slice(max(0, at), max(0, min(n, at + size)))
            for at, n, size in zip(first, (ny, nx), self.psf.shape, strict=True)
        ]
        part = tuple(slice(each.start - at, each.stop - at) for each, at in zip(frame, first, strict=True))
        return (frame[0], frame[1]), moved[part] * self.passed(exposure, east, up)


def without(frames: Frames, light: Light, sources: Sequence[Source]) -> Frames:
    """Take sources out of the science frames."""

    def cleaned(exposure: Exposure) -> Exposure:
        values = exposure.frames.copy()
        for source in sources:
            box, image = light.image(exposure, source.east, source.north)
            values[:, *box] -= source.flux * image
        return replace(exposure, frames=values)

    return replace(frames, science=tuple(map(cleaned, frames.science)))


class _Products(NamedTuple):
    """A section of all frames, less their means, shape (frames, pixels), and the products of the frames."""

    section: Section
    place: NDArray[np.intp]
    """Number of each pixel of the frame among those of the section; -1 outside."""
    values: Array
    gram: Array


class Forward:
    """The subtraction of the science frames without a source that may be anywhere, near that source.

    Sections and number of components are those of the subtraction.
    """

    def __init__(self, library: Library, sections: Sequence[Section], number: int, light: Light) -> None:
        self.library, self.light, self.number = library, light, number
        self.count = len(library.science)
        self.bad = [np.mean(~np.isfinite(exposure.frames), axis=0) > 0.5 for exposure in library.science]
        self.products = [self._products(section) for section in sections]

    def _products(self, section: Section) -> _Products:
        pixels = section.pixels & self.library.usable
        values = self.library.filled[:, pixels]
        values -= values.mean(axis=1, keepdims=True)
        place = np.full(pixels.shape, -1)
        place[pixels] = np.arange(values.shape[1])
        return _Products(section, place, values, values @ values.T)

    def window(self, east: float, up: float, radius: float) -> list[NDArray[np.intp]]:
        """Choose the pixels of each science exposure within a radius [pixel] of a place: indices (2, n)."""
        chosen = []
        for exposure in self.library.science:
            _, ny, nx = exposure.frames.shape
            x, y = (float(value) for value in exposure.find_pixel(east, up))
            rows, columns = np.ogrid[:ny, :nx]
            near = np.hypot(columns - nx // 2 - x, rows - ny // 2 - y) <= radius
            reduced = np.any([products.place >= 0 for products in self.products], axis=0)
            chosen.append(np.stack(np.nonzero(near & reduced & np.isfinite(exposure.frames).any(axis=0))))
        return chosen

    def residual(self, source: Source, window: Sequence[NDArray[np.intp]]) -> Array:
        """Subtract the star from the frames without the source, averaged over the frames of each exposure.

        Returns the pixels of the window of all exposures in a row, each exposure by the root of its number of frames.
        """
        lights = [self._light(k, source) for k in range(self.count)] if source.flux else []
        result = [
            np.full((len(e.frames), w.shape[1]), np.nan) for e, w in zip(self.library.science, window, strict=True)
        ]
        for products in self.products:
            inside = [products.place[tuple(w)] for w in window]
            if any((each >= 0).any() for each in inside):
                self._section(products, lights, source.flux, inside, result)
        return np.concatenate([self._mean(k, values, window[k]) for k, values in enumerate(result)])

    def _light(self, k: int, source: Source) -> tuple[tuple[slice, slice], Array]:
        """Image the source on science exposure `k`, its bad pixels filled as those of the frames are."""
        box, image = self.light.image(self.library.science[k], source.east, source.north)
        bad = self.bad[k][box]
        return box, shift.fill_bad(image, bad=bad) if bad.any() and image.size else image

    def _section(
        self,
        products: _Products,
        lights: Sequence[tuple[tuple[slice, slice], Array]],
        flux: float,
        inside: Sequence[NDArray[np.intp]],
        result: Sequence[Array],
    ) -> None:
        """Write the residuals of one section to the pixels of the windows that are in it."""
        owner = self.library.owner
        images = np.zeros((self.count, products.values.shape[1]))
        cross = np.zeros_like(products.gram)
        for k, (box, light) in enumerate(lights):
            at = products.place[box]
            pixels, values = at[at >= 0], light[at >= 0]
            images[k, pixels] = flux * values
            cross[:, owner == k] = (products.values[:, pixels] @ (flux * values))[:, np.newaxis]
        means = images.mean(axis=1, keepdims=True)
        square = images @ images.T - images.shape[1] * means @ means.T
        # What the reference stars see of the source is nothing: a row of zeros behind those of the science exposures.
        whose = np.minimum(owner, self.count)
        gram = products.gram - cross - cross.T + np.pad(square, (0, 1))[np.ix_(whose, whose)]
        for k, pixels in enumerate(inside):
            here = pixels >= 0
            if here.any():
                seen = np.pad(images[:, pixels[here]] - means, ((0, 1), (0, 0)))[whose]
                values = products.values[:, pixels[here]] - seen
                admitted, own = self.library.admitted(k, products.section), owner == k
                weights = gram[np.ix_(own, admitted)] @ _inverse(gram[np.ix_(admitted, admitted)], self.number)
                result[k][:, here] = values[own] - weights @ values[admitted]

    def _mean(self, k: int, values: Array, window: NDArray[np.intp]) -> Array:
        """Average the residuals of an exposure over its good frames; 0 where none is good."""
        good = np.isfinite(self.library.science[k].frames[:, window[0], window[1]]) & np.isfinite(values)
        count = good.sum(axis=0)
        mean = np.where(good, values, 0).sum(axis=0) / np.maximum(count, 1)
        return np.asarray(mean * np.sqrt(len(values)))


def _inverse(gram: Array, number: int) -> Array:
    """Invert products of frames on their first `number` principal components."""
    values, vectors = np.linalg.eigh(gram)
    vectors, values = vectors[:, -number:], values[-number:]
    return np.asarray((vectors / values) @ vectors.T)
