"""Convert the usual forms of event logs to columns of times and messages.

The main function is `columns`. It reads the comma-separated replies of the engineering database, the text forms in
which logs are printed, tables, and rows. This module does not interpret the messages.
"""

import csv
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from xta.errors import ArgumentError, FileError, OssLogError

__all__ = ["Columns", "columns"]

Times = npt.NDArray[np.datetime64]

NAMES = {
    "time": ("thetime", "time"),
    "message": ("euvalue", "message"),
    "id": ("msg_id", "ictm_event_msg_id"),
}
"""Names of columns, in lower case, as the engineering database and its readers give them."""

ADVICE = "give the CSV of ICTM_EVENT_MSG from the engineering database, or lines of time and message"

_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d(?:\.\d{1,6})?)(?:(?<=\.\d{6})\d+)?(?:Z|\+00:00)?", re.ASCII)
_CSV_ROW = re.compile(rf'"?{_TIME.pattern}"?\s*,', re.ASCII)
# Time, then perhaps MJD, then the message; divided by a tab, blanks, or the bars of a Markdown table.
_TEXT_ROW = re.compile(rf"\|?\s*({_TIME.pattern})\s*[|\s]\s*(?:\d{{5}}\.\d+\s*[|\s]\s*)?(.*)", re.ASCII)
_FOUND = re.compile(rf"VISIT (V\d{{11}}) (START|END) FOUND at ({_TIME.pattern})", re.ASCII)
_DATE = re.compile(r"\|?\s*\d{4}-\d\d-", re.ASCII)
_NUMBER = re.compile(r"\s*[+-]?\d+(\.\d*)?\s*", re.ASCII)


class Columns(NamedTuple):
    """Rows of a log: parallel columns, and the rows that were left out."""

    times: Times
    messages: list[str]
    ids: list[int | None] | None = None
    where: str = "the rows"
    damaged: tuple[str, ...] = ()


def columns(source: object) -> Columns:
    """Read any form of an event log into columns, in the order found; forms and errors as for `xta.osslog.read`."""
    if isinstance(source, str) and not _is_path(source):
        return _from_text(source, "the text")
    if isinstance(source, str | os.PathLike):
        return _from_text(_decode(_read_bytes(source)), f"{os.fspath(source)!r}")
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_text(_decode(bytes(source)), "the bytes")
    if (table := _table(source)) is not None:
        return _from_table(table)
    if hasattr(source, "read"):
        return _from_stream(source)
    if isinstance(source, Iterable):
        return _from_rows(list(source))
    msg = f"an event log cannot be read from a {type(source).__name__}; give a path, text, a table or rows"
    raise ArgumentError(msg)


def _is_path(text: str) -> bool:
    """Distinguish a path from a log of one line."""
    line = text.strip()
    is_log = not line or "\n" in text or "\r" in text or line.startswith("<")
    return not (is_log or _TEXT_ROW.match(line) or _CSV_ROW.match(line) or _header(line))


def _read_bytes(path: str | os.PathLike[str]) -> bytes:
    try:
        return Path(os.fsdecode(path)).read_bytes()
    except (OSError, ValueError) as err:
        reason = getattr(err, "strerror", None) or err
        msg = f"the event log {os.fspath(path)!r:.200} cannot be read: {reason}; check the path"
        raise FileError(msg) from err


def _from_stream(stream: Any) -> Columns:
    where = f"the stream {getattr(stream, 'name', '')!r}"
    try:
        content = stream.read()
    except UnicodeDecodeError as err:
        msg = f"no event log in {where}: it is not text ({err}); {ADVICE}"
        raise OssLogError(msg) from err
    except (OSError, ValueError) as err:
        msg = f"the event log {where} cannot be read: {err}"
        raise FileError(msg) from err
    return _from_text(_decode(content) if isinstance(content, bytes) else str(content), where)


def _decode(content: bytes) -> str:
    # A damaged byte damages only its own row.
    return content.decode("utf-8-sig", errors="replace")


def _from_text(text: str, where: str) -> Columns:
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    layout = _layout(lines)
    result = _csv_columns(lines[layout[0] :], layout[1], where) if layout else _text_columns(lines, where)
    if not result.messages:
        msg = f"no event in {where}: {_describe(text, layout is not None)}; {ADVICE}"
        raise OssLogError(msg)
    return result


def _describe(text: str, is_csv: bool) -> str:
    """Describe a text without events."""
    body = text.strip()
    if not body:
        return "it is empty, like the reply of the database if it has nothing for the interval or mnemonic"
    if re.match(r"<(!doctype|html|\?xml|head|body)", body, re.IGNORECASE):
        return "it is a web page, such as a service sends instead of an error code"
    if "\0" in body or body.count("\ufffd") > len(body) // 20:
        return f"it is binary, beginning {body[:16]!r}"
    first = body.split("\n", 1)[0]
    if is_csv and _header(first) and "\n" not in body:
        return "it has a header but no rows, like the reply for an interval without events"
    return f"no line has a time and a message; it begins {first[:60]!r}"


