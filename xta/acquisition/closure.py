"""Close the loop of an onboard acquisition: centroid, target location and maneuver against the SIAF.

The log of an acquisition says the same thing three times: a centroid in detector pixels, where that is in
V2, V3, and the small-angle maneuver (SAM) that takes it to a reference point. The SIAF that was onboard joins
them to a millionth of an arcsecond. A position counted from 0, an exchanged axis, another aperture or another
visit misses by a thousand times more, and so does the SIAF of another time.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from math import inf, isfinite, nan
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from xta.errors import ArgumentError, SiafError
from xta.geometry import siaf
from xta.model import INSTRUMENTS, guider_aperture
from xta.osslog import normalize_visit

if TYPE_CHECKING:
    from pysiaf import JwstAperture

    from xta.acquisition.targ_acq import TargAcq
    from xta.osslog import Centroid, Sam

    Record: TypeAlias = Centroid | Sam | TargAcq

__all__ = ["TOLERANCE", "Closure", "closure"]

TOLERANCE = 3e-6
"""Largest error of a closed loop [arcsec]. The log has nine digits: 3e-7 in V2, V3 and 1e-6 in the SAM on
real visits. The smallest mistake looked for is that of a SIAF of another time, some milliarcseconds."""

LOOK_BACK = 12
"""Releases in which the reason of a mistake is looked for: those of the year or two before the log."""

"""How the names of detectors and apertures begin -> instrument."""

_VARIANTS: tuple[tuple[str, Callable[[float, float], tuple[float, float]]], ...] = (
    ("counted from 0 (they close with 1 added)", lambda x, y: (x + 1, y + 1)),
    ("1 too large (they close with 1 taken off)", lambda x, y: (x - 1, y - 1)),
    ("exchanged: column is given as row", lambda x, y: (y, x)),
    ("exchanged and counted from 0", lambda x, y: (y + 1, x + 1)),
)


@dataclass(frozen=True)
class Closure:
    """Whether an acquisition closes, and by how much it misses.

    Attributes
    ----------
    v2_error, v3_error : float
        Centroid through the SIAF minus the logged target location [arcsec]; NaN where the log lacks one of
        them, and for NIRSpec, where the path from pixel to sky hangs on the tilt of the grating wheel.
    sam_x_error, sam_y_error : float
        Reference point minus logged target location, in the Ideal frame of the guider, minus the logged SAM
        [arcsec].
    prd : str or None
        The SIAF release that these errors are of: of those that close the one that was given, else the latest
        that existed; if none closes, the one that misses least.
    prds : tuple of str
        All releases that close and may have been onboard, in order. The SIAF of many releases is the same
        for a given aperture, so there may be several.
    aperture : str or None
        Whose reference point the SAM leads to: that of `apertures` that was given, or the first.
    apertures : tuple of str
        All that share this point.
    guider : int or None
    passed : bool or None
        None where the record holds nothing to test.
    reason : str
        In words, with what is wrong where something is.
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
        """The largest of the errors [arcsec]; infinite where there is none."""
        known = [abs(value) for value in self._errors if isfinite(value)]
        return max(known, default=inf)

    @property
    def _errors(self) -> tuple[float, float, float, float]:
        return self.v2_error, self.v3_error, self.sam_x_error, self.sam_y_error


