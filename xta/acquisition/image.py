"""Measure the star in an attached TA image, and check the pixels near it."""

import math
from dataclasses import replace
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import xarray as xr

from xta import identity, model
from xta.errors import CentroidError, MissingError, counted
from xta.geometry import siaf
from xta.identity import header
from xta.images import dq
from xta.images.centroid import ImageCentroid, floating_window

__all__ = ["WINDOW", "cutout", "flagged", "image_centroid", "in_use", "pixel_flags", "search_region"]

WINDOW = 9
"""Width of the window around the star [pixel]."""

LARGEST_REGION = 128
"""Largest width of the search region [pixel]; a TA aperture that is larger is a whole array."""

Key: TypeAlias = tuple[bytes, str, tuple[int, ...]]

HOT = 4.0  # a pixel that exceeds its brightest neighbor by this factor is not a star


def in_use(ds: xr.Dataset, exposure: int | None = None) -> xr.Dataset:
    """Select one of the attached TA exposures by its label ``ta_exposure``, by default the one in use.

    The TA exposures may be any selection, in any order. The result has no dimension ``ta_exposure``, and its
    scalar coordinates ``ta_...`` are in memory. A result may be given again, which takes no time.
    """
    identity.require(ds, "ta_wcs", "ta_exposure", step="ds.ta.attach()")
    label = header(ds).get("ta_in_use") if exposure is None else exposure
    known = ds.variables["ta_exposure"]
    labels = np.atleast_1d(known.values).tolist()
    if label not in labels:
        msg = (
            f"TA exposure {label} is not in the dataset (it has {', '.join(map(str, labels)) or 'none'}): "
            "a selection has dropped it, or the coordinate ta_in_use; attach the acquisition again"
        )
        raise MissingError(msg)
    selected = ds.isel(dict.fromkeys(known.dims, labels.index(label))) if known.dims else ds
    facts = {name: variable for name, variable in selected.variables.items() if str(name).startswith("ta_")}
    lazy = {name: variable for name, variable in facts.items() if not variable.ndim and not variable._in_memory}
    return identity.read_coords(selected, lazy)


def image_centroid(ds: xr.Dataset, *, exposure: int | None = None, window: int = WINDOW) -> ImageCentroid:
    """Centroid the star in an attached TA image as the onboard software does, in 0-based pixels of the TA readout.

    DO_NOT_USE and non-finite pixels are not used. If the TA aperture is a region of a larger readout (MIRI, full
    arrays), the search is limited to it.
    """
    identity.require(ds, "ta_sci", step="ds.ta.attach()")
    ta = in_use(ds, exposure)
    region = search_region(ta, exposure)
    image, flags, err = (_within(ta, name, region) for name in ("ta_sci", "ta_dq", "ta_err"))
    bad = dq.bad_pixels(image, flags)
    try:
        star = _measured(_key(image), _key(bad), None if err is None else _key(err), window)
    except CentroidError as error:
        msg = f"{ta['ta_filename'].item()}: {error}"
        raise CentroidError(msg) from error
    rows, columns = region
    x, y = star.x + (columns.start or 0), star.y + (rows.start or 0)
    left, bottom = (float(ta.variables[name].values[0]) for name in ("ta_x", "ta_y"))
    return replace(star, x=x + left, y=y + bottom)


def _within(ta: xr.Dataset, name: str, region: tuple[slice, slice]) -> Any:
    """Cut a region out of an image of one TA exposure (ta_y, ta_x); None if there is no such image."""
    return ta.variables[name].transpose(..., "ta_y", "ta_x").values[region] if name in ta else None


def _key(array: Any) -> Key:
    """Convert an array to a hashable key: its bytes, type and shape."""
    return array.tobytes(), array.dtype.str, array.shape


def _array(data: bytes, dtype: str, shape: tuple[int, ...]) -> Any:
    return np.frombuffer(data, dtype).reshape(shape)


