"""Batches for map functions: take what is queued when the function is free; no timer.

submit(rows) ──► two queues ──► up to `max_rows` rows ──► one call in a thread ──► futures

Work-conserving: an idle function starts at once with whatever is there, and while it runs the next
batch gathers by itself. Batches are counted in rows: large submissions are split, small ones
merged. A batch that fails is tried again smaller, first each submission apart and then in halves:
what was only too large succeeds, and what is faulty fails its own caller. The loop lives on, and
every future is resolved on every path.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import structlog

from service.domain.arrays import Arrays
from service.errors import ComputeFailed, DeadlineExceeded, NotReady, Overloaded, ServiceError
from service.invariance import MapFunction, Padding
from service.queries import Call

log = structlog.get_logger(__name__)


@dataclass(eq=False)
class _Submission:
    """Rows of one caller, and the places of their answers."""

    inputs: Arrays
    rows: int
    call: Call
    future: asyncio.Future[Arrays]
    since: float = field(default_factory=time.monotonic)
    taken: int = 0
    answered: int = 0
    outputs: Arrays = field(default_factory=dict)

    @property
    def waiting(self) -> int:
        return self.rows - self.taken


@dataclass(frozen=True)
class _Piece:
    """Consecutive rows of one submission inside one batch."""

    of: _Submission
    start: int
    stop: int

    @property
    def rows(self) -> int:
        return self.stop - self.start

    def halves(self) -> list[_Piece]:
        """Two of half the rows, or itself when it has one."""
        if self.rows == 1:
            return [self]
        middle = self.start + self.rows // 2
        return [_Piece(self.of, self.start, middle), _Piece(self.of, middle, self.stop)]

    def inputs(self) -> Arrays:
        return {name: array[self.start : self.stop] for name, array in self.of.inputs.items()}


class MapScheduler:
    """One map function's queue and the one thread that runs it."""

    def __init__(
        self,
        name: str,
        function: MapFunction,
        *,
        padding: Padding,
        max_rows: int,
        max_queue_rows: int,
        on_batch: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`function` maps {name: [rows, …]} to the same; `on_batch` hears each batch's rows."""
        self.name = name
        self.queued_rows = 0
        self.running_rows = 0
        self._function = function
        self._padding = padding
        self._max_rows = max_rows
        self._max_queue_rows = max_queue_rows
        self._on_batch = on_batch
        self._queues: dict[str, deque[_Submission]] = {"interactive": deque(), "batch": deque()}
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._seconds_a_row = 0.0
        self._running: list[_Piece] = []
        self._closed = False
        self._loop = asyncio.create_task(self._serve(), name=f"batching {name}")

    @property
    def alive(self) -> bool:
        """False once the loop has died, which nothing but a bug can make it do."""
        return not self._loop.done() or self._closed

    async def submit(self, inputs: Arrays, call: Call) -> Arrays:
        """The function's outputs for these rows, in their order.

        Raises:
            Overloaded: the queue is full, or these rows would outlast their deadline.
            DeadlineExceeded: the time was up before these rows came to their turn.
            ComputeFailed: the function failed on these rows.
        """
        rows = len(next(iter(inputs.values())))
        self._admit_or_refuse(rows, call)
        submission = _Submission(inputs, rows, call, asyncio.get_running_loop().create_future())
        self._queues[call.priority].append(submission)
        self.queued_rows += rows
        self._wake.set()
        try:
            async with asyncio.timeout_at(on_loop_clock(call.deadline)):
                return await submission.future
        except TimeoutError:
            raise DeadlineExceeded(
                "the deadline passed before the answer was ready: allow more time with "
                "X-Timeout-Ms, or ask for less"
            ) from None
        finally:
            self._withdraw(submission)

    def estimate_s(self, rows: int) -> float:
        """Seconds until `rows` more rows would be done, by the recent rate."""
        return (self.queued_rows + self.running_rows + rows) * self._seconds_a_row

    async def close(self) -> None:
        """Stop the loop and refuse what still waits."""
        self._closed = True
        self._loop.cancel()
        await asyncio.gather(self._loop, return_exceptions=True)
        waiting = [submission for queue in self._queues.values() for submission in queue]
        for submission in (*waiting, *(piece.of for piece in self._running)):
            _fail(submission, NotReady("this model is being unloaded", retry_after_s=5))
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
                retry_after_s=max(self.estimate_s(0), 0.1),
            )
        ahead, needed = self.estimate_s(0), self.estimate_s(rows)
        if self.queued_rows and needed > left:
            raise Overloaded(
                f"{rows} rows would be done in {needed:.1f} s, after the deadline in {left:.1f} s: "
                "try again later, or allow more time with X-Timeout-Ms",
                retry_after_s=max(min(ahead, needed - left), 0.1),
            )

    def _withdraw(self, submission: _Submission) -> None:
        """Rows that nobody waits for any more leave the queue before they cost anything."""
        queue = self._queues[submission.call.priority]
        if submission.waiting and submission in queue:
            queue.remove(submission)
            self.queued_rows -= submission.waiting
            submission.taken = submission.rows

    async def _serve(self) -> None:
        while True:
            await self._wake.wait()
            self._running = list(self._take())
            if self._running:
                await self._run(self._running)
            else:
                self._wake.clear()

    def _take(self) -> Iterator[_Piece]:
        """Up to `max_rows` rows, interactive ones first, the front submission split if need be."""
        room = self._max_rows
        for queue in self._queues.values():
            while queue and room:
                submission = queue[0]
                if submission.future.done() or submission.call.deadline <= time.monotonic():
                    queue.popleft()
                    self.queued_rows -= submission.waiting
                    submission.taken = submission.rows
                    _fail(submission, DeadlineExceeded("the deadline passed in the queue"))
                    continue
                rows = min(room, submission.waiting)
                start = submission.taken
                submission.taken += rows
                self.queued_rows -= rows
                room -= rows
                if not submission.waiting:
                    queue.popleft()
                if start == 0:
                    submission.call.spend("queue", time.monotonic() - submission.since)
                yield _Piece(submission, start, start + rows)

    async def _run(self, pieces: list[_Piece]) -> None:
        try:
            outputs = await self._call(pieces)
        except Exception as error:  # noqa: BLE001  the function's failure must not end the loop
            await self._isolate(pieces, error)
            return
        at = 0
        for piece in pieces:
            _answer(piece, {name: a[at : at + piece.rows] for name, a in outputs.items()})
            at += piece.rows

    async def _call(self, pieces: list[_Piece]) -> Arrays:
        rows = sum(piece.rows for piece in pieces)
        self.running_rows = rows
        self._on_batch(rows)
        began = time.monotonic()
        try:
            outputs = await asyncio.get_running_loop().run_in_executor(
                self._thread, self._compute, pieces
            )
        finally:
            self.running_rows = 0
            spent = time.monotonic() - began
            for piece in pieces:
                piece.of.call.spend("compute", spent)
        rate = spent / rows
        self._seconds_a_row = (
            0.8 * self._seconds_a_row + 0.2 * rate if self._seconds_a_row else rate
        )
        return outputs

    def _compute(self, pieces: list[_Piece]) -> Arrays:
        """Off the event loop: gather, pad, call, cut."""
        parts = [piece.inputs() for piece in pieces]
        rows = sum(piece.rows for piece in pieces)
        joined = {
            name: parts[0][name] if len(parts) == 1 else np.concatenate([p[name] for p in parts])
            for name in parts[0]
        }
        outputs = self._function(pad(joined, self._padding.size_for(rows)))
        return {name: a[:rows] for name, a in outputs.items()}

    async def _isolate(self, pieces: list[_Piece], error: Exception) -> None:
        """Try again with less: each submission apart, then halves, until a row fails alone."""
        smaller = pieces if len(pieces) > 1 else pieces[0].halves()
        if len(smaller) == 1:
            log.error("function_failed", function=self.name, exc_info=error)
            _fail(pieces[0].of, ComputeFailed(f"{self.name} failed on this input"))
            return
        log.warning("batch_failed_trying_smaller", function=self.name, parts=len(smaller))
        for piece in smaller:
            if not piece.of.future.done():
                await self._run([piece])


def pad(inputs: Arrays, size: int) -> Arrays:
    """Repeat the last row up to `size` rows."""
    missing = size - len(next(iter(inputs.values())))
    if missing <= 0:
        return inputs
    return {n: np.concatenate([a, np.repeat(a[-1:], missing, axis=0)]) for n, a in inputs.items()}


def _answer(piece: _Piece, outputs: Arrays) -> None:
    submission = piece.of
    if piece.rows == submission.rows:
        submission.outputs = outputs
    else:
        for name, part in outputs.items():
            if name not in submission.outputs:
                shape = (submission.rows, *part.shape[1:])
                submission.outputs[name] = np.empty(shape, part.dtype)
            submission.outputs[name][piece.start : piece.stop] = part
    submission.answered += piece.rows
    if submission.answered == submission.rows and not submission.future.done():
        submission.future.set_result(submission.outputs)


def _fail(submission: _Submission, error: ServiceError) -> None:
    if not submission.future.done():
        submission.future.set_exception(error)


def on_loop_clock(deadline: float) -> float:
    """A monotonic deadline on the event loop's clock, which may start elsewhere."""
    return asyncio.get_running_loop().time() + (deadline - time.monotonic())
