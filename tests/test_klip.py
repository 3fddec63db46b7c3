"""PSF subtraction: truth on sample programs, pyKLIP's own result, the disc of AU Mic, bad input."""

import ctypes
import sys
from functools import partial

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage, optimize

import xta
from tests import speckles
from xta import datasets, instrument
from xta.errors import ArgumentError, KlipError, MissingError, RecenterError, WCSError, XtaWarning
from xta.geometry import sphere
from xta.psfsub import inject, klip, north, result, to_pyklip, to_vip
from xta.psfsub.components import Library, divide
from xta.psfsub.frames import prepare

PSF_SIZE = 101
NUMBERS = {"ADI": 3, "RDI": 3, "ADI+RDI": 5}


class Sample:
    """A sample program, recentered, and its companion."""

    def __init__(self, folder, mode):
        program = datasets.make_program(folder, mode=mode, ideal=True)
        self.exposures = [
            xta.analyze(path, centroid="oss", corrections="none").load()
            for path in (*program.science, *program.reference)
        ]
        self.cubes = [ds.ta.recenter() for ds in self.exposures]
        self.rolls, self.reference = self.cubes[:2], self.cubes[2]
        center = PSF_SIZE // 2
        self.psf = datasets.psf(mode, x=center, y=center, shape=(PSF_SIZE, PSF_SIZE))
        truth = program.truth.sel(file=program.science[0].name)
        self.separation = float(truth["companion_separation"])
        self.position_angle = float(truth["companion_position_angle"])
        self.jansky = float(truth["star_flux"] * truth["companion_contrast"])


