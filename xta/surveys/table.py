"""Define the columns of a survey, convert rows to a Dataset, and write a Dataset as ECSV."""

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr

from xta import model
from xta.acquisition.checklist import CHECKS
from xta.errors import ArgumentError, counted
from xta.estimates import table
from xta.io.atomic import whole_file

if TYPE_CHECKING:
    from astropy.table import Table
    from numpy.typing import DTypeLike

__all__ = ["ESTIMATE", "IDENTITY", "METHODS", "NUMBERS", "Row", "counts", "to_dataset", "to_ecsv", "to_table"]

METHODS = tuple(method for method in table.METHODS if method != "template")
"""Independent estimates that need no model image."""

Row: TypeAlias = dict[str, Any]
"""The values of one visit in types of JSON; see `survey_visit`."""

IDENTITY = {
    "target_name": "target",
    "instrument": "instrument",
    "detector": "detector",
    "aperture": "SIAF aperture",
    "filter": "filter",
    "exp_type": "exposure type",
    "filename": "exposure that the row describes: science, or else target acquisition",
    "oss_status": "status of the onboard centroid",
    "centroid_source": "source of the centroid in use",
    "guide_star": "guide star",
    "prd_version": "SIAF release that the product was processed with",
    "oss_prd": "SIAF release that was on board, from the consistency of the event log",
}
"""Columns of text that are scalar coordinates of the analyzed exposure -> long name."""

TEXTS = {
    "program": "program",
    **IDENTITY,
    "checks_failed": "checks that failed, each with its reason",
    "reason": "reason why the visit failed, or parts that were left out",
    "warnings": "warnings about the result",
}
"""Columns of text -> long name."""

_OFFSETS = ("offset_x", "offset_y", "offset_ra", "offset_dec", "offset_east", "offset_north")
_STAR = ("target_x", "target_y", "mask_x", "mask_y", "aim_x", "aim_y")
_ERRORS = ("target_x_err", "target_y_err", "target_x_err_mas", "target_y_err_mas")

NUMBERS: dict[str, tuple[str, str]] = {
    **{name: model.ATTRS[name] for name in (*_OFFSETS, *_STAR, *_ERRORS)},
    "sam_x": ("arcsec", "maneuver of the TA, guider Ideal x"),
    "sam_y": ("arcsec", "maneuver of the TA, guider Ideal y"),
}
"""Columns of numbers -> units, long name."""

COUNTS = {
    "guider": "number of the guider, 0 if it is not known",
    "n_science": "number of science exposures",
    "n_files": "number of products, of any kind",
}

ESTIMATE = {name: table.ATTRS[name] for name in ("dx", "dy", "x_sigma", "y_sigma", "agrees")}
"""Quantities of each independent estimate -> units, long name; the columns begin with ``estimate_``."""


def to_dataset(rows: Sequence[Row], *, estimates: bool, per: str = "visit") -> xr.Dataset:
    """Convert rows of `survey_visit` to a Dataset, in which missing text is "" and missing numbers are NaN.

    With `per` "exposure" the dimension is ``exposure``, labeled by the names of the files, and ``visit`` is a
    coordinate along it.
    """
    data = {name: _column([row.get(name, "") for row in rows], str, long_name=text) for name, text in TEXTS.items()}
    dates = pd.to_datetime([row.get("date", "") for row in rows], format="ISO8601", errors="coerce")
    data["date"] = _column(dates, "M8[ns]", long_name="start of the exposure (UTC)")
    for name, (units, text) in NUMBERS.items():
        data[name] = _column([row.get(name) for row in rows], float, units=units, long_name=text)  # None becomes NaN
    for name, text in COUNTS.items():
        data[name] = _column([row.get(name, 0) for row in rows], np.int32, units="1", long_name=text)
    status = _flags("result of the visit", "failed star_found offset_only background", 0)
    data["ok"] = _column([row["ok"] for row in rows], np.int8, **status)
    passed = [[row.get("checks", {}).get(name, -1) for name in CHECKS] for row in rows]
    about = _flags(model.ATTRS["check_passed"][1], "not_tested failed passed", -1)
    ids = _column([row["visit_id"] for row in rows], str, long_name="visit (VISIT_ID)")
    check = ("check", np.array(list(CHECKS)), model.attrs("check"))
    ds = xr.Dataset(data, coords={"visit": ids, "check": check})
    ds["check_passed"] = ("visit", "check"), np.array(passed, np.int8), about
    ds = ds.assign(_estimates(rows)) if estimates else ds
    if per == "visit":
        return ds
    names = ds["filename"].variable.copy()
    return ds.assign_coords(exposure=names).swap_dims(visit="exposure").drop_vars("filename")


def _column(values: "Sequence[object] | pd.Index", dtype: "DTypeLike", **attrs: object) -> xr.Variable:
    return xr.Variable(("visit",), np.array(values, dtype), attrs)


