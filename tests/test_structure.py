"""What the package promises about itself: layers, light imports, signatures, documentation."""

import ast
import graphlib
import inspect
import pydoc
import re
import subprocess
import sys
from pathlib import Path

import pytest
import xarray as xr

import xta
from xta import model, plot, programs, report
from xta.accessor import PlotAccessor, TaAccessor, TreeAccessor
from xta.acquisition import adjust, attach, offset, star
from xta.cubes import clean, coadd, recenter
from xta.errors import XtaError
from xta.estimates import registration, table, template
from xta.geometry import sky
from xta.io import netcdf, tofits
from xta.psfsub import companions, contrast, derotate, snr, star_flux
from xta.surveys import monitor

PACKAGE = Path(xta.__file__).parent


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path):
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def imported(path, known):
    """Modules of xta that a module imports, inside functions too; those for types alone are left out."""
    tree = ast.parse(path.read_text())
    for_types = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from below & known or {node.module} & known
        elif isinstance(node, ast.Import):
            yield from {alias.name for alias in node.names} & known


@pytest.fixture(scope="module")
def graph():
    """Each module of xta and the modules that it imports."""
    known = {name_of(path) for path in modules()}
    return {name_of(path): set(imported(path, known)) - {"xta", name_of(path)} for path in modules()}


def room_of(module):
    return module.split(".")[1]


def refuse_circles(graph):
    try:
        list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(reversed(error.args[1])))


def test_modules_import_in_no_circle(graph):
    refuse_circles(graph)


def test_rooms_import_in_no_circle(graph):
    rooms = {}
    for module, below in graph.items():
        if module != "xta":
            rooms.setdefault(room_of(module), set()).update({room_of(name) for name in below} - {room_of(module)})
    refuse_circles(rooms)


def test_circles_are_found():
    with pytest.raises(pytest.fail.Exception, match=r"a -> xta\.b"):
        refuse_circles({"xta.a": {"xta.b"}, "xta.b": {"xta.a"}})


def test_the_top_of_the_package_is_small():
    assert len(list(PACKAGE.glob("*.py"))) <= 12


@pytest.mark.parametrize("path", [*PACKAGE.glob("images/*.py"), *PACKAGE.glob("geometry/*.py")], ids=lambda p: p.stem)
def test_arrays_only_rooms_do_not_know_xarray(path):
    if path.stem == "sky":
        pytest.skip("the one module of geometry whose subject is labels")
    roots = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(path.read_text()))
        for name in (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in getattr(node, "names", [])]
        )
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert "xarray" not in roots


def test_only_the_archive_knows_the_network():
    for path in modules():
        if "archive" in path.parts:
            continue
        text = path.read_text()
        for word in ("import requests", "urllib.request", "astroquery", "http.client"):
            assert word not in text, f"{path.name}: {word}"


def test_importing_xta_loads_nothing_heavy():
    heavy = ("jwst", "pysiaf", "astroquery", "matplotlib", "astropy", "scipy", "gwcs", "asdf", "requests", "dask")
    code = f"import sys, xta; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


METHODS = {
    TaAccessor: {
        "attach": attach.attach,
        "compute_offset": offset.compute_offset,
        "adjust_wcs": adjust.adjust_wcs,
        "set_star": star.set_star,
        "clean": clean.clean,
        "recenter": recenter.recenter,
        "derotate": derotate,
        "companions": companions,
        "snr": snr,
        "contrast": contrast,
        "star_flux": star_flux,
        "coadd": coadd.coadd,
        "subtract": coadd.subtract,
        "report": report.report,
        "to_fits": tofits.to_fits,
        "estimates": table.estimates,
        "estimate_center": template.estimate_center,
        "register": registration.register,
        "monitor": monitor,
        "assign_sky": sky.assign_sky,
        "sel_sky": sky.sel_sky,
        "pixel_to_world": sky.pixel_to_world,
        "world_to_pixel": sky.world_to_pixel,
    },
    PlotAccessor: {"__call__": plot.summary}
    | {name: getattr(plot, name) for name in plot.__all__ if name != "summary"},
    TreeAccessor: {
        "analyze": programs.analyze,
        "solve": programs.solve,
        "recenter": programs.recenter,
        "coadd": programs.coadd,
        "subtract_background": programs.subtract_background,
        "stack": programs.stack,
        "klip": programs.klip,
        "to_netcdf": netcdf.to_netcdf,
    },
}
NAMED = [(kind, name, function) for kind, functions in METHODS.items() for name, function in functions.items()]


@pytest.mark.parametrize("kind", METHODS)
def test_accessor_has_a_method_for_each_function(kind):
    methods = {name for name, value in vars(kind).items() if inspect.isfunction(value)}
    assert methods - {"__init__", "__repr__", "_repr_html_"} == set(METHODS[kind])


@pytest.mark.parametrize(("kind", "name", "function"), NAMED, ids=lambda value: getattr(value, "__name__", value))
def test_method_has_signature_and_documentation_of_function(kind, name, function):
    signature = inspect.signature(function)
    _, *options = signature.parameters.values()
    assert inspect.signature(getattr(kind(xr.Dataset()), name)) == signature.replace(parameters=options)
    for method in (getattr(kind, name), getattr(kind(xr.Dataset()), name)):
        text = pydoc.render_doc(method, renderer=pydoc.plaintext)
        assert not re.search(r"\b(ds|tree)\s*:", text)
        assert inspect.getdoc(function).splitlines()[0] in text
        assert all(option.name in text for option in options)


@pytest.mark.parametrize("kind", METHODS)
def test_accessor_takes_anything(kind):
    for obj in (xr.Dataset(), xr.Dataset(attrs={"exp_type": 3, "ta_in_use": "x"}), None):
        assert kind(obj)._obj is obj
    assert repr(xr.Dataset().ta).startswith("<xta")


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
            assert issubclass(kind, ValueError | OSError), name
            assert str(kind("what to do")) == "what to do"


def test_every_name_has_a_long_name():
    for name, (units, long_name) in model.ATTRS.items():
        assert long_name, name
        assert isinstance(units, str)


MODULES = (
    *("archive", "centroid", "datasets", "errors", "osslog", "plot", "psfsub", "report", "siaf", "sky", "wcs"),
    *xta.__all__,
)


@pytest.mark.parametrize("name", MODULES)
def test_public_name_is_there(name):
    code = f"import xta; from xta import {name}; assert xta.{name} is {name}; assert {name!r} in dir(xta)"
    exec(code, {})


def test_public_modules_are_imported_when_used():
    code = "import xta; [getattr(xta, name) for name in dir(xta)]; from xta import centroid, siaf, sky, wcs"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="nonsense"):
        _ = xta.nonsense
