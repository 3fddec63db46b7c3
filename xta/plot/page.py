"""Draw all results of an exposure on one page."""

import math
import textwrap
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import xarray as xr

from xta import identity
from xta.acquisition.offset import target_position
from xta.errors import AcquisitionError
from xta.plot.centered import klip, recentered
from xta.plot.exposures import acquisition, guider, science
from xta.plot.style import DPI, PAGE, STYLE, VERBATIM, plain
from xta.plot.visits import offsets
from xta.stacks import members
from xta.summary import AXES, checks, rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = ["summary"]

Panel: TypeAlias = tuple[Callable[..., object], tuple[float, float, float, float]]
"""Function that draws on axes; their left, top, width and height, from the upper left corner of the page [inch]."""

LEFT = (0.55, 4.1)  # left edges of the two columns
IMAGES, SIDE = 1.35, 2.3  # top and width of the images; captions and arcsec axes are above
LOWER = 4.6  # top of the lower row
LINE = 11 / 72  # height of a line of numbers
WIDEST = 56  # line of notes [characters]
HEAD = "0.35"
SIGNS = {1: ("✓", "#00662B"), 0: ("✗", "#B3001B"), -1: ("–", "0.45")}
"""Value of check_passed -> sign and color: green, red, and gray if not tested."""


class _Line(NamedTuple):
    """A line of text, with two numbers at the right if it is one of a table."""

    text: str = ""
    x: str = ""
    y: str = ""
    color: str = "black"


def summary(ds: xr.Dataset, *, figure: "Figure | SubFigure | None" = None) -> "Figure | SubFigure":
    """Draw all results of an exposure on one page.

    Parameters
    ----------
    ds : xarray.Dataset
        An exposure, with an acquisition attached, analyzed or recentered; or the result of `xta.klip`.
    figure : matplotlib.figure.Figure or SubFigure, optional
        Figure to draw on; by default a new one, as wide as a page of a journal.

    Returns
    -------
    matplotlib.figure.Figure
        A new figure is not registered with pyplot: notebooks show it, no window opens, and it need not be
        closed. For a window pass ``figure=plt.figure(figsize=(7.1, 7.8))``.

    Raises
    ------
    MissingError
        If the dataset contains no images.

    Notes
    -----
    The page shows the acquisition in use, the science frame (or the recentered one), the pointing errors if there are
    several TA exposures, and the numbers.
    """
    import matplotlib as mpl

    parts = members(ds)
    if parts is not None:
        return _pages(parts, figure)
    ds = identity.current(ds)
    panels, height = _plan(ds)
    with mpl.rc_context(STYLE):
        if figure is None:
            from xta.plot.figure import Page

            figure = Page(figsize=(PAGE, height), dpi=DPI)
        for draw, (left, top, width, high) in panels:
            draw(ax=figure.add_axes((left / PAGE, 1 - (top + high) / height, width / PAGE, high / height)))
        title = plain(identity.words(ds, "target_name", "visit_id", "instrument", "filter", between="   "))
        figure.suptitle(title, y=1 - 0.12 / height, va="top", fontsize=9.5, fontweight="bold", **VERBATIM)
    return figure


def _pages(parts: "list[xr.Dataset]", figure: "Figure | SubFigure | None") -> "Figure | SubFigure":
    """Draw one page per exposure, one below the other."""
    heights = [_plan(part)[1] for part in parts]
    if figure is None:
        from xta.plot.figure import Page

        figure = Page(figsize=(PAGE, sum(heights)), dpi=DPI)
    below = figure.subfigures(len(parts), 1, height_ratios=heights, squeeze=False)
    for part, place in zip(parts, below[:, 0], strict=True):
        summary(part, figure=place)
    return figure


