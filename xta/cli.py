"""The command ``xta``: each subcommand calls the functions of the same name and prints what they return."""

import json
import logging
import os
import shutil
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click
import xarray as xr

import xta
from xta.errors import FileError, XtaError, XtaWarning, damage
from xta.io.atomic import make_folder, save_figure, whole_file
from xta.io.netcdf import is_netcdf_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

    from xta.acquisition.offset import Centroid
    from xta.archive.fetch import VisitFiles

__all__ = ["main"]

PATH = click.Path(path_type=Path)
FILES = click.argument("files", nargs=-1, required=True, type=PATH)
OFFLINE = click.option("--offline", is_flag=True, help="Do not use the network.")
CENTER = click.option(
    "--center",
    multiple=True,
    metavar="X,Y",
    help="The star's pixel, 0-based, in files that are then not analyzed. Once, or once a file in their order.",
)
CENTROID = click.option(
    "--centroid", default="auto", show_default=True, help="auto, oss, converged, image, or X,Y in the TA readout."
)
CORRECTIONS = click.option("--corrections", default="all", show_default=True, help="all, none, or some of way,filter.")
PICTURES = (".png", ".pdf", ".svg")


Pixel: TypeAlias = tuple[float, float]


def _say(message: str) -> None:
    click.echo(message, err=True)


@contextmanager
def _going_on(failed: list[str], item: str | Path) -> Iterator[None]:
    """Print the error of one of many files, and add its name to those that failed."""
    try:
        yield
    except XtaError as error:
        failed.append(str(item))
        _say(f"Error: {error}")


def _end(failed: Sequence[str], total: int) -> None:
    """Exit with code 1 if a file failed; of many files, list those that did."""
    if failed:
        if total > 1:
            _say(f"Error: {len(failed)} of {total} failed: {', '.join(failed)}")
        raise SystemExit(1)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """End on SIGTERM, which batch systems send, as on Ctrl-C: no temporary file stays behind."""

    def end(number: int, _frame: Any) -> None:
        signal.signal(number, signal.SIG_IGN)  # a second one does not stop the cleaning up
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():  # no other may set a handler
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _show(message: Warning | str, category: type[Warning], *_args: Any, **_kwargs: Any) -> None:
    if issubclass(category, XtaWarning):
        _say(f"Warning: {message}")


class _Group(click.Group):
    """Commands that print an `XtaError` as one line, with exit code 1, and each warning as one line."""

    def invoke(self, ctx: click.Context) -> None:
        with _ended_by_sigterm(), warnings.catch_warnings():
            warnings.simplefilter("always", XtaWarning)
            warnings.showwarning = _show
            try:
                super().invoke(ctx)
            except XtaError as error:
                _say(f"Error: {error}")
                raise SystemExit(1) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(xta.__version__, "-V", "--version", prog_name="xta")
@click.option("-v", "--verbose", is_flag=True, help="Log each step on stderr.")
def main(verbose: bool) -> None:
    """Find the star behind a JWST coronagraph from its target acquisition."""
    if verbose:
        logging.basicConfig(stream=sys.stderr, format="%(name)s: %(message)s")
        logging.getLogger("xta").setLevel(logging.INFO)


def _centroid(text: str) -> "Centroid":
    if text in {"auto", "oss", "converged", "image"}:
        return text
    return _pixel(text, "none of auto, oss, converged, image or X,Y", option="--centroid")


def _corrections(text: str) -> str | list[str]:
    return text if text in {"all", "none"} else text.split(",")


def _pixel(text: str, problem: str, *, option: str) -> Pixel:
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        msg = f"{text!r} is {problem}"
        raise click.BadParameter(msg, param_hint=option) from None
    return x, y


