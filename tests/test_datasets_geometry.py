"""Rotations, distortion and images behind the sample visits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.visit_files import separation
from xta.datasets import frame, optics
from xta.errors import SiafError
from xta.geometry import siaf


class TestGeometry:
    angles = st.floats(0, 359.999)
    field = st.floats(-600, 600)

    @settings(deadline=None)
    @given(v2=field, v3=field, ra=angles, dec=st.floats(-89.999, 89.999), roll=angles)
    def test_attitude_is_that_of_the_pipeline(self, v2, v3, ra, dec, roll):
        from jwst.assign_wcs.pointing import v23tosky
        from stdatamodels.jwst.datamodels import ImageModel

        model = ImageModel()
        model.meta.wcsinfo.instance.update(v2_ref=v2, v3_ref=v3, ra_ref=ra, dec_ref=dec, roll_ref=roll)
        matrix = frame.attitude(v2, v3, ra, dec, roll)
        for dv2, dv3 in ((0, 0), (100, 0), (0, 100)):
            expected = v23tosky(model)(v2 + dv2, v3 + dv3)
            assert separation(*frame.v_to_sky(matrix, v2 + dv2, v3 + dv3), *expected) < 1e-8

    @settings(deadline=None)
    @given(v2=field, v3=field, ra=angles, dec=st.floats(-89.999, 89.999), roll=angles)
    def test_attitude_round_trip(self, v2, v3, ra, dec, roll):
        matrix = frame.attitude(v2, v3, ra, dec, roll)
        assert separation(*frame.v_to_sky(matrix, v2, v3), ra, dec) < 1e-8
        assert frame.sky_to_v(matrix, ra, dec) == pytest.approx((v2, v3), abs=1e-8)
        turned = frame.position_angle(matrix, v2, v3) - roll
        # Near the pole a position angle is as vague as the right ascension that it is measured from.
        assert abs((turned + 180) % 360 - 180) * np.cos(np.radians(dec)) < 1e-9

    @settings(deadline=None)
    @given(ra=angles, dec=st.floats(-89.9, 89.9), far=st.floats(0.01, 1e4), angle=angles)
    def test_offset_is_that_of_astropy(self, ra, dec, far, angle):
        from astropy import units as u
        from astropy.coordinates import SkyCoord

        expected = SkyCoord(ra, dec, unit=u.deg).directional_offset_by(angle * u.deg, far * u.arcsec)
        assert separation(*frame.offset(ra, dec, far, angle), expected.ra.deg, expected.dec.deg) < 1e-6

    @settings(max_examples=30, deadline=None)
    @given(x=st.floats(-50, 370), y=st.floats(-50, 370), scale=st.floats(0.9999, 1.0001))
    def test_v_to_pixel_inverts_pixel_to_v(self, x, y, scale):
        ap = siaf.aperture("NIRCAM", "NRCA5_MASK335R")
        sample = frame.Frame(ap, ap, scale)
        assert frame.v_to_pixel(sample, *frame.pixel_to_v(sample, x, y)) == pytest.approx((x, y), abs=1e-9)

    def test_v_to_pixel_refuses_far_position(self):
        ap = siaf.aperture("NIRCAM", "NRCA5_MASK335R")
        with pytest.raises(SiafError, match="NRCA5_MASK335R"):
            frame.v_to_pixel(frame.Frame(ap, ap), 1e7, 1e7)


class TestOptics:
    @pytest.mark.parametrize("x", [60.0, 60.25, 60.5, 61.3])
    def test_place_puts_source_where_asked(self, x):
        camera = optics.Camera(4.4, 0.063, 128)
        image = optics.place(optics.point_source(camera), camera, x=x, y=63.4, shape=(128, 128))
        assert image.sum() == pytest.approx(1)
        # The phase of the lowest frequencies of a symmetric image is its position, whatever its shape.
        spectrum = np.fft.fft2(image)
        assert -np.angle(spectrum[0, 1]) * 128 / (2 * np.pi) % 128 == pytest.approx(x, abs=1e-9)
        assert -np.angle(spectrum[1, 0]) * 128 / (2 * np.pi) % 128 == pytest.approx(63.4, abs=1e-9)

    def test_point_source_is_the_same_when_oversampled(self):
        coarse, fine = optics.Camera(4.4, 0.063, 128), optics.Camera(4.4, 0.0315, 256)
        assert coarse.oversample == fine.oversample == 1
        one = optics.place(optics.point_source(coarse), coarse, x=60.25, y=61, shape=(128, 128))
        finer = optics.place(optics.point_source(fine), fine, x=2 * 60.25 + 0.5, y=2 * 61 + 0.5, shape=(256, 256))
        np.testing.assert_allclose(finer.reshape(128, 2, 128, 2).sum(axis=(1, 3)), one, atol=2e-5)

    @pytest.mark.parametrize("mask", ["round", "bar", "4qpm", "spot"])
    def test_suppressed_source_is_faint(self, mask):
        camera = optics.Camera(4.4, 0.063, 256)
        opd = optics.wavefront(3, rms=60)
        behind = optics.suppressed_source(camera, mask=mask, mask_size=0.6, opd=opd)
        beside = optics.point_source(camera, opd=opd, stop=True)
        assert 1e-4 < behind.sum() < 0.15
        assert behind.max() < 0.05 * beside.max()

    def test_wavefront_has_its_amplitude(self):
        assert optics.wavefront(1, rms=60).std() == pytest.approx(60e-9)
        assert not np.array_equal(optics.wavefront(1, rms=60), optics.wavefront(2, rms=60))
