"""The layers between the ends of a generator and of a discriminator, one pair for each network.

[n, entering, 1, 1] ──generator_body──► [n, *data]      [n, *packed data] ──trunk──► [n, f, b, b]

dcgan:  transposed convolutions up, strided convolutions down (Radford et al. 2016).
resnet: the same with two convolutions a step and a way around them (He et al. 2016), so that more
        depth costs no gradient; for 32×32 and beyond.
mlp:    hidden layers of equal width, for points and as the plainest network of small images.

Each normalisation stands right after its layer, where `fold_batch_norm` finds it.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from training.shapes import Norm, PlayerShape, PointShape, Shape

LEAK = 0.2
ReaderKind = Literal["strides", "patches"]


def generator_body(shape: PlayerShape, *, stem: int = 32, finish: int = 16) -> nn.Sequential:
    """From the code to data, before it is squashed."""
    if isinstance(shape, Shape) and shape.network != "mlp":
        return _upward(shape, stem=stem, finish=finish)
    return _mlp_generator(shape)


def discriminator_trunk(shape: PlayerShape, *, packing: int = 1) -> tuple[nn.Sequential, int]:
    """From `packing` rows, one behind the other, to the last features; and how many those are."""
    if isinstance(shape, Shape) and shape.network != "mlp":
        down = _residual_downward if shape.network == "resnet" else downward
        layers = down(packing * shape.channels, shape, norm=shape.discriminator_norm)
        return nn.Sequential(*layers), shape.widths[-1] * shape.base**2
    return _mlp_trunk(shape, packing=packing), shape.width


def downward(channels: int, shape: Shape, *, norm: Norm = "none") -> list[nn.Module]:
    """Strided convolutions from the image to its smallest feature map, and one more there."""
    layers: list[nn.Module] = []
    for i, width in enumerate(shape.widths):
        # DCGAN: no normalisation of the first layer, which sees pixels.
        after = norm if i else "none"
        layers += _leaky(nn.Conv2d(channels, width, 4, stride=2, padding=1), width, after)
        channels = width
    return [*layers, *_leaky(nn.Conv2d(channels, channels, 3, padding=1), channels, norm)]


class Waves(nn.Module):
    """x ↦ x, sin 2ᵏπx, cos 2ᵏπx for k < n: fine differences of numbers in ±1 become large ones."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.frequencies = [math.pi * 2.0**k for k in range(n)]

    def forward(self, x: Float[Tensor, "rows numbers"]) -> Float[Tensor, "rows more"]:
        """[rows, numbers · (1 + 2n)]."""
        turned = [wave(f * x) for f in self.frequencies for wave in (torch.sin, torch.cos)]
        return torch.cat([x, *turned], dim=1)


def reader_body(shape: Shape, kind: ReaderKind = "strides") -> nn.Sequential:
    """From the known pixels and the mask to class logits [n, classes, 1, 1]: a small classifier.

    strides: from layer to layer on half the side. patches: it begins with overlapping patches, four
    pixels apart, and its last layer looks at all their places together: twice the weights, in two
    thirds of the time.
    """
    sized = _by_patches(shape) if kind == "patches" else _by_strides(shape)
    layers: list[nn.Module] = []
    for layer, pool in sized:
        layers += _rectified(layer, layer.out_channels, "batch")
        layers += [nn.MaxPool2d(pool)] if pool > 1 else []
    return nn.Sequential(*layers, nn.Conv2d(sized[-1][0].out_channels, shape.classes, 1))


