"""Files that xta 0.1 wrote still open and work: identity in attributes, TA images as data variables.

The files in ``tests/legacy`` are crops of what that release wrote, made with xarray alone.
"""

import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import xta
from xta import plot
from xta.acquisition import checklist

FOLDER = Path(__file__).parent / "legacy"
STAR = 149.01965198115153, 173.25423524229
OFFSET = 0.4245944902604748, 2.0405480722138307
"""What that release measured in the whole files."""


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xta.XtaWarning)  # the log and the template are not beside the file
        yield


def opened(name, folder=FOLDER):
    with xr.open_dataset(folder / f"{name}.nc") as ds:
        return ds.load()


def star(ds, name="target"):
    return ds[f"{name}_x"].item(), ds[f"{name}_y"].item()


@pytest.mark.parametrize("whole", [False, True])
def test_analyzed_is_measured_again(whole, request):
    ds = opened("analyzed", request.getfixturevalue("shared") / "legacy_0.1" if whole else FOLDER)
    assert "ta_sci" in ds.data_vars
    assert "visit_id" not in ds.variables
    again = ds.ta.compute_offset(centroid="oss").ta.adjust_wcs(corrections="none")
    assert star(again) == pytest.approx(STAR, abs=1e-9)
    assert star(again, "offset") == pytest.approx(OFFSET, abs=1e-9)
    assert again["visit_id"].item() == ds.attrs["visit_id"]
    assert "ta_sci" in again.coords
    assert again["target_x_err"] > ds["target_x_err"]  # version 0.1 did not know of the maneuver
    assert again["check"].values.tolist() == list(checklist.CHECKS)  # and had other names for some checks
    assert again["check_passed"].sel(check="telemetry closes") == ds["check_passed"].sel(check="closes") == 1


def test_analyzed_takes_further_steps(tmp_path):
    ds = opened("analyzed")
    centered = ds.ta.recenter(size=11)
    assert star(centered, "star") == pytest.approx(STAR, abs=1e-9)
    assert ds.ta.coadd()["sci"].dims == ("y", "x")
    assert ds.ta.estimates(oss=False)["agrees"].sel(estimate="oss") == 1
    ds.ta.to_fits(tmp_path / "a_calints.fits")
    assert star(xta.open_exposure(tmp_path / "a_calints.fits"))[0] == pytest.approx(STAR[0] - 139, abs=1e-6)
    assert ds.ta.report(tmp_path / "a.html").stat().st_size > 1e4
    assert len(plot.summary(ds).axes) >= 2
    xta.to_netcdf(ds.ta.adjust_wcs(corrections="none"), tmp_path / "again.nc")
    with xr.open_dataset(tmp_path / "again.nc") as again:
        assert star(again.ta.adjust_wcs(corrections="none")) == pytest.approx(STAR, abs=1e-9)


def test_analyzed_keeps_its_acquisition_out_of_arithmetic():
    """The first step makes coordinates of the TA images."""
    ds = opened("analyzed").ta.adjust_wcs(corrections="none")
    assert ds.where(ds["dq"] == 0)["ta_sci"].dims == ("ta_exposure", "ta_y", "ta_x")


def test_recentered_works(tmp_path):
    ds = opened("recentered")
    assert star(ds, "star") == pytest.approx(STAR, abs=1e-9)
    assert ds.ta.coadd()["separation"].sel(x=0, y=0) == pytest.approx(0, abs=1e-9)
    ds.ta.to_fits(tmp_path / "b_calints.fits")
    assert star(xta.open_exposure(tmp_path / "b_calints.fits")) == pytest.approx((9, 9), abs=1e-9)
    with pytest.raises(xta.XtaError, match="recentered"):
        ds.ta.recenter()


def test_recentered_joins_klip():
    """With a reference: the same cube under another name, scaled, so that nothing is left."""
    ds = opened("recentered")
    reference = ds.assign(sci=ds["sci"] * 2).assign_attrs(filename="other_calints.fits", visit_id="09991009001")
    image = xta.klip(ds, reference=reference, numbasis=1)
    assert float(np.abs(image["klip"]).max()) < 1e-3 * float(np.abs(ds["sci"]).max())


def test_klip_is_drawn():
    ds = opened("klip")
    assert "numbasis" in ds.dims
    assert "on the central pixel" in repr(ds.ta)
    assert plot.klip(ds, numbasis=int(ds["numbasis"][0])).get_array().shape == (19, 19)
