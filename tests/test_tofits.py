"""Products that other software reads: the star, the sky, the header and the arrays are where they were."""

import re
import warnings

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import xta
from xta import identity, model
from xta.errors import ArgumentError, FileError, MissingError, ProductError, WCSError, XtaWarning
from xta.geometry import sky, wcs
from xta.io.tofits import ARRAYS, to_fits

PIXEL = 1e-9  # [pixel] the GWCS, and positions in keywords
DEGREES = 1e-13  # [deg] two or three units in the last place, 6e-9 pixels
SIP = 0.02  # [pixel] the sky by FITS keywords
FORMS = {
    "analyzed": lambda ds: ds,
    "cropped": lambda ds: ds.isel(x=slice(21, 201), y=slice(40, 220)),
    "recentered": lambda ds: ds.ta.recenter(),
    "recentered by whole pixels": lambda ds: ds.ta.recenter(method="integer", size=(151, 101)),
    "cropped and recentered": lambda ds: ds.isel(x=slice(21, 201), y=slice(40, 220)).ta.recenter(),
    "recentered and cropped": lambda ds: ds.ta.recenter().sel(x=slice(-40, 30), y=slice(-20, 50)),
    "one integration": lambda ds: ds.isel(integration=1),
    "some integrations": lambda ds: ds.isel(integration=[1, 0]),
    "without its file": lambda ds: ds.copy().drop_encoding(),
}


@pytest.fixture(scope="module")
def visits(nircam, miri):
    return {"nircam": nircam, "miri": miri}


@pytest.fixture(scope="module")
def exposures(visits):
    return {name: xta.analyze(visit.science[0]).load() for name, visit in visits.items()}


@pytest.fixture(scope="module")
def analyzed(exposures):
    return exposures["nircam"]


@pytest.fixture(params=["nircam", "miri"])
def exposure(exposures, request):
    return exposures[request.param]


@pytest.fixture(scope="module", params=[(name, form) for name in ("nircam", "miri") for form in FORMS], ids="-".join)
def written(exposures, request, tmp_path_factory):
    """A dataset and the file that was made of it."""
    instrument, form = request.param
    ds = FORMS[form](exposures[instrument])
    path = tmp_path_factory.mktemp(instrument) / "jw_star_calints.fits"
    to_fits(ds, path)
    return ds, path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "jw_star_calints.fits"


def headers(path):
    with fits.open(path, memmap=False) as hdus:
        return hdus[0].header, hdus["SCI"].header


def first_labels(ds):
    return int(ds["x"][0]), int(ds["y"][0])


def assert_same_sky(ds, other):
    for name in ("ra", "dec"):
        np.testing.assert_allclose(ds[name], other[name], rtol=0, atol=DEGREES, err_msg=name)


def star_pixel(ds):
    """0-based, in the array."""
    x0, y0 = first_labels(ds)
    return float(ds["target_x"]) - x0, float(ds["target_y"]) - y0


def test_to_fits_reopens_equal(written):
    """Equal data, equal sky at every pixel, no warning; labels count from the corner of the new readout."""
    form, path = written
    with xta.open_exposure(path) as again:
        for name in ARRAYS.keys() & form.data_vars.keys():
            np.testing.assert_array_equal(again[name], form[name], err_msg=name)
            assert again[name].dtype == form[name].dtype
            assert again[name].attrs["units"] == form[name].attrs["units"]
        assert set(again.data_vars) == ARRAYS.keys() & form.data_vars.keys()
        assert first_labels(again) == (0, 0)
        assert_same_sky(again, form)
        delay = np.abs(again["time"].values - form["time"].values)
        assert np.all(delay <= np.timedelta64(1, "us"))  # what a double of days resolves
        star = sky.world_to_pixel(again, float(form["target_ra"]), float(form["target_dec"]))
        assert star == pytest.approx(star_pixel(form), abs=1e-8)


