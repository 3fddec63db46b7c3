"""What ``xta demo`` does: every step of the package on a sample programme whose truth is known."""

import math
from collections.abc import Callable
from pathlib import Path

import xarray as xr

from xta import datasets, plot, results
from xta.analysis import analyze
from xta.errors import FileError, XtaError
from xta.netcdf import to_netcdf, whole_file

__all__ = ["run"]

STAR_ERROR = 1e-4  # [pixel] what a star position may be off on the sample programme


def run(
    folder: Path, *, mode: str = "nircam", seed: int = 0, say: Callable[[str], None], show: Callable[[str], None]
) -> None:
    """Make a sample programme, analyse it and compare it with the truth.

    Parameters
    ----------
    folder : pathlib.Path
        Where data, results and pictures go; made if it is not there.
    mode : "nircam" or "miri"
    seed : int
    say, show : callable
        Take progress and results as lines of text.

    Raises
    ------
    FileError
        If the folder cannot be written.
    XtaError
        If a star is farther than 1e-4 px from the truth.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"cannot make the folder {folder}: {error}; choose another with -o"
        raise FileError(msg) from error
    say(f"making a sample programme ({mode}): two rolls and a reference star, each with its acquisition and event log")
    program = datasets.make_program(folder / "data", mode=mode, seed=seed)
    files = [*program.science, *program.reference]
    say("finding the star behind the mask in each exposure")
    exposures = [analyze(file) for file in files]
    show(results.as_table(exposures[0]))
    _compare(exposures, program.truth, show)
    for file, ds in zip(files, exposures, strict=True):
        to_netcdf(ds, folder / f"{file.stem}_ta.nc")
        with whole_file(folder / f"{file.stem}_ta.png") as path:
            plot.summary(ds).savefig(path, dpi=120)


def _compare(exposures: list[xr.Dataset], truth: xr.Dataset, show: Callable[[str], None]) -> None:
    """Print the star of each exposure beside the truth."""
    show(f"\n{'star behind the mask [px]':<52}{'x':>12}{'y':>12}{'from truth':>12}")
    worst = 0.0
    for ds in exposures:
        name = ds.attrs["filename"]
        row = truth.sel(file=name)
        x, y = float(ds["target_x"]), float(ds["target_y"])
        error = math.hypot(x - float(row["star_x"]), y - float(row["star_y"]))
        worst = max(worst, error)
        show(f"{name:<52}{x:>12.5f}{y:>12.5f}{error:>12.1e}")
    if worst > STAR_ERROR:
        msg = f"a star is {worst:.1e} px from the truth, more than {STAR_ERROR:.0e}; please report this output"
        raise XtaError(msg)
