"""Paint the exposures of a sample visit: star, speckles, companion, noise and bad pixels."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xta.datasets.attitude import offset
from xta.datasets.frame import pixel_of
from xta.datasets.optics import Camera, place, point_source, suppressed_source
from xta.datasets.optics import wavefront as draw_wavefront
from xta.datasets.plan import SCIENCE_TIME, TA_TIME, Exposure, Order
from xta.datasets.products import Pixels
from xta.datasets.setups import find
from xta.geometry import siaf

__all__ = ["companion_pixel", "paint", "psf", "scene"]

_STATIC = 60.0  # wavefront error that all visits share [nm]
_TA_DIMMING = 1e-2  # of the neutral density in front of the acquisition regions of coronagraphy
_LARGE = 700  # a larger array has its star on a stamp of itself [pixel]
_STAMP = 320  # side of the stamp [pixel]
_BAD = 0.002  # part of the pixels
_DO_NOT_USE, _JUMP, _HOT = 1, 4, 2048  # bits of the JWST data quality flags
_CLEAN = 6.0  # no bad pixel this near to the star [pixel]


def companion_pixel(order: Order, exposure: Exposure) -> tuple[float, float]:
    """Find the true pixel of the companion.

    Parameters
    ----------
    order : Order
        With a companion.
    exposure : Exposure

    Returns
    -------
    x, y : float
        0-based [pixel]; NaN where there is no companion.
    """
    if order.companion is None:
        return float("nan"), float("nan")
    separation, angle, _ = order.companion
    ra, dec = offset(*order.target, separation, angle)
    return pixel_of(exposure.step.frame, exposure.true, ra=ra, dec=dec)


def _camera(ap: Any, wavelength: float, shape: tuple[int, int] | None = None) -> Camera:
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
) -> NDArray[np.float64]:
    """Image a point source beside the mask, as the companion of a sample visit is imaged.

    Parameters
    ----------
    mode : str
        As in `xta.datasets.make_visit`.
    x, y : float
        Where the source is, 0-based [pixel].
    shape : (int, int)
        Of the image, (ny, nx); not larger than the readout of the mode.
    wavefront : int
        Seed of the telescope; that of `make_program` is its ``seed``.
    prd : str, optional
        Release of the SIAF, for the pixel scale.

    Returns
    -------
    array of shape `shape`
        Integrated over the pixels; sums to 1 but for what falls outside.
    """
    setup = find(mode)
    camera = _camera(siaf.aperture(setup.instrument, setup.aperture, prd), setup.wavelength)
    image = point_source(camera, opd=draw_wavefront(wavefront, rms=_STATIC), stop=True)
    return place(image, camera, x=x, y=y, shape=shape)


def scene(order: Order, exposure: Exposure) -> NDArray[np.float64]:
    """Render an exposure without noise.

    Parameters
    ----------
    order : Order
    exposure : Exposure

    Returns
    -------
    array of shape (ny, nx)
        Surface brightness [MJy/sr], without the background.

    Notes
    -----
    The star is at ``exposure.star`` to machine precision. In a science exposure it is seen behind the middle
    of the mask: its speckles are those of the telescope, the same in every visit but for a small drift.
    """
    ap = exposure.step.frame.readout
    shape = (int(ap.YSciSize), int(ap.XSciSize))
    if max(shape) <= _LARGE:
        return _stars(order, exposure, shape=shape, corner=(0, 0))
    x0, y0 = (
        min(max(0, round(at) - _STAMP // 2), max(0, size - _STAMP))
        for at, size in zip(exposure.star, shape[::-1], strict=True)
    )
    part = min(_STAMP, shape[0]), min(_STAMP, shape[1])
    image = np.zeros(shape)
    image[y0 : y0 + part[0], x0 : x0 + part[1]] = _stars(order, exposure, shape=part, corner=(x0, y0))
    return image


def _stars(order: Order, exposure: Exposure, *, shape: tuple[int, int], corner: tuple[int, int]) -> NDArray[np.float64]:
    """Render the star and its companion on part of an array that begins at a corner (x, y)."""
    setup, step = order.setup, exposure.step
    ap = step.frame.readout
    x, y = exposure.star[0] - corner[0], exposure.star[1] - corner[1]
    steradian = float(ap.XSciScale * ap.YSciScale) * math.radians(1 / 3600) ** 2
    total = order.star_flux * 1e-6 / steradian  # summed over the pixels [MJy/sr]
    camera = _camera(ap, step.wavelength, shape)
    if step.kind != "science" and not step.masked:
        dimming = 1.0 if setup.mask == "none" else _TA_DIMMING
        return dimming * total * place(point_source(camera), camera, x=x, y=y, shape=shape)
    drift = np.random.default_rng([order.seed, 3]).integers(2**32)
    opd = draw_wavefront(order.wavefront, rms=_STATIC) + draw_wavefront(int(drift), rms=order.drift)
    if step.masked:
        star = suppressed_source(camera, mask=setup.mask, mask_size=setup.mask_size, opd=opd)
    else:
        star = point_source(camera, opd=opd)
    image = total * place(star, camera, x=x, y=y, shape=shape)
    if order.companion is not None:
        other = point_source(camera, opd=opd, stop=step.masked)
        x, y = (at - start for at, start in zip(companion_pixel(order, exposure), corner, strict=True))
        image += total * order.companion[2] * place(other, camera, x=x, y=y, shape=shape)
    return image


def paint(order: Order, exposure: Exposure) -> Pixels:
    """Make the arrays of an exposure.

    Parameters
    ----------
    order : Order
    exposure : Exposure

    Returns
    -------
    Pixels
        Photon and read noise as `var_poisson` and `var_rnoise` say; a few pixels are hot or not a number,
        both flagged DO_NOT_USE, and some integrations have a corrected jump.
    """
    setup, science = order.setup, exposure.step.kind == "science"
    rng = np.random.default_rng([order.seed, 4, int(exposure.step.activity, 16), exposure.step.number])
    ideal = (scene(order, exposure) + setup.background).astype(np.float32)
    shape = (order.integrations, *ideal.shape) if science else ideal.shape
    time = SCIENCE_TIME if science else TA_TIME
    electrons = np.float32(time * setup.gain / setup.megajanskys)  # in a pixel, for 1 MJy/sr
    poisson = np.broadcast_to(np.maximum(ideal, 0) / electrons, shape).astype(np.float32)
    rnoise = np.full(shape, (setup.read_noise / electrons) ** 2, dtype=np.float32)
    err = np.sqrt(poisson + rnoise)
    sci = (ideal + err * rng.standard_normal(shape, dtype=np.float32)).astype(np.float32, copy=False)
    dq = np.zeros(shape, dtype=np.uint32)
    dq[rng.random(shape) < _BAD] = _JUMP
    y, x = np.indices(ideal.shape)
    far = np.hypot(x - exposure.star[0], y - exposure.star[1]) > _CLEAN
    # Bad pixels are the detector's, the same in all its exposures.
    draw = np.random.default_rng([order.wavefront, 6]).random(ideal.shape)
    hot, dead = far & (draw < _BAD / 2), far & (draw > 1 - _BAD / 2)
    sci[..., hot] += np.float32(3 * np.abs(ideal).max())
    dq[..., hot] |= _DO_NOT_USE | _HOT
    dq[..., dead] |= _DO_NOT_USE
    for array in (sci, err, poisson, rnoise):
        array[..., dead] = np.nan
    return Pixels(sci, err, dq, poisson, rnoise)
