"""Every kind of target acquisition: sample visits with truth through the functions that a user calls."""

import csv
import re
from datetime import datetime
from functools import cache

import numpy as np
import pytest
import xarray as xr

import xta
from tests.visit_files import messages, star_of, truth_of
from xta import datasets, osslog
from xta.acquisition import closure
from xta.acquisition.image import image_centroid
from xta.datasets import eventlog, modes
from xta.datasets.plan import VisitConfig, plan
from xta.errors import AcquisitionError, ArgumentError, SiafError
from xta.geometry import siaf, wcs
from xta.osslog.maneuvers import net_maneuver

PRD = "PRDOPSSOC-063"
ERROR = (0.25, -0.18)  # of the pointing, as `make_visit` has it [arcsec]
SETTLED = 0.02  # how far a star may be from where it was meant after a correction [arcsec]
NINE_DIGITS = 6e-6  # of the log, in its largest pixel numbers [pixel]
STAR = 1e-4  # what the project promises [pixel]

MODES = {
    "NRCA5_MASK335R": {"ta": "SUBFSA335R"},
    "NRCA5_MASK430R": {"confirm": "pair"},
    "NRCA5_MASKLWB": {"ta_dithers": True, "ta": "SUBFSALWB"},
    "NRCA2_MASK210R": {"ta_dithers": True},
    "NRCA4_MASKSWB": {"ta_dithers": True, "ta": "SUBNDASWBS"},
    "NRCA2_MASK335R": {"confirm": "pair"},  # acquired on another detector
    "NRCB5_SUB64P": {},
    "NRCA3_FP1_SUB8": {},
    "MIRIM_MASK1065": {"quadrant": "UL"},
    "MIRIM_MASK1140": {"quadrant": "LL"},
    "MIRIM_MASK1550": {"quadrant": "UR"},
    "MIRIM_MASKLYOT": {"quadrant": "LR"},
    "NIS_AMI1": {"confirm": True},
    **{mode: {"confirm": True} for mode in datasets.ACQUISITIONS},
}
"""One of each kind; `test_analyze` finds the star in every mode with images."""

CASES = [*MODES, "NRS_S1600A1_SLIT in SUB2048"]

INTENDED = {
    # Reference points of the SIAF, by hand: XSciRef - 1 where the aperture is the readout, else XDetRef - SUBSTRT1.
    "NRCA5_MASK335R": [(31.5, 31.5)],
    "NRCA2_MASK210R": [(63.5, 63.5), (65.5, 59.5), (68.5, 64.5)],  # NRCA2: sci x runs with Det x, y against it
    "NRCA4_MASKSWB": [(63.5, 63.5), (65.5, 59.5), (68.5, 64.5)],
    "NRCA5_MASKLWB": [(31.5, 31.5), (29.5, 35.5), (26.5, 30.5)],  # NRCA5: sci x runs against Det x, y with it
    "NRCA3_FP1_SUB8": [(31.5, 31.5)],
    "MIRIM_SLIT": [(412.5, 288.5), (325.130, 299.702)],
    "MIRIFU_CHANNEL1A": [(996.5, 992.5)],
    "MIRIM_SLITLESSPRISM": [(37.5, 383.5)],
    "MIRIM_MASK1065": [(60.5, 170.5), (103.5, 127.5)],
    "NIS_AMI1": [(32, 32), (28, 30), (33, 27)],  # both axes run against Det
    "NIS_SUBSTRIP256": [(32, 32), (28, 30), (33, 27)],
}


@pytest.fixture(scope="module")
def visit_of(tmp_path_factory):
    """Maker of the visit of a case, once."""

    @cache
    def make(case):
        mode, _, subarray = case.partition(" in ")
        options = {"ta": subarray} if subarray else MODES[mode]
        return datasets.make_visit(tmp_path_factory.mktemp(mode), mode=mode, integrations=1, **options, ideal=True)

    return make


