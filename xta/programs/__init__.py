"""Open the exposures of several visits as a tree, and apply the steps of xta to all of them.

A step works on a whole tree or on a part of it, such as ``tree["F444W"]``, and returns a new tree.
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
        Products, event logs and folders. Folders are searched with all their subfolders.
    chunks : optional
        As in `open_exposure`.
    reference : str or sequence of str, optional
        Names of targets (TARGNAME) that are references, if they are not marked by the keyword IS_PSF.

    Returns
    -------
    xarray.DataTree
        ``/<filter>/<science|reference|background>/<name of the file>`` and ``/acquisition/<name of the file>``, each a
        dataset like those of `open_exposure`, in the order of filter, role and time. The root contains the table of all
        files along ``file``: the role of each, and the group in which it was opened or the reason why it was left out;
        ``tree.ta`` prints it.

    Raises
    ------
    ArgumentError
        If there is no JWST product.
    FileError
        If a path does not exist.
    ProductError
        If no exposure can be opened. The message contains the reasons.

    Warns
    -----
    XtaWarning
        If coronagraphic exposures show several targets and none is marked as a reference, or a given file is not a
        product.

    Notes
    -----
    *Role.* Acquisitions are marked by EXP_TYPE, backgrounds by BKGDTARG and references by IS_PSF; all other exposures
    are science. Targets are not compared, since their names do not show which of two stars is the reference.

    *Filter.* A group has the name of a filter in the pupil wheel (NIRCam F466N, NIRISS F150W), if there is one.

    *Products.* The best product of an exposure is opened: ``_calints``, ``_cal``, ``_rateints``, ``_rate``; for an
    acquisition ``_cal``, ``_calints``, ``_rate``, ``_rateints``. ``_uncal`` products are not opened; those of
    acquisitions are read for their TARG_ACQ extension when the acquisition is attached. A damaged product becomes a row
    of the table with its reason, and the next best one is opened.

    ``xarray.open_datatree(folder, engine="jwst")`` returns the same tree.

    Examples
    --------
    >>> program = xta.open_program("folder")  # doctest: +SKIP
    >>> cubes = program.ta.analyze().ta.recenter()  # doctest: +SKIP
    >>> image = cubes["F444W"].ta.klip(numbasis=[1, 5, 10])  # doctest: +SKIP
    """
    return build(paths, read=partial(open_exposure, chunks=chunks), reference=reference)
