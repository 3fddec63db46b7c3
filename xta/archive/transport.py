"""Requests to the archive: deadline, retries, redirects, token.

Nothing else sends anything. This module imports requests, so the others import it inside functions.
"""

import contextlib
import logging
import math
import random
import socket
import threading
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import ChunkedEncodingError, ContentDecodingError, InvalidURL, SSLError
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, ReadTimeoutError

from xta.archive.policy import Policy, Service, Token
from xta.errors import (
    ArchiveBusyError,
    ArchiveError,
    ArchiveNotAuthorisedError,
    ArchiveNotFoundError,
    ArchiveReplyError,
    ArchiveTimeoutError,
)

__all__ = ["Client"]

logger = logging.getLogger(__name__)

T = TypeVar("T")
Headers = Mapping[str, str]

MAX_REDIRECTS = 5
BUSY = frozenset({408, 425, 429})
LATER = "try again later"
NO_PROXIES: Any = {"http": None, "https": None, "all": None}

# The first that fits: some of these are kinds of others.
FAILURES: tuple[tuple[type[Exception], type[ArchiveError], str, str, float | None], ...] = (
    (requests.Timeout, ArchiveTimeoutError, "did not answer in time", LATER, None),
    (SSLError, ArchiveError, "could not prove who it is (TLS)", "check the network", math.inf),
    (ContentDecodingError, ArchiveReplyError, "sent damaged compressed data", LATER, math.inf),
    (ChunkedEncodingError, ArchiveBusyError, "broke the connection off", LATER, None),
    (
        requests.ConnectionError,
        ArchiveBusyError,
        "could not be reached or hung up",
        f"check the network or {LATER}",
        None,
    ),
)


class _Again(Exception):  # noqa: N818 -- not an error of its own: carries one that a retry may cure
    """A failure that may pass, and the wait [s] that the archive asks for."""

    def __init__(self, failure: ArchiveError, wait: float | None = None) -> None:
        self.failure, self.wait = failure, wait


class _Adapter(HTTPAdapter):
    """An adapter that tells of every connection it opens, so that a deadline can cut it."""

    def __init__(self, watch: Callable[[socket.socket], None]) -> None:
        self._watch = watch
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools()

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = self._pools()
        return manager

    def _pools(self) -> dict[str, Any]:
        watch = self._watch

        def watched(pool: Any) -> Any:
            class Connection(pool.ConnectionCls):  # type: ignore[misc]
                def connect(self) -> None:
                    super().connect()
                    watch(self.sock)

            return type(pool.__name__, (pool,), {"ConnectionCls": Connection})

        return {"http": watched(HTTPConnectionPool), "https": watched(HTTPSConnectionPool)}


