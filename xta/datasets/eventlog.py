"""Write the event log of a sample visit in the format of the engineering database.

The wording, spacing, order and number of digits are those of public telemetry: of NIRCam for NIRCam, of a
MIRI acquisition for MIRI, and of the four lines that follow an acquisition with the wide aperture for NIRSpec. Of
NIRISS only numbers are public: that column and row are exchanged with respect to SIAF Det, and the threshold.
The rest is made up from what is known of its text, and so is the block TARGET LOCATE SUMMARY of NIRISS and of
NIRSpec. It follows from NIRSpec's readout, and not from a log, that it counts columns along its y axis, too.
No public log of a coronagraphic acquisition is known, so the lines for a second region, the dither moves, the
wedge correction and a failure are made up as well.
"""

import csv
import itertools
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from xta.datasets.frame import Frame
from xta.datasets.instrument import onboard_bias
from xta.datasets.keywords import guide_star_ideal, mjd
from xta.datasets.plan import Exposure, VisitConfig
from xta.datasets.products import Pixels
from xta.geometry import siaf
from xta.images.centroid import floating_window
from xta.model import INSTRUMENTS, guider_aperture

if TYPE_CHECKING:
    from pysiaf import JwstAperture
__all__ = ["Reading", "events", "read_star", "write"]

Event: TypeAlias = tuple[datetime, str]
Sky: TypeAlias = tuple[float, float]

_STARS = "**********************************************"
_BOXES = {"NRC": (9, "0.1000000000"), "MIR": (5, "0.01000000000")} | {
    "NIS": (5, "0.2000000000"),
    "NRS": (3, "0.01000000000"),
}
"""Side of the centroid box [pixel] and threshold of convergence, by instrument."""

_REGION = 12  # half width of the region in which the onboard software looks for the star here [pixel]


class Reading(NamedTuple):
    """The onboard measurement in an acquisition image: SIAF Det [1-based pixel], and V2, V3 [arcsec].

    It also has the length of the last step of the iteration [pixel], the pixel where it began, and the number of steps.
    """

    x_det: float
    y_det: float
    v2: float
    v3: float
    x_step: float
    y_step: float
    x_start: float
    y_start: float
    iterations: int


def _nine(value: float) -> str:
    """Write a number with nine significant digits, as the onboard software does."""
    text = f"{value:#.9g}"
    if "e" not in text and float(text) != 0.0:
        return text
    mantissa, exponent = f"{value:.8e}".split("e")
    return f"{mantissa}e{int(exponent):+d}"


def _pair(x: float, y: float) -> str:
    return f"({_nine(x)}, {_nine(y)})"


def read_star(config: VisitConfig, exposure: Exposure, pixels: Pixels | None = None) -> Reading:
    """Centroid a star as the onboard software would.

    This uses the pixels of the image, and the box and threshold of the instrument, so the iteration stops early and the
    result has the noise of the image. Without pixels it returns the truth. The requested noise is added.
    """
    frame, (x, y) = exposure.step.frame, exposure.star
    rng = np.random.default_rng([config.seed, 5, exposure.step.number, int(exposure.step.activity, 16)])
    dx, dy = config.centroid_noise * rng.standard_normal(2)
    start, steps, iterations = (float(round(x)), float(round(y))), (0.000216130465, 0.00501714400), 3
    if pixels is not None:
        side, threshold = _BOXES[config.setup.letters]
        near = tuple(slice(max(0, round(at) - _REGION), round(at) + _REGION + 1) for at in (y, x))
        bad = (pixels.dq & 1).astype(bool)
        box = floating_window(pixels.sci, bad=bad, window=side, region=(near[0], near[1]), threshold=float(threshold))
        bias = onboard_bias(config, exposure.step)
        x, y, iterations = box.x + bias[0], box.y + bias[1], box.iterations
        start, steps = (float(box.x_start), float(box.y_start)), (abs(box.x_step), abs(box.y_step))
    x_det, y_det = siaf.pixel_to_det(frame.readout, x + dx, y + dy)
    v2, v3 = siaf.convert(_pixels(frame), x_det, y_det, "det", "tel")
    peak = siaf.pixel_to_det(frame.readout, *start)
    x_start, y_start = (float(each) for each in peak)
    return Reading(float(x_det), float(y_det), float(v2), float(v3), *steps, x_start, y_start, iterations)


