"""Words in pictures, and that text of files is only shown."""

import io
import re

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import xta
from tests.plot import data
from tests.plot.helpers import marks, near, texts
from xta import datasets, plot
from xta.plot import style


def test_acquisition_caption(small, ax):
    plot.acquisition(small.assign_coords(ta_filter=("ta_exposure", ["F335M"])), ax=ax)
    caption = ax.get_title(loc="left")
    for word in (
        "jw01234001001_02102_00001_nrcalong",
        "NRCA5_TAMASK335R",
        "F335M",
        "FGS2",
        "NRC_TACQ",
        "asinh stretch",
    ):
        assert word in caption


def test_acquisition_guider_from_log(small, ax):
    bare = small.assign_coords(guider_aperture="", oss_log="From guiding: guider 1 X ideal = 3.2")
    plot.acquisition(bare, ax=ax)
    assert "FGS1" in ax.get_title(loc="left")


def test_acquisition_writes_offset(analyzed, ax):
    plot.acquisition(analyzed, ax=ax)
    (text,) = [text.get_text() for text in ax.texts if "WCS − OSS" in text.get_text()]
    values = [float(value.replace("−", "-")) for value in re.findall(r"[+−]\d+\.\d+", text)]
    names = ("offset_x", "offset_y", "offset_east", "offset_north")
    assert values == pytest.approx([float(analyzed[name]) for name in names], abs=5.1e-4)


def test_acquisition_that_failed(tmp_path, ax):
    visit = datasets.make_visit(tmp_path, integrations=1, failed_ta=True, ideal=True)
    with pytest.warns(xta.XtaWarning, match="no onboard centroid"):
        ds = xta.analyze(visit.science[0])
    plot.acquisition(ds, ax=ax)
    found = marks(ax)
    assert found["image centroid"] == near((ds["centroid_x"], ds["centroid_y"]))
    assert "OSS centroid" not in found
    assert "FAILED: NIRCam target locate failed" in " ".join(ax.get_title(loc="left").split())
    assert any("FAILED" in text for text in texts(plot.summary(ds)))


def test_acquisition_centroid_by_hand(small, ax):
    plot.acquisition(small.ta.compute_offset(centroid=(34.0, 30.0)), ax=ax)
    found = marks(ax)
    assert found["centroid by hand"] == near((34.0, 30.0))
    assert found["OSS centroid"] == near(data.STAR)


def test_acquisition_without_legend_caption_zoom(small, ax):
    plot.acquisition(small, ax=ax, legend=False, caption=False, zoom=False)
    assert ax.get_legend() is None
    assert ax.get_title(loc="left") == ""
    assert not any(axis.images for axis in ax.child_axes)


ODD = "$\\bad$ a_1 $x^2$ \ud800\x07\n$"


SHOWN = "$\\bad$ a_1 $x^2$ \ufffd\ufffd"


@pytest.fixture(params=["acquisition", "science", "recentered", "offsets", "klip", "table"])
def odd(request, small, small_miri, small_klip):
    """Give a function, and a dataset with headers that are no good text."""
    table = xr.Dataset(
        {"offset_east": ("visit", [0.1, 0.2]), "offset_north": ("visit", [0.1, 0.2])}, {"visit": [ODD, "b"]}
    )
    make = {
        "recentered": small.ta.recenter,
        "offsets": lambda: small_miri,
        "klip": lambda: small_klip,
        "table": lambda: table,
    }
    ds = make.get(request.param, lambda: small)().copy(deep=True)
    for name in ("target_name", "visit_id", "filename", "filter", "aperture", "mode", "coronagraphic_mask"):
        ds.attrs[name] = ODD
        if name in ds.coords:
            ds.coords[name] = ODD
    for name in ("ta_filename", "ta_filter", "ta_exp_type"):
        if "ta_exposure" in ds.dims:
            ds = ds.assign_coords({name: ("ta_exposure", [ODD] * ds.sizes["ta_exposure"])})
    if "klip" in ds:
        ds["klip"].attrs["units"] = ODD
    return getattr(plot, request.param.replace("table", "offsets")), ds


def test_functions_show_header_text_verbatim(odd, ax):
    """No dollar sign begins mathematics, and no character stops the drawing, on new axes and on given ones."""
    function, ds = odd
    for axes in (ax, None):
        drawn = function(ds, ax=axes)
        figure = (drawn[0] if isinstance(drawn, list) else drawn).figure
        figure.savefig(io.BytesIO(), format="png", dpi=50)
        found = " ".join(" ".join(text.split()) for text in texts(figure))
        assert "$\\bad$" in found
        assert "a_1 $x^2$ \ufffd\ufffd" in found
        assert not re.search("[\ud800\x07]", found)
        assert r"\mathdefault" not in found


def test_summary_shows_header_text_verbatim(small, small_klip):
    for ds in (small, small_klip):
        page = plot.summary(ds.assign_coords(target_name=ODD, centroid_source=f"OSS {ODD}"))
        page.savefig(io.BytesIO(), format="pdf")
        assert page._suptitle.get_text().startswith(SHOWN)


def test_acquisition_label_of_user_may_be_mathematics(small):
    axes = plot.acquisition(small).axes
    assert axes.set_xlabel(r"$\alpha$").get_parse_math()
    assert axes.set_title("$x^2$").get_parse_math()


@given(st.text(st.characters()) | st.text(st.characters(categories=["Cs", "Cc", "Zs"])))
def test_plain_is_printable(text):
    shown = style.plain(text)
    assert shown.isprintable()
    assert len(shown) == len(text)
    assert [b for a, b in zip(text, shown, strict=True) if a.isprintable()] == [c for c in text if c.isprintable()]


def test_science_breaks_long_caption(small):
    name = "jw01234001001_02102_00001_nrcalong_" + "a" * 60
    drawn = plot.science(small.assign_coords(filename=f"{name}_cal.fits"))
    drawn.figure.savefig(io.BytesIO(), format="png")
    title = drawn.axes._left_title
    assert title.get_text().replace("\n", "").startswith(f"{name}_cal")
    assert title.get_window_extent().x1 < drawn.figure.bbox.x1


def test_star_with_error(small):
    x, y = (f"{float(small[f'target_{axis}']):.3f} ± {float(small[f'target_{axis}_err']):.3f}" for axis in "xy")
    science = plot.science(small, ax=mpl.figure.Figure().add_subplot()).axes.get_title(loc="left")
    assert f"star at {x}, {y} px" in science
    centered = plot.recentered(small.ta.recenter(), ax=mpl.figure.Figure().add_subplot()).axes.get_title(loc="left")
    assert f"star was at {x}, {y} px" in centered
    for ds in (small, small.ta.recenter()):
        found = texts(plot.summary(ds))
        assert [text for text in found if text.startswith("± ")] == [
            f"± {float(small[name]):.4f}" for name in ("target_x_err", "target_y_err")
        ]


def test_star_without_error(small):
    bare = (
        small.assign_coords(target_x_err=np.nan, target_y_err=np.nan),
        small.drop_vars(["target_x_err", "target_y_err"]),
    )
    for ds in bare:
        assert not any("±" in text or "standard error" in text for text in texts(plot.summary(ds)))
        star = f"star at {float(small['target_x']):.3f}, {float(small['target_y']):.3f} px"
        assert star in plot.science(ds, ax=mpl.figure.Figure().add_subplot()).axes.get_title(loc="left")
    lost = small.assign_coords(target_x=np.nan, target_y=np.nan)
    assert "star" not in plot.science(lost, ax=mpl.figure.Figure().add_subplot()).axes.get_title(loc="left")
