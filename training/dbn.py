"""The deep belief network: a restricted machine on top of directed layers.

v ──recognition──► h¹ ──► … ──► h^{L-1} ══RBM with label units══ h^L ──► … ──generation──► v

p(v, h) = p(v | h¹) … p(h^{L-2} | h^{L-1}) p_top(h^{L-1}). Hinton, Osindero & Teh (2006). The
recognition weights q(h | v) are those of the directed layers after greedy training, and their own
after fine-tuning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from training.dbm import binary_entropy
from training.label_units import log_evidence
from training.rbm import Rbm, draw


@dataclass(frozen=True)
class Directed:
    """One directed layer, with weights of its own in each direction.

    Attributes:
        up, c: q(h = 1 | x) = σ(c + x·up), the recognition weights.
        down, b: p(x = 1 | h) = σ(b + h·downᵀ), the generative weights.
    """

    up: Float[Tensor, "lower upper"]
    c: Float[Tensor, " upper"]
    down: Float[Tensor, "lower upper"]
    b: Float[Tensor, " lower"]

    @classmethod
    def of(cls, rbm: Rbm) -> Directed:
        """Both directions of a restricted machine, untied from here on."""
        return cls(up=rbm.W.clone(), c=rbm.c.clone(), down=rbm.W.clone(), b=rbm.b.clone())

    def recognise(self, x: Float[Tensor, "n lower"]) -> Float[Tensor, "n upper"]:
        """Log-odds of h given x."""
        return torch.addmm(self.c, x, self.up)

    def generate(self, h: Float[Tensor, "n upper"]) -> Float[Tensor, "n lower"]:
        """Log-odds of x given h."""
        return torch.addmm(self.b, h, self.down.T)


@dataclass(frozen=True)
class Dbn:
    """Directed layers, the lowest first, under a restricted machine.

    Attributes:
        layers: the directed ones.
        top: its visible units are the topmost directed layer's h, then the label units.
        labels: how many label units there are; 0 for none.
    """

    layers: tuple[Directed, ...]
    top: Rbm
    labels: int

    def rise(
        self, v: Float[Tensor, "n visible"], generator: torch.Generator
    ) -> list[Float[Tensor, "n units"]]:
        """[v, h¹, …, h^{L-1}], each drawn by the recognition weights from the one below."""
        states = [v]
        for layer in self.layers:
            states.append(draw(torch.sigmoid(layer.recognise(states[-1])), generator))
        return states

    def descend(
        self, h: Float[Tensor, "n units"], generator: torch.Generator
    ) -> list[Float[Tensor, "n units"]]:
        """[v, h¹, …, h^{L-1}] by the generative weights from the topmost directed layer's h."""
        states = [h]
        for layer in reversed(self.layers):
            states.append(draw(torch.sigmoid(layer.generate(states[-1])), generator))
        return states[::-1]

    def mean_image(
        self, h: Float[Tensor, "n units"], generator: torch.Generator
    ) -> Float[Tensor, "n visible"]:
        """p(v = 1 | h¹), with h¹ drawn on a pass down from `h`."""
        for layer in reversed(self.layers[1:]):
            h = draw(torch.sigmoid(layer.generate(h)), generator)
        return torch.sigmoid(self.layers[0].generate(h))

    def bound_sample(
        self, v: Float[Tensor, "n visible"], generator: torch.Generator
    ) -> Float[Tensor, " n"]:
        """log p(v, h) - log q(h | v) + log Z for one h ~ q(h | v) a row.

        Its mean is the variational bound on log p(v), plus log Z of the top machine. The entropies
        of q are exact given the layer below. Salakhutdinov & Murray (2008), §5.
        """
        total = torch.zeros(len(v), dtype=v.dtype, device=v.device)
        x = v
        for layer in self.layers:
            q = torch.sigmoid(layer.recognise(x))
            h = draw(q, generator)
            total = total + binary_entropy(q).sum(1) + log_bernoulli(x, layer.generate(h))
            x = h
        return total + log_evidence(self.top, x, labels=self.labels)

    def to(self, target: torch.device | torch.dtype | str) -> Dbn:
        """The same network on another device or in another precision."""
        moved = [
            Directed(up=d.up.to(target), c=d.c.to(target), down=d.down.to(target), b=d.b.to(target))
            for d in self.layers
        ]
        return Dbn(layers=tuple(moved), top=self.top.to(target), labels=self.labels)


def stack(layers: Sequence[Rbm], top: Rbm, *, labels: int) -> Dbn:
    """The network of greedily trained machines: recognition and generation begin tied."""
    return Dbn(layers=tuple(Directed.of(rbm) for rbm in layers), top=top.copy(), labels=labels)


def log_bernoulli(
    x: Float[Tensor, "n units"], log_odds: Float[Tensor, "n units"]
) -> Float[Tensor, " n"]:
    """log p(x) of each row's units in nats; grey x give the mean over their draws."""
    return -binary_cross_entropy_with_logits(log_odds, x, reduction="none").sum(1)


def mean_bound(
    dbn: Dbn,
    v: Float[Tensor, "n visible"],
    *,
    log_z: float,
    draws: int,
    generator: torch.Generator,
    batch: int = 1000,
) -> float:
    """Mean over binary images of the variational bound on log p(v), from `draws` of h a row."""
    total = torch.zeros((), dtype=torch.float64, device=v.device)
    for rows in torch.split(v, batch):
        for _ in range(draws):
            total += dbn.bound_sample(rows, generator).sum(dtype=torch.float64)
    return float(total) / (draws * len(v)) - log_z
