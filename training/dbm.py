"""The deep Boltzmann machine: energy, conditionals, block Gibbs, mean-field, variational bound.

h⁰ = v ──W¹── h¹ ──W²── h² ── … ── h^L, undirected      even layers | odd ones, odd | even
v ──bottom-up, doubled──► μ¹…μ^L ──coordinate ascent──► μ¹…μ^L ──► bound on log p(v)

Salakhutdinov & Hinton (2009), "Deep Boltzmann machines". Layer 0 is visible. Layers of one parity
are independent given those of the other, so that the whole machine is also one restricted machine
between its even and its odd layers (`Dbm.bipartite`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from training.rbm import Rbm, draw

Precision = Literal["float32", "bfloat16"]
Layers = Sequence[Float[Tensor, "batch units"]]


@dataclass(frozen=True)
class Dbm:
    """Parameters of E(h⁰…h^L) = -Σ_l b^l·h^l - Σ_l h^{l-1}ᵀ W^l h^l, with p = exp(-E) / Z.

    Attributes:
        W: W[l - 1] joins layer l - 1 to layer l, shape [lower, upper].
        b: b[l] are the biases of layer l; b[0] those of the visible units.
    """

    W: tuple[Float[Tensor, "lower upper"], ...]
    b: tuple[Float[Tensor, " units"], ...]

    def __post_init__(self) -> None:
        assert len(self.b) == len(self.W) + 1 >= 3, "a deep machine has two or more hidden layers"

    @property
    def sizes(self) -> tuple[int, ...]:
        """Units of each layer, the visible one first."""
        return tuple(len(bias) for bias in self.b)

    @property
    def even(self) -> tuple[int, ...]:
        """The layers 0, 2, … of the stack."""
        return tuple(range(0, len(self.b), 2))

    @property
    def odd(self) -> tuple[int, ...]:
        """The layers 1, 3, …; they are the state of a chain, for the even ones follow from them."""
        return tuple(range(1, len(self.b), 2))

    def input(self, layer: int, h: dict[int, Tensor]) -> Float[Tensor, "batch units"]:
        """b^l + h^{l-1} W^l + h^{l+1} W^{l+1}ᵀ, the log-odds of layer l given its neighbours."""
        x = self.b[layer]
        if layer > 0:
            x = x + product(h[layer - 1], self.W[layer - 1])
        if layer < len(self.W):
            x = x + product(h[layer + 1], self.W[layer].T)
        return x

    def energy(self, h: Layers) -> Float[Tensor, " batch"]:
        """E of whole states h⁰…h^L."""
        biases = sum((x @ b for x, b in zip(h, self.b, strict=True)), torch.zeros(()).to(h[0]))
        pairs = zip(h, self.W, h[1:], strict=False)
        return -biases - sum(((lower @ W) * upper).sum(1) for lower, W, upper in pairs)

    def free_energy(self, odd: dict[int, Tensor]) -> Float[Tensor, " batch"]:
        """F(h¹, h³, …) = -Σ_odd b^l·h^l - Σ_even Σ_i softplus(input^l_i), so p = exp(-F) / Z."""
        biases = torch.stack([odd[layer] @ self.b[layer] for layer in self.odd]).sum(0)
        summed = [softplus(self.input(layer, odd)).sum(1) for layer in self.even]
        return -biases - torch.stack(summed).sum(0)

    def sweep(
        self, odd: dict[int, Tensor], generator: torch.Generator
    ) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """One block Gibbs sweep: even layers given odd ones, then odd given even. Returns both."""
        even = {
            layer: draw(torch.sigmoid(self.input(layer, odd)), generator) for layer in self.even
        }
        return even, {
            layer: draw(torch.sigmoid(self.input(layer, even)), generator) for layer in self.odd
        }

    def bipartite(self) -> Rbm:
        """The same distribution as a restricted machine: even layers visible, odd ones hidden."""
        rows = []
        for lower in self.even:
            blocks = [self._between(lower, upper) for upper in self.odd]
            rows.append(torch.cat(blocks, 1))
        return Rbm(
            W=torch.cat(rows),
            b=torch.cat([self.b[layer] for layer in self.even]),
            c=torch.cat([self.b[layer] for layer in self.odd]),
        )

    def to(self, target: torch.device | torch.dtype | str) -> Dbm:
        """The same machine on another device or in another precision."""
        return Dbm(W=tuple(t.to(target) for t in self.W), b=tuple(t.to(target) for t in self.b))

    def copy(self) -> Dbm:
        """A copy that shares no memory."""
        return Dbm(W=tuple(t.clone() for t in self.W), b=tuple(t.clone() for t in self.b))

    def _between(self, even: int, odd: int) -> Float[Tensor, "even odd"]:
        if odd == even + 1:
            return self.W[even]
        if odd == even - 1:
            return self.W[odd].T
        return self.b[0].new_zeros(self.sizes[even], self.sizes[odd])


def product(h: Float[Tensor, "batch n"], W: Float[Tensor, "n m"]) -> Float[Tensor, "batch m"]:
    """hW in the precision of W, as h's dtype: bfloat16 weights round the product alone."""
    return h @ W if h.dtype == W.dtype else (h.to(W.dtype) @ W).to(h.dtype)


