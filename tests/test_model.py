"""The tables of the data model say what the steps add."""

import numpy as np
import pytest
import xarray as xr

import xta
from xta import identity, model
from xta.acquisition import budget, checklist


def groups():
    """Names of the table by the step that adds them."""
    step, result = "", {}
    for name in model.ATTRS:
        step = model.STEPS.get(name, step)
        result.setdefault(step, set()).add(name)
    return result


@pytest.mark.parametrize("visit", ["nircam", "miri"])
def test_steps_add_the_rows_of_the_table(visit, request):
    """Each step adds coordinates of its own rows only; all of a dataset is in the table."""
    ds = xta.open_exposure(request.getfixturevalue(visit).science[0])
    rows, before = groups(), set()
    several = rows.pop("attach, compute_offset, adjust_wcs")
    for step in ("open_exposure", "attach", "compute_offset", "adjust_wcs", "recenter"):
        ds = ds if step == "open_exposure" else getattr(ds.ta, step)()
        added = set(ds.variables) - before - several
        assert added <= rows[step], step
        before |= set(ds.variables)
    assert several <= before


@pytest.mark.parametrize(
    "coords",
    [
        {"target_x": ((), 1.5, {"units": "pixel"}), "visit_id": "01386001001"},
        {"check": ("check", ["a", "b"]), "check_passed": ("check", np.array([0, 1], dtype=np.int8))},
        {"x": ("x", np.arange(3))},
        {"z": ("x", [7.0, 8.0, 9.0]), "y": ("y", [5, 6])},
    ],
    ids=["scalars", "new dimension", "label that is replaced", "columns and labels"],
)
def test_with_coords_is_assign_coords(coords):
    ds = xr.Dataset({"sci": (("y", "x"), np.ones((2, 3)))}, {"x": [3, 4, 5], "target_x": 1.0}, {"title": "a"})
    ds.encoding["source"] = "a.fits"
    before = ds.copy(deep=True)
    result, expected = model.with_coords(ds, coords), ds.assign_coords(coords)
    xr.testing.assert_identical(result, expected)
    assert list(result.variables) == list(expected.variables)
    assert result.indexes.keys() == expected.indexes.keys()
    assert (result.sizes, result.encoding) == (expected.sizes, expected.encoding)
    xr.testing.assert_identical(ds, before)


def test_with_coords_refuses_other_size():
    with pytest.raises(ValueError, match="x"):
        model.with_coords(xr.Dataset({"sci": ("x", [1.0, 2.0])}), {"z": ("x", [1.0])})


def test_every_row_has_a_unit_and_a_meaning():
    assert next(iter(model.ATTRS)) in model.STEPS
    assert set(model.STEPS) <= set(model.ATTRS)
    for name, (unit, meaning) in model.ATTRS.items():
        assert unit == unit.strip()
        assert 3 <= len(meaning) <= 90, name
    assert {*identity.IDENTITY, *identity.ONBOARD} <= set(model.ATTRS)
    assert set(model.ATTRS) >= model.ADJUSTED


def test_checks_and_parts_are_described():
    assert all(all(entry) for entry in checklist.CHECKS.values())
    assert all(part.__doc__ for part in budget.PARTS.values())


def test_print_shows_the_star(nircam):
    """xarray shows six coordinates from the start and six from the end."""
    analyzed = xta.analyze(nircam.science[0], centroid="oss", corrections="none")
    for ds in (analyzed, xta.stack([analyzed])):
        text = repr(ds)
        for name in ("target_x", "target_y", "target_x_err", "target_y_err", "filter", "visit_id"):
            assert f"    {name} " in text, name


def test_header_reads_coordinates_before_attributes():
    ds = xr.Dataset(coords={"visit_id": "a", "filter": ""}, attrs={"visit_id": "b", "filter": "F1", "nints": 3})
    about = identity.header(ds)
    assert dict(about) == {"nints": 3, "visit_id": "a"}
    assert about.get("filter") is None
    with pytest.raises(KeyError):
        about["filter"]


@pytest.mark.parametrize(("values", "known"), [(["a", "a"], "a"), (["a", "b"], None), ([], None), (["", ""], None)])
def test_header_of_several_exposures_knows_what_they_share(values, known):
    ds = xr.Dataset(coords={"visit_id": ("exposure", np.array(values, dtype="U1"))}, attrs={"visit_id": "of the first"})
    assert identity.header(ds).get("visit_id") == known


def test_header_whole_numbers_of_a_join_are_whole(nircam):
    one, other = (xta.open_exposure(path).drop_vars("source") for path in (nircam.science[0], nircam.ta[0]))
    joined = xr.Dataset(coords={"nints": 1, "subsize1": ("exposure", [320.0, np.nan])})
    assert isinstance(identity.header(joined.isel(exposure=0))["subsize1"], int)
    assert "subsize1" not in identity.header(joined.isel(exposure=1))
    assert identity.header(one)["subsize1"] == 320 != identity.header(other)["subsize1"]


def test_current_drops_attributes_that_contradict(nircam):
    ds = xta.open_exposure(nircam.science[0]).assign_coords(filename="other_calints.fits")
    assert identity.is_foreign(ds)
    result = identity.current(ds)
    assert not {"filename", "title", "nints", "history"} & set(result.attrs)
    assert result.attrs["instrument"] == ds.attrs["instrument"]
    assert not identity.is_foreign(result)
    assert identity.current(result) is result
