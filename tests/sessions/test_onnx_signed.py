"""Products of 0/1 states in the types that CUDA multiplies: another graph, the same bytes."""

from contextlib import suppress

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from service.contract import read_manifest
from service.invariance import random_rows
from service.sessions.onnx import OnnxSession
from service.sessions.onnx_signed import with_signed_products
from tests.sessions.steps import exported, packaged, sixteen_bit_rbm, tiny_dbm


def products(content: bytes) -> list[tuple[int, int]]:
    """(element type of the states, of the weights) of every integer product."""
    inferred = onnx.shape_inference.infer_shapes(onnx.load_from_string(content))
    graph = inferred.graph
    types = {v.name: v.type.tensor_type.elem_type
             for v in (*graph.input, *graph.value_info, *graph.output)}  # fmt: skip
    types |= {t.name: t.data_type for t in graph.initializer}
    return [(types[n.input[0]], types[n.input[1]])
            for n in graph.node if n.op_type == "MatMulInteger"]  # fmt: skip


def steps(tiny_store):
    rbm = tiny_store / "tiny-rbm/1"
    for name in ("sweep", "start", "readout"):
        yield packaged(rbm, name)
        yield exported(sixteen_bit_rbm(), name)
        yield exported(tiny_dbm(), name)


def test_every_integer_product_of_a_chain_gets_the_types_that_cuda_multiplies(tiny_store):
    signed = {(TensorProto.INT8, TensorProto.INT8)}
    for step in steps(tiny_store):
        made = with_signed_products(step.content)
        onnx.checker.check_model(onnx.load_from_string(made.content), full_check=True)
        assert set(products(step.content)) == {(TensorProto.UINT8, TensorProto.INT8)}
        assert set(products(made.content)) == signed
        states = {t.name for t in step.spec.inputs if t.dtype == "uint8"}
        assert made.narrow == states


def test_the_same_bytes_come_out(tiny_store):
    for step in steps(tiny_store):
        plain = OnnxSession(step.content, threads=1)
        ours = OnnxSession(with_signed_products(step.content).content, threads=1)
        for rows in (1, 7):
            inputs = random_rows(step.spec, rows)
            expected, found = (s.run(step.outputs, inputs) for s in (plain, ours))
            assert all(found[n].tobytes() == expected[n].tobytes() for n in step.outputs)


def test_graphs_without_such_products_stay_as_they_are_to_the_byte(tiny_store):
    for name in ("tiny-gan", "tiny-rbm"):
        directory = tiny_store / name / "1"
        for spec in read_manifest(directory).functions.values():
            content = (directory / spec.file).read_bytes()
            if not products(content):
                assert with_signed_products(content).content == content


def integer_graph(**given_as) -> bytes:
    """A product whose states are `states`, with weights of `dtype`, perhaps with a zero point."""
    states, dtype = given_as.get("states", "h"), given_as.get("dtype", np.int8)
    nodes = [
        helper.make_node("Cast", ["x"], ["c"], to=TensorProto.UINT8),
        helper.make_node("MatMulInteger", [states, "W", *given_as.get("zero", [])], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("h", TensorProto.UINT8, ["n", 3]),
              helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])]  # fmt: skip
    outputs = [helper.make_tensor_value_info("y", TensorProto.INT32, ["n", 2])]
    constants = [numpy_helper.from_array(np.ones((3, 2), dtype), "W"),
                 numpy_helper.from_array(np.array(1, np.uint8), "z")]  # fmt: skip
    made = helper.make_graph(nodes, "g", inputs, outputs, constants)
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(made, opset_imports=opset).SerializeToString()


@pytest.mark.parametrize(
    "other",
    [{"states": "c"}, {"dtype": np.uint8}, {"zero": ["z"]}],
    ids=["states that may be any number", "unsigned weights", "a zero point"],
)
def test_products_that_could_come_out_otherwise_are_left_alone(other):
    content = integer_graph(**other)
    assert with_signed_products(content).content == content
    assert with_signed_products(integer_graph()).narrow == {"h"}


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail_otherwise(content):
    with suppress(ValueError):
        with_signed_products(content)
