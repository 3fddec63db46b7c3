"""Rotations between the telescope's V frame and the sky: numpy only, independent of pysiaf and jwst.

An attitude is a 3 x 3 rotation matrix that takes a unit vector of the V frame (V1, V2, V3) to the unit
vector of the same direction in ICRS.

References
----------
JWST-STScI-001550, "Description and Use of the JWST Science Instrument Aperture File": V2, V3 are the
spherical coordinates of a direction in the V frame; roll is the position angle of +V3, north over east.
"""

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["attitude", "lonlat", "offset", "position_angle", "rotation", "turn", "unit"]

Array: TypeAlias = NDArray[np.float64]


def unit(lon: float, lat: float) -> Array:
    """Make the unit vector of spherical coordinates [deg].

    Parameters
    ----------
    lon, lat : float
        RA and Dec, or V2 and V3 [deg].

    Returns
    -------
    array of shape (3,)
    """
    lon, lat = math.radians(lon), math.radians(lat)
    return np.array([math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat)])


def lonlat(vector: Array) -> tuple[float, float]:
    """Give the spherical coordinates of a vector, the inverse of `unit`.

    Parameters
    ----------
    vector : array of shape (3,)

    Returns
    -------
    lon, lat : float
        In [0, 360) and [-90, 90] [deg].

    Notes
    -----
    Both by arc tangent, so that nothing is lost near the pole.
    """
    x, y, z = (float(part) for part in vector)
    lon = math.degrees(math.atan2(y, x)) % 360.0
    return lon if lon < 360.0 else 0.0, math.degrees(math.atan2(z, math.hypot(x, y)))


def rotation(axis: Array, angle: float) -> Array:
    """Make the matrix that turns vectors about an axis, right-handed.

    Parameters
    ----------
    axis : array of shape (3,)
        Of any length but zero.
    angle : float
        [deg].

    Returns
    -------
    array of shape (3, 3)
    """
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    radians = math.radians(angle)
    return np.asarray(np.eye(3) + math.sin(radians) * cross + (1 - math.cos(radians)) * (cross @ cross))


def turn(start: Array, end: Array) -> Array:
    """Make the smallest rotation that takes one unit vector to another.

    Parameters
    ----------
    start, end : array of shape (3,)
        Less than 180 deg apart.

    Returns
    -------
    array of shape (3, 3)
    """
    axis = np.cross(start, end)
    sine = float(np.linalg.norm(axis))
    if sine == 0.0:
        return np.eye(3)
    return rotation(axis, math.degrees(math.atan2(sine, float(start @ end))))


def attitude(v2: float, v3: float, ra: float, dec: float, roll: float) -> Array:
    """Make the attitude that puts a direction of the V frame on a position of the sky.

    Parameters
    ----------
    v2, v3 : float
        Direction in the V frame [arcsec].
    ra, dec : float
        Where it points [deg].
    roll : float
        Position angle of +V3 there, north over east [deg].

    Returns
    -------
    array of shape (3, 3)

    Examples
    --------
    >>> matrix = attitude(100.0, -400.0, 83.0, -69.0, 30.0)
    >>> lonlat(matrix @ unit(100 / 3600, -400 / 3600))
    (83.0..., -69.0...)
    """
    x, y, z = np.eye(3)
    to_boresight = rotation(y, v3 / 3600) @ rotation(z, -v2 / 3600)
    return rotation(z, ra) @ rotation(y, -dec) @ rotation(x, -roll) @ to_boresight


def _north(lon: float, lat: float) -> Array:
    """Give the direction of growing latitude at a position [deg]."""
    lon, lat = math.radians(lon), math.radians(lat)
    return np.array([-math.sin(lat) * math.cos(lon), -math.sin(lat) * math.sin(lon), math.cos(lat)])


def _east(lon: float) -> Array:
    return np.array([-math.sin(math.radians(lon)), math.cos(math.radians(lon)), 0.0])


def position_angle(matrix: Array, v2: float, v3: float) -> float:
    """Give the roll of an attitude: the position angle of +V3 at a direction of the V frame.

    Parameters
    ----------
    matrix : array of shape (3, 3)
        An attitude.
    v2, v3 : float
        The direction [arcsec].

    Returns
    -------
    float
        North over east, in [0, 360) [deg].
    """
    ra, dec = lonlat(matrix @ unit(v2 / 3600, v3 / 3600))
    up = matrix @ _north(v2 / 3600, v3 / 3600)
    return math.degrees(math.atan2(float(up @ _east(ra)), float(up @ _north(ra, dec)))) % 360.0


def offset(ra: float, dec: float, separation: float, angle: float) -> tuple[float, float]:
    """Go from a position along a great circle.

    Parameters
    ----------
    ra, dec : float
        Start [deg].
    separation : float
        How far [arcsec].
    angle : float
        Position angle at the start, north over east [deg].

    Returns
    -------
    ra, dec : float
        [deg].
    """
    far, along = math.radians(separation / 3600), math.radians(angle)
    direction = math.cos(along) * _north(ra, dec) + math.sin(along) * _east(ra)
    return lonlat(math.cos(far) * unit(ra, dec) + math.sin(far) * direction)
