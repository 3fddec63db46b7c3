"""Define the accessors ``ds.ta``, ``ds.ta.plot`` and ``tree.ta``, whose methods call the functions of this package."""

import functools
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import xarray as xr

from xta import card, identity, programs, summary
from xta import plot as plots
from xta.acquisition.adjust import adjust_wcs
from xta.acquisition.attach import attach
from xta.acquisition.offset import compute_offset
from xta.acquisition.star import set_star
from xta.cubes.clean import clean
from xta.cubes.coadd import coadd, subtract
from xta.cubes.recenter import recenter
from xta.errors import readable
from xta.estimates.registration import register
from xta.estimates.table import estimates
from xta.estimates.template import estimate_center
from xta.geometry.sky import assign_sky, pixel_to_world, sel_sky, world_to_pixel
from xta.io.netcdf import to_netcdf
from xta.io.tofits import to_fits
from xta.io.tree import table_of
from xta.psfsub.companions import companions
from xta.psfsub.contrast import contrast
from xta.psfsub.derotate import derotate
from xta.psfsub.detection import snr
from xta.psfsub.photometry import star_flux
from xta.report import report
from xta.surveys.ensemble import monitor

__all__ = ["PlotAccessor", "TaAccessor", "TreeAccessor"]

NAME = "ta"

Object = TypeVar("Object")
Options = ParamSpec("Options")
Result = TypeVar("Result")


class _Access:
    """Make a new accessor at each access.

    xarray's own descriptor keeps the first one, and with it a variable ``ta`` that may have been replaced since.
    """

    def __init__(self, accessor: Callable[[Any], Any]) -> None:
        self._accessor = accessor

    def __get__(self, obj: Any, cls: type) -> Any:
        return self._accessor if obj is None else self._accessor(obj)


class _Accessor(Protocol[Object]):
    """An accessor with the object that it belongs to."""

    _obj: Object


def _documentation(function: Callable[..., object]) -> str:
    """Return the documentation of a function without the parameter for the dataset or the tree."""
    text = re.sub(
        r"^(ds|exposures|table|tree) : .*\n(    .*\n|\n(?=    ))*",
        "",
        inspect.getdoc(function) or "",
        count=1,
        flags=re.MULTILINE,
    )
    return re.sub(r"^Parameters\n-+\n\n", "", text, flags=re.MULTILINE)


def _method(
    function: Callable[Concatenate[Object, Options], Result],
) -> "Callable[Concatenate[_Accessor[Object], Options], Result]":
    """Convert a function of a dataset to a method with the same name, documentation and types."""

    @functools.wraps(function)
    def method(self: "_Accessor[Object]", /, *args: Options.args, **kwargs: Options.kwargs) -> Result:
        with readable():
            return function(self._obj, *args, **kwargs)

    signature = inspect.signature(function)
    _, *options = signature.parameters.values()
    this = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    vars(method)["__signature__"] = signature.replace(parameters=[this, *options])
    method.__doc__ = _documentation(function)
    return method


class PlotAccessor:
    """Figures of a dataset: ``ds.ta.plot()`` draws a page, ``ds.ta.plot.acquisition()`` and others a single figure."""

    def __init__(self, obj: xr.Dataset) -> None:
        self._obj = obj

    __call__ = _method(plots.summary)
    acquisition = _method(plots.acquisition)
    science = _method(plots.science)
    integrations = _method(plots.integrations)
    offsets = _method(plots.offsets)
    recentered = _method(plots.recentered)
    klip = _method(plots.klip)
    contrast = _method(plots.contrast)
    joint = _method(plots.joint)
    track = _method(plots.track)
    monitor = _method(plots.monitor)


@xr.register_dataset_accessor(NAME)
class TaAccessor:
    """Target acquisition of a JWST exposure: ``ds.ta.attach()``, ``ds.ta.compute_offset()`` and so on.

    Every method returns a new object and does not change the dataset. If a dataset has nothing to do with JWST and has
    a variable ``ta``, the name of air temperature in climate models, ``ds.ta`` is that variable.
    """

    def __new__(cls, obj: xr.Dataset) -> Any:
        """Return the accessor, or a variable ``ta`` of a dataset that has nothing to do with JWST."""
        if isinstance(obj, xr.Dataset) and "ta" in obj.variables and not identity.is_jwst(obj):
            return obj["ta"]
        return super().__new__(cls)

    def __init__(self, obj: xr.Dataset) -> None:
        self._obj = obj

    def __repr__(self) -> str:
        return summary.as_text(self._obj)

    def _repr_html_(self) -> str:
        return card.as_html(self._obj)

    @property
    def plot(self) -> PlotAccessor:
        """Figures: ``ds.ta.plot()`` draws a page, ``ds.ta.plot.acquisition()`` and others draw a single figure."""
        return PlotAccessor(self._obj)

    attach = _method(attach)
    compute_offset = _method(compute_offset)
    adjust_wcs = _method(adjust_wcs)
    set_star = _method(set_star)
    estimates = _method(estimates)
    estimate_center = _method(estimate_center)
    clean = _method(clean)
    register = _method(register)
    recenter = _method(recenter)
    derotate = _method(derotate)
    companions = _method(companions)
    snr = _method(snr)
    contrast = _method(contrast)
    star_flux = _method(star_flux)
    coadd = _method(coadd)
    subtract = _method(subtract)
    monitor = _method(monitor)
    report = _method(report)
    to_fits = _method(to_fits)
    assign_sky = _method(assign_sky)
    sel_sky = _method(sel_sky)
    pixel_to_world = _method(pixel_to_world)
    world_to_pixel = _method(world_to_pixel)


@xr.register_datatree_accessor(NAME)
class TreeAccessor:
    """The exposures of a program: ``tree.ta.analyze()``, ``tree.ta.recenter()`` and so on.

    Every method returns a new object and does not change the tree. If a tree has nothing to do with JWST and has a
    variable or group ``ta``, ``tree.ta`` is that variable or group.
    """

    def __new__(cls, obj: xr.DataTree) -> Any:
        """Return the accessor, or the variable or group ``ta`` of a tree that has nothing to do with JWST."""
        if isinstance(obj, xr.DataTree) and "ta" in obj and not any(map(identity.is_jwst, _datasets(obj))):
            return obj["ta"]
        return super().__new__(cls)

    def __init__(self, obj: xr.DataTree) -> None:
        self._obj = obj

    def __repr__(self) -> str:
        return summary.as_files(self.files)

    @property
    def files(self) -> xr.Dataset | None:
        """The table of the program's files: the group in which each was opened, or why it was left out."""
        return table_of(self._obj) if isinstance(self._obj, xr.DataTree) else None

    analyze = _method(programs.analyze)
    solve = _method(programs.solve)
    recenter = _method(programs.recenter)
    coadd = _method(programs.coadd)
    subtract_background = _method(programs.subtract_background)
    stack = _method(programs.stack)
    klip = _method(programs.klip)
    to_netcdf = _method(to_netcdf)


def _datasets(tree: xr.DataTree) -> Iterator[xr.Dataset]:
    return (node.to_dataset(inherit=False) for node in tree.subtree)


for _kind, _accessor in ((xr.Dataset, TaAccessor), (xr.DataTree, TreeAccessor)):
    setattr(_kind, NAME, _Access(_accessor))
