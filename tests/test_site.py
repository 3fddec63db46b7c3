"""The documentation as a site, in a browser: it fits narrow screens, and everybody can read it.

``XTA_SITE`` names the folder that Sphinx has built; without it, or without Playwright and Chromium, nothing is tested.
"""

import os
import shutil
from pathlib import Path

import pytest

SKIPPED = {"genindex.html", "py-modindex.html", "search.html"}
"""Pages that Sphinx makes by itself."""


@pytest.fixture(scope="module")
def site():
    folder = os.environ.get("XTA_SITE")
    if not folder:
        pytest.skip("XTA_SITE does not name a site")
    return Path(folder)


@pytest.fixture(scope="module")
def browser(site):
    """Start Chromium; it ends with this module."""
    playwright = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("there is no Chromium")
    with playwright.sync_playwright() as started:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        chromium = started.chromium.launch(executable_path=program, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def pages(site):
    """List the pages that people wrote, and one that was generated of a docstring."""
    written = [path for path in sorted(site.rglob("*.html")) if path.name not in SKIPPED]
    written = [path for path in written if not {"generated", "_static", "_modules"} & set(path.parts)]
    assert len(written) > 30
    return [*written, site / "api" / "generated" / "xta.analyze.html"]


def each(browser, pages, width, scheme):
    """Open the pages one after the other: name, page."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    for path in pages:
        page.goto(path.as_uri(), wait_until="load")
        yield path.stem, page
    context.close()


def test_site_fits_a_narrow_screen(browser, pages):
    wide = {
        name: width
        for name, page in each(browser, pages, 400, "light")
        if (width := page.evaluate("document.documentElement.scrollWidth")) > 400
    }
    assert wide == {}


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (400, "dark")])
def test_site_is_accessible(browser, pages, width, scheme):
    if not (axe := os.environ.get("XTA_AXE")):
        pytest.skip("XTA_AXE does not name axe.min.js")
    program, violations = Path(axe).read_text(encoding="utf-8"), {}
    for name, page in each(browser, pages, width, scheme):
        page.evaluate(program)
        result = page.evaluate("axe.run()")
        assert result["passes"]
        for rule in result["violations"]:
            violations.setdefault(rule["id"], []).append((name, rule["nodes"][0]["html"]))
    assert violations == {}


def test_site_can_be_searched(browser, site):
    context = browser.new_context()
    page = context.new_page()
    page.goto((site / "search.html").as_uri() + "?q=recenter", wait_until="load")
    page.wait_for_selector("#search-results li", timeout=20_000)
    assert page.locator("#search-results li").count() > 3
    context.close()
