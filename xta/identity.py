"""Store and read the identity of an exposure in scalar coordinates, independent of attributes.

When xarray joins datasets, it keeps the coordinates of each, but only the attributes of the first. So everything that
may differ between exposures is a coordinate, and is read with `header`. Attributes repeat it for readers.
"""

import math
import re
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from xta import model
from xta.errors import ArgumentError, MissingError
from xta.images.dq import DO_NOT_USE
from xta.workers import interrupts_wait

__all__ = [
    "IDENTITY",
    "KEYWORDS",
    "NUMBERS",
    "ONBOARD",
    "TA_IMAGES",
    "assign",
    "behind_mask",
    "centroid_kind",
    "current",
    "forget",
    "guider_number",
    "header",
    "identify",
    "in_memory",
    "is_combined",
    "is_foreign",
    "is_jwst",
    "is_ta",
    "is_valid",
    "klip_image",
    "read_coords",
    "refuse_combined",
    "require",
    "source",
    "words",
]

KEYWORDS: dict[str, str] = {
    "telescope": "TELESCOP",
    "instrument": "INSTRUME",
    "detector": "DETECTOR",
    "channel": "CHANNEL",
    "module": "MODULE",
    "filter": "FILTER",
    "pupil": "PUPIL",
    "coronagraphic_mask": "CORONMSK",
    "exp_type": "EXP_TYPE",
    "aperture": "APERNAME",
    "pps_aperture": "PPS_APER",
    "subarray": "SUBARRAY",
    "visit_id": "VISIT_ID",
    "program": "PROGRAM",
    "observation": "OBSERVTN",
    "visit": "VISIT",
    "exposure_number": "EXPOSURE",
    "target_name": "TARGNAME",
    "target_proposer": "TARGPROP",
    "target_type": "TARGTYPE",
    "target_ra": "TARG_RA",
    "target_dec": "TARG_DEC",
    "mu_ra": "MU_RA",
    "mu_dec": "MU_DEC",
    "mu_epoch": "MU_EPOCH",
    "date_beg": "DATE-BEG",
    "date_end": "DATE-END",
    "visit_start": "VSTSTART",
    "visit_end": "VISITEND",
    "readpatt": "READPATT",
    "nints": "NINTS",
    "ngroups": "NGROUPS",
    "exposure_time": "EFFEXPTM",
    "dither_number": "PATT_NUM",
    "dither_points": "NUMDTHPT",
    "x_offset": "XOFFSET",
    "y_offset": "YOFFSET",
    "guide_star": "GDSTARID",
    "guide_mode": "GUIDEMODE",
    "guider_aperture": "FGS_APER",
    "guide_star_x": "GSIDL_X",
    "guide_star_y": "GSIDL_Y",
    "is_psf": "IS_PSF",
    "is_background": "BKGDTARG",
    "substrt1": "SUBSTRT1",
    "substrt2": "SUBSTRT2",
    "subsize1": "SUBSIZE1",
    "subsize2": "SUBSIZE2",
    "ra_v1": "RA_V1",
    "dec_v1": "DEC_V1",
    "pa_v3": "PA_V3",
    "ra_ref": "RA_REF",
    "dec_ref": "DEC_REF",
    "roll_ref": "ROLL_REF",
    "v2_ref": "V2_REF",
    "v3_ref": "V3_REF",
    "v3i_yang": "V3I_YANG",
    "vparity": "VPARITY",
    "va_scale": "VA_SCALE",
    "pixel_area": "PIXAR_A2",
    "pixel_area_sr": "PIXAR_SR",
    "prd_version": "PRD_VER",
    "corrected_ra": "TADRA",
    "corrected_dec": "TADDEC",
    "corrected_roll": "TADROLL",
    "oss_version": "OSS_VER",
    "crds_context": "CRDS_CTX",
    "cal_version": "CAL_VER",
    "filename": "FILENAME",
}
"""Name in `header` -> JWST keyword that it is read from (primary or SCI header)."""

