"""Define the names of dimensions, variables and attributes, with units, and the coordinates that each step adds.

This is the vocabulary of the package's data model. The table `ATTRS` contains the meaning of each name, and all
modules use it.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from xta.errors import MissingError, XtaError

__all__ = [
    "ADJUSTED",
    "ANALYSIS",
    "ATTRS",
    "CONVENTIONS",
    "CORONAGRAPHIC_TYPES",
    "IMAGES",
    "INSTRUMENTS",
    "MASK_RADII",
    "MJD_ZERO",
    "SHOWN",
    "SOLVED",
    "STEPS",
    "TACONFIRM_TYPES",
    "TACQ_TYPES",
    "attrs",
    "clean_attrs",
    "describe",
    "guider_aperture",
    "number",
    "ordered",
    "place",
    "prefixed",
    "require_pixels",
    "required",
    "scalar",
    "text",
    "text_variable",
    "with_coords",
    "with_history",
]

CONVENTIONS = "CF-1.11"

IMAGES = ("sci", "err", "dq", "var_poisson", "var_rnoise", "var_flat")
"""Variables that are images of the exposure; in a product they are extensions of the same names, in capitals."""

MJD_ZERO = np.datetime64("1858-11-17", "us")
"""Zero of modified Julian dates, UTC."""

INSTRUMENTS = {"NRC": "NIRCam", "MIR": "MIRI", "NIS": "NIRISS", "NRS": "NIRSpec"}
"""First letters of detectors and apertures -> instrument, which is in capitals in INSTRUME."""

TACQ_TYPES = frozenset({"NRC_TACQ", "MIR_TACQ", "NIS_TACQ", "NRS_TACQ", "NRS_WATA", "NRS_MSATA", "NRS_TASLIT"})
TACONFIRM_TYPES = frozenset({"NRC_TACONFIRM", "MIR_TACONFIRM", "NIS_TACONFIRM", "NRS_TACONFIRM", "NRS_CONFIRM"})
"""Exposure types of target acquisitions, and of the images that confirm them after the move."""

CORONAGRAPHIC_TYPES = frozenset({"NRC_CORON", "MIR_4QPM", "MIR_LYOT"})
"""Exposure types of a star behind a mask."""

MASK_RADII = {
    **{"MASKA210R": 0.40, "MASKA335R": 0.63, "MASKA430R": 0.81, "MASKASWB": 0.26, "MASKALWB": 0.58},
    **{"4QPM_1065": 0.33, "4QPM_1140": 0.36, "4QPM_1550": 0.49, "LYOT_2300": 2.16},
}
"""CORONMSK -> inner working angle [arcsec]; for a bar, that in its middle.

