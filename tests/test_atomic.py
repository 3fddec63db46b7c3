"""Files appear whole or not at all."""

import os
import stat

import pytest
import xarray as xr

import xta
from xta.errors import FileError, XtaError
from xta.io.atomic import whole_file


def write_half(path, error):
    with whole_file(path) as temporary:
        temporary.write_text("half")
        raise error


def test_whole_file_keeps_old_file_when_block_fails(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ValueError, match="stop"):
        write_half(path, ValueError("stop"))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("NetCDF: HDF error")])
def test_whole_file_names_disk_error(tmp_path, error):
    with pytest.raises(FileError, match=r"cannot write .*a\.nc"):
        write_half(tmp_path / "a.nc", error)
    assert list(tmp_path.iterdir()) == []


def test_whole_file_passes_error_of_computation(tmp_path):
    with pytest.raises(RuntimeError, match="not converged") as caught:
        write_half(tmp_path / "a.nc", RuntimeError("not converged"))
    assert not isinstance(caught.value, XtaError)
    assert list(tmp_path.iterdir()) == []


def test_whole_file_follows_link(tmp_path):
    store, here = tmp_path / "store", tmp_path / "here"
    store.mkdir()
    here.mkdir()
    link = here / "a.nc"
    link.symlink_to(store / "real.nc")
    for value in (1.0, 2.0):
        xta.to_netcdf(xr.Dataset({"a": value}), link)
        assert link.is_symlink()
        assert list(here.iterdir()) == [link]
        with xr.open_dataset(store / "real.nc") as again:
            assert again["a"] == value


def test_whole_file_refuses_pipe(tmp_path):
    pipe = tmp_path / "a.nc"
    os.mkfifo(pipe)
    with pytest.raises(FileError, match="not an ordinary file"):
        xta.to_netcdf(xr.Dataset(), pipe)
    assert pipe.is_fifo()


@pytest.fixture
def strict_umask():
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.mark.usefixtures("strict_umask")
def test_whole_file_has_permissions_of_new_file(tmp_path, monkeypatch):
    """The umask belongs to all threads: a change, however short, would open files that others make meanwhile."""
    monkeypatch.setattr(os, "umask", lambda _mask: pytest.fail("the umask was changed"))
    with whole_file(tmp_path / "a.txt") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")
        assert temporary.suffix == ".txt"
    monkeypatch.undo()
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640
