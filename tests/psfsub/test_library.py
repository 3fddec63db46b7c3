"""Which frames of the library model an exposure: the closest, by correlation or by the offset of the mask."""

import numpy as np
import pytest

from xta.errors import ArgumentError, KlipError
from xta.psfsub import klip
from xta.psfsub.components import Library, Section
from xta.psfsub.frames import prepare

EVERYWHERE = Section(0.0, 20.0, np.ones((41, 41), dtype=bool))


def admitted(small, references, **options):
    frames = prepare(small.rolls[:1], references)
    return Library(frames, [0.0], mode="RDI", movement=1.0, **options).admitted(0, EVERYWHERE)


def test_closest_by_correlation_passes_over_the_odd_star(small):
    odd = small.make(8)
    odd["sci"] += 3 * np.exp(-np.hypot(odd["x"] - 8, odd["y"]) / 2)
    chosen = admitted(small, [odd, small.reference], closest=3)
    np.testing.assert_array_equal(chosen, [False] * 6 + [True] * 3)


def test_closest_by_offset_of_the_mask(small):
    at = ((0.0, 0.0), (0.5, 0.0), (0.1, 0.1))
    rolls = [small.rolls[0].assign_coords(mask_x=0.1, mask_y=0.0)]
    stars = [small.make(seed).assign_coords(mask_x=x, mask_y=y) for seed, (x, y) in enumerate(at, start=4)]
    frames = prepare(rolls, stars)
    library = Library(frames, [0.0], mode="RDI", movement=1.0, closest=6, closest_by="offset")
    np.testing.assert_array_equal(np.unique(library.owner[library.admitted(0, EVERYWHERE)]), [1, 3])
    with pytest.raises(KlipError, match="mask from the star"):
        admitted(small, [small.reference], closest=2, closest_by="offset")


def test_klip_with_closest_frames(small):
    image = klip(small.rolls, reference=[small.reference, small.make(4)], closest=4, numbasis=[1, 4])
    assert (image.attrs["closest"], image.attrs["closest_by"]) == (4, "correlation")
    table = image.ta.companions(
        [(0.7, 20.0)], science=small.rolls, reference=[small.reference, small.make(4)], psf=small.psf
    )
    assert abs(float(table["snr"][0])) < 5
    with pytest.raises(KlipError, match="has 4 frames"):
        klip(small.rolls, reference=small.reference, closest=4, numbasis=5)
    for options in ({"closest": 0}, {"closest": 2, "closest_by": "color"}):
        with pytest.raises(ArgumentError, match="closest"):
            klip(small.rolls, reference=small.reference, **options)
