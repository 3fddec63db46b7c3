"""Visits that the tests of surveys share."""

import sys

import numpy as np
import pytest

import xta
from tests.surveys.visits import ONBOARD, base_visit, clones
from xta.surveys import survey


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    return base_visit(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def truth(base):
    """The analysis of the visit that all others are made of."""
    ds = xta.analyze(base.science[0], offline=True, **ONBOARD)
    error = base.truth.isel(file=0)
    put_in = float(np.hypot(error["error_v2"], error["error_v3"]))
    assert float(np.hypot(ds["offset_east"], ds["offset_north"])) == pytest.approx(put_in, abs=1e-4)
    return ds


@pytest.fixture(scope="session")
def folder(base, tmp_path_factory):
    """Six visits, each in a folder of its own."""
    path = tmp_path_factory.mktemp("six")
    clones(base, path, range(6))
    return path


@pytest.fixture(scope="session")
def surveyed(folder):
    return survey(folder, offline=True, workers=1, **ONBOARD)


@pytest.fixture
def two(base, tmp_path):
    """Two visits that a test may spoil."""
    clones(base, tmp_path / "two", range(2))
    return tmp_path / "two"


SCRIPT = """
import sys
import xta
from xta.surveys import survey

if __name__ == "__main__":
    options = {"offline": True, "estimates": False, "centroid": "oss", "corrections": "none"}
    kind, *paths, out = sys.argv[1:]
    if kind == "cluster":
        from distributed import Client, LocalCluster

        with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
            with Client(cluster) as client:
                xta.to_netcdf(survey(paths, client=client, **options), out)
    else:
        survey(paths, workers=int(kind), resume=out, **options)
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return [sys.executable, str(path)]
