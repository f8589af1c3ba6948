"""The reference of a table's package: real rows that its orders are reported on beside.

training rows, test rows ──seeded choice──► reference.parquet ──► `service/reports/reference.py`

The rows are published with the package: of tables that the project knows to be public, and of
others when somebody asks for it.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from service.contract import TABLE_REFERENCE_FILE, Reference, TableData, sha256_of
from training.config import ConfigError
from training.reference import LEAST_TEST, ROWS, Rows, chosen_rows
from training.tabular.table import Splits, Table


def table_reference(
    splits: Splits, data: TableData, *, title: str, rows: int = ROWS
) -> tuple[bytes, Reference]:
    """The file, and what the manifest says of it.

    Held-out rows are of the test split, which neither training nor the choice of its step has seen.

    Raises:
        ConfigError: fewer than three test rows.
    """
    train, test = splits.train, splits.test
    if len(test) < LEAST_TEST:
        raise ConfigError(f"{title} has {len(test)} test rows, too few for a reference")
    seen, held_out, tested = chosen_rows(len(train), len(test), rows)
    parts = [
        _arrow(part, chosen, data)
        for part, chosen in (
            (train, seen),
            (test, held_out),
            (test, tested),
        )
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.concat_tables(parts), sink, compression="zstd", compression_level=19)
    content: bytes = sink.getvalue().to_pybytes()
    words = (
        f"{title}: {len(seen):,} of the {len(train):,} rows that it was trained on, and "
        f"{len(held_out) + len(tested):,} of the {len(test):,} test rows"
    )
    return content, Reference(
        file=TABLE_REFERENCE_FILE,
        sha256=sha256_of(content),
        train=len(seen),
        held_out=len(held_out),
        test=len(tested),
        population=len(train),
        data=words,
    )


def _arrow(table: Table, rows: Rows, data: TableData) -> pa.Table:
    """Some rows with the model's columns, in the types that its orders have."""
    taken = table.take(rows)
    arrays = {}
    for column in data.columns:
        values = taken.columns[column.name]
        if values.dtype.kind == "f":
            whole = column.name in table.integer
            kind = pa.int64() if whole else pa.float64()
            arrays[column.name] = pa.array(values, from_pandas=True).cast(kind)
        else:
            arrays[column.name] = pa.array(values.tolist(), pa.string())
    return pa.table(arrays)
