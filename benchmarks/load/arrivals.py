"""Open load: requests that arrive when they arrive, whether or not the last one was answered.

rate, seconds ──Poisson──► due times ──connections as needed──► latency from the due time on

A closed loop asks less of a slow server; here what waits is counted from when it was due. The
client is Python on a core of its own: for rates of hundreds a second, not for the limits.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from dataclasses import dataclass

import numpy as np
import uvloop

from benchmarks.load.wrk import Failed
from benchmarks.peers.table import Request

PATIENCE_S = 30.0  # with answers that are due when the last request has been sent
SCHEDULE_SEED = 0  # every contender meets the same arrivals


@dataclass(frozen=True)
class Waits:
    """Percentiles of the time from when a request was due to its last byte."""

    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


def arrive(port: int, request: Request, *, rate: float, seconds: float, core: int) -> Waits:
    """Ask a server on this machine `rate` times a second on average.

    Raises:
        Failed: an answer was not 200, or did not come.
    """
    gaps = np.random.default_rng(SCHEDULE_SEED).exponential(1 / rate, max(int(rate * seconds), 1))
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        waits = uvloop.run(_all(port, request, np.cumsum(gaps).tolist()))
    except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
        raise Failed(f"at {rate:g} arrivals a second: {error!r}") from error
    finally:
        os.sched_setaffinity(0, before)
    p50, p95, p99 = (1e3 * float(p) for p in np.percentile(waits, [50, 95, 99]))
    return Waits(p50, p95, p99)


async def _all(port: int, request: Request, due: list[float]) -> list[float]:
    """Seconds from each due time to the end of its answer."""
    loop = asyncio.get_running_loop()
    opened: list[_Connection] = []
    idle: list[_Connection] = []
    start, first_seed = loop.time(), secrets.randbelow(10**9)

    async def one(k: int, at: float) -> float:
        if idle:
            connection = idle.pop()
        else:
            connection = _Connection(*await asyncio.open_connection("127.0.0.1", port))
            opened.append(connection)
        await _exchange(connection, port, request, seed=first_seed + k)
        idle.append(connection)
        return loop.time() - start - at

    tasks: list[asyncio.Task[float]] = []
    try:
        for k, at in enumerate(due):
            await asyncio.sleep(max(start + at - loop.time(), 0))
            tasks.append(asyncio.create_task(one(k, at)))
        async with asyncio.timeout(PATIENCE_S):
            return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in opened:
            connection.writer.transport.abort()


async def _exchange(connection: _Connection, port: int, request: Request, *, seed: int) -> None:
    """One request and its whole answer.

    Raises:
        Failed: it is not 200.
    """
    body = request.body.replace("SEED", str(seed))
    connection.writer.write(
        f"POST {request.path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: {request.accept}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    head = await connection.reader.readuntil(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    await connection.reader.readexactly(int(headers["content-length"]))
    if " 200 " not in status:
        raise Failed(f"answers {status}")
