"""Make the parts of a page: the result, its reliability, and its sources."""

import math
import re
from contextlib import suppress
from importlib import metadata
from platform import python_version

import xarray as xr

from xta import summary
from xta.acquisition.checklist import CHECKS
from xta.errors import MissingError, XtaError, counted
from xta.estimates.solve import solution as joint_solution
from xta.estimates.table import estimates
from xta.identity import behind_mask, header, words
from xta.model import scalar
from xta.plot.places import pixel
from xta.report.markup import Html, join, region, section, table, tag
from xta.summary import number

__all__ = ["about", "checks", "light", "log", "numbers", "origin", "position", "solution"]
__all__ += ["star", "state"]

LIGHTS = {
    # Value of check_passed -> word, and the path of its sign, which tells the colors apart.
    1: ("passed", "M-.5 .05L-.15 .4L.5-.35"),
    0: ("failed", "M-.4-.4L.4 .4M-.4 .4L.4-.4"),
    -1: ("not tested", "M-.45 0H.45"),
    None: ("no checks", "M-.45 0H.45"),
}
TOTALS = {
    "target_x_err": "x [px]",
    "target_y_err": "y [px]",
    "target_x_err_mas": "x [mas]",
    "target_y_err_mas": "y [mas]",
}
"""Standard errors of the star -> head of the column with their parts."""

PRODUCT = re.compile(r"_(cal|rate)(ints)?\b")  # is left out of the names of observations
MASK = "mask reference"  # a part that is not an error of the star
PACKAGES = ("xta", "xarray", "numpy", "astropy", "gwcs", "asdf", "jwst", "pysiaf", "matplotlib")
SOURCES = {
    "filename": "exposure",
    "ta_filename": "acquisition",
    "centroid_source": "centroid",
    "oss_status": "onboard status",
    "oss_time": "time of the onboard centroid (UTC)",
    "cal_version": "JWST pipeline of the exposure",
    "crds_context": "CRDS context",
    "prd_version": "PRD (SIAF)",
    "oss_version": "onboard software",
}


def about(ds: xr.Dataset) -> Html:
    """Describe the exposure of the page on two lines."""
    facts = [
        f"Visit {header(ds)['visit_id']}" if "visit_id" in header(ds) else "",
        words(ds, "telescope", "instrument", "detector"),
        words(ds, "filter", "pupil"),
        words(ds, "exp_type", "aperture", "coronagraphic_mask", between=" · "),
    ]
    return join(*(tag("p", line) for line in (" · ".join(filter(None, facts)), words(ds, "filename")) if line))


def star(ds: xr.Dataset) -> Html:
    """Show the star's position in large type, with its error if there is one, and explain the numbers."""
    x, y = position(ds)
    if math.isfinite(x) and math.isfinite(y):
        title = "Star behind the mask" if behind_mask(ds) else "Star in the exposure"
        pairs = [_big("x", x, scalar(ds, "target_x_err")), _big("y", y, scalar(ds, "target_y_err"))]
        note = (
            "Pixel of the exposure’s own readout, 0-based: (0, 0) is the center of its first pixel. Counted from 1, as "
            f"FITS, DS9 and the SIAF do: {number(x + 1, 4)}, {number(y + 1, 4)}."
        )
        note += " The dataset is recentered: there the star is on the central pixel." if "star_x" in ds.coords else ""
    else:
        title, pairs = "Pointing error", [_big(axis, scalar(ds, f"offset_{axis}"), sign=True) for axis in ("x", "y")]
        note = (
            "Target by the WCS of the TA exposure, minus the star's centroid. The star's place in the exposure was "
            "not computed: ds.ta.adjust_wcs() does that."
        )
    mas = [scalar(ds, f"target_{axis}_err_mas") for axis in ("x", "y")]
    if all(map(math.isfinite, mas)):
        note += f" Standard errors: {number(mas[0], 1)} and {number(mas[1], 1)} mas."
    return section(title, tag("dl", *pairs, class_="big"), tag("p", note, class_="note"), _verdict(ds), class_="star")


def _big(name: str, value: float, error: float = math.nan, *, sign: bool = False) -> Html:
    spread = tag("span", f" ± {number(error, 4)}") if math.isfinite(error) else None
    return tag("div", tag("dt", name), tag("dd", number(value, 4, sign=sign), spread, tag("span", " px")))


def state(ds: xr.Dataset) -> int | None:
    """Summarize the checks: 0 if one failed, else 1 if one passed, else -1; None if there are none."""
    states = {check.state for check in summary.checks(ds)}
    return next((state for state in (0, 1, -1) if state in states), None)


def _verdict(ds: xr.Dataset) -> Html | None:
    """Summarize the checks on one line, with the names of those that failed."""
    judged = summary.checks(ds)
    if not judged:
        return None
    names = {value: [check.name for check in judged if check.state == value] for value in LIGHTS}
    count = f"{len(names[1])} of {len(names[1] + names[0])} checks passed"
    count += f", {len(names[-1])} not tested" if names[-1] else ""
    failed = tag("strong", ", ".join(names[0])) if names[0] else None
    return tag("p", light(state(ds)), failed, tag("a", count, href="#checks"), class_="verdict")


def light(value: int | None) -> Html:
    """Draw a traffic light, with a sign and a word for its color."""
    word, path = LIGHTS[value]
    sign = tag("svg", tag("circle", r="1"), tag("path", d=path), viewBox="-1.1 -1.1 2.2 2.2", aria_hidden="true")
    return tag("span", sign, word, class_=f"light {word.replace(' ', '-')}")


