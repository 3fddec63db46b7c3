"""Pictures of the acquisition and the science frame: what is drawn, and where."""

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.image import AxesImage

import xta
from tests.plot.helpers import marks, near, texts
from xta import plot
from xta.acquisition.image import image_centroid, in_use
from xta.errors import ArgumentError
from xta.geometry import wcs
from xta.plot import frame, style
from xta.plot.exposures import crop
from xta.plot.places import acquisition_marks
from xta.plot.visits import of_exposures


def test_acquisition_marks(analyzed, ax):
    drawn = plot.acquisition(analyzed, ax=ax)
    assert isinstance(drawn, AxesImage)
    assert drawn.axes is ax
    found = marks(ax)
    at = {name: float(c) for name, c in analyzed.coords.items() if not c.ndim and c.dtype.kind == "f"}
    assert found["OSS centroid"] == near((at["centroid_x"], at["centroid_y"]))
    assert found["WCS"] == near((at["ta_target_x"], at["ta_target_y"]))
    assert found["WCS adjusted"] == near((at["centroid_x"], at["centroid_y"]))
    assert found["intended place"] == near((31.5, 31.5))
    np.testing.assert_array_equal(drawn.get_array().data, analyzed["ta_sci"].values[0])
    assert drawn.get_extent() == [-0.5, 63.5, -0.5, 63.5]


def test_acquisition_arcsec_axes(analyzed, ax):
    plot.acquisition(analyzed, ax=ax)
    top, right = (axis for axis in ax.child_axes if not axis.images)
    assert top.get_xlabel() == "x from the OSS centroid [arcsec]"
    assert right.get_ylabel() == "y from the OSS centroid [arcsec]"
    assert ax.get_xlabel() == "x [pixel]"
    ax.figure.draw_without_rendering()
    width = np.subtract(*top.get_xlim()[::-1]) / 64
    gwcs = wcs.load(analyzed["ta_wcs"].item(0))
    x, y = float(analyzed["centroid_x"]), float(analyzed["centroid_y"])
    ra, dec = wcs.pixel_to_world(gwcs, np.array([x - 5, x + 5]), np.array([y, y]))
    scale = np.hypot(np.diff(ra) * np.cos(np.deg2rad(dec[0])), np.diff(dec)).item() * 360
    assert width == pytest.approx(scale, rel=1e-4)
    zero = (0 - top.get_xlim()[0]) / width - 0.5
    assert zero == pytest.approx(x, abs=1e-3)


def test_acquisition_marks_bad_pixels(small, ax):
    drawn = plot.acquisition(small, ax=ax)
    mask = drawn.get_array().mask
    assert set(zip(*np.nonzero(mask), strict=True)) == {(16, 21), (21, 16)}
    color = mpl.colors.to_hex(drawn.cmap(np.ma.masked_invalid([np.nan]))[0])
    assert color == style.BAD.lower()
    painted = drawn.to_rgba(drawn.get_array())
    assert {mpl.colors.to_hex(painted[place]) for place in zip(*np.nonzero(mask), strict=True)} == {color}
    assert "bad pixel" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_acquisition_stretch(small, ax):
    norm = plot.acquisition(small, ax=ax).norm
    image = small["ta_sci"].values[0].astype(float)
    from astropy.stats import sigma_clipped_stats

    _, median, noise = sigma_clipped_stats(image[np.isfinite(image)], sigma=3)
    assert norm.vmin == pytest.approx(median - 3 * noise, abs=0.05 * noise)
    values = np.array([median, median + noise, median + 100 * noise, median + 200 * noise])
    steps = np.diff(norm(values))
    assert steps[0] / noise > 20 * steps[2] / (100 * noise)  # steep in the noise, flat on the star


def test_acquisition_draws_other_exposure_with_its_wcs(dithered):
    k = 0
    ax = mpl.figure.Figure().add_subplot()
    plot.acquisition(dithered, ax=ax, exposure=k)
    found = marks(ax)
    target = float(dithered["target_ra"]), float(dithered["target_dec"])
    there = wcs.world_to_pixel(wcs.load(dithered["ta_wcs"].item(k)), *target)
    assert found["WCS"] == near(there, 1e-5)
    assert found["intended place"] == near((31.5, 31.5))
    assert "OSS centroid" not in found
    star = image_centroid(dithered, exposure=k)
    assert found["WCS adjusted"] == near((star.x, star.y), 0.02)
    assert any("no onboard centroid" in text for text in texts(ax.figure))


