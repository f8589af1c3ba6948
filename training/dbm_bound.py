"""Bounds on the log-likelihood of a deep Boltzmann machine, by way of mean-field.

mean-field μ ──independent layers──► E_q[-E] + H(q) ─────────────────────► bound
         └─draws of the odd layers──► even ones summed out, + H(q(odd)) ──► a bound that is tighter
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from training.dbm import Dbm, MeanField, binary_entropy, mean_field, unnormalised_bound
from training.rbm import draw


def mean_bound(
    dbm: Dbm, v: Float[Tensor, "n visible"], *, log_z: float, rule: MeanField, batch: int = 1000
) -> float:
    """Mean over binary images of the variational bound on log p(v), in nats."""
    parts = [
        unnormalised_bound(dbm, mean_field(dbm, rows, rule)).double()
        for rows in torch.split(v, batch)
    ]
    return float(torch.cat(parts).mean()) - log_z


def summed_bound(
    dbm: Dbm,
    v: Float[Tensor, "n visible"],
    *,
    log_z: float,
    rule: MeanField,
    draws: int,
    generator: torch.Generator,
    batch: int = 1000,
) -> float:
    """Mean over binary images of a bound on log p(v) that sums the even hidden layers out, in nats.

    E_q[log Σ_{h², h⁴, …} p(v, h)] + H(q) with q(h¹, h³, …) that of mean-field: never less than the
    bound of mean-field, which replaces the sum by independent q(h²). Of the expectation, what is
    not linear in the odd layers is a mean over draws, without bias; its own linear part, of which
    the mean is known, is taken out of the draws' noise.
    """
    total = 0.0
    for rows in torch.split(v, batch):
        mu = mean_field(dbm, rows, rule)
        q = {layer: mu[layer] for layer in dbm.odd}
        entropy = torch.stack([binary_entropy(mu[layer]).sum(1) for layer in dbm.odd]).sum(0)
        total += float((entropy + held(dbm, rows, q)).double().sum())
        at_mean = {layer: dbm.input(layer, q) for layer in dbm.even if layer > 0}
        for _ in range(draws):
            odd = {layer: draw(mu[layer], generator) for layer in dbm.odd}
            for layer, mean in at_mean.items():
                x = dbm.input(layer, odd)
                total += (
                    float((softplus(x) - torch.sigmoid(mean) * (x - mean)).double().sum()) / draws
                )
    return total / len(v) - log_z


def held(
    dbm: Dbm, v: Float[Tensor, "batch visible"], odd: dict[int, Tensor]
) -> Float[Tensor, " batch"]:
    """What the visible and the odd layers add to -E by themselves; linear in the odd ones."""
    biases = torch.stack([odd[layer] @ dbm.b[layer] for layer in dbm.odd]).sum(0)
    return v @ dbm.b[0] + ((v @ dbm.W[0]) * odd[1]).sum(1) + biases
