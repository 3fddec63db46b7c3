"""The GWCS as text, its numerical inverse, and its adjustment."""

import os
import subprocess
import sys
import zlib

import asdf
import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from xta.errors import WCSError
from xta.geometry import sphere, wcs, wcstext

POINTINGS = [(150.0, -30.0), (0.0, 10.0), (359.9999, -42.0), (80.0, 89.95), (10.0, 90.0), (200.0, -89.999)]


@pytest.mark.parametrize(("ra", "dec"), POINTINGS)
def test_world_to_pixel_round_trip(build_wcs, ra, dec):
    """Newton's inverse closes to 1e-8 px on and far off the array, across RA = 0 and at the poles."""
    gwcs = build_wcs(ra, dec)
    x, y = np.meshgrid(np.linspace(-800, 1100, 12), np.linspace(-800, 1100, 12))
    found = wcs.world_to_pixel(gwcs, *wcs.pixel_to_world(gwcs, x, y))
    assert np.abs(found[0] - x).max() < 1e-8
    assert np.abs(found[1] - y).max() < 1e-8
    assert found[0].shape == x.shape


def test_world_to_pixel_with_poor_inverse(build_wcs):
    gwcs = build_wcs(inverse_error=0.45)
    ra, dec = wcs.pixel_to_world(gwcs, 100.0, 120.0)
    x, y = wcs.world_to_pixel(gwcs, ra, dec)
    x_analytic, y_analytic = wcs.world_to_pixel_analytic(gwcs, ra, dec)
    assert abs(x - 100) < 1e-8
    assert abs(y - 120) < 1e-8
    assert 0.3 < float(np.hypot(x_analytic - x, y_analytic - y)) < 0.6


def test_world_to_pixel_without_inverse(build_wcs):
    gwcs = build_wcs()
    steps = [(step.frame, step.transform) for step in gwcs.pipeline]
    first = steps[0][1].copy()
    del first.inverse
    bare = type(gwcs)([(steps[0][0], first), *steps[1:]])
    ra, dec = wcs.pixel_to_world(bare, 10.25, 300.5)
    assert np.isnan(wcs.world_to_pixel_analytic(bare, ra, dec)[0])
    assert np.allclose(wcs.world_to_pixel(bare, ra, dec), (10.25, 300.5), atol=1e-8, rtol=0)


@pytest.mark.parametrize("position", [(330.0, 30.0), (150.0, -31.5)], ids=["antipode", "too far"])
def test_world_to_pixel_names_point_that_does_not_converge(build_wcs, position):
    gwcs = build_wcs(distortion=1e-4)
    with pytest.raises(WCSError, match=f"{position[0]:.7f}, {position[1]:.7f}") as error:
        wcs.world_to_pixel(gwcs, [150.0, position[0]], [-30.0, position[1]])
    assert "1 of 2" in str(error.value)


def test_world_to_pixel_takes_few_steps(build_wcs, monkeypatch):
    """Newton's method doubles the digits of each step; a wrong Jacobian would still arrive, but slowly."""
    steps = []
    newton_step = wcs._newton_step
    monkeypatch.setattr(wcs, "_newton_step", lambda *arguments: steps.append(1) or newton_step(*arguments))
    gwcs = build_wcs()
    wcs.world_to_pixel(gwcs, *wcs.pixel_to_world(gwcs, 20.25, 300.5))
    assert len(steps) <= 2 + 5  # one for the handedness, one for the last look


def test_world_to_pixel_keeps_nan(build_wcs):
    gwcs = build_wcs()
    ra, dec = wcs.pixel_to_world(gwcs, [5.0, np.nan], [7.0, 7.0])
    assert np.isnan(ra[1])
    x, y = wcs.world_to_pixel(gwcs, ra, dec)
    assert np.allclose([x[0], y[0]], [5, 7], atol=1e-8)
    assert np.isnan(x[1])
    assert np.isnan(y[1])


def test_dump_keeps_every_bit(build_wcs):
    gwcs = build_wcs()
    text = wcs.dump(gwcs)
    x, y = np.meshgrid(np.arange(320.0), np.arange(320.0))
    for before, after in zip(wcs.pixel_to_world(gwcs, x, y), wcs.pixel_to_world(wcs.load(text), x, y), strict=True):
        assert np.array_equal(before, after)
    assert wcs.load(text) is wcs.load(wcs.WcsText(str(text)))
    assert repr(text) == f"{text}"
    assert len(repr(text)) < 60
    assert str(text).startswith("#ASDF")


