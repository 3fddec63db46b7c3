"""Find the visits in folders, with the science exposures, acquisitions and event logs of each."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from xta.io.files import SCIENCE_KINDS, Catalog, PathLike, Product, exposures, find_files
from xta.model import TACQ_TYPES

__all__ = ["Folders", "VisitFiles", "find_visits"]


@dataclass(frozen=True)
class VisitFiles:
    """The files of one visit, with exposures in order of time."""

    visit_id: str  # as in the keyword VISIT_ID: 11 digits
    science: tuple[Path, ...] = ()  # best product of each exposure, those of the acquisition's detector first
    ta: tuple[Path, ...] = ()  # acquisition and confirmation exposures
    uncal: tuple[Path, ...] = ()  # their _uncal products
    logs: tuple[Path, ...] = ()  # event logs that mention the visit
    damaged: tuple[str, ...] = ()  # error messages of the files whose headers cannot be read
    n_files: int = 0  # number of products of any kind
    is_background: bool = False  # True if all its exposures show a background field

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that the result depends on."""
        return self.science + self.ta + self.uncal + self.logs


@dataclass(frozen=True)
class Folders:
    """The content of folders: the files of each visit, and the number of files that are not used."""

    catalog: Catalog

    @property
    def visits(self) -> tuple[VisitFiles, ...]:
        """The visits, in the order of their IDs."""
        visits, logs = sorted(self.catalog.products.items()), self.catalog.logs
        return tuple(_visit(name, list(files.values()), logs.get(name, [])) for name, files in visits)

    @property
    def passed_over(self) -> int:
        """Number of files that are not products."""
        return len(self.catalog.passed_over)

    @property
    def duplicates(self) -> int:
        """Number of products that were found a second time."""
        return len(self.catalog.duplicates)


def find_visits(paths: "PathLike | Iterable[PathLike]") -> Folders:
    """Find the visits in files and folders with `xta.io.files.find_files`."""
    return Folders(find_files(paths))


def _visit(visit_id: str, products: list[Product], logs: list[Path]) -> VisitFiles:
    """Sort the products of a visit by their kind."""
    ta, uncal, science = (
        [ranked[0] for ranked in exposures(products, ta=is_ta, kinds=kinds)]
        for is_ta, kinds in ((True, None), (True, ["_uncal"]), (False, SCIENCE_KINDS[:2]))  # rates have no WCS
    )
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
        is_background=bool(science) and all(product.is_background for product in science),
    )
