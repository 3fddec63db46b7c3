"""Opening products: everything in the data model, lazily, and nothing that cannot be trusted."""

import pickle

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits

import xta
from xta import names, sky, wcs
from xta.backend import JwstBackendEntrypoint
from xta.errors import ArgumentError, FileError, ProductError, XtaError, XtaWarning


@pytest.fixture(scope="module")
def calints(nircam):
    return nircam.science[0]


@pytest.fixture(scope="module")
def cal(nircam):
    return nircam.ta[0]


def test_a_cube_has_everything_of_the_data_model(calints):
    ds = xr.open_dataset(calints, engine="jwst")
    with fits.open(calints, memmap=False) as hdus:
        header = hdus[0].header
        for name in ("SCI", "ERR", "DQ", "VAR_POISSON", "VAR_RNOISE"):
            variable = ds[name.lower()]
            assert variable.dims == ("integration", "y", "x")
            np.testing.assert_array_equal(variable.values, hdus[name].data)
            assert variable.dtype.isnative
            assert {"units", "long_name"} <= variable.attrs.keys()
        mid = hdus["INT_TIMES"].data["int_mid_MJD_UTC"]
    assert ds["dq"].dtype == np.uint32
    assert ds["sci"].attrs["units"] == "MJy/sr"
    assert ds["sci"].attrs["ancillary_variables"] == "err dq"
    assert list(ds["integration"].values) == [1, 2, 3]
    assert list(ds["x"].values[[0, -1]]) == [0, 319]
    elapsed = (ds["time"].values - np.datetime64("1858-11-17")) / np.timedelta64(1, "us") / 86_400e6
    np.testing.assert_allclose(elapsed, mid, atol=2e-11, rtol=0)
    assert ds["time_bjd_tdb"].attrs["units"] == "d"
    assert ds.attrs["Conventions"] == "CF-1.11"
    assert ds.attrs["visit_id"] == header["VISIT_ID"]
    assert ds.attrs["target_ra"] == header["TARG_RA"]
    assert ds.attrs["pixel_scale"] == pytest.approx(0.063, abs=0.001)
    assert ds.attrs["history"].startswith(f"xta {xta.__version__}: open_exposure jw")
    for value in ds.attrs.values():
        assert isinstance(value, str | int | float)


def test_flags_are_described_as_the_pipeline_names_them(calints):
    from stdatamodels.jwst.datamodels import dqflags

    attrs = xta.open_exposure(calints)["dq"].attrs
    table = dict(zip(attrs["flag_meanings"].split(), attrs["flag_masks"].tolist(), strict=True))
    assert table == {name: mask for name, mask in dqflags.pixel.items() if mask}
    assert attrs["flag_masks"].dtype == np.uint32


def test_an_image_has_no_integrations(cal):
    ds = xta.open_exposure(cal)
    assert ds["sci"].dims == ("y", "x")
    assert "integration" not in ds.dims
    assert ds["time"].dims == ()


def test_sky_is_the_pipelines(calints):
    ds = xta.open_exposure(calints)
    from jwst import datamodels

    with datamodels.open(calints) as model:
        y, x = np.mgrid[:320, :320]
        ra, dec = model.meta.wcs(x, y)
    np.testing.assert_array_equal(ds["ra"].values, ra)
    np.testing.assert_array_equal(ds["dec"].values, dec)
    assert isinstance(ds["wcs"].item(), wcs.WcsText)


def test_reading_is_lazy_and_by_integration(calints):
    ds = xr.open_dataset(calints, engine="jwst", chunks={})
    assert ds["sci"].chunks == ((1, 1, 1), (320,), (320,))
    assert len(pickle.dumps(ds)) < 400_000
    again = pickle.loads(pickle.dumps(ds))
    eager = xta.open_exposure(calints).load()
    np.testing.assert_array_equal(again["sci"].compute().values, eager["sci"].values)
    np.testing.assert_array_equal(again["sci"].mean().compute(scheduler="threads"), eager["sci"].mean())


