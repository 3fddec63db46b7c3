"""Attach, offset, adjust: the star behind the mask, against known truth; and what is computed once."""

import json
import logging
import warnings

import numpy as np
import pytest
import xarray as xr

import xta
from tests.stars import assert_star, truth_of
from xta import datasets, identity, model, osslog
from xta.acquisition import image
from xta.acquisition.pair import logged_facts
from xta.errors import (
    AcquisitionError,
    MissingError,
    WCSError,
    XtaWarning,
)
from xta.geometry import sky, wcs

VISITS = {
    "pole": {"target": (80.0, 88.5)},
    "closer to the pole, large error": {"target": (10.0, 89.7), "pointing_error": (1.2, -0.9, 0.02)},
    "just after RA = 0": {"target": (0.00003, -20.0)},
    "just before RA = 0": {"target": (359.99997, 20.0)},
    "velocity aberration": {"va_scale": 1.0001},
    "wrong target coordinates": {"target_error": (0.5, -0.3)},
    "newest SIAF": {"prd": "PRDOPSSOC-075"},
    "dithered acquisition": {"ta_dithers": True},
    "small-grid dither": {"dithers": ((0.0, 0.0), (0.02, 0.01), (-0.02, 0.03))},
}


@pytest.mark.parametrize("case", VISITS)
def test_analyze_finds_star_of_nircam_visits(tmp_path, case):
    visit = datasets.make_visit(tmp_path, mode="nircam", integrations=1, **VISITS[case], ideal=True)
    for path in visit.science:
        assert_star(xta.analyze(path, centroid="oss", corrections="none"), truth_of(visit, path))


@pytest.mark.parametrize("setup", [name for name in datasets.SETUPS if name != "NRCA5_MASK335R"])
def test_analyze_finds_star_behind_every_mask(tmp_path, setup):
    """Round, bar, Lyot and four-quadrant masks, on every detector that has them."""
    visit = datasets.make_visit(tmp_path, mode=setup, integrations=1, target=(359.9999, 60.0), ideal=True)
    assert_star(xta.analyze(visit.science[0], centroid="oss", corrections="none"), truth_of(visit, visit.science[0]))


@pytest.fixture(scope="module")
def analyzed(nircam):
    return xta.analyze(nircam.science[0], centroid="oss", corrections="none").load()


def test_analyze_is_three_steps(nircam, analyzed):
    ds = xr.open_dataset(nircam.science[0], engine="jwst")
    ds = (
        ds.ta.attach(nircam.ta[0], oss=nircam.oss_log)
        .ta.compute_offset(centroid="oss")
        .ta.adjust_wcs(corrections="none")
    )
    xr.testing.assert_identical(ds.load(), analyzed)


def test_analyze_describes_its_variables(analyzed):
    for name, variable in analyzed.variables.items():
        assert variable.attrs.get("long_name"), name
        if variable.dtype.kind == "f":
            assert variable.attrs.get("units"), name
    assert analyzed["ta_sci"].dims == ("ta_exposure", "ta_y", "ta_x")
    tables = {"check", "error_part"}
    corrections = {name for name in model.ANALYSIS if name.startswith("correction")}
    assert not corrections & set(analyzed.variables)
    for name in model.ANALYSIS - {"wcs_original"} - corrections:
        assert name in analyzed.coords
        assert set(analyzed[name].dims) <= tables
    assert analyzed.attrs["centroid_source"] == "OSS event log"
    assert analyzed.attrs["oss_status"] == "SUCCESS"
    assert "TARGET LOCATE SUMMARY" in analyzed.attrs["oss_log"]
    assert "detector coord" in analyzed.attrs["oss_log"]
    steps = [line.split(": ")[1].split()[0].rstrip(";") for line in analyzed.attrs["history"].split("\n")]
    assert steps == ["open_exposure", "attach", "compute_offset", "adjust_wcs"]


