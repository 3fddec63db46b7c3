"""Combine the integrations of an exposure, and subtract one exposure from another, with errors and flags."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xta import identity, model, pixels
from xta.errors import ArgumentError, MissingError, counted, warn
from xta.geometry import sky, wcs
from xta.identity import header
from xta.images import combine
from xta.stacks import over_images

__all__ = ["coadd", "subtract"]

SCALE_TOLERANCE = 1e-3  # relative difference of pixel scales; velocity aberration makes visits differ by 1e-4
CENTERED = 1e-3  # recentered stars closer to each other count as being on the same pixel [pixel]


@over_images
def coadd(ds: xr.Dataset, *, method: str = "mean", sigma: float = 3.0) -> xr.Dataset:
    """Combine the integrations of an exposure into one image.

    Parameters
    ----------
    ds : xarray.Dataset
        A cube (integration, y, x) that was opened, analyzed or recentered, or several along further dimensions.
    method : "mean", "median" or "sigma_clip"
        "sigma_clip" is the mean of the values of a pixel that `astropy.stats.sigma_clip` does not clip.
    sigma : float
        Values farther than this number of standard deviations from the median are clipped. No value among n can be
        farther than n / sqrt(n - 1), so 3 clips nothing if there are fewer than 8 integrations.

    Returns
    -------
    xarray.Dataset
        The exposure without the dimension ``integration``. ``time`` and ``time_bjd_tdb`` are averaged over the
        integrations; all coordinates without that dimension are kept: star, WCS, identity, acquisition. Dask arrays
        are not computed yet.

    Raises
    ------
    MissingError
        If there is no image, or no dimension ``integration``.
    ArgumentError
        If `method` or `sigma` does not have the form above, or arithmetic left pixels, errors or flags that cannot be
        combined, see `xta.pixels`.

    Notes
    -----
    Pixels that are not finite or flagged DO_NOT_USE are not used. If a pixel is bad in all integrations, the result is
    NaN, and ``dq`` contains the flags of all and DO_NOT_USE. Otherwise it contains the flags of the values used,
    combined by bitwise OR.

    The variance of a mean of n good values is the sum of their variances over n squared; that of a median is larger by
    the factor of `xta.images.combine.median_efficiency`: 1.35 for 3 values, 1.57 for many. ``err`` is propagated in
    the same way through its squares. Errors are taken as independent between integrations, also those of the flat
    field in ``var_flat``, although these are not.

    Examples
    --------
    >>> image = xta.analyze(file).ta.coadd(method="median")  # doctest: +SKIP
    """
    _check_options(method, sigma)
    ds = pixels.checked(ds)
    if "integration" not in ds["sci"].dims:
        msg = "sci has no dimension integration, so the dataset is an image already and there is nothing to combine"
        raise MissingError(msg)
    count = ds.sizes["integration"]
    cube = _in_one_piece(ds[[name for name in model.IMAGES if name in ds]])
    select = partial(combine.select, method=method, sigma=float(sigma))
    used = _apply(select, cube["sci"], pixels.bad_pixels(cube), dtype=bool, out=("integration",))
    images = {str(name): _combined(str(name), image, used, method) for name, image in cube.data_vars.items()}
    times = {
        name: ds[name].mean("integration", keep_attrs=True).variable
        for name in ("time", "time_bjd_tdb")
        if name in ds.coords and "integration" in ds[name].dims and ds[name].dtype.kind in "Mmiuf"
    }
    gone = [name for name, variable in ds.variables.items() if "integration" in variable.dims]
    if lost := sorted(str(name) for name in set(gone) - set(images) if name in ds.data_vars):
        warn(f"coadd combines {', '.join(images)}; it drops {', '.join(lost)}, which also depends on the integration")
    result = ds.drop_vars(gone).assign(images).assign_coords(times)
    result = result[[name for name in ds.data_vars if name in result]].assign_coords(result.coords)
    clipped = f" at {float(sigma):g} sigma" if method == "sigma_clip" else ""
    return model.with_history(result, f"coadd {counted(count, 'integration')} by {method}{clipped}")


def _check_options(method: str, sigma: float) -> None:
    if method not in combine.METHODS:
        msg = f"method is {method!r}; give one of {', '.join(combine.METHODS)}"
        raise ArgumentError(msg)
    if not model.number(sigma) > 0:
        msg = f"sigma is {sigma!r}; give a positive number of standard deviations"
        raise ArgumentError(msg)


def _in_one_piece(cube: xr.Dataset) -> xr.Dataset:
    """Rechunk dask arrays so that each chunk has all integrations of a part of the frame."""
    cube = cube.reset_coords(drop=True)
    lazy = any(image.chunks is not None for image in cube.variables.values())
    return cube.chunk({"integration": -1, "y": "auto", "x": "auto"}) if lazy else cube


def _apply(function: Callable[..., Any], *arrays: xr.DataArray, dtype: Any, out: tuple[str, ...] = ()) -> xr.DataArray:
    """Apply a function of frames (n, ...) over the integrations, chunk by chunk."""
    result: xr.DataArray = xr.apply_ufunc(
        partial(_over_last, function, keeps=bool(out)),
        *arrays,
        input_core_dims=[["integration"]] * len(arrays),
        output_core_dims=[list(out)],
        dask="parallelized",
        output_dtypes=[dtype],
    )
    return result


def _over_last(function: Callable[..., Any], *arrays: Any, keeps: bool) -> Any:
    """Apply a function of frames (n, ...) to arrays (..., n), the form that `apply_ufunc` needs."""
    # Sums depend on the order in memory; a fixed order gives the same bits with and without chunks.
    result = function(*(np.ascontiguousarray(np.moveaxis(array, -1, 0)) for array in arrays))
    return np.moveaxis(result, 0, -1) if keeps else result


def _combined(name: str, image: xr.DataArray, used: xr.DataArray, method: str) -> xr.Variable:
    """Combine one image over the integrations, in the way that its kind requires."""
    functions: dict[str, Callable[..., Any]] = {
        "sci": partial(combine.combine, method=method),
        "err": partial(combine.combine_error, method=method),
        "dq": combine.combine_flags,
    }
    function = functions.get(name, partial(combine.combine_variance, method=method))
    combined = _apply(function, image, used, dtype=image.dtype)
    return combined.transpose(*[dim for dim in image.dims if dim != "integration"]).assign_attrs(image.attrs).variable


@over_images
def subtract(ds: xr.Dataset, other: object, *, scale: float = 1.0) -> xr.Dataset:
    """Subtract an exposure, times a factor, pixel by pixel, and propagate errors and flags.

    Parameters
    ----------
    ds : xarray.Dataset
        An exposure that was opened, analyzed or recentered.
    other : xarray.Dataset
        The exposure to subtract: an image (y, x), such as the result of `coadd`, which is subtracted from each
        integration, or a cube with the integrations of `ds`. Pixels are matched by the labels ``x``, ``y``, and
        `other` must have all labels of `ds`.
    scale : float
        Factor of `other`, such as the ratio of the fluxes of two stars.

    Returns
    -------
    xarray.Dataset
        ``ds - scale * other``. Everything except the images is taken from `ds`: identity, star, WCS, acquisition,
        ``separation`` and ``position_angle``, see Notes.

    Raises
    ------
    ArgumentError
        If the two do not fit together: another instrument, detector, subarray, unit or pixel scale (by more than
        0.1 %), labels or integrations of `ds` that `other` does not have, only one of the two recentered, or stars on
        different pixels. Also if arithmetic left pixels, errors or flags that cannot be combined, see `xta.pixels`.
    MissingError
        If one of the two has no image or no labels.

    Warns
    -----
    XtaWarning
        If only one of the two has ``err`` or a variance; the result then has none.

    Notes
    -----
    Errors are added in quadrature, that of `other` times `scale`; variances are added, that of `other` times `scale`
    squared. Flags are combined by bitwise OR.

    If both exposures are recentered, the labels are pixels from the star in both, so ``separation`` is valid for both
    except for differences of the distortion (below a fraction of 1e-3). Position angles differ by the difference of the
    rolls: those of the result belong to `ds`, and a negative source has the position angle that it has in `other`. To
    combine rolls on the sky use `xta.klip`, which turns them north up.

    Examples
    --------
    >>> residual = science.ta.recenter().ta.subtract(reference.ta.recenter().ta.coadd(), scale=0.8)  # doctest: +SKIP
    """
    if not isinstance(other, xr.Dataset):
        msg = f"other is a {type(other).__name__}; give the dataset of an exposure"
        raise ArgumentError(msg)
    if isinstance(scale, bool) or not np.isrealobj(scale) or not math.isfinite(model.number(scale)):
        msg = f"scale is {scale!r}; give a finite number"
        raise ArgumentError(msg)
    factor = float(scale)
    ds, other = pixels.checked(ds), pixels.checked(other)
    _refuse_others(ds, other)
    _refuse_integrations(ds, other)
    other = _on_labels(ds, other)
    images = {name: _difference(name, ds, other, factor) for name in _common(ds, other)}
    lost = [name for name in model.IMAGES if name in ds and name not in images]
    result = ds.drop_vars(lost).assign(images)
    what = identity.words(other, "filename") or "an image"
    return model.with_history(result, f"subtract {'' if factor == 1 else f'{factor:g} times '}{what}")


def _refuse_integrations(ds: xr.Dataset, other: xr.Dataset) -> None:
    """Refuse a cube whose integrations are not those of the dataset."""
    if "integration" not in other["sci"].dims:
        return
    numbers = [d["integration"].values.tolist() if "integration" in d["sci"].dims else [] for d in (ds, other)]
    if numbers[0] != numbers[1]:
        msg = (
            f"the integrations differ (other has {len(numbers[1])}, the dataset {len(numbers[0]) or 'none'}); "
            "subtract the mean instead: other.ta.coadd()"
        )
        raise ArgumentError(msg)


def _refuse_others(ds: xr.Dataset, other: xr.Dataset) -> None:
    """Refuse an exposure with other pixels or another unit."""
    for name, given in (("the dataset", ds), ("other", other)):
        if extra := [str(dim) for dim in given["sci"].dims if dim not in {"integration", "y", "x"}]:
            msg = f"sci of {name} has the additional dimension {extra[0]}; select one exposure first"
            raise ArgumentError(msg)
    centered = ["star_x" in d.coords for d in (ds, other)]
    if centered[0] != centered[1]:
        what = "other" if centered[0] else "the dataset"
        msg = f"{what} is not recentered, so the labels do not match; call ds.ta.recenter() for both or for neither"
        raise ArgumentError(msg)
    names = ["instrument", "detector"] + ([] if centered[0] else ["substrt1", "substrt2"])
    facts = {name: [header(d).get(name) for d in (ds, other)] for name in names}
    facts["unit"] = [d["sci"].attrs.get("units") for d in (ds, other)]
    for name, (ours, theirs) in facts.items():
        if None not in (ours, theirs) and ours != theirs:
            msg = f"{name} of other is {theirs}, but of the dataset {ours}; give an exposure with the same {name}"
            raise ArgumentError(msg)
    scales = [_pixel_scale(d, ds) for d in (ds, other)]
    if abs(scales[1] / scales[0] - 1) > SCALE_TOLERANCE:
        msg = f"the pixel scales differ: other has {scales[1]:.5f} arcsec, the dataset {scales[0]:.5f} arcsec"
        raise ArgumentError(msg)
    stars = np.array([[model.scalar(d, f"target_{axis}") for axis in ("x", "y")] for d in (ds, other)])
    if centered[0] and not np.ptp(stars, axis=0).max() <= CENTERED:
        msg = f"the stars are at {stars.tolist()} px; use an interpolation: ds.ta.recenter(method='fourier')"
        raise ArgumentError(msg)


def _pixel_scale(ds: xr.Dataset, at: xr.Dataset) -> float:
    """Compute the pixel scale in the middle of the labels of `at` [arcsec], by the WCS or header; NaN if unknown."""
    if "wcs" not in ds.coords:
        return model.number(header(ds).get("pixel_scale"))
    x, y = (float(np.nanmean(at[axis].values)) for axis in ("x", "y"))
    return wcs.pixel_scale(sky.the_wcs(ds), x, y)


def _on_labels(ds: xr.Dataset, other: xr.Dataset) -> xr.Dataset:
    """Select the pixels of `other` with the labels of `ds`."""
    index = {}
    for axis in ("x", "y"):
        labels, theirs = ds[axis].values, other[axis].values
        order = np.argsort(theirs, kind="stable")
        place = order[np.minimum(np.searchsorted(theirs, labels, sorter=order), theirs.size - 1)]
        if not (theirs[place] == labels).all():
            msg = (
                f"other does not have all pixels: its labels {axis} are {theirs.min():g} to {theirs.max():g}, those of "
                f"the dataset {labels.min():g} to {labels.max():g}; select them first: ds.sel({axis}=other.{axis})"
            )
            raise ArgumentError(msg)
        index[axis] = place
    return other.isel(index)


def _common(ds: xr.Dataset, other: xr.Dataset) -> list[str]:
    """List the images that the difference has: those of both, and flags if one of the two has them."""
    names = [[name for name in model.IMAGES if name in d.data_vars] for d in (ds, other)]
    either = set(names[0]) ^ set(names[1])
    if lost := sorted(either - {"dq"}):
        what = ", ".join(lost)
        warn(f"only one of the two has {what}, so the difference has none; assign 0 to a model without noise")
    return [
        name for name in model.IMAGES if (name in names[0] and name in names[1]) or (name == "dq" and "dq" in either)
    ]


def _difference(name: str, ds: xr.Dataset, other: xr.Dataset, scale: float) -> xr.Variable:
    """Compute one image of the difference, with the dimensions and attributes of that in `ds`."""
    given = [d[name].variable for d in (ds, other) if name in d.data_vars]
    ours, theirs = given[0], given[-1]
    difference = _FORMULAS.get(name, _variance)(ours, theirs, scale) if len(given) > 1 else ours
    dims = ds["sci"].dims
    whole = difference.set_dims({dim: ds.sizes[dim] for dim in dims}).transpose(*dims)
    return xr.Variable(dims, whole.data, given[0].attrs)


def _variance(ours: xr.Variable, theirs: xr.Variable, scale: float) -> xr.Variable:
    return ours + scale**2 * theirs


_FORMULAS: dict[str, Callable[[xr.Variable, xr.Variable, float], xr.Variable]] = {
    "sci": lambda ours, theirs, scale: ours - scale * theirs,
    "err": lambda ours, theirs, scale: (ours**2 + scale**2 * theirs**2) ** 0.5,
    "dq": lambda ours, theirs, _: ours | theirs,
}
