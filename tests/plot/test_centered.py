"""Pictures of a recentered exposure and of a PSF subtraction."""

import matplotlib as mpl
import numpy as np
import pytest

from tests.plot.helpers import marks, near, texts
from xta import plot
from xta.errors import ArgumentError
from xta.plot import frame


def test_recentered_star_and_rings(analyzed, ax):
    centered = analyzed.ta.recenter()
    plot.recentered(centered, ax=ax, rings=[2.0, 5.0])
    found = marks(ax)
    assert found["star"] == near((0, 0))
    offset = [float(analyzed[f"mask_{axis}"] - analyzed[f"target_{axis}"]) for axis in ("x", "y")]
    assert found["mask"] == near(offset)
    (rings,) = [artist for artist in ax.collections if isinstance(artist, mpl.contour.ContourSet)]
    assert list(rings.levels) == [2.0, 5.0]
    for level, path in zip(rings.levels, rings.get_paths(), strict=True):
        x, y = path.vertices[::20].T
        there = centered["separation"].interp(x=("k", x), y=("k", y))
        np.testing.assert_allclose(there, level, atol=0.01)
    assert {"2″", "5″"} <= set(texts(ax.figure))


def test_recentered_default_rings(analyzed):
    for rings, expected in (([], None), ([500.0], None), (None, [2.0, 4.0, 6.0, 8.0])):
        ax = mpl.figure.Figure().add_subplot()
        plot.recentered(analyzed.ta.recenter(), ax=ax, rings=rings)
        found = [artist for artist in ax.collections if isinstance(artist, mpl.contour.ContourSet)]
        assert [list(ring.levels) for ring in found] == ([] if expected is None else [expected])


def test_klip_orientation(small_klip, ax):
    drawn = plot.klip(small_klip, ax=ax)
    left, right, low, high = drawn.get_extent()
    assert left > 0 > right
    assert low < 0 < high
    assert ax.get_xlim() == (left, right)
    # The companion was painted at pixel (15, -8) from the star: to the west and to the south.
    image = drawn.get_array()
    row, column = np.unravel_index(np.ma.argmax(image), image.shape)
    place = (left + (column + 0.5) * (right - left) / 81, low + (row + 0.5) * (high - low) / 81)
    assert place == near((-15 * 0.063, -8 * 0.063))
    assert "5 components" in ax.get_title(loc="left")
    assert "MJy/sr" in texts(ax.figure)


def test_klip_numbasis(small_klip, ax):
    drawn = plot.klip(small_klip, ax=ax, numbasis=1, add_colorbar=False)
    assert np.ma.max(drawn.get_array()) == pytest.approx(float(small_klip["klip"].sel(numbasis=1).max()))
    assert "1 component" in ax.get_title(loc="left")
    with pytest.raises(ArgumentError, match="numbasis is 3; the dataset has 1, 5"):
        plot.klip(small_klip, numbasis=3)
    one = plot.klip(small_klip.sel(numbasis=5), ax=mpl.figure.Figure().add_subplot())
    assert np.ma.max(one.get_array()) == pytest.approx(float(small_klip["klip"].sel(numbasis=5).max()))


def test_klip_panels_and_stretch(small_klip):
    drawn = plot.klip(
        small_klip, numbasis=[1, 5], mark=small_klip.assign(separation=("k", [0.5]), position_angle=("k", [20.0]))
    )
    assert len({image.axes for image in drawn}) == 2
    assert [image.axes.get_title(loc="left").splitlines()[-1] for image in drawn] == ["1 component", "5 components"]
    far = np.hypot(small_klip["east"], small_klip["north"]) > 0.3
    for image, number in zip(drawn, (1, 5), strict=True):
        low, high = image.get_clim()
        seen = small_klip["klip"].sel(numbasis=number).where(far)
        assert low <= float(seen.min())
        assert high >= float(seen.max())


def test_klip_of_several_filters(small_klip):
    images = [small_klip.assign_attrs(filter=name) for name in ("F200W", "F444W", "F356W")]
    images = [image.drop_vars("filter", errors="ignore") for image in images]
    drawn = plot.klip(images, filters=["F444W", "F200W"], numbasis=[1, 5])
    titles = [one.axes.get_title(loc="left") for one in drawn]
    assert ["F200W" in title for title in titles] == [True, True, False, False]
    assert len(plot.klip(images, ax=mpl.figure.Figure().subplots(1, 3))) == 3
    with pytest.raises(ArgumentError, match="F200W, F444W, F356W"):
        plot.klip(images, filters=["F999W"])


@pytest.mark.parametrize("linear", [0.01, 1.0, 300.0])
def test_color_bar_ticks_keep_clear_of_each_other(ax, linear):
    drawn = ax.imshow(np.zeros((2, 2)), norm=mpl.colors.AsinhNorm(linear, vmin=-2e3, vmax=3e4))
    frame.color_bar(drawn, "MJy/sr")
    (bar,) = ax.child_axes
    ticks = bar.get_yticks()
    assert 0 in ticks
    assert np.diff(drawn.norm(ticks)).min() > frame.CROWDED
