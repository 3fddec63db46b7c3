"""Find companions in an image of a PSF subtraction, and measure their positions and fluxes with errors."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from xta import model
from xta.errors import ArgumentError, counted
from xta.identity import header
from xta.psfsub import detection, photometry, star
from xta.psfsub.fitting import Fit, covariance, fit
from xta.psfsub.forward import Source
from xta.psfsub.frames import Datasets
from xta.psfsub.north import Array
from xta.psfsub.reduction import Reduction

__all__ = ["companions"]

MOST = 10  # companions that are looked for
LEAST = 5.0  # flux of one that is found, over its error

PARTS = ("fit", "star", "distortion", "true north", "plate scale")
"""Parts of the error of a position."""

COLUMNS = {
    "separation": ("arcsec", "separation from the star"),
    "separation_err": ("arcsec", "standard error of the separation"),
    "position_angle": ("degree", "position angle, east of north"),
    "position_angle_err": ("degree", "standard error of the position angle"),
    "separation_angle_corr": ("1", "correlation of the errors of separation and position angle"),
    "dra": ("arcsec", "offset from the star to the east"),
    "dra_err": ("arcsec", "standard error of the offset to the east"),
    "ddec": ("arcsec", "offset from the star to the north"),
    "ddec_err": ("arcsec", "standard error of the offset to the north"),
    "dra_ddec_corr": ("1", "correlation of the errors of the offsets"),
    "flux": ("", "flux, summed over the pixels"),
    "flux_err": ("", "standard error of the flux"),
    "flux_jy": ("Jy", "flux density"),
    "flux_jy_err": ("Jy", "standard error of the flux density"),
    "contrast": ("1", "flux over that of the star"),
    "contrast_err": ("1", "standard error of the contrast"),
    "snr": ("1", "flux over its standard error"),
}
"""Columns of the table: unit and long name."""


def companions(
    ds: xr.Dataset,
    positions: Sequence[tuple[float, float]] | None = None,
    *,
    science: Datasets,
    psf: ArrayLike,
    reference: Datasets | None = None,
    numbasis: int | None = None,
    star_flux: photometry.Given = None,
    transmission: ArrayLike | None = None,
    distortion_err: float = 1.0,
    north_err: float = 0.02,
    scale_err: float = 2e-4,
) -> xr.Dataset:
    """Find companions in an image of a PSF subtraction, and measure their positions and fluxes.

    Parameters
    ----------
    ds : xarray.Dataset
        The result of `xta.klip`.
    positions : sequence of (float, float), optional
        Separation [arcsec] and position angle [deg, east of north] of companions, to half a resolution element. By
        default companions are searched for.
    science, reference : xarray.Dataset or iterable of them
        The exposures that the image was made from; preferably recentered ones with ``err``.
    psf : array_like
        Image of a point source beside the mask, as in `xta.inject`; it sums to 1.
    numbasis : int, optional
        Number of components; the largest of the image by default.
    star_flux : float, tuple or xarray.Dataset, optional
        Flux density of the star [Jy], for the contrast; or as in `contrast`. Its error, if known, is included in that
        of the contrast.
    transmission : array_like, optional
        Transmission of the mask, an image in the orientation of the detector with odd sides and the star on its central
        pixel. By default it is 1.
    distortion_err, north_err, scale_err : float
        Standard errors of a position due to the distortion [mas], of true north [deg], and of the plate scale
        (relative). The defaults are assumed values.

    Returns
    -------
    xarray.Dataset
        Along ``companion``, the brightest first or in the order of `positions`: ``separation`` [arcsec],
        ``position_angle`` [deg], ``dra``, ``ddec``, the offsets to the east and north [arcsec], ``flux`` [unit of the
        image, summed over the pixels], ``flux_jy``, with `star_flux` ``contrast``, each with its standard error
        (``_err``); correlations, and ``snr``. ``position_covariance`` (companion, error_part, axis, axis2) [arcsec^2]
        contains the parts; the part "star" is the same error for all companions. If the star's error is not known, it
        and the sum are NaN. ``time`` is the mean of the exposures.

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
    *Detection*: 5 sigma by `snr`, and also by the standard deviation of the ring without the source, both with the
    statistics of few resolution elements. A detected source is fitted and removed from the frames, which are subtracted
    again, until nothing is left; so its side lobes are not detected. A source whose flux is less than five times its
    error in the end is left out.

    *Fit*: the best source is the one whose removal from the science frames leaves the smallest residuals within two
    resolution elements. It is found by least squares in the pixels of each exposure, before they are turned. The
    subtraction without the source is exact, see `xta.psfsub.forward`.

    *Errors*: the same fit is made at up to 20 other position angles of the same separation, where there is no
    companion. The error is the scatter of these fits, with Student's t for their number, so it includes speckles and
    correlated noise. The photon noise of the companion itself is added from ``err``. If a fit leaves the resolution
    element, the position is fixed and only the flux is fitted; the errors of the position are then NaN.

    Examples
    --------
    >>> image = xta.klip(rolls, reference=stars)  # doctest: +SKIP
    >>> image.ta.companions(science=rolls, reference=stars, psf=psf, star_flux=0.82)  # doctest: +SKIP
    """
    flux = photometry.flux_of(star_flux, str(header(ds).get("filter", "")))
    reduction = Reduction(ds, science, reference, psf=psf, transmission=transmission, numbasis=numbasis)
    fits = _search(reduction) if positions is None else _measure(reduction, _places(positions))
    sources = [each.source for each in fits]
    clean = reduction.forward(sources)
    errors = [covariance(reduction, clean, each, sources) for each in fits]
    exposures = reduction.frames.science
    weights = [len(exposure.frames) for exposure in exposures]
    common = {
        "star": star.covariance([exposure.ds for exposure in exposures], weights),
        "distortion": np.eye(2) * (distortion_err / 1e3) ** 2,
    }
    rows = [
        _row(each, error, common | _frame_errors(each.source, north_err, scale_err))
        for each, error in zip(fits, errors, strict=True)
    ]
    if positions is None:
        rows = [row for row in rows if not row["snr"] < LEAST]
    return _table(reduction, rows, flux)


def _places(positions: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Convert separations and position angles to offsets to the east and to the north [arcsec]."""
    given = np.asarray(positions, dtype=float)
    if given.ndim != 2 or given.shape[1:] != (2,) or not np.isfinite(given).all():
        msg = f"positions is {positions!r}; give pairs of separation [arcsec] and position angle [deg]"
        raise ArgumentError(msg)
    angle = np.deg2rad(given[:, 1])
    return [(float(x), float(y)) for x, y in zip(given[:, 0] * np.sin(angle), given[:, 0] * np.cos(angle), strict=True)]


