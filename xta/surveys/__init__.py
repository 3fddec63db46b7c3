"""Whole programs at once: one row per visit or exposure."""

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
    """Analyze every visit of files and folders.

    Parameters
    ----------
    paths : path or iterable of paths
        Products, event logs and folders. Folders are searched with those below them, so a folder a visit and
        one folder for all are both good. Files are put together by their keyword VISIT_ID.
    client : distributed.Client, optional
        Its workers do the work; they have to see the files under the same paths.
    workers : int, optional
        Without a client: the number of processes; 1 works in this one. By default one a CPU, where there are
        enough visits and they can start. A script that uses processes calls this under
        ``if __name__ == "__main__":``.
    per : "visit" or "exposure"
        What a row is of. With "exposure" every science exposure of a visit is analyzed, by its one acquisition.
    centroid, corrections : optional
        As in `xta.analyze`, for all visits.
    estimates : bool
        Add the independent estimates of the star's position, which take as long as everything else.
    resume : path, optional
        File of JSON lines in which each row is kept as soon as it is there. Another survey with the same file
        does not analyze these visits again, but it does those that failed, those whose files have changed,
        those without an event log for which the archive did not answer, unless the network is still off, and
        all if an option or the version is another one.
    offline : bool
        Do not use the network.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    xarray.Dataset
        Dimension ``visit``, labeled by VISIT_ID and in this order: what the visit is (``program``,
        ``target_name``, ``instrument``, ``detector``, ``aperture``, ``filter``, ``exp_type``, ``date``), its
        offsets, star and mask, the maneuver (``sam_x``, ``sam_y``) and the SIAF release onboard (``oss_prd``),
        the guider, ``ok`` (0 failed, 1 star found, 2 offset only, 3 a background field without an acquisition) with a
        ``reason``. On (visit, check) ``check_passed``; on (visit, estimate) the independent estimates minus the
        adopted position, ``estimate_dx`` and ``estimate_dy``, and their errors. With `per` "exposure" the dimension is
        ``exposure``, labeled by the names of the files, and ``visit`` a coordinate along it.

    Raises
    ------
    ArgumentError
        If there is no product of any visit, an option is not of its form, or the processes that were asked for
        cannot start.
    FileError
        If a path does not exist, or the rows cannot be kept.

    Warns
    -----
    XtaWarning
        If processes cannot start, and it was not said how many: then this one does all the work.

    Notes
    -----
    A visit that fails is a row with its reason, and never stops the others; so is one whose worker dies. The
    row is of the first science exposure on the detector of the acquisition, or else of the first one; those
    without an imaging WCS, such as spectra, are left out. A visit without a science exposure that is left gives
    the offsets of its acquisition and no star. A visit all of whose exposures are of a background field (BKGDTARG)
    and that has no acquisition is no failure. FITS files that are no JWST products are passed over and counted
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
        msg = f"workers is {workers!r}; give a number of processes from 1, or None"
        raise ArgumentError(msg)
    if client is not None and workers is not None:
        msg = "give client or workers, not both: a client has its own workers"
        raise ArgumentError(msg)
    if client is not None and not hasattr(client, "get_executor"):
        msg = f"client is {client!r}; give a distributed.Client"
        raise ArgumentError(msg)


def _lost(files: VisitFiles, error: BaseException) -> Row:
    """Make the row of a visit that took its worker with it."""
    return failed_row(files, f"its worker ended ({type(error).__name__}: {error}); is there enough memory?")
