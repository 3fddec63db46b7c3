"""What one mode of the sample visits is made of: apertures, subarrays, filters, brightness."""

from dataclasses import dataclass

from xta.model import INSTRUMENTS

__all__ = ["Setup"]


@dataclass(frozen=True)
class Setup:
    """One mode: where its star goes, how it is acquired, and how bright things are."""

    aperture: str
    """Of the science exposures."""
    subarray: str
    filter: str
    wavelength: float
    """Of the science filter [micron]."""
    ta_aperture: str
    """Acquisition region; for MIRI coronagraphy without the quadrant."""
    ta_subarray: str
    ta_filter: str
    ta_wavelength: float
    """Of the acquisition filter [micron]."""
    exp_type: str
    pupil: str | None = None
    coronagraph: str = "NONE"
    mask: str = "none"
    """Kind of mask: "round", "bar", "4qpm", "spot" or "none"."""
    mask_size: float = 0.0
    """Half width at half maximum of the mask, or the radius of the spot [arcsec]."""
    grating: str | None = None
    """Of the acquisition, NIRSpec only."""
    ta_pupil: str | None = None
    """Of the acquisition, where it is not `pupil`."""
    other_ta: tuple[tuple[str, str], ...] = ()
    """Other acquisition apertures that go with the mode, each with its subarray."""
    dithered: str = "never"
    """Whether the acquisition takes three dithered images: "never", "may be" or "always"."""
    stages: int = 1
    """Regions in which the star is centroided, one after the other: 2 for MIRI coronagraphy."""
    block: bool = False
    """Whether the star arrives at MIRI's block of acquisition regions and is moved from there."""
    los: bool = False
    """Whether the log names the detector with the suffix _LOS."""
    confirm: tuple[str, str] | None = None
    """Aperture and subarray of the confirmation image, where they are not those of the acquisition."""
    imaging: bool = True
    """Whether there is a science exposure with an imaging WCS; a visit of another mode is its acquisition alone."""
    star_flux: float = 0.3
    """[Jy]"""
    contrast: float = 1.5e-4
    """Flux of the companion over that of the star."""
    separation: float = 0.95
    """Of the companion [arcsec]."""
    background: float = 0.3
    """[MJy/sr]"""
    megajanskys: float = 2.6
    """Surface brightness that makes one DN/s in a pixel, keyword PHOTMJSR [MJy/sr]."""
    gain: float = 1.82
    """Electrons per DN."""
    read_noise: float = 12.0
    """Of one integration [electron]."""

    @property
    def letters(self) -> str:
        """Three letters that stand for the instrument: NRC, MIR, NIS or NRS."""
        return self.aperture[:3]

    @property
    def instrument(self) -> str:
        """The instrument, as in INSTRUME."""
        return INSTRUMENTS[self.letters].upper()

    @property
    def detector(self) -> str:
        """The detector of the science exposures, as in DETECTOR."""
        return self.detector_of(self.aperture)

    @property
    def ta_detector(self) -> str:
        """The detector of the acquisition: a short-wave mask can be acquired in the long-wave channel."""
        return self.detector_of(self.ta_aperture)

    def detector_of(self, aperture: str) -> str:
        """Name the detector of an aperture of this instrument, as in DETECTOR."""
        if self.letters in {"NRS", "MIR", "NIS"}:
            return {"NRS": "NRS1", "MIR": "MIRIMAGE", "NIS": "NIS"}[self.letters]
        return aperture.partition("_")[0].replace("5", "LONG")
