"""Padding is chosen by what the function really does."""

import numpy as np

from service.contract import FunctionSpec, Role
from service.invariance import measure_padding, random_rows
from tests.packages import tensor

SPEC = FunctionSpec(
    file="f.onnx",
    sha256="0" * 64,
    inputs=(tensor("x", 3, role=Role.DATA),),
    outputs=(tensor("y", 3, role=Role.DATA),),
)


def test_a_function_of_rows_may_run_at_every_size():
    padding = measure_padding(lambda i: {"y": i["x"] * 2}, SPEC, max_rows=20)
    assert padding.sizes == (1, 2, 4, 8, 16)
    assert padding.holds
    assert [padding.size_for(n) for n in (1, 3, 9, 16)] == [1, 4, 16, 16]


def test_sizes_at_which_bytes_differ_are_padded_away():
    def differs_when_small(inputs):
        x = inputs["x"]
        return {"y": x + np.float32(1e-6) if len(x) < 4 else x}

    padding = measure_padding(differs_when_small, SPEC, max_rows=16)
    assert padding.sizes == (4, 8, 16)
    assert padding.size_for(1) == 4


def test_a_function_whose_rows_depend_on_their_place_promises_nothing():
    def by_place(inputs):
        return {"y": inputs["x"] + np.arange(len(inputs["x"]), dtype=np.float32)[:, None]}

    assert not measure_padding(by_place, SPEC, max_rows=8).holds


def test_an_exact_function_is_not_run_at_all():
    exact = SPEC.model_copy(update={"exact": True})
    padding = measure_padding(lambda _: 1 / 0, exact, max_rows=8)
    assert padding.holds
    assert padding.sizes == ()
    assert padding.size_for(7) == 7


def test_random_rows_fit_every_role():
    spec = SPEC.model_copy(
        update={
            "inputs": (
                tensor("z", 2, role=Role.LATENT),
                tensor("label", role=Role.LABEL, dtype="int64"),
                tensor("u", 4, role=Role.NOISE, dtype="uint16"),
                tensor("h", 5, role=Role.STATE, dtype="uint8"),
                tensor("beta", 1, role=Role.BETA),
            )
        }
    )
    rows = random_rows(spec, 3)
    assert {n: (a.shape, str(a.dtype)) for n, a in rows.items()} == {
        "z": ((3, 2), "float32"),
        "label": ((3,), "int64"),
        "u": ((3, 4), "uint16"),
        "h": ((3, 5), "uint8"),
        "beta": ((3, 1), "float32"),
    }
