"""The objectives of the adversarial game, and the penalties that keep the discriminator smooth.

D(x), D(G(z)) ──► discriminator_loss, generator_loss      D, x ──► gradient penalty

Each loss is a pure function of logits: `real` and `fake` hold D(x) and D(G(z)), one number an
image. σ is the logistic function and softplus(t) = log(1 + eᵗ) = −log σ(−t).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import relu, softplus

Logits = Float[Tensor, " n"]
Images = Float[Tensor, "n ..."]
Scalar = Float[Tensor, ""]


def minimax_discriminator(*, real: Logits, fake: Logits, smoothing: float = 0.0) -> Scalar:
    """L_D = −E log σ(D(x)) − E log(1 − σ(D(G(z)))). Goodfellow et al. (2014), eq. 1.

    One-sided label smoothing ε puts −(1 − ε) log σ − ε log(1 − σ) = softplus(−D(x)) + ε·D(x) in the
    place of the first term. Salimans et al. (2016), §3.4.
    """
    return (softplus(-real) + smoothing * real).mean() + softplus(fake).mean()


def minimax_generator(*, real: Logits, fake: Logits) -> Scalar:  # noqa: ARG001
    """L_G = E log(1 − σ(D(G(z)))), flat where D is sure. Goodfellow et al. (2014), eq. 1."""
    return -softplus(fake).mean()


def non_saturating_generator(*, real: Logits, fake: Logits) -> Scalar:  # noqa: ARG001
    """L_G = −E log σ(D(G(z))). Goodfellow et al. (2014), §3."""
    return softplus(-fake).mean()


def least_squares_discriminator(*, real: Logits, fake: Logits, smoothing: float = 0.0) -> Scalar:
    """L_D = ½ E(D(x) − 1 + ε)² + ½ E D(G(z))². Mao et al. (2017), eq. 9; ε smooths the label."""
    return 0.5 * (real - 1.0 + smoothing).square().mean() + 0.5 * fake.square().mean()


def least_squares_generator(*, real: Logits, fake: Logits) -> Scalar:  # noqa: ARG001
    """L_G = ½ E(D(G(z)) − 1)². Mao et al. (2017), eq. 9."""
    return 0.5 * (fake - 1.0).square().mean()


def wasserstein_discriminator(*, real: Logits, fake: Logits) -> Scalar:
    """L_D = E D(G(z)) − E D(x), for a 1-Lipschitz D. Arjovsky et al. (2017), eq. 2."""
    return fake.mean() - real.mean()


def wasserstein_generator(*, real: Logits, fake: Logits) -> Scalar:  # noqa: ARG001
    """L_G = −E D(G(z)). Arjovsky et al. (2017), eq. 2."""
    return -fake.mean()


def hinge_discriminator(*, real: Logits, fake: Logits) -> Scalar:
    """L_D = E max(0, 1 − D(x)) + E max(0, 1 + D(G(z))). Lim & Ye (2017); Miyato et al. (2018)."""
    return relu(1.0 - real).mean() + relu(1.0 + fake).mean()


def relativistic_discriminator(*, real: Logits, fake: Logits) -> Scalar:
    """L_D = E softplus(D(G(z)) − D(x)), over pairs. Huang et al. (2024), R3GAN, eq. 2."""
    return softplus(fake - real).mean()


def relativistic_generator(*, real: Logits, fake: Logits) -> Scalar:
    """L_G = E softplus(D(x) − D(G(z))), over pairs. Huang et al. (2024), R3GAN, eq. 2."""
    return softplus(real - fake).mean()


@dataclass(frozen=True)
class Loss:
    """Both players' objectives; each is minimised."""

    discriminator: Callable[..., Scalar]
    generator: Callable[..., Scalar]
    generator_sees_real: bool = False


LOSSES: dict[str, Loss] = {
    "minimax": Loss(minimax_discriminator, minimax_generator),
    "non_saturating": Loss(minimax_discriminator, non_saturating_generator),
    "least_squares": Loss(least_squares_discriminator, least_squares_generator),
    "wasserstein": Loss(wasserstein_discriminator, wasserstein_generator),
    "hinge": Loss(hinge_discriminator, wasserstein_generator),
    "relativistic": Loss(relativistic_discriminator, relativistic_generator, True),
}


def input_gradient(*, logits: Logits, images: Images) -> Images:
    """∇ₓ D(x) of every row, itself differentiable; `logits` were computed from `images`."""
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient


def zero_centred_penalty(*, logits: Logits, images: Images, gamma: float) -> Scalar:
    """R = γ/2 · E‖∇ₓ D(x)‖². Mescheder et al. (2018), eq. 9.

    On real images it is R₁, on generated ones R₂. D must treat rows alone (no batch norm).
    """
    gradient = input_gradient(logits=logits, images=images)
    return 0.5 * gamma * gradient.flatten(1).square().sum(1).mean()


def wgan_gp_penalty(
    *,
    discriminator: Callable[[Tensor], Tensor],
    real: Images,
    fake: Images,
    mix: Float[Tensor, " n"],
    weight: float = 10.0,
) -> Scalar:
    """λ · E(‖∇ D(x̂)‖ − 1)², x̂ = εx + (1 − ε)G(z). Gulrajani et al. (2017), eq. 3.

    Args:
        discriminator: D.
        real: x.
        fake: G(z), of the same shape.
        mix: ε, uniform on [0, 1], one for each row.
        weight: λ.
    """
    epsilon = mix.view(-1, *[1] * (real.dim() - 1))
    between = (epsilon * real + (1.0 - epsilon) * fake).detach().requires_grad_(True)
    gradient = input_gradient(logits=discriminator(between), images=between)
    length = gradient.flatten(1).square().sum(1).sqrt()
    return weight * (length - 1.0).square().mean()
