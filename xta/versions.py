"""Print the versions of the system and of packages, for bug reports."""

import importlib.metadata
import locale
import os
import platform
import re
import sys
from typing import TextIO

__all__ = ["show_versions"]

USEFUL_EXTRAS = ("klip",)


def show_versions(file: TextIO | None = None) -> None:
    """Print the versions of xta, of Python, of the operating system and of the packages that xta uses.

    Parameters
    ----------
    file : file-like, optional
        File to write to; standard output by default.

    Notes
    -----
    No package is imported; the versions are those recorded by the installer. A missing package has the version None.

    Examples
    --------
    >>> show_versions()
    Versions
    --------
    ...
    xarray: ...
    """
    out = sys.stdout if file is None else file
    facts = _system() | {name: _version(name) for name in ("xta", *_dependencies())}
    out.write("Versions\n--------\n" + "".join(f"{name}: {value}\n" for name, value in facts.items()))


def _system() -> dict[str, str]:
    """Describe the interpreter and the machine."""
    return {
        "python": sys.version.replace("\n", " "),
        "OS": platform.system(),
        "OS-release": platform.release(),
        "machine": platform.machine(),
        "byteorder": sys.byteorder,
        "LC_ALL": os.environ.get("LC_ALL", "None"),
        "LANG": os.environ.get("LANG", "None"),
        "locale": ".".join(part or "None" for part in locale.getlocale()),
    }


def _dependencies() -> list[str]:
    """List the declared dependencies of xta, then those of the optional extras that add features."""
    try:
        declared = importlib.metadata.requires("xta") or []
    except importlib.metadata.PackageNotFoundError:  # run from its source, not installed
        return []
    matches = (re.match(r"([\w.-]+)[^;]*(?:;.*extra == ['\"](\w+)['\"])?", text) for text in declared)
    return [match[1] for match in matches if match and (match[2] is None or match[2] in USEFUL_EXTRAS)]


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "None"
