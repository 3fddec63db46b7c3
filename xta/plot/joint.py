"""Draw the stars of a joint solution: by each acquisition, and by all observations together."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from xta import model
from xta.errors import MissingError, counted
from xta.estimates.solve import solved_exposures
from xta.identity import header
from xta.plot import frame
from xta.plot.style import MARKS, VERBATIM, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Ellipse

__all__ = ["joint"]

BEFORE, AFTER = MARKS["WCS"].color, MARKS["WCS adjusted"].color
MOST_NAMES = 12  # more would cover the stars


class _Star(NamedTuple):
    """A star relative to its mask [mas], before and after, and the covariances."""

    name: str
    before: np.ndarray[Any, Any]
    after: np.ndarray[Any, Any]
    errors: tuple[float, float, float]
    """After: standard errors and their correlation."""
    prior: tuple[float, float] | None


def joint(
    exposures: xr.Dataset | xr.DataTree | Sequence[xr.Dataset], /, *, ax: "Axes | None" = None, caption: bool = True
) -> "list[Ellipse]":
    """Draw all stars of a joint solution relative to their masks.

    Parameters
    ----------
    exposures : sequence of xarray.Dataset, a stack or a tree
        The result of `xta.solve`.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on; by default those of a new figure.
    caption : bool
        Draw a caption above the figure.

    Returns
    -------
    list of matplotlib.patches.Ellipse
        One ellipse per exposure, with a size of one standard error: the star is inside in 39 % of cases. A cross with
        bars is the star before the solution; a line connects the two. Axes are in mas along x and y of the detector,
        with the mask at the origin.

    Raises
    ------
    MissingError
        If there is no joint solution.
    """
    from matplotlib.patches import Ellipse

    from xta.plot.figure import drawing

    stars = [_star(ds) for ds in solved_exposures(exposures)]
    if not stars:
        msg = "there is no joint solution to draw; call xta.solve(exposures) or tree.ta.solve() first"
        raise MissingError(msg)
    with drawing(ax, height=3.9) as axes:
        drawn = []
        for star in stars:
            axes.plot(*np.transpose([star.before, star.after]), color="0.6", lw=0.7, zorder=1)
            if star.prior is not None:
                bars: dict[str, Any] = {"xerr": star.prior[0], "yerr": star.prior[1], "lw": 0.8, "zorder": 2}
                axes.errorbar(star.before[0], star.before[1], fmt="x", color=BEFORE, ms=5, **bars)
            x, y, corr = star.errors
            values, vectors = np.linalg.eigh([[x**2, corr * x * y], [corr * x * y, y**2]])
            angle = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1]))
            width, height = 2 * np.sqrt(values[::-1])
            shape = Ellipse(
                star.after.tolist(), width, height, angle=angle, fc=f"{AFTER}33", ec=AFTER, lw=1.0, zorder=3
            )
            axes.add_patch(shape)
            drawn.append(shape)
            axes.plot(*star.after, ".", color=AFTER, ms=4, zorder=4)
            if len(stars) <= MOST_NAMES:
                text: dict[str, Any] = {"textcoords": "offset points", "fontsize": "x-small", "zorder": 5} | VERBATIM
                axes.annotate(plain(star.name), star.after.tolist(), (4, 4), **text)
        mark = MARKS["mask"]
        axes.plot(0, 0, mark.marker, mfc="none", mec=mark.color, ms=mark.size, mew=1.4, label="mask", zorder=2)
        axes.plot([], [], "x", color=BEFORE, label="acquisition alone")
        axes.plot([], [], ".", color=AFTER, label="joint solution")
        axes.set(xlabel="star − mask, x [mas]", ylabel="star − mask, y [mas]", aspect="equal")
        axes.grid(color="0.9", lw=0.5)
        axes.set_axisbelow(True)
        axes.margins(0.15)
        if caption:
            frame.caption(axes, [f"{counted(len(stars), 'exposure')}, one solution"])
        frame.legend(axes)
    return drawn


def _star(ds: xr.Dataset) -> _Star:
    mas = 1e3 * float(header(ds).get("pixel_scale", np.nan))
    places = [np.array([model.scalar(ds, f"{name}_{axis}") for axis in "xy"]) for name in ("prior", "target", "mask")]
    before, after, mask = (mas * place for place in places)
    errors = [mas * model.scalar(ds, f"target_{axis}_err") for axis in "xy"]
    prior = [mas * model.scalar(ds, f"prior_{axis}_err") for axis in "xy"]
    bars = (prior[0], prior[1]) if np.isfinite(prior).all() else None
    return _Star(
        str(header(ds).get("visit_id", "")),
        before - mask,
        after - mask,
        (errors[0], errors[1], model.scalar(ds, "target_xy_corr")),
        bars,
    )
