"""Draw a target acquisition and a science exposure."""

import re
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xta import identity, pixels
from xta.acquisition.image import search_region
from xta.errors import ArgumentError, MissingError, SiafError
from xta.geometry import sky, wcs
from xta.identity import header, words
from xta.images import dq
from xta.model import scalar
from xta.plot import frame, places
from xta.plot.places import Point
from xta.plot.stacked import side_by_side
from xta.summary import number
from xta.workers import compute

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

__all__ = ["acquisition", "crop", "guider", "median_image", "science", "sky_marks", "star_words"]

CONTEXT = 48  # smallest width of the crop around a TA region [pixel]
FARTHEST = 64  # a mark farther from its middle does not enlarge it [pixel]
ZOOM, LARGEST_ZOOM = 3.0, 12.0  # half width of the inset [pixel]


@side_by_side
def acquisition(
    ds: xr.Dataset,
    /,
    *,
    ax: "Axes | None" = None,
    exposure: int | None = None,
    zoom: bool = True,
    legend: bool = True,
    caption: bool = True,
    **kwargs: Any,
) -> "AxesImage":
    """Draw a TA image with the centroid, the target by the WCS, and the intended position of the star.

    Parameters
    ----------
    ds : xarray.Dataset
        An exposure with an acquisition attached; the marks of `compute_offset` and `adjust_wcs` are drawn if present.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on; by default those of a new figure, as wide as a column of a journal.
    exposure : int, optional
        Label of the TA exposure in ``ta_exposure``; the one in use by default.
    zoom, legend, caption : bool
        Show the surroundings of the centroid in a corner, a legend of the marks below the image, and a caption of the
        exposure above it.
    **kwargs
        Arguments of `matplotlib.axes.Axes.imshow`, such as ``cmap``, ``norm``, ``vmin`` and ``vmax``.

    Returns
    -------
    matplotlib.image.AxesImage
        Its ``axes`` have the pixels of the TA readout as data coordinates.

    Raises
    ------
    MissingError
        If no acquisition is attached.
    ArgumentError
        If there is no such exposure.

    Notes
    -----
    The stretch is asinh, linear within the noise of the sigma-clipped background. If the readout is larger
    than the TA region, only the surroundings of the region are shown, with its outline.
    """
    from xta.plot.figure import drawing

    identity.require(ds, "ta_sci", "ta_exposure", step="ds.ta.attach()")
    chosen = places.one_exposure(ds, exposure)
    marks = places.acquisition_marks(chosen)
    cut, region = crop(chosen, marks)
    image = cut["ta_sci"].values
    bad = dq.bad_pixels(image, cut["ta_dq"].values if "ta_dq" in cut else None)
    star = places.star_mark(marks)
    with drawing(ax) as axes:
        drawn = frame.show(axes, image, bad, cut["ta_x"].values, cut["ta_y"].values, **kwargs)
        axes.set(xlabel="x [pixel]", ylabel="y [pixel]")
        _outline(axes, region)
        frame.mark(axes, marks)
        free = frame.corners(axes, marks)
        insets = []
        if zoom and star and frame.inside(axes, marks[star]):
            insets.append(frame.zoom(drawn, marks[star], ZOOM, marks, corner=free.pop(0)))
        frame.note(axes, "\n".join(_offset_lines(chosen, marks)), corner=free[0])
        if center := star or ("intended place" if "intended place" in marks else None):
            frame.arcsec_axes(axes, marks[center], wcs.sky_jacobian(places.ta_wcs(chosen), *marks[center]), of=center)
        if caption:
            words_of_stretch = frame.stretch_words(drawn, ds["ta_sci"].attrs.get("units", ""))
            frame.caption(axes, [*_acquisition_caption(chosen, places.exposure_labels(ds)), words_of_stretch])
        if legend:
            frame.legend(axes, *insets)
    return drawn


