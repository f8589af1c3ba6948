"""Load from `wrk`, a compiled client: so many connections, each asking again when it is answered.

Request, connections, seconds ──wrk on its own core──► Answers(rate, percentiles, errors)

The loop is closed: a connection waits for its answer, so the rate is what the server can do at this
concurrency, and latency is what that costs. It says nothing of arrivals that do not wait.
"""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.table import Request

SCRIPT = Path(__file__).with_name("request.lua")
SLACK_BYTES = 1024  # an answer's headers
SLACK_SHARE = 0.1  # and what digits a number of JSON may have more or less


class Failed(RuntimeError):
    """A run whose figures mean nothing: errors, or answers of the wrong size."""


@dataclass(frozen=True)
class Answers:
    """What a run of wrk found.

    Attributes:
        requests: answered within the run.
        seconds: how long it ran.
        size_bytes: of an answer with its headers, on average.
        p50_ms, p95_ms, p99_ms: from sending to the last byte.
    """

    requests: int
    seconds: float
    size_bytes: float
    p50_ms: float
    p95_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def parse(output: str, *, patient: bool = False) -> Answers:
    """The line of JSON that request.lua writes among wrk's own words.

    Raises:
        Failed: there is none, it tells of errors, or not of one answer and we are not `patient`.
    """
    line = next((line for line in output.splitlines() if line.startswith("{")), None)
    if line is None:
        raise Failed(f"wrk gave no figures: {output.strip()[-200:]!r}")
    found = json.loads(line)
    troubles = {k: found[k] for k in ("bad_status", "bad_socket", "timeouts") if found[k]}
    if troubles:
        raise Failed(f"{troubles} among {found['requests']} answers")
    if not found["requests"] and not patient:
        raise Failed(f"not one answer in {found['duration_us'] / 1e6:.1f} s")
    return Answers(
        requests=found["requests"],
        seconds=found["duration_us"] / 1e6,
        size_bytes=found["bytes"] / max(found["requests"], 1),
        p50_ms=found["p50_us"] / 1e3,
        p95_ms=found["p95_us"] / 1e3,
        p99_ms=found["p99_us"] / 1e3,
    )


def load(
    port: int,
    request: Request,
    *,
    connections: int,
    seconds: float,
    core: int,
    body_bytes: int,
    patient: bool = False,
) -> Answers:
    """Ask a server on this machine as fast as it answers.

    `body_bytes` is the size of one right answer's body; others must be about as large. A `patient`
    client does not mind if there is no answer yet: it only warms the server up.

    Raises:
        Failed: wrk is missing, some answer was not 200, or their size is not that of right ones.
    """
    if shutil.which("wrk") is None:
        raise Failed("wrk is not installed: apt-get install wrk")
    command = [
        "taskset", "-c", str(core), "wrk", "--threads", "1", "--connections", str(connections),
        "--duration", f"{max(round(seconds), 1)}s", "--timeout", "60s",
        "--header", "Content-Type: application/json", "--header", f"Accept: {request.accept}",
        "--script", str(SCRIPT), f"http://127.0.0.1:{port}{request.path}", "--",
        request.body, str(secrets.randbelow(10**9)),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    answers = parse(done.stdout + done.stderr, patient=patient)
    off = abs(answers.size_bytes - body_bytes)
    if answers.requests and off > SLACK_BYTES + SLACK_SHARE * body_bytes:
        raise Failed(f"answers have {answers.size_bytes:.0f} bytes, not about {body_bytes}")
    return answers
