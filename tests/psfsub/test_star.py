"""The star's error in the mean of several exposures, and what they have in common."""

import numpy as np
import pytest

import xta
from xta.acquisition import budget
from xta.psfsub import north, star


@pytest.fixture(scope="module")
def cube(nircam):
    return xta.analyze(nircam.science[0], offline=True).load().isel(integration=[0]).ta.recenter(size=41)


def with_errors(ds, visit="09990001001", **parts):
    """Give an exposure these parts of the star's error: (x, y, correlation) [pixel]."""
    bare = ds.drop_vars([name for name, variable in ds.variables.items() if "error_part" in variable.dims])
    made = {name: budget.Part(x, y, "test", corr) for name, (x, y, corr) in parts.items()}
    return bare.assign_coords(budget.coordinates(made, scale=north.pixel_scale(ds)) | {"visit_id": visit})


@pytest.mark.parametrize(
    ("part", "visit", "factor"),
    [
        ("guiding", "09990001001", 0.75),  # half in the acquisition of the visit, half in each exposure
        ("guiding", "09990001002", 0.5),
        ("inverse", "09990001001", 0.5),  # of each exposure
        ("maneuver", "09990001001", 1.0),  # of a visit
        ("maneuver", "09990001002", 0.5),
        ("way", "09990001002", 1.0),  # of the instrument
    ],
)
def test_covariance_common_parts_do_not_average(cube, part, visit, factor):
    one, other = (
        with_errors(cube, name, **{part: (0.1, 0.2, 0.3)}).assign_coords(filename=f"{number}.fits")
        for number, name in enumerate(("09990001001", visit))
    )
    single = star.covariance([one], [1])
    jacobian = north._jacobian(cube)
    np.testing.assert_allclose(single, jacobian @ [[0.01, 0.006], [0.006, 0.04]] @ jacobian.T, rtol=1e-9)
    np.testing.assert_allclose(star.covariance([one, other], [4, 4]), factor * single, rtol=1e-9)


def test_covariance_total_of_another_source(cube):
    ds = with_errors(cube, way=(0.1, 0.1, 0.0)).assign_coords(target_x_err=0.01, target_y_err=0.01)
    scale = north.pixel_scale(cube)
    np.testing.assert_allclose(np.sqrt(np.diag(star.covariance([ds], [1]))), 0.01 * scale, rtol=0.02)
    assert np.isnan(star.covariance([ds, ds.assign_coords(target_x_err=np.nan)], [1, 1])).all()
    assert star.errors([ds.drop_vars("target_x_err")], [1], scale) == {}


def test_errors_axes_of_the_grid(cube):
    east, up = 0.003, 0.001
    turned = np.linalg.inv(north._jacobian(cube))
    pixels = turned @ [[east**2, 0.5 * east * up], [0.5 * east * up, up**2]] @ turned.T
    x, y = np.sqrt(np.diag(pixels))
    found = star.errors([with_errors(cube, way=(x, y, pixels[0, 1] / (x * y)))], [1], 0.05)
    np.testing.assert_allclose(list(found.values()), [east / 0.05, up / 0.05, -0.5], rtol=1e-6)


def test_common_identity_of_what_agrees(cube):
    other = cube.assign_coords(visit_id="09990001002", filter=cube["filter"])
    found = star.common_identity([cube, other])
    assert "visit_id" not in found
    assert str(found["filter"].values) == str(cube["filter"].values)
    assert "visit_id" in star.common_identity([cube])
    assert "filename" not in star.common_identity([cube])
