"""Header keywords of a sample exposure, as paths in the tree of a JWST data model."""

import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from xta import model
from xta.datasets.frame import offset, position_angle, reference_pixel, sky_to_v, v_to_sky
from xta.datasets.plan import Exposure, VisitConfig
from xta.geometry import siaf

if TYPE_CHECKING:
    from pysiaf import JwstAperture

__all__ = ["Keywords", "file_name", "guide_star", "guide_star_ideal", "header_keywords", "mjd"]

Keywords: TypeAlias = dict[str, str | float]

_STERADIAN = math.radians(1 / 3600) ** 2  # in a square arcsec
_FAST_SLOW = {
    **dict.fromkeys(("NRCA1", "NRCA3", "NRCALONG", "NRCB2", "NRCB4"), (-1, 2)),
    **dict.fromkeys(("NRCA2", "NRCA4", "NRCB1", "NRCB3", "NRCBLONG"), (1, -2)),
    **{"MIRIMAGE": (1, 2), "NIS": (-2, -1), "NRS1": (2, 1)},
}
_PATTERNS = {"NRC": "RAPID", "MIR": "FASTR1", "NIS": "NISRAPID", "NRS": "NRSRAPID"}


def mjd(time: datetime) -> float:
    """Convert a UTC time to a modified Julian date [day]."""
    return (time - model.MJD_ZERO.item()) / timedelta(days=1)


