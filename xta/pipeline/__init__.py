"""A step of the JWST calibration pipeline: the corrected product, written by ``strun`` or within a pipeline.

Examples
--------
On a command line, for one exposure with its acquisition beside it::

    strun xta.TargetAcquisitionStep jw01386001001_0310e_00001_nrcalong_calints.fits --offline=true
"""

import importlib
from typing import Any

__all__ = ["TargetAcquisitionStep", "get_steps"]


def get_steps() -> list[tuple[str, str, bool]]:
    """List the steps for the entry point ``stpipe.steps``: name of the class, alias, whether it is a pipeline."""
    return [("xta.pipeline.TargetAcquisitionStep", "target_acquisition", False)]


def __getattr__(name: str) -> Any:
    """Import the step when it is used: the pipeline's modules take seconds, and the list of steps needs none."""
    if name == "TargetAcquisitionStep":
        return importlib.import_module("xta.pipeline.step").TargetAcquisitionStep
    msg = f"module 'xta.pipeline' has no attribute {name!r}"
    raise AttributeError(msg)
