"""Labels, WCS text and sky: whatever xarray does to a dataset, they still agree."""

import pickle

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import make_wcs
from xta import model
from xta.errors import ArgumentError, MissingError, WCSError
from xta.geometry import sky, wcs

TEXTS = {}


def text_of(ra):
    if ra not in TEXTS:
        TEXTS[ra] = wcs.dump(make_wcs(ra, -30.0))
    return TEXTS[ra]


def make_exposure(ra=150.0, n=3, ny=24, nx=30):
    """A small exposure whose values tell their own integration, y and x."""
    i, y, x = np.meshgrid(np.arange(1, n + 1), np.arange(ny), np.arange(nx), indexing="ij")
    ds = xr.Dataset(
        {"sci": (("integration", "y", "x"), 1e4 * i + 100.0 * y + x)},
        coords={"integration": np.arange(1, n + 1), "y": np.arange(ny), "x": np.arange(nx)},
    )
    return sky.assign_wcs(ds, text_of(ra))


def check(ds):
    """Data, labels and sky agree at every pixel that holds data."""
    ds = sky.assign_sky(ds)
    i, y, x = xr.broadcast(ds["integration"], ds["y"], ds["x"])
    expected = 1e4 * i + 100.0 * y + x
    held = np.isfinite(ds["sci"])
    error = np.abs(ds["sci"] - expected).where(held)
    assert float(error.max().fillna(0)) < 1e-6
    # ra first: xarray before 2026.9 cannot broadcast a scalar text by itself.
    ra, dec, texts, x, y = xr.broadcast(ds["ra"], ds["dec"], ds["wcs"], ds["x"], ds["y"])
    flat = [value.transpose(*texts.dims).values.ravel() for value in (texts, x, y, ra, dec)]
    known = np.array([isinstance(text, str) for text in flat[0]]) & np.isfinite(flat[1] + flat[2])
    for text in {str(t) for t in flat[0][known]}:
        mine = known & np.array([t == text for t in flat[0]])
        there = wcs.pixel_to_world(wcs.load(text), flat[1][mine], flat[2][mine])
        assert np.array_equal(there[0], flat[3][mine])
        assert np.array_equal(there[1], flat[4][mine])


def cut(low, high, step):
    return lambda ds: ds.isel(x=slice(low, None, step), y=slice(None, high, step))


def boolean(ds):
    return ds.isel(y=np.flatnonzero(ds["y"].values % 3 != 0))


def listed(ds):
    return ds.isel(x=[ds.sizes["x"] - 1, 0, ds.sizes["x"] // 2])


def coarsened(ds):
    # A mean that leaves out a pixel is not of the mean place, so it is left out itself.
    return ds.coarsen(x=2, y=2, boundary="trim").reduce(np.mean)


def reindexed(ds):
    x = ds["x"].values
    if not np.isfinite(x).all():
        return ds  # pandas cannot look up labels that padding made NaN
    return ds.reindex(x=np.concatenate([x, [x.max() + 1000]]))


def mapped(ds):
    # dask knows no index that follows from others; labels and text are enough.
    chunked = ds.drop_vars(["ra", "dec"], errors="ignore").chunk({"integration": 1})
    return chunked.map_blocks(lambda block: block * 1.0).compute()


def padded(ds):
    return ds.pad(x=1, constant_values=np.nan)


def joined(ds):
    half = ds.sizes["x"] // 2
    return xr.concat([ds.isel(x=slice(None, half)), ds.isel(x=slice(half, None))], dim="x")


def stored(ds):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "a.nc"
        ds.to_netcdf(path)
        with xr.open_dataset(path) as file:
            return file.load()


OPERATIONS = {
    "slice": cut(2, 20, 1),
    "stride": cut(0, None, 2),
    "reverse": lambda ds: ds.isel(x=slice(None, None, -1)),
    "list": listed,
    "boolean": boolean,
    "coarsen": coarsened,
    "reindex": reindexed,
    "transpose": lambda ds: ds.transpose("x", "integration", "y"),
    "concat": joined,
    "map_blocks": mapped,
    "pad": padded,
    "netcdf": stored,
    "mean": lambda ds: ds.isel(integration=[0]),
    "pickle": lambda ds: pickle.loads(pickle.dumps(ds)),
    "roll": lambda ds: ds.roll(x=5, roll_coords=True),
}


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from(sorted(OPERATIONS)), min_size=1, max_size=4, unique=True), st.sampled_from([150.0, 0.0])
)
def test_assign_sky_survives_any_operations(operations, ra):
    ds = make_exposure(ra)
    for name in operations:
        if min(ds.sizes["x"], ds.sizes["y"]) < 4:
            break
        ds = OPERATIONS[name](ds)
    check(ds)


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - {"coarsen", "map_blocks", "reindex"}))
def test_assign_sky_stored_values(name):
    """Selections carry ra and dec along; only averages need assign_sky."""
    ds = OPERATIONS[name](make_exposure())
    again = sky.assign_sky(ds)
    for coord in ("ra", "dec"):
        np.testing.assert_array_equal(ds[coord].transpose(*again[coord].dims).values, again[coord].values)


