"""A star by hand: what is set, what is dropped, and that everything after works."""

import shutil

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits
from click.testing import CliRunner

import xta
from tests.stars import truth_of
from xta.cli import main
from xta.errors import ArgumentError, MissingError, RecenterError, XtaError, XtaWarning
from xta.identity import header

ERRORS = {"x_err": 0.02, "y_err": 0.03, "xy_corr": -0.4}


@pytest.fixture(scope="module")
def analyzed(nircam):
    return xta.analyze(nircam.science[0], centroid="oss", corrections="none")


@pytest.fixture(scope="module")
def opened(nircam):
    return xta.open_exposure(nircam.science[0])


def test_set_star_sets_position_errors_and_source(opened):
    before = opened.copy()
    ds = opened.ta.set_star(150.25, 173.5, **ERRORS, source="satellite\nspots")
    xr.testing.assert_identical(opened, before)
    assert (float(ds["target_x"]), float(ds["target_y"])) == (150.25, 173.5)
    names = ("target_x_err", "target_y_err", "target_xy_corr")
    assert [float(ds[name]) for name in names] == pytest.approx([0.02, 0.03, -0.4])
    assert ds["error_part"].values.tolist() == ["given by hand"]
    assert ds["error_part_source"].values.tolist() == ["satellite spots"]
    assert [float(ds[f"{name}_part"][0]) for name in names] == pytest.approx([0.02, 0.03, -0.4])
    assert header(ds)["centroid_kind"] == "manual"
    assert header(ds)["centroid_source"] == "satellite spots"
    assert "set_star; star at 150.250000, 173.500000; satellite spots" in ds.attrs["history"]
    # A pixel of the NIRCam long-wave channel is 63 mas wide.
    assert float(ds["target_x_err_mas"]) == pytest.approx(0.02 * 63, rel=0.01)


def test_set_star_without_errors(opened):
    ds = opened.ta.set_star(150, 174, source="a guess")
    for name in ("target_x_err", "target_y_err", "target_xy_corr", "target_x_err_mas"):
        assert np.isnan(ds[name].item()), name
    assert ds["target_x"].dtype == float


def test_set_star_keeps_wcs_and_target_of_header(analyzed, opened):
    for ds in (analyzed, opened):
        star = ds.ta.set_star(140.0, 160.0, source="a guess")
        for name in ("wcs", "target_ra", "target_dec", "ra", "dec"):
            xr.testing.assert_identical(star[name].variable, ds[name].variable)
        assert star.ta.pixel_to_world(140.0, 160.0) == ds.ta.pixel_to_world(140.0, 160.0)


def test_set_star_drops_another_star(analyzed):
    ds = analyzed.ta.set_star(149.0, 172.0, source="a fit")
    gone = ("centroid_x", "centroid_ra", "offset_x", "offset_east", "residual_x", "inverse_error_y")
    assert not set(gone) & set(ds.variables)
    kept = ("wcs_original", "adjust_roll", "mask_x", "mask_y", "ta_sci", "oss_x", "ta_oss_x")
    for name in kept:
        xr.testing.assert_identical(ds[name].variable, analyzed[name].variable)
    checked = dict(zip(ds["check"].values.tolist(), ds["check_passed"].values.tolist(), strict=True))
    assert checked["onboard centroid converged"] == checked["telemetry closes"] == 1
    assert checked["centroid matches TA image"] == checked["no bad pixels near star"] == -1
    assert "by hand" in str(ds["check_reason"].sel(check="centroid matches TA image").item())


def test_set_star_finds_mask_of_opened_file(analyzed, opened):
    ds = opened.ta.set_star(150.0, 174.0, source="a guess")
    for axis in "xy":
        assert float(ds[f"mask_{axis}"]) == float(analyzed.ta.adjust_wcs(corrections="filter")[f"mask_{axis}"])


def test_set_star_is_replaced_by_acquisition(analyzed, opened, nircam):
    for ds in (analyzed, opened):
        star = ds.ta.set_star(100.0, 100.0, **ERRORS, source="a mistake")
        again = star if "ta_wcs" in star.variables else star.ta.attach(nircam.ta, oss=nircam.oss_log)
        again = again.ta.compute_offset(centroid="oss")
        assert not {"target_x", "target_x_err", "error_part"} & set(again.variables)
        again = again.ta.adjust_wcs(corrections="none")
        for name in ("target_x", "target_x_err_part", "target_xy_corr", "check_passed", "centroid_kind"):
            xr.testing.assert_identical(again[name].variable, analyzed[name].variable)


def test_set_star_twice_is_the_last(opened):
    ds = opened.ta.set_star(1.0, 2.0, **ERRORS, source="a").ta.set_star(150.0, 174.0, source="b")
    assert float(ds["target_x"]) == 150.0
    assert np.isnan(float(ds["target_x_err"]))
    assert header(ds)["centroid_source"] == "b"


