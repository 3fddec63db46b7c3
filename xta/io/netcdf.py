"""Write datasets to NetCDF, compressed and without fill values on coordinates, and to Zarr."""

import os
import sys
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr

from xta import model
from xta.errors import ArgumentError, XtaError
from xta.io.atomic import whole_file, whole_folder
from xta.workers import compute, interrupts_wait

__all__ = ["is_netcdf_name", "to_netcdf", "to_zarr"]

FRAMES = frozenset({"integration", "exposure", "ta_exposure"})
"""Dimensions along which images are stored one by one."""

LARGE = 1 << 26
"""Size of an array [byte] above which it is written frame by frame, so that an interrupt need not wait for it."""


def is_netcdf_name(path: "str | os.PathLike[str]") -> bool:
    """Return True if a name ends in .nc, .nc4 or .cdf, in lower or upper case, like that of a NetCDF file."""
    return os.fspath(path).lower().endswith((".nc", ".nc4", ".cdf"))


def encoding(ds: xr.Dataset) -> dict[Hashable, dict[str, Any]]:
    """Choose how each variable is stored.

    Numbers with dimensions are compressed, images in chunks of one frame. Only images that are data variables have
    a fill value.
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
    """Write a dataset, or the datasets of a tree, to a NetCDF-4 file; an incomplete file is never left.

    Parameters
    ----------
    ds : xarray.Dataset or xarray.DataTree
        Dask arrays are written chunk by chunk, in bounded memory. For a part of a tree, only this part is written.
    path : path
        File to write; an existing one is replaced once the new file is complete, even if `ds` reads from it.
    progress : bool
        Show a progress bar on stderr while dask arrays are computed.

    Raises
    ------
    FileError
        If the file cannot be written. Nothing is left behind.
    ArgumentError
        If `path` does not end like a NetCDF file, so that no product is replaced by mistake, or if `ds` contains types
        that NetCDF does not have, such as complex numbers. The message names the variable or attribute.

    Notes
    -----
    Text is written as text, missing text as "". The coordinate ``source``, a path of this machine, is left out; the
    table of files of a program keeps its paths. `xarray.open_datatree` reads a tree again.
    """
    import dask.config
    from tqdm.dask import TqdmCallback

    if not is_netcdf_name(path) and (Path(path).is_file() or not Path(path).exists()):
        msg = f"path is {Path(path).name!r}; the output name must end in .nc"
        raise ArgumentError(msg)
    # dask would import distributed to look for a client, and a process that has not imported it has none.
    alone = {} if "distributed" in sys.modules or dask.config.get("scheduler", None) else {"scheduler": "threads"}
    with whole_file(path) as temporary, dask.config.set(alone):
        task = _define(_clean_tree(ds) if isinstance(ds, xr.DataTree) else _clean(ds), temporary)
        with TqdmCallback(desc=Path(path).name, disable=not progress):
            compute(task)


def to_zarr(ds: xr.Dataset | xr.DataTree, path: "str | os.PathLike[str]", *, progress: bool = False) -> None:
    """Write a dataset, or the datasets of a tree, to a Zarr store; an incomplete store is never left.

    Parameters
    ----------
    ds : xarray.Dataset or xarray.DataTree
        Dask arrays are written chunk by chunk, in bounded memory. For a part of a tree, only this part is written.
    path : path
        A folder, ``*.zarr``. An existing store is replaced once the new one is complete, even if `ds` reads from it;
        any other folder is refused.
    progress : bool
        Show a progress bar on stderr while dask arrays are computed.

    Raises
    ------
    FileError
        If the store cannot be written, or `path` exists and is not a store. Nothing is left behind.
    ArgumentError
        If `path` does not end in .zarr, or `ds` contains types that Zarr does not have.

    Notes
    -----
    The format is Zarr 2, as texts have no specification in Zarr 3. The library ``zarr`` must be installed. The
    coordinate ``source``, a path of this machine, is left out. `xarray.open_zarr` and `xarray.open_datatree` read it.
    """
    from tqdm.dask import TqdmCallback

    if not os.fspath(path).lower().endswith(".zarr"):
        msg = f"path is {Path(path).name!r}; the output name must end in .zarr"
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
    """Convert all attributes and texts to types of NetCDF, and drop the encoding of variables."""
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
        return variable  # not text: xarray converts it or refuses it
    others = [value for value in values.flat if not isinstance(value, str) and pd.isna(value) is not True]
    if others:
        kind = type(others[0]).__name__
        msg = f"variable {name} contains text and a {kind}, which NetCDF does not allow; make it all text or drop it"
        raise ArgumentError(msg)
    texts = np.empty(values.shape, dtype=object)
    texts.flat = [str(value) if isinstance(value, str) else "" for value in values.flat]
    return xr.Variable(variable.dims, texts, variable.attrs, fastpath=True)


def _define(clean: xr.Dataset | xr.DataTree, path: Path) -> Any:
    """Write everything except the dask arrays, and return the task that writes these."""
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
    """Return the variable or attribute that NetCDF refuses, as the start of a message."""
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
