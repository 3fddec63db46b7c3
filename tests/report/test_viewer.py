"""The data of the interactive image."""

import base64

import numpy as np
import pytest

from tests.plot import data
from tests.report.helpers import distance
from xta.geometry import wcs
from xta.report import report
from xta.report.viewer import images, sky_polynomial


def follow(model, x, y):
    u, v = ((value - model["middle"][k]) / model["half"][k] for k, value in enumerate((x, y)))
    powers = model["powers"], model["terms"]
    plane = sum((u**i * v**j)[:, None] * np.array(term) for (i, j), term in zip(*powers, strict=True))
    a, b, c = np.array(model["axes"]).T @ np.concatenate([np.ones((len(u), 1)), plane], axis=1).T
    return np.rad2deg(np.arctan2(b, a)) % 360, np.rad2deg(np.arctan2(c, np.hypot(a, b)))


@pytest.mark.parametrize("where", [(150.0, -30.0), (0.0, 0.0), (359.9999, 89.999), (10.0, -90.0)])
@pytest.mark.parametrize("distortion", [3e-6, 3e-4])
def test_sky_polynomial_equals_wcs(build_wcs, where, distortion):
    gwcs = build_wcs(*where, distortion=distortion)
    x, y = np.arange(96, 224), np.arange(100, 180)
    model = sky_polynomial(gwcs, x, y)
    rng = np.random.default_rng(1)
    px, py = rng.uniform(95.5, 223.5, 200), rng.uniform(99.5, 179.5, 200)
    off = distance(*follow(model, px, py), *wcs.pixel_to_world(gwcs, px, py)) / 0.063
    assert off.max() < max(2 * model["error"], 2e-9)
    assert off.max() < 1e-5


def test_sky_polynomial_refuses_wild_wcs(build_wcs):
    wild = build_wcs(scale=3600.0)  # a degree a pixel: most of the image is beyond the tangent plane
    assert sky_polynomial(wild, np.arange(256), np.arange(256)) is None


def test_images_hold_values_of_dataset(analyzed_miri):
    found = images(analyzed_miri)
    assert len(found) == analyzed_miri.sizes["ta_exposure"]
    for k, image in enumerate(found):
        shape = image["height"], image["width"]
        values = np.frombuffer(base64.b64decode(image["values"]), "<f4").reshape(shape)
        x, y = image["x0"] + np.arange(shape[1]), image["y0"] + np.arange(shape[0])
        one = analyzed_miri.isel(ta_exposure=k).sel(ta_x=x, ta_y=y)
        np.testing.assert_array_equal(values, one["ta_sci"].values)
        bad = np.unpackbits(np.frombuffer(base64.b64decode(image["bad"]), np.uint8), bitorder="little")
        expected = (one["ta_dq"].values & 1).astype(bool) | ~np.isfinite(values)
        np.testing.assert_array_equal(bad[: values.size].reshape(shape).astype(bool), expected)
        assert max(shape) <= 80


def test_images_cut_large_readout(build_wcs):
    ds = data.of_several(build_wcs).assign_coords(ta_aperture=("ta_exposure", ["NONE", "NONE"]))
    for image in images(ds):
        assert (image["width"], image["height"]) == (256, 224)
        x, _ = image["marks"]["OSS centroid" if "OSS centroid" in image["marks"] else "intended place"]
        assert image["x0"] <= x < image["x0"] + 256


def test_images_without_good_pixel(small, tmp_path):
    ds = small.copy()
    ds["ta_dq"] = ds["ta_dq"] | np.uint32(1)
    assert images(ds)[0]["levels"] == []
    assert report(ds, tmp_path / "a.html").is_file()