def _estimates(rows: Sequence[Row]) -> xr.Dataset:
    data = {}
    for name, (units, text) in ESTIMATE.items():
        none = [None] * len(METHODS)
        values = np.array([row.get("estimates", {}).get(name, none) for row in rows], float)
        attrs: dict[str, object] = {"units": units, "long_name": text}
        if name == "agrees":
            values = np.where(np.isnan(values), -1, values).astype(np.int8)
            attrs = _flags(text, "no_estimate differs agrees", -1)
        data[f"estimate_{name}"] = xr.Variable(("visit", "estimate"), values, attrs)
    how = {"long_name": table.ATTRS["estimate"][1]}
    return xr.Dataset(data, coords={"estimate": ("estimate", np.array(METHODS), how)})


def _flags(text: str, meanings: str, first: int) -> dict[str, object]:
    """Describe flags by CF attributes: successive values from `first`, with their meanings."""
    values = np.arange(first, first + len(meanings.split()), dtype=np.int8)
    return {"long_name": text, "standard_name": "status_flag", "flag_values": values, "flag_meanings": meanings}


def counts(ds: xr.Dataset) -> str:
    """Count the rows of a survey by kind, in words."""
    star, offset, background, failed = (int((ds["ok"] == value).sum()) for value in (1, 2, 3, 0))
    doubted = int((ds["check_passed"] == 0).any("check").sum())
    fields = f"{background} of a background, " if background else ""
    kinds = f"{star} with a star, {offset} with an offset only, {fields}{failed} failed"
    (dim,) = ds["ok"].dims
    return f"{counted(ds.sizes[dim], str(dim))}: {kinds}; a check failed in {doubted}"


def to_table(ds: xr.Dataset) -> "Table":
    """Make an astropy table: one row per visit or exposure, one column per variable, attributes in ``meta``.

    A variable with a second dimension becomes one column per label: ``sam_dx``, ``guide_star_x_sigma``,
    ``check_telemetry_closes``. Dates are text, and missing text is masked.
    """
    from astropy.table import MaskedColumn, Table

    if not (dims := [name for name in ("visit", "exposure") if name in ds.indexes]):
        msg = "the dataset has no index visit or exposure; give the result of xta.survey"
        raise ArgumentError(msg)
    table = Table(meta=model.clean_attrs(ds.attrs))
    for name, variable in _flat(ds, dims[0]):
        units = variable.attrs.get("units", "1")
        description = variable.attrs.get("long_name", "")
        if meanings := variable.attrs.get("flag_meanings"):
            flags = zip(variable.attrs["flag_values"], meanings.split(), strict=True)
            description += " (" + ", ".join(f"{value}: {meaning}" for value, meaning in flags) + ")"
        unit = {"1": None, "milliarcsecond": "mas"}.get(units, units)
        values = _plain(variable)
        absent = values == "" if values.dtype.kind == "U" else False
        table[name] = MaskedColumn(values, mask=absent, unit=unit, description=description)
    return table


def _flat(ds: xr.Dataset, dim: str) -> Iterable[tuple[str, xr.Variable]]:
    """Yield the columns of one dimension; a variable with a second one gives one column per label."""
    yield dim, ds[dim].variable
    if dim != "visit":
        yield "visit", ds["visit"].variable
    for name, data in ds.data_vars.items():
        if data.dims == (dim,):
            yield str(name), data.variable
        elif len(data.dims) == 2 and (other := str(data.dims[1])) in {"estimate", "check"}:
            label = "check_{}" if other == "check" else "{}_" + str(name).removeprefix("estimate_")
            for value in data[other].values:
                yield label.format(value).replace(" ", "_"), data.sel({other: value}).variable
        else:
            msg = f"{name} has the dimensions {data.dims}, which do not fit into a table; drop it"
            raise ArgumentError(msg)


def _plain(variable: xr.Variable) -> np.ndarray:
    values = variable.values
    if values.dtype.kind == "M":
        return np.where(np.isnat(values), "", np.datetime_as_string(values, unit="ms"))
    return values.astype(str) if values.dtype.kind == "O" else values


def to_ecsv(ds: xr.Dataset, path: "str | os.PathLike[str]") -> None:
    """Write a survey as an ECSV table; an incomplete file is never left.

    Parameters
    ----------
    ds : xarray.Dataset
        The result of `survey`.
    path : path
        File to write; an existing one is replaced once the new file is complete.

    Raises
    ------
    ArgumentError
        If `ds` is not a survey.
    FileError
        If the file cannot be written.

    Notes
    -----
    ``astropy.table.Table.read`` reads it again with types, units and descriptions; `to_table` describes the
    columns.
    """
    table = to_table(ds)
    with whole_file(path) as temporary:
        table.write(temporary, format="ascii.ecsv", overwrite=True)
