"""Steps over the exposures of a program after their analysis: each returns a new tree."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypeAlias

import xarray as xr

from xta.cubes import coadd as cubes
from xta.cubes.background import mean_exposure
from xta.cubes.recenter import recenter as recenter_exposure
from xta.errors import ArgumentError, KlipError, MissingError, RecenterError, XtaError, warn
from xta.estimates import solve as estimate
from xta.estimates.registration import Circle
from xta.estimates.sources import Sources, measure_maneuver
from xta.identity import header
from xta.io.files import ROLES
from xta.model import TACONFIRM_TYPES
from xta.programs.groups import Exposures, each, exposures, replaced, role, with_star
from xta.psfsub import subtract
from xta.stacks import each as each_exposure
from xta.stacks import is_stack, members_or_one
from xta.stacks import stack as stack_exposures
from xta.workers import mapped

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["coadd", "klip", "recenter", "solve", "stack", "subtract_background"]

Setting: TypeAlias = tuple[Any, ...]
SETTING = ("instrument", "detector", "filter", "pupil", "substrt1", "substrt2", "subsize1", "subsize2")
"""Keywords that must be equal for a background and an exposure."""


def recenter(
    tree: xr.DataTree,
    *,
    method: str = "fourier",
    size: int | tuple[int, int] | None = None,
    fill: float | None = None,
    track: bool = False,
    client: "Client | None" = None,
) -> xr.DataTree:
    """Put the star on the central pixel in all exposures of a tree.

    Parameters
    ----------
    tree : xarray.DataTree
        Of analyzed exposures.
    method, size, fill, track : optional
        As in `xta.cubes.recenter.recenter`.
    client : distributed.Client, optional
        Each exposure is recentered on one of its workers, and the result is in memory here. For results that are larger
        than that, open the program with ``chunks={}`` and give no client: dask arrays go to the workers when they are
        written.

    Returns
    -------
    xarray.DataTree
        The tree with the exposures of targets and references recentered. Backgrounds and acquisitions do not change.

    Raises
    ------
    ArgumentError, RecenterError
        For the same reasons as in `xta.cubes.recenter.recenter`.
    """
    step = partial(recenter_exposure, method=method, size=size, fill=fill, track=track)
    return each(tree, with_star(tree), step, client)


def solve(
    tree: xr.DataTree,
    *,
    template: Any = None,
    sources: Sources | None = None,
    maneuvers: Mapping[str, xr.Dataset] | None = None,
    mask: bool = False,
    iwa: float | None = None,
    owa: float | None = None,
    exclude: Sequence[Circle] = (),
    client: "Client | None" = None,
) -> xr.DataTree:
    """Find the stars of all exposures of a tree together.

    Parameters
    ----------
    tree : xarray.DataTree
        Of analyzed exposures.
    template, sources, maneuvers, mask, iwa, owa, exclude, client : optional
        As in `xta.solve`. By default the maneuvers are measured in the confirmation images among the acquisitions.

    Returns
    -------
    xarray.DataTree
        The tree with the joint star in each exposure of a target or reference. The group ``solution`` contains the
        observations and the covariance of all stars, see `xta.solution`.

    Raises
    ------
    ArgumentError
        If there is no exposure of a target or reference.
    MissingError, RecenterError
        For the same reasons as in `xta.solve`.

    Warns
    -----
    XtaWarning
        If confirmation images do not show enough sources, and for the same reasons as in `xta.solve`.
    """
    found = with_star(tree)
    parts = {path: members_or_one(ds) for path, ds in found.items()}
    maneuvers = _confirmed(tree) if maneuvers is None else maneuvers
    options: dict[str, Any] = {"template": template, "sources": sources, "maneuvers": maneuvers, "mask": mask}
    options |= {"iwa": iwa, "owa": owa, "exclude": exclude, "client": client}
    solved = estimate.solve([ds for each_of in parts.values() for ds in each_of], **options)
    table = estimate.solution(solved)
    rest = iter(map(estimate.stripped, solved))
    done = {
        path: each_exposure(ds, lambda _: next(rest), name="solve") if is_stack(ds) else next(rest)
        for path, ds in found.items()
    }
    return replaced(tree, {**done, estimate.GROUP: table})


def _confirmed(tree: xr.DataTree) -> dict[str, xr.Dataset]:
    """Measure the maneuvers of the visits that have images of the whole detector before and after it."""
    images: dict[tuple[str, str], list[xr.Dataset]] = defaultdict(list)
    for ds in exposures(tree.root).values():
        about = header(ds)
        if about.get("exp_type") in TACONFIRM_TYPES and about.get("subarray") == "FULL":
            images[str(about.get("visit_id")), str(about.get("detector"))].append(ds)
    measured: dict[str, xr.Dataset] = {}
    for (visit, _), several in images.items():
        in_order = sorted(several, key=lambda ds: str(header(ds).get("date_beg")))
        if len(in_order) < 2:
            continue
        try:
            measured[visit] = measure_maneuver(in_order[0], in_order[-1])
        except XtaError as error:
            warn(f"the maneuver of visit {visit} cannot be measured in its confirmation images: {error}")
    return measured


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
        The tree with images in place of cubes. Exposures that are already images, and acquisitions, do not change.

    Raises
    ------
    ArgumentError
        For the same reasons as in `xta.cubes.coadd.coadd`.
    """
    found = {path: ds for path, ds in exposures(tree).items() if "integration" in ds["sci"].dims}
    found = {path: ds for path, ds in found.items() if role(tree, path, ds) != "acquisition"}
    return each(tree, found, partial(cubes.coadd, method=method, sigma=sigma))


