"""Make the pictures of the documentation that need a computation: ``python docs/figures.py``."""

import tempfile
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from scipy import ndimage

import xta
from xta import datasets, shift

IMAGES = Path(__file__).parent / "images"
PIXELS = {"origin": "lower", "interpolation": "nearest"}


def saturated_star(size=81, radius=3.3):
    """Draw a flat-topped star with hard edges on a faint halo, as a saturated core leaves it."""
    y, x = np.mgrid[:size, :size] - size // 2
    r = np.hypot(x, y)
    return np.where(r < radius, 1.0, 0.3 * np.exp(-r / 5))


def ringing():
    """How each interpolation rings on a saturated star: a picture and a profile."""
    star = saturated_star()
    figure, axes = plt.subplots(2, 4, figsize=(10, 5), layout="constrained", height_ratios=[2, 1.3])
    for (top, bottom), method in zip(axes.T, shift.METHODS, strict=True):
        moved = shift.resample(star, x0=40.5, y0=40.5, shape=(61, 61), method=method)
        top.imshow(np.arcsinh(moved / 0.01), cmap="cividis", vmin=-2, vmax=5.3, **PIXELS)
        top.set(title=method, xticks=[], yticks=[])
        offset = np.arange(61) - 30
        bottom.plot(offset, moved[30], color="#0072B2", lw=1.2)
        bottom.plot(np.arange(81) - 40.5, star[40], color="#D55E00", lw=0.8, ls="--")
        bottom.set(xlim=(-12, 12), ylim=(-0.05, 1.2), xlabel="offset [pixel]")
    axes[1, 0].set_ylabel("cut through the star")
    figure.savefig(IMAGES / "ringing.png", dpi=90)
    plt.close(figure)


def usual_chain(ds):
    """Centre a cube the usual way: the analytic inverse, then a Fourier shift of each cleaned frame as it is."""
    star = [float(ds[f"target_{axis}"] + ds[f"inverse_error_{axis}"]) for axis in "xy"]
    middle = [(ds.sizes[axis] - 1) / 2 for axis in "xy"]
    frames = []
    for frame in shift.fill_bad(ds["sci"].values, bad=(ds["dq"].values & 1) != 0):
        spectrum = ndimage.fourier_shift(np.fft.fftn(frame), (middle[1] - star[1], middle[0] - star[0]))
        frames.append(np.fft.ifftn(spectrum).real)
    return np.array(frames), star


def old_route():
    """Compare the usual chain with xta on one sample visit whose truth is known."""
    visit = datasets.make_visit(tempfile.mkdtemp(), mode="nircam", prd="PRDOPSSOC-075", integrations=2)
    ds = xta.analyze(visit.science[0]).load()
    y, x = np.mgrid[:320, :320]
    ds["sci"] += 500 * np.exp(-((x - 60.0) ** 2 + (y - 3.0) ** 2) / 6)  # a neighbour at the lower edge
    truth = visit.truth.sel(file=visit.science[0].name)
    usual, star = usual_chain(ds)
    mine = ds.ta.recenter()
    for name, x, y in (("usual chain", *star), ("xta", float(ds["target_x"]), float(ds["target_y"]))):
        print(
            f"{name:12} star {x:.4f}, {y:.4f}  off by {x - float(truth.star_x):+.4f}, {y - float(truth.star_y):+.4f} px"
        )
    wrapped = usual[0][-20:, 30:90].max(), np.nanmax(mine["sci"].values[0][-40:, 30:90])
    print(f"light of a source at one edge, seen at the other: usual {wrapped[0]:.1f}, xta {wrapped[1]:.1f} MJy/sr")
    figure, axes = plt.subplots(1, 2, figsize=(9, 4.6), layout="constrained")
    for ax, title, image in zip(axes, ("usual chain", "xta"), (usual[0], mine["sci"].values[0]), strict=True):
        half = (image.shape[1] - 1) / 2
        extent = (-half - 0.5, half + 0.5, -half - 0.5, half + 0.5)
        shown = ax.imshow(np.arcsinh(image), cmap="cividis", extent=extent, vmin=-3, vmax=6, **PIXELS)
        shown.cmap.set_bad("0.6")
        ax.axhline(0, color="white", lw=0.4)
        ax.axvline(0, color="white", lw=0.4)
        ax.set(title=title, xlabel="x from the centre [pixel]")
    axes[0].set_ylabel("y from the centre [pixel]")
    figure.savefig(IMAGES / "old_route.png", dpi=90)
    plt.close(figure)


if __name__ == "__main__":
    ringing()
    old_route()
