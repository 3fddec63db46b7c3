"""Determine the flux of the star from a number, a magnitude, or the image of its acquisition."""

import math
from typing import Any, TypeAlias

import numpy as np
import xarray as xr

from xta import model
from xta.acquisition import image, instrument
from xta.errors import ArgumentError, MissingError, ProductError, counted
from xta.geometry import sky, wcs
from xta.identity import header
from xta.images import dq, shift
from xta.psfsub.north import Array

__all__ = ["ZERO_POINTS", "Given", "flux_of", "star_flux"]

Given: TypeAlias = float | tuple[float, float] | tuple[float, str] | tuple[float, str, float] | xr.Dataset | None
"""Forms of a star's flux: flux density [Jy]; magnitude and zero point [Jy]; magnitude, catalog band and, if it is
known, the temperature of the star [K]; the result of `star_flux`."""

Value: TypeAlias = tuple[float, float]  # with its standard error

ZERO_POINTS = {
    **{"J": (1.235, 1594.0), "H": (1.662, 1024.0), "KS": (2.159, 666.7)},
    **{"W1": (3.3526, 309.54), "W2": (4.6028, 171.787), "W3": (11.5608, 31.674), "W4": (22.0883, 8.363)},
}
"""Catalog band -> wavelength [um] and flux density of magnitude 0 [Jy]: 2MASS and WISE, see `star_flux`."""

DENSITY = {"F335M": (2.82, 0.10), "F210M": (3.05, 0.11)}
"""Optical density of NIRCam's neutral density squares in the filters of acquisition, and its error."""

NEUTRAL = (11.0, 3.0)  # effective wavelength of MIRI's FND, assumed, and its error [um]
COOL, USUAL, HOT = 3500.0, 5800.0, 10_000.0  # of stars [K]
RADIUS, ANNULUS = 6.0, (8.0, 11.0)  # aperture, and annulus of the background [resolution element]
PARTS = ("photometry", "aperture", "attenuation", "color")

COLUMNS = {
    "star_flux": ("Jy", "flux density of the star in the filter of the exposure"),
    "star_flux_err": ("Jy", "standard error of the flux density"),
    "ta_flux": ("Jy", "flux density of the star in the filter of the acquisition"),
    "attenuation": ("1", "factor by which the acquisition was attenuated"),
    "color": ("1", "flux density in the filter of the exposure over that in the filter of the acquisition"),
}


def star_flux(
    ds: xr.Dataset,
    *,
    attenuation: float | Value | None = None,
    enclosed: float | Value = (0.90, 0.05),
    temperature: float | None = None,
) -> xr.Dataset:
    """Measure the flux density of the star in the image of its target acquisition, by aperture photometry.

    Parameters
    ----------
    ds : xarray.Dataset
        An exposure with an acquisition attached or analyzed. The acquisition in use is measured.
    attenuation : float or (float, float), optional
        Factor by which the acquisition was attenuated, and its standard error. By default that of NIRCam's neutral
        density squares if the subarray has one, and otherwise 1; for MIRI's filter FND it must be given.
    enclosed : float or (float, float)
        Fraction of the light within the aperture, with a radius of 6 lambda / 6.5 m, and its standard error. The
        default is an assumed value; STPSF gives that of a filter and pupil.
    temperature : float, optional
        Temperature of the star [K], for the color between the two filters. By default 5800 K, with half of the
        difference between 3500 and 10,000 K as the error.

    Returns
    -------
    xarray.Dataset
        ``star_flux`` and ``star_flux_err`` [Jy] in the filter of the exposure; ``ta_flux`` [Jy] in that of the
        acquisition; the factors ``attenuation`` and ``color`` that were used; ``relative_err`` along ``part``
        (photometry, aperture, attenuation, color). The attributes contain the assumptions. `contrast` and `companions`
        accept the result as ``star_flux``.

    Raises
    ------
    MissingError
        If the acquisition is not attached, or for FND no attenuation is given.
    ProductError
        If the image is not in MJy/sr, the star is too near to its edge, or a pixel of the star's core is bad.
    CentroidError
        If there is no star in the image.
    ArgumentError
        If an option does not have the form above.

    Notes
    -----
    *Photometry* is that of photutils, with the median of an annulus of 8 to 11 lambda / 6.5 m as background. Bad
    pixels are filled from their neighbors; one within lambda / 6.5 m of the star is an error.

    *Attenuation.* The pipeline's calibration of an acquisition knows its filter, not the neutral density square in
    front of it. The density of the squares is 2.92 (F335M) and 3.17 (F210M) by their manufacturer, and 7 % less in
    a test of the instrument [1]_; used is the middle, with half of the difference as the error: 23 and 25 % in flux.
    The observatory's documentation gives about 7.5 mag [2]_, a density of 3.0. So a flux from such an acquisition is
    good for a contrast curve, and not for photometry of the star.

    *Color.* A black body: molecular bands, such as of CO in F444W and F460M, and dust are not in it or its error. FND
    passes most of MIRI's range; its wavelength is taken to be 11 +- 3 um, and the error of the color is large.

    *Magnitudes.* The zero points of 2MASS are those of [3]_, of WISE those of [4]_.

    References
    ----------
    .. [1] J. Leisenring, webbpsf_ext, ``NDspot_ODvsWavelength.txt`` and ``bandpasses.py``.
    .. [2] "NIRCam Coronagraphic Imaging", https://jwst-docs.stsci.edu.
    .. [3] M. Cohen, W. A. Wheaton, S. T. Megeath, AJ 126, 1090 (2003).
    .. [4] T. H. Jarrett et al., ApJ 735, 112 (2011).

    Examples
    --------
    >>> flux = sci.ta.star_flux()  # doctest: +SKIP
    >>> image.ta.contrast(science=rolls, reference=stars, psf=psf, star_flux=flux)  # doctest: +SKIP
    """
    ta = image.in_use(ds)
    band, science = str(ta["ta_filter"].item()), str(header(ds).get("filter", ""))
    dimmed, why = _attenuation(ta, band, attenuation)
    fraction = _value("enclosed", enclosed)
    start = NEUTRAL if band == "FND" else (instrument.wavelength(band), 0.0)
    flux = _photometry(ds, ta, start[0])
    color = _color(start, instrument.wavelength(science), temperature)
    errors = [value[1] / value[0] for value in (flux, fraction, dimmed, color)]
    measured = flux[0] * dimmed[0] / fraction[0]
    total = measured * color[0]
    values = (total, total * math.hypot(*errors), measured, dimmed[0], color[0])
    variables: dict[str, Any] = {
        name: ((), value, {"units": unit, "long_name": text})
        for (name, (unit, text)), value in zip(COLUMNS.items(), values, strict=True)
    }
    about = {"units": "1", "long_name": "part of the relative standard error of the flux density"}
    variables["relative_err"] = ("part", errors, about)
    attrs = {"ta_filter": band, "filter": science, "ta_filename": str(ta["ta_filename"].item())}
    attrs |= {"attenuation_source": why, "color_source": f"black body of {temperature or USUAL:.0f} K"}
    result = xr.Dataset(variables, {"part": list(PARTS)}, attrs)
    return model.with_history(result, f"star_flux in {attrs['ta_filename']}")


