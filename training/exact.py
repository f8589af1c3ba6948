"""Small machines, exactly: every state is enumerated.

Rbm with ≤ 20 units in one layer ──► log Z, p(v), exact samples: what samplers, gradients and AIS
are tested against.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from training.rbm import Rbm

MOST_UNITS = 20


def binary_states(units: int) -> Float[Tensor, "states units"]:
    """All 2**units binary states, float64; row i is i in binary, the first unit the highest bit.

    Raises:
        ValueError: too many units to enumerate.
    """
    if not 0 < units <= MOST_UNITS:
        raise ValueError(f"units={units} must lie in 1…{MOST_UNITS} to be enumerated")
    index = torch.arange(2**units)
    powers = torch.arange(units - 1, -1, -1)
    return ((index[:, None] >> powers) & 1).double()


def state_index(states: Tensor) -> Tensor:
    """The row of each binary state in `binary_states`, int64."""
    powers = torch.arange(states.shape[1] - 1, -1, -1)
    return (states.long() << powers).sum(1)


def log_z(rbm: Rbm) -> float:
    """log Z = log Σ_v exp(-F(v)), or over h: the smaller layer is enumerated.

    Differentiable through `log_z_tensor`.
    """
    return float(log_z_tensor(rbm))


def log_z_tensor(rbm: Rbm) -> Float[Tensor, ""]:
    """`log_z` as a float64 scalar that autodiff can follow."""
    exact = rbm.to(torch.float64)
    visible, hidden = exact.W.shape
    if visible <= hidden:
        return torch.logsumexp(-exact.free_energy(binary_states(visible)), 0)
    return torch.logsumexp(-exact.hidden_free_energy(binary_states(hidden)), 0)


def visible_distribution(rbm: Rbm, *, beta: float = 1.0) -> Float[Tensor, " states"]:
    """p(v) ∝ exp(-F_β(v)) of every visible state at inverse temperature β, float64.

    β scales the energy, so F_β is the free energy of the machine with βW, βb, βc.
    """
    exact = rbm.to(torch.float64)
    scaled = Rbm(W=beta * exact.W, b=beta * exact.b, c=beta * exact.c)
    return torch.softmax(-scaled.free_energy(binary_states(len(rbm.b))), 0)


def hidden_distribution(rbm: Rbm, *, beta: float = 1.0) -> Float[Tensor, " states"]:
    """p(h) of every hidden state at inverse temperature β, float64."""
    return visible_distribution(Rbm(W=rbm.W.T, b=rbm.c, c=rbm.b), beta=beta)


def log_likelihood(rbm: Rbm, v: Float[Tensor, "batch visible"]) -> Float[Tensor, ""]:
    """Mean of log p(v), exact and differentiable, float64."""
    exact = rbm.to(torch.float64)
    return -exact.free_energy(v.double()).mean() - log_z_tensor(rbm)
