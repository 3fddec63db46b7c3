"""Event logs from the engineering database.

The onboard scripts (OSS) report what they do as event messages, the telemetry mnemonic ``ICTM_EVENT_MSG``.
Its service gives one CSV table a mnemonic and time window, with the columns ``theTime``, ``MJD``, ``euvalue``
and ``sqldataType``, and with the row before and the row after the window.
"""

import csv
import io
import logging
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from xta.archive import cache, mast
from xta.archive.checks import LogScan, scan_log
from xta.archive.lock import writable
from xta.archive.policy import Policy, Token, edb, find_token, visit_digits
from xta.errors import ArchiveNotFoundError, ArgumentError

__all__ = ["MESSAGE", "event_log"]

logger = logging.getLogger(__name__)

MESSAGE = "ICTM_EVENT_MSG"
"""Mnemonic of the text of an event; ``_ID`` and ``_SRC`` after it name its number and its sender."""

SETTLED = timedelta(hours=24)
ADVICE = "give the log as a file if you have it (the CSV of ICTM_EVENT_MSG)"


@dataclass(frozen=True)
class _Window:
    """The errand of one call: when, for which visit, and how."""

    start: datetime
    end: datetime
    digits: str | None
    token: str | Token | None = field(repr=False)
    progress: bool
    offline: bool
    policy: Policy

    def name(self, mnemonic: str) -> str:
        return f"{mnemonic}-{self.start:%Y%m%dT%H%M%S}-{self.end:%Y%m%dT%H%M%S}.csv"


def event_log(
    visit: str | None = None,
    *,
    start: str | datetime | None = None,
    end: str | datetime | None = None,
    mnemonics: Iterable[str] = (MESSAGE,),
    pad: float = 300.0,
    instrument: str | None = None,
    token: str | Token | None = None,
    progress: bool = False,
    offline: bool = False,
    policy: Policy | None = None,
) -> str:
    """Give the event log of a visit or a time window, from the cache or from the engineering database.

    Parameters
    ----------
    visit : str, optional
        As "V01386001001" or "1386:1:1".
    start, end : str or datetime.datetime, optional
        UTC. For a visit: its VSTSTART and VISITEND, as in the header of any of its products; without them
        MAST is asked. Without a visit both are needed.
    mnemonics : iterable of str
        The first is the log. The values of each further one, such as ``ICTM_EVENT_MSG_ID``, become a column
        of that name, by time: empty where there is none, or several that differ and cannot be paired.
    pad : float
        Added to the window on both sides [s]: the report of an acquisition comes after its exposure, and
        a visit's first and last line lie around its times.
    instrument : str, optional
        Where MAST has to be asked for the times, as of `xta.archive.mast.visit_times`.
    token : str, optional
        MAST token; ``MAST_API_TOKEN`` by default. Not needed as a rule.
    progress : bool
        Show a bar on stderr.
    offline : bool
        Forbid the network.
    policy : Policy, optional
        Time limits and retries.

    Returns
    -------
    str
        CSV with a header line; rows in time order, none of the log itself twice. `xta.osslog.read` takes it.

    Raises
    ------
    ArchiveNotFoundError
        If the database has nothing in the window.
    ArchiveError
        If it cannot be asked or answers nonsense.

    Notes
    -----
    A log is kept in the cache if nothing more can come: the window ended a day ago and, for a visit, its
    line ENDED is there. Otherwise it is asked for again the next time.
    """
    names = [_mnemonic(name) for name in mnemonics]
    if not names:
        msg = f"mnemonics is empty; the event log is {MESSAGE}"
        raise ArgumentError(msg)
    if not 0 <= pad < math.inf:
        msg = f"pad={pad!r} must be seconds, not negative"
        raise ArgumentError(msg)
    digits = visit_digits(visit) if visit is not None else None
    first, last = _times(digits, start, end, instrument, offline=offline, policy=policy)
    margin = timedelta(seconds=pad)
    window = _Window(
        (first - margin).replace(microsecond=0),
        (last + margin).replace(microsecond=0) + timedelta(seconds=1),
        digits,
        token,
        progress,
        offline,
        policy or Policy(),
    )
    text, complete = _series(names[0], window, complete=None)
    others = {name: _series(name, window, complete=complete)[0] for name in names[1:]}
    return _join(text, others) if others else text


def _times(
    digits: str | None, start: Any, end: Any, instrument: str | None, *, offline: bool, policy: Policy | None
) -> tuple[datetime, datetime]:
    if start is None and end is None and digits is not None:
        return mast.visit_times(digits, instrument, offline=offline, policy=policy)
    if start is None or end is None:
        msg = "give a visit, or both start and end"
        raise ArgumentError(msg)
    first, last = _utc(start), _utc(end)
    if not first < last:
        msg = f"the window of a log ends ({last}) before it starts ({first})"
        raise ArgumentError(msg)
    return first, last


