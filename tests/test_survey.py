"""Whole programmes: every visit is a row, whatever happens to it."""

import csv
import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import xta
from tests import archive_server
from tests.survey_visits import STEP, add_failed_acquisition, add_spectrum, add_targ_acq, base_visit, clones
from xta import datasets, osslog
from xta.errors import ArgumentError, FileError, XtaWarning
from xta.surveys import find_visits, survey, to_ecsv
from xta.surveys.store import Store
from xta.surveys.table import METHODS, NUMBERS, to_dataset, to_table

QUICK = {"offline": True, "estimates": False, "workers": 1}
LIMIT = 300  # seconds for a process of its own: it must never hang


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return base_visit(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def truth(base):
    """The analysis of the visit that all others are made of."""
    ds = xta.analyze(base.science[0], offline=True)
    error = base.truth.isel(file=0)
    put_in = float(np.hypot(error["error_v2"], error["error_v3"]))
    assert float(np.hypot(ds["offset_east"], ds["offset_north"])) == pytest.approx(put_in, abs=1e-4)
    return ds


@pytest.fixture(scope="module")
def folder(base, tmp_path_factory):
    """Six visits, each in a folder of its own."""
    path = tmp_path_factory.mktemp("six")
    clones(base, path, range(6))
    return path


@pytest.fixture(scope="module")
def surveyed(folder):
    return survey(folder, offline=True, workers=1)


@pytest.fixture
def two(base, tmp_path):
    """Two visits that a test may spoil."""
    clones(base, tmp_path / "two", range(2))
    return tmp_path / "two"


def product(folder, number, kind):
    (path,) = (folder / f"visit{number}").glob(f"*_{kind}.fits")
    return path


def check_rows(ds, truth, numbers):
    """Compare rows with the truth of the set: the star of visit `number` is number * STEP px farther along y."""
    steps = np.asarray(numbers) * STEP
    assert ds["ok"].values.tolist() == [1] * len(numbers), ds["reason"].values
    np.testing.assert_allclose(ds["offset_x"], float(truth["offset_x"]), atol=1e-6)
    np.testing.assert_allclose(ds["offset_y"], float(truth["offset_y"]) - steps, atol=1e-6)
    moved = np.hypot(ds["target_x"] - float(truth["target_x"]), ds["target_y"] - float(truth["target_y"]))
    np.testing.assert_allclose(moved, steps, rtol=2e-3, atol=1e-6)
    on_sky = np.hypot(ds["offset_east"] - float(truth["offset_east"]), ds["offset_north"] - truth["offset_north"])
    np.testing.assert_allclose(on_sky, steps * truth.attrs["pixel_scale"], rtol=1e-2, atol=1e-7)
    np.testing.assert_array_equal(ds["visit"], [f"{10000 + n}001001" for n in numbers])
    days = np.datetime64("2024-03-10") + np.asarray(numbers, dtype="m8[D]")
    np.testing.assert_array_equal(ds["date"].values.astype("M8[D]"), days)
    assert set(ds["oss_prd"].values) == {"PRDOPSSOC-063"}


def test_every_visit_is_a_right_row(surveyed, truth):
    check_rows(surveyed, truth, range(6))
    row = surveyed.isel(visit=0)
    for name in NUMBERS.keys() & truth.coords.keys():
        assert float(row[name]) == pytest.approx(float(truth[name]), abs=1e-6), name
    for name in ("target_name", "instrument", "detector", "aperture", "filter", "exp_type", "centroid_source"):
        assert str(row[name].item()) == truth.attrs[name]
    assert surveyed["program"].values.tolist() == [f"{10000 + n}" for n in range(6)]
    assert [int(row[name]) for name in ("guider", "n_science", "n_files")] == [1, 1, 2]
    assert set(surveyed["reason"].values) == set(surveyed["warnings"].values) == {""}
    assert surveyed.sel(visit="10003001001", check="closes")["check_passed"].item() == 1
    assert np.isfinite(surveyed["target_x_err"]).all()


def test_the_maneuver_is_that_of_the_log(surveyed, base):
    (record,) = osslog.read(base.oss_log).centroids()
    found = float(surveyed["sam_x"][0]), float(surveyed["sam_y"][0])
    assert found == pytest.approx((record.sam_x, record.sam_y), abs=1e-6)
    scale = np.hypot(*np.diff([surveyed["sam_x"], surveyed["sam_y"]])) / STEP
    np.testing.assert_allclose(scale, 0.0629, atol=5e-4)  # a pixel of NIRCam in arcsec


def test_the_maneuver_is_that_of_the_centroid_in_use(tmp_path):
    """Of NIRISS, whose log has column and row exchanged: a later acquisition that failed is not in use."""
    visit = datasets.make_visit(tmp_path, mode="NIS_AMI1", integrations=1)
    (record,) = osslog.read(visit.oss_log).centroids()
    add_failed_acquisition(visit)
    assert len(osslog.read(visit.oss_log).centroids()) == 2
    ds = survey(tmp_path, **QUICK)
    assert "did not converge" in ds["warnings"].item()
    assert ds["centroid_source"].item() == "OSS event log"
    assert (ds["sam_x"].item(), ds["sam_y"].item()) == (record.sam_x, record.sam_y)


def test_estimates_are_beside_the_star(surveyed, truth):
    table = truth.ta.estimates().sel(estimate=list(METHODS))
    for name in ("dx", "dy", "x_sigma", "y_sigma"):
        np.testing.assert_allclose(surveyed[f"estimate_{name}"][0], table[name], atol=1e-5)
    np.testing.assert_array_equal(surveyed["estimate_agrees"], 1)
    assert surveyed["estimate_dx"].attrs["units"] == "pixel"


def test_everything_has_a_long_name_and_units(surveyed):
    for name, variable in surveyed.variables.items():
        assert variable.attrs["long_name"], name
        assert variable.dtype.kind != "f" or "units" in variable.attrs, name
        if "flag_meanings" in variable.attrs:
            assert len(variable.attrs["flag_values"]) == len(variable.attrs["flag_meanings"].split())


def test_netcdf_reopens_equal(surveyed, tmp_path):
    failed = to_dataset([{"visit_id": "1", "ok": 0, "reason": "a, \"b\" 'c' μ"}], estimates=True)
    for number, ds in enumerate((surveyed, failed)):
        xta.to_netcdf(ds, tmp_path / f"{number}.nc")
        with xr.open_dataset(tmp_path / f"{number}.nc") as again:
            xr.testing.assert_identical(again.load(), ds)


def check_ecsv(ds, path):
    from astropy.table import Table

    to_ecsv(ds, path)
    table, again = to_table(ds), Table.read(path)
    assert again.colnames == table.colnames
    assert again.meta == table.meta
    for name in table.colnames:
        mask = getattr(again[name], "mask", np.zeros(len(table), bool))
        np.testing.assert_array_equal(mask, table[name].mask)
        np.testing.assert_array_equal(again[name][~mask], table[name][~mask], err_msg=name)
        assert again[name].dtype.kind == table[name].dtype.kind, name
        assert (again[name].unit, again[name].description) == (table[name].unit, table[name].description)
    return again


def test_ecsv_reads_back(surveyed, tmp_path):
    table = check_ecsv(surveyed, tmp_path / "a.ecsv")
    np.testing.assert_array_equal(table["sam_dx"], surveyed["estimate_dx"].sel(estimate="sam"))
    np.testing.assert_array_equal(table["guide_star_y_sigma"], surveyed["estimate_y_sigma"].sel(estimate="guide star"))
    np.testing.assert_array_equal(table["sam_x"], surveyed["sam_x"])
    assert str(table["sam_x"].unit) == "arcsec"
    assert str(table["target_x_err_mas"].unit) == "mas"
    assert table["date"][0] == "2024-03-10T03:26:18.024"
    assert "0: failed" in table["ok"].description


def test_a_reopened_survey_makes_the_same_ecsv(surveyed, tmp_path):
    xta.to_netcdf(surveyed, tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as again:
        to_ecsv(again, tmp_path / "again.ecsv")
    to_ecsv(surveyed, tmp_path / "first.ecsv")
    assert (tmp_path / "again.ecsv").read_bytes() == (tmp_path / "first.ecsv").read_bytes()


words = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=30)
rows_of_anything = st.lists(
    st.fixed_dictionaries(
        {"visit_id": st.from_regex(r"[0-9]{11}", fullmatch=True), "ok": st.integers(0, 2)},
        optional={
            "reason": words.map(lambda text: " ".join(text.split())),
            "offset_x": st.none() | st.floats(allow_nan=False, allow_infinity=False),
            "date": st.just("") | st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)).map(datetime.isoformat),
            "guider": st.integers(0, 2),
        },
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda row: row["visit_id"],
)


