"""Set the stars of analyzed exposures in the database of spaceKLIP, in place of its own step for centers."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xta import identity, model
from xta.errors import ArgumentError, MissingError, ProductError, warn
from xta.identity import header
from xta.stacks import members_or_one

__all__ = ["to_spaceklip"]

CENTERED = ("SCI", "REF")
"""Types of exposures (column TYPE) with a star behind a mask."""


def to_spaceklip(db: Any, exposures: "xr.Dataset | Iterable[xr.Dataset] | Mapping[Any, xr.Dataset]") -> None:
    """Set the stars of exposures in the database of spaceKLIP, in place of its ``calculate_centers``.

    Parameters
    ----------
    db : spaceKLIP.database.Database
        Database whose tables ``db.obs`` are changed in place, as by the steps of spaceKLIP. Its files do not change.
    exposures : xarray.Dataset, or several
        Exposures analyzed by `xta.analyze`: a stack, a list, or the result of `xta.analyze_visit`. Each belongs to the
        row whose FITSFILE has the name of its file.

    Raises
    ------
    MissingError
        If an exposure has no star or no file name.
    ArgumentError
        If no row has the file of an exposure, or `db` has no such tables.
    ProductError
        If the file of a row has another shape than the exposure, because spaceKLIP cropped or padded it before. Set
        the stars first.

    Warns
    -----
    XtaWarning
        If a science or reference row is left without a star, since no exposure belongs to it.

    Notes
    -----
    This works with spaceKLIP as of May 2025. It sets STARCENX, STARCENY, MASKCENX, MASKCENY [pixel, 1-based];
    CENTER_SHIFT, for each integration the shift from the star to the center of the array, (n - 1) / 2 [pixel];
    CENTER_MASK, the same for the image of the mask; ALIGN_SHIFT and ALIGN_MASK, zero, in the shapes that
    ``shift_frames`` indexes. XOFFSET and YOFFSET become 0, since the star of each exposure includes its dither. Do not
    call ``calculate_centers`` afterwards: with ``use_ta=True`` it would correct the corrected WCS of a file of
    `to_fits` once more.

    Examples
    --------
    >>> visit = xta.analyze_visit("folder")  # doctest: +SKIP
    >>> xta.to_spaceklip(database, visit)  # doctest: +SKIP
    >>> ImageTools(database).shift_frames()  # doctest: +SKIP
    """
    if not isinstance(getattr(db, "obs", None), Mapping):
        msg = f"db is a {type(db).__name__} without tables of observations (obs); give a Database of spaceKLIP"
        raise ArgumentError(msg)
    rows = {Path(str(file)).name: (table, j) for table in db.obs.values() for j, file in enumerate(table["FITSFILE"])}
    stars = {str(header(ds).get("filename", "")): ds for ds in _each(exposures)}
    if strangers := sorted(stars.keys() - rows.keys()):
        msg = f"the database has no file {', '.join(strangers)}; its files are {', '.join(sorted(rows)) or 'none'}"
        raise ArgumentError(msg)
    entries = {name: _entry(ds, *rows[name]) for name, ds in stars.items()}  # all of them, before anything is changed
    for name, entry in entries.items():
        table, j = rows[name]
        for column, value in entry.items():
            table[column][j] = value
    left = [name for name, (table, j) in rows.items() if table["TYPE"][j] in CENTERED and name not in stars]
    if left:
        warn(f"no star was given for {', '.join(sorted(left))}, so spaceKLIP will not move them")


def _each(exposures: Any) -> list[xr.Dataset]:
    if isinstance(exposures, xr.Dataset):
        return members_or_one(exposures)
    given = exposures.values() if isinstance(exposures, Mapping) else exposures
    return [part for ds in given for part in members_or_one(ds)]


def _entry(ds: xr.Dataset, table: Any, j: int) -> dict[str, Any]:
    """Compute the columns of one row, whose file must have the pixels of the exposure."""
    from astropy.io import fits

    identity.require(ds, "target_x", "target_y", "x", "y", step="xta.analyze")
    head = fits.getheader(table["FITSFILE"][j], "SCI")
    shape = head["NAXIS1"], head["NAXIS2"]
    if shape != (ds.sizes["x"], ds.sizes["y"]):
        msg = (
            f"{table['FITSFILE'][j]} has {shape[0]} x {shape[1]} pixels, but the exposure {ds.sizes['x']} x "
            f"{ds.sizes['y']}, so one of them was cropped or padded; set the stars before this step"
        )
        raise ProductError(msg)
    places = {name: [model.scalar(ds, f"{name}_{a}") - float(ds[a][0]) for a in "xy"] for name in ("target", "mask")}
    if not np.isfinite(places["target"]).all():
        msg = f"the star of {header(ds)['filename']} is not known; analyze the exposure, or set it with ds.ta.set_star"
        raise MissingError(msg)
    shift = (np.array(shape) - 1) / 2 - places["target"]
    count = int(table["NINTS"][j])
    entry: dict[str, Any] = {f"STARCEN{a}": value + 1 for a, value in zip("XY", places["target"], strict=True)}
    if np.isfinite(places["mask"]).all():
        entry |= {f"MASKCEN{a}": value + 1 for a, value in zip("XY", places["mask"], strict=True)}
    entry |= {"CENTER_SHIFT": np.tile(shift, (count, 1)), "ALIGN_SHIFT": np.zeros((count, 2))}
    return entry | {"CENTER_MASK": shift, "ALIGN_MASK": np.zeros(2), "XOFFSET": 0.0, "YOFFSET": 0.0}
