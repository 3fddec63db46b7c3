"""JWST data-quality flags: which pixels not to use, and how CF attributes describe the flags."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["DO_NOT_USE", "OUTLIER", "SATURATED", "bad_pixels", "flag_attrs"]

DO_NOT_USE, SATURATED, OUTLIER = 1, 2, 16
"""Bits of these JWST flags (stdatamodels.jwst.datamodels.dqflags.pixel)."""


def bad_pixels(sci: NDArray[np.floating[Any]], dq: NDArray[np.integer[Any]] | None = None) -> NDArray[np.bool_]:
    """Mark the pixels that no measurement may use: where `sci` is not finite or `dq` says DO_NOT_USE.

    Examples
    --------
    >>> bad_pixels(np.array([1.0, np.nan, 2.0]), np.array([0, 0, 5], dtype=np.uint32)).tolist()
    [False, True, True]
    """
    bad: NDArray[np.bool_] = ~np.isfinite(sci)
    if dq is not None:
        bad |= (dq & np.asarray(DO_NOT_USE, dtype=dq.dtype)).astype(bool)
    return bad


def flag_attrs() -> dict[str, Any]:
    """Describe the JWST flags as CF does: ``flag_masks`` (uint32) and ``flag_meanings``."""
    from stdatamodels.jwst.datamodels import dqflags

    flags = {name: mask for name, mask in dqflags.pixel.items() if mask}
    return {
        "standard_name": "status_flag",
        "flag_masks": np.array(list(flags.values()), dtype=np.uint32),
        "flag_meanings": " ".join(flags),
    }
