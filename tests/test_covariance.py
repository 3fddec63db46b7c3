"""The covariance of the star's error: through the real steps, and by the SIAF."""

import copy
import math

import numpy as np
import pytest
import xarray as xr

import xta
from xta import datasets, model
from xta.acquisition import budget, centroids, instrument
from xta.geometry import siaf, sphere, wcs

NEWEST = "PRDOPSSOC-075"


@pytest.fixture(scope="module")
def newest(tmp_path_factory):
    """Visits made with the newest SIAF at hand, by which the star is computed anew."""
    return {
        mode: datasets.make_visit(tmp_path_factory.mktemp(mode), mode=mode, prd=NEWEST, integrations=1, ideal=True)
        for mode in ("nircam", "miri")
    }


def star(ds):
    return float(ds["target_x"]), float(ds["target_y"])


def turned(ds, degrees):
    """Photograph the acquisition at another roll: its WCSs are turned about their reference points."""
    texts = []
    for text in ds["ta_wcs"].values:
        gwcs = wcs.load(str(text))
        about = wcs.reference(gwcs)
        n = sphere.unit_vector(about["ra_ref"], about["dec_ref"])
        angle = -math.radians(degrees)  # position angles are clockwise as seen from outside the sphere
        cross = np.array([[0, -n[2], n[1]], [n[2], 0, -n[0]], [-n[1], n[0], 0]])
        rotation = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
        texts.append(wcs.dump(wcs.adjust(gwcs, rotation)))
    return ds.assign_coords(ta_wcs=model.text_variable("ta_wcs", texts, ("ta_exposure",)))


def siaf_star(visit, ds, x, y, degrees):
    """Put pixels of the TA readout into the science readout by pysiaf alone, the acquisition at another roll."""
    from astropy.io import fits
    from pysiaf.utils.rotations import attitude

    k = int(ds["ta_in_use"])
    ends = []
    for path, more in ((visit.ta[k], degrees), (visit.science[0], 0.0)):
        with fits.open(path) as hdus:
            names = ("V2_REF", "V3_REF", "RA_REF", "DEC_REF", "ROLL_REF")
            v2, v3, ra, dec, roll = (hdus["SCI"].header[name] for name in names)
            place = [hdus[0].header[name] for name in ("INSTRUME", "APERNAME", "SUBARRAY")]
        name = siaf.readout(*place, NEWEST).AperName
        ap = copy.deepcopy(siaf.siaf(place[0], NEWEST).apertures[name])  # MIRI's two are the same one
        ap.set_attitude_matrix(attitude(v2, v3, ra, dec, roll + more))
        ends.append(ap)
    x, y = ends[1].tel_to_sci(*ends[1].sky_to_tel(*ends[0].tel_to_sky(*ends[0].sci_to_tel(x + 1, y + 1))))
    return np.stack([x - 1, y - 1])


def drawn(center, covariance, rng, n=12):
    """Draw positions whose mean and covariance are exactly those asked for, shape (2, n)."""
    z = rng.standard_normal((2, n))
    z -= z.mean(axis=1, keepdims=True)
    white = np.linalg.solve(np.linalg.cholesky(np.cov(z)), z)
    return np.reshape(center, (2, 1)) + np.linalg.cholesky(covariance) @ white


@pytest.fixture
def uneven(tmp_path):
    """Tables in which a centroid is known better along x than along y, so that a rotation shows."""

    def make(x, y):
        rows = ["quantity,instrument,mode,x,y,unit,source"]
        rows += [f"centroid_oss,{name},coronagraphic,{x},{y},pixel,a test" for name in ("NIRCAM", "MIRI")]
        (tmp_path / "own.csv").write_text("\n".join(rows))
        return instrument.read_tables(accuracies=tmp_path / "own.csv")

    return make


