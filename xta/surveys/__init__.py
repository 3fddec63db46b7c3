"""Analyze whole programs at once, with one row per visit or exposure."""

import logging
from collections.abc import Iterable
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import xarray as xr

import xta
from xta import model
from xta.acquisition.corrections import chosen
from xta.acquisition.offset import Centroid
from xta.archive.policy import is_offline
from xta.errors import ArgumentError, counted
from xta.surveys import pool
from xta.surveys.ensemble import monitor, write_accuracies
from xta.surveys.files import VisitFiles, find_visits
from xta.surveys.store import Store
from xta.surveys.table import METHODS, Row, counts, to_dataset, to_ecsv, to_table
from xta.surveys.visit import exposure_rows, failed_row, survey_visit

if TYPE_CHECKING:
    import os

    from distributed import Client

__all__ = ["METHODS", "VisitFiles", "counts", "find_visits", "monitor", "survey", "survey_visit", "to_ecsv", "to_table"]
__all__ += ["write_accuracies"]

logger = logging.getLogger(__name__)


def survey(
    paths: "str | os.PathLike[str] | Iterable[str | os.PathLike[str]]",
    *,
    client: "Client | None" = None,
    workers: int | None = None,
    per: str = "visit",
    centroid: Centroid = "auto",
    corrections: str | Iterable[str] = "all",
    estimates: bool = True,
    resume: "str | os.PathLike[str] | None" = None,
    offline: bool = False,
    progress: bool = False,
) -> xr.Dataset:
    """Analyze every visit in files and folders.

    Parameters
    ----------
    paths : path or iterable of paths
        Products, event logs and folders. Folders are searched together with their subfolders, so the files may be in
        one folder per visit or all in one. Files are grouped by their keyword VISIT_ID.
    client : distributed.Client, optional
        A client whose workers analyze the visits; they must see the files under the same paths.
    workers : int, optional
        Number of processes if there is no client; 1 means this process. By default one per CPU, if there are enough
        visits and processes can start. A script that uses processes must call this under
        ``if __name__ == "__main__":``.
    per : "visit" or "exposure"
        Make one row per visit, or analyze every science exposure of a visit and make one row per exposure.
    centroid, corrections : optional
        As in `xta.analyze`, for all visits.
    estimates : bool
        Add the independent estimates of the star's position, which double the time.
    resume : path, optional
        File of JSON lines in which each row is saved as soon as it is finished. Another survey with the same file
        does not analyze these visits again. It repeats visits that failed, visits whose files have changed, visits
        without an event log if the archive did not answer (unless the network is still off), and all visits if an
        option or the version has changed.
    offline : bool
        Do not use the network.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    xarray.Dataset
        Along the dimension ``visit``, labeled and sorted by VISIT_ID: the identity (``program``, ``target_name``,
        ``instrument``, ``detector``, ``aperture``, ``filter``, ``exp_type``, ``date``), the offsets, star and mask,
        the maneuver (``sam_x``, ``sam_y``), the SIAF release on board (``oss_prd``), the guider, and ``ok`` (0 failed,
        1 star found, 2 offset only, 3 a background field without an acquisition) with a ``reason``. Along (visit,
        check): ``check_passed``. Along (visit, estimate): the independent estimates minus the adopted position,
        ``estimate_dx`` and ``estimate_dy``, and their errors. With `per` "exposure" the dimension is ``exposure``,
        labeled by the names of the files, and ``visit`` is a coordinate along it.

    Raises
    ------
    ArgumentError
        If there is no product of any visit, an option does not have the form above, or the given number of processes
        cannot start.
    FileError
        If a path does not exist, or the rows cannot be saved.

    Warns
    -----
    XtaWarning
        If processes cannot start and `workers` was not given; this process then analyzes all visits.

    Notes
    -----
    A visit that fails becomes a row with the reason and does not stop the others; the same is true if a worker dies.
    The row of a visit describes the first science exposure on the detector of the acquisition, or else the first one;
    exposures without an imaging WCS, such as spectra, are left out. If no science exposure remains, the row has
    the offsets of the acquisition and no star. A visit with only exposures of a background field (BKGDTARG)
    and without an acquisition is not a failure. FITS files that are not JWST products are skipped and counted
    (attribute ``files_passed_over``), and so are further files of the same name (``files_duplicate``).
    """
    from tqdm import tqdm

    _check(client, workers, per)
    folders = find_visits(paths)
    visits = folders.visits
    wanted = chosen(corrections)
    made_with = f"xta {xta.__version__} estimates={estimates} offline={offline}"
    made_with += f" centroid={centroid} corrections={','.join(wanted)}"
    made_with += "" if per == "visit" else f" per={per}"
    store = None if resume is None else Store(resume, made_with=made_with, online=not is_offline(offline))
    rows: dict[str, Row] = {}
    if store is not None:
        rows = {files.visit_id: row for files in visits if (row := store.get(files)) is not None}
    todo = [files for files in visits if files.visit_id not in rows]
    logger.info("%d visits, %d of them done before", len(visits), len(rows))
    how: dict[str, Any] = {"centroid": centroid, "corrections": wanted, "estimates": estimates, "offline": offline}
    work = partial(survey_visit, per=per, **how)
    with closing(pool.run(work, todo, client=client, workers=workers)) as done:
        bar = tqdm(done, total=len(visits), initial=len(rows), unit="visit", desc="survey", disable=not progress)
        for files, result in bar:
            row = _lost(files, result) if isinstance(result, BaseException) else result
            rows[files.visit_id] = row
            if store is not None:
                store.add(files, row)
    lists = [
        [row] if per == "visit" else exposure_rows(files, row) for files in visits if (row := rows[files.visit_id])
    ]
    ds = to_dataset([row for part in lists for row in part], estimates=estimates, per=per)
    about = {"files_passed_over": folders.passed_over, "files_duplicate": folders.duplicates}
    ds = ds.assign_attrs(Conventions=model.CONVENTIONS, title=f"Target acquisitions, one row per {per}", **about)
    return model.with_history(ds, f"survey of {counted(len(rows), 'visit')}")


def _check(client: object, workers: object, per: object) -> None:
    if per not in {"visit", "exposure"}:
        msg = f"per is {per!r}; give 'visit' or 'exposure'"
        raise ArgumentError(msg)
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
        msg = f"workers is {workers!r}; give a number of processes of at least 1, or None"
        raise ArgumentError(msg)
    if client is not None and workers is not None:
        msg = "client and workers are both given; give only one, since a client has its own workers"
        raise ArgumentError(msg)
    if client is not None and not hasattr(client, "get_executor"):
        msg = f"client is {client!r}; give a distributed.Client"
        raise ArgumentError(msg)


def _lost(files: VisitFiles, error: BaseException) -> Row:
    """Make the row of a visit whose worker ended."""
    return failed_row(files, f"its worker ended ({type(error).__name__}: {error}); check whether memory is sufficient")