def _pixels(frame: Frame) -> "JwstAperture":
    """Return the aperture of an acquisition, or, for a slit, which has no pixels, its readout."""
    return frame.readout if frame.reference.XDetRef is None else frame.reference


def _logged(config: VisitConfig, x: float, y: float) -> tuple[float, float]:
    """Put Det x, y in the order column, row of the log."""
    return (y, x) if config.setup.letters in {"NIS", "NRS"} else (x, y)


def _sam(config: VisitConfig, start: tuple[float, float], goal: tuple[float, float]) -> str:
    """Write a move of the star in V2, V3 as one in the Ideal frame of the guider, in which moves are commanded."""
    fgs = siaf.aperture("FGS", guider_aperture(config.guider), config.prd)
    x, y = siaf.convert(fgs, fgs.V2Ref + (goal[0] - start[0]), fgs.V3Ref + (goal[1] - start[1]), "tel", "idl")
    return f"{_nine(float(x))}, {_nine(float(y))}"


def _reference(exposure: Exposure) -> tuple[float, float]:
    ap = exposure.step.frame.reference
    return ap.V2Ref, ap.V3Ref


def _intended(exposure: Exposure) -> tuple[float, float]:
    """Return V2, V3 of the intended pixel of the star."""
    v2, v3 = siaf.convert(exposure.step.frame.readout, *exposure.step.pixel, "pixel", "tel")
    return float(v2), float(v3)


def _guiding(config: VisitConfig, exposure: Exposure, star: Sky, *, comma: str = "") -> str:
    # These positions are whole milliarcseconds in the log.
    x, y = (round(part, 3) for part in guide_star_ideal(config, exposure, star))
    return f"From guiding: guider {config.guider}{comma} X ideal {_nine(x)} Y ideal {_nine(y)}"


def _summary(config: VisitConfig, exposure: Exposure, reading: Reading | None) -> list[str]:
    """Write a block TARGET LOCATE SUMMARY; without a reading it reports a failure."""
    side, threshold = _BOXES[config.setup.letters]
    detector = config.setup.ta_detector + ("_LOS" if config.setup.los else "")
    return [
        _STARS,
        "TARGET LOCATE SUMMARY:",
        f"DETECTOR                                                             = {detector}",
        f"(numCols, numRows)                                                     = ({side}, {side})",
        "cosmicrayMethod                                                      = STANDARD",
        *(_measurement(config, exposure, reading) if reading else ()),
        f"(convergenceFlag, convergenceThres)        = ({'SUCCESS' if reading else 'FAILURE'}, {threshold})",
        _STARS,
    ]


def _measurement(config: VisitConfig, exposure: Exposure, reading: Reading) -> list[str]:
    """Write the rows of a block that hold numbers of the image."""
    ap = _pixels(exposure.step.frame)
    corners = [ap.sci_to_det(1, 1), ap.sci_to_det(ap.XSciSize, ap.YSciSize)]
    left, bottom = (min(float(corner[axis]) for corner in corners) - 1 for axis in (0, 1))
    column, row = _logged(config, reading.x_det - left, reading.y_det - bottom)
    start = _logged(config, reading.x_start - left, reading.y_start - bottom)
    peak = f"({round(start[0])}, {round(start[1])})"
    total = 1e5 * config.star_flux
    brightest = [
        f"peakValue                                                          = {_nine(0.4 * total)}",
        f"peak postage-stamp coord (col, row)                    = {peak}",
    ]
    background = "(backgroundMethod, backgroundValue)                = (FRACTION, 377.000000)"
    reduction = f"reduction offset (col, row)                                     = {peak}"
    return [
        *([*brightest, reduction, background] if config.setup.letters == "NRC" else [background, *brightest]),
        f"(total, numIter)                                             = ({_nine(total)}, {reading.iterations})",
        f"last iteration diff (col, row)          = {_pair(*_logged(config, reading.x_step, reading.y_step))}",
        f"postage-stamp coord (colPeak, rowPeak) = {peak}",
        f"postage-stamp coord (colCentroid, rowCentroid) = {_pair(column, row)}",
        f"detector coord (colCentroid, rowCentroid)       = {_pair(*_logged(config, reading.x_det, reading.y_det))}",
        f"(colMoment2, rowMoment2)                        = {_pair(0, 0)}",
        f"(colMoment3, rowMoment3)                        = {_pair(0, 0)}",
    ]


