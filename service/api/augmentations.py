"""/v1/augmentations: orders placed, listed, watched, cancelled, and their files.

request ──AugmentationRequest──► Desk.place ──► 202 + Location        Desk.board ──► everything else
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path as FilePath
from typing import Annotated, Any

import anyio.to_thread
import orjson
from fastapi import APIRouter, Path, Request
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from service.api import orders
from service.api.answers import call_of
from service.api.decoding import Layout, document, media_type_of, read_body, validated
from service.api.exchange import exchange_of
from service.api.negotiation import matches
from service.api.openapi import json_answer, json_body, parameter, problems
from service.api.waiting import until_gone
from service.augmentation.desk import Desk
from service.contract import sha256_of
from service.errors import InvalidInput, UnknownOrder, UnreadableFormat
from service.settings import Settings

PATH = "/v1/augmentations"
JSON = "application/json"
MAX_PAGE = 200
MAX_KEY_LENGTH = 255
EXAMPLE = {"model": "mnist-dcgan", "n": 10_000, "seed": 7, "format": "parquet"}
_LAYOUT = Layout(of_array=lambda array: {"array": array}, of_files=lambda files: {"files": files})

augmentations = APIRouter(prefix=PATH, tags=["augmentations"])
OrderId = Annotated[str, Path(description="The order's `id`.")]


@augmentations.post(
    "",
    status_code=202,
    responses={
        202: json_answer(orders.Augmentation, "The order is taken; Location says where it is"),
        200: json_answer(orders.Augmentation, "The order that this Idempotency-Key placed before"),
        **problems(401, 404, 409, 413, 415, 422, 429, 503, 504, 507),
    },
    openapi_extra={
        "requestBody": json_body(orders.AugmentationRequest, EXAMPLE),
        "parameters": [
            parameter(
                "Idempotency-Key",
                "header",
                "Sent again with the same body, it gives the same order; with another body, 409.",
                {"type": "string", "maxLength": MAX_KEY_LENGTH},
            )
        ],
    },
)
async def place_order(request: Request) -> Response:
    """Order a synthetic data set, which is made in the background, as batch work.

    A few rows are drawn first: what the model refuses is refused at once, and a disk that cannot
    hold the files is told of with 507.
    """
    exchange, settings = exchange_of(request.scope), _settings(request)
    exchange.call = call_of(request.headers, settings)
    asked = await _asked(request, settings)
    key = _key(request)
    body = sha256_of(asked.model_dump_json(exclude={"timeout_ms"}).encode())
    desk = _desk(request)
    if key is not None and (known := await desk.known(key, body)) is not None:
        return _order(known, status=200)
    if asked.timeout_ms is not None:
        until = time.monotonic() + asked.timeout_ms / 1000
        exchange.call.deadline = min(exchange.call.deadline, until)
    placed = await until_gone(
        desk.place(asked.asked(), exchange.call, key=key, body=body),
        request.receive,
        deadline=exchange.call.deadline,
    )
    return _order(placed, status=202)


@augmentations.get(
    "",
    responses={
        200: json_answer(orders.AugmentationList, "Orders, newest first"),
        **problems(401, 422, 503),
    },
    openapi_extra={
        "parameters": [
            parameter(
                "limit",
                "query",
                "Orders a page.",
                {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": 50},
            ),
            parameter(
                "cursor", "query", "`next` of the page before; none: the first.", {"type": "string"}
            ),
        ]
    },
)
async def list_orders(request: Request) -> Response:
    """Every order that has not expired, without its files."""
    limit = _whole(request, "limit", low=1, high=MAX_PAGE)
    before = _whole(request, "cursor", low=0, high=2**62)
    found, following = await _desk(request).board.page(limit=limit or 50, before=before)
    return _json({"augmentations": found, "next": None if following is None else str(following)})


@augmentations.get(
    "/{order}",
    responses={
        200: json_answer(orders.Augmentation, "The order as it stands"),
        **problems(401, 404, 503),
    },
)
async def show_order(request: Request, order: OrderId) -> Response:
    """How far an order is, what it has delivered, and its files."""
    return _json(await _desk(request).board.find(order))


@augmentations.delete(
    "/{order}",
    responses={
        200: json_answer(orders.Augmentation, "The order, cancelled, or ended as it was"),
        **problems(401, 404, 503),
    },
)
async def cancel_order(request: Request, order: OrderId) -> Response:
    """End an order. Its files so far stay until it expires; one that has ended stays as it is."""
    return _json(await _desk(request).cancel(order))


@augmentations.get(
    "/{order}/events",
    responses={
        200: {
            "description": "`state` and `progress` events; the data is the order without its files",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        **problems(401, 404, 422, 503),
    },
    openapi_extra={
        "parameters": [
            parameter(
                "Last-Event-ID",
                "header",
                "Events after this one are told, also those of before the connection.",
                {"type": "string"},
            )
        ]
    },
)
async def watch_order(request: Request, order: OrderId) -> Response:
    """What happens to an order, as server-sent events, until it ends or the service leaves."""
    sent = request.headers.get("last-event-id", "") or "0"
    if not (sent.isascii() and sent.isdecimal() and len(sent) < 16):
        raise InvalidInput(f"Last-Event-ID={sent[:40]!r} is not the id of an event")
    board = _desk(request).board
    await board.record(order)

    async def lines() -> AsyncIterator[bytes]:
        async for event in board.events(order, after=int(sent)):
            if event is None:
                yield KEEPALIVE_COMMENT
            else:
                data = orjson.dumps(event.data).decode()
                yield format_sse_event(data_str=data, event=event.event, id=str(event.number))

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(lines(), media_type="text/event-stream", headers=headers)


@augmentations.get(
    "/{order}/manifest",
    responses={
        200: json_answer(orders.OrderManifest, "The manifest"),
        **problems(401, 404, 503),
    },
)
async def show_manifest(request: Request, order: OrderId) -> Response:
    """What was asked, what was delivered, and how to check every byte; once the order has ended."""
    return _json(await _desk(request).board.manifest(order))


@augmentations.get(
    "/{order}/files/{file:path}",
    responses={
        200: {
            "description": "The file; its strong ETag is its sha256",
            "content": {"application/octet-stream": {}},
        },
        206: {"description": "The range that was asked for"},
        304: {"description": "The file is the one that If-None-Match names"},
        **problems(401, 404, 416, 503),
    },
)
async def download_file(
    request: Request, order: OrderId, file: Annotated[str, Path(description="A file's `name`.")]
) -> Response:
    """One file of an order, or a range of it."""
    found = await _desk(request).board.file(order, file)
    tag = f'"{found.sha256}"'
    if matches(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers={"ETag": tag})
    return await _ranged(found.path, tag=tag, media_type=found.media_type)


class _Ranged(FileResponse):
    """A file whose refusals of a range are problems like all others."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def checked(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] in {400, 416}:
                sent = {k.decode(): v.decode() for k, v in message["headers"]}
                about = {k: v for k, v in sent.items() if k == "content-range"}
                raise HTTPException(
                    message["status"],
                    f"the range cannot be given: the file has {self.headers['content-length']} "
                    "bytes",
                    about,
                )
            await send(message)

        await super().__call__(scope, receive, checked)


