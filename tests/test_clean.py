"""Bad pixels found over the integrations and by neighbors, and masked or repaired; sources are left alone."""

import numpy as np
import pytest
import xarray as xr

import xta
from xta.errors import ArgumentError, MissingError


def exposure(integrations=8, seed=0, sources=()):
    """Noise of 1 on a level of 20, and sources (x, y, peak) as sharp as a telescope can make them."""
    sci = 20 + np.random.default_rng(seed).standard_normal((integrations, 60, 50))
    y, x = np.indices(sci.shape[1:])
    for x0, y0, peak in sources:
        sci += peak * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * 0.95**2))
    dims = ("integration", "y", "x")
    images = {"sci": (dims, sci, {"units": "MJy/sr"}), "dq": (dims, np.zeros(sci.shape, dtype=np.uint32))}
    labels = {"x": np.arange(50), "y": np.arange(60), "integration": np.arange(1, integrations + 1)}
    return xr.Dataset(images, labels, {"filename": "a.fits", "visit_id": "1"})


def found_in(ds):
    return (ds["dq"] & 16).astype(bool).values


def test_clean_finds_jump_of_one_integration():
    ds = exposure()
    ds["sci"][2, 30, 20:23] += 15
    found = found_in(ds.ta.clean())
    assert found[2, 30, 20:23].all()
    assert found.sum() < 0.001 * found.size


@pytest.mark.parametrize("value", [15.0, -15.0, 1e5])
def test_clean_finds_hot_and_dead_pixels_of_all_integrations(value):
    ds = exposure(integrations=2)
    ds["sci"][:, 30, 20] += value
    ds["sci"][:, 0, 49] += value
    found = found_in(ds.ta.clean())
    assert found[:, 30, 20].all()
    assert found[:, 0, 49].all()
    assert found.sum() < 0.001 * found.size


@pytest.mark.parametrize("place", [(25.0, 30.0), (24.5, 30.5), (25.3, 29.8)])
def test_clean_leaves_point_sources(place):
    ds = exposure(sources=[(*place, 500.0)])
    assert not found_in(ds.ta.clean())[:, 26:35, 21:30].any()


def test_clean_masks_or_repairs():
    ds = exposure()
    ds["sci"][:, 30, 20] += 100
    ds["dq"][:, 10, 10] = 5
    ds["sci"][:, 10, 10] = np.nan
    before = ds.copy(deep=True)
    masked, repaired = ds.ta.clean(), ds.ta.clean(method="repair")
    xr.testing.assert_identical(ds, before)
    np.testing.assert_array_equal(masked["sci"], ds["sci"])
    assert (masked["dq"].values[:, 30, 20] == 17).all()
    assert (masked["dq"].values[:, 10, 10] == 5).all()
    assert (repaired["dq"].values[:, 30, 20] == 16).all()
    assert (repaired["dq"].values[:, 10, 10] == 4).all()
    for at in ((30, 20), (10, 10)):
        np.testing.assert_allclose(repaired["sci"].values[:, *at], 20, atol=3)
    good = (masked["dq"].values & 1) == 0
    np.testing.assert_array_equal(repaired["sci"].values[good], ds["sci"].values[good])
    assert "outliers" in masked.attrs["history"]
    assert "filled" in repaired.attrs["history"]


def test_clean_of_an_image_and_a_stack():
    ds = exposure()
    ds["sci"][:, 30, 20] += 100
    image = ds.isel(integration=0)
    assert found_in(image.ta.clean())[30, 20]
    assert image.ta.clean()["dq"].dims == ("y", "x")


def test_clean_of_a_sample_visit(nircam):
    ds = xta.open_exposure(nircam.science[0]).load()
    hot = ds.assign(sci=ds["sci"].copy())
    hot["sci"][:, 40, 200] += 50.0
    found = found_in(hot.ta.clean())
    assert found[:, 40, 200].all()
    assert found.sum() < 0.001 * found.size


def test_clean_refuses_bad_arguments():
    ds = exposure()
    with pytest.raises(ArgumentError, match="sigma"):
        ds.ta.clean(sigma=0)
    with pytest.raises(ArgumentError, match="mask, repair"):
        ds.ta.clean(method="wipe")
    with pytest.raises(MissingError, match="sci"):
        ds.drop_vars("sci").ta.clean()
