"""Continuous batching of Markov chains: rows join and leave a running batch between sweeps.

submit(rows, sweeps) ──► waiting ──admit──► slots ──tick: k sweeps──► retire ──► futures

A step function is run on all live slots at once. Each slot has its own count, clamp, β and noise
key, so a request of 50 sweeps beside one of 4,000 leaves after 50. Live slots are kept at the front
of the state arrays: a retired slot's place is taken by the last live one. Nothing that a row is
given depends on its place or its neighbours, so its result does not either.

A tick is as many sweeps as fit into about five milliseconds, and never more than the first row to
retire, or to be traced, still needs: joining and cancelling wait for one tick at most.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import structlog
from numpy.typing import NDArray

from service.batching import on_loop_clock, pad
from service.contract import FunctionSpec, Role
from service.domain.randomness import RowNoise, Stream
from service.errors import ComputeFailed, DeadlineExceeded, NotReady, Overloaded, ServiceError
from service.invariance import MapFunction, Padding
from service.queries import Call
from service.sessions import NUMPY_DTYPES, Arrays

log = structlog.get_logger(__name__)

Noise = NDArray[np.uint16]
TICK_S = 0.005
MAX_SWEEPS_A_TICK = 16


@dataclass(frozen=True, kw_only=True)
class ChainJob:
    """Chains to run: their first states, what holds during every sweep, and their noise keys.

    Attributes:
        state: state input → [rows, …].
        parameters: every other input but noise → [rows, …].
        sweeps: how many sweeps each row runs.
        seed, rows: the noise key of row i is (seed, rows[i]).
        trace_at: sweep counts, rising, after which the states are kept for diagnostics.
    """

    state: Arrays
    parameters: Arrays
    sweeps: int
    seed: int
    rows: tuple[int, ...]
    trace_at: tuple[int, ...] = ()


@dataclass(frozen=True)
class ChainOutcome:
    """Last states {name: [rows, …]}, and traced ones {name: [traces, rows, …]}."""

    state: Arrays
    traces: Arrays


@dataclass(eq=False)
class _Ticket:
    """A submitted job and what has come of it so far."""

    job: ChainJob
    call: Call
    future: asyncio.Future[ChainOutcome]
    outcome: ChainOutcome
    since: float = field(default_factory=time.monotonic)
    admitted: int = 0
    retired: int = 0
    compute_s: float = 0.0


@dataclass(eq=False)
class _Slot:
    """One live row."""

    ticket: _Ticket
    row: int
    done: int = 0
    traced: int = 0
    noise: RowNoise | None = None

    @property
    def until_event(self) -> int:
        """Sweeps until this row is traced or retired, whichever is first."""
        job = self.ticket.job
        if self.traced < len(job.trace_at):
            return min(job.trace_at[self.traced], job.sweeps) - self.done
        return job.sweeps - self.done


class ChainScheduler:
    """One step function's slots and the one thread that sweeps them."""

    def __init__(
        self,
        name: str,
        function: MapFunction,
        spec: FunctionSpec,
        *,
        padding: Padding,
        slots: int,
        max_queue_rows: int,
        on_tick: Callable[[int, int], None] = lambda _rows, _sweeps: None,
    ) -> None:
        """`function` runs one sweep; `on_tick` hears (rows, sweeps) of each tick."""
        self.name = name
        self.queued_rows = 0
        self._function = function
        self._spec = spec
        self._padding = padding
        self._noise = spec.input(Role.NOISE)
        self._capacity = slots
        self._max_queue_rows = max_queue_rows
        self._on_tick = on_tick
        self._arrays: Arrays = {
            t.name: np.zeros((slots, *t.row_shape), NUMPY_DTYPES[t.dtype])
            for t in spec.inputs
            if t.role is not Role.NOISE
        }
        self._slots: list[_Slot] = []
        self._queues: dict[str, deque[_Ticket]] = {"interactive": deque(), "batch": deque()}
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._seconds_a_sweep = 0.0
        self._seconds_a_row_sweep = 0.0
        self._closed = False
        self._loop = asyncio.create_task(self._serve(), name=f"chains {name}")

    @property
    def alive(self) -> bool:
        """False once the loop has died, which nothing but a bug can make it do."""
        return not self._loop.done() or self._closed

    @property
    def running_rows(self) -> int:
        """Rows in slots."""
        return len(self._slots)

    async def submit(self, job: ChainJob, call: Call) -> ChainOutcome:
        """Run the job's chains beside whatever else runs.

        Raises:
            Overloaded: too many rows wait already, or the wait would outlast the deadline.
            DeadlineExceeded: the time was up before the last sweep.
            ComputeFailed: the step function failed on these rows.
        """
        self._admit_or_refuse(job, call)
        if job.sweeps == 0:
            return ChainOutcome(state=job.state, traces={})
        ticket = _Ticket(job, call, asyncio.get_running_loop().create_future(), _empty(job))
        self._queues[call.priority].append(ticket)
        self.queued_rows += len(job.rows)
        self._wake.set()
        try:
            async with asyncio.timeout_at(on_loop_clock(call.deadline)):
                return await ticket.future
        except TimeoutError:
            raise DeadlineExceeded(
                f"the deadline passed within {job.sweeps} sweeps of {len(job.rows)} rows: allow "
                "more time with X-Timeout-Ms, or ask for fewer"
            ) from None
        finally:
            call.spend("compute", ticket.compute_s)

    def estimated_wait_s(self, row_sweeps: int) -> float:
        """How long this much more work would take from now: the cost is rows × sweeps."""
        running = sum(s.ticket.job.sweeps - s.done for s in self._slots)
        queued = sum(
            (len(t.job.rows) - t.admitted) * t.job.sweeps for q in self._queues.values() for t in q
        )
        return (running + queued + row_sweeps) * self._seconds_a_row_sweep

    async def close(self) -> None:
        """Stop the loop and refuse what still waits or runs."""
        self._closed = True
        self._loop.cancel()
        await asyncio.gather(self._loop, return_exceptions=True)
        waiting = [ticket for queue in self._queues.values() for ticket in queue]
        for ticket in (*waiting, *(slot.ticket for slot in self._slots)):
            _fail(ticket, NotReady("this model is being unloaded", retry_after_s=5))
        self._thread.shutdown(wait=True)

    def _admit_or_refuse(self, job: ChainJob, call: Call) -> None:
        if self._closed:
            raise NotReady("this model is being unloaded", retry_after_s=1)
        if self.queued_rows and self.queued_rows + len(job.rows) > self._max_queue_rows:
            raise Overloaded(
                f"{self.queued_rows} rows already wait for {self.name}, of {self._max_queue_rows} "
                "at most: try again later",
                retry_after_s=max(self.estimated_wait_s(0), 0.1),
            )
        if call.deadline <= time.monotonic():
            raise DeadlineExceeded("the deadline passed before the chains began")

    async def _serve(self) -> None:
        while True:
            await self._wake.wait()
            self._drop_abandoned()
            self._admit()
            if self._slots:
                await self._tick()
            elif not any(self._queues.values()):
                self._wake.clear()

    def _drop_abandoned(self) -> None:
        """Rows that nobody waits for any more leave before the next sweep."""
        for at in range(len(self._slots) - 1, -1, -1):
            if self._slots[at].ticket.future.done():
                self._vacate(at)
        for queue in self._queues.values():
            for ticket in [t for t in queue if t.future.done()]:
                queue.remove(ticket)
                self.queued_rows -= len(ticket.job.rows) - ticket.admitted

    def _admit(self) -> None:
        """Fill free slots, interactive rows first; a large job may enter in parts."""
        for queue in self._queues.values():
            while queue and len(self._slots) < self._capacity:
                ticket = queue[0]
                if ticket.admitted == 0:
                    ticket.call.spend("queue", time.monotonic() - ticket.since)
                self._place(ticket, ticket.admitted)
                ticket.admitted += 1
                self.queued_rows -= 1
                if ticket.admitted == len(ticket.job.rows):
                    queue.popleft()

    def _place(self, ticket: _Ticket, row: int) -> None:
        at = len(self._slots)
        job = ticket.job
        for name, array in (*job.state.items(), *job.parameters.items()):
            self._arrays[name][at] = array[row]
        slot = _Slot(ticket, row)
        if self._noise is not None:
            slot.noise = RowNoise(
                seed=job.seed,
                row=job.rows[row],
                stream=Stream.SWEEP,
                width=int(np.prod(self._noise.row_shape)),
            )
        self._slots.append(slot)

    async def _tick(self) -> None:
        sweeps = self._sweeps_a_tick()
        live = len(self._slots)
        began = time.monotonic()
        failures = await asyncio.get_running_loop().run_in_executor(
            self._thread, self._sweep, sweeps
        )
        spent = time.monotonic() - began
        self._seconds_a_sweep = _blend(self._seconds_a_sweep, spent / sweeps)
        self._seconds_a_row_sweep = _blend(self._seconds_a_row_sweep, spent / sweeps / live)
        for ticket in {slot.ticket for slot in self._slots}:
            ticket.compute_s += spent
        for ticket, error in failures.items():
            log.error("step_function_failed", function=self.name, exc_info=error)
            _fail(ticket, ComputeFailed(f"{self.name} failed on these chains"))
        self._on_tick(live, sweeps)
        self._settle(sweeps)

    def _sweeps_a_tick(self) -> int:
        first_event = min(slot.until_event for slot in self._slots)
        fitting = int(TICK_S / self._seconds_a_sweep) if self._seconds_a_sweep else 1
        return max(1, min(first_event, fitting, MAX_SWEEPS_A_TICK))

    def _sweep(self, sweeps: int) -> dict[_Ticket, Exception]:
        """Off the event loop: draw the tick's noise, then sweep all live slots `sweeps` times.

        When a sweep of all fails, each job's rows are swept apart, and those that fail alone are
        returned: the others go on as if nothing had been.
        """
        noise = self._draw(sweeps)
        failures: dict[_Ticket, Exception] = {}
        everyone = np.arange(len(self._slots))
        for k in range(sweeps):
            try:
                self._step(slice(0, len(everyone)), noise[:, k])
            except Exception:  # noqa: BLE001  whatever the runtime raises, find whose rows it was
                failures |= self._step_apart(everyone, noise[:, k], failures)
        return failures

    def _step_apart(
        self, everyone: NDArray[np.intp], noise: Noise, failed: dict[_Ticket, Exception]
    ) -> dict[_Ticket, Exception]:
        failures = {}
        for ticket in {slot.ticket for slot in self._slots} - failed.keys():
            rows = np.array([i for i in everyone if self._slots[i].ticket is ticket])
            try:
                self._step(rows, noise[rows])
            except Exception as error:  # noqa: BLE001  as above
                failures[ticket] = error
        return failures

    def _step(self, rows: slice | NDArray[np.intp], noise: Noise) -> None:
        """One sweep of the slots `rows`; all of their states advance, or none."""
        inputs = {name: array[rows] for name, array in self._arrays.items()}
        live = len(next(iter(inputs.values())))
        if self._noise is not None:
            inputs[self._noise.name] = noise.reshape(live, *self._noise.row_shape)
        outputs = self._function(pad(inputs, self._padding.size_for(live)))
        for old, new in self._spec.state_pairs:
            self._arrays[old.name][rows] = outputs[new.name][:live]

    def _draw(self, sweeps: int) -> NDArray[np.uint16]:
        """uint16 [live, sweeps, width]; of width 0 when the step wants no noise."""
        if self._noise is None:
            return np.empty((len(self._slots), sweeps, 0), np.uint16)
        return np.stack([slot.noise.take(sweeps) for slot in self._slots if slot.noise is not None])

    def _settle(self, sweeps: int) -> None:
        """Count the sweeps, keep what is traced, and retire what is done."""
        for at in range(len(self._slots) - 1, -1, -1):
            slot = self._slots[at]
            slot.done += sweeps
            job, outcome = slot.ticket.job, slot.ticket.outcome
            if slot.traced < len(job.trace_at) and slot.done == job.trace_at[slot.traced]:
                for name in job.state:
                    outcome.traces[name][slot.traced, slot.row] = self._arrays[name][at]
                slot.traced += 1
            if slot.done == job.sweeps:
                for name in job.state:
                    outcome.state[name][slot.row] = self._arrays[name][at]
                self._retire(slot.ticket)
                self._vacate(at)

    def _retire(self, ticket: _Ticket) -> None:
        ticket.retired += 1
        if ticket.retired == len(ticket.job.rows) and not ticket.future.done():
            ticket.future.set_result(ticket.outcome)

    def _vacate(self, at: int) -> None:
        """Free a slot; the last live one moves into its place."""
        last = len(self._slots) - 1
        if at != last:
            for array in self._arrays.values():
                array[at] = array[last]
            self._slots[at] = self._slots[last]
        self._slots.pop()


def _empty(job: ChainJob) -> ChainOutcome:
    traces = len(job.trace_at)
    return ChainOutcome(
        state={name: np.empty_like(a) for name, a in job.state.items()},
        traces={name: np.empty((traces, *a.shape), a.dtype) for name, a in job.state.items()},
    )


def _fail(ticket: _Ticket, error: ServiceError) -> None:
    if not ticket.future.done():
        ticket.future.set_exception(error)


def _blend(old: float, new: float) -> float:
    return 0.8 * old + 0.2 * new if old else new
