"""Draw one image on axes, with marks, inset, arcsec axes, compass, scale bar and text."""

import math
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray

from xta.errors import ArgumentError
from xta.plot.places import Point
from xta.plot.style import BAD, MARKS, VERBATIM, halo, on_image, plain, stretch

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

__all__ = ["arcsec_axes", "caption", "color_bar", "compass", "corners", "inside", "legend", "mark", "note", "scale_bar"]
__all__ += ["show", "stretch_words", "zoom"]

Corner: TypeAlias = tuple[int, int]
"""1 for right, 0 for left; and 1 for upper, 0 for lower."""

CORNERS: tuple[Corner, ...] = ((1, 1), (0, 1), (0, 0), (1, 0))
INSET = 0.30  # width of the inset, as a fraction of the axes
IN_INSET = 0.75  # relative size of marks in an inset, so that they do not cover the pixels
WIDEST = 47  # caption [characters]
STRETCHES = {"FuncNorm": "asinh stretch", "AsinhNorm": "asinh stretch", "LogNorm": "logarithmic", "Normalize": "linear"}
"""Norm of matplotlib -> its name; the first is that of `stretch`."""
CROWDED = 0.08  # ticks closer to each other than this fraction of a color bar are left out


def _edges(labels: NDArray[Any], name: str) -> tuple[float, float]:
    steps = np.diff(labels.astype(float))
    step = steps.mean() if steps.size else 1.0
    if not (labels.size and np.allclose(steps, step, rtol=1e-6) and step != 0):
        msg = f"the labels {name} are not evenly spaced, so the image would be distorted; select a slice"
        raise ArgumentError(msg)
    return float(labels[0] - step / 2), float(labels[-1] + step / 2)


def show(
    ax: "Axes",
    image: NDArray[Any],
    bad: NDArray[np.bool_],
    x: NDArray[Any],
    y: NDArray[Any],
    *,
    bad_color: str = BAD,
    bad_label: str = "bad pixel",
    **kwargs: Any,
) -> "AxesImage":
    """Draw an image at its labels, with bad pixels in their own color; `kwargs` are those of ``Axes.imshow``."""
    import matplotlib as mpl

    if given := sorted({"origin", "extent"} & kwargs.keys()):
        msg = f"{', '.join(given)} cannot be given, as the labels define the pixels; invert the returned axes instead"
        raise ArgumentError(msg)
    if "norm" not in kwargs:
        kwargs["norm"] = stretch(image, bad, vmin=kwargs.pop("vmin", None), vmax=kwargs.pop("vmax", None))
    kwargs["cmap"] = mpl.colormaps.get_cmap(kwargs.get("cmap", "gray")).with_extremes(bad=bad_color)
    extent = (*_edges(x, "x"), *_edges(y, "y"))
    options = {"interpolation": "nearest"} | kwargs
    drawn = ax.imshow(np.ma.masked_where(bad, image), origin="lower", extent=extent, **options)
    if bad.any():  # a line in the legend
        ax.scatter([], [], marker="s", s=36, color=bad_color, label=bad_label)
    return drawn


def mark(ax: "Axes", places: Mapping[str, Point], *, scale: float = 1.0) -> None:
    """Mark places, `scale` times as large as usual; an arrow at the edge points to a place outside the view."""
    view = ax.get_xlim(), ax.get_ylim()
    for label, (x, y) in places.items():
        style = MARKS[label]
        ink: dict[str, Any] = {"facecolors": "none", "edgecolors": style.color} if style.open else {"c": style.color}
        size, width = (scale * style.size) ** 2, 1.1 * scale
        drawn = ax.scatter(x, y, s=size, marker=style.marker, linewidths=width, label=label, zorder=3, **ink)
        drawn.set_path_effects(halo(width))
    ax.set(xlim=view[0], ylim=view[1])
    for label, place in places.items():
        if not inside(ax, place):
            _point_to(ax, place, MARKS[label].color)


def _fraction(ax: "Axes", place: Point) -> NDArray[np.float64]:
    """Convert a place to fractions of the view."""
    limits = np.array([ax.get_xlim(), ax.get_ylim()])
    return np.asarray((np.array(place) - limits[:, 0]) / (limits[:, 1] - limits[:, 0]))


