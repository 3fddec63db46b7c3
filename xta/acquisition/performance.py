"""What the observatory is good for, where a measurement cannot tell: published accuracies.

References
----------
.. [1] JWST User Documentation, "JWST Pointing Accuracy": after a target acquisition 5.5 mas for the near-infrared
   instruments and 14 mas for MIRI (1 sigma, radial).
.. [2] JWST User Documentation, "JWST Fine Guide Stability": about 1 mas for fixed targets and up to 6.7 mas for
   moving ones (1 sigma, each axis).
"""

import math

__all__ = ["GUIDING", "GUIDING_MOVING", "acquisition_accuracy"]

GUIDING = 1.0
"""Noise of the guider, one axis, one sigma [mas] [2]_."""

GUIDING_MOVING = 6.7
"""The same while a moving target is tracked [mas] [2]_."""


def acquisition_accuracy(instrument: str) -> float:
    """Give what a target acquisition is good for, one axis, one sigma [mas].

    Parameters
    ----------
    instrument : str
        As in the keyword INSTRUME.

    Examples
    --------
    >>> round(acquisition_accuracy("NIRCAM"), 2)
    3.89
    """
    return (14.0 if instrument.upper() == "MIRI" else 5.5) / math.sqrt(2)
