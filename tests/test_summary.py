"""The result of an analysis as JSON, table, text and HTML."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr

import xta
from xta import card, datasets, summary


@pytest.fixture(scope="module")
def analyzed(nircam):
    return xta.analyze(nircam.science[0], centroid="oss", corrections="none").load()


@pytest.fixture(scope="module")
def centered(analyzed):
    return analyzed.ta.recenter()


class Reader(HTMLParser):
    """Collect tags, attributes and the text of cells; refuse tags that do not match."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.attrs, self.cells = [], set(), [], []

    def handle_starttag(self, tag, attrs):
        if tag != "img":
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


def test_card_of_analyzed_exposure(analyzed):
    rows = summary.card(analyzed)
    assert rows["instrument"] == "JWST NIRCAM NRCALONG F444W MASKRND"
    assert rows["mode"] == "NRC_CORON NRCA5_MASK335R MASKA335R"
    assert rows["target"].startswith("Sample-Star, RA 201.150000, Dec −51.500000 deg, visit 09990001001")
    assert rows["acquisition"] == "1 exposure, SUCCESS"
    assert rows["centroid"].startswith("OSS event log, ")
    assert rows["WCS"] == "adjusted by the acquisition"
    values = {
        "centroid": [("centroid_x", 1e-4), ("centroid_y", 1e-4)]
        + [(f"centroid_difference_{axis}", 1e-3) for axis in "xy"],
        "offset": [("offset_x", 1e-3), ("offset_y", 1e-3), ("offset_east", 1e-3), ("offset_north", 1e-3)],
        "star": [(name, 1e-4) for name in ("target_x", "target_y", "target_x_err", "target_y_err")],
    }
    for what, names in values.items():
        written = [float(text.replace("−", "-")) for text in re.findall(r"[+−]?\d+\.\d+", rows[what])]
        assert written == [pytest.approx(float(analyzed[name]), abs=0.51 * step) for name, step in names]


def test_as_text_has_one_line_for_each(analyzed):
    first, *lines = summary.as_text(analyzed).split("\n")
    assert first == "<xta>"
    assert [line.split()[0] for line in lines] == list(summary.card(analyzed))
    assert max(map(len, lines)) < 100


def test_as_html_holds_card(analyzed):
    reader = read(card.as_html(analyzed))
    rows = summary.card(analyzed)
    assert reader.cells == [text for row in rows.items() for text in row]


def test_as_html_asks_for_nothing(analyzed):
    reader = read(card.as_html(analyzed))
    assert reader.tags == {"div", "table", "tr", "th", "td", "img"}
    assert {name for name, _ in reader.attrs} == {"style", "scope", "alt", "src"}
    assert all(value.startswith("data:image/png;base64,") for name, value in reader.attrs if name == "src")
    assert "url(" not in card.as_html(analyzed)


def test_as_html_escapes_text_of_files(analyzed):
    evil = '<script src="//x">alert(1)</script>&"\''
    for name in ("target_name", "instrument", "aperture", "visit_id", "oss_status", "centroid_source"):
        ds = analyzed.assign_coords({name: evil})
        html = card.as_html(ds)
        assert "<script" not in html
        assert any(evil in cell for cell in read(html).cells), name


def test_card_after_each_step(nircam, analyzed, centered):
    bare = xta.open_exposure(nircam.science[0])
    assert summary.card(bare)["acquisition"] == "not attached"
    assert summary.card(bare)["WCS"] == "of the file"
    assert not {"centroid", "offset", "star"} & set(summary.card(bare))
    attached = summary.card(bare.ta.attach())
    assert attached["centroid"] == "OSS event log"
    assert "offset" not in attached
    offset = summary.card(bare.ta.attach().ta.compute_offset(centroid="oss"))
    assert "offset" in offset
    assert offset["WCS"] == "of the file"
    rows = summary.card(centered)
    assert rows["WCS"] == "adjusted, recentered"
    star = f"{float(analyzed['target_x']):.4f}, {float(analyzed['target_y']):.4f}"
    assert rows["star"] == f"on the central pixel; it was at {star} px of the readout (0-based)"


def test_card_of_acquisition(nircam):
    rows = summary.card(xta.analyze(nircam.ta[0], centroid="oss", corrections="none"))
    assert rows["mode"].startswith("NRC_TACQ")
    assert "offset" in rows