@pytest.fixture(scope="module")
def analyzed(visit_of):
    """Maker of the analysis of a case, once: the science exposure, or of spectra the last acquisition image."""

    @cache
    def make(case):
        visit = visit_of(case)
        path = visit.science[0] if visit.science else last_tacq(visit)
        ds = xta.open_exposure(path)
        ds = (
            ds.ta.attach(list(visit.ta), oss=visit.oss_log, offline=True)
            .ta.compute_offset(centroid="oss")
            .ta.adjust_wcs(corrections="none")
        )
        return ds.load(), path

    return make


def last_tacq(visit):
    return [path for path in visit.ta if truth_of(visit, path).kind == "ta"][-1]


def stars(visit, names):
    table = visit.truth.sel(file=list(names))
    return np.stack([table.star_x.values, table.star_y.values], axis=1)


def scale_of(ds):
    return np.sqrt(np.abs(np.linalg.det(wcs.sky_jacobian(wcs.load(ds["ta_wcs"].values[0]), 20.0, 20.0))))


@pytest.mark.parametrize("case", CASES)
class TestEveryMode:
    def test_attach_centroids_are_the_true_pixels(self, case, visit_of, analyzed):
        visit, (ds, _) = visit_of(case), analyzed(case)
        blocks = osslog.read(visit.oss_log).centroids(visit.visit_id)
        found = np.stack([ds["ta_oss_x"].values, ds["ta_oss_y"].values], axis=1)
        paired = np.isfinite(found[:, 0])
        assert paired.sum() == len(blocks) > 0
        assert set(ds["ta_exp_type"].values[paired]) <= {"NRC_TACQ", "MIR_TACQ", "NIS_TACQ", "NRS_WATA"}
        np.testing.assert_allclose(found[paired], stars(visit, ds["ta_filename"].values)[paired], atol=NINE_DIGITS)
        in_use = ds.attrs["oss_x"], ds.attrs["oss_y"]
        assert in_use == pytest.approx(stars(visit, [last_tacq(visit).name])[0], abs=NINE_DIGITS)

    def test_adjust_wcs_star_is_at_its_true_pixel(self, case, visit_of, analyzed):
        ds, path = analyzed(case)
        star = star_of(visit_of(case), path)
        assert (float(ds["target_x"]), float(ds["target_y"])) == pytest.approx(star, abs=STAR)
        assert max(abs(float(ds["residual_x"])), abs(float(ds["residual_y"]))) < 1e-6

    def test_compute_offset_is_the_pointing_error(self, case, analyzed):
        ds, _ = analyzed(case)
        to_v = wcs.load(ds["ta_wcs"].values[ds.attrs["ta_in_use"]]).get_transform("detector", "v2v3")
        target = to_v(float(ds["ta_target_x"]), float(ds["ta_target_y"]), with_bounding_box=False)
        centroid = to_v(float(ds["centroid_x"]), float(ds["centroid_y"]), with_bounding_box=False)
        # The nine digits of the log, and the scale of the aberration, over a third of an arcsecond.
        assert np.subtract(target, centroid) == pytest.approx(ERROR, abs=5e-5)
        sky = np.hypot(float(ds["offset_east"]), float(ds["offset_north"]))
        assert sky == pytest.approx(np.hypot(*ERROR), rel=3e-3)

    def test_attach_star_is_off_intended_pixel_by_pointing_error(self, case, visit_of, analyzed):
        visit, (ds, _) = visit_of(case), analyzed(case)
        intended = np.stack([ds["ta_intended_x"].values, ds["ta_intended_y"].values], axis=1)
        for pixel, expected in zip(intended, INTENDED.get(case, ()), strict=False):
            assert pixel == pytest.approx(expected, abs=1e-3)
        off = np.hypot(*(stars(visit, ds["ta_filename"].values) - intended).T) * scale_of(ds)
        kinds = truth_kinds(visit, ds)
        masked = (ds["ta_aperture"].values == case) & (case in datasets.SETUPS)
        second = (np.arange(kinds.size) > 0) & ("MIRIM_MASK" in case)
        raw = (kinds == "ta") & ~second
        assert off[raw] == pytest.approx(np.hypot(*ERROR), abs=SETTLED)
        assert (off[~raw & ~masked] < SETTLED).all()

    def test_check_fails_in_no_mode(self, case, analyzed):
        ds, _ = analyzed(case)
        for result in (ds, ds.ta.compute_offset(centroid="image").ta.adjust_wcs(corrections="none")):
            failed = result["check_passed"].values == 0
            assert dict(zip(result["check"].values[failed], result["check_reason"].values[failed], strict=True)) == {}

    def test_closure_passes_and_maneuver_is_the_pointing_error(self, case, visit_of, analyzed):
        visit, (ds, _) = visit_of(case), analyzed(case)
        log = osslog.read(visit.oss_log)
        for block, aperture in zip(log.centroids(visit.visit_id), centroided(ds), strict=True):
            found = closure.closure(block, prd=PRD, aperture=aperture, visit=visit.visit_id)
            assert (found.passed, found.prd) == (True, PRD), found.reason
            assert np.isnan(found.v2_error) == case.startswith("NRS")
        regions = list(ds["ta_aperture"].values[:2]) if "MIRIM_MASK" in case else ()
        net = net_maneuver(log, visit=visit.visit_id, regions=regions, prd=PRD)
        assert (net.v2, net.v3) == pytest.approx(ERROR, abs=SETTLED)
        assert net.instrument == ds.attrs["instrument"]


