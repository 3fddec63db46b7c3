"""Downloads that go on where they stopped."""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import requests

from xta.archive.transport import Client
from xta.errors import ArchiveReplyError, FileError

__all__ = ["download", "tag_of"]

CHUNK = 1 << 16


def download(client: Client, url: str, part: Path, *, progress: bool = False, compressed: bool = False) -> None:
    """Fetch `url` into the file `part`, going on from what is there where the archive allows it.

    Parameters
    ----------
    client : Client
    url : str
    part : Path
        Half-finished file. Beside it `tag_of(part)` holds the validator of the version it is of; without
        one it is started anew.
    progress : bool
        Show a bar on stderr.
    compressed : bool
        Accept a compressed transfer (such a one cannot be resumed).

    Raises
    ------
    ArchiveError
        As `Client.request`.
    FileError
        If `part` cannot be written.
    """

    def headers() -> Mapping[str, str]:
        sent = {} if compressed else {"Accept-Encoding": "identity"}
        if (have := _size(part)) and (tag := _read_tag(part)):
            return {"Accept-Encoding": "identity", "Range": f"bytes={have}-", "If-Range": tag}
        return sent

    def consume(response: requests.Response) -> None:
        start = _start(client, response, part)
        length = response.headers.get("Content-Length", "")
        plain = "Content-Encoding" not in response.headers
        total = start + int(length) if length.isdecimal() and plain else None
        with _bar(part, start, total, progress) as count:
            written = _write(response, part, start, count)
        if total is not None and written != total:
            raise client.again(client.broke())

    client.request("GET", url, consume, headers=headers, accept=frozenset({200, 206, 416}))


def tag_of(part: Path) -> Path:
    """Name the file that says which version of a product a half-finished file is of."""
    return part.with_name(f"{part.name}.tag")


def _start(client: Client, response: requests.Response, part: Path) -> int:
    """Find at which byte a reply begins: 0, or where `part` ends."""
    if response.status_code == 200:
        return 0
    have = _size(part)
    match = re.fullmatch(r"bytes (\d+)-\d+/(?:\d+|\*)", response.headers.get("Content-Range", ""))
    if match is None or int(match[1]) != have or "Content-Encoding" in response.headers:
        tag_of(part).unlink(missing_ok=True)
        found = "resumed at another place than asked"
        raise client.again(client.error(ArchiveReplyError, found, "try again later"), wait=0.0)
    return have


def _write(response: requests.Response, part: Path, start: int, count: Callable[[int], object]) -> int:
    """Write the body of a reply into `part` from byte `start` on; give the size of the file."""
    with _writable(part):
        if start == 0:
            # In this order, so that no moment sees old bytes beside the validator of a new version.
            tag_of(part).unlink(missing_ok=True)
            part.write_bytes(b"")
            if tag := _validator(response):
                tag_of(part).write_text(tag, encoding="ascii")
        with part.open("r+b") as file:
            written = file.seek(start)
            for chunk in response.iter_content(CHUNK):
                written += file.write(chunk)
                count(len(chunk))
            return written


def _validator(response: requests.Response) -> str:
    """Take from a reply what tells its version, or nothing where it cannot be resumed."""
    headers = response.headers
    if headers.get("Accept-Ranges") != "bytes" or "Content-Encoding" in headers:
        return ""
    tag = headers.get("ETag", "")
    tag = headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag
    return tag if re.fullmatch(r"[ -~]{1,200}", tag) else ""


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _read_tag(part: Path) -> str:
    tag = tag_of(part)
    return tag.read_text(encoding="ascii", errors="ignore").strip() if tag.exists() else ""


@contextlib.contextmanager
def _writable(part: Path) -> Iterator[None]:
    try:
        yield
    except requests.RequestException:  # an OSError too, but not of this file
        raise
    except OSError as error:
        msg = f"{part}: cannot be written ({error.strerror}); make room or set XTA_CACHE to another folder"
        raise FileError(msg) from error


@contextlib.contextmanager
def _bar(part: Path, start: int, total: int | None, progress: bool) -> Iterator[Callable[[int], object]]:
    """Count bytes, on stderr if `progress`."""
    if not progress:
        yield lambda _: None
        return
    from tqdm import tqdm

    name = part.name.removesuffix(".part")
    with tqdm(total=total, initial=start, desc=name, unit="B", unit_scale=True) as bar:
        yield bar.update
