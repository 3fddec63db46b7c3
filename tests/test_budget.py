"""The error budget: parts that add up, each from its own source, and intervals that hold the star."""

import math

import numpy as np
import pytest
import xarray as xr

import xta
from xta import datasets, model
from xta.acquisition import budget, pair
from xta.acquisition.image import image_centroid
from xta.datasets.optics import Camera, place, point_source
from xta.geometry import siaf, wcs

NEWEST = "PRDOPSSOC-075"


@pytest.fixture(scope="module")
def analyzed(nircam):
    return xta.analyze(nircam.science[0])


@pytest.fixture(scope="module")
def newest(tmp_path_factory):
    """Visits made with the newest SIAF at hand, against which distortion and mask are compared."""
    return {
        mode: datasets.make_visit(tmp_path_factory.mktemp(mode), mode=mode, prd=NEWEST, integrations=1)
        for mode in ("nircam", "miri")
    }


def part(ds, name):
    one = ds.sel(error_part=name)
    return float(one["target_x_err_part"]), float(one["target_y_err_part"])


def source(ds, name):
    return str(ds["error_part_source"].sel(error_part=name).item())


def test_assign_adds_parts_in_quadrature(analyzed):
    assert list(analyzed["error_part"].values) == list(budget.PARTS)
    for axis in ("x", "y"):
        parts = analyzed[f"target_{axis}_err_part"].values[:-1]
        assert float(analyzed[f"target_{axis}_err"]) == pytest.approx(math.sqrt(np.sum(parts**2)), rel=1e-12)
        assert analyzed["error_part"].values[-1] == "mask reference"


def test_assign_gives_pixels_and_milliarcseconds(analyzed):
    jacobian = wcs.sky_jacobian(wcs.load(analyzed["wcs"].item()), *star(analyzed))
    scale = 1e3 * math.sqrt(abs(np.linalg.det(jacobian)))
    for name in ("target_x_err", "target_y_err", "target_x_err_part", "target_y_err_part"):
        np.testing.assert_allclose(analyzed[f"{name}_mas"], analyzed[name] * scale, rtol=1e-12)
        assert analyzed[name].attrs["units"] == "pixel"
        assert analyzed[f"{name}_mas"].attrs["units"] == "milliarcsecond"


def star(ds):
    return float(ds["target_x"]), float(ds["target_y"])


def test_guiding_is_of_two_exposures(analyzed):
    mas = float(analyzed["target_x_err_part_mas"].sel(error_part="guiding"))
    assert mas == pytest.approx(math.sqrt(2) * budget.GUIDING, rel=1e-6)
    moving = budget.assign(analyzed.assign_coords(target_type="MOVING"))
    mas = float(moving["target_x_err_part_mas"].sel(error_part="guiding"))
    assert mas == pytest.approx(math.sqrt(2) * budget.GUIDING_MOVING, rel=1e-6)


def test_guiding_and_distortion_are_zero_for_acquisition_itself(nircam):
    ds = xta.analyze(nircam.ta[0])
    assert part(ds, "guiding") == part(ds, "distortion") == (0.0, 0.0)
    assert part(ds, "centroid")[0] == pytest.approx(budget.centroid_noise(ds, onboard_one=True)[0], rel=1e-6)


def test_distortion_is_against_newest_siaf(analyzed, newest):
    """Of the way from TA region to mask, by the two releases themselves."""
    for visit in newest.values():
        assert part(xta.analyze(visit.science[0]), "distortion") == pytest.approx((0, 0), abs=1e-6)
    ends = (("NRCA5_TAMASK335R", "centroid"), ("NRCA5_MASK335R", "target"))
    ways = []
    for prd in (analyzed.attrs["prd_version"], NEWEST):
        v = [
            siaf.aperture("NIRCAM", name, prd).sci_to_tel(*(float(analyzed[f"{what}_{axis}"]) + 1 for axis in "xy"))
            for name, what in ends
        ]
        ways.append(np.subtract(v[1], v[0]))
    mas = 1e3 * float(np.hypot(*np.subtract(*ways))) / math.sqrt(2)
    assert mas == pytest.approx(8.0, abs=0.5)
    assert float(analyzed["target_x_err_part_mas"].sel(error_part="distortion")) == pytest.approx(mas, abs=0.02)


