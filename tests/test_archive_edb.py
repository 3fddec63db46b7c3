import csv
import io
import random
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from tests import archive_server as faulty
from tests.archive_server import ArchiveServer, left_in, sample_visit
from xta import archive
from xta.archive import Policy, cache
from xta.errors import (
    ArchiveBusyError,
    ArchiveError,
    ArchiveNotAuthorizedError,
    ArchiveNotFoundError,
    ArchiveReplyError,
    ArchiveTimeoutError,
    ArgumentError,
)

VISIT = "V01386001001"
MESSAGE = "ICTM_EVENT_MSG"
NAME = f"{MESSAGE}-20220729T215651-20220730T011841.csv"
TIMES = {"start": "2022-07-29 22:01:51.4870000", "end": "2022-07-30 01:13:40.4870000"}
QUICK = Policy(connect=2.0, read=0.4, deadline=2.0, attempts=3, backoff=0.01, backoff_max=0.02, pause=0.01)


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_event_log_of_visit(server, store):
    rows = rows_of(archive.event_log(VISIT, **TIMES, policy=QUICK))
    assert [(row["theTime"], row["euvalue"]) for row in rows] == server.logs[MESSAGE]
    (request,) = server.asked()  # the times were given, so MAST was not asked for them
    assert request.target == f"mast:jwstedb/{NAME}"
    assert left_in(store) == [NAME, f"{NAME}.xta.json"]


def test_event_log_is_read_by_osslog(server):
    from xta import osslog

    log = osslog.read(archive.event_log(VISIT, **TIMES, policy=QUICK))
    assert len(log.messages) == len(server.logs[MESSAGE])


def test_event_log_asks_for_times(server):
    given = archive.event_log(VISIT, **TIMES, policy=QUICK)
    cache.clear()
    assert archive.event_log("1386:1", instrument="NIRCAM", policy=QUICK) == given
    assert [request.target.partition(":")[0] for request in server.asked()[1:]] == [
        "Mast.Jwst.Filtered.Nircam",
        "mast",
    ]


@pytest.mark.parametrize(
    "times",
    [
        {"start": datetime(2022, 7, 29, 22, 1, 51, 487000), "end": datetime(2022, 7, 30, 1, 13, 40, 487000, UTC)},
        {"start": np.datetime64("2022-07-29T22:01:51.487"), "end": "2022-07-30T01:13:40.487Z"},
    ],
)
def test_event_log_takes_forms_of_time(server, times):
    archive.event_log(VISIT, **times, policy=QUICK)
    assert server.asked()[0].target == f"mast:jwstedb/{NAME}"


def test_event_log_from_cache(server):
    first = archive.event_log(VISIT, **TIMES, policy=QUICK)
    assert archive.event_log(VISIT, **TIMES, offline=True) == first
    assert len(server.asked()) == 1


def test_event_log_offline(server):
    with pytest.raises(ArchiveError, match=r"V01386001001.*network is off.*give the log as a file"):
        archive.event_log(VISIT, **TIMES, offline=True)
    assert not server.asked()


def test_event_log_uses_file_put_there_by_hand(server, store):
    text = archive.event_log(VISIT, **TIMES, policy=QUICK)
    cache.clear()
    (store / "logs" / NAME).write_text(text)
    assert archive.event_log(VISIT, **TIMES, offline=True) == text


# --- what may still grow is not kept ----------------------------------------------------------------------


def test_event_log_without_end_of_visit_is_not_kept(server, store):
    server.logs[MESSAGE] = [(when, text) for when, text in server.logs[MESSAGE] if f"{VISIT} ENDED" not in text]
    for _ in range(2):
        assert f"{VISIT} STARTED" in archive.event_log(VISIT, **TIMES, policy=QUICK)
    assert len(server.asked()) == 2
    assert left_in(store) == []


