"""Which units of a Boltzmann machine are connected, and which may therefore change together.

shape, hidden, kinds of links ──► links [units, units] ──colour──► blocks of independent units

Two units of one block are not connected: given all others they are independent, and Gibbs sampling
may draw them at once. Visible units come first and share no block with hidden ones. A full machine
has a block for each unit, a restricted one has two.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool
from torch import Tensor

VisibleLinks = Literal["none", "neighbours", "all"]
HiddenLinks = Literal["none", "all"]
Links: TypeAlias = Bool[Tensor, "units units"]
# Numbers of units, rising.
Block: TypeAlias = tuple[int, ...]
Blocks: TypeAlias = tuple[Block, ...]
# How a block is found in a tensor: neighbours by a slice, which copies nothing.
Place: TypeAlias = slice | list[int]


def connections(
    shape: tuple[int, int, int],
    *,
    hidden: int,
    visible_links: VisibleLinks = "all",
    hidden_links: HiddenLinks = "all",
) -> Links:
    """All visible-hidden links, and those inside the layers that are asked for.

    Args:
        shape: [C, H, W] of the visible units.
        hidden: number of hidden units.
        visible_links: `neighbours` joins a pixel with the eight around it, in all channels, and
            with itself in the other channels.
        hidden_links: between hidden units.
    """
    visible = shape[0] * shape[1] * shape[2]
    links = torch.zeros(visible + hidden, visible + hidden, dtype=torch.bool)
    links[:visible, visible:] = True
    links[visible:, :visible] = True
    if visible_links == "neighbours":
        links[:visible, :visible] = _neighbours(shape)
    links[:visible, :visible] |= visible_links == "all"
    links[visible:, visible:] |= hidden_links == "all"
    return links.fill_diagonal_(False)


def layered(sizes: Sequence[int]) -> Links:
    """Links between neighbouring layers alone: a restricted machine, or a deep one."""
    links = torch.zeros(sum(sizes), sum(sizes), dtype=torch.bool)
    at = 0
    for lower, upper in pairwise(sizes):
        middle, end = at + lower, at + lower + upper
        links[at:middle, middle:end] = True
        links[middle:end, at:middle] = True
        at = middle
    return links


def check_links(links: Links) -> None:
    """Raise ValueError unless the links are mutual, and none leads from a unit to itself."""
    if links.ndim != 2 or links.shape[0] != links.shape[1]:
        raise ValueError(f"links of shape {list(links.shape)} must be [units, units]")
    if bool(links.diagonal().any()):
        raise ValueError("a unit is connected with itself: set the diagonal to False")
    if not torch.equal(links, links.T):
        raise ValueError("links lead one way only: make the matrix symmetric")


def colour_blocks(links: Links, *, visible: int) -> Blocks:
    """Blocks of units without links among them, in the order in which a sweep draws them.

    Greedy colouring in the units' order, the visible ones first: each takes the first block of its
    layer that has no neighbour of it. Four blocks for a grid of pixels with eight neighbours.

    Raises:
        ValueError: links lead one way only, or from a unit to itself.
    """
    check_links(links)
    neighbours = [set(row.nonzero().flatten().tolist()) for row in links]
    blocks: list[list[int]] = []
    for layer in (range(visible), range(visible, len(links))):
        own: list[list[int]] = []
        for unit in layer:
            free = (block for block in own if neighbours[unit].isdisjoint(block))
            block = next(free, None)
            if block is None:
                own.append([unit])
            else:
                block.append(unit)
        blocks += own
    return tuple(tuple(block) for block in blocks)


def single_units(units: int) -> Blocks:
    """A block for each unit, in order: unit-wise Gibbs with a fixed scan."""
    return tuple((unit,) for unit in range(units))


def hidden_blocks(blocks: Blocks, *, visible: int) -> Blocks:
    """The blocks of hidden units: a sweep of them alone holds all visible units."""
    return tuple(block for block in blocks if block[0] >= visible)


def place(block: Block) -> Place:
    """Where the units of a block are."""
    first, last = block[0], block[-1]
    return slice(first, last + 1) if last - first + 1 == len(block) else list(block)


def _neighbours(shape: tuple[int, int, int]) -> Links:
    channels, height, width = shape
    rows = torch.arange(height).repeat_interleave(width).repeat(channels)
    columns = torch.arange(width).repeat(height * channels)
    near = (rows[:, None] - rows).abs() <= 1
    return near & ((columns[:, None] - columns).abs() <= 1)
