"""Attach, offset, adjust: the star behind the mask, against known truth and against published numbers."""

import json
import logging
import shutil

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits

import xta
from xta import datasets, model
from xta.acquisition import find, products
from xta.errors import (
    AcquisitionError,
    ArgumentError,
    CentroidError,
    FileError,
    MissingError,
    OssLogError,
    ProductError,
    WCSError,
    XtaError,
    XtaWarning,
)
from xta.geometry import siaf, sky, wcs

STAR_ERROR = 1e-4  # [pixel] the bar on simulated visits
CLOSED_LOOP = 1e-6  # [pixel]


def truth_of(visit, path):
    row = visit.truth.sel(file=path.name)
    return float(row["star_x"]), float(row["star_y"])


def assert_star(ds, truth, tolerance=STAR_ERROR):
    assert abs(float(ds["target_x"]) - truth[0]) <= tolerance
    assert abs(float(ds["target_y"]) - truth[1]) <= tolerance
    assert abs(float(ds["residual_x"])) <= CLOSED_LOOP
    assert abs(float(ds["residual_y"])) <= CLOSED_LOOP


VISITS = {
    "pole": {"target": (80.0, 88.5)},
    "closer to the pole, large error": {"target": (10.0, 89.7), "pointing_error": (1.2, -0.9, 0.02)},
    "just after RA = 0": {"target": (0.00003, -20.0)},
    "just before RA = 0": {"target": (359.99997, 20.0)},
    "velocity aberration": {"va_scale": 1.0001},
    "wrong target coordinates": {"target_error": (0.5, -0.3)},
    "newest SIAF": {"prd": "PRDOPSSOC-075"},
    "dithered acquisition": {"ta_dithers": True},
    "small-grid dither": {"dithers": ((0.0, 0.0), (0.02, 0.01), (-0.02, 0.03))},
}


@pytest.mark.parametrize("case", VISITS)
def test_the_star_of_nircam_visits(tmp_path, case):
    visit = datasets.make_visit(tmp_path, mode="nircam", integrations=1, **VISITS[case])
    for path in visit.science:
        assert_star(xta.analyze(path), truth_of(visit, path))


@pytest.mark.parametrize("setup", [name for name in datasets.SETUPS if name != "NRCA5_MASK335R"])
def test_the_star_behind_every_mask(tmp_path, setup):
    """Round, bar, Lyot and four-quadrant masks, on every detector that has them."""
    visit = datasets.make_visit(tmp_path, mode=setup, integrations=1, target=(359.9999, 60.0))
    assert_star(xta.analyze(visit.science[0]), truth_of(visit, visit.science[0]))


@pytest.fixture(scope="module")
def analysed(nircam):
    return xta.analyze(nircam.science[0]).load()


def test_the_same_by_three_steps(nircam, analysed):
    ds = xr.open_dataset(nircam.science[0], engine="jwst")
    ds = ds.ta.attach(nircam.ta[0], oss=nircam.oss_log).ta.compute_offset().ta.adjust_wcs()
    xr.testing.assert_identical(ds.load(), analysed)


def test_the_dataset_describes_itself(analysed):
    for name, variable in analysed.variables.items():
        assert variable.attrs.get("long_name"), name
        if variable.dtype.kind == "f":
            assert variable.attrs.get("units"), name
    assert analysed["ta_sci"].dims == ("ta_exposure", "ta_y", "ta_x")
    tables = {"check", "error_part"}
    for name in model.ANALYSIS - {"wcs_original"}:
        assert name in analysed.coords
        assert set(analysed[name].dims) <= tables
    assert analysed.attrs["centroid_source"] == "OSS event log"
    assert analysed.attrs["oss_status"] == "SUCCESS"
    assert "TARGET LOCATE SUMMARY" in analysed.attrs["oss_log"]
    assert "detector coord" in analysed.attrs["oss_log"]
    steps = [line.split(": ")[1].split()[0].rstrip(";") for line in analysed.attrs["history"].split("\n")]
    assert steps == ["open_exposure", "attach", "compute_offset", "adjust_wcs"]


