"""The client for asyncio and trio.

Request ──AsyncClient.send: try, pause, try again──► result

Everything but the sending is shared with `blocking.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import wraps
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

import anyio
import httpx
from tenacity import AsyncRetrying

from service.client import catalogue, operations, ordering
from service.client.asynchronous_orders import AsyncOrder
from service.client.connection import Connection
from service.client.ordering import OrderStatus
from service.client.retrying import Deadline, after_tries, policy, translated
from service.client.signatures import as_method
from service.client.wire import Reply, Request, received

P = ParamSpec("P")
T = TypeVar("T")


def _awaited(
    build: Callable[P, Request[T]],
) -> Callable[Concatenate[AsyncClient, P], Awaitable[T]]:
    """The method that sends what `build` makes of its arguments."""

    @wraps(build)
    async def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.send(build(*args, **kwargs))

    return as_method(method, build)


def _ordering(
    build: Callable[P, Request[OrderStatus]],
) -> Callable[Concatenate[AsyncClient, P], Awaitable[AsyncOrder]]:
    """The method that sends what `build` makes of its arguments, and gives the order to hand."""

    @wraps(build)
    async def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> AsyncOrder:
        return AsyncOrder(self, await self.send(build(*args, **kwargs)))

    return as_method(method, build, returns="AsyncOrder")


class AsyncClient:
    """Reverie over HTTP, awaited. Close it, or use it in an `async with` block.

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
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.connection = Connection.of(base_url, api_key=api_key, timeout_s=timeout_s, tries=tries)
        self._http = httpx.AsyncClient(**self.connection.arguments(), transport=transport)

    sample = _awaited(operations.sample)
    interpolate = _awaited(operations.interpolate)
    inpaint = _awaited(operations.inpaint)
    score = _awaited(operations.score)
    encode = _awaited(operations.encode)
    reconstruct = _awaited(operations.reconstruct)
    classify = _awaited(operations.classify)
    models = _awaited(catalogue.models)
    model = _awaited(catalogue.model)
    card = _awaited(catalogue.card)
    preview = _awaited(catalogue.preview)
    augment = _ordering(ordering.augment)
    order = _ordering(ordering.order)

    async def orders(self) -> list[AsyncOrder]:
        """Every order that the service knows, newest first; without files until `refresh`."""
        page, cursor = await self.send(ordering.orders())
        found = page
        while cursor is not None:
            page, cursor = await self.send(ordering.orders(cursor))
            found += page
        return [AsyncOrder(self, status) for status in found]

    async def send(self, request: Request[T]) -> T:
        """The answer to a request, sent again where that may help.

        Raises:
            ReverieError: the server refused, could not be reached, or had no time left.
        """
        deadline = self.connection.deadline(request.timeout_s)
        retrying = AsyncRetrying(**policy(deadline, stop=after_tries(self.connection.tries)))
        return await retrying(self._try, request, deadline)

    async def _try(self, request: Request[T], deadline: Deadline) -> T:
        left_s = deadline.remaining_s
        with translated(deadline, self.connection.base_url), anyio.fail_after(left_s):
            response = await self._http.request(
                request.method,
                request.path,
                params=request.params,
                headers=request.headers_within(left_s),
                content=request.content,
                timeout=deadline.limits(),
            )
        return received(request, Reply(response.status_code, response.headers, response.content))

    @asynccontextmanager
    async def stream(
        self, path: str, *, headers: Mapping[str, str], deadline: Deadline
    ) -> AsyncIterator[httpx.Response]:
        """An answer that is read as it comes; one try.

        Raises:
            Unreachable, DeadlineExceeded: there was no connection, it broke, or was too slow.
        """
        with translated(deadline, self.connection.base_url):
            async with self._http.stream(
                "GET", path, headers=dict(headers), timeout=deadline.limits()
            ) as response:
                yield response

    async def close(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
