"""Acquisitions, maneuvers, exposures and failures in event logs: real telemetry, and each piece of a block.

Logs of NIRCam coronagraphy, of a dithered, a two-stage and a failed acquisition are synthetic: no real ones
are public. The real telemetry is read from the folder of shared data.
"""

import csv
import math

import numpy as np
import pytest

from tests.event_logs import (
    DET,
    DITHERED,
    FAILED,
    SINGLE,
    TWO_STAGE,
    A,
    C,
    block,
    detector_coords,
    dither,
    exposure,
    read_rows,
    times_of,
)
from xta import osslog
from xta.errors import OssLogError, XtaWarning


@pytest.fixture
def real(shared):
    return shared / "oss"


def test_read_real_visit(real):
    log = osslog.read(real / "V02726402001_NIRCam_WFSC_TA_full_visit.txt")
    (seen,) = log.visits()
    assert (seen.visit, str(seen.start), seen.reason) == ("V02726402001", "2022-12-04T02:51:16.183000", "")
    assert str(seen.end).startswith("2022-12-04T04:07:04.78")
    (c,) = log.centroids("2726:402:1")
    assert (c.x_det, c.y_det, str(c.time)) == (1587.89891, 1409.87847, "2022-12-04T03:45:54.000000")
    assert str(c.start)[11:22] == "03:42:19.98"
    assert (c.detector, c.visit) == ("NRCA3", "V02726402001")
    assert (c.n_cols, c.n_rows, c.guider) == (9, 9, 1)
    assert (c.last_dx, c.last_dy) == (0.00597289965, 0.00404494331)
    assert (c.converged, c.convergence) == (True, "SUCCESS")
    assert (c.target_v2, c.target_v3, c.sam_x, c.sam_y) == (69.6123499, -515.868572, -0.0119608742, 0.0197077842)
    assert c.usable
    assert len(c.lines) == 21
    assert c.lines[1] == "2022-12-04 03:42:21.010000 TARGET LOCATE SUMMARY:"
    assert c.lines[-1].endswith("TA SAM (x, y) = -0.0119608742, 0.0197077842")


def test_sams_and_exposures_of_real_visit(real):
    log = osslog.read(real / "V02726402001_NIRCam_WFSC_TA_full_visit.txt")
    sams = log.sams("V02726402001")
    assert [(s.kind, s.x, s.y) for s in sams] == [
        ("ta", -0.0119608742, 0.0197077842),
        ("dither", -0.159957425, 0.00371248353),
        ("dither", 0.159957425, -0.00371248353),
    ]
    assert sams[0].target_v2 == 69.6123499
    assert math.isnan(sams[1].target_v2)
    first, *rest = log.exposures("V02726402001")
    assert (first.exposure, first.exp_type, str(first.time)[11:22]) == ("102001", "NRC_TACQ", "03:42:18.96")
    assert len(rest) == 5
    assert all(e.start < e.time for e in rest)
    assert log.failures("V02726402001") == []


def test_read_warns_of_damaged_row_of_real_visit(real):
    with pytest.warns(XtaWarning, match=r"1 of 386 rows .* the first is '2024-02-29 03:0 "):
        log = osslog.read(real / "V04556001001_NIRCam_WFSC_TA_full_visit.txt")
    (c,) = log.centroids(4556001001)
    assert (c.x_det, c.y_det, c.guider, c.sam_x, c.sam_y) == (1589.39877, 1414.76126, 2, -0.0586749334, -0.133729587)
    assert (c.target_v2, c.target_v3) == (69.6593193, -515.715699)
    assert [s.kind for s in log.sams()].count("dither") == 14
    assert {e.exposure for e in log.exposures()} >= {"102001", "10E001", "10I002"}
    assert log.failures("V04556001001") == []


def test_centroids_of_rows_that_name_no_visit(real):
    log = osslog.read(str(real / "MIRI_MRS_TA_2023-06-12_raw_csv_rows.csv"))
    (c,) = log.centroids()
    with pytest.warns(XtaWarning, match="cannot be checked") as caught:
        (same,) = log.centroids("1275:4")
    assert caught[0].filename == __file__
    with (real / "centroids.csv").open() as file:
        known = {row["rootname"]: row for row in csv.DictReader(line for line in file if line[0] != "#")}
    row = known["jw01275004001_02101_00001_mirimage"]
    assert (c.x_det, c.y_det) == (same.x_det, same.y_det) == (float(row["det_col"]), float(row["det_row"]))
    assert (c.detector, c.visit, same.visit) == ("MIRIMAGE", None, "V01275004001")
    assert math.isnan(c.sam_x)
    assert c.guider is None


def test_sams_of_nirspec_lines(real):
    log = osslog.read(real / "NIRSpec_WATA_2022-11-16_lines.txt")
    (s,) = log.sams()
    assert (s.kind, s.x, s.y, s.guider, s.target_v2) == ("nrs", -0.106834449, 0.300889673, 1, 321.376298)
    assert log.centroids() == []
    (s,) = osslog.read(real / "NIRSpec_MSATA_V04291007001_line.txt").sams()
    assert (s.kind, s.x, s.y) == ("nrs", 0.146680635, 0.0336992537)


