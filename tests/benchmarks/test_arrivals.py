"""Open load counts what waits from when it was due."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.load.arrivals import arrive
from benchmarks.load.wrk import Failed
from benchmarks.peers.table import Request

REQUEST = Request("/", '{"seed": SEED}')


@contextmanager
def answering(status: int, gate: threading.Event) -> Iterator[int]:
    """The port of a server that answers once the gate is open."""

    class Gated(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            gate.wait(10)
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Gated) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def core() -> int:
    return min(os.sched_getaffinity(0))


def test_requests_are_sent_though_none_is_answered():
    gate = threading.Event()
    before = os.sched_getaffinity(0)
    with answering(200, gate) as port:
        threading.Timer(0.4, gate.set).start()
        waits = arrive(port, REQUEST, rate=100, seconds=0.2, core=core())
    assert 150 < waits.p50_ms <= waits.p95_ms <= waits.p99_ms
    assert os.sched_getaffinity(0) == before


def test_an_answer_that_is_not_200_fails_the_run():
    gate = threading.Event()
    gate.set()
    with (
        answering(503, gate) as port,
        pytest.raises(Failed, match=r"answers HTTP/1\.1 503"),
    ):
        arrive(port, REQUEST, rate=50, seconds=0.1, core=core())
