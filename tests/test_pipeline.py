"""The step of the JWST pipeline: the star of `xta.analyze`, through ``strun``, from models and as a hook."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import xta
from xta.errors import AcquisitionError, WCSError
from xta.io.tofits import to_fits

SAME = 1e-8  # [pixel]
PLAIN = {"centroid": "oss", "corrections": "none"}


@pytest.fixture(scope="module")
def step():
    return xta.pipeline.TargetAcquisitionStep


@pytest.fixture(autouse=True)
def _no_crds(monkeypatch):
    """Do without the server of reference files, which pipelines ask for the name of their context."""
    monkeypatch.setattr("stpipe.crds_client.get_context_used", lambda observatory: "none")
    monkeypatch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "true")


@pytest.fixture(scope="module")
def analyzed(nircam):
    return xta.analyze(nircam.science[0])


@pytest.fixture
def exposure(nircam):
    from jwst import datamodels

    with datamodels.open(nircam.science[0]) as model:
        yield model


def cards(result):
    extra = result.instance["extra_fits"]
    return {key: value for name in ("PRIMARY", "SCI") for key, value, *_ in extra.get(name, {}).get("header", [])}


def assert_star(header, ds):
    for axis in "xy":
        assert header[f"STARCEN{axis.upper()}"] - 1 == pytest.approx(ds[f"target_{axis}"].item(), abs=SAME)
        assert header[f"STAR{axis.upper()}ERR"] == pytest.approx(ds[f"target_{axis}_err"].item(), rel=1e-9)


def test_strun_writes_star_of_analyze_by_parameter_file(nircam, step, tmp_path):
    step(centroid="oss", corrections=["none"], offline=True).export_config(tmp_path / "pars.asdf")
    options = ["--output_dir", str(tmp_path), "--disable-crds-steppars"]
    command = [str(Path(sys.executable).parent / "strun"), str(tmp_path / "pars.asdf"), str(nircam.science[0])]
    done = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    path = tmp_path / nircam.science[0].name.replace("_calints", "_tacal")
    ds = xta.analyze(nircam.science[0], **PLAIN)
    with fits.open(path, memmap=False) as hdus, fits.open(nircam.science[0], memmap=False) as before:
        assert hdus[0].header["S_TAXTA"] == "COMPLETE"
        assert_star(hdus["SCI"].header, ds)
        for name in ("SCI", "ERR", "DQ"):
            np.testing.assert_array_equal(hdus[name].data, before[name].data)
    with xta.open_exposure(path) as again:
        assert xta.sky.world_to_pixel(again, ds["target_ra"].item(), ds["target_dec"].item()) == pytest.approx(
            (ds["target_x"].item(), ds["target_y"].item()), abs=SAME
        )
    with pytest.raises(WCSError, match="already been corrected"):
        xta.analyze(path, acquisition=nircam.ta[0], oss=nircam.oss_log)


def test_step_is_registered(step):
    from stpipe.utilities import import_class, resolve_step_class_alias

    assert resolve_step_class_alias("target_acquisition") == "xta.pipeline.TargetAcquisitionStep"
    for name in ("xta.pipeline.TargetAcquisitionStep", "xta.TargetAcquisitionStep"):
        assert import_class(name) is step
    with pytest.raises(AttributeError, match="nonsense"):
        _ = xta.pipeline.nonsense


def test_step_leaves_model_unchanged(nircam, exposure, step, analyzed):
    before = exposure.meta.wcs(100.0, 100.0), exposure.data.copy()
    result = step(offline=True, input_dir=str(nircam.science[0].parent)).run(exposure)
    assert_star(cards(result), analyzed)
    assert cards(result)["S_TAXTA"] == "COMPLETE"
    assert exposure.meta.wcs(100.0, 100.0) == before[0]
    assert result.meta.wcs(100.0, 100.0) != before[0]
    for data in (exposure.data, result.data):
        np.testing.assert_array_equal(data, before[1])


def test_step_takes_acquisition_by_name(nircam, exposure, step, tmp_path):
    options = {"acquisition": [str(path) for path in nircam.ta], "oss": str(nircam.oss_log), "offline": True}
    result = step(input_dir=str(tmp_path), centroid="oss", corrections=["way", "filter"], **options).run(exposure)
    ds = xta.analyze(nircam.science[0], centroid="oss", corrections=("way", "filter"))
    assert_star(cards(result), ds)


def test_step_without_acquisition_fails_or_hands_on(exposure, step, tmp_path):
    with pytest.raises(AcquisitionError, match="no TA exposure"):
        step(offline=True, input_dir=str(tmp_path)).run(exposure)
    result = step(offline=True, input_dir=str(tmp_path), skip_failed=True).run(exposure)
    assert cards(result)["S_TAXTA"] == "SKIPPED"
    assert "STARCENX" not in cards(result)
    assert result.meta.wcs(100.0, 100.0) == exposure.meta.wcs(100.0, 100.0)


def test_step_of_association_names_each_exposure(nircam, step, analyzed, tmp_path):
    for path in (*nircam.ta, *nircam.science, nircam.oss_log):
        (tmp_path / path.name).symlink_to(path)
    members = [{"expname": nircam.science[0].name, "exptype": "science"}]
    table = {"asn_type": "coron3", "asn_rule": "DMS_Level3_Base", "asn_id": "a3001", "program": "09990"}
    table |= {"asn_pool": "none", "products": [{"name": "jw09990-a3001", "members": members}]}
    (tmp_path / "asn.json").write_text(json.dumps(table))
    step(offline=True, output_dir=str(tmp_path / "out"), save_results=True).run(str(tmp_path / "asn.json"))
    with fits.open(tmp_path / "out" / nircam.science[0].name.replace("_calints", "_tacal")) as hdus:
        assert_star(hdus["SCI"].header, analyzed)


def test_step_is_hook_of_image2(nircam, step, analyzed):
    from jwst.pipeline import Image2Pipeline

    left_out = {name: {"skip": True} for name in ("bkg_subtract", "assign_wcs", "flat_field", "photom", "resample")}
    left_out["photom"]["post_hooks"] = ["xta.pipeline.TargetAcquisitionStep"]
    (result,) = Image2Pipeline(steps=left_out).run(str(nircam.science[0]))
    assert_star(cards(result), analyzed)
    left_out["photom"]["post_hooks"] = [step(skip=True)]
    left_out["photom"]["post_hooks"][0].parent = Image2Pipeline()
    (result,) = Image2Pipeline(steps=left_out).run(str(nircam.science[0]))
    assert cards(result)["S_TAXTA"] == "SKIPPED"


def test_step_is_hook_after_klip_and_not_before(nircam, exposure, analyzed):
    """A hook before a step of two arguments would have to take both, and could hand on but one."""
    from jwst.step import KlipStep

    hook, folder = ["xta.pipeline.TargetAcquisitionStep"], str(nircam.science[0].parent)
    exposure.data = np.nan_to_num(exposure.data)
    result = KlipStep(post_hooks=hook, input_dir=folder).run(exposure, exposure)
    assert_star(cards(result), analyzed)
    assert result.meta.cal_step.klip == "COMPLETE"
    with pytest.raises(TypeError, match="positional arguments"):
        KlipStep(pre_hooks=hook, input_dir=folder).run(exposure, exposure)


def test_to_fits_says_that_the_wcs_is_corrected(nircam, analyzed, tmp_path):
    to_fits(analyzed, tmp_path / "a_calints.fits")
    by_hand = xta.open_exposure(nircam.science[0]).ta.set_star(150.0, 170.0, source="by hand")
    to_fits(by_hand, tmp_path / "b_calints.fits")
    assert fits.getval(tmp_path / "a_calints.fits", "S_TAXTA") == "COMPLETE"
    assert "S_TAXTA" not in fits.getheader(tmp_path / "b_calints.fits")
