"""Programs: the exposures of several visits as a tree, and the steps of xta over all of them.

A step works on a whole tree or on a part of it, ``tree["F444W"]``, and returns a new tree. What each exposure is for is
told by the names of its groups, see `xta.io.tree.build`, or, in a tree made by hand, by its identity.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import xarray as xr

from xta import identity
from xta.acquisition.analyze import analyze_each, check_one_visit
from xta.acquisition.attach import Acquisition, find_acquisition
from xta.acquisition.find import best_log, read_targ_acqs
from xta.acquisition.offset import Centroid
from xta.cubes import coadd as cubes
from xta.cubes.background import mean_exposure
from xta.cubes.recenter import recenter as recenter_exposure
from xta.errors import ArgumentError, KlipError, MissingError, RecenterError, WCSError, warn
from xta.estimates import solve as estimate
from xta.estimates.registration import Circle
from xta.identity import header
from xta.io.backend import open_exposure
from xta.io.files import ROLES, PathLike
from xta.io.tree import LEFT_OUT, NEEDED, build, table_of
from xta.psfsub import subtract
from xta.stacks import IMAGE_DIMS, is_stack, members_or_one
from xta.stacks import each as each_exposure
from xta.stacks import stack as stack_exposures

__all__ = ["analyze", "coadd", "klip", "open_program", "recenter", "role", "solve", "stack", "subtract_background"]

Exposures: TypeAlias = dict[str, xr.Dataset]
"""Exposures by the path of their group."""

Setting: TypeAlias = tuple[Any, ...]
SETTING = ("instrument", "detector", "filter", "pupil", "substrt1", "substrt2", "subsize1", "subsize2")
"""What a background has to have in common with an exposure."""


def open_program(
    paths: "PathLike | Iterable[PathLike]", *, chunks: Any = None, reference: str | Sequence[str] | None = None
) -> xr.DataTree:
    """Open the exposures of a program as a tree, sorted by filter and role.

    Parameters
    ----------
    paths : path or iterable of paths
        Products, event logs and folders. Folders are searched with all folders below them.
    chunks : optional
        As in `open_exposure`.
    reference : str or sequence of str, optional
        Names of targets (TARGNAME) that are references although the keyword IS_PSF does not say so.

    Returns
    -------
    xarray.DataTree
        ``/<filter>/<science|reference|background>/<name of the file>`` and ``/acquisition/<name of the file>``, each a
        dataset as of `open_exposure`, in the order of filter, role and time. The root holds the table of all files
        along ``file``: what each is, in which group it was opened, or why it was left out; ``tree.ta`` prints it.

    Raises
    ------
    ArgumentError
        If there is no JWST product.
    FileError
        If a path does not exist.
    ProductError
        If no exposure can be opened: the message has the reasons.

    Warns
    -----
    XtaWarning
        If coronagraphic exposures are of several targets and none is marked as a reference, or a file that was given
        is no product.

    Notes
    -----
    *Role.* EXP_TYPE tells acquisitions, BKGDTARG backgrounds, IS_PSF references; all else is science. Targets are not
    compared: which of two stars is the reference cannot be told from their names.

    *Filter.* A filter in the pupil wheel (NIRCam F466N, NIRISS F150W) names the group, not what it is crossed with.

    *Products.* Of an exposure the best product is opened: ``_calints``, ``_cal``, ``_rateints``, ``_rate``; of an
    acquisition ``_cal``, ``_calints``, ``_rate``, ``_rateints``. ``_uncal`` products are not opened: those of
    acquisitions are read for their TARG_ACQ extension when the acquisition is attached. A damaged product is a row of
    the table with its reason, and the next best one is opened.

    ``xarray.open_datatree(folder, engine="jwst")`` gives the same tree.

    Examples
    --------
    >>> program = xta.open_program("folder")  # doctest: +SKIP
    >>> cubes = program.ta.analyze().ta.recenter()  # doctest: +SKIP
    >>> image = cubes["F444W"].ta.klip(numbasis=[1, 5, 10])  # doctest: +SKIP
    """
    return build(paths, read=partial(open_exposure, chunks=chunks), reference=reference)


def exposures(tree: xr.DataTree) -> Exposures:
    """Collect the exposures and stacks of a tree by the path of their group, with labels that xarray moved up."""
    return {path: node.to_dataset() for path, node in tree.subtree_with_keys if "sci" in node.data_vars}


def role(tree: xr.DataTree, path: str, ds: xr.Dataset) -> str:
    """Read what an exposure is for: the name of a group above it, or else what its identity says."""
    parts = [str(tree.root.name), *PurePosixPath(tree.path, path).parts]
    if named := [part for part in parts if part in ROLES]:
        return named[-1]
    ds = members_or_one(ds)[0]
    if identity.is_ta(ds):
        return "acquisition"
    if header(ds).get("is_background") == 1:
        return "background"
    return "reference" if header(ds).get("is_psf") == 1 else "science"


def with_star(tree: xr.DataTree) -> Exposures:
    """Collect the exposures that have a star: those of targets and references."""
    return {path: ds for path, ds in exposures(tree).items() if role(tree, path, ds) in {"science", "reference"}}


def replaced(tree: xr.DataTree, results: Mapping[str, xr.Dataset | None]) -> xr.DataTree:
    """Build a tree with other datasets in some of its groups; a group whose dataset is None goes."""
    data = {path: node.to_dataset() for path, node in tree.subtree_with_keys}
    for path in [path for path, node in tree.subtree_with_keys if node.children]:
        used = {dim for variable in data[path].data_vars.values() for dim in variable.dims}
        data[path] = data[path].drop_vars(set(data[path].indexes) - used)  # labels that xarray moved up from exposures
    kept = {path: ds for path, ds in (data | dict(results)).items() if ds is not None}
    result = xr.DataTree.from_dict({"/" if path == "." else path: ds for path, ds in kept.items()}, name=tree.name)
    result.set_close(tree.close)
    return result


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
        Of `open_program`, or a part of one.
    oss : optional
        Event log of all visits, as in `attach`. By default those that were found with the exposures, or what `attach`
        finds.
    corrections : "all", "none" or names
        As in `xta.acquisition.adjust.adjust_wcs`.
    centroid : "auto", "oss", "converged", "image" or (x, y)
        As in `compute_offset`.
    offline : bool
        Do not use the network.

    Returns
    -------
    xarray.DataTree
        With the exposures of targets and references analyzed as by `xta.analyze`. Backgrounds and acquisitions stay
        as they are.

    Raises
    ------
    ArgumentError
        If there is no exposure of a target or reference.
    WCSError
        If none of them has an imaging WCS that is its own, or a TA exposure has none.
    XtaError
        Of the kinds of `xta.analyze`, for the first visit that has no usable acquisition.

    Warns
    -----
    XtaWarning
        If an exposure has no imaging WCS, such as a spectrum, or one that is not its own, and is left out.

    Notes
    -----
    The acquisition of a visit is taken from the group ``acquisition`` of the whole tree, also for a part of it; without
    one there it is looked for as by `attach`. It is read once for all exposures of the visit.
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
    """Find the acquisition of a visit, with what the program holds of it."""
    check_one_visit(list(members.values()))
    given: dict[str, Any] = {
        "oss": _event_log(tree, visit) if oss is None else oss,
        "targ_acq": read_targ_acqs(_needed(tree, "acquisition", visit)) or None,
        "offline": offline,
    }
    return find_acquisition(next(iter(members.values())), list(ta.values()) or None, **given)


def _joined(path: str, ds: xr.Dataset, done: Exposures) -> xr.Dataset | None:
    """Return what was made of an exposure, or of the exposures of a stack."""
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
    """Choose among the event logs of the program the one that tells most of a visit; None where none does."""
    logs = _needed(tree, "event log")
    # Logs mention the visits before and after theirs; those of other names are read where that of the visit is none.
    for paths in ([path for path in logs if visit in path.name], [path for path in logs if visit not in path.name]):
        log, passed_over = best_log(paths, visit)
        for text in passed_over:
            warn(text)
        if log is not None:
            return log
    return None


def _needed(tree: xr.DataTree, purpose: str, visit: str | None = None) -> list[Path]:
    """List the files of the program's table that are read when needed; those that are still there."""
    table = table_of(tree)
    if table is None:
        return []
    rows = (table["status"].values == NEEDED) & (table["role"].values == purpose)
    rows &= (table["visit_id"].values == visit) | (visit is None)
    return [path for path in map(Path, table["path"].values[rows].tolist()) if path.is_file()]


