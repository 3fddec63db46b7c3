"""Draw the pointing errors of a visit's TA exposures, or of many visits."""

import itertools
import logging
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from xta import identity
from xta.acquisition.image import image_centroid
from xta.acquisition.offset import target_position
from xta.errors import ArgumentError, CentroidError, MissingError, SiafError
from xta.geometry import sphere, wcs
from xta.identity import header, words
from xta.plot import frame, places
from xta.plot.places import Point
from xta.plot.style import MARKS, VERBATIM, plain
from xta.stacks import is_stack

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection

__all__ = ["Offset", "of_exposures", "offsets"]

logger = logging.getLogger(__name__)

INK = {"c", "color", "facecolor", "facecolors", "edgecolor", "edgecolors"}  # any of them replaces all colors
TABLE = [
    ("o", MARKS["OSS centroid"].color),
    ("s", MARKS["mask"].color),
    ("^", MARKS["WCS adjusted"].color),
    ("D", MARKS["image centroid"].dark),
]
"""Marker and color of each instrument in a table."""

MOST_LABELS = 20  # more would cover the points
ROOM = 0.1  # smallest half width of the view [pixel]
WIDTH, LINES = 14, 6  # largest size of a label [characters]
CLEAR = 6  # distance of a point from the labels of others [point]


class Offset(NamedTuple):
    """Pointing error by one TA exposure: target by the WCS of its file, minus the star."""

    exposure: int
    east: float
    north: float
    """Offset on the sky [arcsec]."""
    source: str
    """Source of the star's place: a key of `style.MARKS`."""


