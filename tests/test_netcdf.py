"""NetCDF files: what they hold, and what is refused."""

import json
import subprocess
import sys
import zlib

import numpy as np
import pytest
import xarray as xr

import xta
from xta.errors import ArgumentError, FileError, XtaError
from xta.geometry import sky, wcs


def test_to_netcdf_refuses_absent_folder(tmp_path):
    with pytest.raises(FileError, match="does not exist"):
        xta.to_netcdf(xr.Dataset(), tmp_path / "absent" / "a.nc")
    with pytest.raises(FileError, match="is a folder"):
        xta.to_netcdf(xr.Dataset(), tmp_path)


def test_to_netcdf_cleans_attributes(tmp_path):
    ds = xr.Dataset(
        {"a": ("x", np.arange(3.0), {"flag": True, "none": None})}, attrs={"path": tmp_path, "n": np.int64(5)}
    )
    xta.to_netcdf(ds, tmp_path / "a.nc")
    assert ds["a"].attrs == {"flag": True, "none": None}
    with xr.open_dataset(tmp_path / "a.nc") as again:
        assert again["a"].attrs == {"flag": 1}
        assert again.attrs == {"path": str(tmp_path), "n": 5}


def test_to_netcdf_replaces_file_it_reads(tmp_path):
    path = tmp_path / "a.nc"
    xta.to_netcdf(xr.Dataset({"a": ("x", np.arange(1000.0))}), path)
    with xr.open_dataset(path, chunks={}) as ds:
        xta.to_netcdf(ds + 1, path)
    with xr.open_dataset(path) as ds:
        np.testing.assert_array_equal(ds["a"], np.arange(1000.0) + 1)


def test_to_netcdf_dask_with_progress(tmp_path, capsys):
    ds = xr.Dataset({"a": (("integration", "x"), np.ones((4, 10)))}).chunk({"integration": 1})
    xta.to_netcdf(ds, tmp_path / "a.nc", progress=True)
    with xr.open_dataset(tmp_path / "a.nc") as again:
        xr.testing.assert_equal(again.load(), ds.compute())


@pytest.fixture(scope="module")
def analyzed(nircam):
    return xta.analyze(nircam.science[0]).load()


UNKNOWN_TO_UDUNITS = {"pixel", "MJy/sr", "(MJy/sr)2"}


@pytest.mark.parametrize("recentered", [False, pytest.param(True, marks=pytest.mark.heavy)])
def test_to_netcdf_follows_cf(analyzed, tmp_path, recentered):
    """compliance-checker finds nothing but units that astronomers write and UDUNITS does not know."""
    from compliance_checker.runner import CheckSuite, ComplianceChecker

    path, report = tmp_path / "a.nc", tmp_path / "report.json"
    xta.to_netcdf(analyzed.ta.recenter() if recentered else analyzed, path)
    CheckSuite.load_all_available_checkers()
    ComplianceChecker.run_checker(
        str(path), ["cf:1.11"], verbose=0, criteria="normal", output_filename=str(report), output_format="json"
    )
    (result,) = json.loads(report.read_text()).values()
    found = [
        message
        for priority in ("high_priorities", "medium_priorities", "low_priorities")
        for check in result[priority]
        for message in check["msgs"]
    ]
    unexpected = [
        message for message in found if not any(f'"{unit}" are not' in message for unit in UNKNOWN_TO_UDUNITS)
    ]
    assert found
    assert unexpected == []


def test_to_netcdf_coordinates_have_no_fill_value(analyzed, tmp_path):
    import netCDF4

    xta.to_netcdf(analyzed, tmp_path / "a.nc")
    with netCDF4.Dataset(tmp_path / "a.nc") as file, xr.open_dataset(tmp_path / "a.nc") as ds:
        for name in ds.coords:
            assert "_FillValue" not in file[name].ncattrs(), name
        assert "_FillValue" in file["sci"].ncattrs()


