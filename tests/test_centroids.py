"""The three centroids of a star in the TA image: each with an honest error, and the best one in use."""

import numpy as np
import pytest
import xarray as xr

import xta
from xta import datasets, osslog
from xta.acquisition import centroids, instrument
from xta.acquisition.centroids import StarCentroid
from xta.datasets.optics import Camera, place, point_source
from xta.errors import AcquisitionError, CentroidError
from xta.images.centroid import floating_window


@pytest.fixture(scope="module")
def attached(nircam):
    return xta.open_exposure(nircam.science[0]).ta.attach()


def lobed_star(x, y, size=64):
    """Draw a star with two side lobes of a third of its core, as a Lyot stop makes them."""
    camera = Camera(3.35, 0.063, 128)
    star = point_source(camera)
    lobes = ((0.0, 1.0), (-3.5, 0.33), (3.5, 0.33))
    return 1e4 * sum(flux * place(star, camera, x=x + dx, y=y, shape=(size, size)) for dx, flux in lobes)


def stopped_early(ds, x, y, *, threshold=0.1, window=9):
    """Put an image into an attached dataset, and the onboard centroid of a window that stopped early."""
    image = lobed_star(x, y)
    box = floating_window(image, window=window, threshold=threshold)
    ds = ds.assign(ta_sci=ds["ta_sci"].copy(data=image[None]), ta_dq=xr.zeros_like(ds["ta_dq"]))
    facts = {"window_x": window, "window_y": window, "step_x": abs(box.x_step), "step_y": abs(box.y_step)}
    # Det x of NRCA5 runs against x of the readout, Det y along it.
    facts |= {"moved_x": box.x_start - box.x, "moved_y": box.y - box.y_start}
    named = {f"ta_oss_{name}": xr.full_like(ds[f"ta_oss_{name}"], value) for name, value in facts.items()}
    return ds.assign_coords(named).assign_coords(oss_x=box.x, oss_y=box.y), box


@pytest.mark.parametrize("x", [31.1, 31.3, 31.45, 31.55, 31.7, 31.9])
def test_converged_is_the_fixed_point_of_the_onboard_window(attached, x):
    ds, box = stopped_early(attached, x, 31.3)
    fixed = floating_window(lobed_star(x, 31.3), window=9)
    found = centroids.measure(ds)["converged"]
    assert abs(found.x - fixed.x) < 0.3 * abs(box.x - fixed.x) + 1e-3
    assert abs(found.y - fixed.y) < 0.3 * abs(box.y - fixed.y) + 1e-3
    assert found.x_err < centroids.measure(ds)["oss"].x_err


def test_early_stop_is_as_large_as_published(attached):
    """A 9 px window with a threshold of 0.1 px stops up to about 0.1 px early on a star with side lobes."""
    left = []
    for x in np.arange(31.0, 32.0, 0.1):
        _, box = stopped_early(attached, x, 31.3)
        left.append(abs(box.x - floating_window(lobed_star(x, 31.3), window=9).x))
    assert 0.02 < max(left) < 0.2


def test_measure_logged_step_has_no_sign():
    """Real logs of NIRCam and MIRI: steps are positive where the centroid moved from the peak to smaller pixels."""
    visit = """2024-02-29 04:11:13.63 TARGET LOCATE SUMMARY:
2024-02-29 04:14:49.70 last iteration diff (col, row)          = (0.0463069045, 0.0249315729)
2024-02-29 04:14:50.72 postage-stamp coord (colPeak, rowPeak) = (34, 37)
2024-02-29 04:14:51.74 postage-stamp coord (colCentroid, rowCentroid) = (34.3987708, 36.7612627)
2024-02-29 04:14:52.77 detector coord (colCentroid, rowCentroid)       = (1589.39877, 1414.76126)
2024-02-29 04:14:55.84 (convergenceFlag, convergenceThres)        = (SUCCESS, 0.1000000000)
"""
    (block,) = osslog.read(visit).centroids()
    assert (block.last_dx, block.last_dy) == (0.0463069045, 0.0249315729)
    assert (block.moved_x, block.moved_y) == pytest.approx((0.3987708, -0.2387373))


def test_measure_floors_are_those_of_the_table(attached, miri):
    """NIRCam coronagraphy 0.15 px on board and 0.07 px in the image, MIRI 0.05 px on board."""
    found = centroids.measure(attached)
    assert found["oss"].x_err == pytest.approx(0.15, abs=0.01)
    assert found["image"].x_err == pytest.approx(0.07, abs=0.01)
    found = centroids.measure(xta.open_exposure(miri.science[0]).ta.attach())
    assert found["oss"].x_err == pytest.approx(0.05, abs=0.01)


def test_auto_takes_smallest_error(attached, miri):
    assert attached.ta.compute_offset()["centroid_kind"] == "image"
    assert xta.open_exposure(miri.science[0]).ta.attach().ta.compute_offset()["centroid_kind"] == "oss"


