"""Compute images of a star in a segmented telescope, with and without a coronagraph.

The method is scalar Fourier optics: pupil to focal plane, focal mask, Lyot stop, focal plane. The images are
band-limited by the pupil, integrated over the pixels and placed at any sub-pixel position by a Fourier shift, so that
the position of a rendered star is accurate to the precision of the arithmetic.

References
----------
J. W. Goodman, "Introduction to Fourier Optics" (McGraw-Hill), chapters 5 and 6.
"""

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Camera", "place", "point_source", "suppressed_source", "wavefront"]

Array: TypeAlias = NDArray[np.float64]
Field: TypeAlias = NDArray[np.complex128]

_FLAT = 1.32  # segment width across the flats [m]
_PITCH = 1.327  # of the segment centers [m]
_BOX = 3.31  # half width of a square around the pupil [m]
_BAND = (0.96, 1.0, 1.04)  # wavelengths of an image, relative to the middle of the filter
_ARCSEC = math.radians(1 / 3600)


@dataclass(frozen=True)
class Camera:
    """Sampling of an image: wavelength [micron], pixel [arcsec], side of the square field [pixel]."""

    wavelength: float
    pixel: float
    size: int

    @property
    def oversample(self) -> int:
        """Samples per pixel that the shortest wavelength of the band needs (Nyquist)."""
        nyquist = _BAND[0] * self.wavelength * 1e-6 / (4 * _BOX) / _ARCSEC
        return max(1, math.ceil(self.pixel / nyquist))

    @property
    def count(self) -> int:
        """Samples along a side of the field."""
        return self.size * self.oversample


def _aperture(x: Array, y: Array, *, stop: bool) -> Array:
    """Draw the 18 hexagons and the struts of the pupil, or the Lyot stop inside it; x, y [m]."""
    inside = np.zeros(x.shape, dtype=bool)
    for q in range(-2, 3):
        for r in range(-2, 3):
            if not 1 <= max(abs(q), abs(r), abs(q + r)) <= 2:
                continue
            dx, dy = x - _PITCH * (q + r / 2), y - _PITCH * r * math.sqrt(3) / 2
            across = [abs(dx * math.cos(a) + dy * math.sin(a)) for a in np.radians([0, 60, 120])]
            inside |= np.max(across, axis=0) <= _FLAT / 2
    width = 0.3 if stop else 0.1
    for angle in np.radians([90, 240, 300]):
        along, beside = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
        inside &= ~((along > 0) & (abs(beside) < width))
    if stop:
        radius = np.hypot(x, y)
        inside &= (radius < 2.9) & (radius > 0.9)
    return inside.astype(float)


def wavefront(seed: int, *, rms: float, size: int = 256) -> Array:
    """Draw a random wavefront error over the pupil: optical path difference [m], shape (size, size), from `rms` [nm].

    Gaussian noise with a power spectrum that falls as the 2.6th power of spatial frequency up to 25 cycles
    across the pupil: enough to speckle the whole neighborhood of a mask.
    """
    from scipy import fft

    cycles = np.hypot(fft.fftfreq(size, 1 / size)[:, None], fft.rfftfreq(size, 1 / size))
    weight = np.where((cycles > 0) & (cycles < 25), np.maximum(cycles, 1.0) ** -1.3, 0.0)
    noise = np.random.default_rng(seed).standard_normal((size, size))
    screen: Array = fft.irfft2(weight * fft.rfft2(noise), s=(size, size))
    return np.asarray(screen * (rms * 1e-9 / screen.std()))


def _field(camera: Camera, wavelength: float, opd: Array | None) -> tuple[Field, Array]:
    """Evaluate the electric field in the pupil, inside the box, and the Lyot stop."""
    from scipy import ndimage

    step = wavelength * 1e-6 / (camera.size * camera.pixel * _ARCSEC)
    half = math.ceil(_BOX / step)
    x, y = np.meshgrid(*2 * [step * np.arange(-half, half + 1)])
    field = _aperture(x, y, stop=False).astype(complex)
    if opd is not None:
        where = (np.stack([y, x]) / (2 * _BOX) + 0.5) * (opd.shape[0] - 1)
        path = ndimage.map_coordinates(opd, where, order=1, mode="nearest")
        field *= np.exp(2j * math.pi * path / (wavelength * 1e-6))
    return field, _aperture(x, y, stop=True)


