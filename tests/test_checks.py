"""Checks of an acquisition: each passes where all is well, and fails, with its reason, where it is not."""

import shutil

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits

import xta
from tests.stars import targ_acq
from xta import datasets
from xta.acquisition import checklist, checks
from xta.acquisition.attach import forget
from xta.errors import AcquisitionError, XtaWarning


@pytest.fixture(scope="module")
def analyzed(nircam):
    return xta.analyze(nircam.science[0])


def state(ds, name):
    one = ds.sel(check=name)
    return int(one["check_passed"]), str(one["check_reason"].item())


def test_checks_pass_for_good_visit(analyzed, miri):
    for ds in (analyzed, xta.analyze(miri.science[0])):
        assert list(ds["check"].values) == list(checklist.CHECKS)
        untested = {"TARG_ACQ matches telemetry"}
        for name in checklist.CHECKS:
            passed, reason = state(ds, name)
            assert reason
            assert passed == (-1 if name in untested else 1), f"{name}: {reason}"


def test_checks_are_cf_flags(analyzed):
    passed = analyzed["check_passed"]
    assert passed.dtype == np.int8
    assert passed.attrs["flag_values"].dtype == np.int8
    meanings = dict(zip(passed.attrs["flag_values"].tolist(), passed.attrs["flag_meanings"].split(), strict=True))
    assert meanings == {-1: "not_tested", 0: "failed", 1: "passed"}


def test_checks_are_added_by_each_step(nircam):
    attached = xta.open_exposure(nircam.science[0]).ta.attach()
    assert state(attached, "telemetry closes")[0] == 1
    assert state(attached, "centroid matches TA image") == (-1, "not tested yet")
    assert state(attached.ta.compute_offset(), "centroid matches TA image")[0] == 1


def test_check_acquisition_names_release_onboard(analyzed):
    assert analyzed.attrs["oss_prd"] == "PRDOPSSOC-063"
    assert 0 < analyzed.attrs["oss_closure_error"] < 3e-6
    assert "PRDOPSSOC-063" in state(analyzed, "telemetry closes")[1]


