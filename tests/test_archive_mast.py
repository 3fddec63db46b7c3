import concurrent.futures
import json
import time
from datetime import UTC, datetime, timedelta

import pytest

from tests import archive_server as faulty
from tests.archive_server import left_in, sample_visit
from xta import archive, model
from xta.archive import Policy, search
from xta.errors import (
    AcquisitionError,
    ArchiveError,
    ArchiveNotFoundError,
    ArchiveReplyError,
    ArchiveTimeoutError,
    ArgumentError,
)

VISIT = "V01386001001"
TACQ = "jw01386001001_02102_00001_nrcalong_cal.fits"
TACONFIRM = "jw01386001001_02104_00001_nrcalong_cal.fits"
SECRET = "a-token-0123456789abcdef"
QUICK = Policy(connect=2.0, read=0.4, deadline=2.0, attempts=3, backoff=0.01, backoff_max=0.02, pause=0.01)
PATIENT = Policy(connect=2.0, read=5.0, deadline=20.0, attempts=3, backoff=0.01, backoff_max=0.02, pause=0.01)


# --- search -----------------------------------------------------------------------------------------------


def test_ta_products_in_time_order(server):
    server.tables["Nircam"].reverse()
    first, second = archive.ta_products("1386:1", "NIRCam", policy=QUICK)
    assert (first.filename, first.exp_type) == (TACQ, "NRC_TACQ")
    assert (second.filename, second.exp_type) == (TACONFIRM, "NRC_TACONFIRM")
    assert (first.detector, first.instrument, first.size) == ("NRCALONG", "NIRCAM", len(server.products[TACQ]))
    assert first.date_beg == datetime(2022, 7, 29, 23, 1, 51, 487000, UTC)
    assert first.visit_start == datetime(2022, 7, 29, 22, 1, 51, 487000, UTC)
    assert first.visit_end - first.visit_start == timedelta(hours=3, minutes=11, seconds=49)


def test_search_request(server):
    archive.ta_products(VISIT, "nircam", policy=QUICK)
    (request,) = server.asked()
    assert (request.method, request.path) == ("POST", "/api/v0/invoke")
    assert request.target == "Mast.Jwst.Filtered.Nircam"
    assert "xta/" in request.headers["User-Agent"]


@pytest.mark.parametrize("kind", ["rate", "rateints", "uncal"])
def test_ta_products_of_lower_level(server, kind):
    names = [product.filename for product in archive.ta_products(VISIT, "NIRCAM", kind=kind, policy=QUICK)]
    assert names == [TACQ.replace("_cal", f"_{kind}"), TACONFIRM.replace("_cal", f"_{kind}")]


def test_ta_products_prefers_listed_product(server):
    row = dict(server.tables["Nircam"][0])
    row |= {"filename": row["filename"].replace("_cal", "_uncal"), "productLevel": "1b", "fileSize": 77}
    server.tables["Nircam"].append(row)
    first, second = archive.ta_products(VISIT, "NIRCAM", kind="uncal", policy=QUICK)
    assert (first.size, second.size) == (77, None)


def test_ta_products_of_duplicate_rows(server):
    server.tables["Nircam"] = server.tables["Nircam"] * 3
    assert len(archive.ta_products(VISIT, "NIRCAM", policy=QUICK)) == 2


def test_search_over_several_pages(server):
    server.page = 1
    assert len(archive.ta_products(VISIT, "NIRCAM", policy=QUICK)) == 2
    assert len(server.asked()) == 2


def test_ta_products_of_unknown_instrument(server):
    server.tables["Miri"] = [dict(row, exp_type="MIR_TACQ") for row in server.tables.pop("Nircam")[:1]]
    (product,) = archive.ta_products(VISIT, policy=QUICK)
    assert product.exp_type == "MIR_TACQ"
    assert [request.target.rpartition(".")[2] for request in server.asked()] == ["Nircam", "Miri"]


def test_ta_products_of_unknown_instrument_from_cache(server):
    server.tables["Miri"] = [dict(row, exp_type="MIR_TACQ") for row in server.tables.pop("Nircam")[:1]]
    products = archive.ta_products(VISIT, policy=QUICK)
    assert archive.ta_products(VISIT, offline=True) == products
    assert archive.visit_times(VISIT, offline=True) == (products[0].visit_start, products[0].visit_end)


