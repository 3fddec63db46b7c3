"""Join several exposures along the dimension ``exposure``, split them again, and apply steps to each of them."""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Concatenate, ParamSpec

import numpy as np
import xarray as xr

from xta import identity, model
from xta.errors import ArgumentError, counted
from xta.geometry import sky, wcs
from xta.identity import header

__all__ = [
    "DERIVED",
    "SCALE_TOLERANCE",
    "each",
    "is_stack",
    "join",
    "members",
    "members_or_one",
    "over_exposures",
    "over_images",
    "stack",
    "tabulated",
]

DIM = "exposure"
DERIVED = ("ra", "dec", "separation", "position_angle")
"""Coordinates derived from labels and WCS; they are derived again instead of joined."""

IMAGE_DIMS = {"integration", "y", "x"}
RAGGED = ("ta_exposure", "ta_y", "ta_x", "correction", "error_part", "check", "observation", "star_axis", "star_axis_")
"""Dimensions whose length may differ between exposures; missing values are filled."""

SCALE_TOLERANCE = 0.005
"""Largest relative difference of pixel scales in a stack; velocity aberration makes visits differ by 1e-4."""

Options = ParamSpec("Options")


def stack(exposures: Iterable[object]) -> xr.Dataset:
    """Join exposures along the dimension ``exposure``, each with its own identity, acquisition and star.

    Parameters
    ----------
    exposures : sequence of xarray.Dataset
        Results of `xta.open_exposure` or any later step, all after the same steps. Stacks count as their exposures.

    Returns
    -------
    xarray.Dataset
        Data variables and all coordinates except labels along ``exposure``, in the given order. Lazy images become
        dask arrays. Each step of xta works on it as on one exposure, and ``isel(exposure=k)`` selects an exposure.

    Raises
    ------
    ArgumentError
        If there is no exposure, one is given twice, or they differ in instrument, shape, labels, pixel scale,
        unit or in the steps that were done. Such exposures can be kept in a tree, see `xta.open_program`.

    Examples
    --------
    >>> stack = xta.stack([xta.open_exposure(path) for path in paths])  # doctest: +SKIP
    >>> stack.ta.attach().ta.compute_offset().ta.adjust_wcs()["target_x"]  # doctest: +SKIP
    """
    if isinstance(exposures, xr.Dataset | str | bytes) or not isinstance(exposures, Iterable):
        msg = f"exposures is a {type(exposures).__name__}; give a list of datasets from xta.open_exposure"
        raise ArgumentError(msg)
    parts: list[xr.Dataset] = []
    given: list[xr.Dataset] = []
    for ds in exposures:
        if not isinstance(ds, xr.Dataset):
            msg = f"exposures contains a {type(ds).__name__}, not a dataset; open files with xta.open_exposure"
            raise ArgumentError(msg)
        given.append(ds)
        parts += members_or_one(ds)
    if not parts:
        msg = "there is no exposure to stack; give at least one dataset"
        raise ArgumentError(msg)
    _check_alike(parts)
    names = ", ".join(str(header(ds).get("filename", "?")) for ds in parts)
    result = model.with_history(_derived(join([_chunked(ds) for ds in parts])), f"stack of {names}")
    result.set_close(functools.partial(_close, given))
    return result


def _close(exposures: Sequence[xr.Dataset]) -> None:
    for ds in exposures:
        ds.close()


def _check_alike(parts: Sequence[xr.Dataset]) -> None:
    """Refuse exposures that cannot be joined to one array."""
    first = parts[0]
    name = header(first).get("filename", "the first exposure")
    seen: set[str] = set()
    for ds in parts:
        label = str(header(ds).get("filename", ""))
        if label and label in seen:
            msg = f"{label} is given twice; give each exposure once"
            raise ArgumentError(msg)
        seen.add(label)
        if different := next((text for text in _differences(first, ds)), None):
            msg = (
                f"{label or 'an exposure'} cannot be stacked with {name}: {different}; keep them in a list or a tree "
                "(xta.open_program)"
            )
            raise ArgumentError(msg)


