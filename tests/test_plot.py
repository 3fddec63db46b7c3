"""Pictures: what is drawn where, what comes back, and how it looks.

The images are compared with ``pytest --mpl``; without it the same tests draw and compare nothing. After a
change that is meant to be seen, make new ones, look at them, and at the pictures with their text:
``pytest tests/test_plot.py --mpl-generate-path=tests/baseline``.
"""

import base64
import inspect
import io
import itertools
import os
import pickle
import re
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import pyplot as plt
from matplotlib.image import AxesImage

import xta
from tests import plot_data
from xta import datasets, plot
from xta.accessor import PlotAccessor
from xta.acquisition.image import image_centroid
from xta.errors import ArgumentError, MissingError
from xta.geometry import wcs
from xta.plot import places, style
from xta.plot.exposures import crop
from xta.plot.visits import of_exposures

looks = pytest.mark.mpl_image_compare(
    baseline_dir="baseline", style="default", backend="agg", tolerance=3, savefig_kwargs={"dpi": 80}
)


@pytest.fixture(autouse=True)
def _no_figure_is_left_open():
    before = plt.get_fignums()
    yield
    plt.close("all")
    assert before == []


@pytest.fixture(scope="module")
def small(build_wcs):
    return plot_data.analysed(build_wcs)


@pytest.fixture(scope="module")
def small_miri(build_wcs):
    return plot_data.of_several(build_wcs)


@pytest.fixture(scope="module")
def small_klip():
    return plot_data.subtracted()


@pytest.fixture(scope="module")
def analysed(nircam):
    return xta.analyze(nircam.science[0]).load()


@pytest.fixture(scope="module")
def of_miri(miri):
    return xta.analyze(miri.science[0]).load()


@pytest.fixture(scope="module")
def dithered(tmp_path_factory):
    visit = datasets.make_visit(tmp_path_factory.mktemp("dithered"), integrations=1, ta_dithers=True, confirm=True)
    return xta.analyze(visit.science[0]).load()


@pytest.fixture
def ax():
    """Axes that pyplot does not know."""
    return mpl.figure.Figure(figsize=(4, 4)).add_subplot()


def marks(ax):
    """Label -> data coordinates of every mark on axes and in their insets."""
    found = {}
    for each in (ax, *ax.child_axes):
        for artist in each.collections:
            offsets = artist.get_offsets()
            if len(offsets) and not artist.get_label().startswith("_"):
                found.setdefault(artist.get_label(), tuple(np.asarray(offsets[0], dtype=float)))
    return found


def texts(figure):
    return [text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_text() and text.get_visible()]


def near(place, tolerance=1e-6):
    return pytest.approx(tuple(float(value) for value in place), abs=tolerance)


# how they look


def fixed():
    """Make axes whose place depends on no text, with the edges of insets on whole pixels of the picture."""
    return mpl.figure.Figure(figsize=(3.5, 3.5)).add_axes((0.1, 0.2, 200 / 280, 200 / 280))


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
    return wordless(plot.acquisition(small_miri, ax=fixed()).figure)


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


# where the marks are


def test_marks_of_the_acquisition(analysed, ax):
    drawn = plot.acquisition(analysed, ax=ax)
    assert isinstance(drawn, AxesImage)
    assert drawn.axes is ax
    found = marks(ax)
    at = {name: float(analysed[name]) for name in analysed.coords if not analysed[name].ndim and "wcs" not in str(name)}
    assert found["OSS centroid"] == near((at["centroid_x"], at["centroid_y"]))
    assert found["WCS"] == near((at["ta_target_x"], at["ta_target_y"]))
    assert found["WCS adjusted"] == near((at["centroid_x"], at["centroid_y"]))
    assert found["SIAF reference"] == near((31.5, 31.5))
    np.testing.assert_array_equal(drawn.get_array().data, analysed["ta_sci"].values[0])
    assert drawn.get_extent() == [-0.5, 63.5, -0.5, 63.5]


def test_marks_of_the_science_frame(analysed, nircam, ax):
    plot.science(analysed, ax=ax)
    found = marks(ax)
    truth = nircam.truth.sel(file=nircam.science[0].name)
    assert found["WCS adjusted"] == near((truth["star_x"], truth["star_y"]), 1e-4)
    assert found["SIAF reference"] == near((analysed["mask_x"], analysed["mask_y"]))
    target = wcs.world_to_pixel(
        wcs.load(analysed["wcs_original"].item()), float(analysed["target_ra"]), float(analysed["target_dec"])
    )
    assert found["WCS"] == near(target)


def test_marks_pile_up_on_the_frame_only_without_a_zoom(analysed):
    with_zoom, without = (mpl.figure.Figure().add_subplot() for _ in range(2))
    plot.science(analysed, ax=with_zoom)
    plot.science(analysed, ax=without, zoom=False)
    assert not any(len(artist.get_offsets()) for artist in with_zoom.collections)
    assert sum(len(artist.get_offsets()) for artist in without.collections) == 3
    assert [len(each.images) for each in with_zoom.child_axes] == [1]
    assert without.child_axes == []


