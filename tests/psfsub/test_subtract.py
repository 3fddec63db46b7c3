"""The subtraction of lazy exposures, and its progress."""

import threading
from collections import Counter

import numpy as np
import pytest
import xarray as xr

import xta
from xta.psfsub import klip


@pytest.fixture(scope="module")
def image(small):
    return klip(small.rolls, reference=small.reference, numbasis=[1, 2])


def lazy(ds, counts, name):
    """Chunk an exposure by integrations, and count how often each chunk is computed."""
    lock = threading.Lock()

    def counted(block, block_info=None):
        with lock:
            counts[name, *block_info[0]["chunk-location"]] += 1
        return block

    ds = ds.chunk(integration=1)
    data = ds["sci"].data.map_blocks(counted, dtype=ds["sci"].dtype, meta=np.empty((0, 0, 0), ds["sci"].dtype))
    return ds.assign(sci=(ds["sci"].dims, data, ds["sci"].attrs))


def test_klip_of_lazy_exposures_is_that_of_loaded_ones_and_reads_each_frame_once(small, image):
    counts = Counter()
    rolls = [lazy(ds, counts, f"roll {k}") for k, ds in enumerate(small.rolls)]
    result = klip(rolls, reference=lazy(small.reference, counts, "reference"), numbasis=[1, 2])
    xr.testing.assert_identical(result, image)
    assert set(counts.values()) == {1}
    assert len(counts) == sum(ds.sizes["integration"] for ds in (*small.rolls, small.reference))


def test_klip_of_lazy_files_is_that_of_loaded_ones(small, image, tmp_path):
    paths = [tmp_path / f"{k}.nc" for k in range(3)]
    for ds, path in zip((*small.rolls, small.reference), paths, strict=True):
        xta.to_netcdf(ds, path)
    exposures = [xr.open_dataset(path, chunks={"integration": 2}) for path in paths]
    assert exposures[0]["sci"].chunks is not None
    result = klip(exposures[:2], reference=exposures[2], numbasis=[1, 2])
    np.testing.assert_array_equal(result["klip"], image["klip"])
    np.testing.assert_array_equal(result["noise"], image["noise"])
    for ds in exposures:
        ds.close()


def test_klip_recenters_lazy_exposures_alike(nircam):
    (path,) = nircam.science
    loaded, lazily = (
        xta.open_exposure(path, chunks=chunks).ta.set_star(151.3, 174.8, source="by hand") for chunks in (None, {})
    )
    other = loaded.assign_coords(filename="other.fits")
    np.testing.assert_array_equal(*(klip(ds, reference=other, numbasis=1)["klip"] for ds in (loaded, lazily)))


def test_klip_progress_on_stderr(small, capsys):
    klip(small.rolls, reference=small.reference, numbasis=1, annuli=2)
    assert capsys.readouterr().err == ""
    klip(small.rolls, reference=small.reference, numbasis=1, annuli=2, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "3/3" in err  # exposures
    assert "4/4" in err  # sections of both rolls