@pytest.mark.parametrize(
    ("place", "options", "error", "said"),
    [
        ((np.nan, 1.0), {}, ArgumentError, "x is nan"),
        ((1.0, np.inf), {}, ArgumentError, "y is inf"),
        (("left", 1.0), {}, ArgumentError, "give a number"),
        ((None, 1.0), {}, ArgumentError, "give a number"),
        ((700.0, 1.0), {}, ArgumentError, "x is 700"),
        ((1.0, -400.0), {}, ArgumentError, "y is -400"),
        ((1.0, 1.0), {"x_err": -0.1}, ArgumentError, "x_err is -0.1"),
        ((1.0, 1.0), {"y_err": np.inf}, ArgumentError, "y_err is inf"),
        ((1.0, 1.0), {"x_err": "small"}, ArgumentError, "give a number"),
        ((1.0, 1.0), {"xy_corr": 1.001}, ArgumentError, "from -1 to 1"),
        ((1.0, 1.0), {"xy_corr": np.nan}, ArgumentError, "from -1 to 1"),
        ((1.0, 1.0), {"source": "  "}, ArgumentError, "in words"),
        ((1.0, 1.0), {"source": None}, ArgumentError, "in words"),
    ],
)
def test_set_star_refuses(opened, place, options, error, said):
    with pytest.raises(error, match=said):
        opened.ta.set_star(*place, **{"source": "a test"} | options)


def test_set_star_takes_star_off_the_array(opened):
    """As far as the array is wide, 320 pixels: a companion may be observed alone."""
    ds = opened.ta.set_star(-319.5, 638.9, source="a test")
    assert float(ds["target_x"]) == -319.5


def test_set_star_refuses_recentered_and_bare(analyzed):
    with pytest.raises(RecenterError, match="before recenter"):
        analyzed.ta.recenter().ta.set_star(0.0, 0.0, source="a test")
    with pytest.raises(MissingError, match="x, y"):
        xr.Dataset().ta.set_star(0.0, 0.0, source="a test")


def test_set_star_without_wcs_knows_pixels_only(opened):
    ds = opened.drop_vars(["wcs", "ra", "dec"]).ta.set_star(150.0, 174.0, **ERRORS, source="a test")
    assert float(ds["target_x_err"]) == 0.02
    assert np.isnan(float(ds["target_x_err_mas"]))
    assert "mask_x" not in ds.variables


# Everything after


@pytest.fixture(scope="module", params=["opened", "analyzed"])
def by_hand(request, nircam):
    ds = request.getfixturevalue(request.param)
    return ds.ta.set_star(*truth_of(nircam, nircam.science[0]), **ERRORS, source="the truth")


def test_recenter_and_klip_take_star_by_hand(by_hand, nircam, analyzed):
    pytest.importorskip("pyklip")
    cube = by_hand.ta.recenter()
    assert float(cube["star_x"]) == truth_of(nircam, nircam.science[0])[0]
    assert float(cube["target_x_err"]) == 0.02
    # The analysis finds the truth to 1e-4 px.
    np.testing.assert_allclose(cube["sci"], analyzed.ta.recenter()["sci"], atol=1e-3 * float(cube["sci"].max()))
    reference = analyzed.assign_coords(filename="another.fits", integration=analyzed["integration"] + 10)
    image = xta.klip(by_hand, reference=reference, numbasis=1)
    assert np.isfinite(image["klip"]).any()


