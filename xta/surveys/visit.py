"""Analyze one visit, and collect the results in one flat row."""

import logging
import math
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import xarray as xr

from xta import identity
from xta.acquisition.adjust import adjust_wcs
from xta.acquisition.analyze import analyze
from xta.acquisition.attach import Acquisition, attach, find_acquisition
from xta.acquisition.find import best_log, read_log, read_targ_acqs
from xta.acquisition.offset import Centroid, compute_offset
from xta.acquisition.pair import logged_facts
from xta.errors import AcquisitionError, WCSError, XtaError, XtaWarning, damage, warn
from xta.estimates.table import estimates as all_estimates
from xta.identity import header
from xta.io.backend import open_exposure
from xta.io.kept import kept
from xta.surveys.files import VisitFiles
from xta.surveys.table import ESTIMATE, IDENTITY, METHODS, NUMBERS, Row

if TYPE_CHECKING:
    from xta.osslog import OssLog

__all__ = ["exposure_rows", "failed_row", "survey_visit"]

logger = logging.getLogger(__name__)

FAILED, STAR_FOUND, OFFSET_ONLY, BACKGROUND = range(4)
"""Values of the status flag ``ok``."""

NO_STAR = "a background field, without an acquisition"

_read_log = kept(read_log, number=2, large=math.inf)  # the log of a year serves all its visits


class _Options(NamedTuple):
    """The options to analyze a visit."""

    centroid: Centroid
    corrections: str | tuple[str, ...]
    estimates: bool
    offline: bool


def survey_visit(
    files: VisitFiles,
    *,
    centroid: Centroid = "auto",
    corrections: str | tuple[str, ...] = "all",
    estimates: bool = True,
    offline: bool = False,
    per: str = "visit",
) -> Row:
    """Analyze one visit, and return a row in types of JSON: texts, numbers, "checks" and "estimates".

    Values that are not known are absent. A visit that fails has ``ok`` 0 and a ``reason``. "provisional" is True if
    the archive was asked for the event log and did not answer, so that a later row may be better. With `per`
    "exposure" the row has "exposures", one row per science exposure.
    """
    work = _each_exposure if per == "exposure" else _analyzed
    row = failed_row(files, " ".join(files.damaged))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")  # libraries may warn about each of a thousand files
        warnings.simplefilter("always", XtaWarning)
        try:
            row |= work(files, _Options(centroid, corrections, estimates, offline))
        except XtaError as error:
            row["reason"] = " ".join([error.problem, *files.damaged])
        except damage() as error:  # an unexpected error costs one visit, not the thousand others
            logger.warning("visit %s failed", files.visit_id, exc_info=True)
            row["reason"] = f"unexpected {type(error).__name__}: {error}"
    said = [str(item.message) for item in caught if issubclass(item.category, XtaWarning)]
    for exposure in row.get("exposures", ()):
        exposure["reason"] = _one_line(exposure["reason"])
    warned = " ".join(dict.fromkeys(said))
    return row | {"reason": _one_line(row["reason"]), "warnings": _one_line(warned)}


def _one_line(text: str) -> str:
    return " ".join(text.split())  # for tables


def failed_row(files: VisitFiles, reason: str) -> Row:
    """Make the row of a visit of which only the files are known."""
    about = {"visit_id": files.visit_id, "program": files.visit_id[:5]}
    return about | {"n_science": len(files.science), "n_files": files.n_files, "ok": FAILED, "reason": reason}


def exposure_rows(files: VisitFiles, row: Row) -> list[Row]:
    """Return the rows of the exposures in the row of a visit; if the visit failed, one row per file."""
    common = {name: row[name] for name in ("n_science", "n_files", "warnings") if name in row}
    named = [failed_row(files, row.get("reason", "")) | {"filename": path.name} for path in files.science]
    alone = {name: value for name, value in row.items() if name != "exposures"}
    return [exposure | common for exposure in row.get("exposures", named)] or [alone]


