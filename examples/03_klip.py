# %% [markdown]
# # Subtract the star, find the companion
#
# A sample program has a star with a companion at two rolls, and a reference star. `xta` finds the star behind the
# mask in each exposure, puts it on the central pixel and subtracts it by KLIP, with pyKLIP's engine
# (`pip install "xta[klip]"`). The truth is known, so the companion's position and flux can be checked.
#
# Nothing here needs the network.

# %%
import tempfile
from pathlib import Path

import xta
from xta import datasets, klip

folder = Path(tempfile.mkdtemp())
program = datasets.make_program(folder / "data", mode="nircam")

# %% [markdown]
# ## The star behind the mask, and on the central pixel
#
# `klip` recenters exposures that are not recentered yet. Here it is done before, since the companions and the contrast need
# the exposures again.

# %%
rolls = [xta.analyze(file).ta.recenter() for file in program.science]
reference = xta.analyze(program.reference[0]).ta.recenter()

# %% [markdown]
# ## Subtraction
#
# Two rolls and a reference star: angular and reference differential imaging together, unless `mode` says otherwise.
# The result has north up and east left.

# %%
image = klip(rolls, reference=reference)
image

# %% [markdown]
# ## The companion
#
# What is above 5 sigma is found, and the source is fitted that, taken out of the exposures before the subtraction, leaves nothing
# behind. That needs the image of a point source beside the mask: here the one that the sample was made with, for real data that of STPSF.

# %%
size = 101
psf = datasets.psf("nircam", x=size // 2, y=size // 2, shape=(size, size))
truth = program.truth.sel(file=program.science[0].name)
table = image.ta.companions(science=rolls, reference=reference, psf=psf, star_flux=float(truth.star_flux))
table

# %%
picture = image.ta.plot.klip(fov=4, mark=table)
picture.figure.savefig(folder / "klip.png")

# %% [markdown]
# ## Against the truth
#
# Most of the error is that of the star, which is the same for all companions of one epoch.

# %%
found = table.isel(companion=0)
for name, unit in (("separation", "arcsec"), ("position_angle", "deg"), ("contrast", "")):
    true = float(truth[f"companion_{name}"])
    print(f"{name:<15}{float(found[name]):12.5g} +- {float(found[f'{name}_err']):8.2g} {unit:<7} truth {true:12.5g}")
for part in table.error_part.values:
    east, north = (
        float(found.position_covariance.sel(error_part=part, axis=a, axis2=a)) ** 0.5 for a in ("east", "north")
    )
    print(f"error by {part:<12}{1e3 * east:6.2f} mas to the east {1e3 * north:6.2f} mas to the north")

# %% [markdown]
# ## Contrast
#
# How faint another companion could be, calibrated by sources that are put into the exposures.

# %%
curve = image.ta.contrast(
    science=rolls, reference=reference, psf=psf, star_flux=float(truth.star_flux), companions=table
)
curve.ta.plot.contrast(distance=40.0).figure.savefig(folder / "contrast.png")
print(f"{float(curve.contrast.interp(radius=2.0)):.1e} at 2 arcsec")

# %% [markdown]
# ## For an orbit

# %%
xta.to_orbitize(table, folder / "orbitize.csv")
print((folder / "orbitize.csv").read_text())
