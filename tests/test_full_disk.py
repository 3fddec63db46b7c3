"""A disk that becomes full: an error that says so, exit code 1, and nothing is left."""

import gc
import signal
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import xta
from xta.archive.fetch import copied
from xta.errors import FileError
from xta.io import orbits
from xta.io.atomic import save_figure
from xta.surveys import survey, to_ecsv

resource = pytest.importorskip("resource", reason="the limit of a process is that of POSIX")

# What HDF5 could not write it cannot close; the file that it still holds has no name any more.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in.*CachingFileManager")

QUICK = {"offline": True, "estimates": False, "workers": 1, "centroid": "oss", "corrections": "none"}


@contextmanager
def full_disk(size=100):
    """Let the system refuse to write more than some bytes to a file, as on a disk that becomes full."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture(autouse=True)
def _close_in_this_test():
    yield
    gc.collect()


@pytest.fixture(scope="module")
def sample(nircam, tmp_path_factory):
    """What is written: an exposure, an image of KLIP, a survey."""
    folder = tmp_path_factory.mktemp("sample")
    ds = xta.analyze(nircam.science[0]).isel(x=slice(120, 181), y=slice(140, 201)).load()
    xta.to_netcdf(ds, folder / "a.nc")
    with xr.open_dataset("tests/legacy/klip.nc") as image:
        image.load()
    rows = survey(nircam.science[0].parent, **QUICK)
    return SimpleNamespace(ds=ds, image=image, rows=rows, path=folder / "a.nc", visit=nircam.science[0].parent)


def draw(sample, folder):
    from matplotlib.figure import Figure

    save_figure(Figure(), folder / "a.png")


WRITERS = {
    "netcdf": lambda sample, folder: xta.to_netcdf(sample.ds, folder / "a.nc"),
    "netcdf by dask": lambda sample, folder: xta.to_netcdf(sample.ds.chunk(integration=1), folder / "a.nc"),
    "zarr": lambda sample, folder: xta.to_zarr(sample.ds, folder / "a.zarr"),
    "zarr by dask": lambda sample, folder: xta.to_zarr(sample.ds.chunk(integration=1), folder / "a.zarr"),
    "fits": lambda sample, folder: sample.ds.ta.to_fits(folder / "a_calints.fits"),
    "fits of klip": lambda sample, folder: sample.image.ta.to_fits(folder / "a.fits"),
    "report": lambda sample, folder: sample.ds.ta.report(folder / "a.html"),
    "index": lambda sample, folder: xta.report.index([sample.ds], folder),
    "picture": draw,
    "table": lambda sample, folder: to_ecsv(sample.rows, folder / "a.ecsv"),
    "rows": lambda sample, folder: survey(sample.visit, resume=folder / "rows.jsonl", **QUICK),
    "orbits": lambda _, folder: orbits._write(folder / "a.csv", {"epoch": np.arange(99.0)}),
    "copy": lambda sample, folder: copied(sample.path, folder),
}


@pytest.mark.parametrize("name", WRITERS)
def test_writer_on_full_disk(sample, tmp_path, name):
    with full_disk(), pytest.raises(FileError, match="disk"):
        WRITERS[name](sample, tmp_path)
    left = {path.name: path.stat().st_size for path in tmp_path.rglob("*")}
    assert left == ({"rows.jsonl": 0} if name == "rows" else {})


COMMANDS = {
    "analyze": lambda sample, folder: [sample.path, "-o", folder / "b.nc"],
    "recenter": lambda sample, folder: [sample.path, "-o", folder / "b.nc", "--size", "21"],
    "report": lambda sample, folder: [sample.path, "-o", folder / "a.html"],
    "survey": lambda sample, folder: [sample.visit, "-o", folder / "a.nc", "--no-resume", "--no-estimates"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_command_on_full_disk(sample, tmp_path, name):
    from xta.cli import main

    arguments = [str(argument) for argument in COMMANDS[name](sample, tmp_path)]
    with full_disk():
        done = CliRunner().invoke(main, [name, *arguments])
    assert done.exit_code == 1, done.output
    assert "Error: cannot write" in done.stderr
    assert "disk" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_store_goes_on_after_full_disk(sample, tmp_path):
    """A row of which a part fits is taken back, so that the next one is a line of its own."""
    path = tmp_path / "rows.jsonl"
    with full_disk(), pytest.raises(FileError, match="disk"):
        survey(sample.visit, resume=path, **QUICK)
    xr.testing.assert_identical(survey(sample.visit, resume=path, **QUICK), sample.rows)
    assert len(path.read_text().splitlines()) == 1
