"""The chain and its tables against real data: what samples cannot test, since they are drawn from the tables.

Numbers are those of docs/accuracy.md; the tests are skipped where the real files are not at hand.
"""

import ast
import csv
import json
import math

import numpy as np
import pytest
from astropy.io import fits
from photutils.centroids import centroid_2dg

import xta
from xta import datasets, instrument, model
from xta.acquisition import aim, centroids
from xta.acquisition.image import image_centroid
from xta.errors import XtaWarning
from xta.geometry import sky, wcs
from xta.identity import header

TA = {"aperture": "NRCA5_TAMASK335R", "subarray": "SUB64FP1A", "detector": "NRCALONG"}


def rows(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def mean_and_error(values):
    return np.mean(values, axis=0), np.std(values, axis=0, ddof=1) / math.sqrt(len(values))


# ------------------------------------------------------------------------------- NIRCam: filters, aim and centroid


@pytest.fixture(scope="module")
def exposures(shared):
    """The files of program 1184 in F356W: AU Mic at two rolls and three reference stars.

    Their pixels are shifted, so that the star is on (150, 174); the WCS is shifted here as they are.
    """
    result = []
    for path in sorted((shared / "real" / "nircam_aumic").glob("*.fits")):
        with pytest.warns(XtaWarning, match="INT_TIMES|IMSHIFTS"):
            ds = xta.open_exposure(path)
        star = 160 - fits.getdata(path, "IMSHIFTS")[0]  # where it was
        moved = wcs.shift(sky.the_wcs(ds), *(star - (150, 174)))
        ds = ds.assign_coords(wcs=model.text_variable("wcs", wcs.dump(moved), ()))
        result.append(ds.ta.set_star(150.0, 174.0, source="the observers").load())
    return result


def star_minus_mask(shared, ds):
    """Measured stars of program 1184 minus the mask of this package [pixel]: filter -> one row per visit."""
    measured = [row for row in rows(shared / "instrument" / "star_centres.csv") if row["program"] == "1184"]
    result = {}
    for band in ("F444W", "F356W"):
        mask = aim.mask(ds.assign_coords(filter=band))
        stars = [(float(row["x"]), float(row["y"])) for row in measured if row["filter"] == band]
        result[band] = np.array(stars) - (mask.x, mask.y)
    return result


def test_filter_shifts_agree_with_program_1184(shared):
    """F356W minus F444W of eight visits, each with one pointing for both: (+0.565, -0.042) px."""
    real = [row for row in rows(shared / "real" / "headers.csv") if row["IMSHIFTS"]]
    shifts = {
        band: np.array([ast.literal_eval(row["IMSHIFTS"])[0] for row in real if row["FILTER"] == band])
        for band in ("F356W", "F444W")
    }
    visits = shifts["F444W"] - shifts["F356W"]  # a star is moved to its place by minus where it was
    assert len(visits) == 8
    found, error = mean_and_error(visits)
    assert found == pytest.approx((0.565, -0.042), abs=5e-4)
    assert error == pytest.approx((0.0016, 0.0024), abs=1e-4)
    table = instrument.tables().filter_shifts
    expected = table["NIRCAM", "LONG", "F356W"] - table["NIRCAM", "LONG", "F444W"]
    apart = found - (expected.x, expected.y)
    assert apart == pytest.approx((-0.041, -0.088), abs=1e-3)
    assert (np.abs(apart) < np.hypot(error, (expected.x_err, expected.y_err))).all()


def test_landing_agrees_with_measured_stars(shared, exposures):
    """Where stars were seen against the mask, minus where the onboard geometry sends them."""
    ds = exposures[0]
    tables = instrument.tables()
    mask, shifted = aim.mask(ds, shifted=False), aim.mask(ds.assign_coords(filter="F444W"))
    expected = []
    for release in ("055", "058", "063"):
        expected.append(np.subtract(aim.landing(header(ds), TA, f"PRDOPSSOC-{release}"), (mask.x, mask.y)))
        assert expected[-1] == pytest.approx((0.02, -0.26), abs=0.02)

    seen = star_minus_mask(shared, ds)
    assert {band: len(each) for band, each in seen.items()} == {"F444W": 8, "F356W": 8}
    assert np.mean(seen["F444W"], axis=0) == pytest.approx((0.094, 0.001), abs=2e-3)
    assert np.mean(seen["F356W"], axis=0) == pytest.approx((0.053, -0.086), abs=2e-3)
    published = json.loads((shared / "published_numbers.json").read_text())["V01386002001"]
    assert published["mask_centre_new_1based"] == pytest.approx((shifted.x + 1, shifted.y + 1), abs=0.01)
    places = {
        "1184": (np.mean([np.mean(each, axis=0) for each in seen.values()], axis=0), 8, (0.06, 0.22)),
        "1386": (np.array(published["recenter_frame_offsets_px"][0]), 1, (0.19, -0.01)),
    }

    def mas(quantity):
        return tables.accuracy(quantity, header(ds)).x / 1e3 / float(ds["pixel_scale"])

    centroid, band = tables.accuracy("centroid_oss", header(ds)), tables.filter_shift(header(ds), "F444W")
    for place, visits, known in places.values():
        apart = place - expected[1]
        assert apart == pytest.approx(known, abs=0.04)
        common = math.hypot(mas("way"), mas("maneuver") / math.sqrt(visits))
        errors = np.sqrt(np.square([centroid.x, centroid.y]) + np.square([band.x_err, band.y_err]) + common**2)
        assert (np.abs(apart) < 2.5 * errors).all()


def test_scatter_of_visits_is_that_of_the_maneuver(shared, exposures):
    """Star minus mask of eight visits scatters by 4.4 mas an axis; the table has 6.4 mas, pooled with program 1386."""
    seen = star_minus_mask(shared, exposures[0])
    scatter = 1e3 * float(exposures[0]["pixel_scale"]) * np.std(list(seen.values()), axis=1, ddof=1)
    assert scatter == pytest.approx(4.25, abs=0.3)
    assert (scatter < instrument.tables().accuracy("maneuver", header(exposures[0])).x).all()


def test_table_of_centroids_agrees_with_published_visits(shared):
    """Ground minus onboard centroid in three visits of program 1386."""
    published = json.loads((shared / "published_numbers.json").read_text())
    ground = {"V01386001001": "webbpsf_measure_centroid_px", "V01386002001": "webbpsf_px", "V01386003001": "webbpsf_px"}
    apart = [np.subtract(published[visit][key], published[visit]["oss_ta_px"]) for visit, key in ground.items()]
    np.testing.assert_allclose(apart, [(0.24, 0.10), (0.21, 0.07), (0.23, 0.02)], atol=5e-3)
    about = {"instrument": "NIRCAM", "exp_type": "NRC_CORON", "date_beg": "2022-07-30"}
    onboard, unbiased, bias = (
        instrument.tables().accuracy(f"centroid_{name}", about) for name in ("oss", "unbiased", "bias")
    )
    mean, _ = mean_and_error(apart)
    assert mean == pytest.approx((bias.x, bias.y), abs=2e-3)
    assert np.sqrt(np.mean(np.square(apart))) == pytest.approx(onboard.x, rel=0.15)  # 0.168 px
    assert (np.std(apart, axis=0, ddof=1) < unbiased.x).all()


def test_image_centroid_of_published_visit(shared):
    """V01386001001: our window on its image, read back from the figure, is (+0.245, +0.019) px from the onboard one.

    The window of others on the original gives (+0.24, +0.10) px. Along y windows of 3 to 15 px differ by 0.1 px.
    """
    (path,) = (shared / "published" / "V01386001001").glob("*_calints.fits")
    ds = xta.open_exposure(path).ta.attach(offline=True)
    found = centroids.measure(ds)
    onboard, image = found["oss"], found["image"]
    assert (image.x - onboard.x, image.y - onboard.y) == pytest.approx((0.245, 0.019), abs=2e-3)
    ground = json.loads((shared / "published_numbers.json").read_text())["V01386001001"]["webbpsf_measure_centroid_px"]
    assert image.x == pytest.approx(ground[0], abs=0.05)
    assert image.y == pytest.approx(ground[1], abs=0.08)  # 0.077 px, 1.1 of its error
    assert abs(image.y - ground[1]) < 1.5 * image.y_err
    assert centroids.best(found) == "image"
    heights = [image_centroid(ds, window=window).y for window in (3, 5, 9, 11, 13, 15)]
    assert (min(heights), max(heights)) == pytest.approx((29.54, 29.64), abs=5e-3)


# ------------------------------------------------------------------------------------- NIRCam: a source in the field

SOURCE = 1.06, -3.22  # east, north of AU Mic [arcsec]
DISC = 128.5, 308.5  # position angles of the edge-on disc [deg]
CORE = 0.3  # pixels within this are fitted [arcsec]


@pytest.fixture(scope="module")
def rolls(exposures):
    """Each roll by itself, less the light of the star by the three reference stars."""
    pytest.importorskip("pyklip")
    return [xta.klip(roll, reference=exposures[2:], mode="RDI", numbasis=3).isel(numbasis=0) for roll in exposures[:2]]


def fitted(image, east, north):
    """Fit a Gaussian and a level to a source near a place: east and north [arcsec]."""
    near = image.isel(x=abs(image["east"].values - east) < 0.5, y=abs(image["north"].values - north) < 0.5)
    far = (np.hypot(near["east"] - east, near["north"] - north) > CORE).transpose("y", "x")
    column, row = centroid_2dg(near["klip"].values, mask=far.values)
    return np.array(
        [
            np.interp(column, np.arange(near.sizes["x"]), near["east"].values),
            np.interp(row, np.arange(near.sizes["y"]), near["north"].values),
        ]
    )


def test_field_source_of_au_mic_is_at_one_place_in_two_rolls(rolls):
    one, other = (fitted(image, *SOURCE) for image in rolls)
    for place in (one, other):
        assert place == pytest.approx(SOURCE, abs=0.02)
    apart = 1e3 * (other - one)
    assert np.hypot(*apart) < 20
    assert apart == pytest.approx((8, -9), abs=2)  # measured by others, with another fit: (+5, -8)


def test_field_source_of_au_mic_noise(rolls):
    """The same source put in at other position angles, off the disc: how far the fit is from where it was put."""
    image = rolls[0]
    distance, angle = np.hypot(*SOURCE), np.rad2deg(np.arctan2(*SOURCE))
    errors = []
    for turned in np.arange(0, 360, 15):
        if min(abs((turned - each + 180) % 360 - 180) for each in (*DISC, angle)) < 20:
            continue
        place = distance * np.sin(np.deg2rad(turned)), distance * np.cos(np.deg2rad(turned))
        source = 6 * np.exp(-((image["east"] - place[0]) ** 2 + (image["north"] - place[1]) ** 2) / 2 / 0.115**2)
        errors.append(fitted(image.assign(klip=image["klip"] + source.transpose("y", "x")), *place) - place)
    assert len(errors) >= 16
    noise = 1e3 * np.sqrt(np.mean(np.square(errors)))
    assert noise == pytest.approx(7, abs=1)  # [mas] along an axis


# ------------------------------------------------------------------------------------- MIRI: generic and own offsets

OFF = {"1065": 103, "1140": 83, "1550": 94, "LYOT": 63}
"""Mask -> distance of the stars by products with the two filter offsets [mas]."""


@pytest.fixture(scope="module")
def real_wcs(shared):
    """Maker of the WCS that the pipeline's code gives a product, with one of the real filter offsets."""
    from jwst.assign_wcs.assign_wcs import load_wcs
    from stdatamodels.jwst import datamodels

    folder = shared / "real" / "miri_refs"

    def make(path, offsets):
        with (
            datamodels.open(path) as product,
            datamodels.DistortionModel(folder / "jwst_miri_imager_distortion_flt9.asdf") as distortion,
            datamodels.FilteroffsetModel(folder / f"jwst_miri_filteroffset_{offsets}_flt9.asdf") as filteroffset,
        ):
            load_wcs(product, {"distortion": distortion, "filteroffset": filteroffset})
            return wcs.dump(product.meta.wcs)

    return make


@pytest.mark.parametrize("mask", OFF)
def test_miri_star_is_the_same_with_generic_filter_offset(shared, real_wcs, tmp_path, mask):
    """WCSs by the pipeline's own code, of acquisition and exposure, from the instrument team's reference files."""
    visit = datasets.make_visit(tmp_path, mode=f"MIRIM_MASK{mask}", integrations=1, ideal=True)
    attached = xta.open_exposure(visit.science[0]).ta.attach()
    stars = {"all": [], "none": []}
    for name in ("full", f"mask{mask.lower()}"):
        texts = [real_wcs(tmp_path / str(file), name) for file in attached["ta_filename"].values]
        ds = attached.assign_coords(
            wcs=model.text_variable("wcs", real_wcs(visit.science[0], name), ()),
            ta_wcs=model.text_variable("ta_wcs", texts, ("ta_exposure",)),
        ).ta.compute_offset(centroid="oss")
        for corrections, found in stars.items():
            star = ds.ta.adjust_wcs(corrections=corrections)
            found.append((star["target_x"].item(), star["target_y"].item()))
    one, other = stars["all"]
    assert one == pytest.approx(other, abs=0.01)
    apart = 1e3 * float(attached["pixel_scale"]) * np.hypot(*np.subtract(*stars["none"]))
    assert apart == pytest.approx(OFF[mask], abs=5)
    # The sample star itself does not move with the filter: what is left is the table's shift from FND.
    table = rows(shared / "instrument" / "miri_coronagraph_boresight.csv")
    (shift,) = (row for row in table if (row["subarray"], row["filter"]) == (f"MASK{mask}", "FND"))
    truth = visit.truth.sel(file=visit.science[0].name)
    moved = np.subtract(one, (truth["star_x"].item(), truth["star_y"].item()))
    assert moved == pytest.approx((-float(shift["dx"]), -float(shift["dy"])), abs=1e-3)
