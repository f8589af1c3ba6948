"""A classifier's nodes: sigmoid layers with side inputs, and a softmax on top.

x, side inputs ──► h¹ ──► … ──► probabilities, by the weights that fine-tuning has left

The file holds the weights as 8-bit integers with a scale for each unit, which is a quarter as
large; a runtime widens them when it loads them, and all sums are float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int32

from service.contract import Role, TensorSpec
from training.boltzmann_nodes import packed, tensor
from training.classifier import Classifier
from training.graph_builder import GraphBuilder


def classified(g: GraphBuilder, classifier: Classifier, inputs: Sequence[str]) -> TensorSpec:
    """Add `probabilities`, and say what they are; `inputs` as `Classifier.logits` has them."""
    h = inputs[0]
    for i, (W, b) in enumerate(zip(classifier.W, classifier.b, strict=True)):
        if i + 1 < len(inputs):
            h = g.op("Concat", h, inputs[i + 1], axis=1)
        whole, scales = in_eight_bits(W.detach().cpu().numpy())
        small = packed(g, f"classifier_W_{i}", whole)
        weights = g.op("Mul", small, g.constant(f"classifier_scale_{i}", scales))
        bias = g.constant(f"classifier_b_{i}", b.detach().cpu().numpy()[None])
        h = g.op("Add", g.op("MatMul", h, weights), bias)
        if i + 1 < len(classifier.W):
            h = g.op("Sigmoid", h)
    g.op("Softmax", h, out="probabilities", axis=1)
    return tensor("probabilities", "float32", [len(classifier.b[-1])], Role.PROBABILITIES)


def as_exported(classifier: Classifier) -> Classifier:
    """The classifier with the weights that its graph has."""
    parts = [in_eight_bits(W.detach().cpu().numpy()) for W in classifier.W]
    W = tuple(torch.from_numpy(whole.astype(np.float32) * scales) for whole, scales in parts)
    return Classifier(W=W, b=tuple(b.detach().cpu() for b in classifier.b))


def in_eight_bits(
    W: Float[np.ndarray, "inputs units"],
) -> tuple[Int32[np.ndarray, "inputs units"], Float[np.ndarray, "1 units"]]:
    """Integers of at most 127, and the scale of each unit: W ≈ integers × scales."""
    largest = np.abs(W).max(0, keepdims=True)
    scales = (np.where(largest > 0, largest, 1.0) / 127).astype(np.float32)
    return np.rint(W / scales).astype(np.int32), scales
