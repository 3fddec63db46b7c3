"""Draw the exposures of a stack side by side."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import numpy as np
import xarray as xr

from xta import identity
from xta.errors import ArgumentError
from xta.plot.style import COLUMN, DPI, STYLE
from xta.stacks import members

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["axes_for", "side_by_side"]

MOST_COLUMNS = 3

Options = ParamSpec("Options")
Drawn = TypeVar("Drawn")


def side_by_side(
    draw: Callable[Concatenate[xr.Dataset, Options], Drawn],
) -> Callable[Concatenate[xr.Dataset, Options], Drawn]:
    """Make a plot function work on a stack, too: return a list, drawn on the axes of one figure or on those of `ax`."""

    @functools.wraps(draw)
    def drawn(ds: xr.Dataset, /, *args: Options.args, **kwargs: Options.kwargs) -> Any:
        parts = members(ds)
        if parts is None:
            return draw(identity.current(ds), *args, **kwargs)
        axes = axes_for(kwargs.pop("ax", None), len(parts))
        return [draw(part, *args, **{**kwargs, "ax": ax}) for part, ax in zip(parts, axes, strict=True)]  # type: ignore[arg-type]

    return drawn


def axes_for(given: Any, count: int) -> "Sequence[Axes]":
    """Return the given axes, one per image, or those of a new figure."""
    if given is not None:
        axes = np.atleast_1d(np.asarray(given, dtype=object)).ravel().tolist()
        if len(axes) != count:
            msg = f"there are {count} images and {len(axes)} axes; give as many axes, or none for a new figure"
            raise ArgumentError(msg)
        return list(axes)
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    from xta.plot.figure import Page

    columns = min(count, MOST_COLUMNS)
    rows = math.ceil(count / columns)
    plt.draw_if_interactive()  # type: ignore[no-untyped-call]
    with mpl.rc_context(STYLE):
        size = COLUMN * columns, 4.2 * rows
        figure = plt.figure(FigureClass=Page, figsize=size, dpi=DPI, layout="compressed")
        grid = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for spare in grid[count:]:
        spare.remove()
    return grid[:count]
