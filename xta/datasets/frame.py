"""Convert between pixels, V2, V3 and the sky for a sample exposure, with SIAF polynomials and pysiaf's rotations.

This is the geometry of the truth. It shares no code with the WCS in the files, which is built by the pipeline. An
attitude is a 3 x 3 rotation matrix that converts a unit vector in the V frame (V1, V2, V3) to the unit vector of the
same direction in ICRS; roll is the position angle of +V3, north through east.

References
----------
JWST-STScI-001550, "Description and Use of the JWST Science Instrument Aperture File".
"""

import math
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from xta.geometry import prd, siaf, sphere

if TYPE_CHECKING:
    from pysiaf import JwstAperture
__all__ = [
    "Frame",
    "Matrix",
    "attitude",
    "offset",
    "pixel_to_v",
    "position_angle",
    "reference_pixel",
    "sky_to_pixel",
    "sky_to_v",
    "v_to_pixel",
    "v_to_sky",
]

Matrix: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Frame:
    """The data that convert pixels to directions: a readout, its reference aperture, velocity aberration."""

    readout: "JwstAperture"
    """Aperture in whose pixels the exposure is."""
    reference: "JwstAperture"
    """Aperture of APERNAME, whose reference point has V2_REF, V3_REF; often the readout itself."""
    va_scale: float = 1.0

    def scaled(self, v2: float, v3: float, scale: float) -> tuple[float, float]:
        """Scale V2, V3 [arcsec] about the reference point, as velocity aberration does."""
        v2_ref, v3_ref = self.reference.V2Ref, self.reference.V3Ref
        return v2_ref + scale * (v2 - v2_ref), v3_ref + scale * (v3 - v3_ref)


def _rotations() -> ModuleType:
    prd.pysiaf()  # imports it without its request to the network
    return import_module("pysiaf.utils.rotations")


def pixel_to_v(frame: Frame, x: float, y: float) -> tuple[float, float]:
    """Convert a 0-based pixel to V2, V3 [arcsec] without velocity aberration, as the pipeline's WCS does."""
    return frame.scaled(*siaf.convert(frame.readout, x, y, "pixel", "tel"), frame.va_scale)


def v_to_pixel(frame: Frame, v2: float, v3: float) -> tuple[float, float]:
    """Invert `pixel_to_v` exactly, unlike the inverse polynomials of the SIAF; raise SiafError far outside."""
    return siaf.tel_to_pixel(frame.readout, *frame.scaled(v2, v3, 1 / frame.va_scale))


def reference_pixel(frame: Frame) -> tuple[float, float]:
    """Compute the 0-based pixel of the reference point of a frame from detector pixels, or for a slit from V2, V3."""
    aperture = frame.reference
    if aperture.XDetRef is None:
        return siaf.tel_to_pixel(frame.readout, aperture.V2Ref, aperture.V3Ref)
    return siaf.reference_pixel(aperture, frame.readout)


def attitude(v2: float, v3: float, ra: float, dec: float, roll: float) -> Matrix:
    """Compute the attitude that puts V2, V3 [arcsec] on a position on the sky with a roll there [deg]."""
    return np.asarray(_rotations().attitude(v2, v3, ra, dec, roll))


def position_angle(matrix: Matrix, v2: float, v3: float) -> float:
    """Compute the roll of an attitude at V2, V3 [arcsec], in [0, 360) [deg]."""
    return float(_rotations().posangle(matrix, v2, v3) % 360)


def v_to_sky(matrix: Matrix, v2: float, v3: float) -> tuple[float, float]:
    """Convert V2, V3 [arcsec] to right ascension in [0, 360) and declination [deg]."""
    return sphere.position(matrix @ sphere.unit_vector(v2 / 3600, v3 / 3600))


def sky_to_v(matrix: Matrix, ra: float, dec: float) -> tuple[float, float]:
    """Convert a position on the sky [deg] to V2, V3 [arcsec]."""
    v2, v3 = _rotations().getv2v3(matrix, ra, dec)
    return float(v2), float(v3)


def sky_to_pixel(frame: Frame, matrix: Matrix, ra: float, dec: float) -> tuple[float, float]:
    """Compute the 0-based pixel of a position on the sky [deg] with an attitude."""
    return v_to_pixel(frame, *sky_to_v(matrix, ra, dec))


def offset(ra: float, dec: float, separation: float, angle: float) -> tuple[float, float]:
    """Compute the position at a separation [arcsec] and position angle [deg] from another one [deg]."""
    far, along = math.radians(separation / 3600), math.radians(angle)
    east, north = sphere.tangent_basis(ra, dec)
    toward = math.cos(along) * north + math.sin(along) * east
    return sphere.position(math.cos(far) * sphere.unit_vector(ra, dec) + math.sin(far) * toward)
