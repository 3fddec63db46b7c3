"""A user has one calints file and nothing else: the rest comes from the archive, once."""

import shutil

import pytest
from astropy.io import fits
from click.testing import CliRunner

import xta
from tests import archive_server as faulty
from tests.archive_server import hold
from xta.acquisition.find import event_log
from xta.cli import main
from xta.errors import AcquisitionError, XtaWarning


@pytest.fixture(autouse=True)
def _visit_in_archive(server, nircam):
    hold(server, nircam)


@pytest.fixture
def alone(tmp_path, nircam):
    """A folder with the science file and nothing else."""
    folder = tmp_path / "alone"
    folder.mkdir()
    return shutil.copy(nircam.science[0], folder)


def star(nircam):
    row = nircam.truth.sel(file=nircam.science[0].name)
    return float(row["star_x"]), float(row["star_y"])


def test_analyze_one_file_asks_once(server, alone, nircam):
    ds = xta.analyze(alone, centroid="oss", corrections="none")
    assert (float(ds["target_x"]), float(ds["target_y"])) == pytest.approx(star(nircam), abs=1e-4)
    assert ds.attrs["centroid_source"] == "OSS event log"
    asked = len(server.asked())
    assert asked >= 3
    again = xta.analyze(alone, centroid="oss", corrections="none")
    assert len(server.asked()) == asked
    offline = xta.analyze(alone, offline=True, centroid="oss", corrections="none")
    assert again["target_x"].item() == offline["target_x"].item() == ds["target_x"].item()


def test_analyze_asks_nothing_for_files_beside(server, nircam):
    xta.analyze(nircam.science[0])
    assert not server.asked()


def test_analyze_offline(server, alone, monkeypatch):
    with pytest.raises(AcquisitionError, match="the network is off"):
        xta.analyze(alone, offline=True)
    monkeypatch.setenv("XTA_OFFLINE", "1")
    with pytest.raises(AcquisitionError, match="the network is off"):
        xta.analyze(alone)
    assert not server.asked()


def test_analyze_without_log_in_archive(server, alone):
    server.always("jwstedb", faulty.status(404))
    with pytest.warns(XtaWarning, match="none from the archive"):
        ds = xta.analyze(alone)
    assert ds.attrs["centroid_source"].startswith("TA image")


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("", "2023-01-01 00:00:00"),
        ("2023-01-01 00:00:00", ""),
        ("UNKNOWN", "2023-01-01 00:00:00"),
        ("2023-01-01 00:00:00", "N/A"),
        ("2023-01-01 12:00:00", "2023-01-01 00:00:00"),
        ("2023-01-01 00:00:00", "2023-01-01 00:00:00"),
        (59_945.0, 59_946.0),
    ],
)
def test_event_log_of_damaged_visit_times(server, alone, start, end):
    ds = xta.open_exposure(alone).assign_coords(visit_start=start, visit_end=end)
    search = event_log(ds, None)
    assert search.log is None
    assert "visit times" in search.reason
    assert repr(end) in search.reason
    assert not server.asked()


@pytest.mark.parametrize(
    ("start", "end"),
    [("UNKNOWN", "2099-01-01 00:00:00"), ("2022-01-02 00:00:00", "2022-01-01 00:00:00")],
)
def test_analyze_with_damaged_visit_times(server, alone, start, end):
    with fits.open(alone, "update") as hdus:
        hdus[0].header["VSTSTART"], hdus[0].header["VISITEND"] = start, end
    with pytest.warns(XtaWarning, match="visit times"):
        ds = xta.analyze(alone)
    assert ds.attrs["centroid_source"].startswith("TA image")


def test_analyze_with_empty_visit_times(server, alone):
    """What the header does not tell, MAST lists."""
    with fits.open(alone, "update") as hdus:
        hdus[0].header["VSTSTART"] = hdus[0].header["VISITEND"] = ""
    assert xta.analyze(alone).attrs["oss_status"] == "SUCCESS"


def test_analyze_visit_without_acquisition(server, alone):
    server.tables["Nircam"] = []
    with pytest.raises(AcquisitionError, match="no TA exposure of visit 09990001001 beside the file"):
        xta.analyze(alone)


def test_cli_fetch(server, nircam, tmp_path):
    visit = f"V{nircam.visit_id}"
    done = CliRunner().invoke(main, ["fetch", visit, "--log", "-o", str(tmp_path / "got")])
    assert done.exit_code == 0, done.output
    got = sorted(path.name for path in (tmp_path / "got").iterdir())
    assert got == sorted([*(path.name for path in nircam.ta), f"{visit}_osslog.csv"])
    shutil.copy(nircam.science[0], tmp_path / "got")
    file = tmp_path / "got" / nircam.science[0].name
    ds = xta.analyze(file, offline=True, centroid="oss", corrections="none")
    assert float(ds["target_x"]) == pytest.approx(star(nircam)[0], abs=1e-4)
    single = CliRunner().invoke(main, ["fetch", nircam.ta[0].name])
    assert single.exit_code == 0
    assert single.stdout.strip().endswith(nircam.ta[0].name)
    failing = CliRunner().invoke(main, ["fetch", "1386:99"])
    assert failing.exit_code == 1
    assert "Error: " in failing.stderr


def test_cli_cache(server, alone):
    xta.analyze(alone)
    listed = CliRunner().invoke(main, ["cache", "list"])
    assert "cal.fits" in listed.stdout
    assert "MB" in listed.stdout
    assert CliRunner().invoke(main, ["cache", "clear"]).exit_code == 0
    assert "cal.fits" not in CliRunner().invoke(main, ["cache", "list"]).stdout
