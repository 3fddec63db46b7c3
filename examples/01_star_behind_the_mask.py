# %% [markdown]
# # The star behind the mask
#
# A sample visit stands in for your own files: a NIRCam coronagraphic exposure, the target acquisition before it, and the
# visit's onboard event log. Nothing is fetched.

# %%
import tempfile

import xarray as xr

import xta
from xta import datasets

visit = datasets.make_visit(tempfile.mkdtemp(), mode="nircam", integrations=2)
science, acquisition, log = visit.science[0], visit.ta[0], visit.oss_log

# %% [markdown]
# An exposure opens as a labeled, lazy dataset. `x` and `y` are 0-based pixels of the exposure's own readout.

# %%
sci = xr.open_dataset(science, engine="jwst")
sci

# %% [markdown]
# Attach the acquisition, measure the pointing error, correct the WCS. The star's pixel is `target_x`, `target_y`.

# %%
sci = sci.ta.attach(acquisition, oss=log)
sci = sci.ta.compute_offset()
sci = sci.ta.adjust_wcs()
print(f"offset, WCS minus centroid: {float(sci.offset_x):.3f}, {float(sci.offset_y):.3f} px")
print(f"star behind the mask: {float(sci.target_x):.3f}, {float(sci.target_y):.3f} px")
print(f"standard error:       {float(sci.target_x_err):.3f}, {float(sci.target_y_err):.3f} px")

# %% [markdown]
# The sample comes with its truth. Its instrument does what a real one does beyond the WCS: the filter shifts the star, the
# move to the mask has an error, the onboard centroid is not the star. So the two agree to within the standard error.

# %%
truth = visit.truth.sel(file=science.name)
print(f"truth:                {float(truth.star_x):.3f}, {float(truth.star_y):.3f} px")

# %% [markdown]
# The three steps in one call. Without `acquisition=` and `oss=` the files are looked for beside the exposure, then in the
# cache, then in the archive.

# %%
same = xta.analyze(science)
assert same.target_x.item() == sci.target_x.item()

# %% [markdown]
# A crop does not lose the star, and the sky is there for every pixel.

# %%
crop = sci.sel(x=slice(120, 180), y=slice(140, 200))
print(crop.ta.sel_sky(float(sci.target_ra), float(sci.target_dec)).sci.values)

# %%
xta.plot.summary(sci)