@dataclass(frozen=True)
class _Facts:
    """What a record says, in SIAF terms."""

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
    """Test an onboard acquisition against the SIAF, and tell which release was onboard.

    Parameters
    ----------
    record : osslog.Centroid, osslog.Sam or targacq.TargAcq
        Of one acquisition.
    prd : str, optional
        The release thought to have been onboard, such as the keyword PRD_VER; tried first. Another one that
        closes is found and named all the same, for a product may be processed with a later release.
    aperture : str, optional
        The TA aperture, such as the keyword APERNAME. By default it is found: the one of the detector whose
        reference point the SAM leads to.
    guider : int, optional
        1 or 2, where the record does not tell; by default both are tried.
    visit : str or int, optional
        The visit that the record should be of.
    explain : bool
        Look for what is wrong with a record that does not close; this can take some seconds.

    Returns
    -------
    Closure

    Raises
    ------
    SiafError
        If the aperture is in no release, or of another instrument than the record's detector.
    ArgumentError
        If `record` is no acquisition, or `visit` not a visit id.

    Notes
    -----
    The position is taken through the polynomials of the aperture itself (Det to V2, V3). The SAM is the move
    of the star, reference point minus target location, in the Ideal frame of FGSn_FULL_OSS. The first TA
    region of MIRI coronagraphy leads to the second one, whose name has a C before the quadrant, so both are
    allowed. A release cannot have been onboard before its files were written, which their first lines tell.

    Examples
    --------
    >>> from xta import osslog
    >>> log = osslog.read('''2022-12-04 03:42:23 DETECTOR = NRCA3_LOS
    ... 2022-12-04 03:45:54 detector coord (colCentroid, rowCentroid) = (1587.89891, 1409.87847)
    ... 2022-12-04 03:46:00 From guiding: guider 1 X ideal 36.7410000 Y ideal 12.5360000
    ... 2022-12-04 03:46:01 target location (v2, v3) = (69.6123499, -515.868572)
    ... 2022-12-04 03:46:02 TA SAM (x, y) = -0.0119608742, 0.0197077842''')
    >>> found = closure(log.centroids()[0])
    >>> found.passed, found.prds, found.aperture
    (True, ('PRDOPSSOC-058', 'PRDOPSSOC-059'), 'NRCA3_FP1')
    """
    if not any(hasattr(record, name) for name in ("target_v2", "x_det", "x")):
        msg = f"record is a {type(record).__name__}; give one acquisition, such as osslog.read(path).centroids()[0]"
        raise ArgumentError(msg)
    facts = _facts(record, aperture, guider)
    if facts is None:
        return Closure(reason="the record names no detector; give its aperture")
    if not (facts.has_position or facts.has_sam):
        return Closure(reason=_nothing(facts))
    each = [facts] if facts.guider or not facts.has_sam else [replace(facts, guider=n) for n in (1, 2)]
    facts, found = _search(each, aperture, prd)
    if found.passed is None:
        return replace(
            found, reason=f"aperture {aperture} has no detector pixels in the SIAF; give that of the TA image"
        )
    if found.passed:
        found = _with_ties(facts, found, prd)
    else:
        found = replace(found, reason=_missed(found) + (f": {_explain(facts, found, aperture)}" if explain else ""))
    return _with_visit(found, record, visit)


def _facts(record: "Record", aperture: str | None, guider: int | None) -> _Facts | None:
    detector = str(getattr(record, "detector", None) or "").upper().replace("LONG", "5")
    if not detector and getattr(record, "kind", "") == "nrs":
        detector = "NRS1"
    letters = (detector or aperture or "")[:3]
    if letters not in INSTRUMENTS:
        return None
    if aperture and aperture[:3] != letters:
        msg = f"aperture {aperture} is not of the detector {detector} that the record is of; give one that is"
        raise SiafError(msg)
    prefix = {"NRC": f"{detector[:5] or str(aperture)[:5]}_", "MIR": "MIRIM_"}.get(letters, letters)
    known = guider or getattr(record, "guider", None)

    def number(*names: str) -> float:
        return float(next((getattr(record, name) for name in names if hasattr(record, name)), nan))

    x_det, y_det = siaf.oss_to_det(letters, number("x_det"), number("y_det"))
    return _Facts(
        letters,
        prefix,
        x_det,
        y_det,
        number("target_v2"),
        number("target_v3"),
        number("sam_x", "x"),
        number("sam_y", "y"),
        int(known) if known else None,
        _date(record),
    )


def _date(record: "Record") -> str:
    """When the record was made, as text that sorts; "" where nothing tells."""
    stamps = (str(getattr(record, name, "")) for name in ("time", "start", "date_beg"))
    return next((stamp for stamp in stamps if re.match(r"\d{4}-\d\d-\d\d", stamp)), "")


def _nothing(facts: _Facts) -> str:
    if isfinite(facts.v2 + facts.v3):
        return "the record has a target location, but neither a centroid that can be tested nor a SAM"
    return "the record has no target location, so there is nothing to compare its centroid with"


@cache
def _entries(prd: str, instrument: str) -> dict[str, int]:
    """Hash each entry of a SIAF: to compare releases takes a tenth of the time of loading them."""
    path = siaf.releases()[prd] / f"{siaf.INSTRUMENTS[instrument]}_SIAF.xml"
    text = re.sub(r"<(UseAfterDate|Comment)>[^<]*<", "<", path.read_text(encoding="utf-8"))
    entries = text.split("<SiafEntry>")[1:]
    named = ((re.search(r"<AperName>([^<]*)<", entry), entry) for entry in entries)
    return {match[1]: hash(entry) for match, entry in named if match}


