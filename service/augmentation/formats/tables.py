"""Chunks as tables: Parquet (zstd), Arrow IPC files, and CSV with a column a pixel.

Rows of a model of tables keep its columns, with their types and nulls.

ChunkRows ──columns──► pa.Table ──► bytes
"""

from __future__ import annotations

import json
import math
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from service.augmentation.chunks import ChunkRows
from service.augmentation.formats.marks import marks
from service.augmentation.order import Order
from service.contract import CategoricalColumn, Column
from service.domain.images import to_pixels
from service.domain.rows import columns_of

ZSTD_LEVEL = 3


def parquet(order: Order, rows: ChunkRows) -> bytes:
    """One row group; images are lists of floats (or bytes) of one length, row-major [C, H, W]."""
    table = _table(order, rows, _data(order, rows))
    words = [f.name for f in table.schema if pa.types.is_string(f.type)]
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        compression_level=ZSTD_LEVEL,
        use_dictionary=words,
        row_group_size=max(len(rows), 1),
        version="2.6",
        data_page_version="1.0",
    )
    return _bytes(sink)


def arrow(order: Order, rows: ChunkRows) -> bytes:
    """An Arrow IPC file, uncompressed: it can be mapped into memory as it is."""
    table = _table(order, rows, _data(order, rows))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return _bytes(sink)


def csv(order: Order, rows: ChunkRows) -> bytes:
    """A header, then a line a row: pixel0 … are 0 to 255, row-major [C, H, W]."""
    table = _table(order, rows, _pixels(rows) if rows.table is None else _data(order, rows))
    sink = BytesIO()
    pa_csv.write_csv(table, sink, pa_csv.WriteOptions(quoting_style="needed"))
    return sink.getvalue()


def _data(order: Order, rows: ChunkRows) -> dict[str, pa.Array]:
    """What the model made: an image, or the columns of a table."""
    if rows.table is None:
        return {"image": _images(order, rows)}
    made = columns_of(rows.table, rows.images)
    return {
        column.name: pa.array(made[column.name], _type_of(column)) for column in rows.table.columns
    }


def _type_of(column: Column) -> pa.DataType:
    if isinstance(column, CategoricalColumn):
        return pa.string()
    return pa.int64() if column.integer else pa.float64()


def _pixels(rows: ChunkRows) -> dict[str, pa.Array]:
    pixels = np.rint(rows.images * np.float32(255)).astype(np.uint8)
    return {
        f"pixel{i}": pa.array(np.ascontiguousarray(pixels[:, c, y, x]))
        for i, (c, y, x) in enumerate(np.ndindex(pixels.shape[1:]))
    }


def _images(order: Order, rows: ChunkRows) -> pa.Array:
    """Each image as a list of one length, row-major [C, H, W]; the metadata has its shape.

    Not as Arrow's fixed-shape tensor: Hugging Face's readers refuse that type.
    """
    images: NDArray[Any] = rows.images
    if order.dtype == "uint8":
        images = to_pixels(rows.images).transpose(0, 3, 1, 2)
    flat = pa.array(np.ascontiguousarray(images).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, math.prod(images.shape[1:]))


def _table(order: Order, rows: ChunkRows, data: dict[str, pa.Array]) -> pa.Table:
    """What every row carries, beside its data.

    Beside a table's columns there are labels only where some were ordered, and a name that the
    table has itself gets a `_` in front.
    """
    n = len(rows)
    names = None if rows.labels is None else pa.array(order.labels).take(pa.array(rows.labels))
    columns = {
        "label": pa.nulls(n, pa.int64()) if rows.labels is None else pa.array(rows.labels),
        "label_name": pa.nulls(n, pa.string()) if names is None else names,
        "seed": pa.array(rows.seeds),
        "row": pa.array(rows.rows),
        "chunk": pa.array(np.full(n, rows.chunk, np.int64)),
        "model_digest": pa.array([order.digest]).take(pa.array(np.zeros(n, np.int64))),
        "is_synthetic": pa.array(np.ones(n, np.bool_)),
    }
    if rows.table is not None:
        kept = {n: c for n, c in columns.items() if rows.labels is not None or "label" not in n}
        named = {f"_{name}" if name in data else name: c for name, c in kept.items()}
        return pa.table(data | named).replace_schema_metadata(marks(order))
    table = pa.table(data | columns if "image" in data else columns | data)
    shape = json.dumps(list(rows.images.shape[1:]))
    return table.replace_schema_metadata(marks(order) | {"image_shape": shape})


def _bytes(sink: pa.BufferOutputStream) -> bytes:
    content: bytes = sink.getvalue().to_pybytes()
    return content
