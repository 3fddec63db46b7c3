"""The joined steps of a GWCS against gwcs and astropy: the same bits."""

import numpy as np
import pytest
from astropy import units as u
from astropy.modeling import models
from gwcs import WCS

from tests.test_gwcsyaml import content_of
from xta.geometry import gwcsyaml, transforms, wcs, wcstext

X, Y = np.array([0.0, 17.25, 319.5, -40.0, 1000.0]), np.array([3.5, 200.0, 0.25, 500.0, np.nan])


def steps(gwcs):
    return [step.transform for step in gwcs.pipeline[:-1]]


def assert_same(gwcs):
    sky = gwcs.forward_transform(X, Y, with_bounding_box=False)
    np.testing.assert_array_equal(transforms.forward(steps(gwcs))(X, Y), sky)
    back = gwcs.forward_transform.inverse(*sky, with_bounding_box=False)
    np.testing.assert_array_equal(transforms.backward(steps(gwcs))(*sky), back)


@pytest.mark.parametrize("path", ["published/*/*_cal*.fits", "real/*/*_calints.fits", "real/wcs/*.asdf"])
def test_real_wcs_gives_bits_of_gwcs(path, shared):
    paths = sorted(shared.glob(path))
    assert paths
    for each in paths:
        gwcs = wcstext._parsed(content_of(each))
        assert_same(gwcs)
        if "v2v3" in gwcs.available_frames:
            v = gwcs.get_transform(gwcs.available_frames[0], "v2v3")(X, Y, with_bounding_box=False)
            np.testing.assert_array_equal(wcs.pixel_to_v(gwcs, X, Y), v)


@pytest.mark.parametrize(
    "model",
    [
        models.Legendre2D(1, 1, c0_0=0.5, c1_0=1.0, c0_1=0.25, c1_1=1e-3) & models.Scale(2.0) | models.Identity(2),
        models.Mapping((0, 1, 0)) | models.Polynomial2D(1, c0_0=1, c1_0=2, c0_1=3) & models.Polynomial1D(1, c0=1, c1=2),
        models.Polynomial1D(2, c0=1, c1=2, c2=3, domain=[-5, 5], window=[-1, 1]) & models.Const1D(3.0),
        models.AffineTransformation2D([[1.0, 0.25], [-0.5, 2.0]], [3.0, 4.0]) | models.Rotation2D(30.0),
        (models.Shift(1.0) + models.Scale(2.0)) & models.Shift(0.5),
    ],
    ids=["Legendre", "one output", "window", "affine", "sum"],
)
def test_kinds_of_models_give_bits_of_astropy(model):
    values = (X, Y, Y)[: model.n_inputs]
    expected = model(*values)
    np.testing.assert_array_equal(transforms.forward([model])(*values), expected)


def test_model_with_units_is_called():
    """Its own method ``evaluate`` needs the units that its call removes."""
    model = models.Scale(2 * u.one) & models.Shift(1.0)
    np.testing.assert_array_equal(transforms.forward([model])(X, Y), model(X, Y))


def test_inverse_of_user_is_used(build_wcs):
    model = models.Shift(1.0) & models.Shift(2.0)
    model.inverse = models.Identity(2)
    assert transforms.backward([model])(X, Y) == (X, Y)
    model = models.Polynomial2D(1, c1_0=1) & models.Identity(1)
    with pytest.raises(NotImplementedError):
        transforms.backward([model])
    assert_same(build_wcs())


def test_only_steps_that_nobody_changes_are_kept(build_wcs):
    own = build_wcs()
    text = wcs.dump(own)
    first, second = wcs.load(text), wcs.load(wcs.dump(build_wcs(ra=151.0)))
    distortion, attitude = (steps(gwcs) for gwcs in (first, second))
    assert distortion[0] is attitude[0]
    assert distortion[-1] is not attitude[-1]
    before = wcs.pixel_to_world(first, X, Y)
    for gwcs in (own, wcs.adjust(first, np.eye(3)), wcs.shift(first, 0.0, 0.0)):
        assert gwcsyaml.shared.isdisjoint(steps(gwcs))
        changed = next(each for each in steps(gwcs)[0].traverse_postorder() if isinstance(each, models.Shift))
        changed.offset += 5.0
        assert wcs.pixel_to_world(gwcs, X, Y)[0][0] != before[0][0]
        assert wcs.dump(gwcs) != text
    np.testing.assert_array_equal(wcs.pixel_to_world(first, X, Y), before)
    assert wcs.dump(first) == text


def test_transform_with_part_of_another_step_is_not_kept(build_wcs):
    """It is written with an alias, as asdf does, which a step by itself does not have."""
    plain = build_wcs()
    part = models.Shift(0.123) & models.Shift(0.456)
    frames = [step.frame for step in plain.pipeline]
    first, *rest = steps(plain)
    moved = part | first, part | rest[0], *rest[1:], None
    gwcs = WCS(list(zip(frames, moved, strict=True)))
    text = wcs.dump(gwcs)
    assert text.count("offset: 0.123") == 1
    again = wcs.load(text)
    assert gwcsyaml.shared.isdisjoint(steps(again))
    assert wcs.dump(again) == text
    assert wcs.pixel_to_world(again, 10.0, 20.0) == wcs.pixel_to_world(gwcs, 10.0, 20.0)


def test_number_of_kept_steps_is_limited(build_wcs, monkeypatch):
    monkeypatch.setattr(gwcsyaml, "REMEMBERED", 3)
    texts = [wcs.dump(build_wcs(ra=10.0 + n)) for n in range(5)]
    distortions = {id(steps(wcstext._parsed(text.encode()))[0]) for text in texts}
    assert len(distortions) == 1  # used last, each time
    assert len(gwcsyaml._known) == 3


def test_equal_steps_are_not_kept(build_wcs):
    """As one object they would be written with an alias, in a process that has read them before."""
    plain = build_wcs()
    frames = [step.frame for step in plain.pipeline]
    twice = [models.Scale(2.0) & models.Scale(3.0) for _ in range(2)]
    texts = []
    for shift in (1.0, 2.0):
        moved = models.Shift(shift) & models.Shift(shift) | steps(plain)[0]
        texts.append(wcs.dump(WCS(list(zip([*frames[:2], "other", frames[-1]], [moved, *twice, None], strict=True)))))
    assert [wcs.dump(wcs.load(text)) for text in texts] == texts


def test_no_inverse_is_remembered(build_wcs, monkeypatch):
    gwcs = build_wcs()
    del gwcs.pipeline[0].transform.inverse
    loaded = wcs.load(wcs.dump(gwcs))
    assert wcstext.inverse(loaded) is None
    monkeypatch.setattr(transforms, "backward", None)
    assert wcstext.inverse(loaded) is None
