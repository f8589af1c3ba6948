"""Where the service keeps its orders: a folder with a lock, a database, and a folder an order.

REVERIE_DATA_DIR/augmentations/{lock, orders.sqlite, <order>/…} ──one process, one thread──► store

Nothing is made before the first order: a service that takes none leaves no trace.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from service.augmentation.destination import LocalFolder
from service.augmentation.folder import OrderFolder
from service.augmentation.records import Record
from service.augmentation.store import DATABASE, Lock, OrderStore
from service.errors import NotReady

FOLDER = "augmentations"
T = TypeVar("T")


class Holdings:
    """The files of all orders of one service."""

    def __init__(self, data_dir: Path) -> None:
        self.folder = data_dir / FOLDER
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="orders")
        self.store: OrderStore | None = None
        self._lock: Lock | None = None

    async def open(self, *, create: bool) -> bool:
        """Take the folder, if there is one or `create` makes it; whether that was now.

        Raises:
            NotReady: another process has it, or it cannot be written.
        """
        if self.store is not None or not (create or (self.folder / DATABASE).exists()):
            return False
        try:
            return await self.aside(self._take)
        except OSError as error:
            raise NotReady(
                "the data folder cannot be written, so no orders are taken: the operator sets "
                "REVERIE_DATA_DIR",
                retry_after_s=60,
            ) from error

    async def close(self) -> None:
        """Close the database and let the folder go."""
        if self.store is not None:
            await self.aside(self.store.close)
            self.store = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        self.thread.shutdown(wait=True)

    def of(self, record: Record) -> OrderFolder:
        """The folder of one order."""
        return OrderFolder(record.order, LocalFolder(self.folder / record.id))

    async def forget(self, id_: str) -> None:
        """Remove an order and its files."""
        await asyncio.to_thread(shutil.rmtree, self.folder / id_, ignore_errors=True)
        assert self.store is not None
        store = self.store
        await self.aside(lambda: store.forget(id_))

    @property
    def free_bytes(self) -> int:
        """What the disk has left."""
        return shutil.disk_usage(self.folder).free

    async def aside(self, work: Callable[[], T]) -> T:
        """Do `work` on the one thread that has the database."""
        return await asyncio.get_running_loop().run_in_executor(self.thread, work)

    def _take(self) -> bool:
        """Make the folder ours, and remove what a killed process was writing."""
        if self.store is not None:
            return False
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = self._lock or Lock(self.folder / "lock")
        if not self._lock.taken():
            raise NotReady("another process of this service takes the orders", retry_after_s=2)
        for folder in self.folder.iterdir():
            if folder.is_dir():
                LocalFolder(folder).sweep()
        self.store = OrderStore(self.folder)
        return True