def crop(ds: xr.Dataset, marks: Mapping[str, Point]) -> tuple[xr.Dataset, NDArray[np.float64]]:
    """Cut the TA region, with its surroundings and the marks that are near, out of one TA exposure.

    Return ``ta_sci`` and ``ta_dq`` (ta_y, ta_x), at least 48 pixels wide if the readout is, without the padding
    of a smaller readout; and the edges of the region, (x0, x1), (y0, y1) [pixel], or of the readout if the SIAF
    does not have the aperture.
    """
    cut = ds[["ta_sci", *(["ta_dq"] if "ta_dq" in ds else [])]]
    read: xr.DataArray = xr.ufuncs.isfinite(cut["ta_sci"])  # an exposure with a smaller readout is padded with NaN
    if read.any():
        cut = cut.isel({dim: _span(read.any([d for d in read.dims if d != dim]).values) for dim in read.dims})
    try:
        rows, columns = search_region(ds, int(ds["ta_exposure"]))
    except (MissingError, SiafError):  # an aperture that the SIAF does not have: all of the readout
        rows = columns = slice(None)
    within = [ds["ta_x"].values[columns], ds["ta_y"].values[rows]]
    region = np.array([[axis[0] - 0.5, axis[-1] + 0.5] for axis in within])
    middle = region.mean(axis=1)
    far = [np.abs(np.subtract(place, middle)).max() for place in marks.values()]
    half = max(np.ptp(region, axis=1).max() / 2, CONTEXT / 2, *(reach + 3 for reach in far if reach <= FARTHEST))
    spans = [
        _span(np.abs(cut[dim].values - center) <= half) for dim, center in zip(("ta_x", "ta_y"), middle, strict=True)
    ]
    return cut.isel(ta_x=spans[0], ta_y=spans[1]), region


def _span(inside: NDArray[np.bool_]) -> slice:
    index = np.flatnonzero(inside)
    return slice(int(index[0]), int(index[-1]) + 1) if index.size else slice(None)


def _outline(ax: "Axes", region: NDArray[np.float64]) -> None:
    """Draw the edges of a TA region that is clearly smaller than the view."""
    view = np.array([ax.get_xlim(), ax.get_ylim()])
    if (np.ptp(region, axis=1) < 0.75 * np.abs(np.ptp(view, axis=1))).any():
        (x0, x1), (y0, y1) = region
        ax.plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], color="white", lw=0.7, ls=(0, (4, 3)))
        ax.set(xlim=view[0], ylim=view[1])


def _offset_lines(ds: xr.Dataset, marks: Mapping[str, Point]) -> list[str]:
    """Describe how far the WCS is from the centroid in an exposure, or why that is not known."""
    label = places.star_mark(marks)
    if label and "WCS" in marks:
        dx, dy = (number(value, 3, sign=True) for value in np.subtract(marks["WCS"], marks[label]))
        lines = [f"WCS − {'OSS' if label == 'OSS centroid' else 'centroid'}", f"{dx}, {dy} px"]
        if places.is_in_use(ds):
            east, north = (number(scalar(ds, f"offset_{name}"), 3, sign=True) for name in ("east", "north"))
            lines.append(f"{east}″ E, {north}″ N")
        return lines
    return [] if label else ["no onboard centroid"]


def guider(ds: xr.Dataset) -> str:
    """Return the name of the guider from the keyword FGS_APER or the event log; empty if it is in neither."""
    stored = int(ds["ta_oss_guider"].max()) if "ta_oss_guider" in ds.coords and ds["ta_oss_guider"].size else 0
    line = re.search(r"guider (\d)", str(header(ds).get("oss_log", "")))  # files of xta 0.1 only contain this
    which = identity.guider_number(ds) or stored or (line and line[1])
    return f"FGS{which}" if which else ""


def _acquisition_caption(ds: xr.Dataset, labels: list[int]) -> list[str]:
    names = ("filename", "aperture", "filter", "exp_type")
    file, aperture, band, kind = (str(ds[f"ta_{name}"].item()) if f"ta_{name}" in ds.coords else "" for name in names)
    which = f"exposure {labels.index(int(ds['ta_exposure'])) + 1} of {len(labels)}" if len(labels) > 1 else ""
    source = words(ds, "centroid_source") if places.is_in_use(ds) and identity.centroid_kind(ds) != "oss" else ""
    return [
        file.removesuffix(".fits"),
        "  ".join(filter(None, (aperture, band, guider(ds), kind))),
        ", ".join(filter(None, (which, f"centroid: {source}" if source else ""))),
    ]


def median_image(ds: xr.Dataset, integration: int | None) -> xr.DataArray:
    """Read one integration, or the median of all, without bad pixels."""
    data = ds[[name for name in ("sci", "dq") if name in ds]]
    if "integration" in data["sci"].dims and integration is not None:
        labels = data["integration"].values.tolist()
        if integration not in labels:
            msg = f"integration is {integration!r}; the dataset has {labels[0]} to {labels[-1]}"
            raise ArgumentError(msg)
        data = data.isel(integration=labels.index(integration))
    data = pixels.converted(data, names=("sci", "dq"))
    image = data["sci"].where((data["dq"] & dq.DO_NOT_USE) == 0) if "dq" in data else data["sci"]
    if "integration" in image.dims:
        with warnings.catch_warnings():  # a pixel that is bad in all integrations is drawn as bad
            warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
            image = compute(image.median("integration"))
    if set(image.dims) != {"y", "x"}:
        msg = f"sci has the dimensions {image.dims}; select one exposure first"
        raise ArgumentError(msg)
    return image.transpose("y", "x")