def _without(tree: xr.DataTree, reasons: Mapping[str, str]) -> xr.DataTree:
    """Write into the table of the program why some groups are gone."""
    table = table_of(tree)
    if table is None or not reasons:
        return tree
    for group, reason in reasons.items():
        gone = table["group"].values == f"/{group}"
        columns: dict[str, Any] = {"status": LEFT_OUT, "group": "", "reason": reason}
        table = table.assign({name: table[name].where(~gone, value) for name, value in columns.items()})
    return tree.assign(table.data_vars)


def each(tree: xr.DataTree, found: Exposures, step: Callable[[xr.Dataset], xr.Dataset]) -> xr.DataTree:
    """Apply a step to some exposures of a tree."""
    return replaced(tree, {path: step(ds) for path, ds in found.items()})


def recenter(
    tree: xr.DataTree,
    *,
    method: str = "fourier",
    size: int | tuple[int, int] | None = None,
    fill: float | None = None,
    track: bool = False,
) -> xr.DataTree:
    """Put the star on the central pixel in all exposures of a tree.

    Parameters
    ----------
    tree : xarray.DataTree
        Of analyzed exposures.
    method, size, fill, track : optional
        As in `xta.cubes.recenter.recenter`.

    Returns
    -------
    xarray.DataTree
        With the exposures of targets and references recentered. Backgrounds and acquisitions stay as they are.

    Raises
    ------
    ArgumentError, RecenterError
        Of `xta.cubes.recenter.recenter`.
    """
    return each(tree, with_star(tree), partial(recenter_exposure, method=method, size=size, fill=fill, track=track))


