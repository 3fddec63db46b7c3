"""What is known of the star of several exposures that become one image: its error with north up, and its identity."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from xta import model
from xta.acquisition.budget import OF_THE_MASK
from xta.geometry import sky, wcs
from xta.identity import header
from xta.psfsub.north import Array

__all__ = ["common_identity", "covariance", "errors"]

CARRIED = (
    *("visit_id", "instrument", "detector", "channel", "module", "filter", "pupil", "coronagraphic_mask", "exp_type"),
    *("aperture", "subarray", "target_name"),
)
"""Coordinates of the exposures that hold for what was made of them, where all agree."""

OF_ONE_EXPOSURE = frozenset({"guiding", "inverse"})
"""Parts of the star's error that differ from exposure to exposure."""

OF_ONE_VISIT = frozenset({"maneuver"})
"""Parts that the exposures of a visit share; all others are taken to be the same on the detector in all visits."""


def common_identity(exposures: Sequence[xr.Dataset]) -> dict[str, xr.Variable]:
    """Collect the coordinates that identify exposures and are the same in all of them."""
    first, *others = (header(ds) for ds in exposures)
    same = [name for name in CARRIED if name in first and all(each.get(name) == first[name] for each in others)]
    return model.describe({name: first[name] for name in same})


def covariance(exposures: Sequence[xr.Dataset], weights: Sequence[float]) -> Array:
    """Compute the covariance of the star's error in the mean of exposures, to the east and to the north [arcsec^2].

    Each exposure has the star at the label (0, 0), a WCS, and a weight. What the exposures share, such as the shift by
    the filter, turns with the detector; see `OF_ONE_VISIT`. NaN where an error is not known. Shape (2, 2).
    """
    roots = [_roots(ds) for ds in exposures]
    share = np.asarray(weights, dtype=float) / np.sum(weights)
    total = np.zeros((2, 2))
    for k, one in enumerate(roots):
        for m, other in enumerate(roots):
            for part in one.keys() & other.keys():
                if k == m or _shared(part, exposures[k], exposures[m]):
                    total += share[k] * share[m] * one[part] @ other[part].T
    return total if all(roots) else np.full((2, 2), np.nan)


def errors(exposures: Sequence[xr.Dataset], weights: Sequence[float], scale: float) -> dict[str, float]:
    """Compute ``target_x_err``, ``target_y_err`` and ``target_xy_corr`` on a grid of `scale` arcsec with north up.

    Empty where the error of an exposure is not known.
    """
    known = covariance(exposures, weights) / scale**2
    if not (np.isfinite(known).all() and min(np.diag(known)) > 0):
        return {}
    x, y = np.sqrt(np.diag(known)).tolist()
    return {"target_x_err": x, "target_y_err": y, "target_xy_corr": float(-known[0, 1] / (x * y))}  # x is to the west


def _roots(ds: xr.Dataset) -> dict[str, Array]:
    """Take roots of the covariances of the parts of the star's error, on the sky [arcsec]; the errors are R R^T."""
    total = (model.scalar(ds, f"target_{name}") for name in ("x_err", "y_err", "xy_corr"))
    parts: dict[str, Array] = {"": _matrix(*total)}
    names = [f"target_{name}_part" for name in ("x_err", "y_err", "xy_corr")]
    if set(names) <= set(ds.variables):
        rows = (ds[name].values for name in names)
        named = zip(ds["error_part"].values.tolist(), *rows, strict=True)
        split = {str(name): _matrix(*numbers) for name, *numbers in named if name not in OF_THE_MASK}
        # Another source of the total, such as a joint solution, has other parts than those that are listed.
        if np.allclose(sum(split.values()), parts[""], rtol=1e-3):
            parts = split
    if not np.isfinite(list(parts.values())).all():
        return {}
    jacobian = wcs.sky_jacobian(sky.the_wcs(ds), 0.0, 0.0)
    return {name: jacobian @ _root(matrix) for name, matrix in parts.items()}


def _shared(part: str, one: xr.Dataset, other: xr.Dataset) -> bool:
    """Tell whether two exposures have the same error of a part."""
    if part in OF_ONE_VISIT:
        return bool(header(one).get("visit_id") == header(other).get("visit_id"))
    return part not in OF_ONE_EXPOSURE


def _matrix(x: float, y: float, correlation: float) -> Array:
    return np.array([[x * x, correlation * x * y], [correlation * x * y, y * y]])


def _root(matrix: Array) -> Array:
    """Take the symmetric square root: for equal matrices of two exposures the cross term is the matrix itself."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray(vectors * np.sqrt(np.clip(values, 0, None)) @ vectors.T)
