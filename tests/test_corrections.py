"""Corrections of the star beyond the WCS of a product: against published vectors and measured shifts."""

import json

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits
from click.testing import CliRunner

import xta
from xta import datasets, instrument, model
from xta.acquisition import corrections
from xta.acquisition.corrections import Correction
from xta.cli import main
from xta.errors import ArgumentError, FileError
from xta.geometry import sky, wcs

# V2, V3 of the mask minus those of the TA region, between the same detector pixels: PRDOPSSOC-065 minus -058 [mas].
# From pysiaf's bundled releases, computed apart from this package; nothing changed from 065 to 075.
CHANGED = {"nircam": (6.7, -9.5), "miri": (0.0, 0.0)}


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """Visits whose products were made with the geometry of 2022."""
    return {
        mode: datasets.make_visit(
            tmp_path_factory.mktemp(mode), mode=mode, integrations=1, prd="PRDOPSSOC-058", ideal=True
        )
        for mode in CHANGED
    }


@pytest.fixture(scope="module")
def measured(old):
    return {
        mode: xta.open_exposure(visit.science[0]).ta.attach().ta.compute_offset(centroid="oss")
        for mode, visit in old.items()
    }


def row(ds, name):
    each = ds.sel(correction=name)
    return np.array([each["correction_x"].item(), each["correction_y"].item()])


def star(ds):
    return np.array([ds["target_x"].item(), ds["target_y"].item()])


@pytest.mark.parametrize("mode", CHANGED)
def test_way_is_that_of_the_newest_geometry(measured, mode):
    """The star is where the newest polynomials make the vector as long as the WCS made it: against the change."""
    ds = measured[mode].ta.adjust_wcs(corrections="way")
    gwcs = sky.the_wcs(ds, "wcs_original")
    here = np.array(wcs.pixel_to_v(gwcs, *star(ds)))
    before = np.array(wcs.pixel_to_v(gwcs, *(star(ds) - row(ds, "way"))))
    assert -1e3 * (here - before) == pytest.approx(CHANGED[mode], abs=0.6)


def test_published_star_is_corrected_as_published_vectors_say(shared):
    """V01386001001: (+0.117, +0.133) px on the star; the MIRI visit below 1e-3 px."""
    expected = {"V01386001001": (0.117, 0.133), "V01386008001": (0.0, 0.0)}
    for visit, way in expected.items():
        (path,) = (shared / "published" / visit).glob("*_calints.fits")
        ds = xta.open_exposure(path).ta.attach(offline=True).ta.compute_offset(centroid="oss")
        plain, corrected = ds.ta.adjust_wcs(corrections="none"), ds.ta.adjust_wcs(corrections="all")
        assert row(corrected, "way") == pytest.approx(way, abs=1e-3)
        assert star(corrected) - star(plain) == pytest.approx(
            row(corrected, "way") + row(corrected, "filter"), abs=1e-9
        )


def test_filter_of_miri_product_with_filter_offset_of_its_mask_is_not_applied_twice(shared):
    (path,) = (shared / "published" / "V01386008001").glob("*_calints.fits")
    ds = xta.open_exposure(path).ta.attach(offline=True).ta.compute_offset(centroid="oss")
    assert row(ds.ta.adjust_wcs(corrections="filter"), "filter") == pytest.approx((0, 0), abs=1e-3)


def test_filter_of_nircam_is_that_of_the_table(measured):
    """Its WCSs contain none: F335M to F444W is (+0.177, -0.205) px."""
    ds = measured["nircam"].ta.adjust_wcs(corrections=["filter"])
    assert row(ds, "filter") == pytest.approx((0.177, -0.205), abs=1e-3)
    assert ds["correction_x_err"].item() == pytest.approx(0.06)
    assert ds["target_x_err_part"].sel(error_part="filter") == pytest.approx(0.06)