def solve(
    tree: xr.DataTree,
    *,
    template: Any = None,
    sources: estimate.Sources | None = None,
    mask: bool = False,
    iwa: float | None = None,
    owa: float | None = None,
    exclude: Sequence[Circle] = (),
) -> xr.DataTree:
    """Find the stars of all exposures of a tree together.

    Parameters
    ----------
    tree : xarray.DataTree
        Of analyzed exposures.
    template, sources, mask, iwa, owa, exclude : optional
        As in `xta.solve`.

    Returns
    -------
    xarray.DataTree
        With the joint star in each exposure of a target or reference. The group ``solution`` holds the observations
        and the covariance of all stars, see `xta.solution`.

    Raises
    ------
    ArgumentError
        If there is no exposure of a target or reference.
    MissingError, RecenterError
        Of `xta.solve`.
    """
    found = with_star(tree)
    parts = {path: members_or_one(ds) for path, ds in found.items()}
    options: dict[str, Any] = {"template": template, "sources": sources, "mask": mask}
    options |= {"iwa": iwa, "owa": owa, "exclude": exclude}
    solved = estimate.solve([ds for each_of in parts.values() for ds in each_of], **options)
    table = estimate.solution(solved)
    rest = iter(map(estimate.stripped, solved))
    done = {
        path: each_exposure(ds, lambda _: next(rest), name="solve") if is_stack(ds) else next(rest)
        for path, ds in found.items()
    }
    return replaced(tree, {**done, estimate.GROUP: table})