def _isot(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds")


def _visit_time(time: datetime) -> str:
    return time.isoformat(" ", timespec="milliseconds") + "0000"


def file_name(config: VisitConfig, exposure: Exposure) -> str:
    """Return the file name of an exposure by the rules of the archive."""
    step = exposure.step
    suffix = "calints" if step.science else "cal"
    return f"jw{config.visit_id}_{step.activity}_{step.number:05d}_{step.detector.lower()}_{suffix}.fits"


def _guider(config: VisitConfig) -> "JwstAperture":
    return siaf.aperture("FGS", model.guider_aperture(config.guider), config.prd)


def guide_star(config: VisitConfig, first: Exposure) -> tuple[float, float]:
    """Compute the guide star's position on the sky [deg] by the header attitude of the visit's first exposure."""
    x, y = np.random.default_rng([config.seed, 2]).uniform(-55, 55, 2)
    return v_to_sky(first.header_attitude, *siaf.convert(_guider(config), x, y, "idl", "tel"))


def guide_star_ideal(config: VisitConfig, exposure: Exposure, star: tuple[float, float]) -> tuple[float, float]:
    """Compute the guide star's position in the Ideal frame of FGSn_FULL_OSS during an exposure [arcsec]."""
    x, y = siaf.convert(_guider(config), *sky_to_v(exposure.header_attitude, *star), "tel", "idl")
    return float(x), float(y)


def _observation(config: VisitConfig, exposure: Exposure) -> Keywords:
    step, visit = exposure.step, config.visit_id
    return {
        "telescope": "JWST",
        "filename": file_name(config, exposure),
        "observation.obs_id": f"V{visit}P00000000{step.activity}",
        "observation.visit_id": visit,
        "observation.program_number": visit[:5],
        "observation.observation_number": visit[5:8],
        "observation.visit_number": visit[8:],
        "observation.visit_group": step.activity[:2],
        "observation.sequence_id": step.activity[2],
        "observation.activity_id": step.activity[3:],
        "observation.exposure_number": str(step.number),
        "observation.date": exposure.begin.date().isoformat(),
        "observation.time": _isot(exposure.begin).split("T")[1],
        "observation.date_beg": _isot(exposure.begin),
        "observation.date_end": _isot(exposure.end),
        "program.title": "Sample visits with known truth",
        "program.category": "CAL",
        "visit.type": "PRIME_TARGETED_FIXED",
        "visit.status": "SUCCESSFUL",
        "visit.start_time": _visit_time(config.start),
        "visit.engdb_pointing_quality": "CALCULATED_TRACK_TR_202111",
        "dither.primary_type": "NONE" if step.points == 1 else "5-POINT-SMALL-GRID",
        "dither.position_number": step.number if step.points > 1 else 1,
        "dither.total_points": step.points,
        "dither.x_offset": step.dither[0],
        "dither.y_offset": step.dither[1],
    }


def _instrument(config: VisitConfig, exposure: Exposure) -> Keywords:
    setup, step = config.setup, exposure.step
    readout = step.frame.readout
    full = siaf.readout(setup.instrument, step.aperture, "FULL", config.prd)
    corner = siaf.det_to_pixel(full, *siaf.pixel_to_det(readout, 0, 0))
    area = readout.XSciScale * readout.YSciScale
    fast, slow = _FAST_SLOW[step.detector]
    words = {
        "instrument.name": setup.instrument,
        "instrument.detector": step.detector,
        "instrument.filter": step.filter,
        "aperture.name": step.aperture,
        "aperture.pps_name": step.aperture,
        "subarray.name": step.subarray,
        "subarray.xstart": round(corner[0]) + 1,
        "subarray.ystart": round(corner[1]) + 1,
        "subarray.xsize": int(readout.XSciSize),
        "subarray.ysize": int(readout.YSciSize),
        "subarray.fastaxis": fast,
        "subarray.slowaxis": slow,
        "photometry.pixelarea_arcsecsq": area,
        "photometry.pixelarea_steradians": area * _STERADIAN,
        "photometry.conversion_megajanskys": setup.megajanskys,
        "bunit_data": "MJy/sr",
        "bunit_err": "MJy/sr",
    }
    if setup.instrument == "NIRCAM":
        words["instrument.module"] = step.detector[3]
        words["instrument.channel"] = "LONG" if step.detector.endswith("LONG") else "SHORT"
    optional = {"coronagraph": setup.coronagraph, "pupil": step.pupil, "grating": setup.grating}
    words |= {f"instrument.{name}": value for name, value in optional.items() if value not in {None, "NONE"}}
    return words


def _exposure(config: VisitConfig, exposure: Exposure) -> Keywords:
    step = exposure.step
    seconds = ("exposure_time", "effective_exposure_time", "elapsed_exposure_time", "duration")
    begin, end = mjd(exposure.begin), mjd(exposure.end)
    times = {"start": begin, "mid": (begin + end) / 2, "end": end}
    return {
        "exposure.type": step.exp_type,
        "exposure.prime_parallel": "PRIME",
        **{f"exposure.{name}_time{unit}": time for name, time in times.items() for unit in ("", "_mjd")},
        "exposure.nints": step.integrations,
        "exposure.ngroups": 10,
        "exposure.nframes": 1,
        "exposure.groupgap": 0,
        "exposure.readpatt": _PATTERNS[config.setup.letters],
        "exposure.integration_time": step.integration_time,
        **{f"exposure.{name}": step.integration_time * step.integrations for name in seconds},
        "exposure.psf_reference": config.role == "reference",
    }


def _target(config: VisitConfig) -> Keywords:
    east, north = config.target_error
    ra, dec = offset(*config.target, math.hypot(east, north), math.degrees(math.atan2(east, north)))
    name = "SAMPLE-REFERENCE" if config.role == "reference" else "SAMPLE-STAR"
    return {
        "target.proposer_name": name,
        "target.catalog_name": name.title(),
        "target.type": "FIXED",
        "target.ra": ra,
        "target.dec": dec,
        "target.proposer_ra": ra,
        "target.proposer_dec": dec,
        "target.proper_motion_ra": 0.0,
        "target.proper_motion_dec": 0.0,
        "target.proper_motion_epoch": "2016-01-01 00:00:00.0000000",
    }


def _guiding(config: VisitConfig, exposure: Exposure, star: tuple[float, float], end: datetime) -> Keywords:
    x, y = guide_star_ideal(config, exposure, star)
    v2, v3 = sky_to_v(exposure.header_attitude, *star)
    return {
        "guidestar.gs_order": 1,
        "guidestar.gs_id": f"S{config.visit_id[:5]}{config.seed % 10**4:04d}",
        "guidestar.gs_ra": star[0],
        "guidestar.gs_dec": star[1],
        "guidestar.gs_mag": 14.5,
        "guidestar.gs_v3_pa_science": position_angle(exposure.header_attitude, v2, v3),
        "guidestar.gs_pcs_mode": "FINEGUIDE",
        "guidestar.fgs_aperture": model.guider_aperture(config.guider),
        "guidestar.gs_ideal_x": x,
        "guidestar.gs_ideal_y": y,
        "guidestar.visit_end_time": _visit_time(end),
    }


def _pointing(config: VisitConfig, exposure: Exposure) -> Keywords:
    frame, matrix = exposure.step.frame, exposure.header_attitude
    v2, v3 = frame.reference.V2Ref, frame.reference.V3Ref
    ra, dec = v_to_sky(matrix, v2, v3)
    roll = position_angle(matrix, v2, v3)
    ra_v1, dec_v1 = v_to_sky(matrix, 0.0, 0.0)
    # The angle of the detector's y axis: Ideal and science axes are parallel (on NIRSpec, nearly parallel).
    angle = roll + frame.readout.V3IdlYAngle
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    parity = int(frame.readout.VIdlParity)
    x, y = reference_pixel(frame)
    return {
        "coordinates.reference_frame": "ICRS",
        "pointing.ra_v1": ra_v1,
        "pointing.dec_v1": dec_v1,
        "pointing.pa_v3": position_angle(matrix, 0.0, 0.0),
        "aperture.position_angle": angle % 360,
        "velocity_aberration.scale_factor": config.va_scale,
        "wcsinfo.wcsaxes": 2,
        "wcsinfo.crpix1": x + 1,
        "wcsinfo.crpix2": y + 1,
        "wcsinfo.crval1": ra,
        "wcsinfo.crval2": dec,
        "wcsinfo.ctype1": "RA---TAN",
        "wcsinfo.ctype2": "DEC--TAN",
        "wcsinfo.cunit1": "deg",
        "wcsinfo.cunit2": "deg",
        "wcsinfo.cdelt1": frame.readout.XSciScale / 3600,
        "wcsinfo.cdelt2": frame.readout.YSciScale / 3600,
        "wcsinfo.pc1_1": parity * cosine,
        "wcsinfo.pc1_2": sine,
        "wcsinfo.pc2_1": -parity * sine,
        "wcsinfo.pc2_2": cosine,
        "wcsinfo.v2_ref": v2,
        "wcsinfo.v3_ref": v3,
        "wcsinfo.vparity": parity,
        "wcsinfo.v3yangle": frame.readout.V3IdlYAngle,
        "wcsinfo.ra_ref": ra,
        "wcsinfo.dec_ref": dec,
        "wcsinfo.roll_ref": roll,
    }


def header_keywords(config: VisitConfig, exposure: Exposure, *, star: tuple[float, float], end: datetime) -> Keywords:
    """Collect the header of an exposure, by paths below ``meta`` of a JWST data model.

    `star` is the RA and Dec of the guide star [deg], `end` the end of the visit.
    """
    import jwst

    return {
        **_observation(config, exposure),
        **_instrument(config, exposure),
        **_exposure(config, exposure),
        **_target(config),
        **_guiding(config, exposure, star, end),
        **_pointing(config, exposure),
        "prd_software_version": config.prd,
        "data_processing_software_version": "2024_1a",
        "calibration_software_version": jwst.__version__,
        "ref_file.crds.context_used": "jwst_1215.pmap",
        "time_sys": "UTC",
    }
