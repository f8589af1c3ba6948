"""The ONNX graphs of a deep belief network, node by node.

QuantisedDbn ──► sweep, start, readout (integers: the same bytes everywhere)
             ──► energy, encode, decode, score, classify (float32)

A chain runs in the top machine, its label held; its state is the topmost directed layer h^{L-1},
from which a pass down the directed layers makes an image.
"""

from __future__ import annotations

from itertools import pairwise
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
from training.quantised_network import QuantisedDbn


def dbn_functions(
    dbn: QuantisedDbn,
    *,
    base_bias: np.ndarray[Any, Any],
    shape: tuple[int, int, int],
    classifier: Classifier | None = None,
) -> dict[str, Function]:
    """Every function of a DBN package.

    Args:
        dbn: the network.
        base_bias: float32 log-odds of the topmost directed layer, where fresh chains begin: of each
            label [labels, units], or [1, units] where there are none.
        shape: [C, H, W] of the visible units.
        classifier: fine-tuned from the network; without one there is no `classify`.
    """
    graphs = _Graphs(dbn, shape)
    functions = {
        "sweep": graphs.sweep(),
        "start": graphs.start(base_bias),
        "readout": graphs.readout(),
        "energy": graphs.energy(),
        "encode": graphs.encode(),
        "decode": graphs.decode(),
        "score": graphs.score(),
    }
    if classifier is not None:
        functions["classify"] = graphs.classify(classifier)
    return functions


