"""Compute sky coordinates of a dataset: lazy ``ra`` and ``dec`` of its labels, positions, selection by position.

The labels ``x`` and ``y`` are the readout pixels of the samples, and the text ``wcs`` converts pixels to sky positions.
All coordinates in this module are derived from these two, so they stay right after crops, strides and joins.
"""

from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from xta import identity, model
from xta.errors import ArgumentError, MissingError, WCSError
from xta.geometry import sphere, wcs

if TYPE_CHECKING:
    from gwcs import WCS

__all__ = [
    "assign_polar",
    "assign_sky",
    "assign_wcs",
    "check_reference",
    "derive",
    "other_reference",
    "pixel_to_world",
    "sel_sky",
    "the_wcs",
    "wcs_text",
    "world_to_pixel",
]

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int_]
Arrays: TypeAlias = Mapping[str, xr.DataArray]
Values: TypeAlias = ArrayLike | xr.DataArray
Function: TypeAlias = Callable[..., tuple[Floats, ...]]

SAME = 1e-6
"""Separations [arcsec] and position angles [deg] that agree to this are the same in arithmetic. Closer to the star
[arcsec] the angle is not defined."""


class _FromLabels(xr.indexes.CoordinateTransform):
    """Coordinates computed from the labels x, y and the WCS text when their values are needed.

    `function` takes (WCS text, x, y) and the values `of` the exposure, and returns one array per coordinate name.
    """

    def __init__(self, function: Function, coord_names: tuple[str, ...], ds: xr.Dataset, of: tuple[str, ...]) -> None:
        self.function = function
        self.labels = {name: np.asarray(ds.variables[name].values, dtype=float) for name in ("x", "y")}
        self.label_dims = {name: tuple(str(dim) for dim in ds.variables[name].dims) for name in ("x", "y")}
        self.texts: Any = ds.variables["wcs"].values
        self.text_dims = tuple(str(dim) for dim in ds.variables["wcs"].dims)
        self.of = [np.broadcast_to(ds[name].values, self.texts.shape) for name in of]
        dims = (*self.text_dims, *self.label_dims["y"], *self.label_dims["x"])
        super().__init__(coord_names, {dim: ds.sizes[dim] for dim in dims}, dtype=np.dtype(float))
        self._cache: tuple[tuple[str, ...], dict[Hashable, Any]] | None = None

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_cache": None}

    def forward(self, dim_positions: dict[str, Any]) -> dict[Hashable, Any]:
        positions = {dim: np.asarray(value).astype(int) for dim, value in dim_positions.items()}
        label = {
            name: values[tuple(positions[dim] for dim in self.label_dims[name])] for name, values in self.labels.items()
        }
        x, y = np.broadcast_arrays(label["x"], label["y"])
        if self.text_dims:
            result = self._each([positions[dim] for dim in self.text_dims], x, y)
        else:
            result = self.function(self.texts.item(), x, y, *(values.item() for values in self.of))
        return dict(zip(self.coord_names, result, strict=True))

    def _each(self, which: list[Ints], x: Floats, y: Floats) -> tuple[Floats, ...]:
        """Evaluate several WCSs that were joined, each for its own pixels."""
        result = tuple(np.full(x.shape, np.nan) for _ in self.coord_names)
        for index in np.ndindex(self.texts.shape):
            text = self.texts[index]
            if not isinstance(text, str) or not text:
                continue  # filled by an outer join or a file: there is no exposure
            inside = np.all([np.broadcast_to(w, x.shape) == k for w, k in zip(which, index, strict=True)], axis=0)
            parts = self.function(text, x[inside], y[inside], *(values[index] for values in self.of))
            for whole, part in zip(result, parts, strict=True):
                whole[inside] = part
        return result

    def generate_coords(self, dims: tuple[str, ...] | None = None) -> dict[Hashable, Any]:
        key = tuple(dims or self.dims)
        # xarray asks once per coordinate; one evaluation serves them all.
        if self._cache is None or self._cache[0] != key:
            self._cache = (key, super().generate_coords(key))
        return self._cache[1]

    def equals(self, other: object, **_kwargs: object) -> bool:
        return self is other


