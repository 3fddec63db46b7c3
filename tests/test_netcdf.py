"""Files appear whole or not at all."""

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
