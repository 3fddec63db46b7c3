"""Files appear whole or not at all."""

import os
import signal
import stat
import subprocess
import sys
import threading
import time

import dask
import netCDF4
import numpy as np
import pytest
import xarray as xr
from dask.array import from_delayed

import xta
from xta import identity
from xta.errors import FileError, XtaError
from xta.io.atomic import whole_file, whole_folder
from xta.workers import compute, interrupts_wait


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


def test_whole_file_names_disk_error(tmp_path):
    with pytest.raises(FileError, match=r"cannot write .*a\.nc"):
        write_half(tmp_path / "a.nc", OSError(28, "No space left on device"))
    assert list(tmp_path.iterdir()) == []


def write_bad_netcdf(path):
    with whole_file(path) as temporary, netCDF4.Dataset(temporary, "w") as file:
        file.createDimension("a/b", 3)


def test_whole_file_names_error_of_netcdf_library(tmp_path):
    with pytest.raises(FileError, match=r"cannot write .*a\.nc") as caught:
        write_bad_netcdf(tmp_path / "a.nc")
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["not converged", "NetCDF is not what this is about"])
def test_whole_file_passes_error_of_computation(tmp_path, text):
    with pytest.raises(RuntimeError, match=text) as caught:
        write_half(tmp_path / "a.nc", RuntimeError(text))
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


WRITER = """
import sys
from xta.io.atomic import whole_file

with whole_file(sys.argv[1]) as temporary:
    temporary.write_text("half")
    print(temporary, flush=True)
    sys.stdin.read()
    temporary.write_text("whole")
"""


