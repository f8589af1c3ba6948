"""The ONNX graphs of a deep Boltzmann machine, node by node.

QuantisedDbm ──► sweep, start, readout (integers: the same bytes everywhere)
             ──► energy, features, encode, decode, score, classify (float32)

A chain's state are the odd layers, h1, h3, …: the even ones are drawn from them. So a machine with
two hidden layers has the state h1 alone, which `decode` takes too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import TensorProto

from service.contract import Role, TensorSpec
from training.boltzmann_nodes import (
    as_images,
    as_rows,
    as_states,
    divergence,
    drawn,
    held,
    integer_input,
    negative_entropy,
    packed,
    row_sum,
    scalar,
    sigmoid_lookup,
    sweep_function,
    tensor,
)
from training.classifier import Classifier
from training.classifier_graph import classified
from training.graph_builder import GraphBuilder
from training.package import Function
from training.quantised_deep import QuantisedDbm


def dbm_functions(
    dbm: QuantisedDbm,
    *,
    base_bias: Mapping[int, np.ndarray[Any, Any]],
    shape: tuple[int, int, int],
    mean_field_updates: int,
    classifier: Classifier | None = None,
) -> dict[str, Function]:
    """Every function of a DBM package.

    Args:
        dbm: the machine.
        base_bias: float32 log-odds of the even layers, from which fresh chains are drawn.
        shape: [C, H, W] of the visible units.
        mean_field_updates: rounds of mean-field in `encode`, `score` and `classify`.
        classifier: fine-tuned from the machine; without one there is no `classify`.
    """
    graphs = _Graphs(dbm, shape, mean_field_updates)
    functions = {
        "sweep": graphs.sweep(),
        "start": graphs.start(base_bias),
        "readout": graphs.readout(),
        "energy": graphs.energy(),
        "encode": graphs.encode(),
        "decode": graphs.decode(),
        "score": graphs.score(),
    }
    if len(dbm.odd) > 1:
        functions["features"] = graphs.features()
    if classifier is not None:
        functions["classify"] = graphs.classify(classifier)
    return functions


def name_of(layer: int) -> str:
    """What a layer is called in the graphs: v, h1, h2 and so on."""
    return f"h{layer}" if layer else "v"


class _Graphs:
    """The functions of one machine, and the tensors that they share."""

    def __init__(
        self, dbm: QuantisedDbm, shape: tuple[int, int, int], mean_field_updates: int
    ) -> None:
        self.dbm, self.shape, self.updates = dbm, shape, mean_field_updates
        self.state = tuple(self._state(name_of(layer), layer) for layer in dbm.odd)
        self.next = tuple(self._state(f"next_{name_of(layer)}", layer) for layer in dbm.odd)
        self.noise = tuple(self._noise(layer) for layer in (*dbm.even, *dbm.odd))
        visible = dbm.sizes[0]
        self.clamps = (
            tensor("clamp_mask", "bool", [visible], Role.CLAMP_MASK),
            tensor("clamp_values", "bool", [visible], Role.CLAMP_VALUES),
        )
        self.beta = tensor("beta", "float32", [1], Role.BETA)
        self.x = tensor("x", "float32", shape, Role.DATA)
        self.features_tensor = tensor("h", "float32", [dbm.sizes[1]], Role.HIDDEN)

    def sweep(self) -> Function:
        """Even layers given odd ones, with v clamped, then odd layers given even ones, at β."""
        g = GraphBuilder(share_transposes=True)
        scale = g.op("Mul", "beta", self._step(g))
        h = {layer: name_of(layer) for layer in self.dbm.odd}
        for layer in self.dbm.even:
            on = drawn(g, self._noise(layer).name, g.op("Mul", self._input(g, layer, h), scale))
            h[layer] = as_states(g, held(g, on) if layer == 0 else on)
        fresh = {}
        for layer, made in zip(self.dbm.odd, self.next, strict=True):
            on = drawn(g, self._noise(layer).name, g.op("Mul", self._input(g, layer, h), scale))
            fresh[layer] = as_states(g, on, out=made.name)
        inputs = (*self.state, *self.noise, *self.clamps, self.beta)
        return sweep_function(g, inputs, self.next)

    def start(self, base_bias: Mapping[int, np.ndarray[Any, Any]]) -> Function:
        """Even layers from their base rates, with v clamped, then odd layers given even ones."""
        g = GraphBuilder()
        h = {}
        for layer in self.dbm.even:
            rates = g.constant(f"base_{name_of(layer)}", base_bias[layer].astype(np.float32)[None])
            on = drawn(g, self._noise(layer).name, rates)
            h[layer] = as_states(g, held(g, on) if layer == 0 else on)
        for layer in self.dbm.odd:
            log_odds = g.op("Mul", self._input(g, layer, h), self._step(g))
            as_states(g, drawn(g, self._noise(layer).name, log_odds), out=name_of(layer))
        inputs = (*self.noise, *self.clamps)
        graph = g.build("start", inputs, self.state)
        return Function(graph=graph, inputs=inputs, outputs=self.state, exact=True)

    def readout(self) -> Function:
        """mean = p_β(v | h¹), and sample, a 0/1 draw of it."""
        g = GraphBuilder()
        scale = g.op("Mul", "beta", self._step(g))
        log_odds = g.op("Mul", self._input(g, 0, {1: "h1"}), scale)
        on = drawn(g, "noise_v", log_odds)
        as_images(g, sigmoid_lookup(g, log_odds), self.shape, out="mean")
        as_images(g, g.cast(on, TensorProto.FLOAT), self.shape, out="sample")
        inputs = (self.state[0], self._noise(0), self.beta)
        outputs = tuple(tensor(name, "float32", self.shape, Role.DATA)
                        for name in ("mean", "sample"))  # fmt: skip
        graph = g.build("readout", inputs, outputs)
        return Function(graph=graph, inputs=inputs, outputs=outputs, exact=True)

    def energy(self) -> Function:
        """F(h¹, h³, …), with the even layers summed out, at β = 1."""
        g = GraphBuilder()
        h = {layer: name_of(layer) for layer in self.dbm.odd}
        total = scalar(g, "zero", 0.0)
        for layer in self.dbm.even:
            log_odds = g.op("Mul", self._input(g, layer, h), self._step(g))
            total = g.op("Add", row_sum(g, g.op("Softplus", log_odds)), total)
        for layer in self.dbm.odd:
            states = g.cast(h[layer], TensorProto.FLOAT)
            total = g.op("Add", g.op("MatMul", states, self._bias(g, layer, flat=True)), total)
        g.op("Neg", total, out="free_energy")
        out = tensor("free_energy", "float32", [], Role.STATISTIC)
        graph = g.build("energy", self.state, [out])
        return Function(graph=graph, inputs=self.state, outputs=(out,))

    def features(self) -> Function:
        """The part of a chain's state that `decode` takes: h¹."""
        g = GraphBuilder()
        g.cast("h1", TensorProto.FLOAT, out="h")
        inputs, outputs = (self.state[0],), (self.features_tensor,)
        return Function(graph=g.build("features", inputs, outputs), inputs=inputs, outputs=outputs)

    def encode(self) -> Function:
        """μ¹, the mean-field probabilities of the first hidden layer; x may be grey."""
        g = GraphBuilder()
        mu = self._mean_field(g, as_rows(g, "x", self.dbm.sizes[0]), self._weights(g))
        g.op("Identity", mu[1], out="h")
        outputs = (self.features_tensor,)
        graph = g.build("encode", [self.x], outputs)
        return Function(graph=graph, inputs=(self.x,), outputs=outputs)

    def decode(self) -> Function:
        """p(v = 1 | h¹); for a binary h¹ it is bit for bit the readout's mean at β = 1.

        The product has integer weights: with binary h¹ its partial sums are whole numbers under
        2²⁴, exact in float32 in whatever order.
        """
        g = GraphBuilder()
        down = packed(g, "W_1_down", self.dbm.W[0].T)
        bias = g.constant("b_float", self.dbm.b[0].astype(np.float32)[None])
        a = g.op("Add", g.op("MatMul", "h", down), bias)
        as_images(g, sigmoid_lookup(g, g.op("Mul", a, self._step(g))), self.shape, out="x")
        inputs, outputs = (self.features_tensor,), (self.x,)
        return Function(graph=g.build("decode", inputs, outputs), inputs=inputs, outputs=outputs)

    def score(self) -> Function:
        """-(E_q[-E(x, h)] + H(q)): the negative variational bound, up to log Z, of the grey image.

        The heatmap is how little the machine expects a pixel: KL(x_i ‖ p_i) in nats, with
        p = σ(b⁰ + W¹μ¹) the mean-field reconstruction.
        """
        g = GraphBuilder()
        x = as_rows(g, "x", self.dbm.sizes[0])
        W = self._weights(g)
        mu = self._mean_field(g, x, W)
        total = g.op("MatMul", x, self._bias(g, 0, flat=True))
        for layer in range(1, len(self.dbm.b)):
            low = g.op("MatMul", mu[layer - 1], W[layer])
            with_bias = g.op("Add", low, self._bias(g, layer))
            total = g.op("Add", total, row_sum(g, g.op("Mul", with_bias, mu[layer])))
            total = g.op("Sub", total, row_sum(g, negative_entropy(g, mu[layer])))
        g.op("Neg", total, out="negative_bound")
        down = g.op("Transpose", W[1], perm=[1, 0])
        seen = g.op("Add", g.op("MatMul", mu[1], down), self._bias(g, 0))
        as_images(g, divergence(g, x, seen), self.shape, out="heatmap")
        outputs = (
            tensor("negative_bound", "float32", [], Role.SCORE),
            tensor("heatmap", "float32", self.shape, Role.HEATMAP),
        )
        graph = g.build("score", [self.x], outputs)
        return Function(graph=graph, inputs=(self.x,), outputs=outputs)

    def classify(self, classifier: Classifier) -> Function:
        """p(label | x): the classifier on [x, μ², …, μ^L]."""
        g = GraphBuilder()
        x = as_rows(g, "x", self.dbm.sizes[0])
        mu = self._mean_field(g, x, self._weights(g))
        sides = [mu[layer] for layer in range(2, len(self.dbm.b))]
        outputs = (classified(g, classifier, [x, *sides]),)
        graph = g.build("classify", [self.x], outputs)
        return Function(graph=graph, inputs=(self.x,), outputs=outputs)

    def _mean_field(self, g: GraphBuilder, x: str, W: Mapping[int, str]) -> dict[int, str]:
        """`training.dbm.mean_field` with a fixed number of rounds: layer → probabilities."""
        top = len(self.dbm.b) - 1
        below = g.op("MatMul", x, W[1])
        two = scalar(g, "two", 2.0)
        mu = {0: x}
        for layer in range(1, top + 1):
            up = below if layer == 1 else g.op("MatMul", mu[layer - 1], W[layer])
            up = up if layer == top else g.op("Mul", up, two)
            mu[layer] = g.op("Sigmoid", g.op("Add", up, self._bias(g, layer)))
        down = {layer: g.op("Transpose", W[layer + 1], perm=[1, 0]) for layer in range(1, top)}
        hidden = [layer for layer in (*self.dbm.odd, *self.dbm.even) if layer]
        for _ in range(self.updates):
            for layer in hidden:
                up = below if layer == 1 else g.op("MatMul", mu[layer - 1], W[layer])
                total = g.op("Add", up, self._bias(g, layer))
                if layer < top:
                    total = g.op("Add", total, g.op("MatMul", mu[layer + 1], down[layer]))
                mu[layer] = g.op("Sigmoid", total)
        return mu

    def _input(self, g: GraphBuilder, layer: int, h: Mapping[int, str]) -> str:
        """b^l + h^{l-1}W^l + h^{l+1}W^{l+1}ᵀ in units of the step, exact."""
        terms = [
            (h[other], f"W_{name_of(other)}_{name_of(layer)}", W)
            for other, W in self.dbm.neighbours(layer)
        ]
        return integer_input(g, terms, (f"bias_{name_of(layer)}", self.dbm.b[layer]))

    def _weights(self, g: GraphBuilder) -> dict[int, str]:
        """W¹, W², … as float32."""
        return {
            layer: g.op("Mul", packed(g, f"W_{layer}", W), self._step(g))
            for layer, W in enumerate(self.dbm.W, start=1)
        }

    def _bias(self, g: GraphBuilder, layer: int, *, flat: bool = False) -> str:
        values = self.dbm.b[layer].astype(np.float32) * self.dbm.step
        name = f"b_{layer}_flat" if flat else f"b_{layer}"
        return g.constant(name, values if flat else values[None])

    def _step(self, g: GraphBuilder) -> str:
        return scalar(g, "step", float(self.dbm.step))

    def _state(self, name: str, layer: int) -> TensorSpec:
        return tensor(name, "uint8", [self.dbm.sizes[layer]], Role.STATE)

    def _noise(self, layer: int) -> TensorSpec:
        return tensor(f"noise_{name_of(layer)}", "float32", [self.dbm.sizes[layer]], Role.LOGISTIC)
