"""What arithmetic does to an exposure, and what the steps make of it: they work, or say what to call instead."""

import warnings
from contextlib import suppress

import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot as plt

import xta
from xta import pixels
from xta.errors import ArgumentError, MissingError, XtaError, XtaWarning


def cropped(ds):
    x, y = int(ds["target_x"]), int(ds["target_y"])
    return ds.sel(x=slice(x - 22, x + 22), y=slice(y - 22, y + 22))


@pytest.fixture(scope="module")
def analyzed(nircam):
    return cropped(xta.analyze(nircam.science[0]).load())


@pytest.fixture(scope="module")
def another(analyzed):
    """Make another exposure, with the attributes of the first one, as xarray leaves them after a join."""
    values = {"filename": "b.fits", "source": "/b.fits", "visit_id": "0999", "date_beg": "2030-01-01T00:00:00"}
    return analyzed.drop_vars(["wcs", "ra", "dec"]).assign_coords(values)


@pytest.fixture(scope="module")
def miri_exposure(miri):
    return cropped(xta.analyze(miri.science[0]).load())


@pytest.fixture(scope="module")
def reference(analyzed):
    return analyzed.assign_coords(filename="r.fits").ta.recenter()


def changed(name, **values):
    return lambda ds, *_: ds.assign({name: values["to"](ds[name])})


EVERYTHING = {
    # Result of arithmetic on all variables -> the word of the remedy, or None where recenter works.
    "unchanged": (lambda ds, *_: ds, None),
    "mean": (lambda ds, *_: ds.mean("integration"), "coadd"),
    "median": (lambda ds, *_: ds.median("integration"), None),
    "std": (lambda ds, *_: (ds + ds["sci"].integration).std("integration"), "coadd"),
    "minus its mean": (lambda ds, *_: ds - ds.mean("integration"), "subtract"),
    "minus another": (lambda ds, other, _: ds - other, "subtract"),
    "minus MIRI": (lambda ds, _, miri: ds - miri, "subtract"),
    "plus another": (lambda ds, other, _: ds + other, "subtract"),
    "minus a number": (lambda ds, *_: ds - 1e6, "subtract"),
    "divided": (lambda ds, *_: ds / 2, "coadd"),
    "masked": (lambda ds, *_: ds.where(ds["dq"] == 0), None),
    "masked by labels": (lambda ds, *_: ds.where(ds["x"] > 140), None),
    "float": (lambda ds, *_: ds.astype(float), None),
    "complex": (lambda ds, *_: ds + 1j, "real"),
    "text": (lambda ds, *_: ds.astype(str), "astype"),
    "compared": (lambda ds, *_: ds > 0, None),
    "rolling": (lambda ds, *_: ds.rolling(integration=2).mean(), None),
    "chunked mean": (lambda ds, *_: (ds / 2).chunk({"integration": 1}), "coadd"),
    "no integration": (lambda ds, *_: ds.isel(integration=[]), "empty"),
    "mean along x": (lambda ds, *_: ds.mean("x"), "no x"),
    "transposed": (lambda ds, *_: ds.transpose("x", "y", "integration", ...), None),
    "integrations named": (lambda ds, *_: ds.assign_coords(integration=["a", "b", "c"]), None),
    "times of text": (lambda ds, *_: ds.assign_coords(time=("integration", ["a", "b", "c"])), None),
    "labels of text": (lambda ds, *_: ds.assign_coords(x=ds["x"].astype(str)), "not numbers"),
}
ONE = {
    "sci median": (lambda ds, *_: ds.assign(sci=ds["sci"].median("integration")), "coadd"),
    "sci integers": (changed("sci", to=lambda sci: sci.fillna(0).astype("i4")), None),
    "sci bool": (changed("sci", to=lambda sci: sci > 0), None),
    "sci complex": (changed("sci", to=lambda sci: sci + 1j), "real"),
    "sci text": (changed("sci", to=lambda sci: sci.astype(str)), "astype"),
    "sci objects": (changed("sci", to=lambda sci: sci.astype(object)), "astype"),
    "sci dates": (changed("sci", to=lambda sci: sci.fillna(0).astype("i8").astype("M8[ns]")), "astype"),
    "sci half": (changed("sci", to=lambda sci: sci.astype("f2")), None),
    "sci all NaN": (changed("sci", to=lambda sci: sci * np.nan), None),
    "no sci": (lambda ds, *_: ds.drop_vars("sci"), "sci"),
    "no dq": (lambda ds, *_: ds.drop_vars("dq"), None),
    "no err": (lambda ds, *_: ds.drop_vars("err"), None),
    "only sci": (lambda ds, *_: ds[["sci"]], None),
    "dq float": (changed("dq", to=lambda dq: dq.astype(float)), None),
    "dq fractions": (changed("dq", to=lambda dq: dq + 0.5), "coadd"),
    "dq negative": (changed("dq", to=lambda dq: dq - 5.0), "subtract"),
    "dq infinite": (changed("dq", to=lambda dq: dq + np.inf), "coadd"),
    "dq bool": (changed("dq", to=lambda dq: dq > 0), None),
    "dq text": (changed("dq", to=lambda dq: dq.astype(str)), "astype"),
    "dq one image": (lambda ds, *_: ds.assign(dq=ds["dq"].isel(integration=0, drop=True)), None),
    "dq chunked fractions": (lambda ds, *_: ds.assign(dq=ds["dq"] + 0.5).chunk({"integration": 1}), "coadd"),
    "err negative": (changed("err", to=lambda err: -err), "subtract"),
    "err chunked negative": (lambda ds, *_: ds.assign(err=-ds["err"]).chunk({"integration": 1}), "subtract"),
    "err NaN": (changed("err", to=lambda err: err * np.nan), None),
    "err zero": (changed("err", to=lambda err: err * 0), None),
    "err integers": (changed("err", to=lambda err: err.fillna(0).astype(int)), None),
    "var text": (changed("var_rnoise", to=lambda var: var.astype(str)), "astype"),
}
AWKWARD = EVERYTHING | ONE


