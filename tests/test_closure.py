"""The closure of onboard acquisitions: real telemetry, sample visits, and every mistake that it has to catch."""

import warnings
from dataclasses import replace
from types import SimpleNamespace

import pytest

from xta import datasets, osslog
from xta.acquisition import closure as rules
from xta.acquisition.closure import closure
from xta.acquisition.targ_acq import TargAcq
from xta.errors import ArgumentError, SiafError, XtaWarning
from xta.geometry import siaf

LOGS = {
    "V02726402001": "V02726402001_NIRCam_WFSC_TA_full_visit.txt",
    "V04556001001": "V04556001001_NIRCam_WFSC_TA_full_visit.txt",
}
POSITION, SAM = 3e-7, 1e-6  # [arcsec] what real logs close to


@pytest.fixture(scope="module")
def real(shared):
    """The acquisitions of the two complete real visits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XtaWarning)  # a row of V04556001001 is cut short
        return {visit: osslog.read(shared / "oss" / name).centroids()[0] for visit, name in LOGS.items()}


@pytest.fixture(scope="module")
def record(real):
    return real["V02726402001"]


@pytest.fixture(scope="module")
def nirspec(shared):
    return osslog.read((shared / "oss" / "NIRSpec_WATA_2022-11-16_lines.txt").read_text()).sams()[0]


ONBOARD = {
    "V02726402001": ("PRDOPSSOC-058", "PRDOPSSOC-059"),
    "V04556001001": ("PRDOPSSOC-058", "PRDOPSSOC-059", "PRDOPSSOC-062", "PRDOPSSOC-063"),
}


@pytest.mark.parametrize("visit", LOGS)
def test_closure_passes_for_real_visit(real, visit):
    found = closure(real[visit], visit=visit)
    assert found.passed is True
    assert max(abs(found.v2_error), abs(found.v3_error)) < POSITION
    assert max(abs(found.sam_x_error), abs(found.sam_y_error)) < SAM
    assert found.error < SAM
    assert found.prds == ONBOARD[visit]
    assert found.prd == ONBOARD[visit][-1]
    assert "NRCA3_FP1_SUB64" in found.apertures
    assert found.guider == real[visit].guider
    assert f"{found.prds[0]} to {found.prds[-1]}" in found.reason


def test_closure_passes_for_nirspec(nirspec):
    found = closure(nirspec)
    assert found.passed is True
    assert max(abs(found.sam_x_error), abs(found.sam_y_error)) < SAM
    assert found.v2_error != found.v2_error  # not tested: the grating wheel's tilt is not in the log
    assert found.prds == ONBOARD["V02726402001"]
    assert "NRS_S1600A1_SLIT" in found.apertures


def test_closure_takes_given_release(record):
    same = closure(record, prd="PRDOPSSOC-058", aperture="NRCA3_FP1_SUB64")
    assert (same.passed, same.prd, same.aperture) == (True, "PRDOPSSOC-058", "NRCA3_FP1_SUB64")
    young = closure(record, prd="PRDOPSSOC-063")
    assert (young.passed, young.prd) == (True, "PRDOPSSOC-063")
    assert "PRDOPSSOC-063 has the same values, and is younger than the log" in young.reason
    wrong = closure(record, prd="PRDOPSSOC-075")
    assert (wrong.passed, wrong.prd, wrong.prds) == (True, "PRDOPSSOC-059", ONBOARD["V02726402001"])
    assert "PRDOPSSOC-075 does not" in wrong.reason
    assert wrong.error < SAM


def test_trial_misses_with_siaf_of_other_time(record):
    """What the release is told by: 57 mas since PRDOPSSOC-065."""
    facts = rules._facts(record, "NRCA3_FP1", None)
    trial = rules._trial(facts, "PRDOPSSOC-065", ["NRCA3_FP1"])
    assert trial.passed is False
    assert 0.055 < (trial.v2_error**2 + trial.v3_error**2) ** 0.5 < 0.060


FAULTS = {
    "counted from 0": (lambda a, _: replace(a, x_det=a.x_det - 1, y_det=a.y_det - 1), "counted from 0"),
    "1 too much": (lambda a, _: replace(a, x_det=a.x_det + 1, y_det=a.y_det + 1), "1 too large"),
    "axes exchanged": (
        lambda a, _: replace(a, x_det=a.y_det, y_det=a.x_det),
        "swapped: the column is given",
    ),
    "swapped and counted from 0": (
        lambda a, _: replace(a, x_det=a.y_det - 1, y_det=a.x_det - 1),
        "swapped and counted from 0",
    ),
    "another detector": (lambda a, _: replace(a, detector="NRCA1"), "fit NRCA3_FULL"),
    "centroid of another visit": (
        lambda a, b: replace(a, x_det=b.x_det, y_det=b.y_det),
        "centroid and target location are not from one acquisition",
    ),
    "SAM of another visit": (
        lambda a, b: replace(a, sam_x=b.sam_x, sam_y=b.sam_y),
        "target location and SAM are not from one acquisition",
    ),
    "another guider": (lambda a, _: replace(a, guider=2), "the SAM is that of guider 1"),
    "a digit lost": (lambda a, _: replace(a, x_det=float(f"{a.x_det:.4g}")), "not from one acquisition"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_closure_names_mistake(real, fault):
    change, reason = FAULTS[fault]
    found = closure(change(real["V02726402001"], real["V04556001001"]))
    assert found.passed is False
    assert found.error > 100 * rules.TOLERANCE
    assert found.prds == ()
    assert reason in found.reason


def test_closure_names_other_aperture(record, nirspec):
    found = closure(record, aperture="NRCA3_FULL")
    assert found.passed is False
    assert "leads to the reference point of NRCA3_FP1, not of NRCA3_FULL" in found.reason
    found = closure(nirspec, aperture="NRS_S400A1_SLIT")
    assert found.passed is False
    assert "NRS_S1600A1_SLIT, not of NRS_S400A1_SLIT" in found.reason


def test_closure_fails_for_other_visit(record):
    found = closure(record, visit="4556:1:1")
    assert found.passed is False
    assert found.error < SAM
    assert "of visit V02726402001, not of V04556001001" in found.reason


def test_closure_refuses_impossible_aperture(record):
    with pytest.raises(SiafError, match="not on detector NRCA3"):
        closure(record, aperture="MIRIM_TAMRS")
    with pytest.raises(SiafError, match="in no release of the NIRCAM SIAF"):
        closure(record, aperture="NRCA3_NONSENSE")


def test_closure_of_record_with_nothing_to_test(shared, record):
    miri = osslog.read(shared / "oss" / "MIRI_MRS_TA_2023-06-12_raw_csv_rows.csv").centroids()[0]
    for lone, reason in (
        (miri, "no target location"),
        (replace(record, detector=None), "does not contain its detector"),
        (replace(record, detector="NRS1", sam_x=float("nan")), "neither a centroid that can be tested nor a SAM"),
    ):
        found = closure(lone)
        assert found.passed is None
        assert reason in found.reason


def test_closure_of_aperture_without_pixels(record):
    found = closure(replace(record, detector="MIRIMAGE"), aperture="MIRIM_SLIT")
    assert found.passed is None
    assert "MIRIM_SLIT has no detector pixels" in found.reason


def test_closure_of_part_of_record(shared, record):
    """A centroid without SAM, a SAM without centroid, a record that does not name its guider."""
    found = closure(replace(record, sam_x=float("nan")))
    assert (found.passed, found.aperture) == (True, "NRCA3_FULL")
    assert max(abs(found.v2_error), abs(found.v3_error)) < POSITION
    sam = osslog.read(shared / "oss" / LOGS["V02726402001"]).sams()[0]
    found = closure(sam, aperture="NRCA3_FP1_SUB64")
    assert found.passed is True
    assert max(abs(found.sam_x_error), abs(found.sam_y_error)) < SAM
    assert closure(sam).passed is None
    assert closure(replace(record, guider=None)).guider == 1


def test_closure_passes_for_targ_acq(real):
    a = real["V04556001001"]
    record = TargAcq(
        *("jw04556001001_02102_00001_nrca3_uncal.fits", "04556001001", "NRCA3", "2024-02-29T04:11:11.000"),
        *("SUCCESSFUL", "", a.x_det, a.y_det, a.target_v2, a.target_v3, a.sam_x, a.sam_y),
    )
    found = closure(record, aperture="NRCA3_FP1_SUB64", visit="04556001001")
    assert (found.passed, found.guider, found.prd) == (True, 2, "PRDOPSSOC-063")
    assert closure(replace(record, visit_id="04556001002"), visit="04556001001").passed is False


def test_closure_exchanges_column_and_row_of_niriss():
    """Made from the SIAF: no public log of NIRISS has a target location."""
    prd = "PRDOPSSOC-063"
    ta, fgs = siaf.aperture("NIRISS", "NIS_AMITA", prd), siaf.aperture("FGS", "FGS1_FULL_OSS", prd)
    v2, v3 = siaf.convert(ta, 978.35867, 1928.30737, "det", "tel")
    x, y = siaf.convert(fgs, fgs.V2Ref + ta.V2Ref - v2, fgs.V3Ref + ta.V3Ref - v3, "tel", "idl")
    logged = osslog.Centroid(
        *(1928.30737, 978.35867), detector="NIS", guider=1, target_v2=v2, target_v3=v3, sam_x=x, sam_y=y
    )
    found = closure(logged, prd=prd)
    assert (found.passed, found.aperture) == (True, "NIS_AMITA")
    assert "swapped" in closure(replace(logged, x_det=978.35867, y_det=1928.30737)).reason


def test_closure_passes_for_sample_visits(nircam, miri):
    """Each TA block of a sample visit; the first one of MIRI leads to the second region."""
    block = osslog.read(nircam.oss_log).centroids(nircam.visit_id)[0]
    found = closure(block, prd="PRDOPSSOC-063", aperture="NRCA5_TAMASK335R", visit=nircam.visit_id)
    assert (found.passed, found.prd) == (True, "PRDOPSSOC-063")
    for block, region in zip(osslog.read(miri.oss_log).centroids(miri.visit_id), ("UR", "CUR"), strict=True):
        found = closure(block, prd="PRDOPSSOC-063", aperture=f"MIRIM_TA1140_{region}")
        assert (found.passed, found.aperture) == (True, "MIRIM_TA1140_CUR")
        assert found.error < rules.TOLERANCE


def test_closure_passes_with_siaf_younger_than_log(tmp_path):
    visit = datasets.make_visit(tmp_path, integrations=1, ta_dithers=True, guider=2, prd="PRDOPSSOC-075", ideal=True)
    block = osslog.read(visit.oss_log).centroids(visit.visit_id)[0]
    found = closure(block, prd="PRDOPSSOC-075", aperture="NRCA5_TAMASK335R")
    assert (found.passed, found.prd) == (True, "PRDOPSSOC-075")
    assert closure(block).prd == "PRDOPSSOC-065"


@pytest.mark.parametrize("record", ["V09991001001_osslog.csv", osslog.read("2022-01-01 00:00:00 nothing\n"), None, 5])
def test_closure_refuses_what_is_no_acquisition(record):
    with pytest.raises(ArgumentError, match="give one acquisition"):
        closure(record)


def test_closure_reaches_oldest_release():
    """Made from the SIAF: the two oldest releases have the same values, and no other has."""
    oldest, second = list(siaf.releases())[:2]
    ta, fgs = siaf.aperture("NIRCAM", "NRCA3_FP1", oldest), siaf.aperture("FGS", "FGS1_FULL_OSS", oldest)
    v2, v3 = siaf.convert(ta, 1587.9, 1409.9, "det", "tel")
    x, y = siaf.convert(fgs, fgs.V2Ref + ta.V2Ref - v2, fgs.V3Ref + ta.V3Ref - v3, "tel", "idl")
    logged = osslog.Centroid(1587.9, 1409.9, detector="NRCA3", guider=1, target_v2=v2, target_v3=v3, sam_x=x, sam_y=y)
    assert closure(logged, explain=False).prds == (oldest, second)


def test_by_sam_chooses_by_larger_error(record):
    """Not an aperture that lies on one line with where the SAM leads."""
    prd = "PRDOPSSOC-059"
    fgs = siaf.aperture("FGS", "FGS1_FULL_OSS", prd)
    facts = replace(rules._facts(record, "NRCA3_FP1", 1), guider=1, v2=0.0, v3=0.0, sam_x=0.0, sam_y=0.0)
    apertures = []
    for name, position in (("near", (0.05, 0.06)), ("aligned", (0.001, 10.0))):
        v2, v3 = siaf.convert(fgs, *position, "idl", "tel")
        apertures.append(SimpleNamespace(AperName=name, V2Ref=v2 - fgs.V2Ref, V3Ref=v3 - fgs.V3Ref))
    ((chosen, x, y),) = rules._by_sam(facts, prd, apertures)
    assert chosen.AperName == "near"
    assert (x, y) == pytest.approx((0.05, 0.06), abs=1e-9)