def test_assign_sky_of_joined_exposures():
    first, second = make_exposure(150.0), make_exposure(151.0, nx=26)
    both = xr.concat([first, second], dim="exposure", join="outer", coords="different", compat="equals")
    assert both["wcs"].dims == ("exposure",)
    again = sky.assign_sky(both)
    assert again["ra"].dims == ("exposure", "y", "x")
    np.testing.assert_array_equal(again["ra"].isel(exposure=0).values, first["ra"].values)
    np.testing.assert_array_equal(again["ra"].isel(exposure=1, x=slice(26)).values, second["ra"].values)
    with pytest.raises(WCSError, match="select one exposure"):
        sky.pixel_to_world(both, 1.0, 2.0)
    one = both.isel(exposure=1)
    assert sky.pixel_to_world(one, 3.0, 4.0) == sky.pixel_to_world(second, 3.0, 4.0)


def test_wcs_in_arithmetic():
    a, b = make_exposure(150.0), make_exposure(151.0)
    assert isinstance((a["sci"] - a["sci"])["wcs"].item(), wcs.WcsText)
    assert "wcs" not in (a["sci"] - b["sci"]).coords
    with pytest.raises(WCSError, match="no wcs"):
        sky.pixel_to_world((a - b), 1.0, 2.0)


def test_assign_sky_is_lazy_and_evaluated_once(monkeypatch):
    calls = []
    original = wcs.pixel_to_world
    monkeypatch.setattr(wcs, "pixel_to_world", lambda *args: calls.append(1) or original(*args))
    ds = make_exposure()
    assert not calls
    assert set(ds.xindexes) == {"integration", "x", "y"}
    ds["ra"].values, ds["dec"].values, ds["ra"].values
    assert len(calls) == 1
    assert ds["ra"].attrs == model.attrs("ra")


def test_assign_sky_pickle_is_small():
    ds = make_exposure()
    ds["ra"].values  # noqa: B018
    assert len(pickle.dumps(ds)) < len(str(ds["wcs"].item())) + ds["sci"].nbytes + 20_000


def test_positions_on_and_off_array():
    ds = make_exposure()
    ra, dec = ds.ta.pixel_to_world(-40.5, 1000.25)
    assert isinstance(ra, float)
    assert ds.ta.world_to_pixel(ra, dec) == pytest.approx((-40.5, 1000.25), abs=1e-8)
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    found = ds.ta.world_to_pixel(*ds.ta.pixel_to_world(x, 5.0))
    np.testing.assert_allclose(found[0], x, atol=1e-8)
    labeled = xr.DataArray([1.0, 2.0], dims="planet", coords={"planet": ["b", "c"]})
    ra, dec = ds.ta.pixel_to_world(labeled, labeled)
    assert ra.dims == ("planet",)
    assert (ra.name, ra.attrs["units"]) == ("ra", "degree")
    assert ds.ta.world_to_pixel(ra, dec)[0].attrs["units"] == "pixel"
    assert list(ra["planet"].values) == ["b", "c"]


