"""Send requests to the archive, with deadline, retries, redirects, token, and resumable downloads.

Only this module sends requests. It imports requests, so other modules import it inside functions.
"""

import io
import random
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import ChunkedEncodingError, ContentDecodingError, SSLError
from urllib3 import Retry
from urllib3.exceptions import HTTPError, InvalidHeader, ReadTimeoutError
from urllib3.util import wait_for_read

from xta.archive.cache import opened, tag_of, writable
from xta.archive.policy import Policy, Service, Task, Token, is_loopback
from xta.errors import (
    ArchiveBusyError,
    ArchiveError,
    ArchiveNotAuthorizedError,
    ArchiveNotFoundError,
    ArchiveReplyError,
    ArchiveTimeoutError,
)

__all__ = ["Client"]

T = TypeVar("T")

OK = frozenset({200})
BUSY = frozenset({408, 425, 429, *range(500, 600)})
CHUNK = 1 << 16  # [byte]
GLANCE = 0.2  # between checks of the deadline while nothing arrives [s]
LATER = "try again later"

# The first match counts, since some of these are subclasses of others.
FAILURES: tuple[tuple[type[Exception], type[ArchiveError], str, str], ...] = (
    (requests.Timeout, ArchiveTimeoutError, "did not answer in time", LATER),
    (ReadTimeoutError, ArchiveTimeoutError, "did not answer in time", LATER),
    (SSLError, ArchiveError, "could not prove its identity (TLS)", "check the network"),
    (ContentDecodingError, ArchiveReplyError, "sent damaged compressed data", LATER),
    (ChunkedEncodingError, ArchiveBusyError, "closed the connection too early", LATER),
    (requests.ConnectionError, ArchiveBusyError, "could not be reached or hung up", f"check the network or {LATER}"),
    (requests.TooManyRedirects, ArchiveReplyError, "redirects endlessly", LATER),
    (Exception, ArchiveReplyError, "sent a reply that cannot be understood", LATER),
)


class _Clock:
    """The time that is left until the deadline of a policy, or until it is stopped."""

    def __init__(self, policy: Policy) -> None:
        self._policy, self._end = policy, time.monotonic() + policy.deadline

    def left(self) -> float:
        return self._end - time.monotonic()

    def limit(self, wait: float) -> float:
        """Shorten a wait to the time left [s]; TimeoutError if none is left, CancelledError if the work is stopped."""
        if self._policy.is_stopped():
            raise CancelledError
        if self.left() <= 0:
            raise TimeoutError
        return min(wait, self.left())


class _ClockedReader(io.RawIOBase):
    """The bytes of a reply, read from a socket with a check of the deadline before each chunk.

    The time-out of a socket counts from its last byte, so a very slow reply would never reach it.
    """

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, clock: _Clock, wait: float) -> None:
        self._raw, self._sock, self._clock, self._wait = raw, sock, clock, wait

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._clock.limit(self._wait))
        waited = time.monotonic() + self._wait
        while not self._has_bytes():
            self._clock.limit(self._wait)
            if time.monotonic() >= waited:
                raise TimeoutError
        return self._raw.readinto(buffer)

    def _has_bytes(self) -> bool:
        """Wait a moment for bytes; the system does not see those that TLS has read ahead."""
        ahead = isinstance(self._sock, ssl.SSLSocket) and self._sock.pending()
        return bool(ahead) or wait_for_read(self._sock, GLANCE)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Adapter(HTTPAdapter):
    """An adapter of requests with one deadline for everything that they wait for."""

    def __init__(self, policy: Policy, clock: _Clock) -> None:
        self._policy, self._clock = policy, clock
        super().__init__()

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        options["timeout"] = self._clock.limit(self._policy.connect), self._clock.limit(self._policy.read)
        if is_loopback(str(request.url)):
            options["proxies"] = None  # a proxy of the environment is another machine
        return super().send(request, *args, **options)

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **options)
        clock, wait = self._clock, self._policy.read

        def reply(sock: socket.socket, *args: Any, **options: Any) -> HTTPResponse:
            response = HTTPResponse(sock, *args, **options)
            response.fp = io.BufferedReader(_ClockedReader(response.fp.detach(), sock, clock, wait))
            return response

        pool.ConnectionCls = type("Connection", (type(pool).ConnectionCls,), {"response_class": staticmethod(reply)})
        return pool


