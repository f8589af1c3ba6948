"""Orders run to their end: resumed, without copies, short aloud, and never mixed with another."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest

from service.augmentation import folder as folders
from service.augmentation.asking import PinnedModels
from service.augmentation.backends.local import LocalBackend
from service.augmentation.chunks import make_chunk
from service.augmentation.destination import LocalFolder
from service.augmentation.duplicates import HASH_BYTES, hashes_of, repeats
from service.augmentation.folder import AnotherOrder, OrderFolder
from service.augmentation.holds import Failed, Held
from service.augmentation.order import Acceptance
from service.augmentation.runner import Fulfilment, Writing
from service.contract import read_manifest, sha256_of
from service.errors import ComputeFailed, DeadlineExceeded, NotReady, Overloaded
from service.queries import Sample
from tests.augmentation.orders import contents, engine_of, fulfil, order_of
from tests.packages import write_tiny_gan


class Stopping(LocalFolder):
    """A disk on which the process ends before a certain write."""

    def __init__(self, path: Path, *, writes: int) -> None:
        super().__init__(path)
        self.left = writes

    def write(self, name, content):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        super().write(name, content)


async def killed(engine, order, path: Path, *, writes: int) -> None:
    """A run whose process dies at its write number `writes`."""
    folder = OrderFolder(order, Stopping(path, writes=writes))
    folder.open()
    models = PinnedModels([engine], order)
    made = [await make_chunk(models, order, chunk) for chunk in range(order.chunks)]
    with pytest.raises(KeyboardInterrupt):
        [folder.keep(rows, made_on=models.made_on(order.model)) for rows in made]


@pytest.mark.parametrize("writes", [1, 2, 3, 4, 5])
async def test_a_run_goes_on_from_any_write_to_the_same_bytes(engine, tmp_path: Path, writes):
    order = order_of(engine, "tiny-gan", n=100, chunk_rows=20, format="npz")
    await fulfil(engine, order, tmp_path / "whole")
    await killed(engine, order, tmp_path / "cut", writes=writes)
    made = []
    await fulfil(engine, order, tmp_path / "cut", on_chunk=made.append)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    assert len(made) == 5 - (writes - 1) // 2


async def test_a_finished_order_is_not_made_again(engine, tmp_path: Path):
    order = order_of(engine, "tiny-gan", n=100)
    first = await fulfil(engine, order, tmp_path)
    made = []
    again = await fulfil(engine, order, tmp_path, on_chunk=made.append)
    assert not made
    assert again.manifest == first.manifest


async def test_the_manifest_says_what_every_file_is(engine, tmp_path: Path):
    order = order_of(engine, "colour", labels={"cat": 30, "owl": 9}, chunk_rows=20, format="npz")
    await fulfil(engine, order, tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["complete"] is True
    assert manifest["model_digest"] == engine.registry.get("colour").manifest.digest
    assert manifest["requested"] == manifest["delivered"] == {"cat": 30, "dog": 0, "owl": 9}
    assert manifest["made_on"][0]["device"] == "cpu"
    assert {"reverie", "numpy", "pyarrow"} <= manifest["versions"].keys()
    assert manifest["quality_report"] is None
    for file in manifest["files"]:
        content = (tmp_path / file["name"]).read_bytes()
        assert (len(content), sha256_of(content)) == (file["bytes"], file["sha256"])
    assert sum(file["rows"] for file in manifest["files"]) == manifest["rows"] == 39
    assert not (tmp_path / ".receipts").exists()


async def test_an_order_that_stays_short_fails_aloud_and_keeps_what_it_has(engine, tmp_path: Path):
    accept = Acceptance(max_p_value_rejected=0.999, max_draws=2)
    order = order_of(engine, "tiny-gan", n=128, chunk_rows=64, accept=accept)
    with pytest.raises(
        Failed, match=r"of 128 rows were delivered \(all: \d+ of 128\): after max_d"
    ):
        await fulfil(engine, order, tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["complete"] is False
    assert "rows were delivered" in manifest["error"]
    assert manifest["rows"] == sum(manifest["delivered"].values()) < 128
    assert manifest["acceptance"]["rate"] < 0.1
    assert len(manifest["files"]) == 2
    with pytest.raises(Failed):
        await fulfil(engine, order, tmp_path)


async def test_rows_are_unique_over_all_chunks(engine, tmp_path: Path, monkeypatch):
    order = order_of(
        engine, "tiny-rbm", n=300, chunk_rows=100, values="sample", burn_in=2, unique=True,
        format="npz",
    )  # fmt: skip
    passes = []
    new_pass = OrderFolder.new_pass
    monkeypatch.setattr(
        OrderFolder, "new_pass", lambda self: passes.append(new_pass(self)) or passes[-1]
    )
    await fulfil(engine, order, tmp_path / "one", workers=1)
    await fulfil(engine, order, tmp_path / "two", workers=3)
    assert len(passes) > 2
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    files = sorted((tmp_path / "one").glob("data/*.npz"))
    images = np.concatenate([np.load(file)["images"] for file in files])
    assert len(set(hashes_of(images))) == 300


async def test_a_model_with_too_few_images_fails_aloud(engine, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(folders, "MAX_PASSES", 0)
    order = order_of(
        engine, "tiny-rbm", n=400, chunk_rows=100, values="sample", burn_in=5, unique=True
    )
    with pytest.raises(Failed, match="fewer different images"):
        await fulfil(engine, order, tmp_path)


def test_repeats_name_every_later_copy_once():
    draw = np.random.default_rng(0)
    hashes = [draw.bytes(HASH_BYTES) for _ in range(3000)]
    chunks = {0: hashes[:1000], 1: [*hashes[1000:2000], hashes[3]], 2: [hashes[3], *hashes[1500:]]}
    found = repeats((k, b"".join(chunk)) for k, chunk in chunks.items())
    assert found == {1: [hashes[3]], 2: sorted([hashes[3], *hashes[1500:2000]])}
    assert repeats([(0, b"")]) == {}


async def test_a_folder_has_one_order(engine, tmp_path: Path):
    await fulfil(engine, order_of(engine, "tiny-gan", n=10), tmp_path / "mine")
    other = order_of(engine, "tiny-gan", n=11)
    with pytest.raises(AnotherOrder, match="with n=10 and not 11"):
        await fulfil(engine, other, tmp_path / "mine")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.png").touch()
    with pytest.raises(AnotherOrder, match="give an empty one"):
        await fulfil(engine, other, tmp_path / "photos")


async def test_a_model_that_fails_fails_its_order_with_what_it_has(
    engine, tmp_path: Path, monkeypatch
):
    order = order_of(engine, "tiny-gan", n=300, chunk_rows=64)
    run = engine.run

    async def fail_late(model, query, call):
        if query.seed != order.seed:
            raise ComputeFailed("tiny-gan.generate failed on this input")
        return await run(model, query, call)

    monkeypatch.setattr(engine, "run", fail_late)
    with pytest.raises(Failed, match="the model failed: tiny-gan"):
        await fulfil(engine, order, tmp_path, workers=1)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert [file["name"] for file in manifest["files"]] == ["data/chunk-00000.parquet"]


async def test_an_order_is_held_while_its_model_is_another_or_away(tmp_path: Path):
    write_tiny_gan(tmp_path / "store")
    async with engine_of(tmp_path / "store") as engine:
        order = order_of(engine, "tiny-gan", n=10)
    manifest_file = tmp_path / "store" / "tiny-gan" / "1" / "manifest.json"
    document = json.loads(manifest_file.read_text())
    document["defaults"]["truncation"] = 0.5
    manifest_file.write_text(json.dumps(document))
    assert read_manifest(manifest_file.parent).digest != order.digest
    async with engine_of(tmp_path / "store") as engine:
        assert not PinnedModels([engine], order).available
        with pytest.raises(Held) as changed:
            await fulfil(engine, order, tmp_path / "out")
    manifest_file.unlink()
    async with engine_of(tmp_path / "store") as engine:
        with pytest.raises(Held) as missing:
            await fulfil(engine, order, tmp_path / "out")
    assert (changed.value.reason, missing.value.reason) == ("model_changed", "model_missing")


async def test_an_order_goes_on_over_a_reload_that_adds_a_version(tmp_path: Path):
    write_tiny_gan(tmp_path / "store")
    async with engine_of(tmp_path / "store") as engine:
        order = order_of(engine, "tiny-gan", n=200, chunk_rows=10, format="npz")
        running = asyncio.create_task(fulfil(engine, order, tmp_path / "out"))
        write_tiny_gan(tmp_path / "store", version=2)
        await engine.reload()
        fulfilment = await running
        assert fulfilment.manifest["complete"]
        assert fulfilment.manifest["model"] == "tiny-gan@1"


async def test_what_is_in_flight_stops_when_a_run_is_cancelled(engine, tmp_path: Path):
    order = order_of(engine, "tiny-rbm", n=2000, burn_in=500)
    model = engine.registry.get("tiny-rbm")
    writing = Writing()
    models = PinnedModels([engine], order)
    folder = OrderFolder(order, LocalFolder(tmp_path))
    run = Fulfilment(folder, LocalBackend(folder, models, writing=writing), writing=writing).run()
    task = asyncio.create_task(run)
    while not model.running_rows:
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with asyncio.timeout(2):
        while model.running_rows or model.queued_rows:
            await asyncio.sleep(0)
    writing.shutdown()


async def test_models_that_are_busy_late_or_swapped_are_asked_again(engine, monkeypatch):
    order = order_of(engine, "tiny-gan", n=10)
    models = PinnedModels([engine], order)
    run = engine.run
    troubles = [
        Overloaded("busy", retry_after_s=0.0),
        DeadlineExceeded("late"),
        NotReady("this model is being unloaded", retry_after_s=0.0),
    ]

    async def troubled(model, query, call):
        if troubles:
            raise troubles.pop(0)
        assert call.priority == "batch"
        return await run(model, query, call)

    monkeypatch.setattr(engine, "run", troubled)
    assert (await models("tiny-gan@1", Sample(n=3, seed=1))).samples.shape == (3, 1, 4, 4)
    engine.draining = True
    troubles.append(NotReady("the service is shutting down", retry_after_s=5))
    with pytest.raises(Held) as held:
        await models("tiny-gan@1", Sample(n=3, seed=1))
    assert held.value.reason == "model_unloaded"
