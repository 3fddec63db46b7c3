"""Read and write the GWCS of a JWST image as ASDF text."""

import hashlib
import io
import re
from typing import TYPE_CHECKING, cast
from weakref import WeakKeyDictionary

import numpy as np

from xta.errors import WCSError, damage, filtered
from xta.geometry import gwcsyaml, transforms
from xta.geometry.asdfguard import MAX_CONTENT, Checked, check, wcs_only
from xta.geometry.transforms import Function

if TYPE_CHECKING:
    from astropy.io.fits import HDUList
    from gwcs import WCS

__all__ = ["WcsText", "dump", "forward", "from_fits", "inverse", "is_shared", "load", "share"]

_read: dict[bytes, "WcsText"] = {}
"""Digest of the ASDF content of a file -> the text of its GWCS."""

_loaded: dict[str, "WCS"] = {}
"""Text -> its GWCS, which is shared."""

_joined: "WeakKeyDictionary[WCS, dict[str, Function | None]]" = WeakKeyDictionary()
"""Shared GWCS -> its steps to a frame, joined, once they were used."""

INVERSE = "inverse"
"""Key of the joined inverses, which lead from the sky to the pixels."""


class WcsText(str):
    """The ASDF text of a GWCS: a str whose repr, also in f-strings, is one short line.

    ``str(text)`` is the whole text, which Zarr and others store as the value.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<GWCS as ASDF text, {len(self)} characters>"

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)


def _words(error: Exception) -> str:
    """Describe an error of asdf in one line; the original message quotes whole schemas."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]:.200}"


def _parsed(content: bytes) -> object:
    """Read the WCS in ASDF content: ``wcs``, or ``meta.wcs`` of a product."""
    checked = check(content)
    return gwcsyaml.read(checked.node, checked.arrays) or _by_asdf(checked)


def _by_asdf(checked: Checked) -> object:
    import asdf

    # Text written by another version of asdf is read as well, since only the values that it evaluates to matter.
    with filtered("ignore", asdf.exceptions.AsdfWarning), asdf.config_context() as config:
        config.validate_on_read = False
        try:
            # The tree stays usable after the file is closed: its arrays are inline or read here.
            with asdf.open(io.BytesIO(wcs_only(checked)), lazy_load=False, lazy_tree=True, memmap=False) as file:
                return file.tree["wcs"]
        except WCSError:
            raise
        except damage() as error:
            msg = f"the ASDF content cannot be read ({_words(error)})"
            raise WCSError(msg) from error


def _checked(wcs: object, where: str) -> "WCS":
    """Return a WCS from two pixel coordinates to ICRS; refuse any other, such as that of a spectrograph."""
    import gwcs

    if not isinstance(wcs, gwcs.WCS):
        msg = f"{where} contains no GWCS but {type(wcs).__name__}; use a product on which assign_wcs has run"
        raise WCSError(msg)
    try:
        frame, transform = wcs.output_frame, wcs.forward_transform
        axes = getattr(transform, "n_inputs", 0), getattr(transform, "n_outputs", 0)
        sky = isinstance(frame, gwcs.CelestialFrame) and getattr(frame.reference_frame, "name", None) == "icrs"
    except damage() as error:  # a step without a transform, or one whose frames do not fit
        msg = f"{where} contains a GWCS that cannot be put together ({_words(error)}); fetch the product again"
        raise WCSError(msg) from error
    if axes != (2, 2) or not sky:
        msg = (
            f"{where} contains a GWCS of {axes[0]} inputs and {axes[1]} outputs ({getattr(frame, 'name', frame)}), not "
            "one from the pixels x, y to ICRS right ascension and declination; use an imaging product"
        )
        raise WCSError(msg)
    if not np.isfinite(transform.parameters).all():
        msg = f"{where} contains a GWCS with coefficients that are not finite; fetch the product again"
        raise WCSError(msg)
    return wcs


def share(text: WcsText, wcs: "WCS") -> WcsText:
    """Keep a GWCS, which nobody may change any more, for the next `load` of its text; return the text."""
    _joined[wcs] = {}
    gwcsyaml.remember(_loaded, str(text), wcs)
    return text