def test_a_crop_is_drawn_at_its_labels(analysed, ax):
    crop = analysed.sel(x=slice(110, 190), y=slice(140, 210))
    drawn = plot.science(crop, ax=ax)
    assert drawn.get_extent() == [109.5, 190.5, 139.5, 210.5]
    assert marks(ax)["WCS adjusted"] == near((analysed["target_x"], analysed["target_y"]))


def test_north_and_east_are_where_the_wcs_has_them(analysed, ax):
    plot.science(analysed, ax=ax)
    placed = {text.get_text(): np.array(text.get_position()) for text in ax.texts if text.get_text() in {"N", "E"}}
    arrows = [text for text in ax.texts if not text.get_text()]
    origin = np.array(arrows[0].xyann)
    middle = analysed.isel(x=slice(158, 162), y=slice(158, 162))
    for label, name, cosine in (("N", "dec", 1.0), ("E", "ra", np.cos(np.deg2rad(-51.5)))):
        gradient = [float(middle[name].diff(dim).mean()) * cosine for dim in ("x", "y")]
        direction = (placed[label] - origin) / np.hypot(*(placed[label] - origin))
        assert direction @ gradient / np.hypot(*gradient) == pytest.approx(1, abs=2e-3)


def test_the_scale_bar_is_as_long_as_it_says(analysed, ax):
    plot.science(analysed, ax=ax)
    (bar,) = [line for line in ax.lines if line.get_color() == "white"]
    (text,) = [text.get_text() for text in ax.texts if text.get_text().endswith("″")]
    x = bar.get_xdata()
    y = bar.get_ydata()
    ra, dec = analysed.ta.pixel_to_world(np.array(x), np.array(y))
    long = np.hypot(np.diff(ra) * np.cos(np.deg2rad(dec[0])), np.diff(dec)).item() * 3600
    assert long == pytest.approx(float(text[:-1]), rel=0.01)


def test_arcsec_axes_stand_beside_the_pixels(analysed, ax):
    plot.acquisition(analysed, ax=ax)
    top, right = (axis for axis in ax.child_axes if not axis.images)
    assert top.get_xlabel() == "x from the OSS centroid [arcsec]"
    assert right.get_ylabel() == "y from the OSS centroid [arcsec]"
    assert ax.get_xlabel() == "x [pixel]"
    ax.figure.draw_without_rendering()
    width = np.subtract(*top.get_xlim()[::-1]) / 64
    gwcs = wcs.load(analysed["ta_wcs"].item(0))
    x, y = float(analysed["centroid_x"]), float(analysed["centroid_y"])
    ra, dec = wcs.pixel_to_world(gwcs, np.array([x - 5, x + 5]), np.array([y, y]))
    scale = np.hypot(np.diff(ra) * np.cos(np.deg2rad(dec[0])), np.diff(dec)).item() * 360
    assert width == pytest.approx(scale, rel=1e-4)
    zero = (0 - top.get_xlim()[0]) / width - 0.5
    assert zero == pytest.approx(x, abs=1e-3)


def test_bad_pixels_are_marked(small, ax):
    drawn = plot.acquisition(small, ax=ax)
    mask = drawn.get_array().mask
    assert set(zip(*np.nonzero(mask), strict=True)) == {(16, 21), (21, 16)}
    colour = mpl.colors.to_hex(drawn.cmap(np.ma.masked_invalid([np.nan]))[0])
    assert colour == style.BAD.lower()
    assert "bad pixel" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_the_stretch_is_asinh_on_the_clipped_background(small, ax):
    norm = plot.acquisition(small, ax=ax).norm
    image = small["ta_sci"].values[0].astype(float)
    from astropy.stats import sigma_clipped_stats

    _, median, noise = sigma_clipped_stats(image[np.isfinite(image)], sigma=3)
    assert norm.vmin == pytest.approx(median - 3 * noise, abs=0.05 * noise)
    values = np.array([median, median + noise, median + 100 * noise, median + 200 * noise])
    steps = np.diff(norm(values))
    assert steps[0] / noise > 20 * steps[2] / (100 * noise)  # steep in the noise, flat on the star


def test_other_exposures_are_drawn_with_their_own_wcs(dithered):
    k = 0
    ax = mpl.figure.Figure().add_subplot()
    plot.acquisition(dithered, ax=ax, exposure=k)
    found = marks(ax)
    target = float(dithered["target_ra"]), float(dithered["target_dec"])
    there = wcs.world_to_pixel(wcs.load(dithered["ta_wcs"].item(k)), *target)
    assert found["WCS"] == near(there, 1e-5)
    assert found["SIAF reference"] == near((31.5, 31.5))
    assert "OSS centroid" not in found
    star = image_centroid(dithered, exposure=k)
    assert found["WCS adjusted"] == near((star.x, star.y), 0.02)
    assert any("no onboard centroid" in text for text in texts(ax.figure))


def test_the_exposure_in_use_is_the_default(dithered, ax):
    plot.acquisition(dithered, ax=ax)
    assert marks(ax)["OSS centroid"] == near((dithered["centroid_x"], dithered["centroid_y"]))
    assert "ta_exposure = 2 (of 4)" in ax.get_title(loc="left")


