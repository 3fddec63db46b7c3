"""Find the star behind a JWST coronagraph from its target acquisition, with xarray.

Importing xta registers the accessor ``ds.ta`` and the engine "jwst" of `xarray.open_dataset`. Large libraries
are imported only by the functions that need them.
"""

import importlib
from typing import Any

__version__ = "0.2.0"

from xta.accessor import TaAccessor, TreeAccessor
from xta.acquisition.analyze import analyze, analyze_visit
from xta.acquisition.closure import closure
from xta.acquisition.targ_acq import read_targ_acq
from xta.errors import XtaError, XtaWarning
from xta.estimates.registration import register
from xta.estimates.solve import solution, solve
from xta.estimates.sources import find_sources, measure_maneuver
from xta.io.backend import open_exposure
from xta.io.netcdf import to_netcdf, to_zarr
from xta.io.orbits import to_octofitter, to_orbitize
from xta.io.spaceklip import to_spaceklip
from xta.programs import open_program
from xta.psfsub import inject, klip, to_pyklip, to_vip
from xta.stacks import stack
from xta.surveys import survey, to_ecsv
from xta.versions import show_versions

__all__ = [
    "TaAccessor",
    "TreeAccessor",
    "XtaError",
    "XtaWarning",
    "analyze",
    "analyze_visit",
    "closure",
    "find_sources",
    "inject",
    "klip",
    "measure_maneuver",
    "open_exposure",
    "open_program",
    "read_targ_acq",
    "register",
    "show_versions",
    "solution",
    "solve",
    "stack",
    "survey",
    "to_ecsv",
    "to_netcdf",
    "to_octofitter",
    "to_orbitize",
    "to_pyklip",
    "to_spaceklip",
    "to_vip",
    "to_zarr",
]

_MODULES = {
    **{name: f"xta.{name}" for name in ("archive", "datasets", "errors", "osslog", "pipeline")},
    **{name: f"xta.{name}" for name in ("plot", "psfsub", "report")},
    **{name: f"xta.geometry.{name}" for name in ("siaf", "sky", "wcs")},
    "centroid": "xta.images.centroid",
    "instrument": "xta.acquisition.instrument",
}
"""Public name of a module -> its path in the package."""


def __getattr__(name: str) -> Any:
    """Import a public module of xta, such as ``xta.datasets`` or ``xta.osslog``, when it is first used."""
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name == "TargetAcquisitionStep":  # the name for ``strun``
        return getattr(importlib.import_module("xta.pipeline"), name)
    msg = f"module 'xta' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
