"""A loopback server that speaks the protocol of MAST, with faults on demand.

It serves the keyword search in the form in which astroquery asks for it, product downloads with resumption,
and engineering-database tables. Nothing in it knows the client it is for, so the client is tested over a
real connection. See `ArchiveServer`.
"""

import csv
import gzip
import hashlib
import io
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from astropy.io import fits

SEARCH = "/api/v0/invoke"
DOWNLOAD = "/api/v0.1/Download/file"
HTML = b"<!DOCTYPE html><html><body>We are down for maintenance.</body></html>"
HEADER = "theTime,MJD,euvalue,sqldataType"

Row = Mapping[str, Any]
Log = Sequence[tuple[str, str]] | Path


@dataclass
class Reply:
    """What is about to be sent; a fault changes it or sends something else."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    file: Path | None = None

    @property
    def length(self) -> int:
        return self.file.stat().st_size if self.file else len(self.body)

    def chunks(self) -> Iterator[bytes]:
        if self.file is None:
            yield self.body
            return
        with self.file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                yield chunk


@dataclass(frozen=True)
class Recorded:
    """One request as it came in."""

    method: str
    path: str
    target: str
    headers: Mapping[str, str]
    time: float


class Handler(BaseHTTPRequestHandler):
    """One connection; `archive` is the server that it belongs to."""

    protocol_version = "HTTP/1.1"
    archive: "ArchiveServer"

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        self.answer(query.get("uri", [""])[0], b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = parse_qs(body.decode()).get("request", [""])[0]
        self.answer(json.loads(request)["service"] if request else "", request.encode())

    def answer(self, target: str, request: bytes) -> None:
        archive = self.archive
        path = urlsplit(self.path).path
        recorded = Recorded(self.command, path, target, dict(self.headers), time.monotonic())
        with archive.lock:
            archive.requests.append(recorded)
            fault = archive.next_fault(recorded)
            archive.busy += 1
            archive.peak = max(archive.peak, archive.busy)
        archive.closing.wait(archive.latency)
        try:
            reply = archive.reply(recorded, request)
            (fault or send)(self, reply)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):  # the client has had enough
            self.close_connection = True
        finally:
            with archive.lock:
                archive.busy -= 1

    def head(self, reply: Reply, length: int | None) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


Fault = Callable[[Handler, Reply], None]


def send(handler: Handler, reply: Reply) -> None:
    """Send a reply as it is meant."""
    handler.head(reply, reply.length)
    for chunk in reply.chunks():
        handler.wfile.write(chunk)


def status(code: int, **headers: str) -> Fault:
    """Answer with a status; header names with underscores for dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler, _: send(handler, Reply(code, named, b"no"))


def hang(handler: Handler, _: Reply) -> None:
    """Say nothing until the server closes."""
    handler.archive.closing.wait()
    handler.close_connection = True


def drip(handler: Handler, reply: Reply) -> None:
    """Send a byte every 50 ms."""
    handler.head(reply, reply.length)
    for byte in reply.body:
        if handler.archive.closing.wait(0.05):
            break
        handler.wfile.write(bytes([byte]))
        handler.wfile.flush()
    handler.close_connection = True


def drip_headers(handler: Handler, _: Reply) -> None:
    """Begin a reply and never come to the end of its headers."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while not handler.archive.closing.wait(0.05):
        handler.wfile.write(b"X")
        handler.wfile.flush()


def cut(after: float) -> Fault:
    """Close the connection after a part of the body (0 to 1)."""

    def fault(handler: Handler, reply: Reply) -> None:
        handler.head(reply, reply.length)
        handler.wfile.write(reply.body[: int(after * len(reply.body))])
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_RDWR)
        handler.close_connection = True

    return fault


def drop(handler: Handler, _: Reply) -> None:
    """Close the connection without a word."""
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def wrong_length(difference: int) -> Fault:
    """Announce another length than is sent."""

    def fault(handler: Handler, reply: Reply) -> None:
        handler.head(reply, len(reply.body) + difference)
        handler.wfile.write(reply.body[: len(reply.body) + min(difference, 0)])
        handler.close_connection = True

    return fault


def instead(body: bytes, **headers: str) -> Fault:
    """Send another body with status 200."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler, _: send(handler, Reply(200, named, body))