def _differences(first: xr.Dataset, ds: xr.Dataset) -> Iterable[str]:
    """Yield the differences between two exposures that prevent stacking."""
    ours, theirs = header(first), header(ds)
    if ours.get("instrument") != theirs.get("instrument"):
        yield f"its instrument is {theirs.get('instrument')}, not {ours.get('instrument')}"
    shapes = [{str(dim): size for dim, size in each.sizes.items() if dim in IMAGE_DIMS} for each in (first, ds)]
    if shapes[0] != shapes[1]:
        yield f"its shape is {shapes[1]}, not {shapes[0]}"
    scales = [float(about.get("pixel_scale", np.nan)) for about in (ours, theirs)]
    if abs(scales[1] / scales[0] - 1) > SCALE_TOLERANCE:
        yield f"its pixels are {scales[1]:.5f} arcsec wide, not {scales[0]:.5f}"
    for dim in sorted(IMAGE_DIMS & set(first.indexes)):
        if not first.indexes[dim].equals(ds.indexes.get(dim)):
            yield f"its labels {dim} differ"
    if set(first.data_vars) != set(ds.data_vars):
        yield f"it has the variables {sorted(map(str, ds.data_vars))}, not {sorted(map(str, first.data_vars))}"
    units = [str(each["sci"].attrs.get("units", "")) if "sci" in each else "" for each in (first, ds)]
    if units[0] != units[1]:
        yield f"its unit is {units[1] or 'unknown'}, not {units[0] or 'unknown'}"
    for coordinate, step in (("ta_wcs", "attach"), ("offset_x", "compute_offset"), ("target_x", "adjust_wcs")):
        if (coordinate in first.coords) != (coordinate in ds.coords):
            yield f"only one of them has {coordinate}; call ds.ta.{step}() on both or neither"
    if ("star_x" in first.coords) != ("star_x" in ds.coords):
        yield "only one of them is recentered"


def _chunked(ds: xr.Dataset) -> xr.Dataset:
    """Convert images that have not been read yet to dask arrays, so that joining does not read them."""
    lazy = {
        name: variable.chunk(variable.encoding.get("preferred_chunks", {}))
        for name, variable in ds.data_vars.variables.items()
        if not variable._in_memory and variable.chunks is None
    }
    return ds.assign(lazy) if lazy else ds


def members(ds: xr.Dataset) -> list[xr.Dataset] | None:
    """Split a stack into its exposures, each with its own identity; None for a single exposure.

    Raises
    ------
    ArgumentError
        If exposures were joined along more than one dimension, or without coordinates that identify each of them.
    """
    dims = _stack_dims(ds)
    if not dims:
        return None
    if len(dims) > 1:
        msg = f"the exposures are along {', '.join(sorted(dims))}; join them along one dimension with xta.stack"
        raise ArgumentError(msg)
    identity.refuse_combined(ds)
    (dim,) = dims
    count = ds.sizes[dim]
    if not count:
        msg = f"the dataset contains no exposure: its dimension {dim} is empty; select at least one"
        raise ArgumentError(msg)
    owner = next((name for name in ("filename", "wcs") if name in ds.variables), None)
    if count > 1 and (owner is None or dim not in ds[owner].dims or "visit_id" not in ds.variables):
        msg = (
            f"there are {count} exposures along {dim}, but only the identity of the first, which xarray kept. Join "
            "them with xta.stack, or with coords='different', compat='equals'; for files of xta 0.1 use xta.stack"
        )
        raise ArgumentError(msg)
    derived = [name for name in DERIVED if name in ds.variables and dim in ds[name].dims]
    bare = identity.in_memory(ds.drop_vars(derived))
    parts = [identity.current(bare.isel({dim: k})) for k in range(count)]
    return [part.drop_vars(dim) if dim in part.coords and dim not in ds.indexes else part for part in parts]


def members_or_one(ds: xr.Dataset) -> list[xr.Dataset]:
    """List the exposures of a stack, or the one exposure."""
    parts = members(ds)
    return [identity.current(ds)] if parts is None else parts


