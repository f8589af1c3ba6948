"""Chunks made by a Ray cluster, through a process of its own that drives Ray Data.

this process ──errand──► driver process ──Ray Data──► pool of actors ──► files, receipts
             ◄──a line a receipt──┘

The service imports no Ray: a cluster that dies takes the driver with it and nothing else, and an
order that is cancelled ends its driver, and with it its actors.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import structlog

from service.augmentation.backends import OnReceipt
from service.augmentation.backends.ray_actor import Errand
from service.augmentation.destination import LocalFolder
from service.augmentation.folder import OrderFolder, receipt_from
from service.augmentation.holds import Failed, Held, Reason
from service.errors import ComputeFailed
from service.settings import Settings

log = structlog.get_logger(__name__)

DRIVER = "service.augmentation.backends.ray_driver"
STOP_S = 5.0  # how long a driver may take to end its actors
LONGEST_LINE_BYTES = 2**20
REMEMBERED_LINES = 20  # of what a driver that failed said last
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_raylet_start_wait_time_s": "120"}
NO_RAY = "Ray is not installed beside this command: pip install 'reverie[ray]'"


def ray_is_here() -> bool:
    """Whether this environment has Ray."""
    return find_spec("ray") is not None


class RayBackend:
    """See `Backend`."""

    def __init__(self, folder: OrderFolder, packages: Sequence[Path], settings: Settings) -> None:
        """`packages` are the folders of the order's models, which travel with it."""
        self._folder = folder
        self._packages = packages
        self._settings = settings

    async def make(self, chunks: Sequence[int], on_receipt: OnReceipt) -> None:
        """See `Backend`.

        Raises:
            Held: `no_workers`, where there is no Ray, no cluster, it has failed, or writes to a
                folder that cannot be seen from here.
        """
        if not chunks:
            return
        if not ray_is_here():
            raise Held("no_workers", NO_RAY)
        driver = await asyncio.create_subprocess_exec(
            sys.executable, "-m", DRIVER,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE, limit=LONGEST_LINE_BYTES,
            start_new_session=True,  # Ctrl-C is for this process, which then ends the driver
            env=ENVIRONMENT | os.environ,
        )  # fmt: skip
        assert driver.stderr is not None
        last_words: deque[str] = deque(maxlen=REMEMBERED_LINES)
        listening = asyncio.create_task(_remember(driver.stderr, last_words))
        try:
            missing = await self._hear(driver, chunks, on_receipt)
        finally:
            await _end(driver)
            await listening
            await asyncio.to_thread(self._folder.destination.sweep)
        if missing:
            log.warning("ray_driver_failed", status=driver.returncode, said=list(last_words))
            raise Held(
                "no_workers",
                f"the Ray cluster failed with {len(missing)} chunks to go; its driver ended with "
                f"status {driver.returncode}",
            )

    async def _hear(
        self, driver: asyncio.subprocess.Process, chunks: Sequence[int], on_receipt: OnReceipt
    ) -> set[int]:
        """Tell the driver what to do, and hear what it says; the chunks that it did not make."""
        assert driver.stdin is not None
        assert driver.stdout is not None
        missing = set(chunks)
        with suppress(ConnectionError):
            driver.stdin.write(json.dumps(self._errand(chunks)).encode() + b"\n")
            await driver.stdin.drain()
        async for line in driver.stdout:
            said = json.loads(line)
            _check(said)
            receipt = receipt_from(said["receipt"])
            if receipt.chunk not in missing:
                continue  # made by an actor that died before it could say so
            await asyncio.to_thread(self._see, receipt.chunk)
            missing.discard(receipt.chunk)
            on_receipt(receipt)
        return missing

    def _see(self, chunk: int) -> None:
        """Look for a receipt where the actor says that it wrote it.

        Raises:
            Held: it is not there.
        """
        if not self._folder.receipts_of([chunk]):
            raise Held(
                "no_workers",
                "what the Ray cluster wrote is not to be seen from here: the folder must be a URL "
                "(s3://…) or a file system that all its nodes share",
            )

    def _errand(self, chunks: Sequence[int]) -> dict[str, Any]:
        settings, out = self._settings, self._folder.destination
        errand = Errand(
            order=self._folder.order.document(),
            out=str(out.path.absolute()) if isinstance(out, LocalFolder) else out.shown,
            device=_device(settings),
            settings={name: getattr(settings, name) for name in Errand.SETTINGS},
        )
        return {
            "errand": asdict(errand),
            "packages": [str(path.absolute()) for path in self._packages],
            "chunks": list(chunks),
            "address": settings.ray_address,
            "workers": settings.ray_workers,
            "gpus": settings.ray_gpus_per_worker,
        }


def _device(settings: Settings) -> str:
    """Actors that ask for no GPU use none; those that do see theirs alone."""
    if settings.ray_gpus_per_worker == 0:
        return "cpu"
    return "cuda" if settings.device == "auto" else settings.device


def _check(said: dict[str, Any]) -> None:
    """Raise what an actor or the driver has run into, if this is no receipt."""
    match said:
        case {"held": [reason, str(detail)]} if reason in get_args(Reason):
            raise Held(reason, detail)
        case {"failed": str(detail)}:
            raise Failed(detail)
        case {"refused": str(detail)}:
            raise ComputeFailed(detail)
        case {"broken": str(trace)}:
            log.error("ray_actor_broken", trace=trace)
            raise RuntimeError("an actor of the Ray cluster failed; the log has its trace")


async def _remember(stream: asyncio.StreamReader, lines: deque[str]) -> None:
    with suppress(ValueError):  # a line that is too long
        async for line in stream:
            lines.append(line.decode(errors="replace").rstrip())
    while await stream.read(2**16):
        continue


async def _end(driver: asyncio.subprocess.Process) -> None:
    """Let the driver end its actors; if it takes too long, end it without."""
    assert driver.stdin is not None
    driver.stdin.close()
    try:
        async with asyncio.timeout(STOP_S):
            await driver.wait()
    except TimeoutError:
        driver.kill()
        await driver.wait()
