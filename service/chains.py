"""Continuous batching of Markov chains: rows join and leave a running batch between sweeps.

submit(rows, sweeps) ──► queue ──admit──► slots ──tick: k sweeps──► retire ──► futures

A step function is run on all live slots at once. Each slot has its own count, clamp, β and noise
key, so a request of 50 sweeps beside one of 4,000 leaves after 50.

A tick is as many sweeps as fit into about five milliseconds, and never more than the first row to
be done, or to be traced, still needs: joining and cancelling wait for one tick at most.

Interactive and batch rows have banks of slots of their own. Batch rows are swept when no
interactive row is live; under a steady interactive load they get one tick in sixteen, so that they
do not starve.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import structlog
from numpy.typing import NDArray

from service.batching import on_loop_clock, pad
from service.contract import FunctionSpec
from service.domain.arrays import Arrays
from service.errors import ComputeFailed, DeadlineExceeded, NotReady, Overloaded
from service.invariance import MapFunction, Padding
from service.queries import Call
from service.slots import Bank, ChainJob, ChainOutcome, Ticket

__all__ = ["ChainJob", "ChainOutcome", "ChainScheduler"]

log = structlog.get_logger(__name__)

TICK_S = 0.005
MAX_SWEEPS_A_TICK = 16
BATCH_TICK_EVERY = 16


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
        self._function = function
        self._padding = padding
        self._max_queue_rows = max_queue_rows
        self._on_tick = on_tick
        self._interactive = Bank(spec, capacity=slots)
        self._batch = Bank(spec, capacity=slots)
        self._interactive_ticks = 0
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._seconds_a_sweep: dict[int, float] = {}
        self._closed = False
        self._loop = asyncio.create_task(self._serve(), name=f"chains {name}")

    @property
    def alive(self) -> bool:
        """False once the loop has died, which nothing but a bug can make it do."""
        return not self._loop.done() or self._closed

    @property
    def running_rows(self) -> int:
        """Rows in slots."""
        return len(self._interactive.slots) + len(self._batch.slots)

    @property
    def queued_rows(self) -> int:
        """Rows that have no slot yet."""
        return self._interactive.queued_rows + self._batch.queued_rows

    @property
    def idle(self) -> bool:
        """Nothing runs and nothing waits."""
        return not self.running_rows and not self.queued_rows

    async def submit(self, job: ChainJob, call: Call) -> ChainOutcome:
        """Run the job's chains beside whatever else runs.

        Raises:
            Overloaded: too many rows wait already, or the job would outlast its deadline.
            DeadlineExceeded: the time was up before the last sweep.
            ComputeFailed: the step function failed on these rows.
        """
        bank = self._batch if call.priority == "batch" else self._interactive
        self._admit_or_refuse(job, call, bank)
        if job.sweeps == 0:
            return ChainOutcome(state=job.state, traces={})
        ticket = Ticket(job, call, asyncio.get_running_loop().create_future())
        bank.enqueue(ticket)
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

    def estimate_s(self, job: ChainJob, priority: str = "interactive") -> tuple[float, float]:
        """(seconds until its last row has a slot, seconds from there until it is done).

        With free slots a job waits for nothing: its sweeps are shared with the rows that are live.
        Without, it waits for the work before it, spread over all slots.
        """
        bank = self._batch if priority == "batch" else self._interactive
        live = min(len(bank.slots) + bank.queued_rows + len(job.rows), bank.capacity)
        sweep = self._time_of(live)
        wait = 0.0
        if len(bank.slots) + bank.queued_rows + len(job.rows) > bank.capacity:
            ahead = bank.running_row_sweeps + bank.queued_row_sweeps
            wait = ahead / bank.capacity * sweep
        return wait, job.sweeps * sweep

    async def close(self) -> None:
        """Stop the loop and refuse what still waits or runs."""
        self._closed = True
        self._loop.cancel()
        await asyncio.gather(self._loop, return_exceptions=True)
        for bank in (self._interactive, self._batch):
            for ticket in (*bank.queue, *bank.tickets):
                ticket.fail(NotReady("this model is being unloaded", retry_after_s=5))
        self._thread.shutdown(wait=True)

    def _admit_or_refuse(self, job: ChainJob, call: Call, bank: Bank) -> None:
        if self._closed:
            raise NotReady("this model is being unloaded", retry_after_s=1)
        left = call.deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded("the deadline passed before the chains began")
        wait, own = self.estimate_s(job, call.priority)
        if bank.queued_rows and bank.queued_rows + len(job.rows) > self._max_queue_rows:
            raise Overloaded(
                f"{bank.queued_rows} rows already wait for {self.name}, of {self._max_queue_rows} "
                "at most: try again later",
                retry_after_s=max(wait, 0.1),
            )
        if wait + own > left and wait > 0:
            raise Overloaded(
                f"{job.sweeps} sweeps of {len(job.rows)} rows would be done in {wait + own:.1f} s, "
                f"after the deadline in {left:.1f} s: try again later, or allow more time with "
                "X-Timeout-Ms",
                retry_after_s=max(min(wait, wait + own - left), 0.1),
            )

    async def _serve(self) -> None:
        while True:
            await self._wake.wait()
            for bank in (self._interactive, self._batch):
                bank.drop_abandoned()
                bank.admit()
            bank = self._next_bank()
            if bank.slots:
                await self._tick(bank)
            else:
                self._wake.clear()

    def _next_bank(self) -> Bank:
        """Interactive rows first; batch rows when there are none, or once in a while."""
        starving = self._interactive_ticks >= BATCH_TICK_EVERY
        if self._interactive.slots and not (starving and self._batch.slots):
            self._interactive_ticks += 1
            return self._interactive
        self._interactive_ticks = 0
        return self._batch

    async def _tick(self, bank: Bank) -> None:
        live, sweeps = len(bank.slots), self._sweeps_a_tick(bank)
        began = time.monotonic()
        failures = await asyncio.get_running_loop().run_in_executor(
            self._thread, self._sweep, bank, sweeps
        )
        spent = time.monotonic() - began
        self._learn(live, spent / sweeps)
        for ticket in bank.tickets:
            ticket.compute_s += spent
        for ticket, error in failures.items():
            log.error("step_function_failed", function=self.name, exc_info=error)
            ticket.fail(ComputeFailed(f"{self.name} failed on these chains"))
        self._on_tick(live, sweeps)
        bank.settle(sweeps)

    def _sweeps_a_tick(self, bank: Bank) -> int:
        sweep = self._time_of(len(bank.slots))
        fitting = int(TICK_S / sweep) if sweep else 1
        return max(1, min(bank.until_event, fitting, MAX_SWEEPS_A_TICK))

    def _sweep(self, bank: Bank, sweeps: int) -> dict[Ticket, Exception]:
        """Off the event loop: draw the tick's noise, then sweep all live slots `sweeps` times.

        When a sweep of all fails, it is tried on fewer rows at a time; a job that has a row which
        fails alone is returned, and the others go on as if nothing had been.
        """
        failures: dict[Ticket, Exception] = {}
        for noise in bank.draw(sweeps):
            try:
                self._step(bank, slice(0, len(bank.slots)), noise)
            except Exception:  # noqa: BLE001  whatever the runtime raises, find whose rows it was
                for ticket in bank.tickets - failures.keys():
                    error = self._step_smaller(bank, bank.rows_of(ticket), noise)
                    if error is not None:
                        failures[ticket] = error
        return failures

    def _step_smaller(self, bank: Bank, rows: NDArray[np.intp], noise: Arrays) -> Exception | None:
        """One sweep of one job's rows, halved until it fits; the error if a row fails alone."""
        try:
            self._step(bank, rows, noise)
        except Exception as error:  # noqa: BLE001  as above
            if len(rows) == 1:
                return error
            middle = len(rows) // 2
            return self._step_smaller(bank, rows[:middle], noise) or self._step_smaller(
                bank, rows[middle:], noise
            )
        return None

    def _step(self, bank: Bank, rows: slice | NDArray[np.intp], noise: Arrays) -> None:
        """One sweep of the slots `rows`; all of their states advance, or none."""
        inputs = bank.inputs(rows, noise)
        live = len(next(iter(inputs.values())))
        bank.store(rows, self._function(pad(inputs, self._padding.size_for(live))))

    def _learn(self, live: int, seconds: float) -> None:
        bucket = live.bit_length()
        old = self._seconds_a_sweep.get(bucket, seconds)
        self._seconds_a_sweep[bucket] = 0.8 * old + 0.2 * seconds

    def _time_of(self, live: int) -> float:
        """Seconds a sweep of `live` rows takes, by the nearest number of rows that was seen.

        More rows than were ever seen are taken to cost no more: work is refused on evidence alone.
        """
        if not self._seconds_a_sweep:
            return 0.0
        bucket = live.bit_length()
        return self._seconds_a_sweep[min(self._seconds_a_sweep, key=lambda b: abs(b - bucket))]
