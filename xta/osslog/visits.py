"""Find which visit each row of an event log belongs to.

On board, one visit runs at a time. Its rows are between ``VISIT <id> STARTED`` and ``VISIT <id> ENDED`` (with
or without a reason), and only few of them contain its ID. A log may be clipped, and rows of other visits may be
among them. If no row decides which visit a row belongs to, it is left open.
"""

import operator
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, SupportsIndex

import numpy as np
import numpy.typing as npt

from xta.errors import ArgumentError

__all__ = ["DOUBT", "NOBODY", "Ownership", "normalize_visit", "ownership"]

NOBODY, DOUBT = -1, -2
"""Codes of rows that belong to no visit, and of rows that may belong to several."""

_LEADS = {"VISIT ", "Script activated: ", "Script terminated: ", "Group ", "Seq "}
"""Beginnings of the rows that contain the ID of their visit; the ID follows."""

_ID = re.compile(r"V\d{11}", re.ASCII)
_MARKER = re.compile(r"VISIT V\d{11} (STARTED|ENDED|SKIPPED)\b[ ,]*(.*)", re.ASCII)

Rows = npt.NDArray[np.intp]

_VISIT_ID = re.compile(r"(?:V(\d{11})|(\d{9,11}))", re.ASCII | re.IGNORECASE)
_VISIT_PARTS = re.compile(r"(\d{1,5}):(\d{1,3})(?::(\d{1,3}))?", re.ASCII)


class Span(NamedTuple):
    """Rows `first` to `last` that may belong to a visit.

    `kind` is "full" (both ends are in the log), "start" or "end" (only that one is), "named" (its id occurs,
    no end does), "script" (a script of the visit runs) or "ta" (a script of its target acquisition does).
    """

    first: int
    last: int
    visit: str
    kind: str


class Marker(NamedTuple):
    """A row with the start or end of a visit."""

    row: int
    visit: str
    word: str
    reason: str


class Ownership(NamedTuple):
    """The visit that each row belongs to."""

    codes: npt.NDArray[np.int32]
    """For each row an index into `names`, or NOBODY, or DOUBT."""
    names: tuple[str, ...]
    """All visits of the log, in order of appearance."""
    visits: tuple[tuple[str, int, int, str | None], ...]
    """For each of them the rows of start and end, -1 if absent, and the reason for the end."""
    doubts: tuple[tuple[int, int, frozenset[str]], ...]
    """First and last row of stretches that several visits may own, and these visits."""


def normalize_visit(visit: str | SupportsIndex) -> str:
    """Convert a visit ID to the form of the event log.

    Parameters
    ----------
    visit : str or int
        "V01386001001", "01386001001", 1386001001, "1386:1:1" or "1386:1" (visit 1 of the observation).

    Returns
    -------
    str
        "V", program (5 digits), observation (3), visit (3).

    Raises
    ------
    ArgumentError
        If `visit` has none of these forms.

    Examples
    --------
    >>> {normalize_visit(v) for v in ("V01386001001", "01386001001", 1386001001, "1386:1:1", "1386:1")}
    {'V01386001001'}
    """
    try:
        text = visit.strip() if isinstance(visit, str) else str(operator.index(visit))
    except TypeError:
        text = ""
    if match := _VISIT_ID.fullmatch(text):
        return f"V{match[1] or match[2]:0>11}"
    if match := _VISIT_PARTS.fullmatch(text):
        return f"V{match[1]:0>5}{match[2]:0>3}{match[3] or '1':0>3}"
    msg = (
        f"{visit!r:.60} is not a visit ID; write it as 'V01386001001', '01386001001', 1386001001, "
        "'1386:1:1' or '1386:1'"
    )
    raise ArgumentError(msg)


def _carriers(messages: Sequence[str]) -> tuple[Rows, Rows, tuple[str, ...]]:
    """Find the rows with the ID of their visit (not just a mention): rows, indices into the names, names."""
    # The first four letters rule out most rows of a large log. The first eight of the rest show which lead it may
    # be, and so where the id begins.
    heads = {lead[:4] for lead in _LEADS}
    lengths = {lead[:8]: len(lead) for lead in _LEADS if len(lead) > 8}
    indices: dict[str, int] = {}
    rows, codes = [], []
    for row in [i for i, text in enumerate(messages) if text[:4] in heads]:
        text = messages[row]
        start = lengths.get(text[:8], 4 if text[0] == "S" else 6)
        name = text[start : start + 12]
        if text[:start] in _LEADS and (name in indices or _ID.fullmatch(name)):
            rows.append(row)
            codes.append(indices.setdefault(name, len(indices)))
    return np.array(rows, int), np.array(codes, int), tuple(indices)