def test_files_take_star_by_hand(by_hand, nircam, tmp_path):
    x, y = truth_of(nircam, nircam.science[0])
    by_hand.ta.to_fits(tmp_path / "a_calints.fits")
    with fits.open(tmp_path / "a_calints.fits") as hdus:
        assert hdus["SCI"].header["STARCENX"] == pytest.approx(x + 1, abs=1e-9)
        assert hdus["SCI"].header["STARCENY"] == pytest.approx(y + 1, abs=1e-9)
    xta.to_netcdf(by_hand, tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as again:
        for name in ("target_x", "target_xy_corr", "error_part_source", "centroid_kind"):
            assert again[name].load().variable.equals(by_hand[name].variable), name
        assert np.isfinite(again.ta.recenter()["separation"]).any()


def test_pictures_and_words_take_star_by_hand(by_hand, tmp_path):
    from xta import summary

    by_hand.ta.plot()
    by_hand.ta.plot.science()
    assert "the truth" in summary.as_table(by_hand)
    assert summary.as_dict(by_hand)["target_xy_corr"] == -0.4
    assert "± 0.0200, 0.0300 px" in repr(by_hand.ta)
    if "ta_sci" in by_hand.variables:
        by_hand.ta.plot.acquisition()
        by_hand.ta.report(tmp_path / "a.html")
        assert "given by hand" in (tmp_path / "a.html").read_text()
    else:
        with pytest.raises(MissingError, match="attach"):
            by_hand.ta.report(tmp_path / "a.html")


def test_estimates_compare_with_star_by_hand(by_hand):
    if "wcs_original" not in by_hand.variables:
        with pytest.raises(MissingError, match="adjust_wcs"):
            by_hand.ta.estimates()
        return
    ways = by_hand.ta.estimates(oss=False)
    assert int(ways["agrees"].sel(estimate="oss")) == 1
    assert "centroid_x" in str(ways["why"].sel(estimate="guide star").item())


# The command


@pytest.fixture
def alone(nircam, tmp_path):
    """A science exposure without its acquisition."""
    return shutil.copy(nircam.science[0], tmp_path)


def run(*args):
    return CliRunner().invoke(main, [str(arg) for arg in args])


def test_recenter_command_takes_center(alone, nircam, tmp_path):
    x, y = truth_of(nircam, nircam.science[0])
    out = tmp_path / "a.nc"
    assert run("recenter", alone, "-o", out, "--size", "51").exit_code == 1
    done = run("recenter", alone, "-o", out, "--size", "51", "--center", f"{x},{y}")
    assert done.exit_code == 0, done.output
    with xr.open_dataset(out) as ds:
        assert float(ds["star_x"]) == x
        assert header(ds)["centroid_kind"] == "manual"
        brightness = ds["sci"].mean("integration")
        np.testing.assert_allclose(
            brightness,
            xta.analyze(nircam.science[0], centroid="oss", corrections="none")
            .ta.recenter(size=51)["sci"]
            .mean("integration"),
            rtol=0.05,
        )


def test_recenter_command_takes_center_of_netcdf(analyzed, tmp_path):
    xta.to_netcdf(analyzed, tmp_path / "a.nc")
    done = run("recenter", tmp_path / "a.nc", "-o", tmp_path / "b.nc", "--size", "51", "--center", "150,170.5")
    assert done.exit_code == 0, done.output
    with xr.open_dataset(tmp_path / "b.nc") as ds:
        assert (float(ds["star_x"]), float(ds["star_y"])) == (150.0, 170.5)


@pytest.mark.parametrize("center", ["150", "a,b", "150,170,1", "150;170", "5000,1", "nan,1"])
def test_recenter_command_refuses_center(alone, tmp_path, center):
    done = run("recenter", alone, "-o", tmp_path / "a.nc", "--center", center)
    assert done.exit_code in {1, 2}
    assert "Traceback" not in done.output
    assert not (tmp_path / "a.nc").exists()


def test_commands_refuse_other_number_of_centers(alone, tmp_path):
    files = [alone, alone, alone]
    more = ["--center", "1,2", "--center", "3,4"]
    for done in (
        run("recenter", *files, "-o", tmp_path / "out", *more),
        run("klip", *files[:2], "-r", files[2], "-o", tmp_path / "a.nc", *more),
    ):
        assert done.exit_code == 2


def test_klip_command_takes_centers_of_real_files(shared, tmp_path):
    """AU Mic at two rolls, and a reference star: other software put each star on pixel (150, 174)."""
    pytest.importorskip("pyklip")
    folder = shared / "real" / "nircam_aumic"
    science = [folder / f"jw0118400{n}001_03107_00001_nrcalong_calints.fits" for n in (1, 2)]
    reference = folder / "jw01184003001_03107_00001_nrcalong_calints.fits"
    out = tmp_path / "klip.nc"
    done = run("klip", *science, "-r", reference, "-o", out, "--numbasis", "1", "--center", "150,174")
    assert done.exit_code == 0, done.output
    with xr.open_dataset(out) as ds:
        middle = ds["klip"].isel(numbasis=0).sel(x=slice(-40, 40), y=slice(-40, 40))
        with pytest.warns(XtaWarning), xta.open_exposure(science[0]) as raw:  # it was coadded and shifted
            bright = float(np.nanstd(raw["sci"].isel(x=slice(110, 191), y=slice(134, 215))))
        assert float(np.nanstd(middle)) < 0.2 * bright


def test_recenter_command_takes_center_of_cropped_file(shared, tmp_path):
    """HD 106906: cropped by other software, the star near (106.7, 105.2) of what is left."""
    path = shared / "real" / "miri_hd106906" / "jw01277019001_04101_00001_mirimage_calints.fits"
    done = run("recenter", path, "-o", tmp_path / "a.nc", "--size", "51", "--center", "119.7,112.2")
    assert done.exit_code == 0, done.output
    with xr.open_dataset(tmp_path / "a.nc") as ds:
        assert float(ds["star_x"]) == 119.7
        image = ds["sci"].mean("integration") if "integration" in ds["sci"].dims else ds["sci"]
        # The light of a star behind a four-quadrant mask is even to both sides.
        flipped = image.values[::-1, ::-1]
        both = np.isfinite(image.values) & np.isfinite(flipped)
        assert np.corrcoef(image.values[both], flipped[both])[0, 1] > 0.8


def test_errors_are_of_xta(opened):
    with pytest.raises(XtaError):
        opened.ta.set_star(1e9, 0.0, source="a test")
