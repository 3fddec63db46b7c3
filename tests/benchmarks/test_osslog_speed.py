"""Speed of reading an event log of a million rows and finding the centroids of a visit in it.

Run with ``pytest tests/benchmarks/test_osslog_speed.py``; needs pytest-benchmark. The logs are synthetic.
"""

import pytest

from tests.event_logs import STARS, A, block, to_csv, visit
from xta import osslog

ROWS = 1_000_000
LIMIT = 2.0  # seconds
WORDS = [
    "DAQ tlm slot 2 assigned to NRC",
    "Script activated: {visit}P0000000003102:NRCMAIN",
    "104001 NRC_IMAGE RAPID ints=2 grps=4 FULL flt=F212N/F356W/NULL/NULL",
    "104001 pupil=WLM8/CLEAR/NULL/NULL pil=RETRACT/RETRACT fam=NULL/NULL/NULL",
    "FGS Guider 2  poor quality centroid data in TRK or FG.",
    "104001 NRC_IMAGE completed exptime=96.631 pctime=85.894 cfg=NRCAALL",
    "From guiding: guider 2, X ideal -36.5430000 Y ideal -19.1310000",
    "Dither SAM (x, y) = -0.159999494, -0.000567265150",
    "Exposure Aborted by Command",
    "DAQ tlm slot 1 released by GUIDE",
    "DAQ tlm slots 3+4 assigned to FGS",
    "Script terminated: {visit}P0000000003102:NRCMAIN:Proceed",
]
"""Rows between the dithers of a NIRCam visit, about as often as real logs have them."""


def write(path, visits):
    """Write a log of so many visits in turn, each with one TA block; the first visit is `A`."""
    each = ROWS // visits
    names = [A, *(f"V{k:05}001001" for k in range(1, visits))]
    rows = []
    for k, name in enumerate(names):
        start, length = k * (each + 10.0), each + 8.0
        core = visit(name, start, block(40, 1557.8437, 1548.52431 + k), length=length)
        filler = [(start + 200.5 + j * 0.7, WORDS[j % len(WORDS)].format(visit=name)) for j in range(each - len(core))]
        rows += sorted([*core, *filler])
    path.write_text(to_csv(rows))
    return len(rows)


@pytest.mark.parametrize("visits", [1, 200])
def test_million_rows(benchmark, tmp_path, visits):
    path = tmp_path / "osslog.csv"
    count = write(path, visits)

    def run():
        return osslog.read(path).centroids(A)

    (centroid,) = benchmark.pedantic(run, rounds=5, warmup_rounds=1)
    assert count == ROWS
    assert (centroid.x_det, centroid.y_det) == (1557.8437, 1548.52431)
    assert centroid.lines[0].endswith(STARS)
    assert benchmark.stats.stats.min <= LIMIT