@pytest.fixture(scope="module", params=["nircam", "miri"])
def sample(request, tmp_path_factory):
    return Sample(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def image(sample):
    return klip(sample.rolls, reference=sample.reference)


def offsets(separation, position_angle, scale):
    """Position of a source in a result, x and y [pixel]."""
    angle = np.deg2rad(position_angle)
    return -separation * np.sin(angle) / scale, separation * np.cos(angle) / scale


def stamp(image, x, y, half=3):
    """Interpolate a square of pixels around the offset x, y from the center."""
    dy, dx = np.mgrid[-half : half + 1, -half : half + 1]
    center = image.shape[-1] // 2
    return ndimage.map_coordinates(np.nan_to_num(image), [dy + center + y, dx + center + x], order=5)


def brightest(image):
    """Find the most significant pixel outside the mask: its offset x, y."""
    significance = image["klip"] / image["noise"].interp(radius=image["separation"])
    outside = (image["separation"] > 0.45) & (image["separation"] < 4)
    smooth = ndimage.gaussian_filter(significance.where(outside).fillna(0).values, 0.8)
    y, x = np.unravel_index(np.argmax(smooth), smooth.shape)
    return float(image["x"][x]), float(image["y"][y])


def measure(sample, mode):
    """Find the companion, and its flux by negative injections: x, y [pixel], flux, pixel [arcsec]."""
    number = NUMBERS[mode]
    found = klip(sample.rolls, reference=sample.reference, mode=mode, numbasis=number).isel(numbasis=0)
    scale, values = found.attrs["pixel_scale"], found["klip"].values
    x, y = brightest(found)
    flux = 10 * float(found["klip"].sel(x=x, y=y))
    for _ in range(2):
        separation, angle = np.hypot(x, y) * scale, np.rad2deg(np.arctan2(-x, y))
        without = [
            inject(ds, separation=separation, position_angle=angle, flux=-flux, psf=sample.psf) for ds in sample.rolls
        ]
        model = values - klip(without, reference=sample.reference, mode=mode, numbasis=number)["klip"].values[0]
        seen = stamp(values, x, y)

        def residual(p, model=model, seen=seen, x=x, y=y):
            return (p[0] * stamp(model, x - p[1], y - p[2]) + p[3] - seen).ravel()

        factor, dx, dy, _ = optimize.least_squares(residual, [1, 0, 0, 0]).x
        flux, x, y = flux * factor, x + dx, y + dy
    return x, y, flux, scale


@pytest.mark.parametrize("mode", ["ADI", "RDI", "ADI+RDI"])
def test_klip_companion_position_and_flux(sample, mode):
    x, y, flux, scale = measure(sample, mode)
    true_x, true_y = offsets(sample.separation, sample.position_angle, scale)
    true_flux = sample.jansky * 1e-6 / np.deg2rad(scale / 3600) ** 2  # summed over the pixels [MJy/sr]
    error = np.hypot(x - true_x, y - true_y)
    assert error < 0.05
    assert abs(flux / true_flux - 1) < 0.03


def test_inject_throughput_same_all_around(sample):
    options = {"reference": sample.reference, "mode": "RDI", "numbasis": 1}
    before = klip(sample.rolls, **options)
    x, y = offsets(sample.separation, 0, before.attrs["pixel_scale"])
    kept = []
    for turn in (70, 200):
        angle = sample.position_angle + turn
        fakes = [
            inject(ds, separation=sample.separation, position_angle=angle, flux=300, psf=sample.psf)
            for ds in sample.rolls
        ]
        gain = klip(fakes, **options)["klip"].values[0] - before["klip"].values[0]
        x, y = offsets(sample.separation, angle, before.attrs["pixel_scale"])
        kept.append(stamp(gain, x, y, half=6).sum() / 300)
    assert np.ptp(kept) < 0.03
    assert 0.4 < min(kept) < max(kept) < 1


def test_up_angle_agrees_with_keywords(sample):
    tolerance = 0.01 if sample.rolls[0].attrs["instrument"] == "NIRCAM" else 0.2  # MIRI's axes are skewed by that
    for ds in sample.cubes:
        by_keywords = ds.attrs["roll_ref"] - ds.attrs["v3i_yang"] * ds.attrs["vparity"]
        assert abs(float(sphere.wrap_degrees(north.up_angle(ds) - by_keywords))) < tolerance
        assert north.handedness(ds) == -1


def test_jacobian_axes_differ_by_distortion(sample):
    along_x, along_y = np.hypot(*north._jacobian(sample.rolls[0]))
    known = {"NIRCAM": 1.0145, "MIRI": 1.0037}[sample.rolls[0].attrs["instrument"]]
    assert abs(along_y / along_x - known) < 1e-3


def test_sky_to_pixel_inverts_offsets(sample):
    ds = sample.rolls[0]
    half = min(ds.sizes["x"], ds.sizes["y"]) // 2
    x, y = np.random.default_rng(0).uniform(-half, half, (2, 200))
    again = north.sky_to_pixel(ds, *north._offsets(ds, x, y))
    np.testing.assert_allclose(again, [x, y], rtol=0, atol=1e-6)


def test_klip_labels_result(sample, image):
    assert list(image["klip"].dims) == ["numbasis", "y", "x"]
    assert list(image["numbasis"]) == [1, 5]  # 10 is more than the frames admitted
    assert image["klip"].attrs["units"] == image["noise"].attrs["units"] == "MJy/sr"
    assert image["klip"].dtype == np.float32
    assert image.attrs["mode"] == "ADI+RDI"
    assert image.attrs["science"].split(", ") == [ds.attrs["filename"] for ds in sample.rolls]
    assert image.attrs["reference"] == sample.reference.attrs["filename"]
    assert image.attrs["history"].startswith("xta ")
    assert str(image["filter"].values) == str(sample.rolls[0]["filter"].values)
    single = [ds.ta.derotate(size=3) for ds in sample.rolls]
    for name in ("target_x_err", "target_y_err"):
        apart = [float(ds[name]) for ds in single]
        assert min(apart) / 2**0.5 < float(image[name]) < max(apart)
    assert all(np.all(np.diff(image[name]) * sign > 0) for name, sign in (("east", -1), ("north", 1)))
    for name, variable in image.variables.items():
        assert variable.attrs["long_name"], name


def test_klip_wcs_north_up_east_left(sample, image):
    dx, dy = np.meshgrid(image["east"], image["north"])
    star = float(image["target_ra"]), float(image["target_dec"])
    np.testing.assert_allclose(star, [float(sample.rolls[0][f"target_{axis}"]) for axis in ("ra", "dec")], atol=1e-9)
    east, up = sphere.tangent_offset(*star, image["ra"].values, image["dec"].values)
    np.testing.assert_allclose(east, dx, atol=1e-6)
    np.testing.assert_allclose(up, dy, atol=1e-6)
    np.testing.assert_allclose(image["separation"], np.hypot(dx, dy), atol=1e-6)
    left = image.sel(x=-50, y=0)
    assert abs(float(left["position_angle"]) - 90) < 1e-3
    ra, dec = image.ta.pixel_to_world(7.25, -3.5)
    np.testing.assert_allclose(image.ta.world_to_pixel(ra, dec), [7.25, -3.5], atol=1e-7)


def test_klip_result_to_netcdf_and_back(image, tmp_path):
    xta.to_netcdf(image, tmp_path / "klip.nc")
    with xr.open_dataset(tmp_path / "klip.nc") as again:
        np.testing.assert_array_equal(again["klip"], image["klip"])
        assert again.ta.pixel_to_world(3, 4) == image.ta.pixel_to_world(3, 4)
        assert again.attrs == image.attrs


def test_klip_recenters_once_and_leaves_input(sample, image):
    before = [ds.copy(deep=True) for ds in (*sample.exposures, *sample.cubes)]
    again = klip(sample.exposures[:2], reference=sample.exposures[2])
    np.testing.assert_array_equal(again["klip"], image["klip"])
    for ds, old in zip((*sample.exposures, *sample.cubes), before, strict=True):
        xr.testing.assert_identical(ds, old)


def test_klip_takes_star_given_by_hand(sample, image):
    plain = []
    for ds in sample.exposures:
        star = {name: float(ds[name]) for name in ("target_x", "target_y")}
        gone = [name for name in ds.variables if str(name).startswith(("ta_", "target_", "mask_", "offset_"))]
        plain.append(ds.drop_vars(gone).assign_coords(star))
    np.testing.assert_array_equal(klip(plain[:2], reference=plain[2])["klip"], image["klip"])


# --------------------------------------------------------------------------------------------- pyKLIP and VIP


def clean(sample, half=52):
    """Frames without bad pixels, small enough to be quick."""
    cut = {axis: slice(-half, half) for axis in ("x", "y")}
    return [ds.sel(cut).drop_vars("dq").assign(sci=lambda ds: ds["sci"].fillna(1.0)) for ds in sample.cubes]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # pyKLIP forks
@pytest.mark.parametrize("mode", ["ADI", "RDI", "ADI+RDI"])
@pytest.mark.parametrize(("annuli", "subsections"), [(1, 1), (3, 4)])
def test_residuals_equal_those_of_pyklip(sample, mode, annuli, subsections, tmp_path):
    from pyklip import klip as engine
    from pyklip import parallelized

    *rolls, star = clean(sample)
    numbasis = [1, 3]
    dataset, library = to_pyklip(rolls, reference=star)
    dataset.OWA = 45
    parallelized.klip_dataset(
        dataset,
        mode=mode,
        psf_library=library if "RDI" in mode else None,
        annuli=annuli,
        subsections=subsections,
        numbasis=numbasis,
        outputdir=str(tmp_path),
        movement=1,
        maxnumbasis=99,
        corr_smooth=0,
        numthreads=1,
        dtype=ctypes.c_double,
        skip_derot=True,
        verbose=False,
    )
    frames = prepare(rolls, star)
    ours = Library(frames, [north.up_angle(exposure.ds) for exposure in frames.science], mode=mode, movement=1)
    sections = divide(frames.shape, annuli=annuli, subsections=subsections, inner=0, outer=45)
    residuals = np.concatenate(list(ours.residuals(sections, numbasis, engine)))
    theirs = np.moveaxis(dataset.output[:, :, 0], 0, 1)
    np.testing.assert_allclose(residuals, theirs, atol=1e-7)


def test_to_pyklip_frames_need_no_alignment(sample):
    dataset, library = to_pyklip(sample.rolls, reference=sample.reference)
    n = sum(ds.sizes["integration"] for ds in sample.rolls)
    _, ny, nx = dataset.input.shape
    assert (ny, nx) == (sample.rolls[0].sizes["y"], sample.rolls[0].sizes["x"])
    np.testing.assert_array_equal(dataset.centers, np.tile([(nx - 1) / 2, (ny - 1) / 2], (n, 1)))
    assert np.array_equal(library.aligned_center, dataset.centers[0])
    np.testing.assert_array_equal(dataset.input[: n // 2], sample.rolls[0]["sci"])
    np.testing.assert_allclose(np.unique(dataset.PAs), [north.up_angle(ds) for ds in sample.rolls])
    assert (
        len(set(library.master_filenames)) == len(library.master_library) == n + sample.reference.sizes["integration"]
    )
    assert library.dataset is dataset
    assert list(library.isgoodpsf) == list(range(sample.reference.sizes["integration"]))
    assert to_pyklip(sample.rolls)[1] is None


def test_to_vip_frames_without_nan(sample):
    data = to_vip(sample.rolls, reference=sample.reference)
    observed = np.isfinite(sample.rolls[0]["sci"].values)
    assert not observed.all()
    assert np.isfinite(data["cube"]).all()
    assert np.isfinite(data["cube_ref"]).all()
    ny, nx = observed.shape[1:]
    size = max(ny, nx)
    assert size % 2
    assert data["cube"].shape[1:] == data["cube_ref"].shape[1:] == (size, size)
    middle = np.s_[: len(observed), (size - ny) // 2 : (size + ny) // 2, (size - nx) // 2 : (size + nx) // 2]
    np.testing.assert_array_equal(data["cube"][middle][observed], sample.rolls[0]["sci"].values[observed])
    assert (np.delete(data["cube"], np.arange(size)[middle[1]], axis=1) == 0).all()
    np.testing.assert_array_equal(data["angles"], to_pyklip(sample.rolls)[0].PAs)
    assert to_vip(sample.rolls)["cube_ref"] is None


def rotated_by_scipy(cube, angles):
    """Rotate about the central pixel, counter-clockwise, as VIP does by its `angle_list`."""
    pairs = zip(cube, angles, strict=True)
    return np.stack([ndimage.rotate(frame, -angle, reshape=False, order=3) for frame, angle in pairs])


def rotated_by_vip(cube, angles):
    return pytest.importorskip("vip_hci").preproc.cube_derotate(cube, angles)


@pytest.mark.parametrize("rotate", [rotated_by_scipy, rotated_by_vip])
def test_to_vip_companion_after_rotation(sample, rotate):
    options = {"separation": 1.6, "position_angle": 100.0, "psf": sample.psf}
    data, fake = (
        to_vip([inject(ds.isel(integration=[0]), flux=flux, **options) for ds in sample.rolls]) for flux in (0.0, 1e4)
    )
    source = fake["cube"] - data["cube"]
    turned = rotate(source, fake["angles"])
    scale = north.pixel_scale(sample.rolls[0])
    x, y = offsets(1.6, 100.0, scale)
    for frame, before in zip(turned, source, strict=True):
        assert 0.97 < frame.sum() / before.sum() < 1.03
        best_y, best_x = np.unravel_index(np.argmax(frame), frame.shape)
        half = len(frame) // 2
        assert np.hypot(best_x - half - x, best_y - half - y) < 1.2  # to the pixel: the turn is rigid


# ------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("form", ["whole", "cropped", "one number"])
def test_to_fits_of_klip_image(image, form, tmp_path):
    from astropy.io import fits
    from astropy.wcs import WCS

    cut = {"x": slice(-40, 30), "y": slice(-20, 50)}
    forms = {"whole": lambda: image, "cropped": lambda: image.sel(cut), "one number": lambda: image.sel(numbasis=5)}
    ds = forms[form]().assign_coords(target_x_err=0.11, target_y_err=0.12, target_xy_corr=0.3)
    ds.ta.to_fits(tmp_path / "klip.fits")
    numbers = np.atleast_1d(ds["numbasis"].values).tolist()
    with fits.open(tmp_path / "klip.fits") as hdus:
        hdus.verify("exception")
        assert [hdu.ver for hdu in hdus if hdu.name == "KLIP"] == numbers
        for number in numbers:
            hdu = hdus["KLIP", number]
            np.testing.assert_array_equal(
                hdu.data, ds["klip"].sel(numbasis=number) if form != "one number" else ds["klip"]
            )
            header = hdu.header
            x, y = np.meshgrid(np.arange(ds.sizes["x"]), np.arange(ds.sizes["y"]))
            sky = WCS(header).all_pix2world(x, y, 0)
            np.testing.assert_allclose(sky, [ds["ra"], ds["dec"]], rtol=0, atol=1e-10)
            star = -int(ds["x"][0]), -int(ds["y"][0])
            assert (header["PSFCENTX"], header["PSFCENTY"]) == star
            assert (header["STARCENX"] - 1, header["STARCENY"] - 1) == star
            assert (header["STARXERR"], header["STARYERR"], header["STARCORR"]) == (0.11, 0.12, 0.3)
            assert header["BUNIT"] == "MJy/sr"
            noise = ds["noise"].sel(numbasis=number) if form != "one number" else ds["noise"]
            np.testing.assert_array_equal(hdus["NOISE"].data[f"noise_{number}"], noise)
        primary = hdus[0].header
        assert (primary["FILTER"], primary["KLIPMODE"]) == (ds.attrs["filter"], "ADI+RDI")
        assert primary["SCIF0002"] == ds.attrs["science"].split(", ")[1]
        assert "klip, ADI+RDI" in " ".join(primary["HISTORY"])


def test_to_fits_of_klip_image_in_pyklip(image, tmp_path):
    from astropy.io import fits
    from pyklip.klip import meas_contrast

    image.ta.to_fits(tmp_path / "klip.fits")
    with fits.open(tmp_path / "klip.fits") as hdus:
        data, header = hdus["KLIP", 5].data.astype(float), hdus["KLIP", 5].header
    options = {"iwa": 8, "owa": 40, "resolution": 2.3, "low_pass_filter": False}
    by_file = meas_contrast(data, center=(header["PSFCENTX"], header["PSFCENTY"]), **options)
    here = meas_contrast(image["klip"].sel(numbasis=5).values.astype(float), **options)
    np.testing.assert_array_equal(by_file, here)


@pytest.mark.parametrize("change", [{"template": "a.fits"}, {"crpix": "star"}])
def test_to_fits_of_klip_image_refuses_options(image, change, tmp_path):
    with pytest.raises(ArgumentError, match="template or crpix"):
        image.ta.to_fits(tmp_path / "klip.fits", **change)
    with pytest.raises(WCSError, match="labels x"):
        image.isel(x=slice(None, None, 2)).ta.to_fits(tmp_path / "klip.fits")


# ------------------------------------------------------------------------------------------------- geometry


@pytest.fixture(scope="module")
def make_exposure(build_wcs):
    return partial(speckles.make_exposure, build_wcs)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ra=st.floats(0, 360, exclude_max=True),
    dec=st.floats(-89.9, 89.9),
    roll=st.floats(0, 360),
    separation=st.floats(0.1, 1.0),
    position_angle=st.floats(0, 360),
)
def test_derotate_source_to_sky_position(make_exposure, ra, dec, roll, separation, position_angle):
    ds = make_exposure(ra=ra, dec=dec, roll=roll, integrations=1)
    east, up = separation * np.sin(np.deg2rad(position_angle)), separation * np.cos(np.deg2rad(position_angle))
    x, y = north.sky_to_pixel(ds, east, up)
    np.testing.assert_allclose(north._offsets(ds, x, y), [east, up], atol=1e-8)
    image = np.exp(-((ds["x"].values - x) ** 2 + (ds["y"].values[:, None] - y) ** 2) / 4)
    scale = north.pixel_scale(ds)
    turned = north.derotate(image[None], ds, size=41, scale=scale)[0]
    turned = np.nan_to_num(turned)
    steps = scale * (np.arange(41) - 20)
    assert abs((turned * -steps).sum() / turned.sum() - east) < 0.002
    assert abs((turned.T * steps).sum() / turned.sum() - up) < 0.002
    assert abs(turned.sum() / image.sum() - 1) < 0.002


def test_derotate_bad_pixel_masks_only_surroundings(make_exposure):
    ds = make_exposure()
    image = np.ones((1, 41, 41))
    image[0, 25, 25] = np.nan
    turned = north.derotate(image, ds, size=41, scale=north.pixel_scale(ds))[0]
    y, x = np.indices((41, 41)) - 20
    inside = np.hypot(x, y) < 18
    assert 1 <= (~np.isfinite(turned) & inside).sum() <= 9
    np.testing.assert_allclose(turned[np.isfinite(turned)], 1, atol=1e-12)


def test_sky_to_pixel_refuses_wcs_not_smooth(make_exposure):
    ds = make_exposure(size=301, distortion=0.03)
    with pytest.raises(WCSError, match=r"f0\.fits is not smooth"):
        north.sky_to_pixel(ds, 0.1, 0.1)


# ------------------------------------------------------------------------------------------------- injection


def test_inject_position_and_flux(sample):
    ds = sample.rolls[0]
    with_source = inject(ds, separation=1.2, position_angle=40, flux=1e4, psf=sample.psf)
    added = (with_source["sci"] - ds["sci"]).mean("integration")
    assert abs(float(added.sum()) / (1e4 * sample.psf.sum()) - 1) < 0.02  # some falls on bad pixels
    near = added.where(added > 0.1 * added.max()).fillna(0)
    # The light of the PSF is not centered on its middle: compare with it.
    y, x = np.indices(sample.psf.shape) - PSF_SIZE // 2
    core = np.where(sample.psf > 0.1 * sample.psf.max(), sample.psf, 0)
    shift = [(core * grid).sum() / core.sum() for grid in (x, y)]
    center = [float((near * ds[axis]).sum() / near.sum()) - move for axis, move in zip("xy", shift, strict=True)]
    ra, dec = ds.ta.pixel_to_world(*center)
    east, up = sphere.tangent_offset(*ds.ta.pixel_to_world(0.0, 0.0), ra, dec)
    np.testing.assert_allclose([east, up], 1.2 * np.array([np.sin(np.deg2rad(40)), np.cos(np.deg2rad(40))]), atol=0.02)
    back = inject(with_source, separation=1.2, position_angle=40, flux=-1e4, psf=sample.psf)
    np.testing.assert_allclose(back["sci"], ds["sci"], atol=1e-3)
    assert "inject" in with_source.attrs["history"]
    assert with_source["sci"].dtype == ds["sci"].dtype
    xr.testing.assert_identical(with_source["err"], ds["err"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"psf": np.ones((4, 5))}, "odd numbers"),
        ({"psf": np.full((5, 5), np.nan)}, "finite image"),
        ({"separation": 50.0}, "outside the frames"),
        ({"flux": np.nan}, "not all finite"),
    ],
)
def test_inject_refuses_bad_arguments(make_exposure, change, message):
    options = {"separation": 0.5, "position_angle": 10.0, "flux": 1.0, "psf": np.ones((5, 5))}
    with pytest.raises(ArgumentError, match=message):
        inject(make_exposure(), **options | change)


def test_inject_refuses_exposure_not_recentered(make_exposure):
    with pytest.raises(RecenterError, match="recenter"):
        inject(make_exposure(centered=False), separation=1, position_angle=0, flux=1, psf=np.ones((5, 5)))


# ------------------------------------------------------------------------------------- noise, masks, sections


def test_noise_gaussian_but_near_star():
    image = np.random.default_rng(5).normal(0, 2.0, (2, 301, 301))
    radius, values = result.noise(image, element=3.0)
    np.testing.assert_allclose(radius[:2], [1.5, 4.5])
    np.testing.assert_allclose(values[:, -1], 2.0, rtol=0.05)
    few = values[:, :4].mean(axis=0) / 2.0
    assert few[0] > 1.1  # three resolution elements
    spoiled = image.copy()
    spoiled[:, 150, 250:253] = 1e6
    np.testing.assert_allclose(result.noise(spoiled, element=3.0)[1][:, -20:], values[:, -20:], rtol=0.02)
    spoiled[...] = np.nan
    assert np.isnan(result.noise(spoiled, element=3.0)[1]).all()


def test_resolution_by_filter_or_fwhm(make_exposure):
    ds = make_exposure()
    assert abs(instrument.resolution(ds, None) - 0.1409) < 1e-4
    assert instrument.resolution(ds, 0.2) == 0.2
    with pytest.raises(ArgumentError, match="give fwhm="):
        instrument.resolution(ds.assign_coords(filter="FND"), None)
    with pytest.raises(ArgumentError, match="positive"):
        instrument.resolution(ds, 0.0)


def test_klip_leaves_bad_pixel_of_one_frame_out(make_exposure):
    rolls, star = (
        [make_exposure(1, roll=75, integrations=3), make_exposure(2, roll=85, integrations=3)],
        make_exposure(3),
    )
    good = klip(rolls, reference=star, numbasis=1)["klip"].values[0]
    for k in (0, 1, 2):  # of a science exposure, and of the reference
        spoiled = [ds.copy(deep=True) for ds in (*rolls, star)]
        spoiled[k]["sci"][0, 20, 28] = 1e6 if k == 1 else np.nan
        if k == 1:
            spoiled[k]["dq"][0, 20, 28] = 1
        found = klip(spoiled[:2], reference=spoiled[2], numbasis=1)["klip"].values[0]
        np.testing.assert_array_equal(np.isfinite(found), np.isfinite(good))
        assert np.nanmax(abs(found - good)) < 0.15


def test_klip_pixel_bad_everywhere_is_nan(make_exposure):
    rolls = [make_exposure(1, roll=75), make_exposure(2, roll=75)]
    for ds in rolls:
        ds["sci"][:, 20, 28] = np.nan
    image = klip(rolls, reference=make_exposure(3), numbasis=1)["klip"][0]
    full = klip([make_exposure(1), make_exposure(2)], reference=make_exposure(3), numbasis=1)["klip"][0]
    assert 1 <= int((np.isnan(image) & np.isfinite(full)).sum()) <= 9


@pytest.mark.parametrize(("inner", "outer"), [(0.0, None), (2.0, None), (18.0, None), (2.0, 30.0), (0.0, 11.5)])
@pytest.mark.parametrize("subsections", [1, 3, 4, 7])
def test_divide_sections_are_partition(inner, outer, subsections):
    sections = divide((31, 41), annuli=3, subsections=subsections, inner=inner, outer=outer)
    total = np.sum([section.pixels for section in sections], axis=0)
    y, x = np.indices((31, 41)) - np.array([15, 20])[:, None, None]
    np.testing.assert_array_equal(total, (np.hypot(x, y) >= inner) & (np.hypot(x, y) < (outer or 99)))
    assert len(sections) == 3 * subsections


def test_klip_keeps_inner_and_outer_edges(make_exposure):
    image = klip(make_exposure(1), reference=make_exposure(2), numbasis=1, iwa=0.3, owa=0.9)
    finite = np.isfinite(image["klip"][0])
    assert float(image["separation"].where(finite).min()) > 0.3 - 0.1
    assert float(image["separation"].where(finite).max()) < 0.9 + 0.1
    assert float(finite.sel(x=8, y=0))


def test_klip_crops_reference_of_other_size(make_exposure):
    small, large = make_exposure(1, size=31), make_exposure(2, size=51)
    image = klip(small, reference=large, numbasis=1)
    assert dict(image["klip"].sizes) == {"numbasis": 1, "y": 31, "x": 31}
    cut = large.sel(x=slice(-15, 15), y=slice(-15, 15))
    xr.testing.assert_identical(image.drop_vars("wcs"), klip(small, reference=cut, numbasis=1).drop_vars("wcs"))


# ------------------------------------------------------------------------------------------------- bad input


def changed(ds, **attrs):
    return ds.assign_coords(attrs)


BAD = {
    "no star": (
        lambda make: {"science": make(1, centered=False).drop_vars(["target_x", "target_y"]), "reference": make(2)},
        r"f1\.fits: the star's pixel is not known; call ds\.ta\.adjust_wcs\(\) first, or set it with",
    ),
    "instruments": (lambda make: {"reference": changed(make(2), instrument="MIRI")}, "instrument of .* is MIRI"),
    "filters": (lambda make: {"reference": changed(make(2), filter="F356W")}, "filter of .* is F356W, but of .* F444W"),
    "detectors": (lambda make: {"reference": changed(make(2), detector="NRCA2")}, "detector of .* is NRCA2"),
    "pixels": (lambda make: {"reference": make(2, scale=0.031)}, "a pixel of .* is 0.03"),
    "units": (
        lambda make: {"reference": make(2).assign(sci=lambda ds: ds["sci"].assign_attrs(units="DN/s"))},
        "the unit of .* is DN/s",
    ),
    "twice": (lambda make: {"reference": make(1)}, r"f1\.fits_INT1 is given twice"),
    "no science": (lambda make: {"science": []}, "there is no science exposure"),
    "nothing to model with": (lambda make: {"reference": None}, "at one roll and 0 references; for a subtraction give"),
    "one roll": (lambda make: {"mode": "ADI"}, "for ADI give exposures at several rolls"),
    "no reference": (lambda make: {"mode": "RDI", "reference": None}, "for RDI give references"),
    "too many": (lambda make: {"numbasis": [1, 3]}, r"has 2 frames for f1\.fits .* fewer than numbasis 3"),
    "few in a ring": (
        lambda make: {"science": [make(1), make(3, roll=85)], "mode": "ADI", "numbasis": 1, "annuli": 4},
        r"has 0 frames for f1\.fits from 0\.0 to 5\.0 px.*smaller movement \(now 1 px\)",
    ),
    "all bad": (
        lambda make: {"science": make(1).assign(sci=lambda ds: ds["sci"].where(ds["integration"] != 2))},
        r"integration 2 of f1\.fits has no good pixel",
    ),
    "star off the pixel": (
        lambda make: {"science": make(1).assign_coords(target_x=0.3)},
        r"is \+0\.300, \+0\.000 px off the central pixel",
    ),
    "strided": (lambda make: {"reference": make(2).isel(x=slice(None, None, 2))}, "labels x of .* are not successive"),
    "no star inside": (lambda make: {"reference": make(2).isel(x=slice(0, 9))}, "labels x of .* are not successive"),
    "star at the edge": (lambda make: {"reference": make(2).isel(y=slice(20, None))}, "at the edge along y"),
    "joined": (lambda make: {"science": xr.concat([make(1), make(3)], "exposure")}, "only the identity of the first"),
    "outside": (lambda make: {"iwa": 30.0}, "no pixel was observed"),
    "dependent": (
        lambda make: {
            "reference": make(2).assign(
                sci=lambda ds: ds["sci"].isel(integration=[0, 0]).assign_coords(integration=[1, 2])
            ),
            "numbasis": 2,
        },
        "only 1 of the 2 frames .* are independent",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_klip_refuses_inputs_that_do_not_fit(make_exposure, case):
    make, message = BAD[case]
    given_now = {"science": make_exposure(1), "reference": make_exposure(2), "numbasis": 1} | make(make_exposure)
    with pytest.raises(KlipError, match=message):
        klip(given_now.pop("science"), **given_now)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"numbasis": 0}, "integers of at least 1"),
        ({"numbasis": []}, "integers of at least 1"),
        ({"numbasis": [1.5]}, "integers of at least 1"),
        ({"annuli": 0}, "annuli is 0"),
        ({"subsections": 1.5}, "subsections is 1.5"),
        ({"iwa": 1.0, "owa": 0.5}, "iwa < owa"),
        ({"movement": 0}, "model itself"),
        ({"mode": "SDI"}, "mode is 'SDI'; give one of ADI, RDI, ADI.RDI"),
        ({"reference": ["a.fits"]}, "reference contains a str, not a dataset"),
    ],
)
def test_klip_refuses_bad_options(make_exposure, options, message):
    with pytest.raises(ArgumentError, match=message):
        klip(make_exposure(1), **{"reference": make_exposure(2)} | options)


