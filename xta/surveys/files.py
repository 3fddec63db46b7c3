"""Find visits in folders: which science exposures, acquisitions and event logs belong to each."""

import logging
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xta.acquisition.find import KINDS, LOG_NAME, LOG_SUFFIXES
from xta.acquisition.products import SUFFIXES, Product, ranked_products, read_product
from xta.errors import ArgumentError, FileError, warn
from xta.model import TACQ_TYPES

__all__ = ["Found", "VisitFiles", "find_visits"]

logger = logging.getLogger(__name__)

SCIENCE = ("_calints", "_cal")
"""Products of a science exposure that can be analysed, best first."""

LOG = re.compile(rf"{LOG_NAME}|\d{{11}}")


@dataclass(frozen=True)
class VisitFiles:
    """The files of one visit.

    Attributes
    ----------
    visit_id : str
        As in the keyword VISIT_ID: 11 digits.
    science : tuple of pathlib.Path
        The best product of each science exposure: first those of the detector of the acquisition, each in
        time order.
    ta, uncal : tuple of pathlib.Path
        Acquisition and confirmation exposures, in time order, and their ``_uncal`` products.
    logs : tuple of pathlib.Path
        Event logs that mention the visit.
    damaged : tuple of str
        What is wrong with the files whose headers cannot be read.
    n_files : int
        All products of the visit, of whatever kind.
    """

    visit_id: str
    science: tuple[Path, ...] = ()
    ta: tuple[Path, ...] = ()
    uncal: tuple[Path, ...] = ()
    logs: tuple[Path, ...] = ()
    damaged: tuple[str, ...] = ()
    n_files: int = 0

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that the result rests on."""
        return self.science + self.ta + self.uncal + self.logs


@dataclass(frozen=True)
class Found:
    """What folders hold: visits in the order of their ids, and how many files are of no use."""

    visits: tuple[VisitFiles, ...]
    passed_over: int
    duplicates: int


@dataclass
class _Scan:
    """What has been seen so far."""

    products: dict[str, dict[str, Product]] = field(default_factory=lambda: defaultdict(dict))
    logs: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    passed_over: int = 0
    duplicates: int = 0

    def add(self, path: Path, *, given: bool) -> None:
        """Take a file, given by the user or found in a folder."""
        name = path.name.lower()
        if name.endswith(LOG_SUFFIXES):
            if given or LOG.search(name):
                self._add_log(path, given=given)
        elif given or name.endswith(SUFFIXES):
            self._add_product(path, given=given)

    def _add_log(self, path: Path, *, given: bool) -> None:
        visits = _visits_of_log(path)
        for visit in visits:
            self.logs[visit].append(path)
        if given and not visits:
            self._pass_over(path, "no row of it names a visit", given=given)

    def _add_product(self, path: Path, *, given: bool) -> None:
        product = read_product(path)
        if why := _why_not(product):
            self._pass_over(path, why, given=given)
            return
        files, name = self.products[product.visit_id], path.name.removesuffix(".gz")
        if (known := files.get(name)) is not None:
            self.duplicates += 1
            _compare(known.path, path)
        if known is None or known.error:
            files[name] = product

    def _pass_over(self, path: Path, why: str, *, given: bool) -> None:
        self.passed_over += 1
        logger.info("%s is passed over: %s", path, why)
        if given:
            warn(f"{path} is passed over: {why}")


def find_visits(paths: Any) -> Found:
    """Find the visits of files and folders.

    Parameters
    ----------
    paths : path or iterable of paths
        Products, event logs, and folders, which are searched with all folders below them; links to folders
        below are not followed, and names that begin with a dot are passed over.

    Returns
    -------
    Found

    Raises
    ------
    ArgumentError
        If there are no paths, or no product of any visit among them.
    FileError
        If a path does not exist.

    Warns
    -----
    XtaWarning
        If a file that was given is no product, or two files of the same name are not the same.

    Notes
    -----
    A product belongs to the visit in its keyword VISIT_ID. A file whose header cannot be read belongs to the
    visit in its name. Of a product that is there twice the first is taken, in the order of `paths` and, within
    a folder, of the names.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else paths
    if not isinstance(given, Iterable) or not (given := list(given)):
        msg = f"survey got {paths!r}; give at least one file or folder"
        raise ArgumentError(msg)
    scan, seen = _Scan(), set()
    for path, explicit in _walk(given):
        if (real := path.resolve() if path.exists() else path) not in seen:
            seen.add(real)
            scan.add(path, given=explicit)
    if not scan.products:
        where = ", ".join(map(str, given[:5])) + (", ..." if len(given) > 5 else "")
        msg = f"no JWST product in {where} ({scan.passed_over} files are something else); give the folder of the visits"
        raise ArgumentError(msg)
    visits = [_visit(name, list(files.values()), scan.logs[name]) for name, files in sorted(scan.products.items())]
    return Found(tuple(visits), scan.passed_over, scan.duplicates)


