"""Open JWST imaging products as lazy, labelled datasets: ``xr.open_dataset(path, engine="jwst")``."""

import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray, BackendEntrypoint, CachingFileManager
from xarray.backends.locks import SerializableLock
from xarray.core import indexing

from xta import names, wcs
from xta.errors import ArgumentError, FileError, ProductError, WCSError, warn

if TYPE_CHECKING:
    from astropy.io.fits import HDUList

__all__ = ["JwstBackendEntrypoint", "open_exposure"]

PRODUCTS = ("_calints", "_cal", "_rateints", "_rate")
EXTENSIONS = ("sci", "err", "dq", "var_poisson", "var_rnoise", "var_flat")
IMAGE_NDIM, CUBE_NDIM = 2, 3


def _open_fits(path: str, *, mode: str = "readonly") -> "HDUList":
    from astropy.io import fits

    # A memory map cannot scale the unsigned integers of DQ in sections.
    return fits.open(path, mode=mode, memmap=False)


class _FitsArray(BackendArray):
    """One image extension, read a few frames at a time, in native byte order."""

    def __init__(self, manager: Any, lock: Any, hdu: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.manager, self.lock, self.hdu = manager, lock, hdu
        self.shape, self.dtype = shape, dtype

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, key: tuple[Any, ...]) -> Any:
        first, rest = key[0], key[1:]
        rows = range(self.shape[0])[first]
        # Read the block of whole frames (or rows) that holds the request: one contiguous part of the file.
        chosen = [rows] if isinstance(rows, int) else list(rows)
        if not chosen:
            return np.empty((0, *self.shape[1:]), self.dtype)[(slice(None), *rest)]
        start, stop = min(chosen), max(chosen) + 1
        with self.lock:
            block = self.manager.acquire(needs_lock=False)[self.hdu].section[start:stop]
        within = rows - start if isinstance(rows, int) else np.asarray(chosen) - start
        return np.asarray(block, dtype=self.dtype)[within][(*(() if isinstance(rows, int) else (slice(None),)), *rest)]


def open_exposure(
    source: "str | os.PathLike[str] | HDUList",
    *,
    chunks: Any = None,
    origin: tuple[int, int] | None = None,
) -> xr.Dataset:
    """Open a JWST imaging product as a labelled dataset.

    Parameters
    ----------
    source : path or astropy.io.fits.HDUList
        A ``_calints`` or ``_rateints`` cube, or a ``_cal`` or ``_rate`` image.
    chunks : optional
        As in `xarray.open_dataset`; ``{}`` gives dask arrays of one integration each.
    origin : (int, int), optional
        Pixel (x, y) of the full readout at which the array begins, for files that other software cropped
        without leaving a trace.

    Returns
    -------
    xarray.Dataset
        ``sci``, ``err``, ``dq``, ``var_poisson``, ``var_rnoise``, ``var_flat`` on (integration, y, x), or
        (y, x) for an image; coordinates ``x``, ``y`` (0-based pixel of the readout), ``wcs``, ``ra``,
        ``dec`` and the integration times. Data are read when used.

    Raises
    ------
    FileError
        If the file is missing, cut short or not FITS.
    ProductError
        If it is FITS, but not a JWST image or cube of a kind listed above.

    Warns
    -----
    XtaWarning
        If something in the file cannot be trusted and is left out: it names what and why.
    """
    from astropy.io.fits import HDUList

    if not isinstance(source, HDUList):
        return xr.open_dataset(
            os.fspath(source), engine=JwstBackendEntrypoint, chunks=chunks, backend_kwargs={"origin": origin}
        )
    ds = _build(source, None, origin)
    if chunks is None:
        return ds
    return ds.chunk(chunks or {dim: 1 if dim == "integration" else -1 for dim in ds["sci"].dims})


