"""Registration: the relative stars of exposures, against shifts that were put in and stars that are known."""

import itertools
import warnings

import numpy as np
import pytest
import xarray as xr

import xta
from xta import datasets
from xta.datasets.optics import Camera, place, suppressed_source, wavefront
from xta.errors import ArgumentError, CentroidError, MissingError, RecenterError
from xta.estimates.registration import pairs
from xta.images import registration
from xta.images.registration import Frame
from xta.images.shift import fill_bad, resample

LONG, SHORT, MIRI = 0.063, 0.031, 0.11  # arcsec/pixel


class Scene:
    """Images of one star behind a mask, moved, by one telescope that drifts; no files."""

    def __init__(self, wavelength, pixel, mask, size, *, telescope=5, outer=1.6):
        self.pixel, self.mask, self.size, self.telescope = pixel, mask, size, telescope
        self.speckle = wavelength * 1e-6 / 6.5 * 206265 / pixel
        half = int(outer / pixel) + registration.MARGIN + 1
        self.shape, self.center = (2 * half + 1, 2 * half + 1), half
        self.camera = Camera(wavelength, pixel, max(128, 4 * half))
        y, x = np.indices(self.shape)
        self.radius = np.hypot(x - half, y - half) * pixel
        self.outer = outer

    def frame(self, dx, dy, *, visit=0, drift=0.0, flux=1e8, noise=True, offset=(0.0, 0.0)):
        opd = wavefront(self.telescope, rms=60)
        if drift:
            opd = opd + wavefront(1000 * self.telescope + visit, rms=drift)
        source = suppressed_source(self.camera, mask=self.mask, mask_size=self.size, opd=opd, offset=offset)
        image = flux * place(source, self.camera, x=self.center + dx, y=self.center + dy, shape=self.shape)
        variance = np.maximum(image, 0) + 25
        if noise:
            rng = np.random.default_rng([self.telescope, visit, 7])
            image = image + np.sqrt(variance) * rng.standard_normal(image.shape)
        return Frame(image, variance, np.zeros(image.shape, dtype=bool))

    def register(self, frame, reference, *, inner=0.0, **options):
        region = (self.radius >= inner) & (self.radius <= self.outer)
        return registration.register(frame, reference, region=region, speckle=self.speckle, **options)


def round_mask(wavelength=4.4, **options):
    return Scene(wavelength, LONG, "round", 0.63, **options)


@pytest.mark.parametrize("wavelength", [3.36, 3.57, 4.4])
def test_register_finds_shift_without_noise(wavelength):
    """Also where the pixels sample the image below Nyquist, as in F335M."""
    scene = round_mask(wavelength)
    reference = scene.frame(0, 0, noise=False)
    for dx, dy in ((0.008, -0.008), (0.1, 0.03), (0.5, -0.4)):
        found = scene.register(scene.frame(dx, dy, noise=False), reference)
        assert (found.dx, found.dy) == pytest.approx((dx, dy), abs=2e-3)
        assert found.scale == pytest.approx(1, abs=1e-3)


def test_register_finds_large_shift_scale_and_level():
    scene = round_mask()
    moved = scene.frame(2.3, -1.7, flux=3e8, noise=False)
    moved = Frame(moved.image + 40, moved.variance, moved.bad)
    found = scene.register(moved, scene.frame(0, 0, noise=False))
    assert (found.dx, found.dy, found.scale) == pytest.approx((2.3, -1.7, 3), abs=5e-3)
    assert found.level == pytest.approx(40, abs=0.5)


def test_register_is_not_misled_by_bad_pixels():
    scene = round_mask()
    reference, moved = scene.frame(0, 0), scene.frame(0.2, -0.1, visit=1)
    rng = np.random.default_rng(0)
    for frame in (reference, moved):
        frame.bad[rng.random(frame.bad.shape) < 0.02] = True
        frame.image[frame.bad] = np.nan
    flagged = scene.register(moved, reference)
    assert (flagged.dx, flagged.dy) == pytest.approx((0.2, -0.1), abs=5e-3)
    hot = rng.random(moved.bad.shape) < 0.003  # what no flag says is clipped
    moved.image[hot] += 1e3
    unflagged = scene.register(moved, reference)
    assert (unflagged.dx, unflagged.dy) == pytest.approx((0.2, -0.1), abs=0.01)


