"""The service's orders: placed, run a few at a time beside everything else, resumed after a crash.

place ──SQLite──► queued ──► Errand: running ──► done | failed | cancelled ──time──► forgotten
                    ▲                 │
                    └──── on_hold ◄───┘  no space, no model: tried again by itself
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import structlog

from service.augmentation.board import Board
from service.augmentation.errand import Errand
from service.augmentation.holdings import Holdings
from service.augmentation.holds import Held
from service.augmentation.intake import TakenIn, check_space, take_in
from service.augmentation.records import Record
from service.augmentation.resolve import Asked
from service.augmentation.runner import Writing
from service.augmentation.store import Clash, OrderStore
from service.engine import Engine
from service.errors import IdempotencyClash, NoSpace, NotReady, Overloaded
from service.metrics import ORDER_STATES
from service.queries import Call

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 0.5
KEPT_FREE_BYTES = 2**20  # a held order goes on when a chunk and this much would fit


class Desk:
    """All orders of one service; `start` and `stop` it with the application."""

    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.time) -> None:
        self.settings = engine.settings
        self.engine = engine
        self._clock = clock
        self._holdings = Holdings(self.settings.data_dir)
        self._writing = Writing()
        self._errands: dict[str, Errand] = {}  # of orders that have not ended, oldest first
        self.board = Board(self._holdings, self._errands, self._store, engine)
        self._wake = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self._entering: set[asyncio.Task[dict[str, Any]]] = set()

    async def start(self) -> None:
        """Go on with what is unfinished, in the background."""
        self._count({})
        self._loop = asyncio.create_task(self._serve(), name="orders")

    async def stop(self) -> None:
        """Let go of every order where it stands; the next start goes on from there."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        await asyncio.gather(*(errand.stop() for errand in self._errands.values()))
        await asyncio.to_thread(self._writing.shutdown, wait=True, cancel_futures=True)
        await self._holdings.close()

    async def known(self, key: str, body: str) -> dict[str, Any] | None:
        """The order that a client placed under this idempotency key, if it did.

        Raises:
            IdempotencyClash: it was placed with another body.
        """
        store = await self._store()
        if store is None:
            return None
        try:
            found = await self._holdings.aside(lambda: store.known(key, body))
        except Clash:
            raise _clash(key) from None
        return None if found is None else await self.board.shown(found)

    async def place(
        self, asked: Asked, call: Call, *, key: str | None, body: str
    ) -> dict[str, Any]:
        """Take an order in; when this returns, the order outlives the process.

        Args:
            asked: what is ordered.
            call: bounds the trial that comes first.
            key: the client's idempotency key.
            body: the request's digest, which goes with the key.

        Raises:
            ServiceError: the order cannot be taken: 404, 409, 422, 429, 503, 507.
        """
        limit = self.settings.max_open_orders
        if len(self._errands) >= limit:
            raise Overloaded(
                f"{limit} orders have not ended yet, which is the limit: wait for one, or cancel "
                "it",
                retry_after_s=30,
            )
        taken = await take_in(asked, self.engine, self.engine, call)
        entering = asyncio.create_task(self._enter(taken, key=key, body=body))
        self._entering.add(entering)
        entering.add_done_callback(self._entering.discard)
        return await asyncio.shield(entering)  # a client that leaves does not halve it

    async def cancel(self, id_: str) -> dict[str, Any]:
        """End an order; its rows leave the models at once. One that has ended stays as it is.

        Raises:
            UnknownOrder: there is none of that id.
        """
        await self.board.record(id_)
        if (errand := self._errands.get(id_)) is not None:
            await errand.cancel()
            with suppress(Held):  # a full disk: the next round saves it
                await errand.save()
            self._wake.set()
        return await self.board.find(id_)

    async def _serve(self) -> None:
        while True:
            try:
                await self._settle()
            except NotReady as error:
                log.debug("orders_wait", reason=error.detail)
            except Held as held:
                log.warning("orders_not_saved", reason=held.detail)
            except Exception as error:  # one bad round must not end all orders
                log.error("orders_round_failed", exc_info=error)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._wake.wait()
            self._wake.clear()

    async def _settle(self) -> None:
        """One round: save, let go of what has ended, wake what was held, begin what may."""
        store = await self._store()
        if store is None:
            return
        for errand in list(self._errands.values()):
            await errand.save()
            if errand.over:
                self._errands.pop(errand.record.id, None)
            elif errand.record.state == "on_hold" and self._may_go_on(errand):
                errand.queue()
        running = sum(errand.busy for errand in self._errands.values())
        for errand in self._errands.values():
            if errand.may_begin and running < self.settings.max_running_orders:
                errand.begin()
                running += 1
        expired = self._clock() - self.settings.order_ttl_s
        for id_ in await self._holdings.aside(lambda: store.expired(before=expired)):
            await self._holdings.forget(id_)
        self._count(await self._holdings.aside(store.counts))

    def _count(self, orders: Mapping[str, int]) -> None:
        for state in ORDER_STATES:
            self.engine.metrics.augmentations.labels(state=state).set(orders.get(state, 0))

    async def _enter(self, taken: TakenIn, *, key: str | None, body: str) -> dict[str, Any]:
        """Keep an order that can be made, and see to it from now on."""
        store = await self._store(create=True)
        assert store is not None
        promised = sum(errand.record.remaining_bytes for errand in self._errands.values())
        check_space(taken, free_bytes=self._holdings.free_bytes, promised_bytes=promised)
        record = Record(
            id=f"ord-{secrets.token_hex(16)}",
            order=taken.order,
            created_at=self._clock(),
            row_bytes=taken.row_bytes,
        )
        told = self.board.document(record)
        try:
            placed = await self._holdings.aside(
                lambda: store.place(record, key=key, body=body, data=told)
            )
        except Clash:
            raise _clash(key or "") from None
        except Held as held:
            raise NoSpace(f"{held.detail}: nothing was ordered") from held
        if placed.id == record.id:
            self._adopt(placed, store, last_event=1)
            self._wake.set()
        return await self.board.shown(placed)

    def _may_go_on(self, errand: Errand) -> bool:
        """Whether what a held order waits for may be there."""
        record = errand.record
        chunk_bytes = min(record.order.chunk_rows, record.order.n) * record.row_bytes
        fits = self._holdings.free_bytes > chunk_bytes + KEPT_FREE_BYTES
        return errand.may_go_on and (fits or record.reason != "no_space")

    async def _store(self, *, create: bool = False) -> OrderStore | None:
        """The database, with what is unfinished adopted; None if there are no orders at all."""
        opened = await self._holdings.open(create=create)
        store = self._holdings.store
        if opened and store is not None:
            for record in await self._holdings.aside(store.unfinished):
                id_ = record.id
                last = await self._holdings.aside(lambda: store.last_event(id_))  # noqa: B023
                self._adopt(record.moved("queued", at=0), store, last_event=last)
            self._wake.set()
        return store

    def _adopt(self, record: Record, store: OrderStore, *, last_event: int) -> None:
        if record.id in self._errands:
            return
        self._errands[record.id] = Errand(
            record,
            self._holdings.of(record),
            self.engine,
            store=store,
            storing=self._holdings.thread,
            writing=self._writing,
            document=self.board.document,
            clock=self._clock,
            on_change=self._wake.set,
            last_event=last_event,
        )


def _clash(key: str) -> IdempotencyClash:
    return IdempotencyClash(
        f"the Idempotency-Key {key[:80]!r} was used with another request: use a new key for a new "
        "order"
    )