def test_offsets_are_wcs_minus_centroid_in_every_frame(analysed):
    """Each is recomputed here another way, on astropy's sphere."""
    from astropy.coordinates import SkyCoord

    c = {
        name: float(analysed[name])
        for name in analysed.coords
        if analysed[name].ndim == 0 and name != "wcs"
        if analysed[name].dtype.kind == "f"
    }
    target = SkyCoord(analysed.attrs["target_ra"], analysed.attrs["target_dec"], unit="deg")
    ra, dec = wcs.pixel_to_world(wcs.load(analysed["ta_wcs"].item(0)), c["centroid_x"], c["centroid_y"])
    centroid = SkyCoord(ra, dec, unit="deg")
    east, north = centroid.spherical_offsets_to(target)
    assert c["offset_east"] == pytest.approx(east.arcsec, abs=1e-9)
    assert c["offset_north"] == pytest.approx(north.arcsec, abs=1e-9)
    assert c["offset_ra"] == pytest.approx((target.ra - centroid.ra).wrap_at("180d").arcsec, abs=1e-9)
    assert c["offset_dec"] == pytest.approx((target.dec - centroid.dec).arcsec, abs=1e-9)
    assert c["offset_x"] == c["ta_target_x"] - c["centroid_x"]
    assert c["offset_y"] == c["ta_target_y"] - c["centroid_y"]


def test_the_corrected_wcs_is_the_dataset_s(analysed):
    x, y = analysed.ta.world_to_pixel(analysed["target_ra"], analysed["target_dec"])
    assert (float(x), float(y)) == pytest.approx((float(analysed["target_x"]), float(analysed["target_y"])), abs=1e-8)
    here = analysed.sel(x=149, y=173)
    assert (float(here["ra"]), float(here["dec"])) == analysed.ta.pixel_to_world(149, 173)
    before = wcs.load(analysed["wcs_original"].item())
    assert wcs.pixel_to_world(before, 149.0, 173.0)[0] != float(here["ra"])


def test_the_labels_of_a_crop_still_name_the_star(nircam, analysed):
    """The star is not lost when the image is cropped, and cropping before or after is the same."""
    window = {"x": slice(100, 200), "y": slice(120, 230)}
    ds = xta.open_exposure(nircam.science[0]).sel(window)
    ds = ds.ta.attach(oss=nircam.oss_log).ta.compute_offset().ta.adjust_wcs()
    xr.testing.assert_identical(ds.drop_vars("wcs").load(), analysed.sel(window).drop_vars("wcs"))


def test_adjusting_twice_changes_nothing_more(analysed):
    again = analysed.ta.adjust_wcs()
    for name in ("wcs", "wcs_original", "target_x", "target_y", "residual_x"):
        assert again[name].item() == analysed[name].item()
    remeasured = analysed.ta.compute_offset()
    assert remeasured["offset_x"].item() == analysed["offset_x"].item()
    assert remeasured["wcs"].item() == analysed["wcs_original"].item()
    assert not model.ADJUSTED & set(remeasured.coords)


def test_another_centroid_starts_from_the_file_s_wcs(nircam, analysed):
    other = analysed.ta.compute_offset(centroid=(31.0, 30.0)).ta.adjust_wcs()
    fresh = xta.analyze(nircam.science[0], centroid=(31.0, 30.0))
    assert other["target_x"].item() == fresh["target_x"].item()
    assert other.attrs["centroid_source"] == "given by hand"
    attached = other.ta.attach(nircam.ta, oss=nircam.oss_log)
    assert attached["wcs"].item() == analysed["wcs_original"].item()
    assert "target_x" not in attached.coords


def test_a_ta_exposure_by_itself(nircam, analysed):
    ta = xta.analyze(nircam.ta[0])
    truth = truth_of(nircam, nircam.ta[0])
    assert_star(ta, truth)
    assert ta["offset_x"].item() == analysed["offset_x"].item()
    alone = xta.open_exposure(nircam.ta[0]).ta.compute_offset(centroid="image").ta.adjust_wcs()
    assert_star(alone, truth, 0.05)


def test_inputs_are_left_alone(nircam):
    science, ta = xta.open_exposure(nircam.science[0]).load(), xta.open_exposure(nircam.ta[0]).load()
    before = science.copy(deep=True), ta.copy(deep=True)
    attached = science.ta.attach(ta, oss=nircam.oss_log)
    attached_before = attached.copy(deep=True)
    measured = attached.ta.compute_offset()
    measured_before = measured.copy(deep=True)
    measured.ta.adjust_wcs()
    for now, then in zip((science, ta, attached, measured), (*before, attached_before, measured_before), strict=True):
        xr.testing.assert_identical(now, then)


