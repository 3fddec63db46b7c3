"""Compute principal components of the frames that model a star's PSF, section by section, and subtract them.

Sections are sectors of rings around the star, in the orientation of the detector, as pyKLIP divides a frame.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from types import ModuleType
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from xta import model
from xta.errors import KlipError
from xta.psfsub.frames import Exposure, Frames
from xta.psfsub.north import Array

__all__ = ["Library", "Section", "divide"]

Mask: TypeAlias = NDArray[np.bool_]

UNIT = 1e-3  # largest error of the norm of a component; one that is rounding noise has any norm


class Section(NamedTuple):
    """Part of a frame that is modeled separately: the radii of its ring [pixel], and its pixels (y, x)."""

    inner: float
    outer: float
    pixels: Mask


def divide(
    shape: tuple[int, int], *, annuli: int, subsections: int, inner: float, outer: float | None
) -> list[Section]:
    """Divide a frame (ny, nx) into `annuli` rings of equal width around its central pixel, and these into sectors.

    The first sector begins at the +x direction and goes toward +y. Radii are in pixels. Without an outer edge the
    rings extend to the nearer edge of the frame, and the last one to the corners.
    """
    y, x = (grid - n // 2 for grid, n in zip(np.indices(shape), shape, strict=True))
    radius, sector = np.hypot(x, y), np.arctan2(y, x) % (2 * np.pi) // (2 * np.pi / subsections)
    near, corner = min(shape) // 2, float(radius.max()) + 1
    edges = np.linspace(inner, outer or (near if near > inner else corner), annuli + 1)
    if outer is None:
        edges[-1] = corner
    return [
        Section(float(low), float(high), (radius >= low) & (radius < high) & (sector == k))
        for low, high in pairwise(edges)
        for k in range(subsections)
    ]


class Library:
    """The frames that model the science frames: with "ADI" in the mode other rolls, with "RDI" reference stars.

    A science exposure, whose +y has the position angle given in `angles` [deg], models another one where a
    source moves by at least `movement` pixels between the two. Of all frames that may model an exposure the `closest`
    ones do, by `closest_by`: "correlation" with the mean of its frames, or "offset", where the mask is from the star.
    """

    def __init__(
        self,
        frames: Frames,
        angles: Sequence[float],
        *,
        mode: str,
        movement: float,
        closest: int | None = None,
        closest_by: str = "correlation",
    ) -> None:
        self.science = frames.science
        self.references = frames.reference if "RDI" in mode else ()
        self.rolls = "ADI" in mode
        self.angles = np.asarray(angles)
        self.mode, self.movement, self.closest = mode, movement, closest
        everyone = (*self.science, *self.references)
        self.filled = np.concatenate([exposure.filled for exposure in everyone])
        self.owner = np.repeat(np.arange(len(everyone)), [len(exposure.frames) for exposure in everyone])
        groups = (self.science, everyone if self.rolls else self.references)
        good = [np.any([np.isfinite(e.frames).any(axis=0) for e in group], axis=0) for group in groups]
        self.usable: Mask = np.all([exposure.field for exposure in everyone] + good, axis=0)
        if closest is not None:
            distance = self._offsets(everyone) if closest_by == "offset" else self._correlations()
            self.order = np.argsort(distance, axis=1, kind="stable")

    def admitted(self, k: int, section: Section) -> Mask:
        """Return a mask of the frames that may model science exposure `k` in a section, shape (frames,)."""
        radius = (section.inner + section.outer) / 2
        moves = 2 * radius * np.abs(np.sin(np.deg2rad(self.angles - self.angles[k]) / 2))
        use = np.concatenate([(moves >= self.movement) & self.rolls, np.ones(len(self.references), dtype=bool)])
        admitted = np.asarray(use[self.owner])
        if self.closest is None:
            return admitted
        ranked = self.order[k][admitted[self.order[k]]]
        return np.isin(np.arange(admitted.size), ranked[: self.closest])

    def _correlations(self) -> Array:
        """Correlate the mean of each science exposure with each frame; less where they are more alike."""
        values = self.filled[:, self.usable]
        means = np.stack([values[self.owner == k].mean(axis=0) for k in range(len(self.science))])
        # What a mean is above its own mean has no part along a constant, so that the frames need no such copy.
        models = means - means.mean(axis=1, keepdims=True)
        spread = np.einsum("ij,ij->i", values, values) - values.shape[1] * values.mean(axis=1) ** 2
        return np.asarray(-(models @ values.T) / np.outer(np.linalg.norm(models, axis=1), np.sqrt(spread)))

    def _offsets(self, exposures: Sequence[Exposure]) -> Array:
        """Compute the distance of each frame's mask from that of each science exposure, seen from the star [pixel]."""
        masks = np.array([[model.scalar(each.ds, f"mask_{axis}") for axis in "xy"] for each in exposures])
        if not np.isfinite(masks).all():
            names = ", ".join(
                each.name for each, mask in zip(exposures, masks, strict=True) if not np.isfinite(mask).all()
            )
            msg = f"the offset of the mask from the star is not known for {names}; analyze them, or use correlation"
            raise KlipError(msg)
        apart = masks[: len(self.science), np.newaxis] - masks
        return np.asarray(np.hypot(apart[..., 0], apart[..., 1])[:, self.owner])

    def size(self, sections: Sequence[Section]) -> tuple[int, str]:
        """Return the smallest number of frames for an exposure and section, and a description of these."""
        return min(
            (
                int(self.admitted(k, section).sum()),
                f"{exposure.name} from {section.inner:.1f} to {section.outer:.1f} px",
            )
            for k, exposure in enumerate(self.science)
            for section in sections
        )

    def residuals(
        self, sections: Sequence[Section], numbasis: Sequence[int], engine: ModuleType, *, progress: bool = False
    ) -> Iterator[Array]:
        """Subtract from each science exposure its models of `numbasis` components, shape (n, numbasis, y, x).

        The engine is ``pyklip.klip``; each section has a usable pixel. Pixels that are bad or in no section are NaN.
        With `progress` a bar on stderr counts the sections of all exposures.
        """
        from tqdm import tqdm

        total = len(self.science) * len(sections)
        with tqdm(total=total, desc="subtract", unit="section", disable=not progress) as bar:
            for k, exposure in enumerate(self.science):
                n, ny, nx = exposure.frames.shape
                result = np.full((n, len(numbasis), ny, nx), np.nan)
                for section in sections:
                    pixels = section.pixels & self.usable
                    values = self.filled[:, pixels]
                    basis = _basis(values[self.admitted(k, section)], max(numbasis), engine)
                    result[:, :, pixels] = _subtract(values[self.owner == k], basis, numbasis)
                    bar.update()
                yield np.where(np.isfinite(exposure.frames)[:, np.newaxis], result, np.nan)


def _basis(models: Array, count: int, engine: ModuleType) -> Array:
    """Compute the first `count` principal components of frames (n, pixels), shape (count, pixels)."""
    # The engine's own covariance fails for a single frame.
    covariance = np.atleast_2d(np.cov(models))
    with np.errstate(invalid="ignore", divide="ignore"):
        _, basis = engine.klip_math(models[0], models, np.array([count]), covar_psfs=covariance, return_basis=True)
    good = np.abs((basis**2).sum(axis=1) - 1) < UNIT
    if not good.all():
        msg = (
            f"only {int(np.argmin(good))} of the {len(models)} frames that model a section of {models.shape[1]} "
            "pixels are independent; use a smaller numbasis or larger sections"
        )
        raise KlipError(msg)
    return np.asarray(basis)


def _subtract(values: Array, basis: Array, numbasis: Sequence[int]) -> Array:
    """Subtract from frames (n, pixels) their projections on the first components, shape (n, numbasis, pixels)."""
    values = values - values.mean(axis=1, keepdims=True)
    weights = values @ basis.T
    return np.stack([values - weights[:, :count] @ basis[:count] for count in numbasis], axis=1)
