"""Apertures, frames, readout rules and reference points of the SIAF (Science Instrument Aperture File).

Frames are those of the SIAF [1]_: ``det`` (detector, 1-based), ``sci`` (an aperture's own readout in DMS
orientation, 1-based), ``idl`` (Ideal, arcsec) and ``tel`` (V2, V3, arcsec). What the rest of xta calls a
*pixel* is the 0-based pixel of a readout, ``sci - 1``: what numpy and the GWCS of a product take. The
conversion between the two bases happens in this module and nowhere else.

The SIAF itself is read by pysiaf, which bundles the releases (PRDs) that were onboard over the years.

References
----------
.. [1] SIAF definitions, STScI JWST-STScI-001550; pysiaf, https://pysiaf.readthedocs.io
"""

import logging
import re
import threading
from functools import cache
from pathlib import Path
from typing import Any

from xta.errors import SiafError

__all__ = [
    "NIRCAM_TA_DITHERS",
    "aperture",
    "convert",
    "det_to_pixel",
    "intended_pixel",
    "pixel_to_det",
    "readout",
    "reference_pixel",
    "release",
    "siaf",
]

INSTRUMENTS = {name.upper(): name for name in ("NIRCam", "MIRI", "NIRISS", "NIRSpec", "FGS")}

NIRCAM_TA_DITHERS = ((0.0, 0.0), (2.0, 4.0), (5.0, -1.0))
"""Moves of the star in the TA exposures 1, 2, 3 of a NIRCam acquisition [detector pixels, SIAF Det axes].

The values of the NIRCam acquisition template, taken as given: no document that states them was at hand.
"""

_import_lock = threading.Lock()


@cache
def _pysiaf() -> Any:
    """Import pysiaf without its look at GitHub.

    At import pysiaf asks for a web page, without a time-out, to learn whether it is the newest release.
    That would make every analysis wait for a network it must not need.
    """
    from unittest import mock

    logger = logging.getLogger("pysiaf")
    with _import_lock, mock.patch("requests.get", side_effect=OSError("offline")):
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            import pysiaf
        finally:
            logger.setLevel(level)
    return pysiaf


@cache
def _releases() -> dict[str, Path]:
    """List the PRD releases that pysiaf bundles, oldest first, with their folders of SIAF XML."""
    root = Path(str(_pysiaf().__file__)).parent / "prd_data" / "JWST"
    flight = (path for path in root.iterdir() if re.fullmatch(r"PRDOPSSOC-\d{3}(-\d{3})?", path.name))
    return {path.name: path / "SIAFXML" / "SIAFXML" for path in sorted(flight)}


@cache
def release(prd: str | None = None) -> str:
    """Name the bundled PRD release to use for a product made with release `prd`.

    Parameters
    ----------
    prd : str, optional
        The ``PRD_VER`` of a product, such as "PRDOPSSOC-058". None asks for the newest.

    Returns
    -------
    str
        `prd` itself where pysiaf bundles it, else the latest bundled release before it (the SIAF did not
        change in the releases that pysiaf leaves out), else, for one older than all, the oldest.

    Examples
    --------
    >>> release("PRDOPSSOC-058"), release("PRDOPSSOC-060")
    ('PRDOPSSOC-058', 'PRDOPSSOC-059')
    """
    names = list(_releases())
    if not prd:
        return names[-1]
    # A name like PRDOPSSOC-058 sorts as text; anything else cannot be placed and means the newest.
    if not re.fullmatch(r"PRDOPSSOC-\d{3}(-\d{3})?", prd):
        return names[-1]
    return next((name for name in reversed(names) if name <= prd), names[0])


@cache
def _load(instrument: str, prd: str) -> Any:
    return _pysiaf().Siaf(instrument, basepath=str(_releases()[prd]))


def siaf(instrument: str, prd: str | None = None) -> Any:
    """Read the SIAF of an instrument, once per process and release.

    Parameters
    ----------
    instrument : str
        As in the keyword INSTRUME, any case.
    prd : str, optional
        Release to use, see `release`.

    Returns
    -------
    pysiaf.Siaf

    Raises
    ------
    SiafError
        If there is no such instrument.
    """
    try:
        name = INSTRUMENTS[instrument.upper()]
    except KeyError:
        msg = f"no SIAF for instrument {instrument!r}; there is one for {', '.join(INSTRUMENTS.values())}"
        raise SiafError(msg) from None
    return _load(name, release(prd))


def aperture(instrument: str, name: str, prd: str | None = None) -> Any:
    """Look up one aperture.

    Parameters
    ----------
    instrument : str
        As in the keyword INSTRUME.
    name : str
        As in the keyword APERNAME, such as "NRCA5_MASK335R".
    prd : str, optional
        Release to use, see `release`.

    Returns
    -------
    pysiaf.JwstAperture

    Raises
    ------
    SiafError
        If the instrument has no aperture of that name in that release.
    """
    apertures = siaf(instrument, prd).apertures
    try:
        return apertures[name]
    except KeyError:
        msg = (
            f"aperture {name!r} is not among the {len(apertures)} of {instrument} in {release(prd)}; "
            "check the APERNAME keyword of the file"
        )
        raise SiafError(msg) from None


