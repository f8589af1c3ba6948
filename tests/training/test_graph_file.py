"""The file of a graph: nothing of its maker, and float16 where not a bit is lost by it."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from service.sessions.onnx import open_graph, options
from training.graph_file import LARGE, store_halves, strip

FLOAT = onnx.TensorProto.FLOAT


def test_stripping_takes_metadata_from_every_level():
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n"])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n"])
    node = onnx.helper.make_node("Relu", ["x"], ["y"], doc_string="File /secret/a.py")
    unused = onnx.numpy_helper.from_array(np.ones(3, np.float32), "unused")
    graph = onnx.helper.make_graph(
        [node], "from /secret/b", [x], [y], [unused], doc_string="/secret"
    )
    model = onnx.helper.make_model(graph, producer_name="/secret/tool", doc_string="/secret/c")
    for part in (model, model.graph, model.graph.node[0], model.graph.input[0]):
        part.metadata_props.add(key="trace", value="/secret/d.py")
    bare = strip(model)
    assert b"secret" not in bare.SerializeToString()
    assert not bare.graph.initializer
    assert b"secret" in model.SerializeToString()
    onnx.checker.check_model(bare)


def adding(weight: np.ndarray) -> onnx.ModelProto:
    """y = x + weight."""
    x, y = (helper.make_tensor_value_info(name, FLOAT, list(weight.shape)) for name in "xy")
    node = helper.make_node("Add", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "main", [x], [y], [numpy_helper.from_array(weight, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def kept(model: onnx.ModelProto) -> onnx.TensorProto:
    (tensor,) = model.graph.initializer
    return tensor


def numbers(model: onnx.ModelProto, shape: tuple[int, ...]) -> np.ndarray:
    """The weight, as a service's session computes with it."""
    opened = open_graph(model.SerializeToString(), options(1), ["CPUExecutionProvider"])
    found: np.ndarray = opened.run(None, {"x": np.full(shape, -0.0, np.float32)})[0]
    return found


@given(st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=40))
def test_numbers_that_float16_holds_are_kept_in_it_and_computed_with_to_the_bit(bits):
    halves = np.resize(np.array(bits, np.uint16), LARGE).view(np.float16)
    weight = np.where(np.isfinite(halves), halves, np.float16(-0.0)).astype(np.float32)
    smaller = store_halves(adding(weight))
    onnx.checker.check_model(smaller, full_check=True)
    assert kept(smaller).data_type == onnx.TensorProto.FLOAT16
    assert numbers(smaller, weight.shape).tobytes() == weight.tobytes()


@given(st.floats(width=32, allow_nan=False), st.integers(0, LARGE - 1))
def test_one_number_that_float16_does_not_hold_keeps_the_whole_tensor(number, place):
    weight = np.zeros(LARGE, np.float32)
    weight[place] = number
    with np.errstate(over="ignore"):
        held = np.float32(np.float16(weight[place])) == weight[place]
    model = adding(weight)
    smaller = store_halves(model)
    assert (smaller != model) == held
    if np.isfinite(number):
        assert numbers(smaller, weight.shape).tobytes() == weight.tobytes()


@pytest.mark.parametrize(
    "weight",
    [
        np.ones(LARGE - 1, np.float32),
        np.full(LARGE, 70_000.0, np.float32),
        np.full(LARGE, 0.1, np.float32),
        np.zeros(LARGE, np.int64),
    ],
)
def test_small_tensors_other_numbers_and_other_types_stay_as_they_are(weight):
    model = adding(weight)
    assert store_halves(model) == model


def test_a_session_folds_the_casts_away(tmp_path):
    chosen = options(1)
    chosen.optimized_model_filepath = str(tmp_path / "as-run.onnx")
    content = store_halves(adding(np.ones((32, 32), np.float32))).SerializeToString()
    open_graph(content, chosen, ["CPUExecutionProvider"])
    run = onnx.load(tmp_path / "as-run.onnx")
    assert [node.op_type for node in run.graph.node] == ["Add"]
    assert kept(run).data_type == FLOAT


def test_a_weight_that_several_nodes_and_the_output_read_is_widened_once():
    model = adding(np.ones((32, 32), np.float32))
    again = helper.make_node("Mul", ["y", "w"], ["z"])
    model.graph.node.append(again)
    model.graph.output.append(helper.make_tensor_value_info("z", FLOAT, [32, 32]))
    model.graph.output.append(helper.make_tensor_value_info("w", FLOAT, [32, 32]))
    smaller = store_halves(model)
    onnx.checker.check_model(smaller, full_check=True)
    assert [node.op_type for node in smaller.graph.node] == ["Cast", "Add", "Mul"]
    opened = open_graph(smaller.SerializeToString(), options(1), ["CPUExecutionProvider"])
    y, z, w = opened.run(None, {"x": np.ones((32, 32), np.float32)})
    assert (y == 2).all()
    assert (z == 2).all()
    assert (w == 1).all()
