"""Download event logs from the engineering database.

The onboard scripts (OSS) report their actions as event messages, the telemetry mnemonic ``ICTM_EVENT_MSG``.
The service has two forms, both known to the JWST pipeline; ``XTA_EDB_FORM`` chooses one of them, and ``XTA_EDB_URL``
the address:

* ``mast``: ``api/v0.1/Download/file?uri=mast:jwstedb/MNEMONIC-START-END.csv`` is a CSV table with the columns
  ``theTime``, ``MJD``, ``euvalue`` and ``sqldataType``;
* ``direct``: ``Data/MNEMONIC?sTime=START&eTime=END`` is JSON, with the milliseconds of each ``ObsTime`` and its
  ``EUValue``.

Both include the row before and the row after the window. The rest of xta uses the first form only; a reply in the
other one is converted to such a table.

References
----------
jwst, ``jwst.lib.engdb_mast`` and ``jwst.lib.engdb_direct``, https://github.com/spacetelescope/jwst
"""

import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from xta.archive import cache, mast
from xta.archive.policy import Policy, Task, Token, edb, edb_form, find_token
from xta.errors import ArchiveNotFoundError, ArchiveReplyError, ArgumentError, OssLogError
from xta.osslog import normalize_visit
from xta.osslog.text import columns

__all__ = ["MESSAGE", "event_log"]

MESSAGE = "ICTM_EVENT_MSG"
"""Mnemonic of the text of an event; ``_ID`` and ``_SRC`` after it name its number and its sender."""

HEADER = "theTime,MJD,euvalue,sqldataType"
SETTLED = timedelta(hours=24)
EPOCH, EPOCH_MJD = datetime(1970, 1, 1, tzinfo=UTC), 40587
ADVICE = "give the log as a file if you have it (the CSV of ICTM_EVENT_MSG)"


@dataclass(frozen=True)
class LogQuery:
    """The time window of a log, its visit, and how it is fetched."""

    start: datetime
    end: datetime
    visit: str | None
    policy: Policy
    offline: bool
    progress: bool
    token: str | Token | None = field(repr=False)

    def describe(self, mnemonic: str) -> str:
        """Name the table in messages."""
        whose = f"visit {self.visit}: " if self.visit else ""
        return f"{whose}{mnemonic} from {self.start:%Y-%m-%d %H:%M:%S} to {self.end:%Y-%m-%d %H:%M:%S}"

    def is_complete(self, text: str) -> bool:
        """Check whether no more rows can come: the window is old, and the visit has ended in it."""
        ended = not self.visit or re.search(rf"VISIT {self.visit} (ENDED|SKIPPED)\b", text)
        return bool(ended) and _has_rows(text) and self.end < datetime.now(UTC) - SETTLED

    def fetch(self, mnemonic: str, *, unique: bool, keep: Callable[[str], bool]) -> str:
        """Read the table of a mnemonic, from the cache or the database; rows in time order."""
        name = f"{mnemonic}-{self.start:%Y%m%dT%H%M%S}-{self.end:%Y%m%dT%H%M%S}.csv"
        entry = cache.Entry("logs", name, f"mast:jwstedb/{name}")
        task = Task(self.describe(mnemonic), ADVICE, self.policy, self.offline, self.progress)

        def fetch(part: Path) -> None:
            from xta.archive.client import Client

            direct = edb_form() == "direct"
            times = {"sTime": f"{self.start:%Y-%m-%d %H:%M:%S}.000", "eTime": f"{self.end:%Y-%m-%d %H:%M:%S}.000"}
            path = f"Data/{mnemonic}?{urlencode(times, quote_via=quote)}" if direct else None
            with Client(edb(), task, token=find_token(self.token)) as client:
                client.download(entry.source, part, compressed=True, path=path)
            if direct:
                _as_table(part)

        return cache.obtain(entry, task, fetch, check=check_log, read=lambda path: _tidy(path, unique), keep=keep)


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
    """Return the event log of a visit or a time window, from the cache or from the engineering database.

    Parameters
    ----------
    visit : str, optional
        Visit ID, such as "V01386001001" or "1386:1:1".
    start, end : str or datetime.datetime, optional
        Start and end of the window (UTC). For a visit these are VSTSTART and VISITEND in the header of any of its
        products; by default MAST is asked. Without a visit both are needed.
    mnemonics : iterable of str
        The first is the log. The values of each further one, such as ``ICTM_EVENT_MSG_ID``, become a column
        of that name, by time: empty where there is none, or several that differ and cannot be paired.
    pad : float
        Time added to the window on both sides [s], since the report of an acquisition comes after its exposure, and
        a visit's first and last line are outside its times.
    instrument : str, optional
        Instrument for the request of the times, as in `xta.archive.visit_times`.
    token, progress, offline, policy
        As in `xta.archive.download`; usually no token is needed.

    Returns
    -------
    str
        CSV with a header line, and rows in order of time without duplicates, in a form for `xta.osslog.read`.

    Raises
    ------
    ArchiveNotFoundError
        If the database has nothing in the window.
    ArchiveError
        If it cannot be reached or sends an invalid reply.

    Notes
    -----
    A log is cached if it is complete: the window ended more than a day ago and, for a visit, its line ENDED is in the
    log. Otherwise it is downloaded again the next time.
    """
    names = [_mnemonic(name) for name in mnemonics]
    if not names:
        msg = f"mnemonics is empty; the event log is {MESSAGE}"
        raise ArgumentError(msg)
    if not 0 <= pad < math.inf:
        msg = f"pad={pad!r} must be seconds, not negative"
        raise ArgumentError(msg)
    visit = normalize_visit(visit) if visit is not None else None
    if start is None and end is None and visit is not None:
        first, last = mast.visit_times(visit, instrument, offline=offline, policy=policy)
    else:
        first, last = _window(start, end)
    query = LogQuery(
        (first - timedelta(seconds=pad)).replace(microsecond=0),
        (last + timedelta(seconds=pad)).replace(microsecond=0) + timedelta(seconds=1),
        visit,
        policy or Policy(),
        offline,
        progress,
        token,
    )
    text = query.fetch(names[0], unique=True, keep=query.is_complete)
    if not _has_rows(text):
        problem = f"{query.describe(names[0])}: {edb()} has no rows"
        msg = f"{problem}; check the visit, the times and the mnemonic, or {ADVICE}"
        raise ArchiveNotFoundError(msg)
    complete = query.is_complete(text)
    others = {name: query.fetch(name, unique=False, keep=lambda _: complete) for name in names[1:]}
    return _join(text, others) if others else text


