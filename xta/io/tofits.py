"""Write exposures as JWST products: FITS files for the pipeline and for PSF-subtraction software."""

import copy
import logging
import os
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import xarray as xr

from xta import identity, model, pixels
from xta.errors import ArgumentError, FileError, MissingError, ProductError, WCSError, XtaWarning, filtered
from xta.geometry import sky, sphere, wcs
from xta.identity import KEYWORDS, header
from xta.io.atomic import make_folder, whole_file
from xta.io.backend import open_exposure
from xta.io.cards import history, set_cards
from xta.io.klipfits import write_klip
from xta.stacks import is_stack, members_or_one
from xta.workers import compute

__all__ = ["correct_model", "to_fits"]

logger = logging.getLogger(__name__)

PathLike = str | os.PathLike[str]
Point: TypeAlias = tuple[float, float]

ARRAYS = {name: "data" if name == "sci" else name for name in model.IMAGES}
"""Variable of a dataset -> array of a JWST data model."""

EXPOSURE = ("visit_id", "exposure_number", "detector", "date_beg")
"""Coordinates that together identify an exposure."""


def to_fits(
    ds: xr.Dataset, path: PathLike, *, template: PathLike | None = None, crpix: Literal["star", "mask"] | None = None
) -> None:
    """Write an exposure with its corrected WCS as a JWST product, or the image of a PSF subtraction.

    Parameters
    ----------
    ds : xarray.Dataset
        One exposure with a WCS and the star's pixel ``target_x``, ``target_y``, which may be analyzed (`adjust_wcs`),
        cropped or recentered (`recenter`), or an image of `xta.klip`. Dask arrays are computed in memory.
    path : path
        Name of the new file, ``*.fits``; an existing one is replaced once the new file is complete. Other software
        takes the stage of the product from the name, so end it in ``_calints.fits``, or ``_cal.fits`` for an image.
        For a stack of exposures, a folder, created if it does not exist; each file has the name of its original.
    template : path, optional
        The product that `ds` was read from. Its header and other extensions (INT_TIMES, AREA, tables) are kept
        if they fit the array. By default the file that `ds` was opened from, if it still exists;
        without one, the header is made from the coordinates and attributes of `ds`.
    crpix : "star" or "mask", optional
        Position of CRPIX. By default it is on the star for a recentered array, otherwise on the mask.

    Raises
    ------
    MissingError
        If there is no image, no star position, or neither a template nor coordinates for a header.
    WCSError
        If there is no WCS or several, the labels are not successive pixels of the readout (a strided, binned or
        averaged dataset), or the WCS cannot be written as FITS keywords.
    ProductError
        If `template` belongs to another exposure or has another unit, or the variables are not one image or cube.
    FileError
        If a file cannot be read or written, or `path` is that of the original product.
    ArgumentError
        If `path` does not end in ``.fits``, `crpix` does not have the form above or the mask is not known, `template`
        or `crpix` is given for an image of `xta.klip`, or arithmetic left pixels, errors or flags that cannot be
        written, see `xta.pixels`.

    Notes
    -----
    The pixel frame of the file begins at the array's corner: FITS pixel = label - first label + 1. SUBSIZE1/2 are
    the size of the array, and SUBSTRT1/2 its first pixel on the detector, for a recentered array to the nearest
    pixel. A crop is therefore a readout of its own, and its labels begin at 0 when it is opened again.

    The GWCS is written to the ASDF extension, with an initial shift if the labels do not begin at 0. From it the
    pipeline's own functions derive the FITS keywords (TAN with SIP polynomials, within 0.01 pixel) and S_REGION.
    RA_REF, DEC_REF, ROLL_REF, RA_V1, DEC_V1, PA_V3 and PA_APER are those of the corrected attitude.

    STARCENX/Y and MASKCENX/Y in the SCI header are the star and the mask [pixel, 1-based], as spaceKLIP and
    pyKLIP read them. By default pyKLIP adds XOFFSET/YOFFSET to the star, and spaceKLIP moves frames by
    them. In a recentered array the dither has been removed already, so they are 0, and XOFFOBS/YOFFOBS [arcsec] in
    the SCI header contain the original values. An array that is not recentered keeps them; read it with
    ``JWSTData(..., center_include_offset=False)``. STARXERR, STARYERR, STARCORR, MASKXERR and MASKYERR
    are the errors of star and mask, and STARFROM is the centroid that they are based on. TADRA, TADDEC and TADROLL
    [arcsec] are the change of the attitude, and HISTORY describes how it was measured; S_TAXTA in the primary header is
    then COMPLETE. The TA images are not written.

    For an image of `xta.klip`, the file has one extension KLIP per number of components, with that number as EXTVER
    and the star at CRPIX (1-based) and PSFCENTX/Y (0-based, as in pyKLIP's files), and a table NOISE.

    References
    ----------
    .. [1] jwst, https://jwst-pipeline.readthedocs.io: ``jwst.assign_wcs.util.update_fits_wcsinfo`` and
       ``update_s_region_imaging``.
    """
    if "klip" in ds.data_vars:
        if template is not None or crpix is not None:
            msg = "template or crpix is given for the image of a PSF subtraction; leave it out, the star is at CRPIX"
            raise ArgumentError(msg)
        write_klip(ds, _target(ds, path, template))
        return
    if is_stack(ds):
        _to_folder(ds, Path(path).expanduser(), template, crpix)
        return
    ds = identity.current(ds)
    identity.require(ds, "sci", "x", "y", step="xta.open_exposure")
    first = _first_pixel(ds)
    ds = pixels.checked(ds)
    place = _place(ds, first, crpix)
    target = _target(ds, path, template)
    ds = model.with_history(ds, f"to_fits {target.name}")
    with _model(ds, template, first) as product:
        product.meta.filename = target.name
        _set_arrays(product, ds)
        _set_times(product, ds)
        _set_subarray(product, ds, first)
        _correct(product, ds, place)
        _write(product, target)


