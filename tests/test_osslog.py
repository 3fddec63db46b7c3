"""Event logs: every form, every visit, every piece of a block; right, or a clear error.

Logs of NIRCam coronagraphy, of a dithered, a two-stage and a failed acquisition are synthetic: no real ones
are public. The real telemetry is read from the folder of shared data.
"""

import csv
import io
import math
import pickle
import random
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xta import osslog
from xta.errors import ArgumentError, FileError, OssLogError, XtaError, XtaWarning

A, B, C = "V01386001001", "V01759005001", "V01176241001"
ZERO = np.datetime64("2022-07-29T22:00:00.487", "us")
STARS = "*" * 46
DET = "detector coord (colCentroid, rowCentroid)       = "
HEADER = "theTime,MJD,euvalue,sqldataType"


# ---------------------------------------------------------------- synthetic logs, as (second, message)


def block(start, x, y, *, detector="NRCALONG", word="SUCCESS", sam=(0.25, -0.125)):
    """A synthetic TA block with the rows that follow it."""
    messages = [
        STARS,
        "TARGET LOCATE SUMMARY:",
        f"DETECTOR                                                             = {detector}",
        "(numCols, numRows)                                                     = (9, 9)",
        "cosmicrayMethod                                                      = STANDARD",
        "peakValue                                                          = 31644.0000",
        "peak postage-stamp coord (col, row)                    = (33, 32)",
        "(backgroundMethod, backgroundValue)                = (FRACTION, 377.000000)",
        "(total, numIter)                                             = (41789.6456, 2)",
        "last iteration diff (col, row)          = (0.00597289965, 0.00404494331)",
        "postage-stamp coord (colPeak, rowPeak) = (33, 32)",
        "postage-stamp coord (colCentroid, rowCentroid) = (32.8989118, 31.8784695)",
        f"{DET}({x}, {y})",
        "(colMoment2, rowMoment2)                        = (1.5D+00, 0.00000000e+0)",
        "(colMoment3, rowMoment3)                        = (nan, -1.#IND)",
        f"(convergenceFlag, convergenceThres)        = ({word}, 0.1000000000)",
        STARS,
        "From guiding: guider 2 X ideal -36.4840000 Y ideal -18.9970000",
        "target location (v2, v3)                          = (69.6593193, -515.715699)",
    ]
    if sam:
        messages.append(f"TA SAM (x, y) = {sam[0]}, {sam[1]}")
    return [(start + 1.024 * k, text) for k, text in enumerate(messages)]


def exposure(start, ident="102001", exp_type="NRC_TACQ", cfg="NRCA5"):
    return [
        (start, f"{ident} {exp_type} RAPID ints=1 grps=3 SUB64A335R flt=F335M/NULL/NULL/NULL"),
        (start + 1, f"{ident} pupil=MASKRND/NULL/NULL/NULL pil=RETRACT/RETRACT fam=NULL/NULL/NULL"),
        (start + 16, f"{ident} {exp_type} completed exptime=0.203 pctime=0.150 cfg={cfg}"),
    ]


def dither(start, x, y):
    return [
        (start, "From guiding: guider 2, X ideal -36.4000000 Y ideal -18.9000000"),
        (start + 1, f"Dither SAM (x, y) = {x}, {y}"),
    ]


def visit(name, start, rows, *, length=3000.0, end="ENDED", ta_script="NRCTAMAIN", ta_end=None):
    """A synthetic visit around some rows, with a few scripts."""
    script = f"{name}P0000000002102:{ta_script}"
    return [
        (start, f"VISIT {name} STARTED"),
        (start + 2, f"Script activated: {name}:CONVST"),
        (start + 4, f"Script terminated: {name}:CONVST:Proceed"),
        (start + 6, f"Group {name}:01 started"),
        (start + 60, f"Script activated: {script}"),
        *((start + 100 + second, text) for second, text in rows),
        (start + (ta_end or length - 200), f"Script terminated: {script}:Proceed"),
        (start + length - 100, f"Script activated: {name}0:FGSTERMINATE"),
        (start + length - 98, f"Script terminated: {name}0:FGSTERMINATE:Proceed"),
        (start + length, f"VISIT {name} {end}"),
    ]


def times_of(rows):
    return ZERO + np.array([round(1e6 * second) for second, _ in rows]).astype("m8[us]")


