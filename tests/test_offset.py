"""Measure the offset by any centroid, and adjust the WCS by it."""

import shutil

import numpy as np
import pytest

import xta
from tests.stars import assert_star, truth_of
from xta import datasets, model
from xta.errors import (
    AcquisitionError,
    ArgumentError,
    CentroidError,
    MissingError,
    XtaWarning,
)
from xta.geometry import wcs


@pytest.fixture(scope="module")
def analyzed(nircam):
    return xta.analyze(nircam.science[0], centroid="oss", corrections="none").load()


def test_compute_offset_is_wcs_minus_centroid_in_every_frame(analyzed):
    """Each is recomputed here another way, on astropy's sphere."""
    from astropy.coordinates import SkyCoord

    c = {
        name: float(analyzed[name])
        for name in analyzed.coords
        if analyzed[name].ndim == 0 and name != "wcs"
        if analyzed[name].dtype.kind == "f"
    }
    target = SkyCoord(analyzed.attrs["target_ra"], analyzed.attrs["target_dec"], unit="deg")
    ra, dec = wcs.pixel_to_world(wcs.load(analyzed["ta_wcs"].item(0)), c["centroid_x"], c["centroid_y"])
    centroid = SkyCoord(ra, dec, unit="deg")
    east, north = centroid.spherical_offsets_to(target)
    assert c["offset_east"] == pytest.approx(east.arcsec, abs=1e-9)
    assert c["offset_north"] == pytest.approx(north.arcsec, abs=1e-9)
    assert c["offset_ra"] == pytest.approx((target.ra - centroid.ra).wrap_at("180d").arcsec, abs=1e-9)
    assert c["offset_dec"] == pytest.approx((target.dec - centroid.dec).arcsec, abs=1e-9)
    assert c["offset_x"] == c["ta_target_x"] - c["centroid_x"]
    assert c["offset_y"] == c["ta_target_y"] - c["centroid_y"]


def test_inverse_error_is_analytic_minus_numerical(analyzed):
    """By the inverse that the WCS itself carries, evaluated at the target."""
    for text, pixel, error in (("ta_wcs", "ta_target", "ta_inverse_error"), ("wcs", "target", "inverse_error")):
        inverse = wcs.load(analyzed[text].values.ravel()[0]).backward_transform
        x, y = inverse(analyzed.attrs["target_ra"], analyzed.attrs["target_dec"], with_bounding_box=False)
        assert float(analyzed[f"{error}_x"]) == pytest.approx(x - float(analyzed[f"{pixel}_x"]), abs=1e-9)
        assert float(analyzed[f"{error}_y"]) == pytest.approx(y - float(analyzed[f"{pixel}_y"]), abs=1e-9)
        assert np.hypot(float(analyzed[f"{error}_x"]), float(analyzed[f"{error}_y"])) > 1e-6


def test_adjust_wcs_corrects_wcs_of_dataset(analyzed):
    x, y = analyzed.ta.world_to_pixel(analyzed["target_ra"], analyzed["target_dec"])
    assert (float(x), float(y)) == pytest.approx((float(analyzed["target_x"]), float(analyzed["target_y"])), abs=1e-8)
    here = analyzed.sel(x=149, y=173)
    assert (float(here["ra"]), float(here["dec"])) == analyzed.ta.pixel_to_world(149, 173)
    before = wcs.load(analyzed["wcs_original"].item())
    assert wcs.pixel_to_world(before, 149.0, 173.0)[0] != float(here["ra"])


def test_adjust_wcs_twice_changes_nothing_more(analyzed):
    again = analyzed.ta.adjust_wcs(corrections="none")
    for name in ("wcs", "wcs_original", "target_x", "target_y", "residual_x"):
        assert again[name].item() == analyzed[name].item()
    remeasured = analyzed.ta.compute_offset(centroid="oss")
    assert remeasured["offset_x"].item() == analyzed["offset_x"].item()
    assert remeasured["wcs"].item() == analyzed["wcs_original"].item()
    assert not model.ADJUSTED & set(remeasured.coords)


def test_compute_offset_starts_from_wcs_of_file(nircam, analyzed):
    other = analyzed.ta.compute_offset(centroid=(31.0, 30.0)).ta.adjust_wcs(corrections="none")
    fresh = xta.analyze(nircam.science[0], centroid=(31.0, 30.0), corrections="none")
    assert other["target_x"].item() == fresh["target_x"].item()
    assert other.attrs["centroid_source"] == "given by hand"
    attached = other.ta.attach(nircam.ta, oss=nircam.oss_log)
    assert attached["wcs"].item() == analyzed["wcs_original"].item()
    assert "target_x" not in attached.coords


def test_compute_offset_takes_exposure_in_use_by_label(miri):
    ds = xta.open_exposure(miri.science[0]).ta.attach()
    truth = truth_of(miri, miri.science[0])
    k = ds.attrs["ta_in_use"]
    for choice in (slice(None, None, -1), [k], k):
        assert_star(
            ds.isel(ta_exposure=choice).ta.compute_offset(centroid="oss").ta.adjust_wcs(corrections="none"), truth
        )
    with pytest.raises(MissingError, match="a selection has dropped it"):
        ds.isel(ta_exposure=[k - 1]).ta.compute_offset(centroid="oss")


def test_compute_offset_refuses_star_with_flagged_core(nircam, edited):
    x, y = (round(value) for value in truth_of(nircam, nircam.ta[0]))

    def saturate(hdus):
        hdus["DQ"].data[y - 3 : y + 4, x - 3 : x + 4] |= 1

    ta = xta.open_exposure(edited(nircam.ta[0], saturate))
    with pytest.raises(CentroidError, match="of them in the star"):
        ta.ta.compute_offset(centroid="image")