def truth_kinds(visit, ds):
    return visit.truth.kind.sel(file=list(ds["ta_filename"].values)).values


def centroided(ds):
    return ds["ta_aperture"].values[np.isfinite(ds["ta_oss_x"].values)]


def test_setups_list_each_mode_once():
    assert not datasets.SETUPS.keys() & datasets.ACQUISITIONS.keys()
    assert all(setup.imaging for setup in datasets.SETUPS.values())
    assert not any(setup.imaging for setup in datasets.ACQUISITIONS.values())
    assert {options["quadrant"] for options in MODES.values() if "quadrant" in options} == {"UL", "UR", "LL", "LR"}


class TestSpectra:
    """Modes whose science has no imaging WCS: the acquisition image stands for itself."""

    def test_make_visit_of_spectra_is_its_acquisition(self, visit_of):
        for mode in datasets.ACQUISITIONS:
            visit = visit_of(mode)
            assert visit.science == ()
            kinds = list(visit.truth.kind.values)
            assert kinds == ["ta"] * (3 if mode.startswith("NIS") else 1) + ["confirm"]

    def test_adjust_wcs_of_confirmation_image(self, visit_of):
        """LRS confirms in the slit, whose aperture has no pixels of its own."""
        visit = visit_of("MIRIM_SLIT")
        ds = xta.open_exposure(visit.ta[-1])
        assert (ds.attrs["exp_type"], ds.attrs["aperture"]) == ("MIR_TACONFIRM", "MIRIM_SLIT")
        ds = (
            ds.ta.attach(list(visit.ta), oss=visit.oss_log, offline=True)
            .ta.compute_offset(centroid="oss")
            .ta.adjust_wcs(corrections="none")
        )
        star = star_of(visit, visit.ta[-1])
        assert (float(ds["target_x"]), float(ds["target_y"])) == pytest.approx(star, abs=STAR)

    def test_attach_finds_log_for_acquisition_image(self, visit_of):
        visit = visit_of("NIS_SUBSTRIP256")
        ds = xta.open_exposure(last_tacq(visit)).ta.attach(list(visit.ta), offline=True)
        assert ds.attrs["oss_status"] == "SUCCESS"

    def test_make_program_refuses_spectra(self, tmp_path):
        with pytest.raises(ArgumentError, match="a program needs images"):
            datasets.make_program(tmp_path / "new", mode="NIS_SUBSTRIP256", ideal=True)
        assert not (tmp_path / "new").exists()