def test_dump_same_in_every_process():
    code = (
        "import zlib; from tests.conftest import make_wcs; from xta import wcs; "
        "print(zlib.crc32(wcs.dump(make_wcs()).encode()))"
    )
    from tests.conftest import make_wcs

    seen = {f"{zlib.crc32(wcs.dump(make_wcs()).encode())}\n"}
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
        seen.add(done.stdout)
    assert len(seen) == 1


def extension_of(gwcs):
    content = np.frombuffer(str(wcs.dump(gwcs)).encode(), np.uint8)
    column = fits.Column("ASDF_METADATA", f"{content.size}B", array=[content])
    return fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns([column], name="ASDF")])


def test_from_fits_parses_equal_content_once(build_wcs, monkeypatch):
    first = wcs.from_fits(extension_of(build_wcs()))
    assert wcs.from_fits(extension_of(build_wcs(ra=151.0))) != first
    monkeypatch.setattr(wcstext, "_parsed", None)
    assert wcs.from_fits(extension_of(build_wcs())) == first


BROKEN = "#ASDF 1.0.0\n%YAML 1.1\n--- {wcs: [5, }\n...\n"  # not YAML


@pytest.mark.parametrize(
    "text", ["", "nonsense", "#ASDF 1.0.0\n", "#ASDF 1.0.0\n%YAML 1.1\n--- {wcs: 5}\n...\n", BROKEN]
)
def test_load_refuses_other_text(text):
    with pytest.raises(WCSError, match=r"GWCS|ASDF"):
        wcs.load(text)


angle = st.floats(0, 360, allow_nan=False)
tilt = st.floats(-90, 90, allow_nan=False)
small = st.floats(-2, 2, allow_nan=False)


@settings(deadline=None, max_examples=40)
@given(ra=angle, dec=tilt, roll=angle, east=small, north=small)
def test_adjust_rotates_sky_rigidly(ra, dec, roll, east, north):
    """The adjusted WCS is the rotation after the old one, wherever it points."""
    from tests.conftest import make_wcs

    gwcs = make_wcs(ra, dec, roll)
    here = [float(v) for v in wcs.pixel_to_world(gwcs, 150.0, 170.0)]
    there = [float(v) for v in wcs.pixel_to_world(gwcs, 150.0 + east, 170.0 + north)]
    rotation = sphere.rotation_between(*here, *there)
    assert np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-15)
    adjusted = wcs.adjust(gwcs, rotation)
    x, y = np.array([0.0, 150.0, 319.0]), np.array([319.0, 170.0, 0.0])
    expected = sphere.unit_vector(*wcs.pixel_to_world(gwcs, x, y)) @ rotation.T
    # Seven angles lie between the two, each rounded to half of the last digit of 360 deg, 5e-16 rad.
    assert np.allclose(sphere.unit_vector(*wcs.pixel_to_world(adjusted, x, y)), expected, atol=3.5e-15, rtol=0)
    found = wcs.world_to_pixel(adjusted, *there)
    assert np.allclose(found, (150, 170), atol=1e-8, rtol=0)


def test_adjust_agrees_with_pipeline(build_wcs):
    """Independent check: jwst's function with the three differences gives the same WCS."""
    from jwst.tweakreg.utils import adjust_wcs

    gwcs = build_wcs(209.5, -42.1, 110.0)
    rotation = sphere.rotation_between(209.5, -42.1, 209.5001, -42.0999)
    d_ra, d_dec, d_roll = wcs.adjustment(gwcs, rotation)
    theirs = adjust_wcs(gwcs, delta_ra=d_ra, delta_dec=d_dec, delta_roll=d_roll)
    x, y = np.meshgrid(np.arange(0.0, 320, 40), np.arange(0.0, 320, 40))
    a = sphere.unit_vector(*wcs.pixel_to_world(theirs, x, y))
    b = sphere.unit_vector(*wcs.pixel_to_world(wcs.adjust(gwcs, rotation), x, y))
    assert np.abs(a - b).max() < 1e-15


def test_reference_reads_attitude_back(build_wcs):
    found = wcs.reference(build_wcs(209.5, -42.1, 110.0))
    wanted = {"v2_ref": 107.3, "v3_ref": -405.1, "roll_ref": 110.0, "ra_ref": 209.5, "dec_ref": -42.1}
    assert found == pytest.approx(wanted, abs=1e-10)


def test_adjust_refuses_wcs_without_attitude(build_wcs):
    gwcs = build_wcs()
    step = gwcs.pipeline[0]
    other = type(gwcs)([(step.frame, step.transform), (gwcs.pipeline[1].frame, None)])
    with pytest.raises(WCSError, match="no rotation from V2, V3"):
        wcs.adjust(other, np.eye(3))


