"""Companions found and measured: truth on small samples, pulls on sample programs, the tables for orbits."""

import csv

import numpy as np
import pytest

import xta
from xta import datasets
from xta.errors import ArgumentError, KlipError, MissingError
from xta.psfsub import companions, detection, inject, klip

TRUTH = ((0.8, 30.0, 8.0), (0.6, 200.0, 5.0))  # separation [arcsec], position angle [deg], flux
NO_FRAME = {"distortion_err": 0, "north_err": 0, "scale_err": 0}


@pytest.fixture(scope="module")
def rolls(with_sources):
    return with_sources(*TRUTH)


@pytest.fixture(scope="module")
def image(small, rolls):
    return klip(rolls, reference=small.reference, numbasis=2)


@pytest.fixture(scope="module")
def table(small, rolls, image):
    return image.ta.companions(science=rolls, reference=small.reference, psf=small.psf, star_flux=2.0)


def test_companions_finds_all_and_nothing_else(table):
    assert table.sizes["companion"] == len(TRUTH)
    for k, (separation, angle, flux) in enumerate(TRUTH):
        row = table.isel(companion=k)
        for name, truth in (("separation", separation), ("position_angle", angle), ("flux", flux)):
            assert abs(float(row[name]) - truth) < 4 * float(row[f"{name}_err"]), name
        assert float(row["separation_err"]) < 0.01
        assert 5 < float(row["snr"]) < 200


def test_companions_of_image_without_any(small):
    image = klip(small.rolls, reference=small.reference, numbasis=2)
    table = image.ta.companions(science=small.rolls, reference=small.reference, psf=small.psf)
    assert table.sizes["companion"] == 0
    assert "dra_err" in table


def test_companions_columns_follow_from_each_other(table, image):
    np.testing.assert_allclose(np.hypot(table["dra"], table["ddec"]), table["separation"])
    np.testing.assert_allclose(table["flux_jy"] / table["contrast"], 2.0)
    steradian = np.deg2rad(image.attrs["pixel_scale"] / 3600) ** 2
    np.testing.assert_allclose(table["flux_jy"], table["flux"] * 1e6 * steradian)
    for name, variable in table.data_vars.items():
        assert variable.attrs["long_name"], name
    assert str(table["time"].values).startswith("2024-03-10T02:30")


def test_companions_covariance_of_parts(small, rolls, image):
    with_star = [ds.assign_coords(target_x_err=0.1, target_y_err=0.1, target_xy_corr=0.0) for ds in rolls]
    options = {
        "reference": small.reference,
        "psf": small.psf,
        "distortion_err": 0.0,
        "north_err": 1.0,
        "scale_err": 0.01,
    }
    row = companions(image, [(0.8, 30.0)], science=with_star, **options).isel(companion=0)
    parts = row["position_covariance"]
    angle = np.deg2rad(float(row["position_angle"]))
    outward, across = np.array([np.sin(angle), np.cos(angle)]), np.array([np.cos(angle), -np.sin(angle)])
    separation = float(row["separation"])
    along = {name: outward @ parts.sel(error_part=name).values @ outward for name in parts["error_part"].values}
    aside = {name: across @ parts.sel(error_part=name).values @ across for name in parts["error_part"].values}
    np.testing.assert_allclose(along["plate scale"] ** 0.5, 0.01 * separation, rtol=1e-9)
    np.testing.assert_allclose(aside["true north"] ** 0.5, np.deg2rad(1.0) * separation, rtol=1e-9)
    np.testing.assert_allclose(
        [along["star"] ** 0.5, aside["star"] ** 0.5], 0.1 * image.attrs["pixel_scale"], rtol=0.02
    )
    assert max(along["true north"], aside["plate scale"], along["distortion"]) < 1e-20
    np.testing.assert_allclose(row["separation_err"], sum(along.values()) ** 0.5)
    np.testing.assert_allclose(row["position_angle_err"], np.rad2deg(sum(aside.values()) ** 0.5 / separation))


