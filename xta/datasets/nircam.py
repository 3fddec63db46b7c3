"""NIRCam modes of the sample visits."""

import re
from dataclasses import replace

from xta.datasets.mode import Setup

__all__ = ["IMAGING", "SPECTRAL", "derived"]

WAVELENGTHS = {
    **{"F182M": 1.85, "F187N": 1.87, "F200W": 1.99, "F210M": 2.09, "F212N": 2.12, "F250M": 2.5, "F277W": 2.76},
    **{"F300M": 2.99, "F335M": 3.36, "F356W": 3.57, "F360M": 3.62, "F410M": 4.08, "F430M": 4.28, "F444W": 4.4},
    **{"F460M": 4.63, "F480M": 4.82},
}
"""Of the filters that bar masks have apertures for [micron]."""

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
    ta_filter="F335M",
    ta_wavelength=3.36,
    exp_type="NRC_CORON",
    pupil="MASKRND",
    other_ta=(("NRCA5_FSTAMASK335R", "SUBFSA335R"),),
    dithered="may be",
)
_ROUND_430 = replace(
    _ROUND,
    aperture="NRCA5_MASK430R",
    subarray="SUB320A430R",
    coronagraph="MASKA430R",
    mask_size=0.81,
    filter="F460M",
    wavelength=4.63,
    ta_aperture="NRCA5_TAMASK430R",
    ta_subarray="SUBNDA430R",
    other_ta=(("NRCA5_FSTAMASK430R", "SUBFSA430R"),),
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
    other_ta=(("NRCA5_TAMASKLWBL", "SUBNDALWBL"), ("NRCA5_FSTAMASKLWB", "SUBFSALWB")),
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
    other_ta=(("NRCA2_FSTAMASK210R", "SUBFSA210R"),),
)
_SHORT_BAR = replace(
    _SHORT,
    aperture="NRCA4_MASKSWB",
    subarray="SUB640ASWB",
    coronagraph="MASKASWB",
    mask="bar",
    mask_size=0.26,
    ta_aperture="NRCA4_TAMASKSWB",
    ta_subarray="SUBNDASWBL",
    other_ta=(("NRCA4_TAMASKSWBS", "SUBNDASWBS"), ("NRCA4_FSTAMASKSWB", "SUBFSASWB")),
    pupil="MASKBAR",
)


def _in_filter(setup: Setup, aperture: str, name: str) -> Setup:
    return replace(setup, aperture=aperture, filter=name, wavelength=WAVELENGTHS[name])


# A mask is seen by both channels; the star is acquired in the one that the mask is meant for.
_OTHER_CHANNEL = (
    _in_filter(_ROUND, "NRCA2_MASK335R", "F210M"),
    _in_filter(_ROUND_430, "NRCA2_MASK430R", "F210M"),
    replace(_in_filter(_BAR, "NRCA4_400X256_MASKLWB", "F210M"), subarray="SUB400X256ALWB"),
    replace(_BAR, aperture="NRCA5_400X256_MASKLWB", subarray="SUB400X256ALWB"),
    _in_filter(_SHORT, "NRCA5_MASK210R", "F444W"),
    _in_filter(_SHORT_BAR, "NRCA5_MASKSWB", "F444W"),
)
_TIME_SERIES = replace(
    _ROUND,
    aperture="NRCB5_SUB64P",
    subarray="SUB64P",
    coronagraph="NONE",
    mask="none",
    mask_size=0.0,
    pupil="CLEAR",
    ta_aperture="NRCB5_TAPSIMG32",
    ta_subarray="SUB32TATS",
    exp_type="NRC_TSIMAGE",
    other_ta=(),
    dithered="never",
    los=True,
    star_flux=1e-3,
)
_WAVEFRONT = replace(
    _TIME_SERIES,
    aperture="NRCA3_FP1_SUB8",
    subarray="SUB8FP1A",
    filter="F212N",
    wavelength=2.12,
    ta_aperture="NRCA3_FP1_SUB64",
    ta_subarray="SUB64FP1A",
    ta_filter="F212N",
    ta_wavelength=2.12,
    exp_type="NRC_IMAGE",
)

IMAGING = (
    _ROUND,
    _ROUND_430,
    _BAR,
    _in_filter(_BAR, "NRCA5_MASKLWB_F444W", "F444W"),
    _SHORT,
    _SHORT_BAR,
    *_OTHER_CHANNEL,
    _TIME_SERIES,
    _in_filter(_TIME_SERIES, "NRCB1_SUB64P", "F210M"),
    _WAVEFRONT,
)
"""Coronagraphy on every detector and mask, time-series imaging and wavefront sensing."""

SPECTRAL = (
    replace(
        _TIME_SERIES,
        aperture="NRCA5_GRISM64_F444W",
        subarray="SUBGRISM64",
        filter="F444W",
        pupil="GRISMR",
        ta_pupil="CLEAR",
        ta_aperture="NRCA5_TAGRISMTS32",
        ta_subarray="SUB32TATSGRISM",
        exp_type="NRC_TSGRISM",
        imaging=False,
    ),
)
"""Grism time series."""


def derived(aperture: str) -> Setup | None:
    """Make the setup of a coronagraphic aperture for one filter, or of the whole detector, from that of its mask.

    Parameters
    ----------
    aperture : str
        Such as "NRCA4_MASKSWB_F187N", "NRCA5_MASKLWB_NARROW" or "NRCA2_FULL_MASK335R".

    Returns
    -------
    Setup or None
        None where the name has no such form.
    """
    match = re.fullmatch(r"(NRCA\d)_(FULL_|400X256_)?(MASK\w+?)(?:_(F\d{3}[WMN]|NARROW))?", aperture)
    if not match:
        return None
    detector, size, mask, word = match.groups()
    plain = f"{detector}_{'' if size == 'FULL_' else size or ''}{mask}"
    names = (plain, f"{detector}_400X256_{mask}")
    base = next((setup for name in names for setup in IMAGING if setup.aperture == name), None)
    if base is None or (word not in {None, "NARROW"} and word not in WAVELENGTHS):
        return None
    found = replace(base, aperture=aperture, subarray="FULL" if size == "FULL_" else base.subarray)
    # A short-wave image behind a long-wave bar is named by the long-wave filter, and has one of its own.
    if word in WAVELENGTHS and (WAVELENGTHS[word] > 2.4) == (base.wavelength > 2.4):
        return _in_filter(found, aperture, word)
    return found
