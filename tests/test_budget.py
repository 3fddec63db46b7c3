"""The error budget: parts that add up, each from its own source, and intervals that hold the star."""

import math

import numpy as np
import pytest
import xarray as xr

import xta
from xta import datasets, model
from xta.acquisition import budget, centroids, corrections, pair
from xta.acquisition.corrections import Correction
from xta.acquisition.image import image_centroid
from xta.acquisition.instrument import acquisition_accuracy
from xta.geometry import siaf, wcs

NEWEST = "PRDOPSSOC-075"
NO_CORRECTIONS = {name: Correction(0.0, 0.0, 0.0, 0.0, "") for name in ("way", "filter")}


@pytest.fixture(scope="module")
def analyzed(nircam):
    return xta.analyze(nircam.science[0])


@pytest.fixture(scope="module")
def newest(tmp_path_factory):
    """Visits made with the newest SIAF at hand, against which distortion and mask are compared."""
    return {
        mode: datasets.make_visit(tmp_path_factory.mktemp(mode), mode=mode, prd=NEWEST, integrations=1, ideal=True)
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


def test_parts_of_the_move_are_zero_for_acquisition_itself(nircam):
    ds = xta.analyze(nircam.ta[0], centroid="oss")
    for name in ("way", "filter", "maneuver", "guiding"):
        assert part(ds, name) == (0.0, 0.0)
    found = centroids.measure(ds)["oss"]
    assert part(ds, "centroid") == pytest.approx((found.x_err, found.y_err), rel=1e-6)


@pytest.mark.parametrize(("mode", "mas"), [("nircam", 6.4), ("miri", 8.8)])
def test_no_budget_says_less_than_the_maneuver(newest, mode, mas):
    """JWST: star minus mask of 8 visits of program 1184 and 5 of 1386; three pairs of rolls of HD 141569."""
    ds = xta.analyze(newest[mode].science[0])
    assert ds["target_x_err_part_mas"].sel(error_part="maneuver").item() == pytest.approx(mas, rel=1e-6)
    assert min(ds["target_x_err_mas"], ds["target_y_err_mas"]) > mas


def test_maneuver_of_other_instruments_is_published_accuracy(analyzed):
    """JWST User Documentation: 5.5 mas, radial."""
    ds = budget.assign(analyzed.assign_coords(instrument="NIRISS"), corrections=NO_CORRECTIONS)
    mas = ds["target_x_err_part_mas"].sel(error_part="maneuver").item()
    assert mas == pytest.approx(5.5 / 2**0.5, rel=1e-3)


def test_way_part_is_all_of_it_where_it_is_not_corrected(analyzed):
    """Of the way from TA region to mask, by the two releases themselves; corrected, 2 mas are left."""
    ends = (("NRCA5_TAMASK335R", "centroid"), ("NRCA5_MASK335R", "target"))
    ways = []
    for prd in (analyzed.attrs["prd_version"], NEWEST):
        v = [
            siaf.aperture("NIRCAM", name, prd).sci_to_tel(*(float(analyzed[f"{what}_{axis}"]) + 1 for axis in "xy"))
            for name, what in ends
        ]
        ways.append(np.subtract(v[1], v[0]))
    mas = 1e3 * float(np.hypot(*np.subtract(*ways)))
    plain = analyzed.ta.adjust_wcs(corrections="none").sel(error_part="way")
    found = np.hypot(plain["target_x_err_part_mas"], plain["target_y_err_part_mas"])
    assert found == pytest.approx(math.hypot(mas, 2 * 2**0.5), abs=0.1)
    assert analyzed["target_x_err_part_mas"].sel(error_part="way") == pytest.approx(2.0, rel=1e-2)


def test_filter_part_is_all_of_it_where_it_is_not_corrected(analyzed):
    """F335M to F444W: (+0.177 +- 0.06, -0.205 +- 0.10) px."""
    assert part(analyzed, "filter") == pytest.approx((0.06, 0.10))
    plain = part(analyzed.ta.adjust_wcs(corrections="none"), "filter")
    assert plain == pytest.approx((math.hypot(0.177, 0.06), math.hypot(0.205, 0.10)), abs=1e-3)


@pytest.mark.parametrize(
    ("change", "check", "name"),
    [
        ({"filter": "F999W"}, "filter shift known", "filter"),
        ({"filter": "F200W", "channel": "SHORT", "detector": "NRCA2"}, "filter shift known", "filter"),
        ({"date_beg": "2022-05-20T00:00:00.000"}, "geometry to mask known", "way"),
    ],
)
def test_what_is_not_known_enlarges_the_error_and_fails_a_check(analyzed, change, check, name):
    ds = analyzed.assign_coords(change).ta.adjust_wcs(corrections=name)
    assert part(ds, name)[1] > 2 * part(analyzed, name)[1]
    assert ds["check_passed"].sel(check=check) == 0
    assert analyzed["check_passed"].sel(check=check) == 1
    plain = analyzed.ta.adjust_wcs(corrections="none")
    assert plain["check_passed"].sel(check=check) == -1


def test_mask_reference_is_no_part_of_total(newest):
    """The last digit of the SIAF, and where it is corrected for the errors of F444W's shift: 0.06 and 0.10 px."""
    ds = xta.analyze(newest["nircam"].science[0], corrections="none")
    digit = 0.1 / math.sqrt(12)
    assert part(ds, "mask reference") == pytest.approx((digit, digit), rel=1e-6)
    assert float(ds["target_x_err"]) ** 2 == pytest.approx(float((ds["target_x_err_part"][:-1] ** 2).sum()), rel=1e-9)
    shifted = part(ds.ta.adjust_wcs(corrections="filter"), "mask reference")
    assert shifted == pytest.approx((math.hypot(digit, 0.06), math.hypot(digit, 0.1)), rel=1e-6)


def test_mask_of_old_release_is_that_of_the_newest(analyzed, newest):
    """XDetRef, YDetRef of NRCA5_MASK335R are 1407.9, 1675.2 then, and 1407.8, 1675.6 now; Det x runs against x."""
    now = xta.analyze(newest["nircam"].science[0], corrections="none")
    reference = pair.intended_pixel(analyzed)
    analyzed = analyzed.ta.adjust_wcs(corrections="none")
    assert (analyzed["mask_x"] - reference[0], analyzed["mask_y"] - reference[1]) == pytest.approx((0.1, 0.4), abs=1e-6)
    assert part(analyzed, "mask reference") == pytest.approx(part(now, "mask reference"))


def test_centroid_part_is_noise_and_floor(analyzed):
    """NIRCam coronagraphy: 0.07 px of the image are common to all visits, however bright the star."""
    noise = image_centroid(analyzed).x_err
    for factor in (1.0, 0.1):
        faint = budget.assign(analyzed.assign(ta_err=analyzed["ta_err"] / factor))
        assert part(faint, "centroid")[0] == pytest.approx(math.hypot(noise / factor, 0.07), rel=0.01)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"centroid": (35.5, 34.3)}, "a centroid given by hand has no error"),
        ({"drop": "ta_err"}, "its noise is not known"),
        ({"dark": True}, "its noise is not known"),
    ],
)
def test_published_accuracy_stands_in_for_unmeasured_part(analyzed, change, said):
    ds = analyzed.drop_vars(change["drop"]) if "drop" in change else analyzed
    if "dark" in change:
        ds = ds.assign(ta_sci=xr.zeros_like(ds["ta_sci"]))
    ds = ds.ta.compute_offset(centroid=change.get("centroid", "oss")).ta.adjust_wcs()
    mas = float(ds["target_x_err_part_mas"].sel(error_part="centroid"))
    floor = 0.0 if "centroid" in change else 0.15 * 63
    assert mas == pytest.approx(math.hypot(5.5 / math.sqrt(2), floor), rel=0.01)
    assert said in source(ds, "centroid")
    assert "published accuracy" in source(ds, "centroid")


