"""Both clients behind one face, so that every test holds for each: all methods are awaited."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from service.client import AsyncClient, Client
from service.client.bound import BoundOrder


class Either:
    """A client or an order of either kind; a blocking one is called in a thread."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if not callable(found):
            return found

        async def method(*args: Any, **kwargs: Any) -> Any:
            if inspect.iscoroutinefunction(found):
                return facing(await found(*args, **kwargs))
            return facing(await asyncio.to_thread(found, *args, **kwargs))

        return method


def facing(result: Any) -> Any:
    """Orders behind the same face; everything else as it is."""
    if isinstance(result, list):
        return [facing(item) for item in result]
    return Either(result) if isinstance(result, BoundOrder) else result


KINDS: dict[str, Callable[..., Any]] = {"blocking": Client, "async": AsyncClient}
