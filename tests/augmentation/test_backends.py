"""Backends without a cluster: what an actor does, what its driver plans, what troubles say."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from service.augmentation.asking import PinnedModels
from service.augmentation.backends import ray_data
from service.augmentation.backends.choice import backend_of
from service.augmentation.backends.local import LocalBackend
from service.augmentation.backends.ray_actor import ChunkMaker, Errand
from service.augmentation.backends.ray_driver import LONGEST_BLOCK, blocks_of, read_packages
from service.augmentation.destination import LocalFolder
from service.augmentation.folder import OrderFolder, receipt_from
from service.augmentation.holds import Failed, Held
from service.augmentation.runner import Fulfilment, Writing
from service.cli import app
from service.errors import ComputeFailed
from service.settings import Settings
from tests.augmentation.orders import contents, engine_of, fulfil, order_of


def errand_of(order, out: Path) -> Errand:
    return Errand(order=order.document(), out=str(out), device="cpu", settings={"batch_rows": 16})


@pytest.fixture
def maker() -> Iterator[Callable[..., ChunkMaker]]:
    """Makes actors that are closed at the end."""
    with ExitStack() as stack:
        yield lambda *args: stack.enter_context(closing(ChunkMaker(*args)))


def made(maker: ChunkMaker, *chunks: int) -> list[dict]:
    """What an actor says of a batch."""
    said = maker({"chunk": np.array(chunks)})["said"]
    return [json.loads(line) for line in said]


async def ordered(store: Path, out: Path, *, model: str = "tiny-gan", **asked):
    """An order, made here, and what an actor needs to make it: run beside no event loop."""
    async with engine_of(store) as engine:
        order = order_of(engine, model, chunk_rows=20, format="npz", **asked)
        await fulfil(engine, order, out)
    return order, read_packages([store / model / "1"])


def test_actors_make_the_chunks_of_this_process_and_none_twice(order_store, tmp_path, maker):
    order, packages = asyncio.run(ordered(order_store, tmp_path / "here", n=100))
    first = maker(errand_of(order, tmp_path / "there"), packages)
    second = maker(errand_of(order, tmp_path / "there"), packages)
    said = made(first, 4, 0, 1) + made(second, 3, 1, 2)
    assert [line["receipt"]["chunk"] for line in said if line["receipt"]["chunk"] == 1] == [1, 1]
    files = {name: c for name, c in contents(tmp_path / "here").items() if "data/" in name}
    assert contents(tmp_path / "there").items() >= files.items()
    receipt = receipt_from(said[0]["receipt"])
    assert receipt.made_on["device"] == "cpu"
    inode = (tmp_path / "there" / receipt.name).stat().st_ino
    made(second, receipt.chunk)
    assert (tmp_path / "there" / receipt.name).stat().st_ino == inode


def test_actors_tell_of_troubles_in_words_and_go_on(order_store, tmp_path, maker):
    order, packages = asyncio.run(ordered(order_store, tmp_path / "here", n=100))
    stranger = maker(errand_of(order, tmp_path / "a"), {})
    assert made(stranger, 0)[0]["held"][0] == "model_missing"
    plain = maker(errand_of(order, tmp_path / "b"), packages)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, before[1]))
    try:
        assert made(plain, 0)[0]["held"][0] == "no_space"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert made(plain, 0)[0]["receipt"]["rows"] == 20
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "mine.txt").touch()
    crowded = maker(errand_of(order, tmp_path / "c"), packages)
    assert "give an empty one" in made(crowded, 0)[0]["failed"]
    assert "AssertionError" in made(plain, 99)[0]["broken"]


@given(st.integers(1, 200_000), st.integers(1, 4096))
def test_blocks_are_short_and_there_is_one_for_each_worker_if_there_can_be(chunks, workers):
    blocks = blocks_of(chunks, workers=workers)
    assert blocks >= min(chunks, workers)
    assert chunks / blocks <= LONGEST_BLOCK


@pytest.mark.parametrize(
    ("said", "error", "complaint"),
    [
        ({"held": ["no_space", "full"]}, Held, "full"),
        ({"failed": "another order"}, Failed, "another order"),
        ({"refused": "no such label"}, ComputeFailed, "no such label"),
        ({"broken": "Traceback"}, RuntimeError, "the log has its trace"),
    ],
)
def test_what_an_actor_runs_into_is_what_this_process_would(said, error, complaint):
    with pytest.raises(error, match=complaint):
        ray_data._check(said)


DRIVERS = {
    "dies": "import sys; print('no cluster', file=sys.stderr); sys.exit(3)",
    "lies": """
