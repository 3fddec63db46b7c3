"""Check the consistency of an onboard acquisition: centroid, target location and maneuver against the SIAF.

The log of an acquisition contains the same information three times: a centroid in detector pixels, its place in
V2, V3, and the small-angle maneuver (SAM) from there to a reference point. With the SIAF that was on board they agree
to a millionth of an arcsecond. A position counted from 0, a swapped axis, another aperture, another visit or the SIAF
of another time gives residuals a thousand times larger.
"""

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product, takewhile
from math import inf, isfinite, nan
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from xta.errors import ArgumentError, SiafError
from xta.geometry import siaf
from xta.geometry.prd import Aperture, entry
from xta.model import INSTRUMENTS, guider_aperture
from xta.osslog import normalize_visit

if TYPE_CHECKING:
    from xta.acquisition.targ_acq import TargAcq
    from xta.osslog import Centroid, Sam

    Record: TypeAlias = Centroid | Sam | TargAcq

__all__ = ["TOLERANCE", "Closure", "closure"]

TOLERANCE = 3e-6
"""Largest residual of a consistent record [arcsec]. The log has nine digits: on real visits the residuals are 3e-7 in
V2, V3 and 1e-6 in the SAM. The smallest mistake of interest is a SIAF of another time, a few milliarcseconds."""

LOOK_BACK = 12
"""Number of releases in which the cause of a mistake is looked for: those of the year or two before the log."""

NO_TARGET = "the record has no target location, so there is nothing to compare its centroid with"
NO_TEST = "the record has a target location, but neither a centroid that can be tested nor a SAM"

_VARIANTS: tuple[tuple[str, Callable[[float, float], tuple[float, float]]], ...] = (
    ("counted from 0 (they agree if 1 is added)", lambda x, y: (x + 1, y + 1)),
    ("1 too large (they agree if 1 is subtracted)", lambda x, y: (x - 1, y - 1)),
    ("swapped: the column is given as the row", lambda x, y: (y, x)),
    ("swapped and counted from 0", lambda x, y: (y + 1, x + 1)),
)


@dataclass(frozen=True)
class Closure:
    """Whether an acquisition is consistent with the SIAF, and its residuals.

    Attributes
    ----------
    v2_error, v3_error : float
        Centroid converted by the SIAF, minus the logged target location [arcsec]; NaN if the log lacks one of
        them, and for NIRSpec, where the conversion from pixel to sky depends on the tilt of the grating wheel.
    sam_x_error, sam_y_error : float
        Reference point minus logged target location, in the Ideal frame of the guider, minus the logged SAM
        [arcsec].
    prd : str or None
        The SIAF release of these errors: of those that agree, the given one, or else the latest that existed; if none
        agrees, the one with the smallest error.
    prds : tuple of str
        All releases that agree and may have been on board, in order. The SIAF of many releases is the same
        for a given aperture, so there may be several.
    aperture : str or None
        Aperture whose reference point the SAM leads to: the given one if it is in `apertures`, or the first.
    apertures : tuple of str
        All apertures with this reference point.
    guider : int or None
    passed : bool or None
        None if the record contains nothing to test.
    reason : str
        The result in words, with the cause of a failure.
    """

    v2_error: float = nan
    v3_error: float = nan
    sam_x_error: float = nan
    sam_y_error: float = nan
    prd: str | None = None
    prds: tuple[str, ...] = ()
    aperture: str | None = None
    apertures: tuple[str, ...] = ()
    guider: int | None = None
    passed: bool | None = None
    reason: str = ""

    @property
    def error(self) -> float:
        """The largest of the errors [arcsec]; infinite if there is none."""
        errors = self.v2_error, self.v3_error, self.sam_x_error, self.sam_y_error
        return max((abs(value) for value in errors if isfinite(value)), default=inf)


@dataclass(frozen=True)
class _Facts:
    """The content of a record, in SIAF terms."""

    letters: str  # NRC, MIR, NIS, NRS
    prefix: str  # of the apertures of its detector
    x_det: float
    y_det: float
    v2: float
    v3: float
    sam_x: float
    sam_y: float
    guider: int | None
    date: str

    @property
    def instrument(self) -> str:
        return INSTRUMENTS[self.letters].upper()

    @property
    def has_position(self) -> bool:
        return self.letters != "NRS" and isfinite(self.x_det + self.y_det + self.v2 + self.v3)

    @property
    def has_sam(self) -> bool:
        return isfinite(self.sam_x + self.sam_y + self.v2 + self.v3)


