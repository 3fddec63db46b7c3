"""List the coronagraphic exposures of a program, and download them into a folder."""

import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from xta.archive import mast
from xta.archive.fetch import copied, event_log, in_parallel
from xta.archive.mast import Product
from xta.archive.policy import Policy, Token
from xta.archive.search import ADVICE, CORONAGRAPHS, Row, from_mjd, search_program
from xta.errors import ArchiveNotFoundError, ArchiveReplyError, ArgumentError, XtaError, warn
from xta.io.atomic import make_folder, whole_file
from xta.model import CORONAGRAPHIC_TYPES

__all__ = ["LEVELS", "fetch_program", "is_program", "program_products"]

LEVELS = {"uncal": 0, "rate": 1, "rateints": 1, "cal": 2, "calints": 2}
"""Kinds of product, and how far they are processed."""

OF_ACQUISITION = {"calints": "cal", "rateints": "rate"}  # acquisitions are images, so the kind is another
TRUE = frozenset({"t", "true", "1"})

Observations = str | int | Iterable[int] | None


def program_products(
    program: str | int,
    *,
    observations: Observations = None,
    filters: str | Iterable[str] | None = None,
    instrument: str | None = None,
    kind: str = "calints",
    offline: bool = False,
    policy: Policy | None = None,
) -> list[Product]:
    """List the coronagraphic exposures of a program, with their target acquisitions.

    Parameters
    ----------
    program : str or int
        Number of the program, such as 1386.
    observations : str, int or iterable of int, optional
        Numbers of observations, also as "1-3,7". By default all.
    filters : str or iterable of str, optional
        Names in the filter wheel. By default all. Acquisitions are included in any filter.
    instrument : str, optional
        "NIRCAM" or "MIRI". By default both are searched.
    kind : {"calints", "cal", "rateints", "rate", "uncal"}
        Which product of each exposure; of acquisitions, which are images, "cal" for "calints" and "rate" for
        "rateints".
    offline : bool
        Forbid the network; what an earlier search found is used.
    policy : Policy, optional
        Time limits and retries.

    Returns
    -------
    list of Product
        At least one, in the order of their start, with `role`, `filter`, `target` and `public`.

    Raises
    ------
    ArchiveNotFoundError
        If MAST lists no such exposure.
    ArchiveError
        If MAST cannot be reached or sends an invalid reply.
    ArgumentError
        If an argument does not have the form above.

    Warns
    -----
    XtaWarning
        If MAST lists nothing for some of the requested observations.

    Notes
    -----
    MAST lists only the product of the highest level of an exposure, so the names of lower products are derived from the
    listed name, and their size is not known. The list is public, even if the data are not yet. It is cached for work
    without a network; with a network, a list older than a day is requested again.
    """
    digits, wanted = _program(program), _observations(observations)
    bands = {filters.upper()} if isinstance(filters, str) else {str(name).upper() for name in filters or ()}
    if kind not in LEVELS:
        msg = f"kind={kind!r} is not one of {', '.join(LEVELS)}"
        raise ArgumentError(msg)
    names = _instruments(instrument)
    products: dict[str, Product] = {}
    for name in names:
        for row in search_program(digits, name, offline=offline, policy=policy):
            _add(products, row, digits, name, kind)
    science = [product for product in products.values() if _is_chosen(product, wanted, bands)]
    visits = {_visit(product) for product in science}
    ta = [product for product in products.values() if product.role == "acquisition" and _visit(product) in visits]
    missing = sorted(wanted - {int(visit[5:8]) for visit in visits})
    if not science:
        what = f" of observation {', '.join(map(str, missing))}" if wanted else ""
        what += f" in {' or '.join(sorted(bands))}" if bands else ""
        msg = f"program {int(digits)}: MAST lists no coronagraphic exposure ({kind}){what} with {' or '.join(names)}"
        msg += f": it has none, it is not archived yet, or the number is wrong; check it, or {ADVICE}"
        raise ArchiveNotFoundError(msg)
    if missing:
        warn(f"program {int(digits)}: MAST lists nothing of this kind for observation {', '.join(map(str, missing))}")
    return mast.in_time_order([*ta, *science])


def fetch_program(
    program: str | int,
    folder: str | Path | None = None,
    *,
    observations: Observations = None,
    filters: str | Iterable[str] | None = None,
    instrument: str | None = None,
    kind: str = "calints",
    log: bool = True,
    token: str | Token | None = None,
    progress: bool = False,
    offline: bool = False,
    policy: Policy | None = None,
) -> dict[str, Path | XtaError]:
    """Fetch the coronagraphic exposures of a program, with their target acquisitions and event logs.

    Parameters
    ----------
    program, observations, filters, instrument, kind
        As in `program_products`.
    folder : path, optional
        Folder to copy the files to, for `xta.open_program`; created if it does not exist. The cache keeps its own
        copies. By default the files are only in the cache.
    log : bool
        Fetch the event logs of the visits as well.
    token : str, optional
        MAST token for exclusive-access data; ``MAST_API_TOKEN`` by default.
    progress : bool
        Show on stderr a bar that counts the files, and one for each download.
    offline : bool
        Forbid the network.
    policy : Policy, optional
        Time limits and retries, for each file; ``policy.workers`` is how many are fetched at a time.

    Returns
    -------
    dict
        Name of the file -> its path, or the error if the download failed, in order of time with logs last. A failure
        does not stop the other downloads. A log has a path only in a folder; otherwise it is in the cache.

    Raises
    ------
    ArchiveError
        If the list of the program cannot be downloaded, or it has no such exposure.
    FileError
        If the folder cannot be created.

    Notes
    -----
    Incomplete files are never left. After an interruption the same call continues: complete files are kept, and an
    interrupted download is resumed, if the archive allows it.

    Examples
    --------
    >>> files = xta.archive.fetch_program(1386, "data", observations="1-3")  # doctest: +SKIP
    >>> program = xta.open_program("data")  # doctest: +SKIP
    """
    chosen: dict[str, Any] = {"observations": observations, "filters": filters, "instrument": instrument}
    products = program_products(program, kind=kind, offline=offline, policy=policy, **chosen)
    target = None if folder is None else Path(folder).expanduser()
    if target is not None:
        make_folder(target)
    calls: dict[str, Callable[..., Path | None]] = {
        product.filename: partial(_fetched, product, target, token=token, progress=progress, offline=offline)
        for product in products
    }
    for visit, product in {_visit(product): product for product in products if log}.items():
        calls[f"V{visit}_osslog.csv"] = partial(_logged, product, target, token=token, offline=offline)
    results = in_parallel(calls, policy or Policy(), unit="file", progress=progress)
    return {name: result for name, result in results.items() if result is not None}