def test_auto_takes_onboard_where_the_image_is_flagged(attached):
    star = centroids.measure(attached)["image"]
    dq = attached["ta_dq"].copy(deep=True)
    dq[0, round(star.y), round(star.x) + 2] |= 2
    ds = attached.assign(ta_dq=dq).ta.compute_offset()
    assert ds["centroid_kind"].item() in {"oss", "converged"}
    assert ds["check_passed"].sel(check="no bad pixels near star") == 0


def test_auto_does_not_believe_another_star(attached):
    """A second star, brighter, ten pixels away: the onboard centroid says which one it was."""
    star = centroids.measure(attached)["image"]
    other = 5 * lobed_star(star.x + 10, star.y)
    ds = attached.assign(ta_sci=attached["ta_sci"] + other).ta.compute_offset()
    assert ds["centroid_kind"].item() in {"oss", "converged"}
    assert ds["centroid_x"] == pytest.approx(star.x, abs=0.01)
    assert ds["check_passed"].sel(check="centroid matches TA image") == 0
    assert abs(ds["centroid_difference_x"]) > 5


def test_auto_without_image_takes_off_the_known_bias(attached):
    """Ground minus onboard in three published visits: (0.24, 0.10), (0.21, 0.07), (0.23, 0.02) px."""
    dark = attached.assign(ta_sci=xr.zeros_like(attached["ta_sci"]))
    ds = dark.ta.compute_offset()
    assert ds["centroid_kind"] == "unbiased"
    moved = ds["centroid_x"] - ds["oss_x"], ds["centroid_y"] - ds["oss_y"]
    assert moved == pytest.approx(np.mean([(0.24, 0.10), (0.21, 0.07), (0.23, 0.02)], axis=0), abs=1e-3)
    assert dark.ta.compute_offset(centroid="oss")["centroid_x"] == ds["oss_x"]


def test_auto_of_miri_without_image_takes_onboard(miri):
    ds = xta.open_exposure(miri.science[0]).ta.attach()
    dark = ds.assign(ta_sci=xr.zeros_like(ds["ta_sci"])).ta.compute_offset()
    assert dark["centroid_kind"] == "oss"


def test_difference_is_in_pixels_and_errors(attached):
    moved = attached.assign_coords(oss_x=attached["oss_x"] - 0.3).ta.compute_offset()
    found = centroids.measure(moved)
    assert moved["centroid_difference_x"] == pytest.approx(found["oss"].x - found["image"].x)
    error = np.hypot(found["oss"].x_err, found["image"].x_err)
    assert moved["centroid_difference_sigma_x"] == pytest.approx(moved["centroid_difference_x"] / error)
    assert "onboard centroid − image [px]" in xta.summary.as_table(moved)
    assert "onboard − image" in moved.ta._repr_html_()
    assert xta.summary.as_dict(moved)["centroid_difference_x"] == pytest.approx(-0.3, abs=0.05)


def test_compute_offset_refuses_converged_without_log(tmp_path):
    visit = datasets.make_visit(tmp_path, integrations=1, failed_ta=True, ideal=True)
    ds = xta.open_exposure(visit.science[0]).ta.attach()
    with pytest.raises(AcquisitionError, match="'converged' cannot be computed"):
        ds.ta.compute_offset(centroid="converged")
    dark = ds.assign(ta_sci=xr.zeros_like(ds["ta_sci"]))
    with pytest.raises(CentroidError, match="no star stands out"):
        dark.ta.compute_offset()


def test_tables_of_ones_own_decide_too(attached, tmp_path):
    head = "quantity,instrument,mode,x,y,unit,source\n"
    (tmp_path / "own.csv").write_text(f"{head}centroid_oss,NIRCAM,coronagraphic,0.01,0.01,pixel,a test\n")
    tables = instrument.read_tables(accuracies=tmp_path / "own.csv")
    ds = attached.ta.compute_offset(tables=tables)
    assert ds["centroid_kind"] == "oss"
    adjusted = ds.ta.adjust_wcs(tables=tables)
    assert adjusted["target_x_err_part"].sel(error_part="centroid") < 0.03


def test_best_takes_the_first_of_equal_ones():
    near, far = StarCentroid(1, 1, 0.05, 0.05, ""), StarCentroid(1, 1, 0.0501, 0.05, "")
    assert centroids.best({"oss": far, "converged": near}) == "oss"
    worse = StarCentroid(1, 1, 0.06, 0.05, "")
    assert centroids.best({"oss": worse, "converged": near}) == "converged"
    unfit = StarCentroid(1, 1, 0.01, 0.01, "", unfit="1 saturated pixel")
    assert centroids.best({"oss": worse, "image": unfit}) == "oss"
    assert centroids.best({"image": unfit}) == "image"
