"""Continuous batching of Markov chains: rows join and leave a running batch between sweeps.

submit(rows, sweeps) ──► queue ──admit──► slots ──tick: sweep, sweep, …──► retire ──► futures

A step function is run on all live slots at once. Each slot has its own count, clamp, β and noise
key, so a request of 50 sweeps beside one of 4,000 leaves after 50.

A tick is a stay in the worker thread, of as many sweeps as fit into `TICK_S` (`sweeping.py`);
whoever comes meanwhile ends it, and waits for the sweep that is under way alone.

Short jobs have slots of their own, so that long ones cannot keep them waiting. While there are
short rows, a tick sweeps them first, together with as many others as make a batch that runs at
nearly the full rate; more rows would only make each sweep longer. After two full ticks' time all
rows get one. Where a small batch takes as long as a large one, as on a GPU, all are swept together.

Interactive and batch rows have banks of their own. Batch rows are swept when no interactive row is
live; under a steady interactive load they get one tick for sixteen, so that they do not starve.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import structlog

from service.batching import on_loop_clock, padded
from service.contract import FunctionSpec
from service.domain.waiting import Pace, done_after, soonest
from service.errors import ComputeFailed, DeadlineExceeded, NotReady, Overloaded
from service.invariance import MapFunction, Padding
from service.jobs import ChainJob, ChainOutcome, Ticket
from service.queries import Call
from service.slots import Bank
from service.sweeping import TICK_S, Iterate, ResidentSweeper, Sweeper, Tick

__all__ = ["ChainJob", "ChainOutcome", "ChainScheduler"]

log = structlog.get_logger(__name__)

LONG_TICK_EVERY = 2
BATCH_TICK_EVERY = 16
FULL_RATE_ROWS = 16  # a sweep of so many costs a core little more for each than one of hundreds
WORTH = 0.7  # a part of the rows is swept alone where that takes at most so much of the time of all
MIN_RETRY_S = 0.1


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
        clock: Callable[[], float] = time.monotonic,
        iterate: Iterate | None = None,
    ) -> None:
        """`function` runs one sweep; `on_tick` hears (rows, sweeps) of each tick.

        `clock` says, in seconds, how long sweeps take. `iterate` runs many sweeps with the states
        where the function is: on a GPU.
        """
        self.name = name
        self._max_queue_rows = max_queue_rows
        self._on_tick = on_tick
        run = padded(function, padding)
        self._sweeper = (
            ResidentSweeper(run, iterate, clock=clock) if iterate else Sweeper(run, clock=clock)
        )
        self._interactive = Bank(spec, capacity=slots)
        self._batch = Bank(spec, capacity=slots)
        self._speed = Pace()
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._closed = False
        self._loop = asyncio.create_task(self._serve(), name=f"chains {name}")
        self._loop.add_done_callback(self._ended)

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
        if bank.live(short=job.short) < bank.capacity:
            self._sweeper.end.set()
        try:
            async with asyncio.timeout_at(on_loop_clock(call.deadline)):
                return await ticket.future
        except TimeoutError:
            raise DeadlineExceeded(
                f"the deadline passed within {job.sweeps} sweeps of {len(job.rows)} rows: allow "
                "more time with X-Timeout-Ms, or ask for fewer"
            ) from None
        finally:
            if ticket.future.cancelled():
                bank.withdraw(ticket)
                self._sweeper.end.set()
            call.spend("compute", ticket.compute_s)

    async def close(self) -> None:
        """Stop the loop and refuse what still waits or runs."""
        self._closed = True
        self._sweeper.end.set()
        self._loop.cancel()
        await asyncio.gather(self._loop, return_exceptions=True)
        self._thread.shutdown(wait=True)

    def _ended(self, loop: asyncio.Task[None]) -> None:
        """Whatever ended the loop, nobody goes on waiting for it."""
        if self._closed:
            refusal = NotReady("this model is being unloaded", retry_after_s=5)
        else:
            error = None if loop.cancelled() else loop.exception()
            log.error("chains_died", function=self.name, exc_info=error)
            refusal = NotReady("this model's chains have stopped: try again", retry_after_s=5)
        for bank in (self._interactive, self._batch):
            for ticket in bank.tickets:
                ticket.fail(refusal)

    def _admit_or_refuse(self, job: ChainJob, call: Call, bank: Bank) -> None:
        if self._closed or self._loop.done():
            raise NotReady("this model is being unloaded", retry_after_s=1)
        left_s = call.deadline - time.monotonic()
        if left_s <= 0:
            raise DeadlineExceeded("the deadline passed before the chains began")
        rows, short = len(job.rows), job.short
        if bank.has_room(rows, short=short):
            return
        pace = self._speed if short and bank is self._interactive else bank.pace
        sweep_s = pace.of(bank.capacity)
        free, begins = bank.in_turn(short=short)
        within = left_s / sweep_s if sweep_s else math.inf
        coming_s = sweep_s * soonest(free, rows=rows, sweeps=job.sweeps, within=within)
        too_many = min(len(begins) + rows - self._max_queue_rows, len(begins))
        if too_many > 0:
            raise Overloaded(
                f"{len(begins)} rows already wait for {self.name}, of {self._max_queue_rows} "
                "at most: try again later",
                retry_after_s=max(begins[too_many - 1] * sweep_s, coming_s, MIN_RETRY_S),
            )
        if coming_s > 0:
            done_s = sweep_s * done_after(free, rows=rows, sweeps=job.sweeps)
            raise Overloaded(
                f"{job.sweeps} sweeps of {rows} rows would be done in {done_s:.1f} s, after the "
                f"deadline in {left_s:.1f} s: try again later, or allow more time with "
                "X-Timeout-Ms",
                retry_after_s=max(coming_s, MIN_RETRY_S),
            )

    async def _serve(self) -> None:
        while True:
            await self._wake.wait()
            self._sweeper.end.clear()
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
        starving = self._batch.stalled_s >= BATCH_TICK_EVERY * TICK_S
        if self._interactive.slots and not (starving and self._batch.slots):
            return self._interactive
        return self._batch

    def _next_rows(self, bank: Bank) -> range:
        """Short rows first, with some others; all when there are none, or once in a while."""
        live = len(bank.slots)
        some = max(bank.shorts, min(FULL_RATE_ROWS, bank.capacity))
        starving = bank.stalled_s >= LONG_TICK_EVERY * TICK_S
        if bank.shorts and live > some and not starving:
            known = self._speed.knows(some)
            worth = not known or self._speed.of(some) <= WORTH * self._speed.of(live)
            if worth or live > bank.capacity:
                return range(some)
        return range(max(live - bank.capacity, 0), live)

    async def _tick(self, bank: Bank) -> None:
        rows = self._next_rows(bank)
        tick = await asyncio.get_running_loop().run_in_executor(
            self._thread, self._sweeper.tick, bank, rows
        )
        self._learn(bank, rows, tick)
        for ticket in {slot.ticket for slot in bank.slots[rows.start : rows.stop]}:
            ticket.compute_s += tick.seconds
        for ticket, error in tick.failures.items():
            log.error("step_function_failed", function=self.name, exc_info=error)
            ticket.fail(ComputeFailed(f"{self.name} failed on these chains"))
            bank.withdraw(ticket)
        self._on_tick(len(rows), tick.sweeps)
        if tick.row_ended:
            bank.retire()

    def _learn(self, bank: Bank, rows: range, tick: Tick) -> None:
        """How long sweeps take, and how long the last rows of each bank have not been swept."""
        self._speed.learn(len(rows), tick.seconds / tick.sweeps)
        if rows.stop == len(bank.slots):
            bank.pace.learn(len(rows), (bank.stalled_s + tick.seconds) / tick.sweeps)
            bank.stalled_s = -tick.seconds  # which is added again below
        for one in (self._interactive, self._batch):
            one.stalled_s = one.stalled_s + tick.seconds if one.slots else 0.0
