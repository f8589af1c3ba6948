"""Clients that leave a real server: by closing the socket while it computes, or while they send."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.engine import Engine
from service.settings import Settings
from service.submissions import Submission
from tests.api.servers import serving

PATH = "/v1/models/tiny-gan/sample"


class Endless(Engine):
    """An engine that never answers, and notices when it is cancelled."""

    def watch(self) -> None:
        self.started, self.cancelled = threading.Event(), threading.Event()

    async def run(self, model: Any, query: Any, call: Any) -> Any:
        self.started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    def begin(self, model: Any, query: Any, call: Any) -> Any:
        self.started.set()
        return Submission({}, 1, call, asyncio.get_running_loop().create_future())

    def end(self, model: Any, submission: Any) -> None:
        self.cancelled.set()


@pytest.fixture(params=[True, False], ids=["fast", "plain"])
def endless(
    tiny_store: Path, request: pytest.FixtureRequest
) -> Iterator[tuple[Endless, httpx.Client]]:
    app = create_app(Settings(_env_file=None, models_store=tiny_store, fast_lane=request.param))
    engine = app.state.engine = Endless(app.state.settings, app.state.engine.metrics)
    engine.watch()
    with serving(app) as client:
        yield engine, client


def connect(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port or 0))


def cancelled_requests(client: httpx.Client) -> str:
    lines = client.get("/metrics").text.splitlines()
    found = [line for line in lines if 'outcome="cancelled"' in line and "total" in line]
    return found[0] if found else ""


def test_closing_the_socket_cancels_the_work(endless: tuple[Endless, httpx.Client]):
    engine, client = endless
    with connect(client) as sock:
        sock.sendall(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
        assert engine.started.wait(10)
    assert engine.cancelled.wait(10)
    assert client.get("/livez").status_code == 200
    assert cancelled_requests(client).endswith(" 1.0")


def test_leaving_in_the_middle_of_a_body_starts_no_work(endless: tuple[Endless, httpx.Client]):
    engine, client = endless
    with connect(client) as sock:
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
        sock.sendall(head.encode() + b'{"n": ')
    assert client.get("/livez").status_code == 200
    assert not engine.started.is_set()
