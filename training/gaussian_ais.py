"""Annealed importance sampling of a machine with Gaussian visible units.

Gaussian of the data's means and variances ──β: 0 → 1──► machine    forward: underestimates log Z
samples of the machine ──β: 1 → 0──► the Gaussian                   reverse: overestimates log Z

p_β*(v) = exp(-(1-β) Σ (v - m)²/2s² - β Σ (v - b)²/2σ²) Π_j (1 + exp(β input_j)): the path of
Salakhutdinov & Murray (2008), §4, for real-valued units; given h, v is still Gaussian.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from training.ais import LogZ, Progress, beta_schedule, summarise
from training.gaussian import GaussianRbm, normal
from training.rbm import draw


@dataclass(frozen=True)
class Base:
    """Independent Gaussians, where the annealing begins.

    Attributes:
        mean, variance: m and s².
    """

    mean: Float[Tensor, " visible"]
    variance: Float[Tensor, " visible"]

    @classmethod
    def of(cls, v: Float[Tensor, "n visible"]) -> Base:
        """The data's own."""
        return cls(mean=v.mean(0), variance=v.var(0).clamp_min(1e-6))

    def energy(self, v: Float[Tensor, "runs visible"]) -> Float[Tensor, " runs"]:
        """Σ (v - m)² / 2s²."""
        return ((v - self.mean).square() / (2 * self.variance)).sum(1)

    def log_z(self, hidden: int) -> float:
        """½ Σ log 2πs², and log 2 for each hidden unit, which is free."""
        volume = 0.5 * float((2 * math.pi * self.variance.double()).log().sum())
        return volume + hidden * math.log(2)


def ais(
    machine: GaussianRbm,
    *,
    base: Base,
    runs: int,
    betas: int,
    generator: torch.Generator,
    progress: Progress | None = None,
) -> LogZ:
    """Forward AIS: E[exp(estimate)] is exact, so that the estimate itself is low on average.

    Args:
        machine: its dtype is that of the chains, sums are float64.
        base: where the annealing begins.
        runs: independent chains.
        betas: inverse temperatures, ends included.
        generator: of the chains' noise.
        progress: called with the number of temperatures done.
    """
    schedule = beta_schedule(betas).tolist()
    v = normal(base.mean.expand(runs, -1), base.variance, generator)
    log_w = torch.zeros(runs, dtype=torch.float64, device=v.device)
    for k in range(1, betas):
        x = machine.hidden_input(v)
        log_w += _log_ratio(machine, base, v, x, low=schedule[k - 1], high=schedule[k])
        if k < betas - 1:
            v = _transition(machine, base, x, beta=schedule[k], generator=generator)
        if progress is not None:
            progress(k)
    return summarise(log_w, offset=base.log_z(len(machine.c)), sign=1)


def reverse_ais(
    machine: GaussianRbm,
    v: Float[Tensor, "runs visible"],
    *,
    base: Base,
    betas: int,
    generator: torch.Generator,
    progress: Progress | None = None,
) -> LogZ:
    """Reverse AIS from samples `v` of the machine: high on average, if the samples are exact."""
    schedule = beta_schedule(betas).tolist()
    log_w = torch.zeros(len(v), dtype=torch.float64, device=v.device)
    for done, k in enumerate(range(betas - 1, 0, -1), start=1):
        x = machine.hidden_input(v)
        v = _transition(machine, base, x, beta=schedule[k], generator=generator)
        x = machine.hidden_input(v)
        log_w -= _log_ratio(machine, base, v, x, low=schedule[k - 1], high=schedule[k])
        if progress is not None:
            progress(done)
    return summarise(log_w, offset=base.log_z(len(machine.c)), sign=-1)


def _log_ratio(
    machine: GaussianRbm,
    base: Base,
    v: Float[Tensor, "runs visible"],
    x: Float[Tensor, "runs hidden"],
    *,
    low: float,
    high: float,
) -> Float[Tensor, " runs"]:
    """log p*_high(v) - log p*_low(v), in float64; `x` is the hidden log-odds."""
    bowl = ((v - machine.b).square() / (2 * machine.variance)).sum(1)
    tilt = (high - low) * (base.energy(v) - bowl).double()
    return tilt + (softplus(high * x) - softplus(low * x)).sum(1, dtype=torch.float64)


def _transition(
    machine: GaussianRbm,
    base: Base,
    x: Float[Tensor, "runs hidden"],
    *,
    beta: float,
    generator: torch.Generator,
) -> Float[Tensor, "runs visible"]:
    """One Gibbs sweep that leaves p_β invariant, from the hidden log-odds `x` of the last v."""
    h = draw(torch.sigmoid(beta * x), generator)
    outer, inner = (1 - beta) / base.variance, beta / machine.variance
    variance = 1 / (outer + inner)
    mean = variance * (outer * base.mean + inner * machine.visible_mean(h))
    return normal(mean, variance, generator)
