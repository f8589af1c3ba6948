"""Rows out of Parquet, Arrow and CSV files, a batch at a time: images where a column holds them.

file ──batches──► rows that are wanted ──► pa.Table ──► Images | Table
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from jaxtyping import Int64
from numpy.typing import NDArray
from PIL import Image

from service.errors import InvalidInput
from service.reports.rows import Column, Images, Labels, Rows, Table

SUFFIXES = (".parquet", ".arrow", ".feather", ".csv")
IMAGE_COLUMNS = ("image", "img")
BATCH_ROWS = 4096
Source = Path | bytes


def count(source: Source, suffix: str) -> int:
    """How many rows a file has."""
    if suffix == ".parquet":
        return int(pq.ParquetFile(_stream(source)).metadata.num_rows)
    return sum(batch.num_rows for batch in batches(source, suffix))


def read(source: Source, suffix: str, wanted: Int64[np.ndarray, " rows"], *, label: str) -> Rows:
    """The rows at these rising places; `label` is the column of the classes of images.

    Raises:
        InvalidInput: a column cannot be understood.
    """
    parts, begin = [], 0
    for batch in batches(source, suffix):
        end = begin + batch.num_rows
        low, high = np.searchsorted(wanted, (begin, end))
        if low < high:
            parts.append(batch.take(pa.array(wanted[low:high] - begin)))
        begin = end
    if not parts:
        raise InvalidInput("a file has no rows: give one that has some")
    table = pa.Table.from_batches(parts)
    pixels = _pixels(table)
    return _table(table) if pixels is None else Images(pixels, _labels(table, label))


def batches(source: Source, suffix: str) -> Iterator[pa.RecordBatch]:
    """The file a batch at a time; CSV is read whole, so that types are those of all its rows."""
    stream = _stream(source)
    if suffix == ".parquet":
        yield from pq.ParquetFile(stream).iter_batches(BATCH_ROWS)
    elif suffix == ".csv":
        yield from pa_csv.read_csv(stream).to_batches()
    else:
        reader = pa.ipc.open_file(stream)
        for i in range(reader.num_record_batches):
            yield reader.get_batch(i)


def _stream(source: Source) -> Any:  # noqa: ANN401  (what pyarrow opens)
    return BytesIO(source) if isinstance(source, bytes) else source


def _pixels(table: pa.Table) -> NDArray[np.uint8] | None:
    """Pixels [n, C, H, W] of the column that holds images, or of pixel0 and so on."""
    name = next((n for n in IMAGE_COLUMNS if n in table.column_names), None)
    if name is not None:
        column = table.column(name).combine_chunks()
        if pa.types.is_struct(column.type):
            column = pa.compute.struct_field(column, "bytes")
        if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
            return stacked([decoded(content) for content in column.to_pylist()])
        return shaped(_values(column, name), _told_shape(table))
    flat = sorted(
        (n for n in table.column_names if n.startswith("pixel") and n[5:].isdecimal()),
        key=lambda n: int(n[5:]),
    )
    if not flat:
        return None
    values = np.stack([table.column(n).to_numpy() for n in flat], axis=1)
    return shaped(values, _told_shape(table))


def _values(column: pa.Array, name: str) -> NDArray[Any]:
    """Lists of one length as an array, a row a row."""
    depth, inner = 0, column
    while hasattr(inner.type, "value_type") and not pa.types.is_dictionary(inner.type):
        inner, depth = inner.flatten(), depth + 1
    if depth == 0 or inner.null_count or len(column) == 0 or len(inner) % len(column):
        raise InvalidInput(f"column {name!r} is not images of one size, as lists or as PNG files")
    values: NDArray[Any] = inner.to_numpy(zero_copy_only=False).reshape(len(column), -1)
    return values


def _told_shape(table: pa.Table) -> tuple[int, ...] | None:
    """The shape that an order's files carry in their metadata."""
    told = (table.schema.metadata or {}).get(b"image_shape")
    return None if told is None else tuple(json.loads(told))


def shaped(values: NDArray[Any], shape: tuple[int, ...] | None = None) -> NDArray[np.uint8]:
    """Numbers as pixels [n, C, H, W]: bytes, or fractions of 1; flat rows are square images.

    Raises:
        InvalidInput: they are no images.
    """
    n = len(values)
    if shape is not None:
        values = values.reshape(n, *shape)
    elif values.ndim == 2:
        values = values.reshape(n, *_square(values.shape[1]))
    elif values.ndim == 3:
        values = values[:, None]
    elif values.ndim == 4 and values.shape[1] not in {1, 3} and values.shape[3] in {1, 3}:
        values = values.transpose(0, 3, 1, 2)
    if values.ndim != 4 or values.shape[1] not in {1, 3}:
        raise InvalidInput(f"images of shape {values.shape[1:]} are not [C, H, W] with C 1 or 3")
    if values.dtype.kind == "f":
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise InvalidInput("images of floats have values in [0, 1]: scale them, or give uint8")
        values = np.rint(values * 255.0)
    elif values.min() < 0 or values.max() > 255:
        raise InvalidInput("images of whole numbers have values from 0 to 255")
    return np.ascontiguousarray(values.astype(np.uint8))


def _square(size: int) -> tuple[int, int, int]:
    for channels in (1, 3):
        side = math.isqrt(size // channels)
        if channels * side * side == size:
            return channels, side, side
    raise InvalidInput(f"{size} values a row are no square image of 1 or 3 channels")


def decoded(content: bytes) -> NDArray[np.uint8]:
    """An encoded picture as pixels [C, H, W], grey or RGB.

    Raises:
        InvalidInput: it cannot be read.
    """
    try:
        with Image.open(BytesIO(content)) as picture:
            grey = picture.mode in {"1", "L", "I", "I;16", "LA"}
            pixels = np.asarray(picture.convert("L" if grey else "RGB"))
    except (OSError, ValueError) as error:
        raise InvalidInput("a picture cannot be read: give PNG or JPEG files") from error
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def stacked(pictures: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Pictures of one size as one array.

    Raises:
        InvalidInput: they are of several sizes, or there are none.
    """
    shapes = sorted({picture.shape for picture in pictures})
    if len(shapes) != 1:
        found = " and ".join(str(list(shape)) for shape in shapes[:2]) or "none"
        raise InvalidInput(f"pictures must be of one size and one mode; found {found}")
    return np.stack(pictures)


def _labels(table: pa.Table, label: str) -> Labels | None:
    """Classes as text: by name where there are names."""
    for name in ("label_name", label):
        if name in table.column_names and table.column(name).null_count == 0:
            return np.array([str(v) for v in table.column(name).to_pylist()], object)
    return None


def _table(table: pa.Table) -> Table:
    columns = {}
    for name in table.column_names:
        column = _column(table.column(name))
        if column is not None:
            columns[name] = column
    return Table(columns)


def _column(values: pa.ChunkedArray) -> Column | None:
    """Numbers and dates as numbers, text and truth values as text; others are left out."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        return _column(values.cast(kind.value_type))
    if pa.types.is_temporal(kind):
        # Dates as seconds; times and durations as they count themselves.
        if pa.types.is_date(kind):
            values = values.cast(pa.timestamp("s"))
        whole = pa.int32() if pa.types.is_time32(kind) else pa.int64()
        values, kind = values.cast(whole, safe=False), whole
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return Column(values.cast(pa.float64(), safe=False).to_numpy().astype(np.float64))
    if pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        found = [None if v is None else str(v) for v in values.to_pylist()]
        return Column(np.array(found, object))
    return None
