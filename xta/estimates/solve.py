"""Joint solution: the stars of all exposures of a program at once, by everything that was observed of them.

One visit is known to 6 to 9 mas an axis, because no header says what the maneuver to the mask really did. But the
speckles tell how the exposures are relative to each other, to 1 or 2 mas, and so N visits average their maneuvers. What
visits have in common is not averaged: the shift between the filters, the way, the bias of a centroid.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xta import identity, model, stacks
from xta.acquisition import budget, centroids, instrument
from xta.acquisition.image import in_use
from xta.acquisition.instrument import Tables
from xta.errors import ArgumentError, MissingError, RecenterError, warn
from xta.estimates.adjustment import Observation, Result, adjust
from xta.estimates.registration import SETTING, Circle, Pair, pairs
from xta.estimates.template import estimate_center
from xta.geometry import sky, wcs
from xta.identity import header

__all__ = ["Sources", "solution", "solve", "solved_exposures", "stripped"]

Array = NDArray[np.float64]
Exposures = TypeVar("Exposures", xr.Dataset, list[xr.Dataset])
Sources = Mapping[str, Mapping[str, tuple[float, float, float, float]]]
"""Field source -> file name -> x, y and their standard errors [pixel], in the labels of the exposure."""

GROUP = "solution"
"""Of a tree: where the observations and the covariance are."""

OWN = 0.9
"""Part of the variance of a registration that belongs to the images of the two exposures, and so to all registrations
of each; the rest is of this one alone."""

TEMPLATE = 6.0
"""Standard error of a model image of the star, one axis [mas]: fits of STPSF agree with other centers to about that."""

PREDICTION, REGISTRATION, TEMPLATE_FIT, MASK, SOURCE = "prediction", "registration", "template", "mask", "source"


@dataclass
class _Observed:
    """The observations of a program, and what each is called."""

    names: list[str]
    rows: list[Observation] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    count: int = 0
    """Unknowns: the stars, then the field sources."""

    def add(self, label: str, kind: str, observation: Observation) -> None:
        self.labels.append(label)
        self.kinds.append(kind)
        self.rows.append(observation)


def solve(
    exposures: Any,
    *,
    template: Any = None,
    sources: Sources | None = None,
    mask: bool = False,
    iwa: float | None = None,
    owa: float | None = None,
    exclude: Sequence[Circle] = (),
    tables: Tables | None = None,
) -> Any:
    """Find the stars of all exposures of a program together.

    Parameters
    ----------
    exposures : sequence of xarray.Dataset, or a stack
        Analyzed exposures (`xta.analyze`), of one or more visits, targets and filters; not recentered. For a tree see
        `xta.programs.solve`.
    template : optional
        Model image of the star behind the mask, as in `xta.estimates.template.estimate_center`, or a mapping of the
        filter to one.
    sources : mapping, optional
        Sources of the field, such as background stars, that were seen in several exposures: name -> file name -> ``(x,
        y, x_err, y_err)`` [pixel].
    mask : bool
        Use where the telescope aimed, too (`xta.acquisition.aim`): the maneuver that puts the star off the prediction
        puts it off the aim as well, so this adds what the onboard centroid knew.
    iwa, owa, exclude : optional
        What is registered, as in `xta.register`.
    tables : Tables, optional
        Accuracies in place of those of the package.

    Returns
    -------
    list of xarray.Dataset or a stack
        As given, with the joint star in ``target_x/y``, its errors and correlation, one part of the error, "joint
        solution", and the WCS that puts the target on it; ``prior_x/y`` is the star before. The observations stand
        along ``observation``, the covariance of all stars in ``star_covariance``; `solution` collects them.

    Raises
    ------
    ArgumentError
        If there is no exposure, or one is given twice.
    MissingError
        If an exposure has no star, or neither an error of it nor a registration.
    RecenterError
        If an exposure is recentered.

    Warns
    -----
    XtaWarning
        If observations contradict each other and nothing tells which of them is wrong.

    Notes
    -----
    Unknown are the pixels of the stars. Observed are the *prediction* of each exposure by the acquisition of its visit;
    the *registration* of each pair of exposures of one mask and filter; and what is asked for beside. Errors that
    observations have in common are one: the maneuver and the guiding in the acquisition are of a visit; the filter, the
    way and the bias of a centroid are of all visits that were acquired and observed alike; what a registration says of
    an exposure is in all registrations of this exposure; a gain that is not one is in all of a setting.

    An observation that contradicts all others at a chi-square of 13.8 (0.1 % by chance) is rejected, the worst first.
    The prediction of a visit is rejected for all its exposures, as there is one maneuver.

    Behind a four-quadrant mask the image depends on where the star is behind it, and the registration on that; the
    errors of `xta.register` say so, and the solution weights accordingly.

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
    observed = _Observed(names, count=len(parts))
    errors = _add_predictions(observed, parts, tables)
    _add_registrations(observed, parts, pairs(parts, iwa=iwa, owa=owa, exclude=exclude))
    _add_templates(observed, parts, template)
    if mask:
        _add_aims(observed, parts, errors, tables)
    _add_sources(observed, parts, sources or {})
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
        Of `solve`.

    Returns
    -------
    xarray.Dataset
        Along ``observation``: what was observed, with errors, residuals [pixel], test, weight, and whether it was used.
        ``star_covariance`` [pixel**2] along ``star_axis`` twice; attributes ``chi2`` and ``degrees``.

    Raises
    ------
    MissingError
        If nothing was solved.
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
    told = table["star_covariance"].attrs
    return table.assign_attrs({name: told[name] for name in ("chi2", "degrees")})