@pytest.mark.parametrize("exposure", [4, -1, 0.5, "first"])
def test_an_exposure_that_is_not_there(dithered, exposure):
    with pytest.raises(ArgumentError, match=rf"exposure is {exposure!r}; the dataset has TA exposures 0 to 3"):
        plot.acquisition(dithered, exposure=exposure)
    assert plt.get_fignums() == []


def test_a_large_readout_is_cropped_to_the_region(of_miri):
    for k, (width, region) in enumerate(((48, "MIRIM_TA1140_UR"), (40, "MIRIM_TA1140_CUR"))):
        ax = mpl.figure.Figure().add_subplot()
        left, right, low, high = plot.acquisition(of_miri, ax=ax, exposure=k).get_extent()
        assert right - left == pytest.approx(width, abs=1)
        assert high - low == pytest.approx(width, abs=1)
        middle = float(of_miri["ta_intended_x"][k]), float(of_miri["ta_intended_y"][k])
        assert ((left + right) / 2, (low + high) / 2) == near(middle, 0.6)
        assert region in ax.get_title(loc="left")


def test_the_crop_takes_in_the_marks(of_miri, ax):
    x = float(of_miri["ta_intended_x"][1]) + 30
    left, right, _, _ = plot.acquisition(of_miri.assign_coords(ta_target_x=x), ax=ax).get_extent()
    assert right - x > 2
    assert left == pytest.approx(x - 63.5, abs=1)  # as far to the other side
    assert not [text for text in ax.texts if not text.get_text()]


def test_the_cut_is_that_of_the_picture(of_miri, ax):
    marks_ = places.in_acquisition(of_miri, 1)
    cut, region = crop(of_miri, 1, marks_)
    drawn = plot.acquisition(of_miri, ax=ax)
    (left, *_, right), (low, *_, high) = cut["ta_x"].values, cut["ta_y"].values
    assert drawn.get_extent() == [left - 0.5, right + 0.5, low - 0.5, high + 0.5]
    np.testing.assert_array_equal(cut["ta_sci"].values, drawn.get_array().data)
    assert set(cut.data_vars) == {"ta_sci", "ta_dq"}
    assert np.ptp(region, axis=1) == pytest.approx([16, 16])
    assert region.mean(axis=1) == near(marks_["SIAF reference"], 0.6)


@pytest.mark.parametrize("unknown", [{"ta_aperture": ("ta_exposure", ["NONE", "NONE"])}, {"instrument": "NONE"}, None])
def test_an_aperture_that_the_siaf_does_not_have(small_miri, ax, unknown):
    """The whole readout is shown; where to look for a star is not known, so an exposure without a centroid has none."""
    ds = small_miri.copy()
    if unknown is None:
        del ds.attrs["instrument"]
    else:
        ds = ds.assign_attrs(unknown) if "instrument" in unknown else ds.assign_coords(unknown)
    drawn = plot.acquisition(ds, ax=ax)
    assert drawn.get_extent() == [-0.5, 287.5, -0.5, 223.5]
    assert "SIAF reference" in marks(ax)
    assert [one.exposure for one in of_exposures(ds)] == [1]
    (one, ring) = plot.offsets(ds, ax=mpl.figure.Figure().add_subplot())
    assert len(one.get_offsets()) == len(ring.get_offsets()) == 1
    assert "no star known in ta_exposure 0" in one.axes.get_title(loc="left")


def test_a_mark_off_the_image_is_pointed_at(analysed):
    with_arrow, without = (mpl.figure.Figure().add_subplot() for _ in range(2))
    far = analysed.assign_coords(ta_target_x=300.0, ta_target_y=-80.0)
    plot.acquisition(far, ax=with_arrow)
    plot.acquisition(analysed, ax=without)
    assert with_arrow.get_xlim() == without.get_xlim() == (-0.5, 63.5)
    arrows = [text for text in with_arrow.texts if not text.get_text()]
    assert [text for text in without.texts if not text.get_text()] == []
    tip = np.array(arrows[0].xy)
    assert np.abs(tip - 0.5).max() == pytest.approx(0.49)
    assert tip[0] > 0.5 > tip[1]  # right and down


# what is written


def test_the_caption_tells_what_the_exposure_is(small, ax):
    plot.acquisition(small.assign_coords(ta_filter=("ta_exposure", ["F335M"])), ax=ax)
    caption = ax.get_title(loc="left")
    for word in (
        "jw01234001001_02102_00001_nrcalong",
        "NRCA5_TAMASK335R",
        "F335M",
        "FGS2",
        "NRC_TACQ",
        "ta_exposure = 0",
    ):
        assert word in caption


def test_the_guider_is_taken_from_the_log_where_no_keyword_tells(small, ax):
    bare = small.drop_attrs(deep=False).assign_attrs(
        {key: value for key, value in small.attrs.items() if key != "guider_aperture"}
        | {"oss_log": "From guiding: guider 1 X ideal = 3.2"}
    )
    plot.acquisition(bare, ax=ax)
    assert "FGS1" in ax.get_title(loc="left")


