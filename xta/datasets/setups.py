"""The modes of the sample visits: masks, acquisition regions, subarrays, filters, brightness.

Names are those of the SIAF and of the JWST keyword dictionary. Brightness, throughput and noise are round
numbers of the right order; they make the pixels look right and enter no position.
"""

from dataclasses import replace

from xta.datasets import miri, nircam, others
from xta.datasets.mode import Setup
from xta.errors import ArgumentError

__all__ = ["ACQUISITIONS", "SETUPS", "Setup", "find"]

SETUPS = {setup.aperture: setup for setup in (*nircam.IMAGING, *miri.IMAGING, *others.IMAGING)}
"""The modes with science images, by the SIAF name of the science aperture.

NIRCam coronagraphy on every detector and mask, time-series imaging and wavefront sensing; MIRI coronagraphy;
NIRISS AMI. The apertures of a NIRCam mask for one filter ("NRCA5_MASKLWB_F356W") and for the whole detector
("NRCA2_FULL_MASK335R") can be asked for, too, and are not listed.
"""

ACQUISITIONS = {setup.aperture: setup for setup in (*nircam.SPECTRAL, *miri.SPECTRAL, *others.SPECTRAL)}
"""The spectroscopic modes, by the SIAF name of the science aperture.

NIRCam grism time series; MIRI LRS with and without slit, and MRS; NIRISS SOSS; NIRSpec with the wide
aperture (WATA). A spectrum has no imaging WCS, and no star in it to be placed: a sample visit of these modes
is the acquisition and, if asked for, its confirmation image. `compute_offset` and `adjust_wcs` work on the
acquisition image itself and correct its WCS.
"""

_DEFAULTS = {"nircam": "NRCA5_MASK335R", "miri": "MIRIM_MASK1140"}


def find(mode: str, *, ta: str | None = None) -> Setup:
    """Look up a mode.

    Parameters
    ----------
    mode : str
        A key of `SETUPS` or `ACQUISITIONS`, or "nircam" or "miri" for the usual one of that instrument.
    ta : str, optional
        Subarray of the acquisition, where the mode has several, such as "SUBFSA335R".

    Returns
    -------
    Setup

    Raises
    ------
    ArgumentError
        If there is no such mode, or it has no such acquisition.

    Examples
    --------
    >>> find("miri").aperture
    'MIRIM_MASK1140'
    >>> find("NRCA5_MASK335R", ta="SUBFSA335R").ta_aperture
    'NRCA5_FSTAMASK335R'
    """
    name = _DEFAULTS.get(mode, mode)
    setup = SETUPS.get(name) or ACQUISITIONS.get(name) or nircam.derived(name)
    if setup is None:
        known = ", ".join([*_DEFAULTS, *SETUPS, *ACQUISITIONS])
        msg = f"no sample mode {mode!r}; there are {known}"
        raise ArgumentError(msg)
    if ta is None:
        return setup
    choices = {subarray: aperture for aperture, subarray in ((setup.ta_aperture, setup.ta_subarray), *setup.other_ta)}
    if ta not in choices:
        msg = f"{setup.aperture} is not acquired in subarray {ta!r}; it can be in {', '.join(choices)}"
        raise ArgumentError(msg)
    return replace(setup, ta_aperture=choices[ta], ta_subarray=ta)