def _spread(origin: datetime, after: float, lines: Iterable[str]) -> list[Event]:
    """Time lines at the pace of the telemetry, from `after` seconds after an origin on."""
    return [(origin + timedelta(seconds=after + 1.024 * index), line) for index, line in enumerate(lines)]


def _exposure_lines(config: VisitConfig, exposure: Exposure) -> list[Event]:
    step, visit = exposure.step, f"V{config.visit_id}"
    prefix = config.setup.letters
    script = f"{visit}P00000000{step.activity}02:{prefix}{'' if step.science else 'TA'}MAIN"
    name = f"{step.activity[2:]}{step.number:03d} {step.exp_type}"
    ints, seconds = step.integrations, (exposure.end - exposure.begin).total_seconds()
    start = f"{name} RAPID ints={ints} grps=10 {step.subarray} flt={step.filter}/NULL/NULL/NULL"
    end = f"{name} completed exptime={seconds:.3f} pctime={seconds:.3f} cfg={step.detector}"
    return [
        *_spread(exposure.begin, -30, [f"Script activated: {script}", f"DAQ tlm slot 2 assigned to {prefix}"]),
        (exposure.begin, start),
        *_spread(exposure.end, 2, [end]),
    ]


def _correction(config: VisitConfig, exposure: Exposure, reading: Reading, following: Exposure, star: Sky) -> list[str]:
    """Write the lines after an analysis that found the star: its location, and the move to the intended place."""
    setup = config.setup
    guiding, location = _guiding(config, exposure, star), _pair(reading.v2, reading.v3)
    move = _sam(config, (reading.v2, reading.v3), _reference(following))
    if setup.letters == "NRS":
        return [
            "NIRSpec TA offset vehicle slew calc and SAM",
            guiding,
            f"target location (v2, v3)                           = {location}",
            f"TA SAM for NRS (x, y) = {move}",
        ]
    lines = [guiding, f"target location (v2, v3)                          = {location}", f"TA SAM (x, y) = {move}"]
    wedge = setup.letters == "NRC" and setup.mask != "none"
    return [*lines, f"Correction to NRC SAM (x, y) = {_nine(0)}, {_nine(0)}"] if wedge else lines


def _dither_lines(config: VisitConfig, exposure: Exposure, following: Exposure, star: Sky) -> list[Event]:
    """Write the move of the star from one position of a dither pattern to the next."""
    move = _sam(config, _intended(exposure), _intended(following))
    guiding = _guiding(config, exposure, star, comma=",")
    return _spread(exposure.end, 4, [guiding, f"Dither SAM (x, y) = {move}"])


def _acquisition_lines(
    config: VisitConfig, ta: Sequence[Exposure], star: Sky, images: Mapping[datetime, Pixels]
) -> list[Event]:
    """Write the lines after each acquisition image: a dither move, or an analysis and its correction."""
    lines: list[Event] = []
    if config.setup.block:  # the constant move from the region where the star arrives to the first one
        block = siaf.aperture("MIRI", "MIRIM_TABLOCK", config.prd)
        move = _sam(config, (block.V2Ref, block.V3Ref), _reference(ta[0]))
        lines += _spread(ta[0].begin, -60, [f"TA SAM (x, y) = {move}"])
    for exposure, following in itertools.zip_longest(ta, ta[1:], fillvalue=ta[-1]):
        last = exposure is ta[-1]
        if exposure.step.points > 1 and not last:
            lines += _dither_lines(config, exposure, following, star)
            continue
        reading = None if last and config.failed_ta else read_star(config, exposure, images.get(exposure.begin))
        text = _summary(config, exposure, reading)
        if reading is None:
            text += [f"{INSTRUMENTS[config.setup.letters]} target locate failed"]
        else:
            text += _correction(config, exposure, reading, following, star)
        lines += _spread(exposure.end, 25, text)
    return lines


