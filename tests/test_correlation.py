"""Masked cross-correlation against sums written out, and against positions that are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xta.errors import ArgumentError, CentroidError
from xta.images import correlation as rules
from xta.images.correlation import match_template, normalized_correlation


def blob(x, y, shape):
    """An image of speckles, different along x and y, sampled well, centered on (x, y)."""
    j, i = np.indices(shape, dtype=float)
    i, j = i - x, j - y
    envelope = np.exp(-(i**2 + j**2) / 90)
    return envelope * (1 + np.cos(0.9 * i + 0.2) * np.cos(0.7 * j) + 0.4 * np.sin(1.1 * j - 0.5 * i))


def test_normalized_correlation_by_definition():
    rng = np.random.default_rng(1)
    image, model = rng.normal(7, 1, (9, 8)), rng.normal(-3, 2, (5, 6))
    good, known = rng.random(image.shape) > 0.2, rng.random(model.shape) > 0.2
    correlation, number = normalized_correlation(image, good, model, known)
    assert correlation.shape == (13, 13)
    checked = 0
    for row, column in np.ndindex(correlation.shape):
        f, g = [], []
        for j, i in np.argwhere(known):
            y, x = j + row - 4, i + column - 5
            if 0 <= y < 9 and 0 <= x < 8 and good[y, x]:
                f.append(image[y, x])
                g.append(model[j, i])
        assert number[row, column] == max(len(f), 1)
        if np.isfinite(correlation[row, column]):
            checked += 1
            assert correlation[row, column] == pytest.approx(np.corrcoef(f, g)[0, 1], abs=1e-9)
    assert checked > 40


def test_normalized_correlation_without_structure_is_none():
    """Where all pixels that the two share are alike, there is no coefficient, whatever rounding leaves."""
    image = np.full((40, 40), 7.3)
    image[:9, :9] += 1e3 * blob(4, 4, (9, 9))
    correlation, _ = normalized_correlation(image, image > 0, blob(4, 4, (9, 9)), np.ones((9, 9), dtype=bool))
    assert np.isnan(correlation[17:-8, 17:-8]).all()
    assert np.nanmax(correlation) == pytest.approx(correlation[8, 8]) == pytest.approx(1)


@given(
    x=st.floats(18, 40),
    y=st.floats(18, 30),
    scale=st.floats(1e-3, 1e6),
    level=st.floats(-1e3, 1e3),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=40, deadline=None)
def test_match_template_through_holes(x, y, scale, level, seed):
    """Scale, background and bad pixels do not matter."""
    image = scale * (blob(x, y, (52, 61)) + level)
    holes = np.random.default_rng(seed).random(image.shape) < 0.03
    image[holes] = np.where(np.arange(holes.sum()) % 2, np.nan, 1e9)
    found = match_template(image, blob(16, 15, (31, 33)), bad=holes)
    assert (found.dx + 16, found.dy + 15) == pytest.approx((x, y), abs=3e-3)
    assert found.correlation > 0.9999


def test_match_template_with_holes_in_model():
    model = blob(20, 20, (41, 41))
    model[[3, 15, 30], [8, 12, 33]] = np.nan
    found = match_template(blob(31.27, 29.61, (64, 64)), model)
    assert (found.dx + 20, found.dy + 20) == pytest.approx((31.27, 29.61), abs=2e-3)


def test_match_template_with_larger_model():
    found = match_template(blob(14.3, 16.9, (32, 32)), blob(40, 40, (81, 81)))
    assert (found.dx + 40, found.dy + 40) == pytest.approx((14.3, 16.9), abs=1e-3)


def test_match_template_error_is_scatter():
    rng = np.random.default_rng(3)
    image, model, err = blob(25.3, 24.6, (50, 50)), blob(15, 15, (31, 31)), np.full((50, 50), 0.1)
    found = [match_template(image + rng.normal(0, 0.1, image.shape), model, err=err) for _ in range(60)]
    for name, axis, truth in (("x_err", "dx", 10.3), ("y_err", "dy", 9.6)):
        values = np.array([getattr(one, axis) for one in found])
        sigma = np.mean([getattr(one, name) for one in found])
        assert abs(values.mean() - truth) < 5 * sigma / np.sqrt(60)
        assert 0.75 < values.std() / sigma < 1.3
    assert np.mean([one.chi2 for one in found]) == pytest.approx(1, abs=0.05)


def test_match_template_error_of_poor_model():
    err = np.full((50, 50), 0.01)
    image = blob(25.3, 24.6, (50, 50))
    good = match_template(image, blob(15, 15, (31, 31)), err=err)
    poor = match_template(image, blob(15, 15, (31, 31)) ** 2, err=err)
    assert poor.chi2 > 10 > 1 > good.chi2
    assert poor.x_err > 3 * good.x_err
    assert poor.correlation < good.correlation
    assert np.isnan(match_template(image, blob(15, 15, (31, 31))).x_err)


def test_match_template_faults():
    image, model = blob(25, 24, (50, 50)), blob(15, 15, (31, 31))
    with pytest.raises(ArgumentError, match="no usable pixel"):
        match_template(np.full((9, 9), np.nan), model)
    with pytest.raises(ArgumentError, match="same shape"):
        match_template(image[0], model)
    with pytest.raises(ArgumentError, match="same shape"):
        match_template(image, model, bad=np.zeros((3, 3), bool))
    with pytest.raises(ArgumentError, match="the same shape"):
        match_template(image, model, err=np.ones((3, 3)))
    with pytest.raises(ArgumentError, match="nothing to correlate"):
        match_template(np.ones((50, 50)), model)
    with pytest.raises(ArgumentError, match="upsample is 0"):
        match_template(image, model, upsample=0)


@pytest.mark.parametrize("move", [(3, 0), (-3, 0), (0, 3), (0, -3)])
def test_fine_refuses_maximum_farther_than_a_pixel(move):
    shape, good = (31, 33), np.ones((31, 33), dtype=bool)
    near, far = blob(16.4, 14.7, shape), blob(16 + move[0], 15 + move[1], shape)
    near, far = (rules._overlap(image, good, blob(16, 15, shape), good, 0, 0)[1:] for image in (near, far))
    assert rules._fine(*near, 20)[:2] == pytest.approx((0.4, -0.3), abs=2e-3)
    with pytest.raises(CentroidError, match="maximum"):
        rules._fine(*far, 20)


def test_overlap_leaves_out_margin_and_surroundings_of_holes():
    """Four pixels at each edge, a quarter of a narrow overlap, and two pixels about a hole of the model."""
    for shape, margin in (((21, 30), (4, 4)), ((9, 30), (2, 4)), ((30, 6), (4, 1))):
        good = np.ones(shape, dtype=bool)
        use = rules._overlap(np.zeros(shape), good, np.zeros(shape), good, 0, 0)[2]
        expected = np.zeros(shape, dtype=bool)
        expected[margin[0] : -margin[0], margin[1] : -margin[1]] = True
        np.testing.assert_array_equal(use, expected)
    valid = np.ones((21, 30), dtype=bool)
    valid[10, 15] = False
    use = rules._overlap(np.zeros(valid.shape), valid, np.zeros(valid.shape), valid, 0, 0)[2]
    assert np.argwhere(~use[4:-4, 4:-4]).tolist() == [
        [6 + j, 11 + i] for j in range(-2, 3) for i in range(-2, 3) if abs(i) + abs(j) <= 2
    ]


@pytest.mark.parametrize("err", [0.0, np.nan, np.inf, -1.0])
def test_match_template_without_usable_errors(err):
    image, model = blob(14, 15, (30, 30)), blob(10, 10, (21, 21))
    with pytest.raises(CentroidError, match="error"):
        match_template(image, model, err=np.full(image.shape, err))


def test_match_template_few_usable_errors():
    image, model = blob(14, 15, (30, 30)), blob(10, 10, (21, 21))
    err = np.zeros(image.shape)
    err[15, 12:15] = 1.0
    with pytest.raises(CentroidError, match="3 pixels"):
        match_template(image, model, err=err)


def test_match_template_flat_under_model():
    image = np.zeros((30, 30))
    image[0, 0] = 1.0  # in the margin, which is not used
    with pytest.raises(ArgumentError, match="same value"):
        match_template(image, blob(10, 10, (21, 21)))