def correct_model(product: Any, ds: xr.Dataset) -> None:
    """Set the corrected WCS of an exposure and the keywords of `to_fits` in a data model of jwst, in place.

    Parameters
    ----------
    product : JwstDataModel
        Data model of the exposure that `ds` was opened from; its pixels do not change.
    ds : xarray.Dataset
        The analyzed exposure, with the same shape.

    Raises
    ------
    MissingError, WCSError
        For the same reasons as in `to_fits`.
    ProductError
        If the shapes differ.
    """
    first = _first_pixel(ds)
    if product.data.shape[-2:] != (ds.sizes["y"], ds.sizes["x"]):
        msg = f"the data model has the shape {product.data.shape}, but the dataset {ds['sci'].shape}; do not crop it"
        raise ProductError(msg)
    _correct(product, ds, _place(ds, first, None))


class _Place(NamedTuple):
    """Star and mask in pixels of the file, 1-based, the WCS in its 0-based pixels, and the position of CRPIX."""

    star: Point
    mask: Point | None
    gwcs: Any
    crpix: Point


def _place(ds: xr.Dataset, first: dict[str, int], crpix: str | None) -> _Place:
    star, mask = _position(ds, "target", first), _position(ds, "mask", first)
    if star is None:
        msg = (
            "the star's pixel is not known; call ds.ta.adjust_wcs() first, or set it with "
            "ds.ta.set_star(x, y, source=...)"
        )
        raise MissingError(msg)
    at = _reference_pixel(ds, star, mask, crpix)
    return _Place(star, mask, _file_wcs(ds, first), at)


def _correct(product: Any, ds: xr.Dataset, place: _Place) -> None:
    _set_wcs(product, place.gwcs, place.crpix)
    set_cards(product, ds, place.star, place.mask)
    for line in history(ds):
        product.add_history_entry(line)


def _to_folder(ds: xr.Dataset, folder: Path, template: PathLike | None, crpix: Any) -> None:
    """Write each exposure of a stack under its own name."""
    if template is not None or folder.suffix.lower() == ".fits":
        what = "one template" if template is not None else f"one file, {folder.name},"
        msg = f"the dataset contains several exposures, but {what} is given; give a folder, and no template"
        raise ArgumentError(msg)
    parts = members_or_one(ds)
    for part in parts:
        identity.require(part, "filename", step="xta.open_exposure")
    names = [str(header(part)["filename"]).removesuffix(".gz") for part in parts]
    if wrong := [name for name in names if not identity.is_valid("filename", name)]:
        msg = f"an exposure has the name {wrong[0]!r:.100}, which is not the name of a file; set its filename"
        raise ArgumentError(msg)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        msg = f"several exposures have the name {', '.join(twice)}, so one file would replace the other; select one"
        raise ArgumentError(msg)
    make_folder(folder)
    for part, name in zip(parts, names, strict=True):
        to_fits(part, folder / name, crpix=crpix)


