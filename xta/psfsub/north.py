"""Find north in a recentered exposure, and resample its pixels to a grid with north up and east left.

Offsets on the sky are east and north [arcsec] along great circles from the star, which is at the label (0, 0).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import xarray as xr
from numpy.polynomial import polynomial
from numpy.typing import ArrayLike, NDArray

from xta.errors import WCSError
from xta.geometry import sky, sphere, wcs
from xta.identity import header
from xta.images import shift

if TYPE_CHECKING:
    from gwcs import WCS

__all__ = [
    "Array",
    "derotate",
    "handedness",
    "labels",
    "north_up",
    "pixel_finder",
    "pixel_scale",
    "sky_to_pixel",
    "up_angle",
]

Array: TypeAlias = NDArray[np.float64]

DEGREE = 5  # of the polynomials from sky offsets to pixels; that of a JWST distortion
NODES = 14  # along a side of the lattice that they are fitted to
FIT_TOLERANCE = 1e-3  # largest error of the fit [pixel]
ORDER = 5  # of the interpolating spline


def _offsets(ds: xr.Dataset, x: ArrayLike, y: ArrayLike) -> Array:
    """Convert labels to sky offsets from the star, shape (2, ...) [arcsec]."""
    gwcs = sky.the_wcs(ds)
    ra0, dec0 = wcs.pixel_to_world(gwcs, 0.0, 0.0)
    return np.stack(sphere.tangent_offset(float(ra0), float(dec0), *wcs.pixel_to_world(gwcs, x, y)))


def _jacobian(ds: xr.Dataset) -> Array:
    """Differentiate (east, north) by (x, y) at the star [arcsec/pixel]."""
    return wcs.sky_jacobian(sky.the_wcs(ds), 0.0, 0.0)


def up_angle(ds: xr.Dataset) -> float:
    """Measure the position angle of the +y direction at the star, east of north, 0 to 360 [deg].

    An image turned counter-clockwise by it has north up. By the keywords it is ROLL_REF - V3I_YANG * VPARITY,
    but for the distance between the star and the reference point.
    """
    east, north = _jacobian(ds)[:, 1]
    return float(np.rad2deg(np.arctan2(east, north)) % 360)


def handedness(ds: xr.Dataset) -> int:
    """Return -1 if east is to the left of north, as on the sky, or +1 if it is to the right."""
    return int(np.sign(np.linalg.det(_jacobian(ds))))


def pixel_scale(ds: xr.Dataset) -> float:
    """Compute the pixel scale at the star, the square root of the pixel's area [arcsec]."""
    return wcs.pixel_scale(sky.the_wcs(ds), 0.0, 0.0)


def pixel_finder(ds: xr.Dataset) -> Callable[[ArrayLike, ArrayLike], tuple[Array, Array]]:
    """Make the function that converts offsets from the star [arcsec], to the east and to the north, to labels x, y.

    A polynomial is fitted to the forward WCS on a lattice over the frame, to below 1e-6 px on coronagraphic
    subarrays; it extrapolates beyond the frame. A WCS with an error above 1e-3 px at a node is refused.
    """
    axes = [np.linspace(float(ds[axis][0]), float(ds[axis][-1]), NODES) for axis in ("x", "y")]
    nodes = np.stack([grid.ravel() for grid in np.meshgrid(*axes)], axis=-1)
    offsets = _offsets(ds, nodes[:, 0], nodes[:, 1])
    scale = float(np.abs(offsets).max())  # keeps the powers near 1
    powers = polynomial.polyvander2d(offsets[0] / scale, offsets[1] / scale, (DEGREE, DEGREE))
    coefficients = np.linalg.lstsq(powers, nodes, rcond=None)[0]
    worst = float(np.abs(powers @ coefficients - nodes).max())
    if not worst < FIT_TOLERANCE:
        msg = f"the WCS of {header(ds).get('filename', 'the exposure')} is not smooth over its frame ({worst:.1g} px)"
        raise WCSError(msg)
    matrices = coefficients.T.reshape(2, DEGREE + 1, DEGREE + 1)

    def find(east: ArrayLike, north: ArrayLike) -> tuple[Array, Array]:
        east, north = np.broadcast_arrays(np.asarray(east) / scale, np.asarray(north) / scale)
        x, y = (np.asarray(polynomial.polyval2d(east, north, matrix)) for matrix in matrices)
        return x, y

    return find


def sky_to_pixel(ds: xr.Dataset, east: ArrayLike, north: ArrayLike) -> tuple[Array, Array]:
    """Convert offsets from the star [arcsec], which broadcast against each other, to pixel labels x, y."""
    return pixel_finder(ds)(east, north)


def labels(size: int, scale: float) -> dict[str, xr.Variable]:
    """Label the pixels of a square grid with north up, the star on its center, by their offsets from the star."""
    offset = np.arange(size) - size // 2
    named = {
        "x": ("x", offset, "pixel", "pixel offset from the star, to the west"),
        "y": ("y", offset, "pixel", "pixel offset from the star, to the north"),
        "east": ("x", -scale * offset, "arcsec", "offset from the star to the east"),
        "north": ("y", scale * offset, "arcsec", "offset from the star to the north"),
    }
    return {
        name: xr.Variable(dim, values, {"units": units, "long_name": text})
        for name, (dim, values, units, text) in named.items()
    }


def derotate(images: Array, ds: xr.Dataset, *, size: int, scale: float, order: int = ORDER) -> Array:
    """Resample images of an exposure to a grid with north up and east left, without distortion.

    Images (k, y, x) of surface brightness lie on the labels of `ds`, NaN at the same pixels. The result is
    (k, size, size) with pixels of `scale` arcsec and the star on the central one; it is NaN outside, and
    where one of the 2 x 2 pixels around a position is bad. `order` is that of the interpolating spline.
    """
    from scipy import ndimage

    steps = scale * (np.arange(size) - size // 2)
    x, y = sky_to_pixel(ds, -steps, steps[:, np.newaxis])
    where = np.stack([y - float(ds["y"][0]), x - float(ds["x"][0])])
    bad = ~np.isfinite(images[0])
    share = ndimage.map_coordinates(bad.astype(float), where, order=1, cval=1.0)
    filled = shift.fill_bad(images)
    result = np.stack([ndimage.map_coordinates(image, where, order=order, mode="mirror") for image in filled])
    result[:, share > 1e-6] = np.nan  # weights of rounding do not spoil a pixel
    return result


def north_up(ra: float, dec: float, scale: float) -> "WCS":
    """Make a tangential WCS with north up, east left, a pixel of `scale` arcsec and the star at the pixel (0, 0)."""
    from astropy import coordinates, units
    from astropy.modeling import models
    from gwcs import WCS, coordinate_frames

    pixel = coordinate_frames.Frame2D(name="image", axes_names=("x", "y"), unit=(units.pix, units.pix))
    world = coordinate_frames.CelestialFrame(name="world", reference_frame=coordinates.ICRS())
    degrees = models.Scale(-scale / 3600) & models.Scale(scale / 3600)
    tangential = models.Pix2Sky_TAN() | models.RotateNative2Celestial(ra, dec, 180.0)
    return WCS([(pixel, degrees | tangential), (world, None)])
