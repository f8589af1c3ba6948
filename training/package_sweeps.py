"""Run the chains of any package by the roles of its tensors, as the service does, but without it.

seed ──start──► states ──sweep × k──► states ──readout──► images     (clamps hold what is known)

The noise is keyed by (seed, row, step) exactly as in the service: the same seed gives the same
images there. It works for chains of one state or several, with noise of integers or logistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from service.contract import FunctionSpec, Role
from service.domain.arrays import Arrays
from service.domain.feeding import ByRole, cut_noise, draw_noise, feed, started
from service.domain.randomness import RowNoise, Stream
from training.package import Package

SWEEPS_A_DRAW = 64

Array = np.ndarray[Any, Any]


def sample(
    package: Package,
    *,
    n: int,
    seed: int,
    sweeps: Sequence[int],
    fixed: ByRole | None = None,
    rows: Sequence[int] | None = None,
) -> list[Float[np.ndarray, "n C H W"]]:
    """Fresh chains: their mean images after each of the rising numbers of `sweeps`.

    `fixed` may hold more of the step function's inputs, by role; `rows` are as in `run_chains`.
    """
    clamped = (Role.CLAMP_MASK, Role.CLAMP_VALUES)
    step = package.manifest.functions["sweep"]
    free = {t.role: np.zeros((n, t.row_size), bool) for t in step.inputs if t.role in clamped}
    held = free | dict(fixed or {})
    return run_chains(package, held, n=n, seed=seed, sweeps=sweeps, rows=rows)


def inpaint(
    package: Package,
    images: Float[np.ndarray, "n C H W"],
    hole: Bool[np.ndarray, "C H W"],
    *,
    seed: int,
    sweeps: int,
    rows: Sequence[int] | None = None,
) -> Float[np.ndarray, "n C H W"]:
    """Fill `hole` by clamped sweeps; the known pixels come back as they were.

    Known grey pixels are held at 1 where they are at least ½, else at 0. `rows` are as in
    `run_chains`.
    """
    values = images.reshape(len(images), -1)
    known = np.broadcast_to(~hole.reshape(1, -1), values.shape)
    clamps = {Role.CLAMP_MASK: known, Role.CLAMP_VALUES: values >= 0.5}
    (filled,) = run_chains(package, clamps, n=len(images), seed=seed, sweeps=[sweeps], rows=rows)
    merged: Float[np.ndarray, "n C H W"] = np.where(hole, filled, images)
    return merged


def run_chains(
    package: Package,
    fixed: ByRole,
    *,
    n: int,
    seed: int,
    sweeps: Sequence[int],
    rows: Sequence[int] | None = None,
) -> list[Float[np.ndarray, "n C H W"]]:
    """The mean images of `n` chains after each of the rising numbers of `sweeps`, at β = 1.

    `rows` are the chains' noise keys: 0 … n − 1 if left out; image · 2³² + filling where the
    service fills holes.
    """
    keys = range(n) if rows is None else rows
    by_role = {Role.BETA: np.ones((n, 1), np.float32)} | dict(fixed)
    step = package.manifest.functions["sweep"]
    state = _started(package, step, by_role, rows=keys, seed=seed)
    width = _noise_width(step)
    streams = [RowNoise(seed=seed, row=i, stream=Stream.SWEEP, width=width) for i in keys]
    means, done = [], 0
    for count in sweeps:
        while done < count:
            steps = min(SWEEPS_A_DRAW, count - done)
            for integers in np.stack([stream.take(steps) for stream in streams], axis=1):
                fed = feed(step, by_role, state | cut_noise(step, integers))
                made = package.run("sweep", **fed)
                state = {old.name: made[new.name] for old, new in step.state_pairs}
            done += steps
        means.append(_mean(package, step, by_role, state, rows=keys, seed=seed))
    return means


def _started(
    package: Package, step: FunctionSpec, by_role: ByRole, *, rows: Sequence[int], seed: int
) -> Arrays:
    name = step.start
    assert name is not None, "a step function names its start"
    start = package.manifest.functions[name]
    noise = draw_noise(start, seed=seed, rows=rows, stream=Stream.START)
    return started(step, start, package.run(name, **feed(start, by_role, noise)))


def _mean(
    package: Package,
    step: FunctionSpec,
    by_role: ByRole,
    state: Arrays,
    *,
    rows: Sequence[int],
    seed: int,
) -> Array:
    name = step.readout
    assert name is not None, "a step function names its readout"
    readout = package.manifest.functions[name]
    noise = draw_noise(readout, seed=seed, rows=rows, stream=Stream.READOUT)
    mean: Array = package.run(name, **feed(readout, by_role, state | noise))["mean"]
    return mean


def _noise_width(spec: FunctionSpec) -> int:
    return sum(t.row_size for t in spec.noises)
