"""Pictures of pointing errors."""

import io
import itertools

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot as plt

import xta
from tests.plot.helpers import near, texts
from xta import plot
from xta.errors import ArgumentError, MissingError
from xta.plot import style
from xta.plot.visits import of_exposures


def test_offsets_of_dithered_visit_agree(dithered, ax):
    found = of_exposures(dithered)
    assert [(one.exposure, one.source) for one in found] == [
        (0, "image centroid"), (1, "image centroid"), (2, "OSS centroid"), (3, "image centroid"),
    ]  # fmt: skip
    for one in found:
        assert one.east == pytest.approx(float(dithered["offset_east"]), abs=2e-3)
        assert one.north == pytest.approx(float(dithered["offset_north"]), abs=2e-3)
    assert found[2].east == pytest.approx(float(dithered["offset_east"]), abs=1e-9)
    artists = plot.offsets(dithered, ax=ax)
    assert [artist.get_label() for artist in artists] == ["image centroid", "OSS centroid", "in use"]
    assert tuple(artists[1].get_offsets()[0]) == near((found[2].east, found[2].north))
    assert tuple(artists[2].get_offsets()[0]) == near((found[2].east, found[2].north))
    assert ax.get_xlim()[0] > ax.get_xlim()[1]  # east to the left
    assert "1, 2, 3, 4" in texts(ax.figure)


def test_of_exposures_before_compute_offset(nircam, analyzed):
    (one,) = of_exposures(xta.open_exposure(nircam.science[0]).ta.attach())
    assert one.east == pytest.approx(float(analyzed["offset_east"]), abs=1e-9)
    assert one.north == pytest.approx(float(analyzed["offset_north"]), abs=1e-9)


def test_of_exposures_leaves_out_blank_image(dithered):
    blank = dithered.copy(deep=True)
    blank["ta_sci"].values[1] = np.random.default_rng(1).normal(size=blank["ta_sci"].shape[1:])
    assert [one.exposure for one in of_exposures(blank)] == [0, 2, 3]


@pytest.fixture
def table():
    east, north = np.array([0.1, -0.2, np.nan, 0.3]), np.array([0.0, 0.2, 0.1, -0.1])
    return xr.Dataset(
        {"offset_east": ("visit", east), "offset_north": ("visit", north)},
        {"visit_id": ("visit", ["01001001001", "01001002001", "01001003001", "01001004001"])},
    )


def test_offsets_of_table(table, ax):
    (artist,) = plot.offsets(table, ax=ax, c="black", s=9)
    assert np.asarray(artist.get_offsets()) == pytest.approx(np.array([[0.1, 0.0], [-0.2, 0.2], [0.3, -0.1]]))
    assert artist.get_sizes().tolist() == [9]
    assert {"01001001001", "01001004001"} <= set(texts(ax.figure))
    assert "01001003001" not in texts(ax.figure)


def visits(east, north):
    ids = [f"0100{k:04d}001" for k in range(len(east))]
    return xr.Dataset({"offset_east": ("visit", east), "offset_north": ("visit", north)}, {"visit_id": ("visit", ids)})


def boxes(axes, artists):
    axes.figure.savefig(io.BytesIO(), format="png")
    return [text.get_window_extent() for text in artists(axes) if text.get_text()]


@pytest.mark.parametrize("inches", [None, 2.0])
@pytest.mark.parametrize("middle", [0.0, -0.2547, 12.34567, -123.456])
@pytest.mark.parametrize("half", [0.0, 0.01, 0.0173, 0.3, 7.0])
def test_offsets_tick_labels_have_room(middle, half, inches):
    if inches:
        with mpl.rc_context(style.STYLE):
            ax = mpl.figure.Figure(figsize=(7.1, 4), dpi=100).add_axes((0.5, 0.3, inches / 7.1, inches / 4))
            plot.offsets(visits([middle - half, middle + half], [middle, middle]), ax=ax)
    else:
        ax = plot.offsets(visits([middle - half, middle + half], [middle, middle]))[0].axes
    for axis in (ax.xaxis, ax.yaxis):
        found = boxes(ax, lambda _, axis=axis: axis.get_ticklabels())
        shown = [box for box in found if box.width]
        assert len(shown) >= 2
        assert not any(a.padded(2).overlaps(b) for a, b in itertools.combinations(shown, 2))
        assert axis.get_offset_text().get_text() == ""


@pytest.mark.parametrize("count", [2, 3, 8, 20])
@pytest.mark.parametrize("place", [(0.0, 0.0), (0.3, 0.3), (-0.3, -0.3)])
def test_offsets_label_of_many_stays_inside(count, place):
    east, north = np.zeros((2, count))
    east[-1], north[-1] = place
    axes = plot.offsets(visits(east, north))[0].axes
    found = boxes(axes, lambda ax: ax.texts)
    assert len(found) == 1 + any(place)
    for box in found:
        assert axes.bbox.x0 <= box.x0 < box.x1 <= axes.bbox.x1
        assert axes.bbox.y0 <= box.y0 < box.y1 <= axes.bbox.y1
    together = max((text.get_text() for text in axes.texts), key=len).split()
    same = count - any(place)
    assert together[-3:] == [str(same), "in", "all"] if same > 6 else len(together) == same


def test_offsets_labels_do_not_overlap():
    rng = np.random.default_rng(4)
    axes = plot.offsets(visits(*rng.uniform(-0.2, 0.2, (2, 12))))[0].axes
    found = boxes(axes, lambda ax: ax.texts)
    assert len(found) > 4
    assert not any(a.overlaps(b) for a, b in itertools.combinations(found, 2))
    points = axes.transData.transform(axes.collections[0].get_offsets())
    assert not any(box.contains(*point) for box in found for point in points)


def test_offsets_of_joined_exposures(analyzed, of_miri, ax):
    each = [
        xr.Dataset({name: ds[name].reset_coords(drop=True) for name in ("offset_east", "offset_north")})
        for ds in (analyzed, of_miri)
    ]
    (artist,) = plot.offsets(xr.concat(each, dim="exposure"), ax=ax)
    assert tuple(artist.get_offsets()[1]) == near((of_miri["offset_east"], of_miri["offset_north"]))
    assert "0, 1" in texts(ax.figure)  # both have the same error


def test_offsets_refuses_table_of_other_shape(table):
    with pytest.raises(ArgumentError, match="give both the same one"):
        plot.offsets(table.expand_dims(other=2))
    with pytest.raises(MissingError, match="offset_north"):
        plot.offsets(table[["offset_east"]])
    assert plt.get_fignums() == []


def test_offsets_of_instruments_are_apart(ax):
    values = {"offset_east": ("visit", [0.1, 0.12, -0.2, 0.3]), "offset_north": ("visit", [0.0, 0.1, 0.05, -0.1])}
    table = xr.Dataset(values, {"visit": list("abcd"), "instrument": ("visit", ["NIRCAM", "NIRCAM", "MIRI", "MIRI"])})
    miri, nircam = plot.offsets(table, ax=ax)
    assert (miri.get_label(), nircam.get_label()) == ("MIRI", "NIRCAM")
    assert tuple(nircam.get_offsets()[1]) == near((0.12, 0.1))
    assert not np.array_equal(miri.get_facecolor(), nircam.get_facecolor())
    scatter = 1e3 * np.hypot(np.std([0.1, 0.12], ddof=1), np.std([0.0, 0.1], ddof=1))
    assert f"NIRCAM: 2 pointing errors, scatter {scatter:.2f} mas" in ax.get_title(loc="left")
    assert len(ax.get_legend().get_texts()) == 2