def test_analyze_of_crop_keeps_labels(nircam, analyzed):
    """The star is not lost when the image is cropped, and cropping before or after is the same."""
    window = {"x": slice(100, 200), "y": slice(120, 230)}
    ds = xta.open_exposure(nircam.science[0]).sel(window)
    ds = ds.ta.attach(oss=nircam.oss_log).ta.compute_offset(centroid="oss").ta.adjust_wcs(corrections="none")
    xr.testing.assert_identical(ds.drop_vars("wcs").load(), analyzed.sel(window).drop_vars("wcs"))


def test_analyze_ta_exposure_by_itself(nircam, analyzed):
    ta = xta.analyze(nircam.ta[0], centroid="oss", corrections="none")
    truth = truth_of(nircam, nircam.ta[0])
    assert_star(ta, truth)
    assert ta["offset_x"].item() == analyzed["offset_x"].item()
    alone = xta.open_exposure(nircam.ta[0]).ta.compute_offset(centroid="image").ta.adjust_wcs(corrections="none")
    assert_star(alone, truth, 0.05)


def test_analyze_leaves_inputs_unchanged(nircam):
    science, ta = xta.open_exposure(nircam.science[0]).load(), xta.open_exposure(nircam.ta[0]).load()
    before = science.copy(deep=True), ta.copy(deep=True)
    attached = science.ta.attach(ta, oss=nircam.oss_log)
    attached_before = attached.copy(deep=True)
    measured = attached.ta.compute_offset(centroid="oss")
    measured_before = measured.copy(deep=True)
    measured.ta.adjust_wcs(corrections="none")
    for now, then in zip((science, ta, attached, measured), (*before, attached_before, measured_before), strict=True):
        xr.testing.assert_identical(now, then)


