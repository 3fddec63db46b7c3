"""Solve for the stars of all exposures of a program together, from all observations of them.

The star of a single visit is known to 6 to 9 mas per axis, because the error of the maneuver to the mask is in no
header. The speckles give the exposures relative to each other to 1 or 2 mas, so N visits average the errors of their
maneuvers. Errors that the visits have in common are not averaged: the shift between the filters, the way, and the bias
of a centroid.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xta import identity, model, stacks
from xta.acquisition import budget, instrument
from xta.acquisition.instrument import Tables
from xta.errors import ArgumentError, MissingError, RecenterError, warn
from xta.estimates.adjustment import Result, adjust
from xta.estimates.observations import (
    Observed,
    add_aims,
    add_maneuvers,
    add_predictions,
    add_registrations,
    add_sources,
    add_templates,
    star_pixel,
)
from xta.estimates.registration import Circle, pairs
from xta.estimates.sources import Sources
from xta.geometry import sky, wcs
from xta.identity import header

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["solution", "solve", "solved_exposures", "stripped"]

Array = NDArray[np.float64]
GROUP = "solution"
"""Group of a tree that contains the observations and the covariance."""


def solve(
    exposures: Any,
    *,
    template: Any = None,
    sources: Sources | None = None,
    maneuvers: Mapping[str, xr.Dataset] | None = None,
    mask: bool = False,
    iwa: float | None = None,
    owa: float | None = None,
    exclude: Sequence[Circle] = (),
    tables: Tables | None = None,
    client: "Client | None" = None,
) -> Any:
    """Find the stars of all exposures of a program together.

    Parameters
    ----------
    exposures : sequence of xarray.Dataset, or a stack
        Analyzed exposures (`xta.analyze`) of one or more visits, targets and filters, not recentered. For a tree see
        `xta.programs.solve`.
    template : optional
        Model image of the star behind the mask, as in `xta.estimates.template.estimate_center`, or a mapping from the
        filter to such an image.
    sources : mapping, optional
        Field sources, such as background stars, that were seen in several exposures: name -> file name -> ``(x, y,
        x_err, y_err)`` [pixel]; `xta.find_sources` returns them.
    maneuvers : mapping, optional
        Measurements from the confirmation images of visits: VISIT_ID -> result of `xta.measure_maneuver`.
    mask : bool
        Use the place that the telescope aimed at, too (`xta.acquisition.aim`). The error of the maneuver moves the
        star from the aim as it does from the prediction, so this adds the information of the onboard centroid.
    iwa, owa, exclude : optional
        The region to register, as in `xta.register`.
    tables : Tables, optional
        Accuracies in place of those of the package.
    client : distributed.Client, optional
        Its workers fit the registrations, which take most of the time.

    Returns
    -------
    list of xarray.Dataset or a stack
        The same exposures with the joint star in ``target_x/y``, its errors and correlation, one part of the error,
        "joint solution", and the WCS that puts the target on the star; ``prior_x/y`` is the star before. The
        observations are along ``observation``, and the covariance of all stars is ``star_covariance``; `solution`
        collects them.

    Raises
    ------
    ArgumentError
        If there is no exposure, or one is given twice.
    MissingError
        If an exposure has no star, or neither an error of the star nor a registration.
    RecenterError
        If an exposure is recentered.

    Warns
    -----
    XtaWarning
        If observations contradict each other and it cannot be decided which of them is wrong.

    Notes
    -----
    The unknowns are the pixels of the stars. The observations are the *prediction* of each exposure by the acquisition
    of its visit, the *registration* of each pair of exposures of one mask and filter, and those given as arguments.
    Errors that observations have in common are treated as one error: all exposures of a visit share the maneuver and
    the guiding in the acquisition; all visits acquired and observed in the same way share the filter, the way and the
    bias of a centroid; all registrations of an exposure share the error of its image; and all registrations of one
    setting share an error of the gain.

    An observation that contradicts all others at a chi-square of 13.8 (0.1 % by chance) is rejected, the worst first.
    The prediction of a visit is rejected for all its exposures, since they share one maneuver.

    Behind a four-quadrant mask the image depends on the place of the star, and so does the registration. The errors of
    `xta.register` include this, so such registrations have a small weight.

    Examples
    --------
    >>> solved = xta.solve([xta.analyze(path) for path in paths])  # doctest: +SKIP
    >>> xta.solution(solved)  # doctest: +SKIP
    """
    stack = isinstance(exposures, xr.Dataset)
    given = [exposures] if stack else list(exposures)
    parts = [part for ds in given for part in stacks.members_or_one(ds)]
    names = _names(parts)
    tables = tables or instrument.tables()
    observed = Observed(names, count=len(parts))
    errors = add_predictions(observed, parts, tables)
    add_registrations(observed, parts, pairs(parts, iwa=iwa, owa=owa, exclude=exclude, client=client))
    add_templates(observed, parts, template)
    add_maneuvers(observed, parts, errors, maneuvers or {}, tables)
    if mask:
        add_aims(observed, parts, errors, tables)
    add_sources(observed, parts, sources or {})
    result = _adjusted(observed)
    table = _table(observed, result)
    solved = [_with_star(ds, result, k).assign_coords(table.variables) for k, ds in enumerate(parts)]
    if stack:
        results = iter(solved)
        return stacks.each(exposures, lambda _: next(results), name="solve")
    return solved


def solution(solved: Any) -> xr.Dataset:
    """Collect the observations and the covariance of a joint solution.

    Parameters
    ----------
    solved : sequence of xarray.Dataset, a stack or a tree
        The result of `solve`.

    Returns
    -------
    xarray.Dataset
        Along ``observation``: the observations with errors, residuals [pixel], test, weight, and whether they were
        used. ``star_covariance`` [pixel**2] has ``star_axis`` twice; the attributes are ``chi2`` and ``degrees``.

    Raises
    ------
    MissingError
        If there is no joint solution.
    """
    if isinstance(solved, xr.DataTree):
        node = solved.root.children.get(GROUP)
        ds = xr.Dataset() if node is None else node.to_dataset(inherit=False)
    else:
        ds = solved if isinstance(solved, xr.Dataset) else next(iter(solved), xr.Dataset())
    labels = {"observation", "star_axis", "star_axis_"}
    names = {name for name in model.SOLVED if not name.startswith("prior")}
    if not names <= set(ds.variables):
        msg = "there is no joint solution; call xta.solve(exposures) or tree.ta.solve() first"
        raise MissingError(msg)
    (first, *_) = stacks.members_or_one(ds) if "filename" in ds.variables else [ds]
    columns = {name: first.variables[name] for name in model.ATTRS if name in names}
    table = xr.Dataset(columns).set_coords(labels)
    attrs = table["star_covariance"].attrs
    return table.assign_attrs({name: attrs[name] for name in ("chi2", "degrees")})


def solved_exposures(solved: Any) -> list[xr.Dataset]:
    """List those exposures of a tree, a stack or a sequence that are part of a joint solution."""
    if isinstance(solved, xr.DataTree):
        given = [node.to_dataset() for node in solved.subtree if "prior_x" in node.variables]
    else:
        given = [solved] if isinstance(solved, xr.Dataset) else list(solved)
    return [part for ds in given for part in stacks.members_or_one(ds) if "prior_x" in part.variables]


def _names(parts: Sequence[xr.Dataset]) -> list[str]:
    """Return the names of the exposures, and refuse exposures that cannot be solved for."""
    if not parts:
        msg = "there is no exposure to solve for; give at least one result of xta.analyze"
        raise ArgumentError(msg)
    names: list[str] = []
    for ds in parts:
        identity.refuse_combined(ds)
        if "star_x" in ds.coords:
            msg = "an exposure is recentered; call solve() before recenter()"
            raise RecenterError(msg)
        identity.require(ds, "target_x", "target_y", step="ds.ta.adjust_wcs()")
        name = str(header(ds).get("filename", f"exposure {len(names) + 1}"))
        if name in names:
            msg = f"{name} is given twice; give each exposure once"
            raise ArgumentError(msg)
        names.append(name)
    return names


def _adjusted(observed: Observed) -> Result:
    """Solve, and warn about contradictions that cannot be decided."""
    try:
        result = adjust(observed.rows, observed.count, wanted=len(observed.names))
    except ArgumentError as error:
        lost = ", ".join(observed.unused) or "some exposures"
        msg = f"{lost}: the star's error is not known, and no registration connects it to others ({error})"
        raise MissingError(msg) from error
    for one, other in result.twins:
        what = f"{one} and {other} contradict each other" if other else f"{one} contradicts the others"
        warn(f"{what}, and it cannot be decided which is wrong; the errors of the joint solution are too small")
    return result


def _table(observed: Observed, result: Result) -> xr.Dataset:
    """Make the table of a solution."""
    errors = np.array([np.sqrt(np.diag(sum(f @ f.T for f in row.sources.values()))) for row in observed.rows])
    values = np.array([row.value for row in observed.rows])
    reasons = ["" if used else f"chi-square {test:.0f}" for used, test in zip(result.used, result.tests, strict=True)]
    columns: dict[str, Any] = {
        "observation": observed.labels,
        "observation_kind": observed.kinds,
        "observation_x": values[:, 0],
        "observation_y": values[:, 1],
        "observation_x_err": errors[:, 0],
        "observation_y_err": errors[:, 1],
        "observation_residual_x": result.residuals[:, 0],
        "observation_residual_y": result.residuals[:, 1],
        "observation_test": result.tests,
        "observation_weight": result.leverage,
        "observation_used": result.used.astype(np.int8),
        "observation_reason": reasons,
    }
    variables = {name: xr.Variable("observation", values, model.attrs(name)) for name, values in columns.items()}
    axes = [f"{name} {axis}" for name in observed.names for axis in "xy"]
    variables |= {name: xr.Variable(name, axes, model.attrs(name)) for name in ("star_axis", "star_axis_")}
    attrs = model.attrs("star_covariance", chi2=result.chi2, degrees=result.degrees)
    covariance = result.covariance[: len(axes), : len(axes)]
    variables["star_covariance"] = xr.Variable(("star_axis", "star_axis_"), covariance, attrs)
    return xr.Dataset(coords=variables)


def _with_star(ds: xr.Dataset, result: Result, k: int) -> xr.Dataset:
    """Move the star of an exposure, and the sky with it."""
    x, y = result.values[k].tolist()
    covariance = result.covariance[2 * k : 2 * k + 2, 2 * k : 2 * k + 2]
    x_err, y_err = np.sqrt(np.diag(covariance)).tolist()
    dx, dy = np.array([x, y]) - star_pixel(ds)
    part = budget.Part(x_err, y_err, "joint solution of the program", float(covariance[0, 1]) / (x_err * y_err))
    bare = ds.drop_vars(
        [name for name, each in ds.variables.items() if "error_part" in each.dims or name in model.SOLVED]
    )
    prior = {f"prior_{name}": model.scalar(ds, f"target_{name}") for name in ("x", "y", "x_err", "y_err")}
    before = model.describe(prior)
    result_ds = bare.assign_coords(before | model.describe({"target_x": x, "target_y": y}))
    scale = math.nan
    if "wcs" in ds.coords:
        gwcs = sky.the_wcs(ds)
        scale = wcs.pixel_scale(gwcs, x, y)
        result_ds = sky.assign_wcs(result_ds, wcs.dump(wcs.shift(gwcs, -dx, -dy, copy=False)))
    result_ds = result_ds.assign_coords(budget.coordinates({"joint solution": part}, scale=scale))
    return model.with_history(result_ds, f"solve; star at {x:.6f}, {y:.6f}, moved by {dx:+.4f}, {dy:+.4f}")


def stripped(ds: xr.Dataset) -> xr.Dataset:
    """Drop the observations and covariances of all exposures from one of them."""
    return ds.drop_vars([name for name in model.SOLVED if name in ds.variables and not name.startswith("prior")])
