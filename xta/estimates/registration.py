"""Register exposures: measure their stars relative to each other by the speckles that the images have in common.

The shifts are computed by `xta.images.registration`. This module converts exposures to frames, and shifts to stars.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xta import identity, model, pixels, stacks
from xta.acquisition import instrument
from xta.errors import ArgumentError, CentroidError, MissingError, RecenterError
from xta.estimates.template import frames
from xta.geometry import sky, wcs
from xta.identity import header
from xta.images import combine, registration
from xta.images.dq import SATURATED
from xta.images.registration import Frame, Registration
from xta.workers import mapped

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["GAIN", "SETTING", "Pair", "pairs", "register"]

Circle = tuple[float, float, float]
"""Separation [arcsec], position angle [deg] and radius [arcsec] of a region of the sky."""

SETTING = ("instrument", "detector", "filter", "pupil", "aperture")
"""Keywords that must be equal for two exposures to show the same speckles."""

MASK_EDGE = 1.25
"""Inner edge of the registered region, in units of the inner working angle of the mask.

When the star moves behind a fixed round mask, light inside the mask moves 1.09 to 1.11 times as far as the star, and
light outside 1.00 to 1.04 times (images in F335M and F444W).
"""

RINGS = 10.0
"""Width of the registered region, in resolution elements; farther out, disks and the background contribute."""

GAIN = 0.03
"""Standard error of the ratio of the measured shift to the motion of the star.