def flux_of(given: Given, band: str) -> Value | None:
    """Read the flux density of the star in a filter, and its standard error, NaN where it is not known [Jy].

    None where none is given; ArgumentError if it has none of the forms of `Given`.
    """
    if given is None:
        return None
    if isinstance(given, xr.Dataset) and {"star_flux", "star_flux_err"} <= set(given.variables):
        flux, error = float(given["star_flux"]), float(given["star_flux_err"])
    elif isinstance(given, tuple) and len(given) in {2, 3} and isinstance(given[1], str):
        flux, error = _of_catalog(float(given[0]), given[1], band, *given[2:])
    else:
        flux, error = _of_numbers(given), math.nan
    if not (math.isfinite(flux) and flux > 0):
        msg = (
            f"star_flux is {given!r}; give the flux density [Jy], a magnitude and the zero point [Jy] or a band "
            f"({', '.join(ZERO_POINTS)}), or the result of ds.ta.star_flux()"
        )
        raise ArgumentError(msg)
    return flux, error


def _of_catalog(magnitude: float, name: str, band: str, temperature: float | None = None) -> Value:
    """Convert a magnitude in a band of a catalog to a flux density in a filter."""
    if name.upper() not in ZERO_POINTS:
        return math.nan, math.nan
    start, zero = ZERO_POINTS[name.upper()]
    color, error = _color((start, 0.0), instrument.wavelength(band), temperature)
    flux = zero * 10 ** (-0.4 * magnitude) * color
    return flux, flux * error / color


def _of_numbers(given: Any) -> float:
    """Read a flux density, or a magnitude and its zero point; NaN if it is neither."""
    try:
        values = np.atleast_1d(np.asarray(given, dtype=float))
    except (TypeError, ValueError):
        return math.nan
    if values.size == 2:
        return float(values[1] * 10 ** (-0.4 * values[0]))
    return float(values[0]) if values.size == 1 else math.nan


def _value(name: str, given: Any) -> Value:
    """Read a positive number, alone or with its standard error."""
    values = np.atleast_1d(np.asarray(given, dtype=float)).tolist()
    value, error = (values[0], 0.0) if len(values) == 1 else tuple(values) if len(values) == 2 else (0.0, 0.0)
    if not (math.isfinite(value) and value > 0 and 0 <= error < math.inf):
        msg = f"{name} is {given!r}; give a positive number, or one and its standard error"
        raise ArgumentError(msg)
    return value, error


