"""Pair onboard centroids with TA exposures, by time and detector, and choose the one in use."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xta import names, siaf
from xta.errors import AcquisitionError, warn
from xta.nearby import TACQ_TYPES

if TYPE_CHECKING:
    from xta.osslog import Centroid, OssLog
    from xta.targacq import TargAcq

__all__ = ["assign_centroids", "begin", "failure", "from_targ_acq", "pair", "status"]

CLOCK_TOLERANCE = np.timedelta64(5, "s")
"""How much earlier than DATE-BEG of its exposure a TA block may begin and still belong to it."""

LATE = np.timedelta64(10, "m")
"""A TA block that begins later than this after its exposure may belong to another one, not at hand."""


def begin(ta: xr.Dataset) -> np.datetime64:
    """Give the start of a TA exposure (DATE-BEG); NaT where the header has none."""
    try:
        return np.datetime64(str(ta.attrs["date_beg"]), "ns")
    except (KeyError, ValueError):
        return np.datetime64("NaT", "ns")


def pair(exposures: Sequence[xr.Dataset], centroids: "Sequence[Centroid]") -> "list[Centroid | None]":
    """Find the onboard centroid of each TA exposure, by time and detector.

    Parameters
    ----------
    exposures : sequence of xarray.Dataset
        TA exposures in time order.
    centroids : sequence of osslog.Centroid
        TA blocks of the visit in time order.

    Returns
    -------
    list
        One centroid or None for each exposure. A block that follows none of the exposures is left over.
    """
    result: list[Centroid | None] = [None] * len(exposures)
    begins = [begin(ta) for ta in exposures]
    for centroid in centroids:
        earlier = [
            k
            for k, ta in enumerate(exposures)
            if ta.attrs.get("exp_type") in TACQ_TYPES
            and _same_detector(ta.attrs.get("detector"), centroid.detector)
            and begins[k] - CLOCK_TOLERANCE <= centroid.start
        ]
        if not earlier or result[earlier[-1]] is not None:
            continue
        k = earlier[-1]
        if centroid.start - begins[k] > LATE:
            minutes = (centroid.start - begins[k]) / np.timedelta64(60, "s")
            warn(
                f"the onboard centroid of {centroid.start} comes {minutes:.0f} minutes after its TA exposure "
                f"{exposures[k].attrs.get('filename')} began; is a later TA exposure missing?"
            )
        result[k] = centroid
    return result


def _same_detector(header: Any, logged: str | None) -> bool:
    """Compare detector names: NRCALONG and NRCA5 are one; a log that names none is taken at its word."""
    if not logged or not header:
        return True

    def name(text: str) -> str:
        return text.upper().replace("LONG", "5")

    return name(str(header)) == name(logged)


def _readout(ta: xr.Dataset) -> Any:
    a = ta.attrs
    return siaf.readout(a["instrument"], a["aperture"], a.get("subarray"), a.get("prd_version"))


def _to_pixel(ta: xr.Dataset, x_det: float, y_det: float) -> tuple[float, float]:
    """Convert a Det position to the 0-based readout pixel of a TA exposure, checked against SUBSTRT1/2."""
    x, y = siaf.det_to_pixel(_readout(ta), x_det, y_det)
    a = ta.attrs
    if {"substrt1", "substrt2"} <= a.keys() and a["instrument"] in {"NIRCAM", "MIRI"}:
        whole = "MIRIM_FULL" if a["instrument"] == "MIRI" else f"{a['aperture'].partition('_')[0]}_FULL"
        full = siaf.aperture(a["instrument"], whole, a.get("prd_version"))
        x_sci, y_sci = full.det_to_sci(x_det, y_det)
        if max(abs(x_sci - a["substrt1"] - x), abs(y_sci - a["substrt2"] - y)) > 0.5:
            msg = (
                f"{a.get('filename')}: aperture {a['aperture']} puts the onboard centroid on pixel ({x:.2f}, {y:.2f}), "
                f"SUBSTRT1/2 on ({x_sci - a['substrt1']:.2f}, {y_sci - a['substrt2']:.2f}); "
                "APERNAME and the subarray do not belong together"
            )
            raise AcquisitionError(msg)
    return float(x), float(y)


def assign_centroids(
    ds: xr.Dataset, exposures: Sequence[xr.Dataset], centroids: "Sequence[Centroid | None]"
) -> xr.Dataset:
    """Add what the log says of each TA exposure."""
    n = len(exposures)
    columns: dict[str, Any] = {name: np.full(n, np.nan) for name in ("x_det", "y_det", "x", "y")}
    columns["time"] = np.full(n, np.datetime64("NaT"), dtype="datetime64[ns]")
    columns["converged"] = np.full(n, -1, dtype=np.int8)
    for k, (ta, centroid) in enumerate(zip(exposures, centroids, strict=True)):
        if centroid is None:
            continue
        columns["x_det"][k], columns["y_det"][k] = centroid.x_det, centroid.y_det
        columns["x"][k], columns["y"][k] = _to_pixel(ta, centroid.x_det, centroid.y_det)
        columns["time"][k] = centroid.time
        columns["converged"][k] = -1 if centroid.converged is None else int(centroid.converged)
    coords = {f"ta_oss_{name}": (("ta_exposure",), value) for name, value in columns.items()}
    return ds.assign_coords({name: (*value, names.attrs(name)) for name, value in coords.items()})


def _usable(centroid: "Centroid | None") -> bool:
    return centroid is not None and centroid.usable


def status(
    ds: xr.Dataset, exposures: Sequence[xr.Dataset], centroids: "Sequence[Centroid | None]", reason: str
) -> dict[str, Any]:
    """Tell, as attributes, which onboard centroid is in use, or for what reason none is."""
    usable = [k for k, centroid in enumerate(centroids) if _usable(centroid)]
    lines = {"oss_log": "\n".join(line for c in centroids if c is not None for line in c.lines)}
    if usable:
        k = usable[-1]
        centroid = centroids[k]
        assert centroid is not None
        later = [c for c in centroids[k + 1 :] if c is not None]
        if later:
            warn(
                f"the last onboard centroid of visit {ds.attrs['visit_id']} did not converge; "
                f"the one of {centroid.time} is used"
            )
        x, y = _to_pixel(exposures[k], centroid.x_det, centroid.y_det)
        _check_inside(exposures[k], x, y)
        return lines | {
            "oss_x_det": float(centroid.x_det),
            "oss_y_det": float(centroid.y_det),
            "oss_x": x,
            "oss_y": y,
            "oss_time": str(centroid.time),
            "oss_status": "SUCCESS",
            "centroid_source": "OSS event log",
            "ta_in_use": k,
        }
    return lines | {"oss_status": reason, "centroid_source": f"none ({reason})"}


def failure(log: "OssLog", visit_id: str) -> str:
    """Say why a log has no usable centroid, in the words of its last failure."""
    failures = [" ".join(failure.message.split()) for failure in log.failures(visit_id)]
    return f"FAILED: {failures[-1]}" if failures else "no onboard centroid of these TA exposures in the event log"


def _check_inside(ta: xr.Dataset, x: float, y: float) -> None:
    ap = _readout(ta)
    if not (-0.5 <= x <= ap.XSciSize - 0.5 and -0.5 <= y <= ap.YSciSize - 0.5):
        msg = (
            f"the onboard centroid falls on pixel ({x:.1f}, {y:.1f}) of {ta.attrs.get('filename')}, outside its "
            f"readout of {ap.XSciSize} x {ap.YSciSize}: the log belongs to another aperture or visit"
        )
        raise AcquisitionError(msg)


def from_targ_acq(ds: xr.Dataset, exposures: Sequence[xr.Dataset], records: "Sequence[TargAcq]") -> xr.Dataset:
    """Use the centroid of a TARG_ACQ extension where the log has none."""
    for record in sorted(records, key=lambda record: record.date_beg, reverse=True):
        if record.visit_id != ds.attrs["visit_id"]:
            msg = f"{record.filename} (TARG_ACQ) belongs to visit {record.visit_id}, not {ds.attrs['visit_id']}"
            raise AcquisitionError(msg)
        if not record.successful:
            status = f"FAILED: TARG_ACQ says {record.status} {record.reason}".strip()
            ds = ds.assign_attrs(oss_status=status, centroid_source=f"none ({status})")
            continue
        mine = [k for k, ta in enumerate(exposures) if _exposure_name(ta.attrs) == _exposure_name(record.filename)]
        k = mine[-1] if mine else ds.attrs["ta_in_use"]
        x, y = _to_pixel(exposures[k], record.x_det, record.y_det)
        _check_inside(exposures[k], x, y)
        return ds.assign_attrs(
            oss_x_det=record.x_det,
            oss_y_det=record.y_det,
            oss_x=x,
            oss_y=y,
            oss_time="",
            oss_status="SUCCESS",
            centroid_source=f"TARG_ACQ of {record.filename}",
            ta_in_use=k,
        )
    return ds


def _exposure_name(source: Any) -> str:
    return str(source.get("filename", "") if isinstance(source, dict) else source).rpartition("_")[0]
