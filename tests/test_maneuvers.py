"""Net small-angle maneuvers: real telemetry, sample visits with truth, made-up logs of what is not public."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xta import datasets, osslog
from xta.errors import ArgumentError, OssLogError, XtaWarning
from xta.geometry import siaf
from xta.osslog.maneuvers import MSA_HALF_FACET, net_maneuver, sam_to_v

SETTLED = 0.015  # [arcsec] three times what a sample visit's star is off before each exposure
REGIONS = ("MIRIM_TA1140_UR", "MIRIM_TA1140_CUR")

REAL = {
    "V02726402001": ("V02726402001_NIRCam_WFSC_TA_full_visit.txt", "PRDOPSSOC-059"),
    "V04556001001": ("V04556001001_NIRCam_WFSC_TA_full_visit.txt", "PRDOPSSOC-063"),
}


def log_of(*messages, ids=None):
    times = np.datetime64("2024-01-01T00:00:00", "us") + np.arange(len(messages)) * np.timedelta64(1, "s")
    return osslog.OssLog(times, list(messages), ids)


def block(detector, *, flag="SUCCESS"):
    stars = "**********************************************"
    return (
        stars,
        "TARGET LOCATE SUMMARY:",
        f"DETECTOR = {detector}",
        f"(convergenceFlag, convergenceThres) = ({flag}, 0.1)",
        stars,
    )


GUIDING = "From guiding: guider 1 X ideal 1.0 Y ideal 2.0"
NEXT = "From guiding: guider 1, X ideal 1.0 Y ideal 2.0"


def net(*messages, **options):
    return net_maneuver(log_of(*messages), **({"prd": "PRDOPSSOC-063"} | options))


@pytest.mark.parametrize("visit", REAL)
def test_net_maneuver_real_visits(shared, visit):
    """One TA SAM, followed by dithers of the science exposures, which do not count."""
    name, prd = REAL[visit]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XtaWarning)  # a row of V04556001001 is cut short
        log = osslog.read(shared / "oss" / name)
    found = net_maneuver(log, visit=visit, prd=prd)
    target, ap = log.centroids(visit)[0], siaf.aperture("NIRCAM", "NRCA3_FP1_SUB64", prd)
    assert found.v2 == pytest.approx(ap.V2Ref - target.target_v2, abs=1e-6)
    assert found.v3 == pytest.approx(ap.V3Ref - target.target_v3, abs=1e-6)
    assert (found.rule, found.instrument, found.guider) == ("TA SAM", "NIRCAM", target.guider)
    assert len(log.sams(visit)) > len(found.sams) == 1


def test_net_maneuver_real_nirspec(shared):
    log = osslog.read((shared / "oss" / "NIRSpec_WATA_2022-11-16_lines.txt").read_text())
    found = net_maneuver(log, prd="PRDOPSSOC-059")
    slit = siaf.aperture("NIRSPEC", "NRS_S1600A1_SLIT", "PRDOPSSOC-059")
    assert found.v2 == pytest.approx(slit.V2Ref - 321.376298, abs=1e-6)
    assert found.v3 == pytest.approx(slit.V3Ref + 474.149793, abs=1e-6)


def test_net_maneuver_real_nirspec_msa(shared):
    log = osslog.read((shared / "oss" / "NIRSpec_MSATA_V04291007001_line.txt").read_text())
    with pytest.raises(OssLogError, match="give guider="):
        net_maneuver(log)
    found = net_maneuver(log, guider=1)
    assert np.hypot(found.v2, found.v3) == pytest.approx(np.hypot(0.146680635, 0.0336992537), rel=1e-3)


@pytest.mark.parametrize("options", [{}, {"ta_dithers": True, "guider": 2}, {"mode": "NRCA4_MASKSWB"}], ids=str)
def test_net_maneuver_nircam_samples(tmp_path, options):
    """The net maneuver is the pointing error, dithered or not."""
    visit = datasets.make_visit(tmp_path, integrations=1, pointing_error=(0.31, -0.22, 0.0), **options, ideal=True)
    found = net_maneuver(osslog.read(visit.oss_log), visit=visit.visit_id, prd="PRDOPSSOC-063")
    assert found.v2 == pytest.approx(0.31, abs=SETTLED)
    assert found.v3 == pytest.approx(-0.22, abs=SETTLED)
    assert len(found.sams) == (4 if options.get("ta_dithers") else 2)


def test_net_maneuver_miri_sample(miri):
    log = osslog.read(miri.oss_log)
    found = net_maneuver(log, visit=miri.visit_id, regions=REGIONS, prd="PRDOPSSOC-063")
    assert found.v2 == pytest.approx(0.25, abs=SETTLED)
    assert found.v3 == pytest.approx(-0.18, abs=SETTLED)
    assert found.rule == "second + third TA SAM - offset from MIRIM_TA1140_UR to MIRIM_TA1140_CUR"
    with pytest.raises(ArgumentError, match="give its two regions"):
        net_maneuver(log, visit=miri.visit_id)


@pytest.mark.parametrize("mode", ["nircam", "miri"])
def test_net_maneuver_refuses_failed_acquisitions(tmp_path, mode):
    visit = datasets.make_visit(tmp_path, mode=mode, integrations=1, failed_ta=True, ideal=True)
    with pytest.raises(OssLogError, match="target locate failed"):
        net_maneuver(osslog.read(visit.oss_log), visit=visit.visit_id, regions=REGIONS)


MADE_UP = {
    "NIRCam": (
        (NEXT, "Dither SAM (x, y) = 0.1, 0.2", NEXT, "Dither SAM (x, y) = 0.3, -0.4", *block("NRCALONG")),
        ("TA SAM (x, y) = -0.5, 0.3", "Correction to NRC SAM (x, y) = 0.02, -0.01", "Dither SAM (x, y) = 9, 9"),
        {},
        (0.1 + 0.3 - 0.5 - 0.02, 0.2 - 0.4 + 0.3 + 0.01),
    ),
    "NIRISS": (
        (NEXT, "Dither SAM (x, y) = 0.1, 0.2", NEXT, "Dither SAM (x, y) = 0.3, -0.4", *block("NIS")),
        (GUIDING, "TA SAM (x, y) = -0.5, 0.3", NEXT, "Dither SAM (x, y) = 9, 9"),
        {},
        (-0.1, 0.1),
    ),
    "MIRI, simple": (block("MIRIMAGE"), (GUIDING, "TA SAM (x, y) = 0.1, 0.2"), {}, (0.1, 0.2)),
    "MIRI, slitless": (
        ("TA SAM (x, y) = 5, 6", *block("MIRIMAGE")),
        (GUIDING, "TA SAM (x, y) = 0.1, 0.2"),
        {"regions": ["MIRIM_TASLITLESSPRISM"]},
        (0.1, 0.2),
    ),
}


@pytest.mark.parametrize("kind", MADE_UP)
def test_net_maneuver_made_up_logs(kind):
    """The rules by text, and the same by message ids with other words."""
    before, after, options, (x, y) = MADE_UP[kind]
    expected = sam_to_v(x, y, guider=1, prd="PRDOPSSOC-063")
    found = net(*before, *after, **options, guider=None if GUIDING in after or NEXT in before else 1)
    assert (found.v2, found.v3) == pytest.approx(expected, abs=1e-12)
    known = {"TA SAM": 8231, "Dither": 8232, "Correc": 8248}
    ids = [known.get(text[:6]) for text in (*before, *after)]
    messages = [f"move ={text.split('=')[1]}" if known.get(text[:6]) else text for text in (*before, *after)]
    by_id = net_maneuver(log_of(*messages, ids=ids), guider=1, prd="PRDOPSSOC-063", **options)
    assert (by_id.v2, by_id.v3, by_id.rule) == (found.v2, found.v3, found.rule)


@pytest.mark.parametrize(("words", "ident"), [("NIRSpec TA MSA half facet SAM", None), ("other words", 8557)])
def test_net_maneuver_adds_half_facet(words, ident):
    log = log_of(GUIDING, words, "TA SAM for NRS (x, y, r) = 0.1, 0.2, -3.0", ids=[None, ident, None])
    found = net_maneuver(log, prd="PRDOPSSOC-063")
    plain = sam_to_v(0.1, 0.2, guider=1, prd="PRDOPSSOC-063")
    assert (found.v2 - plain[0], found.v3 - plain[1]) == pytest.approx(MSA_HALF_FACET, abs=1e-12)


FAULTS = {
    "no acquisition": ((GUIDING, "Dither SAM (x, y) = 1, 2"), {"instrument": "NIRCAM"}, "no TA SAM of NIRCAM"),
    "no instrument": ((GUIDING, "TA SAM (x, y) = 1, 2"), {}, "give instrument="),
    "unknown detector": ((*block("XYZ"), GUIDING, "TA SAM (x, y) = 1, 2"), {}, "give instrument="),
    "two acquisitions": (
        2 * (*block("NRCA3"), GUIDING, "TA SAM (x, y) = 1, 2"),
        {},
        "2 TA SAMs of NIRCAM",
    ),
    "half the dithers": (
        (NEXT, "Dither SAM (x, y) = 1, 2", *block("NRCA3"), "TA SAM (x, y) = 1, 2"),
        {},
        "1 dither SAMs before the TA SAM",
    ),
    "NIRISS without dithers": ((*block("NIS"), GUIDING, "TA SAM (x, y) = 1, 2"), {}, "0 dither SAMs"),
    "MIRI, second stage lost": (
        ("TA SAM (x, y) = 5, 6", *block("MIRIMAGE"), GUIDING, "TA SAM (x, y) = 1, 2", *block("MIRIMAGE")),
        {"regions": REGIONS},
        "2 TA SAMs and 2 analyses",
    ),
    "did not converge": ((*block("NRCA3", flag="FAILURE"), GUIDING, "TA SAM (x, y) = 1, 2"), {}, "convergence FAILURE"),
    "cut short": ((*block("NRCA3"), GUIDING, "TA SAM (x, y) = 1, "), {}, "no readable numbers"),
    "no guider": ((*block("NRCA3"), "TA SAM (x, y) = 1, 2"), {}, "give guider="),
    "two guiders": (
        (
            *(NEXT.replace("r 1", "r 2"), "Dither SAM (x, y) = 1, 2", NEXT, "Dither SAM (x, y) = 1, 2"),
            *(*block("NRCA3"), GUIDING, "TA SAM (x, y) = 1, 2"),
        ),
        {},
        r"the guiders \[1, 2\]",
    ),
    "the other guider": ((*block("NRCA3"), GUIDING, "TA SAM (x, y) = 1, 2"), {"guider": 2}, "and guider is 2"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_net_maneuver_faults(fault):
    messages, options, reason = FAULTS[fault]
    with pytest.raises(OssLogError, match=reason):
        net(*messages, **options)


def test_net_maneuver_refuses_niriss_failure_by_id():
    messages = (*block("NIS"), "some words", NEXT, "Dither SAM (x, y) = 1, 2")
    log = log_of(*messages, ids=[None] * 5 + [-8826, None, None])
    with pytest.raises(OssLogError, match="acquisition failed"):
        net_maneuver(log)


def test_net_maneuver_refuses_unknown_guider():
    with pytest.raises(ArgumentError, match="1 or 2"):
        net(*block("NRCA3"), GUIDING, "TA SAM (x, y) = 1, 2", guider=3)


@given(x=st.floats(-30, 30), y=st.floats(-30, 30), guider=st.sampled_from([1, 2]))
def test_sam_to_v_keeps_length_and_can_be_undone(x, y, guider):
    v2, v3 = sam_to_v(x, y, guider=guider, prd="PRDOPSSOC-063")
    assert np.hypot(v2, v3) == pytest.approx(np.hypot(x, y), rel=1e-4, abs=1e-9)
    fgs = siaf.aperture("FGS", f"FGS{guider}_FULL_OSS", "PRDOPSSOC-063")
    back = siaf.convert(fgs, fgs.V2Ref + v2, fgs.V3Ref + v3, "tel", "idl")
    assert back == pytest.approx((x, y), abs=1e-9)
