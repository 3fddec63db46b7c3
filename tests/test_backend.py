"""Opening products: everything in the data model, lazily, and nothing that cannot be trusted."""

import bz2
import contextlib
import gzip
import lzma
import pickle
import warnings

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits

import xta
from xta import identity
from xta.errors import ArgumentError, FileError, ProductError, XtaError, XtaWarning
from xta.geometry import sky, wcs
from xta.io.backend import JwstBackendEntrypoint


@pytest.fixture(scope="module")
def calints(nircam):
    return nircam.science[0]


@pytest.fixture(scope="module")
def cal(nircam):
    return nircam.ta[0]


def test_open_exposure_cube_has_data_model(calints):
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


def test_open_exposure_describes_flags(calints):
    from stdatamodels.jwst.datamodels import dqflags

    attrs = xta.open_exposure(calints)["dq"].attrs
    table = dict(zip(attrs["flag_meanings"].split(), attrs["flag_masks"].tolist(), strict=True))
    assert table == {name: mask for name, mask in dqflags.pixel.items() if mask}
    assert attrs["flag_masks"].dtype == np.uint32


def test_open_exposure_image_has_no_integrations(cal):
    ds = xta.open_exposure(cal)
    assert ds["sci"].dims == ("y", "x")
    assert "integration" not in ds.dims
    assert ds["time"].dims == ()


def test_open_exposure_sky_equals_pipeline(calints):
    ds = xta.open_exposure(calints)
    from jwst import datamodels

    with datamodels.open(calints) as model:
        y, x = np.mgrid[:320, :320]
        ra, dec = model.meta.wcs(x, y)
    np.testing.assert_array_equal(ds["ra"].values, ra)
    np.testing.assert_array_equal(ds["dec"].values, dec)
    assert isinstance(ds["wcs"].item(), wcs.WcsText)


def test_open_exposure_is_lazy(calints):
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
def test_open_exposure_selects_as_numpy(calints, key):
    lazy, eager = xta.open_exposure(calints), xta.open_exposure(calints).load()
    xr.testing.assert_identical(lazy["sci"].isel(key).load(), eager["sci"].isel(key))


def test_open_exposure_reopens_closed_file(calints):
    ds = xta.open_exposure(calints)
    first = ds["sci"].isel(integration=0).values
    ds.close()
    np.testing.assert_array_equal(xta.open_exposure(calints)["sci"].isel(integration=0).values, first)
    assert np.isfinite(ds["sci"].isel(integration=1).mean())


def test_open_exposure_of_hdu_list(calints):
    with fits.open(calints, memmap=False) as hdus:
        ds = xta.open_exposure(hdus)
        chunked = xta.open_exposure(hdus, chunks={})
    from_path = xta.open_exposure(calints)
    assert (ds["source"].item(), from_path["source"].item()) == ("", str(calints))
    xr.testing.assert_identical(ds.load().drop_vars("source"), from_path.load().drop_vars("source"))
    assert chunked["sci"].chunks[0] == (1, 1, 1)


def test_open_mfdataset_joins_files(calints):
    ds = xr.open_mfdataset([calints, calints], engine="jwst", combine="nested", concat_dim="integration")
    assert ds.sizes["integration"] == 6
    assert ds["wcs"].ndim == 0


def test_open_dataset_drops_variables(calints):
    ds = xr.open_dataset(calints, engine="jwst", drop_variables=["err", "var_poisson"])
    assert "err" not in ds
    assert "sci" in ds


def test_guess_can_open_claims_jwst_fits_only(calints, tmp_path):
    entry = JwstBackendEntrypoint()
    assert entry.guess_can_open(calints)
    other = tmp_path / "hst.fits"
    fits.PrimaryHDU(header=fits.Header({"TELESCOP": "HST"})).writeto(other)
    for path in (other, tmp_path / "absent.fits", tmp_path / "a.nc", 5):
        assert not entry.guess_can_open(path)
    assert xr.open_dataset(calints)["sci"].sizes["integration"] == 3