def _first_pixel(ds: xr.Dataset) -> dict[str, int]:
    """Check that the dataset is one image or cube of successive pixels, and return the labels of its corner."""
    dims = set(ds["sci"].dims)
    if dims - {"integration"} != {"x", "y"}:
        msg = f"sci has the dimensions {ds['sci'].dims}; select an image (y, x) or a cube (integration, y, x) first"
        raise ProductError(msg)
    if not ds["sci"].size:
        msg = "sci is empty; give an exposure with pixels"
        raise ProductError(msg)
    for name in ARRAYS.keys() & ds.data_vars.keys():
        if set(ds[name].dims) != dims:
            msg = (
                f"{name} has the dimensions {ds[name].dims}, but sci {ds['sci'].dims}; "
                f"combine integrations with {pixels.COADD}, or drop {name}"
            )
            raise ProductError(msg)
    model.require_pixels(ds, WCSError, "call to_fits before this step")
    first = {axis: float(ds[axis][0]) for axis in ("x", "y")}
    if any(label % 1 for label in first.values()):
        msg = f"the labels x, y begin at {first['x']:g}, {first['y']:g}, between pixels; call to_fits before this step"
        raise WCSError(msg)
    return {axis: int(label) for axis, label in first.items()}


def _position(ds: xr.Dataset, name: str, first: dict[str, int]) -> Point | None:
    """Return the star ("target") or the mask in pixels of the file, 1-based; None if it is not known."""
    x, y = (model.scalar(ds, f"{name}_{axis}") - first[axis] + 1 for axis in ("x", "y"))
    return (x, y) if np.isfinite([x, y]).all() else None


def _reference_pixel(ds: xr.Dataset, star: Point, mask: Point | None, crpix: str | None) -> Point:
    """Choose the position of CRPIX: the star, or the mask if it is known."""
    if crpix not in {None, "star", "mask"} or (crpix == "mask" and mask is None):
        msg = f"crpix is {crpix!r}; give 'star'" + (" or 'mask'" if mask else ", since the mask's place is not known")
        raise ArgumentError(msg)
    choice = crpix or ("star" if mask is None or "star_x" in ds.coords else "mask")
    return star if choice == "star" or mask is None else mask


def _file_wcs(ds: xr.Dataset, first: dict[str, int]) -> Any:
    """Return the WCS in the 0-based pixels of the file, with a bounding box."""
    gwcs = sky.the_wcs(ds)
    # The parsed WCS is shared with others; a bounding box is set on a copy.
    gwcs = wcs.shift(gwcs, first["x"], first["y"]) if any(first.values()) else copy.deepcopy(gwcs)
    gwcs.bounding_box = tuple((-0.5, ds.sizes[axis] - 0.5) for axis in ("x", "y"))
    return gwcs


def _target(ds: xr.Dataset, path: PathLike, template: PathLike | None) -> Path:
    """Check the path of the new file, which must not be that of the original."""
    target = Path(path)
    if target.suffix.lower() != ".fits":
        msg = f"path is {target}; the output name must end in .fits"
        raise ArgumentError(msg)
    for original in (template, identity.source(ds)):
        if original is not None and target.exists() and Path(original).exists() and target.samefile(original):
            msg = f"{target} is the original product and would be overwritten; give another name"
            raise FileError(msg)
    return target


def _model(ds: xr.Dataset, template: PathLike | None, first: dict[str, int]) -> Any:
    """Make a data model with the header of the exposure and without its images."""
    from jwst.datamodels import CubeModel, ImageModel

    kind = CubeModel if "integration" in ds["sci"].dims else ImageModel
    source = template if template is not None else identity.source(ds)
    if source is not None:
        try:
            return kind(_template(ds, source, first))
        except (FileError, ProductError) as error:
            if template is not None:
                raise
            logger.info("the header is made from the dataset: %s", error)
    return _from_attributes(ds, kind())


