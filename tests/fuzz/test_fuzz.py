"""Damaged and hostile input of every kind is read, or refused with an `XtaError`: never another exception.

Each kind gets an equal part of the seconds in ``XTA_FUZZ_SECONDS``, 40 by default; the seeds begin at
``XTA_FUZZ_SEED``, 0 by default. What fails is kept in the folder ``corpus``, where the ordinary tests read it from
then on.
"""

import contextlib
import io
import os
import random
import time
import warnings
from pathlib import Path

import asdf
import numpy as np
import pytest
import xarray as xr
from astropy.io import fits
from astropy.modeling.models import AffineTransformation2D
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import xta
from tests import archive_server as faulty
from tests.fuzz.mutations import ANY, BLOCKS, FITS, TEXT, mutated
from xta import archive, osslog
from xta.archive import Policy, cache
from xta.cli import main
from xta.errors import XtaError, readable
from xta.geometry import wcs, wcstext
from xta.io.files import read_product

CORPUS = Path(__file__).parent / "corpus"
SECONDS = float(os.environ.get("XTA_FUZZ_SECONDS", "40"))
SEED = int(os.environ.get("XTA_FUZZ_SEED", "0"))
LIMIT = 20  # s, of one input
QUICK = Policy(connect=2.0, read=1.0, deadline=3.0, attempts=1, backoff=0.01)


def read_fits(path):
    read_product(path)
    with xta.open_exposure(path) as ds:
        ds.isel(y=slice(0, 9), x=slice(0, 9)).load()


def read_targ_acq(path):
    xta.read_targ_acq(path)


def read_log(path):
    log = osslog.read(path.read_bytes())
    for records in (log.visits, log.centroids, log.sams, log.exposures, log.failures):
        records()


def read_wcs(path):
    content = path.read_bytes()
    wcstext._parsed(content)
    wcs.load(content.decode("utf-8", "replace"))


def read_blocks(path):
    wcstext._parsed(path.read_bytes())


def read_netcdf(path):
    with readable():
        try:
            ds = xr.open_dataset(path)
        except Exception:  # noqa: BLE001 - of xarray, before xta has anything to do with it
            return
        with ds:
            ds.ta.coadd()


READERS = {
    "fits": read_fits,
    "targ_acq": read_targ_acq,
    "log": read_log,
    "wcs": read_wcs,
    "blocks": read_blocks,
    "netcdf": read_netcdf,
}
"""Kind of a file, with which the names of the corpus begin -> what reads it."""


def survives(read, path):
    """Read a file: all is well if that works or is refused, in time."""
    start = time.monotonic()
    with warnings.catch_warnings(), contextlib.suppress(XtaError):
        warnings.simplefilter("ignore")
        read(path)
    assert time.monotonic() - start < LIMIT


def with_blocks(gwcs):
    """Write a WCS with a matrix as ASDF whose arrays are in blocks, one of them compressed."""
    stream = io.BytesIO()
    gwcs.insert_transform("detector", AffineTransformation2D(np.eye(2)), after=True)
    tree = {"wcs": gwcs, "table": np.arange(4000.0), "packed": np.zeros(4000)}
    with asdf.AsdfFile(tree) as file:
        file.set_array_compression(file["packed"], "zlib")
        file.write_to(stream, all_array_storage="internal")
    return stream.getvalue()


@pytest.fixture(scope="module")
def samples(nircam, build_wcs, tmp_path_factory):
    """A good file of each kind."""
    folder = tmp_path_factory.mktemp("samples")
    ds = xta.analyze(nircam.science[0])
    xta.to_netcdf(ds.isel(x=slice(100, 140), y=slice(100, 140)), folder / "a.nc")
    with fits.open(nircam.ta[0]) as hdus:
        cards = fits.Header([("TASTATUS", "SUCCESSFUL"), ("DTCENCOL", 30.5), ("DTCENROW", 31.5), ("SAM_X", 0.1)])
        record = fits.HDUList([hdus[0].copy(), fits.ImageHDU(name="TARG_ACQ", header=cards)])
        record.writeto(folder / "a_uncal.fits")
    return {
        "fits": (nircam.ta[0].read_bytes(), FITS),
        "targ_acq": ((folder / "a_uncal.fits").read_bytes(), FITS),
        "log": (nircam.oss_log.read_bytes(), TEXT),
        "wcs": (wcs.dump(build_wcs()).encode(), TEXT),
        "blocks": (with_blocks(build_wcs()), BLOCKS),
        "netcdf": ((folder / "a.nc").read_bytes(), ANY),
    }


def seeds():
    """Yield seeds for a part of the time."""
    end, seed = time.monotonic() + SECONDS / (len(READERS) + 1), SEED
    while time.monotonic() < end:
        yield seed
        seed += 1


