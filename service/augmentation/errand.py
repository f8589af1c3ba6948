"""One order of the service while it is not over: it runs, is held, is cancelled, and tells of it.

Record ──begin──► Fulfilment ──► chunk done: counted, told at most once a second
                            └──► done | failed | on_hold: saved with its event
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Protocol

import structlog

from service.augmentation.asking import PinnedModels
from service.augmentation.backends.choice import backend_of
from service.augmentation.folder import AnotherOrder, OrderFolder, Receipt
from service.augmentation.holds import Failed, Held, Reason
from service.augmentation.manifest import Tally, manifest_of
from service.augmentation.records import Record, State
from service.augmentation.reporting import REMEMBERED, Reporter
from service.augmentation.runner import Fulfilment, Writing
from service.augmentation.store import Event, OrderStore
from service.engine import Engine

log = structlog.get_logger(__name__)

TELL_EVERY_S = 1.0
RETRY_HELD_S = 2.0  # doubled each time in a row, up to
LONGEST_RETRY_S = 60.0


class Document(Protocol):
    """What clients are told of a record."""

    def __call__(self, record: Record) -> dict[str, Any]:
        """As a JSON document."""
        ...


class Errand:
    """An order that has not ended, or has only just."""

    def __init__(
        self,
        record: Record,
        folder: OrderFolder,
        engine: Engine,
        *,
        store: OrderStore,
        storing: ThreadPoolExecutor,
        writing: Writing,
        document: Document,
        clock: Callable[[], float],
        on_change: Callable[[], None],
        last_event: int,
    ) -> None:
        """`storing` is the thread of the store; `on_change` hears that its state has changed."""
        self.record = record
        self.saved = True
        self.bell = asyncio.Event()  # rung and replaced with each event
        self._folder = folder
        self._engine = engine
        self._models = PinnedModels([engine], record.order)
        self._store = store
        self._storing = storing
        self._writing = writing
        self._document = document
        self._clock = clock
        self._on_change = on_change
        self._last_event = last_event
        self._pending: Event | None = None
        self._fulfilment: Fulfilment | None = None
        self._task: asyncio.Task[None] | None = None
        self._began_at = 0.0
        self._rows_before: int | None = None
        self._told_at = 0.0
        self._saving = False
        self._cancelled = False
        self._held_times = 0
        self._held_at = 0.0

    @property
    def busy(self) -> bool:
        """Whether it is being worked on."""
        return self._task is not None and not self._task.done()

    @property
    def over(self) -> bool:
        """Whether it has ended, and that is kept."""
        return self.record.ended and self.saved and not self._saving

    @property
    def rows_per_second(self) -> float | None:
        """Rows a second since it began, or went on; None while it does not run."""
        if not self.busy or self._rows_before is None:
            return None
        made = self.record.rows_done - self._rows_before
        return made / max(time.monotonic() - self._began_at, 1e-6) if made > 0 else None

    @property
    def files(self) -> list[dict[str, Any]]:
        """Files that will not change any more; without duplicates, any may until the end."""
        if self._fulfilment is None or self.record.order.unique:
            return []
        return self._fulfilment.tally.files

    @property
    def may_begin(self) -> bool:
        """Whether it waits for its turn."""
        return self.record.state == "queued" and not self._cancelled

    @property
    def may_go_on(self) -> bool:
        """Whether a held order has waited long enough, and has its models."""
        wait_s = min(RETRY_HELD_S * 2 ** (self._held_times - 1), LONGEST_RETRY_S)
        if time.monotonic() - self._held_at < wait_s:
            return False
        return self.record.reason == "no_space" or self._models.available

    def begin(self) -> None:
        """Run it in the background."""
        self._move("running")
        self._task = asyncio.create_task(self._run(), name=f"order {self.record.id}")

    def queue(self) -> None:
        """Let it be tried again."""
        self._move("queued")

    async def stop(self) -> None:
        """Stop where it is, without a word: it goes on in the next life."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def cancel(self) -> None:
        """End it; what is there stays, with a manifest that says what it is."""
        self._cancelled = True
        await self.stop()
        if self.record.ended:
            return
        try:
            tally = await asyncio.get_running_loop().run_in_executor(
                self._writing, self._leave_manifest
            )
        except (Held, OSError, AnotherOrder) as error:
            log.warning("cancelled_order_has_no_manifest", order=self.record.id, reason=str(error))
        else:
            self._count(tally)
        self._move("cancelled")

    async def save(self) -> None:
        """Keep how it stands, if that has changed.

        Raises:
            Held: the disk is full; it is tried again.
        """
        if self.saved:
            return
        record, event = self.record, self._pending
        self.saved, self._saving = True, True
        try:
            await asyncio.get_running_loop().run_in_executor(
                self._storing, self._store.save, record, event
            )
        except BaseException:
            self.saved = False
            raise
        finally:
            self._saving = False
        bell, self.bell = self.bell, asyncio.Event()
        bell.set()

    async def _run(self) -> None:
        backend = backend_of(
            self._engine.settings, self._folder, self._models, writing=self._writing
        )
        fulfilment = self._fulfilment = Fulfilment(
            self._folder,
            backend,
            writing=self._writing,
            on_chunk=self._note,
            report=Reporter(
                self._folder,
                self._engine.settings.models_store,
                remembered=self._engine.settings.data_dir / REMEMBERED,
            ),
        )
        self._began_at, self._rows_before = time.monotonic(), None
        try:
            await fulfilment.run()
        except Held as held:
            if self._engine.draining:
                return
            self._count(fulfilment.tally)
            self._held_times += 1
            self._held_at = time.monotonic()
            self._move("on_hold", error=held.detail, reason=held.reason)
            log.warning("order_on_hold", order=self.record.id, reason=held.reason)
        except (Failed, AnotherOrder) as failed:
            self._end("failed", error=str(failed))
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log.error("order_failed", order=self.record.id, exc_info=error)
            self._end("failed", error="the service failed; its log has the cause")
        else:
            self._end("done", error=None)
        self._on_change()

    def _note(self, receipt: Receipt) -> None:
        """A chunk is done."""
        assert self._fulfilment is not None
        if self._rows_before is None:
            self._rows_before = self._fulfilment.tally.rows - receipt.rows
        self._count(self._fulfilment.tally)
        self._held_times = 0
        metrics = self._engine.metrics
        metrics.augmentation_rows.labels(model=self.record.order.model.partition("@")[0]).inc(
            receipt.rows
        )
        if time.monotonic() - self._told_at >= TELL_EVERY_S:
            self._told_at = time.monotonic()
            self._tell("progress")
            self._on_change()

    def _count(self, tally: Tally) -> None:
        self.record = replace(
            self.record,
            rows_done=tally.rows,
            delivered=tally.delivered,
            acceptance=tally.acceptance,
        )

    def _end(self, state: State, *, error: str | None) -> None:
        assert self._fulfilment is not None
        manifest = self._fulfilment.manifest
        if manifest is not None:
            self.record = replace(
                self.record,
                rows_done=manifest["rows"],
                delivered=manifest["delivered"],
                acceptance=manifest["acceptance"],
            )
        self._move(state, error=error)
        log.info("order_ended", order=self.record.id, state=state, rows=self.record.rows_done)

    def _move(
        self, state: State, *, error: str | None = None, reason: Reason | None = None
    ) -> None:
        moved = self.record.moved(state, at=self._clock(), error=error)
        self.record = replace(moved, reason=reason)
        self._tell("state")

    def _tell(self, event: str) -> None:
        """The next event; several between two savings become one."""
        if self.saved or self._pending is None:
            self._last_event += 1
        elif self._pending.event == "state":
            event = "state"
        self.saved = False
        self._pending = Event(self._last_event, event, self._document(self.record))

    def _leave_manifest(self) -> Tally:
        """On the writing thread, after whatever it was writing."""
        tally = Tally(self.record.order, self._folder.open())
        self._folder.close(manifest_of(tally, error="the order was cancelled"))
        return tally
