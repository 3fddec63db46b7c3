"""The joint solution: against the truth of samples, and against observations that are wrong."""

import json
import math

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from matplotlib import pyplot as plt
from numpy.polynomial import legendre

import xta
from tests.stars import truth_of
from xta import datasets, model
from xta.cli import main
from xta.errors import ArgumentError, MissingError, RecenterError, XtaWarning
from xta.estimates import registration, solve
from xta.estimates.adjustment import Observation, adjust
from xta.geometry import sky, wcs

UNIT = np.eye(2)


def measured(value, own, common, group, unknown=0):
    sources = {f"own {group}": own * UNIT, "common": common * UNIT}
    return Observation(np.array([value, -value]), {unknown: UNIT}, sources, group)


def test_adjust_averages_own_errors_and_not_common_ones():
    values = [0.1, -0.2, 0.3, 0.2]
    result = adjust([measured(value, 0.2, 0.5, str(k)) for k, value in enumerate(values)], 1)
    assert result.values[0] == pytest.approx([np.mean(values), -np.mean(values)])
    assert result.covariance == pytest.approx((0.2**2 / 4 + 0.5**2) * np.eye(2))
    assert result.degrees == 6
    assert result.chi2 == pytest.approx(2 * np.sum((np.array(values) - 0.1) ** 2) / 0.2**2)
    assert result.leverage == pytest.approx(4 * [0.25])


def test_adjust_names_an_outlier_and_keeps_the_others():
    observations = [measured(value, 0.1, 0.3, str(k)) for k, value in enumerate((0.05, -0.05, 0.02, 2.0))]
    result = adjust(observations, 1)
    assert result.used.tolist() == [True, True, True, False]
    assert result.tests[3] > 100 > 13.8 > result.tests[:3].max()
    assert result.values[0, 0] == pytest.approx(0.02 / 3)
    assert not result.twins


def test_adjust_does_not_choose_between_two():
    result = adjust([measured(value, 0.1, 0, str(k)) for k, value in enumerate((0.0, 2.0))], 1)
    assert result.used.all()
    assert sorted(result.twins[0]) == ["0", "1"]


def test_adjust_rejects_either_of_two_where_it_makes_no_difference():
    """Two observations of a field source that tells nothing of the star without both of them."""
    seen = [
        Observation(np.full(2, 2.5), {0: UNIT, 1: side * UNIT}, {f"{side}": 0.01 * UNIT}, f"{side}") for side in (1, -1)
    ]
    stars = [measured(value, 0.1, 0.0, str(value)) for value in (0.0, 0.1)]
    result = adjust([*stars, *seen], 2, wanted=1)
    assert result.used.tolist() in ([True, True, True, False], [True, True, False, True])
    assert result.values[0] == pytest.approx([0.05, -0.05])
    assert not result.twins
    assert adjust([*stars, *seen], 2).twins  # where the source itself matters, nothing tells which is wrong


def test_adjust_refuses_what_is_not_determined():
    with pytest.raises(ArgumentError, match="determine"):
        adjust([measured(0.0, 0.1, 0, "0")], 2)


@pytest.fixture(scope="module")
def solved(rolls):
    return xta.solve(rolls[0])


def stars(exposures):
    return np.array([[float(ds["target_x"]), float(ds["target_y"])] for ds in exposures])


def errors(exposures):
    return np.array([[float(ds["target_x_err"]), float(ds["target_y_err"])] for ds in exposures])


def test_joint_stars_are_within_their_errors(rolls, solved):
    before, truth = rolls
    assert (errors(solved) < errors(before)).all()
    assert np.abs((stars(solved) - truth) / errors(solved)).max() < 3
    relative = (stars(solved) - stars(solved)[0] - truth + truth[0]) * 62.5
    assert np.abs(relative).max() < 2
    table = xta.solution(solved)
    assert table["observation_kind"].values.tolist() == 3 * ["prediction"] + 3 * ["registration"]
    assert (table["observation_used"] == 1).all()
    assert table["observation_weight"].sum().item() == pytest.approx(3, abs=1e-6)
    assert table.attrs["degrees"] == 6
    # Stars of one telescope are wrong together.
    covariance = table["star_covariance"].values
    assert covariance[0, 2] / math.sqrt(covariance[0, 0] * covariance[2, 2]) > 0.99


