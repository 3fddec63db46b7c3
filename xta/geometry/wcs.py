"""Evaluate, invert and adjust the GWCS of a JWST image, and read and write it as text, without xarray.

Pixels are 0-based positions in the readout that the GWCS belongs to, in the order x, y. Sky positions are
ICRS right ascension and declination in degrees. Bounding boxes are ignored, so positions off the array are valid.

The analytic inverse in a GWCS is a fit (0.01 to 0.03 px off on real files, up to 0.7 px with some
reference files), so a pixel is always found by inverting the forward transform numerically.
"""

from copy import copy as shallow_copy
from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from xta.errors import WCSError
from xta.geometry.sphere import tangent_basis, tangent_offset, unit_vector, wrap_degrees
from xta.geometry.wcstext import WcsText, dump, forward, from_fits, inverse, is_shared, load, share

if TYPE_CHECKING:
    from collections.abc import Callable

    from astropy.modeling import Model
    from gwcs import WCS
    from numpy.typing import ArrayLike, NDArray

    from xta.geometry.transforms import Function

    Floats = NDArray[np.float64]
    Residual = Callable[[Floats, Floats, NDArray[np.intp]], Floats]

__all__ = [
    "CROSS",
    "WcsText",
    "adjust",
    "adjustment",
    "dump",
    "dump_adjusted",
    "from_fits",
    "invert",
    "load",
    "pixel_scale",
    "pixel_to_v",
    "pixel_to_world",
    "reference",
    "shift",
    "sky_jacobian",
    "world_to_pixel",
    "world_to_pixel_analytic",
]

TOLERANCE = 1e-8
"""Largest round-trip error of `world_to_pixel` [pixel]; doubles of degrees resolve about 3e-9 px."""

MAX_ITERATIONS = 50
MAX_STEP = 500.0  # [pixel] longest Newton step; farther away, the Jacobian of a distorted field is not valid
FARTHEST = 10_000.0  # [pixel] from the array's center; farther away, a polynomial describes no instrument

CROSS = np.array([[0, 0.5, -0.5, 0, 0], [0, 0, 0, 0.5, -0.5]])
"""x and y of a point, and of those right, left, above and below it [pixel].

The difference of two opposite ones, a pixel apart, is a central difference: the derivative by the pixel.
"""


def pixel_to_world(wcs: "WCS", x: "ArrayLike", y: "ArrayLike") -> tuple["Floats", "Floats"]:
    """Evaluate a GWCS, also outside its bounding box.

    Parameters
    ----------
    wcs : gwcs.WCS
    x, y : array_like
        0-based pixels; broadcast against each other.

    Returns
    -------
    ra, dec : numpy.ndarray
        ICRS [deg]; NaN where a pixel is NaN.
    """
    # The WCS itself is needed for the units of one that a user made.
    return _evaluated(forward(wcs) if is_shared(wcs) else partial(wcs, with_bounding_box=False), x, y)


def _evaluated(function: "Function", x: "ArrayLike", y: "ArrayLike") -> tuple["Floats", "Floats"]:
    """Evaluate a function of two arrays (n,) with values of any shape."""
    x, y = np.broadcast_arrays(np.asarray(x, dtype=float), np.asarray(y, dtype=float))
    first, second = (np.asarray(each, dtype=float) for each in function(x.ravel(), y.ravel()))
    return first.reshape(x.shape), second.reshape(x.shape)


def sky_jacobian(wcs: "WCS", x: float, y: float) -> "Floats":
    """Differentiate the offset on the sky by the pixel [arcsec/pixel]: rows east, north, columns x, y."""
    ra, dec = pixel_to_world(wcs, x + CROSS[0], y + CROSS[1])
    offset = np.stack(tangent_offset(float(ra[0]), float(dec[0]), ra, dec))
    return np.stack([offset[:, 1] - offset[:, 2], offset[:, 3] - offset[:, 4]], axis=1)


def pixel_scale(wcs: "WCS", x: float, y: float) -> float:
    """Measure a pixel: the square root of its area [arcsec]."""
    return float(np.sqrt(abs(np.linalg.det(sky_jacobian(wcs, x, y)))))


def pixel_to_v(wcs: "WCS", x: "ArrayLike", y: "ArrayLike") -> tuple["Floats", "Floats"]:
    """Convert pixels to V2, V3 [arcsec], before velocity aberration."""
    if "v2v3" not in wcs.available_frames[1:]:
        msg = f"the WCS has the frames {', '.join(wcs.available_frames)}, without v2v3; only imaging WCSs have it"
        raise WCSError(msg)
    return _evaluated(forward(wcs, "v2v3"), x, y)


