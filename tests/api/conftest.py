"""One server for all tests of the API that do not need settings of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import settings

from tests.api.packages import write_colour
from tests.api.servers import served
from tests.packages import write_tiny_gan, write_tiny_rbm

# How long an example takes says more of what else the machine does than of the code.
settings.register_profile("any pace", deadline=None)
settings.load_profile("any pace")


@pytest.fixture(scope="session")
def api_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny-gan@1 and @2, tiny-rbm@1, colour@1, and broken@1, which cannot be loaded."""
    folder = tmp_path_factory.mktemp("api-store")
    write_tiny_gan(folder)
    write_tiny_gan(folder, version=2)
    write_tiny_rbm(folder)
    write_colour(folder)
    broken = write_tiny_gan(folder, name="broken")
    (broken / "generate.onnx").write_bytes(b"damaged")
    return folder


@pytest.fixture(scope="session", params=[True, False], ids=["fast", "plain"])
def client(api_store: Path, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    """A client of one server with the fast lane, and then of one without it."""
    limits = {"max_rows": 64, "max_sweeps": 500, "max_frames": 32}
    with served(models_store=api_store, fast_lane=request.param, **limits) as found:
        yield found
