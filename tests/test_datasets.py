"""Sample visits: the files are products, and the truth is true by another route than the one it came by."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits
from astropy.wcs import WCS

from tests import visit_files
from tests.visit_files import messages, model_of, numbers, separation, sky, star_of, truth_of, visit_target
from xta import datasets
from xta.errors import ArgumentError, FileError
from xta.geometry import siaf

ARCSEC = 3600.0
EXACT = {"pointing_error": (0.0, 0.0, 0.0), "integrations": 1}
PLACES = {
    "north pole": (123.4, 89.6),
    "south pole": (290.0, -89.9),
    "RA = 0": (0.0, 12.0),
    "just below RA = 360": (359.99999, -1.0),
}


@pytest.fixture(autouse=True)
def _close_models():
    yield
    visit_files.close_models()


@pytest.fixture(scope="module", params=["nircam", "miri"])
def program(request, tmp_path_factory):
    return datasets.make_program(tmp_path_factory.mktemp(request.param), mode=request.param, ideal=True)


@pytest.fixture(scope="module", params=["nircam", "miri", "NRCA5_MASKLWB"])
def visit(request, tmp_path_factory):
    companion = (1.3, 40.0, 1e-3)
    folder = tmp_path_factory.mktemp(request.param)
    return datasets.make_visit(folder, mode=request.param, companion=companion, integrations=2, seed=7, ideal=True)


class TestProgram:
    def test_make_program_has_two_rolls_and_a_reference(self, program):
        assert [visit.role for visit in program.visits] == ["science", "science", "reference"]
        assert len(program.science) == 2
        assert len(program.reference) == 1
        rolls = [model_of(path).meta.wcsinfo.roll_ref for path in program.science]
        assert rolls[1] - rolls[0] == pytest.approx(10, abs=0.1)
        assert [model_of(visit.science[0]).meta.exposure.psf_reference for visit in program.visits] == [
            False,
            False,
            True,
        ]

    def test_make_program_is_small(self, program):
        assert sum(path.stat().st_size for path in program.folder.iterdir()) < 40e6

    def test_make_program_truth_has_every_file(self, program):
        files = [path for visit in program.visits for path in visit.ta + visit.science]
        assert list(program.truth.file.values) == [path.name for path in files]
        assert all(path.is_file() for path in files)
        assert {"star_x", "star_y", "target_ra", "target_dec", "error_v2"} <= set(program.truth)
        assert all("units" in program.truth[name].attrs for name in program.truth if name.startswith("star"))

    def test_make_program_truth_json_is_the_table(self, program):
        saved = xr.Dataset.from_dict(json.loads((program.folder / "truth.json").read_text()))
        xr.testing.assert_identical(saved, program.truth)

    def test_make_program_companion_turns_with_the_sky(self, program):
        table = program.truth.isel(file=(program.truth.kind == "science").values)
        dx, dy = table.companion_x - table.star_x, table.companion_y - table.star_y
        angle = np.degrees(np.arctan2(dy, dx)).values
        assert (angle[1] - angle[0] + 180) % 360 - 180 == pytest.approx(-10, abs=0.3)
        assert np.isnan(angle[2])

    def test_make_program_visits_differ_in_pointing(self, program):
        assert len(np.unique(program.truth.error_v2)) == 3

    def test_make_program_companion_stands_out_after_subtraction(self, program):
        images = []
        for path in (*program.science[:1], *program.reference):
            row = program.truth.sel(file=path.name)
            model = model_of(path)
            image = np.where(model.dq & 1, np.nan, model.data).mean(axis=0)
            images.append((image - np.nanmedian(image), row))
        (star, row), (other, other_row) = images
        x, y = round(row.companion_x.item()), round(row.companion_y.item())
        box = np.s_[y - 2 : y + 3, x - 2 : x + 3]
        # The two stars agree to a fraction of a pixel: scaling by flux is enough to see a bright companion.
        left = star - other * (row.star_flux / other_row.star_flux).item()
        mirrored = np.s_[
            round(2 * row.star_y.item()) - y - 2 : round(2 * row.star_y.item()) - y + 3,
            round(2 * row.star_x.item()) - x - 2 : round(2 * row.star_x.item()) - x + 3,
        ]
        assert np.nanmean(left[box]) > 5 * abs(np.nanmean(left[mirrored]))


class TestProducts:
    def test_write_makes_valid_datamodels(self, visit):
        from jwst.datamodels import CubeModel, ImageModel

        assert all(isinstance(model_of(path), ImageModel) for path in visit.ta)
        assert all(isinstance(model_of(path), CubeModel) for path in visit.science)
        for path in (*visit.ta, *visit.science):
            with model_of(path) as model:
                model.validate()
                assert model.data.dtype.name == "float32"
                assert model.data.shape[-2:] == (model.meta.subarray.ysize, model.meta.subarray.xsize)
                assert model.meta.filename == path.name
                assert model.meta.observation.visit_id == visit.visit_id
                assert model.meta.wcsinfo.s_region.startswith("POLYGON ICRS")
                assert model.meta.cal_step.assign_wcs == "COMPLETE"

    def test_render_err_is_that_of_the_noise(self, visit):
        with model_of(visit.science[0]) as model:
            good = (model.dq & 1) == 0
            np.testing.assert_allclose(model.err[good] ** 2, (model.var_poisson + model.var_rnoise)[good], rtol=1e-5)
            difference = (model.data[1] - model.data[0])[good[0]] / np.hypot(*model.err)[good[0]]
            assert difference.std() == pytest.approx(1, abs=0.02)
            assert np.isfinite(model.data[good]).all()
            assert np.isnan(model.data[~good]).any()

    def test_write_integration_times_fill_the_exposure(self, visit):
        with model_of(visit.science[0]) as model:
            times = model.int_times
            assert list(times["integration_number"]) == [1, 2]
            assert times["int_start_MJD_UTC"][0] == model.meta.exposure.start_time
            assert times["int_end_MJD_UTC"][-1] == model.meta.exposure.end_time

    def test_header_keywords_subarray_is_where_the_siaf_has_it(self, visit):
        with model_of(visit.science[0]) as model:
            full = siaf.aperture(model.meta.instrument.name, full_name(model), model.meta.prd_software_version)
            readout = siaf.aperture(model.meta.instrument.name, model.meta.aperture.name, "PRDOPSSOC-063")
            x, y = siaf.reference_pixel(readout, readout)
            x_full, y_full = siaf.reference_pixel(readout, full)
            assert (x_full - x, y_full - y) == pytest.approx(
                (model.meta.subarray.xstart - 1, model.meta.subarray.ystart - 1)
            )

    def test_write_wcs_survives_the_file(self, visit):
        with model_of(visit.science[0]) as model:
            wcs = model.meta.wcs
            assert wcs.available_frames == ["detector", "v2v3", "v2v3vacorr", "world"]
            x, y = star_of(visit, visit.science[0])
            # The analytic inverse is that of the SIAF: near, but no better.
            np.testing.assert_allclose(wcs.world_to_pixel_values(*sky(wcs, x, y)), (x, y), atol=0.2)

    def test_header_keywords_attitude_is_that_of_the_pipeline(self, visit):
        """pysiaf's rotations made the keywords of V1; the pipeline's transform leads there from the reference point."""
        from astropy.coordinates import SkyCoord
        from jwst.assign_wcs.pointing import v23tosky

        with model_of(visit.science[0]) as model:
            pointing, to_sky = model.meta.pointing, v23tosky(model)
            v1, on_v3 = (SkyCoord(*to_sky(0.0, v3), unit="deg") for v3 in (0.0, 36000.0))
            assert (v1.ra.deg, v1.dec.deg) == pytest.approx((pointing.ra_v1, pointing.dec_v1), abs=1e-10)
            assert v1.position_angle(on_v3).wrap_at("360d").deg == pytest.approx(pointing.pa_v3, abs=1e-9)

    def test_header_keywords_agree_with_the_gwcs(self, visit):
        """A CD matrix and SIP polynomials, as the pipeline writes them: within 0.03 pixel of the GWCS."""
        for path in (visit.ta[0], visit.science[0]):
            header, pixels = fits.getheader(path, "SCI"), np.linspace(0, 1, 7)
            assert header["CTYPE1"] == "RA---TAN-SIP"
            assert {"CD1_1", "CD1_2", "CD2_1", "CD2_2"} <= set(header)
            assert not {"PC1_1", "CDELT1"} & set(header)
            x, y = np.meshgrid(pixels * (header["NAXIS1"] - 1), pixels * (header["NAXIS2"] - 1))
            found = WCS(header, naxis=2).all_world2pix(*sky(model_of(path).meta.wcs, x, y), 0)
            assert np.hypot(found[0] - x, found[1] - y).max() < 0.03


def full_name(model):
    return "MIRIM_FULL" if model.meta.instrument.name == "MIRI" else "NRCA5_FULL"


class TestTruth:
    """The pipeline's GWCS in the files against the truth, which numpy and pysiaf made."""

    @pytest.mark.parametrize("mode", datasets.SETUPS)
    def test_make_visit_without_error_puts_target_on_star(self, mode, tmp_path):
        visit = datasets.make_visit(tmp_path, mode=mode, va_scale=1.00007, **EXACT, ideal=True)
        self.assert_target_on_star(visit)

    @pytest.mark.parametrize(("place", "roll"), list(zip(PLACES, (0.0, 271.0, 359.9999, 90.0), strict=True)))
    def test_make_visit_everywhere_on_the_sky(self, place, roll, tmp_path):
        visit = datasets.make_visit(
            tmp_path, target=PLACES[place], roll=roll, companion=(1.0, 75.0, 1e-3), **EXACT, ideal=True
        )
        self.assert_target_on_star(visit)
        self.assert_companion(visit, 1.0, 75.0)

    @pytest.mark.parametrize("prd", ["PRDOPSSOC-053", "PRDOPSSOC-075"])
    def test_make_visit_with_other_releases(self, prd, tmp_path):
        visit = datasets.make_visit(tmp_path, prd=prd, **EXACT, ideal=True)
        self.assert_target_on_star(visit)
        assert model_of(visit.ta[0]).meta.prd_software_version == prd

    @staticmethod
    def assert_target_on_star(visit):
        for path in (*visit.ta, *visit.science):
            with model_of(path) as model:
                found = sky(model.meta.wcs, *star_of(visit, path))
                assert separation(*found, model.meta.target.ra, model.meta.target.dec) < 1e-8

    @staticmethod
    def assert_companion(visit, distance, angle):
        from astropy import units as u
        from astropy.coordinates import SkyCoord

        with model_of(visit.science[0]) as model:
            row = truth_of(visit, visit.science[0])
            found = SkyCoord(*sky(model.meta.wcs, row.companion_x.item(), row.companion_y.item()), unit=u.deg)
            star = SkyCoord(row.target_ra.item(), row.target_dec.item(), unit=u.deg)
            assert star.separation(found).arcsec == pytest.approx(distance, abs=1e-8)
            assert star.position_angle(found).deg == pytest.approx(angle, abs=1e-6)

    @pytest.mark.parametrize("place", PLACES)
    def test_make_visit_pointing_error_is_one_rotation(self, place, tmp_path):
        visit = datasets.make_visit(tmp_path, mode="miri", target=PLACES[place], integrations=1, ideal=True)
        seen = [sky(model_of(path).meta.wcs, *star_of(visit, path)) for path in (*visit.ta, *visit.science)]
        assert separation(*seen[0], *visit_target(visit)) == pytest.approx(np.hypot(0.25, 0.18), abs=1e-4)
        assert all(separation(*seen[0], *other) < 1e-7 for other in seen)

    def test_make_visit_pointing_error_is_the_one_asked_for(self, tmp_path):
        visit = datasets.make_visit(
            tmp_path, pointing_error=(0.4, -0.3, 0.05), va_scale=1.0, integrations=1, ideal=True
        )
        with model_of(visit.ta[0]) as model:
            wcs = model.meta.wcs
            v2_star, v3_star = wcs.transform("detector", "v2v3", *star_of(visit, visit.ta[0]))
            target = wcs.transform("world", "v2v3", *visit_target(visit))
            assert target == pytest.approx((v2_star + 0.4, v3_star - 0.3), abs=1e-6)
            turned = model.meta.wcsinfo.roll_ref
        exact = datasets.make_visit(tmp_path / "exact", va_scale=1.0, **EXACT, ideal=True)
        assert turned - model_of(exact.ta[0]).meta.wcsinfo.roll_ref == pytest.approx(0.05, abs=1e-3)

    def test_make_visit_target_error_moves_no_pixel(self, tmp_path):
        right = datasets.make_visit(tmp_path / "right", integrations=1, ideal=True)
        wrong = datasets.make_visit(tmp_path / "wrong", integrations=1, target_error=(0.4, -0.3), ideal=True)
        xr.testing.assert_identical(right.truth, wrong.truth)
        meta, target = model_of(wrong.ta[0]).meta.target, visit_target(right)
        assert meta.dec - target[1] == pytest.approx(-0.3 / ARCSEC, rel=1e-5)
        assert (meta.ra - target[0]) * np.cos(np.radians(target[1])) == pytest.approx(0.4 / ARCSEC, rel=1e-5)

    def test_make_visit_miss_is_the_one_asked_for(self, tmp_path):
        visit = datasets.make_visit(tmp_path, miss=(0.4, -0.2), va_scale=1.0, integrations=1, ideal=True)
        mask = siaf.aperture("NIRCAM", "NRCA5_MASK335R", "PRDOPSSOC-063")
        x, y = siaf.reference_pixel(mask, mask)
        assert star_of(visit, visit.science[0]) == pytest.approx((x + 0.4, y - 0.2), abs=1e-9)

    def test_make_visit_dithers_move_the_star_in_ideal(self, tmp_path):
        dithers = ((0.0, 0.0), (0.02, -0.01), (-0.015, 0.0))
        visit = datasets.make_visit(tmp_path, mode="miri", dithers=dithers, integrations=1, va_scale=1.0, ideal=True)
        mask = siaf.aperture("MIRI", "MIRIM_MASK1140", "PRDOPSSOC-063")
        ideal = [siaf.convert(mask, *star_of(visit, path), "pixel", "idl") for path in visit.science]
        np.testing.assert_allclose(np.subtract(ideal, ideal[0]), dithers, atol=1e-9)
        offsets = [model_of(path).meta.dither.x_offset for path in visit.science]
        assert offsets == [0.0, 0.02, -0.015]


