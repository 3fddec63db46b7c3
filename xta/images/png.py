"""Small gray pictures as PNG, without a library for drawing."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

__all__ = ["gray_png", "stretched"]


def stretched(image: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Turn an image into 256 grays by an asinh stretch on its background; pixels that are not finite are black.

    Parameters
    ----------
    image : array of shape (ny, nx)

    Returns
    -------
    array of shape (ny, nx)
    """
    good = np.isfinite(image)
    if not good.any():
        return np.zeros(image.shape, dtype=np.uint8)
    low, level, high = np.percentile(image[good], [16, 50, 100])
    width = 3 * (level - low) or 1.0
    scaled = np.arcsinh((np.where(good, image, low) - low) / width)
    top = float(np.arcsinh((high - low) / width)) or 1.0
    return np.asarray(np.clip(255 * scaled / top, 0, 255) * good, dtype=np.uint8)


def gray_png(pixels: NDArray[np.uint8]) -> bytes:
    """Write pixels as a PNG, the first row at the bottom as in all pictures of this package.

    Parameters
    ----------
    pixels : array of shape (ny, nx)
        0 is black.

    References
    ----------
    PNG (Portable Network Graphics) Specification, third edition, W3C (2025).
    """
    ny, nx = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels[::-1])  # each row begins with its filter, none
    header = struct.pack(">IIBBBBB", nx, ny, 8, 0, 0, 0, 0)  # eight bits, gray
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )
