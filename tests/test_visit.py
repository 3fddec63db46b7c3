"""One acquisition for all exposures of a visit: filters, channels, dithers; and what is refused."""

import shutil
import warnings

import numpy as np
import pytest

import xta
from xta import datasets
from xta.acquisition import attach
from xta.errors import AcquisitionError, ArgumentError, WCSError, XtaWarning

DITHERS = ((0.0, 0.0), (0.01, 0.0), (0.01, 0.01), (-0.01, 0.01), (-0.01, -0.01))
COMMON = {"integrations": 1, "pointing_error": (0.25, -0.18, 0.0), "visit_id": "09990005001"}


def truth(visit, name):
    one = visit.truth.sel(file=name)
    return float(one["star_x"]), float(one["star_y"])


def star(ds):
    return float(ds["target_x"]), float(ds["target_y"])


@pytest.fixture(scope="module")
def long_waves(tmp_path_factory):
    """A small-grid dither behind the mask of the long-wave channel."""
    folder = tmp_path_factory.mktemp("long")
    return datasets.make_visit(folder, mode="NRCA5_MASK335R", dithers=DITHERS, **COMMON, ideal=True)


@pytest.fixture(scope="module")
def short_waves(tmp_path_factory):
    """The same visit as the short-wave channel sees it; its own acquisition is not used."""
    folder = tmp_path_factory.mktemp("short")
    return datasets.make_visit(folder, mode="NRCA2_MASK210R", **COMMON, ideal=True)


def test_analyze_visit_of_dithers(long_waves):
    visit = xta.analyze_visit(long_waves.science, centroid="oss", corrections="none")
    assert list(visit) == [path.name for path in long_waves.science]
    for name, ds in visit.items():
        assert star(ds) == pytest.approx(truth(long_waves, name), abs=1e-4)
    moves = np.array([star(ds) for ds in visit.values()]) - star(visit[long_waves.science[0].name])
    assert np.hypot(*moves[1:].T).min() > 0.1


def test_analyze_visit_of_both_channels(long_waves, short_waves):
    files = [*short_waves.science, *long_waves.science[:1], *long_waves.ta]
    visit = xta.analyze_visit(files, oss=long_waves.oss_log, centroid="oss", corrections="none")
    assert {ds.attrs["detector"] for ds in visit.values()} == {"NRCALONG", "NRCA2"}
    for made in (short_waves, long_waves):
        for path in made.science:
            if path.name in visit:
                ds = visit[path.name]
                assert star(ds) == pytest.approx(truth(made, path.name), abs=1e-4)
                assert list(ds["ta_filename"].values) == [ta.name for ta in long_waves.ta]
    offsets = {(float(ds["offset_x"]), float(ds["offset_y"])) for ds in visit.values()}
    assert len(offsets) == 1


def test_analyze_visit_equals_analyze(long_waves):
    visit = xta.analyze_visit(long_waves.science[:2], centroid="oss", corrections="none")
    for path in long_waves.science[:2]:
        assert (
            visit[path.name]
            .drop_vars("ta_wcs")
            .equals(xta.analyze(path, centroid="oss", corrections="none").drop_vars("ta_wcs"))
        )


def test_analyze_visit_sorts_by_time_and_keeps_input(long_waves):
    exposures = [xta.open_exposure(path) for path in reversed(long_waves.science)]
    before = [ds.copy(deep=True) for ds in exposures]
    visit = xta.analyze_visit(exposures, centroid="oss", corrections="none")
    assert list(visit) == [path.name for path in long_waves.science]
    assert all(ds.identical(old) for ds, old in zip(exposures, before, strict=True))


