"""The modes of the sample visits: masks, acquisition regions, subarrays, filters, brightness.

Names are those of the SIAF and of the JWST keyword dictionary. Brightness, throughput and noise are round
numbers of the right order; they make the pixels look right and enter no position.
"""

from dataclasses import dataclass, replace

from xta.errors import ArgumentError

__all__ = ["SETUPS", "Setup", "find"]


@dataclass(frozen=True)
class Setup:
    """One coronagraphic mode: a mask, how its star is acquired, and how bright things are."""

    aperture: str
    subarray: str
    coronagraph: str
    mask: str
    """Kind of mask: "round", "bar", "4qpm" or "spot"."""
    mask_size: float
    """Half width at half maximum of the mask, or the radius of the spot [arcsec]."""
    filter: str
    wavelength: float
    """Of the science filter [micron]."""
    ta_aperture: str
    """Acquisition region; for MIRI without the quadrant."""
    ta_subarray: str
    ta_filter: str = "F335M"
    ta_wavelength: float = 3.36
    """Of the acquisition filter [micron]."""
    exp_type: str = "NRC_CORON"
    pupil: str | None = "MASKRND"
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
    def instrument(self) -> str:
        """The instrument, as in INSTRUME."""
        return "MIRI" if self.aperture.startswith("MIRIM") else "NIRCAM"

    @property
    def detector(self) -> str:
        """The detector, as in DETECTOR."""
        if self.instrument == "MIRI":
            return "MIRIMAGE"
        name = self.aperture.split("_")[0]
        return "NRCALONG" if name == "NRCA5" else name

    @property
    def full(self) -> str:
        """The aperture of the whole detector."""
        return self.aperture.split("_")[0] + "_FULL"


_ROUND = Setup(
    aperture="NRCA5_MASK335R",
    subarray="SUB320A335R",
    coronagraph="MASKA335R",
    mask="round",
    mask_size=0.63,
    filter="F444W",
    wavelength=4.4,
    ta_aperture="NRCA5_TAMASK335R",
    ta_subarray="SUBNDA335R",
)
_BAR = replace(
    _ROUND,
    aperture="NRCA5_MASKLWB",
    subarray="SUB320ALWB",
    coronagraph="MASKALWB",
    mask="bar",
    mask_size=0.58,
    filter="F460M",
    wavelength=4.63,
    ta_aperture="NRCA5_TAMASKLWB",
    ta_subarray="SUBNDALWBS",
    pupil="MASKBAR",
)
_SHORT = replace(
    _ROUND,
    aperture="NRCA2_MASK210R",
    subarray="SUB640A210R",
    coronagraph="MASKA210R",
    mask_size=0.4,
    filter="F210M",
    wavelength=2.09,
    ta_aperture="NRCA2_TAMASK210R",
    ta_subarray="SUBNDA210R",
    ta_filter="F210M",
    ta_wavelength=2.09,
)
_PHASE = Setup(
    aperture="MIRIM_MASK1140",
    subarray="MASK1140",
    coronagraph="4QPM_1140",
    mask="4qpm",
    mask_size=0.0,
    filter="F1140C",
    wavelength=11.3,
    ta_aperture="MIRIM_TA1140",
    ta_subarray="MASK1140",
    ta_filter="FND",
    ta_wavelength=12.0,
    exp_type="MIR_4QPM",
    pupil=None,
    star_flux=1.0,
    contrast=4e-4,
    separation=1.6,
    background=20.0,
    megajanskys=2.86,
    gain=3.1,
    read_noise=30.0,
)

_ALL = (
    _ROUND,
    replace(
        _ROUND,
        aperture="NRCA5_MASK430R",
        subarray="SUB320A430R",
        coronagraph="MASKA430R",
        mask_size=0.81,
        filter="F460M",
        wavelength=4.63,
        ta_aperture="NRCA5_TAMASK430R",
        ta_subarray="SUBNDA430R",
    ),
    _BAR,
    replace(_BAR, aperture="NRCA5_MASKLWB_F444W", filter="F444W", wavelength=4.4),
    _SHORT,
    replace(
        _SHORT,
        aperture="NRCA4_MASKSWB",
        subarray="SUB640ASWB",
        coronagraph="MASKASWB",
        mask="bar",
        mask_size=0.26,
        ta_aperture="NRCA4_TAMASKSWB",
        ta_subarray="SUBNDASWBL",
        pupil="MASKBAR",
    ),
    replace(
        _PHASE,
        aperture="MIRIM_MASK1065",
        subarray="MASK1065",
        coronagraph="4QPM_1065",
        filter="F1065C",
        wavelength=10.6,
        ta_aperture="MIRIM_TA1065",
        ta_subarray="MASK1065",
    ),
    _PHASE,
    replace(
        _PHASE,
        aperture="MIRIM_MASK1550",
        subarray="MASK1550",
        coronagraph="4QPM_1550",
        filter="F1550C",
        wavelength=15.5,
        ta_aperture="MIRIM_TA1550",
        ta_subarray="MASK1550",
    ),
    replace(
        _PHASE,
        aperture="MIRIM_MASKLYOT",
        subarray="MASKLYOT",
        coronagraph="LYOT_2300",
        mask="spot",
        mask_size=2.16,
        filter="F2300C",
        wavelength=22.8,
        ta_aperture="MIRIM_TALYOT",
        ta_subarray="MASKLYOT",
        exp_type="MIR_LYOT",
        separation=4.0,
        contrast=2e-3,
        star_flux=3.0,
    ),
)

SETUPS = {setup.aperture: setup for setup in _ALL}
"""Every mode that `xta.datasets` can make, by the SIAF name of its science aperture."""

_DEFAULTS = {"nircam": "NRCA5_MASK335R", "miri": "MIRIM_MASK1140"}


def find(mode: str) -> Setup:
    """Look up a mode.

    Parameters
    ----------
    mode : str
        A key of `SETUPS`, or "nircam" or "miri" for the usual one of that instrument.

    Returns
    -------
    Setup

    Raises
    ------
    ArgumentError
        If there is no such mode.

    Examples
    --------
    >>> find("miri").aperture
    'MIRIM_MASK1140'
    """
    try:
        return SETUPS[_DEFAULTS.get(mode, mode)]
    except KeyError:
        known = ", ".join([*_DEFAULTS, *SETUPS])
        msg = f"no sample mode {mode!r}; there are {known}"
        raise ArgumentError(msg) from None
