"""Annealed importance sampling of a deep Boltzmann machine, over its odd layers.

base-rate model (W = 0, log Z known) ──β: 0 → 1──► machine           forward: underestimates log Z
samples of the machine ──β: 1 → 0──► base-rate model                 reverse: overestimates log Z

p_β*(h¹, h³, …) = exp(β Σ_odd b^l·h^l) Π_even Π_i (1 + exp((1-β) b₀^l_i + β input^l_i)): the visible
units and all other even layers are summed out, as Salakhutdinov & Hinton (2009), §3.3, do it with v
and h² of two hidden layers. b₀ is the log-odds of the data's base rates for v, and 0 elsewhere.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from training.ais import LogZ, Progress, beta_schedule, summarise
from training.dbm import Dbm
from training.rbm import draw

Odd = dict[int, Tensor]


def ais(
    dbm: Dbm,
    *,
    base_bias: Float[Tensor, " visible"],
    runs: int,
    betas: int,
    generator: torch.Generator,
    progress: Progress | None = None,
) -> LogZ:
    """Forward AIS: E[exp(estimate)] is exact, so that the estimate itself is low on average.

    Args:
        dbm: the machine; its dtype is that of the chains, sums are float64.
        base_bias: b₀ of the visible units, log-odds of the base rates.
        runs: independent chains.
        betas: inverse temperatures, ends included.
        generator: of the chains' noise.
        progress: called with the number of temperatures done.
    """
    schedule = beta_schedule(betas).tolist()
    base = base_bias.to(dbm.b[0])
    half = dbm.b[0].new_tensor(0.5)
    odd = {
        layer: draw(half.expand(runs, dbm.sizes[layer]).contiguous(), generator)
        for layer in dbm.odd
    }
    log_w = torch.zeros(runs, dtype=torch.float64, device=base.device)
    for k in range(1, betas):
        x = {layer: dbm.input(layer, odd) for layer in dbm.even}
        log_w += _log_ratio(dbm, odd, x, base=base, low=schedule[k - 1], high=schedule[k])
        if k < betas - 1:
            odd = _transition(dbm, x, base=base, beta=schedule[k], generator=generator)
        if progress is not None:
            progress(k)
    return summarise(log_w, offset=_base_log_z(dbm, base), sign=1)


def reverse_ais(
    dbm: Dbm,
    odd: Odd,
    *,
    base_bias: Float[Tensor, " visible"],
    betas: int,
    generator: torch.Generator,
    progress: Progress | None = None,
) -> LogZ:
    """Reverse AIS from samples of the machine's odd layers: high on average, if they are exact.

    From samples of long chains it is an upper bound as far as these have mixed. Burda, Grosse &
    Salakhutdinov (2015).
    """
    schedule = beta_schedule(betas).tolist()
    base = base_bias.to(dbm.b[0])
    log_w = torch.zeros(len(odd[1]), dtype=torch.float64, device=base.device)
    x = {layer: dbm.input(layer, odd) for layer in dbm.even}
    for done, k in enumerate(range(betas - 1, 0, -1), start=1):
        odd = _transition(dbm, x, base=base, beta=schedule[k], generator=generator)
        x = {layer: dbm.input(layer, odd) for layer in dbm.even}
        log_w -= _log_ratio(dbm, odd, x, base=base, low=schedule[k - 1], high=schedule[k])
        if progress is not None:
            progress(done)
    return summarise(log_w, offset=_base_log_z(dbm, base), sign=-1)


def _base_log_z(dbm: Dbm, base: Float[Tensor, " visible"]) -> float:
    """log Z of the base: its hidden units are free, so each contributes log 2."""
    return float(softplus(base.double()).sum()) + sum(dbm.sizes[1:]) * math.log(2)


def _tempered(
    layer: int, x: Tensor, *, base: Float[Tensor, " visible"], beta: float
) -> Float[Tensor, "runs units"]:
    """(1 - β) b₀ + β·input, the log-odds of an even layer at β."""
    return (1 - beta) * base + beta * x if layer == 0 else beta * x


def _log_ratio(
    dbm: Dbm,
    odd: Odd,
    x: dict[int, Tensor],
    *,
    base: Float[Tensor, " visible"],
    low: float,
    high: float,
) -> Float[Tensor, " runs"]:
    """log p*_high - log p*_low of the odd layers, in float64; `x` are the even layers' inputs."""
    total = (high - low) * torch.stack([odd[layer] @ dbm.b[layer] for layer in dbm.odd]).sum(
        0
    ).double()
    for layer, y in x.items():
        # Summed as differences: each is small, where the two sums are large and nearly equal.
        upper = softplus(_tempered(layer, y, base=base, beta=high))
        lower = softplus(_tempered(layer, y, base=base, beta=low))
        total = total + (upper - lower).sum(1, dtype=torch.float64)
    return total


def _transition(
    dbm: Dbm,
    x: dict[int, Tensor],
    *,
    base: Float[Tensor, " visible"],
    beta: float,
    generator: torch.Generator,
) -> Odd:
    """One Gibbs sweep that leaves p_β invariant, from the even layers' inputs."""
    even = {
        layer: draw(torch.sigmoid(_tempered(layer, y, base=base, beta=beta)), generator)
        for layer, y in x.items()
    }
    return {
        layer: draw(torch.sigmoid(beta * dbm.input(layer, even)), generator) for layer in dbm.odd
    }
