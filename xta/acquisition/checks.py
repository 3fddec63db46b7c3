"""Check the acquisition and its image, and give each check a reason.

The results are the coordinates ``check_passed`` (1 passed, 0 failed, -1 not tested) and ``check_reason`` along the
dimension ``check``, whose labels and meanings are in `xta.acquisition.checklist`. Input that would make a result wrong
is refused by `attach`: the WCS of another exposure, or the acquisition of another guide star.

References
----------
JWST User Documentation, "JWST Pointing Accuracy": 0.10 arcsec without a target acquisition (1 sigma, radial).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import xarray as xr

from xta import identity, model
from xta.acquisition import checklist, pair
from xta.acquisition.centroids import FAR, FAR_PIXELS, NAMES, POINTING, StarCentroid
from xta.acquisition.closure import Closure, closure
from xta.acquisition.corrections import Correction
from xta.acquisition.image import flagged, image_centroid, in_use, pixel_flags
from xta.acquisition.instrument import acquisition_accuracy
from xta.errors import SiafError, WCSError, XtaError, warn
from xta.geometry import siaf, sky, sphere, wcs
from xta.identity import header
from xta.osslog import Centroid

if TYPE_CHECKING:
    from xta.acquisition.targ_acq import TargAcq

__all__ = ["check_acquisition", "check_image", "check_star", "forget_image"]

IMAGE = (checklist.PIXELS, checklist.CENTROID, checklist.PLAUSIBLE)
"""Checks made by `check_image`."""

OF_CORRECTIONS = {"way": checklist.GEOMETRY, "filter": checklist.FILTERS}
"""Name of a correction -> the check of the data that it is based on."""

STAR = (*OF_CORRECTIONS.values(), checklist.MASK)
"""Checks made by `check_star`."""

AGREES = 3.0  # standard errors, each axis
NEAR_MASK = 1.0  # [arcsec] a failed acquisition, or another mistake, leaves a larger distance
ONBOARD = frozenset({"oss", "targ_acq", "converged", "unbiased"})  # kinds of centroids that were measured on board
SAME_CENTROID = 1e-4  # [pixel]; the log has nine digits

Check: TypeAlias = tuple[bool | None, str]
"""True if passed, False if failed, None if not tested; and the reason."""

NOT_YET: Check = (None, "not tested yet")


def check_acquisition(
    ds: xr.Dataset,
    exposures: Sequence[xr.Dataset],
    onboard: pair.Onboard,
    records: "Iterable[TargAcq]" = (),
) -> xr.Dataset:
    """Check the log and the headers of an acquisition: ``check``, ``check_passed`` and ``check_reason``.

    If the log is consistent with the SIAF, add the coordinates ``oss_prd``, the SIAF release that was on board, and
    ``oss_closure_error``, the largest residual [arcsec]. Warn if the log is inconsistent, or if the log and TARG_ACQ
    disagree.
    """
    closed = _closure(ds, exposures, onboard)
    if closed.passed:
        ds = identity.assign(ds, {"oss_prd": closed.prd, "oss_closure_error": closed.error})
    results = {
        checklist.WCS: _reference(ds, exposures),
        checklist.CONVERGED: _converged(ds, onboard),
        checklist.CLOSES: _closes(closed),
        checklist.RELEASE: _prd(ds),
        checklist.GUIDE_STAR: _guide_star(ds, exposures),
        checklist.TARG_ACQ: _targ_acq(ds, exposures, records),
    }
    for name in (checklist.CLOSES, checklist.TARG_ACQ):
        passed, reason = results[name]
        if passed is False:
            warn(f"visit {header(ds)['visit_id']}: {reason}")
    return _assign(ds, results)


def check_image(ds: xr.Dataset, ta: xr.Dataset, found: Mapping[str, StarCentroid]) -> xr.Dataset:
    """Check the TA image in use, `ta`, and compare the centroids with each other; needs the offset.

    `found` is the result of `xta.acquisition.centroids.measure`.
    """
    identity.require(ds, "ta_sci", step="ds.ta.attach()")
    try:
        star = image_centroid(ta)
    except XtaError as error:
        problem = f"the TA image cannot be used: {error}"
        wrong = flagged(ta, *model.place(ds, "centroid"))
        clean: Check = (False, f"{'; '.join(wrong)}; {problem}") if wrong else (None, problem)
        agree: Check = None, problem
    else:
        wrong = pixel_flags(ta, star)
        clean = not wrong, "; ".join(wrong) or "no saturated, bad or hot pixel near the star"
        agree = _agrees(ds, found)
    results = dict(zip(IMAGE, (clean, agree, _plausible(ds, ta, found)), strict=True))
    return _assign(ds, results | dict.fromkeys(STAR, NOT_YET))


def check_star(ds: xr.Dataset, made: Mapping[str, Correction] | None = None) -> xr.Dataset:
    """Compare the star with the mask, and check the data that its corrections are based on; needs the star.

    `made` is the result of `xta.acquisition.corrections.correct`; None if the acquisition did not give the star.
    """
    results = {check: _known(ds, name, (made or {}).get(name)) for name, check in OF_CORRECTIONS.items()}
    return _assign(ds, results | {checklist.MASK: _near_mask(ds)})


def forget_image(ds: xr.Dataset, reason: str) -> xr.Dataset:
    """Reset the results of `check_image`, with a reason; a dataset without checks does not change."""
    return _assign(ds, dict.fromkeys(IMAGE, (None, reason))) if "check" in ds.variables else ds


def _assign(ds: xr.Dataset, results: Mapping[str, Check]) -> xr.Dataset:
    """Enter checks into a dataset, in place of earlier ones of the same names."""
    table: dict[str, Check] = dict.fromkeys(checklist.CHECKS, NOT_YET)
    before = [ds.variables.get(name) for name in ("check", "check_passed", "check_reason")]
    if all(each is not None and each.dims == ("check",) for each in before):
        rows = zip(*(each.values for each in before if each is not None), strict=True)
        named = ((checklist.FORMER.get(name, name), state, reason) for name, state, reason in rows)
        table |= {str(name): (None if state < 0 else bool(state), str(reason)) for name, state, reason in named}
    ds = ds.drop_vars(["check", "check_passed", "check_reason"], errors="ignore")  # a selection may be left
    table |= results
    states = np.array([-1 if passed is None else int(passed) for passed, _ in table.values()], dtype=np.int8)
    values = np.array([-1, 0, 1], dtype=np.int8)
    flags = model.attrs("check_passed", flag_values=values, flag_meanings="not_tested failed passed")
    reasons = [reason for _, reason in table.values()]
    columns = {"check": (list(table), model.attrs("check")), "check_passed": (states, flags)}
    columns["check_reason"] = reasons, model.attrs("check_reason")
    return model.with_coords(ds, {name: ("check", *column) for name, column in columns.items()})


def _reference(ds: xr.Dataset, exposures: Sequence[xr.Dataset]) -> Check:
    compared = {str(header(each).get("filename", "?")): sky.other_reference(each) for each in (ds, *exposures)}
    if wrong := [f"{name}: {differ}" for name, differ in compared.items() if differ]:
        return False, ". ".join(wrong)
    if None in compared.values():
        return None, "a header does not contain the reference point, or the exposure has no imaging WCS"
    return True, "the reference points of header and WCS agree to 1e-6 deg"


def _converged(ds: xr.Dataset, onboard: pair.Onboard) -> Check:
    if onboard.record is None:
        return False if onboard.failed else None, onboard.reason or "no event log"
    if onboard.failed:
        return False, "the last onboard centroid did not converge; an earlier one is used"
    return True, f"{header(ds)['centroid_source']}: the onboard centroid converged"


def _closure(ds: xr.Dataset, exposures: Sequence[xr.Dataset], onboard: pair.Onboard) -> Closure:
    if not isinstance(onboard.record, Centroid):
        return Closure(reason="the centroid in use is not from an event log")
    aperture = str(header(exposures[header(ds)["ta_in_use"]]).get("aperture", "")) or None
    try:
        return closure(onboard.record, prd=header(ds).get("prd_version"), aperture=aperture, explain=False)
    except SiafError as error:
        return Closure(reason=str(error))


def _closes(closed: Closure) -> Check:
    if closed.passed is None:
        return None, closed.reason
    if closed.passed:
        return True, f"{closed.reason}, to {closed.error:.1g} arcsec"
    return False, f"the event log is not consistent: {closed.reason}; xta.closure(record) looks for the cause"


def _prd(ds: xr.Dataset) -> Check:
    given = header(ds).get("prd_version")
    if not given:
        return None, f"the product does not name a SIAF release (PRD_VER); {siaf.release()} is used"
    used = siaf.release(str(given))
    same = used == given
    return same, f"SIAF of the product: {used}" if same else f"{given} is not available; {used} is used for the mask"


def _guide_star(ds: xr.Dataset, exposures: Sequence[xr.Dataset]) -> Check:
    """Check that all headers name the guide star; `attach` has compared those that do."""
    for exposure in (ds, *exposures):
        if "guide_star" not in header(exposure):
            return None, f"{header(exposure).get('filename', 'an exposure')} does not name its guide star (GDSTARID)"
    return True, f"guide star {header(ds)['guide_star']}"


def _targ_acq(ds: xr.Dataset, exposures: Sequence[xr.Dataset], records: "Iterable[TargAcq]") -> Check:
    """Compare the centroid in the header of the acquisition in use with that of the log."""
    used = exposures[header(ds)["ta_in_use"]]
    record = next((record for record in records if pair.same_exposure(used, record)), None)
    if record is None:
        return None, "no TARG_ACQ extension was found for the TA exposure in use"
    if not header(ds).get("oss_time"):
        return None, "there is no event-log centroid to compare TARG_ACQ with"
    logged = header(ds)["oss_x_det"], header(ds)["oss_y_det"]
    x, y = siaf.oss_to_det(str(header(ds)["instrument"]), record.x_det, record.y_det)
    content = f"{x:.5f}, {y:.5f}" if record.successful else f"{record.status} {record.reason}".strip()
    if record.successful and max(abs(x - logged[0]), abs(y - logged[1])) <= SAME_CENTROID:
        return True, f"{record.filename} has the centroid of the log"
    return False, (
        f"{record.filename} (TARG_ACQ) has {content}, but the event log has {logged[0]:.5f}, {logged[1]:.5f} "
        "(SIAF Det); the centroid of the log is used"
    )


def _agrees(ds: xr.Dataset, found: Mapping[str, StarCentroid]) -> Check:
    """Compare the onboard centroid, or one given by hand, with that of the image, in units of their errors."""
    what, others = "onboard centroid", dict(found)
    if identity.centroid_kind(ds) == "manual":
        what, others["oss"] = "centroid in use", _by_hand(ds)
    if "oss" not in others or "image" not in others:
        return None, "there is no onboard centroid to compare with that of the image"
    oss, image = others["oss"], others["image"]
    far = oss.x - image.x, oss.y - image.y
    errors = math.hypot(oss.x_err, image.x_err), math.hypot(oss.y_err, image.y_err)
    passed = all(abs(each) <= AGREES * error for each, error in zip(far, errors, strict=True))
    sigmas = far[0] / errors[0], far[1] / errors[1]
    reason = f"{what} minus that of the image: {far[0]:+.3f}, {far[1]:+.3f} px"
    return passed, f"{reason}, {sigmas[0]:+.1f}, {sigmas[1]:+.1f} standard errors (allowed {AGREES:g})"


def _by_hand(ds: xr.Dataset) -> StarCentroid:
    """Return the centroid given by hand, with the published accuracy of an acquisition as its error."""
    x, y = model.place(ds, "centroid")
    scale = wcs.pixel_scale(sky.the_wcs(in_use(ds), "ta_wcs"), x, y)
    error = acquisition_accuracy(str(header(ds)["instrument"])) / (1e3 * scale)
    return StarCentroid(x, y, error, error, "")


def _plausible(ds: xr.Dataset, ta: xr.Dataset, found: Mapping[str, StarCentroid]) -> Check:
    """Compare the centroid in use with the intended position and another centroid; one of the two must be near."""
    used = identity.centroid_kind(ds)
    place = model.place(ds, "centroid")
    scale = wcs.pixel_scale(sky.the_wcs(ta, "ta_wcs"), *place)
    own = found.get(NAMES.get(used, used))
    noise = math.hypot(own.x_err, own.y_err) if own else 0.0
    others = {"the intended position": (*model.place(ta, "ta_intended"), POINTING / scale)}
    other = "image" if used in ONBOARD else "oss"
    if other in found:
        each = found[other]
        what = {"image": "the centroid of the image", "oss": "the onboard centroid"}[other]
        others[what] = each.x, each.y, math.hypot(each.x_err, each.y_err)
    near, reasons = [], []
    for what, (x, y, error) in others.items():
        apart = math.hypot(place[0] - x, place[1] - y)
        limit = max(FAR_PIXELS, FAR * math.hypot(error, noise))
        if math.isfinite(apart):
            near.append(apart <= limit)
            reasons.append(f"{apart:.2f} px from {what} (allowed {limit:.2f})")
    if not near:
        return None, "neither the intended position of the star nor another centroid is known"
    return any(near), f"the centroid in use is {', '.join(reasons)}"


def _known(ds: xr.Dataset, name: str, made: Correction | None) -> Check:
    """Check that the data behind a correction are known, and that the correction was applied."""
    if made is None:
        return None, "the star was not found by an acquisition in another exposure"
    if not made.known:
        return False, made.source
    applied = "correction" in ds.variables and name in ds.variables["correction"].values
    return (True, made.source) if applied else (None, f"not corrected for, {made.x:+.3f}, {made.y:+.3f} px")


def _near_mask(ds: xr.Dataset) -> Check:
    """Compare the star with the reference point of the mask."""
    about = header(ds)
    kind, aperture = about.get("exp_type"), str(about.get("aperture", ""))
    if kind not in model.CORONAGRAPHIC_TYPES:
        return None, f"an exposure of the type {kind or 'unknown'} has no mask"
    if about.get("is_background"):
        return None, "the exposure shows a background field"
    if aperture.endswith(("MASKSWB", "MASKLWB")):
        return None, f"{aperture} does not define where along the bar the star is"
    mask, star = ([model.scalar(ds, f"{name}_{axis}") for axis in ("x", "y")] for name in ("mask", "target"))
    if not np.isfinite([*mask, *star]).all():
        return None, "the position of the star or of the mask is not known"
    try:
        ra, dec = wcs.pixel_to_world(sky.the_wcs(ds), *np.transpose([mask, star]))
    except WCSError as error:
        return None, str(error)
    apart = float(np.hypot(*sphere.sky_offset(ra[0], dec[0], ra[1], dec[1])))
    return apart <= NEAR_MASK, f"the star is {apart:.3f} arcsec from the mask (allowed {NEAR_MASK:g})"