def test_to_fits_is_valid_for_pipeline(written):
    from jwst import datamodels

    form, path = written
    with datamodels.open(path, strict_validation=True) as model:
        model.validate()
        assert type(model).__name__ == ("CubeModel" if form["sci"].ndim == 3 else "ImageModel")
        assert model.meta.filename == path.name
        box = model.meta.wcs.bounding_box.bounding_box(order="F")
        assert [tuple(float(v) for v in side) for side in box] == [(-0.5, form.sizes[a] - 0.5) for a in "xy"]
        x, y = np.meshgrid(np.arange(0, form.sizes["x"], 16), np.arange(0, form.sizes["y"], 16))
        x0, y0 = first_labels(form)
        here = wcs.world_to_pixel(sky.the_wcs(form), *model.meta.wcs(x, y))
        np.testing.assert_allclose(here[0], x + x0, rtol=0, atol=1e-8)
        np.testing.assert_allclose(here[1], y + y0, rtol=0, atol=1e-8)
        assert (model.data.dtype.newbyteorder("="), model.dq.dtype.newbyteorder("=")) == (np.float32, np.uint32)


def test_to_fits_keeps_wcs(written):
    """Compared in V2, V3: degrees of the sky do not resolve a billionth of a pixel."""
    form, path = written
    x, y = np.meshgrid(np.linspace(0, form.sizes["x"], 20), np.linspace(0, form.sizes["y"], 20))
    x0, y0 = first_labels(form)
    ours = sky.the_wcs(form)
    with xta.open_exposure(path) as again:
        theirs = sky.the_wcs(again)
    expected = ours.get_transform("detector", "v2v3vacorr")(x + x0, y + y0)
    found = theirs.get_transform("detector", "v2v3vacorr")(x, y)
    np.testing.assert_allclose(found, expected, rtol=0, atol=PIXEL * form.attrs["pixel_scale"])
    assert wcs.reference(theirs) == wcs.reference(ours)


def test_to_fits_keywords_agree_with_gwcs(written):
    from astropy.wcs import WCS

    form, path = written
    header = headers(path)[1]
    x, y = WCS(header, naxis=2).all_world2pix(form["ra"].values, form["dec"].values, 0)
    assert np.abs(x - np.arange(form.sizes["x"])).max() < SIP
    assert np.abs(y - np.arange(form.sizes["y"])[:, None]).max() < SIP
    star = WCS(header, naxis=2).all_world2pix(float(form["target_ra"]), float(form["target_dec"]), 0)
    assert star == pytest.approx(star_pixel(form), abs=SIP)
    corners = np.array([float(word) for word in header["S_REGION"].split()[2:]]).reshape(4, 2)
    x, y = WCS(header, naxis=2).all_world2pix(*corners.T, 0)
    edge = [(-0.5, form.sizes[axis] - 0.5) for axis in "xy"]
    assert {(round(a, 1), round(b, 1)) for a, b in zip(x, y, strict=True)} == {(a, b) for a in edge[0] for b in edge[1]}


def test_to_fits_star_mask_and_reference_pixel(written):
    form, path = written
    header = headers(path)[1]
    star = header["STARCENX"] - 1, header["STARCENY"] - 1
    assert star == pytest.approx(star_pixel(form), abs=PIXEL)
    x0, y0 = first_labels(form)
    mask = float(form["mask_x"]) - x0 + 1, float(form["mask_y"]) - y0 + 1
    assert (header["MASKCENX"], header["MASKCENY"]) == pytest.approx(mask, abs=PIXEL)
    recentered = "star_x" in form.coords
    expected = (star[0] + 1, star[1] + 1) if recentered else mask
    assert (header["CRPIX1"], header["CRPIX2"]) == pytest.approx(expected, abs=1e-6)
    if recentered:
        target = float(form["target_ra"]), float(form["target_dec"])
        assert (header["CRVAL1"], header["CRVAL2"]) == pytest.approx(target, abs=1e-11)


