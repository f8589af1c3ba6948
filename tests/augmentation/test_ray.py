"""Orders on a real Ray cluster of two nodes: the same bytes, whoever is killed or cancelled."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from service.augmentation.asking import PinnedModels
from service.augmentation.backends import ray_data
from service.augmentation.backends.choice import backend_of
from service.augmentation.destination import LocalFolder
from service.augmentation.folder import OrderFolder
from service.augmentation.runner import Fulfilment, Writing
from tests.augmentation.orders import contents, engine_of, fulfil, order_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",  # else a token is left in the home folder
    "RAY_raylet_start_wait_time_s": "200",
    "RAY_prestart_worker_first_driver": "0",  # no workers that nobody has asked for
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a cluster of two nodes, each with one processor."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.augmentation.ray_cluster"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=os.environ | ENVIRONMENT, start_new_session=True,
    )  # fmt: skip
    try:
        lines = iter(process.stdout.readline, "")
        yield next(line.strip() for line in lines if re.search(r":\d+$", line))
    finally:
        process.communicate()


def actors() -> dict[int, int]:
    """Processes that make chunks, each with the raylet that it belongs to."""
    found = {}
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            name = (folder / "cmdline").read_bytes()
            if name.startswith(b"ray::") and b"_Actor" in name:
                stat = (folder / "stat").read_text().rpartition(")")[2].split()
                found[int(folder.name)] = int(stat[1])
    return found


class Run:
    """An order of a service whose settings say Ray."""

    def __init__(self, engine, order, path: Path) -> None:
        self.made: list[int] = []
        self.half = asyncio.Event()
        self.writing = Writing()
        folder = OrderFolder(order, LocalFolder(path))
        models = PinnedModels([engine], order)
        backend = backend_of(engine.settings, folder, models, writing=self.writing)
        assert isinstance(backend, ray_data.RayBackend)
        fulfilment = Fulfilment(folder, backend, writing=self.writing, on_chunk=self._note)
        self.task = asyncio.create_task(fulfilment.run())

    def _note(self, receipt) -> None:
        self.made.append(receipt.chunk)
        if len(self.made) >= 4:
            self.half.set()

    async def until_it_has_begun(self) -> None:
        half = asyncio.create_task(self.half.wait())
        await asyncio.wait({half, self.task}, return_when=asyncio.FIRST_COMPLETED)
        half.cancel()
        assert not self.task.done(), self.task


@pytest.fixture
def on_ray(cluster, order_store, monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return engine_of(
        order_store, augment_backend="ray", ray_address=cluster, ray_workers=2, threads_per_model=1
    )


async def test_an_actor_that_is_killed_changes_no_byte(on_ray, tmp_path: Path):
    async with on_ray as engine:
        order = order_of(engine, "tiny-rbm", n=1200, chunk_rows=50, burn_in=300, format="npz")
        run = Run(engine, order, tmp_path / "ray")
        await run.until_it_has_begun()
        killed = actors()
        assert len(set(killed.values())) == 2, "an actor on each node"
        os.kill(min(killed), signal.SIGKILL)
        await run.task
        assert sorted(run.made) == list(range(24))
        await fulfil(engine, order, tmp_path / "here")
        assert contents(tmp_path / "ray") == contents(tmp_path / "here")
        run.writing.shutdown()


async def test_cancelling_ends_the_actors_and_what_is_there_is_not_made_again(
    on_ray, tmp_path: Path
):
    async with on_ray as engine:
        order = order_of(engine, "tiny-rbm", n=5000, chunk_rows=50, burn_in=600, format="npz")
        first = Run(engine, order, tmp_path)
        await first.until_it_has_begun()
        began = time.monotonic()
        first.task.cancel()
        await asyncio.wait({first.task})
        while actors():
            await asyncio.sleep(0)
        assert time.monotonic() - began < 2
        kept = contents(tmp_path)
        assert not [name for name in kept if name.endswith(".tmp")]
        there = sum(name.endswith(".npz") for name in kept)
        second = Run(engine, order, tmp_path)
        await second.until_it_has_begun()
        assert not set(second.made) & set(first.made)
        second.task.cancel()
        await asyncio.wait({second.task})
        assert contents(tmp_path).items() >= {(n, c) for n, c in kept.items() if "data" in n}
        assert there >= len(first.made) >= 4
        for run in (first, second):
            run.writing.shutdown()
