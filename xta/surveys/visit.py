"""Analyse one visit, and put what is found into one flat row."""

import logging
import math
import os
import warnings
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from xta import osslog
from xta.acquisition import attach
from xta.analysis import analyze
from xta.backend import open_exposure
from xta.errors import AcquisitionError, FileError, OssLogError, XtaError, XtaWarning, warn
from xta.estimates import estimates as all_estimates
from xta.offset import compute_offset
from xta.surveys.files import VisitFiles
from xta.surveys.table import ESTIMATE, METHODS, NUMBERS

if TYPE_CHECKING:
    from xta.osslog import Centroid, OssLog

__all__ = ["FAILED", "OFFSET_ONLY", "STAR_FOUND", "survey_visit"]

logger = logging.getLogger(__name__)

FAILED, STAR_FOUND, OFFSET_ONLY = 0, 1, 2
"""Values of the status flag ``ok``."""

UNEXPECTED = (OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError, MemoryError)
"""What a library may raise over a file that nobody foresaw: it costs one visit, not the thousand others."""

TEXTS = {
    "target_name": "target_name",
    "instrument": "instrument",
    "detector": "detector",
    "aperture": "aperture",
    "filter": "filter",
    "exp_type": "exp_type",
    "date": "date_beg",
    "filename": "filename",
    "oss_status": "oss_status",
    "centroid_source": "centroid_source",
    "guide_star": "guide_star",
    "prd_version": "prd_version",
    "oss_prd": "oss_prd",
}
"""Column of text -> attribute of the analysed exposure."""


def survey_visit(files: VisitFiles, *, estimates: bool = True, offline: bool = False) -> dict[str, Any]:
    """Analyse one visit.

    Parameters
    ----------
    files : VisitFiles
    estimates : bool
        Add the independent estimates of the star's position.
    offline : bool
        Do not use the network.

    Returns
    -------
    dict
        One row of a survey, of what JSON can hold: texts, numbers, under "checks" each check, and under
        "estimates" a number for each quantity and method. What is not known is absent. A visit that fails has
        ``ok`` 0 and a ``reason``.
    """
    row: dict[str, Any] = {
        "visit_id": files.visit_id,
        "program": files.visit_id[:5],
        "n_science": len(files.science),
        "n_files": files.n_files,
        "reason": " ".join(files.damaged),
    }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")  # what libraries say of each of a thousand files
        warnings.simplefilter("always", XtaWarning)
        try:
            row |= _analysed(files, estimates=estimates, offline=offline)
        except XtaError as error:
            row |= {"ok": FAILED, "reason": " ".join([str(error), *files.damaged])}
        except UNEXPECTED as error:
            logger.warning("visit %s failed", files.visit_id, exc_info=True)
            row |= {"ok": FAILED, "reason": f"unexpected {type(error).__name__}: {error}"}
    said = [str(item.message) for item in caught if issubclass(item.category, XtaWarning)]
    texts = {"reason": row["reason"], "warnings": " ".join(dict.fromkeys(said))}
    return row | {name: " ".join(text.split()) for name, text in texts.items()}  # one line each, for tables


def _analysed(files: VisitFiles, *, estimates: bool, offline: bool) -> dict[str, Any]:
    if not files.science + files.ta:
        what = f"{files.n_files - len(files.damaged)} products, but no _calints or _cal of a science or TA exposure"
        msg = f"visit {files.visit_id} has {what}; fetch one"
        raise AcquisitionError(msg)
    path = (files.science or files.ta[-1:])[0]
    log = _event_log(files)
    with open_exposure(path) as exposure:
        given: dict[str, Any] = {"oss": log, "targ_acq": list(files.uncal) or None, "offline": offline}
        if files.science:
            ds = analyze(exposure, acquisition=list(files.ta) or None, **given)
        else:
            ds = compute_offset(attach(exposure, list(files.ta), **given))
        row = _row(ds) | {"ok": STAR_FOUND if files.science else OFFSET_ONLY}
        if estimates and files.science:
            row["estimates"] = _estimates(ds, log)
    return row


def _row(ds: xr.Dataset) -> dict[str, Any]:
    """Take the scalars that an analysis leaves in a dataset."""
    row: dict[str, Any] = {column: str(ds.attrs[name]) for column, name in TEXTS.items() if name in ds.attrs}
    row |= {name: _json(ds[name].item()) for name in NUMBERS if name in ds.coords and not ds[name].ndim}
    row["checks"] = dict(zip(ds["check"].values.tolist(), ds["check_passed"].values.tolist(), strict=True))
    failed = ds.isel(check=ds["check_passed"].values == 0)
    pairs = zip(failed["check"].values, failed["check_reason"].values, strict=True)
    row["checks_failed"] = "; ".join(f"{name}: {reason}" for name, reason in pairs)
    guider = str(ds.attrs.get("guider_aperture", ""))[3:4]
    if (record := _record(ds)) is not None:
        row |= {"sam_x": _json(record.sam_x), "sam_y": _json(record.sam_y)}
        guider = guider or str(record.guider or "")
    return row | {"guider": int(guider) if guider in {"1", "2"} else 0}


def _json(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _record(ds: xr.Dataset) -> "Centroid | None":
    """Read the acquisition in use from the lines of the log that the dataset carries; the last if none is in use."""
    lines = ds.attrs.get("oss_log")
    records = osslog.read(f"{lines}\n").centroids() if lines else []
    here = (ds.attrs.get("oss_x_det"), ds.attrs.get("oss_y_det"))
    return next((one for one in records if (one.x_det, one.y_det) == here), records[-1] if records else None)


def _estimates(ds: xr.Dataset, log: "OssLog | None") -> dict[str, list[float | None]]:
    """Give each quantity of the independent estimates, in the order of `METHODS`."""
    table = all_estimates(ds, oss=log).sel(estimate=list(METHODS))
    return {name: [_json(value) for value in table[name].values.tolist()] for name in ESTIMATE}


def _event_log(files: VisitFiles) -> "OssLog | None":
    """Select from the logs the one that tells most of the visit; None to let the analysis look for one."""
    best: OssLog | None = None
    for path in files.logs:
        try:
            about = path.stat()
            log, said = _log(path, about.st_size, about.st_mtime_ns)
            part = log.select(files.visit_id)
        except (OssLogError, FileError, OSError) as error:
            warn(f"the event log {path} is passed over: {error}")
            continue
        if len(part) > max(1, len(best or ())):  # a single row is the mention of a neighbour
            best = part
            for text in said:
                warn(text)
    return best


@lru_cache(maxsize=2)
def _log(path: "os.PathLike[str]", size: int, mtime: int) -> "tuple[OssLog, tuple[str, ...]]":
    """Read a log, of one visit or of a year, with what is wrong with it; `size` and `mtime` tell when to read again."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", XtaWarning)
        log = osslog.read(Path(path))
    return log, tuple(str(item.message) for item in caught if issubclass(item.category, XtaWarning))
