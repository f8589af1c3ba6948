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

from training.ais import LogZ, Progress, forward, reverse
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
    """Forward AIS from `base`, as `training.ais.forward` has it."""
    path = _Path(machine, base)
    return forward(path, runs=runs, betas=betas, generator=generator, progress=progress)


def reverse_ais(
    machine: GaussianRbm,
    v: Float[Tensor, "runs visible"],
    *,
    base: Base,
    betas: int,
    generator: torch.Generator,
    progress: Progress | None = None,
) -> LogZ:
    """Reverse AIS from samples `v` of the machine, as `training.ais.reverse` has it."""
    path = _Path(machine, base)
    return reverse(path, path.at(v), betas=betas, generator=generator, progress=progress)


@dataclass(frozen=True)
class _State:
    """Visible units and the hidden log-odds."""

    v: Float[Tensor, "runs visible"]
    x: Float[Tensor, "runs hidden"]


@dataclass(frozen=True)
class _Path:
    machine: GaussianRbm
    base: Base

    @property
    def base_log_z(self) -> float:
        return self.base.log_z(len(self.machine.c))

    def at(self, v: Float[Tensor, "runs visible"]) -> _State:
        return _State(v, self.machine.hidden_input(v))

    def begin(self, runs: int, generator: torch.Generator) -> _State:
        return self.at(normal(self.base.mean.expand(runs, -1), self.base.variance, generator))

    def sweep(self, state: _State, *, beta: float, generator: torch.Generator) -> _State:
        machine, base = self.machine, self.base
        h = draw(torch.sigmoid(beta * state.x), generator)
        outer, inner = (1 - beta) / base.variance, beta / machine.variance
        variance = 1 / (outer + inner)
        mean = variance * (outer * base.mean + inner * machine.visible_mean(h))
        return self.at(normal(mean, variance, generator))

    def log_ratio(self, state: _State, *, low: float, high: float) -> Float[Tensor, " runs"]:
        machine = self.machine
        bowl = ((state.v - machine.b).square() / (2 * machine.variance)).sum(1)
        tilt = (high - low) * (self.base.energy(state.v) - bowl).double()
        summed_out = softplus(high * state.x) - softplus(low * state.x)
        return tilt + summed_out.sum(1, dtype=torch.float64)
