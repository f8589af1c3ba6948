"""What an order's rows are on disk: formats that suit the model, their type, and rows a chunk.

images: float32 or 8-bit pixels, any format      tables: columns with types of their own, in three
"""

from __future__ import annotations

import math

from service.augmentation.formats import FORMATS, MAX_CSV_PIXELS, OF_TABLES
from service.augmentation.order import Dtype, Format
from service.contract import ImageData, Manifest
from service.errors import InvalidInput

CHUNK_BYTES = 8 * 2**20  # of rows in memory, where nothing else is asked
MAX_CHUNK_BYTES = 256 * 2**20
MAX_DEFAULT_CHUNK_ROWS = 8192
MAX_CHUNK_ROWS = 65536


def check_format(format_: Format, dtype: Dtype | None, model: Manifest) -> None:
    """Refuse a format or a type that does not suit what the model makes.

    Raises:
        InvalidInput: with what suits it.
    """
    if isinstance(model.data, ImageData):
        pixels = math.prod(model.data.shape)
        if format_ == "csv" and pixels > MAX_CSV_PIXELS:
            raise InvalidInput(
                f"csv has a column a pixel, and {pixels} exceed {MAX_CSV_PIXELS}: order parquet or "
                "imagefolder",
                pointer="/format",
            )
        return
    if format_ not in OF_TABLES:
        raise InvalidInput(
            f"{format_} holds images, and {model.id} makes rows: order {', '.join(OF_TABLES)}",
            pointer="/format",
        )
    if dtype is not None:
        raise InvalidInput(
            f"{model.id} makes rows, whose columns have types of their own: leave dtype out",
            pointer="/dtype",
        )


def dtype_of(format_: Format, dtype: Dtype | None) -> Dtype:
    """The type of pixels; of tables it decides nothing.

    Raises:
        InvalidInput: the format holds no such pixels.
    """
    eight_bit = FORMATS[format_].eight_bit
    if eight_bit and dtype == "float32":
        raise InvalidInput(
            f"{format_} holds 8-bit pixels: leave dtype out, or order parquet, arrow or npz",
            pointer="/dtype",
        )
    return "uint8" if eight_bit else (dtype or "float32")


def chunk_rows_of(asked: int | None, model: Manifest) -> int:
    """Rows a chunk: what was asked for, or the power of two that fills a file of decent size.

    Raises:
        InvalidInput: more than a worker should hold.
    """
    row_bytes = _row_bytes(model)
    largest = max(1, min(MAX_CHUNK_BYTES // row_bytes, MAX_CHUNK_ROWS))
    if asked is None:
        fitting = max(1, min(CHUNK_BYTES // row_bytes, MAX_DEFAULT_CHUNK_ROWS))
        return 1 << (fitting.bit_length() - 1)
    if not 1 <= asked <= largest:
        raise InvalidInput(
            f"chunk_rows={asked} is not between 1 and {largest}, which for this model is "
            f"{largest * row_bytes // 2**20} MiB",
            pointer="/chunk_rows",
        )
    return asked


def _row_bytes(model: Manifest) -> int:
    """What one row takes in memory: float32 pixels, or float64 cells."""
    if isinstance(model.data, ImageData):
        return 4 * math.prod(model.data.shape)
    return 8 * len(model.data.columns)
