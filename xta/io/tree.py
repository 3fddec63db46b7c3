"""Open the files of a program as a tree by filter and role, with a table of all files and those left out."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import numpy as np
import xarray as xr

from xta import model
from xta.errors import ProductError, XtaError, counted, warn
from xta.io.files import (
    ROLES,
    SCIENCE_KINDS,
    TA_KINDS,
    Catalog,
    PathLike,
    Product,
    exposures,
    find_files,
)

__all__ = ["COLUMNS", "LEFT_OUT", "NEEDED", "NO_FILTER", "OPENED", "build", "groups", "table_of"]

Read: TypeAlias = Callable[[str], xr.Dataset]
"""Function that opens a product, given its path."""

LEFT_OUT, OPENED, NEEDED = 0, 1, 2
"""Values of the status flag: left out, opened as a group, read when an acquisition is attached."""

NO_FILTER = "no_filter"
"""Name of the group of exposures without FILTER."""

COLUMNS = {
    "path": "file",
    "role": "science, reference, background or acquisition; event log; empty if not known",
    "filter": "filter that the light went through",
    "visit_id": "visit (VISIT_ID)",
    "detector": "detector (DETECTOR)",
    "target_name": "target (TARGNAME)",
    "exp_type": "exposure type (EXP_TYPE)",
    "group": "group of the tree; empty if the file was not opened",
    "reason": "reason why the file was left out, or its use",
}
"""Columns of text of the table of files -> long name."""

TITLE = "Program of JWST exposures"


@dataclass(frozen=True)
class Row:
    """One file in the table of a program."""

    product: Product
    role: str = ""
    status: int = LEFT_OUT
    group: str = ""
    reason: str = ""

    @property
    def texts(self) -> dict[str, str]:
        """The columns of text."""
        product = self.product
        about = {"filter": product.band, "visit_id": product.visit_id, "detector": product.detector}
        about |= {"target_name": product.target, "exp_type": product.exp_type}
        return about | {"path": str(product.path), "role": self.role, "group": self.group, "reason": self.reason}


@dataclass
class Opened:
    """Exposures that are open, by group, and the rows of all files."""

    groups: dict[str, tuple[Product, xr.Dataset]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)


def build(
    paths: "PathLike | Iterable[PathLike]", *, read: Read, reference: str | Sequence[str] | None = None
) -> xr.DataTree:
    """Build the tree of a program.

    Parameters
    ----------
    paths : path or iterable of paths
        As in `xta.io.files.find_files`.
    read : callable
        Function that opens a product.
    reference : str or sequence of str, optional
        Names of targets that are references, if they are not marked by the keyword IS_PSF.

    Returns
    -------
    xarray.DataTree
        ``/<filter>/<science|reference|background>/<name of the file>`` and ``/acquisition/<name of the file>``, in the
        order of filter, role and time. The root contains the table of files along ``file``.

    Raises
    ------
    ArgumentError, FileError
        For the same reasons as in `find_files`.
    ProductError
        If no exposure can be opened. The message contains the reasons.
    """
    datasets = groups(paths, read=read, reference=reference)
    tree = xr.DataTree.from_dict(datasets)
    for group, ds in datasets.items():
        tree[group].set_close(ds.close)  # a node is a new dataset, which does not close its file
    return tree


def groups(
    paths: "PathLike | Iterable[PathLike]", *, read: Read, reference: str | Sequence[str] | None = None
) -> dict[str, xr.Dataset]:
    """Open the exposures of a program by the path of their group; see `build`."""
    catalog = find_files(paths)
    names = {reference} if isinstance(reference, str) else set(reference or ())
    opened = Opened()
    with ExitStack() as stack:
        for _, files in sorted(catalog.products.items()):
            _open_visit(list(files.values()), opened, stack, read=read, names=names)
        opened.rows += _others(catalog)
        if not opened.groups:
            reasons = " ".join(row.reason for row in opened.rows if row.reason)
            msg = f"none of {counted(len(opened.rows), 'file')} can be opened as an exposure: {reasons:.2000}"
            raise ProductError(msg)
        _tell_unmarked(opened)
        stack.pop_all()
    order = sorted(opened.groups, key=lambda group: _order(group, opened.groups[group][0]))
    parents = {str(parent): xr.Dataset() for group in order for parent in reversed(PurePosixPath(group).parents)}
    return parents | {"/": _table(opened.rows)} | {group: opened.groups[group][1] for group in order}


def _order(group: str, product: Product) -> tuple[bool, str, int, str, str]:
    """Sort by filter, role and time; the acquisitions come last."""
    role = _role_of_group(group)
    band = "" if role == "acquisition" else group.split("/")[1]
    return role == "acquisition", band, ROLES.index(role), product.date or "~", group


def _role_of_group(group: str) -> str:
    return group.split("/")[-2]


def _open_visit(products: list[Product], opened: Opened, stack: ExitStack, *, read: Read, names: set[str]) -> None:
    """Open the best product of each exposure of a visit; list the others with the reason why they are left out."""
    found = [(ta, ranked) for ta in (False, True) for ranked in exposures(products, ta=ta)]
    used = {product.path for _, ranked in found for product in ranked}
    opened.rows += [_left_out(product) for product in products if product.path not in used]
    for ta, ranked in found:
        role = "reference" if ranked[0].target in names and not ta else ranked[0].role
        _open_exposure(ranked, role, opened, stack, read)


def _open_exposure(ranked: Sequence[Product], role: str, opened: Opened, stack: ExitStack, read: Read) -> None:
    """Open the first product of an exposure that can be read."""
    best: Product | None = None
    for product in ranked:
        if best is not None:
            opened.rows.append(Row(product, role, reason=f"{best.path.name} is the better product of this exposure"))
            continue
        try:
            ds = read(str(product.path))
        except XtaError as error:
            opened.rows.append(Row(product, role, reason=str(error)))
            continue
        stack.callback(ds.close)
        best, group = product, _group(product, role, opened)
        opened.groups[group] = product, ds
        opened.rows.append(Row(product, role, OPENED, group))


def _group(product: Product, role: str, opened: Opened) -> str:
    """Return the name of an exposure's group; if another visit has the same name, the visit is appended."""
    band = (product.band or NO_FILTER).replace("/", "_")
    folder = "/acquisition" if role == "acquisition" else f"/{band}/{role}"
    name = f"{folder}/{product.stem}"
    return name if name not in opened.groups else f"{name}_{product.visit_id}"