def errors(scene, count, drift):
    """Errors of all pairs [mas], in units of their own error, and those [mas]."""
    rng = np.random.default_rng(scene.telescope)
    places = rng.normal(0, 0.15, (count, 2))
    frames = [scene.frame(*at, visit=k, drift=drift) for k, at in enumerate(places)]
    rows = []
    for a, b in itertools.combinations(range(count), 2):
        found = scene.register(frames[a], frames[b])
        error = np.array([found.dx, found.dy]) - (places[a] - places[b])
        sigma = np.sqrt(np.diag(found.covariance))
        rows.append([*error * scene.pixel * 1e3, *error / sigma])
    return np.array(rows)


def test_errors_of_registrations_are_honest():
    """At most 1.5 mas, and a pull of 0.8 to 1.25, over 24 telescopes that drift by 1 to 4 nm."""
    rows = [
        errors(round_mask((3.36, 3.57, 4.4)[k % 3], telescope=100 + k), 3, (1, 2, 4)[k // 3 % 3]) for k in range(24)
    ]
    rows = np.concatenate(rows)
    rms, pull = np.sqrt(np.mean(rows[:, :2] ** 2)), np.sqrt(np.mean(rows[:, 2:] ** 2))
    print(f"{len(rows)} pairs: rms {rms:.2f} mas, largest {np.abs(rows[:, :2]).max():.2f} mas, pull {pull:.2f}")
    assert np.abs(rows[:, :2]).max() <= 1.5
    assert 0.8 <= pull <= 1.25


def test_error_of_faint_star_is_noise():
    scene = round_mask()
    pulls = []
    for k in range(8):
        frames = [scene.frame(0.1 * i, 0, visit=10 * k + i, flux=2e6) for i in (0, 1)]
        found = scene.register(frames[1], frames[0])
        pulls += list(np.array([found.dx - 0.1, found.dy]) / np.sqrt(np.diag(found.covariance)))
        assert found.drift < 0.1
    assert 0.6 <= np.std(pulls) <= 1.5


def gain(scene, inner):
    """How far the registered star moves when the star moves by 20 mas behind a mask that stays."""
    step = 0.02 / scene.pixel
    start = scene.frame(0.1, -0.07, noise=False, offset=(0.1, -0.07))
    gains = []
    for dx, dy in ((step, 0), (0, step)):
        at = 0.1 + dx, -0.07 + dy
        found = scene.register(scene.frame(*at, noise=False, offset=at), start, inner=inner)
        gains.append((found.dx * dx + found.dy * dy) / step**2)
    return np.mean(gains)


def test_registration_follows_the_star_and_not_the_mask():
    """Light inside the mask follows the star 1.1 times; outside, which is registered, 1.00 +- 0.03 times."""
    scenes = [round_mask(wavelength, telescope=k, outer=2.0) for wavelength in (3.36, 4.4) for k in (5, 6)]
    inside, outside = ([gain(scene, inner) for scene in scenes] for inner in (0, 1.25 * 0.63))
    print(f"gain of all light {np.mean(inside):.3f}, of that outside the mask {np.mean(outside):.3f}")
    assert np.mean(inside) > 1.05
    assert np.mean(outside) == pytest.approx(1, abs=0.03)


def test_register_refuses_what_it_cannot_fit():
    scene = round_mask()
    frame = scene.frame(0, 0)
    with pytest.raises(ArgumentError, match="same"):
        scene.register(frame, Frame(frame.image[1:], frame.variance[1:], frame.bad[1:]))
    with pytest.raises(ArgumentError, match="usable"):
        scene.register(frame, frame, inner=1.55)
    rng = np.random.default_rng(0)
    noise = Frame(rng.standard_normal(scene.shape), np.ones(scene.shape), frame.bad)
    with pytest.raises(CentroidError, match="faint"):
        scene.register(frame, noise)


def test_register_finds_relative_stars(rolls):
    exposures, truth = rolls
    table = xta.register(exposures, exclude=[(1.2, 200.0, 0.3)])
    shift = np.stack([table["dx"], table["dy"]], axis=1)
    sigma = np.stack([table["dx_err"], table["dy_err"]], axis=1)
    scale = 1e3 * float(exposures[0]["pixel_scale"])
    error = (shift - (truth - truth[0])) * scale
    print(f"relative stars of three visits: {np.abs(error).max():.2f} mas at most, errors {sigma[1:] * scale}")
    assert np.abs(error).max() <= 1.5
    assert np.abs(error[1:] / (sigma[1:] * scale)).max() < 3.5
    assert table["scale"].values == pytest.approx([1, 1, 5 / 3], rel=0.01)
    assert list(table["filename"].values) == [str(ds["filename"].values) for ds in exposures]
    # The other way round it is the same but for the sign, and a stack gives what a list gives.
    back = exposures[0].ta.register(exposures[1])
    assert float(back["dx"][0]) == pytest.approx(-float(table["dx"][1]), abs=0.01)
    stacked = xta.register(xta.stack(exposures[:2]), exclude=[(1.2, 200.0, 0.3)])
    assert float(stacked["dx"][1]) == pytest.approx(float(table["dx"][1]), abs=1e-9)


def test_register_each_integration(rolls):
    """The star of a sample does not move within an exposure: what is found is noise."""
    exposures, _ = rolls
    track = exposures[2].ta.register(each="integration")
    assert track.sizes == {"integration": 6}
    assert "time" in track.coords
    drawn = track.ta.plot.track()
    assert [float(line[0].get_ydata()[2]) for line in drawn] == pytest.approx(
        [1e3 * float(exposures[2]["pixel_scale"] * track[name][2]) for name in ("dx", "dy")]
    )
    with pytest.raises(MissingError, match="register"):
        exposures[2].ta.plot.track()
    pulls = np.concatenate([track["dx"] / track["dx_err"], track["dy"] / track["dy_err"]])
    assert 0.4 < np.std(pulls) < 1.6
    moved = exposures[2].copy(deep=True)
    rows = moved["sci"].values
    y, x = ((n - 1) // 2 for n in rows.shape[1:])
    shape = tuple(n - 1 + n % 2 for n in rows.shape[1:])
    bad = (moved["dq"].values[3] & 1).astype(bool)
    shifted = resample(fill_bad(rows[3], bad=bad), x0=x - 0.05, y0=y, shape=shape)
    rows[3, : shape[0], : shape[1]] = shifted
    again = moved.ta.register(exposures[2], each="integration")
    assert float(again["dx"][3] - track["dx"][3]) == pytest.approx(0.05, abs=1e-3)


def test_recenter_follows_the_track(rolls):
    """Each integration is shifted by its own star; without a track all by one."""
    ds = rolls[0][2].isel(integration=slice(0, 2))
    track = xr.Dataset({"dx": ("integration", [0.4, -0.4]), "dy": ("integration", [0.0, 0.2])})
    followed = ds.ta.recenter(size=61, track=track)
    assert followed.sizes == ds.ta.recenter(size=61).sizes
    assert followed["integration"].values.tolist() == ds["integration"].values.tolist()
    for k in range(2):
        alone = ds.isel(integration=[k])
        alone = alone.assign_coords(
            target_x=alone["target_x"] + track["dx"][k], target_y=alone["target_y"] + track["dy"][k]
        )
        xr.testing.assert_equal(followed["sci"][k].variable, alone.ta.recenter(size=61)["sci"][0].variable)
    assert float(followed["star_x"]) == float(ds["target_x"])
    again = ds.ta.recenter(size=61, track=True)
    assert np.isfinite(again["sci"]).any()
    with pytest.raises(ArgumentError, match="track"):
        ds.ta.recenter(track=track.isel(integration=[0]))
    with pytest.raises(ArgumentError, match="track"):
        ds.ta.recenter(track="yes")


def test_register_refuses_other_filters_and_states(rolls, miri_exposure):
    exposures, _ = rolls
    with pytest.raises(ArgumentError, match="filter"):
        xta.register([exposures[0], miri_exposure])
    with pytest.raises(RecenterError):
        xta.register([exposures[0].ta.recenter(size=81)])
    with pytest.raises(MissingError, match="set_star"):
        xta.register(exposures[0].drop_vars("target_x"))
    with pytest.raises(ArgumentError, match="integration"):
        exposures[0].ta.register(each="frame")
    with pytest.raises(ArgumentError, match="iwa"):
        xta.register(exposures[0], iwa=2, owa=1)
    with pytest.raises(ArgumentError, match="no exposure"):
        xta.register([])
    with pytest.raises(MissingError, match="coadd"):
        exposures[0].ta.coadd().ta.register(each="integration")


@pytest.fixture(scope="module")
def miri_exposure(tmp_path_factory):
    visit = datasets.make_visit(tmp_path_factory.mktemp("miri"), mode="miri", integrations=1)
    return xta.analyze(visit.science[0], offline=True)


def test_pairs_are_those_of_one_filter(rolls, miri_exposure):
    exposures, _ = rolls
    found = pairs([*exposures, miri_exposure])
    assert sorted(found) == [(1, 0), (2, 0), (2, 1)]
    # Around a loop the shifts close to within their errors.
    loop = [found[1, 0].dx + found[2, 1].dx - found[2, 0].dx, found[1, 0].dy + found[2, 1].dy - found[2, 0].dy]
    assert np.abs(loop).max() < 0.02


def real(path, star):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = xta.open_exposure(path)
        return ds.assign(err=ds["err"].where(ds["err"] > 0)).ta.set_star(*star, source="the files")


def test_register_real_exposures_of_au_mic(shared):
    """Program 1184, two rolls and references: other software put the star on (150, 174) in all of them."""
    folder = shared / "real" / "nircam_aumic"
    stars = [real(path, (150.0, 174.0)) for path in sorted(folder.glob("*.fits"))]
    table = xta.register(stars, owa=1.9)  # inside the disc
    shift, sigma = (63 * np.stack([table[x], table[y]], axis=1) for x, y in (("dx", "dy"), ("dx_err", "dy_err")))
    print(
        f"AU Mic and references against the alignment of the files: {shift.round(2).tolist()} mas +- {sigma.round(1)}"
    )
    assert np.abs(shift).max() < 5
    assert np.abs(shift[1:] / sigma[1:]).max() < 3
    for k, move in ((1, 0.008), (3, 0.15), (4, 0.5)):
        rows = fill_bad(stars[k]["sci"].values[0])
        place = {"x0": 150 - move, "y0": 160 + move / 2, "shape": (301, 281)}
        moved = stars[k].isel(y=slice(10, 311), x=slice(10, 291)).copy()
        moved["sci"] = moved["sci"].copy(data=resample(rows, **place)[np.newaxis])
        found = xta.register([moved], stars[0], owa=1.9)
        error = 63 * (np.array([found["dx"][0], found["dy"][0]]) - shift[k] / 63 - [move, -move / 2])
        print(f"  {table['filename'].values[k][:13]} moved by {move} px: error {error.round(2).tolist()} mas")
        assert np.abs(error).max() <= 1.5


def test_register_real_dither_behind_phase_mask(shared):
    """HD 218261, five positions 10 mas apart: the errors say how little a four-quadrant mask lets one see."""
    paths = sorted((shared / "real" / "miri_hd106906").glob("jw01194*.fits"))
    stars = [real(path, (106.7, 105.2)) for path in paths]
    table = xta.register(stars)
    places = np.array([[float(ds[name]) for name in ("x_offset", "y_offset")] for ds in stars]) / 0.11
    shift, sigma = (np.stack([table[a], table[b]], axis=1) for a, b in (("dx", "dy"), ("dx_err", "dy_err")))
    error = shift - (places - places[0])
    print(
        f"HD 218261: registration minus dither {(110 * error).round(1).tolist()} mas, errors {110 * sigma.mean():.1f}"
    )
    assert 110 * sigma[1:].min() > 9
    assert np.abs(error[1:] / sigma[1:]).max() < 2.5


def test_table_has_units_and_is_a_dataset(rolls):
    exposures, _ = rolls
    table = exposures[0].ta.register(exposures[1])
    assert isinstance(table, xr.Dataset)
    assert table["dx"].attrs["units"] == "pixel"
    assert all("long_name" in table[name].attrs for name in table.data_vars)