def closure(
    record: "Record",
    *,
    prd: str | None = None,
    aperture: str | None = None,
    guider: int | None = None,
    visit: str | int | None = None,
    explain: bool = True,
) -> Closure:
    """Test an onboard acquisition against the SIAF, and find the release that was on board.

    Parameters
    ----------
    record : osslog.Centroid, osslog.Sam or targacq.TargAcq
        Record of one acquisition.
    prd : str, optional
        The release expected to have been on board, such as the keyword PRD_VER; it is tried first. Others are tried
        as well, since a product may be processed with a later release.
    aperture : str, optional
        The TA aperture, such as the keyword APERNAME. By default it is the one of the detector whose reference point
        the SAM leads to.
    guider : int, optional
        1 or 2, if it is not in the record; by default both are tried.
    visit : str or int, optional
        The visit that the record should belong to.
    explain : bool
        Look for the cause if a record is not consistent; this can take a few seconds.

    Returns
    -------
    Closure

    Raises
    ------
    SiafError
        If the aperture is in no release, or belongs to another instrument than the record's detector.
    ArgumentError
        If `record` is not an acquisition, or `visit` not a visit ID.

    Notes
    -----
    The position is converted with the polynomials of the aperture itself (Det to V2, V3). The SAM is the move
    of the star, reference point minus target location, in the Ideal frame of FGSn_FULL_OSS. The first TA
    region of MIRI coronagraphy leads to the second one, whose name has a C before the quadrant, so both are
    allowed. A release cannot have been on board before its files were written; the date is in their first lines.

    Examples
    --------
    >>> from xta import osslog
    >>> log = osslog.read('''2022-12-04 03:42:23 DETECTOR = NRCA3_LOS
    ... 2022-12-04 03:45:54 detector coord (colCentroid, rowCentroid) = (1587.89891, 1409.87847)
    ... 2022-12-04 03:46:00 From guiding: guider 1 X ideal 36.7410000 Y ideal 12.5360000
    ... 2022-12-04 03:46:01 target location (v2, v3) = (69.6123499, -515.868572)
    ... 2022-12-04 03:46:02 TA SAM (x, y) = -0.0119608742, 0.0197077842''')
    >>> result = closure(log.centroids()[0])
    >>> result.passed, result.prds, result.aperture
    (True, ('PRDOPSSOC-058', 'PRDOPSSOC-059'), 'NRCA3_FP1')
    """
    if not any(hasattr(record, name) for name in ("target_v2", "x_det", "x")):
        msg = f"record is a {type(record).__name__}; give one acquisition, such as osslog.read(path).centroids()[0]"
        raise ArgumentError(msg)
    facts = _facts(record, aperture, guider)
    if facts is None:
        return Closure(reason="the record does not contain its detector; give its aperture")
    if not (facts.has_position or facts.has_sam):
        has = isfinite(facts.v2 + facts.v3)
        return Closure(reason=NO_TEST if has else NO_TARGET)
    facts, result = _search(facts, aperture, prd)
    if result.passed is None:
        reason = f"aperture {aperture} has no detector pixels in the SIAF; give the aperture of the TA image"
        return replace(result, reason=reason)
    if result.passed:
        result = _with_ties(facts, result, prd)
    else:
        reason = f"misses by {result.error * 1e3:.3g} mas with {result.prd}, the release that fits best"
        cause = f": {_explain(facts, result, aperture)}" if explain else ""
        result = replace(result, reason=reason + cause)
    own = getattr(record, "visit", None) or getattr(record, "visit_id", None)
    if visit is None or not own or normalize_visit(visit) == normalize_visit(own):
        return result
    reason = f"the record is of visit {normalize_visit(own)}, not of {normalize_visit(visit)}; it {result.reason}"
    return replace(result, passed=False, reason=reason)


def _facts(record: "Record", aperture: str | None, guider: int | None) -> _Facts | None:
    def number(*names: str) -> float:
        return float(next((getattr(record, name) for name in names if hasattr(record, name)), nan))

    detector = str(getattr(record, "detector", None) or "").upper().replace("LONG", "5")
    if not detector and getattr(record, "kind", "") == "nrs":
        detector = "NRS1"
    letters = (detector or aperture or "")[:3]
    if letters not in INSTRUMENTS:
        return None
    if aperture and aperture[:3] != letters:
        msg = f"aperture {aperture} is not on detector {detector} of the record; give one that is"
        raise SiafError(msg)
    prefix = {"NRC": f"{detector[:5] or str(aperture)[:5]}_", "MIR": "MIRIM_"}.get(letters, letters)
    position = siaf.oss_to_det(letters, number("x_det"), number("y_det"))
    target, sam = (number("target_v2"), number("target_v3")), (number("sam_x", "x"), number("sam_y", "y"))
    guider = guider or getattr(record, "guider", None)
    return _Facts(letters, prefix, *position, *target, *sam, int(guider) if guider else None, _date(record))