def _plan(ds: xr.Dataset) -> tuple[list[Panel], float]:
    """Choose the panels of a page, and its height [inch]."""
    if "klip" in ds.variables:
        numbers = [int(number) for number in np.atleast_1d(ds["numbasis"].values)]
        places = [(LEFT[k % 2], 0.75 + 3.2 * (k // 2), 2.3, 2.3) for k in range(len(numbers))]
        draws = [partial(klip, ds, numbasis=number) for number in numbers]
        return list(zip(draws, places, strict=True)), places[-1][1] + 2.9
    table, notes = (math.ceil(20 * LINE * len(lines(ds))) / 20 for lines in (_numbers, _notes))  # whole pixels
    images: list[Callable[..., object]] = [acquisition] if "ta_sci" in ds.variables else []
    if not (images and identity.is_ta(ds)):  # an acquisition by itself is not drawn twice
        identity.require(ds, "sci", step="xta.open_exposure")
        images.append(recentered if "star_x" in ds.coords else science)
    boxes = [(left, IMAGES, SIDE, SIDE) for left in LEFT]
    panels: list[Panel] = [(partial(draw, ds), box) for draw, box in zip(images, boxes, strict=False)]
    several = False
    with suppress(AcquisitionError):  # without a position of the target there is no pointing error
        several = "ta_wcs" in ds.variables and ds["ta_wcs"].size > 1 and bool(target_position(ds))
    if several:
        panels.append((partial(offsets, ds), (LEFT[0] + 0.3, LOWER + 0.25, 2.0, 2.0)))
    right = LEFT[1] - 0.25
    if len(images) == 1:
        corners = (right, IMAGES - 0.4), (LEFT[0], LOWER + 3.1 * several)
    elif several:
        corners = (right, LOWER), (LEFT[0], LOWER + 3.1)
    else:
        corners = (LEFT[0], LOWER), (right, LOWER)
    for lines, (left, top), high in zip((_numbers, _notes), corners, (table, notes), strict=True):
        panels.append((partial(_write, ds, lines), (left, top, 3.15, high)))
    lowest = max(LOWER, *(top + high for (_, top), high in zip(corners, (table, notes), strict=True)))
    return panels, round(lowest + 0.1, 3)  # a sum of decimals may be less than whole pixels by its last digit


def _numbers(ds: xr.Dataset) -> list[_Line]:
    """Make the lines of the tables, with the heads of their columns: pixels first, then the sky."""
    lines: list[_Line] = []
    for axes, heads in AXES.items():
        measured = rows(ds, axes=axes)
        if measured:
            gap = [_Line()] if lines else []
            lines += [*gap, _Line("", *heads, color=HEAD), *(_Line(*row) for row in measured)]
    return lines


def _notes(ds: xr.Dataset) -> list[_Line]:
    """Make the lines with the sources of the numbers and the results of the checks, each with a sign and a color."""
    facts = {
        "centroid": identity.words(ds, "centroid_source"),
        "guider": guider(ds),
        "mask": identity.words(ds, "coronagraphic_mask"),
        "SIAF": identity.words(ds, "prd_version"),
    }
    lines = [_Line(text) for what, fact in facts.items() if fact for text in _wrapped(f"{what}: {fact}")]
    judged = checks(ds)
    if judged:
        lines += [_Line(), _Line("checks", color=HEAD)]
    for check in judged:
        sign, color = SIGNS[check.state]
        text = f"{sign} {check.name}" + (f": {check.reason}" if check.state == 0 else "")
        lines += [_Line(line, color=color) for line in _wrapped(text)]
    return lines


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDEST, subsequent_indent="    ")


def _write(ds: xr.Dataset, lines: Callable[[xr.Dataset], list[_Line]], *, ax: "Axes") -> None:
    ax.set_axis_off()
    style: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "top", "fontsize": 7}
    for k, line in enumerate(lines(ds)):
        for x, text in zip((0.0, 0.77, 1.0), (line.text, line.x, line.y), strict=True):
            if text:
                align: dict[str, Any] = {"ha": "right" if x else "left", "color": line.color}
                ax.annotate(plain(text), (x, 1), (0, -72 * LINE * k), **align, **style, **VERBATIM)
