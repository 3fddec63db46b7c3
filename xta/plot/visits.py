"""Pointing errors of a visit's TA exposures, or of many visits."""

import logging
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xta import model
from xta.acquisition.image import image_centroid
from xta.acquisition.offset import target_position
from xta.errors import ArgumentError, CentroidError, SiafError
from xta.geometry import sphere, wcs
from xta.plot import frame, places
from xta.plot.figure import drawing
from xta.plot.style import MARKS, VERBATIM, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.transforms import Bbox

__all__ = ["Offset", "of_exposures", "offsets"]

logger = logging.getLogger(__name__)

INK = {"c", "color", "facecolor", "facecolors", "edgecolor", "edgecolors"}  # one replaces all
MOST_LABELS = 20  # more would cover the points
ROOM = 0.1  # least half width of the picture [pixel]
WIDTH, LINES = 14, 6  # of a label at most [characters]
CLEAR = 6  # around a point, of the labels of others [point]


@dataclass(frozen=True)
class Offset:
    """Pointing error by one TA exposure: target by the WCS of its file, minus the star."""

    exposure: int
    east: float
    north: float
    """On the sky [arcsec]."""
    source: str
    """What the star's place is from: a key of `style.MARKS`."""


def of_exposures(ds: xr.Dataset) -> list[Offset]:
    """Measure the pointing error in every TA exposure of a visit.

    Parameters
    ----------
    ds : xarray.Dataset
        With an acquisition attached.

    Returns
    -------
    list of Offset
        With the onboard centroid where there is one, else with that of the image; without the exposures in
        which no star stands out, or in which the TA region to look for it is not known.
    """
    if "centroid_ra" in ds.coords:  # the target as it was acquired
        target = float(ds["centroid_ra"] + ds["offset_ra"] / 3600), float(ds["centroid_dec"] + ds["offset_dec"] / 3600)
    else:
        target = target_position(ds)
    result = []
    for k in range(ds.sizes["ta_exposure"]):
        marks = places.in_acquisition(ds, k)
        star = places.centroid(marks)
        if star is None:
            try:
                found = image_centroid(ds, exposure=k)
            except (CentroidError, SiafError) as error:
                logger.info("no pointing error in ta_exposure %d: %s", k, error)
                continue
            star, marks = "image centroid", {"image centroid": (found.x, found.y)}
        ra, dec = wcs.pixel_to_world(wcs.load(str(ds["ta_wcs"].values[k])), *marks[star])
        result.append(Offset(k, *sphere.sky_offset(float(ra), float(dec), *target), star))
    return result


def offsets(
    ds: xr.Dataset,
    /,
    *,
    ax: "Axes | None" = None,
    labels: bool = True,
    legend: bool = True,
    caption: bool = True,
    **kwargs: Any,
) -> "list[PathCollection]":
    """Draw the pointing errors of all TA exposures of a visit, or of many visits.

    Parameters
    ----------
    ds : xarray.Dataset
        With an acquisition attached; or a table with ``offset_east`` and ``offset_north`` [arcsec] along one
        dimension, such as analysed exposures that were joined by `xarray.concat`.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default axes of a new figure, as wide as a column of a journal.
    labels : bool
        Whether to write at each point which exposure or visit it is, where there is room; more than 20 points
        have no labels.
    legend, caption : bool
        Whether to explain the points below, and to write above what they are.
    **kwargs
        Those of `matplotlib.axes.Axes.scatter`, such as ``s``, ``c`` and ``marker``.

    Returns
    -------
    list of matplotlib.collections.PathCollection
        Of a visit one for each source of centroids, then a ring around the exposure in use; of a table one.
        The data coordinates of their ``axes`` are arcsec towards east and towards north.

    Raises
    ------
    MissingError
        If there is neither an acquisition nor such a table.
    ArgumentError
        If the table has another shape.

    Notes
    -----
    Target by the WCS of the file, minus centroid. The header of each exposure knows the move that followed
    the exposure before, so all exposures of a visit should agree.
    """
    table = "offset_east" in ds.variables and ds["offset_east"].ndim
    series = _table(ds) if table else _visit(ds)
    with drawing(ax, height=3.7) as axes:
        drawn = []
        for one in series:
            options: dict[str, Any] = {"label": one.label, "zorder": 3} | one.style
            if INK & kwargs.keys():
                options = {key: value for key, value in options.items() if key not in INK}
            drawn.append(axes.scatter(*np.reshape(one.places, (-1, 2)).T, **(options | kwargs)))
        _dress(axes, series, float(ds.attrs.get("pixel_scale", 0.06)))
        if caption:
            frame.caption(axes, _caption(ds, series, 0 if table else ds.sizes["ta_exposure"]))
        if legend and len(series) > 1:
            frame.legend(axes)
        words = [word for one in series for word in one.words]
        if labels and len(words) <= MOST_LABELS:
            if ax is None:  # where there is room is known once the axes have their place
                figure: Any = axes.figure
                figure.draw_without_rendering()
            _label(axes, [place for one in series for place in one.places], words)
    return drawn


@dataclass(frozen=True)
class _Series:
    label: str
    places: list[tuple[float, float]]
    words: list[str]
    """Empty, or one for each place."""
    style: dict[str, Any]


