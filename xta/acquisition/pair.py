"""Pair onboard centroids with TA exposures, by time and detector, and choose the one in use."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from xta import identity, model, osslog
from xta.acquisition.image import in_use
from xta.errors import AcquisitionError, warn
from xta.geometry import siaf
from xta.geometry.prd import Aperture
from xta.identity import header
from xta.osslog import Centroid

if TYPE_CHECKING:
    from xta.acquisition.targ_acq import TargAcq
    from xta.osslog import Exposure, OssLog

__all__ = [
    "Onboard",
    "assign_centroids",
    "begin",
    "from_log",
    "from_targ_acq",
    "intended_pixel",
    "logged_facts",
    "pair",
    "readout",
    "same_exposure",
]

logger = logging.getLogger(__name__)

CLOCK_TOLERANCE = np.timedelta64(5, "s")
"""Time by which a TA block may begin before DATE-BEG and still belong to the exposure."""

LATE = np.timedelta64(10, "m")
"""A TA block that begins later than this after an exposure may belong to another one, which is missing."""


def begin(ta: xr.Dataset) -> np.datetime64:
    """Read the start of a TA exposure (DATE-BEG); NaT where the header has none."""
    try:
        return np.datetime64(str(header(ta)["date_beg"]), "ns")
    except (KeyError, ValueError):
        return np.datetime64("NaT", "ns")


def pair(
    exposures: Sequence[xr.Dataset], centroids: Sequence[Centroid], logged: "Sequence[Exposure]" = ()
) -> list[list[Centroid]]:
    """Find the TA blocks of each TA exposure, by time and detector; both must be in time order.

    A block belongs to the last acquisition in the log before it, whether or not that one is among `exposures`. A
    block that belongs to none of them is not used.
    """
    result: list[list[Centroid]] = [[] for _ in exposures]
    acquisitions = [exposure for exposure in logged if exposure.exp_type in model.TACQ_TYPES]
    for centroid in centroids:
        k = _owner(exposures, centroid, acquisitions)
        if k is None:
            logger.info("the onboard centroid of %s belongs to none of these TA exposures", centroid.start)
        else:
            result[k].append(centroid)
    return result


def last_converged(blocks: Sequence[Centroid]) -> Centroid | None:
    """Choose the last block that converged, or else the last one; None if there is none."""
    return next(reversed([block for block in blocks if block.usable] or blocks), None)


def _owner(exposures: Sequence[xr.Dataset], centroid: Centroid, acquisitions: "Sequence[Exposure]") -> int | None:
    """Find the index of the TA exposure that a block of the log was made from."""
    tacq = [k for k, ta in enumerate(exposures) if header(ta).get("exp_type") in model.TACQ_TYPES]
    candidates = [k for k in tacq if _same_detector(header(exposures[k]).get("detector"), centroid.detector)]
    # Ownership of a block: if the log names the exposure before it, only that one; otherwise the last one that began
    # before the block.
    before = [exposure for exposure in acquisitions if exposure.start <= centroid.start]
    if before:
        named = [k for k in candidates if _is_logged(exposures[k], before[-1])]
        return named[-1] if named else None
    earlier = [k for k in candidates if begin(exposures[k]) - CLOCK_TOLERANCE <= centroid.start]
    if not earlier or _more_dithers_follow(exposures[earlier[-1]]):
        return None
    k = earlier[-1]
    if centroid.start - begin(exposures[k]) > LATE:
        minutes = (centroid.start - begin(exposures[k])) / np.timedelta64(60, "s")
        warn(
            f"the onboard centroid of {centroid.start} was logged {minutes:.0f} minutes after its TA exposure "
            f"{header(exposures[k]).get('filename')} began; check whether a later TA exposure is missing"
        )
    return k


def _is_logged(ta: xr.Dataset, exposure: "Exposure") -> bool:
    """Return True if a TA exposure is the one that the log names, by its product's name or else by its time."""
    parts = str(header(ta).get("filename", "")).split("_")
    if len(parts) >= 3 and re.fullmatch(r"[0-9a-z]{5}", parts[1]) and parts[2][:5].isdigit():
        return exposure.exposure == f"{parts[1][2:]}{int(parts[2][:5]):03d}"
    return bool(exposure.start - CLOCK_TOLERANCE <= begin(ta) <= exposure.time + CLOCK_TOLERANCE)