class TestPixels:
    def test_render_star_is_at_its_pixel(self, visit):
        for path in visit.ta:
            with model_of(path) as model:
                image = np.where(model.dq & 1, 0, np.nan_to_num(model.data)) - np.nanmedian(model.data)
            assert windowed_centroid(image, star_of(visit, path)) == pytest.approx(star_of(visit, path), abs=0.02)

    def test_render_speckles_are_the_telescopes_and_follow_the_star(self, tmp_path):
        options = {"integrations": 1, "star_flux": 10.0, "va_scale": 1.0}
        here = datasets.make_visit(tmp_path / "here", miss=(0.0, 0.0), seed=1, **options, ideal=True)
        there = datasets.make_visit(tmp_path / "there", miss=(3.0, -2.0), seed=2, **options, ideal=True)
        other = datasets.make_visit(tmp_path / "other", miss=(0.0, 0.0), seed=1, wavefront=5, **options, ideal=True)
        one, two, three = (stamp(visit) for visit in (here, there, other))
        good = np.isfinite(one + two + three)
        assert np.corrcoef(one[good], two[good])[0, 1] > 0.99
        assert np.corrcoef(one[good], three[good])[0, 1] < 0.97

    def test_psf_is_that_of_the_companion(self, tmp_path):
        bright = (3.0, 200.0, 1.0)
        visit = datasets.make_visit(tmp_path, companion=bright, integrations=1, drift=0.0, ideal=True)
        row = truth_of(visit, visit.science[0])
        x, y = row.companion_x.item(), row.companion_y.item()
        with model_of(visit.science[0]) as model:
            image, area = model.data[0], model.meta.photometry.pixelarea_steradians
            good = ((model.dq[0] & 1) == 0) & (
                np.hypot(*(np.indices(image.shape) - np.array([y, x])[:, None, None])) < 5
            )
        expected = datasets.psf(x=x, y=y, shape=image.shape, prd="PRDOPSSOC-063")
        scale = row.star_flux.item() * 1e-6 / area
        assert image[good].sum() / (scale * expected[good].sum()) == pytest.approx(1, abs=0.01)


