"""The files of a program as a tree: what is opened, in which group, and what is left out and why."""

import shutil

import pytest
import xarray as xr

import xta
from xta.errors import ArgumentError, FileError, ProductError, XtaWarning
from xta.io.files import Product, find_files, read_product
from xta.io.tree import LEFT_OUT, NEEDED, OPENED

OTHER = "09990002001"


def keyed(path, target, **cards):
    """Copy a product with other keywords; a keyword that is None goes."""
    from astropy.io import fits

    shutil.copy(path, target)
    with fits.open(target, mode="update", memmap=False) as hdus:
        for name, value in cards.items():
            if value is None:
                hdus[0].header.pop(name, None)
            else:
                hdus[0].header[name] = value
        hdus[0].header["FILENAME"] = target.name
    return target


def as_reference(path, folder, *, is_psf=True):
    """Copy a science exposure as that of a reference star in another visit."""
    name = path.name.replace("09990001001", OTHER)
    return keyed(path, folder / name, VISIT_ID=OTHER, IS_PSF=is_psf, TARGNAME="Other-Star")


@pytest.fixture
def folder(nircam, tmp_path):
    """The files of a visit."""
    for path in (*nircam.science, *nircam.ta, nircam.oss_log):
        shutil.copy(path, tmp_path)
    return tmp_path


def leaves(tree):
    return [node.path for node in tree.leaves]


def row(tree, name):
    """The row of a file in the table of a program: status, role, group and reason."""
    table = tree.ta.files
    (index,) = [k for k, path in enumerate(table["path"].values) if path.endswith(f"/{name}")]
    return tuple(table[column].values[index].item() for column in ("status", "role", "group", "reason"))


def test_open_program_sorts_by_filter_and_role(nircam, folder):
    science = nircam.science[0]
    reference = as_reference(science, folder)
    background = keyed(science, folder / science.name.replace("03105", "03106"), BKGDTARG=True)
    narrow = keyed(science, folder / science.name.replace("03105", "03107"), PUPIL="F405N")
    tree = xta.open_program(folder)
    stems = [path.name.removesuffix(".fits") for path in (science, reference, background, narrow, nircam.ta[0])]
    groups = ["F444W/science", "F444W/reference", "F444W/background", "F405N/science", "acquisition"]
    assert set(leaves(tree)) == {f"/{group}/{stem}" for group, stem in zip(groups, stems, strict=True)}
    assert list(tree.children) == ["F405N", "F444W", "acquisition"]
    assert list(tree["F444W"].children) == ["science", "reference", "background"]
    table = tree.ta.files
    opened = table["status"].values == OPENED
    assert table["filter"].values[opened].tolist() == ["F405N", "F444W", "F444W", "F444W", "F335M"]
    roles = ["science", "science", "reference", "background", "acquisition"]
    assert table["role"].values[opened].tolist() == roles
    assert row(tree, reference.name) == (OPENED, "reference", f"/F444W/reference/{stems[1]}", "")
    assert row(tree, nircam.oss_log.name)[:2] == (NEEDED, "event log")
    assert nircam.visit_id in next(line for line in repr(tree.ta).splitlines() if line.startswith("event log"))


def test_open_program_in_order_of_time(nircam, folder):
    science = nircam.science[0]
    early = keyed(science, folder / science.name.replace("03105", "03109"), **{"DATE-BEG": "2020-01-01T00:00:00.000"})
    tree = xta.open_program(folder)
    assert list(tree["F444W/science"].children) == [path.name.removesuffix(".fits") for path in (early, science)]


def test_open_program_is_lazy(folder):
    tree = xta.open_program(folder)
    ds = tree["F444W/science"].leaves[0].to_dataset()
    assert not any(ds[name].variable._in_memory for name in ("sci", "err", "dq"))
    chunked = xta.open_program(folder, chunks={})
    assert chunked["F444W/science"].leaves[0]["sci"].chunks[0] == (1, 1, 1)


def test_open_datatree_is_open_program(folder):
    tree = xta.open_program(folder)
    for other in (
        xr.open_datatree(folder, engine="jwst"),
        xr.DataTree.from_dict(xr.open_groups(folder, engine="jwst")),
    ):
        xr.testing.assert_identical(other, tree)
    chunked = xr.open_datatree(folder, engine="jwst", chunks={})
    assert chunked["F444W/science"].leaves[0]["sci"].chunks[0] == (1, 1, 1)


