"""Read apertures, frames, readouts and reference points of the SIAF (Science Instrument Aperture File).

Frames are those of the SIAF [1]_: ``det`` (detector, 1-based), ``sci`` (an aperture's own readout in DMS
orientation, 1-based), ``idl`` (Ideal, arcsec) and ``tel`` (V2, V3, arcsec). Elsewhere in xta, a *pixel* is the
0-based pixel of a readout, ``sci - 1``, as in numpy and in the GWCS of a product. Only this module converts between
0-based and 1-based pixels.

The SIAF itself is that of pysiaf, see `xta.geometry.prd`.

References
----------
.. [1] SIAF definitions, STScI JWST-STScI-001550; pysiaf, https://pysiaf.readthedocs.io
"""

import copy
import math
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from xta import model
from xta.errors import SiafError
from xta.geometry.prd import Aperture, load, names, read, release, releases
from xta.geometry.wcs import CROSS

if TYPE_CHECKING:
    from pysiaf import Siaf

__all__ = [
    "NIRCAM_TA_DITHERS",
    "NIRISS_TA_DITHERS",
    "NIRSPEC_SUBARRAYS",
    "aperture",
    "apertures",
    "convert",
    "det_to_pixel",
    "det_to_sci",
    "intended_pixel",
    "oss_to_det",
    "pixel_to_det",
    "readout",
    "reference_pixel",
    "release",
    "releases",
    "siaf",
    "tel_to_pixel",
]

Number = TypeVar("Number", float, NDArray[np.float64])

INSTRUMENTS = {name.upper(): name for name in (*model.INSTRUMENTS.values(), "FGS")}

NIRCAM_TA_DITHERS = ((0.0, 0.0), (2.0, 4.0), (5.0, -1.0))
"""Moves of the star in the TA exposures 1, 2, 3 of a NIRCam acquisition [detector pixels, SIAF Det axes].

These are the values of the NIRCam acquisition template; no document with them was available.
"""

NIRISS_TA_DITHERS = ((0.0, 0.0), (4.0, 2.0), (-1.0, 5.0))
"""The same for NIRISS, which always takes three.

Source: misc_jwst, module ``target_acq_tools`` (M. Perrin), https://github.com/mperrin/misc_jwst, which takes
the axes to be those of SIAF Det and leaves that to be checked. No real image has shown it here.
"""

NIRSPEC_SUBARRAYS = {"SUB32": (1399, 975, 32, 32), "SUB2048": (1, 975, 2048, 32)}
"""First column and row (1-based) and size of the subarrays in which NIRSpec acquires a star in its wide aperture.

NIRSpec's SIAF has no subarrays. Source: misc_jwst, module ``target_acq_tools`` (M. Perrin),
https://github.com/mperrin/misc_jwst, which gives SUBSTRT1/2 of real images. `xta.attach` checks the header's.
"""


def siaf(instrument: str, prd: str | None = None) -> "Siaf":
    """Read the whole SIAF of an instrument (INSTRUME, any case) by pysiaf, once per process and release."""
    return load(_instrument(instrument), release(prd))


def _instrument(instrument: str) -> str:
    try:
        return INSTRUMENTS[instrument.upper()]
    except KeyError:
        msg = f"no SIAF for instrument {instrument!r}; there is one for {', '.join(INSTRUMENTS.values())}"
        raise SiafError(msg) from None