def test_netcdf_keeps_the_analysis(analysed, tmp_path):
    xta.to_netcdf(analysed, tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as again:
        again.load()
    assert again["wcs"].item() == analysed["wcs"].item()
    assert again.ta.compute_offset().ta.adjust_wcs()["target_x"].item() == analysed["target_x"].item()
    plain = [name for name in analysed.variables if analysed[name].dtype != object]
    for name in plain:
        np.testing.assert_array_equal(again[name].values, analysed[name].values)
    assert again.attrs == analysed.attrs


def test_several_acquisition_exposures_pair_with_their_centroids(miri):
    """MIRI: two TACQ images and two centroids; confirmation images have none. The last one counts."""
    ds = xta.analyze(miri.science[0])
    types = list(ds["ta_exp_type"].values)
    assert types.count("MIR_TACQ") == 2
    assert "MIR_TACONFIRM" in types
    for k, name in enumerate(ds["ta_filename"].values):
        x, y = float(ds["ta_oss_x"][k]), float(ds["ta_oss_y"][k])
        if types[k] == "MIR_TACONFIRM":
            assert np.isnan(x)
            continue
        row = miri.truth.sel(file=name)
        assert (x, y) == pytest.approx((float(row["star_x"]), float(row["star_y"])), abs=1e-5)
    assert ds.attrs["ta_in_use"] == 1
    reversed_order = xta.analyze(miri.science[0], acquisition=list(miri.ta)[::-1], oss=miri.oss_log)
    assert reversed_order["target_x"].item() == ds["target_x"].item()


def test_one_of_two_acquisition_images_takes_its_own_centroid(miri):
    """Pairing is by time, not by order: the inner image alone, or the outer one alone."""
    for path in miri.ta[:2]:
        ds = xta.analyze(miri.science[0], acquisition=path, oss=miri.oss_log)
        row = miri.truth.sel(file=path.name)
        assert float(ds["centroid_x"]) == pytest.approx(float(row["star_x"]), abs=1e-5)
        assert_star(ds, truth_of(miri, miri.science[0]))


def test_intended_positions_follow_the_dithers(tmp_path):
    visit = datasets.make_visit(tmp_path, mode="nircam", integrations=1, ta_dithers=True)
    ds = xta.analyze(visit.science[0])
    found = np.column_stack([ds["ta_intended_x"], ds["ta_intended_y"]])
    np.testing.assert_allclose(found, [(31.5, 31.5), (29.5, 35.5), (26.5, 30.5)])
    stars = np.array([truth_of(visit, path) for path in visit.ta])
    assert np.abs(stars - found).max() < 6
    # The sample telescope dithers to about 1 px; a wrong sign would show as 4 px or more.
    assert np.ptp(stars - found, axis=0).max() < 1.5
    assert ds.attrs["ta_in_use"] == 2


@pytest.fixture(scope="module")
def dithered(tmp_path_factory):
    return datasets.make_visit(tmp_path_factory.mktemp("dithered"), mode="nircam", integrations=1, ta_dithers=True)


@pytest.mark.parametrize("given", [[0], [1], [0, 1]])
def test_the_centroid_of_a_dither_that_is_missing_is_not_given_to_another(dithered, given):
    """OSS centroids at the last of three positions; with the others alone the image has to serve."""
    files = [dithered.ta[k] for k in given]
    with pytest.warns(XtaWarning, match="no onboard centroid"):
        ds = xta.analyze(dithered.science[0], acquisition=files, oss=dithered.oss_log)
    assert_star(ds, truth_of(dithered, dithered.science[0]), 0.05)
    with pytest.warns(XtaWarning, match="no onboard centroid"):
        alone = xta.analyze(files[-1], oss=dithered.oss_log)
    assert_star(alone, truth_of(dithered, files[-1]), 0.05)


def test_without_exposure_lines_a_dithered_acquisition_is_known_by_its_header(dithered, tmp_path):
    lines = [line for line in dithered.oss_log.read_text().splitlines() if "NRC_TACQ" not in line]
    (tmp_path / "log.csv").write_text("\n".join(lines))
    ds = xta.analyze(dithered.science[0], oss=tmp_path / "log.csv")
    assert_star(ds, truth_of(dithered, dithered.science[0]))
    with pytest.warns(XtaWarning, match="no onboard centroid"):
        ds = xta.analyze(dithered.science[0], acquisition=dithered.ta[1], oss=tmp_path / "log.csv")
    assert_star(ds, truth_of(dithered, dithered.science[0]), 0.05)


def test_the_exposure_in_use_is_a_label_not_a_position(miri):
    ds = xta.open_exposure(miri.science[0]).ta.attach()
    truth = truth_of(miri, miri.science[0])
    k = ds.attrs["ta_in_use"]
    for choice in (slice(None, None, -1), [k], k):
        assert_star(ds.isel(ta_exposure=choice).ta.compute_offset().ta.adjust_wcs(), truth)
    with pytest.raises(MissingError, match="dropped by a selection"):
        ds.isel(ta_exposure=[k - 1]).ta.compute_offset()


def test_a_transposed_ta_dataset_is_the_same_one(nircam):
    ta = xta.open_exposure(nircam.ta[0])
    found = ta.transpose("x", "y").ta.compute_offset(centroid="image")
    assert found["centroid_x"].item() == ta.ta.compute_offset(centroid="image")["centroid_x"].item()
    for changed in (ta.isel(x=slice(None, None, 2)), ta.coarsen(x=2, y=2).mean()):
        with pytest.raises(AcquisitionError, match="not successive pixels"):
            changed.ta.attach()


def test_a_ta_cube_is_averaged_without_its_flagged_pixels(nircam):
    """One cosmic ray, flagged in one of ten integrations, leaves the centroid where it is."""
    ta = xta.open_exposure(nircam.ta[0]).load()
    cube = xr.concat([ta] * 10, dim="integration")
    x, y = (round(value) for value in truth_of(nircam, nircam.ta[0]))
    cube["sci"].values[3, y + 1, x + 2] = 1e6
    cube["dq"].values[3, y + 1, x + 2] |= 1
    plain = ta.ta.compute_offset(centroid="image")
    found = cube.ta.compute_offset(centroid="image")
    assert float(found["centroid_x"]) == pytest.approx(float(plain["centroid_x"]), abs=1e-4)
    assert float(found["centroid_y"]) == pytest.approx(float(plain["centroid_y"]), abs=1e-4)
    assert int(found["ta_dq"].sel(ta_x=x + 2, ta_y=y + 1).item()) & 1 == 0


def test_a_star_whose_core_is_flagged_is_not_centroided(nircam, edited):
    x, y = (round(value) for value in truth_of(nircam, nircam.ta[0]))

    def saturate(hdus):
        hdus["DQ"].data[y - 3 : y + 4, x - 3 : x + 4] |= 1

    ta = xta.open_exposure(edited(nircam.ta[0], saturate))
    with pytest.raises(CentroidError, match="in the star itself"):
        ta.ta.compute_offset(centroid="image")


@pytest.mark.parametrize(
    ("remove", "says"),
    [
        (["VISIT_ID"], "does not say its visit"),
        (["INSTRUME"], "does not say its instrument"),
        (["APERNAME"], "no APERNAME"),
    ],
)
def test_a_ta_exposure_without_its_keywords_is_refused(nircam, edited, remove, says):
    def edit(hdus):
        for keyword in remove:
            hdus[0].header.remove(keyword)

    with pytest.raises(AcquisitionError, match=says):
        xta.analyze(nircam.science[0], acquisition=edited(nircam.ta[0], edit), oss=nircam.oss_log)


def test_a_readout_that_is_not_the_array_is_refused(miri, edited):
    def edit(hdus):
        for keyword in ("SUBARRAY", "SUBSTRT1", "SUBSTRT2"):
            hdus[0].header.remove(keyword)

    ta = [edited(path, edit) for path in miri.ta[:2]]
    with pytest.raises(AcquisitionError, match="correct these keywords"):
        xta.analyze(miri.science[0], acquisition=ta, oss=miri.oss_log)


def test_a_guide_star_that_one_file_does_not_name_is_warned_of(nircam, edited):
    path = edited(nircam.ta[0], lambda hdus: hdus[0].header.remove("GDSTARID"))
    with pytest.warns(XtaWarning, match="does not say its guide star"):
        xta.analyze(nircam.science[0], acquisition=path, oss=nircam.oss_log)


def test_a_ta_target_that_is_no_number_is_left_out(nircam, edited):
    path = edited(nircam.ta[0], lambda hdus: hdus[0].header.set("TARG_RA", "abc"))
    with pytest.warns(XtaWarning, match="TARG_RA is 'abc', not a number"):
        ds = xta.analyze(nircam.science[0], acquisition=path, oss=nircam.oss_log)
    assert_star(ds, truth_of(nircam, nircam.science[0]))


@pytest.mark.parametrize("options", [{"acquisition": 5}, {"acquisition": {"a": 1}}, {"targ_acq": 5}])
def test_what_is_no_acquisition_is_refused(nircam, options):
    with pytest.raises(ArgumentError):
        xta.analyze(nircam.science[0], **options)


def test_two_visits_in_one_folder_find_their_own_logs(tmp_path):
    """The log of a visit mentions its neighbour; the neighbour's own log is the one to use."""
    first = datasets.make_visit(tmp_path, mode="nircam", integrations=1, visit_id="09990001001")
    second = datasets.make_visit(tmp_path, mode="nircam", integrations=1, visit_id="09990002001", seed=1)
    padded = first.oss_log.read_text() + "2024-03-10 09:00:00.000,60379.375,VISIT V09990002001 STARTED,varchar\n"
    first.oss_log.write_text(padded)
    (tmp_path / "0_across_notes.txt").write_text(f"notes on V{second.visit_id}, lost in space\n")
    ds = xta.analyze(second.science[0])
    assert ds.attrs["centroid_source"] == "OSS event log"
    assert_star(ds, truth_of(second, second.science[0]))


def test_linked_files_have_the_neighbours_of_both_places(nircam, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "work").mkdir()
    stored = shutil.copy(nircam.science[0], tmp_path / "store" / "abc123")
    link = tmp_path / "work" / nircam.science[0].name
    link.symlink_to(stored)
    for path in (*nircam.ta, nircam.oss_log):
        shutil.copy(path, tmp_path / "work")
    assert_star(xta.analyze(link), truth_of(nircam, nircam.science[0]))


# A failed acquisition


@pytest.mark.parametrize("mode", ["nircam", "MIRIM_MASK1550"])
def test_a_failed_acquisition_falls_back_to_the_image(tmp_path, mode):
    visit = datasets.make_visit(tmp_path, mode=mode, integrations=1, failed_ta=True)
    ta = list(visit.ta)[-1:]  # of MIRI's two only the second failed
    with pytest.warns(XtaWarning, match="no onboard centroid.*TA image"):
        ds = xta.analyze(visit.science[0], acquisition=ta)
    assert ds.attrs["centroid_source"].startswith("TA image")
    assert ds.attrs["oss_status"].startswith("FAILED")
    assert_star(ds, truth_of(visit, visit.science[0]), 0.05)
    with pytest.raises(AcquisitionError, match="no onboard centroid"):
        ds.ta.compute_offset(centroid="oss")


def test_the_first_of_two_centroids_serves_where_the_second_failed(tmp_path):
    visit = datasets.make_visit(tmp_path, mode="miri", integrations=1, failed_ta=True)
    with pytest.warns(XtaWarning, match="did not converge"):
        ds = xta.analyze(visit.science[0])
    assert_star(ds, truth_of(visit, visit.science[0]))


def test_without_a_log_the_image_is_used_and_said(nircam, tmp_path):
    for path in (nircam.science[0], nircam.ta[0]):
        shutil.copy(path, tmp_path)
    with pytest.warns(XtaWarning, match="no event log"):
        ds = xta.analyze(tmp_path / nircam.science[0].name)
    assert "no event log" in ds.attrs["centroid_source"]
    assert_star(ds, truth_of(nircam, nircam.science[0]), 0.05)


def test_the_image_centroid_avoids_flagged_pixels(nircam, edited):
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


def test_an_image_without_a_star_is_refused(nircam, edited):
    def edit(hdus):
        hdus["SCI"].data[:] = np.random.default_rng(1).normal(0, 1, hdus["SCI"].data.shape)

    ta = xta.open_exposure(edited(nircam.ta[0], edit))
    with pytest.raises(CentroidError, match=r"no star stands out.*by hand"):
        ta.ta.compute_offset(centroid="image")


def test_a_moving_target_is_taken_where_it_was_acquired(nircam, edited):
    """Between acquisition and science the target moved by an arcsecond, and the telescope with it."""

    def moving(hdus):
        hdus[0].header["TARGTYPE"] = "MOVING"

    def moved(hdus):
        moving(hdus)
        hdus[0].header["TARG_DEC"] += 1 / 3600

    ta = edited(nircam.ta[0], moving)
    science = edited(nircam.science[0], moved)
    fixed = xta.analyze(nircam.science[0])
    ds = xta.analyze(science, acquisition=ta, oss=nircam.oss_log)
    assert ds["offset_dec"].item() == fixed["offset_dec"].item()
    ra, dec = fixed.ta.pixel_to_world(ds["target_x"], ds["target_y"])
    assert float(dec - fixed["target_dec"]) * 3600 == pytest.approx(1, abs=1e-6)
    assert float(ra) == pytest.approx(float(fixed["target_ra"]), abs=1e-9)


def test_a_fixed_target_in_two_places_is_warned_of(nircam, edited):
    """The star's pixel does not depend on the coordinates, as long as both images use the same."""

    def other_place(hdus):
        hdus[0].header["TARG_DEC"] += 1 / 3600

    ta = edited(nircam.ta[0], other_place)
    with pytest.warns(XtaWarning, match=r"1\.00 arcsec apart"):
        ds = xta.analyze(nircam.science[0], acquisition=ta, oss=nircam.oss_log)
    assert_star(ds, truth_of(nircam, nircam.science[0]))


# Inputs that do not belong together


def other(keyword, value):
    return lambda hdus: hdus[0].header.set(keyword, value)


@pytest.mark.parametrize(
    ("keyword", "value", "says"),
    [
        ("VISIT_ID", "09990002001", "belongs to visit 09990002001"),
        ("GDSTARID", "S0000000", "belongs to guide star S0000000"),
        ("INSTRUME", "MIRI", "belongs to instrument MIRI"),
        ("EXP_TYPE", "NRC_IMAGE", "not a target acquisition"),
    ],
)
def test_a_ta_exposure_that_does_not_belong_is_refused(nircam, edited, keyword, value, says):
    path = edited(nircam.ta[0], other(keyword, value))
    with pytest.raises(AcquisitionError, match=says):
        xta.analyze(nircam.science[0], acquisition=path, oss=nircam.oss_log)


def test_no_acquisition_says_where_it_was_looked_for(nircam, tmp_path):
    shutil.copy(nircam.science[0], tmp_path)
    with pytest.raises(
        AcquisitionError, match=r"no TA exposure of visit 09990001001 beside the file.*none from the archive"
    ):
        xta.analyze(tmp_path / nircam.science[0].name)
    with pytest.raises(ArgumentError, match="empty"):
        xta.analyze(nircam.science[0], acquisition=[])


def test_a_dataset_without_a_file_needs_its_acquisition(nircam):
    ds = xta.open_exposure(nircam.science[0])
    ds.encoding = {}
    with pytest.raises(AcquisitionError, match="does not know its file"):
        ds.ta.attach()


def test_steps_in_the_wrong_order_say_which_comes_first(nircam):
    ds = xta.open_exposure(nircam.science[0])
    with pytest.raises(AcquisitionError, match=r"ds\.ta\.attach"):
        ds.ta.compute_offset()
    with pytest.raises(MissingError, match=r"ds\.ta\.compute_offset"):
        ds.ta.attach().ta.adjust_wcs()


@pytest.mark.parametrize("value", [np.nan, None])
def test_a_target_without_a_position_is_refused(nircam, value):
    ds = xta.open_exposure(nircam.science[0]).ta.attach()
    broken = ds.assign_attrs(target_ra=value)
    with pytest.raises(AcquisitionError, match="no usable target position"):
        broken.ta.compute_offset()


def test_a_science_file_without_a_wcs_is_refused(nircam, edited):
    def edit(hdus):
        del hdus["ASDF"]

    path = edited(nircam.science[0], edit)
    with pytest.warns(XtaWarning, match="no ASDF"), pytest.raises(WCSError, match="no wcs"):
        xta.analyze(path, acquisition=nircam.ta, oss=nircam.oss_log)


def test_a_log_of_another_visit_is_refused(nircam, miri, tmp_path):
    log = tmp_path / "other.csv"
    log.write_text(nircam.oss_log.read_text().replace("V09990001", "V09990007"))
    with pytest.raises(OssLogError, match="09990001001"):
        xta.analyze(nircam.science[0], oss=log)
    with pytest.raises(XtaError):
        xta.analyze(nircam.science[0], oss=tmp_path / "absent.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(OssLogError):
        xta.analyze(nircam.science[0], oss=tmp_path / "empty.csv")
    # Another visit's log with this visit's name on it: the centroid is off the TA readout.
    log.write_text(miri.oss_log.read_text().replace(f"V{miri.visit_id}", f"V{nircam.visit_id}"))
    with pytest.raises(XtaError):
        xta.analyze(nircam.science[0], oss=log, centroid="oss")


@pytest.mark.parametrize("centroid", ["OSS", "best", (1.0,), (np.nan, 2.0), (1, 2, 3), 5, ("a", "b"), (200.0, 5.0)])
def test_a_centroid_that_is_none_is_refused(nircam, centroid):
    with pytest.raises(ArgumentError, match="centroid"):
        xta.analyze(nircam.science[0], centroid=centroid)


@pytest.mark.parametrize("bad", ["truncated", "text", "absent"])
def test_a_bad_ta_file_is_refused(nircam, tmp_path, bad):
    path = tmp_path / nircam.ta[0].name
    if bad == "truncated":
        path.write_bytes(nircam.ta[0].read_bytes()[:20_000])
    elif bad == "text":
        path.write_text("hello" * 1000)
    with pytest.raises((FileError, ProductError), match=path.name):
        xta.analyze(nircam.science[0], acquisition=path)


def test_the_better_product_of_a_ta_exposure_is_found(nircam, tmp_path):
    for kind in ("rate", "cal", "rateints"):
        shutil.copy(nircam.ta[0], tmp_path / nircam.ta[0].name.replace("_cal", f"_{kind}"))
    shutil.copy(nircam.science[0], tmp_path)
    found = products.ranked_products(find.find_ta(tmp_path, nircam.visit_id), find.KINDS)
    assert [group[0].path.name for group in found] == [nircam.ta[0].name]


def test_a_recentred_dataset_is_not_analysed_again(analysed):
    recentred = analysed.assign_coords(star_x=149.0, star_y=173.0)
    with pytest.raises(AcquisitionError, match="recentred"):
        recentred.ta.attach()
    with pytest.raises(AcquisitionError, match="recentred"):
        recentred.ta.compute_offset()
    with pytest.raises(WCSError, match="recentred"):
        recentred.ta.adjust_wcs()


# TARG_ACQ


def targ_acq(nircam, status="SUCCESSFUL", **keywords):
    x, y = truth_of(nircam, nircam.ta[0])
    with fits.open(nircam.ta[0], memmap=False) as hdus:
        header = hdus[0].header.copy()
    header["FILENAME"] = nircam.ta[0].name.replace("_cal", "_uncal")
    x_det, y_det = siaf.pixel_to_det(siaf.readout("NIRCAM", "NRCA5_TAMASK335R", None, header["PRD_VER"]), x, y)
    card = {"TASTATUS": status, "STAT_RSN": "", "DTCENCOL": x_det, "DTCENROW": y_det} | keywords
    return fits.HDUList([fits.PrimaryHDU(header=header), fits.ImageHDU(name="TARG_ACQ", header=fits.Header(card))])


def test_targ_acq_serves_where_there_is_no_log(nircam, tmp_path):
    path = tmp_path / nircam.ta[0].name.replace("_cal", "_uncal")
    targ_acq(nircam).writeto(path)
    for source in (*nircam.science, *nircam.ta):
        shutil.copy(source, tmp_path)
    found = xta.analyze(tmp_path / nircam.science[0].name)
    assert found.attrs["centroid_source"] == f"TARG_ACQ of {path.name}"
    assert_star(found, truth_of(nircam, nircam.science[0]))
    given = xta.analyze(nircam.science[0], targ_acq=path)
    assert given.attrs["centroid_source"] == "OSS event log"


def test_targ_acq_of_another_exposure_is_not_used(miri):
    """The record of the inner image with the outer image alone."""
    x, y = truth_of(miri, miri.ta[1])
    with fits.open(miri.ta[1], memmap=False) as hdus:
        header = hdus[0].header.copy()
    header["FILENAME"] = miri.ta[1].name.replace("_cal", "_uncal")
    x_det, y_det = siaf.pixel_to_det(siaf.readout("MIRI", "MIRIM_TA1140_CUR", "MASK1140", header["PRD_VER"]), x, y)
    card = fits.Header({"TASTATUS": "SUCCESSFUL", "DTCENCOL": x_det, "DTCENROW": y_det})
    record = fits.HDUList([fits.PrimaryHDU(header=header), fits.ImageHDU(name="TARG_ACQ", header=card)])
    science = xta.open_exposure(miri.science[0])
    science.encoding = {}
    with pytest.warns(XtaWarning, match="of none of the TA exposures"):
        ds = science.ta.attach(miri.ta[0], targ_acq=record)
    assert ds.attrs["oss_status"] != "SUCCESS"
    both = science.ta.attach(miri.ta[:2], targ_acq=record).ta.compute_offset().ta.adjust_wcs()
    assert_star(both, truth_of(miri, miri.science[0]))


@pytest.mark.parametrize(
    "dummy", [{"status": "UNSUCCESSFUL", "STAT_RSN": "Target Locate Summary Failed"}, {"DTCENCOL": -999}]
)
def test_an_unsuccessful_targ_acq_is_no_centroid(nircam, tmp_path, dummy):
    for source in (*nircam.science, *nircam.ta):
        shutil.copy(source, tmp_path)
    with pytest.warns(XtaWarning, match="TARG_ACQ says"):
        ds = xta.analyze(tmp_path / nircam.science[0].name, targ_acq=targ_acq(nircam, **dummy))
    assert ds.attrs["centroid_source"].startswith("TA image")


def test_targ_acq_faults(nircam, tmp_path):
    from xta.acquisition.targ_acq import read_targ_acq

    with pytest.raises(ProductError, match="no TARG_ACQ"):
        read_targ_acq(nircam.ta[0])
    with pytest.raises(FileError, match="absent"):
        read_targ_acq(tmp_path / "absent.fits")
    foreign = targ_acq(nircam)
    foreign[0].header["VISIT_ID"] = "09990002001"
    for source in (*nircam.science, *nircam.ta):
        shutil.copy(source, tmp_path)
    with pytest.raises(AcquisitionError, match="belongs to visit"):
        xta.analyze(tmp_path / nircam.science[0].name, targ_acq=foreign)


# Logging, the accessor, and the published case


def test_the_log_lines_carry_their_units(nircam, caplog):
    with caplog.at_level(logging.INFO, logger="xta"):
        ds = xta.analyze(nircam.science[0])
    text = caplog.text
    assert f"{float(ds['offset_ra']):.4f}, {float(ds['offset_dec']):.4f} arcsec" in text
    assert f"{float(ds['target_x']):.4f}, {float(ds['target_y']):.4f} px" in text
    assert "deg" not in text


PUBLISHED = {
    "V01386001001": {"reference": (31.5, 31.5), "oss": (32.1563, 29.52431), "tolerance": 1e-3, "sky": (0.2447, 0.3639)},
    "V01386008001": {
        "reference": (132.5, 124.5),
        "oss": (132.591458, 124.606848),
        "tolerance": 2e-3,
        "sky": (-0.1234, -0.2915),
    },
}


@pytest.mark.parametrize("visit", PUBLISHED)
def test_published_analyses(shared, visit):
    """Right where the published one is, and different by the error of the analytic inverse alone."""
    folder = shared / "published" / visit
    expected = json.loads((folder / "expected.json").read_text())
    case = PUBLISHED[visit]
    ta, science = (folder / name for name in expected["files"])
    ds = xta.analyze(science, acquisition=ta, oss=folder / "osslog.csv")
    value = {
        name: float(ds[name])
        for name in model.ANALYSIS | set(ds.coords)
        if name in ds.coords and ds[name].ndim == 0 and ds[name].dtype.kind == "f"
    }

    def pair(name):
        return value[f"{name}_x"], value[f"{name}_y"]

    def analytic(name, error):
        return tuple(a + b for a, b in zip(pair(name), pair(error), strict=True))

    assert pair("centroid") == pytest.approx(case["oss"], abs=1e-9)
    assert pair("ta_reference") == pytest.approx(case["reference"], abs=1e-9)
    assert pair("target") == pytest.approx(expected["star_exact"], abs=1e-4)
    assert analytic("target", "inverse_error") == pytest.approx(expected["star_analytic"], abs=case["tolerance"])
    printed = [float(number) for number in expected["published"]["SCI target px, adjusted"].split()]
    assert analytic("target", "inverse_error") == pytest.approx(printed, abs=case["tolerance"])
    assert analytic("ta_target", "ta_inverse_error") == pytest.approx(expected["ta_target_wcs"], abs=1e-6)
    assert analytic("offset", "ta_inverse_error") == pytest.approx(expected["offset_px"], abs=1e-6)
    assert (value["offset_east"], value["offset_north"]) == pytest.approx(case["sky"], abs=5e-5)
    assert max(abs(value["residual_x"]), abs(value["residual_y"])) < 1e-8
    assert (value["offset_ra"], value["offset_dec"]) == pytest.approx(expected["offset_radec"], abs=1e-6)
    assert (value["centroid_ra"], value["centroid_dec"]) == pytest.approx(
        [float(number) for number in expected["published"]["OSS centroid RA, Dec"].split()], abs=6e-7
    )
    # The published residual of the closed loop is the analytic inverse of the TA WCS, and nothing else.
    alone = xta.analyze(ta, oss=folder / "osslog.csv")
    residual = [float(number) for number in expected["published"]["residual px"].split()]
    assert (float(alone["inverse_error_x"]), float(alone["inverse_error_y"])) == pytest.approx(residual, abs=5e-4)


def test_sky_is_not_lost_on_the_way(analysed):
    assert sky.the_wcs(analysed) is sky.the_wcs(analysed)
    assert set(analysed.xindexes) == {"integration", "x", "y", "ta_exposure", "ta_x", "ta_y", "check", "error_part"}
