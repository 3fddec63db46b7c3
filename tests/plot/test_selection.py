"""Pictures of a dataset of which some TA exposures were selected: the label says which one is in use."""

import matplotlib as mpl
import numpy as np
import pytest

from tests.plot.helpers import marks, near, texts
from xta import plot
from xta.errors import ArgumentError, MissingError
from xta.plot.visits import of_exposures

SELECTIONS = {"list": [1, 2], "reversed": [2, 1, 0], "scalar": 1}


@pytest.fixture
def axes():
    """Make axes that pyplot does not know."""
    return lambda: mpl.figure.Figure(figsize=(4, 4)).add_subplot()


@pytest.mark.parametrize("case", SELECTIONS)
def test_acquisition_draws_exposure_in_use_of_selection(of_miri, axes, case):
    whole, part = axes(), axes()
    expected = plot.acquisition(of_miri, ax=whole)
    drawn = plot.acquisition(of_miri.isel(ta_exposure=SELECTIONS[case]), ax=part)
    np.testing.assert_array_equal(drawn.get_array().filled(np.nan), expected.get_array().filled(np.nan))
    assert drawn.get_extent() == expected.get_extent()
    assert marks(part) == {label: near(place) for label, place in marks(whole).items()}
    offset = [text for text in texts(whole.figure) if "WCS − OSS" in text]
    assert [text for text in texts(part.figure) if "WCS − OSS" in text] == offset
    assert str(of_miri["ta_filename"].values[1]).removesuffix(".fits") in part.get_title(loc="left")


def test_acquisition_draws_other_exposure_of_selection(of_miri, axes):
    whole, part = axes(), axes()
    plot.acquisition(of_miri, ax=whole, exposure=2)
    plot.acquisition(of_miri.isel(ta_exposure=[2, 0]), ax=part, exposure=2)
    assert marks(part) == {label: near(place) for label, place in marks(whole).items()}
    with pytest.raises(ArgumentError, match="exposure is 1"):
        plot.acquisition(of_miri.isel(ta_exposure=[2, 0]), exposure=1)


@pytest.mark.parametrize("case", SELECTIONS)
def test_offsets_of_selection(of_miri, axes, case):
    part = of_miri.isel(ta_exposure=SELECTIONS[case])
    labels = np.atleast_1d(SELECTIONS[case]).tolist()
    expected = {offset.exposure: offset for offset in of_exposures(of_miri)}
    assert of_exposures(part) == [expected[label] for label in labels]
    *_, ring = plot.offsets(part, ax=axes())
    assert ring.get_label() == "in use"
    assert tuple(ring.get_offsets()[0]) == near((expected[1].east, expected[1].north))


def test_offsets_without_exposure_in_use(of_miri, axes):
    drawn = plot.offsets(of_miri.isel(ta_exposure=[0, 2]), ax=axes())
    assert "in use" not in [artist.get_label() for artist in drawn]


@pytest.mark.parametrize("case", SELECTIONS)
def test_summary_of_selection(of_miri, case):
    panels = 5 if np.ndim(SELECTIONS[case]) else 4  # pointing errors where there are several
    assert len(plot.summary(of_miri.isel(ta_exposure=SELECTIONS[case])).axes) == panels


@pytest.mark.parametrize("selection", [[0, 2], [0], 2, []])
def test_acquisition_refuses_selection_without_exposure_in_use(of_miri, selection):
    for function in (plot.acquisition, plot.summary):
        with pytest.raises(MissingError, match="dropped"):
            function(of_miri.isel(ta_exposure=selection))


def test_acquisition_needs_no_attributes(of_miri, ax):
    plot.acquisition(of_miri.drop_attrs(), ax=ax)
    assert "exposure 2 of 3" in ax.get_title(loc="left")


def test_acquisition_refuses_dataset_without_label(of_miri):
    with pytest.raises(MissingError, match="attach"):
        plot.acquisition(of_miri.isel(ta_exposure=1, drop=True))