def test_open_program_nodes_are_exposures(nircam, folder):
    """Nothing of the table is inherited."""
    tree = xta.open_program(folder)
    for path, group in ((nircam.science[0], "F444W/science"), (nircam.ta[0], "acquisition")):
        node = tree[f"{group}/{path.name.removesuffix('.fits')}"]
        xr.testing.assert_identical(node.to_dataset(), xta.open_exposure(folder / path.name))


def test_open_program_takes_best_product(nircam, folder):
    science, ta = nircam.science[0], nircam.ta[0]
    others = [folder / science.name.replace("calints", kind) for kind in ("cal", "rateints", "rate", "uncal", "i2d")]
    uncal = folder / ta.name.replace("_cal", "_uncal")
    for path in others:
        shutil.copy(science, path)
    shutil.copy(ta, uncal)
    tree = xta.open_program(folder)
    assert [path.rpartition("_")[2] for path in leaves(tree)] == ["cal", "calints"]
    for path in others[:3]:
        status, _, group, reason = row(tree, path.name)
        assert (status, group) == (LEFT_OUT, "")
        assert science.name in reason
    for path, kind in zip(others[3:], ("_uncal", "_i2d"), strict=True):
        assert kind in row(tree, path.name)[3]
    assert row(tree, uncal.name)[:3] == (NEEDED, "acquisition", "")
    (folder / science.name).unlink()
    assert "/F444W/science/" + others[0].stem in leaves(xta.open_program(folder))


def test_open_program_of_files(nircam):
    tree = xta.open_program([nircam.science[0], nircam.oss_log])
    assert leaves(tree) == ["/F444W/science/" + nircam.science[0].stem]
    assert leaves(xta.open_program(str(nircam.science[0]))) == leaves(tree)


def test_open_program_of_miri(miri):
    tree = xta.open_program(miri.science[0].parent)
    assert len(tree["acquisition"].children) == len(miri.ta)
    assert [path.rpartition("/")[0] for path in leaves(tree) if "acquisition" not in path] == ["/F1140C/science"]


def test_open_program_damaged_file_is_row(nircam, folder):
    """One whose header is damaged, one cut short, one that is no FITS at all; the next best product is opened."""
    science, ta = nircam.science[0], nircam.ta[0]
    cal = folder / science.name.replace("calints", "cal")
    shutil.copy(science, cal)
    (folder / science.name).write_bytes(science.read_bytes()[:200_000])
    (folder / ta.name.replace("_cal", "_rate")).write_bytes(b"junk")
    (folder / "notes.fits").write_bytes(b"")
    tree = xta.open_program(folder)
    assert "/F444W/science/" + cal.stem in leaves(tree)
    for name in (science.name, ta.name.replace("_cal", "_rate"), "notes.fits"):
        status, _, group, reason = row(tree, name)
        assert (status, group) == (LEFT_OUT, "")
        assert name in reason
    text = repr(tree.ta)
    assert "3 left out" in text
    assert f"{science.name}: " in text


def test_open_program_without_readable_file_says_why(nircam, tmp_path):
    path = tmp_path / nircam.science[0].name
    path.write_bytes(nircam.science[0].read_bytes()[:200_000])
    with pytest.raises(ProductError, match=path.name):
        xta.open_program(tmp_path)


def test_open_program_closes_files_when_it_fails(nircam, folder):
    closed = []

    def read(path):
        if "calints" in path:
            raise RuntimeError
        ds = xta.open_exposure(path)
        ds.set_close(lambda: closed.append(path))
        return ds

    from xta.io.tree import build

    keyed(nircam.ta[0], folder / nircam.ta[0].name.replace("09990001001", "09990000001"), VISIT_ID="09990000001")
    with pytest.raises(RuntimeError):
        build(folder, read=read)
    assert len(closed) == 1


def test_open_program_close_closes_files(folder):
    closed = []
    tree = xta.open_program(folder)
    for node in tree.leaves:
        node.set_close(lambda name=node.name: closed.append(name))
    tree.close()
    assert sorted(closed) == sorted(node.name for node in tree.leaves)


def test_open_program_two_copies(nircam, folder):
    """The first is taken; where they differ it is warned of."""
    (folder / "z").mkdir()
    again = folder / "z" / nircam.science[0].name
    shutil.copy(nircam.science[0], again)
    tree = xta.open_program(folder)
    assert len(leaves(tree)) == 2
    table = tree.ta.files
    reasons = dict(zip(table["path"].values.tolist(), table["reason"].values.tolist(), strict=True))
    assert str(folder / again.name) in reasons[str(again)]
    again.write_bytes(again.read_bytes() + bytes(2880))
    with pytest.warns(XtaWarning, match="differ; the first"):
        xta.open_program(folder)


