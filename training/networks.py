"""The networks of a small GAN, for square images of 28, 32 or 64 pixels.

z ──► Generator ──► x ∈ [0, 1] ──► Discriminator ──► realism (logit), features
x, mask ──► Encoder ──► z

Everything is a convolution, the first layer of the generator too: a convolution treats each image
of a batch by itself, so that an exported network gives a row the same bytes in any batch (see
`docs/decisions` and `tests/training/test_export.py`). The discriminator and the encoder have no
normalisation over the batch, and the generator's is folded away before export.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)
LEAK = 0.2
# Of the softmax over the latents that choose a class: two of ten normals lie within 1/s of each
# other at the top in about one draw of six.
SHARPNESS = 10.0


@dataclass(frozen=True)
class Shape:
    """The sizes that the three networks share.

    Attributes:
        channels: 1 (grey) or 3 (colour).
        side: height and width in pixels.
        latent: numbers in z.
        width: channels at half the image's resolution; each halving doubles them.
        classes: labels that the players know; 0 for data without labels.
    """

    channels: int = 1
    side: int = 28
    latent: int = 64
    width: int = 32
    classes: int = 0

    def __post_init__(self) -> None:
        if self.side not in {28, 32, 64}:
            raise ValueError(f"side={self.side} is not 28, 32 or 64: resize the images")

    @property
    def halvings(self) -> int:
        """How often the side is halved on the way to 7×7 (28) or 4×4 (32 and 64)."""
        return {28: 2, 32: 3, 64: 4}[self.side]

    @property
    def base(self) -> int:
        """The side of the smallest feature map."""
        return self.side >> self.halvings

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels at side/2, side/4, … , base."""
        return tuple(self.width << k for k in range(self.halvings))


class Generator(nn.Module):
    """G: z ↦ x, by transposed convolutions. Radford et al. (2016), DCGAN.

    z [n, latent] → base×base → … → side×side; a last 3×3 convolution smooths the strokes; tanh is
    mapped to [0, 1]. Where there are k classes, the first k latents choose one: they enter as
    √k·softmax(s·z₁…z_k), so that one continuous Gaussian holds k nearly separate families of
    images, and what lies between two of them is a thin layer. `class_of` reads the choice.
    """

    def __init__(self, shape: Shape, *, stem: int = 32, finish: int = 16) -> None:
        super().__init__()
        self.latent, self.classes = shape.latent, shape.classes
        widths = list(reversed(shape.widths))
        layers = [
            *_normalised(nn.ConvTranspose2d(shape.latent, stem, shape.base, bias=False), stem),
            *_normalised(nn.Conv2d(stem, widths[0], 3, padding=1, bias=False), widths[0]),
        ]
        for fan_in, fan_out in zip(widths, [*widths[1:], finish], strict=True):
            up = nn.ConvTranspose2d(fan_in, fan_out, 4, stride=2, padding=1, bias=False)
            layers += _normalised(up, fan_out)
        self.layers = nn.Sequential(*layers, nn.Conv2d(finish, shape.channels, 3, padding=1))

    def forward(self, z: Float[Tensor, "n latent"]) -> Float[Tensor, "n c side side"]:
        """Images in [0, 1]."""
        if self.classes:
            k = self.classes
            chosen = math.sqrt(k) * torch.softmax(SHARPNESS * z[:, :k], dim=1)
            z = torch.cat([chosen, z[:, k:]], dim=1)
        x: Tensor = torch.tanh(self.layers(z.unsqueeze(2).unsqueeze(3)))
        return 0.5 * (x + 1.0)


class Discriminator(nn.Module):
    """D: x ↦ a logit of realism; its last feature map is the f of f-AnoGAN's izi_f score.

    Where there are classes, it has one logit for each, and judges an image as one of its class.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*_downward(shape.channels, shape))
        self.head = nn.Linear(shape.widths[-1] * shape.base**2, max(shape.classes, 1))

    def features(self, x: Float[Tensor, "n c side side"]) -> Float[Tensor, "n f base base"]:
        """The last feature map, of images in [0, 1]."""
        f: Tensor = self.trunk(2.0 * x - 1.0)
        return f

    def forward(
        self, x: Float[Tensor, "n c side side"], labels: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, " n"]:
        """Logits: positive for what looks real, as one of `labels` where they are given."""
        return self.realism(self.features(x), labels)

    def realism(
        self, features: Float[Tensor, "n f base base"], labels: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, " n"]:
        """Logits from the last feature map; without labels, of the likeliest class."""
        logits: Tensor = self.head(features.flatten(1))
        if labels is None:
            return logits.amax(1)
        return logits.gather(1, labels[:, None])[:, 0]


class Encoder(nn.Module):
    """E: x, mask ↦ z, for images of which a part may be missing; a mask of zeros hides nothing.

    One network for `encode`, for the anomaly score and for the start of inpainting: the known
    pixels and the mask are its channels.
    """

    def __init__(self, shape: Shape, *, neck: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_downward(shape.channels + 1, shape),
            nn.Conv2d(shape.widths[-1], neck, 1),
            nn.LeakyReLU(LEAK),
            nn.Conv2d(neck, shape.latent, shape.base),
        )

    def forward(
        self, x: Float[Tensor, "n c side side"], mask: Float[Tensor, "n 1 side side"]
    ) -> Float[Tensor, "n latent"]:
        """z of images in [0, 1]; what lies under a mask of 1 is not looked at."""
        seen = torch.cat([(2.0 * x - 1.0) * (1.0 - mask), mask], dim=1)
        z: Tensor = self.layers(seen)
        return z.flatten(1)


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


def _normalised(layer: nn.Module, channels: int) -> list[nn.Module]:
    return [layer, nn.BatchNorm2d(channels), nn.ReLU()]


def _downward(channels: int, shape: Shape) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for width in shape.widths:
        layers += [nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.LeakyReLU(LEAK)]
        channels = width
    return [*layers, nn.Conv2d(channels, channels, 3, padding=1), nn.LeakyReLU(LEAK)]


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
