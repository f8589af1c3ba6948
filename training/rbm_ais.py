"""Annealed importance sampling of a restricted machine, with label units or without.

base-rate model (W = 0, log Z known) ──β: 0 → 1──► machine           forward: underestimates log Z
samples of the machine ──β: 1 → 0──► base-rate model                 reverse: overestimates log Z

p_β*(v, y) = exp((1-β) b₀·v + β (b·v + d_y)) Π_j (1 + exp(β input_j)), with h summed out and one
label unit on. Salakhutdinov & Murray (2008), §4 and §5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from training.ais import LogZ, Progress, forward, reverse
from training.label_units import draw_visible
from training.rbm import Rbm, draw


def ais(
    rbm: Rbm,
    *,
    base_bias: Float[Tensor, " units"],
    runs: int,
    betas: int,
    generator: torch.Generator,
    labels: int = 0,
    progress: Progress | None = None,
) -> LogZ:
    """Forward AIS, as `training.ais.forward` has it.

    Args:
        rbm: the machine; its last `labels` visible units are a softmax group.
        base_bias: b₀ of the other visible units, log-odds; the base's labels are equally likely.
        runs: independent chains.
        betas: inverse temperatures, ends included.
        generator: of the chains' noise.
        labels: how many label units it has; 0 for none.
        progress: called with the number of temperatures done.
    """
    path = _Path.of(rbm, base_bias, labels)
    return forward(path, runs=runs, betas=betas, generator=generator, progress=progress)


def reverse_ais(
    rbm: Rbm,
    v: Float[Tensor, "runs visible"],
    *,
    base_bias: Float[Tensor, " units"],
    betas: int,
    generator: torch.Generator,
    labels: int = 0,
    progress: Progress | None = None,
) -> LogZ:
    """Reverse AIS from samples `v` of the machine, their label units included."""
    path = _Path.of(rbm, base_bias, labels)
    return reverse(path, path.at(v), betas=betas, generator=generator, progress=progress)


@dataclass(frozen=True)
class _State:
    """Visible units and c + vW."""

    v: Float[Tensor, "runs visible"]
    x: Float[Tensor, "runs hidden"]


@dataclass(frozen=True)
class _Path:
    rbm: Rbm
    base: Float[Tensor, " visible"]
    labels: int

    @classmethod
    def of(cls, rbm: Rbm, base_bias: Float[Tensor, " units"], labels: int) -> _Path:
        base = base_bias.to(rbm.b)
        return cls(rbm, torch.cat([base, base.new_zeros(labels)]), labels)

    @property
    def base_log_z(self) -> float:
        """Hidden units are free, visible ones independent, one label of `labels` is on."""
        units = self.base[: len(self.base) - self.labels].double()
        free = float(softplus(units).sum()) + len(self.rbm.c) * math.log(2)
        return free + (math.log(self.labels) if self.labels else 0.0)

    def at(self, v: Float[Tensor, "runs visible"]) -> _State:
        return _State(v, self.rbm.hidden_input(v))

    def begin(self, runs: int, generator: torch.Generator) -> _State:
        log_odds = self.base.expand(runs, -1)
        return self.at(draw_visible(log_odds, labels=self.labels, generator=generator))

    def sweep(self, state: _State, *, beta: float, generator: torch.Generator) -> _State:
        h = draw(torch.sigmoid(beta * state.x), generator)
        log_odds = (1 - beta) * self.base + beta * self.rbm.visible_input(h)
        return self.at(draw_visible(log_odds, labels=self.labels, generator=generator))

    def log_ratio(self, state: _State, *, low: float, high: float) -> Float[Tensor, " runs"]:
        tilt = (high - low) * (state.v @ (self.rbm.b - self.base)).double()
        # Summed as differences: each is small, where the two sums are large and nearly equal.
        summed_out = softplus(high * state.x) - softplus(low * state.x)
        return tilt + summed_out.sum(1, dtype=torch.float64)
