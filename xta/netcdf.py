"""Write datasets to NetCDF: whole or not at all, compressed, without fill values on coordinates."""

import os
import tempfile
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xarray as xr

from xta import names
from xta.errors import FileError

__all__ = ["to_netcdf", "whole_file"]


@contextmanager
def whole_file(path: "str | os.PathLike[str]") -> Iterator[Path]:
    """Write a file whole or not at all.

    Yields the path of a temporary file beside `path`, which takes its place when the block ends well and is
    removed when it does not.

    Raises
    ------
    FileError
        If the folder does not exist or cannot be written, or the disk is full.
    """
    target = Path(path)
    if not target.parent.is_dir():
        msg = f"cannot write {target}: the folder {target.parent} does not exist; make it or choose another"
        raise FileError(msg)
    if target.is_dir():
        msg = f"cannot write {target}: it is a folder; give a file name"
        raise FileError(msg)
    temporary: Path | None = None
    try:
        with tempfile.NamedTemporaryFile(
            dir=target.parent, prefix=f".{target.stem}-", suffix=target.suffix, delete=False
        ) as file:
            temporary = Path(file.name)
        # A temporary file is private; the result gets the permissions that any new file of the user has.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        yield temporary
        temporary.replace(target)
    except (OSError, RuntimeError) as error:
        if isinstance(error, FileError):
            raise
        msg = f"cannot write {target}: {error}; is the folder writable and the disk not full?"
        raise FileError(msg) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


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
            frame = [
                1 if size_dim in {"integration", "exposure", "ta_exposure"} else variable.sizes[size_dim]
                for size_dim in variable.dims
            ]
            options["chunksizes"] = tuple(max(size, 1) for size in frame)
        if name in ds.coords or variable.dtype.kind in "fiu":
            options["_FillValue"] = None
        if variable.dtype.kind == "f" and name in ds.data_vars and variable.ndim:
            options["_FillValue"] = float("nan")
        result[name] = options
    return result


def to_netcdf(ds: xr.Dataset, path: "str | os.PathLike[str]", *, progress: bool = False) -> None:
    """Write a dataset to a NetCDF-4 file, whole or not at all.

    Parameters
    ----------
    ds : xarray.Dataset
        With dask arrays it is written chunk by chunk, in bounded memory.
    path : path
        Replaced if it exists, once the new file is complete; also when `ds` reads from it.
    progress : bool
        Show a progress bar on stderr while dask arrays are computed.

    Raises
    ------
    FileError
        If the file cannot be written; nothing is left behind.
    """
    clean = ds.copy()
    clean.attrs = names.clean_attrs(ds.attrs)
    for variable in clean.variables.values():
        variable.attrs = names.clean_attrs(variable.attrs)
        variable.encoding = {}
    with whole_file(path) as temporary:
        task: Any = clean.to_netcdf(temporary, engine="netcdf4", encoding=encoding(clean), compute=not progress)
        if progress:
            from dask.diagnostics.progress import ProgressBar

            with ProgressBar():  # type: ignore[no-untyped-call]
                task.compute()
