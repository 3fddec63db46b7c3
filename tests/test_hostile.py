"""Files of a stranger: what is damaged or made to harm is refused, with a reason, soon and in little memory."""

import bz2
import pickle
import re
import struct
import subprocess
import sys
import textwrap
import zlib

import numpy as np
import pytest
import xarray as xr

import xta
from xta.errors import WCSError
from xta.geometry import asdfguard, wcs, wcstext

SOURCES = ["'file:///etc/hostname'", "'http://127.0.0.1:9/x.asdf'", "other.asdf", "'0'", "-1", "1.0", "7"]


@pytest.fixture(scope="module")
def text(build_wcs):
    return str(wcs.dump(build_wcs()))


def with_array(text, array):
    """Put an array in the place of the coefficients of a polynomial."""
    changed, count = re.subn(
        r"coefficients: !core/ndarray-1.\d.0\n( +)data:(?:\n\1.*)+", f"coefficients: {array}", text, count=1
    )
    assert count == 1
    return changed


def in_block(text, packed, *, compression=b"\0\0\0\0", size=72, array=""):
    """Put the coefficients of a polynomial into a block."""
    declared = "source: 0, shape: [3, 3], datatype: float64, byteorder: little"
    head = struct.pack(">I4sQQQ16s", 0, compression, len(packed), len(packed), size, b"\0" * 16)
    changed = with_array(text, f"!core/ndarray-1.1.0 {{{array or declared}}}").encode()
    return changed + b"\xd3BLK" + struct.pack(">H", len(head)) + head + packed


