"""Annealed importance sampling: log Z of a machine that cannot be enumerated.

base-rate model (W = 0, log Z known) ──β: 0 → 1──► machine           forward: underestimates log Z
samples of the machine ──β: 1 → 0──► base-rate model                 reverse: overestimates log Z

p_β*(v) = exp((1-β) b₀·v + β b·v) Π_j (1 + exp(β (c + vW)_j)): Salakhutdinov & Murray (2008),
"On the quantitative analysis of deep belief networks", §4. Reverse runs: Burda, Grosse &
Salakhutdinov (2015), "Accurate and conservative estimates of MRF log-likelihood".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from training.rbm import Rbm, draw

Progress = Callable[[int], None]


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


def ais(
    rbm: Rbm,
    *,
    base_bias: Float[Tensor, " visible"],
    runs: int,
    betas: int,
    generator: torch.Generator,
    progress: Progress | None = None,
) -> LogZ:
    """Forward AIS: E[exp(estimate)] is exact, so that the estimate itself is low on average.

    Args:
        rbm: the machine; its dtype is that of the chains, sums are float64.
        base_bias: b₀, log-odds of the base-rate model.
        runs: independent chains.
        betas: inverse temperatures, ends included.
        generator: of the chains' noise.
        progress: called with the number of temperatures done.
    """
    schedule = beta_schedule(betas).tolist()
    base = base_bias.to(rbm.b)
    v = draw(torch.sigmoid(base).expand(runs, -1).contiguous(), generator)
    log_w = torch.zeros(runs, dtype=torch.float64, device=v.device)
    for k in range(1, betas):
        x = rbm.hidden_input(v)
        log_w += _log_ratio(rbm, v, x, base=base, low=schedule[k - 1], high=schedule[k])
        if k < betas - 1:
            v = _transition(rbm, x, base=base, beta=schedule[k], generator=generator)
        if progress is not None:
            progress(k)
    return summarise(log_w, offset=_base_log_z(rbm, base), sign=1)


def reverse_ais(
    rbm: Rbm,
    v: Float[Tensor, "runs visible"],
    *,
    base_bias: Float[Tensor, " visible"],
    betas: int,
    generator: torch.Generator,
    progress: Progress | None = None,
) -> LogZ:
    """Reverse AIS from samples `v` of the machine: high on average, if the samples are exact.

    From samples of long chains it is an upper bound as far as these have mixed.
    """
    schedule = beta_schedule(betas).tolist()
    base = base_bias.to(rbm.b)
    log_w = torch.zeros(len(v), dtype=torch.float64, device=v.device)
    for done, k in enumerate(range(betas - 1, 0, -1), start=1):
        x = rbm.hidden_input(v)
        v = _transition(rbm, x, base=base, beta=schedule[k], generator=generator)
        x = rbm.hidden_input(v)
        log_w -= _log_ratio(rbm, v, x, base=base, low=schedule[k - 1], high=schedule[k])
        if progress is not None:
            progress(done)
    return summarise(log_w, offset=_base_log_z(rbm, base), sign=-1)


def mean_log_probability(rbm: Rbm, v: Float[Tensor, "batch visible"], *, log_z: float) -> float:
    """Mean of log p(v) = -F(v) - log Z over a batch of binary images, in nats."""
    return -float(rbm.free_energy(v).double().mean()) - log_z


def _base_log_z(rbm: Rbm, base: Float[Tensor, " visible"]) -> float:
    """log Z of the base: its hidden units are free, so each contributes log 2."""
    return float(softplus(base.double()).sum()) + len(rbm.c) * math.log(2)


def _log_ratio(
    rbm: Rbm,
    v: Float[Tensor, "runs visible"],
    x: Float[Tensor, "runs hidden"],
    *,
    base: Float[Tensor, " visible"],
    low: float,
    high: float,
) -> Float[Tensor, " runs"]:
    """log p*_high(v) - log p*_low(v), in float64; `x` is c + vW."""
    tilt = (high - low) * (v @ (rbm.b - base)).double()
    # Summed as differences: each is small, where the two sums are large and nearly equal.
    return tilt + (softplus(high * x) - softplus(low * x)).sum(1, dtype=torch.float64)


def _transition(
    rbm: Rbm,
    x: Float[Tensor, "runs hidden"],
    *,
    base: Float[Tensor, " visible"],
    beta: float,
    generator: torch.Generator,
) -> Float[Tensor, "runs visible"]:
    """One Gibbs sweep that leaves p_β invariant, from the hidden log-odds `x` of the last v."""
    h = draw(torch.sigmoid(beta * x), generator)
    y = (1 - beta) * base + beta * rbm.visible_input(h)
    return draw(torch.sigmoid(y), generator)


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