class Client(requests.Session):
    """One task at a service: a session with a deadline for all its requests.

    The token is sent only to the service itself, over TLS or to this machine, and never along a redirect elsewhere.
    """

    def __init__(self, service: Service, task: Task, *, token: Token | None = None) -> None:
        from xta import __version__

        super().__init__()
        self.service, self.task = service, task
        self.headers["User-Agent"] = f"xta/{__version__} {requests.utils.default_user_agent()}"
        self.max_redirects = 5
        self.auth = self._sign  # without any, requests would take a password from ~/.netrc
        self._token = token
        self._clock = _Clock(task.policy)
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Adapter(task.policy, self._clock))

    def read(
        self,
        method: str,
        url: str,
        consume: Callable[[requests.Response], T],
        *,
        headers: Callable[[], Mapping[str, str]] = dict,
        accept: frozenset[int] = OK,
        data: str | None = None,
    ) -> T:
        """Send a request until it is answered with a status of `accept`, and let `consume` read the reply.

        `headers` makes the headers of each attempt. An ArchiveError holds no reply, request or other exception,
        hence no token.
        """
        policy, attempt = self.task.policy, 0
        while True:
            attempt += 1
            pause = min(policy.backoff_max, policy.backoff * 2.0 ** (attempt - 1)) * random.uniform(0.5, 1.0)
            try:
                with self.request(method, url, data=data, headers=headers(), stream=True) as response:
                    if response.status_code in accept:
                        return consume(response)
                    failure, pause = self._refusal(response), _retry_after(response) or pause
            except (requests.RequestException, HTTPError, TimeoutError) as error:
                failure = self._failure(error)
            # Outside the except clause, so that the error has no context that contains a request.
            passes = isinstance(failure, ArchiveBusyError | ArchiveTimeoutError) and attempt < policy.attempts
            if not passes or pause >= self._clock.left():
                raise failure
            policy.wait(pause)

    def download(self, source: str, part: Path, *, compressed: bool = False, path: str | None = None) -> None:
        """Fetch a MAST URI into `part`, and resume an incomplete download if the archive allows it.

        From a service without such URIs, fetch `path` with its query.

        The file `tag_of(part)` contains the validator of the version that `part` belongs to; without one the download
        starts anew. A transfer that may be `compressed` cannot be resumed.
        """
        url = f"{self.service.url}/{path or 'api/v0.1/Download/file?uri=' + quote(source, safe=':/')}"

        def headers() -> Mapping[str, str]:
            if tag := _read_tag(part):
                return {"Accept-Encoding": "identity", "Range": f"bytes={_size(part)}-", "If-Range": tag}
            return {} if compressed else {"Accept-Encoding": "identity"}

        def consume(response: requests.Response) -> bool:
            return _write(response, part, progress=self.task.progress, private=self._token is not None)

        for _ in range(2):
            if self.read("GET", url, consume, headers=headers, accept=frozenset({200, 206, 416})):
                return
            tag_of(part).unlink(missing_ok=True)  # the next attempt requests the whole file
        raise self.error(ArchiveReplyError, "resumed at another position than requested", LATER)

    def error(self, kind: type[ArchiveError], problem: str, todo: str) -> ArchiveError:
        """Make an error that names the request, the service, the problem, and what to do."""
        return kind(self.task.message(f"{self.service} {problem}", todo))

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Follow no redirect from TLS to plain text, and none that would turn a search into a GET."""
        location = super().get_redirect_target(resp)
        if location is None:
            return None
        resp.close()  # its body is not needed
        try:
            target = urlsplit(urljoin(resp.url, location))
        except ValueError:
            raise self.error(ArchiveReplyError, "sent a redirect that cannot be followed", LATER) from None
        schemes = {"https"} if resp.url.startswith("https:") else {"http", "https"}
        if target.scheme not in schemes or not target.hostname:
            raise self.error(ArchiveReplyError, "redirects to an address that is not allowed", LATER)
        if resp.request.method != "GET" and resp.status_code not in {307, 308}:
            problem = f"redirects the search ({resp.status_code})"
            raise self.error(ArchiveReplyError, problem, f"check {self.service.variable}")
        return location

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Send the token along a redirect if it leads to the service itself, and never a password of ~/.netrc."""
        prepared_request.headers.pop("Authorization", None)
        self._sign(prepared_request)

    def _sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token and self.service.private and self.service.owns(str(request.url)):
            return self._token(request)
        return request

    def _refusal(self, response: requests.Response) -> ArchiveError:
        """Make the error for a status."""
        status = response.status_code
        if status in {401, 403}:
            return self._forbidden(status)
        if status in {404, 410}:
            return self.error(ArchiveNotFoundError, f"did not find it ({status})", "check the name or the visit")
        if status in BUSY:
            wait = _retry_after(response)
            asks = f" and asks to wait {wait:.0f} s" if wait else ""
            return self.error(ArchiveBusyError, f"is busy or down ({status}){asks}", LATER)
        return self.error(ArchiveReplyError, f"answered with status {status}", LATER)

    def _forbidden(self, status: int) -> ArchiveError:
        where = "https://auth.mast.stsci.edu"
        if self._token is None:
            todo = f"exclusive-access data need a token from {where}: set MAST_API_TOKEN or pass token="
        elif not self.service.private:
            todo = f"the token was not sent because {self.service.variable} is not https"
        else:
            todo = f"the token was not accepted: it may have expired (make a new one at {where}) or lack the permission"
        return self.error(ArchiveNotAuthorizedError, f"refuses access to it ({status})", todo)

    def _failure(self, error: Exception) -> ArchiveError:
        """Make the error for a failure below HTTP."""
        if self._clock.left() <= 0:
            problem = f"took longer than the {self.task.policy.deadline:.0f} s allowed"
            return self.error(ArchiveTimeoutError, problem, LATER)
        cause = next(iter(error.args), None)
        row = next(row for row in FAILURES if isinstance(error, row[0]) or isinstance(cause, row[0]))
        return self.error(*row[1:])