def is_program(text: str) -> bool:
    """Check whether a text is the number of a program, and not a visit or the name of a product.

    >>> is_program("1386"), is_program("1386:1"), is_program("01386001001")
    (True, False, False)
    """
    return re.fullmatch(r"\d{1,5}", text) is not None and int(text) > 0


def _fetched(product: Product, folder: Path | None, **how: Any) -> Path:
    """Fetch a product; one that is complete in the folder already is neither fetched nor copied again."""
    if folder is not None and _is_complete(folder / product.filename, product.size):
        return folder / product.filename
    path = mast.download(product.filename, **how)
    if folder is None or _is_complete(folder / product.filename, path.stat().st_size):
        return path if folder is None else folder / product.filename
    return copied(path, folder)


def _is_complete(path: Path, size: int | None) -> bool:
    """Check whether a file has the size that it should have, and is whole."""
    if size is None or not path.is_file() or path.stat().st_size != size:
        return False
    try:
        mast.check_fits(path)
    except ArchiveReplyError:
        return False
    return True


def _logged(product: Product, folder: Path | None, **how: Any) -> Path | None:
    """Fetch the event log of the visit of a product; None where it stays in the cache."""
    visit = f"V{_visit(product)}"
    text = event_log(visit, product, **how)
    if folder is None:
        return None
    path = folder / f"{visit}_osslog.csv"
    with whole_file(path) as temporary:
        temporary.write_text(text)
    return path


def _add(products: dict[str, Product], row: Row, program: str, instrument: str, kind: str) -> None:
    """Add the product of one kind of the exposure of a row, if it exists."""
    stem, suffix = mast.split(row.get("filename"), f"jw{program}", f"program {int(program)}")
    role = _role(row)
    kind = OF_ACQUISITION.get(kind, kind) if role == "acquisition" else kind
    name, listed = f"{stem}_{kind}.fits", suffix == kind
    exists = listed if LEVELS[kind] == LEVELS["cal"] else LEVELS.get(suffix, -1) >= LEVELS[kind]
    if not exists or not re.match(r"jw\d{11}_", name) or (name in products and not listed):
        return
    texts = {"filter": str(row.get("filter") or ""), "target": str(row.get("targname") or "")}
    public = from_mjd(row.get("publicreleasedate_mjd"))
    products[name] = mast.as_product(row, name, instrument, listed=listed, role=role, public=public, **texts)


def _role(row: Row) -> str:
    """Return the role of an exposure, by the columns with the keywords EXP_TYPE, BKGDTARG and IS_PSF."""
    if row["exp_type"] not in CORONAGRAPHIC_TYPES:
        return "acquisition"
    background, reference = (str(row.get(name)).lower() in TRUE for name in ("bkgdtarg", "is_psf"))
    return "background" if background else "reference" if reference else "science"


def _visit(product: Product) -> str:
    return product.filename[2:13]


def _is_chosen(product: Product, observations: set[int], bands: set[str]) -> bool:
    """Check whether a product is a coronagraphic exposure of some observations and filters (empty: all)."""
    if product.role == "acquisition" or (bands and product.filter.upper() not in bands):
        return False
    return not observations or int(_visit(product)[5:8]) in observations


def _program(number: str | int) -> str:
    """Write the number of a program with five digits."""
    text = str(number).strip()
    if not is_program(text):
        msg = f"program={number!r} is not the number of a program, such as 1386"
        raise ArgumentError(msg)
    return f"{int(text):05d}"


def _observations(given: Observations) -> set[int]:
    """Read the numbers of observations; empty if all are meant."""
    texts = given.split(",") if isinstance(given, str) else [given] if isinstance(given, int) else given or ()
    numbers: set[int] = set()
    for text in map(str, texts):
        match = re.fullmatch(r"\s*(\d{1,3})\s*(?:-\s*(\d{1,3})\s*)?", text)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 0 < first <= last:
            msg = f"observations={given!r} is not a list of observation numbers, such as '1-3,7'"
            raise ArgumentError(msg)
        numbers |= set(range(first, last + 1))
    return numbers


def _instruments(instrument: str | None) -> tuple[str, ...]:
    if instrument is None:
        return tuple(CORONAGRAPHS)
    if instrument.upper() not in CORONAGRAPHS:
        msg = f"instrument {instrument!r} has no coronagraph; those that do: {', '.join(CORONAGRAPHS)}"
        raise ArgumentError(msg)
    return (instrument.upper(),)
