"""Latent descent without autograd: its gradient, its Adam, and that it fits what is known."""

import pytest
import torch

from training.export import fold_batch_norm, parity, session, to_onnx
from training.latent_step import Descent, LatentStart, LatentStep, contextual_loss
from training.networks import Discriminator, Encoder, Generator, Shape, seeded

SHAPE = Shape(latent=6, width=4, classes=2)
ROWS = 5


def generator() -> torch.nn.Module:
    return fold_batch_norm(seeded(lambda: Generator(SHAPE), seed=0))


def discriminator() -> Discriminator:
    return seeded(lambda: Discriminator(SHAPE), seed=1).eval().requires_grad_(False)


def example() -> dict[str, torch.Tensor]:
    noise = torch.Generator().manual_seed(2)
    return {
        "z": torch.randn(ROWS, 6, generator=noise),
        "m": torch.randn(ROWS, 6, generator=noise),
        "v": torch.rand(ROWS, 6, generator=noise),
        "t": torch.tensor([[0.0], [1.0], [2.0], [30.0], [7.0]]),
        "x": torch.rand(ROWS, 1, 28, 28, generator=noise),
        "mask": (torch.rand(ROWS, 1, 28, 28, generator=noise) < 0.5).float(),
    }


@pytest.mark.parametrize("realism", [0.0, 0.5])
def test_the_traced_gradient_is_autograds(realism):
    how = Descent(realism=realism)
    d = discriminator() if realism else None
    g, inputs = generator(), example()
    step = LatentStep(g, d, shape=SHAPE, descent=how)
    z = inputs["z"].clone().requires_grad_()
    loss = contextual_loss(
        z, inputs["x"], inputs["mask"], generator=g, discriminator=d, descent=how
    )
    (expected,) = torch.autograd.grad(loss.sum(), z)
    found = step.gradient(inputs["z"], inputs["x"], inputs["mask"])
    assert torch.allclose(found, expected, atol=1e-5)


def test_a_step_is_a_step_of_torchs_adam():
    how = Descent(rate=0.05)
    g, inputs = generator(), example()
    step = LatentStep(g, None, shape=SHAPE, descent=how)
    z = torch.nn.Parameter(inputs["z"].clone())
    adam = torch.optim.Adam([z], lr=how.rate, betas=(how.beta1, how.beta2), eps=1e-8)
    x, mask = inputs["x"], inputs["mask"]
    zero = torch.zeros(ROWS, 6)
    state = (inputs["z"], zero, zero, torch.zeros(ROWS, 1))
    for _ in range(4):
        adam.zero_grad()
        contextual_loss(z, x, mask, generator=g, discriminator=None, descent=how).sum().backward()
        adam.step()
        state = step(*state, x, mask)
    assert torch.allclose(state[0], z.detach(), atol=1e-5)
    assert torch.equal(state[3], torch.full((ROWS, 1), 4.0))


def test_the_exported_step_agrees_with_torch_for_any_batch():
    inputs = example()
    step = LatentStep(generator(), discriminator(), shape=SHAPE, descent=Descent(realism=0.5))
    graph = to_onnx(step, inputs, ["next_z", "next_m", "next_v", "next_t"])
    for rows in (1, 3, 5):
        some = {name: tensor[:rows] for name, tensor in inputs.items()}
        assert parity(step, graph, some, tolerance=1e-5) < 1e-5


def test_rows_of_different_ages_share_a_batch():
    inputs = example()
    step = LatentStep(generator(), None, shape=SHAPE, descent=Descent())
    together = step(*inputs.values())
    for i in range(ROWS):
        alone = step(*(tensor[i : i + 1] for tensor in inputs.values()))
        for part, whole in zip(alone, together, strict=True):
            assert torch.allclose(part[0], whole[i], atol=1e-6)


def test_what_lies_in_the_hole_changes_nothing():
    inputs = example()
    step = LatentStep(generator(), None, shape=SHAPE, descent=Descent())
    other = dict(
        inputs, x=torch.where(inputs["mask"] > 0, torch.rand_like(inputs["x"]), inputs["x"])
    )
    for a, b in zip(step(*inputs.values()), step(*other.values()), strict=True):
        assert torch.equal(a, b)


def test_descent_fits_the_known_pixels():
    g, how = generator(), Descent(rate=0.1)
    z = torch.randn(3, 6, generator=torch.Generator().manual_seed(9))
    x = g(z)
    mask = torch.zeros(3, 1, 28, 28)
    mask[..., 7:21, 7:21] = 1.0
    step = LatentStep(g, None, shape=SHAPE, descent=how)
    start = LatentStart(seeded(lambda: Encoder(SHAPE), seed=4), descent=how)
    state = start(x, mask, torch.zeros(3, 6))

    def loss(z):
        return contextual_loss(z, x, mask, generator=g, discriminator=None, descent=how).sum()

    before = loss(state[0])
    for _ in range(40):
        state = step(*state, x, mask)
    assert loss(state[0]) < 0.5 * before


def test_noise_moves_the_start_and_moments_begin_at_zero():
    start = LatentStart(seeded(lambda: Encoder(SHAPE), seed=4).eval(), descent=Descent(spread=0.5))
    inputs = example()
    x, mask = inputs["x"], inputs["mask"]
    quiet = start(x, mask, torch.zeros(ROWS, 6))
    noisy = start(x, mask, torch.ones(ROWS, 6))
    assert torch.allclose(noisy[0] - quiet[0], torch.full((ROWS, 6), 0.5), atol=1e-6)
    assert all(not part.any() for part in quiet[1:])
    assert quiet[3].shape == (ROWS, 1)


def test_the_step_and_the_generator_share_one_copy_of_the_weights():
    g, inputs = generator(), example()
    forward = to_onnx(g, {"z": inputs["z"]}, ["x"])
    step = LatentStep(g, None, shape=SHAPE, descent=Descent())
    graph = to_onnx(step, inputs, ["next_z", "next_m", "next_v", "next_t"])
    assert len(graph) < len(forward) + 20_000
    session(graph)