def compressed(handler: Handler, reply: Reply) -> None:
    """Send the body with gzip, announced."""
    send(handler, Reply(reply.status, {"Content-Encoding": "gzip"}, gzip.compress(reply.body)))


def redirect(url: str, code: int = 302) -> Fault:
    """Send the client to `url`; {path} in it becomes what was asked."""
    return lambda handler, _: send(handler, Reply(code, {"Location": url.replace("{path}", handler.path)}))


class ArchiveServer:
    """An archive on this machine.

    Parameters
    ----------
    products : mapping
        File name -> content.
    tables : mapping
        Last word of the name of a search service ("Nircam") -> rows.
    logs : mapping
        Mnemonic -> (time as ISO text, value) in time order, or a CSV file that is served as it is.
    latency : float
        Before every reply [s].
    host : str
        Loopback address to listen on.
    resumable : bool
        Whether products can be fetched in parts.
    page : int
        Most rows of a search in one reply.
    tls : tuple of Path
        Certificate and key; plain text without.

    Attributes
    ----------
    requests : list of Recorded
        In the order in which they came.
    peak : int
        Most requests that were being answered at the same time.
    protected : dict
        File name -> token without which it is not given.

    Examples
    --------
    >>> with ArchiveServer(products={"a.fits": b"content"}) as archive:
    ...     archive.fail("a.fits", status(503))  # the first request for it
    ...     print(archive.url.startswith("http://127.0.0.1:"))
    True
    """

    def __init__(
        self,
        *,
        products: Mapping[str, bytes] | None = None,
        tables: Mapping[str, Sequence[Row]] | None = None,
        logs: Mapping[str, Log] | None = None,
        latency: float = 0.0,
        host: str = "127.0.0.1",
        resumable: bool = True,
        page: int = 50_000,
        tls: tuple[Path, Path] | None = None,
    ) -> None:
        self.products = dict(products or {})
        self.tables = dict(tables or {})
        self.logs = dict(logs or {})
        self.latency, self.resumable, self.page = latency, resumable, page
        self.busy = self.peak = 0
        self.protected: dict[str, str] = {}
        self.requests: list[Recorded] = []
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self._faults: list[tuple[str, list[Fault]]] = []
        self._always: dict[str, Fault] = {}
        handler = type("BoundHandler", (Handler,), {"archive": self})
        self._server = ThreadingHTTPServer((host, 0), handler)
        self._server.daemon_threads = True
        self._scheme = "https" if tls else "http"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> "ArchiveServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Address for XTA_MAST_URL and XTA_EDB_URL."""
        host, port = self._server.server_address[:2]
        return f"{self._scheme}://{host!s}:{port}"

    def fail(self, where: str, *faults: Fault) -> None:
        """Answer the next requests whose path or target holds `where` with these faults, one each."""
        self._faults.append((where, list(faults)))

    def always(self, where: str, fault: Fault) -> None:
        """Answer every request whose path or target holds `where` with a fault."""
        self._always[where] = fault

    def asked(self, where: str = "") -> list[Recorded]:
        """List the requests whose path or target holds `where`."""
        with self.lock:
            return [request for request in self.requests if where in request.path + " " + request.target]

    def next_fault(self, recorded: Recorded) -> Fault | None:
        text = recorded.path + " " + recorded.target
        for where, faults in self._faults:
            if where in text and faults:
                return faults.pop(0)
        return next((fault for where, fault in self._always.items() if where in text), None)

    def reply(self, recorded: Recorded, request: bytes) -> Reply:
        if recorded.path == SEARCH:
            return self._search(json.loads(request))
        if recorded.path == DOWNLOAD and recorded.target.startswith("mast:JWST/product/"):
            return self._product(recorded)
        if recorded.path == DOWNLOAD and recorded.target.startswith("mast:jwstedb/"):
            return self._log(recorded.target.removeprefix("mast:jwstedb/"))
        return Reply(404, {}, b"Not Found")

    def _search(self, request: Mapping[str, Any]) -> Reply:
        """Answer a search: rows that pass all filters, the columns asked for, in pages."""
        table = self.tables.get(request["service"].removeprefix("Mast.Jwst.Filtered."), ())
        filters = request["params"]["filters"]
        rows = [row for row in table if all(_passes(row, item) for item in filters)]
        columns = request["params"]["columns"]
        if columns != "*":
            names = [name.strip() for name in columns.split(",")]
            rows = [{name: row.get(name) for name in names} for row in rows]
        size, page = min(self.page, int(request["pagesize"])), int(request["page"])
        pages = max(1, -(-len(rows) // size))
        shown = rows[(page - 1) * size : page * size]
        paging = {"page": page, "pageSize": size, "pagesFiltered": pages, "rows": len(shown)}
        fields = [{"name": name, "type": "string"} for name in (rows[0] if rows else ())]
        content = {"status": "COMPLETE", "msg": "", "data": shown, "fields": fields, "paging": paging}
        return Reply(200, {"Content-Type": "application/json"}, json.dumps(content).encode())

    def _product(self, recorded: Recorded) -> Reply:
        name = recorded.target.removeprefix("mast:JWST/product/")
        if name not in self.products:
            return Reply(404, {}, b"Not Found")
        token = self.protected.get(name)
        if token and recorded.headers.get("Authorization") != f"token {token}":
            return Reply(401, {}, b"Unauthorized")
        body = self.products[name]
        tag = f'"{hashlib.md5(body).hexdigest()}"'
        if not self.resumable:
            return Reply(200, {}, body)
        headers = {"Accept-Ranges": "bytes", "ETag": tag}
        wanted = recorded.headers.get("Range", "")
        if wanted and recorded.headers.get("If-Range", tag) == tag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                return Reply(416, {"Content-Range": f"bytes */{len(body)}"})
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            return Reply(206, headers, body[start:])
        return Reply(200, headers, body)

    def _log(self, name: str) -> Reply:
        """Answer with the rows of a window, and the one before and after it, as the service does."""
        mnemonic, start, end = name.removesuffix(".csv").split("-")
        if mnemonic not in self.logs:
            return Reply(404, {}, b"Not Found")
        log = self.logs[mnemonic]
        if isinstance(log, Path):
            return Reply(200, {"Content-Type": "text/csv"}, file=log)
        first, last = (datetime.strptime(text, "%Y%m%dT%H%M%S") for text in (start, end))
        times = [datetime.fromisoformat(time) for time, _ in log]
        inside = [i for i, when in enumerate(times) if first <= when <= last]
        rows = log[max(0, inside[0] - 1) : inside[-1] + 2] if inside else ()
        return Reply(200, {"Content-Type": "text/csv"}, csv_of(rows))


def csv_of(rows: Sequence[tuple[str, str]]) -> bytes:
    """Write rows of (time, value) as the engineering database does."""
    lines = [HEADER]
    for when, value in rows:
        text = f'"{value}"' if "," in value else value
        mjd = (datetime.fromisoformat(when) - datetime(1858, 11, 17)).total_seconds() / 86400
        lines.append(f"{when},{mjd:.10f},{text},varchar")
    return "\r\n".join([*lines, ""]).encode()


def _passes(row: Row, item: Mapping[str, Any]) -> bool:
    value = row.get(item["paramName"])
    for wanted in item["values"]:
        if isinstance(wanted, dict):
            if value is not None and wanted["min"] <= value <= wanted["max"]:
                return True
        elif str(value).lstrip("0") == wanted.lstrip("0"):  # a number matches its text, padded or not
            return True
    return False


@dataclass(frozen=True)
class SampleVisit:
    """A visit with target acquisition, in the forms in which an archive holds it."""

    visit: str
    products: dict[str, bytes]
    rows: list[Row]
    log: list[tuple[str, str]]
    start: datetime
    end: datetime

    def feed(self, archive: ArchiveServer) -> None:
        """Add the visit to a server."""
        archive.products |= self.products
        archive.tables["Nircam"] = [*archive.tables.get("Nircam", ()), *self.rows]
        archive.logs["ICTM_EVENT_MSG"] = sorted([*archive.logs.get("ICTM_EVENT_MSG", ()), *self.log])


def sample_visit(visit: str = "01386001001", *, start: str = "2022-07-29T22:01:51.487") -> SampleVisit:
    """Make a synthetic visit: a TA exposure, an image after it, a science exposure, a short log."""
    begin = datetime.fromisoformat(start)
    end = begin + timedelta(hours=3, minutes=11, seconds=49)
    exposures = [("02102", "NRC_TACQ", 60), ("02104", "NRC_TACONFIRM", 70), ("0310e", "NRC_CORON", 100)]
    products: dict[str, bytes] = {}
    rows: list[Row] = []
    for activity, exp_type, minutes in exposures:
        suffix = "calints" if exp_type == "NRC_CORON" else "cal"
        name = f"jw{visit}_{activity}_00001_nrcalong_{suffix}.fits"
        products[name] = fits_bytes(name, exp_type)
        row = {
            "filename": name,
            "productLevel": "2b",
            "exp_type": exp_type,
            "detector": "NRCALONG",
            "visit_id": visit,
            "date_beg_mjd": _mjd(begin + timedelta(minutes=minutes)),
            "vststart_mjd": _mjd(begin),
            "visitend_mjd": _mjd(end),
            "fileSize": len(products[name]),
        }
        rows.append(row)
    uncal = f"jw{visit}_02102_00001_nrcalong_uncal.fits"
    products[uncal] = fits_bytes(uncal, "NRC_TACQ")
    said = [
        (-4, "VISIT V01176241001 ENDED"),
        (0, f"VISIT V{visit} STARTED"),
        (2, f"Script activated: V{visit}:CONVST"),
        (3722, "**********************************************"),
        (3723, "TARGET LOCATE SUMMARY:"),
        (3724, "(convergenceFlag, convergenceThres) = (SUCCESS, 0.01)"),
        (3725, "**********************************************"),
        (11509, f"VISIT V{visit} ENDED"),
        (11514, "VISIT V01759005001 STARTED"),
    ]
    log = [((begin + timedelta(seconds=t)).isoformat(" ", "milliseconds"), text) for t, text in said]
    return SampleVisit(visit, products, rows, log, begin, end)


def hold(archive: ArchiveServer, *visits: Any, science: bool = False) -> None:
    """Let an archive hold the acquisitions and the logs of visits of `xta.datasets`, and nothing else.

    With `science` also what follows the acquisitions.
    """
    rows: list[tuple[str, str]] = []
    for visit in visits:
        with visit.oss_log.open(newline="") as file:
            rows += [(row["theTime"], row["euvalue"]) for row in csv.DictReader(file)]
    paths = [path for visit in visits for path in (*visit.ta, *(visit.science if science else ()))]
    archive.products = {path.name: path.read_bytes() for path in paths}
    archive.tables = {"Nircam": [_row(path) for path in paths]}
    archive.logs = {"ICTM_EVENT_MSG": sorted(rows)}


def _row(path: Path) -> Row:
    header = fits.getheader(path)
    flags = {name: "t" if header.get(name.upper()) else "f" for name in ("is_psf", "bkgdtarg")}
    times = {"date_beg_mjd": "DATE-BEG", "vststart_mjd": "VSTSTART", "visitend_mjd": "VISITEND"}
    return {
        "filename": path.name,
        "productLevel": "2b",
        "fileSize": path.stat().st_size,
        **flags,
        **{name: header[name.upper()] for name in ("program", "filter", "targname")},
        **{name: header[name.upper()] for name in ("detector", "exp_type", "visit_id")},
        **{name: _mjd(datetime.fromisoformat(header[word])) for name, word in times.items()},
    }


def fits_bytes(name: str, exp_type: str, size: int = 64) -> bytes:
    """Make a small product: primary header, image, table."""
    image = fits.ImageHDU(np.arange(size * size, dtype=np.float32).reshape(size, size), name="SCI")
    table = fits.BinTableHDU(np.zeros(3, dtype=[("int_mid_MJD_UTC", ">f8")]), name="INT_TIMES")
    primary = fits.PrimaryHDU()
    primary.header["FILENAME"] = name
    primary.header["EXP_TYPE"] = exp_type
    stream = io.BytesIO()
    fits.HDUList([primary, image, table]).writeto(stream)
    return stream.getvalue()


def _mjd(when: datetime) -> float:
    return (when - datetime(1858, 11, 17)) / timedelta(days=1)


def left_in(folder):
    """Names of all files in a folder and those below it."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file())