def stamp(visit):
    """Cut the speckles around the star from the science image; what the mask leaves of its core has no seed."""
    x, y = (round(part) for part in star_of(visit, visit.science[0]))
    with model_of(visit.science[0]) as model:
        image = np.where(model.dq[0] & 1, np.nan, model.data[0])[y - 20 : y + 21, x - 20 : x + 21]
    return np.where(np.hypot(*np.indices(image.shape) - 20) < 6, np.nan, image)


def windowed_centroid(image, start):
    x, y = start
    columns, rows = np.meshgrid(np.arange(image.shape[1]), np.arange(image.shape[0]))
    for _ in range(20):
        weight = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 2.0**2)) * image
        # The step is doubled: product of two bell curves of about the same width.
        x += 2 * ((weight * columns).sum() / weight.sum() - x)
        y += 2 * ((weight * rows).sum() / weight.sum() - y)
    return x, y


class TestOptions:
    def test_make_visit_with_dithered_acquisition(self, tmp_path):
        visit = datasets.make_visit(tmp_path, ta_dithers=True, integrations=1, ideal=True)
        assert [model_of(path).meta.dither.position_number for path in visit.ta] == [1, 2, 3]
        ta = siaf.aperture("NIRCAM", "NRCA5_TAMASK335R", "PRDOPSSOC-063")
        det = [siaf.pixel_to_det(ta, *star_of(visit, path)) for path in visit.ta]
        np.testing.assert_allclose(np.subtract(det, det[0]), siaf.NIRCAM_TA_DITHERS, atol=0.4)
        assert len(messages(visit, "TARGET LOCATE SUMMARY")) == 1
        moves = np.array([numbers(line) for line in messages(visit, "^Dither SAM")])
        assert np.hypot(*moves.T) == pytest.approx(0.063 * np.hypot([2, 3], [4, -5]), rel=0.01)
        assert siaf.det_to_pixel(ta, *numbers(messages(visit, "^detector coord")[0])) == pytest.approx(
            star_of(visit, visit.ta[2]), abs=6e-6
        )

    def test_make_visit_failed_ta_leaves_star_off_the_mask(self, tmp_path):
        visit = datasets.make_visit(tmp_path, failed_ta=True, integrations=1, ideal=True)
        assert messages(visit, "NIRCam target locate failed")
        assert not messages(visit, "^detector coord|SUCCESS|^TA SAM")
        mask = siaf.aperture("NIRCAM", "NRCA5_MASK335R", "PRDOPSSOC-063")
        x, y = np.subtract(star_of(visit, visit.science[0]), siaf.reference_pixel(mask, mask))
        assert np.hypot(x, y) * 0.063 == pytest.approx(np.hypot(0.25, 0.18), abs=0.02)

    def test_make_visit_failed_ta_keeps_first_stage(self, tmp_path):
        visit = datasets.make_visit(tmp_path, mode="miri", failed_ta=True, integrations=1, ideal=True)
        assert messages(visit, "MIRI target locate failed")
        assert len(messages(visit, "^detector coord")) == 1
        assert len(messages(visit, "TARGET LOCATE SUMMARY")) == 2

    def test_make_visit_confirms_after_the_correction(self, tmp_path):
        visit = datasets.make_visit(tmp_path, confirm=True, integrations=1, ideal=True)
        assert [model_of(path).meta.exposure.type for path in visit.ta] == ["NRC_TACQ", "NRC_TACONFIRM"]
        assert star_of(visit, visit.ta[1]) == pytest.approx((31.5, 31.5), abs=0.4)
        assert len(messages(visit, "TARGET LOCATE SUMMARY")) == 1

    def test_make_visit_two_stages_in_the_quadrant(self, tmp_path):
        visit = datasets.make_visit(tmp_path, mode="MIRIM_MASKLYOT", quadrant="LL", integrations=1, ideal=True)
        names = [model_of(path).meta.aperture.name for path in visit.ta]
        assert names == ["MIRIM_TALYOT_LL", "MIRIM_TALYOT_CLL"]
        assert len(messages(visit, "^TA SAM")) == 3

    def test_make_visit_centroid_noise(self, tmp_path):
        visit = datasets.make_visit(tmp_path, centroid_noise=0.05, integrations=1, ideal=True)
        ta = siaf.aperture("NIRCAM", "NRCA5_TAMASK335R", "PRDOPSSOC-063")
        found = siaf.det_to_pixel(ta, *numbers(messages(visit, "^detector coord")[0]))
        assert 1e-3 < np.hypot(*np.subtract(found, star_of(visit, visit.ta[0]))) < 0.25

    def test_make_visit_start_with_a_zone_is_converted(self, tmp_path):
        visit = datasets.make_visit(tmp_path, start="2024-03-10T03:00:00+01:00", integrations=1, ideal=True)
        assert model_of(visit.ta[0]).meta.visit.start_time.startswith("2024-03-10 02:00:00")

    def test_make_visit_same_seed_same_data(self, tmp_path):
        one = datasets.make_visit(tmp_path / "one", seed=3, integrations=1, ideal=True)
        two = datasets.make_visit(tmp_path / "two", seed=3, integrations=1, ideal=True)
        other = datasets.make_visit(tmp_path / "other", seed=4, integrations=1, ideal=True)
        xr.testing.assert_identical(one.truth, two.truth)
        assert one.oss_log.read_bytes() == two.oss_log.read_bytes()
        assert one.oss_log.read_bytes() != other.oss_log.read_bytes()
        for first, second, third in zip(
            one.ta + one.science, two.ta + two.science, other.ta + other.science, strict=True
        ):
            np.testing.assert_array_equal(model_of(first).data, model_of(second).data)
            assert not np.array_equal(model_of(first).data, model_of(third).data, equal_nan=True)

    def test_make_visit_replaces_an_earlier_one(self, tmp_path):
        datasets.make_visit(tmp_path, seed=1, integrations=1, ideal=True)
        again = datasets.make_visit(tmp_path, seed=2, integrations=1, ideal=True)
        assert len(list(tmp_path.iterdir())) == 3
        assert again.science[0].is_file()

    def test_make_visit_needs_no_network(self, tmp_path, monkeypatch):
        def refuse(*_args):
            msg = "no network here"
            raise AssertionError(msg)

        monkeypatch.setattr("socket.socket.connect", refuse)
        assert datasets.make_visit(tmp_path, integrations=1, ideal=True).oss_log.is_file()