def _retry_after(response: requests.Response) -> float:
    """Read the waiting time that the archive requests [s]; 0 if there is none."""
    try:
        return Retry().get_retry_after(response.raw) or 0.0
    except InvalidHeader:
        return 0.0


def _write(response: requests.Response, part: Path, *, progress: bool, private: bool) -> bool:
    """Write the body of a reply into `part`; False if it does not begin where `part` ends."""
    from tqdm import tqdm

    headers = response.headers
    plain = "Content-Encoding" not in headers
    start = 0 if response.status_code == 200 else _size(part)
    if response.status_code != 200 and not (plain and headers.get("Content-Range", "").startswith(f"bytes {start}-")):
        return False
    length = headers.get("Content-Length", "")
    total = start + int(length) if length.isdecimal() and plain else None
    with writable(part):
        if start == 0:
            _begin(response, part, private=private)
        name = part.name.removesuffix(".part")
        with (
            opened(part, "ab", private=private) as file,
            # Below the bar of a whole program, this bar disappears when the file is complete.
            tqdm(
                total=total, initial=start, desc=name, unit="B", unit_scale=True, leave=None, disable=not progress
            ) as bar,
        ):
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    return True


def _begin(response: requests.Response, part: Path, *, private: bool) -> None:
    """Empty `part`, and record the version of a reply whose download can be resumed."""
    # In this order, so that the validator of a new version is never beside old bytes.
    tag_of(part).unlink(missing_ok=True)
    part.unlink(missing_ok=True)
    opened(part, "xb", private=private).close()
    headers = response.headers
    if headers.get("Accept-Ranges") != "bytes" or "Content-Encoding" in headers:
        return
    tag = headers.get("ETag", "")
    tag = headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag
    if re.fullmatch(r"[ -~]{1,200}", tag):
        with opened(tag_of(part), "xb", private=private) as file:
            file.write(tag.encode("ascii"))


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _read_tag(part: Path) -> str:
    """Read the version of an incomplete file; empty if there is nothing to resume."""
    tag = tag_of(part)
    return tag.read_text(encoding="ascii", errors="ignore").strip() if tag.exists() and _size(part) else ""