def solved_exposures(solved: Any) -> list[xr.Dataset]:
    """List the exposures of a joint solution: those of a tree, a stack or a sequence that have been solved for."""
    if isinstance(solved, xr.DataTree):
        given = [node.to_dataset() for node in solved.subtree if "prior_x" in node.variables]
    else:
        given = [solved] if isinstance(solved, xr.Dataset) else list(solved)
    return [part for ds in given for part in stacks.members_or_one(ds) if "prior_x" in part.variables]


def _names(parts: Sequence[xr.Dataset]) -> list[str]:
    """Name the exposures, and refuse what cannot be solved for."""
    if not parts:
        msg = "there is no exposure to solve for; give one dataset or more, of xta.analyze"
        raise ArgumentError(msg)
    names: list[str] = []
    for ds in parts:
        identity.refuse_combined(ds)
        if "star_x" in ds.coords:
            msg = "an exposure is recentered; solve first, then recenter()"
            raise RecenterError(msg)
        identity.require(ds, "target_x", "target_y", step="ds.ta.adjust_wcs()")
        name = str(header(ds).get("filename", f"exposure {len(names) + 1}"))
        if name in names:
            msg = f"{name} is given twice; each exposure counts once"
            raise ArgumentError(msg)
        names.append(name)
    return names


def _star(ds: xr.Dataset) -> Array:
    return np.array([float(ds["target_x"]), float(ds["target_y"])])


def _root(x: float, y: float, corr: float = 0.0) -> Array:
    """Factor a covariance: L with L @ L.T of these errors."""
    return np.array([[x, 0.0], [corr * y, math.sqrt(max(1 - corr**2, 0.0)) * y]])


def _add_predictions(observed: _Observed, parts: Sequence[xr.Dataset], tables: Tables) -> list[dict[str, Array] | None]:
    """Add where the acquisition of its visit puts the star of each exposure; return the errors, by their sources."""
    all_errors = [_prediction_sources(ds, name, tables) for ds, name in zip(parts, observed.names, strict=True)]
    for k, (ds, errors) in enumerate(zip(parts, all_errors, strict=True)):
        if errors is None:
            observed.unused.append(observed.names[k])
            continue
        visit = str(header(ds).get("visit_id", observed.names[k]))
        group = (
            f"{PREDICTION} {visit}" if identity.centroid_kind(ds) != "manual" else f"{PREDICTION} {observed.names[k]}"
        )
        observed.add(observed.names[k], PREDICTION, Observation(_star(ds), {k: np.eye(2)}, errors, group))
    return all_errors


def _prediction_sources(ds: xr.Dataset, name: str, tables: Tables) -> dict[str, Array] | None:
    """Share out the parts of a star's error among what they come from; None where the error is not known."""
    if "error_part" not in ds.dims or not math.isfinite(model.scalar(ds, "target_x_err")):
        return None
    columns = ("error_part", "target_x_err_part", "target_y_err_part", "target_xy_corr_part")
    about = header(ds)
    visit = str(about.get("visit_id", name))
    to = f"{about.get('detector')} {about.get('aperture')}"
    errors: dict[str, Array] = {}
    for part, x, y, corr in zip(*(ds[each].values for each in columns), strict=True):
        if part in budget.OF_THE_MASK or not x * y > 0:
            continue
        root = _root(float(x), float(y), float(corr) if math.isfinite(corr) else 0.0)
        if part == "centroid":
            common = _common_centroid(ds, tables, float(x), float(y))
            errors[f"centroid {identity.centroid_kind(ds)} {in_use(ds)['ta_aperture'].item()}"] = (
                math.sqrt(common) * root
            )
            errors[f"centroid {visit}"] = math.sqrt(1 - common) * root
        elif part == "guiding":  # half in the acquisition, half in the exposure
            errors[f"guiding {visit}"] = errors[f"guiding {name}"] = root / math.sqrt(2)
        elif part == "maneuver":
            errors[f"maneuver {visit}"] = root
        elif part == "filter":
            errors[f"filter {in_use(ds)['ta_filter'].item()} {about.get('filter')} {to}"] = root
        elif part == "way":
            errors[f"way {to}"] = root
        else:
            errors[f"{part} {name}"] = root
    return errors or None


