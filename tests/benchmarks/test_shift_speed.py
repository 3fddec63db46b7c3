"""Speed of resampling against the FFT it rests on and against a loop over frames.

Run with ``pytest tests/benchmarks --log-cli-level=INFO`` to read the ratios: of processor times of all threads against
the FFT, of times against the loop.
"""

import logging
import time

import numpy as np
import pytest
import scipy.fft
import scipy.ndimage

from tests.speed import least
from xta.images.shift import METHODS, resample, resample_dq, resample_variance

FRAMES, SIZE = 100, 320
GRID = {"x0": 149.07, "y0": 173.27, "shape": (293, 297)}
logger = logging.getLogger(__name__)


@pytest.fixture(scope="module")
def stack():
    return np.random.default_rng(0).normal(size=(FRAMES, SIZE, SIZE)).astype(np.float32)


@pytest.fixture(scope="module")
def bad(stack):
    return np.random.default_rng(1).random(stack.shape) < 1e-3


@pytest.fixture(scope="module")
def padded(stack):
    size = scipy.fft.next_fast_len(SIZE + 64, real=True)
    return np.pad(stack, ((0, 0), (0, size - SIZE), (0, size - SIZE)))


def medians(*functions, rounds):
    """Time the functions in turn, so that what else the machine does meets all of them; median of each [s]."""
    times = np.empty((rounds, len(functions)))
    for row in times:
        for index, function in enumerate(functions):
            start = time.perf_counter()
            function()
            row[index] = time.perf_counter() - start
    return np.median(times, axis=0)


def round_trip(padded):
    """Transform frame by frame: what the caches hold, so that it is the FFT that is measured, and not new memory.

    The round trip of the whole stack at once takes two to three times as long, and not the same from run to run: the
    system gives it 120 MB page by page.
    """
    for frame in padded:
        scipy.fft.irfft2(scipy.fft.rfft2(frame), s=frame.shape)


def loop(padded, shift):
    for frame in padded:
        np.fft.ifftn(scipy.ndimage.fourier_shift(np.fft.fftn(frame), shift)).real  # noqa: B018


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("masked", [False, True])
def test_data_against_one_round_trip(stack, bad, padded, workers, masked):
    options = GRID | {"bad": bad if masked else None, "workers": workers}
    fft, whole = least(lambda: round_trip(padded), lambda: resample(stack, **options), rounds=9)
    logger.info("data, %d threads, bad pixels %s: %.2f round trips", workers, masked, whole / fft)
    assert whole <= 2.5 * fft


@pytest.mark.parametrize("workers", [1, 2])
def test_variance_and_flags_against_one_round_trip(stack, bad, padded, workers):
    variance, dq = stack**2, bad.astype(np.uint32)
    fft, squares, flags = least(
        lambda: round_trip(padded),
        lambda: resample_variance(variance, bad=bad, workers=workers, **GRID),
        lambda: resample_dq(dq, **GRID),
        rounds=9,
    )
    logger.info("%d threads: variance %.2f, flags %.2f round trips", workers, squares / fft, flags / fft)
    assert squares <= 4 * fft  # two products with sparse matrices of 65 weights a pixel
    assert flags <= fft


def test_data_against_a_loop_over_frames(stack, bad, padded):
    slow, one, two, masked = medians(
        lambda: loop(padded, (-0.27, -0.07)),
        lambda: resample(stack, **GRID),
        lambda: resample(stack, workers=2, **GRID),
        lambda: resample(stack, workers=2, bad=bad, **GRID),
        rounds=7,
    )
    logger.info("faster than the loop: %.1f times in one thread, %.1f in two", slow / one, slow / two)
    logger.info("with bad pixels, which the loop cannot do: %.1f times in two threads", slow / masked)
    assert two <= slow / 5


@pytest.mark.parametrize("method", METHODS[1:])
def test_other_methods_against_a_loop_over_frames(stack, bad, padded, method):
    slow, fast = medians(
        lambda: loop(padded, (-0.27, -0.07)),
        lambda: resample(stack, bad=bad, method=method, **GRID),
        rounds=3,
    )
    logger.info("%s, one thread, bad pixels: %.1f times faster than the loop", method, slow / fast)
    assert fast < slow