def test_checks_survive_file_and_second_analysis(analyzed, tmp_path):
    xta.to_netcdf(analyzed, tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as again:
        for name in ("check", "check_passed", "check_reason"):
            xr.testing.assert_identical(again[name].load().variable, analyzed[name].variable)
    xr.testing.assert_identical(analyzed.ta.compute_offset().ta.adjust_wcs()["check_reason"], analyzed["check_reason"])
    assert "check" not in forget(analyzed).variables


def test_check_closes_fails_for_log_of_other_place(nircam):
    text = nircam.oss_log.read_text()
    start = text.index("target location (v2, v3)")
    line = text[start : text.index("\n", start)]
    v2 = line.split("(")[-1].split(",")[0]
    wrong = text.replace(line, line.replace(v2, f"{float(v2) + 0.02:.6f}"))
    with pytest.warns(XtaWarning, match="not consistent: misses by"):
        ds = xta.open_exposure(nircam.science[0]).ta.attach(oss=wrong)
    passed, reason = state(ds, "telemetry closes")
    assert passed == 0
    assert "mas with PRDOPSSOC" in reason
    assert "oss_prd" not in ds.attrs


def test_check_converged_fails_for_failed_acquisition(tmp_path):
    visit = datasets.make_visit(tmp_path, failed_ta=True, ideal=True)
    with pytest.warns(XtaWarning, match="no onboard centroid"):
        ds = xta.analyze(visit.science[0])
    assert state(ds, "onboard centroid converged") == (0, ds.attrs["oss_status"])
    assert state(ds, "telemetry closes")[0] == -1
    assert state(ds, "centroid matches TA image") == (
        -1,
        "there is no onboard centroid to compare with that of the image",
    )


def test_check_converged_is_not_tested_without_log(nircam, tmp_path):
    for source in (*nircam.science, *nircam.ta):
        shutil.copy(source, tmp_path)
    with pytest.warns(XtaWarning, match="no onboard centroid"):
        ds = xta.analyze(tmp_path / nircam.science[0].name)
    assert state(ds, "onboard centroid converged")[0] == -1
    assert "no event log" in state(ds, "onboard centroid converged")[1]


def test_check_prd_fails_for_release_not_at_hand(nircam, edited):
    path = edited(nircam.science[0], lambda hdus: hdus[0].header.set("PRD_VER", "PRDOPSSOC-999"))
    ds = xta.analyze(path, acquisition=nircam.ta, oss=nircam.oss_log)
    passed, reason = state(ds, "SIAF release known")
    assert passed == 0
    assert "PRDOPSSOC-999 is not available" in reason


def test_check_guide_star_is_not_tested_without_name(nircam, edited):
    path = edited(nircam.science[0], lambda hdus: hdus[0].header.remove("GDSTARID", ignore_missing=True))
    with pytest.warns(XtaWarning, match="guide star"):
        ds = xta.analyze(path, acquisition=nircam.ta, oss=nircam.oss_log)
    passed, reason = state(ds, "guide stars match")
    assert passed == -1
    assert path.name in reason


def flag(nircam, bit):
    def edit(hdus):
        x, y = nircam.truth["star_x"].values[0], nircam.truth["star_y"].values[0]
        hdus["DQ"].data[round(y) + 2, round(x) + 1] |= bit

    return edit


@pytest.mark.parametrize(("bit", "said"), [(2, "1 saturated pixel"), (1, "1 bad pixel")])
def test_check_saturated_fails_for_flagged_pixel(nircam, edited, bit, said):
    ta = edited(nircam.ta[0], flag(nircam, np.uint32(bit)))
    ds = xta.analyze(nircam.science[0], acquisition=ta, oss=nircam.oss_log)
    passed, reason = state(ds, "no bad pixels near star")
    assert passed == 0
    assert said in reason


def test_check_saturated_fails_for_wholly_saturated_star(nircam, edited):
    """As the pipeline writes it: no value, no error, flagged."""

    def edit(hdus):
        x, y = (round(float(nircam.truth[f"star_{axis}"].values[0])) for axis in "xy")
        core = np.s_[y - 1 : y + 2, x - 1 : x + 2]
        hdus["SCI"].data[core] = hdus["ERR"].data[core] = np.nan
        hdus["DQ"].data[core] |= 3

    ds = xta.analyze(nircam.science[0], acquisition=edited(nircam.ta[0], edit), oss=nircam.oss_log)
    passed, reason = state(ds, "no bad pixels near star")
    assert passed == 0
    assert "9 saturated pixels" in reason


def test_check_converged_fails_for_earlier_centroid(miri):
    text = miri.oss_log.read_text()
    at = text.rindex("(SUCCESS,")
    with pytest.warns(XtaWarning, match="did not converge"):
        ds = xta.analyze(miri.science[0], oss=f"{text[:at]}(FAILURE,{text[at + len('(SUCCESS,') :]}")
    assert state(ds, "onboard centroid converged") == (
        0,
        "the last onboard centroid did not converge; an earlier one is used",
    )


@pytest.mark.parametrize(
    "select",
    [
        lambda ds: ds.isel(check=[0, 1]),
        lambda ds: ds.isel(check=0),
        lambda ds: ds.drop_vars("check_reason"),
        lambda ds: ds.drop_dims("check"),
    ],
)
def test_check_image_takes_selection_of_checks(analyzed, select):
    again = select(analyzed).ta.compute_offset()
    assert list(again["check"].values) == list(checklist.CHECKS)
    assert state(again, "centroid matches TA image")[0] == 1


def test_check_of_centroid_fails_for_centroid_off_star(analyzed):
    x, y = float(analyzed["centroid_x"]), float(analyzed["centroid_y"])
    ds = analyzed.ta.compute_offset(centroid=(x + 0.5, y))
    passed, reason = state(ds, "centroid matches TA image")
    assert passed == 0
    assert "+0.50" in reason


def test_check_image_is_not_tested_without_star(analyzed):
    ds = analyzed.assign(ta_sci=xr.zeros_like(analyzed["ta_sci"])).ta.compute_offset(centroid="oss")
    for name in ("centroid matches TA image", "no bad pixels near star"):
        passed, reason = state(ds, name)
        assert passed == -1
        assert "no star stands out" in reason


def second_star(hdus, x, y):
    """A star three times as bright, 14 pixels to the right and 12 below: 1.2 arcsec."""
    image = hdus["SCI"].data
    star = image[y - 5 : y + 6, x - 5 : x + 6] - np.nanmedian(image)
    image[y - 17 : y - 6, x + 9 : x + 20] += 3 * np.nan_to_num(star)


def hot_block(hdus, x, y):
    """Four hot pixels side by side, which look like a star."""
    image = hdus["SCI"].data
    image[y + 11 : y + 13, x + 12 : x + 14] = 4 * np.nanmax(image)


@pytest.mark.parametrize("spoil", [second_star, hot_block])
@pytest.mark.parametrize("onboard", [True, False])
def test_check_plausible_fails_for_what_is_not_the_star(nircam, edited, spoil, onboard):
    x, y = (round(float(nircam.truth[f"star_{axis}"].sel(file=nircam.ta[0].name))) for axis in "xy")
    ta = edited(nircam.ta[0], lambda hdus: spoil(hdus, x, y))
    if onboard:
        ds = xta.analyze(nircam.science[0], acquisition=ta, oss=nircam.oss_log, centroid="image")
    else:
        with pytest.warns(XtaWarning, match="no onboard centroid"):
            ds = xta.analyze(nircam.science[0], acquisition=ta, oss=short_log(nircam))
    assert np.hypot(float(ds["centroid_x"]) - x, float(ds["centroid_y"]) - y) > 10
    passed, reason = state(ds, "centroid plausible")
    assert passed == 0
    assert "px from the intended position" in reason
    assert ("onboard" in reason) == onboard


@pytest.mark.parametrize("mode", ["nircam", "miri"])
@pytest.mark.parametrize("onboard", [True, False])
def test_check_plausible_passes_for_star_off_the_intended_position(mode, onboard, request):
    """The pointing of the samples is 0.31 arcsec off, 5 pixels of NIRCam."""
    visit = request.getfixturevalue(mode)
    if onboard:
        ds = xta.analyze(visit.science[0], centroid="image")
    else:
        with pytest.warns(XtaWarning, match="no onboard centroid"):
            ds = xta.analyze(visit.science[0], oss=short_log(visit))
    assert state(ds, "centroid plausible")[0] == 1
    assert ("onboard" in state(ds, "centroid plausible")[1]) == onboard


@pytest.mark.parametrize(("px", "expected"), [(0.9, 1), (7.5, 1), (15.0, 0)])
def test_check_plausible_of_centroid_by_hand(analyzed, px, expected):
    """Five times the 0.1 arcsec of the pointing are 7.9 pixels of NIRCam's long-wave channel."""
    x, y = float(analyzed["ta_reference_x"]), float(analyzed["ta_reference_y"])
    far = analyzed.assign_attrs(oss_x=0.0, oss_y=0.0).assign_coords(oss_x=0.0, oss_y=0.0)
    assert state(far.ta.compute_offset(centroid=(x - px, y)), "centroid plausible")[0] == expected


def test_check_plausible_takes_the_other_centroid(analyzed):
    """A star that is far from where it was meant to be, and both centroids are there."""
    far = analyzed.assign_coords(ta_intended_x=analyzed["ta_intended_x"] + 20)
    for centroid in ("oss", "image"):
        assert state(far.ta.compute_offset(centroid=centroid), "centroid plausible")[0] == 1
    dark = far.assign(ta_sci=xr.zeros_like(far["ta_sci"])).ta.compute_offset(centroid="oss")
    assert state(dark, "centroid plausible")[0] == 0
    unknown = analyzed.assign_coords(ta_intended_x=np.nan * analyzed["ta_intended_x"])
    dark = unknown.assign(ta_sci=xr.zeros_like(unknown["ta_sci"])).ta.compute_offset(centroid="oss")
    assert state(dark, "centroid plausible")[0] == -1


@pytest.mark.parametrize(("px", "expected"), [(0.0, 1), (15.0, 1), (17.0, 0), (100.0, 0)])
def test_check_mask_fails_for_star_an_arcsecond_off(analyzed, px, expected):
    """An arcsecond is 15.9 pixels of NIRCam's long-wave channel."""
    x, y = float(analyzed["mask_x"]), float(analyzed["mask_y"])
    passed, reason = state(analyzed.ta.set_star(x - px, y, source="a test"), "star near mask")
    assert passed == expected
    assert f"{px * 0.063:.1f}"[:2] in reason


def test_check_mask_is_of_the_last_star(analyzed):
    assert state(analyzed, "star near mask")[0] == 1
    x, y = float(analyzed["centroid_x"]), float(analyzed["centroid_y"])
    off = analyzed.ta.compute_offset(centroid=(x - 25, y))
    assert state(off, "star near mask") == (-1, "not tested yet")
    passed, reason = state(off.ta.adjust_wcs(), "star near mask")
    assert passed == 0
    assert "1.5" in reason or "1.6" in reason


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"exp_type": "NRC_TSIMAGE"}, "NRC_TSIMAGE has no mask"),
        ({"exp_type": ""}, "unknown has no mask"),
        ({"is_background": 1}, "background field"),
        ({"aperture": "NRCA5_MASKLWB"}, "along the bar"),
        ({"mask_x": np.nan}, "not known"),
    ],
)
def test_check_mask_is_not_tested_without_mask(analyzed, change, said):
    passed, reason = state(checks.check_star(analyzed.assign_coords(change)), "star near mask")
    assert passed == -1
    assert said in reason