class TestFaults:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"mode": "niriss"}, "no sample mode 'niriss'"),
            ({"visit_id": "V01386001001"}, "give 11 digits"),
            ({"target": (361.0, 0.0)}, "right ascension"),
            ({"target": (float("nan"), 0.0)}, "right ascension"),
            ({"target": (10.0, 90.1)}, "declination"),
            ({"role": "psf"}, "'science' or 'reference'"),
            ({"guider": 3}, "guider is 3"),
            ({"quadrant": "XX", "mode": "miri"}, "quadrant is 'XX'"),
            ({"integrations": 0}, "needs an integration"),
            ({"dithers": ()}, "needs an integration and a dither"),
            ({"mode": "miri", "ta_dithers": True}, "only NIRCam dithers"),
            ({"seed": -1}, "of at least 0"),
            ({"start": "yesterday"}, "give a time"),
        ],
    )
    def test_make_visit_refuses(self, options, message, tmp_path):
        with pytest.raises(ArgumentError, match=message):
            datasets.make_visit(tmp_path / "new", **options, ideal=True)
        assert not (tmp_path / "new").exists()

    def test_make_visit_refuses_impossible_folder(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(FileError, match="cannot write a sample visit"):
            datasets.make_visit(tmp_path / "file" / "folder", integrations=1, ideal=True)


def test_import_of_datasets_is_light():
    code = (
        "import sys, xta.datasets;"
        "print([m for m in ('jwst', 'pysiaf', 'scipy', 'stdatamodels', 'gwcs') if m in sys.modules])"
    )
    root = Path(datasets.__file__).parents[2]
    found = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
