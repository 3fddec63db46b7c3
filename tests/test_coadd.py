"""Integrations combined and exposures subtracted: values, errors, flags; coordinates stay."""

import numpy as np
import pytest
import xarray as xr

import xta
from xta.errors import ArgumentError, MissingError, XtaError, XtaWarning

METHODS = ("mean", "median", "sigma_clip")


@pytest.fixture(scope="module")
def analyzed(nircam):
    return xta.analyze(nircam.science[0]).load()


@pytest.fixture(scope="module")
def recentered(analyzed):
    return analyzed.sel(x=slice(60, 260), y=slice(60, 260)).ta.recenter(size=101)


@pytest.fixture
def cube():
    """Twelve integrations without identity: normal values around 5, one outlier, flags."""
    rng = np.random.default_rng(3)
    n, ny, nx = 12, 60, 70
    err = rng.uniform(1, 2, (ny, nx)) * np.ones((n, 1, 1))
    dims = ("integration", "y", "x")
    time = np.datetime64("2025-01-01", "ns") + np.arange(n) * np.timedelta64(60, "s")
    dq = np.zeros((n, ny, nx), np.uint32)
    dq[:, 4, 5] = 1 | 2
    dq[:4, 6, 7] = 1 | 8
    dq[5, 6, 7] = 4
    sci = rng.normal(5, err)
    sci[2, 10, 11] = 1e4
    sci[:, 12, 13] = np.nan
    images = {"sci": sci, "err": err, "dq": dq, "var_poisson": 0.8 * err**2, "var_rnoise": 0.2 * err**2}
    return xr.Dataset(
        {name: (dims, image, {"units": "1" if name == "dq" else "MJy/sr"}) for name, image in images.items()},
        {
            **{"integration": np.arange(n) + 1, "x": np.arange(nx) + 100, "y": np.arange(ny), "star": 3.0},
            "time": ("integration", time),
        },
    )


@pytest.mark.parametrize("method", METHODS)
def test_coadd_pulls(cube, method):
    image = cube.ta.coadd(method=method)
    pulls = ((image["sci"] - 5) / image["err"]).values.ravel()
    pulls = np.delete(pulls, [10 * 70 + 11, 12 * 70 + 13, 4 * 70 + 5])
    print(f"{method}: pulls {pulls.mean():+.3f} +- {pulls.std():.3f}")
    assert pulls.std() == pytest.approx(1, abs=0.04)
    assert pulls.mean() == pytest.approx(0, abs=0.05)
    np.testing.assert_allclose(image["var_poisson"] + image["var_rnoise"], image["err"] ** 2)
    assert image["sci"].dims == ("y", "x")
    assert image["sci"].attrs["units"] == "MJy/sr"


def test_coadd_outlier(cube):
    values = {method: abs(float(cube.ta.coadd(method=method)["sci"][10, 11]) - 5) for method in METHODS}
    assert values["mean"] > 800
    assert max(values["median"], values["sigma_clip"]) < 3
    assert abs(float(cube.ta.coadd(method="sigma_clip", sigma=100)["sci"][10, 11])) > 800


@pytest.mark.parametrize("method", METHODS)
def test_coadd_flags(cube, method):
    cube["dq"][2, 10, 11] = 4
    image = cube.ta.coadd(method=method)
    assert int(image["dq"][4, 5]) == 1 | 2
    assert int(image["dq"][6, 7]) == 4
    assert int(image["dq"][12, 13]) == 1
    assert int(image["dq"][10, 11]) == (0 if method == "sigma_clip" else 4)
    assert image["dq"].dtype == np.uint32
    bad = np.isnan(image["sci"]).values
    assert np.argwhere(bad).tolist() == [[4, 5], [12, 13]]
    assert (np.isnan(image["err"]).values == bad).all()
    good = cube["sci"].values[4:, 6, 7]
    if method == "mean":
        assert float(image["sci"][6, 7]) == pytest.approx(good.mean())
        assert float(image["err"][6, 7]) == pytest.approx(float(cube["err"][0, 6, 7]) / np.sqrt(8))


def test_coadd_times_and_coordinates(cube):
    cube["time"][3] = np.datetime64("NaT", "ns")
    image = cube.ta.coadd()
    known = np.delete(np.arange(12), 3) * 60
    expected = np.datetime64("2025-01-01", "ns") + np.timedelta64(round(known.mean() * 1e9), "ns")
    assert abs(image["time"].values - expected) < np.timedelta64(1, "us")
    assert "integration" not in image.variables
    assert float(image["star"]) == 3
    assert image["x"].values[0] == 100
    assert "coadd 12 integrations by mean" in image.attrs["history"]


@pytest.mark.parametrize("method", METHODS)
def test_coadd_lazy_equals_eager(cube, method):
    lazy = cube.chunk({"integration": 5, "x": 30}).ta.coadd(method=method)
    assert all(lazy[name].chunks is not None for name in lazy.data_vars)
    xr.testing.assert_identical(lazy.compute(), cube.ta.coadd(method=method))