def test_acquisition_draws_exposure_in_use(dithered, ax):
    plot.acquisition(dithered, ax=ax)
    assert marks(ax)["OSS centroid"] == near((dithered["centroid_x"], dithered["centroid_y"]))
    assert "exposure 3 of 4" in ax.get_title(loc="left")


@pytest.mark.parametrize("exposure", [4, -1, 0.5, "first"])
def test_acquisition_refuses_absent_exposure(dithered, exposure):
    with pytest.raises(ArgumentError, match=rf"exposure is {exposure!r}; the dataset has TA exposures 0, 1, 2, 3"):
        plot.acquisition(dithered, exposure=exposure)
    assert plt.get_fignums() == []


def test_acquisition_crops_large_readout(of_miri):
    for k, (width, region) in enumerate(((48, "MIRIM_TA1140_UR"), (48, "MIRIM_TA1140_CUR"))):
        ax = mpl.figure.Figure().add_subplot()
        left, right, low, high = plot.acquisition(of_miri, ax=ax, exposure=k).get_extent()
        assert right - left == pytest.approx(width, abs=1)
        assert high - low == pytest.approx(width, abs=1)
        middle = float(of_miri["ta_intended_x"][k]), float(of_miri["ta_intended_y"][k])
        assert ((left + right) / 2, (low + high) / 2) == near(middle, 0.6)
        assert region in ax.get_title(loc="left")


def test_acquisition_crop_holds_marks(of_miri, ax):
    x = float(of_miri["ta_intended_x"][1]) + 30
    left, right, _, _ = plot.acquisition(of_miri.assign_coords(ta_target_x=x), ax=ax).get_extent()
    assert right - x > 2
    assert left == pytest.approx(x - 63.5, abs=1)  # as far to the other side
    assert not [text for text in ax.texts if not text.get_text()]


def test_crop_equals_picture(of_miri, ax):
    one = in_use(of_miri)
    marks_ = acquisition_marks(one)
    cut, region = crop(one, marks_)
    drawn = plot.acquisition(of_miri, ax=ax)
    (left, *_, right), (low, *_, high) = cut["ta_x"].values, cut["ta_y"].values
    assert drawn.get_extent() == [left - 0.5, right + 0.5, low - 0.5, high + 0.5]
    np.testing.assert_array_equal(cut["ta_sci"].values, drawn.get_array().data)
    assert {"ta_sci", "ta_dq"} <= set(cut.coords)
    assert np.ptp(region, axis=1) == pytest.approx([16, 16])
    assert region.mean(axis=1) == near(marks_["intended place"], 0.6)


@pytest.mark.parametrize("unknown", [{"ta_aperture": ("ta_exposure", ["NONE", "NONE"])}, {"instrument": "NONE"}, None])
def test_acquisition_of_unknown_aperture(small_miri, ax, unknown):
    """The whole readout is shown; where to look for a star is not known, so an exposure without a centroid has none."""
    ds = small_miri.copy()
    if unknown is None:
        ds.coords["instrument"] = ""
    else:
        ds = ds.assign_coords(unknown)
    drawn = plot.acquisition(ds, ax=ax)
    assert drawn.get_extent() == [-0.5, 287.5, -0.5, 223.5]
    assert "intended place" in marks(ax)
    assert [one.exposure for one in of_exposures(ds)] == [1]
    (one, ring) = plot.offsets(ds, ax=mpl.figure.Figure().add_subplot())
    assert len(one.get_offsets()) == len(ring.get_offsets()) == 1
    assert "no star is known in exposure 1" in one.axes.get_title(loc="left")


def test_acquisition_points_at_mark_off_image(analyzed):
    with_arrow, without = (mpl.figure.Figure().add_subplot() for _ in range(2))
    far = analyzed.assign_coords(ta_target_x=300.0, ta_target_y=-80.0)
    plot.acquisition(far, ax=with_arrow)
    plot.acquisition(analyzed, ax=without)
    assert with_arrow.get_xlim() == without.get_xlim() == (-0.5, 63.5)
    arrows = [text for text in with_arrow.texts if not text.get_text()]
    assert [text for text in without.texts if not text.get_text()] == []
    tip = np.array(arrows[0].xy)
    assert np.abs(tip - 0.5).max() == pytest.approx(0.49)
    assert tip[0] > 0.5 > tip[1]  # right and down


