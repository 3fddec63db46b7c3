"""The numbers of the accuracy page, measured on sample visits whose truth is known.

The page's table promises, `measure` measures, and ``tests/test_docs.py`` holds the two together.
"""

import math
import re
import tempfile
from pathlib import Path

import numpy as np
import xarray as xr

import xta
from xta import datasets, osslog

ROW = re.compile(r"\| `(\w+)` \|[^|]*\| (?:≤ ([\d.e−-]+)|([\d.]+) ± ([\d.]+)) \|")

VISITS = {
    "nircam": {"mode": "nircam"},
    "bar": {"mode": "NRCA5_MASKLWB"},
    "miri": {"mode": "miri"},
    "pole": {"mode": "nircam", "target": (80.0, 88.5)},
    "target": {"mode": "nircam", "target_error": (0.5, -0.3)},
    "newest": {"mode": "nircam", "prd": "PRDOPSSOC-075"},
}


def promised(page):
    """Read the table of the page: name -> (lowest, highest value)."""
    found = {}
    for name, bound, value, spread in ROW.findall(Path(page).read_text(encoding="utf-8")):
        if bound:
            found[name] = (0.0, float(bound.replace("−", "-")))
        else:
            found[name] = (float(value) - float(spread), float(value) + float(spread))
    return found


def from_truth(ds, visit):
    """Give the distance of the star from the truth [pixel]."""
    truth = visit.truth.sel(file=visit.science[0].name)
    return math.hypot(float(ds["target_x"] - truth["star_x"]), float(ds["target_y"] - truth["star_y"]))


def measure():
    """Measure every number of the table: name -> value."""
    with tempfile.TemporaryDirectory() as folder:
        plain = {"integrations": 1, "ideal": True}
        visits = {name: datasets.make_visit(Path(folder, name), **plain, **how) for name, how in VISITS.items()}
        found = {
            name: xta.analyze(visit.science[0], centroid="oss", corrections="none").load()
            for name, visit in visits.items()
        }
        values = {f"star_{name}": from_truth(found[name], visit) for name, visit in visits.items()}
        ds, newest = found["nircam"], found["newest"]
        by_image = ds.ta.compute_offset(centroid="image").ta.adjust_wcs(corrections="none")
        record = osslog.read(visits["nircam"].oss_log).centroids("09990001001")[0]
        result = xta.closure(record)
        xta.to_netcdf(ds, Path(folder, "star.nc"))
        with xr.open_dataset(Path(folder, "star.nc")) as again:
            back = again.ta.world_to_pixel(*again.ta.pixel_to_world(10.0, 300.0))
            kept = [again[name].item() == ds[name].item() for name in ("wcs", "wcs_original", "target_x", "target_y")]
        return values | {
            "closed_loop": max(abs(float(one[f"residual_{axis}"])) for one in found.values() for axis in "xy"),
            "analytic_newest": math.hypot(float(newest["inverse_error_x"]), float(newest["inverse_error_y"])),
            "image_centroid": from_truth(by_image, visits["nircam"]),
            "sky_round_trip": float(np.hypot(back[0] - 10.0, back[1] - 300.0)),
            "centered": float(np.hypot(*(_centered(ds)))),
            "closure": max(abs(getattr(result, f"{part}_error")) for part in ("v2", "v3", "sam_x", "sam_y")),
            "netcdf": float(kept.count(False)),
        }


def _centered(ds):
    """Give the pixel of the target by the WCS of the recentered cube, which is to be 0, 0."""
    return ds.ta.recenter().ta.world_to_pixel(float(ds["target_ra"]), float(ds["target_dec"]))