def subtract_background(tree: xr.DataTree, *, method: str = "mean") -> xr.DataTree:
    """Subtract the background from the exposures of targets and references.

    Parameters
    ----------
    tree : xarray.DataTree
        The result of `open_program`, or a part of it; analyzed or not, but not recentered.
    method : "mean", "median" or "sigma_clip"
        Method to combine the integrations of all background exposures, as in `xta.cubes.coadd.coadd`.

    Returns
    -------
    xarray.DataTree
        The tree with the background subtracted from each integration, with errors, variances and flags. Backgrounds
        and acquisitions do not change.

    Raises
    ------
    MissingError
        If the program has no background exposure of any filter and detector of the tree.
    RecenterError
        If an exposure is recentered, so that its pixels are not those of the background.
    ArgumentError
        If the exposures of a stack differ in the properties that the background must share, or for the same reasons as
        in `xta.cubes.coadd.subtract`.

    Warns
    -----
    XtaWarning
        If there is no background for some exposures, which then do not change.

    Notes
    -----
    The background of an exposure is the mean of all integrations of the background exposures of its instrument,
    detector, filter and subarray in the whole tree, also for a part of it. A source that is in only some of them, such
    as a star, is removed only by ``method="median"``.
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
        warn(f"there is no background with the filter and detector of {', '.join(without)}; they do not change")
    if centered := [path for path in found if path not in without and "star_x" in found[path].coords]:
        msg = f"{', '.join(centered)}: the pixels are not those of the background; subtract it before recenter()"
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
        A tree in which ``/<filter>/<role>`` contains one dataset of `xta.stack`. Acquisitions and stacks do not change.

    Raises
    ------
    ArgumentError
        If the exposures of a filter and role cannot be joined by `xta.stack`. The message names the group.
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
    progress: bool = False,
    client: "Client | None" = None,
) -> xr.Dataset | xr.DataTree:
    """Subtract the star's PSF from the science exposures of each filter, by KLIP.

    Parameters
    ----------
    tree : xarray.DataTree
        An analyzed program, or one filter of it. Exposures that are not recentered yet are recentered.
    numbasis, annuli, subsections, mode, iwa, owa, movement, closest, closest_by, fwhm, progress : optional
        As in `xta.klip`.
    client : distributed.Client, optional
        Each filter is subtracted on one of its workers, without a progress bar.

    Returns
    -------
    xarray.Dataset or xarray.DataTree
        For one filter, ``tree["F444W"]``, the image of `xta.klip`; for a program, a tree with one image per filter.

    Raises
    ------
    KlipError
        If there is no science exposure, or for the same reasons as in `xta.klip`. The message names the filter.

    Warns
    -----
    XtaWarning
        If a filter has no science exposure and is left out.
    """
    options: dict[str, Any] = {"annuli": annuli, "subsections": subsections, "mode": mode, "iwa": iwa, "owa": owa}
    options |= {"numbasis": numbasis, "movement": movement, "closest": closest, "closest_by": closest_by, "fwhm": fwhm}
    options["progress"] = progress and client is None
    bands: dict[str, dict[str, list[xr.Dataset]]] = defaultdict(lambda: defaultdict(list))
    for path, ds in with_star(tree).items():
        bands[_band(path)][role(tree, path, ds)].append(ds)
    work = {band: dict(by_role) for band, by_role in bands.items() if by_role["science"]}
    for band in bands.keys() - work.keys():
        warn(f"{band} is left out: it has references but no science exposure")
    images = dict(zip(work, mapped(partial(_subtracted, options), work.items(), client), strict=True))
    if not images:
        msg = f"there is no science exposure among {', '.join(tree.groups)}; give a program or a filter of it"
        raise KlipError(msg)
    return images["."] if list(images) == ["."] else xr.DataTree.from_dict({f"/{b}": ds for b, ds in images.items()})


def _subtracted(options: Mapping[str, Any], work: tuple[str, dict[str, list[xr.Dataset]]]) -> xr.Dataset:
    """Subtract the star in one filter: its name, and its exposures by their role."""
    band, by_role = work
    try:
        return subtract.klip(by_role["science"], reference=by_role.get("reference") or None, **options)
    except KlipError as error:
        msg = f"{error}" if band == "." else f"{band}: {error}"
        raise KlipError(msg) from error


def _band(path: str) -> str:
    """Return the group of the filter as a path in the tree, the one above that of the role; "." for the tree itself."""
    parts = PurePosixPath(path).parts
    return str(PurePosixPath(*parts[: next((k for k, part in enumerate(parts) if part in ROLES), 0)]))