@pytest.mark.parametrize("contained", [(0.0, 0.0), (0.136, -1.228), (1.5, -2.0)])
def test_filter_gives_one_star_whatever_the_wcs_contains(measured, contained):
    """The TA WCS with another filter offset: the star by the WCS moves, the corrected one does not."""
    ds = measured["miri"]
    texts = [wcs.dump(wcs.shift(wcs.load(text), *contained)) for text in ds["ta_wcs"].values]
    moved = ds.assign_coords(ta_wcs=model.text_variable("ta_wcs", texts, ("ta_exposure",)))
    moved = moved.ta.compute_offset(centroid="oss")
    one, other = (each.ta.adjust_wcs(corrections="filter") for each in (ds, moved))
    by_wcs = star(moved.ta.adjust_wcs(corrections="none")) - star(ds.ta.adjust_wcs(corrections="none"))
    assert np.hypot(*by_wcs) == pytest.approx(np.hypot(*contained), abs=0.02)
    assert star(other) == pytest.approx(star(one), abs=0.005)


def test_corrected_wcs_puts_the_target_on_the_star(measured, tmp_path):
    for mode, ds in measured.items():
        corrected = ds.ta.adjust_wcs(corrections="all")
        target = corrected["target_ra"].item(), corrected["target_dec"].item()
        assert corrected.ta.world_to_pixel(*target) == pytest.approx(tuple(star(corrected)), abs=1e-8)
        corrected.ta.to_fits(tmp_path / f"{mode}_calints.fits")
        again = xta.open_exposure(tmp_path / f"{mode}_calints.fits")
        assert star(again) == pytest.approx(star(corrected), abs=1e-9)
        assert again.ta.world_to_pixel(*target) == pytest.approx(tuple(star(corrected)), abs=1e-8)


def test_adjust_wcs_starts_from_the_file_again(measured):
    ds = measured["nircam"]
    plain, corrected = ds.ta.adjust_wcs(corrections="none"), ds.ta.adjust_wcs(corrections="all")
    xr.testing.assert_identical(
        corrected.ta.adjust_wcs(corrections="all")["target_x"].variable, corrected["target_x"].variable
    )
    back = corrected.ta.adjust_wcs(corrections="none")
    assert star(back).tolist() == star(plain).tolist()
    assert "correction" not in back.dims
    assert str(back["wcs"].item()) == str(plain["wcs"].item())


