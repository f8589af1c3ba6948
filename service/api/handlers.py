"""The one table from errors to HTTP, and RFC 9457 problems made from it.

ServiceError | HTTPException | anything else ──row_of──► Row ──problem──► application/problem+json
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from http import HTTPStatus

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from service.api.decoding import READABLE
from service.api.exchange import Exchange
from service.errors import (
    ComputeFailed,
    DeadlineExceeded,
    IdempotencyClash,
    InvalidInput,
    MissingCapability,
    NoSpace,
    NotReady,
    Overloaded,
    Retryable,
    ServiceError,
    TooLarge,
    UnknownModel,
    UnknownOrder,
    UnreadableFormat,
    UnwritableFormat,
)

MEDIA_TYPE = "application/problem+json"
URN = "urn:reverie:problem:"


class Unauthorised(ServiceError):
    """No API key, or not one of ours."""


class ClientLeft(Exception):
    """The client closed the connection before the answer was there."""


@dataclass(frozen=True)
class Row:
    """How one kind of error is shown: the `outcome` is its label in the metrics."""

    status: int
    slug: str
    title: str
    outcome: str


TABLE: dict[type[Exception], Row] = {
    InvalidInput: Row(422, "invalid-input", "The request cannot be taken as it is", "invalid"),
    MissingCapability: Row(422, "missing-capability", "The model cannot do this", "invalid"),
    Unauthorised: Row(401, "unauthorised", "An API key is needed", "invalid"),
    UnknownModel: Row(404, "unknown-model", "There is no such model", "invalid"),
    UnknownOrder: Row(404, "unknown-order", "There is no such order", "invalid"),
    UnwritableFormat: Row(406, "not-acceptable", "No accepted format fits", "invalid"),
    IdempotencyClash: Row(409, "idempotency-clash", "The key was used before", "invalid"),
    TooLarge: Row(413, "too-large", "The request is too large", "invalid"),
    UnreadableFormat: Row(415, "unsupported-format", "The body's format is not read", "invalid"),
    Overloaded: Row(429, "overloaded", "Too much work is waiting", "overloaded"),
    ClientLeft: Row(499, "client-left", "The client left", "cancelled"),
    ClientDisconnect: Row(499, "client-left", "The client left", "cancelled"),
    ComputeFailed: Row(500, "compute-failed", "The model failed", "error"),
    NotReady: Row(503, "not-ready", "Not ready yet", "overloaded"),
    DeadlineExceeded: Row(504, "deadline-exceeded", "The deadline has passed", "deadline"),
    NoSpace: Row(507, "no-space", "There is no space", "overloaded"),
}
_ROUTING = {
    404: "nothing is at this path; GET /docs lists what there is",
    405: "this path does not take this method; the Allow header names those that it takes",
}
_INTERNAL = Row(500, "internal", "Something failed here", "error")


def row_of(error: BaseException) -> Row:
    """How an error is shown; what is not in the table is an internal error."""
    if isinstance(error, HTTPException):
        phrase = HTTPStatus(error.status_code).phrase
        return Row(error.status_code, phrase.lower().replace(" ", "-"), phrase, "invalid")
    return next((TABLE[kind] for kind in type(error).__mro__ if kind in TABLE), _INTERNAL)


def problem(error: Exception, exchange: Exchange) -> Response:
    """The answer that tells the client of an error, and no more than it should know."""
    row = row_of(error)
    body: dict[str, object] = {
        "type": URN + row.slug,
        "title": row.title,
        "status": row.status,
        "detail": _detail(error, row, exchange),
        "request_id": exchange.request_id,
    }
    if isinstance(error, InvalidInput) and error.fields:
        body["errors"] = [{"pointer": f.pointer, "detail": f.detail} for f in error.fields]
    return Response(
        orjson.dumps(body, default=str),
        status_code=row.status,
        headers=_headers(error),
        media_type=MEDIA_TYPE,
    )


def _detail(error: Exception, row: Row, exchange: Exchange) -> str:
    if row.status >= 500 and not isinstance(error, Retryable | DeadlineExceeded | NoSpace):
        return (
            "The failure is in the service's log under the request id "
            f"{exchange.request_id}; quote it to the operator."
        )
    if isinstance(error, HTTPException) and error.detail == row.title:
        return _ROUTING.get(row.status, row.title)
    return error.detail if isinstance(error, ServiceError | HTTPException) else row.title


def _headers(error: Exception) -> dict[str, str]:
    if isinstance(error, Retryable):
        return {"Retry-After": str(max(1, math.ceil(error.retry_after_s)))}
    if isinstance(error, UnreadableFormat):
        return {"Accept": ", ".join(READABLE), "Accept-Post": ", ".join(READABLE)}
    if isinstance(error, Unauthorised):
        return {"WWW-Authenticate": 'Bearer realm="reverie"'}
    if isinstance(error, HTTPException):
        return dict(error.headers or {})
    return {}
