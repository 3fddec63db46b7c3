"""What is known of the instrument beyond the WCS of its products: shifts between filters, from a table.

The table is ``filter_shifts.csv`` beside this module; each row has its source and its error. A table of one's own, in
the same form, can be read with `read_filter_shifts` and given to `xta.acquisition.adjust.adjust_wcs`.
"""

import csv
import io
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TypeAlias

from xta.errors import ArgumentError, FileError, damage

__all__ = ["FilterShift", "FilterShifts", "filter_shifts", "read_filter_shifts"]


@dataclass(frozen=True)
class FilterShift:
    """Where a filter puts the image of a star, minus where the reference filter of the same optics puts it.

    Attributes
    ----------
    x, y : float
        Along x and y of the science frame [pixel].
    x_err, y_err : float
        Standard errors [pixel].
    source : str
        Where the numbers come from.
    confirmed : bool
        False where another determination contradicts it.
    """

    x: float
    y: float
    x_err: float
    y_err: float
    source: str
    confirmed: bool = True


FilterShifts: TypeAlias = Mapping[tuple[str, str, str], FilterShift]
"""(INSTRUME, CHANNEL of NIRCam or the mask's SUBARRAY of MIRI, FILTER) -> shift."""

COLUMNS = ("instrument", "optics", "filter", "x", "y", "x_err", "y_err", "confirmed", "source")


@cache
def filter_shifts() -> FilterShifts:
    """Read the table of filter shifts that comes with this package.

    Examples
    --------
    >>> shift = filter_shifts()["NIRCAM", "LONG", "F444W"]
    >>> shift.x, shift.y, shift.x_err
    (0.177, -0.205, 0.06)
    """
    text = resources.files("xta.acquisition").joinpath("filter_shifts.csv").read_text(encoding="utf-8")
    return _parsed(text, "filter_shifts.csv")


def read_filter_shifts(path: "str | os.PathLike[str]") -> FilterShifts:
    """Read a table of filter shifts.

    Parameters
    ----------
    path : path
        Of a CSV file with the columns instrument, optics (channel of NIRCam or mask of MIRI), filter, x, y, x_err,
        y_err [pixel of the science frame], confirmed (1 or 0) and source; lines that begin with # are comments.

    Returns
    -------
    mapping
        (instrument, optics, filter) -> `FilterShift`.

    Raises
    ------
    FileError
        If the file cannot be read.
    ArgumentError
        If it has other columns, or a row is not of this form: it names the row.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except damage() as error:
        msg = f"{path} cannot be read ({error}); give a table of filter shifts, a CSV file"
        raise FileError(msg) from error
    return _parsed(text, str(path))


def _parsed(text: str, label: str) -> FilterShifts:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    reader = csv.DictReader(io.StringIO("\n".join(lines)))
    if sorted(reader.fieldnames or ()) != sorted(COLUMNS):
        msg = f"{label} has the columns {reader.fieldnames}; a table of filter shifts has {', '.join(COLUMNS)}"
        raise ArgumentError(msg)
    table: dict[tuple[str, str, str], FilterShift] = {}
    for row in reader:
        key = row["instrument"].upper(), row["optics"].upper(), row["filter"].upper()
        if key in table:
            msg = f"{label} has two rows of {' '.join(key)}; leave one"
            raise ArgumentError(msg)
        table[key] = _shift(row, f"{label}, row {' '.join(key)}")
    return table


def _shift(row: Mapping[str, str], label: str) -> FilterShift:
    try:
        x, y, x_err, y_err = (float(row[name]) for name in ("x", "y", "x_err", "y_err"))
        confirmed = {"1": True, "0": False}[row["confirmed"].strip()]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        msg = f"{label}: {error} is no number, or confirmed is not 1 or 0; correct the row"
        raise ArgumentError(msg) from error
    if not all(map(math.isfinite, (x, y, x_err, y_err))) or min(x_err, y_err) < 0:
        msg = f"{label}: the shift or its error is not finite, or the error negative; correct the row"
        raise ArgumentError(msg)
    return FilterShift(x, y, x_err, y_err, row["source"].strip(), confirmed)
