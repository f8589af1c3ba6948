"""Annealed importance sampling: log Z of a machine that cannot be enumerated.

base (log Z known) ──β: 0 → 1──► machine                             forward: underestimates log Z
samples of the machine ──β: 1 → 0──► base                            reverse: overestimates log Z

Each family of machines gives its `Path`: rbm_ais.py, dbm_ais.py, bm_ais.py, gaussian_ais.py.
Salakhutdinov & Murray (2008), "On the quantitative analysis of deep belief networks", §4. Reverse
runs: Burda, Grosse & Salakhutdinov (2015), "Accurate and conservative estimates of MRF
log-likelihood".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

Progress = Callable[[int], None]
State = TypeVar("State")


@dataclass(frozen=True)
class LogZ:
    """An estimate of log Z in nats.

    Attributes:
        value: log of the mean importance weight, plus the base's log Z.
        low, high: log Z at mean weight -/+ 3 standard errors; `low` is -inf where that is ≤ 0.
        log_weights: float64 [runs], of the direction that was run.
    """

    value: float
    low: float
    high: float
    log_weights: Float[Tensor, " runs"] = field(repr=False)


@runtime_checkable  # the tests check the types of arguments
class Path(Protocol[State]):
    """The machines between a base at β = 0, which is sampled exactly, and one at β = 1.

    A state is that of all chains, a row each, with what of it both `sweep` and `log_ratio` need.
    """

    @property
    def base_log_z(self) -> float:
        """log Z of the base, in nats."""

    def begin(self, runs: int, generator: torch.Generator) -> State:
        """Independent samples of the base."""

    def sweep(self, state: State, *, beta: float, generator: torch.Generator) -> State:
        """One Gibbs sweep that leaves p_β invariant."""

    def log_ratio(self, state: State, *, low: float, high: float) -> Float[Tensor, " runs"]:
        """log p*_high - log p*_low of the state, in float64."""


def forward(
    path: Path[State],
    *,
    runs: int,
    betas: int,
    generator: torch.Generator,
    progress: Progress | None = None,
) -> LogZ:
    """Forward AIS: E[exp(estimate)] is exact, so that the estimate itself is low on average.

    Args:
        path: to the machine; its dtype is that of the chains, sums are float64.
        runs: independent chains.
        betas: inverse temperatures, ends included.
        generator: of the chains' noise.
        progress: called with the number of temperatures done.
    """
    schedule = beta_schedule(betas).tolist()
    log_w = forward_log_weights(path, runs, schedule, generator=generator, progress=progress)
    return summarise(log_w, offset=path.base_log_z, sign=1)


def reverse(
    path: Path[State],
    state: State,
    *,
    betas: int,
    generator: torch.Generator,
    progress: Progress | None = None,
) -> LogZ:
    """Reverse AIS from samples of the machine: high on average, if the samples are exact.

    From samples of long chains it is an upper bound as far as these have mixed.
    """
    schedule = beta_schedule(betas).tolist()
    log_w = torch.zeros((), dtype=torch.float64, device=generator.device)
    for done, k in enumerate(range(betas - 1, 0, -1), start=1):
        state = path.sweep(state, beta=schedule[k], generator=generator)
        log_w = log_w - path.log_ratio(state, low=schedule[k - 1], high=schedule[k])
        if progress is not None:
            progress(done)
    return summarise(log_w, offset=path.base_log_z, sign=-1)


def forward_log_weights(
    path: Path[State],
    runs: int,
    schedule: Sequence[float],
    *,
    generator: torch.Generator,
    progress: Progress | None = None,
) -> Float[Tensor, " runs"]:
    """log of the importance weights of `runs` chains that climb the inverse temperatures."""
    state = path.begin(runs, generator)
    log_w = torch.zeros(runs, dtype=torch.float64, device=generator.device)
    for k in range(1, len(schedule)):
        log_w = log_w + path.log_ratio(state, low=schedule[k - 1], high=schedule[k])
        if k < len(schedule) - 1:
            state = path.sweep(state, beta=schedule[k], generator=generator)
        if progress is not None:
            progress(k)
    return log_w


def beta_schedule(n: int) -> Float[Tensor, " n"]:
    """`n` inverse temperatures from 0 to 1, denser towards 1, float64.

    0…0.5, 0.5…0.9 and 0.9…1 get 1/29, 8/29 and 20/29 of them: Salakhutdinov & Murray (2008), §5.
    """
    if n < 2:
        raise ValueError(f"betas={n} must be at least 2")
    position = torch.linspace(0, 1, n, dtype=torch.float64)
    knots = ((0.0, 0.0), (1 / 29, 0.5), (9 / 29, 0.9), (1.0, 1.0))
    betas = torch.zeros_like(position)
    for (x0, y0), (x1, y1) in pairwise(knots):
        inside = (position >= x0) & (position <= x1)
        betas[inside] = y0 + (position[inside] - x0) * (y1 - y0) / (x1 - x0)
    betas[-1] = 1.0
    return betas


def summarise(log_w: Float[Tensor, " runs"], *, offset: float, sign: int) -> LogZ:
    """Mean weight and its 3σ interval in log space; `sign` -1 for weights of 1/Z.

    `offset` is log Z of the model that is annealed from.
    """
    top = log_w.max()
    w = (log_w - top).exp()
    mean = w.mean()
    error = 3 * w.std() / math.sqrt(len(w)) if len(w) > 1 else torch.tensor(math.inf)

    def log_of(value: Tensor) -> float:
        return float(top + value.log()) if float(value) > 0 else -math.inf

    ends = sorted(offset + sign * log_of(m) for m in (mean - error, mean + error))
    return LogZ(value=offset + sign * log_of(mean), low=ends[0], high=ends[1], log_weights=log_w)