def _search(reduction: Reduction) -> list[Fit]:
    """Find and remove the brightest source until nothing is left; then measure each source without the others."""
    places: list[tuple[float, float]] = []
    fits: list[Fit] = []
    while len(places) < MOST:
        place = _brightest(reduction, [each.source for each in fits])
        if place is None or any(math.dist(place, other) < reduction.element for other in places):
            break
        places.append(place)
        fits = _measure(reduction, places)
    return fits


def _brightest(reduction: Reduction, sources: Sequence[Source]) -> tuple[float, float] | None:
    """Find the brightest detection without some sources; its offsets [arcsec], or None."""
    image = reduction.without(sources)
    found = detection.snr(image)
    element = reduction.element / reduction.scale
    smooth = detection.smooth(image["klip"].transpose("y", "x").values.astype(float), element)
    good = found["snr"].where(found["snr"] >= found["snr_threshold"])
    while bool(good.notnull().any()):
        peak = good.argmax(("y", "x"))
        x, y = (float(image[axis].isel({axis: peak[axis]})) for axis in ("x", "y"))
        value, least = detection.beside(smooth, x, y, element)
        if value >= least:
            return float(image["east"].isel(x=peak["x"])), float(image["north"].isel(y=peak["y"]))
        good = good.where(np.hypot(good["x"] - x, good["y"] - y) > element)
    return None


def _measure(reduction: Reduction, places: Sequence[tuple[float, float]]) -> list[Fit]:
    """Fit each source with the others removed, twice if there are several."""
    fits: dict[int, Fit] = {}
    for _ in range(1 if len(places) == 1 else 2):
        for k, place in enumerate(places):
            others = [each.source for m, each in fits.items() if m != k]
            start = fits[k].source[:2] if k in fits else place
            fits[k] = fit(reduction, reduction.forward(others), start)
    return [fits[k] for k in range(len(places))]


