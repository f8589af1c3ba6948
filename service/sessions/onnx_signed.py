"""Integer products for GPUs: CUDA multiplies int8 by int8, and 0/1 states are uint8.

MatMulInteger(uint8 A, int8 B) ──► MatMulInteger(Cast(A, int8), int8 B)

ONNX Runtime's CPU kernel is fastest with unsigned states, so that is what packages hold. Its CUDA
provider has a kernel for two int8 matrices alone, and would send every product to the CPU and its
result back. The values are the same up to 127. States that the graph draws are 0 or 1; those that
it is fed are checked by the caller.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from service.sessions.onnx_file import Field, fields

# Field numbers of onnx.proto.
_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT = 1, 5, 11
_NODE_INPUT, _NODE_OUTPUT, _NODE_OP_TYPE, _NODE_ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_INT, _ATTRIBUTE_TYPE = 1, 3, 20
_TENSOR_DATA_TYPE, _TENSOR_NAME = 2, 8
_UINT8, _INT8, _ATTRIBUTE_IS_INT = 2, 3, 2
_DRAWS_BOOLS = {"And", "Or", "Not", "Xor", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"}


@dataclass(frozen=True)
class SignedGraph:
    """A graph, and its inputs that must not hold more than 127."""

    content: bytes = field(repr=False)
    narrow: frozenset[str] = frozenset()


def with_signed_products(content: bytes) -> SignedGraph:
    """The same function with the integer products that CUDA has a kernel for.

    Raises:
        ValueError: `content` is no ONNX model.
    """
    parts: list[bytes] = []
    narrow: frozenset[str] = frozenset()
    for part in fields(memoryview(content)):
        if part.number == _MODEL_GRAPH and isinstance(part.value, memoryview):
            graph, narrow = _signed(list(fields(part.value)))
            parts.append(_bytes_field(_MODEL_GRAPH, graph))
        else:
            parts.append(bytes(part.raw))
    return SignedGraph(b"".join(parts), narrow)


def _signed(graph: list[Field]) -> tuple[bytes, frozenset[str]]:
    """The graph's own bytes with casts put in, and the inputs that they are put behind."""
    known = _Names(graph)
    cast: set[str] = set()
    parts: list[bytes] = []
    for part in graph:
        replaced = bytes(part.raw)
        if part.number == _GRAPH_NODE and isinstance(part.value, memoryview):
            node = _Node(part.value)
            if node.op == "MatMulInteger" and known.fits(*node.inputs):
                states = node.inputs[0]
                if states not in cast:
                    parts.append(_bytes_field(_GRAPH_NODE, _cast_node(states)))
                cast.add(states)
                replaced = _bytes_field(_GRAPH_NODE, node.reading(_signed_name(states)))
        parts.append(replaced)
    return b"".join(parts), frozenset(cast & known.fed)


class _Names:
    """What a graph's tensors are, as far as products of states need to know."""

    def __init__(self, graph: list[Field]) -> None:
        messages = [(f.number, f.value) for f in graph if isinstance(f.value, memoryview)]
        nodes = [_Node(value) for number, value in messages if number == _GRAPH_NODE]
        bools = {name for node in nodes if node.op in _DRAWS_BOOLS for name in node.outputs}
        self.fed = {
            _text(value, 1)
            for number, value in messages
            if number == _GRAPH_INPUT and _element_type(value) == _UINT8
        }
        self._drawn = {
            node.outputs[0]
            for node in nodes
            if node.op == "Cast" and node.casts_to == _UINT8 and set(node.inputs) <= bools
        }
        constants = {
            _text(value, _TENSOR_NAME)
            for number, value in messages
            if number == _GRAPH_INITIALIZER and _number(value, _TENSOR_DATA_TYPE) == _INT8
        }
        turned = (node for node in nodes if node.op == "Transpose")
        self._weights = constants | {n.outputs[0] for n in turned if set(n.inputs) <= constants}

    def fits(self, states: str, weights: str, *zero_points: str) -> bool:
        """Whether this is a product of uint8 states and int8 weights, without offsets."""
        return states in self.fed | self._drawn and weights in self._weights and not zero_points


class _Node:
    """One node: its operator and the names it reads and writes."""

    def __init__(self, message: memoryview) -> None:
        self._fields = list(fields(message))
        self.op = _text(message, _NODE_OP_TYPE)
        self.inputs = self._names(_NODE_INPUT)
        self.outputs = self._names(_NODE_OUTPUT)

    @property
    def casts_to(self) -> int | None:
        """The element type that a Cast gives."""
        attributes = (f.value for f in self._fields if f.number == _NODE_ATTRIBUTE)
        messages = (a for a in attributes if isinstance(a, memoryview))
        to = (a for a in messages if _text(a, _ATTRIBUTE_NAME) == "to")
        return next((_number(a, _ATTRIBUTE_INT) for a in to), None)

    def reading(self, first: str) -> bytes:
        """The node's bytes with another first input."""
        following = iter([first, *self.inputs[1:]])
        return b"".join(
            _bytes_field(_NODE_INPUT, next(following).encode())
            if part.number == _NODE_INPUT
            else bytes(part.raw)
            for part in self._fields
        )

    def _names(self, number: int) -> list[str]:
        found = (f.value for f in self._fields if f.number == number)
        return [bytes(value).decode() for value in found if isinstance(value, memoryview)]


def _cast_node(states: str) -> bytes:
    to = (
        _bytes_field(_ATTRIBUTE_NAME, b"to")
        + _number_field(_ATTRIBUTE_INT, _INT8)
        + _number_field(_ATTRIBUTE_TYPE, _ATTRIBUTE_IS_INT)
    )
    return (
        _bytes_field(_NODE_INPUT, states.encode())
        + _bytes_field(_NODE_OUTPUT, _signed_name(states).encode())
        + _bytes_field(_NODE_OP_TYPE, b"Cast")
        + _bytes_field(_NODE_ATTRIBUTE, to)
    )


def _signed_name(states: str) -> str:
    return f"{states}__int8"


def _element_type(value_info: memoryview) -> int | None:
    """Of a ValueInfoProto: type (2) → tensor_type (1) → elem_type (1)."""
    message: memoryview | None = value_info
    for number in (2, 1):
        inner = None if message is None else _value(message, number)
        message = inner if isinstance(inner, memoryview) else None
    return None if message is None else _number(message, 1)


def _value(message: memoryview, number: int) -> int | memoryview | None:
    return next((f.value for f in fields(message) if f.number == number), None)


def _text(message: memoryview, number: int) -> str:
    value = _value(message, number)
    return bytes(value).decode() if isinstance(value, memoryview) else ""


def _number(message: memoryview, number: int) -> int | None:
    value = _value(message, number)
    return value if isinstance(value, int) else None


def _bytes_field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _number_field(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