def rounded(dbm: Dbm, precision: Precision) -> Dbm:
    """The machine whose products run in `precision`; biases and sums stay as they are."""
    if precision == "float32":
        return dbm
    return Dbm(W=tuple(W.bfloat16() for W in dbm.W), b=dbm.b)


@dataclass(frozen=True)
class MeanField:
    """How far the approximate posterior q(h | v) = Π_l Π_j q(h^l_j) is driven.

    Attributes:
        updates: most rounds; each updates the odd layers, then the even ones.
        tolerance: a round that moves no probability by more than this is the last.
        damping: share of the old value that a round keeps, in [0, 1). 0 is coordinate ascent, which
            never lowers the bound; more can help nothing but machines of low precision.
    """

    updates: int = 50
    tolerance: float = 1e-5
    damping: float = 0.0

    def __post_init__(self) -> None:
        assert self.updates >= 0, "a count of rounds"
        assert 0 <= self.damping < 1, "a share that leaves something to move"


def mean_field(
    dbm: Dbm, v: Float[Tensor, "batch visible"], rule: MeanField
) -> list[Float[Tensor, "batch units"]]:
    """[v, μ¹, …, μ^L]: μ^l = σ(b^l + μ^{l-1}W^l + μ^{l+1}W^{l+1}ᵀ), iterated from a pass upwards.

    In the pass a layer's input from below is doubled where one from above is still to come: it
    stands in for it. Salakhutdinov & Hinton (2009), §3.1.
    """
    top = len(dbm.W)
    below = dbm.b[1] + product(v, dbm.W[0])
    mu = {0: v, 1: torch.sigmoid(2 * below - dbm.b[1])}
    for layer in range(2, top + 1):
        times = 1 if layer == top else 2
        mu[layer] = torch.sigmoid(dbm.b[layer] + times * product(mu[layer - 1], dbm.W[layer - 1]))
    hidden = [layer for layer in (*dbm.odd, *dbm.even) if layer > 0]
    for _ in range(rule.updates):
        moved = v.new_zeros(())
        for layer in hidden:
            # What the visible units say to the first layer stays the same.
            x = below + product(mu[2], dbm.W[1].T) if layer == 1 else dbm.input(layer, mu)
            new = torch.lerp(torch.sigmoid(x), mu[layer], rule.damping)
            moved = torch.maximum(moved, (new - mu[layer]).abs().max())
            mu[layer] = new
        if float(moved) <= rule.tolerance:
            break
    return [mu[layer] for layer in range(top + 1)]


def unnormalised_bound(dbm: Dbm, mu: Layers) -> Float[Tensor, " batch"]:
    """E_q[-E(v, h)] + H(q) ≤ log p(v) + log Z, for q of the probabilities μ¹…μ^L; mu[0] is v.

    The entropy is in nats; grey v are taken as they are.
    """
    entropies = [binary_entropy(layer).sum(1) for layer in mu[1:]]
    return torch.stack(entropies).sum(0) - dbm.energy(mu)


def binary_entropy(p: Float[Tensor, "batch units"]) -> Float[Tensor, "batch units"]:
    """-p log p - (1 - p) log(1 - p) in nats; 0 at the ends."""
    return -torch.xlogy(p, p) - torch.xlogy(1 - p, 1 - p)