def corrupt_gzip(content):
    """Compress, and spoil the first block: a reader fails within the header, and not because of the end."""
    packed = bytearray(gzip.compress(content))
    packed[20:60] = bytes(40)
    return bytes(packed)


def test_guess_can_open_refuses_corrupt_gzip(calints, tmp_path):
    path = tmp_path / f"{calints.name}.gz"
    path.write_bytes(corrupt_gzip(calints.read_bytes()))
    assert not JwstBackendEntrypoint().guess_can_open(path)
    with pytest.raises(FileError, match=path.name):
        xta.open_exposure(path)


def drop(name):
    def edit(hdus):
        del hdus[name]

    return edit


def test_open_exposure_without_wcs_has_no_sky(calints, edited):
    path = edited(calints, drop("ASDF"))
    with pytest.warns(XtaWarning, match="no ASDF extension.*no wcs, ra and dec"):
        ds = xta.open_exposure(path)
    assert not {"wcs", "ra", "dec"} & set(ds.coords)
    with pytest.raises(XtaError, match="no wcs"):
        ds.ta.pixel_to_world(1.0, 2.0)


def test_open_exposure_leaves_out_damaged_wcs(calints, edited):
    def edit(hdus):
        text = hdus["ASDF"].data["ASDF_METADATA"].tobytes()
        column = fits.Column("ASDF_METADATA", f"{len(text) // 2}B", array=[np.frombuffer(text[: len(text) // 2], "u1")])
        hdus["ASDF"] = fits.BinTableHDU.from_columns([column], name="ASDF")

    with pytest.warns(XtaWarning, match="ASDF"):
        ds = xta.open_exposure(edited(calints, edit))
    assert "wcs" not in ds.coords


@pytest.mark.parametrize("name", ["ERR", "DQ", "VAR_POISSON", "VAR_RNOISE", "INT_TIMES"])
def test_open_exposure_without_optional_extension(calints, edited, name):
    ds = xta.open_exposure(edited(calints, drop(name)))
    assert name.lower() not in ds
    assert np.isfinite(ds["sci"].mean())
    assert "ra" in ds.coords


def test_open_exposure_leaves_out_empty_extension(calints, edited):
    def edit(hdus):
        hdus["VAR_RNOISE"] = fits.ImageHDU(name="VAR_RNOISE")

    assert "var_rnoise" not in xta.open_exposure(edited(calints, edit))


def test_open_exposure_leaves_out_times_of_other_integrations(calints, edited):
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
            from xta.geometry import siaf

            primary = hdus[0].header
            ap = siaf.aperture(primary["INSTRUME"], primary["APERNAME"], primary["PRD_VER"])
            header["CRPIX1"], header["CRPIX2"] = ap.XSciRef - x, ap.YSciRef - y
        else:
            header.remove("CRPIX1", ignore_missing=True)
            header.remove("CRPIX2", ignore_missing=True)

    return edit


def test_open_exposure_crop_without_trace_has_no_sky(calints, edited):
    path = edited(calints, crop(40, 50, 200, 180, move_crpix=False))
    with pytest.warns(XtaWarning, match=r"200 x 180 pixels, but SUBSIZE1/2 are 320 x 320.*give origin"):
        ds = xta.open_exposure(path)
    assert "wcs" not in ds.coords
    whole = xta.open_exposure(calints)
    known = xta.open_exposure(path, origin=(40, 50))
    part = whole.sel(x=known["x"], y=known["y"])
    for name in ("sci", "ra", "dec"):
        np.testing.assert_array_equal(known[name].values, part[name].values)
    with pytest.raises(ArgumentError, match="outside the readout"):
        xta.open_exposure(path, origin=(300, 0))


def test_open_exposure_crop_that_moved_crpix(calints, edited):
    path = edited(calints, crop(40, 50, 200, 180, move_crpix=True))
    with pytest.warns(XtaWarning, match=r"begins at pixel \(40, 50\)"):
        ds = xr.open_dataset(path, engine="jwst")
    whole = xta.open_exposure(calints).sel(x=ds["x"], y=ds["y"])
    np.testing.assert_array_equal(ds["ra"].values, whole["ra"].values)
    np.testing.assert_array_equal(ds["sci"].values, whole["sci"].values)


def test_open_exposure_leaves_out_array_of_other_shape(calints, edited):
    def edit(hdus):
        hdus["VAR_POISSON"].data = hdus["VAR_POISSON"].data[:, :100]

    with pytest.warns(XtaWarning, match=r"VAR_POISSON has the shape \(3, 100, 320\)"):
        ds = xta.open_exposure(edited(calints, edit))
    assert "var_poisson" not in ds


def test_open_exposure_keeps_nan(calints, edited):
    def edit(hdus):
        hdus["SCI"].data[:, 5, 6] = np.nan

    assert np.isnan(xta.open_exposure(edited(calints, edit))["sci"].values[:, 5, 6]).all()


def test_open_exposure_warns_of_shifted_pixels(calints, edited):
    with pytest.warns(XtaWarning, match="shifted by other software"):
        xta.open_exposure(edited(calints, lambda hdus: hdus.append(fits.ImageHDU(np.ones((1, 2)), name="IMSHIFTS"))))


def test_open_exposure_with_few_keywords(calints, edited):
    def edit(hdus):
        for keyword in identity.KEYWORDS.values():
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
def test_open_exposure_refuses_truncated_file(calints, tmp_path, size):
    path = tmp_path / calints.name
    path.write_bytes(calints.read_bytes()[:size])
    with pytest.raises((FileError, ProductError), match=path.name):
        xta.open_exposure(path)


def test_open_exposure_refuses_what_is_no_product(calints, edited, tmp_path):
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
    with pytest.raises(ArgumentError, match="source is a int"):
        JwstBackendEntrypoint().open_dataset(5)


def test_open_exposure_warning_points_at_caller(calints, edited):
    path = edited(calints, drop("ASDF"))
    with pytest.warns(XtaWarning) as caught:
        xr.open_dataset(path, engine="jwst")
    assert caught[0].filename == __file__


def real_files(shared):
    """Products alone: a model of a PSF that lies beside them is none."""
    return sorted(path for path in shared.glob("*/*/*.fits") if path.name.startswith("jw"))


def test_open_exposure_real_files(shared, tmp_path):
    """All open; sky equals the GWCS; the inverse closes to 1e-8 px; NetCDF keeps everything."""
    files = real_files(shared)
    assert len(files) >= 15
    for path in files:
        with pytest.warns(XtaWarning) if "real" in path.parts else contextlib.nullcontext():
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
            kept = ds.drop_vars(["wcs", "source"])
            xr.testing.assert_identical(again.drop_vars("wcs").load(), kept.load())


def test_open_exposure_crop_of_real_file(shared):
    """HD 106906: cropped from (13, 7); the star is near pixel (106.7, 105.2) of the cropped array."""
    path = shared / "real" / "miri_hd106906" / "jw01277019001_04101_00001_mirimage_calints.fits"
    with pytest.warns(XtaWarning):
        ds = xta.open_exposure(path)
    assert (int(ds["x"][0]), int(ds["y"][0])) == (13, 7)
    x, y = ds.ta.world_to_pixel(ds.attrs["target_ra"], ds.attrs["target_dec"])
    assert abs(x - 13 - 106.7) < 3
    assert abs(y - 7 - 105.2) < 3


def test_open_exposure_does_not_guess_crop(calints, edited):
    """CRPIX is still the SIAF reference point: the array may begin anywhere."""

    def edit(hdus):
        crop(0, 0, 200, 180, move_crpix=True)(hdus)

    with pytest.warns(XtaWarning, match=r"first pixel is not known.*give origin"):
        ds = xta.open_exposure(edited(calints, edit))
    assert "wcs" not in ds.coords


def segment(numbers, first, last):
    def edit(hdus):
        table = fits.BinTableHDU(np.repeat(hdus["INT_TIMES"].data[:1], len(numbers)), name="INT_TIMES")
        table.data["integration_number"] = numbers
        table.data["int_mid_MJD_UTC"] = 60000 + np.asarray(numbers)
        hdus["INT_TIMES"] = table
        hdus[0].header["INTSTART"], hdus[0].header["INTEND"] = first, last

    return edit


@pytest.mark.parametrize(
    ("numbers", "first", "last"),
    [([4, 5, 6], 4, 6), ([4, 5, 6], 1, 3), (range(1, 11), 4, 6)],
    ids=["own rows", "own rows win", "rows of all segments"],
)
def test_open_exposure_segment_keeps_numbers(calints, edited, numbers, first, last):
    ds = xta.open_exposure(edited(calints, segment(numbers, first, last)))
    assert ds["integration"].values.tolist() == [4, 5, 6]
    days = (ds["time"].values - np.datetime64("1858-11-17")) / np.timedelta64(1, "D")
    np.testing.assert_array_equal(days, [60004, 60005, 60006])


@pytest.mark.parametrize(("first", "last"), [(1, 10), (9, 11), ("4", "6")])
def test_open_exposure_unclear_segment_has_no_times(calints, edited, first, last):
    with pytest.warns(XtaWarning, match="10 rows for 3 integration"):
        ds = xta.open_exposure(edited(calints, segment(range(1, 11), first, last)))
    assert "time" not in ds.coords


def test_open_exposure_numbers_of_header(calints, edited):
    def edit(hdus):
        del hdus["INT_TIMES"]
        hdus[0].header["INTSTART"] = 21

    assert xta.open_exposure(edited(calints, edit))["integration"].values.tolist() == [21, 22, 23]


def test_open_exposure_empty_times_are_missing(calints, edited):
    def edit(hdus):
        for name in ("int_mid_MJD_UTC", "int_mid_BJD_TDB", "integration_number"):
            hdus["INT_TIMES"].data[name] = 0

    ds = xta.open_exposure(edited(calints, edit))
    assert np.isnat(ds["time"].values).all()
    assert np.isnan(ds["time_bjd_tdb"].values).all()
    assert ds["integration"].values.tolist() == [1, 2, 3]


def test_open_exposure_chunks_agree(calints):
    ds = xr.open_dataset(calints, engine="jwst", chunks={})
    assert ds.chunks["integration"] == (1, 1, 1)
    eager = xta.open_exposure(calints).load()
    for part, whole in ((ds, eager), (ds.drop_vars(["ra", "dec"]), eager.drop_vars(["ra", "dec"]))):
        mapped = part.map_blocks(lambda block: block[["sci"]] * 2).compute()
        np.testing.assert_array_equal(mapped["sci"], whole["sci"] * 2)
        np.testing.assert_array_equal(mapped["time"], whole["time"])


@pytest.mark.parametrize("chunks", [{}, {"integration": 2}])
def test_analyze_chunks_dataset_as_file(nircam, calints, chunks):
    given = {"acquisition": nircam.ta, "oss": nircam.oss_log, "chunks": chunks}
    from_file, from_dataset = xta.analyze(calints, **given), xta.analyze(xta.open_exposure(calints), **given)
    again = xta.analyze(from_file.compute(), **given)
    for ds in (from_dataset, again):
        assert ds["sci"].chunks == from_file["sci"].chunks
        xr.testing.assert_equal(ds.compute(), from_file.compute())
    assert xta.analyze(from_file, **given | {"chunks": None})["sci"].chunks == from_file["sci"].chunks


def test_open_exposure_path_is_absolute(calints, monkeypatch, tmp_path):
    monkeypatch.chdir(calints.parent)
    monkeypatch.setenv("HOME", str(calints.parent))
    expected = xta.open_exposure(calints).load()
    for path in (calints.name, f"~/{calints.name}", str(calints).encode()):
        monkeypatch.chdir(calints.parent)
        ds = xta.open_exposure(path)
        frozen = pickle.dumps(ds)
        assert ds.encoding["source"] == str(calints)
        monkeypatch.chdir(tmp_path)
        ds.close()
        np.testing.assert_array_equal(ds["sci"].values, expected["sci"].values)
        np.testing.assert_array_equal(pickle.loads(frozen)["sci"].values, expected["sci"].values)


@pytest.mark.parametrize("packer", [gzip, bz2, lzma])
@pytest.mark.parametrize("name", ["a_calints.fits.gz", "a_calints.fits"])
def test_open_exposure_compressed_file_is_whole_or_refused(calints, tmp_path, packer, name):
    path = tmp_path / name
    packed = packer.compress(calints.read_bytes())
    path.write_bytes(packed)
    ds = xta.open_exposure(path)
    np.testing.assert_array_equal(ds["dq"].values, xta.open_exposure(calints)["dq"].values)
    ds.close()
    for size in (len(packed) // 2, len(packed) - 3):
        path.write_bytes(packed[:size])
        with pytest.raises(FileError, match=path.name):
            xta.open_exposure(path)
    path.write_bytes(packer.compress(calints.read_bytes()[:-2880]))
    with pytest.raises(FileError, match="is cut short"):
        xta.open_exposure(path)


@pytest.mark.parametrize(
    ("head", "advice"),
    [(b"\x89HDF\r\n\x1a\n", "looks like NetCDF"), (b"CDF\x01", "looks like NetCDF"), (b"PK\x03\x04", "ZIP")],
)
def test_open_exposure_names_other_kinds_of_files(tmp_path, head, advice):
    path = tmp_path / "a_calints.fits"
    path.write_bytes(head + b"rest" * 1000)
    with pytest.raises(FileError, match=advice):
        xr.open_dataset(path, engine="jwst")


def damaged(content, seed):
    rng = np.random.default_rng(seed)
    changed = bytearray(content)
    if seed % 3 == 0:  # a hole
        start = int(rng.integers(len(changed)))
        del changed[start : start + int(rng.integers(1, 5000))]
    elif seed % 3 == 1:  # bytes anywhere
        for at in rng.integers(len(changed), size=200):
            changed[at] = rng.integers(256)
    else:  # characters of headers and of the ASDF text
        printable = [k for start in headers(content) for k in range(start, start + 2880)]
        for at in rng.choice(printable, size=4):
            changed[at] = rng.integers(32, 127)
    return bytes(changed)


def headers(content):
    words = (b"SIMPLE  =", b"XTENSION=", b"#ASDF")
    return [k for k in range(0, len(content) - 2880, 2880) if content[k : k + 2880].lstrip(b"\0").startswith(words)]


@pytest.mark.parametrize("seed", range(60))
def test_open_exposure_damaged_file_opens_or_is_refused(calints, tmp_path, seed):
    path = tmp_path / calints.name
    path.write_bytes(damaged(calints.read_bytes(), seed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XtaWarning)
        with contextlib.suppress(XtaError):
            ds = xta.open_exposure(path)
            ds.isel(y=slice(0, 9), x=slice(0, 9)).load()


def test_open_exposure_warns_of_bytes_after_last_extension(calints, tmp_path):
    path = tmp_path / calints.name
    path.write_bytes(calints.read_bytes() + bytes(2880))
    with pytest.warns(XtaWarning, match=r"the 2880 bytes after its extension \d .* cannot be read"):
        xta.open_exposure(path)


def as_table(hdus, name):
    hdus[name] = fits.BinTableHDU.from_columns([fits.Column("a", "E", array=[1.0])], name=name)


def test_open_exposure_table_in_place_of_image(calints, edited):
    with pytest.raises(ProductError, match="SCI extension is not an image but a BinTable"):
        xta.open_exposure(edited(calints, lambda hdus: as_table(hdus, "SCI")))
    with pytest.warns(XtaWarning, match="ERR is not an image but a BinTable"):
        ds = xta.open_exposure(edited(calints, lambda hdus: as_table(hdus, "ERR")))
    assert "err" not in ds


def test_open_exposure_image_in_place_of_times(calints, edited):
    def edit(hdus):
        hdus["INT_TIMES"] = fits.ImageHDU(np.ones((3, 3)), name="INT_TIMES")

    with pytest.warns(XtaWarning, match="INT_TIMES is not a table"):
        xta.open_exposure(edited(calints, edit))


@pytest.mark.parametrize("keyword", ["PIXAR_A2", "EXPMID", "TARG_RA", "SUBSIZE1"])
def test_open_exposure_leaves_out_text_in_place_of_number(cal, edited, keyword):
    def edit(hdus):
        for hdu in (hdus[0], hdus["SCI"]):
            hdu.header[keyword] = "unknown"

    with pytest.warns(XtaWarning, match=f"{keyword} is 'unknown', not a number"):
        ds = xta.open_exposure(edited(cal, edit))
    assert "unknown" not in ds.attrs.values()
    assert np.isfinite(ds["sci"].values).any()


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        *(("VISIT_ID", value) for value in ("0138600100.", "(", "../../../x", "[0-9]*", 7)),
        *(("FILENAME", value) for value in ("../../a_calints.fits", "/etc/a.fits", ".a_calints.fits")),
        *(("FILTER", ".."), ("INSTRUME", "(?P<"), ("APERNAME", "NRCA5;x")),
    ],
)  # fmt: skip
def test_open_exposure_leaves_out_identifier_of_another_form(cal, edited, keyword, value):
    """They become names of files and groups, and patterns."""
    path = edited(cal, lambda hdus: hdus[0].header.set(keyword, value))
    with pytest.warns(XtaWarning, match=f"{keyword} is .*, which is not a valid {keyword}"):
        ds = xta.open_exposure(path)
    assert str(value) not in [variable.item() for variable in ds.coords.values() if not variable.ndim]
    if keyword == "VISIT_ID":
        with pytest.raises(XtaError, match="VISIT_ID"):
            ds.ta.attach()


def test_open_exposure_spectrum_has_no_sky(calints, edited):
    from tests.test_wcs import spectrograph

    def edit(hdus):
        content = np.frombuffer(wcs.dump(spectrograph()).encode(), "u1")
        column = fits.Column("ASDF_METADATA", f"{content.size}B", array=[content])
        hdus["ASDF"] = fits.BinTableHDU.from_columns([column], name="ASDF")

    with pytest.warns(XtaWarning, match="3 outputs.*no wcs, ra and dec"):
        ds = xta.open_exposure(edited(calints, edit))
    assert "wcs" not in ds.coords


@pytest.mark.parametrize("source", [None, (5,), 5, object()])
def test_open_exposure_refuses_what_is_no_path(source):
    with pytest.raises(ArgumentError, match="give a path or an astropy HDUList"):
        xta.open_exposure(source)


def test_open_exposure_refuses_open_file(calints):
    with calints.open("rb") as file, pytest.raises(ArgumentError, match="give a path"):
        xta.open_exposure(file)


@pytest.mark.parametrize("origin", ["ab", 5, (0.6, 0.2), (1, 2, 3), (-1, 0), (1, None), []])
def test_open_exposure_refuses_origin(tmp_path, origin):
    with pytest.raises(ArgumentError, match="two whole numbers"):
        xta.open_exposure(tmp_path / "absent.fits", origin=origin)


@pytest.mark.parametrize("size", [0, 30_000, -200_000, None])
def test_load_names_file_that_changed(calints, tmp_path, size):
    path = tmp_path / calints.name
    path.write_bytes(calints.read_bytes())
    ds = xta.open_exposure(path)
    ds.close()
    if size is None:
        path.unlink()
    else:
        path.write_bytes(calints.read_bytes()[:size])
    with pytest.raises(FileError, match=rf"{path.name} can no longer be read"):
        ds.load()


def test_load_refuses_array_of_other_shape(calints, cal, tmp_path):
    path = tmp_path / calints.name
    path.write_bytes(calints.read_bytes())
    ds = xta.open_exposure(path)
    ds.close()
    path.write_bytes(cal.read_bytes())
    with pytest.raises(FileError, match="has the shape"):
        ds["sci"].load()


def test_open_exposure_of_hdu_list_is_copy():
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.ones((4, 4), np.float32), name="SCI")])
    hdus[0].header["TELESCOP"] = "JWST"
    with pytest.warns(XtaWarning, match="no ASDF"):
        ds = xta.open_exposure(hdus)
    ds["sci"].values[0, 0] = 5
    assert hdus["SCI"].data[0, 0] == 1
