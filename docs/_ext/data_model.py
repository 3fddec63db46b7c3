"""The directives ``data-model``, ``checks`` and ``error-parts``: the package's own tables, as tables of a page."""

import inspect
import re
from itertools import groupby

from tables import Generated, table, title

from xta import identity, model
from xta.acquisition import budget, checklist


class DataModel(Generated):
    """List the coordinates and data variables of a dataset, step by step."""

    def lines(self):
        """Write a table for each step."""
        head = ("name", "unit", "meaning", "attribute too")
        for step, rows in groupby(steps(), key=lambda row: row[0]):
            yield from title(f"Added by {step}")
            yield from table(head, [row for _, row in rows])


class Checks(Generated):
    """List the checks, with their meaning and what to do if they fail."""

    def lines(self):
        """Write a table."""
        code = re.compile(r"\w+='\w+'|\w+=(?=\.)|(?:ds|xta)\.[\w.]+\w(?:\(\w+\))?|\b_\w+")
        labels = [
            (f"*{label}*", *(code.sub(r"``\g<0>``", text) for text in entry))
            for label, entry in checklist.CHECKS.items()
        ]
        return table(("check", "passes if", "what to do if it fails"), labels, widths="20 35 45")


class ErrorParts(Generated):
    """List the parts of the star's error."""

    def lines(self):
        """Write a table."""
        parts = [(f"*{label}*", inspect.getdoc(part).splitlines()[0]) for label, part in budget.PARTS.items()]
        return table(("part", "meaning"), parts, widths="20 80")


def steps():
    """Yield the step that adds each row of the data model, and the row: name, unit, meaning, where it is kept."""
    step = ""
    for name, (unit, meaning) in model.ATTRS.items():
        step = model.STEPS.get(name, step)
        keyword = identity.KEYWORDS.get(name)
        source = f" ({keyword})" if keyword and f"({keyword})" not in meaning else ""
        repeated = "yes" if name in {*identity.IDENTITY, *identity.ONBOARD} else ""
        yield step, (f"``{name}``", "" if unit == "1" else unit, f"{meaning}{source}", repeated)


def setup(app):
    """Register the directives."""
    app.add_directive("data-model", DataModel)
    app.add_directive("checks", Checks)
    app.add_directive("error-parts", ErrorParts)
    return {"parallel_read_safe": True}