def test_analyze_visit_with_failed_acquisition(tmp_path):
    made = datasets.make_visit(tmp_path, failed_ta=True, dithers=DITHERS[:2], integrations=1, ideal=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default", XtaWarning)
        visit = xta.analyze_visit(made.science, corrections="none")
    assert any("no onboard centroid" in str(one.message) for one in caught)
    assert len(visit) == 2
    for name, ds in visit.items():
        assert star(ds) == pytest.approx(truth(made, name), abs=0.02)


def test_analyze_visit_takes_generators(long_waves):
    science = long_waves.science[:2]
    visit = xta.analyze_visit(
        (path for path in science), acquisition=(path for path in long_waves.ta), centroid="oss", corrections="none"
    )
    assert len(visit) == 2
    assert {ds.attrs["centroid_source"] for ds in visit.values()} == {"OSS event log"}


def test_analyze_visit_looks_for_log_once(long_waves, tmp_path, monkeypatch):
    for path in (*long_waves.science[:3], *long_waves.ta):
        shutil.copy(path, tmp_path)
    asked = []
    looked = attach.event_log
    monkeypatch.setattr(attach, "event_log", lambda *args, **options: asked.append(1) or looked(*args, **options))
    with pytest.warns(XtaWarning, match="no onboard centroid"):
        visit = xta.analyze_visit([tmp_path / path.name for path in long_waves.science[:3]])
    assert len(visit) == 3
    assert len(asked) == 1


def test_analyze_visit_leaves_out_spectrum(long_waves, edited):
    def spectrum(hdus):
        del hdus["ASDF"]
        hdus[0].header["FILENAME"] = "spectrum_cal.fits"

    other = edited(long_waves.science[1], spectrum, name="spectrum_cal.fits")
    with pytest.warns(XtaWarning) as caught:
        visit = xta.analyze_visit(
            [long_waves.science[0], other],
            acquisition=long_waves.ta,
            oss=long_waves.oss_log,
            centroid="oss",
            corrections="none",
        )
    assert list(visit) == [long_waves.science[0].name]
    assert any("spectrum_cal.fits is left out" in str(one.message) for one in caught)
    with pytest.warns(XtaWarning), pytest.raises(WCSError, match="none of the 1 science exposures"):
        xta.analyze_visit(
            [other], acquisition=long_waves.ta, oss=long_waves.oss_log, centroid="oss", corrections="none"
        )


def test_analyze_visit_of_folder(long_waves, tmp_path):
    """The best product of each exposure, past what is damaged."""
    for path in (*long_waves.science[:2], *long_waves.ta, long_waves.oss_log):
        shutil.copy(path, tmp_path)
    shutil.copy(long_waves.science[0], tmp_path / long_waves.science[0].name.replace("calints", "rateints"))
    (tmp_path / long_waves.science[2].name).write_bytes(b"junk")
    with pytest.warns(XtaWarning, match=long_waves.science[2].name):
        visit = xta.analyze_visit(tmp_path, centroid="oss", corrections="none")
    assert list(visit) == [path.name for path in long_waves.science[:2]]
    for name, ds in visit.items():
        assert star(ds) == pytest.approx(truth(long_waves, name), abs=1e-4)


def test_analyze_visit_refuses_several_visits(long_waves, nircam):
    with pytest.raises(AcquisitionError, match=r"several visits.*09990001001.*09990005001"):
        xta.analyze_visit([*long_waves.science, *nircam.science], centroid="oss", corrections="none")


def test_analyze_visit_refuses_several_guide_stars(long_waves, edited):
    other = edited(long_waves.science[1], lambda hdus: hdus[0].header.set("GDSTARID", "S123456789"))
    with pytest.raises(AcquisitionError, match="several guide stars"):
        xta.analyze_visit([long_waves.science[0], other], centroid="oss", corrections="none")


def test_analyze_visit_refuses_acquisition_of_other_guide_star(long_waves, edited):
    other = edited(long_waves.ta[0], lambda hdus: hdus[0].header.set("GDSTARID", "S123456789"))
    with pytest.raises(AcquisitionError, match="belongs to guide star"):
        xta.analyze_visit(long_waves.science[:1], acquisition=other, centroid="oss", corrections="none")


def test_analyze_visit_refuses_several_instruments(long_waves, miri, edited):
    def same_visit(hdus):
        hdus[0].header["VISIT_ID"] = COMMON["visit_id"]

    with pytest.raises(AcquisitionError, match="several instruments"):
        xta.analyze_visit(
            [long_waves.science[0], edited(miri.science[0], same_visit)], centroid="oss", corrections="none"
        )


FAULTS = {
    "one path": (lambda visit: visit.science[0], ArgumentError, "as a list"),
    "a number": (lambda visit: 5, ArgumentError, "as a list"),
    "nothing": (lambda visit: [], AcquisitionError, "no science exposure"),
    "only acquisitions": (lambda visit: visit.ta, AcquisitionError, "no science exposure among the 1"),
    "twice": (lambda visit: [visit.science[0], visit.science[0]], ArgumentError, "given twice"),
    "no visit": (lambda visit: [no_visit(visit)], AcquisitionError, "no VISIT_ID"),
}


def no_visit(visit):
    ds = xta.open_exposure(visit.science[0])
    ds.coords["visit_id"] = ""
    return ds


@pytest.mark.parametrize("fault", FAULTS)
def test_analyze_visit_refuses_faulty_files(long_waves, fault):
    files, kind, message = FAULTS[fault]
    with pytest.raises(kind, match=message):
        xta.analyze_visit(files(long_waves), centroid="oss", corrections="none")


def test_analyze_visit_refuses_empty_folder(long_waves, tmp_path):
    shutil.copy(long_waves.science[0], tmp_path)
    with pytest.raises(AcquisitionError, match="no TA exposure of visit"):
        xta.analyze_visit([tmp_path / long_waves.science[0].name], centroid="oss", corrections="none")