def test_sel_sky_nearest_pixels():
    ds = make_exposure().isel(x=slice(None, None, -2), y=slice(3, None))
    ra, dec = ds.ta.pixel_to_world(15.4, 7.3)
    one = ds.ta.sel_sky(ra, dec)
    assert (int(one["x"]), int(one["y"])) == (15, 7)
    assert one["sci"].dims == ("integration",)
    ra, dec = ds.ta.pixel_to_world(np.array([1.0, 29.0]), np.array([3.0, 23.0]))
    points = ds.ta.sel_sky(ra, dec)
    assert points["sci"].dims == ("integration", "points")
    np.testing.assert_array_equal(points["sci"].isel(integration=0), [1e4 + 301, 1e4 + 2329])
    named = ds.ta.sel_sky(xr.DataArray(ra, dims="planet"), xr.DataArray(dec, dims="planet"))
    assert named["sci"].dims == ("integration", "planet")


def test_sel_sky_takes_dimensions_of_both():
    """At RA = 0 and Dec = 0 without roll, RA and Dec of a grid vary along one axis each, to a part of a pixel."""
    ds = sky.assign_wcs(make_exposure(), wcs.dump(make_wcs(0.0, 0.0, 0.0, distortion=0)))
    ra, dec = ds.ta.pixel_to_world(xr.DataArray([3.0, 7.0], dims="a"), 4.0)
    grid = ds.ta.sel_sky(ra, xr.DataArray([float(dec[0])], dims="b"))
    assert dict(grid.sizes) == {"integration": 3, "a": 2, "b": 1}
    assert grid["x"].values.ravel().tolist() == [3, 7]
    with pytest.raises(ArgumentError, match="outside the image"):
        ds.ta.sel_sky(ra, xr.DataArray(float(dec[0]) + np.array([0, 0.005]), dims="b"))


@pytest.mark.parametrize(("x", "y"), [(30.6, 5.0), (5.0, -0.6), (5.0, 24.0)])
def test_sel_sky_outside_names_pixel(x, y):
    ds = make_exposure()
    ra, dec = ds.ta.pixel_to_world(x, y)
    with pytest.raises(
        ArgumentError, match=rf"pixel x, y = {x:.2f}, {y:.2f}, outside the image \(x 0 to 29, y 0 to 23\)"
    ):
        ds.ta.sel_sky(ra, dec)
    with pytest.raises(ArgumentError, match="outside"):
        ds.ta.sel_sky([ds["ra"].values[0, 0], ra], [ds["dec"].values[0, 0], dec])


def test_sky_names_what_is_missing():
    ds = make_exposure()
    with pytest.raises(MissingError, match="no wcs"):
        ds.drop_vars(["wcs", "ra", "dec"]).ta.assign_sky()
    with pytest.raises(MissingError, match="no x"):
        ds.drop_vars("x").ta.assign_sky()
    with pytest.raises(ArgumentError, match="2 dimensions"):
        ds.ta.sel_sky(np.zeros((2, 2)), np.zeros((2, 2)))
    with pytest.raises(MissingError, match="all NaN"):
        ds.assign_coords(x=np.full(30, np.nan)).ta.sel_sky(150.0, -30.0)


def test_sky_leaves_inputs_alone():
    ds = make_exposure()
    before = ds.copy(deep=True)
    ds.ta.assign_sky()
    ds.ta.sel_sky(*ds.ta.pixel_to_world(3.0, 4.0))
    xr.testing.assert_identical(ds, before)


def test_nearest_reaches_half_a_label_step():
    """Half a step itself belongs to the label, also where the subtraction of labels rounds."""
    ds = xr.Dataset(coords={"x": [0.3, 0.4, 0.5, np.nan], "y": [7.0]})
    wanted = [0.249, 0.25, 0.3499, 0.3501, 0.55, 0.551]
    assert sky._nearest(ds, "x", wanted).tolist() == [-1, 0, 0, 1, 2, -1]
    assert sky._nearest(ds, "y", [6.4, 6.5, 7.5, 7.6]).tolist() == [-1, 0, 0, -1]