def test_klip_needs_wcs_of_science_only(make_exposure):
    with pytest.raises(WCSError, match="no wcs"):
        klip(make_exposure(1).drop_vars("wcs"), reference=make_exposure(2))
    klip(make_exposure(1), reference=make_exposure(2).drop_vars("wcs"))  # a reference needs none


def test_to_pyklip_and_to_vip_refuse_mirrored_frame(make_exposure):
    ds = make_exposure(1)
    mirrored = ds.assign(sci=ds["sci"].copy(data=ds["sci"].values[..., ::-1]))
    text = xta.wcs.dump(_mirrored(xta.wcs.load(str.__str__(ds["wcs"].item()))))
    mirrored = xta.sky.assign_wcs(mirrored, text)
    with pytest.raises(KlipError, match=r"f1\.fits is mirrored"):
        to_pyklip(mirrored)
    with pytest.raises(KlipError, match=r"f1\.fits is mirrored"):
        to_vip(mirrored)
    star = make_exposure(2)
    flipped = star.assign(sci=star["sci"].copy(data=star["sci"].values[..., ::-1]))
    straight = klip(ds, reference=star, numbasis=1)["klip"]
    np.testing.assert_allclose(klip(mirrored, reference=flipped, numbasis=1)["klip"], straight, atol=1e-9)


