"""Define the modes of the sample visits: masks, acquisition regions, subarrays, filters, brightness.

Names are those of the SIAF and of the JWST keyword dictionary. Brightness, throughput and noise are round
numbers of the right order of magnitude; they make the pixels look right and do not affect any position.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from xta.errors import ArgumentError
from xta.model import INSTRUMENTS, MASK_RADII

__all__ = ["ACQUISITIONS", "SETUPS", "Setup", "find"]

DETECTORS = {"MIR": "MIRIMAGE", "NIS": "NIS", "NRS": "NRS1"}

NIRCAM_WAVELENGTHS = {
    **{"F182M": 1.85, "F187N": 1.87, "F200W": 1.99, "F210M": 2.09, "F212N": 2.12, "F250M": 2.5, "F277W": 2.76},
    **{"F300M": 2.99, "F335M": 3.36, "F356W": 3.57, "F360M": 3.62, "F410M": 4.08, "F430M": 4.28, "F444W": 4.4},
    **{"F460M": 4.63, "F480M": 4.82},
}
WAVELENGTHS = NIRCAM_WAVELENGTHS | {
    **{"F290LP": 4.82, "CLEAR": 2.0, "F560W": 5.6, "P750L": 7.5, "F1065C": 10.6, "F1140C": 11.3, "FND": 12.0},
    **{"F1550C": 15.5, "F2300C": 22.8},
}
"""Middle of each filter [micron]."""


@dataclass(frozen=True)
class Setup:
    """One mode: the place of its star, its acquisition, and its brightness."""

    aperture: str
    """Aperture of the science exposures; subarray and filter are theirs, too."""
    subarray: str
    filter: str
    ta_filter: str
    """Filter of the acquisition."""
    regions: Mapping[str, str]
    """Acquisition apertures by subarray, the usual one first; for MIRI coronagraphy without the quadrant."""
    exp_type: str
    pupil: str | None = None
    ta_pupil: str | None = None
    """Pupil of the acquisition, if it is not `pupil`."""
    grating: str | None = None
    """Grating of the acquisition, NIRSpec only."""
    coronagraph: str = "NONE"
    mask: str = "none"
    """Kind of mask: "round", "bar", "4qpm", "spot" or "none"."""
    dithered: str = "never"
    """Whether the acquisition takes three dithered images: "never", "may be" or "always"."""
    stages: int = 1
    """Number of regions in which the star is centroided, one after the other: 2 for MIRI coronagraphy."""
    block: bool = False
    """True if the star arrives at MIRI's block of acquisition regions and is moved from there."""
    los: bool = False
    """True if the log has the detector with the suffix _LOS."""
    confirm: tuple[str, str] | None = None
    """Aperture and subarray of the confirmation image, if they are not those of the acquisition."""
    imaging: bool = True
    """True if there are science exposures with an imaging WCS; a visit of another mode has only its acquisition."""
    star_flux: float = 0.3
    """Flux of the star [Jy]."""
    contrast: float = 1.5e-4
    """Flux of the companion over that of the star."""
    separation: float = 0.95
    """Separation of the companion [arcsec]."""
    background: float = 0.3
    """Surface brightness of the background [MJy/sr]."""
    megajanskys: float = 2.6
    """Surface brightness that makes one DN/s in a pixel, keyword PHOTMJSR [MJy/sr]."""
    gain: float = 1.82
    """Electrons per DN."""
    read_noise: float = 12.0
    """Read noise of one integration [electron]."""

    @property
    def letters(self) -> str:
        """Three letters of the instrument: NRC, MIR, NIS or NRS."""
        return self.aperture[:3]

    @property
    def instrument(self) -> str:
        """The instrument, as in INSTRUME."""
        return INSTRUMENTS[self.letters].upper()

    @property
    def ta_aperture(self) -> str:
        """The acquisition aperture."""
        return next(iter(self.regions.values()))

    @property
    def ta_subarray(self) -> str:
        """The subarray of the acquisition."""
        return next(iter(self.regions))

    @property
    def detector(self) -> str:
        """The detector of the science exposures, as in DETECTOR."""
        return self._detector_of(self.aperture)

    @property
    def mask_size(self) -> float:
        """Half width at half maximum of the mask, or the radius of the spot [arcsec]."""
        return MASK_RADII.get(self.coronagraph, 0.0)

    @property
    def ta_detector(self) -> str:
        """The detector of the acquisition: a short-wave mask can be acquired in the long-wave channel."""
        return self._detector_of(self.ta_aperture)

    def _detector_of(self, aperture: str) -> str:
        return DETECTORS.get(self.letters) or aperture.partition("_")[0].replace("5", "LONG")