def test_dump_adjusted_spares_reading_and_changes_no_bit(build_wcs):
    x, y = np.meshgrid(np.arange(320.0), np.arange(320.0))
    for turn in range(5):
        rotation = sphere.rotation_between(150.0, -30.0, 150.0 + 1e-4 * turn, -30.00003)
        adjusted = wcs.shift(wcs.adjust(build_wcs(), rotation, copy=False), 0.1, -0.2, copy=False)
        text = wcs.dump_adjusted(adjusted)
        assert text == wcs.dump(adjusted)
        read = wcstext._parsed(text.encode())
        np.testing.assert_array_equal(wcs.pixel_to_world(wcs.load(text), x, y), wcs.pixel_to_world(read, x, y))
        assert wcs.dump(wcs.load(text)) == wcs.dump(read)


def test_transforms_of_shared_wcs_are_joined_once_and_of_others_anew(build_wcs):
    own = build_wcs()
    shared = wcs.load(wcs.dump(own))
    assert wcstext.forward(shared) is wcstext.forward(shared)
    assert wcstext.inverse(shared) is wcstext.inverse(shared)
    before = wcs.pixel_to_world(own, 10.0, 20.0)
    assert wcs.pixel_to_world(shared, 10.0, 20.0) == before
    own.pipeline[0].transform.offset_0 = -150.0
    assert wcs.pixel_to_world(own, 10.0, 20.0) != before
    assert wcs.pixel_to_world(shared, 10.0, 20.0) == before


def test_invert_gives_both_inverses(build_wcs):
    gwcs = build_wcs()
    ra, dec = (float(value) for value in wcs.pixel_to_world(gwcs, 12.25, 300.5))
    expected = (*wcs.world_to_pixel(gwcs, ra, dec), *wcs.world_to_pixel_analytic(gwcs, ra, dec))
    assert wcs.invert(gwcs, ra, dec) == tuple(float(value) for value in expected)


def test_shift_moves_origin_only(build_wcs):
    gwcs = build_wcs()
    before = wcs.pixel_to_world(gwcs, 150.25, 170.5)
    moved = wcs.load(wcs.dump(wcs.shift(gwcs, 150.25, 170.5)))
    assert wcs.pixel_to_world(moved, 0.0, 0.0) == before
    assert wcs.pixel_to_world(gwcs, 150.25, 170.5) == before
    assert np.allclose(wcs.world_to_pixel(moved, *before), 0, atol=1e-8)


@pytest.mark.parametrize(("ra", "dec"), [(10.0, -42.0), (0.0, 0.0), (359.9999, 60.0), (120.0, 89.99)])
def test_sky_offset_agrees_with_astropy(ra, dec):
    from astropy import units
    from astropy.coordinates import SkyCoord

    here, there = SkyCoord(ra, dec, unit="deg"), SkyCoord(ra + 0.0003, dec + 0.0002, unit="deg")
    east, north = here.spherical_offsets_to(there)
    found = sphere.sky_offset(ra, dec, ra + 0.0003, dec + 0.0002)
    assert found == pytest.approx((east.to_value(units.arcsec), north.to_value(units.arcsec)), abs=1e-8)


@pytest.mark.parametrize("name", ["miriwcs", "nircamwcs", "nrcb1-wcs"])
def test_world_to_pixel_real_files(shared, name):
    """Real WCSs, two of them of an older layout, close to 1e-8 px and adjust exactly."""
    with asdf.open(shared / "real" / "wcs" / f"{name}.asdf", lazy_load=False) as file:
        gwcs = wcs.load(wcs.dump(file["wcs"]))
    x, y = np.meshgrid(np.linspace(0, 1000, 11), np.linspace(0, 1000, 11))
    sky = wcs.pixel_to_world(gwcs, x, y)
    found = wcs.world_to_pixel(gwcs, *sky)
    assert max(np.abs(found[0] - x).max(), np.abs(found[1] - y).max()) < 1e-8
    rotation = sphere.rotation_between(10.0, 20.0, 10.01, 20.03)
    adjusted = sphere.unit_vector(*wcs.pixel_to_world(wcs.adjust(gwcs, rotation), x, y))
    assert np.abs(adjusted - sphere.unit_vector(*sky) @ rotation.T).max() < 1e-15


def spectrograph():
    from astropy import coordinates, units
    from astropy.modeling.models import Identity, Mapping
    from gwcs import WCS, coordinate_frames

    pixel = coordinate_frames.Frame2D(name="detector", unit=(units.pix, units.pix))
    celestial = coordinate_frames.CelestialFrame(name="sky", reference_frame=coordinates.ICRS())
    spectral = coordinate_frames.SpectralFrame(axes_order=(2,), unit=(units.um,), name="spectral")
    world = coordinate_frames.CompositeFrame([celestial, spectral], name="world")
    return WCS([(pixel, Mapping((0, 1, 1)) | Identity(3)), (world, None)])