def test_open_program_same_name_in_two_visits(nircam, tmp_path):
    """Files that were renamed alike: both are there."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    shutil.copy(nircam.science[0], tmp_path / "a" / "star_calints.fits")
    keyed(nircam.science[0], tmp_path / "b" / "star_calints.fits", VISIT_ID=OTHER)
    tree = xta.open_program(tmp_path)
    assert list(tree["F444W/science"].children) == ["star_calints", f"star_calints_{OTHER}"]
    visits = [node["visit_id"].item() for node in tree["F444W/science"].leaves]
    assert visits == [nircam.visit_id, OTHER]


def test_open_program_without_filter(nircam, tmp_path):
    keyed(nircam.science[0], tmp_path / nircam.science[0].name, FILTER=None)
    assert list(xta.open_program(tmp_path).children) == ["no_filter"]


def test_open_program_unmarked_reference(nircam, folder):
    """No keyword says which of two stars is the reference; the user does."""
    path = as_reference(nircam.science[0], folder, is_psf=False)
    with pytest.warns(
        XtaWarning, match=r"none of the targets Other-Star, Sample-Star in F444W is marked as a reference"
    ):
        tree = xta.open_program(folder)
    assert list(tree["F444W"].children) == ["science"]
    tree = xta.open_program(folder, reference="Other-Star")
    assert list(tree["F444W/reference"].children) == [path.name.removesuffix(".fits")]
    assert row(tree, path.name)[1] == "reference"
    tree = xr.open_datatree(folder, engine="jwst", reference=["Other-Star"])
    assert list(tree["F444W"].children) == ["science", "reference"]


@pytest.mark.parametrize(
    ("paths", "error", "says"),
    [
        ([], ArgumentError, "at least one"),
        (5, ArgumentError, "at least one"),
        ([5], ArgumentError, "give paths"),
        ("nowhere", FileError, "does not exist"),
    ],
)
def test_open_program_refuses(paths, error, says):
    with pytest.raises(error, match=says):
        xta.open_program(paths)


def test_open_program_refuses_folder_without_products(tmp_path):
    with pytest.raises(ArgumentError, match="no JWST product"):
        xta.open_program(tmp_path)
    (tmp_path / "a.txt").write_text("nothing")
    (tmp_path / "a.fits").write_bytes(b"nothing")
    with pytest.raises(ArgumentError, match=r"no JWST product .*1 other file"):
        xr.open_datatree(tmp_path, engine="jwst")


def test_read_product_of_header(nircam, tmp_path):
    product = read_product(nircam.science[0])
    assert (product.visit_id, product.band, product.role) == (nircam.visit_id, "F444W", "science")
    path = keyed(nircam.science[0], tmp_path / "a_cal.fits", PUPIL="N/A", IS_PSF="T", FILTER="F1140C")
    assert (read_product(path).band, read_product(path).role) == ("F1140C", "science")
    assert read_product(nircam.ta[0]).role == "acquisition"


@pytest.mark.parametrize(
    ("name", "pupil", "band"),
    [
        ("F335M", "MASKRND", "F335M"),
        ("F444W", "F466N", "F466N"),
        ("CLEAR", "F150W", "F150W"),
        ("F480M", "NRM", "F480M"),
        ("F1140C", "", "F1140C"),
        ("F200W", "CLEAR", "F200W"),
    ],
)
def test_product_band(tmp_path, name, pupil, band):
    assert Product(tmp_path, filter=name, pupil=pupil).band == band


def test_find_files_sorts_out(nircam, folder):
    (folder / "a.fits").write_bytes(b"nothing")
    catalog = find_files(folder)
    assert list(catalog.products) == [nircam.visit_id]
    assert catalog.logs[nircam.visit_id] == [folder / nircam.oss_log.name]
    assert list(catalog.passed_over) == [folder / "a.fits"]


def test_program_command(nircam, folder):
    from click.testing import CliRunner

    from xta.cli import main

    as_reference(nircam.science[0], folder)
    (folder / nircam.ta[0].name.replace("_cal", "_rate")).write_bytes(b"junk")
    done = CliRunner().invoke(main, ["program", str(folder)])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["science", "reference", "acquisition", "event"]
    assert nircam.science[0].name in lines[0]
    assert lines[4] == "5 files: 3 exposures, 1 left out"
    assert "_rate.fits" in lines[5]
    done = CliRunner().invoke(main, ["program", str(folder / "nowhere")])
    assert (done.exit_code, "does not exist" in done.stderr) == (1, True)
