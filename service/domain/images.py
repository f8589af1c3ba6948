"""Images between data space and pixels, and laid out for a person to look at.

data space ──to_pixels──► uint8 [n, H, W, C] ──enlarge──► ──contact_sheet──► uint8 [H', W', C]
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, UInt8

GAP_PIXELS = 2
GAP_SHADE = 88  # neither ink nor paper, so that a tile's edge shows for both
COMFORTABLE_TILE_PIXELS = 112
COMFORTABLE_SHEET_PIXELS = 2048


def to_data_space(
    x: Float[np.ndarray, "n ..."], *, shape: tuple[int, int, int], low: float, high: float
) -> Float[np.ndarray, "n c h w"]:
    """A network's own range [low, high] → float32 [n, C, H, W] in [0, 1], clipped."""
    images = x.reshape(-1, *shape)
    if (low, high) != (0.0, 1.0):
        images = (images - np.float32(low)) / np.float32(high - low)
    clipped: Float[np.ndarray, "n c h w"] = np.clip(images, 0.0, 1.0, dtype=np.float32)
    return clipped


def to_pixels(images: Float[np.ndarray, "n c h w"]) -> UInt8[np.ndarray, "n h w c"]:
    """8-bit pixels, channels last: pixel = round(255 · value), clipped to [0, 255]."""
    scaled = np.rint(images * np.float32(255.0))
    return np.clip(scaled, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


def from_pixels(pixels: UInt8[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n c h w"]:
    """Data space from 8-bit pixels: value = pixel / 255, float32 [n, C, H, W].

    The inverse of `to_pixels` on the 256 values that a pixel can have.
    """
    values = pixels.transpose(0, 3, 1, 2).astype(np.float32)
    values /= np.float32(255.0)
    return np.ascontiguousarray(values)


def enlarge(pixels: UInt8[np.ndarray, "n h w c"], *, scale: int) -> UInt8[np.ndarray, "n H W c"]:
    """Each pixel as a square of `scale` × `scale` pixels (nearest neighbour)."""
    if scale == 1:
        return pixels
    return pixels.repeat(scale, axis=1).repeat(scale, axis=2)


def near_square_columns(n: int) -> int:
    """Columns of the near-square grid that holds n tiles: ⌈√n⌉."""
    return math.isqrt(n - 1) + 1 if n > 1 else 1


def comfortable_scale(*, height: int, width: int, rows: int, columns: int) -> int:
    """The integer factor at which a sheet is pleasant to look at.

    Tiles grow to at most 112 pixels, and the sheet to at most 2,048 a side; never below 1.
    """
    by_tile = COMFORTABLE_TILE_PIXELS // max(height, width)
    by_sheet = COMFORTABLE_SHEET_PIXELS // max(rows * height, columns * width)
    return max(1, min(by_tile, by_sheet))


def sheet_size(*, height: int, width: int, rows: int, columns: int) -> tuple[int, int]:
    """(height, width) in pixels of a sheet of tiles of this size, gaps included."""
    return (
        rows * height + (rows - 1) * GAP_PIXELS,
        columns * width + (columns - 1) * GAP_PIXELS,
    )


def contact_sheet(
    pixels: UInt8[np.ndarray, "n h w c"], *, columns: int
) -> UInt8[np.ndarray, "H W c"]:
    """Tiles in reading order, `columns` a row, 2 pixels apart; places left over are grey."""
    n, height, width, channels = pixels.shape
    rows = math.ceil(n / columns)
    sheet = np.full(
        (rows, columns, height + GAP_PIXELS, width + GAP_PIXELS, channels), GAP_SHADE, np.uint8
    )
    places = sheet.reshape(rows * columns, *sheet.shape[2:])
    places[:n, :height, :width] = pixels
    tall, wide = rows * (height + GAP_PIXELS), columns * (width + GAP_PIXELS)
    laid_out = sheet.transpose(0, 2, 1, 3, 4).reshape(tall, wide, channels)
    return np.ascontiguousarray(laid_out[: tall - GAP_PIXELS, : wide - GAP_PIXELS])
