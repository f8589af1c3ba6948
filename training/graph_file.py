"""What is kept of a graph in its file: nothing of the machine that made it, and no empty bits.

exporter's model ──strip──► bare model ──store_halves──► float16 where that holds a tensor's numbers

torch's exporter writes stack traces with file paths into every node; `strip` takes them out.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

# Elements of a tensor that is worth a Cast of its own.
LARGE = 1024
HALF = ".half"


def strip(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without metadata, doc strings, intermediate shapes and initialisers that nothing reads."""
    bare = copy.deepcopy(model)
    bare.producer_name, bare.producer_version, bare.domain = "reverie", "", ""
    bare.graph.name = "main"
    del bare.graph.value_info[:]
    used = {name for node in _nodes(bare.graph) for name in node.input}
    used |= {output.name for output in bare.graph.output}
    kept = [tensor for tensor in bare.graph.initializer if tensor.name in used]
    del bare.graph.initializer[:]
    bare.graph.initializer.extend(kept)
    for part in _parts(bare):
        if "metadata_props" in part.DESCRIPTOR.fields_by_name:
            del part.metadata_props[:]
        if "doc_string" in part.DESCRIPTOR.fields_by_name:
            part.doc_string = ""
    return bare


def store_halves(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph, each large float32 tensor kept as float16 where not a bit of it is lost.

    A Cast gives the tensor its name and its width again. Runtimes fold it away when they load the
    graph, so that answers and speed are those of float32.
    """
    smaller = copy.deepcopy(model)
    casts = []
    for tensor in smaller.graph.initializer:
        half = _exact_half(tensor)
        if half is None:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, name + HALF))
        cast = onnx.helper.make_node(
            "Cast", [name + HALF], [name], name=f"{name}.widen", to=onnx.TensorProto.FLOAT
        )
        casts.append(cast)
    nodes = [*casts, *smaller.graph.node]  # a node stands after those that it reads
    del smaller.graph.node[:]
    smaller.graph.node.extend(nodes)
    return smaller


def _exact_half(tensor: onnx.TensorProto) -> np.ndarray[Any, np.dtype[np.float16]] | None:
    """The tensor's numbers in float16, if it is large and they are the same numbers."""
    if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < LARGE:
        return None
    whole = numpy_helper.to_array(tensor)
    with np.errstate(over="ignore"):  # too large for float16: infinite, and not the same
        half = whole.astype(np.float16)
    return half if half.astype(np.float32).tobytes() == whole.tobytes() else None


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Every node, those of subgraphs too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _nodes(inner)


def _parts(message: Any) -> Iterator[Any]:  # noqa: ANN401  (any protobuf message)
    """A protobuf message and every message inside it."""
    yield message
    for description, value in message.ListFields():
        if description.message_type is None:
            continue
        repeated = not isinstance(value, type(message)) and hasattr(value, "__len__")
        for inner in list(value) if repeated else [value]:
            if hasattr(inner, "ListFields"):
                yield from _parts(inner)
