"""Find JWST products and event logs in files and folders, and classify each of them by header and name.

This is the only module that looks for products: for the acquisition of an exposure, a program or a survey. Event
logs beside an exposure are found by `xta.acquisition.find`.
"""

import logging
import math
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from xta.errors import ArgumentError, FileError, counted, damage, filtered, warn
from xta.identity import is_valid
from xta.io import layout
from xta.io.kept import kept
from xta.model import TACONFIRM_TYPES, TACQ_TYPES

__all__ = [
    "LOG_NAME",
    "LOG_SUFFIXES",
    "ROLES",
    "SCIENCE_KINDS",
    "SUFFIXES",
    "TA_KINDS",
    "Catalog",
    "PathLike",
    "Product",
    "exposures",
    "find_files",
    "listed",
    "ranked_products",
    "read_product",
]

logger = logging.getLogger(__name__)

PathLike: TypeAlias = str | os.PathLike[str]

SUFFIXES = (".fits", ".fits.gz")
"""Endings of the file names of products."""

SCIENCE_KINDS = ("_calints", "_cal", "_rateints", "_rate")
"""Kinds of products that are opened for a science exposure, best first."""

TA_KINDS = ("_cal", "_calints", "_rate", "_rateints")
"""Kinds of products that are opened for a TA exposure, best first."""

ROLES = ("science", "reference", "background", "acquisition")
"""Roles of an exposure."""

LOG_SUFFIXES = (".csv", ".txt")
LOG_NAME = r"(?<![a-z])oss(?![a-km-z])|osslog|ictm_event"
"""Marks of an event log in a folder: the end of its name, and a pattern in it (lower case), besides its visit."""

KEYWORDS = {"telescope": "TELESCOP", "visit_id": "VISIT_ID", "exp_type": "EXP_TYPE", "detector": "DETECTOR"}
KEYWORDS |= {"date": "DATE-BEG", "filter": "FILTER", "pupil": "PUPIL", "target": "TARGNAME"}
FLAGS = {"is_psf": "IS_PSF", "is_background": "BKGDTARG"}
"""Values that are read from a primary header -> keyword."""

LOG = re.compile(rf"{LOG_NAME}|\d{{11}}")


@dataclass(frozen=True)
class Product:
    """Values in the primary header of a product; empty if a keyword is absent.

    If the header cannot be read, `error` is the reason and `visit_id` is taken from the name of the file.
    """

    path: Path
    telescope: str = ""
    visit_id: str = ""
    exp_type: str = ""
    detector: str = ""
    date: str = ""
    filter: str = ""
    pupil: str = ""
    target: str = ""
    is_psf: bool = False
    is_background: bool = False
    error: str = ""

    @property
    def stem(self) -> str:
        """Name of the file up to the first dot."""
        return self.path.name.partition(".")[0]

    @property
    def exposure(self) -> str:
        """Name of the exposure, which is that of the file without its kind."""
        return self.stem.rpartition("_")[0]

    @property
    def kind(self) -> str:
        """Kind of the product, such as "_cal"."""
        return "_" + self.stem.rpartition("_")[2]

    @property
    def is_ta(self) -> bool:
        """True for a target acquisition, or an image that confirms one."""
        return self.exp_type in TACQ_TYPES | TACONFIRM_TYPES

    @property
    def is_guider(self) -> bool:
        """True for a product of the guiders, which never shows a target."""
        return self.exp_type.startswith("FGS_")

    @property
    def role(self) -> str:
        """One of `ROLES`, by EXP_TYPE, BKGDTARG and IS_PSF; "science" without any of these marks."""
        if self.is_ta:
            return "acquisition"
        if self.is_background:
            return "background"
        return "reference" if self.is_psf else "science"

    @property
    def band(self) -> str:
        """Name of the filter that the light went through.

        For NIRCam and NIRISS, a filter in the pupil wheel is used, and not the one that it is crossed with.
        """
        return self.pupil if re.match(r"F\d", self.pupil) else self.filter


def read_product(path: Path) -> Product:
    """Read the primary header of a file; a damaged file becomes a product with an `error`."""
    try:
        return _kept_product(path)
    except damage() as error:
        match = re.match(r"jw(\d{11})_", path.name)
        text = f"{path} cannot be read ({str(error) or type(error).__name__}); download it again"
        return Product(path, visit_id=match[1] if match else "", error=text)


def _product(path: Path) -> Product:
    from astropy.io import fits

    # Opening the file will warn about an unusual header.
    with filtered("ignore", Warning):
        header = fits.Header.fromstring(layout.first_header(path))
        texts = {name: _text(header.get(keyword)) for name, keyword in KEYWORDS.items()}
        texts |= {name: "" for name in ("filter", "pupil", "detector") if not is_valid(name, texts[name])}
        texts["target"] = texts["target"] or _text(header.get("TARGPROP"))
        flags = {name: header.get(keyword) == 1 for name, keyword in FLAGS.items()}
        return Product(path, **texts, **flags)  # type: ignore[arg-type]


_kept_product = kept(_product, number=256, large=math.inf)


def _text(value: Any) -> str:
    """Convert the value of a keyword to text; "" if it is absent, undefined or N/A."""
    text = str(value).strip() if isinstance(value, str | int | float) else ""
    return "" if text == "N/A" else text


def ranked_products(products: Iterable[Product], kinds: Sequence[str]) -> list[list[Product]]:
    """Group products of some kinds (best first) by exposure, in order of time; the best product of each comes first."""
    exposures: dict[str, list[Product]] = defaultdict(list)
    for product in products:
        if product.kind in kinds:
            exposures[product.exposure].append(product)
    best_first = [sorted(group, key=lambda p: (kinds.index(p.kind), p.path)) for group in exposures.values()]
    return sorted(best_first, key=lambda group: (group[0].date or "~", group[0].path.name))


