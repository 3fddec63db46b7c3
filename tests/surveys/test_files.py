"""Which files belong to each visit."""

import gzip
import shutil

import pytest

from tests.surveys.visits import QUICK, product
from xta.errors import ArgumentError, XtaWarning
from xta.surveys import find_visits, survey


def test_find_visits_counts_duplicates_once(two):
    (two / "again").mkdir()
    shutil.copy(product(two, 0, "cal"), two / "again")
    found = find_visits(two)
    assert found.duplicates == 1
    assert found.visits[0].n_files == 2
    assert len(found.visits[0].ta) == 1
    assert find_visits([two, two, product(two, 0, "cal")]).duplicates == 1  # one path twice is one file
    ds = survey(two, **QUICK)
    assert (ds["n_files"].values.tolist(), ds.attrs["files_duplicate"]) == ([2, 2], 1)
    path = two / "again" / product(two, 0, "cal").name
    path.write_bytes(path.read_bytes() + bytes(2880))
    with pytest.warns(XtaWarning, match="differ; the first is used"):
        assert find_visits([path, two]).visits[0].ta == (path,)


def test_find_visits_detector_of_acquisition_first(two):
    """Both channels of NIRCam see the star; its acquisition was on one of them."""
    science, ta = product(two, 0, "calints"), product(two, 0, "cal")
    for exposure in ("1", "2"):
        text = science.read_bytes()
        for detector in ("nrca2", "nrcalong"):
            name = science.name.replace("00001", f"0000{exposure}").replace("nrcalong", detector)
            padded = f"'{detector.upper()}'".ljust(10).encode()
            science.with_name(name).write_bytes(
                text.replace(b"'NRCALONG'", padded).replace(b"03:26:", f"03:2{exposure}:".encode())
            )
    files = find_visits(two / "visit0").visits[0]
    assert [path.name.split("_", 2)[2] for path in files.science] == [
        *("00001_nrcalong_calints.fits", "00002_nrcalong_calints.fits"),
        *("00001_nrca2_calints.fits", "00002_nrca2_calints.fits"),
    ]
    assert files.ta == (ta,)
    ds = survey(two / "visit0", **QUICK)
    assert (ds["detector"].item(), ds["n_science"].item(), ds["ok"].item()) == ("NRCALONG", 4, 1)


def test_find_visits_takes_best_product(two):
    path = product(two, 0, "calints")
    for kind in ("cal", "rateints", "uncal", "i2d"):
        shutil.copy(path, path.with_name(path.name.replace("calints", kind)))
    files = find_visits(two / "visit0").visits[0]
    assert (files.science, files.n_files) == ((path,), 6)


def test_find_visits_names_corrupt_gzip(two):
    path = product(two, 0, "calints")
    packed = bytearray(gzip.compress(path.read_bytes()))
    packed[20:60] = bytes(40)
    path.with_name(f"{path.name}.gz").write_bytes(packed)
    path.unlink()
    bad, good = find_visits(two).visits
    assert f"{path.name}.gz" in bad.damaged[0]
    assert good.damaged == ()


def test_survey_refuses_file_of_no_visit(two, tmp_path):
    for name, text in (("notes.csv", "a,b\n1,2\n"), ("notes.md", "nothing"), ("empty.fits", "")):
        path = tmp_path / name
        path.write_text(text)
        with pytest.warns(XtaWarning, match=f"skipped .*{name}"), pytest.raises(ArgumentError, match="no JWST"):
            survey(path, **QUICK)
    with pytest.warns(XtaWarning, match="skipped .*empty.fits"):
        found = find_visits([tmp_path / "empty.fits", two])
    assert (len(found.visits), found.passed_over) == (2, 1)
    (tmp_path / "bare").mkdir()
    with pytest.raises(ArgumentError, match="no JWST product"):
        survey(tmp_path / "bare", **QUICK)
