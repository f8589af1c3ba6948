"""What the load client's output is taken for."""

from __future__ import annotations

import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from benchmarks.load.wrk import Failed, load, parse
from benchmarks.peers.table import Request

FOUND = {
    "requests": 500, "duration_us": 2_000_000, "bytes": 1_700_000,
    "p50_us": 1500, "p95_us": 4000, "p99_us": 9000,
    "bad_status": 0, "bad_socket": 0, "timeouts": 0,
}  # fmt: skip


def output(**changes: int) -> str:
    return f"Running 2s test @ …\n  500 requests in 2.00s\n{json.dumps(FOUND | changes)}\n"


def test_a_run_gives_its_rate_size_and_percentiles():
    answers = parse(output())
    assert answers.rate == 250
    assert answers.size_bytes == 3400
    assert (answers.p50_ms, answers.p95_ms, answers.p99_ms) == (1.5, 4.0, 9.0)


@pytest.mark.parametrize("trouble", ["bad_status", "bad_socket", "timeouts"])
def test_one_bad_answer_fails_the_run(trouble):
    with pytest.raises(Failed, match=rf"'{trouble}': 1.* among 500 answers"):
        parse(output(**{trouble: 1}))


def test_no_answer_fails_the_run_unless_it_only_warms_up():
    with pytest.raises(Failed, match=r"not one answer in 2\.0 s"):
        parse(output(requests=0, bytes=0))
    assert parse(output(requests=0, bytes=0), patient=True).rate == 0


def test_output_without_figures_is_quoted():
    with pytest.raises(Failed, match="unable to connect"):
        parse("unable to connect to 127.0.0.1:1 Connection refused\n")


class Echo(BaseHTTPRequestHandler):
    """Answers a POST with its own body, many to a connection."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[bytes]] = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append(body)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.mark.skipif(
    not (shutil.which("wrk") and shutil.which("taskset")), reason="needs wrk and taskset"
)
def test_every_request_has_a_seed_of_its_own():
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        request = Request("/", '{"seeds": [SEED, SEED]}')
        port = server.server_address[1]
        answers = load(port, request, connections=2, seconds=1, core=0, body_bytes=40)
        with pytest.raises(Failed, match="not about 9000"):
            load(port, request, connections=2, seconds=1, core=0, body_bytes=9000)
        server.shutdown()
    seeds = [tuple(json.loads(body)["seeds"]) for body in Echo.seen]
    assert len(seeds) >= answers.requests > 0
    assert all(a == b for a, b in seeds)
    assert len(set(seeds)) == len(seeds)
