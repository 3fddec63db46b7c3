"""Which visit owns a row of an event log: neighbors, lost ends, scripts, stray rows."""

import numpy as np
import pytest

from tests.event_logs import BEFORE, DITHERED, NEXT, SINGLE, A, B, C, block, detector_coords, read_rows, times_of, visit
from xta import osslog
from xta.errors import ArgumentError, OssLogError, XtaWarning


@pytest.mark.parametrize(
    "name", [A, A.lower(), " V01386001001 ", A[1:], "1386001001", 1386001001, np.int64(1386001001), "1386:1:1",
             "1386:1", "01386:001:001"]
)  # fmt: skip
def test_normalize_visit_notations(name):
    assert osslog.normalize_visit(name) == A
    assert detector_coords(read_rows(SINGLE), name) == [(1557.8437, 1548.52431)]


@pytest.mark.parametrize(
    "name", ["", "1386", 1386, True, None, 1386001001.0, "V1386001001", "V013860010011", "1386:1:1:1", "a:b",
             -1386001001, "1386001", "V0138600100１"]
)  # fmt: skip
def test_normalize_visit_refuses_other_values(name):
    with pytest.raises(ArgumentError, match=r"'V01386001001', '01386001001', 1386001001, '1386:1:1'"):
        osslog.normalize_visit(name)


def test_centroids_keep_to_visit():
    log = read_rows([*BEFORE, *SINGLE, *NEXT])
    assert detector_coords(log, C) == [(111.25, 222.75)]
    assert detector_coords(log, A) == [(1557.8437, 1548.52431)]
    assert detector_coords(log, B) == [(999.25, 888.75)]
    assert [c.visit for c in log.centroids()] == [C, A, B]
    assert [v.visit for v in log.visits()] == [C, A, B]


def test_centroids_of_visit_without_acquisition():
    quiet = visit(A, 0, [])
    assert read_rows([*BEFORE, *quiet, *NEXT]).centroids(A) == []


@pytest.mark.parametrize("lost", [(), ("STARTED",), ("ENDED",), ("STARTED", "ENDED"), ("CONVST",), ("Script", "ENDED")])
def test_centroids_of_clipped_visit(lost):
    """Between its neighbors, a visit without some of its ends keeps its own block and no other."""
    kept = [row for row in SINGLE if not any(word in row[1] for word in lost)]
    log = read_rows([*BEFORE, *kept, *NEXT])
    assert detector_coords(log, A) == [(1557.8437, 1548.52431)]
    assert detector_coords(log, B) == [(999.25, 888.75)]
    assert detector_coords(log, C) == [(111.25, 222.75)]


@pytest.mark.parametrize("first", range(0, 30, 3))
@pytest.mark.parametrize("rest", [1, 2, 3])
def test_centroids_of_clipped_window(first, rest):
    """A window that begins before the detector coordinates and ends after them finds them."""
    rows = [*SINGLE[min(first, 19) : -rest]]
    log = read_rows(rows)
    (c,) = log.centroids(A)
    assert (c.x_det, c.y_det, c.converged) == (1557.8437, 1548.52431, True)
    assert (c.detector == "NRCALONG") == (first <= 10)


def test_centroids_with_lost_boundary_go_by_script():
    """End of one visit and start of the next both lost: the script of the acquisition decides."""
    rows = [row for row in [*SINGLE, *NEXT] if row[1] not in {f"VISIT {A} ENDED", f"VISIT {B} STARTED"}]
    log = read_rows(rows)
    assert detector_coords(log, A) == [(1557.8437, 1548.52431)]
    assert detector_coords(log, B) == [(999.25, 888.75)]


def test_centroids_refuse_lost_boundary_without_scripts():
    rows = [row for row in [*SINGLE, *NEXT] if not row[1].startswith(("Script", "Group"))]
    rows = [row for row in rows if row[1] not in {f"VISIT {A} ENDED", f"VISIT {B} STARTED"}]
    log = read_rows(rows)
    for ask in (log.centroids, log.select, log.sams, log.exposures):
        with pytest.raises(OssLogError, match=f"may belong to {A} or {B}.*cut the log"):
            ask(A)
    assert [c.visit for c in log.centroids()] == [None, None]
    assert log.failures(A) == []


def test_centroids_of_nested_visits_go_by_script():
    inner = visit(B, 1000, block(40, 999.25, 888.75), length=500)
    outer = visit(A, 0, block(40, 1557.8437, 1548.52431), ta_end=900)
    log = read_rows(sorted([*outer, *inner]))
    assert detector_coords(log, B) == [(999.25, 888.75)]
    assert detector_coords(log, A) == [(1557.8437, 1548.52431)]
    with pytest.raises(OssLogError, match=f"may belong to {A} or {B}"):
        read_rows(sorted([*SINGLE, *inner])).centroids(A)


