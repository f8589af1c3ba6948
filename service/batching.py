"""Batches for map functions: take what is queued when the function is free; no timer.

put(rows) ──► two queues ──► up to `max_rows` rows ──► one call ──► futures

Work-conserving: an idle function starts at once with whatever is there, and while it runs the next
batch gathers by itself. Batches are counted in rows: large submissions are split, small ones
merged. A batch that fails is tried again smaller, first each submission apart and then in halves:
what was only too large succeeds, and what is faulty fails its own caller. The loop lives on, and
every future is resolved on every path.

A call that is known to take less than the hand-over to a thread and back is made at once, on the
event loop; any other is made in the function's own thread.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import structlog

from service.domain.arrays import Arrays
from service.errors import ComputeFailed, DeadlineExceeded, NotReady, Overloaded
from service.invariance import MapFunction, Padding
from service.pacing import AT_ONCE_S, Pace
from service.queries import Call
from service.submissions import Piece, Submission

log = structlog.get_logger(__name__)

LATELY_S = 1.0  # interactive work that came within this is likely to come again


class MapScheduler:
    """One map function's queue and the one thread that runs it."""

    def __init__(
        self,
        name: str,
        function: MapFunction,
        *,
        max_rows: int,
        max_queue_rows: int,
        at_once_s: float = AT_ONCE_S,
        on_batch: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`function` maps {name: [rows, …]} to the same; `on_batch` hears each batch's rows.

        Calls that are expected to take `at_once_s` or less are made on the event loop.
        """
        self.name = name
        self.running_rows = 0
        self._queued_rows: dict[str, int] = {"interactive": 0, "batch": 0}
        self._last_interactive = -math.inf
        self._function = function
        self._max_rows = max_rows
        self._max_queue_rows = max_queue_rows
        self._at_once_s = at_once_s
        self._on_batch = on_batch
        self._queues: dict[str, deque[Submission]] = {"interactive": deque(), "batch": deque()}
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._seconds_a_row = 0.0
        self._pace = Pace()
        self._running: list[Piece] = []
        self._closed = False
        self._loop = asyncio.create_task(self._serve(), name=f"batching {name}")

    @property
    def alive(self) -> bool:
        """False once the loop has died, which nothing but a bug can make it do."""
        return not self._loop.done() or self._closed

    @property
    def queued_rows(self) -> int:
        """Rows that no batch has taken yet."""
        return sum(self._queued_rows.values())

    async def submit(self, inputs: Arrays, call: Call) -> Arrays:
        """The function's outputs for these rows, in their order.

        Raises:
            Overloaded: the queue is full, or these rows would outlast their deadline.
            DeadlineExceeded: the time was up before these rows were done.
            ComputeFailed: the function failed on these rows.
        """
        submission = self.put(inputs, call)
        try:
            return await submission.future
        finally:
            self.withdraw(submission)

    def put(self, inputs: Arrays, call: Call) -> Submission:
        """Queue these rows; the submission's future is resolved by the call's deadline at last.

        Whoever puts rows withdraws them when nobody waits for them any more.

        Raises:
            Overloaded, DeadlineExceeded: as `submit`.
        """
        rows = len(next(iter(inputs.values())))
        self._admit_or_refuse(rows, call)
        loop = asyncio.get_running_loop()
        submission = Submission(inputs, rows, call, loop.create_future())
        submission.expiry = loop.call_at(on_loop_clock(call.deadline), submission.expire)
        self._queues[call.priority].append(submission)
        self._queued_rows[call.priority] += rows
        if call.priority == "interactive":
            self._last_interactive = time.monotonic()
        self._wake.set()
        return submission

    def withdraw(self, submission: Submission) -> None:
        """Rows that nobody waits for any more leave the queue before they cost anything."""
        if submission.expiry is not None:
            submission.expiry.cancel()
        if submission.waiting:
            queue = self._queues[submission.call.priority]
            if submission in queue:
                queue.remove(submission)
            self._leave_queue(submission)

    def estimate_s(self, rows: int, priority: str = "interactive") -> float:
        """Seconds until `rows` more rows would be done, by the recent rate.

        Interactive rows go before batch rows that wait, and so do not wait for them.
        """
        ahead = self._queued_rows["interactive"] if priority == "interactive" else self.queued_rows
        return (ahead + self.running_rows + rows) * self._seconds_a_row

    async def close(self) -> None:
        """Stop the loop and refuse what still waits."""
        self._closed = True
        self._loop.cancel()
        await asyncio.gather(self._loop, return_exceptions=True)
        waiting = [submission for queue in self._queues.values() for submission in queue]
        for submission in (*waiting, *(piece.of for piece in self._running)):
            submission.fail(NotReady("this model is being unloaded", retry_after_s=5))
        self._thread.shutdown(wait=True)

    def _admit_or_refuse(self, rows: int, call: Call) -> None:
        if self._closed:
            raise NotReady("this model is being unloaded", retry_after_s=1)
        left = call.deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded("the deadline passed before the work began")
        if self.queued_rows and self.queued_rows + rows > self._max_queue_rows:
            raise Overloaded(
                f"{self.queued_rows} rows already wait for {self.name}, of {self._max_queue_rows} "
                "at most: try again later",
                retry_after_s=max(self.estimate_s(0, call.priority), 0.1),
            )
        ahead, needed = (self.estimate_s(n, call.priority) for n in (0, rows))
        if self.queued_rows and needed > left:
            raise Overloaded(
                f"{rows} rows would be done in {needed:.1f} s, after the deadline in {left:.1f} s: "
                "try again later, or allow more time with X-Timeout-Ms",
                retry_after_s=max(min(ahead, needed - left), 0.1),
            )

    def _leave_queue(self, submission: Submission) -> None:
        self._queued_rows[submission.call.priority] -= submission.waiting
        submission.taken = submission.rows

    async def _serve(self) -> None:
        while True:
            await self._wake.wait()
            self._running = list(self._take())
            if self._running:
                await self._run(self._running)
            else:
                self._wake.clear()

    def _take(self) -> Iterator[Piece]:
        """Up to `max_rows` rows, interactive ones first, the front submission split if need be.

        A batch holds submissions that give the same inputs. While interactive work comes, batch
        rows have short calls of their own, so that nobody's answer waits long for them.
        """
        room, first = self._max_rows, None
        for priority, queue in self._queues.items():
            if priority == "batch":
                room = self._room_for_batch() if room == self._max_rows else 0
            while queue and room > 0:
                submission = queue[0]
                if submission.future.done():
                    queue.popleft()
                    self._leave_queue(submission)
                    continue
                first = first or submission
                if not submission.goes_with(first):
                    return
                rows = min(room, submission.waiting)
                start = submission.taken
                submission.taken += rows
                self._queued_rows[priority] -= rows
                room -= rows
                if not submission.waiting:
                    queue.popleft()
                if start == 0:
                    submission.call.spend("queue", time.monotonic() - submission.since)
                yield Piece(submission, start, start + rows)

    def _room_for_batch(self) -> int:
        """Batch rows of a call that has no others: few while interactive work comes."""
        if time.monotonic() - self._last_interactive > LATELY_S:
            return self._max_rows
        return self._pace.rows_beside(self._max_rows)

    async def _run(self, pieces: list[Piece]) -> None:
        try:
            outputs = await self._call(pieces)
        except Exception as error:  # noqa: BLE001  the function's failure must not end the loop
            await self._isolate(pieces, error)
            return
        at = 0
        for piece in pieces:
            piece.answer({name: a[at : at + piece.rows] for name, a in outputs.items()})
            at += piece.rows

    async def _call(self, pieces: list[Piece]) -> Arrays:
        rows = sum(piece.rows for piece in pieces)
        self.running_rows = rows
        self._on_batch(rows)
        began = time.monotonic()
        try:
            if self._pace.expected_s(rows) <= self._at_once_s:
                if self.queued_rows:
                    await asyncio.sleep(0)  # many calls in a row must not hold the event loop
                return self._compute(pieces)
            return await asyncio.get_running_loop().run_in_executor(
                self._thread, self._compute, pieces
            )
        finally:
            self.running_rows = 0
            spent = time.monotonic() - began
            self._seconds_a_row = _smoothed(self._seconds_a_row, spent / rows)
            for piece in pieces:
                piece.of.call.spend("compute", spent)

    def _compute(self, pieces: list[Piece]) -> Arrays:
        """Gather, and call; learn how long a call of that many rows takes."""
        began = time.monotonic()
        parts = [piece.inputs() for piece in pieces]
        rows = sum(piece.rows for piece in pieces)
        outputs = self._function(
            parts[0]
            if len(parts) == 1
            else {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
        )
        self._pace.note(rows, time.monotonic() - began)
        return outputs

    async def _isolate(self, pieces: list[Piece], error: Exception) -> None:
        """Try again with less: each submission apart, then halves, until a row fails alone."""
        smaller = pieces if len(pieces) > 1 else pieces[0].halves()
        if len(smaller) == 1:
            log.error("function_failed", function=self.name, exc_info=error)
            pieces[0].of.fail(ComputeFailed(f"{self.name} failed on this input"))
            return
        log.warning("batch_failed_trying_smaller", function=self.name, parts=len(smaller))
        for piece in smaller:
            if not piece.of.future.done():
                await self._run([piece])


def _smoothed(average: float, value: float) -> float:
    """A running average that forgets; its first value as it is."""
    return 0.8 * average + 0.2 * value if average else value


def pad(inputs: Arrays, size: int) -> Arrays:
    """Repeat the last row up to `size` rows."""
    missing = size - len(next(iter(inputs.values())))
    if missing <= 0:
        return inputs
    return {n: np.concatenate([a, np.repeat(a[-1:], missing, axis=0)]) for n, a in inputs.items()}


def padded(function: MapFunction, padding: Padding) -> MapFunction:
    """`function` on any number of rows: padded to the sizes that were measured, and cut again."""
    if not padding.sizes:
        return function

    def run(inputs: Arrays) -> Arrays:
        rows = len(next(iter(inputs.values())))
        outputs = function(pad(inputs, padding.size_for(rows)))
        return {name: a[:rows] for name, a in outputs.items()}

    return run


def on_loop_clock(deadline: float) -> float:
    """A monotonic deadline on the event loop's clock, which may start elsewhere."""
    return asyncio.get_running_loop().time() + (deadline - time.monotonic())