def _date(record: "Record") -> str:
    """Read the time of the record, as text that can be sorted; "" if it is not known."""
    times = (str(getattr(record, name, "")) for name in ("time", "start", "date_beg"))
    return next((time for time in times if re.match(r"\d{4}-\d\d-\d\d", time)), "")


@cache
def _written(prd: str) -> str:
    """Read when the last SIAF file of a release was written; it was not on board before."""
    times = [""]
    for path in siaf.releases()[prd].glob("*_SIAF.xml"):
        with path.open(encoding="utf-8") as file:
            times += re.findall(r"Generated ([-\d]+T[:\d]+)", file.read(400))[:1]
    return max(times)


def _fingerprint(prd: str, facts: _Facts, names: Sequence[str]) -> tuple[str | None, ...]:
    """Collect all that a trial depends on: the entries of the apertures and of the guider."""
    guider = _entry(prd, "FGS", guider_aperture(facts.guider))
    return *(_entry(prd, facts.instrument, name) for name in names), guider


@cache
def _entry(prd: str, instrument: str, name: str) -> str | None:
    """Read the entry of an aperture without what differs between equal ones."""
    text = entry(siaf.INSTRUMENTS[instrument], prd, name)
    return text and sys.intern(re.sub(r"<(UseAfterDate|Comment)>[^<]*<", "<", text))


def _releases(prd: str | None, date: str) -> list[str]:
    """Order the releases: the given one, those that existed from the latest back, and then the others."""
    everything = list(siaf.releases())
    existed = [name for name in everything if not date or _written(name) <= date]
    given = [siaf.release(prd)] if prd else []
    return list(dict.fromkeys([*given, *reversed(existed), *everything]))


def _trials(
    readings: Sequence[_Facts], releases: Sequence[str], names: Sequence[str] | None
) -> Iterator[tuple[_Facts, Closure]]:
    """Try releases in order, equal ones once, with each reading of the record; `names` None means all apertures."""
    seen: set[tuple[str | None, ...]] = set()
    for prd, facts in product(releases, readings):
        every = siaf.apertures(facts.instrument, prd)
        wanted = [name for name in every if name.startswith(facts.prefix)] if names is None else names
        chosen = [name for name in wanted if name in every]
        mark = _fingerprint(prd, facts, chosen)
        if chosen and mark not in seen:
            seen.add(mark)
            yield facts, _trial(facts, prd, chosen)


def _search(facts: _Facts, aperture: str | None, prd: str | None) -> tuple[_Facts, Closure]:
    """Try the releases in turn until one agrees; if none does, return the one with the smallest error."""
    readings = [facts] if facts.guider or not facts.has_sam else [replace(facts, guider=n) for n in (1, 2)]
    names = aperture and list(dict.fromkeys((aperture, re.sub(r"_([UL][LR])$", r"_C\1", aperture))))
    tried = []
    for reading, trial in _trials(readings, _releases(prd, facts.date), names or None):
        tried.append((reading, trial))
        if trial.passed:
            break
    if not tried:
        msg = f"aperture {aperture} is in no release of the {facts.instrument} SIAF; check the APERNAME of the TA"
        raise SiafError(msg)
    return min(tried, key=lambda pair: pair[1].error)


def _trial(facts: _Facts, prd: str, names: Sequence[str]) -> Closure:
    """Compute the errors with one release and those of the apertures that fit best."""
    apertures = [siaf.aperture(facts.instrument, name, prd) for name in names]
    apertures = [ap for ap in apertures if ap.V2Ref is not None]
    if facts.has_position:
        apertures = [ap for ap in apertures if ap.XDetRef is not None]
    if not facts.has_sam and len(apertures) > 2:  # a position distinguishes detectors, but not their subarrays
        apertures = [ap for ap in apertures if ap.AperType == "FULLSCA"]
    trials = []
    for ap, x_error, y_error in _by_sam(facts, prd, apertures):
        v2, v3 = siaf.convert(ap, facts.x_det, facts.y_det, "det", "tel") if facts.has_position else (nan, nan)
        errors = float(v2) - facts.v2, float(v3) - facts.v3, x_error, y_error
        trials.append(Closure(*errors, prd, aperture=ap.AperName, guider=facts.guider))
    if not trials:
        return Closure(prd=prd)
    best = min(trials, key=lambda trial: trial.error)
    if best.error > TOLERANCE:
        return replace(best, passed=False)
    same = tuple(str(trial.aperture) for trial in trials if trial.error <= TOLERANCE)
    return replace(best, passed=True, aperture=same[0], apertures=same)


