"""The client for code that waits for each answer.

Request ──Client.send: try, pause, try again──► result

Everything but the sending is shared with `asynchronous.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

import httpx
from tenacity import Retrying

from service.client import catalogue, operations, ordering
from service.client.blocking_orders import Order
from service.client.connection import Connection
from service.client.ordering import OrderStatus
from service.client.retrying import Deadline, after_tries, policy, translated
from service.client.signatures import as_method
from service.client.wire import Reply, Request, received

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(build: Callable[P, Request[T]]) -> Callable[Concatenate[Client, P], T]:
    """The method that sends what `build` makes of its arguments."""

    @wraps(build)
    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.send(build(*args, **kwargs))

    return as_method(method, build)


def _ordering(build: Callable[P, Request[OrderStatus]]) -> Callable[Concatenate[Client, P], Order]:
    """The method that sends what `build` makes of its arguments, and gives the order to hand."""

    @wraps(build)
    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> Order:
        return Order(self, self.send(build(*args, **kwargs)))

    return as_method(method, build, returns="Order")


class Client:
    """Reverie over HTTP. Safe to share between threads; close it, or use it in a `with` block.

    Args:
        base_url: address of the service; default REVERIE_URL, else http://127.0.0.1:8000.
        api_key: default REVERIE_API_KEY; none is sent where there is none.
        timeout_s: each call's deadline, with all its tries, unless the call names another.
        tries: how often a request is sent at most.
        transport: what to send with, in place of the network.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        tries: int = 6,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.connection = Connection.of(base_url, api_key=api_key, timeout_s=timeout_s, tries=tries)
        self._http = httpx.Client(**self.connection.arguments(), transport=transport)

    sample = _blocking(operations.sample)
    interpolate = _blocking(operations.interpolate)
    inpaint = _blocking(operations.inpaint)
    score = _blocking(operations.score)
    encode = _blocking(operations.encode)
    reconstruct = _blocking(operations.reconstruct)
    classify = _blocking(operations.classify)
    models = _blocking(catalogue.models)
    model = _blocking(catalogue.model)
    card = _blocking(catalogue.card)
    preview = _blocking(catalogue.preview)
    augment = _ordering(ordering.augment)
    order = _ordering(ordering.order)

    def orders(self) -> list[Order]:
        """Every order that the service knows, newest first; without files until `refresh`."""
        page, cursor = self.send(ordering.orders())
        found = page
        while cursor is not None:
            page, cursor = self.send(ordering.orders(cursor))
            found += page
        return [Order(self, status) for status in found]

    def send(self, request: Request[T]) -> T:
        """The answer to a request, sent again where that may help.

        Raises:
            ReverieError: the server refused, could not be reached, or had no time left.
        """
        deadline = self.connection.deadline(request.timeout_s)
        retrying = Retrying(**policy(deadline, stop=after_tries(self.connection.tries)))
        answer: T = retrying(self._try, request, deadline)
        return answer

    def _try(self, request: Request[T], deadline: Deadline) -> T:
        pieces = []
        with (
            translated(deadline, self.connection.base_url),
            self._http.stream(
                request.method,
                request.path,
                params=request.params,
                headers=request.headers_within(deadline.remaining_s),
                content=request.content,
                timeout=deadline.limits(),
            ) as response,
        ):
            for piece in response.iter_bytes():
                deadline.check()
                pieces.append(piece)
        return received(request, Reply(response.status_code, response.headers, b"".join(pieces)))

    @contextmanager
    def stream(
        self, path: str, *, headers: Mapping[str, str], deadline: Deadline
    ) -> Iterator[httpx.Response]:
        """An answer that is read as it comes; one try.

        Raises:
            Unreachable, DeadlineExceeded: there was no connection, it broke, or was too slow.
        """
        with (
            translated(deadline, self.connection.base_url),
            self._http.stream(
                "GET", path, headers=dict(headers), timeout=deadline.limits()
            ) as response,
        ):
            yield response

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
