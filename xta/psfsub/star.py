"""Combine the star of several exposures that become one image: its error with north up, and its identity."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from xta import model
from xta.acquisition.budget import by_source
from xta.geometry import sky, wcs
from xta.identity import header
from xta.psfsub.north import Array

__all__ = ["common_identity", "covariance", "errors"]

CARRIED = (
    *("visit_id", "instrument", "detector", "channel", "module", "filter", "pupil", "coronagraphic_mask", "exp_type"),
    *("aperture", "subarray", "target_name"),
)
"""Coordinates of the exposures that are valid for the image if all exposures agree."""


def common_identity(exposures: Sequence[xr.Dataset]) -> dict[str, xr.Variable]:
    """Collect the coordinates that identify exposures and are the same in all of them."""
    first, *others = (header(ds) for ds in exposures)
    same = [name for name in CARRIED if name in first and all(each.get(name) == first[name] for each in others)]
    return model.describe({name: first[name] for name in same})


def covariance(exposures: Sequence[xr.Dataset], weights: Sequence[float]) -> Array:
    """Compute the covariance of the star's error in the mean of exposures, to the east and to the north [arcsec^2].

    Each exposure has the star at the label (0, 0), a WCS, and a weight. What the exposures share, such as the shift by
    the filter, turns with the detector; see `xta.acquisition.budget.by_source`. NaN where an error is not known. Shape
    (2, 2).
    """
    roots = [_roots(ds) for ds in exposures]
    share = np.asarray(weights, dtype=float) / np.sum(weights)
    total = np.zeros((2, 2))
    for source in set().union(*roots):
        mean = sum(part * root[source] for part, root in zip(share, roots, strict=True) if source in root)
        total += mean @ mean.T
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
    """Take roots of the covariances of the star's error by their sources, on the sky [arcsec]; empty if not known."""
    x, y, corr = (model.scalar(ds, f"target_{name}") for name in ("x_err", "y_err", "xy_corr"))
    total = np.array([[x * x, corr * x * y], [corr * x * y, y * y]])
    if not np.isfinite(total).all():
        return {}
    roots = by_source(ds) or {}
    # Another source of the total, such as a star that was set by hand, has other parts than those that are listed.
    if not np.allclose(sum(root @ root.T for root in roots.values()), total, rtol=1e-3):
        values, vectors = np.linalg.eigh(total)
        roots = {"": vectors * np.sqrt(np.clip(values, 0, None))}
    jacobian = wcs.sky_jacobian(sky.the_wcs(ds), 0.0, 0.0)
    return {source: np.asarray(jacobian @ root) for source, root in roots.items()}
