"""Independent estimates of the star's position, against the truth of sample visits and against wrong input."""

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits

import xta
from xta import datasets
from xta.datasets import modes, optics, pixels
from xta.errors import ArgumentError, FileError, MissingError, ProductError, XtaWarning
from xta.estimates.table import METHODS, estimates
from xta.estimates.template import estimate_center, read_template
from xta.geometry import siaf

# How far each estimate may be from the truth [pixel]. The maneuvers are good to the 4 mas to which a sample
# visit's star settles before its acquisition, times three.
NEAR = {"oss": 1e-4, "image": 0.01, "gaussian": 0.03, "sam": 0.19, "guide star": 2e-3, "template": 0.01}
MADE_WITH = "PRDOPSSOC-063"


def model_of(mode, *, size=101, x=None, y=None):
    """The star behind the mask as the sample telescope sees it, without the drift of any visit."""
    setup = datasets.SETUPS[mode]
    camera = pixels._camera(siaf.aperture(setup.instrument, setup.aperture, MADE_WITH), modes.WAVELENGTHS[setup.filter])
    opd = optics.wavefront(0, rms=60.0)
    image = optics.suppressed_source(camera, mask=setup.mask, mask_size=setup.mask_size, opd=opd)
    middle = (size - 1) / 2
    return optics.place(image, camera, x=middle if x is None else x, y=middle if y is None else y, shape=(size, size))


def with_guide_star(ds, visit, path):
    """Add what the headers say of the guide star."""
    ta = [fits.getheader(one) for one in visit.ta]
    here = fits.getheader(path)
    coords = {f"ta_guide_star_{k.lower()}": ("ta_exposure", [h[f"GSIDL_{k}"] for h in ta]) for k in "XY"}
    return ds.assign_coords(coords).assign_coords(guide_star_x=here["GSIDL_X"], guide_star_y=here["GSIDL_Y"])


def analyzed(visit, centroid="oss"):
    path = visit.science[0]
    ds = xta.analyze(
        path, acquisition=list(visit.ta), oss=visit.oss_log, offline=True, centroid=centroid, corrections="none"
    ).load()
    return with_guide_star(ds, visit, path), visit.truth.sel(file=path.name)


@pytest.fixture(scope="module")
def model():
    return model_of("NRCA5_MASK335R")


@pytest.fixture(scope="module")
def science(nircam):
    return analyzed(nircam)


@pytest.fixture(scope="module")
def table(science, model):
    return estimates(science[0], template=model)


def row(table, name):
    """One estimate as plain values."""
    return {key: value.item() for key, value in table.sel(estimate=name).data_vars.items()}


def assert_near(table, truth, names=METHODS):
    for name in names:
        one = table.sel(estimate=name)
        assert abs(one["x"] - truth["star_x"]) < NEAR[name], name
        assert abs(one["y"] - truth["star_y"]) < NEAR[name], name
        assert one["agrees"] == 1, name
        assert one["x_sigma"] > 0, name


def test_estimates_near_truth_nircam(table, science):
    assert list(table["estimate"].values) == list(METHODS)
    assert_near(table, science[1])
    assert table["dx"].sel(estimate="oss") == pytest.approx(0, abs=1e-7)
    np.testing.assert_allclose(table["dx"], table["x"] - table.attrs["adopted_x"])
    assert "from the reference point" in row(table, "sam")["why"]
    assert "SIAF onboard PRDOPSSOC-063" in row(table, "sam")["why"]


def test_estimates_near_truth_miri(miri):
    ds, truth = analyzed(miri)
    assert_near(estimates(ds, template=model_of("MIRIM_MASK1140")), truth)


@pytest.mark.parametrize(
    "options",
    [{"ta_dithers": True, "guider": 2, "seed": 3}, {"mode": "NRCA2_MASK210R"}, {"prd": "PRDOPSSOC-075", "seed": 1}],
    ids=str,
)
def test_estimates_near_truth_other_visits(tmp_path, options):
    """Dithered acquisition, short channel (twice the pixels an arcsec), the SIAF whose inverse is off by 0.45 px."""
    visit = datasets.make_visit(tmp_path, integrations=1, **options, ideal=True)
    ds, truth = analyzed(visit)
    names = ("oss", "image", "gaussian", "guide star")
    table = estimates(ds)
    assert_near(table, truth, names)
    scale = 2 if "mode" in options else 1
    assert abs(table["x"].sel(estimate="sam") - truth["star_x"]) < scale * NEAR["sam"]
    assert abs(table["y"].sel(estimate="sam") - truth["star_y"]) < scale * NEAR["sam"]


def test_estimates_to_netcdf_and_back(table, tmp_path):
    table.to_netcdf(tmp_path / "table.nc")
    with xr.open_dataset(tmp_path / "table.nc") as back:
        xr.testing.assert_equal(back.load(), table)
    assert all("long_name" in table[name].attrs for name in table.variables)
    assert table["x_sigma"].attrs["units"] == "pixel"