def _frame_errors(source: Source, north_err: float, scale_err: float) -> dict[str, Array]:
    """Covariances to the east and north [arcsec^2] of a position by errors of true north and of the plate scale."""
    outward = np.array(source[:2])
    across = np.array([outward[1], -outward[0]])
    return {
        "true north": np.outer(across, across) * np.deg2rad(north_err) ** 2,
        "plate scale": np.outer(outward, outward) * scale_err**2,
    }


def _row(found: Fit, error: Array, parts: dict[str, Array]) -> dict[str, Any]:
    """Make a row of the table of a fit and of its covariances."""
    source = found.source
    radius = math.hypot(*source[:2])
    turn = np.array([[source.east, source.north], [source.north, -source.east]]).T / radius  # columns outward, across
    covariances = np.stack([turn @ error[1:, 1:] @ turn.T, *(parts[name] for name in PARTS[1:])])
    total = covariances.sum(axis=0)
    polar = turn.T @ total @ turn
    east, up, out, across = np.sqrt([*np.diag(total), *np.diag(polar)])
    flux_err = math.sqrt(error[0, 0])
    return {
        "separation": radius,
        "separation_err": out,
        "position_angle": math.degrees(math.atan2(source.east, source.north)) % 360,
        "position_angle_err": math.degrees(across / radius),
        "separation_angle_corr": polar[0, 1] / (out * across),
        "dra": source.east,
        "dra_err": east,
        "ddec": source.north,
        "ddec_err": up,
        "dra_ddec_corr": total[0, 1] / (east * up),
        "flux": source.flux,
        "flux_err": flux_err,
        "snr": source.flux / flux_err,
        "position_covariance": covariances,
    }


def _table(reduction: Reduction, rows: Sequence[dict[str, Any]], star_flux: tuple[float, float] | None) -> xr.Dataset:
    """Make the dataset of rows."""
    image = reduction.image
    unit = str(image["klip"].attrs.get("units", ""))
    columns = {name: np.array([row[name] for row in rows], dtype=float) for name in COLUMNS if rows and name in rows[0]}
    if not rows:
        columns = {name: np.zeros(0) for name in COLUMNS if "jy" not in name and "contrast" not in name}
    if unit == "MJy/sr":
        jansky = 1e6 * np.deg2rad(reduction.scale / 3600) ** 2
        columns |= {"flux_jy": columns["flux"] * jansky, "flux_jy_err": columns["flux_err"] * jansky}
        if star_flux is not None:
            flux, error = star_flux
            contrast, own = columns["flux_jy"] / flux, columns["flux_jy_err"] / flux
            common = contrast * (error / flux if math.isfinite(error) else 0.0)
            columns |= {"contrast": contrast, "contrast_err": np.hypot(own, common)}
    variables: dict[str, Any] = {}
    for name in (name for name in COLUMNS if name in columns):
        units, long_name = COLUMNS[name]
        variables[name] = ("companion", columns[name], {"units": units or unit, "long_name": long_name})
    covariances = np.array([row["position_covariance"] for row in rows]).reshape(-1, len(PARTS), 2, 2)
    about = {"units": "arcsec2", "long_name": "covariance of the position; the part 'star' is common to companions"}
    variables["position_covariance"] = (("companion", "error_part", "axis", "axis2"), covariances, about)
    coords = {
        "companion": np.arange(len(rows)),
        "error_part": list(PARTS),
        "axis": ["east", "north"],
        "axis2": ["east", "north"],
    }
    ds = xr.Dataset(variables, coords).assign_coords(_identity(reduction))
    ds.attrs = {name: image.attrs[name] for name in image.attrs if name != "history"} | {"numbasis": reduction.number}
    ds.attrs["history"] = image.attrs["history"]
    return model.with_history(ds, f"companions: {len(rows)} with {counted(reduction.number, 'component')}")


def _identity(reduction: Reduction) -> dict[str, Any]:
    """Collect the identity of the exposures, the position of the star, and the mean of their times."""
    exposures = [exposure.ds for exposure in reduction.frames.science]
    about = star.common_identity(exposures)
    about |= {name: reduction.image[name].variable for name in ("target_ra", "target_dec")}
    ends = [str(header(ds).get(name, "")) for ds in exposures for name in ("date_beg", "date_end")]
    times = np.array([text for text in ends if text], dtype="datetime64[ns]")
    if times.size:
        middle = times[0] + (times - times[0]).mean()
        about["time"] = xr.Variable((), middle, {"long_name": "mean time of the exposures (UTC)"})
    return about
