"""All ratios in one table, against those that are stored: ``pytest tests/benchmarks`` prints it at the end.

``pytest tests/benchmarks/test_ratios.py -s`` prints them as they come. The stored ones are the largest of several runs
on a machine with other work; tests/test_speed.py fails where one is exceeded by a fifth.
"""

import json

import pytest

from tests import speed


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("speed")


@pytest.mark.parametrize("measure", speed.MEASURES, ids=lambda measure: measure.__name__)
def test_ratio(measure, folder, record_property):
    ours, theirs = measure(folder)
    row = [
        measure.__name__,
        float(ours),
        float(theirs),
        float(ours / theirs),
        speed.STORED.get(measure.__name__, float("nan")),
    ]
    record_property("ratio", json.dumps(row))
    print(speed.line(row))