def world_to_pixel_analytic(wcs: "WCS", ra: "ArrayLike", dec: "ArrayLike") -> tuple["Floats", "Floats"]:
    """Evaluate the fitted inverse in a GWCS, for comparison and as a starting point, but never for a result.

    Parameters and returns are those of `world_to_pixel`; the result is NaN if the WCS has no inverse.
    """
    analytic = inverse(wcs)  # unlike `gwcs.WCS.invert`, this does not go on to a numerical inverse
    return _evaluated(analytic or (lambda ra, dec: (np.full_like(ra, np.nan), np.full_like(dec, np.nan))), ra, dec)


def _center(wcs: "WCS") -> tuple[float, float]:
    """Compute the middle of the bounding box [0-based pixel]; the origin if there is none."""
    try:
        box = wcs.bounding_box
        (x0, x1), (y0, y1) = box.bounding_box(order="F")
        return (float(x0) + float(x1)) / 2, (float(y0) + float(y1)) / 2
    except (AttributeError, NotImplementedError, TypeError, ValueError):
        return 0.0, 0.0


def _residual_function(wcs: "WCS", ra: "Floats", dec: "Floats") -> "Residual":
    """Build f(x, y, which): offsets of pixels (..., N) from N wanted sky positions on their tangent planes.

    The result has shape (2, ..., N), east and north [rad]. A position in the other hemisphere gives infinity.
    """
    target = unit_vector(ra, dec)
    east, north = tangent_basis(ra, dec)
    to_sky = forward(wcs)

    def residual(x: "Floats", y: "Floats", which: "NDArray[np.intp]") -> "Floats":
        direction = unit_vector(*_evaluated(to_sky, x, y))
        along_east, along_north, ahead = ((direction * axis[which]).sum(axis=-1) for axis in (east, north, target))
        return np.where(ahead > 0, np.stack([along_east, along_north]), np.inf)

    return residual


def _newton_step(
    residual: "Residual", x: "Floats", y: "Floats", which: "NDArray[np.intp]"
) -> tuple["Floats", "Floats", "Floats"]:
    """One 2x2 Newton step: (dx, dy, determinant of the Jacobian) for each point [pixel, pixel, rad²/px²]."""
    # One evaluation of the pixel and of its neighbors at half a pixel gives the offset and, by central differences,
    # the Jacobian, whose 2 x 2 system is solved by Cramer's rule for all points at once.
    with np.errstate(invalid="ignore", divide="ignore"):
        cross = residual(x + CROSS[0][:, np.newaxis], y + CROSS[1][:, np.newaxis], which)
        f, right, left, above, below = np.moveaxis(cross, 1, 0)
        fx, fy = right - left, above - below
        det = fx[0] * fy[1] - fx[1] * fy[0]
        dx = (fy[0] * f[1] - fy[1] * f[0]) / det
        dy = (fx[1] * f[0] - fx[0] * f[1]) / det
    return dx, dy, det


def world_to_pixel(wcs: "WCS", ra: "ArrayLike", dec: "ArrayLike") -> tuple["Floats", "Floats"]:
    """Find the pixel of a sky position by Newton's method on the forward GWCS.

    Parameters
    ----------
    wcs : gwcs.WCS
    ra, dec : array_like
        ICRS [deg]; broadcast against each other.

    Returns
    -------
    x, y : numpy.ndarray
        0-based pixels, of the broadcast shape; NaN where a coordinate is NaN.

    Raises
    ------
    WCSError
        If a point does not converge, naming the first such point. This happens far outside the array,
        where a distortion polynomial no longer describes a field.

    Notes
    -----
    The iteration starts from the analytic inverse or the array's center, whichever is closer on the sky,
    differentiates the forward transform by central differences and stops when a step is below 1e-9 px or
    no longer shrinks. The result is accepted if the forward transform returns to the sky position within
    `TOLERANCE` = 1e-8 px, on the same side of any fold of the distortion as the array's center, and not more
    than 10,000 px from it.
    """
    ra, dec = np.broadcast_arrays(np.asarray(ra, dtype=float), np.asarray(dec, dtype=float))
    shape = ra.shape
    ra, dec = ra.ravel(), dec.ravel()
    finite = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    x, y = np.full(ra.shape, np.nan), np.full(ra.shape, np.nan)
    if finite.size:
        x[finite], y[finite] = _solve(wcs, ra[finite], dec[finite])[:2]
    return x.reshape(shape), y.reshape(shape)


def invert(wcs: "WCS", ra: float, dec: float) -> tuple[float, float, float, float]:
    """Find the pixel x, y of one position as `world_to_pixel`, and the one by the fitted inverse."""
    x, y, x_fitted, y_fitted = _solve(wcs, np.array([ra]), np.array([dec]))
    return float(x[0]), float(y[0]), float(x_fitted[0]), float(y_fitted[0])


