"""Run a model's Markov chain, or its latent optimisation: start → steps → readout.

(seed, rows) ──start──► states ──k × step──► states ──readout──► data
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.chains import ChainJob, ChainOutcome
from service.contract import FunctionSpec, Role
from service.domain.arrays import Arrays
from service.domain.feeding import ByRole, draw_noise, feed, feed_parameters, started
from service.domain.gibbs import effective_sample_size, split_rhat
from service.domain.randomness import Stream
from service.operations.context import Context
from service.queries import Diagnostics

MAX_TRACES = 32
SWEEPS_A_TRACE = 20
MAX_TRACED_CHAINS = 64


@dataclass(frozen=True, kw_only=True)
class Chains:
    """Which chains to run: their step function, noise keys, length and fixed inputs."""

    step: str
    seed: int
    rows: Sequence[int]
    sweeps: int
    fixed: ByRole
    traced: bool = False

    @property
    def trace_at(self) -> tuple[int, ...]:
        """Sweeps, evenly over the second half, after which states are kept for diagnostics."""
        count = min(MAX_TRACES, self.sweeps // SWEEPS_A_TRACE)
        if not self.traced or count < 4:
            return ()
        half = self.sweeps // 2
        return tuple(half + round(k * (self.sweeps - half) / count) for k in range(1, count + 1))


async def run_chains(context: Context, chains: Chains) -> ChainOutcome:
    """The chains' last states, and the traced ones."""
    step = context.spec(chains.step)
    state = await _start(context, step, chains)
    job = ChainJob(
        state=state,
        parameters=feed_parameters(step, chains.fixed),
        sweeps=chains.sweeps,
        seed=chains.seed,
        rows=tuple(chains.rows),
        trace_at=chains.trace_at,
    )
    return await context.model.chains[chains.step].submit(job, context.call)


async def read_out(
    context: Context, chains: Chains, state: Arrays, *, values: str = "mean"
) -> NDArray[Any]:
    """The data of each chain: its mean, or a 0/1 draw where the model can give one."""
    step = context.spec(chains.step)
    name = step.readout
    assert name is not None, "a step function names its readout"
    readout = context.spec(name)
    noise = draw_noise(readout, seed=chains.seed, rows=chains.rows, stream=Stream.READOUT)
    inputs = feed(readout, chains.fixed, state | noise)
    outputs = await context.model.maps[name].submit(inputs, context.call)
    data = [t.name for t in readout.outputs if t.role is Role.DATA]
    return outputs[values if values in data else data[0]]


async def diagnose(context: Context, chains: Chains, outcome: ChainOutcome) -> Diagnostics:
    """Split R-hat and effective sample size of the free energy over the traced sweeps."""
    name = context.manifest.energy_function
    traces = len(chains.trace_at)
    if name is None or not traces:
        return Diagnostics(sweeps=chains.sweeps)
    traced = min(len(chains.rows), MAX_TRACED_CHAINS)
    flat = {
        n: a[:, :traced].reshape(traces * traced, *a.shape[2:]) for n, a in outcome.traces.items()
    }
    spec = context.spec(name)
    statistic = spec.output(Role.STATISTIC)
    assert statistic is not None, "an energy function gives a statistic"
    outputs = await context.model.maps[name].submit(feed(spec, {}, flat), context.call)
    energies = outputs[statistic.name].reshape(traces, traced).T
    rhat, ess = split_rhat(energies), effective_sample_size(energies)
    context.metrics.chain_split_rhat.labels(model=context.manifest.name).set(rhat)
    context.metrics.chain_ess.labels(model=context.manifest.name).set(ess)
    return Diagnostics(sweeps=chains.sweeps, split_rhat=known(rhat), ess=known(ess))


async def _start(context: Context, step: FunctionSpec, chains: Chains) -> Arrays:
    """The first states, by the step function's names."""
    name = step.start
    assert name is not None, "a step function names its start"
    start = context.spec(name)
    noise = draw_noise(start, seed=chains.seed, rows=chains.rows, stream=Stream.START)
    inputs = feed(start, chains.fixed, noise)
    outputs = await context.model.maps[name].submit(inputs, context.call)
    return started(step, start, outputs)


def known(value: float) -> float | None:
    """None for what is not a number, as JSON has it."""
    return None if np.isnan(value) else value
