"""The floating-window centroid: unbiased, with an error that is true, and no number where there is no star."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xta.errors import ArgumentError, CentroidError
from xta.images.centroid import floating_window


def star(x0, y0, *, shape=(48, 52), flux=1e4, sigma=1.6, background=20.0):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return background + flux * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)


@settings(deadline=None, max_examples=100)
@given(st.floats(10, 40), st.floats(10, 38))
def test_floating_window_every_subpixel_phase(x, y):
    found = floating_window(star(x, y))
    assert abs(found.x - x) < 2e-3
    assert abs(found.y - y) < 2e-3


def test_floating_window_x_is_column():
    found = floating_window(star(40.2, 11.7))
    assert (round(found.x, 1), round(found.y, 1)) == (40.2, 11.7)


def test_floating_window_error_of_many_measurements():
    rng = np.random.default_rng(3)
    image, noise = star(25.3, 24.6), 5.0
    found = [
        floating_window(image + rng.normal(0, noise, image.shape), err=np.full(image.shape, noise)) for _ in range(400)
    ]
    x, y = np.array([f.x for f in found]), np.array([f.y for f in found])
    # A floating window follows its own result, which makes its scatter a little larger than a fixed one's.
    assert np.std(x) == pytest.approx(np.mean([f.x_err for f in found]), rel=0.25)
    assert np.std(y) == pytest.approx(np.mean([f.y_err for f in found]), rel=0.25)
    assert abs(np.mean(x) - 25.3) < 4 * np.std(x) / 20


def test_floating_window_flagged_pixel_in_core():
    image = star(25.3, 24.6)
    bad = np.zeros(image.shape, dtype=bool)
    bad[26, 24] = True
    image[26, 24] = 1e9
    found = floating_window(image, bad=bad)
    assert np.hypot(found.x - 25.3, found.y - 24.6) < 0.05


def test_floating_window_unflagged_hot_pixel():
    image = star(25.3, 24.6)
    image[5, 5] = 1e5
    found = floating_window(image)
    assert np.hypot(found.x - 25.3, found.y - 24.6) < 2e-3


def test_floating_window_region():
    image = star(12.4, 13.2) + star(40.3, 35.1, flux=5e4)
    found = floating_window(image, region=(slice(2, 25), slice(3, 27)))
    assert (found.x, found.y) == pytest.approx((12.4, 13.2), abs=5e-3)


@pytest.mark.parametrize(
    "image",
    [
        np.full((20, 20), np.nan),
        np.zeros((20, 20)),
        np.full((20, 20), 7.0),
        np.random.default_rng(0).normal(0, 1, (60, 60)),
        -star(25.3, 24.6, background=0.0),
    ],
    ids=["NaN", "zero", "constant", "noise", "negative"],
)
def test_floating_window_refuses_image_without_star(image):
    with pytest.raises(CentroidError):
        floating_window(image)


def test_floating_window_refuses_flagged_image_and_other_shapes():
    with pytest.raises(CentroidError, match="no usable pixel"):
        floating_window(star(10, 10), bad=np.ones((48, 52), dtype=bool))
    with pytest.raises(ArgumentError, match="shape"):
        floating_window(np.zeros((3, 4, 5)))
    with pytest.raises(ArgumentError, match="same shape"):
        floating_window(star(10, 10), bad=np.zeros((4, 4), dtype=bool))


def test_floating_window_leaves_input_alone():
    image = star(25.3, 24.6)
    before = image.copy()
    floating_window(image, err=np.ones_like(image), bad=np.zeros(image.shape, dtype=bool))
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("light", [3e3, 1e5])
def test_floating_window_error_is_scatter(light):
    """Also where the window, which follows the error of its mean, makes it half as large again."""
    from xta import datasets

    rng = np.random.default_rng(3)
    ideal = light * datasets.psf("nircam", x=35.52, y=34.33, shape=(64, 64)) + 5
    err = np.sqrt(ideal + 144)
    found = [floating_window(ideal + err * rng.standard_normal(ideal.shape), err=err) for _ in range(200)]
    scatter = np.std([(one.x, one.y) for one in found], axis=0)
    said = np.median([(one.x_err, one.y_err) for one in found], axis=0)
    assert scatter == pytest.approx(said, rel=0.2)


def test_floating_window_error_is_propagated():
    """Of a tilted star, with errors that differ: each pixel moves the centroid by its derivative, taken numerically."""
    y, x = np.mgrid[:15, :16]
    i, j = x - 7.3, y - 6.6
    image, err = 1000 * np.exp(-(i**2 / 8 + j**2 / 5 + i * j / 6)), 1 + 0.3 * np.sin(x) + 0.2 * np.cos(2 * y)
    variance, step = np.zeros(2), 0.01
    for pixel in np.ndindex(image.shape):
        change = np.zeros(image.shape)
        change[pixel] = step
        high, low = (floating_window(image + sign * change) for sign in (1, -1))
        variance += (np.array([high.x - low.x, high.y - low.y]) / (2 * step) * err[pixel]) ** 2
    found = floating_window(image, err=err)
    assert (found.x_err, found.y_err) == pytest.approx(np.sqrt(variance), rel=0.02)


@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize("end", ["low", "high"])
def test_floating_window_rests_inside_image(axis, end):
    """Two lights of other signs have their center beyond both; it may be half a pixel beyond the last one's."""

    def star_and_hole(hole):
        line = np.zeros(20)
        line[[15, 16, 5]] = 20, 20, -hole
        image = np.zeros((24, 20))
        image[11] = line if end == "high" else line[::-1]
        return image if axis == "x" else image.T

    center = (15.5 * 40 - 5 * 10.83) / (40 - 10.83)
    assert 19.3 < center < 19.5
    found = floating_window(star_and_hole(10.83), window=99)
    assert getattr(found, axis) == pytest.approx(center if end == "high" else 19 - center)
    with pytest.raises(CentroidError, match="converge"):
        floating_window(star_and_hole(11.2), window=99)


@pytest.mark.parametrize(("flagged", "usable"), [(7, True), (10, False)])
def test_floating_window_takes_a_tenth_of_its_pixels_flagged(flagged, usable):
    """Of the 81 pixels of a window on a pixel's center; their errors may be as many."""
    image, corner = star(25, 24), np.zeros((48, 52), dtype=bool)
    corner[[20] * 5 + [21] * 5, [*range(21, 26)] * 2] = np.arange(10) < flagged
    found = floating_window(image, err=np.where(corner, np.nan, 1.0))
    assert np.isfinite([found.x_err, found.y_err]).all() == usable
    if usable:
        assert floating_window(image, bad=corner).x == pytest.approx(25, abs=0.05)
    else:
        with pytest.raises(CentroidError, match="flagged"):
            floating_window(image, bad=corner)
