"""ONNX files: run when they are whole, refused when they lead elsewhere."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from service.contract import PackageError, Role
from service.sessions.onnx import OnnxSession
from service.sessions.onnx_file import has_external_data
from tests.packages import graph, tensor


def double() -> bytes:
    x, y = tensor("x", 2, role=Role.DATA), tensor("y", 2, role=Role.DATA)
    node = helper.make_node("Mul", ["x", "two"], ["y"])
    return graph([node], [x], [y], {"two": np.float32([2])})


def external(initializer: TensorProto) -> None:
    initializer.ClearField("raw_data")
    initializer.data_location = TensorProto.EXTERNAL
    entry = initializer.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"


def test_a_graph_runs_and_tells_its_signature():
    session = OnnxSession(double(), threads=1)
    assert session.signature() == ({"x": ("float32", ("n", 2))}, {"y": ("float32", ("n", 2))})
    assert session.run(("y",), {"x": np.ones((3, 2), np.float32)})["y"].tolist() == [[2, 2]] * 3
    assert session.device == "cpu"


def test_a_tensor_in_another_file_is_refused():
    model = onnx.load_from_string(double())
    external(model.graph.initializer[0])
    with pytest.raises(PackageError, match="export it with its weights inside"):
        OnnxSession(model.SerializeToString(), threads=1)


@pytest.mark.parametrize("where", ["constant", "subgraph", "sparse", "function"])
def test_external_data_is_found_wherever_it_hides(where):
    hidden = helper.make_tensor("t", TensorProto.FLOAT, [1], [0.0])
    external(hidden)
    constant = helper.make_node("Constant", [], ["c"], value=hidden)
    model = onnx.load_from_string(double())
    if where == "constant":
        model.graph.node.append(constant)
    elif where == "subgraph":
        inner = helper.make_graph([constant], "inner", [], [])
        model.graph.node.append(
            helper.make_node("If", ["x"], ["z"], then_branch=inner, else_branch=inner)
        )
    elif where == "sparse":
        model.graph.sparse_initializer.add().values.CopyFrom(hidden)
    else:
        model.functions.append(
            helper.make_function("d", "f", [], ["c"], [constant], [helper.make_opsetid("", 18)])
        )
    assert has_external_data(model.SerializeToString())
    assert not has_external_data(double())


@given(st.binary(max_size=300))
def test_no_bytes_make_the_reader_of_files_fail_otherwise(content):
    with pytest.raises(PackageError):
        OnnxSession(content, threads=1)


@given(cut=st.integers(1, 60))
def test_a_file_that_is_cut_short_is_refused(cut):
    with pytest.raises(PackageError):
        OnnxSession(double()[:-cut], threads=1)
