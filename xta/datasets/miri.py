"""MIRI modes of the sample visits."""

from dataclasses import replace

from xta.datasets.mode import Setup

__all__ = ["IMAGING", "SPECTRAL"]

_PHASE = Setup(
    aperture="MIRIM_MASK1140",
    subarray="MASK1140",
    coronagraph="4QPM_1140",
    mask="4qpm",
    filter="F1140C",
    wavelength=11.3,
    ta_aperture="MIRIM_TA1140",
    ta_subarray="MASK1140",
    ta_filter="FND",
    ta_wavelength=12.0,
    exp_type="MIR_4QPM",
    stages=2,
    block=True,
    star_flux=1.0,
    contrast=4e-4,
    separation=1.6,
    background=20.0,
    megajanskys=2.86,
    gain=3.1,
    read_noise=30.0,
)
_SLITLESS = replace(
    _PHASE,
    aperture="MIRIM_SLITLESSPRISM",
    subarray="SLITLESSPRISM",
    coronagraph="NONE",
    mask="none",
    filter="P750L",
    wavelength=7.5,
    ta_aperture="MIRIM_TASLITLESSPRISM",
    ta_subarray="SLITLESSPRISM",
    ta_filter="F560W",
    ta_wavelength=5.6,
    exp_type="MIR_LRS-SLITLESS",
    stages=1,
    imaging=False,
    star_flux=0.01,
)

IMAGING = (
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
"""Coronagraphy."""

SPECTRAL = (
    _SLITLESS,
    replace(
        _SLITLESS,
        aperture="MIRIM_SLIT",
        subarray="FULL",
        ta_aperture="MIRIM_TALRS",
        ta_subarray="FULL",
        exp_type="MIR_LRS-FIXEDSLIT",
        block=False,
        confirm=("MIRIM_SLIT", "FULL"),
    ),
    replace(
        _SLITLESS,
        aperture="MIRIFU_CHANNEL1A",
        subarray="FULL",
        ta_aperture="MIRIM_TAMRS",
        ta_subarray="FULL",
        exp_type="MIR_MRS",
        block=False,
    ),
)
"""Low- and medium-resolution spectroscopy."""
