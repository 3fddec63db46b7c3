"""Reports: what a page holds, that it is safe and whole, and that it works in a browser.

The tests with a browser need Playwright and Chromium, and those of accessibility the file ``axe.min.js`` of the
npm package axe-core, which the environment variable XTA_AXE names. They are skipped where these are not there.
"""

import base64
import hashlib
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import xta
from tests import plot_data
from xta import summary
from xta.acquisition.offset import acquired_target
from xta.cli import main
from xta.errors import ArgumentError, FileError, MissingError
from xta.geometry import sphere, wcs
from xta.report import index, report
from xta.report.markup import join, number, tag
from xta.report.viewer import images, sky_polynomial

EVIL = r"$\bad$" + "</script><script>window.evil = 1</script><img src=x onerror='window.evil = 1'>\"'&\x00\ud800]]><!--"
CHECKS = {
    "converged": (1, "The onboard centroid converged."),
    "closes": (0, "The maneuver misses the offset by 57 mas."),
    "same guide star": (-1, "The guide star is not known."),
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


@pytest.fixture(scope="module")
def analysed(nircam):
    return judged(xta.analyze(nircam.science[0]).load())


@pytest.fixture(scope="module")
def analysed_miri(miri):
    return judged(xta.analyze(miri.science[0]).load(), {"converged": (1, "It did.")})


@pytest.fixture(scope="module")
def small(build_wcs):
    """Give an exposure that is quickly drawn."""
    ds = plot_data.analysed(build_wcs)
    return ds.drop_vars([name for name in ds.coords if "check" in str(name) or "_err" in str(name)])


@pytest.fixture(scope="module")
def pages(analysed, analysed_miri, tmp_path_factory):
    """Write the pages that are looked at in a browser: name -> path."""
    folder = tmp_path_factory.mktemp("pages")
    other = analysed_miri.assign_attrs(visit_id="01386008001", target_name="HIP 65426")
    other = other.assign_coords(offset_east=0.9, offset_north=-0.1)
    third = analysed.assign_attrs(visit_id="01386010001", filename="z.fits").drop_vars(["target_x", "check_passed"])
    return {
        "nircam": analysed.ta.report(folder / "nircam.html"),
        "miri": report(analysed_miri, folder / "miri.html"),
        "index": index([analysed, other, third], folder / "all"),
    }


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
        if tag not in {"meta", "img", "input"}:
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


# ---- what a page holds


@pytest.mark.parametrize("which", ["nircam", "miri", "index"])
def test_a_page_asks_for_nothing_and_allows_nothing(pages, which):
    text = pages[which].read_text(encoding="utf-8")
    assert "://" not in text
    assert "@import" not in text
    assert "url(" not in text
    reader = read(pages[which])
    for tag_, name, value in reader.attrs:
        assert not name.startswith("on"), (tag_, name)
        assert name != "style", tag_
        if name == "src":
            assert value.startswith("data:image/svg+xml;base64,")
        if name == "href":
            assert value == "#checks" or (pages[which].parent / value).is_file()
    assert not {"link", "iframe", "object", "base", "form"} & set(reader.tags)
    policy = next(value for tag_, name, value in reader.attrs if name == "content" and "default-src" in value)
    assert policy.startswith("default-src 'none'; img-src data:; ")
    for directive, content in (("style-src", reader.texts["style"]), ("script-src", reader.texts["script"][-1:])):
        digest = base64.b64encode(hashlib.sha256("".join(content).encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy


def test_a_page_is_small(pages):
    assert all(path.stat().st_size < 3e6 for path in pages.values())


def test_what_a_page_says(pages, analysed):
    words = read(pages["nircam"]).words
    x, y = float(analysed["target_x"]), float(analysed["target_y"])
    for text in (
        f"{x:.4f} ± 0.0050 px",
        f"{y:.4f} ± 0.0050 px",
        f"{x + 1:.4f}, {y + 1:.4f}",
        "Standard errors: 0.3 and 0.3 mas",
        "Sample-Star",
        "Visit 09990001001",
        "1 of 2 checks passed, 1 not tested",
        *(reason for _, reason in CHECKS.values()),
        *PARTS,
        "The star found in other ways",
        "template",
        f"xta {xta.__version__}",
        "jwst_1215.pmap",
        "PRDOPSSOC-063",
        str(analysed["ta_filename"].values[0]),
    ):
        assert text in words, text
    assert analysed.attrs["oss_log"].strip("\n") in read(pages["nircam"]).texts["pre"]
    assert read(pages["nircam"]).texts["li"][-1] == analysed.attrs["history"].splitlines()[-1]


def test_the_numbers_are_those_of_the_dataset(pages, analysed):
    cells = read(pages["nircam"]).texts["td"]
    for name, decimals in (("offset_x", 4), ("offset_east", 4), ("centroid_y", 5), ("mask_x", 3)):
        assert number(float(analysed[name]), decimals) in cells
    assert {"0.0030", "0.0040", "0.19", "0.25"} <= set(cells)
    assert {"star", "0.0050", "0.31"} <= set(read(pages["nircam"]).texts["strong"])


def test_each_light_has_a_word_and_a_sign(pages):
    reader = read(pages["nircam"])
    lights = [value for tag_, name, value in reader.attrs if name == "class" and value.startswith("light")]
    assert lights == ["light failed", "light passed", "light failed", "light not-tested"]
    for word in ("passed", "failed", "not tested"):
        assert word in reader.texts["span"]
    signs = re.findall(r'class="light [^"]+"><svg[^>]*><circle[^>]*></circle><path d="([^"]+)"', _text(pages["nircam"]))
    assert len(set(signs)) == 3


def _text(path):
    return path.read_text(encoding="utf-8")


def test_no_light_without_checks(small, tmp_path):
    text = _text(report(small, tmp_path / "a.html"))
    assert 'class="light' not in text
    assert "checks passed" not in text
    assert "±" not in read(tmp_path / "a.html").words


def test_before_the_wcs_is_adjusted(nircam, tmp_path):
    ds = xta.open_exposure(nircam.science[0]).ta.attach().ta.compute_offset()
    words = read(ds.ta.report(tmp_path / "a.html")).words
    assert "Pointing error" in words
    assert "ds.ta.adjust_wcs()" in words
    assert "Star behind the mask" not in words
    assert number(float(ds["offset_x"]), 4, sign=True) in words
    assert "by the file's WCS" in words
    assert "other ways" not in words


def test_recentred_and_an_acquisition_by_itself(analysed, nircam, tmp_path):
    words = read(report(analysed.ta.recenter(size=101), tmp_path / "a.html")).words
    assert f"{float(analysed['target_x']):.4f}" in words
    assert "recentred" in words
    text = _text(report(xta.analyze(nircam.ta[0]), tmp_path / "b.html"))
    assert text.count("<img") == 1


def test_a_reopened_analysis_gives_the_same_page_and_nothing_is_changed(analysed, tmp_path):
    before = analysed.copy(deep=True)
    first = _text(report(analysed, tmp_path / "a.html"))
    xr.testing.assert_identical(analysed, before)
    assert _text(report(analysed, tmp_path / "a.html")) == first
    xta.to_netcdf(analysed, tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as ds:
        assert _text(ds.ta.report(str(tmp_path / "b.html"))) == first


# ---- what may go wrong


def evil(ds):
    """Write where headers and logs can write what nobody should."""
    texts = ("target_name", "visit_id", "detector", "filter", "aperture", "filename", "oss_log", "history", "pupil")
    ds = judged(ds, {EVIL: (1, EVIL)}).assign_attrs(dict.fromkeys(texts, EVIL), centroid_source=f"OSS {EVIL}")
    count = ds.sizes["ta_exposure"]
    names = {name: ("ta_exposure", [EVIL] * count) for name in ("ta_filename", "ta_exp_type", "ta_filter")}
    ds = ds.assign_coords(names).assign_coords(error_part=[EVIL, EVIL])
    ds["ta_sci"].attrs["units"] = EVIL
    return ds


@pytest.fixture(scope="module")
def evil_pages(build_wcs, tmp_path_factory):
    """Write pages of what should not be believed."""
    ds = evil(plot_data.of_several(build_wcs))
    return index([ds, ds], tmp_path_factory.mktemp("evil"))


def test_texts_of_files_are_only_shown(evil_pages):
    for path in evil_pages.parent.iterdir():
        reader = read(path)
        assert reader.tags.count("script") == (1 if path == evil_pages else 2)
        assert not any(name.startswith("on") for _, name, _ in reader.attrs)
        assert "<script>window.evil" in reader.words
        assert "\x00" not in reader.words
        assert re.fullmatch(r"[\w.-]+", path.name)


def test_html_is_escaped_by_construction():
    assert join("<", tag("b", "<", title='"'), None, 1) == '&lt;<b title="&quot;">&lt;</b>1'
    assert tag("p", "a\x00b\ud800", data_key=None, hidden=True) == "<p hidden>a\ufffdb\ufffd</p>"


@pytest.mark.parametrize("name", ["a.htm", "a", "a.html.gz", "folder"])
def test_a_page_has_the_name_of_one(small, tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ArgumentError, match=r"end it with \.html"):
        report(small, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_step_that_was_not_done_is_named(nircam, small, tmp_path):
    bare = xta.open_exposure(nircam.science[0])
    with pytest.raises(MissingError, match=r"call ds\.ta\.attach\(\) first"):
        bare.ta.report(tmp_path / "a.html")
    with pytest.raises(MissingError, match=r"call ds\.ta\.compute_offset\(\) first"):
        bare.ta.attach().ta.report(tmp_path / "a.html")
    with pytest.raises(MissingError, match=r"ds\.ta\.attach\(\)"):
        index([small, bare], tmp_path / "all")
    several = small.assign_coords(offset_x=("exposure", [1.0, 2.0]))
    with pytest.raises(ArgumentError, match=r"several exposures, along exposure"):
        report(several, tmp_path / "a.html")
    assert list(tmp_path.iterdir()) == []


def test_a_page_is_written_whole_or_not_at_all(small, tmp_path):
    with pytest.raises(FileError, match="does not exist"):
        report(small, tmp_path / "absent" / "a.html")
    (tmp_path / "a.html").mkdir()
    with pytest.raises(FileError, match="it is a folder"):
        report(small, tmp_path / "a.html")
    (tmp_path / "b.html").write_text("old")
    with pytest.raises(MissingError):
        report(small.drop_vars("ta_sci"), tmp_path / "b.html")
    assert (tmp_path / "b.html").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "b.html"]


def test_an_index_needs_datasets_and_a_folder(small, tmp_path):
    with pytest.raises(ArgumentError, match="no datasets"):
        index([], tmp_path / "all")
    with pytest.raises(ArgumentError, match="of the type DataArray"):
        index(small, tmp_path / "all")
    assert index({"a": small}, tmp_path / "one") == tmp_path / "one" / "index.html"
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot make the folder"):
        index([small], tmp_path / "file" / "all")
    assert {path.name for path in tmp_path.iterdir()} == {"file", "one"}


def test_pages_of_an_index_have_names_of_their_own(small, tmp_path):
    attrs = [{"filename": name} for name in ("a.fits", "A.fits", "a.fits", "index.fits", "../b c.fits", "")]
    attrs += [{"filename": "", "visit_id": ""}]
    path = index((small.assign_attrs(one) for one in attrs), tmp_path)
    names = {"a.html", "A-2.html", "a-3.html", "index-2.html", "b-c.html", "01234001001.html", "exposure.html"}
    assert {page.name for page in tmp_path.iterdir()} == names | {"index.html"}
    assert names == {value for _, name, value in read(path).attrs if name == "href"}


# ---- the data of the interactive image


def ta_wcs(ds, k):
    """Adjust the WCS of a TA exposure as adjust_wcs does."""
    here = float(ds["centroid_ra"]), float(ds["centroid_dec"])
    return wcs.adjust(wcs.load(str(ds["ta_wcs"].values[k])), sphere.rotation_between(*here, *acquired_target(ds)))


def follow(model, x, y):
    u, v = ((value - model["middle"][k]) / model["half"][k] for k, value in enumerate((x, y)))
    powers = model["powers"], model["terms"]
    plane = sum((u**i * v**j)[:, None] * np.array(term) for (i, j), term in zip(*powers, strict=True))
    a, b, c = np.array(model["axes"]).T @ np.concatenate([np.ones((len(u), 1)), plane], axis=1).T
    return np.rad2deg(np.arctan2(b, a)) % 360, np.rad2deg(np.arctan2(c, np.hypot(a, b)))


def distance(ra0, dec0, ra1, dec1):
    """Measure angles on the sphere [arcsec]."""
    apart = np.linalg.norm(sphere.unit_vector(ra0, dec0) - sphere.unit_vector(ra1, dec1), axis=-1)
    return np.rad2deg(apart) * 3600


@pytest.mark.parametrize("where", [(150.0, -30.0), (0.0, 0.0), (359.9999, 89.999), (10.0, -90.0)])
@pytest.mark.parametrize("distortion", [3e-6, 3e-4])
def test_the_polynomial_is_the_wcs(build_wcs, where, distortion):
    gwcs = build_wcs(*where, distortion=distortion)
    x, y = np.arange(96, 224), np.arange(100, 180)
    model = sky_polynomial(gwcs, x, y)
    rng = np.random.default_rng(1)
    px, py = rng.uniform(95.5, 223.5, 200), rng.uniform(99.5, 179.5, 200)
    off = distance(*follow(model, px, py), *wcs.pixel_to_world(gwcs, px, py)) / 0.063
    assert off.max() < max(2 * model["error"], 2e-9)
    assert off.max() < 1e-5


def test_no_position_rather_than_a_wrong_one(build_wcs):
    wild = build_wcs(scale=3600.0)  # a degree a pixel: most of the image is beyond the tangent plane
    assert sky_polynomial(wild, np.arange(256), np.arange(256)) is None


def test_the_embedded_values_are_those_of_the_dataset(analysed_miri):
    found = images(analysed_miri)
    assert len(found) == analysed_miri.sizes["ta_exposure"]
    for k, image in enumerate(found):
        shape = image["height"], image["width"]
        values = np.frombuffer(base64.b64decode(image["values"]), "<f4").reshape(shape)
        x, y = image["x0"] + np.arange(shape[1]), image["y0"] + np.arange(shape[0])
        one = analysed_miri.isel(ta_exposure=k).sel(ta_x=x, ta_y=y)
        np.testing.assert_array_equal(values, one["ta_sci"].values)
        bad = np.unpackbits(np.frombuffer(base64.b64decode(image["bad"]), np.uint8), bitorder="little")
        expected = (one["ta_dq"].values & 1).astype(bool) | ~np.isfinite(values)
        np.testing.assert_array_equal(bad[: values.size].reshape(shape).astype(bool), expected)
        assert max(shape) <= 80


def test_a_large_readout_of_an_unknown_aperture_is_cut(build_wcs):
    ds = plot_data.of_several(build_wcs).assign_coords(ta_aperture=("ta_exposure", ["NONE", "NONE"]))
    for image in images(ds):
        assert (image["width"], image["height"]) == (256, 224)
        x, _ = image["marks"]["OSS centroid" if "OSS centroid" in image["marks"] else "SIAF reference"]
        assert image["x0"] <= x < image["x0"] + 256


def test_an_image_without_a_good_pixel(small, tmp_path):
    ds = small.copy()
    ds["ta_dq"] = ds["ta_dq"] | np.uint32(1)
    assert images(ds)[0]["levels"] == []
    assert report(ds, tmp_path / "a.html").is_file()


# ---- the command line


def test_one_file_gives_a_page_and_several_a_folder(nircam, tmp_path):
    def run(*args):
        return CliRunner().invoke(main, ["report", *map(str, args)])

    done = run(nircam.science[0], "-o", tmp_path / "a.html")
    assert done.exit_code == 0, done.output
    assert "wrote" in done.stderr
    assert "Star behind the mask" in read(tmp_path / "a.html").words
    netcdf = tmp_path / "a.nc"
    xta.to_netcdf(xta.analyze(nircam.ta[0]), netcdf)
    done = run(netcdf, nircam.science[0], tmp_path / "absent_calints.fits", "-o", tmp_path / "all")
    assert done.exit_code == 1
    assert "does not exist" in done.stderr
    assert len(list((tmp_path / "all").glob("*.html"))) == 3
    assert run(netcdf, netcdf, "-o", tmp_path / "b.html").exit_code == 2
    assert run(tmp_path / "absent_calints.fits", "-o", tmp_path / "none").exit_code == 1
    assert not (tmp_path / "none").exists()
    assert not (tmp_path / "b.html").exists()


# ---- in a browser


@pytest.fixture(scope="module")
def browser():
    """Start Chromium; it ends with this module, since Playwright keeps an event loop for itself until then."""
    playwright = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("there is no Chromium")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield chromium
        chromium.close()


@pytest.fixture
def show(browser):
    """Open a file in a page of its own; afterwards, it has complained of nothing and asked for nothing."""
    opened, complaints, requests = [], [], []

    def open_page(path, *, width=1200, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on("request", lambda request: requests.append(request.url))
        opened.append((context, path.as_uri()))
        page.goto(path.as_uri(), wait_until="load")
        return page

    yield open_page
    for context, _ in opened:
        context.close()
    assert complaints == []
    assert requests == [address for _, address in opened]


def readout(page):
    return {name: page.locator(f'[data-read="{name}"]').inner_text() for name in ("x", "y", "ra", "dec", "value")}


def floats(texts, *names):
    return [float(texts[name].split()[0].replace("−", "-")) for name in names]


def point(page, x, y):
    """Move the mouse to a place of the canvas, in parts of its width and height, and read."""
    page.locator("#ta-canvas").scroll_into_view_if_needed()
    box = page.locator("#ta-canvas").bounding_box()
    page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
    return readout(page)


def wait(page, condition):
    """Wait for something; the page's policy forbids Playwright's own way."""
    for _ in range(100):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    raise AssertionError(condition)


def picture(page):
    return page.evaluate("document.getElementById('ta-canvas').toDataURL()")


def span(page):
    """Measure how many pixels of the image are seen across half of the canvas."""
    left, right = (floats(point(page, part, 0.5), "x")[0] for part in (0.25, 0.75))
    return right - left


@pytest.mark.parametrize("which", ["nircam", "miri", "index"])
def test_a_page_loads_and_fits(show, pages, which):
    for width in (400, 1200):
        page = show(pages[which], width=width)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("document.images.length") > 0
        assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
        assert page.evaluate("[...document.images].every((image) => image.alt.length > 20)")


@pytest.mark.parametrize("which", ["nircam", "miri"])
def test_what_is_under_the_mouse(show, pages, analysed, analysed_miri, which):
    ds = {"nircam": analysed, "miri": analysed_miri}[which]
    k = int(ds.attrs["ta_in_use"])
    image = images(ds)[k]
    page = show(pages[which])
    for across, down in ((0.31, 0.42), (0.5, 0.5), (0.97, 0.03), (0.02, 0.95)):
        texts = point(page, across, down)
        x, y = floats(texts, "x", "y")
        step = image["width"] / page.locator("#ta-canvas").bounding_box()["width"]
        assert x == pytest.approx(image["x0"] - 0.5 + across * image["width"], abs=step + 0.005)
        assert y == pytest.approx(image["y0"] - 0.5 + (1 - down) * image["height"], abs=step + 0.005)
        ra, dec = floats(texts, "ra", "dec")
        truth = wcs.pixel_to_world(ta_wcs(ds, k), x, y)
        scale = 0.063 if which == "nircam" else 0.11
        assert distance(ra, dec, *truth) < 1e-3 * scale
        value = float(ds["ta_sci"].isel(ta_exposure=k).sel(ta_x=round(x), ta_y=round(y)))
        assert floats(texts, "value")[0] == pytest.approx(value, rel=1e-5)
        assert "MJy/sr" in texts["value"]
    assert set(point(page, 1.05, 0.5).values()) == set(texts.values())  # off the canvas nothing changes


def test_bad_pixels_are_named(show, pages, analysed):
    ds, page = analysed, show(pages["nircam"])
    image = images(ds)[0]
    bad = (ds["ta_dq"].isel(ta_exposure=0) & 1).values.astype(bool)
    bad |= ~np.isfinite(ds["ta_sci"].isel(ta_exposure=0).values)
    row, column = np.argwhere(bad)[0]
    texts = point(page, (column + 0.5) / image["width"], 1 - (row + 0.5) / image["height"])
    assert "(bad pixel)" in texts["value"]
    colour = page.evaluate(
        """([x, y]) => { const c = document.getElementById("ta-canvas");
        return [...c.getContext("2d").getImageData(x * c.width, y * c.height, 1, 1).data]; }""",
        [(column + 0.5) / image["width"], 1 - (row + 0.5) / image["height"]],
    )
    assert colour == [0x7D, 0x4E, 0x7A, 255]


def test_zooming_keeps_the_place_under_the_mouse(show, pages):
    page = show(pages["nircam"])
    whole = span(page)
    before = floats(point(page, 0.7, 0.3), "x", "y")
    page.mouse.wheel(0, -240)
    wait(page, "document.getElementById('ta-canvas').classList.contains('zoomed')")
    # A wheel's place is rounded to a pixel of the screen, a tenth of one of the image.
    assert floats(point(page, 0.7, 0.3), "x", "y") == pytest.approx(before, abs=0.1)
    assert span(page) == pytest.approx(whole / 2**0.5, abs=0.02)
    page.get_by_role("button", name="All of the image").click()
    assert span(page) == pytest.approx(whole, abs=0.02)
    page.get_by_role("button", name="Zoom in").click()
    assert span(page) == pytest.approx(whole / 1.5, abs=0.02)
    middle = floats(point(page, 0.5, 0.5), "x")[0]
    page.mouse.down()
    point(page, 0.6, 0.5)
    page.mouse.up()
    assert floats(point(page, 0.6, 0.5), "x")[0] == pytest.approx(middle, abs=0.02)
    page.get_by_role("button", name="Zoom out").click()
    page.get_by_role("button", name="Zoom out").click()
    assert span(page) == pytest.approx(whole, abs=0.02)
    scrolled = page.evaluate("scrollY")
    point(page, 0.5, 0.5)
    page.mouse.wheel(0, 300)  # nothing more to show: the page scrolls
    wait(page, f"scrollY > {scrolled}")


def test_the_keyboard_does_what_the_mouse_does(show, pages):
    page = show(pages["nircam"])
    whole = span(page)
    page.locator("#ta-canvas").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    x, y = floats(readout(page), "x", "y")
    assert (x, y) == (round(x), round(y))
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowDown")
    assert floats(readout(page), "x", "y") == pytest.approx([x - 1, y - 0.1])
    assert f"x {x - 1:.2f}" in page.locator("#ta-status").inner_text()
    page.keyboard.press("+")
    page.keyboard.press("+")
    page.keyboard.press("-")
    assert span(page) == pytest.approx(whole / 1.5, abs=0.02)
    page.keyboard.press("0")
    assert span(page) == pytest.approx(whole, abs=0.02)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") != "ta-canvas"


def test_marks_can_be_put_out(show, pages, analysed):
    page = show(pages["nircam"])
    everything = picture(page)
    labels = ["SIAF reference", "WCS", "WCS adjusted", "OSS centroid"]
    assert page.locator("fieldset label span:not(.place)").all_inner_texts() == labels
    for label in labels:
        box = page.locator(f'input[data-mark="{label}"]')
        box.uncheck()
        assert picture(page) != everything, label
        box.check()
        assert picture(page) == everything, label
    place = page.locator('[data-place="OSS centroid"]').inner_text()
    assert place == f"{analysed.attrs['oss_x']:.2f}, {analysed.attrs['oss_y']:.2f}"
    page.locator("#ta-bright").fill("1")
    assert picture(page) != everything


def test_another_exposure_can_be_chosen(show, pages, analysed_miri):
    page = show(pages["miri"])
    k = int(analysed_miri.attrs["ta_in_use"])
    assert page.locator("#ta-exposure").input_value() == str(k)
    other = 0 if k else 1
    page.locator("#ta-exposure").select_option(str(other))
    texts = point(page, 0.4, 0.6)
    x, y = floats(texts, "x", "y")
    value = float(analysed_miri["ta_sci"].isel(ta_exposure=other).sel(ta_x=round(x), ta_y=round(y)))
    assert floats(texts, "value")[0] == pytest.approx(value, rel=1e-5)
    ra, dec = floats(texts, "ra", "dec")
    assert distance(ra, dec, *wcs.pixel_to_world(ta_wcs(analysed_miri, other), x, y)) < 1e-3 * 0.11


def test_an_index_sorts(show, pages):
    page = show(pages["index"])

    def column(k):
        return [row.locator("th, td").nth(k).inner_text().strip() for row in page.locator("tbody tr").all()]

    def state(name):
        return page.locator("thead th", has_text=name).get_attribute("aria-sort")

    page.get_by_role("button", name="Offset east").click()
    east = [float(text.replace("−", "-")) for text in column(7)]
    assert east == sorted(east)
    assert state("Offset east") == "ascending"
    page.get_by_role("button", name="Offset east").press("Enter")
    assert [float(text.replace("−", "-")) for text in column(7)] == sorted(east, reverse=True)
    assert state("Offset east") == "descending"
    page.get_by_role("button", name="Visit").press("Space")
    assert column(0) == ["01386008001", "01386010001", "09990001001"]
    assert (state("Visit"), state("Offset east")) == ("ascending", "none")
    page.get_by_role("button", name="Checks").click()
    assert column(2) == ["failed", "no checks", "passed"]
    for _ in range(2):  # what is not known comes last both ways
        page.get_by_role("button", name="Star x").click()
        assert column(5)[-1] == "–"


def test_links_lead_to_pages_and_back(pages):
    for _, name, value in read(pages["index"]).attrs:
        if name == "href":
            assert ("a", "href", "index.html") in read(pages["index"].parent / value).attrs


def test_texts_of_files_do_not_run(show, evil_pages):
    for path in evil_pages.parent.iterdir():
        page = show(path)
        assert page.evaluate("window.evil") is None
        if path != evil_pages:
            assert "<script>" in page.locator("#ta-exposure").inner_text()
            assert floats(point(page, 0.5, 0.5), "x")


@pytest.fixture(scope="session")
def axe():
    """Read the program that checks accessibility."""
    path = os.environ.get("XTA_AXE")
    if not path:
        pytest.skip("XTA_AXE does not name axe.min.js")
    return Path(path).read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("which", ["nircam", "miri", "index"])
def test_a_page_is_accessible(show, pages, axe, which, scheme):
    for width in (400, 1200):
        page = show(pages[which], width=width, scheme=scheme)
        assert violations(page, axe) == []


def violations(page, axe):
    page.evaluate(axe)
    found = page.evaluate("axe.run()")
    assert found["passes"]
    return [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found["violations"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_card_of_a_notebook_is_accessible(show, analysed, axe, tmp_path, scheme):
    shell = (
        '<!DOCTYPE html><html lang="en"><head><title>notebook</title><meta name="color-scheme" content="light dark">'
    )
    shell += '<meta name="viewport" content="width=device-width"></head><body><main><h1>notebook</h1>{}</main></body>'
    (tmp_path / "card.html").write_text(shell.format(summary.as_html(analysed)), encoding="utf-8")
    page = show(tmp_path / "card.html", width=400, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert violations(page, axe) == []