References
----------
JWST User Documentation, "NIRCam Coronagraphic Occulting Masks and Lyot Stops", "MIRI Coronagraphic Imaging".
"""

ATTRS: dict[str, tuple[str, str]] = {
    # coordinates of an exposure
    "integration": ("1", "integration number, from 1"),
    "x": ("pixel", "column of the readout, 0-based"),
    "y": ("pixel", "row of the readout, 0-based"),
    "time": ("", "mid-integration time (UTC)"),
    "time_bjd_tdb": ("d", "mid-integration time (BJD_TDB), MJD"),
    "wcs": ("1", "GWCS of the readout, ASDF text"),
    "ra": ("degree", "right ascension (ICRS)"),
    "dec": ("degree", "declination (ICRS)"),
    # identity of an exposure
    "filename": ("", "file name of the exposure"),
    "visit_id": ("", "visit (VISIT_ID)"),
    "exposure_number": ("", "exposure of the visit (EXPOSURE)"),
    "instrument": ("", "instrument (INSTRUME)"),
    "detector": ("", "detector (DETECTOR)"),
    "channel": ("", "NIRCam channel (CHANNEL)"),
    "module": ("", "NIRCam module (MODULE)"),
    "filter": ("", "filter (FILTER)"),
    "pupil": ("", "pupil element (PUPIL)"),
    "coronagraphic_mask": ("", "coronagraphic mask (CORONMSK)"),
    "exp_type": ("", "exposure type (EXP_TYPE)"),
    "aperture": ("", "SIAF aperture (APERNAME)"),
    "pps_aperture": ("", "SIAF aperture of the proposal (PPS_APER)"),
    "subarray": ("", "subarray (SUBARRAY)"),
    "target_name": ("", "target (TARGNAME)"),
    "target_ra": ("degree", "right ascension of the target (ICRS)"),
    "target_dec": ("degree", "declination of the target (ICRS)"),
    "target_type": ("", "fixed or moving target (TARGTYPE)"),
    "is_psf": ("1", "1 for a PSF reference star (IS_PSF)"),
    "is_background": ("1", "1 for a background field (BKGDTARG)"),
    "date_beg": ("", "start of the exposure, UTC (DATE-BEG)"),
    "visit_start": ("", "start of the visit, UTC (VSTSTART)"),
    "visit_end": ("", "end of the visit, UTC (VISITEND)"),
    "dither_number": ("1", "number in the dither pattern (PATT_NUM)"),
    "dither_points": ("1", "points of the dither pattern (NUMDTHPT)"),
    "x_offset": ("arcsec", "dither, Ideal x (XOFFSET)"),
    "y_offset": ("arcsec", "dither, Ideal y (YOFFSET)"),
    "guide_star": ("", "guide star (GDSTARID)"),
    "guider_aperture": ("", "SIAF aperture of the guider (FGS_APER)"),
    "guide_star_x": ("arcsec", "guide star, guider Ideal x (GSIDL_X)"),
    "guide_star_y": ("arcsec", "guide star, guider Ideal y (GSIDL_Y)"),
    "substrt1": ("pixel", "first column, 1-based (SUBSTRT1)"),
    "substrt2": ("pixel", "first row, 1-based (SUBSTRT2)"),
    "subsize1": ("pixel", "columns of the subarray (SUBSIZE1)"),
    "subsize2": ("pixel", "rows of the subarray (SUBSIZE2)"),
    "pa_v3": ("degree", "position angle of V3 at V1 (PA_V3)"),
    "ra_ref": ("degree", "RA of the reference point (RA_REF)"),
    "dec_ref": ("degree", "Dec of the reference point (DEC_REF)"),
    "roll_ref": ("degree", "angle of V3 at the reference (ROLL_REF)"),
    "v2_ref": ("arcsec", "V2 of the reference point (V2_REF)"),
    "v3_ref": ("arcsec", "V3 of the reference point (V3_REF)"),
    "v3i_yang": ("degree", "angle from V3 to Ideal y (V3I_YANG)"),
    "vparity": ("1", "parity of Ideal x and V2 (VPARITY)"),
    "pixel_scale": ("arcsec", "width of a pixel, from PIXAR_A2"),
    "prd_version": ("", "SIAF release of the product (PRD_VER)"),
    "corrected_ra": ("arcsec", "earlier correction of RA_REF (TADRA)"),
    "corrected_dec": ("arcsec", "earlier correction of DEC_REF (TADDEC)"),
    "corrected_roll": ("arcsec", "earlier change of ROLL_REF (TADROLL)"),
    "source": ("", "path of the file that was opened"),
    # data
    "sci": ("", "science image"),
    "err": ("", "standard error of the science image"),
    "dq": ("1", "data quality flags"),
    "var_poisson": ("", "variance by photon noise"),
    "var_rnoise": ("", "variance by read noise"),
    "var_flat": ("", "variance by the flat field"),
    # target acquisition
    "ta_exposure": ("1", "TA exposure, from 0 in time order"),
    "ta_x": ("pixel", "0-based pixel column of the TA readout"),
    "ta_y": ("pixel", "0-based pixel row of the TA readout"),
    "ta_sci": ("", "target-acquisition image"),
    "ta_err": ("", "standard error of the TA image"),
    "ta_dq": ("1", "data quality flags of the TA image"),
    "ta_wcs": ("1", "GWCS of the TA file, ASDF text"),
    "ta_time": ("", "start time of the TA exposure (UTC)"),
    "ta_filename": ("", "file name of the TA exposure"),
    "ta_aperture": ("", "SIAF aperture of the TA exposure"),
    "ta_subarray": ("", "subarray of the TA exposure"),
    "ta_exp_type": ("", "exposure type of the TA exposure"),
    "ta_filter": ("", "filter of the TA exposure"),
    "ta_detector": ("", "detector of the TA exposure"),
    "ta_target_ra": ("degree", "RA of the target in the TA header"),
    "ta_target_dec": ("degree", "Dec of the target in the TA header"),
    "ta_guide_star_x": ("arcsec", "guide star in the TA, guider Ideal x"),
    "ta_guide_star_y": ("arcsec", "guide star in the TA, guider Ideal y"),
    "ta_intended_x": ("pixel", "intended x of the star in the TA readout"),
    "ta_intended_y": ("pixel", "intended y of the star in the TA readout"),
    "ta_oss_x_det": ("pixel", "onboard centroid, SIAF Det x, 1-based"),
    "ta_oss_y_det": ("pixel", "onboard centroid, SIAF Det y, 1-based"),
    "ta_oss_x": ("pixel", "onboard centroid, x of the TA readout"),
    "ta_oss_y": ("pixel", "onboard centroid, y of the TA readout"),
    "ta_oss_time": ("", "time of the onboard (OSS) centroid (UTC)"),
    "ta_oss_converged": ("1", "onboard centroid: 1 converged, 0 did not"),
    "ta_oss_window_x": ("pixel", "onboard window, width along SIAF Det x"),
    "ta_oss_window_y": ("pixel", "onboard window, height along SIAF Det y"),
    "ta_oss_step_x": ("pixel", "length of the last onboard step, Det x"),
    "ta_oss_step_y": ("pixel", "length of the last onboard step, Det y"),
    "ta_oss_moved_x": ("pixel", "onboard centroid minus peak, SIAF Det x"),
    "ta_oss_moved_y": ("pixel", "onboard centroid minus peak, SIAF Det y"),
    "ta_oss_sam_x": ("arcsec", "maneuver after the TA, guider Ideal x"),
    "ta_oss_sam_y": ("arcsec", "maneuver after the TA, guider Ideal y"),
    "ta_oss_guider": ("1", "guider during the TA, 0 unknown"),
    # onboard centroid in use
    "oss_x_det": ("pixel", "onboard centroid, SIAF Det x, 1-based"),
    "oss_y_det": ("pixel", "onboard centroid, SIAF Det y, 1-based"),
    "oss_x": ("pixel", "onboard centroid, x of the TA readout"),
    "oss_y": ("pixel", "onboard centroid, y of the TA readout"),
    "oss_time": ("", "time of the onboard centroid, UTC"),
    "oss_status": ("", "SUCCESS, or reason for no centroid"),
    "oss_log": ("", "event log of the acquisition"),
    "oss_prd": ("", "SIAF release that was on board"),
    "oss_closure_error": ("arcsec", "closure error of the event log"),
    "centroid_source": ("", "source of the centroid in use"),
    "centroid_kind": ("", "kind of the centroid in use"),
    "ta_in_use": ("1", "label of the TA exposure in use"),
    # compute_offset
    "centroid_x": ("pixel", "star in the TA image, x of the readout"),
    "centroid_y": ("pixel", "star in the TA image, y of the readout"),
    "centroid_ra": ("degree", "RA of the centroid by the TA WCS"),
    "centroid_dec": ("degree", "Dec of the centroid by the TA WCS"),
    "centroid_difference_x": ("pixel", "onboard centroid minus image, x"),
    "centroid_difference_y": ("pixel", "onboard centroid minus image, y"),
    "centroid_difference_sigma_x": ("1", "the same in standard errors, x"),
    "centroid_difference_sigma_y": ("1", "the same in standard errors, y"),
    "ta_target_x": ("pixel", "target by the TA WCS, x of the readout"),
    "ta_target_y": ("pixel", "target by the TA WCS, y of the readout"),
    "ta_inverse_error_x": ("pixel", "error of the TA's analytic inverse, x"),
    "ta_inverse_error_y": ("pixel", "error of the TA's analytic inverse, y"),
    "ta_reference_x": ("pixel", "SIAF reference, x of the TA readout"),
    "ta_reference_y": ("pixel", "SIAF reference, y of the TA readout"),
    "offset_x": ("pixel", "target by the TA WCS minus centroid, x"),
    "offset_y": ("pixel", "target by the TA WCS minus centroid, y"),
    "offset_ra": ("arcsec", "target minus centroid, difference of RA"),
    "offset_dec": ("arcsec", "target minus centroid, difference of Dec"),
    "offset_east": ("arcsec", "target minus centroid, toward east"),
    "offset_north": ("arcsec", "target minus centroid, toward north"),
    # adjust_wcs
    "target_x": ("pixel", "star, 0-based, along x"),
    "target_y": ("pixel", "star, 0-based, along y"),
    "mask_x": ("pixel", "mask, or SIAF reference point, x"),
    "mask_y": ("pixel", "mask, or SIAF reference point, y"),
    "mask_x_err": ("pixel", "standard error of the mask, x"),
    "mask_y_err": ("pixel", "standard error of the mask, y"),
    "aim_x": ("pixel", "aim of the telescope, x"),
    "aim_y": ("pixel", "aim of the telescope, y"),
    "aim_x_err": ("pixel", "standard error of the aim, x"),
    "aim_y_err": ("pixel", "standard error of the aim, y"),
    "residual_x": ("pixel", "closed loop of the adjusted TA WCS, x"),
    "residual_y": ("pixel", "closed loop of the adjusted TA WCS, y"),
    "inverse_error_x": ("pixel", "error of the analytic inverse, x"),
    "inverse_error_y": ("pixel", "error of the analytic inverse, y"),
    "adjust_ra": ("arcsec", "change of RA_REF by adjust_wcs"),
    "adjust_dec": ("arcsec", "change of DEC_REF by adjust_wcs"),
    "adjust_roll": ("arcsec", "change of ROLL_REF by adjust_wcs"),
    "correction": ("", "name of a correction of the star"),
    "correction_x": ("pixel", "correction of the star's pixel, x"),
    "correction_y": ("pixel", "correction of the star's pixel, y"),
    "correction_x_err": ("pixel", "standard error of the correction, x"),
    "correction_y_err": ("pixel", "standard error of the correction, y"),
    "correction_source": ("", "source of the correction"),
    "wcs_original": ("1", "GWCS of the file, ASDF text"),
    # error budget
    "target_x_err": ("pixel", "standard error of target_x"),
    "target_y_err": ("pixel", "standard error of target_y"),
    "target_x_err_mas": ("milliarcsecond", "standard error of target_x, as an angle"),
    "target_y_err_mas": ("milliarcsecond", "standard error of target_y, as an angle"),
    "target_xy_corr": ("1", "correlation of the star's errors"),
    "target_xy_corr_part": ("1", "correlation of a part of the error"),
    "error_part": ("", "part of the star's error"),
    "error_part_source": ("", "source of a part of the error"),
    "target_x_err_part": ("pixel", "part of the standard error of target_x"),
    "target_y_err_part": ("pixel", "part of the standard error of target_y"),
    "target_x_err_part_mas": ("milliarcsecond", "part of the error of x, as an angle"),
    "target_y_err_part_mas": ("milliarcsecond", "part of the error of y, as an angle"),
    # checks
    "check": ("", "name of a check"),
    "check_passed": ("1", "result of a check"),
    "check_reason": ("", "reason for the result of a check"),
    # solve
    "prior_x": ("pixel", "star before the joint solution, x"),
    "prior_y": ("pixel", "star before the joint solution, y"),
    "prior_x_err": ("pixel", "standard error of prior_x"),
    "prior_y_err": ("pixel", "standard error of prior_y"),
    "observation": ("", "label of an observation"),
    "observation_kind": ("", "kind of the observation"),
    "observation_x": ("pixel", "observed value, x"),
    "observation_y": ("pixel", "observed value, y"),
    "observation_x_err": ("pixel", "standard error of observation_x"),
    "observation_y_err": ("pixel", "standard error of observation_y"),
    "observation_residual_x": ("pixel", "observed minus solution, x"),
    "observation_residual_y": ("pixel", "observed minus solution, y"),
    "observation_test": ("1", "contradiction with others, chi-square"),
    "observation_weight": ("1", "weight in the solution, 0 to 1"),
    "observation_used": ("1", "1 used, 0 rejected"),
    "observation_reason": ("", "reason for the rejection"),
    "star_axis": ("", "exposure and axis of a star"),
    "star_axis_": ("", "exposure and axis of a star"),
    "star_covariance": ("pixel2", "covariance of all stars"),
    # recenter
    "star_x": ("pixel", "star in the original readout, 0-based x"),
    "star_y": ("pixel", "star in the original readout, 0-based y"),
    "separation": ("arcsec", "angular separation from the star"),
    "position_angle": ("degree", "position angle, east of north"),
}
"""Units and long name of every variable and coordinate. Text, times and counts have no unit here; the unit of a time
is part of its type, and that of an image comes from BUNIT."""

STEPS = {
    "integration": "open_exposure",
    "ta_exposure": "attach",
    "centroid_x": "compute_offset",
    "target_x": "adjust_wcs",
    "check": "attach, compute_offset, adjust_wcs",
    "prior_x": "solve",
    "star_x": "recenter",
}
"""First row of `ATTRS` that a step adds -> the step; the rows are in the order of the steps."""

SHOWN = ("filter", "visit_id", "target_x_err", "target_y_err", "target_x", "target_y")
"""Coordinates that `ordered` moves so that they are printed; of many, xarray prints only the first and last six."""

ADJUSTED = frozenset(
    {
        *("target_x", "target_y", "mask_x", "mask_y", "mask_x_err", "mask_y_err"),
        *("aim_x", "aim_y", "aim_x_err", "aim_y_err"),
        *("residual_x", "residual_y"),
        *("inverse_error_x", "inverse_error_y", "adjust_ra", "adjust_dec", "adjust_roll", "wcs_original"),
        *("correction", "correction_x", "correction_y", "correction_x_err", "correction_y_err", "correction_source"),
        *("target_x_err", "target_y_err", "target_x_err_mas", "target_y_err_mas"),
        *("target_xy_corr", "target_xy_corr_part"),
        *("error_part", "error_part_source", "target_x_err_part", "target_y_err_part"),
        *("target_x_err_part_mas", "target_y_err_part_mas"),
    }
)
"""Coordinates that adjust_wcs adds."""

SOLVED = frozenset(name for name in ATTRS if name.startswith(("prior_", "observation", "star_axis", "star_covariance")))
"""Coordinates that solve adds."""

ANALYSIS = ADJUSTED | {
    *("centroid_x", "centroid_y", "centroid_ra", "centroid_dec"),
    *("centroid_difference_x", "centroid_difference_y"),
    *("centroid_difference_sigma_x", "centroid_difference_sigma_y"),
    *("offset_x", "offset_y", "offset_ra", "offset_dec", "offset_east", "offset_north"),
    *("check", "check_passed", "check_reason"),
}
"""Coordinates that attach, compute_offset and adjust_wcs add; others of attach begin with ``ta_``."""


def guider_aperture(number: int | None) -> str:
    """Return the SIAF aperture of a guider, as in the keyword FGS_APER."""
    return f"FGS{number}_FULL_OSS"


def attrs(name: str, *, units: str | None = None, **more: Any) -> dict[str, Any]:
    """Build the attributes of a variable.

    Parameters
    ----------
    name : str
        A key of `ATTRS`.
    units : str, optional
        Units in place of those in the table (those of images come from BUNIT).
    **more
        Further attributes.

    Returns
    -------
    dict

    Examples
    --------
    >>> attrs("offset_x")
    {'units': 'pixel', 'long_name': 'target by the TA WCS minus centroid, x'}
    """
    table_units, long_name = ATTRS[name]
    unit = table_units if units is None else units
    return ({"units": unit} if unit else {}) | {"long_name": long_name} | more


def describe(values: Mapping[str, Any]) -> dict[str, xr.Variable]:
    """Convert scalars named in `ATTRS` to 0-d variables with units and long names."""
    return {name: xr.Variable((), value, attrs(name)) for name, value in values.items()}


class _Texts(np.ndarray[Any, Any]):
    """An array of text objects; xarray passes plain object arrays through pandas, as when it joins datasets."""


def text_variable(name: str, values: Any, dims: tuple[str, ...] = ()) -> xr.Variable:
    """Make a variable of text objects, such as `wcs.WcsText`, that keep their class.

    Parameters
    ----------
    name : str
        A key of `ATTRS`.
    values : str or sequence of str
    dims : tuple of str
        No dimension for one text, one dimension for a sequence.
    """
    data = np.empty(np.shape(values), dtype=object)
    data[...] = values
    # The ordinary constructor uses pandas, which converts str subclasses to str.
    return xr.Variable(dims, data.view(_Texts), attrs(name), fastpath=True)


def clean_attrs(values: Mapping[Any, Any]) -> dict[str, Any]:
    """Convert the values of a mapping to types that a NetCDF attribute can have.

    Parameters
    ----------
    values : mapping

    Returns
    -------
    dict
        None is dropped, a bool becomes an int, a NumPy scalar a Python one, a list of numbers or texts a 1-D
        array. Texts are stripped. Anything other than str, int, float and 1-D arrays becomes text, as does
        an int of more than 64 bits. Names become text, with "_" for "/".

    Examples
    --------
    >>> clean_attrs({"a": None, "b": True, "c": np.float32(0.5), "d": " F335M ", "e/f": [1, 2]})
    {'b': 1, 'c': 0.5, 'd': 'F335M', 'e_f': array([1, 2])}
    """
    return {str(key).replace("/", "_"): _clean(value) for key, value in values.items() if value is not None}


def _clean(value: Any) -> Any:
    if isinstance(value, np.datetime64 | np.timedelta64):
        return str(value)  # item() would make nanoseconds a bare number
    item = value.item() if isinstance(value, np.generic) else value
    if isinstance(item, str | bytes):
        return (item if isinstance(item, str) else item.decode(errors="replace")).strip()
    if isinstance(item, int):
        return int(item) if -(2**63) <= item < 2**64 else str(item)
    if isinstance(item, float):
        return float(item)
    if isinstance(item, list | tuple | np.ndarray):
        return _clean_array(item)
    return str(item)


def _clean_array(values: Any) -> Any:
    """Convert values to a 1-D array of numbers or texts, native and of a type that NetCDF has, or else to text."""
    try:
        array = np.asarray(values)
    except (ValueError, TypeError):  # rows of different lengths
        return str(values)
    if array.ndim == 0 and array.dtype != object:
        return _clean(array[()])
    mixed = array.dtype.kind == "U" and not all(isinstance(value, str) for value in values)
    if array.ndim != 1 or not array.size or mixed or array.dtype.kind not in "biufU":
        return str(values)
    if array.dtype.kind == "b":
        return array.astype(np.int64)
    if array.dtype.kind == "f" and array.dtype.itemsize not in {4, 8}:
        return array.astype(np.float64)  # NetCDF has neither half nor long doubles
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def require_pixels(labeled: xr.Dataset | xr.DataArray, error: type[XtaError], advice: str, *, least: int = 1) -> None:
    """Raise an error with advice unless the labels ``x``, ``y`` are at least `least` successive pixels."""
    for axis in ("x", "y"):
        labels = labeled[axis].values if axis in labeled.coords else np.empty(0)
        steady = labels.ndim == 1 and labels.dtype.kind in "iuf" and np.all(np.diff(labels) == 1)
        if labeled.sizes.get(axis, 0) < least or not steady:
            msg = (
                f"the labels {axis} are not successive pixels of the readout (they may be strided, reversed, binned or "
                f"padded); {advice}"
            )
            raise error(msg)


def prefixed(**groups: Mapping[str, Any]) -> dict[str, Any]:
    """Join groups of values under their names: ``centroid={"x": 1.0}`` becomes ``{"centroid_x": 1.0}``."""
    return {f"{group}_{name}": value for group, values in groups.items() for name, value in values.items()}


def number(value: Any) -> float:
    """Convert a value of a header to a number; NaN if that is not possible."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def scalar(ds: xr.Dataset, name: str) -> float:
    """Read a scalar number of a dataset; NaN if there is none."""
    variable = ds.variables.get(name)
    if variable is None or variable.ndim or variable.dtype.kind not in "fiu":
        return math.nan
    return float(variable.values)