def test_companions_holds_position_of_nothing(small, image):
    image = klip(small.rolls, reference=small.reference, numbasis=2)
    places = [(0.7, angle) for angle in (20.0, 90.0, 150.0, 220.0)]
    table = companions(image, places, science=small.rolls, reference=small.reference, psf=small.psf)
    np.testing.assert_array_less(np.abs(table["snr"]), 4.5)
    held = np.isnan(table["dra_err"])
    np.testing.assert_allclose(table["separation"].where(held, 0.7), 0.7)


def test_companions_refuses_what_does_not_fit(small, rolls, image):
    options = {"science": rolls, "reference": small.reference, "psf": small.psf}
    with pytest.raises(KlipError, match="reference is nothing"):
        companions(image, **options | {"reference": None})
    with pytest.raises(KlipError, match="science is f1"):
        companions(image, **options | {"science": rolls[:1]})
    with pytest.raises(MissingError, match="klip"):
        companions(rolls[0], **options)
    with pytest.raises(ArgumentError, match="pairs of separation"):
        companions(image, [1.0, 2.0], **options)


def test_snr_of_noise_and_of_companions(small, image):
    found = image.ta.snr()
    assert float(found["snr"].max()) > 5
    empty = klip(small.rolls, reference=small.reference, numbasis=2).ta.snr()
    assert 0.8 < float(empty["snr"].std()) < 1.25
    assert not bool((empty["snr"] > empty["snr_threshold"]).any())
    assert float(found["snr_threshold"].max()) > 6  # few elements near the star
    np.testing.assert_allclose(float(found["snr_threshold"].sel(x=19, y=0)), 5, atol=1.0)


def test_beside_speckles_that_scatter_widely():
    rng = np.random.default_rng(4)
    image = rng.standard_normal((81, 81)) + 8 * (rng.random((81, 81)) > 0.97)  # heavy wings
    image[40, 60] = 7.0
    value, least = detection.beside(image, 20.0, 0.0, 2.3)
    assert value < least
    image[40, 60] = 25.0
    value, least = detection.beside(image, 20.0, 0.0, 2.3)
    assert value > least > 5
    assert detection.beside(image, 1.0, 0.0, 2.3)[1] == np.inf  # no element beside it


# ------------------------------------------------------------------------------------------------- pulls


