"""Cache downloaded files on disk, safely for several processes.

The folder is the platform's folder for caches, or ``XTA_CACHE``. It has a simple structure, so that it can be shared,
copied to a computer without a network, or filled by hand:

=================================== ===================================================
``products/jw<visit>/<file name>``  FITS products, kept forever (a product never changes)
``logs/<mnemonic>-<from>-<to>.csv`` event logs, as the engineering database sent them
``searches/<visit>-<what>.json``    what MAST lists for a visit or a program
=================================== ===================================================

Beside each file, ``<file name>.xta.json`` contains its size and SHA-256. A file gets its name only when
it is complete and checked; until then it is ``<file name>.part``. Symbolic links in the folder are not followed, since
others may write to a shared one. Files downloaded with a token are readable only by their owner.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

from xta.archive.policy import Task, is_offline
from xta.errors import ArchiveError, ArchiveReplyError, ArchiveTimeoutError, FileError
from xta.io.atomic import whole_file

__all__ = ["Entry", "Item", "claim", "clear", "describe", "obtain", "opened", "report", "root", "tag_of", "writable"]

logger = logging.getLogger(__name__)

SIDECAR, PART, TAG, LOCK = ".xta.json", ".part", ".tag", ".lock"

# Only files with names given by xta are listed or deleted, since XTA_CACHE may contain other files.
OURS = re.compile(
    r"(products/jw[^/]+/jw[^/]+\.fits|logs/[A-Z0-9_]+-\d{8}T\d{6}-\d{8}T\d{6}\.csv|searches/(\d{11}|\d{5})-[a-z-]+\.json)"
    r"(\.part)?"
)

T = TypeVar("T")
Check = Callable[[Path], object]


@dataclass(frozen=True)
class Entry:
    """A place in the cache: folder below `root`, file name, and the MAST URI that it comes from."""

    folder: str
    name: str
    source: str

    @property
    def path(self) -> Path:
        """The file of the entry, whether it exists or not."""
        return root() / self.folder / self.name


class Item(NamedTuple):
    """A file in the cache: path below `root` with slashes, size on disk [byte], whether it was cut short."""

    name: str
    size: int
    partial: bool


def root() -> Path:
    """Return the folder of the cache: ``XTA_CACHE``, or else that of the platform; it need not exist."""
    if folder := os.environ.get("XTA_CACHE", "").strip():
        return Path(folder).expanduser()
    import platformdirs

    return platformdirs.user_cache_path("xta", appauthor=False)


def obtain(
    entry: Entry,
    task: Task,
    fetch: Callable[[Path], object],
    *,
    check: Check,
    read: Callable[[Path], T],
    keep: Callable[[T], bool] = lambda _: True,
    fresh: Callable[[Path], bool] = lambda _: True,
) -> T:
    """Read an entry; `fetch` downloads it first if it is not there.

    `check` raises ArchiveReplyError for an invalid file; `keep` decides from its content whether it stays in the cache.
    An entry that is not `fresh` is fetched again, unless the network is off.
    """
    _refuse_links(entry.path)
    offline = is_offline(task.offline)
    if (path := _find(entry, check)) and (offline or fresh(path)):
        return read(path)
    if offline:
        problem = f"not in the cache ({entry.path}) and the network is off (offline=True or XTA_OFFLINE)"
        raise ArchiveError(task.message(problem, "fetch it once with the network on"))
    with claim(entry, task) as part:
        if (path := _find(entry, check)) and fresh(path):  # fetched by another process in the meantime
            return read(path)
        fetch(part)
        try:
            check(part)
        except ArchiveReplyError as error:
            _discard(part)
            problem = f"what the archive sent ({entry.source}) {error}; it was not kept"
            raise ArchiveReplyError(task.message(problem, "try again later")) from None
        content = read(part)
        if keep(content):
            with writable(entry.path):
                _beside(entry.path, SIDECAR).unlink(missing_ok=True)
                part.replace(entry.path)  # in one step, so that nobody sees an incomplete file
                _write_sidecar(entry.path, entry.source)
        return content


@contextlib.contextmanager
def claim(entry: Entry, task: Task) -> Iterator[Path]:
    """Lock an entry against all other threads and processes, and yield the path to download to.

    An incomplete file is removed in the end, unless it can be resumed. Raise ArchiveTimeoutError if another process
    holds the entry for longer than the deadline.
    """
    path, wait = entry.path, task.policy.deadline
    part = _beside(path, PART)
    _refuse_links(path)
    with writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with _lock(path, wait, task.policy.is_stopped) as held:
        if not held:
            problem = f"another process has been fetching it for {wait:.0f} s"
            raise ArchiveTimeoutError(task.message(problem, "try again later"))
        try:
            yield part
        finally:
            if not tag_of(part).exists() or not part.exists() or not part.stat().st_size:
                _discard(part)


def opened(path: Path, mode: str, *, private: bool = False) -> IO[bytes]:
    """Open a file of the cache for writing, without following links.

    If it is `private`, only its owner can read it and open the folder of its visit.
    """

    def opener(name: str, flags: int) -> int:
        file = os.open(name, flags | getattr(os, "O_NOFOLLOW", 0), 0o600 if private else 0o666)
        if private and hasattr(os, "fchmod"):
            os.fchmod(file, 0o600)  # it may have been begun without a token
        return file

    if private and path.parent.parent != root():  # the logs of all visits share one folder
        path.parent.chmod(0o700)
    return open(path, mode, opener=opener)


def _links(path: Path) -> list[Path]:
    """List the links on the way from `root` to a path."""
    way = [place for place in (path, *path.parents) if root() in place.parents]
    return [place for place in way if place.is_symlink()]


def _refuse_links(path: Path) -> None:
    """Refuse an entry that is a link, or has one beside it or above: it would lead out of the cache."""
    part = _beside(path, PART)
    for place in (path, part, tag_of(part), _beside(path, SIDECAR), _beside(path, LOCK)):
        if links := _links(place):
            msg = f"{links[0]} in the cache is a symbolic link, which is not followed; remove it, or set XTA_CACHE"
            raise FileError(msg)


@contextlib.contextmanager
def writable(path: Path) -> Iterator[None]:
    """Convert errors of the file system to a FileError; errors of the network and of xta are not changed."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # not of the file system
            raise
        msg = f"the cache {path.parent} cannot be written ({error.strerror}); set XTA_CACHE to another folder"
        raise FileError(msg) from error


