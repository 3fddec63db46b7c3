"""Headers that declare what no product has are refused before astropy walks through the file."""

import bz2
import gzip
import lzma
import os

import pytest
from astropy.io import fits

import xta
from tests.test_hostile import limited
from xta.errors import FileError, XtaError
from xta.io import layout
from xta.io.files import read_product

BLOCK = 2880


@pytest.fixture(scope="module")
def content(nircam):
    return nircam.ta[0].read_bytes()


def changed(content, keyword, card, *, header=1):
    """Put a card in the place of that of a keyword, in one of the headers."""
    start = [k for k in range(0, len(content), BLOCK) if content[k : k + 9] in {b"SIMPLE  =", b"XTENSION="}][header]
    end = content.index(b"END" + b" " * 77, start)
    cards = [content[k : k + 80] for k in range(start, end, 80)]
    place = [card[:8].strip() for card in cards].index(keyword.encode())
    at = start + 80 * place
    return content[:at] + card.encode("latin1").ljust(80) + content[at + 80 :]


CASES = [
    (1, "NAXIS2", "NAXIS2  =                  -64"),  # led back to the header, for ever
    (1, "NAXIS1", "NAXIS1  =                  -32"),
    (1, "NAXIS", "NAXIS   =           2147483647"),
    (0, "NAXIS", "NAXIS   =           2147483647"),
    (1, "NAXIS", "NAXIS   =                   -1"),
    (1, "BITPIX", "BITPIX  =                   33"),
    (1, "BITPIX", "BITPIX  =             99999999"),
    (1, "PCOUNT", "PCOUNT  =               -99999"),
    (1, "GCOUNT", "GCOUNT  =          -2147483648"),
    (1, "NAXIS1", "NAXIS1  =              2000000"),
    (1, "NAXIS1", "NAXIS1  = 9999999999999999999999"),
    (1, "NAXIS1", "NAXIS1  =                  1E5"),
    (1, "NAXIS1", "NAXIS1  = '32'"),
    (1, "NAXIS1", "naxis1  =                   32"),
    (1, "NAXIS1", "NAXIS1=    -32"),
    (1, "NAXIS1", "HIERARCH NAXIS1 = -32"),
    (1, "NAXIS1", "NAXIS2  =                   64"),
    (1, "EXTNAME", "NAXIS2  =                  -64"),
    (1, "EXTNAME", "END     = 1"),
    (1, "EXTNAME", "END     \xff"),
    (1, "XTENSION", "XTENSION= 'BINTABLE'"),
    (0, "SIMPLE", "SIMPLE  =                    F"),
    (-1, "TFIELDS", "TFIELDS =          99999999999"),
    (-1, "TFIELDS", "TFIELDS =                   -1"),
    (-1, "NAXIS2", "NAXIS2  =           9999999999"),
    (-1, "NAXIS1", "NAXIS1  =                    0"),
]


@pytest.mark.parametrize(("header", "keyword", "card"), CASES)
def test_check_refuses_header(content, tmp_path, header, keyword, card):
    path = tmp_path / "jw01386001001_02102_00001_nrcalong_cal.fits"
    path.write_bytes(changed(content, keyword, card, header=header))
    with pytest.raises(ValueError, match=r"header \d|first header|not an extension"):
        layout.check(path)


def test_open_exposure_hostile_headers_stay_small(content, tmp_path):
    """Each is refused, also by the searches of neighbors and surveys, in little time and memory."""
    for k, (header, keyword, card) in enumerate(CASES):
        (tmp_path / f"jw01386001001_021{k:02}_00001_nrcalong_cal.fits").write_bytes(
            changed(content, keyword, card, header=header)
        )
    code = """
        import sys, time, warnings
        from pathlib import Path
        import xta
        from xta.acquisition.find import find_ta
        warnings.simplefilter("ignore")
        refused, start = 0, time.monotonic()
        for path in sorted(Path(sys.argv[1]).iterdir()):
            try:
                xta.open_exposure(path)
            except xta.XtaError:
                refused += 1
        find_ta(Path(sys.argv[1]), "01386001001")
        assert time.monotonic() - start < 20
        print(refused)
    """
    assert int(limited(code, tmp_path)) == len(CASES)


def test_read_product_first_header_of_folder_pipe_and_bomb(content, tmp_path):
    path = tmp_path / "jw01386001001_02102_00001_nrcalong_cal.fits"
    os.mkfifo(path)
    assert "not an ordinary file" in read_product(path).error
    path.unlink()
    path.write_bytes(changed(content, "NAXIS", "NAXIS   = 2147483647", header=0))
    product = read_product(path)
    assert "NAXIS" in product.error
    assert product.visit_id == "01386001001"


@pytest.mark.parametrize("packer", [gzip, bz2, lzma])
def test_check_measures_packed_file(content, tmp_path, packer):
    path = tmp_path / "a_cal.fits.gz"
    path.write_bytes(packer.compress(content))
    assert layout.check(path) == (len(content), len(content))
    path.write_bytes(packer.compress(content[:-BLOCK]))
    assert layout.check(path) == (len(content), len(content) - BLOCK)
    path.write_bytes(packer.compress(content + b"x"))
    assert layout.check(path) == (len(content), len(content) + 1)


def test_check_refuses_packed_file_that_holds_too_much(content, tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "MAX_UNPACKED", 20 * BLOCK)
    path = tmp_path / "a_cal.fits.gz"
    path.write_bytes(gzip.compress(content))
    with pytest.raises(FileError, match="unpack it first"):
        xta.open_exposure(path)


@pytest.mark.parametrize(
    ("rest", "word"), [(b"\0" * 70 + b"END" * 50_000, "not an extension"), (bytes(3_000_000), "not an extension")]
)
def test_check_refuses_what_may_be_a_header(content, tmp_path, rest, word):
    path = tmp_path / "a_cal.fits"
    path.write_bytes(content + rest)
    with pytest.raises(FileError, match=word):
        xta.open_exposure(path)


def test_check_refuses_header_without_end_and_many_extensions(content, tmp_path):
    path = tmp_path / "a_cal.fits"
    path.write_bytes(content[: 2 * 80].ljust(3_000_000))
    with pytest.raises(ValueError, match="cards"):
        layout.check(path)
    head = fits.ImageHDU().header.tostring().encode()
    path.write_bytes(fits.PrimaryHDU().header.tostring().encode() + head * (layout.MAX_EXTENSIONS + 1))
    with pytest.raises(ValueError, match="extensions"):
        layout.check(path)


@pytest.mark.parametrize("card", ["TTYPE1  =                    7", "TFORM1  =                    7"])
def test_open_exposure_refuses_column_that_is_no_text(content, tmp_path, card):
    """Astropy raises an AssertionError."""
    path = tmp_path / "a_cal.fits"
    path.write_bytes(changed(content, card[:6], card, header=-1))
    with pytest.raises(XtaError):
        xta.open_exposure(path)


def test_check_accepts_real_files(shared):
    files = list(shared.rglob("*.fits"))
    assert len(files) > 15
    for path in files:
        assert layout.check(path) == (path.stat().st_size, path.stat().st_size)
