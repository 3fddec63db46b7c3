"""Describe the result of an analysis: a mapping for JSON, a table, and the lines of the card of a notebook.

The card is for inspection: it shows what the dataset contains, and never raises an error.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from xta.acquisition.checklist import FORMER
from xta.errors import counted
from xta.estimates.solve import solution, solved_exposures
from xta.identity import behind_mask, header, words
from xta.model import ATTRS, scalar

__all__ = [
    "as_dict",
    "as_files",
    "as_solution",
    "as_table",
    "as_text",
    "check_counts",
    "observations",
    "solution_as_dict",
]

QUANTITIES: tuple[tuple[str, str, str, int | None], ...] = (
    # (what, x or RA or east, y or Dec or north, decimals; None for a power of ten)
    ("star behind the mask [px, 0-based]", "target_x", "target_y", 4),
    ("standard error of the star [px]", "target_x_err", "target_y_err", 4),
    ("star before the joint solution [px]", "prior_x", "prior_y", 4),
    ("star in the original readout [px]", "star_x", "star_y", 4),
    ("mask [px]", "mask_x", "mask_y", 3),
    ("aim of the telescope [px]", "aim_x", "aim_y", 3),
    ("target RA, Dec [deg]", "target_ra", "target_dec", 6),
    ("centroid in the TA readout [px]", "centroid_x", "centroid_y", 5),
    ("onboard centroid − image [px]", "centroid_difference_x", "centroid_difference_y", 3),
    ("onboard centroid − image [σ]", "centroid_difference_sigma_x", "centroid_difference_sigma_y", 1),
    ("target by the TA WCS [px]", "ta_target_x", "ta_target_y", 4),
    ("SIAF reference of the TA [px]", "ta_reference_x", "ta_reference_y", 3),
    ("offset, WCS − centroid [px]", "offset_x", "offset_y", 4),
    ("offset in RA, Dec [arcsec]", "offset_ra", "offset_dec", 4),
    ("offset east, north [arcsec]", "offset_east", "offset_north", 4),
    ("closed loop in the TA frame [px]", "residual_x", "residual_y", None),
    ("error of the analytic inverse [px]", "inverse_error_x", "inverse_error_y", 4),
)
AXES = {"x": ("x", "y"), "ra": ("RA", "Dec"), "east": ("east", "north")}
"""Ending of the first name of a quantity -> heads of its columns."""

WITHOUT_MASK = {
    "star behind the mask [px, 0-based]": "star in the exposure [px, 0-based]",
    "mask [px]": "SIAF reference of the exposure [px]",
}
"""Labels for an exposure whose star is not behind a mask, such as an acquisition by itself."""

ABOUT = (
    *("filename", "visit_id", "target_name", "instrument", "detector", "filter", "aperture", "exp_type"),
    *("prd_version", "centroid_source", "oss_status", "oss_x_det", "oss_y_det", "oss_time"),
)
NOTHING = "<xta: no JWST exposure; open one with xta.open_exposure(path)>"
NO_PROGRAM = "<xta: no table of files; open a program with xta.open_program(folder)>"
FILES = ("role", "filter", "visit_id", "detector", "target_name")


OBSERVED = {
    "x": ("x", 4),
    "y": ("y", 4),
    "x_err": ("error x", 4),
    "y_err": ("error y", 4),
    "residual_x": ("residual x", 4),
    "residual_y": ("residual y", 4),
    "pull_x": ("pull x", 1),
    "pull_y": ("pull y", 1),
    "test": ("chi-square", 1),
    "weight": ("weight", 2),
}
"""Column of a joint solution -> its head and decimals."""


class Check(NamedTuple):
    """Name of a check, its result (1 passed, 0 failed, -1 not tested), and the reason."""

    name: str
    state: int
    reason: str


def number(value: float, decimals: int | None, *, sign: bool = False, minus: str = "−") -> str:
    """Write a number, as a power of ten if `decimals` is None; a dash if it is not known."""
    form = ("+" if sign else "") + (".0e" if decimals is None else f".{decimals}f")
    return "–" if math.isnan(value) else f"{value:{form}}".replace("-", minus)


def rows(ds: xr.Dataset, *, minus: str = "−", axes: str = "") -> list[tuple[str, str, str]]:
    """Write the numbers in a dataset: the label, then x (or RA, east) and y (or Dec, north).

    `axes`, a key of `AXES`, chooses those along one pair of axes.
    """
    result, masked = [], behind_mask(ds)
    for what, *names, decimals in (row for row in QUANTITIES if f"_{axes}" in row[1]):
        values = [scalar(ds, name) for name in names]
        if not all(map(math.isnan, values)):
            spread = "± " if names[0].endswith("_err") else ""
            x, y = (spread + number(value, decimals, minus=minus) for value in values)
            result.append((what if masked else WITHOUT_MASK.get(what, what), x, y))
    for name, correction in corrections(ds).items() if axes in {"", "x"} else ():
        x, y = (number(value, 4, sign=True, minus=minus) for value in correction)
        result.append((f"corrected for {name} [px]", x, y))
    return result


def corrections(ds: xr.Dataset) -> dict[str, tuple[float, float]]:
    """List the corrections of the star of one exposure [pixel]."""
    names = ds.variables.get("correction")
    if names is None or any(ds[f"correction_{axis}"].dims != names.dims for axis in "xy"):
        return {}
    columns = (ds[name].values.tolist() for name in ("correction", "correction_x", "correction_y"))
    return {str(name): (x, y) for name, x, y in zip(*columns, strict=True)}


def checks(ds: xr.Dataset) -> list[Check]:
    """List the checks in a dataset."""
    names, states = ds.variables.get("check"), ds.variables.get("check_passed")
    if names is None or states is None or names.ndim != 1 or states.dims != names.dims:
        return []
    reasons = ds["check_reason"].values if "check_reason" in ds.variables else np.full(names.size, "")
    labels = [FORMER.get(name, name) for name in names.values.tolist()]
    return [Check(*row) for row in zip(labels, states.values.tolist(), reasons.tolist(), strict=True)]


def ta_filenames(ds: xr.Dataset) -> list[str]:
    """List the files of the TA exposures."""
    names = np.atleast_1d(ds["ta_filename"].values).tolist() if "ta_filename" in ds.variables else []
    return [name for name in names if isinstance(name, str) and name]


def as_dict(ds: xr.Dataset) -> dict[str, object]:
    """Collect the results of an analysis in a flat mapping for JSON.

    Parameters
    ----------
    ds : xarray.Dataset
        An analyzed exposure.

    Returns
    -------
    dict
        The identity of the exposure, the centroid's source, and every scalar of compute_offset and
        adjust_wcs under its own name, with units as in `xta.model.ATTRS`. Missing numbers are None. "checks" contains
        True, False or None for each check, "check_reasons" the reasons, and "corrections" x, y of each [pixel].
    """
    result = {name: header(ds)[name] for name in ABOUT if name in header(ds)}
    scalars = [str(name) for name, coord in ds.coords.items() if coord.dtype.kind == "f" and not coord.ndim]
    values = {name: scalar(ds, name) for name in scalars if name in ATTRS}
    result |= {name: value if math.isfinite(value) else None for name, value in values.items()}
    if judged := checks(ds):
        result["checks"] = {check.name: {-1: None, 0: False, 1: True}[check.state] for check in judged}
        result["check_reasons"] = {check.name: check.reason for check in judged}
    if corrected := corrections(ds):
        result["corrections"] = {name: list(xy) for name, xy in corrected.items()}
    return result | {"ta_filenames": ta_filenames(ds)}


def as_table(ds: xr.Dataset) -> str:
    """Write the results of an analysis as lines of text.

    Parameters
    ----------
    ds : xarray.Dataset
        An analyzed exposure.
    """
    about = words(ds, "target_name") or "target", f"visit {words(ds, 'visit_id')}", words(ds, "instrument", "filter")
    lines = [
        words(ds, "filename"),
        f"  {', '.join(about)}, aperture {words(ds, 'aperture')}",
        _say("  acquisition: {}", ", ".join(ta_filenames(ds))),
        _say("  centroid: {}", words(ds, "centroid_source")),
        _say("  checks: {}", _checks(ds, reasons=True)),
        *(f"    {what:<36}{x:>16}{y:>16}" for what, x, y in rows(ds, minus="-")),
    ]
    return "\n".join(filter(None, lines))


def as_files(table: xr.Dataset | None) -> str:
    """Write the table of the files of a program as lines of text: the kind of each, or why it was left out.

    Parameters
    ----------
    table : xarray.Dataset or None
        The root of a tree of `xta.open_program`, see `xta.io.tree`.
    """
    if table is None:
        return NO_PROGRAM
    left_out = table["status"].values == 0
    names = [path.replace("\\", "/").rpartition("/")[2] for path in table["path"].values.tolist()]
    columns = [table[name].values[~left_out].tolist() for name in FILES]
    lines = list(zip(*columns, itertools.compress(names, ~left_out), strict=True))
    widths = [max(map(len, column), default=0) for column in zip(*lines, strict=True)]
    shown = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    pairs = zip(names, table["reason"].values.tolist(), strict=True)
    reasons = [f"  {name}: {reason}" for name, reason in itertools.compress(pairs, left_out)]
    opened = counted(int((table["status"].values == 1).sum()), "exposure")
    counts = f"{counted(len(names), 'file')}: {opened}, {len(reasons)} left out"
    return "\n".join([*shown, counts, *reasons])


def as_solution(solved: Any) -> str:
    """Write a joint solution as lines of text: the stars and the observations.

    Parameters
    ----------
    solved : sequence of xarray.Dataset, a stack or a tree
        The result of `xta.solve`.
    """
    table = solution(solved)
    names = ("target_x", "target_y", "target_x_err", "target_y_err", "prior_x", "prior_y")
    stars = [
        (words(ds, "filename"), *(number(scalar(ds, name), 4, minus="-") for name in names))
        for ds in solved_exposures(solved)
    ]
    head = ("star [px, 0-based]", "x", "y", "error x", "error y", "before x", "before y")
    chi2, degrees = table.attrs["chi2"], table.attrs["degrees"]
    closing = f"chi-square {chi2:.1f} with {degrees} degrees of freedom"
    return "\n".join([*_aligned([head, *stars], 1), "", *_aligned(observations(table, minus="-"), 2), "", closing])


def observations(table: xr.Dataset, *, minus: str = "−") -> list[tuple[str, ...]]:
    """Write the table of `xta.solution`: the heads of its columns, then one row per observation.

    A pull is the residual divided by the error of the observation before the solution.
    """
    columns = {name: table[f"observation_{name}"].values for name in OBSERVED if "pull" not in name}
    columns |= {f"pull_{axis}": columns[f"residual_{axis}"] / columns[f"{axis}_err"] for axis in "xy"}
    numbers = [[number(float(value), OBSERVED[name][1], minus=minus) for value in columns[name]] for name in OBSERVED]
    names = [name.replace(".fits", "") for name in table["observation"].values.tolist()]
    reasons = [f"rejected: {text}" if text else "used" for text in table["observation_reason"].values.tolist()]
    heads = ("observation", "kind", *(head for head, _ in OBSERVED.values()), "")
    return [heads, *zip(names, table["observation_kind"].values.tolist(), *numbers, reasons, strict=True)]


def _aligned(lines: Sequence[Sequence[str]], texts: int) -> list[str]:
    """Align columns: first text at the left, then numbers."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    sides = ["<" if k < texts else ">" for k in range(len(widths))]
    form = "  ".join(f"{{:{side}{width}}}" for side, width in zip(sides, widths, strict=True))
    return [form.format(*line).rstrip() for line in lines]