def _centers(texts: Sequence[str], count: int) -> list[Pixel | None]:
    """Read the star's pixel in each of some files: one for all, one for each, or none."""
    pixels = [_pixel(text, "no pixel X,Y, such as 150.0,174.0", option="--center") for text in texts]
    if len(pixels) not in {0, 1, count}:
        msg = f"--center is given {len(pixels)} times for {count} files; give it once, or once for each file"
        raise click.UsageError(msg)
    return [None] * count if not pixels else [*pixels] * (count // len(pixels))


def _outputs(option: Path, files: Sequence[Path], suffix: str, *inputs: Path) -> list[Path]:
    """Name the output of each input: the option itself for one, files in that folder for several."""
    if option.is_dir() or (len(files) > 1 and not option.suffix):
        make_folder(option)
        named = [option / f"{file.name.partition('.')[0]}{suffix}" for file in files]
    elif len(files) > 1:
        msg = f"with {len(files)} files {option} has to be a folder"
        raise click.UsageError(msg)
    else:
        named = [option]
    if is_netcdf_name(suffix) and not all(map(is_netcdf_name, named)):
        msg = f"{named[0].name!r} does not name a NetCDF file: it must end in .nc, or be a folder that exists"
        raise click.UsageError(msg)
    if len(set(named)) < len(named):
        msg = "several FILES have the same name, and so would their results; analyze them one by one"
        raise click.UsageError(msg)
    for path in named:
        if any(path.resolve() == file.resolve() for file in (*files, *inputs)):
            msg = f"{path} is one of the inputs and would be overwritten; choose another output"
            raise click.UsageError(msg)
    return named


def _check_picture(path: Path | None) -> None:
    """Refuse, before any work, a picture of a kind that cannot be written."""
    if path is not None and path.suffix and path.suffix.lower() not in PICTURES:
        msg = f"no picture can be written as {path.name!r}; end its name with one of {', '.join(PICTURES)}"
        raise click.UsageError(msg)


@main.command()
@FILES
@click.option("--ta", multiple=True, type=PATH, help="TA exposure; may be repeated. Default: those beside the file.")
@click.option("--oss", type=PATH, help="Event log of the visit. Default: one beside the file.")
@click.option("--targ-acq", multiple=True, type=PATH, help="TA _uncal product with a TARG_ACQ extension.")
@CENTROID
@CORRECTIONS
@click.option("-o", "--output", type=PATH, help="NetCDF file; with several FILES a folder.")
@click.option("--plot", "picture", type=PATH, help="Picture of acquisition and science frame (.png, .pdf, .svg).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, a list with one object a file.")
@OFFLINE
def analyze(
    files: tuple[Path, ...],
    ta: tuple[Path, ...],
    oss: Path | None,
    targ_acq: tuple[Path, ...],
    centroid: str,
    corrections: str,
    output: Path | None,
    picture: Path | None,
    as_json: bool,
    offline: bool,
) -> None:
    """Find the star behind the mask of each of FILES (_calints or _cal)."""
    from xta import plot, summary

    chosen = _centroid(centroid)
    _check_picture(picture)
    extra = [*ta, *targ_acq, *([oss] if oss else [])]
    outputs = _outputs(output, files, "_ta.nc", *extra) if output else [None] * len(files)
    pictures = _outputs(picture, files, "_ta.png", *extra) if picture else [None] * len(files)
    results: list[dict[str, Any]] = []
    failed: list[str] = []
    for file, netcdf, drawing in zip(files, outputs, pictures, strict=True):
        with _going_on(failed, file):
            ds = xta.analyze(
                file,
                acquisition=list(ta) or None,
                oss=oss,
                targ_acq=list(targ_acq) or None,
                centroid=chosen,
                corrections=_corrections(corrections),
                offline=offline,
            )
            if netcdf is not None:
                xta.to_netcdf(ds, netcdf)
                _say(f"wrote {netcdf}")
            if drawing is not None:
                _save(plot.summary(ds), drawing)
            results.append(summary.as_dict(ds))
            if not as_json:
                click.echo(summary.as_table(ds))
    if as_json:
        click.echo(json.dumps(results, indent=2))
    _end(failed, len(files))


def _save(figure: "Figure | SubFigure", path: Path) -> None:
    save_figure(figure, path)
    _say(f"wrote {path}")


@main.command()
@FILES
@click.option("-o", "--output", type=PATH, required=True, help="NetCDF file; with several FILES a folder.")
@click.option("--method", default="fourier", show_default=True, help="fourier, spline, lanczos or integer.")
@click.option("--size", type=int, help="Width of the result [pixel], odd. Default: that of the input.")
@CENTER
@OFFLINE
def recenter(
    files: tuple[Path, ...], output: Path, method: str, size: int | None, center: tuple[str, ...], offline: bool
) -> None:
    """Put the star of each of FILES on the central pixel, in bounded memory.

    A file is a product (_calints, _cal), which is analyzed first, or the NetCDF of an analysis.
    """
    failed: list[str] = []
    outputs, stars = _outputs(output, files, "_centered.nc"), _centers(center, len(files))
    for file, netcdf, star in zip(files, outputs, stars, strict=True):
        with _going_on(failed, file), _opened(file, offline=offline, center=star) as ds:
            xta.to_netcdf(ds.ta.recenter(method=method, size=size), netcdf, progress=True)
            _say(f"wrote {netcdf}")
    _end(failed, len(files))


def _opened(file: Path, *, offline: bool, center: Pixel | None = None) -> xr.Dataset:
    """Open the NetCDF of an analysis, or analyze a product; frames are read when they are needed.

    Where the star is known, a product is only opened.
    """
    if center is not None:
        ds = _opened_netcdf(file) if is_netcdf_name(file) else xta.open_exposure(file, chunks={})
        star: xr.Dataset = ds.ta.set_star(*center, source="option --center")
        star.set_close(ds.close)  # a new dataset does not know its file
        return star
    return _opened_netcdf(file) if is_netcdf_name(file) else xta.analyze(file, chunks={}, offline=offline)


def _opened_netcdf(file: Path) -> xr.Dataset:
    try:
        return xr.open_dataset(file, chunks={})
    except damage() as error:
        msg = f"{file} cannot be opened ({error}); give a NetCDF file of xta analyze"
        raise FileError(msg) from error


@main.command()
@FILES
@click.option("-o", "--output", type=PATH, required=True, help="Page (.html); with several FILES a folder.")
@OFFLINE
def report(files: tuple[Path, ...], output: Path, offline: bool) -> None:
    """Write a page about each of FILES to attach to an e-mail; of several also an index.

    A file is a product (_calints, _cal), which is analyzed first, or the NetCDF of an analysis.
    """
    if output.suffix.lower() == ".html":
        if len(files) > 1:
            msg = f"with {len(files)} files {output} has to be a folder"
            raise click.UsageError(msg)
        with _opened(files[0], offline=offline) as ds:
            _say(f"wrote {ds.ta.report(output)}")
        return
    if output.suffix and not output.is_dir():
        msg = f"{output.name!r} is neither a page, which ends with .html, nor a folder"
        raise click.UsageError(msg)
    failed: list[str] = []
    written = xta.report.index(_each(files, failed, offline=offline), output)
    _say(f"wrote {written}")
    _end(failed, len(files))


def _each(files: Sequence[Path], failed: list[str], *, offline: bool) -> Iterator[xr.Dataset]:
    """Open files one at a time, those that can be used."""
    for file in files:
        with _going_on(failed, file), _opened(file, offline=offline) as ds:
            yield ds


@main.command()
@click.argument("science", nargs=-1, required=True, type=PATH)
@click.option("-r", "--reference", multiple=True, type=PATH, help="Exposure of a reference star; may be repeated.")
@click.option("--numbasis", help="Numbers of components, such as 1,5,10.  [default: those of 1, 5, 10 that fit]")
@click.option("--annuli", type=int, default=1, show_default=True)
@click.option("--subsections", type=int, default=1, show_default=True)
@click.option("--mode", type=click.Choice(["ADI", "RDI", "ADI+RDI"]), help="Default: from what is given.")
@click.option("-o", "--output", type=PATH, required=True, help="NetCDF file.")
@click.option("--plot", "picture", type=PATH, help="Picture of the result (.png, .pdf, .svg).")
@CENTER
@OFFLINE
def klip(
    science: tuple[Path, ...],
    reference: tuple[Path, ...],
    numbasis: str | None,
    annuli: int,
    subsections: int,
    mode: str | None,
    output: Path,
    picture: Path | None,
    center: tuple[str, ...],
    offline: bool,
) -> None:
    """Subtract the star's PSF from SCIENCE, one or more exposures, with pyKLIP.

    Files are products (_calints), which are analyzed first, or the NetCDF of an analysis or of a recentered cube. With
    --center once a file, it is in the order of SCIENCE and then of the references.
    """
    from xta import plot, psfsub

    _check_picture(picture)
    _outputs(output, science[:1], "_klip.nc", *science, *reference)
    files = *science, *reference
    with ExitStack() as stack:
        exposures = [
            stack.enter_context(_opened(file, offline=offline, center=star))
            for file, star in zip(files, _centers(center, len(files)), strict=True)
        ]
        ds = psfsub.klip(
            exposures[: len(science)],
            reference=exposures[len(science) :] or None,
            numbasis=_numbers(numbasis),
            annuli=annuli,
            subsections=subsections,
            mode=mode,
        )
    xta.to_netcdf(ds, output)
    _say(f"wrote {output}")
    if picture is not None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5, 4.6), layout="constrained")
        plot.klip(ds, ax=figure.subplots())
        _save(figure, picture)
    for number in ds["numbasis"].values:
        best = float(ds["noise"].sel(numbasis=number).min())
        click.echo(f"{int(number):4d} components: residual noise down to {best:.4g} {ds['klip'].attrs['units']}")