@pytest.mark.parametrize("mode", ["nircam", "MIRIM_MASK1550"])
def test_compute_offset_of_failed_acquisition_takes_image(tmp_path, mode):
    visit = datasets.make_visit(tmp_path, mode=mode, integrations=1, failed_ta=True, ideal=True)
    ta = list(visit.ta)[-1:]  # of MIRI's two only the second failed
    with pytest.warns(XtaWarning, match="no onboard centroid.*TA image"):
        ds = xta.analyze(visit.science[0], acquisition=ta, corrections="none")
    assert ds.attrs["centroid_source"].startswith("TA image")
    assert ds.attrs["oss_status"].startswith("FAILED")
    assert_star(ds, truth_of(visit, visit.science[0]), 0.05)
    with pytest.raises(AcquisitionError, match="no onboard centroid"):
        ds.ta.compute_offset(centroid="oss")


def test_compute_offset_takes_first_centroid_where_second_failed(tmp_path):
    visit = datasets.make_visit(tmp_path, mode="miri", integrations=1, failed_ta=True, ideal=True)
    with pytest.warns(XtaWarning, match="did not converge"):
        ds = xta.analyze(visit.science[0], centroid="oss", corrections="none")
    assert_star(ds, truth_of(visit, visit.science[0]))


def test_compute_offset_without_log_takes_image(nircam, tmp_path):
    for path in (nircam.science[0], nircam.ta[0]):
        shutil.copy(path, tmp_path)
    with pytest.warns(XtaWarning, match="no event log"):
        ds = xta.analyze(tmp_path / nircam.science[0].name, corrections="none")
    assert "no event log" in ds.attrs["centroid_source"]
    assert_star(ds, truth_of(nircam, nircam.science[0]), 0.05)


def test_compute_offset_by_image_avoids_flagged_pixels(nircam, edited):
    """A flagged hot pixel and a flagged NaN beside the star do not pull the centroid."""
    x, y = (round(value) for value in truth_of(nircam, nircam.ta[0]))

    def edit(hdus):
        hdus["SCI"].data[5, 5] = 1e8
        hdus["SCI"].data[y + 3, x] = np.nan
        hdus["DQ"].data[5, 5] |= 1
        hdus["DQ"].data[y + 3, x] |= 1

    ta = xta.open_exposure(edited(nircam.ta[0], edit))
    clean = xta.open_exposure(nircam.ta[0]).ta.compute_offset(centroid="image")
    found = ta.ta.compute_offset(centroid="image")
    assert abs(float(found["centroid_x"] - clean["centroid_x"])) < 0.02
    assert abs(float(found["centroid_y"] - clean["centroid_y"])) < 0.02


def test_compute_offset_refuses_image_without_star(nircam, edited):
    def edit(hdus):
        hdus["SCI"].data[:] = np.random.default_rng(1).normal(0, 1, hdus["SCI"].data.shape)

    ta = xta.open_exposure(edited(nircam.ta[0], edit))
    with pytest.raises(CentroidError, match=r"no star stands out.*by hand"):
        ta.ta.compute_offset(centroid="image")


def test_compute_offset_takes_moving_target_where_acquired(nircam, edited):
    """Between acquisition and science the target moved by an arcsecond, and the telescope with it."""

    def moving(hdus):
        hdus[0].header["TARGTYPE"] = "MOVING"

    def moved(hdus):
        moving(hdus)
        hdus[0].header["TARG_DEC"] += 1 / 3600

    ta = edited(nircam.ta[0], moving)
    science = edited(nircam.science[0], moved)
    fixed = xta.analyze(nircam.science[0], centroid="oss", corrections="none")
    ds = xta.analyze(science, acquisition=ta, oss=nircam.oss_log, centroid="oss", corrections="none")
    assert ds["offset_dec"].item() == fixed["offset_dec"].item()
    ra, dec = fixed.ta.pixel_to_world(ds["target_x"], ds["target_y"])
    assert float(dec - fixed["target_dec"]) * 3600 == pytest.approx(1, abs=1e-6)
    assert float(ra) == pytest.approx(float(fixed["target_ra"]), abs=1e-9)


def test_compute_offset_warns_of_fixed_target_in_two_places(nircam, edited):
    """The star's pixel does not depend on the coordinates, as long as both images use the same."""

    def other_place(hdus):
        hdus[0].header["TARG_DEC"] += 1 / 3600

    ta = edited(nircam.ta[0], other_place)
    with pytest.warns(XtaWarning, match=r"1\.00 arcsec apart"):
        ds = xta.analyze(nircam.science[0], acquisition=ta, oss=nircam.oss_log, centroid="oss", corrections="none")
    assert_star(ds, truth_of(nircam, nircam.science[0]))


@pytest.mark.parametrize("value", [np.nan, None])
def test_compute_offset_refuses_target_without_position(nircam, value):
    ds = xta.open_exposure(nircam.science[0]).ta.attach()
    broken = ds.assign_coords(target_ra=value)
    with pytest.raises(AcquisitionError, match="no usable target position"):
        broken.ta.compute_offset(centroid="oss")


@pytest.mark.parametrize("centroid", ["OSS", "best", (1.0,), (np.nan, 2.0), (1, 2, 3), 5, ("a", "b"), (200.0, 5.0)])
def test_compute_offset_refuses_centroid_that_is_none(nircam, centroid):
    with pytest.raises(ArgumentError, match="centroid"):
        xta.analyze(nircam.science[0], centroid=centroid, corrections="none")
