"""Download products from MAST: those of the target acquisition of a visit, and any product by its name.

Lists and files from MAST are cached by `xta.archive.cache`, so that each is requested only once.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

from xta.archive import cache
from xta.archive.policy import Policy, Task, Token, find_token, mast
from xta.archive.search import ADVICE, EXP_TYPES, Row, from_mjd, is_cached, search
from xta.errors import AcquisitionError, ArchiveNotFoundError, ArchiveReplyError, ArgumentError, FileError
from xta.osslog import normalize_visit

__all__ = [
    "KINDS",
    "Product",
    "as_product",
    "download",
    "in_time_order",
    "is_product_name",
    "split",
    "ta_products",
    "visit_times",
]

KINDS = ("cal", "rate", "rateints", "uncal")
"""Kinds of product that can be requested."""


@dataclass(frozen=True)
class Product:
    """One product of an exposure, as MAST lists it.

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
    role, filter, target : str
        In the list of a program: "science", "reference", "background" or "acquisition"; the filter wheel; the name of
        the target.
    public : datetime.datetime or None
        In the list of a program: the end of exclusive access (UTC).
    """

    filename: str
    instrument: str
    detector: str
    exp_type: str
    date_beg: datetime | None
    visit_start: datetime | None
    visit_end: datetime | None
    size: int | None
    role: str = "acquisition"
    filter: str = ""
    target: str = ""
    public: datetime | None = None


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
        As the keyword INSTRUME. By default all are searched, one after the other, until one has TA exposures.
    kind : {"cal", "rate", "rateints", "uncal"}
        Which product of each exposure.
    offline : bool
        Forbid the network; what an earlier search found is used.
    policy : Policy, optional
        Time limits and retries.

    Returns
    -------
    list of Product
        At least one, in the order of their start.

    Raises
    ------
    AcquisitionError
        If MAST lists no TA exposure for the visit.
    ArchiveError
        If MAST cannot be reached or sends an invalid reply.

    Notes
    -----
    MAST lists only the product of the highest level of an exposure, so the names of lower products are derived from
    the listed name by its suffix. The list is cached once the visit is a week old, since products may be missing
    before.
    """
    digits = normalize_visit(visit)[1:]
    if kind not in KINDS:
        msg = f"kind={kind!r} is not one of {', '.join(KINDS)}"
        raise ArgumentError(msg)
    names = _instruments(instrument, digits)
    for name in names:
        if products := _products(search(digits, name, offline=offline, policy=policy), digits, name, kind):
            return products
    msg = (
        f"MAST lists no target acquisition ({kind}) for visit V{digits} with {' or '.join(names)}: the visit has "
        f"none, it is not archived yet, or the visit ID or instrument is wrong; check them, or {ADVICE}"
    )
    raise AcquisitionError(msg)


def visit_times(
    visit: str, instrument: str | None = None, *, offline: bool = False, policy: Policy | None = None
) -> tuple[datetime, datetime]:
    """Find the beginning and the end of a visit.

    Parameters
    ----------
    visit, instrument, offline, policy
        As in `ta_products`.

    Returns
    -------
    start, end : datetime.datetime
        VSTSTART and VISITEND (UTC). They are also in the header of every product of the visit.

    Raises
    ------
    ArchiveError
        If MAST cannot be reached, or does not list the visit.
    """
    digits = normalize_visit(visit)[1:]
    names = _instruments(instrument, digits)
    # The rows of `ta_products` have the times as well, and are probably cached already.
    for ta, name in product((True, False), names):
        for row in search(digits, name, ta=ta, offline=offline, policy=policy):
            start, end = from_mjd(row.get("vststart_mjd")), from_mjd(row.get("visitend_mjd"))
            if start and end and start < end:
                return start, end
    msg = (
        f"visit V{digits}: MAST has no times for it (instruments searched: {', '.join(names)}); check the visit ID, or "
        "give start and end: VSTSTART and VISITEND of any product of the visit"
    )
    raise ArchiveNotFoundError(msg)


