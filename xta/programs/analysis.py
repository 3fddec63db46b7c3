"""Analyze the exposures of a program, each by the acquisition of its visit."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from xta.acquisition.analyze import analyze_each, check_one_visit
from xta.acquisition.attach import Acquisition, find_acquisition
from xta.acquisition.find import best_log, read_targ_acqs
from xta.acquisition.offset import Centroid
from xta.errors import ArgumentError, WCSError, warn
from xta.identity import header
from xta.io.tree import LEFT_OUT, NEEDED, table_of
from xta.programs.groups import Exposures, exposures, replaced, role, with_star
from xta.stacks import IMAGE_DIMS, is_stack, members_or_one
from xta.stacks import each as each_exposure

__all__ = ["analyze"]


def analyze(
    tree: xr.DataTree,
    *,
    oss: Any = None,
    centroid: Centroid = "auto",
    corrections: str | Iterable[str] = "all",
    offline: bool = False,
) -> xr.DataTree:
    """Find the star in all exposures of a tree, each by the acquisition of its visit.

    Parameters
    ----------
    tree : xarray.DataTree
        The result of `open_program`, or a part of it.
    oss : optional
        Event log of all visits, as in `attach`. By default the logs found with the exposures are used, or those that
        `attach` finds.
    corrections : "all", "none" or names
        As in `xta.acquisition.adjust.adjust_wcs`.
    centroid : "auto", "oss", "converged", "image" or (x, y)
        As in `compute_offset`.
    offline : bool
        Do not use the network.

    Returns
    -------
    xarray.DataTree
        The tree with the exposures of targets and references analyzed as by `xta.analyze`. Backgrounds and acquisitions
        do not change.

    Raises
    ------
    ArgumentError
        If there is no exposure of a target or reference.
    WCSError
        If none of them has an imaging WCS that agrees with its header, or a TA exposure has none.
    XtaError
        For the same reasons as in `xta.analyze`, for the first visit that has no usable acquisition.

    Warns
    -----
    XtaWarning
        If an exposure is left out because it has no imaging WCS, as a spectrum, or one that belongs to another
        exposure.

    Notes
    -----
    The acquisition of a visit is taken from the group ``acquisition`` of the whole tree, also for a part of it. If
    there is none, it is looked for as by `attach`. It is read once for all exposures of the visit.
    """
    found = with_star(tree)
    if not found:
        msg = f"there is no exposure of a target or reference among the groups {', '.join(tree.groups)}; open some"
        raise ArgumentError(msg)
    parts = {path: members_or_one(ds) for path, ds in found.items()}
    named = {
        f"{path}[{k}]" if is_stack(found[path]) else path: ds for path in parts for k, ds in enumerate(parts[path])
    }
    acquisitions = {path: ds for path, ds in exposures(tree.root).items() if role(tree.root, path, ds) == "acquisition"}
    ta = _by_visit(acquisitions)
    done: Exposures = {}
    left_out: dict[str, str] = {}
    for visit, members in _by_visit(named).items():
        acquisition = _acquisition(tree, visit, members, ta.get(visit, {}), oss=oss, offline=offline)
        results, reasons = analyze_each(members, acquisition, centroid=centroid, corrections=corrections)
        done, left_out = done | results, left_out | reasons
    if not done:
        msg = f"none of the {len(named)} exposures has a WCS to adjust: {'; '.join(dict.fromkeys(left_out.values()))}"
        raise WCSError(msg)
    joined = {path: _joined(path, ds, done) for path, ds in found.items()}
    return _without(replaced(tree, joined), left_out)


def _acquisition(
    tree: xr.DataTree, visit: str, members: Exposures, ta: Exposures, *, oss: Any, offline: bool
) -> Acquisition:
    """Find the acquisition of a visit, using the files in the program."""
    check_one_visit(list(members.values()))
    given: dict[str, Any] = {
        "oss": _event_log(tree, visit) if oss is None else oss,
        "targ_acq": read_targ_acqs(_needed(tree, "acquisition", visit)) or None,
        "offline": offline,
    }
    return find_acquisition(next(iter(members.values())), list(ta.values()) or None, **given)


def _joined(path: str, ds: xr.Dataset, done: Exposures) -> xr.Dataset | None:
    """Return the result for an exposure, or for the exposures of a stack."""
    if not is_stack(ds):
        return done.get(path)
    (dim,) = set(ds["sci"].dims) - IMAGE_DIMS
    kept = [k for k in range(ds.sizes[dim]) if f"{path}[{k}]" in done]
    parts = iter([done[f"{path}[{k}]"] for k in kept])
    return each_exposure(ds.isel({dim: kept}), lambda _: next(parts), name="analyze") if kept else None


def _by_visit(found: Exposures) -> dict[str, Exposures]:
    visits: dict[str, Exposures] = defaultdict(dict)
    for path, ds in found.items():
        visits[str(header(ds).get("visit_id", path))][path] = ds
    return visits


def _event_log(tree: xr.DataTree, visit: str) -> Any:
    """Choose the event log of the program with the most rows of a visit; None if there is none."""
    logs = _needed(tree, "event log")
    # Logs also mention the visits before and after their own, so those with the name of this visit are tried first.
    for paths in ([path for path in logs if visit in path.name], [path for path in logs if visit not in path.name]):
        log, passed_over = best_log(paths, visit)
        for text in passed_over:
            warn(text)
        if log is not None:
            return log
    return None


def _needed(tree: xr.DataTree, purpose: str, visit: str | None = None) -> list[Path]:
    """List those files in the program's table that are read when needed and still exist."""
    table = table_of(tree)
    if table is None:
        return []
    rows = (table["status"].values == NEEDED) & (table["role"].values == purpose)
    rows &= (table["visit_id"].values == visit) | (visit is None)
    return [path for path in map(Path, table["path"].values[rows].tolist()) if path.is_file()]


def _without(tree: xr.DataTree, reasons: Mapping[str, str]) -> xr.DataTree:
    """Write the reasons why some groups were removed into the table of the program."""
    table = table_of(tree)
    if table is None or not reasons:
        return tree
    for group, reason in reasons.items():
        gone = table["group"].values == f"/{group}"
        columns: dict[str, Any] = {"status": LEFT_OUT, "group": "", "reason": reason}
        table = table.assign({name: table[name].where(~gone, value) for name, value in columns.items()})
    return tree.assign(table.data_vars)
