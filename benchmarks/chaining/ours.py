"""Our chains, from the graph outwards: in a loop, through the scheduler, through the service.

Sweep + noise ──► ChainScheduler ──► HTTP
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from benchmarks.chaining.machines import Machine, Sweep
from benchmarks.chaining.peers import Run
from service.chains import ChainScheduler
from service.domain.arrays import Arrays
from service.domain.chain_noise import ChainNoise
from service.invariance import Padding
from service.jobs import ChainJob
from service.queries import Call

LONG_S = 3600.0
READY_S = 60.0


def graph_alone(sweep: Sweep) -> Run:
    """The exported sweep again and again, with the same noise."""

    def run(n: int, sweeps: int) -> None:
        (noise,) = islice(_noise(sweep, n, 1), 1)
        inputs = sweep.states(n) | sweep.parameters(n) | noise
        for _ in range(sweeps):
            sweep.run(inputs)

    return run


def in_a_loop(sweep: Sweep) -> Run:
    """The graph and its noise in process, drawn as the service draws it: nothing to schedule."""
    feedback = [(old.name, new.name) for old, new in sweep.spec.state_pairs]

    def run(n: int, sweeps: int) -> None:
        states, parameters = sweep.states(n), sweep.parameters(n)
        for noise in _noise(sweep, n, sweeps):
            outputs = sweep.run(states | parameters | noise)
            states = {old: outputs[new] for old, new in feedback}

    return run


def _noise(sweep: Sweep, n: int, sweeps: int) -> Iterator[Arrays]:
    noise = ChainNoise(sweep.spec, capacity=n)
    for row in range(n):
        noise.place(row, seed=1, row=row, sweeps=sweeps)
    return islice(noise.sweeps(range(n)), sweeps)


def scheduler_of(sweep: Sweep, *, slots: int) -> ChainScheduler:
    """A scheduler of this sweep alone. Make it inside a running loop."""
    return ChainScheduler(
        "chains", sweep.run, sweep.spec, padding=Padding((), holds=True), slots=slots,
        max_queue_rows=10**6,
    )  # fmt: skip


def job_of(sweep: Sweep, n: int, sweeps: int, *, seed: int = 1) -> ChainJob:
    """`n` chains of so many sweeps."""
    return ChainJob(
        state=sweep.states(n), parameters=sweep.parameters(n), sweeps=sweeps, seed=seed,
        rows=tuple(range(n)),
    )  # fmt: skip


def through_the_scheduler(sweep: Sweep) -> Run:
    """One job through admission, slots, ticks and retirement."""

    def run(n: int, sweeps: int) -> None:
        async def submit() -> None:
            scheduler = scheduler_of(sweep, slots=n)
            await scheduler.submit(job_of(sweep, n, sweeps), Call.lasting(LONG_S))
            await scheduler.close()

        asyncio.run(submit())

    return run


@contextmanager
def through_the_service(machine: Machine) -> Iterator[Run]:
    """One request to `reverie serve` in a process of its own: the answer is 0/1 samples as npy."""
    with tempfile.TemporaryDirectory() as folder, _served(machine, Path(folder)) as port:
        path = f"/v1/models/{machine.name}/sample"
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/x-npy",
            "X-Timeout-Ms": str(int(LONG_S * 1000)),
        }

        def run(n: int, sweeps: int) -> None:
            asked = {"n": n, "seed": 1, "burn_in": sweeps, "values": "sample"}
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LONG_S)
            connection.request("POST", path, json.dumps(asked), headers)
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            if answer.status != 200:
                raise RuntimeError(f"the service answers {answer.status}: {content[:200]!r}")

        yield run


@contextmanager
def _served(machine: Machine, folder: Path) -> Iterator[int]:
    machine.publish(folder / "models")
    settings = {
        "REVERIE_MODELS_STORE": str(folder / "models"), "REVERIE_DATA_DIR": str(folder),
        "REVERIE_PORT": "0", "REVERIE_POOL_ROWS": "0", "REVERIE_MAX_SWEEPS": str(10**9),
        "REVERIE_LOG_LEVEL": "warning", "REVERIE_DRAIN_GRACE_S": "0",
    }  # fmt: skip
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "service.cli", "serve"], env=os.environ | settings,
            stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        yield _ready(process, log)
    finally:
        process.terminate()
        process.wait()


def _ready(process: subprocess.Popen[bytes], log: Path) -> int:
    """The port, once the service has greeted and its model is loaded."""
    until = time.monotonic() + READY_S
    while time.monotonic() < until and process.poll() is None:
        told = [w for w in log.read_text().split() if w.startswith("http://")]
        if told:
            port = int(told[0].rstrip("/").rpartition(":")[2])
            connection = http.client.HTTPConnection("127.0.0.1", port)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return port
        time.sleep(0.05)
    raise RuntimeError(f"the service does not start: {log.read_text()[-500:]}")