def download(
    filename: str,
    *,
    token: str | Token | None = None,
    progress: bool = False,
    offline: bool = False,
    policy: Policy | None = None,
) -> Path:
    """Fetch a product into the cache, unless it is there already.

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
        Of the class that fits: not found, not authorized, busy, timed out, malformed.
    FileError
        If the cache cannot be written.
    """
    if not is_product_name(filename):
        msg = f"{str(filename)[:80]!r} is not the name of a JWST product, such as jw..._cal.fits"
        raise ArgumentError(msg)
    entry = cache.Entry(f"products/{filename.partition('_')[0]}", filename, f"mast:JWST/product/{filename}")
    task = Task(filename, ADVICE, policy or Policy(), offline, progress)

    def fetch(part: Path) -> None:
        from xta.archive.client import Client

        with Client(mast(), task, token=find_token(token)) as client:
            client.download(entry.source, part)

    cache.obtain(entry, task, fetch, check=check_fits, read=Path)
    return entry.path


def is_product_name(name: object) -> bool:
    """Check whether `name` is that of a JWST FITS product, and cannot lead out of a folder.

    >>> is_product_name("jw01386001001_02102_00001_nrcalong_cal.fits"), is_product_name("../jw01386001001_cal.fits")
    (True, False)
    """
    if not isinstance(name, str) or len(name) > 200 or ".." in name:
        return False
    return re.fullmatch(r"jw[A-Za-z0-9_.-]+\.fits", name) is not None


def check_fits(path: Path) -> None:
    """Check that a file is FITS with exactly the data that its headers declare; ArchiveReplyError if not."""
    from xta.io import fitsfile

    with path.open("rb") as file:
        start = file.read(80)
    if not start.startswith(b"SIMPLE  ="):
        raise ArchiveReplyError(cache.describe(start))
    try:
        fitsfile.opened(str(path), exact=True).close()
    except FileError as error:
        msg = f"is damaged ({error})"
        raise ArchiveReplyError(msg) from None


def _instruments(instrument: str | None, digits: str) -> tuple[str, ...]:
    if instrument is None:
        # First those for which an earlier search is cached, which it is only if it found something.
        return tuple(sorted(EXP_TYPES, key=lambda name: not is_cached(digits, name)))
    if instrument.upper() not in EXP_TYPES:
        msg = f"instrument {instrument!r} has no target acquisition; those that do: {', '.join(EXP_TYPES)}"
        raise ArgumentError(msg)
    return (instrument.upper(),)


def _products(rows: list[Row], digits: str, instrument: str, kind: str) -> list[Product]:
    """Pick the products of one kind from the rows of a search, each once."""
    products: dict[str, Product] = {}
    for row in rows:
        stem, suffix = split(row.get("filename"), f"jw{digits}_", f"visit V{digits}")
        name = f"{stem}_{kind}.fits"
        if suffix not in KINDS or (kind == "cal" and suffix != "cal") or (name in products and suffix != kind):
            continue
        products[name] = as_product(row, name, instrument, listed=suffix == kind)
    return in_time_order(products.values())


def as_product(row: Row, name: str, instrument: str, *, listed: bool, **more: Any) -> Product:
    """Make the product of a name from a row, whose size is used only if this is the listed product."""
    return Product(
        name,
        instrument,
        str(row.get("detector") or ""),
        str(row["exp_type"]),
        from_mjd(row.get("date_beg_mjd")),
        from_mjd(row.get("vststart_mjd")),
        from_mjd(row.get("visitend_mjd")),
        _size(row.get("filesize")) if listed else None,
        **more,
    )


def in_time_order(products: Iterable[Product]) -> list[Product]:
    """Sort products by the start of their exposures; those without one come last."""
    latest = datetime.max.replace(tzinfo=UTC)
    return sorted(products, key=lambda product: (product.date_beg or latest, product.filename))


def split(listed: object, start: str, what: str) -> tuple[str, str]:
    """Split the name of a product into stem and suffix; ArchiveReplyError if it does not begin with `start`."""
    if is_product_name(listed) and str(listed).startswith(start):
        stem, _, suffix = str(listed).removesuffix(".fits").rpartition("_")
        return stem, suffix
    problem = f"lists a file {str(listed)[:80]!r}, which is not the name of one of its products"
    msg = f"{what}: {mast()} {problem}; nothing was written; try again later, or {ADVICE}"
    raise ArchiveReplyError(msg)


def _size(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and math.isfinite(value) and value > 0 else None
