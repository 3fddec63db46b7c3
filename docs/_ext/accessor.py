"""The directive ``accessor-methods``: every method of an accessor, under the name by which users call it."""

import importlib
import inspect

from numpydoc.numpydoc import mangle_docstrings
from tables import Generated


class AccessorMethods(Generated):
    """Document the methods of the class that is given, as ``py:method`` entries without the dataset or tree."""

    required_arguments = 2
    """The class, as module.Class, and the name that users write, as Dataset.ta."""

    def lines(self):
        """Write an entry for each method."""
        module, _, name = self.arguments[0].rpartition(".")
        kind = getattr(importlib.import_module(module), name)
        for method in sorted(methods(kind)):
            yield from self.entry(getattr(kind, method), called(self.arguments[1], method))

    def entry(self, method, name):
        """Write one method with its documentation, whose sections numpydoc formats."""
        text = inspect.getdoc(method).splitlines()
        mangle_docstrings(self.env.app, "method", name, method, None, text)
        yield from (f".. py:method:: {name}{arguments(method)}", "")
        yield from (f"   {line}" if line else "" for line in text)
        yield from ("", f"   The function is `{public_name(inspect.unwrap(method))}`.", "")


def methods(kind):
    """Name the public methods of an accessor."""
    names = (name for name, value in vars(kind).items() if inspect.isfunction(value))
    return [name for name in names if not name.startswith("_") or name == "__call__"]


def called(prefix, name):
    """Return the name by which users call a method."""
    return prefix if name == "__call__" else f"{prefix}.{name}"


def arguments(method):
    """Write the arguments of a method, without `self` and types."""
    signature = inspect.signature(method)
    parameters = [p.replace(annotation=inspect.Parameter.empty) for p in list(signature.parameters.values())[1:]]
    return str(inspect.Signature(parameters))


def public_name(function):
    """Name a function as the API page does: by its package, if that shows it."""
    package, _, _ = function.__module__.rpartition(".")
    shown = getattr(importlib.import_module(package), function.__name__, None) is function
    return f"{package if shown else function.__module__}.{function.__name__}"


def setup(app):
    """Register the directive."""
    app.add_directive("accessor-methods", AccessorMethods)
    return {"parallel_read_safe": True}
