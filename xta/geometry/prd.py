"""Releases of the SIAF (PRDs) that pysiaf bundles, those that were onboard over the years, and reading them."""

import ast
import re
import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pysiaf import Siaf

__all__ = ["load", "release", "releases"]

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
def _pysiaf() -> ModuleType:
    """Import pysiaf without its look at GitHub: an analysis must not wait for a network that it does not need."""
    # The finder stays: another thread that goes through the list would miss a finder if one were taken out.
    if "pysiaf" not in sys.modules:
        sys.meta_path.insert(0, _PysiafFinder)
    return import_module("pysiaf")


@cache
def releases() -> dict[str, Path]:
    """List the PRD releases that pysiaf bundles, oldest first: name, such as "PRDOPSSOC-063" -> folder of its XML."""
    root = Path(str(_pysiaf().__file__)).parent / "prd_data" / "JWST"
    flight = (path for path in root.iterdir() if _NAME.fullmatch(path.name))
    return {path.name: path / "SIAFXML" / "SIAFXML" for path in sorted(flight)}


@cache
def release(prd: str | None = None) -> str:
    """Name the bundled PRD release to use for a product of release `prd` (keyword PRD_VER); the newest for None.

    It is `prd` itself where pysiaf bundles it, else the latest before it (the SIAF did not change in the releases
    that pysiaf leaves out), else the oldest: PRDOPSSOC-059 for "PRDOPSSOC-060".
    """
    names = list(releases())
    # A name like PRDOPSSOC-058 sorts as text; anything else cannot be placed and means the newest.
    if not prd or not _NAME.fullmatch(prd):
        return names[-1]
    return next((name for name in reversed(names) if name <= prd), names[0])


@cache
def load(instrument: str, prd: str) -> "Siaf":
    """Read the SIAF of an instrument, named as its file is, once per process and release."""
    return _pysiaf().Siaf(instrument, basepath=str(releases()[prd]))
