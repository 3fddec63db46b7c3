"""Datasets to report on, and pages of them."""

import pytest

import xta
from tests.plot import data
from tests.report.helpers import evil, judged
from xta.report import index, report


@pytest.fixture(scope="session")
def analyzed(nircam):
    return judged(xta.analyze(nircam.science[0], centroid="oss", corrections="none").load())


@pytest.fixture(scope="session")
def analyzed_miri(miri):
    return judged(
        xta.analyze(miri.science[0], centroid="oss", corrections="none").load(),
        {"onboard centroid converged": (1, "It did.")},
    )


@pytest.fixture(scope="session")
def small(build_wcs):
    """Give an exposure that is quickly drawn."""
    ds = data.analyzed(build_wcs)
    return ds.drop_vars([name for name in ds.coords if "check" in str(name) or "_err" in str(name)])


@pytest.fixture(scope="session")
def pages(analyzed, analyzed_miri, tmp_path_factory):
    """Write the pages that are looked at in a browser: name -> path."""
    folder = tmp_path_factory.mktemp("pages")
    other = analyzed_miri.assign_coords(visit_id="01386008001", target_name="HIP 65426")
    other = other.assign_coords(offset_east=0.9, offset_north=-0.1)
    third = analyzed.assign_coords(visit_id="01386010001", filename="z.fits").drop_vars(["target_x", "check_passed"])
    return {
        "nircam": analyzed.ta.report(folder / "nircam.html"),
        "miri": report(analyzed_miri, folder / "miri.html"),
        "index": index([analyzed, other, third], folder / "all"),
    }


@pytest.fixture(scope="session")
def evil_pages(build_wcs, tmp_path_factory):
    """Write pages of what should not be believed."""
    ds = evil(data.of_several(build_wcs))
    return index([ds, ds], tmp_path_factory.mktemp("evil"))
