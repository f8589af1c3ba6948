"""Run the application under uvicorn, greet the operator, and leave without dropping anyone.

SIGTERM ──► readiness 503 ──grace──► listener closes ──► requests in flight finish ──► exit
SIGHUP  ──► load what the store holds now ──► swap
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from service.api.fast_lane import protocol_of
from service.contract import ImageData
from service.engine import Engine
from service.settings import Settings

log = structlog.get_logger(__name__)


def serve(app: FastAPI, settings: Settings) -> None:
    """Serve until a signal ends it."""
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=protocol_of(app, settings),
        loop="auto",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.drain_timeout_s) or None,
    )
    with process_id(settings.pid_file):
        GracefulServer(config, app.state.engine, settings).run()


@contextmanager
def process_id(file: Path) -> Iterator[None]:
    """Leave the process id in `file` while the service runs; where that cannot be, say so."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{os.getpid()}\n")
    except OSError as error:
        log.warning("no_pid_file", reason=error.strerror, remedy="reload with SIGHUP")
    try:
        yield
    finally:
        with suppress(OSError):
            file.unlink()


def ask_to_reload(file: Path) -> int:
    """Send SIGHUP to the service that left its process id in `file`; the id.

    Raises:
        ProcessLookupError: no service runs there.
    """
    try:
        pid = int(file.read_text())
    except (OSError, ValueError):
        raise ProcessLookupError("no running service has left its process id") from None
    os.kill(pid, signal.SIGHUP)
    return pid


class GracefulServer(uvicorn.Server):
    """uvicorn's server, which greets when the models are ready and says goodbye in order."""

    def __init__(self, config: uvicorn.Config, engine: Engine, settings: Settings) -> None:
        super().__init__(config)
        self._engine = engine
        self._settings = settings
        self._background: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the listener, then greet in the background once the models are loaded."""
        await super().startup(sockets)
        if not self.should_exit:
            self._in_background(self._greet())
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(
                signal.SIGHUP, lambda: self._in_background(self._engine.reload())
            )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first SIGTERM begins the drain; Ctrl-C and a second signal do not wait for it."""
        self._engine.leaving = True  # streams of events end
        if sig == signal.SIGTERM and not self._engine.draining:
            self._in_background(self._leave(sig, frame))
            return
        super().handle_exit(sig, frame)

    async def _leave(self, sig: int, frame: FrameType | None) -> None:
        await asyncio.sleep(self._settings.drain_grace_s)
        super().handle_exit(sig, frame)

    async def _greet(self) -> None:
        await self._engine.loaded()
        gc.collect()
        gc.freeze()  # what is loaded stays: collections need not walk through it again
        port = self.servers[0].sockets[0].getsockname()[1]
        greet(self._engine, f"http://{self._settings.host}:{port}")

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def greet(engine: Engine, url: str) -> None:
    """Print the models, their device, and a first request to try."""
    console = Console(file=sys.stderr, highlight=False)
    console.print(models_table(engine))
    console.print(f"[bold]Listening on {url}[/]  (playground {url}/, API {url}/docs)")
    if (request := _first_request(engine, url)) is not None:
        console.print(f"Try:\n  {escape(request)}", soft_wrap=True)


def _first_request(engine: Engine, url: str) -> str | None:
    """A curl for a picture, or for rows where there are only models of tables."""
    able = [m.manifest for m in engine.registry.models() if "sample" in m.manifest.capabilities]
    able.sort(key=lambda manifest: not isinstance(manifest.data, ImageData))
    if not able:
        return None
    drawn = isinstance(able[0].data, ImageData)
    media, file = ("image/png", "samples.png") if drawn else ("text/csv", "rows.csv")
    return (
        f"curl -s {url}/v1/models/{able[0].name}/sample -H 'Accept: {media}' "
        f'--json \'{{"n": 64, "seed": 7}}\' -o {file}'
    )


def models_table(engine: Engine) -> Table:
    """Every package: state, device, what it can do, or why it cannot."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("model", "state", "family", "device", "can"):
        table.add_column(column)
    for entry in engine.registry.entries():
        model = entry.model
        table.add_row(
            f"{entry.name}@{entry.version}",
            f"[green]{entry.state}[/]" if model else f"[red]{entry.state}[/]",
            entry.manifest.family if entry.manifest else "",
            f"{model.device} ({model.runtime})" if model else "",
            ", ".join(model.manifest.capabilities) if model else escape(entry.reason or ""),
        )
    return table
