"""Make the dataset of a PSF subtraction: the image with north up, the residual noise, and its input."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from xta import model
from xta.geometry import sky, wcs
from xta.identity import header
from xta.psfsub import north
from xta.psfsub.components import Library
from xta.psfsub.north import Array
from xta.psfsub.star import common_identity, errors

__all__ = ["dataset", "noise"]

GAUSSIAN = 1.4826  # standard deviation of a normal distribution over its median absolute deviation
KEPT = (
    *("telescope", "instrument", "detector", "channel", "module", "filter", "pupil", "coronagraphic_mask"),
    *("aperture", "program", "target_name"),
)
"""Keywords of the first exposure that are valid for the result."""


def noise(images: Array, *, element: float) -> tuple[Array, Array]:
    """Measure the residual noise of images (numbasis, y, x) in rings around their central pixel.

    The rings are one resolution element wide, `element` pixels. Returned are their middles [pixel], out to the
    edges of the image, and the noise as in the notes of `klip`, shape (numbasis, rings); it is NaN where a ring has
    fewer than two elements.
    """
    from scipy import special

    _, ny, nx = images.shape
    y, x = np.ogrid[:ny, :nx]
    ring = (np.hypot(x - nx // 2, y - ny // 2) / element).astype(int)
    count = int(min(ny, nx) // 2 / element)
    values: Array = np.full((len(images), count), np.nan)
    for k in range(count):
        for row, image in zip(values, images, strict=True):
            inside = image[(ring == k) & np.isfinite(image)]
            elements = inside.size / element**2
            if elements >= 2:
                deviation = GAUSSIAN * np.median(np.abs(inside - np.median(inside)))
                row[k] = deviation * special.stdtrit(elements - 1, special.ndtr(1.0)) * np.sqrt(1 + 1 / elements)
    return np.asarray((np.arange(count) + 0.5) * element), values


def _coords(size: int, scale: float, numbers: Sequence[int], radius: Array) -> dict[str, xr.Variable]:
    """Label pixels by their offsets from the star, and the noise by its rings."""
    return north.labels(size, scale) | {
        "numbasis": xr.Variable(
            "numbasis", np.array(numbers), {"units": "1", "long_name": "number of principal components"}
        ),
        "radius": xr.Variable("radius", radius * scale, {"units": "arcsec", "long_name": "middle of the ring"}),
    }


def dataset(
    images: Array,
    numbers: Sequence[int],
    *,
    library: Library,
    scale: float,
    element: float,
    options: Mapping[str, object],
) -> xr.Dataset:
    """Label the images (numbasis, y, x) and measure their noise; scale [arcsec], element [pixel] as in `noise`."""
    first = library.science[0].ds
    unit = {"units": first["sci"].attrs["units"]} if "units" in first["sci"].attrs else {}
    radius, values = noise(images, element=element)
    images = images.astype(first["sci"].dtype, copy=False) if first["sci"].dtype.kind == "f" else images
    ds = xr.Dataset(
        {
            "klip": (("numbasis", "y", "x"), images, unit | {"long_name": "image after subtraction of the star"}),
            "noise": (("numbasis", "radius"), values, unit | {"long_name": "residual noise of a pixel, 1 sigma"}),
        },
        _coords(images.shape[-1], scale, numbers, radius),
    )
    star = sky.pixel_to_world(first, 0.0, 0.0)
    position = {"target_x": 0.0, "target_y": 0.0, "target_ra": star[0], "target_dec": star[1]}
    exposures = [exposure.ds for exposure in library.science]
    position |= errors(exposures, [len(exposure.frames) for exposure in library.science], scale)
    ds = ds.assign_coords(common_identity(exposures) | model.describe(position))
    ds = sky.assign_polar(sky.assign_wcs(ds, wcs.dump(north.north_up(*star, scale))))
    made_of = {
        "science": ", ".join(exposure.name for exposure in library.science),
        "reference": ", ".join(exposure.name for exposure in library.references),
    }
    kept = {key: header(first)[key] for key in KEPT if key in header(first)}
    ds.attrs = model.clean_attrs({"Conventions": model.CONVENTIONS} | kept | made_of | dict(options))
    what = f"klip, {library.mode}, of {made_of['science']}"
    return model.with_history(ds, f"{what}; references {made_of['reference']}" if library.references else what)
