"""The Boltzmann machine with any connections: energy, conditionals, mean-field, variational bound.

x = (v, h), W symmetric    x_i | the others ~ σ(b_i + Σ_j W_ij x_j)
v ──σ, iterated──► μ of h ──► bound on log p(v), exact where hidden units are not connected

Ackley, Hinton & Sejnowski (1985), "A learning algorithm for Boltzmann machines". A restricted
machine is one without connections inside the visible and the hidden units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from training.bm_connections import Place
from training.dbm import MeanField, binary_entropy

# Units of a connected layer move together, so that each round keeps half of the old probabilities:
# undamped, two units that inhibit each other would swap places for ever.
POSTERIOR = MeanField(updates=30, tolerance=1e-5, damping=0.5)


@dataclass(frozen=True)
class Bm:
    """Parameters of E(x) = -½ xᵀWx - b·x over 0/1 units x = (v, h), with p(x) = exp(-E(x)) / Z.

    Attributes:
        W: symmetric, 0 on the diagonal and between units that are not connected.
        b: biases; [rows, units] gives each row of a batch a machine of its own.
        visible: the first so many units are visible.
    """

    W: Float[Tensor, "units units"]
    b: Float[Tensor, "*rows units"]
    visible: int

    @property
    def units(self) -> int:
        """Visible and hidden units together."""
        return len(self.W)

    @property
    def hidden_are_free(self) -> bool:
        """Whether p(h | v) factorises: no hidden unit is connected with another."""
        return not bool(self.W[self.visible :, self.visible :].any())

    def input(self, x: Float[Tensor, "batch units"], at: Place) -> Float[Tensor, "batch k"]:
        """b + xW of the units at a place: their log-odds given all others."""
        return x @ self.W[:, at] + self.b[..., at]

    def energy(self, x: Float[Tensor, "batch units"]) -> Float[Tensor, " batch"]:
        """E(x) = -½ xᵀWx - b·x. Lower is more probable."""
        return -((x @ self.W / 2 + self.b) * x).sum(1)

    def reconstruction(self, x: Float[Tensor, "batch units"]) -> Float[Tensor, "batch visible"]:
        """p(v_i = 1 | all other units), or its mean-field where x are probabilities."""
        return torch.sigmoid(x @ self.W[:, : self.visible] + self.b[..., : self.visible])

    def given(self, v: Float[Tensor, "batch visible"]) -> Bm:
        """The machine of the hidden units alone, given v: each row has biases of its own.

        Its log Z, plus ½ vᵀWv + b·v, is log p(v) + log Z of the whole: see `visible_part`.
        """
        seen = slice(0, self.visible)
        hidden = slice(self.visible, None)
        biases = self.b[..., hidden] + v @ self.W[seen, hidden]
        return Bm(W=self.W[hidden, hidden], b=biases, visible=0)

    def visible_part(self, v: Float[Tensor, "batch visible"]) -> Float[Tensor, " batch"]:
        """½ vᵀWv + b·v, what the visible units contribute to -E by themselves."""
        seen = slice(0, self.visible)
        return ((v @ self.W[seen, seen] / 2 + self.b[..., seen]) * v).sum(1)

    def to(self, target: torch.device | torch.dtype | str) -> Bm:
        """The same machine on another device or in another precision."""
        return replace(self, W=self.W.to(target), b=self.b.to(target))

    def copy(self) -> Bm:
        """A copy that shares no memory."""
        return replace(self, W=self.W.clone(), b=self.b.clone())


def mean_field(
    bm: Bm, v: Float[Tensor, "batch visible"], rule: MeanField = POSTERIOR
) -> Float[Tensor, "batch units"]:
    """(v, μ): μ = σ(b + vW + μW) iterated from μ = σ(b + vW); exact where hidden units are free.

    A round moves all hidden units at once and keeps `rule.damping` of their old probabilities.
    Grey v are taken as they are.
    """
    hidden = bm.given(v)
    mu = torch.sigmoid(hidden.b)
    if bm.hidden_are_free:
        return torch.cat([v, mu], 1)
    for _ in range(rule.updates):
        new = torch.lerp(torch.sigmoid(hidden.b + mu @ hidden.W), mu, rule.damping)
        moved = float((new - mu).abs().max())
        mu = new
        if moved <= rule.tolerance:
            break
    return torch.cat([v, mu], 1)


def unnormalised_bound(bm: Bm, x: Float[Tensor, "batch units"]) -> Float[Tensor, " batch"]:
    """E_q[-E(v, h)] + H(q) ≤ log p(v) + log Z, in nats, for x = (v, μ) and q = Π_j Bernoulli(μ_j).

    Equality holds where the hidden units are free and μ is their mean-field: then it is -F(v).
    """
    return binary_entropy(x[:, bm.visible :]).sum(1) - bm.energy(x)


def named_tensors(bm: Bm) -> dict[str, Tensor]:
    """`weight.1`, `bias.0`, `bias.1` as an RBM has them; `lateral.0`, `lateral.1` in a layer."""
    seen, hidden = slice(0, bm.visible), slice(bm.visible, None)
    named = {"weight.1": bm.W[seen, hidden], "bias.0": bm.b[seen], "bias.1": bm.b[hidden]}
    for name, layer in (("lateral.0", seen), ("lateral.1", hidden)):
        if bool(bm.W[layer, layer].any()):
            named[name] = bm.W[layer, layer]
    return named


def bm_of(named: Mapping[str, Tensor]) -> Bm:
    """The machine of `named_tensors`."""
    between = named["weight.1"]
    visible, hidden = between.shape
    inside = [
        named.get(name, between.new_zeros(size, size))
        for name, size in (("lateral.0", visible), ("lateral.1", hidden))
    ]
    W = torch.cat([torch.cat([inside[0], between], 1), torch.cat([between.T, inside[1]], 1)])
    return Bm(W=W, b=torch.cat([named["bias.0"], named["bias.1"]]), visible=visible)