def solution_as_dict(solved: Any) -> dict[str, Any]:
    """Collect a joint solution in a mapping for JSON: stars, observations, chi-square and covariance."""
    table = solution(solved)
    names = [str(name) for name, each in table.variables.items() if each.dims == ("observation",)]
    columns = {name.removeprefix("observation_"): table[name].values.tolist() for name in names}
    observations = [dict(zip(columns, map(_known, row), strict=True)) for row in zip(*columns.values(), strict=True)]
    result = {"chi2": float(table.attrs["chi2"]), "degrees": int(table.attrs["degrees"])}
    return result | {
        "stars": [as_dict(ds) for ds in solved_exposures(solved)],
        "observations": observations,
        "star_axes": table["star_axis"].values.tolist(),
        "star_covariance": table["star_covariance"].values.tolist(),
    }


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _say(form: str, text: str) -> str:
    return form.format(text) if text else ""


def as_text(ds: xr.Dataset) -> str:
    """Describe a dataset in lines of text."""
    described = card(ds)
    return "\n".join(["<xta>", *(f"  {what:<12}{text}" for what, text in described.items())]) if described else NOTHING


def card(ds: xr.Dataset) -> dict[str, str]:
    """Describe a dataset: label -> description, without empty ones; nothing if it is not an exposure."""
    described = {}
    for what, describe in CARD.items():
        with suppress(OSError, RuntimeError):  # its file no longer exists
            if text := describe(ds):
                described[what] = text
    return described if described.keys() - {"WCS"} else {}


