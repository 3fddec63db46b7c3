"""Look into the files and logs of sample visits."""

import csv
import re

import numpy as np

from xta.geometry import sphere

_opened = []


def model_of(path):
    from jwst import datamodels

    _opened.append(datamodels.open(path))
    return _opened[-1]


def close_models():
    while _opened:
        _opened.pop().close()


def sky(wcs, x, y):
    return wcs(x, y, with_bounding_box=False)


def separation(ra1, dec1, ra2, dec2):
    """Angle between two positions [arcsec], from the chord."""
    chord = np.linalg.norm(sphere.unit_vector(ra1, dec1) - sphere.unit_vector(ra2, dec2))
    return np.degrees(2 * np.arcsin(chord / 2)) * 3600.0


def truth_of(visit, path):
    return visit.truth.sel(file=path.name)


def star_of(visit, path):
    row = truth_of(visit, path)
    return row.star_x.item(), row.star_y.item()


def log_of(visit):
    with visit.oss_log.open(newline="") as file:
        return list(csv.DictReader(file))


def messages(visit, pattern):
    return [row["euvalue"] for row in log_of(visit) if re.search(pattern, row["euvalue"])]


def numbers(line):
    return [float(text) for text in re.findall(r"[-+]?\d+\.\d+(?:e[-+]\d+)?", line.split("=")[-1])]


def visit_target(visit):
    row = visit.truth.isel(file=0)
    return row.target_ra.item(), row.target_dec.item()