def _more_dithers_follow(ta: xr.Dataset) -> bool:
    """Return True if the acquisition goes on after this exposure: a dithered one is centroided at its end."""
    number, points = (header(ta).get(name) for name in ("dither_number", "dither_points"))
    return number is not None and points is not None and number < points


def _same_detector(header: Any, logged: str | None) -> bool:
    """Compare detector names: NRCALONG and NRCA5 are the same; a missing name is the same as any."""
    names = {str(name).upper().replace("LONG", "5") for name in (header, logged) if name}
    return len(names) < 2


def readout(ta: xr.Dataset) -> Aperture:
    """Find the readout of a TA exposure, and check that it is the exposure's array."""
    a = header(ta)
    if "aperture" not in a:
        msg = f"{a.get('filename', 'the TA exposure')} has no APERNAME, so its onboard centroid has no known pixel"
        raise AcquisitionError(msg)
    ap = _aperture(ta, a.get("subarray"))
    size = a.get("subsize1", ap.XSciSize), a.get("subsize2", ap.YSciSize)
    ends = [int(ta.variables[axis].values.max()) for axis in "xy"]
    fits = ends[0] < ap.XSciSize and ends[1] < ap.YSciSize
    if size != (ap.XSciSize, ap.YSciSize) or not fits:
        msg = (
            f"{a.get('filename', 'the TA exposure')}: the readout for APERNAME {a['aperture']} and SUBARRAY "
            f"{a.get('subarray')} is {ap.AperName} with {ap.XSciSize} x {ap.YSciSize} pixels, but SUBSIZE1/2 are "
            f"{size[0]} x {size[1]} and the array reaches pixel ({ends[0]}, {ends[1]}); "
            "correct these keywords"
        )
        raise AcquisitionError(msg)
    return ap


def intended_pixel(ds: xr.Dataset, exposure: int = 1) -> tuple[float, float]:
    """Compute the intended position of an exposure's star, by the SIAF of its product [0-based pixel]."""
    a = header(ds)
    place, prd = (a["instrument"], a.get("aperture", ""), a.get("subarray")), a.get("prd_version")
    return siaf.intended_pixel(*place, exposure=exposure, prd=prd, detector=a.get("detector"))


def _aperture(ta: xr.Dataset, subarray: str | None) -> Aperture:
    a = header(ta)
    return siaf.readout(a["instrument"], a["aperture"], subarray, a.get("prd_version"), detector=a.get("detector"))


def _det(ta: xr.Dataset, record: "Centroid | TargAcq") -> tuple[float, float]:
    """Convert an onboard centroid to SIAF Det; NIRISS and NIRSpec log column and row in the opposite order."""
    return siaf.oss_to_det(str(header(ta)["instrument"]), float(record.x_det), float(record.y_det))


def _to_pixel(ta: xr.Dataset, x_det: float, y_det: float) -> tuple[float, float]:
    """Convert a Det position to the 0-based readout pixel of a TA exposure, checked against SUBSTRT1/2."""
    x, y = siaf.det_to_pixel(readout(ta), x_det, y_det)
    a = header(ta)
    if "substrt1" in a and "substrt2" in a:
        x_sci, y_sci = siaf.det_to_sci(_aperture(ta, "FULL"), x_det, y_det)
        if max(abs(x_sci - a["substrt1"] - x), abs(y_sci - a["substrt2"] - y)) > 0.5:
            msg = (
                f"{a.get('filename')}: aperture {a['aperture']} puts the onboard centroid on pixel ({x:.2f}, {y:.2f}), "
                f"but SUBSTRT1/2 put it on ({x_sci - a['substrt1']:.2f}, {y_sci - a['substrt2']:.2f}); "
                "APERNAME and the subarray do not belong together"
            )
            raise AcquisitionError(msg)
    return float(x), float(y)


