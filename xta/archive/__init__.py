"""Download target-acquisition products, event logs and whole programs from the archive, and cache them.

Only this package uses the network. Importing it makes no request and loads neither astroquery nor requests.
"""

from xta.archive import cache
from xta.archive.edb import event_log
from xta.archive.fetch import VisitFiles, fetch_many, fetch_visit
from xta.archive.mast import Product, download, ta_products, visit_times
from xta.archive.policy import Policy
from xta.archive.program import fetch_program, program_products

__all__ = [
    "Policy",
    "Product",
    "VisitFiles",
    "cache",
    "download",
    "event_log",
    "fetch_many",
    "fetch_program",
    "fetch_visit",
    "program_products",
    "ta_products",
    "visit_times",
]
