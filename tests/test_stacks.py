"""Several exposures in one dataset: each keeps its own visit, acquisition and star, however they were joined."""

import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits

import xta
from xta import datasets, identity, osslog, plot, stacks
from xta.acquisition import find
from xta.acquisition.targ_acq import TargAcq
from xta.errors import ArgumentError, MissingError, XtaError

STAR = ("target_x", "target_y", "target_x_err", "target_y_err", "offset_x", "centroid_x", "mask_x")


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """Two visits with other pointing errors: one with two dithers, one with three dithered acquisitions."""
    folder = tmp_path_factory.mktemp("program")
    first = datasets.make_visit(
        folder, visit_id="09993001001", integrations=2, dithers=((0, 0), (0.01, 0.02)), ideal=True
    )
    second = datasets.make_visit(
        folder,
        visit_id="09993002001",
        integrations=2,
        ta_dithers=True,
        pointing_error=(-0.21, 0.3, -0.004),
        miss=(-0.4, 0.3),
        start="2024-03-10T08:14:07.424",
        seed=3,
        ideal=True,
    )
    return [*first.science, *second.science]


@pytest.fixture(scope="module")
def single(program):
    """Each exposure analyzed by itself."""
    return [xta.analyze(path, centroid="oss", corrections="none") for path in program]


def open_many(paths):
    return xr.open_mfdataset(paths, engine="jwst", combine="nested", concat_dim="exposure")


def concat(paths):
    return xr.concat([xta.open_exposure(path) for path in paths], "exposure", coords="different", compat="equals")


def stacked(paths):
    return xta.stack([xta.open_exposure(path) for path in paths])


JOINS = {"open_mfdataset": open_many, "concat": concat, "stack": stacked}


@pytest.fixture(params=JOINS)
def joined(request, program):
    with JOINS[request.param](program) as ds:
        yield ds


def analyze(ds):
    return ds.ta.attach().ta.compute_offset(centroid="oss").ta.adjust_wcs(corrections="none")


def assert_same_star(ds, expected):
    for name in STAR:
        assert ds[name].values.item() == expected[name].item(), name
    assert identity.header(ds)["visit_id"] == identity.header(expected)["visit_id"]
    assert str(ds["wcs"].values.item()) == str(expected["wcs"].item())
    assert ds["check_passed"].values.tolist() == expected["check_passed"].values.tolist()


def test_exposures_have_other_stars(single):
    """Else the other tests would say nothing."""
    places = [(ds["target_x"].item(), ds["target_y"].item()) for ds in single]
    assert min(np.hypot(*np.subtract(places[0], other)) for other in places[1:]) > 0.1


def test_member_selected_before_the_steps(joined, single):
    for k, expected in enumerate(single):
        assert_same_star(analyze(joined.isel(exposure=k)), expected)


def test_member_selected_after_the_steps(joined, single):
    whole = analyze(joined)
    for k, expected in enumerate(single):
        member = whole.isel(exposure=k)
        assert_same_star(member, expected)
        assert_same_star(member.ta.compute_offset(centroid="oss").ta.adjust_wcs(corrections="none"), expected)


def test_member_recentered(joined, single):
    whole = analyze(joined).ta.recenter()
    for k, expected in enumerate(single):
        centered = expected.ta.recenter()
        np.testing.assert_array_equal(whole["sci"].isel(exposure=k).values, centered["sci"].values)
        assert whole["star_x"].values[k] == centered["star_x"].item()
        np.testing.assert_array_equal(whole["separation"].isel(exposure=k), centered["separation"])


def test_steps_in_turn_on_members_and_stack(program, single):
    """Attach one by one, join, go on together."""
    parts = [xta.open_exposure(path).ta.attach() for path in program]
    whole = xta.stack(parts).ta.compute_offset(centroid="oss").ta.adjust_wcs(corrections="none")
    for k, expected in enumerate(single):
        assert_same_star(whole.isel(exposure=k), expected)


def test_attributes_of_another_exposure_are_dropped(program):
    member = open_many(program).isel(exposure=2)
    assert member.attrs["visit_id"] == "09993001001"
    result = member.ta.attach()
    assert "visit_id" not in result.attrs or result.attrs["visit_id"] == "09993002001"
    assert "title" not in result.attrs
    assert "nints" not in result.attrs
    assert result.attrs["oss_x_det"] == result["oss_x_det"].item()


