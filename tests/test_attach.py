"""Attach the acquisition: what belongs to an exposure, what does not, and how exposures are stacked."""

import pickle
import shutil

import numpy as np
import pytest
import xarray as xr

import xta
from tests.stars import assert_star, truth_of
from xta import datasets
from xta.errors import (
    AcquisitionError,
    ArgumentError,
    FileError,
    OssLogError,
    ProductError,
    WCSError,
    XtaError,
    XtaWarning,
)


def test_attach_pairs_exposures_with_centroids(miri):
    """MIRI: two TACQ images and two centroids; confirmation images have none. The last one counts."""
    ds = xta.analyze(miri.science[0], centroid="oss", corrections="none")
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
    reversed_order = xta.analyze(
        miri.science[0], acquisition=list(miri.ta)[::-1], oss=miri.oss_log, centroid="oss", corrections="none"
    )
    assert reversed_order["target_x"].item() == ds["target_x"].item()


def test_attach_of_one_of_two_images_takes_its_own_centroid(miri):
    """Pairing is by time, not by order: the inner image alone, or the outer one alone."""
    for path in miri.ta[:2]:
        ds = xta.analyze(miri.science[0], acquisition=path, oss=miri.oss_log, centroid="oss", corrections="none")
        row = miri.truth.sel(file=path.name)
        assert float(ds["centroid_x"]) == pytest.approx(float(row["star_x"]), abs=1e-5)
        assert_star(ds, truth_of(miri, miri.science[0]))


def test_attach_intended_positions_follow_dithers(tmp_path):
    visit = datasets.make_visit(tmp_path, mode="nircam", integrations=1, ta_dithers=True, ideal=True)
    ds = xta.analyze(visit.science[0], centroid="oss", corrections="none")
    found = np.column_stack([ds["ta_intended_x"], ds["ta_intended_y"]])
    np.testing.assert_allclose(found, [(31.5, 31.5), (29.5, 35.5), (26.5, 30.5)])
    stars = np.array([truth_of(visit, path) for path in visit.ta])
    assert np.abs(stars - found).max() < 6
    # The sample telescope dithers to about 1 px; a wrong sign would show as 4 px or more.
    assert np.ptp(stars - found, axis=0).max() < 1.5
    assert ds.attrs["ta_in_use"] == 2


@pytest.mark.parametrize(("number", "intended"), [(2, (29.5, 35.5)), ("2", (29.5, 35.5)), ("first", (31.5, 31.5))])
def test_attach_intended_position_of_number_in_header(nircam, number, intended):
    """Without a number that can be read the exposure is the first."""
    ta = xta.open_exposure(nircam.ta[0]).assign_coords(exposure_number=number)
    ds = xta.open_exposure(nircam.science[0]).ta.attach(ta, oss=nircam.oss_log)
    assert (ds["ta_intended_x"].item(), ds["ta_intended_y"].item()) == pytest.approx(intended)


@pytest.fixture(scope="module")
def dithered(tmp_path_factory):
    return datasets.make_visit(
        tmp_path_factory.mktemp("dithered"), mode="nircam", integrations=1, ta_dithers=True, ideal=True
    )


@pytest.mark.parametrize("given", [[0], [1], [0, 1]])
def test_attach_keeps_centroid_of_missing_dither_from_others(dithered, given):
    """OSS centroids at the last of three positions; with the others alone the image has to serve."""
    files = [dithered.ta[k] for k in given]
    with pytest.warns(XtaWarning, match="no onboard centroid"):
        ds = xta.analyze(dithered.science[0], acquisition=files, oss=dithered.oss_log, corrections="none")
    assert_star(ds, truth_of(dithered, dithered.science[0]), 0.05)
    with pytest.warns(XtaWarning, match="no onboard centroid"):
        alone = xta.analyze(files[-1], oss=dithered.oss_log)
    assert_star(alone, truth_of(dithered, files[-1]), 0.05)


def test_attach_without_exposure_lines_reads_dithers_of_header(dithered, tmp_path):
    lines = [line for line in dithered.oss_log.read_text().splitlines() if "NRC_TACQ" not in line]
    (tmp_path / "log.csv").write_text("\n".join(lines))
    ds = xta.analyze(dithered.science[0], oss=tmp_path / "log.csv", centroid="oss", corrections="none")
    assert_star(ds, truth_of(dithered, dithered.science[0]))
    with pytest.warns(XtaWarning, match="no onboard centroid"):
        ds = xta.analyze(
            dithered.science[0],
            acquisition=dithered.ta[1],
            oss=tmp_path / "log.csv",
            corrections="none",
        )
    assert_star(ds, truth_of(dithered, dithered.science[0]), 0.05)


