"""Collect the exposures of a tree by the path of their group, with their roles, and build trees from other exposures.

The role of an exposure is given by the names of its groups, see `xta.io.tree.build`, or, in a tree made by hand, by its
identity.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, TypeAlias, cast

import xarray as xr

from xta import identity
from xta.identity import header
from xta.io.files import ROLES
from xta.stacks import members_or_one
from xta.workers import mapped

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Exposures", "each", "exposures", "replaced", "role", "with_star"]

Exposures: TypeAlias = dict[str, xr.Dataset]
"""Exposures by the path of their group."""


def exposures(tree: xr.DataTree) -> Exposures:
    """Collect the exposures and stacks of a tree by the path of their group, with labels that xarray moved up."""
    return {path: node.to_dataset() for path, node in tree.subtree_with_keys if "sci" in node.data_vars}


def role(tree: xr.DataTree, path: str, ds: xr.Dataset) -> str:
    """Read the role of an exposure: the name of a group above it, or else the role by its identity."""
    parts = [str(tree.root.name), *PurePosixPath(tree.path, path).parts]
    if named := [part for part in parts if part in ROLES]:
        return named[-1]
    ds = members_or_one(ds)[0]
    if identity.is_ta(ds):
        return "acquisition"
    if header(ds).get("is_background") == 1:
        return "background"
    return "reference" if header(ds).get("is_psf") == 1 else "science"


def with_star(tree: xr.DataTree) -> Exposures:
    """Collect the exposures that have a star: those of targets and references."""
    return {path: ds for path, ds in exposures(tree).items() if role(tree, path, ds) in {"science", "reference"}}


def replaced(tree: xr.DataTree, results: Mapping[str, xr.Dataset | None]) -> xr.DataTree:
    """Build a tree with other datasets in some of its groups; a group whose dataset is None is removed."""
    data = {path: node.to_dataset() for path, node in tree.subtree_with_keys}
    for path in [path for path, node in tree.subtree_with_keys if node.children]:
        used = {dim for variable in data[path].data_vars.values() for dim in variable.dims}
        data[path] = data[path].drop_vars(set(data[path].indexes) - used)  # labels that xarray moved up from exposures
    kept = {path: ds for path, ds in (data | dict(results)).items() if ds is not None}
    result = xr.DataTree.from_dict({"/" if path == "." else path: ds for path, ds in kept.items()}, name=tree.name)
    result.set_close(tree.close)
    return result


def each(
    tree: xr.DataTree, found: Exposures, step: Callable[[xr.Dataset], xr.Dataset], client: "Client | None" = None
) -> xr.DataTree:
    """Apply a step to some exposures of a tree; on the workers of a `client` the results are computed."""
    work = step if client is None else partial(_computed, step)
    return replaced(tree, dict(zip(found, mapped(work, found.values(), client), strict=True)))


def _computed(step: Callable[[xr.Dataset], xr.Dataset], ds: xr.Dataset) -> xr.Dataset:
    """Apply a step, and compute its dask arrays; what xarray reads when it is used stays as it is."""
    from dask.base import compute

    (result,) = compute(step(ds), scheduler="synchronous")  # type: ignore[no-untyped-call]
    return cast("xr.Dataset", result)