def _mirrored(wcs):
    from astropy.modeling.models import Identity, Scale
    from gwcs import WCS

    steps = [(step.frame, step.transform) for step in wcs.pipeline]
    first = steps[0][1]
    return WCS([(steps[0][0], Scale(-1) & Identity(1) | first), *steps[1:]])


@pytest.mark.parametrize("function", [klip, to_pyklip])
def test_import_engine_names_what_to_install(make_exposure, function, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "pyklip"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyklip", None)
    with pytest.raises(KlipError, match=r'pip install "xta\[klip\]"'):
        function(make_exposure(1), reference=make_exposure(2))


# ------------------------------------------------------------------------------------------------- real data


@pytest.fixture(scope="module")
def au_mic(shared):
    exposures = []
    for path in sorted((shared / "real" / "nircam_aumic").glob("*.fits")):
        with pytest.warns(XtaWarning, match="INT_TIMES|IMSHIFTS"):
            ds = xta.open_exposure(path)
        exposures.append(ds.assign_coords(target_x=150.0, target_y=174.0).load())
    return exposures[:2], exposures[2:]


def along_and_across(image, angle):
    """Offsets along a position angle and across it [arcsec]."""
    sine, cosine = np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))
    return image["east"] * sine + image["north"] * cosine, image["east"] * cosine - image["north"] * sine


