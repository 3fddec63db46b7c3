"""What the page of an exposure holds, and that it is safe and whole."""

import base64
import hashlib
import re

import pytest
import xarray as xr
from click.testing import CliRunner

import xta
from tests.report.helpers import CHECKS, PARTS, read, text_of
from xta.acquisition import checklist
from xta.cli import main
from xta.errors import ArgumentError, FileError, MissingError
from xta.report import index, report
from xta.report.markup import join, tag
from xta.summary import number


@pytest.mark.parametrize("which", ["nircam", "miri", "index"])
def test_report_asks_for_nothing(pages, which):
    text = pages[which].read_text(encoding="utf-8")
    assert "://" not in text
    assert "@import" not in text
    assert "url(" not in text
    reader = read(pages[which])
    for tag_, name, value in reader.attrs:
        assert not name.startswith("on"), (tag_, name)
        assert name != "style", tag_
        if name == "src":
            assert value.startswith("data:image/svg+xml;base64,")
        if name == "href":
            assert value == "#checks" or (pages[which].parent / value).is_file()
    assert not {"link", "iframe", "object", "base", "form"} & set(reader.tags)
    policy = next(value for tag_, name, value in reader.attrs if name == "content" and "default-src" in value)
    assert policy.startswith("default-src 'none'; img-src data:; ")
    for directive, content in (("style-src", reader.texts["style"]), ("script-src", reader.texts["script"][-1:])):
        digest = base64.b64encode(hashlib.sha256("".join(content).encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy


def test_report_is_small(pages):
    assert all(path.stat().st_size < 3e6 for path in pages.values())


def test_report_words(pages, analyzed):
    words = read(pages["nircam"]).words
    x, y = float(analyzed["target_x"]), float(analyzed["target_y"])
    for text in (
        f"{x:.4f} ± 0.0050 px",
        f"{y:.4f} ± 0.0050 px",
        f"{x + 1:.4f}, {y + 1:.4f}",
        "Standard errors: 0.3 and 0.3 mas",
        "Sample-Star",
        "Visit 09990001001",
        "1 of 2 checks passed, 1 not tested",
        *(reason for _, reason in CHECKS.values()),
        *PARTS,
        "The star by other methods",
        "template",
        f"xta {xta.__version__}",
        "jwst_1215.pmap",
        "PRDOPSSOC-063",
        str(analyzed["ta_filename"].values[0]),
    ):
        assert text in words, text
    assert analyzed.attrs["oss_log"].strip("\n") in read(pages["nircam"]).texts["pre"]
    assert read(pages["nircam"]).texts["li"][-1] == analyzed.attrs["history"].splitlines()[-1]


def test_report_numbers(pages, analyzed):
    cells = read(pages["nircam"]).texts["td"]
    for name, decimals in (("offset_x", 4), ("offset_east", 4), ("centroid_y", 5), ("mask_x", 3)):
        assert number(float(analyzed[name]), decimals) in cells
    assert {"0.0030", "0.0040", "0.19", "0.25"} <= set(cells)
    assert {"star", "0.0050", "0.31"} <= set(read(pages["nircam"]).texts["strong"])


def test_report_lights_have_word_and_sign(pages):
    reader = read(pages["nircam"])
    lights = [value for tag_, name, value in reader.attrs if name == "class" and value.startswith("light")]
    assert lights == ["light failed", "light passed", "light failed", "light not-tested"]
    for word in ("passed", "failed", "not tested"):
        assert word in reader.texts["span"]
    signs = re.findall(
        r'class="light [^"]+"><svg[^>]*><circle[^>]*></circle><path d="([^"]+)"', text_of(pages["nircam"])
    )
    assert len(set(signs)) == 3


def test_report_without_checks(small, tmp_path):
    text = text_of(report(small, tmp_path / "a.html"))
    assert 'class="light' not in text
    assert "checks passed" not in text
    assert "±" not in read(tmp_path / "a.html").words


def test_report_before_adjust_wcs(nircam, tmp_path):
    ds = xta.open_exposure(nircam.science[0]).ta.attach().ta.compute_offset(centroid="oss")
    words = read(ds.ta.report(tmp_path / "a.html")).words
    assert "Pointing error" in words
    assert "ds.ta.adjust_wcs()" in words
    assert "Star behind the mask" not in words
    assert number(float(ds["offset_x"]), 4, sign=True) in words
    assert "by the file's WCS" in words
    assert "other methods" not in words


def test_report_of_recentered_and_of_acquisition(analyzed, nircam, tmp_path):
    words = read(report(analyzed.ta.recenter(size=101), tmp_path / "a.html")).words
    assert f"{float(analyzed['target_x']):.4f}" in words
    assert "recentered" in words
    text = text_of(report(xta.analyze(nircam.ta[0], centroid="oss", corrections="none"), tmp_path / "b.html"))
    assert text.count("<img") == 1


def test_report_of_reopened_file(analyzed, tmp_path):
    before = analyzed.copy(deep=True)
    first = text_of(report(analyzed, tmp_path / "a.html"))
    xr.testing.assert_identical(analyzed, before)
    assert text_of(report(analyzed, tmp_path / "a.html")) == first
    xta.to_netcdf(analyzed, tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as ds:
        assert text_of(ds.ta.report(str(tmp_path / "b.html"))) == first


def test_join_and_tag_escape():
    assert join("<", tag("b", "<", title='"'), None, 1) == '&lt;<b title="&quot;">&lt;</b>1'
    assert tag("p", "a\x00b\ud800", data_key=None, hidden=True) == "<p hidden>a\ufffdb\ufffd</p>"


@pytest.mark.parametrize("name", ["a.htm", "a", "a.html.gz", "folder"])
def test_report_refuses_other_name(small, tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ArgumentError, match=r"must end in \.html"):
        report(small, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_report_names_missing_step(nircam, small, tmp_path):
    bare = xta.open_exposure(nircam.science[0])
    with pytest.raises(MissingError, match=r"call ds\.ta\.attach\(\) first"):
        bare.ta.report(tmp_path / "a.html")
    with pytest.raises(MissingError, match=r"call ds\.ta\.compute_offset\(\) first"):
        bare.ta.attach().ta.report(tmp_path / "a.html")
    with pytest.raises(MissingError, match=r"ds\.ta\.attach\(\)"):
        index([small, bare], tmp_path / "all")
    several = small.assign_coords(offset_x=("exposure", [1.0, 2.0]))
    with pytest.raises(ArgumentError, match=r"several exposures along exposure"):
        report(several, tmp_path / "a.html")
    assert list(tmp_path.iterdir()) == []


def test_report_is_written_whole(small, tmp_path):
    with pytest.raises(FileError, match="does not exist"):
        report(small, tmp_path / "absent" / "a.html")
    (tmp_path / "a.html").mkdir()
    with pytest.raises(FileError, match="it is a folder"):
        report(small, tmp_path / "a.html")
    (tmp_path / "b.html").write_text("old")
    with pytest.raises(MissingError):
        report(small.drop_vars("ta_sci"), tmp_path / "b.html")
    assert (tmp_path / "b.html").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "b.html"]


def test_command_report_page_and_folder(nircam, tmp_path):
    def run(*args):
        return CliRunner().invoke(main, ["report", *map(str, args)])

    done = run(nircam.science[0], "-o", tmp_path / "a.html")
    assert done.exit_code == 0, done.output
    assert "wrote" in done.stderr
    assert "Star behind the mask" in read(tmp_path / "a.html").words
    netcdf = tmp_path / "a.nc"
    xta.to_netcdf(xta.analyze(nircam.ta[0], centroid="oss", corrections="none"), netcdf)
    done = run(netcdf, nircam.science[0], tmp_path / "absent_calints.fits", "-o", tmp_path / "all")
    assert done.exit_code == 1
    assert "does not exist" in done.stderr
    assert len(list((tmp_path / "all").glob("*.html"))) == 3
    assert run(netcdf, netcdf, "-o", tmp_path / "b.html").exit_code == 2
    assert run(tmp_path / "absent_calints.fits", "-o", tmp_path / "none").exit_code == 1
    assert not (tmp_path / "none").exists()
    assert not (tmp_path / "b.html").exists()


def test_report_says_what_to_do_where_a_check_failed(pages):
    words = read(pages["nircam"]).words
    assert checklist.CHECKS["telemetry closes"].remedy in words
    assert checklist.CHECKS["guide stars match"].remedy not in words


def test_report_of_joint_solution_has_its_observations(small, tmp_path):
    columns = {"x": 150.0, "y": 174.0, "x_err": 0.1, "y_err": 0.2, "residual_x": 0.05, "residual_y": -0.3}
    columns |= {"test": 29.04, "weight": 0.25, "kind": "prediction", "reason": "chi-square 29", "used": 0}
    table = {f"observation_{name}": ("observation", [value]) for name, value in columns.items()}
    covariance = ("star_axis", "star_axis_"), [[1.0]], {"chi2": 3.25, "degrees": 6}
    table |= {"observation": ["a_calints.fits"], "star_axis": ["a x"], "star_axis_": ["a x"]}
    solved = small.assign_coords(table | {"star_covariance": covariance, "prior_x": 149.5, "prior_y": 173.25})
    words = read(report(solved, tmp_path / "a.html")).words
    shown = (
        "149.5000, 173.2500 px",
        "150.0000",
        "0.2000",
        "−0.3000",
        "−1.5",
        "29.0",
        "0.25",
        "rejected: chi-square 29",
    )
    for text in (*shown, "3.2 with 6 degrees"):
        assert text in words, text
    assert "Joint solution" not in read(report(small, tmp_path / "b.html")).words