def test_solve_moves_star_wcs_and_budget(rolls, solved):
    for before, after in zip(rolls[0], solved, strict=True):
        x, y = wcs.world_to_pixel(sky.the_wcs(after), float(after["target_ra"]), float(after["target_dec"]))
        assert (float(x), float(y)) == pytest.approx((float(after["target_x"]), float(after["target_y"])), abs=1e-6)
        assert float(after["prior_x"]) == float(before["target_x"])
        assert float(after["prior_x_err"]) == float(before["target_x_err"])
        assert after["error_part"].values.tolist() == ["joint solution"]
        assert "solve; star at" in after.attrs["history"]
        assert "prior_x" not in before.coords
    again = solved[0].ta.adjust_wcs()  # leaves nothing of the joint solution behind
    assert again["target_x"].item() == pytest.approx(rolls[0][0]["target_x"].item(), abs=1e-9)
    assert not model.SOLVED & set(again.variables)
    assert not model.SOLVED & set(solved[0].ta.set_star(150, 174, source="by hand").variables)
    centered = solved[0].ta.recenter(size=41)
    assert float(centered["star_x"]) == float(solved[0]["target_x"])
    again = xta.solve(solved)  # a star that is known jointly is one more prediction of its own
    assert stars(again) == pytest.approx(stars(solved), abs=0.02)


def test_solve_takes_stacks_and_files(rolls, solved, tmp_path):
    stack = xta.stack(rolls[0][:2])
    joint = xta.solve(stack)
    pair = xta.solve(rolls[0][:2])
    assert joint["target_x"].values == pytest.approx(stars(pair)[:, 0], abs=1e-9)
    assert xta.solution(joint).attrs == xta.solution(pair).attrs
    xta.to_netcdf(solved[0], tmp_path / "solved.nc")
    with xr.open_dataset(tmp_path / "solved.nc") as ds:
        xr.testing.assert_allclose(xta.solution(ds), xta.solution(solved))
        assert ds.ta.recenter(size=21)["star_x"].item() == pytest.approx(stars(solved)[0, 0])


def moved(ds, dx, dy):
    return ds.assign_coords(target_x=ds["target_x"] + dx, target_y=ds["target_y"] + dy)


def test_visit_that_is_off_is_named_and_left_out(rolls, solved):
    """One visit 40 mas off its prediction."""
    exposures, truth = rolls
    wrong = xta.solve([exposures[0], moved(exposures[1], 0.64, 0.0), exposures[2]])
    table = xta.solution(wrong)
    (name,) = table["observation"].values[table["observation_used"].values == 0]
    assert name == exposures[1]["filename"].item()
    assert "chi-square" in table.sel(observation=name)["observation_reason"].item()
    pair = xta.solve([exposures[0], exposures[2]])
    assert stars(wrong)[[0, 2]] == pytest.approx(stars(pair), abs=0.003)
    assert np.abs(stars(wrong)[1] - stars(wrong)[0] - truth[1] + truth[0]).max() < 0.03


def test_registration_that_is_wrong_is_named_and_left_out(rolls, solved, monkeypatch):
    """One that locked on the mask: it says that the star did not move."""

    def locked(exposures, **options):
        found = registration.pairs(exposures, **options)
        return found | {(1, 0): registration.Pair(**{**vars(found[1, 0]), "dx": 0.0, "dy": 0.0})}

    monkeypatch.setattr(solve, "pairs", locked)
    wrong = xta.solve(rolls[0])
    table = xta.solution(wrong)
    rejected = table["observation"].values[table["observation_used"].values == 0]
    first, second, _ = (ds["filename"].item() for ds in rolls[0])
    assert rejected.tolist() == [f"{second} - {first}"]
    assert stars(wrong) == pytest.approx(stars(solved), abs=0.01)


def test_two_visits_that_contradict_each_other_warn(rolls):
    with pytest.warns(XtaWarning, match="contradict"):
        xta.solve([rolls[0][0], moved(rolls[0][1], 1.0, 0.0)])