def _analyzed(files: VisitFiles, how: _Options) -> Row:
    """Analyze the first science exposure that has an imaging WCS; without one, the acquisition by itself."""
    if not files.science + files.ta:
        what = f"{files.n_files - len(files.damaged)} products, but no _calints or _cal of a science or TA exposure"
        msg = f"visit {files.visit_id} has {what}; download one"
        raise AcquisitionError(msg)
    if files.is_background and not files.ta:
        with open_exposure(files.science[0]) as exposure:
            return _background(exposure, files.damaged)
    given = _given(files, offline=how.offline)
    acquisition: Acquisition | None = None
    left_out: dict[str, str] = {}
    for path in files.science:
        with open_exposure(path) as exposure:
            acquisition = acquisition or find_acquisition(exposure, list(files.ta) or None, **given)
            try:
                ds = analyze(exposure, acquisition=acquisition, centroid=how.centroid, corrections=how.corrections)
            except WCSError as error:
                left_out[path.name] = str(error)
                continue
            row = _row(ds) | _about(files, acquisition, left_out) | {"ok": STAR_FOUND}
            return row | {"estimates": _estimates(ds, acquisition.search.log)} if how.estimates else row
    if acquisition is None:
        with open_exposure(files.ta[-1]) as exposure:
            acquisition = find_acquisition(exposure, list(files.ta), **given)
    ds = compute_offset(attach(acquisition.exposures[-1], acquisition), centroid=how.centroid)
    return _row(ds) | _about(files, acquisition, left_out) | {"ok": OFFSET_ONLY}


def _given(files: VisitFiles, *, offline: bool) -> dict[str, Any]:
    """Collect the event log and the TARG_ACQ extensions of the acquisition."""
    return {"oss": _event_log(files), "targ_acq": read_targ_acqs(files.uncal) or None, "offline": offline}


def _each_exposure(files: VisitFiles, how: _Options) -> Row:
    """Analyze every science exposure of a visit by its one acquisition; a failure does not stop the others."""
    if not files.science:
        row = _analyzed(files, how)
        return row | {"exposures": [failed_row(files, "") | row]}
    given = {} if files.is_background and not files.ta else _given(files, offline=how.offline)
    acquisition: Acquisition | None = None
    about: Row = {}
    rows: list[Row] = []
    for path in files.science:
        row = failed_row(files, "") | {"filename": path.name}
        try:
            exposure = open_exposure(path)
        except XtaError as error:
            rows.append(row | {"reason": str(error)})
            continue
        with exposure:
            if given:
                acquisition = acquisition or find_acquisition(exposure, list(files.ta) or None, **given)
                about = _about(files, acquisition, {})
            rows.append(row | _one_exposure(exposure, acquisition, how))
    return about | {"ok": min(row["ok"] for row in rows), "exposures": rows}


def _one_exposure(exposure: xr.Dataset, acquisition: Acquisition | None, how: _Options) -> Row:
    """Analyze one exposure by an acquisition that has been read already."""
    if acquisition is None:
        return _background(exposure, ())
    try:
        measured = compute_offset(attach(exposure, acquisition), centroid=how.centroid)
    except XtaError as error:
        return _facts(exposure) | {"reason": str(error)}
    try:
        ds = adjust_wcs(measured, corrections=how.corrections)
    except WCSError as error:
        return _row(measured) | {"ok": OFFSET_ONLY, "reason": f"it has no usable imaging WCS ({error})"}
    except XtaError as error:
        return _facts(exposure) | {"reason": str(error)}
    row = _row(ds) | {"ok": STAR_FOUND}
    return row | {"estimates": _estimates(ds, acquisition.search.log)} if how.estimates else row


def _background(exposure: xr.Dataset, damaged: Iterable[str]) -> Row:
    """Make the row of a background field, which has no star to find."""
    return _facts(exposure) | {"ok": BACKGROUND, "reason": " ".join([NO_STAR, *damaged])}


def _facts(ds: xr.Dataset) -> Row:
    """Collect the columns of text, which identify an exposure."""
    columns = {"date": "date_beg"} | {name: name for name in IDENTITY}
    return {column: str(header(ds)[name]) for column, name in columns.items() if name in header(ds)}


def _about(files: VisitFiles, acquisition: Acquisition, left_out: Mapping[str, str]) -> Row:
    """Describe which parts of the visit are left out, and whether the row is provisional."""
    names = {why: [name for name in left_out if left_out[name] == why] for why in left_out.values()}
    reasons = [f"left out without a usable imaging WCS ({why}): {', '.join(names[why])}" for why in names]
    row: Row = {"reason": " ".join([*reasons, *files.damaged])}
    asked = not any(record.successful for record in acquisition.records)
    return row | {"provisional": True} if asked and not acquisition.search.answered else row


def _row(ds: xr.Dataset) -> Row:
    """Collect the scalar results of an analysis."""
    row = _facts(ds)
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
    """Select the log with the most rows of the visit; None to let the analysis look for one."""
    log, passed_over = best_log(files.logs, files.visit_id, read=_read_log)
    for text in passed_over:
        warn(text)
    return log