@pytest.mark.parametrize(
    "key",
    [
        {"integration": 1},
        {"integration": slice(None, None, -1)},
        {"integration": [2, 0], "x": [5, 3, 3]},
        {"integration": slice(1, 1)},
        {"y": slice(10, 100, 7), "x": -1},
        {"integration": np.array([True, False, True]), "y": slice(None, None, -3)},
    ],
)
def test_any_selection_reads_what_numpy_would_select(calints, key):
    lazy, eager = xta.open_exposure(calints), xta.open_exposure(calints).load()
    xr.testing.assert_identical(lazy["sci"].isel(key).load(), eager["sci"].isel(key))


def test_closing_and_reading_again_reopens(calints):
    ds = xta.open_exposure(calints)
    first = ds["sci"].isel(integration=0).values
    ds.close()
    np.testing.assert_array_equal(xta.open_exposure(calints)["sci"].isel(integration=0).values, first)
    assert np.isfinite(ds["sci"].isel(integration=1).mean())


def test_an_open_hdu_list_is_taken_too(calints):
    with fits.open(calints, memmap=False) as hdus:
        ds = xta.open_exposure(hdus)
        chunked = xta.open_exposure(hdus, chunks={})
    xr.testing.assert_identical(ds.load(), xta.open_exposure(calints).load())
    assert chunked["sci"].chunks[0] == (1, 1, 1)


def test_several_files_open_as_one(calints):
    ds = xr.open_mfdataset([calints, calints], engine="jwst", combine="nested", concat_dim="integration")
    assert ds.sizes["integration"] == 6
    assert ds["wcs"].ndim == 0


def test_variables_can_be_dropped(calints):
    ds = xr.open_dataset(calints, engine="jwst", drop_variables=["err", "var_poisson"])
    assert "err" not in ds
    assert "sci" in ds


def test_the_engine_claims_jwst_fits_only(calints, tmp_path):
    entry = JwstBackendEntrypoint()
    assert entry.guess_can_open(calints)
    other = tmp_path / "hst.fits"
    fits.PrimaryHDU(header=fits.Header({"TELESCOP": "HST"})).writeto(other)
    for path in (other, tmp_path / "absent.fits", tmp_path / "a.nc", 5):
        assert not entry.guess_can_open(path)
    assert xr.open_dataset(calints)["sci"].sizes["integration"] == 3


def drop(name):
    def edit(hdus):
        del hdus[name]

    return edit


def test_without_a_wcs_the_sky_is_left_out(calints, edited):
    path = edited(calints, drop("ASDF"))
    with pytest.warns(XtaWarning, match="no ASDF extension.*no wcs, ra and dec"):
        ds = xta.open_exposure(path)
    assert not {"wcs", "ra", "dec"} & set(ds.coords)
    with pytest.raises(XtaError, match="no wcs"):
        ds.ta.pixel_to_world(1.0, 2.0)