def test_centroids_ignore_stray_rows():
    """Rows that name other visits do not move the rows around them."""
    stray = [
        (120, f"Script activated: {B}P0000000001101:SCSLEWMAIN"),
        (142.5, f"Script terminated: {C}P0000000001101:SCSLEWMAIN:Proceed"),
        (146.2, f"Observation Plan will stop after {B}"),
        (150.3, f"VISIT {C} ENDED"),
        (152.4, f"VISIT {C} SKIPPED"),
        (155.0, f"Seq {B}:P00000000:01:1 started"),
        (156.0, f"VISIT {B} STARTED"),
    ]
    log = read_rows(sorted([*SINGLE, *stray]))
    (c,) = log.centroids(A)
    assert (c.x_det, c.y_det, c.converged, c.sam_x) == (1557.8437, 1548.52431, True, 0.25)
    assert log.centroids(B) == log.centroids(C) == []
    assert len(log.select(A)) == len(SINGLE) + 1  # the plan's row stands among them and carries no id


def test_centroids_refuse_stray_script_in_clipped_visit():
    rows = [(0, f"VISIT {A} STARTED"), (20, f"Script activated: {B}P0000000001101:SCSLEWMAIN"), *block(40, 1.5, 2.5)]
    with pytest.raises(OssLogError, match=f"may belong to {A} or {B}"):
        read_rows(rows).centroids(A)


def test_visits_leave_out_mentions():
    log = read_rows([*SINGLE[:5], (70, f"Observation Plan will stop after {B}"), *SINGLE[5:]])
    assert [v.visit for v in log.visits()] == [A]
    with pytest.raises(OssLogError, match=f"{B} is not in the event log, .* has {A}; choose one of these"):
        log.centroids(B)


def test_centroids_list_many_visits_in_part():
    rows = [(k, f"VISIT V{k:05}001001 STARTED") for k in range(1, 20)]
    with pytest.raises(OssLogError, match=r"V00008001001, \.\.\.;"):
        read_rows(rows).centroids("V99999001001")


def test_centroids_without_owner():
    log = read_rows([(0, f"VISIT {C} ENDED"), *block(40, 5, 6)])
    assert log.centroids(C) == []
    assert [c.visit for c in log.centroids()] == [None]


@pytest.mark.parametrize("end", ["ENDED, SSR ALMOST FULL", "ENDED,EXCEEDED ALLOWED TIME", "ENDED", "SKIPPED"])
def test_visits_reason_of_end(end):
    log = read_rows([*visit(A, 0, block(40, 1.5, 2.5), end=end), *NEXT])
    assert detector_coords(log, A) == [(1.5, 2.5)]
    (seen, _) = log.visits()
    assert seen.reason == ("SKIPPED" if end == "SKIPPED" else end[6:].strip())
    assert [f.kind for f in log.failures(A)] == ([] if end == "ENDED" else ["visit"])


def test_centroids_of_skipped_visit():
    log = read_rows([*block(0, 5, 6), (100, f"VISIT {B} SKIPPED"), *visit(A, 200, block(40, 1.5, 2.5))])
    assert log.centroids(B) == []
    assert detector_coords(log, A) == [(1.5, 2.5)]


def test_centroids_of_visit_that_ran_twice():
    log = read_rows([*SINGLE, *visit(A, 9000, block(40, 1.5, 2.5)), *NEXT])
    assert detector_coords(log, A) == [(1557.8437, 1548.52431), (1.5, 2.5)]
    assert str(log.visits()[0].end) == str(times_of([(12000, "")])[0])


def test_select_returns_log():
    log = read_rows([*BEFORE, *DITHERED, *NEXT])
    part = log.select("1386:1")
    assert part.messages.tolist() == [m for _, m in DITHERED]
    assert repr(part.centroids(A)) == repr(log.centroids(A))
    assert repr(part.centroids()) == repr(log.centroids(A))


def script_rows():
    return """2022-12-01 00:33:06.212 Script terminated: V01366011001P0000000001102:FGSMAIN:GS_ACQUIRED
2022-12-04 20:52:51.095 VISIT V01635026002 ENDED, SSR ALMOST FULL
2022-12-04 23:31:28.066 *** PLAN PROCESSING STARTED ***
2022-12-04 23:31:31.138 VISIT V01635026003 STARTED
2022-12-05 00:35:46.494 Script terminated: V01635026003P00
2022-12-05 23:58:53.548 Group V01534001001:02 ended"""


def test_select_with_script_without_status():
    log = osslog.read(script_rows())
    assert [visit.visit for visit in log.visits()] == ["V01366011001", "V01635026002", "V01635026003", "V01534001001"]
    assert log.centroids() == []
    assert [f.visit for f in log.failures()] == ["V01635026002"]
    last = log.select("V01635026003").messages.tolist()
    assert last[:1] == ["VISIT V01635026003 STARTED"]
    assert "Script terminated: V01635026003P00" in last


def test_select_warns_once_of_unchecked_visit():
    log = osslog.read(["2023-06-12 03:46:18 TARGET LOCATE SUMMARY:"])
    with pytest.warns(XtaWarning, match="cannot be checked") as caught:
        part = log.select(A)
    assert [warning.filename for warning in caught] == [__file__]
    assert len(part.centroids(A)) == len(log.centroids(A)) == 1  # a warning here would be an error
    assert log.failures(A) == []
    with pytest.warns(XtaWarning, match=B):
        log.sams(B)
