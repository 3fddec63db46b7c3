"""Pages in a browser.

These tests need Playwright and Chromium, and those of accessibility the file ``axe.min.js`` of the npm package
axe-core, which the environment variable XTA_AXE names. They are skipped where these are not there.
"""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.report.helpers import distance, ta_wcs
from xta import card
from xta.geometry import wcs
from xta.report.viewer import images


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
def test_page_loads_and_fits(show, pages, which):
    for width in (400, 1200):
        page = show(pages[which], width=width)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("document.images.length") > 0
        assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
        assert page.evaluate("[...document.images].every((image) => image.alt.length > 20)")


@pytest.mark.parametrize("which", ["nircam", "miri"])
def test_viewer_reads_pixel_under_mouse(show, pages, analyzed, analyzed_miri, which):
    ds = {"nircam": analyzed, "miri": analyzed_miri}[which]
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


def test_viewer_names_bad_pixels(show, pages, analyzed):
    ds, page = analyzed, show(pages["nircam"])
    image = images(ds)[0]
    bad = (ds["ta_dq"].isel(ta_exposure=0) & 1).values.astype(bool)
    bad |= ~np.isfinite(ds["ta_sci"].isel(ta_exposure=0).values)
    row, column = np.argwhere(bad)[0]
    texts = point(page, (column + 0.5) / image["width"], 1 - (row + 0.5) / image["height"])
    assert "(bad pixel)" in texts["value"]
    color = page.evaluate(
        """([x, y]) => { const c = document.getElementById("ta-canvas");
        return [...c.getContext("2d").getImageData(x * c.width, y * c.height, 1, 1).data]; }""",
        [(column + 0.5) / image["width"], 1 - (row + 0.5) / image["height"]],
    )
    assert color == [0x7D, 0x4E, 0x7A, 255]


def test_viewer_zoom_keeps_place_under_mouse(show, pages):
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


def test_viewer_keyboard(show, pages):
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


def test_viewer_hides_marks(show, pages, analyzed):
    page = show(pages["nircam"])
    everything = picture(page)
    labels = ["intended place", "WCS", "WCS adjusted", "OSS centroid"]
    assert page.locator("fieldset label span:not(.place)").all_inner_texts() == labels
    for label in labels:
        box = page.locator(f'input[data-mark="{label}"]')
        box.uncheck()
        assert picture(page) != everything, label
        box.check()
        assert picture(page) == everything, label
    place = page.locator('[data-place="OSS centroid"]').inner_text()
    assert place == f"{analyzed.attrs['oss_x']:.2f}, {analyzed.attrs['oss_y']:.2f}"
    page.locator("#ta-bright").fill("1")
    assert picture(page) != everything


def test_viewer_chooses_exposure(show, pages, analyzed_miri):
    page = show(pages["miri"])
    k = int(analyzed_miri.attrs["ta_in_use"])
    assert page.locator("#ta-exposure").input_value() == str(k)
    other = 0 if k else 1
    page.locator("#ta-exposure").select_option(str(other))
    texts = point(page, 0.4, 0.6)
    x, y = floats(texts, "x", "y")
    value = float(analyzed_miri["ta_sci"].isel(ta_exposure=other).sel(ta_x=round(x), ta_y=round(y)))
    assert floats(texts, "value")[0] == pytest.approx(value, rel=1e-5)
    ra, dec = floats(texts, "ra", "dec")
    assert distance(ra, dec, *wcs.pixel_to_world(ta_wcs(analyzed_miri, other), x, y)) < 1e-3 * 0.11


def test_index_sorts(show, pages):
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


def test_page_runs_no_text_of_files(show, evil_pages):
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
def test_page_is_accessible(show, pages, axe, which, scheme):
    for width in (400, 1200):
        page = show(pages[which], width=width, scheme=scheme)
        assert violations(page, axe) == []


def violations(page, axe):
    page.evaluate(axe)
    found = page.evaluate("axe.run()")
    assert found["passes"]
    return [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found["violations"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_card_is_accessible(show, analyzed, axe, tmp_path, scheme):
    shell = (
        '<!DOCTYPE html><html lang="en"><head><title>notebook</title><meta name="color-scheme" content="light dark">'
    )
    shell += '<meta name="viewport" content="width=device-width"></head><body><main><h1>notebook</h1>{}</main></body>'
    (tmp_path / "card.html").write_text(shell.format(card.as_html(analyzed)), encoding="utf-8")
    page = show(tmp_path / "card.html", width=400, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert violations(page, axe) == []
