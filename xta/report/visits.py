"""Write pages about many exposures, and a table of all of them."""

import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import xarray as xr

from xta import plot
from xta.errors import ArgumentError, counted
from xta.identity import current, words
from xta.io.atomic import make_folder
from xta.model import scalar
from xta.report import sections
from xta.report.markup import Html, document, fill, join, section, tag
from xta.report.page import page, picture, write
from xta.stacks import is_stack, members_or_one
from xta.summary import number

__all__ = ["index", "report"]

INDEX = "index.html"
NUMBERS = {"Star x [px]": 4, "Star y [px]": 4, "Offset east [″]": 4, "Offset north [″]": 4, "Offset [mas]": 1}
"""Title of a column of numbers -> their decimals."""

TITLES = ("Visit", "Target", "Checks", "Instrument", "Filter", *NUMBERS, "Centroid", "Exposure")
RANKS = {0: 0, -1: 1, None: 2, 1: 3}  # order of checks when sorted; failures come first


def report(ds: xr.Dataset, path: "str | os.PathLike[str]") -> Path:
    """Write a report of an analyzed exposure: one HTML file that needs nothing else.

    Parameters
    ----------
    ds : xarray.Dataset
        An exposure with an acquisition attached and the offset measured; after `adjust_wcs` the page shows the star.
    path : path
        File to write, which must end in ``.html``; an existing one is replaced once the new file is complete. For a
        stack of exposures, the folder for `index`.

    Returns
    -------
    pathlib.Path
        The file, or ``index.html`` for a stack.

    Raises
    ------
    ArgumentError
        If `path` does not end in ``.html``.
    MissingError
        If a step of the analysis was not done. The message names the step.
    FileError
        If the file cannot be written. Nothing is left behind.

    Notes
    -----
    The page contains the result, its checks and error budget if the dataset has them, the pictures, interactive TA
    images (zoom; pixel, RA, Dec and value under the cursor), the onboard log and the history. It opens without a
    network. The same dataset gives the same file.

    See Also
    --------
    xta.report.index : one page per exposure, and a table of all.
    """
    target = Path(path).expanduser()
    if is_stack(ds):
        return index([ds], target)
    if target.suffix.lower() != ".html":
        msg = f"path is {target.name!r}; the name of the page must end in .html"
        raise ArgumentError(msg)
    write(page(current(ds)), target)
    return target


def index(datasets: "Iterable[xr.Dataset] | Mapping[str, xr.Dataset]", folder: "str | os.PathLike[str]") -> Path:
    """Write a report of each of many exposures, and a page with a sortable table of all.

    Parameters
    ----------
    datasets : iterable of xarray.Dataset
        Datasets for `report`: a list, a generator, from which one dataset is used at a time, or a dict such as the
        result of `xta.analyze_visit`.
    folder : path
        Folder to write to; created if it does not exist. A page has the name of its exposure's file, and
        ``index.html`` links to them.

    Returns
    -------
    pathlib.Path
        ``index.html``.

    Raises
    ------
    ArgumentError
        If there are no datasets.
    MissingError
        If a step of an analysis was not done. The message names the step.
    FileError
        If the folder or a file cannot be written.

    Notes
    -----
    Nothing is written until all pages are made, and ``index.html`` is written last.
    """
    target = Path(folder).expanduser()
    if isinstance(datasets, Mapping):
        datasets = datasets.values()
    pages: dict[str, str] = {}
    rows, errors = [], []
    for ds in _each(datasets):
        name = _name(words(ds, "filename") or words(ds, "visit_id"), taken={INDEX, *pages})
        pages[name] = page(ds, back=INDEX)
        rows.append(_row(name, ds))
        east, north = (round(scalar(ds, f"offset_{axis}"), 6) for axis in ("east", "north"))
        errors.append((words(ds, "visit_id"), words(ds, "instrument"), east, north))
    if not rows:
        msg = "there are no datasets to report on; give at least one"
        raise ArgumentError(msg)
    make_folder(target)
    for name, text in (pages | {INDEX: _index(rows, errors)}).items():
        write(text, target / name)
    return target / INDEX


def _each(datasets: "Iterable[object]") -> "Iterator[xr.Dataset]":
    """Yield the exposures one at a time, including those of a stack."""
    for ds in datasets:
        if not isinstance(ds, xr.Dataset):
            msg = f"an exposure is a {type(ds).__name__}; give a list of analyzed datasets"
            raise ArgumentError(msg)
        yield from members_or_one(ds)


def _name(exposure: str, *, taken: set[str]) -> str:
    """Return the file name of an exposure's page, with characters that are safe in every file system and link."""
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", exposure.removesuffix(".fits")).strip("-")[:100] or "exposure"
    names = (f"{stem}{f'-{k}' if k > 1 else ''}.html" for k in range(1, len(taken) + 2))
    lower = {name.lower() for name in taken}  # some file systems ignore case
    return next(name for name in names if name.lower() not in lower)


def _row(page_name: str, ds: xr.Dataset) -> Html:
    """Make the row of an exposure, with the columns of `TITLES`; each cell has a sort key beside its text."""
    state, offset = sections.state(ds), [scalar(ds, f"offset_{axis}") for axis in ("east", "north")]
    values = zip((*sections.position(ds), *offset, 1e3 * math.hypot(*offset)), NUMBERS.values(), strict=True)
    return tag(
        "tr",
        tag("th", tag("a", words(ds, "visit_id") or "–", href=page_name), scope="row"),
        tag("td", words(ds, "target_name")),
        tag("td", sections.light(state), data_key=RANKS[state]),
        *(tag("td", words(ds, name)) for name in ("instrument", "filter")),
        *(
            tag("td", number(value, decimals), data_key=repr(value) if math.isfinite(value) else None, class_="number")
            for value, decimals in values
        ),
        tag("td", words(ds, "centroid_source")),
        tag("td", words(ds, "filename").removesuffix(".fits")),
    )


def _index(rows: list[Html], errors: list[tuple[str, str, float, float]]) -> str:
    arrow = tag("span", class_="arrow", aria_hidden="true")
    css = dict.fromkeys(NUMBERS, "number")
    head = [
        tag("th", tag("button", title, arrow, type="button"), scope="col", aria_sort="none", class_=css.get(title))
        for title in TITLES
    ]
    caption = counted(len(rows), "exposure")
    body = fill("index.html", caption=caption, head=join(*head), rows=join(*rows), picture=_picture(errors))
    return document("All visits · xta", body, script="index.js", wide=True)


def _picture(errors: list[tuple[str, str, float, float]]) -> Html | None:
    """Draw the pointing errors, if there are several; exposures of one visit share theirs."""
    different = list(dict.fromkeys(errors))
    if len(different) < 2:
        return None
    visit, instrument, east, north = (("visit", list(values)) for values in zip(*different, strict=True))
    table = xr.Dataset({"offset_east": east, "offset_north": north}, {"visit": visit, "instrument": instrument})
    drawn = picture(plot.offsets, table, "Pointing error of each visit, WCS minus centroid, on the sky.", height=3.7)
    return section("Pointing errors", tag("div", drawn, class_="pictures"))
