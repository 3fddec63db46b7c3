"""Reports use what the dataset holds, and nothing else: its TA exposures by label, and no files beside it."""

import json
import re

import numpy as np
import pytest
import xarray as xr

import xta
from tests.report.helpers import read, text_of
from xta import datasets
from xta.errors import MissingError
from xta.report import report
from xta.report.viewer import images


def data_of(path):
    """Read the data of the interactive image."""
    return json.loads(re.search(r'id="ta-data">(.*?)</script>', text_of(path))[1])


@pytest.mark.parametrize("selection", [[1, 2], [2, 1, 0], 1])
def test_report_shows_exposure_in_use_of_selection(analyzed_miri, tmp_path, selection):
    whole = data_of(report(analyzed_miri, tmp_path / "a.html"))
    part = data_of(report(analyzed_miri.isel(ta_exposure=selection), tmp_path / "b.html"))
    assert part["images"][part["used"]] == whole["images"][whole["used"]]
    assert len(part["images"]) == np.size(selection)
    if np.ndim(selection):
        (option,) = [text for text in read(tmp_path / "b.html").texts["option"] if "(in use)" in text]
        assert option.startswith(f"{1 + np.ravel(selection).tolist().index(1)} ")


def test_images_of_selection(analyzed_miri):
    assert images(analyzed_miri.isel(ta_exposure=[2, 0])) == [images(analyzed_miri)[k] for k in (2, 0)]


@pytest.mark.parametrize("selection", [[0, 2], 2, []])
def test_report_refuses_selection_without_exposure_in_use(analyzed_miri, tmp_path, selection):
    with pytest.raises(MissingError, match="dropped"):
        report(analyzed_miri.isel(ta_exposure=selection), tmp_path / "a.html")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("log", ["kept in part", "beside later"])
def test_report_is_the_same_without_folder(tmp_path, log):
    folder, elsewhere = tmp_path / "visit", tmp_path / "elsewhere.csv"
    visit = datasets.make_visit(folder, integrations=1, ta_dithers=True, ideal=True)
    if log == "beside later":
        visit.oss_log.rename(elsewhere)
    ds = xta.analyze(visit.science[0], centroid="image", corrections="none").load()
    assert ds.encoding["source"] == str(visit.science[0])
    pages = [text_of(report(ds, tmp_path / "a.html"))]
    visit.oss_log.rename(elsewhere) if log == "kept in part" else elsewhere.rename(visit.oss_log)
    pages.append(text_of(report(ds, tmp_path / "a.html")))
    folder.rename(tmp_path / "gone")
    pages.append(text_of(report(ds, tmp_path / "a.html")))
    xta.to_netcdf(ds, tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as again:
        pages.append(text_of(report(again, tmp_path / "a.html")))
    assert pages == pages[:1] * 4
    assert "guide star" in read(tmp_path / "a.html").words