def test_coadd_without_errors_and_flags(cube):
    image = cube[["sci"]].ta.coadd()
    assert list(image.data_vars) == ["sci"]
    assert np.isnan(image["sci"]).sum() == 1


def test_coadd_analyzed_exposure(analyzed):
    image = analyzed.ta.coadd(method="median")
    for name in ("target_x", "target_y", "filename", "visit_id", "ta_sci", "wcs", "target_x_err", "check_passed"):
        assert image[name].variable.identical(analyzed[name].variable), name
    assert set(analyzed.coords) - set(image.coords) == {"integration"}
    assert image["sci"].dtype == np.float32
    recentered = image.ta.recenter(size=51)
    assert recentered["sci"].dims == ("y", "x")
    assert float(recentered["star_x"]) == float(analyzed["target_x"])


def test_coadd_product_opens_again(analyzed, tmp_path):
    analyzed.ta.coadd().ta.to_fits(tmp_path / "a_cal.fits")
    with xta.open_exposure(tmp_path / "a_cal.fits") as again:
        assert again["sci"].dims == ("y", "x")
        np.testing.assert_array_equal(again["sci"], analyzed.ta.coadd()["sci"])


def test_coadd_stack(nircam, analyzed):
    pair = xta.stack([analyzed, analyzed.assign_coords(filename="other.fits")])
    image = pair.ta.coadd()
    assert image["sci"].dims == ("exposure", "y", "x")
    np.testing.assert_array_equal(image["sci"].isel(exposure=1), analyzed.ta.coadd()["sci"])
    assert image["time"].dims == ("exposure",)


def test_coadd_leaves_input_unchanged(cube):
    before = cube.copy(deep=True)
    cube.ta.coadd(method="sigma_clip")
    xr.testing.assert_identical(cube, before)


def test_coadd_warns_of_other_variables(cube):
    with pytest.warns(XtaWarning, match="mine"):
        image = cube.assign(mine=cube["sci"] * 2, number=4).ta.coadd()
    assert "mine" not in image
    assert int(image["number"]) == 4


@pytest.mark.parametrize(
    ("change", "options", "error", "says"),
    [
        (lambda ds: ds.isel(integration=0), {}, MissingError, "integration"),
        (lambda ds: ds.drop_vars("sci"), {}, MissingError, "sci"),
        (lambda ds: ds, {"method": "average"}, ArgumentError, "average"),
        (lambda ds: ds, {"method": "sigma_clip", "sigma": 0}, ArgumentError, "sigma"),
        (lambda ds: ds, {"sigma": "x"}, ArgumentError, "sigma"),
        (lambda ds: ds.isel(integration=[]), {}, ArgumentError, "empty"),
        (lambda ds: ds.assign(err=-ds["err"]), {}, ArgumentError, "negative"),
    ],
)
def test_coadd_refuses(cube, change, options, error, says):
    with pytest.raises(error, match=says):
        change(cube).ta.coadd(**options)


def test_subtract_pulls():
    rng = np.random.default_rng(4)
    dims, shape = ("integration", "y", "x"), (3, 200, 300)
    labels = {"x": np.arange(300), "y": np.arange(200)}

    def normal(mean, err):
        return xr.Dataset({"sci": (dims, rng.normal(mean, err, shape)), "err": (dims, np.full(shape, err))}, labels)

    difference = normal(9.0, 1.0).ta.subtract(normal(2.0, 3.0), scale=-0.7)
    pulls = ((difference["sci"] - 10.4) / difference["err"]).values
    assert pulls.mean() == pytest.approx(0, abs=0.01)
    assert pulls.std() == pytest.approx(1, abs=0.01)


def test_subtract_image_from_each_integration(cube):
    image = cube.ta.coadd()
    image["dq"][30, 30] = 64
    difference = cube.ta.subtract(image, scale=2)
    assert difference["sci"].dims == cube["sci"].dims
    np.testing.assert_allclose(difference["sci"], cube["sci"].values - 2 * image["sci"].values)
    np.testing.assert_allclose(difference["err"], np.hypot(cube["err"].values, 2 * image["err"].values))
    np.testing.assert_allclose(difference["var_rnoise"], cube["var_rnoise"].values + 4 * image["var_rnoise"].values)
    np.testing.assert_array_equal(difference["dq"], cube["dq"].values | image["dq"].values)
    assert difference["dq"].dtype == np.uint32
    assert difference["time"].identical(cube["time"])
    assert "subtract 2 times an image" in difference.attrs["history"]