@dataclass(frozen=True)
class Onboard:
    """The onboard centroid in use, or the reason why there is none.

    `exposure` is the index of the TA exposure that it was measured in. `failed` is True if the last acquisition
    failed; a record is then that of an earlier one.
    """

    record: "Centroid | TargAcq | None" = None
    exposure: int | None = None
    failed: bool = False
    reason: str = ""


def from_log(blocks: Sequence[Sequence[Centroid]], log: "OssLog", visit_id: str) -> Onboard:
    """Choose the onboard centroid of an event log: the last one that converged, with a warning if a later one did not.

    `blocks` are those of each TA exposure, see `pair`. If the acquisition failed, the reason is taken from the log.
    """
    each = [(k, block) for k, several in enumerate(blocks) for block in several]
    usable = [n for n, (_, block) in enumerate(each) if block.usable]
    if not usable:
        failures = [" ".join(failure.message.split()) for failure in log.failures(visit_id)]
        reason = "no onboard centroid of these TA exposures in the event log"
        return Onboard(failed=bool(failures), reason=f"FAILED: {failures[-1]}" if failures else reason)
    k, block = each[usable[-1]]
    failed = usable[-1] < len(each) - 1
    if failed:
        warn(f"the last onboard centroid of visit {visit_id} did not converge; the one of {block.time} is used")
    return Onboard(block, k, failed)


def from_targ_acq(exposures: Sequence[xr.Dataset], records: "Sequence[TargAcq]", log: Onboard) -> Onboard:
    """Choose the onboard centroid of the last TARG_ACQ extension that was successful.

    `log` is the result of `from_log`, without a centroid. Warn if a later acquisition failed, if the acquisition
    failed according to the event log, or if an extension belongs to none of the exposures.
    """
    result, later = log, False
    for record in sorted(records, key=lambda record: record.date_beg, reverse=True):
        owners = [k for k, ta in enumerate(exposures) if same_exposure(ta, record)]
        status = f"{record.status} {record.reason}".strip()
        if not record.successful:
            if result is log:
                result = Onboard(failed=True, reason=f"FAILED: TARG_ACQ has {status}")
            later = later or bool(owners)
        elif not owners:
            warn(f"{record.filename} (TARG_ACQ) belongs to none of the TA exposures; its centroid is not used")
        else:
            if log.failed:
                warn(f"the event log has {log.reason}; the centroid of {record.filename} (TARG_ACQ) is used")
            if later:
                warn(
                    f"the last onboard centroid of visit {record.visit_id} did not converge; "
                    f"the one of {record.filename} (TARG_ACQ) is used"
                )
            return Onboard(record, owners[-1], later)
    return result


def assign_centroids(
    ds: xr.Dataset, exposures: Sequence[xr.Dataset], blocks: Sequence[Sequence[Centroid]], onboard: Onboard
) -> xr.Dataset:
    """Add the log's facts of each TA exposure and, as scalar coordinates, the onboard centroid in use.

    `blocks` are those of each TA exposure, see `pair`. A centroid outside the readout of its exposure is refused.
    """
    centroids = [last_converged(several) for several in blocks]
    rows = [_block(ta, centroid) for ta, centroid in zip(exposures, centroids, strict=True)]
    columns = {name: np.array([row[name] for row in rows], dtype) for name, dtype in COLUMNS.items()}
    coords = {f"ta_oss_{name}": ("ta_exposure", each, model.attrs(f"ta_oss_{name}")) for name, each in columns.items()}
    ds = model.with_coords(ds, coords)
    lines = "\n".join(line for centroid in centroids if centroid is not None for line in centroid.lines)
    return identity.assign(ds, {"oss_log": lines} | _in_use(exposures, onboard))


def _block(ta: xr.Dataset, block: Centroid | None) -> dict[str, Any]:
    """Describe a TA block by the values of `COLUMNS`."""
    block, exists = block or Centroid(), block is not None
    x_det, y_det = _det(ta, block)
    x, y = _to_pixel(ta, x_det, y_det) if exists else (np.nan, np.nan)
    converged = -1 if block.converged is None else int(block.converged)
    values = {"x_det": x_det, "y_det": y_det, "x": x, "y": y, "time": block.time, "converged": converged}
    return values | _facts(ta, block)._asdict()


