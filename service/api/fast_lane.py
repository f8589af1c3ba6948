"""The fast lane: seeded samples of a generator, answered from the HTTP parser's own callbacks.

request ──may it?──► query ──► the queue of `generate` ──► one write
        └─ no ─────► the application, which meets it as if this file were not there

Routing, middleware and a task for each request cost several times what a small generator does.
The lane goes round them, not round the contract: it calls the same functions for keys, limits,
schemas, tags, representations, problems, metrics and the log. It takes what it can answer in full;
whatever is unusual, or wrong before the model is asked, it leaves to the application.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, cast

import orjson
import structlog
from fastapi import FastAPI
from starlette.types import Scope
from uvicorn import Config
from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from service.api.answers import OPERATIONS, call_of, model_of, tag_of, work_of
from service.api.decoding import Rendering, validated
from service.api.etags import seeds_of
from service.api.exchange import Exchange, begin
from service.api.formats import Format
from service.api.handlers import problem
from service.api.middleware import fail, is_admitted, record
from service.api.negotiation import preferred
from service.api.representations import parts_of, represent
from service.api.waiting import OFF_LOOP_BYTES
from service.contract import ImageData
from service.domain.arrays import Arrays
from service.engine import Engine
from service.errors import ServiceError
from service.generation import GENERATE, SAMPLES
from service.model import Model
from service.operations.sampling import with_seed
from service.queries import Sample, Sampled
from service.settings import Settings
from service.submissions import Submission

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

log = structlog.get_logger(__name__)

SAMPLE = OPERATIONS["sample"]
ROUTE = "/v1/models/{model}/sample"
BODY_WITHIN_S = (
    0.05  # a body that takes longer than this to arrive is waited for by the application
)
_PREFIX, _SUFFIX = "/v1/models/", "/sample"
_FIELDS = frozenset({"n", "seed", "labels", "truncation"})
_FORMATS = frozenset({Format.JSON, Format.NPY})
_JSON = ("", "application/json")
_UNUSUAL = frozenset(
    {"content-encoding", "transfer-encoding", "expect", "upgrade", "if-none-match"}
)
_PLAIN = Rendering(scale=None, frame_ms=80)


@dataclass(eq=False)
class _Answering:
    """A request whose rows are in the queue."""

    cycle: RequestResponseCycle
    exchange: Exchange
    model: Model
    query: Sample
    media: Format
    submission: Submission


class FastLane(HttpToolsProtocol):
    """uvicorn's protocol for one connection, with a way round the application."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        app: FastAPI,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._engine: Engine = app.state.engine
        self._settings: Settings = app.state.settings
        self._held: Callable[[], None] | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._answering: _Answering | None = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """The next request of this connection has its turn; its body may still be on its way."""
        start = partial(super()._start_asgi_task, cycle, app)
        if app is service_unavailable or not _looks_like_a_sample(cycle):
            start()
        elif not cycle.more_body:
            self._take_or(start, cycle)
        else:
            self._held = start
            self._patience = self.loop.call_later(BODY_WITHIN_S, self._let_go)

    def on_message_complete(self) -> None:
        """The body is there."""
        super().on_message_complete()
        if self._held is not None:
            start, self._held = self._held, None
            assert self._patience is not None
            self._patience.cancel()
            self._take_or(start, self.cycle)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has left: so do its rows."""
        super().connection_lost(exc)
        self._let_go()
        left, self._answering = self._answering, None
        if left is not None:
            self._engine.end(left.model, left.submission)
            left.exchange.outcome = "cancelled"
            self._record(left.exchange)

    def _let_go(self) -> None:
        """Leave a request that is still held to the application."""
        if self._held is not None:
            start, self._held = self._held, None
            assert self._patience is not None
            self._patience.cancel()
            start()

    def _take_or(self, start: Callable[[], None], cycle: RequestResponseCycle) -> None:
        """Put the request's rows into the queue, or `start` the application on it."""
        asked = None if cycle.disconnected or self.flow.write_paused else self._asked(cycle)
        if asked is None:
            start()
            return
        exchange, model, query, media = asked
        try:
            submission = self._engine.begin(model, query, exchange.call)
        except ServiceError as error:
            self._fail(cycle, exchange, error)
            return
        self._answering = _Answering(cycle, exchange, model, query, media, submission)
        submission.future.add_done_callback(self._answer)

    def _asked(self, cycle: RequestResponseCycle) -> tuple[Exchange, Model, Sample, Format] | None:
        """What is asked, if it is what the lane takes and nothing is wrong with it."""
        sent = list(cycle.scope["headers"])
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in sent}
        if len(headers) < len(sent) or headers.keys() & _UNUSUAL:
            return None
        if headers.get("content-type", "").partition(";")[0].strip().lower() not in _JSON:
            return None
        keys = self._settings.api_keys
        if keys and not is_admitted(headers.get("authorization", ""), keys):
            return None
        media = _format(headers.get("accept", ""))
        if media is None:
            return None
        exchange = begin(cast(Scope, cycle.scope))
        exchange.operation = SAMPLE.name
        try:
            exchange.call = call_of(headers, self._settings)
            reference = cycle.scope["path"][len(_PREFIX) : -len(_SUFFIX)]
            model = model_of(self._engine, reference, SAMPLE, exchange)
            query = self._query(bytes(cycle.body), model, media)
        except (ServiceError, ValueError):
            return None
        exchange.call.spend("decode", exchange.elapsed_s)
        return None if query is None else (exchange, model, query, media)

    def _query(self, body: bytes, model: Model, media: Format) -> Sample | None:
        """The query, if it asks a generator for few enough rows by a seed, and for nothing else."""
        fields = orjson.loads(body) if body else {}
        data = model.manifest.data
        if (
            GENERATE not in model.maps
            or not isinstance(data, ImageData)
            or not model.manifest.latent
        ):
            return None
        if not isinstance(fields, dict) or not fields.keys() <= _FIELDS:
            return None
        asked = validated(SAMPLE.schema, fields, self._settings)
        query = asked.query(model.manifest, self._settings)
        assert isinstance(query, Sample), "sample's schema makes samples"
        size_bytes = 4 * query.n * math.prod(data.shape)
        return with_seed(query) if work_of(size_bytes, media) <= OFF_LOOP_BYTES else None

    def _answer(self, _: asyncio.Future[Arrays]) -> None:
        """The rows are there, or have failed."""
        done, self._answering = self._answering, None
        if done is None:
            return
        self._engine.end(done.model, done.submission)
        try:
            headers, body = _represented(done)
        except Exception as error:  # noqa: BLE001  whatever failed, the client gets an answer
            self._fail(done.cycle, done.exchange, error)
        else:
            self._write(done.cycle, done.exchange, 200, headers, body)

    def _fail(self, cycle: RequestResponseCycle, exchange: Exchange, error: Exception) -> None:
        fail(exchange, error)
        answer = problem(error, exchange)
        self._write(cycle, exchange, answer.status_code, answer.raw_headers, bytes(answer.body))

    def _write(
        self,
        cycle: RequestResponseCycle,
        exchange: Exchange,
        status: int,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
    ) -> None:
        exchange.status = status
        content = [STATUS_LINE[status]]
        for name, value in (*cycle.default_headers, *headers, *exchange.headers()):
            content += (name, b": ", value, b"\r\n")
        if not cycle.keep_alive:
            content.append(b"connection: close\r\n")
        content += (b"\r\n", body)
        self.transport.write(b"".join(content))
        self._record(exchange)
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()

    def _record(self, exchange: Exchange) -> None:
        record(self._engine.metrics, exchange, method="POST", route=ROUTE)


