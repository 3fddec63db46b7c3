"""The result of an analysis in words: a table, a mapping for JSON, the card of a notebook.

The card is made for looking: it shows what is there, and raises for no dataset, whatever it holds.
"""

import html
import math
from collections.abc import Iterable
from typing import Any

import xarray as xr

from xta import model

__all__ = ["as_dict", "as_html", "as_table", "as_text", "rows", "summary_of_checks"]

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
        adjust_wcs under its own name; units as in `model.ATTRS`. What is not a number is None. Under "checks"
        True, False or None for each check, under "check_reasons" why.
    """
    result = {name: ds.attrs[name] for name in ABOUT if name in ds.attrs}
    for name, variable in ds.coords.items():
        if variable.ndim == 0 and variable.dtype.kind == "f" and name in model.ATTRS:
            value = float(variable)
            result[str(name)] = value if math.isfinite(value) else None
    if "check" in ds.coords:
        passed = {-1: None, 0: False, 1: True}
        result["checks"] = {str(name): passed[int(state)] for name, state in _labeled(ds, "check_passed")}
        result["check_reasons"] = {str(name): str(reason) for name, reason in _labeled(ds, "check_reason")}
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
    lines += _lines(ds, ROWS)
    return "\n".join(lines)


def summary_of_checks(ds: xr.Dataset) -> str:
    """Say in a line how many checks passed, and which failed, with the reasons.

    Parameters
    ----------
    ds : xarray.Dataset
        With an acquisition attached.
    """
    states = dict(_labeled(ds, "check_passed"))
    failed = [f"{name} failed ({reason})" for name, reason in _labeled(ds, "check_reason") if states[name] == 0]
    counted = {word: sum(state == value for state in states.values()) for word, value in COUNTED.items()}
    return "; ".join([", ".join(f"{n} {word}" for word, n in counted.items() if n), *failed])


def _labeled(ds: xr.Dataset, name: str) -> list[tuple[Any, Any]]:
    return list(zip(ds["check"].values.tolist(), ds[name].values.tolist(), strict=True))


def _lines(ds: xr.Dataset, rows: Iterable[tuple[str, str, str, int]]) -> Iterable[str]:
    for what, first, second, decimals in rows:
        if first in ds.coords and second in ds.coords:
            form = f".{decimals}f" if decimals <= 6 else ".0e"
            a, b = (f"{float(ds[name]):{form}}" for name in (first, second))
            yield f"    {what:<36}{a:>16}{b:>16}"


MINUS = str.maketrans("-", "−")


def rows(ds: xr.Dataset) -> dict[str, str]:
    """Describe a dataset.

    Parameters
    ----------
    ds : xarray.Dataset
        Any.

    Returns
    -------
    dict
        What -> its description, both plain text: instrument, mode, target, centroid, offset, star, checks and
        WCS, without those of which the dataset holds nothing.
    """
    described = {
        "instrument": _words(ds, "telescope", "instrument", "detector", "filter", "pupil"),
        "mode": _words(ds, "exp_type", "aperture", "coronagraphic_mask"),
        "target": _target(ds),
        "acquisition": _acquisition(ds),
        "centroid": _centroid(ds),
        "offset": _offset(ds),
        "star": _star(ds),
        "checks": _checks(ds),
        "WCS": _wcs(ds),
    }
    return {what: text for what, text in described.items() if text}


def as_text(ds: xr.Dataset) -> str:
    """Describe a dataset in lines of text."""
    described = rows(ds)
    if not set(described) - {"WCS"}:
        return "<xta: no JWST exposure; open one with xta.open_exposure(path)>"
    return "\n".join(["<xta>", *(f"  {what:<12}{text}" for what, text in described.items())])


def as_html(ds: xr.Dataset) -> str:
    """Describe a dataset as an HTML table that needs nothing from elsewhere."""
    described = rows(ds)
    if not set(described) - {"WCS"}:
        return f"<div>{html.escape(as_text(ds))}</div>"
    cell = "padding:0.15em 0.8em;text-align:left;vertical-align:top;font-weight:"
    lines = "".join(
        f'<tr><th scope="row" style="{cell}600;white-space:nowrap">{html.escape(what)}</th>'
        f'<td style="{cell}400">{html.escape(text)}</td></tr>'
        for what, text in described.items()
    )
    frame = "display:inline-block;max-width:100%;overflow-wrap:anywhere;"
    frame += "border:1px solid currentColor;border-radius:0.4em;padding:0.3em"
    return f'<div style="{frame}"><table style="border-collapse:collapse;margin:0">{lines}</table></div>'


def _words(ds: xr.Dataset, *names: str) -> str:
    return " ".join(str(ds.attrs[name]).strip() for name in names if name in ds.attrs)


def _number(ds: xr.Dataset, name: str) -> float:
    """Give a scalar coordinate, NaN where there is none."""
    variable = ds.variables.get(name)
    if variable is None or variable.ndim or variable.dtype.kind not in "fiu":
        return math.nan
    try:
        return float(variable.values)
    except (OSError, RuntimeError):  # its file is gone
        return math.nan


def _pair(ds: xr.Dataset, name: str, decimals: int, *, sign: str = "") -> str:
    """Write ``name_x``, ``name_y``; empty where they are not known."""
    values = _number(ds, f"{name}_x"), _number(ds, f"{name}_y")
    if not all(math.isfinite(value) for value in values):
        return ""
    return ", ".join(f"{value:{sign}.{decimals}f}" for value in values).translate(MINUS)


def _target(ds: xr.Dataset) -> str:
    ra, dec = ds.attrs.get("target_ra"), ds.attrs.get("target_dec")
    known = all(isinstance(value, int | float) and math.isfinite(value) for value in (ra, dec))
    parts = [
        _words(ds, "target_name"),
        f"RA {ra:.6f}, Dec {dec:.6f} deg".translate(MINUS) if known else "",
        f"visit {ds.attrs['visit_id']}" if "visit_id" in ds.attrs else "",
    ]
    return ", ".join(filter(None, parts))


def _acquisition(ds: xr.Dataset) -> str:
    if "ta_filename" not in ds.variables:
        return "not attached" if "visit_id" in ds.attrs and "klip" not in ds.variables else ""
    count = ds["ta_filename"].size
    return f"{count} exposure{'s' if count != 1 else ''}, {_words(ds, 'oss_status') or 'no status'}"


def _centroid(ds: xr.Dataset) -> str:
    where = _pair(ds, "centroid", 4)
    return ", ".join(filter(None, (_words(ds, "centroid_source"), f"{where} px of the TA readout" if where else "")))


def _offset(ds: xr.Dataset) -> str:
    if "offset_x" in ds.variables and ds["offset_x"].ndim:
        return f"{ds['offset_x'].size} of them, along {', '.join(map(str, ds['offset_x'].dims))}"
    pixels = _pair(ds, "offset", 3, sign="+")
    east, north = _number(ds, "offset_east"), _number(ds, "offset_north")
    sky = f"{east:+.3f}″ east, {north:+.3f}″ north".translate(MINUS) if math.isfinite(east) else ""
    return f"WCS − centroid = {pixels} px; {sky}" if pixels and sky else ""


def _star(ds: xr.Dataset) -> str:
    before, now = _pair(ds, "star", 4), _pair(ds, "target", 4)
    if before:
        return f"on the central pixel; it was at {before} px of the readout"
    if now and "klip" in ds.variables:
        return "on the central pixel"
    errors = [_number(ds, f"target_{axis}_err") for axis in ("x", "y")]
    known = f", ± {errors[0]:.4f}, {errors[1]:.4f} px" if all(map(math.isfinite, errors)) else ""
    return f"{now} px{known}" if now else ""


def _checks(ds: xr.Dataset) -> str:
    names, states = ds.variables.get("check"), ds.variables.get("check_passed")
    if names is None or states is None or names.ndim != 1 or states.dims != names.dims:
        return ""
    try:
        pairs = list(zip(names.values.tolist(), states.values.tolist(), strict=True))
    except (OSError, RuntimeError):  # its file is gone
        return ""
    failed = ", ".join(str(name) for name, state in pairs if state == 0)
    passed, untested = (sum(state == value for _, state in pairs) for value in (1, -1))
    words = [f"{passed} passed", f"{untested} not tested" if untested else "", f"failed: {failed}" if failed else ""]
    return ", ".join(filter(None, words))


def _wcs(ds: xr.Dataset) -> str:
    if "wcs" not in ds.variables:
        return "none" if "visit_id" in ds.attrs else ""
    if ds["wcs"].ndim:
        return f"{ds['wcs'].size} of them, along {', '.join(map(str, ds['wcs'].dims))}"
    if "star_x" in ds.variables:
        return "adjusted, recentred" if "wcs_original" in ds.variables else "of the file, recentred"
    if "klip" in ds.variables:
        return "north up, east left"
    return "adjusted by the acquisition" if "wcs_original" in ds.variables else "of the file"