def _nircam_mask(detector: str, name: str, filter_name: str, ta_filter: str, **regions: str) -> Setup:
    """Read a row of the table of NIRCam's masks; apertures of the regions go without the detector."""
    kind, pupil = ("round", "MASKRND") if name.endswith("R") else ("bar", "MASKBAR")
    return Setup(
        aperture=f"{detector}_MASK{name}",
        subarray=f"SUB{320 if detector == 'NRCA5' else 640}A{name}",
        filter=filter_name,
        ta_filter=ta_filter,
        regions={subarray: f"{detector}_{aperture}" for subarray, aperture in regions.items()},
        exp_type="NRC_CORON",
        pupil=pupil,
        coronagraph=f"MASKA{name}",
        mask=kind,
        dithered="may be",
    )


_NIRCAM_MASKS = (
    _nircam_mask("NRCA5", "335R", "F444W", "F335M", SUBNDA335R="TAMASK335R", SUBFSA335R="FSTAMASK335R"),
    _nircam_mask("NRCA5", "430R", "F460M", "F335M", SUBNDA430R="TAMASK430R", SUBFSA430R="FSTAMASK430R"),
    _nircam_mask(
        "NRCA5", "LWB", "F460M", "F335M", SUBNDALWBS="TAMASKLWB", SUBNDALWBL="TAMASKLWBL", SUBFSALWB="FSTAMASKLWB"
    ),
    _nircam_mask("NRCA2", "210R", "F210M", "F210M", SUBNDA210R="TAMASK210R", SUBFSA210R="FSTAMASK210R"),
    _nircam_mask(
        "NRCA4", "SWB", "F210M", "F210M", SUBNDASWBL="TAMASKSWB", SUBNDASWBS="TAMASKSWBS", SUBFSASWB="FSTAMASKSWB"
    ),
)
"""The masks, each on the detector where its star is acquired."""


def _behind_mask(aperture: str) -> Setup | None:
    """Make the setup of a NIRCam coronagraphic aperture, such as "NRCA4_MASKSWB_F187N" or "NRCA2_FULL_MASK335R"."""
    match = re.fullmatch(r"(NRCA\d)_(FULL_|400X256_(?=MASKLWB))?(MASK\w+?)(?:_(F\d{3}[WMN]|NARROW))?", aperture)
    if not match:
        return None
    detector, size, name, word = match.groups()
    mask = next((setup for setup in _NIRCAM_MASKS if setup.aperture.endswith(name)), None)
    # Both channels see a mask: the long-wave one, and of the short-wave ones the detector where the mask is.
    if mask is None or detector not in {"NRCA5", "NRCA4" if mask.mask == "bar" else "NRCA2"}:
        return None
    if word not in {None, "NARROW", *NIRCAM_WAVELENGTHS}:
        return None
    usual = mask.filter if detector == mask.aperture[:5] else "F444W" if detector == "NRCA5" else "F210M"
    # A short-wave image behind a long-wave bar is named after the long-wave filter, and has a filter of its own.
    same_channel = word in NIRCAM_WAVELENGTHS and (NIRCAM_WAVELENGTHS[word] > 2.4) == (detector == "NRCA5")
    return replace(
        mask,
        aperture=aperture,
        subarray={"FULL_": "FULL", "400X256_": "SUB400X256ALWB"}.get(size, mask.subarray),
        filter=word if same_channel else usual,
    )


# Values that the rows of one table have in common.
_time_series = partial(Setup, exp_type="NRC_TSIMAGE", pupil="CLEAR", los=True, star_flux=1e-3)
_miri = partial(Setup, background=20.0, megajanskys=2.86, gain=3.1, read_noise=30.0, contrast=4e-4, separation=1.6)
_phase = partial(_miri, exp_type="MIR_4QPM", mask="4qpm", stages=2, block=True, star_flux=1.0)
_prism = partial(_miri, imaging=False, star_flux=0.01)
_niriss = partial(Setup, pupil="NRM", dithered="always", star_flux=0.1, megajanskys=0.9, gain=1.6)

