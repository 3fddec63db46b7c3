"""Open JWST imaging products as lazy, labeled datasets: ``xr.open_dataset(path, engine="jwst")``."""

import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from xarray.backends import BackendEntrypoint
from xarray.backends.locks import SerializableLock

from xta import model
from xta.errors import ArgumentError, FileError, ProductError, WCSError, XtaError, damage, filtered, warn
from xta.geometry import wcs
from xta.identity import KEYWORDS, NUMBERS, header, identify, is_valid
from xta.io import layout, readout, tree
from xta.io.files import SCIENCE_KINDS
from xta.io.fitsfile import array, keyword, number, opened

if TYPE_CHECKING:
    from astropy.io.fits import HDUList

__all__ = ["JwstBackendEntrypoint", "open_exposure", "rechunk"]

IMAGE_NDIM, CUBE_NDIM = 2, 3
MAX_SHIFTS = 1 << 24  # [byte] of the shifts of a million frames


def open_exposure(
    source: "str | bytes | os.PathLike[str] | HDUList",
    *,
    chunks: Any = None,
    origin: tuple[int, int] | None = None,
) -> xr.Dataset:
    """Open a JWST imaging product as a labeled dataset.

    Parameters
    ----------
    source : path or astropy.io.fits.HDUList
        A ``_calints`` or ``_rateints`` cube, or a ``_cal`` or ``_rate`` image.
    chunks : optional
        As in `xarray.open_dataset`; ``{}`` gives dask arrays of one integration each.
    origin : (int, int), optional
        Pixel (x, y) of the full readout at which the array begins, for files that other software cropped
        without a record in the header.

    Returns
    -------
    xarray.Dataset
        ``sci``, ``err``, ``dq``, ``var_poisson``, ``var_rnoise``, ``var_flat`` on (integration, y, x), or
        (y, x) for an image; coordinates ``x``, ``y`` (0-based pixel of the readout), ``wcs``, ``ra``,
        ``dec`` and the integration times. Data are read when used.

    Raises
    ------
    FileError
        If the file is missing, truncated, damaged or not FITS.
    ProductError
        If it is FITS, but not a JWST image or cube of a kind listed above.
    ArgumentError
        If `source` is neither a path nor an HDUList, or `origin` is not a pixel of the readout.

    Warns
    -----
    XtaWarning
        If something in the file cannot be trusted and is left out. The message contains what and why.
    """
    if isinstance(source, str | bytes | os.PathLike):
        options = {"origin": origin}
        return xr.open_dataset(os.fsdecode(source), engine=JwstBackendEntrypoint, chunks=chunks, backend_kwargs=options)
    return rechunk(_open(source, origin), chunks)


def rechunk(ds: xr.Dataset, chunks: Any) -> xr.Dataset:
    """Rechunk a dataset like `open_exposure` with the same `chunks`; None returns it unchanged."""
    if chunks is None:
        return ds
    return ds.chunk(chunks or {dim: 1 if dim == "integration" else -1 for dim in ds.sizes})


