import logging
import shutil
import subprocess
import time
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from tests import archive_server as faulty
from tests.archive_server import ArchiveServer, left_in, sample_visit
from xta import archive
from xta.archive import Policy, cache
from xta.archive.policy import Service, Token, find_token
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
TACQ = "jw01386001001_02102_00001_nrcalong_cal.fits"
SECRET = "a-token-0123456789abcdef"
QUICK = Policy(connect=2.0, read=0.4, deadline=2.0, attempts=3, backoff=0.01, backoff_max=0.02, pause=0.01)
PATIENT = Policy(connect=2.0, read=5.0, deadline=20.0, attempts=3, backoff=0.01, backoff_max=0.02, pause=0.01)


# --- download ---------------------------------------------------------------------------------------------


def test_download_once(server, store):
    path = archive.download(TACQ, policy=QUICK)
    assert path.read_bytes() == server.products[TACQ]
    assert path == store / "products" / "jw01386001001" / TACQ
    assert archive.download(TACQ, offline=True) == path
    assert len(server.asked()) == 1
    assert left_in(store) == [TACQ, f"{TACQ}.xta.json"]


FINAL = {
    "401": (faulty.status(401), ArchiveNotAuthorizedError, "MAST_API_TOKEN"),
    "403": (faulty.status(403), ArchiveNotAuthorizedError, "MAST_API_TOKEN"),
    "404": (faulty.status(404), ArchiveNotFoundError, "check the name"),
    "400": (faulty.status(400), ArchiveReplyError, "status 400"),
    "204": (faulty.status(204), ArchiveReplyError, "status 204"),
    "206": (faulty.status(206, Content_Range="bytes 5-9/10"), ArchiveReplyError, "another position"),
    "long wait": (faulty.status(429, Retry_After="1000"), ArchiveBusyError, "asks to wait 1000 s"),
    "html": (faulty.instead(faulty.HTML), ArchiveReplyError, "is a web page"),
    "empty": (faulty.instead(b""), ArchiveReplyError, "is empty"),
    "text": (faulty.instead(b"SIMPLE but not FITS"), ArchiveReplyError, "is something else"),
    "too short a length": (faulty.wrong_length(-2880), ArchiveReplyError, "2880 bytes too short"),
    "damaged gzip": (
        faulty.instead(b"\x1f\x8b\x08rubbish", Content_Encoding="gzip"),
        ArchiveReplyError,
        "damaged compressed",
    ),
    "silent gzip": (faulty.instead(b"\x1f\x8b\x08rubbish"), ArchiveReplyError, "not announced"),
    "redirect to a file": (faulty.redirect("file:///etc/passwd"), ArchiveReplyError, "address that is not allowed"),
    "redirect to nowhere": (faulty.redirect("http://[nonsense/"), ArchiveReplyError, "cannot be followed"),
    "redirect to itself": (faulty.redirect("{path}"), ArchiveReplyError, "redirects endlessly"),
}
PASSING = {
    "429": (faulty.status(429), ArchiveBusyError, "busy or down .429"),
    "429 with a wait": (faulty.status(429, Retry_After="0"), ArchiveBusyError, "busy or down .429"),
    "429 with nonsense": (faulty.status(429, Retry_After="soon"), ArchiveBusyError, "busy or down .429"),
    "500": (faulty.status(500), ArchiveBusyError, "busy or down .500"),
    "503": (faulty.status(503), ArchiveBusyError, "busy or down .503"),
    "hang": (faulty.hang, ArchiveTimeoutError, "did not answer in time"),
    "cut": (faulty.cut(0.4), ArchiveBusyError, "closed the connection too early"),
    "dropped": (faulty.drop, ArchiveBusyError, "hung up"),
    "too long a length": (faulty.wrong_length(100), ArchiveBusyError, "closed the connection too early"),
}
SLOW = {
    "drip": (faulty.drip, ArchiveTimeoutError, "longer than the 2 s allowed"),
    "drip of headers": (faulty.drip_headers, ArchiveTimeoutError, "longer than the 2 s allowed"),
}


