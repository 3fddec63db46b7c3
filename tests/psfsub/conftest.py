"""A small sample: two rolls and a reference star, speckles with white noise, and the image of a point source."""

from functools import partial
from types import SimpleNamespace

import pytest

from tests import speckles
from xta.psfsub import inject


@pytest.fixture(scope="session")
def small(build_wcs):
    make = partial(speckles.make_exposure, build_wcs, integrations=3)
    about = {"date_beg": "2024-03-10T02:00:00", "date_end": "2024-03-10T03:00:00"}
    star = {"target_x_err": 0.05, "target_y_err": 0.05, "target_xy_corr": 0.0}
    rolls = [make(seed, roll=roll).assign_attrs(about).assign_coords(star) for seed, roll in ((1, 75.0), (2, 85.0))]
    return SimpleNamespace(rolls=rolls, reference=make(3), psf=speckles.point_source(), make=make)


@pytest.fixture(scope="session")
def with_sources(small):
    """Function that puts sources (separation, position angle, flux) into both rolls."""

    def put(*sources):
        rolls = small.rolls
        for separation, angle, flux in sources:
            options = {"separation": separation, "position_angle": angle, "flux": flux, "psf": small.psf}
            rolls = [inject(ds, **options) for ds in rolls]
        return rolls

    return put