def _common_centroid(ds: xr.Dataset, tables: Tables, x: float, y: float) -> float:
    """Part of the variance of the centroid that all visits share: what is left without noise."""
    kind = identity.centroid_kind(ds)
    accuracy = tables.accuracy(f"centroid_{centroids.NAMES.get(kind, kind)}", header(ds))
    if accuracy is None:
        return 0.0
    ta = in_use(ds)
    place = float(ds["centroid_x"]), float(ds["centroid_y"])
    scale = wcs.pixel_scale(wcs.load(ta["ta_wcs"].item()), *place) / wcs.pixel_scale(sky.the_wcs(ds), *_star(ds))
    return min(1.0, accuracy.x * accuracy.y * scale**2 / (x * y))


def _add_registrations(observed: _Observed, parts: Sequence[xr.Dataset], found: Mapping[tuple[int, int], Pair]) -> None:
    """Add where the star of each exposure is relative to those of others."""
    own = _own_errors(found, len(parts))
    for (a, b), pair in found.items():
        floor = pair.floor / math.sqrt(2)
        sources: dict[str, Array] = {f"registration {a} {b}": math.sqrt(1 - OWN) * np.linalg.cholesky(pair.covariance)}
        for k in (a, b):
            sign = 1 if k == a else -1
            sources[f"image {observed.names[k]}"] = sign * np.diag(np.sqrt(OWN * own[k]))
            sources[f"image floor {observed.names[k]}"] = sign * floor * np.eye(2)
        setting = " ".join(str(header(parts[a]).get(name)) for name in SETTING)
        sources[f"gain {setting}"] = pair.gain * np.array([[pair.dx], [pair.dy]])
        label = f"{observed.names[a]} - {observed.names[b]}"
        value = np.array([pair.dx, pair.dy])
        observed.add(label, REGISTRATION, Observation(value, {a: np.eye(2), b: -np.eye(2)}, sources, label))


def _own_errors(found: Mapping[tuple[int, int], Pair], count: int) -> Array:
    """Share the variances of registrations out between the two exposures of each: shape (count, 2) [pixel**2]."""
    from scipy.optimize import nnls

    own = np.zeros((count, 2))
    if not found:
        return own
    design = np.array([[float(k in pair) for k in range(count)] for pair in found])
    for axis in (0, 1):
        variances = np.array([pair.covariance[axis, axis] for pair in found.values()])
        weight = 1 / variances  # so that none of them is far too small
        own[:, axis], _ = nnls(design * weight[:, None], variances * weight)
        if len(found) == 1:  # one pair does not tell which of the two it is
            own[list(next(iter(found))), axis] = variances[0] / 2
    return own


def _add_templates(observed: _Observed, parts: Sequence[xr.Dataset], template: Any) -> None:
    """Add where a model image puts the star."""
    if template is None:
        return
    for k, ds in enumerate(parts):
        band = str(header(ds).get("filter"))
        image = template.get(band) if isinstance(template, Mapping) else template
        if image is None:
            continue
        star = estimate_center(ds, template=image)
        error = TEMPLATE / 1e3 / float(header(ds)["pixel_scale"])
        sources = {
            f"template {observed.names[k]}": np.diag([float(star["x_sigma"]), float(star["y_sigma"])]),
            f"template of {band}": error * np.eye(2),
        }
        value = np.array([float(star["x"]), float(star["y"])])
        label = f"{TEMPLATE_FIT} {observed.names[k]}"
        observed.add(label, TEMPLATE_FIT, Observation(value, {k: np.eye(2)}, sources, label))


def _add_aims(
    observed: _Observed, parts: Sequence[xr.Dataset], all_errors: Sequence[dict[str, Array] | None], tables: Tables
) -> None:
    """Add where the telescope sent the star of each visit by its own centroid; dithers are not known there."""
    for k, (ds, errors) in enumerate(zip(parts, all_errors, strict=True)):
        x, y = model.scalar(ds, "aim_x"), model.scalar(ds, "aim_y")
        accuracy = tables.accuracy("centroid_oss", header(ds))
        dithered = any(header(ds).get(name, 0.0) for name in ("x_offset", "y_offset"))
        if not math.isfinite(x + y) or errors is None or accuracy is None or dithered:
            continue
        kept = {key: root for key, root in errors.items() if key.startswith(("maneuver", "guiding", "filter"))}
        to = f"{header(ds).get('detector')} {header(ds).get('aperture')}"
        kept[f"aim {to}"] = _root(model.scalar(ds, "aim_x_err"), model.scalar(ds, "aim_y_err"))
        kept[f"onboard centroid {to}"] = np.diag([accuracy.x, accuracy.y])
        kept[f"aim {observed.names[k]}"] = 0.02 * np.eye(2)  # [pixel] noise of the onboard centroid
        label = f"{MASK} {observed.names[k]}"
        observed.add(label, MASK, Observation(np.array([x, y]), {k: np.eye(2)}, kept, label))


