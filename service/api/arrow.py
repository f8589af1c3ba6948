"""Arrow streams, apart from the other formats: pyarrow costs 15 MB that most never need.

columns {name: [n, …]} ──► Arrow IPC stream
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from service.api.tables import named_columns
from service.contract import CategoricalColumn, Column, TableData


def arrow_bytes(columns: Mapping[str, NDArray[Any]], *, metadata: Mapping[str, str]) -> bytes:
    """An Arrow stream with a row an example.

    A column of more than one axis is a fixed-shape tensor (`arrow.fixed_shape_tensor`, a fixed-size
    list for readers that do not know it).
    """
    arrays = {name: _arrow_column(column) for name, column in columns.items()}
    table = pa.table(arrays).replace_schema_metadata(dict(metadata))
    return _stream(table)


def _stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def arrow_rows(table: TableData, cells: NDArray[Any], *, metadata: Mapping[str, str]) -> bytes:
    """An Arrow stream of a table's rows: int64, float64 and string columns, with nulls."""
    rows = pa.table(
        {
            name: pa.array(values, _type_of(table.column(name)))
            for name, values in named_columns(table, cells).items()
        }
    )
    return _stream(rows.replace_schema_metadata(dict(metadata)))


def _type_of(column: Column | None) -> pa.DataType:
    """A column that is not the table's says which row a filling is of."""
    if isinstance(column, CategoricalColumn):
        return pa.string()
    return pa.int64() if column is None or column.integer else pa.float64()


def _arrow_column(column: NDArray[Any]) -> pa.Array:
    if column.ndim == 1:
        return pa.array(column)
    return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(column))