@pytest.mark.parametrize("token", [None, SECRET], ids=["public", "token"])
@pytest.mark.parametrize("case", [*FINAL, *PASSING, *SLOW])
def test_download_that_fails(server, store, caplog, case, token):
    caplog.set_level(logging.DEBUG)
    server.resumable = False
    fault, kind, says = (FINAL | PASSING | SLOW)[case]
    server.always("product", fault)
    begin = time.monotonic()
    with pytest.raises(kind) as caught:
        archive.download(TACQ, token=token, policy=QUICK)
    assert time.monotonic() - begin < QUICK.deadline + 1
    error = caught.value
    if token is None or kind is not ArchiveNotAuthorizedError:
        assert says in str(error).replace("(", ".")
    assert TACQ in str(error)
    assert "give the files themselves" in str(error)
    assert left_in(store) == []
    assert error.__cause__ is None
    assert not hasattr(error.__context__, "request")
    told = "".join(traceback.format_exception(error)) + caplog.text + repr(error.args)
    assert SECRET not in told
    asked = 1 if case in FINAL or case in SLOW else QUICK.attempts
    if case not in {"redirect to itself", "redirect to nowhere", "206"}:
        assert len(server.asked()) == asked


@pytest.mark.parametrize("case", PASSING)
def test_download_after_passing_faults(server, store, case):
    server.fail("product", PASSING[case][0], PASSING[case][0])
    path = archive.download(TACQ, policy=PATIENT if case != "hang" else QUICK)
    assert path.read_bytes() == server.products[TACQ]
    assert len(server.asked()) == 3
    assert left_in(store) == [TACQ, f"{TACQ}.xta.json"]


def test_download_waits_as_retry_after_asks(server):
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    server.fail("product", faulty.status(429, Retry_After="1"), faulty.status(503, Retry_After=soon))
    archive.download(TACQ, policy=PATIENT)
    first, second, third = (request.time for request in server.asked())
    assert second - first >= 1.0
    assert 0.5 < third - first <= 3.0  # a date has whole seconds


def test_download_compressed(server):
    server.fail("product", faulty.compressed)
    assert archive.download(TACQ, policy=QUICK).read_bytes() == server.products[TACQ]


@pytest.fixture
def large(server):
    """A product of several hundred kilobytes: what arrives of one is written every 64 kB."""
    server.products[TACQ] = faulty.fits_bytes(TACQ, "NRC_TACQ", size=320)
    return server.products[TACQ]


def test_download_resumes_where_it_was_cut(server, large):
    server.fail("product", faulty.cut(0.25), faulty.cut(0.5))
    assert archive.download(TACQ, policy=QUICK).read_bytes() == large
    first, *ranges = [request.headers.get("Range") for request in server.asked()]
    starts = [int(text.removeprefix("bytes=").removesuffix("-")) for text in ranges]
    assert first is None
    assert 0.25 * len(large) - 65536 < starts[0] <= 0.25 * len(large)
    assert starts[0] < starts[1] < len(large)


def test_download_resumes_in_next_call(server, store, large):
    server.fail("product", faulty.cut(0.5))
    once = Policy(attempts=1, deadline=2.0)
    with pytest.raises(ArchiveBusyError):
        archive.download(TACQ, policy=once)
    assert left_in(store) == [f"{TACQ}.part", f"{TACQ}.part.tag"]
    (item,) = cache.report()
    assert item.partial
    assert item.size > 0
    assert archive.download(TACQ, policy=once).read_bytes() == large
    assert server.asked()[1].headers["Range"] == f"bytes={item.size}-"
    assert left_in(store) == [TACQ, f"{TACQ}.xta.json"]


def test_download_resumes_after_deadline(server, large):
    def slow(handler, reply):
        handler.head(reply, reply.length)
        handler.wfile.write(reply.body[:200_000])
        faulty.hang(handler, reply)

    server.fail("product", slow)
    with pytest.raises(ArchiveTimeoutError, match="longer than the 1 s allowed"):
        archive.download(TACQ, policy=Policy(deadline=1.0))
    (item,) = cache.report()
    assert archive.download(TACQ, policy=QUICK).read_bytes() == large
    assert server.asked()[1].headers["Range"] == f"bytes={item.size}-"


