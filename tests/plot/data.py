"""Small exposures made of formulas alone, so that pictures of them depend on nothing but the drawing."""

import numpy as np
import xarray as xr

from xta import identity, model
from xta.geometry import sky, wcs

TARGET = (150.001, -30.0005)
STAR, INTENDED = (35.4, 30.7), (31.5, 31.5)
MIRI_STAR = (138.2, 125.1)

COMMON = {
    "telescope": "JWST",
    "visit_id": "01234001001",
    "target_name": "Sample",
    "guider_aperture": "FGS2_FULL_OSS",
    "filename": "jw01234001001_02102_00001_nrcalong_cal.fits",
    "date_beg": "2024-03-10T03:19:07.424",
    "prd_version": "PRDOPSSOC-063",
}
NIRCAM = COMMON | {"instrument": "NIRCAM", "detector": "NRCALONG", "filter": "F335M", "exp_type": "NRC_TACQ"}
NIRCAM |= {"aperture": "NRCA5_TAMASK335R", "subarray": "SUBNDA335R"}
MIRI = COMMON | {"instrument": "MIRI", "detector": "MIRIMAGE", "filter": "FND", "exp_type": "MIR_TACQ"}
MIRI |= {
    "aperture": "MIRIM_TA1140_CUR",
    "subarray": "MASK1140",
    "filename": "jw01234001001_02102_00001_mirimage_cal.fits",
}
SCIENCE = NIRCAM | {"filter": "F444W", "exp_type": "NRC_CORON", "aperture": "NRCA5_MASK335R", "subarray": "SUB320A335R"}
SCIENCE |= {"filename": "jw01234001001_03105_00001_nrcalong_calints.fits", "date_beg": "2024-03-10T03:40:00.000"}
SCIENCE |= {"coronagraphic_mask": "MASKA335R", "pixel_scale": 0.063}


