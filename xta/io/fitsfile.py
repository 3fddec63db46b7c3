"""Open the FITS file of a product, refuse damaged files, check keywords, and read arrays when they are used."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from xarray.backends import BackendArray, CachingFileManager
from xarray.core import indexing

from xta.errors import FileError, damage, filtered, warn
from xta.io import layout

if TYPE_CHECKING:
    from astropy.io.fits import HDUList

__all__ = ["FitsArray", "array", "keyword", "number", "opened"]

OTHERS = {
    b"\x89HDF": "it looks like NetCDF, such as a saved analysis; open it with xarray.open_dataset(path)",
    b"CDF": "it looks like NetCDF, such as a saved analysis; open it with xarray.open_dataset(path)",
    b"PK\x03\x04": "it is a ZIP archive; unpack it first",
    b"\x1f\x9d": "it is compressed by Unix compress; unpack it first",
    b"#ASDF": "it is an ASDF file; give the FITS product",
}
"""First bytes of a file that is not FITS -> what to do about it."""


def _open_fits(path: str, *, mode: str = "readonly") -> "HDUList":
    from astropy.io import fits
    from astropy.utils.exceptions import AstropyUserWarning

    # astropy warns about a truncated file; `opened` and `FitsArray` raise an error.
    with filtered("ignore", AstropyUserWarning), ExitStack() as stack:
        # A memory map cannot scale the unsigned integers of DQ in sections.
        hdus = fits.open(path, mode=mode, memmap=False)
        stack.callback(hdus.close)
        len(hdus)  # reads all headers
        stack.pop_all()  # no error: it stays open
    return hdus


def opened(path: str, *, exact: bool = False) -> Any:
    """Open a complete FITS file at an absolute path; return the file manager of an HDUList whose headers were read.

    Raise FileError if the file is missing, truncated, damaged or not FITS. Bytes after the last extension cause a
    warning, or a FileError with `exact`.
    """
    manager = None
    try:
        _check_kind(path)
        extent = layout.check(Path(path))
        if extent.size < extent.end:
            short = extent.end - extent.size
            msg = f"{path} is cut short: it is {short} bytes too short for its headers; download it again"
            raise FileError(msg)
        manager = CachingFileManager(_open_fits, path, mode="readonly")  # "no mode" is lost between processes
        _check_end(path, extent, manager.acquire(), exact)
    except damage() as error:
        if manager is not None:
            manager.close()
        if isinstance(error, FileError):
            raise
        msg = f"{path} cannot be read as FITS ({error}); if it is a JWST product, download it again"
        raise FileError(msg) from error
    return manager


def _check_kind(path: str) -> None:
    if not Path(path).is_file():
        what = "is a folder" if Path(path).is_dir() else "does not exist"
        msg = f"{path} {what}; give the path of a JWST product, such as a _calints.fits or _cal.fits"
        raise FileError(msg)
    with Path(path).open("rb") as file:
        head = file.read(8)
    for magic, advice in OTHERS.items():
        if head.startswith(magic):
            msg = f"{path} cannot be read as FITS: {advice}"
            raise FileError(msg)


def _check_end(path: str, extent: layout.Extent, hdus: "HDUList", exact: bool) -> None:
    """Warn about bytes after the last extension; with `exact`, refuse the file."""
    if extent.size > extent.end:
        last = f"{len(hdus) - 1} ({hdus[-1].name})"
        msg = (
            f"{path}: the {extent.size - extent.end} bytes after its extension {last} cannot be read "
            "and are left out; the file may be damaged, so download it again"
        )
        if exact:
            raise FileError(msg)
        warn(msg)


def keyword(hdus: "HDUList | Mapping[Any, Any]", name: str) -> Any:
    """Look up a keyword in the primary and then the SCI header; None if it is absent, empty or N/A.

    A mapping of the two, with the keys 0 and "SCI", saves an HDUList the search for SCI.
    """
    for extension in (0, "SCI"):
        value = hdus[extension].header.get(name)
        # The value of an undefined card is an object of astropy.
        if isinstance(value, bool | int | float) or (isinstance(value, str) and value.strip() not in {"", "N/A"}):
            return value
    return None


def number(hdus: "HDUList | Mapping[Any, Any]", name: str, *, label: str) -> Any:
    """Look up a keyword that must be a finite number; return None, with a warning, if it is something else."""
    value = keyword(hdus, name)
    if value is None or (isinstance(value, int | float) and np.isfinite(value)):
        return value
    warn(f"{label}: {name} is {value!r:.40}, not a number; it is left out")
    return None


class FitsArray(BackendArray):
    """One image extension of a file, read a few frames at a time, in native byte order."""

    def __init__(self, manager: Any, lock: Any, hdu: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.manager, self.lock, self.hdu = manager, lock, hdu
        self.shape, self.dtype = shape, dtype

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, key: tuple[Any, ...]) -> Any:
        # Read the block of whole frames (or rows) that contains the request: one contiguous part of the file.
        rows, rest = range(self.shape[0])[key[0]], key[1:]
        if isinstance(rows, int):
            return self._block(rows, rows + 1)[(0, *rest)]
        if not rows:
            return np.empty((0, *self.shape[1:]), self.dtype)[(slice(None), *rest)]
        return self._block(min(rows), max(rows) + 1)[(slice(None, None, rows.step), *rest)]

    def _block(self, start: int, stop: int) -> Any:
        """Read frames (or rows) `start` to `stop`; the file may have changed since it was opened."""
        cause: Exception | None = None
        try:
            with self.lock:
                hdu = self.manager.acquire(needs_lock=False)[self.hdu]
                if hdu.shape == self.shape:
                    return np.asarray(hdu.section[start:stop], dtype=self.dtype)
            change = f"extension {self.hdu} now has the shape {hdu.shape}, not {self.shape}"
        except damage() as error:
            cause, change = error, f"{type(error).__name__}: {error}"
        advice = "it may have been changed or removed since it was opened, so open it again"
        msg = f"{self.manager._args[0]} can no longer be read ({change}); {advice}"
        raise FileError(msg) from cause


def array(hdus: "HDUList", hdu: Any, *, manager: Any, lock: Any) -> Any:
    """Make the array of an image extension: a lazy one, or a copy if there is no file manager."""
    from astropy.io.fits.hdu.base import BITPIX2DTYPE

    unsigned = hdu.header.get("BZERO") == 2 ** (hdu.header["BITPIX"] - 1) and hdu.header.get("BSCALE", 1) == 1
    dtype = np.dtype(f"u{abs(hdu.header['BITPIX']) // 8}" if unsigned else BITPIX2DTYPE[hdu.header["BITPIX"]])
    if hdu.name == "DQ":
        dtype = np.dtype(np.uint32)
    if manager is None:
        return np.array(hdu.data, dtype=dtype)
    lazy = FitsArray(manager, lock, hdus.index_of(hdu.name), hdu.shape, dtype.newbyteorder("="))
    return indexing.LazilyIndexedArray(lazy)
