"""Draw the effects of the instrument of a sample visit beyond the WCS of its products, within its known accuracy.

The sizes are those of `xta.instrument`. Signs and places are computed by another route than in an analysis: the star is
at its true place, and the headers have the attitude that a telescope would report for it.

References
----------
GENERIC: the FILTEROFFSET reference file of the full array of MIRI (STScI-MIRI/miricoord, FLT-9).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xta import model
from xta.acquisition import instrument
from xta.errors import SiafError
from xta.geometry import siaf

if TYPE_CHECKING:
    from xta.datasets.plan import Step, VisitConfig

__all__ = ["FILTER_OFFSETS", "Terms", "filter_offset", "light", "onboard_bias", "terms"]

Pair = tuple[float, float]

GENERIC: Mapping[str, Pair] = {
    "FND": (-0.07, -0.26),
    "F1065C": (-0.60, -2.15),
    "F1140C": (-0.42, -1.56),
    "F1550C": (-1.17, -1.47),
    "F2300C": (1.35, -2.11),
    "F560W": (-0.08, -0.06),
    "F1000W": (-0.14, -0.62),
    "F1500W": (-0.36, -0.74),
}
"""Filter of MIRI -> column and row offset in the file that older products were made with [pixel]."""

FILTER_OFFSETS = ("mask", "generic", "none")
"""FILTEROFFSET files that a MIRI product may have been made with."""


@dataclass(frozen=True)
class Terms:
    """The effects that moved a star behind the mask, beyond the WCS of the product."""

    filter: Pair = (0.0, 0.0)
    """Along x and y of the exposure [pixel]."""
    way: Pair = (0.0, 0.0)
    """From TA region to mask, the true geometry minus that of the product, in V2 and V3 [arcsec]."""
    maneuver: Pair = (0.0, 0.0)
    """Error of the maneuver in V2 and V3 [arcsec]."""


def _about(config: "VisitConfig", step: "Step") -> dict[str, str]:
    setup = config.setup
    return {
        "instrument": setup.instrument,
        "exp_type": setup.exp_type,
        "subarray": step.subarray,
        "channel": instrument.channel(step.detector),
        "date_beg": config.start.isoformat(),
    }


def _draw(config: "VisitConfig", sigma: Pair, *seeds: int | str) -> Pair:
    numbers = [part for seed in seeds for part in (seed.encode() if isinstance(seed, str) else (seed,))]
    x, y = sigma * np.random.default_rng(numbers).standard_normal(2)
    return float(x), float(y)


def _angle(quantity: str, about: Mapping[str, str]) -> Pair:
    """Look up an accuracy that is an angle [arcsec]."""
    accuracy = instrument.tables().accuracy(quantity, about)
    return (accuracy.x / 1e3, accuracy.y / 1e3) if accuracy else (0.0, 0.0)


def terms(config: "VisitConfig", step: "Step", star: Pair, ta: "Step", ta_star: Pair) -> Terms:
    """Draw the effects that moved the star of an exposure: filter, way, and the maneuver of the visit."""
    if config.ideal or not (step.science or step.masked):
        return Terms()
    about = _about(config, step)
    maneuver = _draw(config, _angle("maneuver", about), config.seed, 9) if step.corrected else (0.0, 0.0)
    error = _draw(config, _angle("way", about), config.wavefront, 7, step.aperture)
    way = _way(config, step, star, ta, ta_star)
    return Terms(_filter(config, step, ta, about), (way[0] + error[0], way[1] + error[1]), maneuver)


def _filter(config: "VisitConfig", step: "Step", ta: "Step", about: Mapping[str, str]) -> Pair:
    """Draw the shift between the filters around that of the table; for an unknown filter around zero."""
    if about["exp_type"] not in model.CORONAGRAPHIC_TYPES:
        return 0.0, 0.0
    tables = instrument.tables()
    observed, acquired = (tables.filter_shift(_about(config, each), each.filter) for each in (step, ta))
    x, y, sigma = 0.0, 0.0, tables.usual_shift(about)
    if observed is not None and acquired is not None:
        shift = observed - acquired
        x, y, sigma = shift.x, shift.y, (shift.x_err, shift.y_err)
    dx, dy = _draw(config, sigma, config.wavefront, 8, step.filter)
    return x + dx, y + dy


def _way(config: "VisitConfig", step: "Step", star: Pair, ta: "Step", ta_star: Pair) -> Pair:
    """Compute the vector in V2, V3 from a TA pixel to a pixel of the exposure: newest SIAF minus the product's."""
    name, vectors = config.setup.instrument, []
    pixels = [siaf.pixel_to_det(each.frame.readout, *at) for each, at in ((step, star), (ta, ta_star))]
    try:
        for prd in (None, config.prd):
            v = [_v(name, each, at, prd) for each, at in zip((step, ta), pixels, strict=True)]
            vectors.append(np.subtract(v[0], v[1]))
    except SiafError:  # an aperture that is in only one release
        return 0.0, 0.0
    v2, v3 = vectors[0] - vectors[1]
    return float(v2), float(v3)


def _v(name: str, step: "Step", det: Pair, prd: str | None) -> Pair:
    readout = siaf.readout(name, step.aperture, step.subarray, prd, detector=step.detector)
    return siaf.convert(readout, float(det[0]), float(det[1]), "det", "tel")


def _centroid_errors(config: "VisitConfig", step: "Step") -> tuple[float, float]:
    """Look up the errors of the center of light, and the errors that the onboard software adds to them [pixel]."""
    about, tables = _about(config, step), instrument.tables()
    oss, image = (tables.accuracy(f"centroid_{name}", about) for name in ("converged", "image"))
    if oss is None or image is None:
        return 0.0, 0.0
    common = min(oss.x, image.x)
    return common, math.sqrt(oss.x**2 - common**2)


def light(config: "VisitConfig", step: "Step") -> Pair:
    """Draw the center of light of an acquisition image minus the star [pixel]; it is the same in all visits."""
    if config.ideal or step.science or step.masked:
        return 0.0, 0.0
    sigma, _ = _centroid_errors(config, step)
    return _draw(config, (sigma, sigma), config.wavefront, 10)


def onboard_bias(config: "VisitConfig", step: "Step") -> Pair:
    """Draw the onboard centroid minus the center of light, without the early stop [pixel]; the same in all visits."""
    if config.ideal or step.kind != "ta":
        return 0.0, 0.0
    _, sigma = _centroid_errors(config, step)
    return _draw(config, (sigma, sigma), config.wavefront, 11)


def filter_offset(config: "VisitConfig", step: "Step") -> Pair | None:
    """Look up column and row offset of a filter in the FILTEROFFSET file of the product [pixel]; None without a row."""
    if config.setup.instrument != "MIRI" or config.filter_offset == "none":
        return None
    if config.filter_offset == "generic":
        return GENERIC.get(step.filter)
    shift = instrument.tables().filter_shift(_about(config, step), step.filter)
    return None if shift is None else (-shift.x, -shift.y)