class JwstBackendEntrypoint(BackendEntrypoint):
    """The xarray engine "jwst": a product is a dataset, a folder of products a tree."""

    description = "JWST imaging products (calints, cal, rateints, rate) as labeled datasets, folders of them as trees"
    open_dataset_parameters = ("filename_or_obj", "drop_variables", "origin")
    supports_groups = True

    def open_dataset(
        self,
        filename_or_obj: "str | os.PathLike[str] | HDUList",
        *,
        drop_variables: str | Iterable[str] | None = None,
        origin: tuple[int, int] | None = None,
    ) -> xr.Dataset:
        """Open a product; see `open_exposure`."""
        ds = _open(filename_or_obj, origin)
        kept = ds.drop_vars(drop_variables or (), errors="ignore")
        kept.set_close(ds.close)  # a new dataset does not close its file
        return kept

    def open_datatree(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        reference: str | Sequence[str] | None = None,
    ) -> xr.DataTree:
        """Open the products in files and folders as a tree; see `xta.open_program`."""
        return tree.build(filename_or_obj, read=self._reader(drop_variables), reference=reference)

    def open_groups_as_dict(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        reference: str | Sequence[str] | None = None,
    ) -> dict[str, xr.Dataset]:
        """Open the products in files and folders; return them by the paths of their groups in the tree."""
        return tree.groups(filename_or_obj, read=self._reader(drop_variables), reference=reference)

    def _reader(self, drop_variables: str | Iterable[str] | None) -> Callable[[str], xr.Dataset]:
        return functools.partial(self.open_dataset, drop_variables=drop_variables)

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Return True for the path of a FITS file with TELESCOP = JWST in its first header."""
        is_path = isinstance(filename_or_obj, str | os.PathLike)
        return (
            is_path and os.fspath(filename_or_obj).lower().endswith((".fits", ".fits.gz")) and _is_jwst(filename_or_obj)
        )


def _is_jwst(path: "str | os.PathLike[str]") -> bool:
    from astropy.io import fits

    try:
        with filtered("ignore", Warning):  # this is only a guess; opening the file will warn
            return bool(fits.Header.fromstring(layout.first_header(Path(path))).get("TELESCOP") == "JWST")
    except damage():
        return False


def _open(source: Any, origin: tuple[int, int] | None) -> xr.Dataset:
    from astropy.io.fits import HDUList

    first = readout.check_origin(origin)
    if isinstance(source, HDUList):
        return _build(source, None, first)
    if isinstance(source, str | os.PathLike):
        return _open_path(os.fsdecode(source), first)
    msg = f"source is a {type(source).__name__}; give a path or an astropy HDUList"
    raise ArgumentError(msg)


def _open_path(path: str, origin: tuple[int, int] | None) -> xr.Dataset:
    from astropy.utils.exceptions import AstropyUserWarning

    # Make the path absolute, so that the file is found again from another folder or process.
    path = os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111 - pathlib would drop "..", not resolve it
    manager = opened(path)
    try:
        with filtered("ignore", AstropyUserWarning):
            ds = _build(manager.acquire(), manager, origin, path)
    except damage() as error:
        manager.close()
        if isinstance(error, XtaError):
            raise
        msg = f"{path} cannot be read as a JWST product ({error}); it may be damaged, so download it again"
        raise FileError(msg) from error
    ds.encoding["source"] = path
    ds.set_close(manager.close)
    return ds


def _build(hdus: "HDUList", manager: Any, origin: tuple[int, int] | None, path: str | None = None) -> xr.Dataset:
    label = str(hdus[0].header.get("FILENAME") or hdus.filename() or "HDUList")
    _check_product(hdus, label)
    ds = xr.Dataset(_variables(hdus, manager, label), attrs=_attributes(hdus, label))
    ds = identify(ds, ds.attrs | ({} if path is None else {"source": path}))
    corner = readout.corner(ds, hdus, label=label, origin=origin)
    ny, nx = ds.sizes["y"], ds.sizes["x"]
    x0, y0 = corner or (0, 0)
    labels = {"x": np.arange(x0, x0 + nx), "y": np.arange(y0, y0 + ny)}
    ds = model.with_coords(ds, {dim: (dim, values, model.attrs(dim)) for dim, values in labels.items()})
    ds = readout.assign_times(ds, hdus, label=label)
    if corner is not None:
        ds = _assign_wcs(ds, hdus, label)
    if "corrected_ra" in header(ds):
        ds = model.with_coords(ds, model.describe(_written_positions(hdus, label)))
    if (shifts := _other_shifts(hdus)) is not None:
        warn(
            f"{label}: its pixels were shifted by other software (IMSHIFTS {shifts:.200}), but its WCS belongs to the "
            "pixels before the shift; do not trust sky positions, and set the star's pixel by hand"
        )
    return model.with_history(ds, f"open_exposure {Path(label).name}")


def _other_shifts(hdus: "HDUList") -> str | None:
    """Describe the shifts of frames that other software left in IMSHIFTS; None if there are none."""
    if "IMSHIFTS" not in hdus or not hdus["IMSHIFTS"].is_image:
        return None
    hdu = hdus["IMSHIFTS"]
    if hdu.size > MAX_SHIFTS:
        return f"of {hdu.size} bytes"
    return np.array2string(np.asarray(hdu.data), precision=3, threshold=4) if np.any(hdu.data) else None


def _written_positions(hdus: "HDUList", label: str) -> dict[str, float]:
    """Read the star and the mask that `to_fits` wrote (1-based in the header)."""
    cards = {"target_x": "STARCENX", "target_y": "STARCENY", "mask_x": "MASKCENX", "mask_y": "MASKCENY"}
    values = {name: number(hdus, card, label=label) for name, card in cards.items()}
    return {name: float(value) - 1 for name, value in values.items() if value is not None}


def _check_product(hdus: "HDUList", label: str) -> None:
    header = hdus[0].header
    if header.get("TELESCOP") != "JWST":
        msg = f"{label}: TELESCOP is {header.get('TELESCOP')!r}, not 'JWST'; xta only reads JWST products"
        raise ProductError(msg)
    if "SCI" not in hdus:
        what = "there is no SCI extension"
    elif not hdus["SCI"].is_image:
        what = f"its SCI extension is not an image but a {type(hdus['SCI']).__name__}"
    elif len(hdus["SCI"].shape) not in (IMAGE_NDIM, CUBE_NDIM):
        what = f"its SCI array has {len(hdus['SCI'].shape)} dimensions ({header.get('DATAMODL', 'unknown model')})"
    else:
        return
    msg = f"{label}: {what}; give an image or a cube of integrations, one of {', '.join(SCIENCE_KINDS)}"
    raise ProductError(msg)


def _attributes(hdus: "HDUList", label: str) -> dict[str, Any]:
    both = {key: hdus[key] for key in (0, "SCI")}
    values = {
        name: number(both, card, label=label) if name in NUMBERS else _word(both, name, card, label)
        for name, card in KEYWORDS.items()
    }
    values["target_name"] = values["target_name"] or values["target_proposer"]
    if values["pixel_area"] and values["pixel_area"] > 0:
        values["pixel_scale"] = float(np.sqrt(values["pixel_area"]))  # [arcsec / pixel]
    words = (values[name] for name in ("telescope", "instrument", "filter", "exp_type"))
    title = f"{values['target_name'] or 'exposure'}, {' '.join(str(word) for word in words if word)}"
    return {"Conventions": model.CONVENTIONS, "title": title, **model.clean_attrs(values)}


def _word(hdus: Mapping[Any, Any], name: str, card: str, label: str) -> Any:
    """Look up a keyword that must be an identifier or text; return None, with a warning, if it is something else."""
    value = keyword(hdus, card)
    if value is None or is_valid(name, str(value).strip()):
        return value
    warn(f"{label:.200}: {card} is {value!r:.60}, which is not a valid {card}; it is left out")
    return None


def _variables(hdus: "HDUList", manager: Any, label: str) -> dict[str, xr.Variable]:
    from xta.images import dq

    shape = hdus["SCI"].shape
    dims = ("integration", "y", "x")[-len(shape) :]
    chunks = {dim: 1 if dim == "integration" else size for dim, size in zip(dims, shape, strict=True)}
    unit = str(keyword(hdus, "BUNIT") or "")
    units = {"sci": unit, "err": unit, "dq": "1"}
    lock = SerializableLock()
    variables = {}
    for name in [name for name in model.IMAGES if name.upper() in hdus]:
        hdu = hdus[name.upper()]
        if hdu.is_image and not hdu.shape:
            continue
        if not hdu.is_image or hdu.shape != shape:
            what = (
                f"has the shape {hdu.shape}, but SCI {shape}"
                if hdu.is_image
                else f"is not an image but a {type(hdu).__name__}"
            )
            warn(f"{label}: {name.upper()} {what}; it is left out")
            continue
        attrs = model.attrs(name, units=units.get(name, f"({unit})2" if unit else ""))
        if name == "dq":
            attrs |= dq.flag_attrs()
        data = array(hdus, hdu, manager=manager, lock=lock)
        variables[name] = xr.Variable(dims, data, attrs, encoding={"preferred_chunks": chunks})
    ancillary = " ".join(name for name in ("err", "dq") if name in variables)
    if ancillary:
        variables["sci"].attrs["ancillary_variables"] = ancillary
    return variables


def _assign_wcs(ds: xr.Dataset, hdus: "HDUList", label: str) -> xr.Dataset:
    from xta.geometry import sky

    try:
        text = wcs.from_fits(hdus)
    except WCSError as error:
        warn(f"{label}: {error}. The dataset has no wcs, ra and dec")
        return ds
    return sky.assign_wcs(ds, text)
