"""The description of a dataset, as text and as HTML."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr

import xta
from xta import datasets, summary


@pytest.fixture(scope="module")
def analysed(nircam):
    return xta.analyze(nircam.science[0]).load()


@pytest.fixture(scope="module")
def centred(analysed):
    return analysed.ta.recenter()


class Reader(HTMLParser):
    """Collect tags, attributes and the text of cells; refuse tags that do not match."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.attrs, self.cells = [], set(), [], []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tags.add(tag)
        self.attrs += attrs
        if tag in {"td", "th"}:
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1] in {"td", "th"}:
            self.cells[-1] += data


def read(html):
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


def test_an_analysed_exposure(analysed):
    rows = summary.rows(analysed)
    assert rows["instrument"] == "JWST NIRCAM NRCALONG F444W MASKRND"
    assert rows["mode"] == "NRC_CORON NRCA5_MASK335R MASKA335R"
    assert rows["target"].startswith("Sample-Star, RA 201.150000, Dec −51.500000 deg, visit 09990001001")
    assert rows["acquisition"] == "1 exposure, SUCCESS"
    assert rows["centroid"].startswith("OSS event log, ")
    assert rows["WCS"] == "adjusted by the acquisition"
    values = {
        "centroid": [("centroid_x", 1e-4), ("centroid_y", 1e-4)],
        "offset": [("offset_x", 1e-3), ("offset_y", 1e-3), ("offset_east", 1e-3), ("offset_north", 1e-3)],
        "star": [(name, 1e-4) for name in ("target_x", "target_y", "target_x_err", "target_y_err")],
    }
    for what, names in values.items():
        written = [float(text.replace("−", "-")) for text in re.findall(r"[+−]?\d+\.\d+", rows[what])]
        assert written == [pytest.approx(float(analysed[name]), abs=0.51 * step) for name, step in names]


def test_text_has_one_line_for_each(analysed):
    first, *lines = summary.as_text(analysed).split("\n")
    assert first == "<xta>"
    assert [line.split()[0] for line in lines] == list(summary.rows(analysed))
    assert max(map(len, lines)) < 100


def test_html_holds_the_same(analysed):
    reader = read(summary.as_html(analysed))
    rows = summary.rows(analysed)
    assert reader.cells == [text for row in rows.items() for text in row]


def test_html_asks_for_nothing(analysed):
    reader = read(summary.as_html(analysed))
    assert reader.tags == {"div", "table", "tr", "th", "td"}
    assert {name for name, _ in reader.attrs} == {"style", "scope"}
    assert "url(" not in summary.as_html(analysed)


def test_text_from_files_is_escaped(analysed):
    evil = '<script src="//x">alert(1)</script>&"\''
    for name in ("target_name", "instrument", "aperture", "visit_id", "oss_status", "centroid_source"):
        ds = analysed.assign_attrs({name: evil})
        html = summary.as_html(ds)
        assert "<script" not in html
        assert any(evil in cell for cell in read(html).cells), name


def test_each_step(nircam, analysed, centred):
    bare = xta.open_exposure(nircam.science[0])
    assert summary.rows(bare)["acquisition"] == "not attached"
    assert summary.rows(bare)["WCS"] == "of the file"
    assert not {"centroid", "offset", "star"} & set(summary.rows(bare))
    attached = summary.rows(bare.ta.attach())
    assert attached["centroid"] == "OSS event log"
    assert "offset" not in attached
    offset = summary.rows(bare.ta.attach().ta.compute_offset())
    assert "offset" in offset
    assert offset["WCS"] == "of the file"
    rows = summary.rows(centred)
    assert rows["WCS"] == "adjusted, recentred"
    star = f"{float(analysed['target_x']):.4f}, {float(analysed['target_y']):.4f}"
    assert rows["star"] == f"on the central pixel; it was at {star} px of the readout"


