"""What is told of the service's orders: how they stand, what happened, which files there are.

Errand, if it is not over | Record of the store ──► document, events, files
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.augmentation.errand import Errand
from service.augmentation.formats import FORMATS
from service.augmentation.holdings import Holdings
from service.augmentation.records import Record
from service.augmentation.store import Event, OrderStore
from service.engine import Engine
from service.errors import UnknownOrder
from service.reports.writing import HTML_FILE, JSON_FILE

LOOK_EVERY_S = 0.5  # how soon an event stream notices that the service leaves
PING_S = 15.0
REPORT_TYPES = {HTML_FILE: "text/html; charset=utf-8", JSON_FILE: "application/json"}


@dataclass(frozen=True)
class OrderFile:
    """A file that can be downloaded."""

    path: Path
    sha256: str
    media_type: str


class Board:
    """The orders of one service, as clients may see them."""

    def __init__(
        self,
        holdings: Holdings,
        errands: Mapping[str, Errand],
        store: Callable[[], Awaitable[OrderStore | None]],
        engine: Engine,
    ) -> None:
        """`errands` are those that are not over; `store` opens the database, if there is one."""
        self._holdings = holdings
        self._errands = errands
        self._store = store
        self._engine = engine

    async def find(self, id_: str) -> dict[str, Any]:
        """How an order stands.

        Raises:
            UnknownOrder: there is none of that id, or it has expired.
        """
        return await self.shown(await self.record(id_))

    async def page(
        self, *, limit: int, before: int | None
    ) -> tuple[list[dict[str, Any]], int | None]:
        """Orders without their files, newest first, and where the next page begins."""
        store = await self._store()
        if store is None:
            return [], None
        found = await self._holdings.aside(lambda: store.page(limit=limit + 1, before=before))
        shown = [self.document(self._live(record)) for _, record in found[:limit]]
        return shown, found[limit - 1][0] if len(found) > limit else None

    async def events(self, id_: str, *, after: int) -> AsyncIterator[Event | None]:
        """What happened since event `after`, then what happens; None now and then: a sign of life.

        It ends with the order, and when the service leaves.

        Raises:
            UnknownOrder: there is none of that id.
        """
        await self.record(id_)
        store = self._holdings.store
        assert store is not None
        quiet_since = time.monotonic()
        while not (self._engine.leaving or self._engine.draining):
            errand = self._errands.get(id_)
            bell = None if errand is None or errand.over else errand.bell
            for event in await self._holdings.aside(lambda: store.events(id_, after=after)):  # noqa: B023
                after, quiet_since = event.number, time.monotonic()
                yield event
            if bell is None:
                return
            if time.monotonic() - quiet_since > PING_S:
                quiet_since = time.monotonic()
                yield None
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await bell.wait()

    async def manifest(self, id_: str) -> dict[str, Any]:
        """The manifest of an order that has ended.

        Raises:
            UnknownOrder: there is none of that id, or it has no manifest yet.
        """
        record = await self.record(id_)
        found = await asyncio.to_thread(lambda: self._holdings.of(record).manifest)
        if found is None:
            raise UnknownOrder(
                f"order {id_} is {record.state}: it has a manifest when it has ended"
            )
        return found

    async def file(self, id_: str, name: str) -> OrderFile:
        """A file of an order, which its list of files names.

        Raises:
            UnknownOrder: there is no such order, or no such file yet.
        """
        record = await self.record(id_)
        files = [*await self._files(record), *await self._report_files(record)]
        listed = {file["name"]: file["sha256"] for file in files}
        if name not in listed:
            raise UnknownOrder(f"order {id_} has no file {name[:80]!r}; `files` lists those it has")
        return OrderFile(
            path=self._holdings.folder / id_ / name,
            sha256=listed[name],
            media_type=REPORT_TYPES.get(name, FORMATS[record.order.format].media_type),
        )

    async def record(self, id_: str) -> Record:
        """The newest record of an order.

        Raises:
            UnknownOrder: there is none of that id.
        """
        store = await self._store()
        found = None if store is None else await self._holdings.aside(lambda: store.find(id_))
        if found is None:
            raise UnknownOrder(f"no order {id_[:80]!r}: it never was, or has expired")
        return self._live(found)

    def _live(self, record: Record) -> Record:
        errand = self._errands.get(record.id)
        return record if errand is None else errand.record

    async def shown(self, record: Record) -> dict[str, Any]:
        """What a client is told of an order, with its files."""
        record = self._live(record)
        return self.document(record, files=await self._files(record))

    async def _files(self, record: Record) -> list[dict[str, Any]]:
        """Files that will not change any more."""
        errand = self._errands.get(record.id)
        if errand is not None and not record.ended:
            return errand.files
        manifest = await asyncio.to_thread(lambda: self._holdings.of(record).manifest)
        return [] if manifest is None else list(manifest["files"])

    async def _report_files(self, record: Record) -> list[dict[str, Any]]:
        """The files of the quality report of an order that has ended."""
        if not record.ended:
            return []
        manifest = await asyncio.to_thread(lambda: self._holdings.of(record).manifest)
        report = None if manifest is None else manifest["quality_report"]
        return [] if report is None else list(report["files"])

    def document(
        self, record: Record, *, files: list[dict[str, Any]] | None = None
    ) -> dict[str, Any]:
        """What a client is told of an order."""
        errand = self._errands.get(record.id)
        rate = None if errand is None else errand.rows_per_second
        ttl_s = self._engine.settings.order_ttl_s
        return record.document(ttl_s=ttl_s, rate=rate, files=files)
