"""The WCS of a file against the header of the same file."""

import warnings

import numpy as np
import pytest
from astropy.io import fits

import xta
from tests.stars import assert_star, truth_of
from xta.acquisition import attach
from xta.errors import WCSError, XtaWarning
from xta.geometry import sky, wcs
from xta.identity import header


def with_wcs_of(path):
    """Make an edit that gives a file the WCS of another one."""

    def edit(hdus):
        with fits.open(path, memmap=False) as other:
            hdus["ASDF"] = other["ASDF"].copy()

    return edit


def test_attach_refuses_science_with_wcs_of_acquisition(nircam, miri, edited):
    for visit in (nircam, miri):
        path = edited(visit.science[0], with_wcs_of(visit.ta[-1]))
        with fits.open(path) as hdus:
            told = hdus["SCI"].header["V3_REF"]
        with pytest.raises(WCSError, match="disagrees with its header") as caught:
            xta.open_exposure(path).ta.attach(visit.ta, oss=visit.oss_log)
        assert f"V3_REF {told:.7f} by the header" in str(caught.value)
        assert path.name in str(caught.value)


def test_attach_refuses_acquisition_with_wcs_of_science(nircam, edited):
    path = edited(nircam.ta[0], with_wcs_of(nircam.science[0]))
    with pytest.raises(WCSError, match="disagrees with its header") as caught:
        xta.analyze(nircam.science[0], acquisition=path, oss=nircam.oss_log, centroid="oss", corrections="none")
    assert path.name in str(caught.value)
    with pytest.raises(WCSError, match="disagrees with its header"):
        xta.analyze(path, oss=nircam.oss_log, centroid="oss", corrections="none")


@pytest.mark.parametrize(
    ("keyword", "change", "same"),
    [
        *(("V2_REF", 3600 * d, same) for d, same in ((2e-6, False), (5e-7, True))),
        *(("DEC_REF", d, same) for d, same in ((-2e-6, False), (5e-7, True))),
        *(("ROLL_REF", d, same) for d, same in ((2e-6, False), (360.0, True), (-5e-7, True))),
        *(("RA_REF", d, same) for d, same in ((1e-5, False), (-360.0, True))),
    ],
)
def test_check_reference_to_a_millionth_of_a_degree(nircam, edited, keyword, change, same):
    def edit(hdus):
        hdus["SCI"].header[keyword] += change

    ds = xta.open_exposure(edited(nircam.science[0], edit))
    if same:
        sky.check_reference(ds)
    else:
        with pytest.raises(WCSError, match=keyword):
            sky.check_reference(ds)


def test_check_reference_takes_header_that_is_silent(nircam, edited):
    def edit(hdus):
        for keyword in ("V2_REF", "V3_REF", "RA_REF", "DEC_REF", "ROLL_REF"):
            hdus["SCI"].header.remove(keyword)

    ds = xta.analyze(
        edited(nircam.science[0], edit), acquisition=nircam.ta, oss=nircam.oss_log, centroid="oss", corrections="none"
    )
    assert_star(ds, truth_of(nircam, nircam.science[0]))


def test_check_reference_takes_what_xta_made(nircam, tmp_path):
    """Analyzed and recentered exposures, and the files of both, whose header and WCS are corrected alike."""
    ds = xta.analyze(nircam.science[0], centroid="oss", corrections="none")
    for k, result in enumerate((ds, ds.ta.recenter(), ds.isel(x=slice(100, 200), y=slice(120, 230)))):
        sky.check_reference(result)
        result.ta.to_fits(tmp_path / f"{k}_calints.fits")
        again = xta.open_exposure(tmp_path / f"{k}_calints.fits")
        held = wcs.reference(wcs.load(again["wcs"].item()))
        assert abs(held["ra_ref"] - float(ds["ra_ref"])) > 1e-6  # it is another attitude than that of the product
        sky.check_reference(again)


def test_check_reference_of_real_files(shared):
    compared = 0
    for path in sorted([*(shared / "real").rglob("*.fits"), *(shared / "published").rglob("*.fits")]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", XtaWarning)
            with fits.open(path) as hdus:
                if hdus[0].header.get("TELESCOP") != "JWST" or "SCI" not in hdus:
                    continue
            ds = xta.open_exposure(path)
        # The pointing of this one, which is rebuilt and not real, was solved anew; its header was left.
        solved = path.name == "jw01386008001_02102_00001_mirimage_cal.fits"
        assert (sky.other_reference(ds) != "") == solved
        sky.check_reference(ds, pointing=attach.SOLVED if solved else sky.SAME_REFERENCE)
        if "wcs" in ds and {"v2_ref", "v3_ref", "ra_ref", "dec_ref", "roll_ref"} <= set(header(ds)):
            compared += 1
            held = wcs.reference(wcs.load(ds["wcs"].item()))
            wrong = {key: header(ds)[key] - held[key] for key in held}
            print(path.name, {key: f"{value:.1e}" for key, value in wrong.items()})
    assert compared == 15


@pytest.mark.parametrize(("arcsec", "refused"), [(0.3, False), (-1.2, True)])
def test_attach_takes_acquisition_whose_pointing_was_solved(nircam, edited, arcsec, refused):
    def edit(hdus):
        hdus["SCI"].header["DEC_REF"] += arcsec / 3600

    ta = edited(nircam.ta[0], edit)
    if refused:
        with pytest.raises(WCSError, match="DEC_REF"):
            xta.analyze(nircam.science[0], acquisition=ta, oss=nircam.oss_log, centroid="oss", corrections="none")
        return
    ds = xta.analyze(nircam.science[0], acquisition=ta, oss=nircam.oss_log, centroid="oss", corrections="none")
    check = ds.sel(check="WCS matches header")
    assert int(check["check_passed"]) == 0
    assert f"{ta.name}: DEC_REF" in str(check["check_reason"].item())
    with pytest.raises(WCSError, match="DEC_REF"):
        xta.analyze(
            edited(nircam.science[0], edit),
            acquisition=nircam.ta,
            oss=nircam.oss_log,
            centroid="oss",
            corrections="none",
        )


def test_attach_takes_wcs_of_file_of_analyzed_acquisition(nircam):
    analyzed = xta.analyze(nircam.ta[0], centroid="oss", corrections="none")
    ds = xta.analyze(nircam.science[0], acquisition=analyzed, oss=nircam.oss_log, centroid="oss", corrections="none")
    assert_star(ds, truth_of(nircam, nircam.science[0]))
    assert np.hypot(float(ds["offset_x"]), float(ds["offset_y"])) > 1


def test_attach_refuses_corrected_acquisition(nircam, tmp_path):
    corrected = tmp_path / nircam.ta[0].name
    xta.analyze(nircam.ta[0], centroid="oss", corrections="none").ta.to_fits(corrected)
    with pytest.raises(WCSError, match="already been corrected"):
        xta.analyze(nircam.science[0], acquisition=corrected, oss=nircam.oss_log, centroid="oss", corrections="none")
