"""Images changed on the way to the discriminator, so that few of them last longer.

x ──each transform, in a share p of the rows──► T(x) ──► D          (real and generated alike)
sign(D(x) − D(G(z))) ──► r, its running mean ──► p up where r > target, else down

A generator learns the images and not their changes as long as p is clearly below 1 (Karras et al.
2020, ADA, §2–3). Everything is differentiable: the generator learns through T.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

Rows = Float[Tensor, "n ..."]
Transform = Callable[[Tensor, torch.Generator], Tensor]
SHIFT = 0.125  # of the side, as Zhao et al. (2020), DiffAugment
HOLE = 0.25  # of the side; DiffAugment's half is most of a digit
NOISE = 0.05
BRIGHTNESS = 0.2
MEMORY = 0.98  # of r, in steps


@dataclass
class Augmentation:
    """Which transforms, how often, and the controller of how often.

    Attributes:
        p: the probability of each transform, for each row.
        transforms: functions of rows and a generator.
        target: of r; None leaves p as it is.
        images: in which p can go from 0 to 1.
        overfitting: r, the running mean of sign(D(x) − D(G(z))); 1 where D is always right.
    """

    p: float
    transforms: tuple[Transform, ...]
    target: float | None
    images: int
    overfitting: float = 0.0

    def __call__(self, x: Rows, generator: torch.Generator) -> Rows:
        """The rows, some of them changed; none is drawn where nothing can change."""
        if self.p == 0.0:
            return x
        for transform in self.transforms:
            chosen: Bool[Tensor, " n"] = torch.rand(len(x), generator=generator) < self.p
            where = chosen.to(x.device).view(-1, *[1] * (x.dim() - 1))
            x = torch.where(where, transform(x, generator), x)
        return x

    def heed(self, accuracy: float, *, images: int) -> None:
        """Steer p by the share of pairs in which D was right; `images` were shown."""
        if self.target is None:
            return
        self.overfitting += (1.0 - MEMORY) * (2.0 * accuracy - 1.0 - self.overfitting)
        way = 1.0 if self.overfitting > self.target else -1.0
        self.p = min(max(self.p + way * images / self.images, 0.0), 1.0)

    def state(self) -> dict[str, float]:
        """What a checkpoint holds."""
        return {"p": self.p, "overfitting": self.overfitting}

    def restore(self, state: dict[str, float]) -> None:
        """Go back to what `state` described."""
        self.p, self.overfitting = state["p"], state["overfitting"]


def translate(x: Rows, generator: torch.Generator) -> Rows:
    """Whole pixels, up to an eighth of the side each way; what comes in is the edge, repeated."""
    n, _, height, width = x.shape
    most = max(1, round(SHIFT * width))
    shift = torch.randint(-most, most + 1, (n, 2), generator=generator).to(x)
    rows = torch.zeros(n, 2, 3, dtype=x.dtype, device=x.device)
    rows[:, 0, 0] = rows[:, 1, 1] = 1.0
    rows[:, :, 2] = 2.0 * shift / torch.tensor([width, height]).to(x)
    grid = affine_grid(rows, list(x.shape), align_corners=False)
    return grid_sample(x, grid, padding_mode="border", mode="nearest", align_corners=False)


def cutout(x: Rows, generator: torch.Generator) -> Rows:
    """A square of a quarter of the side, anywhere, set to 0."""
    n, _, height, width = x.shape
    size = max(1, round(HOLE * width))
    corner = torch.rand(n, 2, generator=generator).to(x.device)
    top = (corner[:, :1] * (height - size + 1)).long()
    left = (corner[:, 1:] * (width - size + 1)).long()
    down, across = torch.arange(height, device=x.device), torch.arange(width, device=x.device)
    inside = ((down >= top) & (down < top + size))[:, :, None] & (
        (across >= left) & (across < left + size)
    )[:, None, :]
    return x * (~inside)[:, None].to(x.dtype)


def noise(x: Rows, generator: torch.Generator) -> Rows:
    """Gaussian, σ = 0.05; for points too."""
    return x + NOISE * torch.randn(x.shape, generator=generator).to(x)


def brightness(x: Rows, generator: torch.Generator) -> Rows:
    """All pixels of an image up or down by at most 0.2."""
    change = torch.rand(len(x), generator=generator).to(x) * 2.0 - 1.0
    return x + BRIGHTNESS * change.view(-1, *[1] * (x.dim() - 1))


def flip(x: Rows, generator: torch.Generator) -> Rows:  # noqa: ARG001
    """Left and right exchanged: for photographs, never for digits."""
    return x.flip(-1)


TRANSFORMS: dict[str, Transform] = {
    "translate": translate,
    "cutout": cutout,
    "noise": noise,
    "brightness": brightness,
    "flip": flip,
}
