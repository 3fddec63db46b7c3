"""What all functions and methods take, refuse and leave as it is."""

import os
import pickle
import subprocess
import sys

import matplotlib as mpl
import pytest
import xarray as xr
from matplotlib import pyplot as plt

import xta
from tests.plot.helpers import marks
from xta import plot
from xta.accessor import PlotAccessor
from xta.errors import ArgumentError, MissingError


@pytest.mark.parametrize(
    ("function", "step"),
    [
        (plot.acquisition, "attach"),
        (plot.offsets, "attach"),
        (plot.recentered, "recenter"),
        (plot.klip, "klip"),
    ],
)
def test_functions_name_missing_step(nircam, function, step):
    with pytest.raises(MissingError, match=step):
        function(xta.open_exposure(nircam.science[0]))
    assert plt.get_fignums() == []


def test_functions_with_nothing_to_draw():
    for function in (plot.science, plot.summary):
        with pytest.raises(MissingError, match="open_exposure"):
            function(xr.Dataset())
    assert plt.get_fignums() == []


def test_functions_pass_keywords_to_imshow(small):
    ax = mpl.figure.Figure().add_subplot()
    drawn = plot.acquisition(small, ax=ax, cmap="viridis", vmin=-2.0, vmax=50.0, alpha=0.5)
    assert (drawn.cmap.name, drawn.norm.vmin, drawn.norm.vmax, drawn.get_alpha()) == ("viridis", -2.0, 50.0, 0.5)
    norm = mpl.colors.LogNorm(1, 100)
    assert plot.science(small, ax=mpl.figure.Figure().add_subplot(), norm=norm).norm is norm


@pytest.mark.parametrize("option", [{"origin": "upper"}, {"extent": (0, 1, 0, 1)}])
def test_acquisition_refuses_origin_and_extent(small, option):
    with pytest.raises(ArgumentError, match=f"{next(iter(option))} cannot be given"):
        plot.acquisition(small, **option)


def test_functions_open_figure_only_without_axes(small, small_klip, small_miri):
    centered = small.ta.recenter()
    calls = [
        (plot.acquisition, small),
        (plot.science, small),
        (plot.recentered, centered),
        (plot.klip, small_klip),
        (plot.offsets, small_miri),
    ]
    for function, ds in calls:
        function(ds, ax=mpl.figure.Figure().add_subplot())
        assert plt.get_fignums() == []
        drawn = function(ds)
        drawn = drawn[0] if isinstance(drawn, list) else drawn
        assert [plt.figure(number) for number in plt.get_fignums()] == [drawn.figure]
        plt.close("all")
    plot.summary(small)
    assert plt.get_fignums() == []


def test_functions_keep_settings_of_session(small):
    before = dict(mpl.rcParams)
    plot.acquisition(small)
    plot.summary(small)
    assert dict(mpl.rcParams) == before


def test_drawing_keeps_settings_of_backend(tmp_path):
    """That of notebooks turns interactive mode on, without which only the first picture is shown."""
    (tmp_path / "odd_backend.py").write_text(
        "import matplotlib\nfrom matplotlib.backends.backend_agg import *\nmatplotlib.interactive(True)\n"
    )
    code = (
        "import matplotlib\nfrom xta.plot.figure import drawing\nwith drawing(None):\n    pass\n"
        "print(matplotlib.is_interactive())"
    )
    environment = os.environ | {"MPLBACKEND": "module://odd_backend", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_acquisition_figure_pickles(small):
    figure = plot.acquisition(small, ax=mpl.figure.Figure().add_subplot()).figure
    again = pickle.loads(pickle.dumps(figure))
    assert marks(again.axes[0]) == marks(figure.axes[0])


FUNCTIONS = {
    "__call__": plot.summary,
    "acquisition": plot.acquisition,
    "science": plot.science,
    "offsets": plot.offsets,
    "recentered": plot.recentered,
    "klip": plot.klip,
}


def test_methods_draw_what_functions_draw(small, small_klip):
    calls = {"acquisition": small, "science": small, "recentered": small.ta.recenter(), "klip": small_klip}
    for name, ds in calls.items():
        one, other = (mpl.figure.Figure().add_subplot() for _ in range(2))
        drawn = getattr(PlotAccessor(ds), name)(ax=one, cmap="cividis")
        assert drawn.cmap.name == "cividis"
        FUNCTIONS[name](ds, ax=other)
        assert marks(one) == marks(other)
    (artist, _) = PlotAccessor(small).offsets(ax=mpl.figure.Figure().add_subplot(), s=3)
    assert artist.get_sizes().tolist() == [3]
    assert len(PlotAccessor(small)().axes) == 4
