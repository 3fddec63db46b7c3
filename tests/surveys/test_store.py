"""An interrupted survey goes on where it was."""

import csv
import json
import os
import signal
import subprocess
import time

import pytest
import xarray as xr

from tests import archive_server
from tests.surveys.visits import (
    AUTO,
    LIMIT,
    QUICK,
    product,
)
from xta.errors import FileError, XtaWarning
from xta.surveys import survey
from xta.surveys.store import Store


@pytest.mark.parametrize("workers", [1, 2])
def test_survey_resumes_after_interrupt(folder, surveyed, script, tmp_path, workers):
    """Begun here or in two processes, the rows are the same."""
    store = tmp_path / "rows.jsonl"
    with subprocess.Popen([*script, str(workers), str(folder), str(store)], stderr=subprocess.PIPE) as process:
        end = time.monotonic() + LIMIT
        while not (store.exists() and store.stat().st_size) and time.monotonic() < end and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=LIMIT)
    assert process.returncode == -signal.SIGINT, said
    assert said.decode().rstrip().endswith("KeyboardInterrupt")
    lines = store.read_text().splitlines()
    assert 1 <= len(lines) < 6
    assert all(json.loads(line)["row"]["ok"] == 1 for line in lines)
    ds = survey(folder, resume=store, **QUICK)
    assert store.read_text().splitlines()[: len(lines)] == lines
    assert len(store.read_text().splitlines()) == 6
    xr.testing.assert_identical(ds, surveyed.drop_dims("estimate"))


def test_survey_resumes_what_is_not_done(two, tmp_path):
    store = tmp_path / "rows.jsonl"
    first = survey(two, resume=store, **AUTO)
    before = store.read_bytes()
    xr.testing.assert_identical(survey(two, resume=store, **AUTO), first)
    assert store.read_bytes() == before

    def done():
        lines = [json.loads(line) for line in store.read_text().splitlines()]
        return [line["row"]["visit_id"] for line in lines]

    os.utime(product(two, 1, "cal"))
    survey(two, resume=store, **AUTO)
    assert done() == ["10000001001", "10001001001", "10001001001"]
    next(two.glob("visit0/*osslog.csv")).unlink()
    ds = survey(two, resume=store, **AUTO)
    assert ds["centroid_source"].values[0].startswith("TA image")
    assert "event log" in ds["warnings"].values[0]
    assert done()[3:] == ["10000001001"]
    survey(two, resume=store, **AUTO | {"estimates": True})
    assert sorted(done()[4:]) == ["10000001001", "10001001001"]


def test_survey_resumes_failures(two, tmp_path):
    store, path = tmp_path / "rows.jsonl", product(two, 0, "calints")
    good = path.read_bytes()
    path.write_bytes(good[:300_000])
    assert survey(two, resume=store, **QUICK)["ok"].values.tolist() == [0, 1]
    assert survey(two, resume=store, **QUICK)["ok"].values.tolist() == [0, 1]
    assert len(store.read_text().splitlines()) == 3
    path.write_bytes(good)
    assert survey(two, resume=store, **QUICK)["ok"].values.tolist() == [1, 1]


def logged(server, *numbers, folder):
    """Serve the logs of visits from their folders, and take them from there."""
    rows = []
    for path in sorted(path for n in numbers for path in (folder / f"visit{n}").glob("*osslog.csv")):
        with path.open(newline="") as file:
            rows += [(row["theTime"], row["euvalue"]) for row in csv.DictReader(file)]
        path.unlink()
    return server(archive_server.ArchiveServer(logs={"ICTM_EVENT_MSG": rows}))