def _add_sources(observed: _Observed, parts: Sequence[xr.Dataset], sources: Sources) -> None:
    """Add field sources: relative to the star they turn with the roll, about the star."""
    for name, seen in sources.items():
        if unknown := set(seen) - set(observed.names):
            msg = (
                f"source {name} was seen in {', '.join(sorted(unknown))}; the exposures are {', '.join(observed.names)}"
            )
            raise ArgumentError(msg)
        start: tuple[float, float] | None = None
        for file, (x, y, x_err, y_err) in seen.items():
            k = observed.names.index(file)
            gwcs, star = sky.the_wcs(parts[k]), _star(parts[k])
            if start is None:
                ra, dec = wcs.pixel_to_world(gwcs, [x], [y])
                start = float(ra[0]), float(dec[0])
            expected = np.array([float(value) for value in wcs.world_to_pixel(gwcs, *start)])
            # Where the source is relative to the star, by its unknown offset from the start [arcsec].
            turned = np.linalg.inv(wcs.sky_jacobian(gwcs, *expected))
            matrices = {k: np.eye(2), observed.count: turned}
            value = np.array([x, y]) - (expected - star)
            label = f"{name} in {file}"
            errors = {label: np.diag([float(x_err), float(y_err)])}
            observed.add(label, SOURCE, Observation(value, matrices, errors, label))
        observed.count += 1


def _adjusted(observed: _Observed) -> Result:
    """Solve, and warn of what nothing decides."""
    try:
        result = adjust(observed.rows, observed.count)
    except ArgumentError as error:
        lost = ", ".join(observed.unused) or "some exposures"
        msg = f"{lost}: neither the star's error is known nor does a registration tie it to others ({error})"
        raise MissingError(msg) from error
    for one, other in result.twins:
        what = f"{one} and {other} contradict each other" if other else f"{one} contradicts the others"
        warn(f"{what}, and nothing tells which is wrong; the errors of the joint solution are too small")
    return result


def _table(observed: _Observed, result: Result) -> xr.Dataset:
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
    told = model.attrs("star_covariance", chi2=result.chi2, degrees=result.degrees)
    covariance = result.covariance[: len(axes), : len(axes)]
    variables["star_covariance"] = xr.Variable(("star_axis", "star_axis_"), covariance, told)
    return xr.Dataset(coords=variables)


def _with_star(ds: xr.Dataset, result: Result, k: int) -> xr.Dataset:
    """Move the star of an exposure, and the sky with it."""
    x, y = result.values[k].tolist()
    covariance = result.covariance[2 * k : 2 * k + 2, 2 * k : 2 * k + 2]
    x_err, y_err = np.sqrt(np.diag(covariance)).tolist()
    dx, dy = np.array([x, y]) - _star(ds)
    part = budget.Part(x_err, y_err, "joint solution of the program", float(covariance[0, 1]) / (x_err * y_err))
    bare = ds.drop_vars(
        [name for name, each in ds.variables.items() if "error_part" in each.dims or name in model.SOLVED]
    )
    known = {f"prior_{name}": model.scalar(ds, f"target_{name}") for name in ("x", "y", "x_err", "y_err")}
    before = model.describe(known)
    result_ds = bare.assign_coords(before | model.describe({"target_x": x, "target_y": y}))
    scale = math.nan
    if "wcs" in ds.coords:
        gwcs = sky.the_wcs(ds)
        scale = wcs.pixel_scale(gwcs, x, y)
        result_ds = sky.assign_wcs(result_ds, wcs.dump(wcs.shift(gwcs, -dx, -dy)))
    result_ds = result_ds.assign_coords(budget.coordinates({"joint solution": part}, scale=scale))
    return model.with_history(result_ds, f"solve; star at {x:.6f}, {y:.6f}, moved by {dx:+.4f}, {dy:+.4f}")


def stripped(ds: xr.Dataset) -> xr.Dataset:
    """Take the observations and covariances of all exposures off one of them."""
    return ds.drop_vars([name for name in model.SOLVED if name in ds.variables and not name.startswith("prior")])
