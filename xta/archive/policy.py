"""Define how the archive is used: addresses, time limits, token, and whether the network is allowed.

All settings are read from the environment when they are needed, never at import:

=================== ============================================================
``XTA_MAST_URL``    address of MAST, default ``https://mast.stsci.edu``
``XTA_EDB_URL``     address of the engineering database, default that of MAST
``XTA_EDB_FORM``    form of its requests and replies: ``mast`` (default) or ``direct``, see `xta.archive.edb`
``XTA_OFFLINE``     1 forbids the network
``MAST_API_TOKEN``  token for exclusive-access data, see https://auth.mast.stsci.edu
=================== ============================================================
"""

import ipaddress
import os
import re
import threading
import time
from concurrent.futures import CancelledError
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit

from xta.errors import ArgumentError

if TYPE_CHECKING:
    from requests import PreparedRequest

__all__ = ["Policy", "Service", "Task", "Token", "edb", "edb_form", "find_token", "is_loopback", "is_offline", "mast"]

DEFAULT_URL = "https://mast.stsci.edu"


@dataclass(frozen=True)
class Policy:
    """Time limits, retries and parallel requests; all times in seconds.

    Parameters
    ----------
    connect, read : float
        Longest wait for a connection, and for the next bytes of a reply [s].
    deadline : float
        Longest time for one product, log or search with all its retries [s]. An interrupted download is kept if the
        archive can resume it, and the next call continues it.
    attempts : int
        Largest number of attempts for a request, which is repeated after 429, 5xx, a time-out or a lost connection.
    backoff, backoff_max : float
        First and longest pause between attempts [s]; it doubles each time, with jitter. A ``Retry-After`` of
        the archive replaces it.
    pause : float
        Pause between polls of a search that the archive is still executing [s].
    workers : int
        Number of visits or files that are fetched at the same time.
    stop : threading.Event, optional
        Once it is set, whatever waits for the archive raises `concurrent.futures.CancelledError` within 0.2 s.
    """

    connect: float = 10.0
    read: float = 60.0
    deadline: float = 600.0
    attempts: int = 4
    backoff: float = 1.0
    backoff_max: float = 30.0
    pause: float = 1.0
    workers: int = 6
    stop: threading.Event | None = None

    def __post_init__(self) -> None:
        for field in fields(self)[:-1]:
            value = getattr(self, field.name)
            if not value > 0 and not (value == 0 and field.name in {"backoff", "backoff_max", "pause"}):
                msg = f"Policy({field.name}={value!r}) must be positive"
                raise ArgumentError(msg)

    def is_stopped(self) -> bool:
        """Check whether `stop` is set."""
        return self.stop is not None and self.stop.is_set()

    def wait(self, seconds: float) -> None:
        """Wait for a time [s]; CancelledError as soon as `stop` is set."""
        if self.stop is None:
            time.sleep(seconds)
        elif self.stop.wait(seconds):
            raise CancelledError


@dataclass(frozen=True)
class Service:
    """One service of the archive: its name in messages, its address, the environment variable that sets it."""

    name: str
    url: str
    variable: str

    def __str__(self) -> str:
        return f"{self.name} ({self.url})"

    @property
    def private(self) -> bool:
        """Whether nobody in between can read what is sent: TLS, or this machine."""
        return urlsplit(self.url).scheme == "https" or is_loopback(self.url)

    def owns(self, url: str) -> bool:
        """Check whether `url` has the scheme, host and port of the service."""
        return _origin(url) == _origin(self.url)


class Token:
    """A MAST token: what requests takes as ``auth``, without a readable representation; it cannot be pickled."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        text = text.strip()
        # A line break in a header would be an injection; requests would quote the token in its error.
        if not re.fullmatch(r"[!-~]+", text):
            msg = "the MAST token has characters that no token has; copy it again from https://auth.mast.stsci.edu"
            raise ArgumentError(msg)
        self._text = text

    def __repr__(self) -> str:
        return "Token(hidden)"

    def __reduce__(self) -> NoReturn:
        msg = "a token cannot be pickled, since it must not be stored"
        raise TypeError(msg)

    def __call__(self, request: "PreparedRequest") -> "PreparedRequest":
        """Add the header ``Authorization`` to a request."""
        request.headers["Authorization"] = f"token {self._text}"
        return request


@dataclass(frozen=True)
class Task:
    """The request of one call to the archive, advice for the user, and the policy."""

    what: str
    advice: str
    policy: Policy = Policy()
    offline: bool = False
    progress: bool = False

    def message(self, problem: str, todo: str) -> str:
        """Write the message of an error: the request, the problem, and the advice."""
        return f"{self.what}: {problem}; {todo}, or {self.advice}"


def find_token(token: "str | Token | None" = None) -> Token | None:
    """Return the token of an argument, or else of ``MAST_API_TOKEN``; None if there is none."""
    if isinstance(token, Token):
        return token
    text = token if token is not None else os.environ.get("MAST_API_TOKEN", "")
    return Token(text) if text.strip() else None


def is_offline(offline: bool = False) -> bool:
    """Check whether the network is forbidden, by an argument or by ``XTA_OFFLINE``."""
    return offline or os.environ.get("XTA_OFFLINE", "").strip().lower() not in {"", "0", "false", "no", "off"}


def is_loopback(url: str) -> bool:
    """Check whether an address is on this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def mast() -> Service:
    """Return the MAST service at its configured address; ArgumentError if that is not an http(s) address."""
    return Service("MAST", _address("XTA_MAST_URL", DEFAULT_URL), "XTA_MAST_URL")


def edb() -> Service:
    """Return the engineering database; it has the address of MAST unless ``XTA_EDB_URL`` names another."""
    return Service("the engineering database", _address("XTA_EDB_URL", mast().url), "XTA_EDB_URL")


def edb_form() -> str:
    """Return the form of requests to the engineering database (``XTA_EDB_FORM``): "mast" or "direct"."""
    form = os.environ.get("XTA_EDB_FORM", "").strip().lower() or "mast"
    if form not in {"mast", "direct"}:
        msg = f"XTA_EDB_FORM is {form[:40]!r}; it must be mast or direct"
        raise ArgumentError(msg)
    if form == "direct" and not os.environ.get("XTA_EDB_URL", "").strip():
        msg = "XTA_EDB_FORM is direct, which MAST does not have; set XTA_EDB_URL to the address of the service"
        raise ArgumentError(msg)
    return form


def _address(variable: str, default: str) -> str:
    url = os.environ.get(variable, "").strip() or default
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and parts.hostname and (parts.port or True)
    except ValueError:
        good = False
    # What is wrong is not repeated: an address may hold a password.
    if not good or parts.username or parts.password or parts.query or parts.fragment:
        msg = f"{variable} must be an address such as {DEFAULT_URL}, without user name, query or fragment"
        raise ArgumentError(msg)
    return url.rstrip("/")


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    return parts.scheme, (parts.hostname or "").rstrip("."), port