def test_to_netcdf_reads_without_xta(analyzed, tmp_path):
    """Plain xarray, in a process in which there is no xta to import."""
    xta.to_netcdf(analyzed.ta.recenter(), tmp_path / "a.nc")
    code = (
        "import sys, warnings\n"
        "sys.modules['xta'] = None\n"
        "warnings.simplefilter('ignore')\n"  # xarray says that the engine jwst cannot be loaded
        "import xarray as xr\n"
        "ds = xr.open_dataset(sys.argv[1])\n"
        "here = ds.sel(x=0, y=0)\n"
        "print(float(here.ra), float(here.dec), ds.sci.attrs['units'], ds.separation.attrs['long_name'], ds.history)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.nc")], capture_output=True, text=True, check=True
    )
    ra, dec, unit, *words = done.stdout.split()
    assert float(ra) == pytest.approx(float(analyzed["target_ra"]), abs=1e-9)
    assert float(dec) == pytest.approx(float(analyzed["target_dec"]), abs=1e-9)
    assert unit == "MJy/sr"
    assert "star" in words


def test_to_netcdf_flags_by_name(analyzed, tmp_path):
    import cf_xarray  # noqa: F401

    xta.to_netcdf(analyzed, tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as ds:
        flagged = (ds["dq"].cf == "DO_NOT_USE").sum()
        assert int(flagged) == int((analyzed["dq"] & 1).sum()) > 0


def test_to_netcdf_compresses(analyzed, tmp_path):
    quiet = analyzed.copy()
    for name in ("sci", "err", "var_poisson", "var_rnoise", "var_flat"):
        if name in quiet:
            quiet[name] = xr.zeros_like(quiet[name])
    xta.to_netcdf(quiet.drop_vars(["ra", "dec"]), tmp_path / "a.nc")
    assert (tmp_path / "a.nc").stat().st_size < quiet.drop_vars(["ra", "dec"]).nbytes / 4


def test_to_netcdf_raises_error_of_computation(tmp_path):
    def fail(block):
        msg = f"bad block {block.shape}"
        raise ValueError(msg)

    ds = xr.Dataset({"a": ("x", np.arange(4.0))}).chunk({"x": 2})
    ds["a"] = ds["a"].copy(data=ds["a"].data.map_blocks(fail, dtype=float, meta=np.empty(0)))
    with pytest.raises(ValueError, match="bad block") as caught:
        xta.to_netcdf(ds, tmp_path / "a.nc")
    assert not isinstance(caught.value, XtaError)
    assert list(tmp_path.iterdir()) == []


ODD = {
    "bools": np.array([True, False]),
    "objects": np.array([{"a": 1}, None], dtype=object),
    "big": 2**70,
    "negative": -(2**63) - 1,
    "unsigned": 2**64 - 1,
    "list": [1, 2.5],
    "texts": ["a", "b"],
    "mixed": [1, "a"],
    "ragged": [[1, 2], [3]],
    "empty": [],
    "half": np.array([0.5, 1.5], np.float16),
    "swapped": np.array([1, 2], ">i4"),
    "square": np.ones((2, 2)),
    "complex": 1j,
    "time": np.datetime64("2024-01-01T00:00:00", "ns"),
    "times": np.array(["2024-01-01"], "M8[ns]"),
    "bytes": b"abc",
    5: "a number for a name",
    "path/to": 1.5,
}


def test_to_netcdf_odd_attributes(tmp_path):
    ds = xr.Dataset({"a": ("x", np.arange(3.0), ODD)}, attrs=ODD)
    xta.to_netcdf(ds, tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as again:
        for found in (again.attrs, again["a"].attrs):
            assert found["bools"].tolist() == [1, 0]
            assert found["objects"] == "[{'a': 1} None]"
            assert (found["big"], found["negative"]) == (str(2**70), str(-(2**63) - 1))
            assert int(found["unsigned"]) == 2**64 - 1
            assert found["list"].tolist() == [1, 2.5]
            assert found["texts"] == ["a", "b"]
            assert (found["mixed"], found["ragged"], found["empty"]) == ("[1, 'a']", "[[1, 2], [3]]", "[]")
            assert found["half"].tolist() == [0.5, 1.5]
            assert found["swapped"].tolist() == [1, 2]
            assert found["time"].startswith("2024-01-01T00:00:00")
            assert "2024-01-01" in found["times"]
            assert (found["bytes"], found["complex"]) == ("abc", "1j")
            assert found["5"] == "a number for a name"
            assert found["path_to"] == 1.5


@pytest.mark.parametrize(
    ("ds", "culprit"),
    [
        (xr.Dataset({"good": 1.0}, attrs={"": 5}), "attribute '' of the dataset"),
        (xr.Dataset({"good": ("x", [1.0], {"+sign": 5})}), "attribute '\\+sign' of variable good"),
        (xr.Dataset({"good": 1.0, "odd": ("x", np.array([{"a": 1}, {}], dtype=object))}), "odd"),
        (
            xr.Dataset({"good": 1.0, "odd": ("x", np.array(["a", 5], dtype=object))}),
            "variable odd contains text and",
        ),
        (xr.Dataset({"good": 1.0, "odd": ("x", np.zeros(2, "i4,f8"))}), "variable odd"),
        (xr.Dataset({"good": 1.0, 7: 2.0}), "7"),
    ],
)
def test_to_netcdf_names_what_it_refuses(tmp_path, ds, culprit):
    with pytest.raises(ArgumentError, match=culprit):
        xta.to_netcdf(ds, tmp_path / "a.nc")
    assert list(tmp_path.iterdir()) == []


def two_pointings(nircam):
    first = xta.open_exposure(nircam.science[0])
    moved = wcs.dump(wcs.shift(wcs.load(first["wcs"].item()), 3.0, 5.0))
    second = sky.assign_wcs(first, moved)
    return first, second, xr.concat([ds.drop_vars(["ra", "dec"]) for ds in (first, second)], "exposure")


def test_to_netcdf_joined_pointings(nircam, tmp_path):
    first, second, joined = two_pointings(nircam)
    assert joined["wcs"].dims == ("exposure",)
    xta.to_netcdf(joined, tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as file:
        again = file.ta.assign_sky()
        for k, ds in enumerate((first, second)):
            for name in ("ra", "dec"):
                np.testing.assert_array_equal(again[name].isel(exposure=k).values, ds[name].values)


def test_joined_pointings_written_by_xarray(nircam, tmp_path):
    joined = two_pointings(nircam)[2]
    texts = joined["wcs"].values.tolist()
    assert {type(text) for text in texts} == {wcs.WcsText}
    joined.to_netcdf(tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as again:
        assert again["wcs"].values.tolist() == texts


def test_to_netcdf_missing_text_is_empty(tmp_path):
    ds = xr.Dataset({"a": ("x", np.array(["b", np.nan, None], dtype=object))})
    xta.to_netcdf(ds, tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as again:
        assert again["a"].values.tolist() == ["b", "", ""]


def test_to_netcdf_refuses_name_of_product(tmp_path):
    path = tmp_path / "a_cal.fits"
    path.write_text("precious")
    with pytest.raises(ArgumentError, match=r"must end in \.nc"):
        xta.to_netcdf(xr.Dataset(), path)
    assert path.read_text() == "precious"


@pytest.fixture(scope="module")
def spoiled(nircam, tmp_path_factory):
    """The NetCDF of an analysis in which no image can be read: the bytes of its chunks are not what zlib wrote."""
    path = tmp_path_factory.mktemp("spoiled") / "a.nc"
    xta.to_netcdf(xta.analyze(nircam.science[0]), path)
    content = bytearray(path.read_bytes())
    at = content.find(b"\x78\x5e")
    while at >= 0:
        if holds_image(content[at:]):
            content[at + 2 : at + 12] = bytes(255 - value for value in content[at + 2 : at + 12])
        at = content.find(b"\x78\x5e", at + 12)
    path.write_bytes(content)
    return path


def holds_image(packed):
    try:
        return len(zlib.decompressobj().decompress(packed)) > 100_000
    except zlib.error:
        return False


WAYS = {
    "step": lambda ds, _: ds.ta.coadd(),
    "to_netcdf": lambda ds, folder: xta.to_netcdf(ds[["sci"]], folder / "b.nc"),
    "to_zarr": lambda ds, folder: xta.to_zarr(ds[["sci"]], folder / "b.zarr"),
}


@pytest.mark.parametrize(
    ("way", "chunks"), [("step", None), ("to_netcdf", None), ("to_netcdf", {}), ("to_zarr", None), ("to_zarr", {})]
)
def test_damaged_file_is_named_with_its_variable(spoiled, tmp_path, way, chunks):
    """HDF5 says "HDF error", as it does for a full disk."""
    words = rf"variable \w+ of .*{spoiled.name} cannot be read"
    with xr.open_dataset(spoiled, chunks=chunks) as ds, pytest.raises(FileError, match=words):
        WAYS[way](ds, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_step_refuses_text_in_place_of_numbers(nircam):
    ds = xta.analyze(nircam.science[0])
    with pytest.raises(ArgumentError, match="target_x contains text"):
        ds.assign_coords(target_x=((), "here")).ta.recenter()


# --- Zarr ---------------------------------------------------------------------------------------------------


def test_to_zarr_keeps_everything_and_replaces(nircam, tmp_path):
    path = tmp_path / "a.zarr"
    ds = xta.analyze(nircam.science[0], chunks={})
    xta.to_zarr(ds[["sci"]], path)
    xta.to_zarr(ds, path)
    with xr.open_zarr(path) as again:
        assert set(again.variables) == set(ds.variables) - {"source"}
        assert again["target_x"].item() == ds["target_x"].item()
        np.testing.assert_array_equal(again["sci"], ds["sci"])
        xta.to_zarr(again[["dq"]], path)  # what it reads from
    with xr.open_zarr(path) as last:
        np.testing.assert_array_equal(last["dq"], ds["dq"])
    assert list(tmp_path.iterdir()) == [path]


def test_to_zarr_of_tree(tmp_path):
    tree = xr.DataTree.from_dict({"/": xr.Dataset(attrs={"a": None}), "/b/c": xr.Dataset({"x": ("n", [1.0, 2.0])})})
    xta.to_zarr(tree, tmp_path / "a.zarr")
    again = xr.open_datatree(tmp_path / "a.zarr", engine="zarr")
    assert again["b/c/x"].values.tolist() == [1, 2]


def test_to_zarr_refuses_folder_of_other_things(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "mine").write_text("mine")
    with pytest.raises(FileError, match="contains none of"):
        xta.to_zarr(xr.Dataset(), tmp_path / "a.zarr")
    assert (tmp_path / "a.zarr" / "mine").read_text() == "mine"
    for name in ("a", "a.nc"):
        with pytest.raises(ArgumentError, match=r"end in \.zarr"):
            xta.to_zarr(xr.Dataset(), tmp_path / name)


def test_to_zarr_leaves_old_store_where_it_fails(tmp_path):
    import dask.array

    def fail(block):
        msg = "stop"
        raise KeyboardInterrupt(msg)

    path = tmp_path / "a.zarr"
    xta.to_zarr(xr.Dataset({"a": 1.0}), path)
    array = dask.array.ones((4, 4), chunks=2).map_blocks(fail, dtype=float, meta=np.empty((0, 0)))
    with pytest.raises(KeyboardInterrupt):
        xta.to_zarr(xr.Dataset({"a": (("y", "x"), array)}), path)
    with xr.open_zarr(path) as ds:
        assert ds["a"] == 1
    assert list(tmp_path.iterdir()) == [path]
