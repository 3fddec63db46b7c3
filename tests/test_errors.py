"""Errors are caught by their own name, never as another kind of error."""

import pytest

import xta
from xta.errors import MissingError, SiafError, XtaError


@pytest.mark.parametrize("kind", [MissingError, SiafError])
def test_error_is_value_error_not_key_error(kind):
    assert issubclass(kind, XtaError)
    assert issubclass(kind, ValueError)
    assert not issubclass(kind, KeyError)
    assert str(kind("the dataset has no 'wcs'")) == "the dataset has no 'wcs'"


@pytest.fixture(scope="module")
def attached(nircam):
    return xta.open_exposure(nircam.science[0]).ta.attach()


def test_adjust_warns_without_aperture(attached):
    nameless = attached.ta.compute_offset()
    del nameless.attrs["aperture"]
    with pytest.warns(xta.XtaWarning, match="mask"):
        adjusted = nameless.ta.adjust_wcs()
    assert adjusted["mask_x"].isnull()
    assert adjusted.sel(error_part="mask reference")["target_x_err_part"].isnull()
