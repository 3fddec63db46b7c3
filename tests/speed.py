"""How fast the parts of an analysis are, as ratios: each against a peer or a limit, both measured in turn.

Times are processor times of this process or of one it starts, so that what else the machine does does not count, and of
each the least of several runs is taken, so that what shares its caches counts little.
"""

import json
import resource
import subprocess
import sys
import time
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import xarray as xr

import xta
from tests.surveys.visits import base_visit, clones
from xta import datasets, osslog
from xta.estimates.registration import pairs
from xta.images.shift import resample
from xta.psfsub.components import Library

FRAMES, SIZE, VISITS = 100, 320, 6


def least(*functions, rounds):
    """Run functions in turn; least processor time of each [s]."""
    times = np.empty((rounds, len(functions)))
    for row in times:
        for index, function in enumerate(functions):
            start = time.process_time()
            function()
            row[index] = time.process_time() - start
    return times.min(axis=0)


def processes(*commands, rounds):
    """Run commands in turn; least processor time of each [s]."""
    times = np.empty((rounds, len(commands)))
    for row in times:
        for index, command in enumerate(commands):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(command, check=True, capture_output=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            row[index] = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return times.min(axis=0)


@cache
def sample(folder):
    """Three visits, the first one analyzed with its frames, and the table of their exposures."""
    visits = [
        datasets.make_visit(folder / str(k), visit_id=f"0999{k}001001", seed=k, miss=(0.03 * k, 0.0), integrations=4)
        for k in range(3)
    ]
    return visits, [xta.analyze(visit.science[0], offline=True).load() for visit in visits]


@cache
def many(folder):
    """Write visits of one exposure each; their paths."""
    clones(base_visit(folder / "base"), folder / "visits", range(VISITS))
    return sorted((folder / "visits").glob("*/*calints.fits"))


def recentering(_folder):
    """A stack of float32 frames against one round trip of each padded frame through the FFT."""
    from scipy import fft

    stack = np.random.default_rng(0).normal(size=(FRAMES, SIZE, SIZE)).astype(np.float32)
    size = fft.next_fast_len(SIZE + 64, real=True)
    padded = np.pad(stack, ((0, 0), (0, size - SIZE), (0, size - SIZE)))

    def round_trips():
        for frame in padded:
            fft.irfft2(fft.rfft2(frame), s=frame.shape)

    return least(lambda: resample(stack, x0=149.07, y0=173.27, shape=(293, 297)), round_trips, rounds=7)


def registration(folder):
    """The integrations of an exposure against one round trip of each through the FFT."""
    from scipy import fft

    ds = sample(folder)[1][0]
    cube = np.nan_to_num(ds["sci"].values.astype(float))

    def round_trips():
        for _ in range(10):
            fft.irfft2(fft.rfft2(cube), s=cube.shape[1:])

    ours, theirs = least(lambda: xta.register(ds, each="integration"), round_trips, rounds=5)
    return ours, theirs / 10


def joint_solution(folder):
    """The stars of three exposures against the registration of their three pairs."""
    exposures = sample(folder)[1]
    return least(lambda: xta.solve(exposures), lambda: pairs(exposures), rounds=5)


def klip_library(_folder):
    """Correlations of 2 exposures with a library of 300 frames against the one product of matrices that they need."""
    values = np.random.default_rng(0).normal(size=(300, 20_000))
    owner = np.repeat(np.arange(6), 50)
    library = SimpleNamespace(
        filled=values, usable=np.ones(values.shape[1], dtype=bool), owner=owner, science=[None, None]
    )
    means = values[:2].copy()

    def products():
        for _ in range(20):
            means @ values.T

    ours, theirs = least(lambda: Library._correlations(library), products, rounds=7)
    return ours, theirs / 20


def log(folder):
    """The centroids of a log of 100,000 rows against reading it as a table by pandas."""
    import pandas as pd

    from tests.event_logs import A, block, to_csv, visit

    path = folder / "osslog.csv"
    core = visit(A, 0.0, block(40, 1557.8, 1548.5), length=1e5)
    filler = [(200.5 + 0.7 * k, "DAQ tlm slot 2 assigned to NRC") for k in range(100_000)]
    path.write_text(to_csv(sorted([*core, *filler])))
    return least(lambda: osslog.read(path).centroids(A), lambda: pd.read_csv(path), rounds=5)


def analysis(folder):
    """A whole process of ``xta analyze`` against the import of xarray."""
    visit = sample(folder)[0][0]
    command = [str(Path(sys.executable).parent / "xta"), "analyze", str(visit.science[0])]
    command += ["--ta", *map(str, visit.ta), "--oss", str(visit.oss_log), "--offline", "-o", str(folder / "out.nc")]
    return processes(command, [sys.executable, "-c", "import xarray"], rounds=3)


def further_exposure(folder):
    """One more analysis in a process that has done some, of another visit, against the import of xarray."""
    paths = many(folder)
    xta.analyze(paths[0], offline=True)
    ours = min(float(*least(partial(xta.analyze, path, offline=True), rounds=1)) for path in paths[1:])
    (theirs,) = processes([sys.executable, "-c", "import xarray"], rounds=3)
    return ours, theirs


def exposure_of_a_visit(folder):
    """One more exposure of a visit that was analyzed before against opening a file, each of which is new to both."""
    dithers = [(0.01 * k, 0.0) for k in range(9)]
    first, *paths = datasets.make_visit(folder / "dithers", integrations=1, dithers=dithers).science
    xta.analyze(first, offline=True)
    ours, theirs = [], []
    for mine, other in zip(paths[::2], paths[1::2], strict=True):
        times = least(
            lambda path=mine: xta.analyze(path, offline=True),
            lambda path=other: xr.open_dataset(path, engine="jwst"),
            rounds=1,
        )
        ours.append(times[0])
        theirs.append(times[1])
    return min(ours), min(theirs)


def survey_of_a_visit(folder):
    """A visit in a survey, without estimates, against its analysis."""
    paths = many(folder)
    options = {"offline": True, "estimates": False, "workers": 1}
    ours, theirs = least(
        lambda: xta.survey(folder / "visits", **options),
        lambda: [xta.analyze(path, offline=True) for path in paths],
        rounds=3,
    )
    return ours, theirs


MEASURES = (
    recentering,
    registration,
    joint_solution,
    klip_library,
    log,
    analysis,
    further_exposure,
    exposure_of_a_visit,
    survey_of_a_visit,
)

STORED = json.loads((Path(__file__).parent / "benchmarks" / "ratios.json").read_text())
"""Largest ratio of several runs, by the name of the measure."""

HEAD = f"{'':20}{'ours [s]':>10}{'peer [s]':>10}{'ratio':>8}{'stored':>8}"


def line(row):
    name, ours, theirs, ratio, stored = row
    return f"{name:20}{ours:10.4f}{theirs:10.4f}{ratio:8.2f}{stored:8.2f}"