def test_the_offset_is_written(analysed, ax):
    plot.acquisition(analysed, ax=ax)
    (text,) = [text.get_text() for text in ax.texts if "WCS − OSS" in text.get_text()]
    values = [float(value.replace("−", "-")) for value in re.findall(r"[+−]\d+\.\d+", text)]
    names = ("offset_x", "offset_y", "offset_east", "offset_north")
    assert values == pytest.approx([float(analysed[name]) for name in names], abs=5.1e-4)


def test_a_failed_acquisition_says_so(tmp_path, ax):
    visit = datasets.make_visit(tmp_path, integrations=1, failed_ta=True)
    with pytest.warns(xta.XtaWarning, match="no onboard centroid"):
        ds = xta.analyze(visit.science[0])
    plot.acquisition(ds, ax=ax)
    found = marks(ax)
    assert found["image centroid"] == near((ds["centroid_x"], ds["centroid_y"]))
    assert "OSS centroid" not in found
    assert "FAILED: NIRCam target locate failed" in " ".join(ax.get_title(loc="left").split())
    assert any("FAILED" in text for text in texts(plot.summary(ds)))


def test_a_centroid_by_hand_stands_beside_the_onboard_one(small, ax):
    plot.acquisition(small.ta.compute_offset(centroid=(34.0, 30.0)), ax=ax)
    found = marks(ax)
    assert found["centroid by hand"] == near((34.0, 30.0))
    assert found["OSS centroid"] == near(plot_data.STAR)


def test_without_legend_caption_and_zoom(small, ax):
    plot.acquisition(small, ax=ax, legend=False, caption=False, zoom=False)
    assert ax.get_legend() is None
    assert ax.get_title(loc="left") == ""
    assert not any(axis.images for axis in ax.child_axes)


ODD = "$\\bad$ a_1 $x^2$ \ud800\x07\n$"
SHOWN = "$\\bad$ a_1 $x^2$ \ufffd\ufffd"


@pytest.fixture(params=["acquisition", "science", "recentered", "offsets", "klip", "table"])
def odd(request, small, small_miri, small_klip):
    """Give a function, and a dataset with headers that are no good text."""
    table = xr.Dataset(
        {"offset_east": ("visit", [0.1, 0.2]), "offset_north": ("visit", [0.1, 0.2])}, {"visit": [ODD, "b"]}
    )
    make = {
        "recentered": small.ta.recenter,
        "offsets": lambda: small_miri,
        "klip": lambda: small_klip,
        "table": lambda: table,
    }
    ds = make.get(request.param, lambda: small)().copy(deep=True)
    for name in ("target_name", "visit_id", "filename", "filter", "aperture", "mode", "coronagraphic_mask"):
        ds.attrs[name] = ODD
    for name in ("ta_filename", "ta_filter", "ta_exp_type"):
        if "ta_exposure" in ds.dims:
            ds = ds.assign_coords({name: ("ta_exposure", [ODD] * ds.sizes["ta_exposure"])})
    if "klip" in ds:
        ds["klip"].attrs["units"] = ODD
    return getattr(plot, request.param.replace("table", "offsets")), ds


def test_texts_of_headers_are_only_shown(odd, ax):
    """No dollar sign begins mathematics, and no character stops the drawing, on new axes and on given ones."""
    function, ds = odd
    for axes in (ax, None):
        drawn = function(ds, ax=axes)
        figure = (drawn[0] if isinstance(drawn, list) else drawn).figure
        figure.savefig(io.BytesIO(), format="png", dpi=50)
        found = " ".join(" ".join(text.split()) for text in texts(figure))
        assert "$\\bad$" in found
        assert "a_1 $x^2$ \ufffd\ufffd" in found
        assert not re.search("[\ud800\x07]", found)
        assert r"\mathdefault" not in found


def test_texts_of_headers_are_only_shown_on_a_page(small, small_klip):
    for ds in (small, small_klip):
        page = plot.summary(ds.assign_attrs(target_name=ODD, centroid_source=f"OSS {ODD}"))
        page.savefig(io.BytesIO(), format="pdf")
        assert page._suptitle.get_text().startswith(SHOWN)


def test_labels_of_ones_own_may_be_mathematics(small):
    axes = plot.acquisition(small).axes
    assert axes.set_xlabel(r"$\alpha$").get_parse_math()
    assert axes.set_title("$x^2$").get_parse_math()


@given(st.text(st.characters()) | st.text(st.characters(categories=["Cs", "Cc", "Zs"])))
def test_a_plain_text_can_be_drawn(text):
    shown = style.plain(text)
    assert shown.isprintable()
    assert len(shown) == len(text)
    assert [b for a, b in zip(text, shown, strict=True) if a.isprintable()] == [c for c in text if c.isprintable()]


def test_a_long_caption_is_broken(small):
    name = "jw01234001001_02102_00001_nrcalong_" + "a" * 60
    drawn = plot.science(small.assign_attrs(filename=f"{name}_cal.fits"))
    drawn.figure.savefig(io.BytesIO(), format="png")
    title = drawn.axes._left_title
    assert title.get_text().replace("\n", "").startswith(f"{name}_cal")
    assert title.get_window_extent().x1 < drawn.figure.bbox.x1


