"""An order that many processes make without knowing of each other: a share of its chunks each.

share I of N: chunks I, I + N, … ──missing?──► LocalBackend ──► files and receipts
all shares done ──finish: every chunk there, every file whole──► passes, manifest.json
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from service.augmentation.asking import PinnedModels
from service.augmentation.backends import OnReceipt
from service.augmentation.backends.local import LocalBackend
from service.augmentation.destination import Destination, open_destination
from service.augmentation.folder import AnotherOrder, OrderFolder, Receipt, read_order
from service.augmentation.formats import DATA
from service.augmentation.order import Order
from service.augmentation.own_models import opened
from service.augmentation.reporting import Reporter
from service.augmentation.runner import Fulfilment, Writing
from service.errors import InvalidInput
from service.settings import Settings

SHOWN = 8  # chunks that a message names


@dataclass(frozen=True)
class Share:
    """The part of an order that one process makes: every `of`-th chunk, from `index` on."""

    index: int
    of: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.of:
            raise InvalidInput(
                f"index={self.index} is not between 0 and {self.of - 1}: of {self.of} shares, the "
                "first is 0"
            )

    def chunks_of(self, order: Order) -> range:
        """The chunks of the share; no two shares differ by more than one."""
        return range(self.index, order.chunks, self.of)


def find_order(where: str) -> Order:
    """The order at a path or URL of an order.json.

    Raises:
        InvalidInput: there is none.
    """
    folder, _, name = where.rpartition("/")
    try:
        content = open_destination(folder or ".").read(name)
        if content is None:
            raise InvalidInput(
                f"{where} is not there: `reverie augment … --plan` writes it, for all shares"
            )
        return read_order(content)
    except (ValueError, AnotherOrder) as error:
        raise InvalidInput(f"{where}: {error}") from error


async def make_share(
    folder: OrderFolder, share: Share, settings: Settings, *, workers: int, on_chunk: OnReceipt
) -> int:
    """Make what is missing of a share; how many of its chunks had been there.

    Raises:
        Held: there is no space, or the model is not the one that was ordered: try again later.
        AnotherOrder: the folder has another order.
        ServiceError: a model cannot be loaded, or cannot answer.
    """
    folder.claim()
    mine = share.chunks_of(folder.order)
    if folder.ended() is not None:
        return len(mine)
    done = {receipt.chunk for receipt in folder.receipts_of(mine)}
    missing = [chunk for chunk in mine if chunk not in done]
    if missing:
        await _make(folder, missing, settings, workers=workers, on_chunk=on_chunk)
    return len(done)


async def finish(
    folder: OrderFolder, settings: Settings, *, workers: int, verify: bool, on_chunk: OnReceipt
) -> Fulfilment:
    """Check every chunk, and write the manifest; chunks that repeat others' rows are made again.

    Args:
        folder: the order, all shares of which have ended.
        settings: where the models are, which only an order without duplicates needs.
        workers: chunks made side by side.
        verify: read every file and compare its sha256, not only its size.
        on_chunk: hears of chunks that are made again.

    Raises:
        InvalidInput: chunks are missing; what is damaged counts as missing from now on.
        Held, Failed, AnotherOrder, ServiceError: as `Fulfilment.run`.
    """
    order = folder.order
    if folder.manifest is None:
        _check_chunks(folder, verify=verify)
        folder.destination.sweep()
    writing = Writing()
    names = (order.model, order.accept.judge) if order.unique and folder.manifest is None else ()
    try:
        async with opened(settings, *names) as engines:
            models = PinnedModels(engines, order)
            backend = _backend(folder, models, writing=writing, workers=workers)
            reporter = Reporter(folder, settings.models_store)
            fulfilment = Fulfilment(
                folder, backend, writing=writing, on_chunk=on_chunk, report=reporter
            )
            await fulfilment.run()
            return fulfilment
    finally:
        writing.shutdown()


def _check_chunks(folder: OrderFolder, *, verify: bool) -> None:
    receipts = folder.open()
    damaged = _damaged(folder, receipts, verify=verify)
    for chunk in damaged:
        folder.forget(chunk)
    there = {receipt.chunk for receipt in receipts} - set(damaged)
    missing = [chunk for chunk in range(folder.order.chunks) if chunk not in there]
    if missing:
        named = ", ".join(map(str, missing[:SHOWN])) + (", …" if len(missing) > SHOWN else "")
        found = f", {len(damaged)} of them damaged" if damaged else ""
        raise InvalidInput(
            f"{len(missing)} of {folder.order.chunks} chunks are missing{found}: {named}; run the "
            "shares again, which make only these"
        )


def _damaged(folder: OrderFolder, receipts: Iterable[Receipt], *, verify: bool) -> list[int]:
    """Chunks whose files are not as their receipts say."""
    sizes = folder.destination.sizes(DATA)
    return [
        receipt.chunk
        for receipt in receipts
        if sizes.get(receipt.name.removeprefix(f"{DATA}/")) != receipt.bytes
        or (verify and not _is_whole(folder.destination, receipt))
    ]


def _is_whole(destination: Destination, receipt: Receipt) -> bool:
    content = destination.read(receipt.name)
    return content is not None and hashlib.sha256(content).hexdigest() == receipt.sha256


async def _make(
    folder: OrderFolder, chunks: list[int], settings: Settings, *, workers: int, on_chunk: OnReceipt
) -> None:
    order, writing = folder.order, Writing()
    try:
        async with opened(settings, order.model, order.accept.judge) as engines:
            models = PinnedModels(engines, order)
            await _backend(folder, models, writing=writing, workers=workers).make(chunks, on_chunk)
    finally:
        writing.shutdown()


def _backend(
    folder: OrderFolder, models: PinnedModels, *, writing: Writing, workers: int
) -> LocalBackend:
    model = folder.order.model
    return LocalBackend(
        folder, models, writing=writing, workers=workers, made_on=lambda: models.made_on(model)
    )
