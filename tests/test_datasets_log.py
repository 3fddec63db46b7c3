"""The event logs of sample visits: as on board, and consistent with the files."""

import re
from datetime import datetime

import numpy as np
import pytest

from tests import visit_files
from tests.visit_files import log_of, messages, model_of, numbers, separation, star_of, truth_of
from xta import datasets
from xta.geometry import siaf


@pytest.fixture(autouse=True)
def _close_models():
    yield
    visit_files.close_models()


@pytest.fixture(scope="module", params=["nircam", "miri", "NRCA5_MASKLWB"])
def visit(request, tmp_path_factory):
    companion = (1.3, 40.0, 1e-3)
    folder = tmp_path_factory.mktemp(request.param)
    return datasets.make_visit(folder, mode=request.param, companion=companion, integrations=2, seed=7, ideal=True)


class TestLog:
    def test_events_begin_and_end_among_other_visits(self, visit):
        rows = log_of(visit)
        assert list(rows[0]) == ["theTime", "MJD", "euvalue", "sqldataType"]
        assert rows[1]["euvalue"] == f"VISIT V{visit.visit_id} STARTED"
        assert rows[-2]["euvalue"] == f"VISIT V{visit.visit_id} ENDED"
        assert rows[0]["euvalue"].endswith("ENDED")
        assert rows[-1]["euvalue"].endswith("STARTED")
        assert visit.visit_id not in rows[0]["euvalue"] + rows[-1]["euvalue"]

    def test_events_are_in_order_and_agree_with_headers(self, visit):
        rows = log_of(visit)
        times = [datetime.fromisoformat(row["theTime"]) for row in rows]
        assert times == sorted(times)
        from astropy.time import Time

        np.testing.assert_allclose([float(row["MJD"]) for row in rows], Time(times).mjd, atol=1e-9)
        with model_of(visit.ta[-1]) as model:
            end = datetime.fromisoformat(model.meta.observation.date_end)
            start, visit_end = model.meta.visit.start_time, model.meta.guidestar.visit_end_time
        detections = [time for time, row in zip(times, rows, strict=True) if "detector coord" in row["euvalue"]]
        assert 20 < (detections[-1] - end).total_seconds() < 90
        assert abs((times[1] - datetime.fromisoformat(start[:-1])).total_seconds()) < 0.002
        assert abs((times[-2] - datetime.fromisoformat(visit_end[:-1])).total_seconds()) < 0.002

    def test_events_centroid_is_the_true_pixel(self, visit):
        lines = messages(visit, "^detector coord")
        tacq = [path for path in visit.ta if "TACQ" in truth_of(visit, path).exp_type.item()]
        assert len(lines) == len(tacq)
        for line, path in zip(lines, tacq, strict=True):
            with model_of(path) as model:
                meta = model.meta
                home = siaf.readout(
                    meta.instrument.name, meta.aperture.name, meta.subarray.name, meta.prd_software_version
                )
            assert siaf.det_to_pixel(home, *numbers(line)) == pytest.approx(star_of(visit, path), abs=6e-6)

    def test_events_postage_stamp_is_the_region(self, visit):
        stamps, lines = messages(visit, "colCentroid.*= .*")[0::2], messages(visit, "^detector coord")
        for stamp_line, line, path in zip(stamps, lines, visit.ta, strict=False):
            with model_of(path) as model:
                ap = siaf.aperture(model.meta.instrument.name, model.meta.aperture.name, "PRDOPSSOC-063")
            corner = np.subtract(numbers(line), numbers(stamp_line))
            middle = np.array([ap.XDetRef, ap.YDetRef]) - corner
            assert tuple(middle) == pytest.approx(((ap.XSciSize + 1) / 2, (ap.YSciSize + 1) / 2), abs=2e-5)

    def test_events_correction_closes(self, visit):
        """The move is reference minus target in the guider's Ideal frame, target from the centroid."""
        targets, moves = messages(visit, "^target location"), messages(visit, "^TA SAM")
        apertures = [model_of(path).meta.aperture.name for path in visit.ta]
        instrument = model_of(visit.ta[0]).meta.instrument.name
        fgs = siaf.aperture("FGS", "FGS1_FULL_OSS", "PRDOPSSOC-063")
        for index, (name, target, move) in enumerate(zip(apertures, targets, moves[-len(targets) :], strict=True)):
            ap = siaf.aperture(instrument, name, "PRDOPSSOC-063")
            found = siaf.convert(ap, *numbers(messages(visit, "^detector coord")[index]), "det", "tel")
            assert numbers(target) == pytest.approx(found, abs=1e-6)
            goal = siaf.aperture(instrument, apertures[min(index + 1, len(apertures) - 1)], "PRDOPSSOC-063")
            moved = np.array(siaf.convert(fgs, *numbers(move), "idl", "tel")) - (fgs.V2Ref, fgs.V3Ref)
            expected = (goal.V2Ref - numbers(target)[0], goal.V3Ref - numbers(target)[1])
            assert tuple(moved) == pytest.approx(expected, abs=1e-6)

    def test_events_numbers_are_written_as_on_board(self, visit):
        text = "\n".join(messages(visit, "="))
        assert "(0.00000000e+0, 0.00000000e+0)" in text
        assert re.search(r"detector coord \(colCentroid, rowCentroid\) {7}= \(\d{2,4}\.\d{5,7}, ", text)

    def test_guide_star_moves_with_the_telescope(self, visit):
        """The headers' guide star moves on the guider as the star does on the instrument."""
        ta, science = (model_of(path) for path in (visit.ta[-1], visit.science[-1]))
        fgs = siaf.aperture("FGS", ta.meta.guidestar.fgs_aperture, "PRDOPSSOC-063")
        ideal = [(m.meta.guidestar.gs_ideal_x, m.meta.guidestar.gs_ideal_y) for m in (ta, science)]
        guide = np.diff([siaf.convert(fgs, *xy, "idl", "tel") for xy in ideal], axis=0)
        stars = [
            model.meta.wcs.transform("detector", "v2v3", *star_of(visit, path))
            for model, path in ((ta, visit.ta[-1]), (science, visit.science[-1]))
        ]
        np.testing.assert_allclose(guide, np.diff(stars, axis=0), atol=2e-3)
        assert (
            separation(
                ta.meta.guidestar.gs_ra,
                ta.meta.guidestar.gs_dec,
                science.meta.guidestar.gs_ra,
                science.meta.guidestar.gs_dec,
            )
            == 0
        )
