"""Chunks as tables: Parquet (zstd), Arrow IPC files, and CSV with a column a pixel.

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
from service.domain.images import to_pixels

ZSTD_LEVEL = 3


def parquet(order: Order, rows: ChunkRows) -> bytes:
    """One row group; images are lists of floats (or bytes) of one length, row-major [C, H, W]."""
    table = _table(order, rows, {"image": _images(order, rows)})
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        compression_level=ZSTD_LEVEL,
        use_dictionary=["label_name", "model_digest"],
        row_group_size=max(len(rows), 1),
        version="2.6",
        data_page_version="1.0",
    )
    return _bytes(sink)


def arrow(order: Order, rows: ChunkRows) -> bytes:
    """An Arrow IPC file, uncompressed: it can be mapped into memory as it is."""
    table = _table(order, rows, {"image": _images(order, rows)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return _bytes(sink)


def csv(order: Order, rows: ChunkRows) -> bytes:
    """A header, then a line a row: pixel0 … are 0 to 255, row-major [C, H, W]."""
    pixels = np.rint(rows.images * np.float32(255)).astype(np.uint8)
    columns: dict[str, pa.Array] = {
        f"pixel{i}": pa.array(np.ascontiguousarray(pixels[:, c, y, x]))
        for i, (c, y, x) in enumerate(np.ndindex(pixels.shape[1:]))
    }
    table = _table(order, rows, columns)
    sink = BytesIO()
    pa_csv.write_csv(table, sink, pa_csv.WriteOptions(quoting_style="needed"))
    return sink.getvalue()


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
    """What every row carries, beside its data."""
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
    table = pa.table(data | columns if "image" in data else columns | data)
    shape = json.dumps(list(rows.images.shape[1:]))
    return table.replace_schema_metadata(marks(order) | {"image_shape": shape})


def _bytes(sink: pa.BufferOutputStream) -> bytes:
    content: bytes = sink.getvalue().to_pybytes()
    return content
