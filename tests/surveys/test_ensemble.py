"""The monitor of many acquisitions: planted offsets come out, per group, with their errors."""

import os

import numpy as np
import pytest

import xta
from xta import instrument
from xta.errors import ArgumentError, MissingError
from xta.surveys import write_accuracies
from xta.surveys.table import to_dataset

PLANTED = {("NRCA5_MASK335R", 1): (4.0, -6.0), ("NRCA5_MASK335R", 2): (-2.0, 1.0), ("NRCA2_MASK210R", 1): (0.0, 9.0)}
SCATTER = 6.4  # mas


@pytest.fixture(scope="module")
def survey():
    """200 visits whose stars are off their aims by what is planted for their mask and guider."""
    rng, keys, rows = np.random.default_rng(4), list(PLANTED), []
    for k in range(200):
        aperture, guider = keys[k % 3]
        scale = 62.5 if "A5" in aperture else 31.0
        x, y = (np.array(PLANTED[aperture, guider]) + rng.normal(0, SCATTER, 2)) / scale
        rows.append(
            {
                "visit_id": f"0999{k:03d}0001",
                "ok": 1,
                "aperture": aperture,
                "filter": "F444W",
                "guider": guider,
                "instrument": "NIRCAM",
                "date": f"2024-{1 + k % 12:02d}-03T00:00:00",
                "target_x": 150 + x,
                "target_y": 170 + y,
                "aim_x": 150.0,
                "aim_y": 170.0,
                "target_x_err": 0.1,
                "target_x_err_mas": 0.1 * scale,
            }
        )
    return to_dataset(rows, estimates=False)


def test_monitor_recovers_planted_offsets(survey):
    table = survey.ta.monitor(by=["aperture", "guider"])
    assert table["number"].sum() == 200
    for key, planted in PLANTED.items():
        row = table.isel(group=[k for k in range(3) if (table["aperture"].values[k], table["guider"].values[k]) == key])
        for axis, value in zip("xy", planted, strict=True):
            assert abs(row[f"mean_{axis}"].item() - value) < 3 * row[f"mean_{axis}_err"].item() < 3
            assert row[f"scatter_{axis}"].item() == pytest.approx(SCATTER, rel=0.25)
    assert len(survey.ta.monitor(by=["month"])["group"]) == 12
    along_x, along_y = table.ta.plot.monitor()
    assert along_x[0].get_xdata() == pytest.approx(table["mean_x"].values)
    assert along_y[0].get_xdata() == pytest.approx(table["mean_y"].values)
    with pytest.raises(MissingError, match="monitor"):
        survey.ta.plot.monitor()


def test_monitor_replaces_the_table_of_maneuvers(survey, tmp_path):
    write_accuracies(survey.ta.monitor(by=["aperture", "guider"]), tmp_path / "own.csv")
    tables = instrument.read_tables(accuracies=tmp_path / "own.csv")
    assert tables.accuracy("maneuver", {"instrument": "NIRCAM"}).x == pytest.approx(SCATTER, rel=0.1)
    with pytest.raises(MissingError, match="larger"):
        write_accuracies(survey.isel(visit=[0, 1]).ta.monitor(), tmp_path / "few.csv")
    assert not (tmp_path / "few.csv").exists()


def test_monitor_refuses_other_tables(survey):
    with pytest.raises(MissingError, match="survey"):
        survey.drop_vars("aim_x").ta.monitor()
    with pytest.raises(ArgumentError, match="target_x"):
        survey.ta.monitor(by=["target_x"])
    with pytest.raises(MissingError, match="coronagraphic"):
        survey.assign(aim_x=survey["aim_x"] * np.nan).ta.monitor()


def test_monitor_of_a_survey(tmp_path):
    xta.datasets.make_visit(tmp_path, integrations=1)
    table = xta.survey(tmp_path, offline=True, workers=1, estimates=False).ta.monitor()
    assert table["number"].values.tolist() == [1]
    assert np.isfinite(table["mean_x"].item())
    assert np.isnan(table["scatter_x"].item())


@pytest.mark.heavy
def test_monitor_recovers_offsets_of_real_visits(tmp_path):
    """Sample visits whose stars are put off the mask by guider; ``XTA_VISITS=200`` takes more of them."""
    number, rng = int(os.environ.get("XTA_VISITS", "40")), np.random.default_rng(8)
    planted = {1: np.array([0.10, -0.06]), 2: np.array([-0.05, 0.12])}
    for k in range(number):
        miss = planted[1 + k % 2] + rng.normal(0, SCATTER / 62.5, 2)
        plan = {"guider": 1 + k % 2, "pointing_error": tuple(rng.normal(0, 0.1, 3) * (1, 1, 0)), "seed": k}
        xta.datasets.make_visit(
            tmp_path, visit_id=f"0999{k:04d}001", integrations=1, miss=tuple(miss), ideal=True, **plan
        )
    table = xta.survey(tmp_path, offline=True, estimates=False).ta.monitor(by=["guider"])
    assert table["number"].values.tolist() == [number / 2, number / 2]
    for row in (table.isel(group=k) for k in range(2)):
        for axis, value in zip("xy", planted[int(row["guider"])], strict=True):
            assert abs(float(row[f"mean_{axis}"]) - 62.5 * value) < 3 * float(row[f"mean_{axis}_err"])
            assert float(row[f"scatter_{axis}"]) == pytest.approx(SCATTER, rel=3 / np.sqrt(number))
