"""HTML that is escaped by construction, and the frame that all pages share."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable, Sequence
from importlib import resources

__all__ = ["Html", "asset", "data_block", "data_uri", "document", "join", "printable", "region", "table", "tag"]

VOID = frozenset({"img", "input", "meta"})
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


class Html(str):
    """Text that is HTML already. Every other text is escaped when it becomes part of a page."""

    __slots__ = ()


def join(*parts: object) -> Html:
    """Put parts after one another; what is not `Html` is escaped, None is left out.

    Examples
    --------
    >>> join("a < b", Html("<br>"))
    'a &lt; b<br>'
    """
    return Html("".join(part if isinstance(part, Html) else _escape(part) for part in parts if part is not None))


def printable(text: str) -> str:
    """Replace the characters that neither a page nor a font can hold."""
    return CONTROL.sub("\ufffd", text)


def _escape(value: object) -> str:
    return html.escape(printable(str(value)))


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
        if value is None or value is False:
            continue
        name_ = key.rstrip("_").replace("_", "-")
        written += f" {name_}" if value is True else f' {name_}="{_escape(value)}"'
    start = f"<{name}{written}>"
    return Html(start) if name in VOID else Html(f"{start}{join(*children)}</{name}>")


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, caption: str, numeric: Iterable[int] = ()) -> Html:
    """Make a table in a region of its own, so that a wide one scrolls and the page does not.

    The first cell of each row is its title; `numeric` columns are set to the right.
    """
    right = set(numeric)
    css = ["number" if k in right else None for k in range(len(head))]
    titles = [tag("th", text, scope="col", class_=kind) for text, kind in zip(head, css, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [tag("td", cell, class_=kind) for cell, kind in zip(others, css[1:], strict=True)]
        lines.append(tag("tr", tag("th", first, scope="row"), *cells))
    body = join(tag("caption", caption), tag("thead", tag("tr", *titles)), tag("tbody", *lines))
    return region(tag("table", body), label=caption)


def region(*children: object, label: str, class_: str = "scroll") -> Html:
    """Make a region that scrolls by itself and can be reached and scrolled with the keyboard."""
    return tag("div", *children, class_=class_, role="region", aria_label=label, tabindex="0")


def asset(name: str) -> str:
    """Read a file of this package."""
    return resources.files("xta.report").joinpath(name).read_text(encoding="utf-8")


def data_uri(kind: str, content: bytes) -> str:
    """Write a file as an address that holds it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def data_block(value: object, *, identifier: str) -> Html:
    """Embed data as JSON, in which no text can end the element."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Html(f'<script type="application/json" id="{identifier}">{text}</script>')


def document(title: str, *body: object, script: str, wide: bool = False) -> str:
    """Make a page of its body, with the style of this package and one program.

    Only this style and this program run: the content security policy names them by their SHA-256 and forbids
    everything else but pictures that the page itself holds.
    """
    style = asset("page.css")
    policy = {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": _hash(style),
        "script-src": _hash(script),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    head = join(
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content="; ".join(map(" ".join, policy.items()))),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        Html(f"<style>{style}</style>"),
    )
    program = Html(f"<script>{script}</script>")
    content = tag("body", *body, program, class_="wide" if wide else None)
    return f"<!DOCTYPE html>\n{tag('html', tag('head', head), content, lang='en')}\n"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
