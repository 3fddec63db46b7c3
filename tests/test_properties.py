"""Any sequence of xarray's operations and the steps gives the star of exposure by exposure, or an error of xta."""

import functools
import os
import pickle

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import xta
from xta import datasets, identity, stacks
from xta.acquisition import attach
from xta.errors import XtaError

NEAR = slice(140, 181)  # labels around the mask of NIRCam's 335R
SAME = 1e-9  # pixel; a sum of other order may differ in the last digit


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Three exposures of two visits, with other pointing errors and another number of acquisitions."""
    folder = tmp_path_factory.mktemp("properties")
    one = datasets.make_visit(
        folder, visit_id="09994001001", integrations=2, dithers=((0, 0), (0.01, 0.02)), ideal=True
    )
    options = {"pointing_error": (-0.2, 0.3, -0.004), "miss": (-0.4, 0.3), "start": "2024-03-10T08:14:07", "seed": 3}
    two = datasets.make_visit(folder, visit_id="09994002001", integrations=2, ta_dithers=True, **options, ideal=True)
    return [*one.science, *two.science]


@pytest.fixture(scope="module")
def truth(paths):
    """The star of each exposure by itself: file name -> x, y."""
    stars = {}
    for path in paths:
        with xta.analyze(path) as ds:
            stars[path.name] = ds["target_x"].item(), ds["target_y"].item()
    assert len({round(x, 1) for x, _ in stars.values()}) > 1
    return stars


@pytest.fixture(scope="module")
def _read_once(paths):
    """Keep the acquisitions of the visits: what is tested is where they go, not how they are read."""
    find, known = attach.find_acquisition, {}

    def remembered(ds, *args, **kwargs):
        visit = identity.header(ds)["visit_id"]
        if visit not in known:
            known[visit] = find(ds, *args, **kwargs)
        return known[visit]

    patch = pytest.MonkeyPatch()
    patch.setattr(attach, "find_acquisition", remembered)
    yield
    patch.undo()


@functools.cache
def opened(path):
    return xta.open_exposure(path).sel(x=NEAR, y=NEAR)


def concat(parts):
    return xr.concat(parts, "exposure", coords="different", compat="equals", join="outer")


JOINS = {
    "concat": concat,
    "nested": lambda parts: xr.combine_nested(parts, "exposure", coords="different", compat="equals", join="outer"),
    "stack": xta.stack,
}


@functools.cache
def many(paths):
    ds = xr.open_mfdataset(paths, engine="jwst", combine="nested", concat_dim="exposure")
    return ds.sel(x=NEAR, y=NEAR)


def to_netcdf(ds, folder):
    xta.to_netcdf(ds, folder / "a.nc")
    with xr.open_dataset(folder / "a.nc") as again:
        return again.load()


def to_tree(ds, folder):
    tree = xr.DataTree.from_dict({"/F444W/science/a": ds})
    xta.to_netcdf(tree["/F444W/science/a"].to_dataset(), folder / "b.nc")
    with xr.open_dataset(folder / "b.nc") as again:
        return xr.DataTree.from_dict({"/one": again.load()})["/one"].to_dataset()


def to_zarr(ds, folder):
    store = {}
    # A join by xarray leaves NaN among texts where an exposure has fewer acquisitions, which xarray cannot write.
    whole = xta.stack(stacks.members(ds)) if stacks.is_stack(ds) else ds
    whole.drop_encoding().to_zarr(store, zarr_format=2, consolidated=False)
    return xr.open_zarr(store, zarr_format=2, consolidated=False).load()


def half(ds, dim):
    return ds.isel({dim: slice(0, max(1, ds.sizes[dim] - 1))}) if dim in ds.dims else ds


PLAIN = {
    "first integrations": lambda ds, _: half(ds, "integration"),
    "one integration": lambda ds, _: ds.isel(integration=0) if "integration" in ds.dims else ds,
    "crop": lambda ds, _: ds.isel(x=slice(1, -1), y=slice(0, -1)),
    "where": lambda ds, _: ds.where(ds["dq"] == 0) if "dq" in ds else ds,
    "where positive": lambda ds, _: ds.where(ds["sci"] > 0),
    "mean": lambda ds, _: ds.mean("integration", keep_attrs=True) if "integration" in ds.dims else ds,
    "median": lambda ds, _: (
        ds.assign(sci=ds["sci"].median("integration")) if "integration" in ds["sci"].dims and "sci" in ds else ds
    ),
    "transpose": lambda ds, _: ds.transpose(),
    "chunk": lambda ds, _: ds.chunk({"y": 7}),
    "times two": lambda ds, _: ds * 2,
    "fillna": lambda ds, _: ds.fillna(0.0),
    "map": lambda ds, _: ds.map(np.abs),
    "load": lambda ds, _: ds.load(),
    "pickle": lambda ds, _: pickle.loads(pickle.dumps(ds)),
    "NetCDF": to_netcdf,
    "Zarr": to_zarr,
    "DataTree": to_tree,
    "drop attributes": lambda ds, _: ds.drop_attrs(deep=False),
    "first exposures": lambda ds, _: half(ds, "exposure"),
    "last exposure": lambda ds, _: ds.isel(exposure=-1) if "exposure" in ds.dims else ds,
    "reversed": lambda ds, _: ds.isel(exposure=slice(None, None, -1)) if "exposure" in ds.dims else ds,
    "joined again": lambda ds, _: (
        concat([ds.isel(exposure=k) for k in range(ds.sizes["exposure"])][::-1])
        if ds.sizes.get("exposure", 0) > 1
        else ds
    ),
}

STEPS = {
    "attach": lambda ds: ds.ta.attach(offline=True),
    "compute_offset": lambda ds: ds.ta.compute_offset(),
    "adjust_wcs": lambda ds: ds.ta.adjust_wcs(),
    "assign_sky": lambda ds: ds.ta.assign_sky(),
    "recenter": lambda ds: ds.ta.recenter(method="integer", size=21),
    "coadd": lambda ds: ds.ta.coadd(),
}


def check_stars(ds, truth):
    """Compare every star in a dataset with that of its file, whatever the form of the dataset."""
    name = "star" if "star_x" in ds.variables else "target"
    if f"{name}_x" not in ds.variables:
        return 0
    parts = stacks.members(ds)
    parts = [ds] if parts is None else parts
    for part in parts:
        x, y = truth[identity.header(part)["filename"]]
        assert (float(part[f"{name}_x"]), float(part[f"{name}_y"])) == pytest.approx((x, y), abs=SAME)  # dask, too
    return len(parts)


def run(data, paths, truth, folder, most):
    """Draw a sequence and follow it until the end or the first error of xta."""
    chosen = data.draw(st.lists(st.sampled_from(paths), min_size=1, max_size=most, unique=True), label="exposures")
    way = data.draw(st.sampled_from(["open_mfdataset", *JOINS, "later"]), label="joined by")
    try:
        before = data.draw(st.sampled_from(["", "attach", "compute_offset", "adjust_wcs"]), label="steps before")
        if way == "open_mfdataset":
            ds = many(tuple(chosen))
        else:
            parts = [opened(path) for path in chosen]
            for step in list(STEPS)[: list(STEPS).index(before) + 1] if before else []:
                parts = [STEPS[step](part) for part in parts]
            ds = parts[0] if way == "later" else JOINS[way](parts)
        follow(data, ds, truth, folder)
    except XtaError:
        return


def follow(data, ds, truth, folder):
    names = st.lists(st.sampled_from([*PLAIN, *STEPS, *STEPS]), max_size=4)
    drawn = data.draw(names, label="operations")
    ending = data.draw(st.booleans(), label="analyzed at the end")
    for name in [*drawn, *(["attach", "compute_offset", "adjust_wcs"] if ending else [])]:
        ds = PLAIN[name](ds, folder) if name in PLAIN else STEPS[name](ds)
        check_stars(ds, truth)


CHECKS = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
PHASES = [Phase.explicit, Phase.generate]  # to make a failure smaller would take minutes


def run_many(count, number, paths, truth, folders, *, most):
    """Run sequences of at most so many exposures that a seed chooses."""

    @seed(number)
    @settings(max_examples=count, deadline=None, database=None, phases=PHASES, suppress_health_check=CHECKS)
    @given(data=st.data())
    def each(data):
        run(data, paths, truth, folders.mktemp("sequence"), most)

    each()


pytestmark = [
    pytest.mark.usefixtures("_read_once"),
    pytest.mark.filterwarnings("ignore::xta.XtaWarning", "ignore::RuntimeWarning", "ignore:.*Zarr:UserWarning"),
]


def test_any_sequence_gives_the_star_or_an_error(paths, truth, tmp_path_factory):
    run_many(40, 0, paths, truth, tmp_path_factory, most=3)


@pytest.mark.heavy
@pytest.mark.parametrize("number", range(1, 9))
def test_any_of_many_sequences_gives_the_star_or_an_error(number, paths, truth, tmp_path_factory):
    """1,000 in all, by default: the time of continuous integration is limited; ``XTA_SEQUENCES=2000`` takes more."""
    run_many(int(os.environ.get("XTA_SEQUENCES", "1000")) // 8, number, paths, truth, tmp_path_factory, most=2)
