"""What the graphs of Boltzmann machines are made of: sums of integers, draws, clamps, means.

0/1 states ──MatMulInteger──► int32 + bias ──► float32 a ──·(s·β)──► log-odds ──► draw | table of σ

No order of summation, batch size, thread count or device can change a sum of integers. Noise is an
input: ONNX Runtime's `Random*` operators cannot be seeded by request, and its `Bernoulli` draws the
complement.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto

from service.contract import Dtype, Role, TensorSpec
from training.graph_builder import GraphBuilder
from training.package import Function
from training.quantised import common_shift, split_weights

# Means are read from a table of σ at multiples of 2⁻¹¹ in [-16, 16]: a lookup is the same on every
# device, which σ itself is not; it is off by at most 2⁻¹³ · ½ ≈ 6·10⁻⁵.
SIGMOID_STEPS = 2048
SIGMOID_REACH = 16

Weights = np.ndarray[Any, Any]


def tensor(name: str, dtype: Dtype, row_shape: Sequence[int], role: Role) -> TensorSpec:
    """A tensor with a row for each example."""
    return TensorSpec(name=name, dtype=dtype, shape=("n", *row_shape), role=role)


def integer_input(
    g: GraphBuilder, terms: Sequence[tuple[str, str, Weights]], bias: tuple[str, Weights]
) -> str:
    """Σ states·W + bias as float32 [n, units] of exact integers.

    Args:
        g: the graph.
        terms: (uint8 states, name of the constant, integer weights) of each neighbouring layer.
        bias: (name of the constant, integer biases).
    """
    products = [integer_product(g, states, name, W) for states, name, W in terms]
    total = g.constant(bias[0], bias[1].astype(np.int32)[None])
    for product in products:
        total = g.op("Add", product, total)
    return g.cast(total, TensorProto.FLOAT)


def integer_product(g: GraphBuilder, states: str, name: str, W: Weights) -> str:
    """int32 sums of int8 weights; larger ones are 2ᵏ times those, or W = 256·high + low."""
    shift = common_shift(W)
    if shift is not None:
        product = g.op("MatMulInteger", states, g.matrix(name, (W >> shift).astype(np.int8)))
        return product if not shift else g.op("Mul", product, _power(g, shift))
    high, low = (part.astype(np.int8) for part in split_weights(W))
    coarse = g.op("MatMulInteger", states, g.matrix(f"{name}_high", high))
    fine = g.op("MatMulInteger", states, g.matrix(f"{name}_low", low))
    radix = g.constant("radix", np.array(256, np.int32))
    return g.op("Add", g.op("Mul", coarse, radix), fine)


def _power(g: GraphBuilder, shift: int) -> str:
    """2^shift, which is exact in int32 where the product has room: a shift to the left."""
    return g.constant(f"power_{shift}", np.array(1 << shift, np.int32))


def sweep_function(
    g: GraphBuilder, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> Function:
    """The step function `sweep`, in whole numbers; chains begin with `start`, end in `readout`."""
    return Function(
        graph=g.build("sweep", inputs, outputs),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        kind="step",
        start="start",
        readout="readout",
        exact=True,
    )


def map_function(
    g: GraphBuilder,
    name: str,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    *,
    exact: bool = False,
) -> Function:
    """A function of rows; `exact` where it is arithmetic in whole numbers."""
    return Function(
        graph=g.build(name, inputs, outputs),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        exact=exact,
    )


def packed(g: GraphBuilder, name: str, W: Weights) -> str:
    """Integer weights as float32, kept in the file as small integers."""
    shift = common_shift(W)
    if shift is None:
        return g.cast(g.constant(name, W.astype(np.int16)), TensorProto.FLOAT)
    small = g.cast(g.constant(name, (W >> shift).astype(np.int8)), TensorProto.FLOAT)
    return small if not shift else g.op("Mul", small, scalar(g, f"float_{shift}", 2.0**shift))


def drawn(g: GraphBuilder, noise: str, log_odds: str) -> str:
    """bool: a unit is on where its logistic noise is less than its log-odds."""
    return g.op("Less", noise, log_odds)


def held(g: GraphBuilder, on: str) -> str:
    """bool: clamped units at their values, the others as drawn."""
    free = g.op("And", on, g.op("Not", "clamp_mask"))
    return g.op("Or", free, g.op("And", "clamp_mask", "clamp_values"))


def as_states(g: GraphBuilder, on: str, *, out: str | None = None) -> str:
    """uint8 0/1 of bool."""
    return g.cast(on, TensorProto.UINT8, out=out)


def sigmoid_lookup(
    g: GraphBuilder,
    log_odds: str,
    *,
    steps_a_unit: int = SIGMOID_STEPS,
    reach: int = SIGMOID_REACH,
) -> str:
    """σ from a table: the same bytes on every device. Fewer entries make a small file of it."""
    top = reach * steps_a_unit
    grid = np.arange(-top, top + 1, dtype=np.float64) / steps_a_unit
    table = g.constant("sigmoid_table", (1 / (1 + np.exp(-grid))).astype(np.float32))
    steps = scalar(g, "sigmoid_steps", steps_a_unit)
    low, high = scalar(g, "sigmoid_low", -top), scalar(g, "sigmoid_high", top)
    place = g.op("Clip", g.op("Round", g.op("Mul", log_odds, steps)), low, high)
    shift = g.constant("sigmoid_shift", np.array(top, np.int32))
    return g.op("Gather", table, g.op("Add", g.cast(place, TensorProto.INT32), shift))


def x_log_x(g: GraphBuilder, x: str) -> str:
    """x·log x, 0 at 0."""
    return g.op("Mul", x, g.op("Log", g.op("Max", x, scalar(g, "tiny", 1e-12))))


def negative_entropy(g: GraphBuilder, p: str) -> str:
    """p log p + (1 - p) log(1 - p) of each probability, in nats."""
    complement = g.op("Sub", scalar(g, "one", 1.0), p)
    return g.op("Add", x_log_x(g, p), x_log_x(g, complement))


def divergence(g: GraphBuilder, x: str, log_odds: str) -> str:
    """KL(x ‖ σ(log-odds)) of each unit in nats, never negative."""
    cross = g.op("Sub", g.op("Softplus", log_odds), g.op("Mul", x, log_odds))
    return g.op("Max", g.op("Add", cross, negative_entropy(g, x)), scalar(g, "zero", 0.0))


def row_sum(g: GraphBuilder, x: str, *, out: str | None = None) -> str:
    """Σ over the units of each row."""
    return g.op("ReduceSum", x, g.constant("axis_1", np.array([1], np.int64)), out=out, keepdims=0)


def as_rows(g: GraphBuilder, x: str, units: int) -> str:
    """[n, C, H, W] → [n, units]."""
    return g.op("Reshape", x, g.constant("row_shape", np.array([-1, units], np.int64)))


def as_images(g: GraphBuilder, rows: str, shape: tuple[int, int, int], *, out: str) -> str:
    """[n, units] → [n, C, H, W]."""
    image = g.constant("image_shape", np.array([-1, *shape], np.int64))
    return g.op("Reshape", rows, image, out=out)


def scalar(g: GraphBuilder, name: str, value: float) -> str:
    """A float32 number."""
    return g.constant(name, np.array(value, np.float32))