def test_an_acquisition_by_itself(nircam):
    rows = summary.rows(xta.analyze(nircam.ta[0]))
    assert rows["mode"].startswith("NRC_TACQ")
    assert "offset" in rows


def test_a_failed_acquisition(tmp_path):
    visit = datasets.make_visit(tmp_path, integrations=1, failed_ta=True)
    ds = xta.open_exposure(visit.science[0]).ta.attach()
    rows = summary.rows(ds)
    assert rows["acquisition"] == "1 exposure, FAILED: NIRCam target locate failed"
    assert rows["centroid"] == "none (FAILED: NIRCam target locate failed)"


def test_joined_exposures(analysed):
    parts = [analysed[["sci"]].drop_vars(["ra", "dec"]) for _ in range(2)]
    parts[1] = parts[1].assign_coords(wcs=analysed["wcs_original"], offset_x=0.5)
    rows = summary.rows(xr.concat(parts, dim="exposure", coords="different", compat="equals"))
    assert rows["WCS"] == "2 of them, along exposure"
    assert rows["offset"] == "2 of them, along exposure"


def test_after_netcdf(analysed, centred, tmp_path):
    for name, ds in {"analysed": analysed, "centred": centred}.items():
        xta.to_netcdf(ds, tmp_path / f"{name}.nc")
        with xr.open_dataset(tmp_path / f"{name}.nc") as again:
            assert summary.rows(again) == summary.rows(ds)


STRANGE = {
    "empty": xr.Dataset(),
    "not JWST": xr.Dataset({"air": (("time", "lat"), np.zeros((2, 3)))}, attrs={"title": "weather"}),
    "not a number": xr.Dataset(coords={"target_x": np.nan, "target_y": 1.0, "offset_x": np.inf, "offset_y": 0.0}),
    "text for numbers": xr.Dataset(coords={"target_x": "left", "target_y": "up", "wcs": 3}),
    "arrays for numbers": xr.Dataset(coords={"centroid_x": ("a", [1.0, 2.0]), "offset_x": ("a", [1.0, 2.0])}),
    "odd attributes": xr.Dataset(
        attrs={"target_ra": "12:30", "target_dec": np.array([1, 2]), "visit_id": 3, "instrument": None, "filter": b"F"}
    ),
    "half a star": xr.Dataset(coords={"target_x": 3.0, "star_y": 2.0}),
    "klip": xr.Dataset(
        {"klip": (("y", "x"), np.zeros((3, 3)))}, {"target_x": 0.0, "target_y": 0.0}, {"filter": "F444W"}
    ),
}


@pytest.mark.parametrize("what", STRANGE)
def test_no_dataset_is_too_strange(what):
    assert summary.as_text(STRANGE[what]).startswith("<xta")
    read(summary.as_html(STRANGE[what]))


def test_nothing_known_says_what_to_do():
    for strange in ("empty", "not JWST"):
        assert "xta.open_exposure" in summary.as_text(STRANGE[strange])
        assert "xta.open_exposure" in summary.as_html(STRANGE[strange])


def test_a_file_that_is_gone(analysed, tmp_path):
    xta.to_netcdf(analysed, tmp_path / "gone.nc")
    ds = xr.open_dataset(tmp_path / "gone.nc")
    ds.close()
    (tmp_path / "gone.nc").unlink()
    rows = summary.rows(ds)
    assert rows["instrument"].startswith("JWST NIRCAM")
    assert "star" not in rows


def test_the_error_and_the_checks_are_shown(nircam):
    ds = xta.analyze(nircam.science[0])
    described = summary.rows(ds)
    assert described["star"].endswith(f"± {float(ds.target_x_err):.4f}, {float(ds.target_y_err):.4f} px")
    assert described["checks"] == "6 passed, 1 not tested"
    x = float(ds["centroid_x"])
    off = ds.ta.compute_offset(centroid=(x + 1, float(ds["centroid_y"])))
    assert summary.rows(off)["checks"] == "5 passed, 1 not tested, failed: agrees"