def scene(shape, star, *, peak=400.0, width=1.5, hole=0.0):
    """Give a star, with a dark hole where it is behind a mask, on a background with a fixed pattern for noise."""
    y, x = np.indices(shape, dtype=float)
    pattern = np.sin(12.9898 * x + 78.233 * y) * 43758.5453
    image = pattern - np.floor(pattern) - 0.5
    r2 = (x - star[0]) ** 2 + (y - star[1]) ** 2
    image += peak * np.exp(-r2 / (2 * width**2)) * (1 - hole * np.exp(-r2 / (0.3 * width**2)))
    dq = np.zeros(shape, dtype=np.uint32)
    dq[shape[0] // 4, shape[1] // 3] = 1
    image[shape[0] // 3, shape[1] // 4] = np.nan
    return image.astype(np.float32), dq


def placed(build_wcs, place, *, scale):
    """Make a WCS that puts the target at a pixel."""
    gwcs = build_wcs(size=64, scale=scale)
    x, y = wcs.world_to_pixel(gwcs, *TARGET)
    return wcs.shift(gwcs, float(x) - place[0], float(y) - place[1])


def exposure(gwcs, attrs, images, dqs, *, corner=(0, 0)):
    """Make a dataset as `xta.open_exposure` does, of an array that begins at pixel `corner` of the readout."""
    dims = ("integration", "y", "x")[-images.ndim :]
    ds = xr.Dataset({"sci": (dims, images, {"units": "MJy/sr", "long_name": "science image"}), "dq": (dims, dqs)})
    coords = {
        dim: (dim, low + np.arange(ds.sizes[dim]), model.attrs(dim))
        for dim, low in zip(("x", "y"), corner, strict=True)
    }
    if "integration" in dims:
        coords["integration"] = ("integration", np.arange(1, len(images) + 1))
    ra, dec = TARGET
    attrs = attrs | {"target_ra": ra, "target_dec": dec}
    ds = identity.identify(ds.assign_coords(coords).assign_attrs(attrs), attrs)
    return sky.assign_wcs(ds, wcs.dump(gwcs))


def acquired(ta, science, star):
    """Attach TA exposures and put an onboard centroid where the star is in the last one."""
    ds = science.ta.attach(ta, offline=True)
    attrs = {"oss_x": star[0], "oss_y": star[1], "oss_time": "2024-03-10T03:20:00", "oss_status": "SUCCESS"}
    ds = identity.assign(ds, attrs | {"centroid_source": "OSS event log", "centroid_kind": "oss"})
    ds["ta_oss_x"].values[-1], ds["ta_oss_y"].values[-1] = star
    return ds


def known(ds, x_err, y_err):
    """Put other standard errors of the star than those that the SIAF gives for a WCS made of formulas."""
    return ds.assign_coords(
        {name: ds[name].copy(data=err) for name, err in (("target_x_err", x_err), ("target_y_err", y_err))}
    )


def analyzed(build_wcs):
    """Make an analyzed NIRCam exposure, 161 x 161 pixels of its readout."""
    image, dq = scene((64, 64), STAR)
    ta = exposure(placed(build_wcs, (39.0, 32.6), scale=0.063), NIRCAM, image, dq)
    image, dq = scene((161, 161), (83.3, 78.6), peak=60.0, width=16.0, hole=0.97)
    cube = np.stack([image, 1.02 * image]), np.stack([dq, dq])
    gwcs = placed(build_wcs, (152.9, 175.5), scale=0.063)
    science = exposure(gwcs, SCIENCE, *cube, corner=(66, 95))
    return known(
        acquired([ta], science, STAR).ta.compute_offset(centroid="oss").ta.adjust_wcs(corrections="none"), 0.012, 0.013
    )


def of_several(build_wcs):
    """Make a MIRI exposure that was acquired in two steps, in regions of a large readout."""
    tas = []
    for k, (star, aperture) in enumerate((((176.0, 169.9), "MIRIM_TA1140_UR"), (MIRI_STAR, "MIRIM_TA1140_CUR"))):
        image, dq = scene((224, 288), star)
        more = {"aperture": aperture, "filename": f"jw01234001001_0210{k + 1}_00001_mirimage_cal.fits"}
        more["date_beg"] = f"2024-03-10T03:1{k}:07.424"
        gwcs = placed(build_wcs, (star[0] - 2.2 + 0.05 * k, star[1] - 1.6), scale=0.11)
        tas.append(exposure(gwcs, MIRI | more, image, dq))
    image, dq = scene((97, 121), (55.8, 52.2), peak=60.0, width=8.0)
    attrs = MIRI | {"exp_type": "MIR_4QPM", "aperture": "MIRIM_MASK1140", "filter": "F1140C", "pixel_scale": 0.11}
    attrs |= {"filename": "jw01234001001_04101_00001_mirimage_calints.fits"}
    gwcs = placed(build_wcs, (117.6, 110.6), scale=0.11)
    science = exposure(gwcs, attrs, image[np.newaxis], dq[np.newaxis], corner=(64, 60))
    return known(
        acquired(tas, science, MIRI_STAR).ta.compute_offset(centroid="oss").ta.adjust_wcs(corrections="none"),
        0.021,
        0.022,
    )


def subtracted():
    """Make the result of a PSF subtraction, with a companion."""
    offset = np.arange(81) - 40
    image, _ = scene((81, 81), (55.0, 32.0), peak=8.0)
    image[np.hypot(*np.meshgrid(offset, offset)) > 44] = np.nan
    noise = np.tile(np.linspace(1.0, 0.3, 12), (2, 1))
    return xr.Dataset(
        {
            "klip": (("numbasis", "y", "x"), np.stack([1.3 * image, image]), {"units": "MJy/sr"}),
            "noise": (("numbasis", "radius"), noise, {"units": "MJy/sr"}),
        },
        {
            "numbasis": [1, 5],
            "x": offset,
            "y": offset,
            "east": ("x", -0.063 * offset),
            "north": ("y", 0.063 * offset),
        },
        {"target_name": "Sample", "instrument": "NIRCAM", "filter": "F444W", "mode": "ADI+RDI"},
    )