class Client:
    """One errand at a service: a session with a deadline over everything that it does.

    Parameters
    ----------
    service : Service
    what : str
        What is fetched and for which visit; begins every message.
    advice : str
        What else a user can do; ends every message.
    token : Token, optional
        Sent to the service itself only, over TLS or to this machine, never along a redirect elsewhere.
    policy : Policy, optional

    Notes
    -----
    Time-outs of a socket count from its last byte, so a reply that drips never meets one. At the deadline
    a timer therefore shuts the connections, and whatever was reading from them ends at once.
    """

    def __init__(
        self, service: Service, what: str, *, advice: str, token: Token | None = None, policy: Policy | None = None
    ) -> None:
        from xta import __version__

        self.service, self.what, self.advice = service, what, advice
        self.policy = policy or Policy()
        self._token = token
        self._sockets: list[socket.socket] = []
        self._late = False
        self._session = requests.Session()
        self._session.headers["User-Agent"] = f"xta/{__version__} {requests.utils.default_user_agent()}"
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter(self._watch))
        self._end = time.monotonic() + self.policy.deadline
        self._timer = threading.Timer(self.policy.deadline, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> "Client":
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._session.close()

    @property
    def user_agent(self) -> str:
        """How requests introduce themselves."""
        return str(self._session.headers["User-Agent"])

    def request(
        self,
        method: str,
        url: str,
        consume: Callable[[requests.Response], T],
        *,
        data: Any = None,
        headers: Callable[[], Headers] = dict,
        accept: frozenset[int] = frozenset({200}),
    ) -> T:
        """Send a request until it is answered, and read the reply.

        Parameters
        ----------
        method, url, data
            As of `requests.Session.request`.
        consume : callable
            Takes the reply, its body not yet read; what it returns is returned.
        headers : callable
            Gives the headers of the next attempt.
        accept : set of int
            Statuses that `consume` knows what to do with; all others are errors.

        Raises
        ------
        ArchiveError
            Of the class that fits. It holds no reply, request or other exception, hence no token.
        """
        for attempt in range(1, self.policy.attempts + 1):
            wait: float | None = None
            try:
                with contextlib.closing(self._send(method, url, data, headers())) as response:
                    if response.status_code not in accept:
                        self._judge(response)
                    result = consume(response)
                if not self._late:
                    return result
                failure: ArchiveError = self._timeout()
            except _Again as again:
                failure, wait = again.failure, again.wait
            except requests.RequestException as error:
                failure, wait = self._lost(error)
            # Outside of the except clauses, so that the error has no context with a request in it.
            self._rest(attempt, failure, wait)
        raise AssertionError  # pragma: no cover -- _rest raises at the last attempt

    def error(self, kind: type[ArchiveError], found: str, todo: str) -> ArchiveError:
        """Make an error that names what was asked, the service, what it did and what to do."""
        return kind(f"{self.what}: {self.service} {found}; {todo}, or {self.advice}")

    def again(self, failure: ArchiveError, wait: float | None = None) -> Exception:
        """Make what `consume` raises when another attempt may go better."""
        return _Again(failure, wait)

    def broke(self) -> ArchiveError:
        """Make the error of a connection that ended too soon."""
        return self.error(ArchiveBusyError, "broke the connection off", LATER)

    def _send(self, method: str, url: str, data: Any, headers: Headers) -> requests.Response:
        for _ in range(MAX_REDIRECTS + 1):
            left = self._end - time.monotonic()
            if left <= 0:
                raise self._timeout()
            try:
                response = self._session.request(
                    method,
                    url,
                    data=data,
                    headers=dict(headers),
                    # Without any auth requests would take a password from ~/.netrc.
                    auth=self._token if self._token and self._trusts(url) else _anonymous,
                    timeout=(min(self.policy.connect, left), min(self.policy.read, left)),
                    # A proxy of the environment has no business between this machine and itself.
                    proxies=NO_PROXIES if self.service.loopback else None,
                    stream=True,
                    allow_redirects=False,
                )
            except requests.RequestException:
                raise
            except ValueError:  # of urllib, on a Location that is no address
                raise InvalidURL from None
            except HTTPError:  # of urllib3, in the body of a redirect
                raise requests.ConnectionError from None
            if not response.is_redirect:
                return response
            response.close()
            url = self._next(method, url, response)
        raise self.error(ArchiveReplyError, "redirects without end", f"check {self.service.variable}")

    def _trusts(self, url: str) -> bool:
        return self.service.private and self.service.owns(url)

    def _next(self, method: str, url: str, response: requests.Response) -> str:
        """Follow a redirect by hand: never from TLS to plain text, never with a form turned into a GET."""
        target = urljoin(url, response.headers["Location"])
        allowed = {"https"} if urlsplit(url).scheme == "https" else {"http", "https"}
        if urlsplit(target).scheme not in allowed or not urlsplit(target).hostname:
            raise self.error(ArchiveReplyError, "redirects to where nothing is fetched from", LATER)
        if method != "GET" and response.status_code not in {307, 308}:
            found = f"redirects the search ({response.status_code})"
            raise self.error(ArchiveReplyError, found, f"check {self.service.variable}")
        return target

    def _judge(self, response: requests.Response) -> NoReturn:
        """Raise what a status means."""
        status = response.status_code
        if status in {401, 403}:
            raise self._forbidden(status)
        if status in {404, 410}:
            raise self.error(ArchiveNotFoundError, f"has no such thing ({status})", "check the name or the visit")
        if status in BUSY or status >= 500:
            wait = _retry_after(response.headers.get("Retry-After"))
            asks = f" and asks to wait {wait:.0f} s" if wait else ""
            failure = self.error(ArchiveBusyError, f"is busy or down ({status}){asks}", LATER)
            raise _Again(failure, wait)
        raise self.error(ArchiveReplyError, f"answered with status {status}", LATER)

    def _forbidden(self, status: int) -> ArchiveError:
        where = "https://auth.mast.stsci.edu"
        if self._token is None:
            todo = f"exclusive-access data need a token from {where}: set MAST_API_TOKEN or pass token="
        elif not self.service.private:
            todo = f"the token was not sent because {self.service.variable} is not https"
        else:
            todo = f"the token was not accepted: it may have expired (make a new one at {where}) or lack the right"
        return self.error(ArchiveNotAuthorisedError, f"does not give it ({status})", todo)

    def _lost(self, error: requests.RequestException) -> tuple[ArchiveError, float | None]:
        """Say what a failure below HTTP means; an infinite wait where another attempt would not help."""
        if self._late or time.monotonic() >= self._end:
            return self._timeout(), math.inf
        cause = error.args[0] if error.args else None
        if isinstance(cause, ReadTimeoutError):  # in the body of a reply
            error = requests.ReadTimeout()
        for kind, says, found, todo, wait in FAILURES:
            if isinstance(error, kind):
                return self.error(says, found, todo), wait
        return self.error(ArchiveReplyError, "gave a reply that cannot be followed", LATER), math.inf

    def _rest(self, attempt: int, failure: ArchiveError, wait: float | None) -> None:
        """Pause before the next attempt; raise `failure` if there is none."""
        if wait is None:
            longest = min(self.policy.backoff_max, self.policy.backoff * 2 ** (attempt - 1))
            wait = longest * random.uniform(0.5, 1.0)
        if self._late or attempt >= self.policy.attempts or wait >= self._end - time.monotonic():
            raise failure
        found = str(failure).partition(";")[0]
        logger.warning("%s; attempt %d of %d in %.0f s", found, attempt + 1, self.policy.attempts, wait)
        time.sleep(wait)

    def _timeout(self) -> ArchiveError:
        found = f"took longer than the {self.policy.deadline:.0f} s allowed"
        return self.error(ArchiveTimeoutError, found, LATER)

    def _watch(self, sock: socket.socket) -> None:
        self._sockets.append(sock)
        if self._late:
            self._cut()

    def _cut(self) -> None:
        self._late = True
        for sock in list(self._sockets):
            with contextlib.suppress(OSError):
                # The method of the plain socket: that of a TLS socket would take it apart under its reader.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _retry_after(text: str | None) -> float | None:
    """Read ``Retry-After``: seconds or an HTTP date; None where there is no sense in it."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _anonymous(request: Any) -> Any:
    return request
