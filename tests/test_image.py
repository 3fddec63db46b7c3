"""Select a TA exposure, and look at the star in its image."""

import numpy as np
import pytest

import xta
from xta.acquisition.image import cutout, image_centroid, in_use, pixel_flags, search_region
from xta.errors import MissingError
from xta.images.centroid import ImageCentroid


@pytest.fixture(scope="module")
def attached(miri):
    ds = xta.open_exposure(miri.science[0]).ta.attach()
    assert ds.attrs["ta_in_use"] == 1
    return ds


SELECTIONS = {
    "list": {"ta_exposure": [1, 2]},
    "reversed": {"ta_exposure": slice(None, None, -1)},
    "twice": {"ta_exposure": [0, 1, 1]},
    "scalar": {"ta_exposure": 1},
}


@pytest.mark.parametrize("case", SELECTIONS)
def test_in_use_selects_by_label(attached, case):
    selected = in_use(attached.isel(SELECTIONS[case]))
    assert selected["ta_filename"].item() == attached["ta_filename"].values[1]
    assert selected["ta_sci"].dims == ("ta_y", "ta_x")


@pytest.mark.parametrize("exposure", [1, 2])
def test_in_use_selects_other_exposure(attached, exposure):
    selected = in_use(attached.isel(ta_exposure=[2, 1]), exposure)
    assert selected["ta_filename"].item() == attached["ta_filename"].values[exposure]


MISSING = {
    "empty": {"ta_exposure": []},
    "others": {"ta_exposure": [0, 2]},
    "scalar of another": {"ta_exposure": 0},
}


@pytest.mark.parametrize("case", MISSING)
def test_in_use_refuses_selection_without_it(attached, case):
    with pytest.raises(MissingError, match="dropped"):
        in_use(attached.isel(MISSING[case]))


@pytest.mark.parametrize("exposure", [-1, 7, 0.5, "x"])
def test_in_use_refuses_unknown_exposure(attached, exposure):
    with pytest.raises(MissingError, match=str(exposure)):
        in_use(attached, exposure)


def test_in_use_refuses_dataset_without_acquisition(attached, miri):
    for ds in (xta.open_exposure(miri.science[0]), attached.isel(ta_exposure=1, drop=True)):
        with pytest.raises(MissingError, match="attach"):
            in_use(ds)


def test_in_use_needs_no_attributes(attached):
    assert in_use(attached.drop_attrs())["ta_exposure"] == in_use(attached)["ta_exposure"]


@pytest.mark.parametrize(("exposure", "aperture", "width"), [(0, None, 48), (1, None, 16), (1, "MIRIM_FULL", 128)])
def test_search_region_is_of_aperture_around_intended_position(attached, exposure, aperture, width):
    """The outer TA regions of MIRI have 48 x 48 pixels, the inner ones 16 x 16; of a whole array 128 are searched."""
    ds = attached if aperture is None else attached.assign_coords(ta_aperture=("ta_exposure", [aperture] * 3))
    for axis, region in zip(("y", "x"), search_region(ds, exposure), strict=True):
        labels, center = ds[f"ta_{axis}"].values, float(ds[f"ta_intended_{axis}"][exposure])
        assert labels[region].tolist() == [n for n in labels if center - width / 2 <= n <= center + width / 2]
        assert width <= labels[region].size <= width + 1


def test_cutout_is_window_around_place(attached):
    exposure = in_use(attached)
    window = cutout(exposure, "ta_sci", 100.2, 60.0)
    assert window["ta_x"].values.tolist() == list(range(96, 105))
    assert window["ta_y"].values.tolist() == list(range(56, 65))
    np.testing.assert_array_equal(window, exposure["ta_sci"].sel(ta_y=slice(56, 64), ta_x=slice(96, 104)))
    assert cutout(exposure.drop_vars("ta_err"), "ta_err", 100.2, 60.0) is None


@pytest.mark.parametrize(
    ("light", "beside", "peak", "hot"),
    [(50, 12, 100, True), (50, 13, 100, False), (10.5, 0, 100, True), (9.5, 0, 100, False), (3, 0, 20, True)],
)
@pytest.mark.parametrize("flagged", [False, True])
def test_pixel_flags_names_hot_pixel(attached, light, beside, peak, hot, flagged):
    """One of more than 4 times its brightest good neighbor and a tenth of the peak; a star lights its neighbors."""
    exposure = in_use(attached)
    image, dq = np.full(exposure["ta_sci"].shape, 7.0), np.zeros(exposure["ta_sci"].shape, dtype=np.uint32)
    image[61, 105:107] += light, beside  # outside the window
    image[62, 97:99] += light, beside
    if flagged:
        image[63, 97], dq[63, 97] = 1e5, 1
    ds = exposure.assign(ta_sci=(("ta_y", "ta_x"), image), ta_dq=(("ta_y", "ta_x"), dq))
    flags = pixel_flags(ds, ImageCentroid(100.2, 60.0, 0.01, 0.01, peak=peak, background=7.0))
    expected = ["1 bad pixel in the window"] if flagged else []
    assert flags == expected + (["pixel (97, 62) of the TA image looks hot"] if hot else [])


def test_image_centroid_is_in_pixels_of_readout(attached):
    """A crop leaves the labels, and so the centroid, as they are."""
    whole, part = image_centroid(attached), image_centroid(attached.isel(ta_x=slice(100, None), ta_y=slice(90, None)))
    assert (part.x, part.y) == pytest.approx((whole.x, whole.y), abs=1e-9)
    assert (whole.x, whole.y) == pytest.approx((attached.attrs["oss_x"], attached.attrs["oss_y"]), abs=0.1)


def test_search_region_without_intended_position_is_whole_image(attached):
    assert search_region(attached.assign_coords(ta_intended_x=("ta_exposure", [np.nan] * 3))) == (slice(None),) * 2