@pytest.mark.parametrize("exp_type", sorted(model.TACQ_TYPES | model.TACONFIRM_TYPES))
def test_ta_products_of_every_exposure_type(server, exp_type):
    instrument = model.INSTRUMENTS[exp_type[:3]].upper()
    row = server.tables.pop("Nircam")[0]
    server.tables[instrument.capitalize()] = [dict(row, exp_type=exp_type)]
    (product,) = archive.ta_products(VISIT, instrument, policy=QUICK)
    assert product.exp_type == exp_type


def test_ta_products_of_visit_without_acquisition(server):
    server.tables["Nircam"] = server.tables["Nircam"][2:]
    with pytest.raises(AcquisitionError, match=r"no target acquisition .* V01386001001 .*check"):
        archive.ta_products(VISIT, "NIRCAM", policy=QUICK)


@pytest.mark.parametrize(
    "name",
    [
        "../../.ssh/authorized_keys",
        "/etc/passwd",
        "jw01386001001_02102_00001_nrcalong_cal.fits/../../x",
        "jw01386001001_..\\x_cal.fits",
        "jw01386001001_02102_00001_nrcalong_cal.fits\n",
        "jw01386001001_" + "x" * 300 + "_cal.fits",
        "jw09999001001_02102_00001_nrcalong_cal.fits",
        "",
        None,
        17,
    ],
)
def test_ta_products_refuses_hostile_file_name(server, store, name):
    server.tables["Nircam"][0] = dict(server.tables["Nircam"][0], filename=name)
    with pytest.raises(ArchiveReplyError, match=r"V01386001001.*nothing was written"):
        archive.ta_products(VISIT, "NIRCAM", policy=QUICK)
    assert not server.asked("product")


def test_search_from_cache(server):
    products = archive.ta_products(VISIT, "NIRCAM", policy=QUICK)
    assert archive.ta_products(VISIT, "NIRCAM", kind="cal", offline=True) == products
    assert archive.ta_products(VISIT, "NIRCAM", kind="uncal", offline=True)
    assert len(server.asked()) == 1


def test_search_for_young_visit_is_not_kept(server, store):
    young = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=2)
    sample_visit("01386002001", start=young.isoformat()).feed(server)
    for _ in range(2):
        archive.ta_products("1386:2", "NIRCAM", policy=QUICK)
    assert len(server.asked()) == 2
    assert left_in(store) == []


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_search_offline(server, monkeypatch, how):
    if how == "environment":
        monkeypatch.setenv("XTA_OFFLINE", "1")
    with pytest.raises(ArchiveError, match=r"V01386001001.*network is off.*give the files"):
        archive.ta_products(VISIT, "NIRCAM", offline=how == "argument", policy=QUICK)
    with pytest.raises(ArchiveError, match=r"nrcalong_cal.fits: not in the cache.*network is off"):
        archive.download(TACQ, offline=how == "argument", policy=QUICK)
    assert not server.asked()


def test_search_still_executing(server):
    executing = faulty.instead(json.dumps({"status": "EXECUTING"}).encode())
    server.fail("invoke", executing, executing, executing, executing)
    assert len(archive.ta_products(VISIT, "NIRCAM", policy=QUICK)) == 2
    server.always("invoke", executing)
    begin = time.monotonic()
    with pytest.raises(ArchiveTimeoutError, match=r"V01386001001.*MAST \(http"):
        archive.ta_products(VISIT, "MIRI", policy=QUICK)
    assert time.monotonic() - begin < QUICK.deadline + 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        faulty.HTML,
        b"null",
        b"{}",
        b"[1]",
        b'"text"',
        b'{"status": "COMPLETE"}',
        b'{"status": "COMPLETE", "data": 3}',
        b'{"status": "COMPLETE", "data": [3]}',
        b'{"status": "COMPLETE", "data": [], "paging": 3}',
        b'{"status": "ERROR", "msg": "no column of that name"}',
        b"[" * 100_000,
        b'{"status": "COMPLETE", "data": [' + b'{"a":' * 100_000,
    ],
    ids=lambda content: content[:40].decode(),
)
def test_search_answered_with_nonsense(server, store, content):
    server.always("invoke", faulty.instead(content))
    with pytest.raises(ArchiveReplyError, match=r"visit V01386001001.*MAST \(http.*give the files"):
        archive.ta_products(VISIT, "NIRCAM", policy=QUICK)
    assert left_in(store) == []


def test_search_answered_with_too_much(server, store, monkeypatch):
    """Counted as it is unpacked: a megabyte of gzip holds a gigabyte."""
    monkeypatch.setattr(search, "MAX_REPLY", 1000)
    server.always("invoke", faulty.compressed)
    with pytest.raises(ArchiveReplyError, match="invalid answer"):
        archive.ta_products(VISIT, "NIRCAM", policy=QUICK)
    assert left_in(store) == []


