"""Choose the onboard centroid in use: of several TA blocks, and of several TARG_ACQ extensions."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits

import xta
from tests.stars import assert_star, targ_acq, truth_of
from xta import osslog
from xta.acquisition import pair
from xta.acquisition.targ_acq import read_targ_acq
from xta.errors import AcquisitionError, XtaWarning
from xta.geometry import siaf

AGAIN = np.timedelta64(60, "s")
"""How much later the second TA block of an exposure is."""

CONVERGED = "(SUCCESS, 0.1000000000)"


def with_two_blocks(visit, first, second):
    """Return the log of a NIRCam visit, whose TA block is written twice; each may be changed by (old, new) texts."""
    lines = visit.oss_log.read_text().splitlines()
    start = next(k for k, line in enumerate(lines) if "*****" in line)
    end = next(k for k, line in enumerate(lines) if "Correction to NRC SAM" in line) + 1
    block = lines[start:end]
    blocks = ["\n".join(block), "\n".join(later(line) for line in block)]
    for k, (old, new) in enumerate((first, second)):
        assert old in blocks[k]
        blocks[k] = blocks[k].replace(old, new)
    return "\n".join([*lines[:start], *blocks, *lines[end:]]) + "\n"


def later(line):
    time, rest = line.split(",", 1)
    return f"{np.datetime64(time.replace(' ', 'T')) + AGAIN}".replace("T", " ") + f",{rest}"


SAME = ("", "")
FAILED = (CONVERGED, "(FAILURE, 0.1000000000)")
OTHER = ("1554.48149, 1553.32724", "1554.98149, 1553.32724")
"""The first of two that converged is half a pixel off."""


@pytest.mark.parametrize(("first", "second"), [(FAILED, SAME), (OTHER, SAME)], ids=["failed first", "both converged"])
def test_pair_takes_last_block_that_converged(nircam, first, second):
    ds = xta.analyze(nircam.science[0], oss=with_two_blocks(nircam, first, second), centroid="oss", corrections="none")
    plain = xta.analyze(nircam.science[0], oss=nircam.oss_log, centroid="oss", corrections="none")
    assert_star(ds, truth_of(nircam, nircam.science[0]))
    assert ds["target_x"].item() == plain["target_x"].item()
    assert ds["ta_oss_time"].values[0] - plain["ta_oss_time"].values[0] == AGAIN
    assert ds["ta_oss_converged"].values.tolist() == [1]
    assert ds["check_passed"].sel(check="onboard centroid converged") == 1


def test_pair_takes_first_block_where_second_failed(nircam):
    with pytest.warns(XtaWarning, match="did not converge"):
        ds = xta.analyze(
            nircam.science[0], oss=with_two_blocks(nircam, SAME, FAILED), centroid="oss", corrections="none"
        )
    plain = xta.analyze(nircam.science[0], oss=nircam.oss_log, centroid="oss", corrections="none")
    assert ds["target_x"].item() == plain["target_x"].item()
    assert ds.attrs["oss_time"] == plain.attrs["oss_time"]
    assert ds.attrs["oss_status"] == "SUCCESS"
    assert ds["check_passed"].sel(check="onboard centroid converged") == 0


def test_pair_of_two_failed_blocks_has_no_centroid(nircam):
    with pytest.warns(XtaWarning, match="no onboard centroid"):
        ds = xta.analyze(nircam.science[0], oss=with_two_blocks(nircam, FAILED, FAILED))
    assert ds["ta_oss_converged"].values.tolist() == [0]
    assert ds["check_passed"].sel(check="onboard centroid converged") == 0


def records_of(visit, statuses):
    """Return the TARG_ACQ extensions of the two TA exposures of a MIRI visit."""
    result = []
    for path, aperture, status in zip(visit.ta, ("MIRIM_TA1140_UR", "MIRIM_TA1140_CUR"), statuses, strict=False):
        header = fits.getheader(path)
        header["FILENAME"] = path.name.replace("_cal", "_uncal")
        home = siaf.readout("MIRI", aperture, header["SUBARRAY"], header["PRD_VER"])
        x_det, y_det = siaf.pixel_to_det(home, *truth_of(visit, path))
        card = fits.Header({"TASTATUS": status, "STAT_RSN": "", "DTCENCOL": x_det, "DTCENROW": y_det})
        result.append(fits.HDUList([fits.PrimaryHDU(header=header), fits.ImageHDU(name="TARG_ACQ", header=card)]))
    return result


def attached(visit, statuses):
    ds = xta.open_exposure(visit.science[0])
    ds.coords["source"] = ""  # it does not know its folder, so that there is no log
    return ds.ta.attach(visit.ta[:2], targ_acq=records_of(visit, statuses))


def test_from_targ_acq_takes_last_record(miri):
    ds = attached(miri, ("SUCCESSFUL", "SUCCESSFUL"))
    assert ds.attrs["ta_in_use"] == 1
    assert ds["check_passed"].sel(check="onboard centroid converged") == 1


def test_from_targ_acq_warns_where_last_record_failed(miri):
    with pytest.warns(XtaWarning, match="did not converge"):
        ds = attached(miri, ("SUCCESSFUL", "UNSUCCESSFUL"))
    assert ds.attrs["ta_in_use"] == 0
    assert ds.attrs["oss_status"] == "SUCCESS"
    assert ds["check_passed"].sel(check="onboard centroid converged") == 0
    assert_star(ds.ta.compute_offset(centroid="oss").ta.adjust_wcs(corrections="none"), truth_of(miri, miri.science[0]))


def test_from_targ_acq_takes_last_record_where_first_failed(miri):
    ds = attached(miri, ("UNSUCCESSFUL", "SUCCESSFUL"))
    assert ds.attrs["ta_in_use"] == 1
    assert ds["check_passed"].sel(check="onboard centroid converged") == 1


def test_from_targ_acq_without_success_has_no_centroid(miri):
    ds = attached(miri, ("UNSUCCESSFUL", "UNSUCCESSFUL"))
    assert ds.attrs["oss_status"].startswith("FAILED")
    assert ds["check_passed"].sel(check="onboard centroid converged") == 0


@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize("end", ["low", "high"])
def test_attach_refuses_centroid_half_a_pixel_off_the_readout(nircam, axis, end):
    release = fits.getval(nircam.ta[0], "PRD_VER")
    array = siaf.readout("NIRCAM", "NRCA5_TAMASK335R", None, release)
    edge = -0.5 if end == "low" else {"x": array.XSciSize, "y": array.YSciSize}[axis] - 0.5
    outwards = -1 if end == "low" else 1
    science, log = xta.open_exposure(nircam.science[0]), osslog.read("2024-03-10 00:00:00 VISIT V09990001001 STARTED\n")

    def attach(position):
        x, y = (position if axis == name else 30.0 for name in ("x", "y"))
        column, row = (float(value) for value in siaf.pixel_to_det(array, x, y))
        return science.ta.attach(nircam.ta, oss=log, targ_acq=targ_acq(nircam, DTCENCOL=column, DTCENROW=row))

    assert attach(edge - 0.1 * outwards).attrs[f"oss_{axis}"] == pytest.approx(edge - 0.1 * outwards, abs=1e-6)
    with pytest.raises(AcquisitionError, match="outside"):
        attach(edge + 0.1 * outwards)


def test_same_exposure_by_time_and_detector_where_no_file_is_named(nircam):
    ta = xta.open_exposure(nircam.ta[0])
    named = read_targ_acq(targ_acq(nircam))
    record = replace(named, filename="")
    assert pair.same_exposure(ta, record)
    assert not pair.same_exposure(ta, replace(record, date_beg="2024-01-01T00:00:00.000"))
    assert not pair.same_exposure(ta, replace(record, date_beg=""))
    assert not pair.same_exposure(ta.assign_coords(date_beg=""), replace(record, date_beg=""))
    assert not pair.same_exposure(ta, replace(record, detector="NRCB5"))
    assert not pair.same_exposure(ta, replace(named, filename="jw09990001001_09101_00001_nrcalong_uncal.fits"))


BEGIN = np.datetime64("2024-03-10T06:00:00", "ns")


def seconds(number):
    return np.timedelta64(round(number * 1000), "ms")


def acquisition(**attrs):
    return xr.Dataset(attrs={"exp_type": "NRC_TACQ", "detector": "NRCALONG", "date_beg": f"{BEGIN}"} | attrs)


@pytest.mark.parametrize(("late", "owned"), [(-5.1, False), (-5, True), (0, True), (600, True)])
def test_pair_takes_block_from_five_seconds_before_its_exposure(late, owned):
    block = osslog.Centroid(detector="NRCA5", start=BEGIN + seconds(late))
    assert pair.pair([acquisition()], [block]) == ([[block]] if owned else [[]])


@pytest.mark.parametrize("minutes", [11, 100])
def test_pair_warns_of_block_ten_minutes_late(minutes):
    block = osslog.Centroid(detector="NRCA5", start=BEGIN + seconds(60 * minutes))
    with pytest.warns(XtaWarning, match=f"{minutes} minutes"):
        assert pair.pair([acquisition()], [block]) == [[block]]


@pytest.mark.parametrize(("late", "owned"), [(-5.1, False), (-5, True), (65, True), (65.1, False)])
def test_pair_by_time_of_logged_exposure(late, owned):
    """Where no name of a product tells the exposure; five seconds are the difference of two clocks."""
    logged = osslog.Exposure(BEGIN + seconds(60), "102001", "NRC_TACQ", start=BEGIN)
    block = osslog.Centroid(detector="NRCA5", start=BEGIN + seconds(90))
    ta = acquisition(date_beg=f"{BEGIN + seconds(late)}", filename="a.fits")
    assert pair.pair([ta], [block], [logged]) == ([[block]] if owned else [[]])


@pytest.mark.parametrize(
    ("name", "exposure", "late", "owned"),
    [
        ("jw09990001001_02102_00001_nrcalong_cal.fits", "102001", 900, True),
        ("jw09990001001_02102_00001_nrcalong_cal.fits", "102002", 0, False),
        ("jw09990001001_02102_00001.fits", "102001", 900, True),
        ("jw09990001001_02102.fits", "102002", 0, True),
        ("a_b_00001_c.fits", "102002", 0, True),
        ("a_02102_b_c.fits", "102002", 0, True),
    ],
)
def test_pair_by_name_of_product_before_time(name, exposure, late, owned):
    logged = osslog.Exposure(BEGIN + seconds(60), exposure, "NRC_TACQ", start=BEGIN)
    block = osslog.Centroid(detector="NRCA5", start=BEGIN + seconds(90))
    ta = acquisition(date_beg=f"{BEGIN + seconds(late)}", filename=name)
    assert pair.pair([ta], [block], [logged]) == ([[block]] if owned else [[]])


@pytest.mark.parametrize(
    ("number", "points", "follow"), [(1, 3, True), (2, 3, True), (3, 3, False), (None, 3, False), (1, None, False)]
)
def test_pair_leaves_block_after_dithers_to_the_last(number, points, follow):
    block = osslog.Centroid(detector="NRCA5", start=BEGIN)
    ta = acquisition(dither_number=number, dither_points=points)
    assert pair.pair([ta], [block]) == ([[]] if follow else [[block]])


@pytest.mark.parametrize("axis", ["x", "y"])
def test_readout_refuses_array_beyond_it(nircam, axis):
    ta = xta.open_exposure(nircam.ta[0])
    assert pair.readout(ta).XSciSize == ta[axis].size == 64
    with pytest.raises(AcquisitionError, match="reaches"):
        pair.readout(ta.assign_coords({axis: ta[axis] + 1}))
