"""Models that one order alone uses, opened outside a service: each package in an engine of its own.

Settings + references ──open_engine(only=name)──► engines ──► stopped when the order is left
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from service.engine import Engine, open_engine
from service.settings import Settings


@asynccontextmanager
async def opened(settings: Settings, *references: str | None) -> AsyncIterator[list[Engine]]:
    """Engines with these models (`name` or `name@version`), and no others of the store.

    Raises:
        ServiceError: one of them cannot be loaded.
    """
    names = sorted({reference.partition("@")[0] for reference in references if reference})
    async with AsyncExitStack() as stack:
        engines = []
        for name in names:
            engine = await open_engine(settings, only=name)
            stack.push_async_callback(engine.stop)
            engines.append(engine)
        yield engines
