"""Files: readable by what people use, marked as synthetic, and the same bytes every time."""

from __future__ import annotations

import io
import json
import tarfile
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from PIL import Image

from service.augmentation.asking import PinnedModels
from service.augmentation.chunks import make_chunk
from service.augmentation.formats import FORMATS, SOURCE_TYPE, file_name
from service.augmentation.order import Acceptance
from tests.augmentation.orders import contents, fulfil, order_of, plain

LABELS = {"cat": 20, "dog": 10, "owl": 40}
COLUMNS = {"label", "label_name", "seed", "row", "chunk", "model_digest", "is_synthetic"}


async def made(engine, kind, **more):
    """(order, rows, the bytes of its only chunk)."""
    order = order_of(engine, "colour", labels=LABELS, format=kind, **more)
    rows = await make_chunk(PinnedModels([engine], order), order, 0)
    return order, rows, FORMATS[kind].write(order, rows)


def check_table(table, order, rows):
    assert set(table.column_names) >= COLUMNS
    assert table["label"].to_pylist() == rows.labels.tolist()
    assert table["label_name"].to_pylist() == [order.labels[k] for k in rows.labels]
    assert table["seed"].to_pylist() == rows.seeds.tolist()
    assert table["row"].to_pylist() == rows.rows.tolist()
    assert set(table["model_digest"].to_pylist()) == {order.digest}
    assert all(table["is_synthetic"].to_pylist())


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("kind", ["parquet", "arrow"])
async def test_tables_hold_the_images_as_lists_and_their_shape(engine, kind, dtype):
    order, rows, content = await made(engine, kind, dtype=dtype)
    reader = pq.read_table if kind == "parquet" else lambda f: pa.ipc.open_file(f).read_all()
    table = reader(io.BytesIO(content))
    check_table(table, order, rows)
    shape = json.loads(table.schema.metadata[b"image_shape"])
    images = np.stack(table["image"].to_numpy()).reshape(-1, *shape)
    if dtype == "float32":
        assert images.tobytes() == rows.images.tobytes()
    else:
        assert np.array_equal(images, np.rint(rows.images * 255))
    assert table.schema.metadata[b"digital_source_type"].decode() == SOURCE_TYPE
    assert table.schema.metadata[b"is_synthetic"] == b"true"


async def test_csv_has_a_column_a_pixel(engine):
    order, rows, content = await made(engine, "csv")
    table = pa.csv.read_csv(io.BytesIO(content))
    check_table(table, order, rows)
    pixels = np.stack([table[f"pixel{i}"].to_numpy() for i in range(60)], axis=1)
    assert np.array_equal(pixels, np.rint(rows.images.reshape(70, 60) * 255))


async def test_npz_opens_without_pickle(engine):
    order, rows, content = await made(engine, "npz")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        assert arrays["images"].tobytes() == rows.images.tobytes()
        assert arrays["label"].tolist() == rows.labels.tolist()
        assert arrays["label_names"].tolist() == ["cat", "dog", "owl"]
        assert arrays["is_synthetic"].all()
        assert arrays["model_digest"][0].decode() == order.digest
        assert {"seed", "row", "chunk"} <= set(arrays)


def check_png(content, expected):
    with Image.open(io.BytesIO(content)) as picture:
        assert np.array_equal(np.asarray(picture), np.rint(expected.transpose(1, 2, 0) * 255))
        assert picture.text["is_synthetic"] == "true"
        packet = ET.fromstring(picture.text["XML:com.adobe.xmp"])
    (found,) = packet.iter("{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType")
    assert found.text == SOURCE_TYPE


async def test_webdataset_shards_have_a_picture_a_class_and_a_document_a_row(engine):
    order, rows, content = await made(engine, "webdataset")
    with tarfile.open(fileobj=io.BytesIO(content)) as shard:
        members = {m.name: shard.extractfile(m).read() for m in shard.getmembers()}
    assert len(members) == 3 * 70
    keys = sorted({name.partition(".")[0] for name in members})
    for i, key in enumerate(keys):
        about = json.loads(members[f"{key}.json"])
        assert int(members[f"{key}.cls"]) == about["label"] == rows.labels[i]
        assert about.keys() >= COLUMNS
        assert about["is_synthetic"] is True
    check_png(members[f"{keys[3]}.png"], rows.images[3])


async def test_image_folders_have_metadata_beside_their_pictures(engine):
    order, rows, content = await made(engine, "imagefolder")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    lines = [json.loads(x) for x in members["chunk-00000/metadata.jsonl"].splitlines()]
    assert len(lines) == len(members) - 1 == 70
    for i, line in enumerate(lines):
        assert line["label"] == rows.labels[i]
        assert line.keys() >= COLUMNS
    check_png(members[f"chunk-00000/{lines[5]['file_name']}"], rows.images[5])


def test_names_sort_as_chunks_do():
    order = plain(n=200_000, chunk_rows=1)
    assert file_name(order, 7) == "data/chunk-000007.npz"
    assert file_name(plain(), 1) == "data/chunk-00001.npz"


@pytest.mark.parametrize("kind", FORMATS)
async def test_a_chunk_without_rows_is_a_file_without_rows(engine, kind):
    accept = Acceptance(max_p_value_rejected=0.99999, max_draws=1)
    order = order_of(engine, "tiny-gan", n=3, format=kind, accept=accept)
    rows = await make_chunk(PinnedModels([engine], order), order, 0)
    content = FORMATS[kind].write(order, rows)
    assert len(rows) == 0
    if kind == "parquet":
        assert pq.read_table(io.BytesIO(content)).num_rows == 0


@pytest.mark.parametrize("kind", FORMATS)
async def test_workers_and_the_order_of_chunks_change_no_byte(
    engine, tmp_path: Path, kind, monkeypatch
):
    order = order_of(engine, "colour", labels=LABELS, chunk_rows=16, format=kind)
    await fulfil(engine, order, tmp_path / "one", workers=1)
    await fulfil(engine, order, tmp_path / "three", workers=3)
    backwards = property(lambda tally: [c for c in range(4, -1, -1) if c not in tally.receipts])
    monkeypatch.setattr("service.augmentation.manifest.Tally.missing", backwards)
    await fulfil(engine, order, tmp_path / "backwards", workers=2)
    one = contents(tmp_path / "one")
    assert len(one) == 5 + 2
    assert one == contents(tmp_path / "three") == contents(tmp_path / "backwards")


async def test_a_model_without_labels_leaves_them_empty(engine, tmp_path: Path):
    for kind in FORMATS:
        order = order_of(engine, "tiny-gan", n=10, format=kind)
        fulfilment = await fulfil(engine, order, tmp_path / kind)
        assert fulfilment.manifest["delivered"] == {"all": 10}
    table = pq.read_table(tmp_path / "parquet" / "data/chunk-00000.parquet")
    assert table["label"].null_count == 10