@given(rows_of_anything)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_row_survives_both_formats(tmp_path, rows):
    ds = to_dataset(rows, estimates=False)
    check_ecsv(ds, tmp_path / "a.ecsv")
    xta.to_netcdf(ds, tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as again:
        xr.testing.assert_identical(again.load(), ds)


def test_what_is_no_survey_makes_no_table(surveyed, tmp_path):
    with pytest.raises(ArgumentError, match="no index visit"):
        to_ecsv(xr.Dataset({"a": ("x", [1])}), tmp_path / "a.ecsv")
    with pytest.raises(ArgumentError, match="mine has dimensions"):
        to_ecsv(surveyed.assign(mine=("other", [1, 2])), tmp_path / "a.ecsv")
    with pytest.raises(FileError, match="does not exist"):
        to_ecsv(surveyed, tmp_path / "nowhere" / "a.ecsv")
    assert not list(tmp_path.iterdir())


def test_one_folder_for_all_is_as_good(base, surveyed, tmp_path):
    clones(base, tmp_path, range(3), apart=False)
    ds = survey(tmp_path, **QUICK)
    xr.testing.assert_identical(ds.drop_attrs(), surveyed.drop_dims("estimate").isel(visit=slice(3)).drop_attrs())


def test_single_files_find_their_acquisition_beside_them(two, truth):
    ds = survey([product(two, n, "calints") for n in (0, 1)], **QUICK)
    check_rows(ds, truth, range(2))


def test_one_log_for_all_visits(two, truth):
    logs = sorted(two.rglob("*osslog.csv"))
    (two / "all_osslog.csv").write_text("".join(log.read_text() for log in logs))
    for log in logs:
        log.unlink()
    check_rows(survey(two, **QUICK), truth, range(2))


SCRIPT = """
import sys
import xta
from xta.surveys import survey

if __name__ == "__main__":
    options = {"offline": True, "estimates": False}
    kind, *paths, out = sys.argv[1:]
    if kind == "cluster":
        from distributed import Client, LocalCluster

        with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
            with Client(cluster) as client:
                xta.to_netcdf(survey(paths, client=client, **options), out)
    else:
        survey(paths, workers=int(kind), resume=out, **options)
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return [sys.executable, str(path)]


def test_a_dask_client_gives_the_same(folder, surveyed, script, tmp_path):
    # A process of its own, with an end: workers that lose each other would wait for ever.
    out = tmp_path / "cluster.nc"
    subprocess.run([*script, "cluster", str(folder), str(out)], check=True, capture_output=True, timeout=LIMIT)
    with xr.open_dataset(out) as ds:
        xr.testing.assert_identical(ds.load(), surveyed.drop_dims("estimate"))


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_survey_goes_on_where_it_was(folder, surveyed, script, tmp_path, workers):
    """Begun here or in two processes, the rows are the same."""
    store = tmp_path / "rows.jsonl"
    with subprocess.Popen([*script, str(workers), str(folder), str(store)], stderr=subprocess.PIPE) as process:
        end = time.monotonic() + LIMIT
        while not store.exists() and time.monotonic() < end and process.poll() is None:
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


def test_what_is_done_is_not_done_again(two, tmp_path):
    store = tmp_path / "rows.jsonl"
    first = survey(two, resume=store, **QUICK)
    before = store.read_bytes()
    xr.testing.assert_identical(survey(two, resume=store, **QUICK), first)
    assert store.read_bytes() == before

    def done():
        lines = [json.loads(line) for line in store.read_text().splitlines()]
        return [line["row"]["visit_id"] for line in lines]

    os.utime(product(two, 1, "cal"))
    survey(two, resume=store, **QUICK)
    assert done() == ["10000001001", "10001001001", "10001001001"]
    next(two.glob("visit0/*osslog.csv")).unlink()
    ds = survey(two, resume=store, **QUICK)
    assert ds["centroid_source"].values[0].startswith("TA image")
    assert "event log" in ds["warnings"].values[0]
    assert done()[3:] == ["10000001001"]
    survey(two, resume=store, **QUICK | {"estimates": True})
    assert sorted(done()[4:]) == ["10000001001", "10001001001"]


def test_failures_are_tried_again(two, tmp_path):
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


def test_an_archive_that_did_not_answer_is_asked_again(two, truth, tmp_path, serve, monkeypatch):
    """A visit without a log: by the TA image for now, by the log as soon as the archive gives it."""
    store, online = tmp_path / "rows.jsonl", QUICK | {"offline": False}
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
    check_rows(survey(two, resume=store, **online), truth, range(2))
    assert "provisional" not in json.loads(store.read_text().splitlines()[-1])["row"]
    kept, asked = store.read_bytes(), len(server.asked())
    check_rows(survey(two, resume=store, **online), truth, range(2))
    assert (store.read_bytes(), len(server.asked())) == (kept, asked)


def test_an_archive_that_has_no_log_is_not_asked_again(two, tmp_path, serve):
    store = tmp_path / "rows.jsonl"
    server = logged(serve, 0, folder=two)
    server.always("jwstedb", archive_server.status(404))
    for _ in range(2):
        ds = survey(two, resume=store, **QUICK | {"offline": False})
        assert ds["centroid_source"].values[0].startswith("TA image")
        assert len(store.read_text().splitlines()) == 2
    assert not any("provisional" in line for line in store.read_text().splitlines())


@pytest.mark.parametrize("lacking", ["made_with", "files", "row", "visit_id", "ok"])
def test_a_line_that_lacks_something_is_not_used(two, tmp_path, lacking):
    store = tmp_path / "rows.jsonl"
    first = survey(two, resume=store, **QUICK)
    line, other = (json.loads(text) for text in store.read_text().splitlines())
    (line["row"] if lacking in line["row"] else line).pop(lacking)
    store.write_text(f"{json.dumps(line)}\n{json.dumps(other)}\n")
    with pytest.warns(XtaWarning, match="line 1 of .* cannot be read; its visit is analysed again"):
        xr.testing.assert_identical(survey(two, resume=store, **QUICK), first)
    assert len(store.read_text().splitlines()) == 3


def test_a_line_of_nonsense_is_not_used(tmp_path):
    store = tmp_path / "rows.jsonl"
    line = {"format": "xta survey row", "made_with": "", "files": []}
    rows = [3, [], "text", {"visit_id": ["1"], "ok": 1}, {"visit_id": "1", "ok": "yes"}, {"visit_id": "1", "ok": [1]}]
    for row in rows:
        store.write_text(json.dumps(line | {"row": row}) + "\n")
        with pytest.warns(XtaWarning, match="line 1 of .* cannot be read"):
            assert not Store(store, made_with="")._lines


def test_a_line_cut_short_is_cut_off(two, tmp_path):
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


def test_another_file_is_not_taken_for_rows(two, tmp_path):
    other = tmp_path / "notes.txt"
    for text in ("mine\n", "mine", "{}\n"):
        other.write_text(text)
        with pytest.raises(FileError, match="holds no rows of a survey"):
            survey(two, resume=other, **QUICK)
        assert other.read_text() == text
    with pytest.raises(FileError, match="does not exist"):
        survey(two, resume=tmp_path / "nowhere" / "rows.jsonl", **QUICK)
    with pytest.raises(FileError, match="cannot read the rows"):
        survey(two, resume=tmp_path, **QUICK)


def spoil(folder):
    """Spoil visits in every way; give what the reason of each says, or None where the row is still good."""
    truncated = product(folder, 1, "calints")
    truncated.write_bytes(truncated.read_bytes()[:300_000])
    product(folder, 2, "cal").unlink()  # no acquisition
    product(folder, 3, "calints").unlink()  # no science exposure
    product(folder, 4, "calints").write_bytes(b"nonsense")  # no header
    star = product(folder, 5, "cal")
    star.write_bytes(star.read_bytes().replace(b"S100050000", b"S1000599ZZ"))  # another guide star
    return {1: "cut short|truncated|damaged", 2: "no TA exposure of visit 10002001001", 5: "belongs to guide star"}


def test_a_failure_is_a_row_with_its_reason(base, truth, tmp_path):
    clones(base, tmp_path, range(7))
    reasons = spoil(tmp_path)
    (tmp_path / "other.fits").write_bytes(b"no FITS at all")
    (tmp_path / "readme.txt").write_text("nothing")
    ds = survey(tmp_path, **QUICK)
    assert ds["ok"].values.tolist() == [1, 0, 0, 2, 2, 0, 1]
    for number, reason in reasons.items():
        row = ds.isel(visit=number)
        assert np.any([word in str(row["reason"].item()) for word in reason.split("|")]), row["reason"].item()
        assert all(np.isnan(row[name]) for name in NUMBERS)
        assert row["program"].item() == f"{10000 + number}"
    np.testing.assert_allclose(ds["offset_x"][[0, 3, 4, 6]], float(truth["offset_x"]), atol=1e-6)
    assert np.isnan(ds["target_x"][[3, 4]]).all()
    assert ds["exp_type"].values[3] == "NRC_TACQ"
    assert "calints.fits cannot be read" in ds["reason"].values[4]
    assert ds.attrs["files_passed_over"] == 1
    check_ecsv(ds, tmp_path / "a.ecsv")


def test_an_uncal_without_a_record_is_passed_over(tmp_path):
    """Only the acquisition has a TARG_ACQ extension, not the image that confirms it."""
    visit = datasets.make_visit(tmp_path, mode="miri", confirm=True, integrations=1)
    ds = survey(tmp_path, **QUICK)
    assert ds["ok"].item() == 1, ds["reason"].item()
    for path in visit.ta:
        shutil.copy(path, path.with_name(path.name.replace("_cal", "_uncal")))
    again = survey(tmp_path, **QUICK)
    assert again["n_files"] == ds["n_files"] + 3
    assert again["ok"].item() == 1, again["reason"].item()
    assert again["target_x"].item() == ds["target_x"].item()
    shutil.move(add_targ_acq(visit), tmp_path / "elsewhere")
    visit.oss_log.unlink()
    assert survey(tmp_path, **QUICK)["centroid_source"].item().startswith("TA image")
    path = add_targ_acq(visit)
    by_record = survey(tmp_path, **QUICK)
    assert by_record["centroid_source"].item() == f"TARG_ACQ of {path.name}"
    assert by_record["target_x"].item() == pytest.approx(ds["target_x"].item(), abs=1e-4)


def test_a_spectrum_does_not_spoil_the_acquisition(tmp_path):
    visit = datasets.make_visit(tmp_path, mode="MIRIM_SLIT")
    alone = survey(tmp_path, **QUICK)
    assert alone["ok"].item() == 2
    names = [add_spectrum(visit.ta[0], tmp_path / f"jw09990001001_0{n}101_00001_mirimage_cal.fits") for n in (4, 5)]
    ds = survey(tmp_path, **QUICK)
    assert ds["ok"].item() == 2, ds["reason"].item()
    assert re.fullmatch(rf"without an imaging WCS .*: {', '.join(names)}", ds["reason"].item())
    assert ds["exp_type"].item() == "MIR_TACQ"
    for name in NUMBERS:
        np.testing.assert_array_equal(ds[name], alone[name], err_msg=name)
    visit.ta[0].rename(tmp_path / "acquisition")
    assert survey(tmp_path, **QUICK)["ok"].item() == 0


def test_an_image_after_a_spectrum_has_the_star(two, truth):
    image = product(two, 0, "calints")
    name = add_spectrum(image, image.with_name(image.name.replace("_00001_", "_00002_")), earlier=True)
    assert find_visits(two / "visit0").visits[0].science[0].name == name
    ds = survey(two, **QUICK)
    check_rows(ds, truth, range(2))
    assert name in ds["reason"].values[0]
    assert (ds["filename"].values[0], ds["n_science"].values[0]) == (image.name, 2)


def test_what_cannot_be_read_by_name_is_a_row(two):
    (two / "jw10000001001_03105_00002_nrcalong_calints.fits").symlink_to(two / "nowhere")
    (two / "jw10007001001_03105_00001_nrcalong_calints.fits").mkdir()
    (two / "dangling.fits").symlink_to(two / "nowhere")
    (two / ".jw10008001001_03105_00001_nrcalong_calints.fits").write_bytes(b"hidden")
    ds = survey(two, **QUICK)
    assert ds["visit"].values.tolist() == ["10000001001", "10001001001", "10007001001"]
    assert ds["ok"].values.tolist() == [1, 1, 0]
    assert "_00002_nrcalong_calints.fits cannot be read" in ds["reason"].values[0]
    assert "cannot be read" in ds["reason"].values[2]
    assert ds["n_files"].values.tolist() == [3, 2, 1]
    assert ds.attrs["files_passed_over"] == 1


def test_what_nobody_foresaw_costs_one_visit(two, caplog):
    path = product(two, 0, "cal")
    text = path.read_bytes()
    assert b"polynomial" in text
    path.write_bytes(text.replace(b"polynomial", b"polynomi1l"))
    ds = survey(two, **QUICK)
    assert ds["ok"].values.tolist() == [0, 1]
    assert ds["reason"].values[0]


def test_duplicates_count_once(two):
    (two / "again").mkdir()
    shutil.copy(product(two, 0, "cal"), two / "again")
    found = find_visits(two)
    assert found.duplicates == 1
    assert found.visits[0].n_files == 2
    assert len(found.visits[0].ta) == 1
    assert find_visits([two, two, product(two, 0, "cal")]).duplicates == 1  # one path twice is one file
    ds = survey(two, **QUICK)
    assert (ds["n_files"].values.tolist(), ds.attrs["files_duplicate"]) == ([2, 2], 1)
    path = two / "again" / product(two, 0, "cal").name
    path.write_bytes(path.read_bytes() + bytes(2880))
    with pytest.warns(XtaWarning, match="are not the same; the first is taken"):
        assert find_visits([path, two]).visits[0].ta == (path,)


def test_the_detector_of_the_acquisition_goes_first(two):
    """Both channels of NIRCam see the star; its acquisition was on one of them."""
    science, ta = product(two, 0, "calints"), product(two, 0, "cal")
    for exposure in ("1", "2"):
        text = science.read_bytes()
        for detector in ("nrca2", "nrcalong"):
            name = science.name.replace("00001", f"0000{exposure}").replace("nrcalong", detector)
            padded = f"'{detector.upper()}'".ljust(10).encode()
            science.with_name(name).write_bytes(
                text.replace(b"'NRCALONG'", padded).replace(b"03:26:", f"03:2{exposure}:".encode())
            )
    files = find_visits(two / "visit0").visits[0]
    assert [path.name.split("_", 2)[2] for path in files.science] == [
        *("00001_nrcalong_calints.fits", "00002_nrcalong_calints.fits"),
        *("00001_nrca2_calints.fits", "00002_nrca2_calints.fits"),
    ]
    assert files.ta == (ta,)
    ds = survey(two / "visit0", **QUICK)
    assert (ds["detector"].item(), ds["n_science"].item(), ds["ok"].item()) == ("NRCALONG", 4, 1)


def test_the_best_product_of_an_exposure_is_taken(two):
    path = product(two, 0, "calints")
    for kind in ("cal", "rateints", "uncal", "i2d"):
        shutil.copy(path, path.with_name(path.name.replace("calints", kind)))
    files = find_visits(two / "visit0").visits[0]
    assert (files.science, files.n_files) == ((path,), 6)


def test_find_visits_names_corrupt_gzip(two):
    path = product(two, 0, "calints")
    packed = bytearray(gzip.compress(path.read_bytes()))
    packed[20:60] = bytes(40)
    path.with_name(f"{path.name}.gz").write_bytes(packed)
    path.unlink()
    bad, good = find_visits(two).visits
    assert f"{path.name}.gz" in bad.damaged[0]
    assert good.damaged == ()


@pytest.mark.parametrize(
    ("paths", "options", "error", "says"),
    [
        ([], {}, ArgumentError, "at least one"),
        (None, {}, ArgumentError, "at least one"),
        ([3], {}, ArgumentError, "3 among its files"),
        (["nowhere"], {}, FileError, "nowhere does not exist"),
        ([""], {"workers": 0}, ArgumentError, "workers is 0"),
        ([""], {"workers": True}, ArgumentError, "workers is True"),
        ([""], {"workers": 2, "client": object()}, ArgumentError, "not both"),
        ([""], {"client": object()}, ArgumentError, "distributed.Client"),
    ],
)
def test_what_is_asked_wrongly_is_said_at_once(paths, options, error, says):
    with pytest.raises(error, match=says):
        survey(paths, **options)


def test_a_file_of_no_visit(two, tmp_path):
    for name, text in (("notes.csv", "a,b\n1,2\n"), ("notes.md", "nothing"), ("empty.fits", "")):
        path = tmp_path / name
        path.write_text(text)
        with pytest.warns(XtaWarning, match=f"{name} is passed over"), pytest.raises(ArgumentError, match="no JWST"):
            survey(path, **QUICK)
    with pytest.warns(XtaWarning, match="empty.fits is passed over"):
        found = find_visits([tmp_path / "empty.fits", two])
    assert (len(found.visits), found.passed_over) == (2, 1)
    (tmp_path / "bare").mkdir()
    with pytest.raises(ArgumentError, match="no JWST product"):
        survey(tmp_path / "bare", **QUICK)


DIES = """
import os, sys
from functools import partial
from xta.surveys import find_visits, pool, survey

def work(files, main):
    if files.visit_id == "10001001001":
        os._exit(1)
    return {"visit_id": files.visit_id}

if __name__ == "__main__" and sys.argv[1] == "dies":
    for files, row in pool.run(partial(work, main=1), find_visits(sys.argv[2]).visits, client=None, workers=2):
        print(files.visit_id, type(row).__name__)
elif sys.argv[1] == "unguarded":
    survey(sys.argv[2], workers=2, offline=True)
"""

DEFAULT = """
import multiprocessing, os, sys
from xta.surveys import pool, survey

pool.WORTH_IT = 1
os.sched_getaffinity = lambda process: {0, 1}

def rows(folder):
    return survey(folder, offline=True, estimates=False)["ok"].values.tolist()

if sys.argv[1] == "unguarded":
    print(rows(sys.argv[2]))
elif __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as workers:
        print(workers.apply(rows, sys.argv[2:]))
"""


def test_a_worker_that_dies_takes_one_visit_with_it(folder, tmp_path):
    (tmp_path / "dies.py").write_text(DIES)
    command = [sys.executable, str(tmp_path / "dies.py")]
    done = subprocess.run([*command, "dies", folder], check=True, capture_output=True, text=True, timeout=LIMIT)
    kinds = dict(line.split() for line in done.stdout.splitlines())
    assert kinds == dict.fromkeys([f"1000{n}001001" for n in range(6)], "dict") | {"10001001001": "BrokenProcessPool"}
    done = subprocess.run([*command, "unguarded", folder], check=False, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 1
    assert 'under if __name__ == "__main__":' in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("kind", ["unguarded", "in a worker"])
def test_where_no_process_can_start_this_one_does_the_work(two, tmp_path, kind):
    """Unless processes were asked for; a worker of a pool may have none of its own."""
    (tmp_path / "default.py").write_text(DEFAULT)
    command = [sys.executable, str(tmp_path / "default.py"), kind, str(two)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LIMIT)
    assert done.stdout == "[1, 1]\n", done.stderr
    warned = 'XtaWarning: worker processes cannot start, so .* under if __name__ == "__main__":'
    assert bool(re.search(warned, done.stderr)) == (kind == "unguarded")


def test_nothing_stays_open(two):
    survey(two, **QUICK)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    survey(two, **QUICK)
    assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208


def test_progress_is_on_stderr(two, capsys):
    survey(two / "visit0", progress=True, **QUICK)
    out, err = capsys.readouterr()
    assert out == ""
    assert "survey: 100%" in err
    assert "1/1" in err


def test_the_command_line(two, tmp_path, monkeypatch):
    from click.testing import CliRunner

    from xta.cli import main

    def run(*arguments):
        return CliRunner().invoke(main, ["survey", *map(str, arguments), "--offline", "--workers", "1"])

    done = run(two, "-o", tmp_path / "a.nc", "--no-estimates")
    assert done.exit_code == 0, done.output
    assert "2 visits: 2 with a star, 0 with an offset only, 0 failed; a check failed in 0" in done.stdout
    rows = tmp_path / "a.nc.rows.jsonl"
    kept = rows.read_bytes()
    with xr.open_dataset(tmp_path / "a.nc") as ds:
        xr.testing.assert_identical(ds.load(), survey(two, **QUICK))
    assert run(two, "-o", tmp_path / "a.nc", "--no-estimates").exit_code == 0
    assert rows.read_bytes() == kept
    product(two, 1, "cal").unlink()
    done = run(two, "-o", tmp_path / "b.ecsv", "--no-resume", "--no-estimates")
    assert done.exit_code == 0
    assert "10001001001: no TA exposure" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nc", "a.nc.rows.jsonl", "b.ecsv", "two"]
    assert run(two, "-o", tmp_path / "a.txt").exit_code == 2
    assert run(tmp_path / "nowhere", "-o", tmp_path / "c.nc").exit_code == 1


@pytest.mark.heavy
def test_two_hundred_visits(base, truth, tmp_path):
    """Less than 3 min on two processors; the second hundred takes no longer than the first."""
    store, times, busy = tmp_path / "rows.jsonl", [time.perf_counter()], [sum(os.times()[:4])]
    clones(base, tmp_path / "all", range(200))
    planted = spoil(tmp_path / "all")
    for part in (None, [tmp_path / "all" / f"visit{n}" for n in range(100)], tmp_path / "all"):
        if part is not None:
            ds = survey(part, resume=store, offline=True, estimates=False, workers=2)
        times.append(time.perf_counter())
        busy.append(sum(os.times()[:4]))
    made, first, second = np.diff(times)
    print(f"200 visits made in {made:.1f} s, surveyed in {first:.0f} + {second:.0f} s")
    print("processor time: {:.1f} s, {:.0f} + {:.0f} s".format(*np.diff(busy)))
    good = np.setdiff1d(np.arange(200), range(1, 6))
    check_rows(ds.isel(visit=good), truth, good)
    assert ds["ok"].values[:6].tolist() == [1, 0, 0, 2, 2, 0]
    assert all(ds["reason"].values[n] for n in planted)
    # Of the processors, for the machine may do other work as well.
    assert np.diff(busy)[2] <= 1.5 * np.diff(busy)[1]
    assert busy[-1] - busy[0] <= 2 * 180
    check_ecsv(ds, tmp_path / "a.ecsv")
