"""Read tables of the instrument that go beyond the WCS of its products: shifts between filters, and accuracies.

The tables are ``filter_shifts.csv`` and ``accuracies.csv`` in the folder of this module; each row has a source and an
error. Users can read their own tables, in the same format, with `read_tables`, and pass them to `xta.compute_offset`
and `xta.adjust_wcs`; their rows replace those of the package.
"""

import csv
import io
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import xarray as xr

from xta import model
from xta.errors import ArgumentError, FileError, damage
from xta.identity import header

__all__ = [
    "Accuracies",
    "Accuracy",
    "FilterShift",
    "FilterShifts",
    "Tables",
    "acquisition_accuracy",
    "channel",
    "is_early",
    "read_tables",
    "resolution",
    "tables",
]

PRIMARY = 6.5  # diameter of the primary mirror [m]

WHEEL_MOVED = "2022-06-01"
"""Day the pupil wheel of NIRCam moved, and its masks with it. The newest SIAF is not valid before it."""


@dataclass(frozen=True)
class FilterShift:
    """The image of a star in a filter minus its image in the reference filter of the same optics.

    Attributes
    ----------
    x, y : float
        Along x and y of the science frame [pixel].
    x_err, y_err : float
        Standard errors [pixel].
    source : str
        The source of the numbers.
    confirmed : bool
        False if another determination contradicts it.
    """

    x: float
    y: float
    x_err: float
    y_err: float
    source: str
    confirmed: bool = True

    def __sub__(self, other: "FilterShift") -> "FilterShift":
        """Return the shift from another filter to this one, with the errors of both."""
        errors = math.hypot(self.x_err, other.x_err), math.hypot(self.y_err, other.y_err)
        return FilterShift(self.x - other.x, self.y - other.y, *errors, self.source, self.confirmed and other.confirmed)


@dataclass(frozen=True)
class Accuracy:
    """A standard error along x and y [pixel or mas, see `unit`]; for a bias, the bias itself.

    Attributes
    ----------
    x, y : float
    unit : "pixel" or "mas"
        Pixels of the readout in which the quantity is measured.
    source : str
    """

    x: float
    y: float
    unit: str
    source: str


Key: TypeAlias = tuple[str, str, str]
FilterShifts: TypeAlias = Mapping[Key, FilterShift]
"""(INSTRUME, CHANNEL of NIRCam or the mask's SUBARRAY of MIRI, FILTER) -> shift."""

Accuracies: TypeAlias = Mapping[Key, Accuracy]
"""(quantity, INSTRUME or *, mode or *) -> accuracy."""

Row = TypeVar("Row")
Parser: TypeAlias = Callable[[Mapping[str, str]], Row]

FILTER_COLUMNS = ("instrument", "optics", "filter", "x", "y", "x_err", "y_err", "confirmed", "source")
ACCURACY_COLUMNS = ("quantity", "instrument", "mode", "x", "y", "unit", "source")


@dataclass(frozen=True)
class Tables:
    """The tables of the instrument."""

    filter_shifts: FilterShifts
    accuracies: Accuracies

    def filter_shift(self, about: Mapping[str, Any], band: str, *, channel: str | None = None) -> FilterShift | None:
        """Look up the shift of a filter in the optics of an exposure, by its header; None if it is not known.

        `channel` is that of another detector than the exposure's.
        """
        return self.filter_shifts.get((*_optics(about, channel), band.upper()))

    def usual_shift(self, about: Mapping[str, Any]) -> tuple[float, float]:
        """Compute the rms of the confirmed shifts in the optics of an exposure, along x and y [pixel].

        It estimates the shift of a filter that is not in the table; NaN if the optics are not in the table.
        """
        optics = _optics(about)
        rows = [row for key, row in self.filter_shifts.items() if key[:2] == optics and row.confirmed]
        if not rows:
            return math.nan, math.nan
        x, y = (math.sqrt(sum(getattr(row, axis) ** 2 for row in rows) / len(rows)) for axis in "xy")
        return x, y

    def accuracy(self, quantity: str, about: Mapping[str, Any]) -> Accuracy | None:
        """Look up an accuracy for an exposure by its header: for its mode, else for its instrument, else for all."""
        name = str(about.get("instrument", "")).upper()
        modes = ["*"]
        if about.get("exp_type") in model.CORONAGRAPHIC_TYPES:
            modes.insert(0, "coronagraphic")
        if str(about.get("target_type", "")).upper() == "MOVING":
            modes.insert(0, "moving")
        if is_early(about):
            modes.insert(0, "early")
        keys = [(quantity.upper(), each, mode.upper()) for mode in modes for each in (name, "*")]
        return next((self.accuracies[key] for key in keys if key in self.accuracies), None)