def test_download_restarts_for_changed_product(server, large):
    server.fail("product", faulty.cut(0.5))
    with pytest.raises(ArchiveBusyError):
        archive.download(TACQ, policy=Policy(attempts=1, deadline=2.0))
    server.products[TACQ] = faulty.fits_bytes(TACQ, "CHANGED", size=320)
    assert archive.download(TACQ, policy=QUICK).read_bytes() == server.products[TACQ]


def test_download_of_part_that_is_whole(server, store, large):
    server.fail("product", faulty.cut(0.5))
    with pytest.raises(ArchiveBusyError):
        archive.download(TACQ, policy=Policy(attempts=1, deadline=2.0))
    (part,) = store.rglob("*.part")
    part.write_bytes(server.products[TACQ])
    assert archive.download(TACQ, policy=QUICK).read_bytes() == server.products[TACQ]


def test_download_progress_on_stderr(server, capsys):
    archive.download(TACQ, progress=True, policy=QUICK)
    out, err = capsys.readouterr()
    assert out == ""
    assert TACQ in err
    assert "100%" in err


@pytest.mark.parametrize("name", ["", "../x.fits", "jw/x.fits", "other.fits", "jw1.fits/..", "jw1.exe"])
def test_download_refuses_other_names(server, name):
    with pytest.raises(ArgumentError, match="not the name of a JWST product"):
        archive.download(name)
    assert not server.asked()


# --- token ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_token_opens_exclusive_data(server, store, monkeypatch, how):
    server.protected[TACQ] = SECRET
    with pytest.raises(ArchiveNotAuthorizedError, match=r"need a token.*MAST_API_TOKEN"):
        archive.download(TACQ, policy=QUICK)
    if how == "environment":
        monkeypatch.setenv("MAST_API_TOKEN", f" {SECRET}\n")
    archive.download(TACQ, token=SECRET if how == "argument" else None, policy=QUICK)
    assert server.asked()[-1].headers["Authorization"] == f"token {SECRET}"
    assert not any(SECRET.encode() in path.read_bytes() for path in store.rglob("*") if path.is_file())


def test_token_refused(server):
    server.protected[TACQ] = SECRET
    with pytest.raises(ArchiveNotAuthorizedError, match=r"not accepted.*expired"):
        archive.download(TACQ, token="another", policy=QUICK)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_token_stays_on_redirect_elsewhere(server, other, code):
    server.always("product", faulty.redirect(other.url + "{path}", code))
    path = archive.download(TACQ, token=SECRET, policy=QUICK)
    assert path.read_bytes() == other.products[TACQ]
    assert "Authorization" in server.asked()[0].headers
    assert SECRET not in str(other.asked())


def test_token_stays_on_redirect_and_back(server, other):
    server.fail("product", faulty.redirect(other.url + "{path}"))
    other.fail("product", faulty.redirect(server.url + "{path}"))
    archive.download(TACQ, token=SECRET, policy=QUICK)
    assert SECRET not in str(other.asked())
    assert len(server.asked()) == 2


def test_token_stays_on_redirect_to_other_port(server):
    with ArchiveServer(products=server.products) as neighbor:
        server.always("product", faulty.redirect(neighbor.url + "{path}"))
        archive.download(TACQ, token=SECRET, policy=QUICK)
        assert SECRET not in str(neighbor.asked())