def test_acquisition_without_good_pixel(small, ax):
    empty = small.assign(ta_sci=small["ta_sci"] * np.nan)
    plot.acquisition(empty, ax=ax).figure.draw_without_rendering()
    assert ax.images[0].get_array().mask.all()


def test_science_marks(analyzed, nircam, ax):
    plot.science(analyzed, ax=ax)
    found = marks(ax)
    truth = nircam.truth.sel(file=nircam.science[0].name)
    assert found["WCS adjusted"] == near((truth["star_x"], truth["star_y"]), 1e-4)
    assert found["mask"] == near((analyzed["mask_x"], analyzed["mask_y"]))
    target = wcs.world_to_pixel(
        wcs.load(analyzed["wcs_original"].item()), float(analyzed["target_ra"]), float(analyzed["target_dec"])
    )
    assert found["WCS"] == near(target)


def test_science_without_zoom(analyzed):
    with_zoom, without = (mpl.figure.Figure().add_subplot() for _ in range(2))
    plot.science(analyzed, ax=with_zoom)
    plot.science(analyzed, ax=without, zoom=False)
    assert not any(len(artist.get_offsets()) for artist in with_zoom.collections)
    assert sum(len(artist.get_offsets()) for artist in without.collections) == 3
    assert [len(each.images) for each in with_zoom.child_axes] == [1]
    assert without.child_axes == []


def test_science_draws_crop_at_its_labels(analyzed, ax):
    crop = analyzed.sel(x=slice(110, 190), y=slice(140, 210))
    drawn = plot.science(crop, ax=ax)
    assert drawn.get_extent() == [109.5, 190.5, 139.5, 210.5]
    assert marks(ax)["WCS adjusted"] == near((analyzed["target_x"], analyzed["target_y"]))


def test_science_compass_follows_wcs(analyzed, ax):
    plot.science(analyzed, ax=ax)
    placed = {text.get_text(): np.array(text.get_position()) for text in ax.texts if text.get_text() in {"N", "E"}}
    arrows = [text for text in ax.texts if not text.get_text()]
    origin = np.array(arrows[0].xyann)
    middle = analyzed.isel(x=slice(158, 162), y=slice(158, 162))
    for label, name, cosine in (("N", "dec", 1.0), ("E", "ra", np.cos(np.deg2rad(-51.5)))):
        gradient = [float(middle[name].diff(dim).mean()) * cosine for dim in ("x", "y")]
        direction = (placed[label] - origin) / np.hypot(*(placed[label] - origin))
        assert direction @ gradient / np.hypot(*gradient) == pytest.approx(1, abs=2e-3)


def test_science_scale_bar_length(analyzed, ax):
    plot.science(analyzed, ax=ax)
    (bar,) = [line for line in ax.lines if line.get_color() == "white"]
    (text,) = [text.get_text() for text in ax.texts if text.get_text().endswith("″")]
    x = bar.get_xdata()
    y = bar.get_ydata()
    ra, dec = analyzed.ta.pixel_to_world(np.array(x), np.array(y))
    long = np.hypot(np.diff(ra) * np.cos(np.deg2rad(dec[0])), np.diff(dec)).item() * 3600
    assert long == pytest.approx(float(text[:-1]), rel=0.01)


def test_science_integration_or_median(analyzed, ax):
    one = plot.science(analyzed, ax=ax, integration=2, zoom=False)
    good = (analyzed["dq"].values[1] & 1) == 0
    np.testing.assert_array_equal(one.get_array().data[good], analyzed["sci"].values[1][good])
    assert one.get_array().mask[~good].all()
    assert "integration 2" in ax.get_title(loc="left")
    median = plot.science(analyzed, ax=mpl.figure.Figure().add_subplot(), zoom=False)
    always = ((analyzed["dq"].values & 1) == 0).all(axis=0)
    np.testing.assert_allclose(median.get_array().data[always], np.median(analyzed["sci"].values, axis=0)[always])
    with pytest.raises(ArgumentError, match="integration is 9; the dataset has 1 to 3"):
        plot.science(analyzed, integration=9)


def test_science_of_dask_arrays(nircam, analyzed):
    lazy = xta.analyze(nircam.science[0], chunks={}, centroid="oss", corrections="none")
    one, other = (plot.science(ds, ax=mpl.figure.Figure().add_subplot()) for ds in (lazy, analyzed))
    np.testing.assert_array_equal(one.get_array().filled(np.nan), other.get_array().filled(np.nan))


