"""Write an exposure of a sample visit as the JWST pipeline would: arrays, keywords and GWCS."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from xta.datasets.keywords import Keywords, mjd
from xta.datasets.plan import Exposure
from xta.errors import filtered

if TYPE_CHECKING:
    from astropy.modeling import Model
    from pysiaf import JwstAperture
    from stdatamodels.jwst.datamodels import JwstDataModel

__all__ = ["Pixels", "distortion", "write"]


@dataclass(frozen=True)
class Pixels:
    """The arrays of one exposure: an image (ny, nx), or a cube (integrations, ny, nx)."""

    sci: NDArray[np.float32]
    err: NDArray[np.float32]
    dq: NDArray[np.uint32]
    var_poisson: NDArray[np.float32]
    var_rnoise: NDArray[np.float32]


def _polynomials(ap: "JwstAperture", name: str) -> "Model":
    """Build both polynomials of an aperture in one direction: "Sci2Idl" or "Idl2Sci"."""
    from astropy.modeling.models import Mapping, Polynomial2D

    degree = int(ap.Sci2IdlDeg)
    # In the SIAF, coefficient ij multiplies x ** (i - j) * y ** j.
    x, y = (
        Polynomial2D(
            degree,
            **{
                f"c{i - j}_{j}": getattr(ap, f"{name}{axis}{i}{j}") or 0.0
                for i in range(degree + 1)
                for j in range(i + 1)
            },
        )
        for axis in "XY"
    )
    return Mapping((0, 1, 0, 1)) | x & y


def distortion(ap: "JwstAperture", *, corner: tuple[int, int]) -> "Model":
    """Build the transform from 0-based pixels of the whole detector to V2, V3 [arcsec], with its analytic inverse.

    `corner` is the first pixel of the readout `ap` on the whole detector, 1-based: SUBSTRT1, SUBSTRT2. The polynomials
    of the readout are used, because those of the same mask on the whole detector can have another reference point.

    Notes
    -----
    Sci to Ideal by polynomials, Ideal to V2, V3 by an affine transform. The analytic inverse is that of the SIAF,
    with errors of up to 0.7 pixel for NIRCam coronagraphs in recent releases.

    NIRSpec has two polynomials, one on either side of its grating wheel, with the mirror in the wheel and the wheel
    at its nominal tilt. The pipeline goes through more frames and corrects the tilt by the wheel's sensors, from
    reference files that the SIAF does not have; this is the SIAF's approximation of it.

    References
    ----------
    JWST-STScI-001550, "Description and Use of the JWST Science Instrument Aperture File".
    """
    from astropy.modeling.models import AffineTransformation2D, Scale, Shift

    forward, backward = _polynomials(ap, "Sci2Idl"), _polynomials(ap, "Idl2Sci")
    if ap.InstrName.upper() == "NIRSPEC":
        wheel, mirror = ap._CLEAR_GWA_OTE, Scale(-1) & Scale(-1)
        forward = forward | mirror | _polynomials(wheel, "Sci2Idl")
        backward = _polynomials(wheel, "Idl2Sci") | mirror | backward
        # Degrees of the telescope's field, XAN and YAN, to V2 and V3; YAN is counted from V3 = -468 arcsec, downwards.
        to_tel = AffineTransformation2D(matrix=[[3600, 0], [0, -3600]], translation=[0, -468])
    else:
        angle, parity = np.radians(ap.V3IdlYAngle), ap.VIdlParity
        cosine, sine = np.cos(angle), np.sin(angle)
        matrix = [[parity * cosine, sine], [-parity * sine, cosine]]
        to_tel = AffineTransformation2D(matrix=matrix, translation=[ap.V2Ref, ap.V3Ref])
    # 0-based on the detector, to 1-based in the readout, to relative to its reference point.
    shift = Shift(2 - corner[0] - ap.XSciRef) & Shift(2 - corner[1] - ap.YSciRef)
    transform = shift | forward | to_tel
    transform.inverse = to_tel.inverse | backward | shift.inverse
    return transform


def _assign_wcs(model: "JwstDataModel", ap: "JwstAperture", offset: tuple[float, float] | None) -> None:
    """Assign the GWCS to a model with the pipeline's own code, and the SIAF in place of the reference files."""
    from jwst.assign_wcs.assign_wcs import load_wcs
    from stdatamodels.jwst.datamodels import DistortionModel, FilteroffsetModel

    corner = (model.meta.subarray.xstart, model.meta.subarray.ystart)
    reference = DistortionModel()
    reference.model = distortion(ap, corner=corner)
    # NIRCam and NIRISS need no filter offset; MIRI needs the file, which may be empty.
    instrument = model.meta.instrument.name
    offsets = FilteroffsetModel() if instrument == "MIRI" else None
    if offsets is not None and offset is not None:
        column, row = offset
        offsets.filters = [{"filter": model.meta.instrument.filter, "column_offset": column, "row_offset": row}]
    files = {"distortion": reference, "filteroffset": offsets}
    if instrument != "NIRSPEC":
        load_wcs(model, files)
        return
    from gwcs import WCS
    from jwst.assign_wcs import nircam
    from jwst.assign_wcs.util import update_s_region_imaging

    # The pipeline's steps from one distortion to the sky; NIRSpec's own need other reference files.
    model.meta.wcs = WCS(nircam.imaging(model, files))
    update_s_region_imaging(model)
    model.meta.cal_step.assign_wcs = "COMPLETE"


