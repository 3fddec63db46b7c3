"""The steps over a tree: each exposure as if it were alone, and the tree as a whole on disk."""

import json
import shutil
import warnings

import numpy as np
import pytest
import xarray as xr

import xta
from tests.surveys.visits import STEP, add_spectrum, add_targ_acq, base_visit, clones
from tests.test_tree import keyed
from xta.accessor import TreeAccessor
from xta.cubes.background import mean_exposure
from xta.errors import (
    AcquisitionError,
    ArgumentError,
    KlipError,
    MissingError,
    RecenterError,
    WCSError,
    XtaWarning,
)

BACKGROUND = "10009001001"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A visit with known truth, of which the program is made."""
    return base_visit(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory):
    """Two visits of a star, one of a reference star, and one of a background field, without acquisition."""
    path = tmp_path_factory.mktemp("program")
    clones(made, path, range(3), apart=False)
    (reference,) = path.glob("jw10002*calints.fits")
    changed = keyed(reference, path / "temporary", IS_PSF=True, TARGNAME="Reference")
    changed.replace(reference)
    (science,) = path.glob("jw10000*calints.fits")
    keyed(science, path / science.name.replace("10000001001", BACKGROUND), BKGDTARG=True, VISIT_ID=BACKGROUND)
    return path


@pytest.fixture
def program(folder):
    tree = xta.open_program(folder)
    yield tree
    tree.close()


@pytest.fixture(scope="module")
def analyzed(folder):
    return xta.open_program(folder).ta.analyze(centroid="oss", corrections="none")


def paths(tree, role=""):
    """Where the exposures are, by role."""
    return [node.path for node in tree.leaves if role in node.path]


def check_stars(tree, made, names):
    """Compare stars with the truth: that of visit n is n * STEP px farther along the rows of the detector."""
    truth = made.truth.sel(file=made.science[0].name)
    for number, name in names.items():
        ds = tree[name]
        expected = np.array([float(truth["star_x"]), float(truth["star_y"])])
        moved = np.hypot(*(np.array([float(ds["target_x"]), float(ds["target_y"])]) - expected))
        assert moved == pytest.approx(number * STEP, rel=2e-3, abs=1e-4), name
        assert ds["visit_id"].item() == f"{10000 + number}001001"


def stars_of(tree):
    return {path: (float(tree[path]["target_x"]), float(tree[path]["target_y"])) for path in star_paths(tree)}


def star_paths(tree):
    return [*paths(tree, "science"), *paths(tree, "reference")]


def test_analyze_finds_each_star(analyzed, made):
    first, second = paths(analyzed, "science")
    (reference,) = paths(analyzed, "reference")
    check_stars(analyzed, made, {0: first, 1: second, 2: reference})


def test_analyze_equals_analyze_of_each(analyzed, folder):
    for path in star_paths(analyzed):
        alone = xta.analyze(folder / f"{path.rpartition('/')[2]}.fits", centroid="oss", corrections="none")
        xr.testing.assert_identical(analyzed[path].to_dataset(), alone)


def test_analyze_keeps_input_and_the_rest(program, analyzed):
    before = program.copy(deep=True)
    program.ta.analyze(centroid="oss", corrections="none")
    xr.testing.assert_identical(program, before)
    for path in [*paths(program, "acquisition"), *paths(program, "background")]:
        xr.testing.assert_identical(analyzed[path].to_dataset(), program[path].to_dataset())
    xr.testing.assert_identical(analyzed.ta.files, program.ta.files)


def test_analyze_of_part_takes_acquisition_of_whole(program, analyzed):
    """The acquisitions are in another branch; nothing lies beside the files."""
    hidden = xr.DataTree.from_dict(
        {
            path: ds.assign_coords(source=ds["source"].item().replace("program", "gone")) if "source" in ds else ds
            for path, ds in ((node.path, node.to_dataset(inherit=False)) for node in program.subtree)
        }
    )
    part = hidden["F444W"].ta.analyze(centroid="oss", corrections="none")
    assert list(part.children) == ["science", "reference", "background"]
    for path in star_paths(part):
        assert float(part[path]["target_x"]) == float(analyzed[f"F444W{path}"]["target_x"])
    alone = xr.DataTree.from_dict({"/science/a": hidden["F444W/science"].leaves[0].to_dataset()})
    with pytest.raises(AcquisitionError, match="no TA exposure"):
        alone.ta.analyze(centroid="oss", corrections="none")


def test_analyze_takes_files_from_elsewhere(folder, analyzed, tmp_path):
    """Science, acquisition and log in folders of their own."""
    for kind, pattern in (("s", "jw10000*calints.fits"), ("t", "jw10000*_cal.fits"), ("l", "*10000*osslog.csv")):
        (tmp_path / kind).mkdir()
        for path in folder.glob(pattern):
            shutil.copy(path, tmp_path / kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tree = xta.open_program(tmp_path).ta.analyze(centroid="oss", corrections="none")
    (path,) = paths(tree, "science")
    assert tree[path]["centroid_kind"].item() == "oss"
    assert float(tree[path]["target_x"]) == float(analyzed[path]["target_x"])


def test_analyze_reads_targ_acq_of_uncal(made, tmp_path):
    """Without a log the centroid is that of the _uncal product, wherever it lies."""
    visit = made
    for kind in ("s", "t", "u"):
        (tmp_path / kind).mkdir()
    shutil.copy(visit.science[0], tmp_path / "s")
    shutil.copy(visit.ta[0], tmp_path / "t")
    shutil.move(add_targ_acq(visit), tmp_path / "u")
    tree = xta.open_program(tmp_path).ta.analyze(centroid="oss", corrections="none")
    (path,) = paths(tree, "science")
    assert tree[path]["centroid_kind"].item() == "targ_acq"
    row = visit.truth.sel(file=visit.science[0].name)
    assert float(tree[path]["target_x"]) == pytest.approx(float(row["star_x"]), abs=1e-4)


def test_analyze_published_cases(shared):
    """Two visits of one program, each with its own log of the same name."""
    tree = xta.open_program(shared / "published").ta.analyze(centroid="oss", corrections="none")
    for path in paths(tree, "science"):
        ds = tree[path]
        (file,) = (shared / "published").glob(f"V{ds['visit_id'].item()}/expected.json")
        expected = json.loads(file.read_text())["star_exact"]
        assert [float(ds["target_x"]), float(ds["target_y"])] == pytest.approx(expected, abs=1e-4)


def test_analyze_leaves_out_exposure_without_wcs(folder, tmp_path):
    for path in folder.glob("*10000*"):
        shutil.copy(path, tmp_path)
    (science,) = tmp_path.glob("jw10000*calints.fits")
    name = add_spectrum(science, science.with_name(science.name.replace("_00001_", "_00002_")))
    with pytest.warns(XtaWarning):
        tree = xta.open_program(tmp_path)
    with pytest.warns(XtaWarning, match="00002.* is left out"):
        result = tree.ta.analyze(centroid="oss", corrections="none")
    assert [path.rpartition("/")[2] for path in paths(result, "science")] == [science.stem]
    table = result.ta.files
    (row,) = (k for k, path in enumerate(table["path"].values) if path.endswith(name))
    assert (table["status"].values[row], table["group"].values[row]) == (0, "")
    assert "has no GWCS" in table["reason"].values[row]
    science.unlink()
    with pytest.warns(XtaWarning):
        tree = xta.open_program(tmp_path)
    with pytest.warns(XtaWarning), pytest.raises(WCSError, match="none of the 1 exposures"):
        tree.ta.analyze(centroid="oss", corrections="none")


def foreign(ds):
    """Make the header of an exposure that of another pointing than its WCS has."""
    return ds.assign_coords(ra_ref=ds["ra_ref"] + 1e-3).assign_attrs(ra_ref=ds["ra_ref"].item() + 1e-3)


def with_groups(program, datasets):
    """Build the program with other datasets in some groups; what is open stays open."""
    data = {node.path: node.to_dataset(inherit=False) for node in program.subtree}
    return xr.DataTree.from_dict(data | datasets)


def test_analyze_writes_why_exposure_is_left_out(program, analyzed):
    gone, kept = paths(program, "science")
    tree = with_groups(program, {gone: foreign(program[gone].to_dataset())})
    with pytest.warns(XtaWarning, match="disagrees with its header"):
        result = tree.ta.analyze(centroid="oss", corrections="none")
    assert paths(result, "science") == [kept]
    table = result.ta.files
    (row,) = np.flatnonzero(program.ta.files["group"].values == gone)
    assert table["reason"].values[row].startswith(f"the WCS of {gone.rpartition('/')[2]}.fits disagrees with its")
    assert np.count_nonzero(table["reason"].values != program.ta.files["reason"].values) == 1
    assert float(result[kept]["target_x"]) == float(analyzed[kept]["target_x"])


def test_analyze_raises_for_acquisition_of_other_wcs(program):
    """One TA exposure concerns all exposures of its visit: they are not left out in silence."""
    first = paths(program, "acquisition")[0]
    tree = with_groups(program, {first: foreign(program[first].to_dataset())})
    with pytest.raises(WCSError, match=first.rpartition("/")[2]):
        tree.ta.analyze(centroid="oss", corrections="none")


@pytest.mark.parametrize("dim", ["exposure", "visit"])
def test_analyze_keeps_order_and_dimension_of_stack(program, analyzed, dim):
    """The first and the last exposure are of one visit."""
    first, second = (program[path].to_dataset() for path in paths(program, "science"))
    third = first.assign_coords(filename="third.fits", exposure_number="2")
    stack = xta.stack([first, second, third]).rename(exposure=dim)
    tree = with_groups(program, {"/F444W/science/all": stack})
    result = tree.ta.analyze(centroid="oss", corrections="none")["F444W/science/all"]
    assert result["sci"].dims[0] == dim
    assert result["filename"].values.tolist() == stack["filename"].values.tolist()
    stars = [float(analyzed[path]["target_x"]) for path in paths(analyzed, "science")]
    assert result["target_x"].values.tolist() == [stars[0], stars[1], stars[0]]


def test_analyze_of_stack_leaves_out_one_exposure(program, analyzed):
    first, second = (program[path].to_dataset() for path in paths(program, "science"))
    tree = with_groups(program, {"/F444W/science/all": xta.stack([foreign(first), second])})
    with pytest.warns(XtaWarning, match=r"all\[0\] is left out"):
        result = tree.ta.analyze(centroid="oss", corrections="none")["F444W/science/all"]
    assert result["filename"].values.tolist() == [second["filename"].item()]
    xr.testing.assert_equal(result["sci"].isel(exposure=0).variable, second["sci"].variable)
    assert result["target_x"].item() == float(analyzed[paths(analyzed, "science")[1]]["target_x"])


def test_steps_find_labels_in_parent(program, analyzed):
    """xarray moves labels that a parent has too out of its children."""
    (path,) = paths(program, "reference")
    ds = program[path].to_dataset()
    group = path.rpartition("/")[0]
    tree = with_groups(program, {group: ds[["x", "y"]].reset_coords(drop=True)})
    assert "x" not in tree[path].to_dataset(inherit=False).coords
    result = tree.ta.analyze(centroid="oss", corrections="none")
    assert float(result[path]["target_x"]) == float(analyzed[path]["target_x"])
    expected = analyzed[path].to_dataset().ta.recenter(size=51)
    xr.testing.assert_identical(result.ta.recenter(size=51)[path].to_dataset(), expected)


def test_analyze_without_acquisition_names_visit(folder, tmp_path):
    (science,) = folder.glob("jw10001*calints.fits")
    shutil.copy(science, tmp_path)
    with pytest.raises(AcquisitionError, match="no TA exposure of visit 10001001001"):
        xta.open_program(tmp_path).ta.analyze(centroid="oss", corrections="none")


@pytest.mark.parametrize("step", ["analyze", "recenter", "coadd", "stack", "klip"])
def test_steps_of_tree_without_exposures(step):
    tree = xr.DataTree.from_dict({"/a": xr.Dataset({"t": 1})})
    if step in {"analyze", "klip"}:
        with pytest.raises((ArgumentError, KlipError), match=r"no .*exposure"):
            getattr(tree.ta, step)()
    else:
        xr.testing.assert_identical(getattr(tree.ta, step)(), tree)


def test_recenter_equals_recenter_of_each(analyzed):
    cubes = analyzed.ta.recenter(size=101, fill=0.0)
    for path in star_paths(analyzed):
        expected = analyzed[path].to_dataset().ta.recenter(size=101, fill=0.0)
        xr.testing.assert_identical(cubes[path].to_dataset(), expected)
    assert set(cubes.groups) == set(analyzed.groups)


def test_klip_equals_klip_of_lists(analyzed):
    cubes = analyzed.ta.recenter(size=101)
    science, reference = (
        [cubes[path].to_dataset() for path in paths(cubes, role)] for role in ("science", "reference")
    )
    expected = xta.klip(science, reference=reference, numbasis=[1])
    image = cubes["F444W"].ta.klip(numbasis=[1])
    xr.testing.assert_identical(image, expected)
    whole = cubes.ta.klip(numbasis=[1])
    assert list(whole.children) == ["F444W"]
    xr.testing.assert_identical(whole["F444W"].to_dataset(), expected)


def test_klip_names_filter_that_fails(analyzed):
    alone = analyzed.filter(lambda node: "reference" not in node.path)
    with pytest.raises(KlipError, match=r"F444W: .*references"):
        alone.ta.klip()


def test_klip_leaves_out_filter_without_science(analyzed):
    cubes = analyzed.ta.recenter(size=51)
    (path,) = paths(cubes, "reference")
    cubes["F999W/reference/a"] = xr.DataTree(cubes[path].to_dataset())
    with pytest.warns(XtaWarning, match="F999W is left out"):
        assert list(cubes.ta.klip(numbasis=1).children) == ["F444W"]


def flat(path, target, value, error, **cards):
    """Write an exposure of the same setting that is `value` with the standard error `error` in every good pixel."""
    from astropy.io import fits

    keyed(path, target, BKGDTARG=True, **cards)
    with fits.open(target, mode="update", memmap=False) as hdus:
        hdus["SCI"].data[...] = value
        hdus["ERR"].data[...] = error
        hdus["DQ"].data[...] = 0
    return target


@pytest.fixture
def with_fields(folder, tmp_path):
    """A science exposure with its acquisition, and two exposures of background fields: 7 +- 2 and 9 +- 4."""
    for path in folder.glob("*10000*"):
        shutil.copy(path, tmp_path)
    (science,) = tmp_path.glob("jw10000*calints.fits")
    for number, (value, error) in enumerate(((7.0, 2.0), (9.0, 4.0)), start=1):
        visit = f"1000{number}009001"
        name = science.name.replace("10000001001", visit)
        flat(science, tmp_path / name, value, error, VISIT_ID=visit)
    return tmp_path


def test_subtract_background_is_mean_of_fields(with_fields):
    tree = xta.open_program(with_fields).ta.analyze(centroid="oss", corrections="none")
    (path,) = paths(tree, "science")
    result = tree.ta.subtract_background()
    before, after = (each[path].to_dataset() for each in (tree, result))
    good = np.isfinite(before["sci"]) & ((before["dq"].astype(np.uint32) & 1) == 0)
    np.testing.assert_allclose(after["sci"].where(good), before["sci"].where(good) - 8.0, rtol=1e-6)
    error = np.hypot(before["err"], np.hypot(2.0, 4.0) / 2)
    np.testing.assert_allclose(after["err"].where(good), error.where(good), rtol=1e-6)
    assert float(after["target_x"]) == float(before["target_x"])
    for other in (*paths(tree, "background"), *paths(tree, "acquisition")):
        xr.testing.assert_identical(result[other].to_dataset(), tree[other].to_dataset())
    part = tree["F444W/science"].ta.subtract_background()
    xr.testing.assert_identical(part.leaves[0].to_dataset(), after)
    assert float(result.ta.recenter()[path]["target_x"]) == 0


def test_subtract_background_without_field(analyzed):
    tree = analyzed.filter(lambda node: "background" not in node.path)
    with pytest.raises(MissingError, match="no background exposure"):
        tree.ta.subtract_background()


def test_subtract_background_of_other_setting(with_fields):
    """Another filter or subarray has another background."""
    (science,) = with_fields.glob("jw10000001001*calints.fits")
    keyed(science, with_fields / science.name.replace("03105", "03106"), FILTER="F335M")
    tree = xta.open_program(with_fields)
    with pytest.warns(XtaWarning, match="F335M/science/.* do not change"):
        result = tree.ta.subtract_background()
    (path,) = [path for path in paths(tree, "science") if "F335M" in path]
    xr.testing.assert_identical(result[path].to_dataset(), tree[path].to_dataset())


def test_subtract_background_of_stack_of_two_settings(with_fields):
    tree = xta.open_program(with_fields)
    (path,) = paths(tree, "science")
    ds = tree[path].to_dataset()
    other = ds.assign_coords(filename="other.fits", filter="F335M")
    stacked = with_groups(tree, {path: xta.stack([ds, other])})
    with pytest.raises(ArgumentError, match=r"differ in filter; subtract the background before"):
        stacked.ta.subtract_background()
    alike = with_groups(tree, {path: xta.stack([ds, other.assign_coords(filter="F444W")])})
    result = alike.ta.subtract_background()[path]
    expected = tree.ta.subtract_background()[path]["sci"].values
    np.testing.assert_array_equal(result["sci"].values, [expected, expected])


def test_subtract_background_after_recenter(with_fields):
    tree = xta.open_program(with_fields).ta.analyze(centroid="oss", corrections="none").ta.recenter(size=51)
    with pytest.raises(RecenterError, match="before recenter"):
        tree.ta.subtract_background()


def test_coadd_equals_coadd_of_each(nircam):
    tree = xta.open_program([*nircam.science, *nircam.ta])
    result = tree.ta.coadd(method="median")
    (path,) = paths(tree, "science")
    xr.testing.assert_identical(result[path].to_dataset(), tree[path].to_dataset().ta.coadd(method="median"))
    (ta,) = paths(tree, "acquisition")
    xr.testing.assert_identical(result[ta].to_dataset(), tree[ta].to_dataset())
    xr.testing.assert_identical(result.ta.coadd(), result)


def test_mean_exposure_refuses(nircam):
    ds = xta.open_exposure(nircam.science[0])
    with pytest.raises(ArgumentError, match="no exposure"):
        mean_exposure([])
    with pytest.raises(ArgumentError, match="they differ in pixels"):
        mean_exposure([ds, ds.isel(x=slice(1, None))])
    with pytest.raises(ArgumentError, match="they differ in detector"):
        mean_exposure([ds, ds.assign_coords(detector="NRCBLONG")])


def test_stack_holds_each_exposure(analyzed, made):
    tree = analyzed.ta.stack()
    assert {*paths(tree)} - {*paths(tree, "acquisition")} == {
        f"/F444W/{n}" for n in ("science", "reference", "background")
    }
    ds = tree["F444W/science"]
    assert dict(ds.sizes)["exposure"] == 2
    members = [analyzed[path] for path in paths(analyzed, "science")]
    np.testing.assert_array_equal(ds["target_x"], [float(member["target_x"]) for member in members])
    xr.testing.assert_identical(tree.ta.stack(), tree)
    again = tree.ta.analyze(centroid="oss", corrections="none")
    np.testing.assert_array_equal(again["F444W/science"]["target_x"], ds["target_x"])
    image = tree.ta.recenter(size=51)["F444W"].ta.klip(numbasis=1)
    xr.testing.assert_equal(image["klip"], analyzed.ta.recenter(size=51)["F444W"].ta.klip(numbasis=1)["klip"])


def test_stack_names_group_that_cannot(analyzed):
    tree = analyzed.copy()
    path = paths(tree, "science")[0]
    tree[path] = xr.DataTree(tree[path].to_dataset().isel(x=slice(100)))
    with pytest.raises(ArgumentError, match=r"F444W/science: .*shape"):
        tree.ta.stack()


def write_netcdf(tree, path):
    tree.ta.to_netcdf(path.with_suffix(".nc"))
    return xr.open_datatree(path.with_suffix(".nc"))


def write_zarr(tree, path):
    tree.to_zarr(path.with_suffix(".zarr"), zarr_format=2)
    return xr.open_datatree(path.with_suffix(".zarr"), engine="zarr")


@pytest.mark.parametrize("write", [write_netcdf, write_zarr])
def test_tree_on_disk_works_on(analyzed, tmp_path, write):
    """One store of the whole tree: each exposure, the table, and every step again."""
    again = write(analyzed, tmp_path / "a")
    assert set(again.groups) == set(analyzed.groups)
    for path in paths(analyzed):
        for name in ("sci", "dq", "wcs", "visit_id"):
            np.testing.assert_array_equal(again[path][name], analyzed[path][name], err_msg=f"{path} {name}")
    assert stars_of(again) == stars_of(analyzed)
    assert repr(again.ta) == repr(analyzed.ta)
    assert stars_of(again.ta.analyze(centroid="oss", corrections="none")) == stars_of(analyzed)
    image = again.ta.recenter(size=51)["F444W"].ta.klip(numbasis=1)
    xr.testing.assert_equal(image["klip"], analyzed.ta.recenter(size=51)["F444W"].ta.klip(numbasis=1)["klip"])
    again.close()


def test_to_netcdf_of_part_and_of_stack(analyzed, tmp_path):
    analyzed["F444W"].ta.to_netcdf(tmp_path / "part.nc")
    with xr.open_datatree(tmp_path / "part.nc") as part:
        assert list(part.children) == ["science", "reference", "background"]
        assert stars_of(part) == {path.removeprefix("/F444W"): star for path, star in stars_of(analyzed).items()}
    xta.to_netcdf(analyzed.ta.stack(), tmp_path / "stack.nc")
    with xr.open_datatree(tmp_path / "stack.nc") as stacked:
        assert stacked["F444W/science"].sizes["exposure"] == 2


def test_to_netcdf_names_what_netcdf_cannot_hold(tmp_path):
    tree = xr.DataTree.from_dict({"/a": xr.Dataset({"t": 1}), "/b": xr.Dataset({"z": ("n", [1j])})})
    with pytest.raises(ArgumentError, match="variable z"):
        tree.ta.to_netcdf(tmp_path / "a.nc")
    assert list(tmp_path.iterdir()) == []


def test_tree_by_hand_is_sorted_by_identity(analyzed):
    """Without the names of roles the keywords decide."""
    every = {f"/{number}": analyzed[path].to_dataset() for number, path in enumerate(paths(analyzed))}
    tree = xr.DataTree.from_dict(every)
    image = tree.ta.recenter(size=51).ta.klip(numbasis=1)
    xr.testing.assert_equal(image["klip"], analyzed.ta.recenter(size=51)["F444W"].ta.klip(numbasis=1)["klip"])


def test_repr_of_any_tree():
    assert repr(xr.DataTree().ta).startswith("<xta")
    assert xr.DataTree().ta.files is None


def test_ta_of_climate_tree_is_variable(program):
    ds = xr.Dataset({"ta": ("time", [288.0])})
    xr.testing.assert_identical(xr.DataTree.from_dict({"/": ds, "/day": ds}).ta, ds["ta"])
    assert xr.DataTree.from_dict({"/ta": ds}).ta.name == "ta"
    assert isinstance(xr.DataTree.from_dict({"/day": ds}).ta, TreeAccessor)
    assert isinstance(program.assign({"ta": xr.Variable((), 1)}).ta, TreeAccessor)


def test_ta_of_climate_tree_is_decided_at_each_access():
    tree = xr.DataTree(xr.Dataset({"ta": ("time", [288.0])}))
    assert float(tree.ta[0]) == 288.0
    tree["ta"] = tree["ta"] - 273.15
    assert float(tree.ta[0]) == pytest.approx(14.85)
    assert xr.DataTree.ta is TreeAccessor
