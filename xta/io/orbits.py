"""Write positions of companions as tables for software that fits orbits."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xta import identity
from xta.errors import ArgumentError
from xta.io.atomic import whole_file
from xta.io.files import PathLike

__all__ = ["to_octofitter", "to_orbitize"]

UNIX_EPOCH = 40587.0  # 1970-01-01 as a modified Julian date [d]
DAY = np.timedelta64(1, "D")


def to_orbitize(ds: xr.Dataset, path: PathLike) -> None:
    """Write positions of companions as a table for orbitize! (``orbitize.read_input.read_file``).

    Parameters
    ----------
    ds : xarray.Dataset
        The result of `companions`.
    path : path
        CSV file to write.

    Raises
    ------
    MissingError
        If the dataset has no positions or no time.
    ArgumentError
        If the file is not named ``.csv``, or the error of a position is not known.
    FileError
        If the file cannot be written.

    Notes
    -----
    The columns are ``epoch`` [MJD, UTC], ``object`` (from 1), ``raoff``, ``raoff_err``, ``decoff``, ``decoff_err``
    [mas] and ``radec_corr``. The format cannot express that companions of one epoch share the error of the star.
    """
    columns = _columns(ds, path)
    names = ("epoch", "object", "raoff", "raoff_err", "decoff", "decoff_err", "radec_corr")
    _write(path, dict(zip(names, columns, strict=True)))


def to_octofitter(ds: xr.Dataset, path: PathLike) -> None:
    """Write positions of companions as a table for Octofitter (``CSV.read(path, Table)``).

    Parameters
    ----------
    ds : xarray.Dataset
        The result of `companions`.
    path : path
        CSV file to write, for ``PlanetRelAstromObs`` (``PlanetRelAstromLikelihood`` in older versions).

    Raises
    ------
    MissingError
        If the dataset has no positions or no time.
    ArgumentError
        If the file is not named ``.csv``, or the error of a position is not known.
    FileError
        If the file cannot be written.

    Notes
    -----
    The columns are ``epoch`` [MJD, UTC], ``ra``, ``dec``, ``σ_ra``, ``σ_dec`` [mas], ``cor``, and ``companion`` (from
    1).
    """
    epoch, number, ra, ra_err, dec, dec_err, corr = _columns(ds, path)
    _write(
        path, {"epoch": epoch, "ra": ra, "dec": dec, "σ_ra": ra_err, "σ_dec": dec_err, "cor": corr, "companion": number}
    )


def _columns(ds: xr.Dataset, path: PathLike) -> list[Any]:
    """Collect epoch, number, offsets with errors [mas] and correlation."""
    if Path(path).suffix.lower() != ".csv":
        msg = f"path is {Path(path).name!r}; the name of the table must end in .csv"
        raise ArgumentError(msg)
    identity.require(ds, "dra", "ddec", "time", step="image.ta.companions()")
    names = ("dra", "dra_err", "ddec", "ddec_err")
    values = [1e3 * ds[name].values for name in names] + [ds["dra_ddec_corr"].values]
    unknown = ~np.isfinite(values).all(axis=0)
    if unknown.any():
        msg = f"the error of the position of companion {np.flatnonzero(unknown).tolist()} is not known; leave it out"
        raise ArgumentError(msg)
    epoch = UNIX_EPOCH + (ds["time"].values.astype("datetime64[ns]") - np.datetime64(0, "ns")) / DAY
    return [np.full(values[0].size, epoch), np.arange(1, values[0].size + 1), *values]


def _write(path: PathLike, columns: dict[str, Any]) -> None:
    """Write columns as text with 6 decimal places."""
    texts = ([str(v) if isinstance(v, np.integer) else f"{v:.6f}" for v in values] for values in columns.values())
    rows = [",".join(row) for row in (tuple(columns), *zip(*texts, strict=True))]
    with whole_file(Path(path).expanduser()) as temporary:
        temporary.write_text("\n".join(rows) + "\n", encoding="utf-8")
