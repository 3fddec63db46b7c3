"""Compute independent estimates of the star's position and compare them.

All estimates are in the science frame: 0-based pixels of the exposure's own readout, the labels ``x``, ``y``. They
reach this frame in different ways, and are independent of different errors:

- *oss*, *image*, *gaussian*: the TA WCS converts a pixel of the TA image to the sky. The rotation from there to the
  target corrects the science WCS, and the corrected WCS gives the pixel of the target. They differ in the centroid.
- *sam*: the net small-angle maneuver of the event log is the pointing error before the acquisition. The star is at
  the V2, V3 of the target by the attitude of the science header, minus this maneuver; the SIAF that was on board
  gives its pixel. If the header contains the requested attitude, this is the reference point of the aperture plus
  the dither, where the star was sent. Any deviation from that was measured by the guiders. This estimate uses no
  image and no distortion file, but the SIAF between TA region and mask.
- *guide star*: the V2, V3 of the centroid by the TA WCS, turned by the motion of the guide star in the guider between
  TA and science exposure (Ideal coordinates of the headers), and converted back by the science WCS. It uses no
  attitude.
- *template*: the star's own speckles in the science image, by a model image.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from xta import identity, model, osslog
from xta.acquisition import centroids, find, instrument
from xta.acquisition.image import cutout, image_centroid, in_use, pixel_flags
from xta.acquisition.offset import acquired_target, target_position
from xta.errors import AcquisitionError, CentroidError, MissingError, WCSError, XtaError, filtered
from xta.estimates.template import estimate_center
from xta.geometry import siaf, sky, sphere, wcs
from xta.identity import header
from xta.images import dq
from xta.osslog.maneuvers import NetManeuver, net_maneuver
from xta.stacks import tabulated

if TYPE_CHECKING:
    from astropy.modeling import Model
    from gwcs import WCS

__all__ = ["METHODS", "estimates"]

AGREES = 3.0  # standard errors, each axis
GUIDER_FIELD = 180.0  # [arcsec] more than half its width; larger values are dummies such as -999

ATTRS = {
    "estimate": ("", "method of the estimate"),
    "x": ("pixel", "star, x of the readout, 0-based"),
    "y": ("pixel", "star, y of the readout, 0-based"),
    "x_sigma": ("pixel", "standard error of x"),
    "y_sigma": ("pixel", "standard error of y"),
    "dx": ("pixel", "x minus that of the adopted position"),
    "dy": ("pixel", "y minus that of the adopted position"),
    "agrees": ("1", "1 agrees, 0 does not, -1 no estimate"),
    "why": ("", "explanation, or why there is none"),
}


class _Estimate(NamedTuple):
    """One position in the science frame [pixel], with a note."""

    x: float = math.nan
    y: float = math.nan
    x_sigma: float = math.nan
    y_sigma: float = math.nan
    note: str = ""


@dataclass(frozen=True)
class _Case:
    """The input that the estimates have in common."""

    ds: xr.Dataset
    ta: xr.Dataset  # the TA exposure in use
    target: tuple[float, float]  # at the time of the exposure [deg]
    acquired: tuple[float, float]  # at the time of the acquisition [deg]
    original: "WCS"  # of the exposure, as its file had it
    scale: float  # size of a pixel at the star [arcsec]
    template: Any
    oss: Any

    @property
    def instrument(self) -> str:
        return str(header(self.ds)["instrument"]).upper()

    @property
    def accuracy(self) -> float:
        """Published accuracy of a target acquisition, one axis [pixel]."""
        return instrument.acquisition_accuracy(self.instrument) / (1e3 * self.scale)

    @property
    def correction(self) -> tuple[float, float]:
        """Correction of the adopted position that is in no WCS [pixel]."""
        if "correction" not in self.ds.dims:
            return 0.0, 0.0
        return float(self.ds["correction_x"].sum()), float(self.ds["correction_y"].sum())

    @property
    def onboard(self) -> bool:
        return header(self.ds).get("oss_status") == "SUCCESS"


@tabulated
def estimates(ds: xr.Dataset, *, template: Any = None, oss: Any = None) -> xr.Dataset:
    """Estimate the star's position in every way that the data allow.

    Parameters
    ----------
    ds : xarray.Dataset
        An exposure with the adopted position, after `compute_offset` and `adjust_wcs`.
    template : optional
        Model image for "template", see `xta.estimates.template.estimate_center`.
    oss : path, str, table or OssLog, optional
        Event log of the visit for "sam". By default the log beside the file or in the cache is used, or else the
        lines in the dataset; the network is not used. With False only these lines are used, and no file is read.

    Returns
    -------
    xarray.Dataset
        Along the dimension ``estimate``, in the order of `METHODS`: ``x``, ``y``, ``x_sigma``, ``y_sigma``; ``dx``,
        ``dy``, the difference from the adopted position [pixel]; ``agrees`` (1, 0, or -1 without an estimate) and
        ``why``, a sentence. An estimate that is not possible is NaN, and its ``why`` is the reason.

    Raises
    ------
    MissingError
        If there is no adopted position.

    Notes
    -----
    The corrections of the adopted position beyond the WCS are added to all estimates that use a WCS or the SIAF. The
    standard errors of "oss" and "image" are those of `xta.acquisition.centroids`. That of "gaussian" is from the
    covariance of the fit, enlarged because the star is not a Gaussian. That of "sam" is the accuracy of a target
    acquisition (14 mas radial for MIRI, otherwise 5.5 mas), which includes errors of the SIAF. That of "guide star"
    is from the centroid in use and the jitter of the guider in each exposure; for "template" see `estimate_center`.
    An estimate agrees if each coordinate is within three standard errors of the adopted one; the errors of the
    estimate and of a target acquisition are added in quadrature.

    References
    ----------
    JWST User Documentation, "JWST Pointing Accuracy" and "JWST Fine Guide Stability".
    """
    identity.refuse_combined(ds)
    identity.require(ds, "target_x", "ta_wcs", "wcs_original", step="ds.ta.adjust_wcs()")
    if "star_x" in ds.coords:
        msg = (
            "the dataset is recentered and no longer has the pixels of the readout; use the exposure before recenter()"
        )
        raise MissingError(msg)
    ta = in_use(ds).transpose(..., "ta_y", "ta_x")
    scale = wcs.pixel_scale(sky.the_wcs(ds), float(ds["target_x"]), float(ds["target_y"]))
    original = sky.the_wcs(ds, "wcs_original")
    case = _Case(ds, ta, target_position(ds), acquired_target(ta), original, scale, template, oss)
    return _table(case, {method: _attempt(estimate, case) for method, estimate in METHODS.items()})


def _attempt(estimate: Callable[[_Case], _Estimate], case: _Case) -> _Estimate:
    try:
        return estimate(case)
    except XtaError as error:
        return _Estimate(note=str(error))


def _table(case: _Case, results: dict[str, _Estimate]) -> xr.Dataset:
    """Compare all estimates with the adopted position."""
    ds = case.ds
    adopted = float(ds["target_x"]), float(ds["target_y"])
    rows = [(method, *_compared(result, *adopted, case.accuracy)) for method, result in results.items()]
    columns = {
        name: xr.Variable("estimate", list(values), ({"units": units} if units else {}) | {"long_name": text})
        for (name, (units, text)), values in zip(ATTRS.items(), zip(*rows, strict=True), strict=True)
    }
    labels = columns.pop("estimate")
    table = xr.Dataset(columns, {"estimate": labels})
    table["agrees"] = table["agrees"].astype(np.int8)
    about = {key: header(ds)[key] for key in ("visit_id", "filename", "centroid_source") if key in header(ds)}
    return table.assign_attrs(about, adopted_x=adopted[0], adopted_y=adopted[1])


def _compared(result: _Estimate, x: float, y: float, limit: float) -> tuple[float | str, ...]:
    """Compare one estimate with the adopted x, y; return the columns of `ATTRS` except the first."""
    *values, note = result
    dx, dy = result.x - x, result.y - y
    if math.isnan(dx + dy):
        return *values, dx, dy, -1, note
    spans = [AGREES * math.hypot(limit, s if math.isfinite(s) else 0.0) for s in (result.x_sigma, result.y_sigma)]
    agrees = abs(dx) <= spans[0] and abs(dy) <= spans[1]
    words = "agrees" if agrees else "does not agree"
    why = f"{words}: {dx:+.3f}, {dy:+.3f} px, allowed {spans[0]:.3f}, {spans[1]:.3f}"
    return *values, dx, dy, int(agrees), f"{why}; {note}" if note else why


def _from_ta(case: _Case, x: float, y: float, *, sigma: tuple[float, float], note: str = "") -> _Estimate:
    """Convert a position in the TA image to the exposure through the sky, with its standard error."""
    ra, dec = wcs.pixel_to_world(sky.the_wcs(case.ta, "ta_wcs"), [x, x + 1, x], [y, y, y + 1])
    positions = []
    for lon, lat in zip(ra, dec, strict=True):
        rotation = sphere.rotation_between(float(lon), float(lat), *case.acquired)
        adjusted = wcs.adjust(case.original, rotation, copy=False)
        positions.append([float(value) for value in wcs.world_to_pixel(adjusted, *case.target)])
    star, *neighbors = np.array(positions)
    jacobian = (np.array(neighbors) - star).T
    x_sigma, y_sigma = np.sqrt(jacobian**2 @ np.square(sigma))
    dx, dy = case.correction
    return _Estimate(float(star[0]) + dx, float(star[1]) + dy, float(x_sigma), float(y_sigma), note)


def _measured(case: _Case, name: str, note: str = "") -> _Estimate:
    """Convert a centroid to the exposure, by name; its errors are those of `xta.acquisition.centroids`."""
    measured = centroids.measure(case.ta)
    if name not in measured:
        msg = f"there is no onboard centroid ({header(case.ds).get('oss_status', 'no event log')})"
        raise AcquisitionError(msg)
    star = measured[name]
    return _from_ta(case, star.x, star.y, sigma=(star.x_err, star.y_err), note=note or star.unfit)


def _oss(case: _Case) -> _Estimate:
    if not case.onboard:
        msg = f"there is no onboard centroid ({header(case.ds).get('oss_status', 'no event log')})"
        raise AcquisitionError(msg)
    return _measured(case, "oss")


def _image(case: _Case) -> _Estimate:
    image_centroid(case.ta)  # its error is more specific than that of a missing centroid
    return _measured(case, "image")


def _gaussian(case: _Case) -> _Estimate:
    """Fit a Gaussian, integrated over the pixels, by least squares."""
    from astropy.utils.exceptions import AstropyUserWarning
    from photutils.psf import fit_2dgaussian

    start = image_centroid(case.ta)
    light, flags, err = (cutout(case.ta, name, start.x, start.y) for name in ("ta_sci", "ta_dq", "ta_err"))
    bad = dq.bad_pixels(light.values, None if flags is None else flags.values)
    error = None
    if err is not None:
        bad |= ~(np.isfinite(err.values) & (err.values > 0))
        error = np.where(bad, 1.0, err.values)
    corner = float(light["ta_x"][0]), float(light["ta_y"][0])
    with filtered("ignore", AstropyUserWarning):  # the flags contain the same information
        fit = fit_2dgaussian(
            np.where(bad, 0.0, light.values - start.background),
            xypos=[(start.x - corner[0], start.y - corner[1])],
            fwhm=2.0,
            fix_fwhm=False,
            fit_shape=min(n - 1 + n % 2 for n in bad.shape),
            mask=bad,
            error=error,
        ).results[0]
    if fit["flags"] & ~1 or not math.isfinite(float(fit["x_fit"]) + float(fit["y_fit"])):
        msg = f"the Gaussian did not converge (photutils flags {int(fit['flags'])})"
        raise CentroidError(msg)
    x, y, x_err, y_err, fwhm = (float(fit[name]) for name in ("x_fit", "y_fit", "x_err", "y_err", "fwhm_fit"))
    stretch = math.sqrt(max(float(fit["reduced_chi2"]), 1.0)) if error is not None else math.nan
    note = "; ".join([f"FWHM {fwhm:.2f} px", *pixel_flags(case.ta, start)])
    return _from_ta(case, x + corner[0], y + corner[1], sigma=(x_err * stretch, y_err * stretch), note=note)


def _v_frame(gwcs: "WCS") -> "tuple[Model, Model]":
    """Return the transforms from the pixel to V2, V3, the last frame before the sky, and from there to the sky."""
    first, *_, frame, last = gwcs.available_frames
    if not frame.startswith("v2v3"):
        msg = f"the frame before the sky is {frame}, not V2, V3; the guider can only be compared with an imaging WCS"
        raise WCSError(msg)
    return gwcs.get_transform(first, frame), gwcs.get_transform(frame, last)


def _sam(case: _Case) -> _Estimate:
    prd, note = _onboard_prd(case)
    net = _net(case, prd)
    _, to_sky = _v_frame(case.original)
    v2, v3 = (float(value) for value in to_sky.inverse(*case.target))
    a = header(case.ds)
    place, detector = (a["instrument"], a["aperture"], a.get("subarray")), a.get("detector")
    home = siaf.readout(*place, prd, detector=detector)
    x, y = siaf.tel_to_pixel(home, float(sphere.wrap_degrees(v2 / 3600)) * 3600 - net.v2, v3 - net.v3)
    reference = siaf.intended_pixel(*place, prd=prd, detector=detector)
    far = f"{x - reference[0]:+.3f}, {y - reference[1]:+.3f} px from the reference point"
    move = f"{net.rule}: {net.v2:.4f}, {net.v3:.4f} arcsec in V2, V3"
    dx, dy = case.correction
    return _Estimate(x + dx, y + dy, case.accuracy, case.accuracy, f"{move}; {far}; {note}")


def _onboard_prd(case: _Case) -> tuple[str | None, str]:
    """Return the SIAF release that was on board, by the consistency check of `attach`, or else that of the product."""
    if onboard_prd := header(case.ds).get("oss_prd"):
        return onboard_prd, f"SIAF onboard {onboard_prd}"
    prd = header(case.ds).get("prd_version")
    return prd, f"SIAF of the product, {siaf.release(prd)}, because the onboard release is not known"


def _net(case: _Case, prd: str | None) -> NetManeuver:
    """Add up the maneuvers of the available log, and check them against the TA exposures."""
    ds = case.ds
    log = None if case.oss is False else find.event_log(ds, case.oss, offline=True).log
    if log is None:
        if not header(ds).get("oss_log"):
            msg = "there is no event log; give oss="
            raise AcquisitionError(msg)
        log = osslog.read(f"{header(ds)['oss_log']}\n")
    tacq = ds["ta_aperture"].values[np.isin(ds["ta_exp_type"].values, list(model.TACQ_TYPES))]
    regions = [str(name) for name in tacq] if case.instrument == "MIRI" else []
    guider = identity.guider_number(ds)
    net = net_maneuver(log, instrument=case.instrument, regions=regions, guider=guider, prd=prd)
    dithers = sum(sam.kind == "dither" for sam in net.sams)
    if case.instrument == "NIRCAM" and dithers != tacq.size - 1:
        msg = f"the log has {dithers} dither SAMs before the TA SAM for {tacq.size} TA exposures; give another as oss="
        raise AcquisitionError(msg)
    return net


def _guide_star(case: _Case) -> _Estimate:
    """Turn the star by the motion of the guide star from the TA to the science exposure."""
    ds = case.ds
    if "guide_star_x" not in header(ds) or "ta_guide_star_x" not in case.ta:
        msg = "the headers of TA and science exposure do not both contain the guide star's place (GSIDL_X, GSIDL_Y)"
        raise MissingError(msg)
    identity.require(ds, "centroid_x", step="ds.ta.compute_offset()")
    if case.acquired != case.target:
        msg = "the target moves, so the guide star moved by more than the maneuver"
        raise AcquisitionError(msg)
    before = float(case.ta["ta_guide_star_x"]), float(case.ta["ta_guide_star_y"])
    after = float(header(ds)["guide_star_x"]), float(header(ds)["guide_star_y"])
    if not all(abs(value) < GUIDER_FIELD for value in (*before, *after)):
        msg = f"the headers have no usable Ideal coordinates of the guide star (GSIDL_X, GSIDL_Y): {before}, {after}"
        raise MissingError(msg)
    guider = siaf.aperture("FGS", str(header(ds).get("guider_aperture", "")), header(ds).get("prd_version"))
    start, end = ([float(v) / 3600 for v in siaf.convert(guider, *idl, "idl", "tel")] for idl in (before, after))
    to_v, _ = _v_frame(sky.the_wcs(case.ta, "ta_wcs"))
    _, to_sky = _v_frame(case.original)
    v2, v3 = to_v(float(ds["centroid_x"]), float(ds["centroid_y"]))
    turned = sphere.rotation_between(*start, *end) @ sphere.unit_vector(v2 / 3600, v3 / 3600)
    lon, lat = np.rad2deg([np.arctan2(turned[1], turned[0]), np.arctan2(turned[2], np.hypot(turned[0], turned[1]))])
    x, y = (float(value) for value in wcs.world_to_pixel(case.original, *to_sky(lon * 3600, lat * 3600)))
    guider_noise = instrument.tables().accuracy("guiding", header(ds))
    guiding = math.sqrt(2) * (guider_noise.x if guider_noise else 0.0) / (1e3 * case.scale)
    x_sigma, y_sigma = (math.hypot(sigma, guiding) for sigma in _centroid_sigma(case))
    moved = math.hypot(after[0] - before[0], after[1] - before[1])
    dx, dy = case.correction
    return _Estimate(x + dx, y + dy, x_sigma, y_sigma, f"the guide star moved by {moved:.3f} arcsec")


def _centroid_sigma(case: _Case) -> tuple[float, float]:
    """Return the standard error of the centroid in use, in the science frame; 0 if it is not known."""
    kind = identity.centroid_kind(case.ds)
    result = _attempt(lambda each: _measured(each, centroids.NAMES.get(kind, kind)), case)
    x_sigma, y_sigma = (s if math.isfinite(s) else 0.0 for s in (result.x_sigma, result.y_sigma))
    return x_sigma, y_sigma


def _template(case: _Case) -> _Estimate:
    if case.template is None:
        return _Estimate(note="no model image was given (template=)")
    star = estimate_center(case.ds, template=case.template)
    x, y, x_sigma, y_sigma = (float(star[name]) for name in ("x", "y", "x_sigma", "y_sigma"))
    return _Estimate(x, y, x_sigma, y_sigma, f"correlation {float(star['correlation']):.4f}")


METHODS: dict[str, Callable[[_Case], _Estimate]] = {
    "oss": _oss,
    "image": _image,
    "gaussian": _gaussian,
    "sam": _sam,
    "guide star": _guide_star,
    "template": _template,
}
"""Labels of the dimension ``estimate``, and the function that computes each."""