def _walk(given: list[Any]) -> Iterator[tuple[Path, bool]]:
    """Give every file, and whether it is one that was given; all paths are checked before the first."""
    start = []
    for item in given:
        if not isinstance(item, str | os.PathLike):
            msg = f"survey got {item!r} among its files and folders; give paths"
            raise ArgumentError(msg)
        start.append(Path(os.fsdecode(item)).expanduser().absolute())
        if not os.path.lexists(start[-1]):
            msg = f"{start[-1]} does not exist; give files or folders that do"
            raise FileError(msg)
    for path in start:
        if not path.is_dir():
            yield path, True
            continue
        for folder, below, files in os.walk(path, onerror=_unreadable):
            # A folder that is called like a product is a damaged product; it is not searched.
            named = [name for name in below if name.lower().endswith(SUFFIXES)]
            below[:] = sorted(name for name in below if not name.startswith(".") and name not in named)
            for name in sorted(files + named):
                if not name.startswith("."):
                    yield Path(folder, name), False


def _unreadable(error: OSError) -> None:
    warn(f"the folder {error.filename} cannot be searched: {error.strerror}")


def _why_not(product: Product) -> str:
    """Say why a file is no product of a visit; empty where it is one."""
    if product.error:
        return "" if product.visit_id else product.error
    if product.telescope == "JWST" and re.fullmatch(r"\d{11}", product.visit_id):
        return ""
    return f"its header is not that of a JWST visit (TELESCOP={product.telescope!r}, VISIT_ID={product.visit_id!r})"


def _visits_of_log(path: Path) -> set[str]:
    """Collect the visits that a text mentions, 11 digits each; none if it cannot be read."""
    found: set[bytes] = set()
    try:
        with path.open("rb") as file:
            for line in file:
                found.update(re.findall(rb"V(\d{11})", line))
    except OSError as error:
        logger.warning("%s is passed over: %s", path, error)
    return {visit.decode() for visit in found}


def _compare(taken: Path, other: Path) -> None:
    if (
        taken.name == other.name
        and taken.is_file()
        and other.is_file()
        and taken.stat().st_size != other.stat().st_size
    ):
        warn(f"{taken} and {other} are not the same; the first is taken, so leave out the wrong one")


def _visit(visit_id: str, products: list[Product], logs: list[Path]) -> VisitFiles:
    """Sort the products of a visit by what they are."""
    good = [product for product in products if not product.error]
    ta = _best((p for p in good if p.is_ta), KINDS)
    uncal = _best((p for p in good if p.is_ta), ("_uncal",))
    science = _best((p for p in good if not p.is_ta and not p.exp_type.startswith("FGS_")), SCIENCE)
    tacq = [p.detector for p in ta if p.exp_type in TACQ_TYPES]
    science.sort(key=lambda p: bool(tacq) and p.detector != tacq[-1])
    return VisitFiles(
        visit_id,
        science=tuple(p.path for p in science),
        ta=tuple(p.path for p in ta),
        uncal=tuple(p.path for p in uncal),
        logs=tuple(logs),
        damaged=tuple(p.error for p in products if p.error),
        n_files=len(products),
    )


def _best(products: Iterable[Product], kinds: tuple[str, ...]) -> list[Product]:
    """Keep the best product of each exposure, of the kinds that are of use, in time order."""
    return [group[0] for group in ranked_products(products, kinds)]