def limited(code, *arguments):
    """Run Python, which may use 1.5 GB, for up to 60 s; return what it prints."""
    limits = "import resource; resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))\n"
    # Of this program alone: ru_maxrss begins with the size of the process that started it.
    measure = """
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
assert int(peak) < 1.5e6, f"{peak} kB"
"""
    done = subprocess.run(
        [sys.executable, "-c", limits + textwrap.dedent(code) + measure, *map(str, arguments)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("source", SOURCES)
def test_load_refuses_array_outside_the_file(text, source, monkeypatch):
    monkeypatch.setattr("asdf.open", lambda *_, **__: pytest.fail("asdf was asked"))
    array = f"!core/ndarray-1.1.0 {{source: {source}, shape: [3, 3], datatype: float64, byteorder: little}}"
    with pytest.raises(WCSError, match="refers to"):
        wcs.load(with_array(text, array))


@pytest.mark.parametrize(
    ("array", "word"),
    [
        ("{$ref: 'file:///etc/hostname#/x'}", r"\$ref"),
        ("!core/externalarray-1.0.0 {fileuri: '/etc/hostname', target: 1, datatype: float64, shape: [3]}", "tag"),
        ("!<tag:yaml.org,2002:python/object/apply:os.system> [true]", "tag"),
        ("!core/ndarray-1.1.0 {data: [[.nan, 0.0], [0.0, 0.0]], datatype: float64, shape: [2, 2]}", "finite"),
        ("!core/ndarray-1.1.0 {data: [[1.0e+999, 0.0], [0.0, 0.0]], datatype: float64, shape: [2, 2]}", "finite"),
        ("!core/ndarray-1.1.0 {data: [[0.0]], mask: 1, datatype: float64, shape: [1, 1]}", "keys"),
        ("!core/ndarray-1.1.0 {data: [[a]], datatype: [ascii, 1000000000], shape: [1, 1]}", "datatype"),
        (f"!core/ndarray-1.1.0 {{data: [{'[' + '0.0,' * 99 + '],'}], datatype: float64}}", "polynomial"),
        (f"!core/ndarray-1.1.0 [{'[' + '0.0,' * 99 + '],'}]", "polynomial"),
        (f"[{'0.0,' * 99}]", "polynomial"),
    ],
)  # fmt: skip
def test_load_refuses_array(text, array, word):
    with pytest.raises(WCSError, match=word):
        wcs.load(with_array(text, array))


def test_dump_refuses_what_asdf_cannot_write(build_wcs):
    gwcs = build_wcs()
    gwcs.pipeline[0].transform.name = 7
    with pytest.raises(WCSError, match="cannot be written") as caught:
        wcs.dump(gwcs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        (r"offset: -160.0", "offset: .nan", "finite"),
        (r"offset: -160.0", "offset: .inf", "finite"),
        (r"offset: -160.0", "offset: nan", "finite"),
        (r"mapping: \[0, 1, 0, 1\]", "mapping: [0, 1, 0, 1000000000]", "whole number"),
        (r"( +)mapping: \[0, 1, 0, 1\]", r"\g<0>\n\1n_inputs: 0x7fffffff", "whole number"),
        (r" arcsec\b", " 10**99999999 m", "unit"),
        (r"name: detector", f"name: {'x' * 20_000}", "characters"),
        (r"name: detector", "name: detector\n      ? [1, 2]\n      : 3", "key"),
        (r"#ASDF 1.0.0", "ASDF", "#ASDF"),
        (r"\nwcs:", "\nother:", "neither"),
    ],
)
def test_load_refuses_value(text, old, new, word):
    changed, count = re.subn(old, new, text, count=1)
    assert count == 1
    with pytest.raises(WCSError, match=word):
        wcs.load(changed)


def test_load_refuses_shared_nodes_that_multiply(text):
    layers = "".join(f"  - &n{i} [*n{i - 1}, *n{i - 1}]\n" for i in range(1, 60))
    changed = text.replace("wcs: !", "wcs:\n  - &n0 [0]\n" + layers + "...\n#", 1)
    with pytest.raises(WCSError, match="nodes"):
        wcs.load(changed)


def test_load_refuses_node_that_holds_itself(text):
    with pytest.raises(WCSError, match="contains itself"):
        wcs.load(text.replace("wcs: !", "wcs: &a [*a]\n...\n#", 1))


@pytest.mark.parametrize("fill", ["[", "{a: ", "- "])
def test_load_refuses_deep_nesting(text, fill):
    with pytest.raises(WCSError):
        wcs.load(text.replace("wcs: !", "wcs:\n  " + fill * 100_000 + "\n...\n#", 1))


@pytest.mark.parametrize(
    ("compression", "pack"), [(b"\0" * 4, bytes), (b"zlib", zlib.compress), (b"bzp2", bz2.compress)]
)
def test_check_keeps_block_of_the_same_file(text, build_wcs, compression, pack):
    coefficients = np.array([[0, 1e-4, 2e-7], [-0.06, -3e-7, 0], [2e-7, 0, 0]])
    content = in_block(text, pack(coefficients.tobytes()), compression=compression)
    found = wcstext._parsed(content)
    model = next(m for m in found.forward_transform if getattr(m, "degree", 0) == 2)
    assert [model.c0_1.value, model.c1_0.value, model.c1_1.value] == [1e-4, -0.06, -3e-7]


@pytest.mark.parametrize(
    ("packed", "options", "word"),
    [
        (zlib.compress(b"\0" * 10_000), {"compression": b"zlib"}, "unpack"),
        (zlib.compress(b"\0" * 72)[:-9], {"compression": b"zlib"}, "unpack"),
        (b"no zlib", {"compression": b"zlib"}, "unpack"),
        (b"\0" * 72, {"compression": b"lz4\0"}, "compressed"),
        (b"\0" * 72, {"compression": b"zlib", "size": 1 << 40}, "declare"),
        (b"\0" * 71, {"size": 71}, "fit"),
        (np.full(9, np.nan).tobytes(), {}, "finite"),
        (b"\0" * 72, {"array": "source: 0, shape: [100000, 100000], strides: [0, 0], datatype: float64"}, "shape"),
        (b"\0" * 72, {"array": "source: 0, shape: [3, 3], datatype: float64"}, "byte order"),
    ],
)
def test_check_refuses_block(text, packed, options, word):
    with pytest.raises(WCSError, match=word):
        asdfguard.check(in_block(text, packed, **options))


def test_load_bombs_stay_small(text, tmp_path):
    one = zlib.compress(b"\0" * (4 << 20), 9)
    packer = zlib.compressobj(9)
    bomb = b"".join(packer.compress(b"\0" * (1 << 24)) for _ in range(64)) + packer.flush()
    assert len(bomb) > 1e6
    (tmp_path / "zlib").write_bytes(in_block(text, bomb, compression=b"zlib"))
    (tmp_path / "whole").write_bytes(in_block(text, one, compression=b"zlib", size=4 << 20))
    (tmp_path / "inline").write_text(with_array(text, "!core/ndarray-1.1.0 [[" + "0.1, " * 4_000_000 + "]]"))
    (tmp_path / "nodes").write_text(with_array(text, "[" + "[]," * 600_000 + "]"))
    code = """
        import sys, time
        from pathlib import Path
        from xta.errors import WCSError
        from xta.geometry import wcstext
        for path in sorted(Path(sys.argv[1]).iterdir()):
            start = time.monotonic()
            try:
                wcstext._parsed(path.read_bytes())
            except WCSError:
                print(path.name, "refused")
            assert time.monotonic() - start < 20
    """
    assert limited(code, tmp_path).split("\n")[:-1] == ["inline refused", "nodes refused", "zlib refused"]


@pytest.mark.filterwarnings("ignore:.*does not have a Zarr V3 specification")  # texts, as xarray writes them
@pytest.mark.parametrize("way", ["netcdf", "zarr", "pickle"])
def test_wcs_of_a_saved_dataset_reads_no_file(nircam, tmp_path, way):
    ds = xta.analyze(nircam.science[0])
    array = "!core/ndarray-1.1.0 {source: 'file:///etc/hostname', shape: [3], datatype: float64, byteorder: little}"
    hostile = re.sub(r"offset: -?[\d.]+", f"offset: {array}", str(ds["wcs"].item()), count=1)
    assert array in hostile
    ds = ds.drop_vars(["ra", "dec"]).assign_coords(wcs=((), hostile))
    if way == "netcdf":
        xta.to_netcdf(ds, tmp_path / "x.nc")
        ds = xr.open_dataset(tmp_path / "x.nc")
    elif way == "zarr":
        ds.drop_encoding().to_zarr(tmp_path / "x.zarr", consolidated=False)
        ds = xr.open_zarr(tmp_path / "x.zarr", consolidated=False)
    else:
        ds = pickle.loads(pickle.dumps(ds))
    with ds, pytest.raises(WCSError, match="refers to"):
        ds.ta.sel_sky(150.0, -30.0)