class _Graphs:
    """The functions of one network, and the tensors that they share."""

    def __init__(self, dbn: QuantisedDbn, shape: tuple[int, int, int]) -> None:
        self.dbn, self.shape = dbn, shape
        self.h = tensor("h", "uint8", [dbn.units], Role.STATE)
        self.next_h = tensor("next_h", "uint8", [dbn.units], Role.STATE)
        self.label = (tensor("label", "int64", [], Role.LABEL),) if dbn.labels else ()
        self.noise_top = _noise("noise_top", dbn.top.hidden)
        self.noise_h = _noise("noise_h", dbn.units)
        self.beta = tensor("beta", "float32", [1], Role.BETA)
        self.x = tensor("x", "float32", shape, Role.DATA)
        self.features = tensor("h", "float32", [dbn.units], Role.HIDDEN)

    def sweep(self) -> Function:
        """h^L given h^{L-1} and the label, then h^{L-1} given h^L and perhaps the label, at β."""
        g, top = GraphBuilder(share_transposes=True), self.dbn.top
        scale = g.op("Mul", "beta", scalar(g, "step", float(top.step)))
        a = integer_input(g, [("h", "W_up", top.W[: self.dbn.units])], ("c", top.c))
        if self.dbn.labels:
            a = self._with_label(g, a, "W_labels", self.dbn.held.up)
        above = as_states(g, drawn(g, "noise_top", g.op("Mul", a, scale)))
        down = top.W[: self.dbn.units].T
        a = integer_input(g, [(above, "W_down", down)], ("b", top.b[: self.dbn.units]))
        if self.dbn.guide is not None:
            a = self._with_label(g, a, "down_labels", self.dbn.guide.down)
        as_states(g, drawn(g, "noise_h", g.op("Mul", a, scale)), out="next_h")
        inputs = (self.h, *self.label, self.noise_top, self.noise_h, self.beta)
        return sweep_function(g, inputs, [self.next_h])

    def start(self, base_bias: np.ndarray[Any, Any]) -> Function:
        """h^{L-1} from its base rates, under the label if there are labels."""
        g = GraphBuilder()
        base = g.constant("base_bias", base_bias.astype(np.float32))
        if self.dbn.labels:
            base = g.op("Gather", base, "label")
        as_states(g, drawn(g, "noise_h", base), out="h")
        inputs, outputs = (*self.label, self.noise_h), (self.h,)
        graph = g.build("start", inputs, outputs)
        return Function(graph=graph, inputs=inputs, outputs=outputs, exact=True)

    def readout(self) -> Function:
        """A pass down: layers between are drawn; mean = p_β(v | h¹), and sample, a draw of it."""
        g = GraphBuilder()
        h, noises = "h", []
        for i in range(len(self.dbn.down) - 1, -1, -1):
            layer = self.dbn.down[i]
            scale = g.op("Mul", "beta", scalar(g, f"step_{i}", float(layer.step)))
            a = integer_input(g, [(h, f"W_{i}", layer.W.T)], (f"b_{i}", layer.b))
            log_odds = g.op("Mul", a, scale)
            noises.append(_noise(f"noise_{i}", layer.visible))
            h = as_states(g, drawn(g, f"noise_{i}", log_odds))
        as_images(g, sigmoid_lookup(g, log_odds), self.shape, out="mean")
        as_images(g, g.cast(h, TensorProto.FLOAT), self.shape, out="sample")
        inputs = (self.h, *noises, self.beta)
        outputs = tuple(tensor(n, "float32", self.shape, Role.DATA) for n in ("mean", "sample"))
        graph = g.build("readout", inputs, outputs)
        return Function(graph=graph, inputs=inputs, outputs=outputs, exact=True)

    def energy(self) -> Function:
        """-log Σ_y exp(-F([h, y])): the top machine's free energy with its label summed out."""
        g = GraphBuilder()
        total = self._evidence(g, g.cast("h", TensorProto.FLOAT))
        g.op("Neg", total, out="free_energy")
        out = tensor("free_energy", "float32", [], Role.STATISTIC)
        graph = g.build("energy", [self.h], [out])
        return Function(graph=graph, inputs=(self.h,), outputs=(out,))

    def encode(self) -> Function:
        """q(h^{L-1} = 1 | x), by a mean-field pass of the recognition weights; x may be grey."""
        g = GraphBuilder()
        *_, top = self._rise(g, as_rows(g, "x", self.dbn.down[0].visible))
        g.op("Identity", top, out="h")
        graph = g.build("encode", [self.x], [self.features])
        return Function(graph=graph, inputs=(self.x,), outputs=(self.features,))

    def decode(self) -> Function:
        """p(v = 1 | h^{L-1}), by a mean-field pass of the generative weights.

        With one directed layer and a binary h it is bit for bit the readout's mean at β = 1: the
        product has integer weights, so that its partial sums are whole numbers under 2²⁴.
        """
        g = GraphBuilder()
        h = "h"
        for i in range(len(self.dbn.down) - 1, -1, -1):
            log_odds = self._generate(g, i, h)
            h = sigmoid_lookup(g, log_odds)
        as_images(g, h, self.shape, out="x")
        inputs, outputs = (self.features,), (self.x,)
        return Function(graph=g.build("decode", inputs, outputs), inputs=inputs, outputs=outputs)

    def score(self) -> Function:
        """-[Σ log p(h^{l-1} | h^l) + H(q) + log Σ_y exp(-F([h^{L-1}, y]))] at the mean of q.

        It is the negative variational bound up to log Z, but for taking h at its mean rather than
        averaging over it. The heatmap is KL(x_i ‖ p_i) in nats, with p the generative prediction of
        the visible units from the mean of q(h¹ | x).
        """
        g = GraphBuilder()
        x = as_rows(g, "x", self.dbn.down[0].visible)
        states = self._rise(g, x)
        total = self._evidence(g, states[-1])
        for i, (low, high) in enumerate(pairwise(states)):
            log_odds = self._generate(g, i, high)
            cross = g.op("Sub", g.op("Softplus", log_odds), g.op("Mul", low, log_odds))
            total = g.op("Sub", total, row_sum(g, cross))
            total = g.op("Sub", total, row_sum(g, negative_entropy(g, high)))
            if i == 0:
                as_images(g, divergence(g, x, log_odds), self.shape, out="heatmap")
        g.op("Neg", total, out="negative_bound")
        outputs = (
            tensor("negative_bound", "float32", [], Role.SCORE),
            tensor("heatmap", "float32", self.shape, Role.HEATMAP),
        )
        graph = g.build("score", [self.x], outputs)
        return Function(graph=graph, inputs=(self.x,), outputs=outputs)

    def classify(self, classifier: Classifier) -> Function:
        """p(label | x): the fine-tuned network."""
        g = GraphBuilder()
        outputs = (classified(g, classifier, [as_rows(g, "x", self.dbn.down[0].visible)]),)
        graph = g.build("classify", [self.x], outputs)
        return Function(graph=graph, inputs=(self.x,), outputs=outputs)

    def _with_label(self, g: GraphBuilder, a: str, name: str, table: np.ndarray[Any, Any]) -> str:
        """What the label adds, looked up."""
        rows = g.op("Gather", g.constant(name, table.astype(np.float32)), "label")
        return g.op("Add", a, rows)

    def _rise(self, g: GraphBuilder, x: str) -> list[str]:
        """[x, μ¹, …, μ^{L-1}] by the recognition weights."""
        states = [x]
        for i, layer in enumerate(self.dbn.up):
            weights = packed(g, f"up_{i}", layer.W)
            bias = g.constant(f"up_bias_{i}", layer.c.astype(np.float32)[None])
            a = g.op("Add", g.op("MatMul", states[-1], weights), bias)
            step = scalar(g, f"up_step_{i}", float(layer.step))
            states.append(g.op("Sigmoid", g.op("Mul", a, step)))
        return states

    def _generate(self, g: GraphBuilder, i: int, h: str) -> str:
        """Log-odds of layer i given layer i + 1, float32; exact for binary h."""
        layer = self.dbn.down[i]
        bias = g.constant(f"down_bias_{i}", layer.b.astype(np.float32)[None])
        a = g.op("Add", g.op("MatMul", h, packed(g, f"down_{i}", layer.W.T)), bias)
        return g.op("Mul", a, scalar(g, f"down_step_{i}", float(layer.step)))

    def _evidence(self, g: GraphBuilder, h: str) -> str:
        """log Σ_y exp(-F([h, y])) of each row, float32."""
        units, labels = self.dbn.units, self.dbn.labels
        top = self.dbn.top.dequantised()
        W, b, c = (t.numpy() for t in (top.W, top.b, top.c))
        step = scalar(g, "top_step", float(self.dbn.top.step))
        whole = g.op("MatMul", h, packed(g, "top_W", self.dbn.top.W[:units]))
        up = g.op("Add", g.op("Mul", whole, step), g.constant("top_c", c))
        visible = g.op("MatMul", h, g.constant("top_b", b[:units]))
        if not labels:
            return g.op("Add", visible, row_sum(g, g.op("Softplus", up)))
        each = []
        for y in range(labels):
            input_y = g.op("Add", up, g.constant(f"label_W_{y}", W[units + y]))
            summed = row_sum(g, g.op("Softplus", input_y))
            with_bias = g.op("Add", summed, scalar(g, f"label_b_{y}", float(b[units + y])))
            each.append(g.op("Unsqueeze", with_bias, g.constant("axis_1", np.array([1], np.int64))))
        table = g.op("Concat", *each, axis=1)
        axis = g.constant("axis_1", np.array([1], np.int64))
        return g.op("Add", visible, g.op("ReduceLogSumExp", table, axis, keepdims=0))


def _noise(name: str, units: int) -> TensorSpec:
    return tensor(name, "float32", [units], Role.LOGISTIC)
