"""The pictures of a page, as files that it holds."""

import io
from base64 import b64encode
from collections.abc import Callable, Mapping

import xarray as xr

from xta import model, plot
from xta.acquisition.image import in_use
from xta.plot.places import Point, acquisition_marks, science_marks
from xta.plot.style import COLUMN, DPI, STYLE
from xta.report.markup import Html, tag
from xta.summary import number

__all__ = ["figures", "picture"]

SAME = {"svg.hashsalt": "xta"}
"""Makes the same file of a picture each time."""


def figures(ds: xr.Dataset) -> list[Html]:
    """Draw the pictures that an analyzed dataset has the data for."""
    text = f"Target-acquisition image, exposure {ds.attrs['ta_in_use']}. {_say(acquisition_marks(in_use(ds)))}"
    drawn = [picture(plot.acquisition, ds, text, height=4.2)]
    if "sci" in ds.variables and not model.is_ta(ds):  # an acquisition by itself is not drawn twice
        if "star_x" in ds.coords:
            drawn.append(picture(plot.recentered, ds, "Recentered science image, the star in its middle.", height=4.2))
        else:
            high = 1.3 + 3 * ds.sizes["y"] / ds.sizes["x"]
            text = f"Science image, the star behind the mask. {_say(science_marks(ds))}"
            drawn.append(picture(plot.science, ds, text, height=high))
    if ds["ta_exposure"].size > 1:
        text = "Pointing error, WCS minus centroid, of each target-acquisition exposure, on the sky."
        drawn.append(picture(plot.offsets, ds, text, height=3.7))
    return drawn


def picture(draw: Callable[..., object], ds: xr.Dataset, words: str, *, height: float) -> Html:
    """Draw a picture as SVG by a function of `xta.plot`; `words` say what there is to see, `height` is in inch."""
    import matplotlib as mpl

    from xta.plot.figure import Page

    with mpl.rc_context(STYLE | SAME), io.BytesIO() as file:
        page = Page(figsize=(COLUMN, height), dpi=DPI)
        draw(ds, ax=page.add_subplot())
        page.savefig(file, format="svg", dpi=DPI, metadata={"Date": None}, bbox_inches="tight", pad_inches=0.08)
        content = b64encode(file.getvalue()).decode()
        return tag("img", src=f"data:image/svg+xml;base64,{content}", alt=words, class_="picture")


def _say(marks: Mapping[str, Point]) -> str:
    return "".join(f"{label} at {number(x, 2)}, {number(y, 2)}. " for label, (x, y) in marks.items()).strip()
