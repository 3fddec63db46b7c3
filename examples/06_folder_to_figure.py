# %% [markdown]
# # From a folder to a figure
#
# This example shows all steps for a program: files, stars, subtraction, companion, contrast curve, and the figure and
# files at the end. It uses a sample program with a planet, so the result can be compared with the truth. For a
# program of the archive, make the folder with
#
# ```python
# xta.archive.fetch_program(1386, "data", observations="1-3")  # or: xta fetch 1386 --obs 1-3 --log -o data
# ```
#
# This example needs no network.

# %%
import tempfile
from pathlib import Path

from matplotlib import pyplot as plt

import xta
from xta import datasets

folder = Path(tempfile.mkdtemp())
made = datasets.make_program(folder / "data", mode="nircam")

# %% [markdown]
# ## Open the exposures by filter and role

# %%
program = xta.open_program(folder / "data")
program.ta

# %% [markdown]
# ## Find and recenter the star
#
# Each exposure is analyzed with the acquisition of its own visit. If the program has background exposures, call
# `subtract_background` before `recenter`. `ds.ta.clean` finds bad pixels that are not flagged.

# %%
cubes = program.ta.analyze().ta.recenter()
science, references = (
    [node.to_dataset() for node in cubes[f"F444W/{role}"].children.values()] for role in ("science", "reference")
)
for ds in (*science, *references):
    print(f"{ds.visit_id.item()}  star at {ds.star_x.item():.2f}, {ds.star_y.item():.2f} px of the readout")

# %% [markdown]
# ## Subtract the star
#
# With two rolls and a reference star, the mode is ADI+RDI.

# %%
image = cubes["F444W"].ta.klip(numbasis=[1, 3, 5])
image.attrs["mode"]

# %% [markdown]
# ## The flux of the star
#
# Contrast is relative to the star. The best choice is a flux density that you know, here 0.3 Jy, or a magnitude:
# `star_flux=(7.3, "Ks", 5800)`. Without either, the star is measured in the acquisition image. There the samples are
# attenuated by 100. The neutral density of NIRCam itself is known to 23 %. The color between the filter of the
# acquisition and F444W is that of a black body. The star of the samples has a flat spectrum, so it is not a black
# body.

# %%
star_flux = 0.3
measured = science[0].ta.star_flux(attenuation=100)
print(f"{measured.ta_flux.item():.3f} Jy in {measured.attrs['ta_filter']}, the acquisition")
for part, error in zip(measured.part.values, measured.relative_err.values, strict=True):
    print(f"  error by {part:<12}{100 * error:5.1f} %")

# %% [markdown]
# ## Measure the companion and the contrast
#
# The image of a point source beside the mask is the one that the sample was made with. For real data, make one with
# STPSF.

# %%
psf = datasets.psf("nircam", x=50, y=50, shape=(101, 101))
options = {"science": science, "reference": references, "psf": psf, "star_flux": star_flux}
table = image.ta.companions(**options)
curve = image.ta.contrast(companions=table, **options)

truth = made.truth.sel(file=made.science[0].name)
found = table.isel(companion=0)
for name, unit in (("separation", "arcsec"), ("position_angle", "deg"), ("contrast", "")):
    true = float(truth[f"companion_{name}"])
    print(f"{name:<15}{float(found[name]):11.5g} +- {float(found[f'{name}_err']):8.2g} {unit:<7} truth {true:11.5g}")
print(f"5 sigma at 1 arcsec: {float(curve.contrast.interp(radius=1.0)):.1e}")

# %% [markdown]
# ## Make the figure

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
image.ta.plot.klip(ax=left, fov=4, mark=table)
curve.ta.plot.contrast(ax=right, distance=40.0)
figure.savefig(folder / "figure.pdf")
figure.savefig(folder / "figure.png", dpi=150)

# %% [markdown]
# ## Write the results
#
# Write the image as FITS, with a WCS and an extension for each number of components, the position for an orbit fit,
# and the whole dataset as NetCDF.

# %%
image.ta.to_fits(folder / "klip.fits")
xta.to_orbitize(table, folder / "orbitize.csv")
for name, ds in (("klip", image), ("companions", table), ("contrast", curve)):
    xta.to_netcdf(ds, folder / f"{name}.nc")
program.close()
print(*sorted(path.name for path in folder.iterdir() if path.is_file()), sep="\n")
