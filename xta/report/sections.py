"""The parts of a page: what was found, how far it can be trusted, and where it comes from."""

import math
from importlib import metadata
from platform import python_version

import numpy as np
import xarray as xr

from xta import summary
from xta.errors import XtaError
from xta.estimates.table import estimates
from xta.plot.places import scalar
from xta.report.markup import Html, number, region, table, tag

__all__ = [
    "STATES",
    "budget",
    "checks",
    "heading",
    "light",
    "log",
    "numbers",
    "origin",
    "other_ways",
    "position",
    "star",
    "state",
    "words",
]

STATES = {
    # Value of check_passed -> word, and the path of its sign, which tells the colours apart.
    1: ("passed", "M-.5 .05L-.15 .4L.5-.35"),
    0: ("failed", "M-.4-.4L.4 .4M-.4 .4L.4-.4"),
    -1: ("not tested", "M-.45 0H.45"),
}
MASK = "mask reference"  # a part that is no error of the star
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


def words(ds: xr.Dataset, *names: str, between: str = " ") -> str:
    """Join attributes, without those that are not there."""
    return between.join(filter(None, (str(ds.attrs.get(name, "")).strip() for name in names)))


def heading(ds: xr.Dataset) -> Html:
    """Say which exposure the page is about."""
    about = [
        f"Visit {ds.attrs['visit_id']}" if "visit_id" in ds.attrs else "",
        words(ds, "telescope", "instrument", "detector"),
        words(ds, "filter", "pupil"),
        words(ds, "exp_type", "aperture", "coronagraphic_mask", between=" · "),
    ]
    lines = [" · ".join(filter(None, about)), words(ds, "filename")]
    return tag(
        "header",
        tag("p", "Target acquisition", class_="above"),
        tag("h1", words(ds, "target_name") or "Unnamed target"),
        *(tag("p", line) for line in lines if line),
    )


def _offset(ds: xr.Dataset) -> tuple[str, list[Html], str]:
    pairs = [_big(name, scalar(ds, f"offset_{name}"), math.nan, sign=True) for name in ("x", "y")]
    note = (
        "Target by the WCS of the TA exposure, minus the star's centroid. The star behind the mask was not "
        "computed: ds.ta.adjust_wcs() does that."
    )
    return "Pointing error", pairs, note


def star(ds: xr.Dataset) -> Html:
    """Show the star's position large, with its error if there is one and what the numbers mean."""
    x, y = position(ds)
    if not (math.isfinite(x) and math.isfinite(y)):
        title, pairs, note = _offset(ds)
    else:
        title = "Star behind the mask"
        pairs = [_big(name, value, scalar(ds, f"target_{name}_err")) for name, value in (("x", x), ("y", y))]
        note = (
            "Pixel of the exposure’s own readout, 0-based: (0, 0) is the centre of its first pixel. Counted from 1, as "
            f"FITS, DS9 and the SIAF do: {number(x + 1, 4)}, {number(y + 1, 4)}."
        )
        if "star_x" in ds.coords:
            note += " The dataset is recentred: there the star is on the central pixel."
    mas = [scalar(ds, f"target_{name}_err_mas") for name in ("x", "y")]
    if all(map(math.isfinite, mas)):
        note += f" Standard errors: {number(mas[0], 1)} and {number(mas[1], 1)} mas."
    return tag(
        "section",
        tag("h2", title),
        tag("dl", *pairs, class_="big"),
        tag("p", note, class_="note"),
        _verdict(ds),
        class_="star",
    )


def _big(name: str, value: float, error: float, *, sign: bool = False) -> Html:
    spread = tag("span", f" ± {number(error, 4)}") if math.isfinite(error) else None
    return tag("div", tag("dt", name), tag("dd", number(value, 4, sign=sign), spread, tag("span", " px")))


def state(ds: xr.Dataset) -> int | None:
    """Sum up the checks: 0 if one failed, else 1 if one passed, else -1; None where there are none."""
    if "check_passed" not in ds.coords or not ds["check_passed"].size:
        return None
    passed = ds["check_passed"].values
    return 0 if (passed == 0).any() else 1 if (passed == 1).any() else -1


def _verdict(ds: xr.Dataset) -> Html | None:
    """Say on one line how the checks went, and which failed."""
    if state(ds) is None:
        return None
    passed = ds["check_passed"].values
    tested = int((passed >= 0).sum())
    count = f"{int((passed == 1).sum())} of {tested} checks passed"
    count += f", {passed.size - tested} not tested" if passed.size > tested else ""
    failed = ", ".join(str(name) for name in ds["check"].values[passed == 0])
    which = tag("strong", failed) if failed else None
    return tag("p", light(state(ds)), which, tag("a", count, href="#checks"), class_="verdict")


def light(value: int | None) -> Html:
    """Draw a traffic light, whose sign and word say what its colour says."""
    word, path = STATES.get(-1 if value is None else int(value), STATES[-1])
    sign = tag("svg", tag("circle", r="1"), tag("path", d=path), viewBox="-1.1 -1.1 2.2 2.2", aria_hidden="true")
    return tag("span", sign, "no checks" if value is None else word, class_=f"light {word.replace(' ', '-')}")


