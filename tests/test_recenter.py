"""Recentered cubes: the star in the middle, everything else still where it belongs."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import xta
from xta.errors import ArgumentError, RecenterError
from xta.geometry import sky, wcs
from xta.images.centroid import floating_window

METHODS = ("fourier", "spline", "lanczos", "integer")
MAS = 1 / 3.6e6  # [deg]


@pytest.fixture(scope="module")
def analyzed(nircam):
    return xta.analyze(nircam.science[0], centroid="oss", corrections="none").load()


@pytest.fixture
def starry(analyzed):
    """The exposure with a Gaussian star where the star is said to be."""
    y, x = np.meshgrid(analyzed["y"], analyzed["x"], indexing="ij")
    star = 1e4 * np.exp(-((x - float(analyzed["target_x"])) ** 2 + (y - float(analyzed["target_y"])) ** 2) / 6.0)
    clean = analyzed.copy()
    clean["sci"] = analyzed["sci"].copy(data=np.broadcast_to(star, analyzed["sci"].shape).astype("f4"))
    clean["dq"] = xr.zeros_like(analyzed["dq"])
    return clean


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [None, 201, (101, 151)])
def test_recenter_star_on_central_pixel(starry, method, size):
    ds = starry.ta.recenter(method=method, size=size)
    ny, nx = {None: (319, 319), 201: (201, 201)}.get(size, size)
    assert (ds.sizes["y"], ds.sizes["x"]) == (ny, nx)
    for frame in ds["sci"].values:
        found = floating_window(frame, window=15)
        expected = (0, 0) if method != "integer" else (float(ds["target_x"]), float(ds["target_y"]))
        assert found.x - nx // 2 == pytest.approx(expected[0], abs=1e-3)
        assert found.y - ny // 2 == pytest.approx(expected[1], abs=1e-3)
    if method == "integer":
        assert max(abs(float(ds["target_x"])), abs(float(ds["target_y"]))) <= 0.5
    else:
        assert float(ds["target_x"]) == float(ds["target_y"]) == 0


def test_recenter_conserves_signal(starry):
    total = float(starry["sci"].isel(integration=0).astype(float).sum())
    moved = float(starry.ta.recenter()["sci"].isel(integration=0).astype(float).sum())
    assert moved == pytest.approx(total, rel=1e-6)


def test_recenter_central_pixel_is_target(analyzed, tmp_path):
    def check(ds):
        here = ds.sel(x=0, y=0)
        assert abs(float(here["ra"]) - float(ds["target_ra"])) * np.cos(np.deg2rad(float(ds["target_dec"]))) < 0.1 * MAS
        assert abs(float(here["dec"]) - float(ds["target_dec"])) < 0.1 * MAS
        assert float(here["separation"]) < 1e-4
        assert ds.ta.world_to_pixel(ds["target_ra"], ds["target_dec"]) == pytest.approx((0, 0), abs=1e-6)

    ds = analyzed.ta.recenter()
    check(ds)
    check(ds.sel(x=slice(-50, 30), y=slice(-3, 60)))
    xta.to_netcdf(ds, tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as again:
        check(again)
    check(analyzed.sel(x=slice(60, 300), y=slice(50, 310)).ta.recenter())


def test_recenter_sky_stays(analyzed):
    """A position on the sky has, before and after, labels that differ by the star's."""
    ds = analyzed.ta.recenter()
    ra, dec = analyzed.ta.pixel_to_world(np.array([20.5, 300.0]), np.array([5.0, 250.25]))
    before, after = analyzed.ta.world_to_pixel(ra, dec), ds.ta.world_to_pixel(ra, dec)
    np.testing.assert_allclose(before[0] - after[0], float(ds["star_x"]), atol=1e-7)
    np.testing.assert_allclose(before[1] - after[1], float(ds["star_y"]), atol=1e-7)
    assert float(ds["star_x"]) == float(analyzed["target_x"])
    assert float(ds["mask_x"]) == pytest.approx(float(analyzed["mask_x"] - analyzed["target_x"]))


def test_recenter_separation_equals_astropy(analyzed):
    from astropy.coordinates import SkyCoord

    ds = analyzed.ta.recenter(size=51)
    star = SkyCoord(ds["target_ra"], ds["target_dec"], unit="deg")
    pixels = SkyCoord(ds["ra"].values, ds["dec"].values, unit="deg")
    np.testing.assert_allclose(ds["separation"], star.separation(pixels).arcsec, atol=1e-7)
    off = ds["separation"].values > 0.01
    difference = ds["position_angle"].values - star.position_angle(pixels).deg
    assert np.abs((difference[off] + 180) % 360 - 180).max() < 1e-5
    assert ds["separation"].attrs["units"] == "arcsec"


