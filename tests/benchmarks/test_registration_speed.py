"""Speed of registration: a stack of 30 frames of 320 x 320 pixels, against the FFTs that it cannot do without.

Run with ``pytest tests/benchmarks/test_registration_speed.py -s`` to read the numbers.
"""

import time

import numpy as np
from scipy import fft

import xta
from xta import datasets

FRAMES = 30


def test_registration_of_thirty_frames(tmp_path):
    """At most 3 s, and 25 times the round trip of all frames through the FFT."""
    visit = datasets.make_visit(tmp_path, integrations=FRAMES)
    ds = xta.analyze(visit.science[0], offline=True).load()
    xta.register(ds, each="integration")  # imports and caches
    cube = ds["sci"].values.astype(float)
    assert cube.shape[1:] == (320, 320)
    begin = time.perf_counter()
    fft.irfft2(fft.rfft2(np.nan_to_num(cube)), s=cube.shape[1:])
    transforms = time.perf_counter() - begin
    begin = time.perf_counter()
    xta.register(ds, each="integration")
    seconds = time.perf_counter() - begin
    print(f"{FRAMES} frames registered in {seconds:.2f} s, {seconds / transforms:.0f} times their FFTs")
    assert seconds <= 3
    assert seconds <= 25 * transforms