def checks(ds: xr.Dataset) -> Html | None:
    """List the checks that the dataset holds, each with its reason."""
    if state(ds) is None:
        return None
    reasons = ds["check_reason"].values if "check_reason" in ds.coords else np.full(ds["check_passed"].size, "")
    items = [
        tag("li", light(int(passed)), tag("div", tag("strong", name), tag("p", reason)))
        for name, passed, reason in zip(ds["check"].values, ds["check_passed"].values, reasons, strict=True)
    ]
    return tag("section", tag("h2", "Checks"), tag("ul", *items, class_="checks"), id="checks")


def numbers(ds: xr.Dataset) -> Html:
    """Make the table of results."""
    rows = []
    for what, first, second, decimals in summary.ROWS:
        pair = scalar(ds, first), scalar(ds, second)
        if not all(map(math.isnan, pair)):
            rows.append((what, *(_written(value, decimals) for value in pair)))
    made = table(("quantity", "x, RA, east", "y, Dec, north"), rows, caption="What was measured", numeric=(1, 2))
    return tag("section", tag("h2", "Numbers"), made, budget(ds), other_ways(ds))


def _written(value: float, decimals: int) -> str:
    if math.isnan(value):
        return "–"
    return number(value, decimals) if decimals <= 6 else f"{value:.0e}".replace("-", "−")


def budget(ds: xr.Dataset) -> Html | None:
    """Make the table of the parts of the star's error, where the dataset has them."""
    columns = ("target_x_err", "target_y_err", "target_x_err_mas", "target_y_err_mas")
    there = [name for name in columns if name in ds.coords or _part(name) in ds.coords]
    if "error_part" not in ds.coords or not there:
        return None
    labels = [str(label) for label in ds["error_part"].values]
    sources = ds["error_part_source"].values if "error_part_source" in ds.coords else [""] * len(labels)
    rows = {}
    for k, label in enumerate(labels):
        values = [float(ds[_part(name)].values[k]) if _part(name) in ds.coords else math.nan for name in there]
        numbers = [_error(value, name) for value, name in zip(values, there, strict=True)]
        rows[label] = (label, *numbers, tag("span", sources[k], class_="why"))
    total = [tag("strong", _error(scalar(ds, name), name)) for name in there]
    apart = [rows.pop(MASK)] if MASK in rows else []
    lines = [*rows.values(), (tag("strong", "star"), *total, tag("span", "in quadrature", class_="why")), *apart]
    head = [f"{name.split('_')[1]} [{'mas' if name.endswith('mas') else 'px'}]" for name in there]
    caption = "Standard error of the star’s position, one axis"
    return table(("part", *head, "from"), lines, caption=caption, numeric=range(1, len(there) + 1))


def _part(name: str) -> str:
    return name.replace("_err", "_err_part")


def _error(value: float, name: str) -> str:
    """Write a value in px or mas; one that would be written as zero as a power of ten."""
    decimals = 2 if name.endswith("mas") else 4
    return _written(value, decimals if abs(value) >= 0.5 / 10**decimals or value == 0 else 99)


def other_ways(ds: xr.Dataset) -> Html | None:
    """Make the table of the star found in every way that the data allow; where that is not possible, nothing."""
    try:
        found = estimates(ds)
    except XtaError:
        return None
    agrees = {1: "yes", 0: "no", -1: "–"}
    rows = []
    for k, way in enumerate(found["estimate"].values):
        one = found.isel(estimate=k)
        values = [_error(float(one[name]), "px") for name in ("x", "y", "x_sigma", "y_sigma")]
        rows.append((way, *values, agrees[int(one["agrees"])], tag("span", one["why"].item(), class_="why")))
    head = ("way", "x [px]", "y [px]", "σ x [px]", "σ y [px]", "agrees", "why")
    return table(head, rows, caption="The star found in other ways", numeric=range(1, 5))


def log(ds: xr.Dataset) -> Html | None:
    """Show the lines of the onboard log that the result rests on."""
    lines = str(ds.attrs.get("oss_log", "")).strip("\n")
    if not lines:
        return None
    made = region(tag("pre", lines), label="Lines of the onboard event log", class_="scroll log")
    return tag("section", tag("h2", "Onboard event log"), made)


def origin(ds: xr.Dataset) -> Html:
    """Say what the result was made from, with what, and in which steps."""
    facts = {text: words(ds, name) for name, text in SOURCES.items()}
    if "ta_filename" in ds.coords:
        facts["acquisition"] = ", ".join(str(name) for name in np.atleast_1d(ds["ta_filename"].values))
    facts["packages of this report"] = _versions()
    pairs = [tag("div", tag("dt", what), tag("dd", text)) for what, text in facts.items() if text]
    steps = [tag("li", line) for line in str(ds.attrs.get("history", "")).splitlines() if line.strip()]
    history = (tag("h3", "History"), tag("ol", *steps, class_="history")) if steps else ()
    return tag("section", tag("h2", "Where this comes from"), tag("dl", *pairs, class_="facts"), *history)


def _versions() -> str:
    found = {"Python": python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(f"{name} {version}" for name, version in found.items())


def position(ds: xr.Dataset) -> tuple[float, float]:
    """Give the star's pixel of the exposure's own readout, NaN where it is not known."""
    prefix = "star" if "star_x" in ds.coords else "target"
    return scalar(ds, f"{prefix}_x"), scalar(ds, f"{prefix}_y")
