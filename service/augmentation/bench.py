"""Where `reverie augment` works: models opened here, one order, a bar for whoever watches.

Asked ──the folder's seed, if it has one──► take_in ──► Fulfilment ──► summary, exit status
"""

from __future__ import annotations

import shutil
from contextlib import AsyncExitStack
from dataclasses import replace
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape

from service.augmentation.asking import PinnedModels
from service.augmentation.backends.choice import backend_of
from service.augmentation.backends.ray_data import NO_RAY, ray_is_here
from service.augmentation.destination import Destination, LocalFolder, open_destination
from service.augmentation.folder import (
    ORDER_FILE,
    RECEIPTS,
    AnotherOrder,
    OrderFolder,
    read_order,
)
from service.augmentation.holds import Failed, Held
from service.augmentation.intake import TakenIn, check_space, take_in
from service.augmentation.own_models import opened
from service.augmentation.reporting import Reporter
from service.augmentation.resolve import Asked
from service.augmentation.runner import Fulfilment, Writing
from service.augmentation.showing import Watch, progress_bar, summary_of
from service.augmentation.store import Lock
from service.engine import Engine
from service.errors import InvalidInput
from service.queries import Call
from service.settings import Settings

TRIAL_S = 600.0


class Bench:
    """One order at one destination, with models of its own."""

    def __init__(self, asked: Asked, out: str, settings: Settings) -> None:
        try:
            self._destination: Destination = open_destination(out)
        except ValueError as error:
            raise InvalidInput(str(error)) from error
        if settings.augment_backend == "ray" and not ray_is_here():
            raise InvalidInput(NO_RAY)
        self._asked = asked
        self._settings = settings
        self._engines: list[Engine] = []
        self._stack = AsyncExitStack()
        self._lock: Lock | None = None
        self._console = Console(stderr=True, highlight=False)

    async def __aenter__(self) -> Self:
        """Open the model and the judge, each alone."""
        models = opened(self._settings, self._asked.model, self._asked.accept.judge)
        self._engines = await self._stack.enter_async_context(models)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()
        if self._lock is not None:
            self._lock.close()

    async def run(self, workers: int, *, plan: bool = False) -> int:
        """Make the order; 0 when every row is there, 1 when not. Or only write its order.json.

        Raises:
            ServiceError: it cannot be made like this, or not there.
        """
        try:
            taken = await self._take_in()
            self._claim(taken)
            if plan:
                return self._plan(taken)
            return await self._fulfil(taken, workers)
        except AnotherOrder as error:
            raise InvalidInput(f"{self._destination.shown}: {error}") from error

    async def _take_in(self) -> TakenIn:
        """The order; without a seed of its own it has that of the folder, which it goes on with."""
        asked = self._asked
        content = self._destination.read(ORDER_FILE)
        found = None if content is None else read_order(content)
        if found is not None and asked.seed is None:
            asked = replace(asked, seed=found.seed)
        judge = asked.accept.judge
        judges = self._engine_of(judge) if judge is not None else self._engine_of(asked.model)
        taken = await take_in(asked, self._engine_of(asked.model), judges, Call.lasting(TRIAL_S))
        if found is None:
            return taken
        # A judge that is newer by now is no reason to begin again.
        return replace(taken, order=replace(taken.order, report=found.report))

    def _engine_of(self, reference: str) -> Engine:
        name = reference.partition("@")[0]
        return next(
            (e for e in self._engines if any(x.name == name for x in e.registry.entries())),
            self._engines[0],
        )

    def _claim(self, taken: TakenIn) -> None:
        """Be the only one who writes to a local folder, and see that the order fits."""
        if not isinstance(self._destination, LocalFolder):
            return
        path = self._destination.path
        if path.exists() and not path.is_dir():
            raise InvalidInput(f"{path} is a file: give a folder")
        there = next(p for p in (path, *path.absolute().parents) if p.exists())
        if not OrderFolder(taken.order, self._destination).is_ours():
            check_space(taken, free_bytes=shutil.disk_usage(there).free, promised_bytes=0)
        receipts = path / RECEIPTS
        try:
            receipts.mkdir(parents=True, exist_ok=True)
            self._lock = Lock(receipts / "lock")
        except OSError as error:
            raise InvalidInput(f"{path} cannot be written: {error.strerror}") from error
        if not self._lock.taken():
            raise InvalidInput(f"another run is writing to {path}: wait for it, or stop it")
        self._destination.sweep()

    async def _fulfil(self, taken: TakenIn, workers: int) -> int:
        order = taken.order
        folder = OrderFolder(order, self._destination)
        models = PinnedModels(self._engines, order)
        writing = Writing()
        with progress_bar(self._console) as bar:
            task = bar.add_task(f"{order.model}", total=order.n, start=False)
            watch = Watch(bar, task)
            fulfilment = Fulfilment(
                folder,
                backend_of(self._settings, folder, models, writing=writing, workers=workers),
                writing=writing,
                on_start=watch.start,
                on_chunk=watch.advance,
                report=Reporter(folder, self._settings.models_store),
            )
            error: str | None = None
            try:
                await fulfilment.run()
            except Held as held:
                error = f"{held.detail}: the same command goes on from here"
            except Failed as failed:
                error = str(failed)
            finally:
                writing.shutdown(wait=True)
            manifest = fulfilment.manifest
            rows = fulfilment.tally.rows if manifest is None else manifest["rows"]
            bar.update(task, completed=rows)
        if manifest is not None:
            self._say(summary_of(manifest, seed=order.seed, shown=self._destination.shown))
        if error is not None:
            self._console.print(f"[red]error:[/] {escape(error)}", soft_wrap=True)
        return 0 if error is None else 1

    def _plan(self, taken: TakenIn) -> int:
        """Leave order.json for shares that are made elsewhere."""
        order = taken.order
        OrderFolder(order, self._destination).claim()
        self._say(
            f"{self._destination.shown}/{ORDER_FILE}: {order.chunks:,} chunks of "
            f"{order.chunk_rows:,} rows, about {taken.row_bytes * order.n / 1e6:,.1f} MB in all, "
            f"seed {order.seed}"
        )
        return 0

    def _say(self, text: str) -> None:
        Console(highlight=False).print(escape(text), soft_wrap=True)
