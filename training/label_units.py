"""Label units: the last visible units of a restricted machine, of which exactly one is on.

[v, y] ──σ(c + [v, y]W)──► h ──► v by σ, y by softmax          p(v, y) = exp(-F([v, y])) / Z

Hinton, Osindero & Teh (2006), §6; Larochelle & Bengio (2008). With no label units a machine is an
ordinary one.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import one_hot, softplus

from training.rbm import Rbm, draw


def draw_visible(
    log_odds: Float[Tensor, "rows visible"], *, labels: int, generator: torch.Generator
) -> Float[Tensor, "rows visible"]:
    """0/1 draws of the visible units; of the last `labels`, one, by the softmax."""
    if not labels:
        return draw(torch.sigmoid(log_odds), generator)
    v = draw(torch.sigmoid(log_odds[:, :-labels]), generator)
    # argmax of log-odds + Gumbel noise is a draw from their softmax.
    u = torch.rand((len(log_odds), labels), generator=generator, device=log_odds.device)
    gumbel = -torch.log(-torch.log(u.clamp(1e-12, 1 - 1e-7)))
    y = (log_odds[:, -labels:] + gumbel).argmax(1)
    return torch.cat([v, one_hot(y, labels).to(v.dtype)], 1)


def with_label(
    v: Float[Tensor, "rows units"], y: Int64[Tensor, " rows"], *, labels: int
) -> Float[Tensor, "rows visible"]:
    """[v, y] with y one-hot."""
    return torch.cat([v, one_hot(y, labels).to(v.dtype)], 1) if labels else v


def free_energies(
    rbm: Rbm, v: Float[Tensor, "rows units"], *, labels: int
) -> Float[Tensor, "rows labels"]:
    """F([v, y]) of every label y; of v alone, in one column, where there are none."""
    if not labels:
        return rbm.free_energy(v)[:, None]
    units = v.shape[1]
    below = rbm.c + v @ rbm.W[:units]
    columns = [
        -(v @ rbm.b[:units]) - rbm.b[units + y] - softplus(below + rbm.W[units + y]).sum(1)
        for y in range(labels)
    ]
    return torch.stack(columns, 1)


def log_evidence(
    rbm: Rbm, v: Float[Tensor, "rows units"], *, labels: int
) -> Float[Tensor, " rows"]:
    """log p(v) + log Z = log Σ_y exp(-F([v, y]))."""
    return torch.logsumexp(-free_energies(rbm, v, labels=labels), 1)


def label_probabilities(
    rbm: Rbm, v: Float[Tensor, "rows units"], *, labels: int
) -> Float[Tensor, "rows labels"]:
    """p(y | v), exact."""
    return torch.softmax(-free_energies(rbm, v, labels=labels), 1)
