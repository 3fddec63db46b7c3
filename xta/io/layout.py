"""Check the structure of a FITS file against its size, before astropy reads it.

A few characters of a header can declare billions of axes, columns or pixels, or a negative size that leads back to
the start of the file. The checks cover the keywords that determine where astropy reads and how much memory it needs.
"""

import bz2
import gzip
import io
import lzma
import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn, TypeAlias

__all__ = ["Extent", "check", "first_header"]

COMPRESSED: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
"""First bytes of a compressed file -> function that reads it."""

BLOCK, CARD = 2880, 80  # [byte] defined by the FITS standard
MAX_BLOCKS = 1000  # blocks in one header, with 36 cards each; 15 are usual, and each line of HISTORY is a card
MAX_EXTENSIONS = 1000  # an imaging product has ten
MAX_AXES = 999  # limit of the FITS standard, as for the number of columns
MAX_COLUMNS = 999
MAX_LENGTH = 1 << 20  # pixels along an axis of an image, which become labels; a detector has 2048
MAX_TABLE = 1 << 26  # [byte] in one table, which is read whole; the ASDF extension has 1 MB, INT_TIMES 60 bytes per row
MAX_UNPACKED = 1 << 29  # [byte] in a compressed file, which is unpacked several times, in 2 s each for bzip2
STEP = 1 << 22  # [byte] read at a time

NAMES = rb"SIMPLE|XTENSION|BITPIX|Z?NAXIS\d*|ZBITPIX|PCOUNT|GCOUNT|GROUPS|TFIELDS|ZIMAGE"
STRUCTURAL = re.compile(rb"\s*(?:HIERARCH\s+)?(%s)\s*=" % NAMES, re.IGNORECASE)
WHOLE = re.compile(rb"\s*([+-]?\d{1,18})\s*(?:/.*)?")
TEXT = re.compile(rb"\s*(?:'([^']*)'|([TF]))\s*(?:/.*)?")
BITPIX = (8, 16, 32, 64, -32, -64)

Cards: TypeAlias = dict[str, int | str]


class Extent(NamedTuple):
    """The end of the last extension of a file, and the size of the unpacked file [byte]."""

    end: int
    size: int


def check(path: Path) -> Extent:
    """Check all headers of a file, and measure it.

    Parameters
    ----------
    path : pathlib.Path
        Path of a plain file, or one compressed by gzip, bzip2 or xz.

    Returns
    -------
    Extent
        `end` is larger than `size` if the file was truncated within its data.

    Raises
    ------
    ValueError
        If a header declares something that is in no product or that astropy would read differently from the FITS
        standard, or if the bytes after the last extension look like another one.
    OSError, EOFError, zlib.error, lzma.LZMAError
        If the file cannot be read or unpacked.

    References
    ----------
    FITS standard 4.0, sections 3.3 and 4.4.1, https://fits.gsfc.nasa.gov/fits_standard.html
    """
    with _unpacked(path) as file:
        number = end = 0
        while _skip(file, end):
            start = file.read(CARD)
            if number and not start.startswith(b"XTENSION= "):
                return _rest(file, start, end, number)
            if number > MAX_EXTENSIONS:
                _refuse(f"it has more than {MAX_EXTENSIONS} extensions")
            cards, header = _header(file, start, number)
            number, end = number + 1, end + len(header) + _data_size(cards, number)
        return Extent(end, _size(file))  # cut short


def first_header(path: Path) -> bytes:
    """Read only the first header of a file, checked in the same way as by `check`."""
    with _unpacked(path) as file:
        cards, header = _header(file, file.read(CARD), 0)
        _data_size(cards, 0)
        return header


def _refuse(what: str) -> NoReturn:
    raise ValueError(what)


@contextmanager
def _unpacked(path: Path) -> Iterator[BinaryIO]:
    """Open a file at its start, unpacked; refuse a pipe, which might never end."""
    if not path.is_file():
        _refuse("it is not an ordinary file")
    with path.open("rb") as file:
        head = file.read(8)
        file.seek(0)
        for magic, unpack in COMPRESSED.items():
            if head.startswith(magic):
                with unpack(file, "rb") as content:
                    yield content
                return
        yield file


def _skip(file: BinaryIO, end: int) -> bool:
    """Move forward to a position; return False if the file ends before it."""
    if isinstance(file, io.BufferedReader):
        return os.fstat(file.fileno()).st_size >= file.seek(end)
    if end > MAX_UNPACKED:
        _refuse(f"it is compressed and contains more than {MAX_UNPACKED} bytes; unpack it first")
    while (left := end - file.tell()) > 0:
        if not file.read(min(left, STEP)):
            return False
    return True


def _size(file: BinaryIO) -> int:
    """Return the size of a file that was read to its end, or is not compressed."""
    return os.fstat(file.fileno()).st_size if isinstance(file, io.BufferedReader) else file.tell()