@pytest.fixture
def writer(tmp_path):
    """A process that has begun to write ``a.txt``, and goes on when its input ends."""
    command = [sys.executable, "-c", WRITER, str(tmp_path / "a.txt")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        process.temporary = tmp_path / process.stdout.readline().strip()
        assert process.temporary.exists()
        yield process
        process.kill()


def write(path):
    with whole_file(path) as temporary:
        temporary.write_text("new")


def test_whole_file_removes_temporary_file_of_killed_process(writer, tmp_path):
    writer.kill()
    writer.wait()
    assert writer.temporary.exists()
    for other in ("a.csv", "b.txt", "a-b.txt"):
        write(tmp_path / other)
    assert writer.temporary.exists()
    write(tmp_path / "a.txt")
    assert not writer.temporary.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", "a.csv", "b.txt", "a-b.txt"}


def test_whole_file_keeps_temporary_file_of_living_process(writer, tmp_path):
    write(tmp_path / "a.txt")
    assert writer.temporary.exists()
    with whole_file(tmp_path / "a.txt"):
        write(tmp_path / "a.txt")  # by the same process, too
    writer.communicate()
    assert writer.returncode == 0
    assert (tmp_path / "a.txt").read_text() == "whole"
    assert list(tmp_path.iterdir()) == [tmp_path / "a.txt"]


def test_whole_file_keeps_temporary_file_of_other_machine(writer, tmp_path):
    writer.kill()
    writer.wait()
    _, machine, rest = writer.temporary.name.split("-", 2)
    elsewhere = writer.temporary.rename(tmp_path / f".a-{machine[::-1]}-{rest}")
    write(tmp_path / "a.txt")
    assert elsewhere.exists()


@pytest.fixture(scope="module")
def analyzed(nircam, tmp_path_factory):
    """The NetCDF of an analysis with so many frames that to recenter them takes a while."""
    path = tmp_path_factory.mktemp("long") / "a.nc"
    ds = xta.analyze(nircam.science[0]).load()
    xta.to_netcdf(ds.isel(integration=[0, 1, 2] * 20), path)
    return path


@pytest.fixture
def recentering(analyzed, tmp_path):
    """A process of ``xta recenter`` that has begun to write."""
    code = "from xta.cli import main; main()"
    command = [sys.executable, "-c", code, "recenter", str(analyzed), "-o", str(tmp_path / "out.nc")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        end = time.monotonic() + 120
        while not any(tmp_path.iterdir()) and process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        yield process
        process.kill()


def test_recenter_cleans_up_after_sigterm(recentering, tmp_path):
    recentering.terminate()
    said = recentering.communicate(timeout=120)[1]
    assert recentering.returncode == 143, said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_recenter_removes_what_killed_run_left(recentering, analyzed, tmp_path):
    recentering.kill()
    recentering.wait()
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".out-")
    with xr.open_dataset(analyzed) as ds:
        xta.to_netcdf(ds[["x"]], tmp_path / "out.nc")
    assert list(tmp_path.iterdir()) == [tmp_path / "out.nc"]


def test_main_restores_handler_of_sigterm():
    from click.testing import CliRunner

    from xta.cli import main

    before = signal.getsignal(signal.SIGTERM)
    assert CliRunner().invoke(main, ["cache", "list"]).exit_code == 0
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.fixture
def interruptible():
    """Let SIGINT raise KeyboardInterrupt, whatever the process that started the tests does with it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupted_in_block(done):
    with interrupts_wait():
        signal.raise_signal(signal.SIGINT)
        done.append("whole")


@pytest.mark.usefixtures("interruptible")
def test_interrupts_wait_until_block_ends():
    done = []
    with pytest.raises(KeyboardInterrupt):
        interrupted_in_block(done)
    assert done == ["whole"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_interrupts_wait_in_other_thread():
    """Only the main thread gets signals, and only it may say what happens to them."""
    done = []

    def work():
        with interrupts_wait():
            done.append(1)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [1]


@pytest.mark.usefixtures("interruptible")
def test_compute_leaves_no_thread_that_writes():
    begun, done = threading.Event(), []

    @dask.delayed
    def write():
        begun.set()
        time.sleep(0.3)
        done.append("whole")

    def interrupt():
        begun.wait()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        compute(write())
    assert done == ["whole"]


@pytest.mark.usefixtures("interruptible")
def test_interrupt_waits_until_coordinates_are_read():
    """An interrupt while netCDF4 reads is lost; one while dask starts a thread lets the process wait for ever."""
    done = []

    @dask.delayed
    def read(name):
        signal.raise_signal(signal.SIGINT)
        time.sleep(0.05)
        done.append(name)
        return np.array(1.0)

    values = {name: ((), from_delayed(read(name), (), float)) for name in ("target_x", "target_y")}
    with pytest.raises(KeyboardInterrupt):
        identity.in_memory(xr.Dataset(coords=values))
    assert done == ["target_x", "target_y"]


def leave_folder(path):
    with whole_folder(path, like=(".zgroup",)) as temporary:
        for k in range(300):
            (temporary / str(k)).touch()
        raise ValueError


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("step", ["rmdir", "unlink"])
def test_whole_folder_interrupted_while_it_cleans_up(tmp_path, monkeypatch, step):
    remove, interrupts = getattr(os, step), [signal.SIGINT]

    def removed(*arguments, **options):
        if interrupts:
            signal.raise_signal(interrupts.pop())
        remove(*arguments, **options)

    monkeypatch.setattr(os, step, removed)
    with pytest.raises(KeyboardInterrupt):
        leave_folder(tmp_path / "a.zarr")
    assert list(tmp_path.iterdir()) == []


class Interrupting:
    """An object that is interrupted while it is deleted, where Python prints exceptions and goes on."""

    def __init__(self, number):
        self.number = number

    def __del__(self):
        signal.raise_signal(self.number)


def delete_interrupted(number):
    from xta.cli import _ended_by_sigterm

    with _ended_by_sigterm():
        Interrupting(number)
        time.sleep(10)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)], ids=["int", "term"]
)
def test_command_hears_interrupt_in_garbage_collection(number, error):
    start = time.monotonic()
    with pytest.raises(error):
        delete_interrupted(number)
    assert time.monotonic() - start < 5
