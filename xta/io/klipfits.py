"""Write the image of a PSF subtraction as a FITS file that DS9, Astropy and pyKLIP's functions read."""

import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xta import identity, model
from xta.errors import WCSError
from xta.identity import KEYWORDS
from xta.io.atomic import whole_file

__all__ = ["history_cards", "write_klip"]

FITS_TEXT = 72  # characters of a HISTORY card

OPTIONS = {
    "mode": ("KLIPMODE", "frames that model the star"),
    "annuli": ("ANNULI", "rings"),
    "subsections": ("SUBSECT", "sectors of a ring"),
    "movement": ("MOVEMENT", "[pixel] smallest movement between two rolls"),
    "closest": ("CLOSEST", "largest number of frames to model an exposure"),
    "closest_by": ("CLOSEBY", "criterion for the closest frames"),
    "iwa": ("IWA", "[arcsec] inner edge"),
    "owa": ("OWA", "[arcsec] outer edge"),
    "fwhm": ("FWHM", "[arcsec] resolution element"),
    "pixel_scale": ("PIXSCALE", "[arcsec] side of a pixel"),
    "pyklip_version": ("PYKLIPV", "version of pyKLIP"),
}
"""Attribute of an image of `xta.klip` -> keyword, comment."""

ERRORS = {
    "target_x_err": ("STARXERR", "[pixel] standard error of the star along x"),
    "target_y_err": ("STARYERR", "[pixel] standard error of the star along y"),
    "target_xy_corr": ("STARCORR", "correlation of these errors"),
}
"""Coordinate -> keyword, comment."""


def history_cards(lines: Iterable[str]) -> list[str]:
    """Break lines into pieces that fit into HISTORY cards, in ASCII."""
    ascii_only = (line.encode("ascii", "replace").decode() for line in lines)
    return [part for line in ascii_only for part in textwrap.wrap(line, FITS_TEXT, subsequent_indent="  ")]


def write_klip(ds: xr.Dataset, target: Path) -> None:
    """Write an image of `xta.klip`: one extension per number of components, and a table of the noise.

    Raises
    ------
    MissingError
        If the dataset has no star position or no numbers of components.
    WCSError
        If the labels are not successive pixels.
    """
    from astropy.io import fits

    ds = identity.klip_image(ds, "target_ra", "target_dec")
    model.require_pixels(ds["klip"], WCSError, "call to_fits before this step")
    ds = model.with_history(ds, f"to_fits {target.name}")
    images = ds["klip"] if "numbasis" in ds["klip"].dims else ds["klip"].expand_dims("numbasis")
    hdus = [fits.PrimaryHDU(header=_primary(ds))]
    for number, image in zip(images["numbasis"].values.tolist(), images.transpose("numbasis", "y", "x"), strict=True):
        header = _image_header(ds, number)
        hdus.append(fits.ImageHDU(np.asarray(image.values), header, name="KLIP", ver=number))
    if "noise" in ds:
        hdus.append(_noise_table(ds))
    with whole_file(target) as temporary:
        fits.HDUList(hdus).writeto(temporary, overwrite=True)


def _primary(ds: xr.Dataset) -> Any:
    from astropy.io import fits

    header = fits.Header()
    for name in KEYWORDS.keys() & ds.attrs.keys():
        header[KEYWORDS[name]] = ds.attrs[name]
    header["PSFSUB"] = "pyKLIP", "engine of the subtraction"
    for name in OPTIONS.keys() & ds.attrs.keys():
        keyword, comment = OPTIONS[name]
        header[keyword] = ds.attrs[name], comment
    for name, keyword in (("science", "SCIF"), ("reference", "REFF")):
        for k, file in enumerate(filter(None, str(ds.attrs.get(name, "")).split(", ")), start=1):
            header[f"{keyword}{k:04d}"] = file
    for line in history_cards(str(ds.attrs["history"]).splitlines()):
        header.add_history(line)
    return header


def _image_header(ds: xr.Dataset, number: int) -> Any:
    """Describe one image: a tangential WCS with the star at CRPIX, and the star with its errors."""
    from astropy.io import fits

    header = fits.Header()
    star = {axis: model.scalar(ds, f"target_{axis}") - float(ds[axis][0]) for axis in ("x", "y")}
    cards: dict[str, Any] = {"NUMBASIS": (number, "principal components"), "WCSAXES": 2, "RADESYS": "ICRS"}
    if units := ds["klip"].attrs.get("units"):
        cards["BUNIT"] = units
    axes = (("x", "RA---TAN", "ra", "east"), ("y", "DEC--TAN", "dec", "north"))
    for k, (axis, kind, name, offset) in enumerate(axes, start=1):
        degrees = float(ds[offset][1] - ds[offset][0]) / 3600
        sky = model.scalar(ds, f"target_{name}")
        cards |= {f"CTYPE{k}": kind, f"CUNIT{k}": "deg", f"CRVAL{k}": sky, f"CRPIX{k}": star[axis] + 1}
        cards |= {f"CDELT{k}": degrees, f"STARCEN{axis.upper()}": (star[axis] + 1, "[pixel] star, 1-indexed")}
        cards[f"PSFCENT{axis.upper()}"] = star[axis], "[pixel] star, 0-indexed"
    for name, card in ERRORS.items():
        if np.isfinite(value := model.scalar(ds, name)):
            cards[card[0]] = value, card[1]
    header.update(cards)
    return header


def _noise_table(ds: xr.Dataset) -> Any:
    from astropy.io import fits

    noise = ds["noise"] if "numbasis" in ds["noise"].dims else ds["noise"].expand_dims("numbasis")
    unit = str(noise.attrs.get("units", ""))
    columns = [fits.Column("radius", "D", unit="arcsec", array=ds["radius"].values)]
    for number in noise["numbasis"].values.tolist():
        values = noise.sel(numbasis=number).values
        columns.append(fits.Column(f"noise_{number}", "D", unit=unit, array=values))
    return fits.BinTableHDU.from_columns(columns, name="NOISE")