class TestConfirmation:
    def test_make_visit_nircam_confirms_in_pairs(self, visit_of):
        """One image at the acquisition position, one behind the mask, which may be on another detector."""
        for mode, detectors in (("NRCA5_MASK430R", "nrcalong nrcalong"), ("NRCA2_MASK335R", "nrcalong nrca2")):
            visit = visit_of(mode)
            rows = [visit.truth.sel(file=path.name) for path in visit.ta]
            assert [str(row.exp_type.item()) for row in rows] == ["NRC_TACQ", "NRC_TACONFIRM", "NRC_TACONFIRM"]
            assert [path.name.split("_")[3] for path in visit.ta[1:]] == detectors.split()
            science, masked = xta.open_exposure(visit.science[0]), xta.open_exposure(visit.ta[2])
            assert masked.attrs["aperture"] == mode.replace("_", "_FULL_")
            assert masked.sizes == {"y": 2048, "x": 2048}
            corner = [masked.attrs[f"substrt{k}"] - science.attrs[f"substrt{k}"] for k in (1, 2)]
            row = visit.truth.sel(file=visit.science[0].name)
            star = np.subtract((float(row.star_x), float(row.star_y)), corner)
            assert (rows[2].star_x.item(), rows[2].star_y.item()) == pytest.approx(tuple(star), abs=1e-9)

    def test_attach_takes_no_centroid_from_confirmation_image(self, analyzed):
        ds, _ = analyzed("NRCA5_MASK430R")
        assert np.isfinite(ds["ta_oss_x"].values).tolist() == [True, False, False]
        assert ds.attrs["ta_in_use"] == 0


# ---------------------------------------------------------------- geometry alone: every aperture


def config_of(mode, *, ta=None, **options):
    setup = modes.find(mode, ta=ta)
    plain = {
        "visit_id": "09990001001",
        "role": "science",
        "target": (201.15, -51.5),
        "target_error": (0.0, 0.0),
        "roll": 110.0,
        "pointing_error": (*ERROR, 0.003),
        "miss": (0.13, -0.09),
        "va_scale": 0.99994,
        "prd": PRD,
        "guider": 1,
        "start": datetime(2024, 3, 10),
        "integrations": 1,
        "dithers": ((0.0, 0.0),),
        "filters": (),
        "ta_dithers": False,
        "quadrant": "UR",
        "confirm": False,
        "failed_ta": False,
        "centroid_noise": 0.0,
        "star_flux": 1.0,
        "companion": None,
        "field": 0,
        "wavefront": 0,
        "drift": 2.0,
        "ideal": True,
        "filter_offset": "none",
        "seed": 0,
    }
    return VisitConfig(setup=setup, **(plain | options))


def assert_read_as_planned(config):
    """The log's digits, through the readout that APERNAME and SUBARRAY tell, are the star's pixel; the apertures."""
    setup = config.setup
    everything = plan(config)
    exposures = [exposure for exposure in everything if exposure.step.kind == "ta"]
    lines = eventlog.events(config, everything, star=(200.0, -51.0), end=everything[-1].end)
    log = osslog.read([(time.isoformat(), text) for time, text in lines])
    blocks = log.centroids(config.visit_id)
    dithered = exposures[0].step.points > 1
    assert len(blocks) == (1 if dithered else len(exposures))
    for exposure, block in zip(exposures[-len(blocks) :], blocks, strict=True):
        step = exposure.step
        home = siaf.readout(setup.instrument, step.aperture, step.subarray, PRD)
        x, y = siaf.det_to_pixel(home, *siaf.oss_to_det(setup.instrument, block.x_det, block.y_det))
        assert (x, y) == pytest.approx(exposure.star, abs=NINE_DIGITS)
        assert -0.5 < x < home.XSciSize - 0.5
        assert -0.5 < y < home.YSciSize - 0.5
    return [exposure.step.aperture for exposure in exposures]


MASKS = [
    name
    for name, ap in siaf.siaf("NIRCAM", PRD).apertures.items()
    if re.match(r"NRCA\d_(FULL_|400X256_)?MASK", name) and ap.AperType in {"SUBARRAY", "FULLSCA"}
]