def _series(mnemonic: str, window: _Window, *, complete: bool | None) -> tuple[str, bool]:
    """Give the table of one mnemonic, and whether it is complete.

    `complete` is None for the log itself, which tells; the others are what it is.
    """
    is_log = complete is None
    entry = cache.Entry("logs", window.name(mnemonic), f"mast:jwstedb/{window.name(mnemonic)}")
    who = f"visit V{window.digits}: " if window.digits else ""
    what = f"{who}{mnemonic} from {window.start:%Y-%m-%d %H:%M:%S} to {window.end:%Y-%m-%d %H:%M:%S}"

    def check(path: Path) -> LogScan:
        return scan_log(path, visit=window.digits if is_log else None)

    if path := cache.find(entry, check=check):
        return _read(path), True
    cache.refuse_offline(entry, what=what, advice=ADVICE, offline=window.offline)
    with cache.claim(entry, what=what, advice=ADVICE, wait=window.policy.deadline) as part:
        if path := cache.find(entry, check=check):
            return _read(path), True
        _fetch(entry, window, what, part)
        scan = cache.inspect(entry, part, check=check, what=what, advice=ADVICE)
        if scan.rows == 0 and is_log:
            msg = f"{what}: {edb()} has no row; check the visit, the times and the mnemonic, or {ADVICE}"
            raise ArchiveNotFoundError(msg)
        if not scan.tidy:
            with writable(part):
                part.write_text(_tidy(_read(part), unique=is_log), encoding="utf-8", newline="")
        if complete is None:
            complete = window.end < datetime.now(UTC) - SETTLED and (window.digits is None or scan.ended)
        if not complete:
            logger.info("%s: the log may still grow, so it is not kept", what)
            return _read(part), False
        return _read(cache.store(entry, part)), True


def _fetch(entry: cache.Entry, window: _Window, what: str, part: Path) -> None:
    from xta.archive.resume import download
    from xta.archive.transport import Client

    service = edb()
    url = f"{service.url}/api/v0.1/Download/file?uri={quote(entry.source, safe=':/')}"
    token = find_token(window.token)
    with Client(service, what, advice=ADVICE, token=token, policy=window.policy) as client:
        download(client, url, part, progress=window.progress, compressed=True)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8-sig", errors="replace")


def _table(text: str) -> tuple[list[str], list[list[str]]]:
    """Split a table into header and rows of its width."""
    header, *rows = filter(None, csv.reader(io.StringIO(text)))
    at = header.index("euvalue")
    for row in rows:
        if extra := len(row) - len(header):  # commas of a message that were not quoted
            row[at : at + extra + 1] = [",".join(row[at : at + extra + 1])]
    return header, rows


def _tidy(text: str, *, unique: bool) -> str:
    """Sort a table by time; drop rows that are there already if `unique`."""
    header, rows = _table(text)
    rows.sort(key=lambda row: row[header.index("theTime")])
    if unique:
        rows = [list(row) for row in dict.fromkeys(map(tuple, rows))]
    return _write([header, *rows])


def _join(text: str, others: dict[str, str]) -> str:
    """Add the values of other mnemonics to a log, by time."""
    header, rows = _table(text)
    groups: dict[str, list[list[str]]] = {}
    for row in rows:
        groups.setdefault(row[header.index("theTime")], []).append(row)
    for other in others.values():
        values = _by_time(other)
        for time, group in groups.items():
            found = values.get(time, [])
            if len(found) != len(group):
                found = [found[0] if len(set(found)) == 1 else ""] * len(group)
            for row, value in zip(group, found, strict=True):
                row.append(value)
    return _write([[*header, *others], *rows])


def _by_time(text: str) -> dict[str, list[str]]:
    header, rows = _table(text)
    values: dict[str, list[str]] = {}
    for row in rows:
        values.setdefault(row[header.index("theTime")], []).append(row[header.index("euvalue")])
    return values


def _write(rows: list[list[str]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def _mnemonic(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{1,63}", name):
        msg = f"{name[:80]!r} is not a mnemonic such as {MESSAGE}"
        raise ArgumentError(msg)
    return name.upper()


def _utc(value: Any) -> datetime:
    try:
        time = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip())
    except ValueError:
        msg = f"{str(value)[:40]!r} is not a time; write it as 2022-07-29 22:01:51"
        raise ArgumentError(msg) from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
