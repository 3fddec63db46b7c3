"""Fixtures for all tests: markers, a network that ends at this machine, WCSs and sample programs."""

import ipaddress
import os
import socket
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from tests.archive_server import ArchiveServer, sample_visit

# A change is judged by the same examples as the one before it; XTA_FUZZ_SEED=1 looks for others.
settings.register_profile("same examples", derandomize=not int(os.environ.get("XTA_FUZZ_SEED", "0")))
settings.load_profile("same examples")


def pytest_addoption(parser):
    parser.addoption("--heavy", action="store_true", help="run the tests that take minutes or gigabytes")
    parser.addoption("--remote-data", action="store_true", help="run the tests that ask the real archive")


def pytest_collection_modifyitems(config, items):
    for marker in ("heavy", "remote_data"):
        option = f"--{marker.replace('_', '-')}"
        if not config.getoption(option):
            for item in items:
                if marker in item.keywords:
                    item.add_marker(pytest.mark.skip(reason=f"needs {option}"))


@pytest.fixture(autouse=True)
def _this_machine_only(monkeypatch, request):
    """Fail a test that connects to another machine."""
    if "remote_data" in request.keywords:
        return
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family in {socket.AF_INET, socket.AF_INET6}:
            host = address[0]
            try:
                local = ipaddress.ip_address(host).is_loopback
            except ValueError:
                local = host == "localhost"
            assert local, f"a test tried to connect to {host}"
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def _offline(monkeypatch, request):
    """Let only the tests of the archive ask for things that are not at hand."""
    if "archive" not in request.module.__name__:
        monkeypatch.setenv("XTA_OFFLINE", "1")


@pytest.fixture(scope="session")
def shared():
    """Folder of real data beside the checkout; tests that need it are skipped where it is absent."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the folder of real data is not here")
    return folder


def make_wcs(ra=150.0, dec=-30.0, roll=75.0, *, inverse_error=0.4, scale=0.063, distortion=3e-6, size=320):
    """Build an imaging GWCS with the frames of the JWST pipeline, a quadratic distortion and a poor inverse."""
    from astropy import coordinates, units
    from astropy.modeling import models
    from astropy.modeling.bounding_box import ModelBoundingBox
    from gwcs import WCS, coordinate_frames

    from xta.geometry import wcs

    center = models.Shift(-size / 2) & models.Shift(-size / 2)
    x = models.Polynomial2D(
        2, c0_0=0, c1_0=-scale, c0_1=1e-4 * scale, c2_0=scale * distortion, c1_1=-scale * distortion
    )
    y = models.Polynomial2D(2, c0_0=0, c0_1=scale, c1_0=-2e-4 * scale, c0_2=scale * distortion, c2_0=scale * distortion)
    detector_to_v = center | models.Mapping((0, 1, 0, 1)) | x & y | models.Shift(107.3) & models.Shift(-405.1)
    detector_to_v.inverse = (
        models.Shift(-107.3) & models.Shift(405.1)
        | models.Scale(-1 / scale) & models.Scale(1 / scale)
        | models.Shift(size / 2) & models.Shift(size / 2 + inverse_error)
    )
    box = (-0.5, size - 0.5)
    detector_to_v.bounding_box = ModelBoundingBox({"x0": box, "x1": box}, detector_to_v, order="F")
    sky = wcs._v23tosky(np.array([107.3 / 3600, 405.1 / 3600, roll, dec, -ra]))
    pixel = coordinate_frames.Frame2D(name="detector", unit=(units.pix, units.pix))
    tel = coordinate_frames.Frame2D(name="v2v3", unit=(units.arcsec, units.arcsec), axes_names=("v2", "v3"))
    world = coordinate_frames.CelestialFrame(name="world", reference_frame=coordinates.ICRS())
    return WCS([(pixel, detector_to_v), (tel, sky), (world, None)])


@pytest.fixture(scope="session")
def build_wcs():
    """Maker of imaging WCSs."""
    return make_wcs


@pytest.fixture(scope="session")
def nircam(tmp_path_factory):
    """A NIRCam coronagraphic visit with known truth."""
    from xta import datasets

    return datasets.make_visit(tmp_path_factory.mktemp("nircam"), mode="nircam", integrations=3, ideal=True)


@pytest.fixture(scope="session")
def miri(tmp_path_factory):
    """A MIRI coronagraphic visit with known truth: two-stage acquisition and confirmation images."""
    from xta import datasets

    return datasets.make_visit(tmp_path_factory.mktemp("miri"), mode="miri", integrations=2, confirm=True, ideal=True)


@pytest.fixture
def edited(tmp_path):
    """Copy a FITS file and let a function edit the copy: ``edited(path, edit)`` gives its path."""
    from astropy.io import fits

    def edit_copy(path, edit, *, name=None):
        target = tmp_path / (name or path.name)
        with fits.open(path, memmap=False) as hdus:
            copy = fits.HDUList([hdu.copy() for hdu in hdus])
            edit(copy)
            copy.writeto(target, overwrite=True, output_verify="ignore")
        return target

    return edit_copy


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Folder of the cache, empty."""
    monkeypatch.setenv("XTA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def serve(store, monkeypatch):
    """Starter of an archive on this machine: ``serve(ArchiveServer(...))`` gives it running, and xta asks it."""
    for name in ("XTA_OFFLINE", "MAST_API_TOKEN", "XTA_EDB_URL", "XTA_EDB_FORM"):
        monkeypatch.delenv(name, raising=False)
    with ExitStack() as stack:

        def start(server):
            running = stack.enter_context(server)
            monkeypatch.setenv("XTA_MAST_URL", running.url)
            return running

        yield start


@pytest.fixture
def server(serve):
    """An archive with a sample visit."""
    running = serve(ArchiveServer())
    sample_visit().feed(running)
    return running


@pytest.fixture
def other():
    """Another archive, on another address of this machine."""
    with ArchiveServer(host="127.0.0.2") as running:
        sample_visit().feed(running)
        yield running


@pytest.fixture(scope="session")
def rolls(tmp_path_factory):
    """Two rolls and a brighter reference star of one telescope, analyzed, and the true pixels of their stars."""
    import xta
    from tests.stars import truth_of
    from xta import datasets

    folder = tmp_path_factory.mktemp("rolls")
    visits = [
        datasets.make_visit(
            folder / str(k),
            visit_id=f"0999100{k + 1}001",
            miss=miss,
            roll=110 + 8 * k,
            star_flux=(0.3, 0.3, 0.5)[k],
            wavefront=3,
            integrations=(2, 2, 6)[k],
            companion=(1.2, 200.0, 3e-4) if k < 2 else None,
            seed=k,
        )
        for k, miss in enumerate(((0.13, -0.09), (-0.2, 0.1), (0.05, 0.16)))
    ]
    exposures = [xta.analyze(visit.science[0], offline=True) for visit in visits]
    return exposures, np.array([truth_of(visit, visit.science[0]) for visit in visits])