def to_csv(rows, *, header=True, newline="\n"):
    """Rows as the engineering database gives them, written independently of the code tested."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator=newline)
    if header:
        writer.writerow(HEADER.split(","))
    for time, (_, message) in zip(times_of(rows), rows, strict=True):
        mjd = (time - np.datetime64("1858-11-17", "us")) / np.timedelta64(1, "D")
        writer.writerow([str(time).replace("T", " "), f"{mjd:.10f}", message, "varchar"])
    return out.getvalue()


def read_rows(rows):
    return osslog.read(to_csv(rows))


SINGLE = visit(A, 0, [*exposure(0), *block(40, 1557.8437, 1548.52431)])
DITHERED = visit(
    A,
    0,
    [
        *exposure(0),
        *dither(40, 0.126, 0.252),
        *exposure(100, "102002"),
        *dither(140, 0.189, -0.315),
        *exposure(200, "102003"),
        *block(240, 1562.8437, 1547.52431),
        (262, "Correction to NRC SAM (x, y) = 0.0125, -0.0025"),
    ],
)
TWO_STAGE = visit(
    A,
    0,
    [
        *exposure(0, "101001", "MIR_TACQ", "MIRIMAGE"),
        *block(40, 412.5, 300.25, detector="MIRIMAGE"),
        *exposure(200, "102001", "MIR_TACQ", "MIRIMAGE"),
        *block(240, 133.591458, 587.606848, detector="MIRIMAGE", sam=(0.5, 0.75)),
        *exposure(400, "103001", "MIR_TACONFIRM", "MIRIMAGE"),
    ],
    ta_script="MIRTAMAIN",
)
FAILED = visit(
    A,
    0,
    [
        *exposure(0),
        *block(40, 1557.8, 1548.5, word="FAILURE", sam=None),
        (70, "NRC target locate failed"),
        (75, "FGS guide star reacquisition failed"),
    ],
    end="ENDED, EXCEEDED ALLOWED TIME",
)
NEXT = visit(B, 4000, [*exposure(0), *block(40, 999.25, 888.75)])
BEFORE = visit(C, -4000, [*exposure(0), *block(40, 111.25, 222.75)])


def detector_coords(log, name=None):
    return [(c.x_det, c.y_det) for c in log.centroids(name)]


# ---------------------------------------------------------------- real telemetry


@pytest.fixture
def real(shared):
    return shared / "oss"


def test_first_real_visit(real):
    log = osslog.read(real / "V02726402001_NIRCam_WFSC_TA_full_visit.txt")
    (seen,) = log.visits()
    assert (seen.visit, str(seen.start), seen.reason) == ("V02726402001", "2022-12-04T02:51:16.183000", "")
    assert str(seen.end).startswith("2022-12-04T04:07:04.78")
    (c,) = log.centroids("2726:402:1")
    assert (c.x_det, c.y_det, str(c.time)) == (1587.89891, 1409.87847, "2022-12-04T03:45:54.000000")
    assert (str(c.start)[11:22], str(c.end)[11:22]) == ("03:42:19.98", "03:45:59.12")
    assert (c.detector, c.detector_raw, c.visit) == ("NRCA3", "NRCA3_LOS", "V02726402001")
    assert (c.x_stamp, c.y_stamp, c.x_peak, c.y_peak) == (32.8989118, 31.8784695, 33, 32)
    assert (c.x_reduction, c.y_reduction, c.n_cols, c.n_rows, c.n_iter) == (16, 15, 9, 9, 2)
    assert (c.peak, c.total, c.background, c.background_method) == (31644, 41789.6456, 0, "FRACTION")
    assert (c.last_dx, c.last_dy, c.cosmicray_method) == (0.00597289965, 0.00404494331, "STANDARD")
    assert (c.converged, c.convergence, c.threshold, c.moments) == (True, "SUCCESS", 0.1, (0, 0, 0, 0))
    assert (c.guider, c.guider_x_idl, c.guider_y_idl) == (1, 36.741, 12.536)
    assert (c.target_v2, c.target_v3, c.sam_x, c.sam_y) == (69.6123499, -515.868572, -0.0119608742, 0.0197077842)
    assert math.isnan(c.sam_r)
    assert c.usable
    assert len(c.lines) == 21
    assert c.lines[1] == "2022-12-04 03:42:21.010000 TARGET LOCATE SUMMARY:"
    assert c.lines[-1].endswith("TA SAM (x, y) = -0.0119608742, 0.0197077842")


def test_maneuvers_and_exposures_of_a_real_visit(real):
    log = osslog.read(real / "V02726402001_NIRCam_WFSC_TA_full_visit.txt")
    sams = log.sams("V02726402001")
    assert [(s.kind, s.x, s.y) for s in sams] == [
        ("ta", -0.0119608742, 0.0197077842),
        ("dither", -0.159957425, 0.00371248353),
        ("dither", 0.159957425, -0.00371248353),
    ]
    assert [s.guider_x_idl for s in sams] == [36.741, 36.729, 36.569]
    assert sams[0].target_v2 == 69.6123499
    assert math.isnan(sams[1].target_v2)
    first, *rest = log.exposures("V02726402001")
    assert (first.exposure, first.exp_type, first.completed, first.detectors) == ("102001", "NRC_TACQ", True, "NRCA3")
    assert (first.activity, first.number, str(first.time)[11:22]) == ("02102", 1, "03:42:18.96")
    assert [(e.activity, e.number) for e in rest] == [
        ("03102", 1), ("03104", 1), ("03104", 2), ("03105", 1), ("03105", 2),
    ]  # fmt: skip
    assert all(e.completed and e.start < e.time for e in rest)
    assert log.failures("V02726402001") == []


def test_second_real_visit_has_one_damaged_row(real):
    with pytest.warns(XtaWarning, match=r"1 of 386 rows .* the first is '2024-02-29 03:0 "):
        log = osslog.read(real / "V04556001001_NIRCam_WFSC_TA_full_visit.txt")
    (c,) = log.centroids(4556001001)
    assert (c.x_det, c.y_det, c.guider, c.sam_x, c.sam_y) == (1589.39877, 1414.76126, 2, -0.0586749334, -0.133729587)
    assert (c.target_v2, c.target_v3) == (69.6593193, -515.715699)
    assert [s.kind for s in log.sams()].count("dither") == 14
    assert {e.exposure for e in log.exposures()} >= {"102001", "10E001", "10I002"}
    assert log.failures("V04556001001") == []


def test_raw_miri_rows_name_no_visit(real):
    log = osslog.read(str(real / "MIRI_MRS_TA_2023-06-12_raw_csv_rows.csv"))
    (c,) = log.centroids()
    with pytest.warns(XtaWarning, match="cannot be checked") as caught:
        (same,) = log.centroids("1275:4")
    assert caught[0].filename == __file__
    with (real / "centroids.csv").open() as file:
        known = {row["rootname"]: row for row in csv.DictReader(line for line in file if line[0] != "#")}
    row = known["jw01275004001_02101_00001_mirimage"]
    assert (c.x_det, c.y_det) == (same.x_det, same.y_det) == (float(row["det_col"]), float(row["det_row"]))
    assert (c.x_stamp, c.y_stamp) == (float(row["stamp_col"]), float(row["stamp_row"]))
    assert (c.detector, c.threshold, c.visit, same.visit) == ("MIRIMAGE", 0.01, None, "V01275004001")
    assert math.isnan(c.sam_x)
    assert c.guider is None


def test_nirspec_lines(real):
    log = osslog.read(real / "NIRSpec_WATA_2022-11-16_lines.txt")
    (s,) = log.sams()
    assert (s.kind, s.x, s.y, s.guider, s.target_v2) == ("nrs", -0.106834449, 0.300889673, 1, 321.376298)
    assert log.centroids() == []
    (s,) = osslog.read(real / "NIRSpec_MSATA_V04291007001_line.txt").sams()
    assert (s.kind, s.x, s.y, s.r) == ("nrs", 0.146680635, 0.0336992537, -83.0472408)


def test_printed_tables(real):
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
    with pytest.raises(OssLogError, match="may be of V01534001001 or V01635026003"):
        log.exposures("V01534001001")


def test_vocabulary_is_not_a_log(real):
    with pytest.raises(OssLogError, match="no line has a time and a message"):
        osslog.read(real / "event_vocabulary.txt")


@pytest.mark.parametrize(
    ("name", "expected"), [(A, (1557.8437, 1548.52431)), ("V01386008001", (133.591458, 587.606848))]
)
def test_published_visits(shared, name, expected):
    log = osslog.read(shared / "published" / name / "osslog.csv")
    assert detector_coords(log, name) == [expected]
    with pytest.raises(OssLogError, match=f"V01386002001 is not in .*{name}"):
        log.centroids("1386:2")


# ---------------------------------------------------------------- forms


def as_tab_text(rows):
    return "".join(f"{str(t)[:22].replace('T', ' ')}\t{m}\n" for t, (_, m) in zip(times_of(rows), rows, strict=True))


def as_markdown(rows):
    body = "".join(
        f"| {str(t).replace('T', ' ')} | 59789.9179096181 | {m} |\n"
        for t, (_, m) in zip(times_of(rows), rows, strict=True)
    )
    return f"# from a notebook\n| Time | MJD | Message |\n|---|---|---|\n{body}| ... | ... | ... |\n"


def as_astropy(rows, **columns):
    from astropy.table import Table

    times = [str(t).replace("T", " ") for t in times_of(rows)]
    return Table({"Time": times, "MJD": [59789.5] * len(rows), "Message": [m for _, m in rows], **columns})


def as_printed(rows):
    return "\n".join(as_astropy(rows).pformat(max_lines=-1, max_width=-1))


def as_pandas(rows):
    import pandas as pd

    times = pd.to_datetime(times_of(rows)).tz_localize("UTC")
    return pd.DataFrame({"theTime": times, "euvalue": [m for _, m in rows]})


def as_xarray(rows):
    import xarray as xr

    return xr.Dataset({"Message": ("Time", np.array([m for _, m in rows]))}, coords={"Time": times_of(rows)})


def as_structured(rows):
    table = np.zeros(len(rows), [("theTime", "S26"), ("MJD", float), ("euvalue", "U90")])
    table["theTime"] = np.datetime_as_string(times_of(rows))
    table["euvalue"] = [m for _, m in rows]
    return table


FORMS = {
    "csv": to_csv,
    "no header": lambda rows: to_csv(rows, header=False),
    "CRLF": lambda rows: to_csv(rows, newline="\r\n"),
    "CR": lambda rows: to_csv(rows, newline="\r").encode(),
    "BOM": lambda rows: b"\xef\xbb\xbf" + to_csv(rows).encode(),
    "comments": lambda rows: f"# a, b, c, d\n\n{to_csv(rows)}# e, f, g, h\n{HEADER}\n",
    "unquoted": lambda rows: to_csv(rows).replace('"', ""),
    "all quoted": lambda rows: "\n".join(
        ",".join(f'"{f}"' for f in row) for row in csv.reader(io.StringIO(to_csv(rows)))
    ),
    "without type": lambda rows: to_csv(rows).replace(",varchar", "").replace(",sqldataType", ""),
    "other columns": lambda rows: "".join(f"7,{line}\n" for line in to_csv(rows).replace("MJD", "n").splitlines()),
    "two columns": lambda rows: "\n".join(f"{t},{m}" for t, (_, m) in zip(times_of(rows), rows, strict=True)),
    "StringIO": lambda rows: io.StringIO(to_csv(rows)),
    "BytesIO": lambda rows: io.BytesIO(to_csv(rows).encode()),
    "tab": as_tab_text,
    "markdown": as_markdown,
    "printed": as_printed,
    "lines": lambda rows: as_tab_text(rows).splitlines(),
    "pairs": lambda rows: ((t, m) for t, (_, m) in zip(times_of(rows), rows, strict=True)),
    "triples": lambda rows: [(str(t), 59789.5, m, "varchar") for t, (_, m) in zip(times_of(rows), rows, strict=True)],
    "datetimes": lambda rows: [
        (t.astype(datetime).replace(tzinfo=UTC), "59789.5", m) for t, (_, m) in zip(times_of(rows), rows, strict=True)
    ],
    "dicts": lambda rows: list(csv.DictReader(io.StringIO(to_csv(rows)))),
    "columns": lambda rows: {"theTime": times_of(rows), "euvalue": [m for _, m in rows]},
    "structured": as_structured,
    "records": lambda rows: list(as_structured(rows)),
    "astropy": as_astropy,
    "astropy rows": lambda rows: list(as_astropy(rows)),
    "pandas": as_pandas,
    "xarray": as_xarray,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_log(form):
    expected = [message for _, message in sorted(SINGLE)]
    log = osslog.read(FORMS[form](SINGLE))
    assert log.messages.tolist() == expected
    step = np.timedelta64(10, "ms")  # printed text has two decimals
    assert np.all(np.abs(log.times - times_of(sorted(SINGLE))) <= step)
    assert detector_coords(log, A) == [(1557.8437, 1548.52431)]


def test_paths(tmp_path, monkeypatch):
    path = tmp_path / "osslog.csv"
    path.write_text(to_csv(SINGLE))
    monkeypatch.chdir(tmp_path)
    for source in (path, str(path), "osslog.csv", path.open("rb"), path.open()):
        assert len(osslog.read(source)) == len(SINGLE)
        if hasattr(source, "close"):
            source.close()


def test_one_line_is_a_row_if_it_looks_like_one():
    assert len(osslog.read(f"2022-07-29 22:01:51.487,59789.9,VISIT {A} STARTED,varchar")) == 1
    assert len(osslog.read(f"2022-07-29T22:01:51Z VISIT {A} STARTED")) == 1


def test_log_is_returned_as_it_is():
    log = read_rows(SINGLE)
    assert osslog.read(log) is log


def test_masked_rows_are_left_out():
    from astropy.table import MaskedColumn

    table = as_astropy(SINGLE)
    table["Message"] = MaskedColumn(table["Message"], mask=[k == 3 for k in range(len(SINGLE))])
    with pytest.warns(XtaWarning, match=f"1 of {len(SINGLE)} rows in the table"):
        assert len(osslog.read(table)) == len(SINGLE) - 1


def test_message_may_span_lines_only_in_tables():
    log = osslog.read([(ZERO, "a\nb"), (ZERO, "c\x1cd")])
    assert log.messages.tolist() == ["a b", "c d"]
    assert osslog.read(log.to_csv()).messages.tolist() == ["a b", "c d"]


@pytest.mark.parametrize(
    ("source", "error", "says"),
    [
        ("no/such/file.csv", FileError, "No such file.*check the path"),
        (Path(__file__).parent, FileError, "directory"),
        ("a\0b", FileError, "cannot be read"),
        ("x" * 5000, FileError, "too long"),
        ("", OssLogError, "empty"),
        (b"", OssLogError, "empty"),
        (" \n\n", OssLogError, "empty"),
        (HEADER, OssLogError, "a header and no rows"),
        (f"{HEADER}\r\n", OssLogError, "a header and no rows"),
        (b"\x1f\x8b\x08\x00" + bytes(range(256)), OssLogError, "binary"),
        (b"SIMPLE  =                    T" + bytes(50), OssLogError, "binary"),
        ("<!DOCTYPE html>\n<html><body>502</body></html>", OssLogError, "web page"),
        ("<html>", OssLogError, "web page"),
        ('{"status": "ERROR"}\n', OssLogError, "no line has a time"),
        ("time,flux\n2022-07-29,1\n", OssLogError, "no line has a time"),
        ([], OssLogError, "no rows"),
        ([(1, 2), (3,), (), 4, None, [None, None, None]], OssLogError, "no row has a time"),
        ([{"theTime": "2022-07-29 22:01:51"}], OssLogError, "no row has a time"),
        ({"Time": [], "Message": []}, OssLogError, "no rows"),
        ({"time": ["2022-07-29 22:01:51"], "flux": [1.0]}, OssLogError, "this one has time, flux"),
        (io.StringIO(""), OssLogError, "the stream.*empty"),
        (5, ArgumentError, "from a int"),
        (None, ArgumentError, "from a NoneType"),
    ],
)
def test_what_is_no_log(source, error, says):
    with pytest.raises(error, match=rf"(?s){says}"):
        osslog.read(source)


def test_stream_that_cannot_be_read(tmp_path):
    path = tmp_path / "junk"
    path.write_bytes(b"\xff\xfe\x00\x81")
    with path.open(encoding="utf-8") as file, pytest.raises(OssLogError, match="not text"):
        osslog.read(file)
    with pytest.raises(FileError, match="closed file"):
        osslog.read(file)


@pytest.mark.parametrize(
    "row",
    [
        "2022-07-29 22:01:52.5,59789.9,no type",
        f'2022-07-29 22:01:52.5,59789.9,"{DET}(1557.8, 1548.5),varchar',
        "2022-02-30 22:01:52.5,59789.9,no such day,varchar",
        "2022-07-29,59789.9,no time of day,varchar",
        "2022-07-29 22:01:522,59789.9,three digits,varchar",
        "2022-07-29 22:01:52.5+02:00,59789.9,elsewhere,varchar",
        "now,59789.9,today,varchar",
        "２０２２-07-29 22:01:52,59789.9,other digits,varchar",
        ",,,",
    ],
)
def test_damaged_row_is_left_out_with_a_warning(row):
    lines = to_csv(SINGLE).splitlines()
    with pytest.warns(XtaWarning, match=f"1 of {len(SINGLE) + 1} rows") as caught:
        log = osslog.read("\n".join([*lines[:9], row, *lines[9:]]))
    assert caught[0].filename == __file__
    assert log.messages.tolist() == [m for _, m in SINGLE]


def test_reply_cut_short_gives_no_wrong_number():
    """A number that lost its last digits is not read as another number."""
    text = to_csv(SINGLE)
    at = text.index("1557.8437")
    for cut in (at + 3, at + 9, text.index("1548.52431") + 4):
        with pytest.warns(XtaWarning, match="cut short"):
            log = osslog.read(text[:cut])
        (c,) = log.centroids(A)
        assert math.isnan(c.x_det)
        assert math.isnan(c.y_det)
        assert np.isnat(c.time)
        assert not c.usable
    (c,) = osslog.read(as_tab_text(SINGLE)[: as_tab_text(SINGLE).index("1548.52431") + 4]).centroids(A)
    assert math.isnan(c.x_det)
    assert not np.isnat(c.time)


# ---------------------------------------------------------------- the log


def test_sorted_and_each_row_once():
    log = read_rows([*reversed(SINGLE), *SINGLE])
    assert log.messages.tolist() == [m for _, m in SINGLE]
    assert log.messages.tolist().count(STARS) == 2
    tied = osslog.read([(ZERO, "b"), (ZERO, "a"), (ZERO, "b")])
    assert tied.messages.tolist() == ["b", "a"]


def test_log_does_not_change():
    log = read_rows(SINGLE)
    for column in (log.times, log.messages, pickle.loads(pickle.dumps(log)).times):
        with pytest.raises(ValueError, match="read-only"):
            column[0] = column[1]
    with pytest.raises(AttributeError):
        log.times = log.times[:3]
    with pytest.raises(ArgumentError, match="differ in length"):
        osslog.OssLog(log.times, log.messages[:3])


def test_round_trips():
    log = osslog.read([*((t, m) for t, (_, m) in zip(times_of(SINGLE), SINGLE, strict=True)), (ZERO, 'so "a", it is')])
    for again in (osslog.read(log.to_csv()), osslog.read(log.to_text()), pickle.loads(pickle.dumps(log))):
        assert np.array_equal(again.times, log.times)
        assert again.messages.tolist() == log.messages.tolist()
    assert log.to_csv().startswith(f"{HEADER}\n2022-07-29 22:00:00.487000,59789.9166723")


def test_repr_is_short():
    assert repr(read_rows(SINGLE)) == f"<OssLog: {len(SINGLE)} rows, 2022-07-29T22:00:00 to 2022-07-29T22:50:00>"
    assert repr(osslog.OssLog([], [])) == "<OssLog: 0 rows>"
    assert osslog.OssLog([], []).centroids() == []


def test_ids_and_sources():
    times = times_of(SINGLE[:4])
    messages = ["TA SAM (x, y) = 1, 2", "Other words = 3, 4", "no words known", "plain"]
    rows = [
        {"theTime": t, "euvalue": m, "ICTM_EVENT_MSG_ID": i, "ICTM_EVENT_MSG_SRC": s}
        for t, m, i, s in zip(times, messages, [8231, "8232", -8826, None], ["TA", None, "NIS", ""], strict=True)
    ]
    log = osslog.read(rows)
    assert log.ids.tolist() == [8231, 8232, -8826, None]
    assert [(s.kind, s.x, s.y) for s in log.sams()] == [("ta", 1, 2), ("dither", 3, 4)]
    assert [f.kind for f in log.failures()] == ["target locate"]
    again = osslog.read(log.to_csv())
    assert again.ids.tolist() == log.ids.tolist()
    assert again.sources.tolist() == ["TA", None, "NIS", None]
    assert osslog.read(as_astropy(SINGLE[:2], MSG_ID=[8231, 8218])).ids.tolist() == [8231, 8218]
    assert read_rows(SINGLE).ids is None


# ---------------------------------------------------------------- visits


@pytest.mark.parametrize(
    "name", [A, A.lower(), " V01386001001 ", A[1:], "1386001001", 1386001001, np.int64(1386001001), "1386:1:1",
             "1386:1", "01386:001:001"]
)  # fmt: skip
def test_notations(name):
    assert osslog.normalize_visit(name) == A
    assert detector_coords(read_rows(SINGLE), name) == [(1557.8437, 1548.52431)]


@pytest.mark.parametrize(
    "name", ["", "1386", 1386, True, None, 1386001001.0, "V1386001001", "V013860010011", "1386:1:1:1", "a:b",
             -1386001001, "1386001", "V0138600100１"]
)  # fmt: skip
def test_what_is_no_visit(name):
    with pytest.raises(ArgumentError, match=r"'V01386001001', '01386001001', 1386001001, '1386:1:1'"):
        osslog.normalize_visit(name)


def test_neighbours_centroids_are_not_picked():
    log = read_rows([*BEFORE, *SINGLE, *NEXT])
    assert detector_coords(log, C) == [(111.25, 222.75)]
    assert detector_coords(log, A) == [(1557.8437, 1548.52431)]
    assert detector_coords(log, B) == [(999.25, 888.75)]
    assert [c.visit for c in log.centroids()] == [C, A, B]
    assert [v.visit for v in log.visits()] == [C, A, B]


def test_visit_without_acquisition_gets_none_of_others():
    quiet = visit(A, 0, [])
    assert read_rows([*BEFORE, *quiet, *NEXT]).centroids(A) == []


@pytest.mark.parametrize("lost", [(), ("STARTED",), ("ENDED",), ("STARTED", "ENDED"), ("CONVST",), ("Script", "ENDED")])
def test_clipped_visit(lost):
    """Between its neighbours, a visit without some of its ends keeps its own block and no other."""
    kept = [row for row in SINGLE if not any(word in row[1] for word in lost)]
    log = read_rows([*BEFORE, *kept, *NEXT])
    assert detector_coords(log, A) == [(1557.8437, 1548.52431)]
    assert detector_coords(log, B) == [(999.25, 888.75)]
    assert detector_coords(log, C) == [(111.25, 222.75)]


@pytest.mark.parametrize("first", range(0, 30, 3))
@pytest.mark.parametrize("rest", [1, 2, 3])
def test_clipped_window(first, rest):
    """A window that begins before the detector coordinates and ends after them finds them."""
    rows = [*SINGLE[min(first, 19) : -rest]]
    log = read_rows(rows)
    (c,) = log.centroids(A)
    assert (c.x_det, c.y_det, c.converged) == (1557.8437, 1548.52431, True)
    assert (c.detector == "NRCALONG") == (first <= 10)


def test_lost_boundary_goes_by_the_script_that_runs():
    """End of one visit and start of the next both lost: the script of the acquisition decides."""
    rows = [row for row in [*SINGLE, *NEXT] if row[1] not in {f"VISIT {A} ENDED", f"VISIT {B} STARTED"}]
    log = read_rows(rows)
    assert detector_coords(log, A) == [(1557.8437, 1548.52431)]
    assert detector_coords(log, B) == [(999.25, 888.75)]


def test_lost_boundary_without_scripts_is_an_error():
    rows = [row for row in [*SINGLE, *NEXT] if not row[1].startswith(("Script", "Group"))]
    rows = [row for row in rows if row[1] not in {f"VISIT {A} ENDED", f"VISIT {B} STARTED"}]
    log = read_rows(rows)
    for ask in (log.centroids, log.select, log.sams, log.exposures):
        with pytest.raises(OssLogError, match=f"may be of {A} or {B}.*cut the log"):
            ask(A)
    assert [c.visit for c in log.centroids()] == [None, None]
    assert log.failures(A) == []


def test_nested_visits_go_by_script():
    inner = visit(B, 1000, block(40, 999.25, 888.75), length=500)
    outer = visit(A, 0, block(40, 1557.8437, 1548.52431), ta_end=900)
    log = read_rows(sorted([*outer, *inner]))
    assert detector_coords(log, B) == [(999.25, 888.75)]
    assert detector_coords(log, A) == [(1557.8437, 1548.52431)]
    with pytest.raises(OssLogError, match=f"may be of {A} or {B}"):
        read_rows(sorted([*SINGLE, *inner])).centroids(A)


def test_stray_rows_of_other_visits():
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


def test_stray_script_in_a_clipped_visit_is_never_a_wrong_number():
    rows = [(0, f"VISIT {A} STARTED"), (20, f"Script activated: {B}P0000000001101:SCSLEWMAIN"), *block(40, 1.5, 2.5)]
    with pytest.raises(OssLogError, match=f"may be of {A} or {B}"):
        read_rows(rows).centroids(A)


def test_mention_is_not_a_visit():
    log = read_rows([*SINGLE[:5], (70, f"Observation Plan will stop after {B}"), *SINGLE[5:]])
    assert [v.visit for v in log.visits()] == [A]
    with pytest.raises(OssLogError, match=f"{B} is not in the event log, .* has {A}; ask for one of these"):
        log.centroids(B)


def test_many_visits_are_listed_in_part():
    rows = [(k, f"VISIT V{k:05}001001 STARTED") for k in range(1, 20)]
    with pytest.raises(OssLogError, match=r"V00008001001, \.\.\.;"):
        read_rows(rows).centroids("V99999001001")


def test_block_without_owner_is_nobodys():
    log = read_rows([(0, f"VISIT {C} ENDED"), *block(40, 5, 6)])
    assert log.centroids(C) == []
    assert [c.visit for c in log.centroids()] == [None]


@pytest.mark.parametrize("end", ["ENDED, SSR ALMOST FULL", "ENDED,EXCEEDED ALLOWED TIME", "ENDED", "SKIPPED"])
def test_ends(end):
    log = read_rows([*visit(A, 0, block(40, 1.5, 2.5), end=end), *NEXT])
    assert detector_coords(log, A) == [(1.5, 2.5)]
    (seen, _) = log.visits()
    assert seen.reason == ("SKIPPED" if end == "SKIPPED" else end[6:].strip())
    assert [f.kind for f in log.failures(A)] == ([] if end == "ENDED" else ["visit"])


def test_skipped_visit_owns_nothing():
    log = read_rows([*block(0, 5, 6), (100, f"VISIT {B} SKIPPED"), *visit(A, 200, block(40, 1.5, 2.5))])
    assert log.centroids(B) == []
    assert detector_coords(log, A) == [(1.5, 2.5)]


def test_visit_that_ran_twice():
    log = read_rows([*SINGLE, *visit(A, 9000, block(40, 1.5, 2.5)), *NEXT])
    assert detector_coords(log, A) == [(1557.8437, 1548.52431), (1.5, 2.5)]
    assert str(log.visits()[0].end) == str(times_of([(12000, "")])[0])


def test_selection_is_a_log():
    log = read_rows([*BEFORE, *DITHERED, *NEXT])
    part = log.select("1386:1")
    assert part.messages.tolist() == [m for _, m in DITHERED]
    assert repr(part.centroids(A)) == repr(log.centroids(A))
    assert repr(part.centroids()) == repr(log.centroids(A))


# ---------------------------------------------------------------- blocks


def test_dithered_acquisition():
    log = read_rows(DITHERED)
    (c,) = log.centroids(A)
    assert (c.x_det, c.y_det, c.guider_x_idl) == (1562.8437, 1547.52431, -36.484)
    sams = log.sams(A)
    assert [(s.kind, s.x, s.y) for s in sams] == [
        ("dither", 0.126, 0.252), ("dither", 0.189, -0.315), ("ta", 0.25, -0.125), ("wedge", 0.0125, -0.0025),
    ]  # fmt: skip
    assert [s.guider_x_idl for s in sams] == [-36.4, -36.4, -36.484, -36.484]
    assert [math.isnan(s.target_v2) for s in sams] == [True, True, False, False]
    assert [(e.exposure, e.number, e.activity) for e in log.exposures(A)] == [
        ("102001", 1, "02102"), ("102002", 2, "02102"), ("102003", 3, "02102"),
    ]  # fmt: skip


def test_two_stage_acquisition():
    log = read_rows(TWO_STAGE)
    first, second = log.centroids(A)
    assert (first.x_det, first.sam_x) == (412.5, 0.25)
    assert (second.x_det, second.sam_x) == (133.591458, 0.5)
    assert first.end < second.start
    assert [e.exp_type for e in log.exposures(A)] == ["MIR_TACQ", "MIR_TACQ", "MIR_TACONFIRM"]


def test_failed_acquisition():
    log = read_rows(FAILED)
    (c,) = log.centroids(A)
    assert (c.converged, c.convergence, c.failure, c.usable) == (False, "FAILURE", "NRC target locate failed", False)
    assert [f.kind for f in log.failures(A)] == ["convergence", "target locate", "guide star", "visit"]
    assert log.failures()[1].message == "NRC target locate failed"


def test_failure_phrases():
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


def test_nirspec_facet():
    (s,) = read_rows([(0, "NIRSpec TA MSA half facet SAM (x, y) = 0.5, -0.25")]).sams()
    assert (s.kind, s.x, s.y) == ("facet", 0.5, -0.25)


def test_nirspec_facet_without_numbers():
    """The vocabulary has the words alone, and an id."""
    (s,) = read_rows([(0, "NIRSpec TA MSA half facet SAM")]).sams()
    assert s.kind == "facet"
    assert math.isnan(s.x)
    (by_id,) = osslog.OssLog([np.datetime64("2024-01-01", "us")], ["other words"], [8557]).sams()
    assert by_id.kind == "facet"


def test_a_half_facet_is_no_part_of_the_centroid():
    block = [(0, "TARGET LOCATE SUMMARY:"), (1, "detector coord (colCentroid, rowCentroid) = (1.5, 2.5)")]
    (c,) = read_rows(
        [*block, (2, "NIRSpec TA MSA half facet SAM"), (3, "TA SAM for NRS (x, y, r) = 1, 2, 3")]
    ).centroids()
    assert (c.x_det, c.sam_x, c.sam_r) == (1.5, 1.0, 3.0)


def test_numbers():
    (c,) = read_rows(SINGLE).centroids(A)
    assert c.moments[:2] == (1.5, 0.0)
    assert all(map(math.isnan, c.moments[2:]))


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
def test_missing_numbers_are_nan(value, x, y):
    rows = [(s, f"{DET}{value}" if m.startswith(DET) else m) for s, m in SINGLE]
    (c,) = read_rows(rows).centroids(A)
    assert [None if math.isnan(v) else v for v in (c.x_det, c.y_det)] == [x, y]
    assert str(c.time) == str(times_of(SINGLE)[[m.startswith(DET) for _, m in SINGLE]][0])
    assert c.converged


@pytest.mark.parametrize("row", range(1, 20))
def test_block_without_one_row(row):
    """Any one row of the block lost: one record, the rest as before."""
    rows = block(0, 1557.8437, 1548.52431)
    whole = vars(read_rows(rows).centroids()[0])
    (c,) = read_rows(rows[:row] + rows[row + 1 :]).centroids()
    same = [key for key, value in vars(c).items() if repr(value) == repr(whole[key])]
    assert len(same) >= len(whole) - 4
    assert math.isnan(c.x_det) == rows[row][1].startswith(DET)


@pytest.mark.parametrize("length", range(2, 20))
def test_log_that_ends_inside_a_block(length):
    rows = block(0, 1557.8437, 1548.52431)[:length]
    (c,) = read_rows(rows).centroids()
    assert (c.x_det == 1557.8437) == (length >= 13)
    assert math.isnan(c.x_det) == (length < 13)
    assert c.converged is (True if length >= 16 else None)
    assert len(c.lines) == length


def test_blocks_cut_at_both_sides_are_not_joined():
    """The head of one block and the tail of another, whose labels do not meet, give two records."""
    rows = [*block(0, 1, 2)[:8], *((s + 3600, m) for s, m in block(0, 3, 4)[9:])]
    first, second = read_rows(rows).centroids()
    assert math.isnan(first.x_det)
    assert second.x_det == 3
    rows = [*block(0, 1, 2)[:15], *((s + 60, m) for s, m in block(0, 3, 4)[9:])]
    assert detector_coords(read_rows(rows)) == [(1, 2), (3, 4)]


def test_later_guiding_is_not_the_blocks():
    rows = [*block(0, 1, 2)[:17], *exposure(60), *dither(80, 0.5, 0.5)]
    (c,) = read_rows(rows).centroids()
    assert c.guider is None
    assert math.isnan(c.sam_x)
    rows = [*block(0, 1, 2)[:14], *dither(400, 0.5, 0.5)]
    assert read_rows(rows).centroids()[0].guider is None


def test_rows_of_plan_processing_are_not_asterisks():
    rows = [*block(0, 1, 2)[:5], (6, "*** PLAN PROCESSING STOPPED, SSR ALMOST FULL ***"), *block(0, 1, 2)[7:]]
    assert detector_coords(read_rows(rows)) == [(1, 2)]


def test_niriss_as_logged():
    """Column and row as the log has them; NIRISS exchanges them, and that is undone elsewhere."""
    log = read_rows(block(0, 1928.30737, 978.35867, detector="NIS"))
    assert detector_coords(log) == [(1928.30737, 978.35867)]


def test_exposure_without_completion_or_start():
    begun, _, completed = exposure(0)
    (e,) = read_rows([begun]).exposures()
    assert (e.completed, e.time, e.activity) == (False, e.start, None)
    (e,) = read_rows([completed]).exposures()
    assert (e.completed, str(e.start)) == (True, "NaT")
    late = [(2900, exposure(0)[0][1])]  # its script has ended; which one took it is not in the log
    assert [e.activity for e in read_rows(sorted([*SINGLE, *late])).exposures()] == ["02102", None]
    again = [(s + 100, m) for s, m in exposure(0)]
    assert [e.completed for e in read_rows([begun, *again]).exposures()] == [False, True]


# ---------------------------------------------------------------- properties

LOGS = {"single": SINGLE, "dithered": DITHERED, "two stages": TWO_STAGE, "failed": FAILED}
NOISE = [
    "DAQ tlm slot 2 assigned to NRC",
    "FGS Guider 2  poor quality centroid data in TRK or FG.",
    "Exposure Aborted by Command",
    f"Script activated: {B}P0000000001101:SCSLEWMAIN",
    f"Script terminated: {C}P0000000001101:SCSLEWMAIN:Proceed",
    f"Seq {B}:P01484187:03:2 started",
    f"Observation Plan will stop after {B}",
    f"VISIT {B} STARTED",
    f"VISIT {C} ENDED",
    f"Group {A}:02 started",
    f"Script activated: {A}P01484187032:CONSEQ",
    "201001 NRS_DARK NRSRAPID ints=1 grps=88 FULL flt=OPAQUE",
    "Missing file, can't delete ram:/V01386001001.otm, OPEVSTEXEC continues",
]


@settings(deadline=None, max_examples=60)
@given(data=st.data(), name=st.sampled_from(sorted(LOGS)), newline=st.sampled_from(["\n", "\r\n", "\r"]))
def test_order_repetition_and_interleaving_change_nothing(data, name, newline):
    rows = LOGS[name]
    expected = repr(read_rows(rows).centroids(A))
    seconds = st.floats(-100, 3100).map(lambda s: round(s, 3) + 0.00025)  # never the time of another row
    noise = data.draw(st.lists(st.tuples(seconds, st.sampled_from(NOISE)), max_size=20))
    others = data.draw(st.sampled_from([[], BEFORE, NEXT, [*BEFORE, *NEXT]]))
    mixed = [*rows, *noise, *others]
    repeated = data.draw(st.lists(st.sampled_from(mixed), max_size=20))
    mixed += repeated
    random.Random(data.draw(st.integers(0, 2**32))).shuffle(mixed)
    log = osslog.read(to_csv(mixed, newline=newline, header=data.draw(st.booleans())))
    assert repr(log.centroids(A)) == expected
    assert repr(log.select(A).centroids(A)) == expected
    parts = [osslog.read(to_csv(mixed[:20])), osslog.read(to_csv(mixed[20:]))]
    joined = [pair for part in parts for pair in zip(part.times, part.messages, strict=True)]
    assert repr(osslog.read(joined).centroids(A)) == expected


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.datetimes(), st.text(st.characters(exclude_categories=["Cs"])))))
def test_any_messages_survive_a_round_trip(rows):
    if not rows:
        return
    log = osslog.read(rows)
    again = osslog.read(log.to_csv())
    assert np.array_equal(again.times, log.times)
    assert again.messages.tolist() == log.messages.tolist()


def use_all(log):
    """Ask everything of a log; how long it may take and what it may raise is the point."""
    for name in (None, A, B):
        for ask in (log.centroids, log.sams, log.failures, log.exposures, log.select):
            try:
                if name is None and ask == log.select:
                    continue
                ask(name)
            except XtaError:
                continue
    log.visits()
    repr(log)
    assert len(osslog.read(log.to_csv())) == len(log)


TEMPLATE = to_csv(sorted([*BEFORE, *SINGLE, *FAILED, *NEXT])).encode()


@pytest.mark.filterwarnings("ignore::xta.errors.XtaWarning")
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_mutated_logs_raise_nothing_else(data):
    content = bytearray(TEMPLATE if data.draw(st.booleans()) else as_tab_text(DITHERED).encode())
    for _ in range(data.draw(st.integers(1, 12))):
        at = data.draw(st.integers(0, len(content) - 1))
        piece = data.draw(st.one_of(st.binary(max_size=6), st.sampled_from([b'"', b"\n", b",", b"\r", b"\0", b"="])))
        content[at : at + data.draw(st.sampled_from([0, 1, 3, 80, 2000]))] = piece
        if not content:
            break
    try:
        log = osslog.read(bytes(content))
    except XtaError:
        return
    use_all(log)


@pytest.mark.filterwarnings("ignore::xta.errors.XtaWarning")
@settings(deadline=None, max_examples=150)
@given(
    st.one_of(
        st.binary(),
        st.text().map(lambda text: f"{text}\n"),
        st.lists(st.one_of(st.none(), st.text(), st.binary(), st.floats())),
        st.lists(st.one_of(st.tuples(st.text(), st.text()), st.tuples(st.datetimes(), st.floats(), st.text()))),
    )
)
def test_junk_raises_nothing_else(source):
    try:
        log = osslog.read(source)
    except XtaError:
        return
    use_all(log)


def test_long_lines_take_no_time():
    """Nothing here is quadratic in the length of a line."""
    stamp = "2022-07-29 22:01:51.487"
    for text in (" " * 120_000, f"{stamp}{' ' * 120_000}", f"{stamp}\t{'(' * 120_000}=", f'{stamp},5,"{"," * 120_000}',
                 f"{stamp}\t{DET}({'1' * 120_000}"):  # fmt: skip
        try:
            with pytest.warns(XtaWarning):
                use_all(osslog.read(f"{stamp}\tx\n{text}\n{stamp}"))
        except OssLogError:
            pass


def script_rows():
    return """2022-12-01 00:33:06.212 Script terminated: V01366011001P0000000001102:FGSMAIN:GS_ACQUIRED