def of_exposures(ds: xr.Dataset) -> list[Offset]:
    """Measure the pointing error in every TA exposure of a visit.

    The star is at the onboard centroid if there is one, or else at that of the image. Exposures without a star above
    the noise, or without a known TA region, are left out.
    """
    target = places.star_and_target(ds)[1] if "centroid_ra" in ds.coords else target_position(ds)
    result = []
    for label in places.exposure_labels(ds):
        exposure = places.one_exposure(ds, label)
        marks = places.acquisition_marks(exposure)
        star = places.star_mark(marks)
        if star is None:
            try:
                centroid = image_centroid(exposure, exposure=label)
            except (CentroidError, MissingError, SiafError) as error:
                logger.info("no pointing error in ta_exposure %d: %s", label, error)
                continue
            star, marks = "image centroid", {"image centroid": (centroid.x, centroid.y)}
        ra, dec = wcs.pixel_to_world(places.ta_wcs(exposure), *marks[star])
        result.append(Offset(label, *sphere.sky_offset(float(ra), float(dec), *target), star))
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
        An exposure with an acquisition attached; or a table with ``offset_east`` and ``offset_north`` [arcsec] along
        one dimension, such as analyzed exposures joined by `xarray.concat`.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on; by default those of a new figure, as wide as a column of a journal.
    labels : bool
        Label each point with its exposure, counted from 1, or its visit, if there is room; more than 20 points have
        no labels.
    legend, caption : bool
        Show a legend of the points below them, and a caption above.
    **kwargs
        Arguments of `matplotlib.axes.Axes.scatter`, such as ``s``, ``c`` and ``marker``.

    Returns
    -------
    list of matplotlib.collections.PathCollection
        For a visit, one per source of centroids, then a ring around the exposure in use; for a table, one per
        instrument. The data coordinates of their ``axes`` are arcsec toward east and toward north.

    Raises
    ------
    MissingError
        If there is neither an acquisition nor such a table.
    ArgumentError
        If the table has another shape.

    Notes
    -----
    The pointing error is the target by the WCS of the file, minus the centroid. The header of each exposure includes
    the move after the exposure before, so all exposures of a visit should agree. The instruments in a table have
    different marks and scatter, since their pixels differ.
    """
    from xta.plot.figure import drawing

    table = bool("offset_east" in ds.variables and ds["offset_east"].ndim)
    if not table and is_stack(ds):
        msg = "the stack has no offsets yet; call ds.ta.compute_offset() first, or select one exposure"
        raise MissingError(msg)
    ds = ds if table else identity.current(ds)
    series = _table(ds) if table else _visit(ds)
    with drawing(ax, height=3.7) as axes:
        drawn = [_scatter(axes, points, kwargs) for points in series]
        _dress(axes, series, float(header(ds).get("pixel_scale", 0.06)))
        if caption:
            frame.caption(axes, _caption(ds, series, 0 if table else ds["ta_exposure"].size))
        if legend and len(series) > 1:
            frame.legend(axes)
        named = [pair for points in series for pair in zip(points.names, points.at, strict=False)]
        if labels and len(named) <= MOST_LABELS:
            if ax is None:  # the room for labels is known once the axes have their place
                axes.figure.draw_without_rendering()  # type: ignore[union-attr]
            _label(axes, named)
    return drawn


class _Points(NamedTuple):
    """Points that look the same, with no names or one name each."""

    label: str
    at: list[Point]
    names: list[str]
    style: dict[str, object]


def _visit(ds: xr.Dataset) -> list[_Points]:
    identity.require(ds, "ta_wcs", "ta_exposure", step="ds.ta.attach()")
    errors, labels = of_exposures(ds), places.exposure_labels(ds)
    series = []
    for source in dict.fromkeys(error.source for error in errors):
        mark, same = MARKS[source], [error for error in errors if error.source == source]
        ink = {"facecolors": "none", "edgecolors": mark.dark} if mark.open else {"color": mark.color}
        style = {"marker": mark.marker, "s": 49, "linewidths": 1.4} | ink
        points = [(error.east, error.north) for error in same]
        series.append(_Points(source, points, [str(labels.index(error.exposure) + 1) for error in same], style))
    used = [(error.east, error.north) for error in errors if error.exposure == header(ds).get("ta_in_use")]
    ring = {"marker": "o", "s": 160, "facecolors": "none", "edgecolors": "black", "linewidths": 0.8}
    return [*series, *([_Points("in use", used, [], ring)] if used else [])]


def _table(ds: xr.Dataset) -> list[_Points]:
    identity.require(ds, "offset_north", step="ds.ta.compute_offset()")
    east, north = ds["offset_east"], ds["offset_north"]
    if east.ndim != 1 or east.dims != north.dims:
        msg = f"offset_east has the dimensions {east.dims} and offset_north {north.dims}; give both the same one"
        raise ArgumentError(msg)
    (dim,) = east.dims
    name = next((name for name in ("visit_id", "visit") if name in ds.variables and ds[name].dims == (dim,)), dim)
    at = np.column_stack([east, north]).astype(float)
    finite = np.isfinite(at).all(axis=1)
    given = "instrument" in ds.variables and ds["instrument"].dims == (dim,)
    instruments = np.char.upper(ds["instrument"].values.astype(str)) if given else np.full(at.shape[0], "")
    series = []
    for instrument, (marker, color) in zip(np.unique(instruments[finite]), itertools.cycle(TABLE), strict=False):
        chosen = finite & (instruments == instrument)
        points = [(x, y) for x, y in at[chosen].tolist()]
        style = {"marker": marker, "s": 20, "color": color, "linewidths": 0}
        series.append(_Points(str(instrument), points, [str(value) for value in ds[name].values[chosen]], style))
    return series or [_Points("", [], [], {})]


def _scatter(ax: "Axes", points: _Points, given: dict[str, Any]) -> "PathCollection":
    style = points.style if not INK & given.keys() else {k: v for k, v in points.style.items() if k not in INK}
    options: dict[str, Any] = {"label": points.label, "zorder": 3} | style | given
    return ax.scatter(*np.reshape(points.at, (-1, 2)).T, **options)


def _dress(ax: "Axes", series: list[_Points], pixel_scale: float) -> None:
    """Set the view to a square around the points, with east to the left."""
    from matplotlib.ticker import MaxNLocator

    at = np.array([place for points in series for place in points.at]).reshape(-1, 2)
    middle, half = np.zeros(2), ROOM * pixel_scale
    if at.size:
        middle = (at.min(axis=0) + at.max(axis=0)) / 2
        half = max(half, 0.65 * float(np.ptp(at, axis=0).max()))
    east, north = middle
    ax.set(xlim=(east + half, east - half), ylim=(north - half, north + half), aspect="equal")
    ax.set(xlabel="WCS − centroid, east [arcsec]", ylabel="WCS − centroid, north [arcsec]")
    for axis, bins in ((ax.xaxis, 4), (ax.yaxis, 7)):  # numbers side by side need more room
        axis.set_major_locator(MaxNLocator(bins, steps=[1, 2, 5, 10]))
    ax.ticklabel_format(style="plain", useOffset=False)
    ax.axhline(0, color="0.6", lw=0.6, zorder=0)
    ax.axvline(0, color="0.6", lw=0.6, zorder=0)
    ax.grid(color="0.9", lw=0.5)
    ax.set_axisbelow(True)


def _label(ax: "Axes", named: list[tuple[str, Point]]) -> None:
    """Write a label beside each point, one for those that lie together, clear of edges, points and other labels."""
    from matplotlib.transforms import Bbox

    ax.apply_aspect()
    groups = _together(ax, named)
    half = CLEAR * ax.figure.dpi / 72
    taken = [Bbox([place - half, place + half]) for place in ax.transData.transform(np.reshape([*groups], (-1, 2)))]
    style: dict[str, Any] = {"fontsize": "small"} | VERBATIM
    # Each label tries the four corners of its point in turn, and is left out where it would touch what is there.
    for point, names in groups.items():
        for right, up in ((1, 1), (0, 1), (1, 0), (0, 0)):
            align: dict[str, Any] = {"ha": "left" if right else "right", "va": "bottom" if up else "top"}
            offset = 14 * right - 7, 8 * up - 4
            text = ax.annotate(_lines(names), point, offset, textcoords="offset points", **align, **style)
            box = text.get_window_extent()
            if all(ax.bbox.contains(*corner) for corner in (box.min, box.max)) and not box.count_overlaps(taken):
                taken.append(box)
                break
            text.remove()


def _lines(names: list[str]) -> str:
    lines = textwrap.wrap(", ".join(sorted(map(plain, names), key=lambda name: (len(name), name))), WIDTH)
    return "\n".join(lines if len(lines) <= LINES else [*lines[: LINES - 1], f"{len(names)} in all"])


def _together(ax: "Axes", named: Iterable[tuple[str, Point]]) -> dict[Point, list[str]]:
    """Collect the names of points that lie together."""
    left, right = ax.get_xlim()
    groups: dict[Point, list[str]] = {}
    for name, point in named:
        near = [other for other in groups if np.hypot(*np.subtract(point, other)) < 0.04 * abs(right - left)]
        groups.setdefault(near[0] if near else point, []).append(name)
    return groups


def _caption(ds: xr.Dataset, series: list[_Points], count: int) -> list[str]:
    """Describe what the points are, and which of a visit's `count` TA exposures are not among them."""
    names = {name for points in series for name in points.names}
    absent = [str(k + 1) for k in range(count) if str(k + 1) not in names]
    lines = [words(ds, "target_name", "visit_id", between="  ")]
    # The exposures of a visit are one sample, whatever their centroids are from; instruments are not.
    named = [points for points in series if points.names]
    samples = {"": [place for points in named for place in points.at]} if count else {p.label: p.at for p in named}
    for label, at in samples.items():
        if len(at) > 1:
            spread = float(np.hypot(*np.std(at, axis=0, ddof=1)))
            what = f"{label}: " if label else ""
            lines.append(f"{what}{len(at)} pointing errors, scatter {spread * 1e3:.2f} mas")
    return [*lines, f"no star is known in exposure {', '.join(absent)}"] if absent else lines
