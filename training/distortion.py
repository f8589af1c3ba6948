"""Images changed a little on the way to a classifier, so that it learns what does not matter.

images ──own affine map, own elastic field──► one bilinear resampling ──► images

Simard, Steinkraus & Platt (2003), "Best practices for convolutional neural networks applied to
visual document analysis": a label outlives small shifts, turns and bends.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from training.judge import small_maps
from training.resample import resample

# Displacements are drawn at this many points a side, and smooth between them.
ELASTIC_POINTS = 6


def distort(
    images: Float[Tensor, "n c h w"],
    *,
    affine: float,
    elastic_pixels: float,
    generator: torch.Generator,
) -> Float[Tensor, "n c h w"]:
    """Each image under a map and a field of its own; what comes in at the edge is 0.

    Args:
        images: of any size.
        affine: how much of the judge's affine maps: at 1, ±12°, ±12 % in size, ±2 pixels of 28.
        elastic_pixels: standard deviation of the displacements at the field's points.
        generator: of both.
    """
    n, height, width = len(images), images.shape[2], images.shape[3]
    maps = small_maps(n, generator=generator, share=affine)
    if not elastic_pixels:
        return resample(images, maps)
    points = torch.randn(n, 2, ELASTIC_POINTS, ELASTIC_POINTS, generator=generator)
    units = 2.0 * elastic_pixels / torch.tensor([width, height])
    return resample(images, maps, displacements=points * units[:, None, None])
