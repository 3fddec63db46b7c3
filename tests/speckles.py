"""Small recentered exposures of speckles, for tests of PSF subtraction."""

import numpy as np
import xarray as xr

from xta import model
from xta.geometry import sky, wcs


def make_exposure(
    build_wcs, seed=0, *, size=41, integrations=2, filename=None, centered=True, roll=75.0, image=None, **where
):
    """Make an exposure: the same star, other noise with each seed."""
    n = size + 2
    gwcs = build_wcs(roll=roll, size=n, **where)
    y, x = np.indices((n, n)) - n // 2
    star = np.exp(-np.hypot(x, y) / 6) * (1 + 0.5 * np.random.default_rng(1).standard_normal((n, n)))
    noise = 0.05 * np.random.default_rng([2, seed]).standard_normal((integrations, n, n))
    sci = (star if image is None else image) + (noise if image is None else 0 * noise)
    attrs = {
        "instrument": "NIRCAM",
        "detector": "NRCALONG",
        "filter": "F444W",
        "filename": filename or f"f{seed}.fits",
    }
    dims = ("integration", "y", "x")
    images = {"sci": (dims, sci, {"units": "MJy/sr"}), "dq": (dims, np.zeros(sci.shape, dtype=np.uint32))}
    ds = xr.Dataset(images, attrs=attrs)
    ds = ds.assign_coords(x=np.arange(n), y=np.arange(n), integration=np.arange(1, integrations + 1))
    ds = sky.assign_wcs(ds.assign_coords(model.describe({"target_x": n // 2, "target_y": n // 2})), wcs.dump(gwcs))
    return ds.ta.recenter(method="integer", size=size) if centered else ds


def point_source(size=15, sigma=0.95):
    """Image a point source of flux 1, its center on the central pixel."""
    y, x = np.indices((size, size)) - size // 2
    image = np.exp(-(x**2 + y**2) / (2 * sigma**2))
    return image / image.sum()
