"""Event logs in any order, with any repetition, damage or junk: the same numbers, or an error of the package."""

import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.event_logs import (
    BEFORE,
    DET,
    DITHERED,
    FAILED,
    NEXT,
    SINGLE,
    TWO_STAGE,
    A,
    B,
    C,
    as_tab_text,
    read_rows,
    to_csv,
    written,
)
from xta import osslog
from xta.errors import OssLogError, XtaError, XtaWarning

LOGS = {"single": SINGLE, "dithered": DITHERED, "two stages": TWO_STAGE, "failed": FAILED}
NOISE = [
    "DAQ tlm slot 2 assigned to NRC",
    "FGS Guider 2  poor quality centroid data in TRK or FG.",
    "Exposure Aborted by Command",
    f"Script activated: {B}P0000000001101:SCSLEWMAIN",
    f"Script terminated: {C}P0000000001101:SCSLEWMAIN:Proceed",
    f"Seq {B}:P01484187:03:2 started",
    f"Observation Plan will stop after {B}",
    f"VISIT {B} STARTED",
    f"VISIT {C} ENDED",
    f"Group {A}:02 started",
    f"Script activated: {A}P01484187032:CONSEQ",
    "201001 NRS_DARK NRSRAPID ints=1 grps=88 FULL flt=OPAQUE",
    "Missing file, can't delete ram:/V01386001001.otm, OPEVSTEXEC continues",
]


@settings(deadline=None, max_examples=60)
@given(data=st.data(), name=st.sampled_from(sorted(LOGS)), newline=st.sampled_from(["\n", "\r\n", "\r"]))
def test_centroids_do_not_depend_on_order_repetition_and_neighbors(data, name, newline):
    rows = LOGS[name]
    expected = repr(read_rows(rows).centroids(A))
    seconds = st.floats(-100, 3100).map(lambda s: round(s, 3) + 0.00025)  # never the time of another row
    noise = data.draw(st.lists(st.tuples(seconds, st.sampled_from(NOISE)), max_size=20))
    others = data.draw(st.sampled_from([[], BEFORE, NEXT, [*BEFORE, *NEXT]]))
    mixed = [*rows, *noise, *others]
    repeated = data.draw(st.lists(st.sampled_from(mixed), max_size=20))
    mixed += repeated
    random.Random(data.draw(st.integers(0, 2**32))).shuffle(mixed)
    log = osslog.read(to_csv(mixed, newline=newline, header=data.draw(st.booleans())))
    assert repr(log.centroids(A)) == expected
    assert repr(log.select(A).centroids(A)) == expected
    parts = [osslog.read(to_csv(mixed[:20])), osslog.read(to_csv(mixed[20:]))]
    joined = [pair for part in parts for pair in zip(part.times, part.messages, strict=True)]
    assert repr(osslog.read(joined).centroids(A)) == expected


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.datetimes(), st.text(st.characters(exclude_categories=["Cs"])))))
def test_read_any_messages(rows):
    if not rows:
        return
    log = osslog.read(rows)
    again = osslog.read(written(log))
    assert np.array_equal(again.times, log.times)
    assert again.messages.tolist() == log.messages.tolist()


def use_all(log):
    """Ask everything of a log; how long it may take and what it may raise is the point."""
    for name in (None, A, B):
        for ask in (log.centroids, log.sams, log.failures, log.exposures, log.select):
            try:
                if name is None and ask == log.select:
                    continue
                ask(name)
            except XtaError:
                continue
    log.visits()
    repr(log)
    assert len(osslog.read(written(log))) == len(log)


TEMPLATE = to_csv(sorted([*BEFORE, *SINGLE, *FAILED, *NEXT])).encode()


@pytest.mark.filterwarnings("ignore::xta.errors.XtaWarning")
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_read_mutated_logs(data):
    content = bytearray(TEMPLATE if data.draw(st.booleans()) else as_tab_text(DITHERED).encode())
    for _ in range(data.draw(st.integers(1, 12))):
        at = data.draw(st.integers(0, len(content) - 1))
        piece = data.draw(st.one_of(st.binary(max_size=6), st.sampled_from([b'"', b"\n", b",", b"\r", b"\0", b"="])))
        content[at : at + data.draw(st.sampled_from([0, 1, 3, 80, 2000]))] = piece
        if not content:
            break
    try:
        log = osslog.read(bytes(content))
    except XtaError:
        return
    use_all(log)


@pytest.mark.filterwarnings("ignore::xta.errors.XtaWarning")
@settings(deadline=None, max_examples=150)
@given(
    st.one_of(
        st.binary(),
        st.text().map(lambda text: f"{text}\n"),
        st.lists(st.one_of(st.none(), st.text(), st.binary(), st.floats())),
        st.lists(st.one_of(st.tuples(st.text(), st.text()), st.tuples(st.datetimes(), st.floats(), st.text()))),
    )
)
def test_read_junk(source):
    try:
        log = osslog.read(source)
    except XtaError:
        return
    use_all(log)


def test_read_long_lines():
    """Nothing here is quadratic in the length of a line."""
    stamp = "2022-07-29 22:01:51.487"
    for text in (" " * 120_000, f"{stamp}{' ' * 120_000}", f"{stamp}\t{'(' * 120_000}=", f'{stamp},5,"{"," * 120_000}',
                 f"{stamp}\t{DET}({'1' * 120_000}"):  # fmt: skip
        try:
            with pytest.warns(XtaWarning):
                use_all(osslog.read(f"{stamp}\tx\n{text}\n{stamp}"))
        except OssLogError:
            pass
