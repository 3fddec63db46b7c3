"""What analyses share: results of a file are those of its content today, whatever was kept of it before."""

import os
import shutil
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xarray as xr

import xta
from tests.surveys.visits import base_visit
from xta.errors import FileError
from xta.io.kept import kept


class Content(str):
    """A text that can have weak references."""

    __slots__ = ("__weakref__",)


def content(path):
    return Content(path.read_text())


@pytest.fixture
def path(tmp_path):
    (tmp_path / "a").write_text("first")
    return tmp_path / "a"


def test_kept_reads_once_until_file_changes(path):
    read = kept(content, number=2)
    first = read(path)
    assert read(path) is first == "first"
    path.write_text("after")
    assert read(path) == "after"


def test_kept_notices_replaced_file_of_same_size_and_time(path):
    read = kept(content, number=2)
    about = path.stat()
    read(path)
    other = path.with_name("b")
    other.write_text("other")
    os.utime(other, ns=(about.st_atime_ns, about.st_mtime_ns))
    other.replace(path)
    assert read(path) == "other"


def test_kept_repeats_error_and_reads_file_that_is_back(path):
    read = kept(content, number=2)
    read(path)
    path.rename(path.with_name("b"))
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            read(path)
    path.with_name("b").rename(path)
    assert read(path) == "first"


def test_kept_is_bounded(path):
    read = kept(content, number=2, large=6)
    alive = []
    for name in "abcde":
        path.with_name(name).write_text("small")
        alive.append(weakref.ref(read(path.with_name(name))))
    assert [ref() is not None for ref in alive] == [False, False, False, True, True]
    path.write_text("larger")
    assert read(path) is not read(path)


@pytest.fixture(scope="module")
def visit(tmp_path_factory):
    return base_visit(tmp_path_factory.mktemp("kept"))


@pytest.fixture
def science(visit, tmp_path):
    """The science file of a copy of the visit."""
    shutil.copytree(visit.science[0].parent, tmp_path / "visit")
    return tmp_path / "visit" / visit.science[0].name


def analyzed(path):
    with xta.analyze(path, offline=True) as ds:
        return ds.load()


def test_analyze_reads_changed_log_and_acquisition_again(science, visit):
    before = analyzed(science)
    log = science.with_name(visit.oss_log.name)
    log.unlink()
    with pytest.warns(xta.XtaWarning, match="no onboard centroid"):
        assert analyzed(science)["centroid_kind"] == "image"
    shutil.copy(visit.oss_log, log)
    xr.testing.assert_identical(analyzed(science), before)
    acquisition = science.with_name(visit.ta[0].name)
    acquisition.write_bytes(acquisition.read_bytes()[:-2880])
    with pytest.warns(xta.XtaWarning, match="skipped"), pytest.raises(xta.XtaError):
        xta.analyze(science, offline=True)


def test_analyze_repeats_warning_of_acquisition(science, visit):
    with science.with_name(visit.ta[0].name).open("ab") as file:
        file.write(bytes(100))
    for _ in range(2):
        with pytest.warns(xta.XtaWarning, match="bytes after its extension"):
            analyzed(science)


def test_analyze_gives_nothing_away_that_the_next_one_uses(science):
    first = analyzed(science)
    before = first.copy(deep=True)
    for variable in first.variables.values():
        variable.attrs.clear()
        if variable.dtype.kind == "f" and variable.ndim and not isinstance(variable, xr.IndexVariable):
            variable.values[...] = -1.0
    first.attrs.clear()
    assert (first["ta_sci"] == -1).all()
    xr.testing.assert_identical(analyzed(science), before)


def test_analyze_in_threads_agrees_with_one(science):
    alone = analyzed(science)
    with ThreadPoolExecutor(32) as pool:
        for ds in pool.map(analyzed, [science] * 32):
            xr.testing.assert_identical(ds, alone)


def test_kept_images_of_acquisition_cannot_be_changed(visit):
    from xta.acquisition.find import _images

    exposure, said = _images(visit.ta[0])
    assert said == ()
    with pytest.raises(ValueError, match="read-only"):
        exposure["sci"].values[0, 0] = np.nan
    with pytest.raises(FileError):
        _images(visit.ta[0].with_name("none.fits"))
