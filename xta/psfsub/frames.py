"""Prepare exposures for PSF subtraction: the star on the central pixel, one size, one instrument setting.

Bad pixels are NaN in the frames, even if the exposures were filled.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from types import ModuleType
from typing import TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from xta import identity, model, pixels
from xta.cubes.recenter import recenter
from xta.errors import ArgumentError, KlipError, RecenterError
from xta.identity import header
from xta.images import shift
from xta.psfsub import north
from xta.psfsub.north import Array
from xta.stacks import DERIVED, SCALE_TOLERANCE, members_or_one

__all__ = ["Datasets", "Exposure", "Frames", "import_engine", "prepare"]

Datasets: TypeAlias = xr.Dataset | Iterable[xr.Dataset]

SETTING = ("instrument", "detector", "filter", "pupil", "coronagraphic_mask")
"""Coordinates that must agree, since the PSF depends on them."""

USED = ("sci", "dq")  # of the images
CENTERED = 1e-3  # a star nearer than this to the central pixel is on it [pixel]


@dataclass(frozen=True, eq=False)
class Exposure:
    """One recentered exposure."""

    name: str
    ds: xr.Dataset
    frames: Array
    """Shape (n, y, x), NaN where bad."""

    @cached_property
    def find_pixel(self) -> Callable[[ArrayLike, ArrayLike], tuple[Array, Array]]:
        """Function from offsets from the star [arcsec], to the east and to the north, to labels x, y."""
        return north.pixel_finder(self.ds)

    @property
    def field(self) -> NDArray[np.bool_]:
        """Pixels that were observed, shape (y, x); bad pixels inside the field count as observed."""
        from scipy import ndimage

        return np.asarray(ndimage.binary_fill_holes(np.isfinite(self.frames).any(axis=0)))

    @property
    def filled(self) -> Array:
        """The frames with bad pixels filled from their neighbors."""
        return np.asarray(shift.fill_bad(self.frames))

    @property
    def labels(self) -> list[str]:
        """A name for each frame: file and integration."""
        unnumbered = np.arange(1, len(self.frames) + 1)
        numbers = self.ds["integration"].values if "integration" in self.ds.coords else unnumbered
        return [f"{self.name}_INT{str(number).removesuffix('.0')}" for number in np.atleast_1d(numbers)]


@dataclass(frozen=True, eq=False)
class Frames:
    """Science and reference exposures of one size (y, x), both odd."""

    science: tuple[Exposure, ...]
    reference: tuple[Exposure, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Size (ny, nx) of the frames."""
        _, ny, nx = self.science[0].frames.shape
        return ny, nx


def import_engine(name: str) -> ModuleType:
    """Import a module of pyKLIP, which is optional."""
    try:
        return import_module(name)
    except ImportError as error:
        msg = f'pyKLIP is not installed ({error}); install it with: pip install "xta[klip]"'
        raise KlipError(msg) from error


def prepare(
    science: Datasets, reference: Datasets | None = None, *, names: Sequence[str] = USED, progress: bool = False
) -> Frames:
    """Recenter exposures that are not, check that they fit together, and crop them to one size.

    Of their images those of `names` are used. Each is read once, exposure by exposure, also where it is lazy; with
    `progress` a bar on stderr counts the exposures.
    """
    from tqdm import tqdm

    targets, references = _named(science, "science"), _named(reference, "reference")
    if not targets:
        msg = "there is no science exposure; give at least one dataset"
        raise KlipError(msg)
    _refuse_mixed([*targets, *references])
    centered = [(name, _recentered(name, ds, names)) for name, ds in (*targets, *references)]
    _refuse_scales(centered)
    half = {axis: min(_reach(name, ds, axis) for name, ds in centered) for axis in ("x", "y")}
    bar = tqdm(centered, desc="read and recenter", unit="exposure", disable=not progress)
    exposures = tuple(_exposure(name, ds, half) for name, ds in bar)
    _refuse_twice(exposures)
    return Frames(exposures[: len(targets)], exposures[len(targets) :])


def _named(given: xr.Dataset | Iterable[object] | None, kind: str) -> list[tuple[str, xr.Dataset]]:
    """List datasets with the names of their files, as far as they have one."""
    exposures: list[xr.Dataset] = []
    for ds in [given] if isinstance(given, xr.Dataset) else given or ():
        if not isinstance(ds, xr.Dataset):
            msg = f"{kind} contains a {type(ds).__name__}, not a dataset; open files with xta.analyze(file) first"
            raise ArgumentError(msg)
        try:
            exposures += members_or_one(ds)
        except ArgumentError as error:
            msg = f"{kind}: {error}"
            raise KlipError(msg) from error
    return [(str(header(ds).get("filename") or f"{kind}[{k}]"), ds) for k, ds in enumerate(exposures)]


