"""Every exception and warning that xta raises on purpose.

Each error is an `XtaError` and also the builtin that a caller would expect, so that both
``except xta.XtaError`` and ``except ValueError`` do what they say. A message tells what was found,
where, and what to do about it.
"""

import contextlib
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from typing import Literal

__all__ = [
    "AbsentAcquisitionError",
    "AcquisitionError",
    "ArchiveBusyError",
    "ArchiveError",
    "ArchiveNotAuthorizedError",
    "ArchiveNotFoundError",
    "ArchiveReplyError",
    "ArchiveTimeoutError",
    "ArgumentError",
    "CentroidError",
    "FileError",
    "KlipError",
    "MissingError",
    "OssLogError",
    "ProductError",
    "RecenterError",
    "SiafError",
    "WCSError",
    "XtaError",
    "XtaWarning",
    "warn",
]

_FILTERS = threading.RLock()

NETCDF_READER = "xarray.backends.netCDF4_"
"""Module in which xarray reads values."""


class XtaError(Exception):
    """Root of all errors that xta raises on purpose."""

    @property
    def problem(self) -> str:
        """What is wrong, without what to do about it where an error tells the two apart."""
        return str(self)


class ArgumentError(XtaError, ValueError):
    """An argument is not of the form that a function takes."""


class FileError(XtaError, OSError):
    """A file is missing, cut short, unreadable or cannot be written."""


class ProductError(XtaError, ValueError):
    """A file was read, but is not a JWST product that xta can use."""


class MissingError(XtaError, ValueError):
    """A dataset lacks a variable, coordinate or attribute that a step needs."""


class WCSError(XtaError, ValueError):
    """A WCS is absent, of an unknown structure, or cannot be inverted at a position."""


class SiafError(XtaError, ValueError):
    """An aperture or instrument is not in the SIAF."""


class OssLogError(XtaError, ValueError):
    """An event log cannot be read, or does not hold the visit that was asked for."""


class AcquisitionError(XtaError, ValueError):
    """The target acquisition is absent or does not belong to the science exposure."""


class AbsentAcquisitionError(AcquisitionError):
    """No target acquisition of a visit is at hand: what was looked for, and what to do."""

    def __str__(self) -> str:
        return ". ".join(map(str, self.args))

    @property
    def problem(self) -> str:
        """The first of the two sentences."""
        return str(self.args[0])


class CentroidError(XtaError, ValueError):
    """No star could be centroided in an image."""


class RecenterError(XtaError, ValueError):
    """A cube cannot be recentered on its star."""


class KlipError(XtaError, ValueError):
    """The inputs of a PSF subtraction do not fit together."""


class ArchiveError(XtaError, OSError):
    """The archive did not give what was asked of it."""


class ArchiveNotFoundError(ArchiveError):
    """The archive has no such product or mnemonic."""


class ArchiveNotAuthorizedError(ArchiveError):
    """The archive wants a token, or another one."""


class ArchiveBusyError(ArchiveError):
    """The archive refused or failed for now; trying later may help."""


class ArchiveTimeoutError(ArchiveError):
    """The archive did not answer within the time allowed."""


class ArchiveReplyError(ArchiveError):
    """The archive answered something that is not what it should be."""


class XtaWarning(UserWarning):
    """Something was found that a result should be read with."""


def counted(number: int, noun: str) -> str:
    """Write a number of things, with the plural where there is not one.

    Examples
    --------
    >>> counted(1, "visit"), counted(2, "visit")
    ('1 visit', '2 visits')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def warn(message: str) -> None:
    """Issue an `XtaWarning` that points at the caller's own line, however deep in xta or xarray it arose."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in {"xta", "xarray"}:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, XtaWarning, stacklevel=level)


@contextlib.contextmanager
def filtered(action: Literal["ignore", "error"], category: type[Warning], message: str = "") -> Iterator[None]:
    """Filter warnings, one thread at a time: two that overlap would leave a filter behind, for the whole process."""
    with _FILTERS, warnings.catch_warnings():
        warnings.filterwarnings(action, message, category)
        yield


@contextlib.contextmanager
def readable() -> Iterator[None]:
    """Turn what a damaged NetCDF file raises, when its values are read at last, into a FileError that names them."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if isinstance(error, XtaError) or (place := _read_from(error)) is None:
            raise
        msg = f"{place} cannot be read ({error}); is the file damaged? Make it again"
        raise FileError(msg) from error


def _read_from(error: BaseException) -> str | None:
    """Name the variable and file that xarray was reading by way of netCDF4 when an error arose; None if it was not.

    The error says neither, and it is the same one as for writing.
    """
    place = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name in {"_getitem", "get_array"} and frame.f_globals.get("__name__") == NETCDF_READER:
            array = frame.f_locals.get("self")
            name, store = getattr(array, "variable_name", "?"), getattr(array, "datastore", None)
            place = f"variable {name} of {getattr(store, '_filename', 'the file')}"
    return place


def damage() -> tuple[type[Exception], ...]:
    """List the errors by which Python, decompressors, astropy, asdf and YAML show that a file is damaged.

    Returns
    -------
    tuple of type
        For an ``except`` clause, which calls this only when something was raised: the libraries are then imported
        already. Errors of xta are among them, as subclasses.
    """
    import lzma
    import struct
    import zlib

    from asdf.exceptions import ValidationError
    from astropy.io.fits import VerifyError
    from yaml import YAMLError  # type: ignore[import-untyped]

    python = (OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, MemoryError)
    decompressors = (struct.error, zlib.error, lzma.LZMAError)
    return (*python, RuntimeError, AssertionError, *decompressors, VerifyError, ValidationError, YAMLError)
