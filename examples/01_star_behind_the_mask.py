# %% [markdown]
# # The star behind the mask
#
# This example uses a sample visit in place of your own files: a NIRCam coronagraphic exposure, the target acquisition
# before it, and the event log of the visit. It needs no network.

# %%
import tempfile

import xarray as xr

import xta
from xta import datasets

visit = datasets.make_visit(tempfile.mkdtemp(), mode="nircam", integrations=2)
science, acquisition, log = visit.science[0], visit.ta[0], visit.oss_log

# %% [markdown]
# Open the exposure as a labeled dataset. Its images are read when they are used. `x` and `y` are 0-based pixels of
# the exposure's own readout.

# %%
sci = xr.open_dataset(science, engine="jwst")
sci

# %% [markdown]
# Attach the acquisition, measure the pointing error, and correct the WCS. The star's pixel is `target_x`, `target_y`.

# %%
sci = sci.ta.attach(acquisition, oss=log)
sci = sci.ta.compute_offset()
sci = sci.ta.adjust_wcs()
print(f"offset, WCS minus centroid: {float(sci.offset_x):.3f}, {float(sci.offset_y):.3f} px")
print(f"star behind the mask: {float(sci.target_x):.3f}, {float(sci.target_y):.3f} px")
print(f"standard error:       {float(sci.target_x_err):.3f}, {float(sci.target_y_err):.3f} px")

# %% [markdown]
# The true position of the star in the sample is known. The sample has the errors of a real visit that its WCS does
# not contain: the filter shifts the star, the move to the mask has an error, and the onboard centroid is not exactly
# the star. The result and the truth should therefore agree within a few standard errors.

# %%
truth = visit.truth.sel(file=science.name)
print(f"truth:                {float(truth.star_x):.3f}, {float(truth.star_y):.3f} px")

# %% [markdown]
# `analyze` does the three steps in one call. If you do not pass `acquisition=` and `oss=`, it looks for the files in
# the folder of the exposure, then in the cache, and then in the archive.

# %%
same = xta.analyze(science)
assert same.target_x.item() == sci.target_x.item()

# %% [markdown]
# The star keeps its pixel in a crop, and every pixel has its position on the sky.

# %%
crop = sci.sel(x=slice(120, 180), y=slice(140, 200))
print(crop.ta.sel_sky(float(sci.target_ra), float(sci.target_dec)).sci.values)

# %%
xta.plot.summary(sci)
