"""Datasets with checks and odd text, and a reader of pages."""

from html.parser import HTMLParser

import numpy as np

from xta.acquisition.offset import acquired_target
from xta.geometry import sphere, wcs

EVIL = r"$\bad$" + "</script><script>window.evil = 1</script><img src=x onerror='window.evil = 1'>\"'&\x00\ud800]]><!--"


CHECKS = {
    "onboard centroid converged": (1, "The onboard centroid converged."),
    "telemetry closes": (0, "The maneuver misses the offset by 57 mas."),
    "guide stars match": (-1, "The guide star is not known."),
}


PARTS = {"centroid": 0.003, "guiding": 0.004}


def judged(ds, checks=CHECKS):
    """Give a dataset checks and an error budget."""
    dropped = [name for name in ds.variables if {"check", "error_part"} & set(ds[name].dims)]
    errors = {"": 0.005, "_mas": 0.3125}
    total = {f"target_{axis}_err{unit}": value for unit, value in errors.items() for axis in "xy"}
    parts = {
        f"target_{axis}_err_part{unit}": ("error_part", [scale * part for part in PARTS.values()])
        for unit, scale in (("", 1.0), ("_mas", 62.5))
        for axis in "xy"
    }
    return (
        ds.drop_vars(dropped)
        .assign_coords(check=list(checks), error_part=list(PARTS), **total, **parts)
        .assign_coords(
            check_passed=("check", np.array([passed for passed, _ in checks.values()], np.int8)),
            check_reason=("check", [reason for _, reason in checks.values()]),
        )
    )


def evil(ds):
    """Write where headers and logs can write what nobody should."""
    texts = ("target_name", "visit_id", "detector", "filter", "aperture", "filename", "oss_log", "pupil")
    ds = judged(ds, {EVIL: (1, EVIL)}).assign_coords(dict.fromkeys(texts, EVIL) | {"centroid_source": f"OSS {EVIL}"})
    count = ds.sizes["ta_exposure"]
    names = {name: ("ta_exposure", [EVIL] * count) for name in ("ta_filename", "ta_exp_type", "ta_filter")}
    ds = ds.assign_coords(names).assign_coords(error_part=[EVIL, EVIL])
    ds["ta_sci"].attrs["units"] = EVIL
    ds.attrs["history"] = EVIL
    return ds


class Reader(HTMLParser):
    """Collect tags, attributes and texts; refuse tags that do not match."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attrs, self.texts, self.words = [], [], [], {}, ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attrs += [(tag, name, value) for name, value in attrs]
        if tag not in {"meta", "img", "input", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        raise AssertionError(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)
            self.words += data if self.open[-1] not in {"script", "style"} else ""


def read(path):
    return Reader(path.read_text(encoding="utf-8"))


def text_of(path):
    return path.read_text(encoding="utf-8")


def ta_wcs(ds, k):
    """Adjust the WCS of a TA exposure as adjust_wcs does."""
    here = float(ds["centroid_ra"]), float(ds["centroid_dec"])
    return wcs.adjust(wcs.load(str(ds["ta_wcs"].values[k])), sphere.rotation_between(*here, *acquired_target(ds)))


def distance(ra0, dec0, ra1, dec1):
    """Measure angles on the sphere [arcsec]."""
    apart = np.linalg.norm(sphere.unit_vector(ra0, dec0) - sphere.unit_vector(ra1, dec1), axis=-1)
    return np.rad2deg(apart) * 3600
