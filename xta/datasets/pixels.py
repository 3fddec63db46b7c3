"""Render the exposures of a sample visit: star, speckles, companion, noise and bad pixels."""

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from xta.datasets.frame import offset, sky_to_pixel
from xta.datasets.modes import WAVELENGTHS, find
from xta.datasets.optics import Camera, place, point_source, suppressed_source
from xta.datasets.optics import wavefront as draw_wavefront
from xta.datasets.plan import Exposure, VisitConfig
from xta.datasets.products import Pixels
from xta.geometry import siaf

if TYPE_CHECKING:
    from pysiaf import JwstAperture

__all__ = ["companion_pixel", "psf", "render"]

_STATIC = 60.0  # wavefront error that all visits share [nm]
_TA_DIMMING = 1e-2  # transmission of the neutral density in front of the acquisition regions of coronagraphy
_LARGE = 700  # side above which the star is rendered only on a cutout [pixel]
_CUTOUT = 320  # side of the cutout [pixel]
_BAD = 0.002  # fraction of the pixels
_DO_NOT_USE, _JUMP, _HOT = 1, 4, 2048  # bits of the JWST data quality flags
_NEAREST, _FARTHEST = 3.0, 70.0  # distance of background stars from the star [arcsec]
_FAINT = (-4.5, -2.5)  # logarithm of their flux over that of the star
_SMALL = 64  # side of the cutout of a background star [pixel]
_CLEAN = 6.0  # radius around the star without bad pixels [pixel]

Image = NDArray[np.float64]


def companion_pixel(config: VisitConfig, exposure: Exposure) -> tuple[float, float]:
    """Compute the true 0-based pixel of the companion; NaN if there is none."""
    if config.companion is None:
        return math.nan, math.nan
    separation, angle, _ = config.companion
    x, y = sky_to_pixel(exposure.step.frame, exposure.attitude, *offset(*config.target, separation, angle))
    return x + exposure.displaced[0], y + exposure.displaced[1]


def field_stars(config: VisitConfig) -> list[tuple[float, float, float]]:
    """Draw the background stars around a target: right ascension, declination [deg], flux over that of the star."""
    about = [round(1e6 * (angle + 90)) for angle in config.target]
    rng = np.random.default_rng([config.wavefront, 12, *about])
    separation = np.sqrt(rng.uniform(_NEAREST**2, _FARTHEST**2, config.field))
    angle, contrast = rng.uniform(0, 360, config.field), 10 ** rng.uniform(*_FAINT, config.field)
    return [
        (*offset(*config.target, *polar), float(faint))
        for *polar, faint in zip(separation.tolist(), angle.tolist(), contrast, strict=True)
    ]


def _camera(ap: "JwstAperture", wavelength: float, shape: tuple[int, int] | None = None) -> Camera:
    from scipy import fft

    size = max(128, int(1.25 * max(shape or (ap.XSciSize, ap.YSciSize))))
    return Camera(wavelength, float(ap.XSciScale + ap.YSciScale) / 2, fft.next_fast_len(size))


def psf(
    mode: str = "nircam",
    *,
    x: float,
    y: float,
    shape: tuple[int, int],
    wavefront: int = 0,
    prd: str | None = None,
) -> Image:
    """Image a point source beside the mask, like the companion of a sample visit.

    Parameters
    ----------
    mode : str
        As in `xta.datasets.make_visit`.
    x, y : float
        Position of the source, 0-based [pixel].
    shape : (int, int)
        Shape of the image, (ny, nx); not larger than the readout of the mode.
    wavefront : int
        Seed of the telescope; for `make_program` it is its ``seed``.
    prd : str, optional
        Release of the SIAF, for the pixel scale.

    Returns
    -------
    array of shape `shape`
        The image integrated over the pixels; its sum is 1, minus the light outside.
    """
    setup = find(mode)
    camera = _camera(siaf.aperture(setup.instrument, setup.aperture, prd), WAVELENGTHS[setup.filter])
    image = point_source(camera, opd=draw_wavefront(wavefront, rms=_STATIC), stop=True)
    return place(image, camera, x=x, y=y, shape=shape)


def _scene(config: VisitConfig, exposure: Exposure) -> Image:
    """Render an exposure without noise and background; shape (ny, nx) [MJy/sr]."""
    ap = exposure.step.frame.readout
    shape = (int(ap.YSciSize), int(ap.XSciSize))
    if max(shape) <= _LARGE:
        image = _stars(config, exposure, shape=shape, corner=(0, 0))
    else:
        image = np.zeros(shape)
        (x0, nx), (y0, ny) = (_part(at, size, _CUTOUT) for at, size in zip(exposure.star, shape[::-1], strict=True))
        image[y0 : y0 + ny, x0 : x0 + nx] = _stars(config, exposure, shape=(ny, nx), corner=(x0, y0))
    if config.field:
        _add_field(config, exposure, image)
    return image


