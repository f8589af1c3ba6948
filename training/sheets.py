"""Contact sheets for a training's eyes: many small images in one PNG.

images [n, C, H, W] in [0, 1] ──► sheet uint8 [H', W', C] ──► png_bytes
"""

from __future__ import annotations

import io

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from service.domain.images import contact_sheet, enlarge, to_pixels


def sheet(
    images: Float[np.ndarray, "n C H W"], *, columns: int, scale: int = 2
) -> UInt8[np.ndarray, "height width C"]:
    """Images in reading order, `columns` a row, each pixel as `scale` × `scale`."""
    return contact_sheet(enlarge(to_pixels(images), scale=scale), columns=columns)


def png_bytes(pixels: UInt8[np.ndarray, "height width C"]) -> bytes:
    """A picture as a PNG file, without metadata."""
    buffer = io.BytesIO()
    flat = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    Image.fromarray(flat).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
