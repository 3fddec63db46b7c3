"""Read an event log of the onboard scripts (OSS), with the centroids and maneuvers of acquisitions.

The log is telemetry: rows of time and message (``ICTM_EVENT_MSG``) from the engineering database. A target
acquisition (TA) writes a block of rows to it, with the heading ``TARGET LOCATE SUMMARY``, and the centroid in
1-based pixels of the full detector. This package does not use the network.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from xta.errors import ArgumentError, OssLogError, counted, warn
from xta.osslog import blocks
from xta.osslog.records import NAT, Centroid, Exposure, Failure, Row, Sam, Visit
from xta.osslog.text import columns
from xta.osslog.visits import DOUBT, Ownership, normalize_visit, ownership

__all__ = ["Centroid", "Exposure", "Failure", "OssLog", "Sam", "Visit", "normalize_visit", "read"]

T = TypeVar("T", Centroid, Exposure, Failure, Sam)

Column: TypeAlias = Sequence[object] | npt.NDArray[np.generic]
Indices: TypeAlias = npt.NDArray[np.intp]
Doubt: TypeAlias = tuple[Indices, frozenset[str]]
Find: TypeAlias = Callable[[list[str]], list[int]]
Parse: TypeAlias = Callable[[list[Row], str | None], Iterable[T]]


def read(source: object) -> "OssLog":
    r"""Read an event log in any of its usual forms.

    Parameters
    ----------
    source : path, str, bytes, file-like, iterable of rows, table or OssLog
        A str of one line is a path unless it looks like a row of a log. Text, bytes and files may contain the
        CSV of the engineering database (``theTime,MJD,euvalue,sqldataType``, with or without that line),
        lines of time and message, or a printed or Markdown table; lines that begin with ``#`` and rows of
        dots are skipped. Rows are (time, message), (time, MJD, message, ...) or dicts. A table (astropy,
        pandas, xarray, a dict of columns) has columns Time or theTime, and Message or euvalue. Rows as dicts,
        tables and CSV may also have MSG_ID.

    Returns
    -------
    OssLog

    Raises
    ------
    FileError
        If a path cannot be read.
    OssLogError
        If it contains no event, because it is empty, binary, a web page or another table.
    ArgumentError
        If `source` is of another type.

    Warns
    -----
    XtaWarning
        If some rows have no readable time or are truncated. They are left out.

    Examples
    --------
    >>> log = read("2022-12-04 03:42:19.98\tTARGET LOCATE SUMMARY:\n2022-12-04 03:45:59.12\t**********")
    >>> log
    <OssLog: 2 rows, 2022-12-04T03:42:19 to 2022-12-04T03:45:59>
    """
    if isinstance(source, OssLog):
        return source
    times, messages, ids, where, damaged = columns(source)
    if damaged:
        warn(
            f"{len(damaged)} of {len(damaged) + len(messages)} rows in {where} have no readable time or are cut "
            f"short, and are left out; the first is {damaged[0]!r:.120}"
        )
    return OssLog(times, messages, ids)


@dataclass(frozen=True, init=False, eq=False, repr=False)
class OssLog:
    """An immutable event log: rows sorted by time, without duplicates. Make it with `read`.

    Attributes
    ----------
    times : datetime64[us] array, shape (rows,)
        UTC, ascending. Rows of the same time keep the order that they came in.
    messages : object array of str, shape (rows,)
    ids : object array of int or None, shape (rows,), or None
        Message IDs, if the source has them.
    """

    times: npt.NDArray[np.datetime64]
    messages: npt.NDArray[np.object_]
    ids: npt.NDArray[np.object_] | None = None

    def __init__(self, times: Column, messages: Column, ids: Column | None = None) -> None:
        columns = {"times": np.array(times, "M8[us]"), "messages": np.array(messages, object)}
        columns |= {} if ids is None else {"ids": np.array(ids, object)}
        if len({column.shape for column in columns.values()}) > 1:
            msg = f"the columns of an event log differ in length: {len(times)} times, {len(messages)} messages"
            raise ArgumentError(msg)
        order = _order(columns["times"], columns["messages"])
        for name, column in columns.items():
            sorted_column = column if order is None else column[order]
            sorted_column.setflags(write=False)
            object.__setattr__(self, name, sorted_column)

    def __reduce__(self) -> tuple[type["OssLog"], tuple[npt.NDArray[np.generic] | None, ...]]:
        return OssLog, (self.times, self.messages, self.ids)

    def __len__(self) -> int:
        return self.times.size

    def __repr__(self) -> str:
        if not len(self):
            return "<OssLog: 0 rows>"
        first, last = self.times[[0, -1]].astype("M8[s]")
        return f"<OssLog: {counted(len(self), 'row')}, {first} to {last}>"

    @cached_property
    def _reported(self) -> set[str]:
        """Visits for which the warning that they cannot be checked was already issued."""
        return set()

    @cached_property
    def _owners(self) -> Ownership:
        return ownership(self.messages.tolist())

    def visits(self) -> list[Visit]:
        """List the visits in the log, in order of appearance.

        Returns
        -------
        list of Visit
            Visits with a row STARTED, ENDED or SKIPPED or with their own script, group or sequence; visits that are
            only mentioned are not included.
        """
        times = np.append(self.times, NAT)  # row -1: the log lacks it
        return [Visit(v, times[start], times[end], reason) for v, start, end, reason in self._owners.visits]

    def select(self, visit: str | int) -> "OssLog":
        """Select the rows of one visit.

        Parameters
        ----------
        visit : str or int
            In any notation that `normalize_visit` takes.

        Returns
        -------
        OssLog

        Raises
        ------
        OssLogError
            If the log does not have that visit, or it is not clear which visit an acquisition in it belongs to.
        ArgumentError
            If `visit` is not a visit ID.

        Warns
        -----
        XtaWarning
            If no row of the log has a visit ID; all rows are then assumed to belong to `visit`.
        """
        _, rows, doubts = self._claimed(visit)
        for stretch, owners in doubts:
            if any(self._pick(stretch, find).size for find in (blocks.relevant, blocks.of_exposures)):
                raise self._doubt(stretch, owners)
        part = OssLog(self.times[rows], self.messages[rows], None if self.ids is None else self.ids[rows])
        part._reported.update(self._reported)
        return part

    def centroids(self, visit: str | int | None = None) -> list[Centroid]:
        """List the target acquisitions, in time order.

        Parameters
        ----------
        visit : str or int, optional
            In any notation that `normalize_visit` accepts. With None, those of all visits are listed.

        Returns
        -------
        list of Centroid
            One per TA block, even if the log has only part of it; missing values are NaN or None.

        Raises
        ------
        OssLogError, ArgumentError
            For the same reasons as in `select`.

        Warns
        -----
        XtaWarning
            For the same reasons as in `select`.

        Examples
        --------
        >>> log = read(["2023-06-12 03:46:18 TARGET LOCATE SUMMARY:",
        ...     "2023-06-12 03:47:18 detector coord (colCentroid, rowCentroid) = (997.988965, 994.482480)"])
        >>> [(c.x_det, c.y_det) for c in log.centroids()]
        [(997.988965, 994.48248)]
        """
        return self._records(blocks.centroids, blocks.relevant, visit)

    def sams(self, visit: str | int | None = None) -> list[Sam]:
        """List the small-angle maneuvers, in time order; parameters and errors as for `centroids`."""
        return self._records(blocks.sams, blocks.relevant, visit)

    def exposures(self, visit: str | int | None = None) -> list[Exposure]:
        """List the exposures, in order of their start; parameters and errors as for `centroids`."""
        return self._records(blocks.exposures, blocks.of_exposures, visit)

    def failures(self, visit: str | int | None = None) -> list[Failure]:
        """List the failures, in time order; parameters and errors as for `centroids`.

        These are guide-star failures, failed acquisitions, acquisitions that did not converge, instruments
        that were unavailable, violated constraints, scripts that ended in error, and visits that were skipped
        or ended for a reason.
        """
        return self._records(blocks.failures, blocks.of_failures, visit)

    def _records(self, parse: Parse[T], find: Find, visit: str | int | None) -> list[T]:
        """Parse the rows selected by `find`, separately for each visit."""
        if visit is not None:
            name, rows, doubts = self._claimed(visit)
            for stretch, owners in doubts:
                if list(parse(self._rows(self._pick(stretch, find)), name)):
                    raise self._doubt(stretch, owners)
            return list(parse(self._rows(self._pick(rows, find)), name))
        codes, names = self._owners.codes, self._owners.names
        groups: dict[int, list[Row]] = {}
        picked = self._pick(np.arange(len(self)), find)
        for code, row in zip(codes[picked].tolist(), self._rows(picked), strict=True):
            groups.setdefault(code, []).append(row)
        records = (parse(group, names[code] if code >= 0 else None) for code, group in groups.items())
        return sorted(chain.from_iterable(records), key=_start)

    def _pick(self, rows: Indices, find: Find) -> Indices:
        picked = find(self.messages[rows].tolist())
        if self.ids is not None:
            by_id = {i for i, ident in enumerate(self.ids[rows].tolist()) if ident in blocks.IDS}
            picked = sorted(by_id.union(picked))
        return rows[picked]

    def _rows(self, rows: Indices) -> list[Row]:
        ids = [None] * rows.size if self.ids is None else self.ids[rows]
        return [Row(*row) for row in zip(self.times[rows], self.messages[rows], ids, strict=True)]

    def _claimed(self, visit: str | int) -> tuple[str, Indices, list[Doubt]]:
        """Find the rows of a visit, and the stretches that may belong to it or to others."""
        name = normalize_visit(visit)
        owners = self._owners
        if not owners.names:
            if name not in self._reported:
                self._reported.add(name)
                warn(f"no row of the event log names a visit, so it cannot be checked that the log belongs to {name}")
            return name, np.arange(len(self)), []
        if name not in owners.names:
            listed = ", ".join([*owners.names[:8], "..."] if len(owners.names) > 8 else owners.names)
            msg = (
                f"visit {name} is not in the event log, which runs from {self.times[0]} to {self.times[-1]} "
                f"and has {listed}; choose one of these or get the log of {name}"
            )
            raise OssLogError(msg)
        doubts = [
            (first + np.flatnonzero(owners.codes[first : last + 1] == DOUBT), names)
            for first, last, names in owners.doubts
            if name in names
        ]
        return name, np.flatnonzero(owners.codes == owners.names.index(name)), doubts

    def _doubt(self, stretch: Indices, names: frozenset[str]) -> OssLogError:
        return OssLogError(
            f"rows of the event log from {self.times[stretch[0]]} to {self.times[stretch[-1]]} may belong to "
            f"{' or '.join(sorted(names))}, and no script shows which; cut the log to the rows of one visit"
        )


def _order(times: npt.NDArray[np.datetime64], messages: npt.NDArray[np.object_]) -> npt.NDArray[np.intp] | None:
    """Return the rows to keep, sorted by time and without repeats; None if nothing changes."""
    order = np.argsort(times, kind="stable")
    stamps = times[order].astype(np.int64)
    # Messages are compared only if two rows have the same time, since hashing all those of a long log is slow.
    same = np.diff(stamps) == 0
    tied = np.flatnonzero(np.append(same, False) | np.append(False, same))[: times.size]
    keys = zip(stamps[tied].tolist(), messages[order[tied]], strict=True)
    first: dict[tuple[int, str], int] = {}
    drop = [at for at, key in zip(tied.tolist(), keys, strict=True) if first.setdefault(key, at) != at]
    return None if not drop and np.array_equal(order, np.arange(times.size)) else np.delete(order, drop)


def _start(record: T) -> np.datetime64:
    start = getattr(record, "start", NAT)
    return record.time if np.isnat(start) else start