def test_guiding_is_published_noise_of_two_exposures(analyzed):
    """JWST User Documentation, "JWST Fine Guide Stability": 1 mas, and 6.7 mas of moving targets."""
    for kind, noise in (("FIXED", 1.0), ("MOVING", 6.7)):
        ds = budget.assign(analyzed.assign_coords(target_type=kind))
        mas = ds["target_x_err_part_mas"].sel(error_part="guiding").item()
        assert mas == pytest.approx(2**0.5 * noise, rel=1e-6)


@pytest.mark.parametrize(("instrument", "radial"), [("MIRI", 14.0), ("NIRCAM", 5.5), ("NIRISS", 5.5), ("nirspec", 5.5)])
def test_acquisition_accuracy_is_published_one_along_an_axis(instrument, radial):
    """JWST User Documentation, "JWST Pointing Accuracy": 5.5 mas, and 14 mas for MIRI, radial."""
    assert acquisition_accuracy(instrument) == pytest.approx(radial / 2**0.5, rel=1e-12)


def test_budget_is_taken_back_and_survives_file(analyzed, tmp_path):
    assert "target_x_err" not in analyzed.ta.compute_offset().coords
    assert "error_part" not in analyzed.ta.compute_offset().coords
    xta.to_netcdf(analyzed, tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as again:
        for name in ("error_part", "error_part_source", "target_x_err", "target_y_err_part_mas"):
            xr.testing.assert_identical(again[name].load().variable, analyzed[name].variable)


def test_way_ignores_shift_between_filters(analyzed):
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
    one, other = (corrections.correct(ds, star(analyzed))["way"] for ds in (analyzed, shifted))
    assert (other.x, other.y) == pytest.approx((one.x, one.y), rel=1e-3)


def test_is_acquisition_needs_file_name(nircam):
    science, ta = (xta.open_exposure(path) for path in (nircam.science[0], nircam.ta[0]))
    for ds in (science, ta):
        ds.coords["filename"] = ""
    ds = science.ta.attach(ta, oss=nircam.oss_log).ta.compute_offset().ta.adjust_wcs()
    assert part(ds, "guiding")[0] > 0.02
    assert part(ds, "maneuver")[0] > 0.1


@pytest.mark.parametrize("err", [0.0, np.nan, -1.0, np.inf])
def test_centroid_part_refuses_errors_that_are_none(analyzed, err):
    ds = budget.assign(analyzed.assign(ta_err=xr.full_like(analyzed["ta_err"], err)))
    assert "its noise is not known" in source(ds, "centroid")


def test_mask_reference_needs_no_release_of_the_product(analyzed):
    ds = analyzed.assign_coords(prd_version="PRDOPSSOC-999").ta.adjust_wcs()
    assert part(ds, "mask reference") == pytest.approx(part(analyzed, "mask reference"))
    assert np.isfinite(float(ds["target_x_err"]))


def test_recenter_keeps_budget_and_checks(analyzed):
    cube = analyzed.ta.recenter()
    for name in ("error_part_source", "target_x_err_part", "check_passed", "check_reason", "ta_wcs"):
        assert cube[name].variable.equals(analyzed[name].variable), name