def test_the_error_stands_beside_the_star(small):
    x, y = (f"{float(small[f'target_{axis}']):.3f} ± {float(small[f'target_{axis}_err']):.3f}" for axis in "xy")
    science = plot.science(small, ax=mpl.figure.Figure().add_subplot()).axes.get_title(loc="left")
    assert f"star at {x}, {y} px" in science
    centred = plot.recentered(small.ta.recenter(), ax=mpl.figure.Figure().add_subplot()).axes.get_title(loc="left")
    assert f"star was at {x}, {y} px" in centred
    for ds in (small, small.ta.recenter()):
        found = texts(plot.summary(ds))
        assert [text for text in found if text.startswith("± ")] == [
            f"± {float(small[name]):.4f}" for name in ("target_x_err", "target_y_err")
        ]


def test_no_error_is_made_up(small):
    bare = (
        small.assign_coords(target_x_err=np.nan, target_y_err=np.nan),
        small.drop_vars(["target_x_err", "target_y_err"]),
    )
    for ds in bare:
        assert not any("±" in text or "standard error" in text for text in texts(plot.summary(ds)))
        star = f"star at {float(small['target_x']):.3f}, {float(small['target_y']):.3f} px"
        assert star in plot.science(ds, ax=mpl.figure.Figure().add_subplot()).axes.get_title(loc="left")
    lost = small.assign_coords(target_x=np.nan, target_y=np.nan)
    assert "star" not in plot.science(lost, ax=mpl.figure.Figure().add_subplot()).axes.get_title(loc="left")


# before and beside an analysis


def test_an_exposure_before_its_analysis(nircam):
    bare = xta.open_exposure(nircam.science[0])
    one, other = (mpl.figure.Figure().add_subplot() for _ in range(2))
    plot.science(bare, ax=one)
    assert set(marks(one)) == {"WCS"}
    plot.acquisition(bare.ta.attach(), ax=other)
    assert set(marks(other)) == {"SIAF reference", "OSS centroid"}
    assert len(plot.summary(bare).axes) > 0
    assert any("OSS event log" in text for text in texts(plot.summary(bare.ta.attach())))


def test_an_exposure_without_wcs_and_target(analysed, ax):
    names = [name for name in analysed.coords if "wcs" in str(name)]
    bare = analysed[["sci", "x", "y"]].drop_vars(
        [*names, "ra", "dec", "target_x", "target_y", "mask_x", "mask_y"], errors="ignore"
    )
    plot.science(bare.drop_attrs(), ax=ax)
    assert marks(ax) == {}
    assert [text.get_text() for text in ax.texts] == []


@pytest.mark.parametrize(
    ("function", "step"),
    [
        (plot.acquisition, "attach"),
        (plot.offsets, "attach"),
        (plot.recentered, "recenter"),
        (plot.klip, "klip"),
    ],
)
def test_what_is_missing_is_named(nircam, function, step):
    with pytest.raises(MissingError, match=step):
        function(xta.open_exposure(nircam.science[0]))
    assert plt.get_fignums() == []


def test_a_page_of_several_exposures_without_a_target(small_miri):
    bare = small_miri.drop_vars(["centroid_ra", "centroid_dec"]).assign_attrs(target_ra=float("nan"))
    assert len(plot.summary(bare).axes) == 4


def test_nothing_to_draw():
    for function in (plot.science, plot.summary):
        with pytest.raises(MissingError, match="open_exposure"):
            function(xr.Dataset())
    assert plt.get_fignums() == []


def test_one_integration_or_the_median(analysed, ax):
    one = plot.science(analysed, ax=ax, integration=2, zoom=False)
    good = (analysed["dq"].values[1] & 1) == 0
    np.testing.assert_array_equal(one.get_array().data[good], analysed["sci"].values[1][good])
    assert one.get_array().mask[~good].all()
    assert "integration = 2" in ax.get_title(loc="left")
    median = plot.science(analysed, ax=mpl.figure.Figure().add_subplot(), zoom=False)
    always = ((analysed["dq"].values & 1) == 0).all(axis=0)
    np.testing.assert_allclose(median.get_array().data[always], np.median(analysed["sci"].values, axis=0)[always])
    with pytest.raises(ArgumentError, match="integration is 9; the dataset has 1 to 3"):
        plot.science(analysed, integration=9)


def test_dask_arrays_are_drawn(nircam, analysed):
    lazy = xta.analyze(nircam.science[0], chunks={})
    one, other = (plot.science(ds, ax=mpl.figure.Figure().add_subplot()) for ds in (lazy, analysed))
    np.testing.assert_array_equal(one.get_array().filled(np.nan), other.get_array().filled(np.nan))


