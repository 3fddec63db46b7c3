"""Locks between processes, and errors of the file system in words."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from xta.errors import FileError, XtaError

__all__ = ["lock", "writable"]


@contextlib.contextmanager
def writable(path: Path) -> Iterator[None]:
    """Turn what the file system says into an error that names the folder and the way out."""
    try:
        yield
    except XtaError:
        raise
    except OSError as error:
        msg = f"the cache {path.parent} cannot be written ({error.strerror}); set XTA_CACHE to another folder"
        raise FileError(msg) from error


@contextlib.contextmanager
def lock(path: Path, wait: float) -> Iterator[bool]:
    """Hold a lock file; False if somebody else holds it for longer than `wait` [s].

    The lock is that of the operating system, which frees it when a process dies. The file goes away with
    the last holder, so a lock counts only if it is on the file that has the name now.
    """
    end = time.monotonic() + wait
    while (file := _open_locked(path)) is None:
        if time.monotonic() >= end:
            yield False
            return
        time.sleep(0.05)
    try:
        yield True
    finally:
        with contextlib.suppress(OSError):  # Windows keeps the name of an open file
            path.unlink()
        file.close()


def _open_locked(path: Path) -> IO[bytes] | None:
    with writable(path), contextlib.ExitStack() as stack:
        file = stack.enter_context(path.open("ab"))
        if not (_try_lock(file.fileno()) and _is_current(file.fileno(), path)):
            return None
        stack.pop_all()
        return file


def _is_current(number: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(number), path.stat())
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _try_lock(number: int) -> bool:
        try:
            msvcrt.locking(number, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(number: int) -> bool:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