class Facts(NamedTuple):
    """The facts of a TA block in the log besides its centroid, stored as coordinates ``ta_oss_...``.

    They are the size of the window, the last step of the iteration and its whole way from the brightest pixel, along
    SIAF Det [pixel], and the small-angle maneuver in the Ideal frame of the guider [arcsec]. They are NaN if not
    known; the guider is then 0.
    """

    window_x: float
    window_y: float
    step_x: float
    step_y: float
    moved_x: float
    moved_y: float
    sam_x: float
    sam_y: float
    guider: int


COLUMNS = dict.fromkeys(("x_det", "y_det", "x", "y"), "f8") | {"time": "M8[ns]", "converged": "i1"}
COLUMNS |= dict.fromkeys(Facts._fields, "f8") | {"guider": "i1"}
"""Coordinates ``ta_oss_...`` of each TA exposure -> type."""


def _facts(ta: xr.Dataset, block: Centroid) -> Facts:
    instrument = str(header(ta)["instrument"])
    columns, rows = (np.nan if side is None else float(side) for side in (block.n_cols, block.n_rows))
    window = siaf.oss_to_det(instrument, columns, rows)
    step = siaf.oss_to_det(instrument, block.last_dx, block.last_dy)
    moved = siaf.oss_to_det(instrument, block.moved_x, block.moved_y)
    return Facts(*window, *step, *moved, block.sam_x, block.sam_y, block.guider or 0)


def logged_facts(ds: xr.Dataset) -> Facts:
    """Read the log's facts of the TA block of the exposure in use.

    Files of earlier versions contain the lines of the log but fewer facts; the lines are then read again.
    """
    ta = in_use(ds)
    if "ta_oss_moved_x" in ta.coords:
        return Facts(*(model.required(ta, f"ta_oss_{name}") for name in Facts._fields))
    lines = header(ds).get("oss_log")
    blocks = osslog.read(f"{lines}\n").centroids() if lines else []
    used = header(ds).get("oss_x_det"), header(ds).get("oss_y_det")
    block = next((block for block in blocks if _det(ds, block) == used), last_converged(blocks))
    return _facts(ds, block or Centroid())


def _in_use(exposures: Sequence[xr.Dataset], onboard: Onboard) -> dict[str, Any]:
    """Describe the onboard centroid in use by the values of scalar coordinates."""
    record, k = onboard.record, onboard.exposure
    if record is None or k is None:
        source = f"none ({onboard.reason})"
        return {"oss_status": onboard.reason, "centroid_source": source, "centroid_kind": "none"}
    x_det, y_det = _det(exposures[k], record)
    x, y = _to_pixel(exposures[k], x_det, y_det)
    _check_inside(exposures[k], x, y)
    if isinstance(record, Centroid):
        time, source, kind = str(record.time), "OSS event log", "oss"
    else:
        time, source, kind = "", f"TARG_ACQ of {record.filename}", "targ_acq"
    return model.prefixed(
        oss={"x_det": x_det, "y_det": y_det, "x": x, "y": y, "time": time, "status": "SUCCESS"},
        centroid={"source": source, "kind": kind},
        ta={"in_use": k},
    )


def _check_inside(ta: xr.Dataset, x: float, y: float) -> None:
    ap = readout(ta)
    if not (-0.5 <= x <= ap.XSciSize - 0.5 and -0.5 <= y <= ap.YSciSize - 0.5):
        msg = (
            f"the onboard centroid falls on pixel ({x:.1f}, {y:.1f}) of {header(ta).get('filename')}, outside its "
            f"readout of {ap.XSciSize} x {ap.YSciSize} pixels; the log belongs to another aperture or visit"
        )
        raise AcquisitionError(msg)


def same_exposure(ta: xr.Dataset, record: "TargAcq") -> bool:
    """Return True if a TARG_ACQ extension belongs to a TA exposure, by its name or else by time and detector."""
    name, other = (str(text).rpartition("_")[0] for text in (header(ta).get("filename", ""), record.filename))
    if name and other:
        return name == other
    same_start = bool(record.date_beg) and record.date_beg == header(ta).get("date_beg")
    return same_start and _same_detector(header(ta).get("detector"), record.detector)
