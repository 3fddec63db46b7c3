"""What a dataset is and what is known of its star, in a few lines of text or as a card for notebooks.

Made for looking: it shows what is there, and raises for no dataset, whatever it holds.
"""

import html
import math

import xarray as xr

__all__ = ["as_html", "as_text", "rows"]

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
