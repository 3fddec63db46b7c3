"""How pictures look.

They are compared with ``pytest --mpl``; without it the same tests draw and compare nothing. After a
change that is meant to be seen, make new ones, look at them, and at the pictures with their text:
``pytest tests/plot/test_looks.py --mpl-generate-path=tests/plot/baseline``.
"""

import matplotlib as mpl
import pytest

from xta import plot

looks = pytest.mark.mpl_image_compare(
    baseline_dir="baseline", style="default", backend="agg", tolerance=3, savefig_kwargs={"dpi": 80}
)


def fixed(side=200):
    """Make axes whose place depends on no text, with the edges of insets on whole pixels of the picture."""
    return mpl.figure.Figure(figsize=(3.5, 3.5)).add_axes((0.1, (256 - side) / 280, side / 280, side / 280))


def wordless(figure):
    """Take all text and legends off a figure: they differ between releases of matplotlib; other tests read them."""
    for legend in figure.findobj(mpl.legend.Legend):
        legend.remove()
    for ax in figure.findobj(mpl.axes._base._AxesBase):
        ax.tick_params(labelbottom=False, labelleft=False, labeltop=False, labelright=False)
    for text in figure.findobj(mpl.text.Text):
        text.set_text("")
    return figure


@looks
def test_acquisition_looks(small):
    return wordless(plot.acquisition(small, ax=fixed()).figure)


@looks
def test_acquisition_in_a_large_readout_looks(small_miri):
    ax = fixed(5 * 48)  # of the 48 pixels that are shown each is 5 wide
    return wordless(plot.acquisition(small_miri, ax=ax).figure)


@looks
def test_science_looks(small):
    return wordless(plot.science(small, ax=fixed()).figure)


@looks
def test_recentered_looks(small):
    return wordless(plot.recentered(small.ta.recenter(), ax=fixed()).figure)


@looks
def test_offsets_look(small_miri):
    return wordless(plot.offsets(small_miri, ax=fixed())[0].figure)


@looks
def test_klip_looks(small_klip):
    return wordless(plot.klip(small_klip, ax=fixed()).figure)


@looks
def test_page_looks(small_miri):
    return wordless(plot.summary(small_miri))