def test_joined_exposures_and_uneven_labels(analysed):
    joined = xr.concat([analysed[["sci", "x", "y"]], analysed[["sci", "x", "y"]]], dim="exposure")
    with pytest.raises(ArgumentError, match="select one exposure first"):
        plot.science(joined)
    with pytest.raises(ArgumentError, match="labels x are not evenly spaced"):
        plot.science(analysed.isel(x=[1, 2, 4, 9]))
    assert plt.get_fignums() == []
    strided = plot.science(analysed.isel(x=slice(0, None, 4)), ax=mpl.figure.Figure().add_subplot())
    assert strided.get_extent()[:2] == [-2.0, 318.0]


def test_an_image_without_a_good_pixel(small, ax):
    empty = small.assign(ta_sci=small["ta_sci"] * np.nan)
    plot.acquisition(empty, ax=ax).figure.draw_without_rendering()
    assert ax.images[0].get_array().mask.all()


# recentred, subtracted, offsets


def test_recentered_has_the_star_at_zero_and_rings_at_their_separation(analysed, ax):
    centred = analysed.ta.recenter()
    plot.recentered(centred, ax=ax, rings=[2.0, 5.0])
    found = marks(ax)
    assert found["star"] == near((0, 0))
    offset = [float(analysed[f"mask_{axis}"] - analysed[f"target_{axis}"]) for axis in ("x", "y")]
    assert found["SIAF reference"] == near(offset)
    (rings,) = [artist for artist in ax.collections if isinstance(artist, mpl.contour.ContourSet)]
    assert list(rings.levels) == [2.0, 5.0]
    for level, path in zip(rings.levels, rings.get_paths(), strict=True):
        x, y = path.vertices[::20].T
        there = centred["separation"].interp(x=("k", x), y=("k", y))
        np.testing.assert_allclose(there, level, atol=0.01)
    assert {"2″", "5″"} <= set(texts(ax.figure))


def test_rings_are_optional_and_round(analysed):
    for rings, expected in (([], None), ([500.0], None), (None, [2.0, 4.0, 6.0, 8.0])):
        ax = mpl.figure.Figure().add_subplot()
        plot.recentered(analysed.ta.recenter(), ax=ax, rings=rings)
        found = [artist for artist in ax.collections if isinstance(artist, mpl.contour.ContourSet)]
        assert [list(ring.levels) for ring in found] == ([] if expected is None else [expected])


def test_a_crop_without_the_star(analysed):
    """What is not in the picture is pointed at; nothing is shown enlarged, and no ring is labelled."""
    ax = mpl.figure.Figure().add_subplot()
    plot.science(analysed.sel(x=slice(0, 60)), ax=ax)
    assert not any(axis.images for axis in ax.child_axes)
    assert set(marks(ax)) == {"SIAF reference", "WCS", "WCS adjusted"}
    assert len([text for text in ax.texts if not text.get_text()]) == 3 + 2  # of the marks, and of the compass
    ax = mpl.figure.Figure().add_subplot()
    plot.recentered(analysed.ta.recenter().sel(x=slice(-150, -40)), ax=ax, rings=[5.0])
    assert "5″" not in texts(ax.figure)


def test_klip_is_drawn_north_up_and_east_left(small_klip, ax):
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


def test_klip_by_number_of_components(small_klip, ax):
    drawn = plot.klip(small_klip, ax=ax, numbasis=1, add_colorbar=False)
    assert np.ma.max(drawn.get_array()) == pytest.approx(float(small_klip["klip"].sel(numbasis=1).max()))
    assert "1 component" in ax.get_title(loc="left")
    with pytest.raises(ArgumentError, match="numbasis is 3; the dataset has 1, 5"):
        plot.klip(small_klip, numbasis=3)
    one = plot.klip(small_klip.sel(numbasis=5), ax=mpl.figure.Figure().add_subplot())
    assert np.ma.max(one.get_array()) == pytest.approx(float(small_klip["klip"].sel(numbasis=5).max()))


def test_offsets_of_all_exposures_agree(dithered, ax):
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
    assert "0, 1, 2, 3" in texts(ax.figure)


def test_offsets_before_the_offset_is_computed(nircam, analysed):
    (one,) = of_exposures(xta.open_exposure(nircam.science[0]).ta.attach())
    assert one.east == pytest.approx(float(analysed["offset_east"]), abs=1e-9)
    assert one.north == pytest.approx(float(analysed["offset_north"]), abs=1e-9)


def test_an_exposure_without_a_star_has_no_offset(dithered):
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


def test_offsets_of_a_table_of_visits(table, ax):
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
def test_numbers_along_the_axes_have_room(middle, half, inches):
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
def test_a_label_of_many_stays_within_the_axes(count, place):
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


def test_labels_do_not_lie_on_labels_or_points():
    rng = np.random.default_rng(4)
    axes = plot.offsets(visits(*rng.uniform(-0.2, 0.2, (2, 12))))[0].axes
    found = boxes(axes, lambda ax: ax.texts)
    assert len(found) > 4
    assert not any(a.overlaps(b) for a, b in itertools.combinations(found, 2))
    points = axes.transData.transform(axes.collections[0].get_offsets())
    assert not any(box.contains(*point) for box in found for point in points)


