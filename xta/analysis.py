"""The whole way in one call: open an exposure, attach its acquisition, measure the offset, adjust the WCS."""

import os
from typing import Any

import xarray as xr

from xta.acquisition import attach
from xta.adjust import adjust_wcs
from xta.backend import open_exposure
from xta.offset import Centroid, compute_offset

__all__ = ["analyze"]


def analyze(
    calints: Any,
    *,
    acquisition: Any = None,
    oss: Any = None,
    targ_acq: Any = None,
    centroid: Centroid = "auto",
    offline: bool = False,
    chunks: Any = None,
) -> xr.Dataset:
    """Find the star behind the mask of an exposure.

    Parameters
    ----------
    calints : path, astropy.io.fits.HDUList or xarray.Dataset
        The science (or TA) exposure.
    acquisition, oss, targ_acq, offline : optional
        As in `attach`: by default what lies beside the file, in the cache or in the archive.
    centroid : "auto", "oss", "image" or (x, y)
        As in `compute_offset`.
    chunks : optional
        As in `open_exposure`.

    Returns
    -------
    xarray.Dataset
        The exposure with its acquisition, the offset, the corrected ``wcs`` and the star's pixel
        ``target_x``, ``target_y``; see `compute_offset` and `adjust_wcs`.

    Raises
    ------
    XtaError
        Of a kind that says what was found and what to do, see the steps.
    """
    if isinstance(calints, os.PathLike | str):
        calints = os.fspath(calints)
    ds = calints if isinstance(calints, xr.Dataset) else open_exposure(calints, chunks=chunks)
    ds = attach(ds, acquisition, oss=oss, targ_acq=targ_acq, offline=offline)
    return adjust_wcs(compute_offset(ds, centroid=centroid))
