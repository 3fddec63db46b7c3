"""The result of an analysis as a person or a program wants to read it."""

import math
from collections.abc import Iterable
from typing import Any

import xarray as xr

from xta import names

__all__ = ["as_dict", "as_table", "summary_of_checks"]

ROWS: tuple[tuple[str, str, str, int], ...] = (
    # (what, x or RA or east, y or Dec or north, decimals)
    ("star behind the mask [px, 0-based]", "target_x", "target_y", 4),
    ("standard error of the star [px]", "target_x_err", "target_y_err", 4),
    ("star in the original readout [px]", "star_x", "star_y", 4),
    ("SIAF reference of the mask [px]", "mask_x", "mask_y", 3),
    ("target RA, Dec [deg]", "target_ra", "target_dec", 6),
    ("centroid in the TA readout [px]", "centroid_x", "centroid_y", 5),
    ("target by the TA WCS [px]", "ta_target_x", "ta_target_y", 4),
    ("SIAF reference of the TA [px]", "ta_reference_x", "ta_reference_y", 3),
    ("offset, WCS − centroid [px]", "offset_x", "offset_y", 4),
    ("offset in RA, Dec [arcsec]", "offset_ra", "offset_dec", 4),
    ("offset east, north [arcsec]", "offset_east", "offset_north", 4),
    ("closed loop in the TA frame [px]", "residual_x", "residual_y", 9),
    ("error of the analytic inverse [px]", "inverse_error_x", "inverse_error_y", 4),
)
COUNTED = {"passed": 1, "failed": 0, "not tested": -1}
ABOUT = (
    *("filename", "visit_id", "target_name", "instrument", "detector", "filter", "aperture", "exp_type"),
    *("prd_version", "centroid_source", "oss_status", "oss_x_det", "oss_y_det", "oss_time"),
)


def as_dict(ds: xr.Dataset) -> dict[str, Any]:
    """Collect what an analysis found in a flat mapping that JSON can hold.

    Parameters
    ----------
    ds : xarray.Dataset
        An analysed exposure.

    Returns
    -------
    dict
        The identity of the exposure, the centroid's source, and every scalar of compute_offset and
        adjust_wcs under its own name; units as in `names.ATTRS`. What is not a number is None. Under "checks"
        True, False or None for each check, under "check_reasons" why.
    """
    result = {name: ds.attrs[name] for name in ABOUT if name in ds.attrs}
    for name, variable in ds.coords.items():
        if variable.ndim == 0 and variable.dtype.kind == "f" and name in names.ATTRS:
            value = float(variable)
            result[str(name)] = value if math.isfinite(value) else None
    if "check" in ds.coords:
        passed = {-1: None, 0: False, 1: True}
        result["checks"] = {str(name): passed[int(state)] for name, state in _checks(ds, "check_passed")}
        result["check_reasons"] = {str(name): str(reason) for name, reason in _checks(ds, "check_reason")}
    result["ta_filenames"] = [str(name) for name in ds["ta_filename"].values] if "ta_filename" in ds else []
    return result


def as_table(ds: xr.Dataset) -> str:
    """Write what an analysis found as lines of text.

    Parameters
    ----------
    ds : xarray.Dataset
        An analysed exposure.
    """
    a = ds.attrs
    lines = [
        f"{a.get('filename', '')}",
        f"  {a.get('target_name', 'target')}, visit {a.get('visit_id', '')}, {a.get('instrument', '')} "
        f"{a.get('filter', '')}, aperture {a.get('aperture', '')}",
    ]
    if "ta_filename" in ds.coords:
        lines.append(f"  acquisition: {', '.join(str(name) for name in ds['ta_filename'].values)}")
    if "centroid_source" in a:
        lines.append(f"  centroid: {a['centroid_source']}")
    if "check" in ds.coords:
        lines.append(f"  checks: {summary_of_checks(ds)}")
    lines += _rows(ds, ROWS)
    return "\n".join(lines)


def summary_of_checks(ds: xr.Dataset) -> str:
    """Say in a line how many checks passed, and which failed, with the reasons.

    Parameters
    ----------
    ds : xarray.Dataset
        With an acquisition attached.
    """
    states = dict(_checks(ds, "check_passed"))
    failed = [f"{name} failed ({reason})" for name, reason in _checks(ds, "check_reason") if states[name] == 0]
    counted = {word: sum(state == value for state in states.values()) for word, value in COUNTED.items()}
    return "; ".join([", ".join(f"{n} {word}" for word, n in counted.items() if n), *failed])


def _checks(ds: xr.Dataset, name: str) -> list[tuple[Any, Any]]:
    return list(zip(ds["check"].values.tolist(), ds[name].values.tolist(), strict=True))


def _rows(ds: xr.Dataset, rows: Iterable[tuple[str, str, str, int]]) -> Iterable[str]:
    for what, first, second, decimals in rows:
        if first in ds.coords and second in ds.coords:
            form = f".{decimals}f" if decimals <= 6 else ".0e"
            a, b = (f"{float(ds[name]):{form}}" for name in (first, second))
            yield f"    {what:<36}{a:>16}{b:>16}"
