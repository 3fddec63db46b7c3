"""The archive: target-acquisition products and event logs, fetched once and kept.

Nothing else in xta touches the network. Importing this package contacts nobody and loads neither astroquery
nor requests.
"""

from xta.archive import cache
from xta.archive.edb import event_log
from xta.archive.fetch import VisitFiles, fetch_many, fetch_visit
from xta.archive.mast import Product, download, ta_products, visit_times
from xta.archive.policy import Policy

__all__ = [
    "Policy",
    "Product",
    "VisitFiles",
    "cache",
    "download",
    "event_log",
    "fetch_many",
    "fetch_visit",
    "ta_products",
    "visit_times",
]
