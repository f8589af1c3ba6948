"""Fixtures that several test folders share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.packages import write_tiny_gan, write_tiny_rbm


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with tiny-gan@1 and tiny-rbm@1. Do not write into it: see `store`."""
    folder = tmp_path_factory.mktemp("store")
    write_tiny_gan(folder)
    write_tiny_rbm(folder)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of the same two models, of this test alone."""
    write_tiny_gan(tmp_path)
    write_tiny_rbm(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True, scope="session")
def _quiet_logs() -> None:
    """Tracebacks of failures made on purpose stay short."""
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.KeyValueRenderer()],
        cache_logger_on_first_use=False,
    )


@pytest.fixture(autouse=True, scope="session")
def _data_of_tests_alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test takes up the orders of the service that a developer runs in this folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REVERIE_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        # A process an order: tests of reports ask for them.
        patch.setenv("REVERIE_ORDER_REPORTS", "false")
        yield
