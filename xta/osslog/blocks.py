"""Parse the rows of one visit: target-acquisition blocks, maneuvers, exposures, failures.

The functions take rows that belong to one visit, sorted by time. Numbers are returned as logged; they are NaN if they
are missing or not numbers.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import chain, zip_longest

import numpy as np

from xta.osslog.records import NAN, NAT, Centroid, Exposure, Failure, Row, Sam

__all__ = ["centroids", "exposures", "failures", "relevant", "sams"]

FOLLOWS = np.timedelta64(2, "m")
"""A maneuver is logged seconds after the rows that it uses; later rows belong to something else."""

INTERRUPTED = np.timedelta64(15, "m")
"""Gap after which a new block begins; the longest gap seen inside a block is 3 minutes (before ``peakValue``)."""

SUMMARY = "TARGET LOCATE SUMMARY"
DETECTOR = "detectorcoord(colCentroid,rowCentroid)"
BOX = "(numCols,numRows)"
CONVERGENCE = "(convergenceFlag,convergenceThres)"
LAST_STEP = "lastiterationdiff(col,row)"
TARGET = "targetlocation(v2,v3)"
GUIDING = "From guiding"

STAMP_CENTROID = "postage-stampcoord(colCentroid,rowCentroid)"
STAMP_PEAK = "postage-stampcoord(colPeak,rowPeak)"

INSIDE = {
    *(DETECTOR, LAST_STEP, STAMP_CENTROID, STAMP_PEAK, "DETECTOR", BOX, "cosmicrayMethod", "peakValue", CONVERGENCE),
    "peakpostage-stampcoord(col,row)",
    "reductionoffset(col,row)",
    "(backgroundMethod,backgroundValue)",
    "(total,numIter)",
    "(colMoment2,rowMoment2)",
    "(colMoment3,rowMoment3)",
}
"""Labels of the rows inside a block, without blanks."""

SAM_KINDS = {
    "TASAM(x,y)": "ta",
    "DitherSAM(x,y)": "dither",
    "CorrectiontoNRCSAM(x,y)": "wedge",
    "TASAMforNRS(x,y)": "nrs",
    "TASAMforNRS(x,y,r)": "nrs",
}
SAM_IDS = {8231: "ta", 8232: "dither", 8248: "wedge", 8230: "nrs", 8235: "nrs", 8557: "facet"}
"""Message ids of the same rows."""

HALF_FACET = "NIRSpec TA MSA half facet SAM"

FAILURES = {
    "target locate": re.compile(r"target locate failed|TA Roll too (?:big|large)"),
    "guide star": re.compile(
        r"guide star (?:re)?acquisition (?:failed|process unsuccessful)|loss of ACS Fine Guidance Control"
    ),
    "instrument": re.compile(r"subsystem unavailable"),
    "visit": re.compile(r"Visit constraint violation|^VISIT V\d{11} (?:ENDED, *\S|SKIPPED)"),
    "script": re.compile(r"^Script terminated: .*:ERROR$"),
}
"""Patterns of logged failures, by kind."""

NIRISS_TA_FAILED = -8826
"""Message id of a failed NIRISS acquisition; its text is not known."""

IDS = frozenset({*SAM_IDS, NIRISS_TA_FAILED})

_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eEdD][+-]?\d+)?", re.ASCII)
_PAIR = re.compile(r"\(([^(),]*),([^(),]*)\)")
_LABEL = re.compile(r"[A-Za-z(][\w ,()-]*", re.ASCII)
_GUIDER = re.compile(r"From guiding: guider (\d),? X ideal \S+ Y ideal \S+", re.ASCII)
_EXPOSURE = re.compile(r"([0-9A-Z]{6}) ([A-Z]{3}_\w+) (.*)", re.ASCII)

_HEADS = {"****", SUMMARY[:4], GUIDING[:4], "MIRI", "NIRC", "NRC ", "NIRI", "NIRS", "NRS "}
_OMINOUS = ("locate failed", "TA Roll", "guide star", "loss of ACS", "unavailable", "violation")


def relevant(messages: Iterable[str]) -> list[int]:
    """Find, at low cost, the rows that may belong to a block or a maneuver."""
    return [i for i, text in enumerate(messages) if " =" in text or text[:4] in _HEADS]


def of_exposures(messages: Iterable[str]) -> list[int]:
    """Find, at low cost, the rows that may belong to an exposure."""
    return [i for i, text in enumerate(messages) if text[10:11] == "_"]


def of_failures(messages: Iterable[str]) -> list[int]:
    """Find, at low cost, the rows that may report a failure."""
    leads = ("VISIT V", "(conv", "Script t")
    return [i for i, text in enumerate(messages) if text.startswith(leads) or any(word in text for word in _OMINOUS)]


@dataclass
class _Block:
    """The rows of one acquisition while they are collected, and an index of those that have a label."""

    rows: list[Row] = field(default_factory=list)
    values: dict[str, Row] = field(default_factory=dict)
    closed: bool = False
    left: bool = False

    def add(self, row: Row, label: str = "") -> None:
        self.rows.append(row)
        if label:
            self.values.setdefault(label, row)

    def within(self, limit: np.timedelta64, row: Row) -> bool:
        return bool(row.time - self.rows[-1].time <= limit)


def _split(message: str) -> tuple[str, str]:
    """Split ``label = value``, the label without blanks; a row of another form has the label ""."""
    left, equals, value = message.partition("=")
    if equals and (label := _label(left)):
        return label, value.strip()
    return (GUIDING, message) if message.startswith(GUIDING) else ("", message)


@lru_cache(maxsize=256)
def _label(left: str) -> str:
    return "".join(left.split()) if _LABEL.fullmatch(left) else ""


def _blocks(rows: Sequence[Row]) -> list[_Block]:
    """Collect the rows of each acquisition; a block may lack its beginning or its end."""
    blocks: list[_Block] = []
    opener: list[Row] = []
    for row, after in zip_longest(rows, rows[1:]):
        block = blocks[-1] if blocks else _Block(closed=True, left=True)
        label, _ = _split(row.message)
        if len(row.message) > 9 and not row.message.strip("*"):  # a row of stars opens or closes a block
            if after is not None and after.message.startswith(SUMMARY):
                opener = [row]
            elif block.values and not block.closed:
                block.add(row)
                block.closed = True
        elif row.message.startswith(SUMMARY):
            blocks.append(_Block([*opener, row]))
            opener = []
        elif label in INSIDE:
            if block.closed or label in block.values or not block.within(INTERRUPTED, row):
                blocks.append(block := _Block())
            block.add(row, label)
        else:
            _follow(block, row, label)
    return blocks


def _follow(block: _Block, row: Row, label: str) -> None:
    """Add a row without a known label to a block, if it belongs to the acquisition."""
    if block.left:
        return
    kind = _sam_kind(row, label)
    if FAILURES["target locate"].search(row.message) or row.id == NIRISS_TA_FAILED:
        if block.within(FOLLOWS if block.closed else INTERRUPTED, row):
            block.add(row, "failure")
    elif kind == "dither":
        block.left = block.closed
        if not {"SAM", TARGET} & block.values.keys() and GUIDING in block.values:
            block.rows.remove(block.values.pop(GUIDING))  # it led to the dither
    elif kind or label in {GUIDING, TARGET}:
        key = "SAM" if kind in {"ta", "nrs"} else label
        if key not in block.values and block.within(FOLLOWS, row):
            block.add(row, key)
    elif label and not block.closed:
        block.add(row)


def centroids(rows: Sequence[Row], visit: str | None) -> list[Centroid]:
    """Read each acquisition among the rows of a visit into a record."""
    return [_centroid(block, visit) for block in _blocks(rows)]


def _centroid(block: _Block, visit: str | None) -> Centroid:
    values = {label: _split(row.message)[1] for label, row in block.values.items()}
    labels = (DETECTOR, LAST_STEP, TARGET, STAMP_CENTROID, STAMP_PEAK)
    pairs = chain.from_iterable(_pair(values.get(label, "")) for label in labels)
    x_det, y_det, last_dx, last_dy, target_v2, target_v3, column, row, peak_column, peak_row = map(_number, pairs)
    detector = values.get("DETECTOR") or None
    n_cols, n_rows = map(_count, _pair(values.get(BOX, "")))
    word, _ = _pair(values.get(CONVERGENCE, ""))
    sam_x, sam_y = _sam_numbers(values.get("SAM", ""))
    return Centroid(
        x_det=x_det,
        y_det=y_det,
        time=block.values[DETECTOR].time if DETECTOR in values else NAT,
        start=block.rows[0].time,
        visit=visit,
        detector=detector.removesuffix("_LOS") if detector else None,
        n_cols=n_cols,
        n_rows=n_rows,
        last_dx=last_dx,
        last_dy=last_dy,
        moved_x=column - peak_column,
        moved_y=row - peak_row,
        converged=word == "SUCCESS" if word else None,
        convergence=word or None,
        failure=block.values["failure"].message if "failure" in values else None,
        guider=_guider(values.get(GUIDING, "")),
        target_v2=target_v2,
        target_v3=target_v3,
        sam_x=sam_x,
        sam_y=sam_y,
        lines=tuple(str(row) for row in block.rows),
    )


def _pair(value: str) -> tuple[str, str]:
    """Split ``(a, b)`` into its halves; a truncated value has none, since the second may lack digits."""
    match = _PAIR.fullmatch(value)
    return (match[1].strip(), match[2].strip()) if match else ("", "")


def _number(text: str) -> float:
    text = text.strip()
    if len(text) > 40 or not _NUMBER.fullmatch(text):
        return NAN
    value = float(text.replace("D", "e").replace("d", "e"))
    return value if math.isfinite(value) else NAN


def _count(text: str) -> int | None:
    value = _number(text)
    return int(value) if value.is_integer() else None


def _guider(message: str) -> int | None:
    match = _GUIDER.match(message)
    return int(match[1]) if match else None


def _sam_kind(row: Row, label: str) -> str | None:
    if row.message.startswith(HALF_FACET):  # alone, or with numbers
        return "facet"
    return SAM_KINDS.get(label) or SAM_IDS.get(row.id or 0)


def _sam_numbers(value: str) -> tuple[float, float]:
    x, y, *_ = *(_number(text) for text in value.strip("() ").split(",")), NAN, NAN
    return x, y


def sams(rows: Iterable[Row], visit: str | None) -> Iterator[Sam]:
    """Read each small-angle maneuver, with the guider and target location logged just before it."""
    guider: int | None = None
    v2, v3, at = NAN, NAN, NAT
    for row in rows:
        label, value = _split(row.message)
        if label == GUIDING:
            guider, v2, v3, at = _guider(value), NAN, NAN, row.time
        elif label == TARGET:
            (v2, v3), at = map(_number, _pair(value)), row.time
        elif kind := _sam_kind(row, label):
            x, y = _sam_numbers(value)
            context = (guider, v2, v3) if row.time - at <= FOLLOWS else (None, NAN, NAN)
            yield Sam(row.time, kind, x, y, *context, visit)


def exposures(rows: Iterable[Row], visit: str | None) -> list[Exposure]:
    """Read each exposure from the rows of its parameters and of its completion."""
    pending: dict[tuple[str, str], int] = {}
    result: list[Exposure] = []
    for row in rows:
        match = _EXPOSURE.match(row.message)
        if not match:
            continue
        key = match[1], match[2]
        if not match[3].startswith("completed"):
            pending[key] = len(result)
            result.append(Exposure(row.time, *key, start=row.time, visit=visit))
        elif (at := pending.pop(key, None)) is not None:
            result[at] = replace(result[at], time=row.time)
        else:
            result.append(Exposure(row.time, *key, visit=visit))
    return result


def failures(rows: Iterable[Row], visit: str | None) -> Iterator[Failure]:
    """Find the rows that report a failure."""
    for row in rows:
        label, value = _split(row.message)
        kind = next((kind for kind, phrase in FAILURES.items() if phrase.search(row.message)), None)
        if row.id == NIRISS_TA_FAILED:
            kind = "target locate"
        if label == CONVERGENCE and _pair(value)[0] not in {"", "SUCCESS"}:
            kind = "convergence"
        if kind:
            yield Failure(row.time, kind, row.message, visit)
