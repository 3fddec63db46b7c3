"""Draw a recentered exposure and the image of a PSF subtraction."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import xarray as xr

from xta import identity
from xta.errors import ArgumentError, counted
from xta.geometry import sky, wcs
from xta.identity import words
from xta.plot import frame, places
from xta.plot.exposures import median_image, sky_marks, star_words
from xta.plot.stacked import axes_for, side_by_side
from xta.plot.style import STYLE, halo, on_image
from xta.psfsub.detection import choose

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import AsinhNorm
    from matplotlib.image import AxesImage

__all__ = ["klip", "recentered"]

ROUND = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
"""Steps of the rings that are drawn by default [arcsec]."""

CORE = 2  # pixels closer to the star do not limit the stretch [resolution element]
GRAY = "#808080"  # bad pixels on the inferno map


@side_by_side
def recentered(
    ds: xr.Dataset,
    /,
    *,
    ax: "Axes | None" = None,
    integration: int | None = None,
    rings: Sequence[float] | None = None,
    legend: bool = True,
    caption: bool = True,
    **kwargs: Any,
) -> "AxesImage":
    """Draw a recentered exposure with the star, the mask and rings of equal separation.

    Parameters
    ----------
    ds : xarray.Dataset
        The result of `recenter`.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on; by default those of a new figure, as wide as a column of a journal.
    integration : int, optional
        Integration number, as in the label; the median of all by default.
    rings : sequence of float, optional
        Separations from the star [arcsec]; round ones by default, none for an empty sequence.
    legend, caption : bool
        Show a legend of the marks below the image, and a caption of the exposure above it.
    **kwargs
        Arguments of `matplotlib.axes.Axes.imshow`, such as ``cmap``, ``norm``, ``vmin`` and ``vmax``.

    Returns
    -------
    matplotlib.image.AxesImage
        Its ``axes`` have the labels ``x``, ``y`` as data coordinates: pixels from the star.

    Raises
    ------
    MissingError
        If the dataset is not recentered.
    ArgumentError
        If there is no such integration.

    Notes
    -----
    The rings follow ``separation``, so they have the distortion of the detector.
    """
    from xta.plot.figure import drawing

    identity.require(ds, "sci", "x", "y", "star_x", "star_y", step="ds.ta.recenter()")
    image = median_image(ds, integration).values
    marks = places.finite({"star": places.pixel(ds, "target"), places.mask_mark(ds): places.pixel(ds, "mask")})
    with drawing(ax, height=1.6 + 2.6 * image.shape[0] / image.shape[1]) as axes:
        bad, labels = ~np.isfinite(image), (ds["x"].values, ds["y"].values)
        drawn = frame.show(axes, image, bad, *labels, bad_label="no data", **kwargs)
        axes.set(xlabel="x from the star [pixel]", ylabel="y from the star [pixel]")
        if "wcs" in ds.coords and "star" in marks:
            sky_marks(axes, ds)
            _rings(axes, ds, rings)
            frame.arcsec_axes(axes, marks["star"], wcs.sky_jacobian(sky.the_wcs(ds), *marks["star"]), of="star")
        frame.mark(axes, marks)
        if caption:
            star = star_words(ds, "star")
            about = words(ds, "filename").removesuffix(".fits"), words(ds, "aperture", "filter", between="  ")
            star = f"star was at {star}" if star else ""
            frame.caption(axes, [*about, star, frame.stretch_words(drawn, ds["sci"].attrs.get("units", ""))])
        if legend:
            frame.legend(axes)
    return drawn


def _rings(ax: "Axes", ds: xr.Dataset, rings: Sequence[float] | None) -> None:
    from xta.geometry.sky import assign_polar

    polar = ds if "separation" in ds.coords else assign_polar(ds)
    separation = polar["separation"].transpose("y", "x").values
    if rings is None:
        reach = min(separation[0].min(), separation[-1].min(), separation[:, 0].min(), separation[:, -1].min())
        step = next((step for step in ROUND if 5 * step >= reach), ROUND[-1])
        rings = np.arange(step, 0.93 * reach, step).tolist()
    levels = sorted(float(ring) for ring in rings if separation.min() < ring < separation.max())
    if not levels:
        return
    x, y = ds["x"].values, ds["y"].values
    ax.contour(x, y, separation, levels=levels, colors="white", linewidths=0.6, linestyles=[(0, (3, 3))], alpha=0.8)
    row = int(np.argmin(np.abs(y - float(ds["target_y"]))))
    along = np.where(x > float(ds["target_x"]), separation[row], np.nan)
    for level in levels:
        if not np.nanmin(along, initial=np.inf) < level < np.nanmax(along, initial=-np.inf):
            continue  # it does not cross the row of the star to the right
        place = x[np.nanargmin(np.abs(along - level))], y[row]
        ax.annotate(f"{level:g}″", place, (2, 2), textcoords="offset points", ha="left", va="bottom", **on_image())


def klip(
    ds: xr.Dataset | Sequence[xr.Dataset],
    /,
    *,
    ax: "Axes | None" = None,
    numbasis: int | Sequence[int] | None = None,
    filters: Sequence[str] | None = None,
    fov: float | None = None,
    mark: xr.Dataset | Sequence[tuple[float, float]] = (),
    add_colorbar: bool = True,
    caption: bool = True,
    **kwargs: Any,
) -> "AxesImage":
    """Draw the image of a PSF subtraction, north up and east left.

    Parameters
    ----------
    ds : xarray.Dataset or sequence of xarray.Dataset
        The result of `xta.klip`; several images, such as those of several filters, are drawn side by side.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on, one per image; by default those of a new figure, as wide as a column of a journal.
    numbasis : int or sequence of int, optional
        Number of principal components; the largest by default. Several are drawn side by side.
    filters : sequence of str, optional
        Filters to draw, if there are several images; all by default.
    fov : float, optional
        Side of the field around the star that is shown [arcsec]; the whole image by default.
    mark : xarray.Dataset or sequence of (float, float)
        The result of `companions`, or separations [arcsec] and position angles [deg, east of north] to circle.
    add_colorbar, caption : bool
        Draw a color bar on the right, and a caption of the image above it.
    **kwargs
        Arguments of `matplotlib.axes.Axes.imshow`, such as ``cmap``, ``norm``, ``vmin`` and ``vmax``.

    Returns
    -------
    matplotlib.image.AxesImage
        Its ``axes`` have ``east`` and ``north`` as data coordinates [arcsec from the star]. For several images, a list.

    Raises
    ------
    MissingError
        If the dataset contains no such image.
    ArgumentError
        If it contains none for `numbasis` or `filters`, or `fov` is not positive.

    Notes
    -----
    The stretch is asinh, linear within three times the median of the noise in the field that is shown. It ends at the
    brightest and darkest pixel more than two resolution elements from the star; arrows at the color bar show that there
    are values beyond it. A dashed circle is the inner edge of the subtraction (``iwa``), if it has one.
    """
    from xta.plot.figure import drawing

    if not isinstance(ds, xr.Dataset) or filters is not None or np.ndim(numbasis or 0):
        options = {"fov": fov, "mark": mark, "add_colorbar": add_colorbar, "caption": caption}
        numbers: list[int | None] = np.ravel(np.array(numbasis, dtype=object)).tolist()
        pairs = [(image, number) for image in _of_filters(ds, filters) for number in numbers]
        return _panels(pairs, ax, **options, **kwargs)  # type: ignore[no-any-return]
    chosen, number = choose(ds, cast("int | None", numbasis), "noise")
    if fov is not None and not fov > 0:
        msg = f"fov is {fov}; give a positive number of arcsec"
        raise ArgumentError(msg)
    image = chosen["klip"].transpose("y", "x").values
    if "norm" not in kwargs:
        kwargs["norm"] = _around_noise(
            _shown(chosen, fov), vmin=kwargs.pop("vmin", None), vmax=kwargs.pop("vmax", None)
        )
    style = {"cmap": "inferno", "bad_color": GRAY} | kwargs
    with drawing(ax, height=3.2 if add_colorbar else 3.6) as axes:
        drawn = frame.show(axes, image, ~np.isfinite(image), chosen["east"].values, chosen["north"].values, **style)
        axes.set(xlabel="east of the star [arcsec]", ylabel="north of the star [arcsec]")
        if fov is not None:
            axes.set(xlim=(fov / 2, -fov / 2), ylim=(-fov / 2, fov / 2))
        frame.mark(axes, {"star": (0.0, 0.0)})
        _circles(axes, _marked(mark), radius=1.5 * float(ds.attrs.get("fwhm", 0.15)))
        _inner_edge(axes, float(ds.attrs.get("iwa", 0.0)))
        frame.compass(axes, np.eye(2))
        frame.scale_bar(axes, 1.0)
        if add_colorbar:
            frame.color_bar(drawn, str(chosen["klip"].attrs.get("units", "")))
        if caption:
            about = words(ds, "target_name", "filter", "mode", between="  ")
            frame.caption(axes, [about, counted(number, "component")])
    return drawn


def _circles(ax: "Axes", places: Sequence[tuple[float, float]], *, radius: float) -> None:
    """Circle places, given by separation [arcsec] and position angle [deg]; radius [arcsec]."""
    from matplotlib.patches import Circle

    for separation, position_angle in places:
        angle = np.deg2rad(position_angle)
        center = float(separation * np.sin(angle)), float(separation * np.cos(angle))
        ax.add_patch(Circle(center, radius, fill=False, edgecolor="white", linewidth=1.1, path_effects=halo(1.1)))


def _around_noise(ds: xr.Dataset, *, vmin: float | None, vmax: float | None) -> "AsinhNorm":
    from matplotlib.colors import AsinhNorm

    good, noises = (ds[name].values[np.isfinite(ds[name].values)] for name in ("klip", "noise"))
    noise = float(np.median(noises)) if noises.size else 0.0
    noise = noise or (float(np.std(good)) if good.size else 0.0) or 1.0
    high = max(float(good.max()) if good.size else 0.0, 10 * noise)
    low = max(min(float(good.min()) if good.size else 0.0, -5 * noise), -high)
    return AsinhNorm(3 * noise, vmin=low if vmin is None else vmin, vmax=high if vmax is None else vmax)


def _shown(ds: xr.Dataset, fov: float | None) -> xr.Dataset:
    """Cut an image and its noise to the field that is shown, without the residual of the star's core."""
    reach = float("inf") if fov is None else fov / 2
    core = CORE * float(ds.attrs.get("fwhm", 0.15))
    inside = (abs(ds["east"]) <= reach) & (abs(ds["north"]) <= reach) & (np.hypot(ds["east"], ds["north"]) > core)
    return ds.assign(klip=ds["klip"].where(inside), noise=ds["noise"].where(ds["radius"] <= reach))