@lru_cache(maxsize=32)
def _measured(image: Key, bad: Key, err: Key | None, window: int) -> ImageCentroid:
    """Centroid a star; cached, since offset, checks, budget and estimates measure the same pixels."""
    return floating_window(_array(*image), bad=_array(*bad), err=_array(*err) if err else None, window=window)


def search_region(ds: xr.Dataset, exposure: int | None = None) -> tuple[slice, slice]:
    """Compute the rows and columns of the TA region, of the size of the TA aperture around the intended position."""
    ta = in_use(ds, exposure)
    center = dict(zip("xy", model.place(ta, "ta_intended"), strict=True))
    if not all(math.isfinite(value) for value in center.values()):
        return slice(None), slice(None)
    identity.require(ta, "instrument", "ta_aperture", step="xta.open_exposure")
    ap = siaf.aperture(header(ta)["instrument"], model.text(ta, "ta_aperture"), header(ta).get("prd_version"))
    result = {}
    for dim, size in (("x", ap.XSciSize), ("y", ap.YSciSize)):
        half = min(size or LARGEST_REGION, LARGEST_REGION) / 2
        labels = ta.variables[f"ta_{dim}"].values
        inside = np.flatnonzero(np.abs(labels - center[dim]) <= half)
        result[dim] = slice(int(inside[0]), int(inside[-1]) + 1) if inside.size else slice(None)
    return result["y"], result["x"]


def cutout(ds: xr.Dataset, name: str, x: float, y: float) -> Any:
    """Cut a window around a pixel out of an image of one TA exposure (ta_y, ta_x); None if there is no such image."""
    if name not in ds:
        return None
    # Leave out the scalar coordinates: there are a hundred, and each would be selected, too.
    labels, half = {dim: ds.variables[dim].values for dim in ("ta_y", "ta_x")}, WINDOW // 2 + 0.5
    near = {dim: np.flatnonzero(abs(labels[dim] - center) <= half) for dim, center in (("ta_y", y), ("ta_x", x))}
    image = ds.variables[name].transpose(*labels).isel(near)
    return xr.DataArray(image, {dim: labels[dim][which] for dim, which in near.items()}, name=name)


def flagged(ds: xr.Dataset, x: float, y: float) -> list[str]:
    """Describe how many pixels near a pixel of one TA exposure are bad or saturated; an empty list if none is."""
    return _flagged(*(cutout(ds, name, x, y) for name in ("ta_sci", "ta_dq")))


def _flagged(light: Any, flags: Any) -> list[str]:
    bad = dq.bad_pixels(light.values, None if flags is None else flags.values)
    wrong = [f"{counted(int(bad.sum()), 'bad pixel')} in the window"] if bad.any() else []
    if flags is not None and (number := int(np.count_nonzero(flags.values & np.uint32(dq.SATURATED)))):
        wrong.append(counted(number, "saturated pixel"))
    return wrong


def pixel_flags(ds: xr.Dataset, star: ImageCentroid) -> list[str]:
    """Describe what is wrong with the pixels of one TA exposure near the star; an empty list if nothing is."""
    light, flags = (cutout(ds, name, star.x, star.y) for name in ("ta_sci", "ta_dq"))
    wrong = _flagged(light, flags)
    # A hot pixel is far brighter than its eight neighbors, and brighter than the noise of the background.
    image = light.values - star.background
    bad = dq.bad_pixels(image, None if flags is None else flags.values)
    padded = np.pad(np.where(bad, 0.0, image), 1)
    rows, columns = image.shape
    shifts = [(j, i) for j in range(3) for i in range(3) if (j, i) != (1, 1)]
    brightest = np.max([padded[j : j + rows, i : i + columns] for j, i in shifts], axis=0)
    hot = (padded[1:-1, 1:-1] > HOT * np.maximum(brightest, 0.0)) & (padded[1:-1, 1:-1] > 0.1 * star.peak)
    for j, i in np.argwhere(hot):
        wrong.append(f"pixel ({int(light['ta_x'][i])}, {int(light['ta_y'][j])}) of the TA image looks hot")
    return wrong