def _fit_wcs(model: "JwstDataModel") -> None:
    """Fit the FITS keywords of the WCS as the pipeline's ``assign_wcs`` does: a CD matrix and SIP polynomials."""
    from jwst.assign_wcs.util import update_fits_wcsinfo
    from jwst.lib.exposure_types import IMAGING_TYPES

    if model.meta.exposure.type.lower() in IMAGING_TYPES:
        # Like the pipeline, take the best polynomial if none fits within 0.01 pixel, and none if it raises.
        with contextlib.suppress(ValueError, RuntimeError), filtered("ignore", RuntimeWarning, "Failed to achieve"):
            update_fits_wcsinfo(model)


def _integration_times(exposure: Exposure, dtype: "np.dtype[np.void]") -> NDArray[np.void]:
    """Fill the table INT_TIMES; the barycentric times are the UTC ones, as for an observer at rest there."""
    count = exposure.step.integrations
    edges = np.linspace(mjd(exposure.begin), mjd(exposure.end), count + 1)
    table = np.zeros(count, dtype=dtype)
    table["integration_number"] = np.arange(1, count + 1)
    for system in ("MJD_UTC", "BJD_TDB"):
        table[f"int_start_{system}"] = edges[:-1]
        table[f"int_mid_{system}"] = (edges[:-1] + edges[1:]) / 2
        table[f"int_end_{system}"] = edges[1:]
    return table


def write(
    path: Path, pixels: Pixels, exposure: Exposure, *, header: Keywords, offset: tuple[float, float] | None = None
) -> None:
    """Write one exposure: an image makes a ``_cal`` product, a cube a ``_calints``.

    `offset` are column and row in the FILTEROFFSET file [pixel], of MIRI.
    """
    from jwst.datamodels import CubeModel, ImageModel

    cube = pixels.sci.ndim == 3
    # One validation when the file is saved, instead of one per keyword.
    with (CubeModel if cube else ImageModel)(pixels.sci.shape, validate_on_assignment=False) as model:
        model.data, model.err, model.dq = pixels.sci, pixels.err, pixels.dq
        model.var_poisson, model.var_rnoise = pixels.var_poisson, pixels.var_rnoise
        for name, value in header.items():
            model[f"meta.{name}"] = value
        if cube:
            model.int_times = _integration_times(exposure, model.get_dtype("int_times"))
        _assign_wcs(model, exposure.step.frame.readout, offset)
        _fit_wcs(model)
        model.meta.cal_step.photom = "COMPLETE"
        model.save(path)
