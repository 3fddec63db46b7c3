"""The directive ``data-model``: a table of every coordinate, check and error part, from the package's own tables."""

import inspect
from itertools import groupby

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import nested_parse_with_titles

from xta import identity, model
from xta.acquisition import budget, checklist


class DataModel(SphinxDirective):
    """List what a dataset can hold, step by step."""

    def run(self):
        """Parse the tables."""
        node = nodes.section()
        node.document = self.state.document
        nested_parse_with_titles(self.state, StringList(list(lines()), source="data-model"), node)
        return node.children


def steps():
    """Yield the step that adds each row of the data model, and the row: name, unit, meaning, where it is kept."""
    step = ""
    for name, (unit, meaning) in model.ATTRS.items():
        step = model.STEPS.get(name, step)
        keyword = identity.KEYWORDS.get(name)
        source = f" ({keyword})" if keyword and f"({keyword})" not in meaning else ""
        repeated = "yes" if name in {*identity.IDENTITY, *identity.ONBOARD} else ""
        yield step, (f"``{name}``", "" if unit == "1" else unit, f"{meaning}{source}", repeated)


def lines():
    """Write the tables as reStructuredText."""
    for step, rows in groupby(steps(), key=lambda row: row[0]):
        yield from table(f"Of {step}", ("name", "unit", "what it is", "attribute too"), [row for _, row in rows])
    labels = [(f"``{label}``", *entry) for label, entry in checklist.CHECKS.items()]
    yield from table("Checks", ("label of check", "passes where", "what to do where it fails"), labels)
    parts = [(f"``{label}``", inspect.getdoc(part).splitlines()[0]) for label, part in budget.PARTS.items()]
    yield from table("Parts of the error", ("label of error_part", "what it is"), parts)


def table(title, head, rows):
    """Write one table."""
    yield from (title, "-" * len(title), "", ".. list-table::", "   :header-rows: 1", "")
    for row in (head, *rows):
        yield from (f"   {'* ' if k == 0 else '  '}- {cell}" for k, cell in enumerate(row))
    yield ""


def setup(app):
    """Register the directive."""
    app.add_directive("data-model", DataModel)
    return {"parallel_read_safe": True}
