"""A deep machine in whole numbers: what is exported, served and evaluated.

Dbm (float) ──quantise_deep──► QuantisedDbm: W, b as integers times one step s ──► dequantised Dbm

As `training.quantised` has it for one hidden layer: with 0/1 units every input of a unit is a sum
of integers, exact in any order, on any device. A unit is on where its logistic noise is less than
a·(s·β), for the integer input a.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int32, UInt8
from torch import Tensor

from training.dbm import Dbm, MeanField, mean_field
from training.quantised import EXACT_FLOAT32, LARGEST_WEIGHT, Bits, best_step
from training.rounding import MOST_ROWS, Moments, binary, round_weights

States = Mapping[int, UInt8[np.ndarray, "n units"]]
Logistics = Mapping[int, Float[np.ndarray, "n units"]]


@dataclass(frozen=True)
class QuantisedDbm:
    """Integer parameters in units of `step`.

    Attributes:
        W: 2ᵏ times integers of at most 127 with 8 bits, 32,639 with 16, with a k for each layer;
            W[l - 1] joins layer l - 1 to layer l.
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


def stack_moments(
    dbm: Dbm, p: Float[Tensor, "rows visible"], rule: MeanField
) -> tuple[Moments, ...]:
    """Of every layer, where pixels are drawn from each row's grey values: by mean-field."""
    v = binary(p[:MOST_ROWS].to(dbm.W[0].device))
    return tuple(Moments.of(mu) for mu in mean_field(dbm, v, rule))


def quantise_deep(
    dbm: Dbm, *, bits: Bits, moments: Sequence[Moments] | None = None
) -> QuantisedDbm:
    """Round each layer to whole multiples of the step that leaves its weights the least error.

    Each weight goes to the nearest one; with the `moments` of all layers, those of a layer together
    go where the machine stays closest to itself, as in `quantise`.

    The steps are powers of two apart, so that sums over two layers stay whole numbers of the finest
    one. It is larger where an input could otherwise pass 2²⁴, beyond which float32 has no exact
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
    own = [float(best_step(w, limit=limit, least=least)) for w in W]
    if bits == 8:
        step, shifts = _apart_by_twos(W, own, limit=limit, least=least)
    else:  # one step is fine enough, and the two parts of a weight have no room for a shift
        step, shifts = np.float32(max(own)), [0 for _ in W]

    def whole(x: np.ndarray[Any, Any], shift: int = 0) -> np.ndarray[Any, Any]:
        rounded: np.ndarray[Any, Any] = np.rint(x / (float(step) * 2**shift))
        return rounded

    rounded = [np.clip(whole(w, shift), -limit, limit) for w, shift in zip(W, shifts, strict=True)]
    if moments is not None:
        for layer, shift in enumerate(shifts):
            below, above = moments[layer], moments[layer + 1]
            unit = float(step) * 2**shift
            rounded[layer] = round_weights(
                W[layer], step=unit, limit=limit, below=below, above=above
            )
            errors = rounded[layer] * unit - W[layer]
            b[layer] = b[layer] - errors @ above.mean
            b[layer + 1] = b[layer + 1] - below.mean @ errors
    return QuantisedDbm(
        W=tuple(w.astype(np.int32) << shift for w, shift in zip(rounded, shifts, strict=True)),
        b=tuple(whole(bias).astype(np.int32) for bias in b),
        step=step,
        bits=bits,
    )


def _apart_by_twos(
    W: Sequence[Float[np.ndarray, "lower upper"]],
    own: Sequence[float],
    *,
    limit: int,
    least: float,
) -> tuple[np.float32, list[int]]:
    """A step, and how many times each layer's is twice as large, with the least squared error.

    One layer has its `own` best step, and each of the others the power of two of it next to its
    own, above or below.
    """
    found = []
    for anchor in own:
        near = [math.log2(other / anchor) for other in own]
        for rounding in (round, math.floor, math.ceil):
            powers = [int(rounding(x)) for x in near]
            step = np.float32(anchor * 2.0 ** min(powers))
            if step < least * (1 - 1e-6):
                continue
            shifts = [power - min(powers) for power in powers]
            units = [float(step) * 2**shift for shift in shifts]
            wrong = sum(_squared_error(w, unit, limit) for w, unit in zip(W, units, strict=True))
            found.append((wrong, step, shifts))
    _, step, shifts = min(found, key=lambda kept: kept[0])
    return step, shifts


def _squared_error(W: Float[np.ndarray, "lower upper"], step: float, limit: int) -> float:
    whole = np.clip(np.rint(W / step), -limit, limit)
    return float(np.square(W - whole * step).sum())


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
