"""Boltzmann machines small enough to enumerate: log Z, p(x), p(h | v), exact statistics.

Bm with ≤ 20 units to enumerate ──► what samplers, gradients and AIS are tested against, and what
exact learning follows. Everything is float64 and differentiable.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from training.bm import Bm, mean_field, unnormalised_bound
from training.exact import MOST_UNITS, binary_states


@dataclass(frozen=True)
class Moments:
    """Means over a batch, or over a distribution, of states or of probabilities.

    Attributes:
        pairs: <x_i x_j>, symmetric; its diagonal is of no consequence.
        means: <x_i>.
    """

    pairs: Float[Tensor, "units units"]
    means: Float[Tensor, " units"]


def enumerable(bm: Bm) -> bool:
    """Whether `log_z` and exact learning are possible."""
    return (bm.visible if bm.hidden_are_free else bm.units) <= MOST_UNITS


def distribution(bm: Bm, *, beta: float = 1.0) -> Float[Tensor, " states"]:
    """p(x) ∝ exp(-β E(x)) of every state of all units, in the order of `binary_states`."""
    return torch.softmax(-beta * _double(bm).energy(_states(bm.units, bm)), 0)


def log_z(bm: Bm) -> Float[Tensor, ""]:
    """log Z = log Σ_x exp(-E(x)); free hidden units are summed out first.

    Raises:
        ValueError: more than 20 units to enumerate.
    """
    exact = _double(bm)
    if bm.visible and bm.hidden_are_free:
        return torch.logsumexp(log_evidence(exact, _states(bm.visible, bm)), 0)
    return torch.logsumexp(-exact.energy(_states(bm.units, bm)), 0)


def log_evidence(bm: Bm, v: Float[Tensor, "batch visible"]) -> Float[Tensor, " batch"]:
    """log p(v) + log Z = log Σ_h exp(-E(v, h)) of each row."""
    exact, rows = _double(bm), v.double()
    if bm.hidden_are_free:
        return unnormalised_bound(exact, mean_field(exact, rows))
    hidden = exact.given(rows)
    states = _states(hidden.units, bm)
    pairs = ((states @ hidden.W / 2) * states).sum(1)
    return exact.visible_part(rows) + torch.logsumexp(hidden.b @ states.T + pairs, 1)


def log_likelihood(bm: Bm, v: Float[Tensor, "batch visible"]) -> Float[Tensor, ""]:
    """Mean of log p(v)."""
    return log_evidence(bm, v).mean() - log_z(bm)


def data_moments(bm: Bm, v: Float[Tensor, "batch visible"]) -> Moments:
    """<x_i x_j> and <x_i> under the exact p(h | v) of a batch."""
    exact, rows = _double(bm), v.double()
    if bm.hidden_are_free:
        return moments(mean_field(exact, rows))
    hidden = exact.given(rows)
    h = _states(hidden.units, bm)
    pairs = ((h @ hidden.W / 2) * h).sum(1)
    p = torch.softmax(hidden.b @ h.T + pairs, 1)  # (batch, states)
    mean, total = p @ h, p.mean(0)
    across = rows.T @ mean / len(rows)
    upper = torch.cat([rows.T @ rows / len(rows), across], 1)
    lower = torch.cat([across.T, (total[:, None] * h).T @ h], 1)
    return Moments(pairs=torch.cat([upper, lower]), means=torch.cat([rows.mean(0), mean.mean(0)]))


def model_moments(bm: Bm) -> Moments:
    """<x_i x_j> and <x_i> under the machine itself."""
    exact = _double(bm)
    if bm.visible and bm.hidden_are_free:
        v = _states(bm.visible, bm)
        p = torch.softmax(log_evidence(exact, v), 0)
        x = mean_field(exact, v)
    else:
        x = _states(bm.units, bm)
        p = torch.softmax(-exact.energy(x), 0)
    return Moments(pairs=(p[:, None] * x).T @ x, means=p @ x)


def moments(x: Float[Tensor, "batch units"]) -> Moments:
    """The moments of a batch of states; of probabilities that are independent given the row."""
    return Moments(pairs=x.T @ x / len(x), means=x.mean(0))


def _double(bm: Bm) -> Bm:
    return bm.to(torch.float64)


def _states(units: int, bm: Bm) -> Float[Tensor, "states units"]:
    return binary_states(units).to(bm.W.device)
