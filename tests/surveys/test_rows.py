"""Every visit is a row, whatever happens to it."""

import os
import re
import shutil
import time

import numpy as np
import pytest
import xarray as xr

from tests.surveys.visits import (
    AUTO,
    QUICK,
    STEP,
    add_failed_acquisition,
    add_spectrum,
    add_targ_acq,
    check_ecsv,
    check_rows,
    clones,
    product,
)
from xta import datasets, osslog
from xta.surveys import find_visits, survey
from xta.surveys.table import METHODS, NUMBERS


def test_survey_row_is_analysis(surveyed, truth):
    check_rows(surveyed, truth, range(6))
    row = surveyed.isel(visit=0)
    for name in NUMBERS.keys() & truth.coords.keys():
        assert float(row[name]) == pytest.approx(float(truth[name]), abs=1e-6), name
    for name in ("target_name", "instrument", "detector", "aperture", "filter", "exp_type", "centroid_source"):
        assert str(row[name].item()) == truth.attrs[name]
    assert surveyed["program"].values.tolist() == [f"{10000 + n}" for n in range(6)]
    assert [int(row[name]) for name in ("guider", "n_science", "n_files")] == [1, 1, 2]
    assert set(surveyed["reason"].values) == set(surveyed["warnings"].values) == {""}
    assert surveyed.sel(visit="10003001001", check="telemetry closes")["check_passed"].item() == 1
    assert np.isfinite(surveyed["target_x_err"]).all()


def test_survey_maneuver_is_of_log(surveyed, base):
    (record,) = osslog.read(base.oss_log).centroids()
    found = float(surveyed["sam_x"][0]), float(surveyed["sam_y"][0])
    assert found == pytest.approx((record.sam_x, record.sam_y), abs=1e-6)
    scale = np.hypot(*np.diff([surveyed["sam_x"], surveyed["sam_y"]])) / STEP
    np.testing.assert_allclose(scale, 0.0629, atol=5e-4)  # a pixel of NIRCam in arcsec


def test_survey_maneuver_is_of_centroid_in_use(tmp_path):
    """Of NIRISS, whose log has column and row exchanged: a later acquisition that failed is not in use."""
    visit = datasets.make_visit(tmp_path, mode="NIS_AMI1", integrations=1, ideal=True)
    (record,) = osslog.read(visit.oss_log).centroids()
    add_failed_acquisition(visit)
    assert len(osslog.read(visit.oss_log).centroids()) == 2
    ds = survey(tmp_path, **QUICK)
    assert "did not converge" in ds["warnings"].item()
    assert ds["centroid_source"].item() == "OSS event log"
    assert (ds["sam_x"].item(), ds["sam_y"].item()) == (record.sam_x, record.sam_y)


def test_survey_estimates_equal_those_of_exposure(surveyed, truth):
    table = truth.ta.estimates().sel(estimate=list(METHODS))
    for name in ("dx", "dy", "x_sigma", "y_sigma"):
        np.testing.assert_allclose(surveyed[f"estimate_{name}"][0], table[name], atol=1e-5)
    np.testing.assert_array_equal(surveyed["estimate_agrees"], 1)
    assert surveyed["estimate_dx"].attrs["units"] == "pixel"


def test_survey_one_folder_for_all(base, surveyed, tmp_path):
    clones(base, tmp_path, range(3), apart=False)
    ds = survey(tmp_path, **QUICK)
    xr.testing.assert_identical(ds.drop_attrs(), surveyed.drop_dims("estimate").isel(visit=slice(3)).drop_attrs())


def test_survey_single_files(two, truth):
    ds = survey([product(two, n, "calints") for n in (0, 1)], **QUICK)
    check_rows(ds, truth, range(2))


def test_survey_one_log_for_all(two, truth):
    logs = sorted(two.rglob("*osslog.csv"))
    (two / "all_osslog.csv").write_text("".join(log.read_text() for log in logs))
    for log in logs:
        log.unlink()
    check_rows(survey(two, **QUICK), truth, range(2))


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


def test_survey_failure_is_row_with_reason(base, truth, tmp_path):
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


def test_survey_passes_over_uncal_without_record(tmp_path):
    """Only the acquisition has a TARG_ACQ extension, not the image that confirms it."""
    visit = datasets.make_visit(tmp_path, mode="miri", confirm=True, integrations=1, ideal=True)
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
    assert survey(tmp_path, **AUTO)["centroid_source"].item().startswith("TA image")
    path = add_targ_acq(visit)
    by_record = survey(tmp_path, **QUICK)
    assert by_record["centroid_source"].item() == f"TARG_ACQ of {path.name}"
    assert by_record["target_x"].item() == pytest.approx(ds["target_x"].item(), abs=1e-4)


def test_survey_leaves_out_spectrum(tmp_path):
    visit = datasets.make_visit(tmp_path, mode="MIRIM_SLIT", ideal=True)
    alone = survey(tmp_path, **QUICK)
    assert alone["ok"].item() == 2
    names = [add_spectrum(visit.ta[0], tmp_path / f"jw09990001001_0{n}101_00001_mirimage_cal.fits") for n in (4, 5)]
    ds = survey(tmp_path, **QUICK)
    assert ds["ok"].item() == 2, ds["reason"].item()
    assert re.fullmatch(rf"left out without a usable imaging WCS .*: {', '.join(names)}", ds["reason"].item())
    assert ds["exp_type"].item() == "MIR_TACQ"
    for name in NUMBERS:
        np.testing.assert_array_equal(ds[name], alone[name], err_msg=name)
    visit.ta[0].rename(tmp_path / "acquisition")
    assert survey(tmp_path, **QUICK)["ok"].item() == 0


def test_survey_takes_image_after_spectrum(two, truth):
    image = product(two, 0, "calints")
    name = add_spectrum(image, image.with_name(image.name.replace("_00001_", "_00002_")), earlier=True)
    assert find_visits(two / "visit0").visits[0].science[0].name == name
    ds = survey(two, **QUICK)
    check_rows(ds, truth, range(2))
    assert name in ds["reason"].values[0]
    assert (ds["filename"].values[0], ds["n_science"].values[0]) == (image.name, 2)


def test_survey_unreadable_file_is_row_by_its_name(two):
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


def test_survey_unexpected_error_costs_one_visit(two, caplog):
    path = product(two, 0, "cal")
    text = path.read_bytes()
    assert b"polynomial" in text
    path.write_bytes(text.replace(b"polynomial", b"polynomi1l"))
    ds = survey(two, **QUICK)
    assert ds["ok"].values.tolist() == [0, 1]
    assert ds["reason"].values[0]


def test_survey_leaves_no_file_open(two):
    survey(two, **QUICK)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    survey(two, **QUICK)
    assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208


@pytest.mark.heavy
def test_survey_two_hundred_visits(base, truth, tmp_path):
    """Less than 3 min on two processors; the second hundred takes no longer than the first."""
    store, times, busy = tmp_path / "rows.jsonl", [time.perf_counter()], [sum(os.times()[:4])]
    clones(base, tmp_path / "all", range(200))
    planted = spoil(tmp_path / "all")
    for part in (None, [tmp_path / "all" / f"visit{n}" for n in range(100)], tmp_path / "all"):
        if part is not None:
            ds = survey(
                part, resume=store, offline=True, estimates=False, workers=2, centroid="oss", corrections="none"
            )
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
