"""Keep what was read from the files that the exposures of a visit share, until a file changes."""

from collections.abc import Callable
from functools import lru_cache, wraps
from pathlib import Path
from typing import TypeVar

__all__ = ["kept"]

LARGE = 2**25
"""Size of a file whose content is not kept [byte]."""

Content = TypeVar("Content")


def kept(read: Callable[[Path], Content], *, number: int, large: float = LARGE) -> Callable[[Path], Content]:
    """Let a function of a file remember its last results.

    A file is read again if it was changed or replaced: if its inode, its size, the time of its content or that of its
    other attributes is another. Errors are not kept. A result is shared between threads, so it must not be changed.

    Parameters
    ----------
    read : callable
    number : int
        Number of results to keep; the one that was not used for longest is given up first.
    large : float
        Size from which a file is read each time [byte].
    """

    @lru_cache(maxsize=number)
    def known(path: Path, *_state: int) -> Content:
        return read(path)

    @wraps(read)
    def reader(path: Path) -> Content:
        about = path.stat()
        if about.st_size >= large:
            return read(path)
        return known(path, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)

    return reader
