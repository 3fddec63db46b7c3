"""Run every step of the package on a sample program whose truth is known, for ``xta demo``."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr

from xta import datasets, plot, psfsub, summary
from xta.acquisition.analyze import analyze
from xta.errors import XtaError
from xta.identity import header
from xta.io.atomic import make_folder, save_figure
from xta.io.netcdf import to_netcdf

__all__ = ["run"]

MEASURED = {"separation": "16.4f", "position_angle": "16.2f", "contrast": "16.3g"}
"""Columns of the companion -> form of its numbers."""

PSF = 101  # width of the image of a point source [pixel]
STAR_ERROR = 5.0  # [standard errors] largest error of a star position in the sample program


def run(
    folder: Path, *, mode: str = "nircam", seed: int = 0, say: Callable[[str], None], show: Callable[[str], None]
) -> None:
    """Make a sample program, analyze it and compare it with the truth.

    Parameters
    ----------
    folder : pathlib.Path
        Folder for data, results and figures; created if it does not exist.
    mode : "nircam" or "miri"
    seed : int
    say, show : callable
        Functions that receive progress and results as lines of text.

    Raises
    ------
    FileError
        If the folder cannot be written.
    XtaError
        If a star is farther than five standard errors from the truth.
    """
    make_folder(folder)
    say(f"making a sample program ({mode}): two rolls and a reference star, each with its acquisition and event log")
    program = datasets.make_program(folder / "data", mode=mode, seed=seed)
    files = [*program.science, *program.reference]
    say("finding the star behind the mask in each exposure")
    exposures = [analyze(file) for file in files]
    show(summary.as_table(exposures[0]))
    _compare(exposures, program.truth, show)
    for file, ds in zip(files, exposures, strict=True):
        to_netcdf(ds, folder / f"{file.stem}_ta.nc")
        save_figure(plot.summary(ds), folder / f"{file.stem}_ta.png")
    say("recentering the cubes")
    cubes = [ds.ta.recenter() for ds in exposures]
    for file, cube in zip(files, cubes, strict=True):
        to_netcdf(cube, folder / f"{file.stem}_centered.nc")
    from matplotlib.figure import Figure

    if importlib.util.find_spec("pyklip") is None:
        say('no PSF subtraction: pyKLIP is not installed (pip install "xta[klip]")')
        return
    say("subtracting the star: two rolls and the reference star, by KLIP")
    rolls, stars = cubes[: len(program.science)], cubes[len(program.science) :]
    image = psfsub.klip(rolls, reference=stars)
    to_netcdf(image, folder / "klip.nc")
    say("measuring the companion")
    psf = datasets.psf(mode, x=PSF // 2, y=PSF // 2, shape=(PSF, PSF), wavefront=seed)
    flux = float(program.truth["star_flux"][0])
    table = psfsub.companions(image, science=rolls, reference=stars, psf=psf, star_flux=flux)
    _compare_companion(table, program.truth, show)
    fov = 5 * float(table["separation"].max()) if table.sizes["companion"] else None
    figure = Figure(figsize=(5, 4.6), layout="constrained")
    plot.klip(image, ax=figure.subplots(), fov=fov, mark=table)
    save_figure(figure, folder / "klip.png")


def _compare_companion(table: xr.Dataset, truth: xr.Dataset, show: Callable[[str], None]) -> None:
    """Print position and contrast of the companion with the truth, like the stars."""
    row = truth.isel(file=int(np.argmax(truth["kind"].values == "science")))
    head = "".join(f"{name:>16}" for name in ("separation [″]", "angle [deg]", "contrast"))
    show(f"\n{'companion':<44}{head}")
    if not table.sizes["companion"]:
        show("none was found")
        return
    places = [float(table[name][0]) for name in MEASURED]
    errors = [float(table[f"{name}_err"][0]) for name in MEASURED]
    true = [float(row[f"companion_{name}"]) for name in MEASURED]
    pulls = [(a - b) / c for a, b, c in zip(places, true, errors, strict=True)]
    for what, values in (("by a fit to the exposures", places), ("  standard error", errors), ("  truth", true)):
        numbers = (f"{value:{form}}" for value, form in zip(values, MEASURED.values(), strict=True))
        show(f"{what:<44}{''.join(numbers)}")
    show(f"{'  companion minus truth, in standard errors':<44}{''.join(f'{pull:+16.1f}' for pull in pulls)}")


def _compare(exposures: list[xr.Dataset], truth: xr.Dataset, show: Callable[[str], None]) -> None:
    """Print the star of each exposure with the truth, their difference, the error, and the number of errors."""
    show(f"\n{'star behind the mask [px, 0-based]':<44}{'x':>10}{'y':>10}")
    worst = 0.0
    for ds in exposures:
        name = header(ds)["filename"]
        row = truth.sel(file=name)
        star, true, error = (
            [float(table[f"{before}_{axis}{after}"]) for axis in "xy"]
            for table, before, after in ((ds, "target", ""), (row, "star", ""), (ds, "target", "_err"))
        )
        pulls = [(a - b) / c for a, b, c in zip(star, true, error, strict=True)]
        worst = max(worst, *map(abs, pulls))
        for what, values, form in (
            (name, star, ">10.3f"),
            ("  standard error", error, ">10.3f"),
            ("  truth", true, ">10.3f"),
            ("  star minus truth, in standard errors", pulls, ">+10.1f"),
        ):
            show(f"{what:<44}{values[0]:{form}}{values[1]:{form}}")
    if worst > STAR_ERROR:
        msg = (
            f"a star is {worst:.1f} standard errors from the truth, more than {STAR_ERROR:g}; please report this output"
        )
        raise XtaError(msg)
