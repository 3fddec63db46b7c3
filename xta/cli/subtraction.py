"""Define the command ``xta klip`` for files, or for the folder of a program."""

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import xarray as xr

import xta
from xta.cli.common import (
    CENTER,
    DPI,
    OFFLINE,
    PATH,
    Pixel,
    centers,
    check_inputs,
    check_parent,
    check_picture,
    opened,
    outputs,
    save,
    say,
    step,
)
from xta.io.atomic import make_folder
from xta.io.netcdf import is_netcdf_name

__all__ = ["klip"]


def _pair(names: str) -> Callable[[click.Context, click.Parameter, tuple[str, ...]], list[Pixel]]:
    """Make a function that reads an option of two numbers."""

    def read(_ctx: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> list[Pixel]:
        try:
            pairs = [tuple(float(part) for part in text.split(",")) for text in texts]
        except ValueError:
            pairs = [()]
        if any(len(pair) != 2 for pair in pairs):
            msg = f"{' '.join(texts)!r} is not a valid {names}; write it like 0.95,229.3"
            raise click.BadParameter(msg)
        return [(pair[0], pair[1]) for pair in pairs]

    return read


def _numbers(_ctx: click.Context, _parameter: click.Parameter, text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        msg = f"{text!r} is not a list of whole numbers from 1; write it like 1,5,10"
        raise click.BadParameter(msg)
    return numbers


@click.command()
@click.argument("science", nargs=-1, required=True, type=PATH)
@click.option("-r", "--reference", multiple=True, type=PATH, help="Exposure of a reference star; may be repeated.")
@click.option("--filter", "filters", multiple=True, help="Only this filter of a folder; may be repeated.")
@click.option(
    "--background/--no-background", default=None, help="Subtract the background of a folder. Default: if there is one."
)
@click.option("--coadd", is_flag=True, help="Average the integrations of each exposure of a folder first.")
@click.option(
    "--numbasis",
    callback=_numbers,
    help="Numbers of components, such as 1,5,10.  [default: those of 1, 5, 10 that fit]",
)
@click.option("--annuli", type=click.IntRange(1), default=1, show_default=True)
@click.option("--subsections", type=click.IntRange(1), default=1, show_default=True)
@click.option("--mode", type=click.Choice(["ADI", "RDI", "ADI+RDI"]), help="Default: by the exposures.")
@click.option("--closest", type=click.IntRange(1), help="Model each exposure by this many of the most similar frames.")
@click.option("-o", "--output", type=PATH, required=True, help="NetCDF file; for several filters, a folder.")
@click.option(
    "--plot",
    "picture",
    type=PATH,
    help="Figure of the result (.png, .pdf, .svg) with all filters, or a folder for one figure per filter.",
)
@click.option("--fov", type=click.FloatRange(0, min_open=True), help="Side of the field in the figure [arcsec].")
@click.option(
    "--mark",
    multiple=True,
    callback=_pair("SEP,PA"),
    metavar="SEP,PA",
    help="Circle a place [arcsec, deg]; may be repeated.",
)
@DPI
@CENTER
@OFFLINE
def klip(
    science: tuple[Path, ...],
    reference: tuple[Path, ...],
    filters: tuple[str, ...],
    background: bool | None,
    coadd: bool,
    output: Path,
    picture: Path | None,
    fov: float | None,
    mark: list[Pixel],
    dpi: int,
    center: tuple[str, ...],
    offline: bool,
    **options: Any,
) -> None:
    """Subtract the star's PSF from SCIENCE, one or more exposures or folders of a program, with pyKLIP.

    Files are products (_calints), which are analyzed first, or the NetCDF files of an analysis or of a recentered cube.
    If --center is given once per file, the order is that of SCIENCE and then of the references.

    In folders the exposures are sorted by filter and role, see "xta program"; the result is one image per filter. With
    --reference NAME the exposures of that target are references, even if their headers do not mark them.
    """
    check_picture(picture)
    if is_netcdf_name(output):
        check_parent(output)
    options["progress"] = sys.stderr.isatty()
    if any(path.is_dir() for path in science):
        if center:
            msg = "--center needs files, but SCIENCE is a folder"
            raise click.UsageError(msg)
        names = [str(name) for name in reference]
        images = _program(
            science, names, filters, output, background=background, coadd=coadd, offline=offline, **options
        )
    else:
        if filters or coadd or background is not None:
            msg = "--filter, --background and --coadd need a folder, but SCIENCE are files"
            raise click.UsageError(msg)
        check_inputs([*science, *reference])
        outputs(output, science[:1], "_klip.nc", *science, *reference)
        images = {"": _files(science, reference, center, offline=offline, **options)}
    for band, ds in images.items():
        _write(ds, _named(output, band, ".nc"))
        if picture is not None and not picture.suffix:
            _draw([ds], _named(picture, band, ".png"), fov=fov, mark=mark, dpi=dpi)
        for number in ds["numbasis"].values:
            best = float(ds["noise"].sel(numbasis=number).min())
            what = "component: " if number == 1 else "components:"
            unit = ds["klip"].attrs.get("units", "")
            click.echo(f"{band:<8}{int(number):4d} {what} residual noise down to {best:.4g} {unit}")
    if picture is not None and picture.suffix:
        _draw(list(images.values()), picture, fov=fov, mark=mark, dpi=dpi)


def _files(
    science: Sequence[Path], reference: Sequence[Path], center: Sequence[str], *, offline: bool, **options: Any
) -> xr.Dataset:
    """Subtract the star from files."""
    files = *science, *reference
    with ExitStack() as stack:
        exposures = [
            stack.enter_context(opened(file, "target_x", offline=offline, center=star))
            for file, star in zip(files, centers(center, len(files)), strict=True)
        ]
        return xta.klip(exposures[: len(science)], reference=exposures[len(science) :] or None, **options)


def _program(
    folders: Sequence[Path],
    reference: Sequence[str],
    filters: Sequence[str],
    output: Path,
    *,
    background: bool | None,
    coadd: bool,
    offline: bool,
    **options: Any,
) -> dict[str, xr.Dataset]:
    """Subtract the star in each filter of a program."""
    tree = xta.open_program(folders, reference=reference)
    bands = [name for name, node in tree.children.items() if "science" in node.children]
    unknown = [name for name in filters if name not in bands]
    if unknown or not bands:
        wanted = f"{unknown[0]} is not one of them" if unknown else "open other folders"
        msg = f"the filters with science exposures are {', '.join(bands) or 'none'}; {wanted}"
        raise click.UsageError(msg)
    bands = [name for name in bands if name in (filters or bands)]
    if len(bands) > 1 and is_netcdf_name(output):
        msg = f"{', '.join(bands)} give several images; --output must be a folder, or choose one with --filter"
        raise click.UsageError(msg)
    step(f"finding the star in {', '.join(bands)}")
    tree = tree.ta.analyze(offline=offline)
    fields = [name for name in bands if "background" in tree[name].children]
    images = {}
    for band in bands:
        node = tree[band]
        if background or (background is None and band in fields):
            step(f"{band}: subtracting the background")
            node = node.ta.subtract_background()
        step(f"{band}: subtracting the star")
        images[band] = (node.ta.coadd() if coadd else node).ta.klip(**options)
    return images


def _named(path: Path, band: str, ending: str) -> Path:
    """Return the output file of a filter: the path itself, or a file in it if it is a folder."""
    if not band or path.suffix:
        return path
    make_folder(path)
    return path / f"{band}_klip{ending}"


def _write(ds: xr.Dataset, path: Path) -> None:
    xta.to_netcdf(ds, path)
    say(f"wrote {path}")


def _draw(images: Sequence[xr.Dataset], path: Path, *, fov: float | None, mark: Sequence[Pixel], dpi: int) -> None:
    from matplotlib.figure import Figure

    from xta import plot

    figure = Figure(figsize=(5 * len(images), 4.6), layout="constrained")
    plot.klip(images, ax=figure.subplots(1, len(images)), fov=fov, mark=mark)
    save(figure, path, dpi=dpi)