def test_offsets_of_joined_exposures(analysed, of_miri, ax):
    each = [
        xr.Dataset({name: ds[name].reset_coords(drop=True) for name in ("offset_east", "offset_north")})
        for ds in (analysed, of_miri)
    ]
    (artist,) = plot.offsets(xr.concat(each, dim="exposure"), ax=ax)
    assert tuple(artist.get_offsets()[1]) == near((of_miri["offset_east"], of_miri["offset_north"]))
    assert "0, 1" in texts(ax.figure)  # both have the same error


def test_a_table_of_another_shape(table):
    with pytest.raises(ArgumentError, match="a table has one, the same"):
        plot.offsets(table.expand_dims(other=2))
    with pytest.raises(MissingError, match="offset_north"):
        plot.offsets(table[["offset_east"]])
    assert plt.get_fignums() == []


# in the manner of xarray


def test_styling_keywords_go_to_imshow(small):
    ax = mpl.figure.Figure().add_subplot()
    drawn = plot.acquisition(small, ax=ax, cmap="viridis", vmin=-2.0, vmax=50.0, alpha=0.5)
    assert (drawn.cmap.name, drawn.norm.vmin, drawn.norm.vmax, drawn.get_alpha()) == ("viridis", -2.0, 50.0, 0.5)
    norm = mpl.colors.LogNorm(1, 100)
    assert plot.science(small, ax=mpl.figure.Figure().add_subplot(), norm=norm).norm is norm


@pytest.mark.parametrize("option", [{"origin": "upper"}, {"extent": (0, 1, 0, 1)}])
def test_the_labels_tell_where_a_pixel_is(small, option):
    with pytest.raises(ArgumentError, match=f"{next(iter(option))} cannot be given"):
        plot.acquisition(small, **option)


