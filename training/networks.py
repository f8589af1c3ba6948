"""The networks of a small GAN: players for images and for points, and an encoder of images.

z[, label] ──► Generator ──► x ∈ [0, 1] ──► Discriminator ──► realism (logit), features
x, mask ──► Encoder ──► z[, class logits]

Images go through convolutions alone, in the first layer of the generator too: a convolution treats
each image of a batch by itself, so that an exported network gives a row the same bytes in any batch
(see `docs/decisions` and `tests/training/test_export.py`). The generator's batch norm is folded
away before export. What lies between the ends is in `training/bodies.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

from training.bodies import LEAK, discriminator_trunk, downward, generator_body, reader_body
from training.minibatch import MinibatchDeviation, MinibatchDiscrimination
from training.shapes import Critic, PlayerShape, PointShape, Shape

__all__ = [
    "Discriminator",
    "Encoder",
    "Generator",
    "PointShape",
    "Shape",
    "class_of",
    "count_parameters",
    "fast",
    "of_class",
    "plain",
    "seeded",
    "unbound",
]

M = TypeVar("M", bound=nn.Module)


class Generator(nn.Module):
    """G: z[, label] ↦ x: images in [0, 1] by tanh, or points as they come.

    Of k classes, a label that is an input joins z as √k times its indicator (Mirza & Osindero
    2014). Without such an input the first k latents choose: they enter as √k·softmax(s·z₁…z_k), so
    that one continuous Gaussian holds k nearly separate families of images, and what lies between
    two of them is a thin layer. `class_of` reads the choice.
    """

    def __init__(self, shape: PlayerShape) -> None:
        super().__init__()
        self.latent, self.classes = shape.latent, shape.classes
        self.labelled, self.sharpness = shape.labelled, shape.sharpness
        self.makes_images = isinstance(shape, Shape)
        self.layers = generator_body(shape)

    def forward(
        self, z: Float[Tensor, "n latent"], label: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "n ..."]:
        """Images in [0, 1], or points; of the class `label`, if this generator is `labelled`."""
        code = self._entering(z, label).unsqueeze(2).unsqueeze(3)
        x: Tensor = self.layers(code)
        return 0.5 * (torch.tanh(x) + 1.0) if self.makes_images else x

    def _entering(
        self, z: Float[Tensor, "n latent"], label: Int[Tensor, " n"] | None
    ) -> Float[Tensor, "n entering"]:
        k = self.classes
        if self.labelled:
            assert label is not None, "a labelled generator is told the class"
            return torch.cat([math.sqrt(k) * indicator(label, classes=k), z], dim=1)
        if k:
            chosen = math.sqrt(k) * torch.softmax(self.sharpness * z[:, :k], dim=1)
            return torch.cat([chosen, z[:, k:]], dim=1)
        return z


class Discriminator(nn.Module):
    """D: x ↦ a logit of realism; its last feature map is the f of f-AnoGAN's izi_f score.

    Where there are classes, it judges a row as one of its class. By projection it has one logit for
    each, ⟨w + v_y, φ(x)⟩ + b_y, whose w is part of v (Miyato & Koyama 2018); by concatenation the
    label's indicator joins φ(x) before a hidden layer.
    """

    def __init__(self, shape: PlayerShape, critic: Critic | None = None) -> None:
        super().__init__()
        critic = critic or Critic()
        self.classes, self.packing = shape.classes, critic.packing
        self.sees_images, self.columns = isinstance(shape, Shape), shape.data[0]
        self.mixes_rows = critic.mixes_rows(shape)
        self.trunk, features = discriminator_trunk(shape, packing=critic.packing)
        self.deviation = MinibatchDeviation() if critic.minibatch_std else None
        self.near = MinibatchDiscrimination(features, critic.kernels) if critic.kernels else None
        features += critic.minibatch_std + critic.kernels
        self.concatenates = bool(shape.classes) and shape.discriminator_labels == "concatenation"
        self.head: nn.Module = nn.Linear(features, max(shape.classes, 1))
        if self.concatenates:
            self.head = nn.Sequential(
                nn.Linear(features + shape.classes, 2 * shape.width),
                nn.LeakyReLU(LEAK),
                nn.Linear(2 * shape.width, 1),
            )
        if critic.spectral_norm:
            _bound_every_layer(self)

    def features(self, x: Float[Tensor, "n ..."]) -> Float[Tensor, "n f base base"]:
        """The last feature map, of images in [0, 1] or of points.

        Where rows are judged in packs, x holds packs, one row behind the other along its second
        axis; a row alone is a pack of copies of itself.
        """
        if x.shape[1] < self.packing * self.columns:
            x = torch.cat([x] * self.packing, dim=1)
        f: Tensor = self.trunk(2.0 * x - 1.0 if self.sees_images else x)
        return f

    def forward(
        self, x: Float[Tensor, "n ..."], labels: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, " n"]:
        """Logits: positive for what looks real, as one of `labels` where they are given."""
        return self.realism(self.features(x), labels)

    def realism(
        self, features: Float[Tensor, "n f base base"], labels: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, " n"]:
        """Logits from the last feature map; without labels, of the likeliest class."""
        flat = features.flatten(1)
        seen = [flat]
        seen += [] if self.deviation is None else [self.deviation(flat)]
        seen += [] if self.near is None else [self.near(flat)]
        logits = self._logits(torch.cat(seen, dim=1) if len(seen) > 1 else flat, labels)
        if logits.shape[1] == 1:
            return logits[:, 0]
        if labels is None:
            return logits.amax(1)
        return logits.gather(1, labels[:, None])[:, 0]

    def _logits(
        self, seen: Float[Tensor, "n seen"], labels: Int[Tensor, " n"] | None
    ) -> Float[Tensor, "n some"]:
        if not self.concatenates:
            by_class: Tensor = self.head(seen)
            return by_class
        every = range(self.classes) if labels is None else [labels]
        told = [torch.as_tensor(one, device=seen.device).expand(len(seen)) for one in every]
        joined = [torch.cat([seen, indicator(one, classes=self.classes)], dim=1) for one in told]
        return torch.cat([self.head(one) for one in joined], dim=1)


class Encoder(nn.Module):
    """E: x, mask ↦ z, for images of which a part may be missing; a mask of zeros hides nothing.

    One network for `encode`, for the anomaly score and for the start of inpainting: the known
    pixels and the mask are its channels. For a labelled generator a second one, `reader`, reads the
    class from the same.
    """

    def __init__(self, shape: Shape, *, neck: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *downward(shape.channels + 1, shape),
            nn.Conv2d(shape.widths[-1], neck, 1),
            nn.LeakyReLU(LEAK),
            nn.Conv2d(neck, shape.latent, shape.base),
        )
        self.reader = reader_body(shape) if shape.labelled else None

    def forward(
        self, x: Float[Tensor, "n c side side"], mask: Float[Tensor, "n 1 side side"]
    ) -> Float[Tensor, "n latent"]:
        """z of images in [0, 1]; what lies under a mask of 1 is not looked at."""
        z: Tensor = self.layers(visible(x, mask))
        return z.flatten(1)

    def class_logits(
        self, x: Float[Tensor, "n c side side"], mask: Float[Tensor, "n 1 side side"]
    ) -> Float[Tensor, "n classes"]:
        """Of what is known of the images."""
        assert self.reader is not None, "a generator without labels has no reader"
        logits: Tensor = self.reader(visible(x, mask))
        return logits.flatten(1)

    def understand(
        self, x: Float[Tensor, "n c side side"], mask: Float[Tensor, "n 1 side side"]
    ) -> tuple[Float[Tensor, "n latent"], Int[Tensor, " n"] | None]:
        """z, and the likeliest class where the generator is labelled."""
        label = None if self.reader is None else self.class_logits(x, mask).argmax(1)
        return self(x, mask), label


def visible(
    x: Float[Tensor, "n c side side"], mask: Float[Tensor, "n 1 side side"]
) -> Float[Tensor, "n seen side side"]:
    """The channels that an encoder is given: the known pixels in ±1, 0 in the hole; the mask."""
    return torch.cat([(2.0 * x - 1.0) * (1.0 - mask), mask], dim=1)


def class_of(z: Float[Tensor, "n latent"], *, classes: int) -> Int[Tensor, " n"]:
    """Which class the first latents choose."""
    return z[:, :classes].argmax(1)


def of_class(
    z: Float[Tensor, "n latent"], labels: Int[Tensor, " n"], *, classes: int
) -> Float[Tensor, "n latent"]:
    """z with the largest of its choosing latents and the one of its label exchanged.

    The numbers only change places, so that z stays standard normal where labels are uniform.
    """
    rows = torch.arange(len(z))
    largest = class_of(z, classes=classes)
    moved = z.clone()
    moved[rows, labels], moved[rows, largest] = z[rows, largest], z[rows, labels]
    return moved


def indicator(label: Int[Tensor, " n"], *, classes: int) -> Float[Tensor, "n classes"]:
    """1 at the label, 0 elsewhere."""
    places = torch.arange(classes, device=label.device)
    return (label.unsqueeze(1) == places).to(torch.float32)


def _bound_every_layer(discriminator: nn.Module) -> None:
    for layer in list(discriminator.modules()):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            spectral_norm(layer)


def unbound(discriminator: Discriminator) -> Discriminator:
    """The same discriminator, with plain weights where the spectral norm held them."""
    discriminator.eval()
    for layer in discriminator.modules():
        if is_parametrized(layer, "weight"):
            remove_parametrizations(layer, "weight", leave_parametrized=True)
    return discriminator


def seeded(make: Callable[[], M], *, seed: int) -> M:
    """A network whose first weights follow from `seed`; torch's global generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def fast(network: M) -> M:
    """Channels last: 1.2–1.5 × faster on CPUs with AVX-512, and the same numbers to rounding."""
    return _laid_out(network, torch.channels_last)


def plain(network: M) -> M:
    """Channels first, as a graph is exported."""
    return _laid_out(network, torch.contiguous_format)


def _laid_out(network: M, layout: torch.memory_format) -> M:
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=layout)
    return network


def count_parameters(module: nn.Module) -> int:
    """How many numbers a network learns."""
    return sum(p.numel() for p in module.parameters())
