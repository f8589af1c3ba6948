"""Holes: the fixed ones that inpainting is judged by, and random ones to learn from.

shape, generator ──► masks [n, 1, h, w] float32, 1 where a value is missing
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Masks = Float[Tensor, "n 1 h w"]


def central_square(*, side: int) -> Float[Tensor, "1 h w"]:
    """The centre, half as wide and half as high as the image: 14×14 of 28×28."""
    mask = torch.zeros(1, side, side)
    quarter = side // 4
    mask[:, quarter : side - quarter, quarter : side - quarter] = 1.0
    return mask


def random_masks(n: int, *, side: int, generator: torch.Generator, centre: float = 0.0) -> Masks:
    """Squares, halves, pixels and nothing at all, in equal shares and in a random order.

    A share `centre` of them gives way to the central square.
    """
    kinds: list[Callable[[torch.Generator, int], Tensor]] = [_square, _half, _pixels, _nothing]
    chosen = torch.randint(len(kinds), (n,), generator=generator).tolist()
    masks = torch.stack([kinds[kind](generator, side) for kind in chosen])
    if centre > 0:
        masks[torch.rand(n, generator=generator) < centre] = central_square(side=side)
    return masks


def _square(generator: torch.Generator, side: int) -> Tensor:
    """A rectangle of a quarter to two thirds of the side, anywhere."""
    mask = torch.zeros(1, side, side)
    height, width = torch.randint(side // 4, 2 * side // 3 + 1, (2,), generator=generator).tolist()
    top, left = _below(side - height + 1, generator), _below(side - width + 1, generator)
    mask[:, top : top + height, left : left + width] = 1.0
    return mask


def _half(generator: torch.Generator, side: int) -> Tensor:
    """The left, right, upper or lower part, from a third to two thirds."""
    mask = torch.zeros(1, side, side)
    depth = side // 3 + _below(side // 3 + 1, generator)
    mask[:, :depth] = 1.0
    return torch.rot90(mask, _below(4, generator), dims=(1, 2))


def _pixels(generator: torch.Generator, side: int) -> Tensor:
    """Independent pixels, at a rate between 30 % and 90 %."""
    rate = 0.3 + 0.6 * torch.rand((), generator=generator)
    return (torch.rand(1, side, side, generator=generator) < rate).float()


def _nothing(generator: torch.Generator, side: int) -> Tensor:  # noqa: ARG001
    return torch.zeros(1, side, side)


def _below(limit: int, generator: torch.Generator) -> int:
    return int(torch.randint(limit, (), generator=generator))
