"""Build escaped HTML from the templates of this package, and the frame that all pages share."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Container, Iterable, Sequence
from importlib import resources
from string import Template

__all__ = ["CONTROL", "Html", "document", "fill", "join", "json_data", "region", "section", "table", "tag"]

VOID = frozenset({"img", "input"})
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


class Html(str):
    """Text that is already HTML. All other text is escaped when it becomes part of a page."""

    __slots__ = ()


def join(*parts: object) -> Html:
    """Concatenate parts; text that is not `Html` is escaped, and None is left out.

    Examples
    --------
    >>> join("a < b", Html("<br>"))
    'a &lt; b<br>'
    """
    return Html("".join(part if isinstance(part, Html) else _escape(part) for part in parts if part is not None))


def _escape(value: object) -> str:
    """Escape a text, without the characters that a page or a font cannot contain."""
    return html.escape(CONTROL.sub("\ufffd", str(value)))


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """Make an element of children, as of `join`, and attributes.

    These have ``_`` for ``-`` in their names, and ``class_``; True stands alone, None and False are left out.

    Examples
    --------
    >>> tag("p", "x & y", class_="note", hidden=True)
    '<p class="note" hidden>x &amp; y</p>'
    """
    written = ""
    for key, value in attributes.items():
        if value is not None and value is not False:
            written += f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{_escape(value)}"')
    start = f"<{name}{written}>"
    return Html(start) if name in VOID else Html(f"{start}{join(*children)}</{name}>")


def section(title: str, *children: object, **attributes: object) -> Html:
    """Make a part of a page with a title."""
    return tag("section", tag("h2", title), *children, **attributes)


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, caption: str, numeric: Container[int] = ()) -> Html:
    """Make a table in its own region, so that a wide table scrolls and the page does not.

    The first cell of each row is its title; `numeric` columns are aligned to the right.
    """
    css = ["number" if k in numeric else None for k in range(len(head))]
    titles = [tag("th", text, scope="col", class_=kind) for text, kind in zip(head, css, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [tag("td", cell, class_=kind) for cell, kind in zip(others, css[1:], strict=True)]
        lines.append(tag("tr", tag("th", first, scope="row"), *cells))
    body = join(tag("caption", caption), tag("thead", tag("tr", *titles)), tag("tbody", *lines))
    return region(tag("table", body), label=caption)


def region(child: Html, *, label: str, class_: str = "scroll") -> Html:
    """Make a region that scrolls by itself and can be reached and scrolled with the keyboard."""
    return tag("div", child, class_=class_, role="region", aria_label=label, tabindex="0")


def _asset(name: str) -> str:
    """Read a file of this package."""
    return resources.files("xta.report").joinpath(name).read_text(encoding="utf-8")


def fill(template: str, **values: object) -> Html:
    """Replace the names in an HTML file of this package by values, as in `join`, and remove its indentation."""
    text = "".join(line.strip() for line in _asset(template).splitlines())
    return Html(Template(text).substitute({name: join(value) for name, value in values.items()}))


def json_data(value: object) -> Html:
    """Write data as JSON, in which no text can end the element that contains it."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Html(re.sub("[<>&]", lambda char: f"\\u{ord(char[0]):04x}", text))


def document(title: str, body: Html, *, script: str, wide: bool = False) -> str:
    """Make a page from its body, with the style of this package and one script.

    The content security policy allows only this style and this script, by their SHA-256, and pictures that are in the
    page itself.
    """
    files = {"style": _asset("page.css"), "script": _asset(script)}
    digests = {name: hashlib.sha256(text.encode()).digest() for name, text in files.items()}
    hashes = {f"{name}_hash": f"'sha256-{base64.b64encode(digest).decode()}'" for name, digest in digests.items()}
    parts = {name: Html(text) for name, text in files.items()} | {"kind": Html(' class="wide"' if wide else "")}
    return f"<!DOCTYPE html>\n{fill('page.html', title=title, body=body, **parts, **hashes)}\n"
