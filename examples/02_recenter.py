# %% [markdown]
# # Recentering
#
# `recenter` moves the star to the central pixel with a single interpolation. It also updates errors, flags, labels
# and the WCS.

# %%
import tempfile
from pathlib import Path

import numpy as np
import xarray as xr

import xta
from xta import datasets

folder = Path(tempfile.mkdtemp())
visit = datasets.make_visit(folder, mode="nircam", integrations=4)
sci = xta.analyze(visit.science[0], chunks={})

# %% [markdown]
# With `chunks={}`, the images are dask arrays of one integration each. Nothing is computed yet, and the cube can be
# larger than the memory.

# %%
cube = sci.ta.recenter()
cube

# %%
xta.to_netcdf(cube, folder / "centered.nc")

# %% [markdown]
# The labels `x` and `y` are now pixel offsets from the star. The file also contains the separation and the position
# angle of each pixel. You can read it without `xta`; with `xta`, all methods work on it.

# %%
cube = xr.open_dataset(folder / "centered.nc")
ring = cube.sci.where((cube.separation > 0.5) & (cube.separation < 1.0)).mean("integration")
print(f"median between 0.5 and 1 arcsec: {float(ring.median()):.3f} {cube.sci.units}")
print(cube.ta.world_to_pixel(float(cube.target_ra), float(cube.target_dec)))

# %% [markdown]
# Compare the noise after the different interpolations. The smoother ones lower the noise and correlate neighboring
# pixels.

# %%
corner = {"x": slice(-140, -100), "y": slice(-140, -100)}
for method in ("fourier", "spline", "lanczos", "integer"):
    part = sci.ta.recenter(method=method).sel(corner)
    print(f"{method:8} noise {float(part.sci.std()):.4f}, predicted {np.sqrt(float((part.err**2).mean())):.4f}")
