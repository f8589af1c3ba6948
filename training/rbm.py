"""The binary restricted Boltzmann machine: energy, free energies, conditionals, sweeps.

v [batch, visible] ──σ(c + vW)──► h [batch, hidden] ──σ(b + hWᵀ)──► v          (one Gibbs sweep)

Units are 0 or 1. Uniform noise has 16 bits everywhere, in training as in the exported sweeps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int16
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

NOISE_LEVELS = 65_536


@dataclass(frozen=True)
class Rbm:
    """Parameters of E(v, h) = -b·v - c·h - vᵀWh, with p(v, h) = exp(-E) / Z.

    Smolensky (1986); notation of Hinton (2012), "A practical guide to training RBMs".
    """

    W: Float[Tensor, "visible hidden"]
    b: Float[Tensor, " visible"]
    c: Float[Tensor, " hidden"]

    def hidden_input(self, v: Float[Tensor, "batch visible"]) -> Float[Tensor, "batch hidden"]:
        """c + vW, the log-odds of p(h = 1 | v)."""
        return torch.addmm(self.c, v, self.W)

    def visible_input(self, h: Float[Tensor, "batch hidden"]) -> Float[Tensor, "batch visible"]:
        """b + hWᵀ, the log-odds of p(v = 1 | h)."""
        return torch.addmm(self.b, h, self.W.T)

    def energy(
        self, v: Float[Tensor, "batch visible"], h: Float[Tensor, "batch hidden"]
    ) -> Float[Tensor, " batch"]:
        """E(v, h) = -b·v - c·h - vᵀWh."""
        return -(v @ self.b) - ((v @ self.W + self.c) * h).sum(1)

    def free_energy(self, v: Float[Tensor, "batch visible"]) -> Float[Tensor, " batch"]:
        """F(v) = -b·v - Σ_j softplus(c_j + (vW)_j), p(v) = exp(-F(v)) / Z. Hinton (2012), §16.1."""
        return -(v @ self.b) - softplus(self.hidden_input(v)).sum(1)

    def hidden_free_energy(self, h: Float[Tensor, "batch hidden"]) -> Float[Tensor, " batch"]:
        """F(h) = -c·h - Σ_i softplus(b_i + (hWᵀ)_i), so p(h) = exp(-F(h)) / Z."""
        return -(h @ self.c) - softplus(self.visible_input(h)).sum(1)

    def sweep(
        self, h: Float[Tensor, "batch hidden"], generator: torch.Generator
    ) -> tuple[Float[Tensor, "batch visible"], Float[Tensor, "batch hidden"]]:
        """One Gibbs sweep: v ~ p(v | h), then h ~ p(h | v). Returns both."""
        v = draw(torch.sigmoid(self.visible_input(h)), generator)
        return v, draw(torch.sigmoid(self.hidden_input(v)), generator)

    def to(self, target: torch.device | torch.dtype | str) -> Rbm:
        """The same machine on another device or in another precision."""
        return Rbm(W=self.W.to(target), b=self.b.to(target), c=self.c.to(target))

    def copy(self) -> Rbm:
        """A copy that shares no memory."""
        return Rbm(W=self.W.clone(), b=self.b.clone(), c=self.c.clone())

    def reconstruction_error(self, v: Float[Tensor, "batch visible"]) -> float:
        """Mean squared error a pixel of one mean-field step down and up."""
        seen = torch.sigmoid(self.visible_input(torch.sigmoid(self.hidden_input(v))))
        return float((seen - v).square().mean())

    def pseudo_likelihood(
        self, v: Float[Tensor, "batch visible"], generator: torch.Generator
    ) -> float:
        """Estimate of Σ_i log p(v_i | v_{-i}) in nats, from 16 random units i a row. Besag (1975).

        log p(v_i | v_{-i}) = log σ(F(v with v_i flipped) - F(v)), times the number of units.
        """
        rows, visible = v.shape
        energy = self.free_energy(v)
        terms = []
        for _ in range(16):
            unit = torch.randint(visible, (rows, 1), generator=generator, device=v.device)
            flipped = v.scatter(1, unit, 1 - v.gather(1, unit))
            terms.append(logsigmoid(self.free_energy(flipped) - energy).mean())
        return visible * float(torch.stack(terms).mean())


def noise16(shape: tuple[int, int], generator: torch.Generator) -> Int16[Tensor, "rows units"]:
    """Uniform 16-bit integers, -32768 … 32767, on the generator's device."""
    words = -(-shape[0] * shape[1] // 4)
    bits = torch.empty(words, dtype=torch.int64, device=generator.device)
    bits.random_(-(2**63), None, generator=generator)
    return bits.view(torch.int16)[: shape[0] * shape[1]].view(shape)


def draw(p: Float[Tensor, "rows units"], generator: torch.Generator) -> Float[Tensor, "rows units"]:
    """Bernoulli draws, 0.0 or 1.0: a unit is 1 where p > (u + ½) / 65536 for uint16 noise u."""
    u = noise16((p.shape[0], p.shape[1]), generator)
    return (p * NOISE_LEVELS - (NOISE_LEVELS / 2 + 0.5) > u).to(p.dtype)


def initialise(
    visible_mean: Float[Tensor, " visible"],
    *,
    hidden: int,
    scale: float,
    generator: torch.Generator,
) -> Rbm:
    """Small Gaussian weights; visible biases at the data's log-odds; hidden biases 0.

    Args:
        visible_mean: mean of each visible unit over the training data, in [0, 1].
        hidden: number of hidden units.
        scale: standard deviation of the weights.
        generator: where the weights are drawn from.
    """
    shape = (len(visible_mean), hidden)
    return Rbm(
        W=scale * torch.randn(shape, generator=generator, device=visible_mean.device),
        b=base_rate_bias(visible_mean),
        c=torch.zeros(hidden, device=visible_mean.device),
    )


def base_rate_bias(visible_mean: Float[Tensor, " visible"]) -> Float[Tensor, " visible"]:
    """Log-odds of the base rates, which are kept in [0.001, 0.999] so that no bias runs away."""
    return torch.logit(visible_mean.clamp(0.001, 0.999))