def test_find_every_nircam_mask_of_the_siaf():
    assert len(MASKS) > 60
    for name in MASKS:
        setup = modes.find(name)
        ap = siaf.aperture("NIRCAM", name, PRD)
        assert setup.aperture == name
        assert (setup.subarray == "FULL") == (ap.AperType == "FULLSCA")
        # A mask that is acquired on another detector is one that both channels see.
        assert setup.ta_detector == setup.detector or not name.startswith(setup.ta_aperture[:5])
        assert ("LWB" in name or "SWB" in name) == (setup.mask == "bar")
    assert modes.find("NRCA5_MASKLWB_F356W").filter == "F356W"
    assert modes.find("NRCA4_400X256_MASKLWB_F356W").filter == "F210M"


SQUARES = {
    subarray: mode
    for mode, setup in datasets.SETUPS.items()
    if setup.dithered == "may be"
    for subarray in setup.regions
}


@pytest.mark.parametrize("subarray", SQUARES)
def test_plan_every_nircam_square(subarray):
    """Neutral-density and faint-star squares of each mask, with one image and dithered."""
    plain = assert_read_as_planned(config_of(SQUARES[subarray], ta=subarray))
    assert assert_read_as_planned(config_of(SQUARES[subarray], ta=subarray, ta_dithers=True)) == 3 * plain


def test_find_every_nircam_square_of_the_siaf():
    there = {name for name in siaf.siaf("NIRCAM", PRD).apertures if re.match(r"NRCA\d_(FS)?TAMASK", name)}
    assert there == {modes.find(mode, ta=subarray).ta_aperture for subarray, mode in SQUARES.items()}


@pytest.mark.parametrize("mode", [name for name in datasets.SETUPS if name.startswith("MIRIM_MASK")])
@pytest.mark.parametrize("quadrant", ["UL", "UR", "LL", "LR"])
def test_plan_every_miri_quadrant(mode, quadrant):
    region = datasets.SETUPS[mode].ta_aperture
    names = assert_read_as_planned(config_of(mode, quadrant=quadrant))
    assert names == [f"{region}_{quadrant}", f"{region}_C{quadrant}"]


def test_make_visit_mask_on_the_whole_detector(tmp_path):
    """The readout is the mask's own aperture, behind its wedge, not the plain detector."""
    assert siaf.readout("NIRCAM", "NRCA5_FULL_MASK335R", "FULL", PRD).AperName == "NRCA5_FULL_MASK335R"
    assert_read_as_planned(config_of("NRCA2_FULL_MASK335R"))
    visit = datasets.make_visit(tmp_path, mode="NRCA5_FULL_MASK335R", integrations=1, ideal=True)
    ds = xta.analyze(visit.science[0], offline=True, centroid="oss", corrections="none")
    star = star_of(visit, visit.science[0])
    assert ds.sizes["x"] == 2048
    assert (float(ds["target_x"]), float(ds["target_y"])) == pytest.approx(star, abs=STAR)


# ---------------------------------------------------------------- real telemetry


REAL = {
    "jw01467001001_02102_00001_nrca3": "NRCA3_FP1_SUB8",
    "jw02278001001_02102_00001_nrcalong": "NRCA5_MASK335R",  # acquired in the square for faint stars
    "jw01275004001_02101_00001_mirimage": "MIRIFU_CHANNEL1A",
    "jw01274012001_02101_00001-seg001_mirimage": "MIRIM_SLITLESSPRISM",
    "jw01504001001_02101_00003_nis": "NIS_AMI1",
}