def _part(at: float, size: int, width: int) -> tuple[int, int]:
    """Compute the first pixel and the width of a part of an axis around a pixel."""
    return min(max(0, round(at) - width // 2), max(0, size - width)), min(width, size)


def _add_field(config: VisitConfig, exposure: Exposure, image: Image) -> None:
    """Add the background stars to an image."""
    step = exposure.step
    camera = _camera(step.frame.readout, WAVELENGTHS[step.filter], (_SMALL, _SMALL))
    source = point_source(camera, opd=draw_wavefront(config.wavefront, rms=_STATIC), stop=config.setup.mask != "none")
    total = _sum_of_star(config, step.frame.readout)
    for ra, dec, contrast in field_stars(config):
        x, y = np.add(sky_to_pixel(step.frame, exposure.attitude, ra, dec), exposure.displaced).tolist()
        if all(0 <= at < size for at, size in zip((x, y), image.shape[::-1], strict=True)):
            (x0, nx), (y0, ny) = (_part(at, size, _SMALL) for at, size in zip((x, y), image.shape[::-1], strict=True))
            light = place(source, camera, x=x - x0, y=y - y0, shape=(ny, nx))
            image[y0 : y0 + ny, x0 : x0 + nx] += total * contrast * light


def _sum_of_star(config: VisitConfig, ap: "JwstAperture") -> float:
    """Compute the flux of the star, summed over the pixels [MJy/sr]."""
    return config.star_flux * 1e-6 / (float(ap.XSciScale * ap.YSciScale) * math.radians(1 / 3600) ** 2)


def _stars(config: VisitConfig, exposure: Exposure, *, shape: tuple[int, int], corner: tuple[int, int]) -> Image:
    """Render the star and its companion on part of an array that begins at a corner (x, y)."""
    setup, step = config.setup, exposure.step
    ap = step.frame.readout
    total = _sum_of_star(config, ap)
    camera = _camera(ap, WAVELENGTHS[step.filter], shape)

    def placed(image: Image, star: tuple[float, float]) -> Image:
        return place(image, camera, x=star[0] - corner[0], y=star[1] - corner[1], shape=shape)

    if not (step.science or step.masked):
        dimming = 1.0 if setup.mask == "none" else _TA_DIMMING
        # NIRCam's acquisitions for coronagraphy look through the Lyot stop.
        stop = not config.ideal and setup.letters == "NRC" and setup.mask != "none"
        center = exposure.star[0] + exposure.light[0], exposure.star[1] + exposure.light[1]
        return dimming * total * placed(point_source(camera, stop=stop), center)
    # Behind the mask only the speckles of the star are seen: those of the telescope, plus a small drift of each visit.
    drift = np.random.default_rng([config.seed, 3]).integers(2**32)
    opd = draw_wavefront(config.wavefront, rms=_STATIC) + draw_wavefront(int(drift), rms=config.drift)
    if step.masked:
        star = suppressed_source(camera, mask=setup.mask, mask_size=setup.mask_size, opd=opd)
    else:
        star = point_source(camera, opd=opd)
    image = total * placed(star, exposure.star)
    if config.companion is not None:
        companion = point_source(camera, opd=opd, stop=step.masked)
        image += total * config.companion[2] * placed(companion, companion_pixel(config, exposure))
    return image


def render(config: VisitConfig, exposure: Exposure) -> Pixels:
    """Make the arrays of an exposure, with the star at ``exposure.star`` to machine precision.

    Photon and read noise follow `var_poisson` and `var_rnoise`. A few pixels are hot or not a number, both flagged
    DO_NOT_USE, and some integrations have a corrected jump.
    """
    setup, step = config.setup, exposure.step
    rng = np.random.default_rng([config.seed, 4, int(step.activity, 16), step.number])
    ideal = (_scene(config, exposure) + setup.background).astype(np.float32)
    shape = (step.integrations, *ideal.shape) if step.science else ideal.shape
    electrons = np.float32(step.integration_time * setup.gain / setup.megajanskys)  # in a pixel, for 1 MJy/sr
    poisson = np.broadcast_to(np.maximum(ideal, 0) / electrons, shape).astype(np.float32)
    rnoise = np.full(shape, (setup.read_noise / electrons) ** 2, dtype=np.float32)
    err = np.sqrt(poisson + rnoise)
    sci = (ideal + err * rng.standard_normal(shape, dtype=np.float32)).astype(np.float32, copy=False)
    pixel_flags = np.zeros(shape, dtype=np.uint32)
    pixel_flags[rng.random(shape) < _BAD] = _JUMP
    hot, dead = _bad_pixels(config, exposure, ideal.shape)
    sci[..., hot] += np.float32(3 * np.abs(ideal).max())
    pixel_flags[..., hot] |= _DO_NOT_USE | _HOT
    pixel_flags[..., dead] |= _DO_NOT_USE
    for array in (sci, err, poisson, rnoise):
        array[..., dead] = np.nan
    return Pixels(sci, err, pixel_flags, poisson, rnoise)


def _bad_pixels(config: VisitConfig, exposure: Exposure, shape: tuple[int, ...]) -> tuple[NDArray[np.bool], ...]:
    """Draw the hot and the dead pixels, away from the star: the detector's, the same in all its exposures."""
    y, x = np.indices(shape)
    far = np.hypot(x - exposure.star[0], y - exposure.star[1]) > _CLEAN
    draw = np.random.default_rng([config.wavefront, 6]).random(shape)
    return far & (draw < _BAD / 2), far & (draw > 1 - _BAD / 2)