NUMBERS = frozenset(
    {
        *("target_ra", "target_dec", "mu_ra", "mu_dec", "x_offset", "y_offset", "exposure_time"),
        *("nints", "ngroups", "dither_number", "dither_points", "substrt1", "substrt2", "subsize1", "subsize2"),
        *("ra_v1", "dec_v1", "pa_v3", "ra_ref", "dec_ref", "roll_ref", "v2_ref", "v3_ref", "v3i_yang", "vparity"),
        *("va_scale", "pixel_area", "pixel_area_sr", "corrected_ra", "corrected_dec", "corrected_roll"),
    }
)
"""Names of `KEYWORDS` that are numbers; other values are ignored."""

IDENTITY = (
    *("filename", "visit_id", "exposure_number", "instrument", "detector", "channel", "module", "filter", "pupil"),
    *("coronagraphic_mask", "exp_type", "aperture", "pps_aperture", "subarray", "target_name", "target_type"),
    *("target_ra", "target_dec", "is_psf", "is_background", "date_beg", "visit_start", "visit_end"),
    *("dither_number", "dither_points", "x_offset", "y_offset", "guide_star", "guider_aperture"),
    *("guide_star_x", "guide_star_y", "substrt1", "substrt2", "subsize1", "subsize2", "pa_v3"),
    *("ra_ref", "dec_ref", "roll_ref", "v2_ref", "v3_ref", "v3i_yang", "vparity", "pixel_scale", "prd_version"),
    *("corrected_ra", "corrected_dec", "corrected_roll", "source"),
)
"""Scalar coordinates that every exposure has, from its header. An unknown text is "", an unknown number NaN."""

ONBOARD = (
    *("oss_x_det", "oss_y_det", "oss_x", "oss_y", "oss_time", "oss_status", "oss_log", "oss_prd"),
    *("oss_closure_error", "centroid_source", "centroid_kind", "ta_in_use"),
)
"""Scalar coordinates of an acquisition: the centroid in use and the TA exposure that it was measured in."""

TA_IMAGES = ("ta_sci", "ta_err", "ta_dq")
"""Images of the acquisition. They are coordinates because arithmetic would broadcast data variables."""

MARKS = frozenset({"visit_id", "exp_type", "wcs", "ta_wcs", "ta_sci", "target_x", "star_x", "klip"})
"""Variables that mark a dataset as one of JWST."""

NAMES = frozenset({*IDENTITY, *ONBOARD})
ONBOARD_NUMBERS = {"oss_x_det", "oss_y_det", "oss_x", "oss_y", "oss_closure_error", "ta_in_use"}
NUMERIC = frozenset({"pixel_scale", "is_psf", "is_background", "guide_star_x", "guide_star_y"})
NUMERIC |= {*NUMBERS, *ONBOARD_NUMBERS}
WHOLE = frozenset({"nints", "ngroups", "dither_number", "dither_points", "substrt1", "substrt2"})
WHOLE |= {"subsize1", "subsize2", "vparity", "is_psf", "is_background", "ta_in_use"}
"""Whole numbers; if some are not known, an array of them has floats."""

ALIKE = ("is_psf", "is_background", "target_type", "corrected_roll")
"""Coordinates that are equal in most exposures and are not assigned by hand."""

COMBINED = (
    "it was computed from several exposures, and xarray drops coordinates that differ between them; "
    "use ds.ta.subtract(other, scale=...) for a difference that is still an exposure"
)

WORDS = ("instrument", "detector", "channel", "module", "filter", "pupil", "coronagraphic_mask", "exp_type", "aperture")
FORMS = dict.fromkeys((*WORDS, "pps_aperture", "subarray", "prd_version"), r"\w[\w.+/ -]{0,59}")
FORMS |= {"visit_id": r"\d{11}", "filename": r"\w[\w.+-]{0,199}"}
"""Names of identifiers -> their form. They are used as names of files and groups, and in search patterns."""

LEGACY = {"exposure_number": "exposure"}
"""Coordinate -> the attribute that xta 0.1 wrote."""