@pytest.mark.parametrize("method", METHODS)
def test_recenter_moves_errors_and_flags(starry, method):
    starry["sci"].values[0, 200, 100] = np.nan
    starry["dq"].values[1, 100, 200] = 1 | 4
    starry["dq"].values[1, 50, 60] = 2048  # hot, but usable
    ds = starry.ta.recenter(method=method)
    inside = ds.sel(x=slice(-140, 140), y=slice(-140, 140))
    assert 1 <= int(np.isnan(inside["sci"].isel(integration=0)).sum()) <= 4
    assert 1 <= int(np.isnan(inside["sci"].isel(integration=1)).sum()) <= 4
    assert int(np.isnan(inside["sci"].isel(integration=2)).sum()) == 0
    flags = inside["dq"].isel(integration=1)
    assert int(flags.max()) & 2048
    masked = np.isnan(inside["sci"].isel(integration=1))
    assert bool(((flags & 1) == 1).where(masked, other=True).all())
    assert ds["dq"].dtype == np.uint32
    for name in ("err", "var_poisson", "var_rnoise"):
        values = ds[name].values
        assert np.nanmin(values) >= 0
        assert ds[name].dtype == starry[name].dtype
    usual = float(starry["err"].isel(x=slice(40, 90), y=slice(40, 90)).median())
    moved = float(ds["err"].sel(x=slice(-109, -59), y=slice(-133, -83)).median())
    assert 0.7 * usual < moved < 1.1 * usual


def test_recenter_masks_unobserved_pixels(analyzed):
    ds = analyzed.ta.recenter(size=501, fill=-1.0)
    corner = ds.isel(x=0, y=0)
    assert (corner["sci"] == -1).all()
    assert np.isnan(corner["err"]).all()
    assert (corner["dq"] == 1).all()


def test_recenter_lazy_equals_eager(nircam, analyzed):
    lazy = xta.analyze(nircam.science[0], chunks={}, centroid="oss", corrections="none").ta.recenter()
    assert lazy["sci"].chunks[0] == (1, 1, 1)
    eager = analyzed.ta.recenter()
    xr.testing.assert_identical(lazy.compute(), eager)
    split = analyzed.chunk({"integration": 2, "x": 100, "y": 64}).ta.recenter()
    xr.testing.assert_identical(split.compute(), eager)


NUMBERS = ("sci", "err", "var_poisson")


@pytest.mark.parametrize("kind", ["i2", "u2", "i4", ">f4", "f8"])
@pytest.mark.parametrize("chunks", [None, {"integration": 1}])
def test_recenter_returns_floats_of_declared_type(analyzed, kind, chunks):
    counts = analyzed.copy()
    for name in NUMBERS:
        counts[name] = (analyzed[name].clip(0, 30_000).fillna(0) + (300 if name == "err" else 0)).astype("i2")
    given, exact = (counts.assign({name: counts[name].astype(k) for name in NUMBERS}) for k in (kind, "f8"))
    ds = (given if chunks is None else given.chunk(chunks)).ta.recenter(size=51)
    expected = exact.ta.recenter(size=51)
    for name in NUMBERS:
        assert ds[name].dtype == ds[name].values.dtype == (np.float32 if kind == ">f4" else np.float64), name
        np.testing.assert_allclose(ds[name], expected[name], rtol=1e-4, atol=0.02)


CLUSTER = """
import sys
import xta
from distributed import Client, LocalCluster

if __name__ == "__main__":
    ds = xta.analyze(sys.argv[1], chunks={}, centroid="oss", corrections="none")
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster, Client(cluster):
        xta.to_netcdf(ds.ta.recenter(), sys.argv[2])
"""


