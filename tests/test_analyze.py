"""What an analysis computes, it computes once, and stores for later steps; datasets of xta 0.1 lack some of it."""

import warnings

import numpy as np
import pytest
import xarray as xr

import xta
from xta import model, osslog
from xta.acquisition import budget, image
from xta.acquisition.pair import logged_facts
from xta.errors import XtaWarning

STORED = [f"ta_oss_{name}" for name in ("window_x", "window_y", "step_x", "step_y", "sam_x", "sam_y", "guider")]


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
    xta.analyze(nircam.science[0], centroid=centroid)
    assert calls["logs"] == 1
    assert sorted(calls["windows"]) == [budget.SMALL_WINDOW, image.WINDOW]


def test_analyze_takes_window_of_log(miri, calls):
    text = miri.oss_log.read_text()
    xta.analyze(miri.science[0], oss=text.replace("= (5, 5)", "= (7, 7)").replace("= (9, 9)", "= (7, 7)"))
    assert sorted(calls["windows"]) == [budget.SMALL_WINDOW, 7, image.WINDOW]


def test_estimates_use_what_analyze_measured(nircam, calls):
    ds = xta.analyze(nircam.science[0])
    calls["windows"].clear()
    ds.ta.estimates()
    assert calls["windows"] == []


def test_image_centroid_of_changed_image_is_measured_again(nircam):
    ds = xta.analyze(nircam.science[0])
    moved = ds.assign(ta_sci=ds["ta_sci"].roll(ta_x=1))
    assert image.image_centroid(moved).x == pytest.approx(image.image_centroid(ds).x + 1, abs=1e-3)


def test_attach_stores_facts_of_log(nircam):
    ds = xta.open_exposure(nircam.science[0]).ta.attach()
    (block,) = osslog.read(nircam.oss_log).centroids()
    values = (block.n_cols, block.n_rows, block.last_dx, block.last_dy, block.sam_x, block.sam_y, block.guider)
    assert tuple(ds[name].item() for name in STORED) == logged_facts(ds) == values
    for name in STORED:
        assert ds[name].dims == ("ta_exposure",)
        assert name in model.ATTRS


def test_attach_stores_window_and_step_along_det(tmp_path):
    """NIRISS logs column and row the other way round than the SIAF."""
    from xta import datasets

    visit = datasets.make_visit(tmp_path, mode="NIS_AMI1", integrations=1)
    text = visit.oss_log.read_text().replace("= (5, 5)", "= (5, 7)")
    ds = xta.open_exposure(visit.science[0]).ta.attach(list(visit.ta), oss=text)
    (block,) = [block for block in osslog.read(text).centroids() if block.usable][-1:]
    facts = logged_facts(ds)
    assert (facts.window_y, facts.window_x) == (block.n_cols, block.n_rows)
    assert (facts.step_y, facts.step_x) == (block.last_dx, block.last_dy)


def without(ds):
    """Return a dataset as xta 0.1 wrote it: with the lines of the log, without what they say."""
    bare = ds.drop_vars(STORED)
    del bare.attrs["centroid_kind"]
    return bare


@pytest.mark.parametrize("visit", ["nircam", "miri"])
def test_logged_facts_of_old_dataset_come_from_its_lines(visit, request):
    ds = xta.analyze(request.getfixturevalue(visit).science[0])
    assert logged_facts(without(ds)) == logged_facts(ds)
    again = without(ds).ta.adjust_wcs()
    for name in model.ADJUSTED:
        xr.testing.assert_identical(again[name].variable, ds[name].variable)


def test_old_file_is_adjusted_as_then(shared):
    with xr.open_dataset(shared / "legacy_0.1" / "analyzed.nc") as old, warnings.catch_warnings():
        warnings.simplefilter("ignore", XtaWarning)
        old.load()
        again = old.ta.adjust_wcs()
    assert model.centroid_kind(old) == "oss"
    for name in ("target_x", "target_x_err", "target_x_err_part"):
        np.testing.assert_allclose(again[name], old[name], rtol=1e-9, atol=1e-8)


KINDS = {
    "oss": {},
    "image": {"centroid": "image"},
    "manual": {"centroid": (35.0, 34.0)},
}


@pytest.mark.parametrize("kind", KINDS)
def test_centroid_kind(nircam, kind):
    ds = xta.analyze(nircam.science[0], **KINDS[kind])
    assert model.centroid_kind(ds) == ds.attrs["centroid_kind"] == kind
    assert model.centroid_kind(without(ds)) == kind


def test_centroid_kind_before_offset(nircam):
    ds = xta.open_exposure(nircam.science[0])
    assert model.centroid_kind(ds) == "none"
    assert model.centroid_kind(ds.ta.attach()) == "oss"
