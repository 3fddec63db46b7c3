"""The names of all checks, what is true where each passes, and what to do where it fails."""

from typing import NamedTuple

__all__ = ["CHECKS", "FORMER", "Entry"]


class Entry(NamedTuple):
    """What is true where a check passes, and what to do where it fails."""

    meaning: str
    remedy: str


WCS = "WCS matches header"
CONVERGED = "onboard centroid converged"
CLOSES = "telemetry closes"
RELEASE = "SIAF release known"
GUIDE_STAR = "guide stars match"
TARG_ACQ = "TARG_ACQ matches telemetry"
PIXELS = "no bad pixels near star"
CENTROID = "centroid matches TA image"
PLAUSIBLE = "centroid plausible"
GEOMETRY = "geometry to mask known"
FILTERS = "filter shift known"
MASK = "star near mask"

CHECKS = {
    WCS: Entry(
        "the WCS of each exposure was made with the reference point of its header",
        "Download the product from the archive again, or correct the header of the file that other software changed.",
    ),
    CONVERGED: Entry(
        "the onboard centroid converged",
        "Look at the TA image, and use centroid='image' if the star is visible there.",
    ),
    CLOSES: Entry(
        "centroid, target location and maneuver of the event log agree with the SIAF",
        "Call xta.closure(record), which looks for the cause; until it is known, do not trust the onboard centroid.",
    ),
    RELEASE: Entry(
        "the SIAF release that the product was made with is installed, for masks and intended positions",
        "Update pysiaf, which contains the releases of the SIAF.",
    ),
    GUIDE_STAR: Entry(
        "acquisition and exposure name the same guide star in their headers",
        "Make sure that all files belong to one visit.",
    ),
    TARG_ACQ: Entry(
        "the centroid in the header of the _uncal product is the same as in the event log",
        "Make sure that the product and the event log belong to one visit. The event log is used.",
    ),
    PIXELS: Entry(
        "no pixel near the star in the TA image is saturated, bad or hot",
        "Look at the TA image; where the star is saturated, use centroid='oss'.",
    ),
    CENTROID: Entry(
        "the onboard centroid and the one measured in the TA image agree within their errors",
        "Look for another star, hot pixels or saturation in the TA image, and choose the centroid that is on the star.",
    ),
    PLAUSIBLE: Entry(
        "the centroid in use is near the intended position or another centroid, not on another star",
        "Look at the TA image, and use another centroid or ds.ta.set_star.",
    ),
    GEOMETRY: Entry(
        "the star is corrected for the newest geometry between TA region and mask, which is valid for the exposure",
        "Update pysiaf, and use a newer product. Until then this part of the star's error is larger.",
    ),
    FILTERS: Entry(
        "the shift between the filters is known and confirmed, and the star is corrected for it",
        "If you know the shift, pass a table of your own as tables=. Until then the star's error includes it.",
    ),
    MASK: Entry(
        "the star is within an arcsecond of the mask's reference point",
        "Look at the science image: the acquisition may have failed, or the target may not be behind the mask.",
    ),
}
"""Label of a check -> what it means."""

FORMER = {
    "converged": CONVERGED,
    "closes": CLOSES,
    "PRD known": RELEASE,
    "same guide star": GUIDE_STAR,
    "TARG_ACQ agrees": TARG_ACQ,
    "not saturated": PIXELS,
    "agrees": CENTROID,
}
"""Labels in files of version 0.1 -> those of today."""
