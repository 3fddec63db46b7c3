"""Save the rows of a survey on disk, one line per visit, so that an interrupted survey can be resumed."""

import errno
import json
import logging
import os
from pathlib import Path

from xta.errors import FileError, warn
from xta.surveys.files import VisitFiles
from xta.surveys.table import Row

__all__ = ["Store"]

logger = logging.getLogger(__name__)

FORMAT = "xta survey row"


class Store:
    """Finished rows in a file of JSON lines, which is created with the first row.

    Rows that were made with another version or other options than `made_with` are not used. If the network may be used
    (`online`), provisional rows, for which the archive did not answer, are not used either. A line is written by one
    call; only a crash of the machine can leave an incomplete line at the end, which is then removed. Of two lines of a
    visit the later one is used.
    """

    def __init__(self, path: "str | os.PathLike[str]", *, made_with: str, online: bool = True) -> None:
        self.path = Path(path).expanduser()
        self.made_with, self.online = made_with, online
        self._lines: dict[str, Row] = {}
        if not self.path.parent.is_dir():
            msg = f"the folder {self.path.parent} does not exist; create it, or choose another file for resume"
            raise FileError(msg)
        if self.path.exists():
            self._read()

    def _read(self) -> None:
        try:
            text = self.path.read_bytes()
            ours = text[: len(_START)] == _START[: len(text)]
            whole = text[: text.rfind(b"\n") + 1]
            if ours and len(whole) < len(text):
                os.truncate(self.path, len(whole))
        except OSError as error:
            msg = f"cannot read the rows of an earlier survey: {error}; remove {self.path} or choose another"
            raise FileError(msg) from error
        if not ours:
            msg = f"{self.path} contains no rows of a survey; choose another file for resume"
            raise FileError(msg)
        for number, row in enumerate(whole.splitlines(), 1):
            try:
                line = json.loads(row)
                visit, ok, _, _ = line["row"]["visit_id"], line["row"]["ok"], line["made_with"], line["files"]
                usable = isinstance(visit, str) and ok in {0, 1, 2, 3}
            except (ValueError, KeyError, TypeError, RecursionError):
                usable = False
            if usable:
                self._lines[visit] = line
            else:
                warn(f"line {number} of {self.path} cannot be read; its visit is analyzed again")

    def get(self, files: VisitFiles) -> Row | None:
        """Return the row of a visit, unless it failed, is provisional, or was made from other files."""
        line = self._lines.get(files.visit_id)
        if line is None or line["made_with"] != self.made_with or line["files"] != _signature(files):
            return None
        row: Row = line["row"]
        return row if row["ok"] and not (self.online and row.get("provisional")) else None

    def add(self, files: VisitFiles, row: Row) -> None:
        """Write a row; an incomplete line is never left."""
        line = {"format": FORMAT, "made_with": self.made_with, "files": _signature(files), "row": row}
        text = (json.dumps(line, allow_nan=False) + "\n").encode()
        try:
            with self.path.open("ab", buffering=0) as file:
                before = file.seek(0, os.SEEK_END)
                if file.write(text) < len(text):  # a disk that becomes full takes a part, without an error
                    file.truncate(before)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            msg = f"cannot save the rows in {self.path}: {error}; check permissions and free disk space"
            raise FileError(msg) from error


_START = json.dumps({"format": FORMAT})[:-1].encode()


def _signature(files: VisitFiles) -> list[object]:
    """List the files that a row depends on, with size and time of each, and the number and errors of other files."""
    result: list[object] = [files.n_files, *files.damaged]
    for path in files.paths:
        try:
            about = path.stat()
            result.append([str(path), about.st_size, about.st_mtime_ns])
        except OSError as error:
            logger.info("%s: %s", path, error)
            result.append([str(path), -1, -1])
    return result
