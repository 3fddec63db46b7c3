"""The accessor ``ds.ta``: names for the functions of this package, and nothing else."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import xarray as xr

from xta import adjust, fits, offset, sky
from xta.acquisition import attach
from xta.estimates import estimates as all_estimates
from xta.recenter import Size, recenter
from xta.report import report
from xta.template import estimate_center

if TYPE_CHECKING:
    from xta.plot import PlotAccessor

__all__ = ["TaAccessor", "documented_as"]

F = TypeVar("F", bound=Callable[..., Any])


def documented_as(function: Callable[..., Any]) -> Callable[[F], F]:
    """Give a method the documentation and, less its first parameter, the signature of a function."""

    def decorate(method: F) -> F:
        return functools.update_wrapper(method, function)  # type: ignore[return-value]

    return decorate


@xr.register_dataset_accessor("ta")
class TaAccessor:
    """Target acquisition of a JWST exposure: ``ds.ta.attach()``, ``ds.ta.compute_offset()`` and so on.

    Every method returns a new object and leaves the dataset as it is.
    """

    def __init__(self, obj: xr.Dataset) -> None:
        self._obj = obj

    def __repr__(self) -> str:
        from xta import card

        return card.as_text(self._obj)

    def _repr_html_(self) -> str:
        from xta import card

        return card.as_html(self._obj)

    @property
    def plot(self) -> "PlotAccessor":
        """Pictures: ``ds.ta.plot()`` is a page of them, ``ds.ta.plot.acquisition()`` and so on are single."""
        from xta.plot import PlotAccessor

        return PlotAccessor(self._obj)

    @documented_as(attach)
    def attach(
        self, acquisition: Any = None, *, oss: Any = None, targ_acq: Any = None, offline: bool = False
    ) -> xr.Dataset:
        return attach(self._obj, acquisition, oss=oss, targ_acq=targ_acq, offline=offline)

    @documented_as(offset.compute_offset)
    def compute_offset(self, *, centroid: offset.Centroid = "auto") -> xr.Dataset:
        return offset.compute_offset(self._obj, centroid=centroid)

    @documented_as(adjust.adjust_wcs)
    def adjust_wcs(self) -> xr.Dataset:
        return adjust.adjust_wcs(self._obj)

    @documented_as(all_estimates)
    def estimates(self, *, template: Any = None, oss: Any = None) -> xr.Dataset:
        return all_estimates(self._obj, template=template, oss=oss)

    @documented_as(estimate_center)
    def estimate_center(
        self, *, template: Any, center: tuple[float, float] | None = None, upsample: int = 20
    ) -> xr.Dataset:
        return estimate_center(self._obj, template=template, center=center, upsample=upsample)

    @documented_as(recenter)
    def recenter(self, *, method: str = "fourier", size: Size = None, fill: float | None = None) -> xr.Dataset:
        return recenter(self._obj, method=method, size=size, fill=fill)

    @documented_as(report)
    def report(self, path: str | os.PathLike[str]) -> Path:
        return report(self._obj, path)

    @documented_as(fits.to_fits)
    def to_fits(self, path: str | os.PathLike[str], *, template: str | os.PathLike[str] | None = None) -> None:
        fits.to_fits(self._obj, path, template=template)

    @documented_as(sky.assign_sky)
    def assign_sky(self) -> xr.Dataset:
        return sky.assign_sky(self._obj)

    @documented_as(sky.sel_sky)
    def sel_sky(self, ra: Any, dec: Any) -> xr.Dataset:
        return sky.sel_sky(self._obj, ra, dec)

    @documented_as(sky.pixel_to_world)
    def pixel_to_world(self, x: Any, y: Any) -> tuple[Any, Any]:
        return sky.pixel_to_world(self._obj, x, y)

    @documented_as(sky.world_to_pixel)
    def world_to_pixel(self, ra: Any, dec: Any) -> tuple[Any, Any]:
        return sky.world_to_pixel(self._obj, ra, dec)