def test_card_of_failed_acquisition(tmp_path):
    visit = datasets.make_visit(tmp_path, integrations=1, failed_ta=True, ideal=True)
    ds = xta.open_exposure(visit.science[0]).ta.attach()
    rows = summary.card(ds)
    assert rows["acquisition"] == "1 exposure, FAILED: NIRCam target locate failed"
    assert rows["centroid"] == "none (FAILED: NIRCam target locate failed)"


def test_card_of_joined_exposures(analyzed):
    parts = [analyzed[["sci"]].drop_vars(["ra", "dec"]) for _ in range(2)]
    parts[1] = parts[1].assign_coords(wcs=analyzed["wcs_original"], offset_x=0.5)
    rows = summary.card(xr.concat(parts, dim="exposure", coords="different", compat="equals"))
    assert rows["WCS"] == "2 of them, along exposure"
    assert rows["offset"] == "2 of them, along exposure"


def test_card_of_reopened_file(analyzed, centered, tmp_path):
    for name, ds in {"analyzed": analyzed, "centered": centered}.items():
        xta.to_netcdf(ds, tmp_path / f"{name}.nc")
        with xr.open_dataset(tmp_path / f"{name}.nc") as again:
            assert summary.card(again) == summary.card(ds)


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
def test_as_text_and_as_html_of_strange_dataset(what):
    assert summary.as_text(STRANGE[what]).startswith("<xta")
    read(card.as_html(STRANGE[what]))


def test_as_text_and_as_html_of_nothing():
    for strange in ("empty", "not JWST"):
        assert "xta.open_exposure" in summary.as_text(STRANGE[strange])
        assert "xta.open_exposure" in card.as_html(STRANGE[strange])


def test_card_of_lost_file(analyzed, tmp_path):
    xta.to_netcdf(analyzed, tmp_path / "gone.nc")
    ds = xr.open_dataset(tmp_path / "gone.nc")
    ds.close()
    (tmp_path / "gone.nc").unlink()
    rows = summary.card(ds)
    assert rows["instrument"].startswith("JWST NIRCAM")
    assert "star" not in rows


def test_card_shows_error_and_checks(nircam):
    ds = xta.analyze(nircam.science[0], centroid="oss", corrections="none")
    described = summary.card(ds)
    assert described["star"].endswith(f"± {float(ds.target_x_err):.4f}, {float(ds.target_y_err):.4f} px")
    assert described["checks"] == "9 passed, 3 not tested"
    x = float(ds["centroid_x"])
    off = ds.ta.compute_offset(centroid=(x + 1, float(ds["centroid_y"])))
    assert summary.card(off)["checks"] == "7 passed, 4 not tested, failed: centroid matches TA image"


def test_number_is_written_for_people():
    written = [summary.number(-0.25, 3), summary.number(0.25, 1, sign=True), summary.number(-2.1e-9, None)]
    assert written == ["−0.250", "+0.2", "−2e−09"]
    assert summary.number(np.nan, 2) == "–"
    assert summary.number(-1.0, 1, minus="-") == "-1.0"


def test_rows_hold_what_is_known(analyzed):
    rows = {what: pair for what, *pair in summary.rows(analyzed)}
    assert rows["star behind the mask [px, 0-based]"] == [f"{float(analyzed[f'target_{axis}']):.4f}" for axis in "xy"]
    assert rows["standard error of the star [px]"][0] == f"± {float(analyzed['target_x_err']):.4f}"
    assert "star in the original readout [px]" not in rows
    half = analyzed.assign_coords(target_x_err=np.nan, target_y_err=np.nan, mask_y=np.nan)
    rows = {what: pair for what, *pair in summary.rows(half)}
    assert "standard error of the star [px]" not in rows
    assert rows["mask [px]"][1] == "–"


def test_as_table_holds_rows(analyzed):
    lines = summary.as_table(analyzed).splitlines()
    assert lines[0] == analyzed.attrs["filename"]
    rows = [[what, *pair] for what, *pair in summary.rows(analyzed, minus="-")]
    assert [re.split(" {2,}", line.strip()) for line in lines[-len(rows) :]] == rows


def test_as_dict_and_as_table_of_one_ta_exposure(analyzed):
    one = analyzed.isel(ta_exposure=0)
    assert summary.as_dict(one) | summary.as_dict(analyzed) == summary.as_dict(one)
    assert summary.as_dict(one)["ta_filenames"] == [analyzed["ta_filename"].values[0]]
    assert summary.as_table(one) == summary.as_table(analyzed)
    assert summary.as_text(one) == summary.as_text(analyzed)
