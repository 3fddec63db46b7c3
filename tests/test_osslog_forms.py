"""Reading event logs: every form in which they are passed around, damaged rows, and what is no log."""

import csv
import io
import math
import pickle
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from tests.event_logs import (
    DET,
    HEADER,
    SINGLE,
    STARS,
    ZERO,
    A,
    as_tab_text,
    detector_coords,
    read_rows,
    times_of,
    to_csv,
    written,
)
from xta import osslog
from xta.errors import ArgumentError, FileError, OssLogError, XtaWarning


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
def test_read_every_form(form):
    expected = [message for _, message in sorted(SINGLE)]
    log = osslog.read(FORMS[form](SINGLE))
    assert log.messages.tolist() == expected
    step = np.timedelta64(10, "ms")  # printed text has two decimals
    assert np.all(np.abs(log.times - times_of(sorted(SINGLE))) <= step)
    assert detector_coords(log, A) == [(1557.8437, 1548.52431)]


def test_read_paths_and_streams(tmp_path, monkeypatch):
    path = tmp_path / "osslog.csv"
    path.write_text(to_csv(SINGLE))
    monkeypatch.chdir(tmp_path)
    for source in (path, str(path), "osslog.csv", path.open("rb"), path.open()):
        assert len(osslog.read(source)) == len(SINGLE)
        if hasattr(source, "close"):
            source.close()


def test_read_one_line_as_row():
    assert len(osslog.read(f"2022-07-29 22:01:51.487,59789.9,VISIT {A} STARTED,varchar")) == 1
    assert len(osslog.read(f"2022-07-29T22:01:51Z VISIT {A} STARTED")) == 1


def test_read_returns_log_itself():
    log = read_rows(SINGLE)
    assert osslog.read(log) is log


def test_read_leaves_out_masked_rows():
    from astropy.table import MaskedColumn

    table = as_astropy(SINGLE)
    table["Message"] = MaskedColumn(table["Message"], mask=[k == 3 for k in range(len(SINGLE))])
    with pytest.warns(XtaWarning, match=f"1 of {len(SINGLE)} rows in the table"):
        assert len(osslog.read(table)) == len(SINGLE) - 1


def test_read_joins_lines_of_message():
    log = osslog.read([(ZERO, "a\nb"), (ZERO, "c\x1cd")])
    assert log.messages.tolist() == ["a b", "c d"]
    assert osslog.read(written(log)).messages.tolist() == ["a b", "c d"]


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
        (HEADER, OssLogError, "a header but no rows"),
        (f"{HEADER}\r\n", OssLogError, "a header but no rows"),
        (b"\x1f\x8b\x08\x00" + bytes(range(256)), OssLogError, "binary"),
        (b"SIMPLE  =                    T" + bytes(50), OssLogError, "binary"),
        ("<!DOCTYPE html>\n<html><body>502</body></html>", OssLogError, "web page"),
        ("<html>", OssLogError, "web page"),
        ('{"status": "ERROR"}\n', OssLogError, "no line has a time"),
        ("time,flux\n2022-07-29,1\n", OssLogError, "no line has a time"),
        ([], OssLogError, "no rows"),
        ([("# time", "message")], OssLogError, "no rows"),
        ([(1, 2), (3,), (), 4, None, [None, None, None]], OssLogError, "no row has a time"),
        ([{"theTime": "2022-07-29 22:01:51"}], OssLogError, "no row has a time"),
        ({"Time": [], "Message": []}, OssLogError, "no rows"),
        ({"time": ["2022-07-29 22:01:51"], "flux": [1.0]}, OssLogError, "this one has time, flux"),
        (io.StringIO(""), OssLogError, "the stream.*empty"),
        (5, ArgumentError, "from a int"),
        (None, ArgumentError, "from a NoneType"),
    ],
)
def test_read_refuses_other_sources(source, error, says):
    with pytest.raises(error, match=rf"(?s){says}"):
        osslog.read(source)


def test_read_refuses_unreadable_stream(tmp_path):
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
def test_read_warns_of_damaged_row(row):
    lines = to_csv(SINGLE).splitlines()
    with pytest.warns(XtaWarning, match=f"1 of {len(SINGLE) + 1} rows") as caught:
        log = osslog.read("\n".join([*lines[:9], row, *lines[9:]]))
    assert caught[0].filename == __file__
    assert log.messages.tolist() == [m for _, m in SINGLE]


def test_read_reply_cut_short():
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


def test_osslog_sorts_rows_and_drops_repeats():
    log = read_rows([*reversed(SINGLE), *SINGLE])
    assert log.messages.tolist() == [m for _, m in SINGLE]
    assert log.messages.tolist().count(STARS) == 2
    tied = osslog.read([(ZERO, "b"), (ZERO, "a"), (ZERO, "b")])
    assert tied.messages.tolist() == ["b", "a"]


def test_osslog_is_immutable():
    log = read_rows(SINGLE)
    for column in (log.times, log.messages, pickle.loads(pickle.dumps(log)).times):
        with pytest.raises(ValueError, match="read-only"):
            column[0] = column[1]
    with pytest.raises(AttributeError):
        log.times = log.times[:3]
    with pytest.raises(ArgumentError, match="differ in length"):
        osslog.OssLog(log.times, log.messages[:3])


def test_osslog_round_trips():
    log = osslog.read([*((t, m) for t, (_, m) in zip(times_of(SINGLE), SINGLE, strict=True)), (ZERO, 'so "a", it is')])
    for again in (osslog.read(written(log)), pickle.loads(pickle.dumps(log))):
        assert np.array_equal(again.times, log.times)
        assert again.messages.tolist() == log.messages.tolist()


def test_osslog_repr():
    assert repr(read_rows(SINGLE)) == f"<OssLog: {len(SINGLE)} rows, 2022-07-29T22:00:00 to 2022-07-29T22:50:00>"
    assert repr(osslog.OssLog([], [])) == "<OssLog: 0 rows>"
    assert osslog.OssLog([], []).centroids() == []


def test_osslog_ids():
    times = times_of(SINGLE[:4])
    messages = ["TA SAM (x, y) = 1, 2", "Other words = 3, 4", "no words known", "plain"]
    rows = [
        {"theTime": t, "euvalue": m, "ICTM_EVENT_MSG_ID": i, "ICTM_EVENT_MSG_SRC": "TA"}
        for t, m, i in zip(times, messages, [8231, "8232", -8826, None], strict=True)
    ]
    log = osslog.read(rows)
    assert log.ids.tolist() == [8231, 8232, -8826, None]
    assert [(s.kind, s.x, s.y) for s in log.sams()] == [("ta", 1, 2), ("dither", 3, 4)]
    assert [f.kind for f in log.failures()] == ["target locate"]
    assert pickle.loads(pickle.dumps(log)).ids.tolist() == log.ids.tolist()
    assert osslog.read(as_astropy(SINGLE[:2], MSG_ID=[8231, 8218])).ids.tolist() == [8231, 8218]
    assert read_rows(SINGLE).ids is None
