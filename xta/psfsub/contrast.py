"""Compute the contrast curve of an image of a PSF subtraction, the faintest detectable companion."""

import math

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from xta import model
from xta.errors import ArgumentError, counted
from xta.identity import header
from xta.psfsub import detection, photometry
from xta.psfsub.forward import Source
from xta.psfsub.frames import Datasets
from xta.psfsub.north import Array
from xta.psfsub.reduction import Reduction

__all__ = ["contrast"]

GOLDEN = math.pi * (3 - math.sqrt(5))  # turn from one injected source to the next [rad]
TURNS = 4  # position angles at which a source is injected at each separation
SPACING = 1.5  # between the separations of injected sources, at first and at least [resolution element]
BRIGHT = 10.0  # an injected source, over the scatter


def contrast(
    ds: xr.Dataset,
    /,
    *,
    science: Datasets,
    psf: ArrayLike,
    reference: Datasets | None = None,
    numbasis: int | None = None,
    sigma: float = 5.0,
    star_flux: photometry.Given = None,
    companions: xr.Dataset | None = None,
    transmission: ArrayLike | None = None,
) -> xr.Dataset:
    """Measure the faintest detectable companion as a function of separation, calibrated with injected companions.

    Parameters
    ----------
    ds : xarray.Dataset
        The result of `xta.klip`.
    science, reference : xarray.Dataset or iterable of them
        The exposures that the image was made from.
    psf : array_like
        Image of a point source beside the mask, as in `xta.inject`; it sums to 1.
    numbasis : int, optional
        Number of components; the largest of the image by default.
    sigma : float
        The false-alarm probability is that of a Gaussian beyond this number of standard deviations.
    star_flux : float, tuple or xarray.Dataset, optional
        Flux density of the star [Jy]; its magnitude in the filter and the zero point [Jy]; its magnitude in a band of
        2MASS or WISE and the name of the band, such as (7.1, "Ks") or, with the temperature [K], (7.1, "Ks", 6500); or
        the result of `star_flux`, measured in the image of the acquisition.
    companions : xarray.Dataset, optional
        The result of `companions`; these sources are removed first.
    transmission : array_like, optional
        Transmission of the mask, an image in the orientation of the detector with odd sides and the star on its central
        pixel. By default it is 1.

    Returns
    -------
    xarray.Dataset
        Along ``radius`` [arcsec]: ``flux_limit`` [unit of the image, summed over the pixels], ``flux_limit_jy``; with
        `star_flux` ``contrast`` and ``delta_mag``; ``throughput``, the fraction of a source that the subtraction and
        the mask leave, with ``throughput_err``, the scatter between position angles; ``limit``, the same as
        ``flux_limit`` as a value of the smoothed image, before the calibration; ``elements``, the number of resolution
        elements in a ring. The attributes ``star_flux`` and, if known, ``star_flux_err`` [Jy] are those of the
        contrast; an error of the star's flux shifts the whole curve.

    Raises
    ------
    KlipError
        If the exposures are not those of the image.
    MissingError
        If the dataset contains no image.
    ArgumentError
        If an option does not have the form above.

    Notes
    -----
    The image is averaged with a Gaussian of the resolution element. In rings one element wide the limit is
    mean + t s sqrt(1 + 1/n), with the standard deviation s, n elements, and t the quantile of Student's t with n - 1
    degrees of freedom [1]_. It is high if n is small.

    Sources of 10 times the scatter, four at each separation, are injected into the frames before the subtraction. The
    increase of the smoothed image at their places, divided by their flux, converts the limit to a flux.

    References
    ----------
    .. [1] D. Mawet et al., ApJ 792, 97 (2014).

    Examples
    --------
    >>> curve = image.ta.contrast(science=rolls, reference=stars, psf=psf, star_flux=0.82)  # doctest: +SKIP
    >>> curve.ta.plot.contrast(distance=20.0)  # doctest: +SKIP
    """
    flux = photometry.flux_of(star_flux, str(header(ds).get("filter", "")))
    if not sigma > 0:
        msg = f"sigma is {sigma}; give a positive number"
        raise ArgumentError(msg)
    reduction = Reduction(ds, science, reference, psf=psf, transmission=transmission, numbasis=numbasis)
    known = [] if companions is None else _sources(companions)
    before = _smoothed(reduction, known)
    found = detection.rings(before, reduction.element / reduction.scale, robust=False)
    level = detection.threshold(np.floor(found.elements), sigma) * np.sqrt(
        1 + 1 / np.maximum(np.floor(found.elements), 1)
    )
    limit = found.mean + level * found.scatter
    gain, spread = _gain(reduction, known, before, found)
    return _table(reduction, found, limit, (gain, spread), flux)


def _sources(table: xr.Dataset) -> list[Source]:
    rows = zip(*(table[name].values.tolist() for name in ("dra", "ddec", "flux")), strict=True)
    return [Source(*row) for row in rows]


