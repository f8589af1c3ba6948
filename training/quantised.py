"""A machine in whole numbers: what is exported, served and evaluated.

Rbm (float) ──quantise──► QuantisedRbm: W, b, c as integers times one step s ──► dequantised Rbm

With 0/1 units every pre-activation is then a sum of integers, and exact in any order, on any
device. A unit is on where logit((u + ½)/65536) < a·(s·β), for uint16 noise u and the integer
pre-activation a: one float32 multiplication and one comparison.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int32, UInt8, UInt16

from service.domain.randomness import logistic
from training.rbm import Rbm
from training.rounding import Moments, round_weights

Bits = Literal[8, 16]

# |W| of each: 127, and 127·256 + 127, which splits into two parts of 8 bits.
LARGEST_WEIGHT = {8: 127, 16: 127 * 256 + 127}
# The largest weight may be cut to a half.
COARSEST_CUT = 2.0
# Integers up to here are exact in float32.
EXACT_FLOAT32 = 2**24


@dataclass(frozen=True)
class QuantisedRbm:
    """Integer parameters in units of `step`.

    Attributes:
        W: |W| ≤ 127 with 8 bits, ≤ 32,639 with 16; those of label units may be larger.
        b, c: biases, in the same unit.
        step: s, the unit; a float32.
        bits: 8 or 16.
    """

    W: Int32[np.ndarray, "visible hidden"]
    b: Int32[np.ndarray, " visible"]
    c: Int32[np.ndarray, " hidden"]
    step: np.float32
    bits: Bits

    @property
    def visible(self) -> int:
        """Number of visible units."""
        return len(self.b)

    @property
    def hidden(self) -> int:
        """Number of hidden units."""
        return len(self.c)

    def dequantised(self) -> Rbm:
        """The machine in float32: integer × step, which is the model that is published."""
        return Rbm(
            W=torch.from_numpy(self.W.astype(np.float32) * self.step),
            b=torch.from_numpy(self.b.astype(np.float32) * self.step),
            c=torch.from_numpy(self.c.astype(np.float32) * self.step),
        )


def quantise(
    rbm: Rbm, *, bits: Bits, labels: int = 0, moments: tuple[Moments, Moments] | None = None
) -> QuantisedRbm:
    """Round to whole multiples of the step that leaves the least squared error.

    Each weight goes to the nearest one; with the `moments` of both layers, all together go where
    the machine stays closest to itself (`training.rounding`), and biases take up the mean errors.

    The largest weights are cut off where finer steps for all others are worth more. The step is
    larger where a pre-activation could otherwise pass 2²⁴, beyond which float32 has no exact
    integers. The weights of the last `labels` visible units are rounded to it, and never cut off:
    what a label adds to the hidden units' inputs is looked up, as a bias is, and in no product.
    """
    W, b, c = (t.detach().cpu().double().numpy() for t in (rbm.W, rbm.b, rbm.c))
    reach = max(
        (np.abs(W).sum(0) + np.abs(c)).max(),
        (np.abs(W).sum(1) + np.abs(b)).max(),
    )
    # Rounding adds up to half a step a term: leave room for it.
    room = EXACT_FLOAT32 - sum(W.shape)
    limit = LARGEST_WEIGHT[bits]
    units = len(W) - labels
    step = best_step(W[:units], limit=limit, least=max(reach / room, 1e-6))
    whole = np.rint(W / float(step))
    whole[:units] = np.clip(whole[:units], -limit, limit)
    if moments is not None:
        below, above = moments
        whole[:units] = round_weights(
            W[:units], step=float(step), limit=limit, below=below.first(units), above=above
        )
        errors = whole * float(step) - W
        b, c = b - errors @ above.mean, c - below.mean @ errors
    return QuantisedRbm(
        W=whole.astype(np.int32),
        b=np.rint(b / float(step)).astype(np.int32),
        c=np.rint(c / float(step)).astype(np.int32),
        step=step,
        bits=bits,
    )


def best_step(W: Float[np.ndarray, "rows columns"], *, limit: int, least: float) -> np.float32:
    """The step, `least` or more, that leaves the least squared error of weights.

    It is a short one, or that of the largest weight: of weights that are whole multiples already.
    """
    whole = max(np.abs(W).max() / limit, least)
    steps = [np.float32(whole), short_step(max(whole / COARSEST_CUT, least))]
    while steps[-1] < whole:
        steps.append(short_step(float(steps[-1]) * (1 + 1e-6)))

    def error(step: np.float32) -> float:
        whole = np.clip(np.rint(W / float(step)), -limit, limit)
        return float(np.square(W - whole * float(step)).sum())

    return min(steps, key=error)


def short_step(least: float) -> np.float32:
    """The smallest number of four significant bits that is not below `least`.

    Eight-bit multiples of it have eleven significant bits, so that float16 holds them exactly.
    """
    fraction, exponent = math.frexp(least)
    return np.float32(math.ldexp(math.ceil(fraction * 16) / 16, exponent))


def split_weights(
    W: Int32[np.ndarray, "rows columns"],
) -> tuple[Int32[np.ndarray, "rows columns"], Int32[np.ndarray, "rows columns"]]:
    """W = 256·high + low with both parts in -128 … 127."""
    low = (W + 128) % 256 - 128
    return (W - low) // 256, low


def common_shift(W: Int32[np.ndarray, "..."]) -> int | None:
    """The smallest k for which W is 2ᵏ times integers of eight bits; None where there is none."""
    largest = int(np.abs(W).max())
    shift = max((largest // LARGEST_WEIGHT[8]).bit_length() - 1, 0)
    while largest > LARGEST_WEIGHT[8] << shift:
        shift += 1
    return None if np.any(W & ((1 << shift) - 1)) else shift


def reference_draw(
    a: Int32[np.ndarray, "n units"],
    noise: UInt16[np.ndarray, "n units"],
    *,
    scale: Float[np.ndarray, "n 1"],
) -> Bool[np.ndarray, "n units"]:
    """What the exported graphs must give: logit(u) < a·(s·β), with `scale` = s·β in float32."""
    on: Bool[np.ndarray, "n units"] = logistic(noise) < a.astype(np.float32) * scale
    return on


def reference_sweep(
    rbm: QuantisedRbm,
    h: UInt8[np.ndarray, "n hidden"],
    noise: UInt16[np.ndarray, "n units"],
    *,
    clamp_mask: Bool[np.ndarray, "n visible"],
    clamp_values: Bool[np.ndarray, "n visible"],
    beta: Float[np.ndarray, "n 1"],
) -> UInt8[np.ndarray, "n hidden"]:
    """One sweep in int64 arithmetic, for the parity check of an export."""
    scale = rbm.step * beta.astype(np.float32)
    # float64 products are exact here, and much faster than numpy's integer ones.
    a = (h.astype(np.float64) @ rbm.W.T.astype(np.float64)).astype(np.int64) + rbm.b
    v = reference_draw(a, noise[:, : rbm.visible], scale=scale)
    v = np.where(clamp_mask, clamp_values, v)
    a = (v.astype(np.float64) @ rbm.W.astype(np.float64)).astype(np.int64) + rbm.c
    return reference_draw(a, noise[:, rbm.visible :], scale=scale).astype(np.uint8)


def noise_inputs(
    integers: UInt16[np.ndarray, "n units"], *, visible: int
) -> dict[str, Float[np.ndarray, "n units"]]:
    """A row of 16-bit integers as the graphs take it: logistic noise for v, then for h."""
    logistics = logistic(integers)
    return {
        "noise_v": np.ascontiguousarray(logistics[:, :visible]),
        "noise_h": np.ascontiguousarray(logistics[:, visible:]),
    }