@pytest.mark.parametrize("rootname", REAL)
def test_attach_real_centroids_are_where_source_is_seen(shared, visit_of, rootname):
    """A real centroid in a log of its own, attached to a sample image of the same readout.

    The source was read off each product by eye, from its brightest pixels: 1.5 px. One row, MIRI slitless, was read
    off to the nearest ten: 3 px; there the position printed with the same notes is the test.
    """
    with (shared / "oss" / "centroids.csv").open() as file:
        rows = {row["rootname"]: row for row in csv.DictReader(line for line in file if line[0] != "#")}
    assert set(rows) == set(REAL)
    row, visit = rows[rootname], visit_of(REAL[rootname])
    images = [path for path in visit.ta if truth_of(visit, path).kind == "ta"]
    ds = xta.open_exposure(images[-1])
    seconds = np.datetime64(ds.attrs["date_beg"]) + np.arange(5) * np.timedelta64(20, "s")
    detector = {"NIRISS": "NIS", "MIRI": "MIRIMAGE"}.get(row["instrument"], ds.attrs["detector"])
    lines = [
        f"VISIT V{visit.visit_id} STARTED",
        "TARGET LOCATE SUMMARY:",
        f"DETECTOR = {detector}",
        f"detector coord (colCentroid, rowCentroid) = ({row['det_col']}, {row['det_row']})",
        f"(convergenceFlag, convergenceThres) = ({row['convergence']}, {row['threshold']})",
    ]
    found = ds.ta.attach(images, oss=list(zip(seconds.astype(str), lines, strict=True)), offline=True).attrs
    bound = 3 if row["subarray"] == "SLITLESSPRISM" else 1.5
    assert abs(found["oss_x"] - float(row["seen_x"])) < bound
    assert abs(found["oss_y"] - float(row["seen_y"])) < bound
    if row["sci1_x"]:
        printed = float(row["sci1_x"]) - 1, float(row["sci1_y"]) - 1
        assert (found["oss_x"], found["oss_y"]) == pytest.approx(printed, abs=1e-5)
    else:
        assert (found["oss_x"] + 1, found["oss_y"] + 1) == pytest.approx((38.2814, 383.3508), abs=1e-4)