@pytest.mark.parametrize("ending", ["ENDED, SSR ALMOST FULL", "ENDED, EXCEEDED ALLOWED TIME", "SKIPPED"])
def test_event_log_knows_every_kind_of_end(server, store, ending):
    server.logs[MESSAGE] = [(when, text.replace("ENDED", ending)) for when, text in server.logs[MESSAGE]]
    archive.event_log(VISIT, **TIMES, policy=QUICK)
    assert NAME in left_in(store)


@pytest.mark.parametrize("hours", [0, 12])
def test_event_log_of_recent_visit_is_not_kept(server, store, hours):
    start = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=hours + 4)
    visit = sample_visit("01386002001", start=start.isoformat(timespec="milliseconds"))
    visit.feed(server)
    text = archive.event_log("1386:2", start=visit.start, end=visit.end, policy=QUICK)
    assert "VISIT V01386002001 ENDED" in text
    assert left_in(store) == []


def test_event_log_of_window(server, store):
    log = archive.event_log(start="2022-07-29 23:00", end="2022-07-29 23:05", pad=0.0, policy=QUICK)
    messages = [row["euvalue"] for row in rows_of(log)]
    assert "TARGET LOCATE SUMMARY:" in messages
    assert f"VISIT {VISIT} ENDED" in messages  # the service adds the row after the window
    assert left_in(store)[0] == f"{MESSAGE}-20220729T230000-20220729T230501.csv"


# --- rows -------------------------------------------------------------------------------------------------


def test_event_log_drops_duplicate_rows(server):
    clean = archive.event_log(VISIT, **TIMES, policy=QUICK)
    cache.clear()
    server.logs[MESSAGE] = [row for row in server.logs[MESSAGE] for _ in range(2)]
    assert rows_of(archive.event_log(VISIT, **TIMES, policy=QUICK)) == rows_of(clean)
    assert rows_of(archive.event_log(VISIT, **TIMES, offline=True)) == rows_of(clean)


def test_event_log_of_repeated_reply(server):
    clean = archive.event_log(VISIT, **TIMES, policy=QUICK)
    cache.clear()
    header, rest = faulty.csv_of(server.logs[MESSAGE]).split(b"\r\n", 1)
    server.fail("jwstedb", faulty.instead(header + b"\r\n" + rest + rest))
    assert rows_of(archive.event_log(VISIT, **TIMES, policy=QUICK)) == rows_of(clean)


def test_event_log_sorts_rows(server, tmp_path):
    clean = archive.event_log(VISIT, **TIMES, policy=QUICK)
    cache.clear()
    shuffled = list(server.logs[MESSAGE])
    random.Random(1).shuffle(shuffled)
    server.logs[MESSAGE] = tmp_path / "log.csv"
    server.logs[MESSAGE].write_bytes(faulty.csv_of(shuffled))
    assert rows_of(archive.event_log(VISIT, **TIMES, policy=QUICK)) == rows_of(clean)


def test_event_log_joins_mnemonics_by_time(server):
    log = server.logs[MESSAGE]
    same = log[2][0]
    server.logs[MESSAGE] = [*log[:3], (same, "second at this time"), *log[3:]]
    # One id for each message, except that one is missing, one is sent twice, and one belongs to no message.
    ids = [(when, str(8000 + i)) for i, (when, _) in enumerate(server.logs[MESSAGE])]
    server.logs[f"{MESSAGE}_ID"] = sorted([*ids[:5], *ids[6:], ids[8], ("2022-07-29 23:30:00.000", "9999")])
    server.logs[f"{MESSAGE}_SRC"] = [(when, "SCS") for when, _ in ids]
    names = [MESSAGE, f"{MESSAGE}_ID", f"{MESSAGE}_SRC"]
    text = archive.event_log(VISIT, **TIMES, mnemonics=names, policy=QUICK)
    rows = rows_of(text)
    assert [row[names[1]] for row in rows] == [
        *(str(8000 + i) for i in range(5)),
        "",
        *(str(8000 + i) for i in range(6, 10)),
    ]
    assert {row[names[2]] for row in rows} == {"SCS"}
    assert archive.event_log(VISIT, **TIMES, mnemonics=names, offline=True) == text
    assert len(server.asked()) == 3


