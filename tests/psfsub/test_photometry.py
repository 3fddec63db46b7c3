"""The star's flux: in the image of its acquisition, by a magnitude, and what an acquisition cannot tell."""

import math

import numpy as np
import pytest

from xta.errors import ArgumentError, MissingError, ProductError
from xta.psfsub.photometry import DENSITY, flux_of, star_flux

SAMPLE = 100.0  # attenuation of the acquisitions of sample visits


@pytest.fixture(scope="module")
def exposure(nircam):
    import xta

    return xta.analyze(nircam.science[0], offline=True)


@pytest.fixture(scope="module")
def miri_exposure(miri):
    import xta

    return xta.analyze(miri.science[0], offline=True)


def edited(ds, **changes):
    """Change values of the TA images: function of the array by its name."""
    return ds.assign_coords(
        {name: (ds[name].dims, change(ds[name].values), ds[name].attrs) for name, change in changes.items()}
    )


@pytest.mark.parametrize("mode", ["nircam", "miri"])
def test_star_flux_of_sample_is_true_within_its_error(request, mode):
    ds = request.getfixturevalue({"nircam": "exposure", "miri": "miri_exposure"}[mode])
    truth = float(request.getfixturevalue(mode).truth["star_flux"][0])
    result = star_flux(ds, attenuation=SAMPLE)
    # The sample's star has the same flux density in all filters.
    assert float(result["ta_flux"]) == pytest.approx(truth, rel=0.1)
    assert float(result["star_flux"]) == pytest.approx(float(result["ta_flux"] * result["color"]))
    relative = result["relative_err"]
    assert float(result["star_flux_err"] / result["star_flux"]) == pytest.approx(math.hypot(*relative.values))
    assert 0 < float(relative.sel(part="photometry")) < 0.02
    assert float(relative.sel(part="color")) == pytest.approx(0.06 if mode == "nircam" else 0.55, rel=0.25)


def test_star_flux_through_neutral_density_says_how_uncertain_it_is(exposure):
    known, assumed = star_flux(exposure, attenuation=(10 ** DENSITY["F335M"][0], 0.0)), star_flux(exposure)
    assert float(assumed["star_flux"]) == pytest.approx(float(known["star_flux"]))
    assert float(assumed["relative_err"].sel(part="attenuation")) == pytest.approx(0.23, abs=0.01)
    assert "optical density 2.82" in assumed.attrs["attenuation_source"]


def test_star_flux_without_neutral_density(exposure):
    faint = exposure.assign_coords(ta_subarray=("ta_exposure", ["SUBFSA335R"]))
    result = star_flux(faint)
    assert float(result["attenuation"]) == 1
    assert float(result["relative_err"].sel(part="attenuation")) == 0


def test_star_flux_by_temperature(exposure):
    hot, cool = (star_flux(exposure, temperature=kelvin) for kelvin in (1e6, 3500))
    assert float(hot["color"]) == pytest.approx((3.35 / 4.44) ** 2, rel=0.01)
    assert float(cool["color"]) == pytest.approx(0.68, abs=0.01)
    assert float(hot["relative_err"].sel(part="color")) == 0


def test_star_flux_with_bad_pixels(exposure):
    reference = float(star_flux(exposure, attenuation=SAMPLE)["star_flux"])
    x, y = (round(float(exposure[f"ta_oss_{axis}"][0])) for axis in ("x", "y"))

    def with_hole(images, at):
        images = images.copy()
        images[0, at[0], at[1]] = np.nan
        return images

    beside = edited(exposure, ta_sci=lambda images: with_hole(images, (y, x + 4)))
    assert float(star_flux(beside, attenuation=SAMPLE)["star_flux"]) == pytest.approx(reference, rel=0.02)
    core = edited(exposure, ta_sci=lambda images: with_hole(images, (y + 1, x)))
    with pytest.raises(ProductError, match="core"):
        star_flux(core, attenuation=SAMPLE)


def test_star_flux_refuses(exposure, miri_exposure):
    with pytest.raises(MissingError, match="FND"):
        star_flux(miri_exposure)
    with pytest.raises(MissingError, match="attach"):
        star_flux(exposure.drop_vars(name for name in exposure.coords if str(name).startswith("ta_")))
    counts = exposure.assign_coords(ta_sci=exposure["ta_sci"].assign_attrs(units="DN/s"))
    with pytest.raises(ProductError, match="DN/s"):
        star_flux(counts)
    for options in ({"attenuation": -1}, {"attenuation": (1, -1)}, {"enclosed": 0}, {"temperature": 0}):
        with pytest.raises(ArgumentError):
            star_flux(exposure, **options)


def test_flux_of_each_form(exposure):
    assert flux_of(None, "F444W") is None
    flux, error = flux_of(0.3, "F444W")
    assert (flux, math.isnan(error)) == (0.3, True)
    assert flux_of((2.5, 100.0), "F444W")[0] == pytest.approx(10.0)
    measured = star_flux(exposure, attenuation=SAMPLE)
    assert flux_of(measured, "F444W") == (float(measured["star_flux"]), float(measured["star_flux_err"]))


def test_flux_of_catalog_magnitude_gives_vega():
    # Vega has magnitude 0 in all bands, 9600 K, and about 184 Jy at 4.4 um.
    for band in ("Ks", "w1", "W2"):
        flux, error = flux_of((0.0, band, 9600.0), "F444W")
        assert flux == pytest.approx(184, rel=0.05)
        assert error == 0
        flux, error = flux_of((0.0, band), "F444W")
        assert abs(flux - 184) < 1.5 * error + 0.05 * 184
        assert 0 < error < 0.25 * flux


@pytest.mark.parametrize(
    "given", [-1.0, math.nan, (1.0, 2.0, 3.0), (5.0, "V"), (5.0, "Ks", 5000, 1), "bright", (5.0, -1.0)]
)
def test_flux_of_nothing_usable(given):
    with pytest.raises(ArgumentError, match="star_flux"):
        flux_of(given, "F444W")
