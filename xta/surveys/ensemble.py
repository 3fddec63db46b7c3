"""What the acquisitions of many visits show together: where stars landed against where they were sent."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from xta import model
from xta.errors import ArgumentError, MissingError, counted
from xta.io.atomic import whole_file

__all__ = ["BY", "monitor", "write_accuracies"]

BY = ("aperture", "filter", "guider", "oss_prd")
"""What visits are grouped by."""

LEAST = 3  # visits of a group of which the scatter is told


def monitor(ds: xr.Dataset, *, by: Sequence[str] = BY) -> xr.Dataset:
    """Compare where the stars of many visits landed with where the telescope sent them.

    Parameters
    ----------
    ds : xarray.Dataset
        Of `xta.survey`.
    by : sequence of str
        Columns of the survey that visits are grouped by; "year" and "month" are those of ``date``.

    Returns
    -------
    xarray.Dataset
        Along ``group``, a row for each combination of `by`: ``number`` of visits; ``mean_x/y``, the mean of star minus
        aim along x and y of the detector, ``mean_x/y_err`` its standard error, and ``scatter_x/y``, the standard
        deviation of one visit [mas]; ``first`` and ``last``, dates. NaN where there are fewer than three visits.

    Raises
    ------
    MissingError
        If `ds` has no stars and aims, or none was found.
    ArgumentError
        If `by` names no column of text or whole numbers.

    Notes
    -----
    The star is that of the acquisition, see `xta.analyze`; the aim is where a star lands that was centroided and moved
    without error, see `xta.acquisition.aim`. A mean is what visits have in common: geometry, filters, a bias of the
    centroid. The scatter has the noise of the onboard centroid and what the maneuver did that the guiders saw.

    Examples
    --------
    >>> xta.survey("folder").ta.monitor(by=["aperture", "guider"])  # doctest: +SKIP
    """
    needed = ("target_x", "target_y", "aim_x", "aim_y", "target_x_err", "target_x_err_mas", "date")
    if lacking := [name for name in needed if name not in ds.variables]:
        msg = f"the dataset has no {', '.join(lacking)}; give a table of xta.survey"
        raise MissingError(msg)
    (dim,) = ds["target_x"].dims
    mas = (ds["target_x_err_mas"] / ds["target_x_err"]).values
    off = np.stack([(ds[f"target_{axis}"] - ds[f"aim_{axis}"]).values * mas for axis in "xy"], axis=1)
    found = np.isfinite(off).all(axis=1)
    if not found.any():
        msg = "no visit of the survey has both a star and an aim; is it of coronagraphic exposures?"
        raise MissingError(msg)
    keys = [_column(ds, name, str(dim)) for name in by]
    labels = list(zip(*(key[found].tolist() for key in keys), strict=True))
    groups = sorted(dict.fromkeys(labels))
    members = [np.array([k for k, label in enumerate(labels) if label == group]) for group in groups]
    rows = [_row(off[found][which], ds["date"].values[found][which]) for which in members]
    units = {name: {"units": "mas"} for name in rows[0] if name.startswith(("mean", "scatter"))}
    columns = {name: ("group", np.array([row[name] for row in rows]), units.get(name, {})) for name in rows[0]}
    coords = {name: ("group", np.array(values)) for name, values in zip(by, zip(*groups, strict=True), strict=True)}
    instruments = _column(ds, "instrument", str(dim))[found]
    firsts = [instruments[which[0]] for which in members]
    result = xr.Dataset(columns, {**coords, "instrument": ("group", np.array(firsts))})
    return model.with_history(result, f"monitor of {counted(int(found.sum()), 'visit')} by {', '.join(by)}")


def _column(ds: xr.Dataset, name: str, dim: str) -> np.ndarray:
    if name in {"year", "month"}:
        return np.asarray(ds["date"].dt.strftime("%Y" if name == "year" else "%Y-%m").values)
    if name not in ds.variables or ds[name].dims != (dim,) or ds[name].dtype.kind not in "UOiu":
        msg = f"by has {name!r}, which is no column of text or whole numbers; give some of {', '.join(BY)}, year, month"
        raise ArgumentError(msg)
    return np.asarray(ds[name].values)


def _row(off: np.ndarray, dates: np.ndarray) -> dict[str, object]:
    """Describe the visits of a group: `off` (n, 2) [mas]."""
    enough = len(off) >= LEAST
    scatter = off.std(axis=0, ddof=1) if enough else np.full(2, np.nan)
    row: dict[str, object] = {"number": len(off)}
    for k, axis in enumerate("xy"):
        row |= {f"mean_{axis}": off[:, k].mean(), f"mean_{axis}_err": scatter[k] / np.sqrt(len(off))}
        row |= {f"scatter_{axis}": scatter[k]}
    return row | {"first": dates.min(), "last": dates.max()}


def write_accuracies(ds: xr.Dataset, path: "str | os.PathLike[str]") -> None:
    """Write the scatter of a monitor as a table of accuracies that `xta.instrument.read_tables` takes.

    Parameters
    ----------
    ds : xarray.Dataset
        Of `monitor`.
    path : path
        Replaced if it exists, once the new file is complete.

    Raises
    ------
    MissingError
        If no group has the visits to tell a scatter.
    FileError
        If the file cannot be written.

    Notes
    -----
    One row "maneuver" for each instrument: the scatter of all its groups about their own means, pooled.
    """
    lines = ["quantity,instrument,mode,x,y,unit,source"]
    for name in dict.fromkeys(ds["instrument"].values.tolist()):
        group = ds.isel(group=(ds["instrument"].values == name) & np.isfinite(ds["scatter_x"].values))
        freedom = (group["number"] - 1).values
        if not freedom.sum():
            continue
        x, y = (np.sqrt(np.average(group[f"scatter_{axis}"].values ** 2, weights=freedom)) for axis in "xy")
        source = f"scatter of star minus aim over {counted(int(group['number'].sum()), 'visit')}"
        lines.append(f"maneuver,{name},*,{x:.2f},{y:.2f},mas,{source}")
    if len(lines) == 1:
        msg = f"no group has {LEAST} visits or more; give a monitor of a larger survey"
        raise MissingError(msg)
    with whole_file(path) as temporary:
        Path(temporary).write_text("\n".join(lines) + "\n", encoding="utf-8")
