"""Jobs of Markov chains, from submission to answer, and the line in which they wait for slots.

ChainJob ──Ticket──► Line ──rows get slots──► states and traces, row by row ──► ChainOutcome
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from service.domain.arrays import Arrays
from service.errors import ServiceError
from service.queries import Call

SHORT_SWEEPS = 250  # a job of so many or fewer is short


@dataclass(frozen=True, kw_only=True)
class ChainJob:
    """Chains to run: their first states, what holds during every sweep, and their noise keys.

    Attributes:
        state: state input → [rows, …].
        parameters: every other input but noise → [rows, …].
        sweeps: how many sweeps each row runs.
        seed, rows: the noise key of row i is (seed, rows[i]).
        trace_at: sweep counts, rising, in [1, sweeps], after which states are kept for diagnostics.
    """

    state: Arrays
    parameters: Arrays
    sweeps: int
    seed: int
    rows: tuple[int, ...]
    trace_at: tuple[int, ...] = ()

    @property
    def short(self) -> bool:
        """Whether it is swept before longer ones."""
        return self.sweeps <= SHORT_SWEEPS


@dataclass(frozen=True)
class ChainOutcome:
    """Last states {name: [rows, …]}, and traced ones {name: [traces, rows, …]}."""

    state: Arrays
    traces: Arrays


@dataclass(eq=False)
class Ticket:
    """A submitted job and what has come of it so far."""

    job: ChainJob
    call: Call
    future: asyncio.Future[ChainOutcome]
    since: float = field(default_factory=time.monotonic)
    admitted: int = 0
    retired: int = 0
    compute_s: float = 0.0
    outcome: ChainOutcome = field(init=False)

    def __post_init__(self) -> None:
        state, traces = self.job.state, len(self.job.trace_at)
        self.outcome = ChainOutcome(
            state={name: np.empty_like(a) for name, a in state.items()},
            traces={name: np.empty((traces, *a.shape), a.dtype) for name, a in state.items()},
        )

    @property
    def waiting(self) -> int:
        """Rows that have no slot yet."""
        return len(self.job.rows) - self.admitted

    def admit(self, rows: int) -> None:
        """So many more of its rows have slots."""
        if not self.admitted:
            self.call.spend("queue", time.monotonic() - self.since)
        self.admitted += rows

    def fail(self, error: ServiceError) -> None:
        """Tell the caller, unless it has been told something already."""
        if not self.future.done():
            self.future.set_exception(error)

    def retire(self) -> None:
        """One more row is done; the last one answers the caller."""
        self.retired += 1
        if self.retired == len(self.job.rows) and not self.future.done():
            self.future.set_result(self.outcome)


class Line:
    """Jobs that wait for slots, first come, first served; the first may have some already."""

    def __init__(self) -> None:
        self.tickets: deque[Ticket] = deque()
        self.rows = 0

    def put(self, ticket: Ticket) -> None:
        """Behind the others."""
        self.tickets.append(ticket)
        self.rows += ticket.waiting

    def take(self, rows: int) -> tuple[Ticket, slice]:
        """Up to so many rows of the first job."""
        ticket = self.tickets[0]
        first, count = ticket.admitted, min(ticket.waiting, rows)
        ticket.admit(count)
        self.rows -= count
        if not ticket.waiting:
            self.tickets.popleft()
        return ticket, slice(first, first + count)

    def withdraw(self, ticket: Ticket) -> None:
        """Nobody waits for it any more."""
        if ticket.waiting and ticket in self.tickets:
            self.tickets.remove(ticket)
            self.rows -= ticket.waiting
