"""Orders of the real service: placed, waited for, downloaded, read."""

from __future__ import annotations

import hashlib
import pickle
import sys
import tarfile
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader

from service.client import Conflict, Invalid, NotFound, OrderFailed
from service.client.downloads import Part
from tests.client.either import Either


async def test_an_order_is_made_and_its_files_are_those_that_it_names(
    client: Either, tmp_path: Path
):
    order = await client.augment("tiny-gan", n=200, seed=7, chunk_rows=64)
    await order.wait(timeout_s=60)
    assert order.state == "done"
    assert order.delivered == {"all": 200}
    found = await order.download(tmp_path)
    assert found == [tmp_path / file.name for file in order.files]
    for path, file in zip(found, order.files, strict=True):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256
    assert sum(p.is_file() for p in tmp_path.rglob("*")) == len(found)  # noqa: ASYNC240


async def test_downloading_waits_for_the_order(client: Either, tmp_path: Path):
    order = await client.augment("tiny-gan", n=100, seed=1, chunk_rows=10, format="npz")
    assert len(await order.download(tmp_path, progress=True)) == 10


async def test_a_file_that_came_in_part_goes_on_where_it_broke_off(
    client: Either, server: str, tmp_path: Path
):
    order = await (await client.augment("tiny-gan", n=200, seed=7)).wait()
    (whole,) = await order.download(tmp_path / "first")
    content = whole.read_bytes()
    for kept in (content[: len(content) // 2], b"\0" * (len(content) // 2), content):
        folder = tmp_path / str(hash(kept))
        part = Part(folder, order.files[0])
        with part.begin(200, {}):
            part.write(kept)
        if kept is not content:
            async with httpx.AsyncClient(base_url=server, headers=part.headers()) as http:
                path = f"/v1/augmentations/{order.id}/files/{order.files[0].name}"
                assert (await http.get(path)).status_code == 206
        (found,) = await order.download(folder)
        assert found.read_bytes() == content


async def test_every_row_is_one_that_sample_gives(client: Either):
    order = await client.augment("tiny-gan", n=70, seed=3)
    frame = await order.to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert len(frame) == 70
    for at in (0, 65):
        row = frame.iloc[at]
        again = await client.sample("tiny-gan", n=int(row["row"]) + 1, seed=int(row["seed"]))
        assert np.array_equal(row["image"], again.array[-1])
    assert set(frame["model_digest"]) == {again.digest}
    assert frame["is_synthetic"].all()


@pytest.mark.parametrize("stored", ["parquet", "arrow", "npz"])
async def test_labelled_rows_feed_torch(client: Either, tmp_path: Path, stored: str):
    order = await client.augment(
        "colour", labels={"cat": 5, "owl": 20}, seed=3, format=stored, chunk_rows=10, dtype="uint8"
    )
    rows = await order.to_torch_dataset(tmp_path)
    frame = await order.to_pandas(tmp_path)
    assert len(rows) == len(frame) == 25
    assert frame["label_name"].value_counts().to_dict() == {"owl": 20, "cat": 5}
    image, label = pickle.loads(pickle.dumps(rows))[-1]  # as a loader's worker gets it
    assert image.shape == (3, 4, 5)
    assert image.dtype == torch.float32
    assert 0 <= float(image.min()) <= float(image.max()) <= 1
    assert label == frame["label"].iloc[-1]
    batches = list(DataLoader(rows, batch_size=10, shuffle=True))
    assert [images.shape for images, _ in batches] == [(10, 3, 4, 5)] * 2 + [(5, 3, 4, 5)]
    assert sorted(torch.cat([labels for _, labels in batches]).tolist()) == [0] * 5 + [2] * 20


async def test_without_labels_an_item_is_the_image_alone(client: Either):
    order = await client.augment("tiny-gan", n=3, seed=1)
    rows = await order.to_torch_dataset()
    assert rows[0].shape == (1, 4, 4)
    rows[0].zero_()
    assert float(rows[0].sum()) > 0  # an item is the caller's own
    with pytest.raises(IndexError, match="row 3 of 3"):
        rows[3]


async def test_csv_is_a_frame_of_pixels(client: Either):
    order = await client.augment("tiny-gan", n=3, seed=1, format="csv")
    frame = await order.to_pandas()
    assert frame["pixel15"].between(0, 255).all()
    with pytest.raises(ValueError, match=r"no column `image`; read it with to_pandas"):
        await order.to_torch_dataset()


async def test_archives_of_pictures_name_the_tools_that_read_them(client: Either, tmp_path: Path):
    order = await client.augment("tiny-gan", n=3, seed=1, format="webdataset")
    for read in (order.to_pandas, order.to_torch_dataset):
        with pytest.raises(ValueError, match="with the library `webdataset`"):
            await read(tmp_path)
    (path,) = await order.download(tmp_path)
    with tarfile.open(path) as shard:
        assert "00000000000000.png" in shard.getnames()


@pytest.mark.parametrize(
    ("read", "module"), [("to_pandas", "pandas"), ("to_torch_dataset", "torch")]
)
async def test_a_library_that_is_missing_is_named(
    client: Either, monkeypatch: pytest.MonkeyPatch, read: str, module: str
):
    order = await client.augment("tiny-gan", n=1, seed=1)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=f"{read} needs {module}.*pip install {module}"):
        await getattr(order, read)()


async def test_the_same_key_gives_the_same_order_and_another_request_a_conflict(client: Either):
    first = await client.augment("tiny-gan", n=3, seed=1, idempotency_key="k1")
    again = await client.augment("tiny-gan", n=3, seed=1, idempotency_key="k1")
    other = await client.augment("tiny-gan", n=3, seed=1)
    assert first.id == again.id != other.id
    with pytest.raises(Conflict):
        await client.augment("tiny-gan", n=4, seed=1, idempotency_key="k1")


async def test_an_order_is_found_again_listed_and_has_a_manifest(client: Either):
    order = await (await client.augment("tiny-gan", n=3)).wait()
    assert (await client.order(order.id)).files == order.files
    assert order.id in [listed.id for listed in await client.orders()]
    manifest = await order.manifest()
    assert manifest["model_digest"] == order.status.document["digest"]
    assert manifest["request"]["seed"] == order.seed


async def test_a_cancelled_order_is_told_as_such(client: Either, tmp_path: Path):
    order = await client.augment("tiny-rbm", n=100_000, chunk_rows=1000, burn_in=5000)
    await order.cancel()
    assert order.state == "cancelled"
    with pytest.raises(OrderFailed, match="is cancelled after"):
        await order.wait()
    assert len(await order.download(tmp_path, partial=True)) == len(order.files)


async def test_what_cannot_be_ordered_is_refused_at_once(client: Either):
    with pytest.raises(Invalid):
        await client.augment("tiny-gan", labels={"cat": 3})
    with pytest.raises(NotFound):
        await client.augment("no-such-model", n=3)
    with pytest.raises(NotFound):
        await client.order("ord-none")
