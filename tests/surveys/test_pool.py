"""Surveys in this process, in others, and on the workers of a dask client."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import xarray as xr

from tests.surveys.visits import LIMIT


def test_survey_on_dask_client(folder, surveyed, script, tmp_path):
    # A process of its own, with an end: workers that lose each other would wait for ever.
    out = tmp_path / "cluster.nc"
    subprocess.run([*script, "cluster", str(folder), str(out)], check=True, capture_output=True, timeout=LIMIT)
    with xr.open_dataset(out) as ds:
        xr.testing.assert_identical(ds.load(), surveyed.drop_dims("estimate"))


DIES = """
import os, sys
from functools import partial
from xta.surveys import find_visits, pool, survey

def work(files, main):
    if files.visit_id == "10001001001":
        os._exit(1)
    return {"visit_id": files.visit_id}

if __name__ == "__main__" and sys.argv[1] == "dies":
    for files, row in pool.run(partial(work, main=1), find_visits(sys.argv[2]).visits, client=None, workers=2):
        print(files.visit_id, type(row).__name__)
elif sys.argv[1] == "unguarded":
    survey(sys.argv[2], workers=2, offline=True)
"""


DEFAULT = """
import multiprocessing, os, sys
from xta.surveys import pool, survey

pool.WORTH_IT = 1
os.sched_getaffinity = lambda process: {0, 1}

def rows(folder):
    return survey(folder, offline=True, estimates=False)["ok"].values.tolist()

if sys.argv[1] == "unguarded":
    print(rows(sys.argv[2]))
elif __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as workers:
        print(workers.apply(rows, sys.argv[2:]))
"""


INTERRUPTED = """
import os, signal, sys, threading, time
from functools import partial
from pathlib import Path
from xta.surveys import find_visits, pool

def work(files, folder):
    (folder / files.visit_id).touch()
    while not (folder / "go").exists():
        time.sleep(0.01)

def interrupt(folder):
    while len(list(folder.iterdir())) < 2:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)

if __name__ == "__main__":
    folder = Path(sys.argv[2])
    threading.Thread(target=interrupt, args=(folder,)).start()
    try:
        list(pool.run(partial(work, folder=folder), find_visits(sys.argv[1]).visits, client=None, workers=2))
    except KeyboardInterrupt:
        (folder / "go").touch()
"""


ENDLESS = """
import os, sys, time
from functools import partial
from pathlib import Path
from xta.surveys import find_visits, pool

def work(files, folder):
    Path(folder, str(os.getpid())).touch()
    time.sleep(600)

if __name__ == "__main__":
    list(pool.run(partial(work, folder=sys.argv[2]), find_visits(sys.argv[1]).visits, client=None, workers=2))
"""


def test_run_worker_that_dies_costs_one_visit(folder, tmp_path):
    (tmp_path / "dies.py").write_text(DIES)
    command = [sys.executable, str(tmp_path / "dies.py")]
    done = subprocess.run([*command, "dies", folder], check=True, capture_output=True, text=True, timeout=LIMIT)
    kinds = dict(line.split() for line in done.stdout.splitlines())
    assert kinds == dict.fromkeys([f"1000{n}001001" for n in range(6)], "dict") | {"10001001001": "BrokenProcessPool"}
    done = subprocess.run([*command, "unguarded", folder], check=False, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 1
    assert 'under if __name__ == "__main__":' in done.stderr.splitlines()[-1]


def test_run_begins_no_visit_after_interrupt(folder, tmp_path):
    """Processes have been sent visits ahead of time."""
    (tmp_path / "interrupted.py").write_text(INTERRUPTED)
    begun = tmp_path / "begun"
    begun.mkdir()
    command = [sys.executable, str(tmp_path / "interrupted.py"), str(folder), str(begun)]
    subprocess.run(command, check=True, capture_output=True, timeout=LIMIT)
    assert len(list(begun.iterdir())) == 2 + 1


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks the system about processes")
@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.heavy)])
def test_run_workers_end_with_the_process_that_asked(folder, tmp_path, number):
    """Within 3 s, also in the middle of a visit, and where that process is killed."""
    (tmp_path / "endless.py").write_text(ENDLESS)
    begun = tmp_path / "begun"
    begun.mkdir()
    command = [sys.executable, str(tmp_path / "endless.py"), str(folder), str(begun)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: len(list(begun.iterdir())) == 2, LIMIT)
        process.send_signal(number)
        wait_until(lambda: not any(runs(int(path.name)) for path in begun.iterdir()), 3)
        assert process.wait(timeout=3) == -number


def wait_until(condition, limit):
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def runs(process):
    """Tell whether a process runs: one that ended and was not waited for is none."""
    state = Path(f"/proc/{process}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("kind", ["unguarded", "in a worker"])
def test_run_works_alone_where_no_process_can_start(two, tmp_path, kind):
    """Unless processes were asked for; a worker of a pool may have none of its own."""
    (tmp_path / "default.py").write_text(DEFAULT)
    command = [sys.executable, str(tmp_path / "default.py"), kind, str(two)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LIMIT)
    assert done.stdout == "[1, 1]\n", done.stderr
    warned = 'XtaWarning: worker processes cannot start, so .* under if __name__ == "__main__":'
    assert bool(re.search(warned, done.stderr)) == (kind == "unguarded")