@side_by_side
def science(
    ds: xr.Dataset,
    /,
    *,
    ax: "Axes | None" = None,
    integration: int | None = None,
    zoom: bool = True,
    legend: bool = True,
    caption: bool = True,
    **kwargs: Any,
) -> "AxesImage":
    """Draw a science frame with the star behind the mask, the target by the WCS of the file, and the mask.

    Parameters
    ----------
    ds : xarray.Dataset
        An exposure; the marks of `adjust_wcs` are drawn if present.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on; by default those of a new figure, as wide as a column of a journal.
    integration : int, optional
        Integration number, as in the label; the median of all by default.
    zoom, legend, caption : bool
        As in `acquisition`; the inset shows the marks, which would overlap in the whole frame.
    **kwargs
        Arguments of `matplotlib.axes.Axes.imshow`, such as ``cmap``, ``norm``, ``vmin`` and ``vmax``.

    Returns
    -------
    matplotlib.image.AxesImage
        Its ``axes`` have the labels ``x``, ``y`` as data coordinates.

    Raises
    ------
    MissingError
        If there are no images or labels.
    ArgumentError
        If there is no such integration, or several exposures are joined.
    """
    from xta.plot.figure import drawing

    identity.require(ds, "sci", "x", "y", step="xta.open_exposure")
    image = median_image(ds, integration).values
    marks = places.science_marks(ds)
    star = next((label for label in ("WCS adjusted", "star", "WCS", "mask", "reference point") if label in marks), None)
    with drawing(ax, height=1.3 + 3 * image.shape[0] / image.shape[1]) as axes:
        drawn = frame.show(axes, image, ~np.isfinite(image), ds["x"].values, ds["y"].values, **kwargs)
        axes.set(xlabel="x [pixel]", ylabel="y [pixel]")
        insets = []
        if zoom and star and frame.inside(axes, marks[star]):
            distance = {label: float(np.abs(np.subtract(place, marks[star])).max()) for label, place in marks.items()}
            half = min(max(float(np.ceil(1.4 * max(distance.values()))), ZOOM), LARGEST_ZOOM)
            # In the whole frame the marks would cover each other and the star.
            frame.mark(axes, {label: place for label, place in marks.items() if distance[label] >= half})
            upper = [corner for corner in frame.corners(axes, {star: marks[star]}) if corner[1]]
            insets.append(frame.zoom(drawn, marks[star], half, marks, corner=upper[0]))
        else:
            frame.mark(axes, marks)
        if "wcs" in ds.coords:
            sky_marks(axes, ds)
        if caption:
            words_of_stretch = frame.stretch_words(drawn, ds["sci"].attrs.get("units", ""))
            frame.caption(axes, [*_science_caption(ds, integration), words_of_stretch])
        if legend:
            frame.legend(axes, *insets)
    return drawn


def sky_marks(ax: "Axes", ds: xr.Dataset) -> None:
    """Draw the directions and the scale of the WCS in the middle of a frame."""
    x, y = (float(ds[dim].values[[0, -1]].mean()) for dim in ("x", "y"))
    jacobian = wcs.sky_jacobian(sky.the_wcs(ds), x, y)
    frame.compass(ax, jacobian)
    frame.scale_bar(ax, float(np.hypot(*jacobian[:, 0])))


def _science_caption(ds: xr.Dataset, integration: int | None) -> list[str]:
    count = ds.sizes.get("integration", 1)
    median = f"median of {count} integrations" if count > 1 else ""
    which = median if integration is None else f"integration {integration}"
    about = ", ".join(filter(None, (words(ds, "aperture", "filter"), which)))
    star = star_words(ds, "target")
    return [words(ds, "filename").removesuffix(".fits"), about, f"star at {star}" if star else ""]


def star_words(ds: xr.Dataset, name: str) -> str:
    """Write the star's pixel in the labels ("target") or the original readout ("star"), with its standard errors."""
    place, errors = places.pixel(ds, name), [scalar(ds, f"target_{axis}_err") for axis in ("x", "y")]
    spreads = [f" ± {error:.3f}" if np.isfinite(error) else "" for error in errors]
    texts = [f"{value:.3f}{spread}" for value, spread in zip(place, spreads, strict=True)]
    return f"{', '.join(texts)} px" if np.isfinite(place).all() else ""
