"""Fixtures that the tests of several kinds of models share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.engine import Engine, open_engine
from service.settings import Settings


@pytest.fixture
async def engine(trained: Path) -> AsyncIterator[Engine]:
    """The engine upon the store of a module's `trained` folder."""
    made = await open_engine(Settings(models_store=trained / "store", device="cpu"))
    yield made
    await made.stop()
