"""Collect the observations of the stars of a program, with the errors that observations share.

Each function adds the observations of one kind to those of a program; `xta.estimates.solve` solves for the stars.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xta import identity, model
from xta.acquisition import budget
from xta.acquisition.instrument import Tables
from xta.errors import ArgumentError
from xta.estimates.adjustment import Observation
from xta.estimates.registration import SETTING, Pair
from xta.estimates.sources import Sources
from xta.estimates.template import estimate_center
from xta.geometry import sky, wcs
from xta.identity import header

__all__ = [
    "Errors",
    "Observed",
    "add_aims",
    "add_maneuvers",
    "add_predictions",
    "add_registrations",
    "add_sources",
    "add_templates",
    "star_pixel",
]

Array = NDArray[np.float64]
Errors = Sequence[dict[str, Array] | None]
"""For each exposure, the errors of its prediction by their sources; None if they are not known."""

OWN = 0.9
"""Share of the variance of a registration that belongs to the images of the two exposures, and so to all registrations
of each; the rest belongs to this one alone."""

TEMPLATE = 6.0
"""Standard error of a model image of the star, one axis [mas]; fits of STPSF agree with other centers to about this."""

PREDICTION, REGISTRATION, TEMPLATE_FIT, MASK, SOURCE = "prediction", "registration", "template", "mask", "source"
MANEUVER = "maneuver"


@dataclass
class Observed:
    """The observations of a program, with the label of each."""

    names: list[str]
    rows: list[Observation] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    count: int = 0
    """Number of unknowns: the stars, then the field sources."""

    def add(self, label: str, kind: str, observation: Observation) -> None:
        """Add an observation with its label and kind."""
        self.labels.append(label)
        self.kinds.append(kind)
        self.rows.append(observation)


def star_pixel(ds: xr.Dataset) -> Array:
    """Read the star of an exposure, x and y [pixel]."""
    return np.array([float(ds["target_x"]), float(ds["target_y"])])


def add_predictions(observed: Observed, parts: Sequence[xr.Dataset], tables: Tables) -> list[dict[str, Array] | None]:
    """Add the star of each exposure by the acquisition of its visit; return the errors by their sources."""
    all_errors = [budget.by_source(ds, tables=tables) for ds in parts]
    for k, (ds, errors) in enumerate(zip(parts, all_errors, strict=True)):
        if errors is None:
            observed.unused.append(observed.names[k])
            continue
        name = observed.names[k]
        shared = name if identity.centroid_kind(ds) == "manual" else header(ds).get("visit_id", name)
        group = f"{PREDICTION} {shared}"
        observed.add(name, PREDICTION, Observation(star_pixel(ds), {k: np.eye(2)}, errors, group))
    return all_errors


def add_registrations(observed: Observed, parts: Sequence[xr.Dataset], found: Mapping[tuple[int, int], Pair]) -> None:
    """Add the star of each exposure relative to those of others."""
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
    """Divide the variances of registrations between the two exposures of each: shape (count, 2) [pixel**2]."""
    from scipy.optimize import nnls

    own = np.zeros((count, 2))
    if not found:
        return own
    design = np.array([[float(k in pair) for k in range(count)] for pair in found])
    for axis in (0, 1):
        variances = np.array([pair.covariance[axis, axis] for pair in found.values()])
        weight = 1 / variances  # so that none of them is far too small
        own[:, axis], _ = nnls(design * weight[:, None], variances * weight)
        if len(found) == 1:  # one pair does not determine the variance of each exposure
            own[list(next(iter(found))), axis] = variances[0] / 2
    return own


def add_templates(observed: Observed, parts: Sequence[xr.Dataset], template: Any) -> None:
    """Add the star by a model image."""
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


def add_maneuvers(
    observed: Observed,
    parts: Sequence[xr.Dataset],
    all_errors: Errors,
    maneuvers: Mapping[str, xr.Dataset],
    tables: Tables,
) -> None:
    """Add measurements of the maneuvers themselves, which constrain the errors of predictions, not stars directly."""
    for visit, measured in maneuvers.items():
        source, rows = f"maneuver {visit}", zip(parts, all_errors, strict=True)
        ds, errors = next(((ds, errors) for ds, errors in rows if errors and source in errors), (None, None))
        if ds is None or errors is None:
            visits = ", ".join(sorted({str(header(ds).get("visit_id")) for ds in parts}))
            msg = f"the maneuver of visit {visit} is given, but no exposure depends on it; the visits are {visits}"
            raise ArgumentError(msg)
        if (detector := header(ds).get("detector")) != measured.attrs["detector"]:
            msg = f"the maneuver of visit {visit} was measured on {measured.attrs['detector']}, not on {detector}"
            raise ArgumentError(msg)
        # Field sources measure the sum of maneuver and way; the prediction has already been corrected for the way.
        way = [
            float(ds[f"correction_{axis}"].sel(correction="way")) if "way" in ds.get("correction", []) else 0.0
            for axis in "xy"
        ]
        shared = {name: root for name, root in errors.items() if name == source or name.startswith("way ")}
        own = [float(measured[f"d{axis}_err"]) for axis in "xy"]
        # The distortion between the sources is as uncertain as that of the way. Each of the two images adds guiding.
        for quantity, times in (("way", 1), ("guiding", 2)):
            if (accuracy := tables.accuracy(quantity, header(ds))) is not None:
                pixel = math.sqrt(times) * accuracy.x / 1e3 / float(header(ds)["pixel_scale"])
                own = [math.hypot(error, pixel) for error in own]
        value = np.array(way) - [float(measured["dx"]), float(measured["dy"])]
        label = f"{MANEUVER} {visit}"
        observed.add(label, MANEUVER, Observation(value, {}, shared | {f"confirmation {visit}": np.diag(own)}, label))


def add_aims(observed: Observed, parts: Sequence[xr.Dataset], all_errors: Errors, tables: Tables) -> None:
    """Add the place that the telescope aimed at by its own centroid; leave out dithered exposures."""
    for k, (ds, errors) in enumerate(zip(parts, all_errors, strict=True)):
        x, y = model.scalar(ds, "aim_x"), model.scalar(ds, "aim_y")
        accuracy = tables.accuracy("centroid_oss", header(ds))
        dithered = any(header(ds).get(name, 0.0) for name in ("x_offset", "y_offset"))
        if not math.isfinite(x + y) or errors is None or accuracy is None or dithered:
            continue
        kept = {key: root for key, root in errors.items() if key.startswith(("maneuver", "guiding", "filter"))}
        to = f"{header(ds).get('detector')} {header(ds).get('aperture')}"
        kept[f"aim {to}"] = np.diag([model.scalar(ds, "aim_x_err"), model.scalar(ds, "aim_y_err")])
        kept[f"onboard centroid {to}"] = np.diag([accuracy.x, accuracy.y])
        kept[f"aim {observed.names[k]}"] = 0.02 * np.eye(2)  # [pixel] noise of the onboard centroid
        label = f"{MASK} {observed.names[k]}"
        observed.add(label, MASK, Observation(np.array([x, y]), {k: np.eye(2)}, kept, label))


def add_sources(observed: Observed, parts: Sequence[xr.Dataset], sources: Sources) -> None:
    """Add field sources, which turn about the star with the roll."""
    for name, seen in sources.items():
        if unknown := set(seen) - set(observed.names):
            msg = (
                f"source {name} was seen in {', '.join(sorted(unknown))}; the exposures are {', '.join(observed.names)}"
            )
            raise ArgumentError(msg)
        start: tuple[float, float] | None = None
        for file, (x, y, x_err, y_err) in seen.items():
            k = observed.names.index(file)
            gwcs, star = sky.the_wcs(parts[k]), star_pixel(parts[k])
            if start is None:
                ra, dec = wcs.pixel_to_world(gwcs, [x], [y])
                start = float(ra[0]), float(dec[0])
            expected = np.array([float(value) for value in wcs.world_to_pixel(gwcs, *start)])
            # The place of the source relative to the star depends on its unknown offset from the start [arcsec].
            turned = np.linalg.inv(wcs.sky_jacobian(gwcs, *expected))
            matrices = {k: np.eye(2), observed.count: turned}
            value = np.array([x, y]) - (expected - star)
            label = f"{name} in {file}"
            errors = {label: np.diag([float(x_err), float(y_err)])}
            observed.add(label, SOURCE, Observation(value, matrices, errors, label))
        observed.count += 1
