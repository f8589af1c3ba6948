"""Feeding functions by role: what a caller has, in the names, dtypes and shapes of the contract.

{role: array} + FunctionSpec ──► {name: array}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt16
from numpy.typing import NDArray

from service.contract import FunctionSpec, Role, TensorSpec
from service.domain.arrays import NUMPY_DTYPES, Arrays
from service.domain.randomness import Stream, logistic, standard_normal, uniform16

ByRole = dict[Role, NDArray[Any]]


def feed(spec: FunctionSpec, by_role: ByRole, by_name: Arrays | None = None) -> Arrays:
    """A function's inputs by name, each in the dtype and shape that its contract says.

    Args:
        spec: the function.
        by_role: arrays whose role says where they go.
        by_name: arrays of which there are several with one role: states and noise.
    """
    named = by_name or {}
    return {t.name: _fit(t, named[t.name] if t.name in named else by_role[t.role])
            for t in spec.inputs}  # fmt: skip


def _fit(tensor: TensorSpec, array: NDArray[Any]) -> NDArray[Any]:
    shaped = array.reshape(len(array), *tensor.row_shape)
    return np.ascontiguousarray(shaped, dtype=NUMPY_DTYPES[tensor.dtype])


def draw_noise(spec: FunctionSpec, *, seed: int, rows: Sequence[int], stream: Stream) -> Arrays:
    """What a function's noise inputs want, by name: normals, or one row of integers cut up."""
    normal = [t for t in spec.noises if t.role is Role.NOISE and t.dtype == "float32"]
    if normal:
        (tensor,) = spec.noises
        width = tensor.row_size
        return {tensor.name: standard_normal(seed=seed, rows=rows, stream=stream, width=width)}
    width = sum(t.row_size for t in spec.noises)
    return cut_noise(spec, uniform16(seed=seed, rows=rows, stream=stream, width=width))


def cut_noise(spec: FunctionSpec, integers: UInt16[np.ndarray, "*sweeps rows width"]) -> Arrays:
    """Each row's 16-bit integers, shared out among the noise inputs in their order."""
    made: Arrays = {}
    start = 0
    for tensor in spec.noises:
        part = integers[..., start : start + tensor.row_size]
        start += tensor.row_size
        drawn = logistic(part) if tensor.role is Role.LOGISTIC else np.ascontiguousarray(part)
        made[tensor.name] = drawn.reshape(*integers.shape[:-1], *tensor.row_shape)
    return made


def feed_parameters(step: FunctionSpec, fixed: ByRole) -> Arrays:
    """What holds during every sweep of a step function."""
    drawn = {Role.STATE, Role.NOISE, Role.LOGISTIC}
    others = tuple(t for t in step.inputs if t.role not in drawn)
    return feed(step.model_copy(update={"inputs": others}), fixed)


def started(step: FunctionSpec, start: FunctionSpec, outputs: Arrays) -> Arrays:
    """The states that a start function gave, under the step function's names."""
    made = [t.name for t in start.outputs if t.role is Role.STATE]
    wanted = [old.name for old, _ in step.state_pairs]
    return {to: outputs[source] for to, source in zip(wanted, made, strict=True)}
