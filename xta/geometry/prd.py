"""Read the releases of the SIAF (PRDs) that pysiaf contains, which were on board over the years.

An analysis needs a few apertures of several releases. This module reads each from its own part of the file, with the
same values as in pysiaf. pysiaf itself takes a second to import and to read whole files, and is only used for methods
of apertures.
"""

import ast
import re
import sys
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from pysiaf import Siaf

__all__ = ["Aperture", "entry", "load", "names", "pysiaf", "read", "release", "releases"]

_NAME = re.compile(r"PRDOPSSOC-\d{3}(-\d{3})?")


class _PysiafLoader(SourceFileLoader):
    """Loader of pysiaf that leaves out its check for a newer release, which waits for GitHub without a time-out."""

    def get_code(self, fullname: str) -> CodeType:
        tree = ast.parse(self.get_data(self.path))
        tree.body = [node for node in tree.body if "requests.get" not in ast.unparse(node)]
        return compile(tree, self.path, "exec")


class _PysiafFinder:
    """Finder of pysiaf, for Python's own import, so that its locks hold for other threads that import it too."""

    @staticmethod
    def find_spec(fullname: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path) if fullname == "pysiaf" else None
        if spec is None or spec.origin is None or not isinstance(spec.loader, SourceFileLoader):
            return None
        spec.loader = _PysiafLoader(fullname, spec.origin)
        return spec


@cache
def pysiaf() -> ModuleType:
    """Import pysiaf without its request to GitHub, since an analysis must not wait for the network."""
    # The finder stays: another thread that iterates over the list would skip a finder if one were removed.
    if "pysiaf" not in sys.modules:
        sys.meta_path.insert(0, _PysiafFinder)
    return import_module("pysiaf")


@cache
def releases() -> dict[str, Path]:
    """List the PRD releases that pysiaf bundles, oldest first: name, such as "PRDOPSSOC-063" -> folder of its XML."""
    spec = find_spec("pysiaf")  # does not import it
    root = Path(str(spec and spec.origin)).parent / "prd_data" / "JWST"
    flight = (path for path in root.iterdir() if _NAME.fullmatch(path.name))
    return {path.name: path / "SIAFXML" / "SIAFXML" for path in sorted(flight)}


@cache
def release(prd: str | None = None) -> str:
    """Return the bundled PRD release to use for a product of release `prd` (keyword PRD_VER); the newest for None.

    It is `prd` itself if pysiaf contains it, or else the latest before it (the SIAF did not change in the releases
    that pysiaf leaves out), or else the oldest. For "PRDOPSSOC-060" it is PRDOPSSOC-059.
    """
    names = list(releases())
    # A name like PRDOPSSOC-058 sorts as text; anything else cannot be placed and means the newest.
    if not prd or not _NAME.fullmatch(prd):
        return names[-1]
    return next((name for name in reversed(names) if name <= prd), names[0])


@cache
def load(instrument: str, prd: str) -> "Siaf":
    """Read the SIAF of an instrument, named as its file is, once per process and release."""
    return pysiaf().Siaf(instrument, basepath=str(releases()[prd]))


@lru_cache(maxsize=4)
def _file(instrument: str, prd: str) -> str:
    return (releases()[prd] / f"{instrument}_SIAF.xml").read_text(encoding="utf-8")


@cache
def names(instrument: str, prd: str) -> tuple[str, ...]:
    """List the apertures of an instrument in a release, in the order of the file."""
    return tuple(dict.fromkeys(re.findall(r"<AperName>([^<]*)<", _file(instrument, prd))))


@cache
def entry(instrument: str, prd: str, name: str) -> str | None:
    """Return the XML of one aperture, from <SiafEntry> to </SiafEntry>; None if the release does not have it."""
    text = _file(instrument, prd)
    place = text.rfind(f"<AperName>{name}</AperName>")
    start, end = text.rfind("<SiafEntry>", 0, max(place, 0)), text.find("</SiafEntry>", place)
    return text[start : end + len("</SiafEntry>")] if place >= 0 else None


class Aperture:
    """One aperture of the SIAF, with values and methods as attributes with the same names as in pysiaf.

    A method, such as ``corners``, is that of pysiaf's own aperture, which is loaded when the method is used.
    """

    def __init__(self, instrument: str, prd: str, values: dict[str, Any]) -> None:
        self.__dict__.update(values)
        self._origin = instrument, prd

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_origin":  # attributes that copy and pickle look up
            raise AttributeError(name)
        return getattr(load(*self._origin).apertures[self.AperName], name)

    def __repr__(self) -> str:
        return f"<aperture {self.AperName} of {self._origin[1]}>"


@cache
def read(instrument: str, prd: str, name: str) -> Aperture | None:
    """Read one aperture, once per process; None if the release does not have it."""
    text = entry(instrument, prd, name)
    if text is None:
        return None
    return Aperture(instrument, prd, {node.tag: _value(node.tag, node.text) for node in ET.fromstring(text)})


_TEXTS = {"InstrName", "AperName", "DDCName", "AperType", "AperShape", "UseAfterDate", "Comment", "OSS_Version"}
_WHOLE = {"XDetSize", "YDetSize", "XSciSize", "YSciSize", "VIdlParity", "DetSciYAngle", "DetSciParity", "Sci2IdlDeg"}


def _value(tag: str, text: str | None) -> str | int | float | None:
    if text is None or tag in _TEXTS:
        return text
    return int(float(text)) if tag in _WHOLE else float(text)
