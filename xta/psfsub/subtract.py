"""Model the star's PSF by the principal components of other frames (KLIP), subtract it, turn north up and average."""

import math
from collections.abc import Sequence

import numpy as np
import xarray as xr

from xta.acquisition import instrument
from xta.errors import ArgumentError, KlipError, counted
from xta.geometry import sphere
from xta.psfsub import north, result
from xta.psfsub.components import Library, Section, divide
from xta.psfsub.frames import Datasets, Frames, import_engine, prepare
from xta.psfsub.north import Array

__all__ = ["MODES", "average", "klip"]

MODES = ("ADI", "RDI", "ADI+RDI")
"""Source of the frames that model the star: other rolls, reference stars, or both."""

CLOSEST_BY = ("correlation", "offset")
USUAL = (1, 5, 10)  # numbers of components, as far as there are frames
SEVERAL_ROLLS = 1.0  # rolls that differ by more are several [deg]


def klip(
    science: Datasets,
    *,
    reference: Datasets | None = None,
    numbasis: int | Sequence[int] | None = None,
    annuli: int = 1,
    subsections: int = 1,
    mode: str | None = None,
    iwa: float = 0.0,
    owa: float | None = None,
    movement: float = 1.0,
    closest: int | None = None,
    closest_by: str = "correlation",
    fwhm: float | None = None,
    progress: bool = False,
) -> xr.Dataset:
    """Subtract the star's PSF by KLIP, with pyKLIP's engine.

    Parameters
    ----------
    science : xarray.Dataset or iterable of them
        Exposures of the target with a star position, analyzed or set by hand (`set_star`). Exposures that are not
        recentered yet are recentered. Every integration is a frame.
    reference : xarray.Dataset or iterable of them, optional
        Exposures of reference stars, in the same form.
    numbasis : int or sequence of int, optional
        Numbers of principal components. By default those of 1, 5 and 10 for which there are frames.
    annuli, subsections : int
        Numbers of rings of equal width, and of equal sectors in each, that are modeled separately.
    mode : "ADI", "RDI" or "ADI+RDI", optional
        Frames to model the star with: those of other rolls, of reference stars, or both. By default all frames.
    iwa, owa : float
        Inner and outer edge of the region to reduce [arcsec]. By default it is the whole frame; rings then extend to
        the nearer edge of the frame, and the last one includes the corners.
    movement : float
        Smallest motion between two rolls of a source in the middle of its ring for one roll to model the other
        [pixel].
    closest : int, optional
        Largest number of frames to model an exposure, the closest of those admitted. By default all.
    closest_by : "correlation" or "offset"
        Criterion for the closest frames: those that correlate best with the mean of the exposure, or those whose mask
        has the most similar offset from the star.
    fwhm : float, optional
        Resolution element [arcsec], for the noise; by default lambda / 6.5 m with the wavelength in the name
        of the filter.
    progress : bool
        Show progress bars on stderr for the exposures that are read and the sections that are subtracted.

    Returns
    -------
    xarray.Dataset
        ``klip`` (numbasis, y, x) is the mean of the subtracted frames, north up, east left, in the unit of the
        input; ``x``, ``y`` are pixel offsets from the star, ``east``, ``north`` offsets to the east and to the north
        [arcsec]; ``wcs``, ``ra``, ``dec``, ``separation``, ``position_angle`` are as in an exposure.
        ``noise`` (numbasis, radius): residual noise of a pixel, see Notes. ``target_x_err``, ``target_y_err`` and
        ``target_xy_corr`` are the star's error along the axes of the image [pixel], and coordinates such as ``filter``
        and ``target_name`` those that the science exposures have in common.

    Raises
    ------
    KlipError
        If pyKLIP is not installed, the inputs do not fit together, the mode has no frames to work with, or
        `numbasis` is larger than their number. The message contains the reason.
    ArgumentError
        If an option does not have the form above.
    WCSError
        If a science exposure has no WCS.

    Notes
    -----
    *Lazy exposures*, opened with ``chunks={}``, are read one after the other, each once. All frames are then in memory,
    in double precision, since each may model each other.

    *Interpolation.* Frames are interpolated once before the subtraction, by `recenter`, and once after it, by a quintic
    spline, from the exposure's own WCS to a tangential grid whose pixels have the area of the detector's. A rigid turn
    would keep the distortion: the long-wave pixels of NIRCam are 1.4 % longer in y than in x.

    *Components* are those of ``pyklip.klip.klip_math`` [1]_ over all frames admitted, or the `closest` of them.

    *Bad pixels* are filled from their neighbors for the model and left out of the mean. Pixels that are bad
    in all science or in all model frames, or outside the field of one exposure, are left out altogether.

    *Noise*: 1.4826 times the median absolute deviation in a ring one resolution element wide, times
    t sqrt(1 + 1/n), where n is the number of resolution elements in the ring and t the quantile of Student's t
    with n - 1 degrees of freedom at the probability of one Gaussian sigma [2]_.

    *The star's error* is that of the mean of the exposures, weighted by their numbers of frames. Errors that they share
    are not averaged: the maneuver within a visit; the way, the shift by the filter and the centroid in all, turned with
    the detector. A star set by hand is assumed to have the same error in all of them.

    References
    ----------
    .. [1] R. Soummer, L. Pueyo, J. Larkin, ApJ 755, L28 (2012).
    .. [2] D. Mawet et al., ApJ 792, 97 (2014).

    Examples
    --------
    >>> image = klip([roll1, roll2], reference=star, numbasis=[1, 5])  # doctest: +SKIP
    """
    version = str(import_engine("pyklip").__version__)
    wanted = _checked(
        numbasis, annuli=annuli, subsections=subsections, iwa=iwa, owa=owa, movement=movement, closest=closest
    )
    if closest_by not in CLOSEST_BY:
        msg = f"closest_by is {closest_by!r}; give {' or '.join(CLOSEST_BY)}"
        raise ArgumentError(msg)
    frames = prepare(science, reference, progress=progress)
    first = frames.science[0].ds
    scale = north.pixel_scale(first)
    element = instrument.resolution(first, fwhm) / scale
    angles = [north.up_angle(exposure.ds) for exposure in frames.science]
    mode = _mode(mode, frames, angles)
    library = Library(frames, angles, mode=mode, movement=movement, closest=closest, closest_by=closest_by)
    outer = None if owa is None else owa / scale
    sections = divide(frames.shape, annuli=annuli, subsections=subsections, inner=iwa / scale, outer=outer)
    sections = [section for section in sections if (section.pixels & library.usable).any()]
    numbers = _numbers(wanted, library, sections)
    images = average(library, sections, numbers, scale, progress=progress)
    options = {"mode": mode, "annuli": annuli, "subsections": subsections, "movement": movement}
    if closest is not None:
        options |= {"closest": closest, "closest_by": closest_by}
    options |= {"iwa": iwa, "owa": owa, "fwhm": element * scale, "pixel_scale": scale, "pyklip_version": version}
    return result.dataset(images, numbers, library=library, scale=scale, element=element, options=options)