def describe(start: bytes) -> str:
    """Describe an unexpected reply by its first bytes."""
    text = start.lstrip().lower()
    if not text:
        return "is empty"
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page"
    if start.startswith(b"\x1f\x8b"):
        return "is compressed in a way that was not announced"
    return "is something else"


def tag_of(part: Path) -> Path:
    """Return the path of the file with the version of an incomplete product."""
    return _beside(part, TAG)


def report() -> list[Item]:
    """List the files in the cache, sorted by name, without sidecars, locks and files behind links."""
    found = [path for folder in ("logs/*", "products/*/*", "searches/*") for path in root().glob(folder)]
    items = []
    for path in sorted(path for path in found if not _links(path)):
        name = path.relative_to(root()).as_posix()
        with contextlib.suppress(FileNotFoundError):
            if OURS.fullmatch(name):
                items.append(Item(name, path.stat().st_size, partial=name.endswith(PART)))
    return items


def clear(matching: str = "") -> int:
    """Delete the files with a text in their name, by default all; return the space freed [byte].

    Files that another process is downloading, and files with names not given by xta, are kept.
    """
    gained = 0
    for item in report():
        if matching not in item.name:
            continue
        path = root() / item.name.removesuffix(PART)
        with _lock(path, 0.0) as held, writable(path):
            if held:
                gained += item.size
                for old in (root() / item.name, tag_of(_beside(path, PART)), _beside(path, SIDECAR)):
                    old.unlink(missing_ok=True)
    return gained


@contextlib.contextmanager
def _lock(path: Path, wait: float, stopped: Callable[[], bool] = bool) -> Iterator[bool]:
    """Hold the lock of a file; False if somebody else holds it for longer than `wait` [s], or the work is stopped."""
    from filelock import FileLock, Timeout

    lock = FileLock(_beside(path, LOCK))
    with writable(path), contextlib.suppress(Timeout):
        lock.acquire(timeout=wait, cancel_check=stopped)
    try:
        yield lock.is_locked
    finally:
        if lock.is_locked:
            # Whoever waits for a lock notices that its file is gone, and makes a new one.
            with contextlib.suppress(OSError):  # Windows keeps the name of an open file
                _beside(path, LOCK).unlink()
            lock.release()


def _find(entry: Entry, check: Check) -> Path | None:
    """Look for an entry, without a request or a lock; None if it is absent or damaged.

    A file with the size and time in its sidecar is valid. One with another time (a copy) is compared with its SHA-256.
    One without a sidecar (put there by hand) is checked like a download, and gets one.
    """
    path = entry.path
    try:
        status, sidecar = path.stat(), _read_sidecar(path)
        if sidecar and (sidecar["size"], sidecar["modified_ns"]) == (status.st_size, status.st_mtime_ns):
            return path
        if not sidecar:
            check(path)
        elif sidecar["sha256"] != _sha256(path):
            msg = "is not what was stored"
            raise ArchiveReplyError(msg)
    except ArchiveReplyError as error:
        logger.warning("%s in the cache %s; it is not used", path, error)
        return None
    except OSError:  # absent, or deleted in the meantime
        return None
    with contextlib.suppress(OSError):  # a shared cache may be read-only
        _write_sidecar(path, sidecar["source"] if sidecar else entry.source)
    return path


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _discard(part: Path) -> None:
    with contextlib.suppress(OSError):
        part.unlink(missing_ok=True)
        tag_of(part).unlink(missing_ok=True)


def _read_sidecar(path: Path) -> dict[str, str | int] | None:
    with contextlib.suppress(OSError, ValueError, RecursionError):
        sidecar = json.loads(_beside(path, SIDECAR).read_text(encoding="utf-8"))
        if isinstance(sidecar, dict) and sidecar.keys() >= {"source", "size", "sha256", "modified_ns"}:
            return sidecar
    return None


def _write_sidecar(path: Path, source: object) -> None:
    status, now = path.stat(), datetime.now(UTC).isoformat(timespec="seconds")
    sidecar = {"source": source, "size": status.st_size, "sha256": _sha256(path)}
    sidecar |= {"modified_ns": status.st_mtime_ns, "fetched": now}
    with whole_file(_beside(path, SIDECAR)) as temporary:
        temporary.write_text(json.dumps(sidecar, indent=1), encoding="utf-8")
        temporary.chmod(stat.S_IMODE(status.st_mode))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
