"""Define the style of figures: size and type for print, colors, marks, and the stretch of an image."""

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.colors import Normalize

__all__ = ["BAD", "COLUMN", "DPI", "MARKS", "PAGE", "STYLE", "VECTOR_DPI", "VERBATIM", "Mark", "halo"]
__all__ += ["on_image", "plain", "stretch"]

COLUMN, PAGE = 3.5, 7.1
"""Widths of one column and of a page of two [inch]."""

DPI, VECTOR_DPI = 200, 600
"""Resolution of figures, and of images in a PDF or SVG: low enough for a small file, high enough for square pixels."""

STYLE: Any = {
    "font.size": 8.5,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.fontsize": 7.5,
    "pdf.fonttype": 42,  # TrueType: journals refuse Type 3
}
"""Type and lines of the figures that are made here; axes that are given keep their own."""

VERBATIM: Any = {"parse_math": False}
"""Options of a text that is from a file: a dollar sign in it begins no mathematics.

Not in `STYLE`, by which the labels that a user sets on new axes could have none.
"""


class Mark(NamedTuple):
    """The style of one kind of position."""

    marker: str
    color: str
    size: float
    """Size of the marker [point]; marks at the same place do not cover each other."""
    open: bool = False
    dark: str = ""
    """Color on a white background, if different."""


MARKS = {
    # Okabe and Ito's colors, which color-blind readers can distinguish; in print, the shapes differ.
    "intended place": Mark("s", "#56B4E9", 9.5, open=True),
    "mask": Mark("s", "#56B4E9", 9.5, open=True),
    "reference point": Mark("s", "#56B4E9", 9.5, open=True),
    "WCS": Mark("x", "#E69F00", 6),
    "WCS adjusted": Mark("o", "#009E73", 7.5, open=True),
    "OSS centroid": Mark("+", "#D55E00", 7),
    "image centroid": Mark("D", "#F0E442", 5, open=True, dark="#CC79A7"),
    "centroid by hand": Mark("D", "#F0E442", 5, open=True, dark="#CC79A7"),
    "star": Mark("+", "#FFFFFF", 7),
}
"""Label in the legend -> mark."""

BAD = "#7D4E7A"
"""Color of bad pixels, which is not a gray and appears neither in the inferno map nor in a mark."""


def plain(text: Any) -> str:
    r"""Convert text from a file to text that can be drawn: on one line, with U+FFFD for unprintable characters.

    Examples
    --------
    >>> plain("HD\t1234\x00")
    'HD 1234�'
    """
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in str(text))


def halo(width: float) -> list[Any]:
    """Make a dark outline that separates a bright line or text from a bright image."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=width + 0.9, foreground="black")]


def on_image() -> dict[str, Any]:
    """Make the style of text that is written on an image."""
    return {"color": "white", "fontsize": "small", "path_effects": halo(0.8)}


def _asinh(value: NDArray[Any], level: float, width: float) -> NDArray[Any]:
    return np.asanyarray(np.arcsinh((value - level) / width))  # with the mask of bad pixels, if there is one


def _sinh(value: NDArray[Any], level: float, width: float) -> NDArray[Any]:
    return level + width * np.sinh(value)


def stretch(
    image: NDArray[Any], bad: NDArray[np.bool_], *, vmin: float | None = None, vmax: float | None = None
) -> "Normalize":
    """Make an asinh stretch on the background: linear within its noise, logarithmic above.

    By default it begins 3 sigma of the sigma-clipped background below it, and ends at the value that 0.05 % of the
    good pixels exceed, at least 10 sigma above it.
    """
    from astropy.stats import sigma_clipped_stats
    from matplotlib.colors import FuncNorm, Normalize

    good = np.asarray(image[~bad], dtype=float)
    if not good.size:
        return Normalize(vmin, vmax)
    _, level, noise = (float(value) for value in sigma_clipped_stats(good, sigma=3, maxiters=5))
    noise = noise or float(np.ptp(good)) / 100 or 1.0
    low = level - 3 * noise if vmin is None else vmin
    high = max(float(np.percentile(good, 99.95)), level + 10 * noise) if vmax is None else vmax
    scale = partial(_asinh, level=level, width=2 * noise), partial(_sinh, level=level, width=2 * noise)
    return FuncNorm(scale, vmin=low, vmax=high)