def coadd(tree: xr.DataTree, *, method: str = "mean", sigma: float = 3.0) -> xr.DataTree:
    """Combine the integrations of each exposure of a tree into one image.

    Parameters
    ----------
    tree : xarray.DataTree
    method, sigma : optional
        As in `xta.cubes.coadd.coadd`.

    Returns
    -------
    xarray.DataTree
        With images in place of cubes. Exposures that are images already, and acquisitions, stay as they are.

    Raises
    ------
    ArgumentError
        Of `xta.cubes.coadd.coadd`.
    """
    found = {path: ds for path, ds in exposures(tree).items() if "integration" in ds["sci"].dims}
    found = {path: ds for path, ds in found.items() if role(tree, path, ds) != "acquisition"}
    return each(tree, found, partial(cubes.coadd, method=method, sigma=sigma))


def subtract_background(tree: xr.DataTree, *, method: str = "mean") -> xr.DataTree:
    """Subtract the background from the exposures of targets and references.

    Parameters
    ----------
    tree : xarray.DataTree
        Of `open_program`, or a part of one; analyzed or not, but not recentered.
    method : "mean", "median" or "sigma_clip"
        How the integrations of all background exposures are combined, as in `xta.cubes.coadd.coadd`.

    Returns
    -------
    xarray.DataTree
        With the background subtracted from each integration; errors, variances and flags follow. Backgrounds and
        acquisitions stay as they are.

    Raises
    ------
    MissingError
        If the program has no background exposure of any filter and detector of the tree.
    RecenterError
        If an exposure is recentered, so that its pixels are not those of the background.
    ArgumentError
        If the exposures of a stack differ in what the background has to have in common with them, or of
        `xta.cubes.coadd.subtract`.

    Warns
    -----
    XtaWarning
        If there is none for some exposures, which stay as they are.

    Notes
    -----
    The background of an exposure is the mean of all integrations of the background exposures of its instrument,
    detector, filter and subarray in the whole tree, also for a part of it. A scene that moved between them, such as a
    star in one, is not taken out unless by ``method="median"``.
    """
    found = with_star(tree)
    fields: dict[Setting, list[xr.Dataset]] = defaultdict(list)
    for path, ds in exposures(tree.root).items():
        if role(tree.root, path, ds) == "background":
            for part in members_or_one(ds):
                fields[_setting(part)].append(part)
    settings = {path: _one_setting(path, ds) for path, ds in found.items()}
    without = [path for path, setting in settings.items() if setting not in fields]
    if len(without) == len(found):
        msg = "the program has no background exposure (BKGDTARG) of the filters and detectors of the tree; open some"
        raise MissingError(msg)
    if without:
        warn(f"there is no background of their filter and detector for {', '.join(without)}; they stay as they are")
    if centered := [path for path in found if path not in without and "star_x" in found[path].coords]:
        msg = f"{', '.join(centered)}: the pixels are not those of the background; subtract it before recenter"
        raise RecenterError(msg)
    needed = {setting for path, setting in settings.items() if path not in without}
    means = {setting: mean_exposure(fields[setting], method=method) for setting in needed}
    done = {path: cubes.subtract(found[path], means[settings[path]]) for path in found if path not in without}
    return replaced(tree, done)


def _setting(ds: xr.Dataset) -> Setting:
    """Read with which pixels through which filter an exposure was taken."""
    return tuple(header(ds).get(name) for name in SETTING)


def _one_setting(path: str, ds: xr.Dataset) -> Setting:
    """Read the setting of an exposure, or the one that all exposures of a stack have."""
    first, *others = dict.fromkeys(_setting(part) for part in members_or_one(ds))
    if others:
        differ = [name for name, *values in zip(SETTING, first, *others, strict=True) if len(set(values)) > 1]
        msg = f"{path}: its exposures differ in {', '.join(differ)}; subtract the background before they are stacked"
        raise ArgumentError(msg)
    return first