def _header(line: str) -> list[str] | None:
    """Split a line of column names; None if it is another line."""
    names = [name.strip().strip('"').lower() for name in line.split(",")]
    return names if min(_position(names, "time"), _position(names, "message")) >= 0 else None


def _position(names: Sequence[str], column: str) -> int:
    """Find one of the columns in `NAMES`; -1 if there is none of its names."""
    return next((names.index(name) for name in NAMES[column] if name in names), -1)


def _layout(lines: list[str]) -> tuple[int, list[str]] | None:
    """Find the first row and the columns of a comma-separated log; None if it is not one."""
    for at, line in enumerate(lines[:100]):
        if names := _header(line):
            return at + 1, names
        if _CSV_ROW.match(line):
            fields = _fields(line)
            if len(fields) > 1 and not _NUMBER.fullmatch(fields[1]):
                return at, ["time", "message"]
            if len(fields) > 2:
                return at, ["thetime", "mjd", "euvalue", "sqldatatype"][: len(fields)]
    return None


def _fields(line: str) -> list[str]:
    """Split a line with quotes; each line separately, so that a missing quote does not affect the next rows."""
    before, *parts = line.split('"')
    if len(parts) == 2 and before[-1:] == "," and parts[1][:1] in {"", ","}:  # one quoted field
        return [*before[:-1].split(","), parts[0], *parts[1].split(",")[1:]]
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        return []


def _csv_columns(lines: list[str], names: list[str], where: str) -> Columns:
    width = len(names)
    i_time, i_message, i_id = (_position(names, column) for column in NAMES)
    ids: list[int | None] = []
    times, messages, damaged = [], [], []
    for line in lines:
        fields = _fields(line) if '"' in line else line.split(",")
        if len(fields) < width:
            if line.strip() and not line.startswith("#"):
                damaged.append(line)
            continue
        if len(fields) > width:
            end = i_message + 1 + len(fields) - width  # commas that were not quoted
            fields[i_message:end] = [",".join(fields[i_message:end])]
        times.append(fields[i_time])
        messages.append(fields[i_message].strip())
        if i_id >= 0:
            ids.append(_integer(fields[i_id]))
    return _finish(times, messages, ids if i_id >= 0 else None, where=where, damaged=damaged)


def _text_columns(lines: list[str], where: str) -> Columns:
    times, messages, damaged = [], [], []
    for raw in lines:
        line = raw.strip()
        if match := _TEXT_ROW.match(line):
            message = match[4].strip()
            times.append(match[1])
            messages.append(message.removesuffix("|").rstrip() if line[0] == "|" else message)
        elif match := _FOUND.match(line):
            times.append(match[3])
            messages.append(f"VISIT {match[1]} {match[2]}ED")
        elif _DATE.match(line):
            damaged.append(line)
    return _finish(times, messages, where=where, damaged=damaged)


def _table(source: Any) -> dict[str, Any] | None:
    """Map the lower-case names of a table to its columns; None if it is not a table by columns."""
    names = (
        getattr(source, "colnames", None),  # astropy
        getattr(source, "variables", None),  # xarray
        getattr(getattr(source, "dtype", None), "names", None),  # numpy
        source if isinstance(source, Mapping) else getattr(source, "columns", None),  # pandas
    )
    listed = next((each for each in names if each is not None), None)
    return None if listed is None else {str(name).lower(): source[name] for name in listed}


def _from_table(table: dict[str, Any]) -> Columns:
    times, messages, ids = (None if column is None else _values(column) for column in _pick(table))
    if times is None or messages is None:
        msg = (
            f"a table of events needs a column Time or theTime and a column Message or euvalue; "
            f"this one has {', '.join(table)[:200] or 'none'}"
        )
        raise OssLogError(msg)
    return _checked(times, messages, None if ids is None else [_integer(i) for i in ids], where="the table")


def _pick(table: dict[str, Any]) -> list[Any]:
    """Select the columns (of a table) or values (of a row) of time, message and ID; None for missing ones."""
    return [next((table[name] for name in names if name in table), None) for names in NAMES.values()]


def _values(column: Any) -> Any:
    """List a column; masked values become None, dates stay an array."""
    column = getattr(column, "datetime64", column)  # astropy Time
    if getattr(getattr(column, "dtype", None), "kind", "") == "M":
        return np.atleast_1d(np.asarray(column, "M8[us]"))
    if not hasattr(column, "tolist"):
        column = getattr(column, "values", column)  # xarray
    values = column.tolist() if hasattr(column, "tolist") else column
    return list(values) if isinstance(values, Iterable) and not isinstance(values, str | bytes) else [values]


def _from_rows(rows: list[Any]) -> Columns:
    if rows and isinstance(rows[0], str | bytes):
        return _from_text("\n".join(_string(row) or "" for row in rows), "the lines")
    times, messages, idents = zip(*map(_row, rows), strict=True) if rows else ((), (), ())
    ids = [_integer(ident) for ident in idents]
    return _checked(times, messages, ids if any(i is not None for i in ids) else None, where="the rows")


