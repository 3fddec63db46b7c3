"""Resampling of stacks: where the star comes to lie, what is conserved, and how far faults spread."""

import tracemalloc
import warnings

import numpy as np
import pytest
import scipy.fft
import scipy.ndimage
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from xta.errors import ArgumentError, RecenterError, XtaError
from xta.images.shift import METHODS, fill_bad, resample, resample_dq, resample_variance

INTERPOLATING = ("fourier", "spline", "lanczos")
ALL = pytest.mark.parametrize("method", METHODS)
MOST = pytest.mark.parametrize("method", INTERPOLATING)
phase = st.floats(-0.5, 0.5).map(lambda shift: round(shift, 5))  # a shift below 1e-6 counts as none


def star(x, y, sigma, *, shape):
    rows, columns = np.indices(shape)
    return np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))


def moments(image):
    rows, columns = np.indices(image.shape)
    total = image.sum()
    return (image * columns).sum() / total, (image * rows).sum() / total


def fitted(image, sigma):
    """Position of a star of known width by least squares, linear about the center of the image."""
    cy, cx = (np.array(image.shape) - 1) / 2
    rows, columns = np.indices(image.shape)
    model = star(cx, cy, sigma, shape=image.shape)
    terms = [model, model * (columns - cx) / sigma**2, model * (rows - cy) / sigma**2]
    scale, dx, dy = np.linalg.lstsq(np.stack([t.ravel() for t in terms]).T, image.ravel())[0]
    return cx + dx / scale, cy + dy / scale


def noise(*shape, seed=0, dtype=float):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


# --- where the star comes to lie ---


@pytest.mark.parametrize(("method", "bar"), [("fourier", 1e-6), ("spline", 4e-4), ("lanczos", 7e-4)])
@given(dx=phase, dy=phase, sigma=st.floats(1.3, 2.5), size=st.sampled_from([(64, 64), (61, 70), (70, 61)]))
@settings(max_examples=60, deadline=None)
def test_resample_star_to_central_pixel(method, bar, dx, dy, sigma, size):
    x0, y0 = size[1] // 2 + dx, size[0] // 2 + dy
    cube = resample(star(x0, y0, sigma, shape=size), x0=x0, y0=y0, shape=(35, 37), method=method)
    for (x, y), limit in ((moments(cube), 2e-4), (fitted(cube, sigma), bar)):
        assert np.hypot(x - 18, y - 17) < limit
    assert np.unravel_index(cube.argmax(), cube.shape) == (17, 18)


@given(dx=phase, dy=phase)
@settings(max_examples=30, deadline=None)
def test_resample_integer_star_within_half_pixel(dx, dy):
    x0, y0 = 30 + dx, 31 + dy
    cube = resample(star(x0, y0, 1.5, shape=(64, 64)), x0=x0, y0=y0, shape=(35, 37), method="integer")
    x, y = moments(cube)
    assert max(abs(x - 18), abs(y - 17)) <= 0.5 + 1e-6


@pytest.mark.parametrize(("method", "bar"), [("fourier", 2e-4), ("spline", 3e-3), ("lanczos", 1e-2)])
def test_resample_keeps_shape_of_star(method, bar):
    expected = star(15, 15, 1.3, shape=(31, 31))
    for dx, dy in [(0.5, 0.5), (0.5, -0.2), (0.1, 0.3)]:
        frame = star(32 + dx, 30 + dy, 1.3, shape=(65, 64))
        moved = resample(frame, x0=32 + dx, y0=30 + dy, shape=(31, 31), method=method)
        assert np.abs(moved - expected).max() < bar


@MOST
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_resample_conserves_signal(method, dtype):
    frame = (5e4 * star(40.3, 37.8, 1.8, shape=(80, 77))).astype(dtype)
    moved = resample(frame, x0=40.3, y0=37.8, shape=(61, 61), method=method)
    assert moved.sum(dtype=float) == pytest.approx(frame.sum(dtype=float), rel=1e-6)


