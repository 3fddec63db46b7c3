"""What the directives of the reference share: tables as reStructuredText, and their place in a page."""

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import nested_parse_with_titles


class Generated(SphinxDirective):
    """A directive that writes reStructuredText at the build; `lines` returns it."""

    def lines(self):
        """Return the lines."""
        raise NotImplementedError

    def run(self):
        """Parse the lines, which may have titles."""
        node = nodes.section()
        node.document = self.state.document
        nested_parse_with_titles(self.state, StringList(list(self.lines()), source=self.name), node)
        return node.children


def title(text, line="-"):
    """Write a title."""
    yield from (text, line * len(text), "")


def table(head, rows, widths="auto"):
    """Write a table."""
    yield from (".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", "")
    for row in (head, *rows):
        yield from (f"   {'* ' if k == 0 else '  '}- {cell}" for k, cell in enumerate(row))
    yield ""