def _numbers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        msg = f"{text!r} is no list of whole numbers, such as 1,5,10"
        raise click.BadParameter(msg, param_hint="--numbasis") from None


@main.command()
@click.argument("items", nargs=-1, required=True, metavar="VISIT|FILE...")
@click.option("--product", default="cal", show_default=True, help="cal, rate, rateints or uncal.")
@click.option("--log", is_flag=True, help="Fetch the event logs of the visits as well.")
@click.option("-o", "--output", type=PATH, help="Folder to copy the files to; the cache keeps its own.")
def fetch(items: tuple[str, ...], product: str, log: bool, output: Path | None) -> None:
    """Fetch the TA products of visits (V01386001001, 1386:1:1, 1386:1), or single products by name."""
    from xta import archive

    failed: list[str] = []
    for item, result in archive.fetch_many(items, kind=product, log=log, progress=True).items():
        if isinstance(result, XtaError):
            failed.append(item)
            _say(f"Error: {item}: {result}")
            continue
        for path in _fetched(result, output):
            click.echo(path)
    _end(failed, len(items))


def _fetched(result: "VisitFiles | Path", output: Path | None) -> list[Path]:
    """Name what was fetched, copied to a folder if one is given."""
    files = [result] if isinstance(result, Path) else list(result.files)
    if output is None:
        return files
    make_folder(output)
    for file in files:
        with whole_file(output / file.name) as temporary:
            shutil.copy(file, temporary)  # with its mode: exclusive data stay private
    copies = [output / file.name for file in files]
    if not isinstance(result, Path) and result.log is not None:
        copies.append(output / f"{result.visit}_osslog.csv")
        with whole_file(copies[-1]) as temporary:
            temporary.write_text(result.log)
    return copies


