"""A deep machine in whole numbers: what is exported, served and evaluated.

Dbm (float) ──quantise_deep──► QuantisedDbm: W, b as integers times one step s ──► dequantised Dbm

As `training.quantised` has it for one hidden layer: with 0/1 units every input of a unit is a sum
of integers, exact in any order, on any device. A unit is on where its logistic noise is less than
a·(s·β), for the integer input a.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int32, UInt8

from training.dbm import Dbm
from training.quantised import EXACT_FLOAT32, LARGEST_WEIGHT, Bits, best_step

States = Mapping[int, UInt8[np.ndarray, "n units"]]
Logistics = Mapping[int, Float[np.ndarray, "n units"]]


@dataclass(frozen=True)
class QuantisedDbm:
    """Integer parameters in units of `step`.

    Attributes:
        W: |W| ≤ 127 with 8 bits, ≤ 32,639 with 16; W[l - 1] joins layer l - 1 to layer l.
        b: biases of each layer, in the same unit.
        step: s, the unit; a float32.
        bits: 8 or 16.
    """

    W: tuple[Int32[np.ndarray, "lower upper"], ...]
    b: tuple[Int32[np.ndarray, " units"], ...]
    step: np.float32
    bits: Bits

    @property
    def sizes(self) -> tuple[int, ...]:
        """Units of each layer, the visible one first."""
        return tuple(len(bias) for bias in self.b)

    @property
    def even(self) -> tuple[int, ...]:
        """The layers 0, 2, … of the stack."""
        return tuple(range(0, len(self.b), 2))

    @property
    def odd(self) -> tuple[int, ...]:
        """The layers 1, 3, …: the state of a chain."""
        return tuple(range(1, len(self.b), 2))

    def neighbours(self, layer: int) -> list[tuple[int, Int32[np.ndarray, "from to"]]]:
        """The layers next to this one, each with the weights from it to this one."""
        below = [(layer - 1, self.W[layer - 1])] if layer > 0 else []
        above = [(layer + 1, self.W[layer].T)] if layer < len(self.W) else []
        return below + above

    def dequantised(self) -> Dbm:
        """The machine in float32: integer × step, which is the model that is published."""
        return Dbm(
            W=tuple(torch.from_numpy(W.astype(np.float32) * self.step) for W in self.W),
            b=tuple(torch.from_numpy(b.astype(np.float32) * self.step) for b in self.b),
        )


def quantise_deep(dbm: Dbm, *, bits: Bits) -> QuantisedDbm:
    """Round to whole multiples of the step that leaves the least squared error over all layers.

    The step is larger where an input could otherwise pass 2²⁴, beyond which float32 has no exact
    integers.
    """
    W = [t.detach().cpu().double().numpy() for t in dbm.W]
    b = [t.detach().cpu().double().numpy() for t in dbm.b]
    reach, terms = 0.0, 0
    for layer, bias in enumerate(b):
        total, count = np.abs(bias), 1
        if layer > 0:
            total, count = total + np.abs(W[layer - 1]).sum(0), count + len(W[layer - 1])
        if layer < len(W):
            total, count = total + np.abs(W[layer]).sum(1), count + W[layer].shape[1]
        reach, terms = max(reach, float(total.max())), max(terms, count)
    limit = LARGEST_WEIGHT[bits]
    # Rounding adds up to half a step a term: leave room for it.
    least = max(reach / (EXACT_FLOAT32 - terms), 1e-6)
    step = best_step(np.concatenate([w.ravel() for w in W])[None], limit=limit, least=least)

    def whole(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.rint(x / float(step))

    return QuantisedDbm(
        W=tuple(np.clip(whole(w), -limit, limit).astype(np.int32) for w in W),
        b=tuple(whole(bias).astype(np.int32) for bias in b),
        step=step,
        bits=bits,
    )


def reference_sweep(
    dbm: QuantisedDbm,
    odd: States,
    noise: Logistics,
    *,
    clamp_mask: Bool[np.ndarray, "n visible"],
    clamp_values: Bool[np.ndarray, "n visible"],
    beta: Float[np.ndarray, "n 1"],
) -> dict[int, UInt8[np.ndarray, "n units"]]:
    """One sweep in 64-bit arithmetic, for the parity check of an export: the next odd layers."""
    scale = dbm.step * beta.astype(np.float32)
    h = dict(odd)
    for layer in (*dbm.even, *dbm.odd):
        # float64 products are exact here, and much faster than numpy's integer ones.
        a = sum(h[other].astype(np.float64) @ W for other, W in dbm.neighbours(layer))
        on = noise[layer] < (a + dbm.b[layer]).astype(np.float32) * scale
        if layer == 0:
            on = np.where(clamp_mask, clamp_values, on)
        h[layer] = on.astype(np.uint8)
    return {layer: h[layer] for layer in dbm.odd}