def required(ds: xr.Dataset, name: str) -> Any:
    """Read a scalar of a dataset that a step needs; MissingError if there is none."""
    variable = ds.variables.get(name)
    if variable is None or variable.ndim:
        found = "there is none" if variable is None else f"it has the dimensions {', '.join(map(str, variable.dims))}"
        msg = f"the dataset needs the scalar {name}, but {found}; repeat the analysis, such as by xta.analyze(path)"
        raise MissingError(msg)
    return variable.values.item()


def text(ds: xr.Dataset, name: str) -> str:
    """Read a scalar text, as `required`."""
    return str(required(ds, name))


def place(ds: xr.Dataset, name: str) -> tuple[float, float]:
    """Read a position, the scalars ``<name>_x`` and ``<name>_y``, as `required`; it may be NaN."""
    x, y = (float(required(ds, f"{name}_{axis}")) for axis in "xy")
    return x, y


def with_coords(ds: xr.Dataset, coords: Mapping[Any, Any]) -> xr.Dataset:
    """Assign new coordinates, or scalars, as `xarray.Dataset.assign_coords` does.

    xarray aligns and merges all coordinates each time, and an exposure has more than a hundred. There is nothing to
    align if the sizes agree and no coordinate with an index is replaced. The result shares its other variables with
    `ds`, until a step ends with `with_history`, which copies them. Values are variables, tuples of dimensions and
    values, or scalars.
    """
    added = {name: xr.as_variable(value) for name, value in coords.items()}
    sizes = dict(ds.sizes)
    agree = all(sizes.setdefault(dim, size) == size for each in added.values() for dim, size in each.sizes.items())
    if not agree or not ds.xindexes.keys().isdisjoint(added):
        return ds.assign_coords(coords)
    indexes = {**ds.xindexes}
    if labels := {name: variable for name, variable in added.items() if name in variable.dims}:
        indexed = xr.Coordinates(labels)
        added |= indexed.variables
        indexes |= indexed.xindexes
    return ds._replace({**ds.variables, **added}, {*ds.coords, *added}, sizes, indexes=indexes)


def with_history(ds: xr.Dataset, operation: str) -> xr.Dataset:
    """Add one line to the history of a dataset, the version of xta and the operation, and call `ordered`.

    Parameters
    ----------
    ds : xarray.Dataset
    operation : str

    Returns
    -------
    xarray.Dataset
        A shallow copy. The line contains no time, so that the same input gives the same file.
    """
    from xta import __version__

    line = f"xta {__version__}: {operation}"
    before = ds.attrs.get("history")
    return ordered(ds).assign_attrs(history=f"{before}\n{line}" if before else line)


def ordered(ds: xr.Dataset) -> xr.Dataset:
    """Move the star, its error, filter and visit to where ``print(ds)`` shows them.

    xarray prints coordinates with dimensions before those without, so they must be the last ones for one exposure, and
    the first ones for a stack.
    """
    shown = [name for name in SHOWN if name in ds.coords and name not in ds.indexes]
    if any(ds.variables[name].ndim for name in shown):
        shown = [str(name) for name in ds.coords if name not in {*shown, *ds.indexes}]
    last = {name: ds.variables[name] for name in shown}
    return with_coords(ds.drop_vars(shown), last)
