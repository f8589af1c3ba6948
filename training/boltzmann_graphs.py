"""The ONNX graphs of a restricted Boltzmann machine, node by node.

QuantisedRbm ──► sweep, start, readout (integers: the same bytes everywhere)
             ──► energy, encode, decode, score (float32)
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import TensorProto

from service.contract import Role
from training.boltzmann_nodes import (
    Weights,
    as_images,
    as_rows,
    as_states,
    divergence,
    drawn,
    held,
    integer_input,
    map_function,
    packed,
    row_sum,
    scalar,
    sigmoid_lookup,
    sweep_function,
    tensor,
)
from training.graph_builder import GraphBuilder
from training.package import Function
from training.quantised import QuantisedRbm


def rbm_functions(
    rbm: QuantisedRbm, *, base_bias: Weights, shape: tuple[int, int, int]
) -> Mapping[str, Function]:
    """Every function of an RBM package.

    Args:
        rbm: the machine.
        base_bias: log-odds of the data's base rates, float32 [visible]: fresh chains begin there.
        shape: [C, H, W] of the visible units.
    """
    graphs = _Graphs(rbm, shape)
    return {
        "sweep": graphs.sweep(),
        "start": graphs.start(base_bias),
        "readout": graphs.readout(),
        "energy": graphs.energy(),
        "encode": graphs.encode(),
        "decode": graphs.decode(),
        "score": graphs.score(),
    }


class _Graphs:
    """The functions of one machine, and the tensors that they share."""

    def __init__(self, rbm: QuantisedRbm, shape: tuple[int, int, int]) -> None:
        self.rbm, self.shape = rbm, shape
        self.h = tensor("h", "uint8", [rbm.hidden], Role.STATE)
        self.next_h = tensor("next_h", "uint8", [rbm.hidden], Role.STATE)
        self.noise_v = tensor("noise_v", "float32", [rbm.visible], Role.LOGISTIC)
        self.noise_h = tensor("noise_h", "float32", [rbm.hidden], Role.LOGISTIC)
        self.clamps = (
            tensor("clamp_mask", "bool", [rbm.visible], Role.CLAMP_MASK),
            tensor("clamp_values", "bool", [rbm.visible], Role.CLAMP_VALUES),
        )
        self.beta = tensor("beta", "float32", [1], Role.BETA)
        self.x = tensor("x", "float32", shape, Role.DATA)
        self.features = tensor("h", "float32", [rbm.hidden], Role.HIDDEN)

    def sweep(self) -> Function:
        """v ~ p_β(v | h) with clamps, then h ~ p_β(h | v)."""
        g = GraphBuilder()
        scale = g.op("Mul", "beta", self._step(g))
        on = drawn(g, "noise_v", g.op("Mul", self._down(g, "h"), scale))
        v = as_states(g, held(g, on))
        on = drawn(g, "noise_h", g.op("Mul", self._up(g, v), scale))
        as_states(g, on, out="next_h")
        inputs = (self.h, self.noise_v, self.noise_h, *self.clamps, self.beta)
        return sweep_function(g, inputs, [self.next_h])

    def start(self, base_bias: Weights) -> Function:
        """v from the base rates with clamps, then h ~ p(h | v)."""
        g = GraphBuilder()
        rates = g.constant("base_bias", base_bias.astype(np.float32)[None])
        v = as_states(g, held(g, drawn(g, "noise_v", rates)))
        log_odds = g.op("Mul", self._up(g, v), self._step(g))
        as_states(g, drawn(g, "noise_h", log_odds), out="h")
        return map_function(
            g, "start", (self.noise_v, self.noise_h, *self.clamps), [self.h], exact=True
        )

    def readout(self) -> Function:
        """mean = p_β(v | h), and sample, a 0/1 draw of it."""
        g = GraphBuilder()
        log_odds = g.op("Mul", self._down(g, "h"), g.op("Mul", "beta", self._step(g)))
        on = drawn(g, "noise_v", log_odds)
        as_images(g, sigmoid_lookup(g, log_odds), self.shape, out="mean")
        as_images(g, g.cast(on, TensorProto.FLOAT), self.shape, out="sample")
        outputs = [tensor(name, "float32", self.shape, Role.DATA) for name in ("mean", "sample")]
        return map_function(g, "readout", (self.h, self.noise_v, self.beta), outputs, exact=True)

    def energy(self) -> Function:
        """F(h) = -c·h - Σ_i softplus(b_i + (hWᵀ)_i), at β = 1."""
        g = GraphBuilder()
        step = self._step(g)
        free = row_sum(g, g.op("Softplus", g.op("Mul", self._down(g, "h"), step)))
        hidden_bias = g.constant("c", self.rbm.c.astype(np.float32))
        bias = g.op("MatMul", g.cast("h", TensorProto.FLOAT), hidden_bias)
        g.op("Neg", g.op("Add", g.op("Mul", bias, step), free), out="free_energy")
        out = tensor("free_energy", "float32", [], Role.STATISTIC)
        return map_function(g, "energy", [self.h], [out])

    def encode(self) -> Function:
        """p(h = 1 | x), mean-field: x may be grey."""
        g = GraphBuilder()
        g.op("Sigmoid", self._float_up(g, as_rows(g, "x", self.rbm.visible)), out="h")
        return map_function(g, "encode", [self.x], [self.features])

    def decode(self) -> Function:
        """p(v = 1 | h); for a binary h it is bit for bit the readout's mean at β = 1.

        The product has integer weights: with binary h its partial sums are whole numbers under 2²⁴,
        exact in float32 in whatever order.
        """
        g = GraphBuilder()
        down = packed(g, "W_down", self.rbm.W.T)
        bias = g.constant("b_float", self.rbm.b.astype(np.float32)[None])
        a = g.op("Add", g.op("MatMul", "h", down), bias)
        as_images(g, sigmoid_lookup(g, g.op("Mul", a, self._step(g))), self.shape, out="x")
        return map_function(g, "decode", [self.features], [self.x])

    def score(self) -> Function:
        """Free energy F(x) of the grey image; the heatmap is how little is expected of a pixel.

        heatmap_i = KL(x_i ‖ p_i) in nats, with p = σ(b + Wσ(c + xW)) the mean-field reconstruction.
        """
        g = GraphBuilder()
        x = as_rows(g, "x", self.rbm.visible)
        log_odds = self._float_up(g, x)
        bias = self.rbm.b.astype(np.float32) * self.rbm.step
        linear = g.op("MatMul", x, g.constant("b", bias))
        free = row_sum(g, g.op("Softplus", log_odds))
        g.op("Neg", g.op("Add", linear, free), out="free_energy")

        weights = g.op("Transpose", self._weights(g), perm=[1, 0])
        seen = g.op("MatMul", g.op("Sigmoid", log_odds), weights)
        y = g.op("Add", seen, g.constant("b_row", bias[None]))
        as_images(g, divergence(g, x, y), self.shape, out="heatmap")
        outputs = [
            tensor("free_energy", "float32", [], Role.SCORE),
            tensor("heatmap", "float32", self.shape, Role.HEATMAP),
        ]
        return map_function(g, "score", [self.x], outputs)

    def _down(self, g: GraphBuilder, h: str) -> str:
        """a = b + hWᵀ in units of the step: float32 [n, visible] of exact integers."""
        return integer_input(g, [(h, "W_down", self.rbm.W.T)], ("bias_down", self.rbm.b))

    def _up(self, g: GraphBuilder, v: str) -> str:
        """a = c + vW in units of the step: float32 [n, hidden] of exact integers."""
        return integer_input(g, [(v, "W_up", self.rbm.W)], ("bias_up", self.rbm.c))

    def _float_up(self, g: GraphBuilder, x: str) -> str:
        """c + xW in float32, with the dequantised weights."""
        bias = g.constant("c_row", self.rbm.c.astype(np.float32)[None] * self.rbm.step)
        return g.op("Add", g.op("MatMul", x, self._weights(g)), bias)

    def _weights(self, g: GraphBuilder) -> str:
        """The dequantised W, kept in the file as small integers."""
        return g.op("Mul", packed(g, "W", self.rbm.W), self._step(g))

    def _step(self, g: GraphBuilder) -> str:
        """The unit of the integers."""
        return scalar(g, "step", float(self.rbm.step))
