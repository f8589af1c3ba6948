"""Every path of the service, each a line or two: what there is to know is elsewhere.

/v1/models/{model}/{operation} ──► answers        /v1/models… ──► catalogue        /livez …
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any

import anyio.to_thread
import orjson
from fastapi import APIRouter, Path, Request
from prometheus_client.exposition import choose_encoder
from starlette.responses import Response

from service.api import bodies, catalogue
from service.api.answers import OPERATIONS, Operation, answer
from service.api.exchange import exchange_of
from service.api.negotiation import matches
from service.api.openapi import describe, json_answer, problems
from service.contract import CARD_FILE, PREVIEW_FILE, sha256_of
from service.engine import Engine
from service.registry import Entry

RETRY_AFTER_S = "2"

ModelName = Annotated[str, Path(description="`name`, its newest ready version, or `name@version`")]

models = APIRouter(prefix="/v1/models", tags=["models"])
operations = APIRouter(prefix="/v1/models/{model}", tags=["operations"])
health = APIRouter(tags=["health"])


@models.get("", responses={200: json_answer(bodies.ModelList, "Every model"), **problems(401)})
async def list_models(request: Request) -> Response:
    """Every package in the store: ready, loading, or failed with its reason."""
    return _json({"models": [catalogue.summary(e) for e in _engine(request).registry.entries()]})


@models.get(
    "/{model}", responses={200: json_answer(bodies.ModelPage, "The model"), **problems(401, 404)}
)
async def show_model(request: Request, model: ModelName) -> Response:
    """What the model can do, its limits, defaults, quality figures and provenance."""
    entry = _engine(request).registry.entry(model)
    catalogue.note(exchange_of(request.scope), entry)
    return _json(catalogue.page(entry, request.app.state.settings))


@models.get(
    "/{model}/card",
    responses={
        200: {"description": "The card", "content": {"text/markdown": {}}},
        **problems(401, 404, 503),
    },
)
async def show_card(request: Request, model: ModelName) -> Response:
    """The model's card, in Markdown."""
    return await _companion(request, model, CARD_FILE, "card", "text/markdown; charset=utf-8")


@models.get(
    "/{model}/preview",
    responses={
        200: {"description": "The preview", "content": {"image/png": {}}},
        **problems(401, 404, 503),
    },
)
async def show_preview(request: Request, model: ModelName) -> Response:
    """A picture of what the model makes."""
    return await _companion(request, model, PREVIEW_FILE, "preview", "image/png")


@health.get(
    "/livez",
    responses={
        200: json_answer(bodies.Liveness, "The process works"),
        503: json_answer(bodies.Liveness, "A worker has died; restart the process"),
    },
)
async def livez(request: Request) -> Response:
    """Whether the process works; red once a worker has died."""
    alive = _engine(request).alive
    return _json({"status": "alive" if alive else "dead"}, status=200 if alive else 503)


@health.get(
    "/readyz",
    responses={
        200: json_answer(bodies.Readiness, "Send requests here"),
        503: json_answer(bodies.Readiness, "Still loading, or draining; see Retry-After"),
    },
)
async def readyz(request: Request) -> Response:
    """Whether to send requests here: every model is loaded and warm, and no shutdown began."""
    engine = _engine(request)
    status = "ready" if engine.ready else "loading"
    if engine.draining or engine.leaving:
        status = "draining"
    document = {"status": status, "models": [_state(e) for e in engine.registry.entries()]}
    if status == "ready":
        return _json(document)
    return _json(document, status=503, headers={"Retry-After": RETRY_AFTER_S})


@health.get(
    "/metrics",
    responses={
        200: {
            "description": "Prometheus text, or OpenMetrics where Accept asks for it",
            "content": {"text/plain": {}, "application/openmetrics-text": {}},
        }
    },
)
async def metrics(request: Request) -> Response:
    """What Prometheus scrapes."""
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    content = await anyio.to_thread.run_sync(encode, _engine(request).metrics.registry)
    return Response(content, headers={"Content-Type": content_type})


def _endpoint(operation: Operation) -> Callable[..., Awaitable[Response]]:
    async def endpoint(request: Request, model: ModelName) -> Response:  # noqa: ARG001 - for the docs
        return await answer(request, operation)

    return endpoint


for _operation in OPERATIONS.values():
    operations.add_api_route(
        f"/{_operation.name}",
        _endpoint(_operation),
        methods=["POST"],
        response_model=None,
        response_class=Response,
        **describe(_operation),
    )


def _engine(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


def _json(
    document: object, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    return Response(orjson.dumps(document), status, headers, media_type="application/json")


def _state(entry: Entry) -> dict[str, Any]:
    found = {"model": f"{entry.name}@{entry.version}", "state": entry.state}
    return found if entry.reason is None else found | {"reason": entry.reason}


async def _companion(
    request: Request, reference: str, file: str, what: str, media_type: str
) -> Response:
    """A file of the package, under its digest as a strong tag."""
    registry = _engine(request).registry
    catalogue.note(exchange_of(request.scope), registry.entry(reference))
    model = registry.get(reference)
    read = partial(catalogue.companion, model, file, what=what)
    content = await anyio.to_thread.run_sync(read)
    tag = f'"{sha256_of(content)[:40]}"'
    if matches(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers={"ETag": tag})
    return Response(content, headers={"ETag": tag, "Content-Type": media_type})
