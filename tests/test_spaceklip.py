"""The stars of exposures in the database of spaceKLIP, by its published columns (May 2025)."""

from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from scipy.ndimage import shift

import xta
from xta.errors import ArgumentError, MissingError, ProductError, XtaWarning

COLUMNS = {"TYPE": object, "NINTS": int, "XOFFSET": float, "YOFFSET": float, "FITSFILE": object}
COLUMNS |= {f"{what}CEN{axis}": float for what in ("STAR", "MASK") for axis in "XY"}
COLUMNS |= {f"{what}_{of}": object for what in ("CENTER", "ALIGN") for of in ("SHIFT", "MASK")}


@pytest.fixture(scope="module")
def exposure(nircam):
    return xta.analyze(nircam.science[0]).load()


@pytest.fixture
def db(nircam):
    """Two rows, as ``read_jwst_s012_data`` makes them of an exposure and of its acquisition."""
    table = Table(names=list(COLUMNS), dtype=list(COLUMNS.values()))
    for kind, path in (("SCI", nircam.science[0]), ("SCI_TA", nircam.ta[0])):
        count = fits.getval(path, "NINTS")
        unknown = (np.zeros((count, 2)), np.zeros((1, 2)))
        table.add_row((kind, count, 0.01, -0.02, str(path), 150.5, 174.2, 150.5, 174.2, *unknown, *unknown))
    return SimpleNamespace(obs={"JWST_NIRCAM_NRCALONG_F444W_MASKRND_MASK335R_SUB320A335R": table})


def only(db):
    (table,) = db.obs.values()
    return table


def test_to_spaceklip_moves_star_to_center(db, exposure):
    assert xta.to_spaceklip(db, [exposure]) is None
    row = only(db)[0]
    star = exposure["target_x"].item(), exposure["target_y"].item()
    assert (row["STARCENX"] - 1, row["STARCENY"] - 1) == star
    assert (row["MASKCENX"] - 1, row["MASKCENY"] - 1) == (exposure["mask_x"].item(), exposure["mask_y"].item())
    assert row["CENTER_SHIFT"].shape == row["ALIGN_SHIFT"].shape == (exposure.sizes["integration"], 2)
    # What its shift_frames does with the columns, on an image of a star.
    dx, dy = row["ALIGN_SHIFT"][2] + row["CENTER_SHIFT"][2]
    y, x = np.indices((exposure.sizes["y"], exposure.sizes["x"]))
    image = shift(np.exp(-((x - star[0]) ** 2 + (y - star[1]) ** 2) / 18), (dy, dx))
    found = (image * x).sum() / image.sum(), (image * y).sum() / image.sum()
    assert found == pytest.approx((159.5, 159.5), abs=1e-4)
    # It adds the shifts of the mask and takes the elements 0 and 1 of the sum for x and y.
    of_mask = row["CENTER_MASK"] + row["ALIGN_MASK"]
    assert (of_mask[0], of_mask[1]) == (dx, dy)
    assert (row["XOFFSET"], row["YOFFSET"]) == (0, 0)


def test_to_spaceklip_leaves_other_rows(db, exposure):
    before = only(db).copy()
    xta.to_spaceklip(db, {"a": exposure})
    for name in COLUMNS:
        np.testing.assert_array_equal(only(db)[name][1], before[name][1])


def test_to_spaceklip_takes_stack_and_corrected_file(db, exposure, tmp_path):
    path = tmp_path / exposure["filename"].item()
    exposure.ta.to_fits(path)
    only(db)["FITSFILE"][0] = str(path)
    xta.to_spaceklip(db, xta.stack([exposure]))
    header = fits.getheader(path, "SCI")
    assert (only(db)["STARCENX"][0], only(db)["STARCENY"][0]) == (header["STARCENX"], header["STARCENY"])
    assert fits.getval(path, "S_TAXTA") == "COMPLETE"


def test_to_spaceklip_warns_of_row_without_star(db, exposure, nircam):
    only(db).add_row(only(db)[0])
    only(db)["FITSFILE"][2] = "jw09990002001_03105_00001_nrcalong_calints.fits"
    with pytest.warns(XtaWarning, match="jw09990002001"):
        xta.to_spaceklip(db, exposure)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (lambda ds: ds.assign_coords(filename="jw1_calints.fits"), ArgumentError, "no file jw1"),
        (lambda ds: ds.isel(x=slice(9, 200)), ProductError, "cropped"),
        (lambda ds: ds.drop_vars("target_x"), MissingError, "target_x"),
        (lambda ds: ds.assign_coords(target_x=np.nan), MissingError, "star"),
    ],
)
def test_to_spaceklip_refuses_exposure_and_changes_nothing(db, exposure, change, error, says):
    before = only(db).copy()
    with pytest.raises(error, match=says):
        xta.to_spaceklip(db, [exposure, change(exposure)])
    assert only(db)["STARCENX"].tolist() == before["STARCENX"].tolist()


def test_to_spaceklip_refuses_what_is_no_database(exposure):
    with pytest.raises(ArgumentError, match="Database"):
        xta.to_spaceklip({}, exposure)
