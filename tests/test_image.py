"""Select a TA exposure, and look at the star in its image."""

import pytest

import xta
from xta.acquisition.image import in_use
from xta.errors import MissingError


@pytest.fixture(scope="module")
def attached(miri):
    ds = xta.open_exposure(miri.science[0]).ta.attach()
    assert ds.attrs["ta_in_use"] == 1
    return ds


SELECTIONS = {
    "list": {"ta_exposure": [1, 2]},
    "reversed": {"ta_exposure": slice(None, None, -1)},
    "twice": {"ta_exposure": [0, 1, 1]},
    "scalar": {"ta_exposure": 1},
}


@pytest.mark.parametrize("case", SELECTIONS)
def test_in_use_selects_by_label(attached, case):
    selected = in_use(attached.isel(SELECTIONS[case]))
    assert selected["ta_filename"].item() == attached["ta_filename"].values[1]
    assert selected["ta_sci"].dims == ("ta_y", "ta_x")


@pytest.mark.parametrize("exposure", [1, 2])
def test_in_use_selects_other_exposure(attached, exposure):
    selected = in_use(attached.isel(ta_exposure=[2, 1]), exposure)
    assert selected["ta_filename"].item() == attached["ta_filename"].values[exposure]


MISSING = {
    "empty": {"ta_exposure": []},
    "others": {"ta_exposure": [0, 2]},
    "scalar of another": {"ta_exposure": 0},
}


@pytest.mark.parametrize("case", MISSING)
def test_in_use_refuses_selection_without_it(attached, case):
    with pytest.raises(MissingError, match="dropped"):
        in_use(attached.isel(MISSING[case]))


@pytest.mark.parametrize("exposure", [-1, 7, 0.5, "x"])
def test_in_use_refuses_unknown_exposure(attached, exposure):
    with pytest.raises(MissingError, match=str(exposure)):
        in_use(attached, exposure)


def test_in_use_refuses_dataset_without_acquisition(attached, miri):
    for ds in (xta.open_exposure(miri.science[0]), attached.isel(ta_exposure=1, drop=True)):
        with pytest.raises(MissingError, match="attach"):
            in_use(ds)
    with pytest.raises(MissingError, match="attach"):
        in_use(attached.drop_attrs())
