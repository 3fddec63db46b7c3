"""The card of a notebook: failed checks and a small TA image."""

import io

import numpy as np
import pytest
import xarray as xr
from matplotlib import image as mpl_image

import xta
from xta import card


@pytest.fixture(scope="module")
def analyzed(nircam):
    return xta.analyze(nircam.science[0], centroid="oss", corrections="none").load()


def test_as_html_shows_reason_of_failed_check(analyzed):
    assert "failed</span>" not in card.as_html(analyzed)
    closes = analyzed["check"].values == "telemetry closes"
    states = ("check", np.where(closes, 0, analyzed["check_passed"]))
    reasons = ("check", np.where(closes, "misses by <57> mas", analyzed["check_reason"]))
    html = card.as_html(analyzed.assign_coords(check_passed=states, check_reason=reasons))
    assert "failed</span> telemetry closes: misses by &lt;57&gt; mas" in html
    assert "8 passed, 3 not tested" in html


def test_thumbnail_is_of_the_star(analyzed):
    picture = mpl_image.imread(io.BytesIO(card.thumbnail(analyzed)), format="png")
    assert picture.shape == (card.WIDTH, card.WIDTH)
    row, column = np.unravel_index(np.argmax(picture), picture.shape)
    first = [np.ceil(float(analyzed[f"centroid_{axis}"]) - card.WIDTH / 2) for axis in "xy"]
    near = {f"ta_{axis}": slice(start, start + card.WIDTH - 1) for axis, start in zip("xy", first, strict=True)}
    image = analyzed[["ta_sci", "ta_dq"]].isel(ta_exposure=0).sel(near)
    brightest = image["ta_sci"].where((image["ta_dq"] & 1) == 0).argmax(("ta_y", "ta_x"))
    assert (column, card.WIDTH - 1 - row) == (int(brightest["ta_x"]), int(brightest["ta_y"]))


def test_thumbnail_reads_one_image_and_no_cube(analyzed):
    read = []

    def touched(block):
        read.append(block.shape)
        return block

    lazy = analyzed.chunk({"integration": 1})
    cube = lazy["sci"].data.map_blocks(touched, dtype=float, meta=np.zeros(0))
    lazy = lazy.assign(sci=lazy["sci"].copy(data=cube))
    assert card.thumbnail(lazy) == card.thumbnail(analyzed)
    assert "<img" in lazy.ta._repr_html_()
    assert not read


@pytest.mark.parametrize("names", [["ta_sci"], ["ta_in_use"]])
def test_as_html_without_image_in_use(analyzed, names):
    bare = analyzed.drop_vars(names).drop_attrs()
    assert card.thumbnail(bare) is None
    assert "<img" not in card.as_html(bare)


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_thumbnail_of_image_without_light(analyzed, value):
    dark = analyzed.assign_coords(ta_sci=xr.full_like(analyzed["ta_sci"], value))
    assert not mpl_image.imread(io.BytesIO(card.thumbnail(dark)), format="png").any()