@main.command()
@click.argument("paths", nargs=-1, required=True, type=PATH)
@click.option("-o", "--output", type=PATH, required=True, help="Table to write: .nc or .ecsv.")
@click.option("--workers", type=click.IntRange(min=1), help="Number of processes. Default: one a CPU.")
@click.option(
    "--per", type=click.Choice(["visit", "exposure"]), default="visit", show_default=True, help="What a row is of."
)
@CENTROID
@CORRECTIONS
@click.option("--estimates/--no-estimates", default=True, show_default=True, help="Independent estimates of the star.")
@click.option("--resume/--no-resume", default=True, show_default=True, help="Keep rows in OUTPUT.rows.jsonl; go on.")
@OFFLINE
def survey(
    paths: tuple[Path, ...],
    output: Path,
    workers: int | None,
    per: str,
    centroid: str,
    corrections: str,
    estimates: bool,
    resume: bool,
    offline: bool,
) -> None:
    """Analyze every visit of PATHS, files and folders, into a table with one row per visit or exposure."""
    from xta import surveys

    if not is_netcdf_name(output) and output.suffix != ".ecsv":
        msg = f"{output.name} is neither .nc nor .ecsv"
        raise click.BadParameter(msg, param_hint="--output")
    _outputs(output, paths[:1], "", *paths)
    make_folder(output.parent)
    rows = output.with_name(f"{output.name}.rows.jsonl") if resume else None
    options: dict[str, Any] = {"workers": workers, "estimates": estimates, "resume": rows, "offline": offline}
    options |= {"centroid": _centroid(centroid), "corrections": _corrections(corrections)}
    ds = xta.survey(paths, per=per, progress=True, **options)
    (xta.to_netcdf if is_netcdf_name(output) else xta.to_ecsv)(ds, output)
    _say(f"wrote {output}")
    failed = ds["ok"].values == 0
    for label, visit, reason in zip(*(ds[name].values[failed] for name in (per, "visit", "reason")), strict=True):
        _say(f"{label or visit}: {reason}")
    click.echo(surveys.counts(ds))
    if failed.all():
        raise SystemExit(1)


@main.command()
@click.argument("paths", nargs=-1, required=True, type=PATH)
@click.option("-r", "--reference", multiple=True, help="Name of a target that is a reference; may be repeated.")
def program(paths: tuple[Path, ...], reference: tuple[str, ...]) -> None:
    """List the exposures in PATHS, files and folders, by filter and role, and what is left out."""
    tree = xta.open_program(paths, reference=reference)
    click.echo(tree.ta)
    tree.close()


@main.group()
def cache() -> None:
    """See or empty the folder in which fetched files are kept."""


@cache.command("list")
def cache_list() -> None:
    """List what is kept, with sizes."""
    from xta.archive import cache as kept

    items = kept.report()
    for item in items:
        click.echo(f"{item.size / 1e6:10.3f} MB  {item.name}{'  (partial)' if item.partial else ''}")
    click.echo(f"{sum(item.size for item in items) / 1e6:10.3f} MB  in {kept.root()}")


@cache.command("clear")
@click.argument("matching", default="")
def cache_clear(matching: str) -> None:
    """Remove what is kept; with MATCHING only what has that text in its name."""
    from xta.archive import cache as kept

    _say(f"freed {kept.clear(matching) / 1e6:.3f} MB")


@main.command()
@click.option("-o", "--output", type=PATH, default=Path("xta-demo"), show_default=True, help="Folder to make.")
@click.option("--mode", type=click.Choice(["nircam", "miri"]), default="nircam", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed makes other data.")
def demo(output: Path, mode: str, seed: int) -> None:
    """Make a sample program, analyze it, and compare with the truth. Needs no network."""
    from xta.demo import run

    run(output, mode=mode, seed=seed, say=_say, show=click.echo)
    _say(f"everything is in {os.fspath(output)}")
