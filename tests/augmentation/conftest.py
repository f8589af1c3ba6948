"""Models for orders: the shared tiny ones, and one with classes that can judge itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import settings

from service.engine import Engine
from tests.api.packages import write_colour
from tests.augmentation.orders import engine_of
from tests.packages import write_tiny_gan, write_tiny_rbm

settings.register_profile("any pace", deadline=None)
settings.load_profile("any pace")


@pytest.fixture(scope="session")
def order_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny-gan, tiny-rbm and colour."""
    folder = tmp_path_factory.mktemp("order-store")
    write_tiny_gan(folder)
    write_tiny_rbm(folder)
    write_colour(folder)
    return folder


@pytest.fixture
async def engine(order_store: Path) -> AsyncIterator[Engine]:
    async with engine_of(order_store) as found:
        yield found