def test_to_fits_attitude_is_corrected(written, exposures):
    form, path = written
    header = headers(path)[1]
    exposure = exposures[form.attrs["instrument"].lower()]
    reference = wcs.reference(sky.the_wcs(exposure))
    for name, value in reference.items():
        assert header[name.upper()] == pytest.approx(value, abs=1e-11), name
    before = exposure.attrs
    for keyword, change in (("RA", "adjust_ra"), ("DEC", "adjust_dec"), ("ROLL", "adjust_roll")):
        difference = (header[f"{keyword}_REF"] - before[f"{keyword.lower()}_ref"]) * 3600
        assert difference == pytest.approx(float(exposure[change]), abs=1e-7)
        assert header[f"TAD{keyword}"] == float(exposure[change])
    assert header["PA_APER"] == pytest.approx(header["ROLL_REF"] + header["V3I_YANG"], abs=1e-11)


def test_to_fits_attitude_of_original_wcs(exposure, path):
    """The same formula gives RA_V1, DEC_V1, PA_V3 of the original header from the original WCS."""
    original = sky.assign_wcs(exposure, sky.wcs_text(exposure, "wcs_original"))
    to_fits(original, path)
    header = headers(path)[1]
    for keyword in ("RA_V1", "DEC_V1", "PA_V3", "RA_REF", "DEC_REF", "ROLL_REF"):
        assert header[keyword] == pytest.approx(exposure.attrs[keyword.lower()], abs=1e-9), keyword


def test_to_fits_readout_is_array(exposure, path):
    first = exposure.attrs["substrt1"], exposure.attrs["substrt2"]
    corners = {
        "cropped": (first[0] + 21, first[1] + 40),
        "recentered by whole pixels": tuple(
            round(float(exposure[f"target_{axis}"])) + start - half
            for axis, start, half in zip("xy", first, (50, 75), strict=True)
        ),
    }
    for name, corner in corners.items():
        ds = FORMS[name](exposure)
        to_fits(ds, path)
        primary = headers(path)[0]
        assert (primary["SUBSIZE1"], primary["SUBSIZE2"]) == (ds.sizes["x"], ds.sizes["y"])
        assert (primary["SUBSTRT1"], primary["SUBSTRT2"]) == corner
        assert primary["SUBARRAY"] == exposure.attrs["subarray"]


@pytest.fixture
def pyklip_centers(monkeypatch):
    """Where pyKLIP's reader believes the star before it moves the frames; without its look at the network."""
    pytest.importorskip("pyklip")
    import pyklip.klip
    from astroquery.svo_fps import SvoFps

    def offline(*args, **kwargs):
        msg = "offline"
        raise OSError(msg)

    found = []
    align = pyklip.klip.align_and_scale

    def recorded(image, new_center, old_center=None, **kwargs):
        found.append(np.array(old_center))
        return align(image, new_center, old_center, **kwargs)

    monkeypatch.setattr(SvoFps, "get_filter_list", offline)
    monkeypatch.setattr(pyklip.klip, "align_and_scale", recorded)
    return found


@pytest.mark.parametrize("name", ["analyzed", "cropped", "recentered", "recentered and cropped", "without its file"])
def test_to_fits_star_in_pyklip(exposure, name, path, pyklip_centers):
    from pyklip.instruments.JWST import JWSTData

    ds = FORMS[name](exposure)
    to_fits(ds, path)
    data = JWSTData([str(path)], center_include_offset=False)
    n = ds.sizes["integration"]
    np.testing.assert_allclose(pyklip_centers, [star_pixel(ds)] * n, rtol=0, atol=1e-6)
    if name == "recentered":
        np.testing.assert_allclose(pyklip_centers, data.centers, rtol=0, atol=1e-6)
    a = exposure.attrs
    roll = wcs.reference(sky.the_wcs(exposure))["roll_ref"]
    np.testing.assert_allclose(data.PAs, roll - a["v3i_yang"] * a["vparity"], rtol=0, atol=1e-9)
    up = exposure.ta.recenter()["position_angle"].sel(x=0, y=20)
    assert data.PAs[0] == pytest.approx(float(up), abs=0.5)  # the distortion shears the pixels a little
    where = "target" if "star_x" in ds.coords else "mask"  # the place of CRPIX
    place = ds.ta.pixel_to_world(float(ds[f"{where}_x"]), float(ds[f"{where}_y"]))
    assert data.wcs[0].wcs.crval == pytest.approx(place, abs=1e-7)


