"""Make sample visits with known truth for every kind of target acquisition.

The files look like those in the archive, including the pipeline's own GWCS, and the event logs like those of
the engineering database. The geometry is that of the SIAF, and the true pixel of the star in every file is known to
machine precision.

Examples
--------
>>> from xta import datasets
>>> program = datasets.make_program("sample")  # doctest: +SKIP
>>> program.truth.star_x  # doctest: +SKIP
"""

from xta.datasets.modes import ACQUISITIONS, SETUPS, Setup
from xta.datasets.pixels import psf
from xta.datasets.visits import Program, Visit, make_program, make_visit

__all__ = ["ACQUISITIONS", "SETUPS", "Program", "Setup", "Visit", "make_program", "make_visit", "psf"]