def test_attach_reads_the_acquisition_once_a_visit(program, joined, monkeypatch):
    for path in program[0].parent.iterdir():
        path.touch()  # what an earlier test has read is out of date
    opened, read = [], []
    monkeypatch.setattr(find, "open_exposure", lambda path: opened.append(path) or xta.open_exposure(path))
    reader = osslog.read
    monkeypatch.setattr(osslog, "read", lambda source: read.append(source) or reader(source))
    joined.ta.attach()
    assert len(opened) == 1 + 3
    assert len(read) == 2


def test_attach_given_acquisitions_of_all_visits(program, single):
    given = sorted(program[0].parent.glob("*tacq*_cal.fits")) or [
        path for path in program[0].parent.glob("*_cal.fits") if "TACQ" in fits.getval(path, "EXP_TYPE")
    ]
    whole = stacked(program).ta.attach(given).ta.compute_offset(centroid="oss").ta.adjust_wcs(corrections="none")
    for k, expected in enumerate(single):
        assert_same_star(whole.isel(exposure=k), expected)


def test_images_stay_lazy(joined):
    whole = analyze(joined)
    if joined["sci"].chunks is not None:
        assert whole["sci"].chunks == joined["sci"].chunks
        assert whole["sci"].data.name == joined["sci"].data.name
    assert stacks.is_stack(whole)


def test_stack_of_lazy_files_reads_no_image(program):
    whole = stacked(program)
    assert all(variable.chunks is not None for variable in whole.data_vars.values())
    assert max(max(sizes) for sizes in whole["sci"].chunks[:2]) == 1


def test_stack_of_stacks(program, single):
    whole = xta.stack([xta.stack(single[:2]), single[2]])
    for k, expected in enumerate(single):
        assert_same_star(whole.isel(exposure=k), expected)


def test_stack_of_one(single):
    assert_same_star(xta.stack(single[:1]).isel(exposure=0), single[0])
    assert_same_star(analyze(xta.stack(single[:1])).isel(exposure=0), single[0])


def to_netcdf(ds, folder):
    xta.to_netcdf(ds, folder / "stack.nc")
    return xr.open_dataset(folder / "stack.nc")


def to_zarr(ds, folder):
    ds.to_zarr(folder / "stack.zarr", consolidated=False)
    return xr.open_zarr(folder / "stack.zarr", consolidated=False)


STORES = {"netcdf": to_netcdf, "zarr": to_zarr, "pickle": lambda ds, _: pickle.loads(pickle.dumps(ds))}


@pytest.mark.filterwarnings("ignore:.*does not have a Zarr V3 specification")  # texts, as xarray writes them
@pytest.mark.parametrize("store", STORES)
def test_stack_survives(store, single, tmp_path):
    with STORES[store](xta.stack(single), tmp_path) as again:
        for k, expected in enumerate(single):
            assert_same_star(again.isel(exposure=k), expected)
            assert_same_star(
                again.isel(exposure=k).ta.compute_offset(centroid="oss").ta.adjust_wcs(corrections="none"), expected
            )
        whole = again.ta.compute_offset(centroid="oss").ta.adjust_wcs(corrections="none")
        assert whole["target_x"].values.tolist() == [ds["target_x"].item() for ds in single]


def test_stack_keeps_acquisitions_of_other_number(single):
    """One acquisition in the first visits, three in the last: what was filled goes again."""
    whole = xta.stack(single)
    assert whole.sizes["ta_exposure"] == 3
    first, last = (stacks.members(whole)[k] for k in (0, 2))
    assert (first.sizes["ta_exposure"], last.sizes["ta_exposure"]) == (1, 3)
    np.testing.assert_array_equal(first["ta_sci"], single[0]["ta_sci"])
    np.testing.assert_array_equal(last["ta_dq"], single[2]["ta_dq"])
    assert first["ta_dq"].dtype == single[0]["ta_dq"].dtype