DITHER = (0.13, -0.078)  # XOFFSET, YOFFSET [arcsec], two and one pixels of NIRCam


@pytest.fixture
def dithered(exposure):
    """The exposure as one of a small-grid dither."""
    return exposure.copy().assign_coords(x_offset=DITHER[0], y_offset=DITHER[1], source="").drop_encoding()


def test_to_fits_recentered_read_by_defaults_of_pyklip(dithered, path, pyklip_centers):
    from pyklip.instruments.JWST import JWSTData

    ds = dithered.ta.recenter()
    to_fits(ds, path)
    other = path.with_name("jw_other_calints.fits")
    to_fits(ds, other)
    data = JWSTData([str(path)], psflib_filepaths=[str(other)])
    center = ds.sizes["x"] // 2, ds.sizes["y"] // 2
    np.testing.assert_array_equal(pyklip_centers, [center] * len(pyklip_centers))
    np.testing.assert_array_equal(data.centers, [center] * ds.sizes["integration"])
    flagged = (ds["dq"].values & 512) > 0
    np.testing.assert_array_equal(data.input, np.where(flagged, np.nan, ds["sci"].values))  # no interpolation
    primary, header = headers(path)
    assert (primary["XOFFSET"], primary["YOFFSET"]) == (0, 0)
    assert (header["XOFFOBS"], header["YOFFOBS"]) == DITHER


def test_to_fits_dither_kept_where_it_is_in_the_pixels(dithered, path):
    to_fits(dithered, path)
    primary, header = headers(path)
    assert (primary["XOFFSET"], primary["YOFFSET"]) == DITHER
    assert "XOFFOBS" not in header


@pytest.mark.parametrize("form", ["analyzed", "recentered"])
@pytest.mark.parametrize("crpix", ["star", "mask"])
def test_to_fits_crpix_on_request(exposure, form, crpix, path):
    from astropy.wcs import WCS

    ds = FORMS[form](exposure)
    to_fits(ds, path, crpix=crpix)
    header = headers(path)[1]
    name = {"star": "STARCEN", "mask": "MASKCEN"}[crpix]
    assert (header["CRPIX1"], header["CRPIX2"]) == pytest.approx((header[f"{name}X"], header[f"{name}Y"]), abs=1e-9)
    star = WCS(header, naxis=2).all_world2pix(float(ds["target_ra"]), float(ds["target_dec"]), 0)
    assert star == pytest.approx(star_pixel(ds), abs=SIP)


def test_to_fits_refuses_crpix(analyzed, path):
    with pytest.raises(ArgumentError, match="'star' or 'mask'"):
        to_fits(analyzed, path, crpix="center")
    with pytest.raises(ArgumentError, match="place is not known"):
        to_fits(analyzed.drop_vars(["mask_x", "mask_y"]), path, crpix="mask")


def test_to_fits_star_in_spaceklip(written):
    """Its reader takes the stage from the name, these keywords from the SCI header, and NINTS for the data."""
    form, path = written
    primary, header = headers(path)
    assert (header["STARCENX"] - 1, header["STARCENY"] - 1) == pytest.approx(star_pixel(form), abs=PIXEL)
    for keyword in ("MASKCENX", "MASKCENY", "PIXAR_SR", "BUNIT", "ROLL_REF", "V3I_YANG", "VPARITY", "RA_REF"):
        assert keyword in header
    for keyword in ("TARGPROP", "INSTRUME", "FILTER", "EXP_TYPE", "APERNAME", "PPS_APER", "XOFFSET", "IS_PSF"):
        assert keyword in primary
    if form["sci"].ndim == 3:
        assert primary["NINTS"] == form.sizes["integration"]


