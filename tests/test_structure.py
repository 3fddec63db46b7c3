"""What the package promises about itself: layers, light imports, signatures, documentation."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import xta
from xta import acquisition, adjust, estimates, fits, names, offset, recenter, report, sky, template
from xta.accessor import TaAccessor
from xta.errors import XtaError

PACKAGE = Path(xta.__file__).parent

LAYERS = {
    **dict.fromkeys(("errors", "names", "versions", "__init__"), 0),
    **dict.fromkeys(
        ("centroid", "correlation", "dq", "osslog", "shift", "siaf", "sphere", "targacq", "wcs", "wcstext"), 1
    ),
    **dict.fromkeys(
        ("archive", "backend", "datasets", "manoeuvres", "netcdf", "onboardcheck", "product", "readout", "sky"), 2
    ),
    **dict.fromkeys(("performance",), 0),
    **dict.fromkeys(("taimage", "checks", "budget"), 3),
    **dict.fromkeys(("nearby", "onboard", "acquisition", "offset", "adjust", "analysis", "estimates", "template"), 3),
    **dict.fromkeys(("fits", "psfsub", "recenter", "results", "surveys"), 3),
    **dict.fromkeys(("plot", "card", "report", "accessor", "demo", "cli"), 4),
}


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree):
    """Names of the xta modules that a module imports anywhere, for types only excepted."""
    skipped = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "xta":
            parts = node.module.split(".")
            yield from [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from [alias.name.split(".")[1] for alias in node.names if alias.name.startswith("xta.")]


@pytest.mark.parametrize(
    "path", [p for p in modules() if room(p) != "__init__"], ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_imports_point_down(path):
    layer = LAYERS[room(path)]
    for name in imported(ast.parse(path.read_text())):
        if name in LAYERS:
            assert LAYERS[name] <= layer, f"{path.name} (layer {layer}) imports {name} (layer {LAYERS[name]})"


def test_only_the_archive_knows_the_network():
    for path in modules():
        if room(path) == "archive":
            continue
        text = path.read_text()
        for word in ("import requests", "urllib.request", "astroquery", "http.client"):
            assert word not in text, f"{path.name}: {word}"


def test_importing_xta_loads_nothing_heavy():
    heavy = ("jwst", "pysiaf", "astroquery", "matplotlib", "astropy", "scipy", "gwcs", "asdf", "requests", "dask")
    code = f"import sys, xta; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


FUNCTIONS = {
    "attach": acquisition.attach,
    "compute_offset": offset.compute_offset,
    "adjust_wcs": adjust.adjust_wcs,
    "recenter": recenter.recenter,
    "report": report.report,
    "to_fits": fits.to_fits,
    "estimates": estimates.estimates,
    "estimate_center": template.estimate_center,
    "assign_sky": sky.assign_sky,
    "sel_sky": sky.sel_sky,
    "pixel_to_world": sky.pixel_to_world,
    "world_to_pixel": sky.world_to_pixel,
}


def public_methods():
    return {name for name, value in vars(TaAccessor).items() if inspect.isfunction(value) and not name.startswith("_")}


def test_every_method_names_a_function():
    assert public_methods() == set(FUNCTIONS)
    for name, function in FUNCTIONS.items():
        method = getattr(TaAccessor, name)
        assert method.__doc__ == function.__doc__
        own = list(inspect.signature(method, follow_wrapped=False).parameters.values())[1:]
        theirs = list(inspect.signature(function).parameters.values())[1:]
        assert [(p.name, p.kind, p.default) for p in own] == [(p.name, p.kind, p.default) for p in theirs], name


def test_every_public_function_is_documented():
    for path in modules():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path.name}: {node.name}"


def test_errors_are_also_builtins():
    from xta import errors

    for name in errors.__all__:
        kind = getattr(errors, name)
        if inspect.isclass(kind) and issubclass(kind, XtaError) and kind is not XtaError:
            assert issubclass(kind, ValueError | KeyError | OSError), name
            assert str(kind("what to do")) == "what to do"


def test_every_name_has_a_long_name():
    for name, (units, long_name) in names.ATTRS.items():
        assert long_name, name
        assert isinstance(units, str)


def test_what_is_public_is_there():
    for name in (*xta.__all__, "datasets", "wcs", "siaf"):
        assert getattr(xta, name) is not None
    assert {"datasets", "open_exposure"} <= set(dir(xta))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = xta.nonsense
