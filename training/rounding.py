"""Weights rounded together, so that the machine stays the one it was: not each to the nearest step.

W, moments of both layers ──nearest plane──► whole numbers;  their errors × means ──► biases

Rounding adds u = Σ εᵢⱼ vᵢhⱼ to a machine's negative energy; the KL divergence between the machines
is then ½ Var(u), to second order. With biases that take up what ε adds on average, u is Σ εᵢⱼ ṽᵢh̃ⱼ
of centred units, and where the layers' covariances factorise its variance is tr(εᵀ C_v ε C_h): a
squared length, of which Babai's nearest plane (1986) finds a short one. GPTQ (Frantar et al. 2023)
is the same with one side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from training.rbm import Rbm

# Moments from this many rows know a covariance of 784 pixels well.
MOST_ROWS = 20_000
# Of the mean variance, added to each: units that never change may be rounded as they come.
DAMPING = 0.01
SEED = 784

Matrix = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of a layer's 0/1 units, in float64."""

    mean: Float[np.ndarray, " units"]
    covariance: Float[np.ndarray, "units units"]

    @classmethod
    def of(cls, p: Float[Tensor, "rows units"]) -> Moments:
        """Of units that are drawn, each by itself, from each row's probabilities."""
        x = p.detach().cpu().double()
        covariance = torch.cov(x.T, correction=0) + torch.diag((x * (1 - x)).mean(0))
        return cls(x.mean(0).numpy(), covariance.numpy())

    @classmethod
    def apart(cls, p: Float[Tensor, "rows units"]) -> Moments:
        """Of units without a bias to take up a mean, and none of which makes up for another.

        So are those on the far side of directed weights.
        """
        x = p.detach().cpu().double()
        return cls(np.zeros(x.shape[1]), torch.diag((x * (1 - x)).mean(0)).numpy())

    def first(self, units: int) -> Moments:
        """Of the first `units` alone."""
        return Moments(self.mean[:units], self.covariance[:units, :units])


def layer_moments(rbm: Rbm, p: Float[Tensor, "rows visible"]) -> tuple[Moments, Moments]:
    """Of both layers, where pixels are drawn from each row's grey values."""
    v = binary(p[:MOST_ROWS].to(rbm.W.device))
    return Moments.of(v), Moments.of(torch.sigmoid(v @ rbm.W + rbm.c))


def binary(p: Float[Tensor, "rows units"]) -> Float[Tensor, "rows units"]:
    """0/1 draws, always the same ones."""
    generator = torch.Generator(p.device).manual_seed(SEED)
    return (torch.rand(p.shape, generator=generator, device=p.device) < p).to(p.dtype)


def round_weights(
    W: Float[np.ndarray, "below above"], *, step: float, limit: int, below: Moments, above: Moments
) -> Float[np.ndarray, "below above"]:
    """Whole numbers of at most `limit`, whose multiples of `step` stand in for W.

    Units are rounded one after another, those that vary most first, and each error is made up for
    by what is still to be rounded. Weights that are whole multiples already stay as they are.
    """
    rows, R = _triangle(below)
    columns, C = _triangle(above)
    left = (W / step)[np.ix_(rows, columns)]
    whole = np.empty_like(left)
    for j in range(left.shape[1]):
        column = left[:, j].copy()
        for i in range(len(column)):
            whole[i, j] = min(max(round(column[i]), -limit), limit)
            column[i:] -= R[i, i:] * (column[i] - whole[i, j])
        left[:, j:] -= np.outer(left[:, j] - whole[:, j], C[j, j:])
    rounded = np.empty_like(whole)
    rounded[np.ix_(rows, columns)] = whole
    return rounded


def _triangle(moments: Moments) -> tuple[np.ndarray[Any, np.dtype[np.intp]], Matrix]:
    """An order of the units; and the upper triangle by which each one's error goes to later ones.

    Row i is that of the Cholesky factor of the inverse covariance, divided by its first entry.
    """
    variance = np.diag(moments.covariance)
    order = np.argsort(-variance, kind="stable")
    damped = moments.covariance[np.ix_(order, order)]
    damped = damped + DAMPING * max(float(variance.mean()), 1e-12) * np.eye(len(order))
    upper = np.linalg.cholesky(np.linalg.inv(damped)).T
    return order, upper / np.diag(upper)[:, None]