def is_shared(wcs: "WCS") -> bool:
    """Return True for a GWCS from `load`, which nobody changes."""
    return wcs in _joined


def forward(wcs: "WCS", to: str = "") -> Function:
    """Join the steps of a GWCS from the pixels to a frame of this name, by default the sky; of a shared one, once."""
    known = _joined.get(wcs, {})
    if to not in known:
        last = wcs.available_frames.index(to) if to else -1
        known[to] = transforms.forward([step.transform for step in wcs.pipeline[:last]])
    return cast("Function", known[to])


def inverse(wcs: "WCS") -> Function | None:
    """Join the inverses of the steps of a GWCS from the sky to the pixels; None if a step has none."""
    known = _joined.get(wcs, {})
    if INVERSE not in known:
        try:
            known[INVERSE] = transforms.backward([step.transform for step in wcs.pipeline[:-1]])
        except NotImplementedError:
            known[INVERSE] = None
    return known[INVERSE]


def dump(wcs: "WCS") -> WcsText:
    """Write a GWCS as ASDF text with inline arrays.

    Parameters
    ----------
    wcs : gwcs.WCS

    Returns
    -------
    WcsText
        12 to 25 kB; `load` gives a WCS that evaluates to the same bits. After `adjust` the last digit may differ, since
        a rotation has degrees in the text and radians in memory. Equal in every process.

    Raises
    ------
    WCSError
        If asdf cannot write it, for instance because its schemas forbid a value.
    """
    return WcsText(gwcsyaml.write(wcs) or _written_by_asdf(wcs))


def _written_by_asdf(wcs: "WCS") -> str:
    import asdf

    file = io.BytesIO()
    try:
        asdf.AsdfFile({"wcs": wcs}).write_to(file, all_array_storage="inline")
    except damage() as error:
        msg = f"the WCS cannot be written as ASDF ({_words(error)}); is it damaged?"
        raise WCSError(msg) from error
    # The list of extensions used is in the order of a set, which differs between processes.
    return re.sub(r"^history:\n(?:[ -].*\n)+", "", file.getvalue().decode(), count=1, flags=re.MULTILINE)


def load(text: str) -> "WCS":
    """Parse the ASDF text of a GWCS; equal text is parsed once.

    Parameters
    ----------
    text : str

    Returns
    -------
    gwcs.WCS
        Shared between callers, and its transforms with the WCSs of other texts, so it must not be changed; change a
        ``copy.deepcopy`` of it.

    Raises
    ------
    WCSError
        If the text is not ASDF or contains no GWCS from two pixel coordinates to ICRS.
    """
    text = str(text)
    known = _loaded.get(text)
    if known is None:
        known = _checked(_parsed(text.encode()), "the ASDF text")
        share(WcsText(text), known)
    return known


def from_fits(hdus: "HDUList") -> WcsText:
    """Read the GWCS of an open JWST product: ``meta.wcs`` in its ASDF extension."""
    if "ASDF" not in hdus:
        msg = "there is no ASDF extension, so no GWCS; use a product on which assign_wcs has run (S_WCS COMPLETE)"
        raise WCSError(msg)
    if (size := hdus["ASDF"].size) > MAX_CONTENT:
        msg = f"the ASDF extension has {size} bytes, more than {MAX_CONTENT}; fetch the product again"
        raise WCSError(msg)
    table = hdus["ASDF"].data
    try:
        content = table["ASDF_METADATA"].tobytes() if hasattr(table, "names") else table.tobytes()
    except (AttributeError, KeyError) as error:
        msg = f"the ASDF extension is empty or has no column ASDF_METADATA ({error}); fetch the product again"
        raise WCSError(msg) from error
    # The acquisition of a visit is opened for each of its exposures: equal content is parsed once.
    digest = hashlib.sha256(content).digest()
    text = _read.get(digest)
    if text is None:
        wcs = _checked(_parsed(content), "the ASDF extension (meta.wcs)")
        text = share(gwcsyaml.remember(_read, digest, dump(wcs)), wcs)
    return text