def _point_to(ax: "Axes", place: Point, color: str) -> None:
    direction = _fraction(ax, place) - 0.5
    tip, tail = (tuple(0.5 + direction * reach / np.abs(direction).max()) for reach in (0.49, 0.40))
    arrow = {"arrowstyle": "-|>", "color": color, "lw": 1.3, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", tip, tail, xycoords="axes fraction", textcoords="axes fraction", arrowprops=arrow, zorder=3)


def inside(ax: "Axes", place: Point) -> bool:
    """Return True if a place is within the view."""
    return bool(np.abs(_fraction(ax, place) - 0.5).max() <= 0.5)


def corners(ax: "Axes", places: Mapping[str, Point]) -> list[Corner]:
    """List the corners, the one with the most room first."""
    fractions = [np.clip(_fraction(ax, place), 0, 1) for place in places.values()]

    def room(corner: Corner) -> float:
        middle = INSET / 2 + (1 - INSET) * np.array(corner)
        return min((float(np.abs(fraction - middle).max()) for fraction in fractions), default=1.0)

    return sorted(CORNERS, key=room, reverse=True)


def zoom(drawn: "AxesImage", center: Point, half: float, places: Mapping[str, Point], *, corner: Corner) -> "Axes":
    """Show the surroundings of a place with the marks in a corner of the axes, with their own stretch."""
    from matplotlib.colors import PowerNorm
    from matplotlib.patches import Rectangle

    ax = drawn.axes
    x0, y0 = (0.02 + (0.96 - INSET) * side for side in corner)
    inset: Axes = ax.inset_axes((x0, y0, INSET, INSET), xticks=[], yticks=[], zorder=4)
    norm = PowerNorm(0.5, *_range_within(drawn, center, half))
    options: dict[str, Any] = {"origin": drawn.origin, "extent": drawn.get_extent(), "interpolation": "nearest"}
    inset.imshow(_pixels(drawn), cmap=drawn.cmap, norm=norm, **options)
    inset.set(xlim=(center[0] - half, center[0] + half), ylim=(center[1] - half, center[1] + half))
    for spine in inset.spines.values():
        spine.set(color="white", linewidth=0.8)
    low = center[0] - half, center[1] - half
    ax.add_patch(Rectangle(low, 2 * half, 2 * half, fill=False, edgecolor="white", linewidth=0.8))
    distance = {label: np.abs(np.subtract(place, center)).max() for label, place in places.items()}
    mark(inset, {label: place for label, place in places.items() if distance[label] < half - 0.4}, scale=IN_INSET)
    inset.text(0.5, 0.02, f"{2 * half:g} px", transform=inset.transAxes, ha="center", va="bottom", **on_image())
    return inset


def _pixels(drawn: "AxesImage") -> Any:
    return drawn.get_array()


def _range_within(drawn: "AxesImage", center: Point, half: float) -> tuple[float | None, float | None]:
    """Find the smallest and the largest good value within a box."""
    image = _pixels(drawn)
    left, right, bottom, top = drawn.get_extent()
    x = left + (np.arange(image.shape[1]) + 0.5) * (right - left) / image.shape[1]
    y = bottom + (np.arange(image.shape[0]) + 0.5) * (top - bottom) / image.shape[0]
    good = image[np.ix_(np.abs(y - center[1]) < half + 0.5, np.abs(x - center[0]) < half + 0.5)].compressed()
    return (float(good.min()), float(good.max())) if good.size else (None, None)


def color_bar(drawn: "AxesImage", label: str) -> None:
    """Draw a color bar with the height of the image on its right, with ticks at zero and at powers of ten."""
    ax = drawn.axes
    (low, high), values = drawn.get_clim(), np.ma.compressed(np.ma.masked_invalid(drawn.get_array()))
    beyond = bool((values < low).any()), bool((values > high).any())
    arrows = {(True, True): "both", (True, False): "min", (False, True): "max"}.get(beyond, "neither")
    bar = ax.figure.colorbar(drawn, cax=ax.inset_axes((1.03, 0, 0.045, 1)), extend=arrows)
    bar.set_label(plain(label), **VERBATIM)
    powers = 10.0 ** np.arange(20, -21, -1)
    ticks, along = [0.0], np.asarray(drawn.norm(np.zeros(1)), dtype=float)
    # From the largest powers down, those that are clear of the ticks chosen before.
    for value in (signed for power in powers for signed in (power, -power) if low <= signed <= high):
        place = np.asarray(drawn.norm(np.array([value])), dtype=float)
        if np.abs(along - place).min() > CROWDED:
            ticks, along = [*ticks, float(value)], np.append(along, place)
    if len(ticks) > 2:
        bar.set_ticks(sorted(ticks), labels=[f"{value:g}".replace("-", "−") for value in sorted(ticks)])
        bar.minorticks_off()


def arcsec_axes(ax: "Axes", zero: Point, jacobian: NDArray[np.float64], *, of: str) -> None:
    """Draw axes in arcsec from a place at the top and on the right; `of` is the name of the place."""
    ax.tick_params(top=False, right=False)
    x, y = (
        (Polynomial((-place * scale, scale)), Polynomial((place, 1 / scale)))
        for place, scale in zip(zero, np.hypot(*jacobian).tolist(), strict=True)
    )
    ax.secondary_xaxis("top", functions=x).set_xlabel(f"x from the {of} [arcsec]")
    ax.secondary_yaxis("right", functions=y).set_ylabel(f"y from the {of} [arcsec]")


def compass(ax: "Axes", jacobian: NDArray[np.float64]) -> None:
    """Draw arrows to the north and the east in the corner of the smallest coordinates."""
    low, high = np.sort([ax.get_xlim(), ax.get_ylim()], axis=1).T
    length = 0.11 * (high - low).min()
    inverse = np.linalg.inv(jacobian)
    arrows = {label: inverse[:, k] / np.hypot(*inverse[:, k]) * length for k, label in enumerate("EN")}
    # The box of arrows and letters lies in the corner, whichever way they point.
    ends = np.array([[0, 0], *(1.45 * arrow for arrow in arrows.values())])
    origin = low + 0.03 * (high - low) - ends.min(axis=0)
    for label, arrow in arrows.items():
        style = {"arrowstyle": "->", "color": "white", "lw": 1.0, "shrinkA": 0, "shrinkB": 0, "path_effects": halo(1.0)}
        ax.annotate("", tuple(origin + arrow), tuple(origin), arrowprops=style)
        x, y = origin + 1.25 * arrow
        ax.text(x, y, label, ha="center", va="center", **on_image())


def scale_bar(ax: "Axes", scale: float) -> None:
    """Draw a bar of round length at the largest x and smallest y; `scale` is in arcsec per unit of the axes."""
    (left, low), (right, high) = np.sort([ax.get_xlim(), ax.get_ylim()], axis=1).T
    about = 0.2 * (right - left) * scale
    power = 10.0 ** math.floor(math.log10(about))
    length = max(step for step in (power, 2 * power, 5 * power) if step <= about)
    end, y = right - 0.04 * (right - left), low + 0.05 * (high - low)
    x = end - length / scale, end
    ax.plot(x, (y, y), color="white", lw=1.6, solid_capstyle="butt", path_effects=halo(1.6))
    middle = sum(x) / 2, y
    ax.annotate(f"{length:g}″", middle, (0, 2), textcoords="offset points", ha="center", va="bottom", **on_image())


def stretch_words(drawn: "AxesImage", unit: str) -> str:
    """Describe the stretch of an image and its limits."""
    kind = STRETCHES.get(type(drawn.norm).__name__, "")
    texts = (f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}" for value in drawn.get_clim())
    low, high = (text.replace("-", "−") for text in texts)
    return ", ".join(filter(None, (kind, f"{low} to {high} {unit}".rstrip())))


def note(ax: "Axes", text: str, *, corner: Corner) -> None:
    """Write on the image, in a corner."""
    right, upper = corner
    align: dict[str, Any] = {"ha": "right" if right else "left", "va": "top" if upper else "bottom"}
    where: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "zorder": 5}
    offset = 5 - 11 * right, 5 - 10 * upper
    ax.annotate(text, corner, offset, linespacing=1.25, **align, **where, **on_image())


def caption(ax: "Axes", lines: list[str]) -> None:
    """Write left-aligned lines above the axes; long ones are wrapped."""
    parts = [part for line in lines for part in textwrap.wrap(plain(line), WIDEST)]
    ax.set_title("\n".join(parts), loc="left", fontsize="small", linespacing=1.25, **VERBATIM)


def legend(ax: "Axes", *insets: "Axes") -> None:
    """Draw the legend for the marks of the axes and of its insets, below the label of the x axis."""
    import matplotlib as mpl
    from matplotlib.transforms import ScaledTranslation

    entries: dict[str, Artist] = {}
    for each in (ax, *insets):
        for handle, label in zip(*each.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    order = list(dict.fromkeys(label for label in (*MARKS, *entries) if label in entries))
    if not order:
        return
    below = ScaledTranslation(0, -3.4 * mpl.rcParams["font.size"] / 72, ax.figure.dpi_scale_trans)
    ax.legend(
        [entries[label] for label in order],
        order,
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        bbox_transform=ax.transAxes + below,
        ncols=2 if len(order) in {2, 4} else 3,
        frameon=False,
        borderaxespad=0,
        columnspacing=1.0,
        handlelength=1.2,
        handletextpad=0.7,
    )