@pytest.mark.heavy
@pytest.mark.parametrize("mode", ["nircam", "miri"])
def test_companions_pulls(mode, tmp_path):
    program = datasets.make_program(tmp_path, mode=mode, ideal=True)
    cut = {axis: slice(-58, 58) for axis in ("x", "y")}
    *rolls, reference = (
        xta.analyze(path, centroid="oss", corrections="none").load().ta.recenter().sel(cut)
        for path in (*program.science, *program.reference)
    )
    psf = datasets.psf(mode, x=30, y=30, shape=(61, 61))
    truth = program.truth.sel(file=program.science[0].name)
    at = float(truth["companion_separation"]), float(truth["companion_position_angle"])
    image = klip(rolls, reference=reference)
    options = {"reference": reference, "psf": psf} | NO_FRAME
    real = companions(image, [at], science=rolls, **options).isel(companion=0)
    rolls = [
        inject(
            ds,
            psf=psf,
            flux=-float(real["flux"]),
            **{name: float(real[name]) for name in ("separation", "position_angle")},
        )
        for ds in rolls
    ]
    rng = np.random.default_rng(7)
    pulls, errors = [], []
    for _ in range(26):
        separation = rng.uniform(4, 20 if mode == "nircam" else 12) * image.attrs["fwhm"]
        angle = (at[1] + rng.uniform(20, 340)) % 360
        flux = float(image["noise"].isel(numbasis=-1).interp(radius=separation)) / psf.max() * rng.uniform(10, 100)
        fakes = [inject(ds, separation=separation, position_angle=angle, flux=flux, psf=psf) for ds in rolls]
        row = companions(image, [(separation + 0.01, angle + 0.5)], science=fakes, **options).isel(companion=0)
        turn = np.deg2rad(angle)
        axes = np.array([[np.sin(turn), np.cos(turn)], [np.cos(turn), -np.sin(turn)]])
        off = axes @ [float(row["dra"]) - separation * np.sin(turn), float(row["ddec"]) - separation * np.cos(turn)]
        spread = np.sqrt(np.diag(axes @ row["position_covariance"].sel(error_part="fit").values @ axes.T))
        pulls.append([*(off / spread), (float(row["flux"]) - flux) / float(row["flux_err"])])
        errors.append([*(1e3 * off), float(row["flux"]) / flux - 1, float(row["snr"])])
    along, across, flux = np.sqrt(np.mean(np.square(pulls), axis=0))
    rms = np.array([np.hypot(along, across) / 2**0.5, flux])
    weights = np.square([row[-1] for row in errors])
    bias = np.average(np.array(errors)[:, :3], axis=0, weights=weights)
    print(f"\npulls of companions, {mode}: outward {along:.2f}, across {across:.2f}, flux {flux:.2f}")
    print(f"bias of companions, {mode}: {bias[0]:+.2f} mas, {bias[1]:+.2f} mas, flux {100 * bias[2]:+.2f} %")
    assert np.all((rms > 0.8) & (rms < 1.25))
    assert np.all(np.abs(bias) < [2, 2, 0.02])
    off = [1e3 * (float(real["separation"]) - at[0]), 1e3 * at[0] * np.deg2rad(float(real["position_angle"]) - at[1])]
    assert np.hypot(*off) < 3.0  # the companion that the program was made with


# ------------------------------------------------------------------------------------------------- tables for orbits


def test_to_orbitize_table(table, tmp_path):
    xta.to_orbitize(table, tmp_path / "orbits.csv")
    with (tmp_path / "orbits.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["object"] for row in rows] == ["1", "2"]
    for k, row in enumerate(rows):
        assert float(row["epoch"]) == pytest.approx(60379.104167, abs=1e-5)
        for name, column in (
            ("raoff", "dra"),
            ("raoff_err", "dra_err"),
            ("decoff", "ddec"),
            ("decoff_err", "ddec_err"),
        ):
            assert float(row[name]) == pytest.approx(1e3 * float(table[column][k]), abs=1e-5)
        assert float(row["radec_corr"]) == pytest.approx(float(table["dra_ddec_corr"][k]), abs=1e-5)


def test_to_orbitize_is_read_by_orbitize(table, tmp_path):
    reader = pytest.importorskip("orbitize.read_input")
    xta.to_orbitize(table, tmp_path / "orbits.csv")
    read = reader.read_file(str(tmp_path / "orbits.csv"))
    np.testing.assert_allclose(read["quant1"], 1e3 * table["dra"], atol=1e-5)
    assert list(read["quant_type"]) == ["radec", "radec"]


def test_to_octofitter_table(table, tmp_path):
    xta.to_octofitter(table, tmp_path / "orbits.csv")
    header, *rows = (tmp_path / "orbits.csv").read_text(encoding="utf-8").splitlines()
    assert header == "epoch,ra,dec,σ_ra,σ_dec,cor,companion"
    assert float(rows[1].split(",")[2]) == pytest.approx(1e3 * float(table["ddec"][1]), abs=1e-5)


@pytest.mark.parametrize("write", [xta.to_orbitize, xta.to_octofitter])
def test_tables_for_orbits_refuse(table, write, tmp_path):
    with pytest.raises(ArgumentError, match="csv"):
        write(table, tmp_path / "orbits.txt")
    with pytest.raises(ArgumentError, match="not known"):
        write(table.assign(dra_err=table["dra_err"] * np.nan), tmp_path / "orbits.csv")
    with pytest.raises(MissingError, match="companions"):
        write(table.drop_vars("time"), tmp_path / "orbits.csv")