def _template(ds: xr.Dataset, path: PathLike, first: dict[str, int]) -> Any:
    """Read the HDUs of the original product, without the arrays that are replaced or no longer fit."""
    from astropy.io import fits

    with filtered("ignore", XtaWarning):  # they were issued when the dataset was opened
        original = open_exposure(path)
    with original, fits.open(path, memmap=False) as hdus:
        _check_exposure(ds, original, path)
        kept = [_kept(hdu, ds, original, first) for hdu in hdus]
        return fits.HDUList([hdu for hdu in kept if hdu.name != "ASDF" or "wcs" in original.coords])


def _check_exposure(ds: xr.Dataset, original: xr.Dataset, path: PathLike) -> None:
    identity.require(ds, "visit_id", step="xta.open_exposure")
    pairs = {KEYWORDS[name]: (header(original).get(name), header(ds).get(name)) for name in EXPOSURE}
    units = original["sci"].attrs.get("units"), ds["sci"].attrs.get("units")
    if all(units):
        pairs["BUNIT"] = units
    different = [f"{keyword} {theirs}, not {ours}" for keyword, (theirs, ours) in pairs.items() if theirs != ours]
    if different:
        msg = f"the template {path} belongs to another exposure: {'; '.join(different)}; give the original product"
        raise ProductError(msg)


def _kept(hdu: Any, ds: xr.Dataset, original: xr.Dataset, first: dict[str, int]) -> Any:
    """Copy an HDU of the original, cut to the dataset; arrays that are replaced or do not fit are left empty."""
    from astropy.io import fits

    empty = fits.ImageHDU(name=hdu.name)  # the ASDF extension may refer to it
    if hdu.name.lower() in ARRAYS:
        return fits.ImageHDU(header=hdu.header) if hdu.name.lower() in ds else empty
    if hdu.name == "INT_TIMES":
        rows = _rows(ds, original)
        matched = rows is not None and len(hdu.data) == original.sizes["integration"]
        return fits.BinTableHDU(hdu.data[rows], header=hdu.header) if matched else empty
    readout = tuple(header(original).get(f"subsize{k}", original.sizes[axis]) for k, axis in ((2, "y"), (1, "x")))
    maps = {readout, (original.sizes["y"], original.sizes["x"])}
    if not isinstance(hdu, fits.ImageHDU) or hdu.shape[-2:] not in maps:
        return hdu.copy()
    if hdu.shape == readout and "star_x" not in ds.coords and min(first.values()) >= 0:
        cut = hdu.data[first["y"] :, first["x"] :][: ds.sizes["y"], : ds.sizes["x"]]
        if cut.shape == (ds.sizes["y"], ds.sizes["x"]):
            return fits.ImageHDU(cut, header=hdu.header)
    logger.info("%s does not fit the array and is left out", hdu.name)
    return empty


def _rows(ds: xr.Dataset, original: xr.Dataset) -> Any:
    """Find the index of each integration in the original product; None if there are none, or others."""
    if "integration" not in ds["sci"].dims or "integration" not in original.dims:
        return None
    rows = original.indexes["integration"].get_indexer(ds["integration"].values)
    return rows if (rows >= 0).all() else None


def _from_attributes(ds: xr.Dataset, product: Any) -> Any:
    """Fill the header with the coordinates and attributes that came from it."""
    identity.require(ds, "telescope", "instrument", step="xta.open_exposure")
    for name, value in model.clean_attrs(header(ds)).items():
        paths = product.find_fits_keyword(KEYWORDS[name]) if name in KEYWORDS else []
        # If a keyword has two places, like V2_REF, the first one belongs to guider products.
        for place in paths[-1:]:
            product[place] = bool(value) if name in {"is_psf", "is_background"} else value
    product.meta.coordinates.reference_frame = "ICRS"
    product.meta.cal_step.assign_wcs = "COMPLETE"
    return product