def test_mask_reference_is_no_part_of_total(newest):
    """The last digit of the SIAF, and where it is corrected for the errors of F444W's shift: 0.06 and 0.10 px."""
    ds = xta.analyze(newest["nircam"].science[0])
    digit = 0.1 / math.sqrt(12)
    assert part(ds, "mask reference") == pytest.approx((digit, digit), rel=1e-6)
    assert float(ds["target_x_err"]) < digit
    shifted = part(ds.ta.adjust_wcs(corrections="filter"), "mask reference")
    assert shifted == pytest.approx((math.hypot(digit, 0.06), math.hypot(digit, 0.1)), rel=1e-6)


def test_mask_of_old_release_is_that_of_the_newest(analyzed, newest):
    """XDetRef, YDetRef of NRCA5_MASK335R are 1407.9, 1675.2 then, and 1407.8, 1675.6 now; Det x runs against x."""
    now = xta.analyze(newest["nircam"].science[0])
    reference = pair.intended_pixel(analyzed)
    assert (analyzed["mask_x"] - reference[0], analyzed["mask_y"] - reference[1]) == pytest.approx((0.1, 0.4), abs=1e-6)
    assert part(analyzed, "mask reference") == pytest.approx(part(now, "mask reference"))


def test_centroid_part_scales_with_light(analyzed):
    errors = []
    for factor in (0.1, 1.0):
        noisy = analyzed.assign(ta_err=analyzed["ta_err"] / factor)
        errors.append(part(budget.assign(noisy), "centroid"))
    step = 0.00501714400  # of the sample's log, along y
    assert errors[0][0] == pytest.approx(10 * errors[1][0], rel=0.02)
    assert errors[1][1] > step


@pytest.mark.parametrize(
    ("change", "name", "said"),
    [
        ({"centroid": (35.5, 34.3)}, "centroid", "a centroid by hand has no error"),
        ({"drop": "ta_err"}, "centroid", "the TA image has no errors"),
        ({"dark": True}, "image", "no star stands out"),
    ],
)
def test_published_accuracy_stands_in_for_unmeasured_part(analyzed, change, name, said):
    ds = analyzed.drop_vars(change["drop"]) if "drop" in change else analyzed
    if "dark" in change:
        ds = ds.assign(ta_sci=xr.zeros_like(ds["ta_sci"]))
    ds = ds.ta.compute_offset(centroid=change.get("centroid", "oss")).ta.adjust_wcs()
    mas = float(ds["target_x_err_part_mas"].sel(error_part=name))
    assert mas == pytest.approx(5.5 / math.sqrt(2), rel=1e-6)
    assert said in source(ds, name)
    assert "published accuracy" in source(ds, name)


def test_image_part_is_along_the_axis_of_the_difference(analyzed):
    moved = analyzed.assign_coords(oss_y=float(analyzed["centroid_y"]) + 0.3).ta.compute_offset(centroid="oss")
    x, y = part(moved.ta.adjust_wcs(), "image")
    assert y == pytest.approx(0.3, abs=0.02)
    assert x < 0.02


def test_guiding_is_published_noise_of_two_exposures(analyzed):
    """JWST User Documentation, "JWST Fine Guide Stability": 1 mas, and 6.7 mas of moving targets."""
    for kind, noise in (("FIXED", 1.0), ("MOVING", 6.7)):
        ds = budget.assign(analyzed.assign_coords(target_type=kind))
        mas = ds["target_x_err_part_mas"].sel(error_part="guiding").item()
        assert mas == pytest.approx(2**0.5 * noise, rel=1e-6)


@pytest.mark.parametrize(("instrument", "radial"), [("MIRI", 14.0), ("NIRCAM", 5.5), ("NIRISS", 5.5), ("nirspec", 5.5)])
def test_acquisition_accuracy_is_published_one_along_an_axis(instrument, radial):
    """JWST User Documentation, "JWST Pointing Accuracy": 5.5 mas, and 14 mas for MIRI, radial."""
    assert budget.acquisition_accuracy(instrument) == pytest.approx(radial / 2**0.5, rel=1e-12)


