"""Pictures of an analysed exposure: the acquisition, the science frame, and both on one page.

Each function draws on the axes that it is given, or on new ones, returns what it drew on, and shows nothing.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xta import dq, names
from xta.errors import ArgumentError
from xta.offset import search_region

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["acquisition", "science", "summary"]

MARKS: dict[str, dict[str, Any]] = {
    # Okabe-Ito colours: told apart by colour-blind readers, and by shape in print.
    "SIAF reference": {"marker": "s", "color": "#56B4E9", "facecolor": "none"},
    "WCS of the file": {"marker": "x", "color": "#E69F00"},
    "WCS adjusted": {"marker": "o", "color": "#009E73", "facecolor": "none"},
    "centroid": {"marker": "+", "color": "#D55E00"},
}
NORTH_LENGTH = 0.12  # of the frame's width


def _stretch(image: Any, bad: Any) -> dict[str, Any]:
    """Asinh stretch over the background, from its noise to the brightest good pixel."""
    from astropy.stats import sigma_clipped_stats
    from astropy.visualization import AsinhStretch, ImageNormalize

    good = image[~bad]
    if not good.size:
        return {}
    _, median, noise = sigma_clipped_stats(good, sigma=3, maxiters=5)
    noise = noise or float(np.ptp(good)) / 100 or 1.0
    high = max(float(good.max()), median + 10 * noise)
    softening = min(max(3 * noise / (high - median + 3 * noise), 1e-3), 1.0)
    return {"norm": ImageNormalize(vmin=median - 3 * noise, vmax=high, stretch=AsinhStretch(softening), clip=False)}


def _extent(x: Any, y: Any) -> tuple[float, float, float, float]:
    return float(x[0]) - 0.5, float(x[-1]) + 0.5, float(y[0]) - 0.5, float(y[-1]) + 0.5


def _show(ax: "Axes", image: Any, bad: Any, x: Any, y: Any) -> Any:
    import matplotlib as mpl

    cmap = mpl.colormaps["gray"].with_extremes(bad="#5B3A4E")
    masked = np.ma.masked_where(bad, image)
    return ax.imshow(
        masked, origin="lower", extent=_extent(x, y), cmap=cmap, interpolation="nearest", **_stretch(image, bad)
    )


def _mark(ax: "Axes", positions: dict[str, tuple[float, float]], *, size: float = 90) -> None:
    for label, (x, y) in positions.items():
        if np.isfinite(x) and np.isfinite(y):
            style = dict(MARKS[label])
            face = style.pop("facecolor", None)
            colours = {"c": style["color"]} if face is None else {"facecolors": face, "edgecolors": style["color"]}
            ax.scatter(x, y, marker=style["marker"], s=size, linewidths=1.6, label=label, zorder=3, **colours)


def _value(ds: xr.Dataset, name: str) -> float:
    return float(ds[name]) if name in ds.coords else np.nan


def _new_axes(ax: "Axes | None") -> "Axes":
    if ax is not None:
        return ax
    from matplotlib import pyplot as plt

    return plt.subplots(figsize=(5.2, 5.2), layout="constrained")[1]


def acquisition(ds: xr.Dataset, *, ax: "Axes | None" = None, exposure: int | None = None) -> "Axes":
    """Draw a TA image with the centroid, the target by the WCS, and where the star was meant to be.

    Parameters
    ----------
    ds : xarray.Dataset
        With an acquisition attached; the marks of `compute_offset` and `adjust_wcs` are drawn if there.
    ax : matplotlib.axes.Axes, optional
    exposure : int, optional
        Which TA exposure; the one in use by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    MissingError
        If no acquisition is attached.
    ArgumentError
        If there is no such exposure.
    """
    names.require(ds, "ta_sci", step="ds.ta.attach()")
    in_use = int(ds.attrs["ta_in_use"])
    k = in_use if exposure is None else exposure
    if not 0 <= k < ds.sizes["ta_exposure"]:
        msg = f"exposure is {k}; the dataset has TA exposures 0 to {ds.sizes['ta_exposure'] - 1}"
        raise ArgumentError(msg)
    ax = _new_axes(ax)
    rows, columns = search_region(ds, k)
    one = ds.isel(ta_exposure=k, ta_y=rows, ta_x=columns)
    image = one["ta_sci"].values
    bad = dq.bad_pixels(image, one["ta_dq"].values if "ta_dq" in one else None)
    x, y = one["ta_x"].values, one["ta_y"].values
    _show(ax, image, bad, x, y)
    positions = {"SIAF reference": (float(one["ta_intended_x"]), float(one["ta_intended_y"]))}
    if k == in_use:
        positions["WCS of the file"] = _value(ds, "ta_target_x"), _value(ds, "ta_target_y")
        centroid = _value(ds, "centroid_x"), _value(ds, "centroid_y")
        positions["WCS adjusted"] = tuple(  # type: ignore[assignment]
            c + _value(ds, f"residual_{axis}") for c, axis in zip(centroid, "xy", strict=True)
        )
        positions["centroid"] = centroid
    _mark(ax, positions)
    if k == in_use and np.isfinite(positions["centroid"]).all():
        _zoom(ax, image, bad, (x, y), positions)
    ax.set(xlabel="x [pixel]", ylabel="y [pixel]")
    ax.set_title(_acquisition_title(ds, k), fontsize="medium")
    return ax


def _zoom(ax: "Axes", image: Any, bad: Any, labels: tuple[Any, Any], positions: dict[str, tuple[float, float]]) -> None:
    """Show the surroundings of the centroid in a corner that holds no mark."""
    from matplotlib.patches import Rectangle

    cx, cy = positions["centroid"]
    half = 2.5
    width, height = ax.get_xlim()[1] - ax.get_xlim()[0], ax.get_ylim()[1] - ax.get_ylim()[0]
    fractions = [((x - ax.get_xlim()[0]) / width, (y - ax.get_ylim()[0]) / height) for x, y in positions.values()]
    corners = [(0.68, 0.02), (0.02, 0.02), (0.02, 0.68), (0.68, 0.68)]

    def room(corner: tuple[float, float]) -> float:
        return min(
            max(abs(fx - corner[0] - 0.15), abs(fy - corner[1] - 0.15)) for fx, fy in fractions if np.isfinite(fx)
        )

    x0, y0 = max(corners, key=room)
    inset = ax.inset_axes((x0, y0, 0.30, 0.30))
    _show(inset, image, bad, *labels)
    inset.set(xlim=(cx - half, cx + half), ylim=(cy - half, cy + half), xticks=[], yticks=[])
    for spine in inset.spines.values():
        spine.set(color="white", linewidth=1.2)
    _mark(inset, {k: p for k, p in positions.items() if max(abs(p[0] - cx), abs(p[1] - cy)) < half}, size=110)
    ax.add_patch(Rectangle((cx - half, cy - half), 2 * half, 2 * half, fill=False, edgecolor="white", linewidth=1.2))


def _acquisition_title(ds: xr.Dataset, k: int) -> str:
    lines = [f"{ds['ta_filename'].values[k]}", f"{ds['ta_aperture'].values[k]}  ({ds['ta_exp_type'].values[k]})"]
    if "offset_x" in ds.coords and k == int(ds.attrs["ta_in_use"]):
        lines.append(
            f"WCS − centroid: {float(ds['offset_x']):+.3f}, {float(ds['offset_y']):+.3f} px   "
            f"E {float(ds['offset_east']):+.3f}″, N {float(ds['offset_north']):+.3f}″"
        )
    return "\n".join(lines)


def science(ds: xr.Dataset, *, ax: "Axes | None" = None, integration: int | None = None) -> "Axes":
    """Draw a science frame with the star behind the mask, the file's idea of it, and the mask.

    Parameters
    ----------
    ds : xarray.Dataset
        An exposure; the marks of `adjust_wcs` are drawn if there.
    ax : matplotlib.axes.Axes, optional
    integration : int, optional
        Integration number, as in the label; the median of all by default.

    Returns
    -------
    matplotlib.axes.Axes
    """
    names.require(ds, "sci", "x", "y", step="xta.open_exposure")
    ax = _new_axes(ax)
    cube = ds["sci"] if "dq" not in ds else ds["sci"].where((ds["dq"] & dq.DO_NOT_USE) == 0)
    if "integration" in cube.dims:
        cube = cube.median("integration") if integration is None else cube.sel(integration=integration)
    image = cube.values
    x, y = ds["x"].values, ds["y"].values
    _show(ax, image, ~np.isfinite(image), x, y)
    positions = {"SIAF reference": (_value(ds, "mask_x"), _value(ds, "mask_y"))}
    if "wcs_original" in ds.coords:
        from xta import sky, wcs

        there = wcs.world_to_pixel(sky.the_wcs(ds, "wcs_original"), _value(ds, "target_ra"), _value(ds, "target_dec"))
        positions["WCS of the file"] = float(there[0]), float(there[1])
    positions["WCS adjusted"] = _value(ds, "target_x"), _value(ds, "target_y")
    _mark(ax, positions)
    if "wcs" in ds.coords:
        _compass(ax, ds)
    ax.set(xlabel="x [pixel]", ylabel="y [pixel]")
    title = f"{ds.attrs.get('filename', '')}\n{ds.attrs.get('aperture', '')}  {ds.attrs.get('filter', '')}"
    if "target_x" in ds.coords:
        title += f"\nstar behind the mask: {float(ds['target_x']):.4f}, {float(ds['target_y']):.4f} px"
    ax.set_title(title, fontsize="medium")
    return ax


def _compass(ax: "Axes", ds: xr.Dataset) -> None:
    """Draw arrows to the north and the east, as the WCS has them in the middle of the frame."""
    from xta import sky

    x, y = (float(ds[dim].values[[0, -1]].mean()) for dim in ("x", "y"))
    ra, dec = sky.pixel_to_world(ds, x, y)
    step = 1e-4  # [deg]
    towards = {"N": (ra, dec + step), "E": (ra + step / np.cos(np.deg2rad(dec)), dec)}
    left, right, low, high = _extent(ds["x"].values, ds["y"].values)
    length = NORTH_LENGTH * abs(right - left)
    origin = left + 0.16 * (right - left), low + 0.16 * (high - low)
    for label, position in towards.items():
        px, py = sky.world_to_pixel(ds, *position)
        direction = np.array([px - x, py - y]) / np.hypot(px - x, py - y) * length
        end = origin[0] + direction[0], origin[1] + direction[1]
        ax.annotate("", end, origin, arrowprops={"arrowstyle": "->", "color": "white", "lw": 1.4})
        ax.annotate(
            label,
            (origin[0] + 1.2 * direction[0], origin[1] + 1.2 * direction[1]),
            color="white",
            ha="center",
            va="center",
            fontsize="small",
        )


def summary(ds: xr.Dataset) -> "Figure":
    """Draw the acquisition and the science frame side by side.

    Parameters
    ----------
    ds : xarray.Dataset
        An analysed exposure.

    Returns
    -------
    matplotlib.figure.Figure
        Not registered with pyplot: nothing pops up, and it need not be closed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.6), layout="compressed")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    acquisition(ds, ax=left)
    science(ds, ax=right)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    name = ds.attrs.get("target_name", "")
    figure.suptitle(f"{name}   visit {ds.attrs.get('visit_id', '')}   centroid: {ds.attrs.get('centroid_source', '')}")
    return figure