def test_science_refuses_joined_exposures_and_uneven_labels(analyzed):
    joined = xr.concat([analyzed[["sci", "x", "y"]], analyzed[["sci", "x", "y"]]], dim="exposure")
    with pytest.raises(ArgumentError, match="only the identity of the first"):
        plot.science(joined)
    with pytest.raises(ArgumentError, match="labels x are not evenly spaced"):
        plot.science(analyzed.isel(x=[1, 2, 4, 9]))
    assert plt.get_fignums() == []
    strided = plot.science(analyzed.isel(x=slice(0, None, 4)), ax=mpl.figure.Figure().add_subplot())
    assert strided.get_extent()[:2] == [-2.0, 318.0]


def test_exposure_before_its_analysis(nircam):
    bare = xta.open_exposure(nircam.science[0])
    one, other = (mpl.figure.Figure().add_subplot() for _ in range(2))
    plot.science(bare, ax=one)
    assert set(marks(one)) == {"WCS"}
    plot.acquisition(bare.ta.attach(), ax=other)
    assert set(marks(other)) == {"intended place", "OSS centroid"}
    assert len(plot.summary(bare).axes) > 0
    assert any("OSS event log" in text for text in texts(plot.summary(bare.ta.attach())))


def test_science_without_wcs_and_target(analyzed, ax):
    names = [name for name in analyzed.coords if "wcs" in str(name)]
    bare = analyzed[["sci", "x", "y"]].drop_vars(
        [*names, "ra", "dec", "target_x", "target_y", "mask_x", "mask_y"], errors="ignore"
    )
    plot.science(bare.drop_attrs(), ax=ax)
    assert marks(ax) == {}
    assert [text.get_text() for text in ax.texts] == []


def test_crop_without_star(analyzed):
    """What is not in the picture is pointed at; nothing is shown enlarged, and no ring is labeled."""
    ax = mpl.figure.Figure().add_subplot()
    plot.science(analyzed.sel(x=slice(0, 60)), ax=ax)
    assert not any(axis.images for axis in ax.child_axes)
    assert set(marks(ax)) == {"mask", "WCS", "WCS adjusted"}
    assert len([text for text in ax.texts if not text.get_text()]) == 3 + 2  # of the marks, and of the compass
    ax = mpl.figure.Figure().add_subplot()
    plot.recentered(analyzed.ta.recenter().sel(x=slice(-150, -40)), ax=ax, rings=[5.0])
    assert "5″" not in texts(ax.figure)


def test_insets_do_not_hide_what_they_mark(analyzed, of_miri):
    ax = mpl.figure.Figure(figsize=(3.5, 4.2)).add_subplot()
    x, y = (round(float(analyzed[f"target_{axis}"])) for axis in "xy")
    plot.science(analyzed.sel(x=slice(x - 90, x + 10), y=slice(y - 90, y + 10)), ax=ax)  # the star in the corner
    other = mpl.figure.Figure(figsize=(3.5, 4.2)).add_subplot()
    plot.acquisition(of_miri, ax=other)
    for each in (ax, other):
        each.figure.draw_without_rendering()
        (inset,) = (axes for axes in each.child_axes if axes.images)
        (box,) = (patch for patch in each.patches if isinstance(patch, mpl.patches.Rectangle))
        outlines = [line.get_window_extent() for line in each.lines if line.get_linestyle() == "--"]
        for marked in (box.get_window_extent(), *outlines):
            assert not inset.bbox.overlaps(marked)


@pytest.mark.parametrize(
    ("norm", "words"),
    [
        (None, "asinh stretch, "),
        (mpl.colors.Normalize(0.5, 1200), "linear, 0.5 to 1200 Jy"),
        (mpl.colors.LogNorm(0.5, 1200), "logarithmic, 0.5 to 1200 Jy"),
        (mpl.colors.PowerNorm(0.5, -1, 2), "−1 to 2 Jy"),
    ],
)
def test_stretch_words(ax, norm, words):
    given = {} if norm is None else {"norm": norm}
    drawn = frame.show(ax, np.arange(1.0, 10).reshape(3, 3), np.zeros((3, 3), bool), *[np.arange(3)] * 2, **given)
    assert frame.stretch_words(drawn, "Jy").startswith(words)
