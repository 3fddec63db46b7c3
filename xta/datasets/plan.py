"""What happens in a sample visit: which exposures, when, and where the telescope points in each of them."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from xta.datasets.attitude import Array, lonlat, rotation, turn, unit
from xta.datasets.frame import Frame, attitude_of, home, pixel_to_v, v_to_pixel
from xta.datasets.mode import Setup
from xta.geometry import siaf

__all__ = ["SCIENCE_TIME", "TA_TIME", "Exposure", "Order", "Step", "plan"]

TA_TIME = 10.6  # exposure time of an acquisition image [s]
SCIENCE_TIME = 300.0  # of one science integration [s]
_GUIDING = 3660.0  # from the start of the visit to closed-loop guiding [s]
_ANALYSIS = 420.0  # from the end of an acquisition image to the next exposure [s]
_SETTLED = 0.004  # how well guiding and small moves put a star where it was meant, one axis, one sigma [arcsec]


@dataclass(frozen=True, kw_only=True)
class Order:
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
    ta_dithers: bool
    quadrant: str
    confirm: bool | str
    failed_ta: bool
    centroid_noise: float
    star_flux: float
    companion: tuple[float, float, float] | None
    wavefront: int
    drift: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class Step:
    """One exposure as it was asked for."""

    kind: str
    """"ta", "confirm" or "science"."""
    exp_type: str
    aperture: str
    subarray: str
    detector: str
    filter: str
    pupil: str | None
    wavelength: float
    """[micron]"""
    activity: str
    """Group, sequence and activity of the file name, such as "02102"."""
    number: int
    frame: Frame
    pixel: tuple[float, float]
    """Where the star was meant to be, 0-based."""
    dither: tuple[float, float] = (0.0, 0.0)
    """XOFFSET, YOFFSET [arcsec]."""
    points: int = 1
    """Positions in the dither pattern."""
    corrected: bool = False
    """Whether an acquisition before it has taken the pointing error out."""
    masked: bool = False
    """Whether the star is behind the mask."""


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """One exposure as it came out."""

    step: Step
    star: tuple[float, float]
    """True pixel of the star, 0-based."""
    true: Array
    """True attitude."""
    believed: Array
    """Attitude that the header gives, wrong by the pointing error."""
    begin: datetime
    end: datetime


def _frame(order: Order, aperture: str, subarray: str) -> Frame:
    instrument = order.setup.instrument
    return Frame(
        siaf.readout(instrument, aperture, subarray, order.prd),
        siaf.aperture(instrument, aperture, order.prd),
        order.va_scale,
    )


def _regions(order: Order) -> list[str]:
    """Name the aperture of each acquisition image: regions of MIRI coronagraphy, dithers, or one."""
    setup = order.setup
    if setup.stages == 2:
        return [f"{setup.ta_aperture}_{order.quadrant}", f"{setup.ta_aperture}_C{order.quadrant}"]
    return [setup.ta_aperture] * (3 if order.ta_dithers or setup.dithered == "always" else 1)


def _ta_step(order: Order, name: str, *, activity: str, number: int = 1, points: int = 1, **words: Any) -> Step:
    """Plan an image at an acquisition aperture."""
    setup = order.setup
    subarray = words.pop("subarray", setup.ta_subarray)
    frame = _frame(order, name, subarray)
    pixel = siaf.intended_pixel(setup.instrument, name, subarray, exposure=number, prd=order.prd)
    x0, y0 = siaf.convert(frame.readout, *home(frame), "pixel", "idl")
    x1, y1 = siaf.convert(frame.readout, *pixel, "pixel", "idl")
    exp_type = "NRS_WATA" if setup.letters == "NRS" else f"{setup.letters}_TACQ"
    return Step(
        aperture=name,
        subarray=subarray,
        detector=setup.ta_detector,
        filter=setup.ta_filter,
        pupil=setup.ta_pupil or setup.pupil,
        wavelength=setup.ta_wavelength,
        activity=activity,
        number=number,
        points=points,
        frame=frame,
        pixel=pixel,
        dither=(float(x1 - x0), float(y1 - y0)),
        **({"kind": "ta", "exp_type": exp_type} | words),
    )


def _acquisition_steps(order: Order) -> list[Step]:
    """List the acquisition images: regions or dithers."""
    names = _regions(order)
    if order.setup.stages == 2:
        return [
            _ta_step(order, name, activity=f"021{index + 1:02d}", corrected=index > 0)
            for index, name in enumerate(names)
        ]
    activity = "02102" if order.setup.letters == "NRC" else "02101"
    return [
        _ta_step(order, name, activity=activity, number=number, points=len(names))
        for number, name in enumerate(names, start=1)
    ]


def _confirmation_steps(order: Order) -> list[Step]:
    """List the images that confirm an acquisition: one, or of a pair a second one behind the mask."""
    setup = order.setup
    corrected = setup.stages == 2 or not order.failed_ta
    words: dict[str, Any] = {"kind": "confirm", "exp_type": f"{setup.letters}_TACONFIRM", "corrected": corrected}
    name, subarray = setup.confirm or (_regions(order)[-1], setup.ta_subarray)
    steps = [_ta_step(order, name, activity="02104", subarray=subarray, **words)]
    if order.confirm == "pair":
        steps.append(replace(_science_step(order, (0.0, 0.0), number=1), activity="02106", points=1, **words))
    return steps


def _science_step(order: Order, dither: tuple[float, float], *, number: int) -> Step:
    """Plan an image behind the mask, or at the reference point of a mode without one."""
    setup = order.setup
    frame = _frame(order, setup.aperture, setup.subarray)
    x, y = home(frame)
    x_idl, y_idl = siaf.convert(frame.readout, x + order.miss[0], y + order.miss[1], "pixel", "idl")
    v2, v3 = siaf.convert(frame.readout, x_idl + dither[0], y_idl + dither[1], "idl", "tel")
    return Step(
        kind="science",
        exp_type=setup.exp_type,
        aperture=setup.aperture,
        subarray=setup.subarray,
        detector=setup.detector,
        filter=setup.filter,
        pupil=setup.pupil,
        wavelength=setup.wavelength,
        activity="04101" if setup.letters == "MIR" else "03105",
        number=number,
        dither=dither,
        points=len(order.dithers),
        frame=frame,
        pixel=v_to_pixel(Frame(frame.readout, frame.reference), float(v2), float(v3)),
        corrected=setup.stages == 2 or not order.failed_ta,
        masked=setup.mask != "none",
    )


def _star_pixels(order: Order, steps: list[Step]) -> list[tuple[float, float]]:
    """Find where the star truly is in each exposure."""
    rng = np.random.default_rng([order.seed, 1])
    pixels = []
    for step in steps:
        shift = _SETTLED * rng.standard_normal(2)
        if step.kind == "science" or step.masked:
            shift = np.zeros(2)  # `miss` says it all
        if not step.corrected:
            shift -= order.pointing_error[:2]
        v2, v3 = pixel_to_v(step.frame, *step.pixel) + shift
        pixels.append(v_to_pixel(step.frame, float(v2), float(v3)))
    return pixels


def _belief(order: Order, true: Array) -> Array:
    """Make the rotation of the sky that takes the true pointing to the one in the headers."""
    star = unit(*order.target)
    v2, v3 = lonlat(true.T @ star)
    along_v2, along_v3, roll = order.pointing_error
    seen = true @ unit(v2 + along_v2 / 3600, v3 + along_v3 / 3600)
    # The header WCS is to show the target where the true one shows `seen`.
    return (turn(star, seen) @ rotation(star, roll)).T


def _times(order: Order, steps: list[Step]) -> list[tuple[datetime, datetime]]:
    """Lay the exposures out in time."""
    clock = order.start + timedelta(seconds=_GUIDING + 240)
    times = []
    for step in steps:
        length = TA_TIME if step.kind != "science" else SCIENCE_TIME * order.integrations
        end = clock + timedelta(seconds=length)
        times.append((clock, end))
        clock = end + timedelta(seconds=_ANALYSIS)
    return times


def plan(order: Order) -> list[Exposure]:
    """Lay out a visit.

    Parameters
    ----------
    order : Order

    Returns
    -------
    list of Exposure
        In time order.

    Notes
    -----
    The star is on a chosen true pixel of every exposure, which fixes the true attitude. The believed attitude
    is the true one followed by one rotation of the sky, the same for the visit: that is what an error of the
    guide star's catalogue position does.
    """
    steps = _acquisition_steps(order) + (_confirmation_steps(order) if order.confirm else [])
    if order.setup.imaging:
        steps += [_science_step(order, dither, number=number) for number, dither in enumerate(order.dithers, start=1)]
    stars = _star_pixels(order, steps)
    ra, dec = order.target
    trues = [
        attitude_of(step.frame, x=x, y=y, ra=ra, dec=dec, roll=order.roll)
        for step, (x, y) in zip(steps, stars, strict=True)
    ]
    belief = _belief(order, trues[0])
    return [
        Exposure(step=step, star=star, true=true, believed=belief @ true, begin=begin, end=end)
        for step, star, true, (begin, end) in zip(steps, stars, trues, _times(order, steps), strict=True)
    ]
