import time

import pytest

from tests.archive_server import ArchiveServer, sample_visit
from xta import archive
from xta.archive import cache

VISITS = [f"V01386{number:03d}001" for number in range(1, 21)]


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("XTA_CACHE", str(tmp_path / "cache"))
    for name in ("XTA_OFFLINE", "MAST_API_TOKEN", "XTA_EDB_URL"):
        monkeypatch.delenv(name, raising=False)
    with ArchiveServer(latency=0.1) as running:
        for day, visit in enumerate(VISITS, 1):
            sample_visit(visit[1:], start=f"2022-08-{day:02d}T12:00:00.000").feed(running)
        monkeypatch.setenv("XTA_MAST_URL", running.url)
        archive.fetch_visit(VISITS[0])  # imports what is imported once
        cache.clear()
        yield running


def test_twenty_visits_in_a_quarter_of_the_time(server):
    begin = time.perf_counter()
    one_by_one = {visit: archive.fetch_visit(visit) for visit in VISITS}
    sequential = time.perf_counter() - begin
    cache.clear()
    begin = time.perf_counter()
    assert archive.fetch_many(VISITS) == one_by_one
    together = time.perf_counter() - begin
    print(f"\n20 visits, 100 ms latency: {sequential:.2f} s one by one, {together:.2f} s together")
    assert together <= sequential / 4


def test_second_time_is_free(server):
    archive.fetch_many(VISITS)
    asked = len(server.asked())
    begin = time.perf_counter()
    archive.fetch_many(VISITS)
    again = time.perf_counter() - begin
    print(f"\n20 visits from the cache: {1000 * again:.0f} ms")
    assert len(server.asked()) == asked
    assert again < 0.5


def test_an_analysis_from_the_cache_is_as_quick_as_from_the_folder(tmp_path, monkeypatch):
    """The second analysis of a visit makes no request and takes no longer than with the files at hand."""
    import shutil
    import statistics

    import xta
    from tests.test_archive_wiring import serve
    from xta import datasets

    visit = datasets.make_visit(tmp_path / "visit", mode="nircam")
    monkeypatch.setenv("XTA_CACHE", str(tmp_path / "cache2"))
    (tmp_path / "alone").mkdir()
    alone = shutil.copy(visit.science[0], tmp_path / "alone")
    with serve(visit) as running:
        monkeypatch.setenv("XTA_MAST_URL", running.url)
        for name in ("XTA_OFFLINE", "MAST_API_TOKEN", "XTA_EDB_URL"):
            monkeypatch.delenv(name, raising=False)
        xta.analyze(alone)
        asked = len(running.asked())
        times = {"cache": [], "folder": []}
        for _ in range(9):
            for name, path in (("cache", alone), ("folder", visit.science[0])):
                begin = time.perf_counter()
                xta.analyze(path)
                times[name].append(time.perf_counter() - begin)
        assert len(running.asked()) == asked
    ratio = statistics.median(times["cache"]) / statistics.median(times["folder"])
    print(f"\nanalysis from the cache / from the folder: {ratio:.2f}")
    assert ratio <= 1.1
