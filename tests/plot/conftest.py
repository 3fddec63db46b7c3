"""Datasets to draw, and axes to draw them on."""

import matplotlib as mpl
import pytest
from matplotlib import pyplot as plt

import xta
from tests.plot import data
from xta import datasets


@pytest.fixture(autouse=True)
def _no_figure_is_left_open():
    before = plt.get_fignums()
    yield
    plt.close("all")
    assert before == []


@pytest.fixture(scope="session")
def small(build_wcs):
    return data.analyzed(build_wcs)


@pytest.fixture(scope="session")
def small_miri(build_wcs):
    return data.of_several(build_wcs)


@pytest.fixture(scope="session")
def small_klip():
    return data.subtracted()


@pytest.fixture(scope="session")
def analyzed(nircam):
    return xta.analyze(nircam.science[0], centroid="oss", corrections="none").load()


@pytest.fixture(scope="session")
def of_miri(miri):
    return xta.analyze(miri.science[0], centroid="oss", corrections="none").load()


@pytest.fixture(scope="session")
def dithered(tmp_path_factory):
    visit = datasets.make_visit(
        tmp_path_factory.mktemp("dithered"), integrations=1, ta_dithers=True, confirm=True, ideal=True
    )
    return xta.analyze(visit.science[0], centroid="oss", corrections="none").load()


@pytest.fixture
def ax():
    """Axes that pyplot does not know."""
    return mpl.figure.Figure(figsize=(4, 4)).add_subplot()
