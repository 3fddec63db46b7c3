"""Define the records of an event log: target acquisitions, maneuvers, exposures, failures, visits."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

__all__ = ["NAN", "NAT", "Centroid", "Exposure", "Failure", "Row", "Sam", "Visit"]

NAN = math.nan
NAT = np.datetime64("NaT", "us")


class Row(NamedTuple):
    """One row of a log."""

    time: np.datetime64
    message: str
    id: int | None = None

    def __str__(self) -> str:
        return f"{str(self.time).replace('T', ' ')} {self.message}"


@dataclass(frozen=True)
class Centroid:
    """The result of the onboard software for one target-acquisition image.

    Missing numbers are NaN, missing words and counts None, and missing times NaT.

    Attributes
    ----------
    x_det, y_det : float
        Logged ``detector coord (colCentroid, rowCentroid)`` [1-based pixel of the full detector, SIAF Det].
        For NIRISS the log has column and row swapped with respect to SIAF Det; these are the logged values.
    time : datetime64
        Time of the row with the detector coordinates.
    start : datetime64
        Time of the first row of the block.
    visit : str or None
    detector : str or None
        Such as "NRCA3"; without the suffix "_LOS" that some logs give it.
    n_cols, n_rows : int or None
        Size of the centroid box [pixel].
    last_dx, last_dy : float
        Last step of the iteration, without its sign [pixel].
    moved_x, moved_y : float
        Centroid minus the brightest pixel, where the iteration began [pixel].
    converged : bool or None
        Whether `convergence` is "SUCCESS".
    convergence : str or None
        The logged word.
    failure : str or None
        Message of a failure logged for this acquisition.
    guider : int or None
    target_v2, target_v3 : float
        Logged target location [arcsec].
    sam_x, sam_y : float
        Requested small-angle maneuver, Ideal frame of the guider [arcsec].
    lines : tuple of str
        The rows themselves, "time message", to the last that belongs to the acquisition.
    """

    x_det: float = NAN
    y_det: float = NAN
    time: np.datetime64 = NAT
    start: np.datetime64 = NAT
    visit: str | None = None
    detector: str | None = None
    n_cols: int | None = None
    n_rows: int | None = None
    last_dx: float = NAN
    last_dy: float = NAN
    moved_x: float = NAN
    moved_y: float = NAN
    converged: bool | None = None
    convergence: str | None = None
    failure: str | None = None
    guider: int | None = None
    target_v2: float = NAN
    target_v3: float = NAN
    sam_x: float = NAN
    sam_y: float = NAN
    lines: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """True if the log reports a failure; False also if it contains nothing about it."""
        return self.converged is False or self.failure is not None

    @property
    def usable(self) -> bool:
        """True if the log has its position and reports no failure."""
        return not self.failed and math.isfinite(self.x_det + self.y_det)


@dataclass(frozen=True)
class Sam:
    """A small-angle maneuver in the log.

    Attributes
    ----------
    time : datetime64
    kind : str
        "ta" (to the reference point), "dither", "wedge" (the correction that NIRCam coronagraphy subtracts),
        "nrs" (NIRSpec) or "facet" (the half facet of the NIRSpec micro-shutters).
    x, y : float
        As logged: Ideal frame of the guider [arcsec].
    guider : int or None
    target_v2, target_v3 : float
        Target location logged for it [arcsec].
    visit : str or None
    """

    time: np.datetime64
    kind: str
    x: float
    y: float
    guider: int | None = None
    target_v2: float = NAN
    target_v3: float = NAN
    visit: str | None = None


@dataclass(frozen=True)
class Failure:
    """A row that reports a failure.

    Attributes
    ----------
    time : datetime64
    kind : str
        "guide star", "target locate", "convergence", "instrument", "visit" or "script".
    message : str
    visit : str or None
    """

    time: np.datetime64
    kind: str
    message: str
    visit: str | None = None


@dataclass(frozen=True)
class Exposure:
    """An exposure in the log.

    Attributes
    ----------
    time : datetime64
        Time of its completion, or of its beginning if the log has no completion.
    exposure : str
        Such as "102001": sequence (1), activity (2), exposure (3).
    exp_type : str
        As in the keyword EXP_TYPE, such as "NRC_TACQ".
    start : datetime64
        Time at which its parameters were logged, shortly before it began.
    visit : str or None
    """

    time: np.datetime64
    exposure: str
    exp_type: str
    start: np.datetime64 = NAT
    visit: str | None = None


@dataclass(frozen=True)
class Visit:
    """A visit in an event log.

    Attributes
    ----------
    visit : str
        Such as "V01386001001".
    start, end : datetime64
        Times of the rows STARTED and ENDED (or SKIPPED); NaT if the log lacks them.
    reason : str or None
        Text after ENDED, such as "SSR ALMOST FULL"; "" for an ordinary end, "SKIPPED" for a visit that
        was skipped, None if the log has no end.
    """

    visit: str
    start: np.datetime64
    end: np.datetime64
    reason: str | None