def test_attach_averages_cube_without_flagged_pixels(nircam):
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


def test_attach_takes_transposed_and_refuses_thinned_ta(nircam):
    ta = xta.open_exposure(nircam.ta[0])
    found = ta.transpose("x", "y").ta.compute_offset(centroid="image")
    assert found["centroid_x"].item() == ta.ta.compute_offset(centroid="image")["centroid_x"].item()
    for changed in (ta.isel(x=slice(None, None, 2)), ta.coarsen(x=2, y=2).mean()):
        with pytest.raises(AcquisitionError, match="not successive pixels"):
            changed.ta.attach()


@pytest.mark.parametrize(
    ("remove", "says"),
    [
        (["VISIT_ID"], "has no visit"),
        (["INSTRUME"], "has no instrument"),
        (["APERNAME"], "no APERNAME"),
    ],
)
def test_attach_refuses_ta_without_keywords(nircam, edited, remove, says):
    def edit(hdus):
        for keyword in remove:
            hdus[0].header.remove(keyword)

    with pytest.raises(AcquisitionError, match=says):
        xta.analyze(
            nircam.science[0],
            acquisition=edited(nircam.ta[0], edit),
            oss=nircam.oss_log,
            centroid="oss",
            corrections="none",
        )


def test_attach_refuses_readout_that_is_not_the_array(miri, edited):
    def edit(hdus):
        for keyword in ("SUBARRAY", "SUBSTRT1", "SUBSTRT2"):
            hdus[0].header.remove(keyword)

    ta = [edited(path, edit) for path in miri.ta[:2]]
    with pytest.raises(AcquisitionError, match="correct these keywords"):
        xta.analyze(miri.science[0], acquisition=ta, oss=miri.oss_log, centroid="oss", corrections="none")


def test_attach_warns_of_aperture_that_siaf_lacks(nircam, edited, tmp_path):
    science = xta.open_exposure(shutil.copy(nircam.science[0], tmp_path))
    ta = edited(nircam.ta[0], lambda hdus: hdus[0].header.set("APERNAME", "NRCA5_NONSENSE"))
    with pytest.warns(XtaWarning, match="NRCA5_NONSENSE"):
        ds = science.ta.attach(ta)
    assert np.isnan(ds["ta_intended_x"]).all()


def test_attach_warns_of_unnamed_guide_star(nircam, edited):
    path = edited(nircam.ta[0], lambda hdus: hdus[0].header.remove("GDSTARID"))
    with pytest.warns(XtaWarning, match="has no guide star"):
        xta.analyze(nircam.science[0], acquisition=path, oss=nircam.oss_log, centroid="oss", corrections="none")


def test_attach_leaves_out_ta_target_that_is_no_number(nircam, edited):
    path = edited(nircam.ta[0], lambda hdus: hdus[0].header.set("TARG_RA", "abc"))
    with pytest.warns(XtaWarning, match="TARG_RA is 'abc', not a number"):
        ds = xta.analyze(nircam.science[0], acquisition=path, oss=nircam.oss_log, centroid="oss", corrections="none")
    assert_star(ds, truth_of(nircam, nircam.science[0]))


@pytest.mark.parametrize("options", [{"acquisition": 5}, {"acquisition": {"a": 1}}, {"targ_acq": 5}])
def test_attach_refuses_arguments_that_are_no_acquisition(nircam, options):
    with pytest.raises(ArgumentError):
        xta.analyze(nircam.science[0], **options)


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
def test_attach_refuses_ta_that_does_not_belong(nircam, edited, keyword, value, says):
    path = edited(nircam.ta[0], other(keyword, value))
    with pytest.raises(AcquisitionError, match=says):
        xta.analyze(nircam.science[0], acquisition=path, oss=nircam.oss_log, centroid="oss", corrections="none")


def test_attach_without_acquisition_says_where_it_looked(nircam, tmp_path):
    shutil.copy(nircam.science[0], tmp_path)
    with pytest.raises(
        AcquisitionError, match=r"no TA exposure of visit 09990001001 beside the file.*none from the archive"
    ) as caught:
        xta.analyze(tmp_path / nircam.science[0].name, centroid="oss", corrections="none")
    assert str(caught.value) == f"{caught.value.problem}. {caught.value.args[1]}"
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    with pytest.raises(ArgumentError, match="empty"):
        xta.analyze(nircam.science[0], acquisition=[], centroid="oss", corrections="none")


def test_attach_of_dataset_without_file_needs_acquisition(nircam):
    ds = xta.open_exposure(nircam.science[0])
    ds.coords["source"] = ""
    with pytest.raises(AcquisitionError, match="does not contain the path"):
        ds.ta.attach()


