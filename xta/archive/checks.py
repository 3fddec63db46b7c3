"""What comes from the network is looked at before it is believed: names, FITS structure, CSV tables."""

import csv
import re
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

from xta.errors import ArchiveReplyError

__all__ = ["LogScan", "check_fits", "is_product_name", "scan_log"]

BLOCK = 2880
CARD = 80
MAX_HEADER_BLOCKS = 10_000


def is_product_name(name: object) -> bool:
    """Tell whether `name` is one of a JWST FITS product, and nothing that could leave a folder.

    Examples
    --------
    >>> is_product_name("jw01386001001_02102_00001_nrcalong_cal.fits")
    True
    >>> is_product_name("../jw01386001001_02102_00001_nrcalong_cal.fits")
    False
    """
    if not isinstance(name, str) or len(name) > 200 or ".." in name:
        return False
    return re.fullmatch(r"jw[A-Za-z0-9_.-]+\.fits", name) is not None


def check_fits(path: Path) -> None:
    """Check that a file is FITS and that every header has all the data it announces, and no more.

    Parameters
    ----------
    path : Path

    Raises
    ------
    ArchiveReplyError
        Saying what is wrong, without the name of the file.

    References
    ----------
    FITS Standard 4.0, section 3 (file organisation) and 4.4.1 (mandatory keywords).
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(CARD)
        if not re.match(rb"SIMPLE  = +T", first):
            raise ArchiveReplyError(_instead(first))
        position = 0
        while position < size:
            file.seek(position)
            position += _hdu_size(file)
    if position != size:
        word = "short" if position > size else "long"
        msg = f"is {abs(position - size)} bytes too {word} for its FITS headers"
        raise ArchiveReplyError(msg)


def _hdu_size(file: BinaryIO) -> int:
    """Add up the header and data of the HDU that begins where `file` is [byte]."""
    start = file.tell()
    values: dict[str, int] = {}
    for number in range(MAX_HEADER_BLOCKS):
        block = file.read(BLOCK)
        if len(block) < BLOCK or (number == 0 and block[:8] not in {b"SIMPLE  ", b"XTENSION"}):
            break
        for first in range(0, BLOCK, CARD):
            card = block[first : first + CARD]
            if card[:8] == b"END     ":
                return file.tell() - start + _data_size(values)
            if match := re.match(rb"(BITPIX|NAXIS\d*|PCOUNT|GCOUNT) *= +(-?\d+) *(?:/|$)", card):
                values.setdefault(match[1].decode(), int(match[2]))
    msg = "is cut short or damaged inside a FITS header"
    raise ArchiveReplyError(msg)


def _data_size(values: dict[str, int]) -> int:
    axes = [values.get(f"NAXIS{axis}", -1) for axis in range(1, values.get("NAXIS", 0) + 1)]
    if "BITPIX" not in values or "NAXIS" not in values or min([*axes, values.get("PCOUNT", 0)], default=0) < 0:
        msg = "has a FITS header without the size of its data"
        raise ArchiveReplyError(msg)
    items = prod(axes) if axes else 0
    data = abs(values["BITPIX"]) // 8 * values.get("GCOUNT", 1) * (values.get("PCOUNT", 0) + items)
    return -(-data // BLOCK) * BLOCK


@dataclass(frozen=True)
class LogScan:
    """What one pass over a log found.

    Parameters
    ----------
    rows : int
        Number of rows below the header.
    ended : bool
        Whether the visit asked for ends in it.
    tidy : bool
        Whether the rows are in time order and none comes twice.
    """

    rows: int
    ended: bool
    tidy: bool


def scan_log(path: Path, *, visit: str | None = None) -> LogScan:
    """Check that a file is a table of the engineering database, and look through it once.

    Parameters
    ----------
    path : Path
    visit : str, optional
        11 digits of the visit whose end is looked for.

    Returns
    -------
    LogScan

    Raises
    ------
    ArchiveReplyError
        Saying what is wrong, without the name of the file.
    """
    end = re.compile(rf"VISIT V{visit} (ENDED|SKIPPED)\b") if visit else None
    rows, ended, tidy, time, kind = 0, False, True, "", ""
    now: set[str] = set()  # values at the time of the row before
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            at_time, at_value, at_kind = _columns(header, path)
            for row in filter(None, reader):
                # All rows of a mnemonic are of one type: another one is a row that was cut in it.
                if len(row) < len(header) or not row[at_time][:4].isdigit() or (rows and row[at_kind] != kind):
                    msg = f"is damaged or cut short at line {reader.line_num}"
                    raise ArchiveReplyError(msg)
                before, time, value, kind = time, row[at_time], row[at_value], row[at_kind]
                if time != before:
                    now.clear()
                tidy = tidy and time >= before and value not in now
                now.add(value)
                ended = ended or (end is not None and end.search(value) is not None)
                rows += 1
    except csv.Error:
        msg = "is no table that can be read"
        raise ArchiveReplyError(msg) from None
    return LogScan(rows, ended, tidy)


def _columns(header: list[str], path: Path) -> tuple[int, int, int]:
    names = ("theTime", "euvalue", "sqldataType")
    if not set(names) <= set(header):
        with path.open("rb") as file:
            raise ArchiveReplyError(_instead(file.read(CARD)))
    at_time, at_value, at_kind = (header.index(name) for name in names)
    # From the end: commas in a message that were not quoted make a row longer.
    return at_time, at_value, at_kind - len(header)


def _instead(start: bytes) -> str:
    """Say what came in place of what was asked, from its first bytes."""
    text = start.lstrip().lower()
    if not text:
        return "is empty"
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page"
    if start.startswith(b"\x1f\x8b"):
        return "is compressed in a way that was not announced"
    return "is something else"
