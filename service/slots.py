"""Slots: the rows of running chains, kept side by side so that one call sweeps them all.

Job ──Ticket──► Bank: [state and parameter arrays], one slot a row ──► traced, retired, freed

Live slots are at the front of the arrays: a freed slot's place is taken by the last live one.
Nothing that a row is given depends on its place or its neighbours, so its result does not either.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from service.contract import FunctionSpec
from service.domain.arrays import NUMPY_DTYPES, Arrays
from service.domain.feeding import cut_noise
from service.domain.randomness import RowNoise, Stream
from service.errors import ServiceError
from service.queries import Call

NOISE_AHEAD = 16  # sweeps: 40 KB a row at 784 + 500 units


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
    def row_sweeps(self) -> int:
        """What the job costs: rows × sweeps."""
        return len(self.rows) * self.sweeps


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

    def fail(self, error: ServiceError) -> None:
        """Tell the caller, unless it has been told something already."""
        if not self.future.done():
            self.future.set_exception(error)

    def retire(self) -> None:
        """One more row is done; the last one answers the caller."""
        self.retired += 1
        if self.retired == len(self.job.rows) and not self.future.done():
            self.future.set_result(self.outcome)


@dataclass(eq=False)
class Slot:
    """One live row: how far it has come, counted from event to event.

    An event is a sweep after which the row is traced or done.
    """

    ticket: Ticket
    row: int
    noise: RowNoise | None
    done: int = 0
    traced: int = 0

    @property
    def until_event(self) -> int:
        """Sweeps from the last event to the next one."""
        trace_at = self.ticket.job.trace_at
        following = trace_at[self.traced] if self.traced < len(trace_at) else self.ticket.job.sweeps
        return following - self.done


class Bank:
    """The queue and the slots of one priority."""

    def __init__(self, spec: FunctionSpec, *, capacity: int) -> None:
        self.capacity = capacity
        self.slots: list[Slot] = []
        self.queue: deque[Ticket] = deque()
        self.queued_rows = 0
        self._spec = spec
        self._width = sum(t.row_size for t in spec.noises)
        self._pairs = spec.state_pairs
        self._until_event = np.zeros(capacity, np.int64)
        self._arrays: Arrays = {
            t.name: np.zeros((capacity, *t.row_shape), NUMPY_DTYPES[t.dtype])
            for t in spec.inputs
            if t not in spec.noises
        }

    @property
    def tickets(self) -> set[Ticket]:
        """The jobs that have rows in slots."""
        return {slot.ticket for slot in self.slots}

    @property
    def running_row_sweeps(self) -> int:
        """Work left in the slots, to within the sweeps since each row's last event."""
        return sum(slot.ticket.job.sweeps - slot.done for slot in self.slots)

    @property
    def until_event(self) -> int:
        """Sweeps until the first row is traced or done."""
        return int(self._until_event[: len(self.slots)].min())

    @property
    def queued_row_sweeps(self) -> int:
        """Work that has no slot yet."""
        return sum(ticket.waiting * ticket.job.sweeps for ticket in self.queue)

    def enqueue(self, ticket: Ticket) -> None:
        """Wait for slots."""
        self.queue.append(ticket)
        self.queued_rows += ticket.waiting

    def drop_abandoned(self) -> None:
        """Rows that nobody waits for any more leave before the next sweep."""
        for at in range(len(self.slots) - 1, -1, -1):
            if self.slots[at].ticket.future.done():
                self._vacate(at)
        for ticket in [t for t in self.queue if t.future.done()]:
            self.queue.remove(ticket)
            self.queued_rows -= ticket.waiting

    def admit(self) -> None:
        """Fill free slots from the queue; a large job may enter in parts."""
        while self.queue and len(self.slots) < self.capacity:
            ticket = self.queue[0]
            if ticket.admitted == 0:
                ticket.call.spend("queue", time.monotonic() - ticket.since)
            self._place(ticket, ticket.admitted)
            ticket.admitted += 1
            self.queued_rows -= 1
            if not ticket.waiting:
                self.queue.popleft()

    def rows_of(self, ticket: Ticket) -> NDArray[np.intp]:
        """The places of a job's rows."""
        return np.array([i for i, s in enumerate(self.slots) if s.ticket is ticket], np.intp)

    def draw(self, sweeps: int) -> list[Arrays]:
        """Each sweep's noise inputs, [live, …]; empty when the step wants none."""
        if not self._width:
            return [{} for _ in range(sweeps)]
        rows = [slot.noise.take(sweeps) for slot in self.slots if slot.noise is not None]
        integers = np.stack(rows, axis=1)  # (sweeps, live, width)
        return [cut_noise(self._spec, integers[k]) for k in range(sweeps)]

    def inputs(self, rows: slice | NDArray[np.intp], noise: Arrays) -> Arrays:
        """What one sweep of these rows is fed."""
        arrays = self._arrays | noise
        return {name: array[rows] for name, array in arrays.items()}

    def store(self, rows: slice | NDArray[np.intp], outputs: Arrays) -> None:
        """Keep the states that a sweep gave."""
        for old, new in self._pairs:
            states = self._arrays[old.name]
            states[rows] = outputs[new.name][: len(states[rows])]

    def settle(self, sweeps: int) -> None:
        """Count the sweeps; keep what is traced, and retire what is done."""
        until = self._until_event[: len(self.slots)]
        until -= sweeps
        for at in np.flatnonzero(until == 0)[::-1].tolist():
            self._event(at)

    def _event(self, at: int) -> None:
        slot = self.slots[at]
        ticket = slot.ticket
        job = ticket.job
        slot.done += slot.until_event
        if slot.traced < len(job.trace_at):
            for name, array in self._states():
                ticket.outcome.traces[name][slot.traced, slot.row] = array[at]
            slot.traced += 1
        if slot.done == job.sweeps:
            for name, array in self._states():
                ticket.outcome.state[name][slot.row] = array[at]
            ticket.retire()
            self._vacate(at)
        else:
            self._until_event[at] = slot.until_event

    def _states(self) -> Iterator[tuple[str, NDArray[np.generic]]]:
        return ((old.name, self._arrays[old.name]) for old, _ in self._pairs)

    def _place(self, ticket: Ticket, row: int) -> None:
        at, job = len(self.slots), ticket.job
        for name, array in (*job.state.items(), *job.parameters.items()):
            self._arrays[name][at] = array[row]
        noise = None
        if self._width:
            noise = RowNoise(
                seed=job.seed,
                row=job.rows[row],
                stream=Stream.SWEEP,
                width=self._width,
                ahead=min(NOISE_AHEAD, job.sweeps),
            )
        slot = Slot(ticket, row, noise)
        self._until_event[at] = slot.until_event
        self.slots.append(slot)

    def _vacate(self, at: int) -> None:
        last = len(self.slots) - 1
        if at != last:
            for array in self._arrays.values():
                array[at] = array[last]
            self._until_event[at] = self._until_event[last]
            self.slots[at] = self.slots[last]
        self.slots.pop()