def readout(instrument: str, apername: str, subarray: str | None = None, prd: str | None = None) -> Any:
    """Find the aperture whose ``sci`` frame is the pixel array of an exposure.

    For MIRI the aperture of an acquisition is a small region inside a larger readout, or one (the slit)
    without pixels of its own, so the readout follows from SUBARRAY. Elsewhere it is APERNAME's, or the whole
    detector where SUBARRAY says FULL.

    Parameters
    ----------
    instrument, apername : str
        As in the keywords INSTRUME and APERNAME.
    subarray : str, optional
        As in the keyword SUBARRAY.
    prd : str, optional
        Release to use, see `release`.

    Returns
    -------
    pysiaf.JwstAperture

    Examples
    --------
    >>> readout("MIRI", "MIRIM_TA1550_CUR", "MASK1550").AperName
    'MIRIM_MASK1550'
    >>> readout("NIRCAM", "NRCA5_TAMASK335R", "SUB64A335R").AperName
    'NRCA5_TAMASK335R'
    """
    name = apername
    if instrument.upper() == "MIRI" and subarray:
        if subarray == "FULL":
            name = "MIRIM_FULL"
        elif subarray == "SLITLESSPRISM" or subarray.startswith("MASK"):
            name = f"MIRIM_{subarray}"
    elif instrument.upper() == "NIRCAM" and subarray == "FULL":
        name = f"{apername.partition('_')[0]}_FULL"
    found = aperture(instrument, name, prd)
    if found.XSciRef is None and instrument.upper() == "MIRI":
        found = aperture(instrument, "MIRIM_FULL", prd)
    return found


def det_to_pixel(ap: Any, x_det: Any, y_det: Any) -> tuple[Any, Any]:
    """Convert SIAF Det coordinates to the 0-based pixel of a readout.

    Parameters
    ----------
    ap : pysiaf.JwstAperture
        The readout, see `readout`.
    x_det, y_det : float or array
        1-based full-detector coordinates, as OSS logs them [pixel].

    Returns
    -------
    x, y : float or array
        0-based pixel of the readout.

    Notes
    -----
    Exact: a shift and, by detector, sign flips (SIAF DetSciParity and DetSciYAngle).

    Examples
    --------
    >>> ta = readout("NIRCAM", "NRCA5_TAMASK335R")
    >>> x, y = det_to_pixel(ta, 1557.8437, 1548.52431)
    >>> round(x, 4), round(y, 5)
    (32.1563, 29.52431)
    """
    x_sci, y_sci = ap.det_to_sci(x_det, y_det)
    return x_sci - 1, y_sci - 1


def pixel_to_det(ap: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """Convert the 0-based pixel of a readout to SIAF Det coordinates; the inverse of `det_to_pixel`."""
    x_det, y_det = ap.sci_to_det(x + 1, y + 1)
    return x_det, y_det


def convert(ap: Any, x: Any, y: Any, from_frame: str, to_frame: str) -> tuple[Any, Any]:
    """Convert between the frames "pixel" (0-based readout), "det", "sci", "idl" and "tel" of an aperture.

    Parameters
    ----------
    ap : pysiaf.JwstAperture
    x, y : float or array
        In the unit of `from_frame`: pixel for "pixel", "det", "sci"; arcsec for "idl", "tel".
    from_frame, to_frame : str

    Returns
    -------
    x, y : float or array
        In the unit of `to_frame`.
    """
    if from_frame == "pixel":
        x, y, from_frame = x + 1, y + 1, "sci"
    x, y = ap.convert(x, y, from_frame, "sci" if to_frame == "pixel" else to_frame)
    return (x - 1, y - 1) if to_frame == "pixel" else (x, y)


def reference_pixel(ap: Any, readout_ap: Any) -> tuple[float, float]:
    """Give the reference point of an aperture as a 0-based pixel of a readout of the same detector.

    For a coronagraphic science aperture this is the centre of its mask, as far as that SIAF release knows.

    Parameters
    ----------
    ap : pysiaf.JwstAperture
        The aperture whose reference point is wanted.
    readout_ap : pysiaf.JwstAperture
        The readout in whose pixels it is wanted; may be `ap` itself.

    Returns
    -------
    x, y : float
        0-based pixel of `readout_ap`.

    Raises
    ------
    SiafError
        If the aperture has no reference point in detector pixels (a slit, for instance).
    """
    if ap.XDetRef is None:
        msg = f"aperture {ap.AperName} has no reference point in detector pixels in the SIAF"
        raise SiafError(msg)
    x, y = det_to_pixel(readout_ap, ap.XDetRef, ap.YDetRef)
    return float(x), float(y)


def intended_pixel(
    instrument: str,
    apername: str,
    subarray: str | None = None,
    *,
    exposure: int = 1,
    prd: str | None = None,
) -> tuple[float, float]:
    """Tell where the star of a TA exposure was meant to be.

    Parameters
    ----------
    instrument, apername, subarray : str
        As in the keywords INSTRUME, APERNAME, SUBARRAY.
    exposure : int
        1-based number of the TA exposure; NIRCam moves the star by `NIRCAM_TA_DITHERS` between them.
    prd : str, optional
        Release to use, see `release`.

    Returns
    -------
    x, y : float
        0-based pixel of the exposure's readout.

    Notes
    -----
    The move is applied in Det axes and taken through ``det_to_sci``, so the sign that it has in the
    readout of each detector comes from the SIAF.

    Examples
    --------
    >>> intended_pixel("NIRCAM", "NRCA5_TAMASK335R")
    (31.5, 31.5)
    >>> intended_pixel("NIRCAM", "NRCA5_TAMASK335R", exposure=2)  # Det x runs against sci x on NRCA5
    (29.5, 35.5)
    """
    ap = aperture(instrument, apername, prd)
    home = readout(instrument, apername, subarray, prd)
    if instrument.upper() != "NIRCAM" or not 1 < exposure <= len(NIRCAM_TA_DITHERS):
        return reference_pixel(ap, home)
    x, y = reference_pixel(ap, home)
    x_det, y_det = pixel_to_det(home, x, y)
    dx, dy = NIRCAM_TA_DITHERS[exposure - 1]
    x, y = det_to_pixel(home, x_det + dx, y_det + dy)
    return float(x), float(y)