def test_image_part_widens_for_other_position(analyzed):
    x, y = float(analyzed["centroid_x"]), float(analyzed["centroid_y"])
    shifted = analyzed.assign_coords(oss_x=x + 0.3).ta.compute_offset(centroid="oss").ta.adjust_wcs()
    along = np.hypot(*part(shifted, "image"))
    assert along == pytest.approx(0.3, abs=0.02)
    assert y == float(shifted["centroid_y"])


def test_budget_is_taken_back_and_survives_file(analyzed, tmp_path):
    assert "target_x_err" not in analyzed.ta.compute_offset().coords
    assert "error_part" not in analyzed.ta.compute_offset().coords
    xta.to_netcdf(analyzed, tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as again:
        for name in ("error_part", "error_part_source", "target_x_err", "target_y_err_part_mas"):
            xr.testing.assert_identical(again[name].load().variable, analyzed[name].variable)


def test_distortion_ignores_shift_between_filters(analyzed):
    """A WCS that is shifted as a whole in V2, V3, as the pipeline does for each filter, changes nothing."""
    from astropy.modeling.models import Shift
    from gwcs import WCS

    from xta.geometry import sky

    original = sky.the_wcs(analyzed, "wcs_original")
    first, *_ = original.available_frames
    to_v = original.get_transform(first, "v2v3")
    steps = [(step.frame, step.transform) for step in original.pipeline]
    steps[0] = (steps[0][0], to_v | Shift(0.15) & Shift(-0.2))
    steps = [steps[0], *steps[[frame.name for frame, _ in steps].index("v2v3") :]]
    shifted = analyzed.assign_coords(wcs_original=model.text_variable("wcs_original", wcs.dump(WCS(steps))))
    assert part(budget.assign(shifted), "distortion") == pytest.approx(part(analyzed, "distortion"), rel=1e-3)


def test_is_acquisition_needs_file_name(nircam):
    science, ta = (xta.open_exposure(path) for path in (nircam.science[0], nircam.ta[0]))
    for ds in (science, ta):
        ds.coords["filename"] = ""
    ds = science.ta.attach(ta, oss=nircam.oss_log).ta.compute_offset().ta.adjust_wcs()
    assert part(ds, "guiding")[0] > 0.02
    assert part(ds, "distortion")[0] > 0.1


@pytest.mark.parametrize("err", [0.0, np.nan, -1.0, np.inf])
def test_centroid_part_refuses_errors_that_are_none(analyzed, err):
    ds = budget.assign(analyzed.assign(ta_err=xr.full_like(analyzed["ta_err"], err)))
    assert "the TA image has no errors" in source(ds, "centroid")


def test_mask_reference_needs_no_release_of_the_product(analyzed):
    ds = analyzed.assign_coords(prd_version="PRDOPSSOC-999").ta.adjust_wcs()
    assert part(ds, "mask reference") == pytest.approx(part(analyzed, "mask reference"))
    assert np.isfinite(float(ds["target_x_err"]))


def test_recenter_keeps_budget_and_checks(analyzed):
    cube = analyzed.ta.recenter()
    for name in ("error_part_source", "target_x_err_part", "check_passed", "check_reason", "ta_wcs"):
        assert cube[name].variable.equals(analyzed[name].variable), name


# Monte Carlo

TRIALS = 150


def expose(ds, *, x, y, light, background, read_noise, rng):
    """Photograph a point source in the TA readout; `light` in electrons.

    The telescope has no aberrations: they make the center of light another place than the star's, and do so
    in the exposures of the star alike.
    """
    corner = float(ds["ta_x"][0]), float(ds["ta_y"][0])
    shape = ds.sizes["ta_y"], ds.sizes["ta_x"]
    camera = Camera(3.35, 0.063, 128) if ds.attrs["instrument"] == "NIRCAM" else Camera(15.5, 0.11, 320)
    ideal = light * place(point_source(camera), camera, x=x - corner[0], y=y - corner[1], shape=shape) + background
    err = np.sqrt(ideal + read_noise**2)
    image = ideal + err * rng.standard_normal(shape)
    dims = ("ta_exposure", "ta_y", "ta_x")
    k = int(ds.attrs["ta_in_use"])
    sci, noise = ds["ta_sci"].transpose(*dims).copy(), ds["ta_err"].transpose(*dims).copy()
    sci[k], noise[k] = image, err
    return ds.assign(ta_sci=sci, ta_err=noise, ta_dq=xr.zeros_like(ds["ta_dq"]))


GUIDER = 1.0
"""Noise of the guider that is drawn [mas]: the published one, not that of the package."""


@pytest.mark.parametrize(
    ("sides", "window"),
    [((7, 5), 5), ((5, 7), 5), ((3, 9), 3), ((2, 7), 7), ((1, 2), 9), ((np.nan, np.nan), 9)],
)
def test_centroid_noise_is_of_smallest_window_that_holds_a_star(analyzed, sides, window):
    """The log tells the sides of the window; without one that holds a star, 9 pixels are used."""
    step = {"x": 0.003, "y": 0.004}
    facts = {f"ta_oss_window_{axis}": side for axis, side in zip("xy", sides, strict=True)}
    facts |= {f"ta_oss_step_{axis}": value for axis, value in step.items()}
    ds = analyzed.assign_coords({name: xr.full_like(analyzed[name], value) for name, value in facts.items()})
    star = image_centroid(ds, window=window)
    expected = math.hypot(star.x_err, step["x"]), math.hypot(star.y_err, step["y"])
    assert budget.centroid_noise(ds, onboard_one=True) == pytest.approx(expected, rel=1e-12)
    assert budget.centroid_noise(ds, onboard_one=False) == pytest.approx(
        (image_centroid(ds).x_err, image_centroid(ds).y_err)
    )


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("mode", "light", "onboard"), [("nircam", 2e4, False), ("nircam", 2e4, True), ("miri", 1e4, True)]
)
def test_assign_interval_holds_star_in_68_percent(newest, mode, light, onboard):
    """Photon noise in the TA image and the guider's in both exposures, drawn anew in each trial.

    The onboard centroid is one with the window of the log and the last step of its iteration left undone.
    """
    visit = newest[mode]
    ds = xta.analyze(visit.science[0])
    rng = np.random.default_rng(8)
    k = [path.name for path in visit.ta].index(str(ds["ta_filename"].values[ds.attrs["ta_in_use"]]))
    in_ta = [float(visit.truth[f"star_{axis}"].sel(file=visit.ta[k].name)) for axis in "xy"]
    in_science = [float(visit.truth[f"star_{axis}"].sel(file=visit.science[0].name)) for axis in "xy"]
    guider = GUIDER * float(ds["target_x_err"]) / float(ds["target_x_err_mas"])
    step = np.array([0.000216, 0.00502])  # of the sample's log
    held = []
    for _ in range(TRIALS):
        x, y = in_ta + guider * rng.standard_normal(2)
        trial = expose(ds, x=x, y=y, light=light, background=5.0, read_noise=12.0, rng=rng)
        if onboard:
            found = image_centroid(trial, window=9 if mode == "nircam" else 5)
            x, y = (found.x, found.y) + step * rng.standard_normal(2)
            trial = trial.assign_coords(oss_x=float(x), oss_y=float(y))
        trial = trial.ta.compute_offset(centroid="oss" if onboard else "image").ta.adjust_wcs()
        truth = in_science + guider * rng.standard_normal(2)
        errors = float(trial["target_x_err"]), float(trial["target_y_err"])
        held.append(np.abs(np.subtract(star(trial), truth)) <= errors)
    coverage = float(np.mean(held))
    print(f"{mode}, onboard {onboard}: error {errors[0]:.4f} px, star within it in {coverage:.1%}")
    assert 0.60 <= coverage <= 0.76