@cache
def _written(prd: str) -> str:
    """When the last SIAF file of a release was written: it was not onboard before."""
    stamps = [""]
    for path in siaf.releases()[prd].glob("*_SIAF.xml"):
        with path.open(encoding="utf-8") as file:
            match = re.search(r"Generated ([-\d]+T[:\d]+)", file.read(400))
        stamps += [match[1]] if match else []
    return max(stamps)


def _candidates(prd: str, facts: _Facts, aperture: str | None) -> list[str]:
    """Name the apertures whose reference point may be meant."""
    entries = _entries(prd, facts.instrument)
    if aperture is None:
        return [name for name in entries if name.startswith(facts.prefix)]
    inner = re.sub(r"_([UL][LR])$", r"_C\1", aperture)
    return [name for name in dict.fromkeys((aperture, inner)) if name in entries]


def _fingerprint(prd: str, facts: _Facts, names: Sequence[str]) -> int:
    """Hash all that a trial depends on."""
    mine, guider = _entries(prd, facts.instrument), _entries(prd, "FGS")
    return hash((*(mine.get(name) for name in names), guider.get(guider_aperture(facts.guider))))


def _releases(prd: str | None, date: str) -> list[str]:
    """Order the releases: the one given, those that existed from the latest back, those that did not."""
    everything = list(siaf.releases())
    existed = [name for name in everything if not date or _written(name) <= date]
    given = [siaf.release(prd)] if prd else []
    return list(dict.fromkeys([*given, *reversed(existed), *everything]))


def _search(each: Sequence[_Facts], aperture: str | None, prd: str | None) -> tuple[_Facts, Closure]:
    """Try one release after the other until one closes, equal ones once; with each reading of the record."""
    best: tuple[_Facts, Closure] | None = None
    seen: set[int] = set()
    for name, facts in product(_releases(prd, each[0].date), each):
        names = _candidates(name, facts, aperture)
        mark = _fingerprint(name, facts, names)
        if not names or mark in seen:
            continue
        seen.add(mark)
        trial = _trial(facts, name, names)
        if best is None or trial.error < best[1].error:
            best = facts, trial
        if trial.passed:
            break
    if best is None:
        msg = f"aperture {aperture} is in no release of the {each[0].instrument} SIAF; check the APERNAME of the TA"
        raise SiafError(msg)
    return best


def _trial(facts: _Facts, prd: str, names: Sequence[str]) -> Closure:
    """Close the loop with one release, and of the apertures with those that fit best."""
    every = siaf.siaf(facts.instrument, prd).apertures
    apertures = [ap for ap in (every[name] for name in names) if ap.V2Ref is not None]
    if facts.has_position:
        apertures = [ap for ap in apertures if ap.XDetRef is not None]
    if not facts.has_sam and len(apertures) > 2:  # a position tells detectors apart, not their subarrays
        apertures = [ap for ap in apertures if ap.AperType == "FULLSCA"]
    trials = []
    for ap, x_error, y_error in _by_sam(facts, prd, apertures):
        v2_error, v3_error = _position_errors(facts, ap)
        trials.append(Closure(v2_error, v3_error, x_error, y_error, prd, (), ap.AperName, (), facts.guider))
    if not trials:
        return Closure(prd=prd)
    best = min(trials, key=lambda trial: trial.error)
    if best.error > TOLERANCE:
        return replace(best, passed=False)
    same = tuple(str(trial.aperture) for trial in trials if trial.error <= TOLERANCE)
    return replace(best, passed=True, aperture=same[0], apertures=same)


def _by_sam(facts: _Facts, prd: str, apertures: "Sequence[JwstAperture]") -> "list[tuple[JwstAperture, float, float]]":
    """Choose the apertures to whose reference point the SAM leads, or else the nearest, with the errors."""
    if not facts.has_sam or not apertures:
        return [(ap, nan, nan) for ap in apertures]
    fgs = siaf.aperture("FGS", guider_aperture(facts.guider), prd)
    v2, v3 = np.array([(ap.V2Ref, ap.V3Ref) for ap in apertures]).T
    x, y = siaf.convert(fgs, fgs.V2Ref + v2 - facts.v2, fgs.V3Ref + v3 - facts.v3, "tel", "idl")
    x, y = x - facts.sam_x, y - facts.sam_y
    error = np.maximum(abs(x), abs(y))
    chosen = np.flatnonzero(error <= max(TOLERANCE, error.min())).tolist()
    return [(apertures[k], float(x[k]), float(y[k])) for k in chosen]


