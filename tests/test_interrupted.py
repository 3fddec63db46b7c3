"""Programs that are interrupted at random moments leave a whole result or none, and nothing else.

The heavy test interrupts each program ``XTA_MOMENTS`` times by each signal, once by default.
"""

import os
import random
import re
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
import xarray as xr
from filelock import FileLock

import xta
from tests import forked
from tests.archive_server import ArchiveServer, sample_visit
from tests.surveys.visits import base_visit, clones
from xta import datasets
from xta.cli.common import opened_netcdf

MOMENTS = int(os.environ.get("XTA_MOMENTS", "1"))
SEED = int(os.environ.get("XTA_MOMENTS_SEED", "0"))
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
CODES = {signal.SIGKILL: {-9}, signal.SIGTERM: {143, -15}, signal.SIGINT: {1, 130}}
"""Exit codes of an interrupted program; also before it handles signals."""
END = 3  # s, until all processes are gone; more where the machine is so busy that the program takes long
LIMIT = 120  # s, of a program that is not interrupted
VISIT = "V01386001001"

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks the system about processes")


def end_on_sigterm():
    def end(number, _frame):
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)


def to_fits(source, target):
    end_on_sigterm()
    with opened_netcdf(source) as ds:
        ds.ta.to_fits(target)


def to_zarr(source, target):
    end_on_sigterm()
    with opened_netcdf(source) as ds:
        xta.to_zarr(ds, target)


@pytest.fixture(scope="module")
def inputs(nircam, tmp_path_factory):
    """What the programs work on."""
    folder = tmp_path_factory.mktemp("inputs")
    ds = xta.analyze(nircam.science[0])
    xta.to_netcdf(ds, folder / "a.nc")
    xta.to_netcdf(ds.ta.recenter(), folder / "centered.nc")
    for k in range(2):
        options = {"roll": 110 + 8 * k, "integrations": 1, "wavefront": 3, "seed": k}
        datasets.make_visit(folder / "program" / str(k), visit_id=f"0999100{k + 1}001", ideal=True, **options)
    clones(base_visit(folder / "base"), folder / "visits", range(4))
    return {"science": nircam.science[0], "program": folder / "program", "visits": folder / "visits"} | {
        name: folder / f"{name}.nc" for name in ("a", "centered")
    }


def klip(inputs, target):
    program = sorted(inputs["program"].glob("*/*_calints.fits"))
    return forked.command, "klip", program[0], "-r", program[1], "-o", target, "--numbasis", "1", "--offline"


def survey(inputs, target):
    options = "--workers", "2", "--centroid", "oss", "--corrections", "none", "--no-estimates"
    return forked.command, "survey", inputs["visits"], "-o", target, *options


PROGRAMS = {
    "analyze": ("a.nc", lambda inputs, target: (forked.command, "analyze", inputs["science"], "-o", target)),
    "recenter": ("a.nc", lambda inputs, target: (forked.command, "recenter", inputs["a"], "-o", target)),
    "report": ("a.html", lambda inputs, target: (forked.command, "report", inputs["a"], "-o", target)),
    "solve": ("a.nc", lambda inputs, target: (forked.command, "solve", inputs["program"], "-o", target)),
    "klip": ("a.nc", klip),
    "survey": ("a.nc", survey),
    "to_fits": ("a_calints.fits", lambda inputs, target: (to_fits, inputs["centered"], target)),
    "to_zarr": ("a.zarr", lambda inputs, target: (to_zarr, inputs["centered"], target)),
}
"""Program -> name of its result, and what to start."""

ROWS = "a.nc.rows.jsonl"
"""The rows of a survey stay, so that it goes on where it was."""


def is_old(target):
    """Tell whether a result is the one that was there before; of a Zarr store, a folder with a mark."""
    place = target / "old" if target.is_dir() else target
    return place.exists() and place.read_bytes()[:4] == b"old\n"


def put_old(target):
    if target.suffix == ".zarr":
        target.mkdir(exist_ok=True)
        (target / ".zgroup").touch()
        target /= "old"
    target.write_bytes(b"old\n")


def remove(target):
    with suppress(FileNotFoundError):
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink()


def content(path):
    """Read a result so that two can be compared."""
    if path.suffix == ".zarr":
        return xr.open_zarr(path).load()
    if path.suffix == ".nc":
        return xr.open_datatree(path).load()
    when = rb"\d{4}-\d\d-\d\d(?:T|\s+)[0-9:.]{8,}|_fits_hash: [0-9a-f]{64}"  # FITS files tell when they were written
    return re.sub(when, b"", path.read_bytes())


def left_in(folder, *files):
    """Name what is in a folder, but for results and the rows of a survey."""
    return {path.name for path in folder.iterdir()} - {*files, ROWS}


def same(one, other):
    return one == other if isinstance(one, bytes) else one.identical(other)


