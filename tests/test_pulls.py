"""The star by default, on visits whose instrument does what a real one does beyond the WCS: errors against pulls."""

import json

import numpy as np
import pytest
import xarray as xr

import xta
from xta import datasets
from xta.datasets.instrument import GENERIC

MASKS = ("NRCA5_MASK335R", "NRCA2_MASK210R", "NRCA5_MASKLWB", "MIRIM_MASK1140", "MIRIM_MASK1550", "MIRIM_MASKLYOT")
VISITS = 102
"""Each of a telescope of its own, with other filter shifts, way, center of light and maneuver: all are independent."""


def pull(visit, **options):
    ds = xta.analyze(visit.science[0], **options)
    row = visit.truth.sel(file=visit.science[0].name)
    return np.array([float((ds[f"target_{axis}"] - row[f"star_{axis}"]) / ds[f"target_{axis}_err"]) for axis in "xy"])


@pytest.mark.heavy
def test_pulls_of_default_star(tmp_path):
    """Mean 0 within 0.2, scatter 0.8 to 1.25, and 60 to 76 % within one error, over 102 visits of 6 masks."""
    pulls, beside = [], []
    for k in range(VISITS):
        visit = datasets.make_visit(
            tmp_path / str(k),
            mode=MASKS[k % len(MASKS)],
            integrations=1,
            wavefront=1000 + k,
            seed=k,
            filter_offset=("mask", "generic", "none")[k // 6 % 3],
            prd=("PRDOPSSOC-063", "PRDOPSSOC-075")[k // 6 % 2],
        )
        pulls.append(pull(visit))
        if k % len(MASKS) == 0:  # the published method on NIRCam, in errors of the default
            plain, ds = (
                xta.analyze(visit.science[0], **how) for how in ({"centroid": "oss", "corrections": "none"}, {})
            )
            row = visit.truth.sel(file=visit.science[0].name)
            beside.append([float((plain[f"target_{k}"] - row[f"star_{k}"]) / ds[f"target_{k}_err"]) for k in "xy"])
    assert np.sqrt(np.mean(np.square(beside))) > 1.25
    assert abs(np.mean(beside, axis=0)[0]) > 1  # all visits are off along the same way
    pulls = np.array(pulls)
    coverage = float(np.mean(np.abs(pulls) <= 1))
    print(f"{len(pulls)} visits: mean {pulls.mean(0)}, scatter {pulls.std():.2f}, {coverage:.0%} within one error")
    assert len(pulls) >= 100
    assert np.abs(pulls.mean(axis=0)) == pytest.approx(0, abs=0.2)
    assert 0.8 <= pulls.std() <= 1.25
    assert 0.60 <= coverage <= 0.76


@pytest.fixture(scope="module", params=["nircam", "miri"])
def program(request, tmp_path_factory):
    return datasets.make_program(tmp_path_factory.mktemp(request.param), mode=request.param)


def test_default_star_is_within_its_errors(program):
    """And the one by the WCS alone is not as good: the shift of the filter is missing."""
    pulls = np.array([pull(visit) for visit in program.visits])
    assert np.abs(pulls).max() < 4
    ds = xta.analyze(program.science[0])
    plain = xta.analyze(program.science[0], centroid="oss", corrections="none")
    assert plain["target_y_err"] > ds["target_y_err"]


def test_truth_says_what_was_injected(program):
    truth = xr.Dataset.from_dict(json.loads((program.folder / "truth.json").read_text()))
    science = truth.isel(file=(truth["kind"] == "science").values)
    acquired = truth.isel(file=(truth["kind"] == "ta").values)
    # The maneuver is of the visit; filter and center of light are of the telescope.
    assert len(np.unique(science["maneuver_v2"])) == 3
    assert len(np.unique(science["filter_shift_x"])) == 1
    assert len(np.unique(acquired["light_x"])) == 1
    assert (science["filter_shift_y"] != 0).all()
    assert (acquired["light_x"] != 0).all()
    assert (science["light_x"] == 0).all()


def test_star_is_where_the_terms_put_it(program):
    """With the truth of each term taken off, what is left is noise of the acquisition image."""
    for visit in program.visits:
        row = visit.truth.sel(file=visit.science[0].name)
        last = visit.truth.isel(file=np.flatnonzero(visit.truth["kind"].values == "ta")[-1])
        ds = xta.open_exposure(visit.science[0]).ta.attach()
        truth = tuple(float(last[f"star_{axis}"]) for axis in "xy")
        ds = ds.ta.compute_offset(centroid=truth).ta.adjust_wcs()
        star = np.array([float(ds[f"target_{axis}"] - row[f"star_{axis}"]) for axis in "xy"])
        filters = [float(row[f"filter_shift_{axis}"]) for axis in "xy"]
        made = ds.sel(correction="filter")
        # What the WCSs contain of the filter is corrected for too; by the table the two add up to its shift.
        contained = np.array([float(row["star_x"]), float(row["star_y"])])
        assert np.isfinite(contained).all()
        scale = 1e3 * float(ds["target_x_err_mas"] / ds["target_x_err"]) / 1e6
        maneuver = np.hypot(float(row["maneuver_v2"]), float(row["maneuver_v3"])) / scale
        shift = [float(made[f"correction_{axis}"]) for axis in "xy"]
        assert np.hypot(*star) < maneuver + np.hypot(*(np.abs(filters) + np.abs(shift))) + 0.2


def test_filter_offsets_of_old_and_new_products_give_one_star(tmp_path):
    stars = {}
    for kind in ("mask", "generic", "none"):
        visit = datasets.make_visit(tmp_path / kind, mode="miri", integrations=1, filter_offset=kind)
        for corrections in ("all", "none"):
            ds = xta.analyze(visit.science[0], centroid="oss", corrections=corrections)
            stars[kind, corrections] = np.array([float(ds["target_x"]), float(ds["target_y"])])
    for kind in ("generic", "none"):
        assert stars[kind, "all"] == pytest.approx(stars["mask", "all"], abs=0.005)
        assert np.hypot(*(stars[kind, "none"] - stars["mask", "none"])) > 0.5
    contained = np.subtract(GENERIC["F1140C"], GENERIC["FND"])
    assert stars["generic", "none"] - stars["none", "none"] == pytest.approx(-contained, abs=0.01)


def test_onboard_software_centroids_the_rendered_image(tmp_path):
    """The last step in the log is below the threshold, and the difference is what was injected and an early stop."""
    visit = datasets.make_visit(tmp_path, integrations=1, seed=3)
    ds = xta.open_exposure(visit.science[0]).ta.attach().ta.compute_offset()
    assert 0 < ds["ta_oss_step_x"].item() < 0.1
    row = visit.truth.sel(file=visit.ta[-1].name)
    for axis in "xy":
        assert ds[f"centroid_difference_{axis}"] == pytest.approx(float(row[f"onboard_{axis}"]), abs=0.03)
        assert ds[f"centroid_{axis}"] - row[f"star_{axis}"] == pytest.approx(float(row[f"light_{axis}"]), abs=0.05)


def test_ideal_visit_has_no_terms(tmp_path):
    visit = datasets.make_visit(tmp_path, integrations=1, ideal=True)
    for name in ("filter_shift_x", "way_v2", "maneuver_v2", "light_x", "onboard_x"):
        assert (visit.truth[name] == 0).all()