def _pair(ds: xr.Dataset, name: str, decimals: int, *, suffix: str = "", sign: bool = False) -> str:
    values = [scalar(ds, f"{name}_{axis}{suffix}") for axis in ("x", "y")]
    return ", ".join(number(value, decimals, sign=sign) for value in values) if all(map(math.isfinite, values)) else ""


def _target(ds: xr.Dataset) -> str:
    ra, dec = header(ds).get("target_ra"), header(ds).get("target_dec")
    numbers = [value for value in (ra, dec) if isinstance(value, int | float) and math.isfinite(value)]
    place = "RA {}, Dec {} deg".format(*(number(value, 6) for value in numbers)) if len(numbers) == 2 else ""
    return ", ".join(filter(None, (words(ds, "target_name"), place, _say("visit {}", words(ds, "visit_id")))))


def _acquisition(ds: xr.Dataset) -> str:
    if count := len(ta_filenames(ds)):
        return f"{counted(count, 'exposure')}, {words(ds, 'oss_status') or 'no status'}"
    return "not attached" if "visit_id" in header(ds) and "klip" not in ds.variables else ""


def _centroid(ds: xr.Dataset) -> str:
    place = _say("{} px of the TA readout", _pair(ds, "centroid", 4))
    apart = _say("onboard − image {}", _pair(ds, "centroid_difference", 3, sign=True))
    return ", ".join(filter(None, (words(ds, "centroid_source"), place, apart)))


