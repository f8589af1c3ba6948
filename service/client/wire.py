"""Requests and replies as plain data: what is sent and how it is read is decided without any I/O.

operations ──► Request ──a client sends──► Reply ──received──► result | ReverieError
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Generic, Literal, TypedDict, TypeVar
from urllib.parse import quote

import numpy as np
import orjson
from numpy.typing import NDArray

from service.client.errors import BadAnswer, problem_of
from service.client.results import Timing

T = TypeVar("T")

JSON = "application/json"
NPY = "application/x-npy"
MAX_TIMEOUT_MS = 3_600_000  # the longest deadline that the service takes

_NOT_UNDERSTOOD = (
    ValueError, LookupError, TypeError, AttributeError, RecursionError, ArithmeticError,
)  # fmt: skip

Priority = Literal["interactive", "batch"]


class Options(TypedDict, total=False):
    """What every call takes beside its own fields.

    timeout_s: bounds the call with all its tries, in seconds; the default is the client's.
    priority: `batch` work yields to `interactive`, which is the default.
    """

    timeout_s: float
    priority: Priority


@dataclass(frozen=True)
class Reply:
    """An answer that has come whole. `headers` are looked up without regard to case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True, kw_only=True)
class Request(Generic[T]):
    """One call: what to send, how long it may take, and how to read the answer.

    Every request may be sent again: operations are pure, and an order carries an idempotency key.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    read: Callable[[Reply], T]
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""
    timeout_s: float | None = None

    def headers_within(self, remaining_s: float) -> dict[str, str]:
        """The headers of a try that has `remaining_s` left; the server drops what comes too late.

        Args:
            remaining_s: seconds, may be infinite.
        """
        if remaining_s == float("inf"):
            return dict(self.headers)
        remaining_ms = min(MAX_TIMEOUT_MS, max(1, int(1000 * remaining_s)))
        return {**self.headers, "X-Timeout-Ms": str(remaining_ms)}


def request(
    method: Literal["GET", "POST", "DELETE"],
    path: str,
    read: Callable[[Reply], T],
    *,
    options: Options,
    fields: Mapping[str, Any] | None = None,
    array: NDArray[Any] | None = None,
    accept: str = JSON,
    headers: Mapping[str, str] | None = None,
) -> Request[T]:
    """A request whose body is `fields` as JSON, or `array` as npy with `fields` in the query.

    Fields that are None are left out: the server's defaults hold.
    """
    given = {name: value for name, value in (fields or {}).items() if value is not None}
    sent = {"Accept": accept, **(headers or {})}
    if "priority" in options:
        sent["X-Priority"] = options["priority"]
    params: dict[str, str] = {}
    content = b""
    if array is not None:
        params = {name: _in_query(value) for name, value in given.items()}
        content, sent["Content-Type"] = _npy_bytes(array), NPY
    elif fields is not None:
        content = orjson.dumps(given, option=orjson.OPT_SERIALIZE_NUMPY)
        sent["Content-Type"] = JSON
    return Request(
        method=method,
        path=path,
        read=read,
        params=params,
        headers=sent,
        content=content,
        timeout_s=options.get("timeout_s"),
    )


def received(asked: Request[T], reply: Reply) -> T:
    """What the reply says.

    Raises:
        ReverieError: the problem that it tells of, or `BadAnswer` if it cannot be understood.
    """
    if reply.status >= 400:
        raise problem_of(reply.status, reply.headers, reply.content)
    try:
        if reply.status >= 300:
            raise ValueError(f"status {reply.status}")
        return asked.read(reply)
    except _NOT_UNDERSTOOD as error:
        raise BadAnswer(
            f"the answer to {asked.method} {asked.path} is not this service's: {error}; is the "
            "address right, and the client as new as the service?",
            status=reply.status,
            request_id=reply.headers.get("x-request-id"),
        ) from error


def segment(name: str) -> str:
    """A name as one segment of a path: whatever it holds, it cannot name another path."""
    return quote(name, safe="@")


def document_of(reply: Reply) -> dict[str, Any]:
    """The JSON object that a reply holds."""
    found = orjson.loads(reply.content)
    if not isinstance(found, dict):
        raise TypeError("it is not a JSON object")
    return found


def array_of(reply: Reply) -> NDArray[np.float32]:
    """The npy array that a reply holds, as float32."""
    found = np.lib.format.read_array(BytesIO(reply.content), allow_pickle=False)
    return np.asarray(found, np.float32)


def about(reply: Reply) -> dict[str, Any]:
    """The fields of `Result`: which model answered, under which id, and how long it took."""
    headers = reply.headers
    return {
        "model": headers.get("x-model", ""),
        "digest": headers.get("x-model-digest", ""),
        "request_id": headers.get("x-request-id", ""),
        "etag": headers.get("etag"),
        "timing": timing_of(headers.get("server-timing", "")),
    }


def timing_of(header: str) -> Timing:
    """Server-Timing as the service writes it; phases that are unknown or unreadable are left out.

    Source: W3C Server Timing, §3.
    """
    found: dict[str, float] = {}
    for member in header.split(","):
        name, *parameters = (part.strip() for part in member.split(";"))
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key == "dur" and f"{name}_ms" in Timing.__dataclass_fields__:
                found[f"{name}_ms"] = _milliseconds(value)
    return Timing(**found)


def _in_query(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _milliseconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        return 0.0
    return found if 0 <= found < float("inf") else 0.0


def _npy_bytes(array: NDArray[Any]) -> bytes:
    buffer = BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()
