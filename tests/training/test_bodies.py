"""The networks between the ends: every kind fits its sizes, learns, and can be exported."""

import pytest
import torch

from training.bodies import reader_body
from training.export import fold_batch_norm, parity, to_onnx
from training.latent_step import Descent, LatentStep
from training.networks import Discriminator, Encoder, Generator, PointShape, Shape, seeded
from training.shapes import Critic

NETWORKS = ("dcgan", "resnet", "mlp")


def settled(generator: Generator) -> Generator:
    """With batch statistics under which images differ."""
    noise = torch.Generator().manual_seed(1)
    label = torch.arange(16) % max(generator.classes, 1)
    for _ in range(3):
        generator(torch.randn(16, generator.latent, generator=noise), label)
    return generator.eval()


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("side", "channels"), [(28, 1), (32, 3), (64, 3)])
def test_the_networks_fit_their_sizes(network, side, channels):
    shape = Shape(channels=channels, side=side, latent=5, width=4, network=network)
    x = Generator(shape)(torch.randn(2, 5))
    assert x.shape == (2, channels, side, side)
    assert x.min() >= 0
    assert x.max() <= 1
    assert Discriminator(shape)(x).shape == (2,)
    assert Discriminator(shape).features(x).dim() == 4


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
@pytest.mark.parametrize("network", NETWORKS)
def test_every_norm_fits_every_network(network, norm):
    shape = Shape(latent=5, width=4, network=network, generator_norm=norm, discriminator_norm=norm)
    x = Generator(shape)(torch.randn(3, 5))
    assert Discriminator(shape)(x).isfinite().all()


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_folded_generator_computes_the_same(network, norm):
    shape = Shape(latent=5, width=4, classes=3, labelled=True, network=network, generator_norm=norm)
    generator = settled(seeded(lambda: Generator(shape), seed=0))
    z, label = torch.randn(4, 5), torch.tensor([0, 1, 2, 1])
    folded = fold_batch_norm(generator)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())
    assert torch.allclose(folded(z, label), generator(z, label), atol=1e-5)


@pytest.mark.parametrize("network", ["resnet", "mlp"])
def test_descent_through_every_network_is_exported(network):
    shape = Shape(latent=5, width=4, classes=3, labelled=True, network=network)
    generator = fold_batch_norm(settled(seeded(lambda: Generator(shape), seed=0)))
    critic = seeded(lambda: Discriminator(shape), seed=1).eval().requires_grad_(False)
    step = LatentStep(generator, critic, shape=shape, descent=Descent(realism=0.5))
    inputs = {
        "z": torch.randn(3, 5), "m": torch.randn(3, 5), "v": torch.rand(3, 5),
        "t": torch.ones(3, 1), "x": torch.rand(3, 1, 28, 28),
        "mask": (torch.rand(3, 1, 28, 28) < 0.5).float(), "label": torch.tensor([0, 2, 1]),
    }  # fmt: skip
    graph = to_onnx(step, inputs, ["next_z", "next_m", "next_v", "next_t", "next_label"])
    assert parity(step, graph, inputs, tolerance=1e-4) < 1e-4


def test_a_labelled_generator_makes_another_image_for_each_class():
    shape = Shape(latent=4, width=4, classes=3, labelled=True)
    generator = settled(seeded(lambda: Generator(shape), seed=0))
    x = generator(torch.zeros(3, 4), torch.arange(3))
    assert not torch.allclose(x[0], x[1], atol=1e-4)
    assert not torch.allclose(x[1], x[2], atol=1e-4)


def test_an_encoder_of_a_labelled_generator_reads_the_class_too():
    shape = Shape(latent=4, width=4, classes=3, labelled=True)
    encoder = seeded(lambda: Encoder(shape), seed=0)
    encoder.eval()
    x, mask = torch.rand(5, 1, 28, 28), torch.zeros(5, 1, 28, 28)
    code, label = encoder.understand(x, mask)
    assert torch.equal(code, encoder(x, mask))
    assert torch.equal(label, encoder.class_logits(x, mask).argmax(1))
    mask[..., 7:21, 7:21] = 1.0
    other = torch.where(mask > 0, torch.rand_like(x), x)
    assert torch.equal(encoder.class_logits(x, mask), encoder.class_logits(other, mask))


@pytest.mark.parametrize("kind", ["strides", "patches"])
@pytest.mark.parametrize(("side", "channels"), [(28, 1), (32, 3), (64, 3)])
def test_the_reader_of_classes_fits_every_size(side, channels, kind):
    shape = Shape(channels=channels, side=side, latent=4, width=4, classes=3, labelled=True)
    encoder = Encoder(shape).eval()
    encoder.reader = reader_body(shape, kind).eval()
    x, mask = torch.rand(2, channels, side, side), torch.zeros(2, 1, side, side)
    assert encoder.class_logits(x, mask).shape == (2, 3)


def test_a_label_that_joins_the_features_is_judged_as_that_class():
    shape = Shape(latent=4, width=4, classes=3, discriminator_labels="concatenation")
    d = seeded(lambda: Discriminator(shape), seed=1)
    x = torch.rand(2, 1, 28, 28)
    by_class = torch.stack([d(x, torch.full((2,), c)) for c in range(3)])
    assert torch.allclose(d(x), by_class.amax(0), atol=1e-6)
    assert by_class.std() > 0


@pytest.mark.parametrize("classes", [0, 3])
def test_points_have_players_too(classes):
    shape = PointShape(size=2, latent=4, width=8, depth=2, classes=classes, labelled=classes > 0)
    label = torch.tensor([0, 1, 2, 1, 0]) if classes else None
    x = Generator(shape)(torch.randn(5, 4), label)
    assert x.shape == (5, 2)
    assert Discriminator(shape, Critic(packing=1, kernels=2))(x, label).shape == (5,)
