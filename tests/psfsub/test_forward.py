"""The forward model of KLIP: exact where a source is taken out, and to first order that of pyKLIP."""

import numpy as np
import pytest
from pyklip import fm
from pyklip import klip as engine

from xta.errors import ArgumentError
from xta.psfsub import north
from xta.psfsub.components import Library, divide
from xta.psfsub.forward import Forward, Light, Source, without
from xta.psfsub.frames import prepare

ANGLE = 140.0
EAST, NORTH = 0.7 * np.sin(np.deg2rad(ANGLE)), 0.7 * np.cos(np.deg2rad(ANGLE))


def library_of(frames, mode):
    return Library(frames, [north.up_angle(exposure.ds) for exposure in frames.science], mode=mode, movement=0.5)


@pytest.mark.parametrize("mode", ["ADI", "RDI", "ADI+RDI"])
@pytest.mark.parametrize(("annuli", "subsections"), [(1, 1), (3, 4)])
def test_residual_equals_subtraction_without_source(small, with_sources, mode, annuli, subsections):
    fluxes, number = (3.0, 1.0), 2
    rolls = with_sources((0.7, ANGLE, sum(fluxes)))
    rolls[1]["sci"][:, 25, 30] = np.nan
    frames = prepare(rolls, small.reference)
    sections = divide(frames.shape, annuli=annuli, subsections=subsections, inner=0, outer=None)
    light = Light.of(small.psf)
    forward = Forward(library_of(frames, mode), sections, number, light)
    window = forward.window(EAST, NORTH, 6)
    for flux in (0.0, *fluxes):
        cleaned = without(frames, light, [Source(EAST, NORTH, flux)] if flux else [])
        full = library_of(cleaned, mode).residuals(sections, [number], engine)
        expected = [
            np.nan_to_num(each[:, 0]).mean(axis=0)[tuple(w)] * 3**0.5 for each, w in zip(full, window, strict=True)
        ]
        found = forward.residual(Source(EAST, NORTH, flux), window)
        np.testing.assert_allclose(found, np.concatenate(expected), rtol=0, atol=1e-10)


@pytest.mark.parametrize("number", [1, 3])
def test_residual_to_first_order_is_that_of_pyklip(small, number):
    frames = prepare(small.rolls, small.reference)
    light = Light.of(small.psf)
    library = library_of(frames, "ADI+RDI")
    sections = divide(frames.shape, annuli=1, subsections=1, inner=0, outer=None)
    forward = Forward(library, sections, number, light)
    window = forward.window(EAST, NORTH, 6)
    step = 1e-6
    now, then = (forward.residual(Source(EAST, NORTH, flux), window) for flux in (0.0, step))
    images = np.zeros((9, *frames.shape))
    for k, exposure in enumerate(frames.science):
        box, values = light.image(exposure, EAST, NORTH)
        images[3 * k : 3 * k + 3, *box] = values
    images = images[:, library.usable]
    images -= images.mean(axis=1, keepdims=True)
    values = library.filled[:, library.usable]
    expected = []
    for k in range(2):
        others, own = library.admitted(k, sections[0]), library.owner == k
        refs = values[others]
        _, basis, evals, evecs = engine.klip_math(
            values[own][0], refs, np.array([len(refs)]), return_basis_and_eig=True
        )
        change = fm.perturb_specIncluded(evals, evecs, basis, refs, images[others])
        models = []
        for frame, image in zip(values[own], images[own], strict=True):
            psf, _, _ = fm.calculate_fm(change[:number], basis[:number], np.array([number]), frame, image)
            models.append(np.reshape(psf, -1))
        full = np.zeros(frames.shape)
        full[library.usable] = np.mean(models, axis=0)
        expected.append(full[tuple(window[k])] * 3**0.5)
    np.testing.assert_allclose((now - then) / step, np.concatenate(expected), rtol=0, atol=1e-6)


def test_light_is_dimmed_by_transmission(small):
    frames = prepare(small.rolls[:1], small.reference)
    half = Light.of(small.psf, np.full((41, 41), 0.5))
    np.testing.assert_array_equal(
        2 * half.image(frames.science[0], EAST, NORTH)[1], Light.of(small.psf).image(frames.science[0], EAST, NORTH)[1]
    )


@pytest.mark.parametrize("name", ["psf", "transmission"])
def test_light_refuses_image_without_center(small, name):
    images = {"psf": small.psf} | {name: np.ones((4, 5))}
    with pytest.raises(ArgumentError, match=f"{name} has shape"):
        Light.of(**images)
