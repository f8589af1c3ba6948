"""What tests of orders share: an engine on tiny models, and orders made whole in a folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from service.augmentation.asking import PinnedModels
from service.augmentation.backends.local import LocalBackend
from service.augmentation.destination import Destination, LocalFolder
from service.augmentation.folder import OrderFolder
from service.augmentation.order import Order
from service.augmentation.resolve import Asked, resolve
from service.augmentation.runner import Fulfilment, Writing
from service.engine import Engine, open_engine
from service.settings import Settings

DIGEST = "sha256:" + "0" * 64


def plain(**fields) -> Order:
    """An order as a plan needs it."""
    given = {
        "model": "m@1", "digest": DIGEST, "n": 100, "seed": 7, "format": "npz",
        "dtype": "float32", "chunk_rows": 64,
    }  # fmt: skip
    return Order(**given | fields)


@asynccontextmanager
async def engine_of(store: Path, **settings) -> AsyncIterator[Engine]:
    """An engine on a store, with every model loaded."""
    engine = await open_engine(
        Settings(_env_file=None, models_store=store, device="cpu", pool_rows=0, **settings)
    )
    try:
        yield engine
    finally:
        await engine.stop()


def order_of(engine: Engine, model: str, judge: str | None = None, **asked) -> Order:
    """The order that is meant."""
    find = engine.registry.get
    return resolve(
        Asked(model=model, **{"seed": 7} | asked),
        find(model).manifest,
        None if judge is None else find(judge).manifest,
        engine.settings,
    )


async def fulfil(
    engine: Engine, order: Order, where: Path | Destination, *, workers: int = 2, **more
) -> Fulfilment:
    """The order, made."""
    destination = LocalFolder(where) if isinstance(where, Path) else where
    models = PinnedModels([engine], order)
    writing = Writing()
    folder = OrderFolder(order, destination)
    backend = LocalBackend(
        folder, models, writing=writing, workers=workers,
        made_on=lambda: models.made_on(order.model),
    )  # fmt: skip
    fulfilment = Fulfilment(folder, backend, writing=writing, **more)
    try:
        await fulfilment.run()
    finally:
        writing.shutdown()
    return fulfilment


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