_CORONAGRAPHY = (
    *("NRCA5_MASK335R", "NRCA5_MASK430R", "NRCA5_MASKLWB", "NRCA5_MASKLWB_F444W", "NRCA2_MASK210R", "NRCA4_MASKSWB"),
    *("NRCA2_MASK335R", "NRCA2_MASK430R", "NRCA4_400X256_MASKLWB", "NRCA5_400X256_MASKLWB", "NRCA5_MASK210R"),
    "NRCA5_MASKSWB",
)
_IMAGING = (
    *(setup for name in _CORONAGRAPHY if (setup := _behind_mask(name))),
    _time_series("NRCB5_SUB64P", "SUB64P", "F444W", "F335M", {"SUB32TATS": "NRCB5_TAPSIMG32"}),
    _time_series("NRCB1_SUB64P", "SUB64P", "F210M", "F335M", {"SUB32TATS": "NRCB5_TAPSIMG32"}),
    _time_series(
        "NRCA3_FP1_SUB8", "SUB8FP1A", "F212N", "F212N", {"SUB64FP1A": "NRCA3_FP1_SUB64"}, exp_type="NRC_IMAGE"
    ),
    _phase("MIRIM_MASK1065", "MASK1065", "F1065C", "FND", {"MASK1065": "MIRIM_TA1065"}, coronagraph="4QPM_1065"),
    _phase("MIRIM_MASK1140", "MASK1140", "F1140C", "FND", {"MASK1140": "MIRIM_TA1140"}, coronagraph="4QPM_1140"),
    _phase("MIRIM_MASK1550", "MASK1550", "F1550C", "FND", {"MASK1550": "MIRIM_TA1550"}, coronagraph="4QPM_1550"),
    _phase(
        *("MIRIM_MASKLYOT", "MASKLYOT", "F2300C", "FND", {"MASKLYOT": "MIRIM_TALYOT"}),
        exp_type="MIR_LYOT",
        coronagraph="LYOT_2300",
        mask="spot",
        separation=4.0,
        contrast=2e-3,
        star_flux=3.0,
    ),
    _niriss("NIS_AMI1", "SUB80", "F480M", "F480M", {"SUBTAAMI": "NIS_AMITA"}, exp_type="NIS_AMI"),
)
_SPECTRAL = (
    _time_series(
        *("NRCA5_GRISM64_F444W", "SUBGRISM64", "F444W", "F335M", {"SUB32TATSGRISM": "NRCA5_TAGRISMTS32"}),
        exp_type="NRC_TSGRISM",
        pupil="GRISMR",
        ta_pupil="CLEAR",
        imaging=False,
    ),
    _prism(
        *("MIRIM_SLITLESSPRISM", "SLITLESSPRISM", "P750L", "F560W", {"SLITLESSPRISM": "MIRIM_TASLITLESSPRISM"}),
        exp_type="MIR_LRS-SLITLESS",
        block=True,
    ),
    _prism(
        *("MIRIM_SLIT", "FULL", "P750L", "F560W", {"FULL": "MIRIM_TALRS"}),
        exp_type="MIR_LRS-FIXEDSLIT",
        confirm=("MIRIM_SLIT", "FULL"),
    ),
    _prism("MIRIFU_CHANNEL1A", "FULL", "P750L", "F560W", {"FULL": "MIRIM_TAMRS"}, exp_type="MIR_MRS"),
    _niriss(
        *("NIS_SUBSTRIP256", "SUBSTRIP256", "CLEAR", "F480M", {"SUBTASOSS": "NIS_SOSSTA"}),
        exp_type="NIS_SOSS",
        pupil="GR700XD",
        ta_pupil="NRM",
        imaging=False,
    ),
    _niriss(
        *("NRS_S1600A1_SLIT", "SUB2048", "F290LP", "CLEAR"),
        regions={"SUB32": "NRS_S1600A1_SLIT", "SUB2048": "NRS_S1600A1_SLIT"},
        exp_type="NRS_BRIGHTOBJ",
        pupil=None,
        grating="MIRROR",
        dithered="never",
        imaging=False,
        star_flux=0.01,
    ),
)

SETUPS = {setup.aperture: setup for setup in _IMAGING}
"""The modes with science images, by the SIAF name of the science aperture.

NIRCam coronagraphy on every detector and mask, time-series imaging and wavefront sensing; MIRI coronagraphy;
NIRISS AMI. The apertures of a NIRCam mask for one filter ("NRCA5_MASKLWB_F356W") and for the whole detector
("NRCA2_FULL_MASK335R") can be requested, too, but are not listed.
"""

ACQUISITIONS = {setup.aperture: setup for setup in _SPECTRAL}
"""The spectroscopic modes, by the SIAF name of the science aperture.

NIRCam grism time series; MIRI LRS with and without slit, and MRS; NIRISS SOSS; NIRSpec with the wide
aperture (WATA). A spectrum has no imaging WCS and no star to be placed, so a sample visit of these modes
consists of the acquisition and, on request, its confirmation image. `compute_offset` and `adjust_wcs` work on the
acquisition image itself and correct its WCS.
"""

_DEFAULTS = {"nircam": "NRCA5_MASK335R", "miri": "MIRIM_MASK1140"}


def find(mode: str, *, ta: str | None = None) -> Setup:
    """Look up a mode, and choose one of the subarrays of its acquisition; names as in `xta.datasets.make_visit`.

    Examples
    --------
    >>> find("miri").aperture
    'MIRIM_MASK1140'
    >>> find("NRCA5_MASK335R", ta="SUBFSA335R").ta_aperture
    'NRCA5_FSTAMASK335R'
    """
    name = _DEFAULTS.get(mode, mode)
    setup = SETUPS.get(name) or ACQUISITIONS.get(name) or _behind_mask(name)
    if setup is None:
        msg = f"there is no sample mode {mode!r}; use one of {', '.join([*_DEFAULTS, *SETUPS, *ACQUISITIONS])}"
        raise ArgumentError(msg)
    if ta is None:
        return setup
    if ta not in setup.regions:
        msg = f"{setup.aperture} is not acquired in subarray {ta!r}; use one of {', '.join(setup.regions)}"
        raise ArgumentError(msg)
    return replace(setup, regions={ta: setup.regions[ta]})