@pytest.mark.heavy
@pytest.mark.parametrize("kind", READERS)
def test_fuzz_file(samples, tmp_path, kind, capsys):
    content, damage = samples[kind]
    path = tmp_path / ("jw09990001001_02102_00001_nrcalong_cal.fits" if kind in {"fits", "targ_acq"} else "a.nc")
    count = 0
    for seed in seeds():
        path.write_bytes(mutated(content, random.Random(seed), damage))
        try:
            survives(READERS[kind], path)
        except BaseException:
            CORPUS.mkdir(exist_ok=True)
            (CORPUS / f"{kind}-{seed}").write_bytes(path.read_bytes())
            raise
        count += 1
    with capsys.disabled():
        print(f"\n{kind}: {count} files")
    assert count


@pytest.mark.heavy
def test_fuzz_archive_reply(server, capsys, monkeypatch):
    monkeypatch.delenv("XTA_OFFLINE", raising=False)
    good = server.products["jw01386001001_02102_00001_nrcalong_cal.fits"]
    rows = b'{"status": "COMPLETE", "data": [{"filename": "a", "visit_id": "1", "fileSize": 3}], "paging": {"page": 1}}'
    events = faulty.csv_of(server.logs["ICTM_EVENT_MSG"])
    hour = {"start": "2022-07-29T22:01:51", "end": "2022-07-30T01:13:40"}
    count = 0
    for seed in seeds():
        rng = random.Random(seed)
        server.always("jwstedb", faulty.instead(mutated(events, rng, TEXT)))
        server.always("invoke", faulty.instead(mutated(rows, rng, TEXT)))
        server.always("product", faulty.instead(mutated(good, rng, FITS)))
        cache.clear()
        for ask in (
            lambda: archive.ta_products("V01386001001", "NIRCAM", policy=QUICK),
            lambda: archive.download("jw01386001001_02102_00001_nrcalong_cal.fits", policy=QUICK),
            lambda: osslog.read(archive.event_log("V01386001001", policy=QUICK, **hour)).centroids(),
        ):
            with warnings.catch_warnings(), contextlib.suppress(XtaError):
                warnings.simplefilter("ignore")
                ask()
        count += 1
    with capsys.disabled():
        print(f"\narchive: {count} replies")
    assert count


@pytest.fixture(scope="module")
def analyzed(nircam):
    return xta.analyze(nircam.science[0])


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore:Glyph:UserWarning")  # a letter that matplotlib's font does not have
@settings(max_examples=10, derandomize=not SEED, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.text(max_size=200), st.sampled_from(["target_name", "filename", "filter", "centroid_source", "oss_log"]))
def test_fuzz_report_strings(analyzed, tmp_path_factory, text, name):
    page = tmp_path_factory.mktemp("page") / "a.html"
    start = "<img src=a onerror="  # no page has it of its own
    with contextlib.suppress(XtaError):
        analyzed.assign_coords({name: ((), f"{start}{text}>")}).ta.report(page)
        assert start not in page.read_text(encoding="utf-8")


WORDS = [
    "analyze",
    "recenter",
    "report",
    "klip",
    "fetch",
    "survey",
    "program",
    "cache",
    "list",
    "--center",
    "-o",
    "--json",
]
WORDS += ["--oss", "--ta", "--centroid", "--numbasis", "--per", "1,2", "nan,inf", "a.nc", "a_cal.fits", ".", "..", "-h"]


@pytest.mark.heavy
@settings(max_examples=60, derandomize=not SEED, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(WORDS) | st.text(max_size=20), max_size=6))
def test_fuzz_arguments_of_the_command(tmp_path_factory, arguments):
    folder = tmp_path_factory.mktemp("cli")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XTA_CACHE", str(folder / "cache"))
        patch.setenv("XTA_OFFLINE", "1")
        done = CliRunner().invoke(main, arguments)
    assert done.exception is None or isinstance(done.exception, SystemExit), arguments
    assert done.exit_code in {0, 1, 2}


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*-*")), ids=lambda path: path.name)
def test_corpus(path, tmp_path):
    """Every file that ever failed."""
    kind = path.name.partition("-")[0]
    copy = tmp_path / ("jw09990001001_02102_00001_nrcalong_cal.fits" if kind in {"fits", "targ_acq"} else "a.nc")
    copy.write_bytes(path.read_bytes())
    survives(READERS[kind], copy)


def test_mutations_are_the_same_for_a_seed():
    content = np.arange(256, dtype="u1").tobytes() * 40
    for kinds in (ANY, FITS, TEXT, BLOCKS):
        first, again, other = (mutated(content, random.Random(seed), kinds) for seed in (1, 1, 2))
        assert first == again != other