def _by_strides(shape: Shape) -> list[tuple[nn.Conv2d, int]]:
    """Convolutions, and by how much each one's answer is pooled."""
    a, b, c, features = 32, 48, 96, 64
    return [
        (nn.Conv2d(shape.channels + 1, a, 5, stride=2, padding=2, bias=False), 1),
        (nn.Conv2d(a, b, 3, padding=1, bias=False), 2),
        (nn.Conv2d(b, c, 3, padding=1, bias=False), 2),
        (nn.Conv2d(c, features, shape.side // 8, bias=False), 1),
    ]


def _by_patches(shape: Shape) -> list[tuple[nn.Conv2d, int]]:
    a, neck, features = 64, 32, 96
    return [
        (nn.Conv2d(shape.channels + 1, a, 6, stride=4, padding=1, bias=False), 1),
        (nn.Conv2d(a, a, 3, padding=1, bias=False), 1),
        (nn.Conv2d(a, a, 3, padding=1, bias=False), 1),
        (nn.Conv2d(a, neck, 1, bias=False), 1),
        (nn.Conv2d(neck, features, shape.side // 4, bias=False), 1),
    ]


class ResidualUp(nn.Module):
    """Twice the side: two convolutions, and a transposed one around them."""

    def __init__(self, fan_in: int, fan_out: int, norm: Norm) -> None:
        super().__init__()
        bias = norm != "batch"
        up = nn.ConvTranspose2d(fan_in, fan_out, 4, stride=2, padding=1, bias=bias)
        self.main = nn.Sequential(
            *_rectified(up, fan_out, norm),
            nn.Conv2d(fan_out, fan_out, 3, padding=1, bias=bias),
            *_norm(norm, fan_out),
        )
        self.around = nn.ConvTranspose2d(fan_in, fan_out, 2, stride=2)

    def forward(self, x: Float[Tensor, "n fan_in h w"]) -> Float[Tensor, "n fan_out h2 w2"]:
        """[n, fan_out, 2h, 2w]."""
        y: Tensor = self.main(x) + self.around(x)
        return y.relu()


class ResidualDown(nn.Module):
    """Half the side: two convolutions, and a strided one around them."""

    def __init__(self, fan_in: int, fan_out: int, norm: Norm) -> None:
        super().__init__()
        self.main = nn.Sequential(
            *_leaky(nn.Conv2d(fan_in, fan_out, 3, padding=1), fan_out, norm),
            nn.Conv2d(fan_out, fan_out, 4, stride=2, padding=1),
        )
        self.around = nn.Conv2d(fan_in, fan_out, 2, stride=2)

    def forward(self, x: Float[Tensor, "n fan_in h w"]) -> Float[Tensor, "n fan_out h2 w2"]:
        """[n, fan_out, h/2, w/2]; of the same variance as each of its two parts."""
        y: Tensor = (self.main(x) + self.around(x)) / math.sqrt(2.0)
        return nn.functional.leaky_relu(y, LEAK)


def _upward(shape: Shape, *, stem: int, finish: int) -> nn.Sequential:
    norm, widths = shape.generator_norm, list(reversed(shape.widths))
    bias = norm != "batch"
    begin = nn.ConvTranspose2d(shape.entering, stem, shape.base, bias=bias)
    layers = [
        *_rectified(begin, stem, norm),
        *_rectified(nn.Conv2d(stem, widths[0], 3, padding=1, bias=bias), widths[0], norm),
    ]
    for fan_in, fan_out in zip(widths, [*widths[1:], finish], strict=True):
        if shape.network == "resnet":
            layers.append(ResidualUp(fan_in, fan_out, norm))
        else:
            up = nn.ConvTranspose2d(fan_in, fan_out, 4, stride=2, padding=1, bias=bias)
            layers += _rectified(up, fan_out, norm)
    return nn.Sequential(*layers, nn.Conv2d(finish, shape.channels, 3, padding=1))


def _residual_downward(channels: int, shape: Shape, *, norm: Norm) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for i, width in enumerate(shape.widths):
        layers.append(ResidualDown(channels, width, norm if i else "none"))
        channels = width
    return [*layers, *_leaky(nn.Conv2d(channels, channels, 3, padding=1), channels, norm)]


def _mlp_generator(shape: PlayerShape) -> nn.Sequential:
    norm, units = shape.generator_norm, shape.width
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in in (shape.entering, *[units] * (shape.depth - 1)):
        layers += [nn.Linear(fan_in, units), *_norm(norm, units, flat=True), nn.ReLU()]
    return nn.Sequential(
        *layers, nn.Linear(units, math.prod(shape.data)), nn.Unflatten(1, shape.data)
    )


def _mlp_trunk(shape: PlayerShape, *, packing: int) -> nn.Sequential:
    norm, units = shape.discriminator_norm, shape.width
    waves = shape.waves if isinstance(shape, PointShape) else 0
    entering = packing * math.prod(shape.data) * (1 + 2 * waves)
    layers: list[nn.Module] = [nn.Flatten(), *([Waves(waves)] if waves else [])]
    for fan_in in (entering, *[units] * (shape.depth - 1)):
        layers += [nn.Linear(fan_in, units), *_norm(norm, units, flat=True), nn.LeakyReLU(LEAK)]
    return nn.Sequential(*layers, nn.Unflatten(1, (units, 1, 1)))


def _rectified(layer: nn.Module, channels: int, norm: Norm) -> list[nn.Module]:
    return [layer, *_norm(norm, channels), nn.ReLU()]


def _leaky(layer: nn.Module, channels: int, norm: Norm) -> list[nn.Module]:
    return [layer, *_norm(norm, channels), nn.LeakyReLU(LEAK)]


def _norm(norm: Norm, channels: int, *, flat: bool = False) -> list[nn.Module]:
    """Over the batch; over all of one row (Ba et al. 2016); or nothing."""
    if norm == "batch":
        return [nn.BatchNorm1d(channels) if flat else nn.BatchNorm2d(channels)]
    if norm == "layer":
        return [nn.LayerNorm(channels) if flat else nn.GroupNorm(1, channels)]
    return []
