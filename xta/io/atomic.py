"""Make folders, and write files so that incomplete ones are never left."""

import hashlib
import os
import platform
import re
import secrets
import shutil
import traceback
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from xta.errors import FileError, XtaError, readable

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

__all__ = ["make_folder", "save_figure", "whole_file", "whole_folder"]


@contextmanager
def whole_file(path: "str | os.PathLike[str]") -> Iterator[Path]:
    """Write a file so that an incomplete one is never left.

    Yield a temporary file beside `path`, which replaces it when the block ends without an error and is removed
    otherwise; for a symbolic link, its target is replaced. Temporary files of a killed process are removed by the next
    one that writes the same `path` on that machine. Raise FileError if the folder does not exist or cannot be written,
    `path` is not an ordinary file, the disk is full, or a NetCDF file that is read in the block is damaged.
    """
    target = _target(path)
    if target.is_dir():
        msg = f"cannot write {target}: it is a folder; give a file name"
        raise FileError(msg)
    with _temporary(target) as temporary:
        temporary.open("x").close()  # refuses a file or link that somebody else put there
        yield temporary
        temporary.replace(target)


@contextmanager
def whole_folder(path: "str | os.PathLike[str]", *, like: tuple[str, ...]) -> Iterator[Path]:
    """Write a folder so that an incomplete one is never left, as `whole_file` does for a file.

    An existing folder is replaced if it contains a file with one of the names `like`; otherwise raise FileError. For a
    moment neither the old nor the new folder exists.
    """
    target = _target(path)
    if target.exists() and not any((target / name).is_file() for name in like):
        msg = f"cannot write {target}: it exists and contains none of {', '.join(like)}; give another name"
        raise FileError(msg)
    with _temporary(target) as temporary, _temporary(target) as old:
        temporary.mkdir()
        yield temporary
        if target.exists():
            target.replace(old)
        temporary.replace(target)


@contextmanager
def _temporary(target: Path) -> Iterator[Path]:
    """Yield the name of a temporary file beside a target, and remove it at the end; errors become a FileError."""
    _remove_abandoned(target)
    temporary = target.with_name(f"{_prefix(target)}{os.getpid()}-{secrets.token_hex(8)}{target.suffix}")
    try:
        with readable():
            try:
                yield temporary
            finally:
                _remove(temporary)
    except (OSError, RuntimeError) as error:
        # A RuntimeError of the NetCDF library comes from the disk; any other comes from a computation.
        origin = Path(traceback.extract_tb(error.__traceback__)[-1].filename).stem
        if isinstance(error, XtaError) or (isinstance(error, RuntimeError) and origin != "_netCDF4"):
            raise
        msg = f"cannot write {target}: {error}; check permissions and free disk space"
        raise FileError(msg) from error


def _remove(path: Path) -> None:
    """Remove a file, a link or a folder with all in it, if it is there; once more if that is interrupted."""
    remove = shutil.rmtree if path.is_dir() and not path.is_symlink() else Path.unlink
    try:
        remove(path)
    except FileNotFoundError:
        pass
    except (KeyboardInterrupt, SystemExit):
        _remove(path)
        raise


def _prefix(target: Path) -> str:
    """Start the name of a temporary file: hidden, of this target, and of this machine or container.

    Process numbers mean the same within one PID namespace, between two starts of the machine.
    """
    try:
        place = Path("/proc/sys/kernel/random/boot_id").read_text() + os.readlink("/proc/self/ns/pid")  # noqa: PTH115
    except OSError:  # not on every system
        place = f"{platform.node()} {uuid.getnode()}"
    return f".{target.stem[:40]}-{hashlib.sha256(place.encode()).hexdigest()[:12]}-"


def _remove_abandoned(target: Path) -> None:
    """Remove the temporary files of a target whose processes have ended.

    Process numbers are reused, so a file stays as long as any process has the number in its name.
    """
    name = re.compile(rf"{re.escape(_prefix(target))}(\d{{1,9}})-[0-9a-f]{{16}}{re.escape(target.suffix)}")
    with suppress(OSError):  # a folder or file of somebody else
        for path in target.parent.iterdir():
            if (match := name.fullmatch(path.name)) and not _runs(int(match[1])):
                _remove(path)


def _runs(process: int) -> bool:
    """Return True if a process runs, or if that is not known."""
    if os.name != "posix":  # there, os.kill ends the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        return True
    return True


def _target(path: "str | os.PathLike[str]") -> Path:
    """Follow links to the file or folder to write, which must be in an existing folder and not a device."""
    target = Path(os.path.realpath(Path(path).expanduser()))
    if not target.parent.is_dir():
        msg = f"cannot write {target}: the folder {target.parent} does not exist; create it or choose another"
        raise FileError(msg)
    if target.exists() and not target.is_file() and not target.is_dir():
        msg = f"cannot write {target}: it is not an ordinary file but a device, pipe or socket; give a file name"
        raise FileError(msg)
    return target


def make_folder(path: Path) -> None:
    """Make a folder and its parents if it does not exist; raise FileError if it cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"cannot make the folder {path}: {error}; choose another"
        raise FileError(msg) from error


def save_figure(figure: "Figure | SubFigure", path: Path, *, dpi: int = 150) -> None:
    """Write a figure in the format of its name; an incomplete file is never left."""
    whole = figure.figure  # a part is saved with its whole
    if whole.get_layout_engine() is not None:
        whole.draw_without_rendering()  # a layout settles with the second drawing
    with whole_file(path) as temporary:
        whole.savefig(temporary, dpi=dpi)