def ownership(messages: Sequence[str]) -> Ownership:
    """Decide for each row of a log, sorted by time, which visit it belongs to.

    A row inside one visit's STARTED and ENDED is that visit's. Where several visits are open, or the ends of
    one are not in the log, the visit whose script runs decides, a script of target acquisition before others.
    A row that carries an id is always of that visit.
    """
    rows, carried, names = _carriers(messages)
    markers = list(_markers(messages, rows))
    n = len(messages)
    # A span is a claim of a visit to a run of rows: between its ends, or from its first id to its last.
    spans = [*_visit_spans(markers, n), *_named_spans(rows, carried, names, markers, n)]
    # If claims overlap, scripts decide. They are parsed only for these visits, since a log has thousands.
    contested, claims = _contested(spans, rows, carried, names, n)
    if claims:
        mask = np.isin(carried, [names.index(name) for name in claims])
        scripts = _script_spans(messages, rows[mask].tolist(), n)
        spans += [span for span in scripts if contested[span.last + 1] > contested[span.first]]
    # Between two ends of spans the claims are the same, so that each stretch has one owner, several or none.
    code = {name: k for k, name in enumerate(names)}
    codes = np.full(n, NOBODY, np.int32)
    doubts = []
    for first, end, active in _stretches(spans, n):
        owners = _decide(active)
        if len(owners) == 1:
            codes[first:end] = code[next(iter(owners))]
        elif owners:
            codes[first:end] = DOUBT
            doubts.append((first, end - 1, owners))
    codes[rows] = carried
    return Ownership(codes, names, tuple(_ends(markers, names)), tuple(doubts))


def _markers(messages: Sequence[str], rows: Rows) -> Iterator[Marker]:
    for row in rows.tolist():
        if messages[row].startswith("VISIT") and (match := _MARKER.match(messages[row])):
            reason = "SKIPPED" if match[1] == "SKIPPED" else match[2].strip()
            yield Marker(row, messages[row][6:18], match[1], reason)


def _ends(markers: list[Marker], names: tuple[str, ...]) -> Iterator[tuple[str, int, int, str | None]]:
    # The first start and the last end count.
    starts = {marker.visit: marker.row for marker in reversed(markers) if marker.word == "STARTED"}
    ends = {marker.visit: (marker.row, marker.reason) for marker in markers if marker.word != "STARTED"}
    for name in names:
        yield name, starts.get(name, -1), *ends.get(name, (-1, None))


def _visit_spans(markers: list[Marker], n: int) -> list[Span]:
    """Turn the markers into spans, full or half-open."""
    # One pass from the first marker to the last: an end closes the start that waits for it. A start without an end
    # reaches to the next start, an end without a start back to the marker before it.
    spans: list[Span] = []
    begun: dict[str, int] = {}
    open_ended: list[tuple[int, str]] = []
    marked: set[str] = set()
    starts: list[int] = []
    before = 0
    for row, visit, word, _ in markers:
        if word == "STARTED":
            if visit in begun:
                open_ended.append((begun[visit], visit))
            begun[visit] = row
            starts.append(row)
        elif visit in begun:
            spans.append(Span(begun.pop(visit), row, visit, "full"))
        elif word == "ENDED" and visit not in marked:
            spans.append(Span(before, row, visit, "end"))
        marked.add(visit)
        before = row if word == "STARTED" else row + 1
    stops = [*starts, n]
    open_ended += [(row, name) for name, row in begun.items()]
    spans += [Span(row, stops[bisect_right(starts, row)] - 1, name, "start") for row, name in open_ended]
    return spans


