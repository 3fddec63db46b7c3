"""Target-acquisition products of a visit from MAST.

What MAST lists and what it gives is kept by `xta.archive.cache`, so that it is asked for once.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote

from xta.archive import cache
from xta.archive.checks import check_fits, is_product_name
from xta.archive.policy import Policy, Token, find_token, mast, visit_digits
from xta.archive.search import ADVICE, Row, is_cached, search
from xta.errors import AcquisitionError, ArchiveNotFoundError, ArchiveReplyError, ArgumentError
from xta.model import INSTRUMENTS, MJD_ZERO, TACONFIRM_TYPES, TACQ_TYPES

__all__ = ["EXP_TYPES", "KINDS", "Product", "cached", "download", "guider", "ta_products", "visit_times"]

EXP_TYPES = {
    name.upper(): tuple(sorted(kind for kind in TACQ_TYPES | TACONFIRM_TYPES if kind.startswith(letters)))
    for letters, name in INSTRUMENTS.items()
}
"""Exposure types of target acquisition, by instrument. TACONFIRM images are taken after the move."""

KINDS = ("cal", "rate", "rateints", "uncal")
"""Kinds of product that can be asked for."""

LEVELS = ("1b", "2a", "2b")
MISSION = (59_000, 100_000)
COLUMNS = "filename, productLevel, exp_type, detector, visit_id, date_beg_mjd, vststart_mjd, visitend_mjd, fileSize"


@dataclass(frozen=True)
class Product:
    """One product of a TA exposure, as MAST lists it.

    Parameters
    ----------
    filename : str
    instrument, detector, exp_type : str
        As the keywords INSTRUME, DETECTOR, EXP_TYPE.
    date_beg : datetime.datetime or None
        Start of the exposure (UTC).
    visit_start, visit_end : datetime.datetime or None
        Of the visit (UTC), as VSTSTART and VISITEND.
    size : int or None
        Of the file [byte], where MAST lists this kind of product.
    """

    filename: str
    instrument: str
    detector: str
    exp_type: str
    date_beg: datetime | None
    visit_start: datetime | None
    visit_end: datetime | None
    size: int | None


def ta_products(
    visit: str,
    instrument: str | None = None,
    *,
    kind: str = "cal",
    offline: bool = False,
    policy: Policy | None = None,
) -> list[Product]:
    """List the target-acquisition products of a visit.

    Parameters
    ----------
    visit : str
        As "V01386001001" or "1386:1:1".
    instrument : str, optional
        As the keyword INSTRUME. By default all are asked, one after the other, until one has TA exposures.
    kind : {"cal", "rate", "rateints", "uncal"}
        Which product of each exposure.
    offline : bool
        Forbid the network; what an earlier search found is used.
    policy : Policy, optional
        Time limits and retries.

    Returns
    -------
    list of Product
        At least one; in the order of their start.

    Raises
    ------
    AcquisitionError
        If MAST lists no TA exposure for the visit.
    ArchiveError
        If MAST cannot be asked or answers nonsense.

    Notes
    -----
    MAST lists an exposure under the highest level that was made of it, so the names of lower products
    follow from the name listed, by its suffix. What was found is kept once the visit is a week old: until
    then products may still be missing.
    """
    digits = visit_digits(visit)
    if kind not in KINDS:
        msg = f"kind={kind!r} is not one of {', '.join(KINDS)}"
        raise ArgumentError(msg)
    names = _instruments(instrument, digits)
    for name in names:
        rows = _ta_rows(digits, name, offline, policy)
        if found := _products(rows, digits, name, kind):
            return found
    msg = (
        f"MAST lists no target acquisition ({kind}) for visit V{digits} with {' or '.join(names)}: the visit has "
        f"none, or it is not archived yet, or the visit id or the instrument is another; check it, or {ADVICE}"
    )
    raise AcquisitionError(msg)


def visit_times(
    visit: str, instrument: str | None = None, *, offline: bool = False, policy: Policy | None = None
) -> tuple[datetime, datetime]:
    """Find when a visit began and ended.

    Parameters
    ----------
    visit, instrument, offline, policy
        As of `ta_products`.

    Returns
    -------
    start, end : datetime.datetime
        VSTSTART and VISITEND (UTC). They are also in the header of every product of the visit.

    Raises
    ------
    ArchiveError
        If MAST cannot be asked, or does not list the visit.
    """
    digits = visit_digits(visit)
    names = _instruments(instrument, digits)
    # What `ta_products` finds tells it too, and is likely to be there already.
    for rows_of, name in product((_ta_rows, _visit_rows), names):
        for row in rows_of(digits, name, offline, policy):
            start, end = _time(row.get("vststart_mjd")), _time(row.get("visitend_mjd"))
            if start and end and start < end:
                return start, end
    msg = (
        f"visit V{digits}: MAST does not tell when it was (asked for {', '.join(names)}); check the visit id, or "
        "give start and end: VSTSTART and VISITEND of any product of the visit"
    )
    raise ArchiveNotFoundError(msg)


def guider(visit: str, *, offline: bool = False, policy: Policy | None = None) -> str:
    """Tell which guider a visit was guided with.

    Parameters
    ----------
    visit, offline, policy
        As of `ta_products`.

    Returns
    -------
    str
        "FGS1" or "FGS2". The keyword FGS_APER of a product tells it without a request.

    Raises
    ------
    ArchiveNotFoundError
        If MAST lists no guiding for the visit.
    ArchiveError
        If MAST cannot be asked, or lists both guiders.
    """
    digits = visit_digits(visit)
    filters = {
        "program": [digits[:5]],
        "observtn": [digits[5:8]],
        "visit": [digits[8:]],
        "exp_type": ["FGS_FINEGUIDE", "FGS_TRACK"],
    }
    rows = search(digits, "guider", "GuideStar", "*", filters, offline=offline, policy=policy)
    found = {str(row.get("apername"))[:4] for row in rows} & {"FGS1", "FGS2"}
    if len(found) == 1:
        return found.pop()
    kind, lists = (ArchiveReplyError, "both guiders") if found else (ArchiveNotFoundError, "no guiding")
    msg = f"visit V{digits}: MAST lists {lists} for it; the keyword FGS_APER of its products tells the guider too"
    raise kind(msg)


def download(
    filename: str,
    *,
    token: str | Token | None = None,
    progress: bool = False,
    offline: bool = False,
    policy: Policy | None = None,
) -> Path:
    """Give a product as a file, from the cache or from MAST.

    Parameters
    ----------
    filename : str
        Such as "jw01386001001_02102_00001_nrcalong_cal.fits".
    token : str, optional
        MAST token for exclusive-access data; ``MAST_API_TOKEN`` by default.
    progress : bool
        Show a bar on stderr.
    offline : bool
        Forbid the network.
    policy : Policy, optional
        Time limits and retries.

    Returns
    -------
    pathlib.Path
        In the cache; do not change it.

    Raises
    ------
    ArchiveError
        Of the class that fits: not found, not authorised, busy, timed out, malformed.
    FileError
        If the cache cannot be written.
    """
    if not is_product_name(filename):
        msg = f"{str(filename)[:80]!r} is not the name of a JWST product, such as jw..._cal.fits"
        raise ArgumentError(msg)
    entry = _entry(filename)
    policy = policy or Policy()

    def fetch(part: Path) -> None:
        from xta.archive.resume import download as fetch_file
        from xta.archive.transport import Client

        service = mast()
        url = f"{service.url}/api/v0.1/Download/file?uri={quote(entry.source, safe=':/')}"
        with Client(service, filename, advice=ADVICE, token=find_token(token), policy=policy) as client:
            fetch_file(client, url, part, progress=progress)

    return cache.obtain(
        entry, fetch, check=check_fits, what=filename, advice=ADVICE, wait=policy.deadline, offline=offline
    )


def cached(visit: str) -> list[Path]:
    """List the products of a visit that are in the cache already, whatever they are.

    Parameters
    ----------
    visit : str
        As of `ta_products`.

    Returns
    -------
    list of pathlib.Path
        Sorted by name; those that are damaged are left out.
    """
    folder = cache.root() / "products" / f"jw{visit_digits(visit)}"
    names = sorted(path.name for path in folder.glob("jw*.fits") if is_product_name(path.name))
    return [path for name in names if (path := cache.find(_entry(name), check=check_fits))]


def _entry(filename: str) -> cache.Entry:
    return cache.Entry(f"products/{filename.partition('_')[0]}", filename, f"mast:JWST/product/{filename}")


def _instruments(instrument: str | None, digits: str) -> tuple[str, ...]:
    if instrument is None:
        # First those that were found to have something before: of the others nothing is kept.
        return tuple(sorted(EXP_TYPES, key=lambda name: not is_cached(digits, f"{name.lower()}-ta")))
    if instrument.upper() not in EXP_TYPES:
        msg = f"instrument {instrument!r} has no target acquisition; those that do: {', '.join(EXP_TYPES)}"
        raise ArgumentError(msg)
    return (instrument.upper(),)


def _ta_rows(digits: str, instrument: str, offline: bool, policy: Policy | None) -> list[Row]:
    types = EXP_TYPES[instrument]
    filters = {"visit_id": [digits], "exp_type": list(types), "productLevel": list(LEVELS)}
    name = f"{instrument.lower()}-ta"
    rows = search(digits, name, instrument.capitalize(), COLUMNS, filters, offline=offline, policy=policy)
    return [row for row in rows if row.get("exp_type") in types and row.get("productlevel") in LEVELS]


def _visit_rows(digits: str, instrument: str, offline: bool, policy: Policy | None) -> list[Row]:
    filters = {"visit_id": [digits], "productLevel": list(LEVELS)}
    columns = "filename, visit_id, vststart_mjd, visitend_mjd"
    name = f"{instrument.lower()}-visit"
    return search(digits, name, instrument.capitalize(), columns, filters, offline=offline, policy=policy)


def _products(rows: list[Row], digits: str, instrument: str, kind: str) -> list[Product]:
    """Pick the products of one kind from the rows of a search, each once."""
    found: dict[str, Product] = {}
    for row in rows:
        listed = row.get("filename")
        if not is_product_name(listed) or not str(listed).startswith(f"jw{digits}_"):
            msg = (
                f"visit V{digits}: {mast()} lists a file {str(listed)[:80]!r}, which no product of this visit is "
                f"called; nothing was written; try again later, or {ADVICE}"
            )
            raise ArchiveReplyError(msg)
        stem, _, suffix = str(listed).removesuffix(".fits").rpartition("_")
        if suffix not in KINDS or (kind == "cal" and suffix != "cal"):
            continue
        name = f"{stem}_{kind}.fits"
        if name in found and suffix != kind:
            continue
        found[name] = Product(
            name,
            instrument,
            str(row.get("detector") or ""),
            str(row["exp_type"]),
            _time(row.get("date_beg_mjd")),
            _time(row.get("vststart_mjd")),
            _time(row.get("visitend_mjd")),
            _size(row.get("filesize")) if suffix == kind else None,
        )
    latest = datetime.max.replace(tzinfo=UTC)
    return sorted(found.values(), key=lambda product: (product.date_beg or latest, product.filename))


def _time(mjd: Any) -> datetime | None:
    """Convert a modified Julian date [d] of the mission to UTC, to the millisecond that telemetry has."""
    if not isinstance(mjd, int | float) or not MISSION[0] < mjd < MISSION[1]:
        return None
    return MJD_ZERO.item().replace(tzinfo=UTC) + timedelta(milliseconds=round(mjd * 86_400_000))


def _size(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) and math.isfinite(value) and value > 0 else None