@pytest.fixture(scope="module")
def whole(inputs, tmp_path_factory):
    """Run a program to its end, once: its result, and how long it took."""
    results = {}

    def run(name):
        if name not in results:
            file, arguments = PROGRAMS[name]
            target = tmp_path_factory.mktemp(name) / file
            seconds = finish(arguments(inputs, target), target.parent)
            results[name] = content(target), seconds
            assert left_in(target.parent, file) == set()
        return results[name]

    return run


def finish(job, folder, **environment):
    """Run a program to its end; return how long it took [s]."""
    with forked.started(*job, said=folder.with_suffix(".txt"), **{"XTA_OFFLINE": "1"} | environment) as program:
        start = time.monotonic()
        assert program.end(LIMIT) == 0, program.output()
        return time.monotonic() - start


def interrupt(job, folder, number, moment, limit, **environment):
    """Interrupt a program; return its exit code and how long its end took [s]."""
    said = folder.with_suffix(".txt")
    with forked.started(*job, said=said, **{"XTA_OFFLINE": "1"} | environment) as program:
        time.sleep(moment)
        program.signal(number)
        start = time.monotonic()
        code = program.end(limit)
        assert code in CODES[number] | {0}, program.output()
        return code, time.monotonic() - start


def moments(seed, count, length):
    """Choose a moment in each of equal parts of the time that a program takes [s]."""
    rng = random.Random(f"{seed} {SEED}")
    return [(k + rng.random()) / count * length for k in range(count)]


def interrupted(name, number, inputs, whole, folder, count):
    """Interrupt a program so many times, each other time with an old result; then run it to its end."""
    file, arguments = PROGRAMS[name]
    target = folder / file
    expected, length = whole(name)
    job, states = arguments(inputs, target), []
    for k, moment in enumerate(moments(f"{name} {number}", count, length)):
        if k % 2:
            put_old(target)
            remove(folder / ROWS)
        else:
            remove(target)
        code, seconds = interrupt(job, folder, number, moment, END + 3 * length)
        state = "absent" if not target.exists() else "old" if is_old(target) else "whole"
        states.append((state, code, round(seconds, 2)))
        assert state != "whole" or same(content(target), expected)
        assert state != "absent" or not k % 2 or (name == "to_zarr" and number == signal.SIGKILL)
        left = left_in(folder, file)
        assert not left if number != signal.SIGKILL else all(path[0] == "." for path in left), left
    finish(job, folder)
    assert left_in(folder, file) == set()
    assert same(content(target), expected)
    return states


def told(name, number, states):
    kinds = [state for state, _, _ in states]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("absent", "old", "whole"))
    return f"{name} {signal.Signals(number).name}: {counts}; ended in {max(s for *_, s in states):.2f} s at most"


@pytest.mark.heavy
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("name", PROGRAMS)
def test_program_interrupted_leaves_whole_result_or_none(name, number, inputs, whole, tmp_path, capsys):
    folder = tmp_path / "out"
    folder.mkdir()
    states = interrupted(name, number, inputs, whole, folder, MOMENTS)
    with capsys.disabled():
        print(f"\n{told(name, number, states)}")


def slowly(handler, reply):
    """Send a body in ten parts."""
    handler.head(reply, reply.length)
    part = -(-reply.length // 10)
    for k in range(10):
        handler.wfile.write(reply.body[k * part : (k + 1) * part])
        handler.wfile.flush()
        time.sleep(0.01)


def unlocked(path):
    with FileLock(path).acquire(timeout=0):
        return True


@pytest.mark.heavy
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_fetch_interrupted_goes_on(number, serve, store, tmp_path, capsys):
    server = serve(ArchiveServer(latency=0.05))
    sample_visit().feed(server)
    server.always("product", slowly)
    folder = tmp_path / "out"
    job = forked.command, "fetch", VISIT, "--log", "-o", folder
    asked = {"XTA_OFFLINE": "0", "XTA_CACHE": str(store), "XTA_MAST_URL": server.url}
    length, states = finish(job, folder, **asked), []
    expected = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert len(expected) == 3
    for k, moment in enumerate(moments(f"fetch {number}", MOMENTS, length)):
        if k % 2 == 0:
            remove(store)
            remove(folder)
        code, seconds = interrupt(job, folder, number, moment, END + 3 * length, **asked)
        there = {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else {}
        assert all(expected[name] == there[name] for name in there if name in expected)
        assert all(name[0] == "." for name in there if name not in expected)
        assert all(unlocked(path) for path in store.rglob("*.lock"))
        if number != signal.SIGKILL:
            assert there.keys() <= expected.keys()
            left = [path.name for path in store.rglob("*") if path.name[0] == "." or path.suffix == ".part"]
            assert all(store.rglob(f"{name}.tag") for name in left), left
        states.append(("whole" if there.keys() == expected.keys() else "absent", code, seconds))
    finish(job, folder, **asked)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == expected
    with capsys.disabled():
        print(f"\n{told('fetch', number, states)}")