def aperture(instrument: str, name: str, prd: str | None = None) -> Aperture:
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
    Aperture
        An object with the values and methods of `pysiaf.JwstAperture`; for NIRSpec it is pysiaf's own.

    Raises
    ------
    SiafError
        If the instrument has no aperture of that name in that release.
    """
    found = read(_instrument(instrument), release(prd), name)
    if found is None:
        msg = (
            f"aperture {name!r} is not among the {len(apertures(instrument, prd))} of {instrument} in {release(prd)}; "
            "check the APERNAME keyword of the file"
        )
        raise SiafError(msg)
    if instrument.upper() == "NIRSPEC":  # its transforms, two polynomials in a row, are left to pysiaf
        return cast("Aperture", siaf(instrument, prd).apertures[name])
    return found


def apertures(instrument: str, prd: str | None = None) -> tuple[str, ...]:
    """List the names of the apertures of an instrument in a release."""
    return names(_instrument(instrument), release(prd))


def readout(
    instrument: str,
    apername: str,
    subarray: str | None = None,
    prd: str | None = None,
    *,
    detector: str | None = None,
) -> Aperture:
    """Find the aperture whose ``sci`` frame is the pixel array of an exposure.

    For MIRI the aperture of an acquisition is a small region inside a larger readout, or a slit without its own
    pixels, so the readout is given by SUBARRAY. For NIRSpec it is a slit on a detector, and the readout is a cutout
    of the detector. Otherwise it is the aperture of APERNAME. If SUBARRAY is FULL it is the whole detector: that of
    APERNAME if it is one (behind the wedge of a coronagraph, for instance), or else the ordinary one.

    Parameters
    ----------
    instrument, apername : str
        As in the keywords INSTRUME and APERNAME.
    subarray : str, optional
        As in the keyword SUBARRAY.
    prd : str, optional
        Release to use, see `release`.
    detector : str, optional
        As in the keyword DETECTOR, for an aperture of NIRSpec that lies on both of its detectors.

    Returns
    -------
    Aperture

    Raises
    ------
    SiafError
        If there is no such aperture, or the pixels of a NIRSpec subarray are not known.

    Examples
    --------
    >>> readout("MIRI", "MIRIM_TA1550_CUR", "MASK1550").AperName
    'MIRIM_MASK1550'
    >>> readout("NIRCAM", "NRCA5_TAMASK335R", "SUB64A335R").AperName
    'NRCA5_TAMASK335R'
    """
    if instrument.upper() == "NIRSPEC":
        return _nirspec_readout(apername, subarray, release(prd), detector)
    ap = aperture(instrument, apername, prd)
    if instrument.upper() == "MIRI" and f"MIRIM_{subarray}" in apertures(instrument, prd):
        ap = aperture(instrument, f"MIRIM_{subarray}", prd) if ap.AperType != "FULLSCA" else ap
    if (subarray == "FULL" and ap.AperType != "FULLSCA") or ap.XSciRef is None:
        whole = {"MIRI": "MIRIM_FULL", "NIRISS": "NIS_CEN"}.get(instrument.upper(), f"{apername[:5]}_FULL")
        return aperture(instrument, whole, prd)
    return ap


@cache
def _nirspec_readout(apername: str, subarray: str | None, prd: str, detector: str | None) -> Aperture:
    """Cut the readout of a NIRSpec exposure out of its detector, whose distortion is that of the whole."""
    ap = aperture("NIRSPEC", apername, prd)
    name = detector or (apername if ap.AperType != "SLIT" else ap.DDCName)[:4]
    if name not in {"NRS1", "NRS2"}:
        msg = f"aperture {apername} of NIRSpec is on both detectors; give detector= (keyword DETECTOR)"
        raise SiafError(msg)
    whole = aperture("NIRSPEC", f"{name}_FULL", prd)
    if subarray in {None, "FULL"}:
        return whole
    if name != "NRS1" or subarray not in NIRSPEC_SUBARRAYS:
        msg = (
            f"the pixels of subarray {subarray} of {name} are not in the SIAF and not known otherwise; "
            f"use FULL or, on NRS1, {', '.join(NIRSPEC_SUBARRAYS)}"
        )
        raise SiafError(msg)
    x0, y0, nx, ny = NIRSPEC_SUBARRAYS[subarray]
    part: Any = copy.copy(whole)
    part.AperName, part.XSciSize, part.YSciSize = f"NRS1_{subarray}", nx, ny
    part.XSciRef, part.YSciRef = whole.XSciRef - x0 + 1, whole.YSciRef - y0 + 1
    return cast("Aperture", part)


def det_to_pixel(ap: Aperture, x_det: Number, y_det: Number) -> tuple[Number, Number]:
    """Convert SIAF Det coordinates to the 0-based pixel of a readout.

    Parameters
    ----------
    ap : Aperture
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
    x_sci, y_sci = det_to_sci(ap, x_det, y_det)
    return x_sci - 1, y_sci - 1


def pixel_to_det(ap: Aperture, x: Number, y: Number) -> tuple[Number, Number]:
    """Convert the 0-based pixel of a readout to SIAF Det coordinates; the inverse of `det_to_pixel`."""
    return sci_to_det(ap, x + 1, y + 1)


def det_to_sci(ap: Aperture, x: Number, y: Number) -> tuple[Number, Number]:
    """Convert Det to Sci coordinates [pixel, both 1-based] as pysiaf does, to the last bit."""
    if not _is_plain(ap):
        x, y = ap.det_to_sci(x, y)
        return x, y
    cosine, sine, parity = _detector_axes(ap)
    dx, dy = x - ap.XDetRef, y - ap.YDetRef
    return dx * (parity * cosine) + dy * -sine + ap.XSciRef, dx * (parity * sine) + dy * cosine + ap.YSciRef


