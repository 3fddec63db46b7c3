"""What people read of a dataset: labels that fit an axis, and a star behind a mask only where there is one."""

import json

import pytest
from astropy.io import fits

import xta
from tests.report.helpers import read
from xta import card, model, summary
from xta.identity import behind_mask

WIDEST = 40  # characters; xarray breaks a label with its unit into lines of 30


@pytest.fixture(scope="module")
def science(miri):
    return xta.analyze(miri.science[0], centroid="oss", corrections="none")


@pytest.fixture(scope="module")
def acquisition(nircam):
    return xta.analyze(nircam.ta[0], centroid="oss", corrections="none")


def plotted(ds):
    """Data variables and coordinates that ``.plot()`` writes beside an axis."""
    return {name: variable for name, variable in ds.variables.items() if name in ds.data_vars or variable.ndim == 1}


def test_attrs_fit_axes():
    """All of them: a scalar of an exposure has a dimension in a stack."""
    long = {name: text for name, (_, text) in model.ATTRS.items() if len(text) > WIDEST}
    assert long == {}


def test_long_names_of_datasets_fit_axes(science):
    for ds in (science, science.ta.recenter(size=51), science.ta.estimates(oss=False)):
        for name, variable in plotted(ds).items():
            assert 0 < len(variable.attrs["long_name"]) <= WIDEST, name


def test_labels_of_plots_lie_within_the_figure(science):
    from matplotlib.figure import Figure

    arrays = (science["sci"].isel(integration=0), science["ta_oss_x"], science["ta_intended_y"], science["err"][0, 9])
    for array in arrays:
        figure = Figure()
        array.plot(ax=figure.subplots())
        figure.canvas.draw()
        for axes in figure.axes:
            for label in (axes.xaxis.label, axes.yaxis.label):
                box = label.get_window_extent()
                assert box.height <= figure.bbox.height, label.get_text()
                assert box.width <= figure.bbox.width, label.get_text()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("NRC_CORON", True), ("MIR_LYOT", True), ("", True), ("NRC_TACQ", False), ("NRC_TSIMAGE", False)],
)
def test_behind_mask_is_by_exposure_type(science, kind, expected):
    assert behind_mask(science.assign_coords(exp_type=kind)) is expected


def test_star_of_acquisition_is_behind_no_mask(acquisition, tmp_path):
    acquisition.ta.report(tmp_path / "a.html")
    acquisition.ta.to_fits(tmp_path / "a_cal.fits")
    page = read(tmp_path / "a.html")
    texts = {
        "table": summary.as_table(acquisition),
        "json": json.dumps(summary.as_dict(acquisition)),
        "card": summary.as_text(acquisition) + card.as_html(acquisition),
        "page": page.words + str(page.attrs),
        "dataset": str(acquisition.target_x.attrs) + str(acquisition.attrs["history"]),
    }
    for where, text in texts.items():
        assert "behind the mask" not in text.lower(), where
        assert "of the mask" not in text, where
    assert "star in the exposure" in texts["table"]
    assert "Star in the exposure" in texts["page"]
    with fits.open(tmp_path / "a_cal.fits") as hdus:
        assert "mask" not in hdus["SCI"].header.comments["MASKCENX"]


def test_star_of_science_is_behind_the_mask(science, tmp_path):
    science.ta.report(tmp_path / "a.html")
    assert "star behind the mask" in summary.as_table(science)
    assert "Star behind the mask" in read(tmp_path / "a.html").words
    assert "the star behind the mask" in str(read(tmp_path / "a.html").attrs)
