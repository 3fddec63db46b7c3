"""Interpret JWST data-quality flags: find pixels that must not be used, and describe the flags by CF attributes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["DO_NOT_USE", "OUTLIER", "SATURATED", "bad_pixels", "flag_attrs"]

DO_NOT_USE, SATURATED, OUTLIER = 1, 2, 16
"""Bits of these JWST flags (stdatamodels.jwst.datamodels.dqflags.pixel)."""


def bad_pixels(sci: NDArray[np.floating[Any]], dq: NDArray[np.integer[Any]] | None = None) -> NDArray[np.bool_]:
    """Mark the pixels that must not be used: `sci` is not finite, or `dq` has DO_NOT_USE.

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
    """Describe the JWST flags by CF attributes: ``flag_masks`` (uint32) and ``flag_meanings``."""
    masks = np.left_shift(np.uint32(1), np.arange(32, dtype=np.uint32))
    return {"standard_name": "status_flag", "flag_masks": masks, "flag_meanings": " ".join(_NAMES.split())}


_NAMES = """
DO_NOT_USE SATURATED JUMP_DET DROPOUT OUTLIER PERSISTENCE AD_FLOOR CHARGELOSS RESERVED NON_SCIENCE DEAD HOT WARM LOW_QE
RC TELEGRAPH NONLINEAR BAD_REF_PIXEL NO_FLAT_FIELD NO_GAIN_VALUE NO_LIN_CORR NO_SAT_CHECK UNRELIABLE_BIAS
UNRELIABLE_DARK UNRELIABLE_SLOPE UNRELIABLE_FLAT OPEN ADJ_OPEN FLUX_ESTIMATED MSA_FAILED_OPEN OTHER_BAD_PIXEL
REFERENCE_PIXEL
"""  # those of stdatamodels.jwst.datamodels.dqflags.pixel from bit 0 on; a test compares them
