"""The engineering database in the form of a direct service: JSON, as jwst.lib.engdb_direct reads it."""

import json
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from tests.archive_server import ArchiveServer, Reply, left_in, sample_visit
from xta import archive, osslog
from xta.archive import Policy, cache
from xta.errors import ArchiveReplyError, ArgumentError

VISIT = "V01386001001"
MESSAGE = "ICTM_EVENT_MSG"
TIMES = {"start": "2022-07-29 22:01:51.4870000", "end": "2022-07-30 01:13:40.4870000"}
QUICK = Policy(connect=2.0, read=0.4, deadline=2.0, attempts=2, backoff=0.01, backoff_max=0.02)


class DirectServer(ArchiveServer):
    """A service that has no URIs of MAST, and answers in JSON."""

    def reply(self, recorded, request):
        prefix, _, mnemonic = recorded.path.rpartition("/")
        if prefix != "/edp/Data" or mnemonic not in self.logs:
            return Reply(404, {}, b"Not Found")
        data = [
            {"ObsTime": f"/Date({milliseconds(when)}+0000)/", "EUValue": text} for when, text in self.logs[mnemonic]
        ]
        content = {"TlmMnemonic": mnemonic, "AllPoints": 1, "Count": len(data), "Data": data or None}
        return Reply(200, {"Content-Type": "application/json"}, json.dumps(content).encode())


def milliseconds(when):
    return round(datetime.fromisoformat(when).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.fixture
def direct(serve, monkeypatch):
    running = serve(DirectServer())
    sample_visit().feed(running)
    monkeypatch.setenv("XTA_EDB_URL", running.url + "/edp/")
    monkeypatch.setenv("XTA_EDB_FORM", "direct")
    return running


def test_event_log_of_direct_service_is_that_of_mast(direct, store, server, monkeypatch):
    theirs = archive.event_log(VISIT, **TIMES, policy=QUICK)
    (request,) = direct.asked()
    assert request.path == f"/edp/Data/{MESSAGE}"
    assert left_in(store)
    cache.clear()
    monkeypatch.delenv("XTA_EDB_FORM")
    monkeypatch.setenv("XTA_EDB_URL", server.url)
    ours = archive.event_log(VISIT, **TIMES, policy=QUICK)
    by_mast, by_json = osslog.read(ours), osslog.read(theirs)
    assert by_json.messages.tolist() == by_mast.messages.tolist()
    assert repr(by_json.centroids()) == repr(by_mast.centroids())
    assert abs(by_json.times - by_mast.times).max() < np.timedelta64(1, "ms")


def test_event_log_of_direct_service_sends_the_window(direct, monkeypatch):
    seen = []
    answer = DirectServer.reply
    monkeypatch.setattr(DirectServer, "reply", lambda self, *both: seen.append(both) or answer(self, *both))
    archive.event_log(VISIT, **TIMES, policy=QUICK)
    from xta.archive import client

    urls = []
    read = client.Client.read
    monkeypatch.setattr(
        client.Client, "read", lambda self, how, url, *a, **k: urls.append(url) or read(self, how, url, *a, **k)
    )
    cache.clear()
    archive.event_log(VISIT, **TIMES, policy=QUICK)
    query = parse_qs(urlsplit(urls[0]).query)
    assert query == {"sTime": ["2022-07-29 21:56:51.000"], "eTime": ["2022-07-30 01:18:41.000"]}


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b'{"Data": [{"ObsTime": "yesterday", "EUValue": "x"}]}', b"[" * 100_000],
    ids=["empty", "page", "list", "object", "time", "nested"],
)
def test_event_log_of_direct_service_refuses_other_replies(direct, monkeypatch, store, body):
    monkeypatch.setattr(DirectServer, "reply", lambda *_: Reply(200, {}, body))
    with pytest.raises(ArchiveReplyError):
        archive.event_log(VISIT, **TIMES, policy=QUICK)
    assert not [name for name in left_in(store) if name.endswith(".csv")]


@pytest.mark.parametrize(("form", "url", "word"), [("xml", "http://localhost", "FORM"), ("direct", "", "XTA_EDB_URL")])
def test_event_log_refuses_form(server, monkeypatch, form, url, word):
    monkeypatch.setenv("XTA_EDB_FORM", form)
    monkeypatch.setenv("XTA_EDB_URL", url)
    with pytest.raises(ArgumentError, match=word):
        archive.event_log(VISIT, **TIMES, policy=QUICK)
