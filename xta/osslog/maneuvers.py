"""Compute the net small-angle maneuver (SAM) of an acquisition from the event log alone, in V2, V3.

The maneuvers after the acquisition, minus those that were planned anyway (dithers, moves from region to region), are
the pointing error. This is a second estimate, which uses no image, no header and no distortion file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from math import isfinite

from xta.errors import ArgumentError, OssLogError
from xta.geometry import siaf
from xta.model import INSTRUMENTS, guider_aperture
from xta.osslog import OssLog, Sam

__all__ = ["MSA_HALF_FACET", "NetManeuver", "net_maneuver", "sam_to_v"]

MSA_HALF_FACET = (-0.27566, 0.10979)
"""Move between the two exposures of a NIRSpec MSA acquisition, V2 and V3 [arcsec]; the log only shows that it was made.

Source: misc_jwst, module ``oss_ta_sams`` (M. Perrin), https://github.com/mperrin/misc_jwst
"""


@dataclass(frozen=True)
class NetManeuver:
    """The effect of an acquisition on the pointing.

    `v2`, `v3` [arcsec] are the move of the star that corrects it: the intended position minus the actual one, before
    any dither. `rule` describes the sum in words, and `sams` are the maneuvers in it.
    """

    v2: float
    v3: float
    instrument: str
    guider: int
    rule: str
    sams: tuple[Sam, ...]


def net_maneuver(
    log: OssLog,
    *,
    visit: str | int | None = None,
    instrument: str | None = None,
    regions: Sequence[str] = (),
    guider: int | None = None,
    prd: str | None = None,
) -> NetManeuver:
    """Add up the maneuvers of an acquisition.

    The log needs the texts of the messages, their IDs, or both. `regions` are the TA apertures in order of time, as
    in APERNAME; they are needed for the two regions of MIRI coronagraphy, which are not in the log. `instrument` and
    `guider` are for logs that do not contain them, and `prd` is the SIAF release that was on board.

    Notes
    -----
    NIRCam: the dither SAMs before the TA SAM, plus the TA SAM, minus the wedge correction of coronagraphy, if there
    is one. NIRISS: two dither SAMs plus the TA SAM. MIRI: a single TA SAM; of two (slitless prism) the second, since
    the first is the constant move from the block of TA regions to one of them; of three (coronagraphy) the second plus
    the third minus the offset from the first region to the second. NIRSpec: the TA SAM, for the MSA plus the half-facet
    move. Real logs of a NIRCam TA and a NIRSpec WATA agree with this to 1e-6 arcsec; no logs of the other kinds are
    public.

    References
    ----------
    Message ids and rules: misc_jwst, module ``oss_ta_sams`` (M. Perrin), https://github.com/mperrin/misc_jwst
    """
    log = log if visit is None else log.select(visit)
    sams, centroids = log.sams(), log.centroids()
    detectors = [centroid.detector for centroid in centroids if centroid.detector]
    if any(sam.kind in {"facet", "nrs"} for sam in sams):
        detectors.append("NRS")
    name = (instrument or (INSTRUMENTS.get(detectors[0][:3], "") if detectors else "")).upper()
    if name not in map(str.upper, INSTRUMENTS.values()):
        msg = f"the log does not contain the instrument of the acquisition (detectors: {detectors}); give instrument="
        raise OssLogError(msg)
    failed = next((c.failure or f"convergence {c.convergence}" for c in centroids if c.failed), None)
    if failed or (name == "NIRISS" and any(f.kind == "target locate" for f in log.failures())):
        msg = f"the acquisition failed ({failed or 'NIRISS target locate'}): its maneuvers are not a correction"
        raise OssLogError(msg)
    plus, minus, offset, rule = _parts(name, sams, blocks=len(centroids), regions=regions, prd=prd)
    used = (*plus, *minus)
    if not all(isfinite(sam.x + sam.y) for sam in used):
        msg = "a maneuver in the log has no readable numbers; get the log again"
        raise OssLogError(msg)
    number = _guider(sams, guider)
    x = sum(sam.x for sam in plus) - sum(sam.x for sam in minus)
    y = sum(sam.y for sam in plus) - sum(sam.y for sam in minus)
    v2, v3 = sam_to_v(x, y, guider=number, prd=prd)
    return NetManeuver(v2 + offset[0], v3 + offset[1], name, number, rule, used)


def sam_to_v(x: float, y: float, *, guider: int, prd: str | None = None) -> tuple[float, float]:
    """Convert a maneuver from the Ideal frame of FGSn_FULL_OSS, as logged, to a move of the star in V2, V3 [arcsec].

    Examples
    --------
    >>> v2, v3 = sam_to_v(-0.0119608742, 0.0197077842, guider=1, prd="PRDOPSSOC-059")
    >>> round(69.6123499 + v2, 5), round(-515.868572 + v3, 5)  # to the reference point of NRCA3_FP1
    (69.59996, -515.84913)
    """
    fgs = siaf.aperture("FGS", guider_aperture(guider), prd)
    v2, v3 = siaf.convert(fgs, x, y, "idl", "tel")
    return float(v2 - fgs.V2Ref), float(v3 - fgs.V3Ref)


Parts = tuple[list[Sam], list[Sam], tuple[float, float], str]


def _parts(name: str, sams: Sequence[Sam], *, blocks: int, regions: Sequence[str], prd: str | None) -> Parts:
    """Choose what to add, what to subtract, and a constant move in V2, V3, by instrument."""
    kinds = {kind: [sam for sam in sams if sam.kind == kind] for kind in ("ta", "nrs", "wedge", "facet")}
    ta = kinds["nrs" if name == "NIRSPEC" else "ta"]
    if not ta:
        msg = f"the log has no TA SAM of {name}: there was no acquisition, it failed, or the log is cut short"
        raise OssLogError(msg)
    if name == "MIRI":
        return _miri(ta, blocks=blocks, regions=regions, prd=prd)
    if len(ta) > 1 or len(kinds["wedge"]) > 1:
        msg = f"the log has {len(ta)} TA SAMs of {name} from as many acquisitions; cut it to one of them"
        raise OssLogError(msg)
    if name == "NIRSPEC":
        facet = bool(kinds["facet"])
        return ta, [], MSA_HALF_FACET if facet else (0.0, 0.0), "TA SAM" + (" + half facet" if facet else "")
    dithers = [sam for sam in takewhile(lambda sam: sam.kind != "ta", sams) if sam.kind == "dither"]
    if len(dithers) not in ({2} if name == "NIRISS" else {0, 2}):
        msg = f"the log has {len(dithers)} dither SAMs before the TA SAM, too many or too few for {name}; check the log"
        raise OssLogError(msg)
    wedge = kinds["wedge"] if name == "NIRCAM" else []
    rule = f"{len(dithers)} dither SAMs + TA SAM" if dithers else "TA SAM"
    return [*dithers, *ta], wedge[:1], (0.0, 0.0), rule + (" - wedge correction" if wedge else "")


def _miri(ta: list[Sam], *, blocks: int, regions: Sequence[str], prd: str | None) -> Parts:
    """Distinguish one-stage, slitless and two-stage acquisitions; `blocks` is the number of analyses."""
    if len(ta) == 3 and blocks in {0, 2}:
        if len(regions) != 2:
            msg = f"three TA SAMs belong to MIRI coronagraphy; give its two regions=(first, second), not {regions!r}"
            raise ArgumentError(msg)
        first, second = (siaf.aperture("MIRI", region, prd) for region in regions)
        offset = float(first.V2Ref - second.V2Ref), float(first.V3Ref - second.V3Ref)
        return ta[1:], [], offset, f"second + third TA SAM - offset from {regions[0]} to {regions[1]}"
    if len(ta) in {1, 2} and blocks in {0, 1} and len(regions) < 2:
        return ta[-1:], [], (0.0, 0.0), "TA SAM" if len(ta) == 1 else "second TA SAM"
    msg = (
        f"{len(ta)} TA SAMs and {blocks} analyses (regions {list(regions)}) do not belong to a complete MIRI "
        "acquisition, which has one of each, two and one (slitless), or three and two (coronagraphy)"
    )
    raise OssLogError(msg)


def _guider(sams: Sequence[Sam], given: int | None) -> int:
    logged = {sam.guider for sam in sams if sam.guider}
    if given not in {None, 1, 2}:
        msg = f"guider is {given!r}; give 1 or 2"
        raise ArgumentError(msg)
    numbers = logged | ({given} if given else set())
    if len(numbers) != 1:
        told = f", and guider is {given}" if given else ""
        msg = f"the log has the guiders {sorted(logged)}{told}, not exactly one; give guider="
        raise OssLogError(msg)
    return int(numbers.pop())
