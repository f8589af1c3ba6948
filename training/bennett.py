"""log Z by Bennett's acceptance ratio, rung by rung up a ladder of machines.

samples of rungs r and r + 1 ──► Δ_r = log Z_{r+1} / Z_r        log Z = log Z_0 (known) + Σ_r Δ_r

Bennett (1976), "Efficient estimation of free energy differences from Monte Carlo data": of all ways
to combine the two samples the one with the least variance. As a maximum likelihood estimate:
Shirts, Bair, Hooker & Pande (2003).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from training.rbm import Rbm
from training.replicas import Rungs, exchange_sweep

# Halvings of an interval of at most some thousand nats: down to 1e-12.
BISECTIONS = 60
JACKKNIFE_GROUPS = 25


@dataclass(frozen=True)
class LadderLogZ:
    """An estimate of the last rung's log Z, in nats.

    Attributes:
        value: the estimate.
        error: its standard error, by the jackknife over columns of chains, which never meet.
        acceptance: of the swaps between rungs r and r + 1; near 0 the ladder has a gap there, and
            `error` knows nothing of what lies beyond it.
    """

    value: float
    error: float
    acceptance: Float[Tensor, " pairs"]

    @property
    def low(self) -> float:
        """Three standard errors below."""
        return self.value - 3 * self.error

    @property
    def high(self) -> float:
        """Three standard errors above."""
        return self.value + 3 * self.error


@dataclass(frozen=True)
class Ratio:
    """log Z₁/Z₀ and its standard error for independent samples, in nats."""

    value: float
    error: float


def bennett(up: Float[Tensor, " n"], down: Float[Tensor, " m"]) -> Ratio:
    """log Z₁/Z₀ from independent samples of both.

    Args:
        up: log p*₁(x) / p*₀(x) at samples x of p₀.
        down: the same at samples of p₁.
    """
    up, down = up.double(), down.double()
    n, m = len(up), len(down)
    value = float(
        _solve(
            up[None], down[None], torch.ones(n, device=up.device), torch.ones(m, device=up.device)
        )
    )
    f = torch.sigmoid(torch.cat([up, down]) - value + math.log(m / n))
    variance = 1 / float((f * (1 - f)).sum()) - 1 / n - 1 / m
    return Ratio(value=value, error=math.sqrt(max(variance, 0.0)))


def ladder_log_z(
    rungs: Rungs,
    h: Float[Tensor, "rungs chains hidden"],
    *,
    base_log_z: float,
    sweeps: int,
    generator: torch.Generator,
    burn_in: int = 0,
    labels: int = 0,
) -> LadderLogZ:
    """log Z of the last rung, from chains that are in equilibrium with their rungs.

    Args:
        rungs: the machines; rung 0's log Z is known.
        h: states of the chains; not changed.
        base_log_z: log Z of rung 0.
        sweeps: ≥ 2; every second one swaps, and measures, the same pairs.
        generator: of all noise.
        burn_in: sweeps before the first that counts.
        labels: how many of the last visible units are label units.

    Raises:
        ValueError: fewer than 2 chains or sweeps.
    """
    chains = h.shape[1]
    if chains < 2 or sweeps < 2:
        raise ValueError(f"chains={chains} and sweeps={sweeps} must both be at least 2")
    ups: list[Tensor] = []
    downs: list[Tensor] = []
    for k in range(-burn_in, sweeps - sweeps % 2):
        swept = exchange_sweep(rungs, h, first=k % 2, generator=generator, labels=labels)
        h = swept.h
        if k < 0:
            continue
        ups.append(swept.up.double())
        downs.append(swept.down.double())
    # A pair is tried in every second sweep: (sweeps / 2, pairs, chains) without the NaNs.
    up, down = (_merged(torch.stack(seen)) for seen in (ups, downs))
    value, error = _summed(up, down)
    return LadderLogZ(
        value=base_log_z + value,
        error=error,
        acceptance=(up - down).clamp(max=0).exp().mean((0, 2)),
    )


def base_log_z(rbm: Rbm, *, labels: int = 0) -> float:
    """Exact log Z of a machine with W = 0: every unit is free, and one label is on."""
    pixels = len(rbm.b) - labels
    free = float(softplus(rbm.b[:pixels].double()).sum() + softplus(rbm.c.double()).sum())
    return free + (float(torch.logsumexp(rbm.b[pixels:].double(), 0)) if labels else 0.0)


def _merged(seen: Float[Tensor, "sweeps pairs chains"]) -> Float[Tensor, "half pairs chains"]:
    even, odd = seen[0::2], seen[1::2]
    return torch.where(even.isnan(), odd, even)


def _summed(
    up: Float[Tensor, "half pairs chains"], down: Float[Tensor, "half pairs chains"]
) -> tuple[float, float]:
    """Σ_r Δ_r and its standard error, leaving out groups of columns in turn."""
    half, pairs, chains = up.shape
    groups = min(chains, JACKKNIFE_GROUPS)
    group = torch.arange(chains, device=up.device) * groups // chains
    flat_up, flat_down = (x.permute(1, 0, 2).reshape(pairs, half * chains) for x in (up, down))

    def total(keep: Tensor) -> float:
        weights = keep.double().repeat(half)
        return float(_solve(flat_up, flat_down, weights, weights).sum())

    without = torch.tensor([total(group != g) for g in range(groups)], dtype=torch.float64)
    spread = (without - without.mean()).square().sum()
    whole = total(torch.ones_like(group))
    return whole, math.sqrt(float(spread) * (groups - 1) / groups)


def _solve(
    up: Float[Tensor, "pairs n"],
    down: Float[Tensor, "pairs m"],
    up_weights: Float[Tensor, " n"],
    down_weights: Float[Tensor, " m"],
) -> Float[Tensor, " pairs"]:
    """Δ with Σ_up σ(up - Δ + M) = Σ_down σ(Δ - M - down), M = log of the samples' sizes' ratio.

    The left side falls with Δ and the right one rises: bisection.
    """
    shift = math.log(float(down_weights.sum()) / float(up_weights.sum()))
    both = torch.cat([up, down], 1)
    low = both.amin(1) - abs(shift) - 50
    high = both.amax(1) + abs(shift) + 50
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        x = middle[:, None] - shift
        left = (torch.sigmoid(up - x) * up_weights).sum(1)
        right = (torch.sigmoid(x - down) * down_weights).sum(1)
        low = torch.where(left > right, middle, low)
        high = torch.where(left > right, high, middle)
    return (low + high) / 2
