# %% [markdown]
# # Figures and a report
#
# This example makes figures for a paper, and one page to attach to an e-mail. It needs no network.

# %%
import tempfile
from pathlib import Path

import xarray as xr
from matplotlib.figure import Figure

import xta
from xta import datasets

folder = Path(tempfile.mkdtemp())
visit = datasets.make_visit(folder, mode="miri", integrations=4, confirm=True)
sci = xta.analyze(visit.science[0])

# %% [markdown]
# ## A summary on one page

# %%
sci.ta.plot()

# %% [markdown]
# ## Single figures
#
# MIRI acquires the star twice, and this visit also has a confirmation image. `exposure` selects one of the images,
# counted from 0.

# %%
image = sci.ta.plot.acquisition(exposure=0)

# %%
points = sci.ta.plot.offsets()

# %% [markdown]
# For a paper, draw on your own axes. This figure is as wide as a page, and it is saved as vector graphics.

# %%
figure = Figure(figsize=(7.1, 3.6), layout="constrained")
left, right = figure.subplots(1, 2)
sci.ta.plot.acquisition(ax=left, legend=False)
sci.ta.plot.science(ax=right, legend=False)
figure.savefig(folder / "figure.pdf")

# %% [markdown]
# You can also draw a dataset that was read from its NetCDF file.

# %%
xta.to_netcdf(sci, folder / "star.nc")
image = xr.open_dataset(folder / "star.nc").ta.plot.science()

# %% [markdown]
# ## The report
#
# The report is one HTML page with the numbers, the figures, a TA image that you can zoom into, the lines of the event
# log, the versions, and a light for each check. It needs no network.

# %%
path = sci.ta.report(folder / "star.html")
print(f"{path.name}, {path.stat().st_size / 1e6:.1f} MB")