def is_stack(ds: xr.Dataset) -> bool:
    """Check whether a dataset has several exposures along a dimension."""
    return bool(_stack_dims(ds))


def _stack_dims(ds: xr.Dataset) -> set[str]:
    """Find the dimensions along which exposures were joined."""
    names = [name for name in (*identity.IDENTITY, "wcs", "wcs_original") if name in ds.variables]
    dims = {str(dim) for name in names for dim in ds.variables[name].dims}
    if names and "sci" in ds.data_vars and not dims:
        dims = {str(dim) for dim in ds["sci"].dims} - IMAGE_DIMS
        dims |= {"integration"} if _is_pooled(ds) else set()
    return dims


def _is_pooled(ds: xr.Dataset) -> bool:
    """Return True if an integration number has several times, so that several exposures were concatenated."""
    time = ds.variables.get("time")
    if time is None or time.dims != ("integration",) or "integration" not in ds.indexes:
        return False
    labels = ds.indexes["integration"]
    return not labels.is_unique and len(set(zip(labels, time.values.tolist(), strict=True))) > labels.nunique()


def join(exposures: Sequence[xr.Dataset], dim: str = DIM) -> xr.Dataset:
    """Join exposures along a dimension, which all coordinates except labels get.

    The number and size of TA images, parts of the error and checks may differ. Missing values are NaN, "" or flagged;
    `members` removes the rows of TA exposures again. Attributes that are equal in all exposures are kept.
    """
    common = dict(exposures[0].attrs)
    for ds in exposures[1:]:
        common = {key: value for key, value in common.items() if key in ds.attrs and _same(ds.attrs[key], value)}
    common.pop("history", None)
    bare = [ds.drop_vars(DERIVED, errors="ignore") for ds in exposures]
    names = {name: ds.variables[name] for ds in bare for name in ds.coords}
    present = [ds.assign_coords({n: _absent(v) for n, v in names.items() if n not in ds.coords}) for ds in bare]
    kept = {str(d) for ds in present for d in ds.dims} - set(RAGGED)
    filled = {name: _filler(str(name), v) for name, v in names.items() if v.dtype.kind in "uiUO"}
    aligned = xr.align(*present, join="outer", exclude=kept, fill_value=filled, copy=False)
    labels = {name for ds in aligned for name in ds.indexes} - {dim}
    coords = [name for name in names if name not in labels]
    result = xr.concat(
        [_with_texts(ds) for ds in aligned],
        dim,
        data_vars="all",
        coords=coords,
        compat="override",
        join="override",
        combine_attrs="drop_conflicts",
    )
    return _with_texts(result).drop_attrs(deep=False).assign_attrs(common)


def _same(one: Any, other: Any) -> bool:
    return bool(np.array_equal(one, other))


def _filler(name: str, variable: xr.Variable) -> Any:
    """Choose the value to fill in if an exposure has none."""
    if variable.dtype.kind in "UO":
        return ""
    return {"ta_dq": 1, "ta_oss_guider": 0}.get(name, -1 if variable.dtype.kind == "i" else 0)


def _absent(variable: xr.Variable) -> xr.Variable:
    """Make an empty coordinate for an exposure that does not have it, with the shape of another exposure's."""
    if variable.dtype.kind in "fiu":
        data: Any = np.full(variable.shape, np.nan)
    elif variable.dtype.kind in "mM":
        data = np.full(variable.shape, "NaT", variable.dtype)
    else:
        data = np.full(variable.shape, "")
    return xr.Variable(variable.dims, data, variable.attrs)


def _with_texts(ds: xr.Dataset) -> xr.Dataset:
    """Convert the texts of WCSs to their class again; xarray's filling mixes them with other texts."""
    coords = {}
    for name in [name for name in ("wcs", "wcs_original", "ta_wcs") if name in ds.coords]:
        variable = ds.variables[name]
        texts = np.empty(variable.shape, dtype=object)
        texts.flat = [wcs.WcsText(str(text)) for text in variable.values.flat]
        coords[name] = model.text_variable(name, texts, tuple(map(str, variable.dims)))
    return ds.assign_coords(coords)