def test_event_log_leaves_out_unpaired_ids(server):
    when = server.logs[MESSAGE][2][0]
    server.logs[f"{MESSAGE}_ID"] = [(when, "1"), (when, "2")]
    rows = rows_of(archive.event_log(VISIT, **TIMES, mnemonics=[MESSAGE, f"{MESSAGE}_ID"], policy=QUICK))
    assert {row[f"{MESSAGE}_ID"] for row in rows} == {""}


def test_event_log_with_unquoted_commas(server):
    where = server.logs[MESSAGE][5][0]
    content = faulty.csv_of(server.logs[MESSAGE]).replace(b'"', b"")
    server.fail("jwstedb", faulty.instead(content))
    server.logs[f"{MESSAGE}_ID"] = [(when, "8210") for when, _ in server.logs[MESSAGE]]
    rows = rows_of(archive.event_log(VISIT, **TIMES, mnemonics=[MESSAGE, f"{MESSAGE}_ID"], policy=QUICK))
    (row,) = (row for row in rows if row["theTime"] == where)
    assert row["euvalue"] == "(convergenceFlag, convergenceThres) = (SUCCESS, 0.01)"
    assert {row[f"{MESSAGE}_ID"] for row in rows} == {"8210"}


def test_event_log_with_byte_order_mark_and_odd_bytes(server):
    content = b"\xef\xbb\xbf" + faulty.csv_of(server.logs[MESSAGE]).replace(b"CONVST", b"C\xffNVST")
    server.fail("jwstedb", faulty.instead(content))
    rows = rows_of(archive.event_log(VISIT, **TIMES, policy=QUICK))
    assert len(rows) == len(server.logs[MESSAGE])
    assert rows[0]["theTime"] == server.logs[MESSAGE][0][0]


# --- faults -----------------------------------------------------------------------------------------------