def test_read_printed_tables(real):
    log = osslog.read(real / "V01386001001_table_head_tail_seed.txt")
    assert len(log) == 19
    before, seen = log.visits()
    assert (before.visit, str(before.start), before.reason) == (C, "NaT", "")
    assert (seen.visit, str(seen.start)[11:23], str(seen.end)[11:23]) == (A, "22:01:51.487", "01:13:41.236")
    assert log.centroids(A) == []
    log = osslog.read(real / "eventlog_table_head_tail_2022-12.txt")
    assert len(log) == 64
    reasons = {v.visit: v.reason for v in log.visits()}
    assert reasons["V01635026002"] == "SSR ALMOST FULL"
    assert reasons["V01635026003"] is None
    assert [f.kind for f in log.failures("V01635026002")] == ["visit"]
    assert [e.exp_type for e in log.exposures("V01366011001")] == ["MIR_LRSSLTLSS"]
    # The print leaves out the end of the visit before and the start of this one.
    with pytest.raises(OssLogError, match="may belong to V01534001001 or V01635026003"):
        log.exposures("V01534001001")


def test_read_refuses_vocabulary(real):
    with pytest.raises(OssLogError, match="no line has a time and a message"):
        osslog.read(real / "event_vocabulary.txt")


@pytest.mark.parametrize(
    ("name", "expected"), [(A, (1557.8437, 1548.52431)), ("V01386008001", (133.591458, 587.606848))]
)
def test_centroids_of_published_visits(shared, name, expected):
    log = osslog.read(shared / "published" / name / "osslog.csv")
    assert detector_coords(log, name) == [expected]
    with pytest.raises(OssLogError, match=f"V01386002001 is not in .*{name}"):
        log.centroids("1386:2")


def test_centroids_of_dithered_acquisition():
    log = read_rows(DITHERED)
    (c,) = log.centroids(A)
    assert (c.x_det, c.y_det, c.guider) == (1562.8437, 1547.52431, 2)
    sams = log.sams(A)
    assert [(s.kind, s.x, s.y) for s in sams] == [
        ("dither", 0.126, 0.252), ("dither", 0.189, -0.315), ("ta", 0.25, -0.125), ("wedge", 0.0125, -0.0025),
    ]  # fmt: skip
    assert [s.guider for s in sams] == [2, 2, 2, 2]
    assert [math.isnan(s.target_v2) for s in sams] == [True, True, False, False]
    assert [e.exposure for e in log.exposures(A)] == ["102001", "102002", "102003"]


def test_centroids_of_two_stages():
    log = read_rows(TWO_STAGE)
    first, second = log.centroids(A)
    assert (first.x_det, first.sam_x) == (412.5, 0.25)
    assert (second.x_det, second.sam_x) == (133.591458, 0.5)
    assert first.time < second.start
    assert [e.exp_type for e in log.exposures(A)] == ["MIR_TACQ", "MIR_TACQ", "MIR_TACONFIRM"]


def test_failures_of_failed_acquisition():
    log = read_rows(FAILED)
    (c,) = log.centroids(A)
    assert (c.converged, c.convergence, c.failure, c.usable) == (False, "FAILURE", "NRC target locate failed", False)
    assert [f.kind for f in log.failures(A)] == ["convergence", "target locate", "guide star", "visit"]
    assert log.failures()[1].message == "NRC target locate failed"


def test_failures_phrases():
    phrases = {
        "FGS fixed target guide star acquisition failed on all attempts, exit FGSVERMAIN": "guide star",
        "FGS guide star reacquisition failed": "guide star",
        "FGS loss of ACS Fine Guidance Control, exit FGSGUIDEHEALTH": "guide star",
        "FGS MT guide star acquisition process unsuccessful": "guide star",
        "MIRI target locate failed": "target locate",
        "NIRCam target locate failed": "target locate",
        "NIRSpec TA Roll too big": "target locate",
        "NIRSpec TA Roll too large": "target locate",
        "NIRCam subsystem unavailable": "instrument",
        "Visit constraint violation": "visit",
        f"VISIT {A} SKIPPED": "visit",
        f"Script terminated: {A}P0000000002102:NRCTAMAIN:ERROR": "script",
    }
    log = read_rows(list(enumerate(phrases)))
    assert {f.message: f.kind for f in log.failures()} == phrases
    assert read_rows(DITHERED).failures() == []


def test_sams_nirspec_facet():
    (s,) = read_rows([(0, "NIRSpec TA MSA half facet SAM (x, y) = 0.5, -0.25")]).sams()
    assert (s.kind, s.x, s.y) == ("facet", 0.5, -0.25)


