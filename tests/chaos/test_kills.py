"""SIGKILL at random moments: nothing acknowledged is lost, nothing is doubled, no byte differs.

REVERIE_CHAOS_KILLS says how many, REVERIE_CHAOS_SEED when; `make chaos` kills a thousand times, and
says what it checked.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

import httpx
import pytest

from service.augmentation.holdings import FOLDER
from service.augmentation.store import OrderStore
from tests.api.packages import write_colour
from tests.augmentation.orders import contents, engine_of, fulfil, order_of
from tests.chaos.nursery import ORDERS
from tests.packages import write_tiny_gan, write_tiny_rbm

KILLS = int(os.environ.get("REVERIE_CHAOS_KILLS", "30"))
SEED = int(os.environ.get("REVERIE_CHAOS_SEED", "0"))
LONGEST_LIFE_S = 60


class Nursery:
    """A process that forks lives."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.nursery"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip

    def live(self, paths: dict[str, Path], *, for_s: float) -> None:
        """One life, killed after `for_s` seconds unless it ends before."""
        self._process.stdin.write(json.dumps({k: str(p) for k, p in paths.items()}) + "\n")
        pid = int(self._process.stdout.readline())
        killer = Timer(for_s, _kill, [pid])
        killer.start()
        assert self._process.stdout.readline() == "ended\n"
        killer.cancel()
        killer.join()

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@dataclass(frozen=True)
class World:
    """A folder of orders over many lives, and what was told of them."""

    root: Path
    store: Path

    @property
    def paths(self) -> dict[str, Path]:
        return {"store": self.store, "data": self.root / "data", "told": self.root / "told"}

    @property
    def told(self) -> list[list[str]]:
        """Every whole line: (key, id) or (done)."""
        if not self.paths["told"].exists():
            return []
        return [line.split() for line in self.paths["told"].read_text().splitlines()]

    @property
    def done(self) -> bool:
        return ["done"] in self.told

    @property
    def acknowledged(self) -> dict[str, str]:
        """Order ids by key; a key that was told twice was told the same id."""
        found: dict[str, str] = {}
        for key, *id_ in self.told:
            if id_:
                assert found.setdefault(key, id_[0]) == id_[0]
        return found

    def kept(self) -> dict[Path, int]:
        """Files whose receipts are there, with what changes when they are written again."""
        found = {}
        for receipt in (self.paths["data"] / FOLDER).glob("*/.receipts/chunk-*.json"):
            name = json.loads(receipt.read_text())["name"]
            file = receipt.parents[1] / name
            found[file] = file.stat().st_ino
        return found

    def check(self, expected: dict[str, dict[str, bytes]]) -> None:
        """Everything that was acknowledged is there once, with the bytes that it should have."""
        with closing(OrderStore(self.paths["data"] / FOLDER)) as store:
            orders = [record for _, record in store.page(limit=100, before=None)]
        assert {o.id for o in orders} == set(self.acknowledged.values())
        assert len(orders) == len(ORDERS)
        assert {o.state for o in orders} == {"done"}
        for key, id_ in self.acknowledged.items():
            assert contents(self.paths["data"] / FOLDER / id_) == expected[key]
        on_disk = {p.name for p in (self.paths["data"] / FOLDER).iterdir() if p.is_dir()}
        assert on_disk == set(self.acknowledged.values())


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chaos-store")
    for write in (write_tiny_gan, write_tiny_rbm, write_colour):
        write(folder)
    return folder


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    found = Nursery()
    yield found
    found.close()


@pytest.fixture(scope="module")
def undisturbed(nursery, store, tmp_path_factory) -> tuple[dict[str, dict[str, bytes]], float]:
    """Files by key of a life that nobody ends, and how long it took."""
    world = World(tmp_path_factory.mktemp("undisturbed"), store)
    began = time.monotonic()
    nursery.live(world.paths, for_s=LONGEST_LIFE_S)
    took_s = time.monotonic() - began
    assert world.done
    folder = world.paths["data"] / FOLDER
    return {key: contents(folder / id_) for key, id_ in world.acknowledged.items()}, took_s


@pytest.mark.timeout(60 + 10 * KILLS)
def test_kills_at_random_moments_lose_nothing_double_nothing_and_change_no_byte(
    nursery, store, undisturbed, tmp_path
):
    expected, life_s = undisturbed
    moments = random.Random(SEED)
    kills, worlds, kept, compared = 0, 0, 0, 0
    while kills < KILLS:
        world = World(tmp_path / str(worlds), store)
        world.root.mkdir()
        worlds += 1
        while not world.done:
            before = world.kept()
            # Mostly early, where orders are placed and the first chunks are written.
            nursery.live(world.paths, for_s=life_s * moments.betavariate(1.5, 2.5))
            kills += not world.done
            unique = world.acknowledged.get("chains", "")
            for file, inode in before.items():
                if file.parents[1].name != unique:  # its passes make chunks again
                    assert file.stat().st_ino == inode, f"{file.name} was made twice"
                    kept += 1
            if kills == KILLS:
                break
        nursery.live(world.paths, for_s=LONGEST_LIFE_S)
        world.check(expected)
        compared += sum(len(files) for files in expected.values())
    print(
        f"{kills} kills in {worlds} worlds of {len(ORDERS)} orders, seed {SEED}: {kept} times a "
        "file was there before a life and was not made again, "
        f"{compared} files had the undisturbed bytes"
    )


@contextmanager
def serving(store: Path, data: Path, log: Path) -> Iterator[tuple[subprocess.Popen, str]]:
    """`reverie serve` and its address; killed at the end."""
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "service.cli", "serve", "--port", "0", "--store", str(store)],
            stderr=file,
            env=os.environ | {"REVERIE_DATA_DIR": str(data), "REVERIE_POOL_ROWS": "0"},
        )
    try:
        deadline = time.monotonic() + LONGEST_LIFE_S
        while not (found := [w for w in log.read_text().split() if w.startswith("http://")]):
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        yield process, found[0].rstrip("/")
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_service_that_is_killed_goes_on_within_five_seconds_of_its_start(store, tmp_path):
    body = {"model": "tiny-rbm", "n": 600, "seed": 5, "burn_in": 1500, "format": "npz",
            "chunk_rows": 50}  # fmt: skip
    headers = {"Idempotency-Key": "mine"}
    url_of = "{}/v1/augmentations/{}".format
    rows, id_ = 0, ""
    for life in range(4):
        with serving(store, tmp_path / "data", tmp_path / f"{life}.log") as (process, url):
            began = time.monotonic()
            placed = httpx.post(f"{url}/v1/augmentations", json=body, headers=headers)
            assert placed.status_code == (200 if life else 202), placed.text
            assert id_ in {"", placed.json()["id"]}
            id_ = placed.json()["id"]
            while (order := httpx.get(url_of(url, id_)).json())["state"] == "queued":
                assert time.monotonic() - began < 5
            while life < 3 and len(order["files"]) * 50 <= rows and order["state"] != "done":
                order = httpx.get(url_of(url, id_)).json()
            assert len(order["files"]) * 50 >= rows
            rows = len(order["files"]) * 50
            while life == 3 and order["state"] != "done":
                order = httpx.get(url_of(url, id_)).json()
    assert order["delivered"] == {"all": 600}

    async def undisturbed() -> None:
        async with engine_of(store) as engine:
            await fulfil(engine, order_of(engine, **body), tmp_path / "undisturbed")

    asyncio.run(undisturbed())
    assert contents(tmp_path / "data" / FOLDER / id_) == contents(tmp_path / "undisturbed")