def test_download_sends_no_password_of_netrc(server, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("default login me password word")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    archive.download(TACQ, policy=QUICK)
    archive.ta_products(VISIT, "NIRCAM", policy=QUICK)
    assert not any("Authorization" in request.headers for request in server.asked())


def test_token_hides():
    token = Token(SECRET)
    assert SECRET not in repr(token) + str(token) + f"{token}"
    with pytest.raises(TypeError, match="not be stored"):
        token.__reduce__()
    with pytest.raises(ArgumentError, match="characters that no token has") as caught:
        find_token(f"{SECRET}\r\nX-Header: 1")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("https://mast.stsci.edu", True),
        ("http://mast.stsci.edu", False),
        ("http://localhost:8000", True),
        ("http://127.0.0.1:8000", True),
        ("http://[::1]:8000", True),
        ("http://localhost.example.org", False),
        ("http://127.0.0.1.example.org", False),
    ],
)
def test_service_private(url, private):
    assert Service("MAST", url, "XTA_MAST_URL").private is private


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("https://mast.stsci.edu/api", True),
        ("https://MAST.stsci.edu:443/api", True),
        ("https://mast.stsci.edu:8443/api", False),
        ("http://mast.stsci.edu/api", False),
        ("https://mast.stsci.edu.example.org/", False),
        ("https://mast.stsci.edu@example.org/", False),
        ("https://example.org/mast.stsci.edu", False),
    ],
)
def test_service_owns(url, own):
    assert Service("MAST", "https://mast.stsci.edu", "XTA_MAST_URL").owns(url) is own


def test_download_from_this_machine_without_proxy(server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert archive.download(TACQ, token=SECRET, policy=QUICK).exists()


@pytest.mark.parametrize(
    "url",
    ["mast.stsci.edu", "ftp://mast.stsci.edu", "https://", "https://me:word@mast", "https://mast:port", "http://[x"],
)
def test_service_refuses_bad_address(server, monkeypatch, url):
    monkeypatch.setenv("XTA_MAST_URL", url)
    with pytest.raises(ArgumentError, match="XTA_MAST_URL must be an address") as caught:
        archive.download(TACQ, policy=QUICK)
    assert "word" not in str(caught.value)


def test_download_from_absent_archive(server, monkeypatch):
    monkeypatch.setenv("XTA_MAST_URL", "http://127.0.0.1:9")
    with pytest.raises(ArchiveBusyError, match=r"could not be reached.*give the files"):
        archive.download(TACQ, policy=QUICK)


# --- TLS --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("needs openssl to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    files = folder / "certificate.pem", folder / "key.pem"
    options = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    command = [openssl, *options.split(), "-out", files[0], "-keyout", files[1]]
    subprocess.run(command, check=True, capture_output=True)
    return files


@pytest.fixture
def secure(server, certificate, monkeypatch):
    with ArchiveServer(tls=certificate) as running:
        sample_visit().feed(running)
        monkeypatch.setenv("XTA_MAST_URL", running.url)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
        yield running


def test_download_over_tls(secure):
    secure.protected[TACQ] = SECRET
    assert len(archive.ta_products(VISIT, "NIRCAM", policy=QUICK)) == 2
    assert archive.download(TACQ, token=SECRET, policy=QUICK).read_bytes() == secure.products[TACQ]


@pytest.mark.parametrize("case", SLOW)
def test_download_deadline_over_tls(secure, store, case):
    secure.always("product", SLOW[case][0])
    begin = time.monotonic()
    with pytest.raises(ArchiveTimeoutError, match="longer than the 2 s allowed"):
        archive.download(TACQ, policy=QUICK)
    assert time.monotonic() - begin < QUICK.deadline + 1


def test_download_refuses_unknown_certificate(secure, monkeypatch):
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(ArchiveError, match="could not prove its identity"):
        archive.download(TACQ, token=SECRET, policy=QUICK)
    assert not secure.asked()


def test_download_refuses_redirect_to_plain_text(secure, server):
    secure.always("product", faulty.redirect(server.url + "{path}"))
    with pytest.raises(ArchiveReplyError, match="address that is not allowed"):
        archive.download(TACQ, policy=QUICK)
    assert not server.asked()


@pytest.mark.parametrize("setting", [{"attempts": 0}, {"deadline": -1.0}, {"read": 0.0}, {"connect": float("nan")}])
def test_policy_refuses_bad_values(setting):
    with pytest.raises(ArgumentError, match="must be positive"):
        Policy(**setting)
