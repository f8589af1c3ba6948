"""Annealed importance sampling of a Boltzmann machine with any connections.

independent units (W = 0, log Z known) ──β: 0 → 1──► machine         forward: underestimates log Z
samples of the machine ──β: 1 → 0──► independent units               reverse: overestimates log Z
mean-field of v ──β: 0 → 1──► p(h | v)                               log p(v), better than the bound

p_β*(x) = exp(β ½ xᵀWx + ((1-β) b₀ + β b)·x), with the last block of independent units summed out:
for a restricted machine that is Salakhutdinov & Murray (2008), §4, as `training.rbm_ais` has it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from training.ais import LogZ, Progress, forward, forward_log_weights, reverse
from training.bm import Bm, mean_field, unnormalised_bound
from training.bm_connections import Blocks, place, single_units
from training.bm_sampling import logistic_noise, sweep

# Mean-field probabilities are kept from the ends, so that their log-odds stay finite.
LEAST_PROBABILITY = 1e-4


def ais(
    bm: Bm,
    *,
    base_bias: Float[Tensor, " units"],
    runs: int,
    betas: int,
    blocks: Blocks,
    generator: torch.Generator,
    progress: Progress | None = None,
) -> LogZ:
    """Forward AIS, as `training.ais.forward` has it.

    Args:
        bm: the machine; its dtype is that of the chains, sums are float64.
        base_bias: b₀, log-odds of the independent units that chains begin with.
        runs: independent chains.
        betas: inverse temperatures, ends included.
        blocks: of units without links among them, in the order of a sweep.
        generator: of the chains' noise.
        progress: called with the number of temperatures done.
    """
    path = _Path(bm, base_bias.to(bm.b), blocks)
    return forward(path, runs=runs, betas=betas, generator=generator, progress=progress)


def reverse_ais(
    bm: Bm,
    x: Float[Tensor, "runs units"],
    *,
    base_bias: Float[Tensor, " units"],
    betas: int,
    blocks: Blocks,
    generator: torch.Generator,
    progress: Progress | None = None,
) -> LogZ:
    """Reverse AIS from samples `x` of the machine, as `training.ais.reverse` has it."""
    path = _Path(bm, base_bias.to(bm.b), blocks)
    return reverse(path, x, betas=betas, generator=generator, progress=progress)


def log_evidence(
    bm: Bm,
    v: Float[Tensor, "batch visible"],
    *,
    runs: int,
    betas: int,
    generator: torch.Generator,
) -> Float[Tensor, " batch"]:
    """log p(v) + log Z of each row by AIS from its mean-field to p(h | v), float64.

    On average low, and never below the variational bound on average; exact where the hidden units
    are free. The β rise evenly: the mean-field is near already.
    """
    x = mean_field(bm, v)
    if bm.hidden_are_free:
        return unnormalised_bound(bm, x).double()
    mu = x[:, bm.visible :].repeat_interleave(runs, 0)
    base = torch.logit(mu.clamp(LEAST_PROBABILITY, 1 - LEAST_PROBABILITY))
    hidden = bm.given(v.repeat_interleave(runs, 0))
    path = _Path(hidden, base, single_units(hidden.units))
    schedule = torch.linspace(0, 1, betas, dtype=torch.float64).tolist()
    log_w = forward_log_weights(path, len(base), schedule, generator=generator)
    each = softplus(base.double()).sum(1) + log_w  # every row has a base of its own
    mean = torch.logsumexp(each.reshape(len(v), runs), 1) - math.log(runs)
    return mean + bm.visible_part(v).double()


@dataclass(frozen=True)
class _Path:
    """The machines between independent units of log-odds `base` and `bm`."""

    bm: Bm
    base: Float[Tensor, "*rows units"]
    blocks: Blocks

    @property
    def base_log_z(self) -> float:
        return float(softplus(self.base.double()).sum())

    def begin(self, runs: int, generator: torch.Generator) -> Float[Tensor, "runs units"]:
        noise = logistic_noise(runs, self.bm.units, generator)
        return (noise < self.base).to(self.bm.W.dtype)

    def sweep(
        self, state: Float[Tensor, "runs units"], *, beta: float, generator: torch.Generator
    ) -> Float[Tensor, "runs units"]:
        tempered = Bm(W=beta * self.bm.W, b=(1 - beta) * self.base + beta * self.bm.b, visible=0)
        noise = logistic_noise(len(state), self.bm.units, generator)
        return sweep(tempered, state, noise, order=self.blocks)

    def log_ratio(
        self, state: Float[Tensor, "runs units"], *, low: float, high: float
    ) -> Float[Tensor, " runs"]:
        """Of the units outside the last block."""
        last = place(self.blocks[-1])
        log_odds = self.bm.input(state, last)
        rest = state.clone()
        rest[:, last] = 0
        tilt = (high - low) * (-self.bm.energy(rest) - (rest * self.base).sum(1)).double()
        start = self.base[..., last]
        # Summed as differences: each is small, where the two sums are large and nearly equal.
        upper = softplus((1 - high) * start + high * log_odds)
        lower = softplus((1 - low) * start + low * log_odds)
        return tilt + (upper - lower).sum(1, dtype=torch.float64)
