"""Analyze one visit, and put the results into one flat row."""

import logging
import math
import warnings
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from xta import identity
from xta.acquisition.analyze import analyze
from xta.acquisition.attach import Acquisition, attach, find_acquisition
from xta.acquisition.find import best_log, read_log, read_targ_acqs
from xta.acquisition.offset import compute_offset
from xta.acquisition.pair import logged_facts
from xta.errors import AcquisitionError, WCSError, XtaError, XtaWarning, damage, warn
from xta.estimates.table import estimates as all_estimates
from xta.identity import header
from xta.io.backend import open_exposure
from xta.surveys.files import VisitFiles
from xta.surveys.table import ESTIMATE, FROM_ATTRS, METHODS, NUMBERS, Row

if TYPE_CHECKING:
    from xta.osslog import OssLog

__all__ = ["failed_row", "survey_visit"]

logger = logging.getLogger(__name__)

FAILED, STAR_FOUND, OFFSET_ONLY = 0, 1, 2
"""Values of the status flag ``ok``."""


def survey_visit(files: VisitFiles, *, estimates: bool = True, offline: bool = False) -> Row:
    """Analyze one visit, and return a row of what JSON can hold: texts, numbers, "checks" and "estimates".

    What is not known is absent. A visit that fails has ``ok`` 0 and a ``reason``. "provisional" is True where the
    event log was asked for and the archive did not answer: another time the row may be a better one.
    """
    row = failed_row(files, " ".join(files.damaged))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")  # what libraries say of each of a thousand files
        warnings.simplefilter("always", XtaWarning)
        try:
            row |= _analyzed(files, estimates=estimates, offline=offline)
        except XtaError as error:
            row["reason"] = " ".join([str(error), *files.damaged])
        except damage() as error:  # nobody foresaw it: it costs one visit, not the thousand others
            logger.warning("visit %s failed", files.visit_id, exc_info=True)
            row["reason"] = f"unexpected {type(error).__name__}: {error}"
    said = [str(item.message) for item in caught if issubclass(item.category, XtaWarning)]
    texts = {"reason": row["reason"], "warnings": " ".join(dict.fromkeys(said))}
    return row | {name: " ".join(text.split()) for name, text in texts.items()}  # one line each, for tables


def failed_row(files: VisitFiles, reason: str) -> Row:
    """Make the row of a visit of which nothing is known but its files."""
    about = {"visit_id": files.visit_id, "program": files.visit_id[:5]}
    return about | {"n_science": len(files.science), "n_files": files.n_files, "ok": FAILED, "reason": reason}


def _analyzed(files: VisitFiles, *, estimates: bool, offline: bool) -> Row:
    """Analyze the first science exposure that has an imaging WCS; without one, the acquisition by itself."""
    if not files.science + files.ta:
        what = f"{files.n_files - len(files.damaged)} products, but no _calints or _cal of a science or TA exposure"
        msg = f"visit {files.visit_id} has {what}; fetch one"
        raise AcquisitionError(msg)
    given: dict[str, Any] = {
        "oss": _event_log(files),
        "targ_acq": read_targ_acqs(files.uncal) or None,
        "offline": offline,
    }
    acquisition: Acquisition | None = None
    left_out: dict[str, str] = {}
    for path in files.science:
        with open_exposure(path) as exposure:
            acquisition = acquisition or find_acquisition(exposure, list(files.ta) or None, **given)
            try:
                ds = analyze(exposure, acquisition=acquisition)
            except WCSError as error:
                left_out[path.name] = str(error)
                continue
            row = _row(ds) | _about(files, acquisition, left_out) | {"ok": STAR_FOUND}
            return row | {"estimates": _estimates(ds, acquisition.search.log)} if estimates else row
    if acquisition is None:
        with open_exposure(files.ta[-1]) as exposure:
            acquisition = find_acquisition(exposure, list(files.ta), **given)
    ds = compute_offset(attach(acquisition.exposures[-1], acquisition))
    return _row(ds) | _about(files, acquisition, left_out) | {"ok": OFFSET_ONLY}


def _about(files: VisitFiles, acquisition: Acquisition, left_out: Mapping[str, str]) -> Row:
    """Say what of the visit is left out, and whether the archive may have more of it another time."""
    names = {why: [name for name in left_out if left_out[name] == why] for why in left_out.values()}
    reasons = [f"without an imaging WCS that can be used ({why}): {', '.join(names[why])}" for why in names]
    row: Row = {"reason": " ".join([*reasons, *files.damaged])}
    asked = not any(record.successful for record in acquisition.records)
    return row | {"provisional": True} if asked and not acquisition.search.answered else row


def _row(ds: xr.Dataset) -> Row:
    """Take the scalars that an analysis leaves in a dataset."""
    columns = {"date": "date_beg"} | {name: name for name in FROM_ATTRS}
    row: Row = {column: str(header(ds)[name]) for column, name in columns.items() if name in header(ds)}
    row |= {name: _json(ds[name].item()) for name in NUMBERS if name in ds.coords and not ds[name].ndim}
    row["checks"] = dict(zip(ds["check"].values.tolist(), ds["check_passed"].values.tolist(), strict=True))
    failed = ds.isel(check=ds["check_passed"].values == 0)
    pairs = zip(failed["check"].values, failed["check_reason"].values, strict=True)
    row["checks_failed"] = "; ".join(f"{name}: {reason}" for name, reason in pairs)
    facts = logged_facts(ds)
    row |= {"sam_x": _json(facts.sam_x), "sam_y": _json(facts.sam_y)}
    return row | {"guider": identity.guider_number(ds) or facts.guider}


def _json(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _estimates(ds: xr.Dataset, log: "OssLog | None") -> dict[str, list[float | None]]:
    """Compute each quantity of the independent estimates, in the order of `METHODS`."""
    table = all_estimates(ds, oss=log).sel(estimate=list(METHODS))
    return {name: [_json(value) for value in table[name].values.tolist()] for name in ESTIMATE}


def _event_log(files: VisitFiles) -> "OssLog | None":
    """Select from the logs the one that tells most of the visit; None to let the analysis look for one."""

    def read(path: Path) -> "tuple[OssLog, tuple[str, ...]]":
        about = path.stat()
        return _log(path, about.st_size, about.st_mtime_ns)

    log, passed_over = best_log(files.logs, files.visit_id, read=read)
    for text in passed_over:
        warn(text)
    return log


@lru_cache(maxsize=2)
def _log(path: Path, size: int, mtime: int) -> "tuple[OssLog, tuple[str, ...]]":
    """Read a log, of one visit or of a year; `size` and `mtime` tell when to read again."""
    return read_log(path)
