"""Field sources: the maneuver that they show, against the truth of sample visits, and sources at two rolls."""

import numpy as np
import pytest
import xarray as xr

import xta
from tests.stars import truth_of
from xta import datasets
from xta.errors import ArgumentError, CentroidError
from xta.estimates import sources
from xta.geometry import siaf


@pytest.fixture(scope="module")
def visit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("confirmed")
    return datasets.make_visit(folder, confirm="pair", field=60, integrations=1, seed=1, wavefront=1)


@pytest.fixture(scope="module")
def images(visit):
    return [xta.open_exposure(path) for path in visit.ta[1:]]


@pytest.fixture(scope="module")
def measured(images):
    return xta.measure_maneuver(*images)


def moved(visit):
    """By how much the field is off in the image behind the mask: the maneuver and the way, by the SIAF [pixel]."""
    row = visit.truth.sel(file=visit.ta[2].name)
    ap = siaf.aperture("NIRCAM", "NRCA5_FULL_MASK335R", "PRDOPSSOC-063")
    x, y = float(row["star_x"]), float(row["star_y"])
    v2, v3 = siaf.convert(ap, x, y, "pixel", "tel")
    v2, v3 = (v + float(row[f"maneuver_{name}"] - row[f"way_{name}"]) for v, name in ((v2, "v2"), (v3, "v3")))
    return np.subtract(siaf.tel_to_pixel(ap, v2, v3), (x, y))


def test_measure_maneuver_finds_what_no_header_says(visit, measured):
    truth = moved(visit)
    assert np.hypot(*truth) > 0.1
    errors = np.array([measured["dx_err"].item(), measured["dy_err"].item()])
    assert (errors * 62.5 < 1).all()
    assert np.abs((np.array([measured["dx"].item(), measured["dy"].item()]) - truth) / errors).max() < 3
    pulls = [(measured[f"source_d{axis}"] - truth[k]) / measured[f"source_d{axis}_err"] for k, axis in enumerate("xy")]
    assert 0.7 < np.std(pulls) < 1.3
    assert measured.attrs == {"visit_id": visit.visit_id, "detector": "NRCALONG", "pixel_scale": measured.pixel_scale}


def test_measure_maneuver_refuses_what_is_no_pair(images):
    before, after = images
    with pytest.raises(ArgumentError, match="filter"):
        xta.measure_maneuver(before, after.assign_coords(filter="F444W"))
    with pytest.raises(CentroidError, match="sources"):
        xta.measure_maneuver(before, after.assign(sci=0 * after["sci"] + 1.0))


def test_mean_leaves_a_source_out_that_contradicts_the_others():
    shifts = np.array([[0.1, 0.2], [0.11, 0.19], [0.09, 0.21], [0.5, 0.2]])
    mean, error, used = sources._mean(shifts, np.full((4, 2), 0.02))
    assert used.tolist() == [1, 1, 1, 0]
    assert mean == pytest.approx([0.1, 0.2])
    assert error == pytest.approx(0.02 / np.sqrt(3))


def test_solve_knows_a_measured_maneuver(visit, measured):
    before = xta.analyze(visit.science[0], offline=True)
    (after,) = xta.solve([before], maneuvers={visit.visit_id: measured})
    truth = truth_of(visit, visit.science[0])
    errors = [[float(ds[f"target_{axis}_err"]) for axis in "xy"] for ds in (before, after)]
    # What is left is the centroid, the filter and the way.
    part = before.sel(error_part=["centroid", "filter", "way"])
    rest = [float(np.sqrt((part[f"target_{axis}_err_part"] ** 2).sum())) for axis in "xy"]
    assert np.less(errors[1], errors[0]).all()
    assert errors[1] == pytest.approx(rest, rel=0.15)
    assert (np.abs(np.subtract([after["target_x"], after["target_y"]], truth)) < 3 * np.array(errors[1])).all()
    table = xta.solution([after])
    assert table["observation_kind"].values.tolist() == ["prediction", "maneuver"]
    assert (table["observation_used"] == 1).all()
    with pytest.raises(ArgumentError, match="no exposure depends"):
        xta.solve([before], maneuvers={"01234001001": measured})
    with pytest.raises(ArgumentError, match="NRCBLONG"):
        xta.solve([before], maneuvers={visit.visit_id: measured.assign_attrs(detector="NRCBLONG")})


@pytest.mark.heavy
def test_program_measures_its_maneuvers(visit):
    with xta.open_program(visit.science[0].parent) as program:
        table = xta.solution(program.ta.analyze(offline=True).ta.solve())
    assert f"maneuver {visit.visit_id}" in table["observation"].values


@pytest.fixture(scope="module")
def rolls(tmp_path_factory):
    folder = tmp_path_factory.mktemp("field")
    visits = [
        datasets.make_visit(
            folder / str(k), visit_id=f"0999100{k + 1}001", roll=110 + 8 * k, field=500, integrations=2, seed=k
        )
        for k in (0, 1)
    ]
    exposures = [xta.analyze(visit.science[0], offline=True) for visit in visits]
    return exposures, np.array([truth_of(visit, visit.science[0]) for visit in visits])


def test_find_sources_makes_stars_better_known(rolls):
    exposures, truth = rolls
    seen = xta.find_sources(exposures)
    assert len(seen) >= 3
    names = [ds["filename"].item() for ds in exposures]
    assert all(list(each) == names for each in seen.values())
    plain, sourced = xta.solve(exposures), xta.solve(exposures, sources=seen)
    stars, errors = (
        np.array([[float(ds[f"target_{axis}{end}"]) for axis in "xy"] for ds in sourced]) for end in ("", "_err")
    )
    assert (errors < [[float(ds[f"target_{axis}_err"]) for axis in "xy"] for ds in plain]).all()
    assert np.abs((stars - truth) / errors).max() < 3
    used = xta.solution(sourced)["observation_used"]  # a blend of two stars is not one place
    assert (used == 0).sum() <= len(seen) / 4


def test_find_sources_of_one_exposure_finds_none_twice(rolls):
    assert xta.find_sources(rolls[0][:1]) == {}


def test_source_table_is_documented(measured):
    assert isinstance(measured, xr.Dataset)
    assert all(measured[name].attrs["units"] for name in measured.data_vars)
