import shutil
import statistics
import time

import pytest

import xta
from tests.archive_server import ArchiveServer, hold, sample_visit
from xta import archive, datasets
from xta.archive import cache

VISITS = [f"V01386{number:03d}001" for number in range(1, 21)]


@pytest.fixture
def slow_server(serve):
    running = serve(ArchiveServer(latency=0.1))
    for day, visit in enumerate(VISITS, 1):
        sample_visit(visit[1:], start=f"2022-08-{day:02d}T12:00:00.000").feed(running)
    archive.fetch_visit(VISITS[0])  # imports what is imported once
    cache.clear()
    return running


def test_fetch_many_twenty_visits_in_quarter_of_time(slow_server):
    begin = time.perf_counter()
    one_by_one = {visit: archive.fetch_visit(visit) for visit in VISITS}
    sequential = time.perf_counter() - begin
    cache.clear()
    begin = time.perf_counter()
    assert archive.fetch_many(VISITS) == one_by_one
    together = time.perf_counter() - begin
    print(f"\n20 visits, 100 ms latency: {sequential:.2f} s one by one, {together:.2f} s together")
    assert together <= sequential / 4


def test_fetch_many_from_cache_is_free(slow_server):
    archive.fetch_many(VISITS)
    asked = len(slow_server.asked())
    begin = time.perf_counter()
    archive.fetch_many(VISITS)
    again = time.perf_counter() - begin
    print(f"\n20 visits from the cache: {1000 * again:.0f} ms")
    assert len(slow_server.asked()) == asked
    assert again < 0.5


def test_analyze_from_cache_as_quick_as_from_folder(server, tmp_path):
    """The second analysis of a visit makes no request and takes no longer than with the files at hand."""
    visit = datasets.make_visit(tmp_path / "visit", mode="nircam", ideal=True)
    hold(server, visit)
    (tmp_path / "alone").mkdir()
    alone = shutil.copy(visit.science[0], tmp_path / "alone")
    xta.analyze(alone)
    asked = len(server.asked())
    times = {"cache": [], "folder": []}
    for _ in range(9):
        for name, path in (("cache", alone), ("folder", visit.science[0])):
            begin = time.perf_counter()
            xta.analyze(path)
            times[name].append(time.perf_counter() - begin)
    assert len(server.asked()) == asked
    ratio = statistics.median(times["cache"]) / statistics.median(times["folder"])
    print(f"\nanalysis from the cache / from the folder: {ratio:.2f}")
    assert ratio <= 1.1
