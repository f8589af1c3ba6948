"""Run an order to its end: all missing chunks, by some backend, then the passes and the manifest.

missing ──Backend──► receipts ──► all there: repeats? make those again ──► manifest
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from service.augmentation.backends import Backend
from service.augmentation.folder import OrderFolder, Receipt
from service.augmentation.holds import Failed
from service.augmentation.manifest import Tally, manifest_of
from service.errors import ServiceError

NICENESS = 10

MakeReport = Callable[[], Awaitable[dict[str, Any] | None]]
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
        backend: Backend,
        *,
        writing: Writing,
        on_start: Callable[[Tally], None] = lambda _: None,
        on_chunk: Callable[[Receipt], None] = lambda _: None,
        report: MakeReport | None = None,
    ) -> None:
        """`backend` makes the chunks; `on_start` hears what is there, `on_chunk` what is new.

        `report` is called once all files are there, and what it gives is put in the manifest.
        """
        self.folder = folder
        self.tally = Tally(folder.order)
        self.manifest: dict[str, Any] | None = None  # once it has ended
        self._backend = backend
        self._writing = writing
        self._on_start = on_start
        self._on_chunk = on_chunk
        self._report = report

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
        report: dict[str, Any] | None = None
        self._on_start(self.tally)
        try:
            await self._backend.make(self.tally.missing, self._note)
            while again := await self._aside(self.folder.new_pass):
                self.tally.drop(again)
                await self._backend.make(again, self._note)
            error = self.tally.short
            if self._report is not None and self.tally.rows:
                report = await self._report()
        except Failed as failed:
            error = str(failed)
        except ServiceError as failed:
            error = f"the model failed: {failed.detail}"
        manifest = manifest_of(self.tally, error=error, report=report)
        await self._aside(lambda: self.folder.close(manifest))
        self.manifest = manifest
        if error is not None:
            raise Failed(error)

    def _note(self, receipt: Receipt) -> None:
        self.tally.add(receipt)
        self._on_chunk(receipt)

    async def _aside(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writing, work)
