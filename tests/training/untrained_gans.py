"""GANs that have learnt nothing, published: for tests of what their packages do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from service.contract import Defaults, ImageData, Labels, Latent
from training.data import Dataset
from training.export import fold_batch_norm, in_halves
from training.gan_card import Trained
from training.gan_export import class_names
from training.networks import Discriminator, Encoder, Generator, Shape, seeded
from training.package import Function, Package, publish

M = TypeVar("M", bound=nn.Module)


def untrained(shape: Shape) -> Trained:
    """Fresh networks and a few images of noise."""
    generator = seeded(lambda: Generator(shape), seed=0)
    noise, label = torch.Generator().manual_seed(1), torch.arange(30) % max(shape.classes, 1)
    for _ in range(10):  # statistics under which images differ
        generator(torch.randn(30, shape.latent, generator=noise), label)
    images = np.random.default_rng(0).random((20, *shape.data), np.float32)
    data = Dataset(images=images, labels=None, name="noise")
    return Trained(
        generator=in_halves(fold_batch_norm(generator)),
        discriminator=_still(seeded(lambda: Discriminator(shape), seed=1)),
        encoder=_still(seeded(lambda: Encoder(shape), seed=2)),
        shape=shape,
        steps=1,
        best_step=1,
        seconds=0.0,
        train=data,
        calibration=data,
    )


def _still(network: M) -> M:
    """As the recipe gives it to the export."""
    return in_halves(network.eval().requires_grad_(False))


def published(
    store: Path, functions: Mapping[str, Function], *, name: str, shape: Shape, inpaint_steps: int
) -> Package:
    """The functions as a package of images, with names for labels where there are any."""
    labels = Labels(names=class_names("mnist", shape.classes)) if shape.labelled else None
    folder = publish(
        store,
        name=name,
        version=1,
        family="gan",
        description="",
        data=ImageData(shape=shape.data),
        latent=Latent(size=shape.latent),
        labels=labels,
        functions=functions,
        defaults=Defaults(burn_in=None, inpaint_steps=inpaint_steps, truncation=None),
        quality=(),
        provenance={},
        card="",
        preview=b"",
    )
    return Package(folder)
