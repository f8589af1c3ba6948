"""One real server with tiny models, and clients of both kinds for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.api.packages import write_colour
from tests.api.servers import served
from tests.client.either import KINDS, Either
from tests.packages import write_tiny_gan, write_tiny_rbm
from tests.tables import write_tiny_table

# How long an example takes says more of what else the machine does than of the code.
settings.register_profile("any pace", deadline=None)
settings.load_profile("any pace")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service with tiny-gan, tiny-rbm, colour and tiny-table."""
    folder: Path = tmp_path_factory.mktemp("client-store")
    write_tiny_gan(folder)
    write_tiny_rbm(folder)
    write_colour(folder)
    write_tiny_table(folder)
    data = tmp_path_factory.mktemp("client-data")
    with served(models_store=folder, data_dir=data, max_rows=64) as client:
        yield str(client.base_url)


@pytest.fixture(params=list(KINDS))
async def connect(request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Either]]:
    """Makes clients, of the kind that this run of the test is about."""
    made: list[Any] = []

    def client(url: str, **options: Any) -> Either:
        made.append(KINDS[request.param](url, **options))
        return Either(made[-1])

    yield client
    for inner in made:
        closed = inner.close()
        if isinstance(closed, Awaitable):
            await closed


@pytest.fixture
def client(connect: Callable[..., Either], server: str) -> Either:
    """A client of the real server."""
    return connect(server)
