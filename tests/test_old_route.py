"""The comparison of the documentation: what the usual chain gives on the same files."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import xta
from xta import datasets


@pytest.fixture(scope="module")
def figures():
    path = Path(__file__).parents[1] / "docs" / "figures.py"
    spec = importlib.util.spec_from_file_location("figures", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_usual_chain_is_half_a_pixel_off_and_wraps_round(figures, tmp_path):
    visit = datasets.make_visit(tmp_path, mode="nircam", prd="PRDOPSSOC-075", integrations=1, ideal=True)
    ds = xta.analyze(visit.science[0], centroid="oss", corrections="none").load()
    truth = visit.truth.sel(file=visit.science[0].name)
    y, x = np.mgrid[:320, :320]
    neighbor = ds.copy()
    neighbor["sci"] = ds["sci"] + (500 * np.exp(-((x - 60.0) ** 2 + (y - 3.0) ** 2) / 6)).astype("f4")
    usual, star = figures.usual_chain(neighbor)
    assert star[1] - float(truth["star_y"]) == pytest.approx(-0.4505, abs=5e-4)
    assert abs(float(ds["target_y"]) - float(truth["star_y"])) < 1e-5
    assert usual[0][-20:, 30:90].max() > 450
    assert np.nanmax(neighbor.ta.recenter()["sci"].values[0][-40:, 30:90]) < 5
