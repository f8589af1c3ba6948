"""ONNX graphs node by node, for functions that no exporter should have a hand in.

constants, ops ──► GraphBuilder ──► checked, serialised model without doc strings or metadata
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from service.contract import TensorSpec

OPSET = 18
IR_VERSION = 10  # the newest that onnxruntime 1.20 reads

ONNX_TYPES = {
    "float32": TensorProto.FLOAT,
    "uint8": TensorProto.UINT8,
    "uint16": TensorProto.UINT16,
    "bool": TensorProto.BOOL,
    "int64": TensorProto.INT64,
}


class GraphBuilder:
    """Collects nodes and constants; every method returns the name of the tensor that it makes."""

    def __init__(self, *, share_transposes: bool = False) -> None:
        """Nothing yet; `share_transposes` keeps a matrix and its transpose in one constant."""
        self._shares = share_transposes
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, np.ndarray[Any, Any]] = {}

    def constant(self, name: str, value: np.ndarray[Any, Any]) -> str:
        """A named constant; asking again for the same name must give the same value."""
        kept = self._constants.setdefault(name, value)
        assert np.array_equal(kept, value), f"two constants are called {name}"
        return name

    def matrix(self, name: str, value: np.ndarray[Any, Any]) -> str:
        """A constant matrix; one whose transpose is a constant already is made from that.

        Runtimes transpose it once, when they load the graph, so that only the file is smaller.
        """
        for kept, other in self._constants.items() if self._shares else ():
            if other.dtype == value.dtype and np.array_equal(other, value.T):
                transposed = f"{name}_from_{kept}"
                if not any(transposed in node.output for node in self._nodes):
                    self.op("Transpose", kept, out=transposed, perm=[1, 0])
                return transposed
        return self.constant(name, value)

    def op(self, kind: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:  # noqa: ANN401
        """Add a node with one output, called `out` or after its kind and number."""
        name = out or f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def cast(self, tensor: str, dtype: int, *, out: str | None = None) -> str:
        """Convert to another element type."""
        return self.op("Cast", tensor, out=out, to=dtype)

    def columns(self, tensor: str, start: int, stop: int) -> str:
        """tensor[:, start:stop]."""
        return self.op(
            "Slice",
            tensor,
            self.constant(f"at_{start}", np.array([start], np.int64)),
            self.constant(f"at_{stop}", np.array([stop], np.int64)),
            self.constant("axis_1", np.array([1], np.int64)),
        )

    def split(self, tensor: str, sizes: Sequence[int]) -> list[str]:
        """tensor[:, …] in parts of these many columns, in order."""
        number = len(self._nodes)
        names = [f"split_{number}_{i}" for i in range(len(sizes))]
        widths = self.constant(f"sizes_{number}", np.array(sizes, np.int64))
        self._nodes.append(helper.make_node("Split", [tensor, widths], names, axis=1))
        return names

    def build(
        self, name: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
    ) -> bytes:
        """The checked, serialised model; without doc strings or metadata."""
        graph = helper.make_graph(
            self._nodes,
            name,
            [_value_info(spec) for spec in inputs],
            [_value_info(spec) for spec in outputs],
            [numpy_helper.from_array(v, k) for k, v in self._constants.items()],
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="reverie"
        )
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model, full_check=True)
        serialised: bytes = model.SerializeToString(deterministic=True)
        return serialised


def _value_info(spec: TensorSpec) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(spec.name, ONNX_TYPES[spec.dtype], list(spec.shape))
