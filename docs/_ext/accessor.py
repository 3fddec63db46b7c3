"""The directive ``accessor-methods``: every method of an accessor, under the name by which users call it."""

import importlib
import inspect

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import nested_parse_with_titles


class AccessorMethods(SphinxDirective):
    """List the methods of the class that is given, as ``py:method`` entries that lead to their functions."""

    required_arguments = 2
    """The class, as module.Class, and the name that users write, as Dataset.ta."""

    def run(self):
        """Parse an entry for each method."""
        module, _, name = self.arguments[0].rpartition(".")
        kind = getattr(importlib.import_module(module), name)
        lines = [line for method in sorted(methods(kind)) for line in entry(kind, method, self.arguments[1])]
        node = nodes.section()
        node.document = self.state.document
        nested_parse_with_titles(self.state, StringList(lines, source=self.arguments[0]), node)
        return node.children


def methods(kind):
    """Name the public methods of an accessor."""
    found = (name for name, value in vars(kind).items() if inspect.isfunction(value))
    return [name for name in found if not name.startswith("_") or name == "__call__"]


def entry(kind, name, prefix):
    """Write one method as reStructuredText."""
    function = inspect.unwrap(getattr(kind, name))
    signature = inspect.signature(function)
    parameters = [p.replace(annotation=inspect.Parameter.empty) for p in list(signature.parameters.values())[1:]]
    called = str(inspect.Signature(parameters))
    summary = inspect.getdoc(function).splitlines()[0]
    shown = prefix if name == "__call__" else f"{prefix}.{name}"
    yield from (f".. py:method:: {shown}{called}", "", f"   {summary} See `{public_name(function)}`.", "")


def public_name(function):
    """Name a function as the API page does: by its package, if that shows it."""
    package, _, _ = function.__module__.rpartition(".")
    shown = getattr(importlib.import_module(package), function.__name__, None) is function
    return f"{package if shown else function.__module__}.{function.__name__}"


def setup(app):
    """Register the directive."""
    app.add_directive("accessor-methods", AccessorMethods)
    return {"parallel_read_safe": True}
