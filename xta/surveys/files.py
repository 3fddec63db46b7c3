"""Find visits in folders: which science exposures, acquisitions and event logs belong to each."""

import logging
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from xta.acquisition.find import KINDS, LOG_NAME, LOG_SUFFIXES
from xta.acquisition.products import SUFFIXES, Product, ranked_products, read_product
from xta.errors import ArgumentError, FileError, warn
from xta.model import TACQ_TYPES

__all__ = ["Folders", "VisitFiles", "find_visits"]

logger = logging.getLogger(__name__)

PathLike: TypeAlias = str | os.PathLike[str]

SCIENCE = ("_calints", "_cal")
"""Products of a science exposure that can be analyzed, best first."""

LOG = re.compile(rf"{LOG_NAME}|\d{{11}}")


@dataclass(frozen=True)
class VisitFiles:
    """The files of one visit, exposures in time order."""

    visit_id: str  # as in the keyword VISIT_ID: 11 digits
    science: tuple[Path, ...] = ()  # best product of each exposure, those of the acquisition's detector first
    ta: tuple[Path, ...] = ()  # acquisition and confirmation exposures
    uncal: tuple[Path, ...] = ()  # their _uncal products
    logs: tuple[Path, ...] = ()  # event logs that mention the visit
    damaged: tuple[str, ...] = ()  # what is wrong with the files whose headers cannot be read
    n_files: int = 0  # products of whatever kind

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that the result rests on."""
        return self.science + self.ta + self.uncal + self.logs


@dataclass
class Folders:
    """What folders hold: the files of each visit, and how many files are of no use."""

    products: dict[str, dict[str, Product]] = field(default_factory=lambda: defaultdict(dict))
    logs: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    passed_over: int = 0
    duplicates: int = 0

    @property
    def visits(self) -> tuple[VisitFiles, ...]:
        """The visits, in the order of their ids."""
        visits = sorted(self.products.items())
        return tuple(_visit(name, list(files.values()), self.logs[name]) for name, files in visits)

    def add(self, path: Path, *, given: bool) -> None:
        """Take a file, given by the user or found in a folder."""
        name = path.name.lower()
        if name.endswith(LOG_SUFFIXES):
            visits = _visits_of_log(path) if given or LOG.search(name) else set()
            for visit in visits:
                self.logs[visit].append(path)
            why = "" if visits or not given else "no row of it names a visit"
        else:
            why = self._add_product(path) if given or name.endswith(SUFFIXES) else ""
        if why:
            self.passed_over += 1
            (warn if given else logger.info)(f"{path} is passed over: {why}")

    def _add_product(self, path: Path) -> str:
        """Take a product; a text says why it is none of a visit."""
        product = read_product(path)
        if product.error and not product.visit_id:
            return product.error
        if not product.error and (product.telescope != "JWST" or not re.fullmatch(r"\d{11}", product.visit_id)):
            keywords = f"TELESCOP={product.telescope!r}, VISIT_ID={product.visit_id!r}"
            return f"its header is not that of a JWST visit ({keywords})"
        files, name = self.products[product.visit_id], path.name.removesuffix(".gz")
        first = files.setdefault(name, product)
        if first is not product:
            self.duplicates += 1
            whole = first.path.name == path.name and first.path.is_file() and path.is_file()
            if whole and first.path.stat().st_size != path.stat().st_size:
                warn(f"{first.path} and {path} are not the same; the first is taken, so leave out the wrong one")
            if first.error:
                files[name] = product
        return ""


def find_visits(paths: "PathLike | Iterable[PathLike]") -> Folders:
    """Find the visits of files and folders; a file that was given is warned of if it is no product.

    Folders are searched with all folders below them; links to folders below are not followed, and names that begin
    with a dot are passed over. A product belongs to the visit in its keyword VISIT_ID, or, where its header cannot be
    read, in its name. Of a product that is there twice the first is taken, in the order of `paths` and, within a
    folder, of the names.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths) if isinstance(paths, Iterable) else []
    if not given:
        msg = f"survey got {paths!r}; give at least one file or folder"
        raise ArgumentError(msg)
    folders, seen = Folders(), set()
    for path, explicit in _walk(given):
        if (real := path.resolve() if path.exists() else path) not in seen:
            seen.add(real)
            folders.add(path, given=explicit)
    if not folders.products:
        where = ", ".join(map(str, given[:5])) + (", ..." if len(given) > 5 else "")
        others = f"{folders.passed_over} files are something else"
        msg = f"no JWST product in {where} ({others}); give the folder of the visits"
        raise ArgumentError(msg)
    return folders


def _walk(given: "Iterable[PathLike]") -> Iterator[tuple[Path, bool]]:
    """Yield every file, and whether it is one that was given; all paths are checked before the first."""
    start = []
    for item in given:
        try:
            start.append(Path(os.fsdecode(item)).expanduser().absolute())
        except TypeError:
            msg = f"survey got {item!r} among its files and folders; give paths"
            raise ArgumentError(msg) from None
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


def _visits_of_log(path: Path) -> set[str]:
    """Collect the visits that a text mentions, 11 digits each; none if it cannot be read."""
    try:
        with path.open("rb") as file:
            return {visit.decode() for line in file for visit in re.findall(rb"V(\d{11})", line)}
    except OSError as error:
        logger.warning("%s is passed over: %s", path, error)
        return set()


def _visit(visit_id: str, products: list[Product], logs: list[Path]) -> VisitFiles:
    """Sort the products of a visit by what they are."""

    def best(kinds: tuple[str, ...], *, ta: bool) -> list[Product]:
        good = (p for p in products if not p.error and p.is_ta == ta and not p.exp_type.startswith("FGS_"))
        return [group[0] for group in ranked_products(good, kinds)]

    ta, uncal, science = best(KINDS, ta=True), best(("_uncal",), ta=True), best(SCIENCE, ta=False)
    tacq = [product.detector for product in ta if product.exp_type in TACQ_TYPES]
    science.sort(key=lambda product: bool(tacq) and product.detector != tacq[-1])
    return VisitFiles(
        visit_id,
        science=tuple(product.path for product in science),
        ta=tuple(product.path for product in ta),
        uncal=tuple(product.path for product in uncal),
        logs=tuple(logs),
        damaged=tuple(product.error for product in products if product.error),
        n_files=len(products),
    )