def _optics(about: Mapping[str, Any], channel: str | None = None) -> tuple[str, str]:
    """Return the instrument and the optics of an exposure, the first two columns of the filter shifts."""
    name = str(about.get("instrument", "")).upper()
    return name, str({"NIRCAM": channel or about.get("channel"), "MIRI": about.get("subarray")}.get(name)).upper()


def channel(detector: str) -> str:
    """Return the channel of a NIRCam detector, as in the keyword CHANNEL."""
    return "LONG" if detector.upper().endswith(("LONG", "5")) else "SHORT"


def is_early(about: Mapping[str, Any]) -> bool:
    """Return True if an exposure is of NIRCam before its pupil wheel moved in June 2022, by its header."""
    return str(about.get("instrument", "")).upper() == "NIRCAM" and str(about.get("date_beg", "9")) < WHEEL_MOVED


def acquisition_accuracy(name: str) -> float:
    """Look up the published accuracy of a target acquisition, one axis, one sigma [mas].

    References
    ----------
    JWST User Documentation, "JWST Pointing Accuracy": 5.5 mas for the near-infrared instruments and 14 mas for MIRI,
    radial.

    Examples
    --------
    >>> round(acquisition_accuracy("NIRCAM"), 2)
    3.89
    """
    return (14.0 if name.upper() == "MIRI" else 5.5) / math.sqrt(2)


def resolution(ds: xr.Dataset, fwhm: float | None) -> float:
    """Return the resolution element [arcsec]: `fwhm`, or else the value for the wavelength in the filter's name."""
    if fwhm is not None:
        if not fwhm > 0:
            msg = f"fwhm is {fwhm}; give a positive number of arcsec"
            raise ArgumentError(msg)
        return float(fwhm)
    try:
        micron = wavelength(str(header(ds).get("filter", "")))
    except ArgumentError as error:
        msg = f"{error}; give fwhm=, the resolution element in arcsec"
        raise ArgumentError(msg) from None
    return float(np.rad2deg(micron * 1e-6 / PRIMARY) * 3600)


def wavelength(name: str) -> float:
    """Read the wavelength in the name of a filter [um]; ArgumentError if there is none.

    >>> wavelength("F444W")
    4.44
    """
    number = re.match(r"F(\d{3,4})[A-Z]", name)  # in units of 10 nm
    if number is None:
        msg = f"the name of filter {name!r} has no wavelength"
        raise ArgumentError(msg)
    return int(number[1]) / 100


@cache
def tables() -> Tables:
    """Read the tables that come with this package.

    Returns
    -------
    Tables

    Examples
    --------
    >>> shift = tables().filter_shifts["NIRCAM", "LONG", "F444W"]
    >>> shift.x, shift.y, shift.x_err
    (0.177, -0.205, 0.06)
    >>> tables().accuracy("maneuver", {"instrument": "MIRI"}).x
    8.8
    """
    files = resources.files("xta.acquisition")
    shifts, accuracies = (files.joinpath(f"{name}.csv").read_text("utf-8") for name in ("filter_shifts", "accuracies"))
    return Tables(
        _parsed(shifts, "filter_shifts.csv", FILTER_COLUMNS, _shift),
        _parsed(accuracies, "accuracies.csv", ACCURACY_COLUMNS, _accuracy),
    )


