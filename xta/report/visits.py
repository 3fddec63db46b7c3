"""Pages about many exposures, and a table of all."""

import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xta.errors import ArgumentError
from xta.io.atomic import make_folder
from xta.report.markup import Html, asset, document, number, region, tag
from xta.report.page import page, write

__all__ = ["index"]

INDEX = "index.html"
COLUMNS = (
    # (title, decimals of a number)
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


def index(datasets: "Iterable[xr.Dataset] | Mapping[Any, xr.Dataset]", folder: "str | os.PathLike[str]") -> Path:
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
    rows: list[dict[str, Any]] = []
    for ds in datasets:
        if not isinstance(ds, xr.Dataset):
            msg = f"an exposure is of the type {type(ds).__name__}; give a list of datasets, each of an analysis"
            raise ArgumentError(msg)
        name = _name(_words(ds, "filename") or _words(ds, "visit_id"), taken={INDEX, *pages})
        pages[name] = page(ds, back=INDEX)
        rows.append(_row(ds, name))
    if not rows:
        msg = "there are no datasets to report on; give at least one"
        raise ArgumentError(msg)
    make_folder(target)
    for name, text in (pages | {INDEX: _index(rows)}).items():
        write(text, target / name)
    return target / INDEX


def _words(ds: xr.Dataset, name: str) -> str:
    return str(ds.attrs.get(name, "")).strip()


def _name(exposure: str, *, taken: set[str]) -> str:
    """Name the page of an exposure, with letters that are safe in every file system and link."""
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", exposure.removesuffix(".fits")).strip("-")[:100] or "exposure"
    names = (f"{stem}{f'-{k}' if k > 1 else ''}.html" for k in range(1, len(taken) + 2))
    lower = {name.lower() for name in taken}  # some file systems do not tell capitals
    return next(name for name in names if name.lower() not in lower)


def _row(ds: xr.Dataset, name: str) -> dict[str, Any]:
    from xta.report import sections

    east, north = float(ds["offset_east"]), float(ds["offset_north"])
    about = ("visit_id", "target_name", "instrument", "filter", "filename", "centroid_source")
    return {
        **{key: _words(ds, key) for key in about},
        "light": sections.light(sections.state(ds)),
        "state": sections.state(ds),
        "star": sections.position(ds),
        "offset": (east, north, 1e3 * math.hypot(east, north)),
        "page": name,
    }


def _index(rows: list[dict[str, Any]]) -> str:
    head = [
        tag(
            "th",
            tag("button", title, tag("span", class_="arrow", aria_hidden="true"), type="button"),
            scope="col",
            aria_sort="none",
            class_=None if decimals is None else "number",
        )
        for title, decimals in COLUMNS
    ]
    caption = f"{len(rows)} exposure{'s' if len(rows) > 1 else ''}"
    body = tag("tbody", *(tag("tr", *_cells(row)) for row in rows))
    made = region(
        tag("table", tag("caption", caption), tag("thead", tag("tr", *head)), body, class_="sortable"),
        label=caption,
    )
    header = tag("header", tag("p", "Target acquisition", class_="above"), tag("h1", "All visits"))
    hint = tag("p", "A title sorts the table by its column; once more, the other way round.", class_="note")
    status = tag("p", id="sorted", class_="unseen", aria_live="polite")
    main = tag("main", tag("section", hint, made, status), _picture(rows))
    return document("All visits · xta", header, main, script=asset("index.js"), wide=True)


def _cells(row: dict[str, Any]) -> list[Html]:
    values = [row["target_name"], row["light"], row["instrument"], row["filter"]]
    values += [*row["star"], *row["offset"], row["centroid_source"], row["filename"].removesuffix(".fits")]
    keys = {2: {0: 0, -1: 1, None: 2, 1: 3}[row["state"]]}  # failures come first
    cells = [tag("th", tag("a", row["visit_id"] or "–", href=row["page"]), scope="row")]
    for k, (value, (_, decimals)) in enumerate(zip(values, COLUMNS[1:], strict=True), start=1):
        if decimals is None:
            cells.append(tag("td", value, data_key=keys.get(k)))
        else:
            key = repr(value) if math.isfinite(value) else None
            cells.append(tag("td", number(value, decimals) if key else "–", data_key=key, class_="number"))
    return cells


def _picture(rows: list[dict[str, Any]]) -> Html | None:
    """Draw the pointing errors, if there are several; exposures of one visit share theirs."""
    found = list(dict.fromkeys((row["visit_id"], *np.round(row["offset"][:2], 6).tolist()) for row in rows))
    if len(found) < 2:
        return None
    from xta.plot import offsets
    from xta.report.pictures import picture

    visit, east, north = zip(*found, strict=True)
    table = xr.Dataset(
        {"offset_east": ("visit", list(east)), "offset_north": ("visit", list(north))}, {"visit": list(visit)}
    )
    drawn = picture(offsets, table, "Pointing error of each visit, WCS minus centroid, on the sky.", height=3.7)
    return tag("section", tag("h2", "Pointing errors"), tag("div", drawn, class_="pictures"))
