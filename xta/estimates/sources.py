"""Find field sources, such as background stars, and measure the maneuver to the mask with them.

The maneuver moves the star behind the mask, where it is invisible, but the whole field moves with it. Images of the
whole detector before and after it ("astrometric confirmation images" of NIRCam coronagraphy) show by how much.
"""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xta import identity, model, stacks
from xta.acquisition import instrument
from xta.acquisition.offset import target_position
from xta.errors import ArgumentError, CentroidError
from xta.estimates.template import mean_image
from xta.geometry import sky, wcs
from xta.identity import header
from xta.images.centroid import floating_window
from xta.images.shift import fill_bad

__all__ = ["Sources", "find_sources", "measure_maneuver"]

Array = NDArray[np.float64]
Sources = Mapping[str, Mapping[str, tuple[float, float, float, float]]]
"""Field source -> file name -> x, y and their standard errors [pixel], in the labels of the exposure."""

THRESHOLD = 20.0
"""Peak of a source over the noise of a pixel around it."""

NEAREST = 3.0
"""Separation from the star below which speckles and spikes look like sources [arcsec]."""

BOX = 32  # side of the boxes in which the background and its noise are measured [pixel]
WINDOW = 7  # width of the window in which a source is centroided [pixel]
HALF = 10  # half width of the cutout around a source [pixel]
SAME = 2.0  # largest distance between a source and its expected place in another exposure [pixel]
PHASE = 0.012
"""Standard error of a centroid that depends on where in a pixel the star falls, one axis [pixel].

It is the scatter of the centroids of bright field stars in sample images of F335M about the truth.
"""
FEWEST = 3
"""Smallest number of sources to measure a maneuver; if two differ, it cannot be decided which is right."""

OUTLIER = 4.0  # standard deviations
"""Largest distance of a source from the mean; one farther away is left out (a galaxy, a bad pixel, a moving star)."""

ATTRS = {
    "x_before": ("pixel", "source before the maneuver, x"),
    "y_before": ("pixel", "source before the maneuver, y"),
    "x_after": ("pixel", "source after the maneuver, x"),
    "y_after": ("pixel", "source after the maneuver, y"),
    "dx": ("pixel", "place of the source after the maneuver, minus that expected from both WCSs, x"),
    "dy": ("pixel", "place of the source after the maneuver, minus that expected from both WCSs, y"),
    "dx_err": ("pixel", "standard error of dx"),
    "dy_err": ("pixel", "standard error of dy"),
    "used": ("1", "1 if the source is used, 0 if it contradicts the others"),
}


class _Place(NamedTuple):
    """The place of a source, and its standard errors [pixel, in the labels of the exposure]."""

    x: float
    y: float
    x_err: float
    y_err: float


class _Image:
    """The mean image of an exposure with bad pixels filled, and the arrays needed to centroid in it."""

    def __init__(self, ds: xr.Dataset) -> None:
        identity.require(ds, "sci", "err", "x", "y", step="xta.open_exposure")
        model.require_pixels(ds, ArgumentError, "use the exposure before pixels were dropped", least=BOX)
        self.name = str(header(ds).get("filename", "the exposure"))
        self.gwcs = sky.the_wcs(ds)
        self.corner = float(ds["x"][0]), float(ds["y"][0])
        image, self.bad, self.err = mean_image(ds)
        self.light = fill_bad(image, bad=self.bad)

    def significance(self) -> Array:
        """Subtract the background from the image, and divide by the local noise."""
        from photutils.background import Background2D

        around = Background2D(self.light, BOX, mask=self.bad, filter_size=3)
        return np.asarray((self.light - around.background) / np.maximum(around.background_rms, 1e-30))

    def centroid(self, x: float, y: float) -> _Place | None:
        """Centroid the source at a place; None if there is none within `SAME` pixels."""
        column, row = round(x - self.corner[0]), round(y - self.corner[1])
        ny, nx = self.light.shape
        if not (HALF <= column < nx - HALF and HALF <= row < ny - HALF):
            return None
        part = slice(row - HALF, row + HALF + 1), slice(column - HALF, column + HALF + 1)
        try:
            err = None if self.err is None else self.err[part]
            star = floating_window(self.light[part], bad=self.bad[part], err=err, window=WINDOW)
        except CentroidError:
            return None
        place = _Place(
            star.x + column - HALF + self.corner[0],
            star.y + row - HALF + self.corner[1],
            math.hypot(star.x_err, PHASE),
            math.hypot(star.y_err, PHASE),
        )
        return place if math.hypot(place.x - x, place.y - y) <= SAME else None


