"""Pixels, V2, V3 and the sky for one exposure of a sample visit, from the SIAF alone.

This is the geometry of the truth. It shares no code with the WCS in the files, which the pipeline builds, nor
with what xta does to them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from xta.datasets.attitude import Array, attitude, lonlat, unit
from xta.errors import SiafError
from xta.geometry import siaf

__all__ = ["Frame", "attitude_of", "home", "pixel_of", "pixel_to_v", "v_to_pixel"]


@dataclass(frozen=True)
class Frame:
    """What turns pixels into directions: a readout, its reference aperture, velocity aberration."""

    readout: Any
    """Aperture in whose pixels the exposure is."""
    reference: Any
    """Aperture of APERNAME, whose reference point has V2_REF, V3_REF; often the readout itself."""
    va_scale: float = 1.0


def pixel_to_v(frame: Frame, x: Any, y: Any) -> tuple[Any, Any]:
    """Convert a 0-based pixel to V2, V3 with velocity aberration taken out.

    Parameters
    ----------
    frame : Frame
    x, y : float or array
        [pixel].

    Returns
    -------
    v2, v3 : float or array
        [arcsec].

    Notes
    -----
    Velocity aberration scales the field about the reference point, as in ``jwst.assign_wcs.pointing``.
    """
    v2, v3 = siaf.convert(frame.readout, x, y, "pixel", "tel")
    v2_ref, v3_ref = frame.reference.V2Ref, frame.reference.V3Ref
    return v2_ref + frame.va_scale * (v2 - v2_ref), v3_ref + frame.va_scale * (v3 - v3_ref)


def v_to_pixel(frame: Frame, v2: float, v3: float) -> tuple[float, float]:
    """Invert `pixel_to_v` exactly, by Newton's method; the inverse polynomials of the SIAF are not exact.

    Parameters
    ----------
    frame : Frame
    v2, v3 : float
        [arcsec].

    Returns
    -------
    x, y : float
        0-based [pixel].

    Raises
    ------
    SiafError
        If the position is too far outside for the distortion to be inverted.
    """
    # The point itself, and its neighbours right, left, above and below for the derivatives.
    cross = np.array([[0, 0.5, -0.5, 0, 0], [0, 0, 0, 0.5, -0.5]])
    pixel = np.array(siaf.reference_pixel(frame.readout, frame.readout))
    for _ in range(20):
        here, right, left, above, below = np.transpose(pixel_to_v(frame, *(pixel[:, None] + cross)))
        move = np.linalg.solve(np.stack([right - left, above - below], axis=1), here - (v2, v3))
        pixel = pixel - move
        if np.hypot(*move) < 1e-10:
            return float(pixel[0]), float(pixel[1])
    msg = f"V2, V3 = ({v2}, {v3}) arcsec is not a pixel of {frame.readout.AperName} or near it"
    raise SiafError(msg)


def home(frame: Frame) -> tuple[float, float]:
    """Give the pixel of the reference point of a frame: by detector pixels, for a slit by V2, V3.

    Parameters
    ----------
    frame : Frame

    Returns
    -------
    x, y : float
        0-based [pixel].
    """
    ap = frame.reference
    if ap.XDetRef is None:
        return v_to_pixel(Frame(frame.readout, ap), ap.V2Ref, ap.V3Ref)
    return siaf.reference_pixel(ap, frame.readout)


def attitude_of(frame: Frame, *, x: float, y: float, ra: float, dec: float, roll: float) -> Array:
    """Make the attitude that puts a star on a pixel.

    Parameters
    ----------
    frame : Frame
    x, y : float
        Where the star is to be, 0-based [pixel].
    ra, dec : float
        Of the star [deg].
    roll : float
        Position angle of +V3 at the star [deg].

    Returns
    -------
    array of shape (3, 3)
    """
    return attitude(*pixel_to_v(frame, x, y), ra, dec, roll)


def pixel_of(frame: Frame, matrix: Array, *, ra: float, dec: float) -> tuple[float, float]:
    """Find the pixel of a position of the sky under an attitude.

    Parameters
    ----------
    frame : Frame
    matrix : array of shape (3, 3)
        Attitude.
    ra, dec : float
        [deg].

    Returns
    -------
    x, y : float
        0-based [pixel].
    """
    v2, v3 = lonlat(matrix.T @ unit(ra, dec))
    return v_to_pixel(frame, ((v2 + 180) % 360 - 180) * 3600, v3 * 3600)
