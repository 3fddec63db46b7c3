"""Define the target acquisition as a step of stpipe, with parameters and a status; it also works as a hook."""

import io
import logging
from pathlib import Path
from typing import Any

import xarray as xr
from jwst.datamodels import ModelContainer
from jwst.stpipe import Step

from xta.acquisition.analyze import analyze
from xta.errors import XtaError
from xta.io.backend import open_exposure
from xta.io.cards import set_status
from xta.io.tofits import correct_model

__all__ = ["TargetAcquisitionStep"]

logger = logging.getLogger(__name__)


class TargetAcquisitionStep(Step):  # type: ignore[misc] # jwst has no types
    """Correct the WCS of a coronagraphic exposure by its target acquisition, and write the star's position.

    The pixels do not change. The result has the keywords of `xta.io.tofits.to_fits` and the status ``S_TAXTA``.

    Notes
    -----
    Each exposure is analyzed by `xta.analyze`, with the given files or those beside its file, in the cache or in the
    archive. An association is corrected exposure by exposure. As a hook, the step receives a model from its parent,
    whose file is, or was, in the parent's input folder.
    """

    class_alias = "target_acquisition"

    spec = """
        acquisition = force_list(default=None) # Acquisition exposures, or their folder; found automatically by default
        oss = string(default=None) # Event log of the visit; found automatically by default
        targ_acq = string(default=None) # The _uncal of the acquisition, with its TARG_ACQ extension
        centroid = option("auto", "oss", "converged", "image", default="auto") # Centroid of the acquisition to use
        corrections = force_list(default=list("all")) # "all", "none", or some of "way", "filter"
        offline = boolean(default=False) # Do not use the archive
        skip_failed = boolean(default=False) # Pass on an exposure that cannot be corrected, with the status SKIPPED
        suffix = string(default="tacal") # Suffix of the output file
    """

    @staticmethod
    def get_stpipe_loggers() -> tuple[str, ...]:
        """Return the loggers whose messages are shown: those of the pipeline and of xta."""
        return (*Step.get_stpipe_loggers(), "xta")

    def process(self, exposures: Any) -> Any:
        """Correct an exposure, a list of them, or those of an association.

        Parameters
        ----------
        exposures : path, data model, ModelContainer or list

        Returns
        -------
        data model, ModelContainer or list
            An object of the same kind as the argument. Given data models do not change, except within a pipeline.

        Raises
        ------
        XtaError
            If an exposure cannot be corrected. With `skip_failed` its status is SKIPPED instead.
        """
        if isinstance(exposures, list):
            return [self.process(exposure) for exposure in exposures]
        product = self.prepare_output(exposures)
        home = Path(exposures).parent if isinstance(exposures, str | Path) else Path(self.input_dir or "")
        if not isinstance(product, ModelContainer):
            return self._correct(product, home)
        self.output_use_model = True  # each under its own name, not under that of the association
        listed = [member["expname"] for each in product.asn_table.get("products", []) for member in each["members"]]
        folders = {Path(path).name: (home / path).parent for path in listed}
        for k, member in enumerate(product):
            product[k] = self._correct(member, folders.get(str(member.meta.filename), home))
        return product

    def finalize_result(self, result: Any, reference_files_used: list[tuple[str, str]]) -> None:
        """Write the status in addition to the pipeline's own keywords, also for a step that was skipped."""
        super().finalize_result(result, reference_files_used)
        if self.skip and hasattr(result, "meta"):
            set_status(result, "SKIPPED")

    def _correct(self, product: Any, folder: Path) -> Any:
        try:
            with _opened(product, folder) as ds:
                correct_model(product, self._analyzed(ds))
        except XtaError as error:
            if not self.skip_failed:
                raise
            logger.warning("%s is passed on without a correction: %s", product.meta.filename, error)
            set_status(product, "SKIPPED")
        return product

    def _analyzed(self, ds: xr.Dataset) -> xr.Dataset:
        names = [name for name in self.corrections if name]
        return analyze(
            ds,
            acquisition=[str(self.make_input_path(path)) for path in self.acquisition or []] or None,
            oss=self.oss,
            targ_acq=self.targ_acq,
            centroid=self.centroid,
            corrections=names[0] if len(names) == 1 else names,
            offline=self.offline,
        )


def _opened(product: Any, folder: Path) -> xr.Dataset:
    """Open the current content of a data model, as if it had been read from a file in a folder."""
    from astropy.io import fits

    file, name = io.BytesIO(), Path(product.meta.filename or "").name  # pipelines put the output folder before it
    product.to_fits(file)
    file.seek(0)
    return open_exposure(fits.open(file, memmap=False)).assign_coords(source=str(folder / name))
