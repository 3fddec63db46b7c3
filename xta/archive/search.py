"""The keyword search of MAST, through astroquery, each asked once.

References
----------
.. [1] astroquery, https://astroquery.readthedocs.io/en/latest/mast/mast_mastquery.html
.. [2] "JWST Instrument Keywords", https://mast.stsci.edu/api/v0/_jwst_inst_keywd.html (the columns)
"""

import contextlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xta.archive import cache
from xta.archive.lock import writable
from xta.archive.policy import Policy, mast
from xta.errors import ArchiveReplyError, ArchiveTimeoutError
from xta.model import MJD_ZERO

if TYPE_CHECKING:
    import requests

    from xta.archive.transport import Client

__all__ = ["ADVICE", "is_cached", "search"]

ADVICE = "give the files themselves if you have them (from another computer, or a colleague's cache)"
SETTLED = timedelta(days=7)

Row = dict[str, Any]

_guard = threading.Lock()
_searching: list[bool] = []
"""One item for each search under way: whether the cache of astroquery was on before the first of them."""


def search(
    digits: str,
    name: str,
    service: str,
    columns: str,
    filters: Mapping[str, list[str]],
    *,
    offline: bool = False,
    policy: Policy | None = None,
) -> list[Row]:
    """Give the rows of a keyword search for one visit, from the cache or from MAST.

    Parameters
    ----------
    digits : str
        Of the visit.
    name : str
        Of the search, for the cache.
    service : str
        Last word of the name of the MAST service [1]_.
    columns : str
        Comma-separated [2]_.
    filters : mapping
        Column -> values that it may have.
    offline, policy
        As of `xta.archive.mast.ta_products`.

    Returns
    -------
    list of dict
        Column name in lower case -> value.

    Raises
    ------
    ArchiveError
        If MAST cannot be asked or answers nonsense.

    Notes
    -----
    No token is sent: what is in the archive is public, also where the data are not yet.
    """
    source = f"Mast.Jwst.Filtered.{service}"
    entry = _entry(digits, name, source)
    what = f"visit V{digits} ({name})"
    policy = policy or Policy()
    if path := cache.find(entry, check=_load):
        return _load(path)
    cache.refuse_offline(entry, what=what, advice=ADVICE, offline=offline)
    with cache.claim(entry, what=what, advice=ADVICE, wait=policy.deadline) as part:
        if path := cache.find(entry, check=_load):
            return _load(path)
        rows = _ask(source, columns, filters, what, policy)
        if _is_settled(rows):
            with writable(part):
                part.write_text(json.dumps(rows), encoding="utf-8")
            cache.store(entry, part)
    return rows


def is_cached(digits: str, name: str) -> bool:
    """Tell whether the answer to a search is in the cache; arguments as of `search`."""
    return _entry(digits, name, "").path.exists()


def _entry(digits: str, name: str, source: str) -> cache.Entry:
    return cache.Entry("searches", f"{digits}-{name}.json", source)


def _ask(service: str, columns: str, filters: Mapping[str, list[str]], what: str, policy: Policy) -> list[Row]:
    from xta.archive.transport import Client

    address = mast()
    params = {"columns": columns, "filters": [{"paramName": key, "values": filters[key]} for key in filters]}
    with Client(address, what, advice=ADVICE, policy=policy) as client, _no_astroquery_cache():
        portal = _portal(client, service)
        try:
            pages = [response.json() for response in portal.service_request_async(service, params)]
            if bad := [page for page in pages if page["status"] != "COMPLETE"]:
                found = f"refused the search ({str(bad[0].get('msg', ''))[:200]!r})"
                raise client.error(ArchiveReplyError, found, "try again later")
            return [{str(key).lower(): row[key] for key in row} for page in pages for row in page["data"]]
        except TimeoutError:
            raise client.error(ArchiveTimeoutError, "is still at the search", "try again later") from None
        except (ValueError, LookupError, TypeError, AttributeError):
            # astroquery takes the form of a reply for granted and says so in many ways
            raise client.error(ArchiveReplyError, "answered the search with nonsense", "try again later") from None


def _portal(client: "Client", service: str) -> Any:
    """Make astroquery's connection to MAST, at the address configured, and over our own transport."""
    from astroquery.mast.discovery_portal import PortalAPI

    portal = PortalAPI(session=_Session(client))
    portal.MAST_REQUEST_URL = f"{client.service.url}/api/v0/invoke"
    portal.COLUMNS_CONFIG_URL = f"{client.service.url}/portal/Mashup/Mashup.asmx/columnsconfig"
    portal.TIMEOUT = client.policy.deadline
    # The description of the columns is used by its tables only, which are not used here: one request less.
    portal._column_configs = {service: {}}
    return portal


class _Session:
    """What astroquery needs of a session, with the deadline, retries and redirects of a `Client`."""

    def __init__(self, client: "Client") -> None:
        self.headers = {"User-Agent": client.user_agent}
        self._client = client
        self._asked = False

    def request(
        self, method: str, url: str, *, data: Any = None, headers: Mapping[str, str] | None = None, **_: Any
    ) -> "requests.Response":
        """Send a request; the reply has been read."""
        if self._asked:  # a search that still runs there is asked for again, and at once
            time.sleep(self._client.policy.pause)
        self._asked = True

        def consume(response: "requests.Response") -> "requests.Response":
            _ = response.content
            return response

        return self._client.request(method, url, consume, data=data, headers=lambda: headers or {})


@contextlib.contextmanager
def _no_astroquery_cache() -> Iterator[None]:
    """Keep the cache of astroquery off while any thread searches.

    astroquery switches it off and on around each request, for all threads together; two of them could
    leave it off for good.
    """
    from astroquery import cache_conf

    with _guard:
        _searching.append(_searching[0] if _searching else cache_conf.cache_active)
        cache_conf.cache_active = False
    try:
        yield
    finally:
        with _guard:
            before = _searching.pop()
            if not _searching:
                cache_conf.cache_active = before


def _is_settled(rows: list[Row]) -> bool:
    """Tell whether a visit is so old that nothing new will be listed for it."""
    ends = [row.get(key) for row in rows for key in ("visitend_mjd", "date_end_mjd")]
    known = [end for end in ends if isinstance(end, int | float)]
    today = (datetime.now(UTC) - MJD_ZERO.item().replace(tzinfo=UTC)) / timedelta(days=1)
    return bool(known) and max(known) < today - SETTLED / timedelta(days=1)


def _load(path: Path) -> list[Row]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        rows = None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        msg = "is no list of rows"
        raise ArchiveReplyError(msg)
    return rows
