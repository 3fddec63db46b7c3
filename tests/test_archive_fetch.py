import os
import signal
import threading
import time
from concurrent.futures import CancelledError

import pytest

from tests import archive_server as faulty
from tests.archive_server import sample_visit
from xta import archive
from xta.archive import Policy, cache
from xta.archive.policy import Task
from xta.errors import AcquisitionError, ArchiveBusyError, ArchiveNotFoundError, ArgumentError

TACQ = "jw01386001001_02102_00001_nrcalong_cal.fits"
QUICK = Policy(connect=2.0, read=2.0, deadline=10.0, attempts=2, backoff=0.01, workers=3)


@pytest.fixture(autouse=True)
def _more_visits(server):
    for number in range(2, 7):
        sample_visit(f"01386{number:03d}001").feed(server)


def test_fetch_visit(server):
    fetched = archive.fetch_visit("1386:1", policy=QUICK)
    assert fetched.visit == "V01386001001"
    assert [path.name for path in fetched.files] == [TACQ, TACQ.replace("02102", "02104")]
    assert "VISIT V01386001001 STARTED" in fetched.log
    assert len(server.asked()) == 4  # a search, two products, a log
    assert archive.fetch_visit("1386:1", offline=True) == fetched
    assert len(server.asked()) == 4


def test_fetch_visit_without_log(server):
    assert archive.fetch_visit("1386:1", log=False, policy=QUICK).log is None
    assert not server.asked("jwstedb")


def test_fetch_visit_without_listed_times(server):
    bare = [dict(row, vststart_mjd=None) for row in server.tables["Nircam"]]
    bare[2]["vststart_mjd"] = server.tables["Nircam"][2]["vststart_mjd"]
    server.tables["Nircam"] = bare
    assert "STARTED" in archive.fetch_visit("1386:1", policy=QUICK).log


def test_fetch_visit_with_reversed_times_listed(server):
    first = server.tables["Nircam"][0]
    swapped = dict(first, vststart_mjd=first["visitend_mjd"], visitend_mjd=first["vststart_mjd"])
    server.tables["Nircam"] = [swapped, *server.tables["Nircam"][1:]]
    assert "STARTED" in archive.fetch_visit("1386:1", policy=QUICK).log


def test_fetch_many_limits_workers(server):
    server.latency = 0.05
    visits = [f"1386:{number}" for number in range(1, 7)]
    fetched = archive.fetch_many(visits, policy=QUICK)
    assert list(fetched) == visits
    assert [result.visit for result in fetched.values()] == [f"V01386{number:03d}001" for number in range(1, 7)]
    assert 1 < server.peak <= QUICK.workers


def test_fetch_many_returns_errors(server):
    server.always("01386002001", faulty.status(503))
    items = [TACQ, "1386:2", "1386:99", "nonsense", "1386:3", TACQ.replace("001001", "777001"), "1386:3"]
    fetched = archive.fetch_many(items, log=False, policy=QUICK)
    assert list(fetched) == items[:-1]
    assert fetched[TACQ].name == TACQ
    kinds = [type(result) for result in list(fetched.values())[1:]]
    assert kinds == [ArchiveBusyError, AcquisitionError, ArgumentError, archive.VisitFiles, ArchiveNotFoundError]


def test_fetch_many_progress_on_stderr(server, capsys):
    archive.fetch_many(["1386:1", "1386:2"], progress=True, policy=QUICK)
    out, err = capsys.readouterr()
    assert out == ""
    assert "2/2" in err


def test_fetch_many_interrupted(server, monkeypatch):
    begun = []

    def interrupted(visit, *_, **__):
        begun.append(visit)
        time.sleep(0.01)  # else all are done before the first of them is seen
        raise KeyboardInterrupt

    monkeypatch.setattr("xta.archive.mast.ta_products", interrupted)
    with pytest.raises(KeyboardInterrupt):
        archive.fetch_many([f"1386:{number}" for number in range(1, 200)], policy=QUICK)
    assert len(begun) < 199


@pytest.fixture
def locked():
    """The lock of a product, held by somebody else."""
    entry = cache.Entry("products/jw01386001001", TACQ, "test")
    with cache.claim(entry, Task("a test", "wait")):
        yield


WAITS = {"hang": faulty.hang, "drip": faulty.drip, "busy": faulty.status(503, Retry_After="60"), "locked": None}


@pytest.mark.parametrize("how", WAITS)
def test_fetch_many_ends_within_seconds_of_interrupt(server, store, how, request):
    """Whatever it waits for: a reply, the rest of one, the time to ask again, another process."""
    if how == "locked":
        request.getfixturevalue("locked")
    else:
        server.always("product", WAITS[how])
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    start = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            archive.fetch_many([TACQ, TACQ.replace("02102", "02104")])
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - start < 1 + 3
    assert not any(thread.name.startswith("xta-fetch") for thread in threading.enumerate())
    left = {path.suffix for path in store.rglob("*") if path.is_file()}
    assert left <= ({".lock", ".fits", ".json"} if how == "locked" else {".part", ".tag"})


def test_fetch_many_stopped_by_event(server):
    server.always("product", faulty.hang)
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    with pytest.raises(CancelledError):
        archive.fetch_many([TACQ], policy=Policy(stop=stop))