def read_tables(
    *, filter_shifts: "str | os.PathLike[str] | None" = None, accuracies: "str | os.PathLike[str] | None" = None
) -> Tables:
    """Read tables of the user; their rows replace those of the package.

    Parameters
    ----------
    filter_shifts : path, optional
        CSV file with the columns instrument, optics (channel of NIRCam or mask of MIRI), filter, x, y, x_err,
        y_err [pixel of the science frame], confirmed (1 or 0) and source. Lines that begin with # are comments.
    accuracies : path, optional
        CSV file with the columns quantity, instrument, mode, x, y, unit (pixel or mas) and source. The quantities and
        modes are those in the package's own table.

    Returns
    -------
    Tables

    Raises
    ------
    FileError
        If a file cannot be read.
    ArgumentError
        If a file has other columns, or a row does not have this form. The message names the row.
    """
    own = tables()
    shifts = {**own.filter_shifts, **_read(filter_shifts, FILTER_COLUMNS, _shift)}
    quantities = {quantity for quantity, _, _ in own.accuracies}
    given = _read(accuracies, ACCURACY_COLUMNS, _accuracy)
    if unknown := {quantity for quantity, _, _ in given} - quantities:
        wrong, right = (", ".join(sorted(each)).lower() for each in (unknown, quantities))
        msg = f"{accuracies} has the unknown quantities {wrong}; use {right}"
        raise ArgumentError(msg)
    return Tables(shifts, {**own.accuracies, **given})


def _read(path: "str | os.PathLike[str] | None", columns: tuple[str, ...], parse: Parser[Row]) -> dict[Key, Row]:
    if path is None:
        return {}
    try:
        text = Path(path).read_text(encoding="utf-8")
    except damage() as error:
        msg = f"{path} cannot be read ({error}); give a CSV file with the columns {', '.join(columns)}"
        raise FileError(msg) from error
    return _parsed(text, str(path), columns, parse)


def _parsed(text: str, label: str, columns: tuple[str, ...], parse: Parser[Row]) -> dict[Key, Row]:
    """Parse a table whose first three columns are its key."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    reader = csv.DictReader(io.StringIO("\n".join(lines)))
    if sorted(reader.fieldnames or ()) != sorted(columns):
        msg = f"{label} has the columns {reader.fieldnames}; it needs {', '.join(columns)}"
        raise ArgumentError(msg)
    table: dict[Key, Row] = {}
    for row in reader:
        first, second, third = ((row[name] or "").strip() for name in columns[:3])
        shown = f"{label}, row {first} {second} {third}"
        key = first.upper(), second.upper(), third.upper()
        if key in table:
            msg = f"{shown}: this row appears twice; remove one"
            raise ArgumentError(msg)
        try:
            table[key] = parse(row)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            msg = f"{shown}: {error}; correct the row"
            raise ArgumentError(msg) from error
    return table


def _numbers(row: Mapping[str, str], *names: str) -> list[float]:
    values = [float(row[name]) for name in names]
    if not all(map(math.isfinite, values)):
        msg = f"{', '.join(names)} are not finite"
        raise ValueError(msg)
    return values


def _choice(row: Mapping[str, str], name: str, *choices: str) -> str:
    if (value := row[name].strip()) not in choices:
        msg = f"{name} is {value!r}, not {' or '.join(choices)}"
        raise ValueError(msg)
    return value


def _shift(row: Mapping[str, str]) -> FilterShift:
    x, y, x_err, y_err = _numbers(row, "x", "y", "x_err", "y_err")
    if min(x_err, y_err) < 0:
        msg = "an error is negative"
        raise ValueError(msg)
    return FilterShift(x, y, x_err, y_err, row["source"].strip(), _choice(row, "confirmed", "0", "1") == "1")


def _accuracy(row: Mapping[str, str]) -> Accuracy:
    x, y = _numbers(row, "x", "y")
    if min(x, y) < 0 and row["quantity"].strip() != "centroid_bias":
        msg = "an error is negative"
        raise ValueError(msg)
    return Accuracy(x, y, _choice(row, "unit", "pixel", "mas"), row["source"].strip())