def shape_of(line):
    """A line without its numbers; the blanks stay."""
    return re.sub(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?", "#", line)


def block_of(lines, *, first="TARGET LOCATE", last="TA SAM"):
    start = next(k for k, line in enumerate(lines) if first in line)
    stop = next((k for k, line in enumerate(lines) if k > start and last in line), len(lines) - 1)
    return [shape_of(line) for line in lines[start : stop + 1]]


def test_events_nircam_as_in_real_visit(shared, visit_of):
    """A block of wavefront sensing: the same lines, blanks included, but for the numbers."""
    text = (shared / "oss" / "V02726402001_NIRCam_WFSC_TA_full_visit.txt").read_text()
    real = [line.partition("\t ")[2] for line in text.splitlines()]
    assert block_of(messages(visit_of("NRCA3_FP1_SUB8"), "")) == block_of(real)


def test_events_miri_as_in_real_visit(shared, visit_of):
    with (shared / "oss" / "MIRI_MRS_TA_2023-06-12_raw_csv_rows.csv").open(newline="") as file:
        real = [row[2] for row in csv.reader(line for line in file if line[0] != "#")]
    sample = messages(visit_of("MIRIFU_CHANNEL1A"), "")
    assert block_of(sample, last="convergenceFlag") == block_of(real, last="convergenceFlag")


def test_events_nirspec_as_in_real_visit(shared, visit_of):
    text = (shared / "oss" / "NIRSpec_WATA_2022-11-16_lines.txt").read_text()
    real = [line.partition("\t ")[2] for line in text.splitlines() if "\t" in line]
    mark = {"first": "offset vehicle slew", "last": "TA SAM"}
    assert block_of(messages(visit_of("NRS_S1600A1_SLIT"), ""), **mark) == block_of(real, **mark)


# ---------------------------------------------------------------- frames of NIRISS and NIRSpec


def test_attach_niriss_and_nirspec_count_columns_along_y(visit_of, analyzed):
    """What is logged first is SIAF Det y; attributes and coordinates are in SIAF Det."""
    for case in ("NIS_AMI1", "NRS_S1600A1_SLIT"):
        visit, (ds, _) = visit_of(case), analyzed(case)
        block = osslog.read(visit.oss_log).centroids(visit.visit_id)[0]
        assert (block.y_det, block.x_det) == (ds.attrs["oss_x_det"], ds.attrs["oss_y_det"])
        k = ds.attrs["ta_in_use"]
        assert (float(ds["ta_oss_x_det"][k]), float(ds["ta_oss_y_det"][k])) == (block.y_det, block.x_det)
    nirspec = ds.attrs["oss_x_det"] - ds.attrs["oss_x"], ds.attrs["oss_y_det"] - ds.attrs["oss_y"]
    assert nirspec == pytest.approx((1399, 975), abs=1e-9)  # SUBSTRT1, SUBSTRT2 of real images in SUB32


@pytest.mark.parametrize("case", ["NIS_AMI1", "NRS_S1600A1_SLIT", "MIRIFU_CHANNEL1A", "NRCA3_FP1_SUB8"])
def test_attach_refuses_subarray_that_starts_elsewhere(visit_of, case):
    visit = visit_of(case)
    images = [xta.open_exposure(path) for path in visit.ta]
    shifted = [ds.assign_coords(substrt1=ds.attrs["substrt1"] + 3) for ds in images]
    with pytest.raises(AcquisitionError, match="do not belong together"):
        shifted[0].ta.attach(shifted, oss=visit.oss_log, offline=True)


@pytest.mark.parametrize("case", ["NIS_AMI1", "NIS_SUBSTRIP256", "NRS_S1600A1_SLIT"])
def test_attach_refuses_log_with_axes_not_exchanged(visit_of, case, tmp_path):
    visit = visit_of(case)
    text = re.sub(r"(detector coord.*= )\((\S+), (\S+)\)", r"\1(\3, \2)", visit.oss_log.read_text())
    (tmp_path / "oss.csv").write_text(text)
    with pytest.raises(AcquisitionError, match="outside its readout"):
        xta.open_exposure(visit.ta[0]).ta.attach(list(visit.ta), oss=tmp_path / "oss.csv", offline=True)


@pytest.mark.parametrize("case", ["NIS_SUBSTRIP256", "MIRIFU_CHANNEL1A"])
def test_attach_targ_acq_counts_columns_as_log(visit_of, case):
    from astropy.io import fits

    visit = visit_of(case)
    block = osslog.read(visit.oss_log).centroids(visit.visit_id)[0]
    primary, extension = fits.PrimaryHDU(), fits.ImageHDU(name="TARG_ACQ")
    words = {"VISIT_ID": visit.visit_id, "FILENAME": last_tacq(visit).name.replace("_cal", "_uncal")}
    primary.header.update(words | {"DETECTOR": fits.getval(last_tacq(visit), "DETECTOR")})
    extension.header.update({"TASTATUS": "SUCCESSFUL", "DTCENCOL": block.x_det, "DTCENROW": block.y_det})
    log = [(str(block.time), f"VISIT V{visit.visit_id} STARTED")]
    ds = xta.open_exposure(last_tacq(visit))
    ds = ds.ta.attach(list(visit.ta), oss=log, targ_acq=fits.HDUList([primary, extension]), offline=True)
    assert ds.attrs["centroid_source"].startswith("TARG_ACQ")
    assert (ds.attrs["oss_x"], ds.attrs["oss_y"]) == pytest.approx(star_of(visit, last_tacq(visit)), abs=NINE_DIGITS)


def test_attach_nirspec_readouts_see_the_same_star(visit_of, analyzed):
    part, strip = (analyzed(case)[0] for case in ("NRS_S1600A1_SLIT", "NRS_S1600A1_SLIT in SUB2048"))
    assert part["ta_sci"].shape[1:] == (32, 32)
    assert strip["ta_sci"].shape[1:] == (32, 2048)
    shift = float(strip["ta_intended_x"][0]) - float(part["ta_intended_x"][0])
    assert shift == pytest.approx(1398, abs=1e-6)


def test_image_centroid_agrees_with_log(analyzed):
    """The centroid of the image itself: nothing is mirrored, on any detector."""
    for case in ("NIS_AMI1", "NIS_SUBSTRIP256", "NRS_S1600A1_SLIT", "MIRIM_SLITLESSPRISM", "NRCB5_SUB64P"):
        ds, _ = analyzed(case)
        found = image_centroid(ds)
        assert (found.x, found.y) == pytest.approx((ds.attrs["oss_x"], ds.attrs["oss_y"]), abs=0.1), case


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "NRCA5_MASKLWB_F999W"}, "no sample mode 'NRCA5_MASKLWB_F999W'"),
        ({"mode": "NRCA3_FULL_MASK335R"}, "no sample mode"),
        ({"mode": "nircam", "ta": "SUB32"}, "not acquired in subarray 'SUB32'; use one of SUBNDA335R, SUBFSA335R"),
        ({"mode": "NRCA3_FP1_SUB8", "ta_dithers": True}, "only NIRCam dithers its acquisition, for coronagraphy"),
        ({"mode": "miri", "confirm": "pair"}, "confirm is 'pair'; for MIRIM_MASK1140 give one of False, True"),
        ({"mode": "miri", "filters": ["F356W"]}, "filters are"),
        ({"mode": "nircam", "filters": ["F1140C"]}, "filters are"),
        ({"mode": "nircam", "field": -1}, "field is"),
        ({"mode": "nircam", "confirm": "both"}, "give one of False, True, 'pair'"),
        ({"mode": "NRS_S1600A1_SLIT", "ta_dithers": True}, "only NIRCam dithers its acquisition, for coronagraphy"),
    ],
)
def test_make_visit_refuses_mode_option(options, message, tmp_path):
    with pytest.raises(ArgumentError, match=message):
        datasets.make_visit(tmp_path / "new", **options, ideal=True)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("mode", ["NIS_AMI1", "NIS_SUBSTRIP256", "NRS_S1600A1_SLIT", "NRCB5_SUB64P", "MIRIM_SLIT"])
