"""A model that answers: a loaded package with a queue for each map and slots for each step.

LoadedPackage ──► Model: {function: MapScheduler}, {function: ChainScheduler}, a pool of warm chains
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from service.batching import MapScheduler, padded
from service.chains import ChainScheduler
from service.contract import FunctionSpec, ImageData, Manifest, Role, TableData
from service.domain.arrays import Arrays
from service.domain.feeding import ByRole, draw_noise, feed, feed_parameters, started
from service.domain.randomness import Stream
from service.generation import GENERATE, SeededGenerator
from service.loading import Calibrations, LoadedFunction, LoadedPackage
from service.metrics import Metrics
from service.pool import ChainPool
from service.queries import Call
from service.settings import Settings
from service.table_generation import SeededTable

CHAIN = "sweep"
DEFAULT_THINNING_SHARE = 10  # of the burn-in, where a manifest names no thinning


class Model:
    """One loaded package and the schedulers of its functions. Make it inside a running loop."""

    def __init__(self, package: LoadedPackage, settings: Settings, metrics: Metrics) -> None:
        self.package = package
        self.capabilities = package.manifest.capabilities
        self.in_flight = 0
        self._metrics = metrics
        self._idle = asyncio.Event()
        self._idle.set()
        functions = package.functions.items()
        self.maps = {
            name: self._map_scheduler(name, function, settings)
            for name, function in functions
            if function.spec.kind == "map"
        }
        self.chains = {
            name: self._chain_scheduler(name, function, settings)
            for name, function in functions
            if function.spec.kind == "step"
        }
        self.pool = self._chain_pool(settings.pool_rows)

    @property
    def manifest(self) -> Manifest:
        """The package's manifest."""
        return self.package.manifest

    @property
    def directory(self) -> Path:
        """The package's folder."""
        return self.package.directory

    @property
    def device(self) -> str:
        """`cpu` or `cuda:N`."""
        return self.package.device

    @property
    def runtime(self) -> str:
        """The runtime's name and version."""
        return self.package.runtime

    @property
    def calibrations(self) -> Calibrations:
        """Held-out scores by method, in rising order."""
        return self.package.calibrations

    @property
    def seed_promise(self) -> str:
        """What is promised of seeds on this device, in a sentence."""
        return self.package.seed_promise

    @property
    def id(self) -> str:
        """`name@version`."""
        return self.manifest.id

    @property
    def schedulers(self) -> tuple[MapScheduler | ChainScheduler, ...]:
        """The queues and slots of all its functions."""
        return (*self.maps.values(), *self.chains.values())

    @property
    def queued_rows(self) -> int:
        """Rows that wait, over all functions."""
        return sum(s.queued_rows for s in self.schedulers)

    @property
    def running_rows(self) -> int:
        """Rows inside calls and slots."""
        return sum(s.running_rows for s in self.schedulers)

    @property
    def alive(self) -> bool:
        """False once one of its loops has died."""
        return all(s.alive for s in self.schedulers) and (self.pool is None or self.pool.alive)

    def enter(self) -> None:
        """One more request uses this model."""
        self.in_flight += 1
        self._idle.clear()

    def leave(self) -> None:
        """One fewer."""
        self.in_flight -= 1
        if not self.in_flight:
            self._idle.set()

    async def retire(self, timeout_s: float) -> None:
        """Close once the requests that use it are answered, or the time is up."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        await self.close()

    async def close(self) -> None:
        """Stop the pool and every scheduler."""
        if self.pool is not None:
            await self.pool.close()
        await asyncio.gather(*(s.close() for s in self.schedulers))

    def _map_scheduler(
        self, name: str, function: LoadedFunction, settings: Settings
    ) -> MapScheduler:
        batch = self._metrics.batch_rows.labels(model=self.manifest.name, function=name)
        run = padded(function.run, function.padding)
        if name == GENERATE:
            of_rows = isinstance(self.manifest.data, TableData)
            run = (SeededTable if of_rows else SeededGenerator).of(run, self.manifest)
        return MapScheduler(
            f"{self.manifest.name}.{name}",
            run,
            max_rows=function.padding.largest or settings.batch_rows,
            max_queue_rows=settings.queue_rows,
            on_batch=batch.observe,
        )

    def _chain_scheduler(
        self, name: str, function: LoadedFunction, settings: Settings
    ) -> ChainScheduler:
        return ChainScheduler(
            f"{self.manifest.name}.{name}",
            function.run,
            function.spec,
            padding=function.padding,
            slots=function.padding.largest or settings.chain_slots,
            max_queue_rows=settings.queue_rows,
            on_tick=self._count_sweeps(name),
            iterate=function.iterate if function.resident else None,
        )

    def _count_sweeps(self, function: str) -> Callable[[int, int], None]:
        name = self.manifest.name
        sweeps = self._metrics.gibbs_sweeps.labels(model=name)
        batch = self._metrics.batch_rows.labels(model=name, function=function)

        def count(rows: int, ticks: int) -> None:
            sweeps.inc(rows * ticks)
            batch.observe(rows)

        return count

    def _chain_pool(self, rows: int) -> ChainPool | None:
        """Persistent particles, for a model that samples by a chain with a burn-in."""
        burn_in = self.manifest.defaults.burn_in
        if CHAIN not in self.chains or not burn_in or not rows:
            return None
        step = self.manifest.functions[CHAIN]
        fixed = free_of_clamps(self.manifest, rows)
        thinning = self.manifest.defaults.thinning or max(burn_in // DEFAULT_THINNING_SHARE, 1)
        return ChainPool(
            self.chains[CHAIN],
            start=self._start_chains,
            energy=self._energies if self.manifest.energy_function else None,
            parameters=feed_parameters(step, fixed),
            rows=rows,
            burn_in=burn_in,
            thinning=thinning,
            on_round=self._report_pool,
        )

    async def _start_chains(self, seed: int, rows: range, call: Call) -> Arrays:
        step = self.manifest.functions[CHAIN]
        name, start = self._companion(step.start)
        noise = draw_noise(start, seed=seed, rows=rows, stream=Stream.START)
        inputs = feed(start, free_of_clamps(self.manifest, len(rows)), noise)
        return started(step, start, await self.maps[name].submit(inputs, call))

    async def _energies(self, state: Arrays, call: Call) -> np.ndarray:
        name, spec = self._companion(self.manifest.energy_function)
        statistic = spec.output(Role.STATISTIC)
        assert statistic is not None, "an energy function gives a statistic"
        outputs = await self.maps[name].submit(feed(spec, {}, state), call)
        return outputs[statistic.name].reshape(-1)

    def _companion(self, name: str | None) -> tuple[str, FunctionSpec]:
        assert name is not None, "the contract checks companions"
        return name, self.manifest.functions[name]

    def _report_pool(self, pool: ChainPool) -> None:
        name = self.manifest.name
        self._metrics.chain_pool_rows.labels(model=name).set(pool.rows if pool.ready else 0)
        if not np.isnan(pool.split_rhat):
            self._metrics.chain_split_rhat.labels(model=name).set(pool.split_rhat)
            self._metrics.chain_ess.labels(model=name).set(pool.ess)


def free_of_clamps(manifest: Manifest, rows: int, *, beta: float = 1.0) -> ByRole:
    """What chains with nothing clamped are fed; of a conditional model, every label in turn."""
    assert isinstance(manifest.data, ImageData), "chains are of images"
    units = np.zeros((rows, *manifest.data.shape), np.uint8)
    classes = len(manifest.labels.names) if manifest.labels else 1
    return {
        Role.LABEL: np.arange(rows) % classes,
        Role.CLAMP_MASK: units,
        Role.CLAMP_VALUES: units,
        Role.BETA: np.full((rows, 1), beta, np.float32),
    }