def _set_arrays(product: Any, ds: xr.Dataset) -> None:
    dims = [dim for dim in ("integration", "y", "x") if dim in ds["sci"].dims]
    # Compute all at once, since the variables of a recentered dataset share their bad pixels.
    arrays = compute(ds[[name for name in ARRAYS if name in ds]].reset_coords(drop=True))
    for name in arrays:
        values = arrays[name].transpose(*dims).values
        dtype = np.uint32 if name == "dq" else np.float32
        setattr(product, ARRAYS[str(name)], np.ascontiguousarray(values, dtype=dtype))
    product.meta.bunit_data = ds["sci"].attrs.get("units")
    product.meta.bunit_err = ds["err"].attrs.get("units") if "err" in ds else None


def _set_times(product: Any, ds: xr.Dataset) -> None:
    """Set NINTS, and the times that are not in the header, from the coordinates."""
    time = ds["time"] if "time" in ds.coords else None
    if "integration" not in ds["sci"].dims:
        if time is not None and not time.ndim:
            product.meta.exposure.mid_time = float(_mjd(time.values))
        return
    count = ds.sizes["integration"]
    product.meta.exposure.nints = count
    if product.int_times is not None or time is None or time.dims != ("integration",):
        return
    table = np.zeros(count, product.get_dtype("int_times"))
    for name in table.dtype.names[1:]:
        table[name] = np.nan
    table["integration_number"] = np.arange(1, count + 1)
    table["int_mid_MJD_UTC"] = _mjd(time.values)
    if "time_bjd_tdb" in ds.coords:
        table["int_mid_BJD_TDB"] = ds["time_bjd_tdb"].values
    product.int_times = table


def _mjd(time: Any) -> Any:
    """Convert datetime64 (UTC) to modified Julian dates [day]; NaT to NaN."""
    return (time - model.MJD_ZERO) / np.timedelta64(1, "D")


def _set_subarray(product: Any, ds: xr.Dataset, first: dict[str, int]) -> None:
    subarray = product.meta.subarray
    for axis, keyword in (("x", "substrt1"), ("y", "substrt2")):
        setattr(subarray, f"{axis}size", ds.sizes[axis])
        corner = float(first[axis])
        if "star_x" in ds.coords:
            corner += float(ds[f"star_{axis}"]) - float(ds[f"target_{axis}"])
        if keyword in header(ds):
            setattr(subarray, f"{axis}start", int(header(ds)[keyword]) + round(corner))


def _set_wcs(product: Any, gwcs: Any, crpix: Point) -> None:
    """Set the GWCS, and all keywords derived from it."""
    from jwst.assign_wcs.util import update_fits_wcsinfo, update_s_region_imaging

    product.meta.wcs = gwcs
    info = product.meta.wcsinfo
    for name, value in wcs.reference(gwcs).items():
        if name in {"ra_ref", "dec_ref", "roll_ref"} or getattr(info, name) is None:
            setattr(info, name, float(value))
    for name, value in _telescope(gwcs).items():
        setattr(product.meta.pointing, name, value)
    if info.v3yangle is not None:
        product.meta.aperture.position_angle = (info.roll_ref + info.v3yangle) % 360
    try:
        with filtered("error", Warning, "Failed to achieve requested SIP"):
            update_fits_wcsinfo(product, crpix=list(crpix))
    except (RuntimeWarning, ValueError) as error:
        msg = f"the WCS cannot be written as FITS keywords within 0.01 pixel over the whole array ({error}); crop it"
        raise WCSError(msg) from error
    update_s_region_imaging(product)


def _telescope(gwcs: Any) -> dict[str, float]:
    """Compute the direction of the axis V1 and the position angle of V3 there [deg]."""
    frame = [name for name in gwcs.available_frames if name.startswith("v2v3")][-1]
    to_sky = gwcs.get_transform(frame, gwcs.available_frames[-1])
    (ra, dec), v3 = to_sky(0.0, 0.0), to_sky(0.0, 90 * 3600.0)
    east, north = sphere.tangent_offset(float(ra), float(dec), *v3)
    return {"ra_v1": float(ra), "dec_v1": float(dec), "pa_v3": float(np.rad2deg(np.arctan2(east, north)) % 360)}


def _write(product: Any, target: Path) -> None:
    from astropy.io.fits.verify import VerifyWarning

    # Long keywords of other software in a template stay HIERARCH cards.
    hierarch = filtered("ignore", VerifyWarning, ".*a HIERARCH card will be created")
    with whole_file(target) as temporary, hierarch:
        product.to_fits(temporary, overwrite=True)
