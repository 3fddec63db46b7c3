"""Read the onboard centroid from the TARG_ACQ extension of a TA ``_uncal`` product, a second source without network."""

import math
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xta import model
from xta.errors import FileError, ProductError, XtaError, damage
from xta.io.fitsfile import opened

if TYPE_CHECKING:
    import os

    from astropy.io.fits import HDUList

__all__ = ["TargAcq", "read_targ_acq"]

DUMMY = -999.0  # value in the extension if nothing was measured


@dataclass(frozen=True)
class TargAcq:
    """The content of a TARG_ACQ extension for one acquisition.

    Attributes
    ----------
    filename, visit_id, detector, date_beg : str
        Values from the header of the product; date_beg is the start of the exposure (UTC).
    status, reason : str
        TASTATUS ("SUCCESSFUL", "UNSUCCESSFUL") and STAT_RSN.
    x_det, y_det : float
        Onboard centroid, SIAF Det frame, 1-based [pixel]; NaN if there is none.
    target_v2, target_v3, sam_x, sam_y : float
        Located target [arcsec, V2, V3] and small-angle maneuver [arcsec]; NaN if there is none.
    """

    filename: str
    visit_id: str
    detector: str
    date_beg: str
    status: str
    reason: str
    x_det: float
    y_det: float
    target_v2: float
    target_v3: float
    sam_x: float
    sam_y: float

    @property
    def successful(self) -> bool:
        """True if the acquisition succeeded and there is a centroid."""
        return self.status == "SUCCESSFUL" and math.isfinite(self.x_det) and math.isfinite(self.y_det)


def read_targ_acq(source: "str | os.PathLike[str] | HDUList") -> TargAcq:
    """Read the TARG_ACQ extension of a TA ``_uncal`` product.

    Parameters
    ----------
    source : path or astropy.io.fits.HDUList

    Returns
    -------
    TargAcq
        Dummies (-999) become NaN.

    Raises
    ------
    FileError
        If the file is missing, damaged or not FITS.
    ProductError
        If it has no TARG_ACQ extension.

    Notes
    -----
    The keywords DTCENCOL and DTCENROW are taken as SIAF Det coordinates, 1-based, like the "detector coord"
    of the event log. No product with the extension was available to check this against a log.
    """
    from astropy.io import fits

    if isinstance(source, fits.HDUList):
        return _read(source)
    path = Path(source)
    try:
        with closing(opened(str(path.absolute()))) as manager:
            return _read(manager.acquire())
    except XtaError:
        raise
    except damage() as error:
        msg = f"{path} cannot be read ({error}); give the path of a TA _uncal product"
        raise FileError(msg) from error


def _read(hdus: "HDUList") -> TargAcq:
    primary = hdus[0].header
    label = primary.get("FILENAME") or hdus.filename() or "HDUList"
    if "TARG_ACQ" not in hdus:
        msg = f"{label} has no TARG_ACQ extension; only TA _uncal products have one"
        raise ProductError(msg)
    header = hdus["TARG_ACQ"].header

    def number(keyword: str) -> float:
        value = model.number(header.get(keyword))
        return math.nan if value <= DUMMY else value

    return TargAcq(
        filename=str(label),
        visit_id=str(primary.get("VISIT_ID", "")).strip(),
        detector=str(primary.get("DETECTOR", "")).strip(),
        date_beg=str(primary.get("DATE-BEG", "")).strip(),
        status=str(header.get("TASTATUS", "")).strip().upper(),
        reason=str(header.get("STAT_RSN", "")).strip(),
        x_det=number("DTCENCOL"),
        y_det=number("DTCENROW"),
        target_v2=number("TARGETV2"),
        target_v3=number("TARGETV3"),
        sam_x=number("SAM_X"),
        sam_y=number("SAM_Y"),
    )
