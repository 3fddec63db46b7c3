"""No part of an analysis becomes slower than it was by more than a fifth, against a peer in the same run."""

import pytest

from tests import speed


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("speed")


MEASURES = [measure for measure in speed.MEASURES if measure is not speed.klip_library]
"""That of the library of KLIP is only in the table of the benchmarks: its peer is one product of matrices, whose
processor time depends on how many threads BLAS finds idle (ratios of 1.4 to 5.4 and more)."""


@pytest.mark.heavy
@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.__name__)
def test_ratio_is_not_worse_than_it_was(measure, folder):
    """At most 1.2 times the stored ratio, in one of three tries.

    This is robust on a machine with other work: both times are processor times and the least of several runs, the two
    are measured in turn, and the stored ratio is the largest of five runs while two more processes than processors were
    busy. A try that is disturbed all the same is made again; what became slower fails all three.
    """
    limit, ratios = 1.2 * speed.STORED[measure.__name__], []
    while len(ratios) < 3 and not any(ratio <= limit for ratio in ratios):
        ours, theirs = measure(folder)
        ratios.append(ours / theirs)
    assert min(ratios) <= limit, ratios