def _marked(mark: xr.Dataset | Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """List the places to mark, separation [arcsec] and position angle [deg]."""
    if not isinstance(mark, xr.Dataset):
        return list(mark)
    return list(zip(*(mark[name].values.tolist() for name in ("separation", "position_angle")), strict=True))


def _inner_edge(ax: "Axes", radius: float) -> None:
    """Draw the inner edge of the subtraction, if it has one [arcsec]."""
    from matplotlib.patches import Circle

    if radius > 0:
        ax.add_patch(Circle((0, 0), radius, fill=False, edgecolor="white", linewidth=0.8, linestyle="--", alpha=0.8))


def _of_filters(ds: xr.Dataset | Sequence[xr.Dataset], filters: Sequence[str] | None) -> list[xr.Dataset]:
    """Choose images by their filters."""
    images = [ds] if isinstance(ds, xr.Dataset) else list(ds)
    chosen = [image for image in images if filters is None or words(image, "filter") in filters]
    if not chosen:
        given = ", ".join(words(image, "filter") for image in images) or "none"
        msg = f"filters is {filters!r}; the images are of {given}"
        raise ArgumentError(msg)
    return chosen


def _panels(pairs: Sequence[tuple[xr.Dataset, int | None]], ax: Any, **options: Any) -> Any:
    """Draw images, each with a number of components, side by side."""
    import matplotlib as mpl

    panels = axes_for(ax, len(pairs))
    with mpl.rc_context(STYLE if ax is None else {}):
        drawn = [klip(ds, ax=one, numbasis=number, **options) for (ds, number), one in zip(pairs, panels, strict=True)]
        if ax is None:
            panels[0].figure.draw_without_rendering()  # type: ignore[union-attr]
    return drawn