@pytest.fixture(params=AWKWARD)
def case(request, analyzed, another, miri_exposure):
    change, remedy = AWKWARD[request.param]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the arithmetic
        return change(analyzed, another, miri_exposure), remedy


def loaded(result):
    return result.compute() if isinstance(result, xr.Dataset) else result


def attempt(step, ds):
    """Run a step to its values; any exception but an `XtaError` fails the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XtaWarning)
        with suppress(XtaError):
            loaded(step(ds))
    plt.close("all")


def test_recenter_works_or_names_remedy(case):
    ds, remedy = case
    if remedy is None:
        assert loaded(ds.ta.recenter(size=21)).sizes["x"] == 21
    else:
        with pytest.raises(XtaError, match=remedy):
            loaded(ds.ta.recenter(size=21))


def test_every_step_works_or_raises_xta_error(case, analyzed, reference, tmp_path):
    ds, _ = case
    image = np.nan_to_num(analyzed["sci"].isel(integration=0).values[5:-5, 5:-5])
    steps = (
        lambda ds: ds.ta.coadd(),
        lambda ds: ds.ta.coadd(method="median"),
        lambda ds: ds.ta.coadd(method="sigma_clip"),
        lambda ds: ds.ta.subtract(analyzed),
        analyzed.ta.subtract,
        lambda ds: ds.ta.estimate_center(template=image),
        lambda ds: xta.klip(ds, reference=reference, numbasis=1),
        lambda ds: ds.ta.to_fits(tmp_path / "a_calints.fits"),
        lambda ds: ds.ta.plot.science(),
        lambda ds: xta.to_netcdf(ds, tmp_path / "a.nc"),
        lambda ds: repr(ds.ta),
    )
    for step in steps:
        attempt(step, ds)


@pytest.mark.parametrize("name", ["mean", "minus another", "minus MIRI", "complex", "mean along x", "no integration"])
def test_analysis_works_or_raises_xta_error(name, analyzed, another, miri_exposure, tmp_path):
    ds = EVERYTHING[name][0](analyzed, another, miri_exposure)
    steps = (
        lambda ds: ds.ta.attach(offline=True),
        lambda ds: ds.ta.compute_offset(),
        lambda ds: ds.ta.adjust_wcs(),
        lambda ds: ds.ta.estimates(oss=False),
        lambda ds: ds.ta.report(tmp_path / "a.html"),
    )
    for step in steps:
        attempt(step, ds)
        if name.startswith("minus"):
            with pytest.raises(MissingError, match=r"ta\.subtract"):
                step(ds)


def test_checked_makes_flags_of_where_whole(analyzed):
    dq = analyzed["dq"].values
    masked = analyzed.where(analyzed["x"] > 140)
    assert masked["dq"].dtype == float
    flags = pixels.checked(masked)["dq"]
    assert flags.dtype == np.uint32
    beyond = np.broadcast_to(analyzed["x"].values > 140, dq.shape)
    np.testing.assert_array_equal(flags.values, np.where(beyond, dq, 1))


def test_checked_keeps_what_is_right(analyzed):
    checked = pixels.checked(analyzed)
    assert checked is analyzed
    big = analyzed.assign(sci=analyzed["sci"].astype(">f4"), dq=analyzed["dq"].astype("i8"))
    assert pixels.checked(big)["sci"].dtype == np.dtype("=f4")
    assert pixels.checked(big)["dq"].dtype == np.int64


def test_checked_repeats_one_mask_for_all(analyzed):
    mask = xr.zeros_like(analyzed["dq"].isel(integration=0, drop=True)).astype(bool)
    mask[3, 4] = True
    flags = pixels.checked(analyzed.assign(dq=mask))["dq"]
    assert flags.dims == analyzed["sci"].dims
    assert (flags[:, 3, 4] == 1).all()
    assert int(flags.sum()) == analyzed.sizes["integration"]


def test_checked_is_lazy_and_raises_when_computed(analyzed):
    ds = pixels.checked(analyzed.assign(err=-analyzed["err"]).chunk({"integration": 1}))
    with pytest.raises(ArgumentError, match="negative"):
        ds["err"].compute()
    assert ds["sci"].chunks is not None
    ds["sci"].compute()


@pytest.mark.parametrize("chunks", [None, {"integration": 1}])
def test_checked_takes_few_negative_errors_as_not_known(analyzed, chunks):
    wrong = np.zeros(analyzed["err"].shape, dtype=bool)
    wrong[:, 3, 4] = wrong[:, 5, 6] = True
    ds = analyzed.assign(err=analyzed["err"].where(~wrong, -1.0))
    with pytest.warns(XtaWarning, match=f"negative at {2 if chunks else wrong.sum()} pixels"):
        err = pixels.checked(ds.chunk(chunks) if chunks else ds)["err"].values
    np.testing.assert_array_equal(err, analyzed["err"].where(~wrong))
    assert (err.dtype, (ds["err"] < 0).sum()) == (analyzed["err"].dtype, wrong.sum())


def test_steps_take_negative_errors_of_real_files(shared):
    """AU Mic: other software resampled the errors, and a few beside outliers came out negative."""
    path = shared / "real" / "nircam_aumic" / "jw01184005001_03107_00001_nrcalong_calints.fits"
    with pytest.warns(XtaWarning, match="INT_TIMES|IMSHIFTS"):
        ds = xta.open_exposure(path).load().ta.set_star(150.0, 174.0, source="the file")
    assert int((ds["err"] < 0).sum()) == 2
    for step in (ds.ta.recenter, ds.ta.coadd):
        with pytest.warns(XtaWarning, match="negative at 2 pixels"):
            result = step()
        assert not (result["err"] < 0).any()
        without = getattr(ds.drop_vars("err").ta, step.__name__)()
        np.testing.assert_array_equal(result["sci"], without["sci"])  # the values stay in use


def test_difference_of_stack_is_refused(analyzed, another):
    stack = xta.stack([analyzed, analyzed.assign_coords(filename="c.fits", source="/c.fits")])
    with pytest.raises(MissingError, match=r"ta\.subtract"):
        (stack - another).ta.recenter(size=21)
    image = another.ta.coadd()
    difference = stack.ta.subtract(image)
    assert difference["sci"].dims == ("exposure", "integration", "y", "x")
    assert difference["filename"].values.tolist() == stack["filename"].values.tolist()


def test_difference_of_exposures_keeps_separation_where_alike(analyzed, build_wcs):
    """WCSs turned about the star by so many degrees: below 1e-6 the angles are the same, above not."""
    from scipy.spatial.transform import Rotation

    from xta.geometry import sky, wcs

    lon, lat = np.deg2rad([float(analyzed["target_ra"]), float(analyzed["target_dec"])])
    star = np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    first = analyzed.ta.recenter(size=21)
    for turn, same in ((0, True), (5e-7, True), (5e-6, False), (10, False)):
        rotation = Rotation.from_rotvec(star * np.deg2rad(turn)).as_matrix()
        turned = sky.assign_wcs(analyzed, wcs.dump(wcs.adjust(sky.the_wcs(analyzed), rotation)))
        difference = first - turned.assign_coords(filename="b.fits", source="").ta.recenter(size=21)
        assert "separation" in difference.coords, turn
        assert ("position_angle" in difference.coords) == same, turn
        np.testing.assert_array_equal(difference["separation"], first["separation"])
        with pytest.raises(MissingError, match=r"ta\.subtract"):
            difference.ta.coadd()
    other_scale = sky.assign_wcs(analyzed, wcs.dump(build_wcs(scale=0.07))).ta.recenter(size=21)
    assert "separation" not in (first - other_scale).coords
