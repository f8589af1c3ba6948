"""A server that misbehaves as it is told: one step of a script for each connection.

async with rude(refuse(503), answer(b"…")) as server:   server.url, server.heard
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson


@dataclass
class Heard:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Rude:
    url: str = ""
    heard: list[Heard] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)


Step = Callable[[Heard, asyncio.StreamWriter, Rude], Awaitable[None]]


def head(status: int, length: int, **headers: str) -> bytes:
    named = {k.replace("_", "-"): v for k, v in headers.items()}
    lines = {"Content-Length": str(length), "Connection": "close", **named}
    return (
        f"HTTP/1.1 {status} X\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items()) + "\r\n"
    ).encode()


def answer(body: bytes = b"{}", status: int = 200, **headers: str) -> Step:
    """An answer as it should be."""

    async def step(heard: Heard, writer: asyncio.StreamWriter, server: Rude) -> None:
        writer.write(head(status, len(body), **headers) + body)

    return step


def refuse(status: int, **headers: str) -> Step:
    """A problem."""
    document = {"title": "No", "status": status, "detail": f"said {status}", "request_id": "r1"}
    return answer(orjson.dumps(document), status, **headers)


def cut(body: bytes, after: int, status: int = 200, **headers: str) -> Step:
    """An answer whose connection closes after some bytes of the body."""

    async def step(heard: Heard, writer: asyncio.StreamWriter, server: Rude) -> None:
        writer.write(head(status, len(body), **headers) + body[:after])

    return step


async def hang_up(heard: Heard, writer: asyncio.StreamWriter, server: Rude) -> None:
    """No answer at all."""


async def silence(heard: Heard, writer: asyncio.StreamWriter, server: Rude) -> None:
    """No answer, for as long as the client waits."""
    await server.over.wait()


async def drip(heard: Heard, writer: asyncio.StreamWriter, server: Rude) -> None:
    """An answer that comes byte by byte, too slowly to end."""
    writer.write(head(200, 1_000_000))
    while not server.over.is_set() and not writer.is_closing():
        writer.write(b" ")
        await writer.drain()
        try:
            await asyncio.wait_for(server.over.wait(), 0.02)
        except TimeoutError:
            continue


def stream(*events: str) -> Step:
    """Server-sent events, and then the end of the connection."""

    async def step(heard: Heard, writer: asyncio.StreamWriter, server: Rude) -> None:
        writer.write(b"HTTP/1.1 200 X\r\nContent-Type: text/event-stream; charset=utf-8\r\n")
        writer.write(b"Connection: close\r\n\r\n" + "".join(events).encode())

    return step


@asynccontextmanager
async def rude(*steps: Step) -> AsyncIterator[Rude]:
    """A server that takes a step for each request; the last one again and again."""
    server, pending = Rude(), list(steps)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            heard = await _request(reader)
            server.heard.append(heard)
            step = pending.pop(0) if len(pending) > 1 else pending[0]
            await step(heard, writer, server)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        server.over.set()
        listener.close()
        await listener.wait_closed()


async def _request(reader: asyncio.StreamReader) -> Heard:
    text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = text.strip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Heard(method, path, headers, body)