def _frame_lines(config: VisitConfig, first: datetime, end: datetime) -> list[Event]:
    """Write the beginning and the end of the visit, and of its neighbors."""
    visit, guider = f"V{config.visit_id}", config.guider
    program, rest = int(config.visit_id[:5]), config.visit_id[5:]
    slew, guide = f"{visit}P0000000001101:SCSLEWMAIN", f"{visit}P0000000001102:FGSMAIN"
    beginning = [
        f"Script activated: {visit}:CONVST",
        f"Script terminated: {visit}:CONVST:Proceed",
        f"Group {visit}:01 started",
        f"Seq {visit}:P00000000:01:1 started",
        f"Script activated: {slew}",
    ]
    guiding = [
        f"Script terminated: {slew}:Proceed",
        f"Script activated: {guide}",
        "DAQ tlm slot 1 assigned to GUIDE",
        f"FGS Guider {guider}  poor quality centroid data in TRK or FG.",
        "FGSMAIN ACT 02 achieved closed-loop fine guidance control",
        f"Script terminated: {guide}:GS_ACQUIRED",
        f"Seq {visit}:P00000000:01:1 ended",
        f"Group {visit}:01 ended",
        f"Group {visit}:02 started",
    ]
    ending = [
        f"Seq {visit}:P00000000:03:1 ended",
        f"Group {visit}:03 ended",
        f"Script activated: {visit}0:FGSTERMINATE",
        "Exposure Aborted by Command",
        "DAQ tlm slot 1 released by GUIDE",
        f"Script terminated: {visit}0:FGSTERMINATE:Proceed",
        "Script terminated: VST_EXEC_THREAD:OPEVSTEXEC:Proceed",
    ]
    return [
        *_spread(config.start, -4.096, [f"VISIT V{(program - 1) % 10**5:05d}{rest} ENDED"]),
        (config.start, f"VISIT {visit} STARTED"),
        *_spread(config.start, 9.216, beginning),
        *_spread(first, -240, guiding),
        *_spread(end, -60, ending),
        (end, f"VISIT {visit} ENDED"),
        *_spread(end, 4.096, [f"VISIT V{(program + 1) % 10**5:05d}{rest} STARTED"]),
    ]


def events(
    config: VisitConfig,
    exposures: Sequence[Exposure],
    *,
    star: Sky,
    end: datetime,
    images: Mapping[datetime, Pixels] | None = None,
) -> list[Event]:
    """List the events of a visit in time order, with the end of the visit before and the start of the one after.

    `star` is the RA and Dec of the guide star [deg], `end` the end of the visit. `images` are the pixels of the
    acquisition images, by the time at which they begin, for the onboard software; without them, it reads the truth.

    A move ``TA SAM`` or ``Dither SAM`` is that of the star, in the Ideal frame of FGSn_FULL_OSS [arcsec]:
    where it should be (after the outer region of MIRI: the inner one) minus where it was measured.
    """
    lines = _frame_lines(config, exposures[0].begin, end)
    for exposure in exposures:
        lines += _exposure_lines(config, exposure)
    ta = [exposure for exposure in exposures if exposure.step.kind == "ta"]
    lines += _acquisition_lines(config, ta, star, images or {})
    for exposure, following in itertools.pairwise(exposure for exposure in exposures if exposure.step.science):
        lines += _dither_lines(config, exposure, following, star)
    return sorted(lines, key=lambda line: line[0])


def write(path: Path, lines: Iterable[Event]) -> None:
    """Write events as the CSV of the engineering database's mnemonic ICTM_EVENT_MSG."""
    with path.open("w", newline="", encoding="ascii") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["theTime", "MJD", "euvalue", "sqldataType"])
        for time, text in lines:
            stamp = time.isoformat(" ", timespec="microseconds")
            table.writerow([stamp, f"{mjd(time):.10f}", text, "varchar"])
