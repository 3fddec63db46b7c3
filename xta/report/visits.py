"""Pages about many exposures, and a table of all."""

import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import xarray as xr

from xta import plot
from xta.errors import ArgumentError
from xta.io.atomic import make_folder
from xta.model import scalar, words
from xta.report import sections
from xta.report.markup import Html, asset, document, region, tag
from xta.report.page import page, write
from xta.report.pictures import picture
from xta.summary import number

__all__ = ["index"]

INDEX = "index.html"
COLUMNS = (
    # (title, decimals of a number), in the order of the fields of _Row
    ("Visit", None),
    ("Target", None),
    ("Checks", None),
    ("Instrument", None),
    ("Filter", None),
    ("Star x [px]", 4),
    ("Star y [px]", 4),
    ("Offset east [″]", 4),
    ("Offset north [″]", 4),
    ("Offset [mas]", 1),
    ("Centroid", None),
    ("Exposure", None),
)
ABOUT = ("visit_id", "target_name", "instrument", "filter", "centroid_source", "filename")
RANKS = {0: 0, -1: 1, None: 2, 1: 3}  # of checks when sorted: failures come first


class _Row(NamedTuple):
    visit: str
    target: str
    state: int | None
    instrument: str
    filter: str
    x: float
    y: float
    east: float
    north: float
    mas: float
    centroid: str
    exposure: str


def index(datasets: "Iterable[xr.Dataset] | Mapping[str, xr.Dataset]", folder: "str | os.PathLike[str]") -> Path:
    """Write a report of each of many exposures, and a page with a table of all that can be sorted.

    Parameters
    ----------
    datasets : iterable of xarray.Dataset
        Each as of `report`; may be a generator, of which one dataset is used at a time, or a dict as that of
        `xta.analyze_visit`.
    folder : path
        Made if it is not there. A page has the name of its exposure's file; ``index.html`` links to them.

    Returns
    -------
    pathlib.Path
        ``index.html``.

    Raises
    ------
    ArgumentError
        If there are no datasets, or one holds several exposures.
    MissingError
        If a step of an analysis was not done; it names the step.
    FileError
        If the folder or a file cannot be written.

    Notes
    -----
    Nothing is written before all pages are made, and ``index.html`` comes last.
    """
    target = Path(folder).expanduser()
    if isinstance(datasets, Mapping):
        datasets = datasets.values()
    pages: dict[str, str] = {}
    rows: dict[str, _Row] = {}
    for ds in datasets:
        if not isinstance(ds, xr.Dataset):
            msg = f"an exposure is of the type {type(ds).__name__}; give a list of datasets, each of an analysis"
            raise ArgumentError(msg)
        name = _name(words(ds, "filename") or words(ds, "visit_id"), taken={INDEX, *pages})
        pages[name] = page(ds, back=INDEX)
        rows[name] = _row(ds)
    if not rows:
        msg = "there are no datasets to report on; give at least one"
        raise ArgumentError(msg)
    make_folder(target)
    for name, text in (pages | {INDEX: _index(rows)}).items():
        write(text, target / name)
    return target / INDEX


def _name(exposure: str, *, taken: set[str]) -> str:
    """Name the page of an exposure, with letters that are safe in every file system and link."""
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", exposure.removesuffix(".fits")).strip("-")[:100] or "exposure"
    names = (f"{stem}{f'-{k}' if k > 1 else ''}.html" for k in range(1, len(taken) + 2))
    lower = {name.lower() for name in taken}  # some file systems do not tell capitals
    return next(name for name in names if name.lower() not in lower)


def _row(ds: xr.Dataset) -> _Row:
    east, north = scalar(ds, "offset_east"), scalar(ds, "offset_north")
    visit, target, instrument, band, centroid, file = (words(ds, name) for name in ABOUT)
    x, y = sections.position(ds)
    mas, exposure = 1e3 * math.hypot(east, north), file.removesuffix(".fits")
    return _Row(visit, target, sections.state(ds), instrument, band, x, y, east, north, mas, centroid, exposure)


def _index(rows: Mapping[str, _Row]) -> str:
    arrow = tag("span", class_="arrow", aria_hidden="true")
    head = [
        tag(
            "th",
            tag("button", title, arrow, type="button"),
            scope="col",
            aria_sort="none",
            class_=None if decimals is None else "number",
        )
        for title, decimals in COLUMNS
    ]
    caption = f"{len(rows)} exposure{'s' if len(rows) > 1 else ''}"
    body = tag("tbody", *(tag("tr", *_cells(name, row)) for name, row in rows.items()))
    made = region(
        tag("table", tag("caption", caption), tag("thead", tag("tr", *head)), body, class_="sortable"), label=caption
    )
    header = tag("header", tag("p", "Target acquisition", class_="above"), tag("h1", "All visits"))
    hint = tag("p", "Click a column heading to sort; click again to reverse.", class_="note")
    status = tag("p", id="sorted", class_="unseen", aria_live="polite")
    main = tag("main", tag("section", hint, made, status), _picture(list(rows.values())))
    return document("All visits · xta", header, main, script=asset("index.js"), wide=True)


def _cells(name: str, row: _Row) -> list[Html]:
    cells = [tag("th", tag("a", row.visit or "–", href=name), scope="row")]
    for (title, decimals), value in zip(COLUMNS[1:], row[1:], strict=True):
        if title == "Checks":
            cells.append(tag("td", sections.light(row.state), data_key=RANKS[row.state]))
        elif isinstance(value, float):
            key = repr(value) if math.isfinite(value) else None
            cells.append(tag("td", number(value, decimals), data_key=key, class_="number"))
        else:
            cells.append(tag("td", value))
    return cells


def _picture(rows: list[_Row]) -> Html | None:
    """Draw the pointing errors, if there are several; exposures of one visit share theirs."""
    errors = list(dict.fromkeys((row.visit, round(row.east, 6), round(row.north, 6)) for row in rows))
    if len(errors) < 2:
        return None
    visit, east, north = zip(*errors, strict=True)
    table = xr.Dataset(
        {"offset_east": ("visit", list(east)), "offset_north": ("visit", list(north))}, {"visit": list(visit)}
    )
    drawn = picture(plot.offsets, table, "Pointing error of each visit, WCS minus centroid, on the sky.", height=3.7)
    return tag("section", tag("h2", "Pointing errors"), tag("div", drawn, class_="pictures"))