2022-12-04 20:52:51.095 VISIT V01635026002 ENDED, SSR ALMOST FULL
2022-12-04 23:31:28.066 *** PLAN PROCESSING STARTED ***
2022-12-04 23:31:31.138 VISIT V01635026003 STARTED
2022-12-05 00:35:46.494 Script terminated: V01635026003P00
2022-12-05 23:58:53.548 Group V01534001001:02 ended"""


def test_a_script_without_a_status_ends_too():
    log = osslog.read(script_rows())
    assert [visit.visit for visit in log.visits()] == ["V01366011001", "V01635026002", "V01635026003", "V01534001001"]
    assert log.centroids() == []
    assert [f.visit for f in log.failures()] == ["V01635026002"]
    last = log.select("V01635026003").messages.tolist()
    assert last[:1] == ["VISIT V01635026003 STARTED"]
    assert "Script terminated: V01635026003P00" in last


def test_it_is_said_once_that_a_visit_cannot_be_checked():
    log = osslog.read(["2023-06-12 03:46:18 TARGET LOCATE SUMMARY:"])
    with pytest.warns(XtaWarning, match="cannot be checked") as caught:
        part = log.select(A)
    assert [warning.filename for warning in caught] == [__file__]
    assert len(part.centroids(A)) == len(log.centroids(A)) == 1  # a warning here would be an error
    assert log.failures(A) == []
    with pytest.warns(XtaWarning, match=B):
        log.sams(B)