def _attenuation(ta: xr.Dataset, band: str, given: float | Value | None) -> tuple[Value, str]:
    """Choose the factor by which an acquisition was attenuated, with its error, and say where it is from."""
    if given is not None:
        return _value("attenuation", given), "given"
    if band == "FND":
        msg = "the acquisition was through FND, whose attenuation is not known here; give attenuation=(factor, error)"
        raise MissingError(msg)
    if not str(ta["ta_subarray"].item()).startswith("SUBND"):
        return (1.0, 0.0), "no neutral density"
    if band not in DENSITY:
        msg = f"the density of the neutral density square in {band} is not known here; give attenuation=(factor, error)"
        raise MissingError(msg)
    density, error = DENSITY[band]
    return (10**density, 10**density * math.log(10) * error), f"optical density {density:.2f} +- {error:.2f}"


def _photometry(ds: xr.Dataset, ta: xr.Dataset, wavelength: float) -> Value:
    """Measure the star in the TA image [Jy], with the error by noise."""
    from astropy.stats import SigmaClip
    from photutils.aperture import ApertureStats, CircularAnnulus, CircularAperture

    if (unit := ta["ta_sci"].attrs.get("units", "")) != "MJy/sr":
        msg = f"the TA image is in {unit or 'unknown units'}, not MJy/sr; attach the _cal product of the acquisition"
        raise ProductError(msg)
    star = image.image_centroid(ds)
    scale = wcs.pixel_scale(sky.the_wcs(ta, "ta_wcs"), star.x, star.y)
    element = math.degrees(wavelength * 1e-6 / instrument.PRIMARY) * 3600 / scale
    at = star.x - float(ta["ta_x"].values[0]), star.y - float(ta["ta_y"].values[0])
    pixels, err = _filled(ta, at, element)
    ny, nx = pixels.shape
    radius = element * RADIUS
    if min(*at, nx - 1 - at[0], ny - 1 - at[1]) < radius:
        msg = f"the star is nearer than {radius:.0f} px to the edge of the TA image; give its flux as a number"
        raise ProductError(msg)
    around = CircularAnnulus(at, *(element * edge for edge in ANNULUS))
    field = ApertureStats(pixels, around, sigma_clip=SigmaClip(3.0))
    light = ApertureStats(pixels - field.median, CircularAperture(at, radius), error=err)
    area = float(light.sum_aper_area.value)
    of_background = float(field.std) * math.sqrt(math.pi / 2 / float(field.center_aper_area.value))
    noise = math.hypot(float(light.sum_err), area * of_background)
    jansky = 1e6 * math.radians(scale / 3600) ** 2
    return float(light.sum) * jansky, noise * jansky


def _filled(ta: xr.Dataset, at: tuple[float, float], element: float) -> tuple[Array, Array]:
    """Fill the bad pixels of the TA image and of its errors; ProductError if one is in the core of the star."""
    names = [name for name in ("ta_sci", "ta_dq", "ta_err") if name in ta.variables]
    arrays = {name: ta.variables[name].transpose("ta_y", "ta_x").values for name in names}
    pixels = arrays["ta_sci"].astype(float)
    bad = dq.bad_pixels(pixels, arrays.get("ta_dq"))
    y, x = np.indices(pixels.shape)
    if number := int(np.count_nonzero(bad & (np.hypot(x - at[0], y - at[1]) < element))):
        which = counted(number, "pixel")
        msg = f"bad or saturated in the core of the star in the TA image: {which}; give its flux as a number"
        raise ProductError(msg)
    err = np.asarray(arrays.get("ta_err", np.zeros(pixels.shape)), dtype=float)
    return shift.fill_bad(pixels, bad=bad), np.where(np.isfinite(err) & (err > 0), err, 0.0)


def _color(start: Value, end: float, temperature: float | None) -> Value:
    """Compute the ratio of flux densities at a wavelength and at another that has an error, of a star [um, K]."""
    if temperature is not None and not 0 < temperature < math.inf:
        msg = f"temperature is {temperature}; give that of the star [K]"
        raise ArgumentError(msg)
    color = _ratio(start[0], end, temperature or USUAL)
    spread = 0.0 if temperature else abs(_ratio(start[0], end, COOL) - _ratio(start[0], end, HOT)) / 2
    by_wavelength = abs(_ratio(start[0] + start[1], end, USUAL) - _ratio(start[0] - start[1], end, USUAL)) / 2
    return color, math.hypot(spread, by_wavelength)


def _ratio(start: float, end: float, temperature: float) -> float:
    """Divide the flux density of a black body at one wavelength by that at another [um, K]."""
    from astropy.constants import c, h, k_B

    u, v = ((h * c / k_B).value * 1e6 / (wavelength * temperature) for wavelength in (start, end))
    return (start / end) ** 3 * math.expm1(u) / math.expm1(v)
