"""The way of every request that asks a model for something.

request ──read──► body ──decode──► query ──ETag: 304?──► engine.run ──encode──► response

One path for all operations; what differs between them stands in the table OPERATIONS.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from service import queries
from service.api import decoding, schemas
from service.api.arrays import PngFile
from service.api.catalogue import note
from service.api.decoding import Document, Layout, Rendering
from service.api.etags import entity_tag, seeds_of
from service.api.exchange import Exchange, exchange_of
from service.api.fields import MAX_TIMEOUT_MS
from service.api.formats import FORMATS, Format, formats_of
from service.api.negotiation import matches, preferred
from service.api.representations import Parts, parts_of, represent
from service.api.waiting import aside, until_gone
from service.engine import Engine
from service.errors import DeadlineExceeded, InvalidInput, MissingCapability, UnwritableFormat
from service.model import Model
from service.settings import Settings

DRAWING_COSTS = 32  # times as much to draw a number as to write it in JSON
COPYING_SAVES = 32  # and as much less to copy it as it is


@dataclass(frozen=True)
class Operation:
    """One operation: its request's schema, and what nameless arrays mean to it."""

    name: str
    schema: type[schemas.Request]
    layout: Layout

    @property
    def formats(self) -> tuple[Format, ...]:
        """What it can answer in; the first is the default."""
        return FORMATS[self.name]


def _points_of_array(array: NDArray[Any]) -> Document:
    """Latents if there are two axes, else images."""
    kind = "latent" if array.ndim == 2 else "image"
    return {"points": [{kind: item} for item in array] if array.ndim > 1 else array}


def _points_of_files(files: list[PngFile]) -> Document:
    return {"points": [{"image": file} for file in files]}


_IMAGES = Layout(of_array=lambda a: {"images": a}, of_files=lambda f: {"images": f})
_LATENTS = Layout(of_array=lambda a: {"latents": a}, of_files=lambda f: {"image": f})
_POINTS = Layout(of_array=_points_of_array, of_files=_points_of_files)

OPERATIONS = {
    operation.name: operation
    for operation in (
        Operation("sample", schemas.SampleRequest, _LATENTS),
        Operation("interpolate", schemas.InterpolateRequest, _POINTS),
        Operation("inpaint", schemas.InpaintRequest, _IMAGES),
        Operation("score", schemas.ScoreRequest, _IMAGES),
        Operation("encode", schemas.EncodeRequest, _IMAGES),
        Operation("reconstruct", schemas.ReconstructRequest, _IMAGES),
        Operation("classify", schemas.ClassifyRequest, _IMAGES),
    )
}


async def answer(request: HttpRequest, operation: Operation) -> Response:
    """Answer one operation on one model.

    Raises:
        ServiceError: in words for the client; the middleware makes a problem of it.
    """
    exchange = exchange_of(request.scope)
    exchange.operation = operation.name
    engine: Engine = request.app.state.engine
    settings: Settings = request.app.state.settings
    exchange.call = call_of(request.headers, settings)
    model = model_of(engine, request.path_params["model"], operation, exchange)
    media = _format(request, operation, model)
    query, rendering = await _read(request, operation, model, exchange)
    exchange.seeds = seeds_of(query)
    tag = tag_of(model, exchange, query, media, rendering)
    if tag is not None and matches(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers={"ETag": tag, "Vary": "Accept"})
    result = await until_gone(
        engine.run(model, query, exchange.call), request.receive, deadline=exchange.call.deadline
    )
    if tag is None:  # the engine drew the seed: asking again with it gives the same bytes and tag
        query = _with_seed(query, result, exchange)
        tag = tag_of(model, exchange, query, media, rendering)
    content = await _encode(parts_of(query, result), media, rendering, exchange)
    _count(engine, exchange, query, result)
    headers = {"Vary": "Accept"} if tag is None else {"Vary": "Accept", "ETag": tag}
    return Response(content, media_type=media.value, headers=headers)


def call_of(headers: Mapping[str, str], settings: Settings) -> queries.Call:
    """Until when and how urgent, as X-Timeout-Ms and X-Priority say.

    Raises:
        InvalidInput: one of them is not what it should be.
    """
    return queries.Call.lasting(
        _timeout_s(headers.get("x-timeout-ms")) or settings.default_timeout_s,
        _priority(headers.get("x-priority", "interactive")),
    )


def _timeout_s(sent: str | None) -> float | None:
    """The time that X-Timeout-Ms gives this request."""
    if sent is None:
        return None
    if not sent.isascii() or not sent.isdecimal() or len(sent) > 9:
        raise InvalidInput("X-Timeout-Ms is not a whole number of milliseconds")
    if not 1 <= int(sent) <= MAX_TIMEOUT_MS:
        raise InvalidInput(f"X-Timeout-Ms={sent} is not between 1 and {MAX_TIMEOUT_MS}")
    return int(sent) / 1000