def test_estimates_leave_input(science, model):
    ds = science[0]
    before, template = ds.copy(deep=True), model.copy()
    first, second = estimates(ds, template=model), estimates(ds, template=model)
    xr.testing.assert_identical(first, second)
    xr.testing.assert_identical(ds, before)
    np.testing.assert_array_equal(model, template)


def test_estimates_give_reason_where_not_possible(science):
    ds = science[0].drop_vars(["ta_guide_star_x", "ta_sci"])
    ds.coords["source"] = ""
    ds = ds.assign_coords(oss_log="", oss_status="FAILED: cloudy")
    table = estimates(ds)
    assert (table["agrees"] == -1).all()
    assert table["x"].isnull().all()
    reasons = {name: row(table, name)["why"] for name in METHODS}
    assert "FAILED: cloudy" in reasons["oss"]
    assert "ta_sci" in reasons["image"]
    assert "ta_sci" in reasons["gaussian"]
    assert "no event log" in reasons["sam"]
    assert "GSIDL_X" in reasons["guide star"]
    assert "no model image" in reasons["template"]


def test_estimates_of_failed_acquisition(tmp_path, model):
    visit = datasets.make_visit(tmp_path, integrations=1, failed_ta=True, ideal=True)
    with pytest.warns(XtaWarning, match="no onboard centroid"):
        ds, truth = analyzed(visit, centroid="auto")
    table = estimates(ds, template=model)
    assert_near(table, truth, ("image", "gaussian", "template"))
    assert abs(table["x"].sel(estimate="guide star") - truth["star_x"]) < NEAR["image"]
    assert "target locate failed" in row(table, "sam")["why"]
    assert "target locate failed" in row(table, "oss")["why"]


def test_sam_from_kept_log_lines_single_acquisition(science, table):
    ds = science[0].copy()
    ds.coords["source"] = ""
    alone = estimates(ds)
    for name in ("x", "y"):
        assert alone[name].sel(estimate="sam") == pytest.approx(float(table[name].sel(estimate="sam")), abs=1e-9)


def test_sam_refuses_kept_log_lines_dithered_acquisition(tmp_path):
    ds, _ = analyzed(datasets.make_visit(tmp_path, integrations=1, ta_dithers=True, ideal=True))
    ds.coords["source"] = ""
    one = row(estimates(ds), "sam")
    assert one["agrees"] == -1
    assert "0 dither SAMs before the TA SAM for 3 TA exposures" in one["why"]


def test_sam_differs_by_log_of_other_pointing(science, tmp_path):
    other = datasets.make_visit(tmp_path, integrations=1, pointing_error=(-0.2, 0.1, 0.0), ideal=True)
    one = row(estimates(science[0], oss=other.oss_log), "sam")
    assert one["agrees"] == 0
    assert one["why"].startswith("does not agree")


def test_sam_refuses_log_of_other_visit(science, miri, tmp_path):
    other = datasets.make_visit(tmp_path, integrations=1, visit_id="09990007001", ideal=True)
    one = row(estimates(science[0], oss=other.oss_log), "sam")
    assert one["agrees"] == -1
    assert "V09990001001 is not in the event log" in one["why"]


@pytest.mark.parametrize(("value", "agrees"), [(1.0, 0), (np.nan, -1), (-999.0, -1)])
def test_guide_star_elsewhere(science, value, agrees):
    ds = science[0]
    ds = ds.assign_coords(guide_star_x=ds.attrs["guide_star_x"] + value)
    assert row(estimates(ds), "guide star")["agrees"] == agrees


def test_estimates_outvote_wrong_centroid(science, model):
    """By hand 1.5 px off: what does not rest on the centroid says so."""
    ds = science[0]
    x, y = float(ds["centroid_x"]) + 1.5, float(ds["centroid_y"])
    ds = ds.ta.compute_offset(centroid=(x, y)).ta.adjust_wcs(corrections="none")
    table = estimates(ds, template=model)
    assert (table["agrees"].sel(estimate=["oss", "image", "gaussian", "sam", "template"]) == 0).all()


def test_image_names_hot_and_saturated_pixels(science):
    ds = science[0].copy(deep=True)
    x, y = (round(float(ds[f"centroid_{dim}"])) for dim in "xy")
    ds["ta_dq"].values[0, y, x] |= 2
    ds["ta_sci"].values[0, y + 4, x - 3] = 0.3 * np.nanmax(ds["ta_sci"].values[0, y - 4 : y + 5, x - 4 : x + 5])
    ds["ta_dq"].values[0, y - 3, x + 2] |= 1
    why = row(estimates(ds), "image")["why"]
    assert f"pixel ({x - 3}, {y + 4}) of the TA image looks hot" in why
    assert "1 saturated pixel" in why
    assert "1 bad pixel" in why


def test_image_clean_star_is_not_hot(table):
    assert "hot" not in row(table, "image")["why"]


