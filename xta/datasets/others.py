"""NIRISS and NIRSpec modes of the sample visits."""

from dataclasses import replace

from xta.datasets.mode import Setup

__all__ = ["IMAGING", "SPECTRAL"]

_AMI = Setup(
    aperture="NIS_AMI1",
    subarray="SUB80",
    filter="F480M",
    wavelength=4.82,
    ta_aperture="NIS_AMITA",
    ta_subarray="SUBTAAMI",
    ta_filter="F480M",
    ta_wavelength=4.82,
    exp_type="NIS_AMI",
    pupil="NRM",
    dithered="always",
    star_flux=0.1,
    megajanskys=0.9,
    gain=1.6,
)
_SOSS = replace(
    _AMI,
    aperture="NIS_SUBSTRIP256",
    subarray="SUBSTRIP256",
    filter="CLEAR",
    pupil="GR700XD",
    ta_pupil="NRM",
    ta_aperture="NIS_SOSSTA",
    ta_subarray="SUBTASOSS",
    exp_type="NIS_SOSS",
    imaging=False,
)
_WIDE = replace(
    _AMI,
    aperture="NRS_S1600A1_SLIT",
    subarray="SUB2048",
    filter="F290LP",
    pupil=None,
    grating="MIRROR",
    ta_aperture="NRS_S1600A1_SLIT",
    ta_subarray="SUB32",
    ta_filter="CLEAR",
    ta_wavelength=2.0,
    exp_type="NRS_BRIGHTOBJ",
    other_ta=(("NRS_S1600A1_SLIT", "SUB2048"),),
    dithered="never",
    imaging=False,
    star_flux=0.01,
)

IMAGING = (_AMI,)
"""Aperture-masking interferometry."""

SPECTRAL = (_SOSS, _WIDE)
"""Single-object slitless spectroscopy of NIRISS; bright objects in the wide aperture of NIRSpec."""