def test_check_mask_is_not_tested_for_acquisition(nircam):
    assert state(xta.analyze(nircam.ta[0]), "star near mask")[0] == -1


# TARG_ACQ beside the log


def record(visit, **keywords):
    x, y = xta.analyze(visit.science[0]).attrs["oss_x_det"], xta.analyze(visit.science[0]).attrs["oss_y_det"]
    hdus = targ_acq(visit, **{"DTCENCOL": x, "DTCENROW": y} | keywords)
    hdus[0].header["FILENAME"] = visit.ta[0].name.replace("_cal", "_uncal")
    return hdus


def test_check_targ_acq_passes_for_centroid_of_log(nircam):
    ds = xta.analyze(nircam.science[0], targ_acq=record(nircam), centroid="oss")
    assert state(ds, "TARG_ACQ matches telemetry")[0] == 1
    assert ds.attrs["centroid_source"] == "OSS event log"


def test_check_targ_acq_fails_for_other_centroid(nircam):
    with pytest.warns(XtaWarning, match="the centroid of the log is used"):
        ds = xta.analyze(nircam.science[0], targ_acq=record(nircam, DTCENCOL=1550.0))
    passed, reason = state(ds, "TARG_ACQ matches telemetry")
    assert passed == 0
    assert "1550.00000" in reason