def _header(file: BinaryIO, start: bytes, number: int) -> tuple[Cards, bytes]:
    """Read a header after its first card; return the cards that determine the structure, and the whole header."""
    if number == 0 and not start.startswith(b"SIMPLE  ="):
        _refuse("it does not begin with SIMPLE")
    cards: Cards = {}
    blocks: list[bytes] = []
    for _ in range(MAX_BLOCKS):
        blocks.append(file.read(BLOCK) if blocks else start + file.read(BLOCK - CARD))
        if len(blocks[-1]) < BLOCK:
            _refuse(f"it ends within header {number}")
        for card in (blocks[-1][k : k + CARD] for k in range(0, BLOCK, CARD)):
            if re.match(rb"END[^A-Z0-9_-]", card):
                if card.strip() != b"END":
                    _refuse(f"header {number} has the card {card[:20]!r} in place of END")
                return cards, b"".join(blocks)
            if match := STRUCTURAL.match(card):
                _add(cards, match[1].decode().upper(), card, number)
    _refuse(f"header {number} has more than {MAX_BLOCKS * BLOCK // CARD} cards")


def _add(cards: Cards, name: str, card: bytes, number: int) -> None:
    """Add a card of the structure, which must follow the standard and appear only once."""
    pattern = TEXT if name in {"SIMPLE", "XTENSION", "GROUPS", "ZIMAGE"} else WHOLE
    value = pattern.fullmatch(card[10:])
    if card[:10] != f"{name:8}= ".encode() or value is None or name in cards:
        shown = card.decode("ascii", "replace").strip()
        _refuse(f"header {number} has the card {shown!r:.60}, which is not valid or appears twice")
    text = next(part for part in value.groups() if part is not None).decode("ascii", "replace").strip()
    cards[name] = int(text) if pattern is WHOLE else text


def _data_size(cards: Cards, number: int) -> int:
    """Compute the size of the data after a header, with their padding [byte]."""
    kind = "IMAGE" if number == 0 else cards["XTENSION"]
    if number == 0 and (cards.get("SIMPLE") != "T" or cards.get("GROUPS", "F") != "F"):
        _refuse("its first header does not describe an image (SIMPLE, GROUPS)")
    bits, shape = _shape(cards, "", number)
    extra, groups = _count(cards, "PCOUNT", 0), _count(cards, "GCOUNT", 1)
    if min(extra, groups) < 0:
        _refuse(f"header {number} declares PCOUNT = {extra} and GCOUNT = {groups}")
    size = bits // 8 * groups * (extra + math.prod(shape)) if shape else 0
    if kind in {"BINTABLE", "A3DTABLE", "TABLE"}:
        _check_table(cards, bits, shape, size, number)
    else:
        _check_image(shape, number)
    return -(-size // BLOCK) * BLOCK


def _count(cards: Cards, name: str, default: int) -> int:
    value = cards.get(name, default)
    return value if isinstance(value, int) else -1


def _shape(cards: Cards, prefix: str, number: int) -> tuple[int, list[int]]:
    """Read the bits per pixel and the lengths of the axes; each declared axis must have one."""
    bits, axes = _count(cards, f"{prefix}BITPIX", 0), _count(cards, f"{prefix}NAXIS", -1)
    if bits not in BITPIX or not 0 <= axes <= MAX_AXES:
        _refuse(f"header {number} declares {prefix}BITPIX = {bits} and {prefix}NAXIS = {axes}")
    shape = [_count(cards, f"{prefix}NAXIS{k}", -1) for k in range(1, axes + 1)]
    if min(shape, default=0) < 0:
        _refuse(f"header {number} lacks the length of an axis, or it is negative ({prefix}NAXIS1.. = {shape!s:.60})")
    return abs(bits), shape


def _check_image(shape: list[int], number: int) -> None:
    if len(shape) > 1 and max(shape) > MAX_LENGTH:
        _refuse(f"header {number} declares an axis of {max(shape)} pixels; at most {MAX_LENGTH} are read")


def _check_table(cards: Cards, bits: int, shape: list[int], size: int, number: int) -> None:
    """Check a table, or an image that is stored in one, compressed tile by tile."""
    columns = _count(cards, "TFIELDS", 0)
    if (
        bits != 8
        or len(shape) != 2
        or not 0 <= columns <= MAX_COLUMNS
        or size > MAX_TABLE
        or (shape[1] and not shape[0])
    ):
        what = f"a table of {columns} columns and {shape!s:.60} bytes"
        _refuse(f"header {number} declares {what}; at most {MAX_COLUMNS} columns and {MAX_TABLE} bytes are read")
    if cards.get("ZIMAGE", "F") != "F":
        depth, image = _shape(cards, "Z", number)
        _check_image(image, number)
        if depth // 8 * math.prod(image) > MAX_UNPACKED:
            _refuse(f"header {number} declares a packed image of {image!s:.60} pixels; unpack it first")


def _rest(file: BinaryIO, start: bytes, end: int, number: int) -> Extent:
    """Measure the bytes after the last extension, in which astropy must not find a header."""
    rest = start + file.read(BLOCK * MAX_BLOCKS)
    if len(rest) > BLOCK * MAX_BLOCKS or any(rest[k : k + 3] == b"END" for k in range(0, len(rest), CARD)):
        _refuse(f"the bytes after extension {number - 1}, at byte {end}, are not an extension")
    return Extent(end, end + len(rest))
