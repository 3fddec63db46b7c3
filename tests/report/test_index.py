"""The index of many exposures and their pages."""

import re

import pytest

from tests.report.helpers import read
from xta.errors import ArgumentError, FileError
from xta.report import index


def test_index_shows_text_of_files_verbatim(evil_pages):
    for path in evil_pages.parent.iterdir():
        reader = read(path)
        assert reader.tags.count("script") == (1 if path == evil_pages else 2)
        assert not any(name.startswith("on") for _, name, _ in reader.attrs)
        assert "<script>window.evil" in reader.words
        assert "\x00" not in reader.words
        assert re.fullmatch(r"[\w.-]+", path.name)


def test_index_refuses_no_datasets_and_no_folder(small, tmp_path):
    with pytest.raises(ArgumentError, match="no datasets"):
        index([], tmp_path / "all")
    with pytest.raises(ArgumentError, match="DataArray"):
        index(small, tmp_path / "all")
    assert index({"a": small}, tmp_path / "one") == tmp_path / "one" / "index.html"
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot make the folder"):
        index([small], tmp_path / "file" / "all")
    assert {path.name for path in tmp_path.iterdir()} == {"file", "one"}


def test_index_names_of_pages(small, tmp_path):
    attrs = [{"filename": name} for name in ("a.fits", "A.fits", "a.fits", "index.fits", "../b c.fits", "")]
    attrs += [{"filename": "", "visit_id": ""}]
    path = index((small.assign_coords(one) for one in attrs), tmp_path)
    names = {"a.html", "A-2.html", "a-3.html", "index-2.html", "b-c.html", "01234001001.html", "exposure.html"}
    assert {page.name for page in tmp_path.iterdir()} == names | {"index.html"}
    assert names == {value for _, name, value in read(path).attrs if name == "href"}


def test_index_links(pages):
    for _, name, value in read(pages["index"]).attrs:
        if name == "href":
            assert ("a", "href", "index.html") in read(pages["index"].parent / value).attrs