def test_to_fits_keeps_header_of_original(exposure, visits, path):
    visit = visits[exposure.attrs["instrument"].lower()]
    to_fits(exposure, path)
    changed = {"DATE", "FILENAME", "HISTORY", "S_REGION", "PA_APER"}
    fitted = re.compile(r"(CD|(A|B)P?_)\w+|SIP\w+")  # the polynomials, again to the corrected WCS
    changed |= {"RA_V1", "DEC_V1", "PA_V3", "RA_REF", "DEC_REF", "ROLL_REF", "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2"}
    header = headers(path)[1]
    assert (header["CRPIX1"], header["CRPIX2"]) == pytest.approx((header["MASKCENX"], header["MASKCENY"]))
    for before, after in zip(headers(visit.science[0]), headers(path), strict=True):
        for keyword in {name for name in before if not fitted.fullmatch(name)} - changed - {""}:
            value = before[keyword]
            expected = pytest.approx(value, rel=1e-14) if isinstance(value, float) else value
            assert after[keyword] == expected, keyword


def test_to_fits_header_of_attributes(exposure, path):
    to_fits(exposure.copy().drop_encoding(), path)
    pointing = {"ra_v1", "dec_v1", "pa_v3", "ra_ref", "dec_ref", "roll_ref", "filename"}
    with xta.open_exposure(path) as again:
        for name in (identity.KEYWORDS.keys() & exposure.attrs.keys()) - pointing:
            assert again.attrs[name] == exposure.attrs[name], name


def test_to_fits_history(analyzed, path):
    to_fits(analyzed, path)
    history = " ".join(headers(path)[0]["HISTORY"])
    a = analyzed.attrs
    for line in a["history"].splitlines():
        assert line.split(": ", 1)[1].split()[0] in history
    assert f"OSS centroid {a['oss_x_det']}, {a['oss_y_det']}" in history
    assert f"offset {float(analyzed['offset_x']):.6f}, {float(analyzed['offset_y']):.6f} px" in history
    assert "to_fits jw_star_calints.fits" in history
    assert "history" in a
    assert "to_fits" not in a["history"]


def test_to_fits_keywords_go_through_pipeline(analyzed, path, tmp_path):
    from jwst import datamodels

    to_fits(analyzed, path)
    with datamodels.open(path) as model:
        model.save(str(tmp_path / "next_calints.fits"))
    before, after = headers(path)[1], headers(tmp_path / "next_calints.fits")[1]
    for keyword in ("STARCENX", "STARCENY", "MASKCENX", "MASKCENY", "TADRA", "TADDEC", "TADROLL"):
        assert after[keyword] == before[keyword]


def with_extensions(hdus):
    """Add what real products have: a pixel map, a small table of other software, its keywords, variances."""
    ny, nx = hdus["SCI"].shape[-2:]
    hdus.append(fits.ImageHDU(np.arange(ny * nx, dtype=">f4").reshape(ny, nx), name="AREA"))
    hdus.append(fits.ImageHDU(np.ones((2, 3)), name="MASKOFFS"))
    hdus.append(fits.ImageHDU(np.ones_like(hdus["SCI"].data[:, ::2]), name="OTHER"))
    hdus["SCI"].header["STARCENX"] = 1.0
    hdus["SCI"].header["MASKCENX"] = 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as long keywords of other software are written
        hdus["SCI"].header["CROP_SHIFTX"] = 3


@pytest.fixture
def decorated(analyzed, nircam, edited):
    """The exposure as opened from a product with more in it."""
    source = edited(nircam.science[0], with_extensions, name="decorated_calints.fits")
    ds = analyzed.copy()
    ds.coords["source"] = str(source)
    return ds