def exposures(products: Iterable[Product], *, ta: bool, kinds: Sequence[str] | None = None) -> list[list[Product]]:
    """Rank the products of science or TA exposures, without damaged and guider products; see `ranked_products`."""
    usable = (product for product in products if not product.error and not product.is_guider)
    return ranked_products((p for p in usable if p.is_ta == ta), kinds or (TA_KINDS if ta else SCIENCE_KINDS))


def listed(folder: Path, start: str = "") -> list[Path]:
    """List the paths in a folder, without subfolders, that are named like a product and begin with `start`."""
    return sorted(path for end in SUFFIXES for path in folder.glob(f"{start}*{end}"))


@dataclass
class Catalog:
    """The content of files and folders: the products and logs of each visit, and the files that are left out."""

    products: dict[str, dict[str, Product]] = field(default_factory=lambda: defaultdict(dict))
    """Visit -> name of the file -> product, including damaged products with the visit in their names."""
    logs: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    """Visit -> event logs that mention it."""
    passed_over: dict[Path, str] = field(default_factory=dict)
    """File that is not used -> reason."""
    duplicates: dict[Path, Path] = field(default_factory=dict)
    """Product that was found a second time -> the one that is used."""

    def add(self, path: Path, *, given: bool) -> None:
        """Add a file that was given by the user or found in a folder."""
        name = path.name.lower()
        if name.endswith(LOG_SUFFIXES):
            visits = _visits_of_log(path) if given or LOG.search(name) else set()
            for visit in visits:
                self.logs[visit].append(path)
            why = "" if visits or not given else "it mentions no visit"
        else:
            why = self._add_product(path) if given or name.endswith(SUFFIXES) else ""
        if why:
            self.passed_over[path] = why
            (warn if given else logger.info)(f"skipped {path}: {why}")

    def _add_product(self, path: Path) -> str:
        """Add a product; return the reason why it does not belong to a visit, or an empty text."""
        product = read_product(path)
        if product.error and not product.visit_id:
            return product.error
        if not product.error and (product.telescope != "JWST" or not re.fullmatch(r"\d{11}", product.visit_id)):
            keywords = f"TELESCOP={product.telescope!r}, VISIT_ID={product.visit_id!r}"
            return f"its header does not belong to a JWST visit ({keywords})"
        files, name = self.products[product.visit_id], path.name.removesuffix(".gz")
        first = files.setdefault(name, product)
        if first is not product:
            whole = first.path.name == path.name and first.path.is_file() and path.is_file()
            if whole and first.path.stat().st_size != path.stat().st_size:
                warn(f"{first.path} and {path} differ; the first is used, so leave out the wrong one")
            if first.error:
                files[name] = product
            self.duplicates[first.path if first.error else path] = files[name].path
        return ""


def find_files(paths: "PathLike | Iterable[PathLike]") -> Catalog:
    """Find the products and event logs in files and folders.

    Parameters
    ----------
    paths : path or iterable of paths
        A given file that is not a product causes a warning. Folders are searched with all their subfolders; links to
        folders in them are not followed, and names that begin with a dot are skipped.

    Returns
    -------
    Catalog
        A product belongs to the visit in its keyword VISIT_ID or, if its header cannot be read, in its name. If a
        product is found twice, the first is used, in the order of `paths` and, within a folder, of the names.

    Raises
    ------
    ArgumentError
        If `paths` contains anything but paths, or there is no JWST product.
    FileError
        If a path does not exist.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths) if isinstance(paths, Iterable) else []
    if not given:
        msg = f"paths is {paths!r}; give at least one file or folder"
        raise ArgumentError(msg)
    catalog, seen = Catalog(), set()
    for path, explicit in _walk(given):
        if (real := path.resolve() if path.exists() else path) not in seen:
            seen.add(real)
            catalog.add(path, given=explicit)
    if not catalog.products:
        where = ", ".join(map(str, given[:5])) + (", ..." if len(given) > 5 else "")
        others = f"{counted(len(catalog.passed_over), 'other file')} found"
        msg = f"there is no JWST product in {where} ({others}); give the folder of the visits"
        raise ArgumentError(msg)
    return catalog


def _walk(given: "Iterable[PathLike]") -> Iterator[tuple[Path, bool]]:
    """Yield every file, and whether it was given by the user; all paths are checked before the first."""
    start = []
    for item in given:
        try:
            start.append(Path(os.fsdecode(item)).expanduser().absolute())
        except TypeError:
            msg = f"{item!r} among the files and folders is not a path; give paths"
            raise ArgumentError(msg) from None
        if not os.path.lexists(start[-1]):
            msg = f"{start[-1]} does not exist; give existing files or folders"
            raise FileError(msg)
    for path in start:
        if not path.is_dir():
            yield path, True
            continue
        for folder, below, files in os.walk(path, onerror=_unreadable):
            # A folder that is named like a product counts as a damaged product; it is not searched.
            named = [name for name in below if name.lower().endswith(SUFFIXES)]
            below[:] = sorted(name for name in below if not name.startswith(".") and name not in named)
            for name in sorted(files + named):
                if not name.startswith("."):
                    yield Path(folder, name), False


def _unreadable(error: OSError) -> None:
    warn(f"the folder {error.filename} cannot be searched: {error.strerror}")


def _visits_of_log(path: Path) -> set[str]:
    """Collect the visits that a text mentions, 11 digits each; none if it cannot be read."""
    if not path.is_file():  # a pipe might never end
        return set()
    try:
        with path.open("rb") as file:
            return {visit.decode() for line in file for visit in re.findall(rb"V(\d{11})", line)}
    except OSError as error:
        logger.warning("skipped %s: %s", path, error)
        return set()
