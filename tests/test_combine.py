"""Frames combined into one image: values, errors against the scatter of drawn values, flags."""

import numpy as np
import pytest

from xta.errors import ArgumentError
from xta.images import combine

PIXELS = 200_000


@pytest.fixture
def rng():
    return np.random.default_rng(2)


def drawn(rng, n, *, spread=0.5):
    """Normal values (n, pixels) with errors that differ between pixels and, by `spread`, between frames."""
    err = rng.uniform(1, 3, PIXELS) * rng.uniform(1 - spread, 1 + spread, (n, PIXELS))
    return rng.normal(10, err), err


@pytest.mark.parametrize("n", [1, 2, 3, 10])
def test_combine_mean_pulls(rng, n):
    frames, err = drawn(rng, n)
    used = rng.uniform(size=frames.shape) > 0.2
    image, error = combine.combine(frames, used), combine.combine_error(err, used)
    good = used.any(axis=0)
    assert np.isnan(image[~good]).all()
    assert np.isnan(error[~good]).all()
    pulls = (image[good] - 10) / error[good]
    print(f"mean of {n}: pulls {pulls.mean():+.4f} +- {pulls.std():.4f}")
    assert pulls.std() == pytest.approx(1, abs=0.01)
    assert pulls.mean() == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 15, 40])
def test_combine_median_pulls(rng, n):
    frames, err = drawn(rng, n, spread=0)
    used = rng.uniform(size=frames.shape) > 0.1
    image = combine.combine(frames, used, method="median")
    error = combine.combine_error(err, used, method="median")
    expected = np.ma.median(np.ma.array(frames, mask=~used), axis=0)
    np.testing.assert_allclose(image[used.any(axis=0)], expected.compressed())
    pulls = ((image - 10) / error)[used.any(axis=0)]
    print(f"median of {n}: pulls {pulls.mean():+.4f} +- {pulls.std():.4f}")
    assert pulls.std() == pytest.approx(1, abs=0.01)


def test_combine_sigma_clip_pulls(rng):
    frames, err = drawn(rng, 20, spread=0)
    hit = rng.uniform(size=PIXELS) < 0.5
    frames[7, hit] += 100 * err[7, hit]
    used = combine.select(frames, np.zeros(frames.shape, bool), method="sigma_clip")
    assert not used[7, hit].any()
    print(f"good values clipped: {1 - used[:, ~hit].mean():.4f}")
    assert used[:, ~hit].mean() > 0.99
    pulls = (combine.combine(frames, used) - 10) / combine.combine_error(err, used)
    print(f"clipped mean of 20: pulls {pulls.mean():+.4f} +- {pulls.std():.4f}")
    assert pulls.std() == pytest.approx(1, abs=0.03)
    assert pulls.mean() == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(
    ("n", "variance"),
    # Variances of the median of n standard normal values, tables of Sarhan and Greenberg (1962).
    [(2, 0.5), (3, 0.4487), (4, 0.2982), (5, 0.2868), (6, 0.2147), (7, 0.2104), (9, 0.1661), (10, 0.1383)],
)
def test_median_efficiency_published(n, variance):
    assert combine.median_efficiency(n) / n == pytest.approx(variance, abs=6e-5)


@pytest.mark.parametrize("n", [combine.LARGE - 2, combine.LARGE - 1])
def test_median_efficiency_goes_over_into_expansion(n):
    assert combine.median_efficiency(n) == pytest.approx(combine.median_efficiency(n + 2), rel=1e-3)
    assert combine.median_efficiency(10**6) == pytest.approx(np.pi / 2, rel=1e-5)


@pytest.mark.parametrize("kind", ["f4", "f8", "i2"])
def test_combine_type(kind):
    frames = np.arange(12).reshape(3, 4).astype(kind)
    used = np.ones(frames.shape, bool)
    expected = np.float32 if kind == "f4" else np.float64
    assert combine.combine(frames, used).dtype == combine.combine_error(frames, used).dtype == expected


def test_combine_flags_of_used_frames():
    flags = np.array([[4, 1, 1 | 8], [2, 16, 1], [0, 1, 1 | 2]], dtype=np.uint32)
    used = (flags & 1) == 0
    used[1, 0] = False  # clipped
    assert combine.combine_flags(flags, used).tolist() == [4, 16, 1 | 8 | 2]
    assert combine.combine_flags(flags, used).dtype == np.uint32


def test_select_refuses_method():
    with pytest.raises(ArgumentError, match="average"):
        combine.select(np.ones((2, 2)), np.zeros((2, 2), bool), method="average")


def test_select_leaves_bad_out_and_input_unchanged():
    frames = np.full((12, 2), 1.0)
    frames[3] = np.nan
    before = frames.copy()
    used = combine.select(frames, ~np.isfinite(frames), method="sigma_clip")
    assert used.sum() == 22
    np.testing.assert_array_equal(frames, before)
