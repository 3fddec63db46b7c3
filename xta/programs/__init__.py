"""Programs: the exposures of several visits as a tree, and the steps of xta over all of them.

A step works on a whole tree or on a part of it, ``tree["F444W"]``, and returns a new tree.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import xarray as xr

from xta.io.backend import open_exposure
from xta.io.files import PathLike
from xta.io.tree import build
from xta.programs.analysis import analyze
from xta.programs.groups import role
from xta.programs.steps import coadd, klip, recenter, solve, stack, subtract_background

__all__ = ["analyze", "coadd", "klip", "open_program", "recenter", "role", "solve", "stack", "subtract_background"]


def open_program(
    paths: "PathLike | Iterable[PathLike]", *, chunks: Any = None, reference: str | Sequence[str] | None = None
) -> xr.DataTree:
    """Open the exposures of a program as a tree, sorted by filter and role.

    Parameters
    ----------
    paths : path or iterable of paths
        Products, event logs and folders. Folders are searched with all folders below them.
    chunks : optional
        As in `open_exposure`.
    reference : str or sequence of str, optional
        Names of targets (TARGNAME) that are references although the keyword IS_PSF does not say so.

    Returns
    -------
    xarray.DataTree
        ``/<filter>/<science|reference|background>/<name of the file>`` and ``/acquisition/<name of the file>``, each a
        dataset as of `open_exposure`, in the order of filter, role and time. The root holds the table of all files
        along ``file``: what each is, in which group it was opened, or why it was left out; ``tree.ta`` prints it.

    Raises
    ------
    ArgumentError
        If there is no JWST product.
    FileError
        If a path does not exist.
    ProductError
        If no exposure can be opened: the message has the reasons.

    Warns
    -----
    XtaWarning
        If coronagraphic exposures are of several targets and none is marked as a reference, or a file that was given
        is no product.

    Notes
    -----
    *Role.* EXP_TYPE tells acquisitions, BKGDTARG backgrounds, IS_PSF references; all else is science. Targets are not
    compared: which of two stars is the reference cannot be told from their names.

    *Filter.* A filter in the pupil wheel (NIRCam F466N, NIRISS F150W) names the group, not what it is crossed with.

    *Products.* Of an exposure the best product is opened: ``_calints``, ``_cal``, ``_rateints``, ``_rate``; of an
    acquisition ``_cal``, ``_calints``, ``_rate``, ``_rateints``. ``_uncal`` products are not opened: those of
    acquisitions are read for their TARG_ACQ extension when the acquisition is attached. A damaged product is a row of
    the table with its reason, and the next best one is opened.

    ``xarray.open_datatree(folder, engine="jwst")`` gives the same tree.

    Examples
    --------
    >>> program = xta.open_program("folder")  # doctest: +SKIP
    >>> cubes = program.ta.analyze().ta.recenter()  # doctest: +SKIP
    >>> image = cubes["F444W"].ta.klip(numbasis=[1, 5, 10])  # doctest: +SKIP
    """
    return build(paths, read=partial(open_exposure, chunks=chunks), reference=reference)