def stack(tree: xr.DataTree) -> xr.DataTree:
    """Join the exposures of each filter and role along the dimension ``exposure``.

    Parameters
    ----------
    tree : xarray.DataTree

    Returns
    -------
    xarray.DataTree
        ``/<filter>/<role>`` holds one dataset of `xta.stack`. Acquisitions and stacks stay as they are.

    Raises
    ------
    ArgumentError
        Of `xta.stack`, if the exposures of a filter and role cannot be joined: it names the group.
    """
    groups: dict[str, Exposures] = defaultdict(dict)
    for path, ds in exposures(tree).items():
        if path != "." and not is_stack(ds) and role(tree, path, ds) in ROLES[:3]:
            groups[str(PurePosixPath(path).parent)][path] = ds
    results: dict[str, xr.Dataset | None] = {}
    for group, members in groups.items():
        results |= dict.fromkeys(members)
        try:
            results[group] = stack_exposures(members.values())
        except ArgumentError as error:
            msg = f"{group}: {error}"
            raise ArgumentError(msg) from error
    return replaced(tree, results)


def klip(
    tree: xr.DataTree,
    *,
    numbasis: int | Sequence[int] | None = None,
    annuli: int = 1,
    subsections: int = 1,
    mode: str | None = None,
    iwa: float = 0.0,
    owa: float | None = None,
    movement: float = 1.0,
    closest: int | None = None,
    closest_by: str = "correlation",
    fwhm: float | None = None,
) -> xr.Dataset | xr.DataTree:
    """Subtract the star's PSF from the science exposures of each filter, by KLIP.

    Parameters
    ----------
    tree : xarray.DataTree
        A filter of a program, or the whole of it; analyzed. Exposures that are not recentered yet are recentered.
    numbasis, annuli, subsections, mode, iwa, owa, movement, closest, closest_by, fwhm : optional
        As in `xta.klip`.

    Returns
    -------
    xarray.Dataset or xarray.DataTree
        Of one filter, ``tree["F444W"]``, the image of `xta.klip`; of a program a tree with an image for each filter.

    Raises
    ------
    KlipError
        If there is no science exposure, or of `xta.klip`: it names the filter.

    Warns
    -----
    XtaWarning
        If a filter has no science exposure and is left out.
    """
    options: dict[str, Any] = {"annuli": annuli, "subsections": subsections, "mode": mode, "iwa": iwa, "owa": owa}
    options |= {"numbasis": numbasis, "movement": movement, "closest": closest, "closest_by": closest_by, "fwhm": fwhm}
    bands: dict[str, dict[str, list[xr.Dataset]]] = defaultdict(lambda: defaultdict(list))
    for path, ds in with_star(tree).items():
        bands[_band(path)][role(tree, path, ds)].append(ds)
    images = {}
    for band, by_role in bands.items():
        if not by_role["science"]:
            warn(f"{band} is left out: it has references but no science exposure")
            continue
        try:
            images[band] = subtract.klip(by_role["science"], reference=by_role["reference"] or None, **options)
        except KlipError as error:
            msg = f"{error}" if band == "." else f"{band}: {error}"
            raise KlipError(msg) from error
    if not images:
        msg = f"there is no science exposure among {', '.join(tree.groups)}; give a program or a filter of it"
        raise KlipError(msg)
    return images["."] if list(images) == ["."] else xr.DataTree.from_dict({f"/{b}": ds for b, ds in images.items()})


def _band(path: str) -> str:
    """Name the group of the filter, as a path in the tree: the one above that of the role; "." for the tree itself."""
    parts = PurePosixPath(path).parts
    return str(PurePosixPath(*parts[: next((k for k, part in enumerate(parts) if part in ROLES), 0)]))