def test_survey_asks_archive_again_that_did_not_answer(two, tmp_path, serve, monkeypatch):
    """A visit without a log: by the TA image for now, by the log as soon as the archive gives it."""
    store, online = tmp_path / "rows.jsonl", AUTO | {"offline": False}
    server = logged(serve, 0, folder=two)
    monkeypatch.setenv("XTA_OFFLINE", "1")
    for _ in range(2):  # while the network is off, a second time is no use
        ds = survey(two, resume=store, **online)
        assert ds["ok"].values.tolist() == [1, 1]
        assert ds["centroid_source"].values[0].startswith("TA image")
        lines = [json.loads(line) for line in store.read_text().splitlines()]
        assert [line["row"].get("provisional", False) for line in lines] == [True, False]
    monkeypatch.delenv("XTA_OFFLINE")
    server.always("jwstedb", archive_server.instead(archive_server.HTML))
    assert survey(two, resume=store, **online)["centroid_source"].values[0].startswith("TA image")
    assert server.asked()
    assert json.loads(store.read_text().splitlines()[-1])["row"]["provisional"]
    server.always("jwstedb", archive_server.send)
    assert (survey(two, resume=store, **online)["oss_prd"] == "PRDOPSSOC-063").all()  # the log closes
    assert "provisional" not in json.loads(store.read_text().splitlines()[-1])["row"]
    kept, asked = store.read_bytes(), len(server.asked())
    assert (survey(two, resume=store, **online)["oss_prd"] == "PRDOPSSOC-063").all()  # the log closes
    assert (store.read_bytes(), len(server.asked())) == (kept, asked)


def test_survey_asks_archive_once_that_has_no_log(two, tmp_path, serve):
    store = tmp_path / "rows.jsonl"
    server = logged(serve, 0, folder=two)
    server.always("jwstedb", archive_server.status(404))
    for _ in range(2):
        ds = survey(two, resume=store, **AUTO | {"offline": False})
        assert ds["centroid_source"].values[0].startswith("TA image")
        assert len(store.read_text().splitlines()) == 2
    assert not any("provisional" in line for line in store.read_text().splitlines())


@pytest.mark.parametrize("lacking", ["made_with", "files", "row", "visit_id", "ok"])
def test_store_passes_over_line_that_lacks_something(two, tmp_path, lacking):
    store = tmp_path / "rows.jsonl"
    first = survey(two, resume=store, **QUICK)
    line, other = (json.loads(text) for text in store.read_text().splitlines())
    (line["row"] if lacking in line["row"] else line).pop(lacking)
    store.write_text(f"{json.dumps(line)}\n{json.dumps(other)}\n")
    with pytest.warns(XtaWarning, match="line 1 of .* cannot be read; its visit is analyzed again"):
        xr.testing.assert_identical(survey(two, resume=store, **QUICK), first)
    assert len(store.read_text().splitlines()) == 3


def test_store_passes_over_line_of_nonsense(tmp_path):
    store = tmp_path / "rows.jsonl"
    line = {"format": "xta survey row", "made_with": "", "files": []}
    rows = [3, [], "text", {"visit_id": ["1"], "ok": 1}, {"visit_id": "1", "ok": "yes"}, {"visit_id": "1", "ok": [1]}]
    for row in rows:
        store.write_text(json.dumps(line | {"row": row}) + "\n")
        with pytest.warns(XtaWarning, match="line 1 of .* cannot be read"):
            assert not Store(store, made_with="")._lines


def test_store_cuts_off_half_a_line(two, tmp_path):
    store = tmp_path / "rows.jsonl"
    first = survey(two, resume=store, **QUICK)
    whole = store.read_bytes()
    for length in (len(whole) - 1, whole.index(b"\n") + 40, 3, 0):
        store.write_bytes(whole[:length])
        kept = Store(store, made_with="anything")
        assert store.read_bytes() == whole[: whole[:length].rfind(b"\n") + 1]
        assert len(kept._lines) == whole[:length].count(b"\n")
    store.write_bytes(whole[: whole.index(b"\n") + 40])
    xr.testing.assert_identical(survey(two, resume=store, **QUICK), first)
    store.write_bytes(whole.replace(b'"row"', b'"\xff"', 1))
    with pytest.warns(XtaWarning, match="line 1 of .* cannot be read"):
        Store(store, made_with="anything")


def test_store_refuses_other_file(two, tmp_path):
    other = tmp_path / "notes.txt"
    for text in ("mine\n", "mine", "{}\n"):
        other.write_text(text)
        with pytest.raises(FileError, match="contains no rows of a survey"):
            survey(two, resume=other, **QUICK)
        assert other.read_text() == text
    with pytest.raises(FileError, match="does not exist"):
        survey(two, resume=tmp_path / "nowhere" / "rows.jsonl", **QUICK)
    with pytest.raises(FileError, match="cannot read the rows"):
        survey(two, resume=tmp_path, **QUICK)
