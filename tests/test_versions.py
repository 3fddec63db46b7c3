"""What a bug report says about the installation."""

import io
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import xta

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def shown():
    out = io.StringIO()
    assert xta.show_versions(file=out) is None
    return dict(line.split(": ", 1) for line in out.getvalue().splitlines()[2:])


def test_show_versions_lists_dependencies():
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["klip"]]
    names = {re.match(r"[\w-]+", text)[0] for text in wanted}
    first, *dependencies = list(map(str.lower, shown()))[-len(names) - 1 :]
    assert first == "xta"
    assert set(dependencies) == {name.lower() for name in names}  # installers may lower the case


def test_show_versions_of_installed_packages():
    found = shown()
    assert found["python"].startswith(sys.version.split()[0])
    for name in ("numpy", "xarray", "jwst"):
        assert found[name] == metadata.version(name)
    assert {"OS", "OS-release", "machine", "LANG"} <= set(found)


def test_show_versions_absent_package_is_none(monkeypatch):
    monkeypatch.setattr(metadata, "requires", lambda _: ["numpy>=2", "no-such-package>=1; python_version > '3'"])
    assert shown()["no-such-package"] == "None"
    assert shown()["numpy"] == metadata.version("numpy")


def test_show_versions_without_installation(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", missing)
    monkeypatch.setattr(metadata, "version", missing)
    assert shown()["xta"] == "None"


def test_show_versions_imports_nothing_heavy():
    code = "import sys, xta; xta.show_versions(); assert not {'jwst', 'astropy', 'scipy'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Versions\n--------\npython: ")
    assert "\nxarray: " in done.stdout
