"""Real servers for tests: uvicorn on a free port, in a thread, with a client that calls it.

And one request by hand (`call`), for tests that decide when the client leaves.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson
import uvicorn
from fastapi import FastAPI

from service.api.fast_lane import protocol_of
from service.app import create_app
from service.settings import Settings


@contextmanager
def serving(app: FastAPI) -> Iterator[httpx.Client]:
    """A client of `app`, served for as long as the context lasts, once its models are loaded."""
    started = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            await app.state.engine.loaded()
            started.set()

    server = Server(
        uvicorn.Config(
            app,
            port=0,
            http=protocol_of(app, app.state.settings),
            ws="none",
            log_config=None,
            lifespan="on",
        )
    )
    thread = threading.Thread(target=server.run, name="server")
    thread.start()
    try:
        assert started.wait(60), "the server did not start"
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(60)


@contextmanager
def served(**settings: Any) -> Iterator[httpx.Client]:
    """`serving` with these settings, in a data folder of its own unless they name one."""
    with tempfile.TemporaryDirectory() as data:  # servers that share one wait for each other
        chosen = Settings(_env_file=None, **{"data_dir": Path(data)} | settings)
        with serving(create_app(chosen)) as client:
            yield client


@dataclass
class Answer:
    """What an application sent."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def json(self) -> Any:
        return orjson.loads(self.body)


def scope_of(method: str, path: str, headers: dict[str, str]) -> dict[str, Any]:
    """What a server tells an application of a request."""
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "scheme": "http", "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "state": {},
    }  # fmt: skip


async def call(
    app: FastAPI,
    path: str,
    body: Any = None,
    *,
    method: str = "POST",
    headers: dict[str, str] | None = None,
    leave: asyncio.Event | None = None,
) -> Answer:
    """One request straight to the application; the client leaves once `leave` is set."""
    content = b"" if body is None else orjson.dumps(body)
    sent = {"content-type": "application/json", **(headers or {})}
    scope = scope_of(method, path, sent)
    pending = [{"type": "http.request", "body": content, "more_body": False}]
    answer = Answer()

    async def receive() -> Any:
        if pending:
            return pending.pop()
        await (leave or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {k.decode().lower(): v.decode() for k, v in message["headers"]}
        else:
            answer.body += message.get("body", b"")

    await app(scope, receive, send)
    return answer
