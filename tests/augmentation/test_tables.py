"""Orders of a model of a table: columns with types and nulls, by label, without repeats."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from service.augmentation.asking import PinnedModels
from service.augmentation.chunks import ChunkRows, make_chunk
from service.augmentation.formats import FORMATS
from service.augmentation.order import Order
from service.domain.rows import rows_of
from service.engine import Engine
from service.errors import InvalidInput
from service.queries import Call, Sample
from tests.augmentation.orders import engine_of, order_of
from tests.tables import COLUMNS, DATA, write_tiny_table


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    write_tiny_table(tmp_path)
    async with engine_of(tmp_path) as found:
        yield found


async def rows_of_chunk(engine: Engine, order: Order, chunk: int = 0) -> ChunkRows:
    return await make_chunk(PinnedModels([engine], order), order, chunk)


async def test_every_row_is_a_row_of_sample(engine):
    order = order_of(engine, "tiny-table", n=100, chunk_rows=80)
    rows = await rows_of_chunk(engine, order, 1)
    model = engine.registry.get("tiny-table")
    for cells, seed, row in zip(rows.images[:3], rows.seeds, rows.rows, strict=False):
        alone = await engine.run(model, Sample(n=int(row) + 1, seed=int(seed)), Call())
        assert alone.samples[row].tobytes() == cells.tobytes()


@pytest.mark.parametrize("format_", ["parquet", "arrow", "csv"])
async def test_files_have_the_columns_with_types_and_nulls(engine, format_):
    order = order_of(engine, "tiny-table", n=40, format=format_)
    rows = await rows_of_chunk(engine, order)
    content = FORMATS[format_].write(order, rows)
    table = {
        "parquet": lambda: pq.read_table(io.BytesIO(content)),
        "arrow": lambda: pa.ipc.open_file(content).read_all(),
        "csv": lambda: pa_csv.read_csv(
            io.BytesIO(content), convert_options=pa_csv.ConvertOptions(strings_can_be_null=True)
        ),
    }[format_]()
    own = table.column_names[: len(COLUMNS)]
    assert tuple(own) == COLUMNS
    assert table.column_names[len(COLUMNS) :] == [
        "seed", "row", "chunk", "model_digest", "is_synthetic",
    ]  # fmt: skip
    assert table.select(own).to_pylist() == rows_of(DATA, rows.images)
    assert [str(t) for t in table.select(own).schema.types] == [
        "int64", "double", "int64", "string", "string",
    ]  # fmt: skip
    assert table["size"].null_count > 0


async def test_the_bytes_of_a_chunk_do_not_change(engine):
    order = order_of(engine, "tiny-table", n=40)
    contents = {
        FORMATS["parquet"].write(order, await rows_of_chunk(engine, order)) for _ in range(2)
    }
    assert len(contents) == 1


async def test_balanced_labels_give_each_class_as_many_rows(engine):
    order = order_of(engine, "tiny-table", n=30, labels="balanced")
    rows = await rows_of_chunk(engine, order)
    kinds = Counter(row["kind"] for row in rows_of(DATA, rows.images))
    assert kinds == {"cat": 10, "dog": 10, "owl": 10}
    table = pq.read_table(io.BytesIO(FORMATS["parquet"].write(order, rows)))
    assert table["label_name"].to_pylist() == table["kind"].to_pylist()


async def test_without_labels_classes_come_as_the_model_makes_them(engine):
    order = order_of(engine, "tiny-table", n=30)
    assert order.counts is None
    assert order.requested == {"all": 30}


async def test_counts_by_label_are_kept(engine):
    order = order_of(engine, "tiny-table", labels={"cat": 1, "owl": 5})
    rows = await rows_of_chunk(engine, order)
    kinds = Counter(row["kind"] for row in rows_of(DATA, rows.images))
    assert kinds == {"cat": 1, "owl": 5}


async def test_unique_rows_differ_in_some_cell(engine):
    order = order_of(engine, "tiny-table", n=64, unique=True)
    rows = await rows_of_chunk(engine, order)
    assert len({row.tobytes() for row in rows.images}) == len(rows) == 64
    assert len(set(rows.hashes)) == 64


@pytest.mark.parametrize(
    ("asked", "pointer", "words"),
    [
        ({"format": "imagefolder"}, "/format", "holds images.*makes rows.*parquet, arrow, csv"),
        ({"format": "npz"}, "/format", "holds images"),
        ({"dtype": "uint8"}, "/dtype", "types of their own"),
    ],
)
async def test_what_only_suits_images_is_refused(engine, asked, pointer, words):
    with pytest.raises(InvalidInput, match=words) as refused:
        order_of(engine, "tiny-table", n=10, **asked)
    assert [field.pointer for field in refused.value.fields] == [pointer]
