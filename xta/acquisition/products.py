"""FITS products by their headers and names: the visit and the exposure that each belongs to."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from xta.errors import damage, filtered
from xta.model import TACONFIRM_TYPES, TACQ_TYPES

__all__ = ["SUFFIXES", "Product", "ranked_products", "read_product"]

SUFFIXES = (".fits", ".fits.gz")
"""How the name of a product ends."""


@dataclass(frozen=True)
class Product:
    """What the primary header of a product says; empty where a keyword is absent.

    With an `error`, why the header cannot be read, `visit_id` is that of the name of the file.
    """

    path: Path
    telescope: str = ""
    visit_id: str = ""
    exp_type: str = ""
    detector: str = ""
    date: str = ""
    error: str = ""

    @property
    def exposure(self) -> str:
        """Name of the exposure: that of the file without its kind."""
        return self.path.name.partition(".")[0].rpartition("_")[0]

    @property
    def kind(self) -> str:
        """Kind of the product, such as "_cal"."""
        return "_" + self.path.name.partition(".")[0].rpartition("_")[2]

    @property
    def is_ta(self) -> bool:
        """True for a target acquisition, or the image that confirms one."""
        return self.exp_type in TACQ_TYPES | TACONFIRM_TYPES


def read_product(path: Path) -> Product:
    """Read what the primary header of a file says; a damaged file is a product with an `error`."""
    from astropy.io import fits

    try:
        # Of a header that is cut or odd opening the file will complain.
        with path.open("rb") as file, filtered("ignore", Warning):
            header = fits.getheader(file, 0)
            keywords = ("TELESCOP", "VISIT_ID", "EXP_TYPE", "DETECTOR", "DATE-BEG")
            return Product(path, *(str(header.get(keyword, "")).strip() for keyword in keywords))
    except damage() as error:
        match = re.match(r"jw(\d{11})_", path.name)
        text = f"{path} cannot be read ({str(error) or type(error).__name__}); fetch it again"
        return Product(path, visit_id=match[1] if match else "", error=text)


def ranked_products(products: Iterable[Product], kinds: Sequence[str]) -> list[list[Product]]:
    """Sort products of some kinds (best first) by exposure: a list for each, in time order, the best product first."""
    exposures: dict[str, list[Product]] = defaultdict(list)
    for product in products:
        if product.kind in kinds:
            exposures[product.exposure].append(product)
    best_first = [sorted(group, key=lambda p: (kinds.index(p.kind), p.path)) for group in exposures.values()]
    return sorted(best_first, key=lambda group: (group[0].date or "~", group[0].path.name))
