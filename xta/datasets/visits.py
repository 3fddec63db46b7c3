"""Make sample visits and programs on disk."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xta.datasets import eventlog
from xta.datasets.instrument import FILTER_OFFSETS, onboard_bias
from xta.datasets.instrument import filter_offset as product_offset
from xta.datasets.keywords import file_name, guide_star, header_keywords
from xta.datasets.modes import NIRCAM_WAVELENGTHS, find
from xta.datasets.pixels import companion_pixel, render
from xta.datasets.plan import Exposure, VisitConfig, plan
from xta.datasets.products import write
from xta.errors import ArgumentError, FileError
from xta.geometry import siaf

if TYPE_CHECKING:
    import os

    import xarray as xr

__all__ = ["Program", "Visit", "make_program", "make_visit"]

_CLOSING = 120  # from the last exposure to the end of the visit [s]


@dataclass(frozen=True)
class Visit:
    """A sample visit on disk."""

    visit_id: str
    """As in the keyword VISIT_ID: 11 digits."""
    role: str
    """"science" or "reference"."""
    ta: tuple[Path, ...]
    """Acquisition exposures, in time order; confirmation images last."""
    science: tuple[Path, ...]
    oss_log: Path
    truth: "xr.Dataset" = field(repr=False, compare=False)
    """The truth of each file, see `make_visit`."""


@dataclass(frozen=True)
class Program:
    """A sample program on disk: two rolls and a reference star."""

    folder: Path
    visits: tuple[Visit, ...]
    truth: "xr.Dataset" = field(repr=False, compare=False)
    """The truth of all visits; also in ``truth.json``."""

    @property
    def science(self) -> tuple[Path, ...]:
        """The science exposures of the target, one per roll."""
        return self._exposures("science")

    @property
    def reference(self) -> tuple[Path, ...]:
        """The science exposures of the reference star."""
        return self._exposures("reference")

    def _exposures(self, role: str) -> tuple[Path, ...]:
        return tuple(path for visit in self.visits if visit.role == role for path in visit.science)


_TRUTH: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("file", "visit_id", "role", "kind", "exp_type"), ()),
    "star_x": ("pixel", "true pixel of the star, 0-based, along x"),
    "star_y": ("pixel", "true pixel of the star, 0-based, along y"),
    "target_ra": ("degree", "true right ascension of the star"),
    "target_dec": ("degree", "true declination of the star"),
    "error_v2": ("arcsec", "target by the header's WCS minus the truth, along V2"),
    "error_v3": ("arcsec", "target by the header's WCS minus the truth, along V3"),
    "error_roll": ("degree", "roll of the header's attitude about the star, minus the truth"),
    "filter_shift_x": ("pixel", "shift by the filter that is not in the geometry, along x"),
    "filter_shift_y": ("pixel", "shift by the filter that is not in the geometry, along y"),
    "way_v2": ("arcsec", "true way from acquisition region to mask, minus that of the product, along V2"),
    "way_v3": ("arcsec", "true way from acquisition region to mask, minus that of the product, along V3"),
    "maneuver_v2": ("arcsec", "error of the maneuver to the mask, along V2"),
    "maneuver_v3": ("arcsec", "error of the maneuver to the mask, along V3"),
    "light_x": ("pixel", "center of light of an acquisition image, minus the star, along x"),
    "light_y": ("pixel", "center of light of an acquisition image, minus the star, along y"),
    "onboard_x": ("pixel", "onboard centroid minus the center of light, without the early stop, along x"),
    "onboard_y": ("pixel", "onboard centroid minus the center of light, without the early stop, along y"),
    "companion_x": ("pixel", "true pixel of the companion, 0-based, along x"),
    "companion_y": ("pixel", "true pixel of the companion, 0-based, along y"),
    "companion_separation": ("arcsec", "separation of the companion from the star"),
    "companion_position_angle": ("degree", "position angle of the companion, north through east"),
    "companion_contrast": ("1", "flux of the companion over that of the star"),
    "star_flux": ("Jy", "flux of the star"),
}
"""Columns of the table of truth: unit and long name of those that are numbers."""


def _truth_row(config: VisitConfig, exposure: Exposure, *, name: str) -> tuple[str | float, ...]:
    """Collect the truth of one file, in the order of `_TRUTH`."""
    step, star, nan = exposure.step, exposure.star, math.nan
    pixel = companion_pixel(config, exposure) if step.science else (nan, nan)
    sky = (*config.target, *config.pointing_error)
    companion = (*pixel, *(config.companion or (nan, nan, nan)))
    moved = exposure.terms
    injected = (*moved.filter, *moved.way, *moved.maneuver, *exposure.light, *onboard_bias(config, step))
    about = (name, config.visit_id, config.role, step.kind, step.exp_type)
    return (*about, *star, *sky, *injected, *companion, config.star_flux)


def _truth_table(rows: Sequence[tuple[str | float, ...]]) -> "xr.Dataset":
    import xarray as xr

    columns = {
        name: ("file", list(values), dict(zip(("units", "long_name"), about, strict=False)))
        for (name, about), values in zip(_TRUTH.items(), zip(*rows, strict=True), strict=True)
    }
    return xr.Dataset(columns, attrs={"title": "Truth of sample visits"})


def _check(config: VisitConfig) -> None:
    """Refuse a configuration that is not possible."""
    (ra, dec), setup = config.target, config.setup
    choices = {"role": ("science", "reference"), "guider": (1, 2), "quadrant": ("UL", "UR", "LL", "LR")}
    choices["filter_offset"] = FILTER_OFFSETS
    for name, allowed in choices.items():
        if (value := getattr(config, name)) not in allowed:
            msg = f"{name} is {value!r}; give {' or '.join(map(repr, allowed))}"
            raise ArgumentError(msg)
    pairs = (False, True, "pair") if setup.dithered == "may be" else (False, True)
    faults = {
        f"visit_id is {config.visit_id!r}; give 11 digits, such as '01386001001'": (
            not re.fullmatch(r"\d{11}", config.visit_id)
        ),
        f"target is ({ra}, {dec}); give right ascension in [0, 360) and declination in [-90, 90] deg": (
            not (0 <= ra < 360 and -90 <= dec <= 90)
        ),
        f"seed is {config.seed} and wavefront {config.wavefront}; give numbers of at least 0": (
            min(config.seed, config.wavefront) < 0
        ),
        f"filters are {config.filters}; give NIRCam's, such as 'F356W', behind a round mask": (
            not set(config.filters) <= NIRCAM_WAVELENGTHS.keys() or bool(config.filters and setup.mask != "round")
        ),
        f"field is {config.field}; give a number of stars of at least 0": config.field < 0,
        f"a visit needs an integration and a dither position, not {config.integrations} and {config.dithers}": (
            config.integrations < 1 or not config.dithers
        ),
        f"confirm is {config.confirm!r}; for {setup.aperture} give one of {', '.join(map(repr, pairs))}": (
            config.confirm not in pairs
        ),
        f"only NIRCam dithers its acquisition, for coronagraphy; {setup.aperture} needs ta_dithers=False": (
            config.ta_dithers and setup.dithered == "never"
        ),
    }
    for msg, present in faults.items():
        if present:
            raise ArgumentError(msg)


def _time(start: str | datetime) -> datetime:
    """Read a UTC time; one with a zone is converted."""
    try:
        time = datetime.fromisoformat(start) if isinstance(start, str) else start
    except ValueError:
        msg = f"start is {start!r}; give a time such as '2024-03-10T02:14:07'"
        raise ArgumentError(msg) from None
    return time if time.tzinfo is None else time.astimezone(UTC).replace(tzinfo=None)


def _make(folder: Path, config: VisitConfig) -> Visit:
    """Write a visit into a folder."""
    exposures = plan(config)
    star = guide_star(config, exposures[0])
    end = exposures[-1].end + timedelta(seconds=_CLOSING)
    files: dict[bool, list[Path]] = {True: [], False: []}
    rows, images = [], {}
    folder.mkdir(parents=True, exist_ok=True)
    for exposure in exposures:
        path = folder / file_name(config, exposure)
        pixels = render(config, exposure)
        header = header_keywords(config, exposure, star=star, end=end)
        write(path, pixels, exposure, header=header, offset=product_offset(config, exposure.step))
        if exposure.step.kind == "ta" and not config.ideal:
            images[exposure.begin] = pixels
        files[exposure.step.kind == "science"].append(path)
        rows.append(_truth_row(config, exposure, name=path.name))
    oss_log = folder / f"V{config.visit_id}_osslog.csv"
    eventlog.write(oss_log, eventlog.events(config, exposures, star=star, end=end, images=images))
    return Visit(
        visit_id=config.visit_id,
        role=config.role,
        ta=tuple(files[False]),
        science=tuple(files[True]),
        oss_log=oss_log,
        truth=_truth_table(rows),
    )


def make_visit(
    folder: "str | os.PathLike[str]",
    *,
    mode: str = "nircam",
    visit_id: str = "09990001001",
    role: str = "science",
    target: tuple[float, float] = (201.15, -51.5),
    roll: float = 110.0,
    pointing_error: tuple[float, float, float] = (0.25, -0.18, 0.003),
    target_error: tuple[float, float] = (0.0, 0.0),
    miss: tuple[float, float] = (0.13, -0.09),
    va_scale: float = 0.99994,
    prd: str = "PRDOPSSOC-063",
    guider: int = 1,
    start: str | datetime = "2024-03-10T02:14:07.424",
    integrations: int = 4,
    dithers: Sequence[tuple[float, float]] = ((0.0, 0.0),),
    filters: Sequence[str] = (),
    ta_dithers: bool = False,
    ta: str | None = None,
    quadrant: str = "UR",
    confirm: bool | str = False,
    failed_ta: bool = False,
    centroid_noise: float = 0.0,
    star_flux: float | None = None,
    companion: tuple[float, float, float] | None = None,
    field: int = 0,
    wavefront: int = 0,
    drift: float = 2.0,
    ideal: bool = False,
    filter_offset: str | None = None,
    seed: int = 0,
) -> Visit:
    """Make one visit: acquisition images, science exposures, an event log, and the truth.

    Parameters
    ----------
    folder : path
        Folder to write to; created if it does not exist.
    mode : str
        "nircam" or "miri" for the usual mode of that instrument, or any key of `SETUPS` or `ACQUISITIONS`, which are
        SIAF names of science apertures such as "NRCA5_MASKLWB". Visits of `ACQUISITIONS`, the spectroscopic
        modes, have no science exposure.
    visit_id : str
        11 digits: program, observation, visit.
    role : {"science", "reference"}
        A reference star has IS_PSF set in its header, and has no companion unless one is given.
    target : (float, float)
        True RA and Dec of the star [deg].
    roll : float
        Position angle of +V3 at the star [deg].
    pointing_error : (float, float, float)
        The target by the header WCS of the first acquisition image minus its true place, along V2 and V3 [arcsec],
        and a roll of the header's attitude about the star [deg]. It is one rotation of the sky for the whole visit.
    target_error : (float, float)
        TARG_RA, TARG_DEC minus the truth, to the east and to the north [arcsec].
    miss : (float, float)
        The star in the science frame minus the reference point of the mask, along x and y [pixel].
    va_scale : float
        Velocity aberration, keyword VA_SCALE.
    prd : str
        Release of the SIAF for all files.
    guider : {1, 2}
        Number of the guider.
    start : str or datetime
        Start of the visit, UTC.
    integrations : int
        Number of integrations in each science exposure.
    dithers : sequence of (float, float)
        XOFFSET, YOFFSET of each science exposure [arcsec, Ideal].
    filters : sequence of str
        Filters of the science exposures behind one of NIRCam's round masks, one after the other; by default the usual
        one.
    ta_dithers : bool
        Take three dithered acquisition images (NIRCam coronagraphy) and centroid the last, as NIRISS always does.
    ta : str, optional
        Subarray of the acquisition if the mode has several, such as "SUBFSA335R", the square for faint stars, or
        "SUB2048" for NIRSpec.
    quadrant : {"UL", "UR", "LL", "LR"}
        Acquisition regions to use (MIRI coronagraphy).
    confirm : bool or "pair"
        Take an image to confirm the acquisition. A "pair" (NIRCam coronagraphy) is two images of the whole detector in
        the filter of the acquisition; in the second the star is behind the mask.
    failed_ta : bool
        Let the onboard software fail to find the star in its last acquisition image, so that nothing is corrected; on
        NIRCam the star then misses the mask by the pointing error.
    centroid_noise : float
        Error of the onboard centroid, one axis, one sigma [pixel].
    star_flux : float, optional
        Flux of the star [Jy]; by default that of the mode.
    companion : (float, float, float), optional
        Separation [arcsec], position angle north through east [deg], and contrast of a companion.
    field : int
        Number of background stars within 70 arcsec; they are the same for the same target and telescope.
    wavefront : int
        Seed of the telescope, which determines its speckles.
    drift : float
        Wavefront error of this visit alone [nm, root mean square].
    ideal : bool
        Let the instrument agree with the WCS of the product. By default it has the effects of a real one: the filter
        shifts the star, the newest SIAF is the true geometry, the maneuver to the mask and the center of light of the
        acquisition have errors, and the onboard software centroids the rendered image and stops early.
    filter_offset : {"mask", "generic", "none"}, optional
        FILTEROFFSET reference file of MIRI products: that of the mask (the default, but "none" if `ideal`), the
        generic one of older products, or none.
    seed : int
        Seed of all other random numbers.

    Returns
    -------
    Visit
        Its `truth` has the dimension ``file`` and contains ``star_x``, ``star_y`` [0-based pixel], the companion's
        pixel, the sky positions, and each of the injected errors.

    Raises
    ------
    ArgumentError
        If an argument does not have the form above, or there is no such mode.
    FileError
        If the files cannot be written.

    Notes
    -----
    Files are written by ``jwst.datamodels``, and their GWCS by the pipeline's ``load_wcs`` with the polynomials of the
    SIAF, which also define the truth. On real data the distortion differs from the SIAF by a few mas. Velocity
    aberration scales each exposure about its own reference point. The log has nine digits, as on board (5e-6 pixel);
    if `ideal`, its centroid is the true pixel of the star. Shifts by the filter and of the center of light belong to
    the telescope (`wavefront`), the error of the maneuver to the visit (`seed`); they are drawn with the errors of
    `xta.instrument`.
    """
    setup = find(mode, ta=ta)
    config = VisitConfig(
        setup=setup,
        visit_id=visit_id,
        role=role,
        target=target,
        target_error=target_error,
        roll=roll,
        pointing_error=pointing_error,
        miss=miss,
        va_scale=va_scale,
        prd=siaf.release(prd),
        guider=guider,
        start=_time(start),
        integrations=integrations,
        dithers=tuple(dithers),
        filters=tuple(filters),
        ta_dithers=ta_dithers,
        quadrant=quadrant,
        confirm=confirm,
        failed_ta=failed_ta,
        centroid_noise=centroid_noise,
        star_flux=setup.star_flux if star_flux is None else star_flux,
        companion=companion,
        field=field,
        wavefront=wavefront,
        drift=drift,
        ideal=ideal,
        filter_offset=filter_offset or ("none" if ideal else "mask"),
        seed=seed,
    )
    _check(config)
    try:
        return _make(Path(folder), config)
    except OSError as err:
        msg = f"cannot write a sample visit to {folder}: {err}"
        raise FileError(msg) from err


def make_program(
    folder: "str | os.PathLike[str]", *, mode: str = "nircam", ideal: bool = False, seed: int = 0
) -> Program:
    """Make a small coronagraphic program: a star with a companion at two rolls, and a reference star.

    Parameters
    ----------
    folder : path
        Folder to write to; created if it does not exist. ``truth.json`` is written there, too.
    mode : str
        As in `make_visit`.
    ideal : bool
        As in `make_visit`. By default the reference star of MIRI has an older product, made with the generic filter
        offset.
    seed : int
        Seed of the pointing errors, speckles and noise.

    Returns
    -------
    Program

    Raises
    ------
    ArgumentError, FileError
        As `make_visit`.
    """
    import xarray as xr

    folder, setup = Path(folder), find(mode)
    if not setup.imaging:
        msg = f"a program needs images, but {mode!r} has spectra; use make_visit for its acquisition"
        raise ArgumentError(msg)
    rng = np.random.default_rng([seed, 0])
    companion = (setup.separation, float(rng.uniform(0, 360)), setup.contrast)
    target, other = (201.150067, -51.504577), (209.567586, -42.100881)
    begin = datetime(2024, 3, 10, 2, 14, 7, 424000)
    visits = []
    for index, role in enumerate(("science", "science", "reference")):
        visits.append(
            make_visit(
                folder,
                mode=mode,
                visit_id=f"0999{1 if setup.instrument == 'NIRCAM' else 2}{index + 1:03d}001",
                role=role,
                target=target if role == "science" else other,
                roll=110.0 + 10 * index,
                pointing_error=(*rng.normal(0, 0.2, 2), rng.normal(0, 0.003)),
                miss=tuple(rng.normal(0, 0.15, 2)),
                va_scale=1 - rng.uniform(2e-5, 9e-5),
                guider=1 + index % 2,
                start=begin + timedelta(hours=3 * index),
                companion=companion if role == "science" else None,
                star_flux=setup.star_flux * (1.6 if role == "reference" else 1),
                wavefront=seed,
                ideal=ideal,
                filter_offset="generic" if role == "reference" and not ideal else None,
                seed=10 * seed + index,
            )
        )
    truth = xr.concat([visit.truth for visit in visits], dim="file")
    (folder / "truth.json").write_text(json.dumps(truth.to_dict(), indent=1))
    return Program(folder, tuple(visits), truth)
