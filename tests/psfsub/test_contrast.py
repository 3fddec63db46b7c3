"""The contrast curve: pyKLIP's, calibrated by injections that are recovered; and its picture."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from pyklip.klip import meas_contrast

from xta import plot
from xta.errors import ArgumentError, KlipError, MissingError
from xta.psfsub import contrast, klip


@pytest.fixture(scope="module")
def image(small):
    return klip(small.rolls, reference=small.reference, numbasis=2)


@pytest.fixture(scope="module")
def curve(small, image):
    star_flux = xr.Dataset({"star_flux": 2.0, "star_flux_err": 0.5})  # as it is measured in an acquisition
    return image.ta.contrast(science=small.rolls, reference=small.reference, psf=small.psf, star_flux=star_flux)


def test_contrast_limit_is_that_of_pyklip(image, curve):
    pixel = image.attrs["pixel_scale"]
    element = image.attrs["fwhm"] / pixel
    radius, theirs = meas_contrast(image["klip"].values[0].astype(float), 0, 20, element)
    ours = np.interp(radius, curve["radius"] / pixel, curve["limit"])
    np.testing.assert_allclose(ours[2:-1], theirs[2:-1], rtol=0.05)


def test_contrast_is_what_a_companion_of_that_flux_gives(small, image, curve, with_sources):
    at = float(curve["radius"][9])
    flux = float(curve["flux_limit"][9])
    found = []
    for angle in (25.0, 115.0, 205.0, 295.0):
        rolls = with_sources((at, angle, 3 * flux))
        snr = klip(rolls, reference=small.reference, numbasis=2).ta.snr()["snr"]
        x, y = -at * np.sin(np.deg2rad(angle)), at * np.cos(np.deg2rad(angle))
        near = np.hypot(snr["x"] * image.attrs["pixel_scale"] - x, snr["y"] * image.attrs["pixel_scale"] - y) < 0.1
        found.append(float(snr.where(near).max()))
    assert 0.7 < np.mean(found) / 15 < 1.3


def test_contrast_columns_follow_from_each_other(image, curve):
    steradian = np.deg2rad(image.attrs["pixel_scale"] / 3600) ** 2
    np.testing.assert_allclose(curve["flux_limit_jy"], curve["flux_limit"] * 1e6 * steradian)
    np.testing.assert_allclose(curve["contrast"], curve["flux_limit_jy"] / 2)
    assert (curve.attrs["star_flux"], curve.attrs["star_flux_err"]) == (2.0, 0.5)
    np.testing.assert_allclose(curve["delta_mag"], -2.5 * np.log10(curve["contrast"]))
    outer = curve["throughput"].sel(radius=slice(0.7, 1.0))
    assert 0.7 < float(outer.mean()) < 1.05
    assert float(curve["throughput"][1]) < float(outer.mean())


def test_contrast_by_magnitude_and_transmission(small, image, curve):
    options = {"science": small.rolls, "reference": small.reference, "psf": small.psf}
    dimmed = contrast(image, star_flux=(5.0, 200.0), transmission=np.full((41, 41), 0.5), **options)
    np.testing.assert_allclose(dimmed["limit"], curve["limit"])
    good = np.isfinite(dimmed["contrast"].values)
    np.testing.assert_allclose(dimmed["contrast"][good], 2 * curve["contrast"][good], rtol=0.1)
    np.testing.assert_allclose(dimmed["throughput"][good], 0.5 * curve["throughput"][good], rtol=0.1)


def test_contrast_takes_companions_out(small, with_sources, curve):
    rolls = with_sources((0.8, 30.0, 8.0))
    image = klip(rolls, reference=small.reference, numbasis=2)
    options = {"science": rolls, "reference": small.reference, "psf": small.psf}
    table = image.ta.companions(**options)
    ring = {"radius": slice(0.7, 0.9)}
    without, with_it = (contrast(image, companions=c, **options)["flux_limit"].sel(ring).mean() for c in (table, None))
    assert float(with_it) > 1.5 * float(without)
    np.testing.assert_allclose(without, curve["flux_limit"].sel(ring).mean(), rtol=0.1)


def test_contrast_refuses_bad_arguments(small, image):
    options = {"science": small.rolls, "reference": small.reference, "psf": small.psf}
    for change in ({"star_flux": -1.0}, {"star_flux": (1.0, 2.0, 3.0)}, {"sigma": 0.0}):
        with pytest.raises(ArgumentError, match="give"):
            contrast(image, **options | change)
    with pytest.raises(KlipError, match="reference"):
        contrast(image, **options | {"reference": None})
    with pytest.raises(MissingError, match="klip"):
        contrast(small.rolls[0], **options)


def test_plot_contrast_axes(curve):
    ax = Figure().subplots()
    line = plot.contrast(curve, ax=ax, distance=10.0)
    assert line.axes is ax
    np.testing.assert_array_equal(line.get_ydata(), np.where(curve["contrast"] > 0, curve["contrast"], np.nan))
    labels = {child.get_xlabel() + child.get_ylabel() for child in ax.child_axes}
    assert any("au" in label for label in labels)
    assert any("mag" in label for label in labels)
    without = plot.contrast(curve.drop_vars(["contrast", "flux_limit_jy"]), ax=Figure().subplots())
    assert "MJy/sr" in without.axes.get_ylabel()
    with pytest.raises(ArgumentError, match="distance"):
        plot.contrast(curve, ax=ax, distance=0.0)
    with pytest.raises(MissingError, match="contrast"):
        plot.contrast(curve.drop_vars("flux_limit"), ax=ax)
