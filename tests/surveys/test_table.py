"""The columns of a survey, in NetCDF and in ECSV."""

from datetime import datetime

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import xta
from tests.surveys.visits import check_ecsv
from xta.errors import ArgumentError, FileError
from xta.surveys import to_ecsv
from xta.surveys.table import to_dataset


def test_survey_columns_have_names_and_units(surveyed):
    for name, variable in surveyed.variables.items():
        assert variable.attrs["long_name"], name
        assert variable.dtype.kind != "f" or "units" in variable.attrs, name
        if "flag_meanings" in variable.attrs:
            assert len(variable.attrs["flag_values"]) == len(variable.attrs["flag_meanings"].split())


def test_survey_netcdf_reopens_equal(surveyed, tmp_path):
    failed = to_dataset([{"visit_id": "1", "ok": 0, "reason": "a, \"b\" 'c' μ"}], estimates=True)
    for number, ds in enumerate((surveyed, failed)):
        xta.to_netcdf(ds, tmp_path / f"{number}.nc")
        with xr.open_dataset(tmp_path / f"{number}.nc") as again:
            xr.testing.assert_identical(again.load(), ds)


def test_to_ecsv_reads_back(surveyed, tmp_path):
    table = check_ecsv(surveyed, tmp_path / "a.ecsv")
    np.testing.assert_array_equal(table["sam_dx"], surveyed["estimate_dx"].sel(estimate="sam"))
    np.testing.assert_array_equal(table["guide_star_y_sigma"], surveyed["estimate_y_sigma"].sel(estimate="guide star"))
    np.testing.assert_array_equal(table["sam_x"], surveyed["sam_x"])
    assert str(table["sam_x"].unit) == "arcsec"
    assert str(table["target_x_err_mas"].unit) == "mas"
    assert table["date"][0] == "2024-03-10T03:26:18.024"
    assert "0: failed" in table["ok"].description


def test_to_ecsv_of_reopened_survey(surveyed, tmp_path):
    xta.to_netcdf(surveyed, tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as again:
        to_ecsv(again, tmp_path / "again.ecsv")
    to_ecsv(surveyed, tmp_path / "first.ecsv")
    assert (tmp_path / "again.ecsv").read_bytes() == (tmp_path / "first.ecsv").read_bytes()


words = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=30)


rows_of_anything = st.lists(
    st.fixed_dictionaries(
        {"visit_id": st.from_regex(r"[0-9]{11}", fullmatch=True), "ok": st.integers(0, 2)},
        optional={
            "reason": words.map(lambda text: " ".join(text.split())),
            "offset_x": st.none() | st.floats(allow_nan=False, allow_infinity=False),
            "date": st.just("") | st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)).map(datetime.isoformat),
            "guider": st.integers(0, 2),
        },
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda row: row["visit_id"],
)


@given(rows_of_anything)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_to_dataset_any_row_survives_both_formats(tmp_path, rows):
    ds = to_dataset(rows, estimates=False)
    check_ecsv(ds, tmp_path / "a.ecsv")
    xta.to_netcdf(ds, tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as again:
        xr.testing.assert_identical(again.load(), ds)


def test_to_ecsv_refuses_what_is_no_survey(surveyed, tmp_path):
    with pytest.raises(ArgumentError, match="no index visit"):
        to_ecsv(xr.Dataset({"a": ("x", [1])}), tmp_path / "a.ecsv")
    with pytest.raises(ArgumentError, match="mine has the dimensions"):
        to_ecsv(surveyed.assign(mine=("other", [1, 2])), tmp_path / "a.ecsv")
    with pytest.raises(FileError, match="does not exist"):
        to_ecsv(surveyed, tmp_path / "nowhere" / "a.ecsv")
    assert not list(tmp_path.iterdir())