async def _ranged(path: FilePath, *, tag: str, media_type: str) -> Response:
    try:
        found = await anyio.to_thread.run_sync(path.stat)
    except FileNotFoundError:
        raise UnknownOrder("the order has expired, and its files with it") from None
    return _Ranged(
        path, headers={"ETag": tag}, media_type=media_type, filename=path.name, stat_result=found
    )


async def _asked(request: Request, settings: Settings) -> orders.AugmentationRequest:
    if media_type_of(request) not in {"", JSON}:
        raise UnreadableFormat("orders are read as application/json")
    fields, others = document(
        await read_body(request, settings),
        content_type=request.headers.get("content-type", ""),
        media_type=JSON,
        query_string=b"",
        layout=_LAYOUT,
    )
    return validated(orders.AugmentationRequest, fields | others, settings)


def _key(request: Request) -> str | None:
    sent = request.headers.get("idempotency-key")
    if sent is not None and not (sent.isprintable() and 1 <= len(sent) <= MAX_KEY_LENGTH):
        raise InvalidInput(
            f"the Idempotency-Key has {len(sent)} characters, not 1 to {MAX_KEY_LENGTH} that can "
            "be printed"
        )
    return sent


def _whole(request: Request, name: str, *, low: int, high: int) -> int | None:
    """A whole number of the query string."""
    sent = request.query_params.get(name)
    if sent is None:
        return None
    if not (sent.isascii() and sent.isdecimal() and len(sent) < 20 and low <= int(sent) <= high):
        raise InvalidInput(
            f"{name}={sent[:40]!r} is not a whole number from {low} to {high}", pointer=f"/{name}"
        )
    return int(sent)


def _order(found: dict[str, Any], *, status: int) -> Response:
    return _json(found, status=status, headers={"Location": f"{PATH}/{found['id']}"})


def _json(
    found: dict[str, Any], *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    return Response(orjson.dumps(found), status, headers, media_type=JSON)


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings
