"""The examples run as a newcomer would run them: offline, each in its own process, without a warning."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
REAL = FOLDER / "07_real_files.py"
HEAVY = {FOLDER / "06_folder_to_figure.py"}
EXAMPLES = [
    pytest.param(path, id=path.stem, marks=[pytest.mark.heavy] if path in HEAVY else [])
    for path in sorted(FOLDER.glob("[0-9]*.py"))
    if path != REAL
]


def run(path, folder, **more):
    environment = os.environ | {"XTA_OFFLINE": "1", "MPLBACKEND": "agg", "TMPDIR": str(folder)} | more
    command = [sys.executable, "-W", "error::UserWarning", str(path)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", EXAMPLES)
def test_example(path, tmp_path):
    run(path, tmp_path)


@pytest.mark.heavy
def test_example_on_real_files(shared, tmp_path):
    printed = run(REAL, tmp_path, XTA_REAL_DATA=str(shared / "real"))
    disk = float(re.search(r"disk at (\S+) deg", printed)[1])
    separation, angle, sigma = map(float, re.search(r"planet: (\S+) arcsec, (\S+) deg, (\S+) sigma", printed).groups())
    assert disk == pytest.approx(128.5, abs=0.5)
    # HD 106906 b: 7.11 +- 0.03 arcsec at 307.3 +- 0.2 deg (Bailey et al. 2014).
    assert separation == pytest.approx(7.11, abs=0.06)
    assert angle == pytest.approx(307.3, abs=0.4)
    assert sigma > 20
    assert len(list(tmp_path.rglob("real_files.png"))) == 1
