"""Each loss against numbers worked out by hand, each penalty against a known gradient."""

import math

import pytest
import torch

from training.losses import LOSSES, wgan_gp_penalty, zero_centred_penalty

REAL, FAKE = torch.tensor([0.0, 2.0]), torch.tensor([0.0, -1.0])


def softplus(t: float) -> float:
    return math.log1p(math.exp(t))


def mean(*values: float) -> float:
    return sum(values) / len(values)


BY_HAND = {
    "minimax": (
        mean(softplus(0), softplus(-2)) + mean(softplus(0), softplus(-1)),
        -mean(softplus(0), softplus(-1)),
    ),
    "non_saturating": (
        mean(softplus(0), softplus(-2)) + mean(softplus(0), softplus(-1)),
        mean(softplus(0), softplus(1)),
    ),
    "least_squares": (0.5 * mean(1, 1) + 0.5 * mean(0, 1), 0.5 * mean(1, 4)),
    "wasserstein": (-0.5 - 1.0, 0.5),
    "hinge": (mean(1, 0) + mean(1, 0), 0.5),
    "relativistic": (mean(softplus(0), softplus(-3)), mean(softplus(0), softplus(3))),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_what_its_equation_says(name):
    discriminator, generator = BY_HAND[name]
    loss = LOSSES[name]
    assert loss.discriminator(real=REAL, fake=FAKE).item() == pytest.approx(discriminator)
    assert loss.generator(real=REAL, fake=FAKE).item() == pytest.approx(generator)


@pytest.mark.parametrize("name", LOSSES)
def test_each_player_gains_where_the_other_loses(name):
    # Between the targets of least squares, 0 and 1, so that its pull too has the usual sign.
    real = torch.tensor([0.0, 0.5], requires_grad=True)
    fake = torch.tensor([0.5, 0.25], requires_grad=True)
    LOSSES[name].discriminator(real=real, fake=fake).backward()
    assert (real.grad <= 0).all()
    assert (fake.grad >= 0).all()
    assert real.grad.abs().sum() > 0
    fake.grad = None
    LOSSES[name].generator(real=REAL, fake=fake).backward()
    assert (fake.grad < 0).all()


def test_the_relativistic_loss_is_over_pairs_and_not_over_means():
    loss = LOSSES["relativistic"].discriminator
    matched = loss(real=torch.tensor([5.0, -5.0]), fake=torch.tensor([5.0, -5.0]))
    crossed = loss(real=torch.tensor([5.0, -5.0]), fake=torch.tensor([-5.0, 5.0]))
    assert matched.item() == pytest.approx(math.log(2))
    assert crossed.item() == pytest.approx(mean(softplus(-10), softplus(10)))


def test_the_zero_centred_penalty_of_a_quadratic_is_its_squared_slope():
    images = torch.randn(5, 1, 2, 3, generator=torch.Generator().manual_seed(0))
    x = images.clone().requires_grad_()
    logits = 0.5 * x.square().sum((1, 2, 3))  # its gradient is x
    penalty = zero_centred_penalty(logits=logits, images=x, gamma=3.0)
    assert penalty.item() == pytest.approx(1.5 * images.square().sum((1, 2, 3)).mean().item())


def test_the_penalty_reaches_the_weights_by_a_second_derivative():
    w = torch.tensor([2.0], requires_grad=True)
    x = torch.ones(4, 1, 1, 1, requires_grad=True)
    penalty = zero_centred_penalty(logits=(w * x).flatten(), images=x, gamma=1.0)  # ½w²
    penalty.backward()
    assert penalty.item() == pytest.approx(2.0)
    assert w.grad.item() == pytest.approx(2.0)


def test_the_wgan_penalty_vanishes_for_a_slope_of_one_and_is_taken_between_the_images():
    real, fake = torch.ones(3, 1, 2, 2), torch.zeros(3, 1, 2, 2)
    mix = torch.tensor([0.0, 0.25, 1.0])
    seen = []

    def discriminator(x):
        seen.append(x.detach())
        return 0.5 * x.sum((1, 2, 3))  # slope ½ in four pixels: a norm of 1

    penalty = wgan_gp_penalty(discriminator=discriminator, real=real, fake=fake, mix=mix)
    assert penalty.item() == pytest.approx(0.0, abs=1e-12)
    assert torch.equal(seen[0][:, 0, 0, 0], mix)


def test_the_wgan_penalty_of_a_slope_of_three_is_four_times_its_weight():
    x = torch.rand(2, 1, 1, 1)
    penalty = wgan_gp_penalty(
        discriminator=lambda t: 3.0 * t.flatten(), real=x, fake=x, mix=torch.rand(2), weight=10.0
    )
    assert penalty.item() == pytest.approx(40.0)
