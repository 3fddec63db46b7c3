"""Everything fetched once, on disk, safe under several processes.

The folder is that of the platform for caches, or ``XTA_CACHE``. It is plain, so that it can be shared,
copied to a computer without a network, or filled by hand:

=================================== ===================================================
``products/jw<visit>/<file name>``  FITS products, kept for ever (a product never changes)
``logs/<mnemonic>-<from>-<to>.csv`` event logs, as the engineering database sent them
``searches/<visit>-<what>.json``    what MAST lists for a visit
=================================== ===================================================

Beside each file, ``<file name>.xta.json`` tells its size and SHA-256. A file enters under its name only when
it is whole and checked: until then it is ``<file name>.part``.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from xta.archive.lock import lock, writable
from xta.archive.policy import is_offline
from xta.errors import ArchiveError, ArchiveReplyError, ArchiveTimeoutError

__all__ = ["Entry", "Item", "claim", "clear", "find", "inspect", "obtain", "refuse_offline", "report", "root", "store"]

logger = logging.getLogger(__name__)

SIDECAR, PART, TAG, LOCK = ".xta.json", ".part", ".tag", ".lock"

# Only what has a name that xta gives is ever listed or deleted: XTA_CACHE may be a folder with other things.
OURS = re.compile(
    r"(products/jw[^/]+/jw[^/]+\.fits|logs/[A-Z0-9_]+-\d{8}T\d{6}-\d{8}T\d{6}\.csv|searches/\d{11}-[a-z-]+\.json)"
    r"(\.part)?"
)

T = TypeVar("T")
Check = Callable[[Path], object]
Fetch = Callable[[Path], object]


@dataclass(frozen=True)
class Entry:
    """A place in the cache.

    Parameters
    ----------
    folder : str
        Below `root`.
    name : str
        File name; made by xta or checked by it.
    source : str
        Where it comes from, a MAST URI; goes into the sidecar.
    """

    folder: str
    name: str
    source: str

    @property
    def path(self) -> Path:
        """The file of the entry, whether it is there or not."""
        return root() / self.folder / self.name


@dataclass(frozen=True)
class Item:
    """A file in the cache, for a report.

    Parameters
    ----------
    name : str
        Path below `root`, with slashes.
    size : int
        On disk [byte].
    modified : datetime.datetime
        When it was stored (UTC).
    partial : bool
        Whether it is a download that was cut short and will go on.
    """

    name: str
    size: int
    modified: datetime
    partial: bool


@dataclass(frozen=True)
class _Sidecar:
    """What is known of a cached file without reading it."""

    source: str
    size: int
    sha256: str
    modified_ns: int
    fetched: str


def root() -> Path:
    """Name the folder of the cache: ``XTA_CACHE``, else that of the platform.

    Returns
    -------
    pathlib.Path
        Whether it exists or not.
    """
    if folder := os.environ.get("XTA_CACHE", "").strip():
        return Path(folder).expanduser()
    import platformdirs

    return platformdirs.user_cache_path("xta", appauthor=False)


def find(entry: Entry, *, check: Check) -> Path | None:
    """Look for an entry in the cache; makes no request and needs no lock.

    Parameters
    ----------
    entry : Entry
    check : callable
        Raises `ArchiveReplyError` for a file that is not what it should be.

    Returns
    -------
    pathlib.Path or None
        None if the file is absent or damaged.

    Notes
    -----
    A file whose size and time are those of its sidecar is believed; one with another time (copied from
    elsewhere) is compared with its SHA-256; one without a sidecar (put there by hand) is checked as a
    download is, and gets one.
    """
    path = entry.path
    try:
        status = path.stat()
    except OSError:
        return None
    known = _read_sidecar(path)
    if known and known.size == status.st_size and known.modified_ns == status.st_mtime_ns:
        return path
    try:
        if known and (known.size != status.st_size or known.sha256 != _sha256(path)):
            msg = "is not what was stored"
            raise ArchiveReplyError(msg)
        if not known:
            check(path)
    except ArchiveReplyError as error:
        logger.warning("%s in the cache %s; it is not used", path, error)
        return None
    except FileNotFoundError:  # deleted in the meantime
        return None
    with contextlib.suppress(OSError):  # a shared cache may be read-only
        _write_sidecar(path, known.source if known else entry.source)
    return path


def obtain(
    entry: Entry, fetch: Fetch, *, check: Check, what: str, advice: str, wait: float, offline: bool = False
) -> Path:
    """Give the file of an entry, fetching it if it is not there.

    Parameters
    ----------
    entry : Entry
    fetch : callable
        Downloads into the path that it is given.
    check : callable
        As in `find`.
    what, advice : str
        Begin and end of messages.
    wait : float
        Longest wait for another process that is fetching the same [s].
    offline : bool
        Forbid `fetch`.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ArchiveError
        If it is neither in the cache nor to be had.
    FileError
        If the cache cannot be written.
    """
    if path := find(entry, check=check):
        return path
    refuse_offline(entry, what=what, advice=advice, offline=offline)
    with claim(entry, what=what, advice=advice, wait=wait) as part:
        if path := find(entry, check=check):  # fetched by another process in the meantime
            return path
        fetch(part)
        inspect(entry, part, check=check, what=what, advice=advice)
        return store(entry, part)


def refuse_offline(entry: Entry, *, what: str, advice: str, offline: bool) -> None:
    """Raise the error for what is not in the cache where the network is forbidden.

    Raises
    ------
    ArchiveError
        If `offline` or ``XTA_OFFLINE`` forbids the network.
    """
    if is_offline(offline):
        msg = (
            f"{what}: not in the cache ({entry.path}) and the network is off (offline=True or XTA_OFFLINE); "
            f"fetch it once with the network on, or {advice}"
        )
        raise ArchiveError(msg)


def inspect(entry: Entry, part: Path, *, check: Callable[[Path], T], what: str, advice: str) -> T:
    """Check a finished download; delete it if it is not what it should be.

    Parameters
    ----------
    entry, check, what, advice
        As in `obtain`.
    part : pathlib.Path
        From `claim`.

    Returns
    -------
    object
        What `check` returns.

    Raises
    ------
    ArchiveReplyError
        If `check` does.
    """
    try:
        return check(part)
    except ArchiveReplyError as error:
        _discard(part)
        msg = f"{what}: what the archive sent ({entry.source}) {error}; nothing is kept; try again later, or {advice}"
        raise ArchiveReplyError(msg) from None


def store(entry: Entry, part: Path) -> Path:
    """Give a checked download its name, in one step for whoever looks.

    Parameters
    ----------
    entry : Entry
    part : pathlib.Path
        From `claim`; gone afterwards.

    Returns
    -------
    pathlib.Path
    """
    path = entry.path
    with writable(path):
        _sidecar(path).unlink(missing_ok=True)
        part.replace(path)
        _write_sidecar(path, entry.source)
    _discard(part)
    return path


@contextlib.contextmanager
def claim(entry: Entry, *, what: str, advice: str, wait: float) -> Iterator[Path]:
    """Hold an entry against all other threads and processes.

    Parameters
    ----------
    entry, what, advice, wait
        As in `obtain`.

    Yields
    ------
    pathlib.Path
        Where to download to. What is left there is removed in the end, unless it can be resumed.

    Raises
    ------
    ArchiveTimeoutError
        If another process holds it longer than `wait`.
    FileError
        If the folder cannot be written or has no locks.
    """
    path = entry.path
    part = _beside(path, PART)
    with writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with lock(_beside(path, LOCK), wait) as held:
        if not held:
            msg = f"{what}: another process has been fetching it for {wait:.0f} s; try again later, or {advice}"
            raise ArchiveTimeoutError(msg)
        try:
            yield part
        finally:
            if not _beside(part, TAG).exists() or not part.exists() or not part.stat().st_size:
                _discard(part)


def report() -> list[Item]:
    """List what is in the cache.

    Returns
    -------
    list of Item
        Sorted by name. Sidecars and locks are not listed.
    """
    items = []
    folders = ("logs/*", "products/*/*", "searches/*")
    for path in sorted(path for folder in folders for path in root().glob(folder)):
        name = path.relative_to(root()).as_posix()
        if not OURS.fullmatch(name):
            continue
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            modified = datetime.fromtimestamp(status.st_mtime, UTC)
            items.append(Item(name, status.st_size, modified, partial=name.endswith(PART)))
    return items


def clear(matching: str = "") -> int:
    """Delete from the cache.

    Parameters
    ----------
    matching : str
        Part of the names to delete, such as a visit "01386001001" or "logs/" (logs are named by their time);
        all by default. What another process is fetching just now stays, and so does every file whose name
        xta did not give.

    Returns
    -------
    int
        Space gained [byte].
    """
    gained = 0
    for item in report():
        if matching not in item.name:
            continue
        path = root() / item.name.removesuffix(PART)
        with lock(_beside(path, LOCK), 0.0) as held, writable(path):
            if held:
                gained += item.size
                aside = [_beside(path, PART + TAG), _sidecar(path), *path.parent.glob(f"{path.name}.*.new")]
                for old in (root() / item.name, *aside):
                    old.unlink(missing_ok=True)
    return gained


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _sidecar(path: Path) -> Path:
    return _beside(path, SIDECAR)


def _discard(part: Path) -> None:
    with contextlib.suppress(OSError):
        part.unlink(missing_ok=True)
        _beside(part, TAG).unlink(missing_ok=True)


def _read_sidecar(path: Path) -> _Sidecar | None:
    try:
        return _Sidecar(**json.loads(_sidecar(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _write_sidecar(path: Path, source: str) -> None:
    status = path.stat()
    fetched = datetime.now(UTC).isoformat(timespec="seconds")
    known = _Sidecar(source, status.st_size, _sha256(path), status.st_mtime_ns, fetched)
    new = _beside(path, f".{os.getpid()}-{threading.get_ident()}.new")
    new.write_text(json.dumps(asdict(known), indent=1), encoding="utf-8")
    new.replace(_sidecar(path))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
