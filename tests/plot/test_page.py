"""All of an exposure on one page."""

import io

import matplotlib as mpl
import xarray as xr

import xta
from tests.plot.helpers import texts
from tests.report.helpers import judged
from xta import plot, summary
from xta.plot import page


def test_summary_of_several_exposures_without_target(small_miri):
    bare = small_miri.drop_vars(["centroid_ra", "centroid_dec"]).assign_coords(target_ra=float("nan"))
    assert len(plot.summary(bare).axes) == 4


def test_summary_leaves_dataset_unchanged(small_miri):
    before = small_miri.copy(deep=True)
    plot.summary(small_miri)
    plot.recentered(small_miri.ta.recenter(), ax=mpl.figure.Figure().add_subplot())
    xr.testing.assert_identical(small_miri, before)


def test_summary_of_reopened_file(small_miri, small_klip, tmp_path):
    datasets_ = {"exposure": small_miri, "centered": small_miri.ta.recenter(), "klip": small_klip}
    for name, ds in datasets_.items():
        xta.to_netcdf(ds, tmp_path / f"{name}.nc")
        with xr.open_dataset(tmp_path / f"{name}.nc") as again:
            pictures = []
            for each in (ds, again):
                file = io.BytesIO()
                plot.summary(each).savefig(file, format="png", dpi=50, metadata={"Software": None})
                pictures.append(file.getvalue())
        assert pictures[0] == pictures[1], name


def test_summary_shows_itself_in_notebook(small):
    figure = plot.summary(small)
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_summary_draws_into_given_figure(small):
    figure = mpl.figure.Figure(figsize=(7.1, 7.0))
    assert plot.summary(small, figure=figure) is figure
    assert len(figure.axes) == 4
    part = mpl.figure.Figure(figsize=(7.1, 14)).subfigures(2, 1)[1]
    assert plot.summary(small, figure=part) is part


def test_summary_shows_checks_in_color(small):
    states = {
        "telemetry closes": (0, "misses by 57 mas"),
        "guide stars match": (1, "S1"),
        "star near mask": (-1, "none"),
    }
    figure = plot.summary(judged(small, states))
    colors = {text.get_text(): text.get_color() for text in figure.findobj(mpl.text.Text)}
    assert colors["✗ telemetry closes: misses by 57 mas"] == page.SIGNS[0][1]
    assert colors["✓ guide stars match"] == page.SIGNS[1][1]
    assert colors["– star near mask"] == page.SIGNS[-1][1]
    assert len({color for _, color in page.SIGNS.values()}) == 3


def test_summary_heads_each_pair_of_columns(small):
    shown = texts(plot.summary(small))
    assert all(shown.count(head) == 1 for heads in summary.AXES.values() for head in heads)
