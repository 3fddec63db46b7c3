"""Find where in the full readout an array begins, and when its integrations were taken."""

import operator
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xta import model
from xta.errors import ArgumentError, counted, warn
from xta.identity import header
from xta.io.fitsfile import keyword, number

if TYPE_CHECKING:
    from astropy.io.fits import HDUList

__all__ = ["assign_times", "check_origin", "corner"]

LAST_DATE = 106_000.0  # [d] modified Julian date, year 2149


def check_origin(origin: Any) -> tuple[int, int] | None:
    """Check that an origin is None or two whole numbers of at least 0; raise ArgumentError if not."""
    if origin is None:
        return None
    try:
        x0, y0 = (operator.index(value) for value in origin)
    except (TypeError, ValueError):
        x0 = y0 = -1
    if x0 < 0 or y0 < 0:
        msg = f"origin is {origin!r:.60}; give the pixel (x, y) of the readout, two whole numbers from 0"
        raise ArgumentError(msg)
    return x0, y0


def corner(ds: xr.Dataset, hdus: "HDUList", *, label: str, origin: tuple[int, int] | None) -> tuple[int, int] | None:
    """Find the pixel (x, y) of the readout at which the array begins; None if it is not known.

    Raise ArgumentError if `origin` puts the array outside the readout; warn if other software cropped it.
    """
    nx, ny = ds.sizes["x"], ds.sizes["y"]
    full = header(ds).get("subsize1", nx), header(ds).get("subsize2", ny)
    if origin is not None:
        if origin[0] + nx > full[0] or origin[1] + ny > full[1]:
            msg = f"origin {origin} puts the array of {nx} x {ny} pixels outside the readout of {full[0]} x {full[1]}"
            raise ArgumentError(msg)
        return origin
    if (nx, ny) == full:
        return 0, 0
    first = _corner_from_crpix(ds, hdus, label)
    cropped = f"{label}: the array has {nx} x {ny} pixels, but SUBSIZE1/2 are {full[0]} x {full[1]}, so it was cropped"
    if first is None:
        warn(
            f"{cropped}. Its first pixel is not known, so x and y count from its own corner and there is no WCS; "
            "give origin=(x, y)"
        )
        return None
    warn(f"{cropped}. By CRPIX, which is the SIAF reference point, it begins at pixel {first}; check, or give origin")
    return first


def _corner_from_crpix(ds: xr.Dataset, hdus: "HDUList", label: str) -> tuple[int, int] | None:
    """Find the corner from CRPIX, which software that crops moves along from the SIAF reference point."""
    from xta.errors import SiafError
    from xta.geometry import siaf

    crpix = [number(hdus, name, label=label) for name in ("CRPIX1", "CRPIX2")]
    full = header(ds).get("subsize1"), header(ds).get("subsize2")
    try:
        ap = siaf.aperture(*(header(ds).get(name, "") for name in ("instrument", "aperture", "prd_version")))
    except SiafError:
        return None
    if None in crpix or None in full or ap.XSciRef is None or (ap.XSciSize, ap.YSciSize) != full:
        return None
    shift = np.array([ap.XSciRef - crpix[0], ap.YSciRef - crpix[1]])
    first = np.round(shift).astype(int)
    inside = np.all(first >= 0) and np.all(first + np.array([ds.sizes["x"], ds.sizes["y"]]) <= full)
    if np.abs(shift - first).max() > 1e-3 or not inside:
        return None
    # A CRPIX that never moved contains no information, since software that ignores the header crops anywhere.
    return (int(first[0]), int(first[1])) if first.any() else None


