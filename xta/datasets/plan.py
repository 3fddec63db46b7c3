"""Plan a sample visit: its exposures, their times, and the pointing of the telescope in each of them."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from xta.datasets.frame import (
    Frame,
    Matrix,
    attitude,
    pixel_to_v,
    reference_pixel,
    sky_to_v,
    v_to_pixel,
    v_to_sky,
)
from xta.datasets.instrument import Terms, light, terms
from xta.datasets.modes import Setup
from xta.geometry import siaf, sphere

__all__ = ["Exposure", "Step", "VisitConfig", "plan"]

_TA_TIME = 10.6  # exposure time of an acquisition image [s]
_SCIENCE_TIME = 300.0  # of one science integration [s]
_GUIDING = 3660.0  # from the start of the visit to closed-loop guiding [s]
_ANALYSIS = 420.0  # from the end of an acquisition image to the next exposure [s]
_SETTLED = 0.004  # error of the star's place after guiding and small moves, one axis, one sigma [arcsec]


@dataclass(frozen=True, kw_only=True)
class VisitConfig:
    """Everything that defines a visit; the arguments of `xta.datasets.make_visit`."""

    setup: Setup
    visit_id: str
    role: str
    target: tuple[float, float]
    target_error: tuple[float, float]
    roll: float
    pointing_error: tuple[float, float, float]
    miss: tuple[float, float]
    va_scale: float
    prd: str
    guider: int
    start: datetime
    integrations: int
    dithers: tuple[tuple[float, float], ...]
    filters: tuple[str, ...]
    ta_dithers: bool
    quadrant: str
    confirm: bool | str
    failed_ta: bool
    centroid_noise: float
    star_flux: float
    companion: tuple[float, float, float] | None
    field: int
    wavefront: int
    drift: float
    ideal: bool
    filter_offset: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class Step:
    """One exposure as it was requested."""

    kind: str
    """"ta", "confirm" or "science"."""
    exp_type: str
    aperture: str
    subarray: str
    detector: str
    filter: str
    pupil: str | None
    activity: str
    """Group, sequence and activity of the file name, such as "02102"."""
    number: int
    frame: Frame
    pixel: tuple[float, float]
    """Intended pixel of the star, 0-based."""
    dither: tuple[float, float] = (0.0, 0.0)
    """XOFFSET, YOFFSET [arcsec]."""
    points: int = 1
    """Positions in the dither pattern."""
    integrations: int = 1
    corrected: bool = False
    """True if an earlier acquisition has corrected the pointing error."""
    masked: bool = False
    """True if the star is behind the mask."""

    @property
    def science(self) -> bool:
        """True for a science exposure, which is a cube of integrations."""
        return self.kind == "science"

    @property
    def integration_time(self) -> float:
        """Time of one integration [s]."""
        return _SCIENCE_TIME if self.science else _TA_TIME


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """One exposure as it was observed."""

    step: Step
    star: tuple[float, float]
    """True pixel of the star, 0-based."""
    light: tuple[float, float]
    """Center of light of the star, minus its pixel [pixel]."""
    terms: Terms
    attitude: Matrix
    """True attitude, without the effects of the instrument beyond the geometry of the product."""
    header_attitude: Matrix
    """Attitude in the header, wrong by the pointing error."""
    displaced: tuple[float, float]
    """True pixel of the star minus that by the true attitude; the instrument moves all sources by it [pixel]."""
    begin: datetime
    end: datetime


def _frame(config: VisitConfig, aperture: str, subarray: str) -> Frame:
    instrument = config.setup.instrument
    return Frame(
        siaf.readout(instrument, aperture, subarray, config.prd),
        siaf.aperture(instrument, aperture, config.prd),
        config.va_scale,
    )


def _regions(config: VisitConfig) -> list[str]:
    """Name the aperture of each acquisition image: regions of MIRI coronagraphy, dithers, or one."""
    setup = config.setup
    if setup.stages == 2:
        return [f"{setup.ta_aperture}_{config.quadrant}", f"{setup.ta_aperture}_C{config.quadrant}"]
    return [setup.ta_aperture] * (3 if config.ta_dithers or setup.dithered == "always" else 1)


def _ta_step(config: VisitConfig, name: str, *, subarray: str, number: int = 1) -> Step:
    """Plan an image at an acquisition aperture."""
    setup = config.setup
    frame = _frame(config, name, subarray)
    pixel = siaf.intended_pixel(setup.instrument, name, subarray, exposure=number, prd=config.prd)
    x0, y0 = siaf.convert(frame.readout, *reference_pixel(frame), "pixel", "idl")
    x1, y1 = siaf.convert(frame.readout, *pixel, "pixel", "idl")
    return Step(
        kind="ta",
        exp_type="NRS_WATA" if setup.letters == "NRS" else f"{setup.letters}_TACQ",
        aperture=name,
        subarray=subarray,
        detector=setup.ta_detector,
        filter=setup.ta_filter,
        pupil=setup.ta_pupil or setup.pupil,
        activity="02102" if setup.letters == "NRC" else "02101",
        number=number,
        frame=frame,
        pixel=pixel,
        dither=(float(x1 - x0), float(y1 - y0)),
    )


def _acquisition_steps(config: VisitConfig) -> list[Step]:
    """List the acquisition images: regions or dithers."""
    names, subarray = _regions(config), config.setup.ta_subarray
    if config.setup.stages == 2:
        first, second = (_ta_step(config, name, subarray=subarray) for name in names)
        return [first, replace(second, activity="02102", corrected=True)]
    return [
        replace(_ta_step(config, name, subarray=subarray, number=number), points=len(names))
        for number, name in enumerate(names, start=1)
    ]


def _confirmation_steps(config: VisitConfig) -> list[Step]:
    """List the images that confirm an acquisition: one, or a pair of the whole detector, before and behind the mask."""
    setup = config.setup
    name, subarray = setup.confirm or (_regions(config)[-1], setup.ta_subarray)
    step = replace(_ta_step(config, name, subarray=subarray), activity="02104")
    steps = [step]
    if config.confirm == "pair":
        masked = replace(_science_step(config, (0.0, 0.0), number=1), activity="02106", points=1, integrations=1)
        if masked.detector == step.detector:
            masked = replace(masked, filter=step.filter, pupil=step.pupil)
        steps = [_whole_detector(config, each) for each in (step, masked)]
    corrected = setup.stages == 2 or not config.failed_ta
    return [replace(step, kind="confirm", exp_type=f"{setup.letters}_TACONFIRM", corrected=corrected) for step in steps]


def _whole_detector(config: VisitConfig, step: Step) -> Step:
    """Read the whole detector out, with the star on the same of its pixels."""
    detector, _, name = step.aperture.partition("_")
    whole = f"{detector}_FULL_{name}"
    frame = _frame(config, whole, "FULL")
    x, y = siaf.det_to_pixel(frame.readout, *siaf.pixel_to_det(step.frame.readout, *step.pixel))
    return replace(step, aperture=whole, subarray="FULL", frame=frame, pixel=(float(x), float(y)))


def _science_step(config: VisitConfig, dither: tuple[float, float], *, number: int) -> Step:
    """Plan an image behind the mask, or at the reference point of a mode without one."""
    setup = config.setup
    frame = _frame(config, setup.aperture, setup.subarray)
    x, y = reference_pixel(frame)
    x_idl, y_idl = siaf.convert(frame.readout, x + config.miss[0], y + config.miss[1], "pixel", "idl")
    v2, v3 = siaf.convert(frame.readout, x_idl + dither[0], y_idl + dither[1], "idl", "tel")
    return Step(
        kind="science",
        exp_type=setup.exp_type,
        aperture=setup.aperture,
        subarray=setup.subarray,
        detector=setup.detector,
        filter=setup.filter,
        pupil=setup.pupil,
        activity="04101" if setup.letters == "MIR" else "03105",
        number=number,
        dither=dither,
        points=len(config.dithers),
        integrations=config.integrations,
        frame=frame,
        pixel=siaf.tel_to_pixel(frame.readout, float(v2), float(v3)),
        corrected=setup.stages == 2 or not config.failed_ta,
        masked=setup.mask != "none",
    )


def _science_steps(config: VisitConfig) -> list[Step]:
    """List the science exposures: all dither positions in one filter after the other."""
    steps = [_science_step(config, dither, number=number) for number, dither in enumerate(config.dithers, start=1)]
    first = int(steps[0].activity)
    return [
        replace(step, filter=name, activity=f"{first + 2 * k:05d}")
        for k, name in enumerate(config.filters or (config.setup.filter,))
        for step in steps
    ]


def _star_pixels(config: VisitConfig, steps: list[Step]) -> list[tuple[float, float]]:
    """Compute the true pixel of the star in each exposure."""
    rng = np.random.default_rng([config.seed, 1])
    pixels = []
    for step in steps:
        shift = _SETTLED * rng.standard_normal(2)
        if step.science or step.masked:
            shift = np.zeros(2)  # `miss` is the whole shift
        if not step.corrected:
            shift -= config.pointing_error[:2]
        v2, v3 = pixel_to_v(step.frame, *step.pixel) + shift
        pixels.append(v_to_pixel(step.frame, float(v2), float(v3)))
    return pixels


def _header_rotation(config: VisitConfig, true: Matrix) -> Matrix:
    """Compute the rotation of the sky from the true pointing to the one in the headers."""
    v2, v3 = sky_to_v(true, *config.target)
    along_v2, along_v3, roll = config.pointing_error
    # The header WCS shows the target where the true one shows `seen`. It is turned about the target as well.
    seen = v_to_sky(true, v2 + along_v2, v3 + along_v3)
    turn = attitude(0, 0, *config.target, roll) @ attitude(0, 0, *config.target, 0).T
    return turn @ sphere.rotation_between(*seen, *config.target)


def _times(config: VisitConfig, steps: list[Step]) -> list[tuple[datetime, datetime]]:
    """Compute the begin and end of each exposure."""
    clock = config.start + timedelta(seconds=_GUIDING + 240)
    times = []
    for step in steps:
        end = clock + timedelta(seconds=step.integration_time * step.integrations)
        times.append((clock, end))
        clock = end + timedelta(seconds=_ANALYSIS)
    return times


def plan(config: VisitConfig) -> list[Exposure]:
    """Plan the exposures of a visit, in order of time.

    The star is on a chosen true pixel of every exposure, which fixes the true attitude. The attitude in the
    header is the true one followed by one rotation of the sky, the same for the whole visit; this is the effect of an
    error in the guide star's catalog position.
    """
    steps = _acquisition_steps(config) + (_confirmation_steps(config) if config.confirm else [])
    if config.setup.imaging:
        steps += _science_steps(config)
    stars = _star_pixels(config, steps)
    ta, ta_star = [each for each in zip(steps, stars, strict=True) if each[0].kind == "ta"][-1]
    moved = [terms(config, step, star, ta, ta_star) for step, star in zip(steps, stars, strict=True)]
    seen = [_seen(step, star, each) for step, star, each in zip(steps, stars, moved, strict=True)]
    trues = [attitude(*v, *config.target, config.roll) for v in seen]
    rotation = _header_rotation(config, trues[0])
    return [
        Exposure(
            step=step,
            star=star,
            light=light(config, step),
            terms=each,
            attitude=true,
            header_attitude=rotation @ true,
            displaced=_displaced(step, star, v),
            begin=begin,
            end=end,
        )
        for step, star, each, v, true, (begin, end) in zip(
            steps, stars, moved, seen, trues, _times(config, steps), strict=True
        )
    ]


def _seen(step: Step, star: tuple[float, float], moved: Terms) -> tuple[float, float]:
    """Compute V2, V3 by the product's geometry for a star that the instrument puts on a pixel [arcsec]."""
    v2, v3 = pixel_to_v(step.frame, star[0] - moved.filter[0], star[1] - moved.filter[1])
    return v2 + moved.way[0] - moved.maneuver[0], v3 + moved.way[1] - moved.maneuver[1]


def _displaced(step: Step, star: tuple[float, float], v: tuple[float, float]) -> tuple[float, float]:
    x, y = v_to_pixel(step.frame, *v)
    return star[0] - x, star[1] - y