def each(ds: xr.Dataset, function: Callable[[xr.Dataset], xr.Dataset], *, name: str, keeps: bool = True) -> xr.Dataset:
    """Apply a step to an exposure, or to each exposure of a stack; `name` of the step is for the history.

    With `keeps`, the step does not change the data variables, and the arrays of the stack are kept.
    """
    parts = members(ds)
    if parts is None:
        return function(identity.current(ds))
    (dim,) = _stack_dims(ds)
    results = [function(part) for part in parts]
    if not keeps:
        return _finished(join(results, dim), ds, f"{name} of {counted(len(parts), 'exposure')}")
    joined = join([result.drop_vars(list(result.data_vars)) for result in results], dim)
    data = ds[list(ds.data_vars)].reset_coords(drop=True)
    result = data.drop_vars([name for name in data.coords if name not in data.indexes]).assign_coords(joined.coords)
    result.attrs = joined.attrs
    result.encoding = ds.encoding
    return _finished(result, ds, f"{name} of {counted(len(parts), 'exposure')}")


def _finished(result: xr.Dataset, ds: xr.Dataset, operation: str) -> xr.Dataset:
    """Add a line to the history of a stack, without the history of a single exposure, and keep its files closable."""
    before = {} if "filename" in ds.attrs else {key: ds.attrs[key] for key in ("history",) if key in ds.attrs}
    result = model.with_history(_derived(result).assign_attrs(before), operation)
    result.set_close(ds.close)
    return result


def _derived(ds: xr.Dataset) -> xr.Dataset:
    """Derive the coordinates on the sky again, and move the star to the end."""
    if {"wcs", "x", "y"} <= set(ds.coords):
        ds = sky.assign_sky(ds)
        ds = sky.assign_polar(ds) if "star_x" in ds.coords else ds
    return model.ordered(ds)


def _stepped(
    step: Callable[Concatenate[xr.Dataset, Options], xr.Dataset], *, keeps: bool
) -> Callable[Concatenate[xr.Dataset, Options], xr.Dataset]:
    @functools.wraps(step)
    def stepped(ds: xr.Dataset, /, *args: Options.args, **kwargs: Options.kwargs) -> xr.Dataset:
        return each(ds, lambda part: step(part, *args, **kwargs), name=step.__name__, keeps=keeps)

    return stepped


def over_exposures(
    step: Callable[Concatenate[xr.Dataset, Options], xr.Dataset],
) -> Callable[Concatenate[xr.Dataset, Options], xr.Dataset]:
    """Make a step on the coordinates of one exposure work on a stack, too, exposure by exposure."""
    return _stepped(step, keeps=True)


def over_images(
    step: Callable[Concatenate[xr.Dataset, Options], xr.Dataset],
) -> Callable[Concatenate[xr.Dataset, Options], xr.Dataset]:
    """Make a step on the images of one exposure work on a stack, too, exposure by exposure."""
    return _stepped(step, keeps=False)


def tabulated(
    measure: Callable[Concatenate[xr.Dataset, Options], xr.Dataset],
) -> Callable[Concatenate[xr.Dataset, Options], xr.Dataset]:
    """Make a measurement on one exposure return a table with one row per exposure for a stack."""

    @functools.wraps(measure)
    def measured(ds: xr.Dataset, /, *args: Options.args, **kwargs: Options.kwargs) -> xr.Dataset:
        parts = members(ds)
        if parts is None:
            return measure(identity.current(ds), *args, **kwargs)
        (dim,) = _stack_dims(ds)
        rows = [measure(part, *args, **kwargs) for part in parts]
        table = xr.concat(rows, dim, coords="minimal", compat="override", combine_attrs="drop_conflicts")
        return table.assign_coords(
            {name: ds.variables[name] for name in ("filename", "visit_id", dim) if name in ds.coords}
        )

    return measured
