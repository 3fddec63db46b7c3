"""Errors are caught by their own name, never as another kind of error."""

import threading
import time
import warnings

import pytest

import xta
from xta.errors import MissingError, SiafError, XtaError, filtered


@pytest.mark.parametrize("kind", [MissingError, SiafError])
def test_error_is_value_error_not_key_error(kind):
    assert issubclass(kind, XtaError)
    assert issubclass(kind, ValueError)
    assert not issubclass(kind, KeyError)
    assert str(kind("the dataset has no 'wcs'")) == "the dataset has no 'wcs'"


def test_filtered_in_overlapping_threads_leaves_no_filter():
    before = list(warnings.filters)
    begun = threading.Event()

    def hold(seconds):
        with filtered("ignore", UserWarning):
            begun.set()
            time.sleep(seconds)

    threads = [threading.Thread(target=hold, args=(seconds,)) for seconds in (0.1, 0.3)]
    for thread in threads:
        thread.start()
        begun.wait()
    for thread in threads:
        thread.join()
    assert warnings.filters == before


@pytest.fixture(scope="module")
def attached(nircam):
    return xta.open_exposure(nircam.science[0]).ta.attach()


def test_adjust_warns_without_aperture(attached):
    nameless = attached.ta.compute_offset()
    nameless.coords["aperture"] = ""
    with pytest.warns(xta.XtaWarning, match="mask"):
        adjusted = nameless.ta.adjust_wcs()
    assert adjusted["mask_x"].isnull()
    assert adjusted.sel(error_part="mask reference")["target_x_err_part"].isnull()
