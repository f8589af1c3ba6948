"""Warm chains: persistent particles of a model that idle time advances.

start ──burn-in──► particles ──round: k sweeps, when nobody else needs the slots──► rested
take(n) ──► particles that have gone at least `thinning` sweeps since they were last handed out

A fresh chain needs its burn-in before it gives a good sample; these have had theirs. They run as
batch rows, so interactive work does not wait for them, and rest once every particle is ready.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np
import structlog
from jaxtyping import Float

from service.batching import on_loop_clock
from service.chains import ChainScheduler
from service.domain.arrays import Arrays
from service.domain.gibbs import effective_sample_size, split_rhat
from service.domain.randomness import draw_seed
from service.errors import DeadlineExceeded, NotReady, ServiceError
from service.jobs import ChainJob
from service.queries import Call

log = structlog.get_logger(__name__)

ROUNDS_A_THINNING = 4
RESTED_THINNINGS = 2  # a particle is advanced this many thinnings beyond its last use, then rests
KEPT_ENERGIES = 64
ROUND_TIMEOUT_S = 3600.0
AFTER_FAILURE_S = 1.0

Energy = Callable[[Arrays, Call], Awaitable[Float[np.ndarray, " n"]]]


@dataclass(frozen=True)
class PoolDraw:
    """Particles handed out, and how well the pool is mixed (NaN where not yet known)."""

    state: Arrays
    age_sweeps: int
    split_rhat: float
    ess: float


class ChainPool:
    """The persistent particles of one model."""

    def __init__(
        self,
        scheduler: ChainScheduler,
        *,
        start: Callable[[int, range, Call], Awaitable[Arrays]],
        energy: Energy | None,
        parameters: Arrays,
        rows: int,
        burn_in: int,
        thinning: int,
        on_round: Callable[[ChainPool], None] = lambda _: None,
    ) -> None:
        """Begin to burn in at once, in the background.

        Args:
            scheduler: where the particles run.
            start: (seed, rows, call) → first states.
            energy: states → one number a row, for diagnostics.
            parameters: what holds during every sweep, [rows, …].
            rows: how many particles.
            burn_in: sweeps before the first is handed out.
            thinning: sweeps between two uses of a particle.
            on_round: hears of every round, for metrics.
        """
        self.rows = rows
        self.thinning = thinning
        self.split_rhat = float("nan")
        self.ess = float("nan")
        self._scheduler = scheduler
        self._start = start
        self._energy = energy
        self._parameters = parameters
        self._burn_in = burn_in
        self._on_round = on_round
        self._state: Arrays = {}
        self._age = 0
        self._since_use = np.zeros(rows, np.int64)
        self._energies: deque[Float[np.ndarray, " n"]] = deque(maxlen=KEPT_ENERGIES)
        self._changed = asyncio.Condition()
        self._closed = False
        self._loop = asyncio.create_task(self._advance(), name=f"pool {scheduler.name}")
        self._loop.add_done_callback(self._ended)

    @property
    def ready(self) -> bool:
        """Whether the burn-in is over."""
        return self._age >= self._burn_in and bool(self._state)

    @property
    def alive(self) -> bool:
        """False once its loop has died, which nothing but a bug can make it do."""
        return not self._loop.done() or self._closed

    async def take(self, n: int, call: Call) -> PoolDraw:
        """`n` rested particles, those longest unused first.

        Raises:
            DeadlineExceeded: too few were rested in time.
        """
        began = time.monotonic()
        try:
            async with asyncio.timeout_at(on_loop_clock(call.deadline)), self._changed:
                await self._changed.wait_for(lambda: self._rested() >= n)
                chosen = np.argsort(-self._since_use, kind="stable")[:n]
                self._since_use[chosen] = 0
                self._changed.notify_all()
        except TimeoutError:
            raise DeadlineExceeded(
                f"fewer than {n} chains of the pool were rested in time: ask for fewer, or allow "
                "more time with X-Timeout-Ms"
            ) from None
        finally:
            call.spend("queue", time.monotonic() - began)
        state = {name: array[chosen] for name, array in self._state.items()}
        return PoolDraw(state, self._age, self.split_rhat, self.ess)

    async def close(self) -> None:
        """Let the particles go."""
        self._closed = True
        self._loop.cancel()
        await asyncio.gather(self._loop, return_exceptions=True)

    def _ended(self, loop: asyncio.Task[None]) -> None:
        if not self._closed:
            error = None if loop.cancelled() else loop.exception()
            log.error("pool_died", pool=self._scheduler.name, exc_info=error)

    def _rested(self) -> int:
        return int((self._since_use >= self.thinning).sum()) if self.ready else 0

    async def _advance(self) -> None:
        while True:
            try:
                await self._round()
            except NotReady:
                return  # the model is being unloaded, or its scheduler has died
            except ServiceError as error:
                log.warning("pool_round_failed", pool=self._scheduler.name, reason=error.detail)
                await asyncio.sleep(AFTER_FAILURE_S)

    async def _round(self) -> None:
        """A few sweeps of all particles, once one of them is not rested."""
        async with self._changed:
            await self._changed.wait_for(
                lambda: (
                    not self.ready or int(self._since_use.min()) < RESTED_THINNINGS * self.thinning
                )
            )
        call = Call.lasting(ROUND_TIMEOUT_S, priority="batch")
        if not self._state:
            self._state = await self._start(draw_seed(), range(self.rows), call)
        sweeps = max(self.thinning // ROUNDS_A_THINNING, 1)
        job = ChainJob(
            state=self._state,
            parameters=self._parameters,
            sweeps=sweeps,
            seed=draw_seed(),
            rows=tuple(range(self.rows)),
        )
        outcome = await self._scheduler.submit(job, call)
        async with self._changed:
            self._state = outcome.state
            self._age += sweeps
            self._since_use += sweeps
            self._changed.notify_all()
        await self._diagnose(call)
        self._on_round(self)

    async def _diagnose(self, call: Call) -> None:
        if self._energy is None or not self.ready:
            return
        self._energies.append(await self._energy(self._state, call))
        traces = np.stack(self._energies, axis=1)
        self.split_rhat, self.ess = split_rhat(traces), effective_sample_size(traces)