def test_attach_refuses_log_of_other_visit(nircam, miri, tmp_path):
    log = tmp_path / "other.csv"
    log.write_text(nircam.oss_log.read_text().replace("V09990001", "V09990007"))
    with pytest.raises(OssLogError, match="09990001001"):
        xta.analyze(nircam.science[0], oss=log, centroid="oss", corrections="none")
    with pytest.raises(XtaError):
        xta.analyze(nircam.science[0], oss=tmp_path / "absent.csv", centroid="oss", corrections="none")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(OssLogError):
        xta.analyze(nircam.science[0], oss=tmp_path / "empty.csv", centroid="oss", corrections="none")
    # Another visit's log with this visit's name on it: the centroid is off the TA readout.
    log.write_text(miri.oss_log.read_text().replace(f"V{miri.visit_id}", f"V{nircam.visit_id}"))
    with pytest.raises(XtaError):
        xta.analyze(nircam.science[0], oss=log, centroid="oss", corrections="none")


@pytest.mark.parametrize("bad", ["truncated", "text", "absent"])
def test_attach_refuses_damaged_ta_that_was_given(nircam, tmp_path, bad):
    path = tmp_path / nircam.ta[0].name
    if bad == "truncated":
        path.write_bytes(nircam.ta[0].read_bytes()[:20_000])
    elif bad == "text":
        path.write_text("hello" * 1000)
    with pytest.raises((FileError, ProductError), match=path.name):
        xta.analyze(nircam.science[0], acquisition=path, centroid="oss", corrections="none")


def test_analyze_refuses_science_without_wcs(nircam, edited):
    def edit(hdus):
        del hdus["ASDF"]

    path = edited(nircam.science[0], edit)
    with pytest.warns(XtaWarning, match="no ASDF"), pytest.raises(WCSError, match="no wcs"):
        xta.analyze(path, acquisition=nircam.ta, oss=nircam.oss_log, centroid="oss", corrections="none")


def test_attach_finds_log_of_own_visit(tmp_path):
    """The log of a visit mentions its neighbor; the neighbor's own log is the one to use."""
    first = datasets.make_visit(tmp_path, mode="nircam", integrations=1, visit_id="09990001001", ideal=True)
    second = datasets.make_visit(tmp_path, mode="nircam", integrations=1, visit_id="09990002001", seed=1, ideal=True)
    padded = first.oss_log.read_text() + "2024-03-10 09:00:00.000,60379.375,VISIT V09990002001 STARTED,varchar\n"
    first.oss_log.write_text(padded)
    (tmp_path / "0_across_notes.txt").write_text(f"notes on V{second.visit_id}, lost in space\n")
    ds = xta.analyze(second.science[0], centroid="oss", corrections="none")
    assert ds.attrs["centroid_source"] == "OSS event log"
    assert_star(ds, truth_of(second, second.science[0]))


def test_attach_of_link_looks_in_both_folders(nircam, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "work").mkdir()
    stored = shutil.copy(nircam.science[0], tmp_path / "store" / "abc123")
    link = tmp_path / "work" / nircam.science[0].name
    link.symlink_to(stored)
    for path in (*nircam.ta, nircam.oss_log):
        shutil.copy(path, tmp_path / "work")
    assert_star(xta.analyze(link, centroid="oss", corrections="none"), truth_of(nircam, nircam.science[0]))


def test_attach_takes_mean_of_ta_cube_and_its_error(nircam):
    """The error of a mean of n is the root of the sum of squares over n; a bad integration of a pixel counts not."""
    ta = xta.open_exposure(nircam.ta[0])
    flat = xr.ones_like(ta["sci"])
    levels = xr.DataArray([10.0, 20.0, 60.0], dims="integration")
    errors = xr.DataArray([1.0, 2.0, 4.0], dims="integration")
    dq = (flat * xr.zeros_like(levels)).astype(np.uint32)
    dq[{"x": 3, "y": 5, "integration": 2}] = 1
    dq[{"x": 4, "y": 5}] = 1
    cube = ta.assign(sci=flat * levels, err=flat * errors, dq=dq)
    ds = xta.open_exposure(nircam.science[0]).ta.attach(cube, oss=nircam.oss_log)
    sci, err, flags = (ds[f"ta_{name}"][0].transpose("ta_y", "ta_x").values for name in ("sci", "err", "dq"))
    assert (sci[0, 0], err[0, 0], flags[0, 0]) == pytest.approx((30.0, np.sqrt(21.0) / 3, 0))
    assert (sci[5, 3], err[5, 3], flags[5, 3]) == pytest.approx((15.0, np.sqrt(5.0) / 2, 0))
    assert np.isnan([sci[5, 4], err[5, 4]]).all()
    assert flags[5, 4] == 1