def _by_sam(facts: _Facts, prd: str, apertures: Sequence[Aperture]) -> list[tuple[Aperture, float, float]]:
    """Choose the apertures to whose reference point the SAM leads, or else the nearest one; return them with errors."""
    if not facts.has_sam or not apertures:
        return [(ap, nan, nan) for ap in apertures]
    # Convert the move of the star, reference point minus target location, to the guider's Ideal frame.
    fgs = siaf.aperture("FGS", guider_aperture(facts.guider), prd)
    v2, v3 = np.array([(ap.V2Ref, ap.V3Ref) for ap in apertures]).T
    x, y = siaf.convert(fgs, fgs.V2Ref + v2 - facts.v2, fgs.V3Ref + v3 - facts.v3, "tel", "idl")
    x, y = x - facts.sam_x, y - facts.sam_y
    error = np.maximum(abs(x), abs(y))
    chosen = np.flatnonzero(error <= max(TOLERANCE, error.min())).tolist()
    return [(apertures[k], float(x[k]), float(y[k])) for k in chosen]


def _with_ties(facts: _Facts, closed: Closure, given: str | None) -> Closure:
    """Add the neighboring releases, as long as they agree as well."""
    everything, names = list(siaf.releases()), closed.apertures[:1]
    passed = {_fingerprint(str(closed.prd), facts, names): True}

    def closes(prd: str) -> bool:
        mark = _fingerprint(prd, facts, names)
        if mark not in passed:
            passed[mark] = any(trial.passed for _, trial in _trials([facts], [prd], names))
        return passed[mark]

    k = everything.index(str(closed.prd))
    before, after = takewhile(closes, everything[k::-1]), takewhile(closes, everything[k + 1 :])
    same = [*reversed(list(before)), *after]
    existed = [prd for prd in same if not facts.date or _written(prd) <= facts.date] or same
    reason = f"closes with {existed[0]}" + (f" to {existed[-1]}" if len(existed) > 1 else "")
    wanted = siaf.release(given) if given else None
    if wanted and wanted not in existed:
        how = "has the same values" if wanted in same else "does not"
        young = ", and is younger than the log" if _written(wanted) > facts.date else ""
        reason += f"; the given {wanted} {how}{young}"
    return replace(closed, prd=wanted if wanted in same else existed[-1], prds=tuple(existed), reason=reason)


def _explain(facts: _Facts, missed: Closure, aperture: str | None) -> str:
    """Describe what is wrong with a record that is not consistent."""
    releases = _releases(missed.prd, facts.date)[:LOOK_BACK]
    names = [name for name in siaf.apertures(facts.instrument, releases[0]) if name[:3] == facts.letters]

    def closing(names: Sequence[str], **changes: Any) -> str | None:
        """Find a release and an aperture with which altered facts agree."""
        trials = _trials([replace(facts, **changes)], releases, names)
        return next((trial.aperture for _, trial in trials if trial.passed), None)

    position = max(abs(missed.v2_error), abs(missed.v3_error)) if facts.has_position else 0.0
    if position > TOLERANCE:
        for what, change in _VARIANTS:
            x, y = change(facts.x_det, facts.y_det)
            if closing([str(missed.aperture)], x_det=x, y_det=y, sam_x=nan):
                return f"the detector coordinates are {what}"
        if other := closing([name for name in names if "FULL" in name], sam_x=nan):
            return f"centroid and target location fit {other}, not {aperture or facts.prefix}"
        return "centroid and target location are not from one acquisition, or the SIAF on board is not known"
    if other := closing(names, x_det=nan):
        return f"the SAM leads to the reference point of {other}, not of {missed.aperture}"
    swapped = 3 - (facts.guider or 1)
    if closing([str(missed.aperture)], x_det=nan, guider=swapped):
        return f"the SAM is that of guider {swapped}"
    return "target location and SAM are not from one acquisition"
