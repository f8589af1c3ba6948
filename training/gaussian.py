"""The restricted machine with Gaussian visible units: real numbers below, 0/1 units above.

v [batch, visible] ──σ(c + (v/σ²)W)──► h [batch, hidden] ──N(b + hWᵀ, σ²)──► v   (one Gibbs sweep)

E(v, h) = Σ_i (v_i - b_i)² / 2σ_i² - c·h - Σ_ij (v_i / σ_i²) W_ij h_j

Hinton (2012), §13.2, in the form of Cho, Ilin & Raiko (2011), "Improved learning of
Gaussian-Bernoulli restricted Boltzmann machines", in which the weights have the data's units and
σ_i² = exp(z_i) can be learned. The visible units are meant to be standardised: mean 0, variance 1.
Sums of real numbers depend on their order, so that these sweeps, unlike those of 0/1 units, are not
the same bytes on every device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from training.exact import binary_states
from training.rbm import draw


@dataclass(frozen=True)
class GaussianRbm:
    """Parameters of E(v, h), with p(v, h) = exp(-E) / Z.

    Attributes:
        W: weights, in units of v.
        b, c: biases of visible and hidden units.
        z: log σ², of each visible unit.
    """

    W: Float[Tensor, "visible hidden"]
    b: Float[Tensor, " visible"]
    c: Float[Tensor, " hidden"]
    z: Float[Tensor, " visible"]

    @property
    def variance(self) -> Float[Tensor, " visible"]:
        """σ² of v given h."""
        return self.z.exp()

    def hidden_input(self, v: Float[Tensor, "batch visible"]) -> Float[Tensor, "batch hidden"]:
        """c + (v/σ²)W, the log-odds of p(h = 1 | v)."""
        return torch.addmm(self.c, v / self.variance, self.W)

    def visible_mean(self, h: Float[Tensor, "batch hidden"]) -> Float[Tensor, "batch visible"]:
        """b + hWᵀ, the mean of p(v | h)."""
        return torch.addmm(self.b, h, self.W.T)

    def energy(
        self, v: Float[Tensor, "batch visible"], h: Float[Tensor, "batch hidden"]
    ) -> Float[Tensor, " batch"]:
        """E(v, h)."""
        return self._bowl(v) - (self.hidden_input(v) * h).sum(1)

    def free_energy(self, v: Float[Tensor, "batch visible"]) -> Float[Tensor, " batch"]:
        """F(v) = Σ_i (v_i - b_i)²/2σ_i² - Σ_j softplus(c_j + ((v/σ²)W)_j), p = exp(-F) / Z."""
        return self._bowl(v) - softplus(self.hidden_input(v)).sum(1)

    def hidden_free_energy(self, h: Float[Tensor, "batch hidden"]) -> Float[Tensor, " batch"]:
        """F(h) with v integrated out, so that p(h) = exp(-F(h)) / Z.

        F(h) = -c·h - Σ_i m_i (2b_i + m_i) / 2σ_i² - ½ Σ_i log 2πσ_i², with m = hWᵀ.
        """
        m = h @ self.W.T
        lift = (m * (2 * self.b + m) / (2 * self.variance)).sum(1)
        return -(h @ self.c) - lift - 0.5 * (self.z + math.log(2 * math.pi)).sum()

    def sweep(
        self, h: Float[Tensor, "batch hidden"], generator: torch.Generator
    ) -> tuple[Float[Tensor, "batch visible"], Float[Tensor, "batch hidden"]]:
        """One Gibbs sweep: v ~ p(v | h), then h ~ p(h | v). Returns both."""
        v = normal(self.visible_mean(h), self.variance, generator)
        return v, draw(torch.sigmoid(self.hidden_input(v)), generator)

    def reconstruction_error(self, v: Float[Tensor, "batch visible"]) -> float:
        """Mean squared error a unit of one mean-field step up and down."""
        seen = self.visible_mean(torch.sigmoid(self.hidden_input(v)))
        return float((seen - v).square().mean())

    def to(self, target: torch.device | torch.dtype | str) -> GaussianRbm:
        """The same machine on another device or in another precision."""
        return GaussianRbm(
            W=self.W.to(target), b=self.b.to(target), c=self.c.to(target), z=self.z.to(target)
        )

    def _bowl(self, v: Float[Tensor, "batch visible"]) -> Float[Tensor, " batch"]:
        return ((v - self.b).square() / (2 * self.variance)).sum(1)


def normal(
    mean: Float[Tensor, "rows units"],
    variance: Float[Tensor, " units"],
    generator: torch.Generator,
) -> Float[Tensor, "rows units"]:
    """Independent Gaussian draws."""
    noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
    return mean + variance.sqrt() * noise


def initialise(
    *,
    visible: int,
    hidden: int,
    scale: float,
    generator: torch.Generator,
    hidden_bias: float = 0.0,
) -> GaussianRbm:
    """Small Gaussian weights on standardised units: b = 0, σ² = 1.

    A `hidden_bias` well below 0 begins with hidden units that are seldom on: then each adds a tail
    to the density, where many that are half on together only widen it. Melchior, Wang & Wiskott
    (2017), "Gaussian-binary restricted Boltzmann machines for modeling natural image statistics".
    """
    device = generator.device
    return GaussianRbm(
        W=scale * torch.randn(visible, hidden, generator=generator, device=device),
        b=torch.zeros(visible, device=device),
        c=torch.full((hidden,), hidden_bias, device=device),
        z=torch.zeros(visible, device=device),
    )


def log_z_tensor(machine: GaussianRbm) -> Float[Tensor, ""]:
    """Exact log Z by enumeration of the hidden layer (≤ 20 units), float64, differentiable."""
    exact = machine.to(torch.float64)
    return torch.logsumexp(-exact.hidden_free_energy(binary_states(len(machine.c))), 0)


def log_likelihood(machine: GaussianRbm, v: Float[Tensor, "batch visible"]) -> Float[Tensor, ""]:
    """Mean of the log density log p(v), exact and differentiable, float64."""
    return -machine.to(torch.float64).free_energy(v.double()).mean() - log_z_tensor(machine)


def hidden_distribution(machine: GaussianRbm) -> Float[Tensor, " states"]:
    """p(h) of every hidden state, float64."""
    exact = machine.to(torch.float64)
    return torch.softmax(-exact.hidden_free_energy(binary_states(len(machine.c))), 0)