def test_unknown_error_is_found_by_registration(rolls):
    exposures, truth = rolls
    by_hand = exposures[2].ta.set_star(150.0, 174.0, source="a guess")
    joint = xta.solve([*exposures[:2], by_hand])
    assert np.abs((stars(joint) - truth) / errors(joint)).max() < 3
    with pytest.raises(MissingError, match="registration"):
        xta.solve([by_hand])


def test_more_observations_help(rolls, solved):
    """Aims, a source that was seen at two rolls, and a model of the star."""
    exposures, truth = rolls
    aimed = xta.solve(exposures, mask=True)
    assert (errors(aimed) <= errors(solved) + 1e-9).all()
    names = [ds["filename"].item() for ds in exposures]
    seen = {}
    for k in (0, 1):  # where the companion truly is, relative to the true star
        gwcs, shift = sky.the_wcs(exposures[k]), truth[k] - stars(exposures)[k]
        east, north = 1.2 * math.sin(math.radians(200)), 1.2 * math.cos(math.radians(200))
        dec = float(exposures[k]["target_dec"]) + north / 3600
        ra = float(exposures[k]["target_ra"]) + east / 3600 / math.cos(math.radians(dec))
        x, y = (float(value) for value in wcs.world_to_pixel(gwcs, ra, dec))
        seen[names[k]] = (x + shift[0], y + shift[1], 0.002, 0.002)
    sourced = xta.solve(exposures, sources={"companion": seen})
    assert (errors(sourced) < errors(solved)).all()
    assert np.abs(stars(sourced) - truth).max() < np.abs(stars(solved) - truth).max()
    with pytest.raises(ArgumentError, match=r"other\.fits"):
        xta.solve(exposures, sources={"companion": {"other.fits": (1, 2, 0.1, 0.1)}})


def test_solve_refuses_what_it_cannot_use(rolls):
    exposures, _ = rolls
    with pytest.raises(ArgumentError, match="no exposure"):
        xta.solve([])
    with pytest.raises(ArgumentError, match="twice"):
        xta.solve([exposures[0], exposures[0]])
    with pytest.raises(RecenterError, match="before recenter"):
        xta.solve([exposures[0].ta.recenter(size=41)])
    with pytest.raises(MissingError):
        xta.solve([exposures[0].drop_vars("target_x")])
    with pytest.raises(MissingError, match=r"xta\.solve"):
        xta.solution(exposures)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return datasets.make_program(tmp_path_factory.mktemp("solve")).folder


def test_program_is_solved(folder, tmp_path):
    truth = xr.Dataset.from_dict(json.loads((folder / "truth.json").read_text()))
    with xta.open_program(folder) as program:
        tree = program.ta.analyze(offline=True).ta.solve()
        for ds in solve.solved_exposures(tree):
            row = truth.sel(file=ds["filename"].item())
            assert abs(float(ds["target_x"] - row["star_x"])) < 3 * float(ds["target_x_err"])
        assert len(xta.solution(tree)["observation"]) == 6
        assert "observation" not in tree["F444W/science"].children[next(iter(tree["F444W/science"].children))].dims
        xta.to_netcdf(tree, tmp_path / "program.nc")
        ellipses = xta.plot.joint(tree)
        assert len(ellipses) == 3
        plt.close("all")
        image = tree["F444W"].ta.klip(numbasis=[1])
        assert float(image["target_x_err"]) < 0.2
    with xr.open_datatree(tmp_path / "program.nc") as again:
        assert xta.solution(again).attrs["degrees"] == 6


def test_solve_command(folder, tmp_path):
    run = CliRunner().invoke(
        main, ["solve", str(folder), "--offline", "-o", str(tmp_path / "s.nc"), "--plot", str(tmp_path / "s.png")]
    )
    assert run.exit_code == 0, run.output
    assert "chi-square" in run.stdout
    assert (tmp_path / "s.nc").exists()
    assert (tmp_path / "s.png").stat().st_size > 10_000
    run = CliRunner().invoke(main, ["solve", str(folder), "--offline", "--json"])
    result = json.loads(run.stdout)
    assert len(result["stars"]) == 3
    assert len(result["observations"]) == 6
    assert np.shape(result["star_covariance"]) == (6, 6)
    bad = CliRunner().invoke(main, ["solve", str(folder), "-o", "s.fits"])
    assert bad.exit_code == 2
    empty = CliRunner().invoke(main, ["solve", str(tmp_path / "nowhere"), "--offline"])
    assert empty.exit_code == 1
    assert "nowhere" in empty.stderr


