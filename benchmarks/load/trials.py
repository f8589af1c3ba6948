"""One contender on one case: what it answered in each round, and what may be said of it.

Server, Case ──wrk, once a round──► Trial ──medians──► Figures
"""

from __future__ import annotations

import math
import os
import statistics
import time
from dataclasses import dataclass, field

import numpy as np

from benchmarks.load import processes
from benchmarks.load.models import Generator
from benchmarks.load.servers import Server, Unusable
from benchmarks.load.wrk import Answers, Failed, load
from benchmarks.peers.table import Format
from training.export import session

WARM_UP_S = 1.0
RAW_S = 0.5


@dataclass(frozen=True)
class Cores:
    """Where the server (all its processes) and the client run."""

    server: int
    client: int


@dataclass(frozen=True)
class Case:
    """What is asked: n images a request, in this format, over so many connections at a time."""

    n: int
    form: Format
    connections: int

    def __str__(self) -> str:
        return f"n={self.n} {self.form} ×{self.connections}"


@dataclass(frozen=True)
class Figures:
    """Medians over rounds; latencies are NaN where a round had fewer answers than connections."""

    rate: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_ms: float  # of the server's processes, a request


@dataclass
class Trial:
    """A contender of `take_turns`: each call is a turn, and gives requests a second."""

    server: Server
    case: Case
    cores: Cores
    seconds: float
    answers: list[Answers] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    trouble: str | None = None
    warm: bool = False

    def __call__(self) -> float:
        """One turn; NaN from the first trouble on."""
        if self.trouble is not None:
            return math.nan
        try:
            with self.server.turn():
                return self._run()
        except (Failed, Unusable, OSError) as error:
            self.trouble = str(error)
            return math.nan

    def _run(self) -> float:
        case = self.case
        body_bytes = self.server.probe(case.n, case.form)
        pids = self.server.processes()
        used_s = processes.cpu_seconds(pids)
        found = load(
            self.server.port,
            self.server.request(case.n, case.form),
            connections=case.connections,
            seconds=self.seconds if self.warm else WARM_UP_S,
            core=self.cores.client,
            body_bytes=body_bytes,
            patient=not self.warm,
        )
        if self.warm:
            self.answers.append(found)
            self.cpu_s.append(processes.cpu_seconds(pids) - used_s)
        self.warm = True
        return found.rate

    def figures(self) -> Figures | None:
        """Over the rounds after the warm-up; None where there was trouble."""
        if self.trouble is not None or not self.answers:
            return None
        enough = all(a.requests >= self.case.connections for a in self.answers)
        pairs = zip(self.cpu_s, self.answers, strict=True)

        def median(latencies: list[float]) -> float:
            return statistics.median(latencies) if enough else math.nan

        return Figures(
            rate=statistics.median(a.rate for a in self.answers),
            p50_ms=median([a.p50_ms for a in self.answers]),
            p95_ms=median([a.p95_ms for a in self.answers]),
            p99_ms=median([a.p99_ms for a in self.answers]),
            cpu_ms=statistics.median(1e3 * cpu / a.requests for cpu, a in pairs),
        )


class Raw:
    """The limit: the graph alone in a loop, in this process but on the server's core."""

    def __init__(self, generator: Generator, n: int, cores: Cores) -> None:
        draw = np.random.default_rng(0)
        self._z = draw.standard_normal((n, generator.latent), np.float32)
        self._session = session(generator.graph.read_bytes())
        self._core = cores.server

    def __call__(self) -> float:
        """Runs a second."""
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {self._core})
        try:
            began, runs = time.perf_counter(), 0
            while time.perf_counter() - began < RAW_S:
                self._session.run(None, {"z": self._z})
                runs += 1
            return runs / (time.perf_counter() - began)
        finally:
            os.sched_setaffinity(0, before)