def test_sams_nirspec_facet_without_numbers():
    """The vocabulary has the words alone, and an id."""
    (s,) = read_rows([(0, "NIRSpec TA MSA half facet SAM")]).sams()
    assert s.kind == "facet"
    assert math.isnan(s.x)
    (by_id,) = osslog.OssLog([np.datetime64("2024-01-01", "us")], ["other words"], [8557]).sams()
    assert by_id.kind == "facet"


def test_centroids_leave_out_half_facet():
    block = [(0, "TARGET LOCATE SUMMARY:"), (1, "detector coord (colCentroid, rowCentroid) = (1.5, 2.5)")]
    (c,) = read_rows(
        [*block, (2, "NIRSpec TA MSA half facet SAM"), (3, "TA SAM for NRS (x, y, r) = 1, 2, 3")]
    ).centroids()
    assert (c.x_det, c.sam_x) == (1.5, 1.0)


@pytest.mark.parametrize(
    ("value", "x", "y"),
    [
        ("(1.557D+03, 1548.5)", 1557.0, 1548.5),
        ("(.5, -2.)", 0.5, -2.0),
        ("(1557.8, )", 1557.8, None),
        ("(, 1548.5)", None, 1548.5),
        ("(nan, inf)", None, None),
        ("(1e999, 1_000)", None, None),
        ("(1557.8", None, None),
        ("(1557.8, 1548.5", None, None),
        ("(1557.8, 1548.5, 3)", None, None),
        ("(１５, 0x10)", None, None),
        (f"({'1' * 30000}, {'2' * 30000}x)", None, None),
        ("", None, None),
        ("()", None, None),
    ],
)
def test_centroids_missing_numbers_are_nan(value, x, y):
    rows = [(s, f"{DET}{value}" if m.startswith(DET) else m) for s, m in SINGLE]
    (c,) = read_rows(rows).centroids(A)
    assert [None if math.isnan(v) else v for v in (c.x_det, c.y_det)] == [x, y]
    assert str(c.time) == str(times_of(SINGLE)[[m.startswith(DET) for _, m in SINGLE]][0])
    assert c.converged


@pytest.mark.parametrize("row", range(1, 20))
def test_centroids_block_without_one_row(row):
    """Any one row of the block lost: one record, the rest as before."""
    rows = block(0, 1557.8437, 1548.52431)
    whole = vars(read_rows(rows).centroids()[0])
    (c,) = read_rows(rows[:row] + rows[row + 1 :]).centroids()
    same = [key for key, value in vars(c).items() if repr(value) == repr(whole[key])]
    assert len(same) >= len(whole) - 4
    assert math.isnan(c.x_det) == rows[row][1].startswith(DET)


@pytest.mark.parametrize("length", range(2, 20))
def test_centroids_block_cut_short(length):
    rows = block(0, 1557.8437, 1548.52431)[:length]
    (c,) = read_rows(rows).centroids()
    assert (c.x_det == 1557.8437) == (length >= 13)
    assert math.isnan(c.x_det) == (length < 13)
    assert c.converged is (True if length >= 16 else None)
    assert len(c.lines) == length


def test_centroids_do_not_join_cut_blocks():
    """The head of one block and the tail of another, whose labels do not meet, give two records."""
    rows = [*block(0, 1, 2)[:8], *((s + 3600, m) for s, m in block(0, 3, 4)[9:])]
    first, second = read_rows(rows).centroids()
    assert math.isnan(first.x_det)
    assert second.x_det == 3
    rows = [*block(0, 1, 2)[:15], *((s + 60, m) for s, m in block(0, 3, 4)[9:])]
    assert detector_coords(read_rows(rows)) == [(1, 2), (3, 4)]


def test_centroids_leave_out_later_guiding():
    rows = [*block(0, 1, 2)[:17], *exposure(60), *dither(80, 0.5, 0.5)]
    (c,) = read_rows(rows).centroids()
    assert c.guider is None
    assert math.isnan(c.sam_x)
    rows = [*block(0, 1, 2)[:14], *dither(400, 0.5, 0.5)]
    assert read_rows(rows).centroids()[0].guider is None


def test_centroids_with_row_of_plan_processing():
    rows = [*block(0, 1, 2)[:5], (6, "*** PLAN PROCESSING STOPPED, SSR ALMOST FULL ***"), *block(0, 1, 2)[7:]]
    assert detector_coords(read_rows(rows)) == [(1, 2)]


def test_centroids_niriss_as_logged():
    """Column and row as the log has them; NIRISS exchanges them, and that is undone elsewhere."""
    log = read_rows(block(0, 1928.30737, 978.35867, detector="NIS"))
    assert detector_coords(log) == [(1928.30737, 978.35867)]


def test_exposures_without_completion_or_start():
    begun, _, completed = exposure(0)
    (e,) = read_rows([begun]).exposures()
    assert e.time == e.start
    (e,) = read_rows([completed]).exposures()
    assert str(e.start) == "NaT"
    again = [(s + 100, m) for s, m in exposure(0)]
    assert [e.start == e.time for e in read_rows([begun, *again]).exposures()] == [True, False]