def _detected(ds: xr.Dataset, image: _Image, threshold: float, nearest: float) -> list[_Place]:
    """List the sources of an exposure except its star, the brightest first."""
    from photutils.detection import DAOStarFinder

    width = instrument.resolution(ds, None) / float(header(ds)["pixel_scale"])
    table = DAOStarFinder(threshold=threshold, fwhm=max(width, 1.5))(image.significance(), mask=image.bad)
    if table is None:
        return []
    table.sort("flux", reverse=True)
    places = [np.add(image.corner, (float(row["x_centroid"]), float(row["y_centroid"]))) for row in table]
    star = [float(at) for at in wcs.world_to_pixel(image.gwcs, *target_position(ds))]
    far = nearest / float(header(ds)["pixel_scale"])
    found = [image.centroid(*at) for at in places if np.hypot(*(at - star)) > far]
    return [place for place in found if place is not None]


def find_sources(
    exposures: Iterable[xr.Dataset], *, threshold: float = THRESHOLD, nearest: float = NEAREST
) -> dict[str, dict[str, _Place]]:
    """Find the field sources that are seen in two or more exposures.

    Parameters
    ----------
    exposures : iterable of xarray.Dataset
        Analyzed exposures of one target, at several rolls or in several filters; a stack counts as its exposures.
    threshold : float
        Peak of a source over the noise of a pixel around it.
    nearest : float
        Separation from the star below which detections are ignored [arcsec].

    Returns
    -------
    dict
        Source -> file name -> x, y and their standard errors [pixel], in the form of the argument ``sources`` of
        `xta.solve`. The brightest source of the first exposure comes first.

    Raises
    ------
    MissingError
        If an exposure has no images or errors.
    WCSError
        If an exposure has no imaging WCS.

    Notes
    -----
    Sources are detected with photutils' ``DAOStarFinder`` in the image divided by its local noise, centroided in a
    floating window (`xta.images.centroid.floating_window`) and matched within two pixels by the WCS of each exposure.
    """
    known: list[tuple[tuple[float, float], dict[str, _Place]]] = []
    for ds in (part for given in exposures for part in stacks.members_or_one(given)):
        image = _Image(ds)
        expected = [tuple(float(at) for at in wcs.world_to_pixel(image.gwcs, *position)) for position, _ in known]
        for place in _detected(ds, image, threshold, nearest):
            near = [k for k, at in enumerate(expected) if math.dist(at, place[:2]) <= SAME]
            if near:
                known[near[0]][1].setdefault(image.name, place)
            else:
                ra, dec = wcs.pixel_to_world(image.gwcs, *place[:2])
                known.append(((float(ra), float(dec)), {image.name: place}))
                expected.append(place[:2])
    several = [seen for _, seen in known if len(seen) > 1]
    return {f"source {number}": seen for number, seen in enumerate(several, start=1)}


