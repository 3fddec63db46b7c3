"""Provide a step of the JWST calibration pipeline that corrects a product, for ``strun`` or within a pipeline.

Examples
--------
On the command line, for one exposure with its acquisition in the same folder::

    strun xta.TargetAcquisitionStep jw01386001001_0310e_00001_nrcalong_calints.fits --offline=true
"""

import importlib
from typing import Any

__all__ = ["TargetAcquisitionStep", "get_steps"]


def get_steps() -> list[tuple[str, str, bool]]:
    """List the steps for the entry point ``stpipe.steps``: class name, alias, and True for a pipeline."""
    return [("xta.pipeline.TargetAcquisitionStep", "target_acquisition", False)]


def __getattr__(name: str) -> Any:
    """Import the step when it is used, since importing the pipeline takes seconds and listing the steps needs none."""
    if name == "TargetAcquisitionStep":
        return importlib.import_module("xta.pipeline.step").TargetAcquisitionStep
    msg = f"module 'xta.pipeline' has no attribute {name!r}"
    raise AttributeError(msg)
