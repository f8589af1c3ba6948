"""Does an ONNX file lead outside itself? Read off the protobuf wire format, without loading it.

bytes ──► fields ──► tensors whose `data_location` is EXTERNAL, wherever they hide

ONNX lets a tensor live in another file, named by any path. A package is what its digests cover, so
such a tensor is refused. The runtime would follow the path first and fail later.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

# Field numbers of onnx.proto: message kind → {field: kind of the message inside}.
_NESTED: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_TENSOR_EXTERNAL_DATA = 13
_TENSOR_DATA_LOCATION = 14
_MAX_DEPTH = 64


class Field(NamedTuple):
    """One field of a message: a varint, bytes, or neither (None); and its own bytes, tag first."""

    number: int
    value: int | memoryview | None
    raw: memoryview


def has_external_data(content: bytes) -> bool:
    """Whether any tensor of the model keeps its values in another file.

    Raises:
        ValueError: `content` is not a protobuf message, or nests absurdly deep.
    """
    return _external(memoryview(content), "model", 0)


def _external(message: memoryview, kind: str, depth: int) -> bool:
    if depth > _MAX_DEPTH:
        raise ValueError("the graph nests more than 64 levels deep")
    nested = _NESTED[kind]
    for number, value, _ in fields(message):
        if kind == "tensor" and (
            (number == _TENSOR_EXTERNAL_DATA and value is not None)
            or (number == _TENSOR_DATA_LOCATION and value == 1)
        ):
            return True
        inside = nested.get(number)
        if (
            inside is not None
            and isinstance(value, memoryview)
            and _external(value, inside, depth + 1)
        ):
            return True
    return False


def fields(message: memoryview) -> Iterator[Field]:
    """Each field of a message in its order; the value of a fixed-size one is None.

    Raises:
        ValueError: this is no protobuf message, or it is cut short.
    """
    at = 0
    while at < len(message):
        start = at
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        value: int | memoryview | None = None
        if wire == 0:
            value, at = _varint(message, at)
        elif wire == 2:
            size, at = _varint(message, at)
            value = message[at : at + size]
            at += size
        elif wire in {1, 5}:
            at += 8 if wire == 1 else 4
        else:
            raise ValueError("the file is not an ONNX model")
        if at > len(message):
            raise ValueError("the file is cut short")
        yield Field(number, value, message[start:at])


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message) and shift < 70:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("the file is not an ONNX model")