def _smoothed(reduction: Reduction, sources: list[Source]) -> Array:
    image = reduction.without(sources)["klip"].transpose("y", "x").values.astype(float)
    return detection.smooth(image, reduction.element / reduction.scale)


def _gain(reduction: Reduction, known: list[Source], before: Array, found: detection.Rings) -> tuple[Array, Array]:
    """Measure the increase of the smoothed image by a source of flux 1 in each ring, and its scatter."""
    from scipy import ndimage

    element = reduction.element / reduction.scale
    peak = float(np.max(detection.smooth(reduction.light.psf, element)))
    good = np.isfinite(found.scatter) & (found.scatter > 0)
    radii = _radii(found.middle[good], element)
    fluxes = BRIGHT * np.interp(radii, found.middle[good], found.scatter[good]) / peak
    gains = np.full((TURNS, radii.size), np.nan)
    middle = before.shape[0] // 2
    for turn, row in enumerate(gains):
        angle = GOLDEN * np.arange(radii.size) + 2 * math.pi * turn / TURNS
        x, y = -radii * np.sin(angle), radii * np.cos(angle)  # x is to the west
        places = np.stack([-x, y, -fluxes / reduction.scale], axis=1) * reduction.scale
        gained = _smoothed(reduction, [*known, *(Source(*place) for place in places.tolist())]) - before
        at = np.stack([y + middle, x + middle])
        seen = ndimage.map_coordinates(np.nan_to_num(gained), at, order=3)
        observed = ndimage.map_coordinates(np.isfinite(gained).astype(float), at, order=1) > 0.999
        row[:] = np.where(observed, seen / fluxes, np.nan)
    usable = np.isfinite(gains).any(axis=0)
    if not usable.any():
        return np.full(found.middle.size, np.nan), np.full(found.middle.size, np.nan)
    inside = (found.middle >= radii[usable][0] - element / 2) & (found.middle <= radii[usable][-1] + element)
    mean, spread = (
        np.where(inside, np.interp(found.middle, radii[usable], values), np.nan)
        for values in (np.nanmean(gains[:, usable], axis=0), np.nanstd(gains[:, usable], axis=0))
    )
    return mean, spread


def _radii(middles: Array, element: float) -> Array:
    """Choose the separations of injected sources [pixel]: closer near the star, where the throughput changes."""
    radii, step = [float(middles[0])] if middles.size else [], SPACING * element
    while radii and radii[-1] + step <= middles[-1]:
        radii.append(radii[-1] + step)
        step = min(1.2 * step, 4 * SPACING * element)
    return np.array(radii)


def _table(
    reduction: Reduction,
    found: detection.Rings,
    limit: Array,
    gains: tuple[Array, Array],
    star_flux: tuple[float, float] | None,
) -> xr.Dataset:
    """Make the dataset of the curve."""
    image = reduction.image
    unit = str(image["klip"].attrs.get("units", ""))
    gain, spread = gains
    peak = float(np.max(detection.smooth(reduction.light.psf, reduction.element / reduction.scale)))
    flux = np.where(gain > 0, limit / np.where(gain > 0, gain, 1), np.nan)
    columns = {
        "flux_limit": (flux, unit, "faintest detectable flux, summed over the pixels"),
        "limit": (limit, unit, "value of the smoothed image that is a detection"),
        "throughput": (gain / peak, "1", "fraction of a source left by subtraction and mask"),
        "throughput_err": (spread / peak, "1", "scatter of the throughput between position angles"),
        "elements": (found.elements, "1", "resolution elements in the ring"),
    }
    if unit == "MJy/sr":
        jansky = flux * 1e6 * np.deg2rad(reduction.scale / 3600) ** 2
        columns["flux_limit_jy"] = jansky, "Jy", "faintest detectable flux density"
        if star_flux is not None:
            columns["contrast"] = jansky / star_flux[0], "1", "faintest detectable flux, over that of the star"
            columns["delta_mag"] = -2.5 * np.log10(jansky / star_flux[0]), "mag", "the same in magnitudes"
    variables = {
        name: ("radius", values, {"units": units, "long_name": text}) for name, (values, units, text) in columns.items()
    }
    about = {"units": "arcsec", "long_name": "separation from the star"}
    ds = xr.Dataset(variables, {"radius": ("radius", found.middle * reduction.scale, about)})
    kept = [name for name in ("filter", "target_name", "instrument") if name in image.coords]
    ds = ds.assign_coords({name: image[name].variable for name in kept}).assign_attrs(image.attrs)
    told = {} if star_flux is None else dict(zip(("star_flux", "star_flux_err"), star_flux, strict=True))
    ds = ds.assign_attrs({name: value for name, value in told.items() if math.isfinite(value)})
    return model.with_history(
        ds.assign_attrs(numbasis=reduction.number), f"contrast with {counted(reduction.number, 'component')}"
    )
