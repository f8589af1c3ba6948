"""Waiting without waste: for work that nobody waits for any longer, and beside the event loop.

until_gone: work ──► result | ClientLeft | DeadlineExceeded        aside: work ──► a thread
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import anyio.to_thread
from starlette.types import Receive

from service.api.handlers import ClientLeft
from service.errors import DeadlineExceeded

OFF_LOOP_BYTES = 256 * 1024  # more than this is worked on beside the event loop
_LEAVING_S = 1.0  # how long cancelled work has to leave its queue

T = TypeVar("T")


async def until_gone(work: Coroutine[Any, Any, T], receive: Receive, *, deadline: float) -> T:
    """The result of `work`, unless the client leaves or the deadline passes before it is there.

    Raises:
        ClientLeft: the client closed the connection; the work was cancelled.
        DeadlineExceeded: its time was up; the work was cancelled.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnect(receive))
    try:
        await asyncio.wait(
            {task, gone},
            timeout=max(0.0, deadline - time.monotonic()),
            return_when=asyncio.FIRST_COMPLETED,
        )
        if task.done():
            return task.result()
        if gone.done():
            raise ClientLeft
        raise DeadlineExceeded(
            "the answer was not there by the deadline; allow more time with X-Timeout-Ms, or ask "
            "for less"
        )
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=_LEAVING_S)


async def _disconnect(receive: Receive) -> None:
    """Return when the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def aside(work: Callable[[], T], *, size_bytes: int) -> T:
    """Do `work` here if it is small, else on a thread, so that others are not kept waiting."""
    if size_bytes <= OFF_LOOP_BYTES:
        return work()
    return await anyio.to_thread.run_sync(work)
