import io
import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import platformdirs
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from tests import archive_server as faulty
from tests.archive_server import fits_bytes
from xta import archive
from xta.archive import Policy, cache
from xta.archive.mast import check_fits, is_product_name
from xta.errors import ArchiveError, ArchiveReplyError, ArchiveTimeoutError, FileError

VISIT = "V01386001001"
TACQ = "jw01386001001_02102_00001_nrcalong_cal.fits"
QUICK = Policy(connect=2.0, read=2.0, deadline=5.0, attempts=2, backoff=0.01)


def place(store, content):
    """Put a product into the cache by hand."""
    path = store / "products" / "jw01386001001" / TACQ
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


# --- what is believed -------------------------------------------------------------------------------------


def test_download_uses_file_put_there_by_hand(server, store):
    path = place(store, server.products[TACQ])
    assert archive.download(TACQ, offline=True) == path
    assert not server.asked()
    assert path.with_name(f"{TACQ}.xta.json").exists()


def test_download_replaces_damaged_file_put_there_by_hand(server, store, caplog):
    path = place(store, server.products[TACQ][:-2880])
    with pytest.raises(ArchiveError, match="not in the cache"):
        archive.download(TACQ, offline=True)
    assert "2880 bytes too short" in caplog.text
    assert archive.download(TACQ, policy=QUICK).read_bytes() == server.products[TACQ]
    assert path.read_bytes() == server.products[TACQ]


def test_download_replaces_changed_file(server, caplog):
    path = archive.download(TACQ, policy=QUICK)
    content = bytearray(path.read_bytes())
    content[6000] ^= 1
    path.write_bytes(content)
    assert archive.download(TACQ, policy=QUICK).read_bytes() == server.products[TACQ]
    assert "is not what was stored" in caplog.text
    assert len(server.asked()) == 2


def test_download_uses_copied_cache(server, store, tmp_path, monkeypatch):
    archive.download(TACQ, policy=QUICK)
    copy = tmp_path / "copy" / "products" / "jw01386001001"
    copy.mkdir(parents=True)
    for path in (store / "products" / "jw01386001001").iterdir():
        (copy / path.name).write_bytes(path.read_bytes())  # with a new time
    monkeypatch.setenv("XTA_CACHE", str(tmp_path / "copy"))
    assert archive.download(TACQ, offline=True) == copy / TACQ


@pytest.mark.parametrize("sidecar", [b"", b"[]", b"{}", b"\xff", b'{"size": 3}'])
def test_download_with_damaged_sidecar(server, sidecar):
    path = archive.download(TACQ, policy=QUICK)
    path.with_name(f"{TACQ}.xta.json").write_bytes(sidecar)
    assert archive.download(TACQ, offline=True) == path
    assert archive.download(TACQ, offline=True) == path


def test_download_shows_no_part_under_the_name(server, store):
    server.fail("product", faulty.drip)
    thread = threading.Thread(target=_expect_timeout, args=(Policy(deadline=1.0),))
    thread.start()
    seen = set()
    while thread.is_alive():
        seen |= {path.name for path in store.rglob("jw*.fits")}
        time.sleep(0.01)
    assert len(server.asked()) == 1
    assert seen == set()


def _expect_timeout(policy):
    with pytest.raises(ArchiveTimeoutError):
        archive.download(TACQ, policy=policy)


# --- report and clear -------------------------------------------------------------------------------------


def test_report_and_clear_visit(server, store):
    archive.fetch_visit(VISIT, policy=QUICK)
    stranger = store / "products" / "notes.txt"
    stranger.write_text("mine")
    items = {item.name: item for item in cache.report()}
    assert [name.rpartition("/")[2] for name in items] == [
        "ICTM_EVENT_MSG-20220729T215651-20220730T011841.csv",
        TACQ,
        TACQ.replace("02102", "02104"),
        "01386001001-nircam-ta.json",
    ]
    assert items[f"products/jw01386001001/{TACQ}"].size == len(server.products[TACQ])
    assert cache.clear("02104") == len(server.products[TACQ])
    assert len(cache.report()) == 3
    assert cache.clear("logs/") > 0
    assert cache.clear() == sum(item.size for item in items.values() if item.name[:4] != "logs") - len(
        server.products[TACQ]
    )
    assert cache.report() == []
    assert [path for path in store.rglob("*") if path.is_file()] == [stranger]


def test_clear_leaves_files_of_others(store):
    names = ["notes.txt", "logs/app.log", "products/jwst/a.fits", "searches/x.json", "products/jw1/jw1.fits.bak"]
    for name in names:
        (store / name).parent.mkdir(parents=True, exist_ok=True)
        (store / name).write_text("mine")
    assert cache.report() == []
    assert cache.clear() == 0
    assert sorted(path.relative_to(store).as_posix() for path in store.rglob("*.*")) == sorted(names)


