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

import xta
from xta import datasets
from xta.cli import common, main
from xta.errors import AbsentAcquisitionError


@pytest.fixture
def run():
    return lambda *args: CliRunner().invoke(main, [str(arg) for arg in args])


def test_main_help_and_version(run):
    assert "analyze" in run("--help").output
    assert run("--version").output.startswith("xta, version")
    for command in main.commands:
        assert run(command, "--help").exit_code == 0


def test_analyze_prints_the_star(run, nircam):
    done = run("analyze", nircam.science[0], "--centroid", "oss", "--corrections", "none")
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


def test_analyze_several_files_to_folder(run, nircam, tmp_path):
    done = run("analyze", nircam.science[0], nircam.ta[0], "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "out").glob("*_ta.nc"))) == 2
    assert run("analyze", nircam.science[0], nircam.ta[0], "-o", tmp_path / "a.nc").exit_code == 2


def test_analyze_replaces_result(run, nircam, tmp_path):
    path = tmp_path / "a.nc"
    path.write_text("old")
    assert run("analyze", nircam.science[0], "-o", path).exit_code == 0
    with xr.open_dataset(path) as ds:
        assert "target_x" in ds.coords


def test_analyze_warns_on_stderr(run, nircam, tmp_path):
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
    ],
)
def test_analyze_error_is_one_line_and_exit_code_1(run, nircam, tmp_path, monkeypatch, arguments, says):
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
def test_main_wrong_usage_is_exit_code_2(run, arguments):
    assert run(*arguments).exit_code == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_analyze_refuses_read_only_folder(run, nircam, tmp_path):
    tmp_path.chmod(0o500)
    done = run("analyze", nircam.science[0], "-o", tmp_path / "a.nc")
    assert done.exit_code == 1
    assert "cannot write" in done.stderr


