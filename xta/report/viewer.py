"""Prepare the TA images as data that a page draws itself, and the controls around them."""

import base64
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xta.geometry import sphere, wcs
from xta.identity import header
from xta.images import dq
from xta.plot.exposures import crop
from xta.plot.places import Point, acquisition_marks, exposure_labels, one_exposure, star_mark, ta_wcs
from xta.plot.style import BAD, MARKS, Mark, stretch
from xta.report.markup import Html, fill, join, json_data, tag

if TYPE_CHECKING:
    from gwcs import WCS

__all__ = ["images", "sky_polynomial", "viewer"]

LARGEST = 256  # width of an image that is embedded [pixel]
LEVELS = 256  # of gray
GOOD_ENOUGH, TOLERABLE = 1e-6, 1e-3  # error of the polynomial [pixel]: the goal, and the largest that is shown
HIGHEST = 8  # degree of the polynomial

OUTLINES = {
    # Marker -> path in a box of two by two.
    "s": "M-1-1H1V1H-1Z",
    "x": "M-1-1L1 1M-1 1L1-1",
    "o": "M1 0A1 1 0 1 1-1 0A1 1 0 1 1 1 0Z",
    "+": "M-1 0H1M0-1V1",
    "D": "M0-1L1 0L0 1L-1 0Z",
}


class SkyPolynomial(TypedDict):
    """Polynomials that convert a pixel to the sky: direction = axes[0] + xi axes[1] + eta axes[2] (gnomonic)."""

    middle: list[float]
    half: list[float]
    """Middle and half width of the image, (x, y) [pixel]."""
    axes: list[list[float]]
    """Unit vectors to the middle, east and north."""
    powers: list[tuple[int, int]]
    terms: list[list[float]]
    """Powers (i, j) and factors (xi, eta) of u^i v^j, u = (x - middle_x) / half_x."""
    error: float
    """Largest difference from the WCS [pixel]."""


class Image(TypedDict):
    """A TA image with the marks that a page draws on it; arrays are in base64, with rows from below."""

    x0: float
    y0: float
    width: int
    height: int
    units: str
    values: str
    bad: str
    levels: list[float]
    marks: dict[str, Point]
    sky: SkyPolynomial | None


def sky_polynomial(gwcs: "WCS", x: NDArray[Any], y: NDArray[Any]) -> SkyPolynomial | None:
    """Approximate a GWCS within an image by polynomials on the tangent plane of its middle.

    `x` and `y` are the labels of the columns and rows [0-based pixel]. The polynomials are fitted at Chebyshev nodes
    with the lowest degree that is good to 1e-6 px, and compared with the GWCS at the corners of all pixels. Return
    None if the largest difference is more than 1e-3 px.
    """
    middle = np.array([(axis[0] + axis[-1]) / 2 for axis in (x, y)])
    half = np.array([(axis[-1] - axis[0] + 1) / 2 for axis in (x, y)])
    ra, dec = (float(value) for value in wcs.pixel_to_world(gwcs, *middle))
    axes = np.stack([sphere.unit_vector(ra, dec), *sphere.tangent_basis(ra, dec)])
    nodes = np.polynomial.chebyshev.chebpts1(2 * HIGHEST)
    fitted, corners = _grid(nodes, nodes), _grid(*(np.linspace(-1, 1, axis.size + 1) for axis in (x, y)))
    planes = []
    for grid in (fitted, corners):
        along = sphere.unit_vector(*wcs.pixel_to_world(gwcs, *(middle[:, None] + half[:, None] * grid))) @ axes.T
        planes.append(along[:, 1:] / along[:, :1])
    wanted, truth = planes
    if not (np.isfinite(wanted).all() and np.isfinite(truth).all()):
        return None
    for degree in range(1, HIGHEST + 1):
        powers = [(i, n - i) for n in range(degree + 1) for i in range(n + 1)]
        terms = np.linalg.lstsq(_monomials(powers, *fitted), wanted)[0]
        linear = terms[1:3] / half[::-1, None]  # of v, then of u
        scale = np.sqrt(abs(np.linalg.det(linear)))
        error = float(np.abs(_monomials(powers, *corners) @ terms - truth).max() / scale) if scale else np.inf
        if error <= GOOD_ENOUGH:
            break
    if not error <= TOLERABLE:
        return None
    return SkyPolynomial(
        middle=middle.tolist(), half=half.tolist(), axes=axes.tolist(), powers=powers, terms=terms.tolist(), error=error
    )


