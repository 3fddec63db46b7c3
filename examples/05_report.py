# %% [markdown]
# # Pictures and a report
#
# What to show to others: pictures for a paper, and one page to attach to an e-mail.
#
# Nothing here needs the network.

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
# ## All on one page

# %%
sci.ta.plot()

# %% [markdown]
# ## One by one
#
# MIRI acquires twice, and here an image confirms. `exposure` picks one, counted from 0.

# %%
image = sci.ta.plot.acquisition(exposure=0)

# %%
points = sci.ta.plot.offsets()

# %% [markdown]
# On axes of your own, for a paper: as wide as a page, with vectors.

# %%
figure = Figure(figsize=(7.1, 3.6), layout="constrained")
left, right = figure.subplots(1, 2)
sci.ta.plot.acquisition(ax=left, legend=False)
sci.ta.plot.science(ax=right, legend=False)
figure.savefig(folder / "figure.pdf")

# %% [markdown]
# A dataset that was reopened from its file is drawn as well.

# %%
xta.to_netcdf(sci, folder / "star.nc")
image = xr.open_dataset(folder / "star.nc").ta.plot.science()

# %% [markdown]
# ## The report
#
# One HTML page with the numbers, the pictures, a TA image to zoom into, the lines of the event log, the versions, and a light for each
# check. It asks nothing from the network.

# %%
path = sci.ta.report(folder / "star.html")
print(f"{path.name}, {path.stat().st_size / 1e6:.1f} MB")