def off_the_sky(build_wcs):
    gwcs = build_wcs()
    return type(gwcs)([(gwcs.pipeline[0].frame, gwcs.pipeline[0].transform), (gwcs.pipeline[1].frame, None)])


def other_equinox(build_wcs):
    from astropy import coordinates
    from gwcs import coordinate_frames

    gwcs = build_wcs()
    world = coordinate_frames.CelestialFrame(name="world", reference_frame=coordinates.FK5())
    return type(gwcs)([*((step.frame, step.transform) for step in gwcs.pipeline[:-1]), (world, None)])


@pytest.mark.parametrize("kind", ["spectrograph", "v2v3", "fk5"])
def test_load_refuses_other_frames(build_wcs, kind):
    from astropy.io import fits

    gwcs = {
        "spectrograph": spectrograph,
        "v2v3": lambda: off_the_sky(build_wcs),
        "fk5": lambda: other_equinox(build_wcs),
    }[kind]()
    text = wcs.dump(gwcs)
    with pytest.raises(WCSError, match="not one from the pixels x, y to ICRS"):
        wcs.load(text)
    content = np.frombuffer(text.encode(), "u1")
    table = fits.BinTableHDU.from_columns(
        [fits.Column("ASDF_METADATA", f"{content.size}B", array=[content])], name="ASDF"
    )
    with pytest.raises(WCSError, match="not one from the pixels x, y to ICRS"):
        wcs.from_fits(fits.HDUList([fits.PrimaryHDU(), table]))


def test_sky_jacobian_differentiates_by_one_pixel(build_wcs):
    """A quadratic distortion has the same central differences over any length."""
    gwcs, x, y, far = build_wcs(roll=20.0), 100.0, 250.0, 4.0
    ra, dec = wcs.pixel_to_world(gwcs, x + far * np.array([0, 1, -1, 0, 0]), y + far * np.array([0, 0, 0, 1, -1]))
    east, north = sphere.tangent_offset(float(ra[0]), float(dec[0]), ra, dec)
    expected = np.array([[v[1] - v[2], v[3] - v[4]] for v in (east, north)]) / (2 * far)
    np.testing.assert_allclose(wcs.sky_jacobian(gwcs, x, y), expected, rtol=0, atol=1e-8)
    assert wcs.pixel_scale(gwcs, x, y) == pytest.approx(np.sqrt(abs(np.linalg.det(expected))), rel=1e-6)


def test_sky_jacobian_is_the_analytic_derivative(build_wcs):
    """At the reference point, where the roll is known; the quadratic terms show a step that is not symmetric."""
    roll, distortion, scale = np.deg2rad(75.0), 1e-3, 0.063
    by_pixel = scale * np.array([[-1, 1e-4], [-2e-4, 1]]) * [[np.cos(np.deg2rad(-405.1 / 3600))], [1]]
    expected = np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]]) @ by_pixel
    gwcs = build_wcs(roll=75.0, distortion=distortion, scale=scale)
    np.testing.assert_allclose(wcs.sky_jacobian(gwcs, 160.0, 160.0), expected, rtol=0, atol=1e-9)


def test_rotation_between_equal_directions_is_the_identity():
    np.testing.assert_array_equal(sphere.rotation_between(201.15, -51.5, 201.15, -51.5), np.eye(3))


@pytest.mark.parametrize(("ra", "dec"), [(140.0, 25.0), (10.0, -40.0), (-30.0, 60.0), (10.0001, 20.0001), (10.0, 20.0)])
def test_tangent_offset_agrees_with_astropy(ra, dec):
    """Along great circles, near and in the other hemisphere."""
    from astropy.coordinates import SkyCoord

    origin, position = SkyCoord(10.0, 20.0, unit="deg"), SkyCoord(ra, dec, unit="deg")
    length, angle = origin.separation(position).arcsec, origin.position_angle(position).rad
    found = sphere.tangent_offset(10.0, 20.0, ra, dec)
    assert found == pytest.approx((length * np.sin(angle), length * np.cos(angle)), abs=1e-7)


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 0.0), (359.5, -89.9999), (90.0, 45.0), (200.0, -12.5), (300.0, 90.0)])
def test_position_inverts_unit_vector(ra, dec):
    lon, lat = sphere.position(sphere.unit_vector(ra, dec))
    assert lat == pytest.approx(dec, abs=1e-12)
    assert np.cos(np.deg2rad(dec)) * (lon - ra) == pytest.approx(0, abs=1e-12)


def test_position_just_below_zero_stays_below_360():
    assert sphere.position(np.array([1.0, -1e-20, 0.0])) == (0.0, 0.0)
