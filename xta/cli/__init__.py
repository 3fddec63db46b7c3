"""The command ``xta``: each subcommand calls the functions of the same name and prints what they return."""

import json
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import xarray as xr

import xta
from xta.cli import common
from xta.cli.common import CENTER, CENTROID, CORRECTIONS, DPI, FILES, OFFLINE, PATH, PATHS, REFERENCE, say
from xta.cli.fetching import fetch
from xta.cli.subtraction import klip
from xta.errors import XtaError, XtaWarning, readable
from xta.images.shift import METHODS
from xta.io.atomic import make_folder
from xta.io.netcdf import is_netcdf_name

if TYPE_CHECKING:
    from xta.acquisition.offset import Centroid

__all__ = ["main"]


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """End on SIGTERM, which batch systems send, like on Ctrl-C, so that no temporary file is left behind."""

    def end(number: int, _frame: Any) -> None:
        signal.signal(number, signal.SIG_IGN)  # a second one does not stop the cleaning up
        raise SystemExit(128 + number)

    def repeat(lost: Any) -> None:
        """Repeat an interrupt that came in a callback of the garbage collector, where Python only prints it."""
        if not isinstance(lost.exc_value, KeyboardInterrupt | SystemExit):
            hook(lost)
            return
        number = signal.SIGINT if isinstance(lost.exc_value, KeyboardInterrupt) else signal.SIGTERM
        if number == signal.SIGTERM:
            signal.signal(number, end)
        threading.Timer(0.05, os.kill, (os.getpid(), number)).start()  # after the callbacks that wait

    if threading.current_thread() is not threading.main_thread():  # no other may set a handler
        yield
        return
    before, hook = signal.signal(signal.SIGTERM, end), sys.unraisablehook
    sys.unraisablehook = repeat
    try:
        yield
    finally:
        sys.unraisablehook = hook
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _show(message: Warning | str, category: type[Warning], *_args: Any, **_kwargs: Any) -> None:
    if issubclass(category, XtaWarning):
        say(f"Warning: {message}")


def _end_threads() -> None:
    """End the threads of dask: Python would wait forever for one of them whose start was interrupted."""
    dask: Any = sys.modules.get("dask.threaded")
    if dask is not None and dask.default_pool is not None:
        dask.default_pool.shutdown(wait=False, cancel_futures=True)
        dask.default_pool = None


class _Group(click.Group):
    """Commands that print an `XtaError` as one line, with exit code 1, and each warning as one line."""

    def invoke(self, ctx: click.Context) -> None:
        with _ended_by_sigterm(), warnings.catch_warnings():
            warnings.simplefilter("always", XtaWarning)
            warnings.showwarning = _show
            try:
                with readable():
                    super().invoke(ctx)
            except XtaError as error:
                say(f"Error: {error}")
                raise SystemExit(1) from error
            except (KeyboardInterrupt, SystemExit):
                _end_threads()
                raise


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(xta.__version__, "-V", "--version", prog_name="xta")
@click.option("-v", "--verbose", is_flag=True, help="Log each step on stderr.")
def main(verbose: bool) -> None:
    """Find the star behind a JWST coronagraph from its target acquisition."""
    if verbose:
        logging.basicConfig(stream=sys.stderr, format="%(name)s: %(message)s")
        logging.getLogger("xta").setLevel(logging.INFO)


@main.command()
@FILES
@click.option("--ta", multiple=True, type=PATH, help="TA exposure; may be repeated. Default: those beside the file.")
@click.option("--oss", type=PATH, help="Event log of the visit. Default: one beside the file.")
@click.option("--targ-acq", multiple=True, type=PATH, help="TA _uncal product with a TARG_ACQ extension.")
@CENTROID
@CORRECTIONS
@click.option("-o", "--output", type=PATH, help="NetCDF file; for several FILES, a folder.")
@click.option("--plot", "picture", type=PATH, help="Figure of acquisition and science frame (.png, .pdf, .svg).")
@DPI
@click.option("--json", "as_json", is_flag=True, help="Print JSON, a list with one object per file.")
@OFFLINE
def analyze(
    files: tuple[Path, ...],
    ta: tuple[Path, ...],
    oss: Path | None,
    targ_acq: tuple[Path, ...],
    centroid: "Centroid",
    corrections: tuple[str, ...],
    output: Path | None,
    picture: Path | None,
    dpi: int,
    as_json: bool,
    offline: bool,
) -> None:
    """Find the star behind the mask in each of FILES: products (_calints or _cal), or NetCDF files of an analysis."""
    from xta import plot, summary

    common.check_picture(picture)
    extra = [*ta, *targ_acq, *([oss] if oss else [])]
    common.check_inputs(extra)
    found = {"acquisition": list(ta) or None, "oss": oss, "targ_acq": list(targ_acq) or None, "offline": offline}
    outputs = common.outputs(output, files, "_ta.nc", *extra) if output else [None] * len(files)
    pictures = common.outputs(picture, files, "_ta.png", *extra) if picture else [None] * len(files)
    results: list[dict[str, Any]] = []
    failed = common.Failures()
    for file, netcdf, drawing in zip(files, outputs, pictures, strict=True):
        with common.going_on(failed, file):
            ds = _analyzed(file, found, centroid=centroid, corrections=corrections)
            if netcdf is not None:
                xta.to_netcdf(ds, netcdf)
                say(f"wrote {netcdf}")
            if drawing is not None:
                common.save(plot.summary(ds), drawing, dpi=dpi)
            results.append(summary.as_dict(ds))
            if not as_json:
                click.echo(summary.as_table(ds))
    if as_json:
        click.echo(json.dumps(results, indent=2))
    common.end(failed, len(files))