@pytest.mark.parametrize(("mode", "degrees"), [("nircam", 0.0), ("nircam", 30.0), ("miri", -50.0)])
def test_covariance_is_scatter_of_star(newest, mode, degrees, uneven):
    """The star scatters with the centroids, through the real steps and by the SIAF with two attitudes."""
    visit, tables = newest[mode], uneven(0.002, 0.02)
    ds = turned(xta.analyze(visit.science[0], centroid="oss", corrections="none"), degrees)
    ds = ds.ta.compute_offset(centroid="oss", tables=tables).ta.adjust_wcs(corrections="none", tables=tables)
    onboard = centroids.measure(ds, tables=tables)["oss"]
    x_err, y_err = onboard.x_err, onboard.y_err
    assert y_err > 3 * x_err
    center = float(ds["centroid_x"]), float(ds["centroid_y"])
    places = drawn(center, np.diag([x_err**2, y_err**2]), np.random.default_rng(3))
    truth = np.cov(siaf_star(visit, ds, *places, degrees))
    stars = [
        star(ds.ta.compute_offset(centroid=(x, y)).ta.adjust_wcs(corrections="none")) for x, y in places.T.tolist()
    ]
    row = ds.sel(error_part="centroid")
    x, y, corr = (float(row[f"target_{name}_part"]) for name in ("x_err", "y_err", "xy_corr"))
    for scatter in (truth, np.cov(np.transpose(stars))):
        assert [x, y] == pytest.approx(np.sqrt(np.diag(scatter)), rel=2e-3)
        assert corr == pytest.approx(scatter[0, 1] / math.sqrt(scatter[0, 0] * scatter[1, 1]), abs=2e-3)
    assert abs(corr) > 0.3 if degrees else abs(corr) < 0.02
    print(f"{mode}, turned by {degrees:g} deg: {x:.5f}, {y:.5f} px, correlation {corr:+.3f}")


def test_covariances_of_parts_add(newest, uneven):
    ds = turned(xta.analyze(newest["nircam"].science[0], centroid="oss", corrections="none"), 40.0)
    tables = uneven(0.02, 0.2)
    ds = ds.ta.compute_offset(centroid="oss", tables=tables).ta.adjust_wcs(corrections="none", tables=tables)
    total = np.zeros((2, 2))
    for name in ds["error_part"].values[:-1]:
        row = ds.sel(error_part=name)
        x, y, corr = (float(row[f"target_{what}_part"]) for what in ("x_err", "y_err", "xy_corr"))
        total += [[x * x, corr * x * y], [corr * x * y, y * y]]
    assert float(ds["target_x_err"]) == pytest.approx(math.sqrt(total[0, 0]), rel=1e-12)
    assert float(ds["target_y_err"]) == pytest.approx(math.sqrt(total[1, 1]), rel=1e-12)
    expected = total[0, 1] / math.sqrt(total[0, 0] * total[1, 1])
    assert float(ds["target_xy_corr"]) == pytest.approx(expected, rel=1e-9)
    assert abs(expected) > 0.01


def test_coordinates_of_parts_without_error():
    """No error, no correlation; an error that is not known has none that is known."""
    parts = {
        "none": budget.Part(0.0, 0.0, "", corr=0.5),
        "along x": budget.Part(0.3, 0.0, ""),
        "unknown": budget.Part(np.nan, np.nan, ""),
    }
    exact = budget.coordinates({name: parts[name] for name in ("none", "along x")}, scale=0.06)
    assert exact["target_xy_corr"].item() == 0.0
    assert exact["target_x_err"].item() == pytest.approx(0.3)
    assert exact["target_x_err_mas"].item() == pytest.approx(18.0)
    known = budget.coordinates(parts, scale=np.nan)
    np.testing.assert_equal(known["target_xy_corr_part"].values, [0.0, 0.0, np.nan])
    assert np.isnan(known["target_xy_corr"].item())
    assert np.isnan(known["target_x_err_mas"].item())


def test_coordinates_keep_full_correlation():
    parts = {"a": budget.Part(0.1, 0.2, "", corr=1.0), "b": budget.Part(0.3, 0.6, "", corr=1.0)}
    assert budget.coordinates(parts, scale=1.0)["target_xy_corr"].item() == pytest.approx(1.0, abs=1e-12)
    assert abs(budget.coordinates(parts, scale=1.0)["target_xy_corr"].item()) <= 1.0


def test_correlation_is_taken_back_and_kept_by_file(nircam, tmp_path):
    analyzed = xta.analyze(nircam.science[0], centroid="oss", corrections="none")
    assert not {"target_xy_corr", "target_xy_corr_part"} & set(analyzed.ta.compute_offset(centroid="oss").coords)
    xta.to_netcdf(analyzed, tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as again:
        for name in ("target_xy_corr", "target_xy_corr_part"):
            xr.testing.assert_identical(again[name].load().variable, analyzed[name].variable)
