"""A row per exposure; and visits of a background, which have no star."""

import shutil

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import xta
from tests.surveys.visits import QUICK, add_spectrum, check_ecsv, product
from xta import datasets
from xta.cli import main
from xta.surveys import survey

EACH = {**QUICK, "per": "exposure"}


@pytest.fixture(scope="module")
def dithered(tmp_path_factory):
    """A visit of two exposures, whose stars differ by the dither."""
    dithers = ((0.0, 0.0), (0.02, -0.01))
    folder = tmp_path_factory.mktemp("dithered")
    return datasets.make_visit(folder, mode="nircam", integrations=1, dithers=dithers, ideal=True)


@pytest.fixture
def spoiled(dithered, tmp_path):
    """The visit with a third exposure that has no WCS and a fourth that is cut short."""
    for path in (*dithered.science, *dithered.ta, dithered.oss_log):
        shutil.copy(path, tmp_path)
    first = tmp_path / dithered.science[0].name
    add_spectrum(first, first.with_name(first.name.replace("_00001_", "_00003_")))
    first.with_name(first.name.replace("_00001_", "_00004_")).write_bytes(first.read_bytes()[:300_000])
    return tmp_path


def as_background(folder, number):
    """Make a visit one of a background field, without acquisition; give the name of its exposure."""
    from astropy.io import fits

    product(folder, number, "cal").unlink()
    path = product(folder, number, "calints")
    fits.setval(path, "BKGDTARG", value=True)
    return path.name


def test_survey_per_exposure_finds_each_star(dithered):
    ds = survey(dithered.science[0].parent, **EACH)
    assert ds.sizes["exposure"] == 2
    for path in dithered.science:
        row, truth = ds.sel(exposure=path.name), dithered.truth.sel(file=path.name)
        assert (row["ok"].item(), row["visit"].item()) == (1, dithered.visit_id)
        for axis in ("x", "y"):
            assert float(row[f"target_{axis}"]) == pytest.approx(float(truth[f"star_{axis}"]), abs=1e-4)
    assert np.ptp(ds["target_x"].values) > 0.1
    assert ds.attrs["title"].endswith("one row per exposure")


def test_survey_per_exposure_first_row_is_that_of_visit(dithered):
    folder = dithered.science[0].parent
    options = {**QUICK, "estimates": True}
    visit, each = survey(folder, **options), survey(folder, per="exposure", **options)
    row = each.isel(exposure=0).drop_vars(["exposure", "visit"])
    expected = visit.isel(visit=0).drop_vars(["filename", "visit"])
    xr.testing.assert_identical(row.drop_attrs(), expected.drop_attrs())


def test_survey_per_exposure_that_fails_does_not_stop_others(spoiled, dithered, tmp_path):
    ds = survey(spoiled, **EACH)
    assert [name[19:26] for name in ds["exposure"].values] == ["_00001_", "_00003_", "_00004_", "_00002_"]
    assert ds["ok"].values.tolist() == [1, 2, 0, 1]
    assert "imaging WCS" in ds["reason"].values[1]
    assert ds["exposure"].values[2] in ds["reason"].values[2]
    assert np.isnan(ds["target_x"].values[1:3]).all()
    assert np.isfinite(ds["offset_x"].values[[0, 1, 3]]).all()
    check_ecsv(ds, tmp_path / "a.ecsv")
    xta.to_netcdf(ds, tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as again:
        xr.testing.assert_identical(again.load(), ds)


def test_survey_per_exposure_with_foreign_wcs_does_not_stop_others(dithered, tmp_path):
    """The header of one exposure is of another pointing than its WCS."""
    from astropy.io import fits

    for path in (*dithered.science, *dithered.ta, dithered.oss_log):
        shutil.copy(path, tmp_path)
    first, second = (tmp_path / path.name for path in dithered.science)
    fits.setval(first, "RA_REF", value=fits.getval(first, "RA_REF", "SCI") + 1e-3, ext=("SCI", 1))
    ds = survey(tmp_path, **EACH)
    assert ds["ok"].sel(exposure=[first.name, second.name]).values.tolist() == [0, 1]
    assert "disagrees with its header" in ds["reason"].sel(exposure=first.name).item()
    truth = dithered.truth.sel(file=second.name)
    assert float(ds["target_x"].sel(exposure=second.name)) == pytest.approx(float(truth["star_x"]), abs=1e-4)


def test_survey_per_exposure_of_failed_visit(two):
    product(two, 0, "cal").unlink()
    (two / "visit1" / product(two, 1, "calints").name).unlink()
    ds = survey(two, **EACH)
    assert ds["ok"].values.tolist() == [0, 2]
    assert ds["exposure"].values[0] == product(two, 0, "calints").name
    assert "no TA exposure" in ds["reason"].values[0]
    assert ds["visit"].values.tolist() == ["10000001001", "10001001001"]


def test_survey_resume_does_not_mix_rows(two, tmp_path):
    store = tmp_path / "rows.jsonl"
    visits, exposures = survey(two, resume=store, **QUICK), survey(two, resume=store, **EACH)
    assert (visits["ok"].dims, exposures["ok"].dims) == (("visit",), ("exposure",))
    kept = store.read_bytes()
    xr.testing.assert_identical(survey(two, resume=store, **EACH), exposures)
    assert store.read_bytes() == kept


@pytest.mark.parametrize("per", ["visit", "exposure"])
def test_survey_background_is_no_failure(two, tmp_path, per):
    name = as_background(two, 0)
    ds = survey(two, **QUICK, per=per)
    assert ds["ok"].values.tolist() == [3, 1]
    assert ds["reason"].values[0].startswith("a background")
    assert (ds["filter"].values[0], ds["exposure" if per == "exposure" else "filename"].values[0]) == ("F444W", name)
    assert np.isnan(ds["target_x"].values[0])
    assert "3: background" in check_ecsv(ds, tmp_path / "a.ecsv")["ok"].description
    store = tmp_path / "rows.jsonl"
    survey(two, resume=store, **QUICK, per=per)
    kept = store.read_bytes()
    survey(two, resume=store, **QUICK, per=per)
    assert store.read_bytes() == kept


def test_survey_background_that_cannot_be_read(two):
    as_background(two, 0)
    path = product(two, 0, "calints")
    path.write_bytes(path.read_bytes()[:300_000])
    ds = survey(two, **QUICK)
    assert ds["ok"].values.tolist() == [0, 1]
    assert path.name in ds["reason"].values[0]


def test_survey_command_counts_background(two, tmp_path):
    name = as_background(two, 0)
    product(two, 1, "cal").unlink()
    arguments = ["survey", str(two), "--offline", "--workers", "1", "--no-estimates", "--per", "exposure"]
    done = CliRunner().invoke(main, [*arguments, "-o", str(tmp_path / "a.nc")])
    assert done.exit_code == 0, done.output
    assert "2 exposures: 0 with a star, 0 with an offset only, 1 of a background, 1 failed" in done.stdout
    assert name not in done.stderr
    assert f"{product(two, 1, 'calints').name}: no TA exposure" in done.stderr