def _offset(ds: xr.Dataset) -> str:
    pixels = _pair(ds, "offset", 3, sign=True)
    east, north = (number(scalar(ds, f"offset_{name}"), 3, sign=True) for name in ("east", "north"))
    text = f"WCS − centroid = {pixels} px; {east}″ east, {north}″ north" if pixels and east != "–" else ""
    return _several(ds, "offset_x") or text


def _several(ds: xr.Dataset, name: str) -> str:
    several = name in ds.variables and ds[name].ndim
    return f"{ds[name].size} of them, along {', '.join(map(str, ds[name].dims))}" if several else ""


def _star(ds: xr.Dataset) -> str:
    now, spread = _pair(ds, "target", 4), _pair(ds, "target", 4, suffix="_err")
    if before := _pair(ds, "star", 4):
        return f"on the central pixel; it was at {before} px of the readout (0-based)"
    if now and "klip" in ds.variables:
        return "on the central pixel"
    return f"{now} px (0-based){_say(', ± {} px', spread)}" if now else _several(ds, "target_x")


def check_counts(ds: xr.Dataset) -> str:
    """Count the checks that passed and those that were not tested."""
    states = [check.state for check in checks(ds)]
    passed, untested = (f"{states.count(value)} {word}" for value, word in ((1, "passed"), (-1, "not tested")))
    return ", ".join(filter(None, (passed if states else "", untested if -1 in states else "")))


def _checks(ds: xr.Dataset, *, reasons: bool = False) -> str:
    failed = [f"{name} ({reason})" if reasons else name for name, state, reason in checks(ds) if state == 0]
    return ", ".join(filter(None, (check_counts(ds), _say("failed: {}", ", ".join(failed)))))


def _wcs(ds: xr.Dataset) -> str:
    if "wcs" not in ds.variables:
        return "none" if "visit_id" in header(ds) else ""
    if several := _several(ds, "wcs"):
        return several
    if "star_x" in ds.variables:
        return "adjusted, recentered" if "wcs_original" in ds.variables else "of the file, recentered"
    if "klip" in ds.variables:
        return "north up, east left"
    return "adjusted by the acquisition" if "wcs_original" in ds.variables else "of the file"


CARD: dict[str, Callable[[xr.Dataset], str]] = {
    "instrument": lambda ds: words(ds, "telescope", "instrument", "detector", "filter", "pupil"),
    "mode": lambda ds: words(ds, "exp_type", "aperture", "coronagraphic_mask"),
    "target": _target,
    "acquisition": _acquisition,
    "centroid": _centroid,
    "offset": _offset,
    "star": _star,
    "checks": _checks,
    "WCS": _wcs,
}
