"""Images drawn anew under maps of the plane: the common part of shaking, bending and distorting.

images ──an affine map each──smooth displacements──► one bilinear resampling ──► images
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate


def resample(
    images: Float[Tensor, "n c h w"],
    maps: Float[Tensor, "n 2 3"],
    *,
    displacements: Float[Tensor, "n 2 points points"] | None = None,
) -> Float[Tensor, "n c h w"]:
    """x'(p) = x(Ap + d(p)); what comes in at the edge is 0.

    Args:
        images: of any size; the plane is [-1, 1]² whatever it is.
        maps: A of each image, with its shift.
        displacements: d at an even lattice of points, across and down; cubic between them.
    """
    grid = affine_grid(maps.to(images), list(images.shape), align_corners=False)
    if displacements is not None:
        size = (images.shape[2], images.shape[3])
        field = interpolate(displacements.to(images), size=size, mode="bicubic", align_corners=True)
        grid = grid + field.permute(0, 2, 3, 1)
    return grid_sample(images, grid, align_corners=False)