Published registrations of a known dither have ratios of 0.99 to 1.06.
"""

ATTRS = {
    "dx": ("pixel", "star minus that of the reference, along x"),
    "dy": ("pixel", "star minus that of the reference, along y"),
    "dx_err": ("pixel", "standard error of dx"),
    "dy_err": ("pixel", "standard error of dy"),
    "xy_corr": ("1", "correlation of the errors of dx and dy"),
    "scale": ("1", "brightness of the star over that of the reference"),
    "drift": ("1", "residual of the fit beyond the noise, relative to the local brightness"),
    "number": ("1", "number of pixels fitted"),
}


@dataclass(frozen=True)
class Pair:
    """The star of one exposure minus that of another, in the labels of each [pixel]."""

    dx: float
    dy: float
    covariance: NDArray[np.float64]
    """Covariance measured from the images."""
    gain: float
    """Standard error in proportion to the shift."""
    floor: float
    """Other known errors of registrations, one axis [pixel]."""
    scale: float
    drift: float
    number: int

    def row(self) -> tuple[float, ...]:
        """Return the values of `ATTRS`."""
        shift = np.array([self.dx, self.dy])
        total = self.covariance + self.gain**2 * np.outer(shift, shift) + self.floor**2 * np.eye(2)
        x_err, y_err = np.sqrt(np.diag(total)).tolist()
        corr = float(total[0, 1]) / (x_err * y_err) if x_err * y_err else 0.0
        return self.dx, self.dy, x_err, y_err, corr, self.scale, self.drift, self.number


@dataclass(frozen=True)
class _Options:
    iwa: float | None
    owa: float | None
    fwhm: float | None
    exclude: tuple[Circle, ...]

    def edges(self, ds: xr.Dataset) -> tuple[float, float]:
        """Compute the edges of the registered region [pixel]."""
        scale, element = float(header(ds)["pixel_scale"]), instrument.resolution(ds, self.fwhm)
        mask = model.MASK_RADII.get(str(header(ds).get("coronagraphic_mask", "")).upper(), 0.0)
        inner = MASK_EDGE * mask if self.iwa is None else float(self.iwa)
        outer = inner + RINGS * element if self.owa is None else float(self.owa)
        if not 0 <= inner < outer < math.inf:
            msg = f"iwa and owa are {inner:g} and {outer:g} arcsec; give 0 <= iwa < owa"
            raise ArgumentError(msg)
        return inner / scale, outer / scale


def register(
    exposures: xr.Dataset | Iterable[xr.Dataset],
    reference: xr.Dataset | None = None,
    *,
    each: Literal["exposure", "integration"] = "exposure",
    iwa: float | None = None,
    owa: float | None = None,
    fwhm: float | None = None,
    exclude: Sequence[Circle] = (),
) -> xr.Dataset:
    """Measure the stars of exposures relative to that of a reference, by their speckles.

    Parameters
    ----------
    exposures : xarray.Dataset or iterable of them
        Exposures with one mask and filter, not recentered. The star's pixel must be known to a few pixels. A stack
        counts as its exposures.
    reference : xarray.Dataset, optional
        An exposure of the same mask and filter. By default the first of the exposures, or, for integrations, the
        exposure itself.
    each : "exposure" or "integration"
        Register the mean of each exposure, or each integration of one exposure.
    iwa, owa : float, optional
        Inner and outer edge of the region that is compared, around the star [arcsec]. By default it begins at the edge
        of the mask, see `MASK_EDGE`, and is `RINGS` resolution elements wide.
    fwhm : float, optional
        Resolution element [arcsec]; by default computed from the wavelength in the filter's name.
    exclude : sequence of (separation, position angle, radius)
        Regions of the sky to leave out, such as companions [arcsec, deg east of north, arcsec].

    Returns
    -------
    xarray.Dataset
        Along ``exposure`` or ``integration``: ``dx``, ``dy``, the star minus that of the reference, in the labels
        ``x``, ``y`` [pixel], ``dx_err``, ``dy_err``, ``xy_corr``; ``scale``, ``drift`` and ``number``, see
        `xta.images.registration.Registration`. The star of an exposure is that of the reference plus ``dx``, ``dy``.

    Raises
    ------
    ArgumentError
        If there is no exposure, the exposures have different masks or filters, `each` or an edge does not have the
        form above, or no pixels are left to compare.
    MissingError
        If there is no star, no images or no errors.
    RecenterError
        If an exposure is recentered.
    CentroidError
        If a fit does not converge.

    Notes
    -----
    DO_NOT_USE, saturated and non-finite pixels are left out. Errors are those of `xta.images.registration.register`.
    Between exposures, two known errors of such registrations are added: a fraction of the shift itself (`GAIN`), and
    for MIRI the 9 mas to which published registrations reproduce a known dither (`xta.instrument`, "registration").
    Behind a four-quadrant mask the image changes with the place of the star, which a shift describes badly; ``drift``
    is then large, and so are the errors.

    Examples
    --------
    >>> table = xta.register([xta.analyze(path) for path in paths])  # doctest: +SKIP
    >>> table["dx"] * 63  # mas  # doctest: +SKIP
    """
    if each not in {"exposure", "integration"}:
        msg = f"each is {each!r}; give 'exposure' or 'integration'"
        raise ArgumentError(msg)
    options = _Options(iwa, owa, fwhm, tuple(exclude))
    given = [exposures] if isinstance(exposures, xr.Dataset) else list(exposures)
    parts = [part for ds in given for part in stacks.members_or_one(ds)]
    if not parts:
        msg = "there is no exposure to register; give at least one dataset"
        raise ArgumentError(msg)
    base = parts[0] if reference is None else identity.current(reference)
    if each == "integration":
        return _track(parts, base, options)
    seen = _Seen.of(base, options)
    rows = [_pair(seen if part is base else _Seen.of(part, options), seen) for part in parts]
    table = _table(rows, "exposure")
    names = [str(header(part).get("filename", "")) for part in parts]
    return table.assign_coords(filename=("exposure", names)).assign_attrs(reference=header(base).get("filename", ""))


def pairs(
    exposures: Sequence[xr.Dataset],
    *,
    iwa: float | None = None,
    owa: float | None = None,
    fwhm: float | None = None,
    exclude: Sequence[Circle] = (),
    client: "Client | None" = None,
) -> dict[tuple[int, int], Pair]:
    """Register all pairs of exposures of one mask and filter, as `register` does; by the numbers of the two.

    A pair is left out if the fit of its shift does not converge. The workers of a `client` fit the cut images.
    """
    options = _Options(iwa, owa, fwhm, tuple(exclude))
    seen = [_Seen.of(ds, options) for ds in exposures]
    wanted = [(a, b) for b, a in combinations(range(len(seen)), 2) if seen[a].setting == seen[b].setting]
    fits = mapped(_fitted, (_problem(seen[a], seen[b]) for a, b in wanted), client)
    done = zip(wanted, fits, strict=True)
    return {(a, b): _as_pair(seen[a], seen[b], fit) for (a, b), fit in done if fit is not None}


def _fitted(problem: dict[str, Any]) -> Registration | None:
    """Register the images of a problem; None if the fit of their shift does not converge."""
    try:
        return registration.register(**problem)
    except CentroidError:
        return None


@dataclass(frozen=True, eq=False)
class _Seen:
    """An exposure prepared for registration."""

    ds: xr.Dataset
    frame: Frame
    star: tuple[float, float]
    """Column and row of the star."""
    inner: float
    outer: float
    """Edges of the registered region [pixel]."""
    speckle: float
    """Resolution element [pixel]."""

    @classmethod
    def of(cls, ds: xr.Dataset, options: _Options, cube: "Sequence[Frame] | None" = None) -> "_Seen":
        """Average an exposure, and mark bad pixels; `cube` are its integrations, if they were read already."""
        star = _star(ds)
        inner, outer = options.edges(ds)
        frame = _mean(_cube(ds, options.exclude) if cube is None else cube)
        return cls(ds, frame, star, inner, outer, instrument.resolution(ds, options.fwhm) / _scale(ds))

    @property
    def setting(self) -> tuple[Any, ...]:
        return tuple(header(self.ds).get(name) for name in SETTING)

    @property
    def half(self) -> int:
        """Half the side of the region that is cut out [pixel]."""
        return math.ceil(self.outer) + registration.MARGIN

    @property
    def corner(self) -> tuple[int, int]:
        """First column and row of the region that is cut out."""
        x, y = (round(at) - self.half for at in self.star)
        return x, y

    def cut(self) -> tuple[Frame, tuple[int, int]]:
        """Cut out the registered region with a margin; return it and its first pixel (x, y)."""
        half, (x0, y0) = self.half, self.corner
        ny, nx = self.frame.image.shape
        beyond = ((max(-y0, 0), max(y0 + 2 * half + 1 - ny, 0)), (max(-x0, 0), max(x0 + 2 * half + 1 - nx, 0)))
        rows, columns = (slice(max(at, 0), max(at + 2 * half + 1, 0)) for at in (y0, x0))
        image, variance = (np.pad(each[rows, columns], beyond) for each in (self.frame.image, self.frame.variance))
        bad = np.pad(self.frame.bad[rows, columns], beyond, constant_values=True)
        return Frame(image, variance, bad), (x0, y0)


def _pair(one: _Seen, other: _Seen) -> Pair:
    """Register one exposure on another."""
    if one.setting != other.setting:
        what = " and ".join(" ".join(map(str, each.setting)) for each in (one, other))
        msg = f"the exposures have the settings {what}; only those with one mask and filter show the same speckles"
        raise ArgumentError(msg)
    return _as_pair(one, other, registration.register(**_problem(one, other)))


def _problem(one: _Seen, other: _Seen) -> dict[str, Any]:
    """Prepare the arguments of `xta.images.registration.register` for two exposures."""
    (frame, corner), (reference, corner_of_reference) = one.cut(), other.cut()
    x, y = (at - edge for at, edge in zip(one.star, corner, strict=True))
    start = [at - edge for at, edge in zip(other.star, corner_of_reference, strict=True)]
    rows, columns = np.indices(frame.image.shape)
    radius = np.hypot(columns - x, rows - y)
    region = (radius >= one.inner) & (radius <= one.outer)
    place = {"region": region, "speckle": one.speckle, "start": (x - start[0], y - start[1])}
    return {"frame": frame, "reference": reference, **place}


def _as_pair(one: _Seen, other: _Seen, found: Registration) -> Pair:
    """Put what was fitted into the labels of the two exposures."""
    labels = (float(one.ds[axis][0]) - float(other.ds[axis][0]) for axis in "xy")
    corners = (one.corner, other.corner)
    dx, dy = (
        moved + at - before + first
        for moved, at, before, first in zip((found.dx, found.dy), *corners, labels, strict=True)
    )
    if one.ds is other.ds:
        return Pair(dx, dy, found.covariance, 0.0, 0.0, found.scale, found.drift, found.number)
    known = instrument.tables().accuracy("registration", header(one.ds))
    floor = 0.0 if known is None else known.x / 1e3 / _scale(one.ds)
    return Pair(dx, dy, found.covariance, GAIN, floor, found.scale, found.drift, found.number)


def _track(parts: Sequence[xr.Dataset], base: xr.Dataset, options: _Options) -> xr.Dataset:
    """Register the integrations of one exposure."""
    if len(parts) > 1:
        msg = f"there are {len(parts)} exposures; give one to register its integrations: ds.isel(exposure=0)"
        raise ArgumentError(msg)
    (ds,) = parts
    identity.require(ds, "sci", step="xta.open_exposure")
    if "integration" not in ds["sci"].dims:
        msg = "sci has no dimension integration; pass the exposure before coadd()"
        raise MissingError(msg)
    cube = _cube(ds, options.exclude)
    own = _Seen.of(ds, options, cube)
    reference = own if base is ds else _Seen.of(base, options)
    rows = [_pair(replace(own, frame=frame), reference) for frame in cube]
    coords = {name: ds.coords[name].variable for name in ("integration", "time") if name in ds.coords}
    return _table(rows, "integration").assign_coords(coords).assign_attrs(pixel_scale=_scale(ds))


def _table(rows: Sequence[Pair], dim: str) -> xr.Dataset:
    columns = zip(*(row.row() for row in rows), strict=True)
    return xr.Dataset(
        {
            name: (dim, np.array(column), {"units": units, "long_name": text})
            for (name, (units, text)), column in zip(ATTRS.items(), columns, strict=True)
        }
    )


def _scale(ds: xr.Dataset) -> float:
    return float(header(ds)["pixel_scale"])


def _star(ds: xr.Dataset) -> tuple[float, float]:
    """Compute the column and row of the star."""
    if "star_x" in ds.coords:
        msg = "the dataset is recentered, so its pixels have been moved already; register exposures before recenter()"
        raise RecenterError(msg)
    identity.require(ds, "x", "y", "target_x", "target_y", step="ds.ta.adjust_wcs(), or ds.ta.set_star(x, y)")
    x, y = (float(ds[f"target_{axis}"]) - float(ds[axis][0]) for axis in "xy")
    if not math.isfinite(x + y):
        msg = f"the star's pixel is ({x}, {y}); call ds.ta.set_star(x, y, source=...)"
        raise MissingError(msg)
    return x, y


def _cube(ds: xr.Dataset, exclude: Sequence[Circle]) -> list[Frame]:
    """Read the integrations of an exposure; saturated and excluded pixels are bad."""
    identity.require(ds, "sci", "err", step="xta.open_exposure")
    model.require_pixels(ds, ArgumentError, "use the exposure before pixels were dropped", least=3)
    ds = pixels.checked(ds, names=("sci", "err", "dq"))
    bad = frames(pixels.bad_pixels(ds))
    variance = frames(ds["err"]).astype(float) ** 2
    bad = bad | ~(np.isfinite(variance) & (variance > 0))
    if "dq" in ds:
        bad |= (frames(ds["dq"]) & SATURATED).any(axis=0)
    rows, columns = np.indices(bad.shape[1:])
    for separation, angle, radius in exclude:
        x, y = _on_sky(ds, separation, angle)
        bad |= np.hypot(columns - x, rows - y) <= radius / _scale(ds)
    return list(map(Frame, np.where(bad, 0.0, frames(ds["sci"])), np.where(bad, 0.0, variance), bad))


def _mean(cube: Sequence[Frame]) -> Frame:
    """Average the integrations of an exposure."""
    images, variances, bad = (np.array([getattr(each, name) for each in cube]) for name in ("image", "variance", "bad"))
    none = bad.all(axis=0)
    image, variance = combine.combine(images, ~bad), combine.combine_variance(variances, ~bad)
    return Frame(np.where(none, 0.0, image), np.where(none, 0.0, variance), none)


def _on_sky(ds: xr.Dataset, separation: float, angle: float) -> tuple[float, float]:
    """Compute the column and row at a separation [arcsec] and position angle [deg] from the star."""
    x, y = float(ds["target_x"]), float(ds["target_y"])
    # The tangent plane of the star is good enough: the region is a few pixels wide.
    east, north = (separation * trig(math.radians(angle)) for trig in (math.sin, math.cos))
    dx, dy = np.linalg.solve(wcs.sky_jacobian(sky.the_wcs(ds), x, y), [east, north]).tolist()
    return x + dx - float(ds["x"][0]), y + dy - float(ds["y"][0])
