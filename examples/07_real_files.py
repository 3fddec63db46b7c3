# %% [markdown]
# # A disc and a planet in real files
#
# The disc of AU Mic (program 1184, NIRCam F356W) and the planet HD 106906 b (program 1277, MIRI F1140C, with the reference star HD 218261 of
# program 1194), from folder to figure. The files come from public tutorials of other software: they are coadded, those of AU Mic also aligned, those of
# HD 106906 cropped. No acquisition is with them, so the stars are entered by hand. Your own files of these programs, as by
# `xta fetch 1184 --filter F356W --log -o nircam_aumic`, are analyzed instead: `program.ta.analyze()`.
#
# The files are too large for this repository. The environment variable `XTA_REAL_DATA` names the folder that has `nircam_aumic` and `miri_hd106906`.

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
warnings.simplefilter("ignore", XtaWarning)  # what other software did to the files is told above

# %% [markdown]
# ## AU Mic: two rolls and three reference stars
#
# The files say which are references (IS_PSF), so `open_program` sorts them. The star is on pixel (150, 174) in all of them.

# %%
program = xta.open_program(real / "nircam_aumic")
program.ta

# %%
band = program["F356W"]
for node in [*band["science"].children.values(), *band["reference"].children.values()]:
    node.dataset = node.to_dataset().ta.set_star(150.0, 174.0, source="alignment of the files")
disc = band.ta.klip(mode="RDI", numbasis=3)

# %% [markdown]
# Where the disc is: the mean of boxes from 1.5 to 4 arcsec along each position angle. The published angle is 128.5 deg.

# %%
plane = disc["klip"].isel(numbasis=0)
angles = np.arange(0.0, 180.0, 0.5)
light = []
for angle in np.deg2rad(angles):
    along = abs(plane.dx * np.sin(angle) + plane.dy * np.cos(angle))
    across = abs(plane.dx * np.cos(angle) - plane.dy * np.sin(angle))
    light.append(float(plane.where((along > 1.5) & (along < 4) & (across < 0.3)).mean()))
print(
    f"disc at {angles[np.argmax(light)]:.1f} deg, {max(light) / np.median(np.abs(light)):.0f} times as bright as elsewhere"
)

# %% [markdown]
# ## HD 106906: one exposure, and a reference star at five positions of a small-grid dither
#
# IS_PSF is set here, too. The star of the target is near (119.7, 112.2) of the full subarray: labels are pixels of the readout, also in a crop.
# The reference star went to the same place, but for the dither, which the headers have.

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
# The brightest point beyond 5 arcsec is the planet, which is known at 7.11 arcsec and 307.3 deg (Bailey et al. 2014).

# %%
snr = image.ta.snr()
far = snr["snr"].where(snr["separation"] > 5)
planet = far.isel(far.argmax(["y", "x"]))
place = planet.separation.item(), planet.position_angle.item()
print(f"planet: {place[0]:.2f} arcsec, {place[1]:.1f} deg, {planet.item():.0f} sigma")

# %% [markdown]
# ## The figure
#
# ![The disc of AU Mic and the planet of HD 106906](../images/real_files.png)

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
disc.ta.plot.klip(ax=left, fov=12)
image.ta.plot.klip(ax=right, numbasis=5, fov=19, mark=[place])
figure.savefig(folder / "real_files.png", dpi=110)
image.ta.to_fits(folder / "hd106906_klip.fits")
print(*sorted(path.name for path in folder.iterdir()), sep="\n")