def _grid(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack(np.meshgrid(u, v)).reshape(2, -1)


def _monomials(powers: list[tuple[int, int]], u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([u**i * v**j for i, j in powers], axis=-1)


def images(ds: xr.Dataset) -> list[Image]:
    """Collect the TA images of a dataset, cut to the TA region, with marks and sky, in types of JSON."""
    return [_image(one_exposure(ds, label)) for label in exposure_labels(ds)]


def _image(ds: xr.Dataset) -> Image:
    marks = acquisition_marks(ds)
    cut = _cut(crop(ds, marks)[0], marks).transpose("ta_y", "ta_x")
    values = cut["ta_sci"].values.astype("<f4")
    bad = dq.bad_pixels(values, cut["ta_dq"].values if "ta_dq" in cut else None)
    x, y = cut["ta_x"].values, cut["ta_y"].values
    return {
        "x0": float(x[0]),
        "y0": float(y[0]),
        "width": x.size,
        "height": y.size,
        "units": str(ds["ta_sci"].attrs.get("units", "")),
        "values": _encode(values),
        "bad": _encode(np.packbits(bad, bitorder="little")),
        "levels": _levels(values, bad),
        "marks": marks,
        "sky": sky_polynomial(ta_wcs(ds, adjusted="residual_x" in ds.coords), x, y),
    }


def _cut(image: xr.Dataset, marks: Mapping[str, Point]) -> xr.Dataset:
    """Keep a page small if the TA region is not known and the readout is large."""
    place = marks.get(star_mark(marks) or "intended place")
    for axis, dim in enumerate(("ta_x", "ta_y")):
        size = image.sizes[dim]
        if size > LARGEST:
            middle = size // 2 if place is None else round(place[axis] - float(image[dim].values[0]))
            first = min(max(middle - LARGEST // 2, 0), size - LARGEST)
            image = image.isel({dim: slice(first, first + LARGEST)})
    return image


def _encode(values: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


def _levels(values: NDArray[Any], bad: NDArray[np.bool_]) -> list[float]:
    """Compute the value at which each gray level begins, by the stretch of the pictures; empty without good pixels."""
    if bad.all():
        return []
    levels = np.asarray(stretch(values, bad).inverse(np.linspace(0, 1, LEVELS)), dtype=float)
    return [float(f"{level:.7g}") for level in levels]


def viewer(ds: xr.Dataset) -> Html:
    """Make the interactive TA image: canvas, controls, readout, and the data."""
    drawn, exposures = images(ds), exposure_labels(ds)
    used = exposures.index(header(ds)["ta_in_use"])
    shown = {label: mark for label, mark in MARKS.items() if any(label in image["marks"] for image in drawn)}
    marks = {
        label: {"path": OUTLINES[mark.marker], "color": mark.color, "radius": mark.size * 1.1}
        for label, mark in shown.items()
    }
    return fill(
        "viewer.html",
        choice=_choice(ds, used),
        boxes=join(*(_box(label, mark) for label, mark in shown.items())),
        about_sky=_about_sky(ds, drawn),
        data=json_data({"images": drawn, "used": used, "badColor": BAD, "marks": marks}),
    )


def _choice(ds: xr.Dataset, used: int) -> Html | None:
    """Make the menu of exposures, if there are several; they are counted from 1, and its values from 0."""
    names = [name for name in ("ta_exp_type", "ta_filter", "ta_filename") if name in ds.coords]
    options = []
    for k, texts in enumerate(zip(*(np.atleast_1d(ds[name].values) for name in names), strict=True)):
        text = "  ".join(filter(None, (str(k + 1), *map(str, texts)))).removesuffix(".fits")
        options.append(tag("option", text, " (in use)" if k == used else None, value=k, selected=k == used))
    return tag("label", "Exposure ", tag("select", *options, id="ta-exposure")) if len(options) > 1 else None


def _box(label: str, mark: Mark) -> Html:
    """Make the box that shows or hides a mark."""
    path = OUTLINES[mark.marker]
    lines = tag("path", d=path, class_="halo"), tag("path", d=path)
    swatch = tag("svg", *lines, viewBox="-1.6 -1.6 3.2 3.2", stroke=mark.color, aria_hidden="true")
    box = tag("input", type="checkbox", checked=True, data_mark=label)
    return tag("label", box, swatch, tag("span", label), tag("span", class_="place", data_place=label))


def _about_sky(ds: xr.Dataset, drawn: list[Image]) -> str:
    which = "the WCS of the TA file as corrected by the acquisition" if "residual_x" in ds.coords else "the file's WCS"
    errors = [image["sky"]["error"] for image in drawn if image["sky"]]
    text = f"x and y are 0-based pixels of the TA readout. RA and Dec (ICRS) are by {which}"
    if errors:
        power = math.ceil(math.log10(max(*errors, 1e-9)))
        text += f", approximated by polynomials to better than 1e{power} px"
    if len(errors) < len(drawn):
        text += "; if no RA and Dec are shown, polynomials cannot approximate the WCS to 1e-3 px"
    return text + "."
