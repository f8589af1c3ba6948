"""Where `reverie augment` works: models opened here, one order, a bar for whoever watches.

Asked ──the folder's seed, if it has one──► take_in ──► Fulfilment ──► summary, exit status
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from service.augmentation.asking import PinnedModels
from service.augmentation.destination import Destination, LocalFolder, open_destination
from service.augmentation.folder import (
    ORDER_FILE,
    RECEIPTS,
    AnotherOrder,
    OrderFolder,
    Receipt,
    read_order,
)
from service.augmentation.holds import Failed, Held
from service.augmentation.intake import TakenIn, check_space, take_in
from service.augmentation.manifest import Tally
from service.augmentation.resolve import Asked
from service.augmentation.runner import Fulfilment, Writing
from service.augmentation.store import Lock
from service.engine import Engine, open_engine
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
        self._asked = asked
        self._settings = settings
        self._engines: list[Engine] = []
        self._lock: Lock | None = None
        self._console = Console(stderr=True, highlight=False)

    async def __aenter__(self) -> Self:
        """Open the model and the judge, each alone."""
        names = {self._asked.model.partition("@")[0]}
        if self._asked.accept.judge is not None:
            names.add(self._asked.accept.judge.partition("@")[0])
        for name in sorted(names):
            self._engines.append(await open_engine(self._settings, only=name))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for engine in self._engines:
            await engine.stop()
        if self._lock is not None:
            self._lock.close()

    async def run(self, workers: int) -> int:
        """Make the order; 0 when every row is there, 1 when not.

        Raises:
            ServiceError: it cannot be made like this, or not there.
        """
        try:
            taken = await self._take_in()
            self._claim(taken)
            return await self._fulfil(taken, workers)
        except AnotherOrder as error:
            raise InvalidInput(f"{self._destination.shown}: {error}") from error

    async def _take_in(self) -> TakenIn:
        """The order; without a seed of its own it has that of the folder, which it goes on with."""
        asked = self._asked
        found = self._destination.read(ORDER_FILE)
        if found is not None and asked.seed is None:
            asked = replace(asked, seed=read_order(found).seed)
        judge = asked.accept.judge
        judges = self._engine_of(judge) if judge is not None else self._engine_of(asked.model)
        return await take_in(asked, self._engine_of(asked.model), judges, Call.lasting(TRIAL_S))

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
        models = PinnedModels(self._engines, order)
        writing = Writing()
        with _bar(self._console) as bar:
            task = bar.add_task(f"{order.model}", total=order.n, start=False)
            watch = _Watch(bar, task)
            fulfilment = Fulfilment(
                OrderFolder(order, self._destination),
                models,
                writing=writing,
                workers=workers,
                made_on=lambda: models.made_on(order.model),
                on_start=watch.start,
                on_chunk=watch.advance,
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
            bar.update(task, completed=_rows(fulfilment))
        self._sum_up(fulfilment.manifest, seed=order.seed)
        if error is not None:
            self._console.print(f"[red]error:[/] {escape(error)}", soft_wrap=True)
        return 0 if error is None else 1

    def _sum_up(self, manifest: dict[str, Any] | None, *, seed: int) -> None:
        """What was delivered, for a person."""
        if manifest is None:
            return
        size = sum(file["bytes"] for file in manifest["files"])
        by_label = ", ".join(f"{k}: {v:,}" for k, v in manifest["delivered"].items())
        count = len(manifest["files"])
        files = f"{count:,} {'file' if count == 1 else 'files'}, {size / 1e6:,.1f} MB"
        said = [f"{manifest['rows']:,} rows in {files}, seed {seed}: {self._destination.shown}"]
        if len(manifest["delivered"]) > 1:
            said.append(by_label)
        took = manifest["acceptance"]
        if took["rejected"] or took["duplicates"]:
            said.append(
                f"{took['drawn']:,} draws: {took['rejected']:,} rejected, {took['duplicates']:,} "
                f"duplicates, {took['rate']:.1%} kept"
            )
        Console(highlight=False).print(escape("\n".join(said)), soft_wrap=True)


class _Watch:
    """Moves the bar."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar, self._task = bar, task
        self._tally: Tally | None = None

    def start(self, tally: Tally) -> None:
        """What is there already does not count for the rate."""
        self._tally = tally
        self._bar.reset(self._task, completed=tally.rows)

    def advance(self, _: Receipt) -> None:
        """One more chunk."""
        assert self._tally is not None
        self._bar.update(self._task, completed=self._tally.rows)


class _Rate(ProgressColumn):
    """Rows a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} rows/s")


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=console,
    )


def _rows(fulfilment: Fulfilment) -> int:
    manifest = fulfilment.manifest
    return fulfilment.tally.rows if manifest is None else manifest["rows"]
