"""The documentation: its links, its numbers, its lists, and what it says of the shell."""

import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import xta
from xta.accessor import PlotAccessor, TaAccessor, TreeAccessor

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
GENERATED = {"_build", "examples", "generated", "jupyter_execute"}
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted(path for path in DOCS.rglob("*.md") if not GENERATED & set(path.relative_to(DOCS).parts[:-1])),
]
CODE = re.compile(r"^(```+|~~~+).*?^\1`*\s*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[(?:[^\]]|\n)*?\]\(([^)\s]+)\)")
SHELLS = ("bash", "zsh", "fish")


def page_id(path):
    return str(path.relative_to(ROOT))


def anchors(path):
    """Headings of a page, as GitHub and the site name them."""
    headings = re.findall(r"^#+ (.+)$", CODE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_resolve(page):
    for link in LINK.findall(CODE.sub("", page.read_text(encoding="utf-8"))):
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            assert parts.scheme == "https", link
            assert re.fullmatch(r"[\w-]+(\.[\w-]+)+", parts.netloc), link
            continue
        target = (page.parent / parts.path).resolve() if parts.path else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        if parts.fragment:
            assert parts.fragment in anchors(target), link


def test_every_page_is_reached_from_the_index():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^([\w/]+)$", "\n".join(re.findall(r"```{toctree}(.*?)```", index, re.DOTALL)), re.M))
    pages = {page.relative_to(DOCS).with_suffix("").as_posix() for page in PAGES if page.is_relative_to(DOCS)}
    pages |= {
        page.relative_to(DOCS).with_suffix("").as_posix()
        for page in DOCS.glob("*/*.rst")
        if page.parent.name not in GENERATED
    }
    assert pages - {"index"} == listed


def test_every_environment_variable_is_in_the_reference():
    text = (DOCS / "reference" / "environment.md").read_text(encoding="utf-8")
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "xta").rglob("*.py"))
    assert set(re.findall(r"\b(?:XTA|MAST_API)_[A-Z_]+", code)) <= set(re.findall(r"`(\w+)`", text))


def test_every_public_name_is_in_the_api():
    text = (DOCS / "api" / "index.rst").read_text(encoding="utf-8")
    listed = set(re.findall(r"^   ([\w.]+)$", text, re.MULTILINE))
    functions = {name for name in xta.__all__ if name not in {"TaAccessor", "TreeAccessor", "XtaError", "XtaWarning"}}
    errors = {f"errors.{name}" for name in importlib.import_module("xta.errors").__all__ if name != "warn"}
    assert functions | errors <= listed
    for name in listed:
        module, _, attribute = f"xta.{name}".rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


@pytest.mark.parametrize("kind", [TaAccessor, PlotAccessor, TreeAccessor])
def test_the_function_behind_every_method_is_in_the_api(kind):
    listed = set(re.findall(r"^   ([\w.]+)$", (DOCS / "api" / "index.rst").read_text(encoding="utf-8"), re.MULTILINE))
    for name, method in vars(kind).items():
        if hasattr(method, "__wrapped__") and not isinstance(method, staticmethod):  # __new__ is one
            function = method.__wrapped__
            module = function.__module__.removeprefix("xta.")
            package = module.rpartition(".")[0]
            assert {f"{module}.{function.__name__}", f"{package}.{function.__name__}"} & listed, name


@pytest.fixture
def accuracy(monkeypatch):
    """Import the module that measures the numbers of the page."""
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    return importlib.import_module("accuracy")


