"""Recentered exposures with north up: sources are where the sky says, errors and bad pixels follow."""

import numpy as np
import pytest
import xarray as xr

import xta
from xta.errors import ArgumentError, RecenterError


@pytest.fixture(scope="module", params=["nircam", "miri"])
def cube(request, nircam, miri):
    visit = {"nircam": nircam, "miri": miri}[request.param]
    ds = xta.analyze(visit.science[0]).load().ta.recenter()
    return ds.sel(x=slice(-45, 45), y=slice(-40, 40))


def gaussian(ds, x, y, width=1.6):
    return np.exp(-((ds["x"] - x) ** 2 + (ds["y"] - y) ** 2) / (2 * width**2))


def with_image(ds, image):
    dims = ds["sci"].dims
    return ds.drop_vars("dq").assign(sci=image.broadcast_like(ds["sci"].fillna(0)).transpose(*dims))


@pytest.mark.parametrize("place", [(22.3, 11.7), (-18.4, -25.2), (0.0, 30.5)])
def test_derotate_source_at_its_place_on_the_sky(cube, place):
    ds = with_image(cube, gaussian(cube, *place)).ta.derotate()
    image = ds["sci"].isel(integration=0).fillna(0)
    x, y = (float((image * ds[axis]).sum() / image.sum()) for axis in ("x", "y"))
    expected = ds.ta.world_to_pixel(*cube.ta.pixel_to_world(*place))
    np.testing.assert_allclose([x, y], expected, rtol=0, atol=0.01)
    assert abs(float(image.sum()) / float(gaussian(cube, *place).sum()) - 1) < 0.01
    assert ds.sizes["x"] == ds.sizes["y"] == 91


def test_derotate_axes_are_north_and_east(cube):
    ds = cube.ta.derotate()
    up = float(ds["position_angle"].sel(x=0, y=20))
    assert (up + 180) % 360 - 180 == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(float(ds["position_angle"].sel(x=-20, y=0)), 90, atol=1e-3)
    np.testing.assert_allclose(ds["separation"], np.hypot(ds["east"], ds["north"]).T, atol=1e-6)
    star = [float(cube[f"target_{axis}"]) for axis in ("ra", "dec")]
    np.testing.assert_allclose(ds.ta.pixel_to_world(0.0, 0.0), star, rtol=0, atol=1e-9)


def test_derotate_bad_pixel_of_one_integration(cube):
    clean = with_image(cube, xr.ones_like(cube["sci"]))
    spoiled = clean.copy(deep=True)
    spoiled["sci"][{"integration": 0, "x": 60, "y": 50}] = np.nan
    before, after = (ds.ta.derotate()["sci"] for ds in (clean, spoiled))
    lost = (before.notnull() & after.isnull()).sum(("x", "y")).values
    assert 1 <= lost[0] <= 9
    assert not lost[1:].any()
    np.testing.assert_allclose(after.values[np.isfinite(after.values)], 1, atol=1e-5)


def test_derotate_errors(cube):
    flat = with_image(cube, xr.ones_like(cube["sci"])).assign(err=xr.full_like(cube["err"], 2.0))
    ds = flat.ta.derotate()
    good = np.isfinite(ds["sci"].values)
    np.testing.assert_allclose(ds["err"].values[good], 2, rtol=1e-5)
    assert np.isnan(ds["err"].values[~good]).all()
    circle = cube.assign_coords(target_x_err=0.1, target_y_err=0.1, target_xy_corr=0.0).ta.derotate()
    np.testing.assert_allclose([circle["target_x_err"], circle["target_y_err"]], 0.1, rtol=0.02)
    assert abs(float(circle["target_xy_corr"])) < 0.03
    line = cube.assign_coords(target_x_err=1e-6, target_y_err=0.1, target_xy_corr=0.0).ta.derotate()
    up = float(cube["position_angle"].sel(x=0, y=20))  # the error is along +y of the detector
    expected = abs(np.sin(np.deg2rad(up))), abs(np.cos(np.deg2rad(up)))
    np.testing.assert_allclose([line["target_x_err"] / 0.1, line["target_y_err"] / 0.1], expected, atol=0.02)


def test_derotate_stack_as_each_exposure(cube):
    again = cube.assign_coords(filename="other.fits")
    stacked = xta.stack([cube, again]).ta.derotate()
    np.testing.assert_array_equal(stacked["sci"].isel(exposure=1), cube.ta.derotate()["sci"])


def test_derotate_leaves_input(cube):
    before = cube.copy(deep=True)
    cube.ta.derotate(size=31)
    xr.testing.assert_identical(cube, before)


def test_derotate_refuses_input(cube, nircam):
    with pytest.raises(RecenterError, match="recenter"):
        xta.analyze(nircam.science[0]).ta.derotate()
    with pytest.raises(RecenterError, match="recenter"):
        cube.assign_coords(target_x=0.3).ta.derotate()
    with pytest.raises(ArgumentError, match="odd"):
        cube.ta.derotate(size=30)