def brightness(image, angle):
    """Mean of a box from 1.5 to 4 arcsec along a position angle, on one side of the star."""
    along, across = along_and_across(image, angle)
    return float(image["klip"].where((along > 1.5) & (along < 4) & (abs(across) < 0.3)).mean())


def disc_angle(image, angle=125.0):
    """Fit the position angle of a straight ridge through the star, 1.5 to 4 arcsec away [deg]."""
    for _ in range(10):
        along, across = along_and_across(image, angle)
        light = image["klip"].where((abs(along) > 1.5) & (abs(along) < 4) & (abs(across) < 0.6)).clip(min=0)
        angle += np.rad2deg(float((light * along * across).sum() / (light * along**2).sum()))
    return angle


def test_klip_disc_of_au_mic_position_angle(au_mic):
    rolls, stars = au_mic
    image = klip(rolls, reference=stars, mode="RDI", numbasis=3).isel(numbasis=0)
    disc = [brightness(image, angle) for angle in (128.5, 308.5)]
    beside = [brightness(image, angle) for angle in (38.5, 218.5)]
    assert min(disc) > 10 * max(map(abs, beside))
    single = [klip(roll, reference=stars, numbasis=3).isel(numbasis=0) for roll in rolls]
    np.testing.assert_allclose([disc_angle(found) for found in (image, *single)], 128.5, atol=0.5)