class JwstBackendEntrypoint(BackendEntrypoint):
    """The xarray engine "jwst"."""

    description = "JWST imaging products (calints, cal, rateints, rate) as labelled datasets"
    open_dataset_parameters = ("filename_or_obj", "drop_variables", "origin")

    def open_dataset(
        self,
        filename_or_obj: "str | os.PathLike[str] | HDUList",
        *,
        drop_variables: str | Iterable[str] | None = None,
        origin: tuple[int, int] | None = None,
    ) -> xr.Dataset:
        """Open a product; see `open_exposure`."""
        from astropy.io.fits import HDUList

        if isinstance(filename_or_obj, HDUList):
            ds = _build(filename_or_obj, None, origin)
        else:
            if not isinstance(filename_or_obj, str | os.PathLike):
                msg = f"cannot open a {type(filename_or_obj).__name__}: give a path or an astropy HDUList"
                raise ArgumentError(msg)
            ds = _open_path(os.fspath(filename_or_obj), origin)
        dropped = [drop_variables] if isinstance(drop_variables, str) else list(drop_variables or ())
        return ds.drop_vars(dropped, errors="ignore")

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Claim a path whose file is FITS with TELESCOP = JWST in its first header."""
        if not isinstance(filename_or_obj, str | os.PathLike):
            return False
        path = Path(filename_or_obj)
        if not path.name.lower().endswith((".fits", ".fits.gz")):
            return False
        return _is_jwst(path)


def _is_jwst(path: Path) -> bool:
    from astropy.io import fits

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is only a guess; opening will complain
            return bool(fits.getheader(path, 0).get("TELESCOP") == "JWST")
    except (OSError, ValueError):
        return False


def _open_path(path: str, origin: tuple[int, int] | None) -> xr.Dataset:
    from astropy.utils.exceptions import AstropyUserWarning

    if not Path(path).is_file():
        what = "is a folder" if Path(path).is_dir() else "does not exist"
        msg = f"{path} {what}; give the path of a JWST product ({', '.join(PRODUCTS)}.fits)"
        raise FileError(msg)
    manager = CachingFileManager(_open_fits, path, mode="readonly")
    try:
        with warnings.catch_warnings():
            # astropy warns of a truncated file; `_check_whole` raises.
            warnings.simplefilter("ignore", AstropyUserWarning)
            hdus = manager.acquire()
            len(hdus)  # reads all headers
            _check_whole(path, hdus)
        ds = _build(hdus, manager, origin)
    except (FileError, ProductError, ArgumentError):
        manager.close()
        raise
    except (OSError, EOFError, ValueError, TypeError, KeyError, IndexError) as error:
        manager.close()
        msg = f"{path} cannot be read as FITS ({error}); is it a whole JWST product? Fetch it again"
        raise FileError(msg) from error
    ds.encoding["source"] = path
    ds.set_close(manager.close)
    return ds


def _check_whole(path: str, hdus: "HDUList") -> None:
    """Refuse a file that ends before its headers say it does."""
    if path.endswith(".gz"):
        return  # the sizes are those of the unpacked content, which gzip checks itself
    size = Path(path).stat().st_size
    last = hdus[-1].fileinfo()
    needed = last["datLoc"] + last["datSpan"]
    if size < needed:
        msg = f"{path} is cut short: it has {size} bytes, its headers need {needed}; fetch it again"
        raise FileError(msg)


def _build(hdus: "HDUList", manager: Any, origin: tuple[int, int] | None) -> xr.Dataset:
    label = hdus[0].header.get("FILENAME") or hdus.filename() or "HDUList"
    _check_product(hdus, label)
    ds = xr.Dataset(_variables(hdus, manager, label), attrs=_attributes(hdus))
    corner = _corner(ds, hdus, label, origin)
    ny, nx = ds.sizes["y"], ds.sizes["x"]
    x0, y0 = corner if corner is not None else (0, 0)
    ds = ds.assign_coords(
        x=("x", np.arange(x0, x0 + nx), names.attrs("x")), y=("y", np.arange(y0, y0 + ny), names.attrs("y"))
    )
    ds = _assign_times(ds, hdus, label)
    if corner is not None:
        ds = _assign_wcs(ds, hdus, label)
    if "corrected_ra" in ds.attrs:
        ds = ds.assign_coords(names.describe(_written_positions(hdus)))
    if "IMSHIFTS" in hdus and np.any(hdus["IMSHIFTS"].data):
        shifts = np.array2string(np.asarray(hdus["IMSHIFTS"].data), precision=3, threshold=4)
        warn(
            f"{label}: its pixels were shifted by other software (IMSHIFTS {shifts}), but its WCS belongs to the "
            "pixels before the shift; do not trust sky positions, give the star's pixel by hand"
        )
    return names.with_history(ds, f"open_exposure {Path(label).name}")


def _written_positions(hdus: "HDUList") -> dict[str, float]:
    """Read the star and the mask that `to_fits` wrote (1-based in the header)."""
    cards = {
        "target_x": "STARCENX",
        "target_y": "STARCENY",
        "mask_x": "MASKCENX",
        "mask_y": "MASKCENY",
    }
    values = {name: _keyword(hdus, card) for name, card in cards.items()}
    return {name: float(value) - 1 for name, value in values.items() if value is not None}


def _check_product(hdus: "HDUList", label: str) -> None:
    header = hdus[0].header
    if header.get("TELESCOP") != "JWST":
        msg = f"{label}: TELESCOP is {header.get('TELESCOP')!r}, not 'JWST'; xta reads JWST products only"
        raise ProductError(msg)
    if "SCI" not in hdus:
        msg = f"{label} has no SCI extension; give a {', '.join(PRODUCTS)} product"
        raise ProductError(msg)
    ndim = len(hdus["SCI"].shape)
    if ndim not in (IMAGE_NDIM, CUBE_NDIM):
        msg = (
            f"{label}: its SCI array has {ndim} dimensions, not an image or a cube of integrations "
            f"({header.get('DATAMODL', 'unknown model')}); give a {', '.join(PRODUCTS)} product"
        )
        raise ProductError(msg)


def _keyword(hdus: "HDUList", keyword: str) -> Any:
    for header in (hdus[0].header, hdus["SCI"].header):
        value = header.get(keyword)
        if value is not None and not (isinstance(value, str) and value.strip() in {"", "N/A"}):
            return value
    return None


def _attributes(hdus: "HDUList") -> dict[str, Any]:
    values = {name: _keyword(hdus, keyword) for name, keyword in names.KEYWORDS.items()}
    values["target_name"] = values["target_name"] or values["target_proposer"]
    if values["pixel_area"]:
        values["pixel_scale"] = float(np.sqrt(values["pixel_area"]))  # [arcsec / pixel]
    words = (values[name] for name in ("telescope", "instrument", "filter", "exp_type"))
    title = f"{values['target_name'] or 'exposure'}, {' '.join(str(word) for word in words if word)}"
    return {"Conventions": names.CONVENTIONS, "title": title, **names.clean_attrs(values)}


def _variables(hdus: "HDUList", manager: Any, label: str) -> dict[str, xr.Variable]:
    from xta import dq

    shape = hdus["SCI"].shape
    dims = ("integration", "y", "x")[-len(shape) :]
    chunks = {dim: 1 if dim == "integration" else size for dim, size in zip(dims, shape, strict=True)}
    unit = _keyword(hdus, "BUNIT") or ""
    units = {"sci": unit, "err": unit, "dq": "1"}
    lock = SerializableLock()
    variables = {}
    for name in EXTENSIONS:
        if name.upper() not in hdus or not hdus[name.upper()].shape:
            continue
        hdu = hdus[name.upper()]
        if hdu.shape != shape:
            warn(f"{label}: {name.upper()} has the shape {hdu.shape}, SCI {shape}; it is left out")
            continue
        attrs = names.attrs(name, units=units.get(name, f"({unit})2" if unit else ""))
        if name == "dq":
            attrs |= dq.flag_attrs()
        data = _lazy(hdus, hdu, manager, lock)
        variables[name] = xr.Variable(dims, data, attrs, encoding={"preferred_chunks": chunks})
    ancillary = " ".join(name for name in ("err", "dq") if name in variables)
    if ancillary:
        variables["sci"].attrs["ancillary_variables"] = ancillary
    return variables


def _lazy(hdus: "HDUList", hdu: Any, manager: Any, lock: Any) -> Any:
    from astropy.io.fits.hdu.base import BITPIX2DTYPE

    unsigned = hdu.header.get("BZERO") == 2 ** (hdu.header["BITPIX"] - 1) and hdu.header.get("BSCALE", 1) == 1
    dtype = np.dtype(f"u{abs(hdu.header['BITPIX']) // 8}" if unsigned else BITPIX2DTYPE[hdu.header["BITPIX"]])
    if hdu.name == "DQ":
        dtype = np.dtype(np.uint32)
    if manager is None:
        return np.asarray(hdu.data).astype(dtype, copy=False)
    array = _FitsArray(manager, lock, hdus.index_of(hdu.name), hdu.shape, dtype.newbyteorder("="))
    return indexing.LazilyIndexedArray(array)


def _corner(ds: xr.Dataset, hdus: "HDUList", label: str, origin: tuple[int, int] | None) -> tuple[int, int] | None:
    """Pixel (x, y) of the readout at which the array begins; None where that cannot be known."""
    nx, ny = ds.sizes["x"], ds.sizes["y"]
    full = ds.attrs.get("subsize1", nx), ds.attrs.get("subsize2", ny)
    if origin is not None:
        x0, y0 = (int(value) for value in origin)
        if x0 < 0 or y0 < 0 or x0 + nx > full[0] or y0 + ny > full[1]:
            msg = f"origin {(x0, y0)} puts an array of {nx} x {ny} outside the readout of {full[0]} x {full[1]}"
            raise ArgumentError(msg)
        return x0, y0
    if (nx, ny) == full:
        return 0, 0
    found = _corner_from_crpix(ds, hdus)
    cropped = (
        f"{label}: the array has {nx} x {ny} pixels, SUBSIZE1/2 say {full[0]} x {full[1]}: other software cropped it"
    )
    if found is None:
        warn(
            f"{cropped}. Where it begins is not known, so x and y count from its own corner and there is no WCS; "
            "give origin=(x, y)"
        )
        return None
    warn(f"{cropped}. CRPIX is still the SIAF reference point, so it begins at pixel {found}; check, or give origin")
    return found


def _corner_from_crpix(ds: xr.Dataset, hdus: "HDUList") -> tuple[int, int] | None:
    """Software that crops moves CRPIX along; in a pipeline product it is the SIAF reference point."""
    from xta import siaf
    from xta.errors import SiafError

    crpix = _keyword(hdus, "CRPIX1"), _keyword(hdus, "CRPIX2")
    full = ds.attrs.get("subsize1"), ds.attrs.get("subsize2")
    try:
        ap = siaf.aperture(*(ds.attrs[name] for name in ("instrument", "aperture", "prd_version")))
    except (KeyError, SiafError):
        return None
    if None in crpix or None in full or ap.XSciRef is None or (ap.XSciSize, ap.YSciSize) != full:
        return None
    shift = np.array([ap.XSciRef - crpix[0], ap.YSciRef - crpix[1]])
    corner = np.round(shift).astype(int)
    inside = np.all(corner >= 0) and np.all(corner + np.array([ds.sizes["x"], ds.sizes["y"]]) <= full)
    if np.abs(shift - corner).max() > 1e-3 or not inside:
        return None
    return int(corner[0]), int(corner[1])


def _assign_times(ds: xr.Dataset, hdus: "HDUList", label: str) -> xr.Dataset:
    """Assign integration numbers and times: those of INT_TIMES, for an image that of EXPMID."""
    if "integration" not in ds.dims:
        mid = _keyword(hdus, "EXPMID")
        return ds if mid is None else ds.assign_coords(time=((), _datetime(mid), names.attrs("time")))
    n = ds.sizes["integration"]
    ds = ds.assign_coords(integration=("integration", np.arange(1, n + 1), names.attrs("integration")))
    table = hdus["INT_TIMES"].data if "INT_TIMES" in hdus else None
    if table is None or not len(table):
        return ds
    if len(table) != n:
        warn(
            f"{label}: INT_TIMES has {len(table)} rows for {n} integration(s), as in coadded or cut files; "
            "the integrations have no times"
        )
        return ds
    columns = {name.lower(): name for name in table.names}
    for name, column in (("time", "int_mid_mjd_utc"), ("time_bjd_tdb", "int_mid_bjd_tdb")):
        if column in columns:
            values = np.asarray(table[columns[column]], dtype=float)
            data = _datetime(values) if name == "time" else values
            ds = ds.assign_coords({name: ("integration", data, names.attrs(name))})
    return ds


def _datetime(mjd: Any) -> Any:
    """Convert modified Julian dates (UTC) to datetime64[ns]; NaN to NaT."""
    mjd = np.asarray(mjd, dtype=float)
    day = np.floor(np.nan_to_num(mjd))
    nanoseconds = np.round((np.nan_to_num(mjd) - day) * 86_400e6).astype(np.int64) * 1000
    # Doubles resolve 1 µs at MJD 60000; more digits would be invented.
    time = np.datetime64("1858-11-17", "ns") + day.astype(np.int64) * np.timedelta64(86_400 * 10**9, "ns")
    return np.where(np.isfinite(mjd), time + nanoseconds.astype("timedelta64[ns]"), np.datetime64("NaT", "ns"))


def _assign_wcs(ds: xr.Dataset, hdus: "HDUList", label: str) -> xr.Dataset:
    from xta import sky

    try:
        text = wcs.from_fits(hdus)
    except WCSError as error:
        warn(f"{label}: {error}. The dataset has no wcs, ra and dec")
        return ds
    return sky.assign_wcs(ds, text)