def test_a_damaged_wcs_is_left_out(calints, edited):
    def edit(hdus):
        text = hdus["ASDF"].data["ASDF_METADATA"].tobytes()
        column = fits.Column("ASDF_METADATA", f"{len(text) // 2}B", array=[np.frombuffer(text[: len(text) // 2], "u1")])
        hdus["ASDF"] = fits.BinTableHDU.from_columns([column], name="ASDF")

    with pytest.warns(XtaWarning, match="ASDF"):
        ds = xta.open_exposure(edited(calints, edit))
    assert "wcs" not in ds.coords


@pytest.mark.parametrize("name", ["ERR", "DQ", "VAR_POISSON", "VAR_RNOISE", "INT_TIMES"])
def test_an_optional_extension_may_be_missing(calints, edited, name):
    ds = xta.open_exposure(edited(calints, drop(name)))
    assert name.lower() not in ds
    assert np.isfinite(ds["sci"].mean())
    assert "ra" in ds.coords


def test_an_empty_extension_counts_as_missing(calints, edited):
    def edit(hdus):
        hdus["VAR_RNOISE"] = fits.ImageHDU(name="VAR_RNOISE")

    assert "var_rnoise" not in xta.open_exposure(edited(calints, edit))


def test_times_of_other_integrations_are_left_out(calints, edited):
    def edit(hdus):
        table = hdus["INT_TIMES"]
        hdus["INT_TIMES"] = fits.BinTableHDU(np.repeat(table.data, 5), name="INT_TIMES")

    with pytest.warns(XtaWarning, match="15 rows for 3 integration"):
        ds = xta.open_exposure(edited(calints, edit))
    assert "time" not in ds.coords
    assert list(ds["integration"].values) == [1, 2, 3]


def crop(x, y, nx, ny, *, move_crpix):
    def edit(hdus):
        for name in ("SCI", "ERR", "DQ", "VAR_POISSON", "VAR_RNOISE"):
            hdus[name].data = hdus[name].data[:, y : y + ny, x : x + nx]
        header = hdus["SCI"].header
        if move_crpix:
            from xta import siaf

            primary = hdus[0].header
            ap = siaf.aperture(primary["INSTRUME"], primary["APERNAME"], primary["PRD_VER"])
            header["CRPIX1"], header["CRPIX2"] = ap.XSciRef - x, ap.YSciRef - y
        else:
            header.remove("CRPIX1", ignore_missing=True)
            header.remove("CRPIX2", ignore_missing=True)

    return edit


def test_a_crop_without_a_trace_has_no_sky(calints, edited):
    path = edited(calints, crop(40, 50, 200, 180, move_crpix=False))
    with pytest.warns(XtaWarning, match=r"200 x 180 pixels, SUBSIZE1/2 say 320 x 320.*give origin"):
        ds = xta.open_exposure(path)
    assert "wcs" not in ds.coords
    whole = xta.open_exposure(calints)
    known = xta.open_exposure(path, origin=(40, 50))
    part = whole.sel(x=known["x"], y=known["y"])
    for name in ("sci", "ra", "dec"):
        np.testing.assert_array_equal(known[name].values, part[name].values)
    with pytest.raises(ArgumentError, match="outside the readout"):
        xta.open_exposure(path, origin=(300, 0))


def test_a_crop_that_moved_crpix_is_understood(calints, edited):
    path = edited(calints, crop(40, 50, 200, 180, move_crpix=True))
    with pytest.warns(XtaWarning, match=r"begins at pixel \(40, 50\)"):
        ds = xr.open_dataset(path, engine="jwst")
    whole = xta.open_exposure(calints).sel(x=ds["x"], y=ds["y"])
    np.testing.assert_array_equal(ds["ra"].values, whole["ra"].values)
    np.testing.assert_array_equal(ds["sci"].values, whole["sci"].values)


def test_an_array_of_another_shape_is_left_out(calints, edited):
    def edit(hdus):
        hdus["VAR_POISSON"].data = hdus["VAR_POISSON"].data[:, :100]

    with pytest.warns(XtaWarning, match=r"VAR_POISSON has the shape \(3, 100, 320\)"):
        ds = xta.open_exposure(edited(calints, edit))
    assert "var_poisson" not in ds


def test_nan_pixels_stay_nan(calints, edited):
    def edit(hdus):
        hdus["SCI"].data[:, 5, 6] = np.nan

    assert np.isnan(xta.open_exposure(edited(calints, edit))["sci"].values[:, 5, 6]).all()


def test_shifted_pixels_are_warned_of(calints, edited):
    with pytest.warns(XtaWarning, match="shifted by other software"):
        xta.open_exposure(edited(calints, lambda hdus: hdus.append(fits.ImageHDU(np.ones((1, 2)), name="IMSHIFTS"))))


def test_headers_with_few_keywords_open(calints, edited):
    def edit(hdus):
        for keyword in names.KEYWORDS.values():
            if keyword not in {"TELESCOP", "SUBSIZE1", "SUBSIZE2"}:
                hdus[0].header.remove(keyword, ignore_missing=True)
                hdus["SCI"].header.remove(keyword, ignore_missing=True)
        hdus["SCI"].header.remove("BUNIT", ignore_missing=True)

    ds = xta.open_exposure(edited(calints, edit))
    assert "visit_id" not in ds.attrs
    assert "ra" in ds.coords
    with pytest.raises(XtaError, match="visit_id"):
        ds.ta.attach()


@pytest.mark.parametrize("size", [0, 10, 2880, 30_000, -2000])
def test_a_truncated_file_says_so(calints, tmp_path, size):
    path = tmp_path / calints.name
    path.write_bytes(calints.read_bytes()[:size])
    with pytest.raises((FileError, ProductError), match=path.name):
        xta.open_exposure(path)


def test_what_is_not_a_product_says_so(calints, edited, tmp_path):
    with pytest.raises(FileError, match="does not exist"):
        xta.open_exposure(tmp_path / "absent_calints.fits")
    with pytest.raises(FileError, match="is a folder"):
        xta.open_exposure(tmp_path)
    text = tmp_path / "text_calints.fits"
    text.write_text("not FITS at all\n" * 500)
    with pytest.raises(FileError, match="cannot be read as FITS"):
        xta.open_exposure(text)
    with pytest.raises(ProductError, match="TELESCOP is 'HST'"):
        xta.open_exposure(edited(calints, lambda hdus: hdus[0].header.set("TELESCOP", "HST")))
    with pytest.raises(ProductError, match="no SCI"):
        xta.open_exposure(edited(calints, drop("SCI")))

    def ramp(hdus):
        hdus["SCI"].data = hdus["SCI"].data[np.newaxis]

    with pytest.raises(ProductError, match="4 dimensions"):
        xta.open_exposure(edited(calints, ramp))
    with pytest.raises(ArgumentError, match="cannot open a int"):
        JwstBackendEntrypoint().open_dataset(5)


def test_warnings_point_at_the_users_line(calints, edited):
    path = edited(calints, drop("ASDF"))
    with pytest.warns(XtaWarning) as caught:
        xr.open_dataset(path, engine="jwst")
    assert caught[0].filename == __file__


def real_files(shared):
    return sorted(shared.glob("*/*/*.fits"))


def test_every_real_file(shared, tmp_path):
    """All open; sky equals the GWCS; the inverse closes to 1e-8 px; NetCDF keeps everything."""
    files = real_files(shared)
    assert len(files) >= 15
    for path in files:
        with pytest.warns(XtaWarning) if "real" in path.parts else _nothing():
            ds = xta.open_exposure(path)
        gwcs = sky.the_wcs(ds)
        x, y = np.meshgrid(ds["x"], ds["y"])
        ra, dec = wcs.pixel_to_world(gwcs, x, y)
        np.testing.assert_array_equal(ds["ra"].values, ra)
        np.testing.assert_array_equal(ds["dec"].values, dec)
        for position in ((ra[::40, ::40], dec[::40, ::40]), (ds.attrs["target_ra"], ds.attrs["target_dec"])):
            back = wcs.pixel_to_world(gwcs, *wcs.world_to_pixel(gwcs, *position))
            apart = np.hypot(*(np.asarray(a) - b for a, b in zip(back, position, strict=True))) * 3600
            assert np.max(apart) / ds.attrs["pixel_scale"] < 1e-8 * 2
        found = wcs.world_to_pixel(gwcs, ra[::40, ::40], dec[::40, ::40])
        assert np.abs(found[0] - x[::40, ::40]).max() < 1e-8
        assert np.abs(found[1] - y[::40, ::40]).max() < 1e-8
        xta.to_netcdf(ds, tmp_path / "a.nc")
        with xr.open_dataset(tmp_path / "a.nc") as again:
            assert again["wcs"].item() == ds["wcs"].item()
            xr.testing.assert_identical(again.drop_vars("wcs").load(), ds.drop_vars("wcs").load())


def _nothing():
    import contextlib

    return contextlib.nullcontext()


def test_the_crop_of_real_files_is_known(shared):
    """HD 106906: cropped from (13, 7); the star is near pixel (106.7, 105.2) of the cropped array."""
    path = shared / "real" / "miri_hd106906" / "jw01277019001_04101_00001_mirimage_calints.fits"
    with pytest.warns(XtaWarning):
        ds = xta.open_exposure(path)
    assert (int(ds["x"][0]), int(ds["y"][0])) == (13, 7)
    x, y = ds.ta.world_to_pixel(ds.attrs["target_ra"], ds.attrs["target_dec"])
    assert abs(x - 13 - 106.7) < 3
    assert abs(y - 7 - 105.2) < 3
