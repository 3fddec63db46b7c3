"""An archive on this machine for the page on the archive: it answers as MAST does and holds the sample files."""

import csv
import json
import threading
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from astropy.io import fits

ZERO = datetime(1858, 11, 17)  # of modified Julian dates
WORDS = ("program", "filter", "targname", "detector", "exp_type", "visit_id")
TIMES = {"date_beg_mjd": "DATE-BEG", "vststart_mjd": "VSTSTART", "visitend_mjd": "VISITEND"}


def serve(folder):
    """Serve the products and event logs in a folder until the process ends; return the address of the archive."""
    handler = type("Archive", (Handler,), {"folder": Path(folder)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


class Handler(BaseHTTPRequestHandler):
    """Searches by POST, products and event logs by GET."""

    folder: Path

    def do_POST(self):
        """Answer a search."""
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        request = json.loads(parse_qs(text)["request"][0])
        instrument = request["service"].rpartition(".")[2].upper()
        rows = [row(path) for path in sorted(self.folder.glob("jw*.fits"))] if instrument == "NIRCAM" else []
        rows = [each for each in rows if all(passes(each, one) for one in request["params"]["filters"])]
        paging = {"page": 1, "pageSize": len(rows), "pagesFiltered": 1, "rows": len(rows)}
        self.send(json.dumps({"status": "COMPLETE", "msg": "", "data": rows, "fields": [], "paging": paging}).encode())

    def do_GET(self):
        """Send a product, or the event log of a window of time."""
        name = parse_qs(urlsplit(self.path).query).get("uri", [""])[0].rpartition("/")[2]
        if name.startswith("ICTM_EVENT_MSG"):
            self.send(log(self.folder, *name.removesuffix(".csv").split("-")[1:]))
        else:
            path = self.folder / name
            self.send(path.read_bytes() if path.is_file() else b"", 200 if path.is_file() else 404)

    def send(self, body, status=200):
        """Send a reply."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Write nothing."""


def row(path):
    """Describe a product by its header, in the columns of MAST."""
    header = fits.getheader(path)
    flags = {name: "t" if header.get(name.upper()) else "f" for name in ("is_psf", "bkgdtarg")}
    times = {name: mjd(datetime.fromisoformat(header[word])) for name, word in TIMES.items()}
    words = {name: header[name.upper()] for name in WORDS}
    return {"filename": path.name, "productLevel": "2b", "fileSize": path.stat().st_size, **flags, **times, **words}


def passes(each, condition):
    """Check a row against one condition of a search; numbers may have leading zeros."""
    value = str(each.get(condition["paramName"])).lstrip("0")
    return any(value == str(wanted).lstrip("0") for wanted in condition["values"])


def log(folder, start, end):
    """Write the rows of all event logs between two times."""
    first, last = (datetime.strptime(text, "%Y%m%dT%H%M%S") for text in (start, end))
    rows = {}
    for path in folder.glob("V*_osslog.csv"):
        with path.open(newline="") as file:
            rows |= {(each["theTime"], each["euvalue"]): each for each in csv.DictReader(file)}
    kept = [each for each in rows.values() if first <= datetime.fromisoformat(each["theTime"]) <= last]
    kept.sort(key=lambda each: each["theTime"])
    lines = [f'{each["theTime"]},{each["MJD"]},"{each["euvalue"]}",varchar' for each in kept]
    return "\r\n".join(["theTime,MJD,euvalue,sqldataType", *lines, ""]).encode()


def mjd(when):
    """Convert a time to a modified Julian date."""
    return (when - ZERO) / timedelta(days=1)
