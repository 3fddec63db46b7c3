"""The methods of ``ds.ta.plot``: names for the functions of this package, and nothing else."""

# ruff: noqa: D102 (each method takes over the docstring of its function)

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import xarray as xr

from xta.accessor import documented_as
from xta.plot import centred, exposures, page, visits

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.image import AxesImage

__all__ = ["PlotAccessor"]


class PlotAccessor:
    """Pictures of a dataset: ``ds.ta.plot()`` is a page of them, ``ds.ta.plot.acquisition()`` and so on are single."""

    def __init__(self, obj: xr.Dataset) -> None:
        self._obj = obj

    @documented_as(page.summary)
    def __call__(self, *, figure: "Figure | SubFigure | None" = None) -> "Figure | SubFigure":
        return page.summary(self._obj, figure=figure)

    @documented_as(exposures.acquisition)
    def acquisition(
        self,
        *,
        ax: "Axes | None" = None,
        exposure: int | None = None,
        zoom: bool = True,
        legend: bool = True,
        caption: bool = True,
        **kwargs: Any,
    ) -> "AxesImage":
        return exposures.acquisition(
            self._obj, ax=ax, exposure=exposure, zoom=zoom, legend=legend, caption=caption, **kwargs
        )

    @documented_as(exposures.science)
    def science(
        self,
        *,
        ax: "Axes | None" = None,
        integration: int | None = None,
        zoom: bool = True,
        legend: bool = True,
        caption: bool = True,
        **kwargs: Any,
    ) -> "AxesImage":
        return exposures.science(
            self._obj, ax=ax, integration=integration, zoom=zoom, legend=legend, caption=caption, **kwargs
        )

    @documented_as(visits.offsets)
    def offsets(
        self,
        *,
        ax: "Axes | None" = None,
        labels: bool = True,
        legend: bool = True,
        caption: bool = True,
        **kwargs: Any,
    ) -> "list[PathCollection]":
        return visits.offsets(self._obj, ax=ax, labels=labels, legend=legend, caption=caption, **kwargs)

    @documented_as(centred.recentered)
    def recentered(
        self,
        *,
        ax: "Axes | None" = None,
        integration: int | None = None,
        rings: Sequence[float] | None = None,
        legend: bool = True,
        caption: bool = True,
        **kwargs: Any,
    ) -> "AxesImage":
        return centred.recentered(
            self._obj, ax=ax, integration=integration, rings=rings, legend=legend, caption=caption, **kwargs
        )

    @documented_as(centred.klip)
    def klip(
        self,
        *,
        ax: "Axes | None" = None,
        numbasis: int | None = None,
        add_colorbar: bool = True,
        caption: bool = True,
        **kwargs: Any,
    ) -> "AxesImage":
        return centred.klip(self._obj, ax=ax, numbasis=numbasis, add_colorbar=add_colorbar, caption=caption, **kwargs)