def sci_to_det(ap: Aperture, x: Number, y: Number) -> tuple[Number, Number]:
    """Convert Sci to Det coordinates; the inverse of `det_to_sci`."""
    if not _is_plain(ap):
        x, y = ap.sci_to_det(x, y)
        return x, y
    cosine, sine, parity = _detector_axes(ap)
    dx, dy = x - ap.XSciRef, y - ap.YSciRef
    return dx * (parity * cosine) + dy * (parity * sine) + ap.XDetRef, dx * -sine + dy * cosine + ap.YDetRef


def _is_plain(ap: Aperture) -> bool:
    """Return True if an aperture has the transforms of pysiaf's base class, unlike those of NIRSpec."""
    return type(ap).__name__ in {"Aperture", "JwstAperture"}


def _detector_axes(ap: Aperture) -> tuple[float, float, int]:
    """Cosine and sine of the angle from Det to Sci, and the parity."""
    angle = math.radians(ap.DetSciYAngle)
    return math.cos(angle), math.sin(angle), ap.DetSciParity


def oss_to_det(name: str, x_det: float, y_det: float) -> tuple[float, float]:
    """Convert a logged "detector coord" to SIAF Det [1-based pixel]: NIRISS and NIRSpec have column and row exchanged.

    `name` is that of the detector, the aperture or the instrument. These detectors read out along their y axis (keyword
    FASTAXIS is -2 and 2), which is the column of the log. For NIRISS a real centroid shows it. For NIRSpec it follows
    from FASTAXIS and from misc_jwst, module ``target_acq_tools`` (M. Perrin), https://github.com/mperrin/misc_jwst.
    """
    exchanged = name.upper().startswith(("NIS", "NIRISS", "NRS", "NIRSPEC"))
    return (y_det, x_det) if exchanged else (x_det, y_det)


def convert(ap: Aperture, x: Number, y: Number, from_frame: str, to_frame: str) -> tuple[Number, Number]:
    """Convert between the frames "pixel" (0-based readout), "det", "sci", "idl" and "tel" of an aperture.

    Parameters
    ----------
    ap : Aperture
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
    goal = "sci" if to_frame == "pixel" else to_frame
    # NIRSpec has two polynomials in a row, slits have none; pysiaf also refuses other frames.
    plain = _is_plain(ap) and ap.Sci2IdlDeg is not None and {from_frame, goal} <= _FRAMES
    x, y = _convert(ap, x, y, from_frame, goal) if plain else ap.convert(x, y, from_frame, goal)
    return (x - 1, y - 1) if to_frame == "pixel" else (x, y)


_FRAMES = {"det", "sci", "idl", "tel"}


def _convert(ap: Aperture, x: Number, y: Number, from_frame: str, to_frame: str) -> tuple[Number, Number]:
    """Convert as pysiaf does (planar between "idl" and "tel"), which builds models for every call: 100 times slower."""
    # The frames lie in a row, det, sci, idl, tel: walk from the first one to the last, either way. Between sci and
    # idl are the polynomials, between idl and tel a parity, a rotation and a shift.
    if from_frame == "det":
        (x, y), from_frame = det_to_sci(ap, x, y), "sci"
    goal = "sci" if to_frame == "det" else to_frame
    cosine, sine = math.cos(math.radians(ap.V3IdlYAngle)), math.sin(math.radians(ap.V3IdlYAngle))
    if from_frame == "sci" and goal != "sci":
        dx, dy, from_frame = x - ap.XSciRef, y - ap.YSciRef, "idl"
        x, y = _polynomial(ap, "Sci2IdlX", dx, dy), _polynomial(ap, "Sci2IdlY", dx, dy)
    if from_frame == "idl" and goal == "tel":
        dx = ap.VIdlParity * x
        x, y, from_frame = ap.V2Ref + dx * cosine + y * sine, ap.V3Ref - dx * sine + y * cosine, "tel"
    if from_frame == "tel" and goal != "tel":
        dx, dy, from_frame = x - ap.V2Ref, y - ap.V3Ref, "idl"
        x, y = ap.VIdlParity * (dx * cosine - dy * sine), dx * sine + dy * cosine
    if from_frame == "idl" and goal == "sci":
        x, y = ap.XSciRef + _polynomial(ap, "Idl2SciX", x, y), ap.YSciRef + _polynomial(ap, "Idl2SciY", x, y)
    return sci_to_det(ap, x, y) if to_frame == "det" else (x, y)


def _polynomial(ap: Aperture, name: str, x: Number, y: Number) -> Number:
    """Evaluate one polynomial of an aperture: coefficient ij multiplies x ** (i - j) * y ** j."""
    total = 0.0 * x
    for i in range(int(ap.Sci2IdlDeg) + 1):
        for j in range(i + 1):
            total = total + (getattr(ap, f"{name}{i}{j}") or 0.0) * x ** (i - j) * y**j
    return total


def reference_pixel(ap: Aperture, readout_ap: Aperture) -> tuple[float, float]:
    """Compute the reference point of an aperture as a 0-based pixel of a readout of the same detector.

    For a coronagraphic science aperture this is the center of its mask in that SIAF release.

    Parameters
    ----------
    ap : Aperture
        The aperture whose reference point is wanted.
    readout_ap : Aperture
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