def _analyzed(file: Path, found: dict[str, Any], **how: Any) -> xr.Dataset:
    """Analyze a product, or the exposure in a NetCDF file again, with the acquisition in that file."""
    if file.is_dir() or not is_netcdf_name(file):
        common.refuse_folder(file)
        return xta.analyze(file, **found, **how)
    with common.opened_netcdf(file) as ds:
        given = any(found[name] is not None for name in ("acquisition", "oss", "targ_acq"))
        attached = ds.ta.attach(**found) if given or "ta_wcs" not in ds.variables else ds
        again: xr.Dataset = attached.ta.compute_offset(centroid=how["centroid"])
        again = again.ta.adjust_wcs(corrections=how["corrections"])
        return again.load()


REPORTED = ("ta_sci",)
"""Variables that a NetCDF file must contain for a page."""


def _odd(_ctx: click.Context, _parameter: click.Parameter, number: int | None) -> int | None:
    if number is not None and number % 2 == 0:
        msg = f"{number} has no central pixel; give an odd number"
        raise click.BadParameter(msg)
    return number


@main.command()
@FILES
@click.option("-o", "--output", type=PATH, required=True, help="NetCDF file; for several FILES, a folder.")
@click.option("--method", type=click.Choice(METHODS), default=METHODS[0], show_default=True)
@click.option(
    "--size",
    type=click.IntRange(1),
    callback=_odd,
    help="Width of the result [pixel], odd. Default: that of the input.",
)
@CENTER
@OFFLINE
def recenter(
    files: tuple[Path, ...], output: Path, method: str, size: int | None, center: tuple[str, ...], offline: bool
) -> None:
    """Put the star in each of FILES on the central pixel, in bounded memory.

    A file is a product (_calints, _cal), which is analyzed first, or the NetCDF file of an analysis.
    """
    failed = common.Failures()
    outputs, stars = common.outputs(output, files, "_centered.nc"), common.centers(center, len(files))
    for file, netcdf, star in zip(files, outputs, stars, strict=True):
        with common.going_on(failed, file), common.opened(file, "target_x", offline=offline, center=star) as ds:
            xta.to_netcdf(ds.ta.recenter(method=method, size=size), netcdf, progress=sys.stderr.isatty())
            say(f"wrote {netcdf}")
    common.end(failed, len(files))


@main.command()
@FILES
@click.option("-o", "--output", type=PATH, required=True, help="Page (.html); for several FILES, a folder.")
@OFFLINE
def report(files: tuple[Path, ...], output: Path, offline: bool) -> None:
    """Write a page about each of FILES to attach to an e-mail; for several files, also an index.

    A file is a product (_calints, _cal), which is analyzed first, or the NetCDF file of an analysis.
    """
    if output.suffix.lower() == ".html":
        if len(files) > 1:
            msg = f"with {len(files)} files, {output} must be a folder"
            raise click.UsageError(msg)
        common.outputs(output, files, ".html")
        with common.opened(files[0], *REPORTED, offline=offline) as ds:
            say(f"wrote {ds.ta.report(output)}")
        return
    if output.suffix and not output.is_dir():
        msg = f"{output.name!r} is neither a page, which must end in .html, nor a folder"
        raise click.UsageError(msg)
    failed = common.Failures()
    written = xta.report.index(_each(files, failed, offline=offline), output)
    say(f"wrote {written}")
    common.end(failed, len(files))


def _each(files: Sequence[Path], failed: common.Failures, *, offline: bool) -> Iterator[xr.Dataset]:
    """Open the files that can be used, one at a time."""
    for file in files:
        with common.going_on(failed, file), common.opened(file, *REPORTED, offline=offline) as ds:
            yield ds
    if len(failed) == len(files):
        common.end(failed, len(files))


