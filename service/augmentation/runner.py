"""Run an order to its end: all missing chunks, a few at a time, then the passes and the manifest.

missing ──workers──► make_chunk ──thread──► encode, write, sync ──► receipt
all there ──► repeats? make those again ──► manifest
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from service.augmentation.chunks import Ask, make_chunk
from service.augmentation.folder import OrderFolder, Receipt
from service.augmentation.holds import Failed
from service.augmentation.manifest import Tally, manifest_of
from service.errors import ServiceError

CHUNKS_IN_FLIGHT = 2  # one is computed while the other is written
CALLS_IN_FLIGHT = 4  # blocks of 64 rows that wait or run: fills the slots of a chain
NICENESS = 10

MadeOn = Callable[[], Mapping[str, str]]
T = TypeVar("T")


class Writing(ThreadPoolExecutor):
    """The thread that encodes and writes, behind everything else that wants a processor."""

    def __init__(self, threads: int = 1) -> None:
        super().__init__(threads, thread_name_prefix="augmentation", initializer=_be_nice)


def _be_nice() -> None:
    """Linux has a niceness for each thread."""
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
    except (AttributeError, OSError):
        return


class Fulfilment:
    """One order on its way."""

    def __init__(
        self,
        folder: OrderFolder,
        ask: Ask,
        *,
        writing: Writing,
        workers: int = CHUNKS_IN_FLIGHT,
        made_on: MadeOn = dict,
        on_start: Callable[[Tally], None] = lambda _: None,
        on_chunk: Callable[[Receipt], None] = lambda _: None,
    ) -> None:
        """`ask` puts queries to models; `on_start` hears what is there, `on_chunk` what is new."""
        self.folder = folder
        self.tally = Tally(folder.order)
        self.manifest: dict[str, Any] | None = None  # once it has ended
        self._ask = ask
        self._writing = writing
        self._workers = workers
        self._made_on = made_on
        self._on_start = on_start
        self._on_chunk = on_chunk
        self._limit = asyncio.Semaphore(CALLS_IN_FLIGHT)

    async def run(self) -> None:
        """Go on from what the folder has, to the manifest.

        Raises:
            Held: it cannot go on now; run it again later.
            Failed: not every row could be delivered; the manifest says which.
            AnotherOrder: the folder is not this order's.
        """
        self.tally = Tally(self.folder.order, await self._aside(self.folder.open))
        self.manifest = await self._aside(self.folder.ended)
        if self.manifest is not None:
            if self.manifest["error"] is not None:
                raise Failed(self.manifest["error"])
            return
        error: str | None = None
        self._on_start(self.tally)
        try:
            await self._make(self.tally.missing)
            while again := await self._aside(self.folder.new_pass):
                self.tally.drop(again)
                await self._make(again)
            error = self.tally.short
        except Failed as failed:
            error = str(failed)
        except ServiceError as failed:
            error = f"the model failed: {failed.detail}"
        manifest = manifest_of(self.tally, error=error)
        await self._aside(lambda: self.folder.close(manifest))
        self.manifest = manifest
        if error is not None:
            raise Failed(error)

    async def _make(self, chunks: list[int]) -> None:
        """Make these chunks with a few workers; the first failure stops them all."""
        todo = iter(chunks)
        tasks = [asyncio.create_task(self._work(todo)) for _ in range(self._workers)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, todo: Iterator[int]) -> None:
        for chunk in todo:
            banned = self.folder.banned(chunk)
            rows = await make_chunk(
                self._ask, self.folder.order, chunk, banned=banned, limit=self._limit
            )
            keep = partial(self.folder.keep, rows, made_on=self._made_on())
            receipt = await self._aside(keep)
            self.tally.add(receipt)
            self._on_chunk(receipt)

    async def _aside(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writing, work)