def test_klip_disc_subtracts_itself_between_rolls(au_mic):
    rolls, stars = au_mic
    adi, rdi = (
        brightness(klip(rolls, reference=stars, mode=mode, numbasis=1).isel(numbasis=0), 128.5)
        for mode in ("ADI", "RDI")
    )
    assert 0 < adi < rdi


# ------------------------------------------------------------------------------------------------- picture


def test_plot_klip_east_to_left(image):
    from matplotlib.figure import Figure

    from xta.plot import klip as draw

    ax = Figure().subplots()
    drawn = draw(image, ax=ax)
    assert drawn.axes is ax
    left, right = ax.get_xlim()
    assert left > 0 > right
    assert ax.get_ylim()[1] > 0
    np.testing.assert_array_equal(np.ma.filled(drawn.get_array(), np.nan), image["klip"].values[-1])
    with pytest.raises(ArgumentError, match="numbasis is 2; the dataset has 1, 5"):
        draw(image, ax=ax, numbasis=2)
    with pytest.raises(MissingError, match="klip"):
        draw(image.drop_vars("klip"), ax=ax)


def test_plot_klip_field_and_marks(sample, image):
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle

    from xta.plot import klip as draw

    ax = Figure().subplots()
    draw(image, ax=ax, fov=4.0, mark=[(sample.separation, sample.position_angle)])
    assert ax.get_xlim() == (2, -2)
    assert ax.get_ylim() == (-2, 2)
    (circle,) = [patch for patch in ax.patches if isinstance(patch, Circle)]
    x, y = offsets(sample.separation, sample.position_angle, image.attrs["pixel_scale"])
    place = -x * image.attrs["pixel_scale"], y * image.attrs["pixel_scale"]
    np.testing.assert_allclose(circle.center, place, atol=1e-9)
    with pytest.raises(ArgumentError, match="positive"):
        draw(image, ax=ax, fov=0)
