"""The command ``xta fetch``: visits, products by name, and whole programs."""

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xta.cli import common
from xta.errors import XtaError, counted
from xta.io.atomic import make_folder, whole_file

if TYPE_CHECKING:
    from xta.archive.fetch import VisitFiles
    from xta.archive.mast import Product

__all__ = ["fetch"]

FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.argument("items", nargs=-1, required=True, metavar="PROGRAM|VISIT|FILE...")
@click.option("--obs", "observations", help="Only these observations of programs, such as 1-3,7.")
@click.option("--filter", "filters", multiple=True, help="Only this filter of programs; may be repeated.")
@click.option(
    *("--products", "--product", "kind"),
    type=click.Choice(["calints", "cal", "rateints", "rate", "uncal"]),
    help="Default: calints for science, cal for acquisitions.",
)
@click.option("--log", is_flag=True, help="Download the event logs of the visits as well.")
@click.option("--list", "--dry-run", "only_list", is_flag=True, help="Only list the files, with sizes.")
@click.option("-o", "--output", type=FOLDER, help="Folder to copy the files to; the cache keeps its own copies.")
def fetch(
    items: tuple[str, ...],
    observations: str | None,
    filters: tuple[str, ...],
    kind: str | None,
    log: bool,
    only_list: bool,
    output: Path | None,
) -> None:
    """Download the coronagraphic exposures and acquisitions of programs, TA products of visits, or products by name.

    A program is a number such as 1386. A visit is V01386001001, 1386:1:1 or 1386:1. The folder of --output can be used
    with "xta program", "xta klip" and "xta survey". After an interruption the same command resumes the download.
    """
    from xta.archive.program import is_program

    programs = [item for item in items if is_program(item)]
    if not programs and (observations or filters):
        msg = f"--obs and --filter need a program, such as 1386, but there is none in {', '.join(items)}"
        raise click.UsageError(msg)
    others = [item for item in items if item not in programs]
    failed = common.Failures()
    chosen = {"observations": observations, "filters": filters}
    if only_list:
        _list(programs, others, failed, kind=kind, **chosen)
        common.end(failed, len(items))
        return
    count = _programs(programs, failed, output, log=log, kind=kind or "calints", **chosen)
    _others(others, failed, output, log=log, kind=kind or "cal")
    common.end(failed, count + len(others))


def _programs(programs: Iterable[str], failed: common.Failures, output: Path | None, **options: Any) -> int:
    """Fetch programs and print the paths; return the number of files, and of programs without any."""
    from xta import archive

    count = 0
    for program in programs:
        files: dict[str, Any] = {}
        with common.going_on(failed, program):
            files = archive.fetch_program(program, output, progress=sys.stderr.isatty(), **options)
        _say_errors(files, failed)
        for path in files.values():
            if isinstance(path, Path):
                click.echo(path)
        count += max(len(files), 1)
    return count


def _others(items: Sequence[str], failed: common.Failures, output: Path | None, **options: Any) -> None:
    """Fetch visits and single products; print the paths."""
    from xta import archive

    results = archive.fetch_many(items, progress=sys.stderr.isatty(), **options) if items else {}
    _say_errors(results, failed)
    for result in results.values():
        if not isinstance(result, XtaError):
            for path in _copied(result, output):
                click.echo(path)


def _say_errors(results: dict[str, Any], failed: common.Failures) -> None:
    for name, result in results.items():
        if isinstance(result, XtaError):
            failed.add(name, result, before=f"{name}: ")


def _copied(result: "VisitFiles | Path", output: Path | None) -> list[Path]:
    """Return the names of the fetched files, copied to a folder if one is given."""
    from xta.archive.fetch import copied

    files = [result] if isinstance(result, Path) else list(result.files)
    if output is None:
        return files
    make_folder(output)
    copies = [copied(file, output) for file in files]
    if not isinstance(result, Path) and result.log is not None:
        copies.append(output / f"{result.visit}_osslog.csv")
        with whole_file(copies[-1]) as temporary:
            temporary.write_text(result.log)
    return copies


def _list(
    programs: Iterable[str], visits: Iterable[str], failed: common.Failures, *, kind: str | None, **chosen: Any
) -> None:
    """Print the files of programs and visits in the archive, with their sizes."""
    from xta import archive

    products: list[Product] = []
    for program in programs:
        with common.going_on(failed, program):
            products += archive.program_products(program, kind=kind or "calints", **chosen)
    for visit in visits:
        with common.going_on(failed, visit):
            products += archive.ta_products(visit, kind=kind or "cal")
    now = datetime.now(UTC)
    for product in products:
        size = "       ? MB" if product.size is None else f"{product.size / 1e6:8.1f} MB"
        exclusive = f"  exclusive until {product.public:%Y-%m-%d}" if product.public and product.public > now else ""
        what = f"{product.role:<12}{product.filter:<8}{product.target:<20}"
        click.echo(f"{what}{size}  {product.filename}{exclusive}")
    unknown = sum(product.size is None for product in products)
    total = sum(product.size or 0 for product in products)
    left = f", and {unknown} whose size is not listed" if unknown else ""
    click.echo(f"{counted(len(products), 'file')}, {total / 1e9:.3f} GB{left}")