def test_analyze_survives_netcdf(analyzed, tmp_path):
    xta.to_netcdf(analyzed, tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as again:
        again.load()
    assert again["wcs"].item() == analyzed["wcs"].item()
    assert (
        again.ta.compute_offset(centroid="oss").ta.adjust_wcs(corrections="none")["target_x"].item()
        == analyzed["target_x"].item()
    )
    assert "source" not in again.variables
    plain = [name for name, variable in analyzed.drop_vars("source").variables.items() if variable.dtype != object]
    for name in plain:
        np.testing.assert_array_equal(again[name].values, analyzed[name].values)
    assert again.attrs == analyzed.attrs


def test_analyze_logs_units(nircam, caplog):
    with caplog.at_level(logging.INFO, logger="xta"):
        ds = xta.analyze(nircam.science[0], centroid="oss", corrections="none")
    text = caplog.text
    assert f"{float(ds['offset_ra']):.4f}, {float(ds['offset_dec']):.4f} arcsec" in text
    assert f"{float(ds['target_x']):.4f}, {float(ds['target_y']):.4f} px" in text
    assert "deg" not in text


PUBLISHED = {
    "V01386001001": {"reference": (31.5, 31.5), "oss": (32.1563, 29.52431), "tolerance": 1e-3, "sky": (0.2447, 0.3639)},
    "V01386008001": {
        "reference": (132.5, 124.5),
        "oss": (132.591458, 124.606848),
        "tolerance": 2e-3,
        "sky": (-0.1234, -0.2915),
    },
}


@pytest.mark.parametrize("visit", PUBLISHED)
def test_analyze_published_visits(shared, visit):
    """Right where the published one is, and different by the error of the analytic inverse alone."""
    folder = shared / "published" / visit
    expected = json.loads((folder / "expected.json").read_text())
    case = PUBLISHED[visit]
    ta, science = (folder / name for name in expected["files"])
    ds = xta.analyze(science, acquisition=ta, oss=folder / "osslog.csv", centroid="oss", corrections="none")
    value = {
        name: float(ds[name])
        for name in model.ANALYSIS | set(ds.coords)
        if name in ds.coords and ds[name].ndim == 0 and ds[name].dtype.kind == "f"
    }

    def pair(name):
        return value[f"{name}_x"], value[f"{name}_y"]

    def analytic(name, error):
        return tuple(a + b for a, b in zip(pair(name), pair(error), strict=True))

    assert pair("centroid") == pytest.approx(case["oss"], abs=1e-9)
    assert pair("ta_reference") == pytest.approx(case["reference"], abs=1e-9)
    assert pair("target") == pytest.approx(expected["star_exact"], abs=1e-4)
    assert analytic("target", "inverse_error") == pytest.approx(expected["star_analytic"], abs=case["tolerance"])
    printed = [float(number) for number in expected["published"]["SCI target px, adjusted"].split()]
    assert analytic("target", "inverse_error") == pytest.approx(printed, abs=case["tolerance"])
    assert analytic("ta_target", "ta_inverse_error") == pytest.approx(expected["ta_target_wcs"], abs=1e-6)
    assert analytic("offset", "ta_inverse_error") == pytest.approx(expected["offset_px"], abs=1e-6)
    assert (value["offset_east"], value["offset_north"]) == pytest.approx(case["sky"], abs=5e-5)
    assert max(abs(value["residual_x"]), abs(value["residual_y"])) < 1e-8
    assert (value["offset_ra"], value["offset_dec"]) == pytest.approx(expected["offset_radec"], abs=1e-6)
    assert (value["centroid_ra"], value["centroid_dec"]) == pytest.approx(
        [float(number) for number in expected["published"]["OSS centroid RA, Dec"].split()], abs=6e-7
    )
    # The published residual of the closed loop is the analytic inverse of the TA WCS, and nothing else.
    alone = xta.analyze(ta, oss=folder / "osslog.csv", centroid="oss", corrections="none")
    residual = [float(number) for number in expected["published"]["residual px"].split()]
    assert (float(alone["inverse_error_x"]), float(alone["inverse_error_y"])) == pytest.approx(residual, abs=5e-4)


def test_analyze_keeps_indexes_and_wcs(analyzed):
    assert sky.the_wcs(analyzed) is sky.the_wcs(analyzed)
    assert set(analyzed.xindexes) == {"integration", "x", "y", "ta_exposure", "ta_x", "ta_y", "check", "error_part"}


def test_analyze_refuses_recentered_dataset(analyzed):
    recentered = analyzed.assign_coords(star_x=149.0, star_y=173.0)
    with pytest.raises(AcquisitionError, match="recentered"):
        recentered.ta.attach()
    with pytest.raises(AcquisitionError, match="recentered"):
        recentered.ta.compute_offset(centroid="oss")
    with pytest.raises(WCSError, match="recentered"):
        recentered.ta.adjust_wcs(corrections="none")


def test_steps_in_wrong_order_are_refused(nircam):
    ds = xta.open_exposure(nircam.science[0])
    with pytest.raises(AcquisitionError, match=r"ds\.ta\.attach"):
        ds.ta.compute_offset(centroid="oss")
    with pytest.raises(MissingError, match=r"ds\.ta\.compute_offset"):
        ds.ta.attach().ta.adjust_wcs(corrections="none")


# What is computed once

FACTS = ("window_x", "window_y", "step_x", "step_y", "moved_x", "moved_y", "sam_x", "sam_y", "guider")
STORED = [f"ta_oss_{name}" for name in FACTS]

STORED = [
    f"ta_oss_{name}"
    for name in ("window_x", "window_y", "step_x", "step_y", "moved_x", "moved_y", "sam_x", "sam_y", "guider")
]


@pytest.fixture
def calls(monkeypatch):
    """Count the texts of logs that are parsed, and the windows in which a star is centroided."""
    result = {"logs": 0, "windows": []}
    columns, floating_window = osslog.columns, image.floating_window

    def counted_columns(source):
        result["logs"] += 1
        return columns(source)

    def counted_window(pixels, **options):
        result["windows"].append(options["window"])
        return floating_window(pixels, **options)

    monkeypatch.setattr(osslog, "columns", counted_columns)
    monkeypatch.setattr(image, "floating_window", counted_window)
    image._measured.cache_clear()
    return result


@pytest.mark.parametrize("centroid", ["auto", "image"])
def test_analyze_parses_log_and_centroids_star_once(nircam, calls, centroid):
    nircam.oss_log.touch()  # a file that has changed is parsed again
    for _ in range(2):
        xta.analyze(nircam.science[0], centroid=centroid, corrections="none")
    assert calls["logs"] == 1
    assert calls["windows"] == [image.WINDOW]


def test_analyze_takes_window_of_log(miri, calls):
    text = miri.oss_log.read_text()
    xta.analyze(
        miri.science[0],
        oss=text.replace("= (5, 5)", "= (7, 7)").replace("= (9, 9)", "= (7, 7)"),
        centroid="oss",
        corrections="none",
    )
    assert sorted(calls["windows"]) == [7, image.WINDOW]


def test_estimates_use_what_analyze_measured(nircam, calls):
    ds = xta.analyze(nircam.science[0], centroid="oss", corrections="none")
    calls["windows"].clear()
    ds.ta.estimates()
    assert calls["windows"] == []


def test_image_centroid_of_changed_image_is_measured_again(nircam):
    ds = xta.analyze(nircam.science[0], centroid="oss", corrections="none")
    moved = ds.assign(ta_sci=ds["ta_sci"].roll(ta_x=1))
    assert image.image_centroid(moved).x == pytest.approx(image.image_centroid(ds).x + 1, abs=1e-3)


def test_attach_stores_facts_of_log(nircam):
    ds = xta.open_exposure(nircam.science[0]).ta.attach()
    (block,) = osslog.read(nircam.oss_log).centroids()
    values = (block.n_cols, block.n_rows, block.last_dx, block.last_dy, block.moved_x, block.moved_y)
    values += (block.sam_x, block.sam_y, block.guider)
    assert tuple(ds[name].item() for name in STORED) == logged_facts(ds) == values
    for name in STORED:
        assert ds[name].dims == ("ta_exposure",)
        assert name in model.ATTRS


def test_attach_stores_window_and_step_along_det(tmp_path):
    """NIRISS logs column and row the other way round than the SIAF."""
    from xta import datasets

    visit = datasets.make_visit(tmp_path, mode="NIS_AMI1", integrations=1, ideal=True)
    text = visit.oss_log.read_text().replace("= (5, 5)", "= (5, 7)")
    ds = xta.open_exposure(visit.science[0]).ta.attach(list(visit.ta), oss=text)
    (block,) = [block for block in osslog.read(text).centroids() if block.usable][-1:]
    facts = logged_facts(ds)
    assert (facts.window_y, facts.window_x) == (block.n_cols, block.n_rows)
    assert (facts.step_y, facts.step_x) == (block.last_dx, block.last_dy)


def without(ds):
    """Return a dataset as xta 0.1 wrote it: with the lines of the log, without what they say."""
    bare = ds.drop_vars([*STORED, *identity.IDENTITY, *identity.ONBOARD], errors="ignore")
    del bare.attrs["centroid_kind"]
    return bare.reset_coords([name for name in identity.TA_IMAGES if name in bare.coords])


@pytest.mark.parametrize("visit", ["nircam", "miri"])
def test_logged_facts_of_old_dataset_come_from_its_lines(visit, request):
    ds = xta.analyze(request.getfixturevalue(visit).science[0], centroid="oss", corrections="none")
    assert logged_facts(without(ds)) == logged_facts(ds)
    again = without(ds).ta.adjust_wcs(corrections="none")
    for name in model.ADJUSTED & set(ds.variables):
        xr.testing.assert_identical(again[name].variable, ds[name].variable)


def test_old_file_is_adjusted_as_then(shared):
    with xr.open_dataset(shared / "legacy_0.1" / "analyzed.nc") as old, warnings.catch_warnings():
        warnings.simplefilter("ignore", XtaWarning)
        old.load()
        again = old.ta.adjust_wcs(corrections="none")
    assert identity.centroid_kind(old) == "oss"
    for axis in "xy":
        np.testing.assert_allclose(again[f"target_{axis}"], old[f"target_{axis}"], rtol=1e-9, atol=1e-8)
        assert again[f"target_{axis}_err"] > old[f"target_{axis}_err"]  # version 0.1 did not know of the maneuver


KINDS = {
    "oss": {"centroid": "oss"},
    "image": {"centroid": "image"},
    "manual": {"centroid": (35.0, 34.0)},
}


@pytest.mark.parametrize("kind", KINDS)
def test_centroid_kind(nircam, kind):
    ds = xta.analyze(nircam.science[0], **KINDS[kind])
    assert identity.centroid_kind(ds) == ds.attrs["centroid_kind"] == kind
    assert identity.centroid_kind(without(ds)) == kind


def test_centroid_kind_before_offset(nircam):
    ds = xta.open_exposure(nircam.science[0])
    assert identity.centroid_kind(ds) == "none"
    assert identity.centroid_kind(ds.ta.attach()) == "oss"


def test_adjust_wcs_changes_attitude_by_arcseconds(nircam):
    ds = xta.analyze(nircam.science[0], centroid="oss", corrections="none")
    before, after = (wcs.reference(wcs.load(ds[name].item())) for name in ("wcs_original", "wcs"))
    for axis in ("ra", "dec", "roll"):
        change = (after[f"{axis}_ref"] - before[f"{axis}_ref"]) * 3600
        assert abs(change) > 1e-4
        assert float(ds[f"adjust_{axis}"]) == pytest.approx(change, abs=1e-8), axis


@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_adjust_wcs_refuses_loop_open_by_more_than_a_millionth(nircam, axis, sign):
    ds = xta.open_exposure(nircam.science[0]).ta.attach().ta.compute_offset(centroid="oss")
    name = f"centroid_{axis}"
    closed = ds.assign_coords({name: ds[name] + sign * 0.9e-6}).ta.adjust_wcs(corrections="none")
    assert abs(float(closed[f"residual_{axis}"])) == pytest.approx(0.9e-6, abs=2e-8)
    with pytest.raises(WCSError, match="loop"):
        ds.assign_coords({name: ds[name] + sign * 1.1e-6}).ta.adjust_wcs(corrections="none")


@pytest.mark.parametrize("name", ["centroid_x", "centroid_y", "centroid_dec", "ta_detector"])
@pytest.mark.parametrize("change", ["dropped", "dimension"])
def test_adjust_wcs_refuses_lost_scalar(nircam, name, change):
    ds = xta.open_exposure(nircam.science[0]).ta.attach().ta.compute_offset()
    ds = ds.drop_vars(name) if change == "dropped" else ds.assign_coords({name: ("lost", [ds[name].values.item()])})
    with pytest.raises(MissingError, match=f"{name}, but .*xta.analyze"):
        ds.ta.adjust_wcs()


def test_adjust_wcs_takes_numbers_of_other_types(nircam):
    """A 0-d array of objects, as some files and merges give it."""
    ds = xta.open_exposure(nircam.science[0]).ta.attach().ta.compute_offset()
    other = ds.assign_coords(
        {name: ((), np.array(float(ds[name]), dtype=object)) for name in ("centroid_x", "centroid_ra")}
    )
    assert float(other.ta.adjust_wcs()["target_x"]) == float(ds.ta.adjust_wcs()["target_x"])


def test_compute_offset_makes_new_checks_where_their_labels_were_dropped(nircam):
    ds = xta.analyze(nircam.science[0])
    again = ds.drop_vars("check").ta.compute_offset()
    assert again["check"].values.tolist() == ds["check"].values.tolist()
