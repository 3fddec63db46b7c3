"""Repeat the subtraction of an image with sources removed from the frames or injected into them."""

from collections.abc import Sequence

import xarray as xr
from numpy.typing import ArrayLike

from xta import identity
from xta.errors import KlipError
from xta.psfsub import detection
from xta.psfsub.components import Library, Section, divide
from xta.psfsub.forward import Forward, Light, Source, without
from xta.psfsub.frames import Datasets, Frames, prepare
from xta.psfsub.north import up_angle
from xta.psfsub.subtract import average

__all__ = ["Reduction"]


class Reduction:
    """The subtraction of an image: its frames, sections and number of components, and the light of a point source."""

    def __init__(
        self,
        ds: xr.Dataset,
        science: Datasets,
        reference: Datasets | None,
        *,
        psf: ArrayLike,
        transmission: ArrayLike | None = None,
        numbasis: int | None = None,
    ) -> None:
        self.image, self.number = detection.choose(ds, numbasis)
        self.light = Light.of(psf, transmission)
        identity.require(ds, "mode", "annuli", "subsections", "movement", "iwa", "fwhm", "pixel_scale", step="xta.klip")
        with_stars = "RDI" in str(ds.attrs["mode"])
        self.frames = prepare(science, reference if with_stars else None, names=("sci", "dq", "err"))
        self.scale = float(ds.attrs["pixel_scale"])
        """Size of a pixel [arcsec]."""
        self.element = float(ds.attrs["fwhm"])
        """Resolution element [arcsec]."""
        self.angles = [up_angle(exposure.ds) for exposure in self.frames.science]
        self._refuse_others(ds)

    def _refuse_others(self, ds: xr.Dataset) -> None:
        """Refuse frames that are not those of the image."""
        for kind, exposures in (("science", self.frames.science), ("reference", self.frames.reference)):
            told, names = str(ds.attrs.get(kind, "")), ", ".join(exposure.name for exposure in exposures)
            if told != names:
                msg = f"{kind} is {names or 'nothing'}, but the image was made from {told or 'nothing'}; give these"
                raise KlipError(msg)

    def library(self, frames: Frames) -> Library:
        """Prepare the frames as for the image."""
        about = self.image.attrs
        closest = int(about["closest"]) if "closest" in about else None
        options = {"mode": str(about["mode"]), "closest_by": str(about.get("closest_by", ""))}
        return Library(frames, self.angles, movement=float(about["movement"]), closest=closest, **options)

    def sections(self, library: Library) -> list[Section]:
        """Divide the frames as for the image."""
        about, scale = self.image.attrs, self.scale
        outer = float(about["owa"]) / scale if "owa" in about else None
        counts = {name: int(about[name]) for name in ("annuli", "subsections")}
        sections = divide(self.frames.shape, inner=float(about["iwa"]) / scale, outer=outer, **counts)
        return [section for section in sections if (section.pixels & library.usable).any()]

    def forward(self, sources: Sequence[Source] = ()) -> Forward:
        """Prepare the subtraction of the frames without some sources."""
        library = self.library(without(self.frames, self.light, sources) if sources else self.frames)
        return Forward(library, self.sections(library), self.number, self.light)

    def without(self, sources: Sequence[Source]) -> xr.Dataset:
        """Make the image of the frames without some sources; negative ones are injected."""
        if not sources:
            return self.image
        library = self.library(without(self.frames, self.light, sources))
        (left,) = average(library, self.sections(library), [self.number], self.scale)
        return self.image.assign(klip=(("y", "x"), left, self.image["klip"].attrs))