def _visit(ds: xr.Dataset) -> list[_Series]:
    model.require(ds, "ta_wcs", "ta_in_use", step="ds.ta.attach()")
    found = of_exposures(ds)
    series = []
    for source in dict.fromkeys(one.source for one in found):
        mine = [one for one in found if one.source == source]
        mark = MARKS[source]
        ink = {"facecolors": "none", "edgecolors": mark.dark} if mark.open else {"color": mark.colour}
        style = {"marker": mark.marker, "s": 49, "linewidths": 1.4} | ink
        points = [(one.east, one.north) for one in mine]
        series.append(_Series(source, points, [str(one.exposure) for one in mine], style))
    used = [(one.east, one.north) for one in found if one.exposure == int(ds.attrs["ta_in_use"])]
    ring = {"marker": "o", "s": 160, "facecolors": "none", "edgecolors": "black", "linewidths": 0.8}
    return [*series, *([_Series("in use", used, [], ring)] if used else [])]


def _table(ds: xr.Dataset) -> list[_Series]:
    model.require(ds, "offset_north", step="ds.ta.compute_offset()")
    east, north = ds["offset_east"], ds["offset_north"]
    if east.ndim != 1 or east.dims != north.dims:
        msg = f"offset_east has the dimensions {east.dims}, offset_north {north.dims}; a table has one, the same"
        raise ArgumentError(msg)
    (dim,) = east.dims
    name = next((name for name in ("visit_id", "visit", dim) if name in ds.variables and ds[name].dims == (dim,)), None)
    words = [str(value) for value in (ds[name].values if name else range(ds.sizes[dim]))]
    style = {"marker": "o", "s": 20, "color": MARKS["OSS centroid"].colour, "linewidths": 0}
    known = np.isfinite(east.values) & np.isfinite(north.values)
    points = [(float(a), float(b)) for a, b in zip(east.values[known], north.values[known], strict=True)]
    return [_Series("", points, list(np.array(words)[known]), style)]


def _dress(ax: "Axes", series: list[_Series], pixel_scale: float) -> None:
    """Frame the points by a square with east to the left."""
    from matplotlib.ticker import MaxNLocator

    points = np.array([place for one in series for place in one.places]).reshape(-1, 2)
    middle, half = np.zeros(2), ROOM * pixel_scale
    if points.size:
        middle = (points.min(axis=0) + points.max(axis=0)) / 2
        half = max(half, 0.65 * float(np.ptp(points, axis=0).max()))
    east, north = middle
    ax.set(xlim=(east + half, east - half), ylim=(north - half, north + half), aspect="equal")
    ax.set(xlabel="WCS − centroid, east [arcsec]", ylabel="WCS − centroid, north [arcsec]")
    for axis, bins in ((ax.xaxis, 4), (ax.yaxis, 7)):  # side by side the numbers need more room
        axis.set_major_locator(MaxNLocator(bins, steps=[1, 2, 5, 10]))
    ax.ticklabel_format(style="plain", useOffset=False)
    ax.axhline(0, color="0.6", lw=0.6, zorder=0)
    ax.axvline(0, color="0.6", lw=0.6, zorder=0)
    ax.grid(color="0.9", lw=0.5)
    ax.set_axisbelow(True)


def _label(ax: "Axes", points: list[tuple[float, float]], words: list[str]) -> None:
    """Write a label beside each point, one for those that lie together, clear of edges, points and other labels."""
    ax.apply_aspect()
    groups = _together(ax, points, words)
    taken = _around(ax, list(groups))
    for point, labels in groups.items():
        lines = textwrap.wrap(", ".join(sorted(map(plain, labels), key=lambda word: (len(word), word))), WIDTH)
        if len(lines) > LINES:
            lines = [*lines[: LINES - 1], f"{len(labels)} in all"]
        for right, up in ((1, 1), (0, 1), (1, 0), (0, 0)):
            where: dict[str, Any] = {"xytext": (14 * right - 7, 8 * up - 4), "textcoords": "offset points"}
            align: dict[str, Any] = {"ha": "left" if right else "right", "va": "bottom" if up else "top"}
            text = ax.annotate("\n".join(lines), point, **where, **align, fontsize="small", **VERBATIM)
            box = text.get_window_extent()
            if all(ax.bbox.contains(*corner) for corner in (box.min, box.max)) and not box.count_overlaps(taken):
                taken.append(box)
                break
            text.remove()


def _around(ax: "Axes", points: list[tuple[float, float]]) -> "list[Bbox]":
    """Give boxes in which a label could be taken for that of another point."""
    from matplotlib.transforms import Bbox

    half = CLEAR * ax.figure.dpi / 72
    found = ax.transData.transform(np.reshape(points, (-1, 2)))
    return [Bbox([place - half, place + half]) for place in found]


def _together(ax: "Axes", points: list[tuple[float, float]], words: list[str]) -> dict[tuple[float, float], list[str]]:
    """Collect the words of points that lie together."""
    left, right = ax.get_xlim()
    together: dict[tuple[float, float], list[str]] = {}
    for point, word in zip(points, words, strict=False):
        near = [other for other in together if np.hypot(*np.subtract(point, other)) < 0.04 * abs(right - left)]
        together.setdefault(near[0] if near else point, []).append(word)
    return together


def _caption(ds: xr.Dataset, series: list[_Series], exposures: int) -> list[str]:
    """Say what the points are; of a visit with so many TA exposures also which are not there."""
    words = {word for one in series for word in one.words}
    unknown = [str(k) for k in range(exposures) if str(k) not in words]
    lines = ["  ".join(str(ds.attrs[name]) for name in ("target_name", "visit_id") if name in ds.attrs)]
    points = np.array([place for one in series for place in one.places if one.words])
    if len(points) > 1:
        spread = float(np.hypot(*points.std(axis=0, ddof=1)))
        lines.append(f"{len(points)} pointing errors, scatter {spread * 1e3:.2f} mas")
    if unknown:
        lines.append(f"no star known in ta_exposure {', '.join(unknown)}")
    return lines
