"""Pictures in print: layout, type, vectors, colors."""

import base64
import io
import itertools
import re

import matplotlib as mpl
import numpy as np
import pytest

from xta import plot
from xta.plot import style


@pytest.fixture(
    params=["acquisition", "science", "recentered", "offsets", "klip", "summary", "summary of MIRI", "failed"]
)
def printed(request, small, small_miri, small_klip):
    """Give one figure of each kind, in its own size."""
    failed = small.ta.compute_offset(centroid="image").assign_attrs(
        centroid_source="TA image, no onboard centroid (FAILED: NIRCam target locate failed)"
    )
    make = {
        "acquisition": lambda: (
            plot.acquisition(small.ta.compute_offset(centroid=(34.0, 30.0)).ta.adjust_wcs(corrections="none")).figure
        ),
        "science": lambda: plot.science(small).figure,
        "recentered": lambda: plot.recentered(small.ta.recenter()).figure,
        "offsets": lambda: plot.offsets(small_miri)[0].figure,
        "klip": lambda: plot.klip(small_klip).figure,
        "summary": lambda: plot.summary(small.ta.recenter()),
        "summary of MIRI": lambda: plot.summary(small_miri),
        "failed": lambda: plot.acquisition(failed).figure,
    }
    return make[request.param]()


def test_figure_is_saved_the_same_each_time(printed):
    found = []
    for _ in range(3):
        printed.savefig(io.BytesIO(), format="png")
        found.append([ax.get_position().bounds for ax in printed.axes])
    np.testing.assert_allclose(found[1:], found[:1] * 2, atol=2e-3)


def words(figure):
    """Titles, labels, legends and notes of a drawn figure: (text, artist, where it is)."""
    found = [*figure.texts]
    for ax in figure.findobj(mpl.axes.Axes):
        found += [ax._left_title, ax.xaxis.label, ax.yaxis.label, *ax.texts]
        found += ax.get_legend().get_texts() if ax.get_legend() else []
    found += [figure._suptitle] if figure._suptitle else []
    return [(text.get_text(), text, text.get_window_extent()) for text in found if text.get_text().strip()]


def test_figure_text_is_inside_and_large_enough(printed):
    assert printed.get_figwidth() in {style.COLUMN, style.PAGE}
    printed.savefig(io.BytesIO(), format="png")
    width, height = printed.bbox.size
    found = words(printed)
    assert len(found) > 5
    for text, artist, box in found:
        assert min(box.x0, box.y0, width - box.x1, height - box.y1) > -1, text
        assert artist.get_fontsize() >= 7, text


def test_figure_text_does_not_overlap(printed):
    printed.savefig(io.BytesIO(), format="png")
    found = {id(artist): (text, box.shrunk(0.98, 0.9)) for text, artist, box in words(printed)}
    for (one, box), (other, second) in itertools.combinations(found.values(), 2):
        assert not box.overlaps(second), (one, other)


def test_pdf_has_truetype_fonts(small, tmp_path):
    path = tmp_path / "page.pdf"
    plot.summary(small).savefig(path)
    content = path.read_bytes()
    assert content.startswith(b"%PDF")
    assert b"/FontType 3" not in content
    assert b"/Type3" not in content
    assert b"/CIDFontType2" in content or b"/TrueType" in content


def widths(content):
    """Of the images in a PDF or SVG [pixel]."""
    if content.startswith(b"%PDF"):
        return [int(value) for value in re.findall(rb"/Width (\d+)", content)]
    images = [base64.b64decode(text) for text in re.findall(rb"data:image/png;base64,([^\"]+)", content)]
    return [int.from_bytes(png[16:20]) for png in images]


@pytest.mark.parametrize("kind", ["pdf", "svg"])
def test_vector_file_has_sharp_images(small, tmp_path, kind):
    """A viewer smooths what has few dots; images have 600 per inch, and by ``format`` as by name."""
    figure, file = plot.acquisition(small).figure, io.BytesIO()
    figure.savefig(tmp_path / f"a.{kind}")
    figure.savefig(file, format=kind)
    dots = figure.axes[0].get_position().width * style.COLUMN * style.VECTOR_DPI
    for content in ((tmp_path / f"a.{kind}").read_bytes(), file.getvalue()):
        assert max(widths(content)) == pytest.approx(dots, rel=0.01)
    figure.savefig(tmp_path / f"b.{kind}", dpi=60)
    assert max(widths((tmp_path / f"b.{kind}").read_bytes())) == pytest.approx(dots / 10, rel=0.01)
    assert figure.dpi == style.DPI


def lightness(rgb):
    """CIE 1976 L* of sRGB colors (IEC 61966-2-1, CIE 15)."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    return np.where(luminance > (6 / 29) ** 3, 116 * np.cbrt(luminance) - 16, luminance * (29 / 3) ** 3)


def test_color_maps_are_perceptually_uniform(small, small_klip):
    for drawn in (plot.acquisition(small), plot.klip(small_klip)):
        steps = np.diff(lightness(drawn.cmap(np.linspace(0, 1, 33))[:, :3]))
        assert steps.min() > 0.3 * steps.mean()  # near black CIE L* is not what they are uniform in
        assert steps.max() < 1.6 * steps.mean()


def test_marks_differ_in_shape_and_lightness(small, small_miri):
    together = ("intended place", "WCS", "WCS adjusted", "OSS centroid", "image centroid")
    assert len({style.MARKS[label].marker for label in together}) == len(together)
    for label in together:
        level = lightness(np.array(mpl.colors.to_rgb(style.MARKS[label].color)))
        assert level > lightness(np.array(mpl.colors.to_rgb(style.BAD))), label
