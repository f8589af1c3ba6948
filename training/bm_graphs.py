"""The ONNX graphs of a Boltzmann machine with any connections, node by node.

QuantisedBm, blocks ──► sweep, start, readout (integers: the same bytes everywhere)
                    ──► energy, encode, decode, score (float32)

A chain's state is all units, x = (v, h), for visible units may be connected with each other; the
features that `encode` gives and `decode` takes are all units too. A sweep is unrolled: five small
nodes a block, whatever the connections, without a loop.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from service.contract import Role
from training.bm_connections import Blocks
from training.bm_quantised import OUT_OF_REACH, QuantisedBm
from training.bm_sweep_graph import UnrolledSweep
from training.boltzmann_nodes import (
    Weights,
    as_images,
    as_rows,
    as_states,
    divergence,
    drawn,
    integer_input,
    map_function,
    negative_entropy,
    packed,
    row_sum,
    scalar,
    sigmoid_lookup,
    sweep_function,
    tensor,
)
from training.dbm import MeanField
from training.graph_builder import GraphBuilder
from training.package import Function

# A table of σ at multiples of 2⁻⁷ in [-8, 8] is off by at most 10⁻³, a quarter of a grey level of
# 256, and small beside a small machine.
MEAN_STEPS = 128
MEAN_REACH = 8


def bm_functions(
    bm: QuantisedBm,
    *,
    blocks: Blocks,
    base_bias: Weights,
    shape: tuple[int, int, int],
    posterior: MeanField,
) -> dict[str, Function]:
    """Every function of a BM package.

    Args:
        bm: the machine.
        blocks: of units without links among them, in the order of a sweep.
        base_bias: log-odds of independent units, float32 [units]: fresh chains begin there.
        shape: [C, H, W] of the visible units.
        posterior: the mean-field of `encode` and `score`, which makes all its rounds.
    """
    graphs = _Graphs(bm, blocks, shape, posterior)
    return {
        "sweep": graphs.sweep(),
        "start": graphs.start(base_bias),
        "readout": graphs.readout(),
        "energy": graphs.energy(),
        "encode": graphs.encode(),
        "decode": graphs.decode(),
        "score": graphs.score(),
    }


def score_method(bm: QuantisedBm) -> str:
    """What a score is called: a free energy where it is one, else the bound that it is."""
    return "free_energy" if bm.hidden_are_free else "negative_bound"


class _Graphs:
    """The functions of one machine, and the tensors that they share."""

    def __init__(
        self, bm: QuantisedBm, blocks: Blocks, shape: tuple[int, int, int], posterior: MeanField
    ) -> None:
        self.bm, self.blocks, self.shape, self.posterior = bm, blocks, shape, posterior
        self.layers = [bm.visible, bm.units - bm.visible]
        self.state = tensor("x", "uint8", [bm.units], Role.STATE)
        self.next = tensor("next_x", "uint8", [bm.units], Role.STATE)
        self.noise = tensor("noise", "float32", [bm.units], Role.LOGISTIC)
        self.clamps = (
            tensor("clamp_mask", "bool", [bm.visible], Role.CLAMP_MASK),
            tensor("clamp_values", "bool", [bm.visible], Role.CLAMP_VALUES),
        )
        self.beta = tensor("beta", "float32", [1], Role.BETA)
        self.image = tensor("image", "float32", shape, Role.DATA)
        self.features = tensor("h", "float32", [bm.units], Role.HIDDEN)

    def sweep(self) -> Function:
        """Each block in turn given all other units, with v clamped, at β."""
        g = GraphBuilder()
        on = g.cast("x", TensorProto.BOOL)
        mask, values = self._clamps_of_all(g, on)
        x = as_states(g, _held(g, on, mask, values))
        unrolled = UnrolledSweep(g, self.bm, self.blocks)
        g.op("Identity", unrolled.drawn(x, self._thresholds(g, mask, values)), out="next_x")
        inputs = (self.state, self.noise, *self.clamps, self.beta)
        return sweep_function(g, inputs, [self.next])

    def start(self, base_bias: Weights) -> Function:
        """All units independent at their base rates, with v clamped."""
        g = GraphBuilder()
        rates = g.constant("base_bias", base_bias.astype(np.float32)[None])
        on = drawn(g, "noise", rates)
        as_states(g, _held(g, on, *self._clamps_of_all(g, on)), out="x")
        return map_function(g, "start", (self.noise, *self.clamps), [self.state], exact=True)

    def readout(self) -> Function:
        """mean = p_β(v_i | all other units) of each visible unit, and sample, v itself."""
        g = GraphBuilder()
        seen = self.bm.W[:, : self.bm.visible]
        a = integer_input(g, [("x", "W_seen", seen)], ("b_seen", self.bm.b[: self.bm.visible]))
        mean = self._mean(g, g.op("Mul", a, g.op("Mul", "beta", self._step(g))))
        as_images(g, mean, self.shape, out="mean")
        v, _ = g.split("x", self.layers)
        as_images(g, g.cast(v, TensorProto.FLOAT), self.shape, out="sample")
        outputs = [tensor(name, "float32", self.shape, Role.DATA) for name in ("mean", "sample")]
        return map_function(g, "readout", (self.state, self.beta), outputs, exact=True)

    def energy(self) -> Function:
        """E(x) = -½ xᵀWx - b·x, at β = 1."""
        g = GraphBuilder()
        inner = self._inner_energy(g, g.cast("x", TensorProto.FLOAT))
        g.op("Neg", inner, out="energy")
        out = tensor("energy", "float32", [], Role.STATISTIC)
        return map_function(g, "energy", [self.state], [out])

    def encode(self) -> Function:
        """(v, μ): the image and the mean-field probabilities of the hidden units."""
        g = GraphBuilder()
        v = as_rows(g, "image", self.bm.visible)
        g.op("Concat", v, self._mean_field(g, v), out="h", axis=1)
        return map_function(g, "encode", [self.image], [self.features])

    def decode(self) -> Function:
        """p(v_i | all others); of a binary state it is bit for bit the readout's mean at β = 1.

        The product has integer weights: with binary states its partial sums are whole numbers under
        2²⁴, exact in float32 in whatever order.
        """
        g = GraphBuilder()
        seen = packed(g, "W_seen", self.bm.W[:, : self.bm.visible])
        bias = g.constant("b_seen", self.bm.b[: self.bm.visible].astype(np.float32)[None])
        a = g.op("Add", g.op("MatMul", "h", seen), bias)
        as_images(g, self._mean(g, g.op("Mul", a, self._step(g))), self.shape, out="image")
        return map_function(g, "decode", [self.features], [self.image])

    def score(self) -> Function:
        """-(E_q[-E(v, h)] + H(q)), the negative variational bound up to log Z of the grey image.

        Where the hidden units are free it is the free energy F(v). The heatmap is how little the
        machine expects a pixel: KL(v_i ‖ p_i) in nats, with p_i given μ and all other pixels.
        """
        g = GraphBuilder()
        v = as_rows(g, "image", self.bm.visible)
        mu = self._mean_field(g, v)
        x = g.op("Concat", v, mu, axis=1)
        surprise = row_sum(g, negative_entropy(g, mu))
        method = score_method(self.bm)
        g.op("Sub", surprise, self._inner_energy(g, x), out=method)
        log_odds = g.op("Add", g.op("MatMul", x, self._weights(g)), self._bias(g))
        seen, _ = g.split(log_odds, self.layers)
        as_images(g, divergence(g, v, seen), self.shape, out="heatmap")
        outputs = [
            tensor(method, "float32", [], Role.SCORE),
            tensor("heatmap", "float32", self.shape, Role.HEATMAP),
        ]
        return map_function(g, "score", [self.image], outputs)

    def _thresholds(self, g: GraphBuilder, mask: str, values: str) -> str:
        """⌊noise / (s·β)⌋ of each unit, int32; of clamped ones out of reach, on either side."""
        warmth = g.op("Div", scalar(g, "one", 1.0), "beta")
        scale = g.op("Mul", warmth, scalar(g, "per_step", float(self.bm.per_step)))
        level = g.op("Floor", g.op("Mul", "noise", scale))
        low, high = scalar(g, "least", -OUT_OF_REACH), scalar(g, "most", OUT_OF_REACH)
        levels = g.cast(g.op("Clip", level, low, high), TensorProto.INT32)
        always = g.constant("always", np.array(-OUT_OF_REACH, np.int32))
        never = g.constant("never", np.array(OUT_OF_REACH, np.int32))
        return g.op("Where", mask, g.op("Where", values, always, never), levels)

    def _clamps_of_all(self, g: GraphBuilder, on: str) -> tuple[str, str]:
        """(mask, values) of all units, bool: hidden ones are never clamped."""
        _, hidden = g.split(on, self.layers)
        none = g.op("And", hidden, g.constant("no", np.array(False)))
        mask = g.op("Concat", "clamp_mask", none, axis=1)
        return mask, g.op("Concat", "clamp_values", none, axis=1)

    def _mean_field(self, g: GraphBuilder, v: str) -> str:
        """`training.bm.mean_field` with all of its rounds: probabilities of the hidden units."""
        seen, hidden = slice(0, self.bm.visible), slice(self.bm.visible, None)
        up = self._scaled(g, "W_up", self.bm.W[seen, hidden])
        bias = g.constant("b_up", (self.bm.b[hidden] * self.bm.step).astype(np.float32)[None])
        told = g.op("Add", g.op("MatMul", v, up), bias)
        mu = g.op("Sigmoid", told)
        if self.bm.hidden_are_free:
            return mu
        inside = self._scaled(g, "W_inside", self.bm.W[hidden, hidden])
        kept = scalar(g, "kept", self.posterior.damping)
        moved = scalar(g, "moved", 1 - self.posterior.damping)
        for _ in range(self.posterior.updates):
            new = g.op("Sigmoid", g.op("Add", told, g.op("MatMul", mu, inside)))
            mu = g.op("Add", g.op("Mul", mu, kept), g.op("Mul", new, moved))
        return mu

    def _mean(self, g: GraphBuilder, log_odds: str) -> str:
        return sigmoid_lookup(g, log_odds, steps_a_unit=MEAN_STEPS, reach=MEAN_REACH)

    def _inner_energy(self, g: GraphBuilder, x: str) -> str:
        """½ xᵀWx + b·x of each row."""
        half = g.op("Mul", g.op("MatMul", x, self._weights(g)), scalar(g, "half", 0.5))
        return row_sum(g, g.op("Mul", g.op("Add", half, self._bias(g)), x))

    def _weights(self, g: GraphBuilder) -> str:
        return self._scaled(g, "W", self.bm.W)

    def _scaled(self, g: GraphBuilder, name: str, W: Weights) -> str:
        """Dequantised weights, kept in the file as small integers."""
        return g.op("Mul", packed(g, name, W), self._step(g))

    def _bias(self, g: GraphBuilder) -> str:
        return g.constant("b", (self.bm.b * self.bm.step).astype(np.float32)[None])

    def _step(self, g: GraphBuilder) -> str:
        return scalar(g, "step", float(self.bm.step))


def _held(g: GraphBuilder, on: str, mask: str, values: str) -> str:
    """bool: clamped units at their values, the others as they are."""
    return g.op("Or", g.op("And", on, g.op("Not", mask)), g.op("And", mask, values))