def _intensity(field: Field, count: int) -> Array:
    from scipy import fft

    return np.asarray(abs(fft.fft2(field, s=(count, count))) ** 2)


def point_source(camera: Camera, *, opd: Array | None = None, stop: bool = False) -> Array:
    """Image a point source without a mask: periodic, centered on sample [0, 0], with the sum 1.

    `opd` is a `wavefront`; without it the image is symmetric about its center. With `stop` the light goes through the
    Lyot stop, as that of a companion beside the mask does. The shape is (camera.count, camera.count).
    """
    count = camera.count
    image = np.zeros((count, count))
    for relative in _BAND:
        field, lyot = _field(camera, relative * camera.wavelength, opd)
        image += _intensity(field * lyot if stop else field, count)
    return np.asarray(image / image.sum())


def _transmission(camera: Camera, mask: str, size: float, offset: tuple[float, float]) -> Array:
    """Compute the amplitude transmission of a focal mask on the periodic grid; size [arcsec], offset [pixel]."""
    count = camera.count
    axis = np.fft.fftfreq(count, 1 / count) * camera.pixel / camera.oversample
    x, y = np.meshgrid(*(axis + camera.pixel * each for each in offset))
    if mask == "4qpm":
        return np.sign(x) * np.sign(y)
    if mask == "spot":
        return (np.hypot(x, y) > size).astype(float)
    distance = abs(y) if mask == "bar" else np.hypot(x, y)
    half = -math.log(1 - math.sqrt(0.5))  # so that the intensity is halved at `size`
    return 1 - np.exp(-half * (distance / size) ** 2)


def suppressed_source(
    camera: Camera, *, mask: str, mask_size: float, opd: Array, offset: tuple[float, float] = (0.0, 0.0)
) -> Array:
    """Image a point source behind a mask "round", "bar", "4qpm" or "spot", as `point_source` does.

    `offset` is the place of the source relative to the middle of the mask, along x and y [pixel].

    `mask_size` is the half width at half maximum, or the radius of the spot [arcsec]. The speckles come from `opd`. The
    sum of the image is the transmitted fraction; it is 1 without the mask.
    """
    from scipy import fft

    count = camera.count
    image, unmasked = np.zeros((count, count)), 0.0
    transmission = _transmission(camera, mask, mask_size, offset)
    for relative in _BAND:
        field, lyot = _field(camera, relative * camera.wavelength, opd)
        relayed = fft.ifft2(transmission * fft.fft2(field, s=(count, count)))
        # The pupil fills a corner of the grid: outside its box the stop is closed.
        image += _intensity(relayed[: lyot.shape[0], : lyot.shape[1]] * lyot, count)
        unmasked += float(np.sum(abs(field * lyot) ** 2)) * count**2
    return image / unmasked


def place(image: Array, camera: Camera, *, x: float, y: float, shape: tuple[int, int]) -> Array:
    """Put an image of a source at x, y of a detector [0-based pixel] and integrate it over the pixels.

    `image` is from `point_source` or `suppressed_source` with the same `camera`, whose field must be larger than
    `shape`, (ny, nx). The result is the part of the light in each pixel.
    """
    from scipy import fft

    count = image.shape[0]
    fx, fy = fft.rfftfreq(count, 1 / camera.oversample), fft.fftfreq(count, 1 / camera.oversample)[:, None]
    pixel = np.sinc(fx) * np.sinc(fy) * camera.oversample**2
    shifted = fft.irfft2(fft.rfft2(image) * pixel * np.exp(-2j * math.pi * (fx * x + fy * y)), s=image.shape)
    return np.asarray(shifted[:: camera.oversample, :: camera.oversample][: shape[0], : shape[1]])
