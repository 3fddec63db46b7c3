"""Make the pictures of the documentation that need a computation: ``python docs/figures.py``."""

import tempfile
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from scipy import ndimage

import xta
from xta import datasets
from xta.geometry import siaf
from xta.images import shift

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
    """Center a cube the usual way: the analytic inverse, then a Fourier shift of each cleaned frame as it is."""
    star = [float(ds[f"target_{axis}"] + ds[f"inverse_error_{axis}"]) for axis in "xy"]
    middle = [(ds.sizes[axis] - 1) / 2 for axis in "xy"]
    frames = []
    for frame in shift.fill_bad(ds["sci"].values, bad=(ds["dq"].values & 1) != 0):
        spectrum = ndimage.fourier_shift(np.fft.fftn(frame), (middle[1] - star[1], middle[0] - star[0]))
        frames.append(np.fft.ifftn(spectrum).real)
    return np.array(frames), star


def old_route():
    """Compare the usual chain with xta on one sample visit whose truth is known."""
    visit = datasets.make_visit(tempfile.mkdtemp(), mode="nircam", prd="PRDOPSSOC-075", integrations=2, ideal=True)
    ds = xta.analyze(visit.science[0], centroid="oss", corrections="none").load()
    y, x = np.mgrid[:320, :320]
    ds["sci"] += 500 * np.exp(-((x - 60.0) ** 2 + (y - 3.0) ** 2) / 6)  # a neighbor at the lower edge
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
        ax.set(title=title, xlabel="x from the center [pixel]")
    axes[0].set_ylabel("y from the center [pixel]")
    figure.savefig(IMAGES / "old_route.png", dpi=90)
    plt.close(figure)


def sample():
    """Draw what an analysis looks like, for the README."""
    visit = datasets.make_visit(tempfile.mkdtemp(), mode="nircam")
    figure = Figure(figsize=(9.4, 4.2))
    left, right = figure.subplots(1, 2, gridspec_kw={"wspace": 0.62})
    ds = xta.analyze(visit.science[0])
    ds.ta.plot.acquisition(ax=left, caption=False)
    left.set_title("target acquisition", pad=12)
    ds.ta.plot.science(ax=right, caption=False)
    right.set_title(f"the star behind the mask\nx, y = {ds.target_x:.4f}, {ds.target_y:.4f} px", pad=12)
    figure.savefig(IMAGES / "sample.png", dpi=120, bbox_inches="tight")


def budget():
    """Draw the parts of the star's error of a typical visit of either instrument."""
    figure, axes = plt.subplots(1, 2, figsize=(8, 2.9), layout="constrained", sharex=True, sharey=True)
    for ax, mode, title in zip(axes, ("nircam", "miri"), ("NIRCam, F444W", "MIRI, F1140C"), strict=True):
        ds = xta.analyze(datasets.make_visit(tempfile.mkdtemp(), mode=mode).science[0])
        parts = ds.isel(error_part=ds["error_part"] != "mask reference")
        names = [*parts["error_part"].values, "all"]
        for side, axis, color in ((-0.2, "x", "#0072B2"), (0.2, "y", "#D55E00")):
            errors = [*parts[f"target_{axis}_err_part_mas"].values, float(ds[f"target_{axis}_err_mas"])]
            ax.barh(np.arange(len(names)) + side, errors, height=0.38, color=color, label=f"along {axis}")
        ax.set(title=title, yticks=np.arange(len(names)), yticklabels=names, xlabel="standard error [mas]")
        ax.invert_yaxis() if ax is axes[0] else None
    axes[1].legend(frameon=False, loc="center right")
    figure.savefig(IMAGES / "budget.png", dpi=110)
    plt.close(figure)


def frames():
    """Where the pixels of a NIRCam visit are counted, and the sign of an offset: a drawing from the SIAF."""
    plt.rcParams.update({"svg.fonttype": "path", "svg.hashsalt": "xta", "font.size": 9})
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10.2, 3.9), layout="constrained")
    _detector(left)
    _readout(middle)
    _offset(right)
    figure.savefig(IMAGES / "frames.svg", metadata={"Date": None})
    plt.close(figure)


