"""Annealed importance sampling of a deep belief network's top machine, labels and all.

base-rate model (W = 0, log Z known) ──β: 0 → 1──► top machine       forward: underestimates log Z
samples of the machine ──β: 1 → 0──► base-rate model                 reverse: overestimates log Z

p_β*(h, y) = exp((1-β) b₀·h + β (b·h + d_y)) Π_j (1 + exp(β input_j)), with h^L summed out and one
label unit on. Salakhutdinov & Murray (2008), §4 and §5.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from training.ais import LogZ, Progress, beta_schedule, summarise
from training.label_units import draw_visible
from training.rbm import Rbm, draw


def ais(
    rbm: Rbm,
    *,
    labels: int,
    base_bias: Float[Tensor, " units"],
    runs: int,
    betas: int,
    generator: torch.Generator,
    progress: Progress | None = None,
) -> LogZ:
    """Forward AIS: E[exp(estimate)] is exact, so that the estimate itself is low on average.

    Args:
        rbm: the top machine; its last `labels` visible units are a softmax group.
        labels: how many label units it has; 0 for none.
        base_bias: b₀ of the other visible units; the base's labels are equally likely.
        runs: independent chains.
        betas: inverse temperatures, ends included.
        generator: of the chains' noise.
        progress: called with the number of temperatures done.
    """
    schedule = beta_schedule(betas).tolist()
    base = _padded(base_bias.to(rbm.b), labels)
    x = draw_visible(base.expand(runs, -1), labels=labels, generator=generator)
    log_w = torch.zeros(runs, dtype=torch.float64, device=x.device)
    for k in range(1, betas):
        up = rbm.hidden_input(x)
        log_w += _log_ratio(rbm, x, up, base=base, low=schedule[k - 1], high=schedule[k])
        if k < betas - 1:
            x = _transition(rbm, up, labels, base=base, beta=schedule[k], generator=generator)
        if progress is not None:
            progress(k)
    return summarise(log_w, offset=_base_log_z(rbm, base, labels), sign=1)


def reverse_ais(
    rbm: Rbm,
    x: Float[Tensor, "runs visible"],
    *,
    labels: int,
    base_bias: Float[Tensor, " units"],
    betas: int,
    generator: torch.Generator,
    progress: Progress | None = None,
) -> LogZ:
    """Reverse AIS from samples `x` = [h, y] of the machine: high on average, if they are exact."""
    schedule = beta_schedule(betas).tolist()
    base = _padded(base_bias.to(rbm.b), labels)
    log_w = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    up = rbm.hidden_input(x)
    for done, k in enumerate(range(betas - 1, 0, -1), start=1):
        x = _transition(rbm, up, labels, base=base, beta=schedule[k], generator=generator)
        up = rbm.hidden_input(x)
        log_w -= _log_ratio(rbm, x, up, base=base, low=schedule[k - 1], high=schedule[k])
        if progress is not None:
            progress(done)
    return summarise(log_w, offset=_base_log_z(rbm, base, labels), sign=-1)


def _padded(base: Float[Tensor, " units"], labels: int) -> Float[Tensor, " visible"]:
    return torch.cat([base, base.new_zeros(labels)])


def _base_log_z(rbm: Rbm, base: Float[Tensor, " visible"], labels: int) -> float:
    """log Z of the base: free hidden units, independent visible ones, one label of `labels`."""
    units = base[: len(base) - labels].double()
    free = float(softplus(units).sum()) + len(rbm.c) * math.log(2)
    return free + (math.log(labels) if labels else 0.0)


def _log_ratio(
    rbm: Rbm,
    x: Float[Tensor, "runs visible"],
    up: Float[Tensor, "runs hidden"],
    *,
    base: Float[Tensor, " visible"],
    low: float,
    high: float,
) -> Float[Tensor, " runs"]:
    """log p*_high - log p*_low, in float64; `up` is c + xW."""
    tilt = (high - low) * (x @ (rbm.b - base)).double()
    # Summed as differences: each is small, where the two sums are large and nearly equal.
    return tilt + (softplus(high * up) - softplus(low * up)).sum(1, dtype=torch.float64)


def _transition(
    rbm: Rbm,
    up: Float[Tensor, "runs hidden"],
    labels: int,
    *,
    base: Float[Tensor, " visible"],
    beta: float,
    generator: torch.Generator,
) -> Float[Tensor, "runs visible"]:
    """One Gibbs sweep that leaves p_β invariant, from the hidden log-odds of the last state."""
    h = draw(torch.sigmoid(beta * up), generator)
    down = (1 - beta) * base + beta * rbm.visible_input(h)
    return draw_visible(down, labels=labels, generator=generator)