def _solve(wcs: "WCS", ra: "Floats", dec: "Floats") -> tuple["Floats", "Floats", "Floats", "Floats"]:
    """Find the pixels of finite positions (n,), and those by the fitted inverse; an error names one without a pixel."""
    residual = _residual_function(wcs, ra, dec)
    everyone = np.arange(ra.size)
    x0, y0 = (np.full(ra.shape, value) for value in _center(wcs))
    with np.errstate(all="ignore"):
        x_guess, y_guess = world_to_pixel_analytic(wcs, ra, dec)
        errors = np.hypot(*residual(np.stack([x_guess, x0]), np.stack([y_guess, y0]), everyone))
    good_guess = errors[0] < errors[1]  # False where the guess is NaN
    x, y = _iterate(residual, np.where(good_guess, x_guess, x0), np.where(good_guess, y_guess, y0))
    # Far outside, a polynomial folds the field over: behind the fold the Jacobian has the other sign.
    first = np.append(0, everyone)
    dx, dy, det = _newton_step(residual, np.append(x0[:1], x), np.append(y0[:1], y), first)
    near = np.hypot(x - x0, y - y0) <= FARTHEST
    closed = near & (np.hypot(dx, dy)[1:] <= TOLERANCE) & (np.sign(det[1:]) == np.sign(det[0]))
    if not closed.all():
        bad = int(np.flatnonzero(~closed)[0])
        msg = (
            f"no pixel found for RA, Dec = {ra[bad]:.7f}, {dec[bad]:.7f} deg "
            f"({int((~closed).sum())} of {closed.size} positions did not converge): "
            "it is too far outside the array for the distortion of this WCS; check the coordinates"
        )
        raise WCSError(msg)
    return x, y, x_guess, y_guess


def _iterate(residual: "Residual", x: "Floats", y: "Floats") -> tuple["Floats", "Floats"]:
    """Take Newton steps from pixels (n,) until none of the points moves; the caller checks the result."""
    # Points that no longer move leave the iteration, so that a few slow ones do not cost evaluations of all. Steps
    # are cut to `MAX_STEP`, since the first may be far too long.
    active = np.arange(x.size)
    last = np.full(x.shape, np.inf)
    with np.errstate(invalid="ignore", divide="ignore"):
        for _ in range(MAX_ITERATIONS):
            dx, dy, _det = _newton_step(residual, x[active], y[active], active)
            step = np.hypot(dx, dy)
            scale = np.minimum(1.0, MAX_STEP / step)
            x[active] += np.where(np.isfinite(scale), dx * scale, 0.0)
            y[active] += np.where(np.isfinite(scale), dy * scale, 0.0)
            # At rounding level a step no longer shrinks: doubles allow no better.
            done = (step < 1e-9) | ((step < TOLERANCE) & (step >= last[active])) | ~np.isfinite(step)
            last[active] = step
            active = active[~done]
            if not active.size:
                break
    return x, y


def _sky_rotation(wcs: "WCS") -> tuple[int, "Floats"]:
    """Find the step from V2, V3 to the sky: (its index in the pipeline, the five angles [deg]).

    The angles are those of the pipeline's ``v23tosky``: V2, -V3, roll, Dec, -RA of the reference point,
    rotated about the axes z, y, x, y, z in turn.
    """
    for index in range(len(wcs.pipeline) - 1, -1, -1):
        step = wcs.pipeline[index]
        if step.transform is None or not (getattr(step.frame, "name", None) or "").startswith("v2v3"):
            continue
        for model in [step.transform[i] for i in range(step.transform.n_submodels)]:
            if getattr(model, "axes_order", None) == "zyxyz":
                return index, np.array(model.angles.value, dtype=float)
    frames = ", ".join(wcs.available_frames)
    msg = f"the WCS (frames {frames}) has no rotation from V2, V3 to the sky; only imaging WCSs can be adjusted"
    raise WCSError(msg)


def reference(wcs: "WCS") -> dict[str, float]:
    """Read the attitude of a JWST imaging GWCS: the keywords V2_REF, V3_REF [arcsec], ROLL_REF ... [deg]."""
    v2, minus_v3, roll, dec, minus_ra = _sky_rotation(wcs)[1]
    return {
        "v2_ref": v2 * 3600,
        "v3_ref": -minus_v3 * 3600,
        "roll_ref": roll % 360,
        "ra_ref": -minus_ra % 360,
        "dec_ref": dec,
    }


