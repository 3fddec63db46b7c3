"""Arguments, progress and the command."""

import pytest
import xarray as xr

from tests.surveys.visits import QUICK, product
from xta.errors import ArgumentError, FileError
from xta.surveys import survey


@pytest.mark.parametrize(
    ("paths", "options", "error", "says"),
    [
        ([], {}, ArgumentError, "at least one"),
        (None, {}, ArgumentError, "at least one"),
        ([3], {}, ArgumentError, "3 among the files"),
        (["nowhere"], {}, FileError, "nowhere does not exist"),
        ([""], {"per": "star"}, ArgumentError, "per is 'star'"),
        ([""], {"workers": 0}, ArgumentError, "workers is 0"),
        ([""], {"workers": True}, ArgumentError, "workers is True"),
        ([""], {"workers": 2, "client": object()}, ArgumentError, "both given"),
        ([""], {"client": object()}, ArgumentError, "distributed.Client"),
    ],
)
def test_survey_refuses_arguments(paths, options, error, says):
    with pytest.raises(error, match=says):
        survey(paths, **options)


def test_survey_progress_is_on_stderr(two, capsys):
    survey(two / "visit0", progress=True, **QUICK)
    out, err = capsys.readouterr()
    assert out == ""
    assert "survey: 100%" in err
    assert "1/1" in err


def test_survey_command(two, tmp_path, monkeypatch):
    from click.testing import CliRunner

    from xta.cli import main

    def run(*arguments):
        options = ["--offline", "--workers", "1", "--centroid", "oss", "--corrections", "none"]
        return CliRunner().invoke(main, ["survey", *map(str, arguments), *options])

    done = run(two, "-o", tmp_path / "a.nc", "--no-estimates")
    assert done.exit_code == 0, done.output
    assert "2 visits: 2 with a star, 0 with an offset only, 0 failed; a check failed in 0" in done.stdout
    rows = tmp_path / "a.nc.rows.jsonl"
    kept = rows.read_bytes()
    with xr.open_dataset(tmp_path / "a.nc") as ds:
        xr.testing.assert_identical(ds.load(), survey(two, **QUICK))
    assert run(two, "-o", tmp_path / "a.nc", "--no-estimates").exit_code == 0
    assert rows.read_bytes() == kept
    product(two, 1, "cal").unlink()
    done = run(two, "-o", tmp_path / "b.ecsv", "--no-resume", "--no-estimates")
    assert done.exit_code == 0
    assert "10001001001: no TA exposure" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nc", "a.nc.rows.jsonl", "b.ecsv", "two"]
    assert run(two, "-o", tmp_path / "a.txt").exit_code == 2
    assert run(tmp_path / "nowhere", "-o", tmp_path / "c.nc").exit_code == 1
