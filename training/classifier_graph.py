"""A classifier's nodes: sigmoid layers with side inputs, and a softmax on top.

x, side inputs ──► h¹ ──► … ──► probabilities, by the weights that fine-tuning has left

The file holds the weights in float16, which is half as large; a runtime widens them when it loads
them, and all sums are float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from service.contract import Role, TensorSpec
from training.boltzmann_nodes import tensor
from training.classifier import Classifier
from training.graph_builder import GraphBuilder


def classified(g: GraphBuilder, classifier: Classifier, inputs: Sequence[str]) -> TensorSpec:
    """Add `probabilities`, and say what they are; `inputs` as `Classifier.logits` has them."""
    h = inputs[0]
    for i, (W, b) in enumerate(zip(classifier.W, classifier.b, strict=True)):
        if i + 1 < len(inputs):
            h = g.op("Concat", h, inputs[i + 1], axis=1)
        narrow = g.constant(f"classifier_W_{i}", W.detach().cpu().numpy().astype(np.float16))
        weights = g.cast(narrow, TensorProto.FLOAT)
        bias = g.constant(f"classifier_b_{i}", b.detach().cpu().numpy()[None])
        h = g.op("Add", g.op("MatMul", h, weights), bias)
        if i + 1 < len(classifier.W):
            h = g.op("Sigmoid", h)
    g.op("Softmax", h, out="probabilities", axis=1)
    return tensor("probabilities", "float32", [len(classifier.b[-1])], Role.PROBABILITIES)