ROWS = faulty.csv_of(sample_visit().log)
FAULTS = {
    "401": (faulty.status(401), ArchiveNotAuthorizedError, "MAST_API_TOKEN"),
    "403": (faulty.status(403), ArchiveNotAuthorizedError, "MAST_API_TOKEN"),
    "404": (faulty.status(404), ArchiveNotFoundError, "did not find it"),
    "429": (faulty.status(429, Retry_After="0"), ArchiveBusyError, "429"),
    "500": (faulty.status(500), ArchiveBusyError, "500"),
    "503": (faulty.status(503, Retry_After="99"), ArchiveBusyError, "asks to wait 99 s"),
    "hang": (faulty.hang, ArchiveTimeoutError, "did not answer in time"),
    "drip": (faulty.drip, ArchiveTimeoutError, "longer than the 2 s"),
    "cut": (faulty.cut(0.5), ArchiveBusyError, "closed the connection too early"),
    "dropped": (faulty.drop, ArchiveBusyError, "hung up"),
    "too long a length": (faulty.wrong_length(50), ArchiveBusyError, "closed the connection too early"),
    "too short a length": (faulty.wrong_length(-5), ArchiveReplyError, "cut short at line 10"),
    "cut in a quoted message": (faulty.instead(ROWS[: ROWS.index(b"SUCCESS")]), ArchiveReplyError, "cut short"),
    "html": (faulty.instead(faulty.HTML), ArchiveReplyError, "is a web page"),
    "empty": (faulty.instead(b""), ArchiveReplyError, "is empty"),
    "another table": (faulty.instead(b"a,b,c,d\r\n1,2,3,4\r\n"), ArchiveReplyError, "is something else"),
    "no rows": (faulty.instead(faulty.HEADER.encode()), ArchiveNotFoundError, "has no rows"),
    "endless field": (
        faulty.instead(faulty.HEADER.encode() + b'\r\n"' + b"x" * 200_000),
        ArchiveReplyError,
        "damaged",
    ),
    "silent gzip": (faulty.instead(b"\x1f\x8b\x08rubbish"), ArchiveReplyError, "not announced"),
    "redirect to a file": (faulty.redirect("file:///etc/passwd"), ArchiveReplyError, "address that is not allowed"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_event_log_that_fails(server, store, case):
    fault, kind, says = FAULTS[case]
    server.always("jwstedb", fault)
    begin = time.monotonic()
    with pytest.raises(kind) as caught:
        archive.event_log(VISIT, **TIMES, policy=QUICK)
    assert time.monotonic() - begin < QUICK.deadline + 1
    assert says in str(caught.value)
    for part in (VISIT, MESSAGE, "give the log as a file"):
        assert part in str(caught.value)
    assert left_in(store) == []


@pytest.mark.parametrize("case", ["429", "500", "hang", "cut", "dropped", "too long a length"])
def test_event_log_after_passing_faults(server, case):
    server.fail("jwstedb", FAULTS[case][0], FAULTS[case][0])
    assert f"{VISIT} ENDED" in archive.event_log(VISIT, **TIMES, policy=QUICK)


def test_event_log_compressed(server):
    server.fail("jwstedb", faulty.compressed)
    assert f"{VISIT} ENDED" in archive.event_log(VISIT, **TIMES, policy=QUICK)
    assert "gzip" in server.asked()[0].headers["Accept-Encoding"]


def test_event_log_from_other_address(server, monkeypatch):
    with ArchiveServer(logs=server.logs) as database:
        monkeypatch.setenv("XTA_EDB_URL", database.url + "/")
        archive.event_log(VISIT, instrument="NIRCAM", token="word", policy=QUICK)
        assert [request.path for request in server.asked()] == ["/api/v0/invoke"]
        (request,) = database.asked()
        assert request.headers["Authorization"] == "token word"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "give a visit, or both"),
        ({"start": "2022-07-29"}, "give a visit, or both"),
        ({"visit": VISIT, "end": "2022-07-29"}, "give a visit, or both"),
        ({"start": "2022-07-30", "end": "2022-07-29"}, "ends .* before it starts"),
        ({"start": "then", "end": "2022-07-29"}, "'then' is not a time"),
        ({"visit": VISIT, **TIMES, "mnemonics": ["../x"]}, "not a mnemonic"),
        ({"visit": VISIT, **TIMES, "mnemonics": []}, "mnemonics is empty"),
        ({"visit": VISIT, **TIMES, "pad": -1.0}, "must be seconds"),
    ],
)
def test_event_log_refuses_bad_arguments(server, arguments, says):
    with pytest.raises(ArgumentError, match=says):
        archive.event_log(**arguments, policy=QUICK)
    assert not server.asked()


@pytest.mark.heavy
def test_event_log_of_200_megabytes(server, store, tmp_path):
    path = tmp_path / "large.csv"
    begin = datetime(2022, 7, 29, 22, 1, 51)
    with path.open("w", newline="") as file:
        file.write(f"{faulty.HEADER}\r\n")
        for number in range(2_500_000):
            when = (begin + timedelta(milliseconds=4 * number)).isoformat(" ", "milliseconds")
            file.write(f"{when},59789.9179570255,Script activated: number {number:09d} of many,varchar\r\n")
        file.write(f"2022-07-30 01:13:41.236,59790.05,VISIT {VISIT} ENDED,varchar\r\n")
    assert path.stat().st_size > 200e6
    server.logs[MESSAGE] = path
    patient = Policy(deadline=120.0)
    text = archive.event_log(VISIT, **TIMES, policy=patient)
    assert text.count("\n") == 2_500_002
    assert text.endswith(f"VISIT {VISIT} ENDED,varchar\n")
    assert NAME in left_in(store)
    cache.clear()
    with pytest.raises(ArchiveTimeoutError, match="longer than the"):
        archive.event_log(VISIT, **TIMES, policy=Policy(deadline=0.05))
    assert left_in(store) == []
