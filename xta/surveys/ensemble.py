"""Compare the acquisitions of many visits: where stars landed, and where they were sent."""

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
"""Columns by which visits are grouped."""

LEAST = 3  # smallest number of visits in a group for its scatter


def monitor(ds: xr.Dataset, *, by: Sequence[str] = BY) -> xr.Dataset:
    """Compare where the stars of many visits landed with where the telescope sent them.

    Parameters
    ----------
    ds : xarray.Dataset
        The result of `xta.survey`.
    by : sequence of str
        Columns of the survey by which visits are grouped; "year" and "month" are those of ``date``.

    Returns
    -------
    xarray.Dataset
        Along ``group``, one row per combination of `by`: ``number``, the number of visits; ``mean_x/y``, the mean of
        star minus aim along x and y of the detector; ``mean_x/y_err``, its standard error; ``scatter_x/y``, the
        standard deviation of one visit [mas]; ``first`` and ``last``, dates. With fewer than three visits, the
        standard errors and deviations are NaN.

    Raises
    ------
    MissingError
        If `ds` has no stars and aims, or none was found.
    ArgumentError
        If a name in `by` is not a column of text or whole numbers.

    Notes
    -----
    The star is that of the acquisition, see `xta.analyze`. The aim is the place where a star lands if it was centroided
    and moved without error, see `xta.acquisition.aim`. A mean contains the errors that visits have in common: geometry,
    filters, a bias of the centroid. The scatter contains the noise of the onboard centroid and that part of the
    maneuver's error that the guiders measured.

    Examples
    --------
    >>> xta.survey("folder").ta.monitor(by=["aperture", "guider"])  # doctest: +SKIP
    """
    needed = ("target_x", "target_y", "aim_x", "aim_y", "target_x_err", "target_x_err_mas", "date")
    if lacking := [name for name in needed if name not in ds.variables]:
        msg = f"the dataset has no {', '.join(lacking)}; give the result of xta.survey"
        raise MissingError(msg)
    (dim,) = ds["target_x"].dims
    mas = (ds["target_x_err_mas"] / ds["target_x_err"]).values
    off = np.stack([(ds[f"target_{axis}"] - ds[f"aim_{axis}"]).values * mas for axis in "xy"], axis=1)
    found = np.isfinite(off).all(axis=1)
    if not found.any():
        msg = "no visit of the survey has both a star and an aim; give a survey of coronagraphic exposures"
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
        msg = f"{name!r} in by is not a column of text or whole numbers; use some of {', '.join(BY)}, year, month"
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
    """Write the scatter of a monitor as a table of accuracies for `xta.instrument.read_tables`.

    Parameters
    ----------
    ds : xarray.Dataset
        The result of `monitor`.
    path : path
        File to write; an existing one is replaced once the new file is complete.

    Raises
    ------
    MissingError
        If no group has enough visits to measure a scatter.
    FileError
        If the file cannot be written.

    Notes
    -----
    There is one row "maneuver" per instrument: the pooled scatter of all its groups about their own means.
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
        msg = f"no group has at least {LEAST} visits; give the monitor of a larger survey"
        raise MissingError(msg)
    with whole_file(path) as temporary:
        Path(temporary).write_text("\n".join(lines) + "\n", encoding="utf-8")
