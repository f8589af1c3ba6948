"""Static batching, as servers do that know no chains: a batch runs until its longest row ends.

submit(rows, sweeps) ──► queue ──collect──► up to `slots` rows, all for the most sweeps ──► answers

The same graph, the same noise, the same thread and the same deadlines as ours; no timer.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from benchmarks.chaining.machines import Sweep
from service.domain.chain_noise import ChainNoise


class StaticScheduler:
    """One queue and one thread that runs whole batches. Make it inside a running loop."""

    def __init__(self, sweep: Sweep, *, slots: int) -> None:
        self._sweep = sweep
        self._slots = slots
        self._queue: deque[tuple[int, int, float, asyncio.Future[None]]] = deque()
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1)
        self._loop = asyncio.create_task(self._serve())

    async def submit(self, rows: int, sweeps: int, deadline: float) -> None:
        """Wait until these chains are done; TimeoutError at the deadline (monotonic seconds)."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((rows, sweeps, deadline, future))
        self._wake.set()
        async with asyncio.timeout(deadline - time.monotonic()):
            await future

    async def close(self) -> None:
        """Stop."""
        self._loop.cancel()
        await asyncio.gather(self._loop, return_exceptions=True)
        self._thread.shutdown(wait=True)

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            batch, rows, longest = [], 0, 0
            while self._queue and rows + self._queue[0][0] <= self._slots:
                more, sweeps, deadline, future = self._queue.popleft()
                if future.done() or deadline < time.monotonic():
                    continue  # expired in the queue: dropped before it costs anything, as we do
                batch.append(future)
                rows, longest = rows + more, max(longest, sweeps)
            if not batch:
                self._wake.clear()
                continue
            await loop.run_in_executor(self._thread, self._run, rows, longest)
            for future in batch:
                if not future.done():
                    future.set_result(None)

    def _run(self, rows: int, sweeps: int) -> None:
        noise = ChainNoise(self._sweep.spec, capacity=rows)
        for row in range(rows):
            noise.place(row, seed=1, row=row, sweeps=sweeps)
        states, parameters = self._sweep.states(rows), self._sweep.parameters(rows)
        for drawn in islice(noise.sweeps(range(rows)), sweeps):
            outputs = self._sweep.run(states | parameters | drawn)
            states = {old.name: outputs[new.name] for old, new in self._sweep.spec.state_pairs}
