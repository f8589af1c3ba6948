"""The sizes and kinds of a GAN's networks: what players are built from, before there are any.

Shape (images) | PointShape (points), Critic (what D looks at) ──► bodies ──► players
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Network = Literal["dcgan", "mlp", "resnet"]
Norm = Literal["batch", "layer", "none"]
LabelHead = Literal["projection", "concatenation"]


@dataclass(frozen=True, kw_only=True)
class PlayerShape:
    """What the players of every kind of data share.

    Attributes:
        latent: numbers in z.
        width: channels at half an image's resolution, each halving doubles them; units of an MLP.
        depth: hidden layers of an MLP.
        classes: labels that the players know; 0 for data without labels.
        labelled: the generator takes the label as an input; else the first latents choose it.
        unlabelled: the data have no labels all the same: latents choose among as many pieces of
            the output, and the discriminator takes the largest of its logits.
        generator_norm, discriminator_norm: normalisation after their hidden layers.
        discriminator_labels: how the discriminator takes labels, see `networks.Discriminator`.
        sharpness: of the softmax over the latents that choose a class. Two of ten normals lie
            within 1/sharpness of each other at the top in about one draw of six, at 10.
    """

    latent: int = 64
    width: int = 32
    depth: int = 3
    classes: int = 0
    labelled: bool = False
    unlabelled: bool = False
    generator_norm: Norm = "batch"
    discriminator_norm: Norm = "none"
    discriminator_labels: LabelHead = "projection"
    sharpness: float = 10.0

    def __post_init__(self) -> None:
        assert self.classes or not self.labelled, "no classes, no labels"

    @property
    def data(self) -> tuple[int, ...]:
        """The shape of one row."""
        raise NotImplementedError("use Shape or PointShape")

    @property
    def entering(self) -> int:
        """Numbers that the generator's first layer is given."""
        return self.latent + (self.classes if self.labelled else 0)


@dataclass(frozen=True, kw_only=True)
class Shape(PlayerShape):
    """Square images.

    Attributes:
        channels: 1 (grey) or 3 (colour).
        side: height and width in pixels: 28, 32 or 64.
        network: see training/bodies.py.
    """

    channels: int = 1
    side: int = 28
    network: Network = "dcgan"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.side not in {28, 32, 64}:
            raise ValueError(f"side={self.side} is not 28, 32 or 64: resize the images")

    @property
    def data(self) -> tuple[int, ...]:
        """[C, H, W] of one image."""
        return self.channels, self.side, self.side

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


@dataclass(frozen=True, kw_only=True)
class PointShape(PlayerShape):
    """Points of `size` real numbers: rings, grids, rows of a table. Their network is an MLP.

    Attributes:
        size: how many numbers.
        waves: sines and cosines of each number at frequencies π, 2π, 4π, … that the discriminator
            sees beside it, so that it can tell what is finer than its hidden units (Tancik et al.
            2020); 0 is none.
    """

    size: int = 2
    latent: int = 2
    width: int = 128
    waves: int = 0

    @property
    def data(self) -> tuple[int, ...]:
        """[size]: one point."""
        return (self.size,)


@dataclass(frozen=True)
class Critic:
    """What the discriminator looks at beyond one row, and how its weights are held.

    Attributes:
        packing: rows that it judges together, as one (Lin et al. 2018, PacGAN).
        minibatch_std: it sees the rows' mean standard deviation (Karras et al. 2018, §3).
        kernels: of minibatch discrimination (Salimans et al. 2016, §3.2); 0 is none.
        spectral_norm: every layer's largest singular value is 1 (Miyato et al. 2018).
    """

    packing: int = 1
    minibatch_std: bool = False
    kernels: int = 0
    spectral_norm: bool = False

    def mixes_rows(self, shape: PlayerShape) -> bool:
        """Whether what it says of a row depends on the batch around it."""
        return self.minibatch_std or self.kernels > 0 or shape.discriminator_norm == "batch"
