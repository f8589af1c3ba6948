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
            self._record(exchange)
            _log_line(scope, exchange)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, exchange: Exchange) -> None:
        try:
            await self.app(scope, receive, send)
        except Exception as error:  # noqa: BLE001  whatever failed, the client gets an answer
            fail(exchange, error)
            if exchange.status is None and row_of(error).outcome != "cancelled":
                await problem(error, exchange)(scope, receive, send)

    def _record(self, exchange: Exchange) -> None:
        operation, metrics = exchange.operation, self.metrics
        if operation is None:
            return
        model = exchange.model
        metrics.requests.labels(model, operation, exchange.outcome).inc()
        metrics.request_duration.labels(model, operation).observe(exchange.elapsed_s)
        for phase, seconds in exchange.call.phases_s.items():
            metrics.phase_duration.labels(model, operation, phase).observe(seconds)
        if exchange.rows:
            metrics.rows.labels(model, operation).inc(exchange.rows)


class ApiKeys:
    """Asks for `Authorization: Bearer KEY` on /v1, when there are keys."""

    def __init__(self, app: ASGIApp, keys: tuple[str, ...]) -> None:
        self.app = app
        self.keys = tuple(key.encode() for key in keys)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if self.keys and scope["type"] == "http" and _is_guarded(scope["path"]):
            sent = Headers(scope=scope).get("authorization", "")
            scheme, _, given = sent.partition(" ")
            if scheme.lower() != "bearer" or not self._is_known(given.strip().encode("latin-1")):
                raise Unauthorised("send a key of this service as 'Authorization: Bearer KEY'")
        await self.app(scope, receive, send)

    def _is_known(self, given: bytes) -> bool:
        """Compare with every key, each in constant time: how long it takes tells nothing."""
        found = [hmac.compare_digest(given, key) for key in self.keys]
        return any(found)


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


def _log_line(scope: Scope, exchange: Exchange) -> None:
    route = scope.get("route")
    fields: dict[str, Any] = {
        "method": scope["method"],
        "path": getattr(route, "path", "(none)"),
        "status": exchange.status or (499 if exchange.outcome == "cancelled" else 500),
        "duration_ms": round(1000 * exchange.elapsed_s, 3),
        "request_id": exchange.request_id,
    }
    if exchange.model_id is not None:
        fields["model"] = exchange.model_id
    if exchange.error is not None:
        fields["error"] = exchange.error
    quiet = exchange.operation is None and not scope["path"].startswith("/v1")
    (log.debug if quiet and exchange.outcome == "ok" else log.info)("request", **fields)
