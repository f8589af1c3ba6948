"""Chunks made by this process: computed a few at a time, encoded and written by one thread.

chunks ──workers──► make_chunk ──thread──► encode, write, sync ──► receipt
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from service.augmentation.backends import OnReceipt
from service.augmentation.chunks import Ask, make_chunk
from service.augmentation.folder import OrderFolder

CHUNKS_IN_FLIGHT = 2  # one is computed while the other is written
CALLS_IN_FLIGHT = 4  # blocks of 64 rows that wait or run: fills the slots of a chain

MadeOn = Callable[[], Mapping[str, str]]


class LocalBackend:
    """See `Backend`."""

    def __init__(
        self,
        folder: OrderFolder,
        ask: Ask,
        *,
        writing: ThreadPoolExecutor,
        workers: int = CHUNKS_IN_FLIGHT,
        made_on: MadeOn = dict,
    ) -> None:
        """`ask` puts queries to models, and `made_on` says where these run."""
        self._folder = folder
        self._ask = ask
        self._writing = writing
        self._workers = workers
        self._made_on = made_on
        self._limit = asyncio.Semaphore(CALLS_IN_FLIGHT)

    async def make(self, chunks: Sequence[int], on_receipt: OnReceipt) -> None:
        """See `Backend`; the first failure stops all workers."""
        todo = iter(chunks)
        tasks = [asyncio.create_task(self._work(todo, on_receipt)) for _ in range(self._workers)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, todo: Iterator[int], on_receipt: OnReceipt) -> None:
        for chunk in todo:
            rows = await make_chunk(
                self._ask,
                self._folder.order,
                chunk,
                banned=self._folder.banned(chunk),
                limit=self._limit,
            )
            keep = partial(self._folder.keep, rows, made_on=self._made_on())
            on_receipt(await asyncio.get_running_loop().run_in_executor(self._writing, keep))
