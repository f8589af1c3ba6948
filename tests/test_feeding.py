"""Functions are fed by role; what has several of a role, by name."""

import numpy as np
import pytest

from service.contract import FunctionSpec, Role
from service.domain.feeding import cut_noise, draw_noise, feed, feed_parameters
from service.domain.randomness import RowNoise, Stream, logistic
from tests.packages import tensor

SWEEP = FunctionSpec(
    kind="step",
    file="f.onnx",
    sha256="0" * 64,
    start="start",
    readout="readout",
    inputs=(
        tensor("h1", 3, role=Role.STATE, dtype="uint8"),
        tensor("h2", 2, role=Role.STATE, dtype="uint8"),
        tensor("for_v", 4, role=Role.LOGISTIC),
        tensor("for_h", 5, role=Role.LOGISTIC),
        tensor("beta", 1, role=Role.BETA),
    ),
    outputs=(
        tensor("next_h1", 3, role=Role.STATE, dtype="uint8"),
        tensor("next_h2", 2, role=Role.STATE, dtype="uint8"),
    ),
)


def test_inputs_take_their_contracts_dtype_and_shape():
    states = {"h1": np.ones((2, 3), bool), "h2": np.zeros(4, bool).reshape(2, 2)}
    noise = cut_noise(SWEEP, np.zeros((2, 9), np.uint16))
    fed = feed(SWEEP, {Role.BETA: np.ones(2)}, states | noise)
    assert {n: (str(a.dtype), a.shape) for n, a in fed.items()} == {
        "h1": ("uint8", (2, 3)),
        "h2": ("uint8", (2, 2)),
        "for_v": ("float32", (2, 4)),
        "for_h": ("float32", (2, 5)),
        "beta": ("float32", (2, 1)),
    }


def test_parameters_are_what_is_neither_state_nor_drawn():
    assert list(feed_parameters(SWEEP, {Role.BETA: np.ones(2)})) == ["beta"]


def test_noise_inputs_share_one_row_of_the_stream_in_order():
    drawn = draw_noise(SWEEP, seed=3, rows=[8], stream=Stream.SWEEP)
    row = RowNoise(seed=3, row=8, stream=Stream.SWEEP, width=9).take(1)
    assert np.array_equal(drawn["for_v"], logistic(row[:, :4]))
    assert np.array_equal(drawn["for_h"], logistic(row[:, 4:]))


def test_float_noise_is_normal_and_integer_noise_is_whole():
    normal = SWEEP.model_copy(update={"inputs": (tensor("e", 4, role=Role.NOISE),)})
    whole = SWEEP.model_copy(update={"inputs": (tensor("u", 4, role=Role.NOISE, dtype="uint16"),)})
    key = {"seed": 1, "rows": range(500), "stream": Stream.START}
    assert draw_noise(normal, **key)["e"].std() == pytest.approx(1, abs=0.1)
    assert draw_noise(whole, **key)["u"].dtype == np.uint16