def test_report_and_clear_empty_cache(store):
    assert cache.report() == []
    assert cache.clear() == 0
    assert not store.exists()


def test_root_by_platform_and_variable(monkeypatch):
    monkeypatch.delenv("XTA_CACHE", raising=False)
    assert cache.root() == platformdirs.user_cache_path("xta", appauthor=False)
    monkeypatch.setenv("XTA_CACHE", "~/mine")
    assert cache.root() == Path.home() / "mine"


def test_download_into_cache_that_cannot_be_written(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XTA_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(FileError, match=r"cannot be written \(Not a directory\); set XTA_CACHE"):
        archive.download(TACQ, policy=QUICK)
    assert not server.asked()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_download_to_full_disk(server, monkeypatch):
    original = os.open

    def full(path, *args):
        part = os.fspath(path).endswith(".part")
        original(path, *args) if part else None
        return original("/dev/full" if part else path, os.O_WRONLY if part else args[0], *args[1:])

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(FileError, match=r"No space left on device.*XTA_CACHE"):
        archive.download(TACQ, policy=QUICK)
    assert cache.report() == []


# --- other users of the cache -----------------------------------------------------------------------------


LINKS = ("{name}.part", "{name}.part.tag", "{name}.xta.json", "{name}.lock", "{name}", "", "..")


@pytest.mark.parametrize("place", LINKS)
def test_download_follows_no_link(server, store, tmp_path, place):
    """Planted by somebody else who may write to the cache."""
    target = tmp_path / "target"
    link = Path(os.path.normpath(store / "products" / "jw01386001001" / place.format(name=TACQ)))
    link.parent.mkdir(parents=True)
    target.mkdir() if place in {"", ".."} else target.write_text("mine")
    link.symlink_to(target)
    with pytest.raises(FileError, match="symbolic link"):
        archive.download(TACQ, policy=QUICK)
    assert link.is_symlink()
    assert not list(target.iterdir()) if target.is_dir() else target.read_text() == "mine"


def test_clear_follows_no_link(store, tmp_path):
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / TACQ).write_text("mine")
    (store / "products").mkdir(parents=True)
    (store / "products" / "jw01386001001").symlink_to(tmp_path / "others")
    assert cache.report() == []
    assert cache.clear() == 0
    assert (tmp_path / "others" / TACQ).read_text() == "mine"


def test_opened_follows_no_link_that_came_meanwhile(store, tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "x.part").symlink_to(tmp_path / "mine")
    for mode in ("ab", "xb"):
        with pytest.raises(OSError, match=r"symbolic links|exists"):
            cache.opened(tmp_path / "x.part", mode)