@MOST
@given(dx=phase, dy=phase)
@settings(max_examples=10, deadline=None)
def test_resample_keeps_constant_and_slope(method, dx, dy):
    flat = resample(np.full((40, 50), 7.5), x0=20 + dx, y0=20 + dy, shape=(31, 31), method=method)
    np.testing.assert_allclose(flat, 7.5, rtol=1e-9)
    rows, columns = np.indices((120, 130))
    slope = resample(2.0 * rows - columns, x0=60 + dx, y0=55 + dy, shape=(109, 109), method=method)
    down, right = np.indices((109, 109)) - 54.0
    expected = 2 * (55 + dy + down) - (60 + dx + right)
    np.testing.assert_allclose(slope, expected, atol=1e-3 if method == "fourier" else 1e-9)


def test_resample_lanczos_keeps_polynomials():
    x = np.arange(60.0)
    frame = np.tile(((x - 30) / 10) ** 5, (9, 1))
    moved = resample(frame, x0=30.37, y0=4, shape=(1, 41), method="lanczos")
    np.testing.assert_allclose(moved[0], ((np.arange(-20, 21) + 0.37) / 10) ** 5, atol=1e-12)


# --- against other implementations ---


def shifted_by_phase(frame, dx, dy):
    """One frame at positions moved by (dx, dy), with scipy's fourier_shift on the documented extension."""
    for axis, shift in ((0, dy), (1, dx)):
        size = frame.shape[axis]
        extra = scipy.fft.next_fast_len(size + 64, real=True) - size
        line = np.moveaxis(frame, axis, 0)
        wide = np.pad(line, ((extra, extra), (0, 0)), mode="reflect", reflect_type="odd")
        blend = (np.arange(1, extra + 1) / (extra + 1))[:, None]
        blend = 6 * blend**5 - 15 * blend**4 + 10 * blend**3
        closed = np.concatenate([line, (1 - blend) * wide[size + extra :] + blend * wide[:extra]])
        moved = np.fft.ifftn(scipy.ndimage.fourier_shift(np.fft.fftn(closed), (-shift, 0))).real
        frame = np.moveaxis(moved[:size], 0, axis)
    return frame