def test_subtract_matches_labels(cube):
    image = cube.ta.coadd()
    part = cube.isel(x=slice(10, 40), y=slice(50, 20, -2))
    difference = part.ta.subtract(image)
    np.testing.assert_allclose(
        difference["sci"], part["sci"].values - image["sci"].values[50:20:-2, 10:40], equal_nan=True
    )
    shuffled = image.isel(x=np.random.default_rng(0).permutation(70))
    xr.testing.assert_allclose(part.ta.subtract(shuffled), difference)


def test_subtract_lazy_equals_eager(cube):
    image = cube.ta.coadd()
    lazy = cube.chunk({"integration": 1}).ta.subtract(image.chunk({"x": 9}))
    assert lazy["sci"].chunks is not None
    xr.testing.assert_identical(lazy.compute(), cube.ta.subtract(image))


def test_subtract_keeps_exposure(analyzed):
    image = analyzed.assign_coords(filename="b.fits", target_x=1.0).ta.coadd()
    difference = analyzed.ta.subtract(image)
    for name in analyzed.coords:
        assert difference[name].variable.identical(analyzed[name].variable), name
    assert "b.fits" in difference.attrs["history"]
    assert difference.ta.recenter(size=51).sizes["x"] == 51


def test_subtract_keeps_separation_and_position_angle(recentered):
    other = recentered.ta.coadd().assign_coords(filename="b.fits")
    difference = recentered.ta.subtract(other, scale=0.5)
    for name in ("separation", "position_angle"):
        np.testing.assert_array_equal(difference[name], recentered[name])
    assert float(difference["star_x"]) == float(recentered["star_x"])


def test_subtract_without_errors_warns(cube):
    with pytest.warns(XtaWarning, match="err, var_poisson"):
        difference = cube.ta.subtract(cube.ta.coadd().drop_vars(["err", "var_poisson", "dq"]))
    assert list(difference.data_vars) == ["sci", "dq", "var_rnoise"]
    np.testing.assert_array_equal(difference["dq"], cube["dq"])
    with_flags = cube.drop_vars("dq").ta.subtract(cube.ta.coadd())
    assert with_flags["dq"].dims == cube["dq"].dims
    assert int(with_flags["dq"][3, 4, 5]) == 3


def test_subtract_leaves_input_unchanged(cube):
    other = cube.ta.coadd()
    before = cube.copy(deep=True), other.copy(deep=True)
    cube.ta.subtract(other, scale=3)
    xr.testing.assert_identical(cube, before[0])
    xr.testing.assert_identical(other, before[1])


def without_units(ds):
    return ds.assign(sci=ds["sci"].assign_attrs(units="DN/s"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda ds: ds.assign_coords(instrument="MIRI"), "instrument"),
        (lambda ds: ds.assign_coords(detector="NRCA2"), "detector"),
        (lambda ds: ds.assign_coords(substrt1=1), "substrt1"),
        (without_units, "unit"),
        (lambda ds: ds.isel(x=slice(5, None)), "labels x"),
        (lambda ds: ds.assign_coords(y=ds["y"] + 0.5), "labels y"),
        (lambda ds: ds.isel(integration=slice(1)), "coadd"),
        (lambda ds: ds.ta.recenter(size=51), "recenter"),
        (lambda ds: ds.expand_dims(exposure=2), "exposure"),
        (lambda ds: ds["sci"], "DataArray"),
        (lambda ds: ds.assign(sci=ds["sci"] + 1j), "complex"),
        (lambda ds: ds.assign(err=-ds["err"]), "subtract"),
    ],
)
def test_subtract_refuses_other(analyzed, change, says):
    with pytest.raises(ArgumentError, match=says):
        analyzed.ta.subtract(change(analyzed))


def test_subtract_refuses_pixel_scale(analyzed, build_wcs):
    from xta.geometry import sky, wcs

    other = sky.assign_wcs(analyzed, wcs.dump(build_wcs(scale=0.0640)))
    same = sky.assign_wcs(analyzed, wcs.dump(build_wcs(scale=0.0639)))
    with pytest.raises(ArgumentError, match="arcsec"):
        same.ta.subtract(other)
    slightly = sky.assign_wcs(analyzed, wcs.dump(build_wcs(scale=0.0639 * 1.0002)))
    assert same.ta.subtract(slightly)["sci"].shape == analyzed["sci"].shape


def test_subtract_refuses_stars_apart(recentered):
    with pytest.raises(ArgumentError, match="fourier"):
        recentered.ta.subtract(recentered.assign_coords(target_x=0.3))


@pytest.mark.parametrize("scale", [np.nan, 1j, "x", None, True, [1, 2]])
def test_subtract_refuses_scale(cube, scale):
    with pytest.raises(ArgumentError, match="scale"):
        cube.ta.subtract(cube, scale=scale)


def test_subtract_miri_from_nircam(analyzed, miri):
    other = xta.analyze(miri.science[0])
    with pytest.raises(ArgumentError, match="instrument"):
        analyzed.ta.subtract(other)
    with pytest.raises(XtaError, match=r"ta\.subtract"):
        (analyzed - other).ta.recenter()