def _rotated_reference(angles: "Floats", rotation: "Floats") -> tuple[float, float, float]:
    """Turn the attitude (roll, Dec, RA of the reference point) by a rotation of the sky [deg]."""
    # Two vectors define the attitude, the reference point and the direction to V3 there: rotate both, and read the
    # coordinates of the one and the position angle of the other.
    _, _, roll, dec, minus_ra = angles
    east, north = tangent_basis(-minus_ra, dec)
    towards_v3 = north * np.cos(np.deg2rad(roll)) + east * np.sin(np.deg2rad(roll))
    x, y, z = rotation @ unit_vector(-minus_ra, dec)
    new_ra, new_dec = np.rad2deg(np.arctan2(y, x)), np.rad2deg(np.arctan2(z, np.hypot(x, y)))
    new_east, new_north = tangent_basis(new_ra, new_dec)
    towards_v3 = rotation @ towards_v3
    new_roll = np.rad2deg(np.arctan2(towards_v3 @ new_east, towards_v3 @ new_north))
    return float(new_roll), float(new_dec), float(new_ra)


def adjustment(wcs: "WCS", rotation: "Floats") -> tuple[float, float, float]:
    """Express a rotation of the sky, as for `adjust`, as changes of RA_REF (without cos Dec), DEC_REF, ROLL_REF [deg].

    They are the arguments of ``jwst.tweakreg.utils.adjust_wcs`` that give the WCS of `adjust`.
    """
    angles = _sky_rotation(wcs)[1]
    roll, dec, ra = _rotated_reference(angles, rotation)
    return float(wrap_degrees(ra + angles[4])), float(dec - angles[3]), float(wrap_degrees(roll - angles[2]))


def adjust(wcs: "WCS", rotation: "Floats", *, copy: bool = True) -> "WCS":
    """Rotate the sky of a JWST imaging GWCS: its attitude changes, its distortion does not.

    Parameters
    ----------
    wcs : gwcs.WCS
        Not changed.
    rotation : numpy.ndarray
        Matrix (3, 3) acting on ICRS unit vectors, see `rotation_between`.
    copy : bool
        False shares all other transforms with `wcs`, so that neither of the two may be changed afterward.

    Returns
    -------
    gwcs.WCS
        With forward = rotation after the old forward, exactly.

    Raises
    ------
    WCSError
        If the WCS has no step from V2, V3 to the sky.

    Notes
    -----
    An error of the guide-star position or of the alignment turns the whole sky of a visit rigidly, so one
    rotation corrects every exposure, at any declination. Adding the same differences of RA and Dec to
    two reference points would not: near a pole these move along different meridians.
    """
    index, angles = _sky_rotation(wcs)
    roll, dec, ra = _rotated_reference(angles, rotation)
    return _replace_step(wcs, index, _v23tosky(np.array([angles[0], angles[1], roll, dec, -ra])), copy=copy)


def dump_adjusted(wcs: "WCS") -> WcsText:
    """Write the result of `adjust` or `shift` as `dump`, and spare `load` to read it."""
    # The text has angles in degrees, and the transform has radians, whose last digit may be another after each way.
    index, angles = _sky_rotation(wcs)
    return share(dump(wcs), _replace_step(wcs, index, _v23tosky(angles), copy=False))


def _v23tosky(angles: "Floats") -> "Model":
    """Transform from V2, V3 [arcsec] to RA, Dec [deg], in the form that the JWST pipeline uses."""
    from astropy.modeling.models import RotationSequence3D, Scale
    from gwcs.geometry import CartesianToSpherical, SphericalToCartesian

    transform = (
        (Scale(1 / 3600) & Scale(1 / 3600))
        | SphericalToCartesian(wrap_lon_at=180)
        | RotationSequence3D(angles, axes_order="zyxyz")
        | CartesianToSpherical(wrap_lon_at=360)
    )
    transform.name = "v23tosky"
    return transform


def shift(wcs: "WCS", dx: float, dy: float, *, copy: bool = True) -> "WCS":
    """Move the pixel origin of a GWCS: ``new(x, y) == wcs(x + dx, y + dy)``, without a bounding box.

    `copy` is as in `adjust`.
    """
    from astropy.modeling.models import Shift

    first = (deepcopy if copy else shallow_copy)(wcs.pipeline[0].transform)
    # The box is in the old pixels; a new one would need the shape of the new array.
    if first.has_user_bounding_box:
        del first.bounding_box
    return _replace_step(wcs, 0, (Shift(dx) & Shift(dy)) | first, copy=copy)


def _replace_step(wcs: "WCS", index: int, transform: "Model", *, copy: bool) -> "WCS":
    """Copy a GWCS with one transform of its pipeline replaced."""
    from gwcs import WCS

    steps = [(step.frame, transform if i == index else step.transform) for i, step in enumerate(wcs.pipeline)]
    if copy:
        steps = [(deepcopy(frame), new if new is transform else deepcopy(new)) for frame, new in steps]
    new = WCS(steps, name=wcs.name)
    new.pixel_shape = wcs.pixel_shape if index else None
    return new