@given(dx=phase, dy=phase, size=st.sampled_from([(70, 83), (71, 96), (96, 101)]), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_resample_fourier_agrees_with_loop(dx, dy, size, seed):
    stack = noise(3, *size, seed=seed)
    x0, y0 = 35 + dx, 34 + dy
    moved = resample(stack, x0=x0, y0=y0, shape=(65, 67))
    for frame, result in zip(stack, moved, strict=True):
        expected = shifted_by_phase(frame, dx, dy)[34 - 32 : 34 + 33, 35 - 33 : 35 + 34]
        np.testing.assert_allclose(result, expected, atol=1e-10)


@given(dx=phase, dy=phase)
@settings(max_examples=15, deadline=None)
def test_resample_fourier_agrees_with_zero_padded_loop(dx, dy):
    frame = star(33, 30, 2.2, shape=(64, 65))
    moved = resample(frame, x0=33 + dx, y0=30 + dy, shape=(41, 41))
    wide = np.fft.fftn(np.pad(frame, 30))
    expected = np.fft.ifftn(scipy.ndimage.fourier_shift(wide, (-dy, -dx))).real[40:81, 43:84]
    np.testing.assert_allclose(moved, expected, atol=1e-8)


@given(dx=phase, dy=phase, seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_resample_spline_agrees_with_scipy(dx, dy, seed):
    frame = noise(80, 91, seed=seed)
    moved = resample(frame, x0=45 + dx, y0=40 + dy, shape=(21, 25), method="spline")
    expected = scipy.ndimage.shift(frame, (-dy, -dx), order=5, mode="mirror")[30:51, 33:58]
    np.testing.assert_allclose(moved, expected, atol=1e-9)


# --- whole-pixel shifts, crops and pads ---


@ALL
@given(
    x0=st.integers(-8, 30),
    y0=st.integers(-8, 30),
    half=st.tuples(st.integers(0, 20), st.integers(0, 20)),
    size=st.sampled_from([(16, 23), (17, 22)]),
    dtype=st.sampled_from([np.float32, np.float64]),
)
@settings(max_examples=40, deadline=None)
def test_resample_whole_shift_is_slice(method, x0, y0, half, size, dtype):
    stack = noise(2, *size, dtype=dtype)
    shape = (2 * half[0] + 1, 2 * half[1] + 1)
    margin = 60
    wide = np.pad(stack, ((0, 0), (margin, margin), (margin, margin)), constant_values=np.nan)
    top, left = margin + y0 - half[0], margin + x0 - half[1]
    expected = wide[:, top : top + shape[0], left : left + shape[1]]
    if np.isnan(expected).all():
        with pytest.raises(RecenterError, match="no pixel inside"):
            resample(stack, x0=x0, y0=y0, shape=shape, method=method)
        return
    result = resample(stack, x0=x0, y0=y0, shape=shape, method=method)
    assert result.tobytes() == np.ascontiguousarray(expected).tobytes()
    variance = resample_variance(stack**2, x0=x0, y0=y0, shape=shape, method=method)
    np.testing.assert_array_equal(variance, expected**2)


@MOST
def test_resample_axis_with_whole_shift(method):
    stack = noise(2, 40, 30)
    x_only = resample(stack, x0=15.3, y0=20, shape=(11, 9), method=method)
    changed = stack.copy()
    changed[:, 21] = 1e6
    again = resample(changed, x0=15.3, y0=20, shape=(11, 9), method=method)
    others = np.arange(11) != 6
    np.testing.assert_allclose(again[:, others], x_only[:, others], atol=1e-12)
    turned = resample(stack.swapaxes(1, 2), x0=20, y0=15.3, shape=(9, 11), method=method)
    np.testing.assert_allclose(turned.swapaxes(1, 2), x_only, atol=1e-12)


def test_resample_rounding_error_is_no_shift():
    frame = noise(20, 20)
    result = resample(frame, x0=0.1 * 3 * 30 + 1e-9, y0=10, shape=(3, 3))
    np.testing.assert_array_equal(result, frame[9:12, 8:11])


@MOST
def test_resample_output_larger_than_input(method):
    stack = noise(2, 12, 15)
    result = resample(stack, x0=6.4, y0=5.7, shape=(41, 45), method=method, fill=-99.0)
    rows, columns = np.arange(41) - 20 + 5.7, np.arange(45) - 22 + 6.4
    inside = ((rows >= 0) & (rows <= 11))[:, None] & ((columns >= 0) & (columns <= 14))
    np.testing.assert_array_equal(result != -99.0, np.broadcast_to(inside, result.shape))


# --- edges ---


@pytest.mark.parametrize(("sigma", "bar"), [(1.0, 2e-5), (1.3, 2e-6), (1.5, 1e-6), (2.0, 1e-6)])
@MOST
def test_resample_source_at_edge_stays_there(method, sigma, bar):
    flux = 2 * np.pi * sigma**2
    for x in np.arange(90, 101, 0.53):
        for y, x0, y0 in [(40.2, 80.43, 50.37), (0.3, 80.5, 50.5), (98.9, 79.9, 49.8)]:
            moved = resample(star(x, y, sigma, shape=(100, 100)), x0=x0, y0=y0, shape=(151, 151), method=method)
            column = np.arange(151) - 75 + x0
            assert np.nanmax(np.abs(moved[:, column < 50])) < bar * flux


@MOST
def test_resample_edges_of_slope_do_not_ring(method):
    rows, columns = np.indices((100, 100))
    background = 100.0 + 0.5 * columns + 0.2 * rows
    moved = resample(background, x0=49.5, y0=49.5, shape=(99, 99), method=method)
    expected = 100 + 0.5 * (columns + 0.5) + 0.2 * (rows + 0.5)
    np.testing.assert_allclose(moved, expected[:99, :99], atol=1e-3)


# --- bad pixels ---


def core_of(x, y, *, x0, y0, shape):
    """The output pixels whose position is less than a pixel away along both axes."""
    rows, columns = np.indices(shape)
    px, py = columns - (shape[1] - 1) / 2 + x0, rows - (shape[0] - 1) / 2 + y0
    return (np.abs(px - x) < 1 - 1e-6) & (np.abs(py - y) < 1 - 1e-6)


@ALL
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
@given(
    x=st.integers(0, 39),
    y=st.integers(0, 41),
    dx=st.sampled_from([0, 0.013, 0.5, -0.31]),
    dy=st.sampled_from([0, 0.5, 0.27, -0.49]),
)
@settings(max_examples=8, deadline=None)
def test_resample_bad_pixel_masks_its_core(method, value, x, y, dx, dy):
    clean = (star(18, 19, 4, shape=(42, 40)) + 1).astype(np.float32)
    x0, y0, shape = 20 + dx, 21 + dy, (45, 47)
    before = resample(clean, x0=x0, y0=y0, shape=shape, method=method)
    broken = clean.copy()
    broken[y, x] = value
    after = resample(broken, x0=x0, y0=y0, shape=shape, method=method)
    at = (np.floor(x0 + 0.5), np.floor(y0 + 0.5)) if method == "integer" else (x0, y0)
    core = core_of(x, y, x0=at[0], y0=at[1], shape=shape)
    np.testing.assert_array_equal(np.isnan(after), np.isnan(before) | core)
    replaced = abs(float(fill_bad(broken)[y, x]) - clean[y, x])
    kept = ~np.isnan(after)
    # At an edge the weight of the pixel's reflection comes on top.
    assert np.abs(after[kept] - before[kept]).max() <= 0.75 * replaced + 1e-6


@ALL
def test_resample_ignores_value_under_mask(method):
    stack = noise(3, 40, 40) + 100
    bad = np.random.default_rng(1).random(stack.shape) < 0.05
    other = np.where(bad, 1e7, stack)
    grid = {"x0": 18.7, "y0": 20.2, "shape": (31, 31), "method": method, "bad": bad}
    np.testing.assert_array_equal(resample(stack, **grid), resample(other, **grid))
    np.testing.assert_array_equal(resample_variance(stack, **grid), resample_variance(other, **grid))


@ALL
def test_resample_mask_agrees_with_flags(method):
    stack, variance = noise(3, 40, 40), np.ones((3, 40, 40))
    dq = (np.random.default_rng(1).random(stack.shape) < 0.03).astype(np.uint32)
    grid = {"x0": 11.7, "y0": 30.2, "shape": (45, 45), "method": method}
    flagged = resample_dq(dq, **grid) & 1 != 0
    assert 0 < flagged.mean() < 1
    np.testing.assert_array_equal(np.isnan(resample(stack, bad=dq != 0, **grid)), flagged)
    np.testing.assert_array_equal(np.isnan(resample_variance(variance, bad=dq != 0, **grid)), flagged)


def test_resample_one_mask_for_all_frames():
    stack = noise(2, 3, 20, 20)
    mask = np.zeros((20, 20), dtype=bool)
    mask[4:7, 10] = True
    grid = {"x0": 9.7, "y0": 9.2, "shape": (15, 15)}
    whole = np.broadcast_to(mask, stack.shape)
    np.testing.assert_array_equal(resample(stack, bad=mask, **grid), resample(stack, bad=whole, **grid))


@ALL
def test_resample_frame_without_good_pixels(method):
    stack = noise(3, 30, 30)
    stack[1] = np.nan
    grid = {"x0": 14.6, "y0": 15.3, "shape": (21, 21), "method": method}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = resample(stack, **grid)
        error = resample_variance(stack**2, **grid)
    assert np.isnan(result[1]).all()
    assert np.isnan(error[1]).all()
    np.testing.assert_array_equal(result[::2], resample(stack[::2], **grid))


def test_fill_bad_deep_hole_follows_rim():
    hole = np.ones((3, 40, 50))
    hole[:, :, 25:] = 3
    hole[1, 5:35, 10:45] = np.nan
    filled = fill_bad(hole)
    np.testing.assert_array_equal(filled[::2], hole[::2])
    assert filled[1, 20, 12] == pytest.approx(1)
    assert filled[1, 20, 43] == pytest.approx(3)
    assert np.isnan(hole[1, 5:35, 10:45]).all()


def filled_ring_by_ring(frame, bad):
    frame, bad = np.where(bad, 0, frame), bad.copy()
    while bad.any() and not bad.all():
        means = {}
        for y, x in zip(*np.nonzero(bad), strict=True):
            pairs = [
                (frame[v, u], 1 if v == y or u == x else 0.5)
                for v in range(max(0, y - 1), min(len(frame), y + 2))
                for u in range(max(0, x - 1), min(frame.shape[1], x + 2))
                if not bad[v, u]
            ]
            if pairs:
                values, weights = zip(*pairs, strict=True)
                means[y, x] = np.average(values, weights=weights)
        for at, mean in means.items():
            frame[at], bad[at] = mean, False
    return frame


@given(seed=st.integers(0, 999), share=st.sampled_from([0.02, 0.3, 0.7, 0.95, 1]), box=st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_fill_bad_ring_by_ring(seed, share, box):
    random = np.random.default_rng(seed)
    stack = random.normal(size=(2, 9, 11))
    bad = random.random(stack.shape) < share
    bad[0, 3 : 3 + box, 1 : 1 + box] = True
    expected = [filled_ring_by_ring(*of_frame) for of_frame in zip(stack, bad, strict=True)]
    np.testing.assert_allclose(fill_bad(stack, bad=bad), expected, atol=1e-12)


# --- variance ---


@ALL
@pytest.mark.parametrize(("dx", "dy"), [(0.5, 0.5), (0.13, -0.37), (0.5, 0), (-0.25, 0.08)])
def test_resample_variance_is_scatter_of_noise(method, dx, dy):
    sigma = 1 + 0.5 * np.cos(np.arange(44) / 6)[:, None] * np.sin(np.arange(41) / 5)
    grid = {"x0": 20 + dx, "y0": 21 + dy, "shape": (45, 45), "method": method}
    predicted = np.sqrt(resample_variance(sigma**2, **grid))
    scatter = np.concatenate([resample(sigma * noise(500, 44, 41, seed=s), **grid) for s in range(6)]).std(axis=0)
    np.testing.assert_array_equal(np.isnan(predicted), np.isnan(scatter))
    ratio = predicted / scatter  # of 3000 frames: 1.3 % of noise in one pixel
    assert np.nanmean(ratio) == pytest.approx(1, abs=0.015 if method == "fourier" else 0.003)
    assert np.nanmax(np.abs(ratio - 1)) < 0.08


@pytest.mark.parametrize(("method", "bar"), [("fourier", 5e-3), ("spline", 1e-9), ("lanczos", 1e-9)])
def test_resample_variance_squares_weights(method, bar):
    pixel = np.zeros((91, 90))
    pixel[44, 46] = 1
    grid = {"x0": 46.2, "y0": 43.6, "shape": (21, 21), "method": method}
    np.testing.assert_allclose(resample_variance(pixel, **grid), resample(pixel, **grid) ** 2, atol=bar)


def test_resample_variance_of_white_noise():
    for x0 in (100.5, 100.1, 99.73):
        variance = resample_variance(np.ones((200, 200)), x0=x0, y0=100.4, shape=(31, 31))
        np.testing.assert_allclose(variance, 1, rtol=1e-12)


@ALL
@given(seed=st.integers(0, 999), dx=phase, dy=phase, decades=st.floats(0, 30))
@settings(max_examples=20, deadline=None)
def test_resample_variance_is_never_negative(method, seed, dx, dy, decades):
    random = np.random.default_rng(seed)
    variance = (10 ** random.uniform(-decades, 0, size=(2, 30, 31))).astype(np.float32)
    result = resample_variance(variance, x0=15 + dx, y0=14 + dy, shape=(41, 41), method=method)
    assert np.nanmin(result) >= 0


def test_resample_variance_of_spline_is_smaller():
    result = resample_variance(np.ones((99, 99)), x0=49.5, y0=49, shape=(1, 1), method="spline")
    assert result == pytest.approx(0.84, abs=0.005)


def test_fill_bad_weights_sides_and_corners():
    filled = fill_bad([[1.0, 2.0, 3.0], [4.0, np.nan, 6.0]])
    np.testing.assert_array_equal(filled, [[1, 2, 3], [4, 3.5, 6]])


def test_resample_dq_between_two_pixels():
    dq = np.array([[0, 0, 4], [2, 0, 0], [0, 0, 0]], dtype=np.uint32)
    np.testing.assert_array_equal(resample_dq(dq, x0=0.5, y0=1, shape=(1, 3)), [[1, 2, 0]])


def test_resample_variance_negative_is_bad():
    variance = np.ones((30, 30))
    variance[12, 13] = -1
    bad = np.zeros((30, 30), dtype=bool)
    bad[12, 13] = True
    grid = {"x0": 14.5, "y0": 14.5, "shape": (21, 21)}
    expected = resample_variance(np.ones((30, 30)), bad=bad, **grid)
    assert np.isnan(expected).sum() == 4
    np.testing.assert_array_equal(resample_variance(variance, **grid), expected)
    np.testing.assert_array_equal(resample_variance(variance, bad=~np.ones(30, dtype=bool), **grid), expected)


# --- flags ---


@ALL
@given(
    x0=st.integers(0, 9),
    y0=st.integers(0, 8),
    dx=st.sampled_from([0, 0.2, 0.5, -0.3]),
    dy=st.sampled_from([0, 0.4, -0.1]),
    dtype=st.sampled_from([np.uint32, np.int32, np.uint8, ">u4"]),
)
@settings(max_examples=40, deadline=None)
def test_resample_dq_flags_of_core(method, x0, y0, dx, dy, dtype):
    dq = (2 ** np.random.default_rng(3).integers(1, 7, size=(2, 9, 10))).astype(dtype)
    shape = (7, 9)
    result = resample_dq(dq, x0=x0 + dx, y0=y0 + dy, shape=shape, method=method, outside=65)
    assert result.dtype == np.dtype(dtype).newbyteorder("=")
    for row, column in np.ndindex(shape):
        x, y = x0 + dx + column - 4, y0 + dy + row - 3
        if method == "integer":
            x, y = np.floor(x + 0.5), np.floor(y + 0.5)
        columns = range(int(np.floor(x + 1e-6)), int(np.ceil(x - 1e-6)) + 1)
        rows = range(int(np.floor(y + 1e-6)), int(np.ceil(y - 1e-6)) + 1)
        expected = np.full(2, 65)
        if min(*columns, *rows) >= 0 and max(columns) < 10 and max(rows) < 9:
            expected = np.bitwise_or.reduce([dq[:, r, c] for r in rows for c in columns])
        np.testing.assert_array_equal(result[:, row, column], expected)


# --- arrays in, arrays out ---


@ALL
@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("f4", "f4"), ("f8", "f8"), (">f4", "f4"), (">f8", "f8"), ("i2", "f8"), ("u4", "f8"), ("f2", "f4")],
)
def test_resample_types(method, dtype, expected):
    stack = (10 * noise(2, 12, 13) + 50).astype(dtype)
    for function in (resample, resample_variance):
        result = function(stack, x0=6.3, y0=5.2, shape=(9, 9), method=method)
        assert result.dtype == np.dtype(expected)
        np.testing.assert_allclose(
            result, function(stack.astype(float), x0=6.3, y0=5.2, shape=(9, 9), method=method), rtol=2e-6
        )


@MOST
def test_resample_float32_is_accurate(method):
    stack = (1e4 * star(50.2, 49.7, 1.5, shape=(100, 100)) + noise(4, 100, 100) + 5).astype(np.float32)
    grid = {"x0": 50.2, "y0": 49.7, "shape": (81, 81), "method": method}
    single, double = resample(stack, **grid), resample(stack.astype(float), **grid)
    assert np.abs(single - double).max() < 1e-6 * double.max()
    np.testing.assert_allclose(
        resample_variance(stack**2, **grid), resample_variance(stack.astype(float) ** 2, **grid), rtol=1e-5
    )


@ALL
def test_resample_leaves_inputs_alone(method):
    whole = noise(4, 30, 64)
    whole[0, 3, 4] = np.nan
    stack, bad = whole[::2, :, ::2], np.zeros((2, 30, 32), dtype=bool)
    bad[1, 5, 6] = True
    dq = bad.astype(np.uint32)
    kept = whole.copy(), bad.copy(), dq.copy()
    for array in (whole, stack, bad, dq):
        array.flags.writeable = False
    for x0 in (15, 15.3):
        grid = {"x0": x0, "y0": 14, "shape": (21, 21), "method": method}
        results = [
            resample(stack, bad=bad, **grid),
            resample_variance(stack, bad=bad, **grid),
            resample_dq(dq, **grid),
            fill_bad(stack, bad=bad),
        ]
        for result in results:
            assert result.flags.writeable
            assert not any(np.shares_memory(result, array) for array in (whole, bad, dq))
        np.testing.assert_array_equal(results[0], resample(stack.copy(), bad=bad, **grid))
    for before, now in zip(kept, (whole, bad, dq), strict=True):
        np.testing.assert_array_equal(now, before)
    assert not np.shares_memory(fill_bad(kept[0][1:]), kept[0])


@pytest.mark.parametrize("lead", [(), (1,), (3,), (2, 3), (0,)])
def test_resample_leading_dimensions(lead):
    stack = noise(*lead, 12, 13)
    for function in (resample, resample_variance):
        result = function(np.abs(stack), x0=6.3, y0=5.2, shape=(9, 7))
        assert result.shape == (*lead, 9, 7)
    assert resample_dq(stack.astype(np.int64), x0=6.3, y0=5.2, shape=(9, 7)).shape == (*lead, 9, 7)
    assert fill_bad(stack).shape == stack.shape


@ALL
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_resample_bits_do_not_depend_on_grouping(method, dtype):
    stack = noise(23, 101, 90, dtype=dtype)
    stack[np.random.default_rng(5).random(stack.shape) < 0.002] = np.nan
    grid = {"x0": 44.3, "y0": 50.8, "shape": (89, 89), "method": method}
    for function, values in ((resample, stack), (resample_variance, stack**2)):
        together = function(values, **grid)
        for workers in (2, 3):
            assert function(values, workers=workers, **grid).tobytes() == together.tobytes()
        assert np.stack([function(frame, **grid) for frame in values]).tobytes() == together.tobytes()


def test_resample_dask_same_bits():
    stack = xr.DataArray(noise(6, 40, 42, dtype=np.float32), dims=("integration", "y", "x"))
    options = {
        "kwargs": {"x0": 20.3, "y0": 19.6, "shape": (31, 33)},
        "input_core_dims": [["y", "x"]],
        "output_core_dims": [["y", "x"]],
        "exclude_dims": {"y", "x"},
    }
    eager = xr.apply_ufunc(resample, stack, **options)
    lazy = xr.apply_ufunc(
        resample,
        stack.chunk(integration=2),
        dask="parallelized",
        output_dtypes=[stack.dtype],
        dask_gufunc_kwargs={"output_sizes": {"y": 31, "x": 33}},
        **options,
    )
    assert lazy.compute().values.tobytes() == eager.values.tobytes()


def test_resample_memory_does_not_grow():
    extra = []
    for frames in (50, 200):
        stack = noise(frames, 128, 128, dtype=np.float32)
        resample(stack[:1], x0=63.4, y0=63.3, shape=(121, 121))  # caches
        tracemalloc.start()
        result = resample(stack, x0=63.4, y0=63.3, shape=(121, 121))
        extra.append(tracemalloc.get_traced_memory()[1] - result.nbytes)
        tracemalloc.stop()
    assert extra[1] < 1.1 * extra[0] < 2.5e7


# --- ringing ---


@pytest.mark.parametrize(
    ("method", "near", "far"),
    [("fourier", 0.11, 0.012), ("spline", 0.12, 1e-6), ("lanczos", 0.12, 1e-9), ("integer", 0, 0)],
)
def test_resample_ringing_of_saturated_star(method, near, far):
    rows, columns = np.indices((129, 129))
    radius = np.hypot(rows - 64, columns - 64)
    flat_topped = np.where(radius < 6, 1, 0.3 * (6 / np.maximum(radius, 6)) ** 3)
    moved = resample(flat_topped, x0=64.5, y0=64.5, shape=(101, 101), method=method)
    around = [flat_topped[14 + i : 115 + i, 14 + j : 115 + j] for i in (0, 1) for j in (0, 1)]
    over = np.maximum(np.maximum(moved - np.max(around, axis=0), np.min(around, axis=0) - moved), 0)
    from_core = np.hypot(*(np.indices(moved.shape) - 49.5)) - 6
    assert 0.9 * near <= over.max() <= near
    assert over[from_core > 20].max() <= far


# --- what cannot be done ---


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"shape": (4, 5)}, "no central pixel"),
        ({"shape": (5, 0)}, "no central pixel"),
        ({"shape": (5, -3)}, "no central pixel"),
        ({"shape": (5,)}, "no central pixel"),
        ({"shape": (5, 5.5)}, "no central pixel"),
        ({"x0": np.nan}, "not finite"),
        ({"y0": np.inf}, "not finite"),
        ({"method": "bicubic"}, "no method 'bicubic'; use one of fourier"),
        ({"x0": -20.0}, "no pixel inside the input of 12 x 10"),
        ({"y0": 40.0}, "no pixel inside"),
    ],
)
def test_resample_refuses_bad_grid(changes, match):
    grid = {"x0": 5.0, "y0": 5.0, "shape": (5, 5)} | changes
    stack = np.ones((2, 10, 12))
    for function, values in ((resample, stack), (resample_variance, stack), (resample_dq, stack.astype("u4"))):
        with pytest.raises(XtaError, match=match):
            function(values, **grid)


def test_resample_refuses_bad_arrays():
    grid = {"x0": 5, "y0": 5, "shape": (3, 3)}
    with pytest.raises(ArgumentError, match=r"shape \(10,\).*give frames \(\.\.\., y, x\)"):
        resample(np.ones(10), **grid)
    with pytest.raises(ArgumentError, match=r"shape \(10,\)"):
        fill_bad(np.ones(10))
    with pytest.raises(ArgumentError, match=r"complex128.*real numbers"):
        resample(np.ones((9, 9), dtype=complex), **grid)
    with pytest.raises(ArgumentError, match="boolean mask"):
        resample(np.ones((9, 9)), bad=np.zeros((9, 9), dtype=np.uint32), **grid)
    with pytest.raises(ArgumentError, match=r"\(9, 8\); give a mask that broadcasts"):
        resample(np.ones((9, 9)), bad=np.zeros((9, 8), dtype=bool), **grid)
    with pytest.raises(ArgumentError, match=r"float64.*integer flags"):
        resample_dq(np.ones((9, 9)), **grid)
    with pytest.raises(ArgumentError, match="workers is 0"):
        resample(np.ones((9, 9)), workers=0, **grid)