def test_search_with_endless_pages(server):
    paging = {"page": 1, "pagesFiltered": 2}
    server.always("invoke", faulty.instead(json.dumps({"status": "COMPLETE", "data": [], "paging": paging}).encode()))
    with pytest.raises(ArchiveTimeoutError, match=r"V01386001001.*longer than the 2 s allowed"):
        archive.ta_products(VISIT, "NIRCAM", policy=QUICK)


def test_search_compressed(server):
    server.fail("invoke", faulty.compressed)
    assert len(archive.ta_products(VISIT, "NIRCAM", policy=QUICK)) == 2


def test_search_refuses_redirect_as_get(server, other):
    server.always("invoke", faulty.redirect(other.url + "{path}"))
    with pytest.raises(ArchiveReplyError, match="redirects the search"):
        archive.ta_products(VISIT, "NIRCAM", policy=QUICK)
    assert not other.asked()


def test_search_follows_redirect_that_keeps_form(server, other):
    server.always("invoke", faulty.redirect(other.url + "{path}", 307))
    assert len(archive.ta_products(VISIT, "NIRCAM", policy=QUICK)) == 2


def test_search_sends_no_token(server, monkeypatch):
    monkeypatch.setenv("MAST_API_TOKEN", SECRET)
    archive.ta_products(VISIT, "NIRCAM", policy=QUICK)
    assert SECRET not in str(server.asked())


def test_search_leaves_astroquery_cache_setting(server):
    from astroquery import cache_conf

    archive.ta_products(VISIT, "NIRCAM", policy=PATIENT)  # with what is imported once
    assert cache_conf.cache_active
    server.latency = 0.05
    visits = [f"1386:{number}" for number in range(2, 10)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        searches = [pool.submit(archive.ta_products, visit, "NIRCAM", policy=PATIENT) for visit in visits]
    assert all(isinstance(search.exception(), AcquisitionError) for search in searches)
    assert cache_conf.cache_active


# --- times ------------------------------------------------------------------------------------------------


def test_visit_times_of_visit(server):
    start, end = archive.visit_times(VISIT, "NIRCAM", policy=QUICK)
    assert start == datetime(2022, 7, 29, 22, 1, 51, 487000, UTC)
    assert end == datetime(2022, 7, 30, 1, 13, 40, 487000, UTC)


def test_visit_times_without_acquisition(server):
    server.tables["Nircam"] = server.tables["Nircam"][2:]
    start, _ = archive.visit_times(VISIT, "NIRCAM", policy=QUICK)
    assert start == datetime(2022, 7, 29, 22, 1, 51, 487000, UTC)


@pytest.mark.parametrize("mjd", [None, "soon", float("nan"), -5, 1e30, True])
def test_visit_times_refuses_bad_values(server, mjd):
    server.tables["Nircam"] = [dict(row, vststart_mjd=mjd) for row in server.tables["Nircam"]]
    with pytest.raises(ArchiveNotFoundError, match=r"V01386001001.*give start and end"):
        archive.visit_times(VISIT, "NIRCAM", policy=QUICK)


# --- arguments --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("visit", ["", "V0138600100", "1386", "1386:1:1:1", "V01386001001x", "a:b"])
def test_ta_products_refuses_bad_visit_id(visit):
    with pytest.raises(ArgumentError, match="is not a visit ID"):
        archive.ta_products(visit, "NIRCAM")


def test_ta_products_refuses_bad_arguments():
    with pytest.raises(ArgumentError, match="kind='i2d'"):
        archive.ta_products(VISIT, "NIRCAM", kind="i2d")
    with pytest.raises(ArgumentError, match="'FGS' has no target acquisition"):
        archive.ta_products(VISIT, "FGS")


@pytest.mark.remote_data
def test_archive_of_stsci(store, monkeypatch):
    for name in ("XTA_OFFLINE", "XTA_MAST_URL", "XTA_EDB_URL"):
        monkeypatch.delenv(name, raising=False)
    products = archive.ta_products(VISIT, "NIRCAM")
    assert TACQ in [product.filename for product in products]
    assert archive.download(TACQ).stat().st_size > 0
    log = archive.event_log(VISIT, instrument="NIRCAM")
    assert f"VISIT {VISIT} STARTED" in log
    assert f"VISIT {VISIT} ENDED" in log
