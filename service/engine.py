"""The engine: models, and what may be asked of them.

query ──► Engine.run ──► operations ──► batching (map) | chains (step) ──► result

It is the service without HTTP: the API, `reverie sample` and the tests all call it the same way.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from service.errors import NotReady
from service.generation import GENERATE
from service.metrics import Metrics
from service.model import Model
from service.operations.context import Context
from service.operations.features import classify, encode, reconstruct
from service.operations.inpainting import inpaint
from service.operations.interpolation import interpolate
from service.operations.rows import inpaint_rows
from service.operations.sampling import generator_inputs, sample
from service.operations.scoring import score
from service.queries import (
    Call,
    Classify,
    Encode,
    Inpaint,
    InpaintRows,
    Interpolate,
    Query,
    Reconstruct,
    Result,
    Sample,
    Score,
)
from service.registry import Registry
from service.settings import Settings
from service.submissions import Submission

log = structlog.get_logger(__name__)

_OPERATIONS: dict[type, Callable[[Context, Any], Awaitable[Result]]] = {
    Sample: sample,
    Interpolate: interpolate,
    Inpaint: inpaint,
    InpaintRows: inpaint_rows,
    Score: score,
    Encode: encode,
    Reconstruct: reconstruct,
    Classify: classify,
}


class Engine:
    """Models of one store, and the work in flight on them."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings = settings
        self.metrics = metrics
        self.registry = Registry(settings, metrics)
        self.draining = False
        self.leaving = False
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._loading: asyncio.Task[None] | None = None

    @property
    def alive(self) -> bool:
        """False once a scheduler's loop has died: the process should be restarted."""
        loading_died = (
            self._loading is not None and self._loading.done() and not self._loading.cancelled()
            and self._loading.exception() is not None
        )  # fmt: skip
        return not loading_died and all(model.alive for model in self.registry.models())

    @property
    def ready(self) -> bool:
        """Whether to send requests here: every model is loaded and warm, and no shutdown began."""
        return self.registry.ready and not self.draining and not self.leaving

    async def start(self, *, only: str | None = None) -> None:
        """List the packages, or those of one name, and begin to load them in the background."""
        self.registry.scan(only=only)
        self._loading = asyncio.create_task(self.registry.load_all(), name="loading models")

    async def loaded(self) -> None:
        """Wait until every package is ready or has failed."""
        assert self._loading is not None, "start() comes first"
        await asyncio.shield(self._loading)

    async def reload(self) -> None:
        """Serve what the store holds now; requests in flight end on the models they began with."""
        await self.loaded()
        await self.registry.reload()

    async def stop(self) -> None:
        """Refuse new work, let what is in flight finish, then close the models."""
        self.draining = True
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)
        try:
            await asyncio.wait_for(self._idle.wait(), self.settings.drain_timeout_s)
        except TimeoutError:
            log.warning("drain_timed_out", requests=self._in_flight)
        await self.registry.close()

    async def run(self, model: Model, query: Query, call: Call) -> Result:
        """Answer one query.

        Raises:
            ServiceError: in words for the caller.
        """
        if self.draining:
            raise NotReady("the service is shutting down", retry_after_s=5)
        self._enter(model)
        try:
            context = Context(model, call, self.settings, self.metrics)
            operation = _OPERATIONS[type(query)]
            return await operation(context, query)
        finally:
            self._leave(model)

    def begin(self, model: Model, query: Sample, call: Call) -> Submission:
        """Start what `run` does for a seeded sample of a generator, without a task of its own.

        The submission's future gives {samples}, in data space. Whoever begins also ends.

        Raises:
            ServiceError: as `run`.
        """
        if self.draining:
            raise NotReady("the service is shutting down", retry_after_s=5)
        context = Context(model, call, self.settings, self.metrics)
        context.check_rows(query.n, "/n")
        submission = model.maps[GENERATE].put(generator_inputs(context, query), call)
        self._enter(model)
        return submission

    def end(self, model: Model, submission: Submission) -> None:
        """The answer has been taken, or nobody waits for it any more."""
        model.maps[GENERATE].withdraw(submission)
        self._leave(model)

    def _enter(self, model: Model) -> None:
        self._in_flight += 1
        self._idle.clear()
        model.enter()

    def _leave(self, model: Model) -> None:
        model.leave()
        self._in_flight -= 1
        if self._in_flight == 0:
            self._idle.set()


async def open_engine(settings: Settings, *, only: str | None = None) -> Engine:
    """An engine with every model (or those of one name) loaded, for use without a server."""
    engine = Engine(settings, Metrics())
    began = time.monotonic()
    await engine.start(only=only)
    await engine.loaded()
    log.debug("engine_open", seconds=round(time.monotonic() - began, 3))
    return engine
