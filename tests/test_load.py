"""Many opens, threads, processes and visits, and workers that are lost in the middle of their work."""

import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import xta
from tests.benchmarks.test_osslog_speed import ROWS, A, write
from tests.surveys.visits import LIMIT, base_visit, clones
from xta import osslog

HEAVY = pytest.mark.heavy
LINUX = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks the system about processes")


def run(script, tmp_path, *arguments):
    """Run a script in a process of its own, with an end, for it must never hang; return what it prints."""
    path = tmp_path / "script.py"
    path.write_text(script)
    command = [sys.executable, "-W", "ignore", str(path), *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=2 * LIMIT)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.split()


def handles():
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


@LINUX
@pytest.mark.parametrize("count", [20, pytest.param(500, marks=HEAVY)])
def test_open_exposure_leaves_no_file_handle(nircam, count):
    """Whether the dataset is closed or forgotten, read or not."""

    def work(k):
        ds = xta.open_exposure(nircam.science[0], chunks={} if k % 3 == 0 else None)
        if k % 2:
            ds["sci"].isel(integration=0, x=slice(9), y=slice(9)).load()
        if k % 4 < 2:
            ds.close()

    for k in range(4):
        work(k)
    before = handles()
    for k in range(count):
        work(k)
    assert handles() == before


@pytest.mark.parametrize("count", [4, pytest.param(32, marks=HEAVY)])
def test_analyze_in_threads(nircam, count):
    expected = xta.analyze(nircam.science[0]).load()
    results = []

    def work():
        results.append(xta.analyze(nircam.science[0]).load())

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == count
    assert all(ds.identical(expected) for ds in results)


@HEAVY
def test_read_million_rows_of_a_log(tmp_path):
    """Of a visit among them; how long it takes is measured in benchmarks, and against pandas in test_speed."""
    path = tmp_path / "osslog.csv"
    assert write(path, visits=1) == ROWS
    (centroid,) = osslog.read(path).centroids(A)
    assert (centroid.x_det, centroid.y_det) == (1557.8437, 1548.52431)


PROCESSES = """
import multiprocessing, sys
import xta

def star(path):
    ds = xta.analyze(path, chunks={})
    return float(ds["target_x"]), float(ds.ta.recenter(size=21)["sci"].sum())

if __name__ == "__main__":
    expected = star(sys.argv[1]) if sys.argv[2] == "spawn" else None
    with multiprocessing.get_context(sys.argv[2]).Pool(3) as pool:
        results = pool.map(star, sys.argv[1:2] * 6)
    print(len({expected or star(sys.argv[1]), *results}))
"""


@HEAVY
@pytest.mark.parametrize("method", ["spawn", "fork"])
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_analyze_in_processes(nircam, tmp_path, method):
    """A fork is made before the first use of dask, whose threads it would not have."""
    assert run(PROCESSES, tmp_path, nircam.science[0], method) == ["1"]


GROWTH = """
import gc, sys
from xta.surveys import find_visits, survey

def resident():
    gc.collect()
    (size,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS")]
    return int(size) * 1024

paths = [path for files in find_visits(sys.argv[1]).visits for path in (*files.paths,)]
visits = sorted({path.parent for path in paths})
options = dict(workers=1, offline=True, estimates=False, centroid="oss", corrections="none")
survey(visits[:10], **options)
before = resident()
ds = survey(visits, **options)
print(len(ds["visit"]), int((ds["ok"] == 1).sum()), resident() - before)
"""


@LINUX
@HEAVY
def test_survey_of_many_visits_stays_small(tmp_path, capsys):
    """``XTA_SURVEY_VISITS`` visits, 80 by default, take less than 50 MB more than 10."""
    count = int(os.environ.get("XTA_SURVEY_VISITS", "80"))
    clones(base_visit(tmp_path / "base"), tmp_path / "visits", range(count))
    visits, good, growth = map(int, run(GROWTH, tmp_path, tmp_path / "visits"))
    with capsys.disabled():
        print(f"\nsurvey of {visits} visits: {growth / 1e6:.1f} MB")
    assert visits == good == count
    assert growth < 50e6


LOSS = """
import os, signal, sys, threading, time
import xarray as xr
import xta
from distributed import Client, LocalCluster
from xta.surveys import survey

OPTIONS = {"offline": True, "estimates": False, "centroid": "oss", "corrections": "none"}

def lose(client, log):
    # Kill a worker as soon as the first task is done.
    while not any(log.values()):
        time.sleep(0.05)
        log.update(client.run_on_scheduler(lambda dask_scheduler: {"done": len(dask_scheduler.transition_log) > 20}))
    pid = next(iter(client.run(os.getpid).values()))
    os.kill(pid, signal.SIGKILL)
    log["lost"] = pid

if __name__ == "__main__":
    kind, source, out = sys.argv[1:]
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster, Client(cluster) as client:
        client.wait_for_workers(2)
        log = {}
        thread = threading.Thread(target=lose, args=(client, log))
        thread.start()
        if kind == "survey":
            ds = survey(source, client=client, **OPTIONS)
        else:
            cube = xta.analyze(source, chunks={"integration": 1}, centroid="oss", corrections="none")
            ds = cube.isel(integration=[0, 1, 2] * 10).ta.recenter().load()
        thread.join()
    xta.to_netcdf(ds, out)
    print("lost" in log)
"""


@HEAVY
def test_survey_finishes_when_a_worker_is_lost(tmp_path):
    clones(base_visit(tmp_path / "base"), tmp_path / "visits", range(8))
    assert run(LOSS, tmp_path, "survey", tmp_path / "visits", tmp_path / "a.nc") == ["True"]
    with xr.open_dataset(tmp_path / "a.nc") as ds:
        assert ds["ok"].values.tolist() == [1] * 8, ds["reason"].values


@HEAVY
def test_recenter_finishes_when_a_worker_is_lost(nircam, tmp_path):
    assert run(LOSS, tmp_path, "recenter", nircam.science[0], tmp_path / "a.nc") == ["True"]
    ds = xta.analyze(nircam.science[0], chunks={"integration": 1}, centroid="oss", corrections="none")
    expected = ds.isel(integration=[0, 1, 2] * 10).ta.recenter()
    with xr.open_dataset(tmp_path / "a.nc") as again:
        np.testing.assert_array_equal(again["sci"].values, expected["sci"].values)
