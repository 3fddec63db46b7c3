"""The keyword search of MAST, through astroquery; each search is made once and cached.

References
----------
.. [1] astroquery, https://astroquery.readthedocs.io/en/latest/mast/mast_mastquery.html
.. [2] "JWST Instrument Keywords", https://mast.stsci.edu/api/v0/_jwst_inst_keywd.html (the columns)
"""

import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xta.archive import cache
from xta.archive.policy import Policy, Task, mast
from xta.errors import ArchiveReplyError
from xta.model import CORONAGRAPHIC_TYPES, INSTRUMENTS, MJD_ZERO, TACONFIRM_TYPES, TACQ_TYPES

if TYPE_CHECKING:
    from astroquery.mast.discovery_portal import PortalAPI
    from requests import Response

    from xta.archive.client import Client

__all__ = ["ADVICE", "CORONAGRAPHS", "EXP_TYPES", "Row", "from_mjd", "is_cached", "search", "search_program"]

EXP_TYPES = {
    name.upper(): sorted(kind for kind in TACQ_TYPES | TACONFIRM_TYPES if kind.startswith(letters))
    for letters, name in INSTRUMENTS.items()
}
"""Exposure types of target acquisition, by instrument."""

CORONAGRAPHS = {
    name.upper(): sorted(kind for kind in CORONAGRAPHIC_TYPES if kind.startswith(letters))
    for letters, name in INSTRUMENTS.items()
    if any(kind.startswith(letters) for kind in CORONAGRAPHIC_TYPES)
}
"""Exposure types of coronagraphy, by instrument."""

COLUMNS = "filename, productLevel, exp_type, detector, visit_id, date_beg_mjd, vststart_mjd, visitend_mjd, fileSize"
PROGRAM_COLUMNS = f"{COLUMNS}, filter, targname, is_psf, bkgdtarg, publicReleaseDate_mjd"
LEVELS = ["1b", "2a", "2b"]
ADVICE = "give the files themselves if you have them (from another computer, or a colleague's cache)"
SETTLED = timedelta(days=7)
FRESH = timedelta(days=1)  # a program may get new exposures at any time
MAX_REPLY = 1 << 26  # [byte] of one page of 50,000 rows
MISSION = (59_000, 100_000)  # modified Julian dates of JWST [d]

Row = dict[str, Any]


def search(digits: str, instrument: str, *, ta: bool = True, offline: bool, policy: Policy | None) -> list[Row]:
    """Search for the products of a visit with an instrument, in the cache or at MAST [1]_.

    Return those of its target acquisition, or all of them: a dict of lower-case columns [2]_ for each. No token is
    sent, since the list is public even while the data are not.
    """
    entry = _entry(digits, instrument, ta)
    filters = {"visit_id": [digits], "productLevel": LEVELS} | ({"exp_type": EXP_TYPES[instrument]} if ta else {})
    task = Task(f"visit V{digits} ({instrument})", ADVICE, policy or Policy(), offline)
    rows = _listed(entry, COLUMNS, filters, task, keep=_is_settled)
    return [row for row in rows if not ta or row.get("exp_type") in EXP_TYPES[instrument]]


def search_program(program: str, instrument: str, *, offline: bool, policy: Policy | None) -> list[Row]:
    """Search for the coronagraphic exposures and the acquisitions of a program (5 digits) with an instrument.

    The reply is kept for use without a network; with one, a reply older than a day is replaced.
    """
    entry = cache.Entry("searches", f"{program}-{instrument.lower()}-program.json", _service(instrument))
    kinds = [*CORONAGRAPHS[instrument], *EXP_TYPES[instrument]]
    # MAST has used program numbers with and without leading zeros.
    filters = {"program": [program, program.lstrip("0")], "exp_type": kinds, "productLevel": LEVELS}
    task = Task(f"program {int(program)} ({instrument})", ADVICE, policy or Policy(), offline)
    rows = _listed(entry, PROGRAM_COLUMNS, filters, task, fresh=_is_fresh)
    return [row for row in rows if row.get("exp_type") in kinds]


def is_cached(digits: str, instrument: str) -> bool:
    """Check whether the target acquisition of a visit was searched for with an instrument, and listed."""
    return _entry(digits, instrument, True).path.exists()