def test_demo_agrees_with_truth(tmp_path):
    """The whole process, as a newcomer starts it."""
    command = [str(Path(sys.executable).parent / "xta"), "demo"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "standard error" in done.stdout
    for what in ("star", "companion"):
        assert f"{what} minus truth, in standard errors" in done.stdout
    assert "Warning" not in done.stderr
    assert len(list((tmp_path / "xta-demo").glob("*.png"))) >= 3
    assert len(list((tmp_path / "xta-demo").glob("*.nc"))) >= 3
    again = subprocess.run(
        [*command, "--mode", "miri", "-o", "miri"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr


def test_demo_refuses_file_as_folder(run, tmp_path):
    (tmp_path / "file").write_text("")
    done = run("demo", "-o", tmp_path / "file")
    assert done.exit_code == 1
    assert "Error: cannot make the folder" in done.stderr


@pytest.mark.parametrize("option", ["-o", "--plot"])
def test_analyze_never_overwrites_input(run, nircam, tmp_path, option):
    science = shutil.copy(nircam.science[0], tmp_path)
    before = Path(science).read_bytes()
    (tmp_path / "link.nc").symlink_to(science)
    for target in (science, tmp_path / "link.nc"):
        done = run("analyze", science, "--ta", nircam.ta[0], "--oss", nircam.oss_log, option, target)
        assert done.exit_code == 2
    assert Path(science).read_bytes() == before


def test_analyze_refuses_files_of_one_name(run, nircam, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(nircam.science[0], tmp_path / folder)
    name = nircam.science[0].name
    assert run("analyze", tmp_path / "a" / name, tmp_path / "b" / name, "-o", tmp_path / "out").exit_code == 2
    assert run("analyze", nircam.science[0], "-o", tmp_path / "x.nc", "--plot", tmp_path / "p.xyz").exit_code == 2
    assert not (tmp_path / "x.nc").exists()


def test_analyze_goes_on_after_bad_file(run, nircam, tmp_path):
    done = run("analyze", tmp_path / "absent_calints.fits", nircam.science[0], "--json")
    assert done.exit_code == 1
    assert "Error: " in done.stderr
    (result,) = json.loads(done.stdout)
    assert result["filename"] == nircam.science[0].name


def test_analyze_refuses_folder_that_cannot_be_made(run, nircam, tmp_path):
    (tmp_path / "file").write_text("")
    done = run("analyze", nircam.science[0], nircam.ta[0], "-o", tmp_path / "file" / "sub")
    assert done.exit_code == 1
    assert "cannot make the folder" in done.stderr


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A visit to a reference star."""
    options = {"visit_id": "09990003001", "role": "reference", "companion": None, "seed": 3, "ideal": True}
    return datasets.make_visit(tmp_path_factory.mktemp("other"), mode="nircam", **options)


def test_recenter_and_klip_commands(run, nircam, other, tmp_path):
    analyzed, centered, image = (tmp_path / name for name in ("a.nc", "b.nc", "klip.nc"))
    assert run("analyze", nircam.science[0], "-o", analyzed).exit_code == 0
    assert run("recenter", analyzed, "-o", centered, "--size", "101").exit_code == 0
    with xr.open_dataset(centered) as ds:
        assert ds.sizes["x"] == 101
    done = run(
        "klip", centered, "-r", other.science[0], "--numbasis", "1,2", "-o", image, "--plot", tmp_path / "klip.png"
    )
    assert done.exit_code == 0, done.output
    with xr.open_dataset(image) as ds:
        assert list(ds["numbasis"].values) == [1, 2]
    assert (tmp_path / "klip.png").read_bytes().startswith(b"\x89PNG")
    assert run("recenter", centered, "-o", tmp_path / "c.nc").exit_code == 1
    assert run("recenter", analyzed, "-o", tmp_path / "c.nc", "--size", "100").exit_code == 2
    assert run("recenter", analyzed, "-o", tmp_path / "c.nc", "--method", "cubic").exit_code == 2
    assert run("klip", centered, "-o", tmp_path / "c.nc", "--numbasis", "few").exit_code == 2
    assert not (tmp_path / "c.nc").exists()


def test_analyze_netcdf_again_with_another_centroid(run, nircam, tmp_path):
    assert run("analyze", nircam.science[0], "-o", tmp_path / "a.nc").exit_code == 0
    done = run("analyze", tmp_path / "a.nc", "--centroid", "oss", "--corrections", "none", "--json")
    assert done.exit_code == 0, done.output
    ds = xta.analyze(nircam.science[0], centroid="oss", corrections="none", offline=True)
    assert json.loads(done.stdout)[0]["target_x"] == pytest.approx(float(ds["target_x"]), abs=1e-9)


@pytest.mark.parametrize("command", ["analyze", "recenter", "report"])
def test_commands_of_files_name_those_of_folders(run, tmp_path, command):
    ending = "html" if command == "report" else "nc"
    done = run(command, tmp_path, "-o", tmp_path / f"a.{ending}")
    assert done.exit_code == 1
    assert "xta survey" in done.stderr


def test_klip_of_folders(run, nircam, other, tmp_path):
    folders = nircam.science[0].parent, other.science[0].parent
    options = "--coadd", "--numbasis", "1", "--fov", "3", "--mark", "0.9,20", "--dpi", "60"
    done = run("klip", *folders, "-o", tmp_path / "out", "--plot", tmp_path / "out", *options)
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["F444W_klip.nc", "F444W_klip.png"]
    with xr.open_dataset(tmp_path / "out" / "F444W_klip.nc") as ds:
        assert (ds.attrs["mode"], ds.attrs["reference"]) == ("RDI", other.science[0].name)
    assert "F444W" in done.stdout
    assert "1 component:" in done.stdout


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--filter", "F999W"], "F444W"),
        (["--center", "150,174"], "folder"),
        (["--mark", "3"], "SEP,PA"),
        (["--fov", "0"], "fov"),
        (["--annuli", "0"], "annuli"),
    ],
)
def test_klip_checks_options_before_work(run, nircam, tmp_path, options, word):
    done = run("klip", nircam.science[0].parent, "-o", tmp_path / "k.nc", *options)
    assert done.exit_code == 2
    assert word in done.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.nc4", "A.NC", "a.CDF"])
def test_commands_read_netcdf_names_that_they_write(run, nircam, tmp_path, name):
    out = tmp_path / "out"
    out.mkdir()
    assert run("analyze", nircam.science[0], "-o", tmp_path / name).exit_code == 0
    done = run("recenter", tmp_path / name, "-o", out / name, "--size", "51")
    assert done.exit_code == 0, done.output
    with xr.open_dataset(out / name) as ds:
        assert ds.sizes["x"] == 51
    assert run("report", tmp_path / name, "-o", out / "a.html").exit_code == 0


def test_recenter_goes_on_after_bad_file(run, nircam, tmp_path):
    absent, damaged = tmp_path / "absent_calints.fits", tmp_path / "damaged.nc"
    damaged.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(3000))
    out = tmp_path / "out"
    done = run("recenter", absent, damaged, nircam.science[0], "-o", out, "--size", "51")
    assert done.exit_code == 1
    assert [path.name for path in out.iterdir()] == [f"{nircam.science[0].stem}_centered.nc"]
    last = done.stderr.splitlines()[-1]
    assert "2 of 3" in last
    assert str(absent) in last
    assert str(damaged) in last


@pytest.mark.parametrize("ending", ["png", "fits", "txt", ""])
@pytest.mark.parametrize("command", ["analyze", "recenter", "klip"])
def test_commands_refuse_other_names_than_netcdf(nircam, tmp_path, command, ending):
    """So that no picture and no product is replaced by one."""
    out = tmp_path / f"out.{ending}".rstrip(".")
    if ending:
        out.write_text("precious")
    done = CliRunner().invoke(main, [command, str(nircam.science[0]), "-o", str(out), "--offline"])
    assert done.exit_code == 2
    assert "must end in .nc" in done.output
    assert out.read_text() == "precious" if ending else not out.exists()


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ("analyze a.fits --corrections foo", "foo"),
        ("analyze a.fits --centroid foo", "foo"),
        ("analyze a.fits --plot absent/a.png", "absent"),
        ("report a.fits -o absent/a.html", "absent"),
        ("klip a.fits -o a.nc --numbasis 0", "from 1"),
        ("klip a.fits -o a.nc --plot absent/a.png", "absent"),
        ("klip a.fits -o a.nc -r absent.fits", "absent.fits"),
        ("klip . -o absent/a.nc", "absent"),
        ("solve . --plot absent/a.png", "absent"),
        ("survey . -o a.nc --corrections foo", "foo"),
        ("fetch 1386:1 --product foo", "uncal"),
        ("fetch 1386:1 -o a.fits", "is a file"),
    ],
)
def test_commands_check_options_before_work(run, tmp_path, monkeypatch, command, word):
    """The file is empty: work on it would fail in another way."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.fits").touch()
    done = run(*command.split())
    assert done.exit_code in {1, 2}
    assert word in done.stderr.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["a.fits"]


@pytest.mark.parametrize("command", ["recenter", "klip", "report"])
@pytest.mark.parametrize(("name", "word"), [("sci", "xta analyze"), ("klip", "xta klip"), ("status", "xta analyze")])
def test_commands_say_what_to_do_with_a_file_that_does_not_suit(run, tmp_path, command, name, word):
    xta.to_netcdf(xr.Dataset({name: ("x", [1.0])}), tmp_path / "a.nc")
    done = run(command, tmp_path / "a.nc", "-o", tmp_path / ("a.html" if command == "report" else "b.nc"))
    assert done.exit_code == 1
    assert word in done.stderr
    assert "ds." not in done.stderr


def test_failures_give_the_same_advice_once(capsys):
    failed = common.Failures()
    for visit in "123":
        with common.going_on(failed, visit):
            problem = f"no TA exposure of visit {visit}"
            raise AbsentAcquisitionError(problem, "Put it there")
    assert failed == ["1", "2", "3"]
    lines = capsys.readouterr().err.splitlines()
    assert [line.count("Put it there") for line in lines] == [1, 0, 0]
    assert all(f"visit {k + 1}" in line for k, line in enumerate(lines))


def test_step_is_silent_without_a_terminal(capsys):
    common.step("working")
    assert capsys.readouterr() == ("", "")


def test_report_refuses_other_names_than_html(nircam, tmp_path):
    done = CliRunner().invoke(main, ["report", str(nircam.science[0]), "-o", str(tmp_path / "p.pdf")])
    assert done.exit_code == 2
    assert "must end in .html" in done.output
    assert not list(tmp_path.iterdir())
