"""What a user waits for: the import, and a whole analysis as a process of its own."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from xta import datasets

RUNS = 5


def seconds(*command):
    begin = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begin


def test_importing_xta_costs_little_more_than_xarray():
    """Bar: 1.3 times the import of xarray, alternating in one run."""
    times = {"xarray": [], "xta": []}
    for _ in range(RUNS):
        for name, taken in times.items():
            taken.append(seconds(sys.executable, "-c", f"import {name}"))
    bare = statistics.median(seconds(sys.executable, "-c", "pass") for _ in range(RUNS))
    ratio = (statistics.median(times["xta"]) - bare) / (statistics.median(times["xarray"]) - bare)
    print(f"\nimport xta / import xarray: {ratio:.2f}")
    assert ratio <= 1.3


@pytest.mark.parametrize("mode", ["nircam", "miri"])
def test_an_analysis_as_a_whole_process(tmp_path, mode):
    """Bar: 6 s, from the shell to the table of results; no slower than what the usual function only imports."""
    visit = datasets.make_visit(tmp_path, mode=mode, ideal=True)
    xta = str(Path(sys.executable).parent / "xta")
    usual = "import jwst.datamodels, jwst.tweakreg.utils, pysiaf, astroquery.mast, matplotlib.pyplot, photutils"
    mine = statistics.median(seconds(xta, "analyze", str(visit.science[0])) for _ in range(3))
    theirs = statistics.median(seconds(sys.executable, "-W", "ignore", "-c", usual) for _ in range(3))
    print(f"\nxta analyze ({mode}): {mine:.1f} s; imports of the usual way alone: {theirs:.1f} s")
    assert mine <= 6
    assert mine <= theirs
