"""One contender as a running server: started on one core, asked once, paused between its turns.

Peer ──start──► processes on the server's core ──first right answer──► ready
     ──pause | resume──► idle servers cost nothing ──stop──► gone
"""

from __future__ import annotations

import http.client
import io
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from benchmarks.load import processes
from benchmarks.load.models import CACHE, Generator
from benchmarks.peers.environments import installed
from benchmarks.peers.table import HERE, Format, Peer, Request

ROOT = HERE.parents[1]
READY_S = 90.0
WRONG_S = 15.0  # how long wrong answers are taken for those of a server that still loads
LEAVE_S = 10.0


class Unusable(RuntimeError):
    """A contender that cannot take part, and why."""


@dataclass(frozen=True)
class Server:
    """A contender that answers."""

    peer: Peer
    generator: Generator
    port: int
    pid: int

    def request(self, n: int, form: Format) -> Request:
        """What is sent to it."""
        return self.peer.ask(self.generator.name, n, form)

    def probe(self, n: int, form: Format) -> int:
        """Ask once, check the answer to the last number, and return its body's size in bytes.

        Raises:
            Unusable: it is not 200, or not n images of the right shape in [0, 1].
        """
        with self.connected() as connection:
            body = send(connection, self.request(n, form), seed=secrets.randbelow(10**8))
        found = (
            np.load(io.BytesIO(body)) if form == "npy" else self.peer.samples(orjson.loads(body))
        )
        x = np.asarray(found, np.float32)
        wanted = (n, *self.generator.shape)
        if x.size != np.prod(wanted) or (form == "npy" and x.shape != wanted):
            raise Unusable(f"answers {x.shape}, not {wanted}")
        if not (x.min() >= 0 and x.max() <= 1 and x.std() > 0):
            raise Unusable(f"answers numbers from {x.min()} to {x.max()}, not in [0, 1]")
        return len(body)

    @contextmanager
    def connected(self) -> Iterator[http.client.HTTPConnection]:
        """A connection to it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            yield connection
        finally:
            connection.close()

    def processes(self) -> list[int]:
        """All its processes."""
        return processes.tree(self.pid)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Its turn: it runs, and is paused again when it has finished what it was asked.

        What it does of its own accord after a pause, such as heartbeats that are due, it may do
        before its turn begins.
        """
        pids = self.processes()
        processes.tell(pids, signal.SIGCONT)
        processes.settle(pids)
        try:
            yield
            processes.settle(pids)
        finally:
            processes.tell(self.processes(), signal.SIGSTOP)


def send(connection: http.client.HTTPConnection, request: Request, *, seed: int) -> bytes:
    """One request over an open connection, and the body of its answer.

    Raises:
        Unusable: the answer is not 200.
        OSError: nobody answers.
    """
    body = request.body.replace("SEED", str(seed))
    headers = {"Content-Type": "application/json", "Accept": request.accept}
    try:
        connection.request("POST", request.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
    except http.client.HTTPException as error:
        raise ConnectionError(f"no HTTP answer: {error!r}") from error
    if answer.status != 200:
        raise Unusable(f"answers {answer.status}: {content[:200].decode(errors='replace')}")
    return content


@contextmanager
def running(peer: Peer, generator: Generator, *, core: int) -> Iterator[Server]:
    """The server of `peer`, on one core, from its first right answer on; ended on the way out.

    Raises:
        Unusable: it is not installed, does not start, or answers wrongly.
    """
    if not installed(peer):
        raise Unusable("not installed, or not what the table asks for: run with --install")
    log = CACHE / "logs" / f"{peer.name}-{generator.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    port, *more = _free_ports(3)
    fill = {
        "bin": str(peer.bin()), "here": str(HERE), "store": str(generator.store),
        "port": str(port), "port2": str(more[0]), "port3": str(more[1]),
    }  # fmt: skip
    command = ["taskset", "-c", str(core), *(part.format(**fill) for part in peer.command)]
    variables = {
        "GRAPH": str(generator.graph), "PORT": str(port), "PYTHONPATH": str(ROOT),
        "REVERIE_DATA_DIR": str(CACHE / "data" / f"{peer.name}-{generator.name}"),
        **{name: value.format(**fill) for name, value in peer.variables.items()},
    }  # fmt: skip
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=CACHE, env=os.environ | variables, stdin=subprocess.DEVNULL,
            stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    server = Server(peer, generator, port, process.pid)
    try:
        _await(server, process, log)
        yield server
    finally:
        _end(process)


@contextmanager
def all_running(
    peers: list[Peer], generator: Generator, *, core: int
) -> Iterator[tuple[list[Server], dict[str, str]]]:
    """Every server that can be had, paused; and of the others, by name, why not."""
    servers, absent = [], {}
    with ExitStack() as stack:
        for peer in peers:
            try:
                server = stack.enter_context(running(peer, generator, core=core))
            except Unusable as error:
                absent[peer.name] = str(error)
                print(f"{peer.name} does not take part: {error}", file=sys.stderr)
                continue
            with server.turn():
                servers.append(server)
        yield servers, absent


def _await(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + READY_S
    reason, wrong = "it does not listen", False
    while time.monotonic() < until and process.poll() is None:
        try:
            server.probe(1, "npy")
        except OSError:
            time.sleep(0.2)
        except Unusable as error:  # such as 503 while it loads
            reason = str(error)
            until = min(until, time.monotonic() + WRONG_S) if not wrong else until
            wrong = True
            time.sleep(0.5)
        else:
            server.probe(1, "json")
            return
    ended = process.poll()
    reason = reason if ended is None else f"it ended with status {ended}"
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    told = lines[-1][-200:] if lines else "nothing"
    raise Unusable(f"{reason}; its log ends: {told}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the whole tree to go, then see that it does."""
    pids = processes.tree(process.pid)
    processes.tell(pids, signal.SIGCONT)
    processes.tell([process.pid], signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(LEAVE_S)
    processes.tell(pids, signal.SIGKILL)
    process.wait()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for found in sockets:
            found.bind(("127.0.0.1", 0))
        return [found.getsockname()[1] for found in sockets]
