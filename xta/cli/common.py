"""Define the common parts of the subcommands: options, output names, opening of files, and printing."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import click
import xarray as xr

import xta
from xta.errors import ArgumentError, FileError, ProductError, XtaError, damage, readable
from xta.io.atomic import make_folder, save_figure
from xta.io.netcdf import is_netcdf_name
from xta.workers import interrupts_wait

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

    from xta.acquisition.offset import Centroid

__all__ = [
    "CENTER",
    "CENTROID",
    "CORRECTIONS",
    "DPI",
    "FILES",
    "OFFLINE",
    "PATH",
    "PATHS",
    "REFERENCE",
    "Failures",
    "Pixel",
    "centers",
    "check_inputs",
    "check_parent",
    "check_picture",
    "end",
    "going_on",
    "opened",
    "opened_netcdf",
    "outputs",
    "refuse_folder",
    "save",
    "say",
    "step",
]

PATH = click.Path(path_type=Path)
FILES = click.argument("files", nargs=-1, required=True, type=PATH)
OFFLINE = click.option("--offline", is_flag=True, help="Do not use the network.")
CENTER = click.option(
    "--center",
    multiple=True,
    metavar="X,Y",
    help="The star's pixel, 0-based; files are then not analyzed. Give it once, or once per file in their order.",
)
PATHS = click.argument("paths", nargs=-1, required=True, type=PATH)
REFERENCE = click.option(
    "-r", "--reference", multiple=True, help="Name of a target that is a reference; may be repeated."
)
DPI = click.option(
    "--dpi", type=click.IntRange(20, 800), default=150, show_default=True, help="Dots per inch of the figure."
)
PICTURES = (".png", ".pdf", ".svg")
CENTROIDS = ("auto", "oss", "converged", "image")

Pixel: TypeAlias = tuple[float, float]


def _centroid(_ctx: click.Context, _parameter: click.Parameter, text: str) -> "Centroid":
    return text if text in CENTROIDS else pixel(text, f"not one of {', '.join(CENTROIDS)} or X,Y", option="--centroid")


def _corrections(_ctx: click.Context, _parameter: click.Parameter, text: str) -> tuple[str, ...]:
    from xta.acquisition.corrections import chosen

    try:
        return chosen(text if text in {"all", "none"} else text.split(","))
    except ArgumentError:
        msg = f"{text!r} is not one of all, none, way, filter or way,filter"
        raise click.BadParameter(msg) from None


CENTROID = click.option(
    "--centroid",
    default="auto",
    show_default=True,
    callback=_centroid,
    metavar=f"[{'|'.join(CENTROIDS)}|X,Y]",
    help="Which centroid of the acquisition; X,Y are pixels of the TA readout, 0-based.",
)
CORRECTIONS = click.option(
    "--corrections",
    default="all",
    show_default=True,
    callback=_corrections,
    metavar="[all|none|way|filter]",
    help="What the star is corrected for: the geometry between acquisition and mask, the shift between filters.",
)


def say(message: str) -> None:
    """Print a line on stderr."""
    click.echo(message, err=True)


def step(message: str) -> None:
    """Print the current step, on a terminal."""
    if sys.stderr.isatty():
        say(message)


class Failures(list[str]):
    """Names of files that failed. The advice for each kind of error is printed once."""

    def __init__(self) -> None:
        super().__init__()
        self._told: set[type[XtaError]] = set()

    def add(self, item: str | Path, error: XtaError, *, before: str = "") -> None:
        """Print the error of a file, and keep its name."""
        self.append(str(item))
        say(f"Error: {before}{error.problem if type(error) in self._told else error}")
        self._told.add(type(error))


@contextmanager
def going_on(failed: Failures, item: str | Path) -> Iterator[None]:
    """Print the error of one of many files, and add its name to the failed ones."""
    try:
        with readable():
            yield
    except XtaError as error:
        failed.add(item, error)


def end(failed: Sequence[str], total: int) -> None:
    """Exit with code 1 if a file failed; for many files, list those that failed."""
    if failed:
        if total > 1:
            say(f"Error: {len(failed)} of {total} failed: {', '.join(failed)}")
        raise SystemExit(1)


def pixel(text: str, problem: str, *, option: str) -> Pixel:
    """Read a pixel X,Y."""
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        msg = f"{text!r} is {problem}"
        raise click.BadParameter(msg, param_hint=option) from None
    return x, y


def centers(texts: Sequence[str], count: int) -> list[Pixel | None]:
    """Read the star's pixel in each of some files: one for all, one for each, or none."""
    pixels = [pixel(text, "not a pixel X,Y, such as 150.0,174.0", option="--center") for text in texts]
    if len(pixels) not in {0, 1, count}:
        msg = f"--center is given {len(pixels)} times for {count} files; give it once, or once per file"
        raise click.UsageError(msg)
    return [None] * count if not pixels else [*pixels] * (count // len(pixels))


def outputs(option: Path, files: Sequence[Path], suffix: str, *inputs: Path) -> list[Path]:
    """Return the output path of each input: the option itself for one input, files in that folder for several."""
    if option.is_dir() or (len(files) > 1 and not option.suffix):
        make_folder(option)
        named = [option / f"{file.name.partition('.')[0]}{suffix}" for file in files]
    elif len(files) > 1:
        msg = f"with {len(files)} files, {option} must be a folder"
        raise click.UsageError(msg)
    else:
        named = [option]
    if is_netcdf_name(suffix) and not all(map(is_netcdf_name, named)):
        msg = f"the output is {named[0].name!r}; its name must end in .nc, or it must be an existing folder"
        raise click.UsageError(msg)
    if len(set(named)) < len(named):
        msg = "several FILES have the same name, and so would their results; process them one by one"
        raise click.UsageError(msg)
    for path in named:
        check_parent(path)
        if any(path.resolve() == file.resolve() for file in (*files, *inputs)):
            msg = f"{path} is one of the inputs and would be overwritten; choose another output"
            raise click.UsageError(msg)
    return named


def check_inputs(paths: Sequence[Path]) -> None:
    """Refuse files that do not exist, before any work."""
    for path in paths:
        if not path.exists():
            msg = f"{path} does not exist; check the path"
            raise FileError(msg)


def refuse_folder(path: Path) -> None:
    """Refuse a folder in place of a file, and name the commands that accept folders."""
    if path.is_dir():
        msg = f"{path} is a folder; give files, or see xta program, xta survey and xta klip, which accept folders"
        raise FileError(msg)


def check_picture(path: Path | None) -> None:
    """Refuse a figure that cannot be written, because of its kind or folder, before any work."""
    if path is None or not path.suffix:
        return
    if path.suffix.lower() not in PICTURES:
        msg = f"no picture can be written as {path.name!r}; end its name with one of {', '.join(PICTURES)}"
        raise click.UsageError(msg)
    check_parent(path)


def check_parent(path: Path) -> None:
    """Refuse an output in a folder that does not exist, before any work."""
    if not path.parent.is_dir():
        msg = f"the folder {path.parent} does not exist; create it first, or choose another output"
        raise FileError(msg)


def save(figure: "Figure | SubFigure", path: Path, *, dpi: int = 150) -> None:
    """Write a figure, and print its path."""
    save_figure(figure, path, dpi=dpi)
    say(f"wrote {path}")


def opened(file: Path, *needed: str, offline: bool, center: Pixel | None = None) -> xr.Dataset:
    """Open the NetCDF file of an analysis, or analyze a product; frames are read when they are needed.

    A NetCDF file must contain the variables in `needed`. If the star is given, a product is only opened.
    """
    refuse_folder(file)
    if center is not None:
        ds = opened_netcdf(file) if is_netcdf_name(file) else xta.open_exposure(file, chunks={})
        star: xr.Dataset = ds.ta.set_star(*center, source="option --center")
        star.set_close(ds.close)  # a new dataset does not close its file
        return star
    return opened_netcdf(file, *needed) if is_netcdf_name(file) else xta.analyze(file, chunks={}, offline=offline)


def opened_netcdf(file: Path, *needed: str) -> xr.Dataset:
    """Open a NetCDF file of an exposure, lazily; refuse one that cannot be used, with advice for the command line."""
    try:
        with interrupts_wait():
            ds = xr.open_dataset(file, chunks={})
    except damage() as error:
        msg = f"{file} cannot be opened ({error}); give a NetCDF file of xta analyze"
        raise FileError(msg) from error
    msg = ""
    if "klip" in ds.variables:
        msg = f"{file} contains an image of xta klip; give the exposures that it was made from"
    elif "sci" not in ds.variables:
        msg = f"{file} contains no exposure; give a NetCDF file of xta analyze"
    elif not set(needed) <= set(ds.variables):
        what = "the star" if "target_x" in needed else "the acquisition"
        msg = f"{file} does not contain {what}; analyze it first: xta analyze {file} -o NAME.nc"
    if msg:
        ds.close()
        raise ProductError(msg)
    return ds