def _refuse_twice(exposures: Iterable[Exposure]) -> None:
    seen: set[str] = set()
    for label in (label for exposure in exposures for label in exposure.labels):
        if label in seen:
            msg = f"{label} is given twice; a frame as its own reference would subtract itself"
            raise KlipError(msg)
        seen.add(label)


def _refuse_mixed(exposures: list[tuple[str, xr.Dataset]]) -> None:
    first_name, first = exposures[0]
    for name, ds in exposures[1:]:
        for key in SETTING:
            ours, theirs = header(first).get(key), header(ds).get(key)
            if None not in {ours, theirs} and ours != theirs:
                msg = (
                    f"{key} of {name} is {theirs}, but of {first_name} {ours}; give exposures of one instrument setting"
                )
                raise KlipError(msg)
        units = [d["sci"].attrs.get("units", "") if "sci" in d else "" for d in (first, ds)]
        if units[0] != units[1]:
            msg = f"the unit of {name} is {units[1] or 'unknown'} and of {first_name} {units[0] or 'unknown'}"
            raise KlipError(msg)


def _recentered(name: str, ds: xr.Dataset, names: Sequence[str]) -> xr.Dataset:
    identity.require(ds, "sci", "x", "y", step="xta.open_exposure")
    if set(ds["sci"].dims) - {"integration"} != {"y", "x"}:
        msg = f"sci of {name} has dimensions {ds['sci'].dims}; give each exposure by itself: (integration, y, x)"
        raise KlipError(msg)
    ds = pixels.checked(ds.drop_vars(set(model.IMAGES) - set(names), errors="ignore"), names=tuple(names))
    if "star_x" not in ds.coords:
        try:
            ds = recenter(ds)
        except RecenterError as error:
            msg = f"{name}: {error}"
            raise KlipError(msg) from error
    left = [float(ds[f"target_{axis}"]) for axis in ("x", "y")]
    if max(map(abs, left)) > CENTERED:
        msg = (
            f"the star of {name} is {left[0]:+.3f}, {left[1]:+.3f} px off the central pixel; recenter it by "
            "interpolation: ds.ta.recenter(method='fourier')"
        )
        raise KlipError(msg)
    return ds


def _refuse_scales(exposures: list[tuple[str, xr.Dataset]]) -> None:
    scales = {name: north.pixel_scale(ds) for name, ds in exposures if "wcs" in ds.coords}
    for name, scale in scales.items():
        first_name, first = next(iter(scales.items()))
        if abs(scale / first - 1) > SCALE_TOLERANCE:
            msg = f"a pixel of {name} is {scale:.5f} arcsec and of {first_name} {first:.5f}; they cannot be combined"
            raise KlipError(msg)


def _reach(name: str, ds: xr.Dataset, axis: str) -> int:
    """How many pixels the exposure extends from the star to both sides."""
    labels = np.asarray(ds[axis].values, dtype=float)
    if not np.all(np.diff(labels) == 1) or not (labels == 0).any():
        msg = (
            f"the labels {axis} of {name} ({labels[0]:g} to {labels[-1]:g}) are not successive pixels around the "
            "star; select less"
        )
        raise KlipError(msg)
    reach = int(min(-labels[0], labels[-1]))
    if reach < 1:
        msg = f"the star of {name} is at the edge along {axis}; there is no field around it to match with the others"
        raise KlipError(msg)
    return reach


def _exposure(name: str, ds: xr.Dataset, half: dict[str, int]) -> Exposure:
    # Derived coordinates would be evaluated by the selection.
    ds = ds.drop_vars(DERIVED, errors="ignore").sel({axis: slice(-reach, reach) for axis, reach in half.items()})
    good = ds["sci"].where(~pixels.bad_pixels(ds)).transpose(..., "y", "x")
    frames = good.values.astype(float)
    exposure = Exposure(name, ds, frames.reshape(-1, *frames.shape[-2:]))
    for label, frame in zip(exposure.labels, exposure.frames, strict=True):
        if not np.isfinite(frame).any():
            msg = f"integration {label.rpartition('_INT')[2]} of {name} has no good pixel; leave it out"
            raise KlipError(msg)
    return exposure
