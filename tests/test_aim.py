"""Where the mask is and where the telescope aimed: against numbers that were found apart from this package."""

import numpy as np
import pytest

import xta
from xta import datasets
from xta.acquisition import aim


@pytest.fixture(scope="module")
def visits(tmp_path_factory):
    """NIRCam visits with the releases that were on board from 2022 to 2024."""
    return {
        prd: datasets.make_visit(tmp_path_factory.mktemp("aim"), integrations=1, prd=prd, ideal=True)
        for prd in ("PRDOPSSOC-055", "PRDOPSSOC-058", "PRDOPSSOC-063")
    }


@pytest.fixture(scope="module")
def attached(visits):
    return {prd: xta.open_exposure(visit.science[0]).ta.attach() for prd, visit in visits.items()}


@pytest.mark.parametrize("prd", ["PRDOPSSOC-055", "PRDOPSSOC-058", "PRDOPSSOC-063"])
def test_aim_of_releases_before_the_distortion_was_measured_anew(attached, prd):
    """A5 335R with PRD 055 to 063 on board lands (+0.02, -0.26) px from the newest mask."""
    ds = attached[prd]
    aimed, mask = aim.aim(ds), aim.mask(ds)
    assert (aimed.x - mask.x, aimed.y - mask.y) == pytest.approx((0.02, -0.26), abs=0.03)


def test_mask_of_published_miri_visit(shared):
    """V01386008001 with the geometry of PRD 058 was 1.77 px off; by the one since 059 it is (-0.04, 0.00) px."""
    (path,) = (shared / "published" / "V01386008001").glob("*_calints.fits")
    ds = xta.analyze(path, centroid="oss", corrections="all", offline=True)
    apart = ds["target_x"] - ds["mask_x"], ds["target_y"] - ds["mask_y"]
    assert apart == pytest.approx((-0.04, 0.0), abs=0.02)
    assert 11 / 2 < 1e3 * float(ds["pixel_scale"]) * float(ds["mask_x_err"]) < 11  # [mas] of two determinations


def test_mask_moves_with_the_filter(attached):
    ds = attached["PRDOPSSOC-063"]
    one, other = (aim.mask(ds.assign_coords(filter=band)) for band in ("F335M", "F444W"))
    assert (other.x - one.x, other.y - one.y) == pytest.approx((0.177, -0.205))
    assert other.x_err > one.x_err
    unknown = aim.mask(ds.assign_coords(filter="F999W"))
    assert (unknown.x, unknown.y) == (one.x, one.y)
    assert "F999W is not known" in unknown.source


def test_mask_before_the_pupil_wheel_moved_is_that_of_the_product(attached):
    ds = attached["PRDOPSSOC-055"]
    before = aim.mask(ds.assign_coords(date_beg="2022-05-20T00:00:00.000"))
    assert "PRDOPSSOC-055" in before.source
    assert "PRDOPSSOC-055" not in aim.mask(ds).source


def test_mask_of_exposure_without_one_is_the_reference_point(visits):
    ta = xta.open_exposure(visits["PRDOPSSOC-063"].ta[-1])
    place = aim.mask(ta)
    assert (place.x, place.y, place.x_err) == (31.5, 31.5, 0.0)


def test_analysis_holds_mask_and_aim(visits):
    ds = xta.analyze(visits["PRDOPSSOC-063"].science[0], corrections="none")
    place = aim.aim(ds, shifted=False)
    assert (ds["aim_x"].item(), ds["aim_y"].item()) == (place.x, place.y)
    assert 1e3 * float(ds["pixel_scale"]) * float(ds["aim_x_err"]) == pytest.approx(2.0, rel=0.01)  # of the way [mas]
    assert np.isfinite([ds[f"mask_{name}"].item() for name in ("x", "y", "x_err", "y_err")]).all()
    moved = ds.ta.recenter()
    for name in ("mask", "aim"):
        apart = ds[f"{name}_x"] - ds["target_x"]
        assert moved[f"{name}_x"].item() == pytest.approx(apart.item())


def test_mask_is_shifted_as_the_star_is(visits):
    """Both are corrected for the filter or neither, so that their distance is the same."""
    ds = xta.analyze(visits["PRDOPSSOC-063"].science[0], corrections="none")
    shifted = ds.ta.adjust_wcs(corrections="filter")
    apart = [float(each["target_x"] - each["mask_x"]) for each in (ds, shifted)]
    assert apart[0] == pytest.approx(apart[1], abs=1e-3)
    assert shifted["mask_x"] - ds["mask_x"] == pytest.approx(0.177)


@pytest.mark.parametrize(
    ("about", "release"),
    [
        ({"oss_prd": "PRDOPSSOC-058", "prd_version": "PRDOPSSOC-075"}, "PRDOPSSOC-058"),
        ({"prd_version": "PRDOPSSOC-063", "date_beg": "2024-06-01"}, "PRDOPSSOC-063"),
        ({"prd_version": "PRDOPSSOC-075", "date_beg": "2024-02-29T04:00:00"}, "PRDOPSSOC-063"),
        ({"prd_version": "PRDOPSSOC-075", "date_beg": "2022-07-30T00:00:00"}, "PRDOPSSOC-059"),
        ({"prd_version": "PRDOPSSOC-055", "date_beg": "2022-07-30T00:00:00"}, "PRDOPSSOC-055"),
    ],
)
def test_onboard_release_is_that_of_the_log_else_by_date(about, release):
    """Logs of 2022-12-04 and 2024-02-29 close with 059 and 063."""
    assert aim.onboard_release(about) == release
