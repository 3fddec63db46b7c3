"""Files appear whole or not at all."""

import json
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

import xta
from xta.errors import FileError
from xta.netcdf import whole_file


def write_half(path, error):
    with whole_file(path) as temporary:
        temporary.write_text("half")
        raise error


def test_a_failing_block_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ValueError, match="stop"):
        write_half(path, ValueError("stop"))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("NetCDF: HDF error")])
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, error):
    with pytest.raises(FileError, match=r"cannot write .*a\.nc"):
        write_half(tmp_path / "a.nc", error)
    assert list(tmp_path.iterdir()) == []


def test_no_folder_or_a_folder_in_place_of_a_file(tmp_path):
    with pytest.raises(FileError, match="does not exist"):
        xta.to_netcdf(xr.Dataset(), tmp_path / "absent" / "a.nc")
    with pytest.raises(FileError, match="is a folder"):
        xta.to_netcdf(xr.Dataset(), tmp_path)


def test_attributes_that_netcdf_does_not_know_are_cleaned(tmp_path):
    ds = xr.Dataset(
        {"a": ("x", np.arange(3.0), {"flag": True, "none": None})}, attrs={"path": tmp_path, "n": np.int64(5)}
    )
    xta.to_netcdf(ds, tmp_path / "a.nc")
    assert ds["a"].attrs == {"flag": True, "none": None}
    with xr.open_dataset(tmp_path / "a.nc") as again:
        assert again["a"].attrs == {"flag": 1}
        assert again.attrs == {"path": str(tmp_path), "n": 5}


def test_a_file_can_be_replaced_while_it_is_read(tmp_path):
    path = tmp_path / "a.nc"
    xta.to_netcdf(xr.Dataset({"a": ("x", np.arange(1000.0))}), path)
    with xr.open_dataset(path, chunks={}) as ds:
        xta.to_netcdf(ds + 1, path)
    with xr.open_dataset(path) as ds:
        np.testing.assert_array_equal(ds["a"], np.arange(1000.0) + 1)


def test_dask_arrays_are_written_with_a_progress_bar_on_request(tmp_path, capsys):
    ds = xr.Dataset({"a": (("integration", "x"), np.ones((4, 10)))}).chunk({"integration": 1})
    xta.to_netcdf(ds, tmp_path / "a.nc", progress=True)
    with xr.open_dataset(tmp_path / "a.nc") as again:
        xr.testing.assert_equal(again.load(), ds.compute())


@pytest.fixture(scope="module")
def analysed(nircam):
    return xta.analyze(nircam.science[0]).load()


UNKNOWN_TO_UDUNITS = {"pixel", "MJy/sr", "(MJy/sr)2"}


@pytest.mark.parametrize("recentred", [False, True])
def test_files_follow_the_cf_conventions(analysed, tmp_path, recentred):
    """compliance-checker finds nothing but units that astronomers write and UDUNITS does not know."""
    from compliance_checker.runner import CheckSuite, ComplianceChecker

    path, report = tmp_path / "a.nc", tmp_path / "report.json"
    xta.to_netcdf(analysed.ta.recenter() if recentred else analysed, path)
    CheckSuite.load_all_available_checkers()
    ComplianceChecker.run_checker(
        str(path), ["cf:1.11"], verbose=0, criteria="normal", output_filename=str(report), output_format="json"
    )
    (result,) = json.loads(report.read_text()).values()
    found = [
        message
        for priority in ("high_priorities", "medium_priorities", "low_priorities")
        for check in result[priority]
        for message in check["msgs"]
    ]
    unexpected = [
        message for message in found if not any(f'"{unit}" are not' in message for unit in UNKNOWN_TO_UDUNITS)
    ]
    assert found
    assert unexpected == []


def test_no_coordinate_has_a_fill_value(analysed, tmp_path):
    import netCDF4

    xta.to_netcdf(analysed, tmp_path / "a.nc")
    with netCDF4.Dataset(tmp_path / "a.nc") as file, xr.open_dataset(tmp_path / "a.nc") as ds:
        for name in ds.coords:
            assert "_FillValue" not in file[name].ncattrs(), name
        assert "_FillValue" in file["sci"].ncattrs()


def test_files_make_sense_without_xta(analysed, tmp_path):
    """Plain xarray, in a process in which there is no xta to import."""
    xta.to_netcdf(analysed.ta.recenter(), tmp_path / "a.nc")
    code = (
        "import sys, warnings\n"
        "sys.modules['xta'] = None\n"
        "warnings.simplefilter('ignore')\n"  # xarray says that the engine jwst cannot be loaded
        "import xarray as xr\n"
        "ds = xr.open_dataset(sys.argv[1])\n"
        "here = ds.sel(x=0, y=0)\n"
        "print(float(here.ra), float(here.dec), ds.sci.attrs['units'], ds.separation.attrs['long_name'], ds.history)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.nc")], capture_output=True, text=True, check=True
    )
    ra, dec, unit, *words = done.stdout.split()
    assert float(ra) == pytest.approx(float(analysed["target_ra"]), abs=1e-9)
    assert float(dec) == pytest.approx(float(analysed["target_dec"]), abs=1e-9)
    assert unit == "MJy/sr"
    assert "star" in words


def test_flags_can_be_asked_by_name(analysed, tmp_path):
    import cf_xarray  # noqa: F401

    xta.to_netcdf(analysed, tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as ds:
        flagged = (ds["dq"].cf == "DO_NOT_USE").sum()
        assert int(flagged) == int((analysed["dq"] & 1).sum()) > 0


def test_what_compresses_is_small(analysed, tmp_path):
    quiet = analysed.copy()
    for name in ("sci", "err", "var_poisson", "var_rnoise", "var_flat"):
        if name in quiet:
            quiet[name] = xr.zeros_like(quiet[name])
    xta.to_netcdf(quiet.drop_vars(["ra", "dec"]), tmp_path / "a.nc")
    assert (tmp_path / "a.nc").stat().st_size < quiet.drop_vars(["ra", "dec"]).nbytes / 4