@pytest.mark.parametrize("name", ["analyzed", "cropped", "recentered", "some integrations", "one integration"])
def test_to_fits_keeps_extensions_that_fit(decorated, name, path):
    ds = FORMS[name](decorated)
    to_fits(ds, path)
    with fits.open(path, memmap=False) as hdus:
        assert hdus["MASKOFFS"].shape == (2, 3)
        assert "OTHER" in hdus
        area = np.arange(320 * 320).reshape(320, 320)
        if name == "recentered":
            assert "AREA" not in hdus
        else:
            expected = area[40:220, 21:201] if name == "cropped" else area
            np.testing.assert_array_equal(hdus["AREA"].data, expected)
        if name == "one integration":
            assert "INT_TIMES" not in hdus
        else:
            np.testing.assert_array_equal(hdus["INT_TIMES"].data["integration_number"], ds["integration"])
        header = hdus["SCI"].header
        assert header["CROP_SHIFTX"] == 3
        assert header.count("STARCENX") == header.count("MASKCENX") == 1
        assert header["STARCENX"] - 1 == pytest.approx(star_pixel(ds)[0], abs=PIXEL)


def test_to_fits_star_by_hand(nircam, decorated, path):
    """Without an analysis: no mask, no correction, and CRPIX on the star."""
    with xta.open_exposure(nircam.science[0]) as ds:
        ds.coords["source"] = decorated["source"].item()
        to_fits(ds.assign_coords(target_x=140.25, target_y=150.5), path)
    header = headers(path)[1]
    assert (header["STARCENX"], header["STARCENY"]) == (header["CRPIX1"], header["CRPIX2"]) == (141.25, 151.5)
    assert not {"MASKCENX", "MASKCENY", "TADRA", "TADDEC", "TADROLL"} & set(header)


def test_to_fits_without_dropped_variables(analyzed, path):
    to_fits(analyzed.drop_vars(["err", "dq", "var_rnoise"]), path)
    with xta.open_exposure(path) as again:
        assert set(again.data_vars) == {"sci", "var_poisson"}