def _detector(ax):
    """Draw the detector with the readouts of a visit, in SIAF Det."""
    colors = {"NRCA5_FULL": "0.35", "NRCA5_MASK335R": "#0072B2", "NRCA5_TAMASK335R": "#D55E00"}
    for name, color in colors.items():
        ap = siaf.aperture("NIRCAM", name)
        x, y = ap.corners("det", rederive=False)
        ax.fill(x, y, facecolor=color, alpha=0.12)
        ax.plot([*x, x[0]], [*y, y[0]], color=color, lw=1.4)
    for name, text, dy in (("NRCA5_MASK335R", "science readout, 320 px", 250), ("NRCA5_TAMASK335R", "TA, 64 px", -250)):
        ap = siaf.aperture("NIRCAM", name)
        ax.annotate(
            text,
            (ap.XDetRef, ap.YDetRef),
            (900, ap.YDetRef + dy),
            color=colors[name],
            ha="center",
            va="center",
            arrowprops={"arrowstyle": "-", "color": colors[name], "lw": 0.8},
        )
    full = siaf.aperture("NIRCAM", "NRCA5_FULL")
    corner = np.array(full.sci_to_det(150, 150))
    for axis, end in (("x", (650, 150)), ("y", (150, 650))):
        tip = np.array(full.sci_to_det(*end))
        ax.annotate("", tip, corner, arrowprops={"arrowstyle": "-|>", "color": "black"})
        ax.text(*(tip + 0.16 * (tip - corner)), axis, ha="center", va="center")
    ax.text(*full.sci_to_det(420, 420), "of the\nreadout", ha="center", va="center")
    ax.set(title="detector: SIAF Det, from 1", xlabel="x_det", ylabel="y_det", aspect="equal")
    ax.set(xlim=(-60, 2110), ylim=(-60, 2110), xticks=[1, 1024, 2048], yticks=[1, 1024, 2048])


def _readout(ax):
    """Draw the first pixels of a readout."""
    for k in range(5):
        ax.plot([k - 0.5] * 2, [-0.5, 3.5], color="0.6", lw=0.8)
        ax.plot([-0.5, 3.5], [k - 0.5] * 2, color="0.6", lw=0.8)
    ax.plot(0, 0, "o", color="#0072B2", ms=4)
    ax.text(0, 0.2, "0, 0", color="#0072B2", ha="center")
    ax.plot(1.30, 2.15, "+", color="#D55E00", ms=11, mew=1.6)
    ax.text(1.30, 2.42, "x, y = 1.30, 2.15", color="#D55E00", ha="center", bbox={"fc": "white", "ec": "none", "pad": 1})
    ax.text(1.5, -1.42, "FITS and SIAF call the first pixel 1, 1", ha="center", color="0.35")
    ax.set(title="readout: labels x, y, from 0", xlabel="x", ylabel="y", aspect="equal")
    ax.set(xticks=range(4), yticks=range(4), xlim=(-1.3, 4.3), ylim=(-1.7, 3.9))


def _offset(ax):
    """Draw the centroid and the target by the WCS of the published acquisition."""
    centroid, target = np.array([32.1563, 29.52431]), np.array([39.0096, 31.2519])
    y, x = np.mgrid[22:42, 26:46]
    star = np.exp(-((x - centroid[0]) ** 2 + (y - centroid[1]) ** 2) / 2.4)
    ax.imshow(star, cmap="Greys", vmax=1.6, extent=(25.5, 45.5, 21.5, 41.5), **PIXELS)
    ax.annotate("", target, centroid, arrowprops={"arrowstyle": "-|>", "color": "black", "lw": 1.4})
    ax.plot(*centroid, "+", color="#D55E00", ms=12, mew=1.8)
    ax.plot(*target, "x", color="#0072B2", ms=9, mew=1.8)
    ax.text(centroid[0], centroid[1] - 2.4, "centroid: the star", color="#D55E00", ha="center")
    ax.text(target[0], target[1] + 1.1, "target by the WCS", color="#0072B2", ha="center")
    ax.text(35.5, 23.2, "offset = WCS − centroid\n= +6.85, +1.73 px", ha="center", va="center")
    ax.set(
        title="TA image: the sign of an offset",
        xlabel="x",
        ylabel="y",
        xticks=range(26, 46, 4),
        yticks=range(22, 42, 4),
    )


if __name__ == "__main__":
    sample()
    budget()
    frames()
    ringing()
    old_route()
