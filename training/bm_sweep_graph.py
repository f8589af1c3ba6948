"""One Gibbs sweep of a Boltzmann machine with any connections, unrolled into ONNX nodes.

int32 inputs of all units ──block by block: compare with thresholds, tell those after──► states

A loop in the graph would keep it small, but costs more a step than a step's own work, and no CUDA
graph may hold one.
"""

from __future__ import annotations

import numpy as np

from training.bm_connections import Blocks
from training.bm_quantised import QuantisedBm
from training.boltzmann_nodes import as_states, integer_product
from training.graph_builder import GraphBuilder


class UnrolledSweep:
    """The draws of one sweep, block after block, in the order of the blocks.

    `old` is what the units not yet drawn say to those before them, in one product; what a drawn
    block says to those after it is added as soon as it is known.
    """

    def __init__(self, g: GraphBuilder, bm: QuantisedBm, blocks: Blocks) -> None:
        self.g, self.bm, self.blocks = g, bm, blocks
        self.order = np.array([unit for block in blocks for unit in block], np.int64)
        self.number = np.empty(bm.units, np.int64)
        for i, block in enumerate(blocks):
            self.number[list(block)] = i

    def drawn(self, x: str, levels: str) -> str:
        """The next states of all units, uint8, in the machine's own order."""
        sizes = [len(block) for block in self.blocks]
        levels = self._reordered(levels, self.order, "in_blocks")
        level = self.g.split(levels, sizes) if len(sizes) > 1 else [levels]
        rest, states, done = self._from_old(x), [], 0
        for i, size in enumerate(sizes):
            done += size
            last = i + 1 == len(sizes)
            a, rest = (rest, "") if last else self.g.split(rest, [size, self.bm.units - done])
            states.append(as_states(self.g, self.g.op("Greater", a, level[i])))
            if not last:
                rest = self._told(i, states[-1], rest, done)
        made = self.g.op("Concat", *states, axis=1)
        return self._reordered(made, np.argsort(self.order), "as_units")

    def _from_old(self, x: str) -> str:
        """int32 b + the sum over units of later blocks, for each unit, in the blocks' order."""
        later = self.number[:, None] > self.number[None, :]
        old = (self.bm.W * later)[:, self.order]
        bias = self.g.constant("b_in_blocks", self.bm.b[self.order].astype(np.int32)[None])
        return self.g.op("Add", integer_product(self.g, x, "W_old", old), bias)

    def _told(self, i: int, states: str, rest: str, done: int) -> str:
        """`rest` with what block i says to the units after it."""
        W = self.bm.W[np.ix_(np.array(self.blocks[i]), self.order[done:])]
        if not W.any():
            return rest
        return self.g.op("Add", rest, integer_product(self.g, states, f"W_{i}", W))

    def _reordered(self, x: str, order: np.ndarray, name: str) -> str:
        if np.array_equal(order, np.arange(len(order))):
            return x
        return self.g.op("Gather", x, self.g.constant(name, order), axis=1)