import json, sys
asked = json.loads(sys.stdin.readline())
receipt = dict(chunk=0, name="x", bytes=1, sha256="", rows=1, asked=1, delivered=[1], drawn=1,
               rejected=0, duplicates=0, passes=0, made_on={})
print(json.dumps({"receipt": receipt}), flush=True)
sys.stdin.read()
""",
    "stays": "import sys; sys.stdin.readline(); print('x', file=sys.stderr); import time\n"
    "while True: time.sleep(60)",
}


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """Puts another program in the place of Ray's driver."""

    def put(name: str) -> None:
        (tmp_path / "a_driver.py").write_text(DRIVERS[name])
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setattr(ray_data, "DRIVER", "a_driver")

    return put


def run_on_ray(engine, out: Path):
    order = order_of(engine, "tiny-gan", n=100, chunk_rows=20)
    folder = OrderFolder(order, LocalFolder(out))
    models, writing = PinnedModels([engine], order), Writing()
    settings = Settings(_env_file=None, augment_backend="ray", ray_gpus_per_worker=0.5)
    backend = backend_of(settings, folder, models, writing=writing)
    return Fulfilment(folder, backend, writing=writing).run()


async def test_a_cluster_that_fails_holds_the_order(engine, tmp_path, driver):
    driver("dies")
    with pytest.raises(Held, match="failed with 5 chunks to go") as held:
        await run_on_ray(engine, tmp_path / "out")
    assert held.value.reason == "no_workers"


async def test_files_that_are_not_to_be_seen_from_here_hold_the_order(engine, tmp_path, driver):
    driver("lies")
    with pytest.raises(Held, match="a file system that all its nodes share"):
        await run_on_ray(engine, tmp_path / "out")


async def test_a_driver_that_does_not_leave_is_ended(engine, tmp_path, driver, monkeypatch):
    driver("stays")
    monkeypatch.setattr(ray_data, "STOP_S", 0.2)
    starting = asyncio.create_subprocess_exec
    begun = asyncio.Event()
    drivers = []

    async def start(*args, **kwargs):
        drivers.append(await starting(*args, **kwargs))
        begun.set()
        return drivers[0]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    task = asyncio.create_task(run_on_ray(engine, tmp_path / "out"))
    await begun.wait()
    task.cancel()
    await asyncio.wait({task})
    assert drivers[0].returncode == -9


async def test_without_ray_an_order_is_held_and_the_command_says_what_to_install(
    engine, order_store, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr(ray_data, "find_spec", lambda name: None)
    with pytest.raises(Held, match="reverie"):
        await run_on_ray(engine, tmp_path / "out")
    command = ["augment", "tiny-gan", "-n", "10", "--backend", "ray", "--out", str(tmp_path / "b")]
    done = await asyncio.to_thread(CliRunner().invoke, app, [*command, "--store", str(order_store)])
    assert done.exit_code == 2
    assert "pip install 'reverie[ray]'" in done.stderr


async def test_this_process_is_the_backend_unless_the_settings_say_otherwise(engine, tmp_path):
    folder = OrderFolder(order_of(engine, "tiny-gan", n=10), LocalFolder(tmp_path))
    models = PinnedModels([engine], folder.order)
    backend = backend_of(engine.settings, folder, models, writing=Writing())
    assert isinstance(backend, LocalBackend)


@pytest.mark.parametrize(
    ("gpus", "device", "expected"),
    [(0, "auto", "cpu"), (0, "cuda:1", "cpu"), (1, "auto", "cuda"), (0.5, "cuda:0", "cuda:0")],
)
def test_actors_use_a_gpu_only_if_they_ask_for_one(gpus, device, expected):
    settings = Settings(_env_file=None, ray_gpus_per_worker=gpus, device=device)
    assert ray_data._device(settings) == expected