def test_to_fits_writes_each_exposure(single, tmp_path):
    xta.stack(single).ta.to_fits(tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == 3
    for ds in single:
        header = fits.getheader(tmp_path / "out" / ds["filename"].item())
        assert header["VISIT_ID"] == ds["visit_id"].item()
        again = xta.open_exposure(tmp_path / "out" / ds["filename"].item())
        assert again["target_x"].item() == pytest.approx(ds["target_x"].item(), abs=1e-9)


@pytest.mark.parametrize("name", ["../x_calints.fits", "/tmp/x_calints.fits", ".x_calints.fits"])
def test_to_fits_refuses_name_outside_the_folder(single, tmp_path, name):
    """As NetCDF and Zarr may hold it: the keyword is checked when a product is opened."""
    whole = xta.stack([single[0].assign_coords(filename=((), name)), single[1]])
    with pytest.raises(ArgumentError, match="not the name of a file"):
        whole.ta.to_fits(tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", ["all.fits", None])
def test_to_fits_refuses_one_file_for_many(single, program, tmp_path, path):
    with pytest.raises(ArgumentError, match="several exposures"):
        xta.stack(single).ta.to_fits(tmp_path / (path or "out"), template=None if path else program[0])
    assert not list(tmp_path.iterdir())


def test_member_of_open_mfdataset_is_written_as_itself(program, tmp_path):
    member = analyze(open_many(program).isel(exposure=2))
    member.ta.to_fits(tmp_path / "member_calints.fits")
    header = fits.getheader(tmp_path / "member_calints.fits")
    assert header["VISIT_ID"] == "09993002001"
    assert not [line for line in header["HISTORY"] if "09993001001" in line]


def test_klip_takes_stacks(single):
    whole = xta.stack(single).ta.recenter(size=41)
    image = xta.klip(whole.isel(exposure=[0, 1]), reference=whole.isel(exposure=[2]), numbasis=1)
    expected = xta.klip(
        [ds.ta.recenter(size=41) for ds in single[:2]], reference=single[2].ta.recenter(size=41), numbasis=1
    )
    np.testing.assert_array_equal(image["klip"], expected["klip"])
    assert image.attrs["science"] == expected.attrs["science"]


def test_estimates_have_a_row_for_each_exposure(single):
    table = xta.stack(single).ta.estimates(oss=False)
    assert table["filename"].values.tolist() == [ds["filename"].item() for ds in single]
    for k, ds in enumerate(single):
        xr.testing.assert_equal(table["x"].isel(exposure=k).reset_coords(drop=True), ds.ta.estimates(oss=False)["x"])


def test_report_of_stack_is_a_folder(single, tmp_path):
    path = xta.stack(single).ta.report(tmp_path / "report")
    assert path.name == "index.html"
    assert len(list(path.parent.iterdir())) == 4


def test_plot_of_stack_has_a_picture_for_each_exposure(single):
    whole = xta.stack(single)
    drawn = plot.science(whole)
    assert [one.axes.get_title(loc="left").split()[0] for one in drawn] == [
        ds["filename"].item().removesuffix(".fits") for ds in single
    ]
    assert len({one.figure for one in drawn}) == 1
    with pytest.raises(ArgumentError, match="3 images and 1 axes"):
        plot.science(whole, ax=drawn[0].axes)
    assert len(plot.summary(whole).subfigs) == 3


def in_counts(ds):
    return ds.assign(sci=ds["sci"].assign_attrs(units="DN"))


FAULTS = {
    "a dataset": (lambda ds: ds, "give a list"),
    "nothing": (lambda _: [], "no exposure"),
    "a path": (lambda _: ["a.fits"], "not a dataset"),
    "twice": (lambda ds: [ds, ds], "given twice"),
    "instrument": (lambda ds: [ds, ds.assign_coords(filename="b", instrument="MIRI")], "instrument is MIRI"),
    "shape": (lambda ds: [ds, ds.assign_coords(filename="b").isel(x=slice(5))], "shape"),
    "labels": (lambda ds: [ds, ds.assign_coords(filename="b", x=ds["x"] + 1)], "labels x"),
    "scale": (lambda ds: [ds, ds.assign_coords(filename="b", pixel_scale=0.031)], "0.031"),
    "steps": (lambda ds: [ds, ds.assign_coords(filename="b").drop_vars("offset_x")], "compute_offset"),
    "recentered": (lambda ds: [ds, ds.ta.recenter().assign_coords(filename="b")], "shape|recentered"),
    "variables": (lambda ds: [ds, ds.assign_coords(filename="b").drop_vars("err")], "variables"),
    "unit": (
        lambda ds: [ds, ds.assign_coords(filename="b").assign(sci=ds["sci"].assign_attrs(units="DN"))],
        "unit is DN",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_stack_refuses(single, fault):
    make, message = FAULTS[fault]
    with pytest.raises(ArgumentError, match=message):
        xta.stack(make(single[0]))


def test_step_refuses_exposures_with_one_identity(program):
    """With xarray's new defaults the coordinates of the first file are kept for all."""
    with xr.set_options(use_new_combine_kwarg_defaults=True):
        whole = xr.concat([xta.open_exposure(path) for path in program], "exposure")
    assert whole["visit_id"].ndim == 0
    with pytest.raises(ArgumentError, match="only the identity of the first"):
        whole.ta.attach()


def test_step_refuses_two_dimensions_of_exposures(program):
    whole = stacked(program[:2])
    grid = xr.concat([whole, whole.assign_coords(visit_id=("exposure", ["a", "b"]))], "more", coords="all")
    with pytest.raises(ArgumentError, match="along one dimension"):
        grid.ta.attach()


def test_where_does_not_touch_the_acquisition(single):
    ds = single[2]
    masked = ds.where(ds["dq"] == 0)
    assert masked["ta_sci"].dims == ("ta_exposure", "ta_y", "ta_x")
    xr.testing.assert_identical(masked["ta_sci"].variable, ds["ta_sci"].variable)
    assert_same_star(masked, ds)


SCRIPT = """
import resource, sys
import numpy as np, xarray as xr, xta
ds = xta.analyze(sys.argv[1]).load()
ds = xr.concat([ds] * 40, "integration", data_vars="all", coords="minimal", compat="override").load()
size = sum(variable.nbytes for variable in ds.data_vars.values())
(ds["dq"] == 0).values
now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + 3 * size, -1))
masked = ds.where(ds.dq == 0)
difference = ds - ds.sci.median("integration")
print(size, masked.sizes["integration"], "ta_sci" in masked.coords)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of a process is Linux's")
def test_where_takes_at_most_three_times_the_cube(program):
    """The process has three times the memory of the cubes; 64 x 64 times the cube would be 270 GB."""
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(program[2])], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
    size, count, kept = result.stdout.split()
    assert int(size) > 1e8
    assert (count, kept) == ("80", "True")


def test_step_on_plain_data_says_what_is_missing():
    ds = xr.Dataset({"sci": (("exposure", "y", "x"), np.zeros((2, 3, 3)))}, {"x": range(3), "y": range(3)})
    with pytest.raises(XtaError):
        ds.ta.attach()


def test_legacy_datasets_stack(shared):
    with xr.open_dataset(shared / "legacy_0.1" / "analyzed.nc") as old, warnings.catch_warnings():
        warnings.simplefilter("ignore", xta.XtaWarning)
        other = old.load().assign_attrs(filename="other_calints.fits")
        whole = xta.stack([old, other]).ta.adjust_wcs(corrections="none")
        again = old.ta.adjust_wcs(corrections="none")
    assert whole["filename"].values.tolist()[1] == "other_calints.fits"
    np.testing.assert_array_equal(whole["target_x"], [again["target_x"]] * 2)


def test_missing_step_is_named(program):
    with pytest.raises(MissingError, match="compute_offset"):
        stacked(program).ta.attach().ta.adjust_wcs(corrections="none")


def test_set_star_of_each_exposure(single, program):
    whole = stacked(program).ta.set_star([150.0, 151.0, 152.0], 174.0, x_err=[0.1, 0.2, 0.3], source="a table")
    assert whole["target_x"].values.tolist() == [150.0, 151.0, 152.0]
    assert whole["target_y"].values.tolist() == [174.0] * 3
    assert whole["target_x_err"].values.tolist() == [0.1, 0.2, 0.3]
    again = xta.stack(single).ta.set_star(150.0, 174.0, source="a table").isel(exposure=1)
    assert (again["target_x"].item(), identity.header(again)["centroid_kind"]) == (150.0, "manual")
    assert (
        again.ta.compute_offset(centroid="oss").ta.adjust_wcs(corrections="none")["target_x"] == single[1]["target_x"]
    )
    with pytest.raises(ArgumentError, match="3 exposures and 2 values"):
        whole.ta.set_star([150.0, 151.0], 174.0, source="a table")


@pytest.mark.parametrize("dim", ["roll", "visit", "integration"])
def test_step_refuses_one_identity_along_any_dimension(single, dim):
    parts = [ds.drop_vars(["ra", "dec"]) for ds in single[:2]]
    options = {"coords": "minimal", "compat": "override", "join": "override"}
    whole = xr.concat(parts, dim, data_vars="minimal" if dim == "integration" else "all", **options)
    with pytest.raises(ArgumentError, match="only the identity of the first"):
        whole.ta.recenter()


def test_step_refuses_joined_files_of_the_first_release(shared):
    """They have their identity in attributes, of which a join keeps the first."""
    with xr.open_dataset(shared / "legacy_0.1" / "analyzed.nc") as old:
        other = old.load().assign_attrs(filename="b").assign_coords(wcs=((), old["wcs"].item() + "#"))
        whole = xr.concat([old, other], "exposure", coords="different", compat="equals")
    with pytest.raises(ArgumentError, match=r"xta\.stack"):
        whole.ta.compute_offset(centroid="oss")


def test_empty_stack_is_refused(single):
    with pytest.raises(ArgumentError, match="no exposure"):
        xta.stack(single).isel(exposure=[]).ta.compute_offset(centroid="oss")


def test_to_fits_refuses_two_exposures_of_one_name(single, tmp_path):
    parts = [ds.drop_vars(["ra", "dec"]) for ds in single[:2]]
    whole = xr.concat(parts, "integration", coords="different", compat="equals", join="outer")
    with pytest.raises(ArgumentError, match="would replace"):
        whole.ta.to_fits(tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_compute_offset_refuses_one_pixel_for_several_visits(single):
    whole = xta.stack(single)
    with pytest.raises(ArgumentError, match="several visits"):
        whole.ta.compute_offset(centroid=(31.0, 30.0))
    same = whole.isel(exposure=[0, 1]).ta.compute_offset(centroid=(31.0, 30.0))
    assert same["centroid_x"].values.tolist() == [31.0, 31.0]


def test_stack_has_a_history_of_its_own(program):
    whole = analyze(stacked(program))
    lines = whole.attrs["history"].splitlines()
    assert [line.partition(": ")[2].split()[0] for line in lines] == ["stack", "attach", "compute_offset", "adjust_wcs"]
    assert "adjust_wcs of 3 exposures" in analyze(open_many(program)).attrs["history"]
    assert program[0].name not in analyze(open_many(program)).attrs["history"]


def test_stack_keeps_attributes_that_all_have(single):
    first = single[0].assign_attrs(mine=1, ours="x")
    whole = xta.stack([first, single[1].assign_attrs(ours="x"), single[2].assign_attrs(ours="x")])
    assert whole.attrs["ours"] == "x"
    assert not {"mine", "filename", "visit_id"} & set(whole.attrs)
    assert whole.attrs["telescope"] == "JWST"


def test_closing_a_stack_closes_its_files(program, tmp_path):
    closed = []
    parts = [xta.open_exposure(path, chunks={}) for path in program[:2]]
    for k, ds in enumerate(parts):
        ds.set_close(lambda k=k: closed.append(k))
    whole = xta.stack(parts)
    whole.ta.attach().close()
    assert closed == [0, 1]


def test_attach_given_records_of_all_visits(program, single):
    """Each visit takes the TARG_ACQ extension of its own."""
    none = dict.fromkeys(("target_v2", "target_v3", "sam_x", "sam_y"), np.nan)
    records = []
    for ds in single[1:]:
        used = ds.sel(ta_exposure=ds["ta_in_use"].item())
        about = {"filename": used["ta_filename"].item(), "visit_id": ds["visit_id"].item(), "detector": "NRCALONG"}
        place = {"x_det": ds["oss_x_det"].item(), "y_det": ds["oss_y_det"].item()}
        records.append(TargAcq(**about, **place, **none, date_beg="", status="SUCCESSFUL", reason=""))
    whole = stacked(program).ta.attach(targ_acq=records)
    assert whole["check_passed"].sel(check="TARG_ACQ matches telemetry").values.tolist() == [1, 1, 1]


def test_correcting_a_header_keeps_the_rest(program):
    ds = xta.open_exposure(program[0]).assign_coords(target_ra=1.0)
    attrs = ds.ta.attach().attrs
    assert "target_ra" not in attrs
    assert {"telescope", "filename", "title", "nints"} <= set(attrs)
    assert "open_exposure" in attrs["history"]


def test_member_with_filled_acquisitions_is_drawn_and_reported(single, tmp_path):
    member = xta.stack(single).isel(exposure=0)
    assert member.sizes["ta_exposure"] == 3
    assert plot.offsets(member)
    path = member.ta.report(tmp_path / "a.html")
    assert path.read_text().count("<canvas") == single[0].ta.report(tmp_path / "b.html").read_text().count("<canvas")
    assert "1 exposure," in repr(member.ta)


def test_offsets_of_a_stack_without_offsets_are_missing(program):
    with pytest.raises(MissingError, match="compute_offset"):
        plot.offsets(stacked(program).ta.attach())