def _priority(sent: str) -> queries.Priority:
    """How urgent X-Priority says that this request is."""
    match sent.strip().lower():
        case "interactive":
            return "interactive"
        case "batch":
            return "batch"
    raise InvalidInput("X-Priority is not one of interactive and batch")


def model_of(engine: Engine, reference: str, operation: Operation, exchange: Exchange) -> Model:
    """The model that is asked; the exchange knows it even if it is not ready."""
    note(exchange, engine.registry.entry(reference))
    model = engine.registry.get(reference)
    able = model.capabilities
    if operation.name not in able:
        raise MissingCapability(
            f"{model.manifest.id} cannot {operation.name}; it can {', '.join(able) or 'nothing'}"
        )
    return model


def _format(request: HttpRequest, operation: Operation, model: Model) -> Format:
    """The format that the client likes best; settled before the body is read."""
    accept = ",".join(request.headers.getlist("accept"))
    offered = formats_of(operation.name, model.manifest)
    found = preferred(accept, offered)
    if found is None:
        raise UnwritableFormat(
            f"{operation.name} of {model.id} answers in {', '.join(offered)}; "
            "accept one of them, or */*"
        )
    return Format(found)


async def _read(
    request: HttpRequest, operation: Operation, model: Model, exchange: Exchange
) -> tuple[queries.Query, Rendering]:
    """Read the body within the deadline, then decode it; large ones beside the event loop."""
    settings: Settings = request.app.state.settings
    media_type = decoding.media_type_of(request)
    try:
        async with asyncio.timeout(exchange.call.deadline - time.monotonic()):
            body = await decoding.read_body(request, settings)
    except TimeoutError as error:
        raise DeadlineExceeded(
            "the body had not arrived by the deadline; allow more time with X-Timeout-Ms"
        ) from error

    def decode() -> tuple[schemas.Request, queries.Query, Rendering]:
        fields, rendering = decoding.document(
            body,
            content_type=request.headers.get("content-type", ""),
            media_type=media_type,
            query_string=request.scope["query_string"],
            layout=operation.layout,
        )
        asked = decoding.validated(operation.schema, fields, settings)
        drawn = decoding.validated(Rendering, rendering, settings)
        return asked, asked.query(model.manifest, settings), drawn

    began = time.perf_counter()
    asked, query, rendering = await aside(decode, size_bytes=len(body))
    exchange.call.spend("decode", time.perf_counter() - began)
    if asked.timeout_ms is not None:
        until = time.monotonic() - exchange.elapsed_s + asked.timeout_ms / 1000
        sooner = "x-timeout-ms" in request.headers and exchange.call.deadline < until
        exchange.call.deadline = exchange.call.deadline if sooner else until
    return query, rendering


def tag_of(
    model: Model,
    exchange: Exchange,
    query: queries.Query,
    media: Format,
    rendering: Rendering,
) -> str | None:
    """The entity tag of a seeded answer; None for others."""
    if not seeds_of(query):
        return None
    return entity_tag(
        exchange.model_id, exchange.digest, model.runtime, model.device,
        exchange.operation, query, media.value, rendering.scale, rendering.frame_ms,
    )  # fmt: skip


def _with_seed(query: queries.Query, result: queries.Result, exchange: Exchange) -> queries.Query:
    """The query with the seed that the engine drew for it, if it drew one."""
    seed = getattr(result, "seed", None)
    seeded = queries.Sample | queries.Inpaint | queries.InpaintRows
    if seed is None or not isinstance(query, seeded):
        return query
    exchange.seeds = (seed,)
    return dataclasses.replace(query, seed=seed)


async def _encode(parts: Parts, media: Format, rendering: Rendering, exchange: Exchange) -> bytes:
    about = {"model": exchange.model_id or "", "digest": exchange.digest or ""}
    began = time.perf_counter()
    content = await aside(
        lambda: represent(parts, media, about=about, rendering=rendering),
        size_bytes=work_of(sum(c.nbytes for c in parts.columns.values()), media),
    )
    exchange.call.spend("encode", time.perf_counter() - began)
    return content


def work_of(size_bytes: int, media: Format) -> int:
    """How much work it is to write numbers of this size, in bytes of JSON's numbers."""
    if media in {Format.NPY, Format.ARROW}:
        return size_bytes // COPYING_SAVES
    return size_bytes if media is Format.JSON else DRAWING_COSTS * size_bytes


def _count(
    engine: Engine, exchange: Exchange, query: queries.Query, result: queries.Result
) -> None:
    """Rows answered, and the p-values that were handed out."""
    match result:
        case queries.Sampled(samples):
            exchange.rows = len(samples)
        case queries.Interpolated(frames):
            exchange.rows = len(frames)
        case queries.Inpainted(samples):
            exchange.rows = samples.shape[0] * samples.shape[1]
        case _:
            exchange.rows = len(getattr(query, "images", ()))
    if isinstance(result, queries.Scored) and result.p_values is not None:
        observe = engine.metrics.score_p_value.labels(exchange.model).observe
        for p in np.asarray(result.p_values).tolist():
            observe(p)
