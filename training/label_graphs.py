"""The ONNX graphs of a restricted machine with label units, node by node.

QuantisedRbm [pixels + labels, hidden] ──► sweep at a label, start, readout (integers: exact)
                                       ──► energy, encode, decode, score, classify (float32)

A chain holds its label: then the machine is one of pixels alone, whose hidden biases are c + W_y.
Where no label is given it is summed out, exactly: p(y | x) = softmax_y(-F([x, y])). Larochelle &
Bengio (2008), "Classification using discriminative restricted Boltzmann machines", §2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from onnx import TensorProto

from service.contract import Role
from training.boltzmann_graphs import rbm_functions
from training.boltzmann_nodes import (
    Weights,
    as_images,
    as_rows,
    as_states,
    divergence,
    drawn,
    integer_input,
    map_function,
    packed,
    row_sum,
    scalar,
    sweep_function,
    tensor,
)
from training.graph_builder import GraphBuilder
from training.package import Function
from training.quantised import QuantisedRbm, reference_draw


@dataclass(frozen=True)
class Labelled:
    """A machine in whole numbers, and how many of its last visible units are label units."""

    rbm: QuantisedRbm
    labels: int

    @property
    def pixels(self) -> QuantisedRbm:
        """The machine without its label units."""
        n = self.rbm.visible - self.labels
        return replace(self.rbm, W=self.rbm.W[:n], b=self.rbm.b[:n])

    @property
    def label_weights(self) -> np.ndarray[Any, Any]:
        """Integers [labels, hidden]: what each label adds to the hidden biases."""
        return self.rbm.W[-self.labels :]

    @property
    def label_bias(self) -> np.ndarray[Any, Any]:
        """Integers [labels]."""
        return self.rbm.b[-self.labels :]


def labelled_functions(
    machine: Labelled, *, base_bias: Weights, shape: tuple[int, int, int]
) -> Mapping[str, Function]:
    """Every function of the package of a machine with label units.

    Args:
        machine: the machine.
        base_bias: log-odds of the pixels' base rates, float32: fresh chains begin there.
        shape: [C, H, W] of the pixels.
    """
    # What a hidden state says of the pixels, the labels have no part in.
    plain = rbm_functions(machine.pixels, base_bias=base_bias, shape=shape)
    graphs = _Graphs(machine, shape)
    return {
        "sweep": graphs.sweep(),
        "start": graphs.start(base_bias),
        "readout": plain["readout"],
        "energy": graphs.energy(),
        "encode": graphs.encode(),
        "decode": plain["decode"],
        "score": graphs.score(),
        "classify": graphs.classify(),
    }


class _Graphs:
    """The functions that know of labels, and the tensors that they share."""

    def __init__(self, machine: Labelled, shape: tuple[int, int, int]) -> None:
        self.machine, self.pixels, self.shape = machine, machine.pixels, shape
        hidden, visible = machine.rbm.hidden, self.pixels.visible
        self.h = tensor("h", "uint8", [hidden], Role.STATE)
        self.next_h = tensor("next_h", "uint8", [hidden], Role.STATE)
        self.label = tensor("label", "int64", [], Role.LABEL)
        self.noises = (
            tensor("noise_v", "float32", [visible], Role.LOGISTIC),
            tensor("noise_h", "float32", [hidden], Role.LOGISTIC),
        )
        self.beta = tensor("beta", "float32", [1], Role.BETA)
        self.x = tensor("x", "float32", shape, Role.DATA)

    def sweep(self) -> Function:
        """v ~ p_β(v | h), then h ~ p_β(h | v, label)."""
        g = GraphBuilder()
        scale = g.op("Mul", "beta", self._step(g))
        down = integer_input(g, [("h", "W_down", self.pixels.W.T)], ("bias_down", self.pixels.b))
        v = as_states(g, drawn(g, "noise_v", g.op("Mul", down, scale)))
        table = g.constant("W_labels", self.machine.label_weights.astype(np.float32))
        up = g.op("Add", self._up(g, v), g.op("Gather", table, "label"))
        as_states(g, drawn(g, "noise_h", g.op("Mul", up, scale)), out="next_h")
        inputs = (self.h, self.label, *self.noises, self.beta)
        return sweep_function(g, inputs, [self.next_h])

    def start(self, base_bias: Weights) -> Function:
        """v from the base rates, then h ~ p(h | v) with no label on: the first sweep reads it."""
        g = GraphBuilder()
        rates = g.constant("base_bias", base_bias.astype(np.float32)[None])
        v = as_states(g, drawn(g, "noise_v", rates))
        log_odds = g.op("Mul", self._up(g, v), self._step(g))
        as_states(g, drawn(g, "noise_h", log_odds), out="h")
        return map_function(g, "start", self.noises, (self.h,), exact=True)

    def energy(self) -> Function:
        """F(h) = -c·h - Σ_i softplus(b_i + (hWᵀ)_i) - log Σ_y exp(b_y + W_y·h), at β = 1."""
        g = GraphBuilder()
        step = self._step(g)
        h = g.cast("h", TensorProto.FLOAT)
        down = integer_input(g, [("h", "W_down", self.pixels.W.T)], ("bias_down", self.pixels.b))
        total = row_sum(g, g.op("Softplus", g.op("Mul", down, step)))
        bias = g.op("MatMul", h, g.constant("c", self.pixels.c.astype(np.float32)))
        total = g.op("Add", total, g.op("Mul", bias, step))
        each = g.op("MatMul", h, packed(g, "W_labels", self.machine.label_weights.T))
        bias = g.constant("b_labels", self.machine.label_bias[None].astype(np.float32))
        each = g.op("Mul", g.op("Add", each, bias), step)
        g.op("Neg", g.op("Add", total, _log_sum_exp(g, each)), out="free_energy")
        out = tensor("free_energy", "float32", [], Role.STATISTIC)
        return map_function(g, "energy", (self.h,), (out,))

    def encode(self) -> Function:
        """p(h = 1 | x) = Σ_y p(y | x) p(h = 1 | x, y); x may be grey."""
        g = GraphBuilder()
        g.op("Identity", self._activities(g, *self._log_odds(g)), out="h")
        features = tensor("h", "float32", [self.machine.rbm.hidden], Role.HIDDEN)
        return map_function(g, "encode", (self.x,), (features,))

    def score(self) -> Function:
        """-log Σ_y exp(-F([x, y])); the heatmap is how little is expected of a pixel, as an RBM's.

        heatmap_i = KL(x_i ‖ p_i) in nats, with p the mean-field reconstruction.
        """
        g = GraphBuilder()
        log_odds, each = self._log_odds(g)
        x = as_rows(g, "x", self.pixels.visible)
        bias = self.pixels.b.astype(np.float32) * self.pixels.step
        linear = g.op("MatMul", x, g.constant("b", bias))
        g.op("Neg", g.op("Add", linear, _log_sum_exp(g, each)), out="free_energy")
        weights = g.op("Mul", packed(g, "W", self.pixels.W), self._step(g))
        h = self._activities(g, log_odds, each)
        seen = g.op("MatMul", h, g.op("Transpose", weights, perm=[1, 0]))
        y = g.op("Add", seen, g.constant("b_row", bias[None]))
        as_images(g, divergence(g, x, y), self.shape, out="heatmap")
        outputs = (
            tensor("free_energy", "float32", [], Role.SCORE),
            tensor("heatmap", "float32", self.shape, Role.HEATMAP),
        )
        return map_function(g, "score", (self.x,), outputs)

    def classify(self) -> Function:
        """p(y | x), exact; x may be grey."""
        g = GraphBuilder()
        _, each = self._log_odds(g)
        g.op("Softmax", each, out="probabilities", axis=1)
        out = tensor("probabilities", "float32", [self.machine.labels], Role.PROBABILITIES)
        return map_function(g, "classify", (self.x,), (out,))

    def _log_odds(self, g: GraphBuilder) -> tuple[str, str]:
        """Of h for every label [n, labels, hidden], and Σ_j softplus of them + b_y [n, labels]."""
        step = self._step(g)
        x = as_rows(g, "x", self.pixels.visible)
        bias = g.constant("c_row", self.pixels.c.astype(np.float32)[None])
        up = g.op("Add", g.op("MatMul", x, packed(g, "W", self.pixels.W)), bias)
        up = g.op("Unsqueeze", up, _axis(g, 1))
        labels = packed(g, "W_labels", self.machine.label_weights[None])
        log_odds = g.op("Mul", g.op("Add", up, labels), step)
        summed = g.op("ReduceSum", g.op("Softplus", log_odds), _axis(g, 2), keepdims=0)
        bias_y = self.machine.label_bias[None].astype(np.float32) * self.pixels.step
        return log_odds, g.op("Add", summed, g.constant("b_labels", bias_y))

    def _activities(self, g: GraphBuilder, log_odds: str, each: str) -> str:
        """Mean hidden probabilities [n, hidden], over the labels as they are likely."""
        p = g.op("Unsqueeze", g.op("Softmax", each, axis=1), _axis(g, 2))
        weighted = g.op("Mul", g.op("Sigmoid", log_odds), p)
        return g.op("ReduceSum", weighted, _axis(g, 1), keepdims=0)

    def _up(self, g: GraphBuilder, v: str) -> str:
        """c + vW in units of the step, without a label: float32 [n, hidden] of exact integers."""
        return integer_input(g, [(v, "W_up", self.pixels.W)], ("bias_up", self.pixels.c))

    def _step(self, g: GraphBuilder) -> str:
        """The unit of the integers."""
        return scalar(g, "step", float(self.pixels.step))


def _axis(g: GraphBuilder, axis: int) -> str:
    return g.constant(f"axis_{axis}", np.array([axis], np.int64))


def _log_sum_exp(g: GraphBuilder, each: str) -> str:
    return g.op("ReduceLogSumExp", each, _axis(g, 1), keepdims=0)


def reference_sweep(
    machine: Labelled,
    h: np.ndarray[Any, Any],
    *,
    label: np.ndarray[Any, Any],
    noise_v: np.ndarray[Any, Any],
    noise_h: np.ndarray[Any, Any],
    beta: np.ndarray[Any, Any],
) -> np.ndarray[Any, Any]:
    """One sweep in 64-bit arithmetic on 16-bit noise, for the parity check of an export."""
    pixels = machine.pixels
    scale = pixels.step * beta.astype(np.float32)
    # float64 products are exact here, and much faster than numpy's integer ones.
    a = (h.astype(np.float64) @ pixels.W.T.astype(np.float64)).astype(np.int32) + pixels.b
    v = reference_draw(a, noise_v, scale=scale)
    a = (v.astype(np.float64) @ pixels.W.astype(np.float64)).astype(np.int32) + pixels.c
    return reference_draw(a + machine.label_weights[label], noise_h, scale=scale).astype(np.uint8)