def protocol_of(app: FastAPI, settings: Settings) -> type[asyncio.Protocol]:
    """What uvicorn makes of each connection: with the fast lane, if it is wanted and fits."""
    if not settings.fast_lane:
        return HttpToolsProtocol
    if not hasattr(HttpToolsProtocol, "_start_asgi_task"):
        log.warning("no_fast_lane", reason="this uvicorn has no place for it; answers are the same")
        return HttpToolsProtocol
    return cast(type[asyncio.Protocol], partial(FastLane, app=app))


def _looks_like_a_sample(cycle: RequestResponseCycle) -> bool:
    scope = cycle.scope
    path: str = scope["path"]
    return (
        scope["method"] == "POST"
        and path.endswith(_SUFFIX)
        and path.startswith(_PREFIX)
        and not scope["query_string"]
        and path.count("/") == ROUTE.count("/")
    )


@lru_cache(maxsize=256)
def _format(accept: str) -> Format | None:
    found = preferred(accept, SAMPLE.formats)
    return Format(found) if found in _FORMATS else None


def _represented(done: _Answering) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """The headers that the application would send, and the body."""
    exchange = done.exchange
    samples = done.submission.future.result()[SAMPLES]
    exchange.seeds = seeds_of(done.query)
    exchange.rows = len(samples)
    began = time.perf_counter()
    tag = tag_of(done.model, exchange, done.query, done.media, _PLAIN)
    about = {"model": exchange.model_id or "", "digest": exchange.digest or ""}
    parts = parts_of(done.query, Sampled(samples=samples, seed=done.query.seed))
    body = represent(parts, done.media, about=about, rendering=_PLAIN)
    exchange.call.spend("encode", time.perf_counter() - began)
    headers = [(b"vary", b"Accept"), (b"content-length", str(len(body)).encode()),
               (b"content-type", done.media.value.encode())]  # fmt: skip
    if tag is not None:
        headers.append((b"etag", tag.encode()))
    return headers, body
