"""What an update of a restricted Boltzmann machine ascends: likelihood, less what is penalised.

<v hᵀ>, <v>, <h> of data and model ──► centred_gradient ──► Gradient ◄── sparsity_gradient
                                             W ──► limit_norms ──► no hidden unit shouts
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from training.rbm import Rbm


@dataclass(frozen=True)
class Gradient:
    """Estimated gradient of the mean log-likelihood: ascend it."""

    W: Float[Tensor, "visible hidden"]
    b: Float[Tensor, " visible"]
    c: Float[Tensor, " hidden"]

    def __add__(self, other: Gradient) -> Gradient:
        return Gradient(W=self.W + other.W, b=self.b + other.b, c=self.c + other.c)


@dataclass(frozen=True)
class Statistics:
    """Means over a batch: <v hᵀ>, <v>, <h>, with h the probabilities p(h = 1 | v)."""

    vh: Float[Tensor, "visible hidden"]
    v: Float[Tensor, " visible"]
    h: Float[Tensor, " hidden"]


def statistics(
    rbm: Rbm,
    v: Float[Tensor, "batch visible"],
    p: Float[Tensor, "batch hidden"] | None = None,
) -> Statistics:
    """The sufficient statistics of a batch of visible states, Rao-Blackwellised over h.

    `p` is p(h = 1 | v), where it is known already: a product saved.
    """
    h = torch.sigmoid(rbm.hidden_input(v)) if p is None else p
    return Statistics(vh=v.T @ (h / len(v)), v=v.mean(0), h=h.mean(0))


def centred_gradient(
    *,
    data: Statistics,
    model: Statistics,
    visible_offset: Float[Tensor, " visible"],
    hidden_offset: Float[Tensor, " hidden"],
) -> Gradient:
    """The centred gradient in the parameters of the ordinary, uncentred machine.

    ∇W = <(v - μ)(h - λ)ᵀ>_data - <(v - μ)(h - λ)ᵀ>_model
    ∇b = <v>_data - <v>_model - ∇W λ,   ∇c = <h>_data - <h>_model - ∇Wᵀ μ

    With μ = λ = 0 it is the plain gradient. Montavon & Müller (2012); Melchior, Fischer & Wiskott
    (2016), "How to center deep Boltzmann machines", §3.
    """
    dv, dh = data.v - model.v, data.h - model.h
    W = (data.vh - model.vh).addr_(visible_offset, dh, alpha=-1).addr_(dv, hidden_offset, alpha=-1)
    return Gradient(W=W, b=dv - W @ hidden_offset, c=dh - visible_offset @ W)


def sparsity_gradient(
    rbm: Rbm,
    v: Float[Tensor, "batch visible"],
    *,
    target: float,
    cost: float,
    visible_offset: Float[Tensor, " visible"],
    hidden_offset: Float[Tensor, " hidden"],
) -> Gradient:
    """The gradient of -½ cost Σ_j (q_j - target)², q_j the mean of p(h_j = 1 | v) over the batch.

    Lee, Ekanadham & Ng (2008), "Sparse deep belief net model for visual area V2", eq. 5; in the
    centred parameters, as `centred_gradient` is.
    """
    h = torch.sigmoid(rbm.hidden_input(v))
    pull = h * (1 - h) * (cost * (target - h.mean(0)) / len(v))
    W = (v - visible_offset).T @ pull
    return Gradient(W=W, b=-(W @ hidden_offset), c=pull.sum(0) - visible_offset @ W)


def limit_norms(W: Float[Tensor, "visible hidden"], *, most: float) -> None:
    """Shorten, in place, the weights into a hidden unit whose Euclidean norm passes `most`.

    Srebro & Shraibman (2005); Hinton et al. (2012), "Improving neural networks by preventing
    co-adaptation of feature detectors", §2.
    """
    norms = W.norm(dim=0, keepdim=True)
    W.mul_((most / norms.clamp_min(1e-12)).clamp_max(1.0))
