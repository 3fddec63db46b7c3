"""Find the acquisition beside a file, whatever else lies there."""

import gzip
import os
import shutil

import pytest

import xta
from tests.stars import assert_star, truth_of
from xta.acquisition import find
from xta.acquisition.targ_acq import read_targ_acq
from xta.errors import AcquisitionError, FileError, XtaWarning
from xta.estimates.template import read_template
from xta.io import files


def truncated(path, data):
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(data)[:700])


def cut_after_header(path, data):
    packed = gzip.compress(data)
    path.with_name(f"{path.name}.gz").write_bytes(packed[: len(packed) // 2])


def garbage(path, data):
    packed = bytearray(gzip.compress(data))
    packed[20:60] = bytes(40)
    path.with_name(f"{path.name}.gz").write_bytes(packed)


def flipped(path, data):
    spoiled = bytearray(data)
    spoiled[80:400] = bytes(255 - value for value in spoiled[80:400])
    path.write_bytes(spoiled)


def empty(path, data):
    path.write_bytes(b"")


def text(path, data):
    path.write_bytes(b"junk")


def folder(path, data):
    path.mkdir()


def pipe(path, data):
    os.mkfifo(path)


DAMAGE = {function.__name__: function for function in (truncated, garbage, flipped, empty, text, folder, pipe)}


@pytest.fixture
def copy(nircam, tmp_path):
    """A folder with the visit; the path of its science exposure."""
    for path in (*nircam.science, *nircam.ta, nircam.oss_log):
        shutil.copy(path, tmp_path)
    return tmp_path / nircam.science[0].name


@pytest.mark.parametrize("case", DAMAGE)
@pytest.mark.parametrize("kind", ["cal", "uncal"])
def test_find_ta_passes_over_damaged_neighbor(nircam, copy, case, kind):
    bad = copy.with_name(f"jw{nircam.visit_id}_09999_00001_nrcalong_{kind}.fits")
    DAMAGE[case](bad, nircam.ta[0].read_bytes())
    with pytest.warns(XtaWarning, match=bad.name):
        ds = xta.analyze(copy, centroid="oss", corrections="none")
    assert_star(ds, truth_of(nircam, nircam.science[0]))


@pytest.mark.parametrize("case", DAMAGE)
def test_find_ta_ignores_damaged_file_of_other_visit(copy, nircam, case):
    DAMAGE[case](copy.with_name("jw09990077001_09999_00001_nrcalong_cal.fits"), nircam.ta[0].read_bytes())
    assert xta.analyze(copy, centroid="oss", corrections="none").attrs["centroid_source"] == "OSS event log"


def test_open_acquisition_takes_next_product_of_damaged_one(nircam, copy):
    """Its header can be read, its image cannot."""
    good = copy.with_name(nircam.ta[0].name)
    shutil.move(good, good.with_name(good.name.replace("_cal", "_rate")))
    cut_after_header(good, nircam.ta[0].read_bytes())
    with pytest.warns(XtaWarning, match=rf"{good.name}\.gz"):
        ds = xta.analyze(copy, centroid="oss", corrections="none")
    assert_star(ds, truth_of(nircam, nircam.science[0]))


def test_open_acquisition_without_whole_product_says_so(nircam, copy):
    only = copy.with_name(nircam.ta[0].name)
    only.unlink()
    cut_after_header(only, nircam.ta[0].read_bytes())
    with pytest.warns(XtaWarning, match=only.name), pytest.raises(AcquisitionError, match="no TA exposure"):
        xta.analyze(copy, centroid="oss", corrections="none")


def test_targ_acqs_passes_over_damaged_product(nircam, copy):
    """Its header can be read, its extension cannot."""
    bad = copy.with_name(nircam.ta[0].name.replace("_cal", "_uncal"))
    cut_after_header(bad, nircam.ta[0].read_bytes())
    with pytest.warns(XtaWarning, match=bad.name):
        assert_star(xta.analyze(copy, centroid="oss", corrections="none"), truth_of(nircam, nircam.science[0]))


@pytest.mark.parametrize("case", [*DAMAGE, "cut_after_header"])
@pytest.mark.parametrize("read", [read_targ_acq, read_template])
def test_damaged_file_that_was_given_is_refused(nircam, tmp_path, case, read):
    path = tmp_path / nircam.ta[0].name
    (DAMAGE | {"cut_after_header": cut_after_header})[case](path, nircam.ta[0].read_bytes())
    (path,) = tmp_path.iterdir()
    with pytest.raises(FileError, match=path.name):
        read(path)


def test_analyze_opens_no_pipe_that_is_named_like_a_log(nircam, copy):
    os.mkfifo(copy.with_name("a_osslog.csv"))
    assert files.find_files(copy.parent).logs[nircam.visit_id] == [copy.with_name(nircam.oss_log.name)]
    assert_star(xta.analyze(copy, centroid="oss", corrections="none"), truth_of(nircam, nircam.science[0]))


def test_find_ta_reads_each_header_once(nircam, copy, monkeypatch):
    read, original = [], find.read_product
    monkeypatch.setattr(find, "read_product", lambda path: read.append(path.name) or original(path))
    xta.analyze(copy, centroid="oss", corrections="none")
    assert sorted(read) == sorted(path.name for path in (*nircam.science, *nircam.ta))


def test_find_ta_ranks_products_of_exposure(nircam, tmp_path):
    for kind in ("rate", "cal", "rateints"):
        shutil.copy(nircam.ta[0], tmp_path / nircam.ta[0].name.replace("_cal", f"_{kind}"))
    shutil.copy(nircam.science[0], tmp_path)
    found = files.ranked_products(find.find_ta(tmp_path, nircam.visit_id), files.TA_KINDS)
    assert [group[0].path.name for group in found] == [nircam.ta[0].name]


def test_best_log_of_single_row_is_none(nircam, tmp_path):
    """One row is the mention of a neighbor, whatever the file is called; two are a log."""
    row = "2024-03-10 09:00:00.000,60379.375,VISIT V09990001001 {},varchar\n"
    mention, log = tmp_path / "09990001001_oss.csv", tmp_path / "oss.csv"
    mention.write_text(row.format("STARTED"))
    assert find.best_log([mention], nircam.visit_id) == (None, [])
    log.write_text(row.format("STARTED") + row.format("ENDED"))
    result, passed_over = find.best_log([log, mention], nircam.visit_id)
    assert (len(result), passed_over) == (2, [])


def test_find_ta_of_renamed_file(nircam, tmp_path):
    """Files are told by their headers where none has the name of the visit."""
    shutil.copy(nircam.ta[0], tmp_path / "acquisition_cal.fits")
    assert [product.path.name for product in find.find_ta(tmp_path, nircam.visit_id)] == ["acquisition_cal.fits"]
