"""The card of a notebook: what an exposure is and where its star is, with failed checks and a small TA image."""

import base64
import html
from contextlib import suppress
from typing import Any

import numpy as np
import xarray as xr

from xta import summary
from xta.errors import XtaError
from xta.identity import header
from xta.images import dq
from xta.images.png import gray_png, stretched
from xta.model import scalar

__all__ = ["as_html", "thumbnail"]

CELL = "padding:0.15em 0.8em;text-align:left;vertical-align:top;font-weight:"
FRAME = "display:inline-flex;flex-wrap:wrap;gap:0.5em;align-items:flex-start;max-width:100%;overflow-wrap:anywhere;"
FRAME += "border:1px solid currentColor;border-radius:0.4em;padding:0.3em"
TABLE = "flex:1 1 22em;min-width:0"
FAILED = "background:#B3001B;color:#FFF;border-radius:0.3em;padding:0 0.4em;font-weight:600"
PICTURE = "width:9em;height:auto;image-rendering:pixelated;border-radius:0.3em;margin:0.2em"
WIDTH = 48  # of the TA image around the star [pixel]


def as_html(ds: xr.Dataset) -> str:
    """Describe a dataset as an HTML table that loads nothing; this raises an error for no dataset.

    Parameters
    ----------
    ds : xarray.Dataset
        Of the images only one, of the acquisition in use, is read.
    """
    described = summary.card(ds)
    if not described:
        return f"<div>{html.escape(summary.NOTHING)}</div>"
    cells = {what: html.escape(text) for what, text in described.items()}
    if "checks" in cells:
        failed = (check for check in summary.checks(ds) if check.state == 0)
        lines = [
            f'<div><span style="{FAILED}">failed</span> {html.escape(f"{name}: {reason}")}</div>'
            for name, _, reason in failed
        ]
        cells["checks"] = html.escape(summary.check_counts(ds)) + "".join(lines)
    rows = "".join(
        f'<tr><th scope="row" style="{CELL}600;white-space:nowrap">{html.escape(what)}</th>'
        f'<td style="{CELL}400">{cell}</td></tr>'
        for what, cell in cells.items()
    )
    table = f'<div style="{TABLE}"><table style="border-collapse:collapse;margin:0">{rows}</table></div>'
    return f'<div style="{FRAME}">{table}{_picture(ds)}</div>'


def _picture(ds: xr.Dataset) -> str:
    picture = thumbnail(ds)
    if picture is None:
        return ""
    data = base64.b64encode(picture).decode()
    return f'<img alt="TA image around the star" src="data:image/png;base64,{data}" style="{PICTURE}">'


def thumbnail(ds: xr.Dataset) -> bytes | None:
    """Draw the surroundings of the star in the TA image in use, as a PNG; None if there is no such image.

    Parameters
    ----------
    ds : xarray.Dataset
        With an acquisition attached.
    """
    if "ta_sci" not in ds.variables or ds["ta_sci"].ndim > 3 or ds["ta_sci"].dtype.kind != "f":
        return None
    with suppress(XtaError, OSError, RuntimeError):  # the file is gone
        chosen = _selection(ds)
        image = ds.variables["ta_sci"].isel(chosen, missing_dims="ignore")
        if set(image.dims) == {"ta_y", "ta_x"} and image.size:
            values = image.transpose("ta_y", "ta_x").values.astype(float)
            if "ta_dq" in ds.variables:
                flags = ds.variables["ta_dq"].isel(chosen, missing_dims="ignore").transpose("ta_y", "ta_x").values
                values[dq.bad_pixels(values, flags)] = np.nan
            return gray_png(stretched(values))
    return None


def _selection(ds: xr.Dataset) -> dict[str, Any]:
    """Select the TA exposure in use, and the pixels around the star; variables alone, so that nothing else is read."""
    exposures = np.atleast_1d(ds["ta_exposure"].values).tolist() if "ta_exposure" in ds.variables else []
    used = header(ds).get("ta_in_use")
    selection: dict[str, Any] = {"ta_exposure": exposures.index(used)} if used in exposures else {}
    for axis in "xy":
        place = scalar(ds, f"centroid_{axis}")
        labels = ds.variables.get(f"ta_{axis}", xr.Variable((), np.nan)).values
        near = np.flatnonzero(np.abs(labels - place) <= WIDTH / 2)
        if near.size:
            selection[f"ta_{axis}"] = slice(int(near[0]), int(near[-1]) + 1)
    return selection