def test_corrections_of_a_stack(measured, tmp_path):
    ds = measured["nircam"]
    other = ds.assign_coords(filename="other_calints.fits", filter="F250M")
    whole = xta.stack([ds, other]).ta.adjust_wcs(corrections="all")
    assert whole["correction_x"].dims == ("exposure", "correction")
    for k, each in enumerate((ds, other)):
        assert star(whole.isel(exposure=k)).tolist() == star(each.ta.adjust_wcs(corrections="all")).tolist()
    xta.to_netcdf(whole, tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as again:
        assert again["correction_x"].values.tolist() == whole["correction_x"].values.tolist()


def test_unknown_filter_is_not_corrected_and_enlarges_the_error(measured):
    ds = measured["nircam"].assign_coords(filter="F999W")
    corrected = ds.ta.adjust_wcs(corrections="filter")
    assert row(corrected, "filter").tolist() == [0, 0]
    assert "F999W is not known" in corrected["correction_source"].item()
    known = measured["nircam"].ta.adjust_wcs(corrections="filter")
    assert corrected["target_x_err"] > known["target_x_err"]


def test_table_of_ones_own(measured, tmp_path):
    path = tmp_path / "mine.csv"
    head = "instrument,optics,filter,x,y,x_err,y_err,confirmed,source\n"
    path.write_text(
        f"# mine\n{head}NIRCAM,LONG,F335M,0,0,0,0,1,by definition\nNIRCAM,LONG,F444W,1.5,-2,.1,.2,1,a fit\n"
    )
    table = instrument.read_tables(filter_shifts=path)
    ds = measured["nircam"].ta.adjust_wcs(corrections="filter", tables=table)
    assert row(ds, "filter") == pytest.approx((1.5, -2), abs=1e-3)
    assert "a fit" in ds["correction_source"].item()


FAULTS = {
    "no file": (None, FileError, "cannot be read"),
    "columns": ("a,b\n1,2\n", ArgumentError, "columns"),
    "empty": ("", ArgumentError, "columns"),
    "twice": ("{head}N,L,F1,0,0,0,0,1,s\nn,l,f1,0,0,0,0,1,s\n", ArgumentError, "row n l f1: this row appears twice"),
    "no number": ("{head}N,L,F1,a,0,0,0,1,s\n", ArgumentError, "row N L F1"),
    "not finite": ("{head}N,L,F1,nan,0,0,0,1,s\n", ArgumentError, "not finite"),
    "negative": ("{head}N,L,F1,0,0,-1,0,1,s\n", ArgumentError, "negative"),
    "flag": ("{head}N,L,F1,0,0,1,0,yes,s\n", ArgumentError, "confirmed"),
    "short row": ("{head}N,L,F1,0\n", ArgumentError, "row N L F1"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_read_filter_shifts_refuses(fault, tmp_path):
    text, error, message = FAULTS[fault]
    path = tmp_path / "table.csv"
    if text is not None:
        path.write_text(text.format(head="instrument,optics,filter,x,y,x_err,y_err,confirmed,source\n"))
    with pytest.raises(error, match=message):
        instrument.read_tables(filter_shifts=path)


def test_every_row_of_the_table_has_source_and_error():
    table = instrument.tables().filter_shifts
    assert len(table) > 30
    for key, shift in table.items():
        assert len(shift.source) > 10, key
        reference = (shift.x, shift.y) == (0, 0)
        assert (min(shift.x_err, shift.y_err) > 0) != reference, key
    assert [key for key, shift in table.items() if not shift.confirmed] == [("NIRCAM", "SHORT", "F200W")]


@pytest.mark.parametrize("wrong", ["ways", ["way", "mask"], "way,filter"])
def test_adjust_wcs_refuses_unknown_corrections(measured, wrong):
    with pytest.raises(ArgumentError, match="'all', 'none', or some of way, filter"):
        measured["nircam"].ta.adjust_wcs(corrections=wrong)


def test_acquisition_by_itself_is_not_corrected(old):
    ds = xta.analyze(old["nircam"].ta[-1], corrections="all")
    assert "correction" not in ds.dims


def test_exposure_without_mask_has_no_filter_correction(measured):
    ds = measured["nircam"].assign_coords(exp_type="NRC_TSIMAGE").ta.adjust_wcs(corrections="filter")
    assert row(ds, "filter").tolist() == [0, 0]
    assert "no mask" in ds["correction_source"].item()


def test_correction_that_is_not_known_says_so():
    assert not Correction(0.0, 0.0, np.nan, np.nan, "", known=False).known
    assert corrections.chosen("all") == ("way", "filter")
    assert corrections.chosen(["filter", "way"]) == ("way", "filter")
    assert corrections.chosen("none") == ()


def test_analyze_command_takes_corrections(old):
    path = str(old["nircam"].science[0])
    result = CliRunner().invoke(main, ["analyze", path, "--corrections", "way,filter", "--json", "--offline"])
    assert result.exit_code == 0
    told = json.loads(result.stdout)[0]
    assert told["corrections"]["filter"] == pytest.approx([0.177, -0.205], abs=1e-3)
    table = CliRunner().invoke(main, ["analyze", path, "--corrections", "filter", "--offline"]).stdout
    assert "corrected for filter [px]" in table
    assert "+0.1770" in table
    wrong = CliRunner().invoke(main, ["analyze", path, "--corrections", "all,none"])
    assert wrong.exit_code == 2
    assert "way, filter" in wrong.output


def test_to_fits_tells_what_was_corrected(measured, tmp_path):
    measured["nircam"].ta.adjust_wcs(corrections="all").ta.to_fits(tmp_path / "a_calints.fits")
    history = " ".join(fits.getheader(tmp_path / "a_calints.fits")["HISTORY"])
    assert "corrected for way, filter" in " ".join(history.split())


def test_to_fits_writes_errors_and_source(measured, tmp_path):
    ds = measured["nircam"].ta.adjust_wcs(corrections="all")
    ds.ta.to_fits(tmp_path / "a_calints.fits")
    header = fits.getheader(tmp_path / "a_calints.fits", "SCI")
    keys = {"STARXERR": "target_x_err", "STARYERR": "target_y_err", "STARCORR": "target_xy_corr"}
    for key, name in (keys | {"MASKXERR": "mask_x_err", "MASKYERR": "mask_y_err"}).items():
        assert header[key] == pytest.approx(ds[name].item())
    assert header["STARFROM"] == "OSS event log"
    bare = ds.drop_vars([*keys.values(), "mask_x_err", "mask_y_err"])
    bare.ta.to_fits(tmp_path / "b_calints.fits", template=tmp_path / "a_calints.fits")
    assert not {*keys, "MASKXERR"} & set(fits.getheader(tmp_path / "b_calints.fits", "SCI"))
