"""Average several exposures of a background field."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from xta import identity, model
from xta.cubes.coadd import coadd
from xta.errors import ArgumentError
from xta.identity import header

__all__ = ["mean_exposure"]


def mean_exposure(exposures: Sequence[xr.Dataset], *, method: str = "mean") -> xr.Dataset:
    """Combine all integrations of several exposures into one image.

    Parameters
    ----------
    exposures : sequence of xarray.Dataset
        Exposures with the same pixels: cubes (integration, y, x) or images (y, x).
    method : "mean", "median" or "sigma_clip"
        As in `xta.cubes.coadd.coadd`.

    Returns
    -------
    xarray.Dataset
        The images (y, x), with the identity and WCS of the first exposure; ``filename`` lists all of them.

    Raises
    ------
    ArgumentError
        If there is no exposure, or the exposures differ in pixels, units or instrument.

    Notes
    -----
    Each integration has the same weight, so an exposure with more integrations has a larger weight. An image that is
    the mean of several integrations counts as one.
    """
    if not exposures:
        msg = "there is no exposure to combine; give at least one dataset"
        raise ArgumentError(msg)
    first = exposures[0]
    names = [name for name in model.IMAGES if all(name in ds for ds in exposures)]
    for ds in exposures:
        identity.require(ds, "sci", "x", "y", step="xta.open_exposure")
        _check_alike(first, ds)
    cubes = [ds[names].reset_coords(drop=True).drop_vars("integration", errors="ignore") for ds in exposures]
    cubes = [cube if "integration" in cube.dims else cube.expand_dims("integration") for cube in cubes]
    cube = xr.concat(cubes, "integration", join="override", combine_attrs="override")
    scalars = {name: variable for name, variable in first.variables.items() if name in first.coords}
    scalars = {name: variable for name, variable in scalars.items() if not variable.ndim}
    cube = cube.assign_coords(scalars).assign_coords(integration=np.arange(1, cube.sizes["integration"] + 1))
    files = ", ".join(str(header(ds).get("filename", "?")) for ds in exposures)
    cube = cube.assign_coords(filename=((), files, model.attrs("filename")))
    cube.attrs = {name: value for name, value in first.attrs.items() if name != "filename"}
    return coadd(cube, method=method)


def _check_alike(first: xr.Dataset, ds: xr.Dataset) -> None:
    """Refuse an exposure with other pixels or another unit."""
    ours, theirs = ([d[axis].values for axis in ("y", "x")] for d in (first, ds))
    facts = {name: [header(d).get(name) for d in (first, ds)] for name in ("instrument", "detector")}
    facts["unit"] = [d["sci"].attrs.get("units") for d in (first, ds)]
    different = [name for name, (one, other) in facts.items() if one != other]
    if not all(map(np.array_equal, ours, theirs)):
        different.append("pixels")
    if different:
        names = [str(header(d).get("filename", "an exposure")) for d in (first, ds)]
        msg = f"{names[1]} cannot be combined with {names[0]}: they differ in {', '.join(different)}; leave one out"
        raise ArgumentError(msg)
