"""Where the marks of a picture are, and the local scale and directions, from what a dataset holds."""

import math
from contextlib import suppress
from typing import Any, TypeAlias

import numpy as np
import xarray as xr

from xta.acquisition.offset import target_position
from xta.errors import AcquisitionError, WCSError
from xta.geometry import sky, sphere, wcs

__all__ = ["Place", "Places", "centroid", "in_acquisition", "in_science", "known", "scalar"]

Place: TypeAlias = tuple[float, float]
Places: TypeAlias = dict[str, Place]


CENTROIDS = ("image centroid", "centroid by hand", "OSS centroid")
"""Marks that are a measurement of the star, the one in use first."""


def centroid(places: Places) -> str | None:
    """Name the mark that tells where the star was."""
    return next((label for label in CENTROIDS if label in places), None)


def scalar(ds: xr.Dataset, name: str) -> float:
    """Give a scalar coordinate, NaN where there is none."""
    return float(ds[name]) if name in ds.coords and not ds[name].ndim else math.nan


def _pair(ds: xr.Dataset, name: str) -> Place:
    return scalar(ds, f"{name}_x"), scalar(ds, f"{name}_y")


def known(places: Places) -> Places:
    """Leave out the places that are not known."""
    return {label: place for label, place in places.items() if np.isfinite(place).all()}


def _centroids(ds: xr.Dataset, k: int) -> Places:
    """Onboard centroid of a TA exposure, and the one in use where that is another."""
    used = k == int(ds.attrs["ta_in_use"])
    if used and "oss_x" in ds.attrs:
        onboard = float(ds.attrs["oss_x"]), float(ds.attrs["oss_y"])
    elif int(ds["ta_oss_converged"].values[k]) == 0:
        onboard = math.nan, math.nan  # one that did not converge is no measurement
    else:
        onboard = float(ds["ta_oss_x"].values[k]), float(ds["ta_oss_y"].values[k])
    places = {"OSS centroid": onboard}
    source = str(ds.attrs.get("centroid_source", ""))
    if used and "centroid_x" in ds.coords and source.startswith(("TA image", "given by hand")):
        places["image centroid" if source.startswith("TA image") else "centroid by hand"] = _pair(ds, "centroid")
    return places


def in_acquisition(ds: xr.Dataset, k: int) -> Places:
    """Give the marks of TA exposure `k` [0-based pixel of its readout].

    For the exposure in use these are the results of `compute_offset` and `adjust_wcs`; the target in another
    exposure is put through that exposure's own WCS, and through the WCS with the same adjustment.
    """
    places = {"SIAF reference": (float(ds["ta_intended_x"].values[k]), float(ds["ta_intended_y"].values[k]))}
    if k == int(ds.attrs["ta_in_use"]):
        places["WCS"] = _pair(ds, "ta_target")
        places["WCS adjusted"] = tuple(np.add(_pair(ds, "centroid"), _pair(ds, "residual")))
    elif "centroid_ra" in ds.coords:
        places |= _in_other(ds, str(ds["ta_wcs"].values[k]))
    return known(places | _centroids(ds, k))


def _in_other(ds: xr.Dataset, text: str) -> Places:
    here = scalar(ds, "centroid_ra"), scalar(ds, "centroid_dec")
    target = here[0] + scalar(ds, "offset_ra") / 3600, here[1] + scalar(ds, "offset_dec") / 3600
    gwcs = wcs.load(text)
    places = {"WCS": _through(gwcs, target)}
    if "residual_x" in ds.coords:
        places["WCS adjusted"] = _through(wcs.adjust(gwcs, sphere.rotation_between(*here, *target)), target)
    return places


def _through(gwcs: Any, target: Place) -> Place:
    try:
        x, y = wcs.world_to_pixel(gwcs, *target)
    except WCSError:  # far off the array: there is no pixel to mark
        return math.nan, math.nan
    return float(x), float(y)


def in_science(ds: xr.Dataset) -> Places:
    """Give the marks of a science exposure, in its labels [pixel]."""
    places = {"SIAF reference": _pair(ds, "mask")}
    original = "wcs_original" if "wcs_original" in ds.coords else "wcs"
    if original in ds.coords:
        target = scalar(ds, "target_ra"), scalar(ds, "target_dec")
        with suppress(AcquisitionError):  # a target without a position has no mark
            target = target if math.isfinite(target[0]) else target_position(ds)
            places["WCS"] = _through(sky.the_wcs(ds, original), target)
    label = "WCS adjusted" if "wcs_original" in ds.coords else "star"
    places[label] = _pair(ds, "target")
    return known(places)