def test_real_image_of_a_star_behind_the_mask_is_a_template(rolls, shared):
    """WebbPSF with the wavefront that was measured on 2022-07-30, as Legendre series in wavelength."""
    from astropy.io import fits

    with fits.open(next((shared / "real" / "psf").glob("*legendre.fits"))) as hdus:
        series, first, last = hdus[0].data, hdus[0].header["WAVE1"], hdus[0].header["WAVE2"]
    red, blue = (
        legendre.legval(np.interp(waves, [first, last], [-1, 1]), series).mean(axis=-1)
        for waves in (np.linspace(3.2, 3.5, 9), np.linspace(3.2, 3.4, 9))
    )
    exposure = rolls[0][0]
    column, row, half = 152, 171, red.shape[0] // 2
    sky_level, noise = exposure["sci"].median(), exposure["err"].median()
    image = np.random.default_rng(5).normal(float(sky_level), float(noise), exposure["sci"].shape)
    image[:, row - half : row + half + 1, column - half : column + half + 1] += 2e7 * blue
    seen = exposure.assign(sci=(exposure["sci"].dims, image)).ta.set_star(
        column + 0.25, row - 0.2, x_err=0.2, y_err=0.2, source="by eye"
    )
    (joint,) = xta.solve([seen], template=red)
    table = xta.solution([joint])
    assert table["observation_kind"].values.tolist() == ["prediction", "template"]
    by_template = [table[f"observation_{axis}"].values[1] for axis in "xy"]
    assert by_template == pytest.approx((column, row), abs=0.02)  # a quarter of its assumed error of 6 mas
    assert (errors([joint]) < 0.12).all()
    assert (np.abs(stars([joint]) - (column, row)) < errors([joint])).all()


@pytest.mark.heavy
def test_joint_stars_of_many_programs(tmp_path):
    """Two rolls and two references, one of them dithered, in two filters, by 20 telescopes."""
    sums, pulls, relative, alone, told = [], [], [], [], []
    for seed in range(20):
        exposures, truth = [], []
        for k in range(4):
            visit = datasets.make_visit(
                tmp_path / f"{seed}_{k}",
                visit_id=f"099910{k + 1:02d}001",
                roll=110 + 8 * k,
                miss=tuple(np.random.default_rng([seed, k]).normal(0, 0.12, 2)),
                dithers=((0.0, 0.0), (0.015, 0.015)) if k == 3 else ((0.0, 0.0),),
                filters=("F444W", "F356W"),
                integrations=1,
                wavefront=500 + seed,
                seed=100 * seed + k,
            )
            exposures += [xta.analyze(path, offline=True) for path in visit.science]
            truth += [truth_of(visit, path) for path in visit.science]
        truth, joint = np.array(truth), xta.solve(exposures)
        error, scale = stars(joint) - truth, 1e3 * float(exposures[0]["pixel_scale"])
        sums.append(error * scale)
        told.append(errors(joint) * scale)
        pulls.append(error / errors(joint))
        bands = np.array([ds["filter"].item() for ds in exposures])
        relative += [np.diff(error[bands == band], axis=0) * scale for band in ("F444W", "F356W")]
        alone.append((stars(exposures) - truth) * scale)
    rms = [float(np.sqrt(np.mean(np.square(each)))) for each in (alone, sums, told, pulls, np.concatenate(relative))]
    print(
        "stars alone {:.1f} mas, together {:.1f} mas, errors {:.1f} mas, pull {:.2f}, relative {:.2f} mas".format(*rms)
    )
    _, together, error, pull, apart = rms
    assert together <= 1.2 * error
    assert 0.8 <= pull <= 1.25
    assert apart <= 2
    # What is common to all visits of a program, and the maneuver over the square root of four.
    parts = exposures[0]
    own = float(parts["target_x_err_part_mas"].sel(error_part="maneuver"))
    common = [float(parts[f"target_{axis}_err_part_mas"].sel(error_part=name)) for axis in "xy" for name in PARTS]
    assert together <= 1.2 * math.sqrt(own**2 / 4 + np.sum(np.square(common)) / 2)


PARTS = ("centroid", "filter", "way", "guiding")