def from_mjd(mjd: object) -> datetime | None:
    """Convert a modified Julian date [d] of the mission to UTC, rounded to milliseconds as in telemetry."""
    if not isinstance(mjd, int | float) or not MISSION[0] < mjd < MISSION[1]:
        return None
    zero: datetime = MJD_ZERO.item()
    return zero.replace(tzinfo=UTC) + timedelta(milliseconds=round(mjd * 86_400_000))


def _entry(digits: str, instrument: str, ta: bool) -> cache.Entry:
    name = f"{digits}-{instrument.lower()}-{'ta' if ta else 'visit'}.json"
    return cache.Entry("searches", name, _service(instrument))


def _service(instrument: str) -> str:
    return f"Mast.Jwst.Filtered.{instrument.capitalize()}"


def _listed(
    entry: cache.Entry, columns: str, filters: Mapping[str, list[str]], task: Task, **how: Callable[[Any], bool]
) -> list[Row]:
    """Read a search from the cache, or make it; `how` chooses what the cache keeps of it, as in `cache.obtain`."""
    params = {"columns": columns, "filters": [{"paramName": key, "values": filters[key]} for key in filters]}

    def fetch(part: Path) -> None:
        rows = _ask(entry.source, params, task)
        with cache.writable(part):
            part.unlink(missing_ok=True)
            with cache.opened(part, "xb") as file:
                file.write(json.dumps(rows).encode())

    return cache.obtain(entry, task, fetch, check=_load, read=_load, **how)


def _ask(service: str, params: Mapping[str, object], task: Task) -> list[Row]:
    from xta.archive.client import Client

    with Client(mast(), task) as client:
        try:
            pages = [response.json() for response in _portal(client).service_request_async(service, params)]
            if bad := [page for page in pages if page["status"] != "COMPLETE"]:
                problem = f"refused the search ({str(bad[0].get('msg', ''))[:200]!r})"
                raise client.error(ArchiveReplyError, problem, "try again later")
            return [{str(key).lower(): row[key] for key in row} for page in pages for row in page["data"]]
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            # astroquery does not check the form of a reply, so any exception may come out of it
            raise client.error(ArchiveReplyError, "sent an invalid answer to the search", "try again later") from None


def _portal(client: "Client") -> "PortalAPI":
    """Connect astroquery to MAST, at the address configured and on our own session."""
    from astroquery.mast.discovery_portal import PortalAPI
    from astroquery.query import BaseQuery

    def consume(response: "Response") -> "Response":
        body = bytearray()
        for chunk in response.iter_content(1 << 16):  # unpacked
            body += chunk
            if len(body) > MAX_REPLY:
                msg = "too long"
                raise ValueError(msg)
        response._content = bytes(body)
        if b'"EXECUTING"' in response.content:
            client.task.policy.wait(client.task.policy.pause)  # astroquery polls again at once
        return response

    class Uncached(BaseQuery):  # type: ignore[misc]
        def _request(self, method: str, url: str, *, data: str, headers: dict[str, str], **_: object) -> "Response":
            # The method of astroquery switches its cache off and on for all threads together.
            return client.read(method, url, consume, data=data, headers=lambda: headers)

    class Portal(PortalAPI, Uncached):  # type: ignore[misc]
        MAST_REQUEST_URL = f"{client.service.url}/api/v0/invoke"
        TIMEOUT = math.inf  # the session has the deadline

        def _get_col_config(self, service: str, fetch_name: str | None = None) -> None:
            """Return no description of the columns, which only astroquery's tables use."""

    return Portal(session=client)


def _is_settled(rows: list[Row]) -> bool:
    """Check whether a visit is so old that nothing new will be listed for it."""
    ends = [end for row in rows if (end := from_mjd(row.get("visitend_mjd")))]
    return bool(ends) and max(ends) < datetime.now(UTC) - SETTLED


def _is_fresh(path: Path) -> bool:
    return datetime.now(UTC) - datetime.fromtimestamp(path.stat().st_mtime, UTC) < FRESH


def _load(path: Path) -> list[Row]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        rows = None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        msg = "is not a list of rows"
        raise ArchiveReplyError(msg)
    return rows
