"""One page about one exposure."""

import os
from pathlib import Path

import xarray as xr

from xta import model
from xta.acquisition.image import in_use
from xta.errors import ArgumentError
from xta.io.atomic import whole_file
from xta.report import pictures, sections, viewer
from xta.report.markup import document, fill, join, tag

__all__ = ["page", "report", "write"]


def report(ds: xr.Dataset, path: "str | os.PathLike[str]") -> Path:
    """Write a report of an analyzed exposure: one HTML file that needs nothing else.

    Parameters
    ----------
    ds : xarray.Dataset
        With an acquisition attached and the offset measured; with `adjust_wcs` done the page shows the star.
    path : path
        Of the file, which ends in ``.html``; replaced if it exists, once the new one is complete.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    ArgumentError
        If `path` does not end in ``.html``, or `ds` holds several exposures.
    MissingError
        If a step of the analysis was not done; it names the step.
    FileError
        If the file cannot be written; nothing is left behind.

    Notes
    -----
    The page holds the result, its checks and error budget if the dataset has them, the pictures, the TA images to
    look into (zoom; pixel, RA, Dec and value under the cursor), the onboard log and the history. It opens without a
    network. The same dataset gives the same file.

    See Also
    --------
    xta.report.index : a page for each of many exposures, and a table of all.
    """
    target = Path(path).expanduser()
    if target.suffix.lower() != ".html":
        msg = f"{target.name!r} is no name of a page; end it with .html"
        raise ArgumentError(msg)
    write(page(ds), target)
    return target


def write(text: str, path: Path) -> None:
    """Write a page, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def page(ds: xr.Dataset, *, back: str | None = None) -> str:
    """Make the page of an exposure as `report` takes it, with a link to the file `back`, the index."""
    _require(ds)
    # What is small is read once; frames and sky coordinates are left where they are.
    small = [name for name, variable in ds.variables.items() if not {"x", "y"} & set(variable.dims)]
    ds = ds.merge(ds[small].compute(), overwrite_vars=small)
    title = model.words(ds, "target_name", "visit_id", between=" · ")
    body = fill(
        "exposure.html",
        back=tag("nav", tag("a", "All visits", href=back)) if back else None,
        target=model.words(ds, "target_name") or "Unnamed target",
        about=sections.about(ds),
        star=sections.star(ds),
        checks=sections.checks(ds),
        viewer=viewer.viewer(ds),
        pictures=join(*pictures.figures(ds)),
        numbers=sections.numbers(ds),
        log=sections.log(ds),
        origin=sections.origin(ds),
    )
    return document(f"{title or 'Exposure'} · xta", body, script="viewer.js")


def _require(ds: xr.Dataset) -> None:
    """Check that a dataset is one exposure, acquired and measured, with the TA exposure in use."""
    model.require(ds, "ta_sci", step="ds.ta.attach()")
    in_use(ds)
    model.require(ds, "offset_x", "centroid_x", step="ds.ta.compute_offset()")
    if dims := ds["offset_x"].dims:
        along = ", ".join(map(str, dims))
        msg = f"the dataset holds several exposures, along {along}; give one, or a list of them to xta.report.index"
        raise ArgumentError(msg)
