"""Write datasets to NetCDF, compressed and without fill values on coordinates, and to Zarr."""

import os
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr

from xta import model
from xta.errors import ArgumentError, XtaError
from xta.io.atomic import compute, interrupts_wait, whole_file, whole_folder

__all__ = ["is_netcdf_name", "to_netcdf", "to_zarr"]

FRAMES = frozenset({"integration", "exposure", "ta_exposure"})
"""Dimensions along which images are stored one by one."""

LARGE = 1 << 26
"""Size of an array [byte] above which it is written frame by frame, so that an interrupt need not wait for it."""


def is_netcdf_name(path: "str | os.PathLike[str]") -> bool:
    """Tell whether a name is that of a NetCDF file: it ends in .nc, .nc4 or .cdf, capital or not."""
    return os.fspath(path).lower().endswith((".nc", ".nc4", ".cdf"))


def encoding(ds: xr.Dataset) -> dict[Hashable, dict[str, Any]]:
    """Choose how each variable is stored.

    Numbers with dimensions are compressed, images in chunks of one frame; nothing but an image that is a
    data variable has a fill value.
    """
    result: dict[Hashable, dict[str, Any]] = {}
    for name, variable in ds.variables.items():
        options: dict[str, Any] = {}
        if variable.ndim and variable.dtype.kind in "fiu":
            options |= {"zlib": True, "complevel": 4, "shuffle": True}
            options["chunksizes"] = tuple(1 if dim in FRAMES else max(n, 1) for dim, n in variable.sizes.items())
        if name in ds.coords or variable.dtype.kind in "fiu":
            options["_FillValue"] = None
        if variable.dtype.kind == "f" and name in ds.data_vars and variable.ndim:
            options["_FillValue"] = float("nan")
        result[name] = options
    return result


def to_netcdf(ds: xr.Dataset | xr.DataTree, path: "str | os.PathLike[str]", *, progress: bool = False) -> None:
    """Write a dataset, or the datasets of a tree, to a NetCDF-4 file, whole or not at all.

    Parameters
    ----------
    ds : xarray.Dataset or xarray.DataTree
        With dask arrays it is written chunk by chunk, in bounded memory. Of a part of a tree only that is written.
    path : path
        Replaced if it exists, once the new file is complete; also when `ds` reads from it.
    progress : bool
        Show a progress bar on stderr while dask arrays are computed.

    Raises
    ------
    FileError
        If the file cannot be written; nothing is left behind.
    ArgumentError
        If `path` does not end as a NetCDF file does, so that no product is replaced by mistake; if `ds` holds what
        NetCDF cannot, such as complex numbers: it names the variable or attribute.

    Notes
    -----
    Text is written as text, missing text as "". The coordinate ``source``, a path of this machine, is left out; the
    table of files of a program keeps its paths. `xarray.open_datatree` reads a tree again.
    """
    from tqdm.dask import TqdmCallback

    if not is_netcdf_name(path) and (Path(path).is_file() or not Path(path).exists()):
        msg = f"{Path(path).name!r} does not name a NetCDF file: it must end in .nc"
        raise ArgumentError(msg)
    with whole_file(path) as temporary:
        task = _define(_clean_tree(ds) if isinstance(ds, xr.DataTree) else _clean(ds), temporary)
        with TqdmCallback(desc=Path(path).name, disable=not progress):
            compute(task)


def to_zarr(ds: xr.Dataset | xr.DataTree, path: "str | os.PathLike[str]", *, progress: bool = False) -> None:
    """Write a dataset, or the datasets of a tree, to a Zarr store, whole or not at all.

    Parameters
    ----------
    ds : xarray.Dataset or xarray.DataTree
        With dask arrays it is written chunk by chunk, in bounded memory. Of a part of a tree only that is written.
    path : path
        A folder, ``*.zarr``. A store that is there is replaced once the new one is complete, also when `ds` reads from
        it; any other folder is refused.
    progress : bool
        Show a progress bar on stderr while dask arrays are computed.

    Raises
    ------
    FileError
        If the store cannot be written, or `path` is something else than a store; nothing is left behind.
    ArgumentError
        If `path` does not end in .zarr, or `ds` holds what Zarr cannot.

    Notes
    -----
    The format is Zarr 2, as texts have no specification in Zarr 3. The library ``zarr`` has to be installed. The
    coordinate ``source``, a path of this machine, is left out. `xarray.open_zarr` and `xarray.open_datatree` read it.
    """
    from tqdm.dask import TqdmCallback

    if not os.fspath(path).lower().endswith(".zarr"):
        msg = f"{Path(path).name!r} does not name a Zarr store: it must end in .zarr"
        raise ArgumentError(msg)
    tree = _clean_tree(ds if isinstance(ds, xr.DataTree) else xr.DataTree(ds))
    with (
        whole_folder(path, like=(".zgroup", "zarr.json")) as temporary,
        TqdmCallback(desc=Path(path).name, disable=not progress),
    ):
        try:
            with interrupts_wait():
                task = tree.to_zarr(temporary, mode="w", zarr_format=2, compute=False)
            compute(task)
        except XtaError:
            raise
        except (ValueError, TypeError, ImportError) as error:
            msg = f"the dataset cannot be written as Zarr: {error}; change or drop it"
            raise ArgumentError(msg) from error