def assign_times(ds: xr.Dataset, hdus: "HDUList", *, label: str) -> xr.Dataset:
    """Assign integration numbers and times from INT_TIMES if it fits, or for an image from EXPMID."""
    if "integration" not in ds.dims:
        mid = number(hdus, "EXPMID", label=label)
        return ds if mid is None else model.with_coords(ds, {"time": ((), _datetime(mid), model.attrs("time"))})
    count = ds.sizes["integration"]
    table = _table(hdus, count, label)
    numbers = None if table is None else _numbers(table)
    if numbers is None:
        numbers = np.arange(count) + _first_number(hdus)
    coords: dict[str, Any] = {"integration": ("integration", numbers, model.attrs("integration"))}
    for name, column in (("time", "int_mid_mjd_utc"), ("time_bjd_tdb", "int_mid_bjd_tdb")):
        values = None if table is None else _column(table, column)
        if values is None:
            continue
        data = _datetime(values) if name == "time" else _known(values)
        # The same chunks as the data: different ones along a dimension break `Dataset.chunks` and `map_blocks`.
        encoding = {"preferred_chunks": {"integration": 1}}
        coords[name] = xr.Variable("integration", data, model.attrs(name), encoding)
    return model.with_coords(ds, coords)


def _table(hdus: "HDUList", count: int, label: str) -> Any:
    """Read the rows of INT_TIMES for the integrations; None if there are none, with a warning if there are others."""
    table = hdus["INT_TIMES"].data if "INT_TIMES" in hdus else None
    if table is None or not len(table):
        return None
    if not hasattr(table, "names"):
        warn(f"{label}: INT_TIMES is not a table; the integrations have no times")
        return None
    if len(table) == count:
        return table
    rows = _rows(table, hdus, count)
    if rows is not None:
        return table[rows]
    warn(
        f"{label}: INT_TIMES has {counted(len(table), 'row')} for {counted(count, 'integration')}, as in coadded or "
        "cut files; the integrations have no times"
    )
    return None


def _column(table: Any, wanted: str) -> Any:
    """Read a column of INT_TIMES as floats; None if it is absent or not a column of numbers."""
    for name in table.names:
        if name.lower() == wanted and (column := table[name]).ndim == 1 and column.dtype.kind in "iuf":
            return np.asarray(column, dtype=float)
    return None


def _rows(table: Any, hdus: "HDUList", count: int) -> Any:
    """Find the rows of INT_TIMES for the integrations in the file; None if they are not known.

    All segments of an exposure may contain the whole table; INTSTART and INTEND give the part for this file.
    """
    first, last = keyword(hdus, "INTSTART"), keyword(hdus, "INTEND")
    numbers = _column(table, "integration_number")
    if numbers is None or type(first) is not int or type(last) is not int or last - first + 1 != count:
        return None
    rows = np.flatnonzero((numbers >= first) & (numbers <= last))
    return rows if np.array_equal(numbers[rows], np.arange(first, last + 1)) else None


def _numbers(table: Any) -> Any:
    """Read the integration numbers; None if they do not increase from 1 or later."""
    numbers = _column(table, "integration_number")
    if numbers is None or not np.all(numbers >= 1) or not np.all(np.diff(numbers) > 0):
        return None
    return numbers.astype(np.int64)


def _first_number(hdus: "HDUList") -> int:
    first = keyword(hdus, "INTSTART")
    return first if type(first) is int and first >= 1 else 1


def _known(mjd: Any) -> Any:
    """Replace a date that was not filled in (0), or is out of the range of datetime64[ns], by NaN."""
    mjd = np.asarray(mjd, dtype=float)
    return np.where((mjd > 0) & (mjd < LAST_DATE), mjd, np.nan)


def _datetime(mjd: Any) -> Any:
    """Convert modified Julian dates (UTC) to datetime64[ns]; NaN to NaT."""
    mjd = _known(mjd)
    day = np.floor(np.nan_to_num(mjd))
    nanoseconds = np.round((np.nan_to_num(mjd) - day) * 86_400e6).astype(np.int64) * 1000
    # Doubles resolve 1 µs at MJD 60000; more digits would be invented.
    time = model.MJD_ZERO + day.astype(np.int64) * np.timedelta64(86_400 * 10**9, "ns")
    return np.where(np.isfinite(mjd), time + nanoseconds.astype("timedelta64[ns]"), np.datetime64("NaT", "ns"))