def test_to_fits_of_netcdf_and_dask(analyzed, nircam, tmp_path, path):
    recentered = analyzed.ta.recenter()
    to_fits(recentered, path)
    xta.to_netcdf(recentered, tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as ds:
        to_fits(ds, tmp_path / "fresh_calints.fits")
        to_fits(ds, tmp_path / "kept_calints.fits", template=nircam.science[0])
    to_fits(xta.analyze(nircam.science[0], chunks={}).ta.recenter(), tmp_path / "dask_calints.fits")
    assert "TITLE" in headers(tmp_path / "kept_calints.fits")[0]
    assert "TITLE" not in headers(tmp_path / "fresh_calints.fits")[0]
    with xta.open_exposure(path) as first:
        for name in ("fresh", "kept", "dask"):
            with xta.open_exposure(tmp_path / f"{name}_calints.fits") as again:
                for variable in first.data_vars:
                    np.testing.assert_array_equal(again[variable], first[variable])
                assert_same_sky(again, first)


@pytest.mark.parametrize("name", FORMS)
def test_to_fits_leaves_dataset_unchanged(analyzed, path, name):
    form = FORMS[name](analyzed)
    before, encoding, attrs = form.copy(deep=True), dict(form.encoding), dict(form.attrs)
    shared = sky.the_wcs(form)
    box = shared.bounding_box
    to_fits(form, path)
    xr.testing.assert_identical(form, before)
    assert (form.encoding, form.attrs) == (encoding, attrs)
    assert sky.the_wcs(form) is shared
    assert shared.bounding_box is box


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(x0=st.integers(0, 300), y0=st.integers(0, 300), nx=st.integers(1, 60), ny=st.integers(1, 60))
def test_to_fits_any_crop_keeps_sky(analyzed, path, x0, y0, nx, ny):
    ds = analyzed.isel(x=slice(x0, x0 + nx), y=slice(y0, y0 + ny))
    to_fits(ds, path)
    with xta.open_exposure(path) as again:
        assert_same_sky(again, ds)
        np.testing.assert_array_equal(again["sci"], ds["sci"])
    header = headers(path)[1]
    assert header["STARCENX"] + x0 == pytest.approx(float(analyzed["target_x"]) + 1, abs=PIXEL)


BROKEN = {
    "no image": (lambda ds: ds.drop_vars("sci"), MissingError, "no sci"),
    "no star": (lambda ds: ds.drop_vars("target_x"), MissingError, "adjust_wcs"),
    "NaN for a star": (lambda ds: ds.assign_coords(target_x=np.nan), MissingError, "not known"),
    "no WCS": (lambda ds: ds.drop_vars("wcs"), WCSError, "has no wcs"),
    "several WCSs": (
        lambda ds: ds.assign_coords(wcs=model.text_variable("wcs", [sky.wcs_text(ds)] * 2, ("exposure",))),
        ArgumentError,
        "several exposures",
    ),
    "a stride": (lambda ds: ds.isel(x=slice(None, None, 2)), WCSError, "labels x"),
    "reversed": (lambda ds: ds.isel(y=slice(None, None, -1)), WCSError, "labels y"),
    "binned": (lambda ds: ds.coarsen(y=2, x=2).mean(), WCSError, "labels"),
    "between pixels": (lambda ds: ds.assign_coords(x=ds["x"] + 0.25), WCSError, "labels x"),
    "one column": (lambda ds: ds.isel(x=100), ProductError, "dimensions"),
    "exposures joined": (lambda ds: ds.expand_dims(exposure=2), ArgumentError, "several exposures"),
    "an error of another shape": (lambda ds: ds.assign(err=ds["err"].mean("integration")), ProductError, "err has"),
    "nothing": (lambda ds: ds.isel(integration=slice(0)), ProductError, "empty"),
    "far beyond the detector": (lambda ds: ds.ta.recenter(method="integer", size=2401), WCSError, "0.01 pixel"),
    "no header": (lambda ds: ds.drop_attrs().assign_coords(source=""), MissingError, "telescope"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_to_fits_refuses_dataset(analyzed, path, case):
    change, error, message = BROKEN[case]
    with pytest.raises(error, match=message):
        to_fits(change(analyzed), path)
    assert list(path.parent.iterdir()) == []


def test_to_fits_refuses_template_of_other_exposure(analyzed, nircam, miri, edited, tmp_path):
    def cut(source):
        target = tmp_path / "short_calints.fits"
        target.write_bytes(source.read_bytes()[:-20000])
        return target

    def other_unit(hdus):
        hdus["SCI"].header["BUNIT"] = "DN/s"

    original = nircam.science[0]
    (tmp_path / "text.fits").write_text("text")
    cases = {
        miri.science[0]: (ProductError, "DETECTOR MIRIMAGE, not NRCALONG"),
        nircam.ta[0]: (ProductError, "DATE-BEG"),
        edited(original, lambda h: h[0].header.update(VISIT_ID="09990001002")): (
            ProductError,
            "VISIT_ID 09990001002, not",
        ),
        edited(original, other_unit, name="u_calints.fits"): (ProductError, "BUNIT DN/s, not MJy/sr"),
        edited(original, lambda h: h.pop("SCI"), name="s_calints.fits"): (ProductError, "no SCI"),
        cut(original): (FileError, "cut short"),
        tmp_path / "absent.fits": (FileError, "does not exist"),
        tmp_path / "text.fits": (FileError, "cannot be read"),
    }
    before = sorted(tmp_path.iterdir())
    for template, (error, message) in cases.items():
        with pytest.raises(error, match=message):
            to_fits(analyzed, tmp_path / "a_calints.fits", template=template)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("name", ["no ASDF extension", "a broken ASDF extension"])
def test_to_fits_template_without_wcs(analyzed, nircam, edited, path, name):
    def edit(hdus):
        if name == "no ASDF extension":
            del hdus["ASDF"]
        else:
            hdus["ASDF"].data["ASDF_METADATA"][:] = 0

    with pytest.warns(XtaWarning, match="ASDF"), xta.open_exposure(edited(nircam.science[0], edit)) as template:
        to_fits(analyzed, path, template=template.encoding["source"])
    assert headers(path)[0]["TITLE"] == headers(nircam.science[0])[0]["TITLE"]
    with xta.open_exposure(path) as again:
        assert_same_sky(again, analyzed)


def test_to_fits_original_is_gone(analyzed, path, caplog):
    ds = analyzed.copy()
    ds.coords["source"] = str(path.parent / "gone_calints.fits")
    with caplog.at_level("INFO", logger="xta.io.tofits"):
        to_fits(ds, path)
    assert "gone_calints.fits does not exist" in caplog.text
    assert "TITLE" not in headers(path)[0]


def test_to_fits_refuses_to_overwrite_original(analyzed, nircam, tmp_path):
    original = nircam.science[0]
    content = original.read_bytes()
    link = tmp_path / "link_calints.fits"
    link.symlink_to(original)
    for path in (original, link):
        with pytest.raises(FileError, match="original product"):
            to_fits(analyzed, path)
        with pytest.raises(FileError, match="original product"):
            to_fits(analyzed.copy().drop_encoding(), path, template=original)
    assert original.read_bytes() == content


def test_to_fits_refuses_name(analyzed, tmp_path):
    (tmp_path / "folder.fits").mkdir()
    with pytest.raises(ArgumentError, match=r"must end in \.fits"):
        to_fits(analyzed, tmp_path / "a.nc")
    with pytest.raises(FileError, match="is a folder"):
        to_fits(analyzed, tmp_path / "folder.fits")
    with pytest.raises(FileError, match="does not exist"):
        to_fits(analyzed, tmp_path / "absent" / "a_calints.fits")


def test_to_fits_full_disk_keeps_old_file(analyzed, path):
    """A limit on the size of files makes the operating system refuse as a full disk would."""
    import resource
    import signal

    path.write_text("old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, limits[1]))
    try:
        with pytest.raises(FileError, match="disk"):
            to_fits(analyzed, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


REAL = {
    "nircam_aumic/jw01184001001_03107_00001_nrcalong_calints.fits": (150.0, 174.0),
    "miri_hd106906/jw01277019001_04101_00001_mirimage_calints.fits": (106.7 + 13, 105.2 + 7),
}


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("recentered", [False, True])
def test_to_fits_real_products(shared, path, name, recentered):
    """Made by other versions of the pipeline, coadded, aligned or cropped by other software."""
    from jwst import datamodels

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XtaWarning)  # of what other software did to these files
        ds = xta.open_exposure(shared / "real" / name)
    x, y = REAL[name]
    ds = ds.assign_coords(target_x=x, target_y=y)
    with ds:
        ds = ds.load().ta.recenter() if recentered else ds.load()
    to_fits(ds, path)
    with datamodels.open(path, strict_validation=True) as model:
        model.validate()
        assert model.meta.program.pi_name
        for name in ("ra_v1", "dec_v1", "pa_v3"):
            assert getattr(model.meta.pointing, name) == pytest.approx(ds.attrs[name], abs=1e-9)
    header = headers(path)[1]
    assert (header["STARCENX"] - 1, header["STARCENY"] - 1) == pytest.approx(star_pixel(ds), abs=PIXEL)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*IMSHIFTS", XtaWarning)  # the pixels are shifted still
        with xta.open_exposure(path) as again:
            assert_same_sky(again, ds)
            np.testing.assert_array_equal(again["sci"], ds["sci"])


def test_attach_refuses_corrected_file(nircam, tmp_path):
    ds = xta.analyze(nircam.science[0])
    path = tmp_path / nircam.science[0].name
    ds.ta.to_fits(path)
    again = xta.open_exposure(path)
    for name in ("target_x", "target_y", "mask_x", "mask_y"):
        assert float(again[name]) == pytest.approx(float(ds[name]), abs=1e-9)
    assert again.ta.recenter()["star_x"].item() == pytest.approx(ds["target_x"].item(), abs=1e-9)
    with pytest.raises(WCSError, match="already been corrected"):
        xta.analyze(path, acquisition=nircam.ta, oss=nircam.oss_log)