def checks(ds: xr.Dataset) -> Html | None:
    """List the checks in the dataset, each with its reason, and with advice if it failed."""
    items = []
    for check in summary.checks(ds):
        todo = tag("p", CHECKS[check.name].remedy) if check.state == 0 and check.name in CHECKS else None
        text = tag("div", tag("strong", check.name), tag("p", check.reason), todo)
        items.append(tag("li", light(check.state), text, class_="failed" if check.state == 0 else None))
    return section("Checks", tag("ul", *items, class_="checks"), id="checks") if items else None


def solution(ds: xr.Dataset) -> Html | None:
    """Make the table of the observations of a joint solution, if the dataset has one."""
    try:
        observed = joint_solution(ds)
    except MissingError:
        return None
    _, *rows = summary.observations(observed)
    cells = [
        (
            _lines(*PRODUCT.sub("", row[0]).split(" - ")),
            row[1],
            *(_lines(*row[k : k + 2]) for k in range(2, 10, 2)),
            *row[10:],
        )
        for row in rows
    ]
    head = ("observation", "kind", "x, y", "error", "residual", "pull", "chi-square", "weight", "")
    before = ", ".join(number(value, 4) for value in pixel(ds, "prior"))
    note = (
        f"The star is from the joint solution of all exposures; by its acquisition alone it was at {before} px. "
        f"Chi-square is {number(observed.attrs['chi2'], 1)} with {counted(observed.attrs['degrees'], 'degree')} of "
        "freedom. Positions are in pixels, and errors are those before the solution. A pull is a residual divided by "
        "its error, and the chi-square of an observation shows how much it contradicts the others."
    )
    seen = table(head, cells, caption="Observations along x and along y", numeric=range(2, 8))
    return section("Joint solution", tag("p", note, class_="note"), seen)


def _lines(*texts: str) -> Html:
    """Write texts on separate lines."""
    return join(texts[0], *(join(Html("<br>"), text) for text in texts[1:]))


def numbers(ds: xr.Dataset) -> Html:
    """Make the tables of results."""
    captions = dict(zip(summary.AXES, ("Pixels", "Coordinates on the sky", "Directions on the sky"), strict=True))
    measured = [
        table(("quantity", *heads), lines, caption=captions[axes], numeric=(1, 2))
        for axes, heads in summary.AXES.items()
        if (lines := summary.rows(ds, axes=axes))
    ]
    return join(*measured, _budget(ds), _other_ways(ds))


def _budget(ds: xr.Dataset) -> Html | None:
    """Make the table of the parts of the star's error, if the dataset has them."""
    columns = {name: part for name in TOTALS if (part := name.replace("_err", "_err_part")) in ds.coords}
    if "error_part" not in ds.coords or not columns:
        return None
    labels = [str(label) for label in ds["error_part"].values]
    sources = ds["error_part_source"].values if "error_part_source" in ds.coords else [""] * len(labels)
    parts = {
        label: (label, *(_error(float(ds[part][k]), part) for part in columns.values()), _why(sources[k]))
        for k, label in enumerate(labels)
    }
    total = [tag("strong", _error(scalar(ds, name), name)) for name in columns]
    apart = [parts.pop(MASK)] if MASK in parts else []
    lines = [*parts.values(), (tag("strong", "star"), *total, _why("in quadrature")), *apart]
    caption = "Standard error of the star’s position, one axis"
    head = ("part", *(TOTALS[name] for name in columns), "from")
    return table(head, lines, caption=caption, numeric=range(1, len(head) - 1))


def _why(text: str) -> Html:
    return tag("span", text, class_="why")


def _error(value: float, name: str) -> str:
    """Write a value in px or mas; one that would round to zero is written as a power of ten."""
    decimals = 2 if name.endswith("mas") else 4
    return number(value, decimals if abs(value) >= 0.5 / 10**decimals or value == 0 else None)


def _other_ways(ds: xr.Dataset) -> Html | None:
    """Make the table of the star by all methods that the dataset allows; nothing if there are none."""
    try:
        ways = estimates(ds, oss=False)
    except XtaError:
        return None
    agrees = {1: "yes", 0: "no", -1: "–"}
    rows = []
    for k, way in enumerate(ways["estimate"].values):
        row = ways.isel(estimate=k)
        values = [_error(float(row[name]), "px") for name in ("x", "y", "x_sigma", "y_sigma")]
        rows.append((way, *values, agrees[int(row["agrees"])], _why(row["why"].item())))
    head = ("method", "x [px]", "y [px]", "σ x [px]", "σ y [px]", "agrees", "why")
    return table(head, rows, caption="The star by other methods", numeric=range(1, 5))


def log(ds: xr.Dataset) -> Html | None:
    """Show the lines of the onboard log that the result is based on."""
    lines = str(header(ds).get("oss_log", "")).strip("\n")
    text = region(tag("pre", lines), label="Lines of the onboard event log", class_="scroll log")
    return section("Onboard event log", text) if lines else None


def origin(ds: xr.Dataset) -> Html:
    """List the input of the result, the software and the steps."""
    facts = {text: words(ds, name) for name, text in SOURCES.items()}
    facts |= {"acquisition": ", ".join(summary.ta_filenames(ds)), "packages of this report": _versions()}
    pairs = [tag("div", tag("dt", what), tag("dd", text)) for what, text in facts.items() if text]
    steps = [tag("li", line) for line in str(ds.attrs.get("history", "")).splitlines() if line.strip()]
    history = (tag("h3", "History"), tag("ol", *steps, class_="history")) if steps else ()
    return join(tag("dl", *pairs, class_="facts"), *history)


def _versions() -> str:
    versions = {"Python": python_version()}
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def position(ds: xr.Dataset) -> tuple[float, float]:
    """Read the star's pixel in the exposure's own readout; NaN if it is not known."""
    return pixel(ds, "star" if "star_x" in ds.coords else "target")
