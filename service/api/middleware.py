"""What surrounds every request: its id, its key, its errors, its metrics and its line in the log.

request ──► Exchanges(id, errors, headers, metrics, log) ──► ApiKeys ──► routes

Pure ASGI: nothing here buffers a body, and a disconnect reaches the routes as it happens.
"""

from __future__ import annotations

import asyncio
import hmac
from typing import Any

import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.exchange import Exchange, begin
from service.api.handlers import Unauthorised, problem, row_of
from service.errors import ServiceError
from service.metrics import Metrics

log = structlog.get_logger("service.requests")


class Exchanges:
    """Begins every exchange and ends it: no error passes, and each request is told of once."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = begin(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message["headers"] = [*message.get("headers", ()), *exchange.headers()]
            await send(message)

        try:
            await self._answer(scope, receive, send_with_headers, exchange)
        except asyncio.CancelledError:
            exchange.outcome = "cancelled"
            raise
        finally:
            route = getattr(scope.get("route"), "path", "(none)")
            record(self.metrics, exchange, method=scope["method"], route=route)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, exchange: Exchange) -> None:
        try:
            await self.app(scope, receive, send)
        except Exception as error:  # noqa: BLE001  whatever failed, the client gets an answer
            fail(exchange, error)
            if exchange.status is None and row_of(error).outcome != "cancelled":
                await problem(error, exchange)(scope, receive, send)


class ApiKeys:
    """Asks for `Authorization: Bearer KEY` on /v1, when there are keys."""

    def __init__(self, app: ASGIApp, keys: tuple[str, ...]) -> None:
        self.app = app
        self.keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        guarded = self.keys and scope["type"] == "http" and _is_guarded(scope["path"])
        if guarded and not is_admitted(Headers(scope=scope).get("authorization", ""), self.keys):
            raise Unauthorised("send a key of this service as 'Authorization: Bearer KEY'")
        await self.app(scope, receive, send)


def is_admitted(authorization: str, keys: tuple[str, ...]) -> bool:
    """Whether the header carries one of the keys; how long that takes tells nothing of them."""
    scheme, _, given = authorization.partition(" ")
    sent = given.strip().encode("latin-1", "replace")
    found = [hmac.compare_digest(sent, key.encode()) for key in keys]
    return scheme.lower() == "bearer" and any(found)


def fail(exchange: Exchange, error: Exception) -> None:
    """Note an error in the exchange, and in the log with its cause if it is ours."""
    row = row_of(error)
    exchange.outcome = row.outcome
    exchange.error = row.slug
    if row.outcome == "error":
        log.error("request_failed", request_id=exchange.request_id, exc_info=error)
    elif isinstance(error, ServiceError):
        log.debug("request_refused", request_id=exchange.request_id, detail=error.detail)


def _is_guarded(path: str) -> bool:
    return path == "/v1" or path.startswith("/v1/")


def record(metrics: Metrics, exchange: Exchange, *, method: str, route: str) -> None:
    """Tell of a finished exchange once: in the metrics, and in one line of the log."""
    if exchange.operation is not None:
        _observe(metrics, exchange, exchange.operation)
    quiet = exchange.operation is None and not route.startswith("/v1")
    tell = log.debug if quiet and exchange.outcome == "ok" else log.info
    tell("request", method=method, path=route, **_told(exchange))


def _observe(metrics: Metrics, exchange: Exchange, operation: str) -> None:
    of = metrics.of(exchange.model, operation)
    of.finished[exchange.outcome].inc()
    of.duration.observe(exchange.elapsed_s)
    for phase, seconds in exchange.call.phases_s.items():
        of.phases[phase].observe(seconds)
    if exchange.rows:
        of.rows.inc(exchange.rows)


def _told(exchange: Exchange) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "status": exchange.status or (499 if exchange.outcome == "cancelled" else 500),
        "duration_ms": round(1000 * exchange.elapsed_s, 3),
        "request_id": exchange.request_id,
    }
    if exchange.model_id is not None:
        fields["model"] = exchange.model_id
    if exchange.error is not None:
        fields["error"] = exchange.error
    return fields
