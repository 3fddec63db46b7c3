"""Draw the contrast against the separation."""

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xta import identity
from xta.errors import ArgumentError, MissingError
from xta.identity import words
from xta.plot import frame

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

__all__ = ["contrast"]

BLUE = "#0072B2"


def contrast(
    ds: xr.Dataset,
    /,
    *,
    ax: "Axes | None" = None,
    distance: float | None = None,
    caption: bool = True,
    **kwargs: Any,
) -> "Line2D":
    """Draw a contrast curve, with magnitudes on the right and, with a distance, astronomical units above.

    Parameters
    ----------
    ds : xarray.Dataset
        The result of `contrast`.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on; by default those of a new figure, as wide as a column of a journal.
    distance : float, optional
        Distance to the star [pc].
    caption : bool
        Draw a caption of the curve above it.
    **kwargs
        Arguments of `matplotlib.axes.Axes.plot`, such as ``color`` and ``label``.

    Returns
    -------
    matplotlib.lines.Line2D
        Its data are separation [arcsec] and contrast, or flux [Jy] if the star's flux is not known.

    Raises
    ------
    MissingError
        If the dataset contains no curve.
    ArgumentError
        If the distance is not positive.
    """
    from xta.plot.figure import drawing

    identity.require(ds, "radius", "flux_limit", step="image.ta.contrast(...)")
    if distance is not None and not distance > 0:
        msg = f"distance is {distance}; give a positive number of parsec"
        raise ArgumentError(msg)
    name = next((name for name in ("contrast", "flux_limit_jy", "flux_limit") if name in ds.variables), "")
    values, radius = ds[name].values, ds["radius"].values
    if not np.any(values > 0):
        msg = "the curve has no values, since no injected companion was detected; use a deeper image or another psf"
        raise MissingError(msg)
    with drawing(ax, height=2.9) as axes:
        style: dict[str, Any] = {"color": BLUE, "linewidth": 1.2} | kwargs
        (drawn,) = axes.plot(radius, np.where(values > 0, values, np.nan), **style)
        axes.set_yscale("log")
        unit = str(ds[name].attrs.get("units", ""))
        axes.set(xlabel="separation [arcsec]", ylabel="contrast" if name == "contrast" else f"flux [{unit}]")
        axes.set_xlim(left=0)
        axes.grid(visible=True, which="major", color="0.88", lw=0.6)
        if name == "contrast":
            right = axes.secondary_yaxis("right", functions=(_magnitude, _ratio))
            right.set_ylabel("difference [mag]")
            _plain_ticks(right)
        if distance is not None:
            scale = distance
            top = axes.secondary_xaxis(
                "top", functions=(lambda x: np.multiply(x, scale), lambda x: np.divide(x, scale))
            )
            top.set_xlabel("projected separation [au]")
        if caption:
            about = words(ds, "target_name", "filter", "mode", between="  ")
            number = int(ds.attrs["numbasis"])
            frame.caption(axes, [about, f"{number} component" + ("s" if number > 1 else "")])
    return drawn


def _magnitude(ratio: Any) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        return -2.5 * np.log10(ratio)


def _ratio(magnitude: Any) -> Any:
    return 10 ** (-0.4 * np.asarray(magnitude, dtype=float))


def _plain_ticks(axis: Any) -> None:
    """Put ticks at whole numbers on the axis of magnitudes, whose other side is logarithmic."""
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    axis.yaxis.set_major_formatter(ScalarFormatter())
    axis.yaxis.minorticks_off()