def tel_to_pixel(readout_ap: Aperture, v2: float, v3: float) -> tuple[float, float]:
    """Find the 0-based pixel of V2, V3 [arcsec] by inverting the forward transform, not by the fitted inverse."""
    # Newton's method from the reference point: one conversion of the pixel and of half a pixel about it gives the
    # value and, by central differences, the Jacobian; a distortion is so smooth that five steps are enough.
    pixel = np.array([readout_ap.XSciRef - 1.0, readout_ap.YSciRef - 1.0])
    for _ in range(30):
        x, y = pixel[:, np.newaxis] + CROSS
        center, right, left, above, below = np.transpose(convert(readout_ap, x, y, "pixel", "tel"))
        step = np.linalg.solve(np.stack([right - left, above - below], axis=1), np.array([v2, v3]) - center)
        pixel = pixel + step
        if np.hypot(*step) < 1e-9:
            return float(pixel[0]), float(pixel[1])
    msg = f"V2, V3 = {v2:.3f}, {v3:.3f} arcsec is not on or near the pixels of {readout_ap.AperName}"
    raise SiafError(msg)


def intended_pixel(
    instrument: str,
    apername: str,
    subarray: str | None = None,
    *,
    exposure: int = 1,
    prd: str | None = None,
    detector: str | None = None,
) -> tuple[float, float]:
    """Compute the intended position of the star in a TA exposure.

    Parameters
    ----------
    instrument, apername, subarray : str
        As in the keywords INSTRUME, APERNAME, SUBARRAY.
    exposure : int
        1-based number of the TA exposure; NIRCam and NIRISS move the star by `NIRCAM_TA_DITHERS` and
        `NIRISS_TA_DITHERS` between them.
    prd : str, optional
        Release to use, see `release`.
    detector : str, optional
        As in the keyword DETECTOR, see `readout`.

    Returns
    -------
    x, y : float
        0-based pixel of the exposure's readout.

    Raises
    ------
    SiafError
        If the aperture or its readout is not in the SIAF.

    Notes
    -----
    The move is applied in Det axes and converted by ``det_to_sci``, so its sign in the readout of each detector
    comes from the SIAF. A slit has no reference point in pixels; its V2, V3 are converted with the distortion of the
    readout. For NIRSpec this is valid for the nominal tilt of its grating wheel; the real tilt moves the image by a
    few pixels.

    Examples
    --------
    >>> intended_pixel("NIRCAM", "NRCA5_TAMASK335R")
    (31.5, 31.5)
    >>> intended_pixel("NIRCAM", "NRCA5_TAMASK335R", exposure=2)  # Det x runs against sci x on NRCA5
    (29.5, 35.5)
    """
    ap = aperture(instrument, apername, prd)
    home = readout(instrument, apername, subarray, prd, detector=detector)
    if ap.XDetRef is None:
        return tel_to_pixel(home, ap.V2Ref, ap.V3Ref)
    moves = {"NIRCAM": NIRCAM_TA_DITHERS, "NIRISS": NIRISS_TA_DITHERS}.get(instrument.upper(), ())
    dx, dy = moves[exposure - 1] if 1 <= exposure <= len(moves) else (0.0, 0.0)
    x, y = det_to_pixel(home, ap.XDetRef + dx, ap.YDetRef + dy)
    return float(x), float(y)
