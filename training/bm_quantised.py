"""A Boltzmann machine with any connections in whole numbers: exported, served and evaluated.

Bm (float) ──quantise_bm──► QuantisedBm: W, b as integers times one step s ──► dequantised Bm

With 0/1 units every input is a sum of integers, exact in any order, on any device. A unit is on
where its integer input a exceeds its threshold ⌊noise / (s·β)⌋, which is a whole number too: so the
draws of a long sweep compare integers alone, and thresholds are made for all units at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int32, UInt8

from training.bm import Bm
from training.bm_connections import Blocks, place
from training.quantised import EXACT_FLOAT32, LARGEST_WEIGHT, Bits

# No input is as large as this: a threshold of ± it means never, or always.
OUT_OF_REACH = 2**26


@dataclass(frozen=True)
class QuantisedBm:
    """Integer parameters in units of `step`.

    Attributes:
        W: symmetric; |W| ≤ 127 with 8 bits, ≤ 32,639 with 16.
        b: biases, in the same unit.
        visible: the first so many units are visible.
        step: s, the unit; a float32.
        bits: 8 or 16.
    """

    W: Int32[np.ndarray, "units units"]
    b: Int32[np.ndarray, " units"]
    visible: int
    step: np.float32
    bits: Bits

    @property
    def units(self) -> int:
        """Visible and hidden units together."""
        return len(self.b)

    @property
    def hidden_are_free(self) -> bool:
        """Whether no hidden unit is connected with another."""
        return not self.W[self.visible :, self.visible :].any()

    @property
    def per_step(self) -> np.float32:
        """1 / s, as the graphs have it."""
        return np.float32(1) / self.step

    def dequantised(self) -> Bm:
        """The machine in float32: integer × step, which is the model that is published."""
        return Bm(
            W=torch.from_numpy(self.W.astype(np.float32) * self.step),
            b=torch.from_numpy(self.b.astype(np.float32) * self.step),
            visible=self.visible,
        )


def quantise_bm(bm: Bm, *, bits: Bits) -> QuantisedBm:
    """Round to whole multiples of the smallest step that holds the largest weight.

    The step is larger where an input could otherwise pass 2²⁴, beyond which float32 has no exact
    integers.
    """
    W, b = (t.detach().cpu().double().numpy() for t in (bm.W, bm.b))
    limit = LARGEST_WEIGHT[bits]
    reach = float((np.abs(W).sum(0) + np.abs(b)).max())
    # Rounding adds up to half a step a term: leave room for it.
    room = EXACT_FLOAT32 - len(b) - 1
    step = np.float32(max(np.abs(W).max() / limit, reach / room, 1e-6))
    return QuantisedBm(
        W=np.clip(np.rint(W / float(step)), -limit, limit).astype(np.int32),
        b=np.rint(b / float(step)).astype(np.int32),
        visible=bm.visible,
        step=step,
        bits=bits,
    )


def thresholds(
    bm: QuantisedBm,
    noise: Float[np.ndarray, "n units"],
    beta: Float[np.ndarray, "n 1"],
) -> Int32[np.ndarray, "n units"]:
    """⌊noise · (1/β · 1/s)⌋ in float32, kept within ± OUT_OF_REACH."""
    scale = (np.float32(1) / beta.astype(np.float32)) * bm.per_step
    limit = np.float32(OUT_OF_REACH)
    found: Int32[np.ndarray, "n units"] = np.clip(
        np.floor(noise.astype(np.float32) * scale), -limit, limit
    ).astype(np.int32)
    return found


def reference_sweep(
    bm: QuantisedBm,
    x: UInt8[np.ndarray, "n units"],
    noise: Float[np.ndarray, "n units"],
    *,
    blocks: Blocks,
    clamp_mask: Bool[np.ndarray, "n visible"],
    clamp_values: Bool[np.ndarray, "n visible"],
    beta: Float[np.ndarray, "n 1"],
) -> UInt8[np.ndarray, "n units"]:
    """One sweep over the blocks in 64-bit arithmetic, for the parity check of an export."""
    levels = thresholds(bm, noise, beta)
    mask = np.zeros(x.shape, bool)
    mask[:, : bm.visible] = clamp_mask
    values = np.zeros(x.shape, bool)
    values[:, : bm.visible] = clamp_values
    x = np.where(mask, values, x.astype(bool))
    for block in blocks:
        at = place(block)
        # float64 products are exact here, and much faster than numpy's integer ones.
        a = x.astype(np.float64) @ bm.W[:, at].astype(np.float64) + bm.b[at]
        x[:, at] = np.where(mask[:, at], values[:, at], a > levels[:, at])
    return x.astype(np.uint8)