class Header(Mapping[str, Any]):
    """The known values of an exposure by name: the coordinate if there is one, or else the attribute.

    For several exposures, a name has a value if it is the same in all.
    """

    def __init__(self, ds: xr.Dataset) -> None:
        self._ds = ds

    def __getitem__(self, name: str) -> Any:
        variable = self._ds.variables.get(name) if name in NAMES else None
        if variable is None:
            return self._ds.attrs[name if name in self._ds.attrs else LEGACY.get(name, name)]
        values = np.atleast_1d(variable.values).ravel()
        if variable.ndim and not (values.size and (values == values[0]).all()):
            raise KeyError(name)
        value = values[:1].tolist()[0]
        if value == "" or (isinstance(value, float) and math.isnan(value)):
            raise KeyError(name)
        return int(value) if name in WHOLE else value

    def __iter__(self) -> Iterator[str]:
        names = {str(name) for name in self._ds.attrs} | {name for name in NAMES if name in self._ds.variables}
        return (name for name in sorted(names) if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def header(ds: xr.Dataset) -> Header:
    """Return the known values of an exposure: its keywords by the names of `KEYWORDS`, and its acquisition.

    Examples
    --------
    >>> ds = xr.Dataset(coords={"visit_id": "01386002001", "filter": ""}, attrs={"visit_id": "of another exposure"})
    >>> header(ds)["visit_id"], header(ds).get("filter")
    ('01386002001', None)
    """
    return Header(ds)


def _variables(values: Mapping[Any, Any], names: tuple[str, ...]) -> dict[Hashable, xr.Variable]:
    variables: dict[Hashable, xr.Variable] = {}
    for name in names:
        value = values.get(name, values.get(LEGACY.get(name, name)))
        item = model.number(value) if name in NUMERIC else str("" if value is None else value)
        whole = name in WHOLE and isinstance(item, float) and item.is_integer()
        variables[name] = xr.Variable((), int(item) if whole else item, model.attrs(name))
    return variables


def is_valid(name: str, value: object) -> bool:
    """Check whether a value is valid for an identifier; True for names that are not identifiers.

    >>> is_valid("visit_id", "01386001001"), is_valid("visit_id", "0138600100."), is_valid("filename", "../a.fits")
    (True, False, False)
    """
    return name not in FORMS or re.fullmatch(FORMS[name], str(value), re.ASCII) is not None


def identify(ds: xr.Dataset, values: Mapping[str, Any]) -> xr.Dataset:
    """Assign the coordinates `IDENTITY` from values by name; missing ones are unknown."""
    return model.with_coords(ds, _variables(values, IDENTITY))


def assign(ds: xr.Dataset, values: Mapping[str, Any]) -> xr.Dataset:
    """Assign all coordinates `ONBOARD` from the given values, and for the others from those of the dataset.

    Attributes repeat the known values.
    """
    before = {name: header(ds)[name] for name in ONBOARD if name in header(ds)}
    merged = before | dict(values)
    result = model.with_coords(ds, _variables(merged, ONBOARD))
    result.attrs |= model.clean_attrs(merged)
    return result


def forget(ds: xr.Dataset) -> xr.Dataset:
    """Drop the coordinates `ONBOARD` and the attributes that repeat them."""
    result = ds.drop_vars([name for name in ONBOARD if name in ds.variables])
    result.attrs = {key: value for key, value in ds.attrs.items() if key not in ONBOARD}
    return result


def source(ds: xr.Dataset) -> str | None:
    """Read the path of the product that an exposure was opened from; None if it is not known."""
    path = header(ds).get("source") if "source" in ds.variables else ds.encoding.get("source")
    return None if path is None else str(path)


def is_foreign(ds: xr.Dataset) -> bool:
    """Check whether the attributes contradict the coordinates, so that they belong to another exposure."""
    return any(name in ds.attrs and _differs(ds, name) for name in NAMES if name in ds.variables)


def _differs(ds: xr.Dataset, name: str) -> bool:
    value, attribute = header(ds).get(name), ds.attrs[name]
    if value is None:
        return str(attribute) != ""
    return model.number(value) != model.number(attribute) if name in NUMERIC else str(value) != str(attribute)


def in_memory(ds: xr.Dataset) -> xr.Dataset:
    """Load the coordinates that are not images, since texts in dask arrays are lost in a selection.

    NumPy's variable-width texts, which Zarr returns, become objects, since xarray cannot fill them in a join.
    """
    lazy = {
        name: variable.astype(object) if variable.dtype.kind == "T" else variable
        for name, variable in ds.coords.variables.items()
        if not {"y", "x", "ta_y", "ta_x"} & set(variable.dims)
        and (variable.dtype.kind == "T" or variable.chunks is not None or (name in NAMES and not variable._in_memory))
    }
    return read_coords(ds, lazy)


def read_coords(ds: xr.Dataset, lazy: Mapping[Hashable, xr.Variable]) -> xr.Dataset:
    """Read coordinates, and assign them; interrupts wait until this is done.

    netCDF4 loses an interrupt that comes while it reads; one that comes while dask starts a thread lets the process
    wait for this thread forever when it ends.
    """
    if not lazy:
        return ds
    with interrupts_wait():
        return model.with_coords(ds, {name: variable.compute() for name, variable in lazy.items()})


def klip_image(ds: xr.Dataset, *names: str) -> xr.Dataset:
    """Check that a dataset is an image of `xta.klip` and has some variables; return it with today's names of offsets.

    In files of xta 0.1, ``east`` and ``north`` are ``dx`` and ``dy``. MissingError if a variable is missing.
    """
    if "klip" in ds.variables and {"dx", "dy"} <= set(ds.variables):
        ds = ds.rename(dx="east", dy="north")
    require(ds, "klip", "east", "north", "numbasis", *names, step="xta.klip")
    return ds


def current(ds: xr.Dataset) -> xr.Dataset:
    """Convert the dataset of one exposure to the form that the steps work with.

    Attributes of another exposure are dropped: those that contradict the coordinates, and all others from the same
    header. Attributes and data variables of xta 0.1 become coordinates. Rows of TA exposures that were added to join
    the exposure with others are removed. Raise ArgumentError if a quantity of `xta.model.ATTRS` is text, as in a file
    that was edited.
    """
    for name, variable in ds.variables.items():
        if model.ATTRS.get(str(name), ("",))[0] not in {"", "1"} and _is_text(variable):
            msg = f"{name} contains text, not numbers; drop it, or make the dataset again"
            raise ArgumentError(msg)
    if "visit_id" not in ds.variables and "visit_id" in ds.attrs and not is_combined(ds):
        ds = identify(ds, ds.attrs)
        if "ta_wcs" in ds.variables:
            ds = assign(ds, {"centroid_kind": centroid_kind(ds)})
    images = [name for name in TA_IMAGES if name in ds.data_vars]
    ds = ds.set_coords(images) if images else ds
    ds = in_memory(ds)
    if is_foreign(ds):
        stale = {name for name in ds.attrs if name in NAMES and name in ds.variables and _differs(ds, str(name))}
        if stale & {"filename", "visit_id", "exposure_number", "detector", "date_beg"}:
            stale |= {*KEYWORDS, *LEGACY.values(), "title", "history"} - NAMES - {"telescope"}
        ds = ds.copy(deep=False)
        ds.attrs = {key: value for key, value in ds.attrs.items() if key not in stale}
    return _unfilled(ds)


def _is_text(variable: xr.Variable) -> bool:
    kind = variable.dtype.kind
    return kind in "UST" or (kind == "O" and any(isinstance(value, str) for value in variable.values.flat))


def _unfilled(ds: xr.Dataset) -> xr.Dataset:
    """Remove the rows of TA exposures that were added in a join with other exposures, and restore the flags."""
    if "ta_wcs" in ds.variables and ds.variables["ta_wcs"].dims == ("ta_exposure",):
        real = [isinstance(text, str) and text != "" for text in ds.variables["ta_wcs"].values]
        ds = ds if all(real) else ds.isel(ta_exposure=np.flatnonzero(real))
    if "ta_dq" in ds.variables and ds.variables["ta_dq"].dtype.kind == "f":
        flags = ds.variables["ta_dq"]
        ds = ds.assign_coords(ta_dq=flags.copy(data=np.nan_to_num(flags.values, nan=DO_NOT_USE).astype(np.uint32)))
    return ds


def is_jwst(ds: xr.Dataset) -> bool:
    """Check whether a dataset has any mark of JWST or of xta.

    Parameters
    ----------
    ds : xarray.Dataset

    Returns
    -------
    bool
        True if it has the identity of an exposure, a WCS, an acquisition, a star or a history of xta.

    Examples
    --------
    >>> is_jwst(xr.Dataset({"ta": ("time", [281.3])})), is_jwst(xr.Dataset(coords={"visit_id": "01386002001"}))
    (False, True)
    """
    marked = not MARKS.isdisjoint(ds.variables) or ds.attrs.get("telescope") == "JWST" or "visit_id" in ds.attrs
    return marked or re.search(r"^xta \d", str(ds.attrs.get("history", "")), re.MULTILINE) is not None


def is_ta(ds: xr.Dataset) -> bool:
    """Check whether a dataset is itself a target-acquisition (or confirmation) exposure, by EXP_TYPE."""
    return header(ds).get("exp_type") in model.TACQ_TYPES | model.TACONFIRM_TYPES


def is_combined(ds: xr.Dataset) -> bool:
    """Check whether a dataset was computed from several exposures by arithmetic.

    In ``a - b`` xarray keeps the coordinates that are equal in both. Two exposures differ in the names of their
    files, and some coordinates of `ALIKE` are left.
    """
    unnamed = "filename" not in ds.variables and "source" not in header(ds)
    return unnamed and any(name in ds.variables for name in ALIKE)


def refuse_combined(ds: xr.Dataset) -> None:
    """Refuse a dataset that arithmetic made from several exposures, since its star and WCS are not known.

    Raises
    ------
    MissingError
        If it is such a dataset. The message contains what to call instead.
    """
    if is_combined(ds):
        msg = f"the dataset has no filename: {COMBINED}"
        raise MissingError(msg)


def behind_mask(ds: xr.Dataset) -> bool:
    """Check by EXP_TYPE whether the star of an exposure is behind a mask; True if EXP_TYPE is not known."""
    return header(ds).get("exp_type") in {None, *model.CORONAGRAPHIC_TYPES}


def guider_number(ds: xr.Dataset) -> int | None:
    """Read the number of the guider from FGS_APER, 1 or 2; None if it is not in the header."""
    return {"FGS1": 1, "FGS2": 2}.get(str(header(ds).get("guider_aperture", ""))[:4])


def centroid_kind(ds: xr.Dataset) -> str:
    """Read the kind of the centroid in use.

    Parameters
    ----------
    ds : xarray.Dataset
        An exposure with an acquisition attached.

    Returns
    -------
    str
        The coordinate ``centroid_kind``: "oss" (event log), "targ_acq" (TARG_ACQ extension), "converged" and
        "unbiased" (see `xta.acquisition.centroids`), "image" (measured in the TA image), "manual" (by hand) or
        "none". xta 0.1 did not write it; for its datasets the kind is derived from the text of ``centroid_source``,
        which was fixed.
    """
    about = header(ds)
    if "centroid_kind" in about:
        return str(about["centroid_kind"])
    words = {"OSS": "oss", "TARG_ACQ": "targ_acq", "TA image": "image", "given by hand": "manual"}
    source = str(about.get("centroid_source", ""))
    return next((kind for start, kind in words.items() if source.startswith(start)), "none")


def require(ds: xr.Dataset, *names: Hashable, step: str) -> None:
    """Check that a dataset has the variables, coordinates or attributes that a step needs.

    Parameters
    ----------
    ds : xarray.Dataset
    *names : str
    step : str
        The call that provides them, as a user writes it.

    Raises
    ------
    MissingError
        If one is missing. The message contains its name and `step`.
    """
    about = header(ds)
    missing = [str(name) for name in names if name not in about and (name in NAMES or name not in ds.variables)]
    if missing:
        what = f": {COMBINED}" if is_combined(ds) else f"; call {step} first"
        msg = f"the dataset has no {', '.join(missing)}{what}"
        raise MissingError(msg)


def words(ds: xr.Dataset, *names: str, between: str = " ") -> str:
    """Join the known values of an exposure with these names as text."""
    return between.join(filter(None, (str(header(ds).get(name, "")).strip() for name in names)))
