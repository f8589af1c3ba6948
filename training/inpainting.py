"""Filling holes with a package's own graphs, as the service does, and how good the fillings are.

images, mask ──latent_start──► state ──k × latent_step──► state ──latent_readout──► hole filled

The noise is keyed by (seed, row) as in the service: the same seed gives the same fillings there.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from service.contract import Quality, Role
from service.domain.fidelity import distances
from service.domain.randomness import Stream, standard_normal
from training.data import Dataset
from training.judge import Bench
from training.masks import central_square
from training.package import Package

Images = Float[np.ndarray, "n C H W"]
Mask = Float[np.ndarray, "1 H W"]

# How a hole is shown in a sheet: neither ink nor paper.
HOLE_SHADE = 0.4
_FILLINGS = 2**32  # row keys of the service: image · 2³² + filling


def fill(
    package: Package,
    images: Images,
    mask: Mask,
    *,
    seed: int,
    steps: int,
    filling: int = 0,
    batch: int = 50,
) -> Images:
    """The images with their hole (mask = 1) filled; known pixels come back as they were."""
    parts = []
    for first in range(0, len(images), batch):
        rows = [i * _FILLINGS + filling for i in range(first, min(first + batch, len(images)))]
        part = images[first : first + batch]
        made = _descend(package, part, mask, seed=seed, rows=rows, steps=steps)
        parts.append(np.where(mask > 0, made, part))
    return np.concatenate(parts)


def _descend(
    package: Package, images: Images, mask: Mask, *, seed: int, rows: list[int], steps: int
) -> Images:
    known = np.where(mask > 0, np.float32(0.0), images)
    masks = np.broadcast_to(mask, (len(images), *mask.shape)).astype(np.float32)
    start = package.manifest.functions["latent_start"].input(Role.NOISE)
    assert start is not None, "latent_start takes noise"
    width = start.row_shape[0]
    noise = standard_normal(seed=seed, rows=rows, stream=Stream.START, width=width)
    state = package.run("latent_start", x=known, mask=masks, noise=noise)
    for _ in range(steps):
        after = package.run("latent_step", **state, x=known, mask=masks)
        state = {name.removeprefix("next_"): value for name, value in after.items()}
    readout = package.manifest.functions["latent_readout"].inputs
    made: Images = package.run("latent_readout", **{t.name: state[t.name] for t in readout})["x"]
    return made


def inpainting_rows(
    package: Package, images: Images, *, steps: int, seed: int, fillings: int = 5
) -> Images:
    """For each image: itself, itself without its centre, and some fillings, none chosen."""
    mask = central_square(side=images.shape[-1]).numpy()
    hidden = np.where(mask > 0, np.float32(HOLE_SHADE), images)
    filled = [
        fill(package, images, mask, seed=seed, steps=steps, filling=i) for i in range(fillings)
    ]
    columns = np.stack([images, hidden, *filled], axis=1)
    return columns.reshape(-1, *images.shape[1:]).astype(np.float32)


def mean_image_filling(images: Images, mask: Mask, train: Images) -> Images:
    """The training images' mean in the hole."""
    return np.where(mask > 0, train.mean(0), images).astype(np.float32)


def nearest_neighbour_filling(images: Images, mask: Mask, train: Images) -> Images:
    """In the hole, the training image that is nearest in the known pixels."""
    seen = np.broadcast_to(mask <= 0, train.shape[1:]).ravel()
    ours = images.reshape(len(images), -1)[:, seen]
    theirs = train.reshape(len(train), -1)[:, seen]
    nearest = np.concatenate(
        [distances(ours[i : i + 100], theirs).argmin(1) for i in range(0, len(ours), 100)]
    )
    return np.where(mask > 0, train[nearest], images).astype(np.float32)


def hole_error(filled: Images, images: Images, mask: Mask) -> float:
    """Mean squared error of the hole's pixels."""
    inside = np.broadcast_to(mask > 0, images.shape)
    return float(np.square(filled - images)[inside].mean())


def inpainting_figures(
    package: Package,
    train: Dataset,
    test: Dataset,
    *,
    n: int,
    steps: int,
    seed: int,
    judge: Bench | None,
) -> list[Quality]:
    """Error in the hole of the first `n` test images, beside two baselines; classes kept.

    `judge` says whether a class is kept; None leaves that figure out.
    """
    some = test.take(slice(n))
    mask = central_square(side=some.shape[-1]).numpy()
    first = fill(package, some.images, mask, seed=seed, steps=steps)
    second = fill(package, some.images, mask, seed=seed, steps=steps, filling=1)
    fillings = {
        "": first,
        "_of_mean_image": mean_image_filling(some.images, mask, train.images),
        "_of_nearest_neighbour": nearest_neighbour_filling(some.images, mask, train.images),
    }
    protocol = (
        f"first {len(some):,} test images, central square of half the side removed, one filling "
        f"each, {steps} steps"
    )
    baseline = "a baseline on the same images"
    figures = [
        Quality(
            name=f"inpainting_hole_mse{name}",
            value=hole_error(filled, some.images, mask),
            protocol=f"mean squared error of the hole's pixels; {baseline if name else protocol}",
        )
        for name, filled in fillings.items()
    ]
    inside = np.broadcast_to(mask > 0, first.shape)
    figures.append(
        Quality(
            name="inpainting_diversity",
            value=float(np.abs(first - second)[inside].mean()),
            protocol=f"mean absolute difference of two fillings in the hole; {protocol}",
        )
    )
    if some.labels is not None and judge is not None:
        figures.append(_class_kept(fillings[""], some, judge, protocol))
    return figures


def _class_kept(filled: Images, some: Dataset, judge: Bench, protocol: str) -> Quality:
    assert some.labels is not None
    return Quality(
        name="inpainting_class_kept",
        value=judge.accuracy(filled, some.labels),
        floor=judge.accuracy(some.images, some.labels),
        protocol=(
            f"share of filled images in which the judge (sha256 {judge.sha256[:12]}…) sees the "
            f"true digit; floor: of the originals; {protocol}"
        ),
    )