def test_recenter_on_local_cluster(nircam, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(CLUSTER)
    # A process of its own, with an end: workers that lose each other would wait for ever.
    command = [sys.executable, str(script), str(nircam.science[0]), str(tmp_path / "cluster.nc")]
    subprocess.run(command, check=True, capture_output=True, timeout=180)
    xta.to_netcdf(
        xta.analyze(nircam.science[0], chunks={}, centroid="oss", corrections="none").ta.recenter(),
        tmp_path / "threads.nc",
    )
    # The order of the chunks within a file depends on who finished first; every value has the same bits.
    with xr.open_dataset(tmp_path / "threads.nc") as one, xr.open_dataset(tmp_path / "cluster.nc") as other:
        xr.testing.assert_identical(one.load(), other.load())
        for name in one.variables:
            assert one[name].values.tobytes() == other[name].values.tobytes(), name


def test_recenter_to_zarr(analyzed, tmp_path):
    ds = analyzed.ta.recenter()
    ds.to_zarr(tmp_path / "a.zarr", zarr_format=2)
    with xr.open_zarr(tmp_path / "a.zarr") as again:
        np.testing.assert_array_equal(again["sci"], ds["sci"])
        assert str(again["wcs"].item()) == str(ds["wcs"].item())


def test_recenter_star_by_hand(nircam):
    ds = xta.open_exposure(nircam.science[0]).assign_coords(target_x=150.0, target_y=170.0)
    moved = ds.ta.recenter(size=101)
    np.testing.assert_array_equal(moved["sci"].values, ds["sci"].isel(x=slice(100, 201), y=slice(120, 221)).where(
        (ds["dq"].isel(x=slice(100, 201), y=slice(120, 221)) & 1) == 0).values)  # fmt: skip
    without = ds.drop_vars(["wcs", "ra", "dec"]).ta.recenter(size=101)
    assert "separation" not in without.coords


def test_recenter_warns_of_other_variables(analyzed):
    more = analyzed.assign(mine=2 * analyzed["sci"], number=5)
    with pytest.warns(UserWarning, match="drops mine"):
        ds = more.ta.recenter()
    assert "mine" not in ds
    assert int(ds["number"]) == 5


def test_recenter_without_flags(analyzed):
    ds = analyzed.drop_vars("dq").ta.recenter(size=51)
    assert "dq" not in ds


def test_recenter_image(nircam):
    ta = xta.analyze(nircam.ta[0], centroid="oss", corrections="none").ta.recenter(size=31)
    found = floating_window(ta["sci"].values)
    assert (found.x, found.y) == pytest.approx((15, 15), abs=0.05)


def test_recenter_leaves_input_unchanged(analyzed):
    before = analyzed.copy(deep=True)
    analyzed.ta.recenter()
    xr.testing.assert_identical(analyzed, before)


@pytest.mark.parametrize(
    ("change", "options", "error", "says"),
    [
        (lambda ds: ds.drop_vars("target_x"), {}, RecenterError, "star's pixel is not known"),
        (lambda ds: ds.assign_coords(target_x=np.nan), {}, RecenterError, "one finite number"),
        (lambda ds: ds.isel(x=slice(None, None, 2)), {}, RecenterError, "not successive pixels"),
        (lambda ds: ds.isel(y=slice(None, None, -1)), {}, RecenterError, "not successive pixels"),
        (lambda ds: ds.isel(x=5), {}, RecenterError, "not successive pixels"),
        (lambda ds: ds.ta.recenter(), {}, RecenterError, "already recentered"),
        (lambda ds: ds.assign_coords(target_x=1e5), {}, RecenterError, "input"),
        (lambda ds: ds, {"size": 200}, ArgumentError, "odd"),
        (lambda ds: ds, {"size": "big"}, ArgumentError, "odd"),
        (lambda ds: ds, {"size": (3, 4, 5)}, ArgumentError, "odd"),
        (lambda ds: ds, {"method": "nearest"}, ArgumentError, "nearest"),
        (lambda ds: ds.chunk({"integration": 1}), {"method": "nearest"}, ArgumentError, "nearest"),
        (lambda ds: ds, {"fill": "x"}, ArgumentError, "fill"),
    ],
)
def test_recenter_refuses_dataset(analyzed, change, options, error, says):
    changed = change(analyzed)
    with pytest.raises(error, match=says):
        changed.ta.recenter(**options)


def test_recenter_reopened_dataset(analyzed, tmp_path):
    xta.to_netcdf(analyzed, tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as again:
        ds = again.ta.recenter()
        assert str(ds["wcs"].item()) == str(analyzed.ta.recenter()["wcs"].item())
    assert wcs.pixel_to_world(sky.the_wcs(ds), 0.0, 0.0) == pytest.approx(
        (float(ds["target_ra"]), float(ds["target_dec"])), abs=1e-10
    )


SCRIPT = """
import resource, sys
import numpy as np
import xarray as xr
from astropy.io import fits
import xta

cube, out = sys.argv[1:]
ds = xr.open_dataset(cube, engine="jwst", chunks={"integration": 20}).assign_coords(target_x=149.3, target_y=160.7)
ds.ta.recenter().to_netcdf(out)
# Of this program alone: ru_maxrss begins with the size of the process that started it.
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(int(peak) * 1024)
"""


@pytest.mark.heavy
def test_recenter_cube_larger_than_memory(tmp_path):
    """6.1 GB of frames through less than 1.5 GB of memory."""
    n, side = 15_000, 320
    header = "".join(
        f"{card:<80}"
        for card in ("SIMPLE  =                    T", "BITPIX  =                    8",
                     "NAXIS   =                    0",
                     "EXTEND  =                    T", "TELESCOP= 'JWST    '", "END")
    )  # fmt: skip
    image = "".join(
        f"{card:<80}"
        for card in ("XTENSION= 'IMAGE   '", "BITPIX  =                  -32", "NAXIS   =                    3",
                     f"NAXIS1  = {side:>20}", f"NAXIS2  = {side:>20}", f"NAXIS3  = {n:>20}",
                     "PCOUNT  =                    0", "GCOUNT  =                    1", "EXTNAME = 'SCI     '", "END")
    )  # fmt: skip
    cube, out = tmp_path / "jw_calints.fits", tmp_path / "out.nc"
    block = np.random.default_rng(0).normal(size=(100, side, side)).astype(">f4").tobytes()
    with cube.open("wb") as file:
        file.write(header.ljust(2880).encode() + image.ljust(2880).encode())
        for _ in range(n // 100):
            file.write(block)
        file.write(b"\0" * (-file.tell() % 2880))
    assert cube.stat().st_size > 6e9
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(cube), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    peak = float(done.stdout)
    print(f"peak memory {peak / 1e9:.2f} GB")
    assert peak < 1.5e9
    with xr.open_dataset(out, chunks={}) as ds:
        assert ds.sizes["integration"] == n
        assert np.isfinite(ds["sci"].isel(integration=-1, x=100, y=100))
    Path(cube).unlink()
