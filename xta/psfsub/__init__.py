"""Subtract the star's PSF by KLIP with pyKLIP's engine, and convert frames for pyKLIP and VIP.

pyKLIP is an optional dependency, ``pip install "xta[klip]"``.
"""

from xta.psfsub.adaptors import to_pyklip, to_vip
from xta.psfsub.companions import companions
from xta.psfsub.contrast import contrast
from xta.psfsub.derotate import derotate
from xta.psfsub.detection import snr
from xta.psfsub.injection import inject
from xta.psfsub.photometry import star_flux
from xta.psfsub.subtract import klip

__all__ = ["companions", "contrast", "derotate", "inject", "klip", "snr", "star_flux", "to_pyklip", "to_vip"]
