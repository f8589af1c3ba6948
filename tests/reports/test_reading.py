"""Rows out of every format that orders are written in, and out of other people's files."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from service.augmentation.chunks import ChunkRows
from service.augmentation.formats import FORMATS, file_name
from service.errors import InvalidInput
from service.reports.reading import read_path
from service.reports.rows import Images, Table, chosen
from tests.augmentation.orders import plain
from tests.reports.data import bars

ROWS = bars(40, seed=0)


def written(folder: Path, format_: str, *, channels: int = 1) -> Images:
    """An order of two chunks, and its rows."""
    pixels = np.repeat(ROWS.pixels, channels, axis=1)
    order = plain(n=40, chunk_rows=25, format=format_, labels=("a", "b"), counts=(20, 20))
    (folder / "data").mkdir()
    (folder / "order.json").write_text("{}")
    for chunk, part in enumerate((slice(0, 25), slice(25, 40))):
        images = (pixels[part] / np.float32(255)).astype(np.float32)
        n = len(images)
        rows = ChunkRows(
            chunk=chunk, images=images, labels=np.array([i % 2 for i in range(40)])[part],
            seeds=np.zeros(n, np.int64), rows=np.arange(n), asked=n, drawn=n, rejected=0,
            duplicates=0,
        )  # fmt: skip
        (folder / file_name(order, chunk)).write_bytes(FORMATS[format_].write(order, rows))
    return Images(pixels, ROWS.labels)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("format_", list(FORMATS))
def test_an_order_in_any_format_is_read_back_to_the_pixel(tmp_path, format_, channels):
    wanted = written(tmp_path, format_, channels=channels)
    found = read_path(tmp_path, limit=100, seed=0)
    assert found.total == 40
    assert (found.rows.pixels == wanted.pixels).all()
    assert found.rows.labels.tolist() == wanted.labels.tolist()


@pytest.mark.parametrize("format_", list(FORMATS))
def test_a_few_rows_are_taken_by_the_seed(tmp_path, format_):
    wanted = written(tmp_path, format_)
    found = read_path(tmp_path, limit=10, seed=3)
    places = chosen(40, 10, seed=3)
    assert (found.rows.pixels == wanted.pixels[places]).all()
    assert found.total == 40


@settings(deadline=None)
@given(n=st.integers(1, 300), limit=st.integers(1, 300), seed=st.integers(0, 2**53 - 1))
def test_what_is_taken_rises_repeats_nothing_and_is_the_seeds(n, limit, seed):
    found = chosen(n, limit, seed=seed)
    assert len(found) == min(n, limit)
    assert (np.diff(found) > 0).all()
    assert 0 <= found[0] <= found[-1] < n
    assert (chosen(n, limit, seed=seed) == found).all()


def png(pixels: np.ndarray) -> bytes:
    out = BytesIO()
    Image.fromarray(pixels[0]).save(out, "PNG")
    return out.getvalue()


def test_a_folder_a_class_and_a_metadata_file_name_the_classes(tmp_path):
    for i, (image, label) in enumerate(zip(ROWS.pixels, ROWS.labels, strict=True)):
        folder = tmp_path / "by-folder" / label
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i:03}.png").write_bytes(png(image))
    found = read_path(tmp_path / "by-folder", limit=100, seed=0).rows
    assert sorted(found.labels) == sorted(ROWS.labels)

    flat = tmp_path / "described"
    flat.mkdir()
    (flat / "0.png").write_bytes(png(ROWS.pixels[0]))
    (flat / "metadata.jsonl").write_text(json.dumps({"file_name": "0.png", "label": 7}))
    assert read_path(flat, limit=9, seed=0).rows.labels.tolist() == ["7"]


def test_hugging_faces_parquet_of_pictures_is_read(tmp_path):
    cells = [{"bytes": png(p), "path": None} for p in ROWS.pixels]
    pq.write_table(pa.table({"img": cells, "label": list(range(40))}), tmp_path / "x.parquet")
    found = read_path(tmp_path / "x.parquet", limit=100, seed=0).rows
    assert (found.pixels == ROWS.pixels).all()
    assert found.labels[3] == "3"


@pytest.mark.parametrize("shape", [(40, 6, 6), (40, 1, 6, 6), (40, 6, 6, 1), (40, 36)])
def test_npz_images_of_any_layout_are_read(tmp_path, shape):
    np.savez(tmp_path / "x.npz", images=ROWS.pixels.reshape(shape), labels=np.arange(40))
    assert (read_path(tmp_path / "x.npz", limit=100, seed=0).rows.pixels == ROWS.pixels).all()


def test_a_table_keeps_numbers_dates_text_and_what_is_missing(tmp_path):
    (tmp_path / "t.csv").write_text("n,when,word,seen\n1,2026-01-01,a,true\n,2026-01-02,,false\n")
    found = read_path(tmp_path / "t.csv", limit=10, seed=0).rows
    assert isinstance(found, Table)
    columns = found.columns
    assert columns["n"].numeric
    assert np.isnan(columns["n"].values[1])
    assert columns["when"].values[1] - columns["when"].values[0] == 86400
    assert columns["seen"].values.tolist() == ["True", "False"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x.parquet", b"no parquet", "x.parquet cannot be read as .parquet"),
        ("x.npz", b"no npz", "x.npz cannot be read"),
        ("x.tar", b"no tar", "damaged"),
        ("x.zip", b"no zip", "damaged"),
        ("x.docx", b"", "is none of .parquet"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused_in_words(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInput, match=says):
        read_path(tmp_path / name, limit=10, seed=0)


def test_images_that_are_none_are_refused(tmp_path):
    def refused(says: str, **arrays: np.ndarray) -> None:
        np.savez(tmp_path / "x.npz", **arrays)
        with pytest.raises(InvalidInput, match=says):
            read_path(tmp_path / "x.npz", limit=10, seed=0)

    refused("has 'images'", pictures=np.zeros((2, 4, 4)))
    refused(r"values in \[0, 1\]", images=np.full((2, 4, 4), 7.0))
    refused("from 0 to 255", images=np.full((2, 4, 4), 300))
    refused("no square image", images=np.zeros((2, 7), np.uint8))
    refused("no rows", images=np.zeros((0, 4, 4), np.uint8))


def test_pictures_of_two_sizes_are_refused(tmp_path):
    for i, side in enumerate((4, 5)):
        (tmp_path / f"{i}.png").write_bytes(png(np.zeros((1, side, side), np.uint8)))
    with pytest.raises(InvalidInput, match="one size"):
        read_path(tmp_path, limit=10, seed=0)


def test_nothing_and_an_empty_folder_are_refused(tmp_path):
    with pytest.raises(InvalidInput, match="is not there"):
        read_path(tmp_path / "nothing", limit=10, seed=0)
    with pytest.raises(InvalidInput, match="has no data"):
        read_path(tmp_path, limit=10, seed=0)
