"""Write files whole or not at all."""

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xta.errors import FileError, XtaError

__all__ = ["whole_file"]

_OF_NETCDF = re.compile(r"\b(NetCDF|HDF5?)\b")


@contextmanager
def whole_file(path: "str | os.PathLike[str]") -> Iterator[Path]:
    """Write a file whole or not at all.

    Yields the path of a temporary file beside `path`, which takes its place when the block ends well and is
    removed when it does not. Where `path` is a symbolic link, what it points at is replaced.

    Raises
    ------
    FileError
        If the folder does not exist or cannot be written, `path` is no ordinary file, or the disk is full.
    """
    target = _target(path)
    temporary = target.with_name(f".{target.stem}-{secrets.token_hex(8)}{target.suffix}")
    try:
        with temporary.open("x"):  # refuses a file or link that somebody else put there
            pass
        try:
            yield temporary
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:
        # A RuntimeError is of the disk where the NetCDF library raised it; else it is of a computation.
        if isinstance(error, XtaError) or (isinstance(error, RuntimeError) and not _OF_NETCDF.search(str(error))):
            raise
        msg = f"cannot write {target}: {error}; is the folder writable and the disk not full?"
        raise FileError(msg) from error


def _target(path: "str | os.PathLike[str]") -> Path:
    """Follow links to the file to write, which must be an ordinary file in a folder if it exists."""
    target = Path(os.path.realpath(Path(path).expanduser()))
    if not target.parent.is_dir():
        msg = f"cannot write {target}: the folder {target.parent} does not exist; make it or choose another"
        raise FileError(msg)
    if target.is_dir():
        msg = f"cannot write {target}: it is a folder; give a file name"
        raise FileError(msg)
    if target.exists() and not target.is_file():
        msg = f"cannot write {target}: it is not an ordinary file but a device, pipe or socket; give a file name"
        raise FileError(msg)
    return target
