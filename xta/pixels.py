"""Check the pixels of an exposure before a step reads them, and repair or refuse the effects of arithmetic."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xta import identity, model
from xta.errors import ArgumentError, counted, warn
from xta.images import dq

__all__ = ["COADD", "SUBTRACT", "bad_pixels", "checked", "converted"]

FEW = 0.01  # part of the errors that may be negative without being what is left of a subtraction

COADD = "ds.ta.coadd(), which combines err, var_* and dq as well"
SUBTRACT = "ds.ta.subtract(other), which combines err, var_* and dq as well"
"""Advice in messages: what to call instead of plain arithmetic."""


def checked(ds: xr.Dataset, *, names: Iterable[str] = model.IMAGES) -> xr.Dataset:
    """Check that a step can read the pixels of a dataset, and convert them.

    Parameters
    ----------
    ds : xarray.Dataset
    names : iterable of str
        The images that the step reads, out of `xta.model.IMAGES`. All but ``sci`` may be missing.

    Returns
    -------
    xarray.Dataset
        The dataset with these images as returned by `converted`; everything else is unchanged.

    Raises
    ------
    MissingError
        If there is no ``sci``, ``x`` or ``y``, or the identity of the exposure is lost, as after ``a - b``.
    ArgumentError
        If an image or the labels do not have the form that `converted` requires.
    """
    identity.require(ds, "sci", "x", "y", step="xta.open_exposure")
    identity.refuse_combined(ds)
    return converted(ds, names=names)


def converted(ds: xr.Dataset, *, names: Iterable[str] = model.IMAGES) -> xr.Dataset:
    """Convert images to the types and dimensions that the steps work with.

    Parameters
    ----------
    ds : xarray.Dataset
        Missing images are ignored. Dask arrays are converted, and their values checked, when they
        are computed.
    names : iterable of str
        Names out of `xta.model.IMAGES`.

    Returns
    -------
    xarray.Dataset
        ``sci``, ``err`` and ``var_*``: single precision stays, other real numbers and booleans become double.

        ``dq``: integers stay. What became a float, as by ``where``, is made uint32 again: a flag that is missing
        (NaN) is DO_NOT_USE. Of booleans True is DO_NOT_USE.

        An image that lacks a dimension of ``sci``, such as one mask for all integrations, is repeated along it.

    Raises
    ------
    ArgumentError
        If the labels ``x``, ``y`` are not numbers; ``sci`` is empty or has no dimensions ``y``, ``x``; an image has a
        dimension that ``sci`` has not, as when ``sci`` alone was averaged; it does not hold real numbers; flags are
        fractions, as after ``mean``, or negative; or ``err`` is negative at more than 1 % of the pixels, as after a
        subtraction of errors. The message names what to call instead.

    Warns
    -----
    XtaWarning
        If ``err`` is negative at fewer pixels, where it becomes NaN. Software that resamples errors leaves such pixels
        beside those of outliers. Their values in ``sci`` are those of their neighbors, so they stay in use.
    """
    present = [name for name in names if name in ds.variables]
    dims = ds["sci"].dims
    if not {"y", "x"} <= set(dims):
        msg = f"sci has the dimensions {dims}, without y and x; use the dataset before they were dropped"
        raise ArgumentError(msg)
    if not ds["sci"].size:
        msg = f"sci is empty ({dict(ds['sci'].sizes)}); use the dataset before this selection"
        raise ArgumentError(msg)
    for axis in ("x", "y"):
        if axis in ds.coords and ds[axis].dtype.kind not in "iuf":
            msg = f"the labels {axis} have type {ds[axis].dtype}; assign pixel numbers: ds.assign_coords({axis}=...)"
            raise ArgumentError(msg)
    images = {}
    for name in present:
        image = _converted(name, ds[name].variable)
        if extra := [dim for dim in image.dims if dim not in dims]:
            msg = f"{name} has the dimension {extra[0]}, but sci does not; combine with {COADD}, or drop {name}"
            raise ArgumentError(msg)
        images[name] = (
            image if image.dims == dims else image.set_dims({dim: ds.sizes[dim] for dim in dims}).transpose(*dims)
        )
    return ds.assign(images) if any(images[name] is not ds.variables[name] for name in images) else ds


def bad_pixels(ds: xr.Dataset) -> xr.DataArray:
    """Mark the pixels of a checked dataset that must not be used: not finite, or flagged DO_NOT_USE."""
    arrays = [ds[name] for name in ("sci", "dq") if name in ds]
    bad: xr.DataArray = xr.apply_ufunc(dq.bad_pixels, *arrays, dask="parallelized", output_dtypes=[bool])
    return bad


def _converted(name: str, image: xr.Variable) -> xr.Variable:
    if image.dtype.kind not in "fiub":
        advice = f"take its real part: ds.assign({name}=ds['{name}'].real)"
        if image.dtype.kind != "c":
            advice = f"convert it: ds.assign({name}=ds['{name}'].astype(float))"
        msg = f"{name} has type {image.dtype}, not real numbers; {advice}"
        raise ArgumentError(msg)
    if name == "dq":
        integers = image.dtype.kind in "iu"
        dtype = image.dtype.newbyteorder("=") if integers else np.dtype(np.uint32)
        return _mapped(_integers if integers else _flags, image, dtype)
    single = image.dtype.kind == "f" and image.dtype.itemsize <= np.dtype(np.float32).itemsize
    dtype = np.dtype(np.float32 if single else np.float64)
    return _mapped(partial(_errors if name == "err" else _numbers, dtype=dtype), image, dtype)


def _mapped(function: Callable[[Any], Any], image: xr.Variable, dtype: np.dtype[Any]) -> xr.Variable:
    """Apply a function of arrays to a variable, chunk by chunk if it has chunks."""
    if image.chunks is None:
        values = image.values
        result = function(values)
        return image if result is values and image._in_memory else image.copy(data=result)
    return image.copy(data=image.data.map_blocks(function, dtype=dtype, meta=np.empty((0,) * image.ndim, dtype)))


def _numbers(values: Any, *, dtype: np.dtype[Any]) -> Any:
    return np.asarray(values).astype(dtype, copy=False)


def _integers(values: Any) -> Any:
    return np.asarray(values).astype(values.dtype.newbyteorder("="), copy=False)


def _errors(values: Any, *, dtype: np.dtype[Any]) -> Any:
    """Convert errors. A few negative ones are not known; many are what is left of arithmetic, and refused."""
    err = _numbers(values, dtype=dtype)
    negative = err < 0
    number = int(np.count_nonzero(negative))
    if number > FEW * err.size:
        msg = f"err is negative at {counted(number, 'pixel')}, as after a subtraction of errors; use {SUBTRACT}"
        raise ArgumentError(msg)
    if not number:
        return err
    warn(f"err is negative at {counted(number, 'pixel')}, where it is taken as not known (NaN)")
    return np.where(negative, np.asarray(np.nan, dtype), err)


def _flags(values: Any) -> Any:
    """Convert flags that became floats or booleans back to integers; a missing flag becomes DO_NOT_USE."""
    flags = np.where(np.isnan(values), dq.DO_NOT_USE, values)
    wrong = (flags < 0) | (flags > np.iinfo(np.uint32).max) | (np.floor(flags) != flags)
    if wrong.any():
        msg = (
            f"dq contains {flags[wrong].flat[0]:g}, which is not a set of flags, as after a mean or a difference; "
            f"combine integrations with {COADD}, and exposures with {SUBTRACT}"
        )
        raise ArgumentError(msg)
    return flags.astype(np.uint32)