def test_make_visit_failed_ta_of_every_instrument(tmp_path, mode):
    visit = datasets.make_visit(tmp_path, mode=mode, failed_ta=True, integrations=1, ideal=True)
    path = visit.science[0] if visit.science else last_tacq(visit)
    ds = xta.open_exposure(path).ta.attach(list(visit.ta), oss=visit.oss_log, offline=True)
    assert ds.attrs["oss_status"].startswith("FAILED")
    with pytest.warns(xta.errors.XtaWarning, match="centroided in the TA image"):
        ds = ds.ta.compute_offset().ta.adjust_wcs(corrections="none")
    star = star_of(visit, path)
    assert (float(ds["target_x"]), float(ds["target_y"])) == pytest.approx(star, abs=0.1)


def test_readout_refuses_unknown_nirspec_subarray():
    with pytest.raises(SiafError, match=r"subarray SUB512 of NRS1 .* FULL or, on NRS1, SUB32, SUB2048"):
        siaf.readout("NIRSPEC", "NRS_S1600A1_SLIT", "SUB512")
    with pytest.raises(SiafError, match="subarray SUB32 of NRS2"):
        siaf.readout("NIRSPEC", "NRS_S200B1_SLIT", "SUB32")
    with pytest.raises(SiafError, match="is on both detectors"):
        siaf.readout("NIRSPEC", "NRS_FULL_MSA", "FULL")
    assert siaf.readout("NIRSPEC", "NRS_FULL_MSA", "FULL", detector="NRS2").AperName == "NRS2_FULL"
    with pytest.raises(SiafError, match="is not on or near the pixels of NRS1_SUB32"):
        siaf.tel_to_pixel(siaf.readout("NIRSPEC", "NRS_S1600A1_SLIT", "SUB32"), 1e6, 1e6)


def test_to_netcdf_every_instrument(analyzed, tmp_path):
    for case in ("NIS_AMI1", "NRS_S1600A1_SLIT"):
        ds, _ = analyzed(case)
        ds.to_netcdf(tmp_path / "a.nc")
        with xr.open_dataset(tmp_path / "a.nc") as again:
            assert again["target_x"].item() == ds["target_x"].item()
