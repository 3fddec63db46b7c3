# %% [markdown]
# # Subtract the star and measure the companion
#
# The sample program has a star with a companion at two roll angles, and a reference star. `xta` finds the star behind
# the mask in each exposure, moves it to the central pixel, and subtracts it by KLIP with the engine of pyKLIP (`pip
# install "xta[klip]"`). The truth is known, so you can check the companion's position and flux.
#
# This example needs no network.

# %%
import tempfile
from pathlib import Path

import xta
from xta import datasets, klip

folder = Path(tempfile.mkdtemp())
program = datasets.make_program(folder / "data", mode="nircam")

# %% [markdown]
# ## Find and recenter the star
#
# `klip` recenters exposures that are not recentered yet. Here this is done first, because the companions and the
# contrast also need the recentered exposures.

# %%
rolls = [xta.analyze(file).ta.recenter() for file in program.science]
reference = xta.analyze(program.reference[0]).ta.recenter()

# %% [markdown]
# ## Subtraction
#
# With two rolls and a reference star, `klip` uses both angular and reference differential imaging. Use `mode` to
# change this. In the result, north is up and east is left.

# %%
image = klip(rolls, reference=reference)
image

# %% [markdown]
# ## The companion
#
# `companions` finds sources above 5 sigma. It fits the source that leaves no residual if it is removed from the
# exposures before the subtraction. For this it needs the image of a point source beside the mask. This is the image
# that the sample was made with. For real data, make one with STPSF.

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
# ## Compare with the truth
#
# Most of the error is the error of the star. It is the same for all companions of one epoch.

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
# The contrast curve shows how faint another companion could be and still be detected. It is calibrated with
# artificial sources in the exposures.

# %%
curve = image.ta.contrast(
    science=rolls, reference=reference, psf=psf, star_flux=float(truth.star_flux), companions=table
)
curve.ta.plot.contrast(distance=40.0).figure.savefig(folder / "contrast.png")
print(f"{float(curve.contrast.interp(radius=2.0)):.1e} at 2 arcsec")

# %% [markdown]
# ## Write a table for an orbit fit

# %%
xta.to_orbitize(table, folder / "orbitize.csv")
print((folder / "orbitize.csv").read_text())
