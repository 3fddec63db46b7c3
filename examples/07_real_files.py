# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A disk and a planet in real files
#
# This example goes from folder to figure with real data: the disk of AU Mic (program 1184, NIRCam F356W), and the
# planet HD 106906 b (program 1277, MIRI F1140C, with the reference star HD 218261 of program 1194). The files come
# from public tutorials of other software. They are coadded; those of AU Mic are also aligned, and those of HD 106906
# are cropped. Their acquisitions are not included, so the stars are entered by hand. If you download the files of
# these programs, such as with `xta fetch 1184 --filter F356W --log -o nircam_aumic`, analyze them instead:
# `program.ta.analyze()`.
#
# The files are too large for this repository. Set the environment variable `XTA_REAL_DATA` to the folder that
# contains `nircam_aumic` and `miri_hd106906`.

# %%
import os
import tempfile
import warnings
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

import xta
from xta.errors import XtaWarning

real = Path(os.environ.get("XTA_REAL_DATA", "real"))
folder = Path(tempfile.mkdtemp())
warnings.simplefilter("ignore", XtaWarning)  # see above for what other software did to the files

# %% [markdown]
# ## AU Mic: two rolls and three reference stars
#
# The headers say which exposures are references (IS_PSF), so `open_program` sorts them. The star is on pixel
# (150, 174) in all of them.

# %%
program = xta.open_program(real / "nircam_aumic")
program.ta

# %%
band = program["F356W"]
for node in [*band["science"].children.values(), *band["reference"].children.values()]:
    node.dataset = node.to_dataset().ta.set_star(150.0, 174.0, source="alignment of the files")
disk = band.ta.klip(mode="RDI", numbasis=3)

# %% [markdown]
# Measure the position of the disk: the mean of boxes from 1.5 to 4 arcsec along each position angle. The published
# angle is 128.5 deg.

# %%
plane = disk["klip"].isel(numbasis=0)
angles = np.arange(0.0, 180.0, 0.5)
light = []
for angle in np.deg2rad(angles):
    along = abs(plane.east * np.sin(angle) + plane.north * np.cos(angle))
    across = abs(plane.east * np.cos(angle) - plane.north * np.sin(angle))
    light.append(float(plane.where((along > 1.5) & (along < 4) & (across < 0.3)).mean()))
print(
    f"disk at {angles[np.argmax(light)]:.1f} deg, {max(light) / np.median(np.abs(light)):.0f} times as bright as elsewhere"
)

# %% [markdown]
# ## HD 106906: one exposure, and a reference star at five positions of a small-grid dither
#
# IS_PSF is set here, too. The star of the target is near (119.7, 112.2) of the full subarray. Labels are pixels of
# the readout, also in a crop. The reference star was moved to the same place plus the dither, which the headers
# contain.

# %%
program = xta.open_program(real / "miri_hd106906")
band = program["F1140C"]
(target,) = [node.to_dataset() for node in band["science"].children.values()]
dithers = [node.to_dataset() for node in band["reference"].children.values()]
target = target.ta.set_star(119.7, 112.2, x_err=0.1, y_err=0.1, source="symmetry of the speckles")
stars = []
for ds in dithers:
    x, y = ((float(ds[name]) - float(dithers[0][name])) / 0.11 for name in ("x_offset", "y_offset"))
    stars.append(ds.ta.set_star(119.7 + x, 112.2 + y, source="dither of the header"))
image = xta.klip(target, reference=stars, numbasis=[1, 3, 5])

# %% [markdown]
# The brightest point beyond 5 arcsec is the planet. Its published position is 7.11 arcsec and 307.3 deg (Bailey et
# al. 2014).

# %%
snr = image.ta.snr()
far = snr["snr"].where(snr["separation"] > 5)
planet = far.isel(far.argmax(["y", "x"]))
place = planet.separation.item(), planet.position_angle.item()
print(f"planet: {place[0]:.2f} arcsec, {place[1]:.1f} deg, {planet.item():.0f} sigma")

# %% [markdown]
# ## Make the figure
#
# ![The disk of AU Mic and the planet of HD 106906](../images/real_files.png)

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
disk.ta.plot.klip(ax=left, fov=12)
image.ta.plot.klip(ax=right, numbasis=5, fov=19, mark=[place])
figure.savefig(folder / "real_files.png", dpi=110)
image.ta.to_fits(folder / "hd106906_klip.fits")
print(*sorted(path.name for path in folder.iterdir()), sep="\n")
