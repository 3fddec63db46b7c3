"""How the documentation is built: ``sphinx-build -W --keep-going -b html docs docs/_build/html``.

Every code cell runs at build, on sample files that are made here once for all pages. Nothing asks the network.
"""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

from numpydoc.xref import DEFAULT_LINKS

import xta
from xta import datasets, errors

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "xta"
author = "xta developers"
copyright = author  # noqa: A001 - the name is Sphinx's
version = release = xta.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.githubpages",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_design",
    "accessor",
    "commands",
    "data_model",
]
exclude_patterns = ["_build", "_ext", "*.py", "**/.ipynb_checkpoints"]
nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}
myst_enable_extensions = ["colon_fence", "deflist", "substitution"]
myst_heading_anchors = 3
default_role = "py:obj"
add_module_names = False
autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
numpydoc_xref_param_type = True  # links of the errors that a function raises
numpydoc_xref_ignore = "all"
numpydoc_xref_aliases = {word: word for word in DEFAULT_LINKS} | {name: f"xta.errors.{name}" for name in errors.__all__}
templates_path = ["_templates"]

nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_execution_excludepatterns = ["examples/07_*"]  # its files are not in the repository; its figure is
nb_output_stderr = "remove-warn"
nb_merge_streams = True
copybutton_exclude = ".linenos, .gp"

html_theme = "furo"
html_title = f"xta {version}"
html_static_path = ["_static"]
html_css_files = ["xta.css"]
html_js_files = ["xta.js"]
html_copy_source = False

linkcheck_anchors = False
linkcheck_timeout = 20

START = """
import os, sys
sys.stdout.flush_interval = 60  # the output of a cell in one piece: pieces are joined by line breaks
if os.getcwd().startswith({docs!r}):  # but not the quickstart, which starts in an empty folder
    os.chdir({folder!r})
del os, sys
"""


def make_samples() -> None:
    """Make the sample files of the guide, and start its pages where they are, as their readers do."""
    folder = Path(tempfile.mkdtemp(prefix="xta-docs-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    datasets.make_program(folder / "xta-demo/data")
    datasets.make_visit(folder / "xta-demo/miri", mode="miri", confirm=True)
    datasets.make_visit(folder / "xta-demo/failed", visit_id="09993001001", failed_ta=True)
    startup = folder / "ipython/profile_default/startup/folder.py"
    startup.parent.mkdir(parents=True)
    startup.write_text(START.format(docs=str(HERE), folder=str(folder)))
    os.environ |= {"IPYTHONDIR": str(folder / "ipython"), "XTA_OFFLINE": "1", "XTA_CACHE": str(folder / "empty")}
    os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"  # tqdm, of a notebook without widgets
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE / "_ext"), *filter(None, [os.environ.get("PYTHONPATH")])])


def copy_examples() -> None:
    """Put the examples where Sphinx finds them; leave those that did not change, and their pages, alone."""
    folder = HERE / "examples"
    folder.mkdir(exist_ok=True)
    originals = {path.name: path for path in (HERE.parent / "examples").glob("[0-9]*.py")}
    for path in folder.glob("*.py"):
        if path.name not in originals:
            path.unlink()
    for name, path in originals.items():
        copy = folder / name
        if not copy.exists() or copy.read_bytes() != path.read_bytes():
            shutil.copyfile(path, copy)


make_samples()
copy_examples()