def derive(ds: xr.Dataset, function: Function, coord_names: tuple[str, ...], of: tuple[str, ...] = ()) -> xr.Dataset:
    """Add coordinates derived from ``x``, ``y`` and ``wcs``; they are evaluated when first used and have no index.

    ``function(text, x, y)`` returns one array per name and must be picklable. The names are keys of `model.ATTRS`. The
    coordinates `of` each exposure, which are scalars like the text, are passed as further arguments.
    """
    identity.require(ds, "x", "y", "wcs", step="xta.open_exposure")
    bare = ds.drop_vars(coord_names, errors="ignore")
    transform = _FromLabels(function, coord_names, bare, of)
    if transform.dims:
        index = xr.indexes.CoordinateTransformIndex(transform)
        bare = model.with_coords(bare, xr.Coordinates.from_xindex(index).variables)
    else:
        bare = model.with_coords(bare, transform.forward({}))
    for name in coord_names:
        bare[name].attrs.update(model.attrs(name))
    return bare


def _world(text: str, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    return wcs.pixel_to_world(wcs.load(text), x, y)


def assign_sky(ds: xr.Dataset) -> xr.Dataset:
    """Derive ``ra`` and ``dec`` again from the labels and the WCS.

    This is needed only after an operation that mixes coordinate values, such as ``coarsen`` or ``interp``: these
    average right ascensions, which is meaningless across RA = 0.

    Parameters
    ----------
    ds : xarray.Dataset
        A dataset with coordinates ``x``, ``y`` [0-based pixel] and ``wcs``: one WCS, or one per exposure.

    Returns
    -------
    xarray.Dataset
        The dataset with coordinates ``ra``, ``dec`` [deg, ICRS] on the dimensions of ``wcs``, ``y`` and ``x``. They
        are evaluated when first used and have no index.

    Raises
    ------
    MissingError
        If there are no labels or no WCS.
    """
    return derive(ds, _world, ("ra", "dec"))


def _polar(text: str, x: Any, y: Any, x0: float, y0: float) -> tuple[Any, Any]:
    gwcs = wcs.load(text)
    ra0, dec0 = wcs.pixel_to_world(gwcs, x0, y0)
    east, north = sphere.tangent_offset(float(ra0), float(dec0), *wcs.pixel_to_world(gwcs, x, y))
    separation = np.hypot(east, north)
    return separation, np.where(separation < SAME, 0.0, np.rad2deg(np.arctan2(east, north)) % 360)


class _Polar(xr.Variable):
    """A coordinate that is equal to another one if the two agree to `SAME`, modulo a full turn.

    Two WCSs that differ by rounding give coordinates that differ in the last digits, and arithmetic would drop them.
    For this comparison xarray calls `set_dims` and then `broadcast_equals`; all other comparisons stay exact.
    """

    __slots__ = ()

    @classmethod
    def of(cls, variable: xr.Variable) -> "_Polar":
        return cls(variable.dims, variable._data, variable.attrs, variable.encoding, fastpath=True)

    def to_base_variable(self) -> "_Polar":
        return self.of(self)  # xarray calls this when coordinates are assigned

    def set_dims(self, dim: Any, shape: Any = None) -> Any:
        same = tuple(dim) == self.dims and shape is None
        return self if same else super().set_dims(dim, shape)  # type: ignore[no-untyped-call]

    def broadcast_equals(self, other: Any, *args: Any, **options: Any) -> Any:
        equal = super().broadcast_equals(other, *args, **options)  # type: ignore[no-untyped-call]
        if equal is not False or self.dims != other.dims or self.shape != other.shape:
            return equal
        apart = (self.values - other.values + 180) % 360 - 180
        return bool((np.abs(apart) <= SAME).all())


def assign_polar(ds: xr.Dataset) -> xr.Dataset:
    """Derive the coordinates ``separation`` [arcsec] and ``position_angle`` [deg, east of north] from labels and WCS.

    They are evaluated when first used. At the star itself, ``target_x``, ``target_y``, the angle is 0. A difference of
    two datasets keeps them if they agree to 1e-6 arcsec and deg.
    """
    identity.require(ds, "target_x", "target_y", step="ds.ta.recenter()")
    names = ("separation", "position_angle")
    derived = derive(ds, _polar, names, of=("target_x", "target_y"))
    return derived.assign_coords({name: _Polar.of(derived.variables[name]) for name in names})


def assign_wcs(ds: xr.Dataset, text: wcs.WcsText) -> xr.Dataset:
    """Assign a WCS to a dataset, in place of its own if it has one, and derive its sky coordinates."""
    return assign_sky(model.with_coords(ds, {"wcs": model.text_variable("wcs", text)}))


def wcs_text(ds: xr.Dataset, name: str = "wcs") -> wcs.WcsText:
    """Read the text of the one WCS of a dataset, from the coordinate `name`."""
    if name not in ds.coords:
        msg = f"the dataset has no {name}: its file has no GWCS, or datasets with different WCSs were combined"
        raise WCSError(msg)
    variable = ds.variables[name]
    if variable.ndim:
        msg = f"{name} has the dimensions {variable.dims}; select one exposure first"
        raise WCSError(msg)
    return wcs.WcsText(str(variable.values.item()))


def the_wcs(ds: xr.Dataset, name: str = "wcs") -> "WCS":
    """Parse the one WCS of a dataset, from the coordinate `name`."""
    return wcs.load(wcs_text(ds, name))


REFERENCE = {"v2_ref": "arcsec", "v3_ref": "arcsec", "ra_ref": "deg", "dec_ref": "deg", "roll_ref": "deg"}
"""Header keywords with which a WCS is made -> unit."""

SAME_REFERENCE = 1e-6  # [deg] a WCS that differs by more was made with another header


def check_reference(ds: xr.Dataset, *, pointing: float = SAME_REFERENCE) -> None:
    """Refuse an exposure whose WCS disagrees with its own header.

    Parameters
    ----------
    ds : xarray.Dataset
        One exposure, see `other_reference`.
    pointing : float
        Largest difference allowed in right ascension and declination [deg, on the sky].

    Raises
    ------
    WCSError
        If they differ. The message contains the numbers.
    """
    if differ := other_reference(ds, pointing=pointing):
        msg = (
            f"the WCS of {identity.header(ds).get('filename', 'the exposure')} disagrees with its header: {differ}. "
            "It belongs to another exposure, or was changed; download the product again or run assign_wcs"
        )
        raise WCSError(msg)


def other_reference(ds: xr.Dataset, *, pointing: float = SAME_REFERENCE) -> str | None:
    """Compare a WCS with the header of its exposure.

    A GWCS contains the reference point that it was made with, which is also in the header: V2_REF, V3_REF, RA_REF,
    DEC_REF, ROLL_REF. If a WCS is adjusted, that of the file is compared. Missing keywords are not compared.

    Returns
    -------
    str or None
        The values that differ by more than 1e-6 degrees, or for right ascension and declination by more than
        `pointing` [deg]. Empty if none does; None if there is nothing to compare, or the WCS is not that of an image.
    """
    name = "wcs_original" if "wcs_original" in ds.variables else "wcs"
    about = identity.header(ds)
    told = {key: float(about[key]) for key in REFERENCE if key in about}
    if name not in ds.variables or ds[name].ndim or not told:
        return None
    try:
        held = wcs.reference(the_wcs(ds, name))
    except WCSError:  # the step that needs an imaging WCS raises an error
        return None
    limits = dict.fromkeys(REFERENCE, SAME_REFERENCE) | dict.fromkeys(("ra_ref", "dec_ref"), pointing)
    differ = [key for key in told if abs(_difference(key, told, held)) > limits[key]]
    return "; ".join(
        f"{key.upper()} {told[key]:.7f} by the header, {held[key]:.7f} {REFERENCE[key]} by the WCS" for key in differ
    )


def _difference(key: str, told: Mapping[str, float], held: Mapping[str, float]) -> float:
    """Compute the difference of a quantity of the reference point [deg], on the sky."""
    difference = told[key] - held[key]
    if REFERENCE[key] == "arcsec":
        return difference / 3600
    scale = np.cos(np.deg2rad(held["dec_ref"])) if key == "ra_ref" else 1.0
    return float(sphere.wrap_degrees(difference) * scale)


def _apply(function: Callable[..., object], a: Values, b: Values, called: tuple[str, str]) -> tuple[Any, Any]:
    """Apply a function to scalars, arrays or DataArrays; return floats, arrays or DataArrays with the new names."""
    first, second = xr.apply_ufunc(function, a, b, output_core_dims=[[], []], keep_attrs=False)
    if isinstance(first, xr.DataArray):
        first, second = first.rename(called[0]), second.rename(called[1])
        return first.assign_attrs(model.attrs(called[0])), second.assign_attrs(model.attrs(called[1]))
    return (first, second) if np.ndim(first) else (float(first), float(second))


def pixel_to_world(ds: xr.Dataset, x: Values, y: Values) -> tuple[Any, Any]:
    """Convert pixel labels to sky positions, on or off the array.

    Parameters
    ----------
    ds : xarray.Dataset
        With one ``wcs``.
    x, y : float, array_like or xarray.DataArray
        In the labels ``x``, ``y`` of the dataset [pixel]; broadcast against each other.

    Returns
    -------
    ra, dec : float, numpy.ndarray or xarray.DataArray
        ICRS [deg].

    Raises
    ------
    WCSError
        If the dataset has no WCS or several.
    """
    return _apply(partial(wcs.pixel_to_world, the_wcs(ds)), x, y, ("ra", "dec"))


def world_to_pixel(ds: xr.Dataset, ra: Values, dec: Values) -> tuple[Any, Any]:
    """Convert sky positions to pixel labels by inverting the forward WCS numerically.

    Parameters
    ----------
    ds : xarray.Dataset
        With one ``wcs``.
    ra, dec : float, array_like or xarray.DataArray
        ICRS [deg]; broadcast against each other.

    Returns
    -------
    x, y : float, numpy.ndarray or xarray.DataArray
        In the labels ``x``, ``y`` of the dataset [pixel], on or off the array, to 1e-8 px.

    Raises
    ------
    WCSError
        If the dataset has no WCS or several, or a position does not converge.
    """
    return _apply(partial(wcs.world_to_pixel, the_wcs(ds)), ra, dec, ("x", "y"))


def _nearest(ds: xr.Dataset, dim: str, wanted: ArrayLike) -> Ints:
    """Find the index of the label nearest to each wanted one, or -1 if none is within half a label step."""
    labels = np.atleast_1d(np.asarray(ds[dim].values, dtype=float))
    finite = np.sort(labels[np.isfinite(labels)])
    if not finite.size:
        msg = f"the labels {dim} are all NaN, so there is nothing to select"
        raise MissingError(msg)
    steps = np.diff(finite)
    steps = steps[steps > 0]
    tolerance = (steps.min() if steps.size else 1.0) / 2
    distance = np.abs(labels - np.asarray(wanted, dtype=float)[..., np.newaxis])
    index = np.nanargmin(np.where(np.isfinite(distance), distance, np.inf), axis=-1)
    near = np.take_along_axis(distance, index[..., np.newaxis], axis=-1)[..., 0] <= tolerance * (1 + 1e-9)
    return np.where(near, index, -1)


def sel_sky(ds: xr.Dataset, ra: Values, dec: Values) -> xr.Dataset:
    """Select the pixels nearest to sky positions.

    Parameters
    ----------
    ds : xarray.Dataset
        With ``x``, ``y`` and one ``wcs``.
    ra, dec : float, array_like or xarray.DataArray
        ICRS [deg]. Scalars drop the dimensions ``x`` and ``y``; an array of n positions gives a dimension
        ``points`` of length n; a DataArray gives its own dimensions.

    Returns
    -------
    xarray.Dataset

    Raises
    ------
    ArgumentError
        If a position is outside all pixels of the dataset, more than half a label step from every label. The
        message contains the pixel.
    WCSError
        If the dataset has no WCS or several, or a position does not converge.
    """
    identity.require(ds, "x", "y", step="xta.open_exposure")
    if not (isinstance(ra, xr.DataArray) and isinstance(dec, xr.DataArray)):
        ra, dec = np.broadcast_arrays(np.asarray(ra, dtype=float), np.asarray(dec, dtype=float))
        if ra.ndim > 1:
            msg = f"ra and dec have {ra.ndim} dimensions; give 1-D arrays, or DataArrays with named dimensions"
            raise ArgumentError(msg)
        dims = ("points",) * ra.ndim
        ra, dec = xr.DataArray(ra, dims=dims), xr.DataArray(dec, dims=dims)
    wanted = dict(zip(("x", "y"), world_to_pixel(ds, ra, dec), strict=True))
    index = {dim: value.copy(data=_nearest(ds, dim, value.values)) for dim, value in wanted.items()}
    _refuse_outside(ds, wanted, index, ra, dec)
    return ds.isel({dim: value for dim, value in index.items() if dim in ds.dims})


def _refuse_outside(ds: xr.Dataset, wanted: Arrays, index: Arrays, ra: xr.DataArray, dec: xr.DataArray) -> None:
    outside = (index["x"].values < 0) | (index["y"].values < 0)
    if not outside.any():
        return
    k = int(np.flatnonzero(np.ravel(outside))[0])
    x, y, lon, lat = (np.ravel(value.values)[k] for value in xr.broadcast(wanted["x"], wanted["y"], ra, dec))
    spans = ", ".join(f"{dim} {np.nanmin(ds[dim].values):g} to {np.nanmax(ds[dim].values):g}" for dim in ("x", "y"))
    msg = f"RA, Dec = {lon:.7f}, {lat:.7f} deg is pixel x, y = {x:.2f}, {y:.2f}, outside the image ({spans})"
    raise ArgumentError(msg)
