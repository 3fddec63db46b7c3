"""Convert recentered frames to the input of pyKLIP and VIP."""

from typing import TYPE_CHECKING

import numpy as np

from xta.errors import KlipError
from xta.psfsub import north
from xta.psfsub.frames import Datasets, Exposure, import_engine, prepare
from xta.psfsub.north import Array

if TYPE_CHECKING:
    from pyklip.instruments.Instrument import GenericData
    from pyklip.rdi import PSFLibrary

__all__ = ["to_pyklip", "to_vip"]


def to_pyklip(science: Datasets, *, reference: Datasets | None = None) -> "tuple[GenericData, PSFLibrary | None]":
    """Make pyKLIP's data set and PSF library in memory.

    Parameters
    ----------
    science, reference : xarray.Dataset or iterable of them
        As in `klip`.

    Returns
    -------
    dataset : pyklip.instruments.Instrument.GenericData
        One frame per integration, with NaN for bad pixels; ``centers`` are exactly the central pixel, so that
        pyKLIP does not interpolate again; ``PAs`` are position angles of +y at the star by the WCS.
    library : pyklip.rdi.PSFLibrary or None
        Prepared for `dataset`; None without references.

    Raises
    ------
    KlipError
        For the same reasons as in `klip`, or if an exposure is mirrored.
    WCSError
        If a science exposure has no WCS.

    Notes
    -----
    pyKLIP turns frames rigidly and does not correct the distortion, see `klip`. It replaces NaN by the mean of
    the section for the model, and restores NaN in its output. ``wvs`` are all 1. Frames are named after file
    and integration, since pyKLIP looks them up by name.

    Examples
    --------
    >>> dataset, library = to_pyklip([roll1, roll2], reference=star)  # doctest: +SKIP
    >>> pyklip.parallelized.klip_dataset(  # doctest: +SKIP
    ...     dataset, mode="ADI+RDI", psf_library=library, annuli=1, subsections=1, numbasis=[1, 5], movement=1
    ... )
    """
    instrument, rdi = import_engine("pyklip.instruments.Instrument"), import_engine("pyklip.rdi")
    frames = prepare(science, reference)
    ny, nx = frames.shape
    center = np.array([nx // 2, ny // 2], dtype=float)
    cube, angles, labels = _stacked(frames.science)
    centers = np.tile(center, (len(cube), 1))
    dataset = instrument.GenericData(cube, centers, parangs=angles, filenames=np.array(labels))
    if not frames.reference:
        return dataset, None
    library = np.concatenate([*(exposure.frames for exposure in frames.reference), cube])
    labels = [*(label for exposure in frames.reference for label in exposure.labels), *labels]
    psf_library = rdi.PSFLibrary(library, center, np.array(labels), compute_correlation=True)
    psf_library.prepare_library(dataset)
    return dataset, psf_library


def _stacked(exposures: tuple[Exposure, ...]) -> tuple[Array, Array, list[str]]:
    """Join the frames of exposures, with an angle and a name for each."""
    for exposure in exposures:
        if north.handedness(exposure.ds) > 0:
            msg = f"{exposure.name} is mirrored: east is to the right of north; flip it along x first"
            raise KlipError(msg)
    cube = np.concatenate([exposure.frames for exposure in exposures])
    angles = np.repeat([north.up_angle(exposure.ds) for exposure in exposures], [len(e.frames) for e in exposures])
    return cube, angles, [label for exposure in exposures for label in exposure.labels]


def to_vip(science: Datasets, *, reference: Datasets | None = None) -> dict[str, Array | None]:
    """Make the arrays for the functions of VIP.

    Parameters
    ----------
    science, reference : xarray.Dataset or iterable of them
        As in `klip`.

    Returns
    -------
    dict
        ``cube`` (n, y, x), square, and ``cube_ref``, the same of the references or None, finite everywhere; ``angles``
        (n,), VIP's ``angle_list`` [deg]: position angles of +y at the star by the WCS.

    Raises
    ------
    KlipError
        For the same reasons as in `klip`, or if an exposure is mirrored.
    WCSError
        If a science exposure has no WCS.

    Notes
    -----
    Bad pixels are filled from their neighbors inside the field and are 0 outside. VIP turns frames rigidly and
    does not correct the distortion, see `klip`. The frames have odd, equal sides, and are 0 where they were not
    observed. VIP's center is then the star, and its rotation, which damages frames of unequal sides, conserves fluxes.

    Examples
    --------
    >>> data = to_vip([roll1, roll2], reference=star)  # doctest: +SKIP
    >>> image = vip_hci.psfsub.pca(  # doctest: +SKIP
    ...     data["cube"], data["angles"], cube_ref=data["cube_ref"], ncomp=5
    ... )
    """
    frames = prepare(science, reference)
    _, angles, _ = _stacked(frames.science)
    cubes = [
        _square(np.concatenate([np.where(exposure.field, exposure.filled, 0.0) for exposure in group]))
        if group
        else None
        for group in (frames.science, frames.reference)
    ]
    return {"cube": cubes[0], "angles": angles, "cube_ref": cubes[1]}


def _square(cube: Array) -> Array:
    """Pad frames with odd sides to squares with zeros, without moving the central pixel."""
    size = max(cube.shape[1:])
    margins = [(0, 0), *(((size - n) // 2,) * 2 for n in cube.shape[1:])]
    return np.pad(cube, margins)
