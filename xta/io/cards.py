"""The keywords that xta adds to JWST products: star and mask, their errors, the correction, and its status."""

from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

import numpy as np
import xarray as xr

from xta import identity, model
from xta.identity import header
from xta.io.klipfits import history_cards

__all__ = ["ERRORS", "history", "set_cards", "set_status"]

Point: TypeAlias = tuple[float, float]

ERRORS = {
    "STARXERR": ("target_x_err", "[pixel] standard error of STARCENX"),
    "STARYERR": ("target_y_err", "[pixel] standard error of STARCENY"),
    "STARCORR": ("target_xy_corr", "correlation of these errors"),
    "MASKXERR": ("mask_x_err", "[pixel] standard error of MASKCENX"),
    "MASKYERR": ("mask_y_err", "[pixel] standard error of MASKCENY"),
}
"""Keyword of an error -> coordinate, comment."""

FITS_VALUE = 40  # characters of a text that leaves room for its comment


def set_cards(product: Any, ds: xr.Dataset, star: Point, mask: Point | None) -> None:
    """Set star and mask (1-based pixels of the file), their errors and the status."""
    cards: dict[str, tuple[float | str, str]] = {}
    place = "coronagraphic mask" if identity.behind_mask(ds) else "SIAF reference point"
    for what, key, point in (("star", "STARCEN", star), (place, "MASKCEN", mask)):
        for k, value in enumerate(point or ()):
            cards[f"{key}{'XY'[k]}"] = value, f"[pixel] {what}, axis {k + 1}, 1-indexed"
    for name in ("RA", "DEC", "ROLL"):
        if f"adjust_{name.lower()}" in ds.coords:
            cards[f"TAD{name}"] = float(ds[f"adjust_{name.lower()}"]), f"[arcsec] correction of {name}_REF by TA"
    for key, (name, comment) in ERRORS.items():
        if np.isfinite(value := model.scalar(ds, name)):
            cards[key] = value, comment
    if "star_x" in ds.coords:  # recentering removed the dither
        for axis in ("x", "y"):
            setattr(product.meta.dither, f"{axis}_offset", 0.0)
            if offset := float(header(ds).get(f"{axis}_offset", 0.0)):
                cards[f"{axis.upper()}OFFOBS"] = offset, f"[arcsec] {axis.upper()}OFFSET of the observation"
    if source := identity.words(ds, "centroid_source"):
        cards["STARFROM"] = source.encode("ascii", "replace").decode()[:FITS_VALUE], "centroid of the acquisition"
    _set_extra(product, "SCI", cards, stale={"MASKCENX", "MASKCENY", "STARFROM", *ERRORS})
    if "adjust_ra" in ds.coords or "corrected_ra" in header(ds):
        set_status(product, "COMPLETE")


def set_status(product: Any, status: Literal["COMPLETE", "SKIPPED"]) -> None:
    """Set ``S_TAXTA`` in the primary header of a data model, the status of the correction of its WCS."""
    comment = "WCS corrected by xta: do not correct again" if status == "COMPLETE" else "WCS not corrected by xta"
    _set_extra(product, "PRIMARY", {"S_TAXTA": (status, comment)})


def _set_extra(product: Any, name: str, cards: dict[str, tuple[float | str, str]], stale: Iterable[str] = ()) -> None:
    """Set keywords of an extension that the schema of JWST products does not have, and remove those that are stale."""
    extension = product.instance.setdefault("extra_fits", {}).setdefault(name, {})
    others = [card for card in extension.get("header", []) if card[0] not in {*stale, *cards}]
    extension["header"] = others + [[key, *card] for key, card in cards.items()]


def history(ds: xr.Dataset) -> list[str]:
    """Lines for HISTORY: what was done, and the measurement behind it."""
    lines = str(ds.attrs["history"]).splitlines()
    a = header(ds)
    if "oss_x_det" in a:
        lines.append(
            f"xta: OSS centroid {a['oss_x_det']}, {a['oss_y_det']} px (SIAF Det, 1-based), {a.get('oss_time')}, "
            f"{a.get('oss_status')}"
        )
    for name, unit in (("centroid", "px (TA readout, 0-based)"), ("offset", "px (WCS minus centroid)")):
        if f"{name}_x" in ds.coords:
            lines.append(f"xta: {name} {float(ds[f'{name}_x']):.6f}, {float(ds[f'{name}_y']):.6f} {unit}")
    if "offset_ra" in ds.coords:
        lines.append(f"xta: offset RA, Dec {float(ds['offset_ra']):.6f}, {float(ds['offset_dec']):.6f} arcsec")
    return history_cards(lines)