def test_the_numbers_of_the_accuracy_page_are_true(accuracy):
    promised, measured = accuracy.promised(DOCS / "accuracy.md"), accuracy.measure()
    assert len(promised) == len(re.findall(r"^\| `", (DOCS / "accuracy.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert promised.keys() == measured.keys()
    for name, value in measured.items():
        low, high = promised[name]
        assert low <= value <= high, f"{name}: {value:g} is not in {low:g} to {high:g}"


def blocks(page, *kinds):
    """Read the code of a page that is of one of some kinds of fences, in order."""
    fences = "|".join(map(re.escape, kinds))
    return re.findall(rf"^```(?:{fences})\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def paste(script, folder, *command):
    """Run pasted lines in a folder, with the programs of this environment in front; return what they print."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [*command, script],
        cwd=folder,
        env=os.environ | {"PATH": path, "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_no_page_hides_code_or_changes_the_folder(page):
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"^:tags:.*(remove|hide)", text, re.MULTILINE)
    assert "os.chdir" not in text


@pytest.mark.heavy
def test_quickstart_and_readme_work_when_they_are_pasted_into_an_empty_folder(tmp_path):
    page = DOCS / "quickstart.md"
    printed = paste("\n".join(blocks(page, "{code-cell} ipython3")), tmp_path, sys.executable, "-c")
    pulls = re.search(r"star minus truth: (\S+), (\S+) standard errors", printed)
    assert all(abs(float(pull)) < 4 for pull in pulls.groups())
    paste("\n".join(blocks(page, "bash")), tmp_path, "bash", "-e", "-c")
    assert paste("\n".join(blocks(ROOT / "README.md", "python")), tmp_path, sys.executable, "-c")
    commands = re.findall(r"`(xta \w+ (?:FILE|FOLDER)[^`]*)`", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(commands) == 4
    folder = tmp_path / "xta-demo" / "data"
    paths = {"FILE": str(next(folder.glob("*_calints.fits"))), "FOLDER": str(folder)}
    commands = [re.sub("FILE|FOLDER", lambda word: paths[word[0]], command) for command in commands]
    paste("\n".join(commands), tmp_path, "bash", "-e", "-c")
    names = {path.name for path in tmp_path.iterdir()}
    assert {
        "klip.nc",
        "star.html",
        "centered.nc",
        "star.nc",
        "star.png",
        "star_centered.nc",
        "planet.nc",
        "xta-demo",
    } <= names


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Make the sample files as the guide tells its readers, in a folder that its pages share."""
    folder = tmp_path_factory.mktemp("guide")
    paste("\n".join(blocks(DOCS / "guide" / "index.md", "python")), folder, sys.executable, "-c")
    return folder


@pytest.mark.heavy
@pytest.mark.parametrize(
    "page",
    [path for path in PAGES if path.name != "archive.md" and path.parent.name in {"guide", "reference"}],
    ids=page_id,
)
def test_the_code_of_a_page_works_when_it_is_pasted_beside_the_samples(page, samples):
    if not (cells := blocks(page, "{code-cell} ipython3")):
        pytest.skip("the page has no code")
    paste("\n".join(cells), samples, sys.executable, "-c")


def run(**environment):
    command = [sys.executable, "-c", "from xta.cli import main; main(prog_name='xta')"]
    return subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=False, encoding="utf-8"
    )


@pytest.mark.parametrize("shell", SHELLS)
def test_the_completion_script_of_each_shell(shell, tmp_path):
    install = (DOCS / "install.md").read_text(encoding="utf-8")
    assert f"_XTA_COMPLETE={shell}_source xta" in install
    done = run(_XTA_COMPLETE=f"{shell}_source")
    assert done.returncode == 0, done.stderr
    assert f"_XTA_COMPLETE={shell}_complete" in done.stdout
    if shutil.which(shell):  # the shell itself has the last word
        script = tmp_path / "script"
        script.write_text(done.stdout)
        subprocess.run([shell, "-n", str(script)], check=True)


def test_completion_offers_commands_and_options():
    assert "plain,analyze" in run(_XTA_COMPLETE="bash_complete", COMP_WORDS="xta an", COMP_CWORD="1").stdout
    offered = run(_XTA_COMPLETE="bash_complete", COMP_WORDS="xta klip --mo", COMP_CWORD="2").stdout
    assert offered.split() == ["plain,--mode"]
    offered = run(_XTA_COMPLETE="bash_complete", COMP_WORDS="xta klip --mode A", COMP_CWORD="3").stdout
    assert offered.split() == ["plain,ADI", "plain,ADI+RDI"]


def test_the_readme_s_build_command_is_the_one_of_contributing():
    command = "sphinx-build -W --keep-going -b html docs docs/_build/html"
    for page in (ROOT / "README.md", DOCS / "contributing.md", DOCS / "conf.py"):
        assert command in page.read_text(encoding="utf-8"), page.name