def test_given_axes_open_no_figure_and_new_ones_open_one(small, small_klip, small_miri):
    centred = small.ta.recenter()
    calls = [
        (plot.acquisition, small),
        (plot.science, small),
        (plot.recentered, centred),
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


def test_the_settings_of_the_session_are_kept(small):
    before = dict(mpl.rcParams)
    plot.acquisition(small)
    plot.summary(small)
    assert dict(mpl.rcParams) == before


def test_the_dataset_is_not_changed(small_miri):
    before = small_miri.copy(deep=True)
    plot.summary(small_miri)
    plot.recentered(small_miri.ta.recenter(), ax=mpl.figure.Figure().add_subplot())
    xr.testing.assert_identical(small_miri, before)


def test_a_reopened_file_is_drawn_the_same(small_miri, small_klip, tmp_path):
    datasets_ = {"exposure": small_miri, "centred": small_miri.ta.recenter(), "klip": small_klip}
    for name, ds in datasets_.items():
        xta.to_netcdf(ds, tmp_path / f"{name}.nc")
        with xr.open_dataset(tmp_path / f"{name}.nc") as again:
            pictures = []
            for each in (ds, again):
                file = io.BytesIO()
                plot.summary(each).savefig(file, format="png", dpi=50, metadata={"Software": None})
                pictures.append(file.getvalue())
        assert pictures[0] == pictures[1], name


def test_the_page_shows_itself_in_a_notebook(small):
    figure = plot.summary(small)
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_the_page_draws_into_a_given_figure(small):
    figure = mpl.figure.Figure(figsize=(7.1, 7.0))
    assert plot.summary(small, figure=figure) is figure
    assert len(figure.axes) == 4
    part = mpl.figure.Figure(figsize=(7.1, 14)).subfigures(2, 1)[1]
    assert plot.summary(small, figure=part) is part


def test_figures_pickle(small):
    figure = plot.acquisition(small, ax=mpl.figure.Figure().add_subplot()).figure
    again = pickle.loads(pickle.dumps(figure))
    assert marks(again.axes[0]) == marks(figure.axes[0])


# for print


@pytest.fixture(
    params=["acquisition", "science", "recentered", "offsets", "klip", "summary", "summary of MIRI", "failed"]
)
def printed(request, small, small_miri, small_klip):
    """Give one figure of each kind, in its own size."""
    failed = small.ta.compute_offset(centroid="image").assign_attrs(
        centroid_source="TA image, no onboard centroid (FAILED: NIRCam target locate failed)"
    )
    make = {
        "acquisition": lambda: plot.acquisition(small.ta.compute_offset(centroid=(34.0, 30.0)).ta.adjust_wcs()).figure,
        "science": lambda: plot.science(small).figure,
        "recentered": lambda: plot.recentered(small.ta.recenter()).figure,
        "offsets": lambda: plot.offsets(small_miri)[0].figure,
        "klip": lambda: plot.klip(small_klip).figure,
        "summary": lambda: plot.summary(small.ta.recenter()),
        "summary of MIRI": lambda: plot.summary(small_miri),
        "failed": lambda: plot.acquisition(failed).figure,
    }
    return make[request.param]()


def test_a_figure_looks_the_same_each_time_it_is_saved(printed):
    found = []
    for _ in range(3):
        printed.savefig(io.BytesIO(), format="png")
        found.append([ax.get_position().bounds for ax in printed.axes])
    np.testing.assert_allclose(found[1:], found[:1] * 2, atol=2e-3)


def words(figure):
    """Titles, labels, legends and notes of a drawn figure: (text, artist, where it is)."""
    found = [*figure.texts]
    for ax in figure.findobj(mpl.axes.Axes):
        found += [ax._left_title, ax.xaxis.label, ax.yaxis.label, *ax.texts]
        found += ax.get_legend().get_texts() if ax.get_legend() else []
    found += [figure._suptitle] if figure._suptitle else []
    return [(text.get_text(), text, text.get_window_extent()) for text in found if text.get_text().strip()]


def test_every_text_is_on_the_page_and_large_enough(printed):
    assert printed.get_figwidth() in {style.COLUMN, style.PAGE}
    printed.savefig(io.BytesIO(), format="png")
    width, height = printed.bbox.size
    found = words(printed)
    assert len(found) > 5
    for text, artist, box in found:
        assert min(box.x0, box.y0, width - box.x1, height - box.y1) > -1, text
        assert artist.get_fontsize() >= 7, text


def test_no_text_lies_on_another(printed):
    printed.savefig(io.BytesIO(), format="png")
    found = {id(artist): (text, box.shrunk(0.98, 0.9)) for text, artist, box in words(printed)}
    for (one, box), (other, second) in itertools.combinations(found.values(), 2):
        assert not box.overlaps(second), (one, other)


def test_a_pdf_holds_vectors_and_truetype(small, tmp_path):
    path = tmp_path / "page.pdf"
    plot.summary(small).savefig(path)
    content = path.read_bytes()
    assert content.startswith(b"%PDF")
    assert b"/FontType 3" not in content
    assert b"/Type3" not in content
    assert b"/CIDFontType2" in content or b"/TrueType" in content


def widths(content):
    """Of the images in a PDF or SVG [pixel]."""
    if content.startswith(b"%PDF"):
        return [int(value) for value in re.findall(rb"/Width (\d+)", content)]
    images = [base64.b64decode(text) for text in re.findall(rb"data:image/png;base64,([^\"]+)", content)]
    return [int.from_bytes(png[16:20]) for png in images]


@pytest.mark.parametrize("kind", ["pdf", "svg"])
def test_images_in_a_vector_file_are_sharp(small, tmp_path, kind):
    """A viewer smooths what has few dots; images have 600 per inch, and by ``format`` as by name."""
    figure, file = plot.acquisition(small).figure, io.BytesIO()
    figure.savefig(tmp_path / f"a.{kind}")
    figure.savefig(file, format=kind)
    dots = figure.axes[0].get_position().width * style.COLUMN * style.VECTOR_DPI
    for content in ((tmp_path / f"a.{kind}").read_bytes(), file.getvalue()):
        assert max(widths(content)) == pytest.approx(dots, rel=0.01)
    figure.savefig(tmp_path / f"b.{kind}", dpi=60)
    assert max(widths((tmp_path / f"b.{kind}").read_bytes())) == pytest.approx(dots / 10, rel=0.01)
    assert figure.dpi == style.DPI


def lightness(rgb):
    """CIE 1976 L* of sRGB colours (IEC 61966-2-1, CIE 15)."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    return np.where(luminance > (6 / 29) ** 3, 116 * np.cbrt(luminance) - 16, luminance * (29 / 3) ** 3)


def test_the_colour_maps_are_perceptually_uniform(small, small_klip):
    for drawn in (plot.acquisition(small), plot.klip(small_klip)):
        steps = np.diff(lightness(drawn.cmap(np.linspace(0, 1, 33))[:, :3]))
        assert steps.min() > 0.3 * steps.mean()  # near black CIE L* is not what they are uniform in
        assert steps.max() < 1.6 * steps.mean()


def test_marks_differ_in_shape_and_stand_out(small, small_miri):
    together = ("SIAF reference", "WCS", "WCS adjusted", "OSS centroid", "image centroid")
    assert len({style.MARKS[label].marker for label in together}) == len(together)
    for label in together:
        level = lightness(np.array(mpl.colors.to_rgb(style.MARKS[label].colour)))
        assert level > lightness(np.array(mpl.colors.to_rgb(style.BAD))), label


# the accessor


FUNCTIONS = {
    "__call__": plot.summary,
    "acquisition": plot.acquisition,
    "science": plot.science,
    "offsets": plot.offsets,
    "recentered": plot.recentered,
    "klip": plot.klip,
}


def test_every_method_names_a_function():
    public = {name for name, value in vars(PlotAccessor).items() if inspect.isfunction(value)} - {"__init__"}
    assert public == set(FUNCTIONS)
    for name, function in FUNCTIONS.items():
        method = getattr(PlotAccessor, name)
        assert method.__doc__ == function.__doc__
        own = list(inspect.signature(method, follow_wrapped=False).parameters.values())[1:]
        theirs = list(inspect.signature(function).parameters.values())[1:]
        assert [(p.name, p.kind, p.default) for p in own] == [(p.name, p.kind, p.default) for p in theirs], name


def test_methods_draw_what_the_functions_draw(small, small_klip):
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


def test_a_backend_keeps_what_it_sets_when_it_is_loaded(tmp_path):
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
