"""The name ``ta`` belongs to climate data as well."""

import numpy as np
import pytest
import xarray as xr

import xta
from xta.accessor import TaAccessor
from xta.identity import is_jwst


@pytest.fixture
def climate():
    """Air temperature as CMIP publishes it."""
    plev = xr.Variable("plev", [100000.0, 85000.0], {"units": "Pa", "positive": "down"})
    attrs = {"standard_name": "air_temperature", "units": "K", "long_name": "Air Temperature"}
    history = "2019-06-01 ; CMOR rewrote data to be consistent with CF, CMIP6 and extra standards"
    about = {"Conventions": "CF-1.7 CMIP-6.2", "variable_id": "ta", "history": history}
    return xr.Dataset({"ta": ("plev", [288.2, 281.7], attrs)}, coords={"plev": plev}, attrs=about)


def test_ta_of_climate_data_is_variable(climate):
    xr.testing.assert_identical(climate.ta, climate["ta"])
    assert float(climate.ta.mean()) == pytest.approx(284.95)
    assert float((climate + 1).ta[0]) == pytest.approx(289.2)
    assert climate.set_coords("ta").ta.attrs["units"] == "K"


def test_ta_of_climate_data_is_decided_at_each_access(climate):
    assert float(climate.ta[0]) == 288.2
    climate["ta"] = climate["ta"] - 273.15
    assert float(climate.ta[0]) == pytest.approx(15.05)
    del climate["ta"]
    assert isinstance(climate.ta, TaAccessor)
    climate["ta"] = ("plev", [1.0, 2.0])
    assert climate.ta.values.tolist() == [1.0, 2.0]
    assert xr.Dataset.ta is TaAccessor


def test_ta_of_climate_data_without_it_is_accessor(climate):
    assert isinstance(climate.drop_vars("ta").ta, TaAccessor)


def test_ta_of_exposure_is_accessor(nircam):
    ds = xta.open_exposure(nircam.science[0]).assign(ta=("y", np.zeros(320)))
    assert isinstance(ds.ta, TaAccessor)
    assert isinstance(ds.drop_attrs().ta, TaAccessor)


@pytest.mark.parametrize(
    "mark",
    [
        {"coords": {"visit_id": "01386002001"}},
        {"coords": {"wcs": "text"}},
        {"attrs": {"telescope": "JWST"}},
        {"attrs": {"history": "2024: made\nxta 0.1.0: klip of 3 exposures"}},
    ],
)
def test_is_jwst_by_each_mark(mark):
    ds = xr.Dataset({"ta": ("time", [1.0])}, **mark)
    assert is_jwst(ds)
    assert isinstance(ds.ta, TaAccessor)
