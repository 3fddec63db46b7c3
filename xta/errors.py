"""Define all exceptions and warnings that xta raises on purpose.

Each error is an `XtaError` and also the builtin that a caller would expect, so that both
``except xta.XtaError`` and ``except ValueError`` work as expected. A message contains what was found,
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
    """Base class of all errors that xta raises on purpose."""

    @property
    def problem(self) -> str:
        """The problem, without the advice if an error stores the two separately."""
        return str(self)


class ArgumentError(XtaError, ValueError):
    """An argument does not have the form that a function requires."""


class FileError(XtaError, OSError):
    """A file is missing, truncated, unreadable or cannot be written."""


class ProductError(XtaError, ValueError):
    """A file was read, but is not a JWST product that xta can use."""


class MissingError(XtaError, ValueError):
    """A dataset lacks a variable, coordinate or attribute that a step needs."""


class WCSError(XtaError, ValueError):
    """A WCS is absent, of an unknown structure, or cannot be inverted at a position."""


class SiafError(XtaError, ValueError):
    """An aperture or instrument is not in the SIAF."""


class OssLogError(XtaError, ValueError):
    """An event log cannot be read, or does not contain the requested visit."""


class AcquisitionError(XtaError, ValueError):
    """The target acquisition is absent or does not belong to the science exposure."""


class AbsentAcquisitionError(AcquisitionError):
    """No target acquisition of a visit was found; the arguments are the problem and the advice."""

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
    """The archive did not return the requested data."""


class ArchiveNotFoundError(ArchiveError):
    """The archive has no such product or mnemonic."""


class ArchiveNotAuthorizedError(ArchiveError):
    """The archive requires a token, or a different one."""


class ArchiveBusyError(ArchiveError):
    """The archive refused or failed temporarily; trying again later may help."""


class ArchiveTimeoutError(ArchiveError):
    """The archive did not answer within the time allowed."""


class ArchiveReplyError(ArchiveError):
    """The archive sent an invalid reply."""


class XtaWarning(UserWarning):
    """A result may be affected by a problem in the input."""


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is 1.

    Examples
    --------
    >>> counted(1, "visit"), counted(2, "visit")
    ('1 visit', '2 visits')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def warn(message: str) -> None:
    """Issue an `XtaWarning` that points to the line of the caller outside xta and xarray."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in {"xta", "xarray"}:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, XtaWarning, stacklevel=level)


@contextlib.contextmanager
def filtered(action: Literal["ignore", "error"], category: type[Warning], message: str = "") -> Iterator[None]:
    """Filter warnings, one thread at a time, since overlapping threads would leave a filter behind in the process."""
    with _FILTERS, warnings.catch_warnings():
        warnings.filterwarnings(action, message, category)
        yield


@contextlib.contextmanager
def readable() -> Iterator[None]:
    """Convert the error of a damaged NetCDF file, raised when its values are read, to a FileError with their name."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if isinstance(error, XtaError) or (place := _read_from(error)) is None:
            raise
        msg = f"{place} cannot be read ({error}); the file may be damaged, so write it again"
        raise FileError(msg) from error


def _read_from(error: BaseException) -> str | None:
    """Return the variable and file that xarray was reading with netCDF4 when an error was raised; None if it was not.

    The error itself contains neither, and it is the same as for writing.
    """
    place = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name in {"_getitem", "get_array"} and frame.f_globals.get("__name__") == NETCDF_READER:
            array = frame.f_locals.get("self")
            name, store = getattr(array, "variable_name", "?"), getattr(array, "datastore", None)
            place = f"variable {name} of {getattr(store, '_filename', 'the file')}"
    return place


def damage() -> tuple[type[Exception], ...]:
    """List the errors that Python, decompressors, astropy, asdf and YAML raise for a damaged file.

    Returns
    -------
    tuple of type
        Classes for an ``except`` clause, which calls this function only after an error, when the libraries have been
        imported already. Errors of xta are included as subclasses.
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
