"""What players of points may be given: sines and cosines to see by, and sharp choices."""

import math
from dataclasses import replace

import pytest
import torch

from training.bodies import Waves
from training.gan import Examples, GanTraining, adversarial_step
from training.networks import Discriminator, Generator, PointShape, seeded
from training.players import Players
from training.shapes import Critic


def test_waves_are_sines_and_cosines_of_rising_frequency():
    x = torch.tensor([[0.25, -1.0]])
    expected = [x]
    for k in (0, 1):
        expected += [torch.sin(math.pi * 2**k * x), torch.cos(math.pi * 2**k * x)]
    assert torch.allclose(Waves(2)(x), torch.cat(expected, dim=1))


def test_waves_tell_points_apart_that_are_near():
    near = torch.tensor([[0.0, 0.0], [0.01, 0.0]])
    apart = [float((seen[1] - seen[0]).norm()) for seen in (near, Waves(5)(near))]
    assert apart[1] > 30 * apart[0]


@pytest.mark.parametrize("packing", [1, 4])
def test_a_discriminator_sees_waves_of_packs_too(packing):
    d = Discriminator(PointShape(waves=3, width=8), Critic(packing=packing))
    assert d.features(torch.rand(5, 2 * packing)).shape == (5, 8, 1, 1)


def test_a_sharp_choice_gives_all_latents_of_one_choice_the_same_point():
    shape = PointShape(latent=6, classes=5, sharpness=1e4, generator_norm="none", width=8)
    generator = seeded(lambda: Generator(shape), seed=0)
    z = torch.randn(40, 6, generator=torch.Generator().manual_seed(1))
    z[:, 5] = 0.3
    points = generator(z)
    for choice in range(5):
        same = points[z[:, :5].argmax(1) == choice]
        assert len(same)
        assert torch.allclose(same, same[:1].expand_as(same), atol=1e-5)


def test_packs_may_be_judged_where_latents_choose_but_nobody_knows_a_label():
    shape = PointShape(latent=6, classes=5, unlabelled=True, width=8)
    config = GanTraining(batch=8, packing=2, loss="non_saturating", gamma_real=0, gamma_fake=0)
    players = Players.fresh(shape, config, seed=0, device=torch.device("cpu"))
    figures = adversarial_step(players, Examples(torch.rand(8, 2)), config=config, step=1)
    assert math.isfinite(figures["loss__d"])
    with pytest.raises(ValueError, match=r"train\.packing=2"):
        Players.fresh(replace(shape, unlabelled=False), config, seed=0, device=torch.device("cpu"))
