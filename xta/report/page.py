"""Make the page of one exposure with its pictures."""

import io
from base64 import b64encode
from collections.abc import Callable, Mapping
from pathlib import Path

import xarray as xr

from xta import identity, plot
from xta.acquisition.image import in_use
from xta.errors import ArgumentError
from xta.identity import header
from xta.io.atomic import whole_file
from xta.plot.places import Point, acquisition_marks, exposure_labels, science_marks
from xta.plot.style import COLUMN, DPI, STYLE
from xta.report import sections, viewer
from xta.report.markup import CONTROL, Html, document, fill, join, tag
from xta.summary import number
from xta.workers import compute

__all__ = ["page", "picture", "write"]


def write(text: str, path: Path) -> None:
    """Write a page; an incomplete file is never left."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def page(ds: xr.Dataset, *, back: str | None = None) -> str:
    """Make the page of an exposure for `report`, with a link to the file `back`, the index."""
    _require(ds)
    # Texts become printable, what is small is read once; frames and sky coordinates are left where they are.
    attrs = {key: CONTROL.sub("\ufffd", value) if isinstance(value, str) else value for key, value in ds.attrs.items()}
    small = [name for name, variable in ds.variables.items() if not {"x", "y"} & set(variable.dims)]
    ds = ds.merge(compute(ds[small]), overwrite_vars=small).assign_attrs(attrs)
    title = identity.words(ds, "target_name", "visit_id", between=" · ")
    body = fill(
        "exposure.html",
        back=tag("nav", tag("a", "All visits", href=back)) if back else None,
        target=identity.words(ds, "target_name") or "Unnamed target",
        about=sections.about(ds),
        star=sections.star(ds),
        checks=sections.checks(ds),
        viewer=viewer.viewer(ds),
        pictures=join(*_pictures(ds)),
        numbers=sections.numbers(ds),
        solution=sections.solution(ds),
        log=sections.log(ds),
        origin=sections.origin(ds),
    )
    return document(f"{title or 'Exposure'} · xta", body, script="viewer.js")


def _require(ds: xr.Dataset) -> None:
    """Check that a dataset is one exposure, acquired and measured, with the TA exposure in use."""
    identity.refuse_combined(ds)
    identity.require(ds, "ta_sci", step="ds.ta.attach()")
    in_use(ds)
    measured = "offset_x" if "offset_x" in ds.variables else "target_x"  # a star by hand has no offset
    identity.require(ds, measured, step="ds.ta.compute_offset()")
    if dims := ds[measured].dims:
        along = ", ".join(map(str, dims))
        msg = f"the dataset contains several exposures along {along}; give one, or a list of them to xta.report.index"
        raise ArgumentError(msg)


def _pictures(ds: xr.Dataset) -> list[Html]:
    """Draw the pictures that an analyzed dataset has the data for."""
    used, count = exposure_labels(ds).index(header(ds)["ta_in_use"]) + 1, ds["ta_exposure"].size
    text = f"Target-acquisition image, exposure {used} of {count}. {_describe(acquisition_marks(in_use(ds)))}"
    drawn = [picture(plot.acquisition, ds, text, height=4.2)]
    if "sci" in ds.variables and not identity.is_ta(ds):  # an acquisition by itself is not drawn twice
        if "star_x" in ds.coords:
            drawn.append(picture(plot.recentered, ds, "Recentered science image, the star in its middle.", height=4.2))
        else:
            high = 1.3 + 3 * ds.sizes.get("y", 1) / ds.sizes.get("x", 1)
            place = "behind the mask" if identity.behind_mask(ds) else "in the exposure"
            text = f"Science image, the star {place}. {_describe(science_marks(ds))}"
            drawn.append(picture(plot.science, ds, text, height=high))
    if ds["ta_exposure"].size > 1:
        text = "Pointing error, WCS minus centroid, of each target-acquisition exposure, on the sky."
        drawn.append(picture(plot.offsets, ds, text, height=3.7))
    return drawn


def picture(draw: Callable[..., object], ds: xr.Dataset, words: str, *, height: float) -> Html:
    """Draw a picture as SVG with a function of `xta.plot`; `words` describe it, and `height` is in inches."""
    import matplotlib as mpl

    from xta.plot.figure import Page

    same = {"svg.hashsalt": "xta"}  # makes the same file each time
    with mpl.rc_context(STYLE | same), io.BytesIO() as file:
        figure = Page(figsize=(COLUMN, height), dpi=DPI)
        draw(ds, ax=figure.add_subplot())
        figure.savefig(file, format="svg", dpi=DPI, metadata={"Date": None}, bbox_inches="tight", pad_inches=0.08)
        content = b64encode(file.getvalue()).decode()
        return tag("img", src=f"data:image/svg+xml;base64,{content}", alt=words, class_="picture")


def _describe(marks: Mapping[str, Point]) -> str:
    return "".join(f"{label} at {number(x, 2)}, {number(y, 2)}. " for label, (x, y) in marks.items()).strip()