def _named_spans(rows: Rows, carried: Rows, names: tuple[str, ...], markers: list[Marker], n: int) -> Iterator[Span]:
    """Span the visits without markers from the first row that carries their id to the last."""
    marked = {marker.visit for marker in markers}
    if len(names) == 1 and not marked:  # the only visit of the log
        yield Span(0, n - 1, names[0], "named")
        return
    first = rows[np.unique(carried, return_index=True)[1]]
    last = rows[::-1][np.unique(carried[::-1], return_index=True)[1]]
    for span in zip(first.tolist(), last.tolist(), names, strict=True):
        if span[2] not in marked:
            yield Span(*span, "named")


def _contested(spans: list[Span], rows: Rows, carried: Rows, names: tuple[str, ...], n: int) -> tuple[Rows, set[str]]:
    """Count the rows before each row (n + 1,) that scripts have to decide on, and name the visits that meet there."""
    # A stretch is contested unless exactly one visit claims it. A row with an id counts as a claim, too, where a
    # span is open at an end: the visit of that id may have begun before the log or ended after it.
    mask = np.zeros(n + 1, int)
    rivals: set[str] = set()
    for first, end, active in _stretches(spans, n):
        claims = {span.visit for span in active}
        if {span.kind for span in active} != {"full"}:
            low, high = np.searchsorted(rows, [first, end])
            claims |= {names[code] for code in np.unique(carried[low:high]).tolist()}
        if len(claims) > 1 or (claims and not active):
            mask[first + 1 : end + 1] = 1
            rivals |= claims
    return mask.cumsum(), rivals


def _script_spans(messages: Sequence[str], rows: list[int], n: int) -> Iterator[Span]:
    """Turn activation and termination of scripts into spans; the end of a visit ends its scripts."""
    running: dict[str, int] = {}
    begun: dict[str, int] = {}
    for row in rows:
        text = messages[row]
        if text.startswith("Script a"):
            running[text[18:]] = row
        elif text.startswith("Script t"):
            name = text[19:]
            if name not in running:  # a status may follow it
                name = name.rpartition(":")[0] or name
            yield _script(running.pop(name, begun.get(name[:12], 0)), row, name)
        elif text.startswith("VISIT"):
            visit = text[6:18]
            begun[visit] = row
            if " STARTED" not in text:
                for name in [name for name in running if name.startswith(visit)]:
                    yield _script(running.pop(name), row, name)
    for name, row in running.items():
        yield _script(row, n - 1, name)


def _script(first: int, last: int, name: str) -> Span:
    return Span(first, last, name[:12], "ta" if name.endswith("TAMAIN") else "script")


def _stretches(spans: list[Span], n: int) -> Iterator[tuple[int, int, set[Span]]]:
    """Cut the rows where any span begins or ends; return each stretch with the spans over it."""
    begin: dict[int, list[Span]] = {0: []}
    stop: dict[int, list[Span]] = {n: []}
    for span in spans:
        begin.setdefault(span.first, []).append(span)
        stop.setdefault(span.last + 1, []).append(span)
    active: set[Span] = set()
    for first, end in pairwise(sorted(begin.keys() | stop.keys())):
        active.difference_update(stop.get(first, ()))
        active.update(begin.get(first, ()))
        yield first, end, active


def _decide(active: set[Span]) -> frozenset[str]:
    """Choose the owner among the spans over a stretch: no visit, one, or all that are possible."""
    # The evidence, best first: both ends in the log; then one end or an id, and among several of these the
    # visit whose script runs, preferably for target acquisition. Scripts alone decide only if nothing else claims.
    by_kind: dict[str, list[Span]] = {}
    for span in active:
        by_kind.setdefault(span.kind, []).append(span)
    full = {span.visit for span in by_kind.get("full", ())}
    if len(full) == 1:
        return frozenset(full)
    acquiring = {span.visit for span in by_kind.get("ta", ())}
    running = acquiring | {span.visit for span in by_kind.get("script", ())}
    others = {span.visit for kind in ("start", "end", "named") for span in by_kind.get(kind, ())}
    claims = full or others
    if not claims:
        return frozenset(running if len(running) == 1 else ())
    for evidence in (running, acquiring):
        if len(claims & evidence) == 1:
            return frozenset(claims & evidence)
    if len(claims) == 1 and running:  # the script of another visit: ends and starts of both are missing
        return frozenset(acquiring if len(acquiring) == 1 else claims | running)
    return frozenset(claims)
