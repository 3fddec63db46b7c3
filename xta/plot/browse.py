"""A slider over the integrations of an exposure, for notebooks."""

from typing import Any

import xarray as xr

from xta import identity
from xta.errors import MissingError
from xta.plot.centered import recentered
from xta.plot.exposures import science
from xta.plot.style import COLUMN, DPI, STYLE

__all__ = ["integrations"]

HEIGHT = 4.4  # of the picture [inch]


def integrations(ds: xr.Dataset, /, **kwargs: Any) -> Any:
    """Show the integrations of an exposure one at a time, chosen by a slider, in a notebook.

    Parameters
    ----------
    ds : xarray.Dataset
        An exposure, recentered or not.
    **kwargs
        Those of `recentered` for a recentered exposure, otherwise those of `science`.

    Returns
    -------
    ipywidgets.VBox
        The slider, and below it the picture.

    Raises
    ------
    MissingError
        If the dataset has no integrations, or ipywidgets is not installed.

    Notes
    -----
    Only the integration that is shown is read. All are drawn in the stretch of the first, unless one is given.
    """
    ds = identity.current(ds)
    identity.require(ds, "sci", "integration", step="xta.open_exposure")
    try:
        import ipywidgets
    except ImportError as error:
        msg = 'the slider needs ipywidgets, which is not installed; pip install "xta[notebook]"'
        raise MissingError(msg) from error
    labels = ds["integration"].values.tolist()
    options = dict(kwargs)
    picture = ipywidgets.Image(format="png")
    slider = ipywidgets.SelectionSlider(options=labels, description="integration", continuous_update=False)

    def show(number: int) -> None:
        picture.value, norm = _draw(ds, number, options)
        for name in ("vmin", "vmax"):  # they are in the norm
            options.pop(name, None)
        options["norm"] = norm

    show(labels[0])
    slider.observe(lambda change: show(change["new"]), names="value")
    return ipywidgets.VBox([slider, picture])


def _draw(ds: xr.Dataset, number: int, options: dict[str, Any]) -> tuple[bytes, Any]:
    """Draw one integration as a PNG; return also the norm that it is drawn by."""
    import matplotlib as mpl

    from xta.plot.figure import Page

    draw = recentered if "star_x" in ds.coords else science
    with mpl.rc_context(STYLE):
        figure = Page(figsize=(COLUMN, HEIGHT), dpi=DPI, layout="compressed")
        drawn = draw(ds, ax=figure.add_subplot(), integration=number, **options)
        figure.draw_without_rendering()
        return figure._repr_png_(), drawn.norm
