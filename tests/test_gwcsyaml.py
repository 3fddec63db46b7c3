"""The short way of a GWCS to text and back against that of asdf: the same objects, text and bits."""

import re
import subprocess
import sys

import numpy as np
import pytest
from astropy.io import fits
from astropy.modeling import models

from xta.geometry import asdfguard, gwcsyaml, wcs, wcstext


def content_of(path):
    if path.suffix == ".asdf":
        return path.read_bytes()
    with fits.open(path) as hdus:
        return hdus["ASDF"].data["ASDF_METADATA"].tobytes()


def without_versions(text):
    """Leave out who wrote the text, and of which version the tags are; asdf of another release writes others."""
    text = re.sub(r"^asdf_library: .*\n(?: .*\n)*", "", text, flags=re.MULTILINE)
    return re.sub(r"(?<=\w)-\d+\.\d+\.\d+|^#ASDF_STANDARD .*", "", text, flags=re.MULTILINE)


def assert_same(ours, theirs):
    x, y = np.meshgrid(np.linspace(-20, 340, 7), np.linspace(-15, 300, 5))
    np.testing.assert_array_equal(wcs.pixel_to_world(ours, x, y), wcs.pixel_to_world(theirs, x, y))
    sky = wcs.pixel_to_world(theirs, x, y)
    np.testing.assert_array_equal(wcs.world_to_pixel_analytic(ours, *sky), wcs.world_to_pixel_analytic(theirs, *sky))
    by_asdf = without_versions(wcstext._written_by_asdf(theirs))
    assert without_versions(wcstext._written_by_asdf(ours)) == by_asdf
    assert without_versions(gwcsyaml.write(theirs)) == by_asdf
    assert gwcsyaml.write(ours) == gwcsyaml.write(theirs)


@pytest.mark.parametrize("visit", ["nircam", "miri"])
def test_read_and_write_agree_with_asdf(visit, request):
    made = request.getfixturevalue(visit)
    for path in (made.science[0], made.ta[0]):
        checked = asdfguard.check(content_of(path))
        ours = gwcsyaml.read(checked.node, checked.arrays)
        theirs = wcstext._by_asdf(checked)
        assert_same(ours, theirs)
        moved = wcs.shift(wcs.adjust(theirs, np.eye(3)), 0.1, -0.2)
        assert_same(wcs.load(wcs.dump(moved)), moved)


@pytest.mark.parametrize("path", ["published/*/*.fits", "real/*/*_calints.fits", "real/wcs/nircamwcs.asdf"])
def test_read_and_write_agree_with_asdf_on_real_files(path, shared):
    paths = sorted(shared.glob(path))
    assert paths
    for each in paths:
        checked = asdfguard.check(content_of(each))
        assert_same(gwcsyaml.read(checked.node, checked.arrays), wcstext._by_asdf(checked))


def changed(gwcs, transform):
    return type(gwcs)(
        [(gwcs.pipeline[0].frame, transform | gwcs.pipeline[0].transform), *gwcs.pipeline[1:]], name="other"
    )


@pytest.mark.parametrize(
    "transform",
    [
        models.Shift(1.0, fixed={"offset": True}) & models.Shift(2.0),
        models.Polynomial1D(1, c0=0, c1=1) & models.Legendre1D(1, c0=0, c1=1),
        models.Pix2Sky_TAN() | models.Sky2Pix_TAN(),
        models.Const1D(1.0) & models.Identity(1),
    ],
    ids=["fixed", "Legendre", "projection", "constant"],
)
def test_other_transforms_are_left_to_asdf(transform, build_wcs):
    other = changed(build_wcs(), transform)
    assert gwcsyaml.write(other) is None
    text = wcs.dump(other)
    checked = asdfguard.check(text.encode())
    assert gwcsyaml.read(checked.node, checked.arrays) is None
    assert wcs.pixel_to_world(wcs.load(text), 10.5, 20.25) == wcs.pixel_to_world(other, 10.5, 20.25)


def test_dump_of_shared_transform_writes_it_once(build_wcs):
    one = models.Shift(0.5)
    text = wcs.dump(changed(build_wcs(), one & one))
    assert text.count("offset: 0.5") == 1
    assert wcs.pixel_to_world(wcs.load(text), 1.0, 2.0) == wcs.pixel_to_world(build_wcs(), 1.5, 2.5)


def test_analysis_needs_neither_asdf_nor_pysiaf(nircam):
    """What takes most of the time to import, and is not needed for an ordinary product."""
    slow = ("asdf_astropy.extensions", "pysiaf", "matplotlib", "stdatamodels", "jwst", "photutils")
    code = (
        "import sys, xta\n"
        "xta.analyze(sys.argv[1], offline=True)\n"
        f"print([name for name in {slow} if name in sys.modules])"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, str(nircam.science[0])]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["[]"]
