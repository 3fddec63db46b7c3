"""Compute offsets and rotations on the sky with unit vectors, without singular points.

Positions are ICRS right ascension and declination in degrees. With vectors, RA = 0 and the poles need no special
treatment.
"""

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

__all__ = [
    "position",
    "rotation_between",
    "sky_offset",
    "tangent_basis",
    "tangent_offset",
    "unit_vector",
    "wrap_degrees",
]


def wrap_degrees(angle: "ArrayLike") -> "Floats":
    """Wrap angles to [-180, 180) degrees.

    Examples
    --------
    >>> wrap_degrees([359.5, -181.0]).tolist()
    [-0.5, 179.0]
    """
    return (np.asarray(angle, dtype=float) + 180.0) % 360.0 - 180.0


def unit_vector(ra: "ArrayLike", dec: "ArrayLike") -> "Floats":
    """Compute the direction (ra, dec) [deg] as unit vectors of shape (..., 3)."""
    lon, lat = np.deg2rad(np.asarray(ra, dtype=float)), np.deg2rad(np.asarray(dec, dtype=float))
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def position(vector: "Floats") -> tuple[float, float]:
    """Convert a vector of shape (3,) to longitude in [0, 360) and latitude [deg], the inverse of `unit_vector`.

    Both by arc tangent, so that nothing is lost near the poles.
    """
    x, y, z = (float(part) for part in vector)
    lon = math.degrees(math.atan2(y, x)) % 360.0
    return lon if lon < 360.0 else 0.0, math.degrees(math.atan2(z, math.hypot(x, y)))


def tangent_basis(ra: "ArrayLike", dec: "ArrayLike") -> tuple["Floats", "Floats"]:
    """East and north unit vectors at (ra, dec) [deg], each of shape (..., 3); defined at the poles too."""
    lon, lat = np.broadcast_arrays(np.deg2rad(np.asarray(ra, float)), np.deg2rad(np.asarray(dec, float)))
    east = np.stack([-np.sin(lon), np.cos(lon), np.zeros_like(lon)], axis=-1)
    north = np.stack([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)], axis=-1)
    return east, north


def sky_offset(ra0: float, dec0: float, ra1: float, dec1: float) -> tuple[float, float]:
    """Measure the offset (east, north) [arcsec] from one sky position [deg] to another on the sphere.

    These are longitude and latitude of position 1 in the frame whose origin is position 0 and whose longitude runs
    east, like those of astropy's ``SkyCoord.spherical_offsets_to``.
    """
    origin, direction = unit_vector(ra0, dec0), unit_vector(ra1, dec1)
    east, north = tangent_basis(ra0, dec0)
    along_east, along_north, ahead = direction @ east, direction @ north, direction @ origin
    lon = np.arctan2(along_east, ahead)
    lat = np.arctan2(along_north, np.hypot(along_east, ahead))
    return float(np.rad2deg(lon) * 3600), float(np.rad2deg(lat) * 3600)


def tangent_offset(ra0: float, dec0: float, ra: "ArrayLike", dec: "ArrayLike") -> tuple["Floats", "Floats"]:
    """Measure where positions (ra, dec) lie from an origin [deg], along great circles: (east, north) [arcsec].

    The length of that vector is the angular separation, its direction the position angle at the origin.
    """
    direction = unit_vector(ra, dec)
    east, north = tangent_basis(ra0, dec0)
    along_east, along_north = direction @ east, direction @ north
    sine = np.hypot(along_east, along_north)
    angle = np.arctan2(sine, direction @ unit_vector(ra0, dec0))
    scale = np.rad2deg(np.divide(angle, sine, out=np.ones_like(sine), where=sine > 0)) * 3600
    return along_east * scale, along_north * scale


def rotation_between(ra0: float, dec0: float, ra1: float, dec1: float) -> "Floats":
    """Build the smallest rotation of the sky that takes one direction [deg] to another, less than 180 deg away.

    The matrix (3, 3) acts on ICRS unit vectors. It is Rodrigues' formula with the axis along the cross product:
    R = I + K + K² / (1 + cos).
    """
    a, b = unit_vector(ra0, dec0), unit_vector(ra1, dec1)
    kx, ky, kz = np.cross(a, b)
    k = np.array([[0.0, -kz, ky], [kz, 0.0, -kx], [-ky, kx, 0.0]])
    return np.asarray(np.eye(3) + k + k @ k / (1.0 + a @ b))