def test_check_targ_acq_fails_for_failed_record(nircam):
    hdus = record(nircam)
    hdus["TARG_ACQ"].header.update({"TASTATUS": "UNSUCCESSFUL", "STAT_RSN": "no star"})
    with pytest.warns(XtaWarning, match="UNSUCCESSFUL no star"):
        ds = xta.analyze(nircam.science[0], targ_acq=hdus)
    assert state(ds, "TARG_ACQ matches telemetry")[0] == 0


def test_attach_refuses_targ_acq_of_other_visit(nircam):
    hdus = record(nircam)
    hdus[0].header["VISIT_ID"] = "09990002001"
    with pytest.raises(AcquisitionError, match="belongs to visit"):
        xta.analyze(nircam.science[0], targ_acq=hdus)


def test_read_targ_acq_is_public(nircam, tmp_path):
    path = tmp_path / "a_uncal.fits"
    record(nircam).writeto(path)
    found = xta.read_targ_acq(path)
    assert found.successful
    assert isinstance(fits.getheader(path, "TARG_ACQ")["DTCENCOL"], float)
    assert found.x_det == fits.getheader(path, "TARG_ACQ")["DTCENCOL"]


def test_attach_warns_of_readout_that_does_not_fit(miri):
    """Without SUBARRAY a MIRI region would be taken for the array, and its middle for the star's place."""
    exposures = [xta.open_exposure(path) for path in miri.ta]
    for ta in exposures:
        ta.coords["subarray"] = ""
    science = xta.open_exposure(miri.science[0])
    with pytest.warns(XtaWarning, match="intended position of the star is not known"):
        ds = (
            science.ta.attach(exposures, oss=short_log(miri)).ta.compute_offset(centroid=(136.5, 126.5)).ta.adjust_wcs()
        )
    assert np.isnan(float(ds["ta_reference_x"]))
    assert ds["check_passed"].sel(check="centroid plausible") == -1


def short_log(visit):
    """The log of a visit without its acquisition."""
    lines = visit.oss_log.read_text().splitlines()
    return "\n".join([lines[0], *(line for line in lines[1:] if "VISIT" in line)]) + "\n"


def test_summary_holds_errors_and_checks(analyzed):
    import json

    from xta import summary

    found = json.loads(json.dumps(summary.as_dict(analyzed)))
    assert found["checks"]["telemetry closes"] is True
    assert found["checks"]["TARG_ACQ matches telemetry"] is None
    assert set(found["checks"]) == set(found["check_reasons"]) == set(checklist.CHECKS)
    assert found["target_x_err"] == float(analyzed["target_x_err"])
    text = summary.as_table(analyzed)
    assert "checks: 11 passed, 1 not tested\n" in text
    assert f"{float(analyzed['target_x_err']):.4f}" in text
    off = analyzed.ta.compute_offset(centroid=(10.0, 10.0))
    assert "failed: centroid matches TA image (centroid in use minus that of the image" in summary.as_table(off)
