"""Draw the stars of the integrations of an exposure, and of the visits of a survey."""

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xta.errors import MissingError, counted
from xta.plot import frame
from xta.plot.style import MARKS, VERBATIM, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import ErrorbarContainer

__all__ = ["monitor", "track"]

COLORS = {"x": MARKS["OSS centroid"].color, "y": MARKS["mask"].color}
MOST_NAMES = 40  # characters of the name of a group


def track(
    table: xr.Dataset, /, *, pixel_scale: float | None = None, ax: "Axes | None" = None, caption: bool = True
) -> "list[ErrorbarContainer]":
    """Draw how the star moved over the integrations of an exposure.

    Parameters
    ----------
    table : xarray.Dataset
        The result of ``ds.ta.register(each="integration")``.
    pixel_scale : float, optional
        Pixel scale [arcsec]; by default that of the exposure, which is in the table.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on; by default those of a new figure.
    caption : bool
        Draw a caption with the motion of the star.

    Returns
    -------
    list of matplotlib.container.ErrorbarContainer
        Along x and y of the detector [mas], with standard errors, against the number of the integration.

    Raises
    ------
    MissingError
        If the table is not one of integrations.
    """
    from matplotlib.ticker import MaxNLocator

    from xta.plot.figure import drawing

    if "dx" not in table.variables or table["dx"].dims != ("integration",):
        msg = "there is no track to draw; give the table of ds.ta.register(each='integration')"
        raise MissingError(msg)
    mas = 1e3 * float(table.attrs.get("pixel_scale", np.nan) if pixel_scale is None else pixel_scale)
    numbers = (
        table["integration"].values if "integration" in table.coords else 1 + np.arange(table.sizes["integration"])
    )
    with drawing(ax, height=2.6) as axes:
        drawn = []
        for axis, color in COLORS.items():
            values, errors = mas * table[f"d{axis}"].values, mas * table[f"d{axis}_err"].values
            style: dict[str, Any] = {"ms": 3.5, "lw": 0.9, "elinewidth": 0.7, "label": axis}
            drawn.append(axes.errorbar(numbers, values, yerr=errors, fmt="o-", color=color, **style))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _dress(axes, "integration", "star − mean star [mas]")
        if caption:
            jitter = [mas * float(table[f"d{axis}"].std()) for axis in "xy"]
            frame.caption(axes, [f"rms {jitter[0]:.2f} mas along x, {jitter[1]:.2f} mas along y"])
        frame.legend(axes)
    return drawn


def monitor(table: xr.Dataset, /, *, ax: "Axes | None" = None, caption: bool = True) -> "list[ErrorbarContainer]":
    """Draw the mean of star minus aim of each group of visits, with its standard error.

    Parameters
    ----------
    table : xarray.Dataset
        The result of ``survey.ta.monitor()``.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on; by default those of a new figure.
    caption : bool
        Draw a caption with the number of visits.

    Returns
    -------
    list of matplotlib.container.ErrorbarContainer
        Along x and y of the detector [mas], one point per group. A pale bar is the scatter of single visits.

    Raises
    ------
    MissingError
        If the table is not one of a monitor.
    """
    from xta.plot.figure import drawing

    if "mean_x" not in table.variables:
        msg = "there is no monitor to draw; give the table of survey.ta.monitor()"
        raise MissingError(msg)
    by = [name for name, each in table.coords.items() if each.dims == ("group",) and name != "instrument"]
    names = [" ".join(plain(table[name].values[k]) for name in by)[:MOST_NAMES] for k in range(table.sizes["group"])]
    with drawing(ax, height=1.4 + 0.32 * len(names)) as axes:
        drawn = []
        for shift, (axis, color) in zip((-0.12, 0.12), COLORS.items(), strict=True):
            at, mean = np.arange(len(names)) + shift, table[f"mean_{axis}"].values
            axes.errorbar(mean, at, xerr=table[f"scatter_{axis}"].values, fmt="none", ecolor=color, alpha=0.3, lw=3)
            style: dict[str, Any] = {"ms": 4, "elinewidth": 1.2, "label": axis, "color": color}
            drawn.append(axes.errorbar(mean, at, xerr=table[f"mean_{axis}_err"].values, fmt="o", **style))
        axes.set_yticks(range(len(names)), names, **VERBATIM)
        axes.invert_yaxis()
        axes.axvline(0, color="0.6", lw=0.6, zorder=0)
        _dress(axes, "star − aim [mas]", "")
        if caption:
            frame.caption(axes, [counted(int(table["number"].sum()), "visit")])
        frame.legend(axes)
    return drawn


def _dress(axes: "Axes", xlabel: str, ylabel: str) -> None:
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.grid(color="0.9", lw=0.5)
    axes.set_axisbelow(True)