def check_log(path: Path) -> None:
    """Check that a file is a whole table of the engineering database; ArchiveReplyError if not."""
    header, *rows = _lines(path)
    if header != HEADER:
        raise ArchiveReplyError(cache.describe(path.read_bytes()[:80]))
    if not rows:
        return
    try:
        damaged = set(columns(path.read_bytes()).damaged)
    except OssLogError:  # none of the rows is one
        damaged = set(rows)
    # All rows of a mnemonic have one type; a row with another one was cut short in it.
    kinds = [row.rpartition(",")[2] for row in rows]
    for line, (row, kind) in enumerate(zip(rows, kinds, strict=True), start=2):
        if row in damaged or kind != kinds[0]:
            msg = f"is damaged or cut short at line {line}"
            raise ArchiveReplyError(msg)


def _as_table(part: Path) -> None:
    """Convert the JSON of a direct service to the table of MAST; `check_log` refuses anything else."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADER.split(","))
    try:
        for record in json.loads(part.read_bytes())["Data"] or ():
            milliseconds = int(re.fullmatch(r"/Date\((-?\d{1,14})[-+]\d{4}\)/", record["ObsTime"])[1])  # type: ignore[index]
            when = EPOCH + timedelta(milliseconds=milliseconds)
            mjd = (when - EPOCH) / timedelta(days=1) + EPOCH_MJD
            kind = "varchar" if isinstance(record["EUValue"], str) else "float"
            writer.writerow([f"{when:%Y-%m-%d %H:%M:%S.%f}0", f"{mjd:.10f}", record["EUValue"], kind])
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
        return
    part.write_text(out.getvalue(), encoding="utf-8")


def _window(start: Any, end: Any) -> tuple[datetime, datetime]:
    if start is None or end is None:
        msg = "give a visit, or both start and end"
        raise ArgumentError(msg)
    first, last = _utc(start), _utc(end)
    if not first < last:
        msg = f"the window of a log ends ({last}) before it starts ({first})"
        raise ArgumentError(msg)
    return first, last


def _lines(path: Path) -> list[str]:
    """Read a table as its header and its rows."""
    header, *rows = path.read_text(encoding="utf-8-sig", errors="replace").split("\n")
    return [header, *filter(None, rows)]


def _tidy(path: Path, unique: bool) -> str:
    """Read a table with its rows in time order, each once if `unique`."""
    header, *rows = _lines(path)
    rows.sort(key=lambda row: row.partition(",")[0])
    return "\n".join([header, *(dict.fromkeys(rows) if unique else rows), ""])


def _has_rows(text: str) -> bool:
    return text.count("\n") > 1


def _join(text: str, others: dict[str, str]) -> str:
    """Add the values of other mnemonics to a log, by time."""
    log = columns(text)
    times = log.times.tolist()
    tables = [_paired(other, Counter(times)) for other in others.values()]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*HEADER.split(","), *others])
    for row, time, message in zip(text.split("\n")[1:], times, log.messages, strict=False):
        when, mjd, rest = row.split(",", 2)
        writer.writerow([when, mjd, message, rest.rpartition(",")[2], *(next(table[time]) for table in tables)])
    return out.getvalue()


def _paired(text: str, counts: Mapping[datetime, int]) -> dict[datetime, Iterator[str]]:
    """Pair the values of a mnemonic with the messages of each time; empty text where they cannot be paired."""
    values = {time: list[str]() for time in counts}
    if _has_rows(text):
        log = columns(text)
        for time, value in zip(log.times.tolist(), log.messages, strict=True):
            values.setdefault(time, []).append(value)
    return {
        time: iter(values[time] if len(values[time]) == count else [_single(values[time])] * count)
        for time, count in counts.items()
    }


def _single(values: list[str]) -> str:
    return values[0] if len(set(values)) == 1 else ""


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