def _left_out(product: Product) -> Row:
    """Make the row of a product that is not opened, with the reason, or the use of an _uncal."""
    if product.error:
        return Row(product, reason=product.error)
    if product.is_guider:
        return Row(product, reason="it is a guider product")
    if product.kind == "_uncal" and product.is_ta:
        return Row(
            product, product.role, NEEDED, reason="its TARG_ACQ extension, if there is one, is used in the acquisition"
        )
    kinds = ", ".join(TA_KINDS if product.is_ta else SCIENCE_KINDS)
    return Row(product, product.role, reason=f"it is a {product.kind} product; only {kinds} are opened")


def _others(catalog: Catalog) -> list[Row]:
    """Make the rows of event logs, of second copies and of files that are not products."""
    visits: dict[Path, list[str]] = {}
    for visit, logs in catalog.logs.items():
        for path in logs:
            visits.setdefault(path, []).append(visit)
    rows = [_log(path, named) for path, named in sorted(visits.items())]
    others = {path: f"{first} is used" for path, first in catalog.duplicates.items()} | catalog.passed_over
    return rows + [Row(Product(path), reason=why) for path, why in sorted(others.items())]


def _log(path: Path, visits: Sequence[str]) -> Row:
    """Make the row of an event log, which also mentions the visits before and after; its name may have its own."""
    own = next((visit for visit in visits if visit in path.name), visits[0] if len(visits) == 1 else "")
    mentioned = f"it mentions {len(visits)} visit{'s' * (len(visits) > 1)}: {', '.join(sorted(visits)[:5])}"
    return Row(Product(path, visit_id=own), "event log", NEEDED, reason=mentioned)


def _tell_unmarked(opened: Opened) -> None:
    """Warn if coronagraphic exposures in a filter show several targets and none is marked as the reference."""
    bands: dict[str, dict[str, set[str]]] = {}
    for group, (product, _) in opened.groups.items():
        if product.exp_type in model.CORONAGRAPHIC_TYPES:
            bands.setdefault(group.split("/")[1], {}).setdefault(_role_of_group(group), set()).add(product.target)
    for band, targets in sorted(bands.items()):
        if len(targets.get("science", ())) > 1 and "reference" not in targets:
            names = ", ".join(sorted(targets["science"]))
            what = f"none of the targets {names} in {band} is marked as a reference (IS_PSF), so all are science"
            warn(f"{what}; name the references: xta.open_program(folder, reference=[...])")


def _place(row: Row) -> tuple[bool, bool, str, int, str]:
    """Sort rows like the groups of the tree: by filter and role, acquisitions, event logs, files that are left out."""
    exposed = row.role in ROLES[:3]
    place = ROLES.index(row.role) if row.role in ROLES else len(ROLES)
    return row.status == LEFT_OUT, not exposed, row.product.band if exposed else "", place, str(row.product.path)


def _table(rows: Sequence[Row]) -> xr.Dataset:
    """Make the table of files: columns of text, and the status, along ``file``."""
    order = sorted(rows, key=_place)
    texts = [row.texts for row in order]
    data: dict[str, xr.Variable] = {
        name: xr.Variable(("file",), np.array([text[name] for text in texts], str), {"long_name": long_name})
        for name, long_name in COLUMNS.items()
    }
    flags = {"flag_values": np.arange(3, dtype=np.int8), "flag_meanings": "left_out opened read_when_needed"}
    about = {"long_name": "what was done with the file", "standard_name": "status_flag", **flags}
    data["status"] = xr.Variable(("file",), np.array([row.status for row in order], np.int8), about)
    return xr.Dataset(data, attrs={"Conventions": model.CONVENTIONS, "title": TITLE})


def table_of(tree: xr.DataTree) -> xr.Dataset | None:
    """Return the table of files of a tree, or of a part of one; None where there is none."""
    ds = tree.root.to_dataset(inherit=False)
    return ds[[*COLUMNS, "status"]] if {*COLUMNS, "status"} <= set(ds.variables) else None