@pytest.mark.parametrize("token", ["secret", None])
def test_download_with_token_is_private(server, store, token):
    server.protected = {TACQ: "secret"} if token else {}
    path = archive.download(TACQ, token=token, policy=QUICK)
    modes = {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    open_mode = 0o666 & ~umask(store)
    assert modes == {0o600 if token else open_mode}
    assert (stat.S_IMODE(path.parent.stat().st_mode) == 0o700) is bool(token)
    assert archive.download(TACQ, offline=True) == path


def umask(folder):
    (folder / "new").write_text("")
    return 0o666 & ~stat.S_IMODE((folder / "new").stat().st_mode)


def test_download_that_goes_on_with_token_is_private(server, store):
    server.products[TACQ] = fits_bytes(TACQ, "NRC_TACQ", size=320)
    server.fail("product", faulty.cut(0.5))
    with pytest.raises(ArchiveError):
        archive.download(TACQ, policy=Policy(attempts=1))
    (part,) = store.rglob("*.part")
    assert stat.S_IMODE(part.stat().st_mode) != 0o600
    path = archive.download(TACQ, token="secret", policy=QUICK)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# --- several at once --------------------------------------------------------------------------------------

WORKER = """
    import sys
    from xta import archive
    sys.stdin.readline()
    print(archive.download(sys.argv[1]).stat().st_size)
"""


def run(code, *arguments):
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_download_by_ten_processes_is_one(server):
    server.latency = 0.3
    workers = [run(WORKER, TACQ) for _ in range(10)]
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    sizes = [int(worker.communicate(timeout=60)[0]) for worker in workers]
    assert sizes == [len(server.products[TACQ])] * 10
    assert len(server.asked()) == 1


def test_download_by_ten_threads_is_one(server):
    server.latency = 0.1
    paths = []
    threads = [threading.Thread(target=lambda: paths.append(archive.download(TACQ, policy=QUICK))) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 10
    assert len(server.asked()) == 1


HOLDER = """
    import sys, time
    from xta.archive import cache
    from xta.archive.policy import Task
    entry = cache.Entry("products/jw01386001001", sys.argv[1], "test")
    with cache.claim(entry, Task("it", "wait")) as part:
        part.write_bytes(b"half")
        print("held", flush=True)
        time.sleep(60)
"""


@pytest.fixture
def holder(store):
    with run(HOLDER, TACQ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_download_stops_waiting_for_another_process(server, holder):
    begin = time.monotonic()
    with pytest.raises(ArchiveTimeoutError, match=r"nrcalong_cal.fits: another process.*1 s.*give the files"):
        archive.download(TACQ, policy=Policy(deadline=1.0))
    assert time.monotonic() - begin < 2.0
    assert not server.asked()


def test_clear_leaves_download_under_way(server, holder):
    assert cache.clear() == 0
    assert [item.partial for item in cache.report()] == [True]


def test_download_after_process_that_died(server, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert archive.download(TACQ, policy=QUICK).read_bytes() == server.products[TACQ]


def test_import_is_light_and_silent():
    code = """
        import socket, sys, xta
        before = set(sys.modules)
        def no(*args, **kwargs): raise SystemExit("network at import")
        socket.getaddrinfo = socket.create_connection = socket.socket.connect = no
        import xta.archive, xta.archive.search
        heavy = {"requests", "urllib3", "astroquery", "astropy", "tqdm", "platformdirs", "pandas", "scipy"}
        print(sorted(heavy & (set(sys.modules) - before)))
    """
    with run(code) as process:
        out, _ = process.communicate("")
    assert out == "[]\n"


# --- checks -----------------------------------------------------------------------------------------------

WHOLE = fits_bytes(TACQ, "NRC_TACQ", size=8)
ENDS = [WHOLE.index(b"XTENSION= 'IMAGE"), WHOLE.index(b"XTENSION= 'BINTABLE")]


@given(cut=st.integers(0, len(WHOLE) - 1).filter(lambda cut: cut not in ENDS))
def test_check_fits_finds_any_cut(tmp_path_factory, cut):
    # One between two extensions leaves a good file; the length that the archive announces shows it.
    path = tmp_path_factory.getbasetemp() / "cut.fits"
    path.write_bytes(WHOLE[:cut])
    with pytest.raises(ArchiveReplyError):
        check_fits(path)


@given(extra=st.binary(min_size=1, max_size=6000))
def test_check_fits_finds_anything_behind_the_end(tmp_path_factory, extra):
    path = tmp_path_factory.getbasetemp() / "extra.fits"
    path.write_bytes(WHOLE + extra)
    with pytest.raises(ArchiveReplyError):
        check_fits(path)


def test_check_fits_knows_forms_of_fits(tmp_path):
    hdus = [
        fits.PrimaryHDU(np.zeros((2, 3, 4), np.int16)),
        fits.ImageHDU(),
        fits.ImageHDU(np.zeros((0, 3), np.float64)),
        fits.BinTableHDU.from_columns([fits.Column("text", "PA()", array=np.array(["a", "bcd"], dtype=object))]),
        fits.CompImageHDU(np.arange(10_000, dtype=np.int32).reshape(100, 100)),
        fits.ImageHDU(np.zeros(3000, np.uint32)),
    ]
    hdus[1].header["COMMENT"] = "NAXIS1  = 7"
    for i in range(100):
        hdus[1].header[f"KEY{i}"] = i
    path = tmp_path / "all.fits"
    fits.HDUList(hdus).writeto(path)
    check_fits(path)


def test_check_fits_passes_real_products(shared):
    paths = sorted(shared.rglob("*.fits"))
    assert paths
    for path in paths:
        check_fits(path)


def test_check_fits_refuses_header_without_size(tmp_path):
    stream = io.BytesIO(WHOLE)
    path = tmp_path / "x.fits"
    path.write_bytes(stream.getvalue().replace(b"NAXIS1  =", b"NAXOS1  =", 1))
    with pytest.raises(ArchiveReplyError, match=r"damaged.*NAXIS1"):
        check_fits(path)


@given(st.text() | st.from_regex(r"jw[\w/\\.-]*\.fits"))
def test_is_product_name_stays_in_folder(name):
    if is_product_name(name):
        assert Path(name).name == name
        assert name.isascii()
        assert not set(name) & set("/\\:\0\n\r ")
        assert ".." not in name
