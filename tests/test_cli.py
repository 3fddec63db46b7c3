"""The command line as a person or a script uses it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import xarray as xr
from click.testing import CliRunner

from xta.cli import main


@pytest.fixture
def run():
    return lambda *args: CliRunner().invoke(main, [str(arg) for arg in args])


def test_help_and_version(run):
    assert "analyze" in run("--help").output
    assert run("--version").output.startswith("xta, version")
    for command in main.commands:
        assert run(command, "--help").exit_code == 0


def test_analyze_prints_the_star(run, nircam):
    done = run("analyze", nircam.science[0])
    assert done.exit_code == 0, done.output
    row = nircam.truth.sel(file=nircam.science[0].name)
    assert f"{float(row['star_x']):.3f}" in done.output
    assert f"{float(row['star_y']):.3f}" in done.output
    assert "OSS event log" in done.output


def test_analyze_writes_json_netcdf_and_a_picture(run, nircam, tmp_path):
    netcdf, picture = tmp_path / "a.nc", tmp_path / "a.png"
    done = run(
        "analyze",
        nircam.science[0],
        "--ta",
        nircam.ta[0],
        "--oss",
        nircam.oss_log,
        "--json",
        "-o",
        netcdf,
        "--plot",
        picture,
    )
    assert done.exit_code == 0, done.output
    (result,) = json.loads(done.stdout)
    with xr.open_dataset(netcdf) as ds:
        assert result["target_x"] == float(ds["target_x"])
        assert result["centroid_source"] == ds.attrs["centroid_source"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nc", "a.png"]


def test_several_files_go_to_a_folder(run, nircam, tmp_path):
    done = run("analyze", nircam.science[0], nircam.ta[0], "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "out").glob("*_ta.nc"))) == 2
    assert run("analyze", nircam.science[0], nircam.ta[0], "-o", tmp_path / "a.nc").exit_code == 2


def test_an_existing_result_is_replaced(run, nircam, tmp_path):
    path = tmp_path / "a.nc"
    path.write_text("old")
    assert run("analyze", nircam.science[0], "-o", path).exit_code == 0
    with xr.open_dataset(path) as ds:
        assert "target_x" in ds.coords


def test_a_failed_acquisition_warns_on_stderr(run, nircam, tmp_path):
    for path in (nircam.science[0], nircam.ta[0]):
        shutil.copy(path, tmp_path)
    done = run("analyze", tmp_path / nircam.science[0].name, "--json")
    assert done.exit_code == 0
    assert "Warning: " in done.stderr
    assert json.loads(done.stdout)[0]["centroid_source"].startswith("TA image")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["absent_calints.fits"], "does not exist"),
        (["{science}", "--ta", "{science}"], "not a target acquisition"),
        (["{science}", "--oss", "absent.csv"], "absent.csv"),
        (["{science}", "-o", "absent/folder/a.nc"], "does not exist"),
        (["{science}", "--centroid", "900,5"], "outside the TA image"),
        (["{science}", "--plot", "picture.xyz"], "picture.xyz"),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(run, nircam, tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    done = run("analyze", *(argument.format(science=nircam.science[0]) for argument in arguments))
    assert done.exit_code == 1
    lines = done.stderr.strip().splitlines()
    assert lines[-1].startswith("Error: ")
    assert says in lines[-1]
    assert "Traceback" not in done.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [["analyze"], ["analyze", "--nonsense"], ["nonsense"], ["analyze", "a", "--centroid", "x,y"]]
)
def test_wrong_usage_is_exit_code_2(run, arguments):
    assert run(*arguments).exit_code == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(run, nircam, tmp_path):
    tmp_path.chmod(0o500)
    done = run("analyze", nircam.science[0], "-o", tmp_path / "a.nc")
    assert done.exit_code == 1
    assert "cannot write" in done.stderr


def test_demo_agrees_with_the_truth_in_an_empty_folder(tmp_path):
    """The whole process, as a newcomer starts it."""
    command = [str(Path(sys.executable).parent / "xta"), "demo"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "from truth" in done.stdout
    assert "Warning" not in done.stderr
    assert len(list((tmp_path / "xta-demo").glob("*.png"))) >= 3
    assert len(list((tmp_path / "xta-demo").glob("*.nc"))) >= 3
    again = subprocess.run(
        [*command, "--mode", "miri", "-o", "miri"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr


def test_demo_says_where_it_cannot_write(run, tmp_path):
    (tmp_path / "file").write_text("")
    done = run("demo", "-o", tmp_path / "file")
    assert done.exit_code == 1
    assert "Error: cannot make the folder" in done.stderr
