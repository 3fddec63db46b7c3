"""Use the TARG_ACQ extension of a TA product in place of a log."""

import shutil

import pytest
from astropy.io import fits

import xta
from tests.stars import assert_star, targ_acq, truth_of
from xta.errors import (
    AcquisitionError,
    FileError,
    ProductError,
    XtaWarning,
)
from xta.geometry import siaf


def test_targ_acq_serves_without_log(nircam, tmp_path):
    path = tmp_path / nircam.ta[0].name.replace("_cal", "_uncal")
    targ_acq(nircam).writeto(path)
    for source in (*nircam.science, *nircam.ta):
        shutil.copy(source, tmp_path)
    found = xta.analyze(tmp_path / nircam.science[0].name, centroid="oss", corrections="none")
    assert found.attrs["centroid_source"] == f"TARG_ACQ of {path.name}"
    assert_star(found, truth_of(nircam, nircam.science[0]))
    given = xta.analyze(nircam.science[0], targ_acq=path, centroid="oss", corrections="none")
    assert given.attrs["centroid_source"] == "OSS event log"


def test_targ_acq_of_other_exposure_is_not_used(miri):
    """The record of the inner image with the outer image alone."""
    x, y = truth_of(miri, miri.ta[1])
    with fits.open(miri.ta[1], memmap=False) as hdus:
        header = hdus[0].header.copy()
    header["FILENAME"] = miri.ta[1].name.replace("_cal", "_uncal")
    x_det, y_det = siaf.pixel_to_det(siaf.readout("MIRI", "MIRIM_TA1140_CUR", "MASK1140", header["PRD_VER"]), x, y)
    card = fits.Header({"TASTATUS": "SUCCESSFUL", "DTCENCOL": x_det, "DTCENROW": y_det})
    record = fits.HDUList([fits.PrimaryHDU(header=header), fits.ImageHDU(name="TARG_ACQ", header=card)])
    science = xta.open_exposure(miri.science[0])
    science.coords["source"] = ""
    with pytest.warns(XtaWarning, match="to none of the TA exposures"):
        ds = science.ta.attach(miri.ta[0], targ_acq=record)
    assert ds.attrs["oss_status"] != "SUCCESS"
    both = (
        science.ta.attach(miri.ta[:2], targ_acq=record)
        .ta.compute_offset(centroid="oss")
        .ta.adjust_wcs(corrections="none")
    )
    assert_star(both, truth_of(miri, miri.science[0]))


@pytest.mark.parametrize(
    "dummy", [{"status": "UNSUCCESSFUL", "STAT_RSN": "Target Locate Summary Failed"}, {"DTCENCOL": -999}]
)
def test_targ_acq_that_failed_is_no_centroid(nircam, tmp_path, dummy):
    for source in (*nircam.science, *nircam.ta):
        shutil.copy(source, tmp_path)
    with pytest.warns(XtaWarning, match="TARG_ACQ has"):
        ds = xta.analyze(tmp_path / nircam.science[0].name, targ_acq=targ_acq(nircam, **dummy))
    assert ds.attrs["centroid_source"].startswith("TA image")


def test_read_targ_acq_refuses_other_files(nircam, tmp_path):
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
        xta.analyze(tmp_path / nircam.science[0].name, targ_acq=foreign, centroid="oss", corrections="none")