def test_estimates_name_step_to_do_first(nircam, science):
    with pytest.raises(MissingError, match=r"ds\.ta\.adjust_wcs\(\)"):
        estimates(xta.open_exposure(nircam.science[0]))
    with pytest.raises(MissingError, match="recentered"):
        estimates(science[0].assign_coords(star_x=1.0))


class Telescope:
    """Stands where an instrument of STPSF would: calc_psf gives an HDUList."""

    def __init__(self, image):
        self.image = image

    def calc_psf(self):
        coarse = np.zeros((3, 3))
        hdus = [fits.PrimaryHDU(coarse), fits.ImageHDU(coarse, name="DET_SAMP")]
        return fits.HDUList([*hdus, fits.ImageHDU(self.image, name="DET_DIST")])


@pytest.mark.parametrize("form", ["array", "file", "path", "hdus", "product", "instrument", "cube"])
def test_estimate_center_takes_every_form_of_model(science, model, tmp_path, form):
    ds, truth = science
    path = tmp_path / "model.fits"
    fits.PrimaryHDU(model).writeto(path)
    forms = {
        "array": lambda: model,
        "file": lambda: str(path),
        "path": lambda: path,
        "hdus": lambda: Telescope(model).calc_psf(),
        "product": lambda: fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.stack([model, model]), name="SCI")]),
        "instrument": lambda: Telescope(model),
        "cube": lambda: np.stack([model, model]),
    }
    found = estimate_center(ds, template=forms[form]())
    assert abs(found["x"] - truth["star_x"]) < NEAR["template"]
    assert abs(found["y"] - truth["star_y"]) < NEAR["template"]
    assert found["correlation"] > 0.999
    assert 0 < found["x_sigma"] < 1e-3


def test_read_template_leaves_out_bad_pixels_of_product(nircam):
    """Hot pixels are in the same place in exposure and product: as speckles they would say that nothing moved."""
    with fits.open(nircam.science[0]) as hdus:
        hdus["DQ"].data[0, 150, 160:170] |= 1  # bad in one integration
        bad = hdus["DQ"].data & 1 != 0
        assert bad.any(axis=0).sum() > bad.all(axis=0).sum() > 0
        image = read_template(hdus)
        assert (np.isnan(image) == bad.all(axis=0)).all()
        good = np.ma.masked_array(hdus["SCI"].data, bad).mean(axis=0)
    assert image[~good.mask] == pytest.approx(good.compressed(), rel=1e-5)


def test_estimate_center_of_crop_with_off_center_model(science):
    """A crop keeps its labels; the star may be anywhere in the model."""
    ds, truth = science
    cut = ds.isel(x=slice(40, 260), y=slice(60, 290))
    found = estimate_center(cut, template=model_of("NRCA5_MASK335R", size=90, x=40.25, y=47.5), center=(40.25, 47.5))
    assert abs(found["x"] - truth["star_x"]) < NEAR["template"]
    assert abs(found["y"] - truth["star_y"]) < NEAR["template"]


def test_estimate_center_with_holes_in_image(science, model):
    ds, truth = science
    ds = ds.copy(deep=True)
    x, y = round(float(truth["star_x"])), round(float(truth["star_y"]))
    ds["sci"].values[0, y - 6 : y + 2, x + 3] = np.nan
    ds["dq"].values[:, y + 5, x - 9 : x + 9] |= 1
    ds["sci"].values[:, y + 5, x - 9 : x + 9] = 1e6
    found = estimate_center(ds, template=model)
    assert abs(found["x"] - truth["star_x"]) < NEAR["template"]
    assert abs(found["y"] - truth["star_y"]) < NEAR["template"]


def test_estimate_center_refuses_bad_models(science, tmp_path):
    ds = science[0]
    with pytest.raises(FileError, match=r"nothing\.fits cannot be read"):
        estimate_center(ds, template=tmp_path / "nothing.fits")
    with pytest.raises(ProductError, match="no image"):
        read_template(fits.HDUList([fits.PrimaryHDU()]))
    for nonsense in ("", 3, None, np.ones(5), [["a", "b"]]):
        with pytest.raises((ArgumentError, FileError)):
            read_template(nonsense)
    with pytest.raises(ArgumentError, match="not successive pixels"):
        estimate_center(ds.isel(x=slice(None, None, 2)), template=np.ones((5, 5)))
    with pytest.raises(MissingError, match="sci"):
        estimate_center(ds.drop_vars("sci"), template=np.ones((5, 5)))


def test_estimates_of_file_opened_in_chunks(nircam, tmp_path):
    ds = xta.analyze(nircam.science[0], centroid="oss", corrections="none")
    xta.to_netcdf(ds, tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc", chunks={}) as lazy:
        for name in ("x", "y", "agrees"):
            xr.testing.assert_equal(lazy.ta.estimates()[name], ds.ta.estimates()[name])
        again = lazy.ta.compute_offset(centroid="oss").ta.adjust_wcs(corrections="none")
        for name in ("target_x_err", "check_reason"):
            xr.testing.assert_equal(again[name].variable.compute(), ds[name].variable)