@main.command()
@PATHS
@click.option("-o", "--output", type=PATH, required=True, help="Table to write: .nc or .ecsv.")
@click.option("--workers", type=click.IntRange(min=1), help="Number of processes. Default: one per CPU.")
@click.option(
    "--per",
    type=click.Choice(["visit", "exposure"]),
    default="visit",
    show_default=True,
    help="Make one row per visit or per exposure.",
)
@CENTROID
@CORRECTIONS
@click.option("--estimates/--no-estimates", default=True, show_default=True, help="Independent estimates of the star.")
@click.option(
    "--resume/--no-resume", default=True, show_default=True, help="Save rows in OUTPUT.rows.jsonl, and resume."
)
@OFFLINE
def survey(
    paths: tuple[Path, ...],
    output: Path,
    workers: int | None,
    per: str,
    centroid: "Centroid",
    corrections: tuple[str, ...],
    estimates: bool,
    resume: bool,
    offline: bool,
) -> None:
    """Analyze every visit in PATHS (files and folders), and write a table with one row per visit or exposure."""
    from xta import surveys

    if not is_netcdf_name(output) and output.suffix != ".ecsv":
        msg = f"{output.name} is neither .nc nor .ecsv"
        raise click.BadParameter(msg, param_hint="--output")
    common.outputs(output, paths[:1], "", *paths)
    make_folder(output.parent)
    rows = output.with_name(f"{output.name}.rows.jsonl") if resume else None
    options: dict[str, Any] = {"workers": workers, "estimates": estimates, "resume": rows, "offline": offline}
    options |= {"centroid": centroid, "corrections": corrections}
    ds = xta.survey(paths, per=per, progress=sys.stderr.isatty(), **options)
    (xta.to_netcdf if is_netcdf_name(output) else xta.to_ecsv)(ds, output)
    say(f"wrote {output}")
    failed = ds["ok"].values == 0
    for label, visit, reason in zip(*(ds[name].values[failed] for name in (per, "visit", "reason")), strict=True):
        say(f"{label or visit}: {reason}")
    click.echo(surveys.counts(ds))
    if failed.all():
        raise SystemExit(1)


@main.command()
@PATHS
@REFERENCE
def program(paths: tuple[Path, ...], reference: tuple[str, ...]) -> None:
    """List the exposures in PATHS (files and folders) by filter and role, and the files that are left out."""
    tree = xta.open_program(paths, reference=reference)
    click.echo(tree.ta)
    tree.close()


@main.command()
@PATHS
@REFERENCE
@CENTROID
@CORRECTIONS
@click.option("-o", "--output", type=PATH, help="NetCDF file of the program with the joint stars.")
@click.option("--plot", "picture", type=PATH, help="Figure of all stars (.png, .pdf, .svg).")
@DPI
@click.option("--json", "as_json", is_flag=True, help="Print JSON: the stars and the observations.")
@OFFLINE
def solve(
    paths: tuple[Path, ...],
    reference: tuple[str, ...],
    centroid: "Centroid",
    corrections: tuple[str, ...],
    output: Path | None,
    picture: Path | None,
    dpi: int,
    as_json: bool,
    offline: bool,
) -> None:
    """Find the stars of all exposures in PATHS together, from their acquisitions and their speckles."""
    from xta import plot, summary

    how: dict[str, Any] = {"centroid": centroid, "corrections": corrections}
    common.check_picture(picture)
    if output is not None:
        common.outputs(output, paths[:1], "_joint.nc", *paths)
    with xta.open_program(paths, reference=reference) as opened:
        common.step("finding the stars")
        analyzed = opened.ta.analyze(offline=offline, **how)
        common.step("registering the exposures, and solving for all stars together")
        tree = analyzed.ta.solve()
        click.echo(json.dumps(summary.solution_as_dict(tree), indent=2) if as_json else summary.as_solution(tree))
        if output is not None:
            xta.to_netcdf(tree, output)
            say(f"wrote {output}")
        if picture is not None:
            common.save(plot.joint(tree)[0].figure, picture, dpi=dpi)


@main.group()
def cache() -> None:
    """Show or empty the folder in which downloaded files are cached."""


@cache.command("list")
def cache_list() -> None:
    """List the cached files with their sizes."""
    from xta.archive import cache as kept

    items = kept.report()
    for item in items:
        click.echo(f"{item.size / 1e6:10.3f} MB  {item.name}{'  (partial)' if item.partial else ''}")
    click.echo(f"{sum(item.size for item in items) / 1e6:10.3f} MB  in {kept.root()}")


@cache.command("clear")
@click.argument("matching", default="")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def cache_clear(matching: str, yes: bool) -> None:
    """Remove the cached files, after a question on a terminal; with MATCHING only those with that text in the name."""
    from xta.archive import cache as kept

    if not yes and sys.stdin.isatty():
        what = f"files with {matching!r} in the name" if matching else "everything"
        click.confirm(f"Remove {what} from {kept.root()}?", abort=True, err=True)
    say(f"freed {kept.clear(matching) / 1e6:.3f} MB")


@main.command()
@click.option("-o", "--output", type=PATH, default=Path("xta-demo"), show_default=True, help="Folder to create.")
@click.option("--mode", type=click.Choice(["nircam", "miri"]), default="nircam", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random data.")
def demo(output: Path, mode: str, seed: int) -> None:
    """Make a sample program, analyze it, and compare the results with the truth. No network is needed."""
    from xta.demo import run

    run(output, mode=mode, seed=seed, say=common.step, show=click.echo)
    say(f"everything is in {os.fspath(output)}")


main.add_command(fetch)
main.add_command(klip)