def measure_maneuver(before: xr.Dataset, after: xr.Dataset, *, threshold: float = THRESHOLD) -> xr.Dataset:
    """Measure the maneuver to the mask with field sources, relative to the maneuver in the headers.

    Parameters
    ----------
    before, after : xarray.Dataset
        Images of the whole detector in one filter, with the star at the acquisition and behind the mask.
    threshold : float
        As in `find_sources`.

    Returns
    -------
    xarray.Dataset
        Scalars ``dx``, ``dy``, ``dx_err`` and ``dy_err`` [pixel of the second image]: the places of the sources after
        the maneuver, minus those expected from the WCSs of the two images. The values of each source are along
        ``source``, see `ATTRS`. The attributes are ``visit_id``, ``detector`` and ``pixel_scale``.

    Raises
    ------
    ArgumentError
        If the images do not have the same visit, detector and filter.
    CentroidError
        If fewer than three sources are seen in both.
    MissingError, WCSError
        For the same reasons as in `find_sources`.

    Notes
    -----
    A source far from the others (`OUTLIER`) is left out. The error is that of the weighted mean; it is enlarged if the
    sources scatter by more than their errors. It is the error of the measurement alone and does not include errors of
    the distortion between the two places.

    References
    ----------
    JWST User Documentation: NIRCam Coronagraph Astrometric Confirmation Images, which promises 1 to 5 mas.
    """
    for name in ("visit_id", "detector", "filter"):
        values = [header(ds).get(name) for ds in (before, after)]
        if values[0] != values[1]:
            msg = f"the images before and after the maneuver differ in {name}: {values[0]} and {values[1]}; give a pair"
            raise ArgumentError(msg)
    first, second = _Image(before), _Image(after)
    rows: list[tuple[_Place, _Place, Array]] = []
    for place in _detected(before, first, threshold, NEAREST):
        expected = np.array(wcs.world_to_pixel(second.gwcs, *wcs.pixel_to_world(first.gwcs, *place[:2])), dtype=float)
        if (moved := second.centroid(*expected)) is not None:
            rows.append((place, moved, np.array(moved[:2]) - expected))
    if len(rows) < FEWEST:
        msg = f"{len(rows)} sources are seen both in {first.name} and in {second.name}; it takes {FEWEST}"
        raise CentroidError(msg)
    shifts = np.array([shift for *_, shift in rows])
    errors = np.array([[math.hypot(a.x_err, b.x_err), math.hypot(a.y_err, b.y_err)] for a, b, _ in rows])
    mean, error, used = _mean(shifts, errors)
    places = np.array([(*a[:2], *b[:2]) for a, b, _ in rows])
    columns = {
        name: ("source", values) for name, values in zip(ATTRS, [*places.T, *shifts.T, *errors.T, used], strict=True)
    }
    table = xr.Dataset({f"source_{name}": column for name, column in columns.items()})
    scalars = dict(zip(("dx", "dy", "dx_err", "dy_err"), (*mean, *error), strict=True))
    table = table.assign(scalars)
    for key, variable in table.data_vars.items():
        units, text = ATTRS[str(key).removeprefix("source_")]
        variable.attrs = {"units": units, "long_name": text}
    about = {name: header(after)[name] for name in ("visit_id", "detector", "pixel_scale")}
    return table.assign_attrs(about)


def _mean(shifts: Array, errors: Array) -> tuple[Array, Array, NDArray[np.int8]]:
    """Average shifts (n, 2) without those that contradict the others; return mean, error, and 1 for those used."""
    used = np.ones(len(shifts), dtype=np.int8)
    while True:
        weights = np.where(used[:, None] == 1, errors**-2, 0.0)
        mean = (weights * shifts).sum(axis=0) / weights.sum(axis=0)
        pulls = np.abs(shifts - mean) / errors * used[:, None]
        excess = np.sqrt(np.maximum((pulls**2).sum(axis=0) / max(used.sum() - 1, 1), 1.0))
        worst = int(np.argmax(pulls.max(axis=1)))
        if pulls[worst].max() <= OUTLIER or used.sum() <= FEWEST:
            return mean, excess / np.sqrt(weights.sum(axis=0)), used
        used[worst] = 0