def _row(row: Any) -> list[Any]:
    """Select time, message and ID of one row; missing values are None."""
    if (table := _table(row)) is not None:
        return _pick(table)
    time, *values = (*row, None, None) if isinstance(row, Iterable) else (None, None)
    if len(values) > 3 and _is_mjd(values[0]):
        del values[0]
    return [time, values[0], None]


def _is_mjd(value: object) -> bool:
    if isinstance(value, str):
        return bool(_NUMBER.fullmatch(value))
    return value is None or isinstance(value, int | float | np.number)


def _checked(times: Sequence[Any], messages: Sequence[Any], ids: list[int | None] | None, *, where: str) -> Columns:
    """Finish columns of any Python values."""
    texts = [_string(message) for message in messages]
    times = [time if text is not None else None for time, text in zip(times, texts, strict=False)]
    clean = [" ".join((text or "").splitlines()).strip() for text in texts]
    result = _finish(times, clean, ids, where=where)
    if not result.messages:
        first = result.damaged[:1]
        reason = f"no row has a time and a message; the first is {first[0]}" if first else "there are no rows of events"
        msg = f"no event in {where}: {reason}; {ADVICE}"
        raise OssLogError(msg)
    return result


def _finish(
    times: Sequence[Any],
    messages: list[str],
    ids: list[int | None] | None = None,
    *,
    where: str,
    damaged: Sequence[str] = (),
) -> Columns:
    """Parse the times, and separate the rows without one."""
    stamps = parse_times(times)
    bad = np.flatnonzero(np.isnat(stamps))
    if bad.size:
        # Comments and repeated headers have the number of fields of a row.
        texts = [(str(times[i]), messages[i]) for i in bad.tolist()]
        damaged = [*damaged, *(f"{t}, {m}" for t, m in texts if not t.startswith("#") and not _header(f"{t},{m}"))]
        good = np.flatnonzero(~np.isnat(stamps)).tolist()
        stamps = stamps[good]
        messages = [messages[i] for i in good]
        ids = [ids[i] for i in good] if ids is not None else None
    return Columns(stamps, messages, ids, where, tuple(damaged))


def parse_times(values: Sequence[Any] | Times) -> Times:
    """Parse times (str, bytes, datetime or datetime64) to microseconds, UTC; invalid ones become NaT.

    Times of the form ``2022-07-29 22:01:51.487`` with up to six decimals are checked and parsed all at once.

    Examples
    --------
    >>> parse_times(["2022-07-29 22:01:51.487", "2022-07-29T22:01:51Z", "never"])
    array(['2022-07-29T22:01:51.487000', '2022-07-29T22:01:51.000000', 'NaT'], dtype='datetime64[us]')
    """
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        return values.astype("M8[us]")
    stamps = np.full(len(values), "NaT", "M8[us]")
    plain = np.zeros(len(values), bool)
    try:
        text = np.array(values, "S28").reshape(stamps.shape)
        plain = _is_plain(text)
        stamps[plain] = text[plain].astype("M8[us]")
    except (ValueError, TypeError):
        plain[:] = False  # a character beyond ASCII, or a 30th of February
    for i in np.flatnonzero(~plain).tolist():
        stamps[i] = _parse_time(values[i])
    return stamps


def _is_plain(text: npt.NDArray[np.bytes_]) -> npt.NDArray[np.bool_]:
    # Each row of `codes` contains one character of all times, which is 4 times faster than one row per time.
    codes = np.ascontiguousarray(text.view(np.uint8).reshape(-1, 28).T)
    digit = codes - ord("0") < 10  # uint8 wraps
    shape = np.array([[char == "0"] for char in "0000-00-00 00:00:00"])
    return np.asarray(
        (digit[:19] == shape).all(axis=0)
        & (codes[[4, 7]] == ord("-")).all(axis=0)
        & ((codes[10] == ord(" ")) | (codes[10] == ord("T")))
        & (codes[[13, 16]] == ord(":")).all(axis=0)
        & ((codes[19] == 0) | ((codes[19] == ord(".")) & digit[20]))
        & (digit[20:26] | (codes[20:26] == 0)).all(axis=0)
        & (codes[26:] == 0).all(axis=0)
    )


def _parse_time(value: object) -> np.datetime64:
    try:
        if isinstance(value, datetime):
            value = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        elif not isinstance(value, np.datetime64):
            match = _TIME.fullmatch((_string(value) or "").strip())
            value = f"{match[1]}T{match[2]}" if match else "NaT"
        return np.datetime64(value, "us")
    except (ValueError, TypeError, OverflowError):
        return np.datetime64("NaT", "us")


def _string(value: object) -> str | None:
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return str(value) if isinstance(value, str) else None


def _integer(value: Any) -> int | None:
    try:
        return int(float(value))
    except (TypeError, ValueError, OverflowError):
        return None