def _clean(ds: xr.Dataset) -> xr.Dataset:
    """Make all attributes and texts what NetCDF can hold, and forget how variables were stored before."""
    of_this_machine = ["source"] if "source" in ds.coords and "source" not in ds.indexes else []
    clean = ds.drop_vars(of_this_machine).copy()
    clean.attrs = model.clean_attrs(ds.attrs)
    for name, variable in dict(clean.variables).items():
        if variable.dtype == object:
            clean[name] = _plain_text(name, variable)
    for variable in clean.variables.values():
        variable.attrs = model.clean_attrs(variable.attrs)
        variable.encoding = {}
    large = [name for name, data in clean.data_vars.items() if data.chunks is None and data.nbytes > LARGE]
    return clean.assign({name: clean[name].chunk(dict.fromkeys(FRAMES & {*clean[name].dims}, 1)) for name in large})


def _clean_tree(tree: xr.DataTree) -> xr.DataTree:
    clean = {path: _clean(node.to_dataset(inherit=False)) for path, node in tree.subtree_with_keys}
    return xr.DataTree.from_dict({"/" if path == "." else path: ds for path, ds in clean.items()}, name=tree.name)


def _plain_text(name: Hashable, variable: xr.Variable) -> xr.Variable:
    """Make every text a plain str: a join of several exposures mixes subclasses, and NaN where one is missing."""
    values = np.asarray(variable.values, dtype=object)
    if not any(isinstance(value, str) for value in values.flat):
        return variable  # no text; xarray knows what to make of it, or refuses it
    others = [value for value in values.flat if not isinstance(value, str) and pd.isna(value) is not True]
    if others:
        kind = type(others[0]).__name__
        msg = f"variable {name} holds text and a {kind} too, which NetCDF cannot; make it all text or drop it"
        raise ArgumentError(msg)
    texts = np.empty(values.shape, dtype=object)
    texts.flat = [str(value) if isinstance(value, str) else "" for value in values.flat]
    return xr.Variable(variable.dims, texts, variable.attrs, fastpath=True)


def _define(clean: xr.Dataset | xr.DataTree, path: Path) -> Any:
    """Write all but the dask arrays, and give the task that writes these."""
    tree = clean if isinstance(clean, xr.DataTree) else xr.DataTree(clean)
    datasets = {node.path: node.to_dataset(inherit=False) for node in tree.subtree}
    stored = {group: encoding(ds) for group, ds in datasets.items()}
    try:
        with interrupts_wait():
            if isinstance(clean, xr.DataTree):
                return clean.to_netcdf(path, engine="netcdf4", encoding=stored, compute=False)
            return clean.to_netcdf(path, engine="netcdf4", encoding=stored["/"], compute=False)
    except XtaError:
        raise
    except (ValueError, TypeError, AttributeError, NotImplementedError) as error:
        what = next(filter(None, map(_culprit, datasets.values())), "")
        msg = f"the dataset cannot be written as NetCDF: {what}{error}; change or drop it"
        raise ArgumentError(msg) from error


def _culprit(ds: xr.Dataset) -> str:
    """Name the variable or attribute that NetCDF refuses, as the start of a message."""
    import netCDF4

    owners = {"the dataset": ds.attrs} | {f"variable {name}": var.attrs for name, var in ds.variables.items()}
    with netCDF4.Dataset("probe", "w", diskless=True) as file:
        for owner, attrs in owners.items():
            for name, value in attrs.items():
                try:
                    file.setncattr(name, value)
                except (ValueError, TypeError, AttributeError, RuntimeError):
                    return f"attribute {name!r} of {owner}: "
    for name, variable in ds.variables.items():
        if variable.dtype.kind not in "biufOUSMm":
            return f"variable {name} of type {variable.dtype}: "
    return ""
