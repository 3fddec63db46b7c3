"""Work on the workers of a dask client: the same results in the same order, also when a worker dies."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import xarray as xr

import xta
from xta.errors import ArgumentError
from xta.workers import mapped


@pytest.fixture(scope="module")
def client():
    from distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0")
    with cluster, Client(cluster) as running:
        yield running


def tenth(number):
    return number / 10


def refuse(number):
    if number == 2:
        msg = f"not {number}"
        raise ArgumentError(msg)
    return number


def test_mapped_without_client_calls_one_by_one():
    results = mapped(refuse, [1, 2])
    assert next(results) == 1
    with pytest.raises(ArgumentError, match="not 2"):
        next(results)


def test_mapped_on_client_keeps_order(client):
    assert list(mapped(tenth, range(20), client)) == [number / 10 for number in range(20)]


def test_mapped_on_client_raises_what_the_function_raises(client):
    results = mapped(refuse, [1, 2, 3], client)
    assert next(results) == 1
    with pytest.raises(ArgumentError, match="not 2"):
        next(results)


def test_mapped_refuses_what_is_no_client():
    with pytest.raises(ArgumentError, match="client"):
        mapped(tenth, [1], "tcp://127.0.0.1:8786")


@pytest.fixture(scope="module")
def program(rolls):
    exposures, _ = rolls
    paths = ("science/a", "science/b", "reference/c")
    return xr.DataTree.from_dict({f"/F444W/{path}": ds for path, ds in zip(paths, exposures, strict=True)})


@pytest.mark.parametrize("step", ["recenter", "solve"])
def test_step_of_program_on_client_is_the_same(program, client, step):
    here, there = (getattr(program.ta, step)(client=each) for each in (None, client))
    assert here.identical(there)


def test_klip_of_program_on_client_is_the_same(program, client):
    pytest.importorskip("pyklip")
    here, there = (program.ta.klip(numbasis=2, client=each) for each in (None, client))
    xr.testing.assert_identical(here["F444W"].to_dataset(), there["F444W"].to_dataset())


def test_recenter_on_client_of_dask_arrays_comes_back_in_memory(program, client):
    lazy = xr.DataTree.from_dict({"/F444W/science/a": program["F444W/science/a"].to_dataset().chunk(integration=1)})
    done = lazy.ta.recenter(client=client)["F444W/science/a"]
    assert done["sci"].chunks is None
    xr.testing.assert_identical(done["sci"], program.ta.recenter()["F444W/science/a"]["sci"])


def test_solve_of_exposures_takes_a_client(program, client):
    exposures = [node.to_dataset() for node in program.leaves]
    stars = [[ds["target_x"].item() for ds in xta.solve(exposures, client=each)] for each in (None, client)]
    assert stars[0] == stars[1]


DYING = """
import os, sys
from pathlib import Path
from distributed import Client, LocalCluster
from xta.workers import mapped

def work(item):
    folder, number = item
    if number == 3:
        try:
            (Path(folder) / "died").touch(exist_ok=False)
        except FileExistsError:
            return number
        os._exit(1)
    return number

if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50) as cluster:
        with Client(cluster) as client:
            print(list(mapped(work, [(sys.argv[1], number) for number in range(12)], client)))
"""


@pytest.mark.heavy
def test_mapped_on_client_survives_the_death_of_a_worker(tmp_path):
    (tmp_path / "script.py").write_text(DYING)
    command = [sys.executable, "-W", "ignore", str(tmp_path / "script.py"), str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(Path(xta.__file__).parents[1])}
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120, env=environment)
    assert (tmp_path / "died").exists()
    assert done.stdout.strip().splitlines()[-1] == str(list(range(12)))
