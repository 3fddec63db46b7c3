"""Use everything once on import, in one thread: libraries, apertures and schemas are there in what is forked then."""

import os
import warnings
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import dask
import xarray as xr

import xta
import xta.archive.client
import xta.archive.search
import xta.cli
import xta.estimates.solve
import xta.surveys
from xta import datasets


def _use(folder):
    visit = datasets.make_visit(folder, mode="nircam", integrations=2, ideal=True)
    ds = xta.analyze(visit.science[0], chunks={})
    xta.to_netcdf(ds, folder / "a.nc")
    with xr.open_dataset(folder / "a.nc", chunks={}) as again:
        centered = again.ta.recenter().load()
        centered.ta.to_fits(folder / "a.fits")
        xta.to_zarr(centered, folder / "a.zarr")
        again.ta.report(folder / "a.html")


for library in ("astroquery.mast.discovery_portal", "pyklip.klip"):
    import_module(library)
os.environ["XTA_OFFLINE"] = "1"
with TemporaryDirectory() as name, dask.config.set(scheduler="synchronous"), warnings.catch_warnings():
    warnings.simplefilter("ignore")
    _use(Path(name))