def _position_errors(facts: _Facts, ap: "JwstAperture") -> tuple[float, float]:
    if not facts.has_position:
        return nan, nan
    v2, v3 = siaf.convert(ap, facts.x_det, facts.y_det, "det", "tel")
    return float(v2) - facts.v2, float(v3) - facts.v3


def _with_ties(facts: _Facts, found: Closure, given: str | None) -> Closure:
    """Add the releases that close as well: neighbors, as long as they do."""
    everything = list(siaf.releases())
    here = everything.index(str(found.prd))
    close: dict[int, bool] = {_fingerprint(str(found.prd), facts, found.apertures[:1]): True}

    def closes(name: str) -> bool:
        mark = _fingerprint(name, facts, found.apertures[:1])
        if mark not in close:
            names = [ap for ap in found.apertures[:1] if ap in _entries(name, facts.instrument)]
            close[mark] = bool(_trial(facts, name, names).passed)
        return close[mark]

    same = {here}
    for step in (1, -1):
        k = here + step
        while 0 <= k < len(everything) and closes(everything[k]):
            same.add(k)
            k += step
    wanted = siaf.release(given) if given else None
    names = [everything[k] for k in sorted(same)]
    existed = [name for name in names if not facts.date or _written(name) <= facts.date] or names
    prd = wanted if wanted in names else existed[-1]
    span = existed[0] if len(existed) == 1 else f"{existed[0]} to {existed[-1]}"
    reason = f"closes with {span}"
    if wanted and wanted not in existed:
        how = "has the same values" if wanted in names else "does not"
        young = ", and is younger than the log" if _written(wanted) > facts.date else ""
        reason += f"; the given {wanted} {how}{young}"
    return replace(found, prd=prd, prds=tuple(existed), reason=reason)


def _missed(found: Closure) -> str:
    return f"misses by {found.error * 1e3:.3g} mas with {found.prd}, the release that fits best"


def _explain(facts: _Facts, found: Closure, aperture: str | None) -> str:
    """Say what is wrong with a record that does not close."""
    releases = _releases(found.prd, facts.date)[:LOOK_BACK]
    mine, names = [str(found.aperture)], [n for n in _entries(releases[0], facts.instrument) if n[:3] == facts.letters]
    position = max(abs(found.v2_error), abs(found.v3_error)) if facts.has_position else 0.0
    if position > TOLERANCE:
        for what, change in _VARIANTS:
            x, y = change(facts.x_det, facts.y_det)
            if _anywhere(replace(facts, x_det=x, y_det=y, sam_x=nan), releases, mine):
                return f"the detector coordinates are {what}"
        if other := _anywhere(replace(facts, sam_x=nan), releases, [name for name in names if "FULL" in name]):
            return f"centroid and target location fit {other.aperture}, not {aperture or facts.prefix}"
        return "centroid and target location are not of one acquisition, or the SIAF onboard is not known"
    if other := _anywhere(replace(facts, x_det=nan), releases, names):
        return f"the SAM leads to the reference point of {other.aperture}, not of {found.aperture}"
    swapped = 3 - (facts.guider or 1)
    if _anywhere(replace(facts, x_det=nan, guider=swapped), releases, mine):
        return f"the SAM is that of guider {swapped}"
    return "target location and SAM are not of one acquisition"


def _anywhere(facts: _Facts, releases: Sequence[str], names: Sequence[str]) -> Closure | None:
    """Look for a release and an aperture with which altered facts close."""
    seen: set[int] = set()
    for name in releases:
        there = [ap for ap in names if ap in _entries(name, facts.instrument)]
        mark = _fingerprint(name, facts, there)
        if there and mark not in seen and (trial := _trial(facts, name, there)).passed:
            return trial
        seen.add(mark)
    return None


def _with_visit(found: Closure, record: "Record", visit: str | int | None) -> Closure:
    mine = getattr(record, "visit", None) or getattr(record, "visit_id", None)
    if visit is None or not mine or normalize_visit(visit) == normalize_visit(mine):
        return found
    reason = f"the record is of visit {normalize_visit(mine)}, not of {normalize_visit(visit)}; it {found.reason}"
    return replace(found, passed=False, reason=reason)