def _checked(
    numbasis: int | Sequence[int] | None,
    *,
    annuli: int,
    subsections: int,
    iwa: float,
    owa: float | None,
    movement: float,
    closest: int | None,
) -> list[int] | None:
    """Check the options, and return the numbers of components in order."""
    numbers = np.atleast_1d(1 if numbasis is None else numbasis)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu" or not numbers.size or numbers.min() < 1:
        msg = f"numbasis is {numbasis!r}; give integers of at least 1"
        raise ArgumentError(msg)
    counts = (("annuli", annuli), ("subsections", subsections), ("closest", 1 if closest is None else closest))
    for name, value in counts:
        if not isinstance(value, int | np.integer) or value < 1:
            msg = f"{name} is {value!r}; give an integer from 1"
            raise ArgumentError(msg)
    if not 0 <= iwa < (math.inf if owa is None else owa):
        msg = f"iwa is {iwa} and owa {owa} arcsec; give 0 <= iwa < owa"
        raise ArgumentError(msg)
    if not movement > 0:
        msg = f"movement is {movement}; give a positive number of pixels, or a frame would model itself"
        raise ArgumentError(msg)
    return None if numbasis is None else sorted({int(number) for number in numbers})


def _mode(mode: str | None, frames: Frames, angles: Sequence[float]) -> str:
    """Choose the mode by the available frames, or check the given one."""
    if mode is not None and mode not in MODES:
        msg = f"mode is {mode!r}; give one of {', '.join(MODES)}"
        raise ArgumentError(msg)
    rolls = bool(np.max(np.abs(sphere.wrap_degrees(np.subtract(angles, angles[0])))) > SEVERAL_ROLLS)
    available = {"ADI": rolls, "RDI": bool(frames.reference)}
    if mode is None:
        mode = "+".join(name for name in available if available[name])
    needed = mode.split("+") if mode else ["ADI", "RDI"]
    words = {"ADI": "exposures at several rolls", "RDI": "references"}
    missing = [words[name] for name in needed if not available[name]]
    if missing:
        msg = (
            f"the input is {counted(len(frames.science), 'science exposure')} at "
            f"{'several rolls' if rolls else 'one roll'} and {counted(len(frames.reference), 'reference')}; "
            f"for {mode or 'a subtraction'} give {' or '.join(missing)}"
        )
        raise KlipError(msg)
    return mode


def _numbers(wanted: list[int] | None, library: Library, sections: Sequence[Section]) -> list[int]:
    """Choose the numbers of components, or check the given ones."""
    if not sections:
        msg = "between iwa and owa [arcsec] no pixel was observed in all exposures and is good in one of them"
        raise KlipError(msg)
    size, where = library.size(sections)
    numbers = [number for number in USUAL if number <= size] if wanted is None else wanted
    if not size or max(numbers) > size:
        msg = (
            f"the library ({library.mode}) has {counted(size, 'frame')} for {where}, "
            f"fewer than numbasis {max(numbers or [1])}; give a smaller numbasis or more exposures"
        )
        if library.rolls:
            msg += f", or admit rolls by a smaller movement (now {library.movement:g} px)"
        raise KlipError(msg)
    return numbers


def average(
    library: Library, sections: Sequence[Section], numbers: Sequence[int], scale: float, *, progress: bool = False
) -> Array:
    """Subtract the star from the science frames, and average them: images with north up, shape (numbers, y, x).

    The frames of each exposure are averaged and turned, and the exposures averaged by their numbers of frames.
    """
    images, size = [], max(library.usable.shape)
    residuals = library.residuals(sections, numbers, import_engine("pyklip.klip"), progress=progress)
    for exposure, residual in zip(library.science, residuals, strict=True):
        mean = _mean(residual, np.ones(len(residual)))
        images.append(north.derotate(mean, exposure.ds, size=size, scale=scale))
    return _mean(np.stack(images), np.array([len(exposure.frames) for exposure in library.science]))


def _mean(images: Array, weights: Array) -> Array:
    """Average the finite values over the first axis; NaN if there are none."""
    weight = np.isfinite(images) * weights.reshape(-1, 1, 1, 1)
    total = weight.sum(axis=0)
    return np.asarray((np.nan_to_num(images) * weight).sum(axis=0) / np.where(total, total, np.nan))
