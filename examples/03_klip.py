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

import numpy as np
from scipy import ndimage, optimize

import xta
from xta import datasets, inject, klip

folder = Path(tempfile.mkdtemp())
program = datasets.make_program(folder / "data", mode="nircam")

# %% [markdown]
# ## The star behind the mask, and on the central pixel
#
# `klip` recenters exposures that are not recentered yet. Here it is done before, to inject sources later.

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

# %%
picture = image.sel(x=slice(-48, 48), y=slice(-48, 48)).ta.plot.klip()
picture.figure.savefig(folder / "klip.png")

# %% [markdown]
# ## The companion
#
# The brightest pixel outside the mask in units of the residual noise at its separation.

# %%
number = int(image.numbasis[-1])
found = image.sel(numbasis=number)
scale = image.attrs["pixel_scale"]
significance = (found.klip / found.noise.interp(radius=found.separation)).where(found.separation > 0.45)
peak = significance.where(found.separation < 4).argmax(...)
x, y = float(found.x[peak["x"]]), float(found.y[peak["y"]])
print(f"{float(significance.isel(peak)):.0f} sigma at {x:+.0f}, {y:+.0f} px from the star")

# %% [markdown]
# ## Position and flux
#
# The subtraction takes a part of the companion away, and more at one side than at the other. So its own image is
# not measured, but the source whose negative, injected before the subtraction, leaves nothing behind. Two steps from a
# poor guess are enough.

# %%
size = 101
psf = datasets.psf("nircam", x=size // 2, y=size // 2, shape=(size, size))


def stamp(picture, x, y, half=3):
    """Interpolate a square of pixels around an offset from the star."""
    dy, dx = np.mgrid[-half : half + 1, -half : half + 1]
    center = picture.shape[-1] // 2
    return ndimage.map_coordinates(np.nan_to_num(picture), [dy + center + y, dx + center + x], order=5)


flux = 10 * float(found.klip.sel(x=x, y=y))
for _ in range(2):
    separation, angle = np.hypot(x, y) * scale, np.rad2deg(np.arctan2(-x, y)) % 360
    without = [inject(ds, separation=separation, position_angle=angle, flux=-flux, psf=psf) for ds in rolls]
    model = found.klip.values - klip(without, reference=reference, numbasis=number).klip.values[0]

    def residual(p, model=model, x=x, y=y):
        return (p[0] * stamp(model, x - p[1], y - p[2]) + p[3] - stamp(found.klip.values, x, y)).ravel()

    factor, dx, dy, _ = optimize.least_squares(residual, [1, 0, 0, 0]).x
    flux, x, y = flux * factor, x + dx, y + dy

# %% [markdown]
# ## Against the truth

# %%
truth = program.truth.sel(file=program.science[0].name)
true_angle = np.deg2rad(float(truth.companion_position_angle))
true_x, true_y = np.array([-np.sin(true_angle), np.cos(true_angle)]) * float(truth.companion_separation) / scale
jansky = flux * np.deg2rad(scale / 3600) ** 2 * 1e6
contrast = jansky / float(truth.star_flux)
print(f"separation      {np.hypot(x, y) * scale:9.4f} arcsec   truth {float(truth.companion_separation):9.4f}")
print(f"position angle  {np.rad2deg(np.arctan2(-x, y)) % 360:9.3f} deg      truth {np.rad2deg(true_angle):9.3f}")
print(f"contrast        {contrast:9.3e}          truth {float(truth.companion_contrast):9.3e}")
print(f"{np.hypot(x - true_x, y - true_y):.3f} px from the truth")
